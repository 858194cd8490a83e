//! Chooses packages as `apk add` does for an empty root (as of apk-tools 3.0).
//!
//! apk decides one name after the other and takes nothing back. Between two decisions it draws conclusions: what all packages that could
//! stand for a name need is needed; what nothing can meet any more takes its package out; what is left with one possibility is decided at
//! once. A choice that turns out wrong is an error, and then apk says what is broken instead of trying another: so do we.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use super::graph::{Dep, Graph, NameId, NodeId, Offer};

/// Looks at a name or a package before the search is given up; Alpine's whole main repository takes a million.
const LOOKS_MAX: u64 = 100_000_000;

/// A word of the request as the solver sees it.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'c> {
    /// The name and its range.
    pub dep: Dep<'c>,
    /// The bit of the repositories' tag that it names; 1 if none.
    pub tag: u32,
}

/// What is known of a name.
#[derive(Debug, Clone, Default)]
pub struct NameState<'c> {
    /// How many want it.
    pub requirers: u32,
    /// It is decided.
    pub is_locked: bool,
    /// The package that it was decided for; `None` for none.
    pub chosen: Option<Offer<'c>>,
    is_dirty: bool,
    queue: Option<Queue>,
    check_needs: bool,
    check_triggers: bool,
    /// Some package may stand for it without being named.
    is_selectable: bool,
    is_triggered: bool,
    cannot_trigger: bool,
    /// Whether it is absent is a condition of something.
    decide_absence: bool,
    has_options: bool,
    dependants_done: bool,
}

/// Where an undecided name waits.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Queue {
    /// It has one possibility.
    Now,
    Selectable,
    Unresolved,
}

/// What is known of a package.
#[derive(Debug, Clone, Default)]
pub struct NodeState {
    /// Nothing speaks against it so far.
    pub is_selectable: bool,
    /// It cannot be there, or something that it needs cannot.
    pub has_error: bool,
    conflicts: u32,
    /// Its repositories' tag is allowed.
    pub is_tag_allowed: bool,
    is_tag_preferred: bool,
    tags_allowed: u32,
    is_triggered: bool,
    cannot_trigger: bool,
    is_merged: bool,
    was_merged: bool,
}

/// The search found no end within [`LOOKS_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooHard;

/// The state of a search.
pub struct Solver<'g, 'c> {
    /// What there is.
    pub graph: &'g mut Graph<'c>,
    /// By name.
    pub names: Vec<NameState<'c>>,
    /// By package.
    pub nodes: Vec<NodeState>,
    /// How many things went wrong.
    pub errors: usize,
    dirty: VecDeque<NameId>,
    now: VecDeque<NameId>,
    selectable: BTreeSet<(u32, NameId)>,
    unresolved: BTreeSet<(u32, NameId)>,
    /// The tag of the word of the request that is being applied.
    tag: u32,
    looks: u64,
}

impl<'g, 'c> Solver<'g, 'c> {
    /// Solves. The outcome holds if there are no errors and none come up while the packages are put in order.
    pub fn solve(graph: &'g mut Graph<'c>, world: &[Wish<'c>]) -> Result<Self, TooHard> {
        graph.discover(&world.iter().map(|wish| wish.dep.name).collect::<Vec<_>>());
        let cannot_trigger = |offers: &[Offer<'_>]| offers.iter().all(|offer| graph.nodes[offer.node].install_if.is_empty());
        let names =
            graph.names.iter().map(|name| NameState { cannot_trigger: cannot_trigger(&name.offers), ..NameState::default() });
        let nodes = graph.nodes.iter().map(|node| {
            let is_tag_allowed = node.standing.is_empty || node.standing.tags & 1 != 0;
            NodeState {
                is_selectable: node.is_usable,
                is_tag_allowed,
                is_tag_preferred: is_tag_allowed,
                tags_allowed: 1,
                cannot_trigger: node.install_if.is_empty(),
                ..NodeState::default()
            }
        });
        let (names, nodes) = (names.collect(), nodes.collect());
        let mut solver = Self {
            graph,
            names,
            nodes,
            errors: 0,
            dirty: VecDeque::new(),
            now: VecDeque::new(),
            selectable: BTreeSet::new(),
            unresolved: BTreeSet::new(),
            tag: 0,
            looks: 0,
        };
        for wish in world {
            solver.tag = wish.tag;
            solver.constrain(None, &wish.dep);
        }
        solver.tag = 0;
        solver.run()?;
        Ok(solver)
    }

    fn run(&mut self) -> Result<(), TooHard> {
        loop {
            while let Some(name) = self.dirty.pop_front() {
                if std::mem::take(&mut self.names[name].is_dirty) {
                    self.reconsider(name);
                }
                if self.looks > LOOKS_MAX {
                    return Err(TooHard);
                }
            }
            let Some(name) = self.next_undecided() else { return Ok(()) };
            self.decide(name);
        }
    }

    fn next_undecided(&mut self) -> Option<NameId> {
        let name = loop {
            match self.now.pop_front() {
                Some(name) if self.names[name].queue == Some(Queue::Now) => break Some(name),
                Some(_) => {}
                None => break None,
            }
        };
        let name = name.or_else(|| self.selectable.pop_last().or_else(|| self.unresolved.pop_last()).map(|(_, name)| name))?;
        self.names[name].queue = None;
        Some(name)
    }

    /// Returns how many packages were chosen.
    pub fn chosen(&self) -> usize {
        self.names.iter().filter_map(|name| name.chosen).map(|offer| offer.node).collect::<HashSet<_>>().len()
    }

    /// Tells whether an offer is what a package wants.
    pub fn is_met(&self, owner: Option<NodeId>, dep: &Dep<'_>, by: Option<Offer<'_>>) -> bool {
        self.graph.is_met(owner, dep, by)
    }

    /// Notes that a package cannot be there as it was chosen.
    pub fn mark_error(&mut self, node: Option<NodeId>) {
        if let Some(node) = node
            && !std::mem::replace(&mut self.nodes[node].has_error, true)
        {
            self.errors += 1;
        }
    }

    // ---- what waits ---------------------------------------------------------------------------------------------------

    fn make_dirty(&mut self, name: NameId) {
        let state = &mut self.names[name];
        if !state.is_dirty && !state.is_locked && (state.requirers > 0 || state.check_triggers) {
            state.is_dirty = true;
            self.dirty.push_back(name);
        }
    }

    fn enqueue(&mut self, name: NameId, has_changed: bool) {
        let state = &self.names[name];
        let is_now = state.dependants_done && state.requirers > 0 && state.is_selectable && !state.has_options;
        match state.queue {
            _ if state.is_locked => return,
            Some(Queue::Now) => return,
            Some(_) if !is_now && !has_changed => return,
            Some(_) => self.dequeue(name),
            None if state.requirers == 0 && !state.is_triggered && !state.decide_absence => return,
            None => {}
        }
        let order = self.graph.names[name].order;
        let queue = match (is_now, self.names[name].is_selectable) {
            (true, _) => {
                self.now.push_back(name);
                Queue::Now
            }
            (false, true) => {
                self.selectable.insert((order, name));
                Queue::Selectable
            }
            (false, false) => {
                self.unresolved.insert((order, name));
                Queue::Unresolved
            }
        };
        self.names[name].queue = Some(queue);
    }

    fn dequeue(&mut self, name: NameId) {
        let order = self.graph.names[name].order;
        match self.names[name].queue.take() {
            Some(Queue::Selectable) => drop(self.selectable.remove(&(order, name))),
            Some(Queue::Unresolved) => drop(self.unresolved.remove(&(order, name))),
            // An entry of `now` whose name no longer waits there is passed over.
            Some(Queue::Now) | None => {}
        }
    }

    fn recheck_dependants(&mut self, name: NameId) {
        let dependants = self.graph.names[name].dependants.clone();
        self.looks += dependants.len() as u64;
        for &dependant in &*dependants {
            if self.graph.names[dependant].is_seen {
                self.names[dependant].check_needs = true;
                self.make_dirty(dependant);
            }
        }
    }

    fn recheck_triggers(&mut self, name: NameId) {
        let triggers = self.graph.triggers(name);
        self.grow();
        self.looks += triggers.len() as u64;
        for &trigger in &*triggers {
            if self.graph.names[trigger].is_seen && !self.names[trigger].cannot_trigger {
                self.names[trigger].check_triggers = true;
                self.make_dirty(trigger);
            }
        }
    }

    /// Names and packages that are first met after the search began take no part in it, but have a state.
    fn grow(&mut self) {
        self.names.resize(self.graph.names.len(), NameState::default());
        self.nodes.resize(self.graph.nodes.len(), NodeState::default());
    }

    fn recheck_triggers_of(&mut self, node: NodeId) {
        self.recheck_triggers(self.graph.nodes[node].name);
        let provides = self.graph.nodes[node].provides.clone();
        provides.iter().for_each(|(name, _)| self.recheck_triggers(*name));
    }

    // ---- conclusions --------------------------------------------------------------------------------------------------

    fn disqualify(&mut self, node: NodeId) {
        self.looks += 1;
        self.nodes[node].is_selectable = false;
        self.recheck_dependants(self.graph.nodes[node].name);
        let provides = self.graph.nodes[node].provides.clone();
        provides.iter().for_each(|(name, _)| self.recheck_dependants(*name));
        self.recheck_triggers_of(node);
    }

    fn wanted(&mut self, name: NameId) {
        self.enqueue(name, false);
        self.recheck_triggers(name);
        self.make_dirty(name);
    }

    /// Passes on the tags that may be used: those of a package, or of the request.
    fn inherit(&mut self, node: NodeId, from: Option<NodeId>) {
        let tags = self.graph.nodes[node].standing.tags;
        let allowed = from.map_or(self.tag, |from| self.nodes[from].tags_allowed);
        let state = &mut self.nodes[node];
        state.tags_allowed |= allowed;
        if from.is_none() {
            state.is_tag_preferred = tags & allowed != 0;
        }
        state.is_tag_allowed |= tags & state.tags_allowed != 0;
    }

    /// Applies what a package or the request says of a name.
    fn constrain(&mut self, owner: Option<NodeId>, dep: &Dep<'c>) {
        if !dep.refused {
            self.names[dep.name].requirers += 1;
            if self.names[dep.name].requirers == 1 {
                self.wanted(dep.name);
            }
        }
        let offers = self.graph.names[dep.name].offers.clone();
        self.looks += offers.len() as u64;
        for &offer in &*offers {
            let is_met = self.is_met(owner, dep, Some(offer));
            let state = &mut self.nodes[offer.node];
            state.conflicts += u32::from(!is_met);
            if state.is_selectable && state.conflicts > 0 {
                self.disqualify(offer.node);
            }
            if is_met {
                self.inherit(offer.node, owner);
            }
        }
    }

    fn can_be_met(&self, owner: NodeId, dep: &Dep<'c>) -> bool {
        let state = &self.names[dep.name];
        if state.is_locked {
            return self.is_met(Some(owner), dep, state.chosen);
        }
        let is_selectable = |offer: &&Offer<'_>| self.nodes[offer.node].is_selectable;
        state.requirers == 0 && self.is_met(Some(owner), dep, None)
            || self.graph.names[dep.name]
                .offers
                .iter()
                .filter(is_selectable)
                .any(|offer| self.is_met(Some(owner), dep, Some(*offer)))
    }

    /// Looks whether all conditions of a package hold, or one cannot.
    fn check_triggers(&mut self, node: NodeId) {
        let conditions = self.graph.nodes[node].install_if.clone();
        for dep in &*conditions {
            if !self.names[dep.name].is_locked {
                if dep.refused {
                    self.names[dep.name].decide_absence = true;
                    self.enqueue(dep.name, false);
                }
                return;
            }
            if !self.is_met(Some(node), dep, self.names[dep.name].chosen) {
                self.nodes[node].cannot_trigger = true;
                return;
            }
        }
        self.nodes[node].is_triggered = true;
    }

    /// A package that only offers a name is not taken for it unasked, unless it says how it ranks among its like.
    fn is_auto_selectable(&self, offer: &Offer<'_>) -> bool {
        let node = &self.graph.nodes[offer.node];
        !offer.version.is_empty() || node.standing.provider_priority > 0 || self.names[node.name].requirers > 0
    }

    /// Draws conclusions from what is left for a name.
    fn reconsider(&mut self, name: NameId) {
        let check_needs = std::mem::take(&mut self.names[name].check_needs);
        let check_triggers = std::mem::take(&mut self.names[name].check_triggers);
        let offers = self.graph.names[name].offers.clone();
        let mut survey = Survey::default();
        let (mut is_triggered, mut cannot_trigger, mut is_selectable) = (false, true, false);
        let mut is_tag_refused = false;
        for offer in &*offers {
            let node = offer.node;
            let depends = self.graph.nodes[node].depends.clone();
            self.looks += 1 + depends.len() as u64;
            self.nodes[node].is_merged = false;
            if check_needs && self.nodes[node].is_selectable && !depends.iter().all(|dep| self.can_be_met(node, dep)) {
                self.disqualify(node);
            }
            if !self.nodes[node].is_selectable {
                continue;
            }
            if check_triggers && !self.nodes[node].is_triggered && !self.nodes[node].cannot_trigger {
                self.check_triggers(node);
            }
            if check_triggers && self.nodes[node].is_triggered {
                for dep in &*self.graph.nodes[node].install_if.clone() {
                    self.inherit(node, self.names[dep.name].chosen.map(|chosen| chosen.node));
                }
            }
            is_triggered |= self.nodes[node].is_triggered;
            cannot_trigger &= self.nodes[node].cannot_trigger;
            if self.names[name].requirers == 0 {
                continue;
            }
            self.nodes[node].is_merged = true;
            survey.add(self.graph, offer);
            is_tag_refused |= !self.nodes[node].is_tag_allowed;
            is_selectable |= self.is_auto_selectable(offer);
        }
        is_selectable |= is_triggered;
        let state = &mut self.names[name];
        state.has_options = survey.options > 1 || is_tag_refused;
        state.is_triggered = is_triggered;
        state.cannot_trigger = cannot_trigger;
        let has_changed = std::mem::replace(&mut state.is_selectable, is_selectable) != is_selectable;
        if let Some(first) = survey.first {
            self.propagate(name, first, &offers, survey);
        }
        let dependants = self.graph.names[name].dependants.clone();
        self.names[name].dependants_done =
            dependants.iter().all(|&dependant| !self.graph.names[dependant].is_seen || self.names[dependant].is_locked);
        self.enqueue(name, has_changed);
    }

    /// What all possibilities for a name have in common is certain.
    fn propagate(&mut self, name: NameId, first: NodeId, offers: &[Offer<'c>], mut survey: Survey) {
        for offer in offers {
            self.nodes[offer.node].was_merged = self.nodes[offer.node].is_merged;
        }
        let depends = self.graph.nodes[first].depends.clone();
        for dep in &*depends {
            if survey.needed.get(&dep.name) != Some(&survey.options) {
                continue;
            }
            survey.needed.remove(&dep.name);
            if survey.options == 1 {
                self.constrain(Some(first), dep);
            } else if self.names[dep.name].requirers == 0 {
                self.names[dep.name].requirers += 1;
                self.wanted(dep.name);
                for offer in &*self.graph.names[dep.name].offers.clone() {
                    self.inherit(offer.node, Some(first));
                }
            }
        }
        let own = self.graph.nodes[first].name;
        let provides = self.graph.nodes[first].provides.clone();
        for offered in [own].into_iter().chain(provides.iter().map(|(offered, _)| *offered)) {
            if let Some((count, is_virtual)) = survey.offered.remove(&offered)
                && count == survey.options
            {
                self.exclude_others(offered, name, is_virtual);
            }
        }
    }

    /// Every possibility for `must` offers `name`, too: a package that offers `name` alone can have no place beside them.
    fn exclude_others(&mut self, name: NameId, must: NameId, skip_virtual: bool) {
        if name == must {
            return;
        }
        for offer in &*self.graph.names[name].offers.clone() {
            let node = &self.graph.nodes[offer.node];
            let is_skipped = node.name == must
                || !self.nodes[offer.node].is_selectable
                || (skip_virtual && offer.version.is_empty())
                || node.provides.iter().any(|(other, version)| *other == must || (skip_virtual && version.is_empty()));
            if !is_skipped {
                self.disqualify(offer.node);
            }
        }
    }

    // ---- decisions ----------------------------------------------------------------------------------------------------

    /// Tells whether one offer of a name is better than another.
    fn is_better(&self, a: &Offer<'_>, b: &Offer<'_>) -> bool {
        let (left, right) = (&self.nodes[a.node], &self.nodes[b.node]);
        let (of_a, of_b) = (&self.graph.nodes[a.node], &self.graph.nodes[b.node]);
        let catalog = self.graph.catalog;
        let own_versions = || match of_a.name == of_b.name {
            true => catalog.compare(of_a.version, of_b.version),
            false => std::cmp::Ordering::Equal,
        };
        (left.is_selectable.cmp(&right.is_selectable))
            .then(left.was_merged.cmp(&right.was_merged))
            .then(right.conflicts.cmp(&left.conflicts))
            .then(left.is_tag_allowed.cmp(&right.is_tag_allowed))
            .then(left.is_tag_preferred.cmp(&right.is_tag_preferred))
            .then_with(|| catalog.compare(a.version, b.version))
            .then_with(own_versions)
            .then(of_a.standing.provider_priority.cmp(&of_b.standing.provider_priority))
            .then(of_b.standing.repo_place.cmp(&of_a.standing.repo_place))
            .is_gt()
    }

    fn decide(&mut self, name: NameId) {
        let offers = self.graph.names[name].offers.clone();
        let mut best: Option<Offer<'c>> = None;
        self.looks += offers.len() as u64;
        for offer in &*offers {
            let state = &self.nodes[offer.node];
            let may_enter = state.is_triggered && state.is_tag_allowed && state.is_selectable;
            if self.names[name].requirers == 0 && !(self.names[name].is_triggered && may_enter) || !self.is_auto_selectable(offer)
            {
                continue;
            }
            if best.is_none_or(|best| self.is_better(offer, &best)) {
                best = Some(*offer);
            }
        }
        let Some(Offer { node, .. }) = best else {
            self.assign(name, None);
            self.errors += usize::from(self.names[name].requirers > 0);
            return;
        };
        if !self.nodes[node].is_selectable || !self.nodes[node].is_tag_allowed {
            self.mark_error(Some(node));
        }
        let (own, version) = (self.graph.nodes[node].name, self.graph.nodes[node].version);
        self.assign(own, Some(Offer { node, version }));
        for &(offered, version) in &*self.graph.nodes[node].provides.clone() {
            self.assign(offered, Some(Offer { node, version }));
        }
        for dep in &*self.graph.nodes[node].depends.clone() {
            self.constrain(Some(node), dep);
        }
    }

    /// Decides a name for good. Only one package may offer it, unless all offer it without a version.
    fn assign(&mut self, name: NameId, chosen: Option<Offer<'c>>) {
        let is_virtual = |offer: Option<Offer<'_>>| offer.is_none_or(|offer| offer.version.is_empty());
        if self.names[name].is_locked {
            let before = self.names[name].chosen;
            if !(is_virtual(chosen) && is_virtual(before)) {
                self.mark_error(chosen.map(|offer| offer.node));
                self.mark_error(before.map(|offer| offer.node));
            }
            return;
        }
        self.dequeue(name);
        let state = &mut self.names[name];
        (state.is_locked, state.chosen, state.is_dirty) = (true, chosen, false);
        if let Some(Offer { node, .. }) = chosen
            && self.names[name].requirers == 0
            && self.nodes[node].is_triggered
        {
            for dep in &*self.graph.nodes[node].install_if.clone() {
                if !self.names[dep.name].is_locked {
                    self.constrain(Some(node), dep);
                }
            }
        }
        for offer in &*self.graph.names[name].offers.clone() {
            if chosen.is_some_and(|chosen| chosen.node == offer.node) || (is_virtual(chosen) && offer.version.is_empty()) {
                continue;
            }
            self.disqualify(offer.node);
        }
        self.recheck_dependants(name);
        match chosen {
            Some(offer) => self.recheck_triggers_of(offer.node),
            None => self.recheck_triggers(name),
        }
    }
}

/// What the packages that could stand for a name need and offer: how many of them, in a row from the first on.
#[derive(Default)]
struct Survey {
    options: u32,
    first: Option<NodeId>,
    needed: HashMap<NameId, u32>,
    /// With whether some of them offers the name without a version.
    offered: HashMap<NameId, (u32, bool)>,
}

impl Survey {
    fn add(&mut self, graph: &Graph<'_>, offer: &Offer<'_>) {
        let node = &graph.nodes[offer.node];
        self.first.get_or_insert(offer.node);
        let needed: HashSet<NameId> = node.depends.iter().filter(|dep| !dep.refused).map(|dep| dep.name).collect();
        for name in needed {
            let count = self.needed.entry(name).or_default();
            *count += u32::from(*count == self.options);
        }
        let own = [(node.name, offer.version)];
        for &(name, version) in own.iter().chain(&*node.provides) {
            let (count, is_virtual) = self.offered.entry(name).or_default();
            if *count == self.options {
                *count += 1;
                *is_virtual |= version.is_empty();
            }
        }
        self.options += 1;
    }
}
