//! The boots that are about storage: file systems, volumes, arrays, and what opens and checks them.

use crate::disk::Disk;
use crate::scenarios::{
    BASE, Expect, IN_LUKS, LVM_IN_LUKS, OPENED, RIGHT, Scenario, TIMED_OUT, TOO_FEW_DISKS, Tier, Tpm, UNREACHABLE, VOLUME,
};

/// All of them are of trixie, and none of the first tier.
const STORED: Scenario = Scenario { tier: Tier::Slow, ..BASE };

const WITH_XFS: &[&str] = &["--generic", "--with", "xfs"];
const WITHOUT_XFS: &[&str] = &["--generic", "--module=-xfs"];
const WITH_MD: &[&str] = &["--generic", "--with", "md"];

// In one line each, as a person would type them; the UUID is `luks::LUKS_UUID`.
const BY_TPM: &str = "rd.luks.name=6d6b696e-6974-4264-8000-6c756b730001=root \
     rd.luks.options=6d6b696e-6974-4264-8000-6c756b730001=tpm2-device=auto,headless=1 root=/dev/mapper/root";
const DETACHED: &str = "rd.luks.name=6d6b696e-6974-4264-8000-6c756b730001=root \
     rd.luks.data=6d6b696e-6974-4264-8000-6c756b730001=/dev/vda \
     rd.luks.options=6d6b696e-6974-4264-8000-6c756b730001=header=/dev/vdb \
     root=/dev/mapper/root systemd.default_device_timeout_sec=20";
/// Nothing there can be mended or written to.
const IN_VERITY: &str = "roothash=@roothash@ root=/dev/mapper/root ro fsck.mode=skip";

const UNITS: &str = "tests/boot/sysext/units:/etc/systemd/system";
const SYSTEM: &str = "tests/boot/sysext/system:/var/lib/extensions/boot-test";
const CONFIGURATION: &str = "tests/boot/sysext/configuration:/var/lib/confexts/boot-test";
const WITH_EXTENSIONS: &[&str] = &["--generic", "--include", UNITS, "--include", SYSTEM, "--include", CONFIGURATION];
const WITH_CONFEXT: &[&str] = &["--generic", "--include", UNITS, "--include", CONFIGURATION];
/// `id >/dev/ttyS0`, behind the key that opens the shell.
const TYPED_IN_SHELL: &[&str] =
    &["ret", "i", "d", "shift-dot", "slash", "d", "e", "v", "slash", "t", "t", "y", "shift-s", "0", "ret"];

/// Neither has a label.
const VOLATILE: &str = "root=/dev/vda systemd.volatile=overlay";

const OVERLAY: Expect = Expect::Boots { source: "overlay", fstype: "overlay" };
const UNMOUNTED: Expect = Expect::Refuses { says: &["Failed to mount sysroot.mount"] };
const NO_SYSTEM: Expect =
    Expect::Refuses { says: &["Failed to start initrd-switch-root.service", "root=LABEL=root is mounted and holds no system"] };
const TPM_REFUSES: Expect =
    Expect::Refuses { says: &["Failed to start systemd-cryptsetup", "Failed to unseal secret using TPM2"] };
const ARRAY: Expect = Expect::Boots { source: "/dev/md127", fstype: "ext4" };

/// All boots that are about storage.
pub const STORAGE: &[Scenario] = &[
    Scenario {
        name: "trixie-xfs",
        shows: "XFS",
        disk: Disk::Xfs,
        build: WITH_XFS,
        expect: Expect::Boots { source: "/dev/vda", fstype: "xfs" },
        way: &["/ /dev/vda xfs"],
        twin: Some("xfs-without-module"),
        ..STORED
    },
    Scenario {
        name: "xfs-without-module",
        shows: "XFS, and an image without the module",
        disk: Disk::Xfs,
        build: WITHOUT_XFS,
        expect: UNMOUNTED,
        ..STORED
    },
    Scenario {
        name: "trixie-f2fs",
        shows: "F2FS",
        disk: Disk::F2fs,
        build: &["--generic", "--with", "f2fs"],
        expect: Expect::Boots { source: "/dev/vda", fstype: "f2fs" },
        way: &["/ /dev/vda f2fs"],
        twin: Some("f2fs-without-module"),
        ..STORED
    },
    Scenario {
        name: "f2fs-without-module",
        shows: "F2FS, and an image without the module",
        disk: Disk::F2fs,
        build: &["--generic", "--module=-f2fs"],
        expect: UNMOUNTED,
        ..STORED
    },
    Scenario {
        name: "trixie-squashfs",
        shows: "squashfs below what is written to memory",
        disk: Disk::Squashfs,
        append: VOLATILE,
        expect: OVERLAY,
        way: &["vda disk 512 virtio   squashfs"],
        twin: Some("squashfs-without-module"),
        ..STORED
    },
    Scenario {
        name: "squashfs-without-module",
        shows: "the same, and an image without the module",
        disk: Disk::Squashfs,
        build: &["--generic", "--module=-squashfs"],
        append: VOLATILE,
        expect: UNMOUNTED,
        ..STORED
    },
    Scenario {
        name: "trixie-erofs",
        shows: "EROFS below what is written to memory",
        disk: Disk::Erofs,
        append: VOLATILE,
        expect: OVERLAY,
        way: &["vda disk 512 virtio   erofs"],
        twin: Some("erofs-without-module"),
        ..STORED
    },
    Scenario {
        name: "erofs-without-module",
        shows: "the same, and an image without the module",
        disk: Disk::Erofs,
        build: &["--generic", "--module=-erofs"],
        append: VOLATILE,
        expect: UNMOUNTED,
        ..STORED
    },
    Scenario {
        name: "trixie-btrfs-subvolume",
        shows: "a root in a subvolume of btrfs",
        disk: Disk::BtrfsSubvolume,
        append: "root=LABEL=root rootflags=subvol=@",
        expect: Expect::Boots { source: "/dev/vda[/@]", fstype: "btrfs" },
        way: &["subvol=/@"],
        twin: Some("btrfs-top-level"),
        ..STORED
    },
    Scenario {
        name: "btrfs-top-level",
        shows: "the same without `rootflags=`",
        disk: Disk::BtrfsSubvolume,
        expect: NO_SYSTEM,
        ..STORED
    },
    Scenario {
        name: "trixie-btrfs-raid1",
        shows: "btrfs over two disks",
        disk: Disk::BtrfsRaid1,
        expect: Expect::Boots { source: "/dev/vda", fstype: "btrfs" },
        way: &["Total devices 2", "path /dev/vdb"],
        twin: Some("btrfs-disk-missing"),
        ..STORED
    },
    Scenario {
        name: "btrfs-disk-missing",
        shows: "the same without a disk: nothing is mounted that is not whole",
        disk: Disk::BtrfsRaid1,
        missing: &[2],
        append: UNREACHABLE,
        expect: TIMED_OUT,
        ..STORED
    },
    Scenario {
        name: "btrfs-degraded",
        shows: "the same with `rootflags=degraded`: it is mounted when the disk has not come in half a minute",
        disk: Disk::BtrfsRaid1,
        missing: &[2],
        append: "root=LABEL=root rootflags=degraded systemd.default_device_timeout_sec=90",
        expect: Expect::Boots { source: "/dev/vda", fstype: "btrfs" },
        way: &["Total devices 2", "degraded"],
        twin: Some("btrfs-disk-missing"),
        ..STORED
    },
    Scenario {
        name: "trixie-sysext",
        shows: "extensions of the initrd's /usr and /etc, without which the root is not mounted",
        build: WITH_EXTENSIONS,
        way: &["an extension of the initrd says what another one has written"],
        twin: Some("sysext-missing"),
        ..STORED
    },
    Scenario {
        name: "sysext-missing",
        shows: "the same without the one for /usr",
        build: WITH_CONFEXT,
        expect: Expect::Refuses { says: &["Failed to start says.service", "Dependency failed for sysroot.mount"] },
        ..STORED
    },
    Scenario {
        name: "emergency-shell",
        shows: "no root, and a command line that opens the emergency shell: it says who types there",
        append: "console=tty0 console=ttyS0 root=LABEL=nonexistent systemd.default_device_timeout_sec=15 SYSTEMD_SULOGIN_FORCE=1",
        keys: TYPED_IN_SHELL,
        expect: Expect::Refuses { says: &["Press Enter for ", "uid=0(root)"] },
        twin: Some("emergency-locked"),
        ..STORED
    },
    Scenario {
        name: "emergency-locked",
        shows: "the same without that word",
        append: "console=tty0 console=ttyS0 root=LABEL=nonexistent systemd.default_device_timeout_sec=15",
        keys: TYPED_IN_SHELL,
        expect: Expect::Refuses { says: &["There is no shell here"] },
        ..STORED
    },
    Scenario {
        name: "trixie-separate-usr",
        shows: "`/usr` on a disk of its own",
        disk: Disk::SeparateUsr,
        append: "root=LABEL=root mount.usr=LABEL=usr",
        way: &["/usr /dev/vdb ext4"],
        twin: Some("usr-not-named"),
        ..STORED
    },
    Scenario {
        name: "usr-not-named",
        shows: "the same without `mount.usr=`",
        disk: Disk::SeparateUsr,
        expect: NO_SYSTEM,
        ..STORED
    },
    Scenario {
        name: "trixie-luks2-tpm",
        shows: "LUKS2, opened by the TPM; there is no other key",
        disk: Disk::LuksTpm,
        tpm: Tpm::Enrolled,
        append: BY_TPM,
        expect: OPENED,
        way: &[" crypt aes-xts"],
        twin: Some("other-tpm"),
        ..STORED
    },
    Scenario {
        name: "other-tpm",
        shows: "the same disk in a machine with another TPM",
        disk: Disk::LuksTpm,
        tpm: Tpm::Other,
        append: BY_TPM,
        expect: TPM_REFUSES,
        ..STORED
    },
    Scenario {
        name: "tpm-other-measurement",
        shows: "the right TPM, whose register 7 is not what it was when the volume was enrolled",
        disk: Disk::LuksTpmFirmware,
        tpm: Tpm::Enrolled,
        append: BY_TPM,
        expect: TPM_REFUSES,
        ..STORED
    },
    Scenario {
        name: "trixie-verity",
        shows: "dm-verity, found and checked by `roothash=`",
        disk: Disk::Verity,
        append: IN_VERITY,
        expect: OPENED,
        way: &[" verity 1 ", " verity V"],
        twin: Some("verity-flipped"),
        ..STORED
    },
    Scenario {
        name: "verity-flipped",
        shows: "the same with one bit changed, which ext4 never looks at",
        disk: Disk::VerityFlipped,
        append: IN_VERITY,
        expect: Expect::Refuses { says: &["data block 0 is corrupted"] },
        ..STORED
    },
    Scenario {
        name: "trixie-luks2-in-lvm",
        shows: "LUKS2 in a logical volume",
        disk: Disk::LuksInLvm,
        append: IN_LUKS,
        credentials: RIGHT,
        expect: OPENED,
        way: &[" crypt aes-xts", "vg0-root: 0 "],
        twin: Some("wrong-passphrase"),
        ..STORED
    },
    Scenario {
        name: "trixie-md-raid5",
        shows: "an array with parity",
        disk: Disk::MdRaid5,
        build: WITH_MD,
        expect: ARRAY,
        way: &["active raid5", "[3/3] [UUU]"],
        twin: Some("md-too-few"),
        ..STORED
    },
    Scenario {
        name: "trixie-md-degraded",
        shows: "the same without a disk",
        disk: Disk::MdRaid5,
        missing: &[2],
        build: WITH_MD,
        expect: ARRAY,
        way: &["active raid5", "[3/2] [U_U]"],
        twin: Some("md-too-few"),
        ..STORED
    },
    Scenario {
        name: "md-too-few",
        shows: "the same without two disks of three",
        disk: Disk::MdRaid5,
        missing: &[2, 3],
        build: WITH_MD,
        append: "root=LABEL=root systemd.default_device_timeout_sec=60",
        expect: TOO_FEW_DISKS,
        ..STORED
    },
    Scenario {
        name: "trixie-md-raid10",
        shows: "stripes over two mirrors",
        disk: Disk::MdRaid10,
        build: WITH_MD,
        expect: ARRAY,
        way: &["active raid10", "[4/4] [UUUU]"],
        twin: Some("md-without-feature"),
        ..STORED
    },
    Scenario {
        name: "trixie-luks2-on-md",
        shows: "LUKS2 on a mirror",
        disk: Disk::LuksOnMd,
        build: WITH_MD,
        append: IN_LUKS,
        credentials: RIGHT,
        expect: OPENED,
        way: &[" crypt aes-xts", "active raid1", "[2/2] [UU]"],
        twin: Some("wrong-passphrase"),
        ..STORED
    },
    Scenario {
        name: "trixie-lvm-in-luks2-on-md",
        shows: "a logical volume in LUKS2 on a mirror",
        disk: Disk::LvmInLuksOnMd,
        build: WITH_MD,
        append: LVM_IN_LUKS,
        credentials: RIGHT,
        expect: VOLUME,
        way: &[" crypt aes-xts", "active raid1", "[2/2] [UU]", "vg0-root: 0 "],
        twin: Some("wrong-passphrase"),
        ..STORED
    },
    Scenario {
        name: "trixie-luks2-detached",
        shows: "LUKS2, its header on another disk",
        disk: Disk::LuksDetached,
        append: DETACHED,
        credentials: RIGHT,
        expect: OPENED,
        way: &[" crypt aes-xts", "vdb disk 512"],
        twin: Some("detached-header-missing"),
        ..STORED
    },
    Scenario {
        name: "detached-header-missing",
        shows: "the same without the disk with the header",
        disk: Disk::LuksDetached,
        missing: &[2],
        append: DETACHED,
        credentials: RIGHT,
        expect: Expect::Refuses { says: &["Timed out waiting for device", "/dev/vdb"] },
        ..STORED
    },
];
