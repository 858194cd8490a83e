//! Small, complete repositories of RPM, pacman and Alpine packages, made of real packages of Debian by the formats' own tools.
//!
//! Programs, libraries, units and modules are Debian's and stay in its multiarch directories; names, versions, dependencies, cut of the
//! packages and the formats' features are those of the other distribution, and so is a made-up release in `os-release`. Everything is
//! signed with keys that nobody keeps. A repository is made once and kept in the test cache under a fingerprint of all that it is made
//! of; it repeats byte for byte, signatures aside.
//!
//! Self-contained: other test programs take it in by `#[path]`.

mod alpm;
mod apk;
mod content;
mod debs;
mod kernel;
mod keys;
mod release;
mod rpm;
mod tar;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mkinitrd_pkg::base::digest::Hasher;

use content::Contents;

/// Everything is dated so.
pub const EPOCH_S: u64 = 1_760_000_000;

/// Whose packages they look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    Fedora,
    Opensuse,
    Arch,
    Alpine,
}

/// How much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Set {
    /// kmod, bash, busybox, e2fsprogs, ping and what they need: seconds.
    Mini,
    /// What a boot needs: systemd, udev, a kernel, LVM, LUKS, MD, dbus, ext4.
    System,
}

/// A repository on this machine.
#[derive(Debug, Clone)]
pub struct Repository {
    /// Where it lies: `repodata/` is in it, or `core.db`, or `x86_64/APKINDEX.tar.gz`.
    pub dir: PathBuf,
    /// The same as an address.
    pub url: String,
    /// The public key that it is signed with: OpenPGP in ASCII armour, for Alpine a `NAME.rsa.pub`.
    pub key: PathBuf,
    /// The release of `uname -r` of its kernel; empty if it has none.
    pub kernel: String,
    /// The version of the made-up release, as `VERSION_ID` says it.
    pub release: &'static str,
}

impl Family {
    /// All of them.
    pub const ALL: [Family; 4] = [Family::Fedora, Family::Opensuse, Family::Arch, Family::Alpine];

    /// The distribution's name, as profiles have it.
    pub fn name(self) -> &'static str {
        match self {
            Family::Fedora => "fedora",
            Family::Opensuse => "opensuse",
            Family::Arch => "arch",
            Family::Alpine => "alpine",
        }
    }

    /// Tells whether its packages are RPM packages.
    pub fn is_rpm(self) -> bool {
        matches!(self, Family::Fedora | Family::Opensuse)
    }
}

impl Set {
    fn name(self) -> &'static str {
        match self {
            Set::Mini => "mini",
            Set::System => "system",
        }
    }
}

impl Repository {
    /// Returns the package files, sorted.
    pub fn packages(&self) -> Vec<PathBuf> {
        let is_package = |path: &PathBuf| {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            name.ends_with(".rpm") || name.ends_with(".pkg.tar.zst") || name.ends_with(".apk")
        };
        let dirs = [self.dir.clone(), self.dir.join("x86_64")];
        let entries = dirs.iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten();
        let mut found: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).filter(is_package).collect();
        found.sort();
        found
    }
}

/// Returns a repository, made when it is first asked for.
pub fn repository(family: Family, set: Set) -> Repository {
    // Several test programs may want it at once.
    let _lock = lock(&format!("{}-{}", family.name(), set.name()));
    let debs = {
        let _lock = lock(set.name());
        debs::of(set)
    };
    let dir = cache().join(format!("{}-{}-{}", family.name(), set.name(), &fingerprint(family, &debs)[..16]));
    let complete = dir.join("complete");
    if !complete.exists() {
        let _ = fs::remove_dir_all(&dir); // what an interrupted run left behind, if any
        make(family, &debs, &dir.join("repository"));
        fs::write(&complete, kernel::release_of(&debs)).expect("writing");
    }
    let kernel = fs::read_to_string(&complete).expect("the release of the kernel");
    let at = dir.join("repository").canonicalize().expect("the repository");
    let key = if family == Family::Alpine { at.join(format!("keys/{}", apk::KEY_NAME)) } else { at.join("fixture.asc") };
    Repository { url: format!("file://{}", at.display()), dir: at, key, kernel, release: release::version(family) }
}

/// Makes a repository anew, whatever the cache has: to see that it repeats.
pub fn make_anew(family: Family, set: Set, dir: &Path) {
    let debs = {
        let _lock = lock(set.name());
        debs::of(set)
    };
    make(family, &debs, dir);
}

fn make(family: Family, debs: &[PathBuf], dir: &Path) {
    fs::create_dir_all(dir).expect("a directory");
    let contents = Contents::new(family, debs);
    match family {
        Family::Fedora | Family::Opensuse => rpm::make(&contents, dir),
        Family::Arch => alpm::make(contents, dir),
        Family::Alpine => apk::make(contents, dir),
    }
}

/// Of all that a repository is made of: the packages, and what is written here.
fn fingerprint(family: Family, debs: &[PathBuf]) -> String {
    let sources: [&[u8]; 14] = [
        include_bytes!("mod.rs"),
        include_bytes!("alpm.rs"),
        include_bytes!("apk.rs"),
        include_bytes!("content.rs"),
        include_bytes!("debs.rs"),
        include_bytes!("kernel.rs"),
        include_bytes!("keys.rs"),
        include_bytes!("names.tsv"),
        include_bytes!("release.rs"),
        include_bytes!("rpm.rs"),
        include_bytes!("tar.rs"),
        include_bytes!("mkinitfs/initramfs-init"),
        include_bytes!("mkinitfs/nlplug-findfs"),
        family.name().as_bytes(),
    ];
    let mut hasher = Hasher::new();
    sources.iter().for_each(|source| hasher.field(source));
    // A package's name has its version, and the archive of Debian gives no other bytes under it.
    debs.iter().for_each(|deb| hasher.field(deb.file_name().expect("a name").as_encoded_bytes()));
    hasher.finish().to_string()
}

/// The part of the test cache that is ours.
fn cache() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-cache");
    let dir = std::env::var_os("MKINITRD_TEST_CACHE").map_or_else(default, PathBuf::from).join("repositories");
    fs::create_dir_all(&dir).expect("the test cache");
    dir.canonicalize().expect("the test cache")
}

fn lock(name: &str) -> fs::File {
    let path = cache().join(format!("lock-{name}"));
    let lock = fs::OpenOptions::new().create(true).truncate(false).write(true).open(path).expect("a lock");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("a lock");
    lock
}

/// Runs a tool that must succeed, and returns what it printed; names the package of Debian that has it.
#[track_caller]
fn run(command: &mut Command, debian_package: &str) -> Vec<u8> {
    command.env("LC_ALL", "C").env("TZ", "UTC").env("SOURCE_DATE_EPOCH", EPOCH_S.to_string()).stdin(Stdio::null());
    let output = command.output().unwrap_or_else(|err| panic!("{command:?}: {err}: install `{debian_package}`"));
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&said));
    output.stdout
}

/// Runs a tool as a filter.
#[track_caller]
fn filter(command: &mut Command, input: &[u8], debian_package: &str) -> Vec<u8> {
    command.env("LC_ALL", "C").env("TZ", "UTC").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|err| panic!("{command:?}: {err}: install `{debian_package}`"));
    let mut stdin = child.stdin.take().expect("a pipe");
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output().expect("its output")
    });
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    output.stdout
}
