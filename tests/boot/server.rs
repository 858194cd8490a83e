//! Starts the servers that boots over a network reach: programs of user space on the loopback, which QEMU's own network has at 10.0.2.2.
//!
//! They end with the boot, also when the test panics (`Drop`), and when it is killed (the kernel's parent-death signal).

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use crate::afar::{self, Login, Tang};
use crate::command::{at, explain, run, tool};
use crate::prepare::Parts;

/// What a machine reaches over its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// Nothing: it has no network card.
    None,
    /// A network, and nobody listens: `@port@` is a port that nobody has.
    Gone,
    /// The tree of the first disk by NFS, as `/root`; of version 3, with `@mountport@` for the mount protocol, or 4.
    Nfs(u8),
    /// The first disk as a network block device.
    Nbd,
    /// The first disk behind the target [`TARGET`] as LUN 1, with a user and a secret if given.
    Iscsi(Option<(&'static str, &'static str)>),
    /// Each of the disks behind a target of its own, [`TARGET`] with `2` and so on behind it.
    IscsiEach,
    /// The first disk as the file `root.img`.
    Http,
    /// The first disk behind an NVMe target over TCP, which gives it to [`crate::afar::NVME_HOST`] alone.
    Nvme,
    /// A tang server; the machine has its disks itself.
    Tang(Tang),
    /// Somebody who logs in over SSH; the machine has its disks itself.
    Ssh(Login),
}

impl Server {
    /// Tells whether the machine reaches its disks over the network.
    pub fn has_the_disks(self) -> bool {
        !matches!(self, Server::None | Server::Tang(_) | Server::Ssh(_))
    }
}

/// The first target.
pub const TARGET: &str = "iqn.2026-01.test:disk";

/// More disks than any machine of the tests has.
const MOST_DISKS: usize = 8;

/// How long a server may take until it listens.
const LIMIT: Duration = Duration::from_secs(20);

/// The same of a machine.
const MACHINE_LIMIT: Duration = Duration::from_secs(180);
const EMULATOR: &str = "qemu-system-x86_64";

/// A running server.
pub struct Running {
    children: Vec<Child>,
    dir: PathBuf,
    port: u16,
    mount_port: u16,
    network: String,
}

/// Where rpcbind of this machine takes registrations.
const RPCBIND: &str = "/run/rpcbind.sock";

impl Running {
    /// Starts the server over these disks, with what it writes in `dir`, and waits until it listens.
    pub fn start(server: Server, parts: &Parts, dir: &Path) -> Result<Running, String> {
        let disks = parts.disks.as_slice();
        if dir.exists() {
            fs::remove_dir_all(dir).map_err(at(dir))?; // of the run before
        }
        fs::create_dir_all(dir).map_err(at(dir))?;
        let dir = dir.canonicalize().map_err(at(dir))?;
        let (port, mount_port) = (free_port()?, free_port()?);
        let mut running = Running { children: Vec::new(), port, mount_port, dir, network: String::new() };
        let port = running.port.to_string();
        match server {
            Server::None | Server::Gone => return Ok(running),
            Server::Tang(tang) => {
                running.network = afar::tang_network(tang, &disks[0], &running.dir)?;
                return Ok(running);
            }
            Server::Ssh(login) => {
                running.network = format!(",hostfwd=tcp:127.0.0.1:{port}-:22");
                let args = afar::ssh_arguments(login, &parts.work, &running.dir, running.port)?;
                running.spawn("sh", &args.iter().map(String::as_str).collect::<Vec<_>>(), &[])?;
                return Ok(running);
            }
            Server::Nvme => {
                let (kernel, image) = parts.target.as_ref().ok_or("the machine with the target was not made")?;
                let args = afar::target_arguments(kernel, image, &disks[0], running.port);
                running.spawn(EMULATOR, &args.iter().map(String::as_str).collect::<Vec<_>>(), &[])?;
                running.await_words(EMULATOR, afar::LISTENS)?;
                return Ok(running);
            }
            Server::Nfs(version) => running.nfs(&disks[0], version)?,
            Server::Nbd => {
                let disk = format!("file={}", disks[0].display());
                running.spawn("nbdkit", &["-f", "-i", "127.0.0.1", "-p", &port, "--filter=cow", "file", &disk], &[])?;
            }
            Server::Iscsi(_) => running.iscsi(&disks[..1])?,
            Server::IscsiEach => running.iscsi(disks)?,
            Server::Http => {
                let link = running.dir.join("root.img");
                fs::hard_link(&disks[0], &link).map_err(at(&link))?;
                let root = running.dir.display().to_string();
                running.spawn("python3", &["-m", "http.server", &port, "--bind", "127.0.0.1", "--directory", &root], &[])?;
            }
        }
        running.await_port()?;
        match server {
            Server::Iscsi(login) => running.targets(&disks[..1], login)?,
            Server::IscsiEach => running.targets(disks, None)?,
            _ => {}
        }
        Ok(running)
    }

    /// Returns what command lines need to know of it.
    pub fn words(&self) -> Vec<(&'static str, String)> {
        vec![("port", self.port.to_string()), ("mountport", self.mount_port.to_string())]
    }

    /// Returns what is in the machine's network beside the host, for the emulator.
    pub fn network(&self) -> &str {
        &self.network
    }

    fn spawn(&mut self, name: &str, args: &[&str], environment: &[(&str, &str)]) -> Result<(), String> {
        let log = self.log(name);
        let (out, err) = File::create(&log).and_then(|file| Ok((file.try_clone()?, file))).map_err(at(&log))?;
        // `exec` keeps the process, so that it is the server that is killed.
        let mut command = tool("setpriv");
        command.args(["--pdeathsig", "KILL", "--", name]).args(args).envs(environment.iter().copied()).stdout(out).stderr(err);
        self.children.push(command.spawn().map_err(|error| explain("setpriv", &error))?);
        Ok(())
    }

    fn log(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.log"))
    }

    fn nfs(&mut self, tree: &Path, version: u8) -> Result<(), String> {
        let tree = tree.canonicalize().map_err(at(tree))?;
        let recovery = self.dir.join("recovery");
        if version == 3 {
            self.rpcbind()?;
        }
        fs::create_dir_all(&recovery).map_err(at(&recovery))?;
        let text = format!(
            "NFS_CORE_PARAM {{ NFS_Port = {}; MNT_Port = {}; Bind_addr = 127.0.0.1; Protocols = {version};\n\
               Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false; mount_path_pseudo = true; }}\n\
             NFSv4 {{ Graceless = true; Delegations = false; RecoveryRoot = \"{}\"; Only_Numeric_Owners = true; }}\n\
             EXPORT {{ Export_Id = 1; Path = \"{}\"; Pseudo = /root; Access_Type = RO; Squash = No_Root_Squash;\n\
               SecType = sys; PrivilegedPort = false; FSAL {{ Name = VFS; }} }}\n",
            self.port,
            self.mount_port,
            recovery.display(),
            tree.display(),
        );
        let configuration = self.dir.join("ganesha.conf");
        fs::write(&configuration, text).map_err(at(&configuration))?;
        let [configuration, pid] = [configuration, self.dir.join("ganesha.pid")].map(|path| path.display().to_string());
        self.spawn("ganesha.nfsd", &["-F", "-f", &configuration, "-L", "STDERR", "-p", &pid, "-N", "NIV_EVENT"], &[])
    }

    /// Starts rpcbind if there is none: nfs-ganesha does not serve version 3 without it, though nobody asks it. It is reached by its socket
    /// alone, with its port in a network of its own.
    fn rpcbind(&mut self) -> Result<(), String> {
        let is_there = || UnixStream::connect(RPCBIND).is_ok();
        if is_there() {
            return Ok(());
        }
        self.spawn("unshare", &["--net", "--", "rpcbind", "-f"], &[])?;
        let started = Instant::now();
        while !is_there() {
            if started.elapsed() > LIMIT {
                return Err(format!("rpcbind does not listen at `{RPCBIND}`:\n    {}", self.last_words()));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn iscsi(&mut self, disks: &[PathBuf]) -> Result<(), String> {
        for (number, disk) in disks.iter().take(MOST_DISKS).enumerate() {
            // What is written stays with this boot.
            let copy = self.dir.join(format!("lun{number}"));
            run(tool("cp").arg("--sparse=always").args([disk, &copy]))?;
        }
        let portal = format!("portal=127.0.0.1:{}", self.port);
        let socket = self.dir.join("tgtd").display().to_string();
        self.spawn("tgtd", &["-f", "--iscsi", &portal], &[("TGT_IPC_SOCKET", &socket)])
    }

    /// Tells a tgtd what its targets are.
    fn targets(&self, disks: &[PathBuf], login: Option<(&str, &str)>) -> Result<(), String> {
        let tell = |words: &str| {
            let mut admin = tool("tgtadm");
            admin.env("TGT_IPC_SOCKET", self.dir.join("tgtd")).args(["--lld", "iscsi"]).args(words.split(' '));
            run(&mut admin).map(drop)
        };
        if let Some((user, secret)) = login {
            tell(&format!("--mode account --op new --user {user} --password {secret}"))?;
        }
        for number in 0..disks.len() {
            let tid = number + 1;
            let name = if number == 0 { TARGET.to_owned() } else { format!("{TARGET}{tid}") };
            tell(&format!("--mode target --op new --tid {tid} --targetname {name}"))?;
            let copy = self.dir.join(format!("lun{number}"));
            tell(&format!("--mode logicalunit --op new --tid {tid} --lun 1 --backing-store {}", copy.display()))?;
            tell(&format!("--mode target --op bind --tid {tid} --initiator-address ALL"))?;
            if let Some((user, _)) = login {
                tell(&format!("--mode account --op bind --tid {tid} --user {user}"))?;
            }
        }
        Ok(())
    }

    /// Waits until a machine says that it is ready.
    fn await_words(&mut self, name: &str, words: &str) -> Result<(), String> {
        let (log, started) = (self.log(name), Instant::now());
        while !fs::read(&log).is_ok_and(|said| String::from_utf8_lossy(&said).contains(words)) {
            let gone = self.children.iter_mut().any(|child| !matches!(child.try_wait(), Ok(None)));
            if gone || started.elapsed() > MACHINE_LIMIT {
                return Err(format!("the machine that is the server does not say `{words}`:\n    {}", self.last_words()));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    fn await_port(&mut self) -> Result<(), String> {
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let gone = self.children.iter_mut().any(|child| !matches!(child.try_wait(), Ok(None)));
            if gone || started.elapsed() > LIMIT {
                return Err(format!(
                    "the server does not listen; see the logs in `{}`:\n    {}",
                    self.dir.display(),
                    self.last_words()
                ));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        let logs = fs::read_dir(&self.dir).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
        let logs = logs.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
        let texts: Vec<String> = logs.filter_map(|path| fs::read_to_string(path).ok()).collect();
        let text = texts.concat();
        let lines: Vec<&str> = text.lines().rev().take(8).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n    ")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for child in &mut self.children {
            // Both fail only if it is gone already, which is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
        // The logs stay; a copy of a disk that cannot be removed is removed with the next run.
        for number in 0..MOST_DISKS {
            let _ = fs::remove_file(self.dir.join(format!("lun{number}")));
        }
    }
}

/// Returns a port of the loopback that nobody has.
fn free_port() -> Result<u16, String> {
    let any = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    Ok(any.map_err(|error| format!("no port of the loopback is free: {error}"))?.port())
}
