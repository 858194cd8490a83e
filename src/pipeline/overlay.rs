//! Files of the configuration that are laid over the tree: `files/` beside drop-ins, and `--include HOST:PATH`.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::Error;
use crate::base::fs::{self, FileError};
use crate::base::limit;
use crate::tree::disk;
use crate::tree::{Entry, Origin, Tree, TreePath};

/// A file or directory of this machine, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Include {
    /// On this machine.
    pub host: PathBuf,
    /// In the image.
    pub path: TreePath,
}

/// Returns all of it as one tree; what comes later wins. Everything belongs to root.
pub fn lay(overlays: &[PathBuf], includes: &[Include]) -> Result<Tree, Error> {
    let mut tree = Tree::new();
    for overlay in overlays {
        over(&mut tree, overlay, &TreePath::root())?;
    }
    for include in includes {
        let found = std::fs::metadata(&include.host).map_err(FileError::on("include", &include.host))?;
        if found.is_dir() {
            over(&mut tree, &include.host, &include.path)?;
        } else {
            let content = fs::read(&include.host, limit::FILE_BYTES_MAX)?;
            let entry = Entry::file(content, Origin::Config(include.host.clone())).with_mode(found.permissions().mode() & 0o777);
            tree.put(&include.path, entry)?;
        }
    }
    Ok(tree)
}

fn over(tree: &mut Tree, directory: &Path, at: &TreePath) -> Result<(), Error> {
    let mut layer = Tree::new();
    disk::read(&mut layer, directory, at, false, &Origin::Config(directory.to_owned()))?;
    if !at.is_root() {
        tree.make_dirs(at, &Origin::Config(directory.to_owned()))?;
    }
    for (path, entry) in layer.iter() {
        match entry.kind {
            crate::tree::Kind::Dir => {
                let real = tree.make_dirs(path, &entry.origin)?;
                if let Some(dir) = tree.get_mut(&real) {
                    dir.meta = entry.meta;
                }
            }
            _ => {
                tree.put(path, entry.clone())?;
            }
        }
    }
    Ok(())
}
