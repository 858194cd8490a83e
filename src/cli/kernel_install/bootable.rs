//! Warns when the last image that this machine boots with is at stake. Nothing is decided here: one sentence is said.

use std::collections::BTreeSet;
use std::path::Path;

use super::call::{Call, Variables};
use crate::cli::args::KernelInstall;
use crate::cli::progress::Progress;
use crate::host::kernels::{self, Placed};
use crate::report::{Event, Reporter, Stage};

/// Before a kernel is removed: is it the last one with an image?
pub fn warn_before_removal(args: &KernelInstall, variables: &Variables, progress: &Progress) {
    let Some(version) = args.version.as_ref().and_then(|version| version.to_str()).filter(|_| variables.is_ours()) else {
        return;
    };
    if is_last(&bootable(variables.boot_root.as_deref()), version) {
        warn(progress, &last(version));
    }
}

/// Returns the sentence for the removal of the last one.
pub fn last(version: &str) -> String {
    format!(
        "kernel {version} has the last image that this machine can boot with, and it is being removed: \
         see that another kernel has one before you restart (`mkinitrd-pkg status`)"
    )
}

/// Tells whether an image of this kernel is there, and none of any other.
pub fn is_last(bootable: &BTreeSet<String>, version: &str) -> bool {
    bootable.len() == 1 && bootable.contains(version)
}

/// After a failure: what is left to boot with?
pub fn warn_after_failure(call: &Call, progress: &Progress) {
    if let Some(message) = left(&bootable(call.boot_root.as_deref())) {
        warn(progress, &message);
    }
}

/// Returns what is to be said of the images that are left; nothing when there are enough.
pub fn left(bootable: &BTreeSet<String>) -> Option<String> {
    let mut versions = bootable.iter();
    match (versions.next(), versions.next()) {
        (None, _) => Some("no kernel of this machine has an image to boot with: do not restart before one is made".to_owned()),
        (Some(only), None) => {
            Some(format!("kernel {only} has the last image that this machine can boot with: keep it until another one is made"))
        }
        _ => None,
    }
}

/// Returns the kernels that have an image whose files are all there.
pub fn bootable(boot_root: Option<&Path>) -> BTreeSet<String> {
    let mut images = kernels::images(Path::new("/"));
    if let Some(boot) = boot_root {
        images.extend(kernels::images_in(boot));
    }
    let is_whole = |placed: &Placed| {
        placed.files.iter().all(|file| file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0))
    };
    images.into_iter().filter(is_whole).map(|placed| placed.kernel).collect()
}

fn warn(progress: &Progress, message: &str) {
    progress.event(&Event::Warning { stage: Stage::Deliver, message });
}
