//! Reads `.apk` packages of version 2: signatures, control and content, three gzip members that make one tar archive.
//!
//! What proves a file: the index has the digest of the control segment (`C:`), and that has the SHA-256 digest of all that follows
//! (`datahash`). Format: apk-package(5) and apk-v2(5).

use std::io::{self, BufRead, BufReader, Read};

use super::segments::{self, SegmentError};
use super::{Checksum, version};
use crate::base::digest::{Hasher, Sha1, Sha256};
use crate::base::limit;
use crate::base::trust::RsaSignature;
use crate::family::payload::{self, from_io, from_tar, from_visit};
use crate::family::{MemberKind, ReadError, Visit};
use crate::format::compress::decode;
use crate::format::compress::{Format, member};
use crate::format::tar;
use crate::package::Package;
use crate::tree::TreePath;

/// The control segment, unpacked: `.PKGINFO` and scripts.
const CONTROL_BYTES_MAX: u64 = 16 << 20;
/// Compressed bytes read at a time.
const BUFFER_BYTES: usize = 128 << 10;
/// Bytes that tell the versions of the format apart.
const MAGIC_BYTES: usize = 4;

/// What a package says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Architecture.
    pub arch: String,
    /// The digest of the content, as compressed; packages without content may have none.
    pub datahash: Option<Sha256>,
    /// The packages whose files it may replace, as written.
    pub replaces: Vec<String>,
    /// Of two packages that ship the same file that with the higher one keeps it.
    pub replaces_priority: u64,
    /// The digest of this segment, as compressed, as indexes have it (`Q1`).
    pub checksum: Checksum,
    /// Its other digest, which an index may have instead (`Q2`).
    pub wide_checksum: Checksum,
    /// Who signed this segment, as the file claims.
    pub signatures: Vec<RsaSignature>,
}

/// Reads what a package says about itself; the content is not looked at.
pub fn control(package_file: &mut dyn Read) -> Result<Control, ReadError> {
    read_control(&mut begin(package_file)?)
}

/// Checks that a file is the one with this checksum, down to the last byte, without unpacking its content.
pub fn prove(package_file: &mut dyn Read, wanted: &Checksum) -> Result<Control, ReadError> {
    let mut input = begin(package_file)?;
    let control = read_control(&mut input)?;
    let found = match wanted {
        Checksum::Sha1(_) => &control.checksum,
        Checksum::Sha256(_) => &control.wide_checksum,
    };
    if found != wanted {
        let (wanted, found) = (wanted.to_string(), found.to_string());
        return Err(ReadError::Mismatch { field: "checksum of the control segment", wanted, found });
    }
    io::copy(&mut input, &mut io::sink())?;
    check_content(&control, input)?;
    Ok(control)
}

/// Reads the payload. With `expected`, the package must say that it is this one before anything is visited.
pub fn payload(package_file: &mut dyn Read, expected: Option<&Package>, visit: &mut Visit<'_>) -> Result<(), ReadError> {
    let mut input = begin(package_file)?;
    let control = read_control(&mut input)?;
    if let Some(package) = expected {
        check_identity(&control, package)?;
    }
    if !input.fill_buf()?.is_empty() {
        let unpacked = decode::reader(Format::Gzip, &mut input).map_err(from_io)?;
        // A package may be made of pieces without the end of an archive; behind a proper end nothing but zeros may stand.
        let content = BufReader::with_capacity(BUFFER_BYTES, unpacked.chain(io::repeat(0).take(1024)));
        read_content(tar::Archive::new(content), visit)?;
    }
    check_content(&control, input)
}

fn check_identity(control: &Control, package: &Package) -> Result<(), ReadError> {
    let fields = [
        ("name", &package.name, &control.name),
        ("version", &package.version, &control.version),
        ("architecture", &package.arch, &control.arch),
    ];
    match fields.into_iter().find(|(_, wanted, found)| wanted != found) {
        Some((field, wanted, found)) => Err(ReadError::Mismatch { field, wanted: wanted.clone(), found: found.clone() }),
        None => Ok(()),
    }
}

fn check_content(control: &Control, input: Tap<'_>) -> Result<(), ReadError> {
    let (found, is_empty) = (input.sha256.finish(), input.count == 0);
    match control.datahash {
        Some(wanted) if wanted == found => Ok(()),
        None if is_empty => Ok(()),
        Some(wanted) => {
            Err(ReadError::Mismatch { field: "digest of the content", wanted: wanted.to_string(), found: found.to_string() })
        }
        None => Err(ReadError::Format("`.PKGINFO` has no `datahash`, so that nothing vouches for the content".to_owned())),
    }
}

/// The file as it is taken: digests of what was taken since the last segment began.
struct Tap<'a> {
    input: Box<dyn BufRead + 'a>,
    sha1: Sha1,
    sha256: Hasher,
    count: u64,
}

impl Tap<'_> {
    fn begin_segment(&mut self) {
        (self.sha1, self.sha256, self.count) = (Sha1::default(), Hasher::new(), 0);
    }
}

impl Read for Tap<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Tap<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        // The bytes are still in the buffer, so that asking for them cannot fail.
        if let Ok(bytes) = self.input.fill_buf() {
            let taken = &bytes[..count.min(bytes.len())];
            // Only the control segment's SHA-1 is asked for; it is small.
            if self.count < CONTROL_BYTES_MAX {
                self.sha1.update(taken);
            }
            self.sha256.update(taken);
            self.count += taken.len() as u64;
        }
        self.input.consume(count);
    }
}

fn begin(package_file: &mut dyn Read) -> Result<Tap<'_>, ReadError> {
    let mut head = Vec::new();
    package_file.take(MAGIC_BYTES as u64).read_to_end(&mut head)?;
    segments::check_magic(&head).map_err(from_segment)?;
    let input = BufReader::with_capacity(BUFFER_BYTES, io::Cursor::new(head).chain(package_file));
    Ok(Tap { input: Box::new(input), sha1: Sha1::default(), sha256: Hasher::new(), count: 0 })
}

fn segment(input: &mut Tap<'_>, what: &'static str) -> Result<Vec<u8>, ReadError> {
    input.begin_segment();
    member::gzip(input, CONTROL_BYTES_MAX).map_err(|source| from_segment(SegmentError::Damaged { what, source }))
}

fn read_control(input: &mut Tap<'_>) -> Result<Control, ReadError> {
    let mut unpacked = segment(input, "the first segment")?;
    let signatures = segments::signatures(&unpacked).map_err(from_segment)?;
    if !signatures.is_empty() {
        unpacked = segment(input, "the control segment")?;
    }
    let sha1 = std::mem::take(&mut input.sha1).finish();
    let sha1 =
        sha1.ok_or_else(|| ReadError::Format("the control segment was made to have the SHA-1 digest of another".to_owned()))?;
    let sha256 = std::mem::take(&mut input.sha256).finish();
    input.begin_segment();
    let mut info = None;
    let mut archive = segments::archive(&unpacked);
    while let Some(entry) = archive.next_entry().map_err(from_tar)? {
        let name = entry.name.strip_prefix(b"./").unwrap_or(&entry.name);
        if !name.starts_with(b".") || name.contains(&b'/') {
            return Err(ReadError::Format(format!(
                "`{}` stands in the control segment, where only `.PKGINFO` and its like may",
                name.escape_ascii()
            )));
        }
        if name == b".PKGINFO" {
            if info.is_some() || entry.kind != tar::Kind::File || entry.size_bytes > limit::HEADER_BYTES_MAX {
                return Err(ReadError::Format("`.PKGINFO` is there twice, is no file, or is too large".to_owned()));
            }
            archive.read_to_end(info.insert(Vec::new())).map_err(from_io)?;
        }
    }
    let info = info.ok_or_else(|| ReadError::Format("the control segment holds no `.PKGINFO`".to_owned()))?;
    let info = String::from_utf8(info).map_err(|_| ReadError::Format("`.PKGINFO` is no UTF-8 text".to_owned()))?;
    parse(&info, [Checksum::Sha1(sha1), Checksum::Sha256(*sha256.as_bytes())], signatures)
}

/// Reads `.PKGINFO`: lines `key = value`.
fn parse(info: &str, [checksum, wide_checksum]: [Checksum; 2], signatures: Vec<RsaSignature>) -> Result<Control, ReadError> {
    let fields = || {
        info.lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once('='))
            .map(|(key, value)| (key.trim(), value.trim()))
    };
    let one = |key: &str| -> Result<Option<&str>, ReadError> {
        let mut values = fields().filter(|(found, _)| *found == key).map(|(_, value)| value);
        match (values.next(), values.next()) {
            (value, None) => Ok(value.filter(|value| !value.is_empty())),
            _ => Err(ReadError::Format(format!("`.PKGINFO` has `{key}` twice"))),
        }
    };
    let required =
        |key: &str| one(key)?.map(str::to_owned).ok_or_else(|| ReadError::Format(format!("`.PKGINFO` has no `{key}`")));
    let datahash = one("datahash")?.map(str::parse).transpose();
    let control = Control {
        name: required("pkgname")?,
        version: required("pkgver")?,
        arch: required("arch")?,
        datahash: datahash.map_err(|err| ReadError::Format(format!("`datahash` in `.PKGINFO`: {err}")))?,
        replaces: fields().filter(|(key, _)| *key == "replaces").map(|(_, value)| value.to_owned()).collect(),
        replaces_priority: one("replaces_priority")?.and_then(|value| value.parse().ok()).unwrap_or(0),
        checksum,
        wide_checksum,
        signatures,
    };
    match version::is_valid(&control.version) {
        true => Ok(control),
        false => Err(ReadError::Format(format!("`{}` in `.PKGINFO` is not a version", control.version.escape_debug()))),
    }
}

fn read_content(mut archive: tar::Archive<impl Read>, visit: &mut Visit<'_>) -> Result<(), ReadError> {
    while let Some(entry) = archive.next_entry().map_err(from_tar)? {
        let member = payload::member(&entry, TreePath::parse(&entry.name)?)?;
        let noted = entry.apk_sha1;
        // apk takes what has such a name in the root for its own.
        if member.path.as_bytes().starts_with(b".") && !member.path.as_bytes().contains(&b'/') {
            continue;
        }
        // What is noted of another name of a file is the digest of that file, which has been compared.
        let is_other_name = matches!(member.kind, MemberKind::Hardlink(_));
        let Some(noted) = noted.filter(|_| !is_other_name) else {
            visit(member, &mut archive).map_err(from_visit)?;
            continue;
        };
        let path = member.path.clone();
        let mut content = Noting { inner: &mut archive, sha1: Sha1::default() };
        if let MemberKind::Symlink(text) = &member.kind {
            content.sha1.update(text);
        }
        visit(member, &mut content).map_err(from_visit)?;
        io::copy(&mut content, &mut io::sink()).map_err(from_io)?;
        let found = content.sha1.finish().map(|raw| raw.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        if !found.as_deref().is_some_and(|found| found.as_bytes().eq_ignore_ascii_case(&noted)) {
            return Err(ReadError::Format(format!(
                "`{path}` has the SHA-1 digest {}, and the package notes {}",
                found.as_deref().unwrap_or("of other data, which it was made to have"),
                noted.escape_ascii()
            )));
        }
    }
    Ok(())
}

/// Takes the digest of what is read.
struct Noting<'a> {
    inner: &'a mut dyn Read,
    sha1: Sha1,
}

impl Read for Noting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.sha1.update(&buffer[..count]);
        Ok(count)
    }
}

fn from_segment(err: SegmentError) -> ReadError {
    match err {
        SegmentError::Version3 => ReadError::Unsupported("apk's version 3 package format (ADB)".to_owned()),
        SegmentError::Damaged { source, .. } if source.kind() == io::ErrorKind::FileTooLarge => {
            ReadError::Limit { what: "the control segment".to_owned(), limit: format!("{CONTROL_BYTES_MAX} bytes") }
        }
        SegmentError::Damaged { what, source } => ReadError::Format(format!("{what} cannot be unpacked: {source}")),
        SegmentError::Tar(err) => from_tar(err),
        err => ReadError::Format(err.to_string()),
    }
}
