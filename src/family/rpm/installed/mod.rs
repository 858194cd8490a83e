//! The packages that are installed on a machine, as rpm's database has them: read below a root, without a lock and without a wait.
//!
//! rpm keeps the header of each package as a blob in a database of SQLite (Fedora, RHEL 9) or of its own (openSUSE, SLE); what else is there
//! are indexes, which can be made anew from the headers. The files are read as a whole, and once more if rpm wrote to them meanwhile. A
//! database of Berkeley DB (RHEL 8 and older) is refused. Why no library does this: docs/decisions/rpmdb.md.
//!
//! What is trusted is that only root can write to the database: one that others can write is refused.

mod machine;
mod ndb;
mod primary;
mod sqlite;

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub use machine::Machine;

use super::header::{Header, tag};
use crate::base::error::{Diagnostic, ErrorKind};
use crate::base::fs::{self, FileError};
use crate::base::limit;
use crate::family::installed::Open;

/// Where the database lies: since Fedora 36, and before.
const DIRS: [&str; 2] = ["usr/lib/sysimage/rpm", "var/lib/rpm"];
/// Bytes of a database. A workstation's with all languages has 300 MB.
const DATABASE_BYTES_MAX: u64 = 2 << 30;
/// How often it is read anew when rpm writes to it meanwhile.
const TRIES: u32 = 5;
/// What a public key is called that was imported; it is no package.
const KEY: &str = "gpg-pubkey";
/// A provide says with which version (`RPMSENSE_EQUAL`).
const IS_EQUAL: u64 = 8;

/// The database as a whole cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is of a kind that is not read.
    #[error("the package database of this machine is of Berkeley DB, which is not read")]
    Old(PathBuf),
    /// It is not what rpm writes.
    #[error("the package database of this machine is damaged: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// rpm wrote to it each time that it was read.
    #[error("transaction in progress: the package database of this machine changes while it is read")]
    Busy(PathBuf),
    /// Somebody else than root can write to it.
    #[error(transparent)]
    Open(#[from] Open),
    /// A file of it cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Diagnostic for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Open(err) => err.kind(),
            _ => ErrorKind::Host,
        }
    }

    fn place(&self) -> Option<String> {
        match self {
            Error::Old(path) | Error::Busy(path) | Error::Damaged { path, .. } => Some(path.display().to_string()),
            Error::Open(err) => err.place(),
            Error::File(_) => None,
        }
    }

    fn hints(&self) -> Vec<String> {
        let elsewhere = || "take all packages from an archive with `--mirror URL`".to_owned();
        match self {
            Error::Old(_) => vec!["`rpmdb --rebuilddb` of rpm 4.16 or later converts it".to_owned(), elsewhere()],
            Error::Damaged { .. } => {
                vec!["`rpmdb --rebuilddb` makes its indexes anew, `rpmdb --verifydb` checks it".to_owned(), elsewhere()]
            }
            Error::Busy(_) => vec!["build again when the transaction is over".to_owned(), elsewhere()],
            Error::Open(err) => err.hints(),
            Error::File(_) => vec![elsewhere()],
        }
    }
}

/// An installed package.
#[derive(Debug)]
pub struct Installed {
    /// Its name.
    pub name: String,
    /// `epoch:version-release`, an epoch of zero left out.
    pub version: String,
    /// Its architecture.
    pub arch: String,
    /// The version of `system-release(releasever)` and the like that it offers, by name, for what says which release this is.
    releases: BTreeMap<String, String>,
    /// All that it came with.
    header: Header,
}

/// The packages of a machine.
#[derive(Debug)]
pub struct Database {
    packages: Vec<Installed>,
    path: PathBuf,
    stamp: Stamp,
}

/// What shows that somebody has written to a file: of each file its inode, size and times.
type Stamp = Vec<Option<(u64, u64, i64, i64)>>;

/// What dnf asks for to know the release, in its order.
const RELEASES: [&str; 6] = [
    "system-release(releasever)",
    "system-release",
    "distribution-release(releasever)",
    "distribution-release",
    "redhat-release",
    "suse-release",
];

impl Database {
    /// Reads the database of the machine whose root is `root`; `None` if it has none.
    pub fn open(root: &Path) -> Result<Option<Self>, Error> {
        for dir in DIRS.map(|dir| root.join(dir)) {
            // A link that leads out of another machine's root is none of its.
            let leads_out = root != Path::new("/") && std::fs::read_link(&dir).is_ok_and(|to| to.is_absolute());
            if leads_out {
                continue;
            }
            for (name, kind) in [("rpmdb.sqlite", Kind::Sqlite), ("Packages.db", Kind::Ndb)] {
                if dir.join(name).is_file() {
                    return Self::read(&dir.join(name), kind).map(Some);
                }
            }
            if dir.join("Packages").is_file() {
                return Err(Error::Old(dir.join("Packages")));
            }
        }
        Ok(None)
    }

    fn read(path: &Path, kind: Kind) -> Result<Self, Error> {
        let damaged = |what: String| Error::Damaged { path: path.to_owned(), what };
        check_owner(path)?;
        for _ in 0..TRIES {
            let stamp = stamp(path);
            let file = fs::read(path, DATABASE_BYTES_MAX)?;
            let log = fs::read_optional(&beside(path, "-wal"), DATABASE_BYTES_MAX)?.unwrap_or_default();
            let journal = fs::read_optional(&beside(path, "-journal"), DATABASE_BYTES_MAX)?.unwrap_or_default();
            if stamp != self::stamp(path) {
                continue;
            }
            if journal.iter().any(|byte| *byte != 0) {
                return Err(Error::Busy(path.to_owned()));
            }
            let blobs = match kind {
                Kind::Sqlite => sqlite::Sqlite::new(&file, &log).and_then(|database| database.blobs("Packages")),
                Kind::Ndb => ndb::blobs(&file),
            };
            let blobs = blobs.map_err(|what| damaged(what.to_owned()))?;
            if blobs.len() > limit::INDEX_PACKAGES_MAX {
                return Err(damaged("it has more packages than any distribution".to_owned()));
            }
            let packages: Result<Vec<Option<Installed>>, String> = blobs.into_iter().map(|blob| package(&blob)).collect();
            let packages = packages.map_err(damaged)?.into_iter().flatten().collect();
            return Ok(Self { packages, path: path.to_owned(), stamp });
        }
        Err(Error::Busy(path.to_owned()))
    }

    /// Returns the packages in the order in which they were installed.
    pub fn packages(&self) -> &[Installed] {
        &self.packages
    }

    /// Returns the versions of each name; of a kernel there are several.
    pub fn versions(&self) -> BTreeMap<String, Vec<String>> {
        let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for package in &self.packages {
            versions.entry(package.name.clone()).or_default().push(package.version.clone());
        }
        versions
    }

    /// Tells which release the machine runs, as dnf finds it out; nothing if no package says so.
    pub fn release(&self) -> Option<&str> {
        RELEASES.iter().find_map(|name| self.packages.iter().find_map(|package| package.releases.get(*name))).map(String::as_str)
    }

    /// Tells whether rpm has written to the database since it was read. Cheap.
    pub fn has_changed(&self) -> bool {
        stamp(&self.path) != self.stamp
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Sqlite,
    Ndb,
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn stamp(path: &Path) -> Stamp {
    let one = |path: PathBuf| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
    };
    ["", "-wal", "-journal"].into_iter().map(|suffix| one(beside(path, suffix))).collect()
}

/// Refuses what others than root can write to. Whoever is not root, and builds from a root of his own, is its owner.
fn check_owner(path: &Path) -> Result<(), Error> {
    let own = rustix::process::geteuid().as_raw();
    for path in [path.parent().unwrap_or(path), path] {
        let found = std::fs::metadata(path).map_err(FileError::on("look at", path))?;
        let (owner, mode) = (found.uid(), found.mode() & 0o7777);
        if mode & 0o022 != 0 || ![0, own].contains(&owner) {
            return Err(Open { path: path.to_owned(), owner, mode }.into());
        }
    }
    Ok(())
}

/// Reads what is kept of a package: its header without the first bytes that it has in a file. Nothing for an imported key.
fn package(blob: &[u8]) -> Result<Option<Installed>, String> {
    let header = Header::bare(blob).map_err(|err| format!("a package in it cannot be read: {err}"))?;
    let text = |tag| header.text(tag).filter(|text| !text.is_empty());
    let name = text(tag::NAME).ok_or("a package in it has no name")?;
    if name == KEY {
        return Ok(None);
    }
    let part = |tag, what: &str| text(tag).ok_or_else(|| format!("the package `{name}` in it has no {what}"));
    let (version, release) = (part(tag::VERSION, "version")?, part(tag::RELEASE, "release")?);
    let arch = part(tag::ARCH, "architecture")?;
    let epoch = header.number(tag::EPOCH).filter(|epoch| *epoch != 0).map_or_else(String::new, |epoch| format!("{epoch}:"));
    let releases = releases(&header, &name, &version);
    Ok(Some(Installed { version: format!("{epoch}{version}-{release}"), name, arch, releases, header }))
}

/// Returns the releases that a package says this is: a version that goes with the name, or else the package's own.
fn releases(header: &Header, name: &str, version: &str) -> BTreeMap<String, String> {
    let names = header.strings(tag::PROVIDE_NAMES);
    let (flags, versions) = (header.numbers(tag::PROVIDE_FLAGS), header.strings(tag::PROVIDE_VERSIONS));
    let mut releases = BTreeMap::new();
    for (at, offered) in names.iter().enumerate() {
        let Some(known) = RELEASES.iter().find(|known| known.as_bytes() == *offered) else { continue };
        let said = versions.get(at).filter(|said| flags.get(at) == Some(&IS_EQUAL) && !said.is_empty() && name != *known);
        let release = said.map_or_else(|| version.to_owned(), |said| String::from_utf8_lossy(said).into_owned());
        releases.entry((*known).to_owned()).or_insert(release);
    }
    releases
}

impl Header {
    /// Reads a header that has no magic number before it, as in a database.
    fn bare(blob: &[u8]) -> Result<Self, crate::family::ReadError> {
        let mut file = Self::INTRO.chain(blob);
        Self::read(&mut file, "header", 1)
    }
}
