//! `update-initramfs`: the command that Debian's packages call, with the options and the semantics of initramfs-tools' own
//! (update-initramfs(8)); the hooks of `/etc/kernel` call it, too. Images are `/boot/initrd.img-VERSION`, mode 0600.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::args::{Global, UpdateInitramfs};
use super::kernel_install::{self, bootable, charge, initrd};
use super::progress::{Progress, Stream, note};
use super::{Failure, UsageError};
use crate::base::error::{Diagnostic, ErrorKind};
use crate::base::fs::FileError;
use crate::deliver;
use crate::family::deb::version;
use crate::host;
use crate::modules::KernelVersion;
use crate::report::{Event, Reporter, Stage};

/// What boot loaders want to have done after an image was written.
const HOOKS: &str = "/etc/initramfs/post-update.d";
/// What packages activate, and ours is interested in.
const TRIGGER: &str = "update-initramfs";

/// Another program that has to do its part did not.
#[derive(Debug, thiserror::Error)]
#[error("`{program}` failed for kernel {version}: {how}")]
struct OtherFailed {
    program: &'static str,
    version: KernelVersion,
    how: String,
}

impl Diagnostic for OtherFailed {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Output
    }
}

/// Runs the command.
pub fn run(args: &UpdateInitramfs, global: &Global) -> Result<(), Failure> {
    let global = kernel_install::told(global, false);
    let progress = Progress::new(&global, Stream::Err);
    if is_deferrable(args, &global) && defer() {
        note("update-initramfs: deferring update (trigger activated)");
        return Ok(());
    }
    if !args.boot_directory.is_dir() {
        let what = format!("`{}` is not a directory", args.boot_directory.display());
        return Err(UsageError::Wrong { what, hint: "name the directory of the kernels with `-b DIR`".to_owned() }.into());
    }
    let mut failed: Option<Failure> = None;
    for version in wanted(args)? {
        let result = if args.delete { delete(args, &version, &progress) } else { make(args, &version, &global, &progress) };
        if let Err(error) = result {
            // One that fails does not keep the others from being made; all but the last error are told here.
            if let Some(earlier) = failed.replace(error) {
                progress.event(&Event::Warning { stage: Stage::Config, message: &super::diagnose::sentence(&*earlier) });
            }
            if let Some(message) = bootable::left(&bootable::bootable(Some(&args.boot_directory))) {
                progress.event(&Event::Warning { stage: Stage::Deliver, message: &message });
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

/// Packages call `update-initramfs -u` from their scripts; it is done once, when all are configured.
fn is_deferrable(args: &UpdateInitramfs, global: &Global) -> bool {
    let in_script = std::env::var_os("DPKG_MAINTSCRIPT_PACKAGE").is_some_and(|package| !package.is_empty());
    let plain = args.kernel.is_none() && args.since.is_none() && args.boot_directory == Path::new("/boot");
    in_script && args.update && plain && global.verbose == 0
}

fn defer() -> bool {
    Command::new("dpkg-trigger").args(["--no-await", TRIGGER]).status().is_ok_and(|status| status.success())
}

fn wanted(args: &UpdateInitramfs) -> Result<Vec<KernelVersion>, Failure> {
    let boot = &args.boot_directory;
    match args.kernel.as_deref() {
        Some("all") if args.create => Ok(versions(boot, &["vmlinuz-", "vmlinux-"])),
        Some("all") => Ok(with_image(boot)),
        Some(version) => Ok(vec![KernelVersion::parse(version)?]),
        None if args.update => Ok(newest(boot).into_iter().collect()),
        None => {
            let what = "`-c` and `-d` need a kernel version".to_owned();
            Err(UsageError::Wrong { what, hint: "name it with `-k VERSION`, or `-k all`".to_owned() }.into())
        }
    }
}

/// The newest kernel that has an image, else the one that the link in `/boot` names, else the running one.
fn newest(boot: &Path) -> Option<KernelVersion> {
    let linked = || {
        let target = ["/boot/initrd.img", "/initrd.img"].iter().find_map(|path| fs::read_link(path).ok())?;
        KernelVersion::parse(target.file_name()?.to_str()?.strip_prefix("initrd.img-")?).ok()
    };
    let running = || KernelVersion::parse(&host::running_kernel()).ok().filter(|version| image(boot, version).exists());
    with_image(boot).into_iter().next().or_else(linked).or_else(running)
}

/// Kernels that are installed and have an image, the newest first.
fn with_image(boot: &Path) -> Vec<KernelVersion> {
    versions(boot, &["vmlinuz-", "vmlinux-"]).into_iter().filter(|version| image(boot, version).exists()).collect()
}

/// Versions that stand behind one of the prefixes, the newest first.
fn versions(directory: &Path, prefixes: &[&str]) -> Vec<KernelVersion> {
    let names = fs::read_dir(directory).into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let found = names.filter_map(|name| prefixes.iter().find_map(|prefix| KernelVersion::parse(name.strip_prefix(prefix)?).ok()));
    let mut found: Vec<_> = found.collect::<BTreeSet<_>>().into_iter().collect();
    // A release candidate comes before its release.
    let key = |version: &KernelVersion| version.as_str().replace("-rc", "~rc");
    found.sort_by(|a, b| version::compare(&key(b), &key(a)));
    found
}

fn image(boot: &Path, version: &KernelVersion) -> PathBuf {
    boot.join(format!("initrd.img-{version}"))
}

fn make(args: &UpdateInitramfs, version: &KernelVersion, global: &Global, progress: &Progress) -> Result<(), Failure> {
    let path = image(&args.boot_directory, version);
    if args.since.is_some_and(|since_s| is_newer(&path, since_s)) {
        note(&format!("update-initramfs: {} has already been updated", path.display()));
        return Ok(());
    }
    let kernel = charge::kernel_image(Path::new("/boot"), version);
    if let Some(kernel) =
        kernel.filter(|kernel| args.boot_directory == Path::new("/boot") && charge::is_with_kernel_install(version, kernel))
    {
        if args.hook {
            let message = format!("kernel-install makes the image of kernel {version}");
            progress.event(&Event::Detail { stage: Stage::Config, message: &message });
            return Ok(());
        }
        let status = charge::kernel_install(version, &kernel);
        return finished("kernel-install add", version, status);
    }
    note(&format!("update-initramfs: Generating {}", path.display()));
    let target = deliver::check_target(&path)?;
    initrd::check_modules(version)?;
    let made = initrd::make(&initrd::options(version), global, progress)?;
    let target = target.for_secrets(kernel_install::MODE, made.may_be_exposed, &made.manifest.secrets, progress)?;
    deliver::deliver(&target, made.image.size_bytes, kernel_install::MODE, progress, |out| made.image.write_to(out))?;
    if Path::new(HOOKS).is_dir() {
        let mut hooks = Command::new("run-parts");
        hooks.arg(format!("--arg={version}")).arg(format!("--arg={}", path.display())).arg(HOOKS);
        return finished("run-parts /etc/initramfs/post-update.d", version, hooks.status());
    }
    Ok(())
}

fn is_newer(path: &Path, since_s: u64) -> bool {
    let since = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(since_s));
    let changed = fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    changed.zip(since).is_some_and(|(changed, since)| changed > since)
}

fn finished(
    program: &'static str,
    version: &KernelVersion,
    status: std::io::Result<std::process::ExitStatus>,
) -> Result<(), Failure> {
    let how = match status {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => status.to_string(),
        Err(err) => err.to_string(),
    };
    Err(OtherFailed { program, version: version.clone(), how }.into())
}

/// Removes an image, and the copies of it that initramfs-tools keeps.
fn delete(args: &UpdateInitramfs, version: &KernelVersion, progress: &Progress) -> Result<(), Failure> {
    let path = image(&args.boot_directory, version);
    if bootable::is_last(&bootable::bootable(Some(&args.boot_directory)), version.as_str()) {
        progress.event(&Event::Warning { stage: Stage::Deliver, message: &bootable::last(version.as_str()) });
    }
    note(&format!("update-initramfs: Deleting {}", path.display()));
    for end in ["", ".bak", ".dpkg-bak"] {
        let mut name = path.clone().into_os_string();
        name.push(end);
        match fs::remove_file(&name) {
            Err(err) if err.kind() != std::io::ErrorKind::NotFound => return Err(FileError::on("remove", name)(err).into()),
            _ => {}
        }
    }
    Ok(())
}
