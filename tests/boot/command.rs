//! Runs the external tools of the test bench, and names the Debian package of one that is missing.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Tools of the bench and the Debian package that has each; `cargo xtask setup` installs them all.
const PACKAGES: &[(&str, &str)] = &[
    ("apt-cache", "apt"),
    ("apt-get", "apt"),
    ("btrfs", "btrfs-progs"),
    ("clevis", "clevis-luks"),
    ("cpio", "cpio"),
    ("cryptsetup", "cryptsetup-bin"),
    ("dpkg-deb", "dpkg"),
    ("dropbearkey", "dropbear-bin"),
    ("make-bcache", "bcache-tools"),
    ("mcopy", "mtools"),
    ("mke2fs", "e2fsprogs"),
    ("mkfs.btrfs", "btrfs-progs"),
    ("mkfs.erofs", "erofs-utils"),
    ("mkfs.f2fs", "f2fs-tools"),
    ("mkfs.vfat", "dosfstools"),
    ("mkfs.xfs", "xfsprogs"),
    ("mksquashfs", "squashfs-tools"),
    ("mkswap", "util-linux"),
    ("mmd", "mtools"),
    ("mmdebstrap", "mmdebstrap"),
    ("openssl", "openssl"),
    ("qemu-system-aarch64", "qemu-system-arm"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("sbsign", "sbsigntool"),
    ("sfdisk", "fdisk"),
    ("setpriv", "util-linux"),
    ("ssh", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
    ("swtpm", "swtpm"),
    ("systemd-cryptenroll", "systemd"),
    ("tar", "tar"),
    ("tgtadm", "tgt"),
    ("thin_restore", "thin-provisioning-tools"),
    ("unshare", "util-linux"),
    ("veritysetup", "cryptsetup-bin"),
];

/// Returns a command with a path that also finds what Debian keeps in the `sbin` directories, and with C messages.
pub fn tool(name: &str) -> Command {
    let mut command = Command::new(located(name));
    command.env("PATH", search_path()).env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
    command
}

fn search_path() -> String {
    format!("{}:/usr/local/sbin:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".into()))
}

fn located(name: &str) -> PathBuf {
    let dirs = search_path();
    dirs.split(':').map(|dir| Path::new(dir).join(name)).find(|path| path.is_file()).unwrap_or_else(|| name.into())
}

/// Runs a command and returns what it printed on its standard output; an error holds the end of what it printed on both.
pub fn run(command: &mut Command) -> Result<String, String> {
    let name = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| explain(&name, &error))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let mut said: Vec<&str> = stdout.lines().chain(stderr.lines()).filter(|line| !line.trim().is_empty()).collect();
    let said = said.split_off(said.len().saturating_sub(12)).join("\n    ");
    Err(format!("`{name}` failed with {}:\n    {said}", output.status))
}

/// Explains why a program could not be started.
pub fn explain(name: &str, error: &std::io::Error) -> String {
    match PACKAGES.iter().find(|(tool, _)| *tool == name) {
        Some((_, package)) if error.kind() == ErrorKind::NotFound => {
            format!("`{name}` is not installed: run `cargo xtask setup`, or `apt-get install {package}`")
        }
        _ => format!("`{name}` could not be started: {error}"),
    }
}

/// Returns a shell script as a command that runs as root: as we are, or as the root of a user namespace of its own.
///
/// Only file ownership needs it. The subordinate ids that the namespace maps are the same that mmdebstrap needs.
pub fn as_root(script: &str, args: &[&Path]) -> Command {
    let mut command = if is_root() {
        tool("sh")
    } else {
        let mut unshare = tool("unshare");
        unshare.args(["--map-root-user", "--map-auto", "--", "sh"]);
        unshare
    };
    command.args(["-euc", script, "sh"]).args(args);
    command
}

/// Tells whether we are root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Returns the message for a failed operation on a file.
pub fn at<E: std::fmt::Display>(path: &Path) -> impl FnOnce(E) -> String {
    let path = path.display().to_string();
    move |error| format!("`{path}`: {error}")
}
