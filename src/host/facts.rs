//! What a machine is, as data: everything about it that an image depends on. `mkinitrd-pkg host --json` prints it, `--host-facts` reads it.
//!
//! A build from saved facts gives the same bytes as one on the machine, so nothing below `host` may look at the machine itself.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// The version of this form; raised when a field changes its meaning or goes away.
pub const SCHEMA: u32 = 1;

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// [`SCHEMA`].
    pub schema: u32,
    /// What was looked at; only of a whole machine can be told what it needs.
    pub view: View,
    /// The architecture in the kernel's word (`uname -m`).
    pub machine: String,
    /// The running kernel (`uname -r`).
    pub kernel: String,
    /// What os-release says.
    pub os: OsRelease,
    /// The processor, where it has microcode to load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    /// Started by UEFI.
    #[serde(default)]
    pub efi: bool,
    /// A TPM 2.0 is there.
    #[serde(default)]
    pub tpm2: bool,
    /// The kernel's command line.
    #[serde(default)]
    pub command_line: String,
    /// Loaded kernel modules, by the kernel's names, sorted.
    #[serde(default)]
    pub modules: Vec<String>,
    /// Devices that ask for a driver, sorted by path.
    #[serde(default)]
    pub devices: Vec<Device>,
    /// Block devices that an initrd has to bring up: those under the volumes, and what they are made of, sorted by name.
    #[serde(default)]
    pub blocks: Vec<Block>,
    /// What an initrd has to reach.
    #[serde(default)]
    pub volumes: Vec<Volume>,
    /// Where kernels and images lie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<Boot>,
    /// Files of its configuration that an image may need, sorted by path.
    #[serde(default)]
    pub files: Vec<HostFile>,
    /// What could not be found out, and why: sentences for a person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<String>,
}

/// What was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind", content = "why")]
pub enum View {
    /// A running machine with all its devices.
    Machine,
    /// A chroot, a container, an installer: its devices are not those that the image will meet. Holds what showed it.
    Partial(String),
}

/// What `os-release` says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OsRelease {
    /// `ID`: `debian`.
    pub id: String,
    /// `ID_LIKE`, split.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub id_like: Vec<String>,
    /// `VERSION_CODENAME`: `trixie`. Debian's testing and unstable name the coming release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codename: Option<String>,
    /// `UBUNTU_CODENAME` or `DEBIAN_CODENAME`: the release that a derivative is made of, where it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_codename: Option<String>,
    /// `VERSION_ID`: `13`; testing and unstable have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
}

/// A processor of the x86 family, as `/proc/cpuinfo` numbers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cpu {
    /// `GenuineIntel`, `AuthenticAMD`.
    pub vendor: String,
    /// Family.
    pub family: u32,
    /// Model.
    pub model: u32,
    /// Stepping.
    pub stepping: u32,
    /// It is one that a hypervisor shows; microcode is the host's business then.
    #[serde(default)]
    pub hypervisor: bool,
}

/// A device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Below `/sys/devices`: `pci0000:00/0000:00:1d.0`.
    pub path: String,
    /// What it asks for: `pci:v0000144Dd0000A808…`.
    pub modalias: String,
    /// The module that drives it, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
}

/// A block device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// The kernel's name: `nvme0n1p2`, `dm-0`, `md127`.
    pub name: String,
    /// What it is.
    pub kind: BlockKind,
    /// The device mapper's name of it: `vg0-root`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapped: Option<String>,
    /// What it is made of, by the kernel's names: a partition of its disk, a mapping of what it maps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<String>,
    /// Drivers on its path in sysfs, for a disk: `nvme`, `virtio_blk`, `ahci`, `sd_mod`; sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drivers: Vec<String>,
    /// How the disk is reached when it is not in the machine: `iscsi`, `fc`, `nvme-tcp`, `nvme-rdma`, `nvme-fc`, `nbd`, `aoe`, `rbd`, `usb`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
    /// What is on it, as libblkid names it: `ext4`, `crypto_LUKS`, `LVM2_member`, `linux_raid_member`, `swap`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fstype: Option<String>,
    /// The UUID of what is on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// The label of what is on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The UUID of the partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partuuid: Option<String>,
    /// Its LUKS header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub luks: Option<Luks>,
    /// Targets of its device mapper table, or the personality of its array: `crypt`, `linear`, `thin-pool`, `raid1`; sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
    /// The metadata of an array: `1.2`, `0.90`, `external:imsm` (which `mdmon` has to look after).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// The file behind a loop device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backing: Option<String>,
}

/// What a block device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlockKind {
    /// A disk, or what looks like one.
    Disk,
    /// A partition.
    Partition,
    /// An opened LUKS, plain, BitLocker or VeraCrypt volume.
    Crypt,
    /// A logical volume of LVM.
    Lvm,
    /// An array of md.
    Raid,
    /// A map over several paths.
    Multipath,
    /// Another mapping, its `targets` say which: verity, integrity.
    Mapping,
    /// A cache in front of a disk.
    Bcache,
    /// A file.
    Loop,
}

/// What a LUKS header says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Luks {
    /// 1 or 2.
    pub version: u8,
    /// How data and key slots are encrypted: `aes-xts-plain64`; sorted.
    pub ciphers: BTreeSet<String>,
    /// Hashes and key derivations: `sha256`, `argon2id`; sorted.
    pub hashes: BTreeSet<String>,
    /// Types of its tokens: `systemd-tpm2`, `systemd-fido2`, `systemd-pkcs11`, `systemd-recovery`; sorted.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tokens: BTreeSet<String>,
    /// How its sectors are authenticated: `hmac(sha256)`, `aead`; sorted. Needs dm-integrity.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub integrity: BTreeSet<String>,
}

/// Something that has to be reachable before the root is switched to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// Where it is mounted: `/`, `/usr`; nothing for swap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// What is mounted, as the machine's configuration writes it: `UUID=…`, `/dev/mapper/vg0-root`, `server:/path`.
    pub source: String,
    /// The name that crypttab gives to it or to what its key opens, for [`Role::Attach`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The block device behind it by the kernel's name; nothing for a network file system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<String>,
    /// Further block devices of the same file system: btrfs and bcachefs over several disks, a journal on another.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<String>,
    /// The type of its file system, or `swap`.
    pub fstype: String,
    /// Mount options.
    #[serde(default)]
    pub options: String,
    /// What needs it.
    pub role: Role,
}

/// What a volume is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The root.
    Root,
    /// `/usr`, which systemd wants in the initrd.
    Usr,
    /// Swap that a hibernated system is in.
    Resume,
    /// An fstab entry with `x-initrd.mount`.
    Mount,
    /// A crypttab entry with `x-initrd.attach` that nothing above stands on, or a file system that holds the key of one.
    Attach,
}

/// Where kernels and images lie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    /// The directory: `/boot`, `/efi`, `/boot/efi`.
    pub directory: String,
    /// The type of its file system.
    pub fstype: String,
}

/// A file of the machine's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostFile {
    /// The absolute path.
    pub path: String,
    /// Permissions.
    pub mode: u32,
    /// What it holds.
    pub content: FileContent,
    /// It must not be read by others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secret: bool,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileContent {
    /// Text.
    Text(String),
    /// Anything else, in base64.
    Base64(String),
    /// A symlink to this.
    Link(String),
    /// A secret that was left out: `host --json` does so unless `--secrets` is given. A build that needs it fails and names it.
    Withheld,
    /// It is there and was not read, and why: `a fifo`, `larger than 8 MiB`. A build that needs it fails and says so.
    Unread(String),
}

impl Facts {
    /// Returns the block device of this name.
    pub fn block(&self, name: &str) -> Option<&Block> {
        self.blocks.iter().find(|block| block.name == name)
    }

    /// Returns the devices of a volume and everything that they are made of, each once; nothing for a network file system.
    pub fn stack_of<'a>(&'a self, volume: &'a Volume) -> Vec<&'a Block> {
        self.below(volume.block.iter().chain(&volume.members).rev().map(String::as_str).collect())
    }

    /// Returns a device and everything that it is made of, it first; each once.
    pub fn stack<'a>(&'a self, name: &'a str) -> Vec<&'a Block> {
        self.below(vec![name])
    }

    fn below<'a>(&'a self, mut names: Vec<&'a str>) -> Vec<&'a Block> {
        let mut found: Vec<&Block> = Vec::new();
        while let Some(name) = names.pop() {
            if let Some(block) = self.block(name).filter(|block| found.iter().all(|other| other.name != block.name)) {
                found.push(block);
                names.extend(block.parents.iter().map(String::as_str));
            }
        }
        found
    }

    /// Returns a file of its configuration.
    pub fn file(&self, path: &str) -> Option<&HostFile> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Returns the text of a file of its configuration; nothing where it is absent, withheld or no text.
    pub fn text(&self, path: &str) -> Option<&str> {
        match &self.file(path)?.content {
            FileContent::Text(text) => Some(text),
            _ => None,
        }
    }
}
