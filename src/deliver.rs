//! Gives a file its final name: at any moment that name holds the whole old file or the whole new one, and success is only reported
//! when the new one is on stable storage and was read back.
//!
//! The steps: a private temporary file in the same directory (0600 from the start), write, mode, fsync, drop it from the page cache, read
//! it back and compare digests, rename, fsync of directory and file in an order that suits vfat, sync of the file system, and fsync again
//! (on vfat and ext4 a rename without that is lost with the power). Errors of `close` are not looked at: nothing is written after the fsync that succeeded.
//!
//! No lock file is left behind: runs for one directory wait for each other by `flock` on the directory, but only for a while, for
//! anybody who can read it could hold that lock. Nothing but disk space depends on it: names of temporary files are random, and
//! a run holds a lock on its own, by which others know that it is alive.

pub mod exposure;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{Access, Advice, AtFlags, CWD, FlockOperation, IFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::base::digest::{Hasher, Sha256};
use crate::base::error::{Diagnostic, ErrorKind};
use crate::base::size::Size;
use crate::report::{Event, Reporter, Silent, Stage};

/// How long a run waits for another one in the same directory before it goes on beside it.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// How often it looks whether the other one has ended.
const WAIT_STEP: Duration = Duration::from_millis(50);
/// The random part of a temporary file's name.
const RANDOM_CHARS: usize = 6;
/// What temporary files end with.
const SUFFIX: &str = ".tmp";
/// How much of the final name a temporary name repeats: with what is around it, it stays within the 255 bytes of a name.
const STEM_BYTES_MAX: usize = 200;
/// What is read and written at once.
const CHUNK_BYTES: usize = 1 << 20;

/// What `statfs` says of vfat (`MSDOS_SUPER_MAGIC`), the only file system for boot files whose files have a limit of note.
const VFAT_MAGIC: rustix::fs::FsWord = 0x4d44;
/// A size is 32 bits there. The kernel would say `EFBIG` after all the writing, which is also what a process' own limit says.
const VFAT_FILE_BYTES: u64 = 1 << 32;

/// Temporary files of this process, to be removed when it is interrupted.
static LIVE: Mutex<Live> = Mutex::new(Live { paths: BTreeSet::new(), abandoned: false });

struct Live {
    paths: BTreeSet<PathBuf>,
    abandoned: bool,
}

/// Where a file is to be delivered: checked, symlinks followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    path: PathBuf,
    directory: PathBuf,
    replaces: bool,
    /// A secret that is in what is delivered, by its path there: a file system that shows it to others is refused.
    secret: Option<String>,
}

impl Target {
    /// Returns the path that gets the file; when a symlink was named, what it points to.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tells whether there was a file when this was checked.
    pub fn replaces(&self) -> bool {
        self.replaces
    }

    /// Returns the target for an image that holds secrets; fails if others could read it there. `allowed` accepts a file system that
    /// keeps no permissions, but never a mode that lets others in.
    pub fn for_secrets(mut self, mode: u32, allowed: bool, secrets: &[String], reporter: &dyn Reporter) -> Result<Self, Error> {
        let Some(secret) = secrets.first().cloned() else { return Ok(self) };
        if mode & 0o077 != 0 {
            return Err(Error::Mode { path: self.path, mode, secret });
        }
        check_exposure(&self.directory, &self.path, allowed, &secret, reporter)?;
        self.secret = Some(secret).filter(|_| !allowed);
        Ok(self)
    }

    fn old(&self) -> Old {
        if self.replaces { Old::Kept } else { Old::None }
    }
}

/// A delivered file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// Where it lies.
    pub path: PathBuf,
    /// How large it is.
    pub size_bytes: u64,
    /// Its digest, as read back.
    pub sha256: Sha256,
    /// Its mode as the file system keeps it; vfat keeps none, and others may be able to read what was to be 0600.
    pub mode: u32,
    /// Temporary files that earlier runs left behind and this one removed.
    pub removed: Vec<PathBuf>,
}

/// What became of the file that was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Old {
    /// It is untouched.
    Kept,
    /// There was none.
    None,
}

impl std::fmt::Display for Old {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Old::Kept => "the old image was kept",
            Old::None => "there was no old image, and there is no new one",
        })
    }
}

/// Why a file cannot be delivered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The path cannot be written to, which was seen before any work.
    #[error("cannot write an image to `{}`: {reason}", .path.display())]
    Target {
        /// The path as given.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
        /// What the system said, if it did.
        #[source]
        source: Option<io::Error>,
    },
    /// The file system is too full; seen before writing.
    #[error("`{}` needs {} and {} are free ({needed_bytes} and {free_bytes} bytes); {old}", .path.display(), Size(*.needed_bytes), Size(*.free_bytes))]
    Space {
        /// The file.
        path: PathBuf,
        /// What it needs beside the old one.
        needed_bytes: u64,
        /// What there is.
        free_bytes: u64,
        /// What became of the old file.
        old: Old,
    },
    /// The file system holds no file of this size; seen before writing.
    #[error("`{}` would have {}, and {file_system} holds less than {} in a file; {old}", .path.display(), Size(*.size_bytes), Size(*.limit_bytes))]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        size_bytes: u64,
        /// What a file there has to stay below.
        limit_bytes: u64,
        /// The file system's name.
        file_system: &'static str,
        /// What became of the old file.
        old: Old,
    },
    /// A step failed.
    #[error("cannot {action} `{}` ({} of {} written); {old}", .path.display(), Size(*.written_bytes), Size(*.needed_bytes))]
    Step {
        /// What was attempted, a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// How much had been written.
        written_bytes: u64,
        /// How much there is.
        needed_bytes: u64,
        /// What became of the old file.
        old: Old,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An image with secrets was to be readable by others.
    #[error("`{}` would hold the secret `{secret}`, and its mode was to be {mode:04o}: others could read it", .path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// The mode that was asked for.
        mode: u32,
        /// One of the secrets, by its path in the image.
        secret: String,
    },
    /// The file system shows files to others.
    #[error("`{}` would hold the secret `{secret}`, and others could read it there: {why}", .path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// What about the file system.
        why: String,
        /// One of the secrets, by its path in the image.
        secret: String,
    },
    /// What was read back is not what was written.
    #[error("`{}` was not stored as written: wanted sha256 {wanted}, read back {found}; {old}", .path.display())]
    ReadBack {
        /// The file.
        path: PathBuf,
        /// The digest of what was written.
        wanted: Sha256,
        /// The digest of what was read.
        found: Sha256,
        /// What became of the old file.
        old: Old,
    },
    /// The new file has its name, but the system does not say that it is on stable storage.
    #[error("`{}` is complete and in place, but may not survive a power loss: cannot {action}", .path.display())]
    Unsettled {
        /// What was attempted, a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Diagnostic for Error {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Output
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Error::Target { .. } => vec!["name another file with `--output FILE`".to_owned()],
            Error::Space { path, needed_bytes, free_bytes, .. } => {
                let missing = Size(needed_bytes.saturating_sub(*free_bytes));
                vec![format!("free {missing} in `{}`: the old image stays until the new one is complete", parent(path).display())]
            }
            Error::TooLarge { .. } => vec!["take less into the image, or put it on another file system".to_owned()],
            Error::Step { path, source, .. } => step_hint(path, source).into_iter().collect(),
            Error::Mode { .. } => vec!["leave out `--mode`: an image that holds secrets has 0600".to_owned()],
            Error::Exposed { .. } => vec![
                "have the volume opened by a TPM (`systemd-cryptenroll --tpm2-device=auto DEVICE`), or seal the key with \
                 `systemd-creds encrypt`: then no secret has to be in the image"
                    .to_owned(),
                "write to a file system that keeps permissions, or accept it with `--allow-exposed-secrets`, or `image.exposed-secrets = \"allow\"` in a drop-in"
                    .to_owned(),
            ],
            Error::ReadBack { .. } | Error::Unsettled { .. } => {
                vec!["look into the kernel log (`dmesg`) for errors of the disk".to_owned()]
            }
        }
    }
}

fn step_hint(path: &Path, err: &io::Error) -> Option<String> {
    let directory = parent(path).display().to_string();
    Some(match Errno::from_io_error(err)? {
        Errno::NOSPC => format!("free some space in `{directory}`"),
        Errno::DQUOT => format!("raise the disk quota, or free some space in `{directory}`"),
        Errno::FBIG => "raise the limit on file sizes (`ulimit -f unlimited`)".to_owned(),
        Errno::ROFS => format!("mount the file system of `{directory}` writable"),
        Errno::ACCESS | Errno::PERM => format!("run as somebody who may write to `{directory}`"),
        Errno::IO => "look into the kernel log (`dmesg`) for errors of the disk".to_owned(),
        _ => return None,
    })
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

/// Refuses to put a secret on a file system that keeps no permissions, or warns if that is `allowed`. `path` is what would hold it.
pub fn check_exposure(directory: &Path, path: &Path, allowed: bool, secret: &str, reporter: &dyn Reporter) -> Result<(), Error> {
    let Some(fstype) = exposure::exposed_by(directory) else { return Ok(()) };
    if !allowed {
        return Err(Error::Exposed {
            path: path.to_owned(),
            why: format!("{fstype} keeps no permissions"),
            secret: secret.to_owned(),
        });
    }
    let path = path.display();
    let message = format!("`{path}` holds the secret `{secret}`, and {fstype} keeps no permissions: whoever mounts it reads it");
    reporter.event(&Event::Warning { stage: Stage::Deliver, message: &message });
    Ok(())
}

/// Checks whether a file can be delivered to `path`, so that no work is done in vain.
///
/// A symlink is followed and stays: what it points to is replaced. A dangling one, a directory, a fifo, a device, an immutable file
/// and a directory without write permission are refused.
pub fn check_target(path: &Path) -> Result<Target, Error> {
    let wrong = |reason, source| Error::Target { path: path.to_owned(), reason, source };
    let Some(name) = path.file_name().filter(|_| !path.as_os_str().as_bytes().ends_with(b"/")) else {
        return Err(wrong("it names no file", None));
    };
    let directory = fs::canonicalize(parent(path)).map_err(|err| wrong("its directory is not there", Some(err)))?;
    if !directory.is_dir() {
        return Err(wrong("what should be its directory is none", None));
    }
    let mut target = Target { path: directory.join(name), directory, replaces: false, secret: None };
    let found = match fs::symlink_metadata(&target.path) {
        Ok(found) => Some(found),
        Err(err) if err.kind() == io::ErrorKind::NotFound => None,
        Err(err) => return Err(wrong("it cannot be looked at", Some(err))),
    };
    if let Some(mut found) = found {
        if found.is_symlink() {
            target.path = fs::canonicalize(&target.path).map_err(|err| wrong("it is a symlink that leads nowhere", Some(err)))?;
            target.directory = parent(&target.path).to_owned();
            found = fs::symlink_metadata(&target.path).map_err(|err| wrong("it cannot be looked at", Some(err)))?;
        }
        check_kind(&found).map_err(|reason| wrong(reason, None))?;
        if is_immutable(&target.path) {
            return Err(wrong("it is immutable (`chattr +i`)", None));
        }
        target.replaces = true;
    }
    retry_on_intr(|| rustix::fs::accessat(CWD, &target.directory, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS))
        .map_err(|err| wrong("its directory cannot be written to", Some(err.into())))?;
    if is_immutable(&target.directory) {
        return Err(wrong("its directory is immutable (`chattr +i`)", None));
    }
    Ok(target)
}

fn check_kind(found: &fs::Metadata) -> Result<(), &'static str> {
    let kind = found.file_type();
    match () {
        () if kind.is_file() => Ok(()),
        () if kind.is_dir() => Err("it is a directory"),
        () if kind.is_fifo() => Err("it is a fifo"),
        () if kind.is_socket() => Err("it is a socket"),
        () => Err("it is a device"),
    }
}

/// Tells whether the file system refuses changes; where that cannot be asked, the steps themselves will tell.
fn is_immutable(path: &Path) -> bool {
    let flags = File::open(path).ok().and_then(|file| rustix::fs::ioctl_getflags(&file).ok());
    flags.is_some_and(|flags| flags.intersects(IFlags::IMMUTABLE | IFlags::APPEND))
}

/// Delivers bytes that are in memory, as a manifest beside an image.
pub fn file(path: &Path, bytes: &[u8], mode: u32) -> Result<Delivered, Error> {
    let target = check_target(path)?;
    place(&target, bytes.len() as u64, mode, &Silent, |out| out.write_all(bytes))
}

/// Delivers an image: `size_bytes` bytes that `write` writes. The final mode is `mode`; until then nobody else can read the file.
pub fn deliver(
    target: &Target,
    size_bytes: u64,
    mode: u32,
    reporter: &dyn Reporter,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<Delivered, Error> {
    reporter.event(&Event::Begin { stage: Stage::Deliver });
    let delivered = place(target, size_bytes, mode, reporter, write)?;
    for path in &delivered.removed {
        let message = format!("removed `{}`, which an interrupted run had left", path.display());
        reporter.event(&Event::Detail { stage: Stage::Deliver, message: &message });
    }
    let figures = format!("{}, {}", delivered.path.display(), Size(size_bytes));
    reporter.event(&Event::End { stage: Stage::Deliver, figures: &figures });
    Ok(delivered)
}

fn place(
    target: &Target,
    size_bytes: u64,
    mode: u32,
    reporter: &dyn Reporter,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<Delivered, Error> {
    let step = |action, written_bytes| {
        move |source: io::Error| Error::Step {
            action,
            path: target.path.clone(),
            written_bytes,
            needed_bytes: size_bytes,
            old: target.old(),
            source,
        }
    };
    let directory = File::open(&target.directory).map_err(step("open the directory of", 0))?;
    wait_for_others(&directory, reporter);
    let removed = remove_orphans(target);
    check_space(&directory, target, size_bytes)?;

    let mut temporary = Temporary::create(target).map_err(step("create a temporary file beside", 0))?;
    check_privacy(target, &temporary.file)?;
    let (wrote, wanted, written) = temporary.fill(write);
    wrote.map_err(step("write", written))?;
    if written != size_bytes {
        return Err(step("write", written)(io::Error::other(format!("{written} bytes came instead of {size_bytes}"))));
    }
    temporary.file.set_permissions(Permissions::from_mode(mode)).map_err(step("set the mode of", written))?;
    // An fsync that failed is never tried again: the kernel reports an error once and forgets the pages.
    temporary.file.sync_all().map_err(step("write to stable storage", written))?;
    let found = temporary.read_back().map_err(step("read back", written))?;
    if wanted != found {
        return Err(Error::ReadBack { path: target.path.clone(), wanted, found, old: target.old() });
    }
    let kept_mode = temporary.file.metadata().map_err(step("look at", written))?.mode() & 0o7777;
    let replaced = hold_replaced(target).map_err(step("hold the old file of", written))?;
    let file = temporary.rename(&target.path).map_err(step("rename the new file to", written))?;
    settle(&file, &directory, target).map_err(|(action, source)| Error::Unsettled {
        action,
        path: target.path.clone(),
        source,
    })?;
    drop(replaced);
    Ok(Delivered { path: target.path.clone(), size_bytes, sha256: wanted, mode: kept_mode, removed })
}

/// Keeps the file that is about to be replaced from being freed.
///
/// vfat frees its blocks at once, and a power cut may keep that and lose the directory entry that makes them superfluous: the name
/// would then lead to the old file's size and to nothing.
fn hold_replaced(target: &Target) -> io::Result<Option<OwnedFd>> {
    use rustix::fs::{Mode, OFlags, open};
    if !target.replaces {
        return Ok(None);
    }
    let opened = retry_on_intr(|| open(&target.path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()));
    match opened {
        Ok(held) => Ok(Some(held)),
        // Somebody removed it meanwhile: there is nothing to lose.
        Err(Errno::NOENT) => Ok(None),
        Err(err) => Err(err.into()),
    }
}

/// Writes a rename to stable storage, in an order in which a power cut at any step leaves the old or the new file.
///
/// On vfat a rename changes two things in the directory: the temporary name goes, which belongs to the directory, and the final name
/// gets the new file's size and blocks, which belongs to the *file*; only an fsync writes them and empties the disk's cache, syncfs
/// alone does not. While both names have the same blocks, removing one would free those of the other: the temporary name goes first.
/// A final name that was not there before has no blocks until the file is written: there the file goes first.
///
/// When the kernel happens to write the file back by itself in between, it only moves the final name to the device's page cache, and
/// no fsync knows of it any more: syncfs writes it then, and one more fsync empties the disk's cache.
fn settle(file: &File, directory: &File, target: &Target) -> Result<(), (&'static str, io::Error)> {
    let sync_directory = || directory.sync_all().map_err(|err| ("write its directory to stable storage", err));
    if target.replaces {
        sync_directory()?;
    }
    file.sync_all().map_err(|err| ("write its new name to stable storage", err))?;
    retry_on_intr(|| rustix::fs::syncfs(directory)).map_err(|err| ("sync its file system", err.into()))?;
    sync_directory()
}

/// Removes all temporary files of this process and lets it make no more. For a signal thread, just before it exits.
pub fn abandon_all() {
    let mut live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
    live.abandoned = true;
    for path in std::mem::take(&mut live.paths) {
        // It may have got its final name in this moment; the process ends, and nobody is left to be told.
        let _ = fs::remove_file(path);
    }
}

/// Waits until no other run delivers into this directory, for a while. A file system without locks means not waiting.
fn wait_for_others(directory: &File, reporter: &dyn Reporter) {
    let start = Instant::now();
    let mut told = false;
    while let Err(Errno::WOULDBLOCK | Errno::INTR) = rustix::fs::flock(directory, FlockOperation::NonBlockingLockExclusive) {
        if start.elapsed() >= WAIT_MAX {
            return;
        }
        if !std::mem::replace(&mut told, true) {
            let message = "waiting for another run that writes into the same directory";
            reporter.event(&Event::Detail { stage: Stage::Deliver, message });
        }
        std::thread::sleep(WAIT_STEP);
    }
}

/// Refuses early when the file system holds no such file, or the new one does not fit beside the old one.
fn check_space(directory: &File, target: &Target, size_bytes: u64) -> Result<(), Error> {
    let is_vfat = rustix::fs::fstatfs(directory).is_ok_and(|found| found.f_type == VFAT_MAGIC);
    if is_vfat && size_bytes >= VFAT_FILE_BYTES {
        let (path, limit_bytes) = (target.path.clone(), VFAT_FILE_BYTES);
        return Err(Error::TooLarge { path, size_bytes, limit_bytes, file_system: "vfat", old: target.old() });
    }
    let Ok(space) = retry_on_intr(|| rustix::fs::fstatvfs(directory)) else {
        // A file system that does not say is believed when it is written to.
        return Ok(());
    };
    if space.f_blocks == 0 || space.f_frsize == 0 {
        return Ok(());
    }
    let needed_bytes = size_bytes.next_multiple_of(space.f_frsize);
    let blocks = if rustix::process::geteuid().is_root() { space.f_bfree } else { space.f_bavail };
    let free_bytes = blocks.saturating_mul(space.f_frsize);
    if needed_bytes > free_bytes {
        return Err(Error::Space { path: target.path.clone(), needed_bytes, free_bytes, old: target.old() });
    }
    Ok(())
}

/// Refuses, before the first byte, a file system that shows a file of mode 0600 with another one.
fn check_privacy(target: &Target, file: &File) -> Result<(), Error> {
    let Some(secret) = &target.secret else { return Ok(()) };
    let mode = file.metadata().map_or(0o7777, |found| found.mode() & 0o7777);
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let why = format!("a file of mode 0600 has the mode {mode:04o} on its file system");
    Err(Error::Exposed { path: target.path.clone(), why, secret: secret.clone() })
}

/// The part of the name that all temporary files for one target share.
fn prefix(target: &Target) -> OsString {
    let name = target.path.file_name().unwrap_or_default().as_bytes();
    let stem = &name[..name.len().min(STEM_BYTES_MAX)];
    OsString::from_vec([b".", stem, b"."].concat())
}

/// Removes temporary files for the same target whose runs are dead. What cannot be removed stays: it only takes space.
fn remove_orphans(target: &Target) -> Vec<PathBuf> {
    let prefix = prefix(target);
    let Ok(entries) = fs::read_dir(&target.directory) else { return Vec::new() };
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
    let mut removed: Vec<PathBuf> = names
        .filter(|name| is_temporary(name, &prefix))
        .map(|name| target.directory.join(name))
        .filter(|path| remove_orphan(path).is_some())
        .collect();
    removed.sort();
    removed
}

fn is_temporary(name: &OsStr, prefix: &OsStr) -> bool {
    let random = name.as_bytes().strip_prefix(prefix.as_bytes()).and_then(|rest| rest.strip_suffix(SUFFIX.as_bytes()));
    random.is_some_and(|random| random.len() == RANDOM_CHARS && random.iter().all(u8::is_ascii_alphanumeric))
}

/// Removes one, unless its run holds its lock.
fn remove_orphan(path: &Path) -> Option<()> {
    use rustix::fs::{Mode, OFlags, open};
    let file =
        File::from(open(path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()).ok()?);
    file.metadata().ok().filter(fs::Metadata::is_file)?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
    fs::remove_file(path).ok()
}

/// A temporary file, locked as long as this run lives; removed when dropped before it got its final name.
struct Temporary {
    file: File,
    path: PathBuf,
    renamed: bool,
}

impl Temporary {
    fn create(target: &Target) -> io::Result<Self> {
        loop {
            let temporary = Self::create_once(target)?;
            // A file system without locks: no other run can take the file for dead, for it cannot lock it either.
            let _ = rustix::fs::flock(&temporary.file, FlockOperation::NonBlockingLockExclusive);
            // Between its making and its locking, another run may have taken it for an orphan.
            if temporary.file.metadata()?.nlink() > 0 {
                return Ok(temporary);
            }
        }
    }

    fn create_once(target: &Target) -> io::Result<Self> {
        // Held until the path is known to the signal thread, so that no file escapes it.
        let mut live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
        if live.abandoned {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "the run was interrupted"));
        }
        let made = tempfile::Builder::new()
            .prefix(&prefix(target))
            .suffix(SUFFIX)
            .rand_bytes(RANDOM_CHARS)
            .disable_cleanup(true)
            .tempfile_in(&target.directory)?;
        let (file, path) = made.into_parts();
        let temporary = Self { file, path: path.to_path_buf(), renamed: false };
        live.paths.insert(temporary.path.clone());
        drop(live);
        // Whatever the umask took away.
        temporary.file.set_permissions(Permissions::from_mode(0o600))?;
        Ok(temporary)
    }

    /// Lets `write` fill the file; returns the digest of what came and how many bytes did.
    fn fill(&self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> (io::Result<()>, Sha256, u64) {
        let mut out = Counted { out: io::BufWriter::with_capacity(CHUNK_BYTES, &self.file), hasher: Hasher::new(), written: 0 };
        let wrote = write(&mut out).and_then(|()| out.out.flush());
        // What could not be written is dropped with the buffer, not tried again.
        drop(out.out.into_parts());
        (wrote, out.hasher.finish(), out.written)
    }

    /// Returns the digest of what the disk has. The page cache is asked to forget the file first.
    fn read_back(&mut self) -> io::Result<Sha256> {
        // Advice only: a file system that keeps its pages gives a weaker check, not a wrong one.
        let _ = rustix::fs::fadvise(&self.file, 0, None, Advice::DontNeed);
        self.file.rewind()?;
        let mut hasher = Hasher::new();
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match self.file.read(&mut chunk) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(count) => hasher.update(&chunk[..count]),
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
    }

    /// Gives it its final name and returns the file, which is no longer removed.
    fn rename(mut self, to: &Path) -> io::Result<File> {
        let file = self.file.try_clone()?;
        retry_on_intr(|| rustix::fs::rename(&self.path, to))?;
        self.renamed = true;
        Ok(file)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let mut live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.renamed {
            // The error that brings us here matters more; the next run removes what stays.
            let _ = fs::remove_file(&self.path);
        }
        live.paths.remove(&self.path);
    }
}

/// Counts and hashes what is written.
struct Counted<W: Write> {
    out: io::BufWriter<W>,
    hasher: Hasher,
    written: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
