//! The deb family: Debian, Ubuntu and their kin.

pub mod control;
pub mod index;
pub mod installed;
pub mod read;
pub mod refusal;
mod relation;
pub mod release;
pub mod repository;
pub mod sources;
pub mod version;

use std::cmp::Ordering;
use std::io::Read;

use crate::family::{Family, ReadError, Visit};
use crate::package::Package;

/// The family of dpkg.
pub struct Deb;

impl Family for Deb {
    fn name(&self) -> &'static str {
        "deb"
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
