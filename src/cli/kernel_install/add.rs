//! `add`: makes the image, or takes a prebuilt one, and stages it.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::call::{Call, Layout, Product};
use super::error::Error;
use super::{initrd, room, verify};
use crate::base::digest::{HashingReader, Sha256};
use crate::base::fs;
use crate::base::limit;
use crate::cli::Failure;
use crate::cli::args::{Build, Format, Global};
use crate::cli::progress::Progress;
use crate::deliver;
use crate::image;
use crate::pipeline::Made;
use crate::report::{Event, Reporter, Stage};

/// The mode of what is staged; what is installed is to have it, too.
pub const MODE: u32 = 0o600;

/// The early segment in the staging area.
const MICROCODE: &str = "microcode";

/// Stages what the call asks for.
pub fn run(call: &Call, global: &Global, progress: &Progress) -> Result<(), Failure> {
    check_staging(call)?;
    if let Some(path) = prebuilt(call) {
        return take(call, &path, progress);
    }
    if call.product == Product::Uki && call.kernel_image.is_none() {
        return Err(Error::NoKernelImage(call.version.clone()).into());
    }
    initrd::check_modules(&call.version)?;
    // The kernel alone may be too much already; what the image takes is known when it is made.
    room::check(call, &[])?;
    let made = initrd::make(&options(call), global, progress)?;
    let early_bytes = made.early.as_ref().map_or(0, |early| early.size_bytes);
    let size_bytes = made.unified.as_ref().map_or(made.image.size_bytes, |bytes| bytes.len() as u64);
    room::check(call, &[size_bytes, early_bytes])?;
    check_secrets(call, &made, progress)?;
    let staged = |name: &str| deliver::check_target(&call.staged(name));
    if let Some(early) = &made.early {
        deliver::deliver(&staged(MICROCODE)?, early.size_bytes, MODE, progress, |out| early.write_to(out))?;
    }
    let target = staged(call.product.file_name())?;
    match &made.unified {
        Some(bytes) => deliver::deliver(&target, size_bytes, MODE, progress, |out| out.write_all(bytes))?,
        None => deliver::deliver(&target, size_bytes, MODE, progress, |out| made.image.write_to(out))?,
    };
    Ok(())
}

/// What is built: boot entries and systemd's own ukify take the microcode as a file of its own; elsewhere it stays in front of the initrd.
fn options(call: &Call) -> Build {
    let mut options = initrd::options(&call.version);
    match (call.product, call.layout) {
        (Product::Uki, _) => {
            options.format = Format::Uki;
            options.uki.kernel_image.clone_from(&call.kernel_image);
            options.uki.cmdline = command_line_file().map(|path| format!("@{}", path.display()));
        }
        (Product::Initrd, Layout::Bls | Layout::Uki) => options.microcode = Some(call.staged(MICROCODE)),
        (Product::Initrd, Layout::Other) => {}
    }
    options
}

/// Where kernel-install's own plugins look for the command line of a new kernel.
fn command_line_file() -> Option<PathBuf> {
    let directories = [verify::configuration(), PathBuf::from("/usr/lib/kernel")];
    directories.map(|directory| directory.join("cmdline")).into_iter().find(|path| path.is_file())
}

/// Secrets must not come to lie on a boot partition that keeps no permissions.
fn check_secrets(call: &Call, made: &Made, progress: &Progress) -> Result<(), deliver::Error> {
    let (Some(secret), Some(place)) = (made.manifest.secrets.first(), call.destination()) else { return Ok(()) };
    let directory = room::existing(&place).unwrap_or_else(|| place.clone());
    deliver::check_exposure(&directory, &place.join(call.product.file_name()), made.may_be_exposed, secret, progress)
}

fn check_staging(call: &Call) -> Result<(), Error> {
    let path = &call.staging;
    let wrong = |reason, source| Error::Staging { path: path.clone(), reason, source };
    let metadata = std::fs::metadata(path).map_err(|err| wrong("it is not there", Some(err)))?;
    if !path.is_absolute() || !metadata.is_dir() {
        return Err(wrong("it is no directory with an absolute path", None));
    }
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK).map_err(|err| wrong("it cannot be written to", Some(err.into())))
}

/// Returns an image that the distribution shipped beside the kernel. `/boot` and the like belong to all kernels: an `initrd` there may be
/// that of another one, as openSUSE's symlink is.
fn prebuilt(call: &Call) -> Option<PathBuf> {
    let directory = call.kernel_image.as_ref()?.parent()?;
    let is_shared =
        directory == Path::new("/boot") || directory == Path::new("/") || Some(directory) == call.boot_root.as_deref();
    let path = directory.join(call.product.file_name());
    (!is_shared && path.symlink_metadata().is_ok_and(|metadata| metadata.is_file())).then_some(path)
}

fn take(call: &Call, path: &Path, progress: &Progress) -> Result<(), Failure> {
    let message = format!("taking `{}`, which came with the kernel", path.display());
    progress.event(&Event::Detail { stage: Stage::Config, message: &message });
    let bytes = fs::read(path, limit::PACKAGE_BYTES_MAX)?;
    let wrong = |reason: String| Error::Prebuilt { path: path.to_owned(), reason };
    match call.product {
        Product::Initrd => {
            image::read(bytes.clone()).map_err(|err| wrong(err.to_string()))?;
        }
        Product::Uki if !bytes.starts_with(b"MZ") => return Err(wrong("it is no PE file".to_owned()).into()),
        Product::Uki => {}
    }
    room::check(call, &[bytes.len() as u64])?;
    let target = deliver::check_target(&call.staged(call.product.file_name()))?;
    deliver::deliver(&target, bytes.len() as u64, MODE, progress, |out| out.write_all(&bytes))?;
    Ok(())
}

/// Returns the digest of a file.
pub fn digest(path: &Path) -> std::io::Result<Sha256> {
    let mut reader = HashingReader::new(File::open(path)?);
    std::io::copy(&mut reader, &mut std::io::sink())?;
    Ok(reader.finish().0)
}
