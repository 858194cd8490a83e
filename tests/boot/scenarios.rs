//! The table of boots: what is built, what it is booted with, and what has to come of it.

use crate::disk::Disk;
use crate::repositories::Family;
use crate::server::Server;

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

/// How a machine has its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bus {
    /// virtio-blk, `/dev/vda`.
    Virtio,
    /// virtio-scsi, `/dev/sda`.
    VirtioScsi,
    /// virtio-scsi by two adapters, `/dev/sda` and `/dev/sdb`.
    TwoPaths,
    /// The same without the second adapter.
    OnePath,
    /// virtio-blk, plugged in when the initrd has waited for 20 s.
    Late,
    /// NVMe with sectors of 4 KiB, `/dev/nvme0n1`.
    Nvme4k,
    /// A USB disk, `/dev/sda`.
    Usb,
    /// SATA, `/dev/sda`.
    Ahci,
}

/// The TPM of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tpm {
    /// None.
    None,
    /// The one that the disk's volume was enrolled with.
    Enrolled,
    /// Another one.
    Other,
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
    /// The first of these words is replaced by the second, which is as long.
    Word(&'static str, &'static str),
}

/// What starts the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Firmware {
    /// QEMU itself.
    None,
    /// UEFI, from an EFI system partition beside the root.
    Uefi,
    /// UEFI that starts only what is signed by the key that it knows.
    SecureBoot,
}

impl Firmware {
    /// Returns what the root says of the firmware.
    pub fn as_said(self) -> &'static str {
        match self {
            Firmware::None => "none",
            Firmware::Uefi => "uefi",
            Firmware::SecureBoot => "uefi with Secure Boot",
        }
    }
}

/// What lies on the EFI system partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Esp {
    /// The image, where firmware looks for it.
    Image,
    /// systemd-boot, which starts the entry that this pattern names, and the image for it.
    Menu(&'static str),
    /// The image with an addon that has these words for the command line; signed or not.
    Addon(&'static str, bool),
}

/// Whose messages the root's journal has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Journal {
    /// Those of the initrd, and its own.
    Whole,
    /// Its own: the initrd is without systemd.
    OfRoot,
    /// There is none: the system is without systemd, too.
    None,
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
    /// Whose packages the initrd is made of: Debian's of the release, or those that were made of them in another format.
    pub packages: Option<Family>,
    /// The release of root, kernel and initrd.
    pub release: &'static str,
    /// Debian's name of the architecture.
    pub arch: &'static str,
    /// The disk that it boots from.
    pub disk: Disk,
    /// What has the disk, if the machine reaches it over a network.
    pub server: Server,
    /// How the machine has that disk.
    pub bus: Bus,
    /// Which of several disks, counted from 1, are not there.
    pub missing: &'static [usize],
    /// Its TPM.
    pub tpm: Tpm,
    /// Arguments of `mkinitrd-pkg build` beside distribution, release, architecture and output.
    pub build: &'static [&'static str],
    /// What is done to the image.
    pub change: Change,
    /// What starts the kernel; with UEFI, what is built is a unified kernel image that lies on the disk.
    pub firmware: Firmware,
    /// What lies on the EFI system partition, if there is one.
    pub esp: Esp,
    /// The unified kernel image is signed by the key that the firmware knows.
    pub signed: bool,
    /// The kernel command line beside the console's. `@WORD@` here and in credentials stands for what only the made disk knows.
    pub append: &'static str,
    /// Credentials, passed by SMBIOS.
    pub credentials: &'static [(&'static str, &'static str)],
    /// They are passed by QEMU's firmware configuration instead.
    pub fw_cfg: bool,
    /// The machine hibernates and is started again; this is the kernel command line then, beside the console's.
    pub resumes: Option<&'static str>,
    /// Keys that are pressed on the machine's keyboard when a passphrase is asked for, or a key to open a shell, by QEMU's names.
    pub keys: &'static [&'static str],
    /// What the serial console says, and what is typed there then.
    pub answer: Option<(&'static str, &'static str)>,
    /// Time is counted in instructions of the one processor, and the memory that the machine touches on its way to the root.
    pub counted: bool,
    /// What has to come of it.
    pub expect: Expect,
    /// What the root has to say of the way to it: each text in a line of its kernel's tables, or of who opened a volume.
    pub way: &'static [&'static str],
    /// The scenario that shows the opposite, if this one boots.
    pub twin: Option<&'static str>,
}

const GENERIC: &[&str] = &["--generic"];

/// The machine that the emulator is.
const FOR_VIRTIO: &[&str] = &["--host-facts", "tests/it/machines/virtio.json"];
const WITH_MD: &[&str] = &["--generic", "--with", "md"];
/// The component that microcode is in, of the mirror that this machine uses.
const WITH_MICROCODE: &[&str] = &["--generic", crate::image::NON_FREE_FIRMWARE];

const BY_LABEL: &str = "root=LABEL=root";
// In one line each, as a person would type them; the UUID is `luks::LUKS_UUID`.
/// A root in LUKS.
pub const IN_LUKS: &str = "rd.luks.name=6d6b696e-6974-4264-8000-6c756b730001=root root=/dev/mapper/root";
/// A root in a logical volume.
pub const IN_LVM: &str = "root=/dev/vg0/root";
/// A logical volume in LUKS.
pub const LVM_IN_LUKS: &str = "rd.luks.name=6d6b696e-6974-4264-8000-6c756b730001=pv root=/dev/vg0/root";
/// Nobody is asked again, so that a boot that cannot succeed ends soon. (With `headless` not even a credential is tried.)
pub const ONE_TRY: &str = "rd.luks.name=6d6b696e-6974-4264-8000-6c756b730001=root \
     rd.luks.options=6d6b696e-6974-4264-8000-6c756b730001=tries=1 root=/dev/mapper/root";
/// The root is there, and nothing that drives its disk.
pub const UNREACHABLE: &str = "root=LABEL=root systemd.default_device_timeout_sec=15";
/// Shorter than the 90 s of every day, and long enough for udev to start on a busy host.
const NO_ROOT: &str = "root=LABEL=nonexistent systemd.default_device_timeout_sec=15";

/// What opens the volume.
pub const RIGHT: &[(&str, &str)] = &[("cryptsetup.passphrase", "correct horse")];
pub const WRONG: &[(&str, &str)] = &[("cryptsetup.passphrase", "battery staple")];

const IN_MAPPED: &str = "root=/dev/mapper/root";
const BY_KEY: &[&str] = &["--full", "--host-facts", "tests/boot/facts/luks-key.json", "--kernel-package", "linux-image-amd64"];
const BY_WRONG_KEY: &[&str] =
    &["--full", "--host-facts", "tests/boot/facts/luks-wrong-key.json", "--kernel-package", "linux-image-amd64"];
/// The prompt is shown on both consoles; the evidence goes to the last one.
const TYPED: &str = "console=tty0 console=ttyS0 root=/dev/mapper/root";
const DVORAK: &[&str] = &["--full", "--host-facts", "tests/boot/facts/luks-dvorak.json", "--kernel-package", "linux-image-amd64"];
const NO_MAP: &[&str] =
    &["--full", "--host-facts", "tests/boot/facts/luks-dvorak-no-map.json", "--kernel-package", "linux-image-amd64"];
/// `correct horse` on a keyboard with Dvorak's layout, by what an American keyboard has printed on these keys.
const DVORAK_KEYS: &[&str] = &["i", "s", "o", "o", "d", "i", "k", "spc", "j", "s", "o", "semicolon", "d", "ret"];

/// The root's label does not come.
pub const TIMED_OUT: Expect =
    Expect::Refuses { says: &["Timed out waiting for device", "root=LABEL=root: no block device is that"] };
/// The root's label does not come, because its array does not start.
pub const TOO_FEW_DISKS: Expect =
    Expect::Refuses { says: &["Timed out waiting for device", "was not started: too few of its disks"] };
/// It was tried, and did not fit.
pub const WRONG_PASSPHRASE: Expect = Expect::Refuses {
    says: &["Failed to start systemd-cryptsetup", "Too many attempts to activate", "was not opened: a wrong passphrase"],
};
/// The volume was opened.
pub const OPENED: Expect = Expect::Boots { source: "/dev/mapper/root", fstype: "ext4" };
/// The logical volume is there.
pub const VOLUME: Expect = Expect::Boots { source: "/dev/mapper/vg0-root", fstype: "ext4" };
const PLAIN: Expect = Expect::Boots { source: "/dev/vda", fstype: "ext4" };

/// What scenarios differ from.
pub const BASE: Scenario = Scenario {
    name: "",
    shows: "",
    tier: Tier::Smoke,
    packages: None,
    release: "trixie",
    arch: "amd64",
    disk: Disk::Ext4,
    server: Server::None,
    bus: Bus::Virtio,
    missing: &[],
    tpm: Tpm::None,
    build: GENERIC,
    change: Change::None,
    firmware: Firmware::None,
    esp: Esp::Image,
    signed: false,
    append: BY_LABEL,
    credentials: &[],
    fw_cfg: false,
    resumes: None,
    keys: &[],
    answer: None,
    counted: false,
    expect: PLAIN,
    way: &[],
    twin: None,
};

/// RPM packages.
const FEDORA: Scenario = Scenario { packages: Some(Family::Fedora), ..BASE };
/// apk's packages; no systemd in the initrd.
const ALPINE: Scenario = Scenario { packages: Some(Family::Alpine), ..BASE };
/// mkinitfs stays away, and with it its init.
const OWN_INIT: &[&str] = &["--generic", "--config", "tests/boot/without-mkinitfs.toml"];

/// The small init, and whole packages.
const DISKLESS: &[&str] = &["--generic", "--config", "tests/boot/diskless.toml", "--with", "diskless"];

/// UEFI starts a unified kernel image; its command line is in it.
pub const UKI: Scenario = Scenario {
    tier: Tier::Slow,
    firmware: Firmware::Uefi,
    append: "root=PARTLABEL=root",
    expect: Expect::Boots { source: "/dev/vda2", fstype: "ext4" },
    ..BASE
};

/// On the kernel command line of a machine that is to crash; `root.rs` reads it.
const CRASH: &str = "boot-test.crash ";

impl Scenario {
    /// Tells whether the machine crashes, and has kernel and image for that on a second disk.
    pub fn crashes(&self) -> bool {
        self.append.contains(CRASH)
    }

    /// Tells whether what the machine writes to its disks stays there: the emulator has no snapshot for two devices, and none for two
    /// runs.
    pub fn keeps_what_is_written(&self) -> bool {
        matches!(self.bus, Bus::TwoPaths | Bus::OnePath) || self.resumes.is_some()
    }

    /// Tells whose journal there is.
    pub fn journal(&self) -> Journal {
        match (self.packages, self.disk) {
            (_, Disk::Apkovl) => Journal::None,
            (Some(Family::Alpine), _) => Journal::OfRoot,
            _ => Journal::Whole,
        }
    }
}

/// A compression that nothing else distinguishes from the plain boot.
const fn compressed(name: &'static str, build: &'static [&'static str]) -> Scenario {
    Scenario { name, shows: "the kernel unpacks this compression", tier: Tier::Slow, build, ..BASE }
}

/// Returns all boots.
pub fn all() -> impl Iterator<Item = &'static Scenario> {
    SCENARIOS
        .iter()
        .chain(crate::storage::STORAGE)
        .chain(crate::buses::BUSES)
        .chain(crate::keys::KEYS)
        .chain(crate::volumes::VOLUMES)
        .chain(crate::unified::UNIFIED)
        .chain(crate::releases::RELEASES)
        .chain(crate::network::NETWORK)
        .chain(crate::remote::REMOTE)
}

/// Boots that are not about storage alone, cheap ones first.
const SCENARIOS: &[Scenario] = &[
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
        name: "virtio-machine",
        shows: "an image for this machine alone, out of its saved facts",
        build: FOR_VIRTIO,
        twin: Some("virtio-without-driver"),
        ..BASE
    },
    Scenario {
        name: "no-root",
        shows: "a root that does not exist",
        append: NO_ROOT,
        expect: Expect::Refuses { says: &["Timed out waiting for device", "root=LABEL=nonexistent: no block device is that"] },
        ..BASE
    },
    Scenario {
        name: "wrong-passphrase",
        shows: "LUKS2 with another passphrase",
        disk: Disk::Luks,
        append: ONE_TRY,
        credentials: WRONG,
        expect: WRONG_PASSPHRASE,
        ..BASE
    },
    Scenario {
        name: "truncated",
        shows: "an image cut within its first segment",
        change: Change::Truncated(10),
        expect: Expect::Refuses { says: &["Initramfs unpacking failed", "Kernel panic - not syncing"] },
        ..BASE
    },
    Scenario { name: "fedora-ext4", shows: "RPM packages by Fedora's profile", twin: Some("fedora-no-root"), ..FEDORA },
    Scenario {
        name: "fedora-no-root",
        shows: "a root that does not exist, and RPM packages",
        tier: Tier::Slow,
        append: NO_ROOT,
        expect: Expect::Refuses { says: &["Timed out waiting for device", "root=LABEL=nonexistent: no block device is that"] },
        ..FEDORA
    },
    Scenario {
        name: "fedora-luks2",
        shows: "LUKS2 and RPM packages",
        tier: Tier::Slow,
        disk: Disk::Luks,
        append: IN_LUKS,
        credentials: RIGHT,
        expect: Expect::Boots { source: "/dev/mapper/root", fstype: "ext4" },
        twin: Some("fedora-wrong-passphrase"),
        ..FEDORA
    },
    Scenario {
        name: "fedora-wrong-passphrase",
        shows: "LUKS2 with another passphrase, and RPM packages",
        tier: Tier::Slow,
        disk: Disk::Luks,
        append: ONE_TRY,
        credentials: WRONG,
        expect: WRONG_PASSPHRASE,
        ..FEDORA
    },
    Scenario {
        name: "opensuse-lvm",
        shows: "a logical volume and RPM packages by openSUSE's profile",
        packages: Some(Family::Opensuse),
        tier: Tier::Slow,
        disk: Disk::Lvm,
        append: IN_LVM,
        expect: Expect::Boots { source: "/dev/mapper/vg0-root", fstype: "ext4" },
        twin: Some("fedora-no-root"),
        ..BASE
    },
    Scenario {
        name: "arch-lvm",
        shows: "a logical volume and pacman's packages by Arch's profile",
        packages: Some(Family::Arch),
        disk: Disk::Lvm,
        append: IN_LVM,
        expect: Expect::Boots { source: "/dev/mapper/vg0-root", fstype: "ext4" },
        twin: Some("arch-no-root"),
        ..BASE
    },
    Scenario {
        name: "arch-no-root",
        shows: "a root that does not exist, and pacman's packages",
        packages: Some(Family::Arch),
        tier: Tier::Slow,
        append: NO_ROOT,
        expect: Expect::Refuses { says: &["Timed out waiting for device", "root=LABEL=nonexistent: no block device is that"] },
        ..BASE
    },
    Scenario {
        name: "alpine-ext4",
        shows: "apk's packages by Alpine's profile: busybox, and the init of mkinitfs",
        twin: Some("alpine-no-root"),
        ..ALPINE
    },
    Scenario {
        name: "alpine-small-init",
        shows: "the same with this program's own small init",
        build: OWN_INIT,
        twin: Some("alpine-no-root"),
        ..ALPINE
    },
    Scenario {
        name: "alpine-lvm-small-init",
        shows: "a logical volume, apk's packages and the small init",
        tier: Tier::Slow,
        build: OWN_INIT,
        disk: Disk::Lvm,
        append: IN_LVM,
        expect: Expect::Boots { source: "/dev/vg0/root", fstype: "ext4" },
        twin: Some("alpine-no-root"),
        ..ALPINE
    },
    Scenario {
        name: "alpine-diskless",
        shows: "no root: the image is the system, with the overlay of a disk",
        tier: Tier::Slow,
        build: DISKLESS,
        disk: Disk::Apkovl,
        append: "rootdelay=60",
        expect: Expect::Boots { source: "root", fstype: "tmpfs" },
        way: &["overlay of box", "programs in /usr/bin/busybox"],
        twin: Some("alpine-no-overlay"),
        ..ALPINE
    },
    Scenario {
        name: "alpine-no-overlay",
        shows: "no root, and a disk without an overlay",
        tier: Tier::Slow,
        build: DISKLESS,
        append: "rootdelay=3",
        expect: Expect::Refuses { says: &["has no root=, and in 3 s no file system had an overlay (*.apkovl.tar.gz)"] },
        ..ALPINE
    },
    Scenario {
        name: "alpine-no-root",
        shows: "a root that does not exist, and the small init",
        build: OWN_INIT,
        append: "root=LABEL=nonexistent rootdelay=3",
        expect: Expect::Refuses { says: &["initrd: the root device LABEL=nonexistent did not appear in 3 s"] },
        ..ALPINE
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
        name: "trixie-luks2-key",
        shows: "LUKS2, a key file of the machine's crypttab, and nobody types",
        tier: Tier::Slow,
        disk: Disk::Luks,
        build: BY_KEY,
        append: IN_MAPPED,
        expect: Expect::Boots { source: "/dev/mapper/root", fstype: "ext4" },
        twin: Some("wrong-key"),
        ..BASE
    },
    Scenario {
        name: "wrong-key",
        shows: "LUKS2 with another key file",
        tier: Tier::Slow,
        disk: Disk::Luks,
        build: BY_WRONG_KEY,
        append: IN_MAPPED,
        expect: Expect::Refuses { says: &["Failed to start systemd-cryptsetup"] },
        ..BASE
    },
    Scenario {
        name: "trixie-keymap",
        shows: "LUKS2, the passphrase typed on a Dvorak keyboard",
        tier: Tier::Slow,
        disk: Disk::Luks,
        build: DVORAK,
        append: TYPED,
        keys: DVORAK_KEYS,
        expect: Expect::Boots { source: "/dev/mapper/root", fstype: "ext4" },
        twin: Some("no-keymap"),
        ..BASE
    },
    Scenario {
        name: "no-keymap",
        shows: "the same keys without the keyboard's map",
        tier: Tier::Slow,
        disk: Disk::Luks,
        build: NO_MAP,
        append: TYPED,
        keys: DVORAK_KEYS,
        expect: Expect::Refuses { says: &["Failed to start systemd-cryptsetup"] },
        ..BASE
    },
    Scenario {
        name: "truncated-modules",
        shows: "an image cut within its kernel modules, which the kernel takes without a word",
        tier: Tier::Slow,
        change: Change::Truncated(50),
        append: UNREACHABLE,
        expect: Expect::Refuses { says: &["Timed out waiting for device", "root=LABEL=root: no block device is that"] },
        ..BASE
    },
    Scenario {
        name: "virtio-without-driver",
        shows: "the same without the driver of the root's disk",
        tier: Tier::Slow,
        build: &["--host-facts", "tests/it/machines/virtio.json", "--module=-virtio_blk"],
        append: UNREACHABLE,
        expect: Expect::Refuses { says: &["Timed out waiting for device", "root=LABEL=root: no block device is that"] },
        ..BASE
    },
    Scenario {
        name: "virtio-full",
        shows: "modules for any machine with the configuration of one",
        tier: Tier::Slow,
        build: &["--host-facts", "tests/it/machines/virtio.json", "--full"],
        twin: Some("no-root"),
        ..BASE
    },
    Scenario {
        name: "virtio-scsi-machine",
        shows: "an image for a machine with a SCSI disk",
        tier: Tier::Slow,
        bus: Bus::VirtioScsi,
        build: &["--host-facts", "tests/it/machines/virtio-scsi.json"],
        expect: Expect::Boots { source: "/dev/sda", fstype: "ext4" },
        twin: Some("virtio-scsi-without-driver"),
        ..BASE
    },
    Scenario {
        name: "virtio-scsi-without-driver",
        shows: "the same without the driver of the disk's adapter",
        tier: Tier::Slow,
        bus: Bus::VirtioScsi,
        build: &["--host-facts", "tests/it/machines/virtio-scsi.json", "--module=-virtio_scsi"],
        append: UNREACHABLE,
        expect: Expect::Refuses { says: &["Timed out waiting for device", "root=LABEL=root: no block device is that"] },
        ..BASE
    },
    Scenario {
        name: "after-early",
        shows: "an uncompressed archive before ours",
        tier: Tier::Slow,
        change: Change::AfterEarly,
        ..BASE
    },
    Scenario { name: "uki-ovmf", shows: "UEFI starts a unified kernel image", twin: Some("uki-unsigned"), ..UKI },
    Scenario {
        name: "uki-secure-boot",
        shows: "UEFI with Secure Boot starts a signed one",
        firmware: Firmware::SecureBoot,
        signed: true,
        twin: Some("uki-unsigned"),
        ..UKI
    },
    Scenario {
        name: "uki-unsigned",
        shows: "UEFI with Secure Boot, and nobody has signed",
        firmware: Firmware::SecureBoot,
        expect: Expect::Refuses { says: &["Access Denied"] },
        ..UKI
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
        expect: Expect::Refuses { says: &["Timed out waiting for device", "root=LABEL=root: no block device is that"] },
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
