//! Runs one emulated machine and watches its console until something is decided or the time is up.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mkinitrd_pkg::host::emulate::plain;

use crate::command::{at, explain, tool};
use crate::scenarios::Bus;
use crate::tpm::Tpm;

/// What a machine is made of.
pub struct Machine<'a> {
    /// Debian's name of its architecture.
    pub arch: &'a str,
    /// What is started.
    pub start: Start<'a>,
    /// The disks: the first is the one that counts.
    pub disks: &'a [PathBuf],
    /// How the first is connected; the others are virtio's.
    pub bus: Bus,
    /// What is written to the disks stays there.
    pub written: bool,
    /// The state of its TPM, of which it gets a copy.
    pub tpm: Option<&'a Path>,
    /// System credentials.
    pub credentials: &'a [(String, String)],
    /// It has a network card, behind which is QEMU's own network with the host's loopback at 10.0.2.2, and with this beside.
    pub network: Option<&'a str>,
    /// They are passed by QEMU's firmware configuration, not by SMBIOS.
    pub fw_cfg: bool,
    /// Keys that are pressed when a passphrase is asked for.
    pub keys: &'a [&'a str],
    /// What the serial console says, and what is typed there then.
    pub answer: Option<(&'a str, &'a str)>,
    /// Its clock counts instructions, of one processor, and the memory that it touches until its root begins is measured.
    pub counted: bool,
    /// Its kernel panics and starts another, which goes on.
    pub survives_panic: bool,
}

/// What a machine starts.
#[derive(Debug, Clone, Copy)]
pub enum Start<'a> {
    /// QEMU itself loads a kernel with an initrd.
    Kernel {
        /// The kernel.
        kernel: &'a Path,
        /// The initrd.
        initrd: &'a Path,
        /// The kernel command line beside the console's.
        append: &'a str,
    },
    /// UEFI firmware starts what it finds on the disk. Needs the package `ovmf`; amd64 only.
    Uefi {
        /// Only what is signed by [`SNAKEOIL_CERTIFICATE`] is started.
        secure_boot: bool,
    },
}

/// The certificate that the firmware of a machine with Secure Boot believes; whoever has the package `ovmf` has its key, too.
pub const SNAKEOIL_CERTIFICATE: &str = "/usr/share/ovmf/PkKek-1-snakeoil.pem";
/// The key of that certificate, encrypted with [`SNAKEOIL_PASSPHRASE`].
pub const SNAKEOIL_KEY: &str = "/usr/share/ovmf/PkKek-1-snakeoil.key";
/// What opens that key.
pub const SNAKEOIL_PASSPHRASE: &str = "snakeoil";

const OVMF: &str = "/usr/share/OVMF";

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The caller saw what it was waiting for.
    Decided,
    /// The console said what no boot recovers from.
    Hopeless(&'static str),
    /// The machine went off by itself.
    Off,
    /// The time was up.
    Timeout,
}

/// What a run left.
pub struct Run {
    /// How it ended.
    pub end: End,
    /// The console, without carriage returns and colour.
    pub console: String,
    /// Wall clock seconds.
    pub seconds: f64,
    /// The memory that the machine had touched when its root began, if it was measured.
    pub touched_kib: Option<u64>,
}

const PANIC: &str = "Kernel panic - not syncing";
/// What no boot recovers from, so that nobody has to wait for the time to be up.
const HOPELESS: &[&str] = &[
    PANIC,
    "You are in emergency mode",
    "Cannot open access to console, the root account is locked",
    "Press Enter for ",
    // Our own last word.
    "There is no shell here",
    "Entering emergency mode",
    "(initramfs)",
    // The firmware has nothing to start.
    "Shell> ",
];

/// How long the console may go on once all is decided, so that the log has the whole story.
const GRACE: Duration = Duration::from_secs(3);

/// How systemd asks for a passphrase.
const PROMPT: &str = "Please enter passphrase";
/// How sulogin offers a shell, and how an image without one ends.
const OFFERS: [&str; 2] = ["Press Enter for ", "Press Enter to try once more"];
/// What systemd and initramfs-tools say when they begin to wait for a root.
const WAITS: [&str; 2] = ["Expecting device", "Begin: Waiting for root"];
/// How long a late disk lets it wait.
const LATE: Duration = Duration::from_secs(20);
/// Two nanoseconds for each instruction, of one processor in one thread: the same on a busy host. The memory is a file of its own, in
/// pages of 4 KiB, and can be told from the emulator's.
const COUNTED: &str = "-accel tcg,thread=single -smp 1 -icount shift=1,sleep=off -m 2048 \
     -object memory-backend-memfd,id=counted,size=2048M -machine memory-backend=counted";
/// What the root of the tests says first; the name is in `root.rs`.
pub const ROOT_BEGINS: &str = "Hostname set to <realroot>";
/// From one key to the next: an emulated keyboard forgets what comes faster than a busy host lets it look.
const KEY_PAUSE: Duration = Duration::from_millis(400);

/// Presses keys by the emulator's monitor.
fn press(keys: &[&str], monitor: &Path) -> Result<(), String> {
    // The prompt is on all consoles, but not in the same moment.
    std::thread::sleep(GRACE);
    let mut stream = UnixStream::connect(monitor).map_err(at(monitor))?;
    for key in keys {
        writeln!(stream, "sendkey {key}").map_err(at(monitor))?;
        std::thread::sleep(KEY_PAUSE);
    }
    Ok(())
}

/// Gives the emulator's monitor one command.
fn tell(monitor: &Path, command: &str) -> Result<(), String> {
    let mut stream = UnixStream::connect(monitor).map_err(at(monitor))?;
    writeln!(stream, "{command}").map_err(at(monitor))?;
    // It reads what was written before it sees that we are gone.
    std::thread::sleep(KEY_PAUSE);
    Ok(())
}

/// Adds a disk to the arguments of a machine.
fn connect(bus: Bus, disk: &Path, written: bool, args: &mut Vec<String>) {
    let drive = format!("file={},format=raw,{}", disk.display(), if written { "cache=unsafe" } else { "snapshot=on" });
    let devices = match bus {
        Bus::Virtio => return args.extend(["-drive".into(), format!("{drive},if=virtio")]),
        Bus::VirtioScsi => &["virtio-scsi-pci", "scsi-hd,drive=disk"][..],
        // Without a device as yet.
        Bus::Late => &[],
        Bus::TwoPaths => return connect_paths(2, disk, args),
        Bus::OnePath => return connect_paths(1, disk, args),
        Bus::Nvme4k => &["nvme,serial=boot-test,drive=disk,logical_block_size=4096,physical_block_size=4096"],
        Bus::Usb => &["qemu-xhci", "usb-storage,drive=disk"],
        Bus::Ahci => &["ahci,id=ahci", "ide-hd,bus=ahci.0,drive=disk"],
    };
    args.extend(["-drive".into(), format!("{drive},if=none,id=disk")]);
    args.extend(devices.iter().flat_map(|device| ["-device".to_owned(), (*device).to_owned()]));
}

/// The same disk behind several adapters, under one name: one node of the emulator, so that what is written over one path is seen over
/// the other.
fn connect_paths(paths: usize, disk: &Path, args: &mut Vec<String>) {
    args.extend(["-blockdev".into(), format!("driver=raw,node-name=shared,file.driver=file,file.filename={}", disk.display())]);
    for path in 0..paths {
        args.extend(["-device".into(), format!("virtio-scsi-pci,id=adapter{path}")]);
        let device = format!("scsi-hd,bus=adapter{path}.0,drive=shared,serial=boot-test,wwn=0x5000c50015ea71ac,share-rw=on");
        args.extend(["-device".into(), device]);
    }
}

impl Machine<'_> {
    fn arguments(&self, variables: &Path, monitor: &Path) -> (&'static str, Vec<String>) {
        let (program, machine, console) = match (self.arch, self.start) {
            ("arm64", _) => ("qemu-system-aarch64", ["-machine", "virt", "-cpu", "cortex-a72"], "ttyAMA0"),
            (_, Start::Kernel { .. }) => ("qemu-system-x86_64", ["-machine", "pc", "-cpu", "max,cx16=off"], "ttyS0"),
            (_, Start::Uefi { .. }) => ("qemu-system-x86_64", ["-machine", "q35,smm=on", "-cpu", "max"], "ttyS0"),
        };
        let mut args: Vec<String> = machine.map(str::to_owned).to_vec();
        let speed = if self.counted { COUNTED } else { "-accel tcg -m 2048 -smp 2" };
        let fixed = format!("{speed} -nodefaults -display none -serial stdio -device virtio-rng-pci -no-reboot");
        args.extend(fixed.split(' ').map(str::to_owned));
        let socket = || format!("unix:{},server=on,wait=off", monitor.display());
        args.extend(["-monitor".into(), if self.keys.is_empty() && self.bus != Bus::Late { "none".into() } else { socket() }]);
        if !self.keys.is_empty() {
            // Whoever types has a screen.
            args.extend(["-vga", "std"].map(str::to_owned));
        }
        match self.start {
            Start::Kernel { kernel, initrd, append } => {
                args.extend(["-kernel".into(), kernel.display().to_string()]);
                args.extend(["-initrd".into(), initrd.display().to_string()]);
                args.extend(["-append".into(), format!("console={console} panic=-1 oops=panic {append}")]);
            }
            Start::Uefi { secure_boot } => {
                let code = if secure_boot { "OVMF_CODE_4M.secboot.fd" } else { "OVMF_CODE_4M.fd" };
                args.extend(["-drive".into(), format!("if=pflash,unit=0,format=raw,readonly=on,file={OVMF}/{code}")]);
                args.extend(["-drive".into(), format!("if=pflash,unit=1,format=raw,file={}", variables.display())]);
                // Otherwise the guest could write the variables that say whose signatures count.
                args.extend(["-global".into(), "driver=cfi.pflash01,property=secure,value=on".into()]);
            }
        }
        for (number, disk) in self.disks.iter().enumerate() {
            connect(if number == 0 { self.bus } else { Bus::Virtio }, disk, self.written, &mut args);
        }
        if let Some(beside) = self.network {
            let network = format!("user,id=net{beside}");
            args.extend(["-netdev", &network, "-device", "virtio-net-pci,netdev=net"].map(str::to_owned));
        }
        for (name, value) in self.credentials {
            args.extend(match self.fw_cfg {
                true => ["-fw_cfg".into(), format!("name=opt/io.systemd.credentials/{name},string={value}")],
                false => ["-smbios".into(), format!("type=11,value=io.systemd.credential:{name}={value}")],
            });
        }
        (program, args)
    }

    /// Gives a machine with firmware fresh variables of its own in `variables`.
    fn reset_variables(&self, variables: &Path) -> Result<(), String> {
        let Start::Uefi { secure_boot } = self.start else { return Ok(()) };
        let fresh = if secure_boot { "OVMF_VARS_4M.snakeoil.fd" } else { "OVMF_VARS_4M.fd" };
        let fresh = Path::new(OVMF).join(fresh);
        if !fresh.exists() {
            return Err(format!("`{}` is not installed: run `cargo xtask setup`, or `apt-get install ovmf`", fresh.display()));
        }
        std::fs::copy(&fresh, variables).map(drop).map_err(at(variables))
    }

    /// Runs it with its console in `log`, until `decided` says so of the console, or for `limit` at most.
    pub fn run(&self, log: &Path, limit: Duration, decided: impl Fn(&str) -> bool) -> Result<Run, String> {
        let (variables, monitor) = (log.with_extension("vars"), log.with_extension("monitor"));
        self.reset_variables(&variables)?;
        let (program, mut args) = self.arguments(&variables, &monitor);
        let tpm = self.tpm.map(|state| Tpm::start(state, &log.with_extension("tpm"))).transpose()?;
        args.extend(tpm.iter().flat_map(Tpm::arguments));
        let started = Instant::now();
        let mut command = tool(program);
        let stdin = if self.answer.is_some() { Stdio::piped() } else { Stdio::null() };
        command.args(&args).stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut guest = Guest::start(command.spawn().map_err(|error| explain(program, &error))?, log)?;
        let (mut typed, mut plugged, mut waits_since) = (false, false, None);
        let (mut answered, mut touched_kib) = (false, None);
        let mut decided_at: Option<(Instant, End)> = None;
        let end = loop {
            std::thread::sleep(Duration::from_millis(200));
            let off = guest.is_off();
            let console = guest.console();
            if let Some((_, answer)) = self.answer.filter(|(question, _)| !answered && console.contains(question)) {
                guest.type_line(answer)?;
                answered = true;
            }
            if self.counted && touched_kib.is_none() && console.contains(ROOT_BEGINS) {
                touched_kib = Some(touched(guest.child.id())?);
            }
            if waits_since.is_none() && WAITS.iter().any(|text| console.contains(text)) {
                waits_since = Some(Instant::now());
            }
            if self.bus == Bus::Late && !plugged && waits_since.is_some_and(|since| since.elapsed() > LATE) {
                tell(&monitor, "device_add virtio-blk-pci,drive=disk")?;
                plugged = true;
            }
            if !typed && !self.keys.is_empty() && (console.contains(PROMPT) || OFFERS.iter().any(|offer| console.contains(offer)))
            {
                press(self.keys, &monitor)?;
                typed = true;
                // What is hopeless without keys may not be so with them.
                decided_at = None;
                continue;
            }
            if decided_at.is_none() {
                let counts = |text: &str| !(self.survives_panic && text == PANIC) && console.contains(text);
                let hopeless = || HOPELESS.iter().find(|text| counts(text)).map(|text| End::Hopeless(text));
                let end = if decided(&console) { Some(End::Decided) } else { hopeless() };
                decided_at = end.map(|end| (Instant::now(), end));
            }
            match decided_at {
                Some((at, end)) if off || at.elapsed() > GRACE => break if decided(&console) { End::Decided } else { end },
                None if off => break End::Off,
                None if started.elapsed() > limit => break End::Timeout,
                _ => {}
            }
        };
        guest.stop();
        if matches!(self.start, Start::Uefi { .. }) {
            std::fs::remove_file(&variables).map_err(at(&variables))?;
        }
        Ok(Run { end, console: guest.console(), seconds: started.elapsed().as_secs_f64(), touched_kib })
    }
}

/// Returns how much of the memory of a machine it has touched, in KiB: what the emulator itself needs is not in it.
fn touched(emulator: u32) -> Result<u64, String> {
    let path = PathBuf::from(format!("/proc/{emulator}/smaps"));
    let text = std::fs::read_to_string(&path).map_err(at(&path))?;
    let mut lines = text.lines().skip_while(|line| !line.contains("memfd:memory-backend-memfd"));
    let resident = lines.find_map(|line| line.strip_prefix("Rss:")?.trim().strip_suffix(" kB")?.parse().ok());
    resident.ok_or_else(|| format!("`{}` says nothing of the machine's memory", path.display()))
}

/// A running emulator and the threads that read from it.
struct Guest {
    child: Child,
    console: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Guest {
    fn start(mut child: Child, log: &Path) -> Result<Guest, String> {
        let console = Arc::new(Mutex::new(Vec::new()));
        let file = Arc::new(Mutex::new(File::create(log).map_err(at(log))?));
        let pipes: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
            child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
        ];
        let read = |mut pipe: Box<dyn Read + Send>| {
            let (console, file) = (Arc::clone(&console), Arc::clone(&file));
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                    console.lock().expect("invariant: no reader panics").extend_from_slice(&buffer[..count]);
                    // The log is for people; a disk that is full shows in the next image that is made.
                    let _ = file.lock().expect("invariant: no reader panics").write_all(&buffer[..count]);
                }
            })
        };
        let readers = pipes.into_iter().flatten().map(read).collect();
        Ok(Guest { child, console, readers })
    }

    /// Types a line at the serial console.
    fn type_line(&mut self, line: &str) -> Result<(), String> {
        let stdin = self.child.stdin.as_mut().ok_or("nothing can be typed at this console")?;
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).map_err(|error| format!("the serial console: {error}"))
    }

    fn is_off(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    fn console(&self) -> String {
        plain(&self.console.lock().expect("invariant: no reader panics"))
    }

    fn stop(&mut self) {
        // Both fail only if the emulator is gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Returns the place of a scenario's console log.
pub fn log_path(dir: &Path, scenario: &str, attempt: u32) -> PathBuf {
    dir.join(if attempt == 1 { format!("{scenario}.log") } else { format!("{scenario}.{attempt}.log") })
}
