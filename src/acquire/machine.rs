//! The packages that are installed on this machine, as a source of bytes.
//!
//! Of a package whose file is in our cache or in apt's the file is taken, when something that was signed says which file that is; else
//! what is installed, if it is whole; else a mirror. The plan is the same either way: the version that is installed.

use std::sync::{Arc, OnceLock};

use super::{Blob, Bytes, Error, Origin, Wanted, World, cached, get, known, remember};
use crate::family::deb::index::DebCatalog;
use crate::family::deb::installed::{Database, Unfit};
use crate::family::repo::{Index, Repository, Spec};
use crate::host::apt;
use crate::package::{Catalog, Package};
use crate::store::state::Listed;

/// The machine that is built on.
#[derive(Debug)]
pub struct Machine {
    /// Its packages.
    pub database: Database,
    /// Its repositories, in which other sources of the same packages are found.
    pub specs: Vec<Spec>,
    arch: String,
    known: OnceLock<Option<DebCatalog>>,
    fetched: OnceLock<Option<DebCatalog>>,
}

impl Machine {
    /// Takes a machine's database, read for `arch`, and its repositories.
    pub fn new(database: Database, specs: Vec<Spec>, arch: &str) -> Self {
        Self { database, specs, arch: arch.to_owned(), known: OnceLock::new(), fetched: OnceLock::new() }
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
        let known = self.known.get_or_init(|| self.catalog(known::repositories(&self.specs, world), world));
        let found = known.as_ref().and_then(|catalog| find(catalog, package)).or_else(|| {
            if !may_fetch || world.fetcher.is_offline() || self.specs.is_empty() {
                return None;
            }
            let fetched = self.fetched.get_or_init(|| match super::repositories(&self.specs, world) {
                Ok(repositories) => self.catalog(repositories, world),
                Err(err) => {
                    world.detail(&format!("the repositories cannot be asked: {}", known::with_cause(&err)));
                    None
                }
            });
            find(fetched.as_ref()?, package)
        })?;
        remember(&found, world);
        Some(world.by_word(found))
    }

    /// What signed indexes list.
    fn catalog(&self, repositories: Vec<Repository>, world: &World<'_>) -> Option<DebCatalog> {
        let indexes: Vec<Index> = repositories.into_iter().flat_map(|repository| repository.indexes).collect();
        let catalog = DebCatalog::new(&self.arch, indexes);
        catalog.map_err(|err| world.detail(&format!("the indexes cannot be read: {}", known::with_cause(&err)))).ok()
    }
}

fn find(catalog: &DebCatalog, wanted: &Package) -> Option<Package> {
    let same = catalog.named(&wanted.name).iter().filter(|id| catalog.version(**id) == wanted.version);
    same.filter_map(|id| catalog.package(*id).ok()).find(|package| package.arch == wanted.arch)
}

/// Gets an installed package.
pub(super) fn get_installed(wanted: &Wanted<'_>, machine: &Machine, world: &World<'_>) -> Result<Blob, Error> {
    let package = wanted.package;
    // An index is only opened for a file that may be the one: reading one takes longer than reading what is installed.
    let archived = apt::archived(&world.root, package).is_file();
    let listed = match world.store.listed(&world.distro, package) {
        None if archived => machine.listed(package, world, false),
        listed => listed,
    };
    if let Some(listed) = listed
        && let Some(blob) = cached(&listed.package, world)
    {
        return Ok(Blob { listed: Some(Box::new(listed.package)), key: listed.key, ..blob });
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
        Ok(blob) => Ok(Blob { listed: Some(Box::new(listed.package)), key: listed.key, ..blob }),
        Err(err) => {
            world.detail(&format!("`{package}` cannot be had otherwise: {}", known::with_cause(&err)));
            Err(refuse(package, unfit, machine))
        }
    }
}

/// Says why a package cannot be had: because dpkg is at work, or because somebody changed it.
fn refuse(package: &Package, unfit: Unfit, machine: &Machine) -> Error {
    if unfit.is_of_transaction() || (unfit.changed().is_some() && machine.database.transaction().is_some()) {
        return Error::Transaction { package: package.to_string(), because: Box::new(unfit) };
    }
    match unfit.changed().cloned() {
        Some(path) => Error::Altered { package: package.name.clone(), path, because: Box::new(unfit) },
        None => Error::Unfit { package: package.to_string(), because: Box::new(unfit) },
    }
}

/// Checks after all was read that the packages that were read are still those that are installed: dpkg may have begun meanwhile, and
/// what was read before and after does not belong together then.
pub(super) fn check_again(wanted: &[Wanted<'_>], blobs: &[Blob], machine: &Machine, world: &World<'_>) -> Result<(), Error> {
    let is_installed = |blob: &Blob| blob.origin == Origin::Installed;
    if !blobs.iter().any(is_installed) || !machine.database.has_changed() {
        return Ok(());
    }
    world.detail("the package database was changed while packages were read: they are looked at again");
    let failed = |package: &Package, because| Error::Transaction { package: package.to_string(), because: Box::new(because) };
    let mut read = wanted.iter().zip(blobs).filter(|(_, blob)| is_installed(blob)).map(|(wanted, _)| wanted.package).peekable();
    let Some(first) = read.peek().copied() else { return Ok(()) };
    let now = Database::open(&world.root, &machine.arch).map_err(|err| failed(first, err.into()))?;
    let now = now.ok_or_else(|| failed(first, Unfit::NoList))?;
    for package in read {
        let gone = || failed(package, Unfit::Gone { wanted: package.version.clone() });
        if let Some(state) = now.get(&package.name).and_then(|entry| entry.state.word()) {
            return Err(failed(package, Unfit::State(state.to_owned())));
        }
        if now.digest(&package.name).map_err(|err| failed(package, err.into()))? != package.sha256 {
            return Err(gone());
        }
    }
    Ok(())
}
