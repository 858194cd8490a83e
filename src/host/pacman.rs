//! What the machine's pacman knows: its configuration, and packages it has downloaded. Read only, and without any lock.
//!
//! Every function takes the root of the machine, which is `/` except in tests.

use std::path::{Path, PathBuf};

use crate::base::fs::{self, FileError};
use crate::base::glob;
use crate::base::limit;
use crate::package::{Location, Package};

/// Where the configuration lies, as it is shown.
pub const CONFIG: &str = "/etc/pacman.conf";

/// Returns the text of the configuration, if there is one.
pub fn config(root: &Path) -> Result<Option<String>, FileError> {
    let bytes = fs::read_optional(&root.join(&CONFIG[1..]), limit::TEXT_BYTES_MAX)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// Returns the files that an `Include` means, path on the machine and text: a path, or a glob in its last component. What cannot be
/// read is not there.
pub fn included(root: &Path, pattern: &str) -> Vec<(String, String)> {
    let Some((parent, name)) = pattern.strip_prefix('/').map(|path| path.rsplit_once('/').unwrap_or(("", path))) else {
        return Vec::new();
    };
    let paths = fs::list(&root.join(parent)).unwrap_or_default().into_iter();
    let is_meant = |path: &PathBuf| {
        let found = path.file_name().unwrap_or_default().as_encoded_bytes();
        found == name.as_bytes() || glob::matches(name.as_bytes(), found)
    };
    let read = |path: PathBuf| {
        let bytes = fs::read_optional(&path, limit::TEXT_BYTES_MAX).ok()??;
        let shown = format!("/{}", path.strip_prefix(root).unwrap_or(&path).display());
        Some((shown, String::from_utf8_lossy(&bytes).into_owned()))
    };
    paths.filter(is_meant).filter_map(read).collect()
}

/// Returns the name under which pacman keeps the file of a package that it downloaded, which is the server's; `None` if it is none of pacman's.
pub fn file_name(package: &Package) -> Option<String> {
    let name = match &package.location {
        Location::Url(url) => url.rsplit('/').next()?.to_owned(),
        Location::File(path) => path.file_name()?.to_str()?.to_owned(),
        Location::Installed => return None,
    };
    name.contains(".pkg.tar").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn includes_are_paths_or_globs_below_the_root() {
        let root = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir_all(root.path().join("etc/pacman.d")).expect("a directory");
        for name in ["b.conf", "a.conf", "mirrorlist"] {
            std::fs::write(root.path().join("etc/pacman.d").join(name), name).expect("writing");
        }
        let names = |pattern: &str| -> Vec<String> { included(root.path(), pattern).into_iter().map(|(name, _)| name).collect() };
        assert_eq!(names("/etc/pacman.d/mirrorlist"), ["/etc/pacman.d/mirrorlist"]);
        assert_eq!(names("/etc/pacman.d/*.conf"), ["/etc/pacman.d/a.conf", "/etc/pacman.d/b.conf"]);
        assert!(names("/etc/none").is_empty() && names("relative").is_empty());
    }
}
