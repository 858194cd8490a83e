//! The part of the hardware database that an initrd can use, compiled: keys that keyboards misreport.
//!
//! Debian makes all of it, 13.5 MB, in a maintainer script. What names devices is of no use before the root is there; what maps
//! scan codes may be, where `60-evdev.rules` is kept to ask for it. The sources go: nothing reads them in an initrd.

use std::collections::BTreeMap;

use super::{Context, Error, Notes};
use crate::format::hwdb::Hwdb;
use crate::tree::{Entry, Origin, Tree, TreePath};

const DIRECTORIES: &[&str] = &["etc/udev/hwdb.d", "usr/lib/udev/hwdb.d"];
const COMPILED: &str = "usr/lib/udev/hwdb.bin";
/// What packages bring that is for keyboards; what the user adds is always for something.
const KEYBOARD: &[u8] = b"60-keyboard.hwdb";
/// The version of the format's maker, which readers only show.
const VERSION: u64 = 257;

pub(super) fn run(tree: &mut Tree, _: &Context<'_>, notes: &mut Notes) -> Result<(), Error> {
    let mut files: BTreeMap<Vec<u8>, TreePath> = BTreeMap::new();
    let mut sources = Vec::new();
    for directory in DIRECTORIES.iter().map(|directory| TreePath::literal(directory)) {
        for (path, entry) in tree.children(&directory).filter(|(path, _)| path.name().ends_with(b".hwdb")) {
            sources.push(path.clone());
            if path.name() == KEYBOARD || matches!(entry.origin, Origin::Config(_)) {
                files.entry(path.name().to_vec()).or_insert_with(|| path.clone());
            }
        }
    }
    let mut hwdb = Hwdb::new();
    for path in files.values() {
        if let Some(content) = tree.read(path) {
            for (line, reason) in hwdb.add_file(&path.to_string(), content.bytes()) {
                notes.warn(format!("`{path}` line {line} was skipped: {reason}"));
            }
        }
    }
    for path in sources {
        tree.remove(&path);
    }
    if hwdb.is_empty() {
        return Ok(());
    }
    notes.put(tree, &TreePath::literal(COMPILED), Entry::file(hwdb.write(VERSION), notes.origin()).with_mode(0o444))
}
