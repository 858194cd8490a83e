//! Chooses packages as `pacman -S --noconfirm` does for an empty root, recording why each was chosen.
//!
//! These are libalpm's decisions (as of 6.0), not the best solution of a set of constraints. A requirement is met, in this order, by what
//! is chosen already, by what the request names, by the package of that very name in the first repository whose version fits, by the first
//! package that provides it: repositories in their order, names in order of bytes. Nothing is taken back, so one requirement that cannot
//! be met ends it all. Of two chosen packages that refuse each other one goes if the other provides its name. A blocked package is
//! to libalpm's rules what one of `IgnorePkg` is.

use std::collections::{HashMap, HashSet};

use super::explain::{self, Step};
use super::order;
use super::solve::{self, Choice, Pool};
use super::{Error, Part, Plan, Planned, Reason, Request, blocked};
use crate::base::limit;
use crate::config::Item;
use crate::family::alpm::relation;
use crate::package::{Catalog, Constraint, Op, PackageId, Relations};
use crate::report::{Event, Reporter, Stage};

/// Causes of a failure that are told besides the first.
const CAUSES_MAX: usize = 3;

/// Makes the plan.
pub fn plan(request: &Request, catalog: &dyn Catalog, reporter: &dyn Reporter) -> Result<Plan, Error> {
    let targets = targets(request, catalog, reporter)?;
    // The walk is as deep as the longest chain of requirements, which the stack of a thread of the caller may not allow.
    std::thread::scope(|scope| {
        let solver = std::thread::Builder::new().name("solve".into()).stack_size(solve::STACK_BYTES);
        match solver.spawn_scoped(scope, || solve(request, &targets, catalog)) {
            Ok(thread) => match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            },
            Err(_) => solve(request, &targets, catalog),
        }
    })
}

// ---- what the request names -----------------------------------------------------------------------------------------

/// A package that the request names, itself or by its group.
struct Target<'r> {
    item: &'r Item,
    id: PackageId,
}

fn targets<'r>(request: &'r Request, catalog: &dyn Catalog, reporter: &dyn Reporter) -> Result<Vec<Target<'r>>, Error> {
    let mut targets: Vec<Target<'r>> = Vec::new();
    for item in &request.packages {
        let (text, is_optional) = match item.text.trim().strip_suffix('?') {
            Some(text) => (text.trim_end(), true),
            None => (item.text.trim(), false),
        };
        let ids = match first_available(request, catalog, item, text, reporter) {
            Ok(ids) => ids,
            Err(Error::Unknown { .. }) if is_optional => {
                detail(reporter, &format!("`{text}`, wanted by {}, is not available and was left out", item.source));
                continue;
            }
            Err(error) => return Err(error),
        };
        for id in ids {
            match targets.iter().find(|other| catalog.name(other.id) == catalog.name(id)) {
                None => targets.push(Target { item, id }),
                Some(other) if other.id == id => {}
                Some(other) => return Err(twice(catalog, other, &Target { item, id })),
            }
        }
    }
    Ok(targets)
}

fn detail(reporter: &dyn Reporter, message: &str) {
    reporter.event(&Event::Detail { stage: Stage::Plan, message });
}

/// Finds the first of alternatives that can be had; if none can, the error is that of the first.
fn first_available(
    request: &Request,
    catalog: &dyn Catalog,
    item: &Item,
    text: &str,
    reporter: &dyn Reporter,
) -> Result<Vec<PackageId>, Error> {
    let mut first_error = None;
    for name in text.split('|').map(str::trim) {
        match find(request, catalog, item, name, reporter) {
            Ok(ids) => return Ok(ids),
            Err(error) => {
                first_error.get_or_insert(error);
            }
        }
    }
    Err(first_error.expect("invariant: a split text has at least one part"))
}

/// Finds what pacman takes a target for: a package, what provides it, the members of a group. `core/bash` means one repository.
fn find(
    request: &Request,
    catalog: &dyn Catalog,
    item: &Item,
    text: &str,
    reporter: &dyn Reporter,
) -> Result<Vec<PackageId>, Error> {
    let (repo, text) = match text.split_once('/') {
        Some((repo, text)) if catalog.repos().contains(&repo) => (Some(repo), text),
        _ => (None, text),
    };
    let is_meant = |id: PackageId| repo.is_none_or(|repo| catalog.repo(id) == repo);
    let wanted = relation::constraint(text);
    let is_usable = |id: PackageId| is_meant(id) && blocked(request, catalog.name(id)).is_none();
    if let Some(id) = satisfier(catalog, &wanted, &is_usable) {
        return match catalog.relations(id) {
            Ok(_) => Ok(vec![id]),
            Err(refusal) => Err(refusal.clone().into()),
        };
    }
    if let Some(id) = satisfier(catalog, &wanted, &is_meant) {
        let name = catalog.name(id);
        let block = blocked(request, name).expect("invariant: only a block made it unusable");
        return Err(explain::blocked_request(name, block, item));
    }
    let mut members: Vec<PackageId> = Vec::new();
    for &id in catalog.members(text).iter().filter(|id| is_meant(**id)) {
        if let Some(block) = blocked(request, catalog.name(id)) {
            let name = catalog.name(id);
            detail(reporter, &format!("`{name}` of the group `{text}` was left out: {} blocks it", block.source));
        } else if !members.iter().any(|other| catalog.name(*other) == catalog.name(id)) {
            members.push(id);
        }
    }
    match (members.is_empty(), &wanted.range) {
        (false, _) => Ok(members),
        (true, Some((_, version))) if !catalog.named(&wanted.name).is_empty() => {
            Err(explain::no_version(catalog, item, &wanted.name, version))
        }
        (true, _) => Err(explain::unknown(catalog, item, &wanted.name)),
    }
}

fn twice(catalog: &dyn Catalog, a: &Target<'_>, b: &Target<'_>) -> Error {
    let told = |target: &Target<'_>| asked_for(catalog, target);
    let texts = vec![told(a), format!("and {}", told(b)), "but only one of them can be there".to_owned()];
    Error::Unsolvable { wanted: vec![a.item.clone(), b.item.clone()], because: Step::chain(texts) }
}

// ---- libalpm's walk -------------------------------------------------------------------------------------------------

/// Finds a package for a constraint: by its name, else by what it provides, in the order of the repositories.
fn satisfier(catalog: &dyn Catalog, wanted: &Constraint, is_usable: &dyn Fn(PackageId) -> bool) -> Option<PackageId> {
    let fits = |id: &PackageId| match &wanted.range {
        None => true,
        Some((op, version)) => op.accepts(catalog.compare(catalog.version(*id), version)),
    };
    let literal = catalog.named(&wanted.name).iter().copied().find(|id| fits(id) && is_usable(*id));
    literal.or_else(|| {
        let others = catalog.providers(&wanted.name).iter().copied().filter(|id| catalog.name(*id) != wanted.name);
        others.into_iter().find(|id| catalog.meets(*id, wanted) && is_usable(*id))
    })
}

/// Why a package is chosen: which requirement of which other; `None` for a target.
type Pull = Option<(PackageId, usize)>;

struct Walk<'a> {
    request: &'a Request,
    catalog: &'a dyn Catalog,
    /// What the request names, in its order.
    preferred: Vec<PackageId>,
    chosen: Vec<PackageId>,
    names: HashMap<&'a str, PackageId>,
    pulls: HashMap<PackageId, Pull>,
    /// The packages between the request and the one that is looked at, each with its requirement that led on.
    trail: Vec<(PackageId, usize)>,
    failed: HashSet<PackageId>,
    /// Requirements that nothing meets, each with the way to it.
    causes: Vec<Vec<(PackageId, usize)>>,
}

/// A package that must be there cannot.
struct Failed;

impl<'a> Walk<'a> {
    fn requires(&self, id: PackageId) -> Result<&'a [crate::package::Requirement], Error> {
        self.catalog.relations(id).map(|relations| &relations.requires[..]).map_err(|refusal| refusal.clone().into())
    }

    fn is_met(&self, wanted: &Constraint) -> bool {
        let is_chosen = |id: &PackageId| self.names.get(self.catalog.name(*id)) == Some(id);
        self.catalog.offers(wanted).iter().any(is_chosen)
    }

    /// Chooses a package and what it requires. What was chosen in vain is taken back.
    fn choose(&mut self, id: PackageId, pull: Pull) -> Result<Result<(), Failed>, Error> {
        let name = self.catalog.name(id);
        if self.names.contains_key(name) {
            return Ok(Ok(()));
        }
        if self.failed.contains(&id) {
            return Ok(Err(Failed));
        }
        if self.chosen.len() >= limit::PACKAGES_MAX {
            return Err(Error::TooMany { found: self.chosen.len() + 1 });
        }
        let before = self.chosen.len();
        self.chosen.push(id);
        self.names.insert(name, id);
        self.pulls.insert(id, pull);
        let mut outcome = Ok(());
        for (place, requirement) in self.requires(id)?.iter().enumerate() {
            let wanted = &requirement.0[0];
            if self.catalog.meets(id, wanted) || self.is_met(wanted) {
                continue;
            }
            self.trail.push((id, place));
            let met = match self.find(wanted) {
                Some(next) => self.choose(next, Some((id, place)))?,
                None => {
                    self.causes.push(self.trail.clone());
                    Err(Failed)
                }
            };
            self.trail.pop();
            outcome = outcome.and(met);
        }
        if outcome.is_err() {
            self.failed.insert(id);
            for id in self.chosen.drain(before..) {
                self.names.remove(self.catalog.name(id));
                self.pulls.remove(&id);
            }
        }
        Ok(outcome)
    }

    fn find(&self, wanted: &Constraint) -> Option<PackageId> {
        let preferred = self.preferred.iter().copied().find(|id| self.catalog.meets(*id, wanted));
        let is_usable = |id: PackageId| {
            let name = self.catalog.name(id);
            !self.names.contains_key(name) && blocked(self.request, name).is_none()
        };
        preferred.or_else(|| satisfier(self.catalog, wanted, &is_usable))
    }

    /// Settles what refuses each other; returns the two that cannot be settled, and the constraint.
    fn settle(&mut self) -> Result<Option<(PackageId, PackageId, Constraint)>, Error> {
        let catalog = self.catalog;
        let places: HashMap<PackageId, usize> = self.chosen.iter().enumerate().map(|(place, &id)| (id, place)).collect();
        let mut clashes = Vec::new();
        for &id in &self.chosen {
            let relations: &Relations = catalog.relations(id).map_err(Clone::clone)?;
            for refused in &relations.conflicts {
                let mut others: Vec<(usize, PackageId)> =
                    catalog.offers(refused).into_iter().filter_map(|other| Some((*places.get(&other)?, other))).collect();
                others.sort_unstable();
                others.retain(|(_, other)| catalog.name(*other) != catalog.name(id));
                clashes.extend(others.into_iter().map(|(_, other)| (id, other, refused)));
            }
        }
        for (a, b, refused) in clashes {
            let is_there = |id: PackageId| self.names.get(catalog.name(id)) == Some(&id);
            if !is_there(a) || !is_there(b) {
                continue;
            }
            let goes = if catalog.meets(a, &relation::constraint(catalog.name(b))) {
                b
            } else if catalog.meets(b, &relation::constraint(catalog.name(a))) {
                a
            } else {
                return Ok(Some((a, b, refused.clone())));
            };
            self.names.remove(catalog.name(goes));
            self.chosen.retain(|id| *id != goes);
        }
        Ok(None)
    }

    /// Finds a requirement that what is left does not meet.
    fn unmet(&self) -> Result<Option<(PackageId, usize)>, Error> {
        for &id in &self.chosen {
            if let Some(place) = self.requires(id)?.iter().position(|requirement| !self.is_met(&requirement.0[0])) {
                return Ok(Some((id, place)));
            }
        }
        Ok(None)
    }
}

fn solve(request: &Request, targets: &[Target<'_>], catalog: &dyn Catalog) -> Result<Plan, Error> {
    let mut walk = Walk {
        request,
        catalog,
        preferred: targets.iter().map(|target| target.id).collect(),
        chosen: Vec::new(),
        names: HashMap::new(),
        pulls: HashMap::new(),
        trail: Vec::new(),
        failed: HashSet::new(),
        causes: Vec::new(),
    };
    let mut hopeless = None;
    for target in targets {
        if walk.choose(target.id, None)?.is_err() {
            hopeless.get_or_insert(target);
        }
    }
    if let Some(target) = hopeless {
        return Err(dead_end(&walk, target));
    }
    if let Some((a, b, refused)) = walk.settle()? {
        return Err(clash(&walk, targets, a, b, &refused));
    }
    if let Some((id, place)) = walk.unmet()? {
        return Err(broken(&walk, targets, id, place));
    }
    finish(&walk, targets)
}

fn finish(walk: &Walk<'_>, targets: &[Target<'_>]) -> Result<Plan, Error> {
    let is_blocked = |name: &str| blocked(walk.request, name).is_some();
    let mut pool = Pool::new(walk.catalog, false, &is_blocked);
    let chosen = walk.chosen.iter().map(|&id| (pool.name_of(id), id)).collect();
    let order = order::unpacking(&mut pool, &Choice { chosen, causes: HashMap::new() });
    let mut packages = Vec::with_capacity(order.len());
    for id in order {
        let package = walk.catalog.package(id)?;
        let reason = match (targets.iter().find(|target| target.id == id), puller(walk, id)?) {
            (Some(target), _) => Reason::Requested(target.item.clone()),
            (None, Some((by, place))) => Reason::Required {
                by: walk.catalog.name(by).to_owned(),
                requirement: as_written(&walk.requires(by)?[place].0[0]),
            },
            (None, None) => Reason::LeftOver,
        };
        let omitted = walk.request.omit.iter().any(|item| item.text == package.name);
        packages.push(Planned { package, reason, omitted, part: Part::Base });
    }
    Ok(Plan { packages })
}

/// Returns who asked for a package: whoever did so first, if it is still there, else another that requires it.
fn puller(walk: &Walk<'_>, id: PackageId) -> Result<Pull, Error> {
    let is_there = |id: PackageId| walk.names.get(walk.catalog.name(id)) == Some(&id);
    if let Some(&Some((by, place))) = walk.pulls.get(&id)
        && is_there(by)
    {
        return Ok(Some((by, place)));
    }
    for &by in walk.chosen.iter().filter(|by| **by != id) {
        let is_it = |requirement: &crate::package::Requirement| walk.catalog.meets(id, &requirement.0[0]);
        if let Some(place) = walk.requires(by)?.iter().position(is_it) {
            return Ok(Some((by, place)));
        }
    }
    Ok(None)
}

// ---- why not --------------------------------------------------------------------------------------------------------

/// Writes a constraint as pacman does: `libudev.so=1-64`.
fn as_written(constraint: &Constraint) -> String {
    match &constraint.range {
        None => constraint.name.clone(),
        Some((op, version)) => {
            let sign = match op {
                Op::Less => "<",
                Op::Greater => ">",
                other => other.as_str(),
            };
            format!("{}{sign}{version}", constraint.name)
        }
    }
}

fn named(catalog: &dyn Catalog, id: PackageId) -> String {
    format!("`{} {}`", catalog.name(id), catalog.version(id))
}

fn asked_for(catalog: &dyn Catalog, target: &Target<'_>) -> String {
    format!("{} wants {} from `{}`", target.item.source, named(catalog, target.id), catalog.repo(target.id))
}

fn requirement<'w>(walk: &Walk<'w>, (id, place): (PackageId, usize)) -> Result<&'w Constraint, Error> {
    Ok(&walk.requires(id)?[place].0[0])
}

/// Tells a requirement that ends a way of `steps` steps. Of a long one the middle is left out, so who requires it is named again.
fn last_requirement(catalog: &dyn Catalog, steps: usize, (by, _): (PackageId, usize), wanted: &str) -> String {
    match steps + 2 > explain::STEPS_MAX {
        true => format!("where {} requires `{wanted}`", named(catalog, by)),
        false => format!("which requires `{wanted}`"),
    }
}

/// Tells the way from a target to the requirement that nothing meets, and why nothing does.
fn dead_end(walk: &Walk<'_>, target: &Target<'_>) -> Error {
    explain_dead_end(walk, target).unwrap_or_else(|error| error)
}

fn explain_dead_end(walk: &Walk<'_>, target: &Target<'_>) -> Result<Error, Error> {
    let catalog = walk.catalog;
    let mut texts = vec![asked_for(catalog, target)];
    let no_way = Vec::new();
    let way = walk.causes.first().unwrap_or(&no_way);
    for (step, at) in way.iter().enumerate() {
        let wanted = as_written(requirement(walk, *at)?);
        texts.push(match way.get(step + 1) {
            Some((next, _)) => format!("which requires `{wanted}`, that is {}", named(catalog, *next)),
            None => last_requirement(catalog, texts.len(), *at, &wanted),
        });
    }
    if let Some(last) = way.last() {
        let wanted = requirement(walk, *last)?;
        let offers = catalog.offers(wanted);
        if let Some((name, block)) =
            offers.iter().find_map(|id| Some((catalog.name(*id), blocked(walk.request, catalog.name(*id))?)))
        {
            texts.push(format!("provided only by `{name}`, which {} blocks", block.source));
            let (name, block, because) = (name.to_owned(), Box::new(block.clone()), Step::chain(texts));
            return Ok(Error::Blocked { name, block, item: target.item.clone(), because });
        }
        let mut text = match catalog.named(&wanted.name) {
            [] => "which no package provides".to_owned(),
            _ => format!("but the repositories have {}", explain::versions(catalog, &wanted.name)),
        };
        text.push_str(&other_causes(walk, *last)?);
        texts.push(text);
    }
    Ok(Error::Unsolvable { wanted: vec![target.item.clone()], because: Step::chain(texts) })
}

/// Tells a few more requirements that nothing meets.
fn other_causes(walk: &Walk<'_>, first: (PackageId, usize)) -> Result<String, Error> {
    let mut told = String::new();
    let mut count = 0;
    for at in walk.causes.iter().filter_map(|way| way.last()).filter(|at| **at != first) {
        count += 1;
        if count <= CAUSES_MAX {
            let (wanted, by) = (as_written(requirement(walk, *at)?), walk.catalog.name(at.0));
            told.push_str(&format!("; nor does anything provide `{wanted}`, which `{by}` requires"));
        }
    }
    if count > CAUSES_MAX {
        told.push_str(&format!("; and so on for {} more", count - CAUSES_MAX));
    }
    Ok(told)
}

/// Tells the way from the request to a chosen package.
fn way<'t, 'r>(
    walk: &Walk<'_>,
    targets: &'t [Target<'r>],
    mut id: PackageId,
) -> Result<(Vec<String>, Option<&'t Target<'r>>), Error> {
    let mut texts = Vec::new();
    while let Some(&Some((by, place))) = walk.pulls.get(&id)
        && texts.len() <= walk.pulls.len()
    {
        let wanted = as_written(requirement(walk, (by, place))?);
        texts.push(format!("which requires `{wanted}`, that is {}", named(walk.catalog, id)));
        id = by;
    }
    let target = targets.iter().find(|target| target.id == id);
    texts.extend(target.map(|target| asked_for(walk.catalog, target)));
    texts.reverse();
    Ok((texts, target))
}

fn clash(walk: &Walk<'_>, targets: &[Target<'_>], a: PackageId, b: PackageId, refused: &Constraint) -> Error {
    let ways = way(walk, targets, a).and_then(|of_a| Ok((of_a, way(walk, targets, b)?)));
    let ((mut texts, target_a), (texts_b, target_b)) = match ways {
        Ok(ways) => ways,
        Err(error) => return error,
    };
    texts.extend(texts_b.into_iter().enumerate().map(|(place, text)| if place == 0 { format!("and {text}") } else { text }));
    texts.push(format!("but {} refuses `{}`, which is {}", named(walk.catalog, a), as_written(refused), named(walk.catalog, b)));
    let mut wanted: Vec<Item> = target_a.into_iter().chain(target_b).map(|target| target.item.clone()).collect();
    wanted.dedup();
    Error::Unsolvable { wanted, because: Step::chain(texts) }
}

/// Tells what is missing after one of two packages that refuse each other was left out.
fn broken(walk: &Walk<'_>, targets: &[Target<'_>], id: PackageId, place: usize) -> Error {
    let told = way(walk, targets, id).and_then(|way| Ok((way, requirement(walk, (id, place))?)));
    let ((mut texts, target), wanted) = match told {
        Ok(told) => told,
        Err(error) => return error,
    };
    texts.push(last_requirement(walk.catalog, texts.len(), (id, place), &as_written(wanted)));
    texts.push("which was left out because another package of the plan refuses it".to_owned());
    Error::Unsolvable { wanted: target.into_iter().map(|target| target.item.clone()).collect(), because: Step::chain(texts) }
}
