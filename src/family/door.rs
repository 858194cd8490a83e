//! What a repository needs of the world: bytes by address, a cache, a judge of signatures, a memory.
//!
//! Families open no socket and no file; whoever calls them passes something with these functions.

use std::fmt;
use std::path::Path;

use crate::base::digest::Sha256;
use crate::base::error::{Diagnostic, ErrorKind};
use crate::base::trust::{RsaSignature, Seen, SignedBy, Signer};
use crate::package::Location;

/// What went wrong behind the door.
#[derive(Debug)]
pub struct DoorError {
    /// The error itself.
    pub error: Box<dyn Diagnostic + Send + Sync>,
    /// Whether bytes came, but others than were signed.
    pub differs: bool,
}

impl DoorError {
    /// Wraps an error.
    pub fn new(error: impl Diagnostic + Send + Sync + 'static) -> Self {
        Self { error: Box::new(error), differs: false }
    }
}

impl fmt::Display for DoorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for DoorError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

impl Diagnostic for DoorError {
    fn kind(&self) -> ErrorKind {
        self.error.kind()
    }

    fn place(&self) -> Option<String> {
        self.error.place()
    }

    fn hints(&self) -> Vec<String> {
        self.error.hints()
    }
}

/// The world, as a repository sees it.
pub trait Door {
    /// Returns a file of at most `size_bytes_max` bytes; `None` if there is none.
    fn fetch(&self, from: &Location, size_bytes_max: u64) -> Result<Option<Vec<u8>>, DoorError>;

    /// Returns a file with exactly this digest and size; `None` if there is none.
    fn fetch_exact(&self, from: &Location, sha256: &Sha256, size_bytes: u64) -> Result<Option<Vec<u8>>, DoorError>;

    /// Returns bytes of this digest, verified, if they are kept.
    fn cached(&self, sha256: &Sha256) -> Option<Vec<u8>>;

    /// Keeps bytes whose digest is known to be this one.
    fn keep(&self, sha256: &Sha256, bytes: &[u8]);

    /// Tells who signed `data`, if one of the keys meant did.
    fn verify(&self, signed_by: &SignedBy, data: &[u8], signature: &[u8]) -> Result<Signer, DoorError>;

    /// Tells who signed `data` by RSA, if one of the keys meant did: that of the signature's own name.
    fn verify_rsa(&self, signed_by: &SignedBy, data: &[u8], signature: &RsaSignature) -> Result<Signer, DoorError>;

    /// Returns what was last seen of a repository.
    fn seen(&self, repository: &str) -> Option<Seen>;

    /// Remembers what was seen.
    fn remember(&self, seen: &Seen);

    /// Returns the names in a local directory, sorted; none if it is not there.
    fn names(&self, dir: &Path) -> Vec<String>;

    /// Passes on something that the user should know.
    fn warn(&self, message: &str);
}
