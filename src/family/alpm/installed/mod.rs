//! The packages that are installed on a machine, as pacman's local database has them: read below a root, without a lock and without a wait.
//!
//! Each package has a directory `NAME-VERSION-RELEASE` with `desc` (what it is), `files` (what belongs to it, and the configuration files as
//! they were shipped) and `mtree` (the list that came in the package). Pacman writes a directory's `desc` last when it installs, and removes
//! the directory's files one by one: an entry without `desc` or `files` belongs to a transaction that goes on, and is told apart.

mod machine;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use machine::Machine;

use super::desc::Desc;
use super::mtree::{self, Mtree};
use crate::base::error::{Diagnostic, ErrorKind};
use crate::base::fs::{self, FileError};
use crate::base::limit;
use crate::family::ReadError;
use crate::family::installed::{self, Open};
use crate::format::compress::Format;
use crate::format::compress::decode;

/// Where the database lies below a root, unless pacman.conf says otherwise.
pub const DB_PATH: &str = "var/lib/pacman";
/// The only version of the database that there has been since 2011; libalpm refuses every other.
const VERSION: &[u8] = b"9";
/// A list of files, or of digests when decompressed: that of 500 000 files.
const LIST_BYTES_MAX: u64 = 128 << 20;

/// The database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not what pacman writes.
    #[error("the package database of this machine is damaged: {what}")]
    Damaged {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Somebody else than root can write to it.
    #[error(transparent)]
    Open(#[from] Open),
    /// The entry of a package is being written or taken away, so that nobody knows what is there.
    #[error("transaction in progress: the entry `{0}` in the package database of this machine is not complete")]
    Busy(String),
    /// It has another format.
    #[error("the package database of this machine has version `{found}`, wanted `9`")]
    Version {
        /// The file that says so.
        path: PathBuf,
        /// What it says.
        found: String,
    },
    /// A file of it cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The list of a package cannot be read.
    #[error("the list of files of `{package}` cannot be read")]
    List {
        /// The package.
        package: String,
        /// Where it lies.
        path: PathBuf,
        /// Why.
        #[source]
        source: ReadError,
    },
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
            Error::Damaged { path, .. } | Error::Version { path, .. } | Error::List { path, .. } => {
                Some(path.display().to_string())
            }
            Error::Open(err) => err.place(),
            Error::Busy(_) | Error::File(_) => None,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Error::Open(err) => err.hints(),
            Error::Busy(_) => vec![
                "build again when it is over; `pacman -Syu` finishes one that was interrupted".to_owned(),
                "take all packages from a repository with `--mirror URL`".to_owned(),
            ],
            _ => vec!["look at it with `pacman -Dk`, or take all packages from a repository with `--mirror URL`".to_owned()],
        }
    }
}

/// An installed package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Its name.
    pub name: String,
    /// Its version with epoch and release.
    pub version: String,
    /// Its architecture, or `any`.
    pub arch: String,
    /// What belongs to it, without a leading slash; directories end with a slash.
    pub files: Vec<Vec<u8>>,
    /// Its configuration files with the MD5 of what was shipped, in hexadecimal.
    pub backup: BTreeMap<Vec<u8>, String>,
    /// The text of its entry.
    desc: Vec<u8>,
    /// Its directory in the database.
    dir: PathBuf,
}

/// The database of one machine.
#[derive(Debug)]
pub struct Database {
    packages: BTreeMap<String, Installed>,
    /// Directories of packages that are being installed or removed.
    unfinished: Vec<String>,
}

impl Database {
    /// Reads the database of the machine whose root is `root`; `None` if it has none. `db_path` is what pacman.conf says.
    pub fn open(root: &Path, db_path: Option<&str>) -> Result<Option<Self>, Error> {
        let local = root.join(db_path.map_or(DB_PATH, |path| path.trim_matches('/'))).join("local");
        let paths = fs::list(&local)?;
        if paths.is_empty() {
            return Ok(None);
        }
        check_owner(&local)?;
        let mut database = Self { packages: BTreeMap::new(), unfinished: Vec::new() };
        for path in paths {
            let name = path.file_name().unwrap_or_default().to_owned();
            if name == "ALPM_DB_VERSION" {
                let text = fs::read(&path, limit::TEXT_BYTES_MAX)?;
                if text.trim_ascii() != VERSION {
                    return Err(Error::Version { path, found: text.trim_ascii().escape_ascii().to_string() });
                }
                continue;
            }
            check_owner(&path)?;
            let desc = fs::read_optional(&path.join("desc"), limit::TEXT_BYTES_MAX)?;
            let files = fs::read_optional(&path.join("files"), LIST_BYTES_MAX)?;
            let (Some(desc), Some(files)) = (desc, files) else {
                database.unfinished.push(name.to_string_lossy().into_owned());
                continue;
            };
            let package = read_entry(path, Desc(&desc), Desc(&files))?;
            if let Some(other) = database.packages.insert(package.name.clone(), package) {
                let what = format!("`{}` is there in two versions, one of them {}", other.name, other.version);
                return Err(Error::Damaged { path: other.dir, what });
            }
        }
        Ok(Some(database))
    }

    /// Returns the packages by name.
    pub fn packages(&self) -> impl Iterator<Item = &Installed> {
        self.packages.values()
    }

    /// Returns a package.
    pub fn get(&self, name: &str) -> Option<&Installed> {
        self.packages.get(name)
    }

    /// Returns the entries of a transaction that goes on, or that was interrupted.
    pub fn unfinished(&self) -> &[String] {
        &self.unfinished
    }
}

impl Installed {
    /// Reads the list that came with the package, as it is stored.
    fn raw_list(&self) -> Result<Option<Vec<u8>>, FileError> {
        fs::read_optional(&self.dir.join("mtree"), LIST_BYTES_MAX)
    }

    /// Returns the list that came with the package; `None` if it had none.
    pub fn list(&self) -> Result<Option<Mtree>, Error> {
        let path = self.dir.join("mtree");
        let Some(raw) = self.raw_list()? else { return Ok(None) };
        let text = decode::all(Format::sniff(&raw), &raw, LIST_BYTES_MAX).map_err(ReadError::Io);
        let list = text.and_then(|text| mtree::parse(&text));
        list.map(Some).map_err(|source| Error::List { package: self.name.clone(), path, source })
    }
}

/// Refuses a directory of the database that others than root can write to.
fn check_owner(path: &Path) -> Result<(), Error> {
    let found = std::fs::metadata(path).map_err(FileError::on("look at", path))?;
    Ok(installed::check_owner(path, &found)?)
}

fn read_entry(dir: PathBuf, desc: Desc<'_>, files: Desc<'_>) -> Result<Installed, Error> {
    let field = |name: &'static str| {
        let value = desc.value(name).and_then(|value| std::str::from_utf8(value).ok()).map(str::to_owned);
        value.ok_or_else(|| Error::Damaged { path: dir.join("desc"), what: format!("it has no field `{name}`") })
    };
    let (name, version, arch) = (field("NAME")?, field("VERSION")?, field("ARCH")?);
    if dir.file_name().is_none_or(|found| found.as_encoded_bytes() != format!("{name}-{version}").as_bytes()) {
        let what = format!("its entry says that it is `{name}-{version}`");
        return Err(Error::Damaged { path: dir, what });
    }
    let backup = files.values("BACKUP").filter_map(|line| {
        let tab = line.iter().position(|byte| *byte == b'\t')?;
        Some((line[..tab].to_vec(), String::from_utf8(line[tab + 1..].to_vec()).ok()?))
    });
    Ok(Installed {
        backup: backup.collect(),
        files: files.values("FILES").map(<[u8]>::to_vec).collect(),
        name,
        version,
        arch,
        desc: desc.0.to_vec(),
        dir,
    })
}
