//! Links in `/etc` to files that the distribution keeps in `/usr/etc` (openSUSE), for programs that look in `/etc` alone.
//!
//! What lies in `/etc` is the administrator's and stays as it is.

use super::{Context, Error, Notes};
use crate::tree::{Entry, Kind, Tree, TreePath};

pub(super) fn run(tree: &mut Tree, _: &Context<'_>, notes: &mut Notes) -> Result<(), Error> {
    let from = TreePath::literal("usr/etc");
    let is_file = |kind: &Kind| !matches!(kind, Kind::Dir);
    let files: Vec<TreePath> =
        tree.below(&from).filter(|(_, entry)| is_file(&entry.kind)).map(|(path, _)| path.clone()).collect();
    for file in files {
        let below = file.relative_to(&from).and_then(|below| TreePath::literal("etc").join(below).ok());
        let Some(link) = below.filter(|link| tree.get(link).is_none()) else { continue };
        // Names that are no text are nobody's configuration.
        if let Ok(text) = String::from_utf8(link.link_text(&file)) {
            notes.put(tree, &link, Entry::symlink(&text, notes.origin()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Options, run_step};
    use super::*;
    use crate::tree::Origin;

    #[test]
    fn what_etc_has_not_is_found_in_usr_etc() {
        let mut tree = Tree::new();
        for (path, text) in
            [("usr/etc/nsswitch.conf", "shipped"), ("usr/etc/lvm/lvm.conf", "shipped"), ("etc/nsswitch.conf", "own")]
        {
            tree.insert(&TreePath::literal(path), Entry::file(text, Origin::Made("test"))).expect("a file");
        }
        run_step("usr-etc", &mut tree, &Options::default());
        let text = |path| tree.read(&TreePath::literal(path)).map(|content| content.bytes().to_vec());
        assert_eq!(text("etc/lvm/lvm.conf").as_deref(), Some(&b"shipped"[..]));
        assert_eq!(text("etc/nsswitch.conf").as_deref(), Some(&b"own"[..]));
    }
}
