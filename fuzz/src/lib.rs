//! The parsers of `tests/mutation` with what they may cost, for libFuzzer.

use std::sync::Once;

#[path = "../../tests/mutation/bound.rs"]
mod bound;
#[path = "../../tests/mutation/memory.rs"]
mod memory;
#[path = "../../tests/repositories/mod.rs"]
#[allow(dead_code, reason = "other programs use the rest")]
mod repositories;
#[path = "../../tests/mutation/targets.rs"]
#[allow(dead_code, reason = "the seeds are written by the test program")]
mod targets;

/// Lets a parser read an input. Panics, which libFuzzer takes down, if the parser does or if it took more memory than the input is worth.
pub fn read(name: &str, input: &[u8]) {
    static PREPARED: Once = Once::new();
    let target = targets::ALL.iter().find(|target| target.name == name).expect("a program for each target");
    // What a target keeps between the rounds (the rest of a package, whose payload is changed) is no cost of the first input.
    PREPARED.call_once(|| {
        (target.parse)(b"");
    });
    bound::read(target, input);
}
