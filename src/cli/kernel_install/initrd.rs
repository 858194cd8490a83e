//! The initrd of one kernel of this machine, in memory: what `mkinitrd-pkg build` makes with the same drop-ins.

use std::path::{Path, PathBuf};

use super::error::Error;
use crate::base::error::ErrorKind;
use crate::cli::Failure;
use crate::cli::args::{Build, Global, KernelArgs};
use crate::cli::progress::Progress;
use crate::cli::{build, diagnose};
use crate::modules::KernelVersion;
use crate::pipeline::{Made, Outcome};
use crate::report::{Event, Reporter, Stage};

/// Makes it, without the network wherever what is cached or installed is enough: a transaction of packages does not wait for a mirror.
pub fn make(options: &Build, global: &Global, progress: &Progress) -> Result<Made, Failure> {
    let mut options = options.clone();
    options.sources.offline = true;
    match made(&options, global, progress) {
        Err(error) if error.kind() == ErrorKind::Unavailable => {
            let message = format!("{}: asking the mirror", diagnose::sentence(&*error));
            progress.event(&Event::Detail { stage: Stage::Config, message: &message });
            options.sources.offline = false;
            made(&options, global, progress)
        }
        outcome => outcome,
    }
}

fn made(options: &Build, global: &Global, progress: &Progress) -> Result<Made, Failure> {
    match build::make(options, global, progress)? {
        Outcome::Image(made) => Ok(*made),
        Outcome::Tree(_) => unreachable!("invariant: an image was asked for"),
    }
}

/// Returns the options that make an initrd for a kernel.
pub fn options(version: &KernelVersion) -> Build {
    let kernel = KernelArgs {
        kernel_version: Some(version.to_string()),
        modules_dir: Some(modules_directory(version)),
        ..KernelArgs::default()
    };
    Build { kernel, ..Build::default() }
}

/// A kernel without its modules and their list would get an image that cannot load any.
pub fn check_modules(version: &KernelVersion) -> Result<(), Error> {
    let directory = modules_directory(version);
    let wrong = |path: &Path, reason| Error::Modules { version: version.clone(), path: path.to_owned(), reason };
    if !directory.is_dir() {
        return Err(wrong(&directory, "is not there"));
    }
    let list = directory.join("modules.dep");
    match std::fs::metadata(&list) {
        Err(_) => Err(wrong(&list, "is not there")),
        Ok(metadata) if metadata.len() == 0 => Err(wrong(&list, "is empty")),
        Ok(_) => Ok(()),
    }
}

fn modules_directory(version: &KernelVersion) -> PathBuf {
    Path::new("/usr/lib/modules").join(version.as_str())
}
