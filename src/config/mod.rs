//! Configuration: profiles, drop-ins and flags become one [`Profile`], every value knowing where it was written.

pub mod builtin;
mod document;
mod merge;
mod profile;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use document::DocumentError;
pub use merge::{Profile, Target};
pub use profile::{Blocked, Body, Change, Distro, Feature, Layer, Plugin, Release, When};

use crate::base::error::{Diagnostic, ErrorKind};
use crate::base::fs::{self, FileError};
use crate::base::limit;

/// Where a value was written: `distro-profiles/debian.toml:12`, or `the command line`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// The file, or what stands for one.
    pub file: Arc<str>,
    /// The line, counted from 1; 0 where there are no lines.
    pub line: u32,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// A word of a list in a profile (a package, a module pattern, a prune rule, a finalizer), and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The word.
    pub text: String,
    /// Where it stands.
    pub source: Source,
}

impl Item {
    /// Returns a word that the command line gave.
    pub fn from_command_line(text: impl Into<String>) -> Self {
        Self { text: text.into(), source: Source { file: "the command line".into(), line: 0 } }
    }
}

/// For whom an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ImageKind {
    /// For one machine: what it has, and its own configuration.
    Host,
    /// For any machine of the architecture.
    #[default]
    Generic,
    /// For any machine, with the configuration of one.
    Full,
}

impl ImageKind {
    /// All of them.
    pub const ALL: [ImageKind; 3] = [ImageKind::Host, ImageKind::Generic, ImageKind::Full];

    /// Returns the word in profiles and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            ImageKind::Host => "host",
            ImageKind::Generic => "generic",
            ImageKind::Full => "full",
        }
    }

    /// Tells whether the image holds the configuration of a machine.
    pub fn is_of_a_host(self) -> bool {
        self != ImageKind::Generic
    }
}

/// For whom an image is, as far as profiles ask.
#[derive(Debug, Clone, Default)]
pub struct Audience {
    /// The kind of the image.
    pub kind: ImageKind,
    /// What the machine is like, in the words of `host::traits`; empty for a generic image.
    pub traits: BTreeSet<String>,
}

/// The directories of drop-ins below a root, in rising priority.
pub const DROP_IN_DIRECTORIES: [&str; 4] =
    ["usr/lib/mkinitrd-pkg", "usr/local/lib/mkinitrd-pkg", "run/mkinitrd-pkg", "etc/mkinitrd-pkg"];

/// The configuration makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be understood.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no such profile.
    #[error("there is no profile `{name}`")]
    UnknownProfile {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
        /// Who asked, if a file did.
        source_at: Option<Source>,
    },
    /// Profiles extend each other in a circle.
    #[error("the profile `{0}` extends itself")]
    Circle(String),
    /// There is no such release.
    #[error("the profile `{distro}` knows no release `{release}`")]
    UnknownRelease {
        /// The distribution.
        distro: String,
        /// What was asked for.
        release: String,
        /// What there is.
        known: Vec<String>,
    },
    /// There is no such architecture.
    #[error("the profile `{distro}` knows no architecture `{arch}`")]
    UnknownArch {
        /// The distribution.
        distro: String,
        /// What was asked for.
        arch: String,
        /// What there is.
        known: Vec<String>,
    },
    /// There is no such feature.
    #[error("there is no feature `{name}`")]
    UnknownFeature {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
        /// Who asked.
        source_at: Source,
    },
}

impl Diagnostic for ConfigError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Config
    }

    fn place(&self) -> Option<String> {
        match self {
            ConfigError::Document(err) => err.place(),
            ConfigError::UnknownProfile { source_at, .. } => source_at.as_ref().map(Source::to_string),
            ConfigError::UnknownFeature { source_at, .. } => Some(source_at.to_string()),
            _ => None,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            ConfigError::Document(err) => err.hints(),
            ConfigError::UnknownProfile { known, .. }
            | ConfigError::UnknownRelease { known, .. }
            | ConfigError::UnknownArch { known, .. }
            | ConfigError::UnknownFeature { known, .. } => vec![format!("use one of `{}`", known.join("`, `"))],
            _ => Vec::new(),
        }
    }
}

/// The layers of a build and what they leave on the tree.
#[derive(Debug, Clone)]
pub struct Layers {
    /// Profiles, drop-ins, `--config` files, in rising priority.
    pub layers: Vec<Layer>,
    /// Directories that are laid over the tree, in rising priority.
    pub overlays: Vec<PathBuf>,
}

/// Reads the profile `name` with its parents, the drop-ins below `root`, and further files.
pub fn load(name: &str, root: Option<&Path>, files: &[PathBuf]) -> Result<Layers, ConfigError> {
    let mut layers = Vec::new();
    add_profile(name, None, &mut Vec::new(), &mut layers)?;
    let mut overlays = Vec::new();
    for directory in root.iter().flat_map(|root| DROP_IN_DIRECTORIES.map(|directory| root.join(directory))) {
        for path in fs::list(&directory)? {
            if path.extension().is_some_and(|extension| extension == "toml") {
                layers.push(read_layer(&path)?);
            }
        }
        let overlay = directory.join("files");
        if overlay.is_dir() {
            overlays.push(overlay);
        }
    }
    for path in files {
        layers.push(read_layer(path)?);
    }
    Ok(Layers { layers, overlays })
}

fn read_layer(path: &Path) -> Result<Layer, ConfigError> {
    let text = fs::read_text(path, limit::TEXT_BYTES_MAX)?;
    Ok(Layer::parse(&path.display().to_string(), &text)?)
}

fn add_profile(name: &str, asked_at: Option<Source>, open: &mut Vec<String>, layers: &mut Vec<Layer>) -> Result<(), ConfigError> {
    let file = format!("distro-profiles/{name}.toml");
    if layers.iter().any(|layer| layer.file == file) {
        return Ok(());
    }
    if open.iter().any(|other| other == name) {
        return Err(ConfigError::Circle(name.to_owned()));
    }
    let text = builtin::text(name).ok_or_else(|| {
        let known = builtin::PROFILES.iter().map(|(known, _)| (*known).to_owned()).collect();
        ConfigError::UnknownProfile { name: name.to_owned(), known, source_at: asked_at }
    })?;
    let layer = Layer::parse(&file, text)?;
    open.push(name.to_owned());
    for parent in &layer.extends {
        add_profile(&parent.text, Some(parent.source.clone()), open, layers)?;
    }
    open.pop();
    layers.push(layer);
    Ok(())
}

impl Layers {
    /// Returns what the profile says of its distribution.
    pub fn distro(&self) -> Option<&Distro> {
        self.layers.iter().rev().find_map(|layer| layer.distro.as_ref())
    }

    /// Returns the features that a machine of this kind switches on, before anybody has the last word.
    pub fn features_for(&self, traits: &BTreeSet<String>) -> Vec<Item> {
        merge::asked_by_host(&self.layers, traits)
    }

    /// Returns the features that are on because a built-in profile says so, each with its packages that a release may lack (`NAME ?`).
    /// Nobody asked for them in particular, so that they can stay away where their packages are not to be had.
    pub fn optional_features<'a>(&'a self, profile: &'a Profile) -> impl Iterator<Item = (&'a str, Vec<&'a Item>)> {
        let by_default = profile.with.iter().filter(|item| item.source.file.starts_with("distro-profiles/"));
        by_default.filter_map(|item| {
            let tables = self.layers.iter().flat_map(|layer| &layer.features).filter(|(name, _)| *name == item.text);
            let packages = tables.flat_map(|(_, feature)| &feature.body.packages.add);
            let optional: Vec<&Item> = packages.filter(|package| package.text.trim_end().ends_with('?')).collect();
            (!optional.is_empty()).then_some((item.text.as_str(), optional))
        })
    }

    /// Tells whether two names are of the same release.
    pub fn is_release(&self, name: &str, other: &str) -> bool {
        let of = |name| self.distro()?.release(name).map(|release| release.word(name));
        of(name).is_some_and(|word| of(other) == Some(word))
    }

    /// Merges the layers for a release and an architecture, each by any of its names.
    pub fn resolve(&self, release: &str, arch: &str, audience: &Audience) -> Result<Profile, ConfigError> {
        let Some(distro) = self.distro() else {
            let known = Vec::from(["debian".to_owned()]);
            return Err(ConfigError::UnknownProfile { name: "a profile without [distro]".to_owned(), known, source_at: None });
        };
        let name = distro.name.text.clone();
        let found = distro.release(release).ok_or_else(|| ConfigError::UnknownRelease {
            distro: name.clone(),
            release: release.to_owned(),
            known: distro.releases.iter().map(|release| release.name.clone()).collect(),
        })?;
        let (arch, _) =
            distro.architectures.iter().find(|(word, machine)| word == arch || machine.text == arch).ok_or_else(|| {
                ConfigError::UnknownArch {
                    distro: name.clone(),
                    arch: arch.to_owned(),
                    known: distro.architectures.iter().map(|(word, _)| word.clone()).collect(),
                }
            })?;
        merge::merge(&self.layers, Target { distro: &name, release: found.word(release), arch, audience })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_is_embedded_and_merges_for_all_its_targets() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("distro-profiles");
        let mut on_disk: Vec<String> = fs::list(&directory)
            .expect("the profiles")
            .iter()
            .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
            .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
            .collect();
        on_disk.sort();
        assert_eq!(on_disk, builtin::PROFILES.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        for (name, _) in builtin::PROFILES {
            let layers = load(name, None, &[]).expect(name);
            for (release, arch) in layers.distro().into_iter().flat_map(|distro| {
                distro.releases.iter().flat_map(|release| distro.architectures.iter().map(move |(arch, _)| (&release.name, arch)))
            }) {
                let profile = layers.resolve(release, arch, &Audience::default()).expect("merges");
                assert_eq!(profile.warnings, Vec::<String>::new(), "{name} {release} {arch}");
            }
        }
    }

    #[test]
    fn drop_ins_come_in_rising_priority() {
        let root = tempfile::tempdir().expect("a temporary directory");
        for (directory, text) in DROP_IN_DIRECTORIES.iter().zip(["a", "b", "c", "d"]) {
            let directory = root.path().join(directory);
            std::fs::create_dir_all(directory.join("files")).expect("a directory");
            std::fs::write(directory.join("x.toml"), format!("packages.add = ['{text}']")).expect("a drop-in");
        }
        let layers = load("debian", Some(root.path()), &[]).expect("loads");
        let profile = layers.resolve("trixie", "amd64", &Audience::default()).expect("merges");
        let added: Vec<&str> = profile.packages.iter().rev().take(4).map(|item| item.text.as_str()).collect();
        assert_eq!(added, ["d", "c", "b", "a"]);
        assert_eq!(layers.overlays.len(), 4);
    }

    #[test]
    fn unknown_names_are_refused_with_what_there_is() {
        assert_eq!(load("debain", None, &[]).expect_err("unknown").to_string(), "there is no profile `debain`");
        let layers = load("debian", None, &[]).expect("loads");
        let err = layers.resolve("tirxie", "amd64", &Audience::default()).expect_err("unknown");
        assert_eq!(err.to_string(), "the profile `debian` knows no release `tirxie`");
        assert!(err.hints()[0].contains("`trixie`"));
        assert!(layers.resolve("trixie", "sparc", &Audience::default()).is_err());
        assert_eq!(layers.resolve("13", "x86_64", &Audience::default()).expect("by its other names").arch, "amd64");
    }
}
