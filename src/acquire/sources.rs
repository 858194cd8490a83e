//! The repositories that a machine itself names, for the release and architecture that are wanted.

use std::path::{Path, PathBuf};

use super::{Error, World};
use crate::base::trust::{KeyRef, SignedBy};
use crate::config::{Source, builtin};
use crate::family::alpm::config;
use crate::family::apk::sources as apk_sources;
use crate::family::deb::sources::{self as deb_sources, Sources};
use crate::family::repo::{Spec, Target};
use crate::family::rpm::config::{self as rpm_config, Files, Tool};
use crate::family::rpm::installed::Database;
use crate::family::rpm::variables::Variables;
use crate::host::facts::OsRelease;
use crate::host::{apk, apt, dnf, pacman};
use crate::package::{Location, Package};

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
    // What has no profile of its own is built with that of what it is like, and from its own repositories.
    let is_like = |os: &OsRelease| builtin::text(&os.id).is_none() && os.id_like.iter().any(|like| like == distro);
    let os = apt::os_release(root).map_err(Error::Sources)?.filter(|os| os.id == distro || is_like(os));
    let Some(os) = os else { return Ok(None) };
    match target.family {
        "rpm" => of_dnf(root, &os, target),
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

/// Where a machine's pacman keeps what it has fetched.
pub(super) struct PacmanDirs {
    /// The databases of repositories.
    pub databases: PathBuf,
    /// Package files, in the order in which they are looked for.
    pub packages: Vec<PathBuf>,
}

/// Returns where a machine's pacman keeps what it has fetched: by `DBPath` and `CacheDir`, or where it does without them.
pub(super) fn pacman_dirs(root: &Path) -> PacmanDirs {
    // A configuration that cannot be read is told where repositories are asked for.
    let text = pacman::config(root).ok().flatten().unwrap_or_default();
    let config = config::parse(pacman::CONFIG, &text, &|pattern| pacman::included(root, pattern));
    let below = |path: &str| root.join(path.trim_start_matches('/'));
    let databases = below(config.db_path.as_deref().unwrap_or("/var/lib/pacman")).join("sync");
    let mut packages: Vec<PathBuf> = config.cache_dirs.iter().map(|dir| below(dir)).collect();
    if packages.is_empty() {
        packages.push(below("/var/cache/pacman/pkg"));
    }
    PacmanDirs { databases, packages }
}

/// Returns where a machine's pacman keeps its own database, if its configuration says so.
pub(super) fn pacman_db_path(root: &Path) -> Option<String> {
    let text = pacman::config(root).ok().flatten()?;
    config::parse(pacman::CONFIG, &text, &|pattern| pacman::included(root, pattern)).db_path
}

/// Tells whether the machine's package manager may have the file of a package that is installed.
pub(super) fn is_archived(package: &Package, family: &str, world: &World<'_>) -> bool {
    let Package { name, version, arch, .. } = package;
    let root = &world.root;
    match (family, package.proof.as_deref()) {
        ("apk", Some(proof)) => apk::archived(root, package, proof).iter().any(|path| path.is_file()),
        ("alpm", _) => {
            let names = ["zst", "xz", "gz"].map(|end| format!("{name}-{version}-{arch}.pkg.tar.{end}"));
            let dirs = pacman_dirs(root).packages;
            dirs.iter().any(|dir| names.iter().any(|name| dir.join(name).is_file()))
        }
        ("rpm", _) => {
            let plain = version.split_once(':').map_or(version.as_str(), |(_, plain)| plain);
            !dnf::archived(root, &Location::File(format!("{name}-{plain}.{arch}.rpm").into()), arch).is_empty()
        }
        _ => apt::archived(root, package).is_file(),
    }
}

/// What dnf reads, or zypper where that is the distribution's own.
fn of_dnf(root: &Path, os: &OsRelease, target: &Target<'_>) -> Result<Option<HostSources>, Error> {
    let is_suse = |name: &String| name.contains("suse") || name == "sles";
    let tool = if std::iter::once(&os.id).chain(&os.id_like).any(is_suse) { Tool::Zypper } else { Tool::Dnf };
    let (files, variable_dirs) = match tool {
        Tool::Dnf => {
            let main = dnf::main_config(root).map_err(Error::Sources)?;
            let configured = rpm_config::directories(&main, "reposdir");
            let dirs: Vec<&str> = configured.iter().map(String::as_str).collect();
            let dirs = if dirs.is_empty() { &dnf::REPO_DIRS[..] } else { &dirs };
            let repos = dnf::repos(root, dirs).map_err(Error::Sources)?;
            let overrides = dnf::overrides(root).map_err(Error::Sources)?;
            (Files { main, repos, overrides }, &dnf::VARIABLE_DIRS[..])
        }
        Tool::Zypper => {
            let repos = dnf::repos(root, &dnf::ZYPP_REPO_DIRS).map_err(Error::Sources)?;
            (Files { repos, ..Files::default() }, &dnf::ZYPP_VARIABLE_DIRS[..])
        }
    };
    let is_own = is_own_release(os, target.release);
    let release = match is_own {
        // A database that cannot be read is told by whoever needs its packages; here it only answers one question.
        true => match Database::open(root).ok().flatten().as_ref().and_then(Database::release) {
            Some(release) => release.to_owned(),
            None => release_variable(os, target.release),
        },
        false => target.release.to_owned(),
    };
    let mut variables = Variables::new(&release, target.arch);
    for (name, text) in dnf::variables(root, variable_dirs).map_err(Error::Sources)? {
        variables.set_from_file(&name, &text);
    }
    let mut config = rpm_config::parse(&files, tool, &variables);
    if !is_own {
        // Addresses that do not depend on the release are of the machine's own.
        config.keep_for_release(target.release);
    }
    let keys = dnf::keys(root).map_err(Error::Sources)?.into_iter().map(KeyRef::File).collect();
    let (specs, skipped) = config.specs(&SignedBy { keys, shipped: true });
    Ok(Some(HostSources { specs: specs.into_iter().map(Spec::Rpm).collect(), skipped }))
}

/// Tells whether a release is the one that the machine runs: by its number (`9` of `9.4`), its name, or for one that has no end by the
/// machine's version being a day.
fn is_own_release(os: &OsRelease, release: &str) -> bool {
    let id = os.version_id.as_deref().unwrap_or_default();
    let is_day = id.len() == 8 && id.bytes().all(|byte| byte.is_ascii_digit());
    id == release || id.starts_with(&format!("{release}.")) || os.codename.as_deref() == Some(release) || id.is_empty() || is_day
}

/// Returns what `$releasever` stands for where the database of packages does not say it: of RHEL and its kin the first number alone.
fn release_variable(os: &OsRelease, release: &str) -> String {
    let id = os.version_id.as_deref().unwrap_or(release);
    let is_rhel = |name: &String| name == "rhel" || name == "centos";
    match id.split_once('.') {
        Some((major, _)) if std::iter::once(&os.id).chain(&os.id_like).any(is_rhel) => major.to_owned(),
        _ => id.to_owned(),
    }
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
