//! Tests against real packages and the formats' own tools.

mod acquire;
mod archive;
mod build;
mod cli;
mod cpio;
mod deb;
mod deliver;
mod depmod;
mod finalize;
mod host;
mod kernels;
mod machine;
mod modules;
mod parity;
mod program;
mod prune;
mod repository;
mod server;
mod settings;
mod solver;
mod status;
mod trixie;
mod unpack;
mod version;
mod why;
