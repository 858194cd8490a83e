//! `/etc/machine-id`: empty, because an image is not a machine.
//!
//! systemd makes a transient id either way and, in an initrd, takes no missing file for a first boot. The step is for images whose
//! packages or files would bring an id along that all machines with the image then share.

use super::{Context, Error, Notes};
use crate::tree::{Origin, Tree, TreePath};

pub(super) fn run(tree: &mut Tree, _: &Context<'_>, notes: &mut Notes) -> Result<(), Error> {
    let path = TreePath::literal("etc/machine-id");
    match tree.get(&path) {
        // Put there by the user: the image is for one machine, whose journal then knows the initrd's messages as its own.
        Some(entry) if matches!(entry.origin, Origin::Config(_)) => Ok(()),
        Some(entry) if entry.content().is_some_and(|content| content.is_empty()) => Ok(()),
        _ => notes.file(tree, "etc/machine-id", ""),
    }
}
