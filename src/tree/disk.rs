//! Trees on disk: writes one out as a directory, reads a directory in. Ordinary users can do both.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::{Content, Entry, Kind, Meta, Origin, Tree, TreeError, TreePath};
use crate::base::fs::{self as base_fs, FileError};
use crate::base::limit;

/// A directory cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// What is on disk does not fit into a tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The directory to write exists and is not empty.
    #[error("the directory `{}` is not empty", .0.display())]
    NotEmpty(PathBuf),
}

/// Writes a tree below `root`, which must be absent or empty. Returns the device nodes that an ordinary user could not make.
///
/// Owners are set only when running as root. Hard links stay hard links.
pub fn write(tree: &Tree, root: &Path) -> Result<Vec<TreePath>, DiskError> {
    base_fs::create_dir_all(root)?;
    if !base_fs::list(root)?.is_empty() {
        return Err(DiskError::NotEmpty(root.to_owned()));
    }
    let privileged = rustix::process::geteuid().is_root();
    let mut links = std::collections::BTreeMap::new();
    let mut left_out = Vec::new();
    for (path, entry) in tree.iter() {
        let to = root.join(std::ffi::OsStr::from_bytes(path.as_bytes()));
        match &entry.kind {
            Kind::Dir => fs::create_dir(&to).map_err(FileError::on("create the directory", &to))?,
            Kind::File(content) => match content.identity().and_then(|id| links.get(&id)) {
                Some(first) => {
                    fs::hard_link(first, &to).map_err(FileError::on("link", &to))?;
                    continue;
                }
                None => {
                    write_file(&to, content.bytes())?;
                    links.extend(content.identity().map(|id| (id, to.clone())));
                }
            },
            Kind::Symlink(target) => {
                symlink(std::ffi::OsStr::from_bytes(target), &to).map_err(FileError::on("link", &to))?;
            }
            Kind::Device { .. } | Kind::Fifo => {
                if !make_node(&to, entry) {
                    left_out.push(path.clone());
                    continue;
                }
            }
        }
        if privileged {
            std::os::unix::fs::lchown(&to, Some(entry.meta.uid), Some(entry.meta.gid))
                .map_err(FileError::on("change the owner of", &to))?;
        }
    }
    // Modes last and from the leaves up: a directory may be closed to its owner.
    for (path, entry) in tree.iter().collect::<Vec<_>>().into_iter().rev() {
        if !matches!(entry.kind, Kind::Symlink(_)) && !left_out.contains(path) {
            let to = root.join(std::ffi::OsStr::from_bytes(path.as_bytes()));
            fs::set_permissions(&to, fs::Permissions::from_mode(entry.meta.mode))
                .map_err(FileError::on("change the mode of", &to))?;
        }
    }
    Ok(left_out)
}

fn write_file(to: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut file: File =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(FileError::on("create", to))?;
    file.write_all(bytes).map_err(FileError::on("write", to))
}

fn make_node(to: &Path, entry: &Entry) -> bool {
    use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
    let (file_type, device) = match entry.kind {
        Kind::Device { block: true, major, minor } => (FileType::BlockDevice, makedev(major, minor)),
        Kind::Device { major, minor, .. } => (FileType::CharacterDevice, makedev(major, minor)),
        _ => (FileType::Fifo, 0),
    };
    mknodat(CWD, to, file_type, Mode::from_raw_mode(0o600), device).is_ok()
}

/// Reads a directory below `at` in the tree. Sockets are passed over; owners become root unless `keep_owners`.
pub fn read(tree: &mut Tree, root: &Path, at: &TreePath, keep_owners: bool, origin: &Origin) -> Result<(), DiskError> {
    walk(tree, root, at, keep_owners, origin, &|path| Ok(Content::from(base_fs::read(path, limit::FILE_BYTES_MAX)?)))
}

/// Like [`read`], but no file is opened: all are empty. Owners become root.
pub fn read_names(tree: &mut Tree, root: &Path, at: &TreePath, origin: &Origin) -> Result<(), DiskError> {
    walk(tree, root, at, false, origin, &|_| Ok(Content::from("")))
}

fn walk(
    tree: &mut Tree,
    root: &Path,
    at: &TreePath,
    keep_owners: bool,
    origin: &Origin,
    content: &dyn Fn(&Path) -> Result<Content, FileError>,
) -> Result<(), DiskError> {
    for path in base_fs::list(root)? {
        let metadata = fs::symlink_metadata(&path).map_err(FileError::on("look at", &path))?;
        let name = path.file_name().expect("invariant: listed paths have a name").as_bytes();
        let here = at.join(name).map_err(TreeError::from)?;
        let file_type = metadata.file_type();
        let kind = if file_type.is_dir() {
            Kind::Dir
        } else if file_type.is_symlink() {
            Kind::Symlink(fs::read_link(&path).map_err(FileError::on("read the link", &path))?.into_os_string().into_vec())
        } else if file_type.is_file() {
            Kind::File(content(&path)?)
        } else if file_type.is_fifo() {
            Kind::Fifo
        } else if file_type.is_block_device() || file_type.is_char_device() {
            let device = metadata.rdev();
            Kind::Device {
                block: file_type.is_block_device(),
                major: rustix::fs::major(device),
                minor: rustix::fs::minor(device),
            }
        } else {
            continue;
        };
        let (uid, gid) = if keep_owners { (metadata.uid(), metadata.gid()) } else { (0, 0) };
        let meta = Meta { mode: metadata.mode() & 0o7777, uid, gid, mtime_s: u32::try_from(metadata.mtime()).unwrap_or(0) };
        let is_dir = matches!(kind, Kind::Dir);
        tree.insert(&here, Entry { meta, kind, origin: origin.clone() })?;
        if is_dir {
            walk(tree, &path, &here, keep_owners, origin, content)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_survives_the_disk() {
        const MADE: Origin = Origin::Made("test");
        let mut tree = Tree::new();
        let shared = Content::from("shared");
        for (path, entry) in [
            ("a/f", Entry::file(shared.clone(), MADE).with_mode(0o640)),
            ("a/g", Entry::file(shared, MADE).with_mode(0o640)),
            ("a/closed/x", Entry::file("x", MADE)),
            ("l", Entry::symlink("a/f", MADE)),
            ("p", Entry { meta: Meta::root(0o600), kind: Kind::Fifo, origin: MADE }),
        ] {
            tree.insert(&TreePath::literal(path), entry).expect(path);
        }
        tree.get_mut(&TreePath::literal("a/closed")).expect("the directory").meta.mode = 0o700;
        let dir = tempfile::tempdir().expect("a temporary directory");
        let root = dir.path().join("root");
        assert_eq!(write(&tree, &root).expect("writing"), []);
        let links = fs::metadata(root.join("a/f")).expect("the file").nlink();
        assert_eq!(links, 2);
        let mut back = Tree::new();
        read(&mut back, &root, &TreePath::root(), false, &MADE).expect("reading");
        for ((path, wrote), (same, found)) in tree.iter().zip(back.iter()) {
            assert_eq!((path, &wrote.kind, wrote.meta.mode), (same, &found.kind, found.meta.mode));
        }
        assert_eq!(tree.len(), back.len());
        assert!(matches!(write(&tree, &root), Err(DiskError::NotEmpty(_))));
    }
}
