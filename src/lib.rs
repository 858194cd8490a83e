//! Makes initrds out of distribution packages. `docs/ARCHITECTURE.md` is the map.

pub mod acquire;
pub mod base;
pub mod cli;
pub mod config;
pub mod deliver;
pub mod family;
pub mod finalize;
pub mod format;
pub mod host;
pub mod image;
pub mod manifest;
pub mod microcode;
pub mod modules;
pub mod pack;
pub mod package;
pub mod pipeline;
pub mod plan;
pub mod prune;
pub mod report;
pub mod settings;
pub mod store;
pub mod tree;
pub mod trial;
pub mod uki;
pub mod unpack;
