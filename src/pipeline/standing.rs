//! How an image that exists stands: would it boot this machine, and is it what would be made now?

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use super::{Error, Include, overlay, settings_of};
use crate::base::fs;
use crate::base::limit;
use crate::config::Profile;
use crate::family::Family;
use crate::finalize::check::{self, Finding, Severity};
use crate::host::facts::Facts;
use crate::manifest::{self, Manifest};
use crate::modules::KernelVersion;
use crate::report::Reporter;
use crate::tree::{Entry, Kind, Tree, TreePath};

/// What an image is compared with.
pub struct Now<'a> {
    /// The configuration as it is now, for an image of this kind.
    pub profile: &'a Profile,
    /// The machine, for an image that holds its configuration.
    pub facts: Option<&'a Facts>,
    /// Directories that would be laid over the tree.
    pub overlays: &'a [PathBuf],
    /// Files that would be included.
    pub includes: &'a [Include],
    /// Versions of the packages that are installed, by name.
    pub installed: &'a BTreeMap<String, String>,
    /// How versions are compared.
    pub family: &'a dyn Family,
    /// Where the modules of the image's kernel lie on this machine, if they do.
    pub modules: Option<&'a Path>,
}

/// A reason why an image is not what would be made now.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stale {
    /// Another version of this program made it.
    Generator(String),
    /// The configuration is another one.
    Configuration,
    /// An installed package has another version.
    Package {
        /// The package.
        name: String,
        /// Its version in the image.
        image: String,
        /// Its version on this machine.
        installed: String,
        /// The machine has the newer one.
        newer: bool,
    },
    /// A file of the machine's configuration or of an overlay.
    File {
        /// Where it is in the image.
        path: TreePath,
        /// How it differs.
        how: Difference,
    },
    /// A module of the kernel.
    Module {
        /// Where it is in the image.
        path: TreePath,
        /// How it differs.
        how: Difference,
    },
}

/// How a file of an image differs from that of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// The machine has another content.
    Changed,
    /// The machine has it, the image has not.
    New,
    /// The image has it, the machine has not.
    Gone,
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = |how: &Difference| match how {
            Difference::Changed => "has changed",
            Difference::New => "is new",
            Difference::Gone => "is gone",
        };
        match self {
            Stale::Generator(by) => write!(f, "made by {by}, this is {}", manifest::GENERATOR),
            Stale::Configuration => f.write_str("the configuration has changed, or the image was made with options of its own"),
            Stale::Package { name, image, installed, newer: true } => {
                write!(f, "`{name}` is {image} in the image, and {installed} is installed")
            }
            Stale::Package { name, image, installed, newer: false } => {
                write!(f, "`{name}` is {image} in the image, newer than {installed}, which is installed")
            }
            Stale::File { path, how } => write!(f, "`{path}` {}", words(how)),
            Stale::Module { path, how } => write!(f, "the module `{path}` {}", words(how)),
        }
    }
}

/// Returns why an image of ours is not what would be made now; nothing if it is.
pub fn stale(image: &Tree, manifest: &Manifest, now: &Now<'_>, reporter: &dyn Reporter) -> Result<Vec<Stale>, Error> {
    let mut reasons = BTreeSet::new();
    if manifest.generator != manifest::GENERATOR {
        reasons.insert(Stale::Generator(manifest.generator.clone()));
    }
    if manifest.target.configuration != now.profile.digest() {
        reasons.insert(Stale::Configuration);
    }
    reasons.extend(packages(manifest, now));
    reasons.extend(files(image, manifest, now, reporter)?);
    if let (Some(directory), Some(version)) = (now.modules, &manifest.target.kernel) {
        reasons.extend(modules(image, directory, version)?);
    }
    Ok(reasons.into_iter().collect())
}

fn packages(manifest: &Manifest, now: &Now<'_>) -> Vec<Stale> {
    let wanted = manifest.packages.iter().filter(|package| !package.omitted);
    let differs = wanted.filter_map(|package| {
        let installed = now.installed.get(&package.name)?;
        let newer = match now.family.compare(installed, &package.version) {
            Ordering::Equal => return None,
            order => order.is_gt(),
        };
        let (name, image, installed) = (package.name.clone(), package.version.clone(), installed.clone());
        Some(Stale::Package { name, image, installed, newer })
    });
    differs.collect()
}

/// Compares what the machine's configuration and the overlays would put into the image with what is there.
fn files(image: &Tree, manifest: &Manifest, now: &Now<'_>, reporter: &dyn Reporter) -> Result<Vec<Stale>, Error> {
    let settings = settings_of(now.profile, now.facts, reporter)?.tree;
    let mut reasons = Vec::new();
    let gone = manifest.included.iter().filter(|file| file.setting);
    for path in gone.filter_map(|file| TreePath::parse(file.path.as_bytes()).ok()) {
        if settings.get(&path).is_none() {
            reasons.push(Stale::File { path, how: Difference::Gone });
        }
    }
    for (path, entry) in settings.iter().chain(overlay::lay(now.overlays, now.includes)?.iter()) {
        let how = match image.get(path) {
            _ if matches!(entry.kind, Kind::Dir) => continue,
            None => Difference::New,
            Some(old) if same(old, entry) => continue,
            Some(_) => Difference::Changed,
        };
        reasons.push(Stale::File { path: path.clone(), how });
    }
    Ok(reasons)
}

fn same(a: &Entry, b: &Entry) -> bool {
    match (&a.kind, &b.kind) {
        (Kind::File(a_content), Kind::File(b_content)) => a_content.bytes() == b_content.bytes() && a.meta.mode == b.meta.mode,
        (a, b) => a == b,
    }
}

/// Compares the image's modules with those of the machine. Those that the image lacks may have been left out on purpose.
fn modules(image: &Tree, directory: &Path, version: &str) -> Result<Vec<Stale>, Error> {
    let at = TreePath::literal("usr/lib/modules").join(version.as_bytes())?;
    let mut reasons = Vec::new();
    for (path, entry) in image.below(&at) {
        let (Some(content), Some(relative)) = (entry.content(), path.relative_to(&at)) else { continue };
        let Ok(relative) = std::str::from_utf8(relative) else { continue };
        if !crate::modules::catalog::is_module(relative) {
            continue;
        }
        let how = match fs::read_optional(&directory.join(relative), limit::FILE_BYTES_MAX)? {
            None => Difference::Gone,
            Some(bytes) if bytes == content.bytes() => continue,
            Some(_) => Difference::Changed,
        };
        reasons.push(Stale::Module { path: path.clone(), how });
    }
    Ok(reasons)
}

/// Returns why an image would not boot a machine, and what would be missing: errors first. Any generator's image can be asked.
pub fn findings(image: &Tree, profile: &Profile, kernel: Option<&str>) -> Vec<Finding> {
    let features: Vec<String> = profile.with.iter().map(|item| item.text.clone()).collect();
    let expected = check::Expected { machine: check::machine_of(&profile.arch), kernel, features: &features };
    check::check(image, &expected)
}

/// Returns the features that the machine needs and the image lacks.
pub fn lacking_features(manifest: &Manifest, profile: &Profile) -> Vec<Finding> {
    let lacking = profile.with.iter().filter(|item| !manifest.features.contains(&item.text));
    let finding = |item: &crate::config::Item| Finding {
        severity: Severity::Error,
        path: TreePath::literal(crate::image::MANIFEST_PATH),
        message: format!("this machine needs the feature `{}` ({}), and the image was made without it", item.text, item.source),
    };
    lacking.map(finding).collect()
}

/// Returns what the volumes of the machine ask of the kernel and the image's modules do not answer.
pub fn lacking_modules(image: &Tree, facts: &Facts, kernel: &str, threads: usize) -> Result<Vec<Finding>, Error> {
    let kver = KernelVersion::parse(kernel)?;
    let path = TreePath::literal("usr/lib/modules").join(kernel.as_bytes())?;
    let lacking = crate::modules::lacking(image, &kver, facts, threads)?;
    let finding = |wish: crate::modules::wishes::Wish| Finding {
        severity: Severity::Error,
        path: path.clone(),
        message: format!("{} needs the module `{}`, which the image lacks", wish.reason, wish.what.as_str()),
    };
    Ok(lacking.into_iter().map(finding).collect())
}
