//! Damages what dm-integrity protects.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::command::at;
use crate::verity::flip_bit;

/// Where ext4 has its magic number and its label, from the begin of the file system.
const MAGIC: usize = 0x438;
const LABEL: usize = 0x478;
/// The file system begins within the first part of a disk, behind the journal of dm-integrity.
const SEARCHED: u64 = 256 << 20;
const SECTOR: usize = 512;

/// Changes a bit in the space for a boot loader before the superblock, which no file system ever looks at: nobody but dm-integrity can object.
pub fn flip(disk: &Path) -> Result<(), String> {
    let mut bytes = Vec::new();
    File::open(disk).and_then(|file| file.take(SEARCHED).read_to_end(&mut bytes)).map_err(at(disk))?;
    let begins = |at: &usize| {
        let is = |offset: usize, text: &[u8]| bytes.get(at + offset..at + offset + text.len()) == Some(text);
        is(MAGIC, &[0x53, 0xef]) && is(LABEL, b"root\0")
    };
    let begin = (0..bytes.len()).step_by(SECTOR).find(begins);
    let begin = begin.ok_or_else(|| format!("`{}` has no ext4 in sight", disk.display()))?;
    flip_bit(disk, begin as u64)
}
