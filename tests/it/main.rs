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
mod installed;
mod kernels;
mod modules;
mod parity;
mod program;
mod prune;
mod repository;
mod server;
mod solver;
mod trixie;
mod unpack;
mod version;
