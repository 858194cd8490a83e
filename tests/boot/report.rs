//! Prints what came of the boots, and writes `docs/boot-matrix.md`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::afar::Tang;
use crate::command::at;
use crate::live::{LIVES, Live, Lived};
use crate::matrix;
use crate::peer_boots::{self, Tried};
use crate::runner::Outcome;
use crate::scenarios::{Bus, Change, Expect, Firmware, Scenario, Tier, Tpm, all};
use crate::server::Server;

/// Returns one line for a scenario that is done.
pub fn line(outcome: &Outcome) -> String {
    let verdict = if outcome.faults.is_empty() { "ok  " } else { "FAIL" };
    let mut line = format!("{verdict} {:<22} {:>6.1} s", outcome.scenario.name, outcome.seconds);
    if let Some(evidence) = &outcome.evidence {
        let _ = write!(line, "  switched root at {:.1} s  {}", evidence.switched_s, evidence.root); // to a string: cannot fail
    }
    for fault in &outcome.faults {
        let _ = write!(line, "\n     {fault}"); // to a string: cannot fail
    }
    line
}

/// Prints the table of all outcomes and the closing line.
pub fn print(outcomes: &[Outcome], logs: &Path) {
    println!(
        "\n{:<22} {:<9} {:<6} {:<13} {:>7} {:>9} {:>9} {:>8}  result",
        "boot", "release", "arch", "disk", "wall s", "switch s", "initrd s", "MB"
    );
    for outcome in outcomes {
        let Scenario { name, release, arch, disk, .. } = outcome.scenario;
        let times = outcome.evidence.as_ref().map(|evidence| (evidence.switched_s, evidence.switched_s - evidence.initrd_s));
        let show = |time: Option<f64>| time.map_or("-".to_owned(), |time| format!("{time:.1}"));
        println!(
            "{name:<22} {release:<9} {arch:<6} {:<13} {:>7.1} {:>9} {:>9} {:>8.1}  {}",
            disk.name(),
            outcome.seconds,
            show(times.map(|(switched, _)| switched)),
            show(times.map(|(_, initrd)| initrd)),
            outcome.initrd_bytes as f64 / 1e6,
            if outcome.faults.is_empty() { "ok" } else { "FAILED" },
        );
    }
    let failed = outcomes.iter().filter(|outcome| !outcome.faults.is_empty()).count();
    if failed > 0 {
        println!("\nconsole logs: {}", logs.display());
    }
    println!("\n{} passed, {failed} failed, {} not asked for", outcomes.len() - failed, all().count() - outcomes.len());
}

/// Writes the matrix of all scenarios with what came of those that were run; the others keep what is written of them.
pub fn write_matrix(outcomes: &[Outcome], lived: &[Lived]) -> Result<(), String> {
    write_with_peers(outcomes, lived, &[])
}

/// The same with what came of the other generators.
pub fn write_with_peers(outcomes: &[Outcome], lived: &[Lived], tried: &[Tried]) -> Result<(), String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/boot-matrix.md");
    // A matrix that is not there yet has no results to keep.
    let before = fs::read_to_string(&path).unwrap_or_default();
    let mut text = String::from(INTRODUCTION);
    for scenario in all() {
        let outcome = outcomes.iter().find(|outcome| outcome.scenario.name == scenario.name);
        let result = match outcome {
            None => written(&before, scenario.name).unwrap_or("not run").to_owned(),
            Some(outcome) if !outcome.faults.is_empty() => "**failed**".to_owned(),
            Some(Outcome { evidence: Some(evidence), seconds, .. }) => {
                format!("boots; root at {:.1} s, {seconds:.0} s in all", evidence.switched_s)
            }
            Some(outcome) => format!("refused, {:.0} s", outcome.seconds),
        };
        let expected = match scenario.expect {
            Expect::Boots { source, fstype } => {
                let way = scenario.way.iter().map(|text| format!("; `{text}`"));
                format!("`{source}` {fstype}{}", way.collect::<String>())
            }
            Expect::Refuses { says } => says.iter().map(|text| format!("no root; “{text}”")).collect::<Vec<_>>().join("; "),
        };
        let change = match scenario.change {
            Change::None => String::new(),
            Change::Truncated(percent) => format!(" ({percent} % of it left)"),
            Change::AfterEarly => " (joined with `cat`)".to_owned(),
            Change::Word(from, to) => format!(" (`{from}` made `{to}`)"),
        };
        let tier = tier_name(scenario.tier);
        let twin = scenario.twin.map_or("-".to_owned(), |twin| format!("`{twin}`"));
        let Scenario { name, shows, release, arch, disk, append, .. } = scenario;
        let then = scenario.resumes.map_or(String::new(), |then| format!("`, then `{then}"));
        let kernel_line = append.split_whitespace().collect::<Vec<_>>().join(" ");
        let build = scenario.build.join(" ");
        let disk = match scenario.firmware {
            Firmware::None => format!("{}{}", disk.name(), hardware(scenario)),
            Firmware::Uefi => format!("{} and ESP", disk.name()),
            Firmware::SecureBoot => format!("{} and ESP, Secure Boot", disk.name()),
        };
        text.push_str(&format!(
            "| `{name}` | {shows}{change} | {tier} | {release} {arch} | {disk} | `{build}` | `{kernel_line}{then}` | {expected} | {twin} | {result} |\n"
        ));
    }
    text.push_str(LIVES_INTRODUCTION);
    for Live { name, shows, tier, .. } in LIVES {
        let result = match lived.iter().find(|life| life.name == *name) {
            None => written(&before, name).unwrap_or("not run").to_owned(),
            Some(Lived { result: Ok(()), seconds, .. }) => format!("boots, {seconds:.0} s with apt's part"),
            Some(_) => "**failed**".to_owned(),
        };
        text.push_str(&format!("| `{name}` | {shows} | {} | {result} |\n", tier_name(*tier)));
    }
    let results = peer_boots::results(&before, tried);
    let ways = matrix::table(|boot| written(&text, boot).map(str::to_owned), &results)?;
    text.push_str(&ways);
    text.push_str(&peer_boots::table(&results));
    fs::write(&path, text).map_err(at(&path))
}

/// Returns what a machine has, or has not, beside its one virtio disk.
fn hardware(scenario: &Scenario) -> String {
    let bus = match scenario.bus {
        Bus::Virtio => "",
        Bus::VirtioScsi => ", virtio-scsi",
        Bus::TwoPaths => ", virtio-scsi by two paths",
        Bus::Late => ", plugged in after 20 s",
        Bus::OnePath => ", virtio-scsi by one path of two",
        Bus::Nvme4k => ", NVMe",
        Bus::Usb => ", USB",
        Bus::Ahci => ", SATA",
    };
    let tpm = match scenario.tpm {
        Tpm::None => "",
        Tpm::Enrolled => ", its TPM",
        Tpm::Other => ", another TPM",
    };
    let channel = if scenario.fw_cfg { ", credentials by fw_cfg" } else { "" };
    let missing = scenario.missing.iter().map(|number| format!(", without disk {number}"));
    let server = match scenario.server {
        Server::None => "",
        Server::Gone => ", no server",
        Server::Nfs(_) => ", by NFS",
        Server::Nbd => ", by NBD",
        Server::Iscsi(None) | Server::IscsiEach => ", by iSCSI",
        Server::Iscsi(Some(_)) => ", by iSCSI with CHAP",
        Server::Http => ", by HTTP",
        Server::Nvme => ", by NVMe over TCP",
        Server::Tang(Tang::Gone) => ", no tang server",
        Server::Tang(_) => ", a tang server",
        Server::Ssh(_) => ", somebody over SSH",
    };
    format!("{bus}{tpm}{channel}{server}{}", missing.collect::<String>())
}

fn tier_name(tier: Tier) -> &'static str {
    if tier == Tier::Smoke { "smoke" } else { "slow" }
}

/// Returns the last cell of a scenario's row.
fn written<'a>(matrix: &'a str, scenario: &str) -> Option<&'a str> {
    let row = matrix.lines().find(|line| line.starts_with(&format!("| `{scenario}` |")))?;
    row.trim_end_matches([' ', '|']).rsplit('|').next().map(str::trim)
}

const INTRODUCTION: &str = "# What boots

Written by `cargo xtask boot full --write-docs` out of the tables of scenarios in `tests/boot/`; do not edit it.

Every boot is a real one: QEMU without hardware acceleration, Debian's own kernel, and a root file system that mmdebstrap made of
Debian's packages, with systemd. A boot has passed when a service *of the real root* has printed a random word that only the disk
knows, `/` is mounted from the device and with the type that the table names, the root's kernel and journal say of the way what the
table cites (tables of device mapper, arrays of md, mounts, who opened a volume), no unit of the root failed, and the journal, which the
initrd hands on to the root, holds no warning and nothing missing from the time in the initrd, but for the kernel's own lines that
`tests/boot/evidence.rs` excuses by name. A boot with no root to reach has passed when the word does not come and the console says why.

Times are the guest's own clock at switch-root and wall clock seconds for all, on two emulated processors; they depend on the load of
the host and are no benchmark (`docs/benchmarks.md` is).

| boot | shows | tier | root | disk | built with | kernel command line | what has to come | negative twin | last run |
|---|---|---|---|---|---|---|---|---|---|
";

const LIVES_INTRODUCTION: &str = "
Machines that live a little: in a root with systemd, apt and initramfs-tools our package takes initramfs-tools' place, apt installs the
kernels, and the disk that comes of it is started by UEFI firmware and systemd-boot, or as GRUB does it. The initrds are those that the
package manager's run left. Every boot has its own random word, as above.

| life | shows | tier | last run |
|---|---|---|---|
";
