//! Reads package files in one pass: what the package says it is, then its payload, each file compared with the digest that the header
//! has of it and the whole payload with its own.
//!
//! The cpio archive says only in which order contents come; what is made of them is in the header. Ghosts are not in the payload and
//! are not made. Format: rpm's docs/manual/format_v4.md, format_v6.md, large_files.md.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read};

use super::header::{self, Header, tag};
use super::owner;
use crate::base::digest::{Hasher, HashingReader, Sha256};
use crate::base::limit;
use crate::family::payload::{from_io, from_visit};
use crate::family::{Member, MemberKind, ReadError, Visit};
use crate::format::compress::Format;
use crate::format::compress::decode;
use crate::package::Package;
use crate::tree::{Meta, TreePath};

/// Decompressed bytes that wait between decompression and cpio.
const BUFFER_BYTES: usize = 128 << 10;
/// The digest algorithm that files have since rpm 4.6 (OpenPGP's number for SHA-256).
const SHA256: u64 = 8;
/// The flag of a file that may be edited.
pub(super) const CONFIG: u64 = 1;
/// The flag of a file that the package owns and does not bring.
const GHOST: u64 = 64;
/// What stands at the end of a cpio archive.
const TRAILER: &[u8] = b"TRAILER!!!";

/// What a package says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Name.
    pub name: String,
    /// `epoch:version-release`, without an epoch of zero.
    pub version: String,
    /// Architecture.
    pub arch: String,
    /// Configuration files: absolute paths.
    pub config_files: Vec<String>,
    /// What it requires of rpm itself: `rpmlib(PayloadIsZstd)`.
    pub features: Vec<String>,
}

/// Features of packages that are understood here, or that concern only scripts and versions.
const FEATURES: [&str; 20] = [
    "BuiltinLuaScripts",
    "CaretInVersions",
    "CompressedFileNames",
    "ConcurrentAccess",
    "DynamicBuildRequires",
    "ExplicitPackageProvide",
    "FileCaps",
    "FileDigests",
    "HeaderLoadSortsTags",
    "LargeFiles",
    "PartialHardlinkSets",
    "PayloadFilesHavePrefix",
    "PayloadIsBzip2",
    "PayloadIsLzma",
    "PayloadIsXz",
    "PayloadIsZstd",
    "RichDependencies",
    "ScriptletExpansion",
    "TildeInVersions",
    "VersionedDependencies",
];

/// A file as the header has it.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) name: Vec<u8>,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    size_bytes: u64,
    pub(super) mtime_s: u32,
    device: u64,
    pub(super) link: Vec<u8>,
    digest: Option<Sha256>,
    pub(super) capabilities: Option<String>,
    pub(super) is_ghost: bool,
    /// Which hard links belong together; none for a file that has one name.
    pub(super) set: Option<(u64, u64)>,
}

/// Reads what a package says about itself; the payload is not looked at.
pub fn identity(package_file: &mut dyn Read) -> Result<Identity, ReadError> {
    identify(&header::read(package_file)?)
}

/// Reads of a header what the package says about itself.
pub(super) fn identify(header: &Header) -> Result<Identity, ReadError> {
    let text = |tag, name: &str| header.text(tag).ok_or_else(|| ReadError::Format(format!("the header has no {name}")));
    let epoch = header.number(tag::EPOCH).filter(|epoch| *epoch != 0).map_or(String::new(), |epoch| format!("{epoch}:"));
    let (names, flags) = (names(header)?, header.numbers(tag::FILE_FLAGS));
    let is_config = |place: &usize| flags.get(*place).is_some_and(|flags| flags & CONFIG != 0);
    let config_files = (0..names.len()).filter(is_config).map(|place| String::from_utf8_lossy(&names[place]).into_owned());
    let requires = header.strings(tag::REQUIRE_NAMES).into_iter().map(|name| String::from_utf8_lossy(name).into_owned());
    // Source packages have an architecture, too.
    let arch = match header.text(tag::SOURCE_RPM) {
        Some(_) => text(tag::ARCH, "architecture")?,
        None => "src".to_owned(),
    };
    Ok(Identity {
        name: text(tag::NAME, "name")?,
        version: format!("{epoch}{}-{}", text(tag::VERSION, "version")?, text(tag::RELEASE, "release")?),
        arch,
        config_files: config_files.collect(),
        features: requires.filter(|name| name.starts_with("rpmlib(")).collect(),
    })
}

/// Reads the payload. With `expected`, the package must say that it is this one before anything is visited.
pub fn payload(package_file: &mut dyn Read, expected: Option<&Package>, visit: &mut Visit<'_>) -> Result<(), ReadError> {
    let header = header::read(package_file)?;
    let identity = identify(&header)?;
    if let Some(package) = expected {
        check_identity(&identity, package)?;
    }
    let is_known = |name: &&String| {
        !FEATURES.iter().any(|known| name.strip_prefix("rpmlib(").and_then(|rest| rest.strip_suffix(')')) == Some(known))
    };
    if let Some(feature) = identity.features.iter().find(is_known) {
        return Err(ReadError::Unsupported(format!("what the package requires of rpm, `{feature}`,")));
    }
    match header.text(tag::PAYLOAD_FORMAT).as_deref() {
        None | Some("cpio") => {}
        Some(other) => return Err(ReadError::Unsupported(format!("a payload in the format `{other}`"))),
    }
    let files = files(&header)?;
    let format = match header.text(tag::PAYLOAD_COMPRESSOR).as_deref() {
        None | Some("gzip") => Format::Gzip,
        Some("xz") => Format::Xz,
        Some("zstd") => Format::Zstd,
        Some("lzma") => Format::Lzma,
        Some("bzip2") => Format::Bzip2,
        Some("none" | "identity") => Format::None,
        Some(other) => return Err(ReadError::Unsupported(format!("the compression `{other}` of the payload"))),
    };
    let mut packed = HashingReader::new(package_file);
    // A package without files may have no payload at all.
    if files.is_empty() {
        io::copy(&mut packed, &mut io::sink())?;
        return check_digest(&header, &packed.finish().0);
    }
    let mut head = Vec::new();
    packed.by_ref().take(6).read_to_end(&mut head)?;
    // Nothing said means gzip, and to rpm's gzip reader what is not compressed is as good.
    let format = if format == Format::Gzip && head.starts_with(b"0707") { Format::None } else { format };
    let mut whole = (&head[..]).chain(&mut packed);
    let mut archive =
        Archive { bytes: BufReader::with_capacity(BUFFER_BYTES, decode::reader(format, &mut whole).map_err(from_io)?), at: 0 };
    let result = members(&mut archive, files, visit).map_err(from_visit);
    drop(archive);
    // What was damaged on the way is better told than what it looked like.
    io::copy(&mut packed, &mut io::sink())?;
    let (found, _) = packed.finish();
    check_digest(&header, &found)?;
    result
}

/// Refuses a package that is another than the repository lists.
pub(super) fn check_identity(identity: &Identity, package: &Package) -> Result<(), ReadError> {
    let fields = [
        ("name", &package.name, &identity.name),
        ("version", &package.version, &identity.version),
        ("architecture", &package.arch, &identity.arch),
    ];
    match fields.into_iter().find(|(_, wanted, found)| wanted != found) {
        Some((field, wanted, found)) => Err(ReadError::Mismatch { field, wanted: wanted.clone(), found: found.clone() }),
        None => Ok(()),
    }
}

fn check_digest(header: &Header, found: &Sha256) -> Result<(), ReadError> {
    let (claimed, algorithm) = (header.text(tag::PAYLOAD_DIGEST), header.number(tag::PAYLOAD_DIGEST_ALGO));
    match claimed {
        Some(claimed) if algorithm.unwrap_or(SHA256) == SHA256 && claimed.parse::<Sha256>().ok().as_ref() != Some(found) => {
            Err(ReadError::Format(format!("the payload has the digest {found}, and the header says {claimed}")))
        }
        _ => Ok(()),
    }
}

/// Returns the absolute paths of the header.
pub(super) fn names(header: &Header) -> Result<Vec<Vec<u8>>, ReadError> {
    let old = header.strings(tag::OLD_FILE_NAMES);
    if !old.is_empty() {
        return Ok(old.into_iter().map(<[u8]>::to_vec).collect());
    }
    let (bases, dirs) = (header.strings(tag::BASE_NAMES), header.strings(tag::DIR_NAMES));
    let places = header.numbers(tag::DIR_INDEXES);
    if places.len() != bases.len() {
        return Err(ReadError::Format(format!(
            "the header has {} file names and {} directories of them",
            bases.len(),
            places.len()
        )));
    }
    let join = |(base, place): (&&[u8], &u64)| {
        let dir = usize::try_from(*place).ok().and_then(|place| dirs.get(place));
        let dir = dir.ok_or_else(|| ReadError::Format("a file of the header is in a directory that it does not have".into()))?;
        Ok([*dir, *base].concat())
    };
    bases.iter().zip(&places).map(join).collect()
}

/// Reads the files of the header.
pub(super) fn files(header: &Header) -> Result<Vec<File>, ReadError> {
    let names = names(header)?;
    if names.len() > limit::ENTRIES_MAX {
        return Err(ReadError::Limit { what: "the number of files".into(), limit: limit::ENTRIES_MAX.to_string() });
    }
    let long = header.numbers(tag::LONG_FILE_SIZES);
    let sizes = if long.is_empty() { header.numbers(tag::FILE_SIZES) } else { long };
    let (modes, times, flags) =
        (header.numbers(tag::FILE_MODES), header.numbers(tag::FILE_TIMES), header.numbers(tag::FILE_FLAGS));
    let (devices, inodes) = (header.numbers(tag::FILE_DEVICES), header.numbers(tag::FILE_INODES));
    let file_systems = header.numbers(1095);
    let (users, groups) = (header.strings(tag::FILE_USERS), header.strings(tag::FILE_GROUPS));
    let (links, digests) = (header.strings(tag::FILE_LINKS), header.strings(tag::FILE_DIGESTS));
    let capabilities = header.strings(tag::FILE_CAPS);
    let has_sha256 = header.number(tag::FILE_DIGEST_ALGO) == Some(SHA256);
    if sizes.len() != names.len() || modes.len() != names.len() {
        return Err(ReadError::Format(format!("the header has {} files and {} modes of them", names.len(), modes.len())));
    }
    let text = |list: &[&[u8]], place: usize| list.get(place).copied().unwrap_or_default().to_vec();
    let number = |list: &[u64], place: usize| list.get(place).copied().unwrap_or(0);
    let mut sets: BTreeMap<(u64, u64), usize> = BTreeMap::new();
    let mut files = Vec::with_capacity(names.len());
    for (place, name) in names.into_iter().enumerate() {
        let (uid, gid) = (owner::user(&text(&users, place)), owner::group(&text(&groups, place)));
        let mut mode = number(&modes, place) as u32 & 0o177_777;
        if uid.is_none() {
            mode &= !0o4000;
        }
        if gid.is_none() && mode & S_IFMT != S_IFDIR {
            mode &= !0o2000;
        }
        let set = (number(&file_systems, place), number(&inodes, place));
        let is_ghost = number(&flags, place) & GHOST != 0;
        if mode & S_IFMT == S_IFREG && !is_ghost {
            *sets.entry(set).or_default() += 1;
        }
        let digest = text(&digests, place);
        files.push(File {
            name,
            mode,
            uid: uid.unwrap_or(owner::NOBODY),
            gid: gid.unwrap_or(owner::NOBODY),
            size_bytes: number(&sizes, place),
            mtime_s: number(&times, place) as u32,
            device: number(&devices, place),
            link: text(&links, place),
            digest: std::str::from_utf8(&digest).ok().filter(|_| has_sha256).and_then(|hex| hex.parse().ok()),
            capabilities: Some(String::from_utf8_lossy(&text(&capabilities, place)).into_owned()).filter(|text| !text.is_empty()),
            is_ghost,
            set: Some(set),
        });
    }
    let has_inodes = !inodes.is_empty();
    for file in &mut files {
        file.set =
            file.set.filter(|set| has_inodes && file.mode & S_IFMT == S_IFREG && sets.get(set).is_some_and(|count| *count > 1));
    }
    Ok(files)
}

pub(super) const S_IFMT: u32 = 0o170_000;
pub(super) const S_IFREG: u32 = 0o100_000;
pub(super) const S_IFDIR: u32 = 0o040_000;
pub(super) const S_IFLNK: u32 = 0o120_000;

/// Gives the members in the order of the archive; of a set of hard links the one that has the content first.
fn members<R: Read>(archive: &mut Archive<R>, files: Vec<File>, visit: &mut Visit<'_>) -> Result<(), ReadError> {
    let places: BTreeMap<Vec<u8>, usize> = files.iter().enumerate().map(|(place, file)| (plain(&file.name), place)).collect();
    let mut waiting: BTreeMap<(u64, u64), Vec<usize>> = BTreeMap::new();
    let mut is_seen = vec![false; files.len()];
    let mut total_bytes = 0_u64;
    while let Some(entry) = archive.next(&files)? {
        let place = match entry.place {
            Some(place) => place,
            None => *places.get(&plain(&entry.name)).ok_or_else(|| {
                ReadError::Format(format!("`{}` is in the payload and not in the header", entry.name.escape_ascii()))
            })?,
        };
        let file = &files[place];
        if std::mem::replace(&mut is_seen[place], true) || file.is_ghost {
            return Err(ReadError::Format(format!("`{}` is in the payload where it must not be", file.name.escape_ascii())));
        }
        total_bytes = total_bytes.saturating_add(entry.size_bytes);
        if total_bytes > limit::PAYLOAD_BYTES_MAX {
            return Err(ReadError::Limit { what: "the payload".into(), limit: format!("{} bytes", limit::PAYLOAD_BYTES_MAX) });
        }
        // The content of a set comes with its last name.
        if let Some(set) = file.set
            && entry.size_bytes == 0
            && file.size_bytes > 0
        {
            waiting.entry(set).or_default().push(place);
            continue;
        }
        give(archive, file, entry.size_bytes, visit)?;
        if let Some(set) = file.set {
            for place in waiting.remove(&set).unwrap_or_default() {
                let target = TreePath::parse(&file.name)?;
                visit(member(&files[place], MemberKind::Hardlink(target))?, &mut io::empty())?;
            }
        }
        archive.pad()?;
    }
    if let Some(place) = waiting.into_values().flatten().next() {
        return Err(ReadError::Format(format!("the content of `{}` is not in the payload", files[place].name.escape_ascii())));
    }
    let missing = files.iter().zip(&is_seen).find(|(file, seen)| !**seen && !file.is_ghost && file.mode & S_IFMT == S_IFREG);
    match missing {
        Some((file, _)) => {
            Err(ReadError::Format(format!("`{}` is in the header and not in the payload", file.name.escape_ascii())))
        }
        None => Ok(()),
    }
}

/// Names with and without a leading `./` or `/` are the same.
fn plain(name: &[u8]) -> Vec<u8> {
    let name = name.strip_prefix(b".").filter(|rest| rest.starts_with(b"/")).unwrap_or(name);
    name.strip_prefix(b"/").unwrap_or(name).to_vec()
}

fn give<R: Read>(archive: &mut Archive<R>, file: &File, size_bytes: u64, visit: &mut Visit<'_>) -> Result<(), ReadError> {
    let shown = || file.name.escape_ascii().to_string();
    let kind = match file.mode & S_IFMT {
        S_IFREG => {
            if size_bytes != file.size_bytes {
                return Err(ReadError::Format(format!(
                    "`{}` has {size_bytes} bytes in the payload and {} in the header",
                    shown(),
                    file.size_bytes
                )));
            }
            if size_bytes > limit::FILE_BYTES_MAX {
                return Err(ReadError::Limit {
                    what: format!("`{}`", shown()),
                    limit: format!("{} bytes", limit::FILE_BYTES_MAX),
                });
            }
            MemberKind::File(size_bytes)
        }
        S_IFDIR => MemberKind::Dir,
        0o120_000 => {
            let mut target = Vec::new();
            archive.data(size_bytes).take(limit::PATH_BYTES_MAX as u64 + 1).read_to_end(&mut target)?;
            if target != file.link || target.len() as u64 != size_bytes {
                return Err(ReadError::Format(format!("the link `{}` differs between payload and header", shown())));
            }
            return visit(member(file, MemberKind::Symlink(target))?, &mut io::empty());
        }
        kind @ (0o020_000 | 0o060_000) => {
            // The kernel's old form, as stat(2) gave it to rpm.
            let (major, minor) = ((file.device >> 8) as u32 & 0xff, file.device as u32 & 0xff);
            MemberKind::Device { block: kind == 0o060_000, major, minor }
        }
        0o010_000 => MemberKind::Fifo,
        _ => return Err(ReadError::Unsupported(format!("the kind of file of `{}`", shown()))),
    };
    if !matches!(kind, MemberKind::File(_)) {
        io::copy(&mut archive.data(size_bytes), &mut io::sink())?;
        return visit(member(file, kind)?, &mut io::empty());
    }
    let mut data = Checked { inner: archive.data(size_bytes), hasher: file.digest.as_ref().map(|_| Hasher::new()) };
    visit(member(file, kind)?, &mut data)?;
    io::copy(&mut data, &mut io::sink())?;
    if data.inner.limit() > 0 {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    match (data.hasher.map(Hasher::finish), &file.digest) {
        (Some(found), Some(wanted)) if found != *wanted => {
            Err(ReadError::Format(format!("`{}` has the digest {found}, and the header says {wanted}", shown())))
        }
        _ => Ok(()),
    }
}

fn member(file: &File, kind: MemberKind) -> Result<Member, ReadError> {
    let path = TreePath::parse(&file.name)?;
    if path.is_root() && kind != MemberKind::Dir {
        return Err(ReadError::Format(format!("`{}` names the root and is no directory", file.name.escape_ascii())));
    }
    let meta = Meta { mode: file.mode & 0o7777, uid: file.uid, gid: file.gid, mtime_s: file.mtime_s };
    Ok(Member { path, meta, kind, capabilities: file.capabilities.clone() })
}

/// Digests what is read.
struct Checked<R> {
    inner: R,
    hasher: Option<Hasher>,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        Ok(count)
    }
}

// ---- the archive ----------------------------------------------------------------------------------------------------

/// The cpio archive of a payload.
struct Archive<R> {
    bytes: R,
    at: u64,
}

/// An entry of the archive; its data follow.
struct ArchiveEntry {
    name: Vec<u8>,
    /// Which file of the header, where the archive says that.
    place: Option<usize>,
    size_bytes: u64,
}

impl<R: Read> Archive<R> {
    /// Reads an entry's head; nothing at the end mark.
    fn next(&mut self, files: &[File]) -> Result<Option<ArchiveEntry>, ReadError> {
        self.pad()?;
        let mut magic = [0; 6];
        self.exact(&mut magic)?;
        // Archives with files of 4 GiB and more have only a number here; all else is in the header.
        if &magic == b"07070X" {
            let place = self.digits()? as usize;
            self.pad()?;
            let file = files.get(place).ok_or_else(|| ReadError::Format(format!("the payload has a file number {place}")))?;
            let has_data = matches!(file.mode & S_IFMT, S_IFREG | 0o120_000);
            // Of a set of hard links only the last has the content.
            let is_last = file.set.is_none_or(|set| files.iter().rposition(|other| other.set == Some(set)) == Some(place));
            let size_bytes = if has_data && is_last { file.size_bytes } else { 0 };
            return Ok(Some(ArchiveEntry { name: Vec::new(), place: Some(place), size_bytes }));
        }
        if &magic != b"070701" && &magic != b"070702" {
            return Err(ReadError::Format(format!("an entry of the payload begins with `{}`", magic.escape_ascii())));
        }
        let mut fields = [0_u32; 13];
        for field in &mut fields {
            *field = self.digits()?;
        }
        let (size_bytes, name_bytes) = (u64::from(fields[6]), fields[11] as usize);
        if name_bytes == 0 || name_bytes > limit::PATH_BYTES_MAX + 1 {
            return Err(ReadError::Format(format!("a name in the payload has {name_bytes} bytes")));
        }
        let mut name = vec![0; name_bytes];
        self.exact(&mut name)?;
        if name.pop() != Some(0) || name.contains(&0) {
            return Err(ReadError::Format("a name in the payload does not end where it should".into()));
        }
        self.pad()?;
        Ok((name != TRAILER).then_some(ArchiveEntry { name, place: None, size_bytes }))
    }

    fn digits(&mut self) -> Result<u32, ReadError> {
        let mut digits = [0; 8];
        self.exact(&mut digits)?;
        let text = std::str::from_utf8(&digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        text.and_then(|text| u32::from_str_radix(text, 16).ok())
            .ok_or_else(|| ReadError::Format(format!("`{}` in the payload is no number", digits.escape_ascii())))
    }

    fn exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.bytes.read_exact(buffer)?;
        self.at += buffer.len() as u64;
        Ok(())
    }

    fn pad(&mut self) -> io::Result<()> {
        let mut padding = [0; 3];
        let missing = (4 - self.at % 4) % 4;
        self.exact(&mut padding[..missing as usize])
    }

    fn data(&mut self, size_bytes: u64) -> io::Take<&mut R> {
        self.at += size_bytes;
        self.bytes.by_ref().take(size_bytes)
    }
}
