//! Images for machines that are described in `machines/*.json`, judged by `check-machine.py`, which shares no code with the program.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use serde_json::Value;

use crate::kernels::{Kernel, TRIXIE, TRIXIE_ARM64, run};
use crate::program::{Ran, program, program_cache, ran, trixie_image};

/// The machines, and the modules that an image for one of them must not have.
const MACHINES: [(&str, &[&str]); 9] = [
    ("laptop", &["i915", "iwlwifi", "bluetooth", "soundcore", "uvcvideo", "kvm", "psmouse"]),
    ("desktop", &["amdgpu", "r8169", "bridge", "snd_hda_intel"]),
    ("server", &["tg3", "i40e", "bonding", "skx_edac"]),
    ("iscsi", &["kvm_intel", "nft_ct"]),
    ("virtio", &["virtio_net", "kvm_intel"]),
    ("virtio-scsi", &["kvm_amd"]),
    ("hyperv", &["hv_netvsc", "nft_ct"]),
    ("vmware", &["vmxnet3", "nft_ct"]),
    ("board-arm64", &["brcmfmac", "genet", "snd_soc_hdmi_codec", "bluetooth"]),
];

fn facts(machine: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/machines").join(format!("{machine}.json"))
}

fn kernel_of(machine: &str) -> Kernel {
    if machine == "board-arm64" { TRIXIE_ARM64 } else { TRIXIE }
}

/// Returns a root with a whole kernel as an installed one has it: indexed by depmod.
fn installed(kernel: Kernel) -> PathBuf {
    static ONE: Mutex<()> = Mutex::new(());
    let _guard = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let root = kernel.root();
    let copy = root.with_extension("installed");
    if !copy.exists() {
        let (_, version) = kernel.dir();
        let partial = root.with_extension("installing");
        let script =
            r#"rm -rf "$2"; mkdir "$2"; cp -al "$1/usr" "$2/usr"; ln -s usr/lib "$2/lib"; depmod -b "$2" "$3"; mv "$2" "$4""#;
        let words = [&root, &partial].map(|path| path.to_str().expect("UTF-8"));
        run("sh", "kmod", &["-euc", script, "sh", words[0], words[1], &version, copy.to_str().expect("UTF-8")]);
    }
    copy
}

fn modules_dir(kernel: Kernel) -> PathBuf {
    installed(kernel).join("usr/lib/modules").join(kernel.dir().1)
}

/// Builds for a machine with the modules of an installed kernel.
fn build(facts: &Path, kernel: Kernel, out: &Path, more: &[&str]) -> Ran {
    let mut command = program();
    command.args(["build", "--host-facts"]).arg(facts).arg("--modules-dir").arg(modules_dir(kernel));
    ran(command.arg("-o").arg(out).args(more))
}

/// What the independent script says of an image.
fn judged(image: &Path, machine: &str) -> Ran {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/check-machine.py");
    ran(Command::new("python3").arg(script).arg(image).arg(facts(machine)).arg(installed(kernel_of(machine))))
}

fn manifest(image: &Path) -> Value {
    serde_json::from_str(&ran(program().args(["ls", "--manifest"]).arg(image)).good().out).expect("a manifest")
}

/// The modules of an image with their reasons.
fn modules(image: &Path) -> BTreeMap<String, String> {
    let manifest = manifest(image);
    let modules = manifest["modules"].as_object().expect("modules").iter();
    modules.map(|(name, module)| (name.clone(), module["reason"].as_str().expect("a reason").to_owned())).collect()
}

/// What a verdict finds missing.
fn lacking(verdict: &Ran) -> Vec<&str> {
    assert!(verdict.out.contains(" checks, "), "no verdict:\n{}{}", verdict.out, verdict.err);
    verdict.out.lines().filter(|line| line.starts_with("missing: ")).collect()
}

#[test]
fn every_machine_gets_what_it_needs_and_little_else() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (machine, unwanted) in MACHINES {
        let image = dir.path().join("x.img");
        build(&facts(machine), kernel_of(machine), &image, &[]).good();
        let verdict = judged(&image, machine);
        assert_eq!(lacking(&verdict), [""; 0], "{machine}:\n{}{}", verdict.out, verdict.err);
        let modules = modules(&image);
        println!("{machine}: {} bytes, {}", fs::metadata(&image).expect("the image").len(), verdict.out.trim_end());
        for name in unwanted {
            assert!(!modules.contains_key(*name), "{machine}: {name} ({})", modules[*name]);
        }
        assert!(modules.len() < 300, "{machine}: {} modules", modules.len());
        fs::remove_file(&image).expect("removing");
    }
}

#[test]
fn what_is_taken_out_is_missed() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (machine, pattern, said, missing) in [
        ("laptop", "-dm_crypt", "`dm_crypt` (crypt of dm-0 under /)", "module `dm_crypt`"),
        ("laptop", "-xts", "xts for aes-xts-plain64", "module `xts`"),
        ("laptop", "-/drivers/hid/i2c-hid/", "", "module `i2c_hid_acpi`"),
        ("desktop", "-btrfs", "`btrfs` (btrfs of /)", "module `btrfs`"),
        ("desktop", "-hid_logitech_dj", "", "module `hid_logitech_dj`"),
        ("server", "-raid10", "`raid10` (raid10 of md127 under /)", "module `raid10`"),
        ("server", "-mpt3sas", "driver of disk", "module `mpt3sas`"),
        ("iscsi", "-iscsi_tcp", "iscsi of disk sda", "module `iscsi_tcp`"),
        ("iscsi", "-ixgbe", "", "module `ixgbe`"),
        ("virtio", "-virtio_blk", "driver of disk vda", "module `virtio_blk`"),
        ("virtio-scsi", "-virtio_scsi", "driver of disk sda", "module `virtio_scsi`"),
        ("hyperv", "-hv_storvsc", "driver of disk sda", "module `hv_storvsc`"),
        ("hyperv", "-hyperv_keyboard", "", "module `hyperv_keyboard`"),
        ("vmware", "-vmw_pvscsi", "driver of disk sda", "module `vmw_pvscsi`"),
        ("board-arm64", "-sdhci_iproc", "driver of disk mmcblk0", "module `sdhci_iproc`"),
    ] {
        let image = dir.path().join("x.img");
        let answer = build(&facts(machine), kernel_of(machine), &image, &[&format!("--module={pattern}")]).good();
        assert!(answer.err.contains(said), "{machine} {pattern}:\n{}", answer.err);
        let verdict = judged(&image, machine);
        assert!(verdict.code == 1 && verdict.out.contains(missing), "{machine} {pattern}:\n{}{}", verdict.out, verdict.err);
    }
}

#[test]
fn every_module_of_a_machine_says_what_wants_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let image = dir.path().join("x.img");
    build(&facts("laptop"), TRIXIE, &image, &[]).good();
    let found = modules(&image);
    for (name, reason) in [
        ("ext4", "ext4 of /"),
        ("dm_crypt", "crypt of dm-0 under /"),
        ("xts", "xts for aes-xts-plain64 of nvme0n1p3 under /"),
        ("aesni_intel", "aes for aes-xts-plain64 of nvme0n1p3 under /"),
        ("nvme", "driver of disk nvme0n1 under /"),
        ("i2c_hid_acpi", "device pci0000:00/0000:00:15.0/i2c_designware.0/i2c-1/i2c-SYNA8007:00: acpi:SYNA8007:PNP0C50:"),
        ("intel_lpss_pci", "device pci0000:00/0000:00:15.0: pci:v00008086d0000A0E8sv000017AAsd000022D5bc0Csc80i00"),
        ("wmi", "loaded"),
        ("jbd2", "loaded"),
        ("scsi_mod", "needed by `sd_mod`"),
    ] {
        assert_eq!(found.get(name).map(String::as_str), Some(reason), "{name}");
    }
    assert!(
        found["usb_storage"].starts_with("pattern `{uas,usb_storage}` (distro-profiles/modules.toml:"),
        "{}",
        found["usb_storage"]
    );
}

/// Writes the facts of a machine with a change in them.
fn changed(machine: &str, to: &Path, change: impl FnOnce(&mut Value)) {
    let text = fs::read_to_string(facts(machine)).expect("the facts");
    let mut value: Value = serde_json::from_str(&text).expect("JSON");
    change(&mut value);
    fs::write(to, value.to_string()).expect("writing");
}

#[test]
fn what_the_kernel_does_not_have_is_told_before_it_fails_to_boot() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (file, image) = (dir.path().join("x.json"), dir.path().join("x.img"));
    let told = |words: &[&str]| build(&file, TRIXIE, &image, &[]).bad(7, words);
    // As on a machine with another kernel than the one that is built for.
    let other = |value: &mut Value| value["kernel"] = "6.1.0-1-amd64".into();
    changed("virtio", &file, |value| {
        other(value);
        value["volumes"][0]["fstype"] = "zfs".into();
    });
    told(&["zfs of /", "neither as a module nor built in", "--generic"]);
    changed("server", &file, |value| {
        other(value);
        value["blocks"].as_array_mut().expect("blocks").iter_mut().filter(|block| block["name"] == "md127").for_each(|block| {
            block["targets"] = serde_json::json!(["raid99"]);
        });
    });
    told(&["raid99 of md127 under /"]);
    changed("laptop", &file, |value| {
        other(value);
        value["blocks"].as_array_mut().expect("blocks").iter_mut().filter(|block| block["name"] == "nvme0n1p3").for_each(
            |block| {
                block["luks"]["ciphers"] = serde_json::json!(["threefish-xts-plain64"]);
            },
        );
    });
    told(&["threefish for threefish-xts-plain64 of nvme0n1p3 under /"]);
    // The running kernel itself has the volume mounted: it must have in itself what it has not loaded.
    changed("virtio", &file, |value| {
        value["kernel"] = TRIXIE.dir().1.into();
        value["volumes"][0]["fstype"] = "odd".into();
    });
    build(&file, TRIXIE, &image, &[]).good();
    changed("virtio", &file, |value| {
        value["kernel"] = TRIXIE.dir().1.into();
        value["volumes"][0]["fstype"] = "zfs".into();
        value["modules"].as_array_mut().expect("modules").push("zfs".into());
    });
    told(&["zfs of /"]);
}

#[test]
fn other_ciphers_and_mappings_find_their_modules() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (file, image) = (dir.path().join("x.json"), dir.path().join("x.img"));
    changed("laptop", &file, |value| {
        value["kernel"] = "6.1.0-1-amd64".into();
        for block in value["blocks"].as_array_mut().expect("blocks") {
            match block["name"].as_str().expect("a name") {
                "nvme0n1p3" => {
                    block["luks"]["ciphers"] =
                        serde_json::json!(["xchacha20,aes-adiantum-plain64", "serpent-cbc-essiv:sha256", "aes-xts-random"]);
                    block["luks"]["integrity"] = serde_json::json!(["hmac(sha256)"]);
                }
                "dm-1" => block["targets"] = serde_json::json!(["thin"]),
                "dm-2" => block["targets"] = serde_json::json!(["cache", "raid", "snapshot-origin", "verity"]),
                _ => {}
            }
        }
    });
    build(&file, TRIXIE, &image, &[]).good();
    let found = modules(&image);
    for name in [
        "adiantum",
        "chacha_generic",
        "nhpoly1305",
        "serpent_generic",
        "serpent_avx2",
        "essiv",
        "authenc",
        "dm_integrity",
        "dm_thin_pool",
        "dm_cache",
        "dm_cache_smq",
        "dm_raid",
        "raid456",
        "dm_snapshot",
        "dm_verity",
        "algif_skcipher",
    ] {
        assert!(found.contains_key(name), "{name}");
    }
}

#[test]
fn f01_the_same_facts_give_the_same_bytes() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let [first, second] = ["first.img", "second.img"].map(|name| dir.path().join(name));
    build(&facts("laptop"), TRIXIE, &first, &[]).good();
    let mut command = Command::new("sh");
    command.args(["-c", "umask 077; cd /; exec \"$@\"", "sh"]).arg(env!("CARGO_BIN_EXE_mkinitrd-pkg"));
    command.env("TZ", "Pacific/Kiritimati").env("LC_ALL", "tr_TR.UTF-8").env("HOME", "/nonexistent");
    command.args(["--config-root", "/nonexistent", "--cache"]).arg(program_cache()).args(["build", "--host-facts"]);
    command.arg(facts("laptop")).arg("--modules-dir").arg(modules_dir(TRIXIE)).args(["-j", "1", "-o"]).arg(&second);
    ran(&mut command).good();
    assert!(fs::read(&first).expect("reading") == fs::read(&second).expect("reading"), "the image depends on where it is built");
}

#[test]
fn an_index_that_is_not_there_or_knows_only_some_is_made_up_for() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (whole, version) = (modules_dir(TRIXIE), TRIXIE.dir().1);
    let copy = dir.path().join(&version);
    run("cp", "coreutils", &["-al", whole.to_str().expect("UTF-8"), copy.to_str().expect("UTF-8")]);
    let image = dir.path().join("x.img");
    let chosen = |modules_dir: &Path| {
        let mut command = program();
        command.args(["build", "--host-facts"]).arg(facts("laptop")).arg("--modules-dir").arg(modules_dir).arg("-o").arg(&image);
        ran(&mut command).good();
        modules(&image)
    };
    let expected = chosen(&whole);
    // Hard links: what is changed must be another file.
    let edit = |name: &str, keep: &dyn Fn(&str) -> bool| {
        let text = fs::read_to_string(whole.join(name)).expect("an index");
        let lines: Vec<&str> = text.lines().filter(|line| keep(line)).collect();
        fs::remove_file(copy.join(name)).expect("removing");
        fs::write(copy.join(name), lines.join("\n") + "\n").expect("writing");
    };
    fs::remove_file(copy.join("modules.alias")).expect("removing");
    assert_eq!(chosen(&copy), expected, "only the binary index");
    fs::remove_file(copy.join("modules.alias.bin")).expect("removing");
    assert_eq!(chosen(&copy), expected, "no index of aliases");
    // depmod was interrupted: neither the aliases nor the dependencies of two modules are known.
    fs::write(copy.join("modules.alias"), "").expect("a file");
    edit("modules.alias", &|line| !line.ends_with(" nvme") && !line.ends_with(" i2c_hid_acpi"));
    edit("modules.dep", &|line| !line.contains("/nvme.ko.xz:") && !line.contains("/i2c-hid-acpi.ko.xz:"));
    assert_eq!(chosen(&copy), expected, "half an index");
}

#[test]
fn a_fallback_is_for_any_machine_and_costs_little() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let [alone, first, fallback, full] = ["alone", "first", "fallback", "full"].map(|name| dir.path().join(name));
    build(&facts("virtio"), TRIXIE, &alone, &[]).good();
    build(&facts("virtio"), TRIXIE, &first, &["--fallback", fallback.to_str().expect("UTF-8")]).good();
    assert!(fs::read(&alone).expect("reading") == fs::read(&first).expect("reading"), "the fallback changes the image");
    assert_eq!(fs::metadata(&fallback).expect("the fallback").permissions().mode() & 0o777, 0o600);
    let segments = |image: &Path| -> Vec<Value> {
        let json = ran(program().args(["--json", "ls", "--segments"]).arg(image)).good().out;
        serde_json::from_str::<Value>(&json).expect("JSON")["segments"].as_array().expect("segments").clone()
    };
    let base = |image: &Path| {
        let size = segments(image)[0]["size"].as_u64().expect("a size") as usize;
        fs::read(image).expect("reading")[..size].to_vec()
    };
    assert!(base(&first) == base(&fallback), "the base segments differ");
    let spare = modules(&fallback);
    assert!(spare.len() > 650 && spare.contains_key("megaraid_sas"), "{} modules", spare.len());
    assert_eq!(spare["virtio_blk"], "driver of disk vda under /");
    let verdict = judged(&fallback, "virtio");
    assert_eq!(verdict.code, 0, "{}", verdict.out);
    // `--full` is the same choice of modules, with the features of an image for any machine.
    build(&facts("virtio"), TRIXIE, &full, &["--full"]).good();
    assert_eq!(modules(&full), spare);
    let same = first.to_str().expect("UTF-8");
    build(&facts("virtio"), TRIXIE, &first, &["--fallback", same]).bad(2, &["the first image itself"]);
    build(&facts("virtio"), TRIXIE, &first, &["--fallback", "/nonexistent/x.img"]).bad(8, &["/nonexistent"]);
    assert!(fs::read(&alone).expect("reading") == fs::read(&first).expect("reading"));
}

#[test]
fn what_was_read_out_of_modules_is_kept_and_never_believed_when_damaged() {
    trixie_image();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cache = dir.path().join("cache");
    ran(Command::new("cp").args(["-a", "--reflink=auto"]).arg(program_cache()).arg(&cache)).good();
    let image = dir.path().join("x.img");
    let build = || {
        let mut command = program();
        command.arg("--cache").arg(&cache).args(["build", "--host-facts"]).arg(facts("vmware"));
        command.arg("--modules-dir").arg(modules_dir(TRIXIE)).arg("-o").arg(&image);
        ran(&mut command).good();
        fs::read(&image).expect("the image")
    };
    let kept = || {
        let find = ran(Command::new("find").arg(cache.join("modules")).args(["-type", "f"])).good().out;
        find.lines().map(PathBuf::from).collect::<Vec<_>>()
    };
    fs::remove_dir_all(cache.join("modules")).expect("removing");
    let cold = build();
    let files = kept();
    assert_eq!(files.len(), 1, "{files:?}");
    let good = fs::read(&files[0]).expect("what was kept");
    assert!(build() == cold && fs::read(&files[0]).expect("reading") == good, "a warm build differs");
    for damage in [0, 40, good.len() / 2] {
        let mut bytes = good.clone();
        bytes[damage] ^= 1;
        fs::write(&files[0], &bytes).expect("damaging");
        assert!(build() == cold, "byte {damage}");
        assert!(fs::read(&files[0]).expect("reading") == good, "it is written anew");
    }
    // A file where the directory should be: nothing can be kept, and nothing fails.
    fs::remove_dir_all(cache.join("modules")).expect("removing");
    fs::write(cache.join("modules"), "").expect("a file");
    assert!(build() == cold);
}
