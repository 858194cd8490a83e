//! The boots that are about storage: file systems, volumes, arrays, and what opens and checks them.

use crate::disk::Disk;
use crate::scenarios::{BASE, Expect, Scenario, Tier, Tpm};

/// All of them are of trixie, and none of the first tier.
const STORED: Scenario = Scenario { tier: Tier::Slow, ..BASE };

const WITH_XFS: &[&str] = &["--generic", "--with", "xfs"];
const WITHOUT_XFS: &[&str] = &["--generic", "--module=-xfs"];

// In one line each, as a person would type them; the UUID is `luks::LUKS_UUID`.
const BY_TPM: &str = "rd.luks.name=6d6b696e-6974-4264-8000-6c756b730001=root \
     rd.luks.options=6d6b696e-6974-4264-8000-6c756b730001=tpm2-device=auto,headless=1 root=/dev/mapper/root";
/// Nothing there can be mended or written to.
const IN_VERITY: &str = "roothash=@roothash@ root=/dev/mapper/root ro fsck.mode=skip";

const UNMOUNTED: Expect = Expect::Refuses { says: &["Failed to mount sysroot.mount"] };
const TPM_REFUSES: Expect =
    Expect::Refuses { says: &["Failed to start systemd-cryptsetup", "Failed to unseal secret using TPM2"] };
const OPENED: Expect = Expect::Boots { source: "/dev/mapper/root", fstype: "ext4" };

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
];
