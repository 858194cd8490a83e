//! Links that scripts make at installation: merged-/usr, `/var/run`, `/var/lock`, `/etc/mtab`.
//!
//! Programs and units name `/bin/sh` and `/lib/...`; libcryptsetup looks for its token plugins below `/lib`. Without the link of
//! `/var/run` systemd calls the system tainted (`var-run-bad`).

use super::{Context, Error, Notes};
use crate::tree::{Kind, Tree, TreePath};

/// Links beside the root, each made when what it leads to is there and nothing else is.
const MERGED: &[(&str, &str)] = &[
    ("bin", "usr/bin"),
    ("sbin", "usr/sbin"),
    ("lib", "usr/lib"),
    ("lib32", "usr/lib32"),
    ("lib64", "usr/lib64"),
    ("libx32", "usr/libx32"),
];

/// Links in place of a directory, which packages may ship empty.
const REPLACED: &[(&str, &str)] = &[("var/run", "/run"), ("var/lock", "/run/lock")];

pub(super) fn run(tree: &mut Tree, _: &Context<'_>, notes: &mut Notes) -> Result<(), Error> {
    for (path, target) in MERGED {
        let merged = tree.get(&TreePath::literal(target)).is_some_and(|entry| matches!(entry.kind, Kind::Dir));
        match tree.get(&TreePath::literal(path)) {
            None if merged => notes.link(tree, path, target)?,
            // The caller's tree may be of a distribution that has not merged: its own layout stays.
            Some(entry) if merged && matches!(entry.kind, Kind::Dir) => {
                notes.warn(format!("`/{path}` and `/{target}` are two directories: programs may look in the wrong one"));
            }
            _ => {}
        }
    }
    for (path, target) in REPLACED {
        let at = TreePath::literal(path);
        match tree.get(&at).map(|entry| &entry.kind) {
            Some(Kind::Symlink(_)) => continue,
            Some(Kind::Dir) if tree.below(&at).next().is_none() => {
                tree.remove(&at);
            }
            Some(_) => {
                notes.warn(format!("`/{path}` is not empty and stays a directory: systemd will call the system tainted"));
                continue;
            }
            None => {}
        }
        notes.link(tree, path, target)?;
    }
    if tree.get(&TreePath::literal("etc/mtab")).is_none() {
        notes.link(tree, "etc/mtab", "../proc/self/mounts")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Options, run_step};
    use super::*;
    use crate::tree::{Entry, Origin};

    #[test]
    fn links_are_made_where_they_lead_somewhere() {
        let made = Origin::Made("test");
        let mut tree = Tree::new();
        tree.insert(&TreePath::literal("usr/bin/sh"), Entry::file("x", made.clone())).expect("a file");
        tree.insert(&TreePath::literal("var/run"), Entry::dir(made.clone())).expect("a directory");
        tree.insert(&TreePath::literal("var/lock/held"), Entry::file("x", made)).expect("a file");
        let done = run_step("links", &mut tree, &Options::default());
        assert!(tree.read(&TreePath::literal("bin/sh")).is_some());
        assert!(tree.get(&TreePath::literal("lib64")).is_none(), "there is no /usr/lib64");
        let link = |path| tree.get(&TreePath::literal(path)).map(|entry| entry.kind.clone());
        assert_eq!(link("var/run"), Some(Kind::Symlink(b"/run".to_vec())));
        assert_eq!(link("var/lock"), Some(Kind::Dir));
        assert_eq!(done.warnings.len(), 1);
        assert_eq!(link("etc/mtab"), Some(Kind::Symlink(b"../proc/self/mounts".to_vec())));
    }
}
