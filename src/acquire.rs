//! Repositories and package files: found, fetched and verified. Behind it, every byte is one that a signature covers.
//!
//! ```no_run
//! use std::path::Path;
//! use std::time::SystemTime;
//! use mkinitrd_pkg::acquire::{self, World};
//! use mkinitrd_pkg::family::repo::{self, Target};
//! use mkinitrd_pkg::host::apt;
//! use mkinitrd_pkg::report::Silent;
//! use mkinitrd_pkg::store::Store;
//! use mkinitrd_pkg::store::fetch::{Fetcher, Patience};
//!
//! let components = vec!["main".to_owned()];
//! // Where from: `--repo` values, a mirror, or the machine's own sources.
//! let target = Target { family: "deb", release: "trixie", components: &components, arch: "amd64" };
//! let mut specs = repo::specs("/srv/repo", &target, Path::new("/"))?;
//! let own = acquire::host_sources(Path::new("/"), "debian", &target)?;
//! specs.extend(own.map(|own| own.specs).unwrap_or_default());
//!
//! let store = Store::open(Path::new("/var/cache/mkinitrd-pkg"));
//! let fetcher = Fetcher::new(false, Patience::default(), |name| std::env::var(name).ok())?;
//! let world = World::new(&store, &fetcher, Path::new("/"), "debian", SystemTime::now(), &Silent);
//!
//! let repositories = acquire::repositories(&specs, &world)?;
//! for index in repositories.iter().flat_map(|repository| &repository.indexes) {
//!     // index.bytes is a verified `Packages`; index.label and index.base go to its parser.
//! }
//! let packages: Vec<mkinitrd_pkg::package::Package> = Vec::new(); // what the plan chose
//! for blob in acquire::acquire(&packages.iter().collect::<Vec<_>>(), &world)? {
//!     let Some(mut reader) = blob.open() else { continue };
//!     // … Family::read(&mut reader, …), then:
//!     reader.finish()?;
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod known;
mod machine;
mod prove;
mod sources;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::SystemTime;

pub use known::repositories as known_repositories;
pub use machine::{Machine, database};
pub use prove::SealError;
pub use sources::{HostSources, host_sources};

use crate::base::date::Seconds;
use crate::base::digest::Sha256;
use crate::base::error::{Diagnostic, ErrorKind};
use crate::base::fs::{self, FileError};
use crate::base::limit;
use crate::base::trust::{KeyRef, RsaSignature, Seen, SignedBy, Signer, hide_password};
use crate::family::alpm::trust;
use crate::family::door::{Door, DoorError};
use crate::family::installed::{Remedy, Unfit};
use crate::family::repo::{self, Options, Repository, Spec};
use crate::family::{InstalledFiles, ReadError};
use crate::host::{apk, apt, dnf, pacman};
use crate::package::{Location, Package};
use crate::report::{Event, Reporter, Stage};
use crate::store::fetch::{FetchError, Fetcher};
use crate::store::keyring::{Keyring, KeyringError};
use crate::store::rsa::{RsaError, verify as judge_rsa};
use crate::store::state::Listed;
use crate::store::{self, Store, Stored, Unusable, VerifiedReader, shipped};
use crate::tree::TreePath;

/// Downloads at the same time. More do not make a mirror faster, and annoy it.
const JOBS: usize = 6;

/// Something cannot be had, or not be believed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A repository cannot be used.
    #[error(transparent)]
    Repository(#[from] repo::Error),
    /// The machine's own sources cannot be read.
    #[error("cannot read the package sources of this machine")]
    Sources(#[source] FileError),
    /// A package file cannot be fetched.
    #[error("cannot get the package `{package}`")]
    Package {
        /// Name and version.
        package: String,
        /// Why.
        #[source]
        source: FetchError,
    },
    /// The file of a local repository is not the one that its index lists.
    #[error("the file of `{package}` is not the one that the index lists")]
    Differs {
        /// Name and version.
        package: String,
        /// The file.
        path: PathBuf,
        /// The digest listed.
        wanted: Sha256,
    },
    /// The file is not the one that the index lists by something else than a SHA-256 digest.
    #[error("the file of `{package}` is not the one that the index lists")]
    Unproved {
        /// Name and version.
        package: String,
        /// Where the file came from.
        place: String,
        /// How it differs.
        #[source]
        source: ReadError,
    },
    /// Its index tells the file from others by MD5 alone.
    #[error("all that the index says of the file of `{package}` is `{proof}`, and anybody can make another file of that digest")]
    Weak {
        /// Name and version.
        package: String,
        /// What the index says.
        proof: String,
    },
    /// The signature that the package must have itself is missing or does not count.
    #[error("the package `{package}` cannot be trusted")]
    Seal {
        /// Name and version.
        package: String,
        /// Where the file came from.
        place: String,
        /// Why.
        #[source]
        source: Box<SealError>,
    },
    /// The file of a local repository is not there, or no file.
    #[error("the file of `{package}` is not there")]
    Absent {
        /// Name and version.
        package: String,
        /// The file.
        path: PathBuf,
    },
    /// The package manager of this machine is at work.
    #[error("transaction in progress: `{package}` is not whole on this machine, and there is no other source of it")]
    Transaction {
        /// Name and version.
        package: String,
        /// What shows it.
        #[source]
        because: Box<Unfit>,
        /// What the package manager has against it.
        remedy: Remedy,
    },
    /// Somebody changed what a package installed.
    #[error("`{path}` of the installed `{package}` was changed, and there is no other source of it")]
    Altered {
        /// The name of the package.
        package: String,
        /// The file.
        path: TreePath,
        /// How.
        #[source]
        because: Box<Unfit>,
        /// What the package manager has against it.
        remedy: Remedy,
    },
    /// An installed package cannot be read.
    #[error("the installed `{package}` cannot be used, and there is no other source of it")]
    Unfit {
        /// Name and version.
        package: String,
        /// Why not.
        #[source]
        because: Box<Unfit>,
    },
}

impl Diagnostic for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Unfit { because, .. } => match &**because {
                Unfit::Database(err) => err.kind(),
                _ => ErrorKind::Host,
            },
            Error::Transaction { .. } | Error::Altered { .. } => ErrorKind::Host,
            Error::Repository(err) => err.kind(),
            Error::Sources(_) => ErrorKind::Host,
            Error::Package { source, .. } => source.kind(),
            Error::Differs { .. } | Error::Unproved { .. } | Error::Weak { .. } => ErrorKind::Untrusted,
            Error::Seal { source, .. } => source.kind(),
            Error::Absent { .. } => ErrorKind::Unavailable,
        }
    }

    fn place(&self) -> Option<String> {
        match self {
            Error::Repository(err) => err.place(),
            Error::Differs { path, .. } | Error::Absent { path, .. } => Some(path.display().to_string()),
            Error::Unfit { because, .. } => match &**because {
                Unfit::Database(err) => err.place(),
                _ => None,
            },
            Error::Unproved { place, .. } | Error::Seal { place, .. } => Some(place.clone()),
            Error::Sources(_)
            | Error::Weak { .. }
            | Error::Package { .. }
            | Error::Transaction { .. }
            | Error::Altered { .. } => None,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Error::Repository(err) => err.hints(),
            Error::Package { source, .. } if source.is_absent() => {
                vec!["the mirror has a newer version: run again to read its indexes anew".to_owned()]
            }
            Error::Package { source, .. } => source.hints(),
            Error::Differs { .. } | Error::Absent { .. } => vec!["make the index of the repository anew".to_owned()],
            Error::Unproved { place, .. } if place.contains("://") => {
                vec!["try again later, or another mirror with `--mirror URL`".to_owned()]
            }
            Error::Unproved { .. } => vec!["make the index of the repository anew".to_owned()],
            Error::Weak { .. } => vec!["take it from another repository; `--no-verify` takes it as it is".to_owned()],
            Error::Seal { source, .. } => source.hints(),
            Error::Sources(_) => vec!["name a mirror with `--mirror URL`".to_owned()],
            Error::Transaction { remedy, .. } => vec![
                format!("build again when it is over; `{}` finishes one that was interrupted", remedy.finish),
                "take all packages from an archive with `--mirror URL`".to_owned(),
            ],
            Error::Altered { package, remedy, .. } => vec![
                format!("put it back with `{}`", remedy.restore.replace("{}", package)),
                format!("`{}` shows all that was changed", remedy.verify.replace("{}", package)),
            ],
            Error::Unfit { because, .. } => match &**because {
                Unfit::Database(err) => err.hints(),
                _ => vec!["take all packages from an archive with `--mirror URL`".to_owned()],
            },
        }
    }
}

/// All that fetching and verifying needs of the machine.
pub struct World<'a> {
    store: &'a Store,
    fetcher: &'a Fetcher,
    root: PathBuf,
    distro: String,
    now: SystemTime,
    reporter: &'a dyn Reporter,
    /// Whether signatures are checked (default); `--no-verify` clears it.
    pub verify: bool,
    /// The machine's own packages, where they count.
    pub machine: Option<&'a Machine>,
    default_keys: OnceLock<Keyring>,
    shipped_keys: OnceLock<Keyring>,
    /// Whose signatures vouch for the indexes that were read, by the names of these.
    signers: Mutex<BTreeMap<String, String>>,
    /// The keys that may sign packages, as they were read.
    keyrings: Mutex<Vec<(SignedBy, Arc<Keyring>)>>,
    /// Lists of all files are read with the indexes.
    reads_files: AtomicBool,
}

impl<'a> World<'a> {
    /// Returns the world of a machine whose root is `root`, building for `distro` (`debian`), at the time `now`.
    pub fn new(
        store: &'a Store,
        fetcher: &'a Fetcher,
        root: &Path,
        distro: &str,
        now: SystemTime,
        reporter: &'a dyn Reporter,
    ) -> Self {
        Self {
            store,
            fetcher,
            root: root.to_owned(),
            distro: distro.to_owned(),
            now,
            reporter,
            verify: true,
            machine: None,
            default_keys: OnceLock::new(),
            shipped_keys: OnceLock::new(),
            signers: Mutex::default(),
            keyrings: Mutex::default(),
            reads_files: AtomicBool::new(false),
        }
    }

    /// From now on lists of all files are read with the indexes; tells whether they were not before.
    pub fn read_files(&self) -> bool {
        !self.reads_files.swap(true, Ordering::Relaxed)
    }

    fn warning(&self, message: &str) {
        self.reporter.event(&Event::Warning { stage: Stage::Acquire, message });
    }

    fn detail(&self, message: &str) {
        self.reporter.event(&Event::Detail { stage: Stage::Acquire, message });
    }

    /// Notes whose signature was found over the indexes of a repository.
    fn note_signer(&self, repository: &Repository) {
        let Some(signer) = &repository.signer else { return };
        let mut signers = self.signers.lock().expect("invariant: no thread panics with the lock");
        signers.extend(repository.indexes.iter().map(|index| (index.label.clone(), signer.fingerprint.clone())));
    }

    /// What a signed index said of a package, and by whose word.
    fn by_word(&self, package: Package) -> Listed {
        let signers = self.signers.lock().expect("invariant: no thread panics with the lock");
        Listed { key: signers.get(&package.repo).cloned(), package }
    }

    fn options(&self) -> Options {
        let since = self.now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = Seconds::try_from(since.as_secs()).unwrap_or(Seconds::MAX);
        Options {
            verify: self.verify,
            offline: self.fetcher.is_offline(),
            expired: false,
            files: self.reads_files.load(Ordering::Relaxed),
            now,
        }
    }

    /// The keys that the machine trusts for every repository, and the distribution's archive keys if it has them.
    fn default_keys(&self) -> &Keyring {
        self.default_keys.get_or_init(|| {
            let mut keyring = Keyring::new();
            let trusted = apt::trusted_keyrings(&self.root).unwrap_or_default();
            for path in apt::archive_keyrings(&self.root, &self.distro).into_iter().chain(trusted) {
                if let Err(err) = keyring.add_file(&self.root, &path) {
                    self.warning(&format!("the keyring `{}` is passed over: {err}", path.display()));
                }
            }
            keyring
        })
    }

    /// The keys that we carry, for the distribution that they are of: they are no word on another's repositories.
    fn shipped_keys(&self) -> &Keyring {
        self.shipped_keys.get_or_init(|| {
            let keyring = Keyring::shipped(&self.distro);
            match shipped::of(&self.distro).find_map(|keys| keys.lists) {
                Some((main, revoked)) => keyring.endorsed(&trust::trusted(main), &trust::revoked(revoked), self.now),
                None => keyring,
            }
        })
    }

    /// The keys that may sign a repository, and only those.
    fn keyring(&self, signed_by: &SignedBy) -> Result<Keyring, KeyringError> {
        let mut keyring = Keyring::new();
        if signed_by.keys.is_empty() {
            keyring.append(self.default_keys());
        }
        for key in &signed_by.keys {
            match key {
                KeyRef::File(path) => match keyring.add_file(&self.root, path) {
                    // Sources of another machine's kind: the keys that we carry are the same.
                    Err(KeyringError::File(err)) if signed_by.shipped && err.is_absent() => {}
                    outcome => outcome?,
                },
                KeyRef::Fingerprint(fingerprint) => keyring.append(&self.default_keys().only(fingerprint)?),
                KeyRef::Endorsed(dir) => keyring.append(&self.endorsed(dir, false)?),
                KeyRef::Every(dir) => keyring.append(&self.endorsed(dir, true)?),
                KeyRef::Block(text) => keyring.add(text.as_bytes(), "the key in the sources file")?,
            }
        }
        Ok(keyring)
    }

    /// Returns where a key of this name may lie: the files named, or the directories that apk looks into.
    fn rsa_keys(&self, signed_by: &SignedBy, name: &str) -> Vec<PathBuf> {
        if signed_by.keys.is_empty() {
            return ["etc/apk/keys", "usr/share/apk/keys"].iter().map(|dir| self.root.join(dir).join(name)).collect();
        }
        let files = signed_by.keys.iter().filter_map(|key| match key {
            KeyRef::File(path) if path.file_name().is_some_and(|file| file == name) => Some(path.clone()),
            KeyRef::File(path) if path.is_dir() => Some(path.join(name)),
            _ => None,
        });
        files.collect()
    }
}

impl World<'_> {
    /// The keys that pacman-key would trust of the keyrings in a directory, or `every` one that is not revoked; none if there is no such
    /// directory.
    fn endorsed(&self, dir: &Path, every: bool) -> Result<Keyring, KeyringError> {
        let mut all = Keyring::new();
        let here = self.root.join(dir.strip_prefix("/").unwrap_or(dir));
        for path in fs::list(&here)?.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "gpg")) {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let text = |list: &str| fs::read_optional(&here.join(format!("{stem}-{list}")), limit::TEXT_BYTES_MAX);
            let Some(main) = text("trusted")? else { continue };
            let revoked = text("revoked")?.unwrap_or_default();
            let mut keyring = Keyring::new();
            keyring.add_file(&self.root, &dir.join(path.file_name().unwrap_or_default()))?;
            let main = trust::trusted(&String::from_utf8_lossy(&main));
            let revoked = trust::revoked(&String::from_utf8_lossy(&revoked));
            all.append(&match every {
                true => keyring.without(&revoked),
                false => keyring.endorsed(&main, &revoked, self.now),
            });
        }
        Ok(all)
    }
}

impl Door for World<'_> {
    fn fetch(&self, from: &Location, size_bytes_max: u64) -> Result<Option<Vec<u8>>, DoorError> {
        match self.fetcher.fetch(from, size_bytes_max) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(err) if err.is_absent() => Ok(None),
            Err(err) => Err(DoorError::new(err)),
        }
    }

    fn fetch_exact(&self, from: &Location, sha256: &Sha256, size_bytes: u64) -> Result<Option<Vec<u8>>, DoorError> {
        let incoming = Store::none().incoming().map_err(|err| DoorError::new(FetchError::from(err)))?;
        match self.fetcher.fetch_exact(from, sha256, size_bytes, incoming) {
            Ok(stored) => stored
                .read()
                .map(Some)
                .map_err(|err| DoorError::new(FetchError::from(FileError::on("read", "a temporary file")(err)))),
            Err(err) if err.is_absent() => Ok(None),
            Err(err) => {
                let differs = matches!(err, FetchError::Differs { .. } | FetchError::Large { .. } | FetchError::Short { .. });
                Err(DoorError { error: Box::new(err), differs })
            }
        }
    }

    fn cached(&self, sha256: &Sha256) -> Option<Vec<u8>> {
        self.store.load(sha256)
    }

    fn keep(&self, sha256: &Sha256, bytes: &[u8]) {
        self.store.keep(sha256, bytes);
    }

    fn verify(&self, signed_by: &SignedBy, data: &[u8], signature: &[u8]) -> Result<Signer, DoorError> {
        prove::judged(signed_by, &mut |keyring| keyring.verify(data, signature, self.now), self)
    }

    fn verify_rsa(&self, signed_by: &SignedBy, data: &[u8], signature: &RsaSignature) -> Result<Signer, DoorError> {
        let name = &signature.key;
        let unknown = || DoorError::new(RsaError::Unknown(name.clone()));
        // The name comes from the file that is being judged: it must not lead anywhere.
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) || name.len() > limit::NAME_BYTES_MAX {
            return Err(unknown());
        }
        let judge = |pem: &[u8], file: String| {
            let key = judge_rsa(name, pem, signature.hash, data, &signature.bytes).map_err(DoorError::new)?;
            Ok(Signer { fingerprint: key.clone(), key, file })
        };
        for path in self.rsa_keys(signed_by, name) {
            if let Some(pem) = fs::read_optional(&path, limit::KEY_BYTES_MAX).map_err(DoorError::new)? {
                return judge(&pem, path.display().to_string());
            }
        }
        match shipped::rsa(&self.distro, name).filter(|_| signed_by.shipped) {
            Some(pem) => judge(pem, shipped::place(name)),
            None => Err(unknown()),
        }
    }

    fn seen(&self, repository: &str) -> Option<Seen> {
        self.store.seen(repository)
    }

    fn remember(&self, seen: &Seen) {
        if let Err(err) = self.store.remember(seen) {
            self.warning(&format!("what was seen of `{}` is not remembered: {err}", seen.repository));
        }
    }

    fn names(&self, dir: &Path) -> Vec<String> {
        let paths = crate::base::fs::list(dir).unwrap_or_default();
        paths.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect()
    }

    fn warn(&self, message: &str) {
        self.warning(message);
    }
}

/// Warns of what makes the metadata of repositories worth less, or slower to read.
fn warn(specs: &[Spec], world: &World<'_>) {
    if let Some(warning) = world.store.warning() {
        world.warning(warning);
    }
    if !world.verify && !specs.is_empty() {
        world.warning("signatures are not verified: `--no-verify` was given");
    }
    for spec in specs.iter().filter(|spec| spec.is_trusted() && world.verify) {
        world.warning(&format!("`trusted=yes` at {} does not count: only `--no-verify` skips signatures", spec.source()));
    }
}

/// Opens repositories, several at a time: the result is in the order of `specs`.
pub fn repositories(specs: &[Spec], world: &World<'_>) -> Result<Vec<Repository>, Error> {
    let options = world.options();
    // When lists of all files are read as well, all of this was said before.
    if !options.files {
        warn(specs, world);
    }
    let open = |spec: &Spec| {
        let repository = match spec.open(world, &options) {
            Err(err) if spec.is_optional() && err.kind() == ErrorKind::Unavailable => {
                world
                    .warning(&format!("`{spec}` is passed over, as its `skip_if_unavailable` says: {}", known::with_cause(&err)));
                return Ok(None);
            }
            // What the machine's own package manager has fetched is as good, once it is verified.
            Err(err) if options.offline && err.kind() == ErrorKind::Unavailable && !matches!(spec, Spec::Deb(_)) => {
                match known::repositories(std::slice::from_ref(spec), world).pop() {
                    Some(repository) => repository,
                    None => return Err(err.into()),
                }
            }
            outcome => outcome?,
        };
        world.note_signer(&repository);
        match &repository.signer {
            Some(signer) => world.detail(&format!("`{spec}` was signed by {} of {}", signer.fingerprint, signer.file)),
            None if repository.indexes.iter().any(|index| index.seals.is_some()) => {
                world.detail(&format!("`{spec}` is not signed itself: each of its packages must be"));
            }
            None => world.detail(&format!("`{spec}` was taken without a signature")),
        }
        Ok(Some(repository))
    };
    Ok(in_parallel(specs, open, |_, _| {})?.into_iter().flatten().collect())
}

/// Where the bytes of a package were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In our own cache.
    Cache,
    /// Among the packages that apt downloaded.
    HostCache(PathBuf),
    /// In a local repository.
    Local(PathBuf),
    /// On a mirror.
    Mirror(String),
    /// Installed on this machine.
    Installed,
}

/// A package file, verified; or what of an installed package is wanted, verified and in memory.
#[derive(Debug, Clone)]
pub struct Blob {
    /// Its digest.
    pub sha256: Sha256,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Where it was found.
    pub origin: Origin,
    /// What the package is known as from now on, where that is other than what was asked for: what a signed index says of an installed one
    /// whose file was found elsewhere, or the digest of a file that was proved otherwise.
    pub listed: Option<Box<Package>>,
    /// Fingerprint of the key that signed the index which says that of an installed package.
    pub key: Option<String>,
    bytes: Bytes,
}

#[derive(Debug, Clone)]
enum Bytes {
    File(Stored),
    Installed(Arc<InstalledFiles>),
}

impl Blob {
    fn file(stored: Stored, origin: Origin) -> Self {
        Self { sha256: stored.sha256, size_bytes: stored.size_bytes, origin, listed: None, key: None, bytes: Bytes::File(stored) }
    }

    /// Returns a reader of the package file from its first byte on; nothing for an installed package, which has none. It hashes what it
    /// gives: call [`VerifiedReader::finish`] when done with it, before anything that was read is relied upon.
    pub fn open(&self) -> Option<VerifiedReader> {
        match &self.bytes {
            Bytes::File(stored) => Some(stored.open()),
            Bytes::Installed(_) => None,
        }
    }

    /// Returns the files of an installed package.
    pub fn installed(&self) -> Option<&InstalledFiles> {
        match &self.bytes {
            Bytes::File(_) => None,
            Bytes::Installed(files) => Some(files),
        }
    }

    fn stored(&self) -> Option<&Stored> {
        match &self.bytes {
            Bytes::File(stored) => Some(stored),
            Bytes::Installed(_) => None,
        }
    }

    /// Returns where it lies on this machine, if it has a name.
    pub fn path(&self) -> Option<&Path> {
        match &self.bytes {
            Bytes::File(stored) => stored.path.as_deref(),
            Bytes::Installed(_) => None,
        }
    }
}

/// Decides which paths of an installed package are read, as they stand in its list.
pub type Keep<'a> = dyn Fn(&TreePath) -> bool + Sync + 'a;

/// A package whose files are wanted.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// The package.
    pub package: &'a Package,
    /// Which of its files, if it is taken as it is installed. A package file is had as a whole.
    pub keep: &'a Keep<'a>,
}

/// Gets the files of packages, in their order: from the cache, from apt's, from a local repository, from the mirror.
pub fn acquire(wanted: &[&Package], world: &World<'_>) -> Result<Vec<Blob>, Error> {
    let all = |_: &TreePath| true;
    let wanted: Vec<Wanted<'_>> = wanted.iter().map(|package| Wanted { package, keep: &all }).collect();
    acquire_wanted(&wanted, world)
}

/// Like [`acquire`]; of packages that are installed on this machine, and in no cache, only what is wanted is read.
pub fn acquire_wanted(wanted: &[Wanted<'_>], world: &World<'_>) -> Result<Vec<Blob>, Error> {
    // Each file stays open until it is unpacked: what was verified is what is read.
    store::allow_open_files(wanted.len() as u64 + 256);
    let total_bytes = wanted.iter().map(|wanted| wanted.package.size_bytes).sum::<u64>();
    let done_bytes = std::sync::atomic::AtomicU64::new(0);
    let blobs = in_parallel(
        wanted,
        |wanted| match (&wanted.package.location, world.machine) {
            (Location::Installed, Some(machine)) => machine::get_installed(wanted, machine, world),
            _ => get(wanted.package, world),
        },
        |wanted, _| {
            let done = done_bytes.fetch_add(wanted.package.size_bytes, Ordering::Relaxed) + wanted.package.size_bytes;
            let item = wanted.package.name.as_str();
            world.reporter.event(&Event::Progress { stage: Stage::Acquire, done, total: total_bytes, item });
        },
    )?;
    if let Some(machine) = world.machine {
        machine::check_again(wanted, &blobs, machine, world)?;
    }
    Ok(blobs)
}

/// Gets a package file that an index lists, and proves it: by what the index says, and by the signature that it must have itself.
fn get(package: &Package, world: &World<'_>) -> Result<Blob, Error> {
    let blob = match &package.proof {
        Some(proof) => prove::get(package, proof, world)?,
        None => get_exact(package, world)?,
    };
    prove::check_seal(package, &blob, world)?;
    Ok(blob)
}

/// Gets a package file whose SHA-256 digest an index lists.
fn get_exact(package: &Package, world: &World<'_>) -> Result<Blob, Error> {
    let failed = |source| Error::Package { package: package.to_string(), source };
    if let Some(blob) = cached(package, world) {
        remember(package, world);
        return Ok(blob);
    }
    match &package.location {
        Location::File(path) => {
            // Pools of links are usual in local repositories; what they lead to is verified.
            let real = path.canonicalize().unwrap_or_else(|_| path.clone());
            match store::open_verified(&real, &package.sha256, Some(package.size_bytes)) {
                Ok(stored) => Ok(Blob::file(stored, Origin::Local(path.clone()))),
                Err(Unusable::Differs) => {
                    Err(Error::Differs { package: package.to_string(), path: path.clone(), wanted: package.sha256 })
                }
                Err(Unusable::Absent | Unusable::NotAFile) => {
                    Err(Error::Absent { package: package.to_string(), path: path.clone() })
                }
            }
        }
        Location::Url(url) => {
            let incoming = world.store.incoming().map_err(|err| failed(err.into()))?;
            let fetched = world.fetcher.fetch_exact(&package.location, &package.sha256, package.size_bytes, incoming);
            let blob = Blob::file(fetched.map_err(failed)?, Origin::Mirror(hide_password(url)));
            remember(package, world);
            Ok(blob)
        }
        Location::Installed => {
            let because = Box::new(Unfit::Gone { wanted: package.version.clone() });
            Err(Error::Unfit { package: package.to_string(), because })
        }
    }
}

/// Looks for a package file in our cache and in that of the machine's package manager.
fn cached(package: &Package, world: &World<'_>) -> Option<Blob> {
    if let Some(stored) = world.store.get(&package.sha256).filter(|stored| stored.size_bytes == package.size_bytes) {
        return Some(Blob::file(stored, Origin::Cache));
    }
    for archived in archives(package, world) {
        match store::open_verified(&archived, &package.sha256, Some(package.size_bytes)) {
            Ok(stored) => return Some(Blob::file(stored, Origin::HostCache(archived))),
            Err(Unusable::Differs) => world.detail(&format!("`{}` is not the file that the index lists", archived.display())),
            Err(Unusable::Absent | Unusable::NotAFile) => {}
        }
    }
    None
}

/// Returns where the machine's package manager may keep a package that it downloaded.
fn archives(package: &Package, world: &World<'_>) -> Vec<PathBuf> {
    if let Some(proof) = package.proof.as_deref().filter(|proof| proof.starts_with('Q')) {
        return apk::archived(&world.root, package, proof);
    }
    if let Some(name) = pacman::file_name(package) {
        return sources::pacman_dirs(&world.root).packages.into_iter().map(|dir| dir.join(&name)).collect();
    }
    let mut paths = dnf::archived(&world.root, &package.location, &package.arch);
    paths.push(apt::archived(&world.root, package));
    paths
}

/// Remembers what a signed index says of a package of a distribution's archive.
fn remember(package: &Package, world: &World<'_>) {
    // What its own signature vouches for is not known from a signed index.
    if world.verify && package.seal.is_none() && matches!(package.location, Location::Url(_)) {
        // A cache that cannot be written was told already; without it an index is read again.
        let _ = world.store.remember_listed(&world.distro, &world.by_word(package.clone()));
    }
}

/// Returns where the file of a package lies on this machine, if it does. Nothing is fetched, and nothing verified but the size.
pub fn locate(package: &Package, world: &World<'_>) -> Option<PathBuf> {
    let right = |path: &Path| std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() == package.size_bytes);
    let local = match &package.location {
        Location::File(path) => Some(path.clone()),
        Location::Url(_) => None,
        Location::Installed => return locate(&world.store.listed(&world.distro, package)?.package, world),
    };
    let cached = match &package.proof {
        Some(proof) => world.store.locate_proved(proof, package.size_bytes),
        None => world.store.locate(&package.sha256, package.size_bytes),
    };
    local.filter(|path| right(path)).or(cached).or_else(|| archives(package, world).into_iter().find(|path| right(path)))
}

/// Returns where a package would come from, in a word: `cache`, `installed`, `local` or `mirror`. Nothing is verified.
pub fn source(package: &Package, world: &World<'_>) -> &'static str {
    match (&package.location, locate(package, world)) {
        (Location::File(_), _) => "local",
        (_, Some(_)) => "cache",
        (Location::Installed, None) => "installed",
        (Location::Url(_), None) => "mirror",
    }
}

/// Does `work` for every item on a few threads. After a failure nothing new is begun; the first failure in order is returned.
fn in_parallel<T: Sync, U: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<U, Error> + Sync,
    done: impl Fn(&T, &U) + Sync,
) -> Result<Vec<U>, Error> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..JOBS.min(items.len()) {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { break };
                    let result = work(item);
                    match &result {
                        Ok(value) => done(item, value),
                        Err(_) => failed.store(true, Ordering::Relaxed),
                    }
                    results.lock().expect("invariant: no thread panics with the lock").push((at, result));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("invariant: no thread panics with the lock");
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}
