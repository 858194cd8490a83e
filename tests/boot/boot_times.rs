//! Measures boots with our image beside those of the other generators, in turn: when the root begins, what the initrd weighs, how much
//! memory the machine has touched until then. Writes a section of `docs/benchmarks.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::command::at;
use crate::machine::ROOT_BEGINS;
use crate::peer_boots::{Bench, scenario};
use crate::peers::{Peer, Set, TRIALS, Trial};
use crate::runner;
use crate::scenarios::all;

/// The boots that are measured, and the peers' set for each.
const MEASURED: &[(&str, Set)] =
    &[("trixie-ext4", Set::Plain), ("trixie-luks2", Set::Plain), ("trixie-lvm", Set::Plain), ("virtio-machine", Set::Machine)];
/// How often each is booted unless the command line says it.
const ROUNDS: usize = 3;
/// The section of `docs/benchmarks.md` that is ours, up to the next of its kind.
const HEADING: &str = "## From the kernel to switch-root\n";

/// What one boot took.
#[derive(Debug, Clone, Copy)]
struct Figures {
    began_s: f64,
    touched_mib: f64,
    initrd_mb: f64,
}

/// Everything measured, by boot and generator; ours is `None`.
type Measured = BTreeMap<(usize, Option<Peer>), Vec<Figures>>;

/// Measures the boots that `words` name, or all, as often as a number among them says, and writes the section; what it says of other
/// boots stays.
pub fn run(words: &[String]) -> Result<(), String> {
    let named = |boot: &str| words.iter().any(|word| word == boot);
    let rounds = words.iter().find_map(|word| word.parse().ok()).filter(|rounds| *rounds > 0).unwrap_or(ROUNDS);
    let known = |word: &&String| word.parse::<usize>().is_ok() || MEASURED.iter().any(|(boot, _)| *boot == word.as_str());
    if let Some(word) = words.iter().find(|word| !known(word)) {
        return Err(format!("`{word}` is no boot that is measured, and no number of rounds"));
    }
    let all_of_them = !MEASURED.iter().any(|(boot, _)| named(boot));
    let (work, cache) = runner::places()?;
    let mut bench = Bench::new(&work, &cache)?;
    let mut measured = Measured::new();
    for round in 1..=rounds {
        for (row, (boot, set)) in MEASURED.iter().enumerate().filter(|(_, (boot, _))| all_of_them || named(boot)) {
            for peer in std::iter::once(None).chain(Peer::ALL.map(Some)) {
                let Some(figures) = measure(&mut bench, boot, *set, peer)? else { continue };
                let name = peer.map_or("mkinitrd-pkg", Peer::name);
                println!("{round}/{rounds} {boot:<16} {name:<16} {figures:?}");
                measured.entry((row, peer)).or_default().push(figures);
                // A run that is broken off loses nothing.
                write(&measured)?;
            }
        }
    }
    fs::remove_dir_all(&work).map_err(at(&work))
}

/// Boots once; nothing if this generator has no such image.
fn measure(bench: &mut Bench, boot: &'static str, set: Set, peer: Option<Peer>) -> Result<Option<Figures>, String> {
    let ours = all().find(|scenario| scenario.name == boot).ok_or_else(|| format!("there is no boot `{boot}`"))?;
    let mut scenario = match (peer, TRIALS.iter().find(|trial| trial.boot == boot)) {
        (None, _) => *ours,
        // mkosi-initrd's image for a machine holds what the kernel of this one has loaded.
        (Some(Peer::Mkosi), _) if set == Set::Machine => return Ok(None),
        (Some(peer), Some(trial)) => scenario(trial, peer)?,
        (Some(peer), None) => scenario(&Trial { boot, ..Trial::SAME }, peer)?,
    };
    scenario.counted = true;
    let parts = bench.parts(&scenario, set, peer)?;
    let log = bench.log(&format!("times-{boot}-{}", peer.map_or("ours", Peer::name)));
    let run = runner::boot_once(&scenario, &parts, &log, bench.limit)?;
    let reached = began_s(&run.console).zip(run.touched_kib);
    let Some((began_s, touched_kib)) = reached else { return Err(format!("`{boot}` was not reached: `{}`", log.display())) };
    // Whoever types is waited for, and the clock runs ahead meanwhile: that is no figure.
    let began_s = if scenario.answer.is_none() { began_s } else { f64::NAN };
    let initrd_bytes = fs::metadata(&parts.image).map_err(at(&parts.image))?.len();
    Ok(Some(Figures { began_s, touched_mib: touched_kib as f64 / 1024.0, initrd_mb: initrd_bytes as f64 / 1e6 }))
}

/// Returns when the root's PID 1 knew its name, in seconds of the machine's clock: the kernel's log has it in brackets.
fn began_s(console: &str) -> Option<f64> {
    let line = console.lines().find(|line| line.contains(ROOT_BEGINS))?;
    let (before, _) = line.split_once("] ")?;
    before.rsplit('[').next()?.trim().parse().ok()
}

/// Returns the smallest of what `of` takes from each run: waiting only adds.
fn least(runs: &[Figures], of: impl Fn(&Figures) -> f64) -> f64 {
    runs.iter().map(of).fold(f64::NAN, f64::min)
}

/// Returns the lines of the table for one boot.
fn lines(measured: &Measured, row: usize) -> String {
    let mut text = String::new();
    for ((of, peer), runs) in measured.iter().filter(|((of, _), _)| *of == row) {
        let Some(ours) = measured.get(&(*of, None)) else { continue };
        let cell = |of: fn(&Figures) -> f64| match (least(runs, of), least(ours, of)) {
            (value, _) if value.is_nan() => "-".to_owned(),
            (value, ours) => format!("{value:.2} ({:.2})", value / ours),
        };
        let name = peer.map_or("**mkinitrd-pkg**", Peer::name);
        let cells = [cell(|run| run.began_s), cell(|run| run.initrd_mb), cell(|run| run.touched_mib)];
        let each: Vec<String> =
            runs.iter().map(|run| if run.began_s.is_nan() { "-".to_owned() } else { format!("{:.2}", run.began_s) }).collect();
        let _ = writeln!(text, "| `{}` | {name} | {} | {} |", MEASURED[row].0, cells.join(" | "), each.join(", ")); // to a string
    }
    text
}

/// Puts the section into the place of the one before, or at the end.
fn write(measured: &Measured) -> Result<(), String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/benchmarks.md");
    let before = fs::read_to_string(&path).map_err(at(&path))?;
    let (head, rest) = before.split_once(HEADING).unwrap_or((&before, ""));
    let (old, after) = rest.split_at(rest.find("\n## ").unwrap_or(rest.len()));
    let mut text = format!("{}\n\n{HEADING}\n{EXPLANATION}{HEAD}", head.trim_end());
    for (row, (boot, _)) in MEASURED.iter().enumerate() {
        let now = lines(measured, row);
        let kept = old.lines().filter(|line| now.is_empty() && line.starts_with(&format!("| `{boot}` |")));
        text.extend(kept.flat_map(|line| [line, "\n"]));
        text.push_str(&now);
    }
    text.push_str(after);
    fs::write(&path, text).map_err(at(&path))
}

const HEAD: &str =
    "| boot | image | s until the root begins | initrd MB | memory touched MiB | each run's s |\n|---|---|---|---|---|---|\n";

const EXPLANATION: &str =
    "Written by `cargo xtask boot times`. The machines of `docs/boot-matrix.md` with the same kernel and the same disk, and images of each
generator as they are there, *plain*; for `virtio-machine` those for one machine (`dracut --hostonly`, `MODULES=dep`; mkosi-initrd's would
hold what the kernel of the building machine has loaded). The clock counts instructions of one emulated processor, 2 ns each
(`-icount shift=1,sleep=off`), and the time is when the PID 1 of the root has learned its name. When the machine waits for its disk, that
clock runs on to the next timer: a busy host can only add, which is why the least of several runs counts, and one run alone can be a tenth
too long. *Memory touched* is what the machine has ever used of its memory until then, in pages of 4 KiB, which the emulator's process
tells for any image: kernel, initrd as loaded and unpacked, page cache, everything that ran. Nothing that is freed is taken off again, so
that it is no less than the peak. Where the passphrase has to be typed there is no time. The runs of the last column were in turn; behind
each figure is its ratio to ours.

";
