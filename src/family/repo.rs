//! Repositories of any family: named, opened and verified, and what their packages are.
//!
//! A family has its own idea of a repository and of an index; here is what all of them have in common, and the one place that tells them
//! apart.

use std::fmt;
use std::path::Path;

use crate::base::date::Seconds;
use crate::base::digest::Sha256;
use crate::base::error::{Diagnostic, ErrorKind};
use crate::base::trust::{Seals, SignedBy, Signer};
use crate::config::Source;
use crate::family::address::{BadSource, Base};
use crate::family::door::Door;
use crate::family::installed::{self, Installed};
use crate::family::{alpm, apk, deb, rpm};
use crate::package::{Catalog, Location};

/// How to treat repositories.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Whether signatures and ages are checked. Digests always are.
    pub verify: bool,
    /// Whether the last verified metadata is used instead of the network's.
    pub offline: bool,
    /// Whether metadata that has expired is used, with a warning: it still says what was true when it was made.
    pub expired: bool,
    /// Whether lists of all files are read, too, where they are apart from the lists of packages (RPM): large, and hardly ever needed.
    pub files: bool,
    /// What time it is.
    pub now: Seconds,
}

/// What repositories are opened for.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The package family: `deb`.
    pub family: &'a str,
    /// The release: `trixie`.
    pub release: &'a str,
    /// The parts of the archive that are wanted, where the family has such: `main`.
    pub components: &'a [String],
    /// The architecture in the family's own words.
    pub arch: &'a str,
}

/// A repository to take packages from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spec {
    /// Of Debian and its kin.
    Deb(deb::sources::RepoSpec),
    /// Of Fedora and its kin.
    Rpm(rpm::sources::RepoSpec),
    /// Of Alpine and its kin.
    Apk(apk::sources::RepoSpec),
    /// Of Arch Linux and its kin.
    Alpm(alpm::sources::RepoSpec),
}

/// A repository whose indexes are verified.
#[derive(Debug)]
pub struct Repository {
    /// Its address and suite, as shown to people.
    pub name: String,
    /// Who signed it; `None` if that was not asked (`--no-verify`).
    pub signer: Option<Signer>,
    /// When it was made, if it says so.
    pub date: Option<Seconds>,
    /// Of equal versions that of the repository with the highest counts; 500 is ordinary.
    pub priority: i32,
    /// The indexes.
    pub indexes: Vec<Index>,
}

/// What a machine's files say of the packages of a repository, where the family has such.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Where a package is in several repositories, those of the lowest priority alone count.
    pub priority: i32,
    /// Of the same package in several repositories of one priority that of the lowest cost is taken.
    pub cost: i32,
    /// Globs of packages that do not count.
    pub excluded: Vec<String>,
    /// Globs of packages that alone count; all if there is none.
    pub included: Vec<String>,
}

impl Default for Policy {
    /// As dnf and zypper have it.
    fn default() -> Self {
        Self { priority: 99, cost: 1000, excluded: Vec::new(), included: Vec::new() }
    }
}

/// A verified index of packages.
#[derive(Clone)]
pub struct Index {
    /// The repository as shown to people: `trixie/main`.
    pub label: String,
    /// What the file names in it are relative to.
    pub base: Location,
    /// The content, decompressed.
    pub bytes: Vec<u8>,
    /// The digest that settles its content, of itself or of the file that it was unpacked from: what is computed from it can be kept under it.
    pub sha256: Sha256,
    /// Which of its packages count, and before whose.
    pub policy: Policy,
    /// How its packages are signed themselves, where that counts.
    pub seals: Option<Seals>,
    /// Its repository has a list of all files that was not read.
    pub has_unread_files: bool,
}

impl Index {
    /// Makes an index of bytes whose digest is not known yet.
    pub fn new(label: impl Into<String>, base: Location, bytes: Vec<u8>) -> Self {
        let sha256 = Sha256::of(&bytes);
        Self { label: label.into(), base, bytes, sha256, policy: Policy::default(), seals: None, has_unread_files: false }
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Index({} from {}, {} bytes, {:?})", self.label, self.base, self.bytes.len(), self.sha256)
    }
}

/// A repository or an index cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A repository of Debian's kind.
    #[error(transparent)]
    Deb(#[from] deb::refusal::Error),
    /// An index of Debian's kind.
    #[error(transparent)]
    DebIndex(#[from] deb::index::IndexError),
    /// A repository of Fedora's kind.
    #[error(transparent)]
    Rpm(#[from] rpm::repository::Error),
    /// Metadata of Fedora's kind.
    #[error(transparent)]
    RpmIndex(#[from] rpm::index::IndexError),
    /// A repository of Alpine's kind.
    #[error(transparent)]
    Apk(#[from] apk::repository::Error),
    /// An index of Alpine's kind.
    #[error(transparent)]
    ApkIndex(#[from] apk::index::IndexError),
    /// A repository of Arch's kind.
    #[error(transparent)]
    Alpm(#[from] alpm::repository::Error),
    /// A database of Arch's kind.
    #[error(transparent)]
    AlpmIndex(#[from] alpm::index::IndexError),
    /// What is installed on this machine.
    #[error(transparent)]
    Installed(#[from] installed::Error),
}

impl Error {
    fn inner(&self) -> &dyn Diagnostic {
        match self {
            Error::Deb(err) => err,
            Error::DebIndex(err) => err,
            Error::Rpm(err) => err,
            Error::RpmIndex(err) => err,
            Error::Apk(err) => err,
            Error::ApkIndex(err) => err,
            Error::Alpm(err) => err,
            Error::AlpmIndex(err) => err,
            Error::Installed(err) => err,
        }
    }
}

impl Diagnostic for Error {
    fn kind(&self) -> ErrorKind {
        self.inner().kind()
    }

    fn place(&self) -> Option<String> {
        self.inner().place()
    }

    fn hints(&self) -> Vec<String> {
        self.inner().hints()
    }
}

impl Spec {
    /// Opens the repository: verifies it and returns its indexes.
    pub fn open(&self, door: &dyn Door, options: &Options) -> Result<Repository, Error> {
        match self {
            Spec::Deb(spec) => Ok(deb::repository::open(spec, door, options)?.into()),
            Spec::Rpm(spec) => Ok(rpm::repository::open(spec, door, options)?),
            Spec::Apk(spec) => Ok(apk::repository::open(spec, door, options)?),
            Spec::Alpm(spec) => Ok(alpm::repository::open(spec, door, options)?),
        }
    }

    /// Returns where it was written.
    pub fn source(&self) -> &Source {
        match self {
            Spec::Deb(spec) => &spec.source,
            Spec::Rpm(spec) => &spec.source,
            Spec::Apk(spec) => &spec.source,
            Spec::Alpm(spec) => &spec.source,
        }
    }

    /// Tells whether it was written so that its signature does not matter, which counts only together with `--no-verify`.
    pub fn is_trusted(&self) -> bool {
        match self {
            Spec::Deb(spec) => spec.trusted,
            Spec::Rpm(_) => false,
            Spec::Apk(_) => false,
            Spec::Alpm(spec) => spec.trusted,
        }
    }

    /// Tells whether one can do without it (`skip_if_unavailable`).
    pub fn is_optional(&self) -> bool {
        matches!(self, Spec::Rpm(spec) if spec.is_optional)
    }

    /// Sets the keys that may sign it.
    pub fn set_keys(&mut self, signed_by: SignedBy) {
        match self {
            Spec::Deb(spec) => spec.signed_by = signed_by,
            Spec::Rpm(spec) => spec.signed_by = signed_by,
            Spec::Apk(spec) => spec.signed_by = signed_by,
            Spec::Alpm(spec) => spec.signed_by = signed_by,
        }
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Spec::Deb(spec) => spec.fmt(f),
            Spec::Rpm(spec) => spec.fmt(f),
            Spec::Apk(spec) => spec.fmt(f),
            Spec::Alpm(spec) => spec.fmt(f),
        }
    }
}

/// Returns the family whose repositories have a file of this name; nothing if it says nothing.
pub fn family_of_file(name: &str) -> Option<&'static str> {
    match name {
        "Packages" | "Packages.gz" | "Packages.xz" | "Packages.zst" | "Release" | "InRelease" => Some("deb"),
        "repodata" | "repomd.xml" => Some("rpm"),
        _ if name.starts_with("APKINDEX.") && name.ends_with(".tar.gz") => Some("apk"),
        _ if alpm::sources::database_name(name).is_some() => Some("alpm"),
        _ => None,
    }
}

/// Returns a family's word for an architecture, by the kernel's word for it (`uname -m`).
pub fn architecture<'a>(family: &str, machine: &'a str) -> &'a str {
    match (family, machine) {
        ("deb", "x86_64") => "amd64",
        ("deb", "aarch64") => "arm64",
        ("deb", "armv7l") => "armhf",
        ("alpm", "armv7l") => "armv7h",
        ("rpm", "armv7l") => "armv7hl",
        ("apk", "armv7l") => "armv7",
        ("apk", "i686") => "x86",
        (_, machine) => machine,
    }
}

/// Reads the value of `--repo`; a path is relative to `directory`.
pub fn specs(value: &str, target: &Target<'_>, directory: &Path) -> Result<Vec<Spec>, BadSource> {
    let Target { release, components, arch, .. } = *target;
    Ok(match target.family {
        "rpm" => rpm::sources::parse_repo(value, directory)?.into_iter().map(Spec::Rpm).collect(),
        "apk" => apk::sources::parse_repo(value, arch, directory)?.into_iter().map(Spec::Apk).collect(),
        "alpm" => alpm::sources::parse_repo(value, components, arch, directory)?.into_iter().map(Spec::Alpm).collect(),
        _ => deb::sources::parse_repo(value, release, components, arch, directory)?.into_iter().map(Spec::Deb).collect(),
    })
}

/// Returns the repositories of a distribution's mirror: one for each suite.
pub fn mirror(base: &Base, suites: &[String], target: &Target<'_>, source: &Source) -> Vec<Spec> {
    let Target { release, components, arch, .. } = *target;
    match target.family {
        "rpm" => rpm::sources::mirror(base, suites, release, arch, source).into_iter().map(Spec::Rpm).collect(),
        "apk" => apk::sources::mirror(base, suites, components, arch, source).into_iter().map(Spec::Apk).collect(),
        "alpm" => alpm::sources::mirror(base, components, arch, source).into_iter().map(Spec::Alpm).collect(),
        _ => deb::sources::mirror(base, suites, components, arch, source).into_iter().map(Spec::Deb).collect(),
    }
}

/// Opens the database of what is installed on the machine whose root is `root`, as far as it is about `arch`; `None` if it has none of this
/// family. `db_path` is where pacman's lies if that is said.
pub fn installed(
    family: &str,
    root: &Path,
    arch: &str,
    db_path: Option<&str>,
) -> Result<Option<Box<dyn Installed>>, installed::Error> {
    match family {
        "rpm" => installed::boxed(rpm::installed::Machine::open(root, arch)),
        "apk" => installed::boxed(apk::installed::Machine::open(root, arch)),
        "alpm" => installed::boxed(alpm::installed::Machine::open(root, arch, db_path)),
        _ => installed::boxed(deb::installed::Database::open(root, arch)),
    }
}

/// Reads indexes into a catalog, the one of highest priority first.
pub fn catalog(target: &Target<'_>, indexes: Vec<Index>) -> Result<Box<dyn Catalog>, Error> {
    Ok(match target.family {
        "rpm" => Box::new(rpm::index::RpmCatalog::of(target.arch, indexes)?),
        "apk" => Box::new(apk::index::ApkCatalog::new(target.arch, indexes)?),
        "alpm" => Box::new(alpm::index::AlpmCatalog::new(target.arch, indexes)?),
        _ => Box::new(deb::index::DebCatalog::new(target.arch, indexes)?),
    })
}
