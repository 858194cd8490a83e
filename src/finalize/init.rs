//! `/init`: the program that the kernel runs from an initrd.
//!
//! Without it the kernel unpacks the image, ignores it, and panics: it cannot mount the root that only the initrd could.

use super::{Context, Error, Notes};
use crate::tree::{Tree, TreePath};

/// The init programs known, the better first. The link is relative, so that it is right below any root.
const PROGRAMS: &[&str] = &["usr/lib/systemd/systemd", "usr/bin/init", "usr/sbin/init"];

pub(super) fn run(tree: &mut Tree, _: &Context<'_>, notes: &mut Notes) -> Result<(), Error> {
    if tree.lookup(&TreePath::literal("init")).is_some() {
        return Ok(());
    }
    match PROGRAMS.iter().find(|program| tree.read(&TreePath::literal(program)).is_some()) {
        Some(program) => notes.link(tree, "init", program),
        None => {
            notes.warn("there is no `/usr/lib/systemd/systemd` for `/init`: the image does not boot");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Options, run_step};
    use super::*;
    use crate::tree::{Entry, Kind, Origin};

    #[test]
    fn init_is_a_relative_link_to_systemd_and_an_own_init_stays() {
        let mut tree = Tree::new();
        assert_eq!(run_step("init", &mut tree, &Options::default()).warnings.len(), 1);
        let made = Origin::Made("test");
        tree.insert(&TreePath::literal("usr/lib/systemd/systemd"), Entry::file("x", made.clone())).expect("a file");
        run_step("init", &mut tree, &Options::default());
        let link = tree.get(&TreePath::literal("init")).map(|entry| entry.kind.clone());
        assert_eq!(link, Some(Kind::Symlink(b"usr/lib/systemd/systemd".to_vec())));

        let mut own = Tree::new();
        own.insert(&TreePath::literal("init"), Entry::file("#!/bin/sh", made)).expect("a file");
        assert_eq!(run_step("init", &mut own, &Options::default()).effects, Vec::<String>::new());
    }
}
