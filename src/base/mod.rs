//! What every rank may use: base64, checksums, digests, errors, file access with the path in the error, globs, limits, sizes, words about trust.

pub mod base64;
pub mod checksum;
pub mod date;
pub mod digest;
pub mod error;
pub mod fs;
pub mod glob;
pub mod limit;
pub mod size;
pub mod trust;
