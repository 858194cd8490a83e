//! Reads `.pkg.tar.*` files: what a package says about itself, and its payload in one pass.
//!
//! Format: a tar archive, compressed or not, as makepkg(8) writes it. Names at its root that begin with a dot are metadata and are never
//! installed: `.PKGINFO` comes before all that is, `.MTREE` is compared with all of it, `.INSTALL` is a script and not even looked at.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read};

use super::mtree::{self, Found, Mtree};
use crate::base::digest::HashingReader;
use crate::base::limit;
use crate::family::payload::{from_io, from_tar, from_visit, member};
use crate::family::{MemberKind, ReadError, Visit};
use crate::format::compress::Format;
use crate::format::compress::decode;
use crate::format::tar;
use crate::package::Package;
use crate::tree::TreePath;

/// Decompressed bytes that wait between decompression and tar.
const BUFFER_BYTES: usize = 128 << 10;
/// Bytes that tell one compression from another.
const MAGIC_BYTES: usize = 6;
/// `.MTREE`, compressed and not; that of a package with 100 000 files has 15 MB.
const MTREE_BYTES_MAX: u64 = 128 << 20;

/// What a package says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackageInfo {
    /// Name.
    pub name: String,
    /// Version with epoch and release.
    pub version: String,
    /// Architecture, or `any`.
    pub arch: String,
    /// Configuration files, as paths without a leading slash.
    pub backup: Vec<String>,
}

/// Reads what a package says about itself; the payload is not looked at.
pub fn info(package_file: &mut dyn Read) -> Result<PackageInfo, ReadError> {
    let mut archive = open(package_file)?;
    while let Some(entry) = archive.next_entry().map_err(from_tar)? {
        let path = TreePath::parse(&entry.name)?;
        if path.as_bytes() == b".PKGINFO" {
            return parse_info(&metadata(&mut archive, &entry, limit::HEADER_BYTES_MAX)?);
        }
        if !is_metadata(&path) {
            break;
        }
    }
    Err(no_info())
}

/// Reads the payload. With `expected`, the package must say that it is this one before anything is visited.
pub fn payload(package_file: &mut dyn Read, expected: Option<&Package>, visit: &mut Visit<'_>) -> Result<(), ReadError> {
    let mut archive = open(package_file)?;
    let mut list: Option<Mtree> = None;
    let mut is_known = false;
    let mut package: BTreeMap<TreePath, Found> = BTreeMap::new();
    while let Some(entry) = archive.next_entry().map_err(from_tar)? {
        let path = TreePath::parse(&entry.name)?;
        if package.contains_key(&path) || (path.as_bytes() == b".MTREE" && list.is_some()) {
            return Err(ReadError::Format(format!("`{path}` is in the package twice")));
        }
        match path.as_bytes() {
            b".MTREE" => {
                let raw = metadata(&mut archive, &entry, MTREE_BYTES_MAX)?;
                let text = decode::all(Format::sniff(&raw), &raw, MTREE_BYTES_MAX).map_err(from_io)?;
                list = Some(mtree::parse(&text)?);
            }
            b".PKGINFO" => {
                let text = metadata(&mut archive, &entry, limit::HEADER_BYTES_MAX)?;
                let info = parse_info(&text)?;
                if let Some(package) = expected {
                    check_identity(&info, package)?;
                }
                is_known = true;
                let found = read_entry(&entry, &path, &package, &mut &text[..], &mut |_, _| Ok(()))?;
                package.insert(path, found);
            }
            _ if is_metadata(&path) => {
                let found = read_entry(&entry, &path, &package, &mut archive, &mut |_, _| Ok(()))?;
                package.insert(path, found);
            }
            _ if !is_known => return Err(no_info()),
            _ => {
                let found = read_entry(&entry, &path, &package, &mut archive, visit)?;
                package.insert(path, found);
            }
        }
    }
    if !is_known {
        return Err(no_info());
    }
    // Packages older than pacman 4 have no list.
    list.map_or(Ok(()), |list| mtree::check(&list, &package))
}

fn no_info() -> ReadError {
    ReadError::Format("there is no `.PKGINFO` before the files".into())
}

/// Tells whether this is about the package instead of in it.
pub(super) fn is_metadata(path: &TreePath) -> bool {
    path.as_bytes().first() == Some(&b'.')
}

/// Refuses a package that is another than the repository lists.
pub fn check_identity(info: &PackageInfo, package: &Package) -> Result<(), ReadError> {
    let fields = [
        ("name", &package.name, &info.name),
        ("version", &package.version, &info.version),
        ("architecture", &package.arch, &info.arch),
    ];
    match fields.into_iter().find(|(_, wanted, found)| wanted != found) {
        Some((field, wanted, found)) => Err(ReadError::Mismatch { field, wanted: wanted.clone(), found: found.clone() }),
        None => Ok(()),
    }
}

type Tar<'a> = tar::Archive<BufReader<Box<dyn Read + 'a>>>;

/// Opens a package; its first bytes tell the compression, for the name of a file in a cache tells nothing.
fn open<'a>(package_file: &'a mut dyn Read) -> Result<Tar<'a>, ReadError> {
    let mut head = Vec::new();
    package_file.take(MAGIC_BYTES as u64).read_to_end(&mut head)?;
    let format = Format::sniff(&head);
    let reader = decode::reader(format, io::Cursor::new(head).chain(package_file)).map_err(from_io)?;
    Ok(tar::Archive::new(BufReader::with_capacity(BUFFER_BYTES, reader)))
}

/// Reads a file that says something about the package.
fn metadata(archive: &mut Tar<'_>, entry: &tar::Entry, bytes_max: u64) -> Result<Vec<u8>, ReadError> {
    let name = entry.name.escape_ascii();
    if entry.kind != tar::Kind::File {
        return Err(ReadError::Format(format!("`{name}` is no file")));
    }
    if entry.size_bytes > bytes_max {
        return Err(ReadError::Limit { what: format!("`{name}`"), limit: format!("{bytes_max} bytes") });
    }
    let mut data = Vec::new();
    archive.read_to_end(&mut data).map_err(from_io)?;
    Ok(data)
}

fn parse_info(text: &[u8]) -> Result<PackageInfo, ReadError> {
    let mut info = PackageInfo::default();
    for line in text.split(|byte| *byte == b'\n') {
        let Some((key, value)) = std::str::from_utf8(line).ok().and_then(|line| line.split_once('=')) else { continue };
        let value = value.trim();
        let slot = match key.trim() {
            "pkgname" => &mut info.name,
            "pkgver" => &mut info.version,
            "arch" => &mut info.arch,
            "backup" => {
                info.backup.push(value.to_owned());
                continue;
            }
            _ => continue,
        };
        if !slot.is_empty() {
            return Err(ReadError::Format(format!("`.PKGINFO` has the field `{}` twice", key.trim())));
        }
        value.clone_into(slot);
    }
    for (field, value) in [("pkgname", &info.name), ("pkgver", &info.version), ("arch", &info.arch)] {
        if value.is_empty() {
            return Err(ReadError::Format(format!("`.PKGINFO` has no field `{field}`")));
        }
    }
    Ok(info)
}

/// Gives a member to `visit` and returns what it was, as `.MTREE` would describe it.
fn read_entry(
    entry: &tar::Entry,
    path: &TreePath,
    earlier: &BTreeMap<TreePath, Found>,
    content: &mut dyn Read,
    visit: &mut Visit<'_>,
) -> Result<Found, ReadError> {
    let member = member(entry, path.clone())?;
    let mut found = Found {
        kind: mtree::Kind::Other,
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        mtime_s: entry.mtime_s,
        content: None,
        link: entry.link.clone(),
    };
    match &member.kind {
        MemberKind::Dir => found.kind = mtree::Kind::Dir,
        MemberKind::Symlink(_) => found.kind = mtree::Kind::Link,
        MemberKind::File(_) => found.kind = mtree::Kind::File,
        MemberKind::Hardlink(target) => {
            // The list describes each name of a file as if it were a file of its own.
            let of = earlier.get(target).filter(|of| of.kind == mtree::Kind::File);
            let of =
                of.ok_or_else(|| ReadError::Format(format!("`{path}` is a hard link to `{target}`, which is no earlier file")))?;
            found = of.clone();
        }
        MemberKind::Device { .. } | MemberKind::Fifo => {}
    }
    let is_file = matches!(member.kind, MemberKind::File(_));
    let mut content = HashingReader::new(content);
    if is_file {
        visit(member, &mut content).map_err(from_visit)?;
        // What nobody wanted is compared with the list all the same.
        io::copy(&mut content, &mut io::sink()).map_err(from_io)?;
        let (sha256, size_bytes) = content.finish();
        found.content = Some((size_bytes, sha256));
    } else {
        visit(member, &mut io::empty()).map_err(from_visit)?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packager_without_an_address_is_no_reason_to_refuse_a_package() {
        let text = b"# Generated by makepkg\npkgname = a\npkgver = 1:2-3\npackager = Unknown Packager\narch = any\nbackup = etc/a.conf\n";
        let info = parse_info(text).expect("an info");
        assert_eq!((&*info.name, &*info.version, &*info.arch), ("a", "1:2-3", "any"));
        assert_eq!(info.backup, ["etc/a.conf"]);
    }

    #[test]
    fn a_package_says_who_it_is_exactly_once() {
        for (text, wanted) in [
            ("pkgname = a\npkgver = 1-1\n", "`.PKGINFO` has no field `arch`"),
            ("pkgname = a\npkgname = b\n", "`.PKGINFO` has the field `pkgname` twice"),
            ("", "`.PKGINFO` has no field `pkgname`"),
        ] {
            assert_eq!(parse_info(text.as_bytes()).expect_err(text).to_string(), wanted);
        }
    }
}
