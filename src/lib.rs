//! Makes initrds out of distribution packages. `docs/ARCHITECTURE.md` is the map.

pub mod acquire;
pub mod base;
pub mod config;
pub mod family;
pub mod format;
pub mod host;
pub mod package;
pub mod report;
pub mod store;
pub mod tree;
