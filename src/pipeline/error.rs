//! One error for the whole line, with a variant for each stage.

use crate::base::error::{Diagnostic, ErrorKind};
use crate::base::fs::FileError;
use crate::finalize::check::Finding;
use crate::tree::disk::DiskError;
use crate::tree::{BadPath, TreeError};
use crate::{finalize, microcode, modules, pack, plan, prune, settings, uki, unpack};

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Planning.
    #[error(transparent)]
    Plan(#[from] plan::Error),
    /// The answer may depend on lists of files that were not read.
    #[error("a package requires a path, and only the list of all files of a repository tells who has it")]
    UnreadFiles,
    /// Unpacking.
    #[error(transparent)]
    Unpack(#[from] unpack::Error),
    /// The path rules.
    #[error(transparent)]
    Rules(#[from] prune::RuleError),
    /// The plugins of the profile.
    #[error(transparent)]
    Plugin(#[from] prune::PluginError),
    /// Pruning.
    #[error(transparent)]
    Prune(#[from] prune::Error),
    /// Kernel modules.
    #[error(transparent)]
    Modules(#[from] modules::Error),
    /// Microcode.
    #[error(transparent)]
    Microcode(#[from] microcode::Error),
    /// Finalizing.
    #[error(transparent)]
    Finalize(#[from] finalize::Error),
    /// The machine's configuration.
    #[error(transparent)]
    Settings(#[from] settings::Error),
    /// Packing.
    #[error(transparent)]
    Pack(#[from] pack::Error),
    /// Joining a unified kernel image.
    #[error(transparent)]
    Uki(#[from] uki::Error),
    /// A part of a unified kernel image is not there.
    #[error("there is no {what} for a unified kernel image: {why}")]
    NoPart {
        /// Which part.
        what: &'static str,
        /// Why not.
        why: String,
        /// What to do.
        hint: &'static str,
    },
    /// The image would not boot.
    #[error("the image would not boot: `{}`: {}{}", .findings[0].path, .findings[0].message, more(.findings.len()))]
    WouldNotBoot {
        /// What is wrong, at least one thing.
        findings: Vec<Finding>,
    },
    /// Two parts of an image do not fit over each other.
    #[error("the parts of the image do not fit over each other")]
    Tree(#[from] TreeError),
    /// A path in the configuration.
    #[error(transparent)]
    Path(#[from] BadPath),
    /// A directory of this machine.
    #[error("cannot read the directory")]
    Disk(#[from] DiskError),
    /// A file of this machine.
    #[error(transparent)]
    File(#[from] FileError),
}

fn more(count: usize) -> String {
    match count {
        0 | 1 => String::new(),
        2 => " (and 1 more finding)".to_owned(),
        count => format!(" (and {} more findings)", count - 1),
    }
}

impl Error {
    fn inner(&self) -> Option<&dyn Diagnostic> {
        Some(match self {
            Error::Plan(err) => err,
            Error::Unpack(err) => err,
            Error::Rules(err) => err,
            Error::Plugin(err) => err,
            Error::Prune(err) => err,
            Error::Modules(err) => err,
            Error::Microcode(err) => err,
            Error::Finalize(err) => err,
            Error::Settings(err) => err,
            Error::Pack(err) => err,
            Error::Uki(err) => err,
            Error::File(err) => err,
            Error::UnreadFiles => return None,
            Error::WouldNotBoot { .. } | Error::NoPart { .. } | Error::Tree(_) | Error::Path(_) | Error::Disk(_) => return None,
        })
    }
}

impl Diagnostic for Error {
    fn kind(&self) -> ErrorKind {
        match (self.inner(), self) {
            (Some(inner), _) => inner.kind(),
            (None, Error::WouldNotBoot { .. } | Error::NoPart { .. }) => ErrorKind::Host,
            (None, Error::Disk(_) | Error::UnreadFiles) => ErrorKind::Unavailable,
            (None, _) => ErrorKind::Config,
        }
    }

    fn place(&self) -> Option<String> {
        self.inner().and_then(Diagnostic::place)
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Error::WouldNotBoot { .. } => {
                vec!["look at the tree with `--stop-after modules --root DIR`, and at what drop-ins remove with `mkinitrd-pkg profiles NAME`".to_owned()]
            }
            Error::NoPart { hint, .. } => vec![(*hint).to_owned()],
            Error::UnreadFiles => vec!["let the list be fetched once, without `--offline`".to_owned()],
            _ => self.inner().map(Diagnostic::hints).unwrap_or_default(),
        }
    }
}
