//! Which of several packages is taken: libsolv's order of preferences.

use std::cmp::Ordering;

use super::pool::{Lit, Pool};
use crate::package::{Excluded, Op};

/// Leaves the best: those of the highest priority, of the best architecture, of each name the highest version, and none
/// that another takes the place of.
pub fn prune(pool: &Pool<'_>, list: &mut Vec<Lit>) {
    let priority = |lit: Lit| pool.solvables.priority(Pool::package(lit));
    if let Some(best) = list.iter().map(|&lit| priority(lit)).max() {
        list.retain(|&lit| priority(lit) == best);
    }
    if list.len() > 1 && pool.has_arches() {
        best_arch(pool, list);
    }
    if list.len() > 1 {
        best_version(pool, list);
    }
}

fn best_arch(pool: &Pool<'_>, list: &mut Vec<Lit>) {
    let Some(best) = list.iter().map(|&lit| pool.score(lit)).filter(|score| *score > 1).min() else { return };
    list.retain(|&lit| pool.score(lit) == 1 || pool.score(lit) == best);
}

fn best_version(pool: &Pool<'_>, list: &mut Vec<Lit>) {
    list.sort_by(|&a, &b| {
        pool.name(a).as_bytes().cmp(pool.name(b).as_bytes()).then_with(|| {
            let (first, second) = (pool.score(a), pool.score(b));
            if first > 1 && second > 1 { first.cmp(&second) } else { Ordering::Equal }.then(a.cmp(&b))
        })
    });
    let mut best: Vec<Lit> = Vec::new();
    for &lit in list.iter() {
        match best.last_mut() {
            Some(last) if pool.name(*last) == pool.name(lit) => {
                if pool.catalog.compare(pool.version(*last), pool.version(lit)).is_lt() {
                    *last = lit;
                }
            }
            _ => best.push(lit),
        }
    }
    *list = best;
    if list.len() > 1 {
        drop_obsoleted(pool, list);
    }
}

/// Drops what another in the list, of another name, obsoletes; those that obsolete each other all stay.
fn drop_obsoleted(pool: &Pool<'_>, list: &mut Vec<Lit>) {
    let count = list.len();
    // Who obsoletes whom, then who does so over others.
    let mut above = vec![false; count * count];
    for (i, &lit) in list.iter().enumerate() {
        for &dep in &pool.facts(lit).obsoletes {
            for other in pool.obsoleted(dep) {
                if pool.name(other) != pool.name(lit)
                    && let Some(j) = list.iter().position(|member| *member == other)
                {
                    above[i * count + j] = true;
                }
            }
        }
    }
    for middle in 0..count {
        for i in 0..count {
            if above[i * count + middle] {
                for j in 0..count {
                    above[i * count + j] |= above[middle * count + j];
                }
            }
        }
    }
    let mut place = 0;
    list.retain(|_| {
        let j = place;
        place += 1;
        !(0..count).any(|i| above[i * count + j] && !above[j * count + i])
    });
}

/// Brings those to the back for which there is something better of the same name that was not offered; what is excluded counts, for dnf
/// has libsolv know it and only never take it (`POOL_FLAG_WHATPROVIDESWITHDISABLED`).
pub fn dislike_old_versions(pool: &Pool<'_>, list: &mut Vec<Lit>) {
    let of = |lit: Lit| Excluded {
        arch: pool.arch(lit),
        version: pool.version(lit),
        priority: pool.solvables.priority(Pool::package(lit)),
    };
    let is_old = |lit: Lit| {
        let this = of(lit);
        let named = pool.named(pool.name(lit));
        let others = named.iter().filter(|&&other| other != lit).map(|&other| of(other));
        let mut others = others.chain(pool.solvables.excluded(pool.name(lit))).filter(|other| other.arch == this.arch);
        others.any(|other| match this.priority.cmp(&other.priority) {
            Ordering::Greater => false,
            Ordering::Less => true,
            Ordering::Equal => pool.catalog.compare(other.version, this.version).is_gt(),
        })
    };
    to_back(list, is_old);
}

/// Moves what is meant behind the rest; both keep their order.
pub fn to_back(list: &mut Vec<Lit>, is_meant: impl Fn(Lit) -> bool) {
    let (back, mut front): (Vec<Lit>, Vec<Lit>) = list.iter().partition(|lit| is_meant(**lit));
    front.extend(back);
    *list = front;
}

/// Of packages that offer the same in different versions, brings those with higher versions to the front.
pub fn sort_by_common_offers(pool: &Pool<'_>, list: &mut Vec<Lit>) {
    struct Offer<'o> {
        place: usize,
        name: &'o str,
        version: &'o str,
        is_below: bool,
    }
    let mut offers: Vec<Offer<'_>> = Vec::new();
    for (place, &lit) in list.iter().enumerate() {
        let Some(terms) = pool.terms(lit) else { continue };
        for offer in &terms.provides {
            let Some((op, version)) = &offer.range else { continue };
            let is_hash = version.len() >= 4 && version.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            match op {
                Op::Equal if is_hash => continue,
                Op::Equal | Op::LessEqual | Op::Less => {}
                // The fuzzy ones are apk's alone.
                _ => continue,
            }
            offers.push(Offer { place, name: &offer.name, version, is_below: *op == Op::Less });
        }
    }
    if offers.len() < 2 {
        return;
    }
    let order = |a: &Offer<'_>, b: &Offer<'_>| {
        pool.solvables.compare_loosely(b.version, a.version).then_with(|| match (a.is_below, b.is_below) {
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            _ => Ordering::Equal,
        })
    };
    offers.sort_by(|a, b| a.name.cmp(b.name).then_with(|| order(a, b)));
    let mut badness = vec![0_u32; list.len()];
    let mut bad = 0;
    for (i, offer) in offers.iter().enumerate() {
        match i.checked_sub(1).map(|before| &offers[before]).filter(|before| before.name == offer.name) {
            None => bad = 0,
            Some(before) if before.place != offer.place && order(before, offer).is_lt() => bad += 1,
            Some(_) => {}
        }
        badness[offer.place] += bad;
    }
    let mut places: Vec<usize> = (0..list.len()).collect();
    places.sort_by_key(|place| badness[*place]);
    *list = places.into_iter().map(|place| list[place]).collect();
}
