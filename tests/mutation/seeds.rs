//! What libFuzzer begins with: the corpus of each target, and the small ones of the real files beside the project.

use std::fs;
use std::path::{Path, PathBuf};

use mkinitrd_pkg::base::digest::Sha256;

use crate::targets;

/// Larger ones are read too seldom in a second.
const MAX_BYTES: u64 = 128 << 10;

/// Target, directory below `MKINITRD_FIXTURES`, what a file's name has in it.
const FIXTURES: [(&str, &str, &str); 8] = [
    ("rpm-package", "rpm", ".rpm"),
    ("rpm-repomd", "rpm-md", "repomd.xml"),
    ("rpm-primary", "rpm-md", "primary.xml"),
    ("alpm-package", "alpm-pkg", ".pkg.tar."),
    ("alpm-database", "alpm-db", ".db"),
    ("apk-package", "apk", ".apk"),
    ("apk-segments", "apk", ".apk"),
    ("apk-index-file", "apk", "APKINDEX.tar.gz"),
];

/// Writes them to a directory for each target.
pub fn write(to: &Path) {
    for target in &targets::ALL {
        let dir = to.join(target.name);
        fs::create_dir_all(&dir).expect("a directory");
        let fixtures =
            FIXTURES.iter().filter(|(name, ..)| *name == target.name).flat_map(|(_, below, part)| fixtures(below, part));
        let inputs = (target.corpus)().into_iter().chain(fixtures);
        let count =
            inputs.map(|input| fs::write(dir.join(&Sha256::of(&input).to_string()[..16]), input).expect("writing")).count();
        println!("{}: {count} seeds", target.name);
    }
}

/// Returns the small files below a directory of the fixtures that have a part of a name.
fn fixtures(below: &str, part: &str) -> Vec<Vec<u8>> {
    let Some(root) = std::env::var_os("MKINITRD_FIXTURES") else { return Vec::new() };
    let (mut dirs, mut found) = (vec![PathBuf::from(root).join(below)], Vec::new());
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("a directory of the fixtures").map(|entry| entry.expect("an entry")) {
            let metadata = entry.metadata().expect("an entry");
            if metadata.is_dir() {
                dirs.push(entry.path());
            } else if metadata.len() <= MAX_BYTES && entry.file_name().to_string_lossy().contains(part) {
                found.push(fs::read(entry.path()).expect("a fixture"));
            }
        }
    }
    assert!(!found.is_empty(), "the fixtures have no small `*{part}*` below `{below}`");
    found
}
