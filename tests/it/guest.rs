//! A small emulated machine for what this machine cannot do: file systems that its kernel lacks, device mapper, a power cut.
//!
//! It boots trixie's kernel with busybox, a script and this test binary itself, all as one initrd; what the script prints comes
//! back as the console.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Seek};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::kernels::{TRIXIE, run};
use crate::program::effort;

/// A guest that takes longer hangs: one needs 5 to 30 s on an idle machine, and the tests share two processors. Long runs do more in it.
fn limit() -> Duration {
    Duration::from_secs(if effort() > 1 { 1800 } else { 420 })
}

/// What every guest does before its own script.
const PROLOGUE: &str = r#"#!/bin/busybox sh
# What is there already stays: programs of this machine.
/bin/busybox --install -s /bin 2>/dev/null
export PATH=/bin:/sbin:/usr/sbin RUST_BACKTRACE=0
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do insmod "/modules/$module" || echo "GUEST no $module"; done
dmesg -n 1
deliver() { DELIVER_TO=$1 DELIVER_SIZE=$2 /it --exact deliver::deliver_in_a_process_of_its_own --nocapture --quiet --test-threads=1; }
say() { echo "SAY $*"; }
"#;

/// A guest that is about to run.
pub struct Guest {
    dir: tempfile::TempDir,
    modules: BTreeSet<&'static str>,
    programs: Vec<PathBuf>,
    drives: Vec<String>,
}

impl Guest {
    /// A guest whose kernel has these modules beside the disk's own.
    pub fn new(modules: &[&'static str]) -> Self {
        let modules = modules.iter().copied().chain(["virtio_pci", "virtio_blk"]).collect();
        Self { dir: tempfile::tempdir().expect("a directory"), modules, programs: Vec::new(), drives: Vec::new() }
    }

    /// Takes a program of this machine along, with its libraries.
    pub fn program(mut self, path: &str) -> Self {
        self.programs.push(path.into());
        self
    }

    /// Adds a disk, `/dev/vda` first, that the guest writes to.
    pub fn disk(mut self, image: &Path) -> Self {
        self.drives.push(format!("-drive|file={},format=raw,if=virtio,cache=writeback", image.display()));
        self
    }

    /// Adds a disk whose every write and flush is also recorded in `log`, in the order in which the disk got them.
    pub fn recorded_disk(mut self, image: &Path, log: &Path) -> Self {
        fs::write(log, "").expect("a log");
        self.drives.push(format!(
            "-blockdev|driver=blklogwrites,node-name=recorded,log-sector-size=512,file.driver=file,file.filename={},\
             log.driver=file,log.filename={}|-device|virtio-blk-pci,drive=recorded,write-cache=on",
            image.display(),
            log.display()
        ));
        self
    }

    /// Runs it to its end and returns its console.
    #[track_caller]
    pub fn run(self, script: &str) -> String {
        let initrd = self.initrd(script);
        let kernel = kernel();
        let drives: Vec<&str> = self.drives.iter().flat_map(|drive| drive.split('|')).collect();
        let console = console_of(&kernel, &initrd, "random.trust_cpu=on mitigations=off", &drives);
        assert!(!console.contains("GUEST no ") && !console.contains("Kernel panic"), "{console}");
        console
    }

    fn initrd(&self, script: &str) -> PathBuf {
        let root = self.dir.path().join("root");
        for dir in ["bin", "dev", "proc", "sys", "mnt", "tmp", "modules"] {
            fs::create_dir_all(root.join(dir)).expect("a directory");
        }
        fs::copy("/bin/busybox", root.join("bin/busybox"))
            .unwrap_or_else(|err| panic!("busybox: {err}: install `busybox-static`"));
        // libcrc32c cannot start before there is a checksum, and does not say that it depends on one.
        let mut modules: Vec<&str> = self.modules.iter().copied().collect();
        modules.sort_by_key(|module| !module.starts_with("crc"));
        let order = modules.iter().flat_map(|module| with_dependencies(module));
        let mut seen = BTreeSet::new();
        let order: Vec<String> = order.filter(|path| seen.insert(path.clone())).map(|path| take_module(&path, &root)).collect();
        fs::write(root.join("modules/order"), order.join("\n")).expect("writing");
        // Debug information is most of it.
        let this = std::env::current_exe().expect("this binary");
        let stripped = root.join("it");
        run("strip", "binutils", &["-o", stripped.to_str().expect("text"), this.to_str().expect("text")]);
        for library in self.programs.iter().flat_map(|path| libraries(path)).chain(libraries(&this)) {
            take(&library, &root);
        }
        self.programs.iter().for_each(|path| take(path, &root));
        let init = root.join("init");
        fs::write(&init, format!("{PROLOGUE}{script}\nsync\npoweroff -f\n")).expect("writing");
        fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).expect("a mode");
        let image = self.dir.path().join("initrd");
        let pack = format!("cd {} && find . | cpio --quiet -o -H newc -R 0:0 >{}", root.display(), image.display());
        run("sh", "dash", &["-ec", &pack]);
        image
    }
}

/// Runs an emulated machine to its end and returns what its console said.
///
/// QEMU's cmpxchg16b is wrong under load, so the machine has none. A kernel that stumbles ends it: one that went on could do so for ever.
#[track_caller]
pub fn console_of(kernel: &Path, initrd: &Path, append: &str, more: &[&str]) -> String {
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-machine", "pc", "-cpu", "max,cx16=off", "-accel", "tcg", "-m", "768", "-smp", "1", "-nodefaults"]);
    command.args(["-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot"]);
    command.arg("-kernel").arg(kernel).arg("-initrd").arg(initrd);
    command.args(["-append", &format!("console=ttyS0 panic=-1 oops=panic quiet rdinit=/init {append}")]).args(more);
    let mut log = tempfile::tempfile().expect("a file");
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log.try_clone().expect("a file"));
    let mut child = command.spawn().unwrap_or_else(|err| panic!("qemu-system-x86_64: {err}: install `qemu-system-x86`"));
    let (start, limit) = (Instant::now(), limit());
    let status = loop {
        if let Some(status) = child.try_wait().expect("waiting") {
            break status;
        }
        if start.elapsed() > limit {
            child.kill().expect("killing");
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let mut console = Vec::new();
    log.rewind().and_then(|()| log.read_to_end(&mut console)).expect("the console");
    let console = String::from_utf8_lossy(&console).replace('\r', "");
    assert!(status.success(), "{status} after {:?}, of at most {limit:?}:\n{console}", start.elapsed());
    console
}

/// Returns trixie's kernel itself.
pub fn kernel() -> PathBuf {
    let root = TRIXIE.root();
    let mut entries = fs::read_dir(root.join("boot")).expect("`boot`").map(|entry| entry.expect("an entry").path());
    let is_kernel = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-"));
    entries.find(is_kernel).expect("a kernel")
}

/// Returns the files of a module and of what it needs, that first. The index that `modprobe` reads is not made here: the kernel's
/// directory belongs to all tests.
fn with_dependencies(module: &str) -> Vec<String> {
    static FILES: OnceLock<BTreeMap<String, String>> = OnceLock::new();
    let files = FILES.get_or_init(|| {
        let (dir, _) = TRIXIE.dir();
        let listed = run("find", "findutils", &[dir.to_str().expect("text"), "-name", "*.ko.xz"]);
        let stem = |path: &str| Path::new(path).file_name()?.to_str()?.strip_suffix(".ko.xz").map(|name| name.replace('-', "_"));
        listed.lines().map(|path| (stem(path).expect("a module"), path.to_owned())).collect()
    });
    // A module that is built in is no file.
    let Some(path) = files.get(module) else { return Vec::new() };
    let needs = run("modinfo", "kmod", &["-F", "depends", path]);
    let mut order: Vec<String> = needs
        .trim()
        .split(',')
        .filter(|need| !need.is_empty())
        .flat_map(|need| with_dependencies(&need.replace('-', "_")))
        .collect();
    order.push(path.clone());
    order
}

/// Unpacks a module into the guest's root and returns its name there.
fn take_module(path: &str, root: &Path) -> String {
    let name = Path::new(path).file_name().expect("a name").to_string_lossy();
    let name = name.strip_suffix(".xz").unwrap_or(&name).to_owned();
    let to = root.join("modules").join(&name);
    run("sh", "xz-utils", &["-ec", &format!("xz -dc {path} >{}", to.display())]);
    name
}

/// Returns the libraries of a program, its loader too.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let listed = run("ldd", "libc-bin", &[program.to_str().expect("text")]);
    listed.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

fn take(path: &Path, root: &Path) {
    let to = root.join(path.strip_prefix("/").expect("an absolute path"));
    fs::create_dir_all(to.parent().expect("a directory")).expect("a directory");
    fs::copy(path, &to).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
}
