//! What the solver sees of a machine: the packages that are installed, in the versions that are, and others that indexes offer.

use std::cmp::Ordering;

use super::Database;
use crate::family::deb::index::{DebCatalog, IndexError};
use crate::family::installed::LABEL;
use crate::family::repo::Index;
use crate::package::{Catalog, Constraint, Flaw, Location, Package, PackageId, Refusal, Relations};

/// The catalog of a machine.
#[derive(Debug)]
pub struct HostCatalog<'a> {
    inner: DebCatalog,
    database: &'a Database,
}

impl<'a> HostCatalog<'a> {
    /// Takes what is installed, and of `indexes` what is not: of an installed name only the installed version counts. With
    /// `with_others` the other versions count too, as a lock file may name one.
    pub fn new(database: &'a Database, indexes: Vec<Index>, with_others: bool) -> Result<Self, IndexError> {
        let all = std::iter::once(database.index()).chain(indexes).collect();
        let hide = |index: &Index, name: &str| !with_others && index.label != LABEL && database.get(name).is_some();
        Ok(Self { inner: DebCatalog::without(&database.arch, all, &hide)?, database })
    }
}

impl Catalog for HostCatalog<'_> {
    fn len(&self) -> usize {
        self.inner.len()
    }

    fn repos(&self) -> Vec<&str> {
        self.inner.repos()
    }

    fn name(&self, id: PackageId) -> &str {
        self.inner.name(id)
    }

    fn version(&self, id: PackageId) -> &str {
        self.inner.version(id)
    }

    fn repo(&self, id: PackageId) -> &str {
        self.inner.repo(id)
    }

    fn rank(&self, id: PackageId) -> u8 {
        self.inner.rank(id)
    }

    fn relations(&self, id: PackageId) -> Result<&Relations, &Refusal> {
        self.inner.relations(id)
    }

    fn package(&self, id: PackageId) -> Result<Package, Refusal> {
        let package = self.inner.package(id)?;
        if package.location != Location::Installed {
            return Ok(package);
        }
        let unreadable = |err: super::Error| Refusal {
            package: package.name.clone(),
            repo: package.repo.clone(),
            flaw: Flaw::Database(err.to_string()),
        };
        let sha256 = self.database.digest(&package.name).map_err(unreadable)?;
        Ok(Package { sha256, ..package })
    }

    fn named(&self, name: &str) -> &[PackageId] {
        self.inner.named(name)
    }

    fn providers(&self, name: &str) -> &[PackageId] {
        self.inner.providers(name)
    }

    fn meets(&self, id: PackageId, constraint: &Constraint) -> bool {
        self.inner.meets(id, constraint)
    }

    fn tie_break(&self, a: PackageId, b: PackageId) -> Ordering {
        self.inner.tie_break(a, b)
    }

    fn compare(&self, a: &str, b: &str) -> Ordering {
        self.inner.compare(a, b)
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        self.inner.names()
    }
}
