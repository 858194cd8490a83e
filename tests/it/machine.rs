//! Machines made of files: `/sys`, `/proc`, udev's database and `/etc` below a directory, laid out as the kernel lays them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use mkinitrd_pkg::host::facts::Facts;
use mkinitrd_pkg::host::probe;

/// A machine below a temporary directory.
pub struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    /// A running Debian without any device; PID 1 has the same root.
    pub fn new() -> Self {
        let machine = Self { dir: tempfile::tempdir().expect("a temporary directory") };
        machine.file("etc/os-release", "ID=debian\nVERSION_ID=\"13\"\nVERSION_CODENAME=trixie\n");
        machine.file("proc/cmdline", "BOOT_IMAGE=/vmlinuz root=/dev/x ro quiet\n");
        machine.file("proc/sys/kernel/osrelease", "6.12.48+deb13-amd64\n");
        machine.file("proc/modules", "nvme 1 2 - Live 0x0\next4 1 1 jbd2, Live 0x0\n");
        machine.file("proc/self/uid_map", "         0          0 4294967295\n");
        machine.file("proc/cpuinfo", CPUINFO);
        machine.link("proc/1/root", "../..");
        machine.file("sys/power/resume", "0:0\n");
        machine.directory("sys/class/block");
        machine.file("sys/devices/system/cpu/modalias", "cpu:type:x86,ven0000fam0006mod008C:feature:,0000,0001\n");
        machine
    }

    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    pub fn at(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    pub fn file(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.at(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(&path, content).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
        self
    }

    pub fn directory(&self, path: &str) -> &Self {
        fs::create_dir_all(self.at(path)).expect("a directory");
        self
    }

    pub fn link(&self, path: &str, target: &str) -> &Self {
        let path = self.at(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        drop(fs::remove_file(&path));
        symlink(target, &path).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
        self
    }

    /// A device below `/sys/devices` with a driver, and the module that the driver is in unless it is built in.
    pub fn device(&self, place: &str, modalias: &str, driver: &str, module: Option<&str>) -> &Self {
        self.directory(&format!("sys/devices/{place}"));
        if !modalias.is_empty() {
            self.file(&format!("sys/devices/{place}/modalias"), format!("{modalias}\n"));
        }
        let up = "../".repeat(place.split('/').count() + 1);
        self.directory(&format!("sys/bus/any/drivers/{driver}"));
        self.link(&format!("sys/devices/{place}/driver"), &format!("{up}bus/any/drivers/{driver}"));
        if let Some(module) = module {
            self.link(&format!("sys/bus/any/drivers/{driver}/module"), &format!("../../../../module/{module}"));
        }
        self
    }

    /// A block device at a place below `/sys/devices`; the last component is its name.
    pub fn block(&self, place: &str, number: &str) -> &Self {
        let name = place.rsplit('/').next().expect("a name");
        self.file(&format!("sys/devices/{place}/dev"), format!("{number}\n"));
        self.directory(&format!("sys/devices/{place}/slaves"));
        self.directory(&format!("sys/devices/{place}/queue"));
        self.link(&format!("sys/class/block/{name}"), &format!("../../devices/{place}"))
    }

    /// A partition of a disk.
    pub fn partition(&self, disk: &str, name: &str, number: &str) -> &Self {
        let place = format!("{disk}/{name}");
        self.block(&place, number).file(&format!("sys/devices/{place}/partition"), "1\n")
    }

    /// A virtual block device over others.
    pub fn over(&self, name: &str, number: &str, slaves: &[&str]) -> &Self {
        let place = format!("virtual/block/{name}");
        self.block(&place, number);
        for slave in slaves {
            self.link(&format!("sys/devices/{place}/slaves/{slave}"), &format!("../../../../../class/block/{slave}"));
        }
        self
    }

    /// A mapping of the device mapper.
    pub fn mapping(&self, name: &str, number: &str, mapped: &str, uuid: &str, slaves: &[&str]) -> &Self {
        let dm = format!("sys/devices/virtual/block/{name}/dm");
        self.over(name, number, slaves);
        self.file(&format!("{dm}/name"), format!("{mapped}\n")).file(&format!("{dm}/uuid"), format!("{uuid}\n"))
    }

    /// An array of md.
    pub fn array(&self, name: &str, number: &str, level: &str, metadata: &str, slaves: &[&str]) -> &Self {
        let md = format!("sys/devices/virtual/block/{name}/md");
        self.over(name, number, slaves);
        self.file(&format!("{md}/level"), format!("{level}\n")).file(&format!("{md}/metadata_version"), format!("{metadata}\n"))
    }

    /// What udev knows of a block device: `E:` lines as `ID_FS_TYPE=ext4`.
    pub fn udev(&self, number: &str, properties: &[&str]) -> &Self {
        let lines: String = properties.iter().map(|property| format!("E:{property}\n")).collect();
        self.file(&format!("run/udev/data/b{number}"), format!("S:disk/by-id/x-{number}\nI:123\n{lines}G:systemd\nV:1\n"))
    }

    /// Mounts: `NUMBER TARGET FSTYPE SOURCE [PART [SUPER-OPTIONS]]`.
    pub fn mounts(&self, mounts: &[&str]) -> &Self {
        let line = |(i, mount): (usize, &&str)| {
            let words: Vec<&str> = mount.split(' ').collect();
            let part = words.get(4).unwrap_or(&"/");
            let more = words.get(5).unwrap_or(&"rw");
            format!("{} 1 {} {part} {} rw,relatime shared:1 - {} {} {more}\n", i + 20, words[0], words[1], words[2], words[3])
        };
        let proc = "18 20 0:21 / /proc rw - proc proc rw\n".to_owned();
        let text: String = std::iter::once(proc).chain(mounts.iter().enumerate().map(line)).collect();
        self.file("proc/self/mountinfo", text)
    }

    /// What the program finds.
    pub fn facts(&self) -> Facts {
        probe::probe(self.root()).expect("facts")
    }
}

const CPUINFO: &str = "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 140\nmodel name\t: 11th Gen\nstepping\t: 1\n\
    flags\t\t: fpu vme\n\nprocessor\t: 1\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 141\n";

/// A volume made by cryptsetup, its header at the start of a file; no device is touched.
pub fn luks_volume(path: &Path, options: &[&str], tokens: &[&str]) {
    fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
    fs::File::create(path).and_then(|file| file.set_len(20 << 20)).expect("a file");
    let key = path.with_extension("passphrase");
    fs::write(&key, "pass").expect("writing");
    let mut format = Command::new("cryptsetup");
    format.args(["luksFormat", "-q", "--key-file"]).arg(&key).args(options).arg(path);
    let done = format.output().expect("cryptsetup (cryptsetup-bin)");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    for token in tokens {
        let json = path.with_extension("token");
        fs::write(&json, token).expect("writing");
        let mut import = Command::new("cryptsetup");
        let done = import.args(["token", "import", "--json-file"]).arg(&json).arg(path).output().expect("cryptsetup");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    // A header and its key slots are random: nothing behind them is needed.
    for extra in ["passphrase", "token"] {
        drop(fs::remove_file(path.with_extension(extra)));
    }
}

/// `NVMe ← partition ← LUKS2 ← LVM ← ext4`, unlocked by a TPM, with a keymap, UEFI and a swap volume.
pub fn laptop() -> Machine {
    let machine = Machine::new();
    let disk = "pci0000:00/0000:00:1d.0/0000:03:00.0/nvme/nvme0/nvme0n1";
    machine
        .device("pci0000:00/0000:00:1d.0", "pci:v00008086d0000A0B0sv0sd0bc06sc04i00", "pcieport", None)
        .device("pci0000:00/0000:00:1d.0/0000:03:00.0", "pci:v0000144Dd0000A808sv0sd0bc01sc08i02", "nvme", Some("nvme"))
        .device("pci0000:00/0000:00:14.0", "pci:v00008086d0000A0EDsv0sd0bc0Csc03i30", "xhci_hcd", Some("xhci_pci"))
        .file("sys/devices/pci0000:00/0000:00:1d.0/0000:03:00.0/nvme/nvme0/transport", "pcie\n")
        .block(disk, "259:0")
        .partition(disk, "nvme0n1p1", "259:1")
        .partition(disk, "nvme0n1p2", "259:2")
        .partition(disk, "nvme0n1p3", "259:3")
        .udev("259:0", &["ID_PART_TABLE_TYPE=gpt"])
        .udev("259:1", &["ID_FS_TYPE=vfat", "ID_FS_UUID=1A2B-3C4D"])
        .udev("259:2", &["ID_FS_TYPE=ext4", "ID_FS_UUID=b007", "ID_FS_LABEL=my_boot", "ID_FS_LABEL_ENC=my\\x20boot"])
        .udev("259:3", &["ID_FS_TYPE=crypto_LUKS", "ID_FS_UUID=5ec", "ID_PART_ENTRY_UUID=9a27-03"])
        .mapping("dm-0", "254:0", "nvme0n1p3_crypt", "CRYPT-LUKS2-0005ec-nvme0n1p3_crypt", &["nvme0n1p3"])
        .udev("254:0", &["ID_FS_TYPE=LVM2_member", "ID_FS_UUID=abc-def"])
        .mapping("dm-1", "254:1", "vg0-root", &format!("LVM-{}", "a".repeat(64)), &["dm-0"])
        .udev("254:1", &["ID_FS_TYPE=ext4", "ID_FS_UUID=700t"])
        .mapping("dm-2", "254:2", "vg0-swap_1", &format!("LVM-{}", "b".repeat(64)), &["dm-0"])
        .udev("254:2", &["ID_FS_TYPE=swap", "ID_FS_UUID=5a4"])
        .mounts(&["254:1 / ext4 /dev/mapper/vg0-root", "259:2 /boot ext4 /dev/nvme0n1p2", "259:1 /boot/efi vfat /dev/nvme0n1p1"])
        .file(
            "etc/fstab",
            "/dev/mapper/vg0-root / ext4 errors=remount-ro 0 1\nUUID=b007 /boot ext4 defaults 0 2\n\
             /dev/mapper/vg0-swap_1 none swap sw 0 0\n",
        )
        .file("etc/crypttab", "nvme0n1p3_crypt UUID=5ec none luks,discard,x-initrd.attach,tpm2-device=auto\n")
        .file("boot/vmlinuz-6.12.48+deb13-amd64", "")
        .directory("sys/firmware/efi")
        .file("sys/class/tpm/tpm0/tpm_version_major", "2\n")
        .file("etc/vconsole.conf", "KEYMAP=de-latin1\n# FONT=no\n")
        .file("etc/shadow", "root:*:1::::::\n")
        .file("etc/machine-id", "0123456789abcdef0123456789abcdef\n")
        .file("etc/ssh/ssh_host_ed25519_key", "secret\n");
    let options = ["--type", "luks2", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--cipher", "aes-xts-plain64"];
    let token = r#"{"type":"systemd-tpm2","keyslots":["0"],"tpm2-blob":"AA==","tpm2-pcrs":[7],"tpm2-policy-hash":"00"}"#;
    luks_volume(&machine.at("dev/nvme0n1p3"), &options, &[token]);
    machine
}
