//! Answers a request as `apk add` does for an empty root: the same packages, or the same culprits.

mod graph;
mod order;
mod solve;
mod why;

use std::collections::{HashMap, VecDeque};

use super::{Blocked, Error, Part, Plan, Planned, Reason, Request, blocked, explain};
use crate::base::limit;
use crate::config::Item;
use crate::family::apk::relation::{self, Atom};
use crate::package::Catalog;
use crate::report::{Event, Reporter, Stage};
use graph::{Dep, Graph, NodeId};
use solve::{Solver, Wish};

/// Stack for the walk over the chosen packages, of which there are at most [`limit::PACKAGES_MAX`] in one another.
const STACK_BYTES: usize = 128 << 20;

/// A word of the request.
struct Wanted<'r> {
    item: &'r Item,
    atom: Atom,
    /// The bit of its tag; 1 without one.
    tag: u32,
}

/// Makes the plan.
pub fn plan(request: &Request, catalog: &dyn Catalog, reporter: &dyn Reporter) -> Result<Plan, Error> {
    let world = world(request, catalog, reporter)?;
    std::thread::scope(|scope| {
        let solver = std::thread::Builder::new().name("solve".into()).stack_size(STACK_BYTES);
        match solver.spawn_scoped(scope, || solve(request, &world, catalog)) {
            Ok(thread) => match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            },
            Err(_) => solve(request, &world, catalog),
        }
    })
}

/// Reads the request: of several words about one name the last counts, and they are taken in the order of names, as apk does.
fn world<'r>(request: &'r Request, catalog: &dyn Catalog, reporter: &dyn Reporter) -> Result<Vec<Wanted<'r>>, Error> {
    let mut world: Vec<Wanted<'r>> = Vec::new();
    for item in &request.packages {
        let (text, is_optional) = match item.text.trim().strip_suffix('?') {
            Some(text) => (text, true),
            None => (item.text.trim(), false),
        };
        let mut alternatives = Vec::new();
        for text in text.split('|').map(str::trim) {
            alternatives.push(read(item, text, catalog)?);
        }
        let can_be_had = |wanted: &Wanted<'_>| {
            let condition = &wanted.atom.condition;
            condition.refused || !catalog.offers(&condition.constraint).is_empty()
        };
        let place = match alternatives.iter().position(can_be_had) {
            None if is_optional => {
                let message = format!("`{text}`, wanted by {}, is not available and was left out", item.source);
                reporter.event(&Event::Detail { stage: Stage::Plan, message: &message });
                continue;
            }
            place => place.unwrap_or(0),
        };
        let wanted = alternatives.swap_remove(place);
        let name = |wanted: &Wanted<'_>| wanted.atom.condition.constraint.name.clone();
        match world.iter_mut().find(|other| name(other) == name(&wanted)) {
            Some(other) => *other = wanted,
            None => world.push(wanted),
        }
    }
    world.sort_by_cached_key(|wanted| {
        let name = &wanted.atom.condition.constraint.name;
        (name.to_ascii_lowercase(), name.clone())
    });
    Ok(world)
}

fn read<'r>(item: &'r Item, text: &str, catalog: &dyn Catalog) -> Result<Wanted<'r>, Error> {
    let refuse = |reason: String| Error::BadRequest { item: item.clone(), reason };
    let atom = relation::requested(text).ok_or_else(|| {
        refuse("wanted a name, with a tag as in `name@tag` or versions as in `name>=1.2` if you like".to_owned())
    })?;
    let tag = match &atom.tag {
        None => 0,
        Some(tag) => match catalog.tags().iter().position(|known| known == tag) {
            Some(place) => place + 1,
            None => return Err(refuse(format!("no repository has the tag `@{tag}`"))),
        },
    };
    Ok(Wanted { item, atom, tag: 1 << tag })
}

fn solve(request: &Request, world: &[Wanted<'_>], catalog: &dyn Catalog) -> Result<Plan, Error> {
    let is_blocked = |name: &str| blocked(request, name).is_some();
    let mut graph = Graph::new(catalog, &is_blocked);
    let wishes: Vec<Wish<'_>> = world
        .iter()
        .map(|wanted| {
            let constraint = &wanted.atom.condition.constraint;
            let dep = Dep { name: graph.name(&constraint.name), constraint, refused: wanted.atom.condition.refused };
            Wish { dep, tag: wanted.tag }
        })
        .collect();
    let mut solver = Solver::solve(&mut graph, &wishes).map_err(|_| Error::TooHard)?;
    let chosen = solver.chosen();
    if chosen > limit::PACKAGES_MAX {
        return Err(Error::TooMany { found: chosen });
    }
    let order = order::installing(&mut solver, wishes.iter().map(|wish| wish.dep));
    if solver.errors > 0 {
        return Err(why::not(request, world, &wishes, &mut solver, &order));
    }
    let mut reasons = reasons(world, &wishes, &solver, &order);
    let mut packages = Vec::with_capacity(order.len());
    for node in order {
        let package = catalog.package(solver.graph.nodes[node].id)?;
        let omitted = request.omit.iter().any(|item| item.text == package.name);
        let reason = reasons.remove(&node).unwrap_or(Reason::LeftOver);
        packages.push(Planned { package, reason, omitted, part: Part::Base });
    }
    Ok(Plan { packages })
}

/// Returns why each package is there: who is nearest to the request, and for what enters by itself its first condition.
fn reasons(world: &[Wanted<'_>], wishes: &[Wish<'_>], solver: &Solver<'_, '_>, order: &[NodeId]) -> HashMap<NodeId, Reason> {
    let mut reasons = HashMap::new();
    let mut queue = VecDeque::new();
    for (wanted, wish) in world.iter().zip(wishes).filter(|(_, wish)| !wish.dep.refused) {
        if let Some(chosen) = solver.names[wish.dep.name].chosen {
            reasons.entry(chosen.node).or_insert_with(|| {
                queue.push_back(chosen.node);
                Reason::Requested(wanted.item.clone())
            });
        }
    }
    let mut rest = order.iter();
    loop {
        while let Some(by) = queue.pop_front() {
            for dep in solver.graph.nodes[by].depends.iter().filter(|dep| !dep.refused) {
                if let Some(chosen) = solver.names[dep.name].chosen {
                    reasons.entry(chosen.node).or_insert_with(|| {
                        queue.push_back(chosen.node);
                        let by = solver.graph.names[solver.graph.nodes[by].name].text.to_owned();
                        Reason::Required { by, requirement: dep.constraint.to_string() }
                    });
                }
            }
        }
        let Some(&node) = rest.find(|node| !reasons.contains_key(*node)) else { return reasons };
        let conditions = &solver.graph.nodes[node].install_if;
        let first = conditions.iter().filter(|dep| !dep.refused).find_map(|dep| solver.names[dep.name].chosen);
        let reason = match first {
            Some(first) => Reason::Joined {
                with: solver.graph.names[solver.graph.nodes[first.node].name].text.to_owned(),
                conditions: conditions.iter().map(shown).collect::<Vec<_>>().join(", "),
            },
            None => Reason::LeftOver,
        };
        reasons.insert(node, reason);
        queue.push_back(node);
    }
}

fn shown(dep: &Dep<'_>) -> String {
    format!("{}{}", if dep.refused { "!" } else { "" }, dep.constraint)
}
