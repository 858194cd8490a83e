//! The manifest: what is in an image, where it came from and what was done to it, as JSON in the image and beside it.
//!
//! It holds nothing that differs between two hosts with the same inputs: no time, no mirror's address, no path of a cache.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::base::digest::Sha256;

/// The version of the manifest's form; raised when a field changes its meaning or goes away.
pub const SCHEMA: u32 = 1;

/// Everything about one image.
#[derive(Debug, Clone, Serialize)]
pub struct Manifest {
    /// [`SCHEMA`].
    pub schema: u32,
    /// This program and its version.
    pub generator: String,
    /// What was built.
    pub target: Target,
    /// `checked`, or `not checked (--no-verify)`.
    pub signatures: &'static str,
    /// Repositories that were read, with the keys that vouch for them.
    pub repositories: Vec<Repository>,
    /// Features that were on.
    pub features: Vec<String>,
    /// Packages in the order in which they were merged.
    pub packages: Vec<Package>,
    /// Kernel modules by name.
    pub modules: BTreeMap<String, Module>,
    /// Firmware files.
    pub firmware: Vec<String>,
    /// Firmware that a module names and no package has: name and the modules.
    pub missing_firmware: BTreeMap<String, Vec<String>>,
    /// Path rules that were applied.
    pub rules: Vec<Rule>,
    /// Finalizers that were applied, with what each did.
    pub finalizers: Vec<Finalizer>,
    /// Files of the configuration or `--include`.
    pub included: Vec<Included>,
    /// Things that were noticed: file capabilities that newc cannot hold, set-id bits that were dropped.
    pub notes: Vec<String>,
    /// What was left out, by path; only in the manifest beside the image.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<Dropped>,
}

/// What was built.
#[derive(Debug, Clone, Serialize)]
pub struct Target {
    /// Distribution.
    pub distro: String,
    /// Release.
    pub release: String,
    /// Architecture in the distribution's word.
    pub arch: String,
    /// Kernel version.
    pub kernel: Option<String>,
}

/// A repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Repository {
    /// As packages name it.
    pub name: String,
    /// Fingerprint of the key whose signature was good; nothing when signatures were not checked.
    pub key: Option<String>,
    /// The date in its signed metadata.
    pub date: Option<String>,
}

/// A package.
#[derive(Debug, Clone, Serialize)]
pub struct Package {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Architecture.
    pub arch: String,
    /// Repository.
    pub repo: String,
    /// What its files were read from: its package file, wherever that lay, or the machine that it is installed on.
    pub from: From,
    /// Digest of its file; of an installed package, that of what the machine's database says of it.
    pub sha256: Sha256,
    /// Why it is in the plan.
    pub reason: String,
    /// In the plan, but not unpacked.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub omitted: bool,
}

/// What the files of a package were read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum From {
    /// Its package file.
    Archive,
    /// The machine on which it is installed.
    Installed,
}

/// A kernel module.
#[derive(Debug, Clone, Serialize)]
pub struct Module {
    /// Its file.
    pub path: String,
    /// Why it is there.
    pub reason: String,
}

/// A rule.
#[derive(Debug, Clone, Serialize)]
pub struct Rule {
    /// Its text.
    pub rule: String,
    /// Where it is written.
    pub from: String,
    /// How many paths it decided.
    pub paths: usize,
}

/// A finalizer.
#[derive(Debug, Clone, Serialize)]
pub struct Finalizer {
    /// Its name.
    pub name: String,
    /// Where it is asked for.
    pub from: String,
    /// What it did, a line each.
    pub did: Vec<String>,
}

/// A file of the configuration.
#[derive(Debug, Clone, Serialize)]
pub struct Included {
    /// Where it is in the image.
    pub path: String,
    /// Its digest if it is a regular file.
    pub sha256: Option<Sha256>,
}

/// A path that is not in the image.
#[derive(Debug, Clone, Serialize)]
pub struct Dropped {
    /// The path.
    pub path: String,
    /// The package that has it.
    pub package: String,
    /// The rule, or why else.
    pub rule: String,
}

impl Manifest {
    /// Returns the manifest as it stands in the image: JSON with an end of line.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).expect("invariant: a manifest is plain data");
        json.push(b'\n');
        json
    }
}
