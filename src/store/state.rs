//! What was last seen of each repository: it protects against being sent back in time, and lets a build work offline. And which package
//! files signed indexes have listed: an installed package finds its file in a cache by that, without an index.

use serde::{Deserialize, Serialize};

use super::Store;
use crate::base::digest::Sha256;
use crate::base::fs::FileError;
use crate::base::trust::Seen;
use crate::package::Package;

impl Store {
    /// Returns what was last seen of a repository. What cannot be read counts as never seen.
    pub fn seen(&self, repository: &str) -> Option<Seen> {
        serde_json::from_slice::<Seen>(&self.read_state(&name(repository))?).ok().filter(|seen| seen.repository == repository)
    }

    /// Remembers what was seen, unless another run has seen something newer meanwhile.
    pub fn remember(&self, seen: &Seen) -> Result<(), FileError> {
        if self.seen(&seen.repository).is_some_and(|known| known.date > seen.date) {
            return Ok(());
        }
        let bytes = serde_json::to_vec_pretty(seen).expect("invariant: strings and numbers become JSON");
        self.write_state(&name(&seen.repository), &bytes)
    }
}

impl Store {
    /// Returns what a signed index of `distro` said of a package when it was last read.
    pub fn listed(&self, distro: &str, package: &Package) -> Option<Listed> {
        let listed: Listed = serde_json::from_slice(&self.read_state(&listed_name(distro, package))?).ok()?;
        let known = &listed.package;
        let is_same = (&known.name, &known.version, &known.arch) == (&package.name, &package.version, &package.arch);
        is_same.then_some(listed)
    }

    /// Remembers what a signed index says of a package.
    pub fn remember_listed(&self, distro: &str, listed: &Listed) -> Result<(), FileError> {
        let package = &listed.package;
        if self.listed(distro, package).is_some_and(|known| known.package.sha256 == package.sha256) {
            return Ok(());
        }
        let lean = Package {
            requires: Vec::new(),
            recommends: Vec::new(),
            provides: Vec::new(),
            conflicts: Vec::new(),
            ..package.clone()
        };
        let lean = Listed { package: lean, key: listed.key.clone() };
        let bytes = serde_json::to_vec(&lean).expect("invariant: strings and numbers become JSON");
        self.write_state(&listed_name(distro, package), &bytes)
    }
}

/// What a signed index says of a package, and by whose word.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    /// The package.
    #[serde(flatten)]
    pub package: Package,
    /// Fingerprint of the key that signed the index.
    #[serde(default)]
    pub key: Option<String>,
}

fn listed_name(distro: &str, package: &Package) -> String {
    name(&format!("package {distro} {} {} {}", package.name, package.version, package.arch))
}

fn name(repository: &str) -> String {
    Sha256::of(repository.as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d06_the_newest_is_remembered() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(dir.path());
        let at = |date| Seen {
            repository: "http://m/debian trixie".to_owned(),
            date,
            text: Sha256::of(b"x"),
            fetched: 9,
            files: vec![("InRelease".to_owned(), Sha256::of(b"y"))],
        };
        assert_eq!(store.seen("http://m/debian trixie"), None);
        store.remember(&at(5)).expect("writing");
        store.remember(&at(7)).expect("writing");
        store.remember(&at(6)).expect("older is passed over");
        assert_eq!(store.seen("http://m/debian trixie"), Some(at(7)));
        assert_eq!(store.seen("http://m/debian sid"), None);
        std::fs::write(dir.path().join("state").join(name("http://m/debian trixie")), b"{").expect("writing");
        assert_eq!(store.seen("http://m/debian trixie"), None);
    }
}
