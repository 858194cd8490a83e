//! The RPM family against dnf and libsolv, over real metadata.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "what was compared is told")]

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use mkinitrd_pkg::config::{Item, Source};
use mkinitrd_pkg::family::repo::Policy;
use mkinitrd_pkg::family::rpm::index::{Index, RpmCatalog};
use mkinitrd_pkg::package::{Catalog, Location};
use mkinitrd_pkg::plan::{Error, Plan, Request, plan};
use mkinitrd_pkg::report::Silent;

/// Returns the fixtures, or says loudly that there are none.
pub fn fixtures(what: &str) -> Option<PathBuf> {
    let dir = std::env::var_os("MKINITRD_FIXTURES").map(PathBuf::from);
    if dir.is_none() {
        println!("NOT RUN: {what}: set `MKINITRD_FIXTURES` to the directory of the fixtures");
    }
    dir
}

/// Returns the text of a file in a repository's `repodata` whose name ends so, decompressed by the format's own tool.
fn metadata(dir: &Path, kind: &str) -> Vec<u8> {
    let entries = fs::read_dir(dir.join("repodata")).unwrap().map(|entry| entry.unwrap().path());
    let path = entries.into_iter().find(|path| path.to_string_lossy().contains(kind)).unwrap();
    let file = fs::File::open(&path).unwrap();
    let mut text = Vec::new();
    match path.extension().unwrap().to_str().unwrap() {
        "gz" => flate2::read::MultiGzDecoder::new(file).read_to_end(&mut text),
        "zst" => zstd::stream::read::Decoder::new(file).unwrap().read_to_end(&mut text),
        other => panic!("{other}"),
    }
    .unwrap();
    text
}

fn catalog(dir: &Path) -> RpmCatalog {
    let index = Index {
        label: "r0".into(),
        base: Location::File(dir.to_owned()),
        policy: Policy::default(),
        primary: metadata(dir, "primary.xml"),
        filelists: metadata(dir, "filelists.xml"),
        seals: None,
        has_unread_files: false,
    };
    RpmCatalog::new("x86_64", vec![index]).unwrap()
}

fn ask(catalog: &dyn Catalog, words: &str, recommends: bool) -> Result<Plan, Error> {
    let item = |text: &str| Item { text: text.into(), source: Source { file: "--package".into(), line: 0 } };
    let request = Request { packages: words.split_whitespace().map(item).collect(), recommends, ..Request::default() };
    plan(&request, catalog, &Silent)
}

/// Returns a plan as the oracles write it.
fn shown(plan: &Plan) -> Vec<String> {
    let line = |package: &mkinitrd_pkg::package::Package| {
        let epoch = if package.version.contains(':') { "" } else { "0:" };
        format!("{} {epoch}{}.{}", package.name, package.version, package.arch)
    };
    let mut lines: Vec<String> = plan.packages.iter().map(|planned| line(&planned.package)).collect();
    lines.sort();
    lines
}

/// Requests where our answer differs from dnf's and is as valid, with the reason.
const AS_VALID: [(&str, &str); 0] = [];

/// Compares every request of an oracle's file; returns how many there were.
fn compare(oracle: &Path, catalog: &RpmCatalog, recommends: bool) -> usize {
    let text = fs::read_to_string(oracle).unwrap();
    let (mut count, mut wrong) = (0, Vec::new());
    for block in text.split("\n\n").filter(|block| !block.trim().is_empty()) {
        let (request, answer) = block.trim_start().split_once('\n').unwrap();
        let words = request.strip_prefix("> ").unwrap();
        count += 1;
        if AS_VALID.iter().any(|(known, _)| *known == words) {
            continue;
        }
        let found = ask(catalog, words, recommends);
        match (&found, answer.strip_prefix("! unsatisfiable: ")) {
            (Ok(plan), None) => {
                let (found, wanted) = (shown(plan), answer.lines().map(str::to_owned).collect::<Vec<_>>());
                if found != wanted {
                    let more: Vec<_> = found.iter().filter(|line| !wanted.contains(line)).collect();
                    let less: Vec<_> = wanted.iter().filter(|line| !found.contains(line)).collect();
                    wrong.push(format!("{words}: {more:?} instead of {less:?}"));
                }
            }
            (Err(error), Some(reason)) => wrong.extend(other_culprit(words, error, reason)),
            (Ok(plan), Some(reason)) => wrong.push(format!("{words}: {} packages, dnf says {reason}", plan.packages.len())),
            (Err(error), None) => wrong.push(format!("{words}: {}", chain(error))),
        }
    }
    assert!(wrong.is_empty(), "{}: {} of {count} differ:\n{}", oracle.display(), wrong.len(), wrong.join("\n"));
    println!("{}: {count} requests as dnf", oracle.file_name().unwrap().to_string_lossy());
    count
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}; {error}");
        next = error.source();
    }
    text
}

/// Tells when the error does not name what dnf's message blames.
fn other_culprit(words: &str, error: &Error, reason: &str) -> Option<String> {
    let text = chain(error);
    let blamed = match (reason.strip_prefix("No match for argument: "), reason.split_once("nothing provides ")) {
        (Some(name), _) => name.trim(),
        (None, Some((_, rest))) => rest.split(" needed by ").next().unwrap(),
        (None, None) => {
            // Two packages that are in each other's way: both are named.
            let names = reason.split_whitespace().filter(|word| word.contains(".el9.")).collect::<Vec<_>>();
            let is_named = |name: &&str| text.contains(name.rsplitn(3, '-').last().unwrap());
            return (!names.iter().any(is_named)).then(|| format!("{words}: {text}, dnf says {reason}"));
        }
    };
    (!text.contains(blamed)).then(|| format!("{words}: {text}, dnf says {reason}"))
}

#[test]
fn every_request_is_answered_as_dnf_does() {
    let Some(dir) = fixtures("84 requests answered by dnf") else { return };
    let centos = catalog(&dir.join("rpm-md/centos9-baseos-2022"));
    let oracle = |name: &str| dir.join("oracle").join(name);
    let mut count = compare(&oracle("centos9-baseos-2022.txt"), &centos, false);
    count += compare(&oracle("centos9-baseos-2022-weak.txt"), &centos, true);
    assert!(count > 50, "only {count} requests");
    let converted = catalog(&dir.join("converted/trixie-full-metadata/rpm"));
    count += compare(&oracle("converted-rpm.txt"), &converted, false);
    count += compare(&oracle("converted-rpm-weak.txt"), &converted, true);
    assert!(count > 70, "only {count} requests");
}
