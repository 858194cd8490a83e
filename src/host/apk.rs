//! What the machine's apk knows: its repositories. Read only, and without any lock.

use std::path::{Path, PathBuf};

use crate::base::base64::decode;
use crate::base::digest::Sha1;
use crate::base::fs::{self, FileError};
use crate::base::limit;
use crate::package::Package;

/// Where apk keeps packages that it downloaded: where `/etc/apk/cache` leads to, and the place of version 3.
const CACHES: [&str; 2] = ["etc/apk/cache", "var/cache/apk"];
/// Digits of the checksum that stand in a file's name.
const NAME_DIGITS: usize = 8;

/// Returns where apk may keep the file of a package that it downloaded: `NAME-VERSION.HASH.apk`, of the checksum in the index the first
/// digits.
pub fn archived(root: &Path, package: &Package, checksum: &str) -> Vec<PathBuf> {
    let raw = checksum.get(2..).and_then(|text| decode(text).ok()).unwrap_or_default();
    let digits: String = raw.iter().map(|byte| format!("{byte:02x}")).take(NAME_DIGITS / 2).collect();
    let name = format!("{}-{}.{digits}.apk", package.name, package.version);
    CACHES.iter().map(|dir| root.join(dir).join(&name)).collect()
}

/// Returns the repositories files, path on the machine and text, in the order in which apk reads them.
pub fn repositories(root: &Path) -> Result<Vec<(String, String)>, FileError> {
    let mut paths = vec![root.join("etc/apk/repositories")];
    for dir in ["etc/apk/repositories.d", "lib/apk/repositories.d"] {
        let found = fs::list(&root.join(dir))?;
        paths.extend(found.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "list")));
    }
    let mut files = Vec::new();
    for path in paths {
        if let Some(bytes) = fs::read_optional(&path, limit::TEXT_BYTES_MAX)? {
            let inside = path.strip_prefix(root).unwrap_or(&path);
            files.push((format!("/{}", inside.display()), String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    Ok(files)
}

/// Returns where apk keeps the index of a repository: by the first four bytes of its address's SHA-1.
pub fn index(root: &Path, address: &str) -> Option<PathBuf> {
    let digest: String = Sha1::of(address.as_bytes())?[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    let name = format!("APKINDEX.{digest}.tar.gz");
    // `/etc/apk/cache` is a link to where the cache is, if there is one.
    ["etc/apk/cache", "var/cache/apk"].iter().map(|dir| root.join(dir).join(&name)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_kept_under_the_digest_of_its_address() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let dir = root.path().join("var/cache/apk");
        std::fs::create_dir_all(&dir).expect("a directory");
        // `printf %s https://mirror.example/alpine/v3.22/main | sha1sum`
        std::fs::write(dir.join("APKINDEX.816e5baa.tar.gz"), "").expect("writing");
        let found = index(root.path(), "https://mirror.example/alpine/v3.22/main");
        assert_eq!(found, Some(dir.join("APKINDEX.816e5baa.tar.gz")));
        assert_eq!(index(root.path(), "https://mirror.example/alpine/v3.22/community"), None);
    }
}
