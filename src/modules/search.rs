//! Which of several files of the same module name counts: depmod.d's `search`, `override` and `exclude` lines.
//!
//! `external` directories lie outside the kernel's directory and are not looked into. Facts: depmod.d(5).

use std::collections::BTreeMap;

use super::KernelVersion;
use crate::format::module;
use crate::tree::{Tree, TreePath};

/// Directories of depmod.d, best first: of two files with the same name the first counts.
const CONFIG_DIRS: [&str; 5] = ["run/depmod.d", "etc/depmod.d", "usr/local/lib/depmod.d", "usr/lib/depmod.d", "lib/depmod.d"];

/// What counts where nothing is configured. depmod itself knows only `updates` then, and takes whichever file it meets first of
/// the rest: this is the order that distributions with such directories configure.
const DEFAULT_SEARCH: [&str; 4] = ["updates", BUILT_IN, "extra", "weak-updates"];

/// The word that stands for every directory not named.
const BUILT_IN: &str = "built-in";

/// The rules of one kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// Directories, best first.
    directories: Vec<String>,
    /// Paths of modules without extension that win over everything: `weak-updates/foo`.
    overrides: Vec<String>,
    /// Names of directories that are not looked into.
    excluded: Vec<String>,
}

impl Search {
    /// Reads the rules from a tree.
    pub fn read(tree: &Tree, kver: &KernelVersion) -> Self {
        let mut files: BTreeMap<Vec<u8>, String> = BTreeMap::new();
        for dir in CONFIG_DIRS {
            let Ok(dir) = tree.resolve(&TreePath::literal(dir), true) else { continue };
            for (path, _) in tree.children(&dir) {
                let name = path.name();
                let text = tree.read(path).and_then(|content| std::str::from_utf8(content.bytes()).ok());
                if let (true, Some(text)) = (name.ends_with(b".conf") && !name.starts_with(b"."), text) {
                    files.entry(name.to_vec()).or_insert_with(|| text.to_owned());
                }
            }
        }
        Self::parse(files.values().map(String::as_str), kver)
    }

    fn parse<'a>(files: impl Iterator<Item = &'a str>, kver: &KernelVersion) -> Self {
        let mut search = Self { directories: Vec::new(), overrides: Vec::new(), excluded: Vec::new() };
        for text in files {
            // A backslash at its end joins a line with the next.
            let joined = text.replace("\\\n", "");
            for line in joined.lines() {
                let words: Vec<&str> = line.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
                match words.as_slice() {
                    ["search", directories @ ..] => search.directories.extend(directories.iter().map(|dir| (*dir).to_owned())),
                    ["override", name, version, directory, ..] if is_for(version, kver) => {
                        search.overrides.push(format!("{directory}/{}", module::normalized(name)));
                    }
                    ["exclude", directories @ ..] => search.excluded.extend(directories.iter().map(|dir| (*dir).to_owned())),
                    _ => {}
                }
            }
        }
        if search.directories.is_empty() {
            search.directories = DEFAULT_SEARCH.map(str::to_owned).to_vec();
        }
        search
    }

    /// Tells whether directories of this name are not looked into.
    pub fn excludes(&self, directory: &str) -> bool {
        self.excluded.iter().any(|excluded| excluded == directory)
    }

    /// Tells whether the module at `new` is taken rather than that at `old`, both relative to the kernel's directory.
    pub fn prefers(&self, new: &str, old: &str) -> bool {
        self.rank(new) < self.rank(old)
    }

    fn rank(&self, path: &str) -> (bool, usize) {
        let (dir, _) = path.rsplit_once('/').unwrap_or(("", path));
        let stem = format!("{dir}/{}", module::name_of(path.as_bytes()));
        let named = |directory: &String| path.strip_prefix(directory.as_str()).is_some_and(|rest| rest.starts_with('/'));
        let place = self.directories.iter().position(named);
        let built_in = || self.directories.iter().position(|directory| directory == BUILT_IN);
        (!self.overrides.contains(&stem), place.or_else(built_in).unwrap_or(usize::MAX))
    }
}

/// Tells whether an `override` is for this kernel: `*`, or a regular expression of literals, `.` and `.*` that matches anywhere.
fn is_for(version: &str, kver: &KernelVersion) -> bool {
    if version == "*" {
        return true;
    }
    let (anchored_start, pattern) = version.strip_prefix('^').map_or((false, version), |rest| (true, rest));
    let (anchored_end, pattern) = pattern.strip_suffix('$').map_or((false, pattern), |rest| (true, rest));
    // `.*` is kmod's own way to say `*` in such files, a lone `.` or `\.` in a version means itself closely enough.
    let mut glob = pattern.replace(".*", "*").replace('\\', "");
    if !anchored_start {
        glob.insert(0, '*');
    }
    if !anchored_end {
        glob.push('*');
    }
    crate::base::glob::matches(glob.as_bytes(), kver.as_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kver() -> KernelVersion {
        KernelVersion::parse("6.12.1-a").expect("a version")
    }

    #[test]
    fn the_first_directory_wins() {
        for (config, best, worst) in [
            ("", "updates/dkms/a.ko", "kernel/a.ko"),
            ("", "kernel/a.ko", "extra/a.ko"),
            ("", "extra/a.ko", "weak-updates/a.ko"),
            ("search extra built-in", "extra/a.ko", "kernel/a.ko"),
            ("search extra built-in", "kernel/a.ko", "updates/a.ko.xz/../a.ko"),
            ("search updates extra\\\n built-in weak-updates", "extra/a.ko", "kernel/a.ko"),
            ("override a * weak-updates", "weak-updates/a.ko.xz", "updates/a.ko"),
            ("override a-b 6.12.* weak-updates/x", "weak-updates/x/a-b.ko", "updates/a_b.ko"),
            ("override a 5.14.* weak-updates", "updates/a.ko", "weak-updates/a.ko"),
            ("override a ^6\\.12\\.1-a$ extra", "extra/a.ko", "updates/a.ko"),
        ] {
            let search = Search::parse(std::iter::once(config), &kver());
            // Not named together with `built-in`: as good as any other directory there.
            if config == "search extra built-in" && best.starts_with("kernel") {
                assert!(!search.prefers(worst, best) && !search.prefers(best, worst));
                continue;
            }
            assert!(search.prefers(best, worst), "{config}: {best} before {worst}");
            assert!(!search.prefers(worst, best), "{config}: {worst} not before {best}");
        }
    }

    #[test]
    fn files_of_a_better_directory_hide_others() {
        const MADE: crate::tree::Origin = crate::tree::Origin::Made("test");
        let mut tree = Tree::new();
        for (path, text) in [
            ("usr/lib/depmod.d/dist.conf", "search extra built-in\n"),
            ("etc/depmod.d/dist.conf", "search kernel extra\n"),
            ("etc/depmod.d/readme", "search nonsense\n"),
            ("usr/lib/depmod.d/x.conf", "exclude old\n"),
        ] {
            tree.insert(&TreePath::literal(path), crate::tree::Entry::file(text, MADE)).expect(path);
        }
        let search = Search::read(&tree, &kver());
        assert!(search.prefers("kernel/a.ko", "extra/a.ko"));
        assert!(search.excludes("old") && !search.excludes("kernel"));
    }
}
