//! Runs the tests, and says loudly what was not run.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::shell::{call, cargo, output};
use crate::watch::{self, Limits};
use crate::{boot, fuzz, keys, setup};

/// How much is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// Everything that a change must pass: within an hour on two processors.
    First,
    /// What takes longer: emulated arm64, every compression, many more seeds.
    Second,
}

/// One step and what came of it.
struct Step {
    name: String,
    seconds: u64,
    result: Result<(), String>,
}

/// Runs all steps of a tier, also after one failed, and prints a summary.
pub fn run(tier: Tier, args: &[String]) -> Result<(), String> {
    let write_docs = match args {
        [] => false,
        [flag] if flag == "--write-docs" && tier == Tier::Second => true,
        _ => return Err(format!("no such argument here: `{}`", args.join(" "))),
    };
    let mut steps = Vec::new();
    let mut remarks = Vec::new();
    let mut step = |name: &str, work: &mut dyn FnMut() -> Result<(), String>| {
        println!("\n=== {name}");
        let started = Instant::now();
        let result = work();
        if let Err(error) = &result {
            eprintln!("error: {error}");
        }
        let passed = result.is_ok();
        steps.push(Step { name: name.to_owned(), seconds: started.elapsed().as_secs(), result });
        passed
    };
    // Nothing else can be judged without the tools.
    let ready = step("setup", &mut setup::run);
    match tier {
        Tier::First if ready => {
            for (name, component, args) in LINTS {
                if has_component(component) {
                    step(name, &mut || call(cargo().args(*args)));
                } else {
                    remarks.push(format!(
                        "NOT RUN {name}: this Rust has no `cargo {component}` (`rustup component add {component}`)"
                    ));
                }
            }
            step("signing keys", &mut keys::run);
            remarks.extend(tests(&mut step, |_| true, &[], Limits { program: minutes(30), test: minutes(8) }));
            step("examples in the documentation", &mut || call(cargo().args(["test", "--workspace", "--doc", "--quiet"])));
            remarks.push(format!(
                "NOT RUN the slow tier (`cargo xtask test-slow`): longer seeded runs, and these boots: {}",
                slow_boots()
            ));
        }
        Tier::Second if ready => {
            let seeded = |name: &str| ["mkinitrd_pkg", "it", "mutation"].contains(&name);
            let limits = Limits { program: minutes(240), test: minutes(120) };
            remarks.extend(tests(&mut step, seeded, &[("MKINITRD_TEST_TIER", "slow")], limits));
            step("fuzzers", &mut || fuzz::run(&[]));
            step("slow boots", &mut || boot::run_words(if write_docs { &["slow", "--write-docs"] } else { &["slow"] }));
        }
        _ => remarks.push("NOT RUN everything: the tools are missing".to_owned()),
    }
    summary(&steps, &remarks)
}

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

/// Runs the chosen test programs, each as a step of its own; returns what hung and then did not. The limits are several times what two idle
/// processors need.
fn tests(
    step: &mut impl FnMut(&str, &mut dyn FnMut() -> Result<(), String>) -> bool,
    is_chosen: impl Fn(&str) -> bool,
    environment: &[(&str, &str)],
    limits: Limits,
) -> Vec<String> {
    let (mut programs, mut hung) = (Vec::new(), Vec::new());
    let mut build = || {
        programs = watch::build()?;
        Ok(())
    };
    step("compile the tests", &mut build);
    for program in programs.iter().filter(|program| is_chosen(&program.name)) {
        step(&program.name, &mut || {
            hung.extend(watch::run(program, environment, limits)?.map(|sentence| format!("HUNG {sentence}")));
            Ok(())
        });
    }
    hung
}

const LINTS: &[(&str, &str, &[&str])] = &[
    ("format", "fmt", &["fmt", "--all", "--check"]),
    ("lints", "clippy", &["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]),
];

fn has_component(component: &str) -> bool {
    let has = || output(cargo().args([component, "--version"])).is_ok();
    // A minimal Rust has neither; where rustup is in charge they are one command away.
    has() || (call(Command::new("rustup").args(["component", "add", rustup_name(component)])).is_ok() && has())
}

fn rustup_name(component: &str) -> &str {
    if component == "fmt" { "rustfmt" } else { component }
}

fn slow_boots() -> String {
    let listed = output(cargo().args(["test", "--quiet", "--test", "boot", "--", "slow", "--list"])).unwrap_or_default();
    listed.lines().filter_map(|line| line.strip_suffix(": test")).collect::<Vec<_>>().join(", ")
}

fn summary(steps: &[Step], remarks: &[String]) -> Result<(), String> {
    println!("\n=== summary");
    for Step { name, seconds, result } in steps {
        println!("{:<6} {name} ({seconds} s)", if result.is_ok() { "ok" } else { "FAILED" });
    }
    for what in remarks {
        println!("{what}");
    }
    let failed: Vec<&str> = steps.iter().filter(|step| step.result.is_err()).map(|step| step.name.as_str()).collect();
    println!("\n{} passed, {} failed", steps.len() - failed.len(), failed.len());
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
}
