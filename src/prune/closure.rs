//! The closure: asks every file that stays what it needs, takes that in, and reports what is missing.

use std::collections::BTreeMap;
use std::fmt;

use super::libraries::Libraries;
use super::links::{self, Trail};
use super::rules::{Fate, Verdict};
use super::want::{Want, What};
use super::{Cause, Dropped, Drops, Inputs, Needed, Reason, scripts, udev, units};
use crate::base::glob::Glob;
use crate::format::elf::{Dlopen, Elf, Priority};
use crate::tree::{Kind, Origin, Tree, TreePath};

/// Something that stays needs what is not there.
#[derive(Debug, Clone, PartialEq)]
pub struct Missing {
    /// The file that needs it.
    pub user: TreePath,
    /// The package that the file is from.
    pub package: String,
    /// How it needs it.
    pub verb: &'static str,
    /// What it needs, by the name it uses.
    pub name: String,
    /// What became of that.
    pub lost: Lost,
}

/// What became of something that is needed and not there.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Lost {
    /// A rule dropped it.
    #[error("the rule {rule} dropped `{path}` of the package `{package}`")]
    ByRule {
        /// The path that went.
        path: TreePath,
        /// The rule, with its place.
        rule: String,
        /// The package that has it.
        package: String,
    },
    /// There is a file of that name which cannot serve.
    #[error("`{path}` is for another kind of machine")]
    Unfit {
        /// The file.
        path: TreePath,
    },
    /// No package of the image has it.
    #[error("no package of the image has it")]
    NoPackage,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {} `{}`, which is not in the image", self.user, self.verb, self.name)
    }
}

impl std::error::Error for Missing {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.lost)
    }
}

impl Missing {
    /// Returns what and why in one line.
    pub fn in_full(&self) -> String {
        format!("{self}: {}", self.lost)
    }

    /// Returns where it was noticed.
    pub fn place(&self) -> String {
        format!("`{}` of the package `{}`", self.user, self.package)
    }

    /// Returns what can be done about it.
    pub fn hints(&self) -> Vec<String> {
        let user = self.user.to_string();
        let user = user.trim_start_matches('/');
        match &self.lost {
            Lost::ByRule { path, .. } => {
                let path = path.to_string();
                vec![format!("add the prune rule `+{}`, or `-{user}` if the image can do without", path.trim_start_matches('/'))]
            }
            Lost::NoPackage | Lost::Unfit { .. } => {
                vec![format!("add the package that has it, or the prune rule `-{user}` if the image can do without")]
            }
        }
    }
}

/// What the closure found.
#[derive(Default)]
pub(super) struct Closed {
    /// Why each file and link stays.
    pub kept: BTreeMap<TreePath, Reason>,
    /// What is missing.
    pub missing: Vec<Missing>,
    /// What might be missed.
    pub notes: Vec<String>,
}

/// Closes the tree over its needs.
pub(super) fn close(tree: &Tree, inputs: &Inputs<'_>, drops: &Drops, fates: &BTreeMap<TreePath, Verdict>) -> Closed {
    let mut closure = Closure {
        tree,
        inputs,
        drops,
        fates,
        libraries: Libraries::of(tree),
        todo: Vec::new(),
        recommended: BTreeMap::new(),
        found: Closed::default(),
    };
    for (path, verdict) in fates.iter().filter(|(_, verdict)| verdict.fate == Fate::Keep) {
        closure.keep(path, Reason { rule: verdict.rule, needed: None });
    }
    // In the order of the paths, so that the first reason of each is the same every time.
    closure.todo.reverse();
    while let Some(path) = closure.todo.pop() {
        for want in closure.wants_of(&path) {
            closure.take(&path, &want);
        }
    }
    closure.note_recommended();
    closure.found
}

/// How far up the libraries that load each other are asked.
const LOADERS_MAX: usize = 16;

struct Closure<'a> {
    tree: &'a Tree,
    inputs: &'a Inputs<'a>,
    drops: &'a Drops,
    fates: &'a BTreeMap<TreePath, Verdict>,
    libraries: Libraries,
    todo: Vec<TreePath>,
    /// Features that a `.note.dlopen` recommends, with the first file that does.
    recommended: BTreeMap<String, (TreePath, Dlopen)>,
    found: Closed,
}

impl Closure<'_> {
    fn keep(&mut self, path: &TreePath, reason: Reason) {
        if self.tree.get(path).is_none_or(|entry| matches!(entry.kind, Kind::Dir)) {
            return;
        }
        match self.found.kept.get_mut(path) {
            Some(known) => {
                // The strongest need is remembered: what must be there says more than what may.
                let stronger = |new: &Needed| known.needed.as_ref().is_none_or(|old| new.must && !old.must);
                if reason.needed.as_ref().is_some_and(stronger) {
                    known.needed = reason.needed;
                }
            }
            None => {
                self.found.kept.insert(path.clone(), reason);
                self.todo.push(path.clone());
            }
        }
    }

    /// Looks for what `user` wants; takes it, or notes that it is missing.
    fn take(&mut self, user: &TreePath, want: &Want) {
        let trails = match &want.what {
            What::Path(path) => self.at(TreePath::root().link_target(path).ok()),
            What::Program(name, directories) => {
                let places = directories.iter().filter_map(|directory| TreePath::literal(directory).join(name).ok());
                let trails = places.map(|place| Trail::follow(self.tree, &place));
                trails.into_iter().find(|trail| trail.is_there(self.tree)).into_iter().collect()
            }
            What::Library(names) => self.library(user, names).into_iter().collect(),
            What::Unit(name) => self.at(links::unit_path(self.tree, name)),
            What::Matching(glob) => {
                let paths = self.tree.iter().filter(|(_, entry)| !matches!(entry.kind, Kind::Dir)).map(|(path, _)| path);
                let paths: Vec<_> = paths.filter(|path| glob.matches(path.as_bytes())).cloned().collect();
                paths.into_iter().flat_map(|path| self.at(Some(path))).collect()
            }
        };
        if trails.is_empty() {
            self.miss(user, want);
        }
        // Of several files that would do none is indispensable.
        let must = want.must && trails.len() == 1;
        for path in trails.into_iter().flat_map(|trail| trail.links.into_iter().chain([trail.end])) {
            let rule = self.fates.get(&path).and_then(|verdict| verdict.rule);
            let needed = (path != *user).then(|| Needed { by: user.clone(), verb: want.verb, must });
            self.keep(&path, Reason { rule, needed });
        }
    }

    fn at(&self, path: Option<TreePath>) -> Vec<Trail> {
        path.map(|path| Trail::follow(self.tree, &path)).filter(|trail| trail.is_there(self.tree)).into_iter().collect()
    }

    /// Looks for a library as the loader does for `user`, and if there is none, among what those who load `user` have loaded
    /// before: libsystemd-core needs libsystemd-shared, which only systemd itself knows where to find.
    fn library(&mut self, user: &TreePath, names: &[Vec<u8>]) -> Option<Trail> {
        let mut user = user.clone();
        for above in 0..LOADERS_MAX {
            let elf = self.libraries.elf(self.tree, &user).ok().flatten()?.clone();
            for name in names {
                let knows = above == 0 || elf.needed.contains(name) || elf.runpath.is_empty() && !elf.rpath.is_empty();
                if let Some(trail) = knows.then(|| self.libraries.find(self.tree, name, &user, &elf)).flatten() {
                    return Some(trail);
                }
            }
            user = self.found.kept.get(&user)?.needed.as_ref()?.by.clone();
        }
        None
    }

    fn miss(&mut self, user: &TreePath, want: &Want) {
        let lost = match self.dropped_for(user, &want.what) {
            Some(dropped) => self.lost(dropped),
            None => self.unfit(user, &want.what).map_or(Lost::NoPackage, |path| Lost::Unfit { path }),
        };
        let user = user.clone();
        let package = self.package(self.tree.get(&user).map(|entry| &entry.origin));
        let missing = Missing { user, package, verb: want.verb, name: want.what.name(), lost };
        match (&missing.lost, want.must) {
            (_, true) => {
                if !self.found.missing.contains(&missing) {
                    self.found.missing.push(missing);
                }
            }
            (Lost::ByRule { .. }, false) => self.note(missing.in_full()),
            (Lost::NoPackage | Lost::Unfit { .. }, false) => {}
        }
    }

    /// Notes the recommended features whose library is not there.
    fn note_recommended(&mut self) {
        for (feature, (user, dlopen)) in std::mem::take(&mut self.recommended) {
            let there = |name: &String| self.found.kept.keys().any(|path| path.name() == name.as_bytes());
            if !dlopen.sonames.iter().any(there) {
                let names = dlopen.sonames.join("` or `");
                self.note(format!("`{user}` would load `{names}` (feature `{feature}`) if it were in the image"));
            }
        }
    }

    fn note(&mut self, note: String) {
        if !self.found.notes.contains(&note) {
            self.found.notes.push(note);
        }
    }

    fn lost(&self, dropped: &Dropped) -> Lost {
        let rule = match dropped.cause {
            Cause::Rule(rule) | Cause::NotNeeded(rule) => self.inputs.rules.get(rule).map(ToString::to_string),
            _ => None,
        };
        let package = self.package(Some(&dropped.origin));
        Lost::ByRule { path: dropped.path.clone(), rule: rule.unwrap_or_default(), package }
    }

    fn package(&self, origin: Option<&Origin>) -> String {
        match origin {
            Some(Origin::Package(id)) => self.inputs.packages.get(*id as usize).cloned().unwrap_or_default(),
            Some(Origin::Config(path)) => path.display().to_string(),
            Some(Origin::Kernel) => "the kernel".to_owned(),
            Some(Origin::Made(what)) => (*what).to_owned(),
            None => String::new(),
        }
    }

    /// Returns what went that would have been it.
    fn dropped_for(&self, user: &TreePath, what: &What) -> Option<&Dropped> {
        match what {
            What::Path(path) => {
                let path = TreePath::root().link_target(path).ok()?;
                self.drops.around(&Trail::follow(self.tree, &path).end)
            }
            What::Program(name, directories) => {
                let places = directories.iter().filter_map(|directory| TreePath::literal(directory).join(name).ok());
                places.into_iter().find_map(|place| self.drops.around(&Trail::follow(self.tree, &place).end))
            }
            What::Library(names) => names.iter().find_map(|name| self.dropped_library(user, name)),
            What::Unit(name) => {
                let names = std::iter::once(name.clone()).chain(units::template_of(name));
                names.into_iter().find_map(|name| {
                    let places = self.drops.list.values().filter(|dropped| dropped.path.name() == name.as_slice());
                    places.into_iter().find(|dropped| links::in_unit_directory(&dropped.path).is_some_and(|below| below == name))
                })
            }
            What::Matching(glob) => {
                let links = self.tree.iter().map(|(path, _)| path).filter(|path| glob.matches(path.as_bytes()));
                let by_link = links.map(|path| Trail::follow(self.tree, path)).find_map(|trail| self.drops.list.get(&trail.end));
                by_link.or_else(|| self.drops.list.values().find(|dropped| glob.matches(dropped.path.as_bytes())))
            }
        }
    }

    /// Returns the library that went, or the file that a link of its name leads to.
    fn dropped_library(&self, user: &TreePath, name: &[u8]) -> Option<&Dropped> {
        let at_places = self.library_places(user, name).into_iter().find_map(|place| {
            let end = Trail::follow(self.tree, &place).end;
            self.drops.list.get(&end).or_else(|| self.drops.list.get(&place))
        });
        let file_name = name.rsplit(|byte| *byte == b'/').next().unwrap_or(name);
        at_places.or_else(|| self.drops.list.values().find(|dropped| dropped.path.name() == file_name))
    }

    /// Returns a file that is where the library should be and is none for this machine.
    fn unfit(&self, user: &TreePath, what: &What) -> Option<TreePath> {
        let What::Library(names) = what else { return None };
        let places = names.iter().flat_map(|name| self.library_places(user, name));
        places.map(|place| Trail::follow(self.tree, &place)).find(|trail| trail.is_there(self.tree)).map(|trail| trail.end)
    }

    fn library_places(&self, user: &TreePath, name: &[u8]) -> Vec<TreePath> {
        let elf = self.libraries.known(user);
        elf.map_or_else(Vec::new, |elf| self.libraries.places(name, user, elf))
    }

    /// Returns what a file that stays wants.
    fn wants_of(&mut self, path: &TreePath) -> Vec<Want> {
        let Some(entry) = self.tree.get(path) else { return Vec::new() };
        let mut wants = self.wants_by_plugin(path);
        match &entry.kind {
            Kind::Symlink(_) => wants.extend(self.wants_of_link(path)),
            Kind::File(content) => {
                let bytes = content.bytes();
                wants.extend(self.wants_of_elf(path));
                if entry.meta.mode & 0o111 != 0 {
                    wants.extend(scripts::wants_of_script(bytes));
                }
                wants.extend(self.wants_of_text(path, bytes));
            }
            _ => {}
        }
        wants
    }

    /// A link that stays wants its target, unless it only attaches a unit to another.
    fn wants_of_link(&self, path: &TreePath) -> Option<Want> {
        let target = Trail::follow(self.tree, path);
        let there = target.is_there(self.tree) && !links::is_want_link(path);
        there.then(|| Want { what: What::Path(target.end.as_bytes().to_vec()), verb: "is a link to", must: false })
    }

    fn wants_of_elf(&mut self, path: &TreePath) -> Vec<Want> {
        match self.libraries.elf(self.tree, path) {
            Ok(Some(elf)) => {
                for dlopen in elf.dlopen.iter().filter(|dlopen| dlopen.priority == Priority::Recommended) {
                    self.recommended.entry(dlopen.feature.clone()).or_insert_with(|| (path.clone(), dlopen.clone()));
                }
                wants_of_elf(elf, self.inputs)
            }
            Ok(None) => Vec::new(),
            Err(err) => {
                self.found.notes.push(format!("`{path}` begins like a program or library, but {err}"));
                Vec::new()
            }
        }
    }

    fn wants_of_text(&mut self, path: &TreePath, bytes: &[u8]) -> Vec<Want> {
        let directory = path.parent().unwrap_or_default();
        let directory = directory.as_bytes();
        let in_any = |places: &[&str]| places.iter().any(|place| directory == place.as_bytes());
        if in_any(&["usr/lib/udev/rules.d", "etc/udev/rules.d"]) && path.name().ends_with(b".rules") {
            return udev::wants_of_rules(bytes);
        }
        if in_any(&["usr/lib/modprobe.d", "etc/modprobe.d"]) && path.name().ends_with(b".conf") {
            return scripts::wants_of_modprobe(bytes);
        }
        let Some(below) = links::in_unit_directory(path) else { return Vec::new() };
        let unit = match links::unit_of_attachment(path) {
            Some(unit) if below.ends_with(b".conf") => unit,
            None if !below.contains(&b'/') && units::is_unit(below) => below.to_vec(),
            _ => return Vec::new(),
        };
        let is_drop_in = below.contains(&b'/');
        let read = units::read(if is_drop_in { b"" } else { &unit }, bytes);
        match read.conditions.iter().find(|condition| !self.can_hold(condition)) {
            Some(condition) => {
                let path_name = condition.path.escape_ascii();
                self.found.notes.push(format!("`{path}` never runs in the image: it asks for `{path_name}` to be {}", {
                    if condition.negated { "absent" } else { "there" }
                }));
                Vec::new()
            }
            None => read.wants,
        }
    }

    /// Tells whether a condition can hold at boot. Only what packages ship is known here; the finalizers make `/etc/initrd-release`.
    fn can_hold(&self, condition: &units::Condition) -> bool {
        if condition.path == b"/etc/initrd-release" {
            return !condition.negated;
        }
        let Ok(path) = TreePath::root().link_target(&condition.path) else { return true };
        let trail = Trail::follow(self.tree, &path);
        condition.negated || trail.is_there(self.tree) || self.drops.around(&trail.end).is_none()
    }

    fn wants_by_plugin(&self, path: &TreePath) -> Vec<Want> {
        let bytes = path.as_bytes();
        let want = |glob: &Glob, must| Want { what: What::Matching(glob.clone()), verb: "needs", must };
        let plugins = self.inputs.plugins.iter().filter(|plugin| plugin.when.matches(bytes));
        plugins
            .flat_map(|plugin| {
                let needs = plugin.needs.iter().map(|glob| want(glob, true));
                needs.chain(plugin.wants.iter().map(|glob| want(glob, false))).collect::<Vec<_>>()
            })
            .collect()
    }
}

/// Returns what an ELF file wants: its loader, its libraries, and of what it loads while running the features that are wanted.
fn wants_of_elf(elf: &Elf, inputs: &Inputs<'_>) -> Vec<Want> {
    let loader = elf.interpreter.iter().map(|path| Want { what: What::Path(path.clone()), verb: "is loaded by", must: true });
    let needed = elf.needed.iter();
    let needed = needed.map(|name| Want { what: What::Library(vec![name.clone()]), verb: "needs the library", must: true });
    let loaded = elf.dlopen.iter().filter_map(|dlopen| {
        let wanted = inputs.dlopen.iter().any(|item| item.text == dlopen.feature);
        let names = dlopen.sonames.iter().map(|name| name.clone().into_bytes()).collect();
        let must = wanted || dlopen.priority == Priority::Required;
        must.then_some(Want { what: What::Library(names), verb: "loads the library", must })
    });
    loader.chain(needed).chain(loaded).collect()
}
