//! Reads an image that exists, ours or another tool's, the way the kernel does: segments, entries, the manifest.
//!
//! The kernel's rules (init/initramfs.c): zeros between segments are passed over; an uncompressed archive begins with `0` at a multiple
//! of four; anything else is a compressed stream, which holds whole archives. Of a unified kernel image, the initrd is in the sections
//! `.ucode` and `.initrd`, which its stub hands to the kernel one after the other.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::base::error::{Diagnostic, ErrorKind};
use crate::format::compress::{Format, member};
use crate::format::newc::{self, Member, Reader};
use crate::format::pe::{self, Pe, PeError, Section};
use crate::tree::disk::{self, DiskError};
use crate::tree::{BadPath, Content, Entry, Kind, Meta, Origin, Tree, TreeError, TreePath};

/// Where the manifest lies inside an image.
pub const MANIFEST_PATH: &str = "etc/mkinitrd-pkg/manifest.json";
/// What all compressed segments of an image together may unpack to: more would not boot on any usual machine.
const UNPACKED_BYTES_MAX: u64 = 2 << 30;
/// How much smaller compression makes an initrd at most: ours become a third, one of zeros a ten-thousandth.
const RATIO_MAX: u64 = 200;
/// What even the smallest image may unpack to.
const UNPACKED_BYTES_FREE: u64 = 256 << 20;
/// Segments of one image: ours have four, a boot loader may add a handful.
const SEGMENTS_MAX: usize = 1_000;

/// An image, unpacked into memory.
#[derive(Debug)]
pub struct Found {
    /// Its segments in order.
    pub segments: Vec<FoundSegment>,
    /// The sections of the unified kernel image that it is part of; empty if it is a file of its own.
    pub sections: Vec<Section>,
}

/// A segment of an image: one uncompressed archive, or one compressed stream with its archives.
#[derive(Debug)]
pub struct FoundSegment {
    /// Where it begins in the image.
    pub offset_bytes: u64,
    /// How long it is there, without the padding behind it.
    pub size_bytes: u64,
    /// How it is compressed.
    pub format: Format,
    /// The size of its archives before compression.
    pub unpacked_bytes: u64,
    /// What is in it, in order.
    pub entries: Vec<FoundEntry>,
}

impl FoundSegment {
    /// Tells whether this is where a kernel finds microcode: an uncompressed archive with it. Only the image's first counts.
    pub fn is_early(&self) -> bool {
        let is_microcode = |entry: &FoundEntry| entry.name.starts_with(b"kernel/x86/microcode/");
        self.format == Format::None && self.entries.iter().any(is_microcode)
    }
}

/// An entry of an image.
#[derive(Debug, Clone)]
pub struct FoundEntry {
    /// The name as it stands there.
    pub name: Vec<u8>,
    /// What it is; of a hard link set, every name has the content.
    pub kind: Kind,
    /// Permissions, owner, time.
    pub meta: Meta,
    /// The size of its data in bytes.
    pub size_bytes: u64,
    /// The names of a hard link set have this in common within their segment.
    pub link_set: Option<u32>,
}

/// Why an image cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is nothing in it.
    #[error("the image is empty")]
    Empty,
    /// Something is neither an archive nor compressed.
    #[error("the image is damaged at byte {offset_bytes}: neither a cpio archive nor a compressed one begins with `{found}`")]
    Magic {
        /// Where.
        offset_bytes: u64,
        /// What is there.
        found: String,
    },
    /// The kernel would drop this archive.
    #[error("the archive at byte {offset_bytes} does not begin at a multiple of four: the kernel drops it")]
    Alignment {
        /// Where.
        offset_bytes: u64,
    },
    /// An archive is damaged.
    #[error("the {format} segment at byte {offset_bytes} of the image is damaged")]
    Archive {
        /// Where its segment begins.
        offset_bytes: u64,
        /// How that is compressed.
        format: Format,
        /// What is wrong.
        #[source]
        source: newc::ReadError,
    },
    /// A compressed stream is damaged.
    #[error("cannot unpack the {format} segment at byte {offset_bytes} of the image")]
    Compressed {
        /// Where it begins.
        offset_bytes: u64,
        /// How it is compressed.
        format: Format,
        /// What is wrong.
        #[source]
        source: io::Error,
    },
    /// A name in an archive would lead out of the root, or cannot be a name.
    #[error(transparent)]
    Path(#[from] BadPath),
    /// Names and links in the image do not make a tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// It begins like a unified kernel image.
    #[error("the unified kernel image is damaged")]
    Unified(#[from] PeError),
    /// It is a program for UEFI, but no unified kernel image.
    #[error("it is a program for UEFI without an initrd: it has no section `.initrd`")]
    NoInitrd,
    /// More segments than any image has.
    #[error("the image has more than {SEGMENTS_MAX} segments")]
    TooManySegments,
    /// The tree cannot be written out.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Diagnostic for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Disk(_) => ErrorKind::Output,
            _ => ErrorKind::Untrusted,
        }
    }
}

/// Reads an image.
pub fn read(image: Vec<u8>) -> Result<Found, Error> {
    let mut found = Found { segments: Vec::new(), sections: Vec::new() };
    if !pe::is_pe(&image) {
        let whole = 0..image.len();
        read_part(&Arc::new(image), whole, &mut found)?;
    } else {
        found.sections = Pe::parse(&image)?.sections().to_vec();
        let named = |name| found.sections.iter().find(|section| section.name == name).map(Section::content);
        let parts = [named(".ucode"), Some(named(".initrd").ok_or(Error::NoInitrd)?)];
        let image = Arc::new(image);
        for part in parts.into_iter().flatten() {
            read_part(&image, part, &mut found)?;
        }
    }
    if found.segments.is_empty() { Err(Error::Empty) } else { Ok(found) }
}

/// Reads the segments of a part of a file, which the kernel gets as if it began there.
fn read_part(image: &Arc<Vec<u8>>, part: Range<usize>, found: &mut Found) -> Result<(), Error> {
    let before: u64 = found.segments.iter().map(|segment| segment.unpacked_bytes).sum();
    let mut budget = UNPACKED_BYTES_MAX.min(UNPACKED_BYTES_FREE + RATIO_MAX * part.len() as u64).saturating_sub(before);
    let mut at = part.start;
    while let Some(skipped) = image[at..part.end].iter().position(|byte| *byte != 0) {
        at += skipped;
        let (segment, consumed) = segment(image, at..part.end, part.start, budget)?;
        at += consumed;
        if segment.format != Format::None {
            budget = budget.saturating_sub(segment.unpacked_bytes);
        }
        found.segments.push(segment);
        if found.segments.len() > SEGMENTS_MAX {
            return Err(Error::TooManySegments);
        }
    }
    Ok(())
}

/// Reads the segment at the beginning of `range`, in an image that begins at `start`.
fn segment(
    image: &Arc<Vec<u8>>,
    range: Range<usize>,
    start: usize,
    unpacked_bytes_max: u64,
) -> Result<(FoundSegment, usize), Error> {
    let (rest, offset_bytes) = (&image[range.clone()], range.start as u64);
    let (format, entries, consumed, unpacked) = if Reader::is_archive(rest) {
        if !(range.start - start).is_multiple_of(4) {
            return Err(Error::Alignment { offset_bytes });
        }
        let wrong = |source| Error::Archive { offset_bytes, format: Format::None, source };
        let (entries, consumed) = archive(image, range).map_err(wrong)?;
        (Format::None, entries, consumed, consumed)
    } else {
        let format = Format::sniff(rest);
        if format == Format::None {
            return Err(Error::Magic { offset_bytes, found: rest[..rest.len().min(6)].escape_ascii().to_string() });
        }
        let member = member::decode(format, rest, unpacked_bytes_max).map_err(|source| Error::Compressed {
            offset_bytes,
            format,
            source,
        })?;
        let unpacked = member.bytes.len();
        let entries = archives(&Arc::new(member.bytes)).map_err(|source| Error::Archive { offset_bytes, format, source })?;
        (format, entries, member.consumed_bytes, unpacked)
    };
    let (size_bytes, unpacked_bytes) = (consumed as u64, unpacked as u64);
    Ok((FoundSegment { offset_bytes, size_bytes, format, unpacked_bytes, entries }, consumed))
}

/// Reads the archives of a compressed stream; between and behind them there may be zeros.
fn archives(data: &Arc<Vec<u8>>) -> Result<Vec<FoundEntry>, newc::ReadError> {
    let (mut all, mut at, mut sets) = (Vec::new(), 0, 0);
    while let Some(skipped) = data[at..].iter().position(|byte| *byte != 0) {
        at += skipped;
        let (mut entries, consumed) = archive(data, at..data.len())?;
        // Link sets of different archives are different sets.
        for set in entries.iter_mut().filter_map(|entry| entry.link_set.as_mut()) {
            *set += sets;
        }
        sets = entries.iter().filter_map(|entry| entry.link_set).max().map_or(sets, |max| max + 1);
        all.append(&mut entries);
        at += consumed;
    }
    Ok(all)
}

/// Reads one archive and returns its length. Hard links get the content of the last of their names that has any, as in the kernel.
fn archive(data: &Arc<Vec<u8>>, range: Range<usize>) -> Result<(Vec<FoundEntry>, usize), newc::ReadError> {
    let start = range.start;
    let mut reader = Reader::new(&data[range]);
    let (mut entries, mut sets) = (Vec::new(), BTreeMap::new());
    let mut contents: Vec<Content> = Vec::new();
    while let Some(member) = reader.next_member().map_err(|err| newc::ReadError { at: err.at + start, ..err })? {
        let content = Content::slice(data, start + member.data_at..start + member.data_at + member.data.len());
        let mut entry = entry(&member, content.clone());
        if let Kind::File(_) = entry.kind
            && member.header.links > 1
        {
            let set = *sets.entry((member.header.device, member.header.inode)).or_insert(contents.len());
            entry.link_set = u32::try_from(set).ok();
            match contents.get_mut(set) {
                None => contents.push(content),
                Some(known) if !content.is_empty() => *known = content,
                Some(_) => {}
            }
        }
        entries.push(entry);
    }
    for entry in &mut entries {
        if let (Kind::File(content), Some(set)) = (&mut entry.kind, entry.link_set) {
            *content = contents[set as usize].clone();
            entry.size_bytes = content.len() as u64;
        }
    }
    Ok((entries, reader.position()))
}

fn entry(member: &Member<'_>, content: Content) -> FoundEntry {
    let header = &member.header;
    let (major, minor) = header.node;
    let kind = match header.mode & newc::S_IFMT {
        newc::S_IFDIR => Kind::Dir,
        newc::S_IFLNK => Kind::Symlink(member.data.to_vec()),
        newc::S_IFBLK => Kind::Device { block: true, major, minor },
        newc::S_IFCHR => Kind::Device { block: false, major, minor },
        newc::S_IFIFO => Kind::Fifo,
        _ => Kind::File(content),
    };
    // The field has 32 bits: nothing is lost.
    let mtime_s = header.mtime_s as u32;
    let meta = Meta { mode: header.mode & 0o7777, uid: header.uid, gid: header.gid, mtime_s };
    FoundEntry { name: member.name.to_vec(), kind, meta, size_bytes: member.data.len() as u64, link_set: None }
}

/// What the kernel would have after unpacking.
#[derive(Debug)]
pub struct Merged {
    /// The tree.
    pub tree: Tree,
    /// Names of entries that the kernel drops without a word, because their directory is not there or is none.
    pub dropped: Vec<Vec<u8>>,
}

/// What was written out of an image.
#[derive(Debug)]
pub struct Extracted {
    /// How many entries the merged tree has.
    pub entries: usize,
    /// The device nodes among them that an ordinary user could not make.
    pub left_out: Vec<TreePath>,
    /// Names of entries that the kernel drops.
    pub dropped: Vec<Vec<u8>>,
}

impl Found {
    /// Returns all entries with the number of their segment, in order.
    pub fn list(&self) -> impl Iterator<Item = (usize, &FoundEntry)> {
        self.segments.iter().enumerate().flat_map(|(number, segment)| segment.entries.iter().map(move |entry| (number, entry)))
    }

    /// Returns the manifest if the image has one: the last, as in the kernel.
    pub fn manifest(&self) -> Option<Content> {
        let named = |entry: &&FoundEntry| entry.name.strip_prefix(b"./").unwrap_or(&entry.name) == MANIFEST_PATH.as_bytes();
        let entries: Vec<_> = self.list().map(|(_, entry)| entry).filter(named).collect();
        entries.into_iter().rev().find_map(|entry| match &entry.kind {
            Kind::File(content) => Some(content.clone()),
            _ => None,
        })
    }

    /// Merges all segments as the kernel does: later entries win.
    pub fn into_tree(self) -> Result<Merged, Error> {
        let mut merged = Merged { tree: Tree::new(), dropped: Vec::new() };
        let mut links = Links::new();
        for entry in self.segments.into_iter().flat_map(|segment| segment.entries) {
            let path = TreePath::parse(&entry.name)?;
            if !path.is_root() && !place(&mut merged.tree, &mut links, &path, &entry)? {
                merged.dropped.push(entry.name);
            }
        }
        Ok(merged)
    }

    /// Writes the merged tree below `directory`, which must be absent or empty; links in the image are followed inside it only.
    pub fn extract(self, directory: &Path) -> Result<Extracted, Error> {
        let Merged { tree, dropped } = self.into_tree()?;
        Ok(Extracted { entries: tree.len(), left_out: disk::write(&tree, directory)?, dropped })
    }
}

/// The names of each hard link set, by where its content lies.
type Links = BTreeMap<(usize, usize), Vec<TreePath>>;

/// Puts one entry where the kernel would; tells whether there was a place.
fn place(tree: &mut Tree, links: &mut Links, path: &TreePath, entry: &FoundEntry) -> Result<bool, Error> {
    let real = tree.resolve(path, false)?;
    let parent = real.parent().unwrap_or_default();
    let is_dir = |tree: &Tree, path: &TreePath| tree.get(path).is_some_and(|entry| matches!(entry.kind, Kind::Dir));
    if !parent.is_root() && !is_dir(tree, &parent) {
        return Ok(false);
    }
    let new = Entry { meta: entry.meta, kind: entry.kind.clone(), origin: Origin::Made("image") };
    match tree.get(&real).map(|old| old.kind.clone()) {
        Some(Kind::Dir) if matches!(new.kind, Kind::Dir) => {
            tree.get_mut(&real).expect("invariant: it was just seen").meta = new.meta;
            return Ok(true);
        }
        // The kernel removes only an empty directory to make room.
        Some(Kind::Dir) if tree.below(&real).next().is_some() => return Ok(false),
        // It opens an existing file and writes into it, so all its names change; within a link set that is how they come to be.
        // It opens an existing file and writes into it, so all its other names change too.
        Some(Kind::File(old)) if matches!(new.kind, Kind::File(_)) => {
            let names = old.identity().and_then(|id| links.remove(&id)).unwrap_or_default();
            for name in &names {
                if let Some(other) = tree.get_mut(name).filter(|other| other.content().is_some_and(|it| it.same_file(&old))) {
                    (other.kind, other.meta) = (new.kind.clone(), new.meta);
                }
            }
            // They stay names of one file.
            if let Some(id) = new.content().and_then(Content::identity) {
                links.entry(id).or_default().extend(names);
            }
        }
        _ => {}
    }
    if let (Some(_), Some(id)) = (entry.link_set, new.content().and_then(Content::identity)) {
        links.entry(id).or_default().push(real.clone());
    }
    tree.put(&real, new)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::newc::{Header, Writer};

    fn archive(entries: &[(&str, u32, &str)]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        for (at, (name, mode, data)) in entries.iter().enumerate() {
            let header = Header { inode: at as u64 + 1, mode: *mode, links: 1, ..Header::default() };
            writer.entry(name.as_bytes(), &header, data.len() as u64).expect("an entry");
            writer.data(data.as_bytes()).expect("data");
        }
        writer.finish().expect("an archive").0
    }

    const DIR: u32 = newc::S_IFDIR | 0o755;
    const FILE: u32 = newc::S_IFREG | 0o644;
    const LINK: u32 = newc::S_IFLNK | 0o777;

    fn merged(bytes: Vec<u8>) -> Merged {
        read(bytes).expect("an image").into_tree().expect("a tree")
    }

    fn text(tree: &Tree, path: &str) -> String {
        let content = tree.get(&TreePath::literal(path)).and_then(Entry::content).expect(path);
        String::from_utf8_lossy(content.bytes()).into_owned()
    }

    #[test]
    fn later_archives_win() {
        let first = archive(&[("d", DIR, ""), ("d/f", FILE, "old"), ("d/g", FILE, "g"), ("l", LINK, "d/g")]);
        let second = archive(&[("d", newc::S_IFDIR | 0o700, ""), ("d/f", FILE, "new"), ("l", FILE, "a file now")]);
        let merged = merged([first, second].concat());
        assert_eq!(merged.tree.len(), 4);
        assert_eq!(
            (text(&merged.tree, "d/f"), text(&merged.tree, "d/g"), text(&merged.tree, "l")),
            ("new".into(), "g".into(), "a file now".into())
        );
        assert_eq!(merged.tree.get(&TreePath::literal("d")).expect("there").meta.mode, 0o700);
    }

    #[test]
    fn what_the_kernel_drops_is_told() {
        let merged = merged(archive(&[
            ("absent/f", FILE, "x"),
            ("f", FILE, "x"),
            ("f/g", FILE, "x"),
            ("d", DIR, ""),
            ("d/x", FILE, "x"),
            ("d", FILE, "x"),
        ]));
        assert_eq!(merged.dropped, [b"absent/f".to_vec(), b"f/g".to_vec(), b"d".to_vec()]);
        assert_eq!(merged.tree.len(), 3);
    }

    #[test]
    fn e01_e02_names_and_links_do_not_lead_out_of_the_root() {
        for name in ["../x", "a/../../x", "/../x"] {
            assert!(matches!(read(archive(&[(name, FILE, "x")])).expect("an image").into_tree(), Err(Error::Path(_))), "{name}");
        }
        let dir = tempfile::tempdir().expect("a directory");
        let outside = dir.path().join("outside");
        std::fs::create_dir(&outside).expect("a directory");
        // A link out of the root in one archive, and files through it in the next.
        let target = outside.to_str().expect("text");
        let first = archive(&[("outside", DIR, ""), ("up", LINK, "../outside"), ("abs", LINK, target), ("self", LINK, "self")]);
        let second = archive(&[("up/a", FILE, "x"), ("abs/b", FILE, "x")]);
        let found = read([first.clone(), second].concat()).expect("an image");
        let extracted = found.extract(&dir.path().join("root")).expect("extracting");
        assert_eq!((extracted.left_out, extracted.dropped), (Vec::new(), vec![b"abs/b".to_vec()]));
        assert!(dir.path().join("root/outside/a").exists(), "links are followed inside the root");
        assert_eq!(std::fs::read_dir(&outside).expect("listing").count(), 0, "nothing came out of the root");
        let through = [first, archive(&[("self/x", FILE, "x")])].concat();
        assert!(matches!(read(through).expect("an image").into_tree(), Err(Error::Tree(TreeError::Loop { .. }))));
    }

    #[test]
    fn damaged_images_are_explained() {
        let good = archive(&[("f", FILE, "x")]);
        assert!(matches!(read(Vec::new()), Err(Error::Empty)));
        assert!(matches!(read(vec![0; 512]), Err(Error::Empty)));
        assert!(matches!(read([&good[..], b"junk"].concat()), Err(Error::Magic { found, .. }) if found == "junk"));
        let unaligned = [&good[..], &[0], &good].concat();
        let at = good.len() as u64 + 1;
        assert!(matches!(read(unaligned), Err(Error::Alignment { offset_bytes }) if offset_bytes == at));
        assert!(matches!(read(good[..good.len() - 100].to_vec()), Err(Error::Archive { .. })));
    }

    #[test]
    fn e10_a_bomb_ends_at_the_limit() {
        let zstd = "zstd:1".parse().expect("a compression");
        let bomb = crate::format::compress::encode::compress(zstd, &vec![0; 300 << 20], 1).expect("compressing");
        let err = read(bomb).expect_err("a bomb");
        assert!(matches!(err, Error::Compressed { source, .. } if source.kind() == io::ErrorKind::FileTooLarge));
    }

    #[test]
    fn the_last_manifest_counts() {
        let name = MANIFEST_PATH;
        let both = [archive(&[(name, FILE, "first")]), archive(&[("./etc/mkinitrd-pkg/manifest.json", FILE, "last")])].concat();
        assert_eq!(read(both).expect("an image").manifest().expect("a manifest").bytes(), b"last");
        assert!(read(archive(&[("f", FILE, "x")])).expect("an image").manifest().is_none());
    }
}
