//! Chooses packages as `apt-get install` does for an empty root, recording why each was chosen.
//!
//! This is apt's order of decisions (as of 2.6), not the best solution of a set of constraints: it takes the first
//! alternative that can be installed, looks at nothing twice unless something was protected, and gives up a branch that
//! fails. `check` says whether the outcome holds; `sat` is asked when it does not.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::rc::Rc;

use crate::package::{Catalog, Constraint, ORDINARY_RANK, PackageId};

/// Nested dependencies that are followed: apt's own limit.
const DEPTH_MAX: u32 = 3000;
/// Decisions before the walk is given up; a whole desktop takes some ten thousand.
const DECISIONS_MAX: u32 = 2_000_000;
/// Stack for the walk, which recurses to [`DEPTH_MAX`].
pub const STACK_BYTES: usize = 64 << 20;

/// A package's name, numbered when first met.
pub type NameId = u32;
/// A constraint, numbered when first met.
pub type TargetId = u32;

/// The part of a catalog that solving touches, resolved once: which packages meet which constraint.
pub struct Pool<'c> {
    /// Where everything comes from.
    pub catalog: &'c dyn Catalog,
    blocked: &'c dyn Fn(&str) -> bool,
    recommends: bool,
    names: Vec<&'c str>,
    name_ids: HashMap<&'c str, NameId>,
    candidates: Vec<Option<PackageId>>,
    targets: Vec<Target>,
    target_ids: HashMap<Constraint, TargetId>,
    needs: HashMap<PackageId, Option<Rc<Needs>>>,
    /// By package; `NameId::MAX` where not met yet.
    owners: Vec<NameId>,
}

/// A constraint and the packages that meet it.
pub struct Target {
    /// The constraint as written.
    pub constraint: Constraint,
    /// All versions of all packages that meet it, those of its very name first.
    pub offers: Vec<PackageId>,
}

/// What one package needs and refuses.
pub struct Needs {
    /// Its requirements in the order of its fields, then its recommendations if they count.
    pub groups: Vec<Group>,
    /// What it conflicts with. Never met by a package of its own name.
    pub conflicts: Vec<TargetId>,
}

/// One requirement: alternatives in order.
pub struct Group {
    /// The alternatives.
    pub members: Vec<TargetId>,
    /// A requirement; otherwise a recommendation.
    pub critical: bool,
    /// Its place in the package's list of requirements or of recommendations.
    pub place: usize,
}

impl<'c> Pool<'c> {
    /// Returns an empty one over a catalog. Packages whose names are blocked are never candidates.
    pub fn new(catalog: &'c dyn Catalog, recommends: bool, blocked: &'c dyn Fn(&str) -> bool) -> Self {
        Self {
            catalog,
            blocked,
            recommends,
            names: Vec::new(),
            name_ids: HashMap::new(),
            candidates: Vec::new(),
            targets: Vec::new(),
            target_ids: HashMap::new(),
            needs: HashMap::new(),
            owners: vec![NameId::MAX; catalog.len()],
        }
    }

    /// Returns the number of a package's name.
    pub fn name_of(&mut self, id: PackageId) -> NameId {
        let known = self.owners[id as usize];
        if known != NameId::MAX {
            return known;
        }
        let text = self.catalog.name(id);
        let name = match self.name_ids.get(text) {
            Some(&name) => name,
            None => {
                let name = self.names.len() as NameId;
                self.names.push(text);
                self.name_ids.insert(text, name);
                let usable = |id: &PackageId| self.catalog.relations(*id).is_ok() && !(self.blocked)(text);
                self.candidates.push(self.catalog.named(text).first().copied().filter(usable));
                name
            }
        };
        self.owners[id as usize] = name;
        name
    }

    /// Returns a name.
    pub fn name(&self, name: NameId) -> &'c str {
        self.names[name as usize]
    }

    /// Tells whether a package may be in a solution at all.
    pub fn is_usable(&self, id: PackageId) -> bool {
        self.catalog.relations(id).is_ok() && !(self.blocked)(self.catalog.name(id))
    }

    /// Makes one version the only candidate of its name, because the request names it.
    pub fn pin(&mut self, id: PackageId) {
        let name = self.name_of(id);
        if self.is_usable(id) {
            self.candidates[name as usize] = Some(id);
        }
    }

    /// Returns the version of a name that apt would install.
    pub fn candidate(&self, name: NameId) -> Option<PackageId> {
        self.candidates[name as usize]
    }

    /// Returns the number of a constraint.
    pub fn target(&mut self, constraint: &Constraint) -> TargetId {
        if let Some(&target) = self.target_ids.get(constraint) {
            return target;
        }
        let offers = self.catalog.offers(constraint);
        for &id in &offers {
            self.name_of(id);
        }
        let target = self.targets.len() as TargetId;
        self.targets.push(Target { constraint: constraint.clone(), offers });
        self.target_ids.insert(constraint.clone(), target);
        target
    }

    /// Returns a constraint with what meets it.
    pub fn target_at(&self, target: TargetId) -> &Target {
        &self.targets[target as usize]
    }

    /// Returns what a package needs; `None` if its entry cannot be used.
    pub fn needs(&mut self, id: PackageId) -> Option<Rc<Needs>> {
        if let Some(known) = self.needs.get(&id) {
            return known.clone();
        }
        let needs = self.catalog.relations(id).ok().map(|relations| {
            let recommends = if self.recommends { &relations.recommends[..] } else { &[] };
            let lists = [(&relations.requires[..], true), (recommends, false)];
            let mut groups = Vec::new();
            for (list, critical) in lists {
                for (place, requirement) in list.iter().enumerate() {
                    let members = requirement.0.iter().map(|constraint| self.target(constraint)).collect();
                    groups.push(Group { members, critical, place });
                }
            }
            let conflicts = relations.conflicts.iter().map(|constraint| self.target(constraint)).collect();
            Rc::new(Needs { groups, conflicts })
        });
        self.needs.insert(id, needs.clone());
        needs
    }

    /// Returns the number of the name of a package that was met before.
    pub fn owner(&self, id: PackageId) -> NameId {
        self.owners[id as usize]
    }

    /// Orders packages that meet a constraint as apt does in an empty root, but for what the walk has protected.
    pub fn prefer(&self, wanted: &str, a: PackageId, b: PackageId) -> Ordering {
        let is_other = |id: PackageId| self.catalog.name(id) != wanted;
        is_other(a)
            .cmp(&is_other(b))
            .then_with(|| self.catalog.rank(a).cmp(&self.catalog.rank(b)))
            .then_with(|| self.catalog.tie_break(a, b))
            .then_with(|| self.catalog.compare(self.catalog.version(b), self.catalog.version(a)))
            .then(a.cmp(&b))
    }
}

/// Who asked for a package first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The request.
    Request,
    /// A requirement of another package.
    Need {
        /// The package that requires it.
        by: PackageId,
        /// A requirement; otherwise a recommendation.
        critical: bool,
        /// Which of the package's requirements or recommendations.
        place: usize,
    },
}

/// A set of packages, at most one of a name.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// The packages by name.
    pub chosen: HashMap<NameId, PackageId>,
    /// Why each was chosen first; only those that hold are worth telling.
    pub causes: HashMap<NameId, Cause>,
}

impl Choice {
    /// Tells whether a package is in it.
    pub fn has(&self, pool: &Pool<'_>, id: PackageId) -> bool {
        self.chosen.get(&pool.owner(id)) == Some(&id)
    }

    /// Tells whether something in it meets a constraint.
    pub fn meets(&self, pool: &Pool<'_>, target: TargetId) -> bool {
        pool.target_at(target).offers.iter().any(|&id| self.has(pool, id))
    }
}

/// Walks the request. The outcome is what apt would mark for installation before it repairs anything.
pub fn walk(pool: &mut Pool<'_>, wanted: &[PackageId]) -> Choice {
    let mut walk = Walk { pool, states: Vec::new(), causes: HashMap::new(), decisions: 0 };
    let mut names = Vec::new();
    wanted.iter().for_each(|&id| walk.pool.pin(id));
    for &id in wanted {
        let name = walk.pool.name_of(id);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    // All that is asked for is marked first, and only then what it needs: an alternative that the request itself
    // holds counts as there.
    for &name in &names {
        walk.state(name).protected = true;
        walk.causes.insert(name, Cause::Request);
        walk.mark(name, false, 0, true);
    }
    for &name in &names {
        walk.mark(name, true, 0, true);
    }
    let Walk { states, causes, .. } = walk;
    let installed = states.iter().enumerate().filter_map(|(name, state)| Some((name as NameId, state.installed?)));
    Choice { chosen: installed.collect(), causes }
}

struct Walk<'p, 'c> {
    pool: &'p mut Pool<'c>,
    states: Vec<State>,
    causes: HashMap<NameId, Cause>,
    decisions: u32,
}

#[derive(Clone, Copy)]
struct State {
    candidate: Option<PackageId>,
    installed: Option<PackageId>,
    /// Nothing may change whether it is installed, because the request, or all that lies between, leaves no choice.
    protected: bool,
}

impl Walk<'_, '_> {
    fn state(&mut self, name: NameId) -> &mut State {
        while self.states.len() <= name as usize {
            let candidate = self.pool.candidate(self.states.len() as NameId);
            self.states.push(State { candidate, installed: None, protected: false });
        }
        &mut self.states[name as usize]
    }

    fn state_of(&mut self, id: PackageId) -> State {
        let name = self.pool.owner(id);
        *self.state(name)
    }

    fn is_met(&mut self, target: TargetId, from: impl Fn(&State) -> Option<PackageId>) -> bool {
        (0..self.pool.target_at(target).offers.len()).any(|i| {
            let id = self.pool.target_at(target).offers[i];
            from(&self.state_of(id)) == Some(id)
        })
    }

    fn is_met_by_installed(&mut self, target: TargetId) -> bool {
        self.is_met(target, |state| state.installed)
    }

    /// Returns the other packages' installed or candidate versions that a conflict means.
    fn refused(&mut self, name: NameId, target: TargetId, from: impl Fn(&State) -> Option<PackageId>) -> Vec<PackageId> {
        let offers = self.pool.target_at(target).offers.clone();
        offers.into_iter().filter(|&id| self.pool.owner(id) != name && from(&self.state_of(id)) == Some(id)).collect()
    }

    fn is_broken(&mut self, name: NameId) -> bool {
        let Some(needs) = self.state(name).installed.and_then(|id| self.pool.needs(id)) else { return false };
        needs.groups.iter().any(|group| !group.members.iter().any(|&member| self.is_met_by_installed(member)))
            || needs.conflicts.iter().any(|&target| !self.refused(name, target, |state| state.installed).is_empty())
    }

    /// Marks a package for installation, with what it needs if `deep`; tells whether that worked.
    fn mark(&mut self, name: NameId, deep: bool, depth: u32, requested: bool) -> bool {
        self.decisions += 1;
        let state = *self.state(name);
        if depth > DEPTH_MAX || self.decisions > DECISIONS_MAX {
            return false;
        }
        if !requested && state.installed.is_none() && state.protected {
            return false;
        }
        let Some(candidate) = state.candidate else { return false };
        if !state.protected && state.installed.is_some() && !self.is_broken(name) {
            return true;
        }
        let Some(needs) = self.pool.needs(candidate) else { return false };
        if deep && !self.can_be_met(&needs) {
            if !state.protected {
                *self.state(name) = State { candidate: None, installed: None, protected: false };
            }
            return false;
        }
        if requested {
            self.state(name).installed = Some(candidate);
        }
        let fails_early = !state.protected && !requested;
        let mut failed = false;
        let to_install = if deep { self.unmet(&needs, state.protected) } else { Vec::new() };
        if deep && !self.unmark_refused(name, &needs, requested) {
            if fails_early {
                return false;
            }
            failed = true;
        }
        self.state(name).installed = Some(candidate);
        if !deep {
            return !failed;
        }
        // While its needs are being met nothing may unmark it.
        self.state(name).protected = true;
        let met = self.install_needs(candidate, &needs, &to_install, depth, state.protected, requested);
        if !state.protected {
            self.state(name).protected = false;
        }
        if !met && fails_early {
            let state = self.state(name);
            (state.installed, state.candidate) = (None, None);
            return false;
        }
        met && !failed
    }

    /// Tells whether every requirement has some candidate or installed package.
    fn can_be_met(&mut self, needs: &Needs) -> bool {
        needs.groups.iter().filter(|group| group.critical).all(|group| {
            group.members.iter().any(|&target| self.is_met_by_installed(target) || self.is_met(target, |state| state.candidate))
        })
    }

    /// Returns the numbers of the groups that nothing installed meets; all of them for a protected package, because it
    /// passes its protection on.
    fn unmet(&mut self, needs: &Needs, is_protected: bool) -> Vec<usize> {
        let is_met = |walk: &mut Self, group: &Group| group.members.iter().any(|&member| walk.is_met_by_installed(member));
        (0..needs.groups.len()).filter(|&i| is_protected || !is_met(self, &needs.groups[i])).collect()
    }

    /// Unmarks what a package refuses, and for a protected one forbids it for good; tells whether that was possible.
    fn unmark_refused(&mut self, name: NameId, needs: &Needs, requested: bool) -> bool {
        let is_protected = self.state(name).protected;
        let mut failed = false;
        for &target in &needs.conflicts {
            if !is_protected && self.refused(name, target, |state| state.installed).is_empty() {
                continue;
            }
            let mut refused = self.refused(name, target, |state| state.candidate);
            self.sort(target, &mut refused);
            for id in refused {
                let other = self.pool.owner(id);
                let state = self.state(other);
                if state.installed.is_some() && state.protected {
                    failed = true;
                    if !is_protected && !requested {
                        return false;
                    }
                    continue;
                }
                state.installed = None;
                if is_protected {
                    (state.candidate, state.protected) = (None, true);
                }
            }
        }
        !failed
    }

    fn sort(&mut self, target: TargetId, ids: &mut [PackageId]) {
        let protected: Vec<NameId> =
            ids.iter().map(|&id| self.pool.owner(id)).filter(|&name| self.states[name as usize].protected).collect();
        let pool = &*self.pool;
        let wanted = &pool.target_at(target).constraint.name;
        let is_free = |id: PackageId| !protected.contains(&pool.owner(id));
        ids.sort_by(|&a, &b| is_free(a).cmp(&is_free(b)).then_with(|| pool.prefer(wanted, a, b)));
    }

    /// Returns the candidates that meet a requirement, in the order in which they are tried.
    fn solutions(&mut self, group: &Group) -> Vec<PackageId> {
        let mut solutions = Vec::new();
        for &member in &group.members {
            let offers = self.pool.target_at(member).offers.clone();
            let mut candidates: Vec<_> = offers.into_iter().filter(|&id| self.state_of(id).candidate == Some(id)).collect();
            self.sort(member, &mut candidates);
            solutions.extend(candidates);
        }
        solutions.retain(|&id| {
            let state = self.state_of(id);
            !(state.protected && state.installed.is_none())
        });
        solutions.dedup();
        solutions
    }

    fn install_needs(
        &mut self,
        id: PackageId,
        needs: &Needs,
        to_install: &[usize],
        depth: u32,
        is_protected: bool,
        requested: bool,
    ) -> bool {
        let mut failed = false;
        for &number in to_install {
            let group = &needs.groups[number];
            if group.members.iter().any(|&member| self.is_met_by_installed(member)) {
                failed |= is_protected && group.critical && !self.protect_only(group, depth);
                continue;
            }
            if !self.install_one(id, group, depth, is_protected) && group.critical {
                failed = true;
                if !is_protected && !requested {
                    break;
                }
            }
        }
        !failed
    }

    /// Protects what meets a requirement already, if nothing else could.
    fn protect_only(&mut self, group: &Group, depth: u32) -> bool {
        let mut solutions = self.solutions(group);
        solutions.sort_unstable();
        solutions.dedup();
        let [only] = solutions[..] else { return true };
        let name = self.pool.owner(only);
        if self.state(name).protected {
            return true;
        }
        self.state(name).protected = true;
        self.mark(name, true, depth + 1, false)
    }

    fn install_one(&mut self, by: PackageId, group: &Group, depth: u32, is_protected: bool) -> bool {
        let solutions = self.solutions(group);
        let is_only = solutions.len() == 1;
        for id in solutions {
            let name = self.pool.owner(id);
            if self.state(name).candidate != Some(id) {
                continue;
            }
            if self.state(name).installed.is_none() {
                self.causes.insert(name, Cause::Need { by, critical: group.critical, place: group.place });
            }
            if is_protected && group.critical && is_only {
                if !self.mark(name, false, depth + 1, false) {
                    continue;
                }
                self.state(name).protected = true;
            }
            if self.mark(name, true, depth + 1, false) {
                return true;
            }
        }
        false
    }
}

/// Something that a choice lacks or should not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A package that was asked for is not in it.
    Absent(PackageId),
    /// Nothing in it meets a requirement of a package in it.
    Unmet(PackageId),
    /// Two packages in it refuse each other.
    Conflict(PackageId, PackageId),
}

/// Checks a choice, however it was made: all that was asked for, every requirement met, no conflict.
pub fn check(pool: &mut Pool<'_>, wanted: &[PackageId], choice: &Choice) -> Option<Fault> {
    if let Some(&id) = wanted.iter().find(|&&id| !choice.has(pool, id)) {
        return Some(Fault::Absent(id));
    }
    let mut chosen: Vec<PackageId> = choice.chosen.values().copied().collect();
    chosen.sort_unstable();
    for id in chosen {
        let Some(needs) = pool.needs(id) else { return Some(Fault::Unmet(id)) };
        let mut required = needs.groups.iter().filter(|group| group.critical);
        if !required.all(|group| group.members.iter().any(|&member| choice.meets(pool, member))) {
            return Some(Fault::Unmet(id));
        }
        for &target in &needs.conflicts {
            let own = pool.owner(id);
            let offers = &pool.target_at(target).offers;
            if let Some(&other) = offers.iter().find(|&&other| pool.owner(other) != own && choice.has(pool, other)) {
                return Some(Fault::Conflict(id, other));
            }
        }
    }
    None
}

/// Takes out what nothing asks for any more, as apt does: what was marked on the way to a failure stays behind.
pub fn sweep(pool: &mut Pool<'_>, wanted: &[PackageId], choice: &mut Choice) {
    let essential = |pool: &Pool<'_>, id: PackageId| pool.catalog.rank(id) < ORDINARY_RANK;
    let mut found: Vec<PackageId> =
        choice.chosen.values().copied().filter(|id| wanted.contains(id) || essential(pool, *id)).collect();
    let mut kept: HashMap<NameId, PackageId> = found.iter().map(|&id| (pool.owner(id), id)).collect();
    while let Some(id) = found.pop() {
        let Ok(relations) = pool.catalog.relations(id) else { continue };
        // What is merely suggested is reason enough to keep it, though never to install it.
        for requirement in relations.requires.iter().chain(&relations.recommends).chain(&relations.suggests) {
            for constraint in &requirement.0 {
                let target = pool.target(constraint);
                for i in 0..pool.target_at(target).offers.len() {
                    let offered = pool.target_at(target).offers[i];
                    if choice.has(pool, offered) && kept.insert(pool.owner(offered), offered).is_none() {
                        found.push(offered);
                    }
                }
            }
        }
    }
    choice.chosen = kept;
}
