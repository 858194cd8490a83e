//! Runs a machine whose init makes disks: one of our own images with `maker.sh` in it, since the kernel of the host has no such layers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::machine::{Machine, Start};
use crate::scenarios::{BASE, Bus, Scenario};

/// Says that all went well.
const MADE: &str = "maker: all is made";
/// Says that it did not.
const FAILED: &str = "maker: failed";
const LIMIT: Duration = Duration::from_secs(600);

/// The image that makers run in.
pub const IMAGE: Scenario = Scenario {
    name: "maker",
    build: &["--generic", "--config", "tests/boot/maker.toml", "--include", "tests/boot/maker.sh:/maker"],
    ..BASE
};

/// Has the init do what `word` names to `disks`.
pub fn make(word: &str, kernel: &Path, initrd: &Path, disks: &[PathBuf]) -> Result<(), String> {
    let append = format!("rdinit=/maker maker={word}");
    let start = Start::Kernel { kernel, initrd, append: &append };
    let machine = Machine {
        arch: "amd64",
        start,
        disks,
        bus: Bus::Virtio,
        written: true,
        tpm: None,
        credentials: &[],
        network: None,
        fw_cfg: false,
        keys: &[],
        answer: None,
        counted: false,
        survives_panic: false,
    };
    let log = disks[0].with_extension("maker.log");
    let decided = |console: &str| console.contains(MADE) || console.contains(FAILED);
    let run = machine.run(&log, LIMIT, decided)?;
    if run.console.contains(MADE) {
        return Ok(());
    }
    let said: Vec<&str> = run.console.lines().rev().take(12).collect();
    let said: Vec<&str> = said.into_iter().rev().collect();
    Err(format!("the machine that makes `{word}` did not end well:\n    {}", said.join("\n    ")))
}
