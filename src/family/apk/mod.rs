//! The APK family: Alpine, postmarketOS, Chimera, Wolfi and their kin.

pub mod index;
pub mod installed;
pub mod read;
pub mod relation;
pub mod repository;
pub mod segments;
pub mod sources;
pub mod version;

use std::cmp::Ordering;
use std::fmt;
use std::io::Read;
use std::str::FromStr;

use crate::base::base64::{decode, encode};
use crate::family::{Family, ReadError, Visit};
use crate::package::Package;

/// What an index says of a package's file (`C:`): the digest of its control segment, as compressed, which holds the digest of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Checksum {
    /// `Q1`: SHA-1, in all indexes of version 2.
    Sha1([u8; 20]),
    /// `Q2`: SHA-256.
    Sha256([u8; 32]),
}

/// The text is no checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a checksum as apk writes it (`Q1` and base64)")]
pub struct NotAChecksum;

impl FromStr for Checksum {
    type Err = NotAChecksum;

    fn from_str(text: &str) -> Result<Self, NotAChecksum> {
        let of = |rest| decode(rest).map_err(|_| NotAChecksum);
        match (text.strip_prefix("Q1"), text.strip_prefix("Q2")) {
            (Some(rest), _) => Ok(Self::Sha1(of(rest)?.try_into().map_err(|_| NotAChecksum)?)),
            (_, Some(rest)) => Ok(Self::Sha256(of(rest)?.try_into().map_err(|_| NotAChecksum)?)),
            _ => Err(NotAChecksum),
        }
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha1(raw) => write!(f, "Q1{}", encode(raw)),
            Self::Sha256(raw) => write!(f, "Q2{}", encode(raw)),
        }
    }
}

/// The family of apk.
pub struct Apk;

impl Family for Apk {
    fn name(&self) -> &'static str {
        "apk"
    }

    fn compare(&self, a: &str, b: &str) -> Ordering {
        version::compare(a, b)
    }

    fn read(&self, package_file: &mut dyn Read, visit: &mut Visit<'_>) -> Result<(), ReadError> {
        read::payload(package_file, None, visit)
    }

    fn read_as(&self, package: &Package, package_file: &mut dyn Read, visit: &mut Visit<'_>) -> Result<(), ReadError> {
        read::payload(package_file, Some(package), visit)
    }
}
