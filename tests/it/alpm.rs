//! The ALPM family against pacman's own tools: version order, sync databases, and what `pacman -S` chooses.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mkinitrd_pkg::base::error::{Diagnostic, ErrorKind};
use mkinitrd_pkg::config::{Item, Source};
use mkinitrd_pkg::family::alpm::index::AlpmCatalog;
use mkinitrd_pkg::family::alpm::version;
use mkinitrd_pkg::family::repo::Index;
use mkinitrd_pkg::package::{Catalog, Location};
use mkinitrd_pkg::plan::{Error, Plan, Request, plan};
use mkinitrd_pkg::report::Silent;

/// Returns the directory of real distribution data; says so where there is none.
pub fn fixtures() -> Option<PathBuf> {
    let found = std::env::var_os("MKINITRD_FIXTURES").map(PathBuf::from);
    if found.is_none() {
        // Past the test harness, which would hide it.
        let text = b"NOT RUN: set MKINITRD_FIXTURES to compare with the databases and packages of real distributions\n";
        std::io::stderr().write_all(text).expect("standard error");
    }
    found
}

// ---- versions -------------------------------------------------------------------------------------------------------

/// A small generator of numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

#[test]
fn versions_are_ordered_as_vercmp_orders_them() {
    let pieces =
        ["0", "1", "2", "10", "01", "a", "b", "rc", ".", "..", "-", "_", "+", ":", "~", "^", "1:", "0:", "-1", "z1", "é"];
    let mut dice = Dice(7);
    let mut text = |count: usize| (0..count).map(|_| pieces[dice.roll(pieces.len())]).collect::<String>();
    let mut pairs: Vec<(String, String)> = Vec::new();
    for round in 0..2400 {
        let (a, b) = (text(1 + round % 6), text(1 + round % 5));
        // Half of them share a beginning, where the interesting differences are.
        pairs.push(if round % 2 == 0 { (a, b) } else { (format!("{a}{b}"), a) });
    }
    pairs.retain(|(a, b)| !a.starts_with('-') && !b.starts_with('-'));
    let script = "while IFS=' ' read -r a b; do vercmp \"$a\" \"$b\"; done";
    let mut shell = Command::new("bash").args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("bash");
    let lines: String = pairs.iter().map(|(a, b)| format!("{a} {b}\n")).collect();
    let mut stdin = shell.stdin.take().expect("a pipe");
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = shell.wait_with_output().expect("vercmp is needed: install `pacman-package-manager`");
    writer.join().expect("a thread").expect("writing");
    let said = String::from_utf8(output.stdout).expect("numbers");
    let said: Vec<i32> = said.lines().map(|line| line.parse().expect("a number")).collect();
    assert_eq!(said.len(), pairs.len(), "vercmp is needed: install `pacman-package-manager`");
    for ((a, b), said) in pairs.iter().zip(said) {
        assert_eq!(version::compare(a, b) as i32, said.signum(), "`{a}` against `{b}`");
    }
}

// ---- resolving ------------------------------------------------------------------------------------------------------

/// Returns the catalog of some databases, the first of highest priority.
fn catalog(files: &[PathBuf]) -> AlpmCatalog {
    let index = |file: &PathBuf| {
        let name = file.file_name().expect("a name").to_string_lossy();
        let label = name.split(".db").next().expect("a part").to_owned();
        Index::new(label, Location::File("packages".into()), fs::read(file).expect("a database"))
    };
    AlpmCatalog::new("x86_64", files.iter().map(index).collect()).expect("a catalog")
}

fn request(names: &str) -> Request {
    let item = |name: &str| Item { text: name.to_owned(), source: Source { file: "--package".into(), line: 0 } };
    Request { packages: names.split(' ').map(item).collect(), ..Request::default() }
}

/// Returns what pacman's print format would show.
fn shown(plan: &Plan) -> BTreeSet<String> {
    plan.packages.iter().map(|planned| planned.package.to_string()).collect()
}

/// Returns the error with all its reasons.
fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(because) = next {
        text.push_str(&format!("\n  {because}"));
        next = because.source();
    }
    text
}

/// What pacman refuses a request for: the target that it does not find, or the first dependency that it cannot meet with who needs it, or
/// the two packages that refuse each other.
fn culprits(refusal: &str) -> Vec<String> {
    if let Some((_, name)) = refusal.split_once("target not found: ") {
        return vec![name.split([' ', '<', '>', '=']).next().expect("a name").to_owned()];
    }
    if let Some((_, rest)) = refusal.split_once("unable to satisfy dependency '") {
        let (requirement, rest) = rest.split_once("' required by ").expect("who requires it");
        return vec![requirement.to_owned(), rest.split_whitespace().next().expect("a name").to_owned()];
    }
    if let Some((before, _)) = refusal.split_once(" are in conflict") {
        let mut words = before.split(' ').rev();
        let (b, a) = (words.next().expect("a name"), words.nth(1).expect("a name"));
        return vec![a.to_owned(), b.to_owned()];
    }
    panic!("not understood: {refusal}");
}

/// Compares one answer; returns what is different.
fn difference(catalog: &AlpmCatalog, names: &str, wanted: &str) -> Option<String> {
    match (plan(&request(names), catalog, &Silent), wanted.strip_prefix("! unsatisfiable: ")) {
        (Ok(plan), None) => {
            let (ours, theirs) = (shown(&plan), wanted.lines().map(str::to_owned).collect::<BTreeSet<_>>());
            let missing: Vec<_> = theirs.difference(&ours).collect();
            let added: Vec<_> = ours.difference(&theirs).collect();
            (ours != theirs).then(|| format!("`{names}`: missing {missing:?}, too many {added:?}"))
        }
        (Err(error), Some(refusal)) => {
            let told = told(&error);
            // Newer versions of pacman say `name-version-release`.
            let is_told = |name: &String| {
                told.contains(name.as_str()) || name.rsplitn(3, '-').last().is_some_and(|name| told.contains(name))
            };
            let unnamed: Vec<String> = culprits(refusal).into_iter().filter(|name| !is_told(name)).collect();
            let lines = told.lines().count();
            (error.kind() != ErrorKind::Unsolvable || !unnamed.is_empty() || lines > 6)
                .then(|| format!("`{names}`: pacman says {refusal}; we do not name {unnamed:?}: {told}"))
        }
        (Ok(plan), Some(refusal)) => Some(format!("`{names}`: pacman refuses it ({refusal}); we take {}", plan.packages.len())),
        (Err(error), None) => Some(format!("`{names}`: pacman answers; we refuse: {}", told(&error))),
    }
}

/// Returns the requests of an oracle file with the answers.
fn answers(file: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(file).expect("an oracle");
    let blocks = text.split("\n\n").filter(|block| !block.trim().is_empty());
    let answer = |block: &str| {
        let (names, answer) = block.trim_start().split_once('\n').expect("an answer");
        (names.strip_prefix("> ").expect("a request").to_owned(), answer.to_owned())
    };
    blocks.map(answer).collect()
}

fn databases(fixtures: &Path, set: &str) -> Vec<PathBuf> {
    let files: &[&str] = match set {
        "arch-2017" => &["alpm-db/arch-2017/core.db", "alpm-db/arch-2017/extra.db"],
        "arch-2022" => {
            &["alpm-db/arch-2022/core.db.tar.gz", "alpm-db/arch-2022/extra.db.tar.gz", "alpm-db/arch-2022/multilib.db.tar.gz"]
        }
        "arch-2022-more" => &[
            "alpm-db/arch-2022/core.db.tar.gz",
            "alpm-db/arch-2022/extra.db.tar.gz",
            "alpm-db/arch-2022/multilib.db.tar.gz",
            "alpm-db/arch-2022/chaotic-aur.db.tar.xz",
            "alpm-db/arch-2022/archcraft.db.tar.xz",
        ],
        "converted-alpm" => &["converted/trixie-full-metadata/alpm/core.db"],
        other => panic!("no databases for {other}"),
    };
    files.iter().map(|file| fixtures.join(file)).collect()
}

#[test]
fn every_request_is_answered_as_pacman_answers_it() {
    let Some(fixtures) = fixtures() else { return };
    for (set, requests) in [("arch-2017", 27), ("arch-2022", 27), ("converted-alpm", 12)] {
        let catalog = catalog(&databases(&fixtures, set));
        let answers = answers(&fixtures.join(format!("oracle/{set}.txt")));
        assert_eq!(answers.len(), requests, "{set}");
        let differences: Vec<String> = answers.iter().filter_map(|(names, wanted)| difference(&catalog, names, wanted)).collect();
        assert!(differences.is_empty(), "{set}: {} of {requests}:\n{}", differences.len(), differences.join("\n"));
    }
}

/// A pacman with an empty root that knows some databases and no package file.
struct Sandbox {
    dir: tempfile::TempDir,
}

impl Sandbox {
    fn new(databases: &[PathBuf]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let at = dir.path();
        for part in ["db/sync", "db/local", "root", "cache"] {
            fs::create_dir_all(at.join(part)).expect("a directory");
        }
        let shown = at.display();
        let mut conf = format!(
            "[options]\nRootDir = {shown}/root\nDBPath = {shown}/db\nCacheDir = {shown}/cache\nLogFile = {shown}/log\n\
             GPGDir = {shown}/gpg\nArchitecture = x86_64\nSigLevel = Never\n"
        );
        for file in databases {
            let name = file.file_name().expect("a name").to_string_lossy().split(".db").next().expect("a part").to_owned();
            fs::copy(file, at.join(format!("db/sync/{name}.db"))).expect("copying");
            conf.push_str(&format!("[{name}]\nServer = file:///nowhere\n"));
        }
        fs::write(at.join("conf"), conf).expect("writing");
        Self { dir }
    }

    /// Answers as the oracle files do, but for conflicts: they are made with `-Sp`, which does not look for any, and `-S` does. The download
    /// that follows fails, for there are no packages.
    fn answer(&self, names: &str) -> String {
        let mut pacman = Command::new("pacman");
        pacman.arg("--config").arg(self.dir.path().join("conf")).args(["-S", "--noconfirm"]).args(names.split(' '));
        let output = pacman.env("LC_ALL", "C").output().expect("pacman is needed: install `pacman-package-manager`");
        let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).split_whitespace().collect::<Vec<_>>().join(" ");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let Some((_, list)) = text.split_once("\nPackages (") else {
            return format!("! unsatisfiable: {} {}", words(&output.stderr), words(&output.stdout));
        };
        let list = list.split("\n\n").next().and_then(|list| list.split_once(") ")).expect("a list").1;
        let line = |package: &str| {
            let mut parts = package.rsplitn(3, '-');
            let (release, version) = (parts.next().expect("a release"), parts.next().expect("a version"));
            format!("{} {version}-{release}", parts.next().expect("a name"))
        };
        list.split_whitespace().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// Rolls requests of one to four words out of names, provided names with versions, and groups.
fn rolled(catalog: &AlpmCatalog, dice: &mut Dice, count: usize) -> Vec<String> {
    let mut words: Vec<String> = catalog.names().map(str::to_owned).collect();
    words.sort();
    let mut offered: BTreeSet<String> = BTreeSet::new();
    for id in 0..catalog.len() as u32 {
        for offer in &catalog.relations(id).expect("relations").provides {
            offered.insert(match &offer.version {
                Some(version) => format!("{}={version}", offer.name),
                None => offer.name.clone(),
            });
        }
    }
    let offered: Vec<String> = offered.into_iter().collect();
    let groups: Vec<&str> =
        ["base-devel", "xfce4", "gnome", "xorg", "base", "texlive-most", "multilib-devel", "vim-plugins"].to_vec();
    let word = |dice: &mut Dice| match dice.roll(10) {
        0..=6 => words[dice.roll(words.len())].clone(),
        7 | 8 => offered[dice.roll(offered.len())].clone(),
        _ => groups[dice.roll(groups.len())].to_owned(),
    };
    let mut one = || (0..1 + dice.roll(4)).map(|_| word(dice)).collect::<Vec<_>>().join(" ");
    (0..count).map(|_| one()).collect()
}

/// Requests whose packages refuse each other, or that name a repository, a version or a group.
const PICKED: [&str; 11] = [
    "iptables-nft iptables",
    "iptables iptables-nft",
    "systemd iptables-nft",
    "libreoffice-fresh libreoffice-still",
    "jre-openjdk jdk-openjdk jre-openjdk-headless",
    "core/bash extra/vim",
    "bash core/bash bash",
    "base-devel",
    "systemd>=300",
    "glibc>=2.30 bash<6",
    "multilib-devel lib32-systemd",
];

#[test]
fn requests_that_nobody_chose_are_answered_as_pacman_answers_them() {
    let Some(fixtures) = fixtures() else { return };
    let count = std::env::var("MKINITRD_ALPM_REQUESTS").ok().and_then(|count| count.parse().ok()).unwrap_or(25);
    let mut dice = Dice(20_261_121);
    for set in ["arch-2017", "arch-2022", "arch-2022-more", "converted-alpm"] {
        let files = databases(&fixtures, set);
        let (catalog, sandbox) = (catalog(&files), Sandbox::new(&files));
        let mut requests = rolled(&catalog, &mut dice, count);
        if set == "arch-2022" {
            requests.extend(PICKED.iter().map(|names| (*names).to_owned()));
        }
        let answers: Vec<String> = requests.iter().map(|names| sandbox.answer(names)).collect();
        let refused = answers.iter().filter(|answer| answer.starts_with('!')).count();
        println!("{set}: {count} requests, {refused} of them refused by pacman");
        let compared = requests.iter().zip(&answers);
        let differences: Vec<String> = compared.filter_map(|(names, wanted)| difference(&catalog, names, wanted)).collect();
        assert!(differences.is_empty(), "{set}: {} of {count}:\n{}", differences.len(), differences.join("\n"));
    }
}
