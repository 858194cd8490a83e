//! What dpkg's database knows of a package's files: a list of paths, and digests of most of what they hold.
//!
//! dpkg has no record of owner, permissions and time, which are those on the disk, and makes the digests itself for a package that ships
//! none. Formats: deb-md5sums(5), dpkg(1).

use std::collections::BTreeMap;

use super::{Database, State, status};
use crate::base::checksum::{Checksum, Kind};
use crate::base::limit;
use crate::family::installed::{Listed, Record, Root, Unfit, Wanted};
use crate::family::{InstalledFiles, ReadError};
use crate::package::Package;
use crate::tree::TreePath;

impl Database {
    /// Reads what of an installed package is wanted.
    pub fn files(&self, package: &Package, wanted: &Wanted<'_>) -> Result<InstalledFiles, Unfit> {
        let gone = || Unfit::Gone { wanted: package.version.clone() };
        let entry = self.get(&package.name).ok_or_else(gone)?;
        if entry.version != package.version || entry.arch != package.arch {
            return Err(gone());
        }
        if let State::Broken(state) = &entry.state {
            return Err(Unfit::State(state.clone()));
        }
        let list = self.info(entry, "list")?.ok_or(Unfit::NoList)?;
        let sums = self.info(entry, "md5sums")?.unwrap_or_default();
        let sums = read_sums(&sums);
        let mut listed = Vec::new();
        for line in list.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            if listed.len() >= limit::ENTRIES_MAX {
                let what = "the list of its files".to_owned();
                return Err(ReadError::Limit { what, limit: format!("{} entries", limit::ENTRIES_MAX) }.into());
            }
            let path = TreePath::parse(line)?;
            let conffile = entry.conffiles.iter().find(|conffile| conffile.path == line);
            if conffile.is_some_and(|conffile| conffile.is_obsolete) {
                continue;
            }
            let sum = match conffile {
                Some(conffile) => Some(conffile.md5),
                None => sums.get(line.strip_prefix(b"/").unwrap_or(line)).copied(),
            };
            listed.push(Listed {
                moved: Some(self.diverted(&entry.name, line).to_vec()),
                sum: sum.and_then(|sum| Checksum::of_bytes(Kind::Md5, &sum)),
                is_config: conffile.is_some(),
                has_own_permissions: self.overrides.contains(line),
                ..Listed::new(path)
            });
        }
        let record = Record { root: &self.root, listed, sums_of_links: false, disk_capabilities: false, is_fresh: &is_fresh };
        record.read(wanted)
    }
}

/// Tells whether dpkg is about to replace a file: it unpacks the new one beside it first, and keeps the old one until that is done.
fn is_fresh(root: &Root, place: &[u8]) -> bool {
    [&b".dpkg-new"[..], b".dpkg-tmp"].into_iter().any(|suffix| root.has(&[place, suffix].concat()))
}

/// Reads `md5sums`: 32 digits, two blanks, a path without a slash at its beginning. A line that is none says nothing of any file.
fn read_sums(text: &[u8]) -> BTreeMap<&[u8], [u8; 16]> {
    let line = |line: &'_ [u8]| -> Option<(usize, [u8; 16])> {
        let digest = status::hexadecimal(line.get(..32)?)?;
        let start = 32 + line[32..].iter().position(|byte| *byte != b' ')?;
        Some((start, digest))
    };
    let lines = text.split(|byte| *byte == b'\n');
    lines
        .filter_map(|text| {
            line(text).map(|(start, digest)| (text[start..].strip_prefix(b"./").unwrap_or(&text[start..]), digest))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_read_as_written() {
        let digest = "d41d8cd98f00b204e9800998ecf8427e";
        let text = format!("{digest}  usr/bin/a b\n{digest}  ./usr/c\nno digest\n{digest}\n");
        let sums = read_sums(text.as_bytes());
        assert_eq!(sums.keys().copied().collect::<Vec<_>>(), [&b"usr/bin/a b"[..], b"usr/c"]);
    }
}
