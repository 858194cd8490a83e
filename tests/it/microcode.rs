//! Microcode of Debian's packages, compared with what iucode_tool makes of it, and in images.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mkinitrd_pkg::host::facts::Cpu;
use mkinitrd_pkg::microcode::{Microcode, Wanted, microcode};
use mkinitrd_pkg::tree::{Origin, Tree, TreePath, disk};
use serde_json::Value;

use crate::kernels::{package_of, run, unpacked};
use crate::program::{TRIXIE, program, ran, trixie_image};
use crate::trixie::mirror;

/// Returns the firmware directory with both packages of trixie.
fn firmware_dir() -> PathBuf {
    let packages = ["intel-microcode", "amd64-microcode"];
    let find = || packages.map(|wanted| package_of("trixie", "non-free-firmware", "amd64", &|name| name == wanted)).to_vec();
    unpacked("microcode", find).join("usr/lib/firmware")
}

fn firmware() -> Tree {
    let mut tree = Tree::new();
    disk::read(&mut tree, &firmware_dir(), &TreePath::literal("usr/lib/firmware"), false, &Origin::Kernel).expect("firmware");
    tree
}

fn data<'a>(made: &'a Microcode, vendor: &str) -> &'a [u8] {
    let path = TreePath::literal(&format!("kernel/x86/microcode/{vendor}.bin"));
    made.tree.read(&path).map(|content| content.bytes()).unwrap_or_default()
}

/// Returns iucode_tool, whose package is in Debian's component contrib: it runs on any release from bookworm on.
fn iucode_tool() -> Command {
    let root = unpacked("iucode-tool", || vec![package_of("bookworm", "contrib", "amd64", &|name| name == "iucode-tool")]);
    Command::new(root.join("usr/sbin/iucode_tool"))
}

/// Returns the updates that iucode_tool sees in files: signature, platforms, date, revision and size of each.
fn listed(files: &[&Path], more: &[&str]) -> BTreeSet<String> {
    let ran = ran(iucode_tool().args(["-q", "-L", "-tb", "--ignore-broken"]).args(more).args(files)).good();
    let updates = ran.out.lines().filter_map(|line| Some(line[line.find("sig 0x")?..].to_owned()));
    updates.collect()
}

#[test]
fn the_updates_are_those_that_iucode_tool_finds() {
    let made = microcode(&firmware(), Wanted::All).expect("microcode");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let ours = dir.path().join("ours.bin");
    fs::write(&ours, data(&made, "GenuineIntel")).expect("writing");
    let names =
        fs::read_dir(firmware_dir().join("intel-ucode")).expect("intel-ucode").map(|entry| entry.expect("an entry").path());
    let mut names: Vec<PathBuf> = names.collect();
    names.sort();
    let theirs = listed(&names.iter().map(PathBuf::as_path).collect::<Vec<_>>(), &[]);
    assert!(theirs.len() > 100, "{} updates", theirs.len());
    assert_eq!(listed(&[&ours], &[]), theirs);

    // What goes into an image of theirs is in ours, where the newest of a processor counts.
    let early = dir.path().join("early.cpio");
    ran(iucode_tool().arg("-q").arg(format!("--write-earlyfw={}", early.display())).arg("-tb").args(&names)).good();
    run("sh", "cpio", &["-c", &format!("cd '{}' && cpio -id --quiet <early.cpio", dir.path().display())]);
    let selected = listed(&[&dir.path().join("kernel/x86/microcode/GenuineIntel.bin")], &[]);
    assert!(selected.len() > 100 && selected.is_subset(&theirs), "{} updates", selected.len());
}

#[test]
fn one_processor_gets_what_iucode_tool_selects_for_it() {
    let firmware = firmware();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let all = dir.path().join("all.bin");
    fs::write(&all, data(&microcode(&firmware, Wanted::All).expect("microcode"), "GenuineIntel")).expect("writing");
    // Kaby Lake; Skylake server; Sapphire Rapids, by the table of an update; Core 2; one of which Debian has an `.initramfs` only or nothing.
    for (model, stepping) in [(0x8e, 0xa), (0x55, 4), (0x8f, 6), (0x0f, 2), (0x4f, 1), (0xff, 0xf)] {
        let cpu = Cpu { vendor: "GenuineIntel".into(), family: 6, model, stepping, hypervisor: false };
        let made = microcode(&firmware, Wanted::One(&cpu)).expect("microcode");
        let signature = stepping | (model & 0xf) << 4 | 6 << 8 | (model >> 4) << 16;
        let theirs = listed(&[&all], &["-s", &format!("{signature:#x}")]);
        let ours = match data(&made, "GenuineIntel") {
            [] => BTreeSet::new(),
            bytes => {
                let file = dir.path().join("one.bin");
                fs::write(&file, bytes).expect("writing");
                listed(&[&file], &["-s", &format!("{signature:#x}")])
            }
        };
        assert_eq!(ours, theirs, "{model:#x} {stepping:#x}");
        assert_eq!(ours.is_empty(), model == 0xff, "{model:#x} {stepping:#x}");
        assert!(data(&made, "AuthenticAMD").is_empty());
    }
    let cpu = Cpu { vendor: "AuthenticAMD".into(), family: 0x19, model: 0x21, stepping: 2, hypervisor: false };
    let made = microcode(&firmware, Wanted::One(&cpu)).expect("microcode");
    let file = firmware_dir().join("amd-ucode/microcode_amd_fam19h.bin");
    assert_eq!(data(&made, "AuthenticAMD"), fs::read(file).expect("the file"));
}

#[test]
fn every_byte_of_a_header_counts() {
    let mut firmware = firmware();
    let path = TreePath::literal("usr/lib/firmware/intel-ucode/06-8e-0a");
    let sound = firmware.read(&path).expect("the file").bytes().to_vec();
    for place in (0..48).chain([100, 5_000, sound.len() - 1]) {
        let mut bytes = sound.clone();
        bytes[place] ^= 0x10;
        let entry = firmware.get_mut(&path).expect("the entry");
        entry.kind = mkinitrd_pkg::tree::Kind::File(bytes.into());
        let error = microcode(&firmware, Wanted::All).expect_err("one flipped bit");
        assert!(error.to_string().contains("06-8e-0a"), "byte {place}: {error}");
    }
}

#[test]
fn b_microcode_goes_first_or_into_a_file_of_its_own() {
    trixie_image();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let repo = format!("{} trixie main non-free-firmware", mirror());
    let build = |more: &[&Path]| {
        let mut command = program();
        command.args(TRIXIE).args(["--arch", "amd64", "--repo", &repo]).args(more);
        ran(&mut command).good()
    };
    let (image, apart, rest) = (dir.path().join("x.img"), dir.path().join("microcode"), dir.path().join("y.img"));
    build(&[Path::new("-o"), &image]);
    build(&[Path::new("--microcode"), &apart, Path::new("-o"), &rest]);
    let segments = |image: &Path| -> Vec<Value> {
        let json = ran(program().args(["--json", "ls", "--segments"]).arg(image)).good().out;
        serde_json::from_str::<Value>(&json).expect("JSON")["segments"].as_array().expect("segments").clone()
    };
    let (whole, without) = (segments(&image), segments(&rest));
    let first = &whole[0];
    assert_eq!((&first["early"], &first["compression"], &first["offset"]), (&true.into(), &"none".into(), &0.into()));
    assert_eq!(whole.iter().filter(|segment| segment["early"] == true).count(), 1);
    assert!(without.iter().all(|segment| segment["early"] == false) && without.len() + 1 == whole.len());
    // Both together are the same image: boot loaders put the one before the other.
    let (early, joined) = (fs::read(&apart).expect("microcode"), fs::read(&image).expect("the image"));
    assert!(joined.starts_with(&early[..first["size"].as_u64().expect("a size") as usize]));
    assert!(joined.ends_with(&fs::read(&rest).expect("the rest")));
    let names = run("sh", "cpio", &["-c", &format!("cpio -t --quiet <'{}'", apart.display())]);
    assert_eq!(
        names.lines().collect::<Vec<_>>(),
        [
            "kernel",
            "kernel/x86",
            "kernel/x86/microcode",
            "kernel/x86/microcode/AuthenticAMD.bin",
            "kernel/x86/microcode/GenuineIntel.bin"
        ]
    );
    let manifest: Value = serde_json::from_str(&ran(program().args(["ls", "--manifest"]).arg(&image)).good().out).expect("JSON");
    let files = manifest["microcode"].as_array().expect("files");
    assert!(files.iter().any(|file| file["path"] == "/usr/lib/firmware/amd-ucode/microcode_amd_fam19h.bin"), "{files:?}");
    assert!(ran(program().args(["ls", "--segments"]).arg(&image)).good().out.contains("early: microcode"));
}

#[test]
fn without_microcode_the_image_is_made_and_says_so() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    trixie_image();
    let (image, apart) = (dir.path().join("x.img"), dir.path().join("microcode"));
    let mut command = program();
    command.args(TRIXIE).args(["--arch", "amd64", "--offline", "-v", "--microcode"]).arg(&apart).arg("-o").arg(&image);
    let told = ran(&mut command).good().err;
    for words in ["`intel-microcode`, wanted by distro-profiles/debian.toml", "no microcode: ", "there is no microcode, and no `"]
    {
        assert!(told.contains(words), "`{words}` is not in\n{told}");
    }
    assert!(image.exists() && !apart.exists());
}
