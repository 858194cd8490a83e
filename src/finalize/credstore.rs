//! Modes of the directories in which systemd looks for credentials: closed to everybody but root.
//!
//! Debian ships them 0755 and lets tmpfiles close them at installation; an initrd that carries a sealed credential must not
//! depend on tmpfiles having run before something reads it.

use super::{Context, Error, Notes};
use crate::tree::{Kind, Tree, TreePath};

const DIRECTORIES: &[&str] = &["etc/credstore", "etc/credstore.encrypted"];

pub(super) fn run(tree: &mut Tree, _: &Context<'_>, notes: &mut Notes) -> Result<(), Error> {
    for path in DIRECTORIES {
        match tree.get_mut(&TreePath::literal(path)) {
            Some(entry) if matches!(entry.kind, Kind::Dir) && entry.meta.mode != 0o700 => {
                entry.meta.mode = 0o700;
                notes.did(format!("closed `/{path}` to all but root"));
            }
            _ => {}
        }
    }
    Ok(())
}
