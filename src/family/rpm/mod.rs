//! The RPM family: Fedora, CentOS Stream, openSUSE and their kin.

mod arch;
pub mod config;
mod entry;
mod files;
mod header;
pub mod index;
pub mod installed;
pub mod metalink;
mod owner;
pub mod read;
pub mod repository;
pub mod rich;
mod scan;
pub mod signature;
pub mod sources;
mod symbol;
pub mod variables;
pub mod version;
mod xml;

use std::cmp::Ordering;
use std::io::Read;

use crate::family::{Family, ReadError, Visit};
use crate::package::Package;

/// The family of rpm.
pub struct Rpm;

impl Family for Rpm {
    fn name(&self) -> &'static str {
        "rpm"
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
