//! The packages that `build` and `plan` settle on: those that are installed on this machine where it is the target, else an archive's.
//!
//! A machine is asked first for what it has: no repository is opened for a request that the installed packages meet. What they do not
//! meet is looked for in metadata that is on the machine, and only then over the network. Whoever names a repository or a mirror
//! gets packages of that alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use super::Failure;
use super::args::{Global, Sources, Target};
use super::request::{Lacking, Settled};
use super::session;
use crate::acquire::{self, Blob, Machine, Origin, Wanted, World};
use crate::base::error::ErrorKind;
use crate::base::fs;
use crate::base::limit;
use crate::base::size::Size;
use crate::family;
use crate::family::repo::{self, Repository};
use crate::manifest;
use crate::package::{Catalog, Package};
use crate::pipeline::{self, Keeps, Planning};
use crate::plan::{self, Part, Plan, lock};
use crate::report::{Event, Reporter, Stage};
use crate::tree::TreePath;

/// What was settled on.
pub struct Chosen {
    /// The packages.
    pub plan: Plan,
    /// The repositories that were read, for the manifest.
    pub described: Vec<manifest::Repository>,
    /// Features that the profile has by default and that the repositories cannot serve.
    pub lacking: Vec<Lacking>,
}

/// Returns the machine's own packages where they count: the image is for it, and nobody named a target or a source. Whoever names a
/// distribution or a release means what its archive has, and gets the same on every machine.
pub fn machine(
    settled: &Settled,
    target: &Target,
    sources: &Sources,
    global: &Global,
    reporter: &dyn Reporter,
) -> Result<Option<Machine>, Failure> {
    let is_named = target.distro.is_some() || target.release.is_some() || target.arch.is_some();
    if is_named || !settled.is_own || !sources.repo.is_empty() || sources.mirror.is_some() {
        return Ok(None);
    }
    let Some(family) = family::by_name(&settled.profile.family) else { return Ok(None) };
    let arch = &settled.profile.arch;
    let Some(database) = acquire::database(family.name(), &settled.host_root, arch)? else { return Ok(None) };
    if let Some(why) = database.transaction() {
        let message = format!("{why}: what is not whole on this machine is taken from elsewhere");
        reporter.event(&Event::Detail { stage: Stage::Plan, message: &message });
    }
    // A machine without any repository can still be built from.
    let specs = session::specs(settled, sources, global, reporter).unwrap_or_default();
    Ok(Some(Machine::new(database, specs, family.name(), arch)))
}

/// Returns the versions of the packages that are installed on this machine.
pub fn installed_versions(settled: &Settled) -> Result<BTreeMap<String, String>, Failure> {
    let database = acquire::database(&settled.profile.family, &settled.host_root, &settled.profile.arch)?;
    Ok(database.map(|database| database.versions()).unwrap_or_default())
}

/// Solves, or takes the packages of a lockfile.
pub fn choose(
    settled: &Settled,
    wanted: &Planning<'_>,
    sources: &Sources,
    global: &Global,
    world: &World<'_>,
    reporter: &dyn Reporter,
) -> Result<Chosen, Failure> {
    let once = Once { inner: reporter, has_begun: AtomicBool::new(false) };
    let mut open = || session::repositories(settled, sources, global, world, reporter);
    let ask = |opened: Vec<Repository>| -> Result<Option<Chosen>, Failure> {
        let described = opened.iter().map(session::describe).collect();
        let indexes = session::indexes(opened);
        let catalog = match world.machine {
            Some(machine) => machine.database.catalog(indexes, sources.locked.is_some())?,
            None => repo::catalog(&session::target(&settled.profile, &session::components(&settled.profile)), indexes)?,
        };
        // Of a machine that is built from what it has, nothing is missing that it could have.
        let lacking = if world.machine.is_some() { Vec::new() } else { lacking(settled, &*catalog) };
        match solve(wanted, sources, &*catalog, &once) {
            Err(_) if catalog.lacks_files() && world.read_files() => Ok(None),
            plan => {
                lacking.iter().for_each(|lacking| lacking.tell(reporter));
                Ok(Some(Chosen { plan: plan?, described, lacking }))
            }
        }
    };
    // Lists of all files are large, and hardly any request needs one: they are read when an answer was seen to depend on them.
    let attempt = |open: &mut dyn FnMut() -> Result<Vec<Repository>, Failure>| -> Result<Chosen, Failure> {
        loop {
            if let Some(chosen) = ask(open()?)? {
                return Ok(chosen);
            }
            let message = "a package requires a path: the lists of all files are read";
            reporter.event(&Event::Detail { stage: Stage::Plan, message });
        }
    };
    let Some(machine) = world.machine else { return attempt(&mut open) };
    let tell = |error: &Failure, next: &str| {
        let message = format!("{next}, because {error}");
        reporter.event(&Event::Detail { stage: Stage::Plan, message: &message });
    };
    let mut error = match attempt(&mut || Ok(Vec::new())) {
        Ok(chosen) => return Ok(chosen),
        Err(error) if error.kind() == ErrorKind::Config => return Err(error),
        Err(error) => error,
    };
    tell(&error, "the packages that are installed are not enough");
    if let Some(why) = machine.database.transaction() {
        let message = format!("transaction in progress: {why}");
        reporter.event(&Event::Warning { stage: Stage::Plan, message: &message });
    }
    let known = || session::by_priority(machine.known_repositories(world));
    let mut first = Some(known()).filter(|known| !known.is_empty());
    if first.is_some() {
        match attempt(&mut || Ok(first.take().unwrap_or_else(known))) {
            Ok(chosen) => return Ok(chosen),
            Err(other) => error = other,
        }
        tell(&error, "nor are the indexes on this machine");
    }
    if sources.offline || machine.specs.is_empty() {
        return Err(error);
    }
    attempt(&mut open)
}

/// Returns the features that nobody asked for in particular and of whose optional packages the repositories have none.
fn lacking(settled: &Settled, catalog: &dyn Catalog) -> Vec<Lacking> {
    let features = settled.layers.optional_features(&settled.profile);
    let absent = features.filter(|(_, packages)| packages.iter().all(|item| !plan::is_offered(item, catalog)));
    let lacking = absent.map(|(feature, packages)| {
        let names: Vec<&str> = packages.iter().map(|item| item.text.trim_end_matches(['?', ' '])).collect();
        Lacking { feature: feature.to_owned(), packages: names.join("`, `") }
    });
    lacking.collect()
}

fn solve(wanted: &Planning<'_>, sources: &Sources, catalog: &dyn Catalog, reporter: &dyn Reporter) -> Result<Plan, Failure> {
    let Some(path) = &sources.locked else { return Ok(pipeline::plan(wanted, catalog, reporter)?) };
    let text = fs::read_text(path, limit::TEXT_BYTES_MAX)?;
    Ok(lock::read(&text, &path.display().to_string(), catalog)?)
}

/// Gets the packages of a plan. What was planned as installed and is taken from its package file says so in the plan afterwards.
pub fn fetch(chosen: &mut Chosen, keeps: &Keeps, world: &World<'_>, reporter: &dyn Reporter) -> Result<Vec<Blob>, Failure> {
    reporter.event(&Event::Begin { stage: Stage::Acquire });
    // A package can be taken for several parts; it is read once, for all of them.
    let parts = |package: &Package| -> Vec<Part> {
        let same = chosen.plan.wanted().filter(|planned| planned.package.sha256 == package.sha256);
        same.map(|planned| planned.part).collect()
    };
    let keep = |parts: Vec<Part>| move |path: &TreePath| parts.iter().any(|part| keeps.keeps(*part, path));
    let kept: Vec<_> = chosen.plan.wanted().map(|planned| keep(parts(&planned.package))).collect();
    let wanted = chosen.plan.wanted().zip(&kept);
    let wanted: Vec<Wanted<'_>> = wanted.map(|(planned, keep)| Wanted { package: &planned.package, keep }).collect();
    let blobs = acquire::acquire_wanted(&wanted, world)?;
    let planned = chosen.plan.packages.iter_mut().filter(|planned| !planned.omitted);
    for (planned, listed) in planned.zip(&blobs).filter_map(|(planned, blob)| Some((planned, blob.listed.as_deref()?))) {
        let relations = std::mem::take(&mut planned.package.requires);
        planned.package = Package { rank: planned.package.rank, requires: relations, ..listed.clone() };
    }
    // The same in every run, whether an index was read in this one or is remembered: no date, therefore.
    let vouched = blobs.iter().filter(|_| world.machine.is_some());
    let vouched = vouched.filter_map(|blob| Some((blob.listed.as_deref()?.repo.clone(), blob.key.clone())));
    for (name, key) in vouched.collect::<BTreeSet<_>>() {
        if !chosen.described.iter().any(|known| known.name.split(' ').any(|label| label == name)) {
            chosen.described.push(manifest::Repository { name, key, date: None });
        }
    }
    reporter.event(&Event::End { stage: Stage::Acquire, figures: &figures(&blobs) });
    Ok(blobs)
}

fn figures(blobs: &[Blob]) -> String {
    let bytes = |wanted: &dyn Fn(&Origin) -> bool| -> u64 {
        blobs.iter().filter(|blob| wanted(&blob.origin)).map(|blob| blob.size_bytes).sum()
    };
    let installed = blobs.iter().filter(|blob| blob.origin == Origin::Installed).count();
    let fetched = bytes(&|origin| matches!(origin, Origin::Mirror(_)));
    let mut text = format!("{} packages, {}", blobs.len(), Size(bytes(&|_| true)));
    if installed > 0 {
        text.push_str(&format!(", {installed} as installed"));
    }
    text.push_str(&format!(", of it {} downloaded", Size(fetched)));
    text
}

/// Lets a stage begin once, however often it is tried.
struct Once<'a> {
    inner: &'a dyn Reporter,
    has_begun: AtomicBool,
}

impl Reporter for Once<'_> {
    fn event(&self, event: &Event<'_>) {
        if matches!(event, Event::Begin { .. }) && self.has_begun.swap(true, Ordering::Relaxed) {
            return;
        }
        self.inner.event(event);
    }
}
