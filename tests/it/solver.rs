//! The solver against apt-get on whole releases, and its messages, order and lock on small repositories.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use mkinitrd_pkg::base::digest::Sha256;
use mkinitrd_pkg::base::error::{Diagnostic, ErrorKind};
use mkinitrd_pkg::config::{Item, Source};
use mkinitrd_pkg::family::deb::control::{lines, paragraphs};
use mkinitrd_pkg::family::deb::index::{DebCatalog, IndexError};
use mkinitrd_pkg::family::repo::Index;
use mkinitrd_pkg::package::{Catalog, Flaw, Location};
use mkinitrd_pkg::plan::lock::{self, LockError};
use mkinitrd_pkg::plan::{Blocked, Error, Plan, Reason, Request, plan};
use mkinitrd_pkg::report::{Event, Reporter, Silent};

// ---- apt in a sandbox -----------------------------------------------------------------------------------------------

/// A release's package lists and an apt that sees nothing else, with an empty status.
pub struct Sandbox {
    dir: PathBuf,
    suite: &'static str,
}

impl Sandbox {
    /// Returns the sandbox of `trixie` or `sid`, made and updated once per run.
    pub fn get(suite: &str) -> &'static Sandbox {
        static TRIXIE: OnceLock<Sandbox> = OnceLock::new();
        static SID: OnceLock<Sandbox> = OnceLock::new();
        match suite {
            "trixie" => TRIXIE.get_or_init(|| Sandbox::make("trixie")),
            "sid" => SID.get_or_init(|| Sandbox::make("sid")),
            other => panic!("no sandbox for {other}"),
        }
    }

    fn make(suite: &'static str) -> Self {
        let cache = std::env::var_os("MKINITRD_TEST_CACHE").map_or_else(|| "target/test-cache".into(), PathBuf::from);
        let dir = std::path::absolute(cache).unwrap().join("apt").join(suite);
        for part in ["state/lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d", "etc/sources.list.d"]
        {
            fs::create_dir_all(dir.join(part)).unwrap();
        }
        let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
        assert!(Path::new(keyring).exists(), "{keyring} is needed: install `debian-archive-keyring`");
        fs::write(dir.join("status"), "").unwrap();
        fs::write(dir.join("etc/sources.list"), format!("deb [signed-by={keyring}] {} {suite} main\n", mirror())).unwrap();
        let path = dir.display();
        // A mirror may be a snapshot whose signature is good but whose `Valid-Until` has passed; both sides read the same lists.
        let conf = format!(
            "Dir::State \"{path}/state/\";\nDir::State::status \"{path}/status\";\nDir::Cache \"{path}/cache/\";\n\
             Dir::Etc \"{path}/etc/\";\nAPT::Architecture \"amd64\";\nAPT::Architectures {{ \"amd64\"; }};\n\
             Acquire::Languages \"none\";\nAcquire::Check-Valid-Until \"false\";\nAPT::Install-Recommends \"false\";\n\
             pkgCacheGen::ForceEssential \"none\";\nAPT::Sandbox::User \"\";\nDebug::NoLocking \"true\";\n"
        );
        fs::write(dir.join("apt.conf"), conf).unwrap();
        let sandbox = Self { dir, suite };
        let output = sandbox.apt_get(&["update"]);
        assert!(output.status.success(), "apt-get update: {}", String::from_utf8_lossy(&output.stderr));
        sandbox
    }

    fn apt_get(&self, arguments: &[&str]) -> std::process::Output {
        Command::new("apt-get")
            .args(arguments)
            .env("APT_CONFIG", self.dir.join("apt.conf"))
            .env("LC_ALL", "C")
            .output()
            .expect("apt-get is needed: install `apt`")
    }

    /// Returns the text of the release's `Packages`.
    pub fn packages(&self) -> Vec<u8> {
        let lists = fs::read_dir(self.dir.join("state/lists")).unwrap().map(|entry| entry.unwrap().path());
        let file = lists.into_iter().find(|path| path.to_string_lossy().ends_with("_main_binary-amd64_Packages"));
        fs::read(file.expect("apt-get update leaves an uncompressed Packages")).unwrap()
    }

    fn catalog(&self) -> DebCatalog {
        let base = Location::Url(mirror());
        DebCatalog::new("amd64", vec![Index::new(format!("{}/main", self.suite), base, self.packages())]).unwrap()
    }

    /// Asks apt what it would install. `--print-uris` skips ordering, which takes a second for each hundred packages.
    fn install(&self, request: &str) -> Option<Vec<String>> {
        let mut arguments = vec!["--print-uris", "-qq", "-y", "install", "--no-install-recommends"];
        arguments.extend(request.split(' '));
        let output = self.apt_get(&arguments);
        if !output.status.success() {
            return None;
        }
        let text = String::from_utf8(output.stdout).unwrap();
        let mut set: Vec<String> = text
            .lines()
            .filter_map(|line| {
                let mut parts = line.split(' ').nth(1)?.strip_suffix(".deb")?.split('_');
                Some(format!("{}={}", parts.next()?, parts.next()?.replace("%3a", ":")))
            })
            .collect();
        set.sort();
        Some(set)
    }
}

/// Returns the Debian mirror that the host itself uses.
fn mirror() -> String {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    files.extend(fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().map(|entry| entry.unwrap().path()));
    for text in files.iter().filter_map(|file| fs::read(file).ok()) {
        let of_sources = paragraphs(&text).filter(|paragraph| paragraph.text("Types").is_some());
        let of_sources = of_sources.filter_map(|paragraph| paragraph.text("URIs"));
        let of_list = lines(&text).filter_map(|line| std::str::from_utf8(line).ok()).filter(|line| line.starts_with("deb "));
        let words = of_sources.chain(of_list).flat_map(str::split_whitespace);
        if let Some(uri) = words.into_iter().find(|word| word.trim_end_matches('/').ends_with("/debian")) {
            return uri.trim_end_matches('/').to_owned();
        }
    }
    panic!("/etc/apt names no Debian mirror");
}

/// What apt answered before, by release lists and request: the same question has the same answer.
struct Answers {
    file: PathBuf,
    key: String,
    known: BTreeMap<String, Option<Vec<String>>>,
}

impl Answers {
    fn of(sandbox: &Sandbox) -> Self {
        let version = Command::new("apt-get").arg("--version").output().expect("apt-get is needed: install `apt`").stdout;
        let key = format!("{} {}", Sha256::of(&sandbox.packages()), Sha256::of(&version));
        let file = sandbox.dir.join("answers.json");
        let stored: Option<(String, BTreeMap<_, _>)> = fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let known = stored.filter(|(of, _)| *of == key).map(|(_, known)| known).unwrap_or_default();
        Self { file, key, known }
    }

    /// Asks two at a time, and keeps what is known as it goes, so that a run that was broken off goes on where it was.
    fn ask(&mut self, sandbox: &Sandbox, requests: &[String]) {
        let open: Vec<String> = requests.iter().filter(|request| !self.known.contains_key(*request)).cloned().collect();
        for some in open.chunks(20) {
            let next = AtomicUsize::new(0);
            let found = Mutex::new(Vec::new());
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        while let Some(request) = some.get(next.fetch_add(1, Ordering::Relaxed)) {
                            let answer = sandbox.install(request);
                            found.lock().unwrap().push((request.clone(), answer));
                        }
                    });
                }
            });
            self.known.extend(found.into_inner().unwrap());
            fs::write(&self.file, serde_json::to_vec(&(&self.key, &self.known)).unwrap()).unwrap();
        }
    }
}

// ---- requests -------------------------------------------------------------------------------------------------------

/// What initrds are made of: every one must be answered as apt does.
const BOOT: &[&str] = &[
    "systemd udev kmod bash less lvm2 cryptsetup libc6",
    "systemd udev kmod bash less libcryptsetup12 systemd-cryptsetup lvm2 dmsetup e2fsprogs btrfs-progs util-linux mount liblzma5 \
     libfido2-1 libtss2-esys-3.0.2-0t64 libtss2-mu-4.0.1-0t64 libtss2-rc0t64 libtss2-tcti-device0t64 dash coreutils procps \
     ncurses-base",
    "systemd udev kmod bash dmsetup libcryptsetup12 libseccomp2 btrfs-progs e2fsprogs dosfstools procps util-linux mount libfido2-1 \
     libfdisk1 systemd-cryptsetup systemd-repart",
    "systemd udev kmod bash less lvm2 cryptsetup libc6 dracut-core plymouth mdadm nfs-common open-iscsi network-manager \
     openssh-server btrfs-progs xfsprogs busybox",
    "systemd-sysv dbus dbus-user-session",
    "linux-image-amd64 dracut systemd-sysv dbus dbus-user-session postfix",
    "linux-image-amd64",
    "systemd udev kmod mdadm",
    "systemd udev kmod multipath-tools open-iscsi nvme-cli",
    "systemd udev kmod nfs-common cifs-utils",
    "systemd udev kmod plymouth plymouth-themes",
    "systemd systemd-resolved iproute2 iputils-ping openssh-server",
    "busybox-static cryptsetup-bin keyutils",
    "dracut-core",
    "initramfs-tools",
    "clevis clevis-luks clevis-systemd tpm2-tools",
    "firmware-linux-free intel-microcode-does-not-exist",
];

/// Requests of which our answer differs from apt's, and why that is right. One that no longer differs must go.
const DIFFERENCES: &[(&str, &str, &str)] = &[];

/// A small generator, so that the requests are the same in every run over the same lists.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

/// Returns single packages with many dependencies and random sets of 2 to 20.
fn sampled(packages: &[u8], seed: u64) -> Vec<String> {
    let mut names: Vec<(usize, &str)> = paragraphs(packages)
        .map(|paragraph| (paragraph.get("Depends").map_or(0, |d| lines(d).count() + d.split(|b| *b == b',').count()), paragraph))
        .map(|(count, paragraph)| (count, paragraph.text("Package").unwrap()))
        .collect();
    names.sort_unstable_by(|a, b| b.cmp(a));
    names.dedup_by_key(|(_, name)| *name);
    let mut random = Random(seed);
    let mut requests: Vec<String> = (0..50).map(|_| names[random.below(2000)].1.to_owned()).collect();
    for _ in 0..100 {
        let set: BTreeSet<&str> = (0..2 + random.below(19)).map(|_| names[random.below(names.len())].1).collect();
        requests.push(set.into_iter().collect::<Vec<_>>().join(" "));
    }
    requests
}

fn requested(text: &str) -> Request {
    Request { packages: text.split(' ').map(Item::from_command_line).collect(), ..Request::default() }
}

fn set_of(plan: &Plan) -> Vec<String> {
    let mut set: Vec<String> =
        plan.packages.iter().map(|planned| format!("{}={}", planned.package.name, planned.package.version)).collect();
    set.sort();
    set
}

/// Returns the list of our own profile for a release: each of its words as the package that it stands for there.
fn of_profile(suite: &str, catalog: &DebCatalog) -> String {
    let profile = mkinitrd_pkg::config::load("debian", None, &[]).unwrap().resolve(suite, "amd64", &Default::default()).unwrap();
    let made = plan(&Request { packages: profile.packages, ..Request::default() }, catalog, &Silent).unwrap();
    let asked_for = made.packages.iter().filter(|planned| matches!(planned.reason, Reason::Requested(_)));
    let names: Vec<&str> = asked_for.map(|planned| planned.package.name.as_str()).collect();
    assert!(names.len() > 20, "{names:?}");
    names.join(" ")
}

fn compare_with_apt(suite: &'static str, seed: u64) {
    let sandbox = Sandbox::get(suite);
    let catalog = sandbox.catalog();
    let boot = BOOT.iter().map(|request| request.split_whitespace().collect::<Vec<_>>().join(" "));
    let boot: Vec<String> = boot.chain([of_profile(suite, &catalog)]).collect();
    let others = sampled(&sandbox.packages(), seed);
    let mut answers = Answers::of(sandbox);
    answers.ask(sandbox, &[&boot[..], &others[..]].concat());
    let (mut wrong, mut listed) = (Vec::new(), Vec::new());
    for request in boot.iter().chain(&others) {
        let ours = plan(&requested(request), &catalog, &Silent);
        let ours_set = ours.as_ref().ok().map(set_of);
        let apts = &answers.known[request];
        let is_listed = DIFFERENCES.iter().any(|(of, listed, _)| *of == suite && listed == request);
        match (&ours_set == apts, is_listed) {
            (true, false) => {}
            (true, true) => wrong.push(format!("`{request}` is listed as a difference but is none")),
            (false, true) => {
                assert!(!boot.contains(request), "`{request}` is about booting and must not differ");
                listed.push(request);
            }
            (false, false) => {
                let (ours_set, apts) = (ours_set.unwrap_or_default(), apts.clone().unwrap_or_default());
                let more: Vec<_> = ours_set.iter().filter(|name| !apts.contains(name)).take(8).collect();
                let less: Vec<_> = apts.iter().filter(|name| !ours_set.contains(name)).take(8).collect();
                wrong
                    .push(format!("`{request}`: more than apt {more:?}, less {less:?}, {:?}", ours.err().map(|e| e.to_string())));
            }
        }
    }
    assert!(wrong.is_empty(), "{suite}, {} of {}:\n{}", wrong.len(), boot.len() + others.len(), wrong.join("\n"));
    assert!(listed.len() * 100 <= others.len(), "{} of {} differ", listed.len(), others.len());
}

#[test]
fn equals_apt_on_trixie() {
    compare_with_apt("trixie", 1);
}

#[test]
fn equals_apt_on_sid() {
    compare_with_apt("sid", 2);
}

#[test]
fn every_package_has_a_reason_that_leads_to_the_request_and_comes_after_what_it_requires() {
    let catalog = Sandbox::get("trixie").catalog();
    let request = requested("systemd udev lvm2 cryptsetup btrfs-progs plymouth");
    let made = plan(&request, &catalog, &Silent).unwrap();
    for planned in &made.packages {
        let chain = made.why(&planned.package.name);
        let last = chain.last().unwrap();
        assert!(matches!(&last.reason, Reason::Requested(item) if item.text == last.package.name), "{}", planned.package.name);
        for pair in chain.windows(2) {
            let Reason::Required { by, requirement } = &pair[0].reason else { panic!("{:?}", pair[0].reason) };
            assert_eq!(*by, pair[1].package.name);
            assert!(pair[1].package.requires.iter().any(|requires| requires.to_string() == *requirement));
        }
    }
    let place = |name: &str| made.packages.iter().position(|planned| planned.package.name == name).unwrap();
    assert!(
        place("libc6") < place("udev")
            && place("libdevmapper1.02.1") < place("lvm2")
            && place("libcryptsetup12") < place("cryptsetup")
    );
    assert_eq!(made, plan(&request, &catalog, &Silent).unwrap());
    assert_eq!(lock::read(&lock::write(&made), "lock", &catalog).map(|read| set_of(&read)).unwrap(), set_of(&made));
}

// ---- small repositories ---------------------------------------------------------------------------------------------

/// Makes a repository of entries such as `a 1; Depends: b`.
fn repository(entries: &[&str]) -> DebCatalog {
    repositories(&[("r/main", entries)])
}

fn repositories(indexes: &[(&str, &[&str])]) -> DebCatalog {
    let indexes = indexes.iter().map(|(label, entries)| {
        let text: String = entries.iter().map(|entry| stanza(entry)).collect();
        Index::new(*label, Location::Url("http://mirror/debian/".to_owned()), text.into_bytes())
    });
    DebCatalog::new("amd64", indexes.collect()).unwrap()
}

fn stanza(entry: &str) -> String {
    let mut parts = entry.split(';').map(str::trim);
    let (name, version) = parts.next().unwrap().split_once(' ').unwrap();
    let more: String = parts.map(|field| format!("{field}\n")).collect();
    let priority = if more.contains("Priority:") { "" } else { "Priority: optional\n" };
    let rest = "Architecture: amd64\nSize: 10\nInstalled-Size: 3\n";
    let digest = Sha256::of(entry.as_bytes());
    let file = format!("Filename: pool/{name}_{version}.deb\nSHA256: {digest}\n");
    format!("Package: {name}\nVersion: {version}\n{more}{priority}{rest}{file}\n")
}

fn names(catalog: &DebCatalog, request: &str) -> String {
    let made = plan(&requested(request), catalog, &Silent).unwrap_or_else(|error| panic!("{}", shown(&error)));
    made.packages.iter().map(|planned| planned.package.name.as_str()).collect::<Vec<_>>().join(" ")
}

/// Shows an error as the command line does.
fn shown(error: &(impl Diagnostic + 'static)) -> String {
    let mut text = format!("error: {error}\n");
    if let Some(place) = error.place() {
        text += &format!("  at {place}\n");
    }
    let mut cause = error.source();
    let mut lead = "  because ";
    while let Some(because) = cause {
        text += &format!("{lead}{because}\n");
        lead = "    ";
        cause = because.source();
    }
    for hint in error.hints() {
        text += &format!("hint: {hint}\n");
    }
    text
}

fn fails(catalog: &DebCatalog, request: &str) -> String {
    let error = plan(&requested(request), catalog, &Silent).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsolvable);
    shown(&error)
}

#[test]
fn chooses_as_apt_does() {
    for (entries, request, chosen) in [
        // The first alternative that can be had.
        (&["a 1; Depends: x | b | c", "b 1", "c 1"][..], "a", "b a"),
        // What the request itself holds meets an alternative, whatever its place.
        (&["a 1; Depends: b | c", "b 1", "c 1"], "a c", "c a"),
        // The package of the very name before providers; among these by priority, then the one met last.
        (&["a 1; Depends: v", "p 1; Provides: v", "v 1"], "a", "v a"),
        (&["a 1; Depends: v", "p 1; Provides: v; Priority: standard", "q 1; Provides: v"], "a", "p a"),
        (&["a 1; Depends: v", "p 1; Provides: v", "q 1; Provides: v"], "a", "q a"),
        (&["a 1; Depends: v; Suggests: q", "p 1; Provides: v", "q 1; Provides: v"], "a", "p a"),
        (&["a 1; Depends: v", "p 1; Provides: v; Essential: yes", "q 1; Provides: v; Priority: required"], "a", "p a"),
        // A version is met by a versioned offer only.
        (&["a 1; Depends: v (>= 2)", "p 1; Provides: v", "q 1; Provides: v (= 2)", "s 1; Provides: v (= 1)"], "a", "q a"),
        // An alternative that cannot be installed is passed over.
        (&["a 1; Depends: b | c", "b 1; Depends: missing", "c 1"], "a", "c a"),
        // The highest version of all repositories.
        (&["a 1", "a 2~rc1", "a 1:0"], "a", "a"),
        // A virtual name with one provider.
        (&["p 1; Provides: v"], "v", "p"),
        // Cycles, alternatives of the request, what is optional.
        (&["a 1; Depends: b", "b 1; Depends: a"], "b", "a b"),
        (&["b 1"], "a|b", "b"),
        (&["b 1"], "a? b", "b"),
        (&["b 1", "b 2"], "b=1", "b"),
        // Multi-Arch: `:any` wants a package that allows it.
        (&["a 1; Depends: b:any | c", "b 1; Multi-Arch: foreign", "c 1"], "a", "c a"),
        (&["a 1; Depends: b:any | c", "b 1; Multi-Arch: allowed", "c 1"], "a", "b a"),
        (&["a 1; Depends: b:amd64, c:native", "b 1", "c 1"], "a", "b c a"),
        (&["a 1; Depends: b:i386 | c", "b 1", "c 1"], "a", "c a"),
    ] {
        assert_eq!(names(&repository(entries), request), chosen, "{entries:?}");
    }
}

#[test]
fn a_conflict_that_the_walk_runs_into_is_solved() {
    // apt gives up here; c is only found by looking further.
    let catalog = repository(&["a 1; Depends: b | c, d", "b 1", "c 1", "d 1; Conflicts: b"]);
    assert_eq!(names(&catalog, "a"), "c d a");
}

#[test]
fn versions_of_several_repositories() {
    let catalog = repositories(&[("old/main", &["a 1", "b 1"]), ("new/main", &["a 2", "b 1"])]);
    let made = plan(&requested("a b"), &catalog, &Silent).unwrap();
    let repos: Vec<_> = made.packages.iter().map(|planned| (&*planned.package.version, &*planned.package.repo)).collect();
    assert_eq!(repos, [("2", "new/main"), ("1", "old/main")]);
}

#[test]
fn unknown_package() {
    let catalog = repository(&["systemd-cryptsetup 1", "systemd 1"]);
    assert_eq!(
        fails(&catalog, "systemd-crypsetup"),
        "error: no package provides `systemd-crypsetup`\n  at the command line\n  \
         because the only repository, `r/main`, does not list it\nhint: did you mean `systemd-cryptsetup`?\n"
    );
}

#[test]
fn unknown_version_and_ambiguous_name() {
    let catalog = repository(&["a 1", "a 2", "p 1; Provides: v", "q 1; Provides: v"]);
    assert_eq!(
        fails(&catalog, "a=3"),
        "error: `a` is not available in version `3`\n  at the command line\n  \
         because the repositories have `a 2` in `r/main`, `a 1` in `r/main`\nhint: ask for `a` without a version\n"
    );
    assert_eq!(
        fails(&catalog, "v"),
        "error: `v` is not a package, and several provide it\n  at the command line\nhint: ask for one of them: `p` or `q`\n"
    );
}

#[test]
fn a_requirement_that_nobody_meets() {
    let catalog = repository(&["a 1; Depends: b", "b 1; Depends: c (>= 2) | d", "c 1"]);
    assert_eq!(
        fails(&catalog, "a"),
        "error: `a` cannot be installed\n  at the command line\n  because the command line wants `a 1` from `r/main`\n    \
         which requires `b`, that is `b 1`\n    which requires `c (>= 2) | d`\n    \
         but the repositories have `c 1` in `r/main`\nhint: leave out `a`\n"
    );
    assert_eq!(
        fails(&repository(&["a 1; Depends: libdrm.so"]), "a"),
        "error: `a` cannot be installed\n  at the command line\n  because the command line wants `a 1` from `r/main`\n    \
         which requires `libdrm.so`\n    which no package provides\nhint: leave out `a`\n"
    );
}

#[test]
fn packages_that_refuse_each_other() {
    let catalog = repository(&["a 1; Depends: b", "b 1; Conflicts: d", "c 1; Depends: d", "d 1", "e 1", "f 1"]);
    assert_eq!(
        fails(&catalog, "e a f c"),
        "error: the requested packages cannot be installed together\n  at the command line\n  \
         because the command line wants `a 1` from `r/main`\n    which requires `b`, that is `b 1`\n    \
         and the command line wants `c 1` from `r/main`\n    which requires `d`, that is `d 1`\n    \
         but `b 1` refuses `d`\nhint: leave out one of `a` and `c`\n"
    );
}

#[test]
fn a_blocked_package_is_avoided_or_named_with_its_chain() {
    let source = Source { file: "debian.toml".into(), line: 12 };
    let blocked = Blocked { name: "linux-image-*".into(), why: "an initrd holds no kernel".into(), source };
    let catalog = repository(&[
        "a 1; Depends: linux-image-x | b",
        "b 1",
        "c 1; Depends: d",
        "d 1; Depends: linux-image-x",
        "linux-image-x 1",
    ]);
    let avoided = Request { blocked: vec![blocked], ..requested("a") };
    assert_eq!(set_of(&plan(&avoided, &catalog, &Silent).unwrap()), ["a=1", "b=1"]);
    let unavoidable = Request { packages: requested("c").packages, ..avoided.clone() };
    assert_eq!(
        shown(&plan(&unavoidable, &catalog, &Silent).unwrap_err()),
        "error: `linux-image-x` must not be part of an initrd: an initrd holds no kernel\n  at the command line\n  \
         because the command line wants `c 1` from `r/main`\n    which requires `d`, that is `d 1`\n    \
         which requires `linux-image-x`\n    provided only by `linux-image-x`, which debian.toml:12 blocks\n\
         hint: leave out `c`, or take the block out of debian.toml:12\n"
    );
    let asked = Request { packages: requested("linux-image-x").packages, ..avoided };
    assert!(matches!(plan(&asked, &catalog, &Silent), Err(Error::Blocked { .. })));
}

#[test]
fn omitted_and_recommended_packages() {
    let catalog = repository(&["a 1; Depends: b; Recommends: c, missing", "b 1", "c 1"]);
    let request = Request { recommends: true, omit: vec![Item::from_command_line("b")], ..requested("a") };
    let made = plan(&request, &catalog, &Silent).unwrap();
    assert_eq!(set_of(&made), ["a=1", "b=1", "c=1"]);
    assert!(made.get("b").unwrap().omitted && !made.get("a").unwrap().omitted);
    assert_eq!(made.get("c").unwrap().reason, Reason::Recommended { by: "a".into(), requirement: "c".into() });
}

#[test]
fn an_optional_package_that_is_missing_is_told() {
    struct Heard(Mutex<Vec<String>>);
    impl Reporter for Heard {
        fn event(&self, event: &Event<'_>) {
            if let Event::Detail { message, .. } = event {
                self.0.lock().unwrap().push((*message).to_owned());
            }
        }
    }
    let heard = Heard(Mutex::default());
    plan(&requested("b x?"), &repository(&["b 1"]), &heard).unwrap();
    assert_eq!(*heard.0.lock().unwrap(), ["`x`, wanted by the command line, is not available and was left out"]);
}

// ---- bad input ------------------------------------------------------------------------------------------------------

/// Replaces a line of a good entry and returns what is said when it is used.
fn flaw_of(line: &str) -> Flaw {
    let field = line.split(':').next().unwrap();
    let good = stanza("a 1");
    let kept = good.lines().filter(|known| !known.starts_with(&format!("{field}:")) && !known.is_empty());
    let text = kept.chain([line]).filter(|line| !line.ends_with(": -")).collect::<Vec<_>>().join("\n");
    let base = Location::Url("http://mirror/debian".to_owned());
    let catalog = DebCatalog::new("amd64", vec![Index::new("r", base, text.into_bytes())]).unwrap();
    match plan(&requested("a"), &catalog, &Silent) {
        Err(Error::Refused(refusal)) => refusal.flaw,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn d12_a_file_name_that_leaves_the_repository_is_refused() {
    for name in [
        "/etc/passwd",
        "../a.deb",
        "pool/../../a.deb",
        "pool/%2e%2e/a.deb",
        "pool/%2E./a.deb",
        "pool/%2fa.deb",
        "pool//a.deb",
        "pool/./a.deb",
        "pool\\a.deb",
        "pool/a\0.deb",
        "pool/a.deb\n x",
        "pool/a.deb?x",
        "pool/a.deb#x",
        &"a/".repeat(2100),
    ] {
        let flaw = flaw_of(&format!("Filename: {name}"));
        assert!(matches!(flaw, Flaw::Malformed { field: "Filename", .. }), "{name}: {flaw:?}");
    }
}

#[test]
fn d09_d11_an_entry_without_digest_or_size_is_refused() {
    for (line, field) in [("SHA256: -", "SHA256"), ("Size: -", "Size"), ("Filename: -", "Filename")] {
        assert_eq!(flaw_of(line), Flaw::Missing(field));
    }
    for line in ["SHA256: 12", "Size: x", "Size: 0", "Size: 99999999999999", "Depends: ../b", "Installed-Size: many"] {
        assert!(matches!(flaw_of(line), Flaw::Malformed { .. }), "{line}");
    }
}

#[test]
fn an_entry_without_a_name_is_refused_with_its_line() {
    let base = Location::Url("http://mirror/debian".to_owned());
    let text = b"Package: a\nVersion: 1\nArchitecture: all\n\n\nPackage: b\nArchitecture: all\n".to_vec();
    let error = DebCatalog::new("amd64", vec![Index::new("r", base, text)]).unwrap_err();
    assert_eq!(error, IndexError::Incomplete { repo: "r".into(), line: 6, field: "Version" });
}

#[test]
fn file_names_become_urls() {
    let catalog = repository(&["a+b 1; Filename: ./pool/a+b_1%3a2~3_all.deb"]);
    let package = catalog.package(0).unwrap();
    assert_eq!(package.location, Location::Url("http://mirror/debian/pool/a+b_1%253a2~3_all.deb".into()));
    assert_eq!((package.size_bytes, package.installed_bytes, &*package.source), (10, 3072, "a+b 1"));
}

#[test]
fn d15_solver_bombs_end_in_time() {
    let many = |from: usize, to: usize| (from..to).map(|i| format!("p{i}")).collect::<Vec<_>>();
    let started = Instant::now();
    // Ten thousand alternatives, of which the last can be had; as many providers; a chain; a self-conflict; a knot.
    let mut entries: Vec<String> = vec![format!("a 1; Depends: {}, v", many(0, 10_000).join(" | "))];
    entries.extend(many(0, 10_000).iter().map(|name| format!("{name} 1; Provides: v; Depends: missing")));
    entries.push("q 1; Provides: v, p9999 (= 1)".to_owned());
    let text: Vec<&str> = entries.iter().map(String::as_str).collect();
    assert_eq!(names(&repository(&text), "a"), "q a");

    let mut entries: Vec<String> = (0..9_999).map(|i| format!("p{i} 1; Depends: p{}", i + 1)).collect();
    entries.push("p9999 1; Depends: p0, missing".to_owned());
    let text: Vec<&str> = entries.iter().map(String::as_str).collect();
    let message = fails(&repository(&text), "p0");
    assert!(message.contains("and so on over") && message.contains("which no package provides"), "{message}");

    let mut entries: Vec<String> = (0..2_499).map(|i| format!("p{i} 1; Depends: p{}", i + 1)).collect();
    entries.push("p2499 1; Provides: x; Conflicts: p2499, x; Depends: p0".to_owned());
    let text: Vec<&str> = entries.iter().map(String::as_str).collect();
    assert_eq!(names(&repository(&text), "p0").split(' ').count(), 2_500);

    // Deeper than apt and we follow: whatever the answer, there is one.
    let mut entries: Vec<String> = (0..9_999).map(|i| format!("p{i} 1; Depends: p{}", i + 1)).collect();
    entries.push("p9999 1".to_owned());
    let text: Vec<&str> = entries.iter().map(String::as_str).collect();
    match plan(&requested("p0"), &repository(&text), &Silent) {
        Ok(made) => assert_eq!(made.packages.len(), 10_000),
        Err(error) => assert!(matches!(error, Error::TooHard), "{error}"),
    }

    // Pigeons that need a hole each, one hole too few.
    let holes = |i: usize| (0..9).map(|j| format!("h{i}-{j}")).collect::<Vec<_>>().join(" | ");
    let mut entries: Vec<String> = (0..10).map(|i| format!("pigeon{i} 1; Depends: {}", holes(i))).collect();
    for j in 0..9 {
        entries.extend((0..10).map(|i| format!("h{i}-{j} 1; Provides: hole{j}; Conflicts: hole{j}")));
    }
    let text: Vec<&str> = entries.iter().map(String::as_str).collect();
    let request = (0..10).map(|i| format!("pigeon{i}")).collect::<Vec<_>>().join(" ");
    assert!(plan(&requested(&request), &repository(&text), &Silent).is_err());
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

// ---- the lock -------------------------------------------------------------------------------------------------------

#[test]
fn a_lock_replaces_solving_and_is_refused_when_the_repository_has_changed() {
    let catalog = repository(&["a 1; Depends: v", "p 1; Provides: v"]);
    let made = plan(&requested("a"), &catalog, &Silent).unwrap();
    let text = lock::write(&made);
    assert!(text.starts_with("{\n  \"schema\": 1,\n  \"packages\": [\n    {\n      \"name\": \"a\","), "{text}");
    // A new provider that apt would prefer changes nothing.
    let grown = repository(&["a 1; Depends: v", "p 1; Provides: v", "q 1; Provides: v; Priority: required"]);
    let read = lock::read(&text, "x.lock", &grown).unwrap();
    assert_eq!(set_of(&read), ["a=1", "p=1"]);
    assert_eq!(lock::write(&read), text);
    assert_eq!(
        read.packages[1].reason,
        Reason::Requested(Item { text: "a".into(), source: Source { file: "the command line".into(), line: 0 } })
    );

    let gone = lock::read(&text, "x.lock", &repository(&["a 1; Depends: v", "p 2; Provides: v"])).unwrap_err();
    assert_eq!(
        shown(&gone),
        "error: `p 1` is locked but no repository has it any more; there is `p 2`\n  at x.lock\n\
         hint: write the lock anew with `mkinitrd-pkg plan --lock FILE`\n"
    );
    let changed = lock::read(&text, "x.lock", &repository(&["a 1; Depends: v", "p 1; Provides: v, w"])).unwrap_err();
    assert!(matches!(&changed, LockError::Changed { name, .. } if name == "p"));
    assert_eq!(changed.kind(), ErrorKind::Untrusted);
    for (bad, kind) in [
        ("", ErrorKind::Config),
        ("{\"schema\": 2, \"packages\": []}", ErrorKind::Config),
        ("{\"schema\": 1, \"packages\": [], \"x\": 1}", ErrorKind::Config),
        (&*text.replace("\"order\": 1", "\"order\": 7"), ErrorKind::Config),
    ] {
        assert_eq!(lock::read(bad, "x.lock", &catalog).unwrap_err().kind(), kind, "{bad}");
    }
}
