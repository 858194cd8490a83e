//! A udev rule that keeps what is known of dm and md devices while the root is switched.
//!
//! `initrd-udevadm-cleanup-db.service` empties udev's database just before; a device whose record is gone is for the real root's
//! systemd not there, and it stops what is mounted from it. Debian's `55-dm.rules` sets the flag for dm, nothing does for md.

use super::{Context, Error, Notes};
use crate::tree::{Tree, TreePath};

const RULES: &str = "usr/lib/udev/rules.d/10-mkinitrd-pkg-persist.rules";
const TEXT: &str = "# Devices made of other devices keep their record while the root is switched.
SUBSYSTEM==\"block\", KERNEL==\"dm-[0-9]*|md[0-9_]*\", ACTION!=\"remove\", OPTIONS+=\"db_persist\"
";

pub(super) fn run(tree: &mut Tree, _: &Context<'_>, notes: &mut Notes) -> Result<(), Error> {
    if tree.lookup(&TreePath::literal("usr/lib/udev/rules.d")).is_none() {
        return Ok(());
    }
    notes.file(tree, RULES, TEXT)
}
