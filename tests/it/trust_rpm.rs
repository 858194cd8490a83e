//! Signatures and digests of RPM packages and of their repositories against rpmkeys and gpg.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "what is not run, and the figures of what is, are told")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mkinitrd_pkg::acquire::{self, Error, SealError};
use mkinitrd_pkg::base::digest::Sha256;
use mkinitrd_pkg::base::error::{Diagnostic, ErrorKind};
use mkinitrd_pkg::base::trust::{KeyRef, Seal, SealPlace, Seals, SignedBy};
use mkinitrd_pkg::family::repo::{self, Target};
use mkinitrd_pkg::family::rpm::read;
use mkinitrd_pkg::family::rpm::signature::{self, Covers};
use mkinitrd_pkg::package::{Location, Package};
use mkinitrd_pkg::store::keyring::SignatureError;

use crate::archive::{Key, keys, run};
use crate::repository::Machine;
use crate::rpm_payload;
use crate::server::Server;
use crate::trust::{bytes, fixtures, flip, get, get_one, known_key, listed, seal, signature_error, told};

/// What is said of a package's signatures and digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Good,
    Unsigned,
    UnknownKey,
    Bad,
    Expired,
    Weak,
    Unreadable,
}

/// Packages of which our verdict differs from that of rpm 4.18, and why.
const DIFFERENCES: &[(&str, Verdict, Verdict, &str)] = &[
    (
        "rpm-basic-with-ecdsa-2.3.4-5.el9.noarch.rpm",
        Verdict::UnknownKey,
        Verdict::Bad,
        "rpm 4.18 knows no ECDSA; the key is none of those that may sign",
    ),
    ("mc-4.8.15-10.3.1.x86_64.rpm", Verdict::Expired, Verdict::Good, OLD_KEY),
    ("ruby2.6-rubygem-fast_gettext-2.0.1-1.1.x86_64.rpm", Verdict::Expired, Verdict::Good, OLD_KEY),
];
/// What is wrong with openSUSE's key of 2008, in use until 2023.
const OLD_KEY: &str = "the key expired on 2024-05-02, which rpm 4.18 does not ask";

fn key_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for part in ["keys/rpm", "rpm/rpm-org", "converted/trixie-mini/rpm"] {
        for entry in fs::read_dir(dir.join(part)).unwrap().map(|entry| entry.unwrap().path()) {
            let name = entry.file_name().unwrap().to_string_lossy().into_owned();
            if name.starts_with("RPM-GPG-KEY") || name.ends_with(".asc") || name.ends_with(".pub") {
                found.push(entry);
            }
        }
    }
    for part in ["opensuse-11.0-update", "opensuse-obs-signed"] {
        found.push(dir.join("rpm-md").join(part).join("repodata/repomd.xml.key"));
    }
    found.sort();
    found
}

/// rpm's database of keys, with those that rpm takes.
struct Rpmkeys {
    dir: tempfile::TempDir,
    taken: Vec<PathBuf>,
}

impl Rpmkeys {
    fn new(keys: &[PathBuf]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut taken = Vec::new();
        for key in keys {
            let output = Command::new("rpmkeys").arg("--dbpath").arg(dir.path()).arg("--import").arg(key).output();
            if output.expect("rpmkeys is needed: install `rpm`").status.success() {
                taken.push(key.clone());
            }
        }
        Self { dir, taken }
    }

    fn verdict(&self, path: &Path) -> Verdict {
        let mut command = Command::new("rpmkeys");
        let output =
            command.env("LC_ALL", "C").arg("--dbpath").arg(self.dir.path()).args(["--checksig", "-v"]).arg(path).output();
        let output = output.unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("    ")).collect();
        let has = |word: &str| lines.iter().any(|line| line.contains(word));
        match () {
            () if lines.is_empty() => Verdict::Unreadable,
            () if has(": BAD") => Verdict::Bad,
            () if has(": NOKEY") || has(": NOTTRUSTED") => Verdict::UnknownKey,
            () if lines.iter().any(|line| line.contains("Signature") && line.contains(": OK")) => Verdict::Good,
            () => Verdict::Unsigned,
        }
    }
}

fn signed_by(machine: &Machine, keys: &[PathBuf]) -> SignedBy {
    SignedBy { keys: keys.iter().map(|key| known_key(machine, key)).collect(), shipped: false }
}

/// A package as an index that nobody signed would list it.
fn described(path: &Path, signed_by: SignedBy) -> Option<Package> {
    let identity = read::identity(&mut fs::File::open(path).unwrap()).ok()?;
    let file = fs::read(path).unwrap();
    Some(Package {
        name: identity.name,
        version: identity.version,
        arch: identity.arch,
        repo: "r".into(),
        location: Location::File(path.to_owned()),
        sha256: Sha256::of(&file),
        proof: None,
        seal: Some(Box::new(Seal { by: Seals { signed_by, required: true }, place: SealPlace::Header })),
        size_bytes: file.len() as u64,
        installed_bytes: 0,
        source: String::new(),
        rank: 0,
        requires: Vec::new(),
        recommends: Vec::new(),
        provides: Vec::new(),
        conflicts: Vec::new(),
    })
}

fn ours(machine: &Machine, path: &Path, signed_by: SignedBy) -> (Verdict, String) {
    let Some(package) = described(path, signed_by) else { return (Verdict::Unreadable, String::new()) };
    let err = match get_one(machine, &package) {
        Ok(_) => return (Verdict::Good, String::new()),
        Err(err) => err,
    };
    assert_eq!(err.kind(), ErrorKind::Untrusted, "{}", told(&err));
    let verdict = match (seal(&err), signature_error(&err)) {
        (Some(SealError::Unsigned), _) => Verdict::Unsigned,
        (Some(SealError::Read(_) | SealError::Uncovered), _) => Verdict::Bad,
        (_, Some(SignatureError::UnknownKey { .. })) => Verdict::UnknownKey,
        (_, Some(SignatureError::Expired { .. })) => Verdict::Expired,
        (_, Some(SignatureError::Weak { .. })) => Verdict::Weak,
        (_, Some(SignatureError::Wrong { .. } | SignatureError::Malformed(_))) => Verdict::Bad,
        _ => panic!("{}: {}", path.display(), told(&err)),
    };
    (verdict, told(&err))
}

#[test]
fn every_package_is_judged_as_rpmkeys_judges_it() {
    let Some(dir) = fixtures("rpmkeys' verdicts") else { return };
    let rpmkeys = Rpmkeys::new(&key_files(&dir));
    let machine = Machine::new();
    let known = signed_by(&machine, &rpmkeys.taken);
    let (mut equal, mut wrong) = (BTreeMap::<Verdict, usize>::new(), Vec::new());
    for path in rpm_payload::packages(&dir) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let (ours, why) = ours(&machine, &path, known.clone());
        let theirs = rpmkeys.verdict(&path);
        let listed = DIFFERENCES.iter().find(|(listed, ..)| *listed == name);
        match listed {
            None if ours == theirs => *equal.entry(ours).or_default() += 1,
            Some((_, our, their, _)) if (ours, theirs) == (*our, *their) => {}
            _ => wrong.push(format!("{name}: {ours:?} and rpmkeys {theirs:?} ({why})")),
        }
    }
    println!("{} keys; equal: {equal:?}; listed with their reason: {}", rpmkeys.taken.len(), DIFFERENCES.len());
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(equal.values().sum::<usize>() > 110 && equal.get(&Verdict::Good).is_some_and(|count| *count > 30), "{equal:?}");
}

// ---- packages signed here -------------------------------------------------------------------------------------------

/// A package of version 4 that one of our keys signed with rpmsign.
fn signed(key: &Key, dir: &Path, from: &Path, name: &str) -> PathBuf {
    let path = dir.join(name);
    fs::copy(from, &path).unwrap();
    key.rpmsign(&path);
    path
}

fn hello(fixtures: &Path) -> PathBuf {
    fixtures.join("rpm/rpm-org/hello-2.0-1.x86_64.rpm")
}

fn by(key: &Path) -> SignedBy {
    SignedBy { keys: vec![KeyRef::Block(fs::read_to_string(key).unwrap())], shipped: false }
}

#[test]
fn expired_revoked_unknown_and_changed_are_told_apart() {
    let Some(fixtures) = fixtures("packages signed with rpmsign") else { return };
    let dir = tempfile::tempdir().unwrap();
    let machine = Machine::new();
    let keys = keys();
    let sign = |key: &Key, name: &str| signed(key, dir.path(), &hello(&fixtures), name);
    let outcome = |path: &Path, signed_by: SignedBy| get_one(&machine, &described(path, signed_by).unwrap());
    let good = sign(&keys.good, "good.rpm");
    assert_eq!(bytes(&outcome(&good, by(&keys.good.public)).unwrap()), fs::read(&good).unwrap());
    let err = outcome(&good, by(&keys.other.public)).unwrap_err();
    assert!(matches!(signature_error(&err), Some(SignatureError::UnknownKey { .. })), "{}", told(&err));
    let expired = sign(&keys.expired, "expired.rpm");
    let err = outcome(&expired, by(&keys.expired.public)).unwrap_err();
    assert!(matches!(signature_error(&err), Some(SignatureError::Expired { .. })), "{}", told(&err));
    let revoked = sign(&keys.revoked, "revoked.rpm");
    assert!(outcome(&revoked, by(&keys.revoked.public)).is_ok());
    let err =
        outcome(&revoked, SignedBy { keys: vec![known_key(&machine, &keys.revoked.revoked())], shipped: false }).unwrap_err();
    assert!(matches!(signature_error(&err), Some(SignatureError::Revoked { .. })), "{}", told(&err));
    // Not signed at all; nothing is verified.
    let err = outcome(&hello(&fixtures), by(&keys.good.public)).unwrap_err();
    assert!(matches!(seal(&err), Some(SealError::Unsigned)) && err.kind() == ErrorKind::Untrusted, "{}", told(&err));
    let careless = Machine { verify: false, ..Machine::new() };
    assert!(get_one(&careless, &described(&hello(&fixtures), by(&keys.good.public)).unwrap()).is_ok());
    // Another package that the same key signed, under the name of this one.
    let package = Package { name: "hello-other".into(), ..described(&good, by(&keys.good.public)).unwrap() };
    let err = get_one(&machine, &package).unwrap_err();
    assert!(told(&err).contains("the name in the package is `hello`, and the repository says `hello-other`"), "{}", told(&err));
    let package = Package { version: "1.0-1".into(), ..described(&good, by(&keys.good.public)).unwrap() };
    assert!(told(&get_one(&machine, &package).unwrap_err()).contains("the version in the package"));
}

#[test]
fn a_bit_anywhere_in_a_signed_package_is_noticed() {
    let Some(fixtures) = fixtures("packages signed with rpmsign") else { return };
    let dir = tempfile::tempdir().unwrap();
    let machine = Machine::new();
    let keys = keys();
    let good = signed(&keys.good, dir.path(), &hello(&fixtures), "good.rpm");
    let whole = fs::read(&good).unwrap();
    let package = described(&good, by(&keys.good.public)).unwrap();
    let path = dir.path().join("changed.rpm");
    let (mut taken, mut refused) = (Vec::new(), 0);
    for at in (0..whole.len()).step_by(whole.len() / 300) {
        fs::write(&path, &whole).unwrap();
        flip(&path, at);
        let sha256 = Sha256::of(&fs::read(&path).unwrap());
        let changed = Package { sha256, location: Location::File(path.clone()), ..package.clone() };
        match get_one(&machine, &changed) {
            Ok(_) => taken.push(at),
            Err(err) => {
                assert_eq!(err.kind(), ErrorKind::Untrusted);
                refused += 1;
            }
        }
    }
    // What nobody signs and nothing reads: the lead, and in the signature header reserved space and sums that are not compared.
    let main = whole.windows(4).enumerate().filter(|(_, at)| *at == [0x8e, 0xad, 0xe8, 0x01]).nth(1).unwrap().0;
    println!("{refused} changes refused, {} of no account in the first {main} bytes", taken.len());
    assert!(taken.iter().all(|at| *at < main), "{taken:?}, the header begins at {main}");
    assert!(refused > 100, "{refused}");
}

/// Of a package of before rpm 4.14 the header says nothing about the payload: only the signature over both covers it.
#[test]
fn a_signature_over_the_header_alone_is_not_enough() {
    let Some(fixtures) = fixtures("packages signed with rpmsign") else { return };
    let dir = tempfile::tempdir().unwrap();
    let machine = Machine::new();
    let keys = keys();
    let good = signed(&keys.good, dir.path(), &fixtures.join("rpm/go-rpmutils/simple-1.0.1-1.i386.rpm"), "old.rpm");
    let outcome = || get_one(&machine, &described(&good, by(&keys.good.public)).unwrap());
    assert!(outcome().is_ok());
    // The entry of the signature header for that signature becomes one that nobody knows.
    let mut bytes = fs::read(&good).unwrap();
    let entry = [1005_u32.to_be_bytes(), 7_u32.to_be_bytes()].concat();
    let at = bytes.windows(8).position(|window| window == entry).expect("a signature over header and payload");
    bytes[at..at + 4].copy_from_slice(&1998_u32.to_be_bytes());
    fs::write(&good, &bytes).unwrap();
    let err = outcome().unwrap_err();
    assert!(matches!(seal(&err), Some(SealError::Uncovered)) && err.kind() == ErrorKind::Untrusted, "{}", told(&err));
}

// ---- repositories ---------------------------------------------------------------------------------------------------

/// A repository of our own, signed as asked.
struct Repo {
    dir: tempfile::TempDir,
}

impl Repo {
    fn new(fixtures: &Path, key: Option<&Key>, checksum: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["hello-2.0-1.x86_64.rpm", "foo-1.0-1.noarch.rpm"] {
            let path = dir.path().join(name);
            fs::copy(fixtures.join("rpm/rpm-org").join(name), &path).unwrap();
            if let Some(key) = key {
                key.rpmsign(&path);
            }
        }
        run("createrepo-c", Command::new("createrepo_c").args(["-q", "--no-database", "-s", checksum]).arg(dir.path()));
        Self { dir }
    }

    fn value(&self) -> String {
        format!("file:{}", self.dir.path().display())
    }

    fn list(&self) -> PathBuf {
        self.dir.path().join("repodata/repomd.xml")
    }

    fn sign(&self, key: &Key) {
        key.detach(&self.list(), &self.dir.path().join("repodata/repomd.xml.asc"));
    }
}

#[test]
fn metadata_are_signed_or_every_package_is() {
    let Some(fixtures) = fixtures("repositories made with createrepo_c") else { return };
    let keys = keys();
    let known = [keys.good.public.as_path()];
    // Nothing is signed: the metadata can be read, the packages not be had.
    let repo = Repo::new(&fixtures, None, "sha256");
    let machine = Machine::new();
    let packages = listed(&machine, "rpm", &repo.value(), &known).unwrap();
    assert_eq!(packages.len(), 2);
    let err = get(&machine, &packages).unwrap_err();
    assert!(matches!(seal(&err), Some(SealError::Unsigned)) && err.kind() == ErrorKind::Untrusted, "{}", told(&err));
    assert!(err.hints()[0].contains("--no-verify"));
    let careless = Machine { verify: false, ..Machine::new() };
    let packages = listed(&careless, "rpm", &repo.value(), &known).unwrap();
    assert_eq!(get(&careless, &packages).unwrap().len(), 2);
    // Signed metadata vouch for packages that nobody signed.
    repo.sign(&keys.good);
    let packages = listed(&machine, "rpm", &repo.value(), &known).unwrap();
    assert_eq!(get(&machine, &packages).unwrap().len(), 2);
    // Metadata that were signed before and are not any more.
    fs::remove_file(repo.dir.path().join("repodata/repomd.xml.asc")).unwrap();
    let err = listed(&machine, "rpm", &repo.value(), &known).unwrap_err();
    assert!(told(&err).contains("are not signed") && err.kind() == ErrorKind::Untrusted, "{}", told(&err));
    // A signature of another's is not the same as none.
    repo.sign(&keys.other);
    assert_eq!(listed(&Machine::new(), "rpm", &repo.value(), &known).unwrap_err().kind(), ErrorKind::Untrusted);
    // Signed packages, as Fedora's, from metadata that nobody signed; over the network and then without one.
    let repo = Repo::new(&fixtures, Some(&keys.good), "sha256");
    let server = Server::of(repo.dir.path());
    let machine = Machine::new();
    let packages = listed(&machine, "rpm", &server.url(""), &known).unwrap();
    assert_eq!(get(&machine, &packages).unwrap().len(), 2);
    let cut = Machine { offline: true, ..machine };
    let packages = listed(&cut, "rpm", &server.url(""), &known).unwrap();
    assert_eq!(get(&cut, &packages).unwrap().len(), 2);
    let err = get(&cut, &listed(&cut, "rpm", &server.url(""), &[&keys.other.public]).unwrap()).unwrap_err();
    assert!(matches!(signature_error(&err), Some(SignatureError::UnknownKey { .. })), "{}", told(&err));
    // `repo_gpgcheck=1`.
    let target = Target { family: "rpm", release: "1", components: &[], arch: "x86_64" };
    let mut specs = repo::specs(&repo.value(), &target, Path::new("/")).unwrap();
    for spec in &mut specs {
        let repo::Spec::Rpm(spec) = spec else { panic!("another family") };
        spec.signatures.metadata = true;
    }
    let err = Machine::new().in_world(|world| acquire::repositories(&specs, world)).unwrap_err();
    assert!(told(&err).contains("are not signed"), "{}", told(&err));
}

#[test]
fn digests_of_all_kinds_are_compared() {
    let Some(fixtures) = fixtures("repositories made with createrepo_c") else { return };
    let keys = keys();
    for (checksum, proof) in [("sha1", "sha1:"), ("sha384", "sha384:"), ("sha512", "sha512:")] {
        let repo = Repo::new(&fixtures, None, checksum);
        repo.sign(&keys.good);
        let machine = Machine::new();
        let packages = listed(&machine, "rpm", &repo.value(), &[&keys.good.public]).unwrap();
        assert!(packages.iter().all(|package| package.proof.as_ref().unwrap().starts_with(proof)), "{packages:?}");
        assert_eq!(get(&machine, &packages).unwrap().len(), 2, "{checksum}");
        let Location::File(path) = &packages[0].location else { panic!("a mirror") };
        flip(path, 5000);
        assert!(matches!(get(&machine, &packages), Err(Error::Unproved { .. })), "{checksum}");
        // A file of the metadata that is not the one listed.
        let primary = fs::read_dir(repo.dir.path().join("repodata")).unwrap().map(|entry| entry.unwrap().path());
        let primary = primary.into_iter().find(|path| path.to_string_lossy().contains("primary")).unwrap();
        flip(&primary, 60);
        let err = listed(&Machine::new(), "rpm", &repo.value(), &[&keys.good.public]).unwrap_err();
        assert!(told(&err).contains("does not have the digest"), "{}", told(&err));
    }
}

#[test]
fn every_signed_list_of_metadata_is_judged_as_gpg_judges_it() {
    let Some(dir) = fixtures("gpg's verdicts over repomd.xml") else { return };
    let home = tempfile::tempdir().unwrap();
    let gpg = |args: &[&str]| {
        let mut command = Command::new("gpg");
        command.env("LC_ALL", "C").args(["--batch", "--status-fd", "1", "--homedir"]).arg(home.path()).args(args);
        let output = command.output().expect("gpg is needed: install `gnupg`");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let files = key_files(&dir);
    for key in &files {
        gpg(&["--import", key.to_str().unwrap()]);
    }
    let converted = dir.join("converted/trixie-mini/rpm/repodata");
    let mut lists: Vec<PathBuf> = ["opensuse-11.0-update", "opensuse-obs-signed", "xlibre-opensuse"]
        .iter()
        .map(|name| dir.join("rpm-md").join(name).join("repodata"))
        .collect();
    lists.extend([dir.join("rpm/centos9-bzip2/repodata"), converted]);
    let mut seen = Vec::new();
    for list in lists {
        let (text, signature) = (list.join("repomd.xml"), list.join("repomd.xml.asc"));
        let status = gpg(&["--verify", signature.to_str().unwrap(), text.to_str().unwrap()]);
        let theirs = ["GOODSIG", "EXPKEYSIG", "REVKEYSIG", "BADSIG", "NO_PUBKEY"].into_iter().find(|word| status.contains(word));
        let mut keyring = mkinitrd_pkg::store::keyring::Keyring::new();
        for key in &files {
            // Not all of them are good keys: some were made to be refused.
            let _ = keyring.add(&fs::read(key).unwrap(), &key.display().to_string());
        }
        let (text, signature) = (fs::read(text).unwrap(), fs::read(signature).unwrap());
        let verdict = keyring.verify(&text, &signature, std::time::SystemTime::now());
        let name = list.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned();
        seen.push(format!("{name}: {}", theirs.unwrap_or("none")));
        let is_equal = match (&verdict, theirs) {
            (Ok(_), Some("GOODSIG")) | (Err(SignatureError::UnknownKey { .. }), Some("NO_PUBKEY")) => true,
            (Err(SignatureError::Expired { .. }), Some("EXPKEYSIG")) => true,
            // Keys that have expired, and signatures of version 3, which no list of metadata has had for long.
            (Err(SignatureError::Weak { .. }), Some("EXPKEYSIG")) => {
                ["opensuse-11.0-update", "opensuse-obs-signed"].contains(&&*name)
            }
            _ => false,
        };
        assert!(is_equal, "{name}: gpg says {theirs:?}, we {verdict:?}");
        let mut changed = text.clone();
        changed[100] ^= 1;
        let verdict = keyring.verify(&changed, &signature, std::time::SystemTime::now());
        assert!(verdict.is_err(), "{name}");
    }
    println!("{seen:?}");
}

/// Subkeys that are good, expired, revoked or bound by nobody (CVE-2021-3521), one at a time.
#[test]
fn every_key_of_rpms_own_tests_is_judged_as_gpg_judges_it() {
    let Some(dir) = fixtures("gpg's verdicts over packages") else { return };
    let dir = dir.join("rpm/rpm-org");
    let of = |extensions: &[&str]| -> Vec<PathBuf> {
        let mut found: Vec<PathBuf> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        found.retain(|path| extensions.contains(&path.extension().unwrap().to_str().unwrap()));
        found.sort();
        found
    };
    let machine = Machine::new();
    let work = tempfile::tempdir().unwrap();
    let (mut verdicts, mut wrong) = (BTreeMap::<String, usize>::new(), Vec::new());
    for key in of(&["asc", "pub"]) {
        let home = tempfile::tempdir().unwrap();
        let gpg = |args: &[&Path]| {
            let mut command = Command::new("gpg");
            command.env("LC_ALL", "C").args(["--batch", "--status-fd", "1", "--homedir"]).arg(home.path()).args(args);
            let output = command.output().expect("gpg is needed: install `gnupg`");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        gpg(&[Path::new("--import"), &key]);
        for package in of(&["rpm"]) {
            let signed = signature::read(&mut fs::File::open(&package).unwrap()).unwrap();
            for found in &signed.signatures {
                let data = match found.covers {
                    Covers::Header => signed.header.clone(),
                    Covers::All => fs::read(&package).unwrap()[signed.header_at as usize..].to_vec(),
                };
                let (text, sig) = (work.path().join("data"), work.path().join("sig"));
                fs::write(&text, &data).unwrap();
                fs::write(&sig, &found.bytes).unwrap();
                let status = gpg(&[Path::new("--verify"), &sig, &text]);
                let words = ["GOODSIG", "EXPKEYSIG", "REVKEYSIG", "BADSIG", "NO_PUBKEY", "ERRSIG"];
                let theirs = words.into_iter().find(|word| status.contains(word)).unwrap_or("NONE");
                let mut keyring = mkinitrd_pkg::store::keyring::Keyring::new();
                // Not all of them are good keys: some were made to be refused.
                let _ = keyring.add(&fs::read(&key).unwrap(), "key");
                let ours = match keyring.verify_package(&mut || Ok(&data[..]), &found.bytes, machine.now) {
                    Ok(_) => "GOODSIG",
                    Err(SignatureError::UnknownKey { .. }) => "NO_PUBKEY",
                    Err(SignatureError::Expired { .. }) => "EXPKEYSIG",
                    Err(SignatureError::Revoked { .. }) => "REVKEYSIG",
                    Err(SignatureError::Wrong { .. }) => "BADSIG",
                    Err(_) => "ERRSIG",
                };
                // gpg 2.2 knows neither signatures of version 6 nor ML-DSA: the one key that made them is ours to find.
                if theirs == "NONE" {
                    let is_its_key = key.ends_with("rpm.org-v6-mldsa87-test.asc");
                    assert_eq!(ours, if is_its_key { "GOODSIG" } else { "NO_PUBKEY" }, "{}", key.display());
                    *verdicts.entry(format!("{ours}, unknown to gpg")).or_default() += 1;
                    continue;
                }
                let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
                match ours == theirs {
                    true => *verdicts.entry(ours.to_owned()).or_default() += 1,
                    false => wrong.push(format!("{} by {}: gpg {theirs}, we {ours}", name(&package), name(&key))),
                }
            }
        }
    }
    println!("{verdicts:?}");
    assert_eq!(wrong, Vec::<String>::new());
}
