//! The packages that are installed on this machine, as a source of bytes.
//!
//! Of a package whose file is in our cache or in that of the package manager the file is taken, when something that was signed says which file
//! that is; else what is installed, if it is whole; else a mirror. The plan is the same either way: the version that is installed.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::{Blob, Bytes, Error, Origin, Wanted, World, cached, get, known, prove, remember, sources};
use crate::family::installed::{self, Installed, Unfit};
use crate::family::repo::{self, Index, Repository, Spec, Target};
use crate::package::{Catalog, Package};
use crate::store::state::Listed;

/// The machine that is built on.
#[derive(Debug)]
pub struct Machine {
    /// Its packages.
    pub database: Box<dyn Installed>,
    /// Its repositories, in which other sources of the same packages are found.
    pub specs: Vec<Spec>,
    family: &'static str,
    arch: String,
    known: Known,
    fetched: Known,
}

/// What signed indexes list, once they were read.
#[derive(Default)]
struct Known(OnceLock<Option<Box<dyn Catalog>>>);

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let catalog = self.0.get().and_then(Option::as_ref);
        write!(f, "Known({:?} packages)", catalog.map(|catalog| catalog.len()))
    }
}

/// Opens the database of what is installed on the machine whose root is `root`; `None` if it has none of this family, or nothing in it.
pub fn database(family: &str, root: &Path, arch: &str) -> Result<Option<Box<dyn Installed>>, installed::Error> {
    let db_path = sources::pacman_db_path(root).filter(|_| family == "alpm");
    Ok(repo::installed(family, root, arch, db_path.as_deref())?.filter(|database| !database.is_empty()))
}

impl Machine {
    /// Takes a machine's database, read for `arch`, and its repositories.
    pub fn new(database: Box<dyn Installed>, specs: Vec<Spec>, family: &'static str, arch: &str) -> Self {
        Self { database, specs, family, arch: arch.to_owned(), known: Known::default(), fetched: Known::default() }
    }

    /// Returns the repositories whose metadata is on this machine, verified; nothing is fetched.
    pub fn known_repositories(&self, world: &World<'_>) -> Vec<Repository> {
        known::repositories(&self.specs, world)
    }

    /// Returns what a signed index says of an installed package: what is remembered, what the indexes on this machine list, and what
    /// those of the network list if they may be asked.
    fn listed(&self, package: &Package, world: &World<'_>, may_fetch: bool) -> Option<Listed> {
        if let Some(listed) = world.store.listed(&world.distro, package) {
            return Some(listed);
        }
        let known = self.known.0.get_or_init(|| self.catalog(known::repositories(&self.specs, world), world));
        let found = known.as_ref().and_then(|catalog| find(&**catalog, package)).or_else(|| {
            if !may_fetch || world.fetcher.is_offline() || self.specs.is_empty() {
                return None;
            }
            let fetched = self.fetched.0.get_or_init(|| match super::repositories(&self.specs, world) {
                Ok(repositories) => self.catalog(repositories, world),
                Err(err) => {
                    world.detail(&format!("the repositories cannot be asked: {}", known::with_cause(&err)));
                    None
                }
            });
            find(&**fetched.as_ref()?, package)
        })?;
        remember(&found, world);
        Some(world.by_word(found))
    }

    /// What signed indexes list.
    fn catalog(&self, repositories: Vec<Repository>, world: &World<'_>) -> Option<Box<dyn Catalog>> {
        let indexes: Vec<Index> = repositories.into_iter().flat_map(|repository| repository.indexes).collect();
        let target = Target { family: self.family, release: "", components: &[], arch: &self.arch };
        let catalog = repo::catalog(&target, indexes);
        catalog.map_err(|err| world.detail(&format!("the indexes cannot be read: {}", known::with_cause(&err)))).ok()
    }
}

fn find(catalog: &dyn Catalog, wanted: &Package) -> Option<Package> {
    let same = catalog.named(&wanted.name).iter().filter(|id| catalog.version(**id) == wanted.version);
    same.filter_map(|id| catalog.package(*id).ok()).find(|package| package.arch == wanted.arch)
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
            return Ok(Blob { sha256: package.sha256, size_bytes, origin: Origin::Installed, listed: None, key: None, bytes });
        }
        Err(unfit) => unfit,
    };
    world.detail(&format!("`{package}` is not taken as it is installed: {unfit}"));
    let Some(listed) = machine.listed(package, world, true) else {
        world.detail(&format!("no signed index lists `{package}`"));
        return Err(refuse(package, unfit, machine));
    };
    match get(&listed.package, world) {
        Ok(blob) => Ok(known_as(listed, blob)),
        Err(err) => {
            world.detail(&format!("`{package}` cannot be had otherwise: {}", known::with_cause(&err)));
            Err(refuse(package, unfit, machine))
        }
    }
}

/// Looks for the file of a package that an index lists, and proves it as any other.
fn cached_as(listed: &Listed, world: &World<'_>) -> Option<Blob> {
    let package = &listed.package;
    let blob = match &package.proof {
        Some(proof) => prove::cached(package, proof, world)?,
        None => cached(package, world)?,
    };
    let is_strong = package.proof.as_ref().map_or(Ok(()), |proof| prove::check_strength(package, proof, world));
    match is_strong.and_then(|()| prove::check_seal(package, &blob, world)) {
        Ok(()) => Some(known_as(listed.clone(), blob)),
        Err(err) => {
            world.detail(&format!("the file of `{package}` on this machine is not taken: {}", known::with_cause(&err)));
            None
        }
    }
}

/// Says of a file which package of an index it is: by its own digest, whatever else proved it.
fn known_as(listed: Listed, blob: Blob) -> Blob {
    let package = Package { sha256: blob.sha256, ..listed.package };
    Blob { listed: Some(Box::new(package)), key: listed.key, ..blob }
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
