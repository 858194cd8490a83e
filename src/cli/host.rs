//! `host`: what this machine is, as far as an image depends on it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use super::args::{Global, HostArgs};
use super::{Failure, print};
use crate::base::size::Size;
use crate::config;
use crate::host::facts::{Block, BlockKind, Cpu, Facts, FileContent, HostFile, Role, View, Volume};
use crate::host::{probe, traits};

/// Runs the command.
pub fn run(args: &HostArgs, global: &Global) -> Result<(), Failure> {
    let mut facts = probe::probe(Path::new("/"))?;
    if !args.secrets {
        withhold(&mut facts);
    }
    match global.json {
        true => print(&format!("{}\n", serde_json::to_string_pretty(&facts).expect("invariant: facts are plain data"))),
        false => print(&as_text(&facts, &features(&facts, global))),
    }
}

fn withhold(facts: &mut Facts) {
    for file in facts.files.iter_mut().filter(|file| file.secret) {
        file.content = FileContent::Withheld;
    }
}

/// The features of the machine's own profile that its traits switch on; none where no profile is made for it.
fn features(facts: &Facts, global: &Global) -> BTreeSet<String> {
    let words = traits::traits(facts);
    // A drop-in that is wrong is an error of `build`, which needs it; here it would hide the machine.
    let Ok(layers) = config::load(&facts.os.id, Some(&global.config_root), &global.config) else { return BTreeSet::new() };
    layers.features_for(&words).into_iter().map(|item| item.text).collect()
}

fn as_text(facts: &Facts, features: &BTreeSet<String>) -> String {
    let mut text = head(facts);
    for volume in &facts.volumes {
        text.push('\n');
        text.push_str(&volume_line(volume));
        for name in volume.block.iter().chain(&volume.members) {
            tree(facts, name, &mut Vec::new(), &mut text);
        }
    }
    let joined = |words: &BTreeSet<String>| words.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
    let _ = writeln!(text, "\ntraits    {}", joined(&traits::traits(facts)));
    let _ = writeln!(text, "features  {}", if features.is_empty() { "none".to_owned() } else { joined(features) });
    if !facts.files.is_empty() {
        text.push_str("\nfiles that an image may take:\n");
        text.extend(facts.files.iter().map(file_line));
    }
    if !facts.gaps.is_empty() {
        text.push_str("\nnot found out:\n");
        text.extend(facts.gaps.iter().map(|gap| format!("  {gap}\n")));
    }
    // Labels and names come from disks, and must not steer a terminal.
    text.chars().map(|c| if c.is_control() && c != '\n' { '?' } else { c }).collect()
}

fn head(facts: &Facts) -> String {
    let view = match &facts.view {
        View::Machine => "the whole machine".to_owned(),
        View::Partial(why) => format!("not the whole machine: {why}"),
    };
    let release =
        [&facts.os.version_id, &facts.os.codename].into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(" ");
    let mut text = format!("seen      {view}\nsystem    {} {release}, {}\n", facts.os.id, facts.machine);
    let extras = [(facts.efi, "started by UEFI"), (facts.tpm2, "TPM 2.0")];
    let extras: String = extras.iter().filter(|(has, _)| *has).map(|(_, word)| format!(", {word}")).collect();
    let _ = writeln!(text, "kernel    {}{extras}", facts.kernel);
    if let Some(Cpu { vendor, family, model, stepping, hypervisor }) = &facts.cpu {
        let shown = if *hypervisor { ", as a hypervisor shows it" } else { "" };
        let _ = writeln!(text, "processor {vendor} family {family} model {model} stepping {stepping}{shown}");
    }
    let _ = writeln!(text, "drivers   {} modules loaded, {} devices", facts.modules.len(), facts.devices.len());
    if let Some(boot) = &facts.boot {
        let _ = writeln!(text, "boot      {} ({})", boot.directory, boot.fstype);
    }
    text
}

/// `/ ← ext4, UUID=…`, and for what has no directory: what it is for.
fn volume_line(volume: &Volume) -> String {
    let role = match volume.role {
        Role::Resume => "resume",
        Role::Attach => "attach",
        Role::Root | Role::Usr | Role::Mount => "",
    };
    let place = volume.target.as_deref().or(volume.name.as_deref());
    let what = [Some(role).filter(|role| !role.is_empty()), place].into_iter().flatten().collect::<Vec<_>>().join(" ");
    let fstype = if volume.fstype.is_empty() { "unknown" } else { &volume.fstype };
    let options = if volume.options.is_empty() { String::new() } else { format!(" ({})", volume.options) };
    format!("{what} ← {fstype} {}{options}\n", volume.source)
}

/// A device and below it what it is made of. `way` keeps a table that bites its own tail from going on for ever.
fn tree<'a>(facts: &'a Facts, name: &'a str, way: &mut Vec<&'a str>, text: &mut String) {
    if way.contains(&name) {
        return;
    }
    way.push(name);
    let indent = "  ".repeat(way.len());
    match facts.block(name) {
        None => drop(writeln!(text, "{indent}← {name}")),
        Some(block) => {
            let shown = block.mapped.as_deref().unwrap_or(&block.name);
            let _ = writeln!(text, "{indent}← {shown}: {}", block_words(block));
            for parent in &block.parents {
                tree(facts, parent, way, text);
            }
        }
    }
    way.pop();
}

fn block_words(block: &Block) -> String {
    let targets = block.targets.join(", ");
    let mut words = match block.kind {
        BlockKind::Disk => "disk".to_owned(),
        BlockKind::Partition => "partition".to_owned(),
        BlockKind::Crypt => "opened volume".to_owned(),
        BlockKind::Lvm => format!("logical volume ({targets})"),
        BlockKind::Raid => format!(
            "array ({})",
            [block.targets.first(), block.metadata.as_ref()].map(|word| word.map_or("?", String::as_str)).join(", metadata ")
        ),
        BlockKind::Multipath => "multipath map".to_owned(),
        BlockKind::Mapping => format!("mapping ({targets})"),
        BlockKind::Bcache => "bcache".to_owned(),
        BlockKind::Loop => format!("the file {}", block.backing.as_deref().unwrap_or("?")),
    };
    if let Some(luks) = &block.luks {
        let sets = [&luks.ciphers, &luks.hashes, &luks.tokens, &luks.integrity];
        let sets = sets.map(|set| set.iter().map(String::as_str).collect::<Vec<_>>().join(" "));
        let sets: Vec<String> = sets.into_iter().filter(|set| !set.is_empty()).collect();
        let _ = write!(words, " with LUKS{} ({})", luks.version, sets.join("; "));
    } else if let Some(fstype) = block.fstype.as_ref().filter(|fstype| fstype.ends_with("_member") || *fstype == "crypto_LUKS") {
        let _ = write!(words, " with {fstype}");
    }
    if block.parents.is_empty() {
        let reached = block.transport.iter().map(|transport| format!("by {transport}")).chain(block.drivers.iter().cloned());
        let _ = write!(words, " [{}]", reached.collect::<Vec<_>>().join(" "));
    }
    words
}

fn file_line(file: &HostFile) -> String {
    let what = match &file.content {
        FileContent::Text(text) => Size(text.len() as u64).to_string(),
        FileContent::Base64(text) => Size(text.len() as u64 / 4 * 3).to_string(),
        FileContent::Link(target) => format!("→ {target}"),
        FileContent::Withheld => "content withheld".to_owned(),
        FileContent::Unread(why) => format!("not read: {why}"),
    };
    let secret = if file.secret { "secret, " } else { "" };
    format!("  {} ({secret}{what})\n", file.path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A laptop: ext4 on LVM on LUKS on NVMe.
    fn laptop() -> Facts {
        let json = r#"{
            "schema": 1, "view": {"kind": "machine"}, "machine": "x86_64", "kernel": "6.12.1",
            "os": {"id": "debian", "codename": "trixie", "version_id": "13"},
            "cpu": {"vendor": "GenuineIntel", "family": 6, "model": 140, "stepping": 1}, "efi": true, "tpm2": true,
            "blocks": [
                {"name": "dm-0", "kind": "crypt", "mapped": "luks-1", "parents": ["nvme0n1p3"], "targets": ["crypt"], "fstype": "LVM2_member"},
                {"name": "dm-1", "kind": "lvm", "mapped": "vg0-root", "parents": ["dm-0"], "targets": ["linear"], "fstype": "ext4"},
                {"name": "nvme0n1", "kind": "disk", "drivers": ["nvme"]},
                {"name": "nvme0n1p3", "kind": "partition", "parents": ["nvme0n1"], "fstype": "crypto_LUKS",
                 "luks": {"version": 2, "ciphers": ["aes-xts-plain64"], "hashes": ["argon2id", "sha256"], "tokens": ["systemd-tpm2"]}}
            ],
            "volumes": [{"target": "/", "source": "/dev/mapper/vg0-root", "block": "dm-1", "fstype": "ext4", "options": "defaults", "role": "root"}],
            "boot": {"directory": "/boot", "fstype": "ext4"},
            "files": [
                {"path": "/etc/crypttab", "mode": 420, "content": {"text": "luks-1 UUID=1 /k luks\n"}},
                {"path": "/k", "mode": 256, "content": {"base64": "AAECAw=="}, "secret": true}
            ],
            "gaps": ["a \u001b[31mgap"]
        }"#;
        serde_json::from_str(json).expect("facts")
    }

    #[test]
    fn a_person_can_read_it() {
        let mut facts = laptop();
        withhold(&mut facts);
        let text = as_text(&facts, &BTreeSet::from(["luks".to_owned(), "lvm".to_owned()]));
        let wanted = "\
seen      the whole machine
system    debian 13 trixie, x86_64
kernel    6.12.1, started by UEFI, TPM 2.0
processor GenuineIntel family 6 model 140 stepping 1
drivers   0 modules loaded, 0 devices
boot      /boot (ext4)

/ ← ext4 /dev/mapper/vg0-root (defaults)
  ← vg0-root: logical volume (linear)
    ← luks-1: opened volume with LVM2_member
      ← nvme0n1p3: partition with LUKS2 (aes-xts-plain64; argon2id sha256; systemd-tpm2)
        ← nvme0n1: disk [nvme]

traits    efi fs:ext4 luks luks:tpm2 lvm tpm2
features  luks lvm

files that an image may take:
  /etc/crypttab (22 B)
  /k (secret, content withheld)

not found out:
  a ?[31mgap
";
        assert_eq!(text, wanted);
    }

    #[test]
    fn a_table_that_bites_its_own_tail_ends() {
        let mut facts = laptop();
        facts.blocks[2].parents = vec!["dm-1".to_owned(), "nowhere".to_owned()];
        assert!(as_text(&facts, &BTreeSet::new()).contains("← nowhere"));
    }

    #[test]
    fn only_secrets_are_withheld() {
        let mut facts = laptop();
        withhold(&mut facts);
        assert!(matches!(facts.file("/k").expect("a key").content, FileContent::Withheld));
        assert!(facts.text("/etc/crypttab").is_some());
    }
}
