//! `why` and `diff` on real images: every chain ends with somebody who asked, and a difference is what `ls` shows.

use std::collections::BTreeSet;
use std::path::Path;

use crate::program::{TRIXIE, program, ran, trixie_image};

fn why(what: &str) -> Vec<String> {
    let text = ran(program().arg("why").arg(trixie_image()).arg(what)).good().out;
    text.lines().map(str::to_owned).collect()
}

fn listed(image: &Path) -> BTreeSet<String> {
    let text = ran(program().arg("ls").arg(image)).good().out;
    text.lines().map(|line| format!("/{line}")).collect()
}

#[test]
fn every_chain_ends_with_whoever_asked() {
    let all: Vec<String> = listed(trixie_image()).into_iter().filter(|path| path.starts_with("/usr/")).collect();
    assert!(all.len() > 1000, "{} paths", all.len());
    let is_link_or_file = |path: &&String| !all.iter().any(|other| other.starts_with(&format!("{path}/")));
    let chosen: Vec<&String> = all.iter().filter(is_link_or_file).step_by(all.len() / 40).collect();
    for path in chosen {
        let chain = why(path);
        let last = chain.last().expect("a chain");
        let ends = ["asked for by", "pattern `", "is made", "firmware", "kept as"];
        assert!(ends.iter().any(|end| last.contains(end)) || last.contains("depmod"), "{path}: {chain:#?}");
    }
}

#[test]
fn packages_modules_and_paths_are_known_by_name() {
    let chain = why("libdevmapper1.02.1");
    assert!(
        chain.len() >= 2 && chain[0].contains("requires") && chain.last().expect("a chain").contains("asked for"),
        "{chain:#?}"
    );
    let chain = why("dm-crypt");
    assert!(chain[0].contains("dm_crypt") || chain[0].contains("dm-crypt"), "{chain:#?}");
    let lists: Vec<String> = listed(trixie_image()).into_iter().filter(|path| path.contains("/modules.")).collect();
    assert!(lists.iter().any(|path| path.ends_with("/modules.dep.bin")), "{lists:?}");
    assert!(lists.iter().all(|list| why(list)[0].contains("as depmod makes it")));
    let image = trixie_image().display().to_string();
    for absent in ["/usr/bin/nonexistent", &lists[0].replace("/modules.", "/modules.no-")] {
        ran(program().args(["why", &image, absent])).bad(2, &["neither a path nor a package nor a module"]);
    }
}

#[test]
fn a_difference_is_what_the_lists_say() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let small = dir.path().join("small.img");
    let mut build = program();
    build.args(TRIXIE).args(["--arch", "amd64", "--offline", "--without", "lvm", "-o"]).arg(&small);
    let image = trixie_image();
    ran(&mut build).good();
    let same = ran(program().arg("diff").args([image, image])).good().out;
    assert_eq!(same, "0 packages, 0 modules, 0 files differ, +0 B\n");
    let json = ran(program().args(["diff", "--json"]).args([image, &small])).good().out;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let gone = |kind: &str| -> BTreeSet<String> {
        let changes = json[kind].as_array().expect("changes").iter().filter(|change| change["after"].is_null());
        changes.map(|change| change["name"].as_str().expect("a name").to_owned()).collect()
    };
    assert!(gone("packages").contains("lvm2"), "{json:#}");
    let by_lists: BTreeSet<String> = listed(image).difference(&listed(&small)).cloned().collect();
    assert!(by_lists.len() > 5, "{by_lists:?}");
    assert_eq!(gone("files"), by_lists);
}

#[test]
fn every_byte_comes_from_somewhere() {
    let json = ran(program().args(["ls", "--by-package", "--json"]).arg(trixie_image())).good().out;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let shares = json["shares"].as_array().expect("shares");
    let bytes: u64 = shares.iter().map(|share| share["bytes"].as_u64().expect("a number")).sum();
    let files: u64 = shares.iter().map(|share| share["files"].as_u64().expect("a number")).sum();
    let entries = ran(program().args(["ls", "--json"]).arg(trixie_image())).good().out;
    let entries: serde_json::Value = serde_json::from_str(&entries).expect("JSON");
    let entries = entries["entries"].as_array().expect("entries");
    assert_eq!(files, entries.iter().filter(|entry| entry["type"] != "dir").count() as u64);
    let by_ls: u64 =
        entries.iter().map(|entry| if entry["type"] == "file" { entry["size"].as_u64().expect("a size") } else { 0 }).sum();
    assert!(bytes <= by_ls && bytes > by_ls * 95 / 100, "{bytes} of {by_ls} bytes: only hard links count once");
    let biggest = shares[0]["from"].as_str().expect("a source");
    assert!(biggest.starts_with("package ") || biggest.starts_with("modules "), "{biggest}");
    assert!(shares.iter().all(|share| share["from"] != "configuration of the host"), "a generic image has none");
}
