//! Debian's version order, against dpkg's own on real versions.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use mkinitrd_pkg::family::deb::control::paragraphs;
use mkinitrd_pkg::family::deb::version::compare;

use crate::program::effort;
use crate::solver::Sandbox;

/// How many pairs are compared with dpkg's order: 3,000,000 in the slow tier.
fn pairs() -> usize {
    300_000 * effort()
}

/// Every version that trixie and sid have, with those that their relations name.
fn versions() -> Vec<String> {
    let mut all = BTreeSet::new();
    for suite in ["trixie", "sid"] {
        let text = Sandbox::get(suite).packages();
        for paragraph in paragraphs(&text) {
            for field in paragraph.fields() {
                match field.name {
                    b"Version" => {
                        all.insert(String::from_utf8(field.value.to_vec()).unwrap());
                    }
                    b"Depends" | b"Breaks" => {
                        let value = std::str::from_utf8(field.value).unwrap();
                        let ranges = value.split(['(', ')']).skip(1).step_by(2);
                        all.extend(
                            ranges.filter_map(|range| range.split_once(' ')).map(|(_, version)| version.trim().to_owned()),
                        );
                    }
                    _ => {}
                }
            }
        }
    }
    all.into_iter().collect()
}

/// A small generator, so that a failure can be repeated.
fn random(state: &mut u64, below: usize) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize % below
}

#[test]
fn orders_as_dpkg_does_on_pairs_of_real_versions() {
    let versions = versions();
    assert!(versions.len() > 50_000, "{} versions", versions.len());
    let mut seed = 20_261_120;
    let mut pairs = Vec::new();
    for i in 0..self::pairs() {
        let a = random(&mut seed, versions.len());
        // Neighbours in alphabetical order share a beginning, which is where the order is hard.
        let b = if i % 2 == 0 { random(&mut seed, versions.len()) } else { (a + 1 + random(&mut seed, 12)) % versions.len() };
        pairs.push((a, b));
    }
    let script = "use Dpkg::Version; $/ = \"\\n\"; while (<STDIN>) { chomp; my ($a, $b) = split / /; \
                  print version_compare($a, $b) <=> 0, \"\\n\"; }";
    let mut perl = Command::new("perl")
        .args(["-e", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("perl with Dpkg::Version is needed: install `libdpkg-perl`");
    let mut stdin = perl.stdin.take().unwrap();
    let input: String = pairs.iter().map(|&(a, b)| format!("{} {}\n", versions[a], versions[b])).collect();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()).unwrap());
    let output = perl.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success(), "perl with Dpkg::Version is needed: install `libdpkg-perl`");
    let answers: Vec<&str> = std::str::from_utf8(&output.stdout).unwrap().lines().collect();
    assert_eq!(answers.len(), pairs.len());
    let mut wrong = Vec::new();
    for (&(a, b), answer) in pairs.iter().zip(answers) {
        let expected = match answer {
            "-1" => Ordering::Less,
            "0" => Ordering::Equal,
            "1" => Ordering::Greater,
            other => panic!("{other} for {} and {}", versions[a], versions[b]),
        };
        if compare(&versions[a], &versions[b]) != expected || compare(&versions[b], &versions[a]) != expected.reverse() {
            wrong.push(format!("{} against {}: wanted {expected:?}", versions[a], versions[b]));
        }
    }
    assert!(wrong.is_empty(), "{} wrong, such as {:?}", wrong.len(), &wrong[..wrong.len().min(10)]);
}

#[test]
fn is_a_total_order_on_all_real_versions() {
    let mut versions = versions();
    versions.sort_by(|a, b| compare(a, b));
    for pair in versions.windows(2) {
        assert!(compare(&pair[0], &pair[1]).is_le(), "{} {}", pair[0], pair[1]);
        assert_eq!(compare(&pair[1], &pair[0]), compare(&pair[0], &pair[1]).reverse());
    }
    // What is sorted is in order at any distance, unless the order is none.
    let mut seed = 7;
    for _ in 0..1_000_000 {
        let a = random(&mut seed, versions.len());
        let b = random(&mut seed, versions.len());
        let (low, high) = (a.min(b), a.max(b));
        assert!(compare(&versions[low], &versions[high]).is_le(), "{} {}", versions[low], versions[high]);
    }
}
