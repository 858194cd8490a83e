//! Reads `.deb` files in one pass: what the package says it is, then its payload.
//!
//! Format: deb(5), version 2. The members stand in the order `debian-binary`, `control.tar`, `data.tar`; those whose name begins with `_`
//! are passed over wherever they stand, as dpkg does; anything else, and anything twice, is refused. Maintainer scripts are in
//! `control.tar` and are not even looked at.

use std::io::{self, BufReader, Read};

use crate::base::limit;
use crate::family::{Member, MemberKind, ReadError, Visit};
use crate::format::ar::{self, ArError};
use crate::format::capability;
use crate::format::compress::Format;
use crate::format::compress::decode::{self, DecodeError};
use crate::format::tar::{self, TarError};
use crate::package::Package;
use crate::tree::{Meta, TreePath};

/// All of `control.tar`: scripts, checksums and templates. The largest in Debian have some MB.
const CONTROL_BYTES_MAX: u64 = 64 << 20;
/// Decompressed bytes that wait between decompression and tar.
const BUFFER_BYTES: usize = 128 << 10;

/// What a package says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// Name.
    pub package: String,
    /// Version.
    pub version: String,
    /// Architecture.
    pub arch: String,
    /// Configuration files, as listed: absolute paths. Flags (`remove-on-upgrade`) are dropped.
    pub conffiles: Vec<String>,
}

/// Reads what a package says about itself; the payload is not looked at.
pub fn control(package_file: &mut dyn Read) -> Result<Control, ReadError> {
    let mut archive = begin(package_file)?;
    let name = expect_member(&mut archive, "control.tar")?;
    read_control(&mut archive, &name)
}

/// Reads the payload. With `expected`, the package must say that it is this one before anything is visited.
pub fn payload(package_file: &mut dyn Read, expected: Option<&Package>, visit: &mut Visit<'_>) -> Result<(), ReadError> {
    let mut archive = begin(package_file)?;
    let name = expect_member(&mut archive, "control.tar")?;
    let control = read_control(&mut archive, &name)?;
    if let Some(package) = expected {
        check_identity(&control, package)?;
    }
    let name = expect_member(&mut archive, "data.tar")?;
    read_data(&mut archive, &name, visit)?;
    while let Some(header) = archive.next_member().map_err(from_ar)? {
        if !header.name.starts_with('_') {
            return Err(ReadError::Format(format!("`{}` stands behind `data.tar`, where nothing may stand", header.name)));
        }
    }
    Ok(())
}

fn check_identity(control: &Control, package: &Package) -> Result<(), ReadError> {
    let fields = [
        ("name", &package.name, &control.package),
        ("version", &package.version, &control.version),
        ("architecture", &package.arch, &control.arch),
    ];
    match fields.into_iter().find(|(_, wanted, found)| wanted != found) {
        Some((field, wanted, found)) => Err(ReadError::Mismatch { field, wanted: wanted.clone(), found: found.clone() }),
        None => Ok(()),
    }
}

/// Reads the first member, which holds the version of the format.
fn begin(package_file: &mut dyn Read) -> Result<ar::Archive<&mut dyn Read>, ReadError> {
    let mut archive = ar::Archive::new(package_file).map_err(from_ar)?;
    let first = archive.next_member().map_err(from_ar)?;
    let name = first.map_or(String::new(), |header| header.name);
    if name != "debian-binary" {
        return Err(ReadError::Format(format!("the first member is `{name}`, not `debian-binary`")));
    }
    let mut version = Vec::new();
    (&mut archive).take(64).read_to_end(&mut version)?;
    let digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    // The minor number may rise and more lines may follow without anything changing for readers.
    match version.split(|byte| *byte == b'\n').next().and_then(|line| line.strip_prefix(b"2.")) {
        Some(minor) if digits(minor) && version.contains(&b'\n') => Ok(archive),
        _ => Err(ReadError::Unsupported(format!("version `{}` of the package format", version.trim_ascii().escape_ascii()))),
    }
}

/// Goes to the next member that counts, which must be this one in some compression; returns its name.
fn expect_member(archive: &mut ar::Archive<&mut dyn Read>, wanted: &str) -> Result<String, ReadError> {
    loop {
        match archive.next_member().map_err(from_ar)? {
            None => return Err(ReadError::Format(format!("there is no `{wanted}`"))),
            Some(header) if header.name.starts_with('_') => {}
            Some(header) if header.name.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')) => {
                return Ok(header.name);
            }
            Some(header) => {
                return Err(ReadError::Format(format!("`{}` stands where `{wanted}` must stand", header.name)));
            }
        }
    }
}

type Tar<'a> = tar::Archive<BufReader<Box<dyn Read + 'a>>>;

/// Opens a member as a tar archive; its name tells the compression.
fn open<'a>(archive: &'a mut ar::Archive<&mut dyn Read>, name: &str) -> Result<Tar<'a>, ReadError> {
    let format = match name.split_once(".tar").map_or("", |(_, extension)| extension) {
        "" => Format::None,
        ".gz" => Format::Gzip,
        ".xz" => Format::Xz,
        ".zst" => Format::Zstd,
        ".lzma" => Format::Lzma,
        ".bz2" => Format::Bzip2,
        _ => return Err(ReadError::Unsupported(format!("the compression of `{name}`"))),
    };
    let reader = decode::reader(format, archive).map_err(from_io)?;
    Ok(tar::Archive::new(BufReader::with_capacity(BUFFER_BYTES, reader)))
}

fn read_control(archive: &mut ar::Archive<&mut dyn Read>, name: &str) -> Result<Control, ReadError> {
    let mut members = open(archive, name)?;
    let (mut control, mut conffiles, mut size_bytes) = (None, Vec::new(), 0);
    while let Some(entry) = members.next_entry().map_err(from_tar)? {
        size_bytes += entry.size_bytes;
        if size_bytes > CONTROL_BYTES_MAX {
            return Err(over("the content of `control.tar`", CONTROL_BYTES_MAX));
        }
        let path = TreePath::parse(&entry.name)?;
        let slot = match (path.as_bytes(), entry.kind) {
            (b"control", tar::Kind::File) if control.is_none() => control.insert(Vec::new()),
            (b"conffiles", tar::Kind::File) if conffiles.is_empty() => &mut conffiles,
            (b"control" | b"conffiles", _) => {
                return Err(ReadError::Format(format!("`{path}` is in `control.tar` twice or is no file")));
            }
            _ => continue,
        };
        if entry.size_bytes > limit::HEADER_BYTES_MAX {
            return Err(over(&format!("`{path}` in `control.tar`"), limit::HEADER_BYTES_MAX));
        }
        members.read_to_end(slot).map_err(from_io)?;
    }
    let control = control.ok_or_else(|| ReadError::Format("`control.tar` holds no `control`".into()))?;
    let field = |name: &str| field(&control, name).ok_or_else(|| ReadError::Format(format!("`control` has no field `{name}`")));
    Ok(Control {
        package: field("Package")?,
        version: field("Version")?,
        arch: field("Architecture")?,
        conffiles: conffile_paths(&conffiles),
    })
}

/// Returns the value of a field of one line; nothing when it is absent, empty or there twice.
fn field(control: &[u8], name: &str) -> Option<String> {
    let mut values = control.split(|byte| *byte == b'\n').filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        line[..colon].eq_ignore_ascii_case(name.as_bytes()).then(|| line[colon + 1..].trim_ascii())
    });
    let value = values.next().filter(|value| !value.is_empty())?;
    values.next().is_none().then(|| String::from_utf8(value.to_vec()).ok())?
}

fn conffile_paths(list: &[u8]) -> Vec<String> {
    let lines = list.split(|byte| *byte == b'\n').map(|line| String::from_utf8_lossy(line.trim_ascii()).into_owned());
    lines.filter_map(|line| line.find('/').map(|start| line[start..].to_owned())).collect()
}

fn read_data(archive: &mut ar::Archive<&mut dyn Read>, name: &str, visit: &mut Visit<'_>) -> Result<(), ReadError> {
    let mut members = open(archive, name)?;
    while let Some(entry) = members.next_entry().map_err(from_tar)? {
        let member = member(entry)?;
        visit(member, &mut members).map_err(|err| match err {
            ReadError::Io(err) => from_io(err),
            err => err,
        })?;
    }
    Ok(())
}

fn member(entry: tar::Entry) -> Result<Member, ReadError> {
    let path = TreePath::parse(&entry.name)?;
    let (major, minor) = entry.device;
    let kind = match entry.kind {
        tar::Kind::Dir => MemberKind::Dir,
        tar::Kind::File => MemberKind::File(entry.size_bytes),
        tar::Kind::Symlink => MemberKind::Symlink(entry.link),
        tar::Kind::Hardlink => MemberKind::Hardlink(TreePath::parse(&entry.link)?),
        tar::Kind::Character => MemberKind::Device { block: false, major, minor },
        tar::Kind::Block => MemberKind::Device { block: true, major, minor },
        tar::Kind::Fifo => MemberKind::Fifo,
    };
    if path.is_root() && kind != MemberKind::Dir {
        return Err(ReadError::Format(format!("`{}` names the root and is no directory", entry.name.escape_ascii())));
    }
    let mtime_s = u32::try_from(entry.mtime_s.max(0)).unwrap_or(u32::MAX);
    let raw = entry.capability;
    let shown = |raw: Vec<u8>| capability::text(&raw).unwrap_or_else(|| format!("unknown ({} bytes)", raw.len()));
    Ok(Member {
        path,
        // Debian's static ids are the same everywhere; names are not looked up on any machine.
        meta: Meta { mode: entry.mode, uid: entry.uid, gid: entry.gid, mtime_s },
        kind,
        capabilities: raw.map(shown),
    })
}

fn over(what: &str, limit_bytes: u64) -> ReadError {
    ReadError::Limit { what: what.to_owned(), limit: format!("{limit_bytes} bytes") }
}

fn from_ar(err: ArError) -> ReadError {
    match err {
        ArError::Io { source, .. } => from_io(source),
        err @ ArError::Damaged { .. } => ReadError::Format(err.to_string()),
    }
}

fn from_tar(err: TarError) -> ReadError {
    match err {
        TarError::Io { source, .. } => from_io(source),
        TarError::Limit { what, limit } => ReadError::Limit { what: format!("{what} of the payload"), limit: limit.to_string() },
        err @ (TarError::Damaged { .. } | TarError::Unsupported { .. }) => ReadError::Format(err.to_string()),
    }
}

/// Finds what decompression said, which travels inside an I/O error.
fn from_io(err: io::Error) -> ReadError {
    match err.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(DecodeError::Unsupported(what)) => ReadError::Unsupported(what.clone()),
        Some(DecodeError::Memory { format, limit_bytes }) => over(&format!("the memory to decompress {format}"), *limit_bytes),
        _ => ReadError::Io(err),
    }
}
