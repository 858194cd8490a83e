//! Boolean dependencies in normal form: blocks of literals, of which all (conjunctive) or one (disjunctive) must be true.

use super::pool::{Dep, DepId, Lit, Pool};
use crate::package::Word;

/// Blocks that a dependency may become; written to be hard, a few words make millions.
const BLOCKS_MAX: usize = 10_000;

/// A dependency in normal form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Normal {
    /// It cannot be met.
    Never,
    /// It is always met.
    Always,
    /// Blocks of ascending literals.
    Blocks(Vec<Vec<Lit>>),
}

/// Which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// All blocks must hold, each by one of its literals.
    Conjunctive,
    /// One block must hold, by all of its literals.
    Disjunctive,
}

impl Form {
    fn other(self) -> Self {
        match self {
            Form::Conjunctive => Form::Disjunctive,
            Form::Disjunctive => Form::Conjunctive,
        }
    }
}

/// Returns a dependency in normal form.
pub fn normalize(pool: &Pool<'_>, dep: DepId, form: Form) -> Normal {
    let Dep::Join(word, a, b) = pool.dep_at(dep) else { return simple(pool, dep, form) };
    if !pool.is_complex(dep) {
        return simple(pool, dep, form);
    }
    let not = |dep| invert(normalize(pool, dep, form.other()));
    let of = |dep| normalize(pool, dep, form);
    match (word, pool.dep_at(b)) {
        // a if b else c: (a or not b) and (c or b)
        (Word::If, Dep::Join(Word::Else, condition, other)) => {
            let first = either(of(a), not(condition), form);
            both(first, either(of(condition), of(other), form), form)
        }
        // a unless b else c: (a and not b) or (c and b)
        (Word::Unless, Dep::Join(Word::Else, condition, other)) => {
            let first = both(of(a), not(condition), form);
            either(first, both(of(condition), of(other), form), form)
        }
        (Word::If, _) => either(of(a), not(b), form),
        (Word::Unless, _) => both(of(a), not(b), form),
        (Word::Or, _) => either(of(a), of(b), form),
        _ => both(of(a), of(b), form),
    }
}

/// Turns what is needed into what must not be; conjunctive becomes disjunctive and the other way round.
pub fn invert(normal: Normal) -> Normal {
    match normal {
        Normal::Never => Normal::Always,
        Normal::Always => Normal::Never,
        Normal::Blocks(blocks) => {
            Normal::Blocks(blocks.into_iter().map(|block| block.into_iter().rev().map(|lit| -lit).collect()).collect())
        }
    }
}

fn simple(pool: &Pool<'_>, dep: DepId, form: Form) -> Normal {
    if pool.is_of_rpm(dep) {
        return Normal::Always;
    }
    let providers = pool.providers(dep);
    match form {
        _ if providers.is_empty() => Normal::Never,
        Form::Conjunctive => Normal::Blocks(vec![providers.to_vec()]),
        Form::Disjunctive => Normal::Blocks(providers.iter().map(|&lit| vec![lit]).collect()),
    }
}

fn both(a: Normal, b: Normal, form: Form) -> Normal {
    match (a, b) {
        (Normal::Never, _) | (_, Normal::Never) => Normal::Never,
        (Normal::Always, other) | (other, Normal::Always) => other,
        (Normal::Blocks(a), Normal::Blocks(b)) if form == Form::Conjunctive => Normal::Blocks([a, b].concat()),
        (Normal::Blocks(a), Normal::Blocks(b)) => distribute(&a, &b, Normal::Never),
    }
}

fn either(a: Normal, b: Normal, form: Form) -> Normal {
    match (a, b) {
        (Normal::Always, _) | (_, Normal::Always) => Normal::Always,
        (Normal::Never, other) | (other, Normal::Never) => other,
        (Normal::Blocks(a), Normal::Blocks(b)) if form == Form::Disjunctive => Normal::Blocks([a, b].concat()),
        (Normal::Blocks(a), Normal::Blocks(b)) => distribute(&a, &b, Normal::Always),
    }
}

/// Joins each block with each other; one with a literal and its opposite says nothing.
fn distribute(a: &[Vec<Lit>], b: &[Vec<Lit>], empty: Normal) -> Normal {
    if a.len().saturating_mul(b.len()) > BLOCKS_MAX {
        return Normal::Never;
    }
    let mut blocks = Vec::new();
    for first in a {
        for second in b {
            let mut block = [&first[..], &second[..]].concat();
            block.sort_unstable();
            block.dedup();
            if !block.iter().any(|lit| *lit > 0 && block.binary_search(&-lit).is_ok()) {
                blocks.push(block);
            }
        }
    }
    if blocks.is_empty() { empty } else { Normal::Blocks(blocks) }
}
