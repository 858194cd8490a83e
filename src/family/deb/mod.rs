//! The deb family: Debian, Ubuntu and their kin.

pub mod address;
pub mod refusal;
pub mod release;
pub mod repository;
pub mod sources;
