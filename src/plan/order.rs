//! Puts the packages of a choice in the order of unpacking.

use std::collections::BTreeMap;

use super::solve::{Choice, Pool};
use crate::package::PackageId;

/// Returns the packages so that what one requires comes before it; the members of a cycle stand together in order of
/// name. Depends on nothing but the choice.
pub fn unpacking(pool: &mut Pool<'_>, choice: &Choice) -> Vec<PackageId> {
    let by_name: BTreeMap<&str, PackageId> = choice.chosen.values().map(|&id| (pool.catalog.name(id), id)).collect();
    let ids: Vec<PackageId> = by_name.into_values().collect();
    let places: BTreeMap<PackageId, usize> = ids.iter().enumerate().map(|(place, &id)| (id, place)).collect();
    let edges: Vec<Vec<usize>> = ids
        .iter()
        .map(|&id| {
            let Some(needs) = pool.needs(id) else { return Vec::new() };
            let members = needs.groups.iter().filter(|group| group.critical).flat_map(|group| &group.members);
            let offers = members.flat_map(|&member| &pool.target_at(member).offers);
            let mut required: Vec<usize> = offers.filter_map(|offer| places.get(offer).copied()).collect();
            required.sort_unstable();
            required.dedup();
            required
        })
        .collect();
    components(&edges).into_iter().flatten().map(|place| ids[place]).collect()
}

/// Returns the strongly connected components, each sorted, those that others point to first (Tarjan's algorithm, with
/// a stack of its own because the depth is the input's).
pub fn components(edges: &[Vec<usize>]) -> Vec<Vec<usize>> {
    const NEW: usize = usize::MAX;
    let mut numbers = vec![NEW; edges.len()];
    let mut lowest = vec![NEW; edges.len()];
    let mut is_open = vec![false; edges.len()];
    let (mut open, mut found, mut count) = (Vec::new(), Vec::new(), 0);
    for root in 0..edges.len() {
        if numbers[root] != NEW {
            continue;
        }
        let mut path = vec![(root, 0)];
        while let Some((node, next)) = path.last_mut() {
            let node = *node;
            if *next == 0 {
                (numbers[node], lowest[node], is_open[node]) = (count, count, true);
                count += 1;
                open.push(node);
            }
            if let Some(&to) = edges[node].get(*next) {
                *next += 1;
                if numbers[to] == NEW {
                    path.push((to, 0));
                } else if is_open[to] {
                    lowest[node] = lowest[node].min(numbers[to]);
                }
                continue;
            }
            path.pop();
            if let Some(&(parent, _)) = path.last() {
                lowest[parent] = lowest[parent].min(lowest[node]);
            }
            if lowest[node] == numbers[node] {
                let from = open.iter().rposition(|&other| other == node).expect("invariant: an open node is on the stack");
                let mut component = open.split_off(from);
                component.iter().for_each(|&member| is_open[member] = false);
                component.sort_unstable();
                found.push(component);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::components;

    #[test]
    fn what_is_pointed_to_comes_first_and_cycles_stay_together() {
        // 0 → 1 ⇄ 3, 2 → 0, 4 alone, 5 points to itself.
        let edges = [vec![1], vec![3], vec![0], vec![1], vec![], vec![5]];
        assert_eq!(components(&edges), [vec![1, 3], vec![0], vec![2], vec![4], vec![5]]);
    }

    #[test]
    fn a_long_chain_needs_no_stack() {
        let edges: Vec<Vec<usize>> = (0..200_000).map(|i| if i < 199_999 { vec![i + 1] } else { vec![] }).collect();
        assert_eq!(components(&edges).first(), Some(&vec![199_999]));
    }
}
