//! Repositories of Arch's kind: directories, servers and files, signatures, pacman.conf against pacman-conf, the local database against pacman.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mkinitrd_pkg::acquire::{self, Error};
use mkinitrd_pkg::base::base64;
use mkinitrd_pkg::base::error::{Diagnostic, ErrorKind};
use mkinitrd_pkg::base::trust::{KeyRef, SignedBy, Signer};
use mkinitrd_pkg::family::alpm::index::AlpmCatalog;
use mkinitrd_pkg::family::alpm::installed::Database;
use mkinitrd_pkg::family::alpm::repository;
use mkinitrd_pkg::family::alpm::{config, mtree, trust};
use mkinitrd_pkg::family::repo::{self, Index, Repository, Spec, Target};
use mkinitrd_pkg::package::{Catalog, Location};
use mkinitrd_pkg::store::keyring::{Keyring, SignatureError};

use crate::alpm::fixtures;
use crate::archive::{keys, run};
use crate::program::{program, ran};
use crate::repository::Machine;

/// Opens what a value of `--repo` names, with these keys.
fn open(machine: &Machine, value: &str, databases: &[&str], key: Option<&Path>) -> Result<Vec<Repository>, Error> {
    let databases: Vec<String> = databases.iter().map(|name| (*name).to_owned()).collect();
    let target = Target { family: "alpm", release: "rolling", components: &databases, arch: "x86_64" };
    let mut specs: Vec<Spec> = repo::specs(value, &target, Path::new("/")).expect("a source");
    if let Some(key) = key {
        let keys = vec![KeyRef::Block(fs::read_to_string(key).expect("a key"))];
        specs.iter_mut().for_each(|spec| spec.set_keys(SignedBy { keys: keys.clone(), shipped: false }));
    }
    machine.in_world(|world| acquire::repositories(&specs, world))
}

fn refusal(outcome: Result<Vec<Repository>, Error>) -> repository::Error {
    match outcome {
        Err(Error::Repository(repo::Error::Alpm(err))) => err,
        other => panic!("not refused: {other:?}"),
    }
}

/// A directory with one small database, signed by a key of this run.
struct Small {
    dir: tempfile::TempDir,
}

impl Small {
    fn new() -> Self {
        let small = Self { dir: tempfile::tempdir().expect("a temporary directory") };
        let entry = small.path("toy-1-1");
        fs::create_dir(&entry).expect("a directory");
        fs::write(entry.join("desc"), "%NAME%\ntoy\n\n%VERSION%\n1-1\n\n%ARCH%\nany\n").expect("writing");
        let mut bsdtar = Command::new("bsdtar");
        run("libarchive-tools", bsdtar.current_dir(small.dir.path()).args(["-czf", "toy.db", "toy-1-1"]));
        small
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn value(&self) -> String {
        format!("file:{}", self.dir.path().display())
    }
}

#[test]
fn a_database_is_believed_by_its_signature() {
    let (small, machine) = (Small::new(), Machine::new());
    let (good, other) = (&keys().good, &keys().other);
    // Without one each package must have its own.
    let opened = open(&machine, &small.value(), &[], Some(&good.public)).expect("a database");
    assert!(opened[0].signer.is_none() && opened[0].indexes[0].seals.as_ref().is_some_and(|seals| seals.required));
    good.detach(&small.path("toy.db"), &small.path("toy.db.sig"));
    let opened = open(&machine, &small.value(), &[], Some(&good.public)).expect("a good signature");
    assert_eq!(opened[0].signer.as_ref().expect("a signer").fingerprint, good.fingerprint);
    assert_eq!(opened[0].indexes[0].label, "toy");
    assert_eq!(opened[0].indexes[0].seals, None);
    // A key that nobody named, and a database that is not the one that was signed.
    let err = refusal(open(&machine, &small.value(), &[], Some(&other.public)));
    assert!(matches!(err, repository::Error::Signature { .. }) && err.kind() == ErrorKind::Untrusted, "{err}");
    let mut bytes = fs::read(small.path("toy.db")).expect("a database");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(small.path("toy.db"), bytes).expect("writing");
    let err = refusal(open(&machine, &small.value(), &[], Some(&good.public)));
    assert!(matches!(err, repository::Error::Signature { .. }), "{err}");
    let careless = Machine { verify: false, ..Machine::new() };
    assert!(open(&careless, &small.value(), &[], None).expect("nothing is verified")[0].signer.is_none());
}

#[test]
fn the_converted_repository_is_verified_by_its_key() {
    let Some(fixtures) = fixtures() else { return };
    let dir = fixtures.join("converted/trixie-mini/alpm");
    let opened =
        open(&Machine::new(), &format!("file:{}", dir.display()), &[], Some(&dir.join("fixture.asc"))).expect("a repository");
    let signer = opened[0].signer.as_ref().expect("a signer");
    assert_eq!(signer.fingerprint, "360AADED9CD1020D810745D9A7CEB2C71CBB7BA9");
}

#[test]
fn a_directory_gives_the_databases_that_are_asked_for() {
    let Some(fixtures) = fixtures() else { return };
    let machine = Machine { verify: false, ..Machine::new() };
    let labels = |value: &str, databases: &[&str]| -> Vec<String> {
        let opened = open(&machine, value, databases, None).expect("a repository");
        opened.iter().flat_map(|repository| &repository.indexes).map(|index| index.label.clone()).collect()
    };
    let value = format!("file:{}/alpm-db/arch-2022", fixtures.display());
    assert_eq!(labels(&value, &["core", "extra", "community"]), ["core", "extra"]);
    assert_eq!(labels(&value, &[]), ["core", "extra", "multilib", "archcraft", "chaotic-aur"]);
    assert_eq!(labels(&format!("{value}/chaotic-aur.db.tar.xz"), &["core"]), ["chaotic-aur"]);
    let err = refusal(open(&machine, &format!("file:{}/keys", fixtures.display()), &["core"], None));
    assert!(matches!(err, repository::Error::NotFound(_)) && err.kind() == ErrorKind::Unavailable, "{err}");
}

// ---- pacman.conf ----------------------------------------------------------------------------------------------------

#[test]
fn pacman_conf_is_read_as_pacman_reads_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("writing");
    let at = dir.path().display();
    write("list-a", "## Worldwide\nServer = https://a.example/$repo/os/$arch\n#Server = https://no.example/$repo\n");
    write("list-b", "Server=https://b.example/$arch/$repo\n");
    write("more.conf", "CacheDir = /cache/two\n[late]\nServer = https://late.example\n");
    write(
        "pacman.conf",
        &format!(
            "[options]\nArchitecture = x86_64\nCacheDir = /cache/one\nSigLevel = Optional TrustAll\nDBPath = /srv/db\nIgnorePkg = linux nvidia*\n\
             Color\n[core]\nSigLevel = Required DatabaseNever\nInclude = {at}/list-*\n[search]\nUsage = Sync Search\n\
             Server = https://s.example\n[options]\nInclude = {at}/more.conf\nSigLevel = PackageRequired\n"
        ),
    );
    let path = dir.path().join("pacman.conf");
    let include = |pattern: &str| {
        let (parent, name) = pattern.rsplit_once('/').expect("a directory");
        let mut files: Vec<PathBuf> =
            fs::read_dir(parent).expect("a directory").map(|entry| entry.expect("an entry").path()).collect();
        files.sort();
        let is_meant = |path: &PathBuf| {
            let found = path.file_name().expect("a name").as_encoded_bytes();
            mkinitrd_pkg::base::glob::matches(name.as_bytes(), found)
        };
        let read = |path: PathBuf| (path.display().to_string(), fs::read_to_string(&path).expect("text"));
        files.into_iter().filter(is_meant).map(read).collect()
    };
    let text = fs::read_to_string(&path).expect("text");
    let ours = config::parse("pacman.conf", &text, &include);
    let said = |args: &[&str]| {
        let mut command = Command::new("pacman-conf");
        let output = run("pacman-package-manager", command.arg("--config").arg(&path).args(args));
        String::from_utf8(output).expect("text").lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let names: Vec<String> = ours.repos.iter().map(|repo| repo.name.clone()).collect();
    assert_eq!(names, said(&["--repo-list"]));
    assert_eq!(ours.architectures, said(&["Architecture"]));
    assert_eq!(ours.ignored, said(&["IgnorePkg"]));
    assert_eq!(ours.cache_dirs, said(&["CacheDir"]));
    assert_eq!(ours.db_path.iter().cloned().collect::<Vec<_>>(), said(&["DBPath"]));
    let (specs, skipped) = ours.specs("x86_64");
    assert_eq!(skipped, []);
    for repo in &ours.repos {
        let servers = said(&["--repo", &repo.name, "Server"]);
        let filled: Vec<String> =
            repo.servers.iter().map(|server| mkinitrd_pkg::family::alpm::sources::fill(server, &repo.name, "x86_64")).collect();
        assert_eq!(filled, servers, "{}", repo.name);
        // Of a repository without its own level pacman-conf says nothing: the one of all counts.
        let level = match said(&["--repo", &repo.name, "SigLevel"]) {
            own if own.is_empty() => said(&["SigLevel"]),
            own => own,
        };
        assert_eq!(repo.sig_level.words(), level, "{}", repo.name);
        let usage = said(&["--repo", &repo.name, "Usage"]);
        assert_eq!(repo.installs, usage.iter().any(|word| word == "All" || word == "Install"), "{}", repo.name);
    }
    let shown: Vec<String> = specs.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["https://a.example/core/os/x86_64/core.db", "https://late.example/late.db"]);
}

// ---- the local database ---------------------------------------------------------------------------------------------

/// Installs packages of the converted repository into an empty root, as far as pacman can without running anything.
fn installed_root(fixtures: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let root = dir.path();
    for part in ["var/lib/pacman/sync", "cache"] {
        fs::create_dir_all(root.join(part)).expect("a directory");
    }
    let at = root.display();
    let conf = format!(
        "[options]\nRootDir = {at}\nDBPath = {at}/var/lib/pacman\nCacheDir = {at}/cache\nLogFile = {at}/log\nGPGDir = {at}/gpg\n\
         HookDir = {at}/hooks\nArchitecture = x86_64\nSigLevel = Never\n[core]\nServer = file://{}\n",
        fixtures.join("converted/trixie-mini/alpm").display()
    );
    fs::write(root.join("conf"), conf).expect("writing");
    let mut pacman = Command::new("pacman");
    pacman.arg("--config").arg(root.join("conf")).args(["-Sy", "--noconfirm", "--noscriptlet", "kmod", "iputils"]);
    run("pacman-package-manager", &mut pacman);
    dir
}

#[test]
fn the_local_database_is_read_as_pacman_reads_it() {
    let Some(fixtures) = fixtures() else { return };
    let dir = installed_root(&fixtures);
    let query = |args: &[&str]| {
        let mut pacman = Command::new("pacman");
        let output = run("pacman-package-manager", pacman.arg("--config").arg(dir.path().join("conf")).args(args));
        String::from_utf8(output).expect("text")
    };
    let database = Database::open(dir.path(), None).expect("a database").expect("there is one");
    let ours: Vec<String> = database.packages().map(|package| format!("{} {}", package.name, package.version)).collect();
    assert_eq!(ours, query(&["-Q"]).lines().collect::<Vec<_>>());
    assert!(ours.len() > 10 && database.unfinished().is_empty());
    let mut theirs: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let root = format!("{}/", dir.path().display());
    for line in query(&["-Ql"]).lines() {
        let (name, path) = line.split_once(' ').expect("a name and a path");
        theirs.entry(name.to_owned()).or_default().push(path.strip_prefix(&root).expect("below the root").to_owned());
    }
    for package in database.packages() {
        let files: Vec<String> = package.files.iter().map(|file| String::from_utf8_lossy(file).into_owned()).collect();
        assert_eq!(files, theirs.remove(&package.name).unwrap_or_default(), "{}", package.name);
        let list: mtree::Mtree = package.list().expect("a list").expect("there is one");
        for file in &package.files {
            let path = mkinitrd_pkg::tree::TreePath::parse(file).expect("a path");
            assert!(list.contains_key(&path), "{}: {path} is not in its list", package.name);
        }
    }
    assert!(theirs.is_empty(), "{theirs:?}");
    // A transaction that goes on, and a database that says two things.
    let local = dir.path().join("var/lib/pacman/local");
    fs::remove_file(local.join("iputils-3:20240905-3/desc")).expect("removing");
    let database = Database::open(dir.path(), None).expect("a database").expect("there is one");
    assert_eq!((database.unfinished(), database.get("iputils")), (&["iputils-3:20240905-3".to_owned()][..], None));
    fs::rename(local.join("kmod-34.2-2"), local.join("kmod-34.2-1")).expect("renaming");
    let err = Database::open(dir.path(), None).expect_err("another version");
    assert_eq!(err.to_string(), "the package database of this machine is damaged: its entry says that it is `kmod-34.2-2`");
    fs::write(local.join("ALPM_DB_VERSION"), "10\n").expect("writing");
    let err = Database::open(dir.path(), None).expect_err("another format");
    assert_eq!(err.to_string(), "the package database of this machine has version `10`, wanted `9`");
    assert!(Database::open(&dir.path().join("none"), None).expect("nothing").is_none());
}

// ---- keys -----------------------------------------------------------------------------------------------------------

/// Arch Linux's keyring as Debian packages it.
const KEYRINGS: &str = "/usr/share/keyrings";

fn keyring_file(name: &str) -> PathBuf {
    let path = Path::new(KEYRINGS).join(name);
    assert!(path.exists(), "{} is needed: install `archlinux-keyring`", path.display());
    path
}

/// GnuPG with a home of its own, set up as `pacman-key --init` and `--populate` do.
struct Populated {
    home: tempfile::TempDir,
}

impl Populated {
    fn new() -> Self {
        let this = Self { home: tempfile::tempdir().expect("a temporary directory") };
        this.gpg(&[
            "--passphrase",
            "",
            "--quick-gen-key",
            "Pacman Keyring Master Key <pacman@localhost>",
            "rsa2048",
            "cert",
            "0",
        ]);
        this.gpg(&["--import", &keyring_file("archlinux.gpg").display().to_string()]);
        let trusted = fs::read_to_string(keyring_file("archlinux-trusted")).expect("text");
        for line in trusted.lines().filter(|line| !line.starts_with('#')) {
            let fingerprint = line.split(':').next().expect("a fingerprint");
            this.gpg(&["--yes", "-u", "pacman@localhost", "--quick-lsign-key", fingerprint]);
        }
        this.gpg(&["--import-ownertrust", &keyring_file("archlinux-trusted").display().to_string()]);
        this.gpg(&["--check-trustdb"]);
        this
    }

    fn gpg(&self, args: &[&str]) -> Vec<u8> {
        run("gnupg", Command::new("gpg").args(["--batch", "--quiet", "--homedir"]).arg(self.home.path()).args(args))
    }

    /// Returns the validity that gpg sees in each key, by fingerprint: `f` full, `e` expired, `r` revoked, `m` marginal, `-` none.
    fn validities(&self) -> BTreeMap<String, String> {
        let text = String::from_utf8(self.gpg(&["--with-colons", "--list-keys"])).expect("text");
        let (mut found, mut validity) = (BTreeMap::new(), None);
        for line in text.lines() {
            let fields: Vec<&str> = line.split(':').collect();
            match fields[0] {
                "pub" => validity = Some(fields[1].to_owned()),
                // The first fingerprint is the certificate's, the others are of its subkeys.
                "fpr" => found.extend(validity.take().map(|validity| (fields[9].to_owned(), validity))),
                _ => {}
            }
        }
        found
    }
}

#[test]
fn packagers_count_as_pacman_key_counts_them() {
    let mut all = Keyring::new();
    all.add_file(Path::new("/"), &keyring_file("archlinux.gpg")).expect("a keyring");
    let list = |name: &str| fs::read_to_string(keyring_file(name)).expect("text");
    let (main, revoked) = (trust::trusted(&list("archlinux-trusted")), trust::revoked(&list("archlinux-revoked")));
    assert!(main.len() >= 5 && revoked.len() > 20, "{} main keys, {} revoked", main.len(), revoked.len());
    let now = std::time::SystemTime::now();
    let ours = all.endorsed(&main, &revoked, now).fingerprints();
    let theirs = Populated::new().validities();
    let mut counts = 0;
    for fingerprint in all.fingerprints().iter().filter(|fingerprint| !main.contains(fingerprint)) {
        let expected = match theirs[fingerprint].as_str() {
            // pacman-key disables what is listed as revoked; gpg tells validity without regard to that.
            "f" => !revoked.contains(fingerprint),
            // Whoever vouches for an expired or revoked key does so in vain: its signatures are refused by that name.
            "e" | "r" => continue,
            _ => false,
        };
        counts += usize::from(expected);
        assert_eq!(ours.contains(fingerprint), expected, "{fingerprint}: gpg says {}", theirs[fingerprint]);
    }
    println!("{} certificates, {counts} packagers count", all.fingerprints().len());
    assert!(counts > 30, "{counts}");
    // Without main keys, or with all of them revoked, nobody counts.
    assert!(all.endorsed(&[], &revoked, now).is_empty());
    assert!(all.endorsed(&main, &main, now).is_empty());
}

/// What gpg's status lines say of a signature, in one word.
fn verdict(status: &str) -> &'static str {
    let words =
        [("GOODSIG", "good"), ("EXPKEYSIG", "expired"), ("REVKEYSIG", "revoked"), ("NO_PUBKEY", "unknown"), ("BADSIG", "wrong")];
    let said = words.iter().find(|(word, _)| status.lines().any(|line| line.starts_with(&format!("[GNUPG:] {word}"))));
    said.map(|(_, verdict)| *verdict).unwrap_or_else(|| panic!("not understood: {status}"))
}

fn our_verdict(outcome: &Result<Signer, SignatureError>) -> &'static str {
    match outcome {
        Ok(_) => "good",
        Err(SignatureError::Expired { .. }) => "expired",
        Err(SignatureError::Revoked { .. }) => "revoked",
        Err(SignatureError::UnknownKey { .. }) => "unknown",
        Err(SignatureError::Wrong { .. }) => "wrong",
        Err(SignatureError::Weak { .. }) => "weak",
        Err(SignatureError::Malformed(_)) => "unbound",
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn signatures_in_databases_are_judged_as_gpg_judges_them() {
    let Some(fixtures) = fixtures() else { return };
    let gpg = Populated::new();
    gpg.gpg(&["--import", &fixtures.join("converted/trixie-mini/alpm/fixture.asc").display().to_string()]);
    let mut all = Keyring::new();
    all.add_file(Path::new("/"), &keyring_file("archlinux.gpg")).expect("a keyring");
    let own = fs::read(fixtures.join("converted/trixie-mini/alpm/fixture.asc")).expect("a key");
    all.add(&own, "fixture.asc").expect("a key");
    let now = std::time::SystemTime::now();
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let mut verdicts: BTreeMap<&str, usize> = BTreeMap::new();
    for (database, packages) in [
        ("alpm-db/arch-2017/core.db", "alpm-pkg/arch-2017"),
        ("alpm-db/arch-2017/extra.db", "alpm-pkg/arch-2017"),
        ("converted/trixie-mini/alpm/core.db", "converted/trixie-mini/alpm"),
    ] {
        let bytes = fs::read(fixtures.join(database)).expect("a database");
        let index = Index::new("core", Location::File(fixtures.join(packages)), bytes);
        let catalog = AlpmCatalog::new("x86_64", vec![index]).expect("a catalog");
        for id in 0..catalog.len() as u32 {
            let Location::File(file) = catalog.package(id).expect("an entry").location else { panic!("a URL") };
            let (Ok(package), Some(signature)) = (fs::read(&file), catalog.signature(id)) else { continue };
            let signature = base64::decode(signature).expect("base64");
            let (path, mut harmed) = (scratch.path().join("sig"), package.clone());
            fs::write(&path, &signature).expect("writing");
            let judge = |file: &Path| {
                let mut command = Command::new("gpg");
                command
                    .args(["--batch", "--status-fd", "1", "--homedir"])
                    .arg(gpg.home.path())
                    .arg("--verify")
                    .arg(&path)
                    .arg(file);
                String::from_utf8_lossy(&command.output().expect("gpg is needed: install `gnupg`").stdout).into_owned()
            };
            let ours = all.verify(&package, &signature, now);
            let (ours, theirs) = (our_verdict(&ours), verdict(&judge(&file)));
            // Some packagers of 2017 bound their keys by SHA-1, which can be forged, or bound them anew since, so that nothing says that the
            // key was theirs in 2017. gpg takes both.
            assert!(
                ours == theirs || (["weak", "unbound"].contains(&ours) && theirs != "wrong"),
                "{}: {ours}, gpg says {theirs}",
                file.display()
            );
            *verdicts.entry(ours).or_default() += 1;
            // The same of a package that is another by one bit.
            let middle = harmed.len() / 2;
            harmed[middle] ^= 1;
            let other = all.verify(&harmed, &signature, now);
            assert!(other.is_err() && (ours != "good" || our_verdict(&other) == "wrong"), "{}", file.display());
        }
    }
    println!("{verdicts:?}");
    assert!(verdicts.values().sum::<usize>() > 50 && verdicts["good"] >= 24, "{verdicts:?}");
}

// ---- the program ----------------------------------------------------------------------------------------------------

/// Plans as a user does, for a distribution that a drop-in describes.
fn plan(repo: &str, more: &[&str]) -> crate::program::Ran {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let drop_in = dir.path().join("arch.toml");
    let text = "[distro]\nname = \"debian\"\nfamily = \"alpm\"\nmirror = \"https://mirror.invalid\"\ncomponents = [\"core\", \"extra\"]\n\
        [distro.architectures]\nx86_64 = \"x86_64\"\n[distro.releases.rolling]\nsuites = [\"rolling\"]\n";
    fs::write(&drop_in, text).expect("writing");
    let mut command = program();
    command.arg("--config").arg(&drop_in).args([
        "plan",
        "--distro",
        "debian",
        "--release",
        "rolling",
        "--arch",
        "x86_64",
        "--bare",
    ]);
    ran(command.args(["--no-verify", "--repo", repo]).args(more))
}

#[test]
fn a_plan_is_made_from_databases_alone() {
    let Some(fixtures) = fixtures() else { return };
    let repo = format!("file:{}/alpm-db/arch-2022", fixtures.display());
    let said = plan(&repo, &["--json", "--package", "systemd", "--package", "libudev.so=1-64"]).good().out;
    let json: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let packages = json["packages"].as_array().expect("packages");
    let find = |name: &str| packages.iter().find(|package| package["name"] == name).expect("a package");
    assert_eq!(
        (find("systemd")["version"].as_str(), find("systemd-libs")["version"].as_str()),
        (Some("251.4-1"), Some("251.4-1"))
    );
    assert_eq!(find("systemd")["reason"], "asked for by the command line");
    assert!(
        find("cryptsetup")["url"].as_str().expect("text").ends_with("/alpm-db/arch-2022/cryptsetup-2.5.0-1-x86_64.pkg.tar.zst")
    );
    plan(&repo, &["--package", "plymouth"]).bad(4, &["no package provides `plymouth`"]);
}

#[test]
fn an_arch_machine_has_its_own_sources_and_its_own_packages() {
    let Some(fixtures) = fixtures() else { return };
    let machine = Machine { verify: false, offline: true, ..Machine::new() };
    let write = |path: &str, text: &[u8]| {
        let path = machine.root().join(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(path, text).expect("writing");
    };
    write("etc/os-release", b"ID=arch\n");
    write("etc/pacman.conf", b"[options]\nArchitecture = auto\n[core]\nInclude = /etc/pacman.d/mirrorlist\n[none]\n");
    write("etc/pacman.d/mirrorlist", b"Server = https://one.invalid/$repo/os/$arch\nServer = https://two.invalid/$repo\n");
    let target = Target { family: "alpm", release: "rolling", components: &[], arch: "x86_64" };
    let own = acquire::host_sources(&machine.root(), "arch", &target).expect("sources").expect("it is Arch Linux");
    let shown: Vec<String> = own.specs.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["https://one.invalid/core/os/x86_64/core.db"]);
    assert_eq!(own.skipped[0].1, "the repository `none` has no server");
    // A package that pacman has downloaded needs no network; one that is another is not taken.
    let dir = fixtures.join("converted/trixie-mini/alpm");
    let index =
        Index::new("core", Location::Url("https://one.invalid".into()), fs::read(dir.join("core.db")).expect("a database"));
    let catalog = AlpmCatalog::new("x86_64", vec![index]).expect("a catalog");
    let package = catalog.package(catalog.named("iputils")[0]).expect("an entry");
    let name = "iputils-3:20240905-3-x86_64.pkg.tar.zst";
    let bytes = fs::read(dir.join(name)).expect("a package");
    let get = || machine.in_world(|world| acquire::acquire(&[&package], world));
    assert!(get().is_err());
    write(&format!("var/cache/pacman/pkg/{name}"), &bytes[1..]);
    assert!(get().is_err());
    write(&format!("var/cache/pacman/pkg/{name}"), &bytes);
    assert_eq!(get().expect("it is in the cache").len(), 1);
}
