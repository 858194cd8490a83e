//! `diff`: what differs between two images, whoever made them: packages, kernel modules, files.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::args::{Diff, Global};
use super::check::{self, Opened};
use super::diagnose::one_line;
use super::{Failure, ls, print};
use crate::base::size::Size;
use crate::image::MANIFEST_PATH;
use crate::manifest::Manifest;
use crate::tree::{Kind, Tree, TreePath};

/// A change of one thing.
struct Change {
    /// What: a package, a module, a path.
    name: String,
    before: Option<String>,
    after: Option<String>,
    /// By how many bytes the image's content grows.
    bytes: i64,
}

/// Runs the command.
pub fn run(args: &Diff, global: &Global) -> Result<(), Failure> {
    let before = check::open(ls::read(&args.before)?, &args.before)?;
    let after = check::open(ls::read(&args.after)?, &args.after)?;
    let kinds = [
        ("package", maps(&packages(&before), &packages(&after))),
        ("module", maps(&modules(&before), &modules(&after))),
        ("file", files(&before.tree, &after.tree)),
    ];
    print(&match global.json {
        true => format!("{:#}\n", as_json(&kinds)),
        false => as_text(&kinds),
    })
}

fn packages(image: &Opened) -> BTreeMap<String, String> {
    let all = image.manifest.iter().flat_map(|manifest| manifest.packages.iter().filter(|package| !package.omitted));
    all.map(|package| (package.name.clone(), package.version.clone())).collect()
}

fn modules(image: &Opened) -> BTreeMap<String, String> {
    let all = image.manifest.iter().flat_map(|manifest: &Manifest| manifest.modules.keys());
    all.map(|name| (name.clone(), String::new())).collect()
}

fn maps(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<Change> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let changed = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
    let change = |name: &String| Change {
        name: name.clone(),
        before: before.get(name).cloned(),
        after: after.get(name).cloned(),
        bytes: 0,
    };
    changed.map(change).collect()
}

fn files(before: &Tree, after: &Tree) -> Vec<Change> {
    let manifest = TreePath::literal(MANIFEST_PATH);
    let paths: BTreeSet<&TreePath> = before.iter().chain(after.iter()).map(|(path, _)| path).collect();
    let mut changes = Vec::new();
    for path in paths.into_iter().filter(|path| **path != manifest) {
        let (old, new) = (before.get(path), after.get(path));
        let same = match (old, new) {
            (Some(old), Some(new)) => {
                old.kind == new.kind && (old.meta.mode, old.meta.uid, old.meta.gid) == (new.meta.mode, new.meta.uid, new.meta.gid)
            }
            _ => false,
        };
        if same {
            continue;
        }
        let size = |entry: Option<&crate::tree::Entry>| {
            entry.and_then(|entry| entry.content()).map_or(0, |content| content.len() as i64)
        };
        let describe = |entry: &crate::tree::Entry| match &entry.kind {
            Kind::File(content) => format!("{:04o} {}", entry.meta.mode, Size(content.len() as u64)),
            Kind::Symlink(target) => format!("-> {}", String::from_utf8_lossy(target)),
            _ => format!("{:04o} {}", entry.meta.mode, entry.noun()),
        };
        changes.push(Change {
            name: path.to_string(),
            before: old.map(describe),
            after: new.map(describe),
            bytes: size(new) - size(old),
        });
    }
    changes
}

fn as_text(kinds: &[(&str, Vec<Change>)]) -> String {
    let mut out = String::new();
    for (kind, changes) in kinds {
        for change in changes {
            let name = one_line(&change.name);
            let line = match (&change.before, &change.after) {
                (None, Some(new)) => format!("+ {kind} {name} {new}"),
                (Some(old), None) => format!("- {kind} {name} {old}"),
                (old, new) => format!("~ {kind} {name} {} => {}", old.as_deref().unwrap_or(""), new.as_deref().unwrap_or("")),
            };
            let _ = writeln!(out, "{}", one_line(line.trim_end())); // writing to a String cannot fail
        }
    }
    let count = |kind: &str| kinds.iter().filter(|(name, _)| *name == kind).map(|(_, changes)| changes.len()).sum::<usize>();
    let bytes: i64 = kinds.iter().flat_map(|(_, changes)| changes).map(|change| change.bytes).sum();
    let sign = if bytes < 0 { "-" } else { "+" };
    let (packages, modules, files) = (count("package"), count("module"), count("file"));
    let _ = writeln!(out, "{packages} packages, {modules} modules, {files} files differ, {sign}{}", Size(bytes.unsigned_abs())); // cannot fail
    out
}

fn as_json(kinds: &[(&str, Vec<Change>)]) -> serde_json::Value {
    let mut all = serde_json::Map::new();
    for (kind, changes) in kinds {
        let one = |change: &Change| serde_json::json!({ "name": change.name, "before": change.before, "after": change.after, "bytes": change.bytes });
        all.insert(format!("{kind}s"), changes.iter().map(one).collect());
    }
    all.insert("schema".to_owned(), 1.into());
    all.into()
}
