//! Symlinks while pruning: the way a path takes through them, and what goes when its target or its unit has gone.

use super::units;
use crate::base::limit;
use crate::tree::{Kind, Tree, TreePath};

/// The way from a path through symlinks to where it ends.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Trail {
    /// The symlinks passed, each at its real path.
    pub links: Vec<TreePath>,
    /// Where it ends; nothing need be there.
    pub end: TreePath,
}

impl Trail {
    /// Follows a path. A circle ends at the link that closes it.
    pub fn follow(tree: &Tree, path: &TreePath) -> Self {
        let mut todo: Vec<Vec<u8>> = path.components().map(<[u8]>::to_vec).collect();
        todo.reverse();
        let mut trail = Self { links: Vec::new(), end: TreePath::root() };
        while let Some(component) = todo.pop() {
            let Ok(here) = trail.end.join(&component) else { break };
            let target = match tree.get(&here).map(|entry| &entry.kind) {
                Some(Kind::Symlink(target)) if trail.links.len() < limit::SYMLINKS_MAX => here.link_target(target).ok(),
                _ => None,
            };
            match target {
                Some(target) => {
                    todo.extend(target.components().map(<[u8]>::to_vec).collect::<Vec<_>>().into_iter().rev());
                    trail.links.push(here);
                    trail.end = TreePath::root();
                }
                None => trail.end = here,
            }
        }
        trail
    }

    /// Tells whether something is where it ends.
    pub fn is_there(&self, tree: &Tree) -> bool {
        tree.get(&self.end).is_some_and(|entry| !matches!(entry.kind, Kind::Symlink(_)))
    }
}

/// The directories of system units, in systemd's order.
const UNIT_DIRECTORIES: [&str; 3] = ["etc/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system"];

/// Returns the place of a unit's file or alias link, or that of its template.
pub(super) fn unit_path(tree: &Tree, name: &[u8]) -> Option<TreePath> {
    let names = std::iter::once(name.to_vec()).chain(units::template_of(name));
    let places = names.flat_map(|name| UNIT_DIRECTORIES.map(|directory| TreePath::literal(directory).join(&name)));
    places.filter_map(Result::ok).find(|place| tree.get(place).is_some())
}

/// Returns the path below a directory of units, if it is in one.
pub(super) fn in_unit_directory(path: &TreePath) -> Option<&[u8]> {
    UNIT_DIRECTORIES.iter().find_map(|directory| {
        path.as_bytes().strip_prefix(directory.as_bytes())?.strip_prefix(b"/").filter(|rest| !rest.is_empty())
    })
}

/// Returns the unit to which a file `NAME.d/x`, or a link `NAME.wants/x`, belongs. Drop-ins for a whole type (`service.d`) or for a
/// prefix (`user-.slice.d`) belong to none.
pub(super) fn unit_of_attachment(path: &TreePath) -> Option<Vec<u8>> {
    let below = in_unit_directory(path)?;
    let directory = below.split(|byte| *byte == b'/').next().filter(|first| first.len() < below.len())?;
    let ends = [&b".d"[..], b".wants", b".requires", b".upholds"];
    let unit = ends.iter().find_map(|end| directory.strip_suffix(*end))?;
    let dot = unit.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > 0)?;
    (units::is_unit(unit) && unit[dot - 1] != b'-').then(|| unit.to_vec())
}

/// Tells whether a link in `.wants` and its kin.
pub(super) fn is_want_link(path: &TreePath) -> bool {
    in_unit_directory(path).is_some_and(|below| below.contains(&b'/')) && unit_of_attachment(path).is_some() && !in_drop_in(path)
}

fn in_drop_in(path: &TreePath) -> bool {
    path.parent().is_some_and(|parent| parent.as_bytes().ends_with(b".d"))
}

/// Returns drop-ins and `.wants` links of units that are not in the tree, and `.wants` links to such units.
///
/// Units that are made at boot (mounts, slices, devices) count as being there.
pub(super) fn stranded_attachments(tree: &Tree) -> Vec<TreePath> {
    let absent = |name: &[u8]| {
        let made_at_boot = [&b".mount"[..], b".swap", b".slice", b".device", b".scope"].iter().any(|end| name.ends_with(end));
        !made_at_boot && unit_path(tree, name).is_none()
    };
    let stranded = |path: &TreePath| match unit_of_attachment(path) {
        Some(unit) => absent(&unit) || is_want_link(path) && absent(path.name()),
        None => false,
    };
    let files = tree.iter().filter(|(path, entry)| !matches!(entry.kind, Kind::Dir) && in_unit_directory(path).is_some());
    files.map(|(path, _)| path).filter(|path| stranded(path)).cloned().collect()
}

/// Returns the links whose target is not there although it once was, with that target.
pub(super) fn dangling(tree: &Tree, went: impl Fn(&TreePath) -> bool) -> Vec<(TreePath, TreePath)> {
    let links = tree.iter().filter(|(_, entry)| matches!(entry.kind, Kind::Symlink(_)));
    let trails = links.map(|(path, _)| (path.clone(), Trail::follow(tree, path)));
    trails.filter(|(_, trail)| !trail.is_there(tree) && went(&trail.end)).map(|(path, trail)| (path, trail.end)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Entry, Origin};

    const MADE: Origin = Origin::Made("test");

    fn path(text: &str) -> TreePath {
        TreePath::literal(text)
    }

    #[test]
    fn trails_name_every_link() {
        let mut tree = Tree::new();
        for (link, target) in [("lib", "usr/lib"), ("usr/lib/a.so", "a.so.1"), ("x", "y"), ("y", "x"), ("out", "/usr/none/z")] {
            tree.insert(&path(link), Entry::symlink(target, MADE)).expect(link);
        }
        tree.insert(&path("usr/lib/a.so.1"), Entry::file("x", MADE)).expect("a file");
        let trail = Trail::follow(&tree, &path("lib/a.so"));
        assert_eq!(trail.links, [path("lib"), path("usr/lib/a.so")]);
        assert_eq!(trail.end, path("usr/lib/a.so.1"));
        assert!(trail.is_there(&tree));
        assert!(!Trail::follow(&tree, &path("x")).is_there(&tree));
        assert_eq!(Trail::follow(&tree, &path("out")).end, path("usr/none/z"));
    }

    #[test]
    fn attachments_belong_to_units() {
        for (text, unit) in [
            ("usr/lib/systemd/system/a.service.d/x.conf", Some("a.service")),
            ("etc/systemd/system/a@.service.d/x.conf", Some("a@.service")),
            ("usr/lib/systemd/system/a.target.wants/b.service", Some("a.target")),
            ("usr/lib/systemd/system/service.d/x.conf", None),
            ("usr/lib/systemd/system/user-.slice.d/x.conf", None),
            ("usr/lib/systemd/system/a.service", None),
            ("usr/lib/systemd/user/a.service.d/x.conf", None),
        ] {
            let found = unit_of_attachment(&path(text)).map(|unit| String::from_utf8_lossy(&unit).into_owned());
            assert_eq!(found.as_deref(), unit, "{text}");
        }
    }

    #[test]
    fn attachments_without_their_unit_are_stranded() {
        let mut tree = Tree::new();
        let system = "usr/lib/systemd/system";
        for name in ["a.target", "b.service", "b.service.d/x.conf", "gone.service.d/x.conf", "t@.service"] {
            tree.insert(&path(&format!("{system}/{name}")), Entry::file("x", MADE)).expect(name);
        }
        for link in [
            "a.target.wants/b.service",
            "a.target.wants/c.service",
            "a.target.wants/t@x.service",
            "z.target.wants/b.service",
            "a.target.wants/x.mount",
        ] {
            tree.insert(&path(&format!("{system}/{link}")), Entry::symlink("../x", MADE)).expect(link);
        }
        let names: Vec<String> = stranded_attachments(&tree).iter().map(ToString::to_string).collect();
        let expected = ["a.target.wants/c.service", "gone.service.d/x.conf", "z.target.wants/b.service"];
        assert_eq!(names, expected.map(|name| format!("/{system}/{name}")));
    }

    #[test]
    fn only_links_to_what_went_dangle() {
        let mut tree = Tree::new();
        for (link, target) in [("a", "usr/gone"), ("b", "proc/mounts"), ("c", "a"), ("d", "usr/here")] {
            tree.insert(&path(link), Entry::symlink(target, MADE)).expect(link);
        }
        tree.insert(&path("usr/here"), Entry::file("x", MADE)).expect("a file");
        let found = dangling(&tree, |path| path.as_bytes().starts_with(b"usr/"));
        assert_eq!(found.into_iter().map(|(link, _)| link).collect::<Vec<_>>(), [path("a"), path("c")]);
    }
}
