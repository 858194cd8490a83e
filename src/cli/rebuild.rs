//! `build --all` and `--if-stale`: images that exist are made anew where they are, and only if they have to be.

use std::path::Path;

use super::args::{Build, Global, KernelArgs};
use super::progress::Progress;
use super::status::{self, Row};
use super::{Failure, build, check, diagnose, ls, request};
use crate::host::kernels;
use crate::report::{Event, Reporter, Stage};

/// Makes the images of all kernels anew that this program has made, each in its place. One that fails does not stop the others.
pub fn all(args: &Build, global: &Global, progress: &Progress) -> Result<(), Failure> {
    let detail = |message: String| progress.event(&Event::Detail { stage: Stage::Config, message: &message });
    let warn = |message: String| progress.event(&Event::Warning { stage: Stage::Config, message: &message });
    let mut failed: Option<Failure> = None;
    for placed in kernels::images(Path::new("/")) {
        let row = status::row(placed, global, progress);
        let shown = row.placed.files.last().map(|file| file.display().to_string()).unwrap_or_default();
        if !row.is_ours() {
            let why = row.standing.as_ref().err().map_or("another program made it", String::as_str);
            detail(format!("`{shown}` is left alone: {why}"));
        } else if args.if_stale && !row.is_stale() {
            detail(format!("`{shown}` is what would be made now"));
        } else if row.placed.is_unified() {
            // Its command line and signature are not in the manifest, and an initrd in its place would boot nothing.
            let kernel = &row.placed.kernel;
            warn(format!("`{shown}` is a unified kernel image, and left alone: make it anew with `kernel-install add {kernel}`"));
        } else if let Err(error) = again(&row, args, global, progress) {
            warn(format!("`{shown}` could not be made anew: {}", diagnose::sentence(&*error)));
            failed.get_or_insert(error);
        }
    }
    failed.map_or(Ok(()), Err)
}

/// Makes an image anew as it was made: for the same kernel, of the same kind.
fn again(row: &Row, args: &Build, global: &Global, progress: &Progress) -> Result<(), Failure> {
    let kind =
        row.standing.as_ref().ok().and_then(|standing| standing.manifest.as_ref()).map(|manifest| manifest.target.image.as_str());
    let kernel = KernelArgs {
        kernel_version: Some(row.placed.kernel.clone()),
        generic: args.kernel.generic || kind == Some("generic"),
        full: args.kernel.full || kind == Some("full"),
        ..args.kernel.clone()
    };
    let output = row.placed.files.iter().find(|file| ls::read(file).is_ok_and(|found| found.manifest().is_some()));
    // An entry that has the early segment as a file of its own gets no second one in front of the initrd.
    let microcode = args.microcode.clone().or_else(|| row.placed.early().cloned());
    let args = Build { output: output.cloned(), microcode, all: false, if_stale: false, kernel, ..args.clone() };
    build::one(&args, global, progress)
}

/// Tells whether the image at `--output` is what would be made now. What cannot be read or judged is not.
pub fn is_current(args: &Build, global: &Global, progress: &Progress) -> Result<bool, Failure> {
    let Some(path) = args.output.as_deref().filter(|path| path.exists()) else { return Ok(false) };
    let settled = request::settle(&args.target, &args.kernel, global, progress)?;
    let includes = build::includes(&args.include)?;
    let kernel = args.kernel.kernel_version.as_deref();
    let is_described = args.kernel.host_facts.is_some();
    let standing = ls::read(path)
        .and_then(|found| check::open(found, path))
        .and_then(|opened| check::judge_against(opened, &settled, &includes, kernel, is_described, progress));
    let why = match standing {
        Err(error) => diagnose::sentence(&*error),
        Ok(standing) if standing.manifest.is_none() => "another program made it".to_owned(),
        Ok(standing) => {
            let reasons = standing.errors().map(check::show).chain(standing.stale.iter().map(ToString::to_string));
            match reasons.into_iter().next() {
                Some(reason) => reason,
                None => {
                    let message = format!("`{}` is what would be made now: nothing to do", path.display());
                    progress.event(&Event::Detail { stage: Stage::Config, message: &message });
                    return Ok(true);
                }
            }
        }
    };
    let message = format!("`{}` is made anew: {why}", path.display());
    progress.event(&Event::Detail { stage: Stage::Config, message: &message });
    Ok(false)
}
