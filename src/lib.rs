//! Makes initrds out of distribution packages. `docs/ARCHITECTURE.md` is the map.

pub mod base;
pub mod config;
pub mod family;
pub mod finalize;
pub mod format;
pub mod package;
pub mod report;
pub mod tree;
