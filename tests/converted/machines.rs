//! Machines that pacman, dnf and zypper's rpm have installed, as a source: without network and without any package file.
//!
//! There is no apk on Debian: Alpine's machine is what its packages unpack to, with the database that apk would write of them.
//!
//! Every test has a machine of its own, cloned by hard links: the package managers replace files and never write into them, and so do
//! these tests.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use mkinitrd_pkg::acquire;
use mkinitrd_pkg::family::installed::{Installed, Unfit};
use mkinitrd_pkg::family::repo::Index;
use mkinitrd_pkg::package::{Location, Package};
use serde_json::Value;

use crate::repositories::{Family, Repository, Set, repository};
use crate::run;

/// A machine as its package manager left it.
struct Base {
    family: Family,
    repository: Repository,
    root: PathBuf,
    /// A digest over its userland: names, modes, owners, contents and links.
    untouched: OnceLock<String>,
}

fn base(family: Family) -> &'static Base {
    static BASES: [OnceLock<Base>; 4] = [OnceLock::new(), OnceLock::new(), OnceLock::new(), OnceLock::new()];
    let place = Family::ALL.iter().position(|one| *one == family).expect("a family");
    BASES[place].get_or_init(|| {
        assert!(rustix::process::geteuid().is_root(), "a machine's files have owners: run these tests as root");
        let repository = repository(family, Set::System);
        // It lies beside the repository, and is made anew when that is.
        let home = repository.dir.parent().expect("a directory").join("machine-1");
        let root = home.join("root");
        if !home.join("complete").exists() {
            let _ = fs::remove_dir_all(&home); // what an interrupted run left behind, if any
            fs::create_dir_all(&root).expect("a directory");
            install(family, &repository, &home);
            fs::write(home.join("complete"), "").expect("writing");
        }
        Base { family, repository, root, untouched: OnceLock::new() }
    })
}

const ARCH: &str = "filesystem systemd systemd-libs kmod glibc gcc-libs util-linux util-linux-libs e2fsprogs xz zstd zlib libseccomp acl bash \
    coreutils less procps-ng ncurses cryptsetup tpm2-tss libfido2 lvm2 btrfs-progs linux iputils";

const FEDORA: &str = "filesystem setup fedora-release systemd systemd-udev kmod glibc libgcc util-linux util-linux-core e2fsprogs xz-libs libzstd \
    zlib-ng-compat libseccomp libacl bash coreutils less procps-ng ncurses-base cryptsetup tpm2-tss libfido2 lvm2 btrfs-progs iputils kernel-core \
    kernel-modules";

/// Writes what apk would have in its database of the packages, by their index and what is in them. Format: apk-v2(5).
const APK_DATABASE: &str = r#"
import base64, collections, gzip, hashlib, io, sys, tarfile
index, packages = sys.argv[1], sys.argv[2:]
def members(path):
    return tarfile.open(fileobj=io.BytesIO(gzip.open(path).read()), ignore_zeros=True)
tar = members(index)
entries = {}
for paragraph in tar.extractfile("APKINDEX").read().decode().strip().split("\n\n"):
    fields = dict((line[0], line[2:]) for line in paragraph.split("\n"))
    entries[fields["P"] + "-" + fields["V"]] = paragraph
q1 = lambda data: "Q1" + base64.b64encode(hashlib.sha1(data).digest()).decode()
for package in packages:
    name = package.rsplit("/", 1)[1][:-len(".apk")]
    tar, dirs, modes, data = members(package), collections.OrderedDict(), {}, False
    for member in tar:
        data = data or not member.name.startswith(".")
        if member.name.startswith(".") and "/" not in member.name: continue
        owner = "%d:%d:%o" % (member.uid, member.gid, member.mode)
        if member.isdir():
            dirs.setdefault(member.name, []); modes[member.name] = owner
            continue
        directory, _, base = member.name.rpartition("/")
        content = member.linkname.encode() if member.issym() else tar.extractfile(member).read()
        lines = ["R:" + base] + (["a:" + owner] if owner != "0:0:644" else []) + ["Z:" + q1(content)]
        dirs.setdefault(directory, []).append(lines)
    print(entries[name])
    for directory, files in dirs.items():
        print("F:" + directory)
        if modes.get(directory, "0:0:755") != "0:0:755": print("M:" + modes[directory])
        for lines in files: print("\n".join(lines))
    print()
"#;

/// Installs what the profile asks for and a kernel.
fn install(family: Family, repository: &Repository, home: &Path) {
    let script = match family {
        Family::Arch => format!(
            r#"mkdir -p "$ROOT/var/lib/pacman" "$WORK/cache"
cat >"$WORK/conf" <<END
[options]
RootDir = $ROOT
DBPath = $ROOT/var/lib/pacman
CacheDir = $WORK/cache
LogFile = $WORK/log
GPGDir = $WORK/gpg
HookDir = $WORK/hooks
Architecture = x86_64
SigLevel = Never
[core]
Server = $URL
END
pacman --config "$WORK/conf" -Sy --noconfirm --noprogressbar {ARCH}
rm -r "$ROOT/var/lib/pacman/sync""#
        ),
        Family::Fedora => format!(
            r#"cat >"$WORK/conf" <<END
[main]
gpgcheck=0
plugins=0
reposdir=/dev/null
cachedir=$WORK/cache
[fixture]
name=fixture
baseurl=$URL
END
dnf --config "$WORK/conf" --installroot "$ROOT" --releasever 99 --setopt install_weak_deps=0 -y -q install {FEDORA}
mkdir -p "$ROOT/usr/lib/sysimage"
# Where Debian's rpm has its database, nobody else's has.
mv "$ROOT/root/.rpmdb" "$ROOT/usr/lib/sysimage/rpm"
rm -rf "$WORK/cache" "$ROOT/var/cache/dnf" "$ROOT/var/cache/libdnf5""#
        ),
        Family::Alpine => r#"cd "$DIR/x86_64"
for file in *.apk; do
    tar --extract --gzip --ignore-zeros --keep-directory-symlink --same-owner --preserve-permissions --numeric-owner --xattrs \
        --xattrs-include='*' --warning=no-unknown-keyword --exclude='.SIGN.*' --exclude=.PKGINFO --exclude=.trigger --directory "$ROOT" --file "$file"
done
mkdir -p "$ROOT/lib/apk/db"
/usr/bin/python3 -c "$APK_DATABASE" APKINDEX.tar.gz "$PWD"/*.apk >"$ROOT/lib/apk/db/installed""#
            .to_owned(),
        Family::Opensuse => panic!("Debian's rpm writes no database of openSUSE's kind"),
    };
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--net", "--fork", "--kill-child", "sh", "-c", &format!("set -e\numask 022\n{script}")]);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("DIR", &repository.dir).env("APK_DATABASE", APK_DATABASE);
    command.env("HOME", "/root").env("WORK", home).env("ROOT", home.join("root")).env("URL", &repository.url);
    command.env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin"));
    run(&mut command, "util-linux");
}

/// A machine to do things to.
struct Machine {
    dir: tempfile::TempDir,
    base: &'static Base,
}

struct Ran {
    code: i32,
    text: String,
}

impl Ran {
    #[track_caller]
    fn good(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.text);
        self
    }

    #[track_caller]
    fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.text.contains(word), "`{word}` is not in\n{}", self.text);
        }
        self
    }
}

fn ran(command: &mut Command) -> Ran {
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|err| panic!("{command:?}: {err}"));
    Ran { code: status.code().unwrap_or(-1), text: String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned() }
}

impl Machine {
    fn new(family: Family) -> Self {
        let base = base(family);
        // Beside the original, for links to reach it.
        let dir = tempfile::tempdir_in(base.root.parent().expect("a directory")).expect("a temporary directory");
        run(Command::new("cp").arg("-al").arg(&base.root).arg(dir.path().join("root")), "coreutils");
        Self { dir, base }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    /// Replaces a file, as nothing is written into that the other machines share.
    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        let mode = fs::metadata(&path).map_or(0o644, |found| found.permissions().mode());
        let _ = fs::remove_file(&path); // it need not be there
        fs::write(&path, content).expect("writing");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode & 0o7777)).expect("permissions");
    }

    fn program(&self, command: &str) -> Command {
        self.run_by(Command::new(env!("CARGO_BIN_EXE_mkinitrd-pkg")), command)
    }

    fn run_by(&self, mut program: Command, command: &str) -> Command {
        program.env_remove("SOURCE_DATE_EPOCH").args(["--config-root", "/nonexistent", "-v", "--host-root"]).arg(self.root());
        program.arg("--cache").arg(self.dir.path().join("cache")).args([command, "--generic", "--modules-dir"]);
        program.arg(self.path("usr/lib/modules").join(&self.base.repository.kernel));
        program
    }

    /// Builds the userland, offline; returns what was said and a digest over all of it: names, modes, owners, contents and links.
    fn userland(&self) -> (Ran, String) {
        let out = self.dir.path().join("out");
        let _ = fs::remove_dir_all(&out); // that of the run before, if any
        let ran = ran(self.program("build").args(["--offline", "--stop-after", "prune", "--root"]).arg(&out));
        (ran, if out.exists() { fingerprint(&out) } else { String::new() })
    }

    /// Demands the untouched machine's userland.
    #[track_caller]
    fn unchanged(&self) -> Ran {
        let (ran, digest) = self.userland();
        let ran = ran.good();
        assert_eq!(digest, self.base.untouched(), "{}", ran.text);
        ran
    }

    /// Builds an image over an old one and demands that the old one is kept.
    #[track_caller]
    fn refused(&self, code: i32, words: &[&str]) {
        let image = self.dir.path().join("initrd.img");
        fs::write(&image, "the old image").expect("writing");
        let ran = ran(self.program("build").args(["--offline", "-o"]).arg(&image)).says(words);
        assert_eq!(ran.code, code, "{}", ran.text);
        assert_eq!(fs::read(&image).expect("the old image"), b"the old image");
    }

    fn database(&self) -> Box<dyn Installed> {
        acquire::database(self.base.format(), &self.root(), "x86_64").expect("a database").expect("packages")
    }

    /// Gives the machine the repository that it was installed from, with its key.
    fn repository(&self) {
        let Base { family, repository, .. } = self.base;
        let url = &repository.url;
        match family {
            Family::Arch => {
                self.write("etc/pacman.conf", format!("[options]\nSigLevel = Required\n[core]\nServer = {url}\n"));
                let key = fs::read(&repository.key).expect("the key");
                let mut gpg = Command::new("gpg");
                gpg.args(["--batch", "--show-keys", "--with-colons"]).arg(&repository.key);
                let text = String::from_utf8(run(&mut gpg, "gnupg")).expect("text");
                let line = text.lines().find(|line| line.starts_with("fpr:")).expect("a fingerprint");
                let fingerprint = line.trim_end_matches(':').rsplit(':').next().expect("a fingerprint");
                self.write("usr/share/pacman/keyrings/fixture.gpg", key);
                self.write("usr/share/pacman/keyrings/fixture-trusted", format!("{fingerprint}:4:\n"));
            }
            Family::Fedora => {
                let key = "etc/pki/rpm-gpg/RPM-GPG-KEY-fixture";
                let text = "gpgcheck=1\nrepo_gpgcheck=1";
                let repo = format!("[fixture]\nname=fixture\nbaseurl={url}\n{text}\ngpgkey=file:///{key}\n");
                self.write("etc/yum.repos.d/fixture.repo", repo);
                self.write(key, fs::read(&repository.key).expect("the key"));
            }
            Family::Alpine => {
                let name = repository.key.file_name().expect("a name").to_string_lossy().into_owned();
                self.write("etc/apk/repositories", format!("{}\n", repository.dir.display()));
                self.write(&format!("etc/apk/keys/{name}"), fs::read(&repository.key).expect("the key"));
            }
            Family::Opensuse => panic!("there is no such machine"),
        }
    }
}

impl Base {
    /// The name of the family of its packages.
    fn format(&self) -> &'static str {
        match self.family {
            Family::Fedora | Family::Opensuse => "rpm",
            Family::Arch => "alpm",
            Family::Alpine => "apk",
        }
    }

    /// The userland of the untouched machine.
    fn untouched(&self) -> &str {
        self.untouched.get_or_init(|| {
            let (ran, digest) = Machine::new(self.family).userland();
            ran.good();
            digest
        })
    }
}

fn fingerprint(directory: &Path) -> String {
    let mut tar = Command::new("sh");
    tar.args(["-c", "tar --sort=name --mtime=@0 --numeric-owner --format=gnu -C \"$1\" -c . | sha256sum", "sh"]).arg(directory);
    String::from_utf8(run(&mut tar, "tar")).expect("text")
}

fn manifest(image: &Path) -> Value {
    let mut program = Command::new(env!("CARGO_BIN_EXE_mkinitrd-pkg"));
    serde_json::from_str(&ran(program.args(["ls", "--manifest"]).arg(image)).good().text).expect("a manifest")
}

/// A digest over all that is in an image but its manifest: names, modes, owners, contents and links.
fn content(image: &Path, directory: &Path) -> String {
    let mut program = Command::new(env!("CARGO_BIN_EXE_mkinitrd-pkg"));
    ran(program.arg("unpack").arg(image).arg(directory)).good();
    fs::remove_file(directory.join("etc/mkinitrd-pkg/manifest.json")).expect("a manifest");
    fingerprint(directory)
}

/// Where the packages of an image came from.
fn sources(image: &Path) -> BTreeSet<String> {
    let manifest = manifest(image);
    let packages = manifest["packages"].as_array().expect("packages").iter().filter(|package| package["omitted"] != true);
    packages.map(|package| package["from"].as_str().expect("a source").to_owned()).collect()
}

/// Offline, watched: no network, no lock, no index. The image is that from the repository.
fn offline_is_the_repository(family: Family, database: &str, locks: &[&str]) {
    let machine = Machine::new(family);
    let log = machine.dir.path().join("trace");
    let mut alone = Command::new("unshare");
    alone.args(["--net", "strace", "-f", "-y", "-o"]).arg(&log).args(["-e", "trace=%network,openat,openat2,open,fcntl,flock"]);
    alone.arg(env!("CARGO_BIN_EXE_mkinitrd-pkg"));
    let image = machine.dir.path().join("installed.img");
    ran(machine.run_by(alone, "build").arg("-o").arg(&image)).good();
    let log = fs::read_to_string(&log).expect("the trace");
    assert!(log.contains(database), "strace saw nothing");
    for line in log.lines() {
        let calls = ["connect(", "socket(", "sendto(", "F_SETLK", "F_OFD_SETLK", "F_GETLK"];
        assert!(!calls.iter().chain(locks).any(|call| line.contains(call)), "{line}");
        assert!(!line.contains("flock(") || !line.contains("/root/"), "{line}");
    }
    assert_eq!(sources(&image), BTreeSet::from(["installed".to_owned()]));

    let other = machine.dir.path().join("repository.img");
    // Keys lie below the machine's root, but those that are no OpenPGP.
    let key = match family {
        Family::Alpine => machine.base.repository.key.clone(),
        _ => {
            machine.write("fixture.asc", fs::read(&machine.base.repository.key).expect("the key"));
            "/fixture.asc".into()
        }
    };
    let mut build = machine.program("build");
    build.args(["--repo", &machine.base.repository.url, "--keyring"]).arg(key);
    ran(build.args(["--offline", "-o"]).arg(&other)).good();
    assert_eq!(sources(&other), BTreeSet::from(["archive".to_owned()]));
    let (one, two) = (machine.dir.path().join("one"), machine.dir.path().join("two"));
    let (installed, repository) = (content(&image, &one), content(&other, &two));
    if installed != repository {
        let _ = Command::new("cp").args(["-a", "--"]).args([&one, &two]).arg(std::env::temp_dir()).status(); // for whoever looks
        panic!("the images differ: compare `one` and `two` in {}", std::env::temp_dir().display());
    }
}

/// A changed program is refused where there is nothing else, and taken from the repository where there is one.
fn a_changed_program_is_not_used(family: Family, path: &str, package: &str, hint: &str) {
    let machine = Machine::new(family);
    machine.write(path, "#!/bin/sh\n");
    machine
        .refused(7, &[&format!("`/{path}` of the installed `{package}` was changed, and there is no other source of it"), hint]);
    machine.repository();
    machine.unchanged();
    fs::remove_file(machine.path(path)).expect("removing");
    machine.unchanged();
}

/// A link that leads elsewhere is as good as a changed file.
fn a_changed_link_is_not_used(family: Family, path: &str, package: &str) {
    let machine = Machine::new(family);
    fs::remove_file(machine.path(path)).expect("removing");
    std::os::unix::fs::symlink("elsewhere", machine.path(path)).expect("a link");
    machine.refused(7, &[&format!("`/{path}` of the installed `{package}` was changed")]);
}

/// Configuration is the administrator's, and documentation need not be there.
fn what_is_the_administrators_is_taken_and_told(family: Family, path: &str, package: &str) {
    let machine = Machine::new(family);
    for directory in ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info"] {
        let _ = fs::remove_dir_all(machine.path(directory)); // not every machine has all of them
    }
    assert!(!machine.unchanged().text.contains("was changed on this machine"));
    machine.write(path, "# mine\n");
    let image = machine.dir.path().join("initrd.img");
    let note = format!("`/{path}` of `{package}`: it was changed on this machine, and is taken as it is");
    ran(machine.program("build").args(["--offline", "-o"]).arg(&image)).good().says(&[&note]);
    assert!(manifest(&image)["notes"].as_array().expect("notes").iter().any(|text| *text == *note));
    let out = machine.dir.path().join("unpacked");
    content(&image, &out);
    assert_eq!(fs::read(out.join(path)).expect("the file"), b"# mine\n");
}

/// The package of this name as it is installed.
fn installed(database: &dyn Installed, name: &str) -> Package {
    let catalog = database.catalog(Vec::new(), false).expect("a catalog");
    catalog.package(catalog.named(name)[0]).expect("a package")
}

/// Of an installed name only the installed version counts; what is not installed is taken from an index.
fn installed_versions_count(family: Family, newer: &str, index: impl Fn() -> Vec<Index>) {
    let machine = Machine::new(family);
    let database = machine.database();
    let version = database.versions()["kmod"].clone();
    let versions = |with_others| {
        let catalog = database.catalog(index(), with_others).expect("a catalog");
        assert_eq!(catalog.named("other").len(), 1);
        catalog.named("kmod").iter().map(|id| catalog.version(*id).to_owned()).collect::<BTreeSet<_>>()
    };
    assert_eq!(versions(false), BTreeSet::from([version.clone()]));
    assert_eq!(versions(true), BTreeSet::from([version.clone(), newer.to_owned()]));
    let plan = ran(machine.program("plan").args(["--json", "--offline"]));
    let json = plan.text.find('{').expect("JSON");
    let plan: Value = serde_json::Deserializer::from_str(&plan.text[json..]).into_iter().next().expect("JSON").expect("JSON");
    for package in plan["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("a name");
        assert_eq!(package["version"].as_str(), database.versions().get(name).map(String::as_str), "{name}");
        assert_eq!(package["from"], "installed", "{name}");
    }
    // The same digest on another machine with the same packages, and every file of every package is as it was shipped.
    let other = Machine::new(family);
    let others = other.database();
    let mut files = 0;
    for name in database.versions().keys() {
        let package = installed(&*database, name);
        assert_eq!(package.sha256, installed(&*others, name).sha256, "{name}");
        let is_wanted = |path: &mkinitrd_pkg::tree::TreePath| !is_made_here(&path.to_string());
        let read = database.files(&package, &is_wanted).unwrap_or_else(|err| panic!("{name}: {err}"));
        files += read.members.len();
        assert!(read.notes.is_empty(), "{name}: {:?}", read.notes);
        database.check(&package).expect("it is still there");
    }
    assert!(!database.has_changed() && files > 1000, "{files} files");
    println!("{family:?}: {} packages, {files} files as shipped", database.versions().len());
}

/// Tells whether a hook or a script of this machine writes a file that a package brings.
fn is_made_here(path: &str) -> bool {
    ["/etc/ld.so.cache", "/etc/passwd", "/etc/group"].contains(&path) || path.contains("/modules.")
}

// ---- pacman ---------------------------------------------------------------------------------------------------------

#[test]
fn arch_offline_is_the_repository() {
    offline_is_the_repository(Family::Arch, "var/lib/pacman/local/", &["db.lck", "/sync/"]);
}

#[test]
fn arch_versions_are_the_installed_ones() {
    installed_versions_count(Family::Arch, "99-1", || {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for (name, version) in [("kmod", "99-1"), ("other", "1-1")] {
            let entry = dir.path().join(format!("{name}-{version}"));
            fs::create_dir(&entry).expect("a directory");
            let text = format!(
                "%FILENAME%\n{name}.pkg.tar.zst\n\n%NAME%\n{name}\n\n%VERSION%\n{version}\n\n%CSIZE%\n1\n\n%ARCH%\nany\n\n%SHA256SUM%\n{}\n",
                "0".repeat(64)
            );
            fs::write(entry.join("desc"), text).expect("writing");
        }
        let bytes = run(Command::new("tar").arg("-C").arg(dir.path()).args(["-c", "kmod-99-1", "other-1-1"]), "tar");
        vec![Index::new("core", Location::Url("http://x".to_owned()), bytes)]
    });
}

#[test]
fn arch_changed_files_are_not_used() {
    a_changed_program_is_not_used(Family::Arch, "usr/bin/less", "less", "pacman -Qkk less");
    a_changed_link_is_not_used(Family::Arch, "usr/bin/modprobe", "kmod");
}

#[test]
fn arch_configuration_is_taken_and_told() {
    what_is_the_administrators_is_taken_and_told(Family::Arch, "etc/lvm/lvm.conf", "lvm2");
}

#[test]
fn arch_a_transaction_is_noticed() {
    let machine = Machine::new(Family::Arch);
    assert_eq!(machine.database().transaction(), None);
    machine.write("var/lib/pacman/db.lck", "");
    // A hook of the transaction itself, which has written everything.
    machine.unchanged().says(&["db.lck` is there"]);
    machine.write("usr/bin/less", "#!/bin/sh\n");
    machine.refused(7, &["transaction in progress: `less ", "`/usr/bin/less` was changed"]);
    machine.repository();
    machine.unchanged();

    // Its entry is taken away before the new one is written.
    let machine = Machine::new(Family::Arch);
    let database = machine.database();
    let less = installed(&*database, "less");
    let entry = machine.path(&format!("var/lib/pacman/local/less-{}", less.version));
    fs::remove_file(entry.join("desc")).expect("removing");
    assert!(database.has_changed());
    let now = database.reopen().expect("a database").expect("packages");
    assert!(matches!(now.check(&less), Err(Unfit::Gone { .. })));
    assert!(now.transaction().expect("a transaction").contains("less-"));
    // An optional package would be left out, and nobody would notice.
    machine.repository();
    machine.refused(7, &["transaction in progress", "less-", "--mirror URL"]);
    // The entry of a package that is needed, gone altogether.
    fs::remove_dir_all(&entry).expect("removing");
    let kmod = installed(&*database, "kmod");
    fs::remove_dir_all(machine.path(&format!("var/lib/pacman/local/kmod-{}", kmod.version))).expect("removing");
    machine.write("var/lib/pacman/db.lck", "");
    machine.write("etc/pacman.conf", "");
    machine.refused(4, &["transaction in progress: pacman is at work", "kmod"]);
}

#[test]
fn arch_a_database_that_others_can_write_is_refused() {
    let machine = Machine::new(Family::Arch);
    let local = machine.path("var/lib/pacman/local");
    fs::set_permissions(&local, fs::Permissions::from_mode(0o777)).expect("permissions");
    machine.refused(6, &["can be written by others than root"]);
    fs::set_permissions(&local, fs::Permissions::from_mode(0o755)).expect("permissions");
    machine.unchanged();
    // A package without a list has nothing that vouches for its files.
    let less = installed(&*machine.database(), "less");
    fs::remove_file(machine.path(&format!("var/lib/pacman/local/less-{}/mtree", less.version))).expect("removing");
    machine.refused(7, &["the installed `less", "no list of its files"]);
}

// ---- rpm ------------------------------------------------------------------------------------------------------------

#[test]
fn fedora_offline_is_the_repository() {
    offline_is_the_repository(Family::Fedora, "usr/lib/sysimage/rpm/rpmdb.sqlite", &[".rpm.lock", "/repodata/"]);
}

#[test]
fn fedora_versions_are_the_installed_ones() {
    installed_versions_count(Family::Fedora, "99-1", || {
        let package = |name: &str, version: &str| {
            format!(
                "<package type=\"rpm\"><name>{name}</name><arch>noarch</arch><version epoch=\"0\" ver=\"{version}\" rel=\"1\"/>\
                 <checksum type=\"sha256\" pkgid=\"YES\">{}</checksum><size package=\"1\" installed=\"1\"/><location href=\"{name}.rpm\"/>\
                 <format><rpm:provides><rpm:entry name=\"{name}\" flags=\"EQ\" epoch=\"0\" ver=\"{version}\" rel=\"1\"/></rpm:provides></format></package>",
                "0".repeat(64)
            )
        };
        let text = format!("<metadata>{}{}</metadata>", package("kmod", "99"), package("other", "1"));
        vec![Index::new("fedora", Location::Url("http://x".to_owned()), text.into())]
    });
}

#[test]
fn fedora_changed_files_are_not_used() {
    a_changed_program_is_not_used(Family::Fedora, "usr/bin/less", "less", "rpm --verify less");
    a_changed_link_is_not_used(Family::Fedora, "usr/bin/modprobe", "kmod");
}

#[test]
fn fedora_configuration_is_taken_and_told() {
    what_is_the_administrators_is_taken_and_told(Family::Fedora, "etc/lvm/lvm.conf", "lvm2");
}

/// Adds what rpm adds first when it upgrades a package: the new version, beside the old one.
const ADD: &str = r#"
import sqlite3, sys
con = sqlite3.connect(sys.argv[1])
con.execute("insert into Packages(blob) select blob from Packages where instr(blob, cast(? as blob)) > 0 limit 1", (sys.argv[2].encode() + b"\0",))
con.commit()
"#;

#[test]
fn fedora_a_transaction_is_noticed() {
    let machine = Machine::new(Family::Fedora);
    assert_eq!(machine.database().transaction(), None);
    // rpm's lock is there at all times, and something like a waiting file may be.
    machine.write("usr/lib/sysimage/rpm/.rpm.lock", "");
    machine.write("usr/bin/less;note", "");
    machine.unchanged();
    machine.write("usr/bin/less;5f3a90bc", "half of it");
    machine.refused(7, &["transaction in progress: `less ", "`/usr/bin/less` is about to be replaced"]);
    machine.repository();
    machine.unchanged();

    let machine = Machine::new(Family::Fedora);
    let database = machine.database();
    let less = installed(&*database, "less");
    let file = machine.path("usr/lib/sysimage/rpm/rpmdb.sqlite");
    for suffix in ["", "-wal", "-shm"] {
        // The other machines have the same files.
        let name = format!("{}{suffix}", file.display());
        if let Ok(content) = fs::read(&name) {
            fs::remove_file(&name).expect("removing");
            fs::write(&name, content).expect("writing");
        }
    }
    let unique = format!("less-{}.src.rpm", less.version);
    run(Command::new("/usr/bin/python3").args(["-c", ADD]).args([file.as_os_str(), unique.as_ref()]), "python3");
    assert!(database.has_changed());
    let now = database.reopen().expect("a database").expect("packages");
    assert_eq!(now.transaction().as_deref(), Some("rpm is at work or was interrupted: `less` is there in several versions"));
    assert!(matches!(now.check(&less), Err(Unfit::State(_))));
    machine.refused(7, &["transaction in progress: `less ", "there in several versions"]);
    machine.repository();
    machine.unchanged();
}

#[test]
fn fedora_what_is_of_the_machine_alone_stays_there() {
    secrets_stay(Family::Fedora);
}

// ---- apk ------------------------------------------------------------------------------------------------------------

#[test]
fn alpine_offline_is_the_repository() {
    offline_is_the_repository(Family::Alpine, "lib/apk/db/installed", &["apk/db/lock", "APKINDEX"]);
}

#[test]
fn alpine_versions_are_the_installed_ones() {
    installed_versions_count(Family::Alpine, "99", || {
        let sum = |letter: &str| format!("Q1{}=", letter.repeat(27));
        let text =
            format!("C:{}\nP:kmod\nV:99\nA:x86_64\nS:1\nI:1\n\nC:{}\nP:other\nV:1\nA:x86_64\nS:1\nI:1\n\n", sum("A"), sum("E"));
        vec![Index::new("main", Location::Url("http://x".to_owned()), text.into())]
    });
}

#[test]
fn alpine_changed_files_are_not_used() {
    a_changed_program_is_not_used(Family::Alpine, "usr/bin/kmod", "kmod", "apk audit");
}

#[test]
fn alpine_a_transaction_is_noticed() {
    let machine = Machine::new(Family::Alpine);
    assert_eq!(machine.database().transaction(), None);
    machine.write("usr/bin/.apk.0123456789abcdef01234567", "half of it");
    machine.unchanged().says(&["files wait in `/usr/bin` to replace others"]);
    machine.write("usr/bin/kmod", "#!/bin/sh\n");
    machine.refused(7, &["transaction in progress: `kmod ", "`/usr/bin/kmod` was changed"]);
    machine.repository();
    machine.unchanged();
}

#[test]
fn alpine_what_is_of_the_machine_alone_stays_there() {
    secrets_stay(Family::Alpine);
}

/// People and passwords of a machine do not enter an image by way of a package that brings the files which hold them.
fn secrets_stay(family: Family) {
    let machine = Machine::new(family);
    let passwd = fs::read_to_string(machine.path("etc/passwd")).expect("users");
    machine
        .write("etc/passwd", passwd.replacen("root:x:", "root:$6$digest:", 1) + "alice:x:1000:1000:Alice:/home/alice:/bin/sh\n");
    machine.write("etc/shadow", "root:$6$digest:1::::::\nalice:$6$digest:1::::::\n");
    machine.write("etc/gshadow", "root:$6$digest::\n");
    let (image, out) = (machine.dir.path().join("initrd.img"), machine.dir.path().join("unpacked"));
    let built = ran(machine.program("build").args(["--offline", "-o"]).arg(&image)).good();
    let database = machine.database();
    let users = |path: &mkinitrd_pkg::tree::TreePath| path.as_bytes() == b"etc/passwd";
    let read = |name: &String| database.files(&installed(&*database, name), &users).expect("users").members;
    let taken: Vec<Vec<u8>> =
        database.versions().keys().flat_map(read).map(|(_, bytes)| bytes).filter(|bytes| !bytes.is_empty()).collect();
    assert_eq!(taken.len(), 1, "one package has the users");
    let text = String::from_utf8(taken[0].clone()).expect("text");
    assert!(text.starts_with("root:x:0:0:") && text.contains("nobody:") && !text.contains("alice"), "{text}");
    content(&image, &out);
    if family == Family::Alpine {
        return assert!(!out.join("etc/shadow").exists() && !out.join("etc/passwd").exists(), "Alpine's image needs no users");
    }
    built.says(&["of it those are taken that every machine of the distribution has, without passwords"]);
    for name in ["passwd", "shadow", "gshadow", "group"] {
        let text = fs::read_to_string(out.join("etc").join(name)).unwrap_or_default();
        assert!(!text.contains("alice") && !text.contains("$6$"), "{name}: {text}");
        assert!(name == "gshadow" || text.contains("root:"), "{name}: {text}");
    }
}
