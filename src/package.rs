//! Packages as every family describes them: what they are called, need, offer and refuse, and where their bytes lie.

mod term;

use std::cmp::Ordering;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::base::digest::Sha256;
use crate::base::trust::Seal;

pub use term::{Excluded, Solvables, Term, Terms, Word};

/// A package of a repository.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Package {
    /// Name, without architecture.
    pub name: String,
    /// Version in the family's own syntax.
    pub version: String,
    /// Architecture in the family's own words (`amd64`, `all`).
    pub arch: String,
    /// The repository it comes from, as shown to people: `trixie/main`.
    pub repo: String,
    /// Where its file lies.
    pub location: Location,
    /// Digest of its file, from signed metadata. Where they have another proof this only names the package.
    pub sha256: Sha256,
    /// What proves its file where that is no SHA-256, in the metadata's own words (apk: `Q1…`, of the control segment) or as
    /// [`crate::base::checksum::Checksum`] writes it (`sha512:…`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
    /// The signature of its own that its file must have, where the index is not signed or more than that is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<Box<Seal>>,
    /// Size of its file in bytes.
    pub size_bytes: u64,
    /// Size when installed in bytes, as its maintainer claims.
    pub installed_bytes: u64,
    /// The name and version of the source it was built from.
    pub source: String,
    /// How ordinary it is: a lower one is preferred among several that offer the same (Debian: essential, protected, then
    /// by Priority), and below [`ORDINARY_RANK`] it is part of every system.
    pub rank: u8,
    /// What must be there too. For a package of a solved plan this has served its purpose and is empty in a lockfile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<Requirement>,
    /// What should be there too, taken only when asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recommends: Vec<Requirement>,
    /// What it offers besides its own name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub provides: Vec<Capability>,
    /// What must not be there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<Constraint>,
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// Where a package's file lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Location {
    /// On a mirror.
    Url(String),
    /// On this machine, in a `file:` repository.
    File(PathBuf),
    /// It has none: the package is installed on this machine, and its database says what belongs to it.
    Installed,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Url(url) => f.write_str(url),
            Location::File(path) => write!(f, "file:{}", path.display()),
            Location::Installed => f.write_str("installed"),
        }
    }
}

/// How a version is compared with the one that a constraint names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Op {
    /// Strictly earlier: `<<`.
    #[serde(rename = "<<")]
    Less,
    /// Earlier or equal: `<=`.
    #[serde(rename = "<=")]
    LessEqual,
    /// The same: `=`.
    #[serde(rename = "=")]
    Equal,
    /// Later or equal: `>=`.
    #[serde(rename = ">=")]
    GreaterEqual,
    /// Strictly later: `>>`.
    #[serde(rename = ">>")]
    Greater,
    /// Any version that begins with the named one: `~` (apk).
    #[serde(rename = "~")]
    Fuzzy,
    /// Earlier, or beginning with the named one: `<~` (apk).
    #[serde(rename = "<~")]
    LessFuzzy,
    /// Later, or beginning with the named one: `>~` (apk).
    #[serde(rename = ">~")]
    GreaterFuzzy,
}

impl Op {
    /// Tells whether a version that compares so with the named one is meant. For the fuzzy ones the comparison must be fuzzy, too.
    pub fn accepts(self, found_with_named: Ordering) -> bool {
        match self {
            Op::Less => found_with_named.is_lt(),
            Op::LessEqual | Op::LessFuzzy => found_with_named.is_le(),
            Op::Equal | Op::Fuzzy => found_with_named.is_eq(),
            Op::GreaterEqual | Op::GreaterFuzzy => found_with_named.is_ge(),
            Op::Greater => found_with_named.is_gt(),
        }
    }

    /// Tells whether a version that begins with the named one counts as equal to it.
    pub fn is_fuzzy(self) -> bool {
        matches!(self, Op::Fuzzy | Op::LessFuzzy | Op::GreaterFuzzy)
    }

    /// Returns the operator as written in the metadata of most families.
    pub fn as_str(self) -> &'static str {
        match self {
            Op::Less => "<<",
            Op::LessEqual => "<=",
            Op::Equal => "=",
            Op::GreaterEqual => ">=",
            Op::Greater => ">>",
            Op::Fuzzy => "~",
            Op::LessFuzzy => "<~",
            Op::GreaterFuzzy => ">~",
        }
    }
}

/// A name, possibly with a range of versions and an architecture.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Constraint {
    /// A package or something that packages provide.
    pub name: String,
    /// The architecture asked for (`python3:any`), if one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// The versions meant; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<(Op, String)>,
}

impl Constraint {
    /// Returns a constraint that any version meets.
    pub fn any(name: impl Into<String>) -> Self {
        Self { name: name.into(), arch: None, range: None }
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(arch) = &self.arch {
            write!(f, ":{arch}")?;
        }
        match &self.range {
            Some((op, version)) => write!(f, " ({} {version})", op.as_str()),
            None => Ok(()),
        }
    }
}

/// Something a package needs: one of several constraints, in order of preference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requirement(pub Vec<Constraint>);

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, constraint) in self.0.iter().enumerate() {
            write!(f, "{}{constraint}", if i == 0 { "" } else { " | " })?;
        }
        Ok(())
    }
}

/// A constraint that something must meet, or that nothing may meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The constraint.
    pub constraint: Constraint,
    /// Nothing may meet it (apk: `!name`).
    pub refused: bool,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.refused { "!" } else { "" }, self.constraint)
    }
}

/// Something a package offers under another name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    /// The name.
    pub name: String,
    /// The version offered; without one it meets no constraint on a version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// What a package has to do with others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Relations {
    /// What must be there too.
    pub requires: Vec<Requirement>,
    /// What should be there too.
    pub recommends: Vec<Requirement>,
    /// What might be there too; never a reason to install something.
    pub suggests: Vec<Requirement>,
    /// What it offers besides its own name.
    pub provides: Vec<Capability>,
    /// What must not be there.
    pub conflicts: Vec<Constraint>,
    /// All of this in full, where a family has more than the lists above can say.
    pub terms: Option<Box<Terms>>,
    /// Before which of `requires` each of `conflicts` stands, where both are one list whose order matters (apk).
    pub conflict_places: Vec<usize>,
    /// Where all of these hold, the package enters by itself (apk: `install_if`); never where there are none.
    pub install_if: Vec<Condition>,
}

/// What a resolver weighs of a package besides its relations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// The highest is taken of several that offer the same (apk: `provider_priority`); 0 where none is declared.
    pub provider_priority: u64,
    /// The first of the repositories that have it, in their order.
    pub repo_place: u32,
    /// The tags of the repositories that have it: bit 0 for those without one, bit i for the i-th of [`Catalog::tags`].
    pub tags: u32,
    /// It has no content.
    pub is_empty: bool,
}

/// An entry of an index that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the entry of `{package}` in repository `{repo}` cannot be used: {flaw}")]
pub struct Refusal {
    /// The package.
    pub package: String,
    /// The repository, as shown to people.
    pub repo: String,
    /// What is wrong with it.
    pub flaw: Flaw,
}

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// A field that must be there is not.
    #[error("it has no field `{0}`")]
    Missing(&'static str),
    /// A field holds something else than its format allows.
    #[error("its field `{field}` is `{}`, wanted {wanted}", .found.escape_debug())]
    Malformed {
        /// The field.
        field: &'static str,
        /// What it holds, shortened.
        found: String,
        /// What it should hold.
        wanted: &'static str,
    },
    /// What the database of a machine has of it cannot be read. Holds why.
    #[error("{0}")]
    Database(String),
}

/// Packages below this rank are never removed by their distribution's own tool (Debian's Essential and Protected).
pub const ORDINARY_RANK: u8 = 24;

/// The number of a package in a [`Catalog`].
pub type PackageId = u32;

/// Whose rules choose among packages that would all do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Resolver {
    /// apt's.
    #[default]
    Apt,
    /// libsolv's as dnf asks it, of a catalog that has [`Solvables`].
    Libsolv,
    /// apk's.
    Apk,
    /// libalpm's.
    Pacman,
}

/// All packages of some repositories for one architecture, as the solver sees them. Entries are parsed when first asked for.
pub trait Catalog: Send + Sync {
    /// Returns how many packages there are; ids are below this.
    fn len(&self) -> usize;

    /// Tells whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whose rules choose among these packages.
    fn resolver(&self) -> Resolver {
        Resolver::default()
    }

    /// Returns the repositories as shown to people, in order of priority.
    fn repos(&self) -> Vec<&str>;

    /// Returns the name of a package.
    fn name(&self, id: PackageId) -> &str;

    /// Returns the version of a package.
    fn version(&self, id: PackageId) -> &str;

    /// Returns the repository of a package, as shown to people.
    fn repo(&self, id: PackageId) -> &str;

    /// Returns how ordinary a package is: a lower one is preferred among several that offer the same.
    fn rank(&self, id: PackageId) -> u8;

    /// Returns what a package has to do with others, or why its entry cannot be used.
    fn relations(&self, id: PackageId) -> Result<&Relations, &Refusal>;

    /// Returns a whole package, or why its entry cannot be used.
    fn package(&self, id: PackageId) -> Result<Package, Refusal>;

    /// Returns the packages of this name, best candidate first.
    fn named(&self, name: &str) -> &[PackageId];

    /// Returns the packages that offer this name by a capability, in the order of the indexes.
    fn providers(&self, name: &str) -> &[PackageId];

    /// Returns the members of a group of packages, in the order of the indexes; none where the family has no groups.
    fn members(&self, _group: &str) -> &[PackageId] {
        &[]
    }

    /// Tells whether a package meets a constraint, by its name or by a capability.
    fn meets(&self, id: PackageId, constraint: &Constraint) -> bool;

    /// Orders two packages of equal rank that offer the same; the lesser one is preferred.
    fn tie_break(&self, a: PackageId, b: PackageId) -> Ordering;

    /// Compares two versions as the family does.
    fn compare(&self, a: &str, b: &str) -> Ordering;

    /// Compares a version with one that may be only its beginning, for the fuzzy operators.
    fn compare_fuzzy(&self, version: &str, prefix: &str) -> Ordering {
        self.compare(version, prefix)
    }

    /// Returns what a resolver weighs of a package besides its relations.
    fn standing(&self, _id: PackageId) -> Standing {
        Standing::default()
    }

    /// Returns the tags that repositories have (apk: `@testing`), from the first one given; an untagged repository serves everybody.
    fn tags(&self) -> Vec<&str> {
        Vec::new()
    }

    /// Returns the packages that have a condition on this name to enter by themselves.
    fn triggered_by(&self, _name: &str) -> &[PackageId] {
        &[]
    }

    /// Returns where the distribution's own tool comes to a name when it walks over all of them, if its answer depends on that.
    fn walk_place(&self, _name: &str) -> u64 {
        0
    }

    /// Returns all package names, in any order, for suggestions.
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_>;

    /// Tells whether an answer may be wrong because a list of all files was not read. Whoever asks for a plan reads it then, and asks again.
    fn lacks_files(&self) -> bool {
        false
    }

    /// Returns what resolvers of families with more than lists of alternatives ask; none if this family has no more.
    fn solvables(&self) -> Option<&dyn Solvables> {
        None
    }

    /// Returns all packages that meet a constraint, those of its very name first.
    fn offers(&self, constraint: &Constraint) -> Vec<PackageId> {
        let named = self.named(&constraint.name);
        let others = self.providers(&constraint.name).iter().filter(|id| !named.contains(id));
        named.iter().chain(others).copied().filter(|&id| self.meets(id, constraint)).collect()
    }
}
