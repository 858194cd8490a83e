//! Firmware of the chosen and the built-in modules, found as the kernel finds it, with every link on the way.
//!
//! Search order and suffixes are those of the kernel's firmware loader (`drivers/base/firmware_loader/main.c`). Microcode is not looked
//! for: it belongs to an image segment of its own.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Error, KernelVersion};
use crate::base::fs::FileError;
use crate::base::{glob, limit};
use crate::tree::{Content, Entry, Kind, Tree, TreePath};

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

/// Reads a file of a firmware tree that holds names only.
pub type Load<'a> = dyn Fn(&TreePath) -> Result<Content, FileError> + 'a;

/// Copies to `into` what the wishes, module by module, ask for. With `load` the tree holds names only, and that reads what is wanted:
/// of the hundreds of megabytes that a machine has an image takes a few.
pub fn collect(
    firmware: &Tree,
    load: Option<&Load<'_>>,
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
            match copy(firmware, load, &path, into)? {
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

/// Returns where a path of `/lib` lies in the image, and whether it is one: a directory `lib` in a later segment would replace the
/// link that an earlier one has there, and nothing would start any more.
fn merged(path: &TreePath) -> Result<(TreePath, bool), Error> {
    match path.relative_to(&TreePath::literal("lib")) {
        Some(below) => Ok((TreePath::literal("usr/lib").join(below)?, true)),
        None => Ok((path.clone(), false)),
    }
}

/// Copies a file and every link on the way to it.
fn copy(from: &Tree, load: Option<&Load<'_>>, path: &TreePath, into: &mut Tree) -> Result<Copied, Error> {
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
    // Links of the root itself (`lib`) are the image's own, which every root has.
    for (link, mut entry) in links.into_iter().filter(|(link, _)| link.components().count() > 1) {
        let (here, unmerged) = merged(&link)?;
        if let (true, Kind::Symlink(target)) = (unmerged, &mut entry.kind) {
            let (to, unmerged) = merged(&link.link_target(target)?)?;
            // One level deeper, a link that leaves /lib by `..` would go astray.
            if !unmerged {
                *target = [b"/", to.as_bytes()].concat();
            }
        }
        if into.get(&here).is_none() {
            into.put(&here, entry)?;
        }
    }
    let (here, _) = merged(&at)?;
    if into.get(&here).is_none() {
        let mut entry = entry.clone();
        if let Some(load) = load {
            entry.kind = Kind::File(load(&at)?);
        }
        into.put(&here, entry)?;
    }
    Ok(Copied::File(here))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Origin;

    fn firmware(files: &[&str], links: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::new();
        for path in files {
            tree.insert(&TreePath::literal(path), Entry::file(*path, Origin::Package(1))).expect(path);
        }
        for (path, target) in links {
            tree.insert(&TreePath::literal(path), Entry::symlink(target, Origin::Package(1))).expect(path);
        }
        tree
    }

    /// Returns the paths in the image, directories left out, and what was found.
    fn found(tree: &Tree, names: &[&str]) -> (Vec<String>, Found) {
        let wishes = BTreeMap::from([("m".to_owned(), names.iter().map(|name| (*name).to_owned()).collect())]);
        let kver = KernelVersion::parse("6.1").expect("a version");
        let mut into = Tree::new();
        let found = collect(tree, None, &kver, &wishes, &mut into).expect("no clash");
        let files = into.iter().filter(|(_, entry)| !matches!(entry.kind, Kind::Dir));
        (files.map(|(path, _)| path.as_str().expect("UTF-8").replace("usr/lib/firmware/", "")).collect(), found)
    }

    #[test]
    fn directories_and_suffixes_are_tried_as_the_kernel_does() {
        let base = "usr/lib/firmware";
        let all = ["updates/6.1/a.bin.xz", "updates/a.bin.zst", "6.1/a.bin", "a.bin", "b.bin.xz", "b.bin.zst", "updates/c", "c"];
        let all: Vec<String> = all.iter().map(|path| format!("{base}/{path}")).collect();
        let tree = firmware(&all.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
        for (name, expected) in [("a.bin", "6.1/a.bin"), ("b.bin", "b.bin.zst"), ("c", "updates/c")] {
            assert_eq!(found(&tree, &[name]).0, [expected], "{name}");
        }
    }

    #[test]
    fn links_on_the_way_are_kept() {
        let tree = firmware(
            &["usr/lib/firmware/cxgb4/t4fw-1.27.bin.xz", "usr/lib/firmware/qcom/x/z.bin", "usr/share/other/real.bin"],
            &[
                ("usr/lib/firmware/cxgb4/t4fw.bin.xz", "t4fw-1.27.bin.xz"),
                ("usr/lib/firmware/qcom/y", "x"),
                ("usr/lib/firmware/far.bin", "/etc/alternatives/far.bin"),
                ("etc/alternatives/far.bin", "../../usr/share/other/real.bin"),
            ],
        );
        let (files, what) = found(&tree, &["cxgb4/t4fw.bin", "qcom/y/z.bin", "far.bin"]);
        let expected = [
            "etc/alternatives/far.bin",
            "cxgb4/t4fw-1.27.bin.xz",
            "cxgb4/t4fw.bin.xz",
            "far.bin",
            "qcom/x/z.bin",
            "qcom/y",
            "usr/share/other/real.bin",
        ];
        assert_eq!(files, expected);
        assert!(what.missing.is_empty() && what.files.len() == 3);
        assert_eq!(what.files[1].path, TreePath::literal("usr/share/other/real.bin"));
    }

    #[test]
    fn firmware_of_unmerged_packages_goes_below_usr() {
        let links =
            [("lib/firmware/b", "a"), ("lib/firmware/c", "../../etc/alternatives/c"), ("etc/alternatives/c", "/lib/firmware/a")];
        let tree = firmware(&["lib/firmware/a"], &links);
        let wishes = BTreeMap::from([("m".to_owned(), ["b", "c"].map(str::to_owned).into())]);
        let mut into = Tree::new();
        let kver = KernelVersion::parse("6.1").expect("a version");
        let found = collect(&tree, None, &kver, &wishes, &mut into).expect("no clash");
        let real = TreePath::literal("usr/lib/firmware/a");
        assert!(found.files.len() == 2 && found.files.iter().all(|file| file.path == real));
        let files: Vec<String> = into
            .iter()
            .filter_map(|(path, entry)| match &entry.kind {
                Kind::Dir => None,
                Kind::Symlink(to) => Some(format!("{path} → {}", to.escape_ascii())),
                _ => Some(path.to_string()),
            })
            .collect();
        assert_eq!(
            files,
            [
                "/etc/alternatives/c → /lib/firmware/a",
                "/usr/lib/firmware/a",
                "/usr/lib/firmware/b → a",
                "/usr/lib/firmware/c → /etc/alternatives/c"
            ]
        );
    }

    #[test]
    fn links_of_the_root_are_not_copied() {
        let links = [("lib", "usr/lib"), ("usr/lib/firmware/b", "/lib/firmware/a")];
        let tree = firmware(&["usr/lib/firmware/a"], &links);
        assert_eq!(found(&tree, &["b"]).0, ["a", "b"]);
    }

    #[test]
    fn globs_take_all_that_match_once() {
        let files =
            ["brcm/a-sdio.x.bin", "brcm/a-sdio.y.bin.xz", "updates/brcm/a-sdio.x.bin", "brcm/b.bin", "brcm/sub/a-sdio.z.bin"];
        let files: Vec<String> = files.iter().map(|path| format!("usr/lib/firmware/{path}")).collect();
        let tree = firmware(&files.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
        let expected = ["brcm/a-sdio.y.bin.xz", "updates/brcm/a-sdio.x.bin"];
        assert_eq!(found(&tree, &["brcm/a-sdio.*.bin"]).0, expected);
    }

    #[test]
    fn b21_loops_and_dangling_links_are_missing() {
        let links = [("a", "b"), ("b", "a"), ("gone", "nowhere"), ("d", "d/x")]
            .map(|(path, to)| (format!("usr/lib/firmware/{path}"), to));
        let links: Vec<(&str, &str)> = links.iter().map(|(path, to)| (path.as_str(), *to)).collect();
        let tree = firmware(&["usr/lib/firmware/fine"], &links);
        let (files, what) = found(&tree, &["a", "gone", "fine", "d/y", "absent", "../../../etc/shadow", ""]);
        assert_eq!(files, ["fine"]);
        assert_eq!(what.loops, ["a", "d/y"]);
        let missing: Vec<&str> = what.missing["m"].iter().map(String::as_str).collect();
        assert_eq!(missing, ["", "../../../etc/shadow", "a", "absent", "d/y", "gone"]);
    }

    #[test]
    fn microcode_is_not_looked_for() {
        let tree = firmware(&["usr/lib/firmware/amd-ucode/x.bin"], &[]);
        let (files, what) = found(&tree, &["amd-ucode/x.bin", "intel-ucode/*"]);
        assert!(files.is_empty() && what.missing.is_empty());
        assert!(found(&Tree::new(), &["x"]).1.missing.contains_key("m"));
    }
}
