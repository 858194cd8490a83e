//! The packages that are installed on this machine, as a source of bytes.
//!
//! Of a package whose file is in our cache or in that of the package manager the file is taken, when something that was signed says which file
//! that is; else what is installed, if it is whole; else a mirror. The plan is the same either way: the version that is installed.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::{Blob, Bytes, Error, Origin, Wanted, World, cached, get, known, prove, remember, sources};
use crate::base::date;
use crate::family::installed::{self, Installed, Unfit};
use crate::family::repo::{self, Index, Repository, Spec, Target};
use crate::package::{Catalog, Package};

/// The machine that is built on.
#[derive(Debug)]
pub struct Machine {
    /// Its packages.
    pub database: Box<dyn Installed>,
    /// Its repositories, in which other sources of the same packages are found.
    pub specs: Vec<Spec>,
    family: &'static str,
    arch: String,
    known: OnceLock<Option<Lists>>,
    fetched: OnceLock<Option<Lists>>,
}

/// What signed indexes list.
struct Lists {
    catalog: Box<dyn Catalog>,
    read: Vec<Listing>,
}

impl fmt::Debug for Lists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lists({:?}, {} packages)", self.read, self.catalog.len())
    }
}

/// A repository that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The names of its indexes.
    pub labels: Vec<String>,
    /// The key whose signature was good.
    pub key: Option<String>,
    /// Its date.
    pub date: Option<String>,
}

/// Opens the database of what is installed on the machine whose root is `root`; `None` if it has none of this family, or nothing in it.
pub fn database(family: &str, root: &Path, arch: &str) -> Result<Option<Box<dyn Installed>>, installed::Error> {
    let db_path = sources::pacman_db_path(root).filter(|_| family == "alpm");
    Ok(repo::installed(family, root, arch, db_path.as_deref())?.filter(|database| !database.is_empty()))
}

impl Machine {
    /// Takes a machine's database, read for `arch`, and its repositories.
    pub fn new(database: Box<dyn Installed>, specs: Vec<Spec>, family: &'static str, arch: &str) -> Self {
        Self { database, specs, family, arch: arch.to_owned(), known: OnceLock::new(), fetched: OnceLock::new() }
    }

    /// Returns the repositories whose metadata is on this machine, verified; nothing is fetched.
    pub fn known_repositories(&self, world: &World<'_>) -> Vec<Repository> {
        known::repositories(&self.specs, world)
    }

    /// Returns the repositories that were read to find package files.
    pub fn listings(&self) -> Vec<Listing> {
        let read = [&self.known, &self.fetched].into_iter().filter_map(|lists| lists.get()?.as_ref());
        read.flat_map(|lists| lists.read.iter().cloned()).collect()
    }

    /// Returns what a signed index says of an installed package: what is remembered, what the indexes on this machine list, and what
    /// those of the network list if they may be asked.
    fn listed(&self, package: &Package, world: &World<'_>, may_fetch: bool) -> Option<Package> {
        if let Some(listed) = world.store.listed(&world.distro, package) {
            return Some(listed);
        }
        let known = self.known.get_or_init(|| self.lists(known::repositories(&self.specs, world), world));
        let found = known.as_ref().and_then(|lists| lists.find(package)).or_else(|| {
            if !may_fetch || world.fetcher.is_offline() || self.specs.is_empty() {
                return None;
            }
            let fetched = self.fetched.get_or_init(|| match super::repositories(&self.specs, world) {
                Ok(repositories) => self.lists(repositories, world),
                Err(err) => {
                    world.detail(&format!("the repositories cannot be asked: {}", known::with_cause(&err)));
                    None
                }
            });
            fetched.as_ref()?.find(package)
        })?;
        remember(&found, world);
        Some(found)
    }

    fn lists(&self, repositories: Vec<Repository>, world: &World<'_>) -> Option<Lists> {
        let read = repositories.iter().map(Listing::of).collect();
        let indexes: Vec<Index> = repositories.into_iter().flat_map(|repository| repository.indexes).collect();
        let target = Target { family: self.family, release: "", components: &[], arch: &self.arch };
        match repo::catalog(&target, indexes) {
            Ok(catalog) => Some(Lists { catalog, read }),
            Err(err) => {
                world.detail(&format!("the indexes cannot be read: {}", known::with_cause(&err)));
                None
            }
        }
    }
}

impl Listing {
    fn of(repository: &Repository) -> Self {
        Self {
            labels: repository.indexes.iter().map(|index| index.label.clone()).collect(),
            key: repository.signer.as_ref().map(|signer| signer.fingerprint.clone()),
            date: repository.date.map(date::show),
        }
    }
}

impl Lists {
    fn find(&self, wanted: &Package) -> Option<Package> {
        let same = self.catalog.named(&wanted.name).iter().filter(|id| self.catalog.version(**id) == wanted.version);
        same.filter_map(|id| self.catalog.package(*id).ok()).find(|package| package.arch == wanted.arch)
    }
}

/// Gets an installed package.
pub(super) fn get_installed(wanted: &Wanted<'_>, machine: &Machine, world: &World<'_>) -> Result<Blob, Error> {
    let package = wanted.package;
    // An index is only opened for a file that may be the one: reading one takes longer than reading what is installed.
    let listed = match world.store.listed(&world.distro, package) {
        None if sources::is_archived(package, machine.family, world) => machine.listed(package, world, false),
        listed => listed,
    };
    if let Some(listed) = listed
        && let Some(blob) = cached_as(&listed, world)
    {
        return Ok(blob);
    }
    let unfit = match machine.database.files(package, wanted.keep) {
        Ok(files) => {
            let size_bytes = files.members.iter().map(|(_, bytes)| bytes.len() as u64).sum();
            let bytes = Bytes::Installed(Arc::new(files));
            return Ok(Blob { sha256: package.sha256, size_bytes, origin: Origin::Installed, listed: None, bytes });
        }
        Err(unfit) => unfit,
    };
    world.detail(&format!("`{package}` is not taken as it is installed: {unfit}"));
    let Some(listed) = machine.listed(package, world, true) else {
        world.detail(&format!("no signed index lists `{package}`"));
        return Err(refuse(package, unfit, machine));
    };
    match get(&listed, world) {
        Ok(blob) => Ok(known_as(listed, blob)),
        Err(err) => {
            world.detail(&format!("`{package}` cannot be had otherwise: {}", known::with_cause(&err)));
            Err(refuse(package, unfit, machine))
        }
    }
}

/// Looks for the file of a package that an index lists, and proves it as any other.
fn cached_as(listed: &Package, world: &World<'_>) -> Option<Blob> {
    let blob = match &listed.proof {
        Some(proof) => prove::cached(listed, proof, world)?,
        None => cached(listed, world)?,
    };
    let is_strong = listed.proof.as_ref().map_or(Ok(()), |proof| prove::check_strength(listed, proof, world));
    match is_strong.and_then(|()| prove::check_seal(listed, &blob, world)) {
        Ok(()) => Some(known_as(listed.clone(), blob)),
        Err(err) => {
            world.detail(&format!("the file of `{listed}` on this machine is not taken: {}", known::with_cause(&err)));
            None
        }
    }
}

/// Says of a file which package of an index it is: by its own digest, whatever else proved it.
fn known_as(listed: Package, blob: Blob) -> Blob {
    let listed = Package { sha256: blob.sha256, ..listed };
    Blob { listed: Some(Box::new(listed)), ..blob }
}

/// Says why a package cannot be had: because the package manager is at work, or because somebody changed it.
fn refuse(package: &Package, unfit: Unfit, machine: &Machine) -> Error {
    let remedy = machine.database.remedy();
    if unfit.is_of_transaction() || (unfit.changed().is_some() && machine.database.transaction().is_some()) {
        return Error::Transaction { package: package.to_string(), because: Box::new(unfit), remedy };
    }
    match unfit.changed().cloned() {
        Some(path) => Error::Altered { package: package.name.clone(), path, because: Box::new(unfit), remedy },
        None => Error::Unfit { package: package.to_string(), because: Box::new(unfit) },
    }
}

/// Checks after all was read that the packages that were read are still those that are installed: a transaction may have begun meanwhile,
/// and what was read before and after does not belong together then.
pub(super) fn check_again(wanted: &[Wanted<'_>], blobs: &[Blob], machine: &Machine, world: &World<'_>) -> Result<(), Error> {
    let is_installed = |blob: &Blob| blob.origin == Origin::Installed;
    if !blobs.iter().any(is_installed) || !machine.database.has_changed() {
        return Ok(());
    }
    world.detail("the package database was changed while packages were read: they are looked at again");
    let remedy = machine.database.remedy();
    let failed =
        |package: &Package, because| Error::Transaction { package: package.to_string(), because: Box::new(because), remedy };
    let mut read = wanted.iter().zip(blobs).filter(|(_, blob)| is_installed(blob)).map(|(wanted, _)| wanted.package).peekable();
    let Some(first) = read.peek().copied() else { return Ok(()) };
    let now = machine.database.reopen().map_err(|err| failed(first, err.into()))?;
    let now = now.ok_or_else(|| failed(first, Unfit::NoList))?;
    for package in read {
        now.check(package).map_err(|because| failed(package, because))?;
    }
    Ok(())
}
