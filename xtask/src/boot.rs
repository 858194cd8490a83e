//! Boots images in QEMU: hands the words of the command line to the boot tests.

use crate::shell::{call, cargo};

/// Runs the boot tests that `args` name, the smoke tier when they name none.
pub fn run_words(args: &[&str]) -> Result<(), String> {
    call(cargo().args(["test", "--quiet", "--test", "boot", "--", "--must-match"]).args(args))
}

/// Runs the errand.
pub fn run(args: &[String]) -> Result<(), String> {
    run_words(&args.iter().map(String::as_str).collect::<Vec<_>>())
}
