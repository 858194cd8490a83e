//! Reads what an installed package has on the machine, and compares it with what its database knows: once, into memory, so that the bytes
//! that were compared are the bytes that are used.
//!
//! The order is that of the package's list. What a database does not know (dpkg: owner, permissions, time) is that of the disk. What it
//! cannot vouch for is not used: a regular file must have a digest there, and that of a configuration file may differ, for it is the
//! administrator's.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, OFlags, Stat, StatxAttributes, StatxFlags};

use super::own::{self, Edited};
use super::{Root, Unfit, Wanted};
use crate::base::checksum::Checksum;
use crate::base::limit;
use crate::family::{InstalledFiles, LocalChange, Member, MemberKind, ReadError};
use crate::format::capability;
use crate::tree::{Meta, TreePath};

/// The attribute that holds what a program may do.
const CAPABILITY: &str = "security.capability";
/// Bytes of it: the newest revision has 24.
const CAPABILITY_BYTES_MAX: usize = 64;

/// What a database knows of a path of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The path as shipped.
    pub path: TreePath,
    /// Where it lies on the machine, where that is elsewhere.
    pub moved: Option<Vec<u8>>,
    /// What was shipped.
    pub shape: Shape,
    /// Whose it is, where the database knows.
    pub owner: Option<Owner>,
    /// When it was made, where the database knows.
    pub mtime_s: Option<u32>,
    /// The digest of its content, and where the family has such, of a link's text.
    pub sum: Option<Checksum>,
    /// The administrator may change it.
    pub is_config: bool,
    /// Its owner or permissions were set on this machine.
    pub has_own_permissions: bool,
    /// Capabilities, where the database knows them.
    pub capabilities: Option<String>,
    /// Which files are one by several names.
    pub links: Links,
}

/// What was shipped at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// The database does not know: it is what the disk has.
    Unknown,
    /// A directory.
    Dir,
    /// A file.
    File,
    /// A symbolic link with this text.
    Symlink(Vec<u8>),
    /// Something else, which has no content.
    Special,
}

/// Who owns a path, and who may do what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// Permission bits.
    pub mode: u32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Which files are one by several names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// Those that are one on the disk.
    Disk,
    /// This one has one name.
    Alone,
    /// Those of the same numbers.
    Set(u64, u64),
}

impl Listed {
    /// Returns a path of which nothing is known.
    pub fn new(path: TreePath) -> Self {
        Self {
            path,
            moved: None,
            shape: Shape::Unknown,
            owner: None,
            mtime_s: None,
            sum: None,
            is_config: false,
            has_own_permissions: false,
            capabilities: None,
            links: Links::Disk,
        }
    }

    /// Returns where it lies on the machine.
    fn place(&self) -> &[u8] {
        self.moved.as_deref().unwrap_or(self.path.as_bytes())
    }
}

/// Tells by the place of a file whether the package manager is about to replace it.
pub type IsFresh<'a> = dyn Fn(&Root, &[u8]) -> bool + 'a;

/// What a database knows of a package's files, and how the family's disk is to be read.
pub struct Record<'a> {
    /// Where the machine's files lie.
    pub root: &'a Root,
    /// The package's paths, in their order.
    pub listed: Vec<Listed>,
    /// Symbolic links have digests, too.
    pub sums_of_links: bool,
    /// Files can have capabilities, and the database does not know them.
    pub disk_capabilities: bool,
    /// What the package manager writes first, before it replaces a file.
    pub is_fresh: &'a IsFresh<'a>,
}

impl Record<'_> {
    /// Reads what is wanted.
    pub fn read(&self, wanted: &Wanted<'_>) -> Result<InstalledFiles, Unfit> {
        if self.listed.len() > limit::ENTRIES_MAX {
            return Err(over("the list of its files", format!("{} entries", limit::ENTRIES_MAX)));
        }
        let mut reading =
            Reading { record: self, links: BTreeMap::new(), newest_s: 0, size_bytes: 0, files: InstalledFiles::default() };
        reading.all(wanted)?;
        Ok(reading.files)
    }
}

/// What makes two names one file: the numbers, and whose it is where the database says that.
type LinkKey = (u64, u64, Option<(u32, u32, u32)>);

struct Reading<'a> {
    record: &'a Record<'a>,
    /// The first name of files that have several.
    links: BTreeMap<LinkKey, TreePath>,
    /// The age of the newest file as shipped.
    newest_s: u32,
    size_bytes: u64,
    files: InstalledFiles,
}

impl Reading<'_> {
    fn all(&mut self, wanted: &Wanted<'_>) -> Result<(), Unfit> {
        // Whatever has something below it is a directory, also where the machine has a link to one in its place. Only those are looked at
        // that are kept for their own sake, or in which something is.
        let listed = &self.record.listed;
        let above = |path: &TreePath| std::iter::successors(path.parent(), TreePath::parent).collect::<Vec<_>>();
        let mut directories: BTreeSet<TreePath> = listed.iter().flat_map(|one| above(&one.path)).collect();
        directories.extend(listed.iter().filter(|one| one.shape == Shape::Dir).map(|one| one.path.clone()));
        let kept: Vec<bool> = listed.iter().map(|one| wanted(&one.path)).collect();
        let leaves = listed.iter().zip(&kept).filter(|(one, kept)| **kept && !directories.contains(&one.path));
        let needed: BTreeSet<TreePath> = leaves.flat_map(|(one, _)| above(&one.path)).collect();
        for (one, kept) in listed.iter().zip(kept) {
            match directories.contains(&one.path) || one.path.is_root() {
                true if kept || needed.contains(&one.path) => self.directory(one)?,
                true => {}
                false if kept => self.leaf(one)?,
                false => self.files.dropped.push(one.path.clone()),
            }
        }
        // The times of directories, of empty ones too, are the machine's. Those of a package's payload are that of its build, as that of its
        // newest file is.
        let undated: BTreeSet<&TreePath> = listed.iter().filter(|one| one.mtime_s.is_none()).map(|one| &one.path).collect();
        let is_undated = |member: &Member| member.kind == MemberKind::Dir && undated.contains(&member.path);
        for (member, _) in self.files.members.iter_mut().filter(|(member, _)| is_undated(member)) {
            member.meta.mtime_s = self.newest_s;
        }
        Ok(())
    }

    fn note(&mut self, one: &Listed, change: LocalChange) {
        self.files.notes.push((one.path.clone(), change));
    }

    fn put(&mut self, one: &Listed, meta: Meta, kind: MemberKind, bytes: Vec<u8>) {
        let capabilities =
            matches!(kind, MemberKind::File(_) | MemberKind::Hardlink(_)).then(|| one.capabilities.clone()).flatten();
        self.files.members.push((Member { path: one.path.clone(), meta, kind, capabilities }, bytes));
    }

    fn directory(&mut self, one: &Listed) -> Result<(), Unfit> {
        let made = Meta { mode: 0o755, uid: 0, gid: 0, mtime_s: 0 };
        let found = match self.record.root.at(one.place(), OFlags::PATH | OFlags::DIRECTORY) {
            Ok(directory) => match mounted(&directory) {
                // It is that of another file system: `/proc`, a boot partition.
                true => made,
                false => meta(&stat(&directory, &one.path)?),
            },
            Err(err) if matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                self.note(one, LocalChange::NoDirectory);
                made
            }
            Err(source) => return Err(Unfit::Unreadable { path: one.path.clone(), source }),
        };
        self.put(one, shipped(one, found), MemberKind::Dir, Vec::new());
        Ok(())
    }

    fn leaf(&mut self, one: &Listed) -> Result<(), Unfit> {
        let root = self.record.root;
        if (self.record.is_fresh)(root, one.place()) {
            return Err(Unfit::Fresh(one.path.clone()));
        }
        let unreadable = |source| Unfit::Unreadable { path: one.path.clone(), source };
        let found = match root.at(one.place(), OFlags::PATH | OFlags::NOFOLLOW) {
            Ok(found) => found,
            Err(err) if matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                if !one.is_config {
                    return Err(Unfit::Absent(one.path.clone()));
                }
                self.note(one, LocalChange::Removed);
                return Ok(());
            }
            Err(source) => return Err(unreadable(source)),
        };
        if one.has_own_permissions {
            self.note(one, LocalChange::Permissions);
        }
        let stat = stat(&found, &one.path)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if one.is_config && !(kind == FileType::Symlink && self.is_shipped_link(one, &root.link(&found).map_err(unreadable)?)) {
            return self.config(one);
        }
        let changed = || Err(Unfit::Changed(one.path.clone()));
        let is_so = match one.shape {
            Shape::Unknown => true,
            Shape::Dir => kind == FileType::Directory,
            Shape::File => kind == FileType::RegularFile,
            Shape::Symlink(_) => kind == FileType::Symlink,
            Shape::Special => !matches!(kind, FileType::RegularFile | FileType::Symlink | FileType::Directory),
        };
        if !is_so {
            return changed();
        }
        match kind {
            FileType::RegularFile => self.file(one),
            FileType::Symlink if one.sum.is_none() || self.record.sums_of_links => {
                let text = root.link(&found).map_err(unreadable)?;
                self.symlink(one, &stat, text)
            }
            _ if one.sum.is_some() => changed(),
            FileType::Directory => self.directory(one),
            FileType::Fifo => {
                self.put(one, shipped(one, meta(&stat)), MemberKind::Fifo, Vec::new());
                Ok(())
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
                let block = kind == FileType::BlockDevice;
                self.put(one, shipped(one, meta(&stat)), MemberKind::Device { block, major, minor }, Vec::new());
                Ok(())
            }
            _ => changed(),
        }
    }

    /// Tells whether a link in the place of a configuration file is what was shipped, and no administrator's link to another file.
    fn is_shipped_link(&self, one: &Listed, text: &[u8]) -> bool {
        match one.shape {
            Shape::Symlink(_) => true,
            _ => self.record.sums_of_links && one.sum.as_ref().is_some_and(|sum| fits(sum, text)),
        }
    }

    /// Takes a link whose text must be the one shipped, as far as the database knows it.
    fn symlink(&mut self, one: &Listed, stat: &Stat, text: Vec<u8>) -> Result<(), Unfit> {
        let has_text = match (&one.shape, &one.sum) {
            (Shape::Symlink(wanted), _) => *wanted == text,
            (_, Some(sum)) => fits(sum, &text),
            _ => true,
        };
        match has_text {
            false if !one.is_config => return Err(Unfit::Changed(one.path.clone())),
            false => self.note(one, LocalChange::Edited),
            true => {}
        }
        // Nobody looks at a link's permissions, and databases have different ones.
        let meta = Meta { mode: 0o777, ..shipped(one, meta(stat)) };
        self.newest_s = self.newest_s.max(meta.mtime_s);
        self.put(one, meta, MemberKind::Symlink(text), Vec::new());
        Ok(())
    }

    /// Takes a file whose content must be the one shipped.
    fn file(&mut self, one: &Listed) -> Result<(), Unfit> {
        let sum = one.sum.as_ref().ok_or_else(|| Unfit::Unknown(one.path.clone()))?;
        let (stat, bytes, capabilities) = self.content(one, false)?;
        if !fits(sum, &bytes) {
            return Err(Unfit::Changed(one.path.clone()));
        }
        let meta = shipped(one, meta(&stat));
        let one = Listed { capabilities, ..one.clone() };
        self.newest_s = self.newest_s.max(meta.mtime_s);
        let owner = one.owner.map(|owner| (owner.mode, owner.uid, owner.gid));
        let key = match one.links {
            Links::Disk => (stat.st_nlink > 1).then_some((stat.st_dev, stat.st_ino, owner)),
            Links::Alone => None,
            Links::Set(a, b) => Some((a, b, owner)),
        };
        match key.and_then(|key| self.links.get(&key).cloned()) {
            Some(first) => self.put(&one, meta, MemberKind::Hardlink(first), Vec::new()),
            None => {
                self.links.extend(key.map(|key| (key, one.path.clone())));
                self.put(&one, meta, MemberKind::File(bytes.len() as u64), bytes);
            }
        }
        Ok(())
    }

    /// Takes a configuration file as it is; a link that the administrator has put in its place is followed.
    fn config(&mut self, one: &Listed) -> Result<(), Unfit> {
        let (stat, bytes, _) = match self.content(one, true) {
            Err(Unfit::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                self.note(one, LocalChange::Removed);
                return Ok(());
            }
            outcome => outcome?,
        };
        let found = meta(&stat);
        let meta = match one.sum.as_ref().is_some_and(|sum| fits(sum, &bytes)) {
            true => {
                let meta = shipped(one, found);
                self.newest_s = self.newest_s.max(meta.mtime_s);
                meta
            }
            false => return self.edited(one, found, bytes),
        };
        self.put(one, meta, MemberKind::File(bytes.len() as u64), bytes);
        Ok(())
    }

    /// Takes an edited configuration file, as far as it is not of this machine alone. Who has written into it also says who may read.
    fn edited(&mut self, one: &Listed, meta: Meta, bytes: Vec<u8>) -> Result<(), Unfit> {
        let (change, bytes) = match own::edited(one.path.as_bytes(), &bytes) {
            Edited::Taken => (LocalChange::Edited, Some(bytes)),
            Edited::Part(bytes) => (LocalChange::Accounts, Some(bytes)),
            Edited::LeftOut => (LocalChange::Own, None),
        };
        self.note(one, change);
        if let Some(bytes) = bytes {
            self.put(one, meta, MemberKind::File(bytes.len() as u64), bytes);
        }
        Ok(())
    }

    /// Reads a file: what it is, what is in it, and its capabilities.
    fn content(&mut self, one: &Listed, follow: bool) -> Result<(Stat, Vec<u8>, Option<String>), Unfit> {
        let path = &one.path;
        let unreadable = |source| Unfit::Unreadable { path: path.clone(), source };
        let file = self.record.root.file(one.place(), follow).map_err(unreadable)?;
        let stat = rustix::fs::fstat(&file).map_err(|err| unreadable(err.into()))?;
        let size_bytes = u64::try_from(stat.st_size).unwrap_or(0);
        self.size_bytes = self.size_bytes.saturating_add(size_bytes);
        if size_bytes > limit::FILE_BYTES_MAX || self.size_bytes > limit::PAYLOAD_BYTES_MAX {
            return Err(over(&format!("`{path}`"), format!("{} bytes", limit::FILE_BYTES_MAX)));
        }
        let capabilities = match self.record.disk_capabilities && stat.st_mode & 0o111 != 0 {
            true => disk_capabilities(&file),
            false => one.capabilities.clone(),
        };
        let mut bytes = Vec::with_capacity(usize::try_from(size_bytes).unwrap_or(0) + 1);
        file.take(size_bytes + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        match bytes.len() as u64 == size_bytes {
            true => Ok((stat, bytes, capabilities)),
            false => Err(Unfit::Changed(path.clone())),
        }
    }
}

/// Returns what a program may do, in words; nothing where it has no such attribute, or the file system none.
fn disk_capabilities(file: &std::fs::File) -> Option<String> {
    let mut raw = [0; CAPABILITY_BYTES_MAX];
    let count = rustix::fs::fgetxattr(file, CAPABILITY, &mut raw[..]).ok()?;
    let raw = raw.get(..count)?;
    Some(capability::text(raw).unwrap_or_else(|| format!("unknown ({count} bytes)")))
}

fn fits(sum: &Checksum, mut bytes: &[u8]) -> bool {
    // Nothing can fail in memory.
    sum.fits(&mut bytes).unwrap_or(false)
}

/// Puts what was shipped in the place of what the disk has, where the database knows it.
fn shipped(one: &Listed, found: Meta) -> Meta {
    let meta = match one.owner {
        Some(Owner { mode, uid, gid }) => Meta { mode, uid, gid, ..found },
        None => found,
    };
    Meta { mtime_s: one.mtime_s.unwrap_or(meta.mtime_s), ..meta }
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

/// Packages ship the ids that their distribution gives out for all machines (Debian Policy 9.2.2); any other is one that this machine made
/// up, and means nothing in an image.
pub fn shipped_id(id: u32) -> u32 {
    match id {
        0..=99 | 60_000..=64_999 | 65_534 => id,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_one_machine_mean_nothing() {
        for (id, expected) in [(0, 0), (42, 42), (99, 99), (100, 0), (998, 0), (1000, 0), (60_001, 60_001), (65_534, 65_534)] {
            assert_eq!(shipped_id(id), expected, "{id}");
        }
    }
}
