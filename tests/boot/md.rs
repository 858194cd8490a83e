//! Writes the metadata of md, version 1.0, behind a file system: a mirror of two disks, without a kernel that has md.
//!
//! Form: `struct mdp_superblock_1` of the kernel's `include/uapi/linux/raid/md_p.h`; `mdadm --examine FILE` reads it back.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::command::at;

/// What the array takes from the end of a disk; the superblock lies 8 KiB before it.
const RESERVED: u64 = 64 << 10;
const SECTOR: u64 = 512;
const MAGIC: u32 = 0xa92b_4efc;
const SUPERBLOCK: usize = 256;
/// Room for roles that `mdadm --create` leaves, too.
const ROLES: usize = 128;
const SET_UUID: &[u8; 16] = b"mkinitrdmdarray1";
const SET_NAME: &[u8] = b"boot-test:root";
const CREATED_S: u64 = 1_700_000_000;

/// Makes two mirrored disks out of a file system: `out` and [`second`].
pub fn mirror(inner: &Path, out: &Path) -> Result<(), String> {
    let data_bytes = fs::metadata(inner).map_err(at(inner))?.len();
    let size = data_bytes + RESERVED;
    for (number, path) in [(0, out.to_owned()), (1, second(out))] {
        // The copy stays sparse.
        crate::command::run(crate::command::tool("cp").arg("--sparse=always").args([inner, &path]))?;
        let mut file = File::options().write(true).open(&path).map_err(at(&path))?;
        file.set_len(size).map_err(at(&path))?;
        let place = (size / SECTOR - 16) & !7;
        let bytes = superblock(number, data_bytes / SECTOR, place);
        file.seek(SeekFrom::Start(place * SECTOR)).and_then(|_| file.write_all(&bytes)).map_err(at(&path))?;
    }
    Ok(())
}

/// Returns where the other disk of a mirror lies.
pub fn second(disk: &Path) -> PathBuf {
    disk.with_extension("disk2")
}

fn superblock(number: u32, data_sectors: u64, place: u64) -> Vec<u8> {
    let mut out = vec![0; SUPERBLOCK + 2 * ROLES];
    let mut put = |offset: usize, bytes: &[u8]| out[offset..offset + bytes.len()].copy_from_slice(bytes);
    put(0, &MAGIC.to_le_bytes());
    put(4, &1_u32.to_le_bytes()); // version 1
    put(16, SET_UUID);
    put(32, SET_NAME);
    put(64, &CREATED_S.to_le_bytes());
    put(72, &1_u32.to_le_bytes()); // RAID 1
    put(80, &data_sectors.to_le_bytes()); // of each disk that are used
    put(92, &2_u32.to_le_bytes()); // disks
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
        let is_disk = role < 2;
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
