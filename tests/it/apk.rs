//! The APK family against apk-tools: what it installs over real indexes, its own solver cases, and packages against tar.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "what is not run, and the figures of what is, are told")]

use std::error::Error as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use mkinitrd_pkg::base::digest::{Sha1, Sha256};
use mkinitrd_pkg::base::trust::{RsaHash, RsaSignature};
use mkinitrd_pkg::config::{Item, Source};
use mkinitrd_pkg::family::apk::index::ApkCatalog;
use mkinitrd_pkg::family::apk::{Apk, Checksum, installed, read, repository, segments};
use mkinitrd_pkg::family::repo::Index;
use mkinitrd_pkg::family::{Family, MemberKind, ReadError};
use mkinitrd_pkg::package::{Catalog, Location};
use mkinitrd_pkg::plan::{Blocked, Error, Plan, Request, plan};
use mkinitrd_pkg::report::Silent;
use mkinitrd_pkg::store::rsa::{self, RsaError};
use mkinitrd_pkg::tree::Meta;

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

// ---- apk's own solver cases -----------------------------------------------------------------------------------------

/// Cases that ask for what we never do, and why. Those with `@INSTALLED` or another verb than `add` tell it themselves.
const NOT_APPLICABLE: &[(&str, &str)] = &[
    ("basic8.test", "makes a virtual package"),
    ("basic11.test", "installs what it can of a broken request (--force-broken-world)"),
    ("basic16.test", "takes apk's cache for a repository, without a network"),
];

/// A case of apk's: what is asked, over what, and what apk prints.
#[derive(Default)]
struct Case {
    arguments: Vec<String>,
    repos: Vec<(Option<String>, String)>,
    world: Vec<String>,
    is_installed: bool,
    expected: Vec<String>,
}

fn case(path: &Path) -> Case {
    let mut case = Case::default();
    let text = fs::read_to_string(path).unwrap();
    let (head, expected) = text.split_once("@EXPECT\n").unwrap();
    case.expected = expected.lines().map(str::to_owned).collect();
    for line in head.lines() {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        match words[0].as_str() {
            "@ARGS" => case.arguments = words[1..].to_vec(),
            "@WORLD" => case.world = words[1..].to_vec(),
            "@REPO" | "@CACHE" => {
                let tag = words[1].strip_prefix('@').map(str::to_owned);
                case.repos.push((tag, words.last().unwrap().clone()));
            }
            "@INSTALLED" => case.is_installed = true,
            other => panic!("{other} in {}", path.display()),
        }
    }
    case
}

/// The cases' checksums were typed at random: clears the bits that no 20 bytes have, as apk's reader does.
fn with_proper_checksums(text: &str) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut proper = String::new();
    for line in text.lines() {
        match line.strip_prefix("C:").and_then(|rest| rest.strip_suffix('=')) {
            Some(rest) => {
                let last = LETTERS.iter().position(|letter| *letter == *rest.as_bytes().last().unwrap()).unwrap();
                proper.push_str(&format!("C:{}{}=\n", &rest[..rest.len() - 1], char::from(LETTERS[last & !3])));
            }
            // Every package of a real index says how large it is; some of the cases' do not.
            None => proper.push_str(&format!("{line}\n")),
        }
    }
    proper
}

/// Returns the plan as apk prints it: `a@tag (1)`.
fn steps(plan: &Plan) -> Vec<String> {
    let shown = plan.packages.iter().map(|planned| {
        let tag = planned.package.repo.split(' ').find(|word| word.starts_with('@')).unwrap_or_default();
        format!("{}{tag} ({})", planned.package.name, planned.package.version)
    });
    shown.collect()
}

/// Compares the answer of a case with ours; says what is different.
fn fault_of(dir: &Path, case: &Case) -> Option<String> {
    let indexes = case.repos.iter().enumerate().map(|(number, (tag, file))| {
        let text = with_proper_checksums(&fs::read_to_string(dir.join(file)).unwrap());
        let label = tag.as_ref().map_or(format!("r{number}"), |tag| format!("@{tag} r{number}"));
        Index::new(label, Location::Url("https://mirror/r".to_owned()), text.into_bytes())
    });
    let catalog = ApkCatalog::new("x86_64", indexes.collect()).unwrap();
    let words = case.world.iter().chain(case.arguments.iter().filter(|word| !word.starts_with('-')).skip(1));
    let request = Request { packages: words.map(Item::from_command_line).collect(), ..Request::default() };
    let ours = plan(&request, &catalog, &Silent);
    let installing = case.expected.iter().filter_map(|line| line.split_once(") Installing ").map(|(_, step)| step.to_owned()));
    let wanted: Vec<String> = installing.collect();
    match ours {
        Ok(plan) if wanted == steps(&plan) && !wanted.is_empty() => None,
        Ok(plan) => Some(format!("wanted {wanted:?} or {:?}, found {:?}", case.expected, steps(&plan))),
        Err(error) if !wanted.is_empty() => Some(format!("wanted {wanted:?}, found {}", told(&error))),
        Err(error) => {
            let text = told(&error);
            let culprits = case.expected.iter().filter_map(|line| {
                let quoted =
                    line.strip_prefix("ERROR: '").and_then(|rest| rest.split('\'').next()).map(|word| vec![format!("`{word}`")]);
                let label = line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')).and_then(|rest| rest.strip_suffix(':'));
                quoted.or_else(|| {
                    let name = label?.split(" (").next()?;
                    let package = name.rsplit_once('-').map(|(name, version)| format!("`{name} {version}`"));
                    let alone = name.rsplit_once('-').map_or(name, |(name, _)| name);
                    Some([package.as_deref().unwrap_or("-").to_owned(), format!("`{name}`"), format!("`{alone}`")].to_vec())
                })
            });
            let culprits: Vec<Vec<String>> = culprits.collect();
            assert!(!culprits.is_empty(), "{:?}", case.expected);
            let is_told = |culprit: &Vec<String>| culprit.iter().any(|form| text.contains(form.as_str()));
            (!culprits.iter().all(is_told)).then(|| format!("wanted {culprits:?}, found {text}"))
        }
    }
}

#[test]
fn apks_own_solver_cases_pass() {
    let Some(dir) = fixtures("apk's solver cases").map(|fixtures| fixtures.join("solver/apk")) else { return };
    let mut names: Vec<String> =
        fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(".test"));
    names.sort();
    let (mut passed, mut skipped, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for name in &names {
        let case = case(&dir.join(name));
        let listed = NOT_APPLICABLE.iter().find(|(listed, _)| listed == name).map(|(_, reason)| *reason);
        let verb = case.arguments.iter().find(|word| !word.starts_with('-')).map(String::as_str);
        let reason = match (case.is_installed, verb) {
            (true, _) => Some("begins with packages installed; we begin with an empty root"),
            (false, Some("add")) => listed,
            _ => Some("another verb than `add`"),
        };
        match reason {
            Some(reason) => skipped.push((name, reason)),
            None => match fault_of(&dir, &case) {
                None => passed.push(name),
                Some(fault) => failed.push(format!("{name}: {fault}")),
            },
        }
    }
    skipped.iter().for_each(|(name, reason)| println!("not applicable: {name}: {reason}"));
    println!("{} passed, {} not applicable, {} failed", passed.len(), skipped.len(), failed.len());
    assert!(failed.is_empty(), "{} of {} failed:\n{}", failed.len(), names.len(), failed.join("\n"));
    assert!(passed.len() >= 40, "only {} passed", passed.len());
}

// ---- what is said, and bad input ------------------------------------------------------------------------------------

/// Makes a catalog of entries `name version; D:…; p:…`.
fn catalog(entries: &[String]) -> ApkCatalog {
    let mut text = String::new();
    for (number, entry) in entries.iter().enumerate() {
        let mut parts = entry.split("; ");
        let (name, version) = parts.next().unwrap().split_once(' ').unwrap();
        let mut digest = [0; 20];
        digest[..8].copy_from_slice(&(number as u64).to_le_bytes());
        text.push_str(&format!("C:{}\nP:{name}\nV:{version}\nA:x86_64\nS:1\nI:1\n", Checksum::Sha1(digest)));
        parts.for_each(|line| text.push_str(&format!("{line}\n")));
        text.push('\n');
    }
    let index = Index::new("v3/main", Location::Url("https://mirror/v3/main/x86_64".to_owned()), text.into_bytes());
    ApkCatalog::new("x86_64", vec![index]).unwrap()
}

fn answer(entries: &[&str], request: &str) -> String {
    let entries: Vec<String> = entries.iter().map(|entry| (*entry).to_owned()).collect();
    match plan(&requested(request), &catalog(&entries), &Silent) {
        Ok(plan) => steps(&plan).join(", "),
        Err(error) => told(&error),
    }
}

#[test]
fn says_who_is_to_blame() {
    for (entries, request, said) in [
        (&["a 1; D:b", "b 1; D:c>=2", "c 1"][..], "a", "`a` cannot be installed\n`b 1` wants `c (>= 2)`, which `c 1` is not"),
        (&["a 1"], "b", "no package provides `b`\nthe only repository, `v3/main`, does not list it"),
        (&["a 1; D:b"], "a", "`a` cannot be installed\n`a 1` requires `b`\nbut no package provides `b`"),
        (&["a 1; p:v", "b 1; p:v"], "v", "`v` is not a package, and several provide it"),
        (&["a 1; p:v"], "v", "`v` is not a package, and `a`, which provides it, must be asked for by its own name"),
        (&["b 1; D:v", "a 1; p:v"], "b", "`b` cannot be installed\n`b 1` requires `v`\nbut `v` is not a package, and `a`, which"),
        (&["a 1; p:v; k:5", "b 1; p:v"], "v", "a (1)"),
        (
            &["a 1; D:!b", "b 1"],
            "a b",
            "the requested packages cannot be installed together\nthe request wants `b`, that is `b 1`\nbut `a 1` wants `!b`",
        ),
        (&["a 1; D:x", "b 1; D:y", "c 1; p:x=1 z=1", "d 1; p:y=1 z=2"], "a b", "cannot be there together with"),
        (&["a 1"], "a@x", "`a@x` is no request for a package: no repository has the tag `@x`"),
        (&["a 1"], "a==", "`a==` is no request for a package"),
        (&["a 1", "a 2"], "a<2", "a (1)"),
        (&["a 1; D:b@x"], "a", "the entry of `a` in repository `v3/main` cannot be used: its field `D` is `b@x`"),
        (&["a 1", "a-doc 1; i:docs a=1", "docs 1"], "a docs", "a (1), docs (1), a-doc (1)"),
    ] {
        let found = answer(entries, request);
        assert!(
            found.starts_with(said) || found.contains(said) && said.starts_with("cannot be"),
            "{entries:?} {request}: {found}"
        );
    }
}

#[test]
fn a_blocked_package_is_avoided_or_named() {
    let source = Source { file: "alpine.toml".into(), line: 3 };
    let block = Blocked { name: "linux-*".into(), why: "an initrd holds no kernel".into(), source };
    let entries = ["a 1; D:v", "linux-x 1; p:v=2", "b 1; p:v=1", "c 1; D:linux-x"].map(str::to_owned);
    let request = |text: &str| Request { blocked: vec![block.clone()], ..requested(text) };
    assert_eq!(steps(&plan(&request("a"), &catalog(&entries), &Silent).unwrap()), ["b (1)", "a (1)"]);
    let error = plan(&request("c"), &catalog(&entries), &Silent).unwrap_err();
    assert!(matches!(&error, Error::Blocked { name, .. } if name == "linux-x"), "{error:?}");
}

#[test]
fn d15_solver_bombs_end_in_time() {
    let started = Instant::now();
    let chain = |last: &str| -> Vec<String> {
        let mut entries: Vec<String> = (0..19_000).map(|i| format!("p{i} 1; D:p{}", i + 1)).collect();
        entries.push(format!("p19000 1; D:{last}"));
        entries
    };
    assert_eq!(plan(&requested("p0"), &catalog(&chain("p0")), &Silent).unwrap().packages.len(), 19_001);
    assert!(told(&plan(&requested("p0"), &catalog(&chain("missing")), &Silent).unwrap_err()).contains("`missing`"));
    let mut many: Vec<String> = (0..10_000).map(|i| format!("p{i} 1; p:v; k:{i}; i:a p{}", i + 1)).collect();
    many.push("a 1; D:v".to_owned());
    assert!(plan(&requested("a"), &catalog(&many), &Silent).unwrap().packages.len() >= 2);
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

#[test]
fn broken_indexes_are_refused_with_their_line() {
    let error = |text: &str| {
        let index = Index::new("v3/main", Location::Url("https://mirror".to_owned()), text.as_bytes().to_vec());
        ApkCatalog::new("x86_64", vec![index]).map(|catalog| catalog.package(0)).map_err(|err| err.to_string())
    };
    let good = "C:Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=\nP:a\nV:1\nS:5\n";
    assert_eq!(error(good).unwrap().unwrap().location, Location::Url("https://mirror/a-1.apk".to_owned()));
    for (from, to, said) in [
        ("P:a\n", "", "no usable field `P`"),
        ("V:1\n", "V:\n", "no usable field `V`"),
        ("C:Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=\n", "C:Q1AAAA\n", "no usable field `C`"),
        ("S:5\n", "nonsense\n", "is not a letter, a colon and a value"),
    ] {
        let found = error(&good.replace(from, to)).unwrap_err();
        assert!(found.contains(said), "{found}");
    }
    for (from, to) in [
        ("P:a\n", "P:../a\n"),
        ("P:a\n", "P:a/b\n"),
        ("S:5\n", "S:0\n"),
        ("S:5\n", "S:99999999999999\n"),
        ("S:5\n", "S:5\nD:a=\n"),
    ] {
        assert!(error(&good.replace(from, to)).unwrap().is_err(), "{to}");
    }
}

// ---- packages against tar -------------------------------------------------------------------------------------------

/// Returns all packages below a directory.
fn packages(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap_or_else(|err| panic!("{}: {err}", dir.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(packages(&path));
        } else if path.extension().is_some_and(|extension| extension == "apk") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// One line a member: type, mode, owner, size or target, digest of the content, path.
fn listing(file: &Path) -> Result<Vec<String>, ReadError> {
    let mut lines = Vec::new();
    Apk.read(&mut fs::File::open(file).unwrap(), &mut |member, data| {
        let Meta { mode, uid, gid, mtime_s } = member.meta;
        let what = match &member.kind {
            MemberKind::Dir => "d".to_owned(),
            MemberKind::File(size) => {
                let mut content = Vec::new();
                data.read_to_end(&mut content)?;
                assert_eq!(content.len() as u64, *size);
                format!("f {size} {}", Sha256::of(&content))
            }
            MemberKind::Symlink(text) => format!("l {}", String::from_utf8_lossy(text)),
            MemberKind::Hardlink(path) => format!("h {}", String::from_utf8_lossy(path.as_bytes())),
            MemberKind::Device { block, major, minor } => format!("{} {major},{minor}", if *block { "b" } else { "c" }),
            MemberKind::Fifo => "p".to_owned(),
        };
        let path = String::from_utf8_lossy(member.path.as_bytes()).into_owned();
        lines.push(format!("{path} {mode:04o} {uid}:{gid} {mtime_s} {what}"));
        Ok(())
    })?;
    lines.sort();
    Ok(lines)
}

/// The same by Python's tarfile, which reads gzip members one after the other as one archive.
const BY_TARFILE: &str = r#"
import hashlib, sys, tarfile
for path in sys.argv[1:]:
    lines = []
    for m in tarfile.open(path, ignore_zeros=True):
        name = m.name[2:] if m.name.startswith("./") else m.name
        if name in ("", "."): name = "."
        elif name.startswith(".") and "/" not in name: continue
        if m.isdir(): what = "d"
        elif m.issym(): what = "l " + m.linkname
        elif m.islnk(): what = "h " + m.linkname.lstrip("./")
        elif m.isfile():
            what = None
        else: what = "?"
        lines.append((m, name, what))
    t = tarfile.open(path, ignore_zeros=True)
    by = {}
    for m in t:
        if m.isreg(): by[m.name] = hashlib.sha256(t.extractfile(m).read()).hexdigest()
    out = []
    for m, name, what in lines:
        if what is None: what = "f %d %s" % (m.size, by[m.name])
        out.append("%s %04o %d:%d %d %s" % (name, m.mode & 0o7777, m.uid, m.gid, max(0, int(m.mtime)), what))
    print("> " + path)
    for line in sorted(out): print(line)
"#;

/// Test data of melange's whose content was replaced after `.PKGINFO` had its digest: apk refuses them as we must.
const DAMAGED: &[&str] = &["aws-c-s3-0.4.9-r0.apk", "neon-4604-r0.apk"];

#[test]
fn every_package_is_read_as_tar_reads_it() {
    let Some(fixtures) = fixtures("packages of Alpine, Wolfi and the converted set") else { return };
    let mut files = packages(&fixtures.join("apk"));
    files.extend(packages(&fixtures.join("converted/trixie-mini/apk")));
    assert!(files.len() >= 50, "{} packages", files.len());
    let output =
        Command::new("python3").arg("-c").arg(BY_TARFILE).args(&files).output().expect("python3 is needed: install `python3`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let (mut equal, mut members, mut refused) = (0, 0, 0);
    for block in text.split("> ").filter(|block| !block.is_empty()) {
        let mut lines = block.lines();
        let path = PathBuf::from(lines.next().unwrap());
        let mut wanted: Vec<&str> = lines.collect();
        wanted.sort_unstable();
        if DAMAGED.iter().any(|name| path.ends_with(name)) {
            let refusal = listing(&path).unwrap_err().to_string();
            assert!(refusal.contains("digest"), "{}: {refusal}", path.display());
            refused += 1;
            continue;
        }
        let found = listing(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
        assert_eq!(found, wanted, "{}", path.display());
        members += found.len();
        equal += 1;
    }
    println!("{equal} packages with {members} members are equal, {refused} are refused");
    assert_eq!((equal + refused, refused), (files.len(), DAMAGED.len()));
}

#[test]
fn an_index_proves_its_packages() {
    let Some(fixtures) = fixtures("the converted Alpine repository") else { return };
    let dir = fixtures.join("converted/trixie-mini/apk/x86_64");
    let catalog = ApkCatalog::new("x86_64", vec![index(&dir.join("APKINDEX.tar.gz"), "r")]).unwrap();
    assert_eq!(catalog.len(), 31);
    for id in 0..catalog.len() as u32 {
        let path = dir.join(format!("{}-{}.apk", catalog.name(id), catalog.version(id)));
        let checksum = catalog.checksum(id).unwrap();
        let control = read::prove(&mut fs::File::open(&path).unwrap(), &checksum).unwrap();
        assert_eq!((control.name.as_str(), control.version.as_str()), (catalog.name(id), catalog.version(id)));
        let package = catalog.package(id).unwrap();
        assert_eq!(package.size_bytes, fs::metadata(&path).unwrap().len());
        let other = catalog.checksum((id + 1) % 31).unwrap();
        assert!(matches!(read::prove(&mut fs::File::open(&path).unwrap(), &other), Err(ReadError::Mismatch { .. })));
    }
}

#[test]
fn e08_a_truncated_or_changed_package_is_refused() {
    let Some(fixtures) = fixtures("a package to damage") else { return };
    let whole = fs::read(fixtures.join("apk/alpine-316/alpine-baselayout-3.2.0-r23.apk")).unwrap();
    let read = |bytes: &[u8]| {
        Apk.read(&mut &bytes[..], &mut |_, data| std::io::copy(data, &mut std::io::sink()).map(drop).map_err(Into::into))
    };
    assert!(read(&whole).is_ok());
    for end in (0..whole.len()).step_by(97).chain([whole.len() - 1]) {
        assert!(read(&whole[..end]).is_err(), "{end} of {} bytes", whole.len());
    }
    // A signature is not looked at here, but it must be there whole; what follows it is covered by digests.
    let start = 700;
    for at in (start..whole.len()).step_by(61) {
        let mut changed = whole.clone();
        changed[at] ^= 0x10;
        let outcome = read(&changed);
        let control = read::control(&mut &whole[..]).unwrap().checksum;
        assert!(outcome.is_err() || read::prove(&mut &changed[..], &control).is_err(), "byte {at}");
    }
    for (bytes, reason) in [
        (&b"ADB.xxxxxxxxxxxx"[..], "version 3"),
        (b"ADBdxxxxxxxxxxxx", "version 3"),
        (b"PK\x03\x04xxxx", "does not begin as a gzip archive"),
        (b"", "does not begin as a gzip archive"),
    ] {
        let text = read(bytes).unwrap_err().to_string();
        assert!(text.contains(reason), "{text}");
    }
    let more = [&whole[..], b"more"].concat();
    assert!(read(&more).is_err());
}

// ---- signatures -----------------------------------------------------------------------------------------------------

#[test]
fn d21_signatures_are_verified_as_openssl_does() {
    let Some(fixtures) = fixtures("signed indexes of Alpine, Chainguard and the converted set") else { return };
    let apk = fixtures.join("apk");
    let mut good = 0;
    for (file, keys) in [
        ("apk/alpine-314/var/cache/apk/APKINDEX.406b1341.tar.gz", "apk/alpine-314/etc/apk/keys"),
        ("apk/alpine-314/var/cache/apk/APKINDEX.a251b1f2.tar.gz", "apk/alpine-314/etc/apk/keys"),
        ("apk/signing/APKINDEX.tar.gz", "apk/signing/keys"),
        ("apk/rsa256-signed/APKINDEX.tar.gz", "apk/rsa256-signed"),
        ("apk/apko-packages/x86_64/APKINDEX.tar.gz", "apk/apko-packages"),
        ("apk/apko-packages/aarch64/APKINDEX.tar.gz", "apk/apko-packages"),
        ("converted/trixie-mini/apk/x86_64/APKINDEX.tar.gz", "converted/trixie-mini/apk/keys"),
    ] {
        let bytes = fs::read(fixtures.join(file)).unwrap();
        let (signatures, content) = segments::split(&bytes).unwrap();
        assert!(!signatures.is_empty(), "{file}");
        for signature in &signatures {
            let key = fixtures.join(keys).join(&signature.key);
            let Ok(pem) = fs::read(&key) else { continue };
            let ours = rsa::verify(&signature.key, &pem, signature.hash, content, &signature.bytes);
            assert_eq!(ours.is_ok(), openssl(&key, signature, content), "{file} {ours:?}");
            assert!(ours.is_ok(), "{file} {ours:?}");
            good += 1;
            let mut changed = content.to_vec();
            *changed.last_mut().unwrap() ^= 1;
            let wrong = rsa::verify(&signature.key, &pem, signature.hash, &changed, &signature.bytes);
            assert_eq!(wrong, Err(RsaError::Wrong(signature.key.clone())));
            let no_key = rsa::verify("x", b"no key", signature.hash, content, &signature.bytes);
            assert_eq!(no_key, Err(RsaError::NotAKey("x".into())));
        }
    }
    assert!(good >= 5, "{good} good signatures under {}", apk.display());
    println!("{good} signatures verified as openssl does");
}

fn openssl(key: &Path, signature: &RsaSignature, content: &[u8]) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let (file, data) = (dir.path().join("signature"), dir.path().join("data"));
    fs::write(&file, &signature.bytes).unwrap();
    fs::write(&data, content).unwrap();
    let hash = match signature.hash {
        RsaHash::Sha1 => "-sha1",
        RsaHash::Sha256 => "-sha256",
        RsaHash::Sha512 => "-sha512",
    };
    let command =
        Command::new("openssl").args(["dgst", hash, "-verify"]).arg(key).arg("-signature").arg(&file).arg(&data).output();
    command.expect("openssl is needed: install `openssl`").status.success()
}

// ---- a machine ------------------------------------------------------------------------------------------------------

#[test]
fn the_database_of_an_alpine_machine_is_read() {
    let Some(root) = fixtures("a root of Alpine 3.14").map(|fixtures| fixtures.join("apk/alpine-314")) else { return };
    let packages = installed::parse(&fs::read_to_string(root.join("lib/apk/db/installed")).unwrap()).unwrap();
    let paths = || packages.iter().flat_map(|package| &package.paths);
    let files = paths().filter(|path| !path.is_dir).count();
    assert_eq!((packages.len(), paths().count() - files, files), (26, 199, 292));
    // Most of the root is not in the fixture; what is there has the digest that the database says.
    let mut compared = 0;
    for path in paths().filter(|path| !path.is_dir) {
        let Ok(content) = fs::read(root.join(String::from_utf8_lossy(path.path.as_bytes()).as_ref())) else { continue };
        if path.path.as_bytes().ends_with(b".rsa.pub") {
            assert_eq!(path.checksum, Sha1::of(&content).map(Checksum::Sha1), "{}", path.path);
            compared += 1;
        }
    }
    assert!(compared >= 10, "{compared} files compared");
    let (world, others) = installed::world(&fs::read_to_string(root.join("etc/apk/world")).unwrap());
    assert_eq!((world.len(), others.len()), (12, 0));
    for atom in &world {
        let name = &atom.condition.constraint.name;
        assert!(packages.iter().any(|package| package.name == *name), "{name}");
    }
}

#[test]
fn a_repository_is_opened_from_the_command_line() {
    let Some(fixtures) = fixtures("the converted Alpine repository") else { return };
    let dir = tempfile::tempdir().unwrap();
    let profile = dir.path().join("alpine.toml");
    let text = "[distro]\nname = \"alpine\"\nfamily = \"apk\"\nmirror = \"https://mirror/alpine\"\ncomponents = [\"main\"]\n[distro.architectures]\nx86_64 = \"x86_64\"\n\
                [distro.releases.edge]\nsuites = [\"edge\"]\n";
    fs::write(&profile, text).unwrap();
    let over = |repo: &str, options: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mkinitrd-pkg"));
        command.args(["--config-root", "/nonexistent", "--config"]).arg(&profile).arg("--cache").arg(dir.path().join("cache"));
        command.args([
            "plan",
            "--bare",
            "--distro",
            "debian",
            "--release",
            "edge",
            "--arch",
            "x86_64",
            "--package",
            "bash",
            "--repo",
        ]);
        let repo = format!("file:{}", fixtures.join(repo).display());
        let output = command.arg(repo).args(options).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    };
    let run = |options: &[&str]| over("converted/trixie-mini/apk", options);
    // A directory that holds the index itself, and the index itself.
    for repo in ["converted/trixie-full-metadata/apk", "converted/trixie-full-metadata/apk/APKINDEX.tar.gz"] {
        let (code, text) = over(repo, &["--no-verify"]);
        assert!(code == Some(0) && text.contains("5.2.37-r2"), "{repo} {text}");
    }
    // The repository itself says of which family it is.
    let repo = format!("file:{}", fixtures.join("converted/trixie-mini/apk").display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_mkinitrd-pkg"));
    command.args(["--config-root", "/nonexistent", "--cache"]).arg(dir.path().join("cache"));
    command.args(["plan", "--bare", "--json", "--no-verify", "--arch", "x86_64", "--package", "bash", "--repo", &repo]);
    let output = String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned();
    assert!(output.contains("\"version\": \"5.2.37-r2\""), "{output}");
    let keys = fixtures.join("converted/trixie-mini/apk/keys");
    let (code, text) = run(&["--keyring", keys.to_str().unwrap()]);
    assert!(code == Some(0) && text.contains("bash") && text.contains("5.2.37-r2"), "{text}");
    let (code, text) = run(&["--no-verify"]);
    assert!(code == Some(0) && text.contains("signatures were not checked"), "{text}");
    let (code, text) = run(&[]);
    assert!(code == Some(6) && text.contains("none of the trusted keys"), "{code:?} {text}");
    let other = fixtures.join("apk/rsa256-signed");
    let (code, text) = run(&["--keyring", other.to_str().unwrap()]);
    assert!(code == Some(6) && text.contains("none of the trusted keys"), "{code:?} {text}");
}
