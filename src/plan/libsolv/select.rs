//! What the words of a request mean, as `dnf install` reads them: `name`, `name.arch`, `name-version-release`, something
//! provided, a path.

use super::pool::{Lit, Pool};
use crate::base::glob;
use crate::package::{Constraint, Op, Term};

/// Returns for each part of the request that a word is the packages that would meet it; nothing if none does.
pub fn select(pool: &Pool<'_>, text: &str) -> Vec<Vec<Lit>> {
    if let Some((name, version)) = text.split_once('=').filter(|(name, _)| !name.contains([' ', '<', '>'])) {
        let (name, version) = (name.trim(), version.trim());
        let wanted = Constraint { name: name.to_owned(), arch: None, range: Some((Op::Equal, version.to_owned())) };
        let found = filtered(&pool.named(name), |lit| pool.solvables.is_named(Pool::package(lit), &wanted));
        if !found.is_empty() {
            return vec![found];
        }
    }
    let forms = [with_arch(pool, text, true), with_arch(pool, text, false), by_name(pool, text), versioned(pool, text)];
    if let Some(found) = forms.into_iter().find(|found| !found.is_empty()) {
        return found;
    }
    if !is_glob(text) {
        let provided = pool.providers(pool.dep(&provide(text))).to_vec();
        return if provided.is_empty() { Vec::new() } else { vec![provided] };
    }
    let offered = pool.solvables.offering_like(&|name| glob::matches(text.as_bytes(), name.as_bytes()));
    let offered: Vec<Lit> = offered.into_iter().map(Pool::lit).collect();
    if text.starts_with('/') {
        return if offered.is_empty() { Vec::new() } else { vec![offered] };
    }
    by_names(pool, &offered)
}

fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Makes a part for each name of some packages.
fn by_names(pool: &Pool<'_>, lits: &[Lit]) -> Vec<Vec<Lit>> {
    let mut parts: Vec<Vec<Lit>> = Vec::new();
    for &lit in lits {
        match parts.iter_mut().find(|part| pool.name(part[0]) == pool.name(lit)) {
            Some(part) => part.push(lit),
            None => parts.push(vec![lit]),
        }
    }
    parts
}

fn filtered(lits: &[Lit], is_meant: impl Fn(Lit) -> bool) -> Vec<Lit> {
    lits.iter().copied().filter(|&lit| is_meant(lit)).collect()
}

/// Reads `name-[epoch:]version-release.arch` or `name.arch`: each architecture is a part of its own.
fn with_arch(pool: &Pool<'_>, text: &str, is_full: bool) -> Vec<Vec<Lit>> {
    let Some((rest, arch)) = text.rsplit_once('.') else { return Vec::new() };
    let found = match is_full {
        true => evr(rest, 2).map(|(name, evr)| matching(pool, name, evr)).unwrap_or_default(),
        false => pool.named(rest).to_vec(),
    };
    let found = filtered(&found, |lit| pool.arch(lit) == arch);
    if found.is_empty() { Vec::new() } else { vec![with_obsoleting(pool, found)] }
}

/// Reads a name or a glob of names: each name is a part of its own, with what takes its place.
fn by_name(pool: &Pool<'_>, text: &str) -> Vec<Vec<Lit>> {
    if !is_glob(text) {
        let found = pool.named(text).to_vec();
        return if found.is_empty() { Vec::new() } else { vec![with_obsoleting(pool, found)] };
    }
    let mut names: Vec<&str> = Vec::new();
    for name in pool.catalog.names() {
        if glob::matches(text.as_bytes(), name.as_bytes()) && !names.contains(&name) {
            names.push(name);
        }
    }
    names.into_iter().map(|name| with_obsoleting(pool, pool.named(name).to_vec())).collect()
}

/// Reads `name-[epoch:]version-release`, then `name-[epoch:]version`.
fn versioned(pool: &Pool<'_>, text: &str) -> Vec<Vec<Lit>> {
    for parts in [2, 1] {
        let found = evr(text, parts).map(|(name, evr)| matching(pool, name, evr)).unwrap_or_default();
        if !found.is_empty() {
            return vec![found];
        }
    }
    Vec::new()
}

/// Splits off so many parts after hyphens.
fn evr(text: &str, parts: usize) -> Option<(&str, &str)> {
    let at = text.rmatch_indices('-').nth(parts - 1)?.0;
    (at > 0).then(|| (&text[..at], &text[at + 1..]))
}

/// Finds packages by name and the very text of their version, its epoch only if one is named.
fn matching(pool: &Pool<'_>, name: &str, wanted: &str) -> Vec<Lit> {
    let has_release = wanted.contains('-');
    filtered(&pool.named(name), |lit| {
        let full = pool.version(lit);
        let version = if has_release { full } else { full.rsplit_once('-').map_or(full, |(version, _)| version) };
        let without_epoch = version.split_once(':').map_or(version, |(_, rest)| rest);
        version == wanted || without_epoch == wanted || wanted.strip_prefix("0:") == Some(version)
    })
}

/// Adds the packages that obsolete one of these.
fn with_obsoleting(pool: &Pool<'_>, mut found: Vec<Lit>) -> Vec<Lit> {
    let Some(&first) = found.first() else { return found };
    let meant = found.clone();
    for &id in pool.solvables.obsoleting(pool.name(first)) {
        let lit = Pool::lit(id);
        let obsoletes = pool.facts(lit).obsoletes.iter().any(|&dep| pool.obsoleted(dep).iter().any(|lit| meant.contains(lit)));
        if obsoletes && !found.contains(&lit) {
            found.push(lit);
        }
    }
    found.sort_unstable();
    found
}

/// Reads `name` or `name >= version`.
fn provide(text: &str) -> Term {
    for (sign, op) in
        [(" >= ", Op::GreaterEqual), (" <= ", Op::LessEqual), (" = ", Op::Equal), (" > ", Op::Greater), (" < ", Op::Less)]
    {
        if let Some((name, version)) = text.split_once(sign) {
            let range = Some((op, version.trim().to_owned()));
            return Term::One(Constraint { name: name.trim().to_owned(), arch: None, range });
        }
    }
    Term::One(Constraint::any(text))
}
