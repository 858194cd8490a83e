//! The deb family: Debian, Ubuntu and their kin.

pub mod control;
pub mod index;
mod relation;
pub mod version;
