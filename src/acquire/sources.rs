//! The repositories that a machine itself names, for the release and architecture that are wanted.

use std::path::Path;

use super::Error;
use crate::config::Source;
use crate::family::alpm::config;
use crate::family::apk::sources as apk_sources;
use crate::family::deb::sources::{self as deb_sources, Sources};
use crate::family::repo::{Spec, Target};
use crate::host::facts::OsRelease;
use crate::host::{apk, apt, pacman};

/// The repositories of a machine.
#[derive(Debug, Default)]
pub struct HostSources {
    /// Those that serve, in the order of its files.
    pub specs: Vec<Spec>,
    /// What was left out: place and reason.
    pub skipped: Vec<(Source, String)>,
}

/// Returns the machine's own sources for a release of `distro`; `None` if the machine runs another distribution.
pub fn host_sources(root: &Path, distro: &str, target: &Target<'_>) -> Result<Option<HostSources>, Error> {
    let Some(os) = apt::os_release(root).map_err(Error::Sources)?.filter(|os| os.id == distro) else { return Ok(None) };
    match target.family {
        "apk" => of_apk(root, &os, target),
        "alpm" => of_pacman(root, target),
        _ => of_apt(root, &os, target),
    }
}

fn of_apt(root: &Path, os: &OsRelease, target: &Target<'_>) -> Result<Option<HostSources>, Error> {
    let mut all = Sources::default();
    for (path, text) in apt::sources(root).map_err(Error::Sources)? {
        all.append(deb_sources::parse(&path, &text, target.arch));
    }
    let codename = os.codename.as_deref().unwrap_or(target.release);
    let Sources { specs, skipped } = deb_sources::for_release(all, codename, target.release, target.components);
    Ok(Some(HostSources { specs: specs.into_iter().map(Spec::Deb).collect(), skipped }))
}

fn of_pacman(root: &Path, target: &Target<'_>) -> Result<Option<HostSources>, Error> {
    let Some(text) = pacman::config(root).map_err(Error::Sources)? else { return Ok(None) };
    let config = config::parse(pacman::CONFIG, &text, &|pattern| pacman::included(root, pattern));
    let (specs, skipped) = config.specs(target.arch);
    Ok(Some(HostSources { specs: specs.into_iter().map(Spec::Alpm).collect(), skipped }))
}

/// apk's addresses hold the release themselves: those of another release than is wanted are no use.
fn of_apk(root: &Path, os: &OsRelease, target: &Target<'_>) -> Result<Option<HostSources>, Error> {
    let is_release = |id: &str| {
        id == target.release
            || id.starts_with(&format!("{}.", target.release))
            || (target.release == "edge" && id.contains("_alpha"))
    };
    if !os.version_id.as_deref().is_some_and(is_release) {
        return Ok(None);
    }
    let mut own = HostSources::default();
    for (path, text) in apk::repositories(root).map_err(Error::Sources)? {
        let found = apk_sources::parse(&path, &text, target.arch);
        own.specs.extend(found.specs.into_iter().map(Spec::Apk));
        own.skipped.extend(found.skipped);
    }
    Ok(Some(own))
}
