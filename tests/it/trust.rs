//! Every byte of a package is proved before it is used: by what its index says, or by the signature that it has itself.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "what is not run, and the figures of what is, are told")]

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use mkinitrd_pkg::acquire::{self, Blob, Error, Origin, SealError, World};
use mkinitrd_pkg::base::base64;
use mkinitrd_pkg::base::checksum::{Checksum, Kind};
use mkinitrd_pkg::base::digest::Sha256;
use mkinitrd_pkg::base::error::{Diagnostic, ErrorKind};
use mkinitrd_pkg::base::trust::{KeyRef, SignedBy};
use mkinitrd_pkg::family::apk::Apk;
use mkinitrd_pkg::family::repo::{self, Index, Spec, Target};
use mkinitrd_pkg::package::{Location, Package};
use mkinitrd_pkg::report::Silent;
use mkinitrd_pkg::store::fetch::{Fetcher, Patience};
use mkinitrd_pkg::store::keyring::SignatureError;
use mkinitrd_pkg::unpack::{self, Layout, Source};

use crate::repository::Machine;
use crate::server::Server;

/// Returns the fixtures' directory, or says loudly what is not tested without it.
pub fn fixtures(what: &str) -> Option<PathBuf> {
    let found = std::env::var_os("MKINITRD_FIXTURES").map(PathBuf::from);
    if found.is_none() {
        println!("NOT RUN: {what}: set `MKINITRD_FIXTURES` to a directory that has them");
    }
    found
}

/// Makes a file of keys known to a machine.
pub fn known_key(machine: &Machine, path: &Path) -> KeyRef {
    if path.is_dir() {
        return KeyRef::File(path.to_owned());
    }
    let bytes = fs::read(path).unwrap();
    let inside = Path::new("/keys").join(Sha256::of(&bytes).to_string());
    fs::create_dir_all(machine.root().join("keys")).unwrap();
    fs::write(machine.root().join(inside.strip_prefix("/").unwrap()), bytes).unwrap();
    KeyRef::File(inside)
}

/// The packages of a repository, opened and verified as a build does it.
pub fn listed(machine: &Machine, family: &str, value: &str, keys: &[&Path]) -> Result<Vec<Package>, Error> {
    let target = Target { family, release: "edge", components: &[], arch: "x86_64" };
    let mut specs: Vec<Spec> = repo::specs(value, &target, Path::new("/")).unwrap();
    if !keys.is_empty() {
        let keys: Vec<KeyRef> = keys.iter().map(|key| known_key(machine, key)).collect();
        specs.iter_mut().for_each(|spec| spec.set_keys(SignedBy { keys: keys.clone(), shipped: false }));
    }
    let opened = machine.in_world(|world| acquire::repositories(&specs, world))?;
    let indexes: Vec<Index> = opened.into_iter().flat_map(|repository| repository.indexes).collect();
    let catalog = repo::catalog(&target, indexes).unwrap();
    Ok((0..catalog.len() as u32).map(|id| catalog.package(id).unwrap()).collect())
}

pub fn get(machine: &Machine, packages: &[Package]) -> Result<Vec<Blob>, Error> {
    let wanted: Vec<&Package> = packages.iter().collect();
    machine.in_world(|world| acquire::acquire(&wanted, world))
}

pub fn get_one(machine: &Machine, package: &Package) -> Result<Blob, Error> {
    get(machine, std::slice::from_ref(package)).map(|mut blobs| blobs.remove(0))
}

/// What is wrong with a package's own signature.
pub fn seal(err: &Error) -> Option<&SealError> {
    match err {
        Error::Seal { source, .. } => Some(source),
        _ => None,
    }
}

/// What is wrong with a signature that was found.
pub fn signature_error(err: &Error) -> Option<&SignatureError> {
    let SealError::Signature(err) = seal(err)? else { return None };
    let error: &(dyn std::error::Error + 'static) = &*err.error;
    error.downcast_ref()
}

/// An error with all that is behind it.
pub fn told(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut source = err.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

pub fn bytes(blob: &Blob) -> Vec<u8> {
    let mut bytes = Vec::new();
    blob.open().unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

/// Copies a directory of files and directories.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => {
                fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
            }
        }
    }
}

/// Flips a bit of a file.
pub fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    let at = at.min(bytes.len() - 1);
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

/// Takes the files of the server's directory.
pub fn served(dir: &Path) -> Server {
    Server::of(dir)
}

// ---- apk ------------------------------------------------------------------------------------------------------------

/// A copy of the converted Alpine repository with its packages as its index lists them.
struct Alpine {
    dir: tempfile::TempDir,
    machine: Machine,
    keys: PathBuf,
}

impl Alpine {
    fn new(fixtures: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        copy(&fixtures.join("converted/trixie-mini/apk"), dir.path());
        let machine = Machine::new();
        copy(&dir.path().join("keys"), &machine.root().join("etc/apk/keys"));
        let keys = dir.path().join("keys");
        Self { dir, machine, keys }
    }

    fn file(&self, package: &Package) -> PathBuf {
        self.dir.path().join("x86_64").join(format!("{}-{}.apk", package.name, package.version))
    }

    fn packages(&self, value: &str) -> Vec<Package> {
        listed(&self.machine, "apk", value, &[&self.keys]).unwrap()
    }

    fn local(&self) -> Vec<Package> {
        self.packages(&format!("file:{}", self.dir.path().display()))
    }
}

#[test]
fn apks_are_proved_by_their_control_segment_and_known_by_their_digest() {
    let Some(fixtures) = fixtures("the converted Alpine repository") else { return };
    let alpine = Alpine::new(&fixtures);
    let packages = alpine.local();
    assert_eq!(packages.len(), 31);
    let blobs = get(&alpine.machine, &packages).unwrap();
    for (package, blob) in packages.iter().zip(&blobs) {
        let file = fs::read(alpine.file(package)).unwrap();
        assert!(package.proof.as_ref().unwrap().starts_with("Q1"), "{package}");
        assert_eq!((blob.sha256, bytes(blob)), (Sha256::of(&file), file), "{package}");
        let known = blob.listed.as_deref().unwrap();
        assert_eq!((known.sha256, &known.name, &known.version), (blob.sha256, &package.name, &package.version));
    }
    println!("{} packages of Alpine's kind are proved", blobs.len());
    // What is known of them is enough to unpack all of them, with the digest compared once more.
    let known: Vec<Package> = blobs.iter().map(|blob| *blob.listed.clone().unwrap()).collect();
    let opens: Vec<Box<unpack::Open<'_>>> = blobs
        .iter()
        .map(|blob| -> Box<unpack::Open<'_>> {
            Box::new(|| {
                let reader: Box<dyn Read + Send> = Box::new(blob.open().unwrap());
                Ok(reader)
            })
        })
        .collect();
    let inputs: Vec<unpack::Input<'_>> = known
        .iter()
        .zip(&opens)
        .enumerate()
        .map(|(index, (package, open))| unpack::Input { package, index: index as u32, source: Source::File(&**open) })
        .collect();
    let unpacked = unpack::unpack(&inputs, &Apk, &Layout::default(), &|_, _| true, None, 2, &Silent).unwrap();
    assert!(unpacked.tree.iter().count() > 500);
}

/// Alpine's own indexes, on a machine that has none of its keys: those that we carry know the signer, for Alpine and for no other.
#[test]
fn real_indexes_of_alpine_are_verified_by_the_keys_that_are_shipped() {
    let Some(fixtures) = fixtures("real indexes of Alpine") else { return };
    for (name, arch, key) in [("alpine-316", "x86_64", "6165ee59"), ("alpine-317", "aarch64", "616ae350")] {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(arch)).unwrap();
        let index = dir.path().join(arch).join("APKINDEX.tar.gz");
        fs::copy(fixtures.join("apk").join(name).join("APKINDEX.tar.gz"), &index).unwrap();
        let target = Target { family: "apk", release: "edge", components: &[], arch };
        let specs: Vec<Spec> = repo::specs(&format!("file:{}", dir.path().display()), &target, Path::new("/")).unwrap();
        let machine = Machine::new();
        let open = |distro: &str| {
            let fetcher = Fetcher::new(true, Patience::default(), |_| None).unwrap();
            let root = machine.root();
            let world = World::new(&machine.store, &fetcher, &root, distro, machine.now, &machine.warnings);
            acquire::repositories(&specs, &world)
        };
        for distro in ["alpine", "postmarketos"] {
            let signer = open(distro).unwrap().remove(0).signer.unwrap();
            assert!(signer.file.contains(key) && signer.file.ends_with("(shipped with mkinitrd-pkg)"), "{}", signer.file);
        }
        let err = open("debian").unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Untrusted, "{}", told(&err));
        let mut bytes = fs::read(&index).unwrap();
        let last = bytes.len() - 20;
        bytes[last] ^= 1;
        fs::write(&index, bytes).unwrap();
        assert_eq!(open("alpine").unwrap_err().kind(), ErrorKind::Untrusted, "{name}: a changed index");
    }
}

#[test]
fn apks_come_from_the_mirror_once_and_then_from_the_cache() {
    let Some(fixtures) = fixtures("the converted Alpine repository") else { return };
    let alpine = Alpine::new(&fixtures);
    let server = served(alpine.dir.path());
    let packages = alpine.packages(&server.url(""));
    server.asked();
    let package = packages.iter().find(|package| package.name == "bash").unwrap();
    let file = fs::read(alpine.file(package)).unwrap();
    let first = get_one(&alpine.machine, package).unwrap();
    assert_eq!((&first.origin, bytes(&first)), (&Origin::Mirror(package.location.to_string()), file.clone()));
    assert_eq!(server.asked().len(), 1);
    // A second build, and one without a network.
    for offline in [false, true] {
        let machine = Machine { offline, ..Machine::new() };
        let cache = alpine.machine.dir.path().join("cache");
        let machine = Machine { store: mkinitrd_pkg::store::Store::open(&cache), ..machine };
        let again = get_one(&machine, package).unwrap();
        assert_eq!((&again.origin, again.sha256), (&Origin::Cache, first.sha256));
        let located = machine.in_world(|world| acquire::locate(package, world));
        assert_eq!(located.as_deref(), again.path());
    }
    assert!(server.asked().is_empty());
    // Damaged in the cache, it is fetched anew; a note that leads elsewhere leads nowhere.
    let kept = first.path().unwrap().to_owned();
    flip(&kept, 4_000);
    assert!(matches!(get_one(&alpine.machine, package).unwrap().origin, Origin::Mirror(_)));
    let other = packages.iter().find(|package| package.name == "dash").unwrap();
    let swapped = Package { proof: other.proof.clone(), ..package.clone() };
    alpine.machine.store.remember_proof(other.proof.as_ref().unwrap(), &first.sha256).unwrap();
    let err = get_one(&alpine.machine, &swapped).unwrap_err();
    assert!(matches!(&err, Error::Unproved { .. }) && err.kind() == ErrorKind::Untrusted, "{}", told(&err));
    let blob = get_one(&alpine.machine, other).unwrap();
    assert_eq!(bytes(&blob), fs::read(alpine.file(other)).unwrap());
    // Offline and in no cache.
    let offline = Machine { offline: true, ..Machine::new() };
    let err = get_one(&offline, package).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Unavailable, "{}", told(&err));
}

#[test]
fn c17_what_apk_downloaded_is_taken_if_it_is_proved() {
    let Some(fixtures) = fixtures("the converted Alpine repository") else { return };
    let alpine = Alpine::new(&fixtures);
    let server = served(alpine.dir.path());
    let packages = alpine.packages(&server.url(""));
    let package = packages.iter().find(|package| package.name == "dash").unwrap();
    let raw = base64::decode(&package.proof.as_ref().unwrap()[2..]).unwrap();
    let digits: String = raw[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    for cache in ["etc/apk/cache", "var/cache/apk"] {
        server.asked();
        let machine = Machine::new();
        let dir = machine.root().join(cache);
        fs::create_dir_all(&dir).unwrap();
        let archived = dir.join(format!("{}-{}.{digits}.apk", package.name, package.version));
        fs::copy(alpine.file(package), &archived).unwrap();
        assert_eq!(get_one(&machine, package).unwrap().origin, Origin::HostCache(archived.clone()));
        assert!(server.asked().is_empty());
        flip(&archived, 3_000);
        assert!(matches!(get_one(&machine, package).unwrap().origin, Origin::Mirror(_)));
    }
}

#[test]
fn c16_a_changed_apk_is_refused_wherever_it_lies() {
    let Some(fixtures) = fixtures("the converted Alpine repository") else { return };
    let alpine = Alpine::new(&fixtures);
    let packages = alpine.local();
    let package = packages.iter().find(|package| package.name == "dash").unwrap();
    let file = alpine.file(package);
    let good = fs::read(&file).unwrap();
    let server = served(alpine.dir.path());
    let remote = alpine.packages(&server.url("")).into_iter().find(|package| package.name == "dash").unwrap();
    let mut refused = 0;
    // In the signature, in the control segment, in the content, at the end.
    for at in [200, 700, 900, good.len() / 2, good.len() - 1] {
        fs::write(&file, &good).unwrap();
        flip(&file, at);
        for package in [package, &remote] {
            let machine = Machine::new();
            // The signature is the packager's, and counts for nothing beside the index: a bit of it may differ.
            match get_one(&machine, package) {
                Err(err) => {
                    assert!(matches!(&err, Error::Unproved { .. }) && err.kind() == ErrorKind::Untrusted, "{}", told(&err));
                    assert_eq!(machine.store.usage().unwrap().files, 0);
                    refused += 1;
                }
                Ok(_) => assert!(at < 600, "a bit was changed at {at}"),
            }
        }
    }
    assert!(refused >= 8, "{refused}");
    // Another package that its maintainer signed, too; one that is cut; one that is gone.
    let other = packages.iter().find(|package| package.name == "bash").unwrap();
    fs::copy(alpine.file(other), &file).unwrap();
    assert!(matches!(get_one(&alpine.machine, package), Err(Error::Unproved { .. })));
    fs::write(&file, &good[..good.len() / 2]).unwrap();
    assert!(matches!(get_one(&alpine.machine, package), Err(Error::Unproved { .. })));
    fs::remove_file(&file).unwrap();
    let err = get_one(&alpine.machine, package).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Unavailable, "{}", told(&err));
}

#[test]
fn a_checksum_of_the_second_kind_proves_as_well() {
    let Some(fixtures) = fixtures("the converted Alpine repository") else { return };
    let alpine = Alpine::new(&fixtures);
    let packages = alpine.local();
    let package = packages.iter().find(|package| package.name == "dash").unwrap();
    let file = fs::read(alpine.file(package)).unwrap();
    let control = mkinitrd_pkg::family::apk::read::control(&mut &file[..]).unwrap();
    assert_eq!(package.proof, Some(control.checksum.to_string()));
    let wide = Package { proof: Some(control.wide_checksum.to_string()), ..package.clone() };
    assert!(wide.proof.as_ref().unwrap().starts_with("Q2"));
    assert_eq!(bytes(&get_one(&alpine.machine, &wide).unwrap()), file);
    let wrong = format!("Q2{}", base64::encode(Sha256::of(b"x").as_bytes()));
    let err = get_one(&alpine.machine, &Package { proof: Some(wrong), ..package.clone() }).unwrap_err();
    assert!(told(&err).contains("checksum of the control segment"), "{}", told(&err));
}

// ---- other digests --------------------------------------------------------------------------------------------------

#[test]
fn files_are_proved_by_the_digest_that_the_metadata_have() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.rpm");
    let content = b"a package".repeat(1000);
    fs::write(&path, &content).unwrap();
    let sum = |tool: &str| {
        let output = std::process::Command::new(tool).arg(&path).output().unwrap();
        String::from_utf8_lossy(&output.stdout).split(' ').next().unwrap().to_owned()
    };
    let package = |kind: Kind, digits: &str| {
        let proof = Checksum::parse(kind, digits).unwrap().to_string();
        Package {
            name: "p".into(),
            version: "1-1".into(),
            arch: "noarch".into(),
            repo: "r".into(),
            location: Location::File(path.clone()),
            sha256: Sha256::of(proof.as_bytes()),
            proof: Some(proof),
            seal: None,
            size_bytes: content.len() as u64,
            installed_bytes: 0,
            source: String::new(),
            rank: 0,
            requires: Vec::new(),
            recommends: Vec::new(),
            provides: Vec::new(),
            conflicts: Vec::new(),
        }
    };
    let machine = Machine::new();
    for (kind, tool) in [(Kind::Sha1, "sha1sum"), (Kind::Sha384, "sha384sum"), (Kind::Sha512, "sha512sum")] {
        let good = package(kind, &sum(tool));
        let blob = get_one(&machine, &good).unwrap();
        assert_eq!((blob.sha256, bytes(&blob)), (Sha256::of(&content), content.clone()), "{tool}");
        let mut digits = sum(tool);
        digits.replace_range(0..1, if digits.starts_with('0') { "1" } else { "0" });
        let err = get_one(&machine, &package(kind, &digits)).unwrap_err();
        assert!(matches!(&err, Error::Unproved { .. }) && err.kind() == ErrorKind::Untrusted, "{}", told(&err));
    }
    // MD5 alone proves nothing.
    let weak = package(Kind::Md5, &sum("md5sum"));
    let err = get_one(&machine, &weak).unwrap_err();
    assert!(matches!(&err, Error::Weak { .. }) && err.kind() == ErrorKind::Untrusted, "{}", told(&err));
    let careless = Machine { verify: false, ..Machine::new() };
    assert_eq!(bytes(&get_one(&careless, &weak).unwrap()), content);
    flip(&path, 5);
    assert!(matches!(get_one(&careless, &weak), Err(Error::Unproved { .. })), "the digest is compared all the same");
}

// ---- the lock file --------------------------------------------------------------------------------------------------

#[test]
fn a_lock_holds_what_proves_a_package() {
    use mkinitrd_pkg::config::Item;
    use mkinitrd_pkg::plan::lock::{self, LockError};
    use mkinitrd_pkg::plan::{Request, plan};
    let Some(fixtures) = fixtures("the converted Alpine repository") else { return };
    let bytes = fs::read(fixtures.join("converted/trixie-mini/apk/x86_64/APKINDEX.tar.gz")).unwrap();
    let text = String::from_utf8(mkinitrd_pkg::family::apk::repository::unpack(&bytes).unwrap()).unwrap();
    let catalog = |text: &str| {
        let target = Target { family: "apk", release: "edge", components: &[], arch: "x86_64" };
        let base = Location::Url("https://mirror/main/x86_64".to_owned());
        repo::catalog(&target, vec![Index::new("main", base, text.as_bytes().to_vec())]).unwrap()
    };
    let good = catalog(&text);
    let request = Request { packages: vec![Item::from_command_line("dash")], ..Request::default() };
    let plan = plan(&request, &*good, &Silent).unwrap();
    let locked = lock::write(&plan);
    let dash = plan.packages.iter().map(|planned| &planned.package).find(|package| package.name == "dash").unwrap();
    let proof = dash.proof.clone().unwrap();
    assert!(locked.contains(&format!("\"proof\": \"{proof}\"")) && !locked.contains("sha256"), "{locked}");
    assert_eq!(lock::read(&locked, "lock", &*good).unwrap().packages.len(), plan.packages.len());
    let other = "Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let err = lock::read(&locked, "lock", &*catalog(&text.replace(&proof, other))).unwrap_err();
    assert!(matches!(&err, LockError::Changed { locked, listed, .. } if **locked == *proof && **listed == *other), "{err}");
}
