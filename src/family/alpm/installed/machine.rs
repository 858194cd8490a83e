//! What pacman's local database knows of the machine that it is on: packages for a plan, and what each file was when it was shipped.
//!
//! The list of a package (`mtree`) has type, permissions, owner, time and SHA-256 of everything; only which names are one file, and what
//! programs may do beyond their permissions, is known of the disk alone. While `db.lck` is there, a transaction goes on or was interrupted. It
//! is neither waited for nor taken: hooks of pacman run while it is there, and a kernel's is one of them.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{DB_PATH, Database, Error};
use crate::base::checksum::{Checksum, Kind};
use crate::base::digest::{Hasher, Sha256};
use crate::base::fs::{self, FileError};
use crate::family::InstalledFiles;
use crate::family::alpm::desc::Desc;
use crate::family::alpm::index::AlpmCatalog;
use crate::family::alpm::mtree;
use crate::family::alpm::read::is_metadata;
use crate::family::installed::{self, Installed, LABEL, Links, Listed, Owner, Record, Remedy, Root, Shape, Unfit, Wanted};
use crate::family::repo::{self, Index};
use crate::package::{Catalog, Location, Package};
use crate::tree::TreePath;

/// What is there while pacman works.
const LOCK: &str = "db.lck";
/// Fields of an entry that say how it came onto this machine, and not what it is.
const OWN_FIELDS: [&[u8]; 3] = [b"INSTALLDATE", b"REASON", b"VALIDATION"];

/// A machine whose packages pacman has installed.
#[derive(Debug)]
pub struct Machine {
    database: Database,
    root: Root,
    /// Where the machine's root lies.
    at: PathBuf,
    db_path: Option<String>,
    /// Where the database lies.
    dir: PathBuf,
    arch: String,
    is_locked: bool,
    stamp: Stamp,
}

/// What changes when pacman writes: of each package's directory its name, inode and time.
type Stamp = Vec<(PathBuf, u64, i64, i64)>;

impl Machine {
    /// Reads the database of the machine whose root is `root`; `None` if it has none. `db_path` is what pacman.conf says.
    pub fn open(root: &Path, arch: &str, db_path: Option<&str>) -> Result<Option<Self>, Error> {
        let dir = root.join(db_path.map_or(DB_PATH, |path| path.trim_matches('/')));
        // Looked at first: what changes from now on is noticed.
        let stamp = stamp(&dir);
        let Some(database) = Database::open(root, db_path)? else { return Ok(None) };
        let is_locked = dir.join(LOCK).exists();
        let db_path = db_path.map(str::to_owned);
        Ok(Some(Self {
            database,
            root: Root::open(root)?,
            at: root.to_owned(),
            db_path,
            dir,
            arch: arch.to_owned(),
            is_locked,
            stamp,
        }))
    }

    /// Returns what identifies an installed package: a digest over its entry and its lists, without what only this machine says of it.
    fn digest(&self, package: &super::Installed) -> Result<Sha256, FileError> {
        let mut hasher = Hasher::new();
        for field in Desc(&package.desc).fields().filter(|field| !OWN_FIELDS.contains(&field.name)) {
            hasher.field(field.name);
            hasher.field(field.body);
        }
        for (path, md5) in &package.backup {
            hasher.field(path);
            hasher.field(md5.as_bytes());
        }
        hasher.field(&package.raw_list()?.unwrap_or_default());
        Ok(hasher.finish())
    }

    /// Returns the packages as an index for a catalog: their entries, each with the digest in the place of that of a package file.
    fn index(&self) -> Result<Index, FileError> {
        let mut text = Vec::new();
        for package in self.database.packages() {
            for field in Desc(&package.desc).fields().filter(|field| field.name != b"SHA256SUM") {
                // The same number has another name in a repository's database.
                let name = if field.name == b"SIZE" { b"ISIZE" } else { field.name };
                for part in [b"%", name, b"%\n", field.body.trim_ascii_end(), b"\n\n"] {
                    text.extend_from_slice(part);
                }
            }
            text.extend_from_slice(format!("%SHA256SUM%\n{}\n\n\0", self.digest(package)?).as_bytes());
        }
        Ok(Index::new(LABEL, Location::Installed, text))
    }

    /// Returns what the lists of a package know of its paths, in the order of pacman's own list.
    fn listed(&self, package: &super::Installed) -> Result<Vec<Listed>, Unfit> {
        let list = package.list().map_err(|err| Unfit::Database(installed::Error::new(err)))?.ok_or(Unfit::NoList)?;
        let backup: BTreeSet<&[u8]> = package.backup.keys().map(Vec::as_slice).collect();
        let mut all = Vec::new();
        for line in &package.files {
            let path = TreePath::parse(line.strip_suffix(b"/").unwrap_or(line))?;
            if is_metadata(&path) {
                continue;
            }
            let unknown = mtree::Listed::default();
            let known = list.get(&path).unwrap_or(&unknown);
            let shape = match known.kind {
                Some(mtree::Kind::Dir) => Shape::Dir,
                Some(mtree::Kind::File) => Shape::File,
                Some(mtree::Kind::Link) => known.link.clone().map_or(Shape::Unknown, Shape::Symlink),
                Some(mtree::Kind::Other) => Shape::Special,
                None => Shape::Unknown,
            };
            // A file that came in no list of the package has no digest, which the reader refuses; of an old one there is a digest of a
            // configuration file.
            let is_config = backup.contains(line.as_slice());
            let shipped = package.backup.get(line.as_slice()).and_then(|md5| Checksum::parse(Kind::Md5, md5).ok());
            let sum = known.sha256.map(Checksum::from).or(shipped).filter(|_| !matches!(shape, Shape::Symlink(_)));
            let owner = known.mode.zip(known.uid).zip(known.gid).map(|((mode, uid), gid)| Owner { mode, uid, gid });
            // A link's permissions are those of the system that made the package.
            let owner =
                owner.map(|owner| if matches!(shape, Shape::Symlink(_)) { Owner { mode: 0o777, ..owner } } else { owner });
            let mtime_s = known.mtime_s.map(|time| u32::try_from(time.max(0)).unwrap_or(u32::MAX));
            all.push(Listed { shape, owner, mtime_s, sum, is_config, links: Links::Disk, ..Listed::new(path) });
        }
        Ok(all)
    }

    fn find(&self, package: &Package) -> Result<&super::Installed, Unfit> {
        let found = self.database.get(&package.name);
        let found = found.filter(|found| found.version == package.version && found.arch == package.arch);
        found.ok_or_else(|| Unfit::Gone { wanted: package.version.clone() })
    }
}

fn stamp(dir: &Path) -> Stamp {
    let local = dir.join("local");
    // What cannot be listed has changed, too.
    let paths = fs::list(&local).unwrap_or_default();
    let of = |path: PathBuf| {
        let found = std::fs::symlink_metadata(&path).ok()?;
        Some((path, found.ino(), found.mtime(), found.mtime_nsec()))
    };
    std::iter::once(local).chain(paths).filter_map(of).collect()
}

impl From<FileError> for Unfit {
    fn from(err: FileError) -> Self {
        Unfit::Database(installed::Error::new(err))
    }
}

impl Installed for Machine {
    fn is_empty(&self) -> bool {
        self.database.packages().next().is_none()
    }

    fn versions(&self) -> BTreeMap<String, String> {
        self.database.packages().map(|package| (package.name.clone(), package.version.clone())).collect()
    }

    fn catalog(&self, indexes: Vec<Index>, with_others: bool) -> Result<Box<dyn Catalog + '_>, repo::Error> {
        let failed = |err: Error| repo::Error::Installed(installed::Error::new(err));
        // What is not known to be there is not left out either: of an optional package nobody would notice.
        if let Some(entry) = self.database.unfinished().first() {
            return Err(failed(Error::Busy(entry.clone())));
        }
        let own = self.index().map_err(|err| failed(err.into()))?;
        let all = std::iter::once(own).chain(indexes).collect();
        let hide =
            |index: &Index, name: &str| !with_others && index.base != Location::Installed && self.database.get(name).is_some();
        Ok(Box::new(AlpmCatalog::without(&self.arch, all, &hide)?))
    }

    fn files(&self, package: &Package, wanted: &Wanted<'_>) -> Result<InstalledFiles, Unfit> {
        let listed = self.listed(self.find(package)?)?;
        // pacman writes files in their places at once: what is half there has another digest.
        let is_fresh = |_: &Root, _: &[u8]| false;
        Record { root: &self.root, listed, sums_of_links: false, disk_capabilities: true, is_fresh: &is_fresh }.read(wanted)
    }

    fn check(&self, package: &Package) -> Result<(), Unfit> {
        match self.digest(self.find(package)?)? == package.sha256 {
            true => Ok(()),
            false => Err(Unfit::Gone { wanted: package.version.clone() }),
        }
    }

    fn transaction(&self) -> Option<String> {
        match self.database.unfinished() {
            [] if self.is_locked => {
                Some(format!("pacman is at work or was interrupted: `{}` is there", self.dir.join(LOCK).display()))
            }
            [] => None,
            [first, ..] => {
                Some(format!("pacman is at work or was interrupted: the entry `{first}` of its database is not complete"))
            }
        }
    }

    fn has_changed(&self) -> bool {
        stamp(&self.dir) != self.stamp
    }

    fn reopen(&self) -> Result<Option<Box<dyn Installed>>, installed::Error> {
        installed::boxed(Self::open(&self.at, &self.arch, self.db_path.as_deref()))
    }

    fn remedy(&self) -> Remedy {
        Remedy { finish: "pacman -Syu", restore: "pacman -S {}", verify: "pacman -Qkk {}" }
    }
}
