//! The unpack stage: payloads become a tree.
//!
//! Packages are decompressed in parallel, the largest first, and merged in plan order, so that the result does not depend on the number of
//! threads. What `keep` refuses is never held in memory. A payload that was stored by an earlier run is read from there.
//!
//! Two packages may ship the same path if what they ship is the same; otherwise it is a clash and an error. dpkg would allow it where one
//! declares `Replaces` or has made a diversion in its scripts; in the closures of bookworm, trixie and sid that an initrd is made of, no
//! path has two owners with different content, so an error is what finds a wrong plan. Directories have the metadata of the
//! first package in plan order, as with dpkg.

mod collect;
mod layout;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use collect::{Collector, Kept};
pub use layout::Layout;

use crate::base::digest::{Hasher, HashingReader, Sha256};
use crate::base::error::{Diagnostic, ErrorKind};
use crate::base::limit;
use crate::base::size::Size;
use crate::family::{Family, InstalledFiles, LocalChange, Member, ReadError};
use crate::package::Package;
use crate::report::{Event, Reporter, Stage};
use crate::store::payload;
use crate::tree::{Entry, Kind, Meta, Origin, Tree, TreeError, TreePath};

/// What a package may take more than it claims, as a factor: Debian's `Installed-Size` is exact or too high.
const SIZE_FACTOR: u64 = 2;
/// What a package may take more than that, in bytes.
const SIZE_SLACK_BYTES: u64 = 16 << 20;

/// Opens a package file for reading from its start.
pub type Open<'a> = dyn Fn() -> io::Result<Box<dyn Read + Send>> + Sync + 'a;

/// Decides whether a path of a package (by its name) is kept. The path is canonical by the layout.
pub type Keep<'a> = dyn Fn(&TreePath, &str) -> bool + Sync + 'a;

/// A package to unpack.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// What the metadata say about it.
    pub package: &'a Package,
    /// Its place in the plan, which becomes the origin of its entries.
    pub index: u32,
    /// Where its payload is read.
    pub source: Source<'a>,
}

/// Where the payload of a package is read.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// In its file. That is opened twice for a package of which a hard link is kept without its target.
    File(&'a Open<'a>),
    /// On the machine, where it was read and verified already. It is never stored: the next build looks at the machine again.
    Installed(&'a InstalledFiles),
}

/// What is made of the packages.
#[derive(Debug)]
pub struct Unpacked {
    /// What was kept.
    pub tree: Tree,
    /// What `keep` refused, and the index of its package; directories only if nothing in them was kept.
    pub dropped: Vec<(TreePath, u32)>,
    /// What was changed or left out by policy.
    pub notes: Vec<Note>,
}

/// Something that differs from what the package ships.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Where.
    pub path: TreePath,
    /// Whose, by index.
    pub package: u32,
    /// What.
    pub remark: Remark,
}

/// What differs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Remark {
    /// A device node was left out.
    #[error("a device node is left out ({} {major}:{minor})", if *block { "block" } else { "character" })]
    Device {
        /// Block device, else character device.
        block: bool,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// Set-id bits were taken off.
    #[error("its set-id bits are taken off (mode {mode:04o})")]
    SetId {
        /// The mode as shipped.
        mode: u32,
    },
    /// File capabilities, which an initrd cannot hold.
    #[error("its file capabilities are lost ({0}): an initrd cannot hold them")]
    Capabilities(String),
    /// It is an installed file that is not as it was shipped.
    #[error("{0}")]
    Local(LocalChange),
}

/// Why packages cannot become a tree.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A package cannot be opened.
    #[error("cannot open the package file of `{package}`")]
    Open {
        /// Name and version.
        package: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A package cannot be read.
    #[error("cannot unpack `{package}`")]
    Read {
        /// Name and version.
        package: String,
        /// Where its file came from.
        location: String,
        /// What is wrong.
        #[source]
        source: ReadError,
    },
    /// Something cannot be where a package has it.
    #[error("cannot unpack `{package}`")]
    Tree {
        /// Name and version.
        package: String,
        /// What is wrong.
        #[source]
        source: TreeError,
    },
    /// Two packages ship different things under the same path.
    #[error("`{first}` and `{second}` both ship `{path}`, and not the same")]
    Clash {
        /// The path.
        path: TreePath,
        /// Name and version of the one that comes first in the plan.
        first: String,
        /// Name and version of the other.
        second: String,
    },
}

impl Diagnostic for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Open { .. } => ErrorKind::Unavailable,
            Error::Read { source: ReadError::Io(err), .. } if !is_damage(err) => ErrorKind::Unavailable,
            Error::Read { .. } => ErrorKind::Untrusted,
            Error::Tree { .. } | Error::Clash { .. } => ErrorKind::Unsolvable,
        }
    }

    fn place(&self) -> Option<String> {
        match self {
            Error::Read { location, .. } => Some(location.clone()),
            _ => None,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Error::Clash { second, path, .. } => {
                vec![format!("leave `{second}` out, or drop `{path}` from one of them with a prune rule")]
            }
            _ => Vec::new(),
        }
    }
}

/// Tells whether it is the bytes that are wrong, not the disk that they are on.
fn is_damage(err: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, InvalidData, UnexpectedEof, Unsupported};
    matches!(err.kind(), UnexpectedEof | InvalidData | FileTooLarge | Unsupported)
}

/// Unpacks packages; `inputs` are in plan order.
///
/// `payloads` is consulted and, if it is writable, filled; failing to fill it is a warning.
#[allow(clippy::too_many_arguments)]
pub fn unpack(
    inputs: &[Input<'_>],
    family: &dyn Family,
    layout: &Layout,
    keep: &Keep<'_>,
    payloads: Option<&payload::Store>,
    threads: usize,
    reporter: &dyn Reporter,
) -> Result<Unpacked, Error> {
    reporter.event(&Event::Begin { stage: Stage::Unpack });
    let worker = Worker { family, layout, keep, payloads, reporter };
    let mut merge = Merge::new(layout);
    for (input, kept) in inputs.iter().zip(worker.all(inputs, threads)?) {
        merge.package(inputs, input, kept)?;
    }
    let unpacked = merge.finish();
    for note in &unpacked.notes {
        let name = inputs.iter().find(|input| input.index == note.package).map_or("", |input| &input.package.name);
        let message = format!("`{}` of `{name}`: {}", note.path, note.remark);
        reporter.event(&match note.remark {
            Remark::Capabilities(_) => Event::Warning { stage: Stage::Unpack, message: &message },
            _ => Event::Detail { stage: Stage::Unpack, message: &message },
        });
    }
    let figures = format!("{} packages, {} entries, {}", inputs.len(), unpacked.tree.len(), Size(unpacked.tree.size_bytes()));
    reporter.event(&Event::End { stage: Stage::Unpack, figures: &figures });
    Ok(unpacked)
}

/// What all packages are read with.
struct Worker<'a> {
    family: &'a dyn Family,
    layout: &'a Layout,
    keep: &'a Keep<'a>,
    payloads: Option<&'a payload::Store>,
    reporter: &'a dyn Reporter,
}

impl Worker<'_> {
    /// Reads all packages, the largest first; returns what is kept of each, in the order of `inputs`.
    ///
    /// All of it is needed in the tree anyway, so that nothing is gained by merging early. Of several failures the first in plan order is told.
    fn all(&self, inputs: &[Input<'_>], threads: usize) -> Result<Vec<Kept>, Error> {
        let mut order: Vec<usize> = (0..inputs.len()).collect();
        order.sort_by_key(|i| std::cmp::Reverse(inputs[*i].package.installed_bytes.max(inputs[*i].package.size_bytes)));
        let (next, done, failed) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
        let results: Vec<Mutex<Option<Result<Kept, Error>>>> = inputs.iter().map(|_| Mutex::new(None)).collect();
        thread::scope(|scope| {
            for _ in 0..threads.clamp(1, inputs.len().max(1)) {
                scope.spawn(|| {
                    while let Some(i) = order.get(next.fetch_add(1, Ordering::Relaxed)).copied() {
                        if failed.load(Ordering::Relaxed) {
                            return;
                        }
                        let result = self.one(&inputs[i]);
                        failed.fetch_or(result.is_err(), Ordering::Relaxed);
                        *results[i].lock().expect("invariant: no thread panics while it holds this") = Some(result);
                        let done = done.fetch_add(1, Ordering::Relaxed) as u64 + 1;
                        let item = inputs[i].package.name.as_str();
                        self.reporter.event(&Event::Progress { stage: Stage::Unpack, done, total: inputs.len() as u64, item });
                    }
                });
            }
        });
        // After a failure some were never begun.
        let results = results.into_iter().filter_map(|slot| slot.into_inner().expect("invariant: no thread panicked"));
        results.collect()
    }

    /// Reads one package, from the store if it is there.
    fn one(&self, input: &Input<'_>) -> Result<Kept, Error> {
        let open_file = match input.source {
            Source::File(open) => open,
            Source::Installed(files) => return self.installed(input, files),
        };
        let open = |input: &Input<'_>| open_file().map_err(|source| Error::Open { package: input.package.to_string(), source });
        let key = payload_key(input.package);
        if let Some(kept) = self.payloads.and_then(|store| store.open(&key)).and_then(|stored| self.stored(input, &stored).ok()) {
            return Ok(kept);
        }
        let mut collector = self.collector(input);
        let mut recorder = match self.payloads.map(|store| store.record(&key)) {
            Some(Ok(recorder)) => recorder,
            Some(Err(err)) => {
                self.not_stored(input, &err);
                None
            }
            None => None,
        };
        let read =
            |source| Error::Read { package: input.package.to_string(), location: input.package.location.to_string(), source };
        let mut file = HashingReader::new(open(input)?);
        let result = self.family.read_as(input.package, &mut file, &mut |member, data| match &mut recorder {
            Some(recorder) => recorder.member(member, data, &mut |member, data| collector.take(member, data)),
            None => collector.take(member, data),
        });
        result.and_then(|()| same_file(input.package, file)).map_err(read)?;
        if collector.lacks_content() {
            let mut again = open(input)?;
            let mut visit = |member: Member, data: &mut dyn Read| collector.take_lacking(member, data);
            self.family.read_as(input.package, &mut *again, &mut visit).map_err(read)?;
        }
        if let Some(Err(err)) = recorder.map(payload::Recorder::finish) {
            self.not_stored(input, &err);
        }
        collector.finish().map_err(read)
    }

    /// Reads a stored payload. Whatever goes wrong, the package itself can still be read.
    fn stored(&self, input: &Input<'_>, payload: &payload::Payload) -> Result<Kept, ReadError> {
        let mut collector = self.collector(input);
        payload.read(&mut |member, data| collector.take(member, data))?;
        if collector.lacks_content() {
            payload.read(&mut |member, data| collector.take_lacking(member, data))?;
        }
        collector.finish()
    }

    /// Takes what was read of an installed package.
    fn installed(&self, input: &Input<'_>, files: &InstalledFiles) -> Result<Kept, Error> {
        let read =
            |source| Error::Read { package: input.package.to_string(), location: input.package.location.to_string(), source };
        let mut collector = self.collector(input);
        for (member, bytes) in &files.members {
            collector.take(member.clone(), &mut &bytes[..]).map_err(read)?;
        }
        files.dropped.iter().for_each(|path| collector.leave_out(path));
        files.notes.iter().for_each(|(path, change)| collector.note(path, Remark::Local(*change)));
        collector.finish().map_err(read)
    }

    fn collector<'a>(&'a self, input: &Input<'a>) -> Collector<'a> {
        let size_bytes_max = match input.package.installed_bytes {
            // Some repositories do not say.
            0 => limit::PAYLOAD_BYTES_MAX,
            claimed => claimed.saturating_mul(SIZE_FACTOR).saturating_add(SIZE_SLACK_BYTES).min(limit::PAYLOAD_BYTES_MAX),
        };
        Collector::new(input.package, input.index, self.layout, self.keep, size_bytes_max)
    }

    fn not_stored(&self, input: &Input<'_>, err: &crate::base::fs::FileError) {
        let message = format!("the unpacked `{}` is not kept for the next build: {err}: {}", input.package.name, err.source);
        self.reporter.event(&Event::Warning { stage: Stage::Unpack, message: &message });
    }
}

/// Returns what a payload is stored under: the file's digest, and who the metadata say it is, which was checked when it was stored.
fn payload_key(package: &Package) -> Sha256 {
    let mut hasher = Hasher::new();
    for field in [package.sha256.as_bytes(), package.name.as_bytes(), package.version.as_bytes(), package.arch.as_bytes()] {
        hasher.field(field);
    }
    hasher.finish()
}

/// Checks that the bytes that were read are those that were verified: what is stored must not depend on who else writes to the file.
fn same_file(package: &Package, file: HashingReader<Box<dyn Read + Send>>) -> Result<(), ReadError> {
    let (found, _) = file.finish();
    match found == package.sha256 {
        true => Ok(()),
        false => {
            let (wanted, found) = (package.sha256.to_string(), found.to_string());
            Err(ReadError::Mismatch { field: "digest", wanted, found })
        }
    }
}

/// The tree while packages enter it.
struct Merge<'a> {
    layout: &'a Layout,
    tree: Tree,
    /// Metadata of every directory, from the first package that ships it.
    dirs: BTreeMap<TreePath, (Meta, u32)>,
    dropped: Vec<(TreePath, u32)>,
    notes: Vec<Note>,
}

impl<'a> Merge<'a> {
    fn new(layout: &'a Layout) -> Self {
        let mut tree = Tree::new();
        for (link, target) in layout.links() {
            let target = String::from_utf8_lossy(&link.link_text(target)).into_owned();
            tree.put(link, Entry::symlink(&target, Origin::Made("layout"))).expect("invariant: an empty tree takes links");
        }
        Self { layout, tree, dirs: BTreeMap::new(), dropped: Vec::new(), notes: Vec::new() }
    }

    fn package(&mut self, inputs: &[Input<'_>], input: &Input<'_>, kept: Kept) -> Result<(), Error> {
        let tree_error = |source| Error::Tree { package: input.package.to_string(), source };
        let origin = Origin::Package(input.index);
        for (path, meta, wanted) in kept.dirs {
            if wanted {
                self.tree.insert(&path, Entry { meta, kind: Kind::Dir, origin: origin.clone() }).map_err(tree_error)?;
            }
            self.dirs.entry(path).or_insert((meta, input.index));
        }
        for (path, meta, kind) in kept.entries {
            let real = self.tree.resolve(&path, false).map_err(tree_error)?;
            match self.tree.get(&real) {
                Some(old) if matches!(old.kind, Kind::Dir) => {}
                Some(old) if old.kind == kind => continue,
                Some(old) => {
                    let first = match old.origin {
                        Origin::Package(index) => inputs.iter().find(|input| input.index == index),
                        _ => None,
                    };
                    let first = first.map_or("the layout".to_owned(), |input| input.package.to_string());
                    return Err(Error::Clash { path: real, first, second: input.package.to_string() });
                }
                None => {}
            }
            self.tree.insert(&path, Entry { meta, kind, origin: origin.clone() }).map_err(tree_error)?;
        }
        self.dropped.extend(kept.dropped.into_iter().map(|path| (path, input.index)));
        self.notes.extend(kept.notes);
        Ok(())
    }

    fn finish(mut self) -> Unpacked {
        for (link, target) in self.layout.links() {
            if self.tree.get(target).is_none() {
                self.tree.remove(link);
            }
        }
        for (path, (meta, index)) in self.dirs {
            match self.tree.get_mut(&path) {
                Some(entry) if matches!(entry.kind, Kind::Dir) => {
                    entry.meta = meta;
                    entry.origin = Origin::Package(index);
                }
                Some(_) => {}
                None if path.is_root() => {}
                None => self.dropped.push((path, index)),
            }
        }
        Unpacked { tree: self.tree, dropped: self.dropped, notes: self.notes }
    }
}
