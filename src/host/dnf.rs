//! What the machine's dnf and zypper know: repositories, variables, keys, and what they have downloaded. Read only, and without any lock.
//!
//! Every function takes the root of the machine, which is `/` except in tests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::base::digest::Sha256;
use crate::base::fs::{self, FileError};
use crate::base::limit;
use crate::package::Location;

/// Files by their path on the machine, with their texts.
pub type Texts = Vec<(String, String)>;

/// Where dnf looks for repositories unless its configuration says otherwise.
pub const REPO_DIRS: [&str; 4] = ["/etc/yum.repos.d", "/etc/yum/repos.d", "/etc/distro.repos.d", "/usr/share/dnf5/repos.d"];
/// Where zypper does.
pub const ZYPP_REPO_DIRS: [&str; 1] = ["/etc/zypp/repos.d"];
/// Where dnf keeps variables, the later ones counting more.
pub const VARIABLE_DIRS: [&str; 3] = ["/usr/share/dnf5/vars.d", "/etc/yum/vars", "/etc/dnf/vars"];
/// Where zypper does.
pub const ZYPP_VARIABLE_DIRS: [&str; 1] = ["/etc/zypp/vars.d"];
/// Where packages of distributions put the keys that they are signed with.
const KEY_DIRS: [&str; 2] = ["/etc/pki/rpm-gpg", "/usr/lib/rpm/gnupg/keys"];
/// Directories with a cache for each repository: of dnf 4 and of dnf 5.
const CACHES: [&str; 2] = ["var/cache/dnf", "var/cache/libdnf5"];
const ZYPP_METADATA: &str = "var/cache/zypp/raw";
const ZYPP_PACKAGES: &str = "var/cache/zypp/packages";

/// Returns dnf's configuration, what counts most last: what is dropped in, and `dnf.conf` (`yum.conf` where there is no other).
pub fn main_config(root: &Path) -> Result<Texts, FileError> {
    let mut files = dropped_in(root, &["/usr/share/dnf5/libdnf.conf.d", "/etc/dnf/libdnf5.conf.d"], "conf")?;
    for path in ["/etc/dnf/dnf.conf", "/etc/yum.conf"] {
        if let Some(text) = text(&below(root, path))? {
            files.push((path.to_owned(), text));
            break;
        }
    }
    Ok(files)
}

/// Returns the `.repo` files of directories in dnf's order: by their paths without the ending, component by component.
pub fn repos(root: &Path, dirs: &[&str]) -> Result<Texts, FileError> {
    let mut paths = Vec::new();
    for dir in dirs {
        paths.extend(listed(&below(root, dir), "repo")?);
    }
    paths.sort_by_key(|path| path.with_extension(""));
    paths.dedup();
    read_all(root, paths)
}

/// Returns what overrides options of repositories (dnf 5), in the order in which it is applied.
pub fn overrides(root: &Path) -> Result<Texts, FileError> {
    dropped_in(root, &["/usr/share/dnf5/repos.override.d", "/etc/dnf/repos.override.d"], "repo")
}

/// Returns the files of directories that are sorted by name together; of one name that of the last directory counts.
fn dropped_in(root: &Path, dirs: &[&str], extension: &str) -> Result<Texts, FileError> {
    let mut by_name = BTreeMap::new();
    for dir in dirs {
        for path in listed(&below(root, dir), extension)? {
            by_name.insert(path.file_name().unwrap_or_default().to_owned(), path);
        }
    }
    read_all(root, by_name.into_values().collect())
}

/// Returns the variables of directories, name and text, the later ones counting more.
pub fn variables(root: &Path, dirs: &[&str]) -> Result<Texts, FileError> {
    let mut variables = Vec::new();
    for dir in dirs {
        for path in fs::list(&below(root, dir))?.into_iter().filter(|path| path.is_file()) {
            if let (Some(name), Some(text)) = (path.file_name().and_then(|name| name.to_str()), text(&path)?) {
                variables.push((name.to_owned(), text));
            }
        }
    }
    Ok(variables)
}

/// Returns the files with keys that packages of distributions have installed, by their paths on the machine.
pub fn keys(root: &Path) -> Result<Vec<PathBuf>, FileError> {
    let mut paths = Vec::new();
    for dir in KEY_DIRS {
        let found = fs::list(&below(root, dir))?.into_iter().filter(|path| path.is_file());
        paths.extend(found.filter_map(|path| Some(Path::new(dir).join(path.file_name()?))));
    }
    Ok(paths)
}

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn text(path: &Path) -> Result<Option<String>, FileError> {
    let bytes = fs::read_optional(path, limit::TEXT_BYTES_MAX)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

fn listed(dir: &Path, extension: &str) -> Result<Vec<PathBuf>, FileError> {
    let is_meant = |path: &PathBuf| path.extension().is_some_and(|found| found == extension);
    Ok(fs::list(dir)?.into_iter().filter(is_meant).collect())
}

fn read_all(root: &Path, paths: Vec<PathBuf>) -> Result<Texts, FileError> {
    let mut files = Vec::new();
    for path in paths {
        if let Some(text) = text(&path)? {
            files.push((format!("/{}", path.strip_prefix(root).unwrap_or(&path).display()), text));
        }
    }
    Ok(files)
}

/// Returns the directories in which dnf and zypper keep the metadata of a repository, by its name and the address of its list
/// of mirrors, or else its first own, as it is written.
pub fn metadata_dirs(root: &Path, id: &str, written: &str) -> Vec<PathBuf> {
    let digest = Sha256::of(written.as_bytes()).to_string();
    let of_dnf = CACHES.iter().map(|cache| root.join(cache).join(format!("{id}-{}", &digest[..16])));
    // zypper's names of repositories may hold anything.
    of_dnf.chain([root.join(ZYPP_METADATA).join(id.replace('/', "_"))]).collect()
}

/// Returns where dnf and zypper keep the file of a package that they downloaded, by where it came from and its architecture.
pub fn archived(root: &Path, from: &Location, arch: &str) -> Vec<PathBuf> {
    let name = match from {
        Location::Url(url) => url.rsplit('/').next().unwrap_or_default().to_owned(),
        Location::File(path) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        Location::Installed => return Vec::new(),
    };
    if !name.ends_with(".rpm") {
        return Vec::new();
    }
    // What cannot be listed is not there for us.
    let dirs = |cache: &str| fs::list(&root.join(cache)).unwrap_or_default();
    let of_dnf = CACHES.into_iter().flat_map(dirs).map(|dir| dir.join("packages").join(&name));
    let of_zypper = dirs(ZYPP_PACKAGES).into_iter().flat_map(|dir| [dir.join(arch).join(&name), dir.join(&name)]);
    of_dnf.chain(of_zypper).filter(|path| path.is_file()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            std::fs::write(path, text).expect("writing");
        }
        dir
    }

    #[test]
    fn files_come_in_dnfs_order() {
        let root = machine(&[
            ("etc/yum.repos.d/b.repo", "b"),
            ("etc/yum.repos.d/a.repo", "a"),
            ("etc/yum.repos.d/a-b.repo", "a-b"),
            ("etc/yum.repos.d/c.repo.rpmsave", "no"),
            ("usr/share/dnf5/repos.d/a.repo", "share"),
            ("etc/distro.repos.d/z.repo", "distro"),
            ("etc/dnf/repos.override.d/20-x.repo", "own"),
            ("usr/share/dnf5/repos.override.d/20-x.repo", "masked"),
            ("usr/share/dnf5/repos.override.d/10-x.repo", "first"),
        ]);
        let texts = |files: Texts| files.into_iter().map(|(_, text)| text).collect::<Vec<_>>();
        assert_eq!(texts(repos(root.path(), &REPO_DIRS).expect("files")), ["distro", "a", "a-b", "b", "share"]);
        assert_eq!(texts(overrides(root.path()).expect("files")), ["first", "own"]);
        assert!(main_config(root.path()).expect("no configuration").is_empty());
    }

    #[test]
    fn packages_are_looked_for_in_every_cache() {
        let from = |name: &str| Location::Url(format!("https://m/os/x86_64/{name}"));
        let root = machine(&[
            ("var/cache/dnf/base-0123/packages/a-1-1.x86_64.rpm", ""),
            ("var/cache/dnf/base-0123/packages/b-1-1.x86_64.rpm", ""),
            ("var/cache/libdnf5/base-0123/packages/a-1-1.x86_64.rpm", ""),
            ("var/cache/zypp/packages/repo-oss/x86_64/a-1-1.x86_64.rpm", ""),
        ]);
        assert_eq!(archived(root.path(), &from("a-1-1.x86_64.rpm"), "x86_64").len(), 3);
        assert_eq!(archived(root.path(), &from("a-1-1.x86_64.rpm"), "noarch").len(), 2);
        assert!(archived(root.path(), &from("a-1-2.x86_64.rpm"), "x86_64").is_empty());
        assert!(archived(root.path(), &from("a.deb"), "x86_64").is_empty());
    }
}
