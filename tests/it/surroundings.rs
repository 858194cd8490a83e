//! What surrounds a run: where its output goes, and what the clock says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::program::{Ran, TRIXIE, program, program_cache, ran, trixie_image};

const FAKETIME: &str = "libfaketime.so.1";

fn shell(script: &str, out: &Path) -> Ran {
    let mut command = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_mkinitrd-pkg");
    command.env_remove("SOURCE_DATE_EPOCH").args(["-c", script, program]);
    command.args(["--config-root", "/nonexistent", "--cache"]).arg(program_cache()).args(TRIXIE);
    ran(command.args(["--arch", "amd64", "--offline", "-o"]).arg(out))
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = entries.map(|name| name.into_string().expect("text")).collect();
    names.sort();
    names
}

#[test]
fn a21_output_that_nobody_can_take_changes_nothing_of_the_image() {
    let whole = fs::read(trixie_image()).expect("the image");
    for redirection in [">/dev/full 2>/dev/full", ">&- 2>&-", "<&- >&- 2>&-"] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let out = dir.path().join("x.img");
        fs::write(&out, "old").expect("writing");
        let answer = shell(&format!("exec \"$0\" \"$@\" {redirection}"), &out);
        assert_eq!(answer.code, 0, "{redirection}");
        assert!(fs::read(&out).expect("the image") == whole, "{redirection}: another image");
        assert_eq!(names_in(dir.path()), ["x.img"], "{redirection}");
    }
}

#[test]
fn a21_an_answer_that_goes_to_a_full_output_is_a_failure() {
    for words in [&["ls"][..], &["ls", "--json"]] {
        let listed = |redirection: &str| {
            let script = format!("exec \"$0\" \"$@\" {redirection}");
            ran(Command::new("sh").args(["-c", &script, env!("CARGO_BIN_EXE_mkinitrd-pkg")]).args(words).arg(trixie_image()))
        };
        assert_ne!(listed(">/dev/full").code, 0, "{words:?}");
        assert_eq!(listed("").code, 0, "{words:?}");
    }
}

/// Returns the library that gives a program another clock.
fn faketime() -> PathBuf {
    let entries = fs::read_dir("/usr/lib").expect("`/usr/lib`").map(|entry| entry.expect("an entry").path());
    let mut found = entries.map(|dir| dir.join("faketime").join(FAKETIME)).filter(|path| path.exists());
    found.next().unwrap_or_else(|| panic!("no `{FAKETIME}`: install `libfaketime`"))
}

/// Returns the time in words, for runs that must not ask a clock that is wrong.
fn assumed() -> [String; 2] {
    ["--assume-time".to_owned(), ran(Command::new("date").args(["-u", "+%FT%H:%M"])).good().out.trim().to_owned()]
}

fn with_clock(clock: &[(&str, &str)], out: &Path) -> Command {
    let mut command = program();
    command.args(TRIXIE).args(["--arch", "amd64", "--offline"]).args(assumed()).arg("-o").arg(out);
    command.env("LD_PRELOAD", faketime()).envs(clock.iter().copied());
    command
}

#[test]
fn a25_the_clock_may_say_what_it_wants() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let out = dir.path().join("x.img");
    trixie_image();
    ran(program().args(TRIXIE).args(["--arch", "amd64", "--offline"]).args(assumed()).arg("-o").arg(&out)).good();
    let whole = fs::read(&out).expect("the image");
    for clock in ["@1970-01-02 00:00:00", "@2106-03-01 00:00:00", "@2026-11-21 00:00:00 x100000", "-10y"] {
        let clock = [("FAKETIME", clock)];
        // The clock is another one indeed, or nothing is shown.
        let shown = ran(Command::new("date").arg("+%s").env("LD_PRELOAD", faketime()).envs(clock)).good();
        let real = ran(Command::new("date").arg("+%s")).good();
        let apart = shown.out.trim().parse::<i64>().expect("seconds") - real.out.trim().parse::<i64>().expect("seconds");
        assert!(apart.abs() > 3600, "{clock:?}: {apart}");
        fs::write(&out, "old").expect("writing");
        ran(&mut with_clock(&clock, &out)).good();
        assert!(fs::read(&out).expect("the image") == whole, "{clock:?}: another image");
        assert_eq!(names_in(dir.path()), ["x.img"]);
    }
}

#[test]
fn a25_a_clock_that_jumps_while_it_runs_is_no_harm() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (out, clock) = (dir.path().join("x.img"), dir.path().join("clock"));
    trixie_image();
    ran(program().args(TRIXIE).args(["--arch", "amd64", "--offline"]).args(assumed()).arg("-o").arg(&out)).good();
    let whole = fs::read(&out).expect("the image");
    fs::write(&out, "old").expect("writing");
    let times = ["@2026-11-21 00:00:00", "@1970-01-01 00:00:01", "@2106-02-07 06:28:16", "@2038-01-19 03:14:08"];
    fs::write(&clock, times[0]).expect("writing");
    let file = clock.to_str().expect("text");
    let mut child =
        with_clock(&[("FAKETIME_TIMESTAMP_FILE", file), ("FAKETIME_NO_CACHE", "1")], &out).spawn().expect("the program");
    let mut jumps = 0;
    while child.try_wait().expect("waiting").is_none() {
        jumps += 1;
        // At once, so that a half-written time is never read.
        let next = dir.path().join("next");
        fs::write(&next, times[jumps % times.len()]).and_then(|()| fs::rename(&next, &clock)).expect("a jump");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(child.wait().expect("its end").success());
    assert!(jumps > 5, "{jumps} jumps");
    assert!(fs::read(&out).expect("the image") == whole, "another image");
}
