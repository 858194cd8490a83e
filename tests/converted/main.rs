//! The project's own repositories of RPM, pacman and Alpine packages: right in the eyes of the formats' own tools, and the same tree to us.
#![allow(clippy::print_stdout, reason = "what was compared is told")]

mod installed;
mod machines;
mod parity;
#[path = "../repositories/mod.rs"]
#[allow(dead_code, reason = "other test programs use the rest")]
mod repositories;
mod requests;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use mkinitrd_pkg::base::digest::Sha256;
use repositories::{Family, Set, make_anew, repository};

/// Runs a tool that must succeed, and returns what it printed; names the package of Debian that has it.
#[track_caller]
fn run(command: &mut Command, debian_package: &str) -> Vec<u8> {
    let output =
        command.env("LC_ALL", "C").output().unwrap_or_else(|err| panic!("{command:?}: {err}: install `{debian_package}`"));
    let said = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned();
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    output.stdout
}

/// Returns everything of a repository that has to be the same each time: of what is signed, what lies below the signature.
fn steady(family: Family, dir: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        for path in fs::read_dir(next).expect("a directory").map(|entry| entry.expect("an entry").path()) {
            let name = path.strip_prefix(dir).expect("below").to_string_lossy().into_owned();
            let is_signature = [".sig", ".asc", ".pub"].iter().any(|end| name.ends_with(end));
            if path.is_dir() {
                open.push(path);
            } else if name.ends_with(".rpm") {
                let format = "%{SHA256HEADER} %{PAYLOADDIGEST} %{LONGARCHIVESIZE}";
                let digests = run(Command::new("rpm").args(["-qp", "--nosignature", "--qf", format]).arg(&path), "rpm");
                found.insert(name, String::from_utf8(digests).expect("text"));
            } else if family == Family::Alpine && !is_signature {
                // The first of the segments is the signature, of one and the same size.
                let text = run(
                    Command::new("bsdtar")
                        .args(["-cf", "-", "--format=mtree", "--options=!all,sha256,mode,time,link,type"])
                        .arg(at(&path)),
                    "libarchive-tools",
                );
                let lines: Vec<String> = String::from_utf8(text)
                    .expect("text")
                    .lines()
                    .filter(|line| !line.starts_with("./.SIGN"))
                    .map(str::to_owned)
                    .collect();
                found.insert(name, lines.join("\n"));
            } else if !is_signature && !name.starts_with("repodata/") && !name.starts_with("core.") {
                found.insert(name, Sha256::of(&fs::read(&path).expect("a file")).to_string());
            }
        }
    }
    found
}

/// `@FILE`, in bsdtar's words: the members of an archive.
fn at(path: &Path) -> String {
    format!("@{}", path.display())
}

#[test]
fn a_repository_repeats_but_for_its_signatures() {
    for family in [Family::Fedora, Family::Arch, Family::Alpine] {
        let cached = repository(family, Set::Mini);
        let dir = tempfile::tempdir().expect("a temporary directory");
        make_anew(family, Set::Mini, dir.path());
        let (first, second) = (steady(family, &cached.dir), steady(family, dir.path()));
        let differ: Vec<&String> =
            first.keys().chain(second.keys()).filter(|name| first.get(*name) != second.get(*name)).collect();
        assert!(differ.is_empty(), "{family:?}: {differ:?}");
        assert!(first.len() > 15, "{family:?}: {} files", first.len());
        println!("{family:?}: {} files repeat", first.len());
    }
}
