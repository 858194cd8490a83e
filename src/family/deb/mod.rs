//! The deb family: Debian, Ubuntu and their kin.

pub mod release;
pub mod repository;
pub mod sources;
