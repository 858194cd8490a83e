//! The project's errands: what takes more than one cargo command, in one place and in one language.

mod bench;
mod boot;
mod deb;
mod fuzz;
mod indexes;
mod install;
mod kernel_installs;
mod keys;
mod measure;
mod peers;
mod setup;
mod shell;
mod test;
mod watch;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask setup                    install what the tests need (apt-get, as root or through sudo)
cargo xtask test                     setup, format, lints, all tests, the smoke boots
cargo xtask test-slow [--write-docs] the second tier: the other boots (into docs/boot-matrix.md), arm64, long runs of the fault tests, the fuzzers
cargo xtask boot [smoke|slow|full|NAME…] [--list] [--write-docs]
cargo xtask boot peers [NAME…] [GENERATOR…]
                                     the same disks with images of other generators, into docs/boot-matrix.md (as root)
cargo xtask boot times [ROUNDS]      our boots measured beside theirs, into docs/benchmarks.md (as root)
cargo xtask fuzz [--seconds N] [NAME…]
                                     drive the parsers with libFuzzer, five minutes each
cargo xtask bench [RUNS] [--setup] [--indexes] [--only WORD]
                                     our figures beside those of the peers, into docs/benchmarks.md (as root)
cargo xtask install [DESTDIR=DIR] [PREFIX=/usr] [HOOKS=debian]
                                     the program and all that belongs to it
cargo xtask deb [--binary FILE] OUT  the same as a Debian package: a file, or a directory for one; with a program that is built already
cargo xtask keys                     compare the table of signing keys with their files, and tell which expire soon";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let errand = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    let result = match errand.as_str() {
        "setup" => setup::run(),
        "test" => test::run(test::Tier::First, &rest),
        "test-slow" => test::run(test::Tier::Second, &rest),
        "boot" => boot::run(&rest),
        "fuzz" => fuzz::run(&rest),
        "bench" => bench::run(&rest),
        "install" => install::run(&rest),
        "deb" => deb::run(&rest),
        "keys" => keys::run(),
        "" | "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(())
        }
        other => Err(format!("there is no errand `{other}`\n\n{USAGE}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
