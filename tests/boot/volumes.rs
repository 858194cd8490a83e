//! The boots that are about volumes that layers of the kernel make of disks, and about partitions.

use crate::disk::Disk;
use crate::scenarios::{
    BASE, Expect, IN_LUKS, IN_LVM, OPENED, RIGHT, Scenario, TIMED_OUT, TOO_FEW_DISKS, Tier, UKI, UNREACHABLE, VOLUME,
};

const LAYERED: Scenario = Scenario { tier: Tier::Slow, ..BASE };

const WITH_REPART: &[&str] = &["--generic", "--with", "repart", "--include", "tests/boot/repart/grow:/usr/lib/repart.d"];
const WITH_FIRST_REPART: &[&str] = &["--generic", "--with", "repart", "--include", "tests/boot/repart/first:/usr/lib/repart.d"];
const ON_USR: &str = "mount.usr=LABEL=usr mount.usrfstype=ext4 root=LABEL=root";
const WITH_KDUMP: &[&str] = &["--host-facts", "tests/it/machines/virtio.json", "--with", "kdump"];
const CRASHES: &str = "boot-test.crash root=LABEL=root crashkernel=256M";
const CRASHED: &str = "boot-test.crashed root=LABEL=root";
const WITH_INTEGRITYTAB: &[&str] = &["--generic", "--include", "tests/boot/integritytab:/etc/integritytab"];
const WITH_MD: &[&str] = &["--generic", "--with", "md"];
const NO_VOLUME: &str = "root=/dev/vg0/root systemd.default_device_timeout_sec=20";

const ARRAY: Expect = Expect::Boots { source: "/dev/md127", fstype: "ext4" };
const NO_SYSTEM: Expect =
    Expect::Refuses { says: &["Failed to start initrd-switch-root.service", "root=LABEL=root is mounted and holds no system"] };
const VOLUME_TIMED_OUT: Expect = Expect::Refuses { says: &["Timed out waiting for device", "/dev/vg0/root"] };

/// All boots that are about volumes and partitions.
pub const VOLUMES: &[Scenario] = &[
    Scenario {
        name: "trixie-lvm-raid1",
        shows: "a mirrored volume of LVM",
        disk: Disk::LvmRaid1,
        append: IN_LVM,
        expect: VOLUME,
        way: &[" raid raid1 "],
        twin: Some("lvm-raid1-disk-missing"),
        ..LAYERED
    },
    Scenario {
        name: "lvm-raid1-disk-missing",
        shows: "the same without a disk: LVM waits for the whole group",
        disk: Disk::LvmRaid1,
        missing: &[2],
        append: NO_VOLUME,
        expect: VOLUME_TIMED_OUT,
        ..LAYERED
    },
    Scenario {
        name: "trixie-lvm-thin",
        shows: "a thin volume of LVM",
        disk: Disk::LvmThin,
        build: &["--generic", "--with", "thin"],
        append: IN_LVM,
        expect: VOLUME,
        way: &[" thin-pool ", "vg0-root: 0 1572864 thin "],
        twin: Some("thin-without-module"),
        ..LAYERED
    },
    Scenario {
        name: "thin-without-module",
        shows: "a thin volume, and an image without the module for it",
        disk: Disk::LvmThin,
        build: &["--generic", "--with", "thin", "--module=-dm_thin_pool"],
        append: NO_VOLUME,
        expect: VOLUME_TIMED_OUT,
        ..LAYERED
    },
    Scenario {
        name: "uki-gpt-auto",
        shows: "no word of the root on the command line: systemd finds it by the type of its partition",
        append: "",
        twin: Some("uki-gpt-auto-off"),
        ..UKI
    },
    Scenario {
        name: "uki-gpt-auto-off",
        shows: "the same with `systemd.gpt_auto=0`",
        append: "systemd.gpt_auto=0",
        expect: NO_SYSTEM,
        ..UKI
    },
    Scenario {
        name: "trixie-repart-first-boot",
        shows: "there is `/usr` and no root: systemd-repart makes one and fills it",
        disk: Disk::UsrAndRoom,
        build: WITH_FIRST_REPART,
        append: ON_USR,
        expect: Expect::Boots { source: "/dev/vda2", fstype: "ext4" },
        way: &["/usr /dev/vda1 ext4", "vda2 part 512 virtio", "Adding new partition 1 to partition table."],
        twin: Some("repart-without-room"),
        ..LAYERED
    },
    Scenario {
        name: "repart-without-room",
        shows: "the same without room for the root",
        disk: Disk::UsrAlone,
        build: WITH_FIRST_REPART,
        append: "mount.usr=LABEL=usr mount.usrfstype=ext4 root=LABEL=root systemd.default_device_timeout_sec=60",
        expect: Expect::Refuses { says: &["Failed to start systemd-repart.service", "root=LABEL=root: no block device is that"] },
        ..LAYERED
    },
    Scenario {
        name: "trixie-repart",
        shows: "systemd-repart makes a partition in the room behind the root",
        disk: Disk::Room,
        build: WITH_REPART,
        expect: Expect::Boots { source: "/dev/vda1", fstype: "ext4" },
        way: &["vda2 part 512 virtio", "formatted as ext4 (label \"made-at-boot\"", "Adding new partition 1 to partition table."],
        twin: Some("repart-without-room"),
        ..LAYERED
    },
    Scenario {
        name: "trixie-md-raid0",
        shows: "stripes over two disks",
        disk: Disk::MdRaid0,
        build: WITH_MD,
        expect: ARRAY,
        way: &["active raid0"],
        twin: Some("md-raid0-disk-missing"),
        ..LAYERED
    },
    Scenario {
        name: "md-raid0-disk-missing",
        shows: "the same without a disk",
        disk: Disk::MdRaid0,
        missing: &[2],
        build: WITH_MD,
        append: UNREACHABLE,
        expect: TOO_FEW_DISKS,
        ..LAYERED
    },
    Scenario {
        name: "trixie-md-raid6",
        shows: "an array with two parities",
        disk: Disk::MdRaid6,
        build: WITH_MD,
        expect: ARRAY,
        way: &["active raid6", "[4/4] [UUUU]"],
        twin: Some("md-raid6-too-few"),
        ..LAYERED
    },
    Scenario {
        name: "md-raid6-degraded",
        shows: "the same without two disks",
        disk: Disk::MdRaid6,
        missing: &[2, 3],
        build: WITH_MD,
        expect: ARRAY,
        way: &["active raid6", "[4/2] [U__U]"],
        twin: Some("md-raid6-too-few"),
        ..LAYERED
    },
    Scenario {
        name: "md-raid6-too-few",
        shows: "the same without three disks of four",
        disk: Disk::MdRaid6,
        missing: &[2, 3, 4],
        build: WITH_MD,
        append: "root=LABEL=root systemd.default_device_timeout_sec=60",
        expect: TOO_FEW_DISKS,
        ..LAYERED
    },
    Scenario {
        name: "trixie-resume",
        shows: "hibernated to a swap space, and awake again",
        disk: Disk::Swap,
        build: &["--generic", "--with", "resume"],
        append: "root=LABEL=root boot-test.hibernate",
        resumes: Some("root=LABEL=root resume=LABEL=swap"),
        way: &["awake again with the word"],
        twin: Some("no-resume"),
        ..LAYERED
    },
    Scenario {
        name: "no-resume",
        shows: "the same without `resume=`: a boot as any other, and the memory stays where it is",
        disk: Disk::Swap,
        build: &["--generic", "--with", "resume"],
        append: "root=LABEL=root boot-test.hibernate",
        resumes: Some("root=LABEL=root"),
        way: &["swsuspend"],
        ..LAYERED
    },
    Scenario {
        name: "trixie-integrity",
        shows: "dm-integrity, as the image's integritytab says",
        disk: Disk::Integrity,
        build: WITH_INTEGRITYTAB,
        append: "root=/dev/mapper/root",
        expect: OPENED,
        way: &[" integrity "],
        twin: Some("integrity-flipped"),
        ..LAYERED
    },
    Scenario {
        name: "integrity-flipped",
        shows: "the same with one bit changed, which ext4 never looks at",
        disk: Disk::IntegrityFlipped,
        build: WITH_INTEGRITYTAB,
        append: "root=/dev/mapper/root systemd.default_device_timeout_sec=15",
        expect: Expect::Refuses { says: &["device-mapper: integrity", "Checksum failed at sector 0x0"] },
        ..LAYERED
    },
    Scenario {
        name: "trixie-luks2-integrity",
        shows: "LUKS2 with a sum for each sector",
        disk: Disk::LuksIntegrity,
        append: IN_LUKS,
        credentials: RIGHT,
        expect: OPENED,
        way: &["authenc(hmac(sha256),xts(aes))", " integrity "],
        twin: Some("wrong-passphrase"),
        ..LAYERED
    },
    Scenario {
        name: "trixie-kdump",
        shows: "the kernel crashes, the image saves its memory and starts the machine again",
        build: WITH_KDUMP,
        append: CRASHES,
        resumes: Some(CRASHED),
        way: &["vmcore", "boot-test: the last words are the word"],
        twin: Some("kdump-without-feature"),
        ..LAYERED
    },
    Scenario {
        name: "kdump-without-feature",
        shows: "the same, and an image without the feature: it starts the root",
        build: &["--host-facts", "tests/it/machines/virtio.json"],
        append: CRASHES,
        resumes: Some(CRASHED),
        way: &["ls: cannot access '/var/crash'"],
        ..LAYERED
    },
    Scenario {
        name: "trixie-bcache",
        shows: "a disk with a cache on another",
        disk: Disk::Bcache,
        build: &["--generic", "--with", "bcache"],
        expect: Expect::Boots { source: "/dev/bcache0", fstype: "ext4" },
        way: &["bcache0 is clean"],
        twin: Some("bcache-without-feature"),
        ..LAYERED
    },
    Scenario {
        name: "bcache-without-feature",
        shows: "the same, and an image without the feature for it",
        disk: Disk::Bcache,
        append: UNREACHABLE,
        expect: TIMED_OUT,
        ..LAYERED
    },
];
