//! Tests against real packages and the formats' own tools.

mod acquire;
mod alpm;
mod alpm_read;
mod alpm_repository;
mod apk;
mod archive;
mod build;
mod cli;
mod cpio;
mod deb;
mod debian_hooks;
mod deliver;
mod depmod;
mod features;
mod finalize;
mod guest;
mod host;
mod installed;
mod kernel_install;
mod kernels;
#[path = "../live/root.rs"]
#[allow(dead_code, reason = "other test programs use the rest")]
mod live;
mod machine;
mod machines;
mod microcode;
mod modules;
mod parity;
mod power;
mod program;
mod prune;
mod repository;
mod rpm;
mod rpm_cases;
mod rpm_payload;
mod server;
mod settings;
mod solver;
mod status;
mod storage;
mod surroundings;
mod trixie;
mod uki;
mod unpack;
mod version;
mod why;
