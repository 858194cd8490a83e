//! pacman's packages, packed as makepkg packs them, and a database by repo-add: of Arch Linux.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mkinitrd_pkg::base::digest::Sha256;
use mkinitrd_pkg::format::elf::Priority;

use super::content::{Contents, Kind, Package, Relation, split};
use super::keys::Signer;
use super::{EPOCH_S, filter, run, tar};

/// The name of the repository.
const DATABASE: &str = "core";
/// Who asks for these asks for sonames, as makepkg writes where the package says `provides=(libfoo.so)`.
const BY_SONAME: [&str; 6] = ["systemd-libs", "util-linux-libs", "kmod", "device-mapper", "cryptsetup", "libcap"];
const PACKAGER: &str = "fixture <fixture@example.invalid>";
const DEPMOD_HOOK: &str = "[Trigger]\nType = Path\nOperation = Install\nOperation = Upgrade\nOperation = Remove\n\
    Target = usr/lib/modules/*/\nTarget = !usr/lib/modules/*/?*\n\n[Action]\nDescription = Updating module dependencies...\n\
    When = PostTransaction\nExec = /bin/sh -c 'while read -r dir; do depmod \"$(basename \"$dir\")\"; done'\nNeedsTargets\n";

/// Makes the repository in a directory.
pub fn make(mut contents: Contents, dir: &Path) {
    let hook = super::content::Entry::file(DEPMOD_HOOK, 0o644);
    let kmod = contents.packages.get_mut("kmod").expect("kmod");
    kmod.entries.insert("usr/share/libalpm/hooks/60-depmod.hook".into(), hook);
    kmod.fill_directories();
    let signer = Signer::open();
    let mut made: Vec<PathBuf> = contents.packages.values().map(|package| build(&contents, package, dir)).collect();
    made.sort();
    made.iter().for_each(|file| signer.sign(file, false));
    signer.export(&dir.join("fixture.asc"));
    let database = dir.join(format!("{DATABASE}.db.tar.gz"));
    let mut repo_add = Command::new("repo-add");
    repo_add.arg("--quiet");
    // Version 7 leaves signatures out unless told, and 6 puts them in and knows no such option.
    if String::from_utf8_lossy(&run(Command::new("repo-add").arg("--help"), "makepkg")).contains("--include-sigs") {
        repo_add.arg("--include-sigs");
    }
    run(repo_add.arg(&database).args(&made), "makepkg");
    for kind in ["db", "files"] {
        let packed = dir.join(format!("{DATABASE}.{kind}.tar.gz"));
        let steady = steady(&packed);
        fs::write(&packed, &steady).expect("writing");
        let plain = dir.join(format!("{DATABASE}.{kind}"));
        let _ = fs::remove_file(&plain); // repo-add makes a link, and servers have a file
        fs::write(&plain, &steady).expect("writing");
        signer.sign(&plain, false);
    }
}

/// repo-add's entries have the time of day: writes the database again without.
fn steady(path: &Path) -> Vec<u8> {
    let raw = run(Command::new("gzip").arg("-dc").arg(path), "gzip");
    let mut members = tar::read(&raw);
    members.sort_by(|a, b| a.path.cmp(&b.path));
    members.iter_mut().for_each(|member| member.mtime_s = EPOCH_S);
    filter(Command::new("gzip").args(["-n", "-9"]), &tar::end(tar::write(&members)), "gzip")
}

/// `[EPOCH:]PKGVER-PKGREL`: no `-` and `~` in a version, and a number as release.
fn version(debian: &str) -> String {
    let (epoch, upstream, revision) = split(debian);
    let epoch = if epoch.is_empty() { String::new() } else { format!("{epoch}:") };
    let numbers: Vec<&str> = revision.split(|char: char| !char.is_ascii_digit()).filter(|number| !number.is_empty()).collect();
    let first = numbers.first().copied().filter(|number| *number != "0").unwrap_or("1");
    let last = numbers.last().filter(|_| numbers.len() > 1).map(|number| format!(".{number}")).unwrap_or_default();
    let plain = |char: char| if char.is_ascii_alphanumeric() || "._+".contains(char) { char } else { '_' };
    format!("{epoch}{}-{first}{last}", upstream.chars().map(plain).collect::<String>())
}

/// `libudev.so.1` is `libudev.so=1-64`.
fn soname(soname: &str) -> String {
    match soname.split_once(".so.") {
        Some((name, version)) => format!("{name}.so={version}-64"),
        None => soname.to_owned(),
    }
}

fn depends(contents: &Contents, package: &Package) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut depends, mut optional) = (BTreeSet::new(), BTreeSet::new());
    let wanted = |wanted: &Relation| {
        let Some((operator, debian)) = &wanted.bound else { return wanted.name.clone() };
        // A version without a revision says nothing of the release.
        let version = version(debian);
        let version = if debian.contains('-') { &version[..] } else { version.rsplit_once('-').expect("a release").0 };
        format!("{}{operator}{version}", wanted.name)
    };
    // `linux` wants an `initramfs`, which is no package.
    let is_known = |relation: &&Relation| contents.packages.contains_key(&relation.name) || relation.name == "initramfs";
    depends.extend(package.requires.iter().filter_map(|group| group.iter().find(is_known)).map(wanted));
    optional.extend(package.recommends.iter().filter_map(|group| group.iter().find(is_known)).map(wanted));
    for needed in &package.needs {
        match contents.homes.get(needed) {
            Some(home) if BY_SONAME.contains(&home.as_str()) && home != &package.name => drop(depends.insert(soname(needed))),
            Some(home) if home != &package.name => drop(depends.insert(home.clone())),
            _ => {}
        }
    }
    for (sonames, priority) in &package.dlopens {
        let home = sonames.iter().find_map(|soname| contents.homes.get(soname)).filter(|home| **home != package.name);
        let out = if *priority == Priority::Required { &mut depends } else { &mut optional };
        out.extend(home.cloned());
    }
    for interpreter in
        package.interpreters.iter().filter(|name| ["sh", "bash"].contains(&name.as_str()) && package.name != "bash")
    {
        depends.insert(interpreter.clone());
    }
    optional.retain(|name| !depends.contains(name));
    (depends, optional)
}

/// Writes `.PKGINFO`.
fn info(contents: &Contents, package: &Package) -> String {
    let mut out = String::from("# Generated by makepkg 6.0.2\n# using fakeroot version 1.31\n");
    let mut say = |key: &str, value: &str| writeln!(out, "{key} = {value}").expect("memory");
    say("pkgname", &package.name);
    say("pkgbase", &package.source);
    say("xdata", "pkgtype=pkg");
    say("pkgver", &version(&package.version));
    say("pkgdesc", &package.summary);
    say("url", &package.homepage);
    say("builddate", &EPOCH_S.to_string());
    say("packager", PACKAGER);
    say("size", &package.size_bytes().to_string());
    say("arch", if package.is_any { "any" } else { "x86_64" });
    say("license", "custom");
    if package.is_essential {
        say("group", "base");
    }
    for relation in &package.conflicts {
        let (operator, debian) = relation.bound.as_ref().expect("conflicts have versions");
        say("conflict", &format!("{}{operator}{}", relation.name, version(debian)));
    }
    package.provides.iter().for_each(|name| say("provides", name));
    if package.name == "bash" {
        say("provides", "sh");
    }
    if BY_SONAME.contains(&package.name.as_str()) {
        package.sonames.iter().for_each(|name| say("provides", &soname(name)));
    }
    package.entries.iter().filter(|(_, entry)| entry.is_config).for_each(|(path, _)| say("backup", path));
    let (depends, optional) = depends(contents, package);
    depends.iter().for_each(|name| say("depend", name));
    optional.iter().for_each(|name| say("optdepend", &format!("{name}: recommended")));
    out
}

/// Builds one package and returns its file.
fn build(contents: &Contents, package: &Package, dir: &Path) -> PathBuf {
    let info = info(contents, package);
    let own = |name: &str, content: &[u8]| tar::Member {
        path: name.to_owned(),
        kind: b'0',
        mode: 0o644,
        user: "root".into(),
        group: "root".into(),
        mtime_s: EPOCH_S,
        content: content.to_vec(),
        ..tar::Member::default()
    };
    let build_info = format!(
        "format = 2\npkgname = {}\npkgbase = {}\npkgver = {}\npkgarch = {}\npkgbuild_sha256sum = {}\npackager = {PACKAGER}\nbuilddate = {EPOCH_S}\n\
         builddir = /build\nstartdir = /startdir\nbuildtool = makepkg\nbuildtoolver = 6.0.2\n",
        package.name,
        package.source,
        version(&package.version),
        if package.is_any { "any" } else { "x86_64" },
        Sha256::of(info.as_bytes()),
    );
    let mut first = vec![own(".BUILDINFO", build_info.as_bytes())];
    let mut last = vec![own(".PKGINFO", info.as_bytes())];
    if package.name == "glibc" {
        first.push(own(".INSTALL", b"post_install() {\n  :\n}\n\npost_upgrade() {\n  post_install\n}\n"));
    }
    last.extend(members(package, b""));
    // As makepkg does: bsdtar describes all, and then packs all with the description.
    let all = tar::end(tar::write(&described(&[first.clone(), last.clone()].concat())));
    let options = "--options=!all,use-set,type,uid,gid,mode,time,size,md5,sha256,link";
    let mtree = filter(Command::new("bsdtar").args(["-cf", "-", "--format=mtree", options, "@-"]), &all, "libarchive-tools");
    let mtree = filter(Command::new("gzip").args(["-c", "-f", "-n"]), &mtree, "gzip");
    first.push(own(".MTREE", &mtree));
    let all = tar::end(tar::write(&[first, last].concat()));
    let packed = filter(Command::new("bsdtar").args(["-cf", "-", "@-"]), &all, "libarchive-tools");
    let packed = filter(Command::new("zstd").args(["-c", "-q", "-T1", "-9", "-"]), &packed, "zstd");
    let arch = if package.is_any { "any" } else { "x86_64" };
    let to = dir.join(format!("{}-{}-{arch}.pkg.tar.zst", package.name, version(&package.version)));
    fs::write(&to, packed).expect("writing");
    to
}

/// Returns members as the list describes them: every name of a file has its content there, as bsdtar sees it on disk.
fn described(members: &[tar::Member]) -> Vec<tar::Member> {
    let file = |path: &str| members.iter().find(|member| member.path == path).expect("the file of a hard link");
    let member = |member: &tar::Member| match member.kind {
        b'1' => tar::Member { path: member.path.clone(), records: BTreeMap::new(), ..file(&member.target).clone() },
        _ => member.clone(),
    };
    members.iter().map(member).collect()
}

/// Returns the files as members of an archive, below `prefix`.
pub fn members(package: &Package, prefix: &[u8]) -> Vec<tar::Member> {
    let prefix = std::str::from_utf8(prefix).expect("text");
    let (links, rest): (Vec<_>, Vec<_>) = package.entries.iter().partition(|(_, entry)| matches!(entry.kind, Kind::Hardlink(_)));
    let member = |(path, entry): &(&String, &super::content::Entry)| {
        let (kind, target, content, end) = match &entry.kind {
            Kind::Dir => (b'5', String::new(), Vec::new(), "/"),
            Kind::File(content) => (b'0', String::new(), content.to_vec(), ""),
            Kind::Symlink(target) => (b'2', target.clone(), Vec::new(), ""),
            Kind::Hardlink(target) => (b'1', format!("{prefix}{target}"), Vec::new(), ""),
        };
        let records = entry.capability.map(|text| ("SCHILY.xattr.security.capability".to_owned(), capability(text)));
        let records: BTreeMap<String, Vec<u8>> = records.into_iter().collect();
        let (path, mode, mtime_s) = (format!("{prefix}{path}{end}"), entry.mode, entry.mtime_s);
        let (user, group) = ("root".to_owned(), entry.group.clone());
        tar::Member { path, kind, mode, uid: 0, gid: entry.gid, user, group, mtime_s, target, content, records }
    };
    // A hard link comes behind its file.
    rest.iter().chain(&links).map(member).collect()
}

/// `struct vfs_cap_data`, revision 2, with the one capability that there is.
fn capability(text: &str) -> Vec<u8> {
    assert_eq!(text, "cap_net_raw=ep");
    let words: [u32; 5] = [0x0200_0001, 1 << 13, 0, 0, 0];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}
