//! Writes arrays of md, metadata version 1.0, without a kernel that has md.
//!
//! Form: `struct mdp_superblock_1` of the kernel's `include/uapi/linux/raid/md_p.h`; `mdadm --examine FILE` reads it back.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::command::{at, run, tool};
use crate::files::sibling;

/// How an array lays data on its disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Two striped disks.
    Raid0,
    /// Two mirrored disks.
    Raid1,
    /// Three disks, one of which may be missing.
    Raid5,
    /// Four disks, two of which may be missing.
    Raid6,
    /// Four disks: stripes over two mirrors (`near=2`).
    Raid10,
}

/// What the array takes from the end of a disk; the superblock lies 8 KiB before it.
const RESERVED: u64 = 64 << 10;
const SECTOR: u64 = 512;
const CHUNK: usize = 64 << 10;
const MAGIC: u32 = 0xa92b_4efc;
const SUPERBLOCK: usize = 256;
/// Room for roles that `mdadm --create` leaves, too.
const ROLES: usize = 128;
const SET_UUID: &[u8; 16] = b"mkinitrdmdarray1";
const SET_NAME: &[u8] = b"boot-test:root";
const CREATED_S: u64 = 1_700_000_000;

impl Level {
    fn disks(self) -> usize {
        match self {
            Level::Raid0 | Level::Raid1 => 2,
            Level::Raid5 => 3,
            Level::Raid6 | Level::Raid10 => 4,
        }
    }

    /// Returns how many disks' worth of data it holds.
    fn data_disks(self) -> u64 {
        match self {
            Level::Raid1 => 1,
            Level::Raid0 | Level::Raid5 | Level::Raid6 | Level::Raid10 => 2,
        }
    }

    /// Returns level, layout and sectors of a chunk as the superblock has them.
    fn numbers(self) -> (u32, u32, u32) {
        let chunk = (CHUNK as u64 / SECTOR) as u32;
        match self {
            Level::Raid0 => (0, 0, chunk),
            Level::Raid1 => (1, 0, 0),
            Level::Raid5 => (5, 2, chunk),       // left-symmetric
            Level::Raid6 => (6, 2, chunk),       // the same
            Level::Raid10 => (10, 0x102, chunk), // one far copy, two near
        }
    }
}

/// Makes the disks of an array out of what it holds: `out` and its siblings, which are returned in order.
pub fn array(level: Level, inner: &Path, out: &Path) -> Result<Vec<PathBuf>, String> {
    let held_bytes = fs::metadata(inner).map_err(at(inner))?.len();
    let data_bytes = held_bytes.div_ceil(level.data_disks()).next_multiple_of(CHUNK as u64);
    let size = data_bytes + RESERVED;
    let paths: Vec<PathBuf> =
        (1..=level.disks()).map(|number| if number == 1 { out.to_owned() } else { sibling(out, number) }).collect();
    let mut files = Vec::new();
    for path in &paths {
        if level == Level::Raid1 {
            // The copy stays sparse.
            run(tool("cp").arg("--sparse=always").args([inner, path]))?;
        } else {
            File::create(path).map_err(at(path))?;
        }
        let file = File::options().write(true).open(path).map_err(at(path))?;
        file.set_len(size).map_err(at(path))?;
        files.push(file);
    }
    if level != Level::Raid1 {
        stripe(level, inner, &mut files)?;
    }
    for (number, (file, path)) in files.iter_mut().zip(&paths).enumerate() {
        let place = (size / SECTOR - 16) & !7;
        let bytes = superblock(level, number as u32, data_bytes / SECTOR, place);
        write_at(file, place * SECTOR, &bytes).map_err(at(path))?;
    }
    Ok(paths)
}

/// Lays two chunks at a time on the disks; what is zero stays a hole, on all of them.
fn stripe(level: Level, inner: &Path, files: &mut [File]) -> Result<(), String> {
    let mut source = File::open(inner).map_err(at(inner))?;
    let mut row = vec![0; 2 * CHUNK];
    for number in 0_usize.. {
        row.fill(0);
        let mut filled = 0;
        while filled < row.len() {
            match source.read(&mut row[filled..]).map_err(at(inner))? {
                0 => break,
                count => filled += count,
            }
        }
        if filled == 0 {
            break;
        }
        if row.iter().all(|byte| *byte == 0) {
            continue;
        }
        let (first, second) = row.split_at(CHUNK);
        let parity: Vec<u8> = first.iter().zip(second).map(|(one, other)| one ^ other).collect();
        let syndrome: Vec<u8> = first.iter().zip(second).map(|(one, other)| one ^ doubled(*other)).collect();
        let chunks: Vec<(usize, &[u8])> = match level {
            Level::Raid0 | Level::Raid1 => vec![(0, first), (1, second)],
            Level::Raid5 => {
                let at = 2 - number % 3;
                vec![(at, &parity), ((at + 1) % 3, first), ((at + 2) % 3, second)]
            }
            Level::Raid6 => {
                let at = 3 - number % 4;
                vec![(at, &parity), ((at + 1) % 4, &syndrome), ((at + 2) % 4, first), ((at + 3) % 4, second)]
            }
            Level::Raid10 => vec![(0, first), (1, first), (2, second), (3, second)],
        };
        for (disk, chunk) in chunks {
            write_at(&mut files[disk], (number * CHUNK) as u64, chunk).map_err(at(inner))?;
        }
    }
    Ok(())
}

/// Returns the double of a byte in the field of the second parity, GF(2^8) over 0x11d.
fn doubled(byte: u8) -> u8 {
    (byte << 1) ^ (0x1d & (byte >> 7).wrapping_neg())
}

fn write_at(file: &mut File, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
    file.seek(SeekFrom::Start(offset)).and_then(|_| file.write_all(bytes))
}

fn superblock(level: Level, number: u32, data_sectors: u64, place: u64) -> Vec<u8> {
    let mut out = vec![0; SUPERBLOCK + 2 * ROLES];
    let mut put = |offset: usize, bytes: &[u8]| out[offset..offset + bytes.len()].copy_from_slice(bytes);
    let (level_number, layout, chunk_sectors) = level.numbers();
    put(0, &MAGIC.to_le_bytes());
    put(4, &1_u32.to_le_bytes()); // version 1
    put(16, SET_UUID);
    put(32, SET_NAME);
    put(64, &CREATED_S.to_le_bytes());
    put(72, &level_number.to_le_bytes());
    put(76, &layout.to_le_bytes());
    put(80, &data_sectors.to_le_bytes()); // of each disk that are used
    put(88, &chunk_sectors.to_le_bytes());
    put(92, &(level.disks() as u32).to_le_bytes());
    put(136, &data_sectors.to_le_bytes()); // of this disk that can be used, from sector 0 on
    put(144, &place.to_le_bytes());
    put(160, &number.to_le_bytes());
    let mut uuid = *SET_UUID;
    uuid[15] = b'a' + number as u8;
    put(168, &uuid);
    put(192, &CREATED_S.to_le_bytes());
    put(200, &1_u64.to_le_bytes()); // events
    put(208, &u64::MAX.to_le_bytes()); // no resynchronization is pending
    put(220, &(ROLES as u32).to_le_bytes());
    for role in 0..ROLES {
        let is_disk = role < level.disks();
        put(SUPERBLOCK + 2 * role, &(if is_disk { role as u16 } else { 0xffff }).to_le_bytes());
    }
    let sum = checksum(&out);
    out[216..220].copy_from_slice(&sum.to_le_bytes());
    out
}

/// The sum of the words, with the carry added.
fn checksum(bytes: &[u8]) -> u32 {
    let words = bytes.chunks_exact(4).map(|word| u64::from(u32::from_le_bytes([word[0], word[1], word[2], word[3]])));
    let sum: u64 = words.sum();
    (sum as u32).wrapping_add((sum >> 32) as u32)
}
