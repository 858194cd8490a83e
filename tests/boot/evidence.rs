//! Judges a run by what the real root's service said, or by what the console said when there must be no root.

use crate::machine::{End, Run};
use crate::scenarios::{Expect, Firmware, Journal};

/// What the real root said about its boot.
#[derive(Debug, Default, Clone)]
pub struct Evidence {
    /// What `/` is mounted from, and its type.
    pub root: String,
    /// When the initrd's PID 1 started, in seconds of the guest's clock.
    pub initrd_s: f64,
    /// When the real root's PID 1 started.
    pub switched_s: f64,
    /// What `systemctl is-system-running` said.
    pub state: String,
    /// What the machine's firmware is, and whether it insists on signatures.
    pub firmware: String,
    /// What the root's kernel and journal say of the way to it.
    pub way: Vec<String>,
    /// Units of the real root that failed.
    pub failed: Vec<String>,
    /// The first line of PID 1 in the journal: it is the initrd's, if the journal came through.
    pub first: String,
    /// Journal lines of priority warning and worse.
    pub complaints: Vec<String>,
    /// Journal lines of any priority that speak of something missing.
    pub missing: Vec<String>,
}

/// The journal lines that are no fault of the initrd: who says it, a part of what is said, and why it is no fault.
///
/// They are the kernel's own in this emulated machine; user space has no excuse unless it is named here.
const EXCUSES: &[(&str, &str, &str)] = &[
    ("kernel", "mtrr: your CPUs had inconsistent", "QEMU gives the second processor no MTRR state"),
    ("kernel", "fail to add MMCONFIG information", "QEMU's `pc` machine has no PCI Express"),
    ("kernel", "amd_pstate: the _CPC object is not present", "QEMU has no ACPI power tables"),
    ("kernel", "Memory resource size exceeds max for 32 bits", "QEMU's `virt` machine has a large window for PCI"),
    ("kernel", "efi: UEFI not found", "QEMU starts the kernel without firmware"),
    ("kernel", "CONFIG_IMA_DISABLE_HTABLE is disabled", "Debian's kernel says so to every user of dm"),
    ("kernel", "Power-on or device reset occurred", "QEMU's SCSI disks say on the first command that they were turned on"),
    ("kernel", "Model 'QEMU HARDDISK'", "the kernel has a list of SATA disks with quirks, QEMU's among them"),
    ("kernel", "LPM support broken, forcing max_power", "the same"),
    (
        "kernel",
        "BTRFS warning (device vda): devid 2 uuid",
        "of `btrfs-degraded`, whose second disk is missing; where it is not, nobody says so",
    ),
    (
        "kernel",
        "mdX: bitmap file is out of date",
        "no kernel has written the mirror of `trixie-lvm-raid1` before: it makes the bitmap",
    ),
    ("kernel", "Unstable clock detected, switching default tracing clock", BUSY),
    ("kernel", "callbacks suppressed", "the kernel says that it said less"),
    ("kernel", "tsc: Unable to calibrate against PIT", BUSY),
    ("kernel", "tsc: PIT calibration deviates from HPET", BUSY),
    ("kernel", "TSC found unstable after boot", BUSY),
    ("kernel", "APIC calibration not consistent", BUSY),
    ("kernel", "clocksource: ", BUSY),
    ("kernel", "hpet: Lost", BUSY),
    ("kernel", "MP-BIOS bug: 8254 timer not connected", BUSY),
    ("kernel", "hrtimer: interrupt took", BUSY),
    ("kernel", "hogged CPU for", BUSY),
    ("kernel", "perf: interrupt took too long", BUSY),
    ("kernel", "rcu: INFO:", BUSY),
    ("kernel", "sched: DL replenish lagged", BUSY),
    ("55-scsi-sg3_id.rules", "SCSI device dm-", "the rule of sg3-utils says so of every disk that is no SCSI disk"),
    ("lvm", "online, VG", "the udev rule of LVM says at this level that all is well"),
    ("(sd-mkdcre", "Couldn't read inherited credential", "a unit names credentials that nobody has to pass"),
];

/// Units of the real root that lose a race of its own now and then, and what they say then.
const RACES: &[(&str, &str)] = &[
    // The root mounts a tmpfs on /run/lock while lvm has made its directory there and not yet its lock.
    ("lvm2-monitor.service", "/run/lock/lvm/"),
];

const BUSY: &str = "the emulator had no time on a busy host";

/// Returns what the root said, if it said all of it.
pub fn collect(console: &str, nonce: &str) -> Option<Evidence> {
    let mut evidence = Evidence::default();
    let mut ended = false;
    for line in console.lines().filter_map(|line| line.strip_prefix(nonce)) {
        let (key, value) = line.trim_start().split_once(' ').unwrap_or((line.trim(), ""));
        let value = value.trim().to_owned();
        let seconds = || value.parse::<f64>().unwrap_or(f64::NAN) / 1e6;
        match key {
            "root" => evidence.root = value,
            "initrd_us" => evidence.initrd_s = seconds(),
            "switched_us" => evidence.switched_s = seconds(),
            "state" => evidence.state = value,
            "firmware" => evidence.firmware = value,
            "way" => evidence.way.push(value),
            "failed" => evidence.failed.push(value),
            "first" => evidence.first = value,
            "complaint" => push_message(&mut evidence.complaints, value),
            "missing" => push_message(&mut evidence.missing, value),
            "end" => ended = true,
            _ => {}
        }
    }
    ended.then_some(evidence)
}

/// Adds a line of the journal; one without a time belongs to the message before it.
fn push_message(messages: &mut Vec<String>, line: String) {
    match messages.last_mut() {
        Some(message) if !line.starts_with('[') => *message = format!("{message} {line}"),
        _ => messages.push(line),
    }
}

/// Returns the word that a machine keeps in memory while it hibernates.
pub fn hibernated(console: &str, nonce: &str) -> Option<String> {
    let mut lines = console.lines().filter_map(|line| line.strip_prefix(nonce));
    lines.find_map(|line| line.trim().strip_prefix("hibernates ")).map(|word| word.trim().to_owned())
}

/// Tells whether the console says all that has to come of the boot.
pub fn is_decided(console: &str, nonce: &str, expect: Expect) -> bool {
    match expect {
        Expect::Boots { .. } => console.contains(&format!("{nonce} end")),
        Expect::Refuses { says } => console.contains(nonce) || says.iter().all(|text| console.contains(text)),
    }
}

/// What `id` says of whoever has an emergency shell.
const SHELL: &str = "uid=0(root)";

/// Returns everything that is wrong with a run; empty if the scenario passed. `journal` says whose messages there are; each text of
/// `way` has to be in what the root says of the way to it.
pub fn faults(run: &Run, nonce: &str, expect: Expect, firmware: Firmware, journal: Journal, way: &[&str]) -> Vec<String> {
    match expect {
        Expect::Boots { source, fstype } => match collect(&run.console, nonce) {
            Some(evidence) => {
                let mut faults = boot_faults(&evidence, source, fstype, firmware, journal);
                let untold = way.iter().filter(|text| !evidence.way.iter().any(|line| line.contains(**text)));
                faults.extend(
                    untold.map(|text| format!("the root does not say `{text}` of the way to it, but: {:?}", evidence.way)),
                );
                faults
            }
            None => vec![match run.end {
                End::Hopeless(text) => format!("the root was not reached: `{text}`"),
                End::Off => "the machine went off before the root was reached".to_owned(),
                End::Timeout => format!("the root was not reached in {:.0} s", run.seconds),
                End::Decided => "the root's evidence is torn".to_owned(),
            }],
        },
        Expect::Refuses { .. } if run.console.contains(nonce) => vec!["the root was reached all the same".to_owned()],
        Expect::Refuses { says } => {
            let unsaid = says.iter().filter(|text| !run.console.contains(**text));
            let mut faults: Vec<String> = unsaid.map(|text| format!("the console does not say `{text}`")).collect();
            if run.console.contains(SHELL) && !says.contains(&SHELL) {
                faults.push("whoever typed at the console had a shell".to_owned());
            }
            faults
        }
    }
}

/// Tells whether `mkinitrd-pkg test` would say of a console what came of the boot. Of what begins no system it cannot know.
pub fn misjudged(run: &Run, expect: Expect, journal: Journal) -> Option<String> {
    let trial = mkinitrd_pkg::trial::read(&run.console);
    let is_wanted = matches!(expect, Expect::Boots { .. });
    let is_known = journal != Journal::None;
    (is_known && trial.is_reached() != is_wanted).then(|| format!("`test` would have said of this console: {:?}", trial.steps))
}

fn boot_faults(evidence: &Evidence, source: &str, fstype: &str, firmware: Firmware, journal: Journal) -> Vec<String> {
    let mut faults = Vec::new();
    let wanted = format!("{source} {fstype}");
    if evidence.root != wanted {
        faults.push(format!("the root is `{}`, not `{wanted}`", evidence.root));
    }
    if evidence.firmware != firmware.as_said() {
        faults.push(format!("the firmware is `{}`, not `{}`", evidence.firmware, firmware.as_said()));
    }
    let failed =
        evidence.failed.iter().filter(|unit| !RACES.iter().any(|(name, text)| unit.starts_with(name) && unit.contains(text)));
    faults.extend(failed.map(|unit| format!("a unit of the real root failed: {unit}")));
    // Without the initrd's journal nothing below could fail.
    match (time_of(&evidence.first), journal) {
        (Some(time), _) if time < evidence.switched_s => {}
        // A small init writes none; what fails in it is on the console, and the root not reached.
        (Some(_), Journal::OfRoot) | (None, Journal::None) => {}
        _ => faults.push(format!("the initrd's journal did not come through: PID 1 begins with `{}`", evidence.first)),
    }
    let in_initrd = |line: &&String| time_of(line).is_none_or(|time| time < evidence.switched_s);
    let complaints = evidence.complaints.iter().filter(in_initrd).filter(|line| !is_excused(line));
    faults.extend(complaints.map(|line| format!("in the initrd: {line}")));
    let missing = evidence.missing.iter().filter(in_initrd).filter(|line| !evidence.complaints.contains(line));
    faults.extend(missing.filter(|line| !is_excused(line)).map(|line| format!("missing in the initrd: {line}")));
    faults
}

/// Returns the seconds of a line like `[   12.345678] host ident[1]: text`.
fn time_of(line: &str) -> Option<f64> {
    line.strip_prefix('[')?.split_once(']')?.0.trim().parse().ok()
}

fn is_excused(line: &str) -> bool {
    let said = line.split_once("] ").map_or(line, |(_, rest)| rest);
    let (who, says) = said.split_once(": ").unwrap_or(("", said));
    let who = who.rsplit(' ').next().unwrap_or(who).split('[').next().unwrap_or(who);
    EXCUSES.iter().any(|(by, text, _)| *by == who && says.contains(text))
}
