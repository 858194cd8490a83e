//! Asks resolvo for a set of packages when the walk's does not hold: the only place that knows this crate.
//!
//! Alternatives and providers are given in apt's order and the walk's picks are favoured, so that a solution is as near
//! to apt's as its conflicts allow.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Display;
use std::time::{Duration, Instant};

use resolvo::{
    Candidates, Condition, ConditionId, ConditionalRequirement, Dependencies, DependencyProvider, Interner, KnownDependencies,
    NameId as SatName, Problem, Requirement, SolvableId, Solver, SolverCache, StringId, UnsolvableOrCancelled, VersionSetId,
    VersionSetUnionId,
};

use super::solve::{Choice, Group, NameId, Pool};
use crate::package::PackageId;

/// How long one question may take: ordinary ones take milliseconds, and a set made to be hard must not hang a build.
const TIME_MAX: Duration = Duration::from_secs(2);

/// Why there is no solution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSolution {
    /// There is none.
    Unsolvable,
    /// The question was too hard to be answered in time.
    TooHard,
}

/// Finds packages that hold together and contain these, near to the walk's choice.
pub fn solve(pool: &mut Pool<'_>, wanted: &[PackageId], walked: &Choice) -> Result<Vec<PackageId>, NoSolution> {
    wanted.iter().for_each(|&id| {
        pool.name_of(id);
    });
    let sat = Sat { pool: RefCell::new(pool), walked, sets: RefCell::default(), until: Instant::now() + TIME_MAX };
    let requirements = wanted.iter().map(|&id| ConditionalRequirement::from(sat.exactly(id))).collect();
    let mut solver = Solver::new(sat);
    match solver.solve(Problem::new().requirements(requirements)) {
        Ok(solvables) => Ok(solvables.into_iter().map(SolvableId::into_raw).collect()),
        Err(UnsolvableOrCancelled::Unsolvable(_)) => Err(NoSolution::Unsolvable),
        Err(UnsolvableOrCancelled::Cancelled(_)) => Err(NoSolution::TooHard),
    }
}

struct Sat<'p, 'c> {
    pool: RefCell<&'p mut Pool<'c>>,
    walked: &'p Choice,
    sets: RefCell<Sets>,
    until: Instant,
}

#[derive(Default)]
struct Sets {
    /// Versions of one name, sorted.
    sets: Vec<(NameId, Vec<PackageId>)>,
    set_ids: HashMap<(NameId, Vec<PackageId>), VersionSetId>,
    unions: Vec<Vec<VersionSetId>>,
}

impl Sat<'_, '_> {
    fn set(&self, name: NameId, mut ids: Vec<PackageId>) -> VersionSetId {
        ids.sort_unstable();
        let mut sets = self.sets.borrow_mut();
        if let Some(&known) = sets.set_ids.get(&(name, ids.clone())) {
            return known;
        }
        let id = VersionSetId(sets.sets.len() as u32);
        sets.sets.push((name, ids.clone()));
        sets.set_ids.insert((name, ids), id);
        id
    }

    fn exactly(&self, id: PackageId) -> VersionSetId {
        let name = self.pool.borrow().owner(id);
        self.set(name, vec![id])
    }

    /// Makes of a requirement one version set per package name, in order of preference. With nothing that meets it, it
    /// is an empty set of the package that has it.
    fn requirement(&self, owner: NameId, group: &Group) -> ConditionalRequirement {
        let pool = self.pool.borrow();
        let mut names: Vec<(NameId, Vec<PackageId>)> = Vec::new();
        for &member in &group.members {
            let target = pool.target_at(member);
            let mut offers: Vec<PackageId> = target.offers.iter().copied().filter(|&id| pool.is_usable(id)).collect();
            offers.sort_by(|&a, &b| pool.prefer(&target.constraint.name, a, b));
            let mut places: HashMap<NameId, usize> = names.iter().enumerate().map(|(i, (name, _))| (*name, i)).collect();
            for id in offers {
                let place = *places.entry(pool.owner(id)).or_insert_with(|| {
                    names.push((pool.owner(id), Vec::new()));
                    names.len() - 1
                });
                if !names[place].1.contains(&id) {
                    names[place].1.push(id);
                }
            }
        }
        drop(pool);
        let mut sets: Vec<VersionSetId> = names.into_iter().map(|(name, ids)| self.set(name, ids)).collect();
        match sets.len() {
            0 => self.set(owner, Vec::new()).into(),
            1 => sets.remove(0).into(),
            _ => {
                let mut known = self.sets.borrow_mut();
                known.unions.push(sets);
                Requirement::Union(VersionSetUnionId(known.unions.len() as u32 - 1)).into()
            }
        }
    }

    /// For each other name the versions that are not refused.
    fn constraints(&self, owner: NameId, conflicts: &[u32]) -> Vec<VersionSetId> {
        let pool = self.pool.borrow();
        let mut refused: HashMap<NameId, Vec<PackageId>> = HashMap::new();
        let mut order = Vec::new();
        for &target in conflicts {
            for &id in &pool.target_at(target).offers {
                let name = pool.owner(id);
                if name != owner {
                    refused.entry(name).or_insert_with(|| {
                        order.push(name);
                        Vec::new()
                    });
                    refused.entry(name).or_default().push(id);
                }
            }
        }
        let allowed: Vec<_> = order
            .into_iter()
            .map(|name| {
                let all = pool.catalog.named(pool.name(name));
                (name, all.iter().copied().filter(|id| !refused[&name].contains(id)).collect::<Vec<_>>())
            })
            .collect();
        drop(pool);
        allowed.into_iter().map(|(name, ids)| self.set(name, ids)).collect()
    }
}

impl Interner for Sat<'_, '_> {
    type NameId = SatName;
    type SolvableId = SolvableId;

    fn display_solvable(&self, solvable: SolvableId) -> impl Display + '_ {
        let pool = self.pool.borrow();
        format!("{} {}", pool.catalog.name(solvable.into_raw()), pool.catalog.version(solvable.into_raw()))
    }

    fn display_name(&self, name: SatName) -> impl Display + '_ {
        self.pool.borrow().name(name.into_raw()).to_owned()
    }

    fn display_version_set(&self, set: VersionSetId) -> impl Display + '_ {
        format!("{} versions", self.sets.borrow().sets[set.0 as usize].1.len())
    }

    fn display_string(&self, _: StringId) -> impl Display + '_ {
        "unusable"
    }

    fn version_set_name(&self, set: VersionSetId) -> SatName {
        SatName::from_raw(self.sets.borrow().sets[set.0 as usize].0)
    }

    fn solvable_name(&self, solvable: SolvableId) -> SatName {
        SatName::from_raw(self.pool.borrow().owner(solvable.into_raw()))
    }

    fn version_sets_in_union(&self, union: VersionSetUnionId) -> impl Iterator<Item = VersionSetId> {
        self.sets.borrow().unions[union.0 as usize].clone().into_iter()
    }

    fn resolve_condition(&self, _: ConditionId) -> Condition {
        unreachable!("invariant: no requirement is made with a condition")
    }
}

impl DependencyProvider for Sat<'_, '_> {
    async fn filter_candidates(&self, candidates: &[SolvableId], set: VersionSetId, inverse: bool) -> Vec<SolvableId> {
        let sets = self.sets.borrow();
        let ids = &sets.sets[set.0 as usize].1;
        candidates.iter().copied().filter(|id| ids.binary_search(&id.into_raw()).is_ok() != inverse).collect()
    }

    async fn get_candidates(&self, name: SatName) -> Option<Candidates> {
        let mut pool = self.pool.borrow_mut();
        let ids: Vec<PackageId> = pool.catalog.named(pool.name(name.into_raw())).to_vec();
        let usable: Vec<SolvableId> = ids
            .into_iter()
            .filter(|&id| {
                pool.name_of(id);
                pool.is_usable(id)
            })
            .map(SolvableId::from_raw)
            .collect();
        let favored = self.walked.chosen.get(&name.into_raw()).map(|&id| SolvableId::from_raw(id));
        Some(Candidates { candidates: usable, favored, ..Candidates::default() })
    }

    async fn sort_candidates(&self, _: &SolverCache<Self>, solvables: &mut [SolvableId]) {
        let pool = self.pool.borrow();
        let place = |id: &SolvableId| {
            let named = pool.catalog.named(pool.catalog.name(id.into_raw()));
            named.iter().position(|other| *other == id.into_raw())
        };
        solvables.sort_by_key(place);
    }

    async fn get_dependencies(&self, solvable: SolvableId) -> Dependencies {
        let id = solvable.into_raw();
        let (owner, needs) = {
            let mut pool = self.pool.borrow_mut();
            (pool.name_of(id), pool.needs(id))
        };
        let Some(needs) = needs else { return Dependencies::Unknown(StringId(0)) };
        let groups = needs.groups.iter().filter(|group| group.critical);
        Dependencies::Known(KnownDependencies {
            requirements: groups.map(|group| self.requirement(owner, group)).collect(),
            constrains: self.constraints(owner, &needs.conflicts),
        })
    }

    fn should_cancel_with_value(&self) -> Option<Box<dyn Any>> {
        (Instant::now() > self.until).then(|| Box::new(()) as Box<dyn Any>)
    }
}
