//! Reads `.deb` files in one pass: what the package says it is, then its payload.
//!
//! Format: deb(5), version 2. The members stand in the order `debian-binary`, `control.tar`, `data.tar`; those whose name begins with `_`
//! are passed over wherever they stand, as dpkg does; anything else, and anything twice, is refused. Maintainer scripts are in
//! `control.tar` and are not even looked at.

use std::io::{BufReader, Read};

use crate::base::limit;
use crate::family::payload::{from_io, from_tar, from_visit, member};
use crate::family::{ReadError, Visit};
use crate::format::ar::{self, ArError};
use crate::format::compress::Format;
use crate::format::compress::decode;
use crate::format::tar;
use crate::package::Package;
use crate::tree::TreePath;

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
        let member = member(&entry, TreePath::parse(&entry.name)?)?;
        visit(member, &mut members).map_err(from_visit)?;
    }
    Ok(())
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
