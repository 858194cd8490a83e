//! Which modules a kernel has: files and built-ins by name; where a name has several files, depmod's rules choose.

use std::collections::{BTreeMap, BTreeSet};

use super::search::Search;
use super::{Error, KernelVersion};
use crate::format::module::{self, BuiltinInfo};
use crate::tree::{Content, Kind, Meta, Tree, TreePath};

/// A module file that may be chosen.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The kernel's name for it.
    pub name: String,
    /// Its path in the kernel's tree.
    pub path: TreePath,
    /// Its path below the version's directory: `kernel/fs/ext4/ext4.ko.xz`.
    pub relative: String,
    /// The file.
    pub content: Content,
    /// Permissions and time.
    pub meta: Meta,
}

/// All modules of one kernel.
#[derive(Debug, Default)]
pub struct Catalog {
    /// One file for each name, ordered by path.
    pub candidates: Vec<Candidate>,
    /// Numbers of candidates by the kernel's name.
    pub by_name: BTreeMap<String, usize>,
    /// Paths of built-in modules (`kernel/fs/ext4/ext4.ko`) by name.
    pub builtin: BTreeMap<String, String>,
    /// What the built-in ones say of themselves.
    pub builtin_info: BuiltinInfo,
    /// `modules.order`, `modules.builtin` and `modules.builtin.modinfo`, those that there are.
    pub kernel_files: BTreeMap<&'static str, Content>,
    /// What depmod wrote for the installed kernel: `modules.dep`, `modules.alias` and `modules.alias.bin`, those that there are.
    indexes: BTreeMap<&'static str, Content>,
    /// Links that lead nowhere, with their text.
    pub dangling: Vec<(TreePath, String)>,
    /// Files that another file of the same name hides.
    pub hidden: Vec<(TreePath, TreePath)>,
    /// Modules that `modules.dep` names and that are not there.
    pub stale: Vec<String>,
}

/// The files that the kernel's own build makes and that depmod reads.
pub const KERNEL_FILES: [&str; 3] = ["modules.builtin", "modules.builtin.modinfo", "modules.order"];

/// Indexes of an installed kernel that are looked into.
const INDEXES: [&str; 3] = ["modules.alias", "modules.alias.bin", "modules.dep"];

/// Returns the directory of a tree that has the kernels' modules: `usr/lib/modules`, or `lib/modules` where that is no link.
pub fn modules_dir(tree: &Tree) -> Option<TreePath> {
    ["usr/lib/modules", "lib/modules"].iter().find_map(|path| {
        tree.resolve(&TreePath::literal(path), true)
            .ok()
            .filter(|path| tree.get(path).is_some_and(|entry| matches!(entry.kind, Kind::Dir)))
    })
}

impl Catalog {
    /// Reads the directory of a kernel; no module is opened.
    pub fn new(tree: &Tree, kver: &KernelVersion) -> Result<Self, Error> {
        let missing = || Error::NoKernel { wanted: kver.to_string() };
        let dir = modules_dir(tree).ok_or_else(missing)?.join(kver.as_str().as_bytes())?;
        if !tree.get(&dir).is_some_and(|entry| matches!(entry.kind, Kind::Dir)) {
            return Err(missing());
        }
        let mut catalog = Self::default();
        for name in KERNEL_FILES {
            if let Some(content) = tree.read(&dir.join(name.as_bytes())?) {
                catalog.kernel_files.insert(name, content.clone());
            }
        }
        for name in INDEXES {
            if let Some(content) = tree.read(&dir.join(name.as_bytes())?) {
                catalog.indexes.insert(name, content.clone());
            }
        }
        catalog.collect(tree, &dir, &Search::read(tree, kver));
        if let Some(lines) = catalog.text("modules.builtin") {
            let paths: Vec<String> = lines.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
            catalog.builtin = paths.into_iter().map(|path| (module::name_of(path.as_bytes()), path)).collect();
        }
        if let Some(content) = catalog.kernel_files.get("modules.builtin.modinfo") {
            catalog.builtin_info = module::builtin_modinfo(content.bytes());
        }
        if catalog.candidates.is_empty() && catalog.builtin.is_empty() {
            return Err(Error::NoModules { path: dir });
        }
        catalog.check_dep();
        Ok(catalog)
    }

    /// Returns one of the kernel's own files as text.
    pub fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.kernel_files.get(name)?.bytes()).ok()
    }

    /// Returns an index that depmod wrote for the installed kernel.
    pub fn index(&self, name: &str) -> Option<&[u8]> {
        Some(self.indexes.get(name)?.bytes())
    }

    /// Returns the candidate of this name, spelled with `-` or `_`.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(&module::normalized(name)).copied()
    }

    /// Tells whether a module of this name is in the kernel image.
    pub fn is_builtin(&self, name: &str) -> bool {
        self.builtin.contains_key(&module::normalized(name))
    }

    fn collect(&mut self, tree: &Tree, dir: &TreePath, search: &Search) {
        let mut chosen: BTreeMap<String, Candidate> = BTreeMap::new();
        for (path, entry) in tree.below(dir) {
            let Some(relative) = path.relative_to(dir).and_then(|bytes| std::str::from_utf8(bytes).ok()) else { continue };
            // Links to the headers, which in a tree read from disk may be directories.
            let skipped = |part: &str| part == "build" || part == "source" || search.excludes(part);
            if !is_module(relative) || relative.split('/').any(skipped) {
                continue;
            }
            // A link (weak-updates has them) stands for what it leads to.
            let (content, meta) = match &entry.kind {
                Kind::File(content) => (content, entry.meta),
                Kind::Symlink(target) => match tree.lookup(path).and_then(|(_, real)| Some((real.content()?, real.meta))) {
                    Some(found) => found,
                    None => {
                        self.dangling.push((path.clone(), target.escape_ascii().to_string()));
                        continue;
                    }
                },
                _ => continue,
            };
            let name = module::name_of(relative.as_bytes());
            let new = Candidate {
                name: name.clone(),
                path: path.clone(),
                relative: relative.to_owned(),
                content: content.clone(),
                meta,
            };
            match chosen.get(&name) {
                Some(old) if !search.prefers(&new.relative, &old.relative) => self.hidden.push((new.path, old.path.clone())),
                Some(old) => {
                    self.hidden.push((old.path.clone(), new.path.clone()));
                    chosen.insert(name, new);
                }
                None => {
                    chosen.insert(name, new);
                }
            }
        }
        self.candidates = chosen.into_values().collect();
        self.candidates.sort_by(|a, b| a.relative.cmp(&b.relative));
        self.by_name = self.candidates.iter().enumerate().map(|(number, one)| (one.name.clone(), number)).collect();
    }

    /// Compares with the `modules.dep` of an installed kernel, if there is one. It is never trusted, only compared.
    fn check_dep(&mut self) {
        let Some(text) = self.index("modules.dep").and_then(|bytes| std::str::from_utf8(bytes).ok()) else { return };
        let have: BTreeSet<&str> = self.candidates.iter().map(|one| one.relative.as_str()).collect();
        let named = text.lines().filter_map(|line| line.split_once(':')).map(|(path, _)| path);
        let stale = named.filter(|path| is_module(path) && !have.contains(path)).map(str::to_owned).collect();
        self.stale = stale;
    }
}

/// Tells whether a path names a module, compressed in whatever way.
pub fn is_module(path: &str) -> bool {
    [".ko", ".ko.xz", ".ko.zst", ".ko.gz"].iter().any(|end| path.len() > end.len() && path.ends_with(end))
}
