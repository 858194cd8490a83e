//! What can go wrong while modules are chosen.

use crate::base::error::{Diagnostic, ErrorKind};
use crate::base::fs::FileError;
use crate::base::glob::BadGlob;
use crate::format::compress::Format;
use crate::format::module::{ModuleError, machine_name};
use crate::tree::{BadPath, TreeError, TreePath};

/// The modules of an image cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no kernel, or not the one that is wanted.
    #[error("there are no kernel modules for `{wanted}`")]
    NoKernel {
        /// The version.
        wanted: String,
    },
    /// No kernel at all where one was expected.
    #[error("no kernel is there: `{dir}` has no directory with modules")]
    NoKernels {
        /// The directory searched.
        dir: String,
    },
    /// The directory of a kernel has neither modules nor a list of built-in ones.
    #[error("`{path}` has no kernel modules")]
    NoModules {
        /// The directory.
        path: TreePath,
    },
    /// Several kernels, and none was named.
    #[error("{} kernels are there, and none was chosen: {}", .found.len(), .found.iter().map(|kver| format!("`{kver}`")).collect::<Vec<_>>().join(", "))]
    SeveralKernels {
        /// Their versions.
        found: Vec<String>,
    },
    /// The name of a kernel is none.
    #[error("`{version}` is not a kernel version: {reason}")]
    BadVersion {
        /// As given, escaped.
        version: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A module that was asked for by name does not exist.
    #[error("there is no kernel module `{name}`")]
    UnknownModule {
        /// The name.
        name: String,
        /// Names that look like it.
        similar: Vec<String>,
    },
    /// A pattern cannot be read.
    #[error("a module pattern cannot be read")]
    BadPattern {
        /// Why.
        source: BadGlob,
        /// Where it is written.
        place: String,
    },
    /// A module needs another one that neither exists nor is built in.
    #[error("the module `{module}` needs `{missing}`, which is neither a module nor built into the kernel")]
    MissingDependency {
        /// Who needs it.
        module: String,
        /// What is not there.
        missing: String,
        /// The file of the one who needs it.
        path: TreePath,
    },
    /// What a volume of the machine needs is neither a module nor built in.
    #[error("the kernel `{kver}` has no `{wanted}`, neither as a module nor built in, but this machine needs it: {reason}")]
    Unanswered {
        /// The name or alias.
        wanted: String,
        /// For what, with the volume: `ext4 of /`.
        reason: String,
        /// The kernel.
        kver: String,
    },
    /// A module cannot be decompressed.
    #[error("the module `{path}` cannot be decompressed as {format}")]
    Decompress {
        /// The file.
        path: TreePath,
        /// The compression that its first bytes claim.
        format: Format,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not a module.
    #[error("`{path}` is not a kernel module")]
    Module {
        /// The file.
        path: TreePath,
        /// Why.
        source: ModuleError,
    },
    /// A module is for another architecture.
    #[error("the module `{path}` is for {}, but the image is for {}", machine_name(*.found), machine_name(*.wanted))]
    Machine {
        /// The file.
        path: TreePath,
        /// ELF machine wanted.
        wanted: u16,
        /// ELF machine found.
        found: u16,
    },
    /// A firmware file of the machine cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The indexes cannot be made.
    #[error("the module indexes cannot be made")]
    Depmod(#[from] super::depmod::DepmodError),
    /// A path does not fit into a tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A name cannot be a path.
    #[error(transparent)]
    Path(#[from] BadPath),
}

impl Diagnostic for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::NoKernel { .. } | Error::NoKernels { .. } | Error::NoModules { .. } | Error::UnknownModule { .. } => {
                ErrorKind::Unsolvable
            }
            Error::SeveralKernels { .. } | Error::BadVersion { .. } => ErrorKind::Usage,
            Error::BadPattern { .. } => ErrorKind::Config,
            Error::MissingDependency { .. } | Error::Machine { .. } => ErrorKind::Unsolvable,
            Error::Unanswered { .. } => ErrorKind::Host,
            Error::File(err) => err.kind(),
            Error::Decompress { .. } | Error::Module { .. } | Error::Depmod(_) | Error::Tree(_) | Error::Path(_) => {
                ErrorKind::Untrusted
            }
        }
    }

    fn place(&self) -> Option<String> {
        match self {
            Error::BadPattern { place, .. } => Some(place.clone()),
            Error::MissingDependency { path, .. } => Some(path.to_string()),
            Error::File(err) => err.place(),
            _ => None,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Error::UnknownModule { similar, .. } if !similar.is_empty() => {
                let names: Vec<String> = similar.iter().map(|name| format!("`{name}`")).collect();
                vec![format!("did you mean {}?", names.join(" or "))]
            }
            Error::NoKernel { .. } | Error::NoKernels { .. } | Error::NoModules { .. } => {
                vec!["name a kernel package with `--kernel-package`, or a directory with `--modules-dir`".to_owned()]
            }
            Error::SeveralKernels { .. } => vec!["choose one with `--kernel VERSION`".to_owned()],
            Error::MissingDependency { module, .. } => {
                vec![format!("leave it out with `--module -{module}`, or complete the modules directory")]
            }
            Error::Unanswered { .. } => vec![
                "build for a kernel that has it, or install the package with the module for this kernel".to_owned(),
                "`--generic` builds without asking what this machine needs".to_owned(),
            ],
            Error::Machine { .. } => vec!["name the architecture with `--arch`, or another kernel".to_owned()],
            _ => Vec::new(),
        }
    }
}
