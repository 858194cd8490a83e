//! What a machine asks for: modules that are loaded, drivers of its devices, what its volumes are made of. Each wish has its reason.
//!
//! A wish is what the kernel or `modprobe` would ask for: a name or an alias. Whether a kernel has it as a module, in itself or not at
//! all is for [`super::grant`] to find out.

use std::collections::BTreeSet;

use super::cipher;
use crate::format::module::normalized;
use crate::host::facts::{Block, BlockKind, Facts, Role, Volume};

/// Something that is wanted of a kernel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wish {
    /// For what kind of thing; of several wishes for a module the lowest names its reason.
    pub class: Class,
    /// What.
    pub what: What,
    /// Why, as people read it: `device pci0000:00/0000:00:1d.0: pci:v…`, `loaded`, `ext4 of /`.
    pub reason: String,
    /// The image would not boot without it. Of several wishes with the same reason one has to be answered.
    pub vital: bool,
}

/// What a wish is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// A volume: its file system, mapping or cipher.
    Volume,
    /// A disk that a volume is on.
    Disk,
    /// A module that the machine's configuration names.
    Configured,
    /// A device that is there.
    Device,
    /// A module that is loaded.
    Loaded,
}

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// Whatever answers this: a name, or an alias such as `pci:v0000144D…`, `crypto-xts`, `fs-ext4`.
    Alias(String),
    /// A module by its name.
    Name(String),
}

impl What {
    /// Returns the text.
    pub fn as_str(&self) -> &str {
        match self {
            What::Name(text) | What::Alias(text) => text,
        }
    }
}

/// Returns all that a machine asks of the kernel `kver`, sorted, each thing once for each reason.
pub fn of(facts: &Facts, kver: &str) -> Vec<Wish> {
    let mut wishes = of_volumes(facts, kver);
    for device in &facts.devices {
        wishes.push(wish(Class::Device, alias(&device.modalias), format!("device {}: {}", device.path, shown(&device.modalias))));
        if let Some(driver) = &device.driver {
            wishes.push(wish(Class::Device, name(driver), format!("driver of device {}", device.path)));
        }
    }
    wishes.extend(facts.modules.iter().map(|module| wish(Class::Loaded, name(module), "loaded".to_owned())));
    wishes.sort();
    wishes.dedup();
    wishes
}

/// Returns only what its volumes ask for: without it an image for any machine would not boot this one either.
pub fn of_volumes(facts: &Facts, kver: &str) -> Vec<Wish> {
    let mut wishes = Vec::new();
    for volume in &facts.volumes {
        let title = title(volume);
        of_file_system(volume, &title, facts, &mut wishes);
        for block in facts.stack_of(volume) {
            of_block(block, &format!("{} under {title}", block.name), &mut wishes);
        }
    }
    if facts.kernel == kver {
        // This very kernel has these volumes open. What it has not loaded, it has in itself, whether its lists say so or not.
        let loaded: BTreeSet<String> = facts.modules.iter().map(|module| normalized(module)).collect();
        let can_be_missing = |wish: &Wish| loaded.contains(&normalized(bare(wish.what.as_str())));
        let missing: BTreeSet<String> =
            wishes.iter().filter(|wish| can_be_missing(wish)).map(|wish| wish.reason.clone()).collect();
        wishes.iter_mut().for_each(|wish| wish.vital &= missing.contains(&wish.reason));
    }
    wishes.sort();
    wishes.dedup();
    wishes
}

/// Tells whether a volume is reached over a network.
pub fn needs_network(facts: &Facts) -> bool {
    let stack = |volume: &Volume| {
        let transports = facts.stack_of(volume).into_iter().filter_map(|block| block.transport.as_deref());
        transports.into_iter().any(|transport| NETWORK_TRANSPORTS.contains(&transport))
    };
    let net = |volume: &Volume| {
        NETWORK_FILE_SYSTEMS.contains(&volume.fstype.as_str()) || volume.options.split(',').any(|option| option == "_netdev")
    };
    facts.volumes.iter().any(|volume| net(volume) || stack(volume))
}

/// Transports of disks that want an interface with an address.
const NETWORK_TRANSPORTS: [&str; 7] = ["iscsi", "nvme-tcp", "nvme-rdma", "nbd", "aoe", "rbd", "fcoe"];
/// File systems that are behind one.
const NETWORK_FILE_SYSTEMS: [&str; 8] = ["nfs", "nfs4", "cifs", "smb3", "ceph", "glusterfs", "afs", "sshfs"];

/// A modalias as people read it: that of a processor lists a hundred features.
fn shown(modalias: &str) -> String {
    const CHARS_MAX: usize = 100;
    match modalias.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &modalias[..end]),
        None => modalias.to_owned(),
    }
}

fn wish(class: Class, what: What, reason: String) -> Wish {
    Wish { class, what, reason, vital: false }
}

fn name(text: &str) -> What {
    What::Name(text.to_owned())
}

fn alias(text: &str) -> What {
    What::Alias(text.to_owned())
}

/// A request without what the kernel puts before the name: `fs-ext4`, `crypto-xts`.
fn bare(text: &str) -> &str {
    ["fs-", "crypto-"].iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(text)
}

/// A volume as people call it.
fn title(volume: &Volume) -> String {
    match (&volume.target, volume.role) {
        (Some(target), _) => target.clone(),
        (None, Role::Resume) => "the swap for resuming".to_owned(),
        (None, _) => volume.source.clone(),
    }
}

/// What mounting a file system asks for beside the file system itself.
const MOUNT_NEEDS: [(&str, &[&str]); 11] = [
    // The character sets that kernels have as default, and those that systemd and desktops mount with.
    ("vfat", &["nls_cp437", "nls_iso8859_1", "nls_ascii", "nls_utf8"]),
    ("msdos", &["nls_cp437", "nls_iso8859_1", "nls_ascii"]),
    ("exfat", &["nls_utf8"]),
    ("ntfs3", &["nls_utf8"]),
    ("iso9660", &["nls_iso8859_1", "nls_utf8"]),
    ("nfs", &["nfsv3", "nfsv4"]),
    ("nfs4", &["nfs", "nfsv4"]),
    ("9p", &["9pnet_virtio"]),
    ("cifs", &["nls_utf8"]),
    ("f2fs", &["crypto-crc32"]),
    ("btrfs", &["crypto-crc32c", "crypto-xxhash64", "crypto-sha256", "crypto-blake2b-256"]),
];

fn of_file_system(volume: &Volume, title: &str, facts: &Facts, wishes: &mut Vec<Wish>) {
    let on_block = volume.block.as_deref().and_then(|block| facts.block(block)).and_then(|block| block.fstype.as_deref());
    let fstype = if volume.fstype == "auto" { on_block.unwrap_or_default() } else { &volume.fstype };
    if volume.role == Role::Attach || ["", "swap", "none"].contains(&fstype) {
        return;
    }
    let reason = format!("{fstype} of {title}");
    for what in [alias(&format!("fs-{fstype}")), name(fstype)] {
        wishes.push(Wish { class: Class::Volume, what, reason: reason.clone(), vital: true });
    }
    let needs = MOUNT_NEEDS.iter().filter(|(of, _)| *of == fstype).flat_map(|(_, needs)| needs.iter());
    let options = volume.options.split(',').filter_map(|option| {
        let (key, value) = option.split_once('=')?;
        match key {
            "iocharset" | "nls" => Some(format!("nls_{value}")),
            "codepage" => Some(format!("nls_cp{value}")),
            _ => None,
        }
    });
    let mounting = format!("mounting {reason}");
    for need in needs.map(|need| (*need).to_owned()).chain(options) {
        wishes.push(wish(Class::Volume, alias(&need), mounting.clone()));
    }
}

/// Targets of the device mapper that are part of it.
const OWN_TARGETS: [&str; 4] = ["linear", "striped", "stripe", "error"];

/// Targets whose module has another name.
const TARGET_MODULES: [(&str, &str); 3] =
    [("thin", "dm-thin-pool"), ("snapshot-origin", "dm-snapshot"), ("snapshot-merge", "dm-snapshot")];

/// What a target loads when it is set up, by names that only its table has: path selectors, hardware handlers, cache policies.
const TARGET_NEEDS: [(&str, &[&str]); 3] = [
    (
        "multipath",
        &[
            "dm-service-time",
            "dm-round-robin",
            "dm-queue-length",
            "dm-historical-service-time",
            "scsi_dh_alua",
            "scsi_dh_rdac",
            "scsi_dh_emc",
        ],
    ),
    ("cache", &["dm-cache-smq"]),
    ("raid", &["raid0", "raid1", "raid10", "raid456"]),
];

fn of_block(block: &Block, place: &str, wishes: &mut Vec<Wish>) {
    let volume = |what: What, reason: String, vital: bool| Wish { class: Class::Volume, what, reason, vital };
    let mapping = matches!(block.kind, BlockKind::Crypt | BlockKind::Lvm | BlockKind::Multipath | BlockKind::Mapping);
    if mapping {
        wishes.push(volume(name("dm_mod"), format!("device mapper of {place}"), true));
    }
    for target in block.targets.iter().filter(|target| !OWN_TARGETS.contains(&target.as_str()) || !mapping) {
        let other = TARGET_MODULES.iter().find(|(of, _)| mapping && of == target).map(|(_, module)| (*module).to_owned());
        let request = other.unwrap_or_else(|| if mapping { format!("dm-{target}") } else { format!("md-{target}") });
        let reason = format!("{target} of {place}");
        wishes.push(volume(alias(&request), reason.clone(), true));
        if !mapping {
            wishes.push(volume(name(target), reason.clone(), true));
        }
        let needs = TARGET_NEEDS.iter().filter(|(of, _)| mapping && of == target).flat_map(|(_, needs)| needs.iter());
        wishes.extend(
            needs
                .map(|need| volume(alias(need), reason.clone(), false))
                .map(|wish| Wish { reason: format!("may be asked for by {}", wish.reason), ..wish }),
        );
    }
    match block.kind {
        BlockKind::Raid => wishes.push(volume(name("md_mod"), format!("array {place}"), true)),
        BlockKind::Crypt => wishes.push(volume(alias("dm-crypt"), format!("crypt of {place}"), true)),
        BlockKind::Bcache => wishes.push(volume(name("bcache"), format!("cache {place}"), true)),
        BlockKind::Loop => wishes.push(volume(name("loop"), format!("loop device {place}"), true)),
        BlockKind::Multipath => wishes.push(volume(alias("dm-multipath"), format!("multipath of {place}"), true)),
        BlockKind::Disk => of_disk(block, place, wishes),
        BlockKind::Partition | BlockKind::Lvm | BlockKind::Mapping => {}
    }
    for integrity in block.luks.iter().flat_map(|luks| &luks.integrity) {
        wishes.push(volume(alias("dm-integrity"), format!("integrity of {place}"), true));
        for (request, vital) in cipher::of_integrity(integrity) {
            let reason = format!("{} for {integrity} of {place}", request.strip_prefix("crypto-").unwrap_or(&request));
            wishes.push(volume(alias(&request), reason, vital));
        }
    }
    for spec in block.luks.iter().flat_map(|luks| &luks.ciphers) {
        for (request, vital) in cipher::requests(spec) {
            let reason = format!("{} for {spec} of {place}", request.strip_prefix("crypto-").unwrap_or(&request));
            wishes.push(volume(alias(&request), reason, vital));
        }
        // libcryptsetup opens key slots by the kernel where its own library lacks the cipher.
        for request in ["algif_skcipher", "algif_hash"] {
            wishes.push(volume(name(request), format!("key slots of {place}"), false));
        }
    }
}

/// Drivers by the names that they give their disks.
const DISK_DRIVERS: [(&str, &str); 9] = [
    ("sd", "sd_mod"),
    ("sr", "sr_mod"),
    ("nvme", "nvme"),
    ("mmcblk", "mmc_block"),
    ("vd", "virtio_blk"),
    ("xvd", "xen_blkfront"),
    ("nbd", "nbd"),
    ("pmem", "nd_pmem"),
    ("zram", "zram"),
];

/// Modules behind a transport; the first has to be there.
const TRANSPORTS: [(&str, &[&str]); 9] = [
    ("iscsi", &["iscsi_tcp", "libiscsi", "scsi_transport_iscsi", "sd_mod", "crc32c"]),
    ("nvme-tcp", &["nvme_tcp", "nvme_fabrics"]),
    ("nvme-rdma", &["nvme_rdma", "nvme_fabrics"]),
    ("nvme-fc", &["nvme_fc", "nvme_fabrics"]),
    ("nbd", &["nbd"]),
    ("aoe", &["aoe"]),
    ("fcoe", &["fcoe", "libfcoe"]),
    ("fc", &["scsi_transport_fc"]),
    ("rbd", &["rbd"]),
];

fn of_disk(block: &Block, place: &str, wishes: &mut Vec<Wish>) {
    let own = DISK_DRIVERS.iter().filter(|(start, _)| {
        let rest = block.name.strip_prefix(start);
        rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit() || (start.len() <= 3 && c.is_ascii_lowercase())))
    });
    let drivers: BTreeSet<&str> = block.drivers.iter().map(String::as_str).chain(own.map(|(_, driver)| *driver)).collect();
    for driver in drivers {
        wishes.push(wish(Class::Disk, name(driver), format!("driver of disk {place}")));
    }
    let modules = TRANSPORTS.iter().filter(|(transport, _)| block.transport.as_deref() == Some(transport));
    for (transport, modules) in modules {
        for (number, module) in modules.iter().enumerate() {
            let reason = match number {
                0 => format!("{transport} of disk {place}"),
                _ => format!("what goes with {transport} of disk {place}"),
            };
            wishes.push(Wish { class: Class::Disk, what: name(module), reason, vital: number == 0 });
        }
    }
}
