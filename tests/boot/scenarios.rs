//! The table of boots: what is built, what it is booted with, and what has to come of it.

use crate::disk::Disk;

/// When a scenario is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// With every `cargo test`.
    Smoke,
    /// With `cargo xtask test-slow`, or by name.
    Slow,
}

/// What has to come of a boot.
#[derive(Debug, Clone, Copy)]
pub enum Expect {
    /// The root's own service gives evidence, from this source and file system type.
    Boots {
        /// What `/` is mounted from, as `findmnt` says it.
        source: &'static str,
        /// The type of the file system.
        fstype: &'static str,
    },
    /// The root is never reached, and the console says why: all of these texts.
    Refuses {
        /// Texts that a person in front of the machine has to see. systemd shortens a line of its own in the middle, to 80 columns.
        says: &'static [&'static str],
    },
}

/// What is done to the image before it is booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// Only this many hundredths of it are left.
    Truncated(u64),
    /// An uncompressed archive goes before it, as boot loaders do it with processor microcode.
    AfterEarly,
}

/// One boot.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// The name that the command line takes.
    pub name: &'static str,
    /// What it shows, for the table.
    pub shows: &'static str,
    /// When it is run.
    pub tier: Tier,
    /// The release of root, kernel and initrd.
    pub release: &'static str,
    /// Debian's name of the architecture.
    pub arch: &'static str,
    /// The disk that it boots from.
    pub disk: Disk,
    /// Arguments of `mkinitrd-pkg build` beside distribution, release, architecture and output.
    pub build: &'static [&'static str],
    /// What is done to the image.
    pub change: Change,
    /// The kernel command line beside the console's.
    pub append: &'static str,
    /// Credentials, passed by SMBIOS.
    pub credentials: &'static [(&'static str, &'static str)],
    /// What has to come of it.
    pub expect: Expect,
    /// The scenario that shows the opposite, if this one boots.
    pub twin: Option<&'static str>,
}

const GENERIC: &[&str] = &["--generic"];

const WITH_MD: &[&str] = &["--generic", "--with", "md"];
/// The component that microcode is in, of the mirror that this machine uses.
const WITH_MICROCODE: &[&str] = &["--generic", crate::image::NON_FREE_FIRMWARE];

const BY_LABEL: &str = "root=LABEL=root";
// In one line each, as a person would type them; the UUID is `disk::LUKS_UUID`.
const IN_LUKS: &str = "rd.luks.name=6d6b696e-6974-4264-8000-6c756b730001=root root=/dev/mapper/root";
const IN_LVM: &str = "root=/dev/vg0/root";
const LVM_IN_LUKS: &str = "rd.luks.name=6d6b696e-6974-4264-8000-6c756b730001=pv root=/dev/vg0/root";
/// `headless` asks nobody, so that a boot that cannot succeed ends soon.
const WRONG_KEY: &str = "rd.luks.name=6d6b696e-6974-4264-8000-6c756b730001=root \
     rd.luks.options=6d6b696e-6974-4264-8000-6c756b730001=headless=1 root=/dev/mapper/root";
/// Shorter than the 90 s of every day, and long enough for udev to start on a busy host.
const NO_ROOT: &str = "root=LABEL=nonexistent systemd.default_device_timeout_sec=15";

const RIGHT: &[(&str, &str)] = &[("cryptsetup.passphrase", "correct horse")];
const WRONG: &[(&str, &str)] = &[("cryptsetup.passphrase", "battery staple")];

const PLAIN: Expect = Expect::Boots { source: "/dev/vda", fstype: "ext4" };

const BASE: Scenario = Scenario {
    name: "",
    shows: "",
    tier: Tier::Smoke,
    release: "trixie",
    arch: "amd64",
    disk: Disk::Ext4,
    build: GENERIC,
    change: Change::None,
    append: BY_LABEL,
    credentials: &[],
    expect: PLAIN,
    twin: None,
};

/// A compression that nothing else distinguishes from the plain boot.
const fn compressed(name: &'static str, build: &'static [&'static str]) -> Scenario {
    Scenario { name, shows: "the kernel unpacks this compression", tier: Tier::Slow, build, ..BASE }
}

/// All boots, cheap ones first.
pub const SCENARIOS: &[Scenario] = &[
    Scenario { name: "trixie-ext4", shows: "a root by label", twin: Some("no-root"), ..BASE },
    Scenario {
        name: "trixie-luks2",
        shows: "LUKS2, passphrase by credential",
        disk: Disk::Luks,
        append: IN_LUKS,
        credentials: RIGHT,
        expect: Expect::Boots { source: "/dev/mapper/root", fstype: "ext4" },
        twin: Some("wrong-passphrase"),
        ..BASE
    },
    Scenario {
        name: "trixie-lvm",
        shows: "a logical volume",
        disk: Disk::Lvm,
        append: IN_LVM,
        expect: Expect::Boots { source: "/dev/mapper/vg0-root", fstype: "ext4" },
        twin: Some("no-root"),
        ..BASE
    },
    Scenario { name: "bookworm-ext4", shows: "the release before", release: "bookworm", twin: Some("no-root"), ..BASE },
    Scenario { name: "sid-ext4", shows: "the release to come", release: "sid", twin: Some("no-root"), ..BASE },
    Scenario {
        name: "no-root",
        shows: "a root that does not exist",
        append: NO_ROOT,
        expect: Expect::Refuses { says: &["Timed out waiting for device", "/dev/disk/by-label/nonexistent."] },
        ..BASE
    },
    Scenario {
        name: "wrong-passphrase",
        shows: "LUKS2 with another passphrase",
        disk: Disk::Luks,
        append: WRONG_KEY,
        credentials: WRONG,
        expect: Expect::Refuses { says: &["Failed to start systemd-cryptsetup"] },
        ..BASE
    },
    Scenario {
        name: "truncated",
        shows: "an image cut within its first segment",
        change: Change::Truncated(10),
        expect: Expect::Refuses { says: &["Initramfs unpacking failed", "Kernel panic - not syncing"] },
        ..BASE
    },
    Scenario {
        name: "trixie-lvm-in-luks2",
        shows: "a logical volume in LUKS2",
        tier: Tier::Slow,
        disk: Disk::LvmInLuks,
        append: LVM_IN_LUKS,
        credentials: RIGHT,
        expect: Expect::Boots { source: "/dev/mapper/vg0-root", fstype: "ext4" },
        twin: Some("wrong-passphrase"),
        ..BASE
    },
    Scenario {
        name: "trixie-btrfs",
        shows: "btrfs",
        tier: Tier::Slow,
        disk: Disk::Btrfs,
        expect: Expect::Boots { source: "/dev/vda", fstype: "btrfs" },
        twin: Some("no-root"),
        ..BASE
    },
    Scenario {
        name: "truncated-modules",
        shows: "an image cut within its kernel modules, which the kernel takes without a word",
        tier: Tier::Slow,
        change: Change::Truncated(50),
        append: "root=LABEL=root systemd.default_device_timeout_sec=15",
        expect: Expect::Refuses { says: &["Timed out waiting for device", "/dev/disk/by-label/root."] },
        ..BASE
    },
    Scenario {
        name: "after-early",
        shows: "an uncompressed archive before ours",
        tier: Tier::Slow,
        change: Change::AfterEarly,
        ..BASE
    },
    Scenario {
        name: "trixie-md",
        shows: "a mirror of two disks",
        tier: Tier::Slow,
        disk: Disk::Md,
        build: WITH_MD,
        expect: Expect::Boots { source: "/dev/md127", fstype: "ext4" },
        twin: Some("md-without-feature"),
        ..BASE
    },
    Scenario {
        name: "md-without-feature",
        shows: "a mirror, and an image without the feature for it",
        tier: Tier::Slow,
        disk: Disk::Md,
        append: "root=LABEL=root systemd.default_device_timeout_sec=15",
        expect: Expect::Refuses { says: &["Timed out waiting for device", "/dev/disk/by-label/root."] },
        ..BASE
    },
    Scenario {
        name: "microcode",
        shows: "the real microcode of Intel and AMD in front",
        tier: Tier::Slow,
        build: WITH_MICROCODE,
        ..BASE
    },
    compressed("compress-zstd", &["--generic", "--compress", "zstd:19"]),
    compressed("compress-xz", &["--generic", "--compress", "xz"]),
    compressed("compress-gzip", &["--generic", "--compress", "gzip"]),
    compressed("compress-lz4", &["--generic", "--compress", "lz4"]),
    compressed("compress-none", &["--generic", "--compress", "none"]),
    Scenario { name: "forky-ext4", shows: "testing", tier: Tier::Slow, release: "forky", twin: Some("no-root"), ..BASE },
    Scenario {
        name: "arm64-ext4",
        shows: "an image for arm64 built on amd64",
        tier: Tier::Slow,
        arch: "arm64",
        twin: Some("no-root"),
        ..BASE
    },
];
