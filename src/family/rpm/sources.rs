//! Where RPM repositories are: what `--repo` names, and what a machine's files do ([`super::config`]).

use std::fmt;
use std::path::Path;

use crate::base::trust::SignedBy;
use crate::config::Source;
use crate::family::address::{BadSource, Base};
use crate::family::repo::Policy;
use crate::package::Location;

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

/// Where mirrors of a repository are listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MirrorList {
    /// A metalink, which also says what `repomd.xml` may be.
    Metalink(Base),
    /// Plain addresses.
    Plain(Base),
}

impl MirrorList {
    /// Returns where it lies.
    pub fn location(&self) -> Location {
        let (MirrorList::Metalink(base) | MirrorList::Plain(base)) = self;
        base.into()
    }

    fn of(base: &Base) -> Option<Self> {
        match base {
            Base::Url(url) if url.contains("metalink") => Some(Self::Metalink(base.clone())),
            Base::Url(url) if url.contains("mirrorlist") => Some(Self::Plain(base.clone())),
            _ => None,
        }
    }
}

impl fmt::Display for MirrorList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (MirrorList::Metalink(base) | MirrorList::Plain(base)) = self;
        base.fmt(f)
    }
}

/// A repository: a directory with `repodata` in it, or several with the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoSpec {
    /// Its name in a machine's files: `fedora`.
    pub id: Option<String>,
    /// The directories above `repodata`, the first to be asked first.
    pub bases: Vec<Base>,
    /// Where more of them are listed.
    pub list: Option<MirrorList>,
    /// Its list of mirrors, else its first address, as it was written: dnf names its caches by a digest of this.
    pub written: String,
    /// Which of its packages count, and before whose.
    pub policy: Policy,
    /// Whether one can do without it.
    pub is_optional: bool,
    /// The keys that may sign its metadata or its packages.
    pub signed_by: SignedBy,
    /// What must be signed in it.
    pub signatures: Signatures,
    /// Where it was written.
    pub source: Source,
}

impl RepoSpec {
    /// Returns what identifies the repository from run to run: its list of mirrors, else its first address.
    pub fn key(&self) -> String {
        match (&self.list, self.bases.first()) {
            (Some(list), _) => list.to_string(),
            (None, Some(base)) => base.to_string(),
            (None, None) => self.id.clone().unwrap_or_default(),
        }
    }
}

impl fmt::Display for RepoSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.id {
            Some(id) => f.write_str(id),
            None => f.write_str(&self.key()),
        }
    }
}

/// Reads the value of `--repo`: a URL or a path, of the directory above `repodata`, of `repodata` itself or of its `repomd.xml`; or the
/// URL of a `metalink` or a `mirrorlist`.
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
    Ok(vec![of_distribution(base, Source { file: "--repo".into(), line: 0 })])
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
        of_distribution(base, source.clone())
    };
    paths.iter().map(below).collect()
}

fn of_distribution(base: Base, source: Source) -> RepoSpec {
    let list = MirrorList::of(&base);
    let written = base.to_string();
    let bases = if list.is_some() { Vec::new() } else { vec![base] };
    RepoSpec {
        id: None,
        bases,
        list,
        written,
        policy: Policy::default(),
        signatures: Signatures::default(),
        is_optional: false,
        signed_by: SignedBy { keys: Vec::new(), shipped: true },
        source,
    }
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
            ("https://lists.example/metalink?repo=os-9", "https://lists.example/metalink?repo=os-9"),
        ] {
            let specs = parse_repo(value, Path::new("/here")).unwrap();
            assert_eq!(specs[0].to_string(), shown, "{value}");
        }
        for value in ["", "ftp://mirror.example/os", "https://"] {
            assert!(parse_repo(value, Path::new("/here")).is_err(), "{value}");
        }
    }
}
