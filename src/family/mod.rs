//! Package families: what differs between deb, RPM, ALPM and APK, behind one trait.
//!
//! A family opens no socket and knows no path of the host: it parses bytes that it is given, and reads what is installed below a root
//! that it is given.

pub mod address;
pub mod alpm;
pub mod apk;
pub mod deb;
pub mod door;
pub mod installed;
mod payload;
pub mod repo;
pub mod rpm;

use std::cmp::Ordering;
use std::io::Read;

use crate::package::Package;
use crate::tree::TreePath;
pub use crate::tree::member::{Member, MemberKind};

/// What an installed package has on the machine, as its payload would give it: only what is wanted, in the order of its list, every
/// content in memory and already compared with what the database says of it.
#[derive(Debug, Clone, Default)]
pub struct InstalledFiles {
    /// Members with their contents; what is no file has none.
    pub members: Vec<(Member, Vec<u8>)>,
    /// What is not wanted and was not looked at.
    pub dropped: Vec<TreePath>,
    /// What differs from the package as its distribution ships it.
    pub notes: Vec<(TreePath, LocalChange)>,
}

/// How a file of an installed package differs from what was shipped, by the will of whoever runs the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LocalChange {
    /// A configuration file has other content.
    #[error("it was changed on this machine, and is taken as it is")]
    Edited,
    /// A file of users or groups has other content.
    #[error(
        "it was changed on this machine: of it those are taken that every machine of the distribution has, without passwords"
    )]
    Accounts,
    /// A configuration file holds what is of this machine alone.
    #[error("it was changed on this machine and says what is of it alone, and is left out")]
    Own,
    /// A configuration file is gone.
    #[error("it was removed on this machine, and is left out")]
    Removed,
    /// Its owner or permissions were set by `dpkg-statoverride`.
    #[error("it has the permissions that this machine gives it (dpkg-statoverride)")]
    Permissions,
    /// A directory is gone.
    #[error("the directory is not there on this machine, and is made anew")]
    NoDirectory,
}

/// A payload cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The bytes are not what the format says. Holds what was expected and found.
    #[error("{0}")]
    Format(String),
    /// The package is not the one that the signed metadata describe.
    #[error("the {field} in the package is `{found}`, and the repository says `{wanted}`")]
    Mismatch {
        /// Name, version or architecture.
        field: &'static str,
        /// What the metadata say.
        wanted: String,
        /// What the package says.
        found: String,
    },
    /// A compression or feature that this program does not read.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// Something exceeds a limit of `base::limit`.
    #[error("{what} exceeds the limit of {limit}")]
    Limit {
        /// What.
        what: String,
        /// The limit, with its unit.
        limit: String,
    },
    /// The bytes ended or could not be read or decompressed.
    #[error("the file cannot be read to its end")]
    Io(#[from] std::io::Error),
    /// A name in the archive is refused.
    #[error(transparent)]
    Path(#[from] crate::tree::BadPath),
    /// Whoever receives the members refused one.
    #[error(transparent)]
    Tree(#[from] crate::tree::TreeError),
}

/// Receives members in archive order. For a file, `data` gives its content; what is left unread is skipped.
pub type Visit<'a> = dyn FnMut(Member, &mut dyn Read) -> Result<(), ReadError> + 'a;

/// The names of the families.
pub const NAMES: [&str; 4] = ["deb", "rpm", "alpm", "apk"];

/// Returns the family of this name.
pub fn by_name(name: &str) -> Option<&'static dyn Family> {
    match name {
        "deb" => Some(&deb::Deb),
        "rpm" => Some(&rpm::Rpm),
        "apk" => Some(&apk::Apk),
        "alpm" => Some(&alpm::Alpm),
        _ => None,
    }
}

/// What a family can do. Repositories and indexes are in [`repo`].
pub trait Family: Sync {
    /// Returns the name used in profiles: `deb`.
    fn name(&self) -> &'static str;

    /// Compares two versions.
    fn compare(&self, a: &str, b: &str) -> Ordering;

    /// Reads the payload of a package file in one pass, in archive order.
    fn read(&self, package_file: &mut dyn Read, visit: &mut Visit<'_>) -> Result<(), ReadError>;

    /// Like [`Family::read`], but refuses a file that does not say itself that it is `package`, before anything is visited.
    fn read_as(&self, package: &Package, package_file: &mut dyn Read, visit: &mut Visit<'_>) -> Result<(), ReadError>;
}
