//! Puts a cache in front of a file system, with no bcache in the kernel.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::command::{at, run, tool};
use crate::esp::copy_sparse;
use crate::files::sibling;

/// Where the data of a backing device begins, as `make-bcache` has it.
const DATA_START: u64 = 8 << 10;
/// The kernel wants more than a thousand buckets of 512 KiB.
const CACHE: u64 = 1 << 30;

/// Makes the disk `out` that holds a file system, and its cache; returns them in order.
pub fn disks(inner: &Path, out: &Path) -> Result<Vec<PathBuf>, String> {
    let cache = sibling(out, 2);
    let size = fs::metadata(inner).map_err(at(inner))?.len();
    for (path, size) in [(out, size + DATA_START), (&cache, CACHE)] {
        File::create(path).and_then(|file| file.set_len(size)).map_err(at(path))?;
    }
    run(tool("make-bcache").arg("-B").arg(out).arg("-C").arg(&cache))?;
    let mut disk = File::options().write(true).open(out).map_err(at(out))?;
    copy_sparse(inner, &mut disk, DATA_START)?;
    Ok(vec![out.to_owned(), cache])
}
