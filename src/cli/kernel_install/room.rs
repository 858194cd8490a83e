//! Is there room on the boot partition? Asked before anything is changed, because systemd's plugins copy onto the final names: on a
//! full disk `install` has already removed the old file (fault B10).
//!
//! The new files must fit beside the old ones: then what is there can be put right, too, if the copy fails.

use std::path::{Path, PathBuf};

use rustix::io::retry_on_intr;

use super::call::{Call, Layout, Product};
use super::error::Error;

/// For the boot entry, directories, and what a file system needs for itself.
const SLACK_BYTES: u64 = 1 << 20;
/// What a unified image has beside kernel and initrd: the stub, sections, a splash.
const STUB_BYTES: u64 = 1 << 20;

/// Refuses when the kernel and images of these sizes do not fit.
pub fn check(call: &Call, images_bytes: &[u64]) -> Result<(), Error> {
    let Some(directory) = call.destination().and_then(|path| existing(&path)) else { return Ok(()) };
    let Ok(space) = retry_on_intr(|| rustix::fs::statvfs(&directory)) else { return Ok(()) };
    // A file system that says nothing of its size is believed when it is written to.
    if space.f_blocks == 0 || space.f_frsize == 0 {
        return Ok(());
    }
    let whole = |bytes: u64| bytes.next_multiple_of(space.f_frsize);
    let needed_bytes = whole(kernel_bytes(call)) + images_bytes.iter().copied().map(whole).sum::<u64>() + SLACK_BYTES;
    let free_bytes = space.f_bfree.saturating_mul(space.f_frsize);
    if needed_bytes > free_bytes {
        return Err(Error::Room { version: call.version.clone(), directory, needed_bytes, free_bytes });
    }
    Ok(())
}

/// What comes from the kernel's own file; a finished unified image has it inside.
fn kernel_bytes(call: &Call) -> u64 {
    if call.product == Product::Uki {
        return 0;
    }
    let stub = if call.layout == Layout::Uki { STUB_BYTES } else { 0 };
    let kernel = call.kernel_image.as_ref().and_then(|path| std::fs::metadata(path).ok());
    // Without a kernel image, the plugins after us complain in their own words.
    stub + kernel.map_or(0, |metadata| metadata.len())
}

/// Returns the directory or the nearest one above it that exists.
pub fn existing(path: &Path) -> Option<PathBuf> {
    path.ancestors().find(|path| path.is_dir()).map(Path::to_owned)
}
