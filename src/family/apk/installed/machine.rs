//! What apk's database knows of the machine that it is on: packages for a plan, and what each file was when it was shipped.
//!
//! The database has owner, permissions and a digest of every file and link: SHA-1 from packages of version 2, which is all that apk itself
//! compares. It tells what was changed by accident, by an interrupted transaction or by somebody with an editor; whoever can write as root
//! could change the database as well. Contents that were made to share a SHA-1 by the known ways have none to us.
//!
//! A transaction writes files as `.apk.HEX` beside those that they replace, puts all of them in their places at its end, and writes the
//! database last: what is between has a digest that is not the recorded one.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{DatabaseError, Installed as Entry, parse};
use crate::base::checksum::{Checksum as Sum, Kind};
use crate::base::digest::Sha256;
use crate::base::error::{Diagnostic, ErrorKind};
use crate::base::fs::{self, FileError};
use crate::base::limit;
use crate::family::InstalledFiles;
use crate::family::apk::Checksum;
use crate::family::apk::index::ApkCatalog;
use crate::family::installed::{
    self, Installed, LABEL, Listed, Open, Owner, Record, Remedy, Root, Shape, Unfit, Wanted, shipped_id,
};
use crate::family::repo::{self, Index};
use crate::package::{Catalog, Location, Package};
use crate::tree::TreePath;

/// Where the database lies: before and since version 3 with a merged `/usr`.
const DIRS: [&str; 2] = ["lib/apk/db", "usr/lib/apk/db"];
/// What apk calls the database while it writes it.
const NEW: &str = "installed.new";
/// Where the administrator's files are, and what of it is not theirs (apk's own default).
const CONFIG: (&[u8], &[u8]) = (b"etc", b"etc/init.d");

/// The database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not what apk writes.
    #[error("the package database of this machine is damaged")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: DatabaseError,
    },
    /// Somebody else than root can write to it.
    #[error(transparent)]
    Open(#[from] Open),
    /// It cannot be read.
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
            Error::Damaged { path, source } => Some(format!("{}:{}", path.display(), source.line)),
            Error::Open(err) => err.place(),
            Error::File(_) => None,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Error::Open(err) => err.hints(),
            _ => vec!["take all packages from a repository with `--mirror URL`".to_owned()],
        }
    }
}

/// A machine whose packages apk has installed.
#[derive(Debug)]
pub struct Machine {
    entries: BTreeMap<String, Entry>,
    /// The entries without their files, as an index has them.
    index: String,
    root: Root,
    /// Where the machine's root lies.
    at: PathBuf,
    /// The file of the database.
    path: PathBuf,
    arch: String,
    is_being_written: bool,
    stamp: Option<Stamp>,
}

/// What changes when apk writes: inode, size and time of the database.
type Stamp = (u64, u64, i64, i64);

fn stamp(path: &Path) -> Option<Stamp> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
}

impl Machine {
    /// Reads the database of the machine whose root is `root`; `None` if it has none.
    pub fn open(root: &Path, arch: &str) -> Result<Option<Self>, Error> {
        let Some(dir) = DIRS.map(|dir| root.join(dir)).into_iter().find(|dir| dir.join("installed").is_file()) else {
            return Ok(None);
        };
        let path = dir.join("installed");
        for path in [&dir, &path] {
            let found = std::fs::metadata(path).map_err(FileError::on("look at", path))?;
            installed::check_owner(path, &found)?;
        }
        // Looked at first: what changes from now on is noticed. apk renames a whole new one into its place.
        let stamp = stamp(&path);
        let text = fs::read_text(&path, limit::INDEX_BYTES_MAX)?;
        let entries = parse(&text).map_err(|source| Error::Damaged { path: path.clone(), source })?;
        Ok(Some(Self {
            entries: entries.into_iter().map(|entry| (entry.name.clone(), entry)).collect(),
            index: index(&text),
            root: Root::open(root)?,
            at: root.to_owned(),
            is_being_written: dir.join(NEW).exists(),
            path,
            arch: arch.to_owned(),
            stamp,
        }))
    }

    fn find(&self, package: &Package) -> Result<&Entry, Unfit> {
        let found =
            self.entries.get(&package.name).filter(|found| found.version == package.version && found.arch == package.arch);
        found.ok_or_else(|| Unfit::Gone { wanted: package.version.clone() })
    }
}

/// Returns the entries of a database without their directories and files.
fn index(text: &str) -> String {
    let mut index = String::new();
    let mut is_file = false;
    for line in text.lines() {
        is_file = (is_file || line.starts_with("F:")) && !line.is_empty();
        if !is_file {
            index.push_str(line);
            index.push('\n');
        }
    }
    index
}

/// Returns what the database knows of a package's files.
fn listed(entry: &Entry) -> Vec<Listed> {
    let sum = |checksum: &Checksum| match checksum {
        Checksum::Sha1(raw) => Sum::of_bytes(Kind::Sha1, raw),
        Checksum::Sha256(raw) => Sum::of_bytes(Kind::Sha256, raw),
    };
    let one = |path: &super::InstalledPath| Listed {
        shape: if path.is_dir { Shape::Dir } else { Shape::Unknown },
        owner: Some(Owner { mode: path.mode, uid: shipped_id(path.uid), gid: shipped_id(path.gid) }),
        sum: path.checksum.as_ref().and_then(sum),
        is_config: !path.is_dir && is_config(&path.path),
        ..Listed::new(path.path.clone())
    };
    entry.paths.iter().map(one).collect()
}

fn is_config(path: &TreePath) -> bool {
    let (config, shipped) = CONFIG;
    path.is_under(&literal(config)) && !path.is_under(&literal(shipped))
}

fn literal(path: &'static [u8]) -> TreePath {
    TreePath::parse(path).expect("invariant: a path of this file")
}

impl From<Error> for Unfit {
    fn from(err: Error) -> Self {
        Unfit::Database(installed::Error::new(err))
    }
}

impl Installed for Machine {
    fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn versions(&self) -> BTreeMap<String, String> {
        self.entries.iter().map(|(name, entry)| (name.clone(), entry.version.clone())).collect()
    }

    fn catalog(&self, indexes: Vec<Index>, with_others: bool) -> Result<Box<dyn Catalog + '_>, repo::Error> {
        let own = Index::new(LABEL, Location::Installed, self.index.clone().into_bytes());
        let all = std::iter::once(own).chain(indexes).collect();
        let hide =
            |index: &Index, name: &str| !with_others && index.base != Location::Installed && self.entries.contains_key(name);
        Ok(Box::new(ApkCatalog::without(&self.arch, all, &hide)?))
    }

    fn files(&self, package: &Package, wanted: &Wanted<'_>) -> Result<InstalledFiles, Unfit> {
        let listed = listed(self.find(package)?);
        // Files that wait have names that say nothing of those that they replace.
        let is_fresh = |_: &Root, _: &[u8]| false;
        Record { root: &self.root, listed, sums_of_links: true, disk_capabilities: true, is_fresh: &is_fresh }.read(wanted)
    }

    fn check(&self, package: &Package) -> Result<(), Unfit> {
        match Sha256::of(self.find(package)?.checksum.to_string().as_bytes()) == package.sha256 {
            true => Ok(()),
            false => Err(Unfit::Gone { wanted: package.version.clone() }),
        }
    }

    fn transaction(&self) -> Option<String> {
        if self.is_being_written {
            return Some(format!("apk is at work or was interrupted: `{NEW}` is beside its database"));
        }
        let dirs: BTreeSet<&TreePath> =
            self.entries.values().flat_map(|entry| &entry.paths).filter(|path| path.is_dir).map(|path| &path.path).collect();
        let is_waiting = |name: &Vec<u8>| {
            let digits = name.strip_prefix(b".apk.").unwrap_or_default();
            digits.len() >= WAITING_DIGITS_MIN && digits.iter().all(u8::is_ascii_hexdigit)
        };
        // What cannot be listed cannot be read either, which is told then.
        let has_waiting = |dir: &&&TreePath| self.root.names(dir.as_bytes()).unwrap_or_default().iter().any(is_waiting);
        let dir = dirs.iter().find(has_waiting)?;
        Some(format!("apk is at work or was interrupted: files wait in `{dir}` to replace others"))
    }

    fn has_changed(&self) -> bool {
        stamp(&self.path) != self.stamp
    }

    fn reopen(&self) -> Result<Option<Box<dyn Installed>>, installed::Error> {
        installed::boxed(Self::open(&self.at, &self.arch))
    }

    fn remedy(&self) -> Remedy {
        Remedy { finish: "apk fix", restore: "apk fix --reinstall {}", verify: "apk audit --packages" }
    }
}

/// Digits in the name of a file that waits to replace another.
const WAITING_DIGITS_MIN: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_has_no_files() {
        let text = "C:Q1x\nP:a\nV:1\nr:b\nF:usr\nM:0:0:755\nR:x\nZ:Q1y\n\nC:Q1z\nP:b\nV:2\n\n";
        assert_eq!(index(text), "C:Q1x\nP:a\nV:1\nr:b\n\nC:Q1z\nP:b\nV:2\n\n");
    }

    #[test]
    fn the_administrators_files_are_those_of_etc_but_services() {
        for (path, wanted) in [("etc/passwd", true), ("etc/lvm/lvm.conf", true), ("etc/init.d/lvm", false), ("usr/etc/x", false)]
        {
            assert_eq!(is_config(&TreePath::literal(path)), wanted, "{path}");
        }
    }
}
