//! Puts the chosen packages in the order in which apk installs them, and finds what does not hold after all.

use super::graph::{Dep, NameId, NodeId};
use super::solve::Solver;

/// Walks from the request to what it needs.
struct Walk<'s, 'g, 'c> {
    solver: &'s mut Solver<'g, 'c>,
    /// By name; names that are first met later have not been passed.
    passed: Vec<bool>,
    is_placed: Vec<bool>,
    order: Vec<NodeId>,
}

/// Returns the packages in apk's order: what one needs comes before it unless both need each other, and what enters by itself comes
/// after the last of its conditions. Errors that show only now are noted in the solver.
pub fn installing<'c>(solver: &mut Solver<'_, 'c>, world: impl Iterator<Item = Dep<'c>>) -> Vec<NodeId> {
    let (names, nodes) = (solver.names.len(), solver.nodes.len());
    let mut walk = Walk { solver, passed: vec![false; names], is_placed: vec![false; nodes], order: Vec::new() };
    for dep in world {
        walk.need(None, &dep);
    }
    walk.order
}

impl<'c> Walk<'_, '_, 'c> {
    fn need(&mut self, owner: Option<NodeId>, dep: &Dep<'c>) {
        let chosen = self.solver.names[dep.name].chosen;
        if !self.solver.is_met(owner, dep, chosen) {
            self.solver.mark_error(owner);
        }
        self.place(dep.name);
        if chosen.is_some_and(|chosen| self.solver.nodes[chosen.node].has_error) {
            self.solver.mark_error(owner);
        }
    }

    fn place(&mut self, name: NameId) {
        if std::mem::replace(&mut self.passed[name], true) {
            return;
        }
        let Some(node) = self.solver.names[name].chosen.map(|chosen| chosen.node) else { return };
        if std::mem::replace(&mut self.is_placed[node], true) {
            return;
        }
        let own = self.solver.graph.nodes[node].name;
        let provides = self.solver.graph.nodes[node].provides.clone();
        let offered = || [own].into_iter().chain(provides.iter().map(|(name, _)| *name));
        offered().for_each(|name| self.passed[name] = true);
        for dep in &*self.solver.graph.nodes[node].depends.clone() {
            self.need(Some(node), dep);
        }
        self.order.push(node);
        for name in offered() {
            for &trigger in &*self.solver.graph.triggers(name) {
                self.join(trigger);
            }
        }
    }

    /// Places what enters by itself if all that it waits for has been placed.
    fn join(&mut self, name: NameId) {
        let Some(state) = self.solver.names.get(name) else { return };
        let Some(node) = state.chosen.map(|chosen| chosen.node).filter(|_| !self.passed[name]) else { return };
        let holds = |dep: &Dep<'c>| {
            (dep.refused || self.passed[dep.name]) && self.solver.is_met(Some(node), dep, self.solver.names[dep.name].chosen)
        };
        if self.solver.graph.names[name].is_seen && self.solver.graph.nodes[node].install_if.iter().all(holds) {
            self.place(name);
        }
    }
}
