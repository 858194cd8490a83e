//! The packages that are installed on a machine, as dpkg's database has them: read below a root, without a lock and without a wait.
//!
//! dpkg writes each file of its database under another name and renames it, so that every file is whole whenever it is read; what it
//! changes between two of its checkpoints stands in `updates/NNNN`, entries that replace those of `status`. A transaction that goes on
//! meanwhile shows in three ways, and all are looked for: in the state of a package, in files beside others (`.dpkg-new`), and in a
//! content whose digest is not the recorded one.
//!
//! What is trusted here is that only root can write to the database: a directory or file of it that others can write is refused. Its
//! digests are MD5, which finds what was changed by accident or by a running transaction; against root itself nothing would help.
//! Formats: dpkg(1), deb-md5sums(5), dpkg-divert(1), dpkg-statoverride(1), and `lib/dpkg/dbmodify.c` of dpkg.

mod catalog;
mod files;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

pub use crate::family::installed::Unfit;
pub use catalog::HostCatalog;
pub use status::{Conffile, Entry, State};

use crate::base::digest::{Hasher, Sha256};
use crate::base::error::{Diagnostic, ErrorKind};
use crate::base::fs::FileError;
use crate::family::InstalledFiles;
use crate::family::installed::{self, Installed, LABEL, Open, Remedy, Root, Wanted};
use crate::family::repo::{self, Index};
use crate::package::{Catalog, Location, Package};

/// The database as a whole cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of it is not what dpkg writes.
    #[error("the package database of this machine is damaged: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1; 0 for the file as a whole.
        line: usize,
        /// What is wrong.
        what: String,
    },
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
            Error::Damaged { .. } | Error::File(_) => ErrorKind::Host,
        }
    }

    fn place(&self) -> Option<String> {
        match self {
            Error::Damaged { path, line: 0, .. } => Some(path.display().to_string()),
            Error::Damaged { path, line, .. } => Some(format!("{}:{line}", path.display())),
            Error::Open(err) => err.place(),
            Error::File(_) => None,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Error::Damaged { .. } => vec![
                "restore it from `/var/lib/dpkg/status-old` or `/var/backups`, and look at the disk".to_owned(),
                "take all packages from an archive with `--mirror URL`".to_owned(),
            ],
            Error::Open(err) => err.hints(),
            Error::File(_) => vec!["take all packages from an archive with `--mirror URL`".to_owned()],
        }
    }
}

/// Where a file lies that another package, or the administrator, has made room for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Diversion {
    to: Vec<u8>,
    /// The package whose own file stays where it is; nobody's for the administrator's diversions.
    by: Vec<u8>,
}

/// The database of one machine, for one architecture.
#[derive(Debug)]
pub struct Database {
    root: Root,
    admin: PathBuf,
    /// Where the machine's root lies.
    at: PathBuf,
    arch: String,
    entries: BTreeMap<String, Entry>,
    diversions: BTreeMap<Vec<u8>, Diversion>,
    overrides: BTreeSet<Vec<u8>>,
    /// Entries in `updates`: dpkg works, or was interrupted.
    journal: usize,
    stamp: status::Stamp,
}

impl Database {
    /// Reads the database of the machine whose root is `root`, as far as it is about `arch` and `all`; `None` if it has none.
    pub fn open(root: &Path, arch: &str) -> Result<Option<Self>, Error> {
        let admin = root.join("var/lib/dpkg");
        let Some((texts, stamp)) = status::read(&admin)? else { return Ok(None) };
        let journal = texts.len() - 1;
        let mut entries = BTreeMap::new();
        for (path, text) in &texts {
            status::parse(path, text, arch, &mut entries)?;
        }
        if texts[0].1.trim_ascii().is_empty() && !status::names(&admin.join("info"))?.is_empty() {
            let what = "it is empty, and packages are installed".to_owned();
            return Err(Error::Damaged { path: admin.join("status"), line: 0, what });
        }
        let mut database = Self {
            root: Root::open(root)?,
            at: root.to_owned(),
            arch: arch.to_owned(),
            entries,
            diversions: BTreeMap::new(),
            overrides: BTreeSet::new(),
            journal,
            stamp,
            admin,
        };
        database.diversions = database.read_diversions()?;
        database.overrides = database.read_overrides()?;
        Ok(Some(database))
    }

    /// Returns a package that is on the machine, whole or not.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// Returns how many packages there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Tells whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the packages in order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// Returns the packages as an index for a catalog.
    pub fn index(&self) -> Index {
        let mut text = Vec::new();
        for entry in self.entries.values() {
            text.extend_from_slice(&entry.paragraph);
            text.push(b'\n');
        }
        Index::new(LABEL, Location::Installed, text)
    }

    /// Returns what shows that dpkg works at this moment, or was interrupted: a sentence.
    pub fn transaction(&self) -> Option<String> {
        if self.journal > 0 {
            return Some(format!("dpkg has not finished: there are {} entries in its journal", self.journal));
        }
        self.iter().find_map(|(name, entry)| match &entry.state {
            State::Whole => None,
            State::Broken(state) => Some(format!("`{name}` is {state}")),
        })
    }

    /// Tells whether dpkg has written to the database since it was read. Cheap.
    pub fn has_changed(&self) -> bool {
        status::stamp(&self.admin).ok() != Some(self.stamp.clone())
    }

    /// Returns what identifies an installed package: a digest over who it is and which files with which contents it has. It says
    /// nothing of this machine: what was installed elsewhere from the same package file has the same.
    pub fn digest(&self, name: &str) -> Result<Sha256, Error> {
        let mut hasher = Hasher::new();
        let Some(entry) = self.get(name) else { return Ok(hasher.finish()) };
        for field in [&entry.name, &entry.version, &entry.arch] {
            hasher.field(field.as_bytes());
        }
        hasher.field(&self.info(entry, "list")?.unwrap_or_default());
        hasher.field(&self.info(entry, "md5sums")?.unwrap_or_default());
        for conffile in &entry.conffiles {
            hasher.field(&conffile.path);
            hasher.field(&conffile.md5);
        }
        Ok(hasher.finish())
    }

    /// Reads `info/NAME.KIND`, or `info/NAME:ARCH.KIND` as it is called where a package can be there for several architectures.
    fn info(&self, entry: &Entry, kind: &str) -> Result<Option<Vec<u8>>, Error> {
        let plain = format!("info/{}.{kind}", entry.name);
        let with_arch = format!("info/{}:{}.{kind}", entry.name, entry.arch);
        let names = if entry.is_multi_arch_same { [with_arch, plain] } else { [plain, with_arch] };
        for name in names {
            if let Some(bytes) = status::read_file(&self.admin.join(name))? {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// Reads `diversions`: three lines each, the name, where the file lies instead, and whose own file stays.
    fn read_diversions(&self) -> Result<BTreeMap<Vec<u8>, Diversion>, Error> {
        let path = self.admin.join("diversions");
        let text = status::read_file(&path)?.unwrap_or_default();
        let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
        let (triples, rest) = lines.as_chunks::<3>();
        if rest != [&b""[..]] {
            let what = "its lines do not come in threes".to_owned();
            return Err(Error::Damaged { path, line: lines.len(), what });
        }
        let one = |[from, to, by]: &[&[u8]; 3]| (from.to_vec(), Diversion { to: to.to_vec(), by: by.to_vec() });
        Ok(triples.iter().map(one).collect())
    }

    /// Reads the paths of `statoverride`: `user group mode path` each.
    fn read_overrides(&self) -> Result<BTreeSet<Vec<u8>>, Error> {
        let text = status::read_file(&self.admin.join("statoverride"))?.unwrap_or_default();
        let path = |line: &[u8]| line.splitn(4, |byte| *byte == b' ').nth(3).map(<[u8]>::to_vec);
        Ok(text.split(|byte| *byte == b'\n').filter_map(path).collect())
    }

    /// Returns where a file of a package lies on the machine.
    fn diverted<'a>(&'a self, package: &str, path: &'a [u8]) -> &'a [u8] {
        match self.diversions.get(path) {
            Some(diversion) if diversion.by != package.as_bytes() => &diversion.to,
            _ => path,
        }
    }
}

impl From<Error> for Unfit {
    fn from(err: Error) -> Self {
        Unfit::Database(installed::Error::new(err))
    }
}

impl Installed for Database {
    fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn versions(&self) -> BTreeMap<String, String> {
        self.iter().map(|(name, entry)| (name.to_owned(), entry.version.clone())).collect()
    }

    fn catalog(&self, indexes: Vec<Index>, with_others: bool) -> Result<Box<dyn Catalog + '_>, repo::Error> {
        Ok(Box::new(HostCatalog::new(self, indexes, with_others)?))
    }

    fn files(&self, package: &Package, wanted: &Wanted<'_>) -> Result<InstalledFiles, Unfit> {
        Database::files(self, package, wanted)
    }

    fn check(&self, package: &Package) -> Result<(), Unfit> {
        if let Some(state) = self.get(&package.name).and_then(|entry| entry.state.word()) {
            return Err(Unfit::State(state.to_owned()));
        }
        match self.digest(&package.name)? == package.sha256 {
            true => Ok(()),
            false => Err(Unfit::Gone { wanted: package.version.clone() }),
        }
    }

    fn transaction(&self) -> Option<String> {
        Database::transaction(self)
    }

    fn has_changed(&self) -> bool {
        Database::has_changed(self)
    }

    fn reopen(&self) -> Result<Option<Box<dyn Installed>>, installed::Error> {
        installed::boxed(Self::open(&self.at, &self.arch))
    }

    fn remedy(&self) -> Remedy {
        Remedy { finish: "dpkg --configure -a", restore: "apt-get install --reinstall {}", verify: "dpkg --verify {}" }
    }
}
