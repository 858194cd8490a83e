//! Says why there is no plan: the culprits that apk would name, each with who wants it and who does not.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use super::graph::{Dep, Graph, NameId, NodeId, Offer};
use super::solve::{Solver, Wish};
use super::{Blocked, Error, Item, Request, Wanted, blocked, explain, order, shown};

/// How long the least part of a request is sought that still fails; more of it is told when that is not enough.
const SEARCH_MAX: Duration = Duration::from_secs(1);

/// Packages that a message names for one reason.
const SAID_MAX: usize = 4;

/// Something that is wrong with a request.
enum Culprit {
    /// A name that is wanted and that nothing was chosen for.
    Missing(NameId),
    /// A package that was chosen and cannot be there.
    Broken {
        node: NodeId,
        /// Its own flaw, if it has one.
        flaw: Option<String>,
        /// Others that offer the same, and under which name if it is not their own.
        conflicts: Vec<(NodeId, Option<NameId>)>,
        /// Who does not want it, or wants another version.
        breaks: Vec<(Option<NodeId>, String)>,
        /// Who wants it.
        satisfies: Vec<(Option<NodeId>, String)>,
    },
}

/// What the request would bring in if it did hold.
struct Scene<'s, 'g, 'c> {
    solver: &'s mut Solver<'g, 'c>,
    wishes: &'s [Wish<'c>],
    /// The chosen packages.
    chosen: HashSet<NodeId>,
    order: &'s [NodeId],
    /// Names that somebody stands for; by what they offer without a version, packages stand for nothing.
    present: HashSet<NameId>,
    /// What the request and the chosen packages say of each name.
    said: HashMap<NameId, Vec<(Option<NodeId>, Dep<'c>)>>,
    visited: HashSet<(NodeId, bool)>,
}

/// Explains a request that has no solution.
pub fn not<'c>(
    request: &Request,
    world: &[Wanted<'_>],
    wishes: &[Wish<'c>],
    solver: &mut Solver<'_, 'c>,
    order: &[NodeId],
) -> Error {
    let chosen = order.iter().copied().collect();
    let mut said: HashMap<NameId, Vec<(Option<NodeId>, Dep<'c>)>> = HashMap::new();
    for wish in wishes {
        said.entry(wish.dep.name).or_default().push((None, wish.dep));
    }
    for &by in order {
        for dep in &*solver.graph.nodes[by].depends {
            said.entry(dep.name).or_default().push((Some(by), *dep));
        }
    }
    let mut scene = Scene { solver, wishes, chosen, order, present: HashSet::new(), said, visited: HashSet::new() };
    for wish in wishes {
        scene.discover_dep(&wish.dep);
    }
    let culprits = scene.culprits();
    scene.error(request, world, &culprits)
}

impl<'c> Scene<'_, '_, 'c> {
    // ---- who is there -------------------------------------------------------------------------------------------------

    fn discover_dep(&mut self, dep: &Dep<'c>) {
        if !dep.refused {
            self.discover(dep.name);
        }
    }

    fn discover(&mut self, name: NameId) {
        let offers = self.solver.graph.names[name].offers.clone();
        for offer in offers.iter().filter(|offer| self.chosen.contains(&offer.node)).copied().collect::<Vec<_>>() {
            let node = &self.solver.graph.nodes[offer.node];
            let is_concrete = node.name == name
                || node.standing.provider_priority > 0
                || node.provides.iter().any(|(offered, version)| *offered == name && !version.is_empty());
            if !self.visited.insert((offer.node, is_concrete)) {
                continue;
            }
            let (own, provides, depends) = (node.name, node.provides.clone(), node.depends.clone());
            if is_concrete {
                self.present.insert(own);
                self.present.extend(provides.iter().map(|(offered, _)| *offered));
            }
            depends.iter().for_each(|dep| self.discover_dep(dep));
            if is_concrete {
                self.discover_joined(own);
                provides.iter().for_each(|(offered, _)| self.discover_joined(*offered));
            }
        }
    }

    /// Follows what enters by itself.
    fn discover_joined(&mut self, name: NameId) {
        for &trigger in &*self.solver.graph.triggers(name) {
            for offer in &*self.solver.graph.names[trigger].offers.clone() {
                let node = &self.solver.graph.nodes[offer.node];
                let holds = |dep: &Dep<'_>| dep.refused != self.present.contains(&dep.name);
                if self.chosen.contains(&offer.node) && !node.install_if.is_empty() && node.install_if.iter().all(holds) {
                    self.discover(node.name);
                }
            }
        }
    }

    // ---- who is to blame ----------------------------------------------------------------------------------------------

    fn culprits(&mut self) -> Vec<Culprit> {
        let mut culprits = Vec::new();
        let mut told = BTreeSet::new();
        let missing = |scene: &Self, dep: &Dep<'_>, told: &mut BTreeSet<NameId>| {
            (!dep.refused && !scene.present.contains(&dep.name) && told.insert(dep.name)).then_some(Culprit::Missing(dep.name))
        };
        for wish in self.wishes {
            culprits.extend(missing(self, &wish.dep, &mut told));
        }
        for &node in self.order {
            culprits.extend(self.broken(node));
            for dep in &*self.solver.graph.nodes[node].depends.clone() {
                culprits.extend(missing(self, dep, &mut told));
            }
        }
        culprits
    }

    /// Looks what is wrong with a chosen package.
    fn broken(&self, node: NodeId) -> Option<Culprit> {
        let of = &self.solver.graph.nodes[node];
        let mut flaw = self.solver.graph.catalog.relations(of.id).err().map(|refusal| refusal.flaw.to_string());
        if !self.solver.nodes[node].is_tag_allowed {
            let tags = self.solver.graph.catalog.tags();
            let masked: Vec<String> = tags
                .iter()
                .enumerate()
                .filter(|(place, _)| of.standing.tags >> (place + 1) & 1 != 0)
                .map(|(_, tag)| format!("`@{tag}`"))
                .collect();
            flaw.get_or_insert_with(|| format!("it is only in the repositories with the tag {}", masked.join(", ")));
        }
        let conflicts = self.conflicts(node);
        let breaks = self.said_of(node, false);
        if flaw.is_none() && conflicts.is_empty() && breaks.is_empty() {
            return None;
        }
        Some(Culprit::Broken { node, flaw, conflicts, breaks, satisfies: self.said_of(node, true) })
    }

    /// Finds the other chosen packages that offer what only one may offer; a package that offers a name twice refuses itself.
    fn conflicts(&self, node: NodeId) -> Vec<(NodeId, Option<NameId>)> {
        let of = &self.solver.graph.nodes[node];
        let is_chosen = |offer: &&Offer<'_>| self.chosen.contains(&offer.node);
        let own = self.solver.graph.names[of.name].offers.iter().filter(is_chosen).filter(|offer| offer.node != node);
        let mut found: Vec<(NodeId, Option<NameId>)> = own.map(|offer| (offer.node, None)).collect();
        for &(name, version) in &*of.provides {
            let mut is_itself = true;
            for offer in self.solver.graph.names[name].offers.iter().filter(is_chosen) {
                if version.is_empty() && offer.version.is_empty() {
                    continue;
                }
                if is_itself && offer.node == node && offer.version == version {
                    is_itself = false;
                    continue;
                }
                found.push((offer.node, Some(name)));
            }
        }
        found
    }

    /// Returns what the request and the chosen packages say of a package: what it meets, or what it does not.
    fn said_of(&self, node: NodeId, wanted: bool) -> Vec<(Option<NodeId>, String)> {
        let of = &self.solver.graph.nodes[node];
        let others = of.provides.iter().filter(|(name, _)| *name != of.name);
        let mut offers: Vec<(NameId, &str)> = vec![(of.name, of.version)];
        for &(name, version) in others {
            // Of a name that is offered twice the first counts.
            if offers.iter().all(|(known, _)| *known != name) {
                offers.push((name, version));
            }
        }
        let mut found = Vec::new();
        for (name, version) in offers {
            for (by, dep) in self.said.get(&name).into_iter().flatten() {
                let is_met = self.solver.is_met(*by, dep, Some(Offer { node, version }));
                if is_met == wanted && !(wanted && dep.refused) {
                    found.push((*by, shown(dep)));
                }
            }
        }
        found
    }

    // ---- what is told -------------------------------------------------------------------------------------------------

    fn named(&self, node: NodeId) -> String {
        let of = &self.solver.graph.nodes[node];
        format!("`{} {}`", self.solver.graph.names[of.name].text, of.version)
    }

    /// Names who said something: the word of the request or the package.
    fn speakers(&self, said: &[(Option<NodeId>, String)]) -> String {
        let texts = said.iter().map(|(by, text)| match by {
            None => format!("the request wants `{text}`"),
            Some(by) => format!("{} wants `{text}`", self.named(*by)),
        });
        listed(texts.collect())
    }

    /// Returns the packages that need a name.
    fn needed_by(&self, name: NameId) -> Vec<(NodeId, String)> {
        let said = self.said.get(&name).into_iter().flatten();
        said.filter(|(_, dep)| !dep.refused).filter_map(|(by, dep)| Some(((*by)?, shown(dep)))).collect()
    }

    fn providers(&self, name: NameId) -> Vec<String> {
        let graph = &self.solver.graph;
        let names: BTreeSet<&str> =
            graph.names[name].offers.iter().map(|offer| graph.names[graph.nodes[offer.node].name].text).collect();
        names.into_iter().map(str::to_owned).collect()
    }

    fn texts(&self, culprit: &Culprit) -> Vec<String> {
        match culprit {
            Culprit::Missing(name) => {
                let text = self.solver.graph.names[*name].text;
                let users = self.needed_by(*name);
                let by = listed(users.iter().map(|(by, text)| format!("{} requires `{text}`", self.named(*by))).collect());
                let providers = self.providers(*name);
                let what = match &providers[..] {
                    [] => format!("no package provides `{text}`"),
                    [one] => format!("`{text}` is not a package, and {}", explain::provided(std::slice::from_ref(one))),
                    _ => format!("`{text}` is not a package, and must be chosen among {}", quoted(&providers)),
                };
                if by.is_empty() { vec![what] } else { vec![by, format!("but {what}")] }
            }
            Culprit::Broken { node, flaw, conflicts, breaks, satisfies } => {
                let mut texts = Vec::new();
                if !satisfies.is_empty() {
                    texts.push(format!("{}, that is {}", self.speakers(satisfies), self.named(*node)));
                }
                if let Some(flaw) = flaw {
                    texts.push(format!("but {} cannot be used: {flaw}", self.named(*node)));
                }
                if !conflicts.is_empty() {
                    let others: BTreeSet<String> = conflicts.iter().map(|(other, _)| self.named(*other)).collect();
                    let over: BTreeSet<String> = conflicts
                        .iter()
                        .filter_map(|(_, name)| Some(format!("`{}`", self.solver.graph.names[(*name)?].text)))
                        .collect();
                    let over =
                        if over.is_empty() { String::new() } else { format!(", because only one may provide {}", joined(&over)) };
                    texts.push(format!("but {} cannot be there together with {}{over}", self.named(*node), joined(&others)));
                }
                if !breaks.is_empty() {
                    let but = if texts.is_empty() { "" } else { "but " };
                    texts.push(format!("{but}{}, which {} is not", self.speakers(breaks), self.named(*node)));
                }
                texts
            }
        }
    }

    fn error(&self, request: &Request, world: &[Wanted<'_>], culprits: &[Culprit]) -> Error {
        let graph = &self.solver.graph;
        let item_of =
            |name: NameId| world.iter().zip(self.wishes).find(|(_, wish)| wish.dep.name == name).map(|(wanted, _)| wanted.item);
        if let [Culprit::Missing(name)] = culprits
            && self.needed_by(*name).is_empty()
            && let Some(item) = item_of(*name)
        {
            let text = graph.names[*name].text;
            return match self.providers(*name) {
                providers if providers.is_empty() => explain::unknown(graph.catalog, item, text),
                providers => Error::Ambiguous { name: text.to_owned(), item: item.clone(), providers },
            };
        }
        let because = explain::Step::chain(culprits.iter().flat_map(|culprit| self.texts(culprit)).collect());
        if let Some((name, block)) = self.find_blocked(request, culprits) {
            let item = world.first().map(|wanted| wanted.item.clone());
            if let Some(item) = item {
                return Error::Blocked { name, block: Box::new(block), item, because };
            }
        }
        for culprit in culprits {
            if let Culprit::Broken { node, .. } = culprit
                && let Err(refusal) = graph.catalog.relations(graph.nodes[*node].id)
            {
                return Error::Refused(refusal.clone());
            }
        }
        Error::Unsolvable { wanted: self.least(request, world), because }
    }

    fn find_blocked(&self, request: &Request, culprits: &[Culprit]) -> Option<(String, Blocked)> {
        let graph = &self.solver.graph;
        let names = culprits.iter().flat_map(|culprit| match culprit {
            Culprit::Missing(name) => self.providers(*name),
            Culprit::Broken { node, .. } => vec![graph.names[graph.nodes[*node].name].text.to_owned()],
        });
        let chosen = self.order.iter().map(|&node| graph.names[graph.nodes[node].name].text.to_owned());
        names.chain(chosen).find_map(|name| Some((name.clone(), blocked(request, &name)?.clone())))
    }

    /// Leaves out of the request what it fails without, one word after the other.
    fn least(&self, request: &Request, world: &[Wanted<'_>]) -> Vec<Item> {
        let until = Instant::now() + SEARCH_MAX;
        let mut core: Vec<&Wanted<'_>> = world.iter().collect();
        let mut place = 0;
        while place < core.len() && core.len() > 1 && Instant::now() < until {
            let rest: Vec<&Wanted<'_>> =
                core.iter().enumerate().filter(|(i, _)| *i != place).map(|(_, wanted)| *wanted).collect();
            match self.fails(request, &rest) {
                true => core = rest,
                false => place += 1,
            }
        }
        core.into_iter().map(|wanted| wanted.item.clone()).collect()
    }

    fn fails(&self, request: &Request, world: &[&Wanted<'_>]) -> bool {
        let is_blocked = |name: &str| blocked(request, name).is_some();
        let mut graph = Graph::new(self.solver.graph.catalog, &is_blocked);
        let mut wishes = Vec::new();
        for wanted in world {
            let constraint = &wanted.atom.condition.constraint;
            let dep = Dep { name: graph.name(&constraint.name), constraint, refused: wanted.atom.condition.refused };
            wishes.push(Wish { dep, tag: wanted.tag });
        }
        Solver::solve(&mut graph, &wishes).is_ok_and(|mut solver| {
            order::installing(&mut solver, wishes.iter().map(|wish| wish.dep));
            solver.errors > 0
        })
    }
}

/// Joins what is said by several, of many only the first.
fn listed(mut texts: Vec<String>) -> String {
    if texts.len() > SAID_MAX {
        let more = texts.len() - SAID_MAX + 1;
        texts.truncate(SAID_MAX - 1);
        texts.push(format!("{more} more like that"));
    }
    texts.join(", ")
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn joined(texts: &BTreeSet<String>) -> String {
    texts.iter().cloned().collect::<Vec<_>>().join(", ")
}
