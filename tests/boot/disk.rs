//! Makes disk images out of a root file system, with no mount, no loop device and no device mapper of the host.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::command::{at, run, tool};
use crate::files::{SIZE, Type, file_system, sibling};
use crate::luks;
use crate::lvm;
use crate::md::{self, Level};
use crate::verity;

/// What lies between the disk and the root file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Disk {
    /// ext4 on the whole disk, labelled `root`.
    Ext4,
    /// btrfs on the whole disk, labelled `root`.
    Btrfs,
    /// The same, the root in the subvolume `@`.
    BtrfsSubvolume,
    /// btrfs, everything on both of two disks.
    BtrfsRaid1,
    /// XFS on the whole disk, labelled `root`.
    Xfs,
    /// ext4 without `/usr`, which is on the second disk.
    SeparateUsr,
    /// ext4 in LUKS2 on the whole disk, passphrase `PASSPHRASE`.
    Luks,
    /// The same, opened by a TPM and nothing else, if nobody has measured anything into register 12.
    LuksTpm,
    /// The same with register 7, into which all firmware measures.
    LuksTpmFirmware,
    /// ext4 in LUKS2, the header on the second disk.
    LuksDetached,
    /// ext4 in the logical volume `vg0/root`.
    Lvm,
    /// `vg0/root` in LUKS2.
    LvmInLuks,
    /// LUKS2 in `vg0/root`.
    LuksInLvm,
    /// ext4 on a mirror of two disks.
    Md,
    /// ext4 on three disks, one of which may be missing.
    MdRaid5,
    /// ext4 on two striped mirrors.
    MdRaid10,
    /// ext4 in LUKS2 on a mirror.
    LuksOnMd,
    /// ext4 in `vg0/root` in LUKS2 on a mirror.
    LvmInLuksOnMd,
    /// ext4 on a partition, its hashes on another.
    Verity,
    /// The same with a bit changed that ext4 never looks at.
    VerityFlipped,
    /// No disk, but a directory with the root.
    Tree,
    /// The root as squashfs.
    Squashfs,
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
            Disk::BtrfsSubvolume => "btrfs-subvolume",
            Disk::BtrfsRaid1 => "btrfs-raid1",
            Disk::Xfs => "xfs",
            Disk::SeparateUsr => "separate-usr",
            Disk::Luks => "luks2",
            Disk::LuksTpm => "luks2-tpm-pcr12",
            Disk::LuksTpmFirmware => "luks2-tpm-pcr7",
            Disk::LuksDetached => "luks2-detached",
            Disk::Lvm => "lvm",
            Disk::LvmInLuks => "lvm-in-luks2",
            Disk::LuksInLvm => "luks2-in-lvm",
            Disk::Md => "md-raid1",
            Disk::MdRaid5 => "md-raid5",
            Disk::MdRaid10 => "md-raid10",
            Disk::LuksOnMd => "luks2-on-md",
            Disk::LvmInLuksOnMd => "lvm-in-luks2-on-md",
            Disk::Verity => "verity",
            Disk::VerityFlipped => "verity-flipped",
            Disk::Tree => "tree",
            Disk::Squashfs => "squashfs",
            Disk::Apkovl => "apkovl",
        }
    }

    /// Returns the file system where it is another than ext4 with a whole root.
    fn other_files(self) -> Option<Type> {
        match self {
            Disk::Btrfs | Disk::BtrfsRaid1 => Some(Type::Btrfs),
            Disk::BtrfsSubvolume => Some(Type::BtrfsSubvolume),
            Disk::Xfs => Some(Type::Xfs),
            Disk::SeparateUsr => Some(Type::SeparateUsr),
            Disk::Tree => Some(Type::Tree),
            Disk::Squashfs => Some(Type::Squashfs),
            _ => None,
        }
    }

    /// Returns the word for the work that is left to a machine that makes disks.
    pub fn to_be_made(self) -> Option<&'static str> {
        (self == Disk::BtrfsRaid1).then_some("btrfs-raid1")
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
    let second = sibling(out, 2);
    match kind {
        Disk::SeparateUsr => {}
        // A machine adds it to the file system.
        Disk::BtrfsRaid1 => File::create(&second).and_then(|file| file.set_len(SIZE)).map_err(at(&second))?,
        _ => return Ok(product(vec![out.to_owned()])),
    }
    Ok(product(vec![out.to_owned(), second]))
}

/// Makes the disk `out` of a kind that holds the file system `root`.
pub fn make(kind: Disk, root: &Path, out: &Path) -> Result<Product, String> {
    match kind {
        Disk::Lvm => return lvm::group(root, out).map(|()| product(vec![out.to_owned()])),
        Disk::Md => return md::array(Level::Raid1, root, out).map(product),
        Disk::MdRaid5 => return md::array(Level::Raid5, root, out).map(product),
        Disk::MdRaid10 => return md::array(Level::Raid10, root, out).map(product),
        Disk::Verity | Disk::VerityFlipped => {
            let hash = verity::disk(root, kind == Disk::VerityFlipped, out)?;
            return Ok(Product { words: vec![("roothash", hash)], ..product(vec![out.to_owned()]) });
        }
        Disk::LvmInLuks => {
            lvm::group(root, out)?;
            return luks::encrypt(out).map(|()| product(vec![out.to_owned()]));
        }
        Disk::LvmInLuksOnMd => {
            let inner = out.with_extension("inner");
            lvm::group(root, &inner)?;
            luks::encrypt(&inner)?;
            return consumed(&inner, md::array(Level::Raid1, &inner, out));
        }
        Disk::LuksInLvm | Disk::LuksOnMd => {
            let inner = out.with_extension("inner");
            copy(root, &inner)?;
            luks::encrypt(&inner)?;
            let made = match kind {
                Disk::LuksInLvm => lvm::group(&inner, out).map(|()| vec![out.to_owned()]),
                _ => md::array(Level::Raid1, &inner, out),
            };
            return consumed(&inner, made);
        }
        _ => {}
    }
    copy(root, out)?;
    let mut product = product(vec![out.to_owned()]);
    if kind == Disk::LuksDetached {
        let header = sibling(out, 2);
        luks::encrypt_detached(out, &header)?;
        product.disks.push(header);
    } else if kind != Disk::Ext4 {
        luks::encrypt(out)?;
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

fn consumed(inner: &Path, made: Result<Vec<PathBuf>, String>) -> Result<Product, String> {
    let disks = made?;
    fs::remove_file(inner).map_err(at(inner))?;
    Ok(product(disks))
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    run(tool("cp").arg("--sparse=always").args([from, to])).map(drop)
}
