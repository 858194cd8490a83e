//! What a machine is like, in single words. Features of a profile name the words that switch them on (`host = ["lvm"]`).

use std::collections::BTreeSet;

use super::facts::{BlockKind, Facts};
use super::keyboard::keyboard;

/// Returns the words for a machine: `luks`, `lvm`, `md`, `multipath`, `fs:btrfs`, `tpm2` …
pub fn traits(facts: &Facts) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for volume in &facts.volumes {
        words.insert(format!("fs:{}", volume.fstype));
    }
    for block in &facts.blocks {
        let word = match block.kind {
            BlockKind::Crypt => Some("luks"),
            BlockKind::Lvm => Some("lvm"),
            BlockKind::Raid => Some("md"),
            BlockKind::Multipath => Some("multipath"),
            _ => None,
        };
        words.extend(word.map(str::to_owned));
    }
    if facts.tpm2 {
        words.insert("tpm2".to_owned());
    }
    if !keyboard(facts).is_plain() {
        words.insert("keymap".to_owned());
    }
    words
}
