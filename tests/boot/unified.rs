//! The boots that are about what a unified kernel image has beside kernel and initrd.

use crate::disk::Disk;
use crate::image::POLICY_KEY;
use crate::keys::BY_TPM;
use crate::scenarios::{Change, Esp, Expect, Firmware, OPENED, Scenario, Tpm, UKI};

const THERE: &str = "root=PARTLABEL=root";
const NOWHERE: &str = "root=LABEL=nonexistent systemd.default_device_timeout_sec=60";
const WITH_PROFILE: &[&str] = &["--generic", "--uki-profile", "there: root=PARTLABEL=root"];
const SIGNED_POLICY: &[&str] = &["--generic", "--pcr-private-key", POLICY_KEY];

const NO_ROOT: Expect = Expect::Refuses { says: &["root=LABEL=nonexistent: no block device is that"] };

/// All boots that are about unified kernel images, but for the plain ones.
pub const UNIFIED: &[Scenario] = &[
    Scenario {
        name: "uki-measured",
        shows: "LUKS2, opened by the TPM because a signature in the image says what the stub measures of it",
        disk: Disk::LuksTpmImage,
        tpm: Tpm::Enrolled,
        build: SIGNED_POLICY,
        append: BY_TPM,
        expect: OPENED,
        way: &[" crypt aes-xts"],
        twin: Some("uki-measured-changed"),
        ..UKI
    },
    Scenario {
        name: "uki-measured-changed",
        shows: "the same with a word of the command line changed after it was signed",
        disk: Disk::LuksTpmImage,
        tpm: Tpm::Enrolled,
        build: SIGNED_POLICY,
        append: BY_TPM,
        change: Change::Word("oops=panic", "oops=other"),
        expect: Expect::Refuses { says: &["Failed to start systemd-cryptsetup"] },
        ..UKI
    },
    Scenario {
        name: "uki-profile",
        shows: "an entry of the boot menu, a profile of the image, has the root's name",
        esp: Esp::Menu("*@there"),
        build: WITH_PROFILE,
        append: NOWHERE,
        twin: Some("uki-main-profile"),
        ..UKI
    },
    Scenario {
        name: "uki-main-profile",
        shows: "the other entry of the same image, which has not",
        esp: Esp::Menu("*@main"),
        build: WITH_PROFILE,
        append: NOWHERE,
        expect: NO_ROOT,
        ..UKI
    },
    Scenario {
        name: "uki-addon",
        shows: "with Secure Boot, a signed addon beside the image has the root's name",
        firmware: Firmware::SecureBoot,
        signed: true,
        esp: Esp::Addon(THERE, true),
        append: NOWHERE,
        twin: Some("uki-unsigned-addon"),
        ..UKI
    },
    Scenario {
        name: "uki-unsigned-addon",
        shows: "the same, and nobody has signed the addon",
        firmware: Firmware::SecureBoot,
        signed: true,
        esp: Esp::Addon(THERE, false),
        append: NOWHERE,
        expect: NO_ROOT,
        ..UKI
    },
];
