//! Makes initrds out of distribution packages. `docs/ARCHITECTURE.md` is the map.

pub mod base;
pub mod config;
pub mod deliver;
pub mod family;
pub mod finalize;
pub mod format;
pub mod image;
pub mod modules;
pub mod pack;
pub mod package;
pub mod plan;
pub mod prune;
pub mod report;
pub mod store;
pub mod tree;
pub mod unpack;
