//! The empty directories that the kernel, systemd and programs expect and that pruning leaves no file in.
//!
//! PID 1 mounts `/proc`, `/sys`, `/dev` and `/run` and cannot make the mount points first on a read-only root; without `/root` and
//! `/tmp` the emergency shell complains; `/sysroot` is where the real root goes.

use super::{Context, Error, Notes};
use crate::tree::{Tree, TreePath};

const DIRECTORIES: &[(&str, u32)] = &[
    ("dev", 0o755),
    ("etc", 0o755),
    ("proc", 0o755),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o755),
    ("sysroot", 0o755),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("var", 0o755),
    ("var/lib", 0o755),
    ("var/log", 0o755),
    ("var/tmp", 0o1777),
];

pub(super) fn run(tree: &mut Tree, _: &Context<'_>, notes: &mut Notes) -> Result<(), Error> {
    for (path, mode) in DIRECTORIES {
        let path = TreePath::literal(path);
        if tree.get(&path).is_some() {
            continue;
        }
        let made = tree.make_dirs(&path, &notes.origin()).map_err(|cause| Error::Tree { step: notes.step, cause })?;
        if let Some(entry) = tree.get_mut(&made) {
            entry.meta.mode = *mode;
        }
        notes.did(format!("made `{path}`"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Options, run_step};
    use super::*;
    use crate::tree::{Entry, Origin};

    #[test]
    fn directories_get_their_modes_and_what_is_there_stays() {
        let mut tree = Tree::new();
        let own = Entry::dir(Origin::Made("test")).with_mode(0o750);
        tree.insert(&TreePath::literal("root"), own).expect("a directory");
        run_step("tmpdirs", &mut tree, &Options::default());
        let mode = |path| tree.get(&TreePath::literal(path)).map(|entry| entry.meta.mode);
        assert_eq!(
            (mode("root"), mode("tmp"), mode("sysroot"), mode("var/tmp")),
            (Some(0o750), Some(0o1777), Some(0o755), Some(0o1777))
        );
    }
}
