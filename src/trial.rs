//! How far a boot came, told by its console: what the kernel, systemd and the small init print on their way.

use serde::Serialize;

/// A step on the way to the real root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// The kernel runs.
    Kernel,
    /// It has unpacked the image and started its init.
    Init,
    /// systemd is that init and knows that it is in an initrd.
    Systemd,
    /// The device of the root is there.
    RootDevice,
    /// The root is mounted.
    RootMounted,
    /// The init of the real root runs.
    RealRoot,
}

impl Step {
    /// All, in order.
    pub const ALL: [Step; 6] = [Step::Kernel, Step::Init, Step::Systemd, Step::RootDevice, Step::RootMounted, Step::RealRoot];

    /// Says it as something that has happened.
    pub fn sentence(self) -> &'static str {
        match self {
            Step::Kernel => "the kernel runs",
            Step::Init => "the image is unpacked, its init runs",
            Step::Systemd => "systemd runs in the initrd",
            Step::RootDevice => "the device of the root is there",
            Step::RootMounted => "the root is mounted",
            Step::RealRoot => "the init of the real root runs",
        }
    }
}

/// What a console tells.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trial {
    /// The steps that were taken, each with the kernel's clock in seconds.
    pub steps: Vec<(Step, f64)>,
    /// The boot has ended where it is: what says so.
    pub stopped: Option<String>,
    /// Somebody would have to type a passphrase.
    pub asks: bool,
}

/// What no boot recovers from.
const ENDS: [&str; 9] = [
    "Kernel panic - not syncing",
    "The boot has stopped in the initrd",
    "You are in emergency mode",
    "Cannot open access to console, the root account is locked",
    "Press Enter for ",
    "Entering emergency mode",
    "(initramfs)",
    "initrd: the root device",
    "Initramfs unpacking failed",
];
/// The last word of our own explanation, which is to be read whole.
const EXPLAINED: &str = "to try once more";
/// How the init of a system begins to speak: systemd, sysvinit, OpenRC, and what names the system.
const INITS: [&str; 4] = ["running in system mode (", "INIT: version ", "OpenRC ", "Welcome to "];

/// What systemd says in an initrd, after its first line.
const IN_INITRD: &str = "Running in initrd.";

/// Reads a console.
pub fn read(console: &str) -> Trial {
    let mut trial = Trial { steps: Vec::new(), stopped: None, asks: false };
    let mut clock_s = 0.0;
    for line in console.lines() {
        clock_s = clock(line).unwrap_or(clock_s);
        // A splash tells once more what was said before it came.
        if trial.last() == Some(Step::RealRoot) && line.contains(IN_INITRD) {
            trial.steps.pop();
        }
        for step in Step::ALL {
            if trial.last() < Some(step) && trial.is_taken(step, line) {
                trial.steps.push((step, clock_s));
            }
        }
        if trial.stopped.is_none() && ENDS.iter().any(|end| line.contains(end)) {
            trial.stopped = Some(line.trim().to_owned());
        }
        trial.asks |= line.contains("Please enter passphrase") || line.contains("Enter passphrase for");
    }
    trial
}

impl Trial {
    /// Returns the last step that was taken.
    pub fn last(&self) -> Option<Step> {
        self.steps.last().map(|(step, _)| *step)
    }

    /// Tells whether the real root was reached.
    pub fn is_reached(&self) -> bool {
        self.last() == Some(Step::RealRoot)
    }

    fn is_taken(&self, step: Step, line: &str) -> bool {
        let target = |name: &str| line.contains("Reached target") && line.contains(name);
        match step {
            Step::Kernel => line.contains("Linux version "),
            Step::Init => line.contains("Run /init as init process"),
            Step::Systemd => line.contains(IN_INITRD),
            Step::RootDevice => target("initrd-root-device.target") || target("Initrd Root Device"),
            Step::RootMounted => target("initrd-root-fs.target") || target("Initrd Root File System"),
            // Of a systemd in the initrd the real root's is the second.
            Step::RealRoot => match self.last() {
                Some(Step::Kernel) | None => false,
                Some(Step::Init) => INITS[1..].iter().any(|word| line.contains(word)),
                Some(_) => INITS[..3].iter().any(|word| line.contains(word)),
            },
        }
    }
}

/// Returns the kernel's clock at the start of a line: `[   10.534439] …`.
fn clock(line: &str) -> Option<f64> {
    let (_, rest) = line.split_once('[')?;
    let (number, rest) = rest.split_once(']')?;
    rest.starts_with(' ').then(|| number.trim().parse().ok())?
}

/// Tells whether nothing more is to be learnt from a console that goes on.
pub fn is_over(trial: &Trial, console: &str) -> bool {
    let is_explained = || !console.contains("The boot has stopped in the initrd") || console.contains(EXPLAINED);
    trial.is_reached() || (trial.stopped.is_some() && is_explained())
}

/// Returns the last lines of a console that are about why it ended: our own explanation, or the last ones.
pub fn last_words(console: &str, lines_max: usize) -> Vec<&str> {
    let told = console.rfind("The boot has stopped in the initrd").map(|at| &console[at..]);
    let is_told = told.is_some();
    let lines: Vec<&str> = told.unwrap_or(console).lines().filter(|line| !line.trim().is_empty()).collect();
    let skipped = if is_told { 0 } else { lines.len().saturating_sub(lines_max) };
    // A status line is written over and over.
    lines.into_iter().skip(skipped).take(lines_max).filter(|line| !line.contains("] Job ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[    0.000000] Linux version 6.12\n[   10.5] Run /init as init process\n\
        !p]104[?7h[   11.4] systemd[1]: systemd 257 running in system mode (+PAM)\n[   11.5] systemd[1]: Running in initrd.\n\
        [  OK  ] Reached target initrd-root-device.target - Initrd Root Device.\n\
        [   33.0] systemd[1]: x\n[  OK  ] Reached target initrd-root-fs.target - Initrd Root File System.\n\
        [   44.3] systemd[1]: systemd 257 running in system mode (+PAM)\nWelcome to Debian GNU/Linux 13 (trixie)!\n";

    #[test]
    fn a_boot_is_followed_to_its_root() {
        let trial = read(GOOD);
        assert!(trial.is_reached() && trial.stopped.is_none() && !trial.asks);
        assert_eq!(trial.steps.iter().map(|(step, _)| *step).collect::<Vec<_>>(), Step::ALL);
        assert_eq!(trial.steps.iter().map(|(_, at_s)| *at_s).collect::<Vec<_>>(), [0.0, 10.5, 11.5, 11.5, 33.0, 44.3]);
        // The same console cut anywhere before its last init is not there yet.
        let end = GOOD.rfind("systemd[1]: systemd").expect("the second");
        assert!((0..end).all(|cut| !read(&GOOD[..cut]).is_reached()));
    }

    #[test]
    fn what_a_splash_repeats_is_no_second_init() {
        let said = GOOD.find("[  OK  ]").expect("a target");
        let (before, after) = GOOD.split_at(said);
        let echo = "systemd[1]: systemd 257 running in system mode (+PAM)\nsystemd[1]: Running in initrd.\n";
        let stopped = read(&format!("{before}{echo}"));
        assert_eq!(stopped.last(), Some(Step::Systemd));
        assert_eq!(read(&format!("{before}{echo}{after}")).steps, read(GOOD).steps);
    }

    #[test]
    fn without_systemd_in_the_image_the_first_init_counts() {
        let trial = read("[ 0.0] Linux version 6\n[ 8.9] Run /init as init process\nWelcome to Debian GNU/Linux 13!\n");
        assert!(trial.is_reached());
        assert!(!read("[ 0.0] Linux version 6\nWelcome to the firmware\n").is_reached());
    }

    #[test]
    fn what_stops_a_boot_is_said_once_it_is_explained() {
        let started = "[ 0.0] Linux version 6\n[ 9.0] Run /init as init process\n[ 9.5] systemd[1]: Running in initrd.\n";
        let stopped =
            format!("{started}\nThe boot has stopped in the initrd: the real root was not reached.\n\nWhat is missing:\n  x\n");
        let trial = read(&stopped);
        assert_eq!(trial.stopped.as_deref(), Some("The boot has stopped in the initrd: the real root was not reached."));
        assert!(!is_over(&trial, &stopped), "the explanation goes on");
        let whole = format!("{stopped}Press Enter to try once more, Ctrl+Alt+Del to restart.\n");
        assert!(is_over(&read(&whole), &whole));
        assert_eq!(last_words(&whole, 30)[1..3], ["What is missing:", "  x"]);
        let panic = "[ 0.0] Linux version 6\n[ 5.0] Kernel panic - not syncing: VFS: Unable to mount root fs\n";
        assert!(is_over(&read(panic), panic) && !read(panic).is_reached());
        assert!(read("Please enter passphrase for disk root:").asks);
    }
}
