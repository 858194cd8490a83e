//! Runs the test programs one after the other, each within a time, and says which tests did not end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::shell::{at, cargo, output, repository};

/// A test program that cargo built.
pub struct Program {
    /// What it is called here: the name of its cargo target.
    pub name: String,
    path: PathBuf,
}

/// Builds the test programs of the workspace and returns them, the boots last: what is wrong shows earlier elsewhere.
pub fn build() -> Result<Vec<Program>, String> {
    let mut command = cargo();
    command.args(["test", "--workspace", "--no-run", "--message-format=json-render-diagnostics"]);
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| format!("`cargo test`: {error}"))?;
    if !output.status.success() {
        return Err("the tests do not compile".to_owned());
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let mut programs: Vec<Program> = messages.lines().filter_map(program_of).collect();
    programs.sort_by_key(|program| program.name == "boot");
    if programs.is_empty() { Err("`cargo test` named no test program".to_owned()) } else { Ok(programs) }
}

/// Returns the test program that a message of cargo tells of. <https://doc.rust-lang.org/cargo/reference/external-tools.html>
fn program_of(message: &str) -> Option<Program> {
    // Paths of ours have nothing in them that JSON escapes.
    let text = |key: &str| Some(message.split_once(&format!("\"{key}\":\""))?.1.split_once('"')?.0);
    if !message.contains("\"reason\":\"compiler-artifact\"") || !message.contains("\"test\":true},\"features\"") {
        return None;
    }
    Some(Program { name: text("name")?.to_owned(), path: PathBuf::from(text("executable")?) })
}

/// How long a test program may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The whole of it.
    pub program: Duration,
    /// One of its tests, beyond the minute after which it is named as slow.
    pub test: Duration,
}

/// Runs a test program to its end or to a limit: then it is killed with all that it started, and the tests that have not ended are named.
pub fn run(program: &Program, environment: &[(&str, &str)], limits: Limits) -> Result<(), String> {
    let command = || {
        let mut command = Command::new(&program.path);
        command.current_dir(repository()).envs(environment.iter().copied());
        command
    };
    // What a test says is shown when it says it: figures and what was not run come with tests that pass, and a failure beside its test.
    // Nobody answers a program that asks.
    let spawned = command().arg("--nocapture").stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = spawned.map_err(at(&program.path))?;
    let progress = Arc::new(Mutex::new(Progress::default()));
    let reader = {
        let (progress, out) = (Arc::clone(&progress), child.stdout.take().ok_or("no output")?);
        thread::spawn(move || {
            for line in BufReader::new(out).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line);
                println!("{line}");
                if let Ok(mut progress) = progress.lock() {
                    progress.take(&line);
                }
            }
        })
    };
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(at(&program.path))? {
            // A process that a test left behind may hold the output open: it is not waited for.
            let patience = Instant::now();
            while !reader.is_finished() && patience.elapsed() < Duration::from_secs(5) {
                thread::sleep(Duration::from_millis(20));
            }
            return if status.success() { Ok(()) } else { Err(format!("`{}` failed with {status}", program.name)) };
        }
        let slowest = progress.lock().ok().and_then(|progress| progress.slowest());
        let limit = if started.elapsed() > limits.program { Some(limits.program) } else { None };
        let limit = limit.or(slowest.filter(|slow| *slow > limits.test));
        if let Some(limit) = limit {
            let busy = kill_with_descendants(&mut child);
            let listed = output(command().arg("--list"))?;
            let tests = progress.lock().map(|progress| progress.not_ended(&listed)).unwrap_or_default();
            return Err(format!(
                "`{}` was ended after {} s; not ended in it: {tests}; running: {busy}",
                program.name,
                limit.as_secs()
            ));
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// What a test program has said of its tests.
#[derive(Default)]
struct Progress {
    ended: BTreeSet<String>,
    /// Those that have not ended a minute after they began, and when that was said.
    slow: BTreeMap<String, Instant>,
}

impl Progress {
    fn take(&mut self, line: &str) {
        // What a test said without an end of line may stand before it.
        let last_word = |text: &str| text.rsplit(' ').next().unwrap_or_default().to_owned();
        if let Some((before, _)) = line.split_once(" ... ") {
            let name = last_word(before);
            self.slow.remove(&name);
            self.ended.insert(name);
        } else if let Some((before, _)) = line.split_once(" has been running for over ") {
            self.slow.insert(last_word(before), Instant::now());
        }
    }

    fn slowest(&self) -> Option<Duration> {
        self.slow.values().map(Instant::elapsed).max()
    }

    /// Names the slow ones if there are any, and all that have not ended otherwise: most of these have not begun.
    fn not_ended(&self, listed: &str) -> String {
        let tests = listed.lines().filter_map(|line| line.strip_suffix(": test"));
        let tests: Vec<&str> = tests.filter(|test| !self.ended.contains(*test)).collect();
        let slow: Vec<&str> = tests.iter().copied().filter(|test| self.slow.contains_key(*test)).collect();
        if slow.is_empty() { tests.join(", ") } else { slow.join(", ") }
    }
}

/// Kills a process and all below it, as an emulator would go on without the test that waits for it; returns what these were.
fn kill_with_descendants(child: &mut Child) -> String {
    let mut doomed = BTreeSet::from([child.id()]);
    loop {
        let before = doomed.len();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            // The name in brackets may hold anything; state and parent come after it: proc_pid_stat(5).
            let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
            if parent.is_some_and(|parent: u32| doomed.contains(&parent)) {
                doomed.insert(id);
            }
        }
        if doomed.len() == before {
            break;
        }
    }
    let lines = doomed.iter().filter(|id| **id != child.id()).map(|id| {
        let words = fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default().replace('\0', " ");
        words.chars().take(120).collect::<String>().trim_end().to_owned()
    });
    let busy: Vec<String> = lines.collect();
    let ids = doomed.iter().map(ToString::to_string);
    // Some may have ended meanwhile.
    let _ = Command::new("kill").arg("-KILL").args(ids).stderr(Stdio::null()).status();
    let _ = child.wait();
    if busy.is_empty() { "no other program".to_owned() } else { busy.join("; ") }
}
