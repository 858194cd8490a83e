//! Why a plugin stops kernel-install.

use std::io;
use std::path::PathBuf;

use crate::base::digest::Sha256;
use crate::base::error::{Diagnostic, ErrorKind};
use crate::base::size::Size;
use crate::modules::KernelVersion;

/// Why no image is staged, or what was installed is not what was staged.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// kernel-install always sets it.
    #[error("`{0}` is not set: this is started by kernel-install, not by hand")]
    Variable(&'static str),
    /// The staging area is not as it has to be.
    #[error("the staging area `{}` cannot be used: {reason}", .path.display())]
    Staging {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
        /// What the system said, if it did.
        #[source]
        source: Option<io::Error>,
    },
    /// The modules are not as they have to be.
    #[error("no initrd for kernel {version}: `{}` {reason}", .path.display())]
    Modules {
        /// The kernel.
        version: KernelVersion,
        /// The directory or file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// There is no kernel to put into a unified image.
    #[error("no unified image for kernel {0}: kernel-install named no kernel image")]
    NoKernelImage(KernelVersion),
    /// The new files do not fit beside the old ones.
    #[error(
        "kernel {version} needs {} in `{}` and {} are free ({needed_bytes} and {free_bytes} bytes); nothing was changed",
        Size(*.needed_bytes), .directory.display(), Size(*.free_bytes)
    )]
    Room {
        /// The kernel.
        version: KernelVersion,
        /// The directory on the boot partition.
        directory: PathBuf,
        /// What kernel, images and entry take.
        needed_bytes: u64,
        /// What there is.
        free_bytes: u64,
    },
    /// The file beside the kernel is no image.
    #[error("the prebuilt image `{}` cannot be taken: {reason}", .path.display())]
    Prebuilt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A later plugin did not copy what was staged, and it could not be put right.
    #[error("`{}` is not what was made: wanted sha256 {wanted}, found {found}; {aftermath}", .path.display())]
    Damaged {
        /// The file on the boot partition.
        path: PathBuf,
        /// The digest of what was staged.
        wanted: Sha256,
        /// The digest of what is there, or that nothing is.
        found: String,
        /// What was done about it.
        aftermath: String,
        /// Why it could not be put right.
        #[source]
        source: Box<crate::deliver::Error>,
    },
}

impl Diagnostic for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Variable(_) => ErrorKind::Usage,
            Error::Modules { .. } | Error::NoKernelImage(_) => ErrorKind::Host,
            Error::Prebuilt { .. } => ErrorKind::Untrusted,
            Error::Staging { .. } | Error::Room { .. } | Error::Damaged { .. } => ErrorKind::Output,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Error::Variable(_) => "run `kernel-install add VERSION`".to_owned(),
            Error::Staging { .. } => {
                "free some space in the directory for temporary files, and see that root may write to it".to_owned()
            }
            Error::Modules { version, .. } => format!("install the kernel's modules, or run `depmod {version}`"),
            Error::NoKernelImage(version) => format!("name it: `kernel-install add {version} /boot/vmlinuz-{version}`"),
            Error::Room { directory, needed_bytes, free_bytes, .. } => {
                let missing = Size(needed_bytes.saturating_sub(*free_bytes));
                format!("free {missing} in `{}`: remove a kernel that is not needed", directory.display())
            }
            Error::Prebuilt { path, .. } => format!("remove `{}` to have one built", path.display()),
            Error::Damaged { .. } => {
                "free space on the boot partition, look into `dmesg` for errors of the disk, and run `kernel-install add` again"
                    .to_owned()
            }
        };
        vec![hint]
    }
}
