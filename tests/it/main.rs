//! Tests against real packages and the formats' own tools.

mod acquire;
mod archive;
mod build;
mod cli;
mod cpio;
mod deb;
mod deliver;
mod depmod;
mod features;
mod finalize;
mod kernels;
mod microcode;
mod modules;
mod parity;
mod program;
mod prune;
mod repository;
mod server;
mod solver;
mod status;
mod trixie;
mod unpack;
mod version;
