//! Makes disk images out of a root file system, with no mount, no loop device and no device mapper of the host.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::command::{as_root, at, run, tool};
use crate::esp;
use crate::lvm;
use crate::md;
use crate::root::FINISH;

/// What lies between the disk and the root file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Disk {
    /// ext4 on the whole disk, labelled `root`.
    Ext4,
    /// btrfs on the whole disk, labelled `root`.
    Btrfs,
    /// ext4 in LUKS2 on the whole disk, passphrase `PASSPHRASE`.
    Luks,
    /// ext4 in the logical volume `vg0/root`.
    Lvm,
    /// `vg0/root` in LUKS2.
    LvmInLuks,
    /// ext4 on a mirror of two disks.
    Md,
}

/// The UUID of the LUKS header, for `rd.luks.name=`.
pub const LUKS_UUID: &str = "6d6b696e-6974-4264-8000-6c756b730001";
/// What opens the LUKS volume.
pub const PASSPHRASE: &str = "correct horse";

const FS_UUID: &str = "6d6b696e-6974-4264-8000-726f6f740001";
const SIZE: u64 = 768 << 20;
/// What reencryption takes from the end of the disk: twice the header's 16 MiB.
const LUKS_RESERVED: u64 = 32 << 20;

impl Disk {
    /// Returns the word for the table and for file names.
    pub fn name(self) -> &'static str {
        match self {
            Disk::Ext4 => "ext4",
            Disk::Btrfs => "btrfs",
            Disk::Luks => "luks2",
            Disk::Lvm => "lvm",
            Disk::LvmInLuks => "lvm-in-luks2",
            Disk::Md => "md-raid1",
        }
    }
}

/// Makes the image `out` of `kind` out of the root in `tar` with the files of `overlay` laid over it.
pub fn make(kind: Disk, tar: &Path, overlay: &Path, out: &Path) -> Result<(), String> {
    match kind {
        Disk::Ext4 | Disk::Btrfs => file_system(kind, tar, overlay, out),
        Disk::Luks => {
            file_system(kind, tar, overlay, out)?;
            encrypt(out)
        }
        Disk::Md => {
            let inner = out.with_extension("fs");
            file_system(kind, tar, overlay, &inner)?;
            md::mirror(&inner, out)?;
            fs::remove_file(&inner).map_err(at(&inner))
        }
        Disk::Lvm | Disk::LvmInLuks => {
            let inner = out.with_extension("fs");
            file_system(kind, tar, overlay, &inner)?;
            wrap_in_lvm(&inner, out)?;
            fs::remove_file(&inner).map_err(at(&inner))?;
            if kind == Disk::LvmInLuks { encrypt(out) } else { Ok(()) }
        }
    }
}

fn file_system(kind: Disk, tar: &Path, overlay: &Path, out: &Path) -> Result<(), String> {
    File::create(out).and_then(|file| file.set_len(SIZE)).map_err(at(out))?;
    let make = match kind {
        Disk::Btrfs => r#"mkfs.btrfs -q -L root --rootdir "$root" "$out""#.to_owned(),
        _ => format!(
            r#"mke2fs -q -F -t ext4 -L root -U {FS_UUID} -E lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0 -d "$root" "$out""#
        ),
    };
    let script = format!(
        r#"tar=$1 overlay=$2 out=$3 root=$3.root
        trap 'rm -rf "$root"' EXIT
        mkdir "$root"
        tar -xpf "$tar" -C "$root" --numeric-owner --exclude='./dev/*'
        {FINISH}
        cp -dR "$overlay/." "$root/"
        {make}"#
    );
    run(&mut as_root(&script, &[tar, overlay, out])).map(drop)
}

/// Encrypts what an image holds in place, offline. PBKDF2 with few rounds: Argon2 wants more memory than the guest has.
fn encrypt(image: &Path) -> Result<(), String> {
    let size = fs::metadata(image).map_err(at(image))?.len();
    File::options().write(true).open(image).and_then(|file| file.set_len(size + LUKS_RESERVED)).map_err(at(image))?;
    let key = image.with_extension("key");
    fs::write(&key, PASSPHRASE).map_err(at(&key))?;
    let reserved = format!("{}M", LUKS_RESERVED >> 20);
    run(tool("cryptsetup")
        .args(["reencrypt", "--encrypt", "--batch-mode", "--type", "luks2", "--uuid", LUKS_UUID])
        .args(["--reduce-device-size", &reserved, "--resilience", "none"])
        .args(["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"])
        .args(["--cipher", "aes-xts-plain64", "--key-size", "256", "--key-file"])
        .args([key.as_path(), image]))?;
    fs::remove_file(&key).map_err(at(&key))
}

fn wrap_in_lvm(inner: &Path, out: &Path) -> Result<(), String> {
    let mut to = File::create(out).map_err(at(out))?;
    let extents = SIZE.div_ceil(lvm::EXTENT);
    to.write_all(&lvm::header(extents)).map_err(at(out))?;
    to.set_len(lvm::DATA_START + extents * lvm::EXTENT).map_err(at(out))?;
    esp::copy_sparse(inner, &mut to, lvm::DATA_START)
}
