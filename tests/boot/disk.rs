//! Makes disk images out of a root file system, with no mount, no loop device and no device mapper of the host.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::command::{at, run, tool};
use crate::esp;
use crate::files::{SIZE, Type, file_system};
use crate::luks;
use crate::lvm;
use crate::md;
use crate::verity;

/// What lies between the disk and the root file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Disk {
    /// ext4 on the whole disk, labelled `root`.
    Ext4,
    /// btrfs on the whole disk, labelled `root`.
    Btrfs,
    /// XFS on the whole disk, labelled `root`.
    Xfs,
    /// ext4 in LUKS2 on the whole disk, passphrase `PASSPHRASE`.
    Luks,
    /// The same, opened by a TPM and nothing else, if nobody has measured anything into register 12.
    LuksTpm,
    /// The same with register 7, into which all firmware measures.
    LuksTpmFirmware,
    /// ext4 in the logical volume `vg0/root`.
    Lvm,
    /// `vg0/root` in LUKS2.
    LvmInLuks,
    /// ext4 on a mirror of two disks.
    Md,
    /// ext4 on a partition, its hashes on another.
    Verity,
    /// The same with a bit changed that ext4 never looks at.
    VerityFlipped,
    /// No root: ext4 with an overlay for an Alpine whose system is its initrd.
    Apkovl,
}

/// What came of making a disk.
#[derive(Debug, Clone, Default)]
pub struct Product {
    /// The disks in order.
    pub disks: Vec<PathBuf>,
    /// The state of the TPM that opens it.
    pub tpm: Option<PathBuf>,
    /// What command lines and credentials need to know of it.
    pub words: Vec<(&'static str, String)>,
}

impl Disk {
    /// Returns the word for the table and for file names.
    pub fn name(self) -> &'static str {
        match self {
            Disk::Ext4 => "ext4",
            Disk::Btrfs => "btrfs",
            Disk::Xfs => "xfs",
            Disk::Luks => "luks2",
            Disk::LuksTpm => "luks2-tpm-pcr12",
            Disk::LuksTpmFirmware => "luks2-tpm-pcr7",
            Disk::Lvm => "lvm",
            Disk::LvmInLuks => "lvm-in-luks2",
            Disk::Md => "md-raid1",
            Disk::Verity => "verity",
            Disk::VerityFlipped => "verity-flipped",
            Disk::Apkovl => "apkovl",
        }
    }

    /// Returns the file system where it is another than ext4 with a whole root.
    fn other_files(self) -> Option<Type> {
        match self {
            Disk::Btrfs => Some(Type::Btrfs),
            Disk::Xfs => Some(Type::Xfs),
            _ => None,
        }
    }

    /// Tells whether it is made of an ext4 file system with a root.
    pub fn holds_ext4(self) -> bool {
        self.other_files().is_none() && self != Disk::Apkovl
    }
}

/// Makes the disk `out` of a kind that is no ext4, out of the root in `tar` with the files of `overlay` laid over it.
pub fn make_of_files(kind: Disk, tar: &Path, overlay: &Path, out: &Path) -> Result<Product, String> {
    let files = kind.other_files().ok_or_else(|| format!("`{}` is made of ext4", kind.name()))?;
    file_system(files, tar, overlay, out)?;
    Ok(product(vec![out.to_owned()]))
}

/// Makes the disk `out` of a kind that holds the file system `root`.
pub fn make(kind: Disk, root: &Path, out: &Path) -> Result<Product, String> {
    let mut product = product(vec![out.to_owned()]);
    match kind {
        Disk::Md => {
            md::mirror(root, out)?;
            product.disks.push(md::second(out));
        }
        Disk::Verity | Disk::VerityFlipped => {
            let hash = verity::disk(root, kind == Disk::VerityFlipped, out)?;
            product.words.push(("roothash", hash));
        }
        Disk::Lvm => wrap_in_lvm(root, out)?,
        Disk::LvmInLuks => {
            wrap_in_lvm(root, out)?;
            luks::encrypt(out)?;
        }
        Disk::Luks | Disk::LuksTpm | Disk::LuksTpmFirmware => {
            copy(root, out)?;
            luks::encrypt(out)?;
        }
        _ => copy(root, out)?,
    }
    match kind {
        Disk::LuksTpm => product.tpm = Some(luks::enrol_tpm(out, 12)?),
        Disk::LuksTpmFirmware => product.tpm = Some(luks::enrol_tpm(out, 7)?),
        _ => {}
    }
    Ok(product)
}

fn product(disks: Vec<PathBuf>) -> Product {
    Product { disks, ..Product::default() }
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    run(tool("cp").arg("--sparse=always").args([from, to])).map(drop)
}

fn wrap_in_lvm(inner: &Path, out: &Path) -> Result<(), String> {
    let mut to = File::create(out).map_err(at(out))?;
    let extents = SIZE.div_ceil(lvm::EXTENT);
    to.write_all(&lvm::header(extents)).map_err(at(out))?;
    to.set_len(lvm::DATA_START + extents * lvm::EXTENT).map_err(at(out))?;
    esp::copy_sparse(inner, &mut to, lvm::DATA_START)
}
