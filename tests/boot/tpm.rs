//! TPMs in software: one to enrol a volume with on this machine, and one for each emulated machine that has it.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::command::{at, explain, tool};

/// How long swtpm may take to answer on a busy host.
const START: Duration = Duration::from_secs(20);

/// A TPM of an emulated machine, on a copy of its state. It ends with the machine.
pub struct Tpm {
    child: Child,
    dir: PathBuf,
}

impl Tpm {
    /// Starts one on a copy of `state` in `dir`.
    pub fn start(state: &Path, dir: &Path) -> Result<Tpm, String> {
        // What a run that was broken off left.
        let _ = fs::remove_dir_all(dir);
        fs::create_dir_all(dir).map_err(at(dir))?;
        for entry in fs::read_dir(state).map_err(at(state))? {
            let entry = entry.map_err(at(state))?;
            fs::copy(entry.path(), dir.join(entry.file_name())).map_err(at(dir))?;
        }
        let tpm = Tpm { child: swtpm(dir, &[&format!("type=unixio,path={}", socket(dir).display())])?, dir: dir.to_owned() };
        await_it(|| socket(dir).exists())?;
        Ok(tpm)
    }

    /// Returns the emulator's arguments for it.
    pub fn arguments(&self) -> Vec<String> {
        let channel = format!("socket,id=tpm-channel,path={}", socket(&self.dir).display());
        let words = ["-chardev", &channel, "-tpmdev", "emulator,id=tpm,chardev=tpm-channel", "-device", "tpm-crb,tpmdev=tpm"];
        words.map(str::to_owned).to_vec()
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        stop(&mut self.child);
        // A directory that stays is removed by the next run.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A TPM that listens on this machine's loopback, so that a volume can be enrolled with it.
pub struct Enrolling {
    child: Child,
    state: PathBuf,
    port: u16,
}

impl Enrolling {
    /// Starts a new one whose state is `state`.
    pub fn start(state: &Path) -> Result<Enrolling, String> {
        let state = fresh(state)?;
        let port = two_ports()?;
        let command = format!("type=tcp,bindaddr=127.0.0.1,port={}", port + 1);
        let data = format!("type=tcp,bindaddr=127.0.0.1,port={port}");
        let child = swtpm(&state, &[&command, "--server", &data, "--flags", "not-need-init,startup-clear"])?;
        let enrolling = Enrolling { child, state, port };
        // A connection would be taken for the only client's.
        await_it(|| is_bound(port))?;
        Ok(enrolling)
    }

    /// Returns its name for systemd.
    pub fn device(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.port)
    }

    /// Ends it and returns its state.
    pub fn end(mut self) -> Result<PathBuf, String> {
        stop(&mut self.child);
        let lock = self.state.join(".lock");
        match fs::remove_file(&lock) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(at(&lock)(error)),
            _ => Ok(self.state.clone()),
        }
    }
}

impl Drop for Enrolling {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

/// Makes an empty directory: swtpm makes a new TPM of it.
pub fn fresh(state: &Path) -> Result<PathBuf, String> {
    fs::create_dir_all(state).map_err(at(state))?;
    Ok(state.to_owned())
}

fn swtpm(state: &Path, control: &[&str]) -> Result<Child, String> {
    let mut command = tool("swtpm");
    command.args(["socket", "--tpm2", "--tpmstate", &format!("dir={}", state.display()), "--ctrl"]).args(control);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().map_err(|error| explain("swtpm", &error))
}

fn socket(dir: &Path) -> PathBuf {
    dir.join("socket")
}

/// Returns a port that is free and followed by a free one.
fn two_ports() -> Result<u16, String> {
    for _ in 0..100 {
        let any = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
        let port = any.map_err(|error| format!("no port of the loopback is free: {error}"))?.port();
        if port < u16::MAX && !is_bound(port + 1) {
            return Ok(port);
        }
    }
    Err("no two ports of the loopback in a row are free".into())
}

fn is_bound(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_err()
}

fn await_it(ready: impl Fn() -> bool) -> Result<(), String> {
    let started = Instant::now();
    while !ready() {
        if started.elapsed() > START {
            return Err(format!("`swtpm` did not answer in {} s", START.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn stop(child: &mut Child) {
    // Both fail only if it is gone already, which is what is wanted.
    let _ = child.kill();
    let _ = child.wait();
}
