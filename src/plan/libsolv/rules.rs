//! Rules: sentences of literals of which at least one must be true, made of what packages say, in libsolv's order.
//!
//! The order matters: among solutions that are as good, it decides which is found.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::rc::Rc;

use super::Settings;
use super::normal::{Form, Normal, invert, normalize};
use super::policy;
use super::pool::{DepId, Lit, Pool};

/// The number of a rule.
pub type RuleId = usize;

/// Why a rule is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// A package requires something.
    Requires(Lit, DepId),
    /// A package requires what nothing provides.
    Nothing(Lit, DepId),
    /// A package must not be had.
    Unusable(Lit),
    /// A package conflicts with another.
    Conflicts(Lit, Lit, DepId),
    /// A package takes the place of another.
    Obsoletes(Lit, Lit, DepId),
    /// Only one version of a package can be there.
    SameName(Lit, Lit),
    /// The request.
    Job(usize),
    /// The request, in its best version.
    Best(usize),
    /// There is a better architecture.
    Arch(Lit),
    /// Found out while solving.
    Learnt,
}

/// A sentence.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The first literal.
    pub first: Lit,
    /// The second of two, zero where there is none or a list.
    pub second: Lit,
    /// All but the first, where there are more than two.
    pub rest: Option<Rc<[Lit]>>,
    /// Why it is there.
    pub why: Why,
}

impl Rule {
    /// Makes a rule of a first literal and others.
    pub fn new(first: Lit, rest: &[Lit], why: Why) -> Self {
        match rest {
            [] => Self { first, second: 0, rest: None, why },
            [second] => Self { first, second: *second, rest: None, why },
            rest => Self { first, second: 0, rest: Some(rest.into()), why },
        }
    }

    /// Returns all literals.
    pub fn literals(&self) -> impl Iterator<Item = Lit> + '_ {
        let second = (self.second != 0).then_some(self.second);
        std::iter::once(self.first).chain(second).chain(self.rest.iter().flat_map(|rest| rest.iter().copied()))
    }

    /// Tells whether it has but one literal.
    pub fn is_assertion(&self) -> bool {
        self.second == 0 && self.rest.is_none()
    }

    fn order(&self, other: &Self) -> Ordering {
        let rest = |rule: &Self| rule.rest.clone().unwrap_or_else(|| [rule.second].into());
        self.first.cmp(&other.first).then_with(|| match (&self.rest, &other.rest) {
            (None, None) => self.second.cmp(&other.second),
            _ => rest(self).cmp(&rest(other)),
        })
    }
}

/// All rules of one question.
pub struct Rules {
    /// The rules; number 0 is none.
    pub all: Vec<Rule>,
    /// The first rule that is not about packages.
    pub jobs: RuleId,
    /// The first rule behind those of the request.
    pub jobs_end: RuleId,
}

/// Makes the rules for a request: for each of its parts the packages that meet it.
pub fn make(pool: &Pool<'_>, jobs: &[Vec<Lit>], settings: &Settings) -> Rules {
    let mut maker = Maker::new(pool, settings);
    for &lit in jobs.iter().flatten() {
        maker.add(lit);
    }
    maker.add_weak();
    let Maker { added, mut rules, .. } = maker;
    rules.sort_by(Rule::order);
    rules.dedup_by(|b, a| a.order(b).is_eq());
    let mut all = vec![Rule::new(0, &[], Why::Learnt)];
    all.append(&mut rules);
    let first_job = all.len();
    for (number, job) in jobs.iter().enumerate() {
        let Some((first, rest)) = job.split_first() else { continue };
        all.push(Rule::new(*first, rest, Why::Job(number)));
    }
    let jobs_end = all.len();
    if pool.has_arches() {
        // Whoever asks for packages one by one means their architectures, too.
        let asked: BTreeSet<&str> = jobs.iter().flatten().map(|&lit| pool.name(lit)).collect();
        let is_free = |name: &str| settings.own_arch && asked.contains(name);
        inferior(pool, &added, settings, &is_free, &mut all);
    }
    if settings.best {
        for (number, job) in jobs.iter().enumerate() {
            let mut best = job.clone();
            policy::prune(pool, &mut best);
            if best.len() < job.len()
                && let Some((first, rest)) = best.split_first()
            {
                all.push(Rule::new(*first, rest, Why::Best(number)));
            }
        }
    }
    Rules { all, jobs: first_job, jobs_end }
}

struct Maker<'p, 'c> {
    pool: &'p Pool<'c>,
    settings: &'p Settings,
    added: Vec<bool>,
    multi: Vec<bool>,
    rules: Vec<Rule>,
}

impl<'p, 'c> Maker<'p, 'c> {
    fn new(pool: &'p Pool<'c>, settings: &'p Settings) -> Self {
        let mut multi = vec![false; pool.size()];
        for name in &settings.multiversion {
            for id in pool.solvables.offering(name) {
                multi[Pool::lit(id) as usize] = true;
            }
        }
        Self { pool, settings, added: vec![false; pool.size()], multi, rules: Vec::new() }
    }

    /// Adds a rule; one that cannot fail is none, and of two literals the lesser stands first.
    fn rule(&mut self, first: Lit, rest: &[Lit], why: Why) {
        if rest.contains(&-first) {
            return;
        }
        match rest {
            [second] if first > *second => self.rules.push(Rule::new(*second, &[first], why)),
            _ => self.rules.push(Rule::new(first, rest, why)),
        }
    }

    /// Adds the rules of a package and of all that may come with it.
    fn add(&mut self, lit: Lit) {
        let mut queue = std::collections::VecDeque::from([lit]);
        while let Some(lit) = queue.pop_front() {
            if std::mem::replace(&mut self.added[lit as usize], true) {
                continue;
            }
            if !self.pool.is_usable(lit) {
                self.rule(-lit, &[], Why::Unusable(lit));
            }
            let facts = self.pool.facts(lit);
            let mut wanted = Vec::new();
            for &dep in &facts.requires {
                self.requires(lit, dep, &mut wanted);
            }
            for &dep in &facts.conflicts {
                self.conflicts(lit, dep, &mut wanted);
            }
            if !self.multi[lit as usize] || self.settings.keep_obsoletes {
                for &dep in &facts.obsoletes {
                    for other in self.pool.obsoleted(dep).into_iter().filter(|other| *other != lit) {
                        self.rule(-lit, &[-other], Why::Obsoletes(lit, other, dep));
                    }
                }
            }
            self.same_name(lit, &mut wanted);
            for &dep in facts.recommends.iter().chain(&facts.suggests) {
                self.mentions(dep, &mut wanted);
            }
            queue.extend(wanted.into_iter().filter(|lit| !self.added[*lit as usize]));
        }
    }

    fn requires(&mut self, lit: Lit, dep: DepId, wanted: &mut Vec<Lit>) {
        if self.pool.is_complex(dep) {
            let normal = normalize(self.pool, dep, Form::Conjunctive);
            return self.complex(lit, normal, Why::Requires(lit, dep), Why::Nothing(lit, dep), wanted);
        }
        if self.pool.is_of_rpm(dep) {
            return;
        }
        let providers = self.pool.providers(dep);
        if providers.is_empty() {
            self.rule(-lit, &[], Why::Nothing(lit, dep));
        } else if !providers.contains(&lit) {
            self.rule(-lit, &providers, Why::Requires(lit, dep));
            wanted.extend_from_slice(&providers);
        }
    }

    fn conflicts(&mut self, lit: Lit, dep: DepId, wanted: &mut Vec<Lit>) {
        let why = Why::Conflicts(lit, lit, dep);
        if self.pool.is_complex(dep) {
            let normal = invert(normalize(self.pool, dep, Form::Disjunctive));
            return self.complex(lit, normal, why, why, wanted);
        }
        for &other in self.pool.providers(dep).iter().filter(|other| **other != lit) {
            self.rule(-lit, &[-other], Why::Conflicts(lit, other, dep));
        }
    }

    /// Adds the rules of a boolean dependency.
    fn complex(&mut self, lit: Lit, normal: Normal, why: Why, never: Why, wanted: &mut Vec<Lit>) {
        let blocks = match normal {
            Normal::Always => return,
            Normal::Never => return self.rule(-lit, &[], never),
            Normal::Blocks(blocks) => blocks,
        };
        let is_conflict = matches!(why, Why::Conflicts(..));
        for mut block in blocks {
            if block.contains(&lit) || (is_conflict && block == [-lit]) {
                continue;
            }
            wanted.extend(block.iter().copied().filter(|lit| *lit > 0));
            // Own packages alone keep the owner in front, as a plain requirement has it; otherwise the least literal is.
            if block.len() > 1 && block[0] < 0 {
                block.push(-lit);
                block.sort_unstable();
                block.dedup();
                let (first, rest) = (block[0], block[1..].to_vec());
                self.rule(first, &rest, why);
            } else if block == [-lit] {
                self.rule(-lit, &[], why);
            } else {
                self.rule(-lit, &block, why);
            }
        }
    }

    /// Adds that only one version can be there, and looks at other architectures of the same version.
    fn same_name(&mut self, lit: Lit, wanted: &mut Vec<Lit>) {
        let pool = self.pool;
        for &other in pool.named(pool.name(lit)).iter().filter(|other| **other != lit) {
            let is_twin = pool.version(lit) == pool.version(other) && pool.arch(lit) == pool.arch(other);
            let may_stay = self.multi[lit as usize] && !is_twin;
            let is_other_color = self.settings.colors && !pool.have_same_color(lit, other);
            let is_known = self.added[other as usize] && !self.multi[other as usize];
            if !may_stay && !is_other_color && !is_known {
                self.rule(-lit, &[-other], Why::SameName(lit, other));
            }
            if self.settings.colors
                && pool.version(lit) == pool.version(other)
                && pool.score(lit) != 1
                && pool.score(other) > 1
                && pool.score(other) < pool.score(lit)
            {
                wanted.push(other);
            }
        }
    }

    /// Collects what a weak dependency names.
    fn mentions(&self, dep: DepId, wanted: &mut Vec<Lit>) {
        self.mentioned(dep, false, wanted);
    }

    fn mentioned(&self, dep: DepId, negative: bool, wanted: &mut Vec<Lit>) {
        use super::pool::Dep;
        use crate::package::Word;
        match self.pool.dep_at(dep) {
            Dep::Join(Word::And | Word::Or, a, b) => {
                self.mentioned(a, negative, wanted);
                self.mentioned(b, negative, wanted);
            }
            Dep::Join(Word::If | Word::Unless, a, b) => {
                self.mentioned(a, negative, wanted);
                match self.pool.dep_at(b) {
                    Dep::Join(Word::Else, condition, other) => {
                        self.mentioned(other, negative, wanted);
                        // It is wanted one way or the other.
                        self.mentioned(condition, false, wanted);
                    }
                    _ => self.mentioned(b, !negative, wanted),
                }
            }
            _ if negative => {}
            _ => wanted.extend_from_slice(&self.pool.providers(dep)),
        }
    }

    /// Adds the packages that would supplement or enhance what may come.
    fn add_weak(&mut self) {
        let candidates: Vec<Lit> = self.pool.solvables.supplementing().iter().copied().map(Pool::lit).collect();
        loop {
            let mut is_changed = false;
            for &lit in &candidates {
                if self.added[lit as usize] || !self.pool.is_usable(lit) {
                    continue;
                }
                let facts = self.pool.facts(lit);
                if facts.supplements.iter().chain(&facts.enhances).any(|&dep| self.is_possible(dep)) {
                    self.add(lit);
                    is_changed = true;
                }
            }
            if !is_changed {
                return;
            }
        }
    }

    fn is_possible(&self, dep: DepId) -> bool {
        use super::pool::Dep;
        use crate::package::Word;
        match self.pool.dep_at(dep) {
            Dep::Join(Word::And, a, b) => self.is_possible(a) && self.is_possible(b),
            Dep::Join(Word::Or, a, b) => self.is_possible(a) || self.is_possible(b),
            Dep::Join(Word::If | Word::Unless, a, _) => self.is_possible(a),
            _ => self.pool.providers(dep).iter().any(|lit| self.added[*lit as usize]),
        }
    }
}

/// Adds that a package of an inferior architecture needs the better one beside it, or that it cannot be had.
fn inferior(pool: &Pool<'_>, added: &[bool], settings: &Settings, is_free: &dyn Fn(&str) -> bool, rules: &mut Vec<Rule>) {
    for lit in 1..pool.size() as Lit {
        if !added[lit as usize] {
            continue;
        }
        let name = pool.name(lit);
        let named: Vec<Lit> = pool.named(name).iter().copied().filter(|lit| added[*lit as usize]).collect();
        if named.first() != Some(&lit) || is_free(name) {
            continue;
        }
        let Some(best) = named.iter().map(|&lit| pool.score(lit)).filter(|score| *score > 1).min() else { continue };
        for &bad in named.iter().filter(|lit| pool.score(**lit) != 1 && pool.score(**lit) != best) {
            let is_twin = |other: &Lit| {
                pool.version(*other) == pool.version(bad)
                    && pool.arch(*other) != pool.arch(bad)
                    && (pool.score(*other) == 1 || pool.score(*other) == best)
            };
            let twins: Vec<Lit> = match settings.colors {
                true => pool.named(name).iter().copied().filter(is_twin).collect(),
                false => Vec::new(),
            };
            rules.push(Rule::new(-bad, &twins, Why::Arch(bad)));
        }
    }
}
