//! Finds the facts of the running machine. Reads only, runs nothing, and what it cannot find out becomes a sentence in `gaps`.
//!
//! Everything is read below a root directory: `/sys`, `/proc`, `/run/udev/data`, `/dev` for LUKS headers, `/etc`.

mod blocks;
mod boot;
mod devices;
mod disks;
mod files;
mod inventory;
mod keymap;
mod root;
mod tables;
mod view;
mod volumes;

use std::path::Path;

use super::facts::{Facts, SCHEMA};
use crate::base::fs::FileError;
use root::Root;

pub use tables::{Locked, crypttab};

/// Returns the facts of the machine whose root is `root`, `/` except in tests.
pub fn probe(root: &Path) -> Result<Facts, FileError> {
    let os = super::apt::os_release(root)?.unwrap_or_default();
    let root = Root::new(root);
    // First: looking at the boot directory may mount it.
    let boot = boot::boot(&root);
    let mounts = tables::mounts(&root.text("/proc/self/mountinfo").unwrap_or_default());
    let command_line = root.attribute("/proc/cmdline").unwrap_or_default();
    let view = view::view(&root, &mounts, &command_line, &|name| std::env::var(name).ok());
    let inventory = inventory::Inventory::read(&root);
    let asked = volumes::Asked::read(&root, mounts, &command_line);
    let volumes = volumes::volumes(&root, &inventory, &asked);
    let blocks = blocks::blocks(&root, &inventory, &asked, &volumes);
    let files = files::files(&root, &asked, &blocks);
    Ok(Facts {
        schema: SCHEMA,
        view,
        machine: super::machine(),
        kernel: root.attribute("/proc/sys/kernel/osrelease").unwrap_or_else(super::running_kernel),
        os,
        cpu: devices::cpu(&root),
        efi: devices::has_efi(&root),
        tpm2: devices::has_tpm2(&root),
        modules: devices::modules(&root),
        devices: devices::devices(&root),
        command_line,
        blocks,
        volumes,
        boot: Some(boot),
        files,
        gaps: root.into_gaps(),
    })
}
