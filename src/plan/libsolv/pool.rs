//! What solving touches of a catalog, resolved once: dependencies as numbers, and who meets them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::package::{Catalog, PackageId, Solvables, Term, Terms, Word};

/// A literal: a package's number plus one to have it, negative not to have it.
pub type Lit = i32;
/// A dependency, numbered when first met.
pub type DepId = u32;

/// A dependency.
#[derive(Debug, Clone, Copy)]
pub enum Dep {
    /// One name; the term has it.
    One,
    /// Two dependencies joined by a word.
    Join(Word, DepId, DepId),
}

/// What one package has to do with others.
#[derive(Debug, Default)]
pub struct Facts {
    /// What must be there too.
    pub requires: Vec<DepId>,
    /// What should be there too.
    pub recommends: Vec<DepId>,
    /// What is preferred.
    pub suggests: Vec<DepId>,
    /// When it should be there.
    pub supplements: Vec<DepId>,
    /// When it is preferred.
    pub enhances: Vec<DepId>,
    /// What must not be there.
    pub conflicts: Vec<DepId>,
    /// What it takes the place of.
    pub obsoletes: Vec<DepId>,
}

/// The part of a catalog that solving touches.
pub struct Pool<'c> {
    /// Where everything comes from.
    pub catalog: &'c dyn Catalog,
    /// The same, as this resolver asks it.
    pub solvables: &'c dyn Solvables,
    blocked: &'c dyn Fn(&str) -> bool,
    known: RefCell<Known>,
    scores: Vec<u32>,
    colors: Vec<u8>,
}

#[derive(Default)]
struct Known {
    deps: Vec<(Dep, Rc<Term>)>,
    ids: HashMap<Rc<Term>, DepId>,
    providers: HashMap<DepId, Rc<[Lit]>>,
    facts: HashMap<Lit, Rc<Facts>>,
    named: HashMap<String, Rc<[Lit]>>,
}

/// `noarch` belongs to every architecture.
const ANY_ARCH: u32 = 1;
/// Colours: 32 bits, 64 bits.
const COLORS: (u8, u8) = (1, 2);

impl<'c> Pool<'c> {
    /// Returns an empty one over a catalog. Packages whose names are blocked cannot be had.
    pub fn new(catalog: &'c dyn Catalog, solvables: &'c dyn Solvables, blocked: &'c dyn Fn(&str) -> bool) -> Self {
        let arches = solvables.arches();
        let arch_of = |id| solvables.arch(id);
        let score = |arch: &str| match arch {
            "noarch" => ANY_ARCH,
            arch => arches.iter().position(|other| other == arch).map_or(0, |place| place as u32 + 2),
        };
        let color = |arch: &str| match arch {
            "noarch" => COLORS.0 | COLORS.1,
            "s390x" => COLORS.1,
            arch if arch.contains('6') && arch.contains('4') => COLORS.1,
            _ => COLORS.0,
        };
        let ids = 0..catalog.len() as PackageId;
        let scores = ids.clone().map(|id| score(arch_of(id))).collect();
        let colors = ids.map(|id| color(arch_of(id))).collect();
        Self { catalog, solvables, blocked, known: RefCell::default(), scores, colors }
    }

    /// Returns how many literals there are of each sign, and the one at zero that stands for nothing.
    pub fn size(&self) -> usize {
        self.catalog.len() + 1
    }

    /// Returns the package of a literal.
    pub fn package(lit: Lit) -> PackageId {
        lit.unsigned_abs() - 1
    }

    /// Returns the literal of having a package.
    pub fn lit(id: PackageId) -> Lit {
        id as Lit + 1
    }

    /// Returns the name of a package.
    pub fn name(&self, lit: Lit) -> &'c str {
        self.catalog.name(Self::package(lit))
    }

    /// Returns the version of a package.
    pub fn version(&self, lit: Lit) -> &'c str {
        self.catalog.version(Self::package(lit))
    }

    /// Returns the architecture of a package.
    pub fn arch(&self, lit: Lit) -> &'c str {
        self.solvables.arch(Self::package(lit))
    }

    /// Returns how good an architecture is: the lower the better, 1 for `noarch`, 0 for a strange one.
    pub fn score(&self, lit: Lit) -> u32 {
        self.scores[Self::package(lit) as usize]
    }

    /// Tells whether architectures matter at all.
    pub fn has_arches(&self) -> bool {
        !self.solvables.arches().is_empty()
    }

    /// Tells whether two packages would be in each other's way because of their word sizes.
    pub fn have_same_color(&self, a: Lit, b: Lit) -> bool {
        self.arch(a) == self.arch(b) || self.colors[Self::package(a) as usize] & self.colors[Self::package(b) as usize] != 0
    }

    /// Tells whether a package may be in a solution at all.
    pub fn is_usable(&self, lit: Lit) -> bool {
        !(self.blocked)(self.name(lit))
            && self.solvables.terms(Self::package(lit)).is_some()
            && (!self.has_arches() || self.score(lit) != 0)
    }

    /// Returns the number of a dependency.
    pub fn dep(&self, term: &Term) -> DepId {
        if let Some(&id) = self.known.borrow().ids.get(term) {
            return id;
        }
        let dep = match term {
            Term::One(_) => Dep::One,
            Term::Join(word, pair) => Dep::Join(*word, self.dep(&pair.0), self.dep(&pair.1)),
        };
        let mut known = self.known.borrow_mut();
        let id = known.deps.len() as DepId;
        let term = Rc::new(term.clone());
        known.deps.push((dep, Rc::clone(&term)));
        known.ids.insert(term, id);
        id
    }

    /// Returns what a number stands for.
    pub fn dep_at(&self, id: DepId) -> Dep {
        self.known.borrow().deps[id as usize].0
    }

    /// Returns a dependency as it was written.
    pub fn term(&self, id: DepId) -> Rc<Term> {
        Rc::clone(&self.known.borrow().deps[id as usize].1)
    }

    /// Tells whether a dependency needs more than one of a list of packages.
    pub fn is_complex(&self, id: DepId) -> bool {
        match self.dep_at(id) {
            Dep::Join(Word::And | Word::If | Word::Unless, ..) => true,
            Dep::Join(Word::Or, a, b) => self.is_complex(a) || self.is_complex(b),
            _ => false,
        }
    }

    /// Tells whether rpm itself has what is required.
    pub fn is_of_rpm(&self, id: DepId) -> bool {
        matches!(&*self.term(id), Term::One(constraint) if constraint.name.starts_with("rpmlib("))
    }

    /// Returns the packages that meet a dependency which is not complex, ascending.
    pub fn providers(&self, id: DepId) -> Rc<[Lit]> {
        if let Some(known) = self.known.borrow().providers.get(&id) {
            return Rc::clone(known);
        }
        let found: Vec<Lit> = match (self.dep_at(id), &*self.term(id)) {
            (Dep::One, Term::One(constraint)) => {
                let mut ids = self.solvables.offering(&constraint.name);
                if constraint.range.is_some() {
                    ids.retain(|&id| self.solvables.offers_in(id, constraint));
                }
                ids.into_iter().map(Self::lit).collect()
            }
            (Dep::Join(Word::Or, a, b), _) => {
                let mut both = self.providers(a).to_vec();
                both.extend_from_slice(&self.providers(b));
                both.sort_unstable();
                both.dedup();
                both
            }
            (Dep::Join(Word::With | Word::And, a, b), _) => {
                let second = self.providers(b);
                self.providers(a).iter().copied().filter(|lit| second.contains(lit)).collect()
            }
            (Dep::Join(Word::Without, a, b), _) => {
                let second = self.providers(b);
                self.providers(a).iter().copied().filter(|lit| !second.contains(lit)).collect()
            }
            (Dep::Join(_, a, _), _) => self.providers(a).to_vec(),
            _ => Vec::new(),
        };
        let found: Rc<[Lit]> = found.into();
        self.known.borrow_mut().providers.insert(id, Rc::clone(&found));
        found
    }

    /// Returns the packages of this name, ascending.
    pub fn named(&self, name: &str) -> Rc<[Lit]> {
        if let Some(known) = self.known.borrow().named.get(name) {
            return Rc::clone(known);
        }
        let mut lits: Vec<Lit> = self.catalog.named(name).iter().copied().map(Self::lit).collect();
        lits.sort_unstable();
        let lits: Rc<[Lit]> = lits.into();
        self.known.borrow_mut().named.insert(name.to_owned(), Rc::clone(&lits));
        lits
    }

    /// Returns the packages that an `Obsoletes` means: by their own name and version, never by what they offer.
    pub fn obsoleted(&self, id: DepId) -> Vec<Lit> {
        self.providers(id).iter().copied().filter(|&lit| self.is_named(lit, id)).collect()
    }

    fn is_named(&self, lit: Lit, id: DepId) -> bool {
        match (self.dep_at(id), &*self.term(id)) {
            (Dep::One, Term::One(constraint)) => self.solvables.is_named(Self::package(lit), constraint),
            (Dep::Join(Word::Or, a, b), _) => self.is_named(lit, a) || self.is_named(lit, b),
            (Dep::Join(Word::With | Word::And, a, b), _) => self.is_named(lit, a) && self.is_named(lit, b),
            (Dep::Join(Word::Without, a, b), _) => self.is_named(lit, a) && !self.is_named(lit, b),
            (Dep::Join(_, a, _), _) => self.is_named(lit, a),
            _ => false,
        }
    }

    /// Returns what a package has to do with others; nothing if its entry cannot be used.
    pub fn facts(&self, lit: Lit) -> Rc<Facts> {
        if let Some(known) = self.known.borrow().facts.get(&lit) {
            return Rc::clone(known);
        }
        let list = |terms: &[Term]| terms.iter().map(|term| self.dep(term)).collect();
        let facts = match self.terms(lit) {
            None => Facts::default(),
            Some(terms) => Facts {
                requires: list(&terms.requires),
                recommends: list(&terms.recommends),
                suggests: list(&terms.suggests),
                supplements: list(&terms.supplements),
                enhances: list(&terms.enhances),
                conflicts: list(&terms.conflicts),
                obsoletes: list(&terms.obsoletes),
            },
        };
        let facts = Rc::new(facts);
        self.known.borrow_mut().facts.insert(lit, Rc::clone(&facts));
        facts
    }

    /// Returns the dependencies of a package as written.
    pub fn terms(&self, lit: Lit) -> Option<&'c Terms> {
        self.solvables.terms(Self::package(lit))
    }
}
