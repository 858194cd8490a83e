//! What the program finds on machines of many kinds, and on this one.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use mkinitrd_pkg::host::facts::{Block, BlockKind, Facts, FileContent, Role, View, Volume};
use mkinitrd_pkg::host::{probe, traits};

use crate::machine::{Machine, laptop, luks_volume};
use crate::program::{effort, program, ran};

fn words(facts: &Facts) -> String {
    traits::traits(facts).into_iter().collect::<Vec<_>>().join(" ")
}

fn names<'a>(blocks: impl IntoIterator<Item = &'a Block>) -> Vec<&'a str> {
    blocks.into_iter().map(|block| block.name.as_str()).collect()
}

#[track_caller]
fn volume(facts: &Facts, role: Role) -> &Volume {
    facts.volumes.iter().find(|volume| volume.role == role).unwrap_or_else(|| panic!("no {role:?} in {facts:#?}"))
}

#[track_caller]
fn block<'a>(facts: &'a Facts, name: &str) -> &'a Block {
    facts.block(name).unwrap_or_else(|| panic!("no {name} in {:#?}", facts.blocks))
}

#[track_caller]
fn partial(facts: &Facts, word: &str) {
    match &facts.view {
        View::Partial(why) => assert!(why.contains(word), "{why}"),
        View::Machine => panic!("taken for a whole machine"),
    }
}

#[track_caller]
fn has_gap(facts: &Facts, words: &[&str]) {
    let found = facts.gaps.iter().any(|gap| words.iter().all(|word| gap.contains(word)));
    assert!(found, "{words:?} are not in {:#?}", facts.gaps);
}

fn list(set: &BTreeSet<String>) -> String {
    set.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_laptop_with_nvme_luks_lvm_and_a_tpm() {
    let machine = laptop();
    let facts = machine.facts();
    assert_eq!(facts.view, View::Machine);
    assert_eq!(words(&facts), "efi fs:ext4 luks luks:tpm2 lvm resume tpm2");
    let root = volume(&facts, Role::Root);
    assert_eq!((root.source.as_str(), root.options.as_str()), ("/dev/mapper/vg0-root", "errors=remount-ro"));
    assert_eq!(names(facts.stack_of(root)), ["dm-1", "dm-0", "nvme0n1p3", "nvme0n1"]);
    assert_eq!(volume(&facts, Role::Resume).block.as_deref(), Some("dm-2"));
    assert_eq!(facts.volumes.len(), 2, "the marked entry stands under the root: {:#?}", facts.volumes);

    let locked = block(&facts, "nvme0n1p3");
    assert_eq!((locked.kind, locked.partuuid.as_deref()), (BlockKind::Partition, Some("9a27-03")));
    let luks = locked.luks.as_ref().expect("a header");
    assert_eq!((luks.version, list(&luks.ciphers).as_str()), (2, "aes-xts-plain64"));
    assert_eq!((list(&luks.hashes).as_str(), list(&luks.tokens).as_str()), ("pbkdf2 sha256", "systemd-tpm2"));
    assert_eq!(block(&facts, "nvme0n1").drivers, ["nvme", "pcieport"]);
    assert_eq!(block(&facts, "nvme0n1").transport, None);
    assert_eq!(block(&facts, "dm-0").targets, ["crypt"]);
    assert_eq!(block(&facts, "dm-1").targets, ["linear"]);
    assert_eq!(block(&facts, "dm-1").mapped.as_deref(), Some("vg0-root"));

    let cpu = facts.cpu.as_ref().expect("a processor");
    assert_eq!((cpu.vendor.as_str(), cpu.family, cpu.model, cpu.stepping, cpu.hypervisor), ("GenuineIntel", 6, 140, 1, false));
    assert_eq!((facts.kernel.as_str(), &facts.modules[..]), ("6.12.48+deb13-amd64", &["ext4".to_owned(), "nvme".to_owned()][..]));
    let nvme = facts.devices.iter().find(|device| device.path.ends_with("0000:03:00.0")).expect("the controller");
    assert_eq!((nvme.modalias.as_str(), nvme.driver.as_deref()), ("pci:v0000144Dd0000A808sv0sd0bc01sc08i02", Some("nvme")));
    assert_eq!(facts.devices.len(), 4, "{:#?}", facts.devices);
    let boot = facts.boot.as_ref().expect("a boot directory");
    assert_eq!((boot.directory.as_str(), boot.fstype.as_str()), ("/boot", "ext4"));

    let paths: Vec<&str> = facts.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["/etc/crypttab", "/etc/fstab", "/etc/vconsole.conf"], "neither shadow nor machine-id nor keys of ssh");
    has_gap(&facts, &["`de-latin1`", "not installed"]);
    assert_eq!(facts.gaps.len(), 1, "{:#?}", facts.gaps);
}

#[test]
fn facts_come_back_from_json_as_they_were_and_unknown_keys_are_refused() {
    let facts = laptop().facts();
    let text = serde_json::to_string(&facts).expect("JSON");
    assert_eq!(serde_json::from_str::<Facts>(&text).expect("facts"), facts);
    for (known, unknown) in [("\"efi\":", "\"bios\":"), ("\"modalias\":", "\"alias\":"), ("\"fstype\":", "\"type\":")] {
        let wrong = text.replacen(known, unknown, 1);
        assert_ne!(wrong, text, "{known}");
        let err = serde_json::from_str::<Facts>(&wrong).expect_err(unknown).to_string();
        assert!(err.contains("unknown field") || err.contains("missing field"), "{err}");
    }
}

#[test]
fn headers_are_read_as_cryptsetup_reads_them() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let iterations = ["--pbkdf-force-iterations", "1000"];
    let argon = ["--pbkdf", "argon2id", "--pbkdf-memory", "32", "--pbkdf-parallel", "1", "--pbkdf-force-iterations", "4"];
    let cases: [(&str, Vec<&str>, &[&str]); 4] = [
        ("one", [&["--type", "luks1", "--hash", "sha512"][..], &iterations].concat(), &[]),
        ("two", [&["--type", "luks2", "--pbkdf", "pbkdf2", "--cipher", "aes-cbc-essiv:sha256"][..], &iterations].concat(), &[]),
        ("argon", [&["--type", "luks2", "--label", "a disk"][..], &argon].concat(), &[]),
        (
            "large",
            [&["--type", "luks2", "--luks2-metadata-size", "64k"][..], &argon].concat(),
            &[r#"{"type":"systemd-fido2","keyslots":["0"]}"#, r#"{"type":"systemd-recovery","keyslots":["0"]}"#],
        ),
    ];
    for (name, options, tokens) in cases {
        let path = dir.path().join(name);
        luks_volume(&path, &options, tokens);
        let header = mkinitrd_pkg::format::luks::read(&mut fs::File::open(&path).expect("opening")).expect(name);
        let dump = Command::new("cryptsetup").arg("luksDump").arg(&path).output().expect("cryptsetup");
        let dump = String::from_utf8(dump.stdout).expect("text");
        let field = |key: &str| {
            let mut lines = dump.lines().filter_map(|line| line.trim().split_once(':'));
            lines.find(|(found, _)| *found == key).map(|(_, value)| value.trim().to_owned())
        };
        assert_eq!(Some(header.version.to_string()), field("Version"), "{name}");
        assert_eq!(Some(header.uuid.clone()), field("UUID"), "{name}");
        if header.version == 1 {
            let cipher = format!("{}-{}", field("Cipher name").expect("a cipher"), field("Cipher mode").expect("a mode"));
            assert_eq!(list(&header.ciphers), cipher);
            assert_eq!(list(&header.hashes), format!("pbkdf2 {}", field("Hash spec").expect("a hash")));
            continue;
        }
        assert_eq!(header.label, field("Label").expect("a label").replace("(no label)", ""), "{name}");
        assert!(header.ciphers.contains(&field("cipher").expect("a cipher")), "{name}: {:?}", header.ciphers);
        assert!(header.hashes.contains(&field("PBKDF").expect("a KDF")), "{name}: {:?}", header.hashes);
        assert!(header.hashes.contains(&field("AF hash").expect("a hash")), "{name}: {:?}", header.hashes);
        let imported: BTreeSet<String> = tokens.iter().filter_map(|token| Some(token.split('"').nth(3)?.to_owned())).collect();
        assert_eq!(header.tokens, imported, "{name}");
        // The second copy, when the first is gone.
        let mut bytes = fs::read(&path).expect("reading");
        bytes[..4096].fill(0);
        assert_eq!(
            mkinitrd_pkg::format::luks::read(&mut std::io::Cursor::new(bytes)).expect("the second copy"),
            header,
            "{name}"
        );
    }
}

/// A SATA disk behind AHCI.
fn sata(machine: &Machine, letter: char, number: usize) -> String {
    let port = format!("pci0000:00/0000:00:17.0/ata{number}/host{number}/target{number}:0:0/{number}:0:0:0");
    machine.device("pci0000:00/0000:00:17.0", "pci:v00008086d0000A352sv0sd0bc01sc06i01", "ahci", Some("ahci"));
    machine.device(&port, "scsi:t-0x00", "sd", Some("sd_mod"));
    let disk = format!("{port}/block/sd{letter}");
    machine.block(&disk, &format!("8:{}", (number - 1) * 16));
    disk
}

#[test]
fn btrfs_on_two_disks() {
    let machine = Machine::new();
    for (letter, number) in [('a', 1), ('b', 2)] {
        let disk = sata(&machine, letter, number);
        let number = format!("8:{}", (number - 1) * 16 + 2);
        machine.partition(&disk, &format!("sd{letter}2"), &number);
        machine.udev(&number, &["ID_FS_TYPE=btrfs", "ID_FS_UUID=b7f5", "ID_FS_LABEL=pool"]);
        machine.link(&format!("sys/fs/btrfs/b7f5/devices/sd{letter}2"), &format!("../../../../class/block/sd{letter}2"));
    }
    machine.directory("sys/fs/btrfs/features");
    machine.mounts(&[
        "0:30 / btrfs /dev/sda2 /@ rw,space_cache=v2,subvolid=256,subvol=/@",
        "0:30 /usr btrfs /dev/sda2 /@usr rw,subvol=/@usr",
        "0:30 /home btrfs /dev/sda2 /@home rw,subvol=/@home",
    ]);
    machine.file("etc/fstab", "UUID=b7f5 / btrfs subvol=@ 0 0\nUUID=b7f5 /home btrfs subvol=@home,x-initrd.mount 0 0\n");
    let facts = machine.facts();
    assert_eq!(words(&facts), "btrfs fs:btrfs");
    let root = volume(&facts, Role::Root);
    assert_eq!((root.source.as_str(), root.options.as_str()), ("UUID=b7f5", "subvol=@"));
    assert_eq!((root.block.as_deref(), &root.members[..]), (Some("sda2"), &["sdb2".to_owned()][..]));
    assert_eq!(names(facts.stack_of(root)), ["sda2", "sda", "sdb2", "sdb"]);
    let usr = volume(&facts, Role::Usr);
    assert_eq!((usr.source.as_str(), usr.options.as_str()), ("UUID=b7f5", "rw,relatime,subvol=/@usr"));
    assert_eq!(volume(&facts, Role::Mount).target.as_deref(), Some("/home"));
    assert_eq!(block(&facts, "sdb").drivers, ["ahci", "sd", "sd_mod"]);
    assert!(facts.gaps.is_empty(), "{:#?}", facts.gaps);
}

#[test]
fn a_server_with_raid_1_and_lvm() {
    let machine = Machine::new();
    for (letter, number) in [('a', 1), ('b', 2)] {
        let disk = sata(&machine, letter, number);
        let number = format!("8:{}", (number - 1) * 16 + 1);
        machine
            .partition(&disk, &format!("sd{letter}1"), &number)
            .udev(&number, &["ID_FS_TYPE=linux_raid_member", "ID_FS_UUID=4a1d"]);
    }
    machine.array("md127", "9:127", "raid1", "1.2", &["sda1", "sdb1"]).udev("9:127", &["ID_FS_TYPE=LVM2_member"]);
    let uuid = |letter: &str| format!("LVM-{}", letter.repeat(64));
    machine.mapping("dm-0", "254:0", "vg-pool_tmeta", &(uuid("a") + "-tmeta"), &["md127"]);
    machine.mapping("dm-1", "254:1", "vg-pool_tdata", &(uuid("b") + "-tdata"), &["md127"]);
    machine.mapping("dm-2", "254:2", "vg-pool-tpool", &(uuid("c") + "-tpool"), &["dm-0", "dm-1"]);
    machine.mapping("dm-3", "254:3", "vg-root", &uuid("d"), &["dm-2"]).udev("254:3", &["ID_FS_TYPE=xfs", "ID_FS_UUID=700t"]);
    machine.mapping("dm-4", "254:4", "vg-usr_rimage_0", &uuid("e"), &["md127"]);
    machine.mapping("dm-5", "254:5", "vg-usr", &uuid("f"), &["dm-4"]).udev("254:5", &["ID_FS_TYPE=ext4", "ID_FS_UUID=0542"]);
    machine.mounts(&["254:3 / xfs /dev/mapper/vg-root", "254:5 /usr ext4 /dev/mapper/vg-usr"]);
    machine.file("etc/fstab", "/dev/vg/root / xfs defaults 0 0\nUUID=0542 /usr/ ext4 ro 0 0\n");
    machine.file("etc/mdadm/mdadm.conf", "ARRAY /dev/md/0 UUID=4a1d\n");
    machine.file("etc/lvm/lvm.conf", "# shipped\ndevices {\n\t# filter\n}\n");
    machine.file("etc/lvm/devices/system.devices", "VERSION=1.1.2\n");
    let facts = machine.facts();
    assert_eq!(words(&facts), "fs:ext4 fs:xfs lvm lvm:raid lvm:thin md");
    assert_eq!(volume(&facts, Role::Root).source, "/dev/vg/root");
    assert_eq!(volume(&facts, Role::Usr).source, "UUID=0542");
    let array = block(&facts, "md127");
    assert_eq!((array.kind, array.metadata.as_deref()), (BlockKind::Raid, Some("1.2")));
    assert_eq!(
        (&array.targets[..], &array.parents[..]),
        (&["raid1".to_owned()][..], &["sda1".to_owned(), "sdb1".to_owned()][..])
    );
    let targets: Vec<&str> = ["dm-2", "dm-3", "dm-5"].iter().map(|name| block(&facts, name).targets[0].as_str()).collect();
    assert_eq!(targets, ["thin-pool", "thin", "raid"]);
    assert_eq!(facts.stack("dm-3").len(), 9);
    let paths: Vec<&str> = facts.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["/etc/fstab", "/etc/lvm/devices/system.devices", "/etc/mdadm/mdadm.conf"], "an lvm.conf as shipped stays");
    machine.file("etc/lvm/lvm.conf", "devices {\n\tfilter = [ \"r|.*|\" ]\n}\n");
    assert!(machine.facts().file("/etc/lvm/lvm.conf").is_some());
    // An array of the mainboard's RAID lies in a container, whose metadata says that mdmon is needed.
    machine.array("md127", "9:127", "raid1", "external:/md0/0", &["sda1", "sdb1"]);
    machine.array("md0", "9:0", "container", "external:imsm", &["sda1", "sdb1"]);
    assert_eq!(block(&machine.facts(), "md127").metadata.as_deref(), Some("external:imsm"));
}

#[test]
fn several_paths_to_one_disk() {
    let machine = Machine::new();
    for (letter, host) in [('a', 1), ('b', 2)] {
        let adapter = format!("pci0000:00/0000:00:0{host}.0");
        let place = format!("{adapter}/host{host}/rport-{host}:0-0/target{host}:0:0/{host}:0:0:1");
        machine.device(&adapter, "pci:v00001077d00002261sv0sd0bc0Csc04i00", "qla2xxx", Some("qla2xxx"));
        machine.directory(&format!("sys/devices/{adapter}/host{host}/fc_host/host{host}"));
        machine.device(&place, "scsi:t-0x00", "sd", Some("sd_mod"));
        machine.block(&format!("{place}/block/sd{letter}"), &format!("8:{}", (host - 1) * 16));
        machine.udev(&format!("8:{}", (host - 1) * 16), &["ID_FS_TYPE=mpath_member", "DM_MULTIPATH_DEVICE_PATH=1"]);
    }
    machine.mapping("dm-0", "254:0", "mpatha", "mpath-3600a0b80001", &["sda", "sdb"]);
    machine.mapping("dm-1", "254:1", "mpatha-part2", "part2-mpath-3600a0b80001", &["dm-0"]);
    machine.udev("254:1", &["ID_FS_TYPE=ext4", "ID_FS_UUID=700t", "ID_PART_ENTRY_UUID=9a27"]);
    machine.mounts(&["254:1 / ext4 /dev/mapper/mpatha-part2"]);
    machine.file("etc/multipath/bindings", "mpatha 3600a0b80001\n").file("etc/multipath/wwids", "/3600a0b80001/\n");
    machine
        .file("etc/multipath.conf", "defaults {\n}\n")
        .file("etc/multipath/conf.d/a.conf", "")
        .file("etc/multipath/prkeys", "");
    let facts = machine.facts();
    assert_eq!(words(&facts), "fc fs:ext4 multipath");
    assert_eq!(volume(&facts, Role::Root).source, "/dev/mapper/mpatha-part2");
    assert_eq!(names(facts.stack("dm-1")), ["dm-1", "dm-0", "sdb", "sda"]);
    assert_eq!(block(&facts, "dm-1").kind, BlockKind::Partition);
    assert_eq!(block(&facts, "dm-0").kind, BlockKind::Multipath);
    assert_eq!(block(&facts, "sda").transport.as_deref(), Some("fc"));
    let paths: Vec<&str> = facts.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["/etc/multipath.conf", "/etc/multipath/bindings", "/etc/multipath/conf.d/a.conf", "/etc/multipath/wwids"]);
}

#[test]
fn disks_behind_the_network() {
    let machine = Machine::new();
    let session = "platform/host3/session1";
    machine.device(&format!("{session}/target3:0:0/3:0:0:1"), "scsi:t-0x00", "sd", Some("sd_mod"));
    machine.file("sys/devices/platform/host3/scsi_host/host3/proc_name", "iscsi_tcp\n");
    machine.directory(&format!("sys/devices/{session}/iscsi_session/session1"));
    machine
        .block(&format!("{session}/target3:0:0/3:0:0:1/block/sda"), "8:0")
        .udev("8:0", &["ID_FS_TYPE=ext4", "ID_FS_UUID=15c5"]);
    // NVMe over TCP with the kernel's own multipath: the disk hangs on the subsystem, its controllers are elsewhere.
    let subsystem = "virtual/nvme-subsystem/nvme-subsys0";
    machine.block(&format!("{subsystem}/nvme0n1"), "259:0").udev("259:0", &["ID_FS_TYPE=xfs", "ID_FS_UUID=7c9"]);
    machine.file("sys/devices/virtual/nvme-fabrics/ctl/nvme0/transport", "tcp\n");
    machine.link(&format!("sys/devices/{subsystem}/nvme0"), "../../nvme-fabrics/ctl/nvme0");
    machine.block("virtual/block/nbd0", "43:0").udev("43:0", &["ID_FS_TYPE=ext4", "ID_FS_UUID=4bd"]);
    machine.mounts(&["8:0 / ext4 /dev/sda"]);
    machine.file("etc/fstab", "UUID=7C9 /srv xfs x-initrd.mount 0 0\nUUID=4bd /nbd auto ro,x-initrd.mount 0 0\n");
    machine.file("etc/iscsi/initiatorname.iscsi", "InitiatorName=iqn.1\n");
    machine.file("etc/iscsi/iscsid.conf", "#node.session.auth.password = no\nnode.startup = automatic\n");
    let facts = machine.facts();
    assert_eq!(words(&facts), "fs:ext4 fs:xfs iscsi nbd net nvme-tcp");
    assert_eq!(block(&facts, "sda").drivers, ["iscsi_tcp", "sd", "sd_mod"]);
    assert_eq!(block(&facts, "sda").transport.as_deref(), Some("iscsi"));
    assert_eq!(block(&facts, "nvme0n1").transport.as_deref(), Some("nvme-tcp"));
    assert_eq!(block(&facts, "nvme0n1").drivers, ["nvme_tcp"]);
    assert_eq!(facts.volumes.iter().map(|volume| volume.fstype.as_str()).collect::<Vec<_>>(), ["ext4", "xfs", "ext4"]);
    assert!(!facts.file("/etc/iscsi/iscsid.conf").expect("settings of iSCSI").secret);
    machine.file("etc/iscsi/iscsid.conf", "node.session.auth.password = yes\n");
    assert!(machine.facts().file("/etc/iscsi/iscsid.conf").expect("settings of iSCSI").secret);
}

#[test]
fn a_root_on_nfs() {
    let machine = Machine::new();
    machine.device("pci0000:00/0000:00:03.0", "pci:v00001AF4d00001000sv0sd0bc02sc00i00", "virtio-pci", Some("virtio_pci"));
    machine.mounts(&["0:40 / nfs4 server:/export/root"]);
    machine.file("etc/systemd/network/10-a.network", "[Match]\nName=en*\n[Network]\nDHCP=yes\n");
    machine.file("etc/systemd/network/20-wg.netdev", "[WireGuard]\nPrivateKey=abc\n");
    machine.link("etc/systemd/network/99-default.link", "/dev/null");
    let facts = machine.facts();
    assert_eq!(words(&facts), "fs:nfs4 net nfs");
    let root = volume(&facts, Role::Root);
    assert_eq!((root.source.as_str(), &root.block, facts.view.clone()), ("server:/export/root", &None, View::Machine));
    let secrets: Vec<(&str, bool)> =
        facts.files.iter().map(|file| (file.path.rsplit('/').next().expect("a name"), file.secret)).collect();
    assert_eq!(secrets, [("10-a.network", false), ("20-wg.netdev", true), ("99-default.link", false)]);
    assert_eq!(facts.files[2].content, FileContent::Link("/dev/null".to_owned()));
}

#[test]
fn marked_entries_bring_their_keys_and_headers() {
    let machine = laptop();
    let disk = sata(&machine, 'a', 1);
    machine.partition(&disk, "sda1", "8:1").udev("8:1", &["ID_FS_TYPE=vfat", "ID_FS_UUID=571C"]);
    machine.partition(&disk, "sda2", "8:2").udev("8:2", &["ID_PART_ENTRY_UUID=da7a"]);
    machine.file(
        "etc/crypttab",
        "nvme0n1p3_crypt UUID=5ec - luks,fido2-device=auto\n\
         data PARTUUID=da7a /etc/keys/data.key luks,header=/etc/keys/data.img,x-initrd.attach\n\
         stick UUID=0dd /key.bin:UUID=571C luks,x-initrd.attach\n\
         other PARTUUID=da7a /etc/keys/other.key luks\n\
         bad PARTUUID=da7a /etc/shadow luks,x-initrd.attach\n\
         random /dev/sda2 /dev/urandom swap\n",
    );
    machine.file("etc/cryptsetup-keys.d/nvme0n1p3_crypt.key", [0, 1, 2, 255]);
    machine.file("etc/keys/data.key", "text key").file("etc/keys/other.key", "not asked for");
    let options = ["--type", "luks2", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--luks2-keyslots-size", "256k"];
    luks_volume(&machine.at("etc/keys/data.img"), &options, &[]);
    let facts = machine.facts();
    assert_eq!(block(&facts, "sda2").luks.as_ref().expect("the detached header").version, 2);
    let secrets: Vec<&str> = facts.files.iter().filter(|file| file.secret).map(|file| file.path.as_str()).collect();
    assert_eq!(secrets, ["/etc/cryptsetup-keys.d/nvme0n1p3_crypt.key", "/etc/keys/data.img", "/etc/keys/data.key"]);
    let key = &facts.file("/etc/cryptsetup-keys.d/nvme0n1p3_crypt.key").expect("a key").content;
    assert_eq!(*key, FileContent::Base64("AAEC/w==".to_owned()));
    let attached: Vec<(&str, &str, Option<&str>)> = facts
        .volumes
        .iter()
        .filter(|volume| volume.role == Role::Attach)
        .map(|volume| (volume.name.as_deref().expect("a name"), volume.fstype.as_str(), volume.block.as_deref()))
        .collect();
    let wanted = [
        ("data", "crypto_LUKS", Some("sda2")),
        ("stick", "crypto_LUKS", None),
        ("stick", "vfat", Some("sda1")),
        ("bad", "crypto_LUKS", Some("sda2")),
    ];
    assert_eq!(attached, wanted);
    has_gap(&facts, &["`UUID=0dd`", "`stick`", "no such device"]);
    has_gap(&facts, &["`/etc/shadow`", "must not enter an image", "`bad`"]);
    let text = serde_json::to_string(&facts).expect("JSON");
    assert!(!text.contains("root:*") && !text.contains("not asked for"));
    assert_eq!(words(&facts), "efi fs:ext4 fs:vfat luks luks:fido2 luks:tpm2 lvm resume tpm2");
}

#[test]
fn a_keymap_comes_with_what_it_includes() {
    let machine = laptop();
    let maps = "usr/share/kbd/keymaps/i386";
    let gzip = |text: &str| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::write(dir.path().join("f"), text).expect("writing");
        Command::new("gzip").arg("-cn").arg(dir.path().join("f")).output().expect("gzip").stdout
    };
    machine.file(&format!("{maps}/qwertz/de-latin1.map.gz"), gzip("include \"qwertz-layout\"\ninclude \"compose.latin1\"\n"));
    machine.file(&format!("{maps}/include/qwertz-layout.inc"), "include \"deeper\"\n");
    machine.file(&format!("{maps}/include/deeper.inc"), "include \"qwertz-layout\"\n");
    machine.file("usr/share/kbd/keymaps/mac/all/de-latin1.map", "not this\n");
    machine.file("etc/console-setup/cached_UTF-8_del.kmap.gz", gzip("x"));
    let facts = machine.facts();
    let paths: Vec<&str> = facts.files.iter().map(|file| file.path.trim_start_matches("/usr/share/kbd/keymaps/")).collect();
    let wanted = [
        "/etc/console-setup/cached_UTF-8_del.kmap.gz",
        "/etc/crypttab",
        "/etc/fstab",
        "/etc/vconsole.conf",
        "i386/include/deeper.inc",
        "i386/include/qwertz-layout.inc",
        "i386/qwertz/de-latin1.map.gz",
    ];
    assert_eq!(paths, wanted);
    assert!(matches!(facts.files[6].content, FileContent::Base64(_)));
    has_gap(&facts, &["`compose.latin1`", "not installed"]);
}

#[test]
fn a_part_of_a_machine_is_not_taken_for_the_whole() {
    let cases: [(&str, &dyn Fn(&Machine)); 10] = [
        ("PID 1 has another root", &|machine| {
            machine.link("proc/1/root", "../../etc");
        }),
        ("nothing is mounted at `/`", &|machine| {
            machine.mounts(&["8:1 /mnt ext4 /dev/sda1"]);
        }),
        ("`lxc`", &|machine| {
            machine.file("run/systemd/container", "lxc\n");
        }),
        ("`/.dockerenv`", &|machine| {
            machine.file(".dockerenv", "");
        }),
        ("container=podman", &|machine| {
            machine.file("proc/1/environ", "A=b\0container=podman\0");
        }),
        ("user namespace", &|machine| {
            machine.file("proc/self/uid_map", "0 1000 1\n");
        }),
        ("`/sys`", &|machine| fs::remove_dir_all(machine.at("sys")).expect("removing")),
        ("`/proc`", &|machine| fs::remove_dir_all(machine.at("proc")).expect("removing")),
        ("boot=live", &|machine| {
            machine.file("proc/cmdline", "boot=live quiet\n");
        }),
        ("overlay", &|machine| {
            machine.mounts(&["0:40 / overlay overlay"]);
        }),
    ];
    for (word, change) in cases {
        let machine = laptop();
        assert_eq!(machine.facts().view, View::Machine);
        change(&machine);
        partial(&machine.facts(), word);
    }
}

#[test]
fn what_a_live_root_stands_on_is_a_gap() {
    let machine = laptop();
    machine.mounts(&["0:40 / overlay overlay / rw,lowerdir=/run/live/rootfs"]).file("etc/fstab", "");
    let facts = machine.facts();
    partial(&facts, "overlay");
    has_gap(&facts, &["`/`", "overlay"]);
    assert_eq!(volume(&facts, Role::Root).block, None);
}

#[test]
fn fstab_is_not_believed_against_what_is_mounted() {
    let machine = laptop();
    machine.file("etc/fstab", "UUID=b007 / ext4 defaults 0 1\n");
    let facts = machine.facts();
    assert_eq!(volume(&facts, Role::Root).source, "/dev/mapper/vg0-root");
    has_gap(&facts, &["`UUID=b007`", "`/`", "what is mounted counts"]);
}

#[test]
fn resume_is_where_the_command_line_says() {
    let machine = laptop();
    machine.file("proc/cmdline", "root=/dev/x resume=UUID=5a4 resume_offset=0\n");
    assert_eq!(volume(&machine.facts(), Role::Resume).source, "UUID=5a4");
    machine.file("proc/cmdline", "root=/dev/x resume=UUID=0000\n");
    let facts = machine.facts();
    assert_eq!(volume(&facts, Role::Resume).block, None);
    has_gap(&facts, &["`UUID=0000`", "resume"]);
    machine.file("proc/cmdline", "root=/dev/x noresume\n");
    assert!(machine.facts().volumes.iter().all(|volume| volume.role != Role::Resume));
    machine.file("proc/cmdline", "\n").file("etc/fstab", "").file("sys/power/resume", "254:2\n");
    assert_eq!(volume(&machine.facts(), Role::Resume).source, "/dev/mapper/vg0-swap_1");
    // A volume with another key at each boot cannot hold a sleeping system.
    machine.file("sys/power/resume", "0:0\n").file("etc/fstab", "/dev/mapper/vg0-swap_1 none swap sw 0 0\n");
    machine.file("etc/crypttab", "vg0-swap_1 /dev/sda2 /dev/urandom swap\n");
    assert!(machine.facts().volumes.iter().all(|volume| volume.role != Role::Resume));
}

#[test]
fn the_boot_directory_is_where_kernel_install_puts_images() {
    let machine = laptop();
    let directory = || machine.facts().boot.expect("a boot directory").directory;
    machine.directory("boot/efi/loader/entries");
    assert_eq!(directory(), "/boot/efi");
    machine.file("etc/kernel/install.conf", "layout=bls\nBOOT_ROOT=/boot/\n");
    assert_eq!(directory(), "/boot");
    machine.file("etc/kernel/install.conf.d/a.conf", "BOOT_ROOT=/elsewhere\n");
    assert_eq!(directory(), "/elsewhere");
    let bare = Machine::new();
    bare.mounts(&["8:1 / ext4 /dev/sda1", "8:2 /efi vfat /dev/sda2"]);
    let boot = bare.facts().boot.expect("a boot directory");
    assert_eq!((boot.directory.as_str(), boot.fstype.as_str()), ("/efi", "vfat"));
}

#[test]
fn without_udevs_database_types_show_in_what_became_of_them() {
    let machine = laptop();
    fs::remove_dir_all(machine.at("run/udev")).expect("removing");
    let facts = machine.facts();
    assert_eq!(block(&facts, "nvme0n1p3").fstype.as_deref(), Some("crypto_LUKS"));
    assert_eq!(block(&facts, "nvme0n1p3").luks.as_ref().expect("a header").version, 2);
    assert_eq!(block(&facts, "dm-0").fstype.as_deref(), Some("LVM2_member"));
    assert_eq!(block(&facts, "dm-1").fstype.as_deref(), Some("ext4"));
    has_gap(&facts, &["udev"]);
    assert_eq!(words(&facts), "efi fs:ext4 luks luks:tpm2 lvm resume tpm2");
}

#[test]
fn a_damaged_header_is_a_gap_and_no_failure() {
    let machine = laptop();
    machine.file("dev/nvme0n1p3", vec![0; 1 << 20]);
    let facts = machine.facts();
    assert_eq!(block(&facts, "nvme0n1p3").luks, None);
    has_gap(&facts, &["`nvme0n1p3`", "no LUKS header", "unknown"]);
}

/// Numbers that are the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// All files and symlinks below a directory.
fn all(directory: &Path, found: &mut Vec<std::path::PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(directory).expect("listing").map(|entry| entry.expect("an entry")).collect();
    entries.sort_by_key(std::fs::DirEntry::path);
    for entry in entries {
        if entry.file_type().expect("a type").is_dir() {
            all(&entry.path(), found);
        } else {
            found.push(entry.path());
        }
    }
}

/// One damage: content that no kernel writes, nothing, a directory, a link that leads nowhere, to itself or to another device.
fn damage(path: &Path, dice: &mut Dice) {
    let old = fs::read(path).unwrap_or_default();
    fs::remove_file(path).expect("removing");
    let random = |dice: &mut Dice| (0..dice.below(200)).map(|_| dice.below(256) as u8).collect::<Vec<u8>>();
    match dice.below(10) {
        0 => {}
        1 => fs::create_dir(path).expect("a directory"),
        2 => std::os::unix::fs::symlink("nowhere/at/all", path).expect("a link"),
        3 => std::os::unix::fs::symlink(path, path).expect("a link"),
        4 => std::os::unix::fs::symlink("../../devices/virtual/block/dm-1", path).expect("a link"),
        5 => fs::write(path, "99999999999999999999999999:-1\n").expect("writing"),
        6 => fs::write(path, "/../../../..\n = : \0 \\x \\777\n").expect("writing"),
        7 => fs::write(path, &old[..dice.below(old.len() + 1)]).expect("writing"),
        8 => fs::write(path, random(dice)).expect("writing"),
        _ => {
            let mut bytes = old.clone();
            for _ in 0..bytes.len().min(4) {
                let at = dice.below(bytes.len().min(5000));
                bytes[at] = dice.below(256) as u8;
            }
            fs::write(path, bytes).expect("writing");
        }
    }
}

#[test]
fn garbage_anywhere_is_survived() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for _ in 0..10 * effort() {
        let machine = laptop();
        let disk = sata(&machine, 'a', 1);
        machine.array("md127", "9:127", "raid1", "external:/md0/0", &["sda"]).over("bcache0", "252:0", &["md127", "dm-1"]);
        machine.partition(&disk, "sda1", "8:1");
        let mut files = Vec::new();
        all(machine.root(), &mut files);
        // Damage adds up, so that odd things meet.
        for _ in 0..25 {
            let path = files[dice.below(files.len())].clone();
            if path.symlink_metadata().is_ok_and(|metadata| !metadata.is_dir()) {
                damage(&path, &mut dice);
            }
            let Ok(facts) = probe::probe(machine.root()) else { continue };
            let text = serde_json::to_string(&facts).expect("JSON");
            assert_eq!(serde_json::from_str::<Facts>(&text).expect("facts"), facts, "{}", path.display());
            traits::traits(&facts);
            for volume in &facts.volumes {
                facts.stack_of(volume);
            }
        }
    }
}

#[test]
fn this_machine_is_as_its_own_tools_say() {
    let out = ran(program().args(["--json", "host"])).good().out;
    let facts: Facts = serde_json::from_str(&out).expect("facts");
    let said = |command: &str, args: &[&str]| {
        let done = Command::new(command).args(args).output().unwrap_or_else(|err| panic!("{command}: {err}"));
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    };
    assert_eq!(facts.kernel, said("uname", &["-r"]));
    assert_eq!(facts.machine, said("uname", &["-m"]));
    assert_eq!(volume(&facts, Role::Root).fstype, said("findmnt", &["-rno", "FSTYPE", "/"]));
    let found = said("find", &["/sys/devices", "-name", "modalias", "-type", "f", "-size", "+0"]);
    let mut wanted: Vec<&str> = found
        .lines()
        .filter(|path| fs::read(path).is_ok_and(|bytes| !bytes.trim_ascii().is_empty()))
        .map(|path| path.trim_start_matches("/sys/devices/").trim_end_matches("/modalias"))
        .collect();
    wanted.sort_unstable();
    let mut devices: Vec<&str> = facts.devices.iter().map(|device| device.path.as_str()).collect();
    devices.sort_unstable();
    assert_eq!(devices, wanted);
    let text = ran(program().arg("host")).good().out;
    assert!(text.contains(&facts.kernel) && text.contains("/ ← "), "{text}");
}

#[test]
fn an_ordinary_user_gets_what_can_be_seen() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("permissions");
    let copy = dir.path().join("mkinitrd-pkg");
    fs::copy(env!("CARGO_BIN_EXE_mkinitrd-pkg"), &copy).expect("copying");
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(&copy).args(["--json", "host"]);
    let facts: Facts = serde_json::from_str(&ran(&mut command).good().out).expect("facts");
    let whole: Facts = serde_json::from_str(&ran(program().args(["--json", "host"])).good().out).expect("facts");
    assert_eq!((&facts.kernel, &facts.devices, &facts.volumes), (&whole.kernel, &whole.devices, &whole.volumes));
    for file in whole.files.iter().filter(|file| file.mode & 0o004 == 0) {
        has_gap(&facts, &[&file.path, "permission denied", "missing"]);
    }
}

#[test]
fn secrets_are_withheld_unless_asked_for() {
    // An `/etc` in a mount namespace of its own.
    let dir = tempfile::tempdir().expect("a temporary directory");
    let key = dir.path().join("key").display().to_string();
    fs::create_dir(dir.path().join("etc")).expect("a directory");
    fs::write(dir.path().join("etc/crypttab"), format!("disk /dev/nowhere {key} luks,x-initrd.attach\n")).expect("writing");
    fs::write(&key, "the passphrase").expect("writing");
    let run = |more: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--", "sh", "-c", r#"mount --bind "$1" /etc && shift && exec "$@""#, "sh"]);
        command.arg(dir.path().join("etc")).arg(env!("CARGO_BIN_EXE_mkinitrd-pkg"));
        ran(command.args(["--config-root", "/nonexistent", "--json", "host"]).args(more)).good().out
    };
    let content =
        |out: &str| serde_json::from_str::<Facts>(out).expect("facts").file(&key).expect("the key file").content.clone();
    let held = run(&[]);
    assert!(!held.contains("the passphrase"));
    assert_eq!(content(&held), FileContent::Withheld);
    assert_eq!(content(&run(&["--secrets"])), FileContent::Text("the passphrase".to_owned()));
}
