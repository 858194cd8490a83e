//! `/etc/locale.conf`: the character set of everything that PID 1 starts.
//!
//! Upstream systemd is built with `C.UTF-8` as its default; where a distribution chose otherwise, a shell, `less` and passphrase
//! prompts show bytes for umlauts. glibc has had `C.UTF-8` built in since 2.35, so no locale files are needed.

use super::{Context, Error, Notes};
use crate::tree::{Tree, TreePath};

pub(super) fn run(tree: &mut Tree, context: &Context<'_>, notes: &mut Notes) -> Result<(), Error> {
    let locale = context.options.locale.as_deref().unwrap_or("C.UTF-8");
    let path = TreePath::literal("etc/locale.conf");
    if tree.read(&path).is_some() {
        return Ok(());
    }
    notes.file(tree, "etc/locale.conf", &format!("LANG={locale}\n"))
}
