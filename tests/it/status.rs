//! `check` and `build --if-stale` on real images: what has changed is told, what has not is left alone.

use std::fs;
use std::path::{Path, PathBuf};

use mkinitrd_pkg::host::facts::{Block, BlockKind, Facts, OsRelease, Role, SCHEMA, View, Volume};

use crate::program::{Ran, TRIXIE, program, ran, trixie_image};

/// Runs `check` on an image.
fn check(image: &Path, more: &[&str]) -> Ran {
    ran(program().arg("check").arg(image).args(more))
}

/// The lines of a text that start with a word.
fn lines<'a>(text: &'a str, word: &str) -> Vec<&'a str> {
    text.lines().filter(|line| line.starts_with(word)).collect()
}

#[test]
fn an_image_just_made_is_as_it_should_be() {
    let image = trixie_image();
    let text = check(image, &["--quiet"]).good().out;
    assert!(text.contains("debian trixie, generic") && text.contains("nothing is wrong with it"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&check(image, &["--json"]).good().out).expect("JSON");
    assert_eq!((&json["boots"], &json["stale"]), (&true.into(), &serde_json::json!([])));
}

#[test]
fn a_change_of_the_configuration_is_told() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = dir.path().join("more.toml");
    fs::write(&config, "packages.add = ['nano']\n").expect("writing");
    let text = check(trixie_image(), &["--config", &config.display().to_string()]).good().out;
    assert_eq!(lines(&text, "stale:").len(), 1, "{text}");
    assert!(text.contains("the configuration has changed"), "{text}");

    let motd = dir.path().join("etc/mkinitrd-pkg/files/etc/motd");
    fs::create_dir_all(motd.parent().expect("a directory")).expect("a directory");
    fs::write(&motd, "hello\n").expect("writing");
    let text = check(trixie_image(), &["--config-root", &dir.path().display().to_string()]).good().out;
    assert_eq!(lines(&text, "stale:"), ["stale: `/etc/motd` is new"]);
}

#[test]
fn what_is_damaged_or_no_image_is_an_error() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let bytes = fs::read(trixie_image()).expect("the image");
    let cut = dir.path().join("cut.img");
    fs::write(&cut, &bytes[..bytes.len() / 3]).expect("writing");
    check(&cut, &[]).bad(6, &["cut.img"]);
    let text = dir.path().join("text");
    fs::write(&text, "not an image").expect("writing");
    check(&text, &[]).bad(6, &["damaged at byte 0"]);
    check(&dir.path().join("absent"), &[]).bad(5, &["absent"]);
}

/// A machine with its root on a logical volume.
fn with_lvm() -> Facts {
    let block = |name: &str, kind, parents: &[&str], fstype: &str| {
        let json = serde_json::json!({ "name": name, "kind": kind, "parents": parents, "fstype": fstype });
        serde_json::from_value::<Block>(json).expect("a block device")
    };
    Facts {
        schema: SCHEMA,
        view: View::Machine,
        machine: "x86_64".to_owned(),
        kernel: "6.12".to_owned(),
        os: OsRelease { id: "debian".to_owned(), codename: Some("trixie".to_owned()), ..OsRelease::default() },
        blocks: vec![block("dm-0", BlockKind::Lvm, &["vda"], "ext4"), block("vda", BlockKind::Disk, &[], "LVM2_member")],
        volumes: vec![Volume {
            target: Some("/".to_owned()),
            source: "/dev/vg0/root".to_owned(),
            name: None,
            block: Some("dm-0".to_owned()),
            members: Vec::new(),
            fstype: "ext4".to_owned(),
            options: String::new(),
            role: Role::Root,
        }],
        ..serde_json::from_value(serde_json::json!({
            "schema": SCHEMA, "view": { "kind": "machine" }, "machine": "", "kernel": "", "os": { "id": "" },
        }))
        .expect("an empty machine")
    }
}

fn build(image: &Path, more: &[&str]) -> Ran {
    ran(program().args(TRIXIE).args(["--arch", "amd64", "--offline", "-o"]).arg(image).args(more)).good()
}

fn written(image: &Path) -> (std::time::SystemTime, Vec<u8>) {
    (fs::metadata(image).expect("the image").modified().expect("a time"), fs::read(image).expect("the image"))
}

#[test]
fn an_image_without_what_the_machine_needs_would_not_boot_it() {
    trixie_image();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let facts = dir.path().join("facts.json");
    fs::write(&facts, serde_json::to_string(&with_lvm()).expect("JSON")).expect("writing");
    let facts = facts.display().to_string();
    check(trixie_image(), &["--host-facts", &facts]).good();

    let image = dir.path().join("without.img");
    build(&image, &["--without", "lvm", "--module=-xfs"]);
    check(&image, &["--host-facts", &facts]).bad(7, &["would not boot the machine described", "feature `lvm`"]);

    let mut on_xfs = with_lvm();
    on_xfs.blocks.retain(|block| block.kind == BlockKind::Disk);
    on_xfs.blocks[0].fstype = Some("xfs".to_owned());
    on_xfs.volumes[0].block = Some("vda".to_owned());
    on_xfs.volumes[0].fstype = "xfs".to_owned();
    let facts = dir.path().join("xfs.json");
    fs::write(&facts, serde_json::to_string(&on_xfs).expect("JSON")).expect("writing");
    let facts = facts.display().to_string();
    check(trixie_image(), &["--host-facts", &facts]).bad(7, &["feature `xfs`"]);
    check(&image, &["--host-facts", &facts]).bad(7, &["xfs of /", "which the image lacks"]);
}

#[test]
fn only_what_is_stale_is_built() {
    trixie_image();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let image: PathBuf = dir.path().join("initrd.img");
    build(&image, &["--if-stale"]);
    let first = written(&image);
    let again = build(&image, &["--if-stale", "-v"]);
    assert!(again.err.contains("nothing to do") || again.out.contains("nothing to do"), "{}{}", again.out, again.err);
    assert!(written(&image) == first, "an image that is current was written again");

    let motd = dir.path().join("motd");
    fs::write(&motd, "hello\n").expect("writing");
    let include = format!("{}:/etc/motd", motd.display());
    build(&image, &["--if-stale", "--include", &include]);
    let second = written(&image);
    assert!(second != first, "a stale image was kept");
    build(&image, &["--if-stale", "--include", &include]);
    assert!(written(&image) == second, "an image that is current was written again");

    fs::write(&image, &second.1[..1_000_000]).expect("writing");
    build(&image, &["--if-stale", "--include", &include]);
    assert!(written(&image).1 == second.1, "a damaged image was kept");
}
