//! Measures boots with our image beside those of the other generators, in turn: when the root begins, what the initrd weighs, how much
//! memory the machine has touched until then. Writes a section of `docs/benchmarks.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::command::at;
use crate::evidence;
use crate::peer_boots::{Bench, scenario};
use crate::peers::{Peer, Set, TRIALS, Trial};
use crate::runner;
use crate::scenarios::{Expect, all};

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
    switched_s: f64,
    touched_mib: f64,
    initrd_mb: f64,
}

/// Everything measured, by boot and generator; ours is `None`.
type Measured = BTreeMap<(usize, Option<Peer>), Vec<Figures>>;

/// Measures as often as `words` say, and writes the section.
pub fn run(words: &[String]) -> Result<(), String> {
    let rounds = words.first().map_or(Ok(ROUNDS), |word| word.parse().map_err(|_| format!("`{word}` is no number of rounds")))?;
    let (work, cache) = runner::places()?;
    let mut bench = Bench::new(&work, &cache)?;
    let mut measured = Measured::new();
    for round in 1..=rounds {
        for (row, (boot, set)) in MEASURED.iter().enumerate() {
            for peer in std::iter::once(None).chain(Peer::ALL.map(Some)) {
                let Some(figures) = measure(&mut bench, boot, *set, peer)? else { continue };
                let name = peer.map_or("mkinitrd-pkg", Peer::name);
                println!("{round}/{rounds} {boot:<16} {name:<16} {figures:?}");
                measured.entry((row, peer)).or_default().push(figures);
            }
        }
    }
    write(&section(&measured, rounds))?;
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
    let reached = evidence::collect(&run.console, &parts.nonce).zip(run.touched_kib);
    let Some((evidence, touched_kib)) = reached else { return Err(format!("`{boot}` was not reached: `{}`", log.display())) };
    if let Expect::Boots { source, .. } = scenario.expect {
        assert!(evidence.root.starts_with(source), "the root is `{}`", evidence.root);
    }
    // Whoever types is waited for, and the clock runs ahead meanwhile: that is no figure.
    let switched_s = if scenario.answer.is_none() { evidence.switched_s } else { f64::NAN };
    let initrd_bytes = fs::metadata(&parts.image).map_err(at(&parts.image))?.len();
    Ok(Some(Figures { switched_s, touched_mib: touched_kib as f64 / 1024.0, initrd_mb: initrd_bytes as f64 / 1e6 }))
}

fn median(runs: &[Figures], of: impl Fn(&Figures) -> f64) -> f64 {
    let mut values: Vec<f64> = runs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn section(measured: &Measured, rounds: usize) -> String {
    let mut text = format!(
        "{HEADING}\n{EXPLANATION}Medians of {rounds} boots each, in turn; behind each figure its ratio to ours.\n\n{HEAD}"
    );
    for ((row, peer), runs) in measured {
        let Some(ours) = measured.get(&(*row, None)) else { continue };
        let cell = |of: fn(&Figures) -> f64| match (median(runs, of), median(ours, of)) {
            (value, _) if value.is_nan() => "-".to_owned(),
            (value, ours) => format!("{value:.2} ({:.2})", value / ours),
        };
        let name = peer.map_or("**mkinitrd-pkg**", Peer::name);
        let cells = [cell(|run| run.switched_s), cell(|run| run.initrd_mb), cell(|run| run.touched_mib)];
        let each: Vec<String> = runs.iter().map(|run| format!("{:.2}", run.switched_s)).collect();
        let _ = writeln!(text, "| `{}` | {name} | {} | {} |", MEASURED[*row].0, cells.join(" | "), each.join(", ")); // to a string
    }
    text.push('\n');
    text
}

/// Puts the section into the place of the one before, or at the end.
fn write(section: &str) -> Result<(), String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/benchmarks.md");
    let before = fs::read_to_string(&path).map_err(at(&path))?;
    let start = before.find(HEADING).unwrap_or(before.len());
    let rest = &before[start..];
    let end = rest
        .char_indices()
        .skip(1)
        .find(|(place, _)| rest[*place..].starts_with("\n## "))
        .map_or(rest.len(), |(place, _)| place + 1);
    fs::write(&path, format!("{}\n{}{}", before[..start].trim_end_matches('\n').to_owned() + "\n", section, &rest[end..]))
        .map_err(at(&path))
}

const HEAD: &str =
    "| boot | image | s until the root begins | initrd MB | memory touched MiB | each run's s |\n|---|---|---|---|---|---|\n";

const EXPLANATION: &str = "Written by `cargo xtask boot times`. The machines of `docs/boot-matrix.md` with the same kernel and the same disk, and images of each
generator as they are there, *plain*; for `virtio-machine` those for one machine (`dracut --hostonly`, `MODULES=dep`; mkosi-initrd's would
hold what the kernel of the building machine has loaded). The clock counts instructions of one emulated processor, 2 ns each
(`-icount shift=1`), so that a busy host does not change it; it is the root's own word for when its PID 1 began. *Memory touched* is what
the machine has ever used of its memory until then, in pages of 4 KiB, which the emulator's process tells for any image: kernel, initrd as
loaded and unpacked, page cache, everything that ran. Nothing that is freed is taken off again, so that it is no less than the peak. Where
the passphrase has to be typed there is no time.

";
