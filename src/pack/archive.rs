//! Writes a tree as a cpio archive: sorted, numbered from one, times clamped, hard links as GNU cpio and the kernel know them.

use std::collections::BTreeMap;
use std::io::Write;

use crate::format::newc::{self, Header, WriteError};
use crate::tree::{Content, Entry, Kind, Meta, Tree};

/// What two names of one file have in common: the same memory, and the same metadata, for they share an inode.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileKey(Option<(usize, usize)>, usize, [u32; 4]);

impl FileKey {
    pub(super) fn of(content: &Content, meta: Meta, epoch_s: u32) -> Self {
        Self(content.identity(), content.len(), [meta.mode, meta.uid, meta.gid, meta.mtime_s.min(epoch_s)])
    }
}

/// Counts the names of each file.
pub(super) fn names_by_file(tree: &Tree, epoch_s: u32) -> BTreeMap<FileKey, u32> {
    let mut names = BTreeMap::new();
    for (content, meta) in tree.iter().filter_map(|(_, entry)| Some((entry.content()?, entry.meta))) {
        if content.identity().is_some() {
            *names.entry(FileKey::of(content, meta, epoch_s)).or_default() += 1;
        }
    }
    names
}

/// Writes a tree as one archive, sorted by path, and returns the output.
pub fn archive<W: Write>(tree: &Tree, epoch_s: u32, out: W) -> Result<W, WriteError> {
    let names = names_by_file(tree, epoch_s);
    let mut links: BTreeMap<FileKey, Links> =
        names.into_iter().map(|(file, total)| (file, Links { total, ..Links::default() })).collect();
    let mut writer = newc::Writer::new(out);
    let mut inode = 0;
    for (path, entry) in tree.iter() {
        let mut header = header(entry, epoch_s);
        let mut data: &[u8] = match &entry.kind {
            Kind::File(content) => content.bytes(),
            Kind::Symlink(target) => target,
            _ => &[],
        };
        let shared = entry.content().and_then(|content| links.get_mut(&FileKey::of(content, entry.meta, epoch_s)));
        match shared.filter(|links| links.total > 1) {
            Some(links) => {
                links.seen += 1;
                if links.seen == 1 {
                    inode += 1;
                    links.inode = inode;
                }
                (header.inode, header.links) = (links.inode, links.total);
                // The data stands with the last name, as GNU cpio and the kernel expect it.
                if links.seen < links.total {
                    data = &[];
                }
            }
            None => {
                inode += 1;
                header.inode = inode;
            }
        }
        writer.entry(path.as_bytes(), &header, data.len() as u64)?;
        writer.data(data)?;
    }
    Ok(writer.finish()?.0)
}

#[derive(Default)]
struct Links {
    inode: u64,
    total: u32,
    seen: u32,
}

fn header(entry: &Entry, epoch_s: u32) -> Header {
    let meta = entry.meta;
    let (kind, node) = match entry.kind {
        Kind::Dir => (newc::S_IFDIR, (0, 0)),
        Kind::File(_) => (newc::S_IFREG, (0, 0)),
        Kind::Symlink(_) => (newc::S_IFLNK, (0, 0)),
        Kind::Fifo => (newc::S_IFIFO, (0, 0)),
        Kind::Device { block: true, major, minor } => (newc::S_IFBLK, (major, minor)),
        Kind::Device { major, minor, .. } => (newc::S_IFCHR, (major, minor)),
    };
    // A symlink has no mode of its own; writing one constant keeps the umask of whoever made it out of the bytes.
    let mode = if kind == newc::S_IFLNK { 0o777 } else { meta.mode & 0o7777 };
    Header {
        mode: kind | mode,
        uid: meta.uid,
        gid: meta.gid,
        links: if kind == newc::S_IFDIR { 2 } else { 1 },
        mtime_s: meta.mtime_s.min(epoch_s).into(),
        node,
        ..Header::default()
    }
}
