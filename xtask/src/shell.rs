//! Starts other programs: cargo above all.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns the root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("invariant: xtask lies in the repository").to_owned()
}

/// Returns the directory for what cargo and our tests make.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from)
}

/// Returns the cargo that runs us, in the repository.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(repository());
    // What cargo told *us* about this program would look to build scripts of dependencies like a change, and they would run again.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            command.env_remove(name);
        }
    }
    command
}

/// Returns a command with what Debian keeps in the `sbin` directories on its path.
pub fn tool(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".into());
    command.env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin")).env("LC_ALL", "C.UTF-8");
    command
}

/// Runs a command that talks to the user itself.
pub fn call(command: &mut Command) -> Result<(), String> {
    let name = name_of(command);
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{name}` failed with {status}")),
        Err(error) => Err(format!("`{name}` could not be started: {error}")),
    }
}

/// Runs a command and returns what it printed; its errors go to the user, or are part of ours.
pub fn output(command: &mut Command) -> Result<String, String> {
    let name = name_of(command);
    let output = command.output().map_err(|error| format!("`{name}` could not be started: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no message");
    Err(format!("`{name}` failed with {}: {last}", output.status))
}

/// Tells whether we are root.
pub fn is_root() -> bool {
    output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

/// Returns the message for a failed operation on a file.
pub fn at<E: std::fmt::Display>(path: &Path) -> impl FnOnce(E) -> String {
    let path = path.display().to_string();
    move |error| format!("`{path}`: {error}")
}

fn name_of(command: &Command) -> String {
    let args: Vec<_> = command.get_args().take(3).map(OsStr::to_string_lossy).collect();
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy();
    format!("{program} {}", args.join(" ")).trim_end().to_owned()
}
