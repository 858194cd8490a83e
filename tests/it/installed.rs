//! The installed system as a source: a real trixie root with a kernel, its own dpkg, and what can go on in it meanwhile.
//!
//! Every test has a machine of its own, cloned by hard links: dpkg replaces files and never writes into them, and so do these tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use mkinitrd_pkg::family::deb::installed::{Database, Error, HostCatalog, State, Unfit};
use mkinitrd_pkg::family::installed::Open;
use mkinitrd_pkg::family::repo::Index;
use mkinitrd_pkg::family::{LocalChange, MemberKind};
use mkinitrd_pkg::package::{Catalog, Location, Package};
use mkinitrd_pkg::tree::TreePath;
use serde_json::Value;

use crate::program::{Ran, ran};
use crate::trixie::{KEYRING, cache, mirror, run};

/// What the profile asks for, and a kernel.
const PACKAGES: &str = "systemd,udev,kmod,bash,less,libcryptsetup12,systemd-cryptsetup,lvm2,dmsetup,e2fsprogs,btrfs-progs,util-linux,mount,\
liblzma5,libfido2-1,libtss2-esys-3.0.2-0t64,libtss2-mu-4.0.1-0t64,libtss2-rc0t64,libtss2-tcti-device0t64,dash,coreutils,procps,ncurses-base,\
firmware-linux-free,linux-image-amd64";

struct Fixture {
    /// The machine: `apt update` was run, and nothing is in apt's archives.
    root: PathBuf,
    /// The package files that it was installed from.
    debs: PathBuf,
    /// The version of its kernel.
    kernel: String,
}

fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        assert!(rustix::process::geteuid().is_root(), "a machine's files have owners: run these tests as root");
        let home = cache().join("installed-trixie");
        let (root, debs) = (home.join("root"), home.join("debs"));
        if !home.join("complete").exists() {
            let _ = fs::remove_dir_all(&home); // what an interrupted run left behind, if any
            fs::create_dir_all(&home).expect("the test cache");
            let mut command = Command::new("mmdebstrap");
            command.args(["--variant=apt", "--format=directory", "--skip=essential/unlink", "--skip=cleanup/apt"]);
            command.arg("--aptopt=APT::Keep-Downloaded-Packages \"true\"").arg(format!("--include={PACKAGES}"));
            command.arg(format!("--keyring={KEYRING}")).arg("trixie").arg(&root).arg(format!("deb {} trixie main", mirror()));
            run(command.env("SOURCE_DATE_EPOCH", "1700000000"), "mmdebstrap");
            let archives = root.join("var/cache/apt/archives");
            fs::rename(&archives, &debs).expect("moving");
            fs::create_dir_all(archives.join("partial")).expect("a directory");
            fs::write(home.join("complete"), "").expect("writing");
        }
        let kernels = fs::read_dir(root.join("usr/lib/modules")).expect("kernels");
        let kernel = kernels.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).max();
        Fixture { kernel: kernel.expect("a kernel"), root, debs }
    })
}

/// A machine to do things to.
struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir_in(cache()).expect("a temporary directory");
        run(Command::new("cp").arg("-al").arg(&fixture().root).arg(dir.path().join("root")), "coreutils");
        // dpkg writes into these two.
        for name in ["var/lib/dpkg/lock", "var/lib/dpkg/lock-frontend", "var/log/dpkg.log"] {
            let path = dir.path().join("root").join(name);
            let _ = fs::remove_file(&path); // it need not be there
            fs::write(&path, "").expect("writing");
        }
        Self { dir }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    /// Replaces a file, as nothing is written into that the other machines share.
    fn write(&self, path: &str, content: &[u8]) {
        let path = self.path(path);
        let mode = fs::metadata(&path).map_or(0o644, |found| found.permissions().mode());
        let _ = fs::remove_file(&path); // it need not be there
        fs::write(&path, content).expect("writing");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode & 0o7777)).expect("permissions");
    }

    fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.path(path)).unwrap_or_else(|err| panic!("{path}: {err}"))
    }

    /// Fills apt's archives with the files of these packages.
    fn archive(&self, names: &[&str]) {
        for deb in fs::read_dir(&fixture().debs).expect("packages").map(|deb| deb.expect("a package").path()) {
            let name = deb.file_name().expect("a name").to_string_lossy().into_owned();
            if names == ["*"] && name.ends_with(".deb") || names.iter().any(|wanted| name.starts_with(&format!("{wanted}_"))) {
                fs::copy(&deb, self.path("var/cache/apt/archives").join(name)).expect("copying");
            }
        }
    }

    /// Where the file of a package is among apt's archives.
    fn archived(&self, package: &str) -> PathBuf {
        let mut all =
            fs::read_dir(self.path("var/cache/apt/archives")).expect("archives").map(|deb| deb.expect("a package").path());
        let is_it =
            |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&format!("{package}_")));
        all.find(is_it).expect("the package among the archives")
    }

    fn program(&self, command: &str) -> Command {
        self.run_by(Command::new(env!("CARGO_BIN_EXE_mkinitrd-pkg")), command)
    }

    fn run_by(&self, mut program: Command, command: &str) -> Command {
        program.env_remove("SOURCE_DATE_EPOCH").args(["--config-root", "/nonexistent", "-v", "--host-root"]).arg(self.root());
        program.arg("--cache").arg(self.dir.path().join("cache")).args([command, "--generic", "--modules-dir"]);
        program.arg(self.path("usr/lib/modules").join(&fixture().kernel));
        program
    }

    /// Builds the userland, offline; returns what was said and a digest over all of it: names, modes, owners, contents and links.
    fn userland(&self) -> (Ran, String) {
        let out = self.dir.path().join("out");
        let _ = fs::remove_dir_all(&out); // that of the run before, if any
        let ran = ran(self.program("build").args(["--offline", "--stop-after", "prune", "--root"]).arg(&out));
        (ran, if out.exists() { fingerprint(&out) } else { String::new() })
    }

    /// Builds an image over an old one and demands that the old one is kept.
    fn refused(&self, code: i32, words: &[&str]) -> Ran {
        let image = self.dir.path().join("initrd.img");
        fs::write(&image, "the old image").expect("writing");
        let ran = ran(self.program("build").args(["--offline", "-o"]).arg(&image)).bad(code, words);
        assert_eq!(fs::read(&image).expect("the old image"), b"the old image");
        ran
    }

    fn database(&self) -> Database {
        Database::open(&self.root(), "amd64").expect("a database").expect("packages")
    }

    fn dpkg(&self) -> Command {
        let mut command = Command::new("dpkg");
        command
            .arg("--root")
            .arg(self.root())
            .args(["--force-unsafe-io", "--no-triggers"])
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    }
}

fn fingerprint(directory: &Path) -> String {
    let mut tar = Command::new("sh");
    tar.args(["-c", "tar --sort=name --mtime=@0 --numeric-owner --format=gnu -C \"$1\" -c . | sha256sum", "sh"]).arg(directory);
    run(&mut tar, "tar")
}

/// The userland of the untouched machine.
fn untouched() -> &'static str {
    static DIGEST: OnceLock<String> = OnceLock::new();
    DIGEST.get_or_init(|| {
        let (ran, digest) = Machine::new().userland();
        ran.good();
        digest
    })
}

fn installed(database: &Database, name: &str) -> Package {
    let catalog = HostCatalog::new(database, Vec::new(), false).expect("a catalog");
    catalog.package(catalog.named(name)[0]).expect("a package")
}

fn manifest(image: &Path) -> Value {
    let mut program = Command::new(env!("CARGO_BIN_EXE_mkinitrd-pkg"));
    serde_json::from_str(&ran(program.args(["ls", "--manifest"]).arg(image)).good().out).expect("a manifest")
}

/// A digest over all that is in an image but its manifest: names, modes, owners, contents and links.
fn content(image: &Path, directory: &Path) -> String {
    let mut program = Command::new(env!("CARGO_BIN_EXE_mkinitrd-pkg"));
    ran(program.arg("unpack").arg(image).arg(directory)).good();
    fs::remove_file(directory.join("etc/mkinitrd-pkg/manifest.json")).expect("a manifest");
    fingerprint(directory)
}

#[test]
fn offline_the_image_is_the_one_from_the_archive() {
    let machine = Machine::new();
    let log = machine.dir.path().join("trace");
    let mut alone = Command::new("unshare");
    alone.args(["--net", "strace", "-f", "-y", "-o"]).arg(&log).args(["-e", "trace=%network,openat,openat2,open,fcntl,flock"]);
    alone.arg(env!("CARGO_BIN_EXE_mkinitrd-pkg"));
    let image = machine.dir.path().join("installed.img");
    ran(machine.run_by(alone, "build").arg("-o").arg(&image)).good();
    let log = fs::read_to_string(&log).expect("the trace");
    assert!(log.contains("var/lib/dpkg/status\""), "strace saw nothing");
    let calls = ["connect(", "socket(", "sendto(", "F_SETLK", "F_OFD_SETLK", "F_GETLK", "/lock\"", "/lock-frontend\""];
    for line in log.lines() {
        assert!(!calls.iter().any(|call| line.contains(call)), "{line}");
        // Runs of ours wait for each other at the image's directory; nothing of the machine's is locked.
        assert!(!line.contains("flock(") || !line.contains("/root/"), "{line}");
    }
    assert!(!log.contains("/apt/lists/"), "no index was opened");

    let from_archive = Machine::new();
    from_archive.archive(&["*"]);
    let other = from_archive.dir.path().join("archive.img");
    ran(from_archive.program("build").args(["--offline", "-o"]).arg(&other)).good();
    let (one, two) = (machine.dir.path().join("one"), machine.dir.path().join("two"));
    assert_eq!(content(&image, &one), content(&other, &two), "compare {} with {}", one.display(), two.display());

    // What the first run learnt from an index, the second one remembers: the bytes are the same.
    let again = from_archive.dir.path().join("again.img");
    ran(from_archive.program("build").args(["--offline", "-o"]).arg(&again)).good();
    assert!(
        fs::read(&other).expect("an image") == fs::read(&again).expect("an image"),
        "a cache that was filled changes the image"
    );

    let sources = |image: &Path| {
        let manifest = manifest(image);
        let packages = manifest["packages"].as_array().expect("packages").clone();
        let from = packages.iter().filter(|package| package["omitted"] != true);
        (from.map(|package| package["from"].as_str().expect("a source").to_owned()).collect::<BTreeSet<_>>(), manifest)
    };
    assert_eq!(sources(&image).0, BTreeSet::from(["installed".to_owned()]));
    let (from, manifest) = sources(&other);
    assert_eq!(from, BTreeSet::from(["archive".to_owned()]));
    assert!(manifest["repositories"][0]["key"].as_str().is_some_and(|key| key.len() == 40), "{}", manifest["repositories"]);
}

#[test]
fn the_database_is_as_dpkg_reads_it() {
    let machine = Machine::new();
    let database = machine.database();
    let mut query = Command::new("dpkg-query");
    query.arg("--admindir").arg(machine.path("var/lib/dpkg"));
    let text = run(query.args(["-W", "-f", "${Package} ${Version} ${Architecture} ${db:Status-Status}\\n"]), "dpkg");
    let wanted: BTreeSet<String> = text.lines().filter(|line| line.ends_with(" installed")).map(str::to_owned).collect();
    let found = database.iter().map(|(name, entry)| {
        assert_eq!(entry.state, State::Whole, "{name}");
        format!("{name} {} {} installed", entry.version, entry.arch)
    });
    assert_eq!(found.collect::<BTreeSet<_>>(), wanted);
    assert!(wanted.len() > 100, "{} packages", wanted.len());
    assert_eq!(database.transaction(), None);

    let verify = run(machine.dpkg().arg("--verify"), "dpkg");
    assert_eq!(verify, "", "the machine is untouched");
    let diverted = |line: &str| line.starts_with("diverted by ") || line.starts_with("package diverts others to: ");
    for (name, _) in database.iter() {
        let files = database.files(&installed(&database, name), &|_| true).unwrap_or_else(|err| panic!("{name}: {err}"));
        assert!(files.notes.is_empty(), "{name}: {:?}", files.notes);
        let found: BTreeSet<String> = files.members.iter().map(|(member, _)| member.path.to_string()).collect();
        let mut list = Command::new("dpkg-query");
        let list = run(list.arg("--admindir").arg(machine.path("var/lib/dpkg")).args(["-L", name]), "dpkg");
        let name_of = |line: &str| if line == "/." { "/".to_owned() } else { line.to_owned() };
        let wanted: BTreeSet<String> = list.lines().filter(|line| !diverted(line)).map(name_of).collect();
        assert_eq!(found, wanted, "{name}");
    }
}

#[test]
fn what_dpkg_verify_finds_is_found() {
    let machine = Machine::new();
    machine.write("usr/bin/less", b"#!/bin/sh\n");
    machine.write("etc/lvm/lvm.conf", b"# mine\n");
    fs::remove_file(machine.path("etc/lvm/lvmlocal.conf")).expect("removing");
    fs::remove_file(machine.path("usr/bin/dash")).expect("removing");
    let verify = String::from_utf8_lossy(&machine.dpkg().arg("--verify").output().expect("dpkg").stdout).into_owned();
    for line in [
        "??5??????   /usr/bin/less",
        "??5?????? c /etc/lvm/lvm.conf",
        "missing   c /etc/lvm/lvmlocal.conf",
        "missing     /usr/bin/dash",
    ] {
        assert!(verify.contains(line), "`{line}` is not in\n{verify}");
    }
    let database = machine.database();
    let read = |name: &str| database.files(&installed(&database, name), &|_| true);
    assert!(matches!(read("less"), Err(Unfit::Changed(path)) if path.to_string() == "/usr/bin/less"));
    assert!(matches!(read("dash"), Err(Unfit::Absent(path)) if path.to_string() == "/usr/bin/dash"));
    let lvm = read("lvm2").expect("only its configuration was changed");
    let notes: BTreeMap<String, LocalChange> = lvm.notes.iter().map(|(path, change)| (path.to_string(), *change)).collect();
    let wanted = [("/etc/lvm/lvm.conf", LocalChange::Edited), ("/etc/lvm/lvmlocal.conf", LocalChange::Removed)];
    assert_eq!(notes, wanted.map(|(path, change)| (path.to_owned(), change)).into());
    let bytes = lvm.members.iter().find(|(member, _)| member.path.to_string() == "/etc/lvm/lvm.conf").map(|(_, bytes)| bytes);
    assert_eq!(bytes.expect("the file"), b"# mine\n");
    // What is not wanted is not looked at.
    database
        .files(&installed(&database, "less"), &|path| !path.is_under(&TreePath::literal("usr/bin")))
        .expect("the rest is whole");
}

#[test]
fn installed_versions_count_whatever_indexes_offer() {
    let machine = Machine::new();
    let database = machine.database();
    let text = "Package: bash\nVersion: 99\nArchitecture: amd64\nFilename: b.deb\nSize: 1\nSHA256: 00\n\n\
                Package: other\nVersion: 1\nArchitecture: amd64\nFilename: o.deb\nSize: 1\nSHA256: 00\n";
    let index = || Index::new("x/main", Location::Url("http://x".to_owned()), text.into());
    let bash = database.get("bash").expect("bash").version.clone();
    let versions = |with_others| {
        let catalog = HostCatalog::new(&database, vec![index()], with_others).expect("a catalog");
        assert_eq!(catalog.named("other").len(), 1);
        catalog.named("bash").iter().map(|id| catalog.version(*id).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(versions(false), [bash.as_str()]);
    assert_eq!(versions(true), ["99", bash.as_str()]);

    let plan = ran(machine.program("plan").args(["--json", "--offline"])).good().out;
    let plan: Value = serde_json::from_str(&plan).expect("JSON");
    for package in plan["packages"].as_array().expect("packages") {
        let entry = database.get(package["name"].as_str().expect("a name")).expect("it is installed");
        assert_eq!(package["version"], entry.version.as_str());
        assert_eq!(package["from"], "installed");
    }
    // The same digest on another machine with the same packages, whatever else is different there.
    let other = Machine::new();
    other.write("etc/lvm/lvm.conf", b"# mine\n");
    let status = String::from_utf8(other.read("var/lib/dpkg/status")).expect("text");
    other.write("var/lib/dpkg/status", status.replace("Status: install ok installed", "Status: hold ok installed").as_bytes());
    assert_eq!(database.digest("lvm2").expect("a digest"), other.database().digest("lvm2").expect("a digest"));
}

#[test]
fn what_is_not_installed_is_looked_for_in_the_indexes_of_this_machine() {
    let machine = Machine::new();
    let plan = ran(machine.program("plan").args(["--json", "--offline", "--package", "nano"])).good().out;
    let plan: Value = serde_json::from_str(&plan).expect("JSON");
    let packages = plan["packages"].as_array().expect("packages");
    let from = |name: &str| packages.iter().find(|package| package["name"] == name).map(|package| package["from"].clone());
    assert_eq!((from("nano"), from("bash")), (Some("mirror".into()), Some("installed".into())));
    machine.refused_with(&["--package", "nano"], 5, &["nano"]);
    machine.refused_with(&["--package", "there-is-no-such"], 4, &["no package provides `there-is-no-such`"]);

    // apt can keep its lists compressed; what was tampered with is not used.
    let lists = machine.path("var/lib/apt/lists");
    let list = fs::read_dir(&lists).expect("lists").map(|entry| entry.expect("an entry").path());
    let list = list.into_iter().find(|path| path.to_string_lossy().ends_with("_Packages")).expect("a list");
    let text = fs::read(&list).expect("reading");
    let packed = list.with_file_name(format!("{}.lz4", list.file_name().expect("a name").to_string_lossy()));
    run(Command::new("lz4").args(["-q", "--rm"]).args([&list, &packed]), "lz4");
    assert!(!list.exists());
    ran(machine.program("plan").args(["--offline", "--package", "nano"])).good();
    fs::remove_file(&packed).expect("removing");
    fs::write(&list, String::from_utf8(text).expect("text").replacen("Maintainer: ", "Maintainer: x", 1)).expect("writing");
    machine.refused_with(&["--package", "nano"], 4, &["no package provides `nano`"]);
}

impl Machine {
    fn refused_with(&self, more: &[&str], code: i32, words: &[&str]) {
        let image = self.dir.path().join("never.img");
        ran(self.program("build").arg("--offline").args(more).arg("-o").arg(&image)).bad(code, words);
        assert!(!image.exists());
    }
}

#[test]
fn b04_a_transaction_that_holds_its_locks_stops_nobody() {
    let machine = Machine::new();
    assert_eq!(machine.userland().1, untouched());
    let locks: Vec<fs::File> = ["lib/dpkg/lock-frontend", "lib/dpkg/lock", "lib/apt/lists/lock", "cache/apt/archives/lock"]
        .iter()
        .map(|name| {
            let path = machine.path("var").join(name);
            let _ = fs::remove_file(&path); // it need not be there
            let file = fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path).expect("a lock");
            rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).expect("locking");
            file
        })
        .collect();
    // The negative twin: dpkg itself does not go on.
    let dpkg = machine.dpkg().args(["--configure", "-a"]).output().expect("dpkg");
    assert!(!dpkg.status.success() && String::from_utf8_lossy(&dpkg.stderr).contains("lock"), "{dpkg:?}");
    // They are held until the end: who waited for one would wait for ever.
    let (ran, digest) = machine.userland();
    ran.good();
    assert_eq!(digest, untouched());
    drop(locks);
}

#[test]
fn b05_what_was_changed_is_taken_from_elsewhere_or_refused() {
    let machine = Machine::new();
    machine.write("usr/bin/less", b"#!/bin/sh\n");
    let ran = machine.refused(7, &["`/usr/bin/less` of the installed `less` was changed", "apt-get install --reinstall less"]);
    assert!(!ran.err.contains("transaction"), "{}", ran.err);
    machine.archive(&["less"]);
    let (ran, digest) = machine.userland();
    ran.good();
    assert_eq!(digest, untouched(), "the file of the package has what is installed no more");

    // A file of which something else waits beside it.
    let machine = Machine::new();
    machine.write("usr/bin/less.dpkg-new", b"x");
    machine.refused(7, &["transaction in progress", "less"]);
    machine.archive(&["less"]);
    assert_eq!(machine.userland().1, untouched());

    // One that nothing is recorded of.
    let machine = Machine::new();
    let sums = String::from_utf8(machine.read("var/lib/dpkg/info/less.md5sums")).expect("text");
    let without: Vec<&str> = sums.lines().filter(|line| !line.ends_with("usr/bin/less")).collect();
    machine.write("var/lib/dpkg/info/less.md5sums", (without.join("\n") + "\n").as_bytes());
    machine.refused(7, &["the installed `less", "the database has no digest for `/usr/bin/less`"]);
}

#[test]
fn b05_documentation_that_was_never_installed_does_not_matter() {
    let machine = Machine::new();
    for directory in ["usr/share/doc", "usr/share/man", "usr/share/locale"] {
        fs::remove_dir_all(machine.path(directory)).expect("removing");
    }
    let (ran, digest) = machine.userland();
    ran.good();
    assert_eq!(digest, untouched());
}

#[test]
fn b05_a_changed_configuration_file_is_taken_and_told() {
    let machine = Machine::new();
    machine.write("etc/lvm/lvm.conf", b"# mine\n");
    let image = machine.dir.path().join("initrd.img");
    let told = ran(machine.program("build").args(["--offline", "-o"]).arg(&image)).good();
    let note = "`/etc/lvm/lvm.conf` of `lvm2`: it was changed on this machine, and is taken as it is";
    assert!((told.out + &told.err).contains(note), "not told");
    assert!(manifest(&image)["notes"].as_array().expect("notes").iter().any(|text| text == note));
}

/// A newer `less`, unpacked and not configured.
#[test]
fn b05_an_unpacked_package_is_no_source() {
    let machine = Machine::new();
    machine.archive(&["less"]);
    let original = machine.archived("less");
    let work = machine.dir.path().join("less");
    run(Command::new("dpkg-deb").arg("-R").arg(&original).arg(&work), "dpkg");
    let control = fs::read_to_string(work.join("DEBIAN/control")).expect("control");
    let newer = control.replacen("Version: ", "Version: 9", 1);
    fs::write(work.join("DEBIAN/control"), newer).expect("writing");
    let deb = machine.dir.path().join("newer.deb");
    run(Command::new("dpkg-deb").args(["-b", "-Znone"]).arg(&work).arg(&deb), "dpkg");
    run(machine.dpkg().arg("--unpack").arg(&deb), "dpkg");
    assert_eq!(machine.database().get("less").expect("less").state, State::Broken("unpacked".to_owned()));
    machine.refused(7, &["transaction in progress", "less", "unpacked"]);
    // A reinstallation of the version that an index lists: its file is at hand as it is for dpkg.
    let kept = machine.dir.path().join("less.deb");
    fs::copy(&original, &kept).expect("copying");
    run(machine.dpkg().args(["--force-downgrade", "--unpack"]).arg(&kept), "dpkg");
    let (built, digest) = machine.userland();
    built.good();
    assert_eq!(digest, untouched());
    fs::remove_file(&original).expect("removing");
    machine.refused(7, &["transaction in progress"]);
    run(machine.dpkg().args(["--configure", "less"]), "dpkg");
    assert_eq!(machine.userland().1, untouched());
}

/// dpkg is killed at moments all over the reinstallation of a package: whatever it leaves, an image is right or there is none.
#[test]
fn b05_a_killed_dpkg_leaves_a_right_image_or_none() {
    let deb = {
        let machine = Machine::new();
        machine.archive(&["kmod"]);
        let path = cache().join("kmod-to-be-killed.deb");
        fs::copy(machine.archived("kmod"), &path).expect("copying");
        path
    };
    let (mut refusals, mut images) = (0, 0);
    for moment in (1..=46).step_by(5 / crate::program::effort().clamp(1, 5)) {
        let machine = Machine::new();
        let mut killed = Command::new("strace");
        killed.args(["-f", "-o", "/dev/null", "-e", "trace=rename,renameat,renameat2", "-e"]);
        killed.arg(format!("inject=rename,renameat,renameat2:signal=KILL:when={moment}"));
        killed.args(["dpkg", "--root"]).arg(machine.root()).args(["--force-unsafe-io", "--unpack"]).arg(&deb);
        killed.output().expect("strace");
        let (ran, digest) = machine.userland();
        match ran.code {
            0 => {
                assert_eq!(digest, untouched(), "killed at rename {moment}");
                images += 1;
            }
            _ => {
                ran.bad(7, &["transaction in progress"]);
                refusals += 1;
            }
        }
        // With the file at hand it does not matter when.
        machine.archive(&["kmod"]);
        let (ran, digest) = machine.userland();
        ran.good();
        assert_eq!(digest, untouched(), "killed at rename {moment}, with the file of the package");
    }
    assert!(refusals > 2 && images + refusals > 8, "{refusals} refusals, {images} images: dpkg was not killed where it matters");
}

#[test]
fn c17_a_damaged_file_in_apts_archives_is_passed_over() {
    let machine = Machine::new();
    machine.archive(&["less", "kmod", "dash", "bash"]);
    let less = machine.archived("less");
    let bytes = fs::read(&less).expect("reading");
    fs::write(&less, &bytes[..bytes.len() / 2]).expect("writing");
    let kmod = machine.archived("kmod");
    fs::remove_file(&kmod).expect("removing");
    symlink(&less, &kmod).expect("a link");
    let dash = machine.archived("dash");
    fs::remove_file(&dash).expect("removing");
    rustix::fs::mknodat(rustix::fs::CWD, &dash, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).expect("a pipe");
    let bash = machine.archived("bash");
    let mut bytes = fs::read(&bash).expect("reading");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&bash, bytes).expect("writing");
    let (ran, digest) = machine.userland();
    ran.good();
    assert_eq!(digest, untouched());
}

#[test]
fn c18_the_bytes_that_were_compared_are_those_that_are_used() {
    let machine = Machine::new();
    let database = machine.database();
    let package = installed(&database, "less");
    let files = database.files(&package, &|_| true).expect("it is whole");
    machine.write("usr/bin/less", b"#!/bin/sh\n");
    let less = files.members.iter().find(|(member, _)| member.path.to_string() == "/usr/bin/less").expect("the file");
    assert!(less.1.starts_with(b"\x7fELF") && less.0.kind == MemberKind::File(less.1.len() as u64));
    assert!(!database.has_changed(), "nothing of the database was written");
    let status = machine.read("var/lib/dpkg/status");
    machine.write("var/lib/dpkg/status", &status);
    assert!(database.has_changed(), "dpkg writes a new file");
}

#[test]
fn c19_without_a_usable_cache_the_installed_system_does() {
    let machine = Machine::new();
    fs::write(machine.dir.path().join("cache"), "no directory").expect("writing");
    let (ran, digest) = machine.userland();
    ran.good();
    assert_eq!(digest, untouched());
}

#[test]
fn c17_a_database_that_others_can_write_is_refused() {
    for (name, mode) in [("status", 0o666), ("info/less.list", 0o646), ("diversions", 0o602), (".", 0o777)] {
        let machine = Machine::new();
        let path = machine.path("var/lib/dpkg").join(name);
        if path.is_file() {
            let name = format!("var/lib/dpkg/{name}");
            machine.write(&name, &machine.read(&name));
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("permissions");
        machine.refused(6, &["can be written by others than root"]);
    }
    let machine = Machine::new();
    machine.write("var/lib/dpkg/status", &machine.read("var/lib/dpkg/status"));
    std::os::unix::fs::chown(machine.path("var/lib/dpkg/status"), Some(65_534), None).expect("an owner");
    assert!(matches!(Database::open(&machine.root(), "amd64"), Err(Error::Open(Open { owner: 65_534, .. }))));
    machine.refused(6, &["can be written by others than root"]);
}

#[test]
fn a_damaged_database_is_one_sentence() {
    let status = fs::read(fixture().root.join("var/lib/dpkg/status")).expect("a status");
    let cut = status.len() * 2 / 3 + status[status.len() * 2 / 3..].iter().position(|byte| *byte == b'\n').expect("a line") - 3;
    for content in [&status[..cut], b"", b"\x7fELF\0\0\0", b"Package: a\nStatus: nonsense\n\n"] {
        let machine = Machine::new();
        machine.write("var/lib/dpkg/status", content);
        machine.refused(7, &["the package database of this machine is damaged", "var/lib/dpkg/status"]);
    }
    // A machine without the database has nothing to offer, and is no error by itself.
    let machine = Machine::new();
    fs::remove_dir_all(machine.path("var/lib/dpkg")).expect("removing");
    machine.refused(5, &["cache"]);
}

#[test]
fn links_lead_where_the_machine_leads_them() {
    // Moved to another disk by the administrator, with a link that is absolute on that machine.
    let machine = Machine::new();
    fs::create_dir(machine.path("srv/disk")).expect("a directory");
    run(Command::new("mv").arg(machine.path("usr/lib/systemd")).arg(machine.path("srv/disk/systemd")), "coreutils");
    symlink("/srv/disk/systemd", machine.path("usr/lib/systemd")).expect("a link");
    let (built, digest) = machine.userland();
    built.good();
    assert_eq!(digest, untouched());

    // A link that would lead out of the machine ends in it.
    let outside = tempfile::tempdir().expect("a directory");
    run(Command::new("cp").arg("-a").arg(machine.path("usr/share/base-passwd")).arg(outside.path()), "coreutils");
    let machine = Machine::new();
    fs::remove_dir_all(machine.path("usr/share/base-passwd")).expect("removing");
    symlink(outside.path().join("base-passwd"), machine.path("usr/share/base-passwd")).expect("a link");
    machine.refused(7, &["of the installed `base-passwd` was changed"]);

    // A list that names what is not the machine's.
    let machine = Machine::new();
    let list = String::from_utf8(machine.read("var/lib/dpkg/info/less.list")).expect("text");
    machine.write("var/lib/dpkg/info/less.list", (list + "/usr/bin/../../../etc/shadow\n").as_bytes());
    machine.refused(7, &["the installed `less", "it contains `..`"]);

    // A diverted file lies elsewhere, and is the package's all the same.
    let machine = Machine::new();
    fs::rename(machine.path("usr/bin/less"), machine.path("usr/bin/less.distrib")).expect("renaming");
    machine.write("usr/bin/less", b"#!/bin/sh\n");
    let diversions = String::from_utf8(machine.read("var/lib/dpkg/diversions")).expect("text");
    machine.write("var/lib/dpkg/diversions", (diversions + "/usr/bin/less\n/usr/bin/less.distrib\n:\n").as_bytes());
    let (built, digest) = machine.userland();
    built.good();
    assert_eq!(digest, untouched());
}

#[test]
fn our_own_cache_comes_first() {
    let machine = Machine::new();
    machine.archive(&["*"]);
    ran(machine.program("build").args(["--offline", "-o"]).arg(machine.dir.path().join("a.img"))).good();
    // Nothing is copied from apt's archives, so that nothing is in ours; put one there, as a download would.
    let less = machine.archived("less");
    let digest = run(Command::new("sha256sum").arg(&less), "coreutils");
    fs::copy(&less, machine.dir.path().join("cache/files").join(&digest[..64])).expect("copying");
    for deb in fs::read_dir(machine.path("var/cache/apt/archives")).expect("archives") {
        let path = deb.expect("an entry").path();
        if path.is_file() {
            fs::remove_file(path).expect("removing");
        }
    }
    let plan: Value = serde_json::from_str(&ran(machine.program("plan").args(["--json", "--offline"])).good().out).expect("JSON");
    let from = |name: &str| {
        let mut packages = plan["packages"].as_array().expect("packages").iter();
        packages.find(|package| package["name"] == name).expect("a package")["from"].clone()
    };
    assert_eq!((from("less"), from("kmod")), ("cache".into(), "installed".into()));
    let image = machine.dir.path().join("b.img");
    ran(machine.program("build").args(["--offline", "-o"]).arg(&image)).good();
    let manifest = manifest(&image);
    let of = |name: &str| manifest["packages"].as_array().expect("packages").iter().find(|one| one["name"] == name).cloned();
    let less = of("less").expect("less");
    assert_eq!((&less["from"], less["sha256"].as_str()), (&"archive".into(), Some(&digest[..64])));
    assert_eq!(of("kmod").expect("kmod")["from"], "installed");
}
