//! Where RPM repositories are: what `--repo` names.

use std::fmt;
use std::path::Path;

use crate::base::trust::SignedBy;
use crate::config::Source;
use crate::family::address::{BadSource, Base};

/// What must be signed in a repository. Whatever is said here, a package is believed only by a signature of its own or one of the metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signatures {
    /// Each package (`gpgcheck=1`), where the metadata are not signed.
    pub packages: bool,
    /// The list of metadata (`repo_gpgcheck=1`).
    pub metadata: bool,
}

impl Default for Signatures {
    /// The one or the other, as it is.
    fn default() -> Self {
        Self { packages: true, metadata: false }
    }
}

/// A repository: a directory with `repodata` in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoSpec {
    /// The directory above `repodata`.
    pub base: Base,
    /// The keys that may sign its metadata or its packages.
    pub signed_by: SignedBy,
    /// What must be signed in it.
    pub signatures: Signatures,
    /// Where it was written.
    pub source: Source,
}

impl fmt::Display for RepoSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.base.fmt(f)
    }
}

/// Reads the value of `--repo`: a URL or a path, of the directory above `repodata`, of `repodata` itself or of its `repomd.xml`.
pub fn parse_repo(value: &str, directory: &Path) -> Result<Vec<RepoSpec>, BadSource> {
    let value = value.trim();
    let value = value.strip_suffix("/repomd.xml").unwrap_or(value).trim_end_matches('/');
    let value = value.strip_suffix("/repodata").unwrap_or(value);
    if value.is_empty() {
        return Err(BadSource::Incomplete("`--repo` needs an address".to_owned()));
    }
    let base = match value.contains(':') {
        true => Base::parse(value)?,
        false => Base::Dir(directory.join(value)),
    };
    let source = Source { file: "--repo".into(), line: 0 };
    Ok(vec![RepoSpec {
        base,
        signed_by: SignedBy { keys: Vec::new(), shipped: true },
        signatures: Signatures::default(),
        source,
    }])
}

/// Returns the repositories of a distribution's mirror: one for each path below it, in which `{release}` and `{arch}` stand for
/// what is wanted.
pub fn mirror(base: &Base, paths: &[String], release: &str, arch: &str, source: &Source) -> Vec<RepoSpec> {
    let below = |path: &String| {
        let path = path.replace("{release}", release).replace("{arch}", arch);
        let base = match base {
            Base::Url(url) => Base::Url(format!("{url}/{}", path.trim_matches('/'))),
            Base::Dir(dir) => Base::Dir(dir.join(path.trim_matches('/'))),
        };
        RepoSpec {
            base,
            signed_by: SignedBy { keys: Vec::new(), shipped: true },
            signatures: Signatures::default(),
            source: source.clone(),
        }
    };
    paths.iter().map(below).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_named_by_its_directory() {
        for (value, shown) in [
            ("file:/srv/os", "file:/srv/os"),
            ("file:///srv/os/repodata/repomd.xml", "file:/srv/os"),
            ("os/repodata/", "file:/here/os"),
            ("https://mirror.example/os/", "https://mirror.example/os"),
        ] {
            let specs = parse_repo(value, Path::new("/here")).unwrap();
            assert_eq!(specs[0].to_string(), shown, "{value}");
        }
        for value in ["", "ftp://mirror.example/os", "https://"] {
            assert!(parse_repo(value, Path::new("/here")).is_err(), "{value}");
        }
    }
}
