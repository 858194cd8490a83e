//! The boots that are about what opens a volume.

use crate::disk::Disk;
use crate::scenarios::{BASE, Expect, ONE_TRY, OPENED, RIGHT, Scenario, Tier, Tpm, WRONG, WRONG_PASSPHRASE};

const LOCKED: Scenario = Scenario { tier: Tier::Slow, append: ONE_TRY, ..BASE };

// In one line, as a person would type it; the UUID is `luks::LUKS_UUID`.
const BY_KEY_DISK: &str = "rd.luks.name=6d6b696e-6974-4264-8000-6c756b730001=root \
     rd.luks.key=6d6b696e-6974-4264-8000-6c756b730001=/root.key:LABEL=KEYS \
     rd.luks.options=6d6b696e-6974-4264-8000-6c756b730001=headless=1 root=/dev/mapper/root";

/// A root in LUKS that the TPM opens.
pub const BY_TPM: &str = "rd.luks.name=6d6b696e-6974-4264-8000-6c756b730001=root \
     rd.luks.options=6d6b696e-6974-4264-8000-6c756b730001=tpm2-device=auto,headless=1 root=/dev/mapper/root";
const BY_TPM_AND_PIN: &str = "rd.luks.name=6d6b696e-6974-4264-8000-6c756b730001=root \
     rd.luks.options=6d6b696e-6974-4264-8000-6c756b730001=tpm2-device=auto,tries=1 root=/dev/mapper/root";

const WITH_PLYMOUTH: &[&str] = &["--generic", "--with", "plymouth"];
const SPLASH: &str = "splash console=tty0 console=ttyS0 rd.luks.name=6d6b696e-6974-4264-8000-6c756b730001=root \
     rd.luks.options=6d6b696e-6974-4264-8000-6c756b730001=tries=1 root=/dev/mapper/root";
/// The passphrase on an American keyboard.
const RIGHT_KEYS: &[&str] = &["c", "o", "r", "r", "e", "c", "t", "spc", "h", "o", "r", "s", "e", "ret"];

const STAYS_CLOSED: Expect = Expect::Refuses { says: &["Failed to start systemd-cryptsetup"] };

/// All boots that are about what opens a volume.
pub const KEYS: &[Scenario] = &[
    Scenario {
        name: "trixie-luks2-key-disk",
        shows: "LUKS2, its key in a file on another disk",
        disk: Disk::LuksKeyFile,
        append: BY_KEY_DISK,
        expect: OPENED,
        way: &[" crypt aes-xts"],
        twin: Some("wrong-key-disk"),
        ..LOCKED
    },
    Scenario {
        name: "wrong-key-disk",
        shows: "the same with another key there",
        disk: Disk::LuksWrongKeyFile,
        append: BY_KEY_DISK,
        expect: STAYS_CLOSED,
        ..LOCKED
    },
    Scenario {
        name: "trixie-luks2-recovery",
        shows: "LUKS2, opened by a recovery key; there is no other key",
        disk: Disk::LuksRecovery,
        credentials: &[("cryptsetup.passphrase", "@recovery@")],
        expect: OPENED,
        way: &[" crypt aes-xts"],
        twin: Some("recovery-only"),
        ..LOCKED
    },
    Scenario {
        name: "recovery-only",
        shows: "the same disk with the passphrase that it had once",
        disk: Disk::LuksRecovery,
        credentials: RIGHT,
        expect: WRONG_PASSPHRASE,
        ..LOCKED
    },
    Scenario {
        name: "trixie-luks2-tpm-pin",
        shows: "LUKS2, opened by the TPM and a PIN",
        disk: Disk::LuksTpmPin,
        tpm: Tpm::Enrolled,
        append: BY_TPM_AND_PIN,
        credentials: &[("cryptsetup.luks2-pin", "staple")],
        expect: OPENED,
        way: &[" crypt aes-xts"],
        twin: Some("tpm-wrong-pin"),
        ..LOCKED
    },
    Scenario {
        name: "tpm-wrong-pin",
        shows: "the same with another PIN",
        disk: Disk::LuksTpmPin,
        tpm: Tpm::Enrolled,
        append: BY_TPM_AND_PIN,
        credentials: &[("cryptsetup.luks2-pin", "horse")],
        // The one that was given is tried, and then somebody is asked.
        expect: Expect::Refuses { says: &["Please enter TPM2 PIN"] },
        ..LOCKED
    },
    Scenario {
        name: "fw-cfg-credential",
        shows: "LUKS2, the passphrase by QEMU's firmware configuration",
        disk: Disk::Luks,
        credentials: RIGHT,
        fw_cfg: true,
        expect: OPENED,
        way: &[" crypt aes-xts"],
        twin: Some("fw-cfg-wrong-credential"),
        ..LOCKED
    },
    Scenario {
        name: "fw-cfg-wrong-credential",
        shows: "the same with another passphrase",
        disk: Disk::Luks,
        credentials: WRONG,
        fw_cfg: true,
        expect: WRONG_PASSPHRASE,
        ..LOCKED
    },
    Scenario {
        name: "trixie-luks2-tpm-signed",
        shows: "LUKS2, opened by the TPM because a signature in the image says what register 12 may be",
        disk: Disk::LuksTpmSigned,
        tpm: Tpm::Enrolled,
        build: &["--generic", "--include", "tests/boot/policy/tpm2-pcr-signature.json:/etc/systemd/tpm2-pcr-signature.json"],
        append: BY_TPM,
        expect: OPENED,
        way: &[" crypt aes-xts"],
        twin: Some("tpm-unsigned"),
        ..LOCKED
    },
    Scenario {
        name: "tpm-unsigned",
        shows: "the same without the signature",
        disk: Disk::LuksTpmSigned,
        tpm: Tpm::Enrolled,
        append: BY_TPM,
        expect: STAYS_CLOSED,
        ..LOCKED
    },
    Scenario {
        name: "trixie-plymouth",
        shows: "LUKS2, the passphrase typed at plymouth's prompt",
        disk: Disk::Luks,
        build: WITH_PLYMOUTH,
        append: SPLASH,
        keys: RIGHT_KEYS,
        expect: OPENED,
        way: &[" crypt aes-xts", "Started systemd-ask-password-plymouth.service"],
        twin: Some("plymouth-wrong-passphrase"),
        ..LOCKED
    },
    Scenario {
        name: "plymouth-wrong-passphrase",
        shows: "the same with another passphrase",
        disk: Disk::Luks,
        build: WITH_PLYMOUTH,
        append: SPLASH,
        keys: &["h", "o", "r", "s", "e", "ret"],
        expect: WRONG_PASSPHRASE,
        ..LOCKED
    },
];
