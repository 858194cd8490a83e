//! Reads the database of what apk has installed: `lib/apk/db/installed`, and `etc/apk/world`, the words that it was asked for.
//!
//! Format: apk-v2(5): paragraphs as in an index, and after them directories (`F:`, `M:`) and the files in each (`R:`, `a:`, `Z:`).

mod machine;

pub use machine::{Error, Machine};

use super::relation::{self, Atom};
use super::{Checksum, version};
use crate::base::error::{Diagnostic, ErrorKind};
use crate::base::limit;
use crate::tree::TreePath;

/// What apk gives a directory of which its database says nothing else.
const DIR_MODE: u32 = 0o755;
/// The same for a file.
const FILE_MODE: u32 = 0o644;

/// A package that is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Architecture.
    pub arch: String,
    /// What proves the file that it came from.
    pub checksum: Checksum,
    /// Its directories and files, in the order of the database.
    pub paths: Vec<InstalledPath>,
}

/// A directory or file of a package that is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledPath {
    /// Where it is.
    pub path: TreePath,
    /// It is a directory.
    pub is_dir: bool,
    /// Permission bits.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// The digest of a file's content, or of a link's text.
    pub checksum: Option<Checksum>,
}

/// The database cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of apk's database of installed packages {flaw}")]
pub struct DatabaseError {
    /// The line.
    pub line: usize,
    /// What is wrong with it.
    pub flaw: &'static str,
}

impl Diagnostic for DatabaseError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Host
    }
}

/// What has been read of a paragraph.
#[derive(Default)]
struct Draft {
    name: String,
    version: String,
    arch: String,
    checksum: Option<Checksum>,
    dir: Option<String>,
    paths: Vec<InstalledPath>,
}

/// Reads `lib/apk/db/installed`.
pub fn parse(text: &str) -> Result<Vec<Installed>, DatabaseError> {
    let mut packages = Vec::new();
    let mut draft = Draft::default();
    let mut count = 0;
    for (number, line) in text.lines().chain([""]).enumerate() {
        let refuse = |flaw| DatabaseError { line: number + 1, flaw };
        if line.is_empty() {
            packages.extend(finish(std::mem::take(&mut draft)).map_err(refuse)?);
            continue;
        }
        let (field, value) = line.split_once(':').filter(|(field, _)| field.len() == 1).ok_or_else(|| refuse("is no field"))?;
        take(&mut draft, field, value).map_err(refuse)?;
        count += 1;
        if count > limit::ENTRIES_MAX * 4 {
            return Err(refuse("is more than any machine has"));
        }
    }
    Ok(packages)
}

fn take(draft: &mut Draft, field: &str, value: &str) -> Result<(), &'static str> {
    match field {
        "P" => draft.name = value.to_owned(),
        "V" => draft.version = value.to_owned(),
        "A" => draft.arch = value.to_owned(),
        "C" => draft.checksum = Some(value.parse().map_err(|_| "has no checksum")?),
        "F" => {
            draft.dir = Some(value.to_owned());
            let path = TreePath::parse(value.as_bytes()).map_err(|_| "has a path that leaves the root")?;
            draft.paths.push(InstalledPath { path, is_dir: true, mode: DIR_MODE, uid: 0, gid: 0, checksum: None });
        }
        "R" => {
            let dir = draft.dir.as_deref().ok_or("has a file before any directory")?;
            if value.is_empty() || value.contains('/') {
                return Err("has a file name that is none");
            }
            let path = TreePath::parse(format!("{dir}/{value}").as_bytes()).map_err(|_| "has a path that leaves the root")?;
            draft.paths.push(InstalledPath { path, is_dir: false, mode: FILE_MODE, uid: 0, gid: 0, checksum: None });
        }
        "M" | "a" => {
            let last =
                draft.paths.last_mut().filter(|last| last.is_dir == (field == "M")).ok_or("belongs to nothing before it")?;
            let mut parts = value.split(':');
            let mut number =
                |radix| parts.next().and_then(|part| u32::from_str_radix(part, radix).ok()).ok_or("is no owner and mode");
            (last.uid, last.gid, last.mode) = (number(10)?, number(10)?, number(8)? & 0o7777);
        }
        "Z" => {
            let last = draft.paths.last_mut().filter(|last| !last.is_dir).ok_or("belongs to nothing before it")?;
            last.checksum = Some(value.parse().map_err(|_| "has no checksum")?);
        }
        _ => {}
    }
    Ok(())
}

fn finish(draft: Draft) -> Result<Option<Installed>, &'static str> {
    let Draft { name, version, arch, checksum, dir, paths } = draft;
    if name.is_empty() && version.is_empty() && checksum.is_none() && dir.is_none() {
        return Ok(None);
    }
    if name.is_empty() || !version::is_valid(&version) {
        return Err("ends a package without a name or a version");
    }
    let checksum = checksum.ok_or("ends a package without a checksum")?;
    Ok(Some(Installed { name, version, arch, checksum, paths }))
}

/// Reads `etc/apk/world`; words that are none are returned, too.
pub fn world(text: &str) -> (Vec<Atom>, Vec<String>) {
    let (mut atoms, mut others) = (Vec::new(), Vec::new());
    for word in text.split_whitespace() {
        match relation::requested(word) {
            Some(atom) => atoms.push(atom),
            None => others.push(word.to_owned()),
        }
    }
    (atoms, others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_files_with_their_owners() {
        let text = "C:Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=\nP:a\nV:1-r0\nF:\nF:etc\nM:0:5:1777\nR:x\na:7:8:4755\nZ:Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=\nR:y\n\n";
        let packages = parse(text).expect("a database");
        let shown: Vec<_> = packages[0].paths.iter().map(|p| format!("{} {:o} {}:{}", p.path, p.mode, p.uid, p.gid)).collect();
        assert_eq!(shown, ["/ 755 0:0", "/etc 1777 0:5", "/etc/x 4755 7:8", "/etc/y 644 0:0"]);
        assert!(packages[0].paths[2].checksum.is_some());
    }

    #[test]
    fn what_is_broken_is_refused_with_its_line() {
        let head = "C:Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=\nP:a\nV:1\n";
        for (rest, line) in [
            ("R:x\n", 4),
            ("F:../x\n", 4),
            ("F:a\nR:b/c\n", 5),
            ("Z:x\n", 4),
            ("F:a\na:0:0:755\n", 5),
            ("F:a\nM:x\n", 5),
            ("xy\n", 4),
        ] {
            assert_eq!(parse(&format!("{head}{rest}")).map_err(|err| err.line), Err(line), "{rest}");
        }
        assert_eq!(parse("P:a\nV:x\n\n").map_err(|err| err.line), Err(3));
    }
}
