//! Tests against real packages and the formats' own tools.

mod acquire;
mod archive;
mod cpio;
mod deb;
mod deliver;
mod depmod;
mod finalize;
mod kernels;
mod modules;
mod parity;
mod prune;
mod repository;
mod server;
mod trixie;
