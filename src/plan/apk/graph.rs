//! What apk's solver looks at: names and the packages that offer them, found from the request on.

use std::collections::HashMap;
use std::rc::Rc;

use crate::package::{Catalog, Constraint, PackageId, Standing};

/// The number of a name.
pub type NameId = usize;
/// The number of a package that was met.
pub type NodeId = usize;

/// A constraint on a name, or a refusal of what meets it.
#[derive(Debug, Clone, Copy)]
pub struct Dep<'c> {
    /// The name.
    pub name: NameId,
    /// The constraint.
    pub constraint: &'c Constraint,
    /// It is refused: `!name`.
    pub refused: bool,
}

/// A package under one of its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer<'c> {
    /// The package.
    pub node: NodeId,
    /// The version under this name; empty for an offer without one.
    pub version: &'c str,
}

/// A name.
#[derive(Debug, Default)]
pub struct Name<'c> {
    /// As written.
    pub text: &'c str,
    /// The packages that offer it, in the order of the indexes.
    pub offers: Rc<[Offer<'c>]>,
    /// The names of the packages that have a word about it, in apk's own order. All of them are known only after [`Graph::discover`].
    pub dependants: Rc<[NameId]>,
    /// Where apk comes to it when it walks over all names.
    place: u64,
    triggers: Option<Rc<[NameId]>>,
    is_loaded: bool,
    /// Whether it was looked into.
    pub is_seen: bool,
    /// Of two undecided names the one with the higher is decided first.
    pub order: u32,
}

/// A package.
#[derive(Debug)]
pub struct Node<'c> {
    /// The package in the catalog.
    pub id: PackageId,
    /// Its own name.
    pub name: NameId,
    /// Its version.
    pub version: &'c str,
    /// What it needs and refuses, in the order of its index.
    pub depends: Rc<[Dep<'c>]>,
    /// The other names that it offers.
    pub provides: Rc<[(NameId, &'c str)]>,
    /// The conditions under which it enters by itself.
    pub install_if: Rc<[Dep<'c>]>,
    /// What is weighed.
    pub standing: Standing,
    /// It may be part of a solution at all.
    pub is_usable: bool,
    is_seen: bool,
}

/// The names and packages that a request could touch.
pub struct Graph<'c> {
    /// Where everything comes from.
    pub catalog: &'c dyn Catalog,
    /// The names.
    pub names: Vec<Name<'c>>,
    /// The packages.
    pub nodes: Vec<Node<'c>>,
    is_blocked: &'c dyn Fn(&str) -> bool,
    name_ids: HashMap<&'c str, NameId>,
    node_ids: HashMap<PackageId, NodeId>,
    /// The names that the request itself has: they are decided last.
    asked_for: Vec<NameId>,
    last_order: u32,
}

/// How far the look into a name has come.
struct Look {
    name: NameId,
    stage: Stage,
    offer: usize,
    place: usize,
    /// The package at `offer` was first met here, so what it needs is looked into from here.
    is_first: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Needs,
    Triggers,
    Others,
    Conditions,
}

impl<'c> Graph<'c> {
    /// Returns an empty one. Packages of blocked names are never usable.
    pub fn new(catalog: &'c dyn Catalog, is_blocked: &'c dyn Fn(&str) -> bool) -> Self {
        Self {
            catalog,
            names: Vec::new(),
            nodes: Vec::new(),
            is_blocked,
            name_ids: HashMap::new(),
            node_ids: HashMap::new(),
            asked_for: Vec::new(),
            last_order: 0,
        }
    }

    /// Returns the number of a name.
    pub fn name(&mut self, text: &'c str) -> NameId {
        let next = self.names.len();
        let id = *self.name_ids.entry(text).or_insert(next);
        if id == next {
            self.names.push(Name { text, place: self.catalog.walk_place(text), ..Name::default() });
        }
        id
    }

    /// Tells whether an offer is what a package (or the request) wants of a name; nothing at all is what a refusal wants.
    pub fn is_met(&self, owner: Option<NodeId>, dep: &Dep<'_>, by: Option<Offer<'_>>) -> bool {
        let Some(offer) = by else { return dep.refused };
        if dep.refused && owner == Some(offer.node) {
            return true;
        }
        let is_meant = match &dep.constraint.range {
            None => true,
            Some((op, wanted)) if op.is_fuzzy() => op.accepts(self.catalog.compare_fuzzy(offer.version, wanted)),
            Some((op, wanted)) => op.accepts(self.catalog.compare(offer.version, wanted)),
        };
        is_meant != dep.refused
    }

    /// Looks into the names of the request and all that follows from them, giving each its place in the order of decisions.
    pub fn discover(&mut self, world: &[NameId]) {
        self.asked_for = world.to_vec();
        for &name in world {
            let mut path = Vec::new();
            self.enter(&mut path, name);
            while let Some(look) = path.last_mut() {
                let next = self.next(look);
                match next {
                    Some(next) => self.enter(&mut path, next),
                    None => drop(path.pop()),
                }
            }
        }
        self.find_dependants();
    }

    fn enter(&mut self, path: &mut Vec<Look>, name: NameId) {
        if !self.names[name].is_seen {
            self.names[name].is_seen = true;
            self.load(name);
            path.push(Look { name, stage: Stage::Needs, offer: 0, place: 0, is_first: false });
        }
    }

    /// Returns the next name to look into from here.
    fn next(&mut self, look: &mut Look) -> Option<NameId> {
        let offers = self.names[look.name].offers.clone();
        loop {
            let node = offers.get(look.offer).map(|offer| offer.node);
            let found = match (look.stage, node) {
                (Stage::Needs, Some(node)) => {
                    if look.place == 0 {
                        look.is_first = !std::mem::replace(&mut self.nodes[node].is_seen, true);
                    }
                    self.nodes[node].depends.get(look.place).map(|dep| dep.name).filter(|_| look.is_first)
                }
                (Stage::Others, Some(node)) => {
                    let triggers = self.triggers(self.nodes[node].name);
                    let node = &self.nodes[node];
                    let provided = look.place.checked_sub(triggers.len()).and_then(|place| node.provides.get(place));
                    triggers.get(look.place).copied().or(provided.map(|(name, _)| *name))
                }
                (Stage::Conditions, Some(node)) => self.nodes[node].install_if.get(look.place).map(|dep| dep.name),
                (Stage::Triggers, _) => self.triggers(look.name).get(look.place).copied(),
                (_, None) => None,
            };
            if found.is_some() {
                look.place += 1;
                return found;
            }
            look.place = 0;
            if look.stage != Stage::Triggers && node.is_some() {
                look.offer += 1;
                continue;
            }
            look.offer = 0;
            look.stage = match look.stage {
                Stage::Needs => Stage::Triggers,
                Stage::Triggers => Stage::Others,
                Stage::Others => {
                    self.give_order(look.name);
                    Stage::Conditions
                }
                Stage::Conditions => return None,
            };
        }
    }

    /// What is asked for is decided after all else, and a name that is some package's own after one that is only offered.
    fn give_order(&mut self, name: NameId) {
        self.last_order += 1;
        let is_own = self.names[name].offers.iter().any(|offer| self.nodes[offer.node].name == name);
        let not_asked_for = u32::from(!self.asked_for.contains(&name));
        self.names[name].order = not_asked_for << 31 | u32::from(is_own) << 30 | self.last_order;
    }

    fn load(&mut self, name: NameId) {
        if std::mem::replace(&mut self.names[name].is_loaded, true) {
            return;
        }
        let text = self.names[name].text;
        let mut ids = [self.catalog.named(text), self.catalog.providers(text)].concat();
        ids.sort_unstable();
        ids.dedup();
        let mut offers = Vec::new();
        for id in ids {
            let node = self.node(id);
            let of = &self.nodes[node];
            offers.extend((of.name == name).then_some(Offer { node, version: of.version }));
            let provided = of.provides.iter().filter(|(provided, _)| *provided == name);
            offers.extend(provided.map(|&(_, version)| Offer { node, version }));
        }
        self.names[name].offers = offers.into();
    }

    /// Returns the names of the packages that may enter by themselves when this name is there, in apk's own order.
    pub fn triggers(&mut self, name: NameId) -> Rc<[NameId]> {
        if let Some(known) = &self.names[name].triggers {
            return known.clone();
        }
        let mut triggers = Vec::new();
        for &id in self.catalog.triggered_by(self.names[name].text) {
            let node = self.node(id);
            triggers.push(self.nodes[node].name);
            triggers.extend(self.nodes[node].provides.iter().map(|(provided, _)| *provided));
        }
        self.sort(&mut triggers);
        let triggers: Rc<[NameId]> = triggers.into();
        self.names[name].triggers = Some(triggers.clone());
        triggers
    }

    fn node(&mut self, id: PackageId) -> NodeId {
        if let Some(&node) = self.node_ids.get(&id) {
            return node;
        }
        let catalog = self.catalog;
        let (text, version) = (catalog.name(id), catalog.version(id));
        let name = self.name(text);
        let (mut depends, mut provides, mut install_if) = (Vec::new(), Vec::new(), Vec::new());
        let relations = catalog.relations(id);
        if let Ok(relations) = relations {
            let mut conflicts = relations.conflicts.iter().zip(&relations.conflict_places).peekable();
            let requires = relations.requires.iter().filter_map(|requirement| requirement.0.first());
            for (place, constraint) in requires.map(Some).chain([None]).enumerate() {
                while let Some((constraint, _)) = conflicts.next_if(|(_, at)| **at == place) {
                    depends.push(Dep { name: self.name(&constraint.name), constraint, refused: true });
                }
                depends.extend(constraint.map(|constraint| Dep {
                    name: self.name(&constraint.name),
                    constraint,
                    refused: false,
                }));
            }
            provides
                .extend(relations.provides.iter().map(|offer| (self.name(&offer.name), offer.version.as_deref().unwrap_or(""))));
            install_if.extend(relations.install_if.iter().map(|condition| {
                let constraint = &condition.constraint;
                Dep { name: self.name(&constraint.name), constraint, refused: condition.refused }
            }));
        }
        self.nodes.push(Node {
            id,
            name,
            version,
            depends: depends.into(),
            provides: provides.into(),
            install_if: install_if.into(),
            standing: catalog.standing(id),
            is_usable: relations.is_ok() && !(self.is_blocked)(text),
            is_seen: false,
        });
        self.node_ids.insert(id, self.nodes.len() - 1);
        self.nodes.len() - 1
    }

    /// Puts names in the order in which apk comes to them, each once.
    fn sort(&self, names: &mut Vec<NameId>) {
        names.sort_unstable_by_key(|&name| (self.names[name].place, name));
        names.dedup();
    }

    fn find_dependants(&mut self) {
        let mut seen: Vec<NameId> = (0..self.names.len()).filter(|&name| self.names[name].is_seen).collect();
        self.sort(&mut seen);
        // A package met under a name that it offers takes its own name from others, too, when it is chosen.
        for &name in &seen {
            for offer in &*self.names[name].offers.clone() {
                self.load(self.nodes[offer.node].name);
            }
        }
        let mut dependants: Vec<Vec<NameId>> = vec![Vec::new(); self.names.len()];
        for name in seen {
            for offer in &*self.names[name].offers {
                for dep in &*self.nodes[offer.node].depends {
                    if dependants[dep.name].last() != Some(&name) {
                        dependants[dep.name].push(name);
                    }
                }
            }
        }
        for (name, dependants) in self.names.iter_mut().zip(dependants) {
            name.dependants = dependants.into();
        }
    }
}
