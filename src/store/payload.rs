//! Keeps unpacked payloads by the digest of their package, so that a warm build decompresses nothing.
//!
//! One file a package, `<directory>/<version of this format>/<digest>`: a head, the contents of all regular files one after another, and an
//! index of all members. It is written under a temporary name and renamed, never changed; whoever has it open keeps a whole one. What is
//! read is checked: the index by its digest, each file that is used by its own. Anything wrong makes it as good as absent, and the next
//! build writes it anew. This guards against damage, not against somebody who may write to the directory: it must belong to the user, as
//! the whole cache does.
//!
//! Contents are stored as they are: see `docs/benchmarks.md` for what compressing them would cost.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::base::digest::{Hasher, Sha256};
use crate::base::fs::{self as base_fs, FileError};
use crate::base::limit;
use crate::tree::member::{Member, MemberKind};
use crate::tree::{Meta, TreePath};

/// Part of the path: raise it whenever the format or the meaning of a member changes.
const VERSION: &str = "v1";
const MAGIC: &[u8; 8] = b"mkpkgpl1";
/// Magic number, offset and size of the index, its digest.
const HEAD_BYTES: u64 = 8 + 8 + 8 + 32;
/// The index of a package with [`limit::ENTRIES_MAX`] entries of some length.
const INDEX_BYTES_MAX: u64 = 256 << 20;
const BUFFER_BYTES: usize = 256 << 10;

/// A directory of payloads. Any number of processes may use it at once.
#[derive(Debug, Clone)]
pub struct Store {
    directory: PathBuf,
    writable: bool,
}

impl Store {
    /// Returns the store below `directory`, which need not exist. Nothing is written unless `writable`.
    pub fn new(directory: &Path, writable: bool) -> Self {
        Self { directory: directory.join(VERSION), writable }
    }

    /// Returns the payload of a package; nothing if it is not here or damaged.
    pub fn open(&self, package: &Sha256) -> Option<Payload> {
        Payload::open(&self.path(package)).ok()
    }

    /// Begins to write the payload of a package; nothing when the store is not to be written.
    pub fn record(&self, package: &Sha256) -> Result<Option<Recorder>, FileError> {
        if !self.writable {
            return Ok(None);
        }
        base_fs::create_dir_all(&self.directory)?;
        let file = tempfile::Builder::new()
            .prefix(".new-")
            .tempfile_in(&self.directory)
            .map_err(FileError::on("create a file in", &self.directory))?;
        Ok(Some(Recorder {
            path: self.path(package),
            output: BufWriter::with_capacity(BUFFER_BYTES, file),
            offset: 0,
            index: Vec::new(),
            entries: 0,
            failure: None,
        }))
    }

    fn path(&self, package: &Sha256) -> PathBuf {
        self.directory.join(package.to_string())
    }
}

/// Where the content of a file lies in a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    offset: u64,
    digest: Sha256,
}

/// A stored payload.
#[derive(Debug)]
pub struct Payload {
    file: File,
    members: Vec<(Member, Option<Place>)>,
}

impl Payload {
    fn open(path: &Path) -> Result<Self, Damaged> {
        let file = File::open(path)?;
        let mut head = [0; HEAD_BYTES as usize];
        file.read_exact_at(&mut head, 0)?;
        let mut fields = Fields(&head);
        let magic = fields.take(8)?;
        let (offset, size) = (fields.u64()?, fields.u64()?);
        if magic != MAGIC || size > INDEX_BYTES_MAX || offset.checked_add(size) != Some(file.metadata()?.len()) {
            return Err(Damaged);
        }
        let mut index = vec![0; size as usize];
        file.read_exact_at(&mut index, offset)?;
        if Sha256::of(&index).as_bytes() != fields.take(32)? {
            return Err(Damaged);
        }
        let mut fields = Fields(&index);
        let mut members = Vec::new();
        while !fields.0.is_empty() {
            members.push(fields.member(offset)?);
        }
        Ok(Self { file, members })
    }

    /// Gives all members in archive order. Content is read only if `visit` reads it, and checked before it is given.
    pub fn read<E: From<io::Error>>(&self, visit: &mut dyn FnMut(Member, &mut dyn Read) -> Result<(), E>) -> Result<(), E> {
        for (member, place) in &self.members {
            let size_bytes = match member.kind {
                MemberKind::File(size_bytes) => size_bytes,
                _ => 0,
            };
            let mut content = StoredContent { file: &self.file, place: *place, size_bytes, bytes: None, given: 0 };
            visit(member.clone(), &mut content)?;
        }
        Ok(())
    }
}

/// Content that is fetched when first asked for.
struct StoredContent<'a> {
    file: &'a File,
    place: Option<Place>,
    size_bytes: u64,
    bytes: Option<Vec<u8>>,
    given: usize,
}

impl StoredContent<'_> {
    fn fetch(&self) -> io::Result<Vec<u8>> {
        let Some(place) = self.place else { return Ok(Vec::new()) };
        let mut bytes = vec![0; self.size_bytes as usize];
        self.file.read_exact_at(&mut bytes, place.offset)?;
        match Sha256::of(&bytes) == place.digest {
            true => Ok(bytes),
            false => Err(io::Error::new(io::ErrorKind::InvalidData, "the stored payload is damaged")),
        }
    }
}

impl Read for StoredContent<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.bytes.is_none() {
            self.bytes = Some(self.fetch()?);
        }
        let rest = &self.bytes.as_deref().unwrap_or_default()[self.given..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.given += count;
        Ok(count)
    }
}

/// A payload that is being written. Dropping it leaves nothing behind.
#[derive(Debug)]
pub struct Recorder {
    path: PathBuf,
    output: BufWriter<tempfile::NamedTempFile>,
    /// Bytes of content written so far.
    offset: u64,
    index: Vec<u8>,
    entries: usize,
    failure: Option<io::Error>,
}

impl Recorder {
    /// Lets `visit` have a member and writes all of its content, whether `visit` reads it or not.
    ///
    /// That it cannot be written is told by [`Recorder::finish`] only: the payload is of use without being stored.
    pub fn member<E: From<io::Error>>(
        &mut self,
        member: Member,
        data: &mut dyn Read,
        visit: &mut dyn FnMut(Member, &mut dyn Read) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.entries == 0 && self.failure.is_none() {
            self.failure = self.output.write_all(&[0; HEAD_BYTES as usize]).err();
            self.offset = HEAD_BYTES;
        }
        self.entries += 1;
        let start = self.offset;
        let copy = member.clone();
        let mut tee = Tee { data, recorder: self, hasher: Hasher::new() };
        visit(member, &mut tee)?;
        if matches!(copy.kind, MemberKind::File(_)) {
            io::copy(&mut tee, &mut io::sink())?;
        }
        let digest = tee.hasher.finish();
        encode(&mut self.index, &copy, Place { offset: start, digest });
        Ok(())
    }

    /// Gives the payload its name.
    pub fn finish(self) -> Result<(), FileError> {
        let Self { path, mut output, offset, index, entries, failure } = self;
        let write = |err| FileError::on("write", &path)(err);
        if let Some(err) = failure {
            return Err(write(err));
        }
        let offset = if entries == 0 { HEAD_BYTES } else { offset };
        let head =
            [&MAGIC[..], &offset.to_le_bytes(), &(index.len() as u64).to_le_bytes(), Sha256::of(&index).as_bytes()].concat();
        output.seek(SeekFrom::Start(offset)).map_err(write)?;
        output.write_all(&index).map_err(write)?;
        output.seek(SeekFrom::Start(0)).map_err(write)?;
        output.write_all(&head).map_err(write)?;
        let file = output.into_inner().map_err(|err| write(err.into_error()))?;
        // No fsync: a file that a crash has left short is noticed and written again.
        file.persist(&path).map(drop).map_err(|err| FileError::on("rename", &path)(err.error))
    }
}

/// Passes content on while writing it down.
struct Tee<'a> {
    data: &'a mut dyn Read,
    recorder: &'a mut Recorder,
    hasher: Hasher,
}

impl Read for Tee<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.data.read(buffer)?;
        if self.recorder.failure.is_none() {
            self.hasher.update(&buffer[..count]);
            self.recorder.offset += count as u64;
            self.recorder.failure = self.recorder.output.write_all(&buffer[..count]).err();
        }
        Ok(count)
    }
}

fn encode(index: &mut Vec<u8>, member: &Member, place: Place) {
    let bytes = |index: &mut Vec<u8>, text: &[u8]| {
        index.extend_from_slice(&(text.len() as u32).to_le_bytes());
        index.extend_from_slice(text);
    };
    bytes(index, member.path.as_bytes());
    let meta = &member.meta;
    for number in [meta.mode, meta.uid, meta.gid, meta.mtime_s] {
        index.extend_from_slice(&number.to_le_bytes());
    }
    bytes(index, member.capabilities.as_deref().unwrap_or("").as_bytes());
    match &member.kind {
        MemberKind::Dir => index.push(b'd'),
        MemberKind::Fifo => index.push(b'p'),
        MemberKind::File(size_bytes) => {
            index.push(b'f');
            index.extend_from_slice(&size_bytes.to_le_bytes());
            index.extend_from_slice(&place.offset.to_le_bytes());
            index.extend_from_slice(place.digest.as_bytes());
        }
        MemberKind::Symlink(target) => {
            index.push(b'l');
            bytes(index, target);
        }
        MemberKind::Hardlink(target) => {
            index.push(b'h');
            bytes(index, target.as_bytes());
        }
        MemberKind::Device { block, major, minor } => {
            index.push(if *block { b'b' } else { b'c' });
            index.extend_from_slice(&major.to_le_bytes());
            index.extend_from_slice(&minor.to_le_bytes());
        }
    }
}

/// A stored payload is not whole. What exactly is wrong interests nobody: it is written anew.
#[derive(Debug)]
struct Damaged;

impl From<io::Error> for Damaged {
    fn from(_: io::Error) -> Self {
        Damaged
    }
}

/// The rest of an index.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Damaged> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32, Damaged> {
        Ok(u32::from_le_bytes(*self.take(4)?.first_chunk().ok_or(Damaged)?))
    }

    fn u64(&mut self) -> Result<u64, Damaged> {
        Ok(u64::from_le_bytes(*self.take(8)?.first_chunk().ok_or(Damaged)?))
    }

    fn bytes(&mut self) -> Result<&'a [u8], Damaged> {
        let length = self.u32()? as usize;
        self.take(length)
    }

    fn path(&mut self) -> Result<TreePath, Damaged> {
        TreePath::parse(self.bytes()?).map_err(|_| Damaged)
    }

    /// Reads a member; all content lies before `content_end`.
    fn member(&mut self, content_end: u64) -> Result<(Member, Option<Place>), Damaged> {
        let path = self.path()?;
        let meta = Meta { mode: self.u32()? & 0o7777, uid: self.u32()?, gid: self.u32()?, mtime_s: self.u32()? };
        let capabilities = String::from_utf8(self.bytes()?.to_vec()).map_err(|_| Damaged)?;
        let mut place = None;
        let kind = match self.take(1)? {
            b"d" => MemberKind::Dir,
            b"p" => MemberKind::Fifo,
            b"f" => {
                let (size_bytes, offset) = (self.u64()?, self.u64()?);
                let digest = Sha256::from_bytes(*self.take(32)?.first_chunk().ok_or(Damaged)?);
                let inside = offset.checked_add(size_bytes).is_some_and(|end| end <= content_end);
                if size_bytes > limit::FILE_BYTES_MAX || !inside {
                    return Err(Damaged);
                }
                place = Some(Place { offset, digest });
                MemberKind::File(size_bytes)
            }
            b"l" => MemberKind::Symlink(self.bytes()?.to_vec()),
            b"h" => MemberKind::Hardlink(self.path()?),
            [kind @ (b'b' | b'c')] => MemberKind::Device { block: *kind == b'b', major: self.u32()?, minor: self.u32()? },
            _ => return Err(Damaged),
        };
        let capabilities = (!capabilities.is_empty()).then_some(capabilities);
        Ok((Member { path, meta, kind, capabilities }, place))
    }
}

/// Removes what an interrupted run has left: temporary files older than a day.
pub fn sweep(directory: &Path) -> Result<(), FileError> {
    for path in base_fs::list(&directory.join(VERSION))? {
        let temporary = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".new-"));
        let age = fs::metadata(&path).and_then(|meta| meta.modified()).ok().and_then(|time| time.elapsed().ok());
        if temporary && age.is_some_and(|age| age.as_secs() > 86_400) {
            fs::remove_file(&path).map_err(FileError::on("remove", &path))?;
        }
    }
    Ok(())
}
