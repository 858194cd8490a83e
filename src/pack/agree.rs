//! Makes segments agree: the kernel unpacks them one over the other, and passes over in silence what does not fit.

use std::collections::BTreeSet;

use super::archive::{FileKey, names_by_file};
use super::{Error, Segment, SegmentName};
use crate::base::limit;
use crate::format::compress::Format;
use crate::tree::{Entry, Kind, Origin, Tree, TreePath};

/// Makes every segment complete in itself and in accord with those before it.
pub(super) fn reconcile(segments: &mut [Segment], epoch_s: u32) -> Result<(), Error> {
    for pair in segments.windows(2) {
        if pair[0].name == pair[1].name {
            return Err(Error::Twice(pair[0].name));
        }
    }
    for at in 0..segments.len() {
        let (before, rest) = segments.split_at_mut(at);
        let segment = &mut rest[0];
        if segment.name == SegmentName::Early && segment.compression.format != Format::None {
            return Err(Error::EarlyCompressed(segment.compression));
        }
        add_parents(&mut segment.tree);
        segment.tree.iter().try_for_each(|(path, entry)| check_entry(path, entry))?;
        for earlier in before.iter() {
            agree(earlier, segment, epoch_s)?;
        }
    }
    Ok(())
}

/// Refuses what the kernel passes over without a word.
fn check_entry(path: &TreePath, entry: &Entry) -> Result<(), Error> {
    if entry.meta.uid == u32::MAX || entry.meta.gid == u32::MAX {
        return Err(Error::Owner { path: path.clone() });
    }
    match &entry.kind {
        Kind::Symlink(target) if target.is_empty() || target.len() > limit::PATH_BYTES_MAX || target.contains(&0) => {
            Err(Error::Symlink { path: path.clone(), target_bytes: target.len() })
        }
        _ => Ok(()),
    }
}

/// The kernel makes no directories on the way: it drops a file whose directory has no entry.
fn add_parents(tree: &mut Tree) {
    let mut missing = BTreeSet::new();
    for (path, _) in tree.iter() {
        let mut at = path.parent();
        while let Some(dir) = at.filter(|dir| !dir.is_root() && tree.get(dir).is_none()) {
            at = dir.parent();
            missing.insert(dir);
        }
    }
    for dir in missing {
        tree.put(&dir, Entry::dir(Origin::Made("pack"))).expect("invariant: nothing is where a parent is missing");
    }
}

/// The kernel lets the last one win: a directory's mode, a file's content, and it removes a symlink to make a directory in its place.
fn agree(earlier: &Segment, later: &mut Segment, epoch_s: u32) -> Result<(), Error> {
    let linked = names_by_file(&earlier.tree, epoch_s);
    let mut metas = Vec::new();
    for (path, new) in later.tree.iter() {
        let Some(old) = earlier.tree.get(path) else { continue };
        match (&old.kind, &new.kind) {
            (Kind::Dir, Kind::Dir) => metas.push((path.clone(), old.meta)),
            (Kind::Dir, _) | (_, Kind::Dir) => {
                return Err(Error::Clash {
                    path: path.clone(),
                    first: earlier.name,
                    first_noun: old.noun(),
                    second: later.name,
                    second_noun: new.noun(),
                });
            }
            (Kind::File(content), Kind::File(_))
                if linked.get(&FileKey::of(content, old.meta, epoch_s)).is_some_and(|n| *n > 1) =>
            {
                return Err(Error::LinkReplaced { path: path.clone(), first: earlier.name, second: later.name });
            }
            _ => {}
        }
    }
    for (path, meta) in metas {
        later.tree.get_mut(&path).expect("invariant: the path was just seen").meta = meta;
    }
    Ok(())
}
