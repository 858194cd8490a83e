//! Boots the images that we build, with real Debian roots, in QEMU, and judges by what the real root says.
//!
//! `cargo test --test boot -- [smoke|slow|full|NAME…] [--list] [--prepare] [--must-match] [--write-docs]`; without words the smoke tier.
//! `--prepare` makes images and disks and boots nothing.
//! `-- --must-match peers [NAME…] [GENERATOR…]` boots the same disks with images of other generators, as root;
//! `-- --must-match times [ROUNDS]` measures.
//! Environment: `MKINITRD_BOOT_IMAGE` and `MKINITRD_BOOT_KERNEL` boot a given image and kernel instead of ours,
//! `MKINITRD_BOOT_LIMIT_S` is the time that one boot may take, `MKINITRD_BOOT_JOBS` how many run at once,
//! `MKINITRD_TEST_CACHE` keeps roots and kernels, `MKINITRD_TEST_MIRROR` replaces the mirror of the host's apt.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a runner talks to whoever runs it")]

mod afar;
mod apkovl;
mod bcache;
mod boot_times;
mod buses;
mod command;
mod debian;
mod disk;
mod esp;
mod evidence;
mod files;
mod image;
mod integrity;
mod keys;
mod live;
#[path = "../live/root.rs"]
#[allow(dead_code, reason = "other test programs use the rest")]
mod live_root;
mod luks;
mod lvm;
mod machine;
mod maker;
mod matrix;
mod md;
mod network;
mod peer_boots;
mod peer_images;
mod peers;
mod prepare;
mod releases;
mod remote;
mod report;
#[path = "../repositories/mod.rs"]
#[allow(dead_code, reason = "other test programs use the rest")]
mod repositories;
mod root;
mod runner;
mod scenarios;
mod server;
mod storage;
mod tpm;
mod unified;
mod verity;
mod volumes;

use std::process::ExitCode;

use live::{LIVES, Live};
use scenarios::{Scenario, Tier, all};

/// What the command line asks for.
struct Request {
    chosen: Vec<Scenario>,
    lives: Vec<Live>,
    list: bool,
    must_match: bool,
    prepare: bool,
    write_docs: bool,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    // Not with `cargo test peers`, which means another target's tests.
    let beside = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--must-match", "peers", ..] => Some(peer_boots::run(&args[2..])),
        ["--must-match", "times", ..] => Some(boot_times::run(&args[2..])),
        _ => None,
    };
    if let Some(result) = beside {
        return match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("boot: {error}");
                ExitCode::FAILURE
            }
        };
    }
    let request = parse(args.into_iter());
    if request.list {
        for scenario in &request.chosen {
            println!("{}: test", scenario.name);
        }
        for live in &request.lives {
            println!("{}: test", live.name);
        }
        return ExitCode::SUCCESS;
    }
    if request.chosen.is_empty() && request.lives.is_empty() {
        // `cargo test WORD` hands its filter to every target: no boot may be meant.
        println!("boot: no scenario was asked for, {} filtered out", all().count() + LIVES.len());
        return if request.must_match { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    if request.prepare {
        return match runner::prepare_all(&request.chosen) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("boot: {error}");
                ExitCode::FAILURE
            }
        };
    }
    match runner::run_all(&request.chosen, &request.lives, request.write_docs) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("boot: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(args: impl Iterator<Item = String>) -> Request {
    let (flags, words): (Vec<String>, Vec<String>) = args.partition(|arg| arg.starts_with('-'));
    let has = |flag: &str| flags.iter().any(|given| given == flag);
    let wanted = |name: &str, tier: Tier| match words.as_slice() {
        [] => tier == Tier::Smoke,
        words => words.iter().any(|word| match word.as_str() {
            "full" => true,
            "smoke" => tier == Tier::Smoke,
            "slow" => tier == Tier::Slow,
            word => name == word,
        }),
    };
    Request {
        chosen: all().filter(|scenario| wanted(scenario.name, scenario.tier)).copied().collect(),
        lives: LIVES.iter().filter(|live| wanted(live.name, live.tier)).copied().collect(),
        list: has("--list"),
        must_match: has("--must-match"),
        prepare: has("--prepare"),
        write_docs: has("--write-docs"),
    }
}
