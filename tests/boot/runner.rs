//! Runs the chosen boots, two at a time, and says at the end what came of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use crate::command::{at, run, tool};
use crate::evidence::{self, Evidence};
use crate::live::{self, Bench, Live};
use crate::machine::{Machine, ROOT_BEGINS, Run, Start, log_path};
use crate::prepare::{Parts, Workshop};
use crate::report;
use crate::scenarios::{Expect, Firmware, Scenario};
use crate::server::{Running, Server};

/// The wall clock limit of one boot: several times what a loaded machine with two cores needs.
pub const LIMIT_S: u64 = 300;
/// Emulated machines at once; each has two processors.
const JOBS: usize = 2;
/// QEMU sometimes loses a race with the kernel's patching of its own code. No initrd can cause or prevent it.
pub const EMULATOR_RACE: &str = "Oops: int3";

/// What came of one scenario.
pub struct Outcome {
    /// The scenario.
    pub scenario: Scenario,
    /// What is wrong; empty if it passed.
    pub faults: Vec<String>,
    /// What the real root said, if it was reached.
    pub evidence: Option<Evidence>,
    /// Wall clock seconds of the boot, 0 if there was none.
    pub seconds: f64,
    /// Size of the initrd, or of the unified kernel image.
    pub initrd_bytes: u64,
}

/// Runs the scenarios and prints the table; tells whether all passed.
pub fn run_all(scenarios: &[Scenario], lives: &[Live], write_docs: bool) -> Result<bool, String> {
    let dir = target_dir().join("boot");
    let (work, cache) = places()?;
    let limit = Duration::from_secs(number("MKINITRD_BOOT_LIMIT_S")?.unwrap_or(LIMIT_S));
    let workshop = Workshop::new(&work, &cache)?;
    let outcomes = boot_all(scenarios, workshop, &dir, limit, write_docs);
    let lived = live::run_all(lives, &Bench { logs: &dir, work: &work, limit });
    fs::remove_dir_all(&work).map_err(at(&work))?;
    let outcomes = outcomes?;
    report::print(&outcomes, &dir);
    if write_docs {
        report::write_matrix(&outcomes, &lived)?;
    }
    Ok(lived.iter().all(|life| life.result.is_ok()) && outcomes.iter().all(|outcome| outcome.faults.is_empty()))
}

/// Makes all that the scenarios need, boots nothing and leaves it to be looked at; tells whether all could be made.
pub fn prepare_all(scenarios: &[Scenario]) -> Result<bool, String> {
    let (work, cache) = places()?;
    let mut workshop = Workshop::new(&work, &cache)?;
    let mut good = true;
    for scenario in scenarios {
        let started = std::time::Instant::now();
        let made = workshop.parts(scenario);
        good &= made.is_ok();
        match made {
            Ok(parts) => println!("{}: made in {:.1} s: {parts:?}", scenario.name, started.elapsed().as_secs_f64()),
            Err(error) => println!("{}: {error}", scenario.name),
        }
    }
    Ok(good)
}

/// Returns the directory of this run, made, and that of what is kept.
pub fn places() -> Result<(PathBuf, PathBuf), String> {
    let target = target_dir();
    let work = target.join(format!("boot/work-{}", std::process::id()));
    fs::create_dir_all(&work).map_err(at(&work))?;
    let cache = std::env::var_os("MKINITRD_TEST_CACHE").map_or_else(|| target.join("test-cache"), PathBuf::from);
    Ok((work, cache))
}

/// Cargo's target directory: the test program lies in `PROFILE/deps` of it.
pub fn target_dir() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_mkinitrd-pkg"));
    program.ancestors().nth(2).expect("invariant: cargo puts programs into a profile's directory").to_owned()
}

fn boot_all(
    scenarios: &[Scenario],
    workshop: Workshop,
    logs: &Path,
    limit: Duration,
    write_docs: bool,
) -> Result<Vec<Outcome>, String> {
    let workshop = Mutex::new(workshop);
    let queue = Mutex::new(scenarios.iter().enumerate());
    let done = Mutex::new(Vec::new());
    let jobs = number("MKINITRD_BOOT_JOBS")?.map_or(JOBS, |jobs| jobs as usize);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    // A `while let` would hold the queue while it boots, and the others would wait.
                    let Some((place, scenario)) = lock(&queue).next() else { break };
                    let parts = lock(&workshop).parts(scenario);
                    let outcome = boot(*scenario, parts, logs, limit);
                    println!("{}", report::line(&outcome));
                    let mut done = lock(&done);
                    done.push((place, outcome));
                    if write_docs {
                        // A run that is broken off loses nothing; at the end it is written again, and an error told.
                        let (_, outcome) = done.last().expect("invariant: it was just pushed");
                        let _ = report::write_matrix(std::slice::from_ref(outcome), &[]);
                    }
                }
            });
        }
    });
    let mut outcomes = done.into_inner().expect("invariant: no worker panics");
    outcomes.sort_by_key(|(place, _)| *place);
    Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("invariant: no worker panics")
}

/// Returns the number that a variable of the environment has.
pub fn number(variable: &str) -> Result<Option<u64>, String> {
    let parse = |text: String| text.parse().ok().filter(|number| *number > 0).ok_or(text);
    std::env::var(variable).ok().map(parse).transpose().map_err(|text| format!("`{variable}` is `{text}`, not a number above 0"))
}

fn boot(scenario: Scenario, parts: Result<Parts, String>, logs: &Path, limit: Duration) -> Outcome {
    let mut outcome = Outcome { scenario, faults: Vec::new(), evidence: None, seconds: 0.0, initrd_bytes: 0 };
    let attempt = |parts: &Parts| {
        let first = boot_once(&scenario, parts, &log_path(logs, scenario.name, 1), limit)?;
        if !first.console.contains(EMULATOR_RACE) {
            return Ok(first);
        }
        println!("{}: the emulator lost its race (`{EMULATOR_RACE}`), once more", scenario.name);
        boot_once(&scenario, parts, &log_path(logs, scenario.name, 2), limit)
    };
    match parts.and_then(|parts| Ok((attempt(&parts)?, parts))) {
        Ok((run, parts)) => {
            outcome.faults =
                evidence::faults(&run, &parts.nonce, scenario.expect, scenario.firmware, scenario.journal(), scenario.way);
            outcome.faults.extend(evidence::misjudged(&run, scenario.expect, scenario.journal()));
            outcome.evidence = evidence::collect(&run.console, &parts.nonce);
            outcome.seconds = run.seconds;
            outcome.initrd_bytes = fs::metadata(&parts.image).map_or(0, |meta| meta.len());
        }
        Err(error) => outcome.faults.push(error),
    }
    outcome
}

/// Boots once: with its server started, and again if it hibernates.
pub fn boot_once(scenario: &Scenario, parts: &Parts, log: &Path, limit: Duration) -> Result<Run, String> {
    let server = Running::start(scenario.server, parts, &log.with_extension("server"))?;
    let mut parts = parts.clone();
    parts.network = server.network().to_owned();
    parts.words.extend(server.words());
    let mut copies = Vec::new();
    if scenario.keeps_what_is_written() {
        for (number, disk) in parts.disks.iter_mut().enumerate() {
            let copy = log.with_extension(format!("disk{number}"));
            run(tool("cp").arg("--sparse=always").args([disk.as_path(), &copy]))?;
            *disk = copy.clone();
            copies.push(copy);
        }
    }
    let mut done = start(scenario, &parts, scenario.append, log, limit)?;
    if let (Some(then), Some(word)) = (scenario.resumes, evidence::hibernated(&done.console, &parts.nonce)) {
        let first_s = done.seconds;
        done = start(scenario, &parts, then, &log.with_extension("resumed.log"), limit)?;
        done.seconds += first_s;
        // Another memory has another word.
        done.console = done.console.replace(&word, "the word");
    }
    for copy in &copies {
        fs::remove_file(copy).map_err(at(copy))?;
    }
    Ok(done)
}

/// Starts the machine of a scenario with a kernel command line.
fn start(scenario: &Scenario, parts: &Parts, append: &str, log: &Path, limit: Duration) -> Result<Run, String> {
    let append = parts.told(append);
    let told = |(name, value): &(&str, &str)| ((*name).to_owned(), parts.told(value));
    let credentials: Vec<_> = scenario.credentials.iter().map(told).collect();
    let start = match &parts.kernel {
        Some(kernel) => Start::Kernel { kernel, initrd: &parts.image, append: &append },
        None => Start::Uefi { secure_boot: scenario.firmware == Firmware::SecureBoot },
    };
    let answer = scenario.answer.map(|(question, answer)| (question, parts.told(answer)));
    let machine = Machine {
        arch: scenario.arch,
        start,
        disks: if scenario.server.has_the_disks() { &[] } else { &parts.disks },
        network: (scenario.server != Server::None).then_some(parts.network.as_str()),
        bus: scenario.bus,
        written: scenario.keeps_what_is_written(),
        tpm: parts.tpm.as_deref(),
        credentials: &credentials,
        fw_cfg: scenario.fw_cfg,
        keys: scenario.keys,
        answer: answer.as_ref().map(|(question, answer)| (*question, answer.as_str())),
        counted: scenario.counted,
        survives_panic: scenario.crashes(),
    };
    let expect: Expect = scenario.expect;
    let is_decided = |console: &str| evidence::is_decided(console, &parts.nonce, expect);
    machine.run(log, limit, |console| is_decided(console) || scenario.counted && console.contains(ROOT_BEGINS))
}
