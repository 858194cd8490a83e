//! `.pkg.tar.*` files, against bsdtar on real packages, and damaged ones.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use mkinitrd_pkg::base::digest::Sha256;
use mkinitrd_pkg::family::alpm::index::AlpmCatalog;
use mkinitrd_pkg::family::alpm::{Alpm, read};
use mkinitrd_pkg::family::repo::Index;
use mkinitrd_pkg::family::{Family, Member, MemberKind, ReadError};
use mkinitrd_pkg::package::{Catalog, Location};
use mkinitrd_pkg::tree::TreePath;

use crate::alpm::fixtures;
use crate::archive::run;

/// Path to everything that is known of it, in the words of mtree(5).
type Listing = BTreeMap<String, String>;

/// Lists a package as bsdtar sees it, without what is at its root with a dot, which pacman does not install.
fn oracle(package: &Path) -> (Listing, Vec<String>) {
    let fields = "mtree:!all,mtree:type,mtree:mode,mtree:uid,mtree:gid,mtree:size,mtree:time,mtree:link,mtree:sha256";
    let at = [b"@", package.as_os_str().as_encoded_bytes()].concat();
    let at = std::str::from_utf8(&at).expect("a path in UTF-8").to_owned();
    let mut bsdtar = Command::new("bsdtar");
    let text = run("libarchive-tools", bsdtar.args(["-cf", "-", "--format=mtree", "--options", fields, &at]));
    let text = String::from_utf8(text).expect("text");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.starts_with("./.") && !line.starts_with("/set"));
    let listing = lines.map(|line| {
        let mut words = line.split(' ');
        let name = words.next().expect("a name").to_owned();
        // Fractions of a second are not kept.
        let whole = |word: &str| {
            word.strip_prefix("time=").map_or(word.to_owned(), |time| format!("time={}", time.split('.').next().expect("a part")))
        };
        let mut fields: Vec<String> = words.filter(|word| !word.is_empty()).map(whole).collect();
        fields.sort();
        (name, fields.join(" "))
    });
    let verbose = run("libarchive-tools", Command::new("bsdtar").arg("-tvf").arg(package));
    let verbose = String::from_utf8(verbose).expect("text");
    let links = verbose.lines().filter(|line| line.starts_with('h')).map(str::to_owned);
    (listing.collect(), links.collect())
}

/// Lists what we read of a package in the same words, and its hard links.
fn ours(bytes: &[u8]) -> Result<(Listing, Vec<(String, String)>), ReadError> {
    let (mut listing, mut links) = (Listing::new(), Vec::new());
    Alpm.read(&mut &*bytes, &mut |member, data| {
        if let MemberKind::Hardlink(target) = &member.kind {
            let plain = |path: &TreePath| String::from_utf8_lossy(path.as_bytes()).into_owned();
            links.push((plain(&member.path), plain(target)));
        }
        let (name, line) = describe(member, data)?;
        assert!(listing.insert(name, line).is_none());
        Ok(())
    })?;
    Ok((listing, links))
}

fn describe(member: Member, data: &mut dyn Read) -> Result<(String, String), ReadError> {
    let meta = member.meta;
    let mut fields = vec![format!("gid={}", meta.gid), format!("uid={}", meta.uid), format!("mode={:o}", meta.mode)];
    fields.push(format!("time={}", meta.mtime_s));
    match member.kind {
        MemberKind::Dir => fields.push("type=dir".into()),
        MemberKind::Symlink(target) => fields.extend(["type=link".into(), format!("link={}", escaped(&target))]),
        // This is how bsdtar writes a hard link: as a file without content.
        MemberKind::Hardlink(_) => fields.extend(["type=file".into(), "size=0".into()]),
        MemberKind::File(size) => {
            let mut content = Vec::new();
            data.read_to_end(&mut content)?;
            assert_eq!(content.len() as u64, size);
            fields.extend(["type=file".into(), format!("size={size}"), format!("sha256digest={}", Sha256::of(&content))]);
        }
        other => panic!("{other:?} in a package"),
    }
    fields.sort();
    Ok((format!("./{}", escaped(member.path.as_bytes())), fields.join(" ")))
}

/// Escapes as mtree(5) does: three octal digits.
fn escaped(name: &[u8]) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'#' | b'=' | b'*' | b'?');
    name.iter().map(|byte| if plain(*byte) { (*byte as char).to_string() } else { format!("\\{byte:03o}") }).collect()
}

fn packages(fixtures: &Path) -> Vec<PathBuf> {
    let dirs = ["alpm-pkg/arch-2017", "alpm-pkg/arcolinux-zst", "converted/trixie-mini/alpm"];
    let files = dirs.iter().flat_map(|dir| fs::read_dir(fixtures.join(dir)).expect("packages"));
    let is_package = |path: &PathBuf| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        name.contains(".pkg.tar.") && !name.ends_with(".sig")
    };
    let mut files: Vec<PathBuf> = files.map(|entry| entry.expect("an entry").path()).filter(is_package).collect();
    files.sort();
    files
}

#[test]
fn every_package_reads_as_bsdtar_reads_it() {
    let Some(fixtures) = fixtures() else { return };
    let packages = packages(&fixtures);
    let (mut members, mut hard_links) = (0, 0);
    for package in &packages {
        let bytes = fs::read(package).expect("a package");
        let (found, links) = ours(&bytes).unwrap_or_else(|err| panic!("{}: {err}", package.display()));
        let (expected, expected_links) = oracle(package);
        assert_eq!(found, expected, "{}", package.display());
        assert_eq!(links.len(), expected_links.len(), "{}", package.display());
        for (name, target) in &links {
            let end = format!(" {name} link to {target}");
            assert!(expected_links.iter().any(|line| line.ends_with(&end)), "{}:{end}", package.display());
        }
        members += found.len();
        hard_links += links.len();
    }
    println!("{} packages, {members} members, {hard_links} of them hard links", packages.len());
    assert!(packages.len() >= 94 && hard_links > 1000, "{} packages, {hard_links} hard links", packages.len());
}

#[test]
fn packages_are_the_ones_that_their_database_names() {
    let Some(fixtures) = fixtures() else { return };
    let dir = fixtures.join("converted/trixie-mini/alpm");
    let database = fs::read(dir.join("core.db")).expect("a database");
    let catalog = AlpmCatalog::new("x86_64", vec![Index::new("core", Location::File(dir.clone()), database)]).expect("a catalog");
    for id in 0..catalog.len() as u32 {
        let package = catalog.package(id).expect("an entry");
        let Location::File(file) = &package.location else { panic!("{:?}", package.location) };
        let bytes = fs::read(file).expect("the package that its entry names");
        assert_eq!((Sha256::of(&bytes), bytes.len() as u64), (package.sha256, package.size_bytes), "{}", package.name);
        Alpm.read_as(&package, &mut &bytes[..], &mut |_, _| Ok(())).expect("the package itself");
        let other = mkinitrd_pkg::package::Package { version: "0-1".into(), ..package };
        let err = Alpm.read_as(&other, &mut &bytes[..], &mut |_, _| panic!("nothing is visited")).expect_err("another version");
        assert!(matches!(err, ReadError::Mismatch { field: "version", .. }), "{err}");
    }
    assert_eq!(catalog.len(), 24);
}

// ---- damage ---------------------------------------------------------------------------------------------------------

/// A directory with what becomes a package.
struct Recipe {
    dir: tempfile::TempDir,
}

impl Recipe {
    /// Makes the files of a small package with its list, by the tool and the options that makepkg uses.
    fn new() -> Self {
        let recipe = Self { dir: tempfile::tempdir().expect("a temporary directory") };
        recipe.write(".PKGINFO", b"pkgname = toy\npkgver = 1:2-3\npackager = Unknown Packager\narch = any\n");
        recipe.write(".INSTALL", b"post_install() { false; }\n");
        recipe.write("usr/bin/toy", b"#!/bin/sh\n");
        recipe.write("usr/share/a name", b"content");
        std::os::unix::fs::symlink("toy", recipe.path("usr/bin/link")).expect("linking");
        fs::hard_link(recipe.path("usr/bin/toy"), recipe.path("usr/bin/twin")).expect("linking");
        recipe.list();
        recipe
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(&path, content).expect("writing");
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("chmod");
    }

    fn bsdtar(&self, args: &[&str]) -> Vec<u8> {
        let mut bsdtar = Command::new("bsdtar");
        run("libarchive-tools", bsdtar.current_dir(self.dir.path()).args(["--uid", "0", "--gid", "0"]).args(args))
    }

    fn list(&self) {
        let options = "!all,use-set,type,uid,gid,mode,time,size,md5,sha256,link";
        let list = self.bsdtar(&["-czf", "-", "--format=mtree", "--options", options, ".PKGINFO", ".INSTALL", "usr"]);
        self.write(".MTREE", &list);
    }

    fn pack(&self, members: &[&str]) -> Vec<u8> {
        self.bsdtar(&[&["-cf", "-", "--format=pax"][..], members].concat())
    }
}

const MEMBERS: [&str; 4] = [".INSTALL", ".MTREE", ".PKGINFO", "usr"];

#[test]
fn a_package_is_refused_when_its_list_says_something_else() {
    type Harm = fn(&Recipe);
    let cases: [(&str, Harm); 9] = [
        ("`/usr/share/a name` differs from `.MTREE` in its SHA-256: ", |recipe| {
            let time = fs::metadata(recipe.path("usr/share/a name")).and_then(|meta| meta.modified()).expect("a time");
            recipe.write("usr/share/a name", b"Content");
            let file = fs::File::options().write(true).open(recipe.path("usr/share/a name")).expect("a file");
            file.set_modified(time).expect("setting the time");
        }),
        ("`/usr/bin/toy` differs from `.MTREE` in its permissions: 4755, wanted 0644", |recipe| {
            fs::set_permissions(recipe.path("usr/bin/toy"), fs::Permissions::from_mode(0o4755)).expect("chmod");
        }),
        ("`/usr/bin/toy` differs from `.MTREE` in its time: 0, wanted ", |recipe| {
            let file = fs::File::options().write(true).open(recipe.path("usr/bin/toy")).expect("a file");
            file.set_modified(std::time::UNIX_EPOCH).expect("setting the time");
        }),
        ("`.MTREE` lists `/usr/bin/twin`, which is not in the package", |recipe| {
            let dir = recipe.path("usr/bin");
            let time = fs::metadata(&dir).and_then(|meta| meta.modified()).expect("a time");
            fs::remove_file(recipe.path("usr/bin/twin")).expect("removing");
            fs::File::open(dir).and_then(|dir| dir.set_modified(time)).expect("setting the time");
        }),
        ("`/usr/more` is in the package, and `.MTREE` does not list it", |recipe| {
            let dir = recipe.path("usr");
            let time = fs::metadata(&dir).and_then(|meta| meta.modified()).expect("a time");
            recipe.write("usr/more", b"");
            fs::File::open(dir).and_then(|dir| dir.set_modified(time)).expect("setting the time");
        }),
        ("there is no `.PKGINFO` before the files", |recipe| {
            fs::rename(recipe.path(".PKGINFO"), recipe.path("usr/.PKGINFO")).expect("moving")
        }),
        ("`.PKGINFO` has no field `pkgver`", |recipe| recipe.write(".PKGINFO", b"pkgname = toy\n")),
        ("line 1 of `.MTREE` has a malformed `mode`", |recipe| recipe.write(".MTREE", b"./usr mode=rwx")),
        ("the gzip data is truncated", |recipe| {
            let list = fs::read(recipe.path(".MTREE")).expect("a list");
            recipe.write(".MTREE", &list[..list.len() - 9]);
        }),
    ];
    for (wanted, harm) in cases {
        let recipe = Recipe::new();
        let good = recipe.pack(&MEMBERS);
        assert_eq!(ours(&good).expect("a good package").0.len(), 7);
        harm(&recipe);
        let members: Vec<&str> = MEMBERS.into_iter().filter(|name| recipe.path(name).exists()).collect();
        let err = ours(&recipe.pack(&members)).expect_err(wanted);
        let because = std::error::Error::source(&err).map(|source| source.to_string()).unwrap_or_default();
        assert!(format!("{err} {because}").contains(wanted), "wanted {wanted}, got {err} {because}");
    }
}

#[test]
fn a_package_is_known_before_anything_of_it_is_seen() {
    let recipe = Recipe::new();
    let late = recipe.pack(&["usr", ".PKGINFO", ".MTREE", ".INSTALL"]);
    assert_eq!(ours(&late).expect_err("too late").to_string(), "there is no `.PKGINFO` before the files");
    assert!(read::info(&mut &late[..]).is_err());
    let info = read::info(&mut &recipe.pack(&MEMBERS)[..]).expect("a good package");
    assert_eq!((&*info.name, &*info.version, &*info.arch), ("toy", "1:2-3", "any"));
    // Packages of the time before lists are taken.
    assert_eq!(ours(&recipe.pack(&[".PKGINFO", "usr"])).expect("a good package").0.len(), 7);
}

#[test]
fn every_compression_of_makepkg_is_read() {
    let recipe = Recipe::new();
    let plain = recipe.pack(&MEMBERS);
    recipe.write("plain.tar", &plain);
    let expected = ours(&plain).expect("a good package");
    for (tool, args) in [("gzip", &["-c"][..]), ("xz", &["-c"]), ("zstd", &["-c", "--ultra", "-20"]), ("bzip2", &["-c"])] {
        let bytes = run(tool, Command::new(tool).args(args).arg(recipe.path("plain.tar")));
        assert_eq!(ours(&bytes).unwrap_or_else(|err| panic!("{tool}: {err}")), expected, "{tool}");
    }
}

#[test]
fn e08_a_truncated_package_is_refused_wherever_it_ends() {
    let Some(fixtures) = fixtures() else { return };
    for name in [
        "alpm-pkg/arch-2017/pambase-20171006-1-any.pkg.tar.xz",
        "converted/trixie-mini/alpm/iputils-3:20240905-3-x86_64.pkg.tar.zst",
    ] {
        let bytes = fs::read(fixtures.join(name)).expect("a package");
        for end in (0..bytes.len()).step_by(256).chain([bytes.len() - 1]) {
            assert!(ours(&bytes[..end]).is_err(), "{name} ends at byte {end}");
        }
    }
}

#[test]
fn e09_a_flipped_bit_never_gives_another_package() {
    let Some(fixtures) = fixtures() else { return };
    let bytes = fs::read(fixtures.join("alpm-pkg/arch-2017/pambase-20171006-1-any.pkg.tar.xz")).expect("a package");
    let plain =
        run("xz-utils", Command::new("xz").arg("-dc").arg(fixtures.join("alpm-pkg/arch-2017/pambase-20171006-1-any.pkg.tar.xz")));
    for (form, bytes) in [("xz", bytes), ("tar", plain)] {
        let expected = ours(&bytes).expect("a good package");
        let (mut number, mut refused) = (1_u64, 0);
        for _ in 0..1500 {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (at, bit) = ((number >> 33) as usize % bytes.len(), number >> 20 & 7);
            let mut harmed = bytes.clone();
            harmed[at] ^= 1 << bit;
            match ours(&harmed) {
                Ok(found) => assert_eq!(found, expected, "{form}: bit {bit} of byte {at}"),
                Err(_) => refused += 1,
            }
        }
        assert!(refused > 500, "{form}: {refused} refused");
    }
}
