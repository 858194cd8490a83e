//! Boots the disks of our scenarios with images of the other generators, and keeps what came of it in `docs/boot-matrix.md`.
//!
//! They are judged less strictly than ours: the real root's random word has come, `/` is what it should be, and the way to it was taken;
//! nobody asks what is in the journal.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::command::at;
use crate::esp;
use crate::evidence;
use crate::machine::{End, Run};
use crate::peer_images::PeerImages;
use crate::peers::{Peer, Set, TRIALS, Trial};
use crate::prepare::{ESP_SIZE, Parts, Workshop};
use crate::report;
use crate::runner::{self, EMULATOR_RACE};
use crate::scenarios::{BASE, Expect, Firmware, Scenario, Tpm, all};

/// The wall clock limit of one boot.
const LIMIT_S: u64 = 180;
/// dracut would wait for three minutes.
const DRACUT_WAITS: &str = "rd.retry=60";
/// The longest reason that is written down.
const REASON_CHARS: usize = 110;

/// What came of one boot.
pub struct Tried {
    /// The scenario.
    pub boot: &'static str,
    /// Whose image it was.
    pub peer: Peer,
    /// The last cell of its row.
    pub result: String,
}

/// What came of all of them, by generator and scenario.
pub type Results = BTreeMap<(Peer, &'static str), String>;

/// What a console says when a root is not reached, the most telling first.
const TELLS: &[&str] = &[
    "ALERT!",
    "Failed to start systemd-cryptsetup",
    "Failed to mount",
    "Timed out waiting for device",
    "Failed to start systemd-",
    "Please unlock disk",
    "mount.nfs",
    "FATAL",
    "Dependency failed",
    "Failed to start",
    "Failed to switch root",
    "Warning: ",
    "mount: ",
    "Kernel panic",
    "Access Denied",
];

/// Boots what `words` name, scenarios and generators, or everything, and writes it down as it comes.
pub fn run(words: &[String]) -> Result<(), String> {
    let unknown =
        |word: &&String| !TRIALS.iter().any(|trial| trial.boot == **word) && !Peer::ALL.iter().any(|peer| peer.name() == **word);
    if let Some(word) = words.iter().find(unknown) {
        return Err(format!("`{word}` is no boot that the other generators are tried with, and none of them"));
    }
    // Whatever is kept is put into the form that the tables have by now.
    report::write_with_peers(&[], &[], &[])?;
    let (work, cache) = runner::places()?;
    let mut bench = Bench::new(&work, &cache)?;
    let named = |name: &str| words.iter().any(|word| word == name);
    let (some_peers, some_boots) =
        (Peer::ALL.iter().any(|peer| named(peer.name())), TRIALS.iter().any(|trial| named(trial.boot)));
    for trial in TRIALS.iter().filter(|trial| !some_boots || named(trial.boot)) {
        for peer in Peer::ALL {
            if some_peers && !named(peer.name()) {
                continue;
            }
            let result = bench.boot(trial, peer).unwrap_or_else(|error| format!("not tried: {}", one_line(&error)));
            println!("{:<24} {peer:<16} {result}", trial.boot);
            report::write_with_peers(&[], &[], &[Tried { boot: trial.boot, peer, result }])?;
        }
    }
    fs::remove_dir_all(&work).map_err(at(&work))
}

/// What the boots share.
pub struct Bench {
    workshop: Workshop,
    images: PeerImages,
    work: PathBuf,
    logs: PathBuf,
    kernel: PathBuf,
    /// The wall clock limit of one boot.
    pub limit: Duration,
}

impl Bench {
    /// Opens the workshop and the roots of the peers.
    pub fn new(work: &Path, cache: &Path) -> Result<Bench, String> {
        let mut workshop = Workshop::new(work, cache)?;
        let ours = workshop.image(&BASE)?;
        let version = crate::image::kernel_version(&ours)?;
        let kernel = workshop.kernel(&BASE, &ours)?;
        let images = PeerImages::new(&runner::target_dir().join("boot-peers"), workshop.mirror(), &version)?;
        let logs = runner::target_dir().join("boot/peers");
        fs::create_dir_all(&logs).map_err(at(&logs))?;
        let limit = Duration::from_secs(runner::number("MKINITRD_BOOT_LIMIT_S")?.unwrap_or(LIMIT_S));
        Ok(Bench { workshop, images, work: work.to_owned(), logs, kernel, limit })
    }

    /// Returns where the console of a boot is kept.
    pub fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    /// Makes what a boot needs, with the image of a peer or with ours.
    pub fn parts(&mut self, scenario: &Scenario, set: Set, peer: Option<Peer>) -> Result<Parts, String> {
        let Some(peer) = peer else { return self.workshop.parts(scenario) };
        let (product, nonce) = self.workshop.disk(scenario)?;
        let (image, kernel) = match scenario.firmware {
            Firmware::None => (self.images.image(peer, set)?, Some(self.kernel.clone())),
            _ => (self.images.unified(peer, set, scenario.append, scenario.signed)?, None),
        };
        let tpm = if scenario.tpm == Tpm::Enrolled { product.tpm } else { None };
        let (target, network, work) = (self.workshop.target(scenario)?, String::new(), self.work.clone());
        let (disks, words) = (product.disks, product.words);
        let mut parts = Parts { kernel, image, disks, tpm, words, nonce, target, network, work };
        for missing in scenario.missing.iter().rev() {
            parts.disks.remove(missing - 1);
        }
        if scenario.firmware != Firmware::None {
            let (esp_file, disk) = (self.work.join("peer.esp"), self.work.join("peer.disk"));
            esp::make(ESP_SIZE, &[(esp::REMOVABLE_AMD64, &parts.image)], &esp_file)?;
            esp::disk(&esp_file, &parts.disks[0], &disk)?;
            parts.disks = vec![disk];
        }
        Ok(parts)
    }

    fn boot(&mut self, trial: &Trial, peer: Peer) -> Result<String, String> {
        let scenario = scenario(trial, peer)?;
        let parts = self.parts(&scenario, trial.set, Some(peer))?;
        let log = self.log(&format!("{}-{peer}", trial.boot));
        let mut run = runner::boot_once(&scenario, &parts, &log, self.limit)?;
        if run.console.contains(EMULATOR_RACE) {
            run = runner::boot_once(&scenario, &parts, &log, self.limit)?;
        }
        Ok(match verdict(&run, &parts.nonce, &scenario) {
            Ok(switched) => format!("boots; {switched}{:.0} s in all", run.seconds),
            Err(why) => format!("no: {why}"),
        })
    }
}

/// Returns the scenario as a peer does it.
pub fn scenario(trial: &Trial, peer: Peer) -> Result<Scenario, String> {
    let found = all().find(|scenario| scenario.name == trial.boot);
    let mut scenario = *found.ok_or_else(|| format!("there is no boot `{}`", trial.boot))?;
    let how = trial.of(peer);
    scenario.append = how.append.unwrap_or(scenario.append);
    if peer == Peer::Dracut {
        // One word more for all of them; there are as many of these texts as boots.
        scenario.append = Box::leak(format!("{} {DRACUT_WAITS}", scenario.append).into_boxed_str());
    }
    scenario.answer = how.answer;
    if let Some((source, fstype)) = how.root {
        scenario.expect = Expect::Boots { source, fstype };
    }
    if let Some(says) = how.says {
        scenario.expect = Expect::Refuses { says };
    }
    Ok(scenario)
}

/// Tells whether a boot was what it should be, and when the root began; or why it was not.
fn verdict(run: &Run, nonce: &str, scenario: &Scenario) -> Result<String, String> {
    let (source, fstype) = match scenario.expect {
        Expect::Boots { source, fstype } => (source, fstype),
        Expect::Refuses { says } => {
            let unsaid = says.iter().find(|text| !run.console.contains(**text));
            return unsaid.map_or(Ok(String::new()), |text| Err(format!("the console does not say “{text}”")));
        }
    };
    let Some(evidence) = evidence::collect(&run.console, nonce) else { return Err(reason(run)) };
    if evidence.root != format!("{source} {fstype}") {
        return Err(format!("the root is `{}`", evidence.root));
    }
    match scenario.way.iter().find(|text| !evidence.way.iter().any(|line| line.contains(**text))) {
        Some(text) => Err(format!("the root is reached, but not by `{}`", text.trim())),
        None => Ok(format!("root at {:.1} s, ", evidence.switched_s)),
    }
}

/// Returns why a root was not reached, as the console says it.
fn reason(run: &Run) -> String {
    let said = TELLS.iter().find_map(|tell| run.console.lines().find(|line| line.contains(tell)));
    match (said, run.end) {
        (Some(line), _) => format!("“{}”", one_line(line)),
        (None, End::Hopeless(text)) => format!("“{text}”"),
        (None, End::Off) => "the machine went off".to_owned(),
        (None, _) => format!("nothing in {:.0} s", run.seconds),
    }
}

/// Returns a text that fits into a cell of a table: without time and borders, and not too long.
fn one_line(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "/");
    let text = match text.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        Some((_, said)) => said.to_owned(),
        None => text,
    };
    text.chars().take(REASON_CHARS).collect()
}

/// Returns what is known: what was tried now, and else what is written.
pub fn results(before: &str, tried: &[Tried]) -> Results {
    let mut results = Results::new();
    for trial in TRIALS {
        for peer in Peer::ALL {
            let now = tried.iter().find(|tried| tried.boot == trial.boot && tried.peer == peer).map(|tried| tried.result.clone());
            let row = format!("| {peer} | `{}` |", trial.boot);
            let line = || before.lines().find(|line| line.starts_with(&row));
            let cell = || Some(line()?.trim_end_matches([' ', '|']).rsplit('|').next()?.trim().to_owned());
            results.insert((peer, trial.boot), now.or_else(cell).unwrap_or_else(|| NOT_TRIED.to_owned()));
        }
    }
    results
}

const NOT_TRIED: &str = "not tried";

/// Returns what came of all boots of a way, in a few words.
pub fn summary(results: &Results, peer: Peer, boots: &[&str]) -> String {
    let known = boots.iter().filter_map(|boot| Some((*boot, results.get(&(peer, *boot))?.as_str())));
    let tried: Vec<(&str, &str)> = known.filter(|(_, result)| !result.starts_with(NOT_TRIED)).collect();
    let failed: Vec<String> = tried
        .iter()
        .filter_map(|(boot, result)| result.strip_prefix("no: ").map(|why| (boot, why)))
        .map(|(boot, why)| if tried.len() == 1 { why.to_owned() } else { format!("`{boot}`: {why}") })
        .collect();
    match (tried.len(), failed.len()) {
        (0, _) => NOT_TRIED.to_owned(),
        (_, 0) => "boots".to_owned(),
        (all, no) if all == no => format!("no: {}", failed.join("; ")),
        (all, no) => format!("boots {} of {all}; no: {}", all - no, failed.join("; ")),
    }
}

/// Returns the table of all that was tried.
pub fn table(results: &Results) -> String {
    let mut text = String::from(INTRODUCTION);
    for ((peer, boot), result) in results {
        let Some(trial) = TRIALS.iter().find(|trial| trial.boot == *boot) else { continue };
        let line = match (trial.of(*peer).append, trial.of(*peer).answer) {
            (None, _) => "as ours".to_owned(),
            (Some(append), None) => format!("`{append}`"),
            (Some(append), Some(_)) => format!("`{append}`, and the passphrase is typed"),
        };
        text.push_str(&format!("| {peer} | `{boot}` | {} | {line} | {result} |\n", trial.set.name()));
    }
    text
}

const INTRODUCTION: &str = "
The same disks, booted with images of other generators by `cargo xtask boot peers`, each made in a Debian root of the same release that has
the packages which its users install, for the same kernel (`tests/boot/peers.rs`, `tests/boot/peers/image.sh`): `mkosi-initrd -g` with its
profiles, and packages and modules of a drop-in where it has none; `dracut --no-hostonly` with the modules that a user adds; `MODULES=most`
with the hooks of the packages. *Plain* is LVM and LUKS, *storage* all that is about disks, *network* the same and a network; the others are
storage and a file of the test. dracut has `rd.retry=60` on its command line beside. They are judged less strictly: the random word of the
root came, `/` is what it should be and was reached by that way; their journals may say what they like.

| generator | boot | image | kernel command line | last run |
|---|---|---|---|---|
";
