//! Damaged input for every parser of RPM, ALPM and APK: no panic, and no more memory than the input can ask for.
//!
//! The corpus is the project's own repositories. Every round changes one input in a way that its seed determines, so that a message
//! with target and seed is enough to have the fault again: `MKINITRD_TEST_SEED=N`. `MKINITRD_TEST_TIER=slow` gives each target
//! longer, `MKINITRD_TEST_SECONDS` another time. libFuzzer drives the same targets: `docs/decisions/fuzzing.md`.
#![allow(clippy::print_stdout, reason = "how many rounds there were is told")]

mod bound;
mod change;
mod memory;
#[path = "../repositories/mod.rs"]
#[allow(dead_code, reason = "other test programs use the rest")]
mod repositories;
mod seeds;
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use change::Change;
use targets::Target;

/// Runs a target until its time is over.
fn fuzz(target: &Target) {
    let (name, corpus) = (target.name, (target.corpus)());
    assert!(!corpus.is_empty(), "{name}: no corpus");
    let is_slow = std::env::var("MKINITRD_TEST_TIER").is_ok_and(|tier| tier == "slow");
    let given =
        std::env::var("MKINITRD_TEST_SECONDS").ok().map(|seconds| Duration::from_secs(seconds.parse().expect("a number")));
    let time = given.unwrap_or(if is_slow { Duration::from_secs(20) } else { Duration::from_millis(500) });
    let seed: Option<u64> = std::env::var("MKINITRD_TEST_SEED").ok().map(|seed| seed.parse().expect("a number"));
    // What is whole is read: else the rounds would try the first line of the parser and nothing else.
    for input in &corpus {
        assert!((target.parse)(input), "{name}: an input of the corpus is refused");
    }
    let (started, mut rounds, mut accepted, mut highest) = (Instant::now(), 0, 0, 0);
    // Another part of all seeds each day would find more; the same ones each time are what a first tier is for.
    let first = seed.unwrap_or(if is_slow { 1 << 32 } else { 1 });
    while started.elapsed() < time && (seed.is_none() || rounds == 0) {
        let round = first + rounds;
        let input = Change::new(round).apply(&corpus);
        let result = catch_unwind(AssertUnwindSafe(|| bound::read(target, &input)));
        let Ok(cost) = result else { panic!("{name}: seed {round}: see above") };
        accepted += u64::from(cost.accepted);
        highest = highest.max(cost.peak_bytes);
        rounds += 1;
    }
    let at_least = if is_slow { 200 } else { 2 };
    assert!(seed.is_some() || rounds >= at_least, "{name}: only {rounds} rounds");
    println!("{name}: {rounds} rounds, {accepted} accepted all the same, at most {} KiB", highest >> 10);
}

#[test]
fn damaged_input_is_refused_or_read_and_costs_no_more_than_it_is_worth() {
    let only = std::env::var("MKINITRD_TEST_TARGET").ok();
    let chosen = targets::ALL.iter().filter(|target| only.as_deref().is_none_or(|only| only == target.name));
    let count = chosen.inspect(|target| fuzz(target)).count();
    assert!(count > 0, "no such target: {only:?}");
}

/// `cargo xtask fuzz` says where to: libFuzzer begins with them.
#[test]
fn seeds_are_written_for_every_target() {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let dir = std::env::var_os("MKINITRD_TEST_SEEDS").map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    seeds::write(&dir);
    for target in &targets::ALL {
        let written = std::fs::read_dir(dir.join(target.name)).expect("a directory").count();
        assert!(written >= (target.corpus)().len(), "{}: {written}", target.name);
    }
}

#[test]
fn what_is_allocated_is_counted() {
    let before = memory::mark();
    let bytes = vec![1u8; 10 << 20];
    let kept = vec![2u8; 1 << 20];
    drop(bytes);
    let peak = memory::peak_since(before);
    assert!((11 << 20..12 << 20).contains(&peak), "{peak}");
    assert_eq!(kept.len(), 1 << 20);
}

#[test]
fn changes_follow_their_seed_and_change() {
    let corpus = vec![b"abcdefghij 123 klmnopqrst".to_vec(), vec![0; 64]];
    for seed in 0..200 {
        assert_eq!(Change::new(seed).apply(&corpus), Change::new(seed).apply(&corpus));
    }
    let changed = (0..200).filter(|seed| !corpus.contains(&Change::new(*seed).apply(&corpus))).count();
    assert!(changed > 180, "{changed} of 200");
}
