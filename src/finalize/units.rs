//! systemd's units as far as a tree can tell: which one a name means, what it runs, and what it pulls in.
//!
//! Generators add units at boot that are not here; specifiers that only a running system knows are left alone.

use std::collections::BTreeSet;

use crate::tree::{Tree, TreePath};

/// Where units lie, in falling priority.
pub(super) const DIRECTORIES: &[&str] =
    &["etc/systemd/system", "run/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system"];

/// Where systemd looks for a program that is named without a path.
const PROGRAM_DIRECTORIES: &[&str] = &["usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin"];

/// A program that a unit runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Command {
    /// The setting: `ExecStart`.
    pub key: String,
    /// The program as written.
    pub program: String,
    /// Whether its failure is ignored (`-`).
    pub optional: bool,
}

/// A unit with its drop-ins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Unit {
    /// Where its file lies, links not followed.
    pub path: TreePath,
    /// Whether it is a link to `/dev/null` or empty: it never starts.
    pub masked: bool,
    /// Whether a condition says that it never runs in an initrd.
    pub not_in_initrd: bool,
    /// What it runs.
    pub commands: Vec<Command>,
    /// Units that start with it; their absence is no failure.
    pub wants: BTreeSet<String>,
    /// Units without which it fails.
    pub requires: BTreeSet<String>,
    /// What a socket, path or timer starts: by `Service=` or `Unit=`, else the service of the same name.
    pub activates: Option<String>,
}

/// Returns the unit of this name, or of its template.
pub(super) fn load(tree: &Tree, name: &str) -> Option<Unit> {
    let template = template_of(name);
    let names: Vec<&str> = std::iter::once(name).chain(template.as_deref()).collect();
    let path = names.iter().find_map(|name| {
        let candidates = DIRECTORIES.iter().filter_map(|directory| TreePath::literal(directory).join(name.as_bytes()).ok());
        candidates.into_iter().find(|path| tree.get(path).is_some())
    })?;
    let mut unit = Unit { path: path.clone(), ..Unit::default() };
    let Some((real, entry)) = tree.lookup(&path) else {
        // Only a link to /dev/null may lead out of the tree; any other dangling one is no unit.
        unit.masked = tree.resolve(&path, true).is_ok_and(|target| target == TreePath::literal("dev/null"));
        return unit.masked.then_some(unit);
    };
    let text = entry.content().map(|content| String::from_utf8_lossy(content.bytes()).into_owned()).unwrap_or_default();
    if text.is_empty() {
        unit.masked = true;
        return Some(unit);
    }
    read_into(&mut unit, &text, name);
    // Drop-ins and .wants of the name, of its template, and of the name that an alias leads to.
    let alias = String::from_utf8_lossy(real.name()).into_owned();
    let mut directories: BTreeSet<&str> = names.iter().copied().collect();
    directories.insert(&alias);
    for owner in directories {
        for (path, _) in files_in(tree, owner, "d").filter(|(path, _)| path.name().ends_with(b".conf")) {
            if let Some(content) = tree.read(path) {
                read_into(&mut unit, &String::from_utf8_lossy(content.bytes()), name);
            }
        }
        unit.wants.extend(files_in(tree, owner, "wants").map(|(path, _)| link_name(path)));
        unit.requires.extend(files_in(tree, owner, "requires").map(|(path, _)| link_name(path)));
    }
    if unit.activates.is_none()
        && let Some((stem, "socket" | "path" | "timer")) = name.rsplit_once('.')
    {
        unit.activates = Some(format!("{stem}.service"));
    }
    Some(unit)
}

/// Returns where a program of a unit lies; nothing if it is not there.
pub(super) fn find_program(tree: &Tree, program: &str) -> Option<TreePath> {
    let is_file = |path: TreePath| tree.read(&path).map(|_| path);
    if program.starts_with('/') {
        return is_file(TreePath::parse(program.as_bytes()).ok()?);
    }
    PROGRAM_DIRECTORIES.iter().find_map(|directory| is_file(TreePath::literal(directory).join(program.as_bytes()).ok()?))
}

/// Returns the commands that cannot run, because their program is not there and their failure would count.
pub(super) fn missing_programs<'a>(tree: &Tree, unit: &'a Unit) -> Vec<&'a Command> {
    let lacks = |command: &&Command| {
        !command.optional && !command.program.contains('%') && find_program(tree, &command.program).is_none()
    };
    unit.commands.iter().filter(lacks).collect()
}

fn files_in<'a>(tree: &'a Tree, owner: &str, kind: &str) -> impl Iterator<Item = (&'a TreePath, &'a crate::tree::Entry)> {
    let of = |directory: &&str| TreePath::literal(directory).join(format!("{owner}.{kind}").as_bytes()).ok();
    let real: Vec<TreePath> = DIRECTORIES.iter().filter_map(of).collect();
    real.into_iter().flat_map(|directory| tree.children(&directory).collect::<Vec<_>>())
}

fn link_name(path: &TreePath) -> String {
    String::from_utf8_lossy(path.name()).into_owned()
}

/// Returns `a@.service` for `a@b.service`.
fn template_of(name: &str) -> Option<String> {
    let (stem, suffix) = name.rsplit_once('.')?;
    let (prefix, instance) = stem.split_once('@')?;
    (!instance.is_empty()).then(|| format!("{prefix}@.{suffix}"))
}

/// Expands the specifiers that the name itself answers; nothing if others are left.
fn expand(text: &str, name: &str) -> Option<String> {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let (prefix, instance) = stem.split_once('@').unwrap_or((stem, ""));
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match chars.next()? {
            '%' => out.push('%'),
            'i' | 'I' => out.push_str(instance),
            'p' | 'P' => out.push_str(prefix),
            'n' => out.push_str(name),
            'N' => out.push_str(stem),
            _ => return None,
        }
    }
    Some(out)
}

fn read_into(unit: &mut Unit, text: &str, name: &str) {
    for line in joined(text) {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';', '[']) {
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        let (key, value) = (key.trim(), value.trim());
        let words = || value.split_ascii_whitespace().filter_map(|word| expand(word, name));
        match key {
            "Wants" | "Upholds" | "OnFailure" | "Sockets" => unit.wants.extend(words()),
            "Requires" | "BindsTo" => unit.requires.extend(words()),
            "Unit" | "Service" => unit.activates = expand(value, name),
            "Accept" if matches!(value, "yes" | "true" | "1" | "on") => {
                unit.activates = name.rsplit_once('.').map(|(stem, _)| format!("{stem}@instance.service"));
            }
            "ConditionPathExists" | "AssertPathExists" if value == "!/etc/initrd-release" => unit.not_in_initrd = true,
            _ if key.starts_with("Exec") && value.is_empty() => unit.commands.retain(|command| command.key != key),
            _ if key.starts_with("Exec") => unit.commands.extend(command(key, value)),
            _ => {}
        }
    }
}

/// Reads the program out of an `Exec…=` line.
fn command(key: &str, value: &str) -> Option<Command> {
    // ExecSearchPath= and the like are not commands.
    if !matches!(
        key,
        "ExecCondition" | "ExecStartPre" | "ExecStart" | "ExecStartPost" | "ExecReload" | "ExecStop" | "ExecStopPost"
    ) {
        return None;
    }
    let rest = value.trim_start_matches(['@', '-', ':', '+', '!', '|']);
    let optional = value[..value.len() - rest.len()].contains('-');
    let program = match rest.chars().next()? {
        quote @ ('"' | '\'') => rest[1..].split(quote).next()?,
        _ => rest.split_ascii_whitespace().next()?,
    };
    Some(Command { key: key.to_owned(), program: program.to_owned(), optional })
}

/// Returns the lines with those that end in a backslash continued; comments within are dropped.
fn joined(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines() {
        if open.is_some() && line.trim_start().starts_with(['#', ';']) {
            continue;
        }
        let (part, goes_on) = match line.strip_suffix('\\') {
            Some(part) => (part, true),
            None => (line, false),
        };
        let mut whole = open.take().unwrap_or_default();
        whole.push_str(part);
        if goes_on {
            whole.push(' ');
            open = Some(whole);
        } else {
            lines.push(whole);
        }
    }
    lines.extend(open);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Entry, Origin};

    fn tree(files: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::new();
        for (path, text) in files {
            let entry = match text.strip_prefix("-> ") {
                Some(target) => Entry::symlink(target, Origin::Made("test")),
                None => Entry::file(*text, Origin::Made("test")),
            };
            tree.insert(&TreePath::literal(path), entry).expect(path);
        }
        tree
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_unit_is_its_file_its_drop_ins_and_its_wants() {
        let tree = tree(&[
            ("usr/lib/systemd/system/a@.service", "[Unit]\nWants=b.service \\\n c-%i.target\n[Service]\nExecStart=/bin/old\n"),
            (
                "usr/lib/systemd/system/a@.service.d/x.conf",
                "[Service]\nExecStart=\nExecStart=-!/bin/new --flag\nExecStop=\"/bin/q r\" s",
            ),
            ("etc/systemd/system/a@1.service.wants/d.service", "-> /x"),
            ("etc/systemd/system/a@.service.requires/e.service", "-> /x"),
        ]);
        let unit = load(&tree, "a@1.service").expect("a unit");
        assert_eq!(unit.wants, set(&["b.service", "c-1.target", "d.service"]));
        assert_eq!(unit.requires, set(&["e.service"]));
        let commands: Vec<(&str, bool)> = unit.commands.iter().map(|c| (c.program.as_str(), c.optional)).collect();
        assert_eq!(commands, [("/bin/new", true), ("/bin/q r", false)]);
        assert_eq!(missing_programs(&tree, &unit).len(), 1);
        assert_eq!(load(&tree, "b@1.service"), None);
    }

    #[test]
    fn masks_aliases_and_dangling_links() {
        let tree = tree(&[
            ("usr/lib/systemd/system/real.service", "[Service]\nExecStart=true\n"),
            ("usr/lib/systemd/system/alias.service", "-> real.service"),
            ("usr/lib/systemd/system/hidden.service", "[Service]\nExecStart=/no\n"),
            ("etc/systemd/system/hidden.service", "-> /dev/null"),
            ("etc/systemd/system/lost.service", "-> /nowhere"),
            ("usr/lib/systemd/system/empty.service", ""),
            ("usr/bin/true", "elf"),
        ]);
        assert!(load(&tree, "hidden.service").expect("masked").masked);
        assert!(load(&tree, "empty.service").expect("masked").masked);
        assert_eq!(load(&tree, "lost.service"), None);
        let alias = load(&tree, "alias.service").expect("an alias");
        assert_eq!(missing_programs(&tree, &alias), Vec::<&Command>::new());
        assert_eq!(find_program(&tree, "true"), Some(TreePath::literal("usr/bin/true")));
    }

    #[test]
    fn sockets_say_what_they_activate() {
        let tree = tree(&[
            ("usr/lib/systemd/system/a.socket", "[Socket]\nListenStream=/x\n"),
            ("usr/lib/systemd/system/b.socket", "[Socket]\nService=other.service\n"),
            ("usr/lib/systemd/system/c.socket", "[Socket]\nAccept=yes\n"),
        ]);
        let activates = |name| load(&tree, name).and_then(|unit| unit.activates);
        assert_eq!(activates("a.socket").as_deref(), Some("a.service"));
        assert_eq!(activates("b.socket").as_deref(), Some("other.service"));
        assert_eq!(activates("c.socket").as_deref(), Some("c@instance.service"));
    }
}
