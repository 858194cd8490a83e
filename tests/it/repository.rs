//! Repositories: real ones, and small ones made to be wrong.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use mkinitrd_pkg::acquire::{self, Error, World};
use mkinitrd_pkg::base::error::{Diagnostic, ErrorKind};
use mkinitrd_pkg::config::Source;
use mkinitrd_pkg::family::address::Base;
use mkinitrd_pkg::family::deb::refusal;
use mkinitrd_pkg::family::deb::sources::{self, RepoSpec};
use mkinitrd_pkg::family::repo::{self, Repository, Spec, Target};
use mkinitrd_pkg::package::Location;
use mkinitrd_pkg::report::{Event, Reporter, Silent};
use mkinitrd_pkg::store::Store;
use mkinitrd_pkg::store::fetch::{FetchError, Fetcher, Patience};
use mkinitrd_pkg::store::keyring::{Keyring, SignatureError};

use crate::archive::{Archive, Header, keys, now, run};
use crate::server::{Server, absent, answer, file, ok};

/// Collects warnings.
#[derive(Default)]
pub struct Warnings(pub Mutex<Vec<String>>);

impl Reporter for Warnings {
    fn event(&self, event: &Event<'_>) {
        if let Event::Warning { message, .. } = event {
            self.0.lock().unwrap().push((*message).to_owned());
        }
    }
}

/// A machine with a cache and nothing else.
pub struct Machine {
    pub dir: tempfile::TempDir,
    pub store: Store,
    pub warnings: Warnings,
    pub now: SystemTime,
    pub verify: bool,
    pub offline: bool,
}

impl Machine {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cache"));
        Self { dir, store, warnings: Warnings::default(), now: SystemTime::now(), verify: true, offline: false }
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    pub fn fetcher(&self) -> Fetcher {
        Fetcher::new(self.offline, impatient(), |_| None).unwrap()
    }

    pub fn in_world<T>(&self, work: impl FnOnce(&World<'_>) -> T) -> T {
        let (fetcher, root) = (self.fetcher(), self.root());
        let mut world = World::new(&self.store, &fetcher, &root, "debian", self.now, &self.warnings);
        world.verify = self.verify;
        work(&world)
    }

    pub fn open(&self, spec: &RepoSpec) -> Result<Repository, Error> {
        self.in_world(|world| acquire::repositories(&[Spec::Deb(spec.clone())], world)).map(|mut all| all.remove(0))
    }

    fn refusal(&self, spec: &RepoSpec) -> refusal::Error {
        match self.open(spec) {
            Err(Error::Repository(repo::Error::Deb(err))) => err,
            other => panic!("not refused: {other:?}"),
        }
    }
}

/// The machine's own sources for a release of Debian.
pub fn machines_own(release: &str) -> Vec<RepoSpec> {
    let target = Target { family: "deb", release, components: &["main".to_owned()], arch: "amd64" };
    let own = acquire::host_sources(Path::new("/"), "debian", &target).unwrap().expect("this test runs on Debian");
    own.specs
        .into_iter()
        .filter_map(|spec| match spec {
            Spec::Deb(spec) => Some(spec),
            _ => None,
        })
        .collect()
}

/// Gives up soon.
pub fn impatient() -> Patience {
    let short = Duration::from_millis(400);
    Patience { connect: short, silence: short, window: short, window_bytes_min: 1_000, tries: 3, pause: Duration::from_millis(5) }
}

/// A source in the test archive's own words.
pub fn source(uri: &str, key: Option<&Path>) -> RepoSpec {
    let options = key.map(|key| format!("[signed-by={}] ", key.display())).unwrap_or_default();
    one(&format!("{options}{uri} tester main"))
}

fn one(value: &str) -> RepoSpec {
    let mut specs = sources::parse_repo(value, "tester", &["main".to_owned()], "amd64", Path::new("/")).unwrap();
    assert_eq!(specs.len(), 1);
    specs.remove(0)
}

fn local(archive: &Archive, key: &Path) -> RepoSpec {
    // A path would be looked for on the test's own machine.
    let mut spec = source(&format!("file:{}", archive.root().display()), None);
    let text = std::fs::read_to_string(key).unwrap();
    spec.signed_by.keys = vec![mkinitrd_pkg::base::trust::KeyRef::Block(text)];
    spec.signed_by.shipped = false;
    spec
}

fn remote(server: &Server, key: &Path) -> RepoSpec {
    let mut spec = local(&Archive::good(), key);
    spec.base = Base::parse(&server.url("")).unwrap();
    spec
}

fn signature_error(err: refusal::Error) -> SignatureError {
    let refusal::Error::Signature { source, .. } = err else { panic!("not about the signature: {err:?}") };
    let error: &(dyn std::error::Error + 'static) = &*source.error;
    error.downcast_ref::<SignatureError>().unwrap_or_else(|| panic!("another reason: {error:?}")).clone()
}

#[test]
fn a_good_inrelease_gives_the_index_it_lists() {
    let (archive, machine) = (Archive::good(), Machine::new());
    let repository = machine.open(&local(&archive, &keys().good.public)).unwrap();
    assert_eq!(repository.indexes[0].bytes, archive.packages());
    assert_eq!((repository.indexes[0].label.as_str(), repository.priority), ("tester/main", 500));
    assert_eq!(repository.signer.unwrap().fingerprint, keys().good.fingerprint);
    assert!(machine.warnings.0.into_inner().unwrap().is_empty());
}

#[test]
fn release_with_a_detached_signature_is_as_good() {
    let (archive, machine) = (Archive::new(), Machine::new());
    archive.release(&Header::default());
    keys().good.detach(&archive.dist("Release"), &archive.dist("Release.gpg"));
    let spec = local(&archive, &keys().good.public);
    assert_eq!(machine.open(&spec).unwrap().signer.unwrap().key, keys().good.fingerprint);
    let changed = std::fs::read_to_string(archive.dist("Release")).unwrap().replace("Origin: Test", "Origin: Tost");
    std::fs::write(archive.dist("Release"), changed).unwrap();
    assert!(matches!(signature_error(Machine::new().refusal(&spec)), SignatureError::Wrong { .. }));
}

#[test]
fn what_is_unchanged_is_not_fetched_again_and_offline_needs_nothing() {
    let archive = Archive::good();
    let server = Server::of(&archive.root());
    let (mut machine, spec) = (Machine::new(), remote(&server, &keys().good.public));
    machine.open(&spec).unwrap();
    assert_eq!(server.asked(), ["/dists/tester/InRelease", "/dists/tester/main/binary-amd64/Packages.xz"]);
    assert_eq!(machine.open(&spec).unwrap().indexes[0].bytes, archive.packages());
    assert_eq!(server.asked(), ["/dists/tester/InRelease"]);
    machine.offline = true;
    assert_eq!(machine.open(&spec).unwrap().indexes[0].bytes, archive.packages());
    assert!(server.asked().is_empty());
    let mut stranger = Machine::new();
    stranger.offline = true;
    assert!(matches!(stranger.refusal(&spec), refusal::Error::NeverSeen(_)));
}

#[test]
fn indexes_come_by_hash_when_offered_and_in_any_compression() {
    let archive = Archive::new();
    let header = Header::default();
    archive.sign(&Header { fields: format!("{}Acquire-By-Hash: yes\n", header.fields), ..header.clone() }, &keys().good);
    archive.by_hash();
    let spec = local(&archive, &keys().good.public);
    assert_eq!(Machine::new().open(&spec).unwrap().indexes[0].bytes, archive.packages());
    for left in ["Packages.gz", "Packages"] {
        let archive = Archive::good();
        for name in ["Packages.xz", "Packages.gz", "Packages"] {
            if name != left {
                std::fs::remove_file(archive.dist(&format!("main/binary-amd64/{name}"))).unwrap();
            }
        }
        let spec = local(&archive, &keys().good.public);
        assert_eq!(Machine::new().open(&spec).unwrap().indexes[0].bytes, archive.packages(), "{left}");
    }
}

#[test]
fn d01_unsigned_is_refused_unless_asked_for() {
    let (archive, mut machine) = (Archive::new(), Machine::new());
    let spec = local(&archive, &keys().good.public);
    let err = machine.refusal(&spec);
    assert!(matches!(err, refusal::Error::Unsigned(_)), "without a release file: {err:?}");
    assert!(err.hints()[0].contains("--no-verify"));
    archive.release(&Header::default());
    let err = machine.refusal(&spec);
    assert!(matches!(err, refusal::Error::Unsigned(_)), "without a signature: {err:?}");
    assert_eq!(err.kind(), ErrorKind::Untrusted);
    let trusted = RepoSpec { trusted: true, ..spec.clone() };
    assert!(matches!(machine.refusal(&trusted), refusal::Error::Unsigned(_)), "`trusted=yes` does not count");
    machine.verify = false;
    let repository = machine.open(&spec).unwrap();
    assert_eq!((repository.signer, repository.indexes[0].bytes.clone()), (None, archive.packages()));
    assert!(machine.warnings.0.lock().unwrap().iter().any(|line| line.contains("--no-verify")));
    // Digests count even then.
    let changed = [&archive.packages()[..], b"\n"].concat();
    for name in ["Packages", "Packages.gz", "Packages.xz"] {
        std::fs::write(archive.dist(&format!("main/binary-amd64/{name}")), &changed).unwrap();
    }
    let fresh = Machine { verify: false, ..Machine::new() };
    assert!(matches!(fresh.refusal(&spec), refusal::Error::Inconsistent { .. }));
}

#[test]
fn d02_only_the_keys_of_this_repository_count() {
    let (archive, machine) = (Archive::good(), Machine::new());
    let spec = local(&archive, &keys().other.public);
    let err = machine.refusal(&spec);
    let text = format!("{}", std::error::Error::source(&err).unwrap());
    assert!(text.contains(&keys().other.fingerprint) && text.contains(&keys().good.fingerprint[24..]), "{text}");
    assert!(matches!(signature_error(err), SignatureError::UnknownKey { .. }));
    // The machine trusts the good key for everything, but this repository names another one.
    let trusted = machine.root().join("etc/apt/trusted.gpg.d");
    std::fs::create_dir_all(&trusted).unwrap();
    std::fs::copy(&keys().good.public, trusted.join("good.asc")).unwrap();
    assert!(matches!(signature_error(machine.refusal(&spec)), SignatureError::UnknownKey { .. }));
    let mut unnamed = spec.clone();
    unnamed.signed_by.keys.clear();
    let signer = machine.open(&unnamed).unwrap().signer.unwrap();
    assert_eq!(
        (signer.fingerprint, signer.file),
        (keys().good.fingerprint.clone(), "/etc/apt/trusted.gpg.d/good.asc".to_owned())
    );
    // A second signature by an unknown key spoils nothing.
    archive.release(&Header::default());
    let double = ["-u", keys().other.fingerprint.as_str()];
    keys().good.clearsign(&archive.dist("Release"), &archive.dist("InRelease"), &double);
    machine.store.clean_all().unwrap();
    assert!(Machine::new().open(&spec).is_ok());
}

#[test]
fn d03_expired_revoked_weak_and_future_signatures_each_say_so() {
    let archive = Archive::new();
    archive.sign(&Header::default(), &keys().expired);
    let err = signature_error(Machine::new().refusal(&local(&archive, &keys().expired.public)));
    assert!(matches!(err, SignatureError::Expired { .. }), "{err:?}");

    archive.sign(&Header::default(), &keys().revoked);
    assert!(Machine::new().open(&local(&archive, &keys().revoked.public)).is_ok(), "before the revocation is known");
    let mut spec = local(&archive, &keys().good.public);
    let machine = Machine::new();
    std::fs::create_dir_all(machine.root().join("k")).unwrap();
    std::fs::copy(keys().revoked.revoked(), machine.root().join("k/revoked.gpg")).unwrap();
    spec.signed_by.keys = vec![mkinitrd_pkg::base::trust::KeyRef::File("/k/revoked.gpg".into())];
    let err = signature_error(machine.refusal(&spec));
    assert!(matches!(err, SignatureError::Revoked { .. }), "{err:?}");

    archive.release(&Header::default());
    keys().rsa.clearsign(&archive.dist("Release"), &archive.dist("InRelease"), &["--digest-algo", "SHA1"]);
    let err = signature_error(Machine::new().refusal(&local(&archive, &keys().rsa.public)));
    assert!(matches!(err, SignatureError::Weak { .. }), "{err:?}");

    let archive = Archive::good();
    let mut past = Machine::new();
    past.now = SystemTime::now() - Duration::from_secs(2 * 3_600);
    let err = signature_error(past.refusal(&local(&archive, &keys().good.public)));
    assert!(matches!(err, SignatureError::Future { .. }), "{err:?}");
}

#[test]
fn d04_a_changed_or_wrapped_inrelease_is_refused() {
    let archive = Archive::good();
    let spec = local(&archive, &keys().good.public);
    let good = std::fs::read_to_string(archive.dist("InRelease")).unwrap();
    let refusal = |text: &str| {
        std::fs::write(archive.dist("InRelease"), text).unwrap();
        Machine::new().refusal(&spec)
    };
    let changed = refusal(&good.replace("Origin: Test", "Origin: Tost"));
    assert!(matches!(signature_error(changed), SignatureError::Wrong { .. }));
    for wrapped in [format!("Origin: Evil\n{good}"), format!("{good}Origin: Evil\n"), format!("{good}{good}"), String::new()] {
        assert!(matches!(refusal(&wrapped), refusal::Error::Frame { .. }));
    }
    // A broken InRelease does not make us look for something weaker.
    archive.release(&Header::default());
    keys().good.detach(&archive.dist("Release"), &archive.dist("Release.gpg"));
    assert!(matches!(refusal("no signed message"), refusal::Error::Frame { .. }));
}

#[test]
fn d05_expired_and_future_metadata_are_refused() {
    let archive = Archive::new();
    let spec = local(&archive, &keys().good.public);
    let sign = |date, valid_until| archive.sign(&Header { date, valid_until, ..Header::default() }, &keys().good);
    sign(now() - 86_400, Some(now() - 60));
    let err = Machine::new().refusal(&spec);
    assert!(matches!(err, refusal::Error::Expired { .. }) && err.hints()[0].contains("clock"), "{err:?}");
    sign(now() - 86_400, Some(now() + 60));
    assert!(Machine::new().open(&spec).is_ok());
    sign(now() + 3 * 86_400, None);
    assert!(matches!(Machine::new().refusal(&spec), refusal::Error::Future { .. }));
}

#[test]
fn d05_offline_takes_what_was_valid_when_it_was_fetched_and_says_so() {
    let archive = Archive::new();
    archive.sign(&Header { valid_until: Some(now() + 3_600), ..Header::default() }, &keys().good);
    let server = Server::of(&archive.root());
    let (mut machine, spec) = (Machine::new(), remote(&server, &keys().good.public));
    machine.open(&spec).unwrap();
    machine.now = SystemTime::now() + Duration::from_secs(86_400);
    assert!(matches!(machine.refusal(&spec), refusal::Error::Expired { .. }));
    machine.offline = true;
    machine.open(&spec).unwrap();
    assert!(machine.warnings.0.lock().unwrap().iter().any(|line| line.contains("expired on")));
}

#[test]
fn d14_a_clock_without_a_battery_is_named() {
    let archive = Archive::good();
    let mut machine = Machine::new();
    machine.now = SystemTime::UNIX_EPOCH + Duration::from_secs(60);
    let err = machine.refusal(&local(&archive, &keys().good.public));
    assert!(matches!(err, refusal::Error::Clock(_)));
    assert_eq!((err.kind(), err.to_string().contains("1970-01-01")), (ErrorKind::Host, true));
}

#[test]
fn d06_going_back_in_time_is_refused() {
    let (mut archive, machine) = (Archive::new(), Machine::new());
    let spec = local(&archive, &keys().good.public);
    let at = |date| Header { date, ..Header::default() };
    let newer = now() - 7_200;
    archive.sign(&at(newer), &keys().good);
    machine.open(&spec).unwrap();
    archive.sign(&at(newer - 86_400), &keys().good);
    let err = machine.refusal(&spec);
    assert!(matches!(err, refusal::Error::Rollback { .. }), "{err:?}");
    assert_eq!(err.kind(), ErrorKind::Untrusted);
    assert!(Machine::new().open(&spec).is_ok(), "a machine that never saw the newer one cannot know");
    archive.set_packages(b"Package: evil\n");
    archive.sign(&at(newer), &keys().good);
    assert!(matches!(machine.refusal(&spec), refusal::Error::Changed { .. }));
    archive.sign(&at(newer + 60), &keys().good);
    machine.open(&spec).unwrap();
}

#[test]
fn d06_what_is_not_verified_is_not_remembered() {
    let (archive, mut machine) = (Archive::new(), Machine::new());
    let spec = local(&archive, &keys().good.public);
    archive.sign(&Header { date: now() - 60, ..Header::default() }, &keys().other);
    machine.verify = false;
    machine.open(&spec).unwrap();
    machine.verify = true;
    archive.sign(&Header { date: now() - 3_600, ..Header::default() }, &keys().good);
    machine.open(&spec).unwrap();
}

#[test]
fn d08_an_index_that_the_release_does_not_list_is_refused() {
    let mut archive = Archive::good();
    let inrelease = std::fs::read(archive.dist("InRelease")).unwrap();
    archive.set_packages(b"Package: evil\n");
    std::fs::write(archive.dist("InRelease"), inrelease).unwrap();
    let err = Machine::new().refusal(&local(&archive, &keys().good.public));
    assert!(matches!(err, refusal::Error::Inconsistent { .. }), "{err:?}");
    assert!(err.hints()[0].contains("being updated"));
}

#[test]
fn d09_only_weak_digests_are_refused() {
    let archive = Archive::new();
    archive.sign(&Header { list: "MD5Sum", ..Header::default() }, &keys().good);
    let err = Machine::new().refusal(&local(&archive, &keys().good.public));
    assert!(matches!(err, refusal::Error::Release { .. }), "{err:?}");
}

#[test]
fn d13_another_suite_is_refused() {
    let archive = Archive::new();
    let fields = Header::default().fields;
    for (other, good) in [("tester", true), ("jester", false)] {
        archive.sign(&Header { fields: fields.replace("tester", other), ..Header::default() }, &keys().good);
        let outcome = Machine::new().open(&local(&archive, &keys().good.public));
        assert_eq!(outcome.is_ok(), good, "{other}");
    }
    let machine = Machine::new();
    let err = machine.refusal(&local(&archive, &keys().good.public));
    assert_eq!(err.to_string().split_once(" is for ").unwrap().1, "`stable`, `jester`, not for `tester`");
}

#[test]
fn d22_keyrings_that_cannot_be_trusted_or_read_are_named() {
    use std::os::unix::fs::PermissionsExt;
    let (archive, machine) = (Archive::good(), Machine::new());
    std::fs::create_dir_all(machine.root()).unwrap();
    let good = std::fs::read(&keys().good.public).unwrap();
    let other = std::fs::read(&keys().other.public).unwrap();
    let binary = run("gnupg", Command::new("gpg").args(["--batch", "--dearmor", "-o", "-"]).arg(&keys().good.public));
    for (name, bytes, mode, expected) in [
        ("armoured.asc", good.clone(), 0o644, None),
        ("binary.gpg", binary.clone(), 0o644, None),
        ("two.asc", [other.clone(), good.clone()].concat(), 0o644, None),
        ("mixed.gpg", [binary, other.clone()].concat(), 0o644, None),
        ("empty.gpg", Vec::new(), 0o644, Some("no usable")),
        ("text.gpg", b"hello".to_vec(), 0o644, Some("no usable")),
        ("box.kbx", [&[0, 0, 0, 32, 1, 1, 0, 2][..], b"KBXf"].concat(), 0o644, Some("keybox")),
        ("open.asc", good, 0o666, Some("by everybody")),
    ] {
        let path = machine.root().join(name);
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let mut spec = local(&archive, &keys().good.public);
        spec.signed_by.keys = vec![mkinitrd_pkg::base::trust::KeyRef::File(Path::new("/").join(name))];
        match (machine.open(&spec), expected) {
            (Ok(_), None) => {}
            (Err(err), Some(text)) => {
                let Error::Repository(err) = err else { panic!("{err:?}") };
                let cause = std::error::Error::source(&err).unwrap().to_string();
                assert!(cause.contains(text), "{name}: {cause}");
            }
            (outcome, _) => panic!("{name}: {outcome:?}"),
        }
    }
    let absent = source(&format!("file:{}", archive.root().display()), Some(Path::new("/nowhere.asc")));
    assert_eq!(machine.refusal(&absent).kind(), ErrorKind::Untrusted);
}

/// Signs an archive whose packed index, rightly listed, holds something else than the plain one that is listed beside it.
fn packed_differently(plain: &[u8], packed: &[u8]) -> Archive {
    let mut archive = Archive::new();
    archive.set_packages(packed);
    let other = std::fs::read(archive.dist("main/binary-amd64/Packages.xz")).unwrap();
    archive.set_packages(plain);
    archive.release(&Header::default());
    let text = std::fs::read_to_string(archive.dist("Release")).unwrap();
    let lines = text.lines().map(|line| match line.ends_with("Packages.xz") {
        true => format!(" {} {} main/binary-amd64/Packages.xz", mkinitrd_pkg::base::digest::Sha256::of(&other), other.len()),
        false => line.to_owned(),
    });
    std::fs::write(archive.dist("Release"), lines.collect::<Vec<_>>().join("\n") + "\n").unwrap();
    std::fs::write(archive.dist("main/binary-amd64/Packages.xz"), other).unwrap();
    keys().good.clearsign(&archive.dist("Release"), &archive.dist("InRelease"), &[]);
    archive
}

#[test]
fn c07_an_index_that_grows_beyond_what_is_listed_is_stopped() {
    let archive = packed_differently(b"Package: small\n", &vec![b'\n'; 50 << 20]);
    let err = Machine::new().refusal(&local(&archive, &keys().good.public));
    assert!(matches!(err, refusal::Error::Bomb { limit: 15, .. }), "{err:?}");
}

#[test]
fn d09_an_index_that_unpacks_to_something_else_is_refused() {
    let archive = packed_differently(b"Package: good\n", b"Package: evil\n");
    let err = Machine::new().refusal(&local(&archive, &keys().good.public));
    assert!(matches!(err, refusal::Error::Content { .. }), "{err:?}");
}

#[test]
fn a_truncated_index_is_refused() {
    let archive = Archive::good();
    let path = archive.dist("main/binary-amd64/Packages.xz");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let err = Machine::new().refusal(&local(&archive, &keys().good.public));
    assert!(matches!(err, refusal::Error::Inconsistent { .. }), "{err:?}");
}

#[test]
fn c14_a_mirror_between_two_updates_is_read_once_more() {
    let (old, mut new) = (Archive::good(), Archive::new());
    new.set_packages(b"Package: new\n");
    new.sign(&Header { date: now() - 60, ..Header::default() }, &keys().good);
    let (old_root, new_root) = (old.root(), new.root());
    // The first answer is the new release file, all others are of the old state.
    let server = Server::start(move |request| match (request.path.as_str(), request.before) {
        ("/dists/tester/InRelease", 0) => file(&new_root, request),
        _ => file(&old_root, request),
    });
    let repository = Machine::new().open(&remote(&server, &keys().good.public)).unwrap();
    assert_eq!(repository.indexes[0].bytes, old.packages());
    // A consistent set that was cached before stays usable while the mirror is inconsistent.
    let root = old.root();
    let server = Server::start(move |request| match request.path.ends_with("InRelease") || request.before == 0 {
        true => file(&root, request),
        false => ok(b"another"),
    });
    let (mut machine, spec) = (Machine::new(), remote(&server, &keys().good.public));
    machine.open(&spec).unwrap();
    machine.offline = true;
    machine.open(&spec).unwrap();
}

#[test]
fn c13_an_absent_or_silent_repository_is_told_apart() {
    let spec = remote(&Server::start(|_| absent()), &keys().good.public);
    let err = Machine::new().refusal(&spec);
    assert!(matches!(err, refusal::Error::Fetch { .. }), "the server is gone: {err:?}");
    let server = Server::start(|_| absent());
    let err = Machine::new().refusal(&remote(&server, &keys().good.public));
    assert!(matches!(err, refusal::Error::NotFound(_)), "{err:?}");
    let server = Server::start(|_| answer("403 Forbidden", &[], b""));
    let err = Machine::new().refusal(&remote(&server, &keys().good.public));
    let text = std::error::Error::source(&err).unwrap().to_string();
    assert!(text.contains("403 Forbidden"), "{text}");
    let portal = Server::start(|_| answer("200 OK", &["Content-Type: text/html; charset=utf-8"], b"<html>log in</html>"));
    let err = Machine::new().refusal(&remote(&portal, &keys().good.public));
    assert!(std::error::Error::source(&err).unwrap().to_string().contains("got text/html"));
}

#[test]
fn flat_repositories_and_lone_indexes_can_be_named() {
    let archive = Archive::good();
    let root = archive.root();
    let flat = tempfile::tempdir().unwrap();
    std::fs::copy(root.join("pool/foo.deb"), flat.path().join("foo.deb")).unwrap();
    let scan = run("dpkg-dev", Command::new("dpkg-scanpackages").args(["-m", "."]).current_dir(flat.path()));
    std::fs::write(flat.path().join("Packages"), &scan).unwrap();
    let index = archive.dist("main/binary-amd64/Packages.gz");
    let unverified = Machine { verify: false, ..Machine::new() };
    for (value, packages, base) in [
        (format!("file:{}", root.display()), archive.packages(), root.clone()),
        (root.display().to_string(), archive.packages(), root.clone()),
        (index.display().to_string(), archive.packages(), root.clone()),
        (format!("{}/dists/tester", root.display()), archive.packages(), root.clone()),
        (format!("file://{}", flat.path().display()), scan.clone(), flat.path().to_owned()),
        (format!("{}/./", flat.path().display()), scan.clone(), flat.path().to_owned()),
        (format!("file:{} ./", flat.path().display()), scan.clone(), flat.path().to_owned()),
        (format!("{}/Packages", flat.path().display()), scan.clone(), flat.path().to_owned()),
    ] {
        let repository = unverified.open(&one(&value)).unwrap_or_else(|err| panic!("{value}: {err:?}"));
        assert_eq!(repository.indexes[0].bytes, packages, "{value}");
        assert_eq!(repository.indexes[0].base, Location::File(base), "{value}");
    }
    // A lone index is as good as the release file above it that lists it.
    let with_key = |value: &str| {
        let mut spec = one(value);
        spec.signed_by = local(&archive, &keys().good.public).signed_by;
        spec
    };
    let signed = Machine::new().open(&with_key(&index.display().to_string())).unwrap();
    assert_eq!((signed.indexes[0].bytes.clone(), signed.signer.is_some()), (archive.packages(), true));
    let err = Machine::new().refusal(&with_key(&format!("{}/Packages", flat.path().display())));
    assert!(matches!(err, refusal::Error::Unsigned(_)), "{err:?}");
    // Nothing there.
    let empty = tempfile::tempdir().unwrap();
    let err = unverified.refusal(&one(&empty.path().display().to_string()));
    assert!(matches!(err, refusal::Error::NotFound(_)), "{err:?}");
}

#[test]
fn a_lone_address_on_a_server_is_looked_at() {
    let archive = Archive::good();
    let server = Server::of(&archive.root());
    let mut spec = one(&server.url("/"));
    spec.signed_by = local(&archive, &keys().good.public).signed_by;
    assert_eq!(Machine::new().open(&spec).unwrap().indexes[0].bytes, archive.packages());
    assert_eq!(Base::parse(&server.url("")).unwrap().join("pool/foo.deb"), Ok(Location::Url(server.url("/pool/foo.deb"))));
}

#[test]
fn what_a_repository_lacks_is_named() {
    let archive = Archive::good();
    let mut spec = local(&archive, &keys().good.public);
    spec.arch = "arm64".to_owned();
    let err = Machine::new().refusal(&spec);
    assert!(err.to_string().contains("architecture `arm64`; it has components main and architectures amd64"), "{err}");
    assert_eq!(err.kind(), ErrorKind::Unavailable);
}

/// The real thing: releases of the machine's own mirror, verified with its keys and with those that we carry, as gpgv does.
#[test]
fn real_releases_are_verified_as_gpgv_does() {
    let dir = tempfile::tempdir().unwrap();
    let fetcher = Fetcher::new(false, Patience::default(), |name| std::env::var(name).ok()).unwrap();
    for release in ["bookworm", "trixie", "forky", "sid"] {
        for spec in machines_own(release) {
            let sources::Layout::Dists { suite, .. } = &spec.layout else { panic!("{spec}") };
            let bytes = match fetcher.fetch(&spec.base.join(&format!("dists/{suite}/InRelease")).unwrap(), 16 << 20) {
                Ok(bytes) => bytes,
                Err(FetchError::Absent { .. }) => continue,
                Err(err) => panic!("{spec}: {err:?}"),
            };
            let frame = mkinitrd_pkg::family::deb::release::split(&bytes).unwrap();
            let mut machines = Keyring::new();
            machines.add_file(Path::new("/"), Path::new("/usr/share/keyrings/debian-archive-keyring.gpg")).unwrap();
            for keyring in [machines, Keyring::shipped("debian")] {
                let signer = keyring.verify(&frame.text, &frame.signature, SystemTime::now()).unwrap();
                assert!(keyring.fingerprints().contains(&signer.fingerprint), "{spec}");
                let mut changed = frame.text.clone();
                changed[10] ^= 1;
                let err = keyring.verify(&changed, &frame.signature, SystemTime::now()).unwrap_err();
                assert!(matches!(err, SignatureError::Wrong { .. }), "{spec}: {err}");
            }
            // gpgv returns the text that it verified: ours must be the same.
            let (input, output) = (dir.path().join("InRelease"), dir.path().join("Release"));
            std::fs::write(&input, &bytes).unwrap();
            let mut gpgv = Command::new("gpgv");
            gpgv.args(["--keyring", "/usr/share/keyrings/debian-archive-keyring.gpg", "--output"]);
            // It fails when one of several keys is unknown; the text is written all the same.
            let status = gpgv.arg(&output).arg(&input).output().expect("install the package `gpgv`");
            let text = std::fs::read(&output).unwrap();
            assert_eq!(text.trim_ascii_end(), frame.text.trim_ascii_end(), "{spec}: {status:?}");
            std::fs::remove_file(&output).unwrap();
        }
    }
}

/// A machine that knows no Debian key reads Debian with the keys that we carry, and is told so.
#[test]
fn a_machine_without_keyrings_uses_the_keys_that_are_shipped() {
    let components = vec!["main".to_owned()];
    let base = machines_own("trixie").remove(0).base;
    let source = Source { file: "--mirror".into(), line: 0 };
    let mut specs = sources::mirror(&base, &["trixie-updates".to_owned()], &components, "arm64", &source);
    let machine = Machine::new();
    let open = |spec: &RepoSpec| {
        let fetcher = Fetcher::new(false, Patience::default(), |name| std::env::var(name).ok()).unwrap();
        let root = machine.root();
        let world = World::new(&machine.store, &fetcher, &root, "debian", machine.now, &machine.warnings);
        acquire::repositories(&[Spec::Deb(spec.clone())], &world)
    };
    let signer = open(&specs[0]).unwrap().remove(0).signer.unwrap();
    assert!(signer.file.ends_with("(shipped with mkinitrd-pkg)"), "{}", signer.file);
    specs[0].signed_by.shipped = false;
    let Err(Error::Repository(repo::Error::Deb(err))) = open(&specs[0]) else { panic!("trusted without a key") };
    assert!(matches!(signature_error(err), SignatureError::UnknownKey { .. }));
}

#[test]
fn the_machines_own_sources_are_read_from_the_mirror_the_cache_and_offline() {
    let dir = tempfile::tempdir().unwrap();
    let specs: Vec<Spec> = machines_own("trixie").into_iter().map(Spec::Deb).collect();
    let store = Store::open(dir.path());
    let mut first = None;
    for offline in [false, false, true] {
        let fetcher = Fetcher::new(offline, Patience::default(), |name| std::env::var(name).ok()).unwrap();
        let world = World::new(&store, &fetcher, Path::new("/"), "debian", SystemTime::now(), &Silent);
        let repositories = acquire::repositories(&specs, &world).unwrap();
        let digests = repositories.iter().flat_map(|one| &one.indexes).map(|index| index.sha256).collect::<Vec<_>>();
        assert!(repositories.iter().all(|repository| repository.signer.is_some()));
        assert_eq!(first.get_or_insert_with(|| digests.clone()), &digests);
    }
}

/// apt itself says which indexes it would read for sources in every form; ours are the same.
#[test]
fn a_derivative_without_a_profile_is_built_from_its_own_repositories() {
    let components = vec!["main".to_owned()];
    let target = Target { family: "deb", release: "bookworm", components: &components, arch: "amd64" };
    let of = |os_release: &str, distro: &str| {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("etc/apt")).unwrap();
        std::fs::write(root.path().join("etc/os-release"), os_release).unwrap();
        std::fs::write(root.path().join("etc/apt/sources.list"), "deb http://archive.example/raspbian bookworm main\n").unwrap();
        let own = acquire::host_sources(root.path(), distro, &target).unwrap();
        own.map(|own| own.specs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    };
    let raspbian = "ID=raspbian\nID_LIKE=debian\nVERSION_CODENAME=bookworm\n";
    assert!(of(raspbian, "debian").is_some_and(|specs| specs.contains("archive.example/raspbian")));
    // One that has a profile of its own is no source for another's packages.
    assert_eq!(of("ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\n", "debian"), None);
    assert_eq!(of(raspbian, "fedora"), None);
}

#[test]
fn sources_name_the_indexes_that_apt_would_read() {
    let list = "# a comment\n\
        deb http://m/debian/ trixie main contrib # and more\n\
        deb-src http://m/debian trixie main\n\
        deb [ arch=amd64,arm64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg ] https://m/x trixie-updates main\n\
        deb [arch-=amd64] http://m/yy trixie main\n\
        deb file:/srv/flat ./\n\
        deb http://m/flat sub/dir/\n\
        deb http://m/root /\n\
        deb [trusted=yes] http://m/arch $(ARCH)/\n";
    let stanzas = "Types: deb deb-src\nURIs: http://a/debian http://b/debian/\nSuites: trixie\n trixie-updates\n# between\nComponents: main\n\
        Signed-By: 0123456789abcdef0123456789ABCDEF01234567!\n\nTypes: deb\nURIs: http://c\nSuites: x\nComponents: main\nEnabled: no\n\n\
        types: deb\nuris: http://e\nsuites: ./\ntrusted: yes\n";
    let dir = tempfile::tempdir().unwrap();
    let parts = dir.path().join("etc/apt/sources.list.d");
    std::fs::create_dir_all(&parts).unwrap();
    std::fs::write(parts.join("a.list"), list).unwrap();
    std::fs::write(parts.join("b.sources"), stanzas).unwrap();
    let mut apt = Command::new("apt-get");
    apt.args(["-o", "Dir::Etc::SourceList=/dev/null", "-o", &format!("Dir::Etc::SourceParts={}", parts.display())]);
    apt.args(["-o", &format!("Dir::State={}", dir.path().display()), "-o", &format!("Dir::Cache={}", dir.path().display())]);
    apt.args(["-o", "APT::Architecture=amd64", "-o", "APT::Architectures::=amd64"]);
    apt.args(["indextargets", "--no-release-info", "--format", "$(URI)", "Created-By: Packages"]);
    let theirs = String::from_utf8(run("apt", &mut apt)).unwrap();
    let other_arch = |uri: &&str| uri.contains("/binary-") && !uri.contains("/binary-amd64/");
    let mut theirs = theirs.lines().filter(|uri| !other_arch(uri)).map(|uri| uri.replace("/./", "/")).collect::<Vec<_>>();
    let read = mkinitrd_pkg::host::apt::sources(dir.path()).unwrap();
    let mut ours = Vec::new();
    for spec in read.iter().flat_map(|(path, text)| sources::parse(path, text, "amd64").specs) {
        let names = match &spec.layout {
            sources::Layout::Dists { suite, components, .. } => {
                components.iter().map(|component| format!("dists/{suite}/{component}/binary-amd64/Packages")).collect()
            }
            sources::Layout::Flat(path) => vec![format!("./{path}/Packages")],
            other => panic!("{other:?}"),
        };
        ours.extend(names.iter().map(
            |name| match spec.base.join(name.trim_start_matches("./").trim_start_matches('/')).unwrap() {
                Location::Url(url) => url,
                other => other.to_string(),
            },
        ));
    }
    theirs.sort();
    ours.sort();
    assert_eq!(ours, theirs);
    assert_eq!(ours.len(), 12);
}
