//! Makes EFI system partitions and GPT disks around a root file system, with no mount: the host kernel may know no vfat.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Stdio;

use crate::command::{at, explain, run, tool};

/// What the firmware starts when nothing else is configured.
pub const REMOVABLE_AMD64: &str = "EFI/BOOT/BOOTX64.EFI";

/// The type of an EFI system partition. With a wrong one the firmware still boots, but no root is found by `gpt-auto`.
const ESP_TYPE: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
/// The type of a root partition of x86-64, by the Discoverable Partitions Specification.
pub const ROOT_TYPE: &str = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709";
/// The type of a partition with `/usr` of x86-64, by the same.
pub const USR_TYPE: &str = "8484680c-9521-48c6-9c11-b0720656f69e";
/// What is before the first partition, and what the second table takes behind the last one.
pub const MARGIN: u64 = 1 << 20;

/// Makes the vfat file system `out` of `size` bytes that holds `files`, each a path on the ESP and the file to copy there.
pub fn make(size: u64, files: &[(&str, &Path)], out: &Path) -> Result<(), String> {
    File::create(out).and_then(|file| file.set_len(size)).map_err(at(out))?;
    run(tool("mkfs.vfat").args(["-F", "32", "-n", "ESP"]).arg(out))?;
    let mut made = Vec::new();
    for (path, file) in files {
        for (end, _) in path.match_indices('/') {
            let directory = format!("::/{}", &path[..end]);
            if !made.contains(&directory) {
                run(tool("mmd").arg("-i").arg(out).arg(&directory))?;
                made.push(directory);
            }
        }
        run(tool("mcopy").arg("-i").args([out, file]).arg(format!("::/{path}")))?;
    }
    Ok(())
}

/// A partition of a disk.
#[derive(Debug, Clone, Copy)]
pub struct Partition<'a> {
    /// Its type, a UUID.
    pub kind: &'a str,
    /// Its label.
    pub name: &'a str,
    /// Its own UUID, if it matters.
    pub uuid: Option<&'a str>,
    /// What it holds.
    pub file: &'a Path,
}

/// Makes the disk `out`: a GPT with the partitions `esp` and `root`, which are also their labels.
pub fn disk(esp: &Path, root: &Path, out: &Path) -> Result<(), String> {
    let [esp, root] =
        [(ESP_TYPE, "esp", esp), (ROOT_TYPE, "root", root)].map(|(kind, name, file)| Partition { kind, name, uuid: None, file });
    disk_of(&[esp, root], 0, out)
}

/// Makes the disk `out`: a GPT with these partitions in a row and `free` bytes behind them.
pub fn disk_of(partitions: &[Partition], free: u64, out: &Path) -> Result<(), String> {
    let mut table = "label: gpt\n".to_owned();
    let mut start = MARGIN;
    let mut contents = Vec::new();
    for Partition { kind, name, uuid, file } in partitions {
        let size = fs::metadata(file).map_err(at(file))?.len().next_multiple_of(MARGIN);
        let uuid = uuid.map_or(String::new(), |uuid| format!(", uuid={uuid}"));
        table.push_str(&format!("start={}, size={}, type={kind}, name={name}{uuid}\n", start / 512, size / 512));
        contents.push((file, start));
        start += size;
    }
    let mut disk = File::create(out).map_err(at(out))?;
    disk.set_len(start + free + MARGIN).map_err(at(out))?;
    let mut sfdisk = tool("sfdisk");
    let spawned = sfdisk.arg("-q").arg(out).stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
    let mut child = spawned.map_err(|error| explain("sfdisk", &error))?;
    child.stdin.take().expect("invariant: it is piped").write_all(table.as_bytes()).map_err(at(out))?;
    let status = child.wait().map_err(at(out))?;
    if !status.success() {
        return Err(format!("`sfdisk` failed with {status} on `{}`", out.display()));
    }
    contents.into_iter().try_for_each(|(file, start)| copy_sparse(file, &mut disk, start))
}

/// Copies a file into another at `offset`, less its zeros: most of a new file system is empty.
pub fn copy_sparse(from: &Path, to: &mut File, mut offset: u64) -> Result<(), String> {
    let mut source = File::open(from).map_err(at(from))?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = source.read(&mut buffer).map_err(at(from))?;
        if count == 0 {
            return Ok(());
        }
        if buffer[..count].iter().any(|byte| *byte != 0) {
            to.seek(SeekFrom::Start(offset)).and_then(|_| to.write_all(&buffer[..count])).map_err(at(from))?;
        }
        offset += count as u64;
    }
}
