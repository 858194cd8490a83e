//! What a machine reaches, or who reaches it, where a program on the loopback is not enough: another machine with an NVMe target, a tang
//! server, somebody who logs in over SSH.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::command::{at, run, tool};
use crate::scenarios::{BASE, Scenario};

/// The image of the machine that has an NVMe target.
pub const TARGET: Scenario = Scenario {
    name: "target",
    build: &["--generic", "--config", "tests/boot/target.toml", "--include", "tests/boot/target.sh:/target"],
    ..BASE
};
/// The only machine that the NVMe target gives its disk to.
pub const NVME_HOST: &str = "nqn.2026-01.test:machine";
/// What the machine with the target says when it is ready.
pub const LISTENS: &str = "target: listens";

/// Stands in the arguments of a build for the directory with the keys of SSH.
pub const SSH_KEYS: &str = "@ssh-keys";

/// Where QEMU's network has the tang server.
const TANG: &str = "10.0.2.100";

/// Which keys a tang server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tang {
    /// Those that the volume was bound to.
    Bound,
    /// Others.
    Other,
    /// There is none.
    Gone,
}

/// Who logs in over SSH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Login {
    /// The name of his key: `id` may log in, `other` may not.
    pub key: &'static str,
    /// What he types.
    pub passphrase: &'static str,
    /// He has a terminal, or else sends it through a pipe.
    pub has_terminal: bool,
}

/// Returns the arguments of an emulator that gives `disk` away at this port of the loopback. Its own network is such that it has the address
/// by which others reach the host: a target names its address itself.
pub fn target_arguments(kernel: &Path, image: &Path, disk: &Path, port: u16) -> Vec<String> {
    let fixed = "-machine pc -cpu max,cx16=off -accel tcg -m 1024 -smp 1 -nodefaults -display none -serial stdio -monitor none \
                 -no-reboot -device virtio-net-pci,netdev=net";
    let mut args: Vec<String> = fixed.split_whitespace().map(str::to_owned).collect();
    let own = "10.0.2.2";
    args.extend([
        "-kernel".into(),
        kernel.display().to_string(),
        "-initrd".into(),
        image.display().to_string(),
        "-append".into(),
        format!("console=ttyS0 panic=-1 oops=panic rdinit=/target target={port},{NVME_HOST}"),
        "-drive".into(),
        format!("file={},format=raw,snapshot=on,if=virtio", disk.display()),
        "-netdev".into(),
        format!("user,id=net,host=10.0.2.1,dns=10.0.2.3,dhcpstart={own},hostfwd=tcp:127.0.0.1:{port}-{own}:{port}"),
    ]);
    args
}

/// Binds a volume whose only key is `passphrase` to a new tang server, and takes that key away.
pub fn bind(image: &Path, passphrase: &str) -> Result<(), String> {
    let keys = tang_keys(image);
    make_tang_keys(&keys)?;
    // What the server tells whoever asks for its keys; it reads and writes like inetd's.
    let answer = run(&mut tang_command("printf 'GET /adv HTTP/1.1\\r\\n\\r\\n' | \"$1\" \"$2\" 2>/dev/null", &keys)?)?;
    let (_, told) = answer.split_once("\r\n\r\n").ok_or_else(|| format!("tang answers `{answer}`"))?;
    let (file, key) = (keys.join("advertisement"), image.with_extension("key"));
    fs::write(&file, told).map_err(at(&file))?;
    fs::write(&key, passphrase).map_err(at(&key))?;
    let policy = format!(r#"{{"url":"http://{TANG}","adv":"{}"}}"#, file.display());
    run(tool("clevis").args(["luks", "bind", "-y", "-k"]).args([key.as_path(), Path::new("-d"), image]).args(["tang", &policy]))?;
    run(tool("cryptsetup").args(["luksKillSlot", "--batch-mode"]).arg(image).arg("0"))?;
    // The server serves what lies there.
    [file, key].iter().try_for_each(|path| fs::remove_file(path).map_err(at(path)))
}

/// Returns where the keys of the tang server lie that a volume was bound to.
fn tang_keys(image: &Path) -> PathBuf {
    image.with_extension("tang")
}

fn make_tang_keys(dir: &Path) -> Result<(), String> {
    fs::create_dir_all(dir).map_err(at(dir))?;
    let dir = dir.canonicalize().map_err(at(dir))?;
    run(&mut tang_command(r#""$1-keygen" "$2""#, &dir)?).map(drop)
}

/// Returns a script whose first argument is the server, which Debian has had in two places, and the second its keys.
fn tang_command(script: &str, keys: &Path) -> Result<std::process::Command, String> {
    let mut command = tool("sh");
    command.args(["-euc", script, "sh", tangd()?]).arg(keys.canonicalize().map_err(at(keys))?);
    Ok(command)
}

fn tangd() -> Result<&'static str, String> {
    let places = ["/usr/libexec/tangd", "/usr/lib/tangd"];
    let found = places.into_iter().find(|path| Path::new(path).exists());
    found.ok_or_else(|| "`tangd` is not installed: run `cargo xtask setup`, or `apt-get install tang`".to_owned())
}

/// Returns what QEMU's network has beside, for a machine with this disk that asks a tang server. What that writes comes to rest in `dir`.
pub fn tang_network(tang: Tang, disk: &Path, dir: &Path) -> Result<String, String> {
    let keys = match tang {
        Tang::Gone => return Ok(String::new()),
        Tang::Bound => tang_keys(disk),
        Tang::Other => {
            let other = dir.join("other.tang");
            make_tang_keys(&other)?;
            other
        }
    };
    let keys = keys.canonicalize().map_err(at(&keys))?;
    let script = dir.join("tang.sh");
    // Its messages would go to whoever asks.
    let text = format!("#!/bin/sh\nexec {} '{}' 2>>'{}'\n", tangd()?, keys.display(), dir.join("tang.log").display());
    fs::write(&script, text).map_err(at(&script))?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).map_err(at(&script))?;
    Ok(format!(",guestfwd=tcp:{TANG}:80-cmd:{}", script.display()))
}

/// Returns the directory with the keys of SSH that an image gets, made below `dir`: a host key, and who may log in.
pub fn ssh_keys(dir: &Path) -> Result<PathBuf, String> {
    let keys = dir.join("ssh");
    let image = keys.join("image");
    if image.exists() {
        return Ok(image);
    }
    fs::create_dir_all(&image).map_err(at(&image))?;
    run(tool("dropbearkey").args(["-t", "ed25519", "-f"]).arg(image.join("dropbear_ed25519_host_key")))?;
    for name in ["id", "other"] {
        run(tool("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(keys.join(name)))?;
    }
    let authorized = image.join("authorized_keys");
    fs::copy(keys.join("id.pub"), &authorized).map_err(at(&authorized))?;
    Ok(image)
}

/// Returns the arguments of a shell that logs in at a port of the loopback as soon as somebody answers there, with what it needs in `dir`.
pub fn ssh_arguments(login: Login, work: &Path, dir: &Path, port: u16) -> Result<Vec<String>, String> {
    let image = ssh_keys(work)?;
    let told = run(tool("dropbearkey").args(["-y", "-f"]).arg(image.join("dropbear_ed25519_host_key")))?;
    let host = told.lines().find(|line| line.starts_with("ssh-ed25519")).ok_or_else(|| format!("`dropbearkey` says `{told}`"))?;
    let known = dir.join("known_hosts");
    fs::write(&known, format!("[127.0.0.1]:{port} {host}\n")).map_err(at(&known))?;
    let key = work.join("ssh").join(login.key).display().to_string();
    let terminal = if login.has_terminal { "-tt" } else { "-T" };
    let (script, dir) = ("tests/boot/ssh.sh".to_owned(), dir.display().to_string());
    Ok(vec![script, dir, port.to_string(), key, login.passphrase.to_owned(), terminal.to_owned()])
}
