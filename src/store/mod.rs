//! The cache: files by their digest, and what is remembered about repositories. Everything in it can be deleted at any time.
//!
//! ```text
//! files/SHA256     packages and indexes, named by the digest of their content
//! state/SHA256     what was last seen of a repository, named by the digest of its address and suite
//! payloads/        unpacked packages (the unpack stage)
//! segments/        packed segments (the pack stage)
//! modules/         what kernel modules say of themselves (the modules stage)
//! ```
//!
//! A name proves nothing: what is read from `files` is hashed each time, and used through the very descriptor that was
//! hashed. Nothing is locked: files appear under their name at once and complete, and two runs that store the same file
//! store the same bytes. Without a usable directory the store works in memory-backed temporary files and forgets.

pub mod fetch;
pub mod infos;
pub mod keyring;
pub mod payload;
pub mod proofs;
pub mod rsa;
pub mod segments;
pub mod shipped;
pub mod state;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tempfile::NamedTempFile;

use crate::base::digest::{Hasher, Sha256};
use crate::base::fs::{FileError, list};
use crate::base::limit;

/// The prefix of files that are still being written.
const TEMP_PREFIX: &str = ".new-";
/// A file with that prefix is an orphan of a killed run after this.
const TEMP_AGE_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Subdirectory of files by digest.
const FILES: &str = "files";
/// Subdirectory of what is remembered.
const STATE: &str = "state";
/// Subdirectories of what is computed from files and can be computed again.
const DERIVED: [&str; 3] = ["payloads", "segments", "modules"];

/// The cache directory, if there is one.
#[derive(Debug)]
pub struct Store {
    root: Option<PathBuf>,
    warning: Option<String>,
}

impl Store {
    /// Opens the cache in `root`, which is made if absent. A directory that cannot be written is no error: see [`Store::warning`].
    pub fn open(root: &Path) -> Self {
        match prepare(root) {
            Ok(()) => Self { root: Some(root.to_owned()), warning: None },
            Err(err) => {
                // A read-only cache is still worth reading.
                let readable = root.join(FILES).is_dir();
                let text = format!("the cache cannot be written: {err}: {}; downloads are not kept", err.source);
                Self { root: readable.then(|| root.to_owned()), warning: Some(text) }
            }
        }
    }

    /// Returns a store that keeps nothing.
    pub fn none() -> Self {
        Self { root: None, warning: None }
    }

    /// Returns the usual place: `/var/cache/mkinitrd-pkg` for root, else `$XDG_CACHE_HOME/mkinitrd-pkg` or `~/.cache/mkinitrd-pkg`.
    pub fn default_dir(is_root: bool, variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Option<PathBuf> {
        const NAME: &str = "mkinitrd-pkg";
        if is_root {
            return Some(Path::new("/var/cache").join(NAME));
        }
        let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache"))).map(|dir| dir.join(NAME))
    }

    /// Returns why nothing is kept, if so.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// Returns the directory, or one in it; `None` without a cache.
    pub fn dir(&self, name: &str) -> Option<PathBuf> {
        Some(self.root.as_ref()?.join(name))
    }

    /// Returns the file of this digest, hashed just now. A damaged one is removed.
    pub fn get(&self, sha256: &Sha256) -> Option<Stored> {
        let path = self.dir(FILES)?.join(sha256.to_string());
        match open_verified(&path, sha256, None) {
            Ok(stored) => {
                // What is used stays when the cache is trimmed by age; failing to note that costs a download at most.
                let _ = stored.file.set_modified(SystemTime::now());
                Some(stored)
            }
            Err(Unusable::Differs) => {
                // Left in place it would be hashed in vain each time; a failure here only means that.
                let _ = fs::remove_file(&path);
                None
            }
            Err(Unusable::Absent | Unusable::NotAFile) => None,
        }
    }

    /// Returns the content of the file of this digest, read and hashed in one pass. A damaged one is as good as none.
    pub fn load(&self, sha256: &Sha256) -> Option<Vec<u8>> {
        let file = open_regular(&self.dir(FILES)?.join(sha256.to_string())).ok()?;
        let size_bytes = file.metadata().ok()?.len().min(limit::INDEX_BYTES_MAX);
        let mut bytes = Vec::with_capacity(usize::try_from(size_bytes).ok()?);
        (&file).take(limit::INDEX_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        // As in `get`.
        let _ = file.set_modified(SystemTime::now());
        (Sha256::of(&bytes) == *sha256).then_some(bytes)
    }

    /// Returns the path under which the file of this digest would lie, if one of that size is there. Not verified.
    pub fn locate(&self, sha256: &Sha256, size_bytes: u64) -> Option<PathBuf> {
        let path = self.dir(FILES)?.join(sha256.to_string());
        let metadata = fs::symlink_metadata(&path).ok()?;
        (metadata.is_file() && metadata.len() == size_bytes).then_some(path)
    }

    /// Keeps `bytes` under their digest, which the caller has verified. Does nothing without a cache or space.
    pub fn keep(&self, sha256: &Sha256, bytes: &[u8]) {
        let kept = self.incoming().and_then(|mut incoming| {
            incoming.write_all(bytes).map_err(FileError::on("write to", "the cache"))?;
            Ok(incoming.finish(sha256))
        });
        // A cache that is full or read-only must not fail a build: the bytes are in the caller's hands.
        drop(kept);
    }

    /// Begins a file whose digest is checked when it is complete.
    pub fn incoming(&self) -> Result<Incoming, FileError> {
        let named = self.dir(FILES).filter(|_| self.warning.is_none());
        let named =
            named.and_then(|dir| tempfile::Builder::new().prefix(TEMP_PREFIX).tempfile_in(&dir).ok().map(|file| (file, dir)));
        let (place, size_bytes, hasher) = match named {
            Some((file, dir)) => (Place::Named(file, dir), 0, Hasher::new()),
            None => (Place::Anonymous(anonymous()?), 0, Hasher::new()),
        };
        Ok(Incoming { place, hasher, size_bytes })
    }

    /// Reads what is remembered under `name`.
    fn read_state(&self, name: &str) -> Option<Vec<u8>> {
        let path = self.dir(STATE)?.join(name);
        let mut bytes = Vec::new();
        open_regular(&path).ok()?.take(1 << 20).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Remembers `bytes` under `name`, at once or not at all.
    fn write_state(&self, name: &str, bytes: &[u8]) -> Result<(), FileError> {
        // Without a cache that can be written, which was told once, there is no memory.
        let Some(dir) = self.dir(STATE).filter(|_| self.warning.is_none()) else { return Ok(()) };
        let on = |action| FileError::on(action, dir.join(name));
        let mut file = tempfile::Builder::new().prefix(TEMP_PREFIX).tempfile_in(&dir).map_err(on("create"))?;
        file.write_all(bytes).map_err(on("write"))?;
        file.persist(dir.join(name)).map_err(|err| on("rename")(err.error))?;
        Ok(())
    }
}

fn prepare(root: &Path) -> Result<(), FileError> {
    for name in [FILES, STATE].into_iter().chain(DERIVED) {
        crate::base::fs::create_dir_all(&root.join(name))?;
    }
    // Tells a read-only directory before anything is downloaded for it.
    let files = root.join(FILES);
    tempfile::Builder::new().prefix(TEMP_PREFIX).tempfile_in(&files).map_err(FileError::on("write to", &files))?;
    Ok(())
}

/// A temporary file without a name; in memory if there is no other place.
fn anonymous() -> Result<File, FileError> {
    tempfile::tempfile().or_else(|_| {
        let name = "mkinitrd-pkg";
        let fd = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC).map_err(io::Error::from);
        fd.map(File::from).map_err(FileError::on("create", "a temporary file"))
    })
}

/// Why a file is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// It is not there, or cannot be read.
    Absent,
    /// It is a symlink, a directory, a pipe…
    NotAFile,
    /// Its size or digest is another.
    Differs,
}

fn open_regular(path: &Path) -> Result<File, Unusable> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path);
    let file = opened.map_err(|err| match err.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => Unusable::Absent,
        _ => Unusable::NotAFile,
    })?;
    match file.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(file),
        _ => Err(Unusable::NotAFile),
    }
}

/// Opens any file of this machine and hashes it through the descriptor that is returned. Symlinks are not followed.
pub fn open_verified(path: &Path, sha256: &Sha256, size_bytes: Option<u64>) -> Result<Stored, Unusable> {
    let file = open_regular(path)?;
    let found_bytes = file.metadata().map_err(|_| Unusable::Absent)?.size();
    if size_bytes.is_some_and(|wanted| wanted != found_bytes) {
        return Err(Unusable::Differs);
    }
    let stored = Stored { file: Arc::new(file), path: Some(path.to_owned()), sha256: *sha256, size_bytes: found_bytes };
    match io::copy(&mut stored.open(), &mut io::sink()) {
        Ok(_) => Ok(stored),
        Err(_) => Err(Unusable::Differs),
    }
}

/// A file whose content was verified through a descriptor that is still open.
#[derive(Debug, Clone)]
pub struct Stored {
    file: Arc<File>,
    /// Where it lies, if it has a name.
    pub path: Option<PathBuf>,
    /// Its digest.
    pub sha256: Sha256,
    /// Its size in bytes.
    pub size_bytes: u64,
}

impl Stored {
    /// Returns a reader from the first byte on, independent of all others. It hashes again what it gives: the last read fails
    /// if the bytes are not those that were verified, because the file was changed in between.
    pub fn open(&self) -> VerifiedReader {
        VerifiedReader {
            file: self.file.clone(),
            at: 0,
            size_bytes: self.size_bytes,
            hasher: Some(Hasher::new()),
            sha256: self.sha256,
        }
    }

    /// Reads all of it.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(usize::try_from(self.size_bytes).unwrap_or(0));
        self.open().read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Reads a verified file once more, and verifies once more.
#[derive(Debug)]
pub struct VerifiedReader {
    file: Arc<File>,
    at: u64,
    size_bytes: u64,
    /// Gone when the end was reached and the digest was right.
    hasher: Option<Hasher>,
    sha256: Sha256,
}

impl VerifiedReader {
    /// Reads what the caller left unread. Only after this are the bytes that were given known to be the verified ones.
    pub fn finish(mut self) -> io::Result<()> {
        io::copy(&mut self, &mut io::sink()).map(|_| ())
    }
}

impl Read for VerifiedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.size_bytes - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let changed = || io::Error::new(io::ErrorKind::InvalidData, "the file changed after it was verified");
        let count = self.file.read_at(&mut buffer[..left], self.at)?;
        if count == 0 && left > 0 {
            return Err(changed());
        }
        self.at += count as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        if self.at == self.size_bytes
            && let Some(hasher) = self.hasher.take()
            && hasher.finish() != self.sha256
        {
            // Asked again, it must not pretend to be at a good end.
            self.hasher = Some(Hasher::new());
            return Err(changed());
        }
        Ok(count)
    }
}

/// Asks the system to let this process have `count` files open, as far as it is allowed to.
pub fn allow_open_files(count: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let wanted = now.maximum.map_or(count, |maximum| maximum.min(count));
    if now.current.is_some_and(|current| current < wanted) {
        // If it is refused, opening a file will fail and say so.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: now.maximum });
    }
}

/// A file on its way into the cache.
#[derive(Debug)]
pub struct Incoming {
    place: Place,
    hasher: Hasher,
    size_bytes: u64,
}

#[derive(Debug)]
enum Place {
    Named(NamedTempFile, PathBuf),
    Anonymous(File),
}

impl Incoming {
    /// Returns how many bytes were written.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn file(&mut self) -> &mut File {
        match &mut self.place {
            Place::Named(file, _) => file.as_file_mut(),
            Place::Anonymous(file) => file,
        }
    }

    /// Forgets what was written.
    pub fn restart(&mut self) -> io::Result<()> {
        self.hasher = Hasher::new();
        self.size_bytes = 0;
        let file = self.file();
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0)).map(|_| ())
    }

    /// Gives the file its name if its digest is the one wanted; else it is gone and the digest found is returned.
    pub fn finish(self, sha256: &Sha256) -> Result<Stored, Sha256> {
        let found = self.hasher.finish();
        if found != *sha256 {
            return Err(found);
        }
        let size_bytes = self.size_bytes;
        let stored = |file: File, path| Stored { file: Arc::new(file), path, sha256: found, size_bytes };
        Ok(match self.place {
            Place::Anonymous(file) => stored(file, None),
            Place::Named(named, dir) => {
                let path = dir.join(found.to_string());
                match named.persist(&path) {
                    Ok(file) => stored(file, Some(path)),
                    // The name is refused (a directory in its place, say); the bytes are as good.
                    Err(err) => stored(err.file.into_file(), None),
                }
            }
        })
    }
}

impl Write for Incoming {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = match self.file().write(bytes) {
            Err(err) if err.kind() == io::ErrorKind::StorageFull && matches!(self.place, Place::Named(..)) => {
                self.leave_cache()?;
                self.file().write(bytes)?
            }
            outcome => outcome?,
        };
        self.hasher.update(&bytes[..count]);
        self.size_bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file().flush()
    }
}

impl Incoming {
    /// The cache is full: goes on in an anonymous file, with what was written so far.
    fn leave_cache(&mut self) -> io::Result<()> {
        let mut other = anonymous().map_err(|err| err.source)?;
        let size_bytes = self.size_bytes;
        let file = self.file();
        file.seek(SeekFrom::Start(0))?;
        io::copy(&mut Read::take(&mut *file, size_bytes), &mut other)?;
        self.place = Place::Anonymous(other);
        Ok(())
    }
}

/// What the cache holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Packages and indexes.
    pub files: u64,
    /// Their size in bytes.
    pub files_bytes: u64,
    /// Everything that was computed from them.
    pub derived: u64,
    /// Its size in bytes.
    pub derived_bytes: u64,
}

impl Store {
    /// Returns what the cache holds.
    pub fn usage(&self) -> Result<Usage, FileError> {
        let mut usage = Usage::default();
        let Some(root) = &self.root else { return Ok(usage) };
        for file in walk(&root.join(FILES))? {
            usage.files += 1;
            usage.files_bytes += file.size_bytes;
        }
        for name in DERIVED {
            for file in walk(&root.join(name))? {
                usage.derived += 1;
                usage.derived_bytes += file.size_bytes;
            }
        }
        Ok(usage)
    }

    /// Removes everything, also what is remembered about repositories. Returns the bytes freed.
    pub fn clean_all(&self) -> Result<u64, FileError> {
        let names = [FILES, STATE].into_iter().chain(DERIVED);
        names.map(|name| self.remove(name, |_| true)).sum()
    }

    /// Removes everything but downloaded files and what is remembered. Returns the bytes freed.
    pub fn clean_payloads(&self) -> Result<u64, FileError> {
        DERIVED.into_iter().map(|name| self.remove(name, |_| true)).sum()
    }

    /// Removes what was not used for `age_max`, then the longest unused until at most `size_bytes_max` are left, and the
    /// orphans of killed runs. Returns the bytes freed.
    pub fn trim(&self, age_max: Option<Duration>, size_bytes_max: Option<u64>) -> Result<u64, FileError> {
        let Some(root) = &self.root else { return Ok(0) };
        let now = SystemTime::now();
        let age = |file: &Found| now.duration_since(file.modified).unwrap_or_default();
        let mut all = Vec::new();
        for name in [FILES].into_iter().chain(DERIVED) {
            all.extend(walk(&root.join(name))?);
        }
        all.sort_by(|a, b| b.modified.cmp(&a.modified).then_with(|| a.path.cmp(&b.path)));
        let (mut kept_bytes, mut freed_bytes) = (0, 0);
        for file in all {
            let orphan = file.is_temp() && age(&file) > TEMP_AGE_MAX;
            let old = !file.is_temp() && age_max.is_some_and(|max| age(&file) > max);
            let over = !file.is_temp() && size_bytes_max.is_some_and(|max| kept_bytes + file.size_bytes > max);
            if orphan || old || over {
                freed_bytes += remove_file(&file)?;
            } else {
                kept_bytes += file.size_bytes;
            }
        }
        Ok(freed_bytes)
    }

    fn remove(&self, name: &str, which: impl Fn(&Found) -> bool) -> Result<u64, FileError> {
        let Some(dir) = self.dir(name) else { return Ok(0) };
        walk(&dir)?.iter().filter(|file| which(file)).map(remove_file).sum()
    }
}

/// A file of the cache.
struct Found {
    path: PathBuf,
    size_bytes: u64,
    modified: SystemTime,
}

impl Found {
    fn is_temp(&self) -> bool {
        self.path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(TEMP_PREFIX))
    }
}

fn remove_file(file: &Found) -> Result<u64, FileError> {
    match fs::remove_file(&file.path) {
        Ok(()) => Ok(file.size_bytes),
        // Another run was faster.
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(err) => Err(FileError::on("remove", &file.path)(err)),
    }
}

/// Returns all files below `dir`, three levels deep, which is more than any part of the cache has.
fn walk(dir: &Path) -> Result<Vec<Found>, FileError> {
    let mut files = Vec::new();
    let mut dirs = vec![(dir.to_owned(), 0)];
    while let Some((dir, depth)) = dirs.pop() {
        for path in list(&dir)? {
            let metadata = match fs::symlink_metadata(&path) {
                Ok(metadata) => metadata,
                Err(err) if err.kind() == io::ErrorKind::NotFound => continue,
                Err(err) => return Err(FileError::on("look at", &path)(err)),
            };
            if metadata.is_dir() {
                if depth < 3 {
                    dirs.push((path, depth + 1));
                }
            } else {
                let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                files.push(Found { path, size_bytes: metadata.len(), modified });
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(&dir.path().join("cache"));
        assert_eq!(store.warning(), None);
        (dir, store)
    }

    #[test]
    fn what_is_kept_comes_back_verified() {
        let (_dir, store) = store();
        let digest = Sha256::of(b"hello");
        assert!(store.get(&digest).is_none());
        store.keep(&digest, b"hello");
        let stored = store.get(&digest).expect("it was kept");
        assert_eq!((stored.read().expect("reading"), stored.size_bytes), (b"hello".to_vec(), 5));
        assert_eq!(store.load(&digest).as_deref(), Some(&b"hello"[..]));
        assert_eq!(store.locate(&digest, 5), stored.path);
        assert_eq!(store.locate(&digest, 6), None);
    }

    #[test]
    fn c16_a_wrong_digest_leaves_nothing_behind() {
        let (_dir, store) = store();
        let mut incoming = store.incoming().expect("a place");
        incoming.write_all(b"evil").expect("writing");
        assert_eq!(incoming.finish(&Sha256::of(b"good")).expect_err("it differs"), Sha256::of(b"evil"));
        assert_eq!(store.usage().expect("counting"), Usage::default());
    }

    #[test]
    fn c17_damaged_files_links_and_pipes_are_not_used() {
        let (dir, store) = store();
        let digest = Sha256::of(b"hello");
        let path = store.dir(FILES).expect("a cache").join(digest.to_string());
        fs::write(&path, b"hellO").expect("writing");
        assert_eq!(store.load(&digest), None);
        assert!(store.get(&digest).is_none() && !path.exists(), "a damaged file is removed");
        let elsewhere = dir.path().join("elsewhere");
        fs::write(&elsewhere, b"hello").expect("writing");
        std::os::unix::fs::symlink(&elsewhere, &path).expect("linking");
        assert!(store.get(&digest).is_none(), "a symlink is not followed");
        fs::remove_file(&path).expect("removing");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).expect("a pipe");
        assert!(store.get(&digest).is_none(), "a pipe does not block");
        fs::remove_file(&path).expect("removing");
        fs::create_dir(&path).expect("a directory");
        assert!(store.get(&digest).is_none());
        store.keep(&digest, b"hello");
    }

    #[test]
    fn c18_a_change_after_the_check_is_noticed() {
        let (_dir, store) = store();
        let digest = Sha256::of(b"hello");
        store.keep(&digest, b"hello");
        let stored = store.get(&digest).expect("it was kept");
        let path = stored.path.clone().expect("it has a name");
        fs::write(&path, b"hellO").expect("writing in place");
        assert_eq!(stored.read().expect_err("it was changed").kind(), io::ErrorKind::InvalidData);
        let mut reader = stored.open();
        reader.read_exact(&mut [0; 2]).expect("the first bytes");
        assert!(reader.finish().is_err(), "the rest shows it");
        fs::write(&path, b"hell").expect("truncating");
        assert!(stored.read().is_err(), "a file that shrinks is noticed");
    }

    #[test]
    fn c20_an_open_file_survives_cleaning() {
        let (_dir, store) = store();
        let digest = Sha256::of(b"hello");
        store.keep(&digest, b"hello");
        let stored = store.get(&digest).expect("it was kept");
        assert_eq!(store.clean_all().expect("cleaning"), 5);
        assert_eq!(stored.read().expect("reading"), b"hello");
    }

    #[test]
    fn c19_without_a_writable_directory_it_works_and_forgets() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("file");
        fs::write(&file, b"").expect("writing");
        for store in [Store::open(&file.join("cache")), Store::none()] {
            let digest = Sha256::of(b"hello");
            let mut incoming = store.incoming().expect("a place");
            incoming.write_all(b"hello").expect("writing");
            assert_eq!(incoming.finish(&digest).expect("it fits").read().expect("reading"), b"hello");
            assert!(store.get(&digest).is_none());
        }
        assert!(Store::open(&file.join("cache")).warning().is_some());
    }

    #[test]
    fn a_restarted_file_forgets_what_it_had() {
        let (_dir, store) = store();
        let mut incoming = store.incoming().expect("a place");
        incoming.write_all(b"half of ano").expect("writing");
        incoming.restart().expect("restarting");
        incoming.write_all(b"hello").expect("writing");
        assert_eq!(incoming.finish(&Sha256::of(b"hello")).expect("it fits").size_bytes, 5);
    }

    #[test]
    fn trimming_takes_the_longest_unused_first() {
        let (_dir, store) = store();
        let old = SystemTime::now() - Duration::from_secs(10 * 86_400);
        for (text, age) in [("old", true), ("recent", false)] {
            let digest = Sha256::of(text.as_bytes());
            store.keep(&digest, text.as_bytes());
            if age {
                let path = store.locate(&digest, 3).expect("it is there");
                File::options().write(true).open(path).and_then(|file| file.set_modified(old)).expect("setting the time");
            }
        }
        let orphan = store.dir(FILES).expect("a cache").join(".new-x");
        fs::write(&orphan, b"1234").expect("writing");
        assert_eq!(store.trim(None, Some(100)).expect("trimming"), 0, "an orphan may still be written to");
        File::options().write(true).open(&orphan).and_then(|file| file.set_modified(old)).expect("setting the time");
        assert_eq!(store.trim(None, Some(6)).expect("trimming"), 7, "the old file and the orphan");
        assert_eq!(store.usage().expect("counting").files_bytes, 6);
        assert_eq!(store.trim(Some(Duration::ZERO), None).expect("trimming"), 6);
    }

    #[test]
    fn the_usual_place_depends_on_who_asks() {
        let variables = |name: &str| match name {
            "HOME" => Some("/home/u".into()),
            _ => None,
        };
        assert_eq!(Store::default_dir(true, variables), Some("/var/cache/mkinitrd-pkg".into()));
        assert_eq!(Store::default_dir(false, variables), Some("/home/u/.cache/mkinitrd-pkg".into()));
        assert_eq!(Store::default_dir(false, |_| Some("/x".into())), Some("/x/mkinitrd-pkg".into()));
        assert_eq!(Store::default_dir(false, |_| Some("relative".into())), None);
    }
}
