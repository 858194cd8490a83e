//! Chooses packages as libsolv does for `dnf install` into an empty root: the same set, for the same reasons.
//!
//! What it decides by is in libsolv's manual (`libsolv-bindings(3)`, "Solver") and in what it does: rules are made of what
//! packages say (`rules`), sorted, and solved (`solver`); where there is a choice, the policy has an order (`policy`).

mod explain;
mod normal;
mod policy;
mod pool;
mod rules;
mod select;
mod solver;

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::{Error, Part, Plan, Planned, Reason, Request, blocked, order};
use crate::base::limit;
use crate::config::Item;
use crate::package::{Catalog, PackageId, Solvables, Word};
use crate::report::{Event, Reporter, Stage};
use pool::{Dep, DepId, Lit, Pool};
use solver::{NoSolution, Solver};

/// How to solve.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Take what is recommended and supplemented, too.
    pub weak: bool,
    /// Only the best version of what is asked for will do.
    pub best: bool,
    /// Packages of the same name for 32 and 64 bits can be there together.
    pub colors: bool,
    /// What is asked for may be of another architecture than the best.
    pub own_arch: bool,
    /// Packages that offer one of these can be there in several versions.
    pub multiversion: Vec<String>,
    /// Such packages still take the place of what they obsolete.
    pub keep_obsoletes: bool,
}

impl Settings {
    /// As dnf has them.
    pub fn of_dnf(weak: bool) -> Self {
        let multiversion = [
            "kernel",
            "kernel-PAE",
            "installonlypkg(kernel)",
            "installonlypkg(kernel-module)",
            "installonlypkg(vm)",
            "multiversion(kernel)",
        ];
        Self {
            weak,
            best: true,
            colors: true,
            own_arch: true,
            multiversion: multiversion.map(str::to_owned).to_vec(),
            keep_obsoletes: true,
        }
    }
}

/// Finds the packages for a request whose parts are each met by one of some packages; ascending. For tests of the solver by itself.
pub fn solve(
    catalog: &dyn Catalog,
    solvables: &dyn Solvables,
    jobs: &[Vec<PackageId>],
    settings: &Settings,
) -> Option<Vec<PackageId>> {
    let pool = Pool::new(catalog, solvables, &|_| false);
    let jobs: Vec<Vec<Lit>> = jobs.iter().map(|job| job.iter().copied().map(Pool::lit).collect()).collect();
    let mut solver = Solver::new(&pool, rules::make(&pool, &jobs, settings), settings.colors);
    solver.run(settings.weak).ok()?;
    let mut chosen: Vec<PackageId> = solver.chosen().map(Pool::package).collect();
    chosen.sort_unstable();
    Some(chosen)
}

/// A part of the request and what would meet it.
struct Job<'r> {
    item: &'r Item,
    candidates: Vec<Lit>,
}

/// Makes the plan.
pub fn plan(request: &Request, catalog: &dyn Catalog, solvables: &dyn Solvables, reporter: &dyn Reporter) -> Result<Plan, Error> {
    let is_blocked = |name: &str| blocked(request, name).is_some();
    let pool = Pool::new(catalog, solvables, &is_blocked);
    let jobs = jobs(request, &pool, reporter)?;
    let settings = Settings::of_dnf(request.recommends);
    let candidates: Vec<Vec<Lit>> = jobs.iter().map(|job| job.candidates.clone()).collect();
    let mut solver = Solver::new(&pool, rules::make(&pool, &candidates, &settings), settings.colors);
    match solver.run(settings.weak) {
        Ok(()) => {}
        Err(NoSolution::TooHard) => return Err(Error::TooHard),
        Err(NoSolution::Unsolvable(proof)) => return Err(explain::why_not(request, &pool, &jobs, solver.rules(), &proof)),
    }
    let chosen: Vec<Lit> = solver.chosen().collect();
    if chosen.len() > limit::PACKAGES_MAX {
        return Err(Error::TooMany { found: chosen.len() });
    }
    finish(request, &pool, &jobs, &chosen)
}

/// Finds what the request means.
fn jobs<'r>(request: &'r Request, pool: &Pool<'_>, reporter: &dyn Reporter) -> Result<Vec<Job<'r>>, Error> {
    let mut jobs = Vec::new();
    for item in &request.packages {
        let (text, is_optional) = match item.text.trim().strip_suffix('?') {
            Some(text) => (text, true),
            None => (item.text.trim(), false),
        };
        let found = text.split('|').map(|name| select::select(pool, name.trim())).find(|found| !found.is_empty());
        let Some(found) = found else {
            if is_optional {
                let message = format!("`{text}`, wanted by {}, is not available and was left out", item.source);
                reporter.event(&Event::Detail { stage: Stage::Plan, message: &message });
                continue;
            }
            let name = text.split('|').next().unwrap_or(text).trim();
            return Err(explain::unavailable(pool, item, name));
        };
        for candidates in found {
            let name = pool.name(candidates[0]);
            if candidates.iter().all(|&lit| blocked(request, pool.name(lit)).is_some())
                && let Some(block) = blocked(request, name)
            {
                return Err(super::explain::blocked_request(name, block, item));
            }
            jobs.push(Job { item, candidates });
        }
    }
    Ok(jobs)
}

/// Makes the plan of packages that hold together.
fn finish(request: &Request, pool: &Pool<'_>, jobs: &[Job<'_>], chosen: &[Lit]) -> Result<Plan, Error> {
    let by_name: BTreeMap<(&str, u32, Lit), Lit> =
        chosen.iter().map(|&lit| ((pool.name(lit), pool.score(lit), lit), lit)).collect();
    let lits: Vec<Lit> = by_name.into_values().collect();
    let reasons = reasons(pool, jobs, &lits);
    let mut packages = Vec::with_capacity(lits.len());
    for lit in unpacking(pool, &lits) {
        let package = pool.catalog.package(Pool::package(lit))?;
        let reason = reasons.get(&lit).cloned().unwrap_or(Reason::LeftOver);
        let omitted = request.omit.iter().any(|item| item.text == package.name);
        packages.push(Planned { package, reason, omitted, part: Part::Base });
    }
    Ok(Plan { packages })
}

/// Orders packages so that what one requires comes before it.
fn unpacking(pool: &Pool<'_>, lits: &[Lit]) -> Vec<Lit> {
    let places: HashMap<Lit, usize> = lits.iter().enumerate().map(|(place, &lit)| (lit, place)).collect();
    let edges: Vec<Vec<usize>> = lits
        .iter()
        .map(|&lit| {
            let facts = pool.facts(lit);
            let wanted = facts.requires.iter().flat_map(|&dep| wanted(pool, dep));
            let mut required: Vec<usize> = wanted.filter_map(|lit| places.get(&lit).copied()).collect();
            required.sort_unstable();
            required.dedup();
            required
        })
        .collect();
    order::components(&edges).into_iter().flatten().map(|place| lits[place]).collect()
}

/// Returns the packages that meeting a dependency may mean having.
fn wanted(pool: &Pool<'_>, dep: DepId) -> Vec<Lit> {
    match pool.dep_at(dep) {
        Dep::Join(Word::And | Word::Or, a, b) => [wanted(pool, a), wanted(pool, b)].concat(),
        Dep::Join(Word::If | Word::Unless, a, b) => match pool.dep_at(b) {
            Dep::Join(Word::Else, _, other) => [wanted(pool, a), wanted(pool, other)].concat(),
            _ => wanted(pool, a),
        },
        _ => pool.providers(dep).to_vec(),
    }
}

/// Says of each package who is nearest to the request of those that ask for it.
fn reasons(pool: &Pool<'_>, jobs: &[Job<'_>], chosen: &[Lit]) -> HashMap<Lit, Reason> {
    let mut reasons: HashMap<Lit, Reason> = HashMap::new();
    let mut queue = VecDeque::new();
    for job in jobs {
        for &lit in job.candidates.iter().filter(|lit| chosen.contains(lit)) {
            if let std::collections::hash_map::Entry::Vacant(slot) = reasons.entry(lit) {
                slot.insert(Reason::Requested(job.item.clone()));
                queue.push_back(lit);
            }
        }
    }
    let is_chosen: std::collections::HashSet<Lit> = chosen.iter().copied().collect();
    loop {
        while let Some(by) = queue.pop_front() {
            let facts = pool.facts(by);
            for &dep in &facts.requires {
                for lit in wanted(pool, dep).into_iter().filter(|lit| is_chosen.contains(lit)) {
                    if let std::collections::hash_map::Entry::Vacant(slot) = reasons.entry(lit) {
                        slot.insert(Reason::Required { by: pool.name(by).to_owned(), requirement: pool.term(dep).to_string() });
                        queue.push_back(lit);
                    }
                }
            }
        }
        // What nothing requires is there because it is recommended, or because it supplements something.
        let Some((lit, by, dep)) = recommended(pool, chosen, &reasons) else { return reasons };
        let reason = Reason::Recommended { by: pool.name(by).to_owned(), requirement: pool.term(dep).to_string() };
        reasons.insert(lit, reason);
        queue.push_back(lit);
    }
}

fn recommended(pool: &Pool<'_>, chosen: &[Lit], reasons: &HashMap<Lit, Reason>) -> Option<(Lit, Lit, DepId)> {
    for &by in chosen.iter().filter(|lit| reasons.contains_key(lit)) {
        for &dep in &pool.facts(by).recommends {
            let found = wanted(pool, dep).into_iter().find(|lit| chosen.contains(lit) && !reasons.contains_key(lit));
            if let Some(lit) = found {
                return Some((lit, by, dep));
            }
        }
    }
    for &lit in chosen.iter().filter(|lit| !reasons.contains_key(lit)) {
        for &dep in &pool.facts(lit).supplements {
            if let Some(by) = wanted(pool, dep).into_iter().find(|by| reasons.contains_key(by)) {
                return Some((lit, by, dep));
            }
        }
    }
    None
}
