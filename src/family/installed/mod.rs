//! The packages that are installed on a machine, whichever family they are of: what its database knows of them, compared with what the
//! disk has.
//!
//! A family says which packages there are, which files each has and what they were when they were shipped ([`Listed`]); reading and
//! comparing them is one piece of code for all ([`Record::read`]). Nothing is locked and nothing is waited for: a transaction that goes on
//! meanwhile shows in what the database says, in files beside others, and in contents whose digest is not the recorded one.

mod disk;
mod own;
mod root;

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub use disk::{Links, Listed, Owner, Record, Shape, shipped_id};
pub use root::Root;

use crate::base::error::{Diagnostic, ErrorKind};
use crate::family::repo::{self, Index};
use crate::family::{InstalledFiles, ReadError};
use crate::package::{Catalog, Package};
use crate::tree::{BadPath, TreePath};

/// How packages are labelled that come from no repository.
pub const LABEL: &str = "installed";

/// Decides about a path of a package, as it stands in the package's list.
pub type Wanted<'a> = dyn Fn(&TreePath) -> bool + 'a;

/// What a family's database of installed packages can do.
pub trait Installed: Debug + Send + Sync {
    /// Tells whether there are none.
    fn is_empty(&self) -> bool;

    /// Returns the version of each package; of several the last one installed.
    fn versions(&self) -> BTreeMap<String, String>;

    /// Returns what the solver sees: what is installed, and of `indexes` what is not. Of an installed name only the installed version counts;
    /// with `with_others` the others count too, as a lock file may name one.
    fn catalog(&self, indexes: Vec<Index>, with_others: bool) -> Result<Box<dyn Catalog + '_>, repo::Error>;

    /// Reads what of an installed package is wanted.
    fn files(&self, package: &Package, wanted: &Wanted<'_>) -> Result<InstalledFiles, Unfit>;

    /// Checks that a package is still there, whole, and the one that was planned.
    fn check(&self, package: &Package) -> Result<(), Unfit>;

    /// Returns what shows that the package manager works at this moment, or was interrupted: a sentence.
    fn transaction(&self) -> Option<String>;

    /// Tells whether somebody has written to the database since it was read. Cheap.
    fn has_changed(&self) -> bool;

    /// Reads the database anew; `None` if it is gone.
    fn reopen(&self) -> Result<Option<Box<dyn Installed>>, Error>;

    /// Returns what the package manager has against damage.
    fn remedy(&self) -> Remedy;
}

/// What to type when something is wrong with installed packages; `{}` stands for the package's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remedy {
    /// Ends a transaction that was interrupted.
    pub finish: &'static str,
    /// Puts a package's files back.
    pub restore: &'static str,
    /// Shows what was changed.
    pub verify: &'static str,
}

/// The database of a machine cannot be used.
#[derive(Debug)]
pub struct Error(Box<dyn Diagnostic + Send + Sync>);

impl Error {
    /// Takes what a family says.
    pub fn new(error: impl Diagnostic + Send + Sync + 'static) -> Self {
        Self(Box::new(error))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

impl Diagnostic for Error {
    fn kind(&self) -> ErrorKind {
        self.0.kind()
    }

    fn place(&self) -> Option<String> {
        self.0.place()
    }

    fn hints(&self) -> Vec<String> {
        self.0.hints()
    }
}

/// Why an installed package is not used.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// It is not, or not any more, what was planned.
    #[error("it is not installed in version {wanted}")]
    Gone {
        /// The version.
        wanted: String,
    },
    /// The package manager has not finished with it.
    #[error("it is {0}")]
    State(String),
    /// The package manager is about to replace a file.
    #[error("`{0}` is about to be replaced (there is another beside it)")]
    Fresh(TreePath),
    /// A file is not there.
    #[error("`{0}` is not there")]
    Absent(TreePath),
    /// A file has other content than was shipped, or is something else.
    #[error("`{0}` was changed")]
    Changed(TreePath),
    /// The database has no digest for a file.
    #[error("the database has no digest for `{0}`")]
    Unknown(TreePath),
    /// The database has no list of its files.
    #[error("the database has no list of its files")]
    NoList,
    /// Something of the database cannot be used.
    #[error(transparent)]
    Database(#[from] Error),
    /// A file cannot be read.
    #[error("`{path}` cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: TreePath,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A name in the list is refused.
    #[error(transparent)]
    Path(#[from] BadPath),
    /// There is more of it than there may be.
    #[error(transparent)]
    Limit(#[from] ReadError),
}

impl Unfit {
    /// Tells whether this is what a running or interrupted package manager leaves.
    pub fn is_of_transaction(&self) -> bool {
        matches!(self, Unfit::Gone { .. } | Unfit::State(_) | Unfit::Fresh(_))
    }

    /// Returns the file that somebody changed, if that is what it is.
    pub fn changed(&self) -> Option<&TreePath> {
        match self {
            Unfit::Absent(path) | Unfit::Changed(path) => Some(path),
            _ => None,
        }
    }
}

/// Somebody else than root can write to a database, so that it proves nothing.
#[derive(Debug, thiserror::Error)]
#[error("the package database of this machine can be written by others than root, so it proves nothing")]
pub struct Open {
    /// What they can write to.
    pub path: PathBuf,
    /// Its owner.
    pub owner: u32,
    /// Its permissions.
    pub mode: u32,
}

impl Diagnostic for Open {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Untrusted
    }

    fn place(&self) -> Option<String> {
        Some(format!("{} (owner {}, mode {:04o})", self.path.display(), self.owner, self.mode))
    }

    fn hints(&self) -> Vec<String> {
        vec![format!("find out who made it so; then `chown root:root {0}` and `chmod go-w {0}`", self.path.display())]
    }
}

/// Refuses what others than root can write to.
///
/// Root believes only what root alone can write. Whoever else builds gets no more than they could read and change in their own image
/// anyway, but a file that everybody can write says nothing to them either.
pub fn check_owner(path: &Path, found: &std::fs::Metadata) -> Result<(), Open> {
    let (owner, group, mode) = (found.uid(), found.gid(), found.mode() & 0o7777);
    let others_own = owner != 0 && rustix::process::geteuid().is_root();
    let others_write = mode & 0o002 != 0 || (mode & 0o020 != 0 && group != 0);
    if others_own || others_write { Err(Open { path: path.to_owned(), owner, mode }) } else { Ok(()) }
}

/// Takes the database of some family, as far as there is one.
pub fn boxed<D, E>(opened: Result<Option<D>, E>) -> Result<Option<Box<dyn Installed>>, Error>
where
    D: Installed + 'static,
    E: Diagnostic + Send + Sync + 'static,
{
    let database = opened.map_err(Error::new)?;
    Ok(database.map(|database| Box::new(database) as _))
}
