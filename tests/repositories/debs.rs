//! The packages of Debian that everything is made of, downloaded once without touching this machine's apt.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Set, cache, run};

/// A boot of anything: what profiles ask for, and what that needs.
const SYSTEM: &str = "systemd systemd-sysv udev kmod bash util-linux mount cryptsetup-bin systemd-cryptsetup lvm2 dmsetup mdadm e2fsprogs \
    libc6 libc-bin base-files base-passwd dash coreutils iputils-ping linux-image-cloud-amd64 busybox ncurses-base liblzma5 libbz2-1.0 \
    libzstd1 tar sed grep gzip dbus procps less btrfs-progs libfido2-1 libtss2-esys-3.0.2-0t64 libtss2-mu-4.0.1-0t64 libtss2-rc0t64 \
    libtss2-tcti-device0t64 libfdisk1 libseccomp2 libmount1 libblkid1 libacl1 libkmod2 libgcc-s1 kbd dosfstools systemd-boot-efi";
/// Seconds to make, and every feature that a format has.
const MINI: &str = "kmod bash busybox e2fsprogs iputils-ping libc-bin base-files base-passwd liblzma5";

/// Returns the packages of a set, sorted by name.
pub fn of(set: Set) -> Vec<PathBuf> {
    let request = match set {
        Set::Mini => MINI,
        Set::System => SYSTEM,
    };
    let dir = cache().join(format!("debs-{}", set.name()));
    let done = dir.join("done");
    // What was asked for is what was got: another request is another closure.
    if fs::read_to_string(&done).is_ok_and(|text| text == request) {
        return packages(&dir);
    }
    let _ = fs::remove_dir_all(&dir); // of another request, or interrupted
    download(&dir, request);
    fs::write(done, request).expect("writing");
    packages(&dir)
}

fn packages(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("archives")).expect("the packages").map(|entry| entry.expect("an entry").path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|extension| extension == "deb")).collect();
    found.sort();
    found
}

fn download(dir: &Path, request: &str) {
    for name in ["lists/partial", "archives/partial"] {
        fs::create_dir_all(dir.join(name)).expect("a directory");
    }
    let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
    fs::write(dir.join("sources.list"), format!("deb [signed-by={keyring}] {} trixie main\n", mirror())).expect("writing");
    fs::write(dir.join("status"), "").expect("writing");
    let at = dir.display();
    let config = format!(
        "Dir::State::lists \"{at}/lists\";\nDir::State::status \"{at}/status\";\nDir::Cache \"{at}\";\nDir::Cache::archives \"{at}/archives\";\n\
         Dir::Etc::sourcelist \"{at}/sources.list\";\nDir::Etc::sourceparts \"/dev/null\";\nDir::Etc::preferencesparts \"/dev/null\";\n\
         Dir::State::extended_states \"{at}/extended\";\nAPT::Architecture \"amd64\";\nAPT::Architectures {{ \"amd64\"; }};\n\
         APT::Install-Recommends \"false\";\npkgCacheGen::ForceEssential \"none\";\nAPT::Sandbox::User \"\";\n\
         Acquire::Languages \"none\";\nDebug::NoLocking \"true\";\n"
    );
    fs::write(dir.join("apt.conf"), config).expect("writing");
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("APT_CONFIG", dir.join("apt.conf"));
        command
    };
    run(apt().arg("update"), "apt");
    run(apt().args(["install", "--yes", "--download-only"]).args(request.split_whitespace()), "apt");
}

/// Returns the mirror of Debian that this machine's apt uses: it serves the other releases too.
fn mirror() -> String {
    if let Ok(mirror) = std::env::var("MKINITRD_TEST_MIRROR") {
        return mirror;
    }
    let listed = run(Command::new("apt-get").args(["indextargets", "--format", "$(REPO_URI) $(COMPONENT)"]), "apt");
    let listed = String::from_utf8(listed).expect("text");
    let mut uris = listed.lines().filter_map(|line| line.strip_suffix(" main"));
    let found = uris.find(|uri| uri.trim_end_matches('/').ends_with("/debian"));
    found.expect("a mirror of Debian in apt's sources").to_owned()
}
