//! Says in a few plain steps why there is no solution, from the rules that cannot hold together.

use std::collections::{HashMap, HashSet, VecDeque};

use super::Job;
use super::pool::{DepId, Lit, Pool};
use super::rules::{Rule, RuleId, Why};
use crate::config::Item;
use crate::plan::explain::{no_version, unknown};
use crate::plan::{Blocked, Error, Request, Step, blocked};

/// Says that nothing is what a word of the request means.
pub fn unavailable(pool: &Pool<'_>, item: &Item, text: &str) -> Error {
    match text.split_once('=') {
        Some((name, version)) if !pool.named(name.trim()).is_empty() => {
            no_version(pool.catalog, item, name.trim(), version.trim())
        }
        Some((name, _)) if !name.contains([' ', '<', '>']) => unknown(pool.catalog, item, name.trim()),
        _ => unknown(pool.catalog, item, text),
    }
}

/// How a package comes in: by the request, or by what another requires.
#[derive(Clone, Copy)]
enum From {
    Job(usize),
    Required(Lit, DepId),
}

/// Explains a request that has no solution.
pub fn why_not(request: &Request, pool: &Pool<'_>, jobs: &[Job<'_>], rules: &[Rule], proof: &[RuleId]) -> Error {
    let involved: Vec<&Rule> = proof.iter().map(|&rule| &rules[rule]).collect();
    let from = ways(jobs, &involved);
    let mut wanted: Vec<Item> = Vec::new();
    let mut add = |job: usize| {
        let item = jobs[job].item;
        if !wanted.iter().any(|known| known.text == item.text) {
            wanted.push(item.clone());
        }
    };
    for rule in &involved {
        if let Why::Job(job) | Why::Best(job) = rule.why {
            add(job);
        }
    }
    let end = involved.iter().filter(|rule| is_end(rule)).min_by_key(|rule| rank(rule, &from));
    let Some(end) = end else {
        let text = "every way to meet what is asked for ends in packages that cannot be there together".to_owned();
        return Error::Unsolvable { wanted, because: Step::chain(vec![text]) };
    };
    let way = |lit: Lit| way(pool, jobs, &from, lit);
    let name = |lit: Lit| named(pool, lit);
    let texts = match end.why {
        Why::Nothing(lit, dep) => {
            let mut texts = way(lit);
            texts.push(format!("which requires `{}`", pool.term(dep)));
            texts.push(nothing(pool, dep));
            texts
        }
        Why::Unusable(lit) => {
            if let Some(block) = blocked(request, pool.name(lit)) {
                return blocked_by(pool, jobs, &from, lit, block, way(lit));
            }
            if let Err(refusal) = pool.catalog.relations(Pool::package(lit)) {
                return Error::Refused(refusal.clone());
            }
            let mut texts = way(lit);
            texts.push(format!("but {} is for an architecture that cannot be installed", name(lit)));
            texts
        }
        Why::Conflicts(a, b, dep) => {
            let but = format!("but {} conflicts with `{}`, that is {}", name(a), pool.term(dep), name(b));
            two(way(a), way(b), but)
        }
        Why::Obsoletes(a, b, dep) => {
            let but = format!("but {} takes the place of `{}`, that is {}", name(a), pool.term(dep), name(b));
            two(way(a), way(b), but)
        }
        Why::SameName(a, b) => two(way(a), way(b), format!("but only one of {} and {} can be there", name(a), name(b))),
        _ => {
            let lit = -end.first;
            let mut texts = way(lit);
            texts.push(format!("but {} is of an architecture for which there is a better one", name(lit)));
            texts
        }
    };
    Error::Unsolvable { wanted, because: Step::chain(texts) }
}

fn is_end(rule: &Rule) -> bool {
    !matches!(rule.why, Why::Requires(..) | Why::Job(_) | Why::Best(_) | Why::Learnt)
}

/// What nobody has explains more than who is in whose way, and what can be followed to the request more than what cannot.
fn rank(rule: &Rule, from: &HashMap<Lit, From>) -> (bool, u8) {
    let is_followed = rule.literals().all(|lit| lit > 0 || from.contains_key(&-lit));
    let kind = match rule.why {
        Why::Nothing(..) | Why::Unusable(_) => 0,
        Why::Conflicts(..) => 1,
        Why::Obsoletes(..) => 2,
        Why::Arch(_) => 3,
        _ => 4,
    };
    (!is_followed, kind)
}

/// Finds how packages come in, by the rules that matter alone.
fn ways(jobs: &[Job<'_>], rules: &[&Rule]) -> HashMap<Lit, From> {
    let mut from: HashMap<Lit, From> = HashMap::new();
    let mut queue = VecDeque::new();
    // The best versions are what is meant where only they will do.
    let is_best = |job: usize| rules.iter().any(|rule| rule.why == Why::Best(job));
    for rule in rules {
        if let Why::Job(job) | Why::Best(job) = rule.why
            && (matches!(rule.why, Why::Best(_)) || !is_best(job))
        {
            for lit in rule.literals().filter(|lit| *lit > 0 && jobs[job].candidates.contains(lit)) {
                if from.insert(lit, From::Job(job)).is_none() {
                    queue.push_back(lit);
                }
            }
        }
    }
    while let Some(by) = queue.pop_front() {
        for rule in rules {
            let Why::Requires(owner, dep) = rule.why else { continue };
            if owner != by {
                continue;
            }
            for lit in rule.literals().filter(|lit| *lit > 0) {
                if let std::collections::hash_map::Entry::Vacant(slot) = from.entry(lit) {
                    slot.insert(From::Required(by, dep));
                    queue.push_back(lit);
                }
            }
        }
    }
    from
}

fn named(pool: &Pool<'_>, lit: Lit) -> String {
    format!("`{} {}`", pool.name(lit), pool.version(lit))
}

/// Tells the way from the request to a package.
fn way(pool: &Pool<'_>, jobs: &[Job<'_>], from: &HashMap<Lit, From>, mut lit: Lit) -> Vec<String> {
    let mut texts = Vec::new();
    let mut passed = HashSet::new();
    while passed.insert(lit) {
        match from.get(&lit) {
            Some(From::Required(by, dep)) => {
                texts.push(format!("which requires `{}`, that is {}", pool.term(*dep), named(pool, lit)));
                lit = *by;
            }
            Some(From::Job(job)) => {
                let repo = pool.catalog.repo(Pool::package(lit));
                texts.push(format!("{} wants {} from `{repo}`", jobs[*job].item.source, named(pool, lit)));
                break;
            }
            None => break,
        }
    }
    texts.reverse();
    texts
}

fn two(first: Vec<String>, second: Vec<String>, but: String) -> Vec<String> {
    let mut texts = first;
    texts.extend(second.into_iter().enumerate().map(|(i, text)| if i == 0 { format!("and {text}") } else { text }));
    texts.push(but);
    texts
}

/// Says what there is instead of what nobody has.
fn nothing(pool: &Pool<'_>, dep: DepId) -> String {
    let mut others = Vec::new();
    pool.term(dep).each(&mut |constraint| {
        for &lit in pool.named(&constraint.name).iter() {
            others.push(format!("{} in `{}`", named(pool, lit), pool.catalog.repo(Pool::package(lit))));
        }
    });
    others.truncate(4);
    match others.is_empty() {
        true => "which no package provides".to_owned(),
        false => format!("which no package provides: the repositories have {}", others.join(", ")),
    }
}

fn blocked_by(
    pool: &Pool<'_>,
    jobs: &[Job<'_>],
    from: &HashMap<Lit, From>,
    lit: Lit,
    block: &Blocked,
    mut texts: Vec<String>,
) -> Error {
    let mut root = lit;
    let mut passed = HashSet::new();
    let mut job = 0;
    while passed.insert(root) {
        match from.get(&root) {
            Some(From::Required(by, _)) => root = *by,
            Some(From::Job(number)) => {
                job = *number;
                break;
            }
            None => break,
        }
    }
    texts.push(format!("which {} blocks", block.source));
    let name = pool.name(lit).to_owned();
    Error::Blocked { name, block: Box::new(block.clone()), item: jobs[job].item.clone(), because: Step::chain(texts) }
}
