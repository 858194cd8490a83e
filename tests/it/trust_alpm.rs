//! Signatures of Arch's packages: in the database, beside the file and on the mirror, under the levels of pacman.conf.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "what is not run, and the figures of what is, are told")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use mkinitrd_pkg::acquire::{self, Error, Origin, SealError};
use mkinitrd_pkg::base::base64;
use mkinitrd_pkg::base::error::{Diagnostic, ErrorKind};
use mkinitrd_pkg::base::trust::{KeyRef, SealPlace, SignedBy};
use mkinitrd_pkg::family::alpm::config;
use mkinitrd_pkg::family::repo::{self, Index, Spec, Target};
use mkinitrd_pkg::package::{Location, Package};
use mkinitrd_pkg::store::Store;
use mkinitrd_pkg::store::keyring::SignatureError;

use crate::archive::{Key, keys, run};
use crate::repository::Machine;
use crate::server::Server;
use crate::trust::{bytes, copy, fixtures, flip, get, get_one, known_key, listed, seal, signature_error, told};

const PACKAGES: [&str; 2] = ["toy-1.0-1-any.pkg.tar.zst", "tool-2.0-1-any.pkg.tar.zst"];

/// Two packages and a database of them; signatures are made as asked.
struct Repo {
    dir: tempfile::TempDir,
}

impl Repo {
    fn new() -> Self {
        static MADE: OnceLock<tempfile::TempDir> = OnceLock::new();
        let made = MADE.get_or_init(|| {
            let dir = tempfile::tempdir().unwrap();
            for name in PACKAGES {
                make_package(dir.path(), name, "good");
            }
            repo_add(dir.path());
            dir
        });
        let repo = Self { dir: tempfile::tempdir().unwrap() };
        copy(made.path(), repo.dir.path());
        repo
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn value(&self) -> String {
        format!("file:{}", self.dir.path().display())
    }

    fn sign_packages(&self, key: &Key) {
        for name in PACKAGES {
            key.detach_binary(&self.path(name), &self.path(&format!("{name}.sig")));
        }
    }

    /// Puts the signatures into the database, as Arch's had them until 2025.
    fn sign_in_database(&self, key: &Key) {
        self.sign_packages(key);
        repo_add(self.dir.path());
        PACKAGES.iter().for_each(|name| fs::remove_file(self.path(&format!("{name}.sig"))).unwrap());
    }

    fn sign_database(&self, key: &Key) {
        key.detach_binary(&self.path("toy.db"), &self.path("toy.db.sig"));
    }
}

fn make_package(dir: &Path, name: &str, content: &str) {
    let (stem, _) = name.split_once(".pkg").unwrap();
    let mut parts = stem.rsplitn(4, '-');
    let (arch, release, version, name_of) =
        (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    let work = tempfile::tempdir().unwrap();
    fs::create_dir_all(work.path().join("usr/bin")).unwrap();
    fs::write(work.path().join("usr/bin").join(name_of), format!("{name_of} {content}\n").repeat(5_000)).unwrap();
    let info = format!(
        "pkgname = {name_of}\npkgbase = {name_of}\npkgver = {version}-{release}\npkgdesc = a test\nsize = 20000\narch = {arch}\n"
    );
    fs::write(work.path().join(".PKGINFO"), info).unwrap();
    let mut bsdtar = Command::new("bsdtar");
    bsdtar
        .current_dir(work.path())
        .args(["--uid", "0", "--gid", "0", "--zstd", "-cf"])
        .arg(dir.join(name))
        .args([".PKGINFO", "usr"]);
    run("libarchive-tools", &mut bsdtar);
}

fn repo_add(dir: &Path) {
    for name in ["toy.db", "toy.db.tar.gz", "toy.files", "toy.files.tar.gz"] {
        // There is none the first time.
        let _ = fs::remove_file(dir.join(name));
    }
    let mut repo_add = Command::new("repo-add");
    run("pacman-package-manager", repo_add.current_dir(dir).args(["-q", "toy.db.tar.gz"]).args(PACKAGES));
}

fn known(key: &Key) -> [&Path; 1] {
    [key.public.as_path()]
}

#[test]
fn a_database_that_is_not_signed_is_good_where_each_package_is() {
    let (repo, keys, machine) = (Repo::new(), keys(), Machine::new());
    // Neither is signed.
    let packages = listed(&machine, "alpm", &repo.value(), &known(&keys.good)).unwrap();
    let err = get(&machine, &packages).unwrap_err();
    assert!(matches!(seal(&err), Some(SealError::Unsigned)) && err.kind() == ErrorKind::Untrusted, "{}", told(&err));
    let careless = Machine { verify: false, ..Machine::new() };
    assert_eq!(get(&careless, &listed(&careless, "alpm", &repo.value(), &[]).unwrap()).unwrap().len(), 2);
    // Beside the file.
    repo.sign_packages(&keys.good);
    assert_eq!(get(&machine, &packages).unwrap().len(), 2);
    // In the database.
    let repo = Repo::new();
    repo.sign_in_database(&keys.good);
    let packages = listed(&machine, "alpm", &repo.value(), &known(&keys.good)).unwrap();
    assert!(packages.iter().all(|package| matches!(package.seal.as_ref().unwrap().place, SealPlace::Index(_))));
    for (package, blob) in packages.iter().zip(get(&machine, &packages).unwrap()) {
        assert_eq!(bytes(&blob), fs::read(repo.path(&format!("{}-{}-any.pkg.tar.zst", package.name, package.version))).unwrap());
    }
    // By the database alone.
    let repo = Repo::new();
    repo.sign_database(&keys.good);
    let packages = listed(&machine, "alpm", &repo.value(), &known(&keys.good)).unwrap();
    assert!(packages.iter().all(|package| package.seal.is_none()));
    assert_eq!(get(&machine, &packages).unwrap().len(), 2);
}

#[test]
fn signatures_come_from_the_mirror_once() {
    let (repo, keys, machine) = (Repo::new(), keys(), Machine::new());
    repo.sign_packages(&keys.good);
    let server = Server::of(repo.dir.path());
    let value = server.url("/toy.db");
    let packages = listed(&machine, "alpm", &value, &known(&keys.good)).unwrap();
    server.asked();
    assert_eq!(get(&machine, &packages).unwrap().len(), 2);
    let mut asked = server.asked();
    asked.sort();
    let wanted = [
        "/tool-2.0-1-any.pkg.tar.zst",
        "/tool-2.0-1-any.pkg.tar.zst.sig",
        "/toy-1.0-1-any.pkg.tar.zst",
        "/toy-1.0-1-any.pkg.tar.zst.sig",
    ];
    assert_eq!(asked, wanted);
    // A second build, and one without a network.
    assert_eq!(get(&machine, &packages).unwrap()[0].origin, Origin::Cache);
    assert!(server.asked().is_empty());
    let cache = machine.dir.path().join("cache");
    let cut = Machine { offline: true, store: Store::open(&cache), ..Machine::new() };
    assert_eq!(get(&cut, &listed(&cut, "alpm", &value, &known(&keys.good)).unwrap()).unwrap().len(), 2);
    // A kept signature is verified anew, by the keys that count now.
    let err = get(&cut, &listed(&cut, "alpm", &value, &known(&keys.other)).unwrap()).unwrap_err();
    assert!(matches!(signature_error(&err), Some(SignatureError::UnknownKey { .. })), "{}", told(&err));
    // pacman's own copies: the package with its signature, and one without.
    for with_signature in [true, false] {
        let machine = Machine::new();
        // The same file of keys, on this machine.
        known_key(&machine, &keys.good.public);
        let dir = machine.root().join("var/cache/pacman/pkg");
        fs::create_dir_all(&dir).unwrap();
        fs::copy(repo.path(PACKAGES[0]), dir.join(PACKAGES[0])).unwrap();
        if with_signature {
            let name = format!("{}.sig", PACKAGES[0]);
            fs::copy(repo.path(&name), dir.join(&name)).unwrap();
        }
        let toy = packages.iter().find(|package| package.name == "toy").unwrap();
        assert!(matches!(get_one(&machine, toy).unwrap().origin, Origin::HostCache(_)));
        assert_eq!(server.asked().len(), usize::from(!with_signature));
    }
    // Without a network and without a signature.
    let cut = Machine { offline: true, ..Machine::new() };
    known_key(&cut, &keys.good.public);
    let dir = cut.root().join("var/cache/pacman/pkg");
    fs::create_dir_all(&dir).unwrap();
    fs::copy(repo.path(PACKAGES[0]), dir.join(PACKAGES[0])).unwrap();
    let toy = packages.iter().find(|package| package.name == "toy").unwrap();
    let err = get_one(&cut, toy).unwrap_err();
    assert!(matches!(seal(&err), Some(SealError::Fetch(_))) && err.kind() == ErrorKind::Unavailable, "{}", told(&err));
}

#[test]
fn expired_revoked_unknown_and_changed_are_told_apart() {
    let (keys, machine) = (keys(), Machine::new());
    let outcome = |signer: &Key, known: &Path| {
        let repo = Repo::new();
        repo.sign_packages(signer);
        let packages = listed(&machine, "alpm", &repo.value(), &[known]).unwrap();
        get(&machine, &packages).map(drop)
    };
    assert!(outcome(&keys.good, &keys.good.public).is_ok());
    let refused = |signer: &Key, known: &Path| {
        let err = outcome(signer, known).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Untrusted);
        signature_error(&err).unwrap_or_else(|| panic!("{}", told(&err))).clone()
    };
    assert!(matches!(refused(&keys.other, &keys.good.public), SignatureError::UnknownKey { .. }));
    assert!(matches!(refused(&keys.expired, &keys.expired.public), SignatureError::Expired { .. }));
    assert!(matches!(refused(&keys.revoked, &keys.revoked.revoked()), SignatureError::Revoked { .. }));
    // The signature of another package; a bit in the signature.
    let repo = Repo::new();
    repo.sign_packages(&keys.good);
    let packages = listed(&machine, "alpm", &repo.value(), &known(&keys.good)).unwrap();
    let sig = |name: &str| repo.path(&format!("{name}.sig"));
    fs::copy(sig(PACKAGES[1]), sig(PACKAGES[0])).unwrap();
    let err = get(&machine, &packages).unwrap_err();
    assert!(matches!(signature_error(&err), Some(SignatureError::Wrong { .. })), "{}", told(&err));
    let size = fs::metadata(sig(PACKAGES[1])).unwrap().len() as usize;
    fs::copy(sig(PACKAGES[1]), sig(PACKAGES[0])).unwrap();
    keys.good.detach_binary(&repo.path(PACKAGES[0]), &sig(PACKAGES[0]));
    let whole = fs::read(sig(PACKAGES[0])).unwrap();
    let mut refused = 0;
    for at in 0..size {
        fs::write(sig(PACKAGES[0]), &whole).unwrap();
        flip(&sig(PACKAGES[0]), at);
        refused += usize::from(get(&machine, &packages).is_err());
    }
    // What is not hashed of a signature: the claimed issuer, the first bits of the digest.
    println!("{refused} of {size} changed bits of a signature are refused");
    assert!(refused * 10 > size * 7, "{refused} of {size}");
}

/// A database that nobody signed can not lend a name to another package, and not make one of bytes that nobody signed.
#[test]
fn a_package_swapped_for_another_signed_one_is_noticed() {
    let (keys, machine) = (keys(), Machine::new());
    let repo = Repo::new();
    repo.sign_packages(&keys.good);
    let packages = listed(&machine, "alpm", &repo.value(), &known(&keys.good)).unwrap();
    let [tool, toy] = &packages[..] else { panic!("{packages:?}") };
    assert_eq!((tool.name.as_str(), toy.name.as_str()), ("tool", "toy"));
    for (swapped, wanted) in [
        (Package { name: "toy".into(), ..tool.clone() }, "the name in the package is `tool`, and the repository says `toy`"),
        (Package { version: "9.0-1".into(), ..tool.clone() }, "the version in the package is `2.0-1`"),
        (Package { arch: "x86_64".into(), ..tool.clone() }, "the architecture in the package is `any`"),
    ] {
        let err = get_one(&machine, &swapped).unwrap_err();
        assert!(told(&err).contains(wanted) && err.kind() == ErrorKind::Untrusted, "{}", told(&err));
    }
    // Other bytes, of which the database has the digest.
    make_package(repo.dir.path(), PACKAGES[0], "evil");
    repo_add(repo.dir.path());
    let packages = listed(&machine, "alpm", &repo.value(), &known(&keys.good)).unwrap();
    let toy = packages.iter().find(|package| package.name == "toy").unwrap();
    let err = get_one(&machine, toy).unwrap_err();
    assert!(matches!(signature_error(&err), Some(SignatureError::Wrong { .. })), "{}", told(&err));
}

#[test]
fn md5_is_enough_where_the_package_is_signed() {
    let (keys, machine) = (keys(), Machine::new());
    let repo = Repo::new();
    repo.sign_packages(&keys.good);
    let packages = listed(&machine, "alpm", &repo.value(), &known(&keys.good)).unwrap();
    let sum = String::from_utf8(run("coreutils", Command::new("md5sum").arg(repo.path(PACKAGES[1])))).unwrap();
    let old = Package { proof: Some(format!("md5:{}", &sum[..32])), ..packages[0].clone() };
    assert_eq!(bytes(&get_one(&machine, &old).unwrap()), fs::read(repo.path(PACKAGES[1])).unwrap());
    let err = get_one(&machine, &Package { seal: None, ..old }).unwrap_err();
    assert!(matches!(err, Error::Weak { .. }));
}

// ---- pacman.conf ----------------------------------------------------------------------------------------------------

#[test]
fn sig_level_is_followed_and_never_below_one_signature() {
    let (keys, machine) = (keys(), Machine::new());
    #[derive(Clone, Copy, PartialEq, Debug)]
    enum Outcome {
        Good,
        NoDatabase,
        NoPackage,
    }
    use Outcome::{Good, NoDatabase, NoPackage};
    // By what is signed: nothing, packages, database, both.
    let table = [
        ("Required DatabaseOptional", [NoPackage, Good, NoPackage, Good]),
        ("Required", [NoDatabase, NoDatabase, NoPackage, Good]),
        ("PackageRequired DatabaseNever", [NoPackage, Good, NoPackage, Good]),
        ("Optional", [NoPackage, Good, Good, Good]),
        ("PackageOptional DatabaseNever", [NoPackage, Good, NoPackage, Good]),
        ("PackageNever DatabaseOptional", [NoDatabase, NoDatabase, Good, Good]),
        ("PackageNever DatabaseRequired", [NoDatabase, NoDatabase, Good, Good]),
        ("Never", [NoDatabase, NoDatabase, NoDatabase, NoDatabase]),
    ];
    let mut compared = 0;
    for (signed, place) in [(false, false), (true, false), (false, true), (true, true)].into_iter().zip(0..) {
        let repo = Repo::new();
        if signed.0 {
            repo.sign_packages(&keys.good);
        }
        if signed.1 {
            repo.sign_database(&keys.good);
        }
        for (level, outcomes) in table {
            let text = format!("[options]\nSigLevel = {level}\n[toy]\nServer = {}\n", repo.value());
            let (specs, skipped) = config::parse("pacman.conf", &text, &|_| Vec::new()).specs("x86_64");
            assert_eq!(skipped, []);
            let mut specs: Vec<Spec> = specs.into_iter().map(Spec::Alpm).collect();
            let block = KeyRef::Block(fs::read_to_string(&keys.good.public).unwrap());
            specs[0].set_keys(SignedBy { keys: vec![block], shipped: false });
            let found = match machine.in_world(|world| acquire::repositories(&specs, world)) {
                Err(err) => {
                    assert!(told(&err).contains("is not signed") && err.kind() == ErrorKind::Untrusted, "{}", told(&err));
                    NoDatabase
                }
                Ok(opened) => {
                    let indexes: Vec<Index> = opened.into_iter().flat_map(|repository| repository.indexes).collect();
                    let target = Target { family: "alpm", release: "rolling", components: &[], arch: "x86_64" };
                    let catalog = repo::catalog(&target, indexes).unwrap();
                    let packages: Vec<Package> = (0..catalog.len() as u32).map(|id| catalog.package(id).unwrap()).collect();
                    match get(&machine, &packages) {
                        Ok(_) => Good,
                        Err(err) if matches!(seal(&err), Some(SealError::Unsigned)) => NoPackage,
                        Err(err) => panic!("{level}: {}", told(&err)),
                    }
                }
            };
            assert_eq!(found, outcomes[place], "`{level}`, packages and database signed: {signed:?}");
            compared += 1;
        }
    }
    assert_eq!(compared, 32);
    // A signature that is there must be good, asked for or not.
    let repo = Repo::new();
    repo.sign_database(&keys.good);
    repo.sign_packages(&keys.other);
    let text = format!("[toy]\nSigLevel = Optional\nServer = {}\n", repo.value());
    let (mut specs, _) = config::parse("pacman.conf", &text, &|_| Vec::new()).specs("x86_64");
    specs[0].signed_by = SignedBy { keys: vec![known_key(&machine, &keys.good.public)], shipped: false };
    let opened = machine.in_world(|world| acquire::repositories(&[Spec::Alpm(specs.remove(0))], world)).unwrap();
    let target = Target { family: "alpm", release: "rolling", components: &[], arch: "x86_64" };
    let catalog = repo::catalog(&target, opened.into_iter().flat_map(|opened| opened.indexes).collect()).unwrap();
    let err = get_one(&machine, &catalog.package(0).unwrap()).unwrap_err();
    assert!(matches!(signature_error(&err), Some(SignatureError::UnknownKey { .. })), "{}", told(&err));
}

#[test]
fn keys_that_nobody_vouches_for_count_with_trust_all_only() {
    let (keys, machine) = (keys(), Machine::new());
    let dir = machine.root().join("usr/share/pacman/keyrings");
    fs::create_dir_all(&dir).unwrap();
    let ring = [fs::read(&keys.good.public).unwrap(), fs::read(&keys.other.public).unwrap()].concat();
    fs::write(dir.join("toy.gpg"), ring).unwrap();
    fs::write(dir.join("toy-trusted"), format!("{}:4:\n", keys.good.fingerprint)).unwrap();
    let outcome = |signer: &Key, level: &str| {
        let repo = Repo::new();
        repo.sign_packages(signer);
        let text = format!("[options]\nSigLevel = {level}\n[toy]\nServer = {}\n", repo.value());
        let (specs, _) = config::parse("pacman.conf", &text, &|_| Vec::new()).specs("x86_64");
        let specs: Vec<Spec> = specs.into_iter().map(Spec::Alpm).collect();
        let opened = machine.in_world(|world| acquire::repositories(&specs, world)).unwrap();
        let target = Target { family: "alpm", release: "rolling", components: &[], arch: "x86_64" };
        let catalog = repo::catalog(&target, opened.into_iter().flat_map(|opened| opened.indexes).collect()).unwrap();
        get_one(&machine, &catalog.package(0).unwrap()).map(drop)
    };
    assert!(outcome(&keys.good, "Required DatabaseOptional").is_ok());
    let err = outcome(&keys.other, "Required DatabaseOptional").unwrap_err();
    assert!(matches!(signature_error(&err), Some(SignatureError::UnknownKey { .. })), "{}", told(&err));
    assert!(outcome(&keys.other, "Required DatabaseOptional TrustAll").is_ok());
    fs::write(dir.join("toy-revoked"), format!("{}\n", keys.other.fingerprint)).unwrap();
    let err = outcome(&keys.other, "Required DatabaseOptional PackageTrustAll").unwrap_err();
    assert!(matches!(signature_error(&err), Some(SignatureError::UnknownKey { .. })), "{}", told(&err));
}

// ---- real ones ------------------------------------------------------------------------------------------------------

#[test]
fn the_packages_of_the_converted_repository_are_signed() {
    let Some(fixtures) = fixtures("the converted repository of Arch's kind") else { return };
    let from = fixtures.join("converted/trixie-mini/alpm");
    let dir = tempfile::tempdir().unwrap();
    copy(&from, dir.path());
    // As Arch has it: packages are signed, the database is not.
    fs::remove_file(dir.path().join("core.db.sig")).unwrap();
    let machine = Machine::new();
    let key = from.join("fixture.asc");
    let packages = listed(&machine, "alpm", &format!("file:{}", dir.path().display()), &[&key]).unwrap();
    let blobs = get(&machine, &packages).unwrap();
    println!("{} packages of Arch's kind are good by their own signatures", blobs.len());
    assert!(blobs.len() > 20 && packages.iter().all(|package| package.seal.is_some()));
    let err =
        get(&machine, &listed(&machine, "alpm", &format!("file:{}", dir.path().display()), &[&keys().other.public]).unwrap());
    assert!(matches!(signature_error(&err.unwrap_err()), Some(SignatureError::UnknownKey { .. })));
}

/// The signatures that real databases had in 2022 and 2017 fit the real packages that are here, and are judged as gpg judges them.
#[test]
fn real_packages_of_arch_are_judged_as_gpg_judges_them() {
    let Some(fixtures) = fixtures("Arch's packages of 2017") else { return };
    let keyring = Path::new("/usr/share/keyrings/archlinux.gpg");
    assert!(keyring.exists(), "{} is needed: install `archlinux-keyring`", keyring.display());
    let home = tempfile::tempdir().unwrap();
    let gpg = |args: &[&str]| {
        let mut command = Command::new("gpg");
        command.env("LC_ALL", "C").args(["--batch", "--status-fd", "1", "--homedir"]).arg(home.path()).args(args);
        let output = command.output().expect("gpg is needed: install `gnupg`");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    gpg(&["--import", keyring.to_str().unwrap()]);
    let dir = tempfile::tempdir().unwrap();
    let files = fixtures.join("alpm-pkg/arch-2017");
    let careless = Machine { verify: false, ..Machine::new() };
    let packages = listed(&careless, "alpm", &format!("file:{}", fixtures.join("alpm-db/arch-2017").display()), &[]).unwrap();
    let machine = Machine::new();
    let known = known_key(&machine, keyring);
    let mut verdicts = std::collections::BTreeMap::<&str, usize>::new();
    for package in packages {
        let Location::File(listed) = &package.location else { continue };
        let path = files.join(listed.file_name().unwrap());
        if !path.exists() {
            continue;
        }
        let package = sealed(Package { location: Location::File(path.clone()), ..package }, &known, &fixtures);
        let Some(SealPlace::Index(text)) = package.seal.as_ref().map(|seal| seal.place.clone()) else { continue };
        let sig = dir.path().join("sig");
        fs::write(&sig, base64::decode(&text).unwrap()).unwrap();
        let status = gpg(&["--verify", sig.to_str().unwrap(), path.to_str().unwrap()]);
        let words = ["GOODSIG", "EXPKEYSIG", "REVKEYSIG", "BADSIG", "NO_PUBKEY"];
        let theirs = words.into_iter().find(|word| status.contains(word)).unwrap_or("NONE");
        let ours = match get_one(&machine, &package) {
            Ok(_) => "GOODSIG",
            Err(err) => match signature_error(&err) {
                Some(SignatureError::Expired { .. }) => "EXPKEYSIG",
                Some(SignatureError::Revoked { .. }) => "REVKEYSIG",
                Some(SignatureError::UnknownKey { .. }) => "NO_PUBKEY",
                Some(SignatureError::Wrong { .. }) => "BADSIG",
                _ => panic!("{}", told(&err)),
            },
        };
        assert_eq!(ours, theirs, "{package}");
        *verdicts.entry(ours).or_default() += 1;
    }
    println!("packages of Arch: {verdicts:?}");
    assert!(verdicts.values().sum::<usize>() > 40 && verdicts.contains_key("GOODSIG"), "{verdicts:?}");
}

/// The package with the signature of its database's entry, to be held against every key of Arch's keyring.
fn sealed(package: Package, known: &KeyRef, fixtures: &Path) -> Package {
    use mkinitrd_pkg::base::trust::{Seal, Seals};
    use mkinitrd_pkg::family::alpm::index::AlpmCatalog;
    use mkinitrd_pkg::package::Catalog;
    static CATALOG: OnceLock<AlpmCatalog> = OnceLock::new();
    let catalog = CATALOG.get_or_init(|| {
        let index = |name: &str| {
            let path = fixtures.join("alpm-db/arch-2017").join(name);
            Index::new(name, Location::File("x".into()), fs::read(path).unwrap())
        };
        AlpmCatalog::new("x86_64", vec![index("core.db"), index("extra.db")]).unwrap()
    });
    let id = catalog.named(&package.name).iter().copied().find(|id| catalog.version(*id) == package.version);
    let by = Seals { signed_by: SignedBy { keys: vec![known.clone()], shipped: false }, required: true };
    let signature = id.and_then(|id| catalog.signature(id));
    let seal = signature.map(|text| Box::new(Seal { by, place: SealPlace::Index(text.to_owned()) }));
    Package { seal, ..package }
}
