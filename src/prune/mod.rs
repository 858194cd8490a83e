//! Prune: what an initrd does not need goes, and what stays loses nothing that it needs.
//!
//! First the path rules (`rules`), then the closure (`closure`): every file that stays is asked what it needs (libraries,
//! interpreters, programs of units and udev rules), what the rules keep `?` if needed comes in by that, and what is missing is an
//! error that names the rule which dropped it. Last go links and drop-ins whose target or unit has gone, and emptied directories.

mod closure;
mod libraries;
mod links;
mod rules;
mod scripts;
mod udev;
mod units;
mod want;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub use closure::{Lost, Missing};
pub use rules::{Fate, Rule, RuleError, Rules, Verdict};

use crate::base::error::{Diagnostic, ErrorKind};
use crate::base::glob::{BadGlob, Glob};
use crate::base::size::Size;
use crate::config::{Item, Source};
use crate::package::PackageId;
use crate::report::{Event, Reporter, Stage};
use crate::tree::{Kind, Origin, Tree, TreePath};

/// What a file loads or runs though nothing in it says so: plug-ins, helpers that a generator's units will name.
#[derive(Debug, Clone)]
pub struct Plugin {
    /// The files that do it.
    pub when: Glob,
    /// What they cannot do without: each pattern must match at least one file, and all it matches are kept.
    pub needs: Vec<Glob>,
    /// What they use if it is there.
    pub wants: Vec<Glob>,
    /// Where this stands.
    pub source: Source,
}

impl Plugin {
    /// Reads the patterns.
    pub fn new(when: &Item, needs: &[Item], wants: &[Item]) -> Result<Self, PluginError> {
        let glob = |item: &Item| Glob::new(&item.text).map_err(|source| PluginError { at: item.source.clone(), source });
        let globs = |items: &[Item]| items.iter().map(glob).collect::<Result<Vec<_>, _>>();
        Ok(Self { when: glob(when)?, needs: globs(needs)?, wants: globs(wants)?, source: when.source.clone() })
    }
}

/// A pattern of a plug-in entry cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("a pattern in `plugins` cannot be read")]
pub struct PluginError {
    /// Where it stands.
    pub at: Source,
    /// What is wrong with it.
    pub source: BadGlob,
}

impl Diagnostic for PluginError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Config
    }

    fn place(&self) -> Option<String> {
        Some(self.at.to_string())
    }
}

/// What pruning is to do.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The path rules.
    pub rules: &'a Rules,
    /// What no file says of itself.
    pub plugins: &'a [Plugin],
    /// The features of `.note.dlopen` that the image is to have (`cryptsetup`, `tpm`, `fido2`, `kmod`, `xz`, `zstd`).
    pub dlopen: &'a [Item],
    /// The names of the plan's packages, by [`PackageId`].
    pub packages: &'a [String],
    /// What unpacking did not store because [`Rules::verdict`] drops it.
    pub unstored: &'a [(TreePath, PackageId)],
}

/// Something that is not in the image though a package has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Dropped {
    /// The path.
    pub path: TreePath,
    /// Where it came from.
    pub origin: Origin,
    /// Why it went.
    pub cause: Cause,
}

/// Why something went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// A rule drops it; its number.
    Rule(usize),
    /// A rule keeps it if needed, and nothing needs it; the rule's number.
    NotNeeded(usize),
    /// It is a link to what went.
    LinkTo(TreePath),
    /// It is a drop-in or `.wants` link of a unit that is not there.
    UnitGone,
    /// It is a directory that nothing is left in.
    Emptied,
}

/// Why something stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The rule that keeps it, or that keeps it if needed; none if no rule speaks of it.
    pub rule: Option<usize>,
    /// What was first found to need it.
    pub needed: Option<Needed>,
}

/// Who needs a file, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    /// The file that needs it.
    pub by: TreePath,
    /// How, as a verb: `runs`, `needs the library`.
    pub verb: &'static str,
    /// Whether the image would be refused without.
    pub must: bool,
}

impl fmt::Display for Needed {
    /// Shows it as in: needed by `/usr/bin/less` (needs the library).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "needed by `{}` ({})", self.by, self.verb)
    }
}

/// What pruning did.
#[derive(Debug, Clone, Default)]
pub struct Pruned {
    /// What went, in the order of the paths.
    pub dropped: Vec<Dropped>,
    /// Why each file and link that stays does so.
    pub kept: BTreeMap<TreePath, Reason>,
    /// What is there for the finalizers only: [`return_lent`] takes it out again.
    pub lent: Vec<TreePath>,
    /// What is not as it might be and no error, one line each.
    pub notes: Vec<String>,
    /// For each rule, how many paths it decided on.
    pub decided: Vec<u32>,
}

/// The image would lack something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something that stays needs what is not there.
    #[error("{first}{}", others(*more))]
    Missing {
        /// The first case; the others are in the events.
        first: Box<Missing>,
        /// What became of what is missing.
        #[source]
        lost: Lost,
        /// How many more there are.
        more: usize,
    },
}

fn others(more: usize) -> String {
    match more {
        0 => String::new(),
        1 => " (and 1 more case, which `-v` shows)".to_owned(),
        more => format!(" (and {more} more cases, which `-v` shows)"),
    }
}

impl Diagnostic for Error {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Config
    }

    fn place(&self) -> Option<String> {
        let Error::Missing { first, .. } = self;
        Some(first.place())
    }

    fn hints(&self) -> Vec<String> {
        let Error::Missing { first, .. } = self;
        first.hints()
    }
}

/// Prunes a tree: rules, then the closure, then what both leave dangling.
pub fn prune(tree: &mut Tree, inputs: &Inputs<'_>, reporter: &dyn Reporter) -> Result<Pruned, Error> {
    reporter.event(&Event::Begin { stage: Stage::Prune });
    let before = (tree.len() + inputs.unstored.len(), tree.size_bytes());
    let mut work = Work::new(tree, inputs);
    work.apply_rules();
    work.drop_stranded();
    let closed = closure::close(work.tree, inputs, &work.drops, &work.fates);
    if let Some((first, rest)) = closed.missing.split_first() {
        for missing in rest {
            let message = missing.in_full();
            reporter.event(&Event::Detail { stage: Stage::Prune, message: &message });
        }
        return Err(Error::Missing { first: Box::new(first.clone()), lost: first.lost.clone(), more: rest.len() });
    }
    let mut pruned = Pruned { notes: closed.notes, ..Pruned::default() };
    pruned.lent = work.drop_unneeded(&closed.kept);
    work.drop_emptied();
    work.drop_dangling(&mut pruned.notes);
    work.drop_emptied();
    pruned.decided = work.decided;
    pruned.dropped = work.drops.list.into_values().collect();
    pruned.kept = closed.kept;
    pruned.kept.retain(|path, _| tree.get(path).is_some());
    report(tree, inputs, before, &pruned, reporter);
    Ok(pruned)
}

/// Takes out what the finalizers have read by now, and the directories that this empties. Returns how many entries went.
pub fn return_lent(tree: &mut Tree, pruned: &Pruned) -> usize {
    let before = tree.len();
    let mut parents = BTreeSet::new();
    for path in &pruned.lent {
        if tree.remove(path).is_some() {
            parents.extend(path.parent());
        }
    }
    while let Some(directory) = parents.pop_last() {
        if !directory.is_root() && tree.below(&directory).next().is_none() {
            tree.remove(&directory);
            parents.extend(directory.parent());
        }
    }
    before - tree.len()
}

fn report(tree: &Tree, inputs: &Inputs<'_>, before: (usize, u64), pruned: &Pruned, reporter: &dyn Reporter) {
    let dropped = pruned.dropped.iter().map(|dropped| &dropped.path);
    let paths: Vec<&TreePath> = tree.iter().map(|(path, _)| path).chain(dropped).collect();
    for (rule, _) in inputs.rules.iter().zip(&pruned.decided).filter(|(_, decided)| **decided == 0) {
        // Our own profiles have rules for several releases; a user's rule was written for this image.
        if !rule.item.source.file.starts_with("distro-profiles/") && !paths.iter().any(|path| rule.matches(path)) {
            let message = format!("the prune rule {rule} matches nothing");
            reporter.event(&Event::Warning { stage: Stage::Prune, message: &message });
        }
    }
    for note in &pruned.notes {
        reporter.event(&Event::Detail { stage: Stage::Prune, message: note });
    }
    let figures = format!("{} of {} entries, {} of {}", tree.len(), before.0, Size(tree.size_bytes()), Size(before.1));
    reporter.event(&Event::End { stage: Stage::Prune, figures: &figures });
}

/// What has gone so far, to be asked who had it.
#[derive(Default)]
struct Drops {
    list: BTreeMap<TreePath, Dropped>,
}

impl Drops {
    fn add(&mut self, path: &TreePath, origin: Origin, cause: Cause) {
        self.list.insert(path.clone(), Dropped { path: path.clone(), origin, cause });
    }

    /// Returns what went at a path, above it or below it.
    fn around(&self, path: &TreePath) -> Option<&Dropped> {
        let mut at = Some(path.clone());
        while let Some(here) = at {
            if let Some(dropped) = self.list.get(&here) {
                return Some(dropped);
            }
            at = here.parent().filter(|parent| !parent.is_root());
        }
        let behind = self.list.range(path..).take_while(|(other, _)| other.as_bytes().starts_with(path.as_bytes()));
        behind.map(|(_, dropped)| dropped).find(|dropped| dropped.path.is_under(path))
    }
}

/// The tree while it is being pruned.
struct Work<'a> {
    tree: &'a mut Tree,
    inputs: &'a Inputs<'a>,
    drops: Drops,
    /// What the rules say of each file that is still there.
    fates: BTreeMap<TreePath, Verdict>,
    decided: Vec<u32>,
}

impl<'a> Work<'a> {
    fn new(tree: &'a mut Tree, inputs: &'a Inputs<'a>) -> Self {
        let decided = vec![0; inputs.rules.iter().count()];
        Self { tree, inputs, drops: Drops::default(), fates: BTreeMap::new(), decided }
    }

    fn decide(&mut self, path: &TreePath) -> Verdict {
        let verdict = self.inputs.rules.verdict(path);
        if let Some(rule) = verdict.rule {
            self.decided[rule] += 1;
        }
        verdict
    }

    fn apply_rules(&mut self) {
        for (path, package) in self.inputs.unstored {
            if let Some(rule) = self.decide(path).rule {
                self.drops.add(path, Origin::Package(*package), Cause::Rule(rule));
            }
        }
        let paths: Vec<TreePath> = self.tree.iter().map(|(path, _)| path.clone()).collect();
        for path in paths {
            let Some(entry) = self.tree.get(&path) else { continue };
            let is_dir = matches!(entry.kind, Kind::Dir);
            // Rules speak of packages. What the user lays over the tree was meant.
            let verdict = match entry.origin {
                Origin::Package(_) | Origin::Made(_) => self.decide(&path),
                Origin::Config(_) | Origin::Kernel => Verdict { fate: Fate::Keep, rule: None },
            };
            match verdict {
                Verdict { fate: Fate::Drop, rule: Some(rule) } if !is_dir => self.drop(&path, Cause::Rule(rule)),
                verdict => {
                    self.fates.insert(path, verdict);
                }
            }
        }
    }

    fn drop(&mut self, path: &TreePath, cause: Cause) {
        if let Some(entry) = self.tree.remove(path) {
            self.drops.add(path, entry.origin, cause);
            self.fates.remove(path);
        }
    }

    fn drop_stranded(&mut self) {
        for path in links::stranded_attachments(self.tree) {
            self.drop(&path, Cause::UnitGone);
        }
    }

    /// Drops what nothing needs; returns what is lent.
    fn drop_unneeded(&mut self, kept: &BTreeMap<TreePath, Reason>) -> Vec<TreePath> {
        let mut lent = Vec::new();
        let fates = std::mem::take(&mut self.fates);
        for (path, verdict) in &fates {
            let is_dir = self.tree.get(path).is_some_and(|entry| matches!(entry.kind, Kind::Dir));
            match verdict {
                _ if is_dir || kept.contains_key(path) => {}
                Verdict { fate: Fate::Lend, .. } => lent.push(path.clone()),
                Verdict { rule, .. } => self.drop(path, rule.map_or(Cause::UnitGone, Cause::NotNeeded)),
            }
        }
        self.fates = fates;
        lent
    }

    fn drop_dangling(&mut self, notes: &mut Vec<String>) {
        self.drop_stranded();
        loop {
            let dangling = links::dangling(self.tree, |path| self.drops.around(path).is_some());
            if dangling.is_empty() {
                return;
            }
            for (path, target) in dangling {
                let in_search_path =
                    [&b"usr/bin/"[..], b"usr/sbin/", b"usr/lib/"].iter().any(|dir| path.as_bytes().starts_with(dir));
                if in_search_path && links::in_unit_directory(&path).is_none() {
                    notes.push(format!("the link `{path}` went with its target `{target}`"));
                }
                self.drop(&path, Cause::LinkTo(target));
            }
        }
    }

    /// Drops the directories that pruning has emptied, and empty ones that a rule drops; a `+` rule keeps them.
    fn drop_emptied(&mut self) {
        let mut emptied: BTreeSet<TreePath> = BTreeSet::new();
        for path in self.drops.list.keys() {
            emptied.extend(path.parent());
        }
        let by_rule = self.fates.iter().filter(|(_, verdict)| verdict.fate == Fate::Drop || verdict.fate == Fate::IfNeeded);
        emptied.extend(by_rule.map(|(path, _)| path.clone()));
        while let Some(path) = emptied.pop_last() {
            let kept = self.fates.get(&path).is_some_and(|verdict| verdict.fate == Fate::Keep && verdict.rule.is_some());
            let is_dir = self.tree.get(&path).is_some_and(|entry| matches!(entry.kind, Kind::Dir));
            if path.is_root() || kept || !is_dir && self.tree.get(&path).is_some() || self.tree.below(&path).next().is_some() {
                continue;
            }
            self.drop(&path, Cause::Emptied);
            emptied.extend(path.parent());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Silent;
    use crate::tree::Entry;

    const SYSTEM: &str = "usr/lib/systemd/system";

    fn path(text: &str) -> TreePath {
        TreePath::literal(text)
    }

    /// Returns a tree of files (`path`, text) and links (`path`, `-> target`), all executable and of package 0.
    fn tree(entries: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::new();
        for (name, text) in entries {
            let entry = match text.strip_prefix("-> ") {
                Some(target) => Entry::symlink(target, Origin::Package(0)),
                None => Entry::file(*text, Origin::Package(0)).with_mode(0o755),
            };
            tree.insert(&path(name), entry).expect(name);
        }
        tree
    }

    fn pruned(tree: &mut Tree, rules: &[&str]) -> Result<Pruned, Error> {
        let rules = Rules::new(rules.iter().copied().map(Item::from_command_line)).expect("rules");
        let packages = ["p".to_owned()];
        let inputs = Inputs { rules: &rules, plugins: &[], dlopen: &[], packages: &packages, unstored: &[] };
        prune(tree, &inputs, &Silent)
    }

    fn names(tree: &Tree) -> Vec<String> {
        tree.iter().filter(|(_, entry)| !matches!(entry.kind, Kind::Dir)).map(|(path, _)| path.to_string()).collect()
    }

    #[test]
    fn needs_are_taken_in_through_links_and_the_rest_goes() {
        let mut tree = tree(&[
            ("bin", "-> usr/bin"),
            ("usr/bin/a", "#!/bin/sh\n"),
            ("usr/bin/sh", "-> dash"),
            ("usr/bin/dash", "x"),
            ("usr/bin/zsh", "x"),
            ("usr/share/doc/a/b", "x"),
        ]);
        let pruned = pruned(&mut tree, &["?usr/bin/*", "+usr/bin/a", "-usr/share/"]).expect("pruning");
        assert_eq!(names(&tree), ["/bin", "/usr/bin/a", "/usr/bin/dash", "/usr/bin/sh"]);
        assert!(tree.get(&path("usr/share")).is_none(), "emptied directories go");
        let needed = pruned.kept[&path("usr/bin/dash")].needed.clone().expect("a reason");
        assert_eq!((needed.by, needed.verb, needed.must), (path("usr/bin/a"), "is interpreted by", true));
        let causes: Vec<_> = pruned.dropped.iter().map(|dropped| (dropped.path.to_string(), dropped.cause.clone())).collect();
        assert!(causes.contains(&("/usr/bin/zsh".to_owned(), Cause::NotNeeded(0))));
        assert!(causes.contains(&("/usr/share/doc".to_owned(), Cause::Emptied)));
    }

    #[test]
    fn e15_what_is_missing_is_an_error_with_the_rule() {
        let mut tree = tree(&[("usr/bin/a", "#!/usr/bin/env awk\n"), ("usr/bin/env", "x"), ("usr/bin/awk", "x")]);
        let error = pruned(&mut tree, &["-usr/bin/awk"]).expect_err("awk is missing");
        assert_eq!(error.to_string(), "`/usr/bin/a` is interpreted by `awk`, which is not in the image");
        let Error::Missing { lost, .. } = &error;
        assert_eq!(lost.to_string(), "the rule `-usr/bin/awk` (the command line) dropped `/usr/bin/awk` of the package `p`");
        assert_eq!(error.hints(), ["add the prune rule `+usr/bin/awk`, or `-usr/bin/a` if the image can do without"]);
        assert_eq!(error.kind().exit_code(), 3);
    }

    #[test]
    fn e15_a_script_that_nothing_can_run_is_missed_even_if_no_package_has_it() {
        let error = pruned(&mut tree(&[("usr/bin/a", "#!/usr/bin/perl\n")]), &[]).expect_err("perl is missing");
        assert!(matches!(error, Error::Missing { lost: Lost::NoPackage, .. }));
    }

    #[test]
    fn units_bring_their_programs_and_leave_with_their_attachments() {
        let at = |name: &str| format!("{SYSTEM}/{name}");
        let mut tree = tree(&[
            (&at("a.service"), "ExecStart=/usr/bin/a\nExecStopPost=-/usr/bin/gone\nExecStartPre=-/never/shipped\n"),
            (&at("a.service.d/x.conf"), "[Service]\nExecStartPre=b\n"),
            (&at("gone.service"), "ExecStart=/nowhere"),
            (&at("gone.service.d/x.conf"), "ExecStartPre=/nowhere\n"),
            (&at("t.target"), ""),
            (&at("t.target.wants/a.service"), "-> ../a.service"),
            (&at("t.target.wants/gone.service"), "-> ../gone.service"),
            (&at("later.service"), "ConditionPathExists=!/etc/initrd-release\nExecStart=/nowhere"),
            ("usr/bin/a", "x"),
            ("usr/bin/b", "x"),
            ("usr/bin/gone", "x"),
        ]);
        let gone = format!("-{}", at("gone.service"));
        let pruned = pruned(&mut tree, &["?usr/bin/*", "-usr/bin/gone", &gone]).expect("pruning");
        let expected = ["a.service", "a.service.d/x.conf", "later.service", "t.target", "t.target.wants/a.service"];
        let mut expected: Vec<String> = expected.iter().map(|name| format!("/{SYSTEM}/{name}")).collect();
        expected.splice(0..0, ["/usr/bin/a".to_owned(), "/usr/bin/b".to_owned()]);
        assert_eq!(names(&tree), expected);
        assert_eq!(pruned.notes.len(), 2, "{:?}", pruned.notes);
        assert!(pruned.notes[0].contains("`/usr/bin/gone`") && pruned.notes[1].contains("never runs in the image"));
    }

    #[test]
    fn links_go_with_their_targets_and_others_stay() {
        let mut tree = tree(&[
            ("usr/bin/vi", "-> vim"),
            ("usr/bin/ex", "-> vi"),
            ("usr/bin/vim", "x"),
            ("etc/mtab", "-> ../proc/self/mounts"),
            ("usr/lib/keep/f", "x"),
        ]);
        tree.insert(&path("usr/lib/empty"), Entry::dir(Origin::Package(0))).expect("a directory");
        let pruned = pruned(&mut tree, &["-usr/bin/vim", "-usr/lib/keep/f", "+usr/lib/keep"]).expect("pruning");
        assert_eq!(names(&tree), ["/etc/mtab"]);
        assert_eq!(pruned.notes.len(), 2);
        assert!(tree.get(&path("usr/lib/keep")).is_some(), "a `+` rule keeps a directory that is emptied");
        assert!(tree.get(&path("usr/lib/empty")).is_some(), "a directory that was empty before stays");
        assert!(tree.get(&path("usr/bin")).is_none());
    }

    #[test]
    fn what_the_user_lays_over_is_no_business_of_the_rules() {
        let mut tree = tree(&[("etc/a", "x")]);
        let own = Entry::file("x", Origin::Config("/etc/mkinitrd-pkg/files/etc/fstab".into()));
        tree.insert(&path("etc/fstab"), own).expect("a file");
        pruned(&mut tree, &["-etc/**"]).expect("pruning");
        assert_eq!(names(&tree), ["/etc/fstab"]);
    }
}
