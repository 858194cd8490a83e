//! `/etc/initrd-release`: the file by which systemd knows that it runs in an initrd.
//!
//! Without it, or with a link that leads nowhere, systemd behaves as on the real system: it starts getty and the network, never
//! mounts `/sysroot`, never switches root, and says nothing about it.

use super::{Context, Error, Notes};
use crate::tree::{Tree, TreePath};

/// Where os-release may lie, the one that os-release(5) prefers first.
const RELEASE_FILES: &[&str] = &["usr/lib/os-release", "usr/lib/initrd-release"];

pub(super) fn run(tree: &mut Tree, _: &Context<'_>, notes: &mut Notes) -> Result<(), Error> {
    let Some(target) = RELEASE_FILES.iter().find(|file| tree.read(&TreePath::literal(file)).is_some()) else {
        if tree.read(&TreePath::literal("etc/os-release")).is_some() {
            return notes.link(tree, "etc/initrd-release", "os-release");
        }
        notes.warn("there is no `/usr/lib/os-release` for `/etc/initrd-release`: systemd will not know that it is in an initrd");
        return Ok(());
    };
    // /etc/os-release too: sd-boot's and the journal's name of the system come from there.
    if tree.lookup(&TreePath::literal("etc/os-release")).is_none() {
        notes.link(tree, "etc/os-release", &format!("../{target}"))?;
    }
    if tree.lookup(&TreePath::literal("etc/initrd-release")).is_some() {
        return Ok(());
    }
    notes.link(tree, "etc/initrd-release", &format!("../{target}"))
}

#[cfg(test)]
mod tests {
    use super::super::{Options, run_step};
    use super::*;
    use crate::tree::{Entry, Origin};

    #[test]
    fn initrd_release_leads_to_os_release_or_warns() {
        let release = TreePath::literal("etc/initrd-release");
        let mut tree = Tree::new();
        assert_eq!(run_step("initrd-release", &mut tree, &Options::default()).warnings.len(), 1);
        assert!(tree.lookup(&release).is_none());
        let made = Origin::Made("test");
        tree.insert(&TreePath::literal("usr/lib/os-release"), Entry::file("ID=x\n", made)).expect("a file");
        run_step("initrd-release", &mut tree, &Options::default());
        assert_eq!(tree.read(&release).expect("it resolves").bytes(), b"ID=x\n");
        assert!(tree.read(&TreePath::literal("etc/os-release")).is_some());
    }
}
