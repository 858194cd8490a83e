//! Makes disks whose root dm-verity checks, with no device mapper of the host.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::command::{at, run, tool};
use crate::esp::{self, Partition};

/// The types of a root partition of x86-64 and of its hashes, by the Discoverable Partitions Specification.
const TYPES: [&str; 2] = [esp::ROOT_TYPE, "2c7357ed-ebd2-46d9-aec1-23d437ec2bf5"];

/// Makes the disk `out` of a file system and its hashes, found by the root hash that is returned; `flip` changes a bit thereafter.
///
/// The bit is in the space for a boot loader before the superblock, which no file system ever looks at: nobody but dm-verity can object.
pub fn disk(inner: &Path, flip: bool, out: &Path) -> Result<String, String> {
    let hashes = out.with_extension("hashes");
    let said = run(tool("veritysetup").arg("format").args([inner, &hashes]))?;
    let line = said.lines().find_map(|line| line.strip_prefix("Root hash:"));
    let root_hash = line.map(str::trim).ok_or_else(|| format!("`veritysetup` said no root hash, but: {said}"))?.to_owned();
    // The first half of the root hash names the partition with the data, the second that with the hashes.
    let uuids = [uuid(&root_hash[..32]), uuid(&root_hash[32..64])];
    let partition = |number: usize, name, file| Partition { kind: TYPES[number], name, uuid: Some(&uuids[number]), file };
    esp::disk_of(&[partition(0, "root", inner), partition(1, "root-verity", &hashes)], 0, out)?;
    fs::remove_file(&hashes).map_err(at(&hashes))?;
    if flip {
        flip_bit(out, esp::MARGIN)?;
    }
    Ok(root_hash)
}

fn uuid(hex: &str) -> String {
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// Changes the lowest bit of a byte.
pub fn flip_bit(path: &Path, offset: u64) -> Result<(), String> {
    let mut file = File::options().read(true).write(true).open(path).map_err(at(path))?;
    let mut byte = [0];
    let read = file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(&mut byte));
    read.and_then(|()| file.seek(SeekFrom::Start(offset))).map_err(at(path))?;
    file.write_all(&[byte[0] ^ 1]).map_err(at(path))
}
