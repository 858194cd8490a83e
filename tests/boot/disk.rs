//! Makes disk images out of a root file system, with no mount, no loop device and no device mapper of the host.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::bcache;
use crate::command::{at, run, tool};
use crate::esp::{self, Partition};
use crate::files::{SIZE, Type, file_system, sibling};
use crate::integrity;
use crate::luks::{self, PASSPHRASE};
use crate::lvm::{self, Layout};
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
    /// F2FS on the whole disk, labelled `root`.
    F2fs,
    /// squashfs on the whole disk.
    Squashfs,
    /// EROFS on the whole disk.
    Erofs,
    /// ext4 without `/usr`, which is on the second disk.
    SeparateUsr,
    /// ext4 in LUKS2 on the whole disk, passphrase `PASSPHRASE`.
    Luks,
    /// The same, opened by a TPM and nothing else, if nobody has measured anything into register 12.
    LuksTpm,
    /// The same with register 7, into which all firmware measures.
    LuksTpmFirmware,
    /// The same with a key that signs what register 12 may be.
    LuksTpmSigned,
    /// The same with a key that is made for this run and signs what register 11 may be, into which the stub of an image measures it.
    LuksTpmImage,
    /// The same with register 12 and a PIN.
    LuksTpmPin,
    /// ext4 in LUKS2, opened by a recovery key and nothing else.
    LuksRecovery,
    /// ext4 in LUKS2, its key in a file system on the second disk.
    LuksKeyFile,
    /// The same with another key there.
    LuksWrongKeyFile,
    /// ext4 in LUKS2, the header on the second disk.
    LuksDetached,
    /// ext4 in the logical volume `vg0/root`.
    Lvm,
    /// ext4 in a thin volume `vg0/root`.
    LvmThin,
    /// ext4 in the volume `vg0/root`, mirrored on two disks.
    LvmRaid1,
    /// `vg0/root` in LUKS2.
    LvmInLuks,
    /// LUKS2 in `vg0/root`.
    LuksInLvm,
    /// ext4 on a mirror of two disks.
    Md,
    /// ext4 on two striped disks.
    MdRaid0,
    /// ext4 on four disks, two of which may be missing.
    MdRaid6,
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
    /// ext4, and a swap space on the second disk, labelled `swap`.
    Swap,
    /// ext4 behind a cache that is on the second disk.
    Bcache,
    /// ext4 in a volume of dm-integrity.
    Integrity,
    /// The same with a bit changed that ext4 never looks at.
    IntegrityFlipped,
    /// ext4 in LUKS2 with dm-integrity below.
    LuksIntegrity,
    /// ext4 on a partition, and room behind it.
    Room,
    /// `/usr` on a partition with all that a root begins with, and room for the root behind it.
    UsrAndRoom,
    /// The same without the room.
    UsrAlone,
    /// No root: ext4 with an overlay for an Alpine whose system is its initrd.
    Apkovl,
}

/// What came of making a disk.
#[derive(Debug, Clone, Default)]
pub struct Product {
    /// The disks in order.
    pub disks: Vec<PathBuf>,
    /// What a machine that makes disks has beside them, and copies from.
    pub material: Vec<PathBuf>,
    /// The state of the TPM that opens it.
    pub tpm: Option<PathBuf>,
    /// What command lines and credentials need to know of it.
    pub words: Vec<(&'static str, String)>,
}

/// Only a signature counts, and no register's value.
const SIGNED_POLICY: &[&str] = &["--tpm2-pcrs=", "--tpm2-public-key=tests/boot/policy/public.pem", "--tpm2-public-key-pcrs=12"];
/// Room for the memory of a machine that hibernates.
const SWAP: u64 = 2 << 30;
/// Room for a partition that the boot makes.
const ROOM: u64 = 128 << 20;
/// Room for a root that the boot makes.
const ROOT_ROOM: u64 = 512 << 20;

impl Disk {
    /// Returns the word for the table and for file names.
    pub fn name(self) -> &'static str {
        match self {
            Disk::Ext4 => "ext4",
            Disk::Btrfs => "btrfs",
            Disk::BtrfsSubvolume => "btrfs-subvolume",
            Disk::BtrfsRaid1 => "btrfs-raid1",
            Disk::Xfs => "xfs",
            Disk::F2fs => "f2fs",
            Disk::Squashfs => "squashfs",
            Disk::Erofs => "erofs",
            Disk::SeparateUsr => "separate-usr",
            Disk::Luks => "luks2",
            Disk::LuksTpm => "luks2-tpm-pcr12",
            Disk::LuksTpmFirmware => "luks2-tpm-pcr7",
            Disk::LuksTpmSigned => "luks2-tpm-signed",
            Disk::LuksTpmImage => "luks2-tpm-image",
            Disk::LuksTpmPin => "luks2-tpm-pin",
            Disk::LuksRecovery => "luks2-recovery",
            Disk::LuksKeyFile => "luks2-key-disk",
            Disk::LuksWrongKeyFile => "luks2-wrong-key-disk",
            Disk::LuksDetached => "luks2-detached",
            Disk::Lvm => "lvm",
            Disk::LvmThin => "lvm-thin",
            Disk::LvmRaid1 => "lvm-raid1",
            Disk::LvmInLuks => "lvm-in-luks2",
            Disk::LuksInLvm => "luks2-in-lvm",
            Disk::Md => "md-raid1",
            Disk::MdRaid0 => "md-raid0",
            Disk::MdRaid6 => "md-raid6",
            Disk::MdRaid5 => "md-raid5",
            Disk::MdRaid10 => "md-raid10",
            Disk::LuksOnMd => "luks2-on-md",
            Disk::LvmInLuksOnMd => "lvm-in-luks2-on-md",
            Disk::Verity => "verity",
            Disk::VerityFlipped => "verity-flipped",
            Disk::Tree => "tree",
            Disk::Swap => "ext4 and swap",
            Disk::Bcache => "bcache",
            Disk::Integrity => "integrity",
            Disk::IntegrityFlipped => "integrity-flipped",
            Disk::LuksIntegrity => "luks2-integrity",
            Disk::Room => "gpt-with-room",
            Disk::UsrAndRoom => "gpt-usr-with-room",
            Disk::UsrAlone => "gpt-usr",
            Disk::Apkovl => "apkovl",
        }
    }

    /// Returns the file system where it is another than ext4 with a whole root.
    fn other_files(self) -> Option<Type> {
        match self {
            Disk::Btrfs | Disk::BtrfsRaid1 => Some(Type::Btrfs),
            Disk::BtrfsSubvolume => Some(Type::BtrfsSubvolume),
            Disk::Xfs => Some(Type::Xfs),
            Disk::F2fs => Some(Type::F2fs),
            Disk::Squashfs => Some(Type::Squashfs),
            Disk::Erofs => Some(Type::Erofs),
            Disk::SeparateUsr => Some(Type::SeparateUsr),
            Disk::UsrAndRoom | Disk::UsrAlone => Some(Type::UsrWithSeed),
            Disk::Tree => Some(Type::Tree),
            _ => None,
        }
    }

    /// Returns the word for the work that is left to a machine that makes disks.
    pub fn to_be_made(self) -> Option<&'static str> {
        match self {
            Disk::BtrfsRaid1 => Some("btrfs-raid1"),
            Disk::Integrity | Disk::IntegrityFlipped => Some("integrity"),
            Disk::LuksIntegrity => Some("luks-integrity"),
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
    let second = sibling(out, 2);
    match kind {
        Disk::SeparateUsr => {}
        // A machine adds it to the file system.
        Disk::BtrfsRaid1 => File::create(&second).and_then(|file| file.set_len(SIZE)).map_err(at(&second))?,
        Disk::UsrAndRoom | Disk::UsrAlone => {
            let inner = out.with_extension("inner");
            fs::rename(out, &inner).map_err(at(out))?;
            let partition = Partition { kind: esp::USR_TYPE, name: "usr", uuid: None, file: &inner };
            let free = if kind == Disk::UsrAlone { 0 } else { ROOT_ROOM };
            return consumed(&inner, esp::disk_of(&[partition], free, out).map(|()| vec![out.to_owned()]));
        }
        _ => return Ok(product(vec![out.to_owned()])),
    }
    Ok(product(vec![out.to_owned(), second]))
}

/// Makes the disk `out` of a kind that holds the file system `root`.
pub fn make(kind: Disk, root: &Path, out: &Path) -> Result<Product, String> {
    match kind {
        Disk::Lvm => return lvm::group(Layout::Linear, root, out).map(product),
        Disk::LvmThin => return lvm::group(Layout::Thin, root, out).map(product),
        Disk::LvmRaid1 => return lvm::group(Layout::Raid1, root, out).map(product),
        Disk::Md => return md::array(Level::Raid1, root, out).map(product),
        Disk::MdRaid0 => return md::array(Level::Raid0, root, out).map(product),
        Disk::MdRaid6 => return md::array(Level::Raid6, root, out).map(product),
        Disk::MdRaid5 => return md::array(Level::Raid5, root, out).map(product),
        Disk::MdRaid10 => return md::array(Level::Raid10, root, out).map(product),
        Disk::Verity | Disk::VerityFlipped => {
            let hash = verity::disk(root, kind == Disk::VerityFlipped, out)?;
            return Ok(Product { words: vec![("roothash", hash)], ..product(vec![out.to_owned()]) });
        }
        Disk::Integrity | Disk::IntegrityFlipped | Disk::LuksIntegrity => {
            let material = sibling(out, 2);
            copy(root, &material)?;
            // Room for the sums and the journal.
            File::create(out).and_then(|file| file.set_len(SIZE + SIZE / 8)).map_err(at(out))?;
            return Ok(Product { material: vec![material], ..product(vec![out.to_owned()]) });
        }
        Disk::Bcache => return bcache::disks(root, out).map(product),
        Disk::Room => {
            let partition = Partition { kind: esp::ROOT_TYPE, name: "root", uuid: None, file: root };
            return esp::disk_of(&[partition], ROOM, out).map(|()| product(vec![out.to_owned()]));
        }
        Disk::LvmInLuks => {
            lvm::group(Layout::Linear, root, out)?;
            return luks::encrypt(out).map(|()| product(vec![out.to_owned()]));
        }
        Disk::LvmInLuksOnMd => {
            let inner = out.with_extension("inner");
            lvm::group(Layout::Linear, root, &inner)?;
            luks::encrypt(&inner)?;
            return consumed(&inner, md::array(Level::Raid1, &inner, out));
        }
        Disk::LuksInLvm | Disk::LuksOnMd => {
            let inner = out.with_extension("inner");
            copy(root, &inner)?;
            luks::encrypt(&inner)?;
            let made = match kind {
                Disk::LuksInLvm => lvm::group(Layout::Linear, &inner, out),
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
    } else if kind == Disk::Swap {
        let swap = sibling(out, 2);
        File::create(&swap).and_then(|file| file.set_len(SWAP)).map_err(at(&swap))?;
        run(tool("mkswap").args(["-q", "-L", "swap"]).arg(&swap))?;
        product.disks.push(swap);
    } else if kind != Disk::Ext4 {
        luks::encrypt(out)?;
    }
    match kind {
        Disk::LuksTpm => product.tpm = Some(luks::enrol_tpm(out, &["--tpm2-pcrs=12"])?),
        Disk::LuksTpmSigned => product.tpm = Some(luks::enrol_tpm(out, SIGNED_POLICY)?),
        Disk::LuksTpmImage => {
            let (_, public) = luks::policy_key(out.parent().unwrap_or(Path::new(".")))?;
            let public = format!("--tpm2-public-key={}", public.display());
            product.tpm = Some(luks::enrol_tpm(out, &["--tpm2-pcrs=", &public, "--tpm2-public-key-pcrs=11"])?);
        }
        Disk::LuksTpmPin => product.tpm = Some(luks::enrol_tpm(out, &["--tpm2-pcrs=12", "--tpm2-with-pin=true"])?),
        Disk::LuksRecovery => product.words.push(("recovery", luks::enrol_recovery(out)?)),
        Disk::LuksKeyFile | Disk::LuksWrongKeyFile => {
            let keys = sibling(out, 2);
            luks::key_disk(if kind == Disk::LuksKeyFile { PASSPHRASE } else { "battery staple" }, &keys)?;
            product.disks.push(keys);
        }
        Disk::LuksTpmFirmware => product.tpm = Some(luks::enrol_tpm(out, &["--tpm2-pcrs=7"])?),
        _ => {}
    }
    Ok(product)
}

/// Does what is left to do when a machine has made a disk.
pub fn finish(kind: Disk, product: &mut Product) -> Result<(), String> {
    for material in product.material.drain(..) {
        fs::remove_file(&material).map_err(at(&material))?;
    }
    if kind == Disk::IntegrityFlipped { integrity::flip(&product.disks[0]) } else { Ok(()) }
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
