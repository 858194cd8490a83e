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
        let known = ["missing", "extra", "type", "mode", "owner", "target", "content", "ids"];
        assert!(what.iter().all(|word| known.contains(&word.as_str())), "line {}: {what:?}", number + 1);
        rows.push(Accepted { line: number + 1, paths: Glob::new(paths).expect("a pattern"), what });
    }
    rows
}

/// Returns a file of users in a form that is equal when only the choice of free ids and the day differ.
fn without_ids(path: &TreePath, text: &[u8]) -> Option<Vec<String>> {
    let is_shadow = match path.as_str()? {
        "etc/passwd" | "etc/group" => false,
        "etc/shadow" | "etc/gshadow" => true,
        _ => return None,
    };
    let line = |line: &str| {
        let mut fields: Vec<&str> = line.split(':').collect();
        if is_shadow {
            // adduser writes `!` where sysusers writes `!*`: no password either way.
            fields[1] = fields[1].strip_suffix("!").map_or(fields[1], |_| "!*");
            fields[2] = if path.name() == b"shadow" { "day" } else { fields[2] };
        } else {
            let free = |id: &&mut &str| id.parse::<u32>().is_ok_and(|id| (100..1000).contains(&id));
            fields.iter_mut().skip(2).take(2).filter(free).for_each(|id| *id = "free");
        }
        fields.join(":")
    };
    let mut lines: Vec<String> = std::str::from_utf8(text).ok()?.lines().map(line).collect();
    lines.sort();
    Some(lines)
}

/// Returns in what two entries differ.
fn differences(path: &TreePath, ours: &Entry, theirs: &Entry) -> Vec<&'static str> {
    let mut what = Vec::new();
    match (&ours.kind, &theirs.kind) {
        (Kind::File(a), Kind::File(b))
            if a != b && without_ids(path, a.bytes()).is_some_and(|a| Some(a) == without_ids(path, b.bytes())) =>
        {
            what.push("ids");
        }
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
        (Some(ours), Some(theirs)) => differences(path, ours, theirs),
        (Some(_), None) => vec!["extra"],
        _ => vec!["missing"],
    };
    paths.into_iter().map(|path| (path.clone(), what(path))).filter(|(_, what)| !what.is_empty()).collect()
}

#[test]
fn users_compare_by_all_but_free_ids_and_the_day() {
    let normal = |path: &str, text: &str| without_ids(&TreePath::literal(path), text.as_bytes());
    assert_eq!(normal("etc/passwd", "a:x:998:997:A:/:/s\n"), normal("etc/passwd", "a:x:101:102:A:/:/s\n"));
    assert_ne!(normal("etc/passwd", "a:x:998:997:A:/:/s\n"), normal("etc/passwd", "a:x:998:42:A:/:/s\n"));
    assert_ne!(normal("etc/passwd", "a:x:998:997:A:/:/s\n"), normal("etc/passwd", "a:x:998:997:A:/:/t\n"));
    assert_ne!(normal("etc/group", "a:x:998:\n"), normal("etc/group", "a:x:998:b\n"));
    assert_eq!(normal("etc/shadow", "a:!:1::::::\n"), normal("etc/shadow", "a:!*:2::::::\n"));
    assert_ne!(normal("etc/shadow", "a:*:1::::::\n"), normal("etc/shadow", "a:!*:1::::::\n"));
    assert_eq!(normal("etc/other", "a:x:1\n"), None);
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
