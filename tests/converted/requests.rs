//! What is asked for and what comes: our plan, verified, against dnf's and pacman's.

use std::path::PathBuf;
use std::process::Command;

use crate::repositories::{Family, Repository, Set, repository};
use crate::run;

/// A package of a plan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Planned {
    pub name: String,
    pub version: String,
    pub arch: String,
    pub file: PathBuf,
}

/// Returns our plan, in the order in which it is unpacked; signatures are checked with the repository's key.
pub fn plan(repository: &Repository, request: &[&str]) -> Vec<Planned> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mkinitrd-pkg"));
    let cache = tempfile::tempdir().expect("a temporary directory");
    command.env("XDG_CACHE_HOME", cache.path()).env("MKINITRD_PKG_CACHE", cache.path());
    command.args(["plan", "--bare", "--json", "--arch", "x86_64", "--repo", &repository.url, "--keyring"]).arg(&repository.key);
    for name in request {
        command.args(["--package", name]);
    }
    let text = run(&mut command, "nothing");
    let json: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    let packages = json["packages"].as_array().expect("packages");
    let field = |package: &serde_json::Value, name: &str| package[name].as_str().expect(name).to_owned();
    let planned = |package| Planned {
        name: field(package, "name"),
        version: field(package, "version"),
        arch: field(package, "arch"),
        file: field(package, "file").into(),
    };
    packages.iter().map(planned).collect()
}

/// Asks dnf, by its own library, for several requests at once: one a line, an answer in one line each.
const DNF: &str = r#"
import os, sys, tempfile, dnf
url = sys.argv[1]
for request in sys.argv[2:]:
    with tempfile.TemporaryDirectory() as work, dnf.Base() as base:
        for option in ("installroot", "cachedir", "persistdir", "logdir"):
            os.mkdir(work + "/" + option)
            setattr(base.conf, option, work + "/" + option)
        base.conf.install_weak_deps = False
        base.conf.plugins = False
        base.conf.substitutions.update(arch="x86_64", basearch="x86_64", releasever="99")
        base.repos.add_new_repo("fixture", base.conf, baseurl=[url])
        base.fill_sack(load_system_repo=False)
        try:
            for word in request.split():
                base.install(word)
            base.resolve()
        except dnf.exceptions.Error as error:
            print("!", str(error).splitlines()[0])
            continue
        chosen = [(p.name, ("" if p.epoch == 0 else "%d:" % p.epoch) + p.version + "-" + p.release) for p in base.transaction.install_set]
        print(" ".join(sorted("%s=%s" % one for one in chosen)))
"#;

fn dnf(repository: &Repository, requests: &[&str]) -> Vec<String> {
    let output = run(Command::new("/usr/bin/python3").args(["-c", DNF, &repository.url]).args(requests), "python3-dnf");
    String::from_utf8(output).expect("text").lines().map(str::to_owned).collect()
}

fn pacman(repository: &Repository, requests: &[&str]) -> Vec<String> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let at = dir.path().display();
    std::fs::create_dir_all(dir.path().join("db")).expect("a directory");
    let conf = format!(
        "[options]\nRootDir = {at}\nDBPath = {at}/db\nCacheDir = {at}/cache\nLogFile = {at}/log\nGPGDir = {at}/gpg\nHookDir = {at}/hooks\n\
         Architecture = x86_64\nSigLevel = Never\n[core]\nServer = {}\n",
        repository.url
    );
    std::fs::write(dir.path().join("conf"), conf).expect("writing");
    let pacman = || {
        let mut command = Command::new("pacman");
        command.env("LC_ALL", "C").arg("--config").arg(dir.path().join("conf"));
        command
    };
    run(pacman().args(["-Sy", "--noconfirm"]), "pacman-package-manager");
    let ask = |request: &&str| {
        let output =
            pacman().args(["-Sp", "--noconfirm", "--print-format", "%n=%v"]).args(request.split(' ')).output().expect("pacman");
        if !output.status.success() {
            return format!("! {}", String::from_utf8_lossy(&output.stderr));
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut lines: Vec<&str> = text.lines().filter(|line| line.contains('=') && !line.contains(' ')).collect();
        lines.sort_unstable();
        lines.join(" ")
    };
    requests.iter().map(ask).collect()
}

/// Compares our plan with the tool's answer for each request.
fn compare(family: Family, set: Set, requests: &[&str]) {
    let repository = repository(family, set);
    let theirs = if family.is_rpm() { dnf(&repository, requests) } else { pacman(&repository, requests) };
    assert_eq!(theirs.len(), requests.len(), "{theirs:?}");
    let mut wrong = Vec::new();
    for (request, theirs) in requests.iter().zip(&theirs) {
        let planned = plan(&repository, &request.split(' ').collect::<Vec<_>>());
        let mut ours: Vec<String> = planned.iter().map(|one| format!("{}={}", one.name, one.version)).collect();
        ours.sort_unstable();
        if ours.join(" ") != *theirs {
            wrong.push(format!("{request}:\n  ours   {}\n  theirs {theirs}", ours.join(" ")));
        }
    }
    assert!(wrong.is_empty(), "{family:?}, {set:?}: {} of {} differ:\n{}", wrong.len(), requests.len(), wrong.join("\n"));
    println!("{family:?}, {set:?}: {} requests as {}", requests.len(), if family.is_rpm() { "dnf" } else { "pacman" });
}

const MINI: [&str; 8] = [
    "kmod",
    "bash",
    "busybox",
    "e2fsprogs",
    "iputils",
    "filesystem",
    "kmod iputils",
    "kmod bash busybox e2fsprogs iputils filesystem",
];

#[test]
fn small_requests_are_answered_as_the_tools_answer() {
    compare(
        Family::Fedora,
        Set::Mini,
        &[&MINI[..], &["basesystem", "system-release", "/usr/bin/ping", "libcap.so.2()(64bit)"]].concat(),
    );
    compare(Family::Opensuse, Set::Mini, &[&MINI[..], &["distribution-release"]].concat());
    compare(Family::Arch, Set::Mini, &[&MINI[..], &["sh", "libkmod.so"]].concat());
    println!(
        "NOT RUN: Alpine's requests against apk, which no release of Debian has: its resolver is tested with recorded answers"
    );
}

#[test]
fn requests_for_a_boot_are_answered_as_the_tools_answer() {
    let fedora =
        "systemd systemd-udev kmod bash coreutils cryptsetup-libs lvm2 device-mapper mdadm e2fsprogs util-linux less procps-ng";
    compare(
        Family::Fedora,
        Set::System,
        &["systemd", "kernel", "kernel-core", "lvm2", "cryptsetup", "mdadm", "dbus-daemon", "btrfs-progs", fedora],
    );
    let opensuse = "systemd udev kmod bash coreutils libcryptsetup12 lvm2 device-mapper mdadm e2fsprogs util-linux less procps";
    compare(Family::Opensuse, Set::System, &["systemd", "kernel-default", "udev", "lvm2", "libtss2-esys0", opensuse]);
    let arch = "systemd kmod bash coreutils cryptsetup lvm2 device-mapper mdadm e2fsprogs util-linux less procps-ng";
    compare(Family::Arch, Set::System, &["systemd", "linux", "lvm2", "cryptsetup", "mdadm", "dbus", "tpm2-tss", arch]);
}
