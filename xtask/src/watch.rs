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

/// Runs a test program to its end. If a test of it hangs, it is killed with all that it started, and what has not ended is run once more;
/// the sentence about it is returned.
pub fn run(program: &Program, environment: &[(&str, &str)], limits: Limits) -> Result<Option<String>, String> {
    match once(program, environment, limits, &[])? {
        End::Well => Ok(None),
        End::Late { sentence, open } => {
            println!("{sentence}; once more");
            match once(program, environment, limits, &open)? {
                End::Well => Ok(Some(format!("{sentence}; it passed when it was run once more"))),
                End::Late { sentence, .. } => Err(format!("twice: {sentence}")),
            }
        }
    }
}

/// How a test program ended that did not fail.
enum End {
    Well,
    /// One of its tests took too long: which, and all tests that have not passed.
    Late {
        sentence: String,
        open: Vec<String>,
    },
}

/// Runs all tests of a program, or those that are named.
fn once(program: &Program, environment: &[(&str, &str)], limits: Limits, tests: &[String]) -> Result<End, String> {
    let command = || {
        let mut command = Command::new(&program.path);
        command.current_dir(repository()).envs(environment.iter().copied());
        command
    };
    let mut running = command();
    if !tests.is_empty() {
        running.arg("--exact").args(tests);
    }
    // What a test says is shown when it says it: figures and what was not run come with tests that pass, and a failure beside its test.
    // Nobody answers a program that asks.
    let spawned = running.arg("--nocapture").stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
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
    let ended = loop {
        if let Some(status) = child.try_wait().map_err(at(&program.path))? {
            break Some(status);
        }
        let is_late = progress.lock().is_ok_and(|progress| progress.slowest() > limits.test);
        if is_late || started.elapsed() > limits.program {
            break None;
        }
        thread::sleep(Duration::from_millis(100));
    };
    let Some(status) = ended else {
        let busy = kill_with_descendants(&mut child);
        let listed = output(command().arg("--list"))?;
        let progress = progress.lock().map_err(|_| "a thread panicked")?;
        let slow: Vec<&str> = progress.slow.keys().map(String::as_str).collect();
        let open =
            if tests.is_empty() { listed.lines().filter_map(|line| line.strip_suffix(": test")).collect() } else { refs(tests) };
        let open: Vec<String> = open.into_iter().filter(|test| !progress.passed.contains(*test)).map(str::to_owned).collect();
        let seconds = started.elapsed().as_secs();
        let sentence =
            format!("`{}` was ended after {seconds} s: {} did not end, and was running: {busy}", program.name, slow.join(", "));
        return if slow.is_empty() || progress.has_failed { Err(sentence) } else { Ok(End::Late { sentence, open }) };
    };
    // A process that a test left behind may hold the output open: it is not waited for.
    let patience = Instant::now();
    while !reader.is_finished() && patience.elapsed() < Duration::from_secs(5) {
        thread::sleep(Duration::from_millis(20));
    }
    if status.success() { Ok(End::Well) } else { Err(format!("`{}` failed with {status}", program.name)) }
}

fn refs(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

/// What a test program has said of its tests.
#[derive(Default)]
struct Progress {
    passed: BTreeSet<String>,
    /// Those that have not ended a minute after they began, and when that was said.
    slow: BTreeMap<String, Instant>,
    has_failed: bool,
}

impl Progress {
    fn take(&mut self, line: &str) {
        // What a test said without an end of line may stand before it.
        let last_word = |text: &str| text.rsplit(' ').next().unwrap_or_default().to_owned();
        if let Some((before, result)) = line.rsplit_once(" ... ") {
            let name = last_word(before);
            self.slow.remove(&name);
            self.has_failed |= result == "FAILED";
            self.passed.insert(name);
        } else if let Some((before, _)) = line.split_once(" has been running for over ") {
            self.slow.insert(last_word(before), Instant::now());
        }
    }

    /// Returns how long ago it was said of a test that it takes long.
    fn slowest(&self) -> Duration {
        self.slow.values().map(Instant::elapsed).max().unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const SHORT: Limits = Limits { program: Duration::from_secs(20), test: Duration::from_millis(300) };

    /// A test program with the tests `a` and `b`: `hangs` says when `b` does.
    fn program(name: &str, hangs: &str) -> Program {
        let path = std::env::temp_dir().join(format!("xtask-watch-{name}-{}", std::process::id()));
        let script = format!(
            "#!/bin/sh\ncase \"$1\" in --list) echo 'a: test'; echo 'b: test'; exit;; --exact) again=yes; [ \"$*\" = '--exact b --nocapture' ] || exit 3;; esac\n\
             [ \"$again\" = yes ] || echo 'unended test a ... ok'\n\
             if {hangs}; then echo 'test b has been running for over 60 seconds'; sleep 4242; fi\necho 'test b ... ok'\n"
        );
        fs::write(&path, script).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
        Program { name: name.to_owned(), path }
    }

    #[test]
    fn what_hangs_is_ended_named_and_run_once_more() {
        let once = program("once", "[ -z \"$again\" ]");
        let said = run(&once, &[], SHORT).expect("it passes then").expect("a sentence");
        assert!(said.contains("`once` was ended after 0 s: b did not end, and was running: sleep 4242"), "{said}");
        let always = program("always", "true");
        assert!(run(&always, &[], SHORT).expect_err("it hangs").starts_with("twice: "));
        let never = program("never", "false");
        assert_eq!(run(&never, &[], SHORT), Ok(None));
        let left = output(Command::new("pgrep").args(["-fc", "^sleep 4242$"])).unwrap_or_else(|_| "0".to_owned());
        assert_eq!(left.trim(), "0", "what it started is killed, too");
        [once, always, never].iter().for_each(|program| fs::remove_file(&program.path).expect("removing"));
    }

    #[test]
    fn a_message_of_cargo_names_a_test_program() {
        let message = r#"{"reason":"compiler-artifact","target":{"kind":["test"],"name":"it","test":true},"profile":{"test":true},"features":[],"executable":"/t/it-1"}"#;
        let program = program_of(message).expect("a program");
        assert_eq!((program.name.as_str(), program.path.as_path()), ("it", std::path::Path::new("/t/it-1")));
        assert!(program_of(&message.replace("\"profile\":{\"test\":true}", "\"profile\":{\"test\":false}")).is_none());
    }
}
