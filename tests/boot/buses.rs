//! The boots that are about how a disk is connected.

use crate::disk::Disk;
use crate::scenarios::{BASE, Bus, Expect, Scenario, TIMED_OUT, Tier, UNREACHABLE};

/// ext4 by label, and nothing but the bus is another than every day's.
const CONNECTED: Scenario = Scenario { tier: Tier::Slow, disk: Disk::Ext4, ..BASE };

const MULTIPATH_CONF: &str = "tests/boot/multipath.conf:/etc/multipath.conf";
const WITH_MULTIPATH: &[&str] = &["--generic", "--with", "multipath", "--include", MULTIPATH_CONF];
const BY_MAP: &str = "root=/dev/mapper/mpatha";

const MAP: Expect = Expect::Boots { source: "/dev/mapper/mpatha", fstype: "ext4" };
const SCSI: Expect = Expect::Boots { source: "/dev/sda", fstype: "ext4" };

/// All boots that are about how a disk is connected.
pub const BUSES: &[Scenario] = &[
    Scenario {
        name: "nvme-4k",
        shows: "NVMe with sectors of 4 KiB",
        bus: Bus::Nvme4k,
        expect: Expect::Boots { source: "/dev/nvme0n1", fstype: "ext4" },
        way: &["nvme0n1 disk 4096 nvme"],
        twin: Some("nvme-without-driver"),
        ..CONNECTED
    },
    Scenario {
        name: "nvme-without-driver",
        shows: "the same without the driver",
        bus: Bus::Nvme4k,
        build: &["--generic", "--module=-nvme"],
        append: UNREACHABLE,
        expect: TIMED_OUT,
        ..CONNECTED
    },
    Scenario {
        name: "usb-disk",
        shows: "a USB disk",
        bus: Bus::Usb,
        expect: SCSI,
        way: &["sda disk 512 usb"],
        twin: Some("usb-without-driver"),
        ..CONNECTED
    },
    Scenario {
        name: "usb-without-driver",
        shows: "the same without the drivers",
        bus: Bus::Usb,
        build: &["--generic", "--module=-usb_storage", "--module=-uas"],
        append: UNREACHABLE,
        expect: TIMED_OUT,
        ..CONNECTED
    },
    Scenario {
        name: "ahci-disk",
        shows: "a SATA disk",
        bus: Bus::Ahci,
        expect: SCSI,
        way: &["sda disk 512 sata"],
        twin: Some("ahci-without-driver"),
        ..CONNECTED
    },
    Scenario {
        name: "ahci-without-driver",
        shows: "the same without the driver",
        bus: Bus::Ahci,
        build: &["--generic", "--module=-ahci"],
        append: UNREACHABLE,
        expect: TIMED_OUT,
        ..CONNECTED
    },
    Scenario {
        name: "late-disk",
        shows: "the disk is plugged in when the initrd has waited for 20 s",
        bus: Bus::Late,
        way: &["vda disk 512 virtio"],
        twin: Some("disk-never-comes"),
        ..CONNECTED
    },
    Scenario {
        name: "disk-never-comes",
        shows: "the same, and the disk never comes",
        missing: &[1],
        append: UNREACHABLE,
        expect: TIMED_OUT,
        ..CONNECTED
    },
    Scenario {
        name: "trixie-multipath",
        shows: "one disk over two paths",
        bus: Bus::TwoPaths,
        build: WITH_MULTIPATH,
        append: BY_MAP,
        expect: MAP,
        way: &[" multipath 0 0 2 1 "],
        twin: Some("multipath-without-feature"),
        ..CONNECTED
    },
    Scenario {
        name: "multipath-one-path",
        shows: "the same disk, one of its paths gone",
        bus: Bus::OnePath,
        build: WITH_MULTIPATH,
        append: BY_MAP,
        expect: MAP,
        way: &[" multipath 0 0 1 1 "],
        twin: Some("multipath-without-feature"),
        ..CONNECTED
    },
    Scenario {
        name: "multipath-without-feature",
        shows: "two paths, and an image without the feature for them",
        bus: Bus::TwoPaths,
        append: "root=/dev/mapper/mpatha systemd.default_device_timeout_sec=15",
        expect: Expect::Refuses { says: &["Timed out waiting for device", "/dev/mapper/mpatha"] },
        ..CONNECTED
    },
    Scenario {
        name: "scsi-by-wwn",
        shows: "a disk by the name that a rule of sg3-utils makes of its WWN",
        bus: Bus::OnePath,
        build: &["--generic", "--with", "multipath"],
        append: "root=/dev/disk/by-id/wwn-0x5000c50015ea71ac",
        expect: SCSI,
        twin: Some("virtio-scsi-without-driver"),
        ..CONNECTED
    },
];
