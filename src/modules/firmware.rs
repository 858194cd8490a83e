//! Firmware of the chosen and the built-in modules, found as the kernel finds it, with every link on the way.
//!
//! Search order and suffixes are those of the kernel's firmware loader (`drivers/base/firmware_loader/main.c`). Microcode is not looked
//! for: it belongs to an image segment of its own.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Error, KernelVersion};
use crate::base::{glob, limit};
use crate::tree::{Entry, Kind, Tree, TreePath};

/// Directories of the processors' microcode.
const MICROCODE_DIRS: [&str; 2] = ["amd-ucode/", "intel-ucode/"];

/// What compression adds to a name, in the order in which the kernel tries them.
const SUFFIXES: [&str; 3] = ["", ".zst", ".xz"];

/// A firmware file of the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Firmware {
    /// Where it lies, links followed.
    pub path: TreePath,
    /// The name that a module asks for.
    pub name: String,
    /// The modules that ask for it.
    pub wanted_by: Vec<String>,
}

/// What was found, and what was not.
#[derive(Debug, Default)]
pub struct Found {
    /// The files, ordered by name.
    pub files: Vec<Firmware>,
    /// Names that are not there, by module.
    pub missing: BTreeMap<String, Vec<String>>,
    /// Names whose links lead in a circle; also among the missing ones.
    pub loops: Vec<String>,
}

/// Copies to `into` what the wishes, module by module, ask for.
pub fn collect(
    firmware: &Tree,
    kver: &KernelVersion,
    wishes: &BTreeMap<String, BTreeSet<String>>,
    into: &mut Tree,
) -> Result<Found, Error> {
    let source = Source::new(firmware, kver)?;
    let mut by_name: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (module, names) in wishes {
        for name in names.iter().filter(|name| !MICROCODE_DIRS.iter().any(|dir| name.starts_with(dir))) {
            by_name.entry(name).or_default().push(module.clone());
        }
    }
    let mut found = Found::default();
    for (name, wanted_by) in by_name {
        let mut hits = Vec::new();
        for path in source.paths(name) {
            match copy(firmware, &path, into)? {
                Copied::File(real) => hits.push(real),
                Copied::Loop => found.loops.push(name.to_owned()),
                Copied::Nothing => {}
            }
        }
        if hits.is_empty() {
            wanted_by.iter().for_each(|module| found.missing.entry(module.clone()).or_default().push(name.to_owned()));
        }
        let files = hits.into_iter().map(|path| Firmware { path, name: name.to_owned(), wanted_by: wanted_by.clone() });
        found.files.extend(files);
    }
    Ok(found)
}

/// The firmware directories of a tree, best first, and the names in them for globs.
struct Source<'a> {
    tree: &'a Tree,
    /// Directories as named, not resolved: the way is copied too.
    dirs: Vec<TreePath>,
    /// For each directory the paths below it without suffix of compression, with the path itself.
    names: Vec<Vec<(Vec<u8>, TreePath)>>,
}

impl<'a> Source<'a> {
    fn new(tree: &'a Tree, kver: &KernelVersion) -> Result<Self, Error> {
        let has = |path: &&TreePath| tree.lookup(path).is_some();
        let bases = [TreePath::literal("usr/lib/firmware"), TreePath::literal("lib/firmware")];
        let Some(base) = bases.iter().find(has) else {
            return Ok(Self { tree, dirs: Vec::new(), names: Vec::new() });
        };
        let kver = kver.as_str();
        let below = [format!("updates/{kver}"), "updates".into(), kver.to_owned()];
        let mut dirs: Vec<TreePath> = below.iter().map(|dir| base.join(dir.as_bytes())).collect::<Result<_, _>>()?;
        dirs.push(base.clone());
        dirs.retain(|dir| tree.lookup(dir).is_some());
        let names = dirs.iter().map(|dir| names_below(tree, dir)).collect();
        Ok(Self { tree, dirs, names })
    }

    /// Returns where a name is found: one path, or any number of them for a glob.
    fn paths(&self, name: &str) -> Vec<TreePath> {
        if name.contains(['*', '?', '[']) {
            let mut seen = BTreeSet::new();
            let all = self.names.iter().flatten();
            let hits = all.filter(|(path, _)| glob::matches(name.as_bytes(), path));
            return hits.filter(|(path, _)| seen.insert(path)).map(|(_, path)| path.clone()).collect();
        }
        let suffixed = SUFFIXES.iter().flat_map(|suffix| self.dirs.iter().map(move |dir| (dir, suffix)));
        // A name such as `../x` is no path below the directory.
        let mut paths = suffixed.filter_map(|(dir, suffix)| dir.join(format!("{name}{suffix}").as_bytes()).ok());
        let first = paths.find(|path| !matches!(self.tree.lookup(path), None | Some((_, Entry { kind: Kind::Dir, .. }))));
        // A link in a circle is nowhere, but worth telling.
        let looping = || self.dirs.iter().filter_map(|dir| dir.join(name.as_bytes()).ok()).find(|path| loops(self.tree, path));
        first.or_else(looping).into_iter().collect()
    }
}

fn loops(tree: &Tree, path: &TreePath) -> bool {
    matches!(tree.resolve(path, true), Err(crate::tree::TreeError::Loop { .. }))
}

fn names_below(tree: &Tree, dir: &TreePath) -> Vec<(Vec<u8>, TreePath)> {
    let Ok(real) = tree.resolve(dir, true) else { return Vec::new() };
    let files = tree.below(&real).filter(|(_, entry)| !matches!(entry.kind, Kind::Dir));
    files
        .filter_map(|(path, _)| {
            let relative = path.relative_to(&real)?;
            let bare = SUFFIXES[1..].iter().find_map(|suffix| relative.strip_suffix(suffix.as_bytes())).unwrap_or(relative);
            Some((bare.to_vec(), path.clone()))
        })
        .collect()
}

enum Copied {
    File(TreePath),
    Loop,
    Nothing,
}

/// Copies a file and every link on the way to it.
fn copy(from: &Tree, path: &TreePath, into: &mut Tree) -> Result<Copied, Error> {
    let mut todo: Vec<Vec<u8>> = path.components().map(<[u8]>::to_vec).collect();
    todo.reverse();
    let (mut at, mut links) = (TreePath::root(), Vec::new());
    while let Some(component) = todo.pop() {
        at = at.join(&component)?;
        if let Some(entry) = from.get(&at)
            && let Kind::Symlink(target) = &entry.kind
        {
            if links.len() >= limit::SYMLINKS_MAX {
                return Ok(Copied::Loop);
            }
            links.push((at.clone(), entry.clone()));
            todo.extend(at.link_target(target)?.components().map(<[u8]>::to_vec).collect::<Vec<_>>().into_iter().rev());
            at = TreePath::root();
        }
    }
    let Some(entry) = from.get(&at).filter(|entry| entry.content().is_some()) else { return Ok(Copied::Nothing) };
    for (link, entry) in links {
        if into.get(&link).is_none() {
            into.put(&link, entry)?;
        }
    }
    if into.get(&at).is_none() {
        into.put(&at, entry.clone())?;
    }
    Ok(Copied::File(at))
}
