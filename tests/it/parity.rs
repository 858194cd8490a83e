//! Our tree of a package list against the root that Debian's own tools make of it, maintainer scripts and all.

use std::collections::{BTreeMap, BTreeSet};

use mkinitrd_pkg::base::glob::Glob;
use mkinitrd_pkg::tree::{Entry, Kind, Tree, TreePath};

use crate::finalize::apply_profile;
use crate::trixie::roots;

/// A difference that is accepted, and why.
struct Accepted {
    line: usize,
    paths: Glob,
    what: BTreeSet<String>,
}

fn accepted(table: &str) -> Vec<Accepted> {
    let mut rows = Vec::new();
    for (number, text) in table.lines().enumerate().filter(|(_, text)| !text.is_empty() && !text.starts_with('#')) {
        let fields: Vec<&str> = text.split('\t').collect();
        let [paths, what, reason] = fields[..] else { panic!("line {}: wanted glob, what and reason", number + 1) };
        assert!(reason.len() > 10, "line {}: `{reason}` is no reason", number + 1);
        let what: BTreeSet<String> = what.split(',').map(str::to_owned).collect();
        let known = ["missing", "extra", "type", "mode", "owner", "target", "content"];
        assert!(what.iter().all(|word| known.contains(&word.as_str())), "line {}: {what:?}", number + 1);
        rows.push(Accepted { line: number + 1, paths: Glob::new(paths).expect("a pattern"), what });
    }
    rows
}

/// Returns in what two entries differ.
fn differences(ours: &Entry, theirs: &Entry) -> Vec<&'static str> {
    let mut what = Vec::new();
    match (&ours.kind, &theirs.kind) {
        (Kind::File(a), Kind::File(b)) if a != b => what.push("content"),
        (Kind::Symlink(a), Kind::Symlink(b)) if a != b => what.push("target"),
        (a, b) if std::mem::discriminant(a) != std::mem::discriminant(b) => what.push("type"),
        _ => {}
    }
    let link = matches!(ours.kind, Kind::Symlink(_));
    if ours.meta.mode != theirs.meta.mode && !link && !what.contains(&"type") {
        what.push("mode");
    }
    if (ours.meta.uid, ours.meta.gid) != (theirs.meta.uid, theirs.meta.gid) {
        what.push("owner");
    }
    what
}

fn compare(ours: &Tree, theirs: &Tree) -> BTreeMap<TreePath, Vec<&'static str>> {
    let paths: BTreeSet<&TreePath> = ours.iter().chain(theirs.iter()).map(|(path, _)| path).collect();
    let what = |path: &TreePath| match (ours.get(path), theirs.get(path)) {
        (Some(ours), Some(theirs)) => differences(ours, theirs),
        (Some(_), None) => vec!["extra"],
        _ => vec!["missing"],
    };
    paths.into_iter().map(|path| (path.clone(), what(path))).filter(|(_, what)| !what.is_empty()).collect()
}

#[test]
fn trixie_is_what_the_maintainer_scripts_make_but_for_the_table() {
    let mut ours = roots().unpacked_tree();
    apply_profile(&mut ours);
    let theirs = roots().installed_tree();
    assert!(ours.len() > 4000 && theirs.len() > 4000, "both are whole: {} and {}", ours.len(), theirs.len());
    let found = compare(&ours, &theirs);
    let table = accepted(include_str!("../parity/trixie.tsv"));
    let mut used = BTreeSet::new();
    let mut open = Vec::new();
    for (path, what) in &found {
        for what in what {
            match table.iter().find(|row| row.paths.matches(path.as_bytes()) && row.what.contains(*what)) {
                Some(row) => {
                    used.insert(row.line);
                }
                None => open.push(format!("{path}\t{what}")),
            }
        }
    }
    let idle: Vec<usize> = table.iter().map(|row| row.line).filter(|line| !used.contains(line)).collect();
    println!("{} paths compared, {} differ, {} lines of the table", ours.len(), found.len(), table.len());
    assert!(open.is_empty(), "{} differences without a reason:\n{}", open.len(), open.join("\n"));
    assert!(idle.is_empty(), "lines of tests/parity/trixie.tsv that nothing needs any more: {idle:?}");
}
