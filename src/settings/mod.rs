//! The machine's own configuration: what of it an image needs, and nothing else. It goes into the host segment.

use crate::base::error::{Diagnostic, ErrorKind};
use crate::config::Profile;
use crate::host::facts::Facts;
use crate::report::Reporter;
use crate::tree::{Tree, TreeError};

/// The configuration of the machine cannot be brought along.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be where it is.
    #[error("the configuration of this machine cannot be put into the image")]
    Tree(#[from] TreeError),
}

impl Diagnostic for Error {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Host
    }
}

/// Returns the configuration files of a machine that an image with these features needs.
pub fn settings(_profile: &Profile, _facts: &Facts, _reporter: &dyn Reporter) -> Result<Tree, Error> {
    Ok(Tree::new())
}
