//! What `build` and `plan` share: the cache and the repositories.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::args::{Global, Sources};
use super::request::Settled;
use super::{Failure, UsageError};
use crate::acquire::{self, World};
use crate::base::date;
use crate::base::fs;
use crate::base::trust::{KeyRef, SignedBy};
use crate::config::{Profile, Source};
use crate::family::address::Base;
use crate::family::repo::{self, Index, Repository, Spec, Target};
use crate::family::{self, Family};
use crate::manifest;
use crate::report::{Event, Reporter, Stage};
use crate::store::Store;
use crate::store::fetch::{Fetcher, Patience};

/// The cache and the network.
pub struct Session {
    /// The cache.
    pub store: Store,
    fetcher: Fetcher,
    root: PathBuf,
}

impl Session {
    /// Opens the cache that the options name.
    pub fn open(global: &Global, sources: &Sources) -> Result<Self, Failure> {
        let store = open_store(global);
        let fetcher = Fetcher::new(sources.offline, Patience::default(), |name| std::env::var(name).ok())?;
        Ok(Self { store, fetcher, root: global.host_root.clone() })
    }

    /// Returns the world in which repositories are opened and packages fetched.
    pub fn world<'a>(&'a self, distro: &str, sources: &Sources, reporter: &'a dyn Reporter) -> Result<World<'a>, Failure> {
        let mut world = World::new(&self.store, &self.fetcher, &self.root, distro, now(sources)?, reporter);
        world.verify = !sources.no_verify;
        Ok(world)
    }
}

/// Opens the cache: `--cache`, or the usual place.
pub fn open_store(global: &Global) -> Store {
    match cache_directory(global) {
        Some(directory) => Store::open(&directory),
        None => Store::none(),
    }
}

/// Returns where the cache is.
pub fn cache_directory(global: &Global) -> Option<PathBuf> {
    let is_root = rustix::process::geteuid().is_root();
    global.cache.clone().or_else(|| Store::default_dir(is_root, |name| std::env::var_os(name)))
}

/// Opens the repositories that the options, the host or the profile name, in this order of precedence. Of equal versions that of the
/// first repository counts.
pub fn repositories(
    settled: &Settled,
    sources: &Sources,
    global: &Global,
    world: &World<'_>,
    reporter: &dyn Reporter,
) -> Result<Vec<Repository>, Failure> {
    let specs = specs(settled, sources, global, reporter)?;
    Ok(by_priority(acquire::repositories(&specs, world)?))
}

/// Puts last what apt would not take unasked.
pub fn by_priority(mut opened: Vec<Repository>) -> Vec<Repository> {
    opened.sort_by_key(|repository| std::cmp::Reverse(repository.priority));
    opened
}

/// Returns the indexes of repositories.
pub fn indexes(opened: Vec<Repository>) -> Vec<Index> {
    opened.into_iter().flat_map(|repository| repository.indexes).collect()
}

/// Returns the time that counts for the age of metadata: `--assume-time`, or the clock's.
fn now(sources: &Sources) -> Result<SystemTime, Failure> {
    let Some(text) = &sources.assume_time else { return Ok(SystemTime::now()) };
    match date::parse_day(text).or_else(|| date::parse(text)).and_then(|seconds| u64::try_from(seconds).ok()) {
        Some(seconds) => Ok(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds)),
        None => {
            let what = format!("`--assume-time {text}` is not a date");
            let hint = "write it as in `--assume-time 2026-11-02`".to_owned();
            Err(UsageError::Wrong { what, hint }.into())
        }
    }
}

/// Returns what the manifest says of a repository.
pub fn describe(repository: &Repository) -> manifest::Repository {
    let labels: Vec<&str> = repository.indexes.iter().map(|index| index.label.as_str()).collect();
    manifest::Repository {
        name: labels.join(" "),
        key: repository.signer.as_ref().map(|signer| signer.fingerprint.clone()),
        date: repository.date.map(date::show),
    }
}

/// Returns the repositories that the options, the host or the profile name.
pub fn specs(settled: &Settled, sources: &Sources, global: &Global, reporter: &dyn Reporter) -> Result<Vec<Spec>, Failure> {
    let profile = &settled.profile;
    let components = components(profile);
    let target = target(profile, &components);
    let mut specs = Vec::new();
    let directory = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    for value in &sources.repo {
        specs.extend(repo::specs(value, &target, &directory).map_err(wrong_source)?);
    }
    if let Some(url) = &sources.mirror {
        let source = Source { file: "--mirror".into(), line: 0 };
        specs.extend(mirror(settled, url, &target, &source)?);
    }
    if !specs.is_empty() {
        if !sources.keyring.is_empty() {
            let keys = sources.keyring.iter().map(|path| KeyRef::File(directory.join(path))).collect();
            let signed_by = SignedBy { keys, shipped: false };
            specs.iter_mut().for_each(|spec| spec.set_keys(signed_by.clone()));
        }
        return Ok(specs);
    }
    let own = acquire::host_sources(&global.host_root, &profile.distro, &target)?;
    if let Some(own) = own.filter(|own| !own.specs.is_empty()) {
        for (source, reason) in &own.skipped {
            let message = format!("{source} is not used: {reason}");
            reporter.event(&Event::Detail { stage: Stage::Plan, message: &message });
        }
        return Ok(own.specs);
    }
    match &profile.mirror {
        Some(item) => mirror(settled, &item.text, &target, &item.source),
        None => {
            let what = format!("there is no repository for `{}`", profile.distro);
            Err(UsageError::Wrong { what, hint: "name one with `--mirror URL` or `--repo REPO`".to_owned() }.into())
        }
    }
}

/// Returns the parts of the archive that a profile wants.
pub fn components(profile: &Profile) -> Vec<String> {
    profile.components.iter().map(|item| item.text.clone()).collect()
}

/// Returns the package family of a profile.
pub fn family(profile: &Profile) -> Result<&'static dyn Family, Failure> {
    family::by_name(&profile.family).ok_or_else(|| {
        let what =
            format!("the profile of `{}` is for packages of the family `{}`, which is not known", profile.distro, profile.family);
        UsageError::Wrong { what, hint: format!("name one of {} in `[distro] family`", family::NAMES.join(", ")) }.into()
    })
}

/// Returns what repositories are opened for.
pub fn target<'a>(profile: &'a Profile, components: &'a [String]) -> Target<'a> {
    Target { family: &profile.family, release: &profile.release, components, arch: &profile.arch }
}

/// A mirror of the distribution: one repository a suite of the release.
fn mirror(settled: &Settled, url: &str, target: &Target<'_>, source: &Source) -> Result<Vec<Spec>, Failure> {
    let base = Base::parse(url).map_err(wrong_source)?;
    let suites: Vec<String> = settled.profile.suites.iter().map(|suite| suite.text.clone()).collect();
    let mut specs = repo::mirror(&base, &suites, target, source);
    let keys = keyrings(settled)?;
    if target.family == "rpm" && !keys.is_empty() {
        specs.iter_mut().for_each(|spec| spec.set_keys(SignedBy { keys: keys.clone(), shipped: true }));
    }
    Ok(specs)
}

/// Returns the keyrings that the profile names and this machine has: files, and the files of directories. (The other families have one
/// place for keys each, where they are looked for anyway.)
fn keyrings(settled: &Settled) -> Result<Vec<KeyRef>, Failure> {
    let mut keys = Vec::new();
    for item in &settled.profile.keyrings {
        let path = settled.host_root.join(item.text.trim_start_matches('/'));
        let files = if path.is_dir() { fs::list(&path)? } else { vec![path] };
        let shown = files.iter().filter(|file| file.is_file()).filter_map(|file| file.strip_prefix(&settled.host_root).ok());
        keys.extend(shown.map(|file| KeyRef::File(Path::new("/").join(file))));
    }
    Ok(keys)
}

fn wrong_source(error: impl std::fmt::Display) -> Failure {
    let hint = "name a repository as `URI SUITE COMPONENT…`, a directory, or an index file; http, https, `file:` or a path";
    UsageError::Wrong { what: error.to_string(), hint: hint.to_owned() }.into()
}
