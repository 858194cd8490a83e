//! Writes a plan to a lock file and reads it back, which replaces solving and nothing else.
//!
//! The file is sorted JSON: it is the same for the same plan, and a change shows as a change of the packages concerned.
//! The position of a package is its place in the order of unpacking, so nothing has to be solved to read it.

use serde::{Deserialize, Serialize};

use super::{Part, Plan, Planned, Reason};
use crate::base::digest::Sha256;
use crate::base::error::{Diagnostic, ErrorKind};
use crate::base::limit;
use crate::config::{Item, Source};
use crate::package::{Catalog, PackageId, Refusal};

/// The version of the file's form; raised when an older program would misread it.
pub const SCHEMA: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    schema: u32,
    packages: Vec<Entry>,
}

/// One package, sorted by name in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    version: String,
    arch: String,
    repo: String,
    /// Digest of its file, where the metadata have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<Sha256>,
    /// What they have instead (apk: `Q1…`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    proof: Option<String>,
    size_bytes: u64,
    /// Its place in the order of unpacking.
    order: usize,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    omitted: bool,
    #[serde(default, skip_serializing_if = "is_base")]
    part: Part,
    reason: Why,
}

fn is_base(part: &Part) -> bool {
    *part == Part::Base
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Why {
    /// The word of the request, and where it was written: a locked build says the same as the one that it repeats.
    Requested {
        text: String,
        at: String,
    },
    Required {
        by: String,
        requirement: String,
    },
    Recommended {
        by: String,
        requirement: String,
    },
    Joined {
        with: String,
        conditions: String,
    },
    LeftOver,
}

/// A lock file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// It is not what this program writes.
    #[error("the lock file `{file}` cannot be read")]
    Malformed {
        /// The file.
        file: String,
        /// What is wrong, with its place.
        #[source]
        because: serde_json::Error,
    },
    /// It was written by another version of this program.
    #[error("the lock file `{file}` has schema {found}, wanted {SCHEMA}")]
    Schema {
        /// The file.
        file: String,
        /// Its schema.
        found: u32,
    },
    /// The packages are not numbered from 0 up.
    #[error("the lock file `{file}` does not order its packages from 0 to {last}")]
    Order {
        /// The file.
        file: String,
        /// The last number wanted.
        last: usize,
    },
    /// A package has gone from the repositories.
    #[error("`{name} {version}` is locked but no repository has it any more{}", instead(.found))]
    Gone {
        /// The file.
        file: String,
        /// The package.
        name: String,
        /// Its locked version.
        version: String,
        /// The versions that there are.
        found: Vec<String>,
    },
    /// A package has other bytes than when it was locked.
    #[error("`{name} {version}` is locked with {locked}, but `{repo}` lists it with {listed}")]
    Changed {
        /// The file.
        file: String,
        /// The package.
        name: String,
        /// Its version.
        version: String,
        /// The repository.
        repo: String,
        /// The digest in the lock file.
        locked: String,
        /// The digest in the index.
        listed: String,
    },
    /// A package's entry in its index cannot be used.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

fn instead(versions: &[String]) -> String {
    if versions.is_empty() { String::new() } else { format!("; there is {}", versions.join(", ")) }
}

impl Diagnostic for LockError {
    fn kind(&self) -> ErrorKind {
        match self {
            LockError::Malformed { .. } | LockError::Schema { .. } | LockError::Order { .. } => ErrorKind::Config,
            LockError::Gone { .. } => ErrorKind::Unsolvable,
            LockError::Changed { .. } | LockError::Refused(_) => ErrorKind::Untrusted,
        }
    }

    fn place(&self) -> Option<String> {
        match self {
            LockError::Malformed { file, because } => Some(format!("{file}:{}", because.line())),
            LockError::Schema { file, .. }
            | LockError::Order { file, .. }
            | LockError::Gone { file, .. }
            | LockError::Changed { file, .. } => Some(file.clone()),
            LockError::Refused(refusal) => Some(refusal.repo.clone()),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            LockError::Refused(_) => Vec::new(),
            LockError::Changed { .. } => {
                vec!["find out who changed the package; then write the lock anew with `mkinitrd-pkg plan --lock FILE`".to_owned()]
            }
            _ => vec!["write the lock anew with `mkinitrd-pkg plan --lock FILE`".to_owned()],
        }
    }
}

/// Returns the text of the lock file of a plan.
pub fn write(plan: &Plan) -> String {
    let mut packages: Vec<Entry> = plan.packages.iter().enumerate().map(|(order, planned)| entry(order, planned)).collect();
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    let file = File { schema: SCHEMA, packages };
    let mut text = serde_json::to_string_pretty(&file).expect("invariant: text, numbers and digests are always valid JSON");
    text.push('\n');
    text
}

fn entry(order: usize, planned: &Planned) -> Entry {
    let package = &planned.package;
    let reason = match &planned.reason {
        Reason::Requested(item) => Why::Requested { text: item.text.clone(), at: item.source.to_string() },
        Reason::Required { by, requirement } => Why::Required { by: by.clone(), requirement: requirement.clone() },
        Reason::Recommended { by, requirement } => Why::Recommended { by: by.clone(), requirement: requirement.clone() },
        Reason::Joined { with, conditions } => Why::Joined { with: with.clone(), conditions: conditions.clone() },
        Reason::LeftOver => Why::LeftOver,
    };
    Entry {
        name: package.name.clone(),
        version: package.version.clone(),
        arch: package.arch.clone(),
        repo: package.repo.clone(),
        sha256: package.proof.is_none().then_some(package.sha256),
        proof: package.proof.clone(),
        size_bytes: package.size_bytes,
        order,
        omitted: planned.omitted,
        part: planned.part,
        reason,
    }
}

/// Reads the plan that a lock file holds; `file` is its name in messages. Where the packages lie is the catalog's knowledge.
pub fn read(text: &str, file: &str, catalog: &dyn Catalog) -> Result<Plan, LockError> {
    #[derive(Deserialize)]
    struct Head {
        schema: u32,
    }
    let malformed = |because| LockError::Malformed { file: file.to_owned(), because };
    let head: Head = serde_json::from_str(text).map_err(malformed)?;
    if head.schema != SCHEMA {
        return Err(LockError::Schema { file: file.to_owned(), found: head.schema });
    }
    let mut entries = serde_json::from_str::<File>(text).map_err(malformed)?.packages;
    entries.sort_by_key(|entry| entry.order);
    if entries.len() > limit::PACKAGES_MAX || entries.iter().enumerate().any(|(place, entry)| entry.order != place) {
        return Err(LockError::Order { file: file.to_owned(), last: entries.len().saturating_sub(1) });
    }
    let packages = entries.into_iter().map(|entry| planned(entry, file, catalog)).collect::<Result<_, _>>()?;
    Ok(Plan { packages })
}

fn planned(entry: Entry, file: &str, catalog: &dyn Catalog) -> Result<Planned, LockError> {
    let same: Vec<PackageId> =
        catalog.named(&entry.name).iter().copied().filter(|&id| catalog.version(id) == entry.version).collect();
    let mut listed = None;
    for id in same {
        let package = catalog.package(id)?;
        let sha256 = package.proof.is_none().then_some(package.sha256);
        if (sha256, &package.proof, &package.arch) == (entry.sha256, &entry.proof, &entry.arch) {
            let reason = match entry.reason {
                Why::Requested { text, at } => Reason::Requested(Item { text, source: Source { file: at.into(), line: 0 } }),
                Why::Required { by, requirement } => Reason::Required { by, requirement },
                Why::Recommended { by, requirement } => Reason::Recommended { by, requirement },
                Why::Joined { with, conditions } => Reason::Joined { with, conditions },
                Why::LeftOver => Reason::LeftOver,
            };
            return Ok(Planned { package, reason, omitted: entry.omitted, part: entry.part });
        }
        listed.get_or_insert((package.repo, digest(sha256, package.proof)));
    }
    let (file, name, version) = (file.to_owned(), entry.name, entry.version);
    Err(match listed {
        Some((repo, listed)) => {
            LockError::Changed { file, name, version, repo, locked: digest(entry.sha256, entry.proof), listed }
        }
        None => {
            let found = catalog.named(&name).iter().map(|&id| format!("`{name} {}`", catalog.version(id))).collect();
            LockError::Gone { file, name, version, found }
        }
    })
}

/// Says what tells a file from others.
fn digest(sha256: Option<Sha256>, proof: Option<String>) -> String {
    match (sha256, proof) {
        (Some(sha256), _) => format!("sha256 {sha256}"),
        (None, Some(proof)) => proof,
        (None, None) => "no digest".to_owned(),
    }
}
