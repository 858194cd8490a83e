//! `test`: boots an image in QEMU and says how far it came.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::args::{Global, TrialArgs};
use super::{Failure, UsageError, ls, print};
use crate::base::error::{Diagnostic, ErrorKind};
use crate::host;
use crate::host::emulate::Machine;
use crate::image::Found;
use crate::manifest::Manifest;
use crate::trial::{self, Step, Trial};

/// How much of the console is repeated of a boot that stopped.
const LINES_MAX: usize = 40;

/// The real root was not reached.
#[derive(Debug, thiserror::Error)]
#[error("`{}` did not reach the real root: {how}, {after}", image.display())]
struct NotReached {
    image: PathBuf,
    how: String,
    after: String,
    asks: bool,
    has_disk: bool,
}

impl Diagnostic for NotReached {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Host
    }

    fn hints(&self) -> Vec<String> {
        match (self.asks, self.has_disk) {
            (true, _) => vec!["give the passphrase with `--credential cryptsetup.passphrase=TEXT`".to_owned()],
            (_, false) => vec!["give it a disk with `--disk FILE`, and name the root with `--cmdline root=…`".to_owned()],
            (_, true) => Vec::new(),
        }
    }
}

/// Runs the command.
pub fn run(args: &TrialArgs, global: &Global) -> Result<(), Failure> {
    let found = ls::read(&args.image)?;
    if !found.sections.is_empty() {
        let what = format!("`{}` is a unified kernel image, which firmware starts and not QEMU", args.image.display());
        return Err(UsageError::Wrong { what, hint: "test the initrd that it was made of".to_owned() }.into());
    }
    let machine = machine(args, &found)?;
    let mut shown = 0;
    let mut watch = |console: &str| {
        let trial = trial::read(console);
        if !global.json {
            for (step, at_s) in &trial.steps[shown..] {
                // A reader that has gone away ends nothing: the verdict is the exit code.
                let _ = print(&line(*step, *at_s));
            }
            shown = trial.steps.len();
        }
        trial::is_over(&trial, console)
    };
    let console = machine.run(Duration::from_secs(args.seconds), &mut watch)?;
    let trial = trial::read(&console);
    if global.json {
        print(&format!("{:#}\n", as_json(&trial, &console)))?;
    } else if !trial.is_reached() {
        print(&trial::last_words(&console, LINES_MAX).iter().fold(String::from("\n"), |mut text, line| {
            let _ = writeln!(text, "  | {line}");
            text
        }))?;
    }
    if trial.is_reached() {
        return Ok(());
    }
    let how = trial.stopped.clone().unwrap_or_else(|| match trial.asks {
        true => "it asks for a passphrase".to_owned(),
        false => format!("{} s are over", args.seconds),
    });
    let after = trial.last().map_or("and the kernel said nothing".to_owned(), |step| format!("after “{}”", step.sentence()));
    let image = args.image.clone();
    Err(NotReached { image, how, after, asks: trial.asks, has_disk: !args.disk.is_empty() }.into())
}

fn line(step: Step, at_s: f64) -> String {
    format!("{at_s:>8.1} s  {}\n", step.sentence())
}

fn as_json(trial: &Trial, console: &str) -> serde_json::Value {
    let steps: Vec<_> = trial.steps.iter().map(|(step, at_s)| serde_json::json!({"step": step, "at_s": at_s})).collect();
    let last = trial::last_words(console, LINES_MAX);
    serde_json::json!({"reached": trial.is_reached(), "steps": steps, "stopped": trial.stopped, "asks": trial.asks, "last": last})
}

/// Puts together what is to be emulated; what can be wrong is told before anything starts.
fn machine(args: &TrialArgs, found: &Found) -> Result<Machine, Failure> {
    let manifest = found.manifest().and_then(|content| Manifest::parse(content.bytes()).ok());
    let kernel = match &args.kernel {
        Some(kernel) => kernel.clone(),
        None => kernel_of(manifest.as_ref(), &args.image)?,
    };
    for (option, path) in std::iter::once(("--kernel", &kernel)).chain(args.disk.iter().map(|disk| ("--disk", disk))) {
        if !path.exists() {
            let what = format!("`{option} {}`: there is no such file", path.display());
            return Err(UsageError::Wrong { what, hint: "check the path".to_owned() }.into());
        }
    }
    let arch = args.arch.clone().or(manifest.map(|manifest| manifest.target.arch)).unwrap_or_else(host::machine);
    Ok(Machine {
        arch: kernels_word(arch),
        kernel,
        initrd: args.image.clone(),
        disks: args.disk.clone(),
        command_line: args.cmdline.clone().unwrap_or_default(),
        credentials: args.credential.clone(),
        memory_mib: args.memory,
        kvm: args.kvm,
    })
}

/// Puts Debian's words for architectures into the kernel's, which others have anyway.
fn kernels_word(arch: String) -> String {
    match arch.as_str() {
        "amd64" => "x86_64".to_owned(),
        "arm64" => "aarch64".to_owned(),
        _ => arch,
    }
}

/// Returns this machine's kernel of the version whose modules are in the image.
fn kernel_of(manifest: Option<&Manifest>, image: &Path) -> Result<PathBuf, Failure> {
    let version = manifest.and_then(|manifest| manifest.target.kernel.clone());
    let places = version.iter().flat_map(|version| {
        [format!("/boot/vmlinuz-{version}"), format!("/usr/lib/modules/{version}/vmlinuz")].map(PathBuf::from)
    });
    places.into_iter().find(|path| path.exists()).ok_or_else(|| {
        let what = match &version {
            Some(version) => format!("this machine does not have the kernel {version} of `{}`", image.display()),
            None => format!("`{}` does not say which kernel it is for", image.display()),
        };
        UsageError::Wrong { what, hint: "name one with `--kernel FILE`".to_owned() }.into()
    })
}
