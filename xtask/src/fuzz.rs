//! Drives the parsers with libFuzzer, two at a time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use crate::shell::{at, call, cargo, output, repository, target};

const CARGO_FUZZ: &str = "0.13.2";
/// How long each parser is driven unless another time is given.
const SECONDS: u64 = 300;
/// One input may take so long.
const ROUND_SECONDS: u64 = 20;
/// The whole program may have so much. What an input may cost is counted more narrowly (`tests/mutation/bound.rs`).
const MEMORY_MIB: u64 = 1024;

/// Drives the named parsers, or all.
pub fn run(args: &[String]) -> Result<(), String> {
    let (seconds, named) = match args {
        [flag, seconds, named @ ..] if flag == "--seconds" => {
            (seconds.parse().map_err(|_| format!("no number: `{seconds}`"))?, named)
        }
        named => (SECONDS, named),
    };
    let fuzz = Fuzz { tools: cargo_fuzz()?, build: target().join("fuzz"), seconds, host: host()? };
    let all = output(&mut fuzz.command(&["list"]))?;
    let all: Vec<&str> = all.lines().collect();
    if let Some(unknown) = named.iter().find(|name| !all.contains(&name.as_str())) {
        return Err(format!("there is no parser `{unknown}` to fuzz; there are {}", all.join(", ")));
    }
    let chosen: Vec<&str> = all.into_iter().filter(|name| named.is_empty() || named.iter().any(|one| one == name)).collect();
    let seeds = fuzz.build.join("seeds");
    call(
        cargo()
            .args(["test", "--quiet", "--test", "mutation", "--", "--nocapture", "seeds_are_written"])
            .env("MKINITRD_TEST_SEEDS", &seeds),
    )?;
    call(&mut fuzz.command(&["build"]))?;
    let (queue, failed) = (Mutex::new(chosen.into_iter()), Mutex::new(Vec::new()));
    let worker = || {
        loop {
            let next = queue.lock().expect("invariant: no worker panics").next();
            let Some(name) = next else { break };
            match fuzz.drive(name, &seeds.join(name)) {
                Ok(figures) => println!("{name}: {figures}"),
                Err(error) => failed.lock().expect("invariant: no worker panics").push(error),
            }
        }
    };
    std::thread::scope(|scope| {
        [scope.spawn(worker), scope.spawn(worker)].map(|worker| worker.join().expect("invariant: no worker panics"))
    });
    let failed = failed.into_inner().expect("invariant: no worker panics");
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

struct Fuzz {
    /// A directory with `cargo-fuzz`, if it is not on the path.
    tools: Option<PathBuf>,
    build: PathBuf,
    /// What cargo calls the platform that it builds for.
    host: String,
    seconds: u64,
}

impl Fuzz {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = cargo();
        if let Some(tools) = &self.tools {
            let path = std::env::var("PATH").unwrap_or_default();
            command.env("PATH", format!("{}:{path}", tools.display()));
        }
        command.arg("fuzz").args(args).env("MKINITRD_TEST_CACHE", cache());
        // Sanitizers want a nightly compiler, and there is no unsafe code of ours for them to look at.
        if args != ["list"] {
            command.args(["--sanitizer", "none", "--target-dir"]).arg(&self.build);
        }
        command
    }

    /// Drives one parser; returns libFuzzer's figures.
    fn drive(&self, name: &str, seeds: &Path) -> Result<String, String> {
        let corpus = self.build.join("corpus").join(name);
        fs::create_dir_all(&corpus).map_err(at(&corpus))?;
        let log = self.build.join(format!("{name}.log"));
        let mut command = Command::new(self.build.join(&self.host).join("release").join(name));
        command.env("MKINITRD_TEST_CACHE", cache()).current_dir(repository()).args([&corpus, seeds]).args([
            format!("-artifact_prefix={}/{name}-", self.build.display()),
            format!("-max_total_time={}", self.seconds),
            format!("-timeout={ROUND_SECONDS}"),
            format!("-rss_limit_mb={MEMORY_MIB}"),
            "-print_final_stats=1".to_owned(),
        ]);
        let status =
            command.stdout(Stdio::null()).stderr(fs::File::create(&log).map_err(at(&log))?).status().map_err(at(&log))?;
        let said = fs::read(&log).map_err(at(&log))?;
        let said = String::from_utf8_lossy(&said);
        if !status.success() {
            let reason = said.lines().find(|line| line.contains("panicked at") || line.contains("ERROR: libFuzzer"));
            let (reason, log) = (reason.unwrap_or("it failed without a word"), log.display());
            return Err(format!(
                "{name}: {reason}; `{log}` names the input, and `cargo fuzz run -s none {name} INPUT` has it again"
            ));
        }
        let last = said.lines().rfind(|line| line.contains(" cov: ")).unwrap_or_default();
        let rounds = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units: ")).unwrap_or("?");
        let figure =
            |key: &str| last.split_once(key).and_then(|(_, rest)| rest.split_whitespace().next()).unwrap_or("?").to_owned();
        Ok(format!("{rounds} rounds, {} edges, {} inputs in the corpus", figure(" cov: "), figure(" corp: ")))
    }
}

/// Returns what cargo calls this platform.
fn host() -> Result<String, String> {
    let said = output(Command::new("rustc").arg("-vV"))?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "`rustc -vV` names no host".to_owned())
}

/// Returns where the tests keep what they made.
fn cache() -> PathBuf {
    std::env::var_os("MKINITRD_TEST_CACHE").map_or_else(|| repository().join("target/test-cache"), PathBuf::from)
}

/// Makes sure that there is a `cargo fuzz`, and returns the directory that it had to be built into.
fn cargo_fuzz() -> Result<Option<PathBuf>, String> {
    if output(cargo().args(["fuzz", "--version"])).is_ok() {
        return Ok(None);
    }
    let root = target().join("tools");
    if !root.join("bin/cargo-fuzz").exists() {
        call(cargo().args(["install", "cargo-fuzz", "--locked", "--version", CARGO_FUZZ, "--root"]).arg(&root))?;
    }
    Ok(Some(root.join("bin")))
}
