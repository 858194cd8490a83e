//! The tree that we unpack from a repository against the root that dnf or pacman installs from it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};

use mkinitrd_pkg::base::digest::Sha256;
use mkinitrd_pkg::base::glob::Glob;
use mkinitrd_pkg::family;
use mkinitrd_pkg::package::{Location, Package};
use mkinitrd_pkg::report::Silent;
use mkinitrd_pkg::tree::{Kind, TreePath};
use mkinitrd_pkg::unpack::{Input, Layout, Remark, Source, unpack};

use crate::installed::{self, Listing, file};
use crate::repositories::{Family, Set, repository};
use crate::requests::{Planned, plan};

const MINI: [&str; 6] = ["kmod", "bash", "busybox", "e2fsprogs", "iputils", "filesystem"];

/// Links instead of directories, as the distributions' profiles have them; what else is one, the packages say.
fn layout(family: Family) -> Layout {
    let (sbin, lib64) = match family {
        Family::Fedora => ("usr/bin", "usr/lib64"),
        Family::Arch => ("usr/bin", "usr/lib"),
        Family::Opensuse | Family::Alpine => ("usr/sbin", "usr/lib64"),
    };
    let links = [("bin", "usr/bin"), ("sbin", sbin), ("lib", "usr/lib"), ("lib64", lib64)];
    Layout::new(links.map(|(link, target)| (TreePath::literal(link), TreePath::literal(target))), [])
}

/// Unpacks a plan by our unpack stage, and lists the tree; what its policy takes away is told in notes, and counts.
fn ours(family: Family, planned: &[Planned]) -> Listing {
    let reader = match family {
        Family::Fedora | Family::Opensuse => "rpm",
        Family::Arch => "alpm",
        Family::Alpine => "apk",
    };
    let packages: Vec<Package> = planned.iter().map(package).collect();
    let opens: Vec<_> =
        planned.iter().map(|one| move || Ok(Box::new(fs::File::open(&one.file)?) as Box<dyn Read + Send>)).collect();
    let open = |index: usize| &opens[index] as &(dyn Fn() -> io::Result<Box<dyn Read + Send>> + Sync);
    let inputs: Vec<Input<'_>> = packages
        .iter()
        .enumerate()
        .map(|(i, package)| Input { package, index: i as u32, source: Source::File(open(i)) })
        .collect();
    let reader = family::by_name(reader).expect("a family");
    let unpacked = unpack(&inputs, reader, &layout(family), &|_, _| true, None, 2, &Silent).expect("it unpacks");
    let (mut modes, mut capabilities) = (BTreeMap::new(), BTreeMap::new());
    for note in &unpacked.notes {
        match &note.remark {
            Remark::SetId { mode } => drop(modes.insert(note.path.clone(), *mode)),
            Remark::Capabilities(text) => drop(capabilities.insert(note.path.clone(), text.clone())),
            other => panic!("{}: {other}", note.path),
        }
    }
    let plain = |path: &TreePath| path.to_string().trim_start_matches('/').to_owned();
    let mut names: BTreeMap<(usize, usize), Vec<String>> = BTreeMap::new();
    for (path, entry) in unpacked.tree.iter() {
        if let Some(identity) = entry.content().and_then(|content| content.identity()) {
            names.entry(identity).or_default().push(plain(path));
        }
    }
    let line = |(path, entry): (&TreePath, &mkinitrd_pkg::tree::Entry)| {
        let (owner, mode) =
            (format!("{}:{}", entry.meta.uid, entry.meta.gid), modes.get(path).copied().unwrap_or(entry.meta.mode));
        let text = match &entry.kind {
            Kind::Dir => format!("d {mode:04o} {owner}"),
            Kind::Symlink(target) => format!("l {owner} -> {}", String::from_utf8_lossy(target)),
            Kind::File(content) => {
                let own = vec![plain(path)];
                let same = content.identity().map_or(&own, |identity| &names[&identity]);
                let same: Vec<&str> = same.iter().map(String::as_str).collect();
                let capability = capabilities.get(path).map_or("", String::as_str);
                file(mode, &owner, &content.len().to_string(), &Sha256::of(content.bytes()).to_string(), &same, capability)
            }
            other => panic!("{path}: {other:?}"),
        };
        (plain(path), text)
    };
    unpacked.tree.iter().filter(|(path, _)| !path.is_root()).map(line).collect()
}

fn package(planned: &Planned) -> Package {
    let bytes = fs::read(&planned.file).expect("the package");
    Package {
        name: planned.name.clone(),
        version: planned.version.clone(),
        arch: planned.arch.clone(),
        repo: "fixture".into(),
        location: Location::File(planned.file.clone()),
        sha256: Sha256::of(&bytes),
        size_bytes: bytes.len() as u64,
        proof: None,
        seal: None,
        installed_bytes: 0,
        source: String::new(),
        rank: 0,
        requires: Vec::new(),
        recommends: Vec::new(),
        provides: Vec::new(),
        conflicts: Vec::new(),
    }
}

/// Compares two listings but for a table of globs, each with a reason; a line of it that nothing needs is a fault, too.
fn compare(name: &str, ours: &Listing, theirs: &Listing, table: &str) {
    let rows: Vec<(Glob, &str)> = table
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once('\t').unwrap_or_else(|| panic!("`{line}`: wanted a glob and a reason")))
        .map(|(glob, reason)| (Glob::new(glob).expect("a pattern"), reason))
        .collect();
    let (mut used, mut open) = (BTreeSet::new(), Vec::new());
    let paths: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    for path in paths.into_iter().filter(|path| ours.get(*path) != theirs.get(*path)) {
        match rows.iter().position(|(glob, _)| glob.matches(path.as_bytes())) {
            Some(row) => drop(used.insert(row)),
            None => open.push(format!("{path}\n  ours   {:?}\n  theirs {:?}", ours.get(path), theirs.get(path))),
        }
    }
    println!("{name}: {} paths, {} rows of the table", ours.len(), rows.len());
    assert!(open.is_empty(), "{name}: {} differences without a reason:\n{}", open.len(), open.join("\n"));
    let idle: Vec<&str> =
        rows.iter().enumerate().filter(|(row, _)| !used.contains(row)).map(|(_, (_, reason))| *reason).collect();
    assert!(idle.is_empty(), "{name}: rows that nothing needs: {idle:?}");
}

/// Compares what we and a tool make of the same request, which must be the same packages.
fn parity(family: Family, set: Set, request: &[&str], table: &str) {
    let repository = repository(family, set);
    let planned = plan(&repository, request);
    let theirs = match family {
        Family::Fedora | Family::Opensuse => installed::dnf(&repository, request),
        Family::Arch => installed::pacman(&repository, request),
        Family::Alpine => {
            println!("NOT RUN: parity with apk, which no release of Debian has: tar unpacks the same packages instead");
            let files: Vec<String> = planned.iter().map(|one| one.file.display().to_string()).collect();
            installed::tar(&files.iter().map(String::as_str).collect::<Vec<_>>())
        }
    };
    compare(&format!("{family:?}, {set:?}"), &ours(family, &planned), &theirs, table);
}

#[test]
fn fedora_is_what_dnf_installs() {
    let request = [&MINI[..], &["glibc-common"]].concat();
    parity(Family::Fedora, Set::Mini, &request, include_str!("../parity/fedora-mini.tsv"));
}

#[test]
fn opensuse_is_what_dnf_installs() {
    parity(Family::Opensuse, Set::Mini, &MINI, include_str!("../parity/opensuse-mini.tsv"));
}

#[test]
fn arch_is_what_pacman_installs() {
    parity(Family::Arch, Set::Mini, &MINI, include_str!("../parity/arch-mini.tsv"));
}

#[test]
fn alpine_is_what_tar_unpacks() {
    let request = ["kmod", "bash", "busybox", "busybox-binsh", "e2fsprogs", "iputils-ping", "alpine-base"];
    parity(Family::Alpine, Set::Mini, &request, include_str!("../parity/alpine-mini.tsv"));
}

/// What initrds of systemd are made of.
#[test]
fn systems_are_what_dnf_and_pacman_install() {
    let common = ["systemd", "kmod", "bash", "coreutils", "lvm2", "device-mapper", "mdadm", "e2fsprogs", "util-linux", "less"];
    for (family, more, table) in [
        (
            Family::Fedora,
            &["systemd-udev", "cryptsetup", "btrfs-progs", "dbus-daemon"][..],
            include_str!("../parity/fedora-system.tsv"),
        ),
        (Family::Opensuse, &["udev", "libcryptsetup12", "libtss2-esys0"], include_str!("../parity/opensuse-system.tsv")),
        (Family::Arch, &["cryptsetup", "dbus", "tpm2-tss"], include_str!("../parity/arch-system.tsv")),
        (Family::Alpine, &[], include_str!("../parity/alpine-system.tsv")),
    ] {
        let common = if family == Family::Alpine { &ALPINE_SYSTEM[..] } else { &common[..] };
        parity(family, Set::System, &[common, more].concat(), table);
    }
}

const ALPINE_SYSTEM: [&str; 8] = ["kmod", "bash", "busybox", "busybox-binsh", "e2fsprogs", "lvm2", "cryptsetup", "btrfs-progs"];
