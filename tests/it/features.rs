//! The features of Debian's profile: each builds alone and all together, and holds what its layer is brought up with.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::program::{Ran, effort, program, ran};
use crate::trixie::run;

/// The features that every generic image has.
const DEFAULT: [&str; 5] = ["luks", "tpm2", "fido2", "lvm", "btrfs"];

/// Each feature, and files without which it would not do.
const FEATURES: &[(&str, &[&str])] = &[
    ("luks", &["usr/bin/systemd-cryptsetup", "usr/lib/systemd/system-generators/systemd-cryptsetup-generator"]),
    ("tpm2", &["usr/lib/*/libtss2-tcti-device.so.0", "usr/lib/*/cryptsetup/libcryptsetup-token-systemd-tpm2.so"]),
    ("fido2", &["usr/lib/*/libfido2.so.1"]),
    ("lvm", &["usr/sbin/lvm", "usr/lib/udev/rules.d/69-lvm.rules"]),
    ("btrfs", &["usr/bin/btrfs", "usr/lib/udev/rules.d/64-btrfs.rules"]),
    ("md", &["usr/sbin/mdadm", "usr/sbin/mdmon", "usr/lib/udev/rules.d/64-md-raid-assembly.rules", "usr/bin/basename"]),
    (
        "multipath",
        &[
            "usr/sbin/multipathd",
            "usr/sbin/kpartx",
            "usr/lib/multipath/libchecktur.so",
            "usr/lib/multipath/libpriordac.so",
            "usr/lib/multipath/libforeign-nvme.so",
            "usr/lib/udev/kpartx_id",
            "usr/bin/logger",
        ],
    ),
    ("net", &["usr/lib/systemd/systemd-networkd", "usr/lib/systemd/systemd-resolved", "usr/lib/systemd/network/99-default.link"]),
    ("iscsi", &["usr/sbin/iscsistart", "usr/sbin/iscsid", "usr/lib/*/libopeniscsiusr.so.0", "etc/iscsi/iscsid.conf"]),
    ("nfs", &["usr/sbin/mount.nfs4", "usr/sbin/nfsidmap", "usr/sbin/request-key", "usr/lib/*/libnfsidmap/nsswitch.so"]),
    (
        "nvme-tcp",
        &["usr/sbin/nvme", "usr/lib/systemd/system/nvmf-autoconnect.service", "usr/lib/udev/rules.d/70-nvmf-autoconnect.rules"],
    ),
    ("nbd", &["usr/sbin/nbd-client", "usr/lib/systemd/system/nbd@.service"]),
    ("live", &["usr/bin/curl", "usr/lib/*/libcurl.so.4"]),
    ("xfs", &["usr/sbin/xfs_repair", "usr/sbin/fsck.xfs"]),
    ("f2fs", &["usr/sbin/fsck.f2fs"]),
    ("bcache", &["usr/lib/udev/bcache-register", "usr/lib/udev/rules.d/69-bcache.rules", "usr/bin/mawk"]),
    ("thin", &["usr/sbin/thin_check", "usr/sbin/cache_check", "usr/sbin/lvm"]),
    (
        "plymouth",
        &["usr/sbin/plymouthd", "usr/lib/*/plymouth/text.so", "usr/lib/systemd/system/systemd-ask-password-plymouth.path"],
    ),
    ("kdump", &["usr/bin/makedumpfile", "usr/lib/*/libdw.so.1"]),
    ("resume", &["usr/lib/systemd/systemd-hibernate-resume", "usr/lib/systemd/system/systemd-hibernate-resume.service"]),
    (
        "repart",
        &["usr/bin/systemd-repart", "usr/lib/systemd/system/systemd-repart.service", "usr/lib/x86_64-linux-gnu/libfdisk.so.1"],
    ),
];

/// What no feature may bring: servers, other generators, interpreters.
const UNWANTED: &[&str] =
    &["usr/sbin/rpcbind", "usr/bin/python3*", "usr/bin/perl", "usr/bin/dbus-daemon", "usr/sbin/mkinitramfs"];

/// Builds; says once more with the day before the expiry when a mirror lags behind.
fn built(words: &[&str]) -> Ran {
    let mut args: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    for _ in 0..3 {
        let ran = ran(program().args(&args));
        let Some(day) = ran.err.split("expired on").nth(1).map(|rest| rest.trim().chars().take(10).collect::<String>()) else {
            return ran;
        };
        args.extend(["--assume-time".to_owned(), day]);
    }
    ran(program().args(&args))
}

/// Tells whether each word of a shell pattern leads to something below a root.
fn has(root: &Path, pattern: &str) -> bool {
    let script = format!("cd \"$0\" && for file in {pattern}; do test -e \"$file\" || test -L \"$file\" || exit 1; done");
    Command::new("sh").args(["-c", &script]).arg(root).status().expect("sh").success()
}

fn size_kb(root: &Path) -> u64 {
    let out = run(Command::new("du").args(["-sk", "--apparent-size"]).arg(root), "coreutils");
    out.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a size")
}

/// Builds what is kept of the packages with exactly these features into `root`.
fn kept(release: &str, arch: &str, with: &[&str], root: &Path) -> Ran {
    let root = root.to_str().expect("text");
    let mut words = vec!["build", "--distro", "debian", "--generic", "--release", release, "--arch", arch];
    words.extend(["--stop-after", "prune", "--root", root]);
    words.extend(DEFAULT.iter().flat_map(|feature| ["--without", *feature]));
    words.extend(with.iter().flat_map(|feature| ["--with", *feature]));
    built(&words)
}

/// Features that are nothing without another.
fn with_its_base(name: &'static str) -> Vec<&'static str> {
    match name {
        "tpm2" | "fido2" => vec!["luks", name],
        "thin" => vec!["lvm", name],
        _ => vec![name],
    }
}

#[test]
fn each_feature_builds_alone_and_holds_its_files() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let bare = dir.path().join("bare");
    kept("trixie", "amd64", &[], &bare).good();
    for (name, files) in FEATURES {
        let root = dir.path().join(name);
        kept("trixie", "amd64", &with_its_base(name), &root).good();
        for file in *files {
            assert!(has(&root, file), "{name}: `{file}` is not there");
            let of_base = name == &"resume";
            assert!(of_base || !has(&bare, file), "`{file}` shows nothing: it is there without {name}");
        }
        for file in UNWANTED {
            assert!(!has(&root, file), "{name}: `{file}` is there");
        }
        // The largest is live with curl and its TLS, 12.8 MB; docs/configuration.md has the others.
        let added_kb = size_kb(&root) - size_kb(&bare);
        assert!(added_kb < 13_500, "{name} adds {added_kb} kB");
    }
}

#[test]
fn a_feature_whose_files_are_pruned_away_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = dir.path().join("drop.toml");
    for (name, file) in [
        ("md", "usr/lib/udev/rules.d/64-md-raid-assembly.rules"),
        ("multipath", "usr/lib/multipath/libchecktur.so"),
        ("net", "usr/lib/systemd/systemd-networkd-wait-online"),
        ("iscsi", "usr/sbin/iscsistart"),
        ("nfs", "usr/lib/*/libnfsidmap/nsswitch.so"),
        ("nvme-tcp", "usr/sbin/nvme"),
        ("nbd", "usr/sbin/nbd-client"),
        ("live", "usr/bin/curl"),
        ("xfs", "usr/sbin/xfs_repair"),
        ("f2fs", "usr/sbin/fsck.f2fs"),
        ("bcache", "usr/bin/mawk"),
        ("thin", "usr/sbin/thin_check"),
        ("plymouth", "usr/lib/*/plymouth/text.so"),
        ("kdump", "usr/bin/makedumpfile"),
        ("resume", "usr/lib/systemd/systemd-hibernate-resume"),
        ("repart", "usr/bin/systemd-repart"),
    ] {
        fs::write(&config, format!("[prune]\nadd = [\"-{file}\"]\n")).expect("writing");
        let root = dir.path().join(name);
        let mut words: Vec<&str> = vec!["--config", config.to_str().expect("text"), "build", "--distro", "debian", "--generic"];
        words.extend(["--release", "trixie", "--arch", "amd64", "--stop-after", "prune", "--root", root.to_str().expect("text")]);
        let with = with_its_base(name);
        words.extend(with.iter().flat_map(|feature| ["--with", *feature]));
        let last = file.rsplit('/').next().expect("a name");
        built(&words).bad(3, &[last, "which is not in the image", "drop.toml:2"]);
    }
}

#[test]
fn all_together_are_enabled_as_their_units_need_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let root = dir.path().join("root");
    let mut words: Vec<&str> = vec!["build", "--distro", "debian", "--generic", "--release", "trixie", "--arch", "amd64"];
    words.extend(["--format", "dir", "--output", root.to_str().expect("text")]);
    words.extend(FEATURES.iter().flat_map(|(name, _)| ["--with", *name]));
    let told = built(&words).good();
    // What firmware Debian's free packages lack is told with every image.
    let warnings: Vec<&str> =
        told.err.lines().filter(|line| line.contains("warning") && !line.contains("firmware files")).collect();
    assert_eq!(warnings, [""; 0], "{}", told.err);
    for link in [
        "etc/systemd/system/sysinit.target.wants/multipathd.service",
        "etc/systemd/system/sysinit.target.wants/systemd-networkd.service",
        "etc/systemd/system/network-online.target.wants/systemd-networkd-wait-online.service",
        "etc/systemd/system/initrd.target.wants/nvmf-autoconnect.service",
        "usr/lib/systemd/system-generators/network-root-generator",
        "usr/lib/mkinitrd-pkg/live-root",
        "usr/lib/mkinitrd-pkg/kdump-save",
        "etc/systemd/system/initrd.target.wants/mkinitrd-pkg-kdump-save.service",
        "etc/systemd/network/89-ethernet.network",
        "usr/bin/awk",
    ] {
        assert!(has(&root, link), "`{link}` is not there");
    }
    let kernel = fs::read_dir(root.join("usr/lib/modules")).expect("modules").next().expect("a kernel").expect("an entry").path();
    for module in [
        "raid1",
        "raid10",
        "raid456",
        "dm-multipath",
        "dm-thin-pool",
        "iscsi_tcp",
        "nfsv4",
        "nvme-tcp",
        "xfs",
        "f2fs",
        "bcache",
        "nbd",
    ] {
        let found = run(Command::new("find").arg(&kernel).args(["-name", &format!("{module}.ko*")]), "findutils");
        assert!(!found.is_empty(), "`{module}` is not there");
    }
}

#[test]
fn all_together_can_be_had_in_every_release() {
    for (release, arch) in [("bookworm", "amd64"), ("forky", "amd64"), ("sid", "amd64"), ("trixie", "arm64")] {
        let mut words: Vec<&str> = vec!["plan", "--distro", "debian", "--generic", "--release", release, "--arch", arch];
        words.extend(FEATURES.iter().flat_map(|(name, _)| ["--with", *name]));
        built(&words).good();
        // The slow tier fetches them all and looks for what is missing.
        if effort() > 1 {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let all: Vec<&str> = FEATURES.iter().map(|(name, _)| *name).collect();
            kept(release, arch, &all, &dir.path().join("root")).good();
        }
    }
}
