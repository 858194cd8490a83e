//! From what was typed to what is built: profile, drop-ins and flags become one merged profile.

use super::UsageError;
use super::args::{Global, KernelArgs, Target};
use super::{Failure, args};
use std::path::{Path, PathBuf};

use crate::base::fs::{self, FileError};
use crate::base::limit;
use crate::config::{self, Audience, Body, Change, Distro, ImageKind, Item, Layer, Layers, Profile};
use crate::host::facts::{Facts, OsRelease, SCHEMA, View};
use crate::host::{self, apt, probe, traits};
use crate::pipeline::Kernel;
use crate::report::{Event, Reporter, Stage};

/// A feature that a profile has by default, and what the repositories lack of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lacking {
    /// The feature.
    pub feature: String,
    /// Its packages.
    pub packages: String,
}

impl Lacking {
    /// Warns of it.
    pub fn tell(&self, reporter: &dyn Reporter) {
        let Self { feature, packages } = self;
        let message = format!("the feature `{feature}`, which is on by default, stays away: no repository has `{packages}`");
        reporter.event(&Event::Warning { stage: Stage::Plan, message: &message });
    }
}

/// A merged profile and what came with it.
pub struct Settled {
    /// The profile.
    pub profile: Profile,
    /// Its layers and overlays.
    pub layers: Layers,
    /// The host is of the same distribution.
    pub host_is_like: bool,
    /// Distribution, release and architecture are the host's: what is installed there can go into the image.
    pub is_own: bool,
    /// The host's root.
    pub host_root: PathBuf,
    /// The machine that the image is for; nothing for a generic one.
    pub facts: Option<Facts>,
}

impl Settled {
    /// Returns the profile without the features whose packages no repository has, if there are such.
    pub fn without(&self, lacking: &[Lacking]) -> Result<Option<Profile>, Failure> {
        if lacking.is_empty() {
            return Ok(None);
        }
        let mut layers = self.layers.clone();
        let features: Vec<String> = lacking.iter().map(|lacking| lacking.feature.clone()).collect();
        layers.layers.push(command_line_layer(&[], &features, &[], &[]));
        let traits = self.facts.as_ref().map(traits::traits).unwrap_or_default();
        let audience = Audience { kind: self.profile.kind, traits };
        let profile = layers.resolve(&self.profile.release, &self.profile.arch, &audience)?;
        Ok(Some(Profile { written: Some(self.profile.digest()), ..profile }))
    }

    /// Returns the module patterns of an image for any machine; nothing if the image is one already.
    pub fn generic_modules(&self) -> Result<Option<Vec<Item>>, Failure> {
        if self.profile.kind != ImageKind::Host {
            return Ok(None);
        }
        let traits = self.facts.as_ref().map(traits::traits).unwrap_or_default();
        let audience = Audience { kind: ImageKind::Full, traits };
        Ok(Some(self.layers.resolve(&self.profile.release, &self.profile.arch, &audience)?.modules))
    }
}

/// Settles distribution, release and architecture, for whom the image is, and merges all layers.
pub fn settle(target: &Target, kernel: &KernelArgs, global: &Global, reporter: &dyn Reporter) -> Result<Settled, Failure> {
    let facts = match &kernel.host_facts {
        Some(path) => Some(read_facts(path)?),
        None => None,
    };
    let host = match &facts {
        Some(facts) => Some(facts.os.clone()),
        None => apt::os_release(&global.host_root)?,
    };
    let machine = facts.as_ref().map_or_else(host::machine, |facts| facts.machine.clone());
    let name = match &target.distro {
        Some(name) => name.clone(),
        None => distro_of_host(host.as_ref())?,
    };
    let mut layers = config::load(&name, Some(&global.config_root), &global.config)?;
    layers.layers.push(command_line_layer(&target.with, &target.without, &target.package, &kernel.module));
    // A derivative without a profile of its own is built with that of what it is like.
    let own = host.as_ref().filter(|host| host.id == name || (target.distro.is_none() && host.id_like.contains(&name)));
    let own_release = layers.distro().map(|distro| default_release(distro, own)).unwrap_or_default();
    let release = target.release.clone().unwrap_or_else(|| own_release.clone());
    let arch = target.arch.clone().unwrap_or_else(|| machine.clone());
    let generic = layers.resolve(&release, &arch, &Audience::default())?;
    // A machine that a file describes is another one, whatever it runs.
    let is_described = facts.is_some();
    let is_own =
        !is_described && own.is_some() && generic.machine == machine && layers.is_release(&generic.release, &own_release);
    let facts = audience(kernel, facts, is_own, reporter)?;
    let profile = match &facts {
        None => generic,
        Some(facts) => {
            let kind = if kernel.full { ImageKind::Full } else { ImageKind::Host };
            layers.resolve(&release, &arch, &Audience { kind, traits: traits::traits(facts) })?
        }
    };
    for message in &profile.warnings {
        reporter.event(&Event::Warning { stage: Stage::Config, message });
    }
    Ok(Settled { profile, layers, host_is_like: own.is_some(), is_own, host_root: global.host_root.clone(), facts })
}

/// Returns the machine that the image is for, if it is for one: the one described, or this host unless something else was asked for.
fn audience(
    kernel: &KernelArgs,
    described: Option<Facts>,
    is_own: bool,
    reporter: &dyn Reporter,
) -> Result<Option<Facts>, Failure> {
    if kernel.generic || (described.is_none() && !is_own && !kernel.full) {
        return Ok(None);
    }
    let facts = match described {
        Some(facts) => facts,
        None => probe::probe(Path::new("/"))?,
    };
    for gap in &facts.gaps {
        reporter.event(&Event::Warning { stage: Stage::Config, message: gap });
    }
    match &facts.view {
        View::Partial(why) if !kernel.full => {
            let message = format!("{why}: what the machine needs cannot be seen from here, so the image is a generic one");
            reporter.event(&Event::Warning { stage: Stage::Config, message: &message });
            Ok(None)
        }
        _ => Ok(Some(facts)),
    }
}

fn read_facts(path: &Path) -> Result<Facts, Failure> {
    let text = fs::read_text(path, limit::FACTS_BYTES_MAX)?;
    let wrong = |what: String| {
        let hint = "make the file with `mkinitrd-pkg host --json` of this version".to_owned();
        UsageError::Wrong { what: format!("`{}` does not describe a machine: {what}", path.display()), hint }
    };
    let facts: Facts = serde_json::from_str(&text).map_err(|err| wrong(err.to_string()))?;
    if facts.schema != SCHEMA {
        return Err(wrong(format!("its schema is {}, and this version reads {SCHEMA}", facts.schema)).into());
    }
    Ok(facts)
}

/// The host's own distribution, or the first one that it says it is like.
fn distro_of_host(host: Option<&OsRelease>) -> Result<String, Failure> {
    let names = host.into_iter().flat_map(|host| std::iter::once(&host.id).chain(&host.id_like));
    for name in names {
        if config::builtin::text(name).is_some() {
            return Ok(name.clone());
        }
    }
    let what = match host {
        Some(host) => format!("there is no profile for this host's distribution `{}`", host.id),
        None => "this host does not say which distribution it is (no os-release)".to_owned(),
    };
    Err(UsageError::Wrong { what, hint: "name one, as in `--distro debian --release trixie`".to_owned() }.into())
}

/// The host's release when the host is of this distribution, else the stable one.
///
/// A rolling distribution has one release whatever its os-release tells (a day, or nothing).
fn default_release(distro: &Distro, host: Option<&OsRelease>) -> String {
    let words = host.into_iter().flat_map(|host| [&host.base_codename, &host.codename, &host.version_id].into_iter().flatten());
    let own = words.clone().find(|word| distro.release(word).is_some()).or_else(|| {
        // A release that is not known is named in the error, and not replaced by another one.
        words.clone().next().filter(|_| distro.releases.len() > 1)
    });
    own.map(String::as_str).or_else(|| distro.default_release()).unwrap_or_default().to_owned()
}

/// Where the modules come from: what was typed, the running kernel's directory, or the profile's kernel package.
pub fn kernel(args: &KernelArgs, settled: &Settled, reporter: &dyn Reporter) -> Result<Kernel, Failure> {
    if let Some(directory) = &args.modules_dir {
        let real = directory.canonicalize().map_err(FileError::on("read the modules directory", directory))?;
        let name = real.file_name().map(|name| name.to_string_lossy().into_owned());
        let version = args.kernel_version.clone().or(name).unwrap_or_default();
        return Ok(Kernel::Directory { directory: directory.clone(), version });
    }
    if let Some(package) = &args.kernel_package {
        return Ok(Kernel::Package(Item::from_command_line(package)));
    }
    let own = settled.host_is_like && settled.profile.machine == host::machine() && !args.generic;
    // A described machine runs a kernel of its own.
    let running = || match (&args.host_facts, &settled.facts) {
        (Some(_), Some(facts)) => facts.kernel.clone(),
        _ => host::running_kernel(),
    };
    let version = args.kernel_version.clone().unwrap_or_else(running);
    if own && let Some(directory) = host::modules_directory(&version) {
        return Ok(Kernel::Directory { directory, version });
    }
    if let (Some(version), Some(item)) = (&args.kernel_version, &settled.profile.kernel_package) {
        return Ok(Kernel::Package(Item::from_command_line(kernel_of_version(&settled.profile, &item.text, version))));
    }
    if !args.generic && args.host_facts.is_none() {
        let message = format!("this host has no modules for its kernel `{version}`: the distribution's kernel package is taken");
        reporter.event(&Event::Warning { stage: Stage::Config, message: &message });
    }
    match &settled.profile.kernel_package {
        Some(item) => Ok(Kernel::Package(item.clone())),
        None => {
            let what = "the profile names no kernel package".to_owned();
            Err(UsageError::Wrong { what, hint: "name one with `--kernel-package`, or a `--modules-dir`".to_owned() }.into())
        }
    }
}

/// Returns the package of one version of the kernel, as the family names it.
fn kernel_of_version(profile: &Profile, package: &str, version: &str) -> String {
    let first = package.split('|').next().unwrap_or_default().trim();
    match profile.family.as_str() {
        // `6.17.1-300.fc43.x86_64` is the version and release of the package, and its architecture.
        "rpm" => format!("{first}={}", version.strip_suffix(&format!(".{}", profile.machine)).unwrap_or(version)),
        // `6.17.1-arch1-1` is `6.17.1.arch1-1`, `6.12.5-0-lts` is `6.12.5-r0`.
        "alpm" => match version.rsplit_once('-') {
            Some((upstream, release)) => format!("{first}={}-{release}", upstream.replace('-', ".")),
            None => format!("{first}={version}"),
        },
        "apk" => match version.split('-').collect::<Vec<_>>()[..] {
            [upstream, release, _] => format!("{first}={upstream}-r{release}"),
            _ => format!("{first}={version}"),
        },
        // The package of one version is named after it, as the metapackage's dependencies are.
        _ => {
            let prefix = first.trim_end_matches(profile.arch.as_str()).trim_end_matches('-');
            format!("{prefix}-{version}")
        }
    }
}

/// Flags are one more layer, the last.
pub fn command_line_layer(with: &[String], without: &[String], packages: &[String], modules: &[String]) -> Layer {
    let items = |words: &[String]| words.iter().map(Item::from_command_line).collect::<Vec<_>>();
    Layer {
        file: "the command line".to_owned(),
        extends: Vec::new(),
        distro: None,
        body: Body {
            with: Change { add: items(with), remove: items(without) },
            packages: Change { add: items(packages), remove: Vec::new() },
            modules: Change { add: items(modules), remove: Vec::new() },
            ..Body::default()
        },
        when: Vec::new(),
        features: Vec::new(),
    }
}

/// Reads octal permissions as in `--mode 0644`.
pub fn mode(text: &str) -> Result<u32, Failure> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 && mode & 0o400 != 0 => Ok(mode),
        _ => {
            let what = format!("`--mode {text}` is not the permissions of a file that its owner can read");
            Err(UsageError::Wrong { what, hint: "use octal digits as in `--mode 0600`".to_owned() }.into())
        }
    }
}

/// Fails if `--strict` was given and there were warnings.
pub fn check_strict(global: &args::Global, warnings: u32) -> Result<(), Failure> {
    if global.strict && warnings > 0 { Err(UsageError::Strict(warnings).into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_names_the_package_of_a_kernels_version() {
        for (family, arch, machine, package, version, expected) in [
            ("deb", "amd64", "x86_64", "linux-image-amd64", "6.12.107+deb13-amd64", "linux-image-6.12.107+deb13-amd64"),
            ("rpm", "x86_64", "x86_64", "kernel-core", "6.17.1-300.fc43.x86_64", "kernel-core=6.17.1-300.fc43"),
            ("alpm", "x86_64", "x86_64", "linux", "6.17.1-arch1-1", "linux=6.17.1.arch1-1"),
            ("apk", "x86_64", "x86_64", "linux-lts | linux-virt", "6.12.5-0-lts", "linux-lts=6.12.5-r0"),
        ] {
            let words = [family, arch, machine].map(str::to_owned);
            let [family, arch, machine] = words;
            let profile = Profile { family, arch, machine, ..Profile::default() };
            assert_eq!(kernel_of_version(&profile, package, version), expected);
        }
    }
}
