//! What a machine is like, in single words. Features of a profile name the words that switch them on (`host = ["lvm"]`).
//!
//! docs/configuration.md has the table of all words.

use std::collections::BTreeSet;

use super::facts::{Block, BlockKind, Facts, Role, Volume};
use super::keyboard::keyboard;
use super::probe;

/// File systems that are on another machine, and the word for each.
const REMOTE: [(&str, &str); 7] = [
    ("nfs", "nfs"),
    ("nfs4", "nfs"),
    ("cifs", "cifs"),
    ("smb3", "cifs"),
    ("ceph", "ceph"),
    ("glusterfs", "glusterfs"),
    ("lustre", "lustre"),
];
/// Transports that go through the network of the machine, not through an adapter that hides it.
const NETWORKED: [&str; 6] = ["iscsi", "nvme-tcp", "nvme-rdma", "nbd", "aoe", "rbd"];
/// Options of crypttab and types of LUKS tokens, and the way of opening that each stands for.
const WAYS: [(&str, &str, &str); 4] = [
    ("tpm2-device", "systemd-tpm2", "luks:tpm2"),
    ("fido2-device", "systemd-fido2", "luks:fido2"),
    ("pkcs11-uri", "systemd-pkcs11", "luks:pkcs11"),
    // Not an option: clevis answers what is asked for.
    ("", "clevis", "luks:clevis"),
];

/// Returns the words for a machine: `luks`, `lvm`, `md`, `multipath`, `fs:btrfs`, `tpm2` …
pub fn traits(facts: &Facts) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for volume in &facts.volumes {
        of_volume(volume, &mut words);
    }
    for block in &facts.blocks {
        of_block(block, &mut words);
    }
    of_crypttab(facts, &mut words);
    let of_machine = [(facts.tpm2, "tpm2"), (facts.efi, "efi"), (!keyboard(facts).is_plain(), "keymap")];
    words.extend(of_machine.iter().filter(|(has, _)| *has).map(|(_, word)| (*word).to_owned()));
    words
}

fn of_volume(volume: &Volume, words: &mut BTreeSet<String>) {
    let mut add = |word: &str| {
        words.insert(word.to_owned());
    };
    match volume.fstype.as_str() {
        "" | "auto" | "swap" => {}
        "crypto_LUKS" => add("luks"),
        "btrfs" => {
            add("btrfs");
            add("fs:btrfs");
        }
        // What is only opened has no file system that anybody mounts, unless it holds a key.
        fstype if fstype.contains("_member") => {}
        fstype => add(&format!("fs:{fstype}")),
    }
    if let Some((_, word)) = REMOTE.iter().find(|(fstype, _)| *fstype == volume.fstype) {
        add(word);
        add("net");
    }
    if volume.role == Role::Resume {
        add("resume");
    }
}

fn of_block(block: &Block, words: &mut BTreeSet<String>) {
    let mut add = |word: &str| {
        words.insert(word.to_owned());
    };
    let has = |target: &str| block.targets.iter().any(|found| found == target);
    match block.kind {
        BlockKind::Crypt => add("luks"),
        BlockKind::Lvm => add("lvm"),
        BlockKind::Raid => add("md"),
        BlockKind::Multipath => add("multipath"),
        BlockKind::Bcache => add("bcache"),
        BlockKind::Loop => add("loop"),
        BlockKind::Disk | BlockKind::Partition | BlockKind::Mapping => {}
    }
    if block.kind == BlockKind::Lvm {
        let parts = [
            ("thin", "lvm:thin"),
            ("thin-pool", "lvm:thin"),
            ("raid", "lvm:raid"),
            ("mirror", "lvm:raid"),
            ("cache", "lvm:cache"),
            ("writecache", "lvm:cache"),
            ("vdo", "lvm:vdo"),
        ];
        parts.iter().filter(|(target, _)| has(target)).for_each(|(_, word)| add(word));
    }
    for target in ["integrity", "verity"] {
        if has(target) {
            add(target);
        }
    }
    if block.luks.as_ref().is_some_and(|luks| !luks.integrity.is_empty()) {
        add("integrity");
    }
    if let Some(luks) = &block.luks {
        add("luks");
        WAYS.iter().filter(|(_, token, _)| luks.tokens.contains(*token)).for_each(|(_, _, word)| add(word));
    }
    if let Some(transport) = &block.transport {
        add(transport);
        if NETWORKED.contains(&transport.as_str()) {
            add("net");
        }
    }
}

/// The way in which crypttab opens what the volumes stand on, and what is marked.
fn of_crypttab(facts: &Facts, words: &mut BTreeSet<String>) {
    let Some(text) = facts.text("/etc/crypttab") else { return };
    let is_opened = |name: &str| facts.blocks.iter().any(|block| block.mapped.as_deref() == Some(name));
    for line in probe::crypttab(text).iter().filter(|line| line.is_marked() || is_opened(&line.name)) {
        words.insert("luks".to_owned());
        let used = WAYS.iter().filter(|(option, ..)| !option.is_empty() && line.option(option).is_some());
        words.extend(used.map(|(_, _, word)| (*word).to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine that has everything at once.
    fn everything() -> Facts {
        let volume = |fstype: &str| format!(r#"{{"target": "/", "source": "x", "fstype": "{fstype}", "role": "root"}}"#);
        let types = ["ext4", "btrfs", "nfs", "nfs4", "cifs", "smb3", "ceph", "glusterfs", "lustre", "vfat", "crypto_LUKS", ""];
        let mut volumes: Vec<String> = types.map(volume).to_vec();
        volumes.push(r#"{"source": "y", "fstype": "swap", "role": "resume"}"#.to_owned());
        let block = |rest: &str| format!(r#"{{"name": "b", {rest}}}"#);
        let kinds = ["crypt", "raid", "multipath", "bcache", "loop", "partition"];
        let mut blocks: Vec<String> = kinds.map(|kind| block(&format!(r#""kind": "{kind}""#))).to_vec();
        let targets = ["thin", "thin-pool", "raid", "mirror", "cache", "writecache", "vdo", "linear"];
        blocks.extend(targets.map(|target| block(&format!(r#""kind": "lvm", "targets": ["{target}"]"#))));
        blocks.extend(["integrity", "verity"].map(|target| block(&format!(r#""kind": "mapping", "targets": ["{target}"]"#))));
        let ways = ["iscsi", "nvme-tcp", "nvme-rdma", "nvme-fc", "nvme-loop", "nbd", "aoe", "rbd", "fc", "usb"];
        blocks.extend(ways.map(|way| block(&format!(r#""kind": "disk", "transport": "{way}""#))));
        blocks.push(block(
            r#""kind": "disk", "luks": {"version": 2, "ciphers": [], "hashes": [], "tokens": ["systemd-tpm2", "clevis", "x"]}"#,
        ));
        let json = format!(
            r#"{{"schema": 1, "view": {{"kind": "machine"}}, "machine": "x86_64", "kernel": "6", "os": {{"id": "debian"}},
                "efi": true, "tpm2": true, "blocks": [{}], "volumes": [{}], "files": [{{"path": "/etc/crypttab", "mode": 420, "content":
                {{"text": "a x - x-initrd.attach,fido2-device=auto\nb x - x-initrd.attach,pkcs11-uri=auto\n"}}}}, {{"path": "/etc/vconsole.conf", "mode": 420, "content": {{"text": "KEYMAP=de\n"}}}}]}}"#,
            blocks.join(", "),
            volumes.join(", ")
        );
        serde_json::from_str(&json).expect("facts")
    }

    #[test]
    fn the_table_in_the_documentation_has_every_word() {
        let text = include_str!("../../docs/configuration.md");
        let table = text.split("| word | the machine has |").nth(1).expect("the table").split("\n\n").next().expect("its end");
        let cells = table.lines().filter_map(|line| line.split('|').nth(1));
        let documented: BTreeSet<&str> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
        let words = traits(&everything());
        let found: BTreeSet<&str> =
            words.iter().map(|word| if word.starts_with("fs:") { "fs:TYPE" } else { word.as_str() }).collect();
        assert_eq!(found, documented);
    }

    #[test]
    fn what_crypttab_does_not_open_in_the_initrd_does_not_count() {
        let mut facts = everything();
        facts.blocks.clear();
        facts.volumes.clear();
        facts.files.truncate(1);
        assert_eq!(traits(&facts).into_iter().collect::<Vec<_>>(), ["efi", "luks", "luks:fido2", "luks:pkcs11", "tpm2"]);
        facts.files[0].content = super::super::facts::FileContent::Text("a x - fido2-device=auto\n".to_owned());
        assert_eq!(traits(&facts).into_iter().collect::<Vec<_>>(), ["efi", "tpm2"]);
    }
}
