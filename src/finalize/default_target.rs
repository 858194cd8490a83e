//! `default.target`: in an initrd `initrd.target`, whatever the packages say.
//!
//! PID 1 chooses `initrd.target` by itself, but whoever leaves the emergency shell makes `systemctl default` run, and the
//! `default.target` of a distribution is `graphical.target`, which an initrd does not have: the boot would not be tried again.

use super::{Context, Error, Notes};
use crate::tree::{Tree, TreePath};

const INITRD_TARGET: &str = "usr/lib/systemd/system/initrd.target";

pub(super) fn run(tree: &mut Tree, _: &Context<'_>, notes: &mut Notes) -> Result<(), Error> {
    if tree.lookup(&TreePath::literal(INITRD_TARGET)).is_none() {
        return Ok(());
    }
    // The administrator's own choice in /etc wins over ours, as it does on a running system.
    if tree.lookup(&TreePath::literal("etc/systemd/system/default.target")).is_some() {
        return Ok(());
    }
    notes.link(tree, "usr/lib/systemd/system/default.target", "initrd.target")
}
