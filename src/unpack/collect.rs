//! Takes one package's members and holds what of them is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::sync::Arc;

use super::layout::Layout;
use super::{Keep, Note, Remark};
use crate::family::ReadError;
use crate::package::Package;
use crate::tree::member::{Member, MemberKind};
use crate::tree::{Content, Kind, Meta, TreePath};

/// Files below this size share memory with others of their package. Of a kernel's 4 200 modules an image keeps a fifth: what shares
/// memory with one that is kept stays in memory until the image is written.
const LARGE_BYTES: u64 = 8 << 10;
/// How much memory small files share. What is not used is never touched.
const CHUNK_BYTES: usize = 64 << 10;
/// Memory set aside for a file before its bytes have been seen.
const AHEAD_BYTES_MAX: u64 = 64 << 20;

/// What is kept of a package, in archive order.
pub struct Kept {
    /// Everything but directories.
    pub entries: Vec<(TreePath, Meta, Kind)>,
    /// All directories; `true` for those that are kept for their own sake.
    pub dirs: Vec<(TreePath, Meta, bool)>,
    /// What is not kept, directories left out.
    pub dropped: Vec<TreePath>,
    /// What was changed or left out by policy.
    pub notes: Vec<Note>,
}

/// Where a file's bytes lie.
#[derive(Clone)]
struct Span {
    chunk: usize,
    start: usize,
    end: usize,
}

/// A regular file of the payload, under the name that came first.
struct Inode {
    meta: Meta,
    span: Option<Span>,
}

enum Pending {
    /// A file or another name of it: the index of its inode.
    File(usize),
    Other(Kind),
}

pub struct Collector<'a> {
    package: &'a Package,
    index: u32,
    layout: &'a Layout,
    keep: &'a Keep<'a>,
    /// What all regular files together may take, and what they take so far.
    size_bytes_max: u64,
    size_bytes: u64,
    chunks: Vec<Vec<u8>>,
    /// The chunk that small files go to.
    shared: Option<usize>,
    inodes: Vec<Inode>,
    /// What stands where; regular files with their inode.
    seen: BTreeMap<TreePath, Option<usize>>,
    /// Where symlinks lead in the root, and whether the package ships them under another name than they get.
    links: BTreeMap<TreePath, (TreePath, bool)>,
    entries: Vec<(TreePath, Meta, Pending)>,
    dirs: BTreeMap<TreePath, (Meta, bool)>,
    dropped: Vec<TreePath>,
    notes: Vec<Note>,
}

impl<'a> Collector<'a> {
    pub fn new(package: &'a Package, index: u32, layout: &'a Layout, keep: &'a Keep<'a>, size_bytes_max: u64) -> Self {
        Self {
            package,
            index,
            layout,
            keep,
            size_bytes_max,
            size_bytes: 0,
            chunks: Vec::new(),
            shared: None,
            inodes: Vec::new(),
            seen: BTreeMap::new(),
            links: BTreeMap::new(),
            entries: Vec::new(),
            dirs: BTreeMap::new(),
            dropped: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Takes a member; reads its content only if it is kept.
    pub fn take(&mut self, member: Member, data: &mut dyn Read) -> Result<(), ReadError> {
        let Member { path: shipped, meta, kind, capabilities } = member;
        let path = self.layout.canonical(shipped.clone());
        if self.is_layout_link(&shipped, &path, &kind)? {
            return Ok(());
        }
        if self.is_link_of_a_merge(&shipped, &path, &kind)? {
            return Ok(());
        }
        if kind == MemberKind::Dir {
            let kept = self.keeps(&path);
            self.dirs.entry(path).or_insert((meta, kept));
            return Ok(());
        }
        let inode = self.inode(&path, meta, &kind)?;
        if self.seen.insert(path.clone(), inode).is_some() {
            return Err(ReadError::Format(format!("`{path}` is in the payload twice")));
        }
        if !self.keeps(&path) {
            self.dropped.push(path);
            return Ok(());
        }
        if let Some(text) = capabilities {
            self.note(&path, Remark::Capabilities(text));
        }
        let pending = match kind {
            MemberKind::Device { block, major, minor } => {
                if !self.layout.allows_device(&path, block, major, minor) {
                    self.note(&path, Remark::Device { block, major, minor });
                    self.dropped.push(path);
                    return Ok(());
                }
                Pending::Other(Kind::Device { block, major, minor })
            }
            MemberKind::Symlink(target) => Pending::Other(Kind::Symlink(target)),
            MemberKind::Fifo => Pending::Other(Kind::Fifo),
            MemberKind::Dir | MemberKind::File(_) | MemberKind::Hardlink(_) => {
                let inode = inode.expect("invariant: files and their links have an inode");
                if let MemberKind::File(size_bytes) = kind {
                    self.inodes[inode].span = Some(self.store(size_bytes, data)?);
                }
                Pending::File(inode)
            }
        };
        // All names of a file have the metadata of the first.
        let meta = inode.map_or(meta, |inode| self.inodes[inode].meta);
        let meta = self.without_set_id(&path, meta);
        self.entries.push((path, meta, pending));
        Ok(())
    }

    /// Notes a path that was not looked at because it is not kept.
    pub fn leave_out(&mut self, shipped: &TreePath) {
        self.dropped.push(self.layout.canonical(shipped.clone()));
    }

    /// Tells whether content is lacking: something is kept that is a hard link to something that is not.
    pub fn lacks_content(&self) -> bool {
        !self.lacking().is_empty()
    }

    /// Takes a member of a second reading, for the content that was lacking.
    pub fn take_lacking(&mut self, member: Member, data: &mut dyn Read) -> Result<(), ReadError> {
        let path = self.layout.canonical(member.path);
        let MemberKind::File(size_bytes) = member.kind else { return Ok(()) };
        if let Some(Some(inode)) = self.seen.get(&path).copied()
            && self.lacking().contains(&inode)
        {
            self.inodes[inode].span = Some(self.store(size_bytes, data)?);
        }
        Ok(())
    }

    /// Returns what was kept.
    pub fn finish(self) -> Result<Kept, ReadError> {
        let chunks: Vec<_> = self.chunks.into_iter().map(Arc::new).collect();
        let inodes = self.inodes;
        let content = |inode: usize| {
            let span = inodes[inode].span.as_ref().ok_or_else(changed)?;
            Ok::<_, ReadError>(Content::slice(&chunks[span.chunk], span.start..span.end))
        };
        let entries = self.entries.into_iter().map(|(path, meta, pending)| {
            let kind = match pending {
                Pending::File(inode) => Kind::File(content(inode)?),
                Pending::Other(kind) => kind,
            };
            Ok((path, meta, kind))
        });
        Ok(Kept {
            entries: entries.collect::<Result<_, ReadError>>()?,
            dirs: self.dirs.into_iter().map(|(path, (meta, kept))| (path, meta, kept)).collect(),
            dropped: self.dropped,
            notes: self.notes,
        })
    }

    fn keeps(&self, path: &TreePath) -> bool {
        (self.keep)(path, &self.package.name)
    }

    /// Notes something about a path.
    pub fn note(&mut self, path: &TreePath, remark: Remark) {
        self.notes.push(Note { path: path.clone(), package: self.index, remark });
    }

    /// Tells whether this is the link of a merged directory, which the layout makes itself.
    fn is_layout_link(&self, shipped: &TreePath, canonical: &TreePath, kind: &MemberKind) -> Result<bool, ReadError> {
        let MemberKind::Symlink(target) = kind else { return Ok(false) };
        if shipped == canonical || !self.layout.links().any(|(link, _)| link == shipped) {
            return Ok(false);
        }
        match self.layout.canonical(shipped.link_target(target)?) == *canonical {
            true => Ok(true),
            false => {
                let target = target.escape_ascii();
                Err(ReadError::Format(format!("`{shipped}` leads to `{target}`, and must lead to `{canonical}`")))
            }
        }
    }

    /// Tells whether this link is there only because two directories are not merged for everybody: one to itself once they are (Fedora's
    /// `/usr/sbin/x -> ../bin/x`), or the second of two that lead to the same.
    fn is_link_of_a_merge(&mut self, shipped: &TreePath, path: &TreePath, kind: &MemberKind) -> Result<bool, ReadError> {
        let MemberKind::Symlink(target) = kind else { return Ok(false) };
        // A target that no path can be made of is looked at when the link is.
        let Ok(literal) = shipped.link_target(target) else { return Ok(false) };
        let target = self.layout.canonical(literal.clone());
        if target == *path && literal != *shipped {
            return Ok(true);
        }
        let is_moved = shipped != path;
        let before = self.links.insert(path.clone(), (target.clone(), is_moved));
        Ok(before.is_some_and(|(other, was_moved)| other == target && (is_moved || was_moved)))
    }

    /// Returns the inode of a regular file, a new one, or of a hard link, that of its target. Counts the size.
    fn inode(&mut self, path: &TreePath, meta: Meta, kind: &MemberKind) -> Result<Option<usize>, ReadError> {
        match kind {
            MemberKind::File(size_bytes) => {
                self.size_bytes = self.size_bytes.saturating_add(*size_bytes);
                if self.size_bytes > self.size_bytes_max {
                    let claimed = self.package.installed_bytes;
                    let limit = format!("{} bytes, for a package that claims to take {claimed}", self.size_bytes_max);
                    return Err(ReadError::Limit { what: "the payload".into(), limit });
                }
                self.inodes.push(Inode { meta, span: None });
                Ok(Some(self.inodes.len() - 1))
            }
            MemberKind::Hardlink(target) => {
                let target = self.layout.canonical(target.clone());
                let wrong = |what: &str| ReadError::Format(format!("`{path}` is a hard link to `{target}`, which {what}"));
                match self.seen.get(&target) {
                    Some(Some(inode)) => Ok(Some(*inode)),
                    Some(None) => Err(wrong("is no regular file")),
                    None if self.dirs.contains_key(&target) => Err(wrong("is a directory")),
                    None => Err(wrong("does not come before it in the package")),
                }
            }
            _ => Ok(None),
        }
    }

    fn lacking(&self) -> BTreeSet<usize> {
        let inodes = self.entries.iter().filter_map(|(_, _, pending)| match pending {
            Pending::File(inode) if self.inodes[*inode].span.is_none() => Some(*inode),
            _ => None,
        });
        inodes.collect()
    }

    fn without_set_id(&mut self, path: &TreePath, meta: Meta) -> Meta {
        if meta.mode & 0o6000 == 0 || self.layout.allows_set_id(path) {
            return meta;
        }
        self.note(path, Remark::SetId { mode: meta.mode });
        Meta { mode: meta.mode & !0o6000, ..meta }
    }

    fn store(&mut self, size_bytes: u64, data: &mut dyn Read) -> Result<Span, ReadError> {
        let size = usize::try_from(size_bytes).map_err(io::Error::other)?;
        let chunk = self.chunk_for(size_bytes, size);
        let buffer = &mut self.chunks[chunk];
        let start = buffer.len();
        data.take(size_bytes).read_to_end(buffer)?;
        match buffer.len() - start == size {
            true => Ok(Span { chunk, start, end: start + size }),
            false => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        }
    }

    fn chunk_for(&mut self, size_bytes: u64, size: usize) -> usize {
        let large = size_bytes >= LARGE_BYTES;
        if let Some(shared) =
            self.shared.filter(|shared| !large && self.chunks[*shared].capacity() - self.chunks[*shared].len() >= size)
        {
            return shared;
        }
        let capacity = if large { size_bytes.min(AHEAD_BYTES_MAX) as usize } else { CHUNK_BYTES };
        self.chunks.push(Vec::with_capacity(capacity));
        let chunk = self.chunks.len() - 1;
        if !large {
            self.shared = Some(chunk);
        }
        chunk
    }
}

/// A file that a second reading did not find again.
fn changed() -> ReadError {
    ReadError::Format("the package changed while it was read".into())
}
