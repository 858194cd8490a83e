//! Alpine's packages of version 2, three segments each, and a signed index: no tool of Alpine's is in Debian, so tar, gzip and openssl make them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use base64::Engine;
use mkinitrd_pkg::base::digest::{Sha1, Sha256};

use super::content::{Contents, Entry, Package, Relation, split};
use super::{EPOCH_S, alpm, filter, keys, release, run, tar};

/// The name of the public key, which is part of every signature.
pub const KEY_NAME: &str = "fixture@example.invalid-5f3c0001.rsa.pub";
const ARCH: &str = "x86_64";
const PACKAGER: &str = "fixture <fixture@example.invalid>";
/// Of several that provide the same, the one with the most is taken.
const PRIORITIES: [(&str, u32); 2] = [("busybox-binsh", 60), ("bash", 50)];
/// Comes by itself when the others are there.
const INSTALL_IF: [(&str, &str); 1] = [("systemd-cryptsetup", "systemd cryptsetup")];
/// Package, paths that start its script, the script.
const TRIGGERS: [(&str, &str, &str); 2] = [
    ("kmod", "/usr/lib/modules/*", "#!/bin/sh\nfor dir in \"$@\"; do depmod \"${dir##*/}\"; done\nexit 0\n"),
    ("busybox", "/bin /usr/bin /sbin /usr/sbin", "#!/bin/sh\n/bin/busybox --install -s\nexit 0\n"),
];

/// Makes the repository in a directory: the packages and the index lie below the architecture.
pub fn make(mut contents: Contents, dir: &Path) {
    let list = Entry::file(release::applets(&contents), 0o644);
    let busybox = contents.packages.get_mut("busybox").expect("busybox");
    busybox.entries.insert("etc/busybox-paths.d/busybox".into(), list);
    busybox.fill_directories();
    fs::create_dir_all(dir.join(ARCH)).expect("a directory");
    fs::create_dir_all(dir.join("keys")).expect("a directory");
    let private = keys::rsa();
    run(
        Command::new("openssl").args(["rsa", "-pubout", "-in"]).arg(&private).arg("-out").arg(dir.join("keys").join(KEY_NAME)),
        "openssl",
    );
    let entries: Vec<String> = contents.packages.values().map(|package| build(&contents, package, &private, dir)).collect();
    let members = [own("DESCRIPTION", b"fixture", 0o644), own("APKINDEX", (entries.join("\n") + "\n").as_bytes(), 0o644)];
    let index = gzip(&tar::end(tar::write(&members)));
    fs::write(dir.join(ARCH).join("APKINDEX.tar.gz"), signed(&index, &private)).expect("writing");
}

fn own(name: &str, content: &[u8], mode: u32) -> tar::Member {
    let (user, group) = ("root".to_owned(), "root".to_owned());
    tar::Member {
        path: name.to_owned(),
        kind: b'0',
        mode,
        user,
        group,
        mtime_s: EPOCH_S,
        content: content.to_vec(),
        ..tar::Member::default()
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    filter(Command::new("gzip").args(["-n", "-9"]), bytes, "gzip")
}

/// Puts the segment with the signature before the one that is signed.
fn signed(segment: &[u8], private: &Path) -> Vec<u8> {
    let signature = filter(Command::new("openssl").args(["dgst", "-sha1", "-sign"]).arg(private), segment, "openssl");
    let member = own(&format!(".SIGN.RSA.{KEY_NAME}"), &signature, 0o644);
    [gzip(&tar::write(&[member])), segment.to_vec()].concat()
}

/// Digits and dots, one letter, a suffix, `-r` and a number; no epoch.
fn version(debian: &str) -> String {
    let (_, upstream, revision) = split(debian);
    // `257.13-1~deb13u1` of one is `257.13-r0` of the other.
    let end = upstream.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(upstream.len());
    let (mut numbers, rest) = (upstream[..end].trim_end_matches('.').to_owned(), &upstream[end..]);
    if numbers.is_empty() {
        numbers.push('0');
    }
    let mut letters = rest.chars();
    match (letters.next(), letters.next()) {
        (Some(letter), next) if letter.is_ascii_lowercase() && !next.is_some_and(|next| next.is_ascii_alphabetic()) => {
            numbers.push(letter)
        }
        _ => {}
    }
    // A date of a snapshot.
    let date = rest.split(|char: char| !char.is_ascii_digit()).find(|digits| digits.len() >= 6);
    let date = date.map(|date| format!("_p{date}")).unwrap_or_default();
    let digits = revision.find(|char: char| !char.is_ascii_digit()).unwrap_or(revision.len());
    let revision = revision.strip_prefix('r').unwrap_or(&revision[..digits]);
    format!("{numbers}{date}-r{}", if revision.is_empty() { "0" } else { revision })
}

fn depends(contents: &Contents, package: &Package) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    let is_known =
        |relation: &&Relation| contents.packages.contains_key(&relation.name) || relation.name == "initramfs-generator";
    for relation in package.requires.iter().filter_map(|group| group.iter().find(is_known)) {
        out.insert(match &relation.bound {
            Some((">=" | "=" | ">", debian)) if debian.contains('-') => format!("{}>={}", relation.name, version(debian)),
            _ => relation.name.clone(),
        });
    }
    for needed in &package.needs {
        if contents.homes.get(needed).is_some_and(|home| *home != package.name) {
            out.insert(format!("so:{needed}"));
        }
    }
    if package.interpreters.contains("sh") && package.name != "busybox" {
        out.insert("/bin/sh".into());
    }
    if package.interpreters.contains("bash") && package.name != "bash" {
        out.insert("cmd:bash".into());
    }
    let conflicts = package.conflicts.iter().filter(|relation| matches!(relation.bound, Some(("<", _))));
    out.extend(
        conflicts.map(|relation| format!("!{}<{}", relation.name, version(&relation.bound.as_ref().expect("a version").1))),
    );
    out
}

fn provides(package: &Package) -> BTreeSet<String> {
    let of_package = version(&package.version);
    let number = |soname: &str| {
        let number = soname.split_once(".so.").map_or("0", |(_, number)| number);
        if number.chars().all(|char| char.is_ascii_digit() || char == '.') { number.to_owned() } else { "0".to_owned() }
    };
    let mut out: BTreeSet<String> = package.sonames.iter().map(|soname| format!("so:{soname}={}", number(soname))).collect();
    let is_program =
        |path: &&String| path.strip_prefix("usr/bin/").or(path.strip_prefix("usr/sbin/")).is_some_and(|name| name != "[");
    for path in package.entries.keys().filter(is_program) {
        out.insert(format!("cmd:{}={of_package}", path.rsplit('/').next().expect("a name")));
    }
    out.extend(package.provides.iter().filter(|name| *name != "cmd:sh").cloned());
    out
}

/// Builds one package and returns its entry in the index.
fn build(contents: &Contents, package: &Package, private: &Path, dir: &Path) -> String {
    let mut members = alpm::members(package, b"");
    for member in members.iter_mut().filter(|member| matches!(member.kind, b'0' | b'2')) {
        let summed = if member.kind == b'2' { member.target.as_bytes() } else { &member.content };
        let sum = Sha1::of(summed).expect("no collision").iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        member.records.insert("APK-TOOLS.checksum.SHA1".into(), sum.into_bytes());
    }
    let data = gzip(&tar::end(tar::write(&members)));
    let (depends, provides, version) = (depends(contents, package), provides(package), version(&package.version));
    let arch = if package.is_any { "noarch" } else { ARCH };
    let priority = PRIORITIES.iter().find(|(name, _)| *name == package.name).map(|(_, priority)| priority.to_string());
    let condition = INSTALL_IF.iter().find(|(name, _)| *name == package.name).map(|(_, condition)| (*condition).to_owned());
    let trigger = TRIGGERS.iter().find(|(name, ..)| *name == package.name);
    let size = package.size_bytes().to_string();
    let mut info = String::from("# Generated by abuild 3.15.0\n");
    let fields: [(&str, Option<&str>); 14] = [
        ("pkgname", Some(&package.name)),
        ("pkgver", Some(&version)),
        ("pkgdesc", Some(&package.summary)),
        ("url", Some(&package.homepage)),
        ("builddate", Some(&EPOCH_S.to_string())),
        ("packager", Some(PACKAGER)),
        ("size", Some(&size)),
        ("arch", Some(arch)),
        ("origin", Some(&package.source)),
        ("maintainer", Some(PACKAGER)),
        ("license", Some("custom")),
        ("provider_priority", priority.as_deref()),
        ("install_if", condition.as_deref()),
        ("triggers", trigger.map(|(_, paths, _)| *paths)),
    ];
    for (key, value) in fields.iter().filter_map(|(key, value)| value.map(|value| (key, value))) {
        writeln!(info, "{key} = {value}").expect("memory");
    }
    depends.iter().for_each(|depend| writeln!(info, "depend = {depend}").expect("memory"));
    provides.iter().for_each(|provide| writeln!(info, "provides = {provide}").expect("memory"));
    writeln!(info, "datahash = {}", Sha256::of(&data)).expect("memory");
    let mut control = vec![own(".PKGINFO", info.as_bytes(), 0o644)];
    control.extend(trigger.map(|(_, _, script)| own(".trigger", script.as_bytes(), 0o755)));
    // Without the end of an archive: the data go on with it.
    let control = gzip(&tar::write(&control));
    let bytes = [signed(&control, private), data].concat();
    fs::write(dir.join(ARCH).join(format!("{}-{version}.apk", package.name)), &bytes).expect("writing");
    let identity = base64::engine::general_purpose::STANDARD.encode(Sha1::of(&control).expect("no collision"));
    let join = |set: &BTreeSet<String>| Some(set.iter().cloned().collect::<Vec<_>>().join(" ")).filter(|text| !text.is_empty());
    let entry: BTreeMap<usize, (char, Option<String>)> = [
        ('C', Some(format!("Q1{identity}"))),
        ('P', Some(package.name.clone())),
        ('V', Some(version)),
        ('A', Some(arch.to_owned())),
        ('S', Some(bytes.len().to_string())),
        ('I', Some(size)),
        ('T', Some(package.summary.clone())),
        ('U', Some(package.homepage.clone())),
        ('L', Some("custom".to_owned())),
        ('o', Some(package.source.clone())),
        ('m', Some(PACKAGER.to_owned())),
        ('t', Some(EPOCH_S.to_string())),
        ('k', priority),
        ('D', join(&depends)),
        ('p', join(&provides)),
        ('i', condition),
    ]
    .into_iter()
    .enumerate()
    .collect();
    entry.values().filter_map(|(key, value)| value.as_ref().map(|value| format!("{key}:{value}\n"))).collect()
}
