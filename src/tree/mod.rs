//! The virtual root: every file of the initrd-to-be, in memory, ordered by path.
//!
//! A tree knows nothing of packages beyond the number that says where an entry came from, and nothing of the disk
//! (`tree::disk` writes one out). Hard links are files that share one [`Content`].

pub mod disk;
pub mod member;
mod path;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;

pub use path::{BadPath, TreePath};

use crate::base::limit;

/// The bytes of a file: a cheap handle on shared memory.
#[derive(Clone)]
pub struct Content {
    data: Arc<Vec<u8>>,
    start: usize,
    end: usize,
}

impl Content {
    /// Returns a part of shared memory as a file's content.
    ///
    /// # Panics
    ///
    /// When the range does not lie in `data`.
    pub fn slice(data: &Arc<Vec<u8>>, range: std::ops::Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= data.len(), "invariant: the range lies in the data");
        Self { data: Arc::clone(data), start: range.start, end: range.end }
    }

    /// Returns the bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.data[self.start..self.end]
    }

    /// Returns the size in bytes.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Tells whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Tells whether two files are the same inode: not only equal bytes, but the same memory.
    pub fn same_file(&self, other: &Content) -> bool {
        Arc::ptr_eq(&self.data, &other.data) && self.start == other.start && self.end == other.end && !self.is_empty()
    }

    /// Returns what two hard links have in common: where their bytes lie. Nothing for an empty file, which needs no sharing.
    pub fn identity(&self) -> Option<(usize, usize)> {
        (!self.is_empty()).then_some((Arc::as_ptr(&self.data) as usize, self.start))
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        let end = bytes.len();
        Self { data: Arc::new(bytes), start: 0, end }
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        text.as_bytes().to_vec().into()
    }
}

impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

/// Permissions, owner and time of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Permission bits, set-id and sticky bits included: at most 0o7777.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Seconds since 1970.
    pub mtime_s: u32,
}

impl Meta {
    /// Returns the metadata of something that belongs to root, with no time.
    pub fn root(mode: u32) -> Self {
        Self { mode, uid: 0, gid: 0, mtime_s: 0 }
    }
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A directory.
    Dir,
    /// A regular file.
    File(Content),
    /// A symbolic link with its text, as written.
    Symlink(Vec<u8>),
    /// A device node.
    Device {
        /// Block device, else character device.
        block: bool,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// Where an entry came from: what `why`, the manifest and clash messages say.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A package: its index in the plan.
    Package(u32),
    /// The kernel package or modules directory.
    Kernel,
    /// A file of the user's configuration or an `--include`.
    Config(PathBuf),
    /// A finalizer or stage, by name.
    Made(&'static str),
}

/// A file, directory, link or node of the tree.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Permissions, owner, time.
    pub meta: Meta,
    /// What it is.
    pub kind: Kind,
    /// Where it came from.
    pub origin: Origin,
}

impl Entry {
    /// Returns the content if this is a regular file.
    pub fn content(&self) -> Option<&Content> {
        match &self.kind {
            Kind::File(content) => Some(content),
            _ => None,
        }
    }

    /// Returns a directory with mode 0755.
    pub fn dir(origin: Origin) -> Self {
        Self { meta: Meta::root(0o755), kind: Kind::Dir, origin }
    }

    /// Returns a file with mode 0644.
    pub fn file(content: impl Into<Content>, origin: Origin) -> Self {
        Self { meta: Meta::root(0o644), kind: Kind::File(content.into()), origin }
    }

    /// Returns a symbolic link.
    pub fn symlink(target: &str, origin: Origin) -> Self {
        Self { meta: Meta::root(0o777), kind: Kind::Symlink(target.into()), origin }
    }

    /// Returns the same entry with other permission bits.
    pub fn with_mode(mut self, mode: u32) -> Self {
        self.meta.mode = mode;
        self
    }

    /// Returns what it is, for a message.
    pub fn noun(&self) -> &'static str {
        match &self.kind {
            Kind::Dir => "directory",
            Kind::File(_) => "file",
            Kind::Symlink(_) => "symlink",
            Kind::Device { block: true, .. } => "block device",
            Kind::Device { .. } => "character device",
            Kind::Fifo => "fifo",
        }
    }
}

/// Why an entry cannot enter the tree, or a path cannot be followed in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// Something that is not a directory is where a directory must be.
    #[error("`{path}` cannot lie below `{ancestor}`, which is a {noun}")]
    NotADirectory {
        /// The path that was to be entered.
        path: TreePath,
        /// What is in the way.
        ancestor: TreePath,
        /// What that is.
        noun: &'static str,
    },
    /// Symlinks go round in a circle, or there are more than 40 on the way.
    #[error("symlinks lead in a circle at `{path}`")]
    Loop {
        /// The path that was followed.
        path: TreePath,
    },
    /// A directory would be replaced by something else, or the other way round.
    #[error("`{path}` is a {old} and would become a {new}")]
    Clash {
        /// The path.
        path: TreePath,
        /// What is there.
        old: &'static str,
        /// What was to replace it.
        new: &'static str,
    },
    /// A link points to a path that cannot be.
    #[error(transparent)]
    Path(#[from] BadPath),
}

/// A root in memory: paths and what is there. Parents are always present; the root itself is implied.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tree {
    entries: BTreeMap<TreePath, Entry>,
}

impl Tree {
    /// Returns an empty root.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns how many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Tells whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns all entries, parents before children.
    pub fn iter(&self) -> impl Iterator<Item = (&TreePath, &Entry)> {
        self.entries.iter()
    }

    /// Returns what lies below a directory (not the directory itself), parents before children.
    pub fn below(&self, directory: &TreePath) -> impl Iterator<Item = (&TreePath, &Entry)> {
        let whole = directory.is_root();
        let prefix = [directory.as_bytes(), b"/"].concat();
        // `d-x` sorts between `d` and `d/x`: it is passed over, not the end.
        let beyond = [directory.as_bytes(), b"0"].concat();
        self.entries
            .range((Bound::Excluded(directory.clone()), Bound::Unbounded))
            .take_while(move |(path, _)| whole || path.as_bytes() < beyond.as_slice())
            .filter(move |(path, _)| whole || path.as_bytes().starts_with(&prefix))
    }

    /// Returns the names and entries directly in a directory.
    pub fn children(&self, directory: &TreePath) -> impl Iterator<Item = (&TreePath, &Entry)> {
        let depth = directory.components().count() + 1;
        self.below(directory).filter(move |(path, _)| path.components().count() == depth)
    }

    /// Returns the entry at exactly this path, not following links.
    pub fn get(&self, path: &TreePath) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// Returns the entry at exactly this path for changing.
    pub fn get_mut(&mut self, path: &TreePath) -> Option<&mut Entry> {
        self.entries.get_mut(path)
    }

    /// Returns where a path leads when all symlinks are followed inside the root, and what is there; nothing if it dangles.
    pub fn lookup(&self, path: &TreePath) -> Option<(TreePath, &Entry)> {
        let real = self.resolve(path, true).ok()?;
        let entry = self.entries.get(&real)?;
        Some((real, entry))
    }

    /// Returns the content of a regular file, links followed.
    pub fn read(&self, path: &TreePath) -> Option<&Content> {
        self.lookup(path)?.1.content()
    }

    /// Returns `path` with the symlinks on the way followed, and the last component too if `follow_last`.
    pub fn resolve(&self, path: &TreePath, follow_last: bool) -> Result<TreePath, TreeError> {
        let mut todo: Vec<Vec<u8>> = path.components().map(<[u8]>::to_vec).collect();
        todo.reverse();
        let mut done = TreePath::root();
        let mut links = 0;
        while let Some(component) = todo.pop() {
            let here = done.join(&component)?;
            match self.entries.get(&here).map(|entry| &entry.kind) {
                Some(Kind::Symlink(target)) if follow_last || !todo.is_empty() => {
                    links += 1;
                    if links > limit::SYMLINKS_MAX {
                        return Err(TreeError::Loop { path: path.clone() });
                    }
                    let target = here.link_target(target)?;
                    todo.extend(target.components().map(<[u8]>::to_vec).collect::<Vec<_>>().into_iter().rev());
                    done = TreePath::root();
                }
                _ => done = here,
            }
        }
        Ok(done)
    }

    /// Puts an entry in place, following symlinked directories and making missing parents; returns where it went.
    ///
    /// The rules are dpkg's: a directory stays when a symlink or directory comes in its place (of two directories the first one's
    /// metadata stays), a file replaces a file or link; a directory and a file clash.
    pub fn insert(&mut self, path: &TreePath, entry: Entry) -> Result<TreePath, TreeError> {
        if path.is_root() {
            return Ok(TreePath::root());
        }
        let real = self.resolve(path, false)?;
        self.make_parents(&real, &entry.origin)?;
        match self.entries.get(&real) {
            Some(old) if matches!(old.kind, Kind::Dir) => match entry.kind {
                Kind::Dir => {}
                // A link to a directory in place of a directory: what is in the directory stays reachable by its own path.
                Kind::Symlink(_) => {}
                _ => return Err(TreeError::Clash { path: real, old: old.noun(), new: entry.noun() }),
            },
            Some(old) if matches!(entry.kind, Kind::Dir) => match &old.kind {
                // A package ships `lib` as a directory where another has the link: the link stays if it leads to a directory.
                Kind::Symlink(_) if self.lookup(&real).is_none_or(|(_, target)| matches!(target.kind, Kind::Dir)) => {
                    let target = self.resolve(&real, true)?;
                    self.make_dirs(&target, &entry.origin)?;
                    return Ok(target);
                }
                _ => return Err(TreeError::Clash { path: real, old: old.noun(), new: entry.noun() }),
            },
            _ => {
                self.entries.insert(real.clone(), entry);
            }
        }
        Ok(real)
    }

    /// Puts an entry in place of whatever file or link was there, parents made as needed. For what this program itself makes.
    pub fn put(&mut self, path: &TreePath, entry: Entry) -> Result<TreePath, TreeError> {
        let real = self.resolve(path, false)?;
        self.make_parents(&real, &entry.origin)?;
        self.entries.insert(real.clone(), entry);
        Ok(real)
    }

    /// Makes a directory and its parents, links followed.
    pub fn make_dirs(&mut self, path: &TreePath, origin: &Origin) -> Result<TreePath, TreeError> {
        let real = self.resolve(path, true)?;
        self.make_parents(&real, origin)?;
        if !real.is_root() {
            let dir = self.entries.entry(real.clone()).or_insert_with(|| Entry::dir(origin.clone()));
            if !matches!(dir.kind, Kind::Dir) {
                return Err(TreeError::Clash { path: real, old: dir.noun(), new: "directory" });
            }
        }
        Ok(real)
    }

    /// Takes an entry out, without what is below it.
    pub fn remove(&mut self, path: &TreePath) -> Option<Entry> {
        self.entries.remove(path)
    }

    /// Keeps the entries for which `keep` says so. Whoever drops a directory drops what is in it first.
    pub fn retain(&mut self, keep: impl FnMut(&TreePath, &mut Entry) -> bool) {
        self.entries.retain(keep);
    }

    /// Returns the size of all regular files in bytes, each hard link set counted once.
    pub fn size_bytes(&self) -> u64 {
        let mut seen = std::collections::BTreeSet::new();
        let contents = self.entries.values().filter_map(Entry::content);
        contents.filter(|content| content.identity().is_some_and(|id| seen.insert(id))).map(|content| content.len() as u64).sum()
    }

    fn make_parents(&mut self, path: &TreePath, origin: &Origin) -> Result<(), TreeError> {
        let mut missing = Vec::new();
        let mut at = path.parent();
        while let Some(dir) = at.filter(|dir| !dir.is_root()) {
            match self.entries.get(&dir) {
                Some(entry) if matches!(entry.kind, Kind::Dir) => break,
                Some(entry) => {
                    return Err(TreeError::NotADirectory { path: path.clone(), ancestor: dir, noun: entry.noun() });
                }
                None => {
                    at = dir.parent();
                    missing.push(dir);
                }
            }
        }
        for dir in missing {
            self.entries.insert(dir, Entry::dir(origin.clone()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MADE: Origin = Origin::Made("test");

    fn path(text: &str) -> TreePath {
        TreePath::literal(text)
    }

    #[test]
    fn entries_go_through_symlinked_directories() {
        let mut tree = Tree::new();
        tree.insert(&path("lib"), Entry::symlink("usr/lib", MADE)).expect("a link");
        let real = tree.insert(&path("lib/udev/rules.d/x"), Entry::file("x", MADE)).expect("a file");
        assert_eq!(real, path("usr/lib/udev/rules.d/x"));
        assert!(matches!(tree.get(&path("lib")).map(|e| &e.kind), Some(Kind::Symlink(_))));
        assert_eq!(tree.read(&path("lib/udev/rules.d/x")).map(Content::bytes), Some(&b"x"[..]));
        tree.insert(&path("lib"), Entry::dir(MADE)).expect("a directory where the link leads");
        assert!(matches!(tree.get(&path("lib")).map(|e| &e.kind), Some(Kind::Symlink(_))));
    }

    #[test]
    fn loops_and_escapes_end() {
        let mut tree = Tree::new();
        tree.insert(&path("a"), Entry::symlink("b", MADE)).expect("a link");
        tree.insert(&path("b"), Entry::symlink("a", MADE)).expect("a link");
        assert!(matches!(tree.insert(&path("a/x"), Entry::file("x", MADE)), Err(TreeError::Loop { .. })));
        tree.insert(&path("up"), Entry::symlink("../../../etc", MADE)).expect("a link");
        let real = tree.insert(&path("up/passwd"), Entry::file("x", MADE)).expect("a file");
        assert_eq!(real, path("etc/passwd"));
    }

    #[test]
    fn files_and_directories_clash() {
        let mut tree = Tree::new();
        tree.insert(&path("d/f"), Entry::file("x", MADE)).expect("a file");
        assert!(matches!(tree.insert(&path("d"), Entry::file("x", MADE)), Err(TreeError::Clash { .. })));
        assert!(matches!(tree.insert(&path("d/f"), Entry::dir(MADE)), Err(TreeError::Clash { .. })));
        assert!(matches!(tree.insert(&path("d/f/g"), Entry::file("x", MADE)), Err(TreeError::NotADirectory { .. })));
    }

    #[test]
    fn below_lists_only_what_is_below() {
        let mut tree = Tree::new();
        for name in ["usr/lib/a", "usr/lib/b/c", "usr/lib-x", "usr/lib64/d", "usr/la"] {
            tree.insert(&path(name), Entry::file("x", MADE)).expect(name);
        }
        let below: Vec<String> = tree.below(&path("usr/lib")).map(|(path, _)| path.to_string()).collect();
        assert_eq!(below, ["/usr/lib/a", "/usr/lib/b", "/usr/lib/b/c"]);
        let children: Vec<String> = tree.children(&path("usr/lib")).map(|(path, _)| path.to_string()).collect();
        assert_eq!(children, ["/usr/lib/a", "/usr/lib/b"]);
        assert_eq!(tree.below(&TreePath::root()).count(), tree.len());
    }

    #[test]
    fn hard_links_count_once() {
        let mut tree = Tree::new();
        let content = Content::from("hello");
        tree.insert(&path("a"), Entry::file(content.clone(), MADE)).expect("a file");
        tree.insert(&path("b"), Entry::file(content, MADE)).expect("a link");
        tree.insert(&path("c"), Entry::file("hello", MADE)).expect("another file");
        assert_eq!(tree.size_bytes(), 10);
    }
}
