//! The ways to a root that users of initrds have, each with what shows that it works. The numbers are those of the rows by which
//! initrd generators were compared when this project began; several boots can be needed for one row.

use std::collections::BTreeSet;

use crate::peer_boots::{Results, summary};
use crate::peers::Peer;
use crate::scenarios::all;

/// What shows that a way works.
pub enum Shown {
    /// These boots, all of them; each has its negative twin.
    Boots(&'static [&'static str]),
    /// It cannot be booted without hardware; that the image holds all that it needs is checked by a test that knows it from elsewhere.
    Content(&'static str),
    /// It cannot be had here, and why.
    Impossible(&'static str),
    /// Nothing yet.
    Open(&'static str),
}

use Shown::{Boots, Content, Impossible, Open};

/// A way to a root.
pub struct Row {
    /// Its number.
    pub number: u8,
    /// What it is.
    pub way: &'static str,
    /// What shows it.
    pub shown: Shown,
}

const fn row(number: u8, way: &'static str, shown: Shown) -> Row {
    Row { number, way, shown }
}

const FEATURES: &str = "tests/it/features.rs";

/// All of them, in order.
pub const ROWS: &[Row] = &[
    row(1, "ext4 by label", Boots(&["trixie-ext4", "bookworm-ext4", "sid-ext4", "uki-ovmf"])),
    row(2, "xfs", Boots(&["trixie-xfs"])),
    row(3, "btrfs, subvolume", Boots(&["trixie-btrfs", "trixie-btrfs-subvolume"])),
    row(4, "btrfs over several devices, without one of them", Boots(&["trixie-btrfs-raid1", "btrfs-degraded"])),
    row(5, "f2fs", Boots(&["trixie-f2fs"])),
    row(6, "separate /usr", Boots(&["trixie-separate-usr"])),
    row(7, "LUKS2 by passphrase", Boots(&["trixie-luks2", "bookworm-luks2", "sid-luks2", "trixie-keymap"])),
    row(
        8,
        "LUKS2 by key file, key on another disk, detached header",
        Boots(&["trixie-luks2-key", "trixie-luks2-key-disk", "trixie-luks2-detached"]),
    ),
    row(
        9,
        "LUKS2 by TPM: its measurements, a PIN, a signed policy",
        Boots(&["trixie-luks2-tpm", "trixie-luks2-tpm-pin", "trixie-luks2-tpm-signed"]),
    ),
    row(10, "LUKS2 by recovery key", Boots(&["trixie-luks2-recovery"])),
    row(11, "LUKS2 by FIDO2", Content(FEATURES)),
    row(12, "LUKS2 by PKCS#11", Open("no feature yet")),
    row(13, "clevis and tang", Boots(&["trixie-luks2-tang"])),
    row(14, "LVM", Boots(&["trixie-lvm", "bookworm-lvm", "sid-lvm"])),
    row(15, "LVM thin, raid", Boots(&["trixie-lvm-thin", "trixie-lvm-raid1"])),
    row(16, "LUKS2 in LVM, LVM in LUKS2", Boots(&["trixie-luks2-in-lvm", "trixie-lvm-in-luks2"])),
    row(
        17,
        "md of every level, degraded",
        Boots(&["trixie-md", "trixie-md-raid0", "trixie-md-raid5", "trixie-md-raid6", "trixie-md-raid10", "trixie-md-degraded"]),
    ),
    row(18, "LUKS2 on md, LVM in LUKS2 on md", Boots(&["trixie-luks2-on-md", "trixie-lvm-in-luks2-on-md"])),
    row(19, "dm-integrity, alone and under LUKS2", Boots(&["trixie-integrity", "trixie-luks2-integrity"])),
    row(20, "dm-verity", Boots(&["trixie-verity"])),
    row(21, "dm-verity with a signed root hash", Open("the kernel would have to know our key")),
    row(22, "root by the type of its partition", Boots(&["uki-gpt-auto"])),
    row(23, "multipath", Boots(&["trixie-multipath"])),
    row(24, "NFS 4", Boots(&["trixie-nfs4"])),
    row(25, "NFS 3, a bridge", Boots(&["trixie-nfs3", "trixie-nfs4-bridge"])),
    row(26, "iSCSI", Boots(&["trixie-iscsi"])),
    row(27, "iSCSI with CHAP, two targets", Boots(&["trixie-iscsi-chap", "trixie-iscsi-two"])),
    row(28, "NVMe over TCP", Boots(&["trixie-nvme-tcp"])),
    row(29, "NBD", Boots(&["trixie-nbd", "trixie-netroot-nbd"])),
    row(30, "live image by HTTP", Boots(&["trixie-live-http"])),
    row(31, "squashfs, erofs, overlay", Boots(&["trixie-squashfs", "trixie-erofs"])),
    row(32, "bcache", Boots(&["trixie-bcache"])),
    row(33, "bcachefs", Open("no feature yet")),
    row(34, "ZFS", Impossible("its module is compiled on the machine; no package of Debian has it")),
    row(35, "stratis", Impossible("no package in bookworm or trixie")),
    row(36, "systemd-repart at the first boot, and beside a root", Boots(&["trixie-repart-first-boot", "trixie-repart"])),
    row(37, "resume from swap", Boots(&["trixie-resume"])),
    row(38, "credentials by SMBIOS and by QEMU's firmware", Boots(&["trixie-luks2", "fw-cfg-credential"])),
    row(39, "system extensions in the initrd", Boots(&["trixie-sysext"])),
    row(40, "unified kernel image and Secure Boot", Boots(&["uki-secure-boot", "live-uki", "live-own-uki"])),
    row(41, "measured image, key by a signed policy", Boots(&["uki-measured"])),
    row(42, "several profiles in a unified image, addons", Boots(&["uki-profile", "uki-addon"])),
    row(43, "kdump", Boots(&["trixie-kdump"])),
    row(44, "emergency shell by its policy", Boots(&["emergency-shell", "emergency-locked"])),
    row(45, "keyboard's map", Boots(&["trixie-keymap"])),
    row(46, "passphrase asked by plymouth", Boots(&["trixie-plymouth"])),
    row(47, "microcode", Boots(&["microcode", "after-early"])),
    row(48, "FIPS", Open("no feature yet")),
    row(
        49,
        "virtio, SCSI, NVMe with 4k sectors, USB, SATA",
        Boots(&["trixie-ext4", "virtio-scsi-machine", "nvme-4k", "usb-disk", "ahci-disk"]),
    ),
    row(50, "unlocked over SSH", Boots(&["trixie-ssh", "trixie-ssh-pipe"])),
    row(51, "Wi-Fi, cellular", Impossible("no emulated radio")),
    row(
        52,
        "a root that is late, missing or wrong; a wrong passphrase",
        Boots(&["late-disk", "disk-never-comes", "no-root", "wrong-passphrase"]),
    ),
    row(53, "a root that somebody exchanged", Open("")),
    row(54, "arm64, riscv64", Boots(&["arm64-ext4"])),
    row(55, "back into the image at shutdown", Open("")),
];

/// Returns the table; `result` gives what the last run of a boot left in its row, if there is such a boot, and `peers` has what came of
/// the other generators.
pub fn table(result: impl Fn(&str) -> Option<String>, peers: &Results) -> Result<String, String> {
    let mut text = String::from(INTRODUCTION);
    for Row { number, way, shown } in ROWS {
        let (state, by, twins) = match shown {
            Boots(boots) => {
                let known = |boot: &str| result(boot).ok_or_else(|| format!("row {number}: there is no boot `{boot}`"));
                let results = boots.iter().map(|boot| known(boot)).collect::<Result<Vec<_>, _>>()?;
                // What a person has to see before the machine counts as a boot, too: the machine does what it should.
                let passed = results.iter().filter(|result| result.starts_with("boots") || result.starts_with("refused")).count();
                let state =
                    if passed == boots.len() { "booted".to_owned() } else { format!("{passed} of {} booted", boots.len()) };
                let of = |boot: &&str| all().find(|scenario| scenario.name == *boot).and_then(|scenario| scenario.twin);
                let twins: BTreeSet<&str> = boots.iter().filter_map(of).collect();
                let twins =
                    twins.into_iter().map(|twin| Ok(format!("`{twin}` {}", known(twin)?.split(',').next().unwrap_or_default())));
                (state, named(boots), twins.collect::<Result<Vec<_>, String>>()?.join(", "))
            }
            Content(test) => {
                ("content-checked".to_owned(), format!("`{test}`"), "a build without one of its files is refused".to_owned())
            }
            Impossible(why) => ("not possible here".to_owned(), (*why).to_owned(), String::new()),
            Open(what) => ("not yet".to_owned(), (*what).to_owned(), String::new()),
        };
        let boots: &[&str] = if let Boots(boots) = shown { boots } else { &[] };
        let others: String = Peer::ALL.iter().map(|peer| format!(" {} |", summary(peers, *peer, boots))).collect();
        text.push_str(&format!("| {number} | {way} | {state} | {by} | {twins} |{others}\n"));
    }
    Ok(text)
}

fn named(boots: &[&str]) -> String {
    boots.iter().map(|boot| format!("`{boot}`")).collect::<Vec<_>>().join(", ")
}

const INTRODUCTION: &str = "
Every way to a root that initrds are asked for, and what shows that ours do it: boots of the tables above, or a test of what the image holds. The
boots of one row can share a negative twin: the same machine without what makes it boot. The last columns say what other generators make of
the same disks; the table after this one says with what.

| # | way | state | shown by | negative twins | mkosi-initrd | dracut | initramfs-tools |
|---|---|---|---|---|---|---|---|
";
