//! A program that libFuzzer drives: the parser of `tests/mutation/targets.rs` that has this program's name.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mkinitrd_pkg_fuzz::read(env!("CARGO_BIN_NAME"), input));
