//! Says in a few plain steps why there is no plan.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use super::sat::{self, NoSolution};
use super::solve::{Choice, Group, Pool};
use super::{Blocked, Error, Request, Wanted, blocked};
use crate::config::Item;
use crate::package::{Catalog, Constraint, PackageId};

/// Steps of an explanation: more than this nobody reads.
pub const STEPS_MAX: usize = 5;
/// Names that a message lists.
const NAMES_MAX: usize = 4;
/// Edits between a name and one that is suggested for it.
const EDITS_MAX: usize = 3;
/// How long the least part of a request is sought that still fails; more of it is told when that is not enough.
const SEARCH_MAX: Duration = Duration::from_secs(3);

/// One step of an explanation, and those that follow from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What is so: `which requires …`.
    pub text: String,
    /// Why.
    pub next: Option<Box<Step>>,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Step {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.next.as_ref().map(|next| &**next as _)
    }
}

impl Step {
    /// Makes a chain; of a long one the middle is counted instead of told.
    pub fn chain(mut texts: Vec<String>) -> Box<Self> {
        if texts.len() > STEPS_MAX {
            let end = texts.split_off(texts.len() - 2);
            let left_out = texts.split_off(STEPS_MAX - 3).len();
            texts.push(format!("and so on over {left_out} more packages"));
            texts.extend(end);
        }
        let mut next = None;
        for text in texts.into_iter().rev() {
            next = Some(Box::new(Step { text, next }));
        }
        next.unwrap_or_else(|| Box::new(Step { text: "no reason is known".to_owned(), next: None }))
    }
}

/// Says what cannot be done.
pub fn unsolvable(wanted: &[Item]) -> String {
    match wanted {
        [one] => format!("`{}` cannot be installed", one.text),
        _ => "the requested packages cannot be installed together".to_owned(),
    }
}

/// Says who provides a name that is none of a package.
pub fn provided(providers: &[String]) -> String {
    match providers {
        // apk takes not even the only one unasked, unless it says how it ranks among its like.
        [one] => format!("`{one}`, which provides it, must be asked for by its own name"),
        _ => "several provide it".to_owned(),
    }
}

/// Returns what the reader can do.
pub fn hints(error: &Error) -> Vec<String> {
    match error {
        Error::Unknown { similar, .. } if !similar.is_empty() => vec![format!("did you mean {}?", quoted(similar, "or"))],
        Error::Unknown { name, .. } => {
            vec![format!("look for `{name}` in other components or releases, and add that repository")]
        }
        Error::Ambiguous { providers, .. } => vec![format!("ask for one of them: {}", quoted(providers, "or"))],
        Error::Version { name, .. } => vec![format!("ask for `{name}` without a version")],
        Error::Unsolvable { wanted, .. } if wanted.len() > 1 => vec![format!("leave out one of {}", names_of(wanted))],
        Error::Unsolvable { wanted, .. } => vec![format!("leave out {}", names_of(wanted))],
        Error::Blocked { block, item, .. } => {
            vec![format!("leave out `{}`, or take the block out of {}", item.text, block.source)]
        }
        Error::TooHard => vec!["ask for fewer packages, or name versions and alternatives".to_owned()],
        _ => Vec::new(),
    }
}

fn names_of(items: &[Item]) -> String {
    quoted(&items.iter().map(|item| item.text.clone()).collect::<Vec<_>>(), "and")
}

fn quoted(names: &[String], word: &str) -> String {
    let mut shown: Vec<String> = names.iter().take(NAMES_MAX).map(|name| format!("`{name}`")).collect();
    let more = names.len() - shown.len();
    if more > 0 {
        shown.push(format!("{more} more"));
    }
    match shown.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} {word} {last}", rest.join(", ")),
        _ => shown.concat(),
    }
}

fn nowhere(catalog: &dyn Catalog) -> String {
    let repos: Vec<String> = catalog.repos().into_iter().map(str::to_owned).collect();
    match repos.len() {
        0 => "there is no repository".to_owned(),
        1 => format!("the only repository, {}, does not list it", quoted(&repos, "and")),
        count => format!("none of {count} repositories lists it: {}", quoted(&repos, "and")),
    }
}

/// Says that a requested name is not to be had.
pub fn unknown(catalog: &dyn Catalog, item: &Item, name: &str) -> Error {
    Error::Unknown {
        name: name.to_owned(),
        item: item.clone(),
        similar: similar(catalog, name),
        because: Step::chain(vec![nowhere(catalog)]),
    }
}

/// Says that a package has another version than the one requested.
pub fn no_version(catalog: &dyn Catalog, item: &Item, name: &str, wanted: &str) -> Error {
    let because = Step::chain(vec![format!("the repositories have {}", versions(catalog, name))]);
    Error::Version { name: name.to_owned(), wanted: wanted.to_owned(), item: item.clone(), because }
}

/// Says that a package was requested that must not enter.
pub fn blocked_request(name: &str, blocked: &Blocked, item: &Item) -> Error {
    let because = Step::chain(vec![format!("`{}` was asked for, and {} blocks `{}`", item.text, blocked.source, blocked.name)]);
    Error::Blocked { name: name.to_owned(), block: Box::new(blocked.clone()), item: item.clone(), because }
}

/// Lists the versions that there are of a package.
pub fn versions(catalog: &dyn Catalog, name: &str) -> String {
    let shown = catalog.named(name).iter().map(|&id| format!("`{name} {}` in `{}`", catalog.version(id), catalog.repo(id)));
    shown.take(NAMES_MAX).collect::<Vec<_>>().join(", ")
}

/// Returns names that may have been meant: few edits away, or longer by an ending.
fn similar(catalog: &dyn Catalog, name: &str) -> Vec<String> {
    let mut found: BTreeSet<(usize, &str)> = BTreeSet::new();
    let edits_max = EDITS_MAX.min(name.len() / 3);
    for other in catalog.names() {
        if let Some(edits) = edits(name.as_bytes(), other.as_bytes(), edits_max) {
            found.insert((edits, other));
        } else if name.len() >= 3 && other.starts_with(name) && other.len() <= name.len() + 8 {
            found.insert((EDITS_MAX + other.len() - name.len(), other));
        }
    }
    let best = found.first().map_or(0, |(edits, _)| *edits);
    found.into_iter().take_while(|(edits, _)| *edits <= best + 1).take(3).map(|(_, other)| other.to_owned()).collect()
}

/// Counts the letters to insert, delete, replace or swap with their neighbour; `None` if more than `max`.
fn edits(a: &[u8], b: &[u8], max: usize) -> Option<usize> {
    if a.len().abs_diff(b.len()) > max {
        return None;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        if row.iter().all(|&edits| edits > max) {
            return None;
        }
        before = std::mem::replace(&mut last, row);
    }
    Some(last[b.len()]).filter(|&edits| edits <= max)
}

/// Finds a requested package that nothing could make installable, and explains it. Far cheaper than asking the solver.
pub fn hopeless(request: &Request, wanted: &[Wanted<'_>], pool: &mut Pool<'_>) -> Option<Error> {
    wanted.iter().find_map(|wanted| {
        let dead = dead(pool, wanted.id);
        dead.contains_key(&wanted.id).then(|| dead_end(request, wanted, pool, &dead))
    })
}

/// Explains a request whose packages could each be installed, but not together.
pub fn why_not(wanted: &[Wanted<'_>], pool: &mut Pool<'_>) -> Error {
    let core = least_unsolvable(wanted, pool);
    let because = Step::chain(clash(&core, pool));
    Error::Unsolvable { wanted: core.iter().map(|wanted| wanted.item.clone()).collect(), because }
}

/// Returns the packages below one that can be in no solution at all, each with the requirement that nothing can meet.
fn dead(pool: &mut Pool<'_>, root: PackageId) -> HashMap<PackageId, usize> {
    let mut below = vec![root];
    let mut seen: HashSet<PackageId> = below.iter().copied().collect();
    let mut place = 0;
    while let Some(&id) = below.get(place) {
        place += 1;
        for group in pool.needs(id).iter().flat_map(|needs| &needs.groups) {
            for offer in offers(pool, group) {
                if pool.is_usable(offer) && seen.insert(offer) {
                    pool.name_of(offer);
                    below.push(offer);
                }
            }
        }
    }
    // From the leaves up, so that a reason is always older than what it explains.
    let mut dead: HashMap<PackageId, usize> = HashMap::new();
    loop {
        let known = dead.len();
        for &id in below.iter().rev() {
            let Some(needs) = pool.needs(id).filter(|_| !dead.contains_key(&id)) else { continue };
            let is_dead_end = |group: &Group| {
                group.critical && offers(pool, group).iter().all(|offer| !pool.is_usable(*offer) || dead.contains_key(offer))
            };
            if let Some(group) = needs.groups.iter().position(is_dead_end) {
                dead.insert(id, group);
            }
        }
        if dead.len() == known {
            return dead;
        }
    }
}

fn offers(pool: &Pool<'_>, group: &Group) -> Vec<PackageId> {
    group.members.iter().flat_map(|&member| pool.target_at(member).offers.iter().copied()).collect()
}

fn named(pool: &Pool<'_>, id: PackageId) -> String {
    format!("`{} {}`", pool.catalog.name(id), pool.catalog.version(id))
}

/// Follows requirements that nothing can meet to where they end: a name that nobody has, a version, a block.
fn dead_end(request: &Request, wanted: &Wanted<'_>, pool: &mut Pool<'_>, dead: &HashMap<PackageId, usize>) -> Error {
    let mut texts = vec![asked_for(wanted, pool)];
    let mut id = wanted.id;
    let mut passed = HashSet::new();
    while passed.insert(id)
        && let Some(&place) = dead.get(&id)
        && let Some(needs) = pool.needs(id)
    {
        let group = &needs.groups[place];
        let requirement = requirement(pool, id, group);
        let offered = offers(pool, group);
        if let Some(&next) = offered.iter().find(|offer| pool.is_usable(**offer)) {
            texts.push(format!("which requires `{requirement}`, that is {}", named(pool, next)));
            id = next;
            continue;
        }
        texts.push(format!("which requires `{requirement}`"));
        if let Some((name, block)) = offered.iter().find_map(|&offer| {
            let name = pool.catalog.name(offer);
            Some((name, blocked(request, name)?))
        }) {
            texts.push(format!("provided only by `{name}`, which {} blocks", block.source));
            let (name, block) = (name.to_owned(), Box::new(block.clone()));
            return Error::Blocked { name, block, item: wanted.item.clone(), because: Step::chain(texts) };
        }
        if let Some(refusal) = offered.iter().find_map(|&offer| pool.catalog.relations(offer).err()) {
            return Error::Refused(refusal.clone());
        }
        let constraints = group.members.iter().map(|&member| &pool.target_at(member).constraint);
        let other = constraints.into_iter().find(|constraint| !pool.catalog.named(&constraint.name).is_empty());
        texts.push(match other {
            Some(Constraint { name, .. }) => format!("but the repositories have {}", versions(pool.catalog, name)),
            None => "which no package provides".to_owned(),
        });
        break;
    }
    Error::Unsolvable { wanted: vec![wanted.item.clone()], because: Step::chain(texts) }
}

fn asked_for(wanted: &Wanted<'_>, pool: &Pool<'_>) -> String {
    format!("{} wants {} from `{}`", wanted.item.source, named(pool, wanted.id), pool.catalog.repo(wanted.id))
}

fn requirement(pool: &Pool<'_>, id: PackageId, group: &Group) -> String {
    pool.catalog.relations(id).map(|relations| relations.requires[group.place].to_string()).unwrap_or_default()
}

/// Leaves out of the request what it fails without, one after the other.
fn least_unsolvable<'w, 'r>(wanted: &'w [Wanted<'r>], pool: &mut Pool<'_>) -> Vec<&'w Wanted<'r>> {
    let mut core: Vec<&Wanted<'_>> = wanted.iter().collect();
    let until = Instant::now() + SEARCH_MAX;
    let fails = |core: &[&Wanted<'_>], pool: &mut Pool<'_>| {
        let ids: Vec<PackageId> = core.iter().map(|wanted| wanted.id).collect();
        Instant::now() < until && sat::solve(pool, &ids, &Choice::default()) == Err(NoSolution::Unsolvable)
    };
    // Halves first: of a long request all but two or three names are without fault.
    let mut size = core.len() / 2;
    while size > 0 {
        let mut start = 0;
        while start < core.len() && core.len() > 1 {
            let rest: Vec<_> = core[..start].iter().chain(core.iter().skip(start + size)).copied().collect();
            if !rest.is_empty() && fails(&rest, pool) {
                core = rest;
            } else {
                start += size;
            }
        }
        size /= 2;
    }
    core
}

/// Looks for two packages that refuse each other among those that the request leaves no choice about.
fn clash(core: &[&Wanted<'_>], pool: &mut Pool<'_>) -> Vec<String> {
    let mut parents: HashMap<PackageId, Option<(PackageId, usize)>> = core.iter().map(|wanted| (wanted.id, None)).collect();
    let mut queue: VecDeque<PackageId> = core.iter().map(|wanted| wanted.id).collect();
    let mut forced: Vec<PackageId> = Vec::new();
    while let Some(id) = queue.pop_front() {
        forced.push(id);
        if let Some((a, b, constraint)) = refusal(pool, &forced) {
            let mut texts = path(pool, core, &parents, a);
            texts.extend(path(pool, core, &parents, b).into_iter().enumerate().map(|(i, text)| match i {
                0 => format!("and {text}"),
                _ => text,
            }));
            texts.push(match constraint {
                Some(constraint) => format!("but {} refuses `{constraint}`", named(pool, a)),
                None => format!("but only one of {} and {} can be there", named(pool, a), named(pool, b)),
            });
            return texts;
        }
        let Some(needs) = pool.needs(id) else { continue };
        for (place, group) in needs.groups.iter().enumerate().filter(|(_, group)| group.critical) {
            let mut usable = offers(pool, group);
            usable.retain(|&offer| pool.is_usable(offer));
            usable.dedup();
            if let [only] = usable[..]
                && !parents.contains_key(&only)
            {
                parents.insert(only, Some((id, place)));
                queue.push_back(only);
            }
        }
    }
    let texts = core.iter().map(|wanted| asked_for(wanted, pool));
    let mut texts: Vec<String> = texts.take(STEPS_MAX - 1).collect();
    texts.push("and every way to meet what they require ends in packages that refuse each other".to_owned());
    texts
}

/// Finds whom the last of some packages refuses, or who refuses it.
fn refusal(pool: &mut Pool<'_>, forced: &[PackageId]) -> Option<(PackageId, PackageId, Option<Constraint>)> {
    let (&new, others) = forced.split_last()?;
    for &other in others {
        if pool.name_of(other) == pool.name_of(new) {
            return Some((other, new, None));
        }
        for (a, b) in [(new, other), (other, new)] {
            let needs = pool.needs(a)?;
            if let Some(&target) = needs.conflicts.iter().find(|&&target| pool.target_at(target).offers.contains(&b)) {
                return Some((a, b, Some(pool.target_at(target).constraint.clone())));
            }
        }
    }
    None
}

/// Tells the way from the request to a package.
fn path(
    pool: &mut Pool<'_>,
    core: &[&Wanted<'_>],
    parents: &HashMap<PackageId, Option<(PackageId, usize)>>,
    mut id: PackageId,
) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some(&Some((by, place))) = parents.get(&id)
        && let Some(needs) = pool.needs(by)
    {
        let requirement = requirement(pool, by, &needs.groups[place]);
        texts.push(format!("which requires `{requirement}`, that is {}", named(pool, id)));
        id = by;
    }
    texts.extend(core.iter().find(|wanted| wanted.id == id).map(|wanted| asked_for(wanted, pool)));
    texts.reverse();
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_edits() {
        for (a, b, count) in [
            ("abc", "abc", Some(0)),
            ("systemd-crypsetup", "systemd-cryptsetup", Some(1)),
            ("sysetmd", "systemd", Some(1)),
            ("abcdef", "ghijkl", None),
            ("a", "abcdefgh", None),
        ] {
            assert_eq!(edits(a.as_bytes(), b.as_bytes(), 3), count, "{a} {b}");
        }
    }

    #[test]
    fn a_long_chain_keeps_its_ends() {
        let texts: Vec<String> = (0..9).map(|i| i.to_string()).collect();
        let mut step = Some(Step::chain(texts));
        let mut told = Vec::new();
        while let Some(now) = step {
            told.push(now.text.clone());
            step = now.next;
        }
        assert_eq!(told, ["0", "1", "and so on over 5 more packages", "7", "8"]);
    }
}
