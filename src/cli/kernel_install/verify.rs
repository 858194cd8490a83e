//! `verify`: what systemd's plugins copied onto the boot partition is read again and compared with what was staged, gets its mode back
//! (`install -m 0644` takes it) and is written to stable storage. What differs is replaced; what cannot be replaced is not offered.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::Advice;

use super::add::{self, MODE};
use super::call::{Call, Layout};
use super::error::Error;
use crate::base::digest::Sha256;
use crate::base::fs::FileError;
use crate::cli::Failure;
use crate::cli::progress::Progress;
use crate::deliver;
use crate::report::{Event, Reporter, Stage};

/// A file and its copy.
struct Copied {
    from: PathBuf,
    to: PathBuf,
    /// The mode that the copy is to have, if it holds an initrd.
    mode: Option<u32>,
}

/// Checks everything that was installed for the call.
pub fn run(call: &Call, progress: &Progress) -> Result<(), Failure> {
    let Some(directory) = call.destination().filter(|directory| directory.is_dir()) else { return Ok(()) };
    for copied in copies(call, &directory) {
        check(call, &copied, progress)?;
    }
    // Neither `install` nor the shell that wrote the boot entry waits for the disk.
    if let Ok(opened) = File::open(&directory) {
        rustix::fs::syncfs(&opened).map_err(|err| FileError::on("write to stable storage", &directory)(err.into()))?;
    }
    Ok(())
}

fn copies(call: &Call, directory: &Path) -> Vec<Copied> {
    let mut copies = Vec::new();
    match call.layout {
        Layout::Bls => {
            if let Some(kernel) = &call.kernel_image {
                copies.push(Copied { from: kernel.clone(), to: directory.join("linux"), mode: None });
            }
            for name in ["microcode", "initrd"] {
                copies.push(Copied { from: call.staged(name), to: directory.join(name), mode: Some(MODE) });
            }
        }
        Layout::Uki => {
            let tries = fs::read_to_string(configuration().join("tries")).ok();
            let tries = tries.and_then(|text| Some(format!("+{}", text.lines().next()?.trim()))).unwrap_or_default();
            let name = format!("{}-{}{tries}.efi", call.token, call.version);
            copies.push(Copied { from: call.staged("uki.efi"), to: directory.join(name), mode: Some(MODE) });
        }
        Layout::Other => {}
    }
    copies.retain(|copied| copied.from.is_file());
    copies
}

/// Where kernel-install's own configuration is.
pub fn configuration() -> PathBuf {
    std::env::var_os("KERNEL_INSTALL_CONF_ROOT").map_or_else(|| PathBuf::from("/etc/kernel"), PathBuf::from)
}

fn check(call: &Call, copied: &Copied, progress: &Progress) -> Result<(), Failure> {
    let wanted = add::digest(&copied.from).map_err(FileError::on("read", &copied.from))?;
    let found = digest_on_disk(&copied.to);
    let differs = match &found {
        Ok(found) if *found == wanted => None,
        Ok(found) => Some(format!("sha256 {found}")),
        Err(err) => Some(err.to_string()),
    };
    let Some(found) = differs else {
        restore_mode(copied, progress);
        return Ok(());
    };
    match replace(copied) {
        Ok(()) => {
            let message = format!(
                "`{}` was not copied as it was made (wanted sha256 {wanted}, found {found}): it was put right; look into `dmesg` for \
                 errors of the disk",
                copied.to.display()
            );
            progress.event(&Event::Warning { stage: Stage::Deliver, message: &message });
            Ok(())
        }
        Err(source) => {
            let aftermath = withdraw(call, copied);
            Err(Error::Damaged { path: copied.to.clone(), wanted, found, aftermath, source: Box::new(source) }.into())
        }
    }
}

/// Reads a file from the disk rather than from memory, as far as the kernel lets go of it.
fn digest_on_disk(path: &Path) -> std::io::Result<Sha256> {
    let file = File::open(path)?;
    file.sync_all()?;
    // Advice: a file system that does not follow it is read from memory.
    let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
    add::digest(path)
}

/// vfat has no modes: what cannot be restored there is a matter of the mount options.
fn restore_mode(copied: &Copied, progress: &Progress) {
    let Some(mode) = copied.mode else { return };
    let has = || fs::metadata(&copied.to).is_ok_and(|metadata| metadata.permissions().mode() & 0o777 == mode);
    if has() {
        return;
    }
    let result = fs::set_permissions(&copied.to, Permissions::from_mode(mode));
    if !has() {
        let why = result.err().map(|err| format!(": {err}")).unwrap_or_default();
        let message = format!("the file system of `{}` keeps no mode {mode:04o}{why}", copied.to.display());
        progress.event(&Event::Detail { stage: Stage::Deliver, message: &message });
    }
}

fn replace(copied: &Copied) -> Result<(), deliver::Error> {
    let target = deliver::check_target(&copied.to)?;
    let read = |source| deliver::Error::Target {
        path: copied.from.clone(),
        reason: "what was staged cannot be read",
        source: Some(source),
    };
    let bytes = fs::read(&copied.from).map_err(read)?;
    deliver::file(target.path(), &bytes, copied.mode.unwrap_or(0o644)).map(|_| ())
}

/// Sees to it that no boot loader offers what is damaged.
fn withdraw(call: &Call, copied: &Copied) -> String {
    let mut removed = Vec::new();
    let mut failed = Vec::new();
    let mut remove = |path: PathBuf| match fs::remove_file(&path) {
        Ok(()) => removed.push(format!("`{}`", path.display())),
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => {}
        Err(err) => failed.push(format!("`{}` ({err})", path.display())),
    };
    match call.layout {
        Layout::Uki => remove(copied.to.clone()),
        _ => entries(call).into_iter().for_each(&mut remove),
    }
    match (removed.is_empty(), failed.is_empty()) {
        (_, false) => format!("it would not boot, and what offers it could not be removed: {}", failed.join(", ")),
        (false, true) => format!("{} was removed, so that it is not offered", removed.join(" and ")),
        (true, true) => "nothing offers it".to_owned(),
    }
}

/// Returns the boot entries of this kernel, with and without a count of tries.
fn entries(call: &Call) -> Vec<PathBuf> {
    let Some(boot) = &call.boot_root else { return Vec::new() };
    let stem = format!("{}-{}", call.token, call.version);
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let rest = name.strip_prefix(&stem).and_then(|rest| rest.strip_suffix(".conf"));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('+'))
    };
    let paths = crate::base::fs::list(&boot.join("loader/entries")).unwrap_or_default();
    paths.into_iter().filter(is_ours).collect()
}
