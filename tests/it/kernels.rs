//! Real kernels for tests: Debian's packages from the mirror that this machine uses, unpacked once into the test cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use mkinitrd_pkg::tree::disk;
use mkinitrd_pkg::tree::{Entry, Origin, Tree, TreePath};

/// A kernel of Debian.
#[derive(Debug, Clone, Copy)]
pub struct Kernel {
    pub suite: &'static str,
    pub arch: &'static str,
}

pub const TRIXIE: Kernel = Kernel { suite: "trixie", arch: "amd64" };
pub const BOOKWORM: Kernel = Kernel { suite: "bookworm", arch: "amd64" };
pub const SID: Kernel = Kernel { suite: "sid", arch: "amd64" };
pub const TRIXIE_ARM64: Kernel = Kernel { suite: "trixie", arch: "arm64" };

/// Downloads are made one after the other: several tests want the same files.
static CACHE: Mutex<()> = Mutex::new(());

/// Returns a directory in the test cache.
pub fn cache(name: &str) -> PathBuf {
    let root = std::env::var_os("MKINITRD_TEST_CACHE").map_or_else(|| Path::new("target/test-cache").to_owned(), PathBuf::from);
    let dir = root.join(name);
    fs::create_dir_all(&dir).expect("the test cache can be written");
    dir.canonicalize().expect("the directory exists")
}

/// Runs a tool and returns what it printed. A tool that is not there is a failure that names its package.
pub fn run(tool: &str, package: &str, args: &[&str]) -> String {
    let output = Command::new(tool).args(args).output().unwrap_or_else(|err| panic!("{tool}: {err}: install `{package}`"));
    assert!(output.status.success(), "{tool} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Returns the mirror of Debian that apt on this machine is configured for.
fn mirror() -> String {
    let mut files: Vec<PathBuf> = vec!["/etc/apt/sources.list".into()];
    files.extend(fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten().map(|entry| entry.path()));
    files.sort();
    let words = files.iter().filter_map(|file| fs::read_to_string(file).ok()).flat_map(|text| {
        let lines: Vec<String> = text.lines().filter(|line| !line.trim_start().starts_with('#')).map(str::to_owned).collect();
        lines.iter().flat_map(|line| line.split_whitespace()).map(str::to_owned).collect::<Vec<_>>()
    });
    let found = words.into_iter().find(|word| word.starts_with("http") && word.trim_end_matches('/').ends_with("/debian"));
    found.expect("apt on this machine has a mirror of Debian").trim_end_matches('/').to_owned()
}

/// Returns the package file of the name that `wanted` accepts, downloaded from main.
pub fn package(suite: &str, arch: &str, wanted: &dyn Fn(&str) -> bool) -> PathBuf {
    package_of(suite, "main", arch, wanted)
}

/// Returns the package file of the name that `wanted` accepts, downloaded.
pub fn package_of(suite: &str, component: &str, arch: &str, wanted: &dyn Fn(&str) -> bool) -> PathBuf {
    let dir = cache("kernels");
    let index = dir.join(format!("Packages.{suite}.{component}.{arch}"));
    if !index.exists() {
        let packed = index.with_extension("xz");
        let url = format!("{}/dists/{suite}/{component}/binary-{arch}/Packages.xz", mirror());
        run("curl", "curl", &["-sfLo", packed.to_str().expect("UTF-8"), &url]);
        let partial = dir.join(format!("Packages.{suite}.{component}.{arch}.partial"));
        let unpack = format!("xz -dc '{}' > '{}'", packed.display(), partial.display());
        run("sh", "xz-utils", &["-c", &unpack]);
        fs::rename(&partial, &index).expect("renaming");
    }
    let text = fs::read_to_string(&index).expect("the index");
    let field = |stanza: &str, name: &str| stanza.lines().find_map(|line| Some(line.strip_prefix(name)?.to_owned()));
    let hits = text.split("\n\n").filter(|stanza| field(stanza, "Package: ").is_some_and(|name| wanted(&name)));
    let newest = hits.max_by_key(|stanza| numbers(&field(stanza, "Package: ").unwrap_or_default()));
    let stanza = newest.unwrap_or_else(|| panic!("the package is in {suite} {arch}"));
    let path = field(stanza, "Filename: ").expect("a path");
    let file = dir.join(path.rsplit('/').next().expect("a name"));
    if !file.exists() {
        let partial = file.with_extension("partial");
        run("curl", "curl", &["-sfLo", partial.to_str().expect("UTF-8"), &format!("{}/{path}", mirror())]);
        fs::rename(&partial, &file).expect("renaming");
    }
    file
}

/// Returns the numbers in a package's name: kernels have their version there.
fn numbers(name: &str) -> Vec<u32> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

/// Unpacks packages into a directory of the cache, once.
pub fn unpacked(name: &str, packages: impl FnOnce() -> Vec<PathBuf>) -> PathBuf {
    let _guard = CACHE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let dir = cache("kernels").join(name);
    if !dir.exists() {
        let partial = dir.with_extension("partial");
        if partial.exists() {
            fs::remove_dir_all(&partial).expect("removing what is left of an earlier run");
        }
        for package in packages() {
            run("dpkg-deb", "dpkg", &["-x", package.to_str().expect("UTF-8"), partial.to_str().expect("UTF-8")]);
        }
        fs::rename(&partial, &dir).expect("renaming");
    }
    dir
}

impl Kernel {
    /// Returns the root below which the kernel's packages are unpacked.
    pub fn root(self) -> PathBuf {
        unpacked(&format!("{}-{}", self.suite, self.arch), || {
            // Names such as `linux-image-6.12.107+deb13-amd64`; sid has the modules and the lists in packages of their own.
            let plain = |name: &str, prefix: &str| {
                let version = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(self.arch));
                version.is_some_and(|version| {
                    version.starts_with(|c: char| c.is_ascii_digit()) && !version.contains("rt-") && !version.contains("cloud")
                })
            };
            let prefixes: &[&str] = if self.suite == "sid" { &["linux-modules-", "linux-base-"] } else { &["linux-image-"] };
            prefixes.iter().map(|prefix| package(self.suite, self.arch, &|name| plain(name, prefix))).collect()
        })
    }

    /// Returns the directory with the modules, and its name: the kernel's version.
    pub fn dir(self) -> (PathBuf, String) {
        let root = self.root();
        let modules = ["usr/lib/modules", "lib/modules"].map(|dir| root.join(dir)).into_iter().find(|dir| dir.is_dir());
        let modules = modules.expect("the package has modules");
        let entry = fs::read_dir(&modules).expect("the directory").next().expect("a kernel").expect("an entry");
        (entry.path(), entry.file_name().into_string().expect("UTF-8"))
    }

    /// Returns the modules as a tree, under `usr/lib/modules`.
    pub fn tree(self) -> Tree {
        let (dir, _) = self.dir();
        let mut tree = Tree::new();
        let at = TreePath::literal("usr/lib/modules");
        tree.insert(&at, Entry::dir(Origin::Kernel)).expect("a directory");
        disk::read(&mut tree, dir.parent().expect("a parent"), &at, false, &Origin::Kernel).expect("reading");
        tree
    }
}
