//! Packs trees into an image: concatenated cpio archives, each compressed on its own, in the order and alignment that the kernel needs.
//!
//! Inode numbers count from one in each archive: the kernel forgets its table of hard links at every end mark, and a segment's bytes
//! must not depend on its neighbours, or it could not be kept, shared by several kernels, or shipped.

mod agree;
mod archive;
mod kernel;

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::thread;

use serde::Serialize;

use crate::base::digest::{Hasher, Sha256};
use crate::base::error::{Diagnostic, ErrorKind};
use crate::base::size::Size;
use crate::format::compress::encode::{self, Encoder};
use crate::format::compress::{Compression, Format};
use crate::format::newc::WriteError;
use crate::report::{Event, Reporter, Stage};
use crate::store::segments::SegmentStore;
use crate::tree::{Tree, TreePath};

pub use archive::archive;
pub use kernel::check_kernel;

/// Raised when the same tree becomes other bytes: part of every key of the segment store.
const FORMAT_VERSION: u32 = 1;
/// The kernel drops a segment that does not start at a multiple of four, and boots on without it.
const ALIGNMENT_BYTES: u64 = 4;
/// What the early segment is padded to: tools that split images look for the next one at a multiple of 512.
const EARLY_ALIGNMENT_BYTES: u64 = 512;
/// The kernel knows that an lz4 frame has ended by four zeros or the end of the image, nothing else (lib/decompress_unlz4.c).
const LZ4_END_BYTES: u64 = 4;
/// The size of an initrd has 32 bits in the boot protocols, and files on the ESP have 4 GiB at most.
const IMAGE_BYTES_MAX: u64 = u32::MAX as u64;
/// How many of the largest files an image over its budget is explained by.
const LARGEST_SHOWN: usize = 20;

/// The parts of an image, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SegmentName {
    /// CPU microcode; never compressed, for the kernel reads it before it can decompress.
    Early,
    /// Userland out of packages.
    Base,
    /// Modules, firmware and indexes for one kernel.
    Modules,
    /// Configuration of one machine.
    Host,
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SegmentName::Early => "early",
            SegmentName::Base => "base",
            SegmentName::Modules => "modules",
            SegmentName::Host => "host",
        })
    }
}

/// A part of an image to be packed.
#[derive(Debug, Clone)]
pub struct Segment {
    /// Which part.
    pub name: SegmentName,
    /// What is in it. Of a directory that an earlier segment has too, the earlier one's mode and owner count.
    pub tree: Tree,
    /// How it is compressed.
    pub compression: Compression,
}

/// How to pack.
#[derive(Debug, Clone, Default)]
pub struct Options<'a> {
    /// No entry is younger than this, in seconds since 1970 (`SOURCE_DATE_EPOCH`).
    pub epoch_s: u32,
    /// Threads to compress with; 0 is one a CPU. The bytes are the same for any number.
    pub threads: usize,
    /// Where packed segments are kept between runs.
    pub store: Option<&'a SegmentStore>,
    /// An image that was packed before: what both have in common is taken from it.
    pub twin: Option<&'a Image>,
    /// The size that the image must not exceed.
    pub size_bytes_max: Option<u64>,
}

/// A packed segment, for the manifest and for messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PackedSegment {
    /// Which part.
    pub name: SegmentName,
    /// Where it begins in the image.
    pub offset_bytes: u64,
    /// How long it is there, without the padding behind it.
    pub size_bytes: u64,
    /// Digest of these bytes.
    pub sha256: Sha256,
    /// How it is compressed, as in `--compress`.
    #[serde(serialize_with = "as_text")]
    pub compression: Compression,
    /// How many entries it has.
    pub entries: usize,
    /// The size of its archive before compression.
    pub unpacked_bytes: u64,
    /// Whether it came out of the segment store.
    pub reused: bool,
}

fn as_text<S: serde::Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// A packed image. Compressed segments are in memory; uncompressed ones are made out of their tree when written.
#[derive(Debug)]
pub struct Image {
    /// The segments in their order.
    pub segments: Vec<PackedSegment>,
    /// The size of the whole image.
    pub size_bytes: u64,
    /// What each segment was made from, by digest.
    keys: Vec<Sha256>,
    data: Vec<Data>,
    epoch_s: u32,
}

#[derive(Debug)]
enum Data {
    Packed(Arc<Vec<u8>>),
    Tree(Tree),
}

impl Image {
    /// Returns size, digest and bytes of the segment that was made from the same.
    fn shared(&self, name: SegmentName, key: &Sha256) -> Option<(u64, Sha256, Arc<Vec<u8>>)> {
        let number = self.segments.iter().position(|segment| segment.name == name).filter(|number| self.keys[*number] == *key)?;
        match &self.data[number] {
            Data::Packed(bytes) => Some((self.segments[number].size_bytes, self.segments[number].sha256, Arc::clone(bytes))),
            Data::Tree(_) => None,
        }
    }

    /// Writes the whole image; every time the same [`Image::size_bytes`] bytes.
    pub fn write_to(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut position = 0;
        for (segment, data) in self.segments.iter().zip(&self.data) {
            write_zeros(out, segment.offset_bytes - position)?;
            match data {
                Data::Packed(bytes) => out.write_all(bytes)?,
                Data::Tree(tree) => {
                    archive(tree, self.epoch_s, &mut *out)?;
                }
            }
            position = segment.offset_bytes + segment.size_bytes;
        }
        write_zeros(out, self.size_bytes - position)
    }
}

fn write_zeros(out: &mut dyn Write, mut count: u64) -> io::Result<()> {
    let zeros = [0; EARLY_ALIGNMENT_BYTES as usize];
    while count > 0 {
        let part = count.min(zeros.len() as u64);
        out.write_all(&zeros[..part as usize])?;
        count -= part;
    }
    Ok(())
}

/// Why an image cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An entry does not fit into a cpio archive.
    #[error("cannot put the {segment} segment into a cpio archive")]
    Archive {
        /// The segment.
        segment: SegmentName,
        /// What does not fit.
        #[source]
        source: WriteError,
    },
    /// The compressor failed.
    #[error("cannot compress the {segment} segment with {compression}")]
    Compress {
        /// The segment.
        segment: SegmentName,
        /// How.
        compression: Compression,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There are two segments of one name.
    #[error("an image cannot have two {0} segments")]
    Twice(SegmentName),
    /// The kernel could not find the microcode.
    #[error("the early segment must not be compressed, and is to be with {0}")]
    EarlyCompressed(Compression),
    /// What a later segment brings would destroy a directory of an earlier one, or the other way round.
    #[error("`{path}` is a {first_noun} in the {first} segment and a {second_noun} in the {second} segment")]
    Clash {
        /// The path.
        path: TreePath,
        /// The earlier segment.
        first: SegmentName,
        /// What it has there.
        first_noun: &'static str,
        /// The later segment.
        second: SegmentName,
        /// What it has there.
        second_noun: &'static str,
    },
    /// The kernel would write the later file into all names of the earlier one.
    #[error("the {second} segment replaces `{path}`, which has other names (hard links) in the {first} segment")]
    LinkReplaced {
        /// The path.
        path: TreePath,
        /// The earlier segment.
        first: SegmentName,
        /// The later segment.
        second: SegmentName,
    },
    /// The kernel takes this number for "no owner".
    #[error("`{path}` belongs to user or group 4294967295, which cannot be")]
    Owner {
        /// The path.
        path: TreePath,
    },
    /// The kernel makes no such symlink.
    #[error("the target of the symlink `{path}` has {target_bytes} bytes or a NUL; it must have 1 to 4095 bytes and none")]
    Symlink {
        /// The path.
        path: TreePath,
        /// How long its target is.
        target_bytes: usize,
    },
    /// The kernel cannot unpack what was asked for.
    #[error("the kernel cannot unpack {format}: its configuration has no `{option}=y`")]
    KernelLacks {
        /// The compression.
        format: Format,
        /// The option of the kernel's configuration.
        option: &'static str,
        /// The compressions that it has.
        has: Vec<&'static str>,
    },
    /// The image is too large for any boot loader.
    #[error("the image has {}, more than 4 GiB, which no boot loader takes", Size(*.size_bytes))]
    TooLarge {
        /// Its size.
        size_bytes: u64,
    },
    /// The image is larger than was allowed.
    #[error("the image has {} and must have at most {}; the largest files are {}", Size(*.size_bytes), Size(*.size_bytes_max), listed(.largest))]
    OverBudget {
        /// Its size.
        size_bytes: u64,
        /// The size that was allowed.
        size_bytes_max: u64,
        /// The largest files before compression, largest first.
        largest: Vec<(TreePath, u64)>,
    },
    /// `SOURCE_DATE_EPOCH` is not a time that an archive can hold.
    #[error("`SOURCE_DATE_EPOCH` must be a number of seconds from 0 to 4294967295, found `{0}`")]
    Epoch(String),
}

fn listed(largest: &[(TreePath, u64)]) -> String {
    let items: Vec<String> = largest.iter().map(|(path, size)| format!("`{path}` ({})", Size(*size))).collect();
    items.join(", ")
}

impl Diagnostic for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Twice(_) => ErrorKind::Internal,
            Error::EarlyCompressed(_) | Error::Epoch(_) => ErrorKind::Usage,
            Error::Clash { .. } | Error::LinkReplaced { .. } => ErrorKind::Config,
            Error::Archive { .. } | Error::Owner { .. } | Error::Symlink { .. } => ErrorKind::Untrusted,
            Error::Compress { .. } | Error::KernelLacks { .. } => ErrorKind::Host,
            Error::TooLarge { .. } | Error::OverBudget { .. } => ErrorKind::Output,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Error::KernelLacks { option: kernel::INITRD_OPTION, .. } => {
                vec!["choose a kernel that can have an initrd".to_owned()]
            }
            Error::KernelLacks { has, .. } if has.is_empty() => vec!["use `--compress none`".to_owned()],
            Error::KernelLacks { has, .. } => vec![format!("use `--compress {}`", has[0])],
            // It compresses from memory into memory: nothing else can be missing.
            Error::Compress { .. } => vec!["give it more memory, or use `--compress zstd:3`, which needs less".to_owned()],
            Error::OverBudget { .. } => {
                vec!["leave out packages or modules, or compress harder, as with `--compress zstd:19`".into()]
            }
            _ => Vec::new(),
        }
    }
}

/// Packs segments into an image. One without entries is left out.
pub fn pack(mut segments: Vec<Segment>, options: &Options<'_>, reporter: &dyn Reporter) -> Result<Image, Error> {
    reporter.event(&Event::Begin { stage: Stage::Pack });
    segments.retain(|segment| !segment.tree.is_empty());
    segments.sort_by_key(|segment| segment.name);
    agree::reconcile(&mut segments, options.epoch_s)?;
    let largest = largest(&segments);
    let count = segments.len();
    let (mut packed, mut keys, mut data, mut position) = (Vec::<PackedSegment>::new(), Vec::new(), Vec::new(), 0);
    for (done, segment) in segments.into_iter().enumerate() {
        let name = segment.name.to_string();
        reporter.event(&Event::Progress { stage: Stage::Pack, done: done as u64, total: count as u64, item: &name });
        let (info, key, bytes) = one(segment, position_aligned(position, ALIGNMENT_BYTES), options, reporter)?;
        position = info.offset_bytes + info.size_bytes;
        if info.name == SegmentName::Early {
            position = position_aligned(position, EARLY_ALIGNMENT_BYTES);
        }
        // At the end of the image too: boot loaders and stubs put archives of their own behind it.
        if info.compression.format == Format::Lz4 {
            position += LZ4_END_BYTES;
        }
        packed.push(info);
        keys.push(key);
        data.push(bytes);
    }
    let size_bytes = position_aligned(position, ALIGNMENT_BYTES);
    if size_bytes > IMAGE_BYTES_MAX {
        return Err(Error::TooLarge { size_bytes });
    }
    if let Some(size_bytes_max) = options.size_bytes_max.filter(|max| size_bytes > *max) {
        return Err(Error::OverBudget { size_bytes, size_bytes_max, largest });
    }
    reporter.event(&Event::End { stage: Stage::Pack, figures: &figures(&packed, size_bytes) });
    Ok(Image { segments: packed, size_bytes, keys, data, epoch_s: options.epoch_s })
}

fn figures(packed: &[PackedSegment], size_bytes: u64) -> String {
    let parts: Vec<String> = packed
        .iter()
        .map(|one| format!("{} {}{}", one.name, Size(one.size_bytes), if one.reused { " (kept)" } else { "" }))
        .collect();
    format!("{}: {}", Size(size_bytes), parts.join(", "))
}

fn position_aligned(position: u64, alignment: u64) -> u64 {
    position.next_multiple_of(alignment)
}

/// Packs one segment. The archive is made twice: first for its digest, which is the key under which the compressed segment is kept, and
/// its size, which zstd wants to know beforehand; that is cheaper than to hold it in memory.
fn one(
    segment: Segment,
    offset_bytes: u64,
    options: &Options<'_>,
    reporter: &dyn Reporter,
) -> Result<(PackedSegment, Sha256, Data), Error> {
    let Segment { name, tree, compression } = segment;
    let mut archived = Digesting::default();
    archive(&tree, options.epoch_s, &mut archived).map_err(|source| Error::Archive { segment: name, source })?;
    let unpacked_bytes = archived.size_bytes;
    let digest = archived.hasher.finish();
    let entries = tree.len();
    let info = |size_bytes, sha256, reused| PackedSegment {
        name,
        offset_bytes,
        size_bytes,
        sha256,
        compression,
        entries,
        unpacked_bytes,
        reused,
    };
    if compression.format == Format::None {
        return Ok((info(unpacked_bytes, digest, false), digest, Data::Tree(tree)));
    }
    let key = key(&digest, compression);
    if let Some((size_bytes, sha256, bytes)) = options.twin.and_then(|twin| twin.shared(name, &key)) {
        return Ok((info(size_bytes, sha256, true), key, Data::Packed(bytes)));
    }
    // The host segment may hold secrets: it is never kept anywhere but in the image.
    let store = options.store.filter(|_| name != SegmentName::Host);
    if let Some(bytes) = store.and_then(|store| or_told(store.get(&key), reporter).flatten()) {
        return Ok((info(bytes.len() as u64, Sha256::of(&bytes), true), key, Data::Packed(Arc::new(bytes))));
    }
    let bytes = compressed(&tree, compression, unpacked_bytes, options).map_err(|source| Error::Compress {
        segment: name,
        compression,
        source,
    })?;
    if let Some(store) = store {
        or_told(store.put(&key, &bytes), reporter);
    }
    Ok((info(bytes.len() as u64, Sha256::of(&bytes), false), key, Data::Packed(Arc::new(bytes))))
}

fn compressed(tree: &Tree, compression: Compression, unpacked_bytes: u64, options: &Options<'_>) -> io::Result<Vec<u8>> {
    let threads = match options.threads {
        0 => thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let encoder = Encoder::new(compression, unpacked_bytes, threads, Vec::new())?;
    // Headers are small and the encoders take a call each: gather them.
    let out = io::BufWriter::with_capacity(1 << 16, encoder);
    let out = archive(tree, options.epoch_s, out)?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.finish()
}

/// The archive's digest covers every path, mode, owner, time, kind and content; the rest is how it is compressed.
fn key(archive: &Sha256, compression: Compression) -> Sha256 {
    let mut hasher = Hasher::new();
    hasher.field(&FORMAT_VERSION.to_le_bytes());
    hasher.field(compression.to_string().as_bytes());
    hasher.field(encode::fingerprint().as_bytes());
    hasher.field(archive.as_bytes());
    hasher.finish()
}

/// The store only saves time: what is wrong with it is told, and the build goes on.
fn or_told<T>(result: Result<T, crate::base::fs::FileError>, reporter: &dyn Reporter) -> Option<T> {
    result
        .inspect_err(|err| {
            let message = format!("packed without the segment store: {err}: {}", err.source);
            reporter.event(&Event::Detail { stage: Stage::Pack, message: &message });
        })
        .ok()
}

/// Hashes and counts what is written.
#[derive(Default)]
struct Digesting {
    hasher: Hasher,
    size_bytes: u64,
}

impl Write for Digesting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hasher.update(bytes);
        self.size_bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn largest(segments: &[Segment]) -> Vec<(TreePath, u64)> {
    let trees = segments.iter().flat_map(|segment| segment.tree.iter());
    let mut sizes: Vec<(TreePath, u64)> =
        trees.filter_map(|(path, entry)| Some((path.clone(), entry.content()?.len() as u64))).collect();
    sizes.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    sizes.truncate(LARGEST_SHOWN);
    sizes
}

/// Reads the value of `SOURCE_DATE_EPOCH`.
pub fn parse_epoch(text: &str) -> Result<u32, Error> {
    let digits_only = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits_only.then(|| text.parse().ok()).flatten().ok_or_else(|| Error::Epoch(text.chars().take(80).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Silent;
    use crate::tree::{Content, Entry, Origin};

    const MADE: Origin = Origin::Made("test");

    fn path(text: &str) -> TreePath {
        TreePath::literal(text)
    }

    fn tree(entries: &[(&str, Entry)]) -> Tree {
        let mut tree = Tree::new();
        for (name, entry) in entries {
            tree.insert(&path(name), entry.clone()).expect("room");
        }
        tree
    }

    fn segment(name: SegmentName, tree: Tree) -> Segment {
        Segment { name, tree, compression: "none".parse().expect("a compression") }
    }

    fn packed(segments: Vec<Segment>) -> Result<Image, Error> {
        pack(segments, &Options::default(), &Silent)
    }

    fn bytes(tree: &Tree, epoch_s: u32) -> Vec<u8> {
        archive(tree, epoch_s, Vec::new()).expect("an archive")
    }

    #[test]
    fn segments_that_would_destroy_each_other_are_refused() {
        let base = tree(&[("lib", Entry::symlink("usr/lib", MADE)), ("usr/lib/x", Entry::file("x", MADE))]);
        // The kernel would remove the link `lib` to make the directory, and nothing would find its libraries.
        let modules = tree(&[("lib/modules/m.ko", Entry::file("m", MADE))]);
        let err = packed(vec![segment(SegmentName::Base, base.clone()), segment(SegmentName::Modules, modules)]);
        assert!(matches!(err, Err(Error::Clash { path: at, first_noun: "symlink", .. }) if at == path("lib")));
        let host = tree(&[("lib", Entry::symlink("elsewhere", MADE))]);
        packed(vec![segment(SegmentName::Base, base), segment(SegmentName::Host, host)]).expect("a link may replace a link");

        let shared = Content::from("shared");
        let base = tree(&[("a", Entry::file(shared.clone(), MADE)), ("b", Entry::file(shared, MADE))]);
        let host = tree(&[("a", Entry::file("new", MADE))]);
        let err = packed(vec![segment(SegmentName::Base, base), segment(SegmentName::Host, host)]);
        assert!(matches!(err, Err(Error::LinkReplaced { .. })));
    }

    #[test]
    fn segments_that_no_kernel_takes_are_refused() {
        let any = || tree(&[("x", Entry::file("x", MADE))]);
        let twice = packed(vec![segment(SegmentName::Base, any()), segment(SegmentName::Base, any())]);
        assert!(matches!(twice, Err(Error::Twice(SegmentName::Base))));
        let early = Segment { compression: "zstd".parse().expect("a compression"), ..segment(SegmentName::Early, any()) };
        assert!(matches!(packed(vec![early]), Err(Error::EarlyCompressed(_))));
        let mut nobody = any();
        nobody.get_mut(&path("x")).expect("there").meta.uid = u32::MAX;
        assert!(matches!(packed(vec![segment(SegmentName::Base, nobody)]), Err(Error::Owner { .. })));
        for target in ["", &"x".repeat(4096)] {
            let link = tree(&[("l", Entry::symlink(target, MADE))]);
            assert!(matches!(packed(vec![segment(SegmentName::Base, link)]), Err(Error::Symlink { .. })));
        }
        let nothing = packed(vec![segment(SegmentName::Base, any()), segment(SegmentName::Host, Tree::new())]);
        assert_eq!(nothing.expect("packing").segments.len(), 1);
    }

    #[test]
    fn f08_an_image_over_its_budget_names_its_largest_files() {
        let files: Vec<(String, Entry)> =
            (1..=30).map(|n| (format!("f{n}"), Entry::file("x".repeat(n * 100).as_str(), MADE))).collect();
        let files: Vec<(&str, Entry)> = files.iter().map(|(name, entry)| (name.as_str(), entry.clone())).collect();
        let options = Options { size_bytes_max: Some(10_000), ..Options::default() };
        let err = pack(vec![segment(SegmentName::Base, tree(&files))], &options, &Silent).expect_err("too large");
        let Error::OverBudget { largest, .. } = &err else { panic!("{err}") };
        assert_eq!(largest.len(), 20);
        assert_eq!(largest[0], (path("f30"), 3000));
        assert!(err.to_string().contains("`/f30` (3.0 kB), `/f29`"), "{err}");
    }

    #[test]
    fn missing_parents_are_made() {
        let mut holes = tree(&[("a/b/c", Entry::file("x", MADE))]);
        holes.remove(&path("a/b"));
        holes.remove(&path("a"));
        assert_eq!(packed(vec![segment(SegmentName::Base, holes)]).expect("packing").segments[0].entries, 3);
    }

    #[test]
    fn f02_times_are_clamped_and_the_epoch_is_a_number() {
        let mut old = tree(&[("x", Entry::file("x", MADE))]);
        let mut at = |mtime_s, epoch_s| {
            old.get_mut(&path("x")).expect("there").meta.mtime_s = mtime_s;
            u32::from_str_radix(std::str::from_utf8(&bytes(&old, epoch_s)[46..54]).expect("digits"), 16).expect("a number")
        };
        assert_eq!((at(5, 10), at(10, 10), at(11, 10), at(u32::MAX, u32::MAX)), (5, 10, 10, u32::MAX));
        assert_eq!(parse_epoch("1700000000").expect("a time"), 1_700_000_000);
        for text in ["", " 1", "1 ", "+1", "-1", "1.5", "yesterday", "4294967296", "99999999999999999999"] {
            assert!(matches!(parse_epoch(text), Err(Error::Epoch(found)) if found == text), "{text}");
        }
    }

    #[test]
    fn files_that_share_bytes_but_not_an_owner_are_not_links() {
        let shared = Content::from("shared");
        let mut two = tree(&[("a", Entry::file(shared.clone(), MADE)), ("b", Entry::file(shared, MADE))]);
        let linked = bytes(&two, 0);
        two.get_mut(&path("b")).expect("there").meta.mode = 0o600;
        let parted = bytes(&two, 0);
        let links = |bytes: &[u8]| bytes[38..46].to_vec();
        assert_eq!((links(&linked), links(&parted)), (b"00000002".to_vec(), b"00000001".to_vec()));
    }

    #[test]
    fn f05_a_compression_that_the_kernel_lacks_is_refused() {
        let config = "CONFIG_BLK_DEV_INITRD=y\nCONFIG_RD_GZIP=y\n# CONFIG_RD_LZ4 is not set\nCONFIG_RD_ZSTD=y\nCONFIG_RD_XZ=m\n";
        for (format, fits) in
            [(Format::Zstd, true), (Format::Gzip, true), (Format::None, true), (Format::Lz4, false), (Format::Xz, false)]
        {
            assert_eq!(check_kernel(Some(config), format).is_ok(), fits, "{format}");
            assert!(check_kernel(None, format).is_ok());
        }
        let err = check_kernel(Some(config), Format::Lz4).expect_err("not set");
        assert_eq!(err.to_string(), "the kernel cannot unpack lz4: its configuration has no `CONFIG_RD_LZ4=y`");
        assert_eq!(err.hints(), ["use `--compress zstd`"]);
        assert!(check_kernel(Some("CONFIG_RD_ZSTD=y\n"), Format::Zstd).is_err(), "no initrd at all");
    }
}
