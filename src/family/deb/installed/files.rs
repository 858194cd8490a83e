//! Reads what an installed package has on the machine, and compares it with the database: once, into memory, so that the bytes that were
//! compared are the bytes that are used.
//!
//! The order is that of the package's list, which is that of its payload. Owner, permissions and time are those on the disk: dpkg has no
//! record of them. What the database cannot vouch for is not used: a regular file must have a digest there (dpkg makes them itself for a
//! package that ships none), and that of a configuration file may differ, for it is the administrator's.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, OFlags, Stat, StatxAttributes, StatxFlags};

use super::{Database, Entry, Error, State, status};
use crate::base::digest::md5;
use crate::base::limit;
use crate::family::{InstalledFiles, LocalChange, Member, MemberKind, ReadError};
use crate::package::Package;
use crate::tree::{BadPath, Meta, TreePath};

/// Why an installed package is not used.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// It is not, or not any more, what was planned.
    #[error("it is not installed in version {wanted}")]
    Gone {
        /// The version.
        wanted: String,
    },
    /// dpkg has not finished with it.
    #[error("it is {0}")]
    State(String),
    /// dpkg is about to replace a file.
    #[error("`{0}` is about to be replaced (there is another beside it)")]
    Fresh(TreePath),
    /// A file is not there.
    #[error("`{0}` is not there")]
    Absent(TreePath),
    /// A file has other content than was shipped, or is something else.
    #[error("`{0}` was changed")]
    Changed(TreePath),
    /// The database has no digest for a file.
    #[error("the database has no digest for `{0}`")]
    Unknown(TreePath),
    /// The database has no list of its files.
    #[error("the database has no list of its files")]
    NoList,
    /// Something of the database cannot be used.
    #[error(transparent)]
    Database(#[from] Error),
    /// A file cannot be read.
    #[error("`{path}` cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: TreePath,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A name in the list is refused.
    #[error(transparent)]
    Path(#[from] BadPath),
    /// There is more of it than there may be.
    #[error(transparent)]
    Limit(#[from] ReadError),
}

impl Unfit {
    /// Tells whether this is what a running or interrupted dpkg leaves.
    pub fn is_of_transaction(&self) -> bool {
        matches!(self, Unfit::Gone { .. } | Unfit::State(_) | Unfit::Fresh(_))
    }

    /// Returns the file that somebody changed, if that is what it is.
    pub fn changed(&self) -> Option<&TreePath> {
        match self {
            Unfit::Absent(path) | Unfit::Changed(path) => Some(path),
            _ => None,
        }
    }
}

/// Decides about a path of a package, as it stands in the package's list.
pub type Wanted<'a> = dyn Fn(&TreePath) -> bool + 'a;

impl Database {
    /// Reads what of an installed package is wanted.
    pub fn files(&self, package: &Package, wanted: &Wanted<'_>) -> Result<InstalledFiles, Unfit> {
        let gone = || Unfit::Gone { wanted: package.version.clone() };
        let entry = self.get(&package.name).ok_or_else(gone)?;
        if entry.version != package.version || entry.arch != package.arch {
            return Err(gone());
        }
        if let State::Broken(state) = &entry.state {
            return Err(Unfit::State(state.clone()));
        }
        let list = self.info(entry, "list")?.ok_or(Unfit::NoList)?;
        let sums = self.info(entry, "md5sums")?.unwrap_or_default();
        let mut paths = Vec::new();
        for line in list.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            paths.push((line, TreePath::parse(line)?));
            if paths.len() > limit::ENTRIES_MAX {
                return Err(over("the list of its files", format!("{} entries", limit::ENTRIES_MAX)));
            }
        }
        let mut reading = Reading {
            database: self,
            entry,
            sums: read_sums(&sums),
            links: BTreeMap::new(),
            newest_s: 0,
            size_bytes: 0,
            files: InstalledFiles::default(),
        };
        reading.all(&paths, wanted)?;
        Ok(reading.files)
    }
}

/// Reads `md5sums`: 32 digits, two blanks, a path without a slash at its beginning. A line that is none says nothing of any file.
fn read_sums(text: &[u8]) -> BTreeMap<&[u8], [u8; 16]> {
    let line = |line: &'_ [u8]| -> Option<(usize, [u8; 16])> {
        let digest = status::hexadecimal(line.get(..32)?)?;
        let start = 32 + line[32..].iter().position(|byte| *byte != b' ')?;
        Some((start, digest))
    };
    let lines = text.split(|byte| *byte == b'\n');
    lines
        .filter_map(|text| {
            line(text).map(|(start, digest)| (text[start..].strip_prefix(b"./").unwrap_or(&text[start..]), digest))
        })
        .collect()
}

struct Reading<'a> {
    database: &'a Database,
    entry: &'a Entry,
    sums: BTreeMap<&'a [u8], [u8; 16]>,
    /// The first name of files that have several.
    links: BTreeMap<(u64, u64), TreePath>,
    /// The age of the newest file as shipped.
    newest_s: u32,
    size_bytes: u64,
    files: InstalledFiles,
}

impl Reading<'_> {
    fn all(&mut self, paths: &[(&[u8], TreePath)], wanted: &Wanted<'_>) -> Result<(), Unfit> {
        // Whatever has something below it is a directory, also where the machine has a link to one in its place. Only those are looked at
        // that are kept for their own sake, or in which something is.
        let above = |path: &TreePath| std::iter::successors(path.parent(), TreePath::parent).collect::<Vec<_>>();
        let parents: BTreeSet<TreePath> = paths.iter().flat_map(|(_, path)| above(path)).collect();
        let kept: Vec<bool> = paths.iter().map(|(_, path)| wanted(path)).collect();
        let leaves = paths.iter().zip(&kept).filter(|((_, path), kept)| **kept && !parents.contains(path));
        let needed: BTreeSet<TreePath> = leaves.flat_map(|((_, path), _)| above(path)).collect();
        for ((line, path), kept) in paths.iter().zip(kept) {
            match parents.contains(path) || path.is_root() {
                true if kept || needed.contains(path) => self.directory(line, path)?,
                true => {}
                false if kept => self.leaf(line, path)?,
                false => self.files.dropped.push(path.clone()),
            }
        }
        // The times of directories are the machine's. Those of a package's payload are that of its build, as that of its newest file is.
        for (member, _) in self.files.members.iter_mut().filter(|(member, _)| member.kind == MemberKind::Dir) {
            member.meta.mtime_s = self.newest_s;
        }
        Ok(())
    }

    fn note(&mut self, path: &TreePath, change: LocalChange) {
        self.files.notes.push((path.clone(), change));
    }

    fn put(&mut self, path: &TreePath, meta: Meta, kind: MemberKind, bytes: Vec<u8>) {
        self.files.members.push((Member { path: path.clone(), meta, kind, capabilities: None }, bytes));
    }

    fn directory(&mut self, line: &[u8], path: &TreePath) -> Result<(), Unfit> {
        let meta = match self.database.root.at(line, OFlags::PATH | OFlags::DIRECTORY) {
            Ok(directory) => match mounted(&directory) {
                // It is that of another file system: `/proc`, a boot partition.
                true => Meta { mode: 0o755, uid: 0, gid: 0, mtime_s: 0 },
                false => meta(&stat(&directory, path)?),
            },
            Err(err) if matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                self.note(path, LocalChange::NoDirectory);
                Meta { mode: 0o755, uid: 0, gid: 0, mtime_s: 0 }
            }
            Err(source) => return Err(Unfit::Unreadable { path: path.clone(), source }),
        };
        self.put(path, meta, MemberKind::Dir, Vec::new());
        Ok(())
    }

    fn leaf(&mut self, line: &[u8], path: &TreePath) -> Result<(), Unfit> {
        let database = self.database;
        let conffile = self.entry.conffiles.iter().find(|conffile| conffile.path == line);
        if conffile.is_some_and(|conffile| conffile.is_obsolete) {
            return Ok(());
        }
        let real = database.diverted(&self.entry.name, line);
        for suffix in [&b".dpkg-new"[..], b".dpkg-tmp"] {
            if database.root.has(&[real, suffix].concat()) {
                return Err(Unfit::Fresh(path.clone()));
            }
        }
        let unreadable = |source| Unfit::Unreadable { path: path.clone(), source };
        let found = match database.root.at(real, OFlags::PATH | OFlags::NOFOLLOW) {
            Ok(found) => found,
            Err(err) if matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                if conffile.is_none() {
                    return Err(Unfit::Absent(path.clone()));
                }
                self.note(path, LocalChange::Removed);
                return Ok(());
            }
            Err(source) => return Err(unreadable(source)),
        };
        if database.overrides.contains(line) {
            self.note(path, LocalChange::Permissions);
        }
        let stat = stat(&found, path)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if let Some(conffile) = conffile {
            let shipped = conffile.md5;
            return self.conffile(real, path, shipped);
        }
        let sum = self.sums.get(line.strip_prefix(b"/").unwrap_or(line)).copied();
        match (kind, sum) {
            (FileType::RegularFile, Some(sum)) => self.file(real, path, sum),
            (FileType::RegularFile, None) => Err(Unfit::Unknown(path.clone())),
            (_, Some(_)) => Err(Unfit::Changed(path.clone())),
            (FileType::Symlink, None) => {
                let text = database.root.link(&found).map_err(unreadable)?;
                let meta = meta(&stat);
                self.newest_s = self.newest_s.max(meta.mtime_s);
                self.put(path, meta, MemberKind::Symlink(text), Vec::new());
                Ok(())
            }
            (FileType::Directory, None) => self.directory(real, path),
            (FileType::Fifo, None) => {
                self.put(path, meta(&stat), MemberKind::Fifo, Vec::new());
                Ok(())
            }
            (FileType::CharacterDevice | FileType::BlockDevice, None) => {
                let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
                let block = kind == FileType::BlockDevice;
                self.put(path, meta(&stat), MemberKind::Device { block, major, minor }, Vec::new());
                Ok(())
            }
            _ => Err(Unfit::Changed(path.clone())),
        }
    }

    /// Takes a file whose content must be the one shipped.
    fn file(&mut self, real: &[u8], path: &TreePath, sum: [u8; 16]) -> Result<(), Unfit> {
        let (stat, bytes) = self.content(real, path, false)?;
        if md5(&bytes) != sum {
            return Err(Unfit::Changed(path.clone()));
        }
        let meta = meta(&stat);
        self.newest_s = self.newest_s.max(meta.mtime_s);
        let inode = (stat.st_dev, stat.st_ino);
        match self.links.get(&inode).filter(|_| stat.st_nlink > 1) {
            Some(first) => {
                let first = first.clone();
                self.put(path, meta, MemberKind::Hardlink(first), Vec::new());
            }
            None => {
                self.links.insert(inode, path.clone());
                self.put(path, meta, MemberKind::File(bytes.len() as u64), bytes);
            }
        }
        Ok(())
    }

    /// Takes a configuration file as it is; a link that the administrator has put in its place is followed.
    fn conffile(&mut self, real: &[u8], path: &TreePath, shipped: [u8; 16]) -> Result<(), Unfit> {
        let (stat, bytes) = match self.content(real, path, true) {
            Err(Unfit::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                self.note(path, LocalChange::Removed);
                return Ok(());
            }
            outcome => outcome?,
        };
        let meta = meta(&stat);
        match md5(&bytes) == shipped {
            true => self.newest_s = self.newest_s.max(meta.mtime_s),
            false => self.note(path, LocalChange::Edited),
        }
        self.put(path, meta, MemberKind::File(bytes.len() as u64), bytes);
        Ok(())
    }

    fn content(&mut self, real: &[u8], path: &TreePath, follow: bool) -> Result<(Stat, Vec<u8>), Unfit> {
        let unreadable = |source| Unfit::Unreadable { path: path.clone(), source };
        let file = self.database.root.file(real, follow).map_err(unreadable)?;
        let stat = rustix::fs::fstat(&file).map_err(|err| unreadable(err.into()))?;
        let size_bytes = u64::try_from(stat.st_size).unwrap_or(0);
        self.size_bytes = self.size_bytes.saturating_add(size_bytes);
        if size_bytes > limit::FILE_BYTES_MAX || self.size_bytes > limit::PAYLOAD_BYTES_MAX {
            return Err(over(&format!("`{path}`"), format!("{} bytes", limit::FILE_BYTES_MAX)));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size_bytes).unwrap_or(0) + 1);
        file.take(size_bytes + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        match bytes.len() as u64 == size_bytes {
            true => Ok((stat, bytes)),
            false => Err(Unfit::Changed(path.clone())),
        }
    }
}

fn over(what: &str, limit: String) -> Unfit {
    Unfit::Limit(ReadError::Limit { what: what.to_owned(), limit })
}

fn stat(descriptor: &OwnedFd, path: &TreePath) -> Result<Stat, Unfit> {
    rustix::fs::fstat(descriptor).map_err(|err| Unfit::Unreadable { path: path.clone(), source: err.into() })
}

/// Tells whether something is mounted on a directory, so that what shows is not the package's.
fn mounted(directory: &OwnedFd) -> bool {
    let found = rustix::fs::statx(directory, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS);
    // Where the system does not tell, its permissions are taken for the package's.
    found.is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

fn meta(stat: &Stat) -> Meta {
    let mtime_s = u32::try_from(stat.st_mtime.max(0)).unwrap_or(u32::MAX);
    Meta { mode: stat.st_mode & 0o7777, uid: shipped_id(stat.st_uid), gid: shipped_id(stat.st_gid), mtime_s }
}

/// Packages ship the ids that Debian gives out for all machines (Policy 9.2.2); any other is one that this machine made up, and means
/// nothing in an image.
fn shipped_id(id: u32) -> u32 {
    match id {
        0..=99 | 60_000..=64_999 | 65_534 => id,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_read_as_written() {
        let digest = "d41d8cd98f00b204e9800998ecf8427e";
        let text = format!("{digest}  usr/bin/a b\n{digest}  ./usr/c\nno digest\n{digest}\n");
        let sums = read_sums(text.as_bytes());
        assert_eq!(sums.keys().copied().collect::<Vec<_>>(), [&b"usr/bin/a b"[..], b"usr/c"]);
    }

    #[test]
    fn ids_of_one_machine_mean_nothing() {
        for (id, expected) in [(0, 0), (42, 42), (99, 99), (100, 0), (998, 0), (1000, 0), (60_001, 60_001), (65_534, 65_534)] {
            assert_eq!(shipped_id(id), expected, "{id}");
        }
    }
}
