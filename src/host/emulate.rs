//! Starts a kernel with an image in QEMU, and hands on what its console says. Nothing of the guest runs on this machine itself, and its
//! disks stay as they are.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::base::error::{Diagnostic, ErrorKind};

/// How often the clock is looked at while the console is silent.
const TICK: Duration = Duration::from_millis(200);
/// How much of what the emulator said is repeated.
const SAID_CHARS_MAX: usize = 400;
/// More is no console of a boot.
const CONSOLE_BYTES_MAX: usize = 64 << 20;
/// How a disk of QEMU's own format begins.
const QCOW2_MAGIC: [u8; 4] = *b"QFI\xfb";

/// The emulator that runs, to be killed when the process is interrupted.
static LIVE: Mutex<Option<Pid>> = Mutex::new(None);

/// A machine that is to be emulated.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Its architecture in the kernel's word: `x86_64`, `aarch64`.
    pub arch: String,
    /// The kernel.
    pub kernel: PathBuf,
    /// The image.
    pub initrd: PathBuf,
    /// Its disks, raw or qcow2. What the guest writes to them is thrown away.
    pub disks: Vec<PathBuf>,
    /// The kernel command line, without the console.
    pub command_line: String,
    /// System credentials (systemd.system-credentials(7)), as `NAME=VALUE`.
    pub credentials: Vec<String>,
    /// Its memory in MiB.
    pub memory_mib: u32,
    /// Use the processor's own virtualization where it can be had.
    pub kvm: bool,
}

/// It could not be emulated.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// QEMU emulates no such machine that we know of.
    #[error("machines of the architecture `{0}` cannot be emulated here")]
    Architecture(String),
    /// QEMU is not installed, or cannot be started.
    #[error("`{program}` cannot be started")]
    Start {
        /// The emulator.
        program: &'static str,
        /// Debian's name of its package.
        package: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It gave up before the guest said anything.
    #[error("`{program}` gave up: {said}")]
    GaveUp {
        /// The emulator.
        program: &'static str,
        /// What it said.
        said: String,
    },
}

impl Diagnostic for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Architecture(_) => ErrorKind::Usage,
            Error::Start { .. } | Error::GaveUp { .. } => ErrorKind::Host,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Error::Start { package, source, .. } if source.kind() == io::ErrorKind::NotFound => {
                vec![format!("install QEMU: `apt-get install {package}` on Debian")]
            }
            _ => Vec::new(),
        }
    }
}

/// Emulator, its package in Debian, what it is told of the board, and the name of the first serial console there.
fn emulator(arch: &str) -> Result<(&'static str, &'static str, &'static [&'static str], &'static str), Error> {
    Ok(match arch {
        // No cmpxchg16b: the emulated one lets the allocator of some kernels stumble.
        "x86_64" => ("qemu-system-x86_64", "qemu-system-x86", &["-machine", "pc", "-cpu", "max,cx16=off"], "ttyS0"),
        "aarch64" => ("qemu-system-aarch64", "qemu-system-arm", &["-machine", "virt", "-cpu", "max"], "ttyAMA0"),
        "riscv64" => ("qemu-system-riscv64", "qemu-system-misc", &["-machine", "virt"], "ttyS0"),
        other => return Err(Error::Architecture(other.to_owned())),
    })
}

impl Machine {
    fn arguments(&self, board: &[&str], console: &str) -> Vec<String> {
        let mut args: Vec<String> = board.iter().map(|word| (*word).to_owned()).collect();
        let mut add = |words: &[&str]| args.extend(words.iter().map(|word| (*word).to_owned()));
        if self.kvm {
            add(&["-accel", "kvm", "-cpu", "host"]);
        } else {
            add(&["-accel", "tcg"]);
        }
        add(&["-nodefaults", "-display", "none", "-serial", "stdio", "-monitor", "none", "-no-reboot"]);
        add(&["-smp", "2", "-m", &self.memory_mib.to_string(), "-device", "virtio-rng-pci"]);
        add(&["-kernel", &self.kernel.display().to_string(), "-initrd", &self.initrd.display().to_string()]);
        // Ours come last, for the last of each counts: a quiet boot would tell nothing.
        let said = format!("{} console={console} panic=-1 loglevel=7 systemd.show_status=true", self.command_line);
        add(&["-append", said.trim_start()]);
        for disk in &self.disks {
            let format = if is_qcow2(disk) { "qcow2" } else { "raw" };
            // A comma in a name is written twice.
            let name = disk.display().to_string().replace(',', ",,");
            add(&["-drive", &format!("file={name},format={format},if=virtio,snapshot=on")]);
        }
        for credential in &self.credentials {
            add(&["-smbios", &format!("type=11,value=io.systemd.credential:{}", credential.replace(',', ",,"))]);
        }
        args
    }

    /// Starts it and shows `decided` the console again whenever it has said something, until that is content, the machine goes off, or
    /// `limit` is over. Returns the whole console.
    pub fn run(&self, limit: Duration, decided: &mut dyn FnMut(&str) -> bool) -> Result<String, Error> {
        let (program, package, board, console) = emulator(&self.arch)?;
        let mut command = Command::new(program);
        command.args(self.arguments(board, console)).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let mut guest = Guest::start(command).map_err(|source| Error::Start { program, package, source })?;
        let mut said = Vec::new();
        while started.elapsed() < limit && said.len() < CONSOLE_BYTES_MAX {
            match guest.heard.recv_timeout(TICK) {
                Ok(bytes) => said.extend(bytes),
                Err(mpsc::RecvTimeoutError::Timeout) => continue,
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
            if decided(&plain(&said)) {
                break;
            }
        }
        let complaint = guest.stop();
        if said.is_empty() && !complaint.trim().is_empty() {
            let said = complaint.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(SAID_CHARS_MAX).collect();
            return Err(Error::GaveUp { program, said });
        }
        Ok(plain(&said))
    }
}

fn is_qcow2(disk: &Path) -> bool {
    let mut magic = [0; QCOW2_MAGIC.len()];
    File::open(disk).and_then(|mut file| file.read_exact(&mut magic)).is_ok_and(|()| magic == QCOW2_MAGIC)
}

/// A running emulator.
struct Guest {
    child: Child,
    heard: mpsc::Receiver<Vec<u8>>,
    complaint: Option<thread::JoinHandle<String>>,
}

impl Guest {
    fn start(mut command: Command) -> io::Result<Self> {
        // Held until the signal thread knows it, so that it is not left behind.
        let mut live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut child = command.spawn()?;
        *live = Some(Pid::from_child(&child));
        let (sender, heard) = mpsc::channel();
        let (console, mut errors) = (child.stdout.take(), child.stderr.take());
        thread::spawn(move || {
            let Some(mut console) = console else { return };
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = console.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        let complaint = thread::spawn(move || {
            let mut said = Vec::new();
            // What cannot be read is not repeated.
            let _ = errors.as_mut().map(|errors| errors.take(SAID_CHARS_MAX as u64 * 4).read_to_end(&mut said));
            String::from_utf8_lossy(&said).into_owned()
        });
        Ok(Self { child, heard, complaint: Some(complaint) })
    }

    /// Kills it, and returns what the emulator itself complained of.
    fn stop(&mut self) -> String {
        // Both fail only if it is gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
        *LIVE.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.complaint.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Kills the emulator of this process. For a signal thread, just before it exits.
pub fn abandon() {
    if let Some(pid) = *LIVE.lock().unwrap_or_else(PoisonError::into_inner) {
        // It may have ended in this moment; nobody is left to be told.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Returns what a console said as text, without carriage returns and terminal escapes.
pub fn plain(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        match byte {
            0x1b if rest.next_if_eq(&b'[').is_some() => {
                // A control sequence ends with its first letter.
                rest.by_ref().find(|byte| (0x40..0x7f).contains(byte));
            }
            b'\r' | 0x1b => {}
            _ => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine {
            arch: "x86_64".into(),
            kernel: "/boot/vmlinuz".into(),
            initrd: "/tmp/initrd".into(),
            disks: vec!["/tmp/a,b.raw".into()],
            command_line: "root=LABEL=root quiet".into(),
            credentials: vec!["cryptsetup.passphrase=a,b".into()],
            memory_mib: 512,
            kvm: false,
        }
    }

    #[test]
    fn a_machine_is_told_to_emulator_and_guest() {
        let args = machine().arguments(&["-machine", "pc"], "ttyS0").join(" ");
        for part in [
            "-append root=LABEL=root quiet console=ttyS0 panic=-1 loglevel=7",
            "file=/tmp/a,,b.raw,format=raw,if=virtio,snapshot=on",
            "value=io.systemd.credential:cryptsetup.passphrase=a,,b",
            "-accel tcg",
            "-m 512",
        ] {
            assert!(args.contains(part), "{part}: {args}");
        }
        assert!(matches!(emulator("vax"), Err(Error::Architecture(_))));
    }

    #[test]
    fn escapes_are_taken_out_of_a_console() {
        assert_eq!(plain(b"\x1b[0;32m  OK  \x1b[0m] Reached\r\n"), "  OK  ] Reached\n");
    }

    #[test]
    fn a_disk_is_read_as_what_it_is() {
        let dir = tempfile::tempdir().expect("a directory");
        let (raw, qcow2) = (dir.path().join("raw"), dir.path().join("qcow2"));
        std::fs::write(&raw, [0; 512]).expect("writing");
        std::fs::write(&qcow2, b"QFI\xfb\0\0\0\x03").expect("writing");
        assert!(!is_qcow2(&raw) && is_qcow2(&qcow2));
    }
}
