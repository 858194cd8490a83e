//! The ALPM family: Arch Linux and its kin.

pub mod config;
pub mod desc;
pub mod index;
pub mod installed;
pub mod mtree;
pub mod read;
pub mod relation;
pub mod repository;
pub mod sources;
pub mod trust;
pub mod version;

use std::cmp::Ordering;
use std::io::Read;

use crate::family::{Family, ReadError, Visit};
use crate::package::Package;

/// The family of pacman.
pub struct Alpm;

impl Family for Alpm {
    fn name(&self) -> &'static str {
        "alpm"
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
