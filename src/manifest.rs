//! The manifest: what is in an image, where it came from and what was done to it, as JSON in the image and beside it.
//!
//! It holds nothing that differs between two hosts with the same inputs: no time, no mirror's address, no path of a cache.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::digest::Sha256;

/// The version of the manifest's form; raised when a field changes its meaning or goes away.
pub const SCHEMA: u32 = 1;

/// This program and its version, as images name it.
pub const GENERATOR: &str = concat!("mkinitrd-pkg ", env!("CARGO_PKG_VERSION"));

/// Everything about one image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    /// [`SCHEMA`].
    pub schema: u32,
    /// This program and its version.
    pub generator: String,
    /// What was built.
    pub target: Target,
    /// `checked`, or `not checked (--no-verify)`.
    pub signatures: String,
    /// Repositories that were read, with the keys that vouch for them.
    pub repositories: Vec<Repository>,
    /// Features that were on.
    pub features: Vec<String>,
    /// Packages in the order in which they were merged.
    pub packages: Vec<Package>,
    /// Files and links of packages and finalizers, by path.
    pub files: BTreeMap<String, File>,
    /// Kernel modules by name.
    pub modules: BTreeMap<String, Module>,
    /// Firmware files.
    pub firmware: Vec<String>,
    /// Firmware that a module names and no package has: name and the modules.
    pub missing_firmware: BTreeMap<String, Vec<String>>,
    /// Files that the microcode of the early segment was taken from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub microcode: Vec<Microcode>,
    /// Path rules that were applied.
    pub rules: Vec<Rule>,
    /// Finalizers that were applied, with what each did.
    pub finalizers: Vec<Finalizer>,
    /// Files of the machine, of the configuration or `--include`: all that comes from no package.
    pub included: Vec<Included>,
    /// Paths of files that others must not read, nothing of what they hold. An image with any has the mode 0600 wherever it goes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// Things that were noticed: file capabilities that newc cannot hold, set-id bits that were dropped.
    pub notes: Vec<String>,
    /// What was left out, by path; only in the manifest beside the image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<Dropped>,
}

/// What was built.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Target {
    /// Distribution.
    pub distro: String,
    /// Release.
    pub release: String,
    /// Architecture in the distribution's word.
    pub arch: String,
    /// Kernel version.
    pub kernel: Option<String>,
    /// For whom it is: `host`, `generic`, `full`.
    pub image: String,
    /// A digest of the merged configuration, by which a later change is noticed.
    pub configuration: Sha256,
}

/// A repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    /// As packages name it.
    pub name: String,
    /// Fingerprint of the key whose signature was good; nothing when signatures were not checked.
    pub key: Option<String>,
    /// The date in its signed metadata.
    pub date: Option<String>,
}

/// A package.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Package {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Architecture.
    pub arch: String,
    /// Repository.
    pub repo: String,
    /// Digest of its file.
    pub sha256: Sha256,
    /// Why it is in the plan.
    pub reason: String,
    /// The package that brought it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// In the plan, but not unpacked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub omitted: bool,
}

/// A file or link of the base.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct File {
    /// The package that ships it, or the finalizer that made it.
    pub from: String,
    /// The rule that keeps it, by its place in `rules`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<usize>,
    /// The path of what needs it, and how: `runs`, `needs the library`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needed: Option<(String, String)>,
}

/// A kernel module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Module {
    /// Its file.
    pub path: String,
    /// Why it is there.
    pub reason: String,
    /// The module that brought it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// A file of microcode.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Microcode {
    /// Where it lay.
    pub path: String,
    /// Digest of its content, decompressed.
    pub sha256: Sha256,
}

/// A rule.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rule {
    /// Its text.
    pub rule: String,
    /// Where it is written.
    pub from: String,
    /// How many paths it decided.
    pub paths: usize,
}

/// A finalizer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Finalizer {
    /// Its name.
    pub name: String,
    /// Where it is asked for.
    pub from: String,
    /// What it did, a line each.
    pub did: Vec<String>,
}

/// A file of the configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Included {
    /// Where it is in the image.
    pub path: String,
    /// Its digest if it is a regular file and no secret: a digest would be enough to guess a passphrase by.
    pub sha256: Option<Sha256>,
    /// It is of the machine's own configuration, and not of an overlay or `--include`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub setting: bool,
}

/// A path that is not in the image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Dropped {
    /// The path.
    pub path: String,
    /// The package that has it.
    pub package: String,
    /// The rule, or why else.
    pub rule: String,
}

/// A manifest cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no manifest.
    #[error("its manifest cannot be understood")]
    Json(#[from] serde_json::Error),
    /// It is of another version of this program.
    #[error("its manifest has the form {0}, and this version reads {SCHEMA}")]
    Schema(u32),
}

impl Manifest {
    /// Reads a manifest.
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Head {
            schema: u32,
        }
        let head: Head = serde_json::from_slice(json)?;
        match head.schema {
            SCHEMA => Ok(serde_json::from_slice(json)?),
            other => Err(Error::Schema(other)),
        }
    }

    /// Returns the manifest as it stands in the image: JSON with an end of line.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).expect("invariant: a manifest is plain data");
        json.push(b'\n');
        json
    }
}
