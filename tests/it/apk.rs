//! The APK family against apk-tools: what it installs over real indexes, its own solver cases, and packages against tar.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::error::Error as _;
use std::fs;
use std::path::{Path, PathBuf};

use mkinitrd_pkg::config::Item;
use mkinitrd_pkg::family::apk::index::ApkCatalog;
use mkinitrd_pkg::family::apk::repository;
use mkinitrd_pkg::family::repo::Index;
use mkinitrd_pkg::package::Location;
use mkinitrd_pkg::plan::{Error, Plan, Request, plan};
use mkinitrd_pkg::report::Silent;

/// Returns the fixtures' directory, or says loudly what is not tested without it.
fn fixtures(what: &str) -> Option<PathBuf> {
    let found = std::env::var_os("MKINITRD_FIXTURES").map(PathBuf::from);
    if found.is_none() {
        println!("NOT RUN: {what}: set `MKINITRD_FIXTURES` to a directory that has them");
    }
    found
}

fn index(path: &Path, label: &str) -> Index {
    let bytes = fs::read(path).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
    let text = repository::unpack(&bytes).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
    Index::new(label, Location::Url("https://mirror/alpine/main/x86_64".to_owned()), text)
}

fn requested(text: &str) -> Request {
    Request { packages: text.split(' ').map(Item::from_command_line).collect(), ..Request::default() }
}

fn set_of(plan: &Plan) -> Vec<String> {
    let mut set: Vec<String> =
        plan.packages.iter().map(|planned| format!("{} {}", planned.package.name, planned.package.version)).collect();
    set.sort();
    set
}

/// Returns an error with all that it says.
fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!("\n{cause}"));
        source = cause.source();
    }
    text
}

// ---- apk's answers over whole repositories --------------------------------------------------------------------------

/// Requests of which our answer differs from apk's, and why that is as good. One that no longer differs must go.
const DIFFERENCES: &[(&str, &str, &str)] = &[];

/// What apk answered: the request, and the packages or what it says instead.
fn answers(path: &Path) -> Vec<(String, Result<Vec<String>, String>)> {
    let text = fs::read_to_string(path).unwrap();
    let blocks = text.split("\n\n").map(str::trim).filter(|block| !block.is_empty());
    let answers: Vec<_> = blocks
        .map(|block| {
            let (request, answer) = block.split_once('\n').unwrap_or((block, ""));
            let request = request.strip_prefix("> ").unwrap().to_owned();
            match answer.strip_prefix("! ") {
                Some(reason) => (request, Err(reason.to_owned())),
                None => (request, Ok(answer.lines().map(str::to_owned).collect())),
            }
        })
        .collect();
    assert!(answers.len() > 9, "{} answers in {}", answers.len(), path.display());
    answers
}

fn compare_with_apk(oracle: &str, arch: &str, indexes: &[&str]) {
    let Some(fixtures) = fixtures(&format!("apk's answers in {oracle}")) else { return };
    let indexes: Vec<Index> = indexes.iter().map(|path| index(&fixtures.join(path), path)).collect();
    let catalog = ApkCatalog::new(arch, indexes).unwrap();
    let (mut equal, mut refused, mut wrong) = (0, 0, Vec::new());
    let answers = answers(&fixtures.join("oracle").join(oracle));
    for (request, apks) in &answers {
        let ours = plan(&requested(request), &catalog, &Silent);
        let is_listed = DIFFERENCES.iter().any(|(of, listed, _)| of == &oracle && listed == request);
        let fault = match (&ours, apks) {
            (Ok(ours), Ok(apks)) if set_of(ours) == *apks => {
                equal += 1;
                None
            }
            (Ok(ours), Ok(apks)) => {
                let ours = set_of(ours);
                let more: Vec<_> = ours.iter().filter(|package| !apks.contains(package)).take(8).collect();
                let less: Vec<_> = apks.iter().filter(|package| !ours.contains(package)).take(8).collect();
                Some(format!("more than apk {more:?}, less {less:?}"))
            }
            (Err(error), Err(reason)) => {
                refused += 1;
                // `… select packages: CULPRIT (no such package): required by: …`
                let name = reason.split("select packages: ").nth(1).unwrap().split(" (").next().unwrap();
                let text = told(error);
                (!text.contains(&format!("`{name}`"))).then(|| format!("apk names `{name}`, we say {text}"))
            }
            (Ok(_), Err(reason)) => Some(format!("apk refuses: {reason}")),
            (Err(error), Ok(_)) => Some(format!("apk does it, we say {}", told(error))),
        };
        match (fault, is_listed) {
            (None, false) | (Some(_), true) => {}
            (None, true) => wrong.push(format!("`{request}` is listed as a difference but is none")),
            (Some(fault), false) => wrong.push(format!("`{request}`: {fault}")),
        }
    }
    assert!(wrong.is_empty(), "{oracle}, {} of {}:\n{}", wrong.len(), answers.len(), wrong.join("\n"));
    println!("{oracle}: {equal} equal, {refused} refused with the same culprit");
    assert_eq!(equal + refused, answers.len());
}

#[test]
fn equals_apk_on_alpine_314_for_armv7() {
    let cache = "apk/alpine-314/var/cache/apk";
    compare_with_apk(
        "alpine-314-armv7.txt",
        "armv7",
        &[&format!("{cache}/APKINDEX.406b1341.tar.gz"), &format!("{cache}/APKINDEX.a251b1f2.tar.gz")],
    );
}

#[test]
fn equals_apk_on_alpine_316_main() {
    compare_with_apk("alpine-316-main.txt", "x86_64", &["apk/alpine-316/APKINDEX.tar.gz"]);
}

#[test]
fn equals_apk_on_alpine_317_main_for_aarch64() {
    compare_with_apk("alpine-317-main-aarch64.txt", "aarch64", &["apk/alpine-317/APKINDEX.tar.gz"]);
}

#[test]
fn equals_apk_on_debian_packages_in_its_format() {
    compare_with_apk("converted-apk.txt", "x86_64", &["converted/trixie-full-metadata/apk/APKINDEX.tar.gz"]);
}
