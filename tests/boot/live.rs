//! Boots what a real trixie root makes of itself: our package takes the place of initramfs-tools, apt installs kernels, and the disk
//! that comes of it is started by UEFI firmware and systemd-boot, or as GRUB does it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use crate::command::{at, run, tool};
use crate::esp;
use crate::evidence;
use crate::live_root::{self, LiveRoot, Setting};
use crate::machine::{Machine, Run, Start, log_path};
use crate::prepare::nonce;
use crate::root;
use crate::scenarios::{Bus, Expect, Firmware, Journal, Tier};

/// How a root's kernels are started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// systemd-boot finds entries that kernel-install made.
    Bls,
    /// systemd-boot finds unified kernel images that kernel-install had ukify make.
    Uki,
    /// systemd-boot finds unified kernel images that our plugin made, with no ukify on the machine.
    OwnUki,
    /// Kernels and initrds lie in `/boot`, for GRUB and its like: QEMU reads them as they do.
    Boot,
}

/// One life of a machine.
#[derive(Debug, Clone, Copy)]
pub struct Live {
    /// The name that the command line takes.
    pub name: &'static str,
    /// What it shows, in the words of the matrix.
    pub shows: &'static str,
    /// When it is run.
    pub tier: Tier,
    layout: Layout,
    /// A second, newer kernel is installed and boots, and boots on when the first is removed.
    upgrade: bool,
}

/// All of them.
pub const LIVES: &[Live] = &[
    Live {
        name: "live-bls",
        shows: "apt installs a kernel, kernel-install and our plugins make an entry",
        tier: Tier::Smoke,
        layout: Layout::Bls,
        upgrade: false,
    },
    Live {
        name: "live-uki",
        shows: "layout uki: ukify takes our staged initrd",
        tier: Tier::Slow,
        layout: Layout::Uki,
        upgrade: false,
    },
    Live {
        name: "live-own-uki",
        shows: "layout uki without ukify: our plugin makes the unified image",
        tier: Tier::Slow,
        layout: Layout::OwnUki,
        upgrade: false,
    },
    Live {
        name: "live-bls-upgrade",
        shows: "apt installs a second kernel; both boot; the first is purged, and the other boots",
        tier: Tier::Slow,
        layout: Layout::Bls,
        upgrade: true,
    },
    Live {
        name: "live-boot-upgrade",
        shows: "the same with Debian's hooks and /boot/initrd.img-VERSION",
        tier: Tier::Slow,
        layout: Layout::Boot,
        upgrade: true,
    },
];

const ESP_SIZE: u64 = 512 << 20;
const ROOT_SIZE: &str = "3G";
/// The machine id of the live root, after which kernel-install names its directory.
const TOKEN: &str = "6d6b696e697472642d706b6720746573";
const CMDLINE: &str = "root=LABEL=root rw console=ttyS0 panic=-1 oops=panic\n";

/// Where logs and disks go, and how long a boot may take.
pub struct Bench<'a> {
    /// Console logs.
    pub logs: &'a Path,
    /// Disks, for the time of the run.
    pub work: &'a Path,
    /// The limit of one boot.
    pub limit: Duration,
}

/// What came of one life: its seconds, and what is wrong.
pub struct Lived {
    /// The name of the life.
    pub name: &'static str,
    /// Wall clock seconds of all, with apt's.
    pub seconds: f64,
    /// What happened.
    pub result: Result<(), String>,
}

/// Runs them one after the other.
pub fn run_all(lives: &[Live], bench: &Bench<'_>) -> Vec<Lived> {
    let one = |live: &Live| {
        let started = Instant::now();
        // The root that the tests share says what is wrong by a panic.
        let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| lead(live, bench)));
        let result = lived.unwrap_or_else(|_| Err("the root could not be made or changed; what it said is above".to_owned()));
        let seconds = started.elapsed().as_secs_f64();
        match &result {
            Ok(()) => println!("ok   {:<22} {seconds:>6.1} s", live.name),
            Err(error) => println!("FAIL {:<22} {seconds:>6.1} s\n     {error}", live.name),
        }
        Lived { name: live.name, seconds, result }
    };
    lives.iter().map(one).collect()
}

fn lead(live: &Live, bench: &Bench<'_>) -> Result<(), String> {
    let home = Home::new(live, bench)?;
    home.replace_initramfs_tools()?;
    if live.layout == Layout::Uki {
        // ukify only recommends what makes an image start.
        home.apt("the stub", &["install", "systemd-boot-efi"])?;
    }
    if live.layout == Layout::OwnUki {
        home.apt("no ukify", &["purge", "systemd-ukify"])?;
    }
    home.apt("the kernel", &["install", "linux-image-amd64"])?;
    let first = home.kernels()?.pop().ok_or("no kernel was installed")?;
    home.boot(&first, 1)?;
    if !live.upgrade {
        return Ok(());
    }
    home.offer_sid()?;
    home.apt("sid's kernel", &["install", "linux-image-amd64/sid"])?;
    let second = home.kernels()?.into_iter().find(|version| *version != first).ok_or("no second kernel was installed")?;
    home.boot(&second, 2)?;
    home.boot(&first, 3)?;
    home.apt("the removal", &["purge", &format!("linux-image-{first}")])?;
    home.expect_gone(&first)?;
    home.boot(&second, 4)
}

/// A machine's root and its boot partition, before it is turned on.
struct Home<'a> {
    live: &'a Live,
    bench: &'a Bench<'a>,
    root: LiveRoot,
    setting: Setting,
    /// The EFI system partition as a directory of this machine, whose kernel knows no vfat.
    esp: PathBuf,
    nonce: String,
}

impl<'a> Home<'a> {
    fn new(live: &'a Live, bench: &'a Bench<'a>) -> Result<Self, String> {
        let esp = bench.work.join(format!("{}.esp.d", live.name));
        let cache = live_root::cache().join("program-live");
        for dir in [&esp, &cache] {
            fs::create_dir_all(dir).map_err(at(dir))?;
        }
        let cache = cache.canonicalize().map_err(at(&cache))?;
        let mut binds = vec![
            (package(bench.work)?, "/mkinitrd-pkg.deb".to_owned(), "ro"),
            (cache, "/var/cache/mkinitrd-pkg".to_owned(), "rw"),
        ];
        if live.layout != Layout::Boot {
            binds.push((esp.clone(), "/efi".to_owned(), "rw"));
        }
        let setting = Setting { network: true, binds, ..Setting::default() };
        let home = Self { live, bench, root: LiveRoot::new(), setting, esp, nonce: nonce()? };
        home.root.write("/etc/kernel/cmdline", CMDLINE.as_bytes(), 0o644);
        match live.layout {
            Layout::Bls => home.root.write("/etc/kernel/install.conf", b"layout=bls\n", 0o644),
            Layout::Uki => home.root.write("/etc/kernel/install.conf", b"layout=uki\n", 0o644),
            Layout::OwnUki => {
                let text = "layout=uki\nuki_generator=mkinitrd-pkg\n";
                home.root.write("/etc/kernel/install.conf", text.as_bytes(), 0o644);
            }
            Layout::Boot => {}
        }
        if live.layout != Layout::Boot {
            home.sh(
                "systemd-boot",
                match live.layout {
                    Layout::Bls => "bootctl install --no-variables --make-entry-directory=yes",
                    _ => "bootctl install --no-variables",
                },
            )?;
        }
        Ok(home)
    }

    /// Runs a script inside. A directory passes for the EFI system partition that a real machine has mounted.
    fn sh(&self, what: &str, script: &str) -> Result<String, String> {
        let started = Instant::now();
        let mut command = self.root.command("sh", &self.setting);
        command.args(["-ec", script]).env("SYSTEMD_ESP_PATH", "/efi").env("SYSTEMD_RELAX_ESP_CHECKS", "1");
        let Output { status, stdout, stderr } = command.output().map_err(|error| format!("`unshare`: {error}"))?;
        let said = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
        println!("{}: {what}: {:.1} s", self.live.name, started.elapsed().as_secs_f64());
        if status.success() { Ok(said) } else { Err(format!("{what} failed with {status}:\n{said}")) }
    }

    fn apt(&self, what: &str, words: &[&str]) -> Result<String, String> {
        let said = self.sh(what, &format!("apt-get --yes -o Dpkg::Use-Pty=0 {} 2>&1", words.join(" ")))?;
        match said.contains("error:") {
            true => Err(format!("{what} went through with an error:\n{said}")),
            false => Ok(said),
        }
    }

    fn replace_initramfs_tools(&self) -> Result<(), String> {
        self.apt("our package", &["install", "/mkinitrd-pkg.deb"])?;
        let state = self.sh("the package database", "dpkg-query -W -f '${Package} ${db:Status-Status}\n'")?;
        let installed = |package: &str| state.lines().any(|line| line == format!("{package} installed"));
        match (installed("mkinitrd-pkg"), installed("initramfs-tools")) {
            (true, false) => Ok(()),
            other => Err(format!("our package and initramfs-tools are installed: {other:?}")),
        }
    }

    /// Makes sid's kernels known, and nothing else of sid wanted.
    fn offer_sid(&self) -> Result<(), String> {
        let source = format!("deb {} sid main\n", live_root::mirror());
        self.root.write("/etc/apt/sources.list.d/sid.list", source.as_bytes(), 0o644);
        self.root.write("/etc/apt/preferences.d/sid", b"Package: *\nPin: release n=sid\nPin-Priority: 100\n", 0o644);
        // A mirror that lags behind is good enough; signatures are checked all the same.
        self.apt("sid's index", &["-o", "Acquire::Check-Valid-Until=false", "update"]).map(drop)
    }

    fn kernels(&self) -> Result<Vec<String>, String> {
        let listed = self.sh("the kernels", "ls /usr/lib/modules")?;
        Ok(listed.split_whitespace().map(str::to_owned).collect())
    }

    /// Nothing of a removed kernel is left to be booted.
    fn expect_gone(&self, version: &str) -> Result<(), String> {
        let found = self.sh("what is left", &format!("find /boot /efi -name '*{version}*' 2>/dev/null || :"))?;
        if found.trim().is_empty() { Ok(()) } else { Err(format!("of the removed kernel there is still:\n{found}")) }
    }

    /// Boots it as it is, with the kernel `version`, and demands what the root says.
    fn boot(&self, version: &str, number: u32) -> Result<(), String> {
        let started = Instant::now();
        let file = |ending: &str| self.bench.work.join(format!("{}.{ending}", self.live.name));
        let root = file("root");
        self.write_root(&root)?;
        let (disk, kernel, initrd) = (file("disk"), file("vmlinuz"), file("initrd"));
        let (start, source, firmware) = match self.live.layout {
            Layout::Boot => {
                for (name, path) in [("vmlinuz", &kernel), ("initrd.img", &initrd)] {
                    let bytes = self.root.read(&format!("/boot/{name}-{version}"));
                    fs::write(path, bytes.ok_or_else(|| format!("there is no `/boot/{name}-{version}`"))?).map_err(at(path))?;
                }
                fs::rename(&root, &disk).map_err(at(&root))?;
                (Start::Kernel { kernel: &kernel, initrd: &initrd, append: "root=LABEL=root rw" }, "/dev/vda", Firmware::None)
            }
            Layout::Bls | Layout::Uki | Layout::OwnUki => {
                let esp = file("esp");
                self.write_esp(&esp, version)?;
                esp::disk(&esp, &root, &disk)?;
                fs::remove_file(&root).and_then(|()| fs::remove_file(&esp)).map_err(at(&esp))?;
                (Start::Uefi { secure_boot: false }, "/dev/vda2", Firmware::Uefi)
            }
        };
        println!("{}: the disk: {:.1} s", self.live.name, started.elapsed().as_secs_f64());
        let expect = Expect::Boots { source, fstype: "ext4" };
        let disks = std::slice::from_ref(&disk);
        let machine = Machine {
            arch: "amd64",
            start,
            disks,
            bus: Bus::Virtio,
            written: false,
            tpm: None,
            credentials: &[],
            network: None,
            fw_cfg: false,
            keys: &[],
            answer: None,
            counted: false,
            survives_panic: false,
        };
        let log = log_path(self.bench.logs, self.live.name, number);
        let run = machine.run(&log, self.bench.limit, |console| evidence::is_decided(console, &self.nonce, expect))?;
        fs::remove_file(&disk).map_err(at(&disk))?;
        let mut faults = evidence::faults(&run, &self.nonce, expect, firmware, Journal::Whole, &[]);
        faults.extend(self.wrong_kernel(&run, version));
        println!("{}: boot of {version}: {:.1} s", self.live.name, run.seconds);
        if faults.is_empty() { Ok(()) } else { Err(format!("{} (`{}`)", faults.join("\n     "), log.display())) }
    }

    fn wrong_kernel(&self, run: &Run, version: &str) -> Option<String> {
        let said = run.console.lines().find_map(|line| line.strip_prefix(&format!("{} kernel ", self.nonce)))?;
        (said.trim() != version).then(|| format!("the kernel is {said}, not {version}"))
    }

    /// Writes the root as an ext4 file system, with the service that gives evidence and without what was downloaded.
    fn write_root(&self, out: &Path) -> Result<(), String> {
        let overlay = self.bench.work.join(format!("{}.overlay", self.live.name));
        if overlay.exists() {
            fs::remove_dir_all(&overlay).map_err(at(&overlay))?;
        }
        root::write_overlay(&overlay, &self.nonce)?;
        // The entries of the boot loader are named after the one that the root has.
        let machine_id = overlay.join("etc/machine-id");
        fs::remove_file(&machine_id).map_err(at(&machine_id))?;
        // The evidence is read where the initrd's journal is; this root has a place for one that lasts, too.
        let journal = overlay.join("etc/systemd/journald.conf.d");
        fs::create_dir_all(&journal).map_err(at(&journal))?;
        fs::write(journal.join("volatile.conf"), "[Journal]\nStorage=volatile\n").map_err(at(&journal))?;
        let empty = self.bench.work.join("empty");
        fs::create_dir_all(&empty).map_err(at(&empty))?;
        let script = format!(
            r#"cp -dR --remove-destination "$1/." "$LIVE_ROOT/"
            rm -f "$2"; truncate -s {ROOT_SIZE} "$2"
            mke2fs -q -F -t ext4 -L root -E lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0 -d "$LIVE_ROOT" "$2""#
        );
        let binds = vec![(empty, "/var/cache/apt/archives".to_owned(), "rw")];
        let mut command = self.root.outside("sh", &Setting { mounts: "", binds, ..Setting::default() });
        run(command.args(["-ec", &script, "sh"]).args([&overlay, out])).map(drop)
    }

    /// Writes the EFI system partition, whose boot loader starts `version` and not what it thinks best.
    fn write_esp(&self, out: &Path, version: &str) -> Result<(), String> {
        let entry = match self.live.layout {
            Layout::Uki | Layout::OwnUki => format!("{TOKEN}-{version}.efi"),
            _ => format!("{TOKEN}-{version}.conf"),
        };
        let config = self.esp.join("loader/loader.conf");
        fs::write(&config, format!("default {entry}\n")).map_err(at(&config))?;
        esp::make(ESP_SIZE, &[], out)?;
        let entries = fs::read_dir(&self.esp).map_err(at(&self.esp))?;
        let top: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
        run(tool("mcopy").arg("-s").arg("-i").arg(out).args(top).arg("::/")).map(drop)
    }
}

/// Makes our own Debian package with the program that is tested.
fn package(dir: &Path) -> Result<PathBuf, String> {
    let out = dir.join("mkinitrd-pkg.deb");
    if !out.exists() {
        let mut command = tool(env!("CARGO"));
        command.current_dir(env!("CARGO_MANIFEST_DIR")).args(["run", "--quiet", "--package", "xtask", "--", "deb", "--binary"]);
        run(command.arg(env!("CARGO_BIN_EXE_mkinitrd-pkg")).arg(&out))?;
    }
    Ok(out)
}
