//! `ls --by-package`: where every byte of an image comes from, the largest first.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::check::Opened;
use super::diagnose::one_line;
use crate::base::size::Size;
use crate::image::MANIFEST_PATH;
use crate::manifest::Manifest;
use crate::tree::{Kind, TreePath};

/// What one source contributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The source: `package systemd 257`, `modules drivers/net`, `firmware`, `finalizer hwdb`.
    pub from: String,
    /// Its files and links.
    pub files: usize,
    /// Their content in bytes, each file of a hard link set once.
    pub bytes: u64,
}

/// Returns the shares of an image of ours, largest first.
pub fn shares(image: &Opened, manifest: &Manifest) -> Vec<Share> {
    let mut shares: BTreeMap<String, (usize, u64)> = BTreeMap::new();
    let mut seen = std::collections::BTreeSet::new();
    for (path, entry) in image.tree.iter().filter(|(_, entry)| !matches!(entry.kind, Kind::Dir)) {
        let share = shares.entry(source(manifest, path)).or_default();
        let content = entry.content().filter(|content| content.identity().is_none_or(|identity| seen.insert(identity)));
        share.0 += 1;
        share.1 += content.map_or(0, |content| content.len() as u64);
    }
    let mut shares: Vec<Share> = shares.into_iter().map(|(from, (files, bytes))| Share { from, files, bytes }).collect();
    shares.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.from.cmp(&b.from)));
    shares
}

fn source(manifest: &Manifest, path: &TreePath) -> String {
    if let Some(file) = manifest.files.get(&path.to_string()) {
        return match manifest.packages.iter().find(|package| package.name == file.from) {
            Some(package) => format!("package {} {}", package.name, package.version),
            None => format!("made by {}", file.from),
        };
    }
    let text = path.to_string();
    let mut parts = text.trim_start_matches("/usr/lib/").split('/');
    match (parts.next(), parts.next()) {
        (Some("modules"), Some(_)) => {
            // kernel/drivers/net/… is told apart by its first two directories, fs/ and crypto/ by one.
            let rest: Vec<&str> = parts.collect();
            match rest.as_slice() {
                ["kernel", "drivers", directory, _, ..] => format!("modules drivers/{directory}"),
                ["kernel", directory, _, ..] => format!("modules {directory}"),
                [directory, _, ..] => format!("modules {directory}"),
                _ => "module indexes".to_owned(),
            }
        }
        (Some("firmware"), Some(_)) => "firmware".to_owned(),
        _ if text == format!("/{MANIFEST_PATH}") => "manifest".to_owned(),
        _ => "configuration of the host".to_owned(),
    }
}

/// Returns the shares as people read them.
pub fn as_text(shares: &[Share]) -> String {
    let mut out = String::new();
    for share in shares {
        let _ = writeln!(out, "{:>9}  {:>5} files  {}", Size(share.bytes).to_string(), share.files, one_line(&share.from)); // writing to a String cannot fail
    }
    let (bytes, files) = shares.iter().fold((0, 0), |(bytes, files), share| (bytes + share.bytes, files + share.files));
    let _ = writeln!(out, "{:>9}  {files:>5} files  in all, unpacked", Size(bytes).to_string()); // cannot fail
    out
}

/// Returns the shares for programs.
pub fn as_json(shares: &[Share]) -> serde_json::Value {
    let one = |share: &Share| serde_json::json!({ "from": share.from, "files": share.files, "bytes": share.bytes });
    serde_json::json!({ "schema": 1, "shares": shares.iter().map(one).collect::<Vec<_>>() })
}
