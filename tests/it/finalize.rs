//! Finalizers on trixie's packages, against the programs that they stand in for.

use std::fs;
use std::process::Command;

use mkinitrd_pkg::config::{Item, Source};
use mkinitrd_pkg::finalize::check::{Expected, Finding, Severity, check, machine_of};
use mkinitrd_pkg::finalize::{Applied, Context, Options, finalize};
use mkinitrd_pkg::report::Silent;
use mkinitrd_pkg::tree::{Tree, TreePath};

use crate::trixie::{roots, run};

/// Reads the `[finalize]` section of the profile that all systemd initrds share.
pub fn profile() -> (Vec<Item>, Options) {
    const FILE: &str = "distro-profiles/initrd.toml";
    let text = fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE)).expect(FILE);
    let table: toml::Table = text.parse().expect("TOML");
    let section = table["finalize"].as_table().expect("a section");
    let items = |value: &toml::Value| -> Vec<Item> {
        let words = value.as_array().expect("a list").iter().map(|word| word.as_str().expect("a word").to_owned());
        words.map(|text| Item { text, source: Source { file: FILE.into(), line: 0 } }).collect()
    };
    let options = Options {
        users: items(&section["users"]["add"]),
        install: Vec::new(),
        enable: Vec::new(),
        masks: items(&section["masks"]["add"]),
        emergency: section["emergency"].as_str().expect("a policy").parse().expect("a policy"),
        locale: None,
    };
    (items(&section["add"]), options)
}

/// Applies the profile.
pub fn apply_profile(tree: &mut Tree) -> Applied {
    let (steps, options) = profile();
    finalize(tree, &steps, &Context { options: &options, time_s: 1_700_000_000, host_ids: None }, &Silent)
        .expect("the profile's steps")
}

fn apply(tree: &mut Tree, step: &str) {
    let context = Context { options: &Options::default(), time_s: 1_700_000_000, host_ids: None };
    finalize(tree, &[Item::from_command_line(step)], &context, &Silent).expect(step);
}

fn path(text: &str) -> TreePath {
    TreePath::literal(text)
}

fn text(tree: &Tree, at: &str) -> String {
    String::from_utf8(tree.read(&path(at)).expect(at).bytes().to_vec()).expect("text")
}

const FEATURES: [&str; 3] = ["luks", "tpm2", "fido2"];

fn findings(tree: &Tree) -> Vec<Finding> {
    let features = FEATURES.map(str::to_owned);
    let machine = machine_of(run(Command::new("dpkg").arg("--print-architecture"), "dpkg").trim());
    check(tree, &Expected { machine, kernel: None, features: &features })
}

#[test]
fn trixie_with_the_profile_would_boot() {
    let mut tree = roots().unpacked_tree();
    // libc-bin is here because installing needs it; the dependencies of an initrd do not bring it.
    assert!(tree.remove(&path("usr/sbin/ldconfig")).is_some(), "ldconfig was there");
    let before = findings(&tree);
    for message in ["there is no `/init`", "never switches root", "does not know root", "`ldconfig.service` fails"] {
        assert!(before.iter().any(|finding| finding.message.contains(message)), "{message}: {before:#?}");
    }
    let applied = apply_profile(&mut tree);
    let warnings: Vec<&String> = applied.steps.iter().flat_map(|step| &step.warnings).collect();
    assert_eq!(warnings, Vec::<&String>::new());
    assert_eq!(findings(&tree), []);
    // Twice is once: a drop-in directory or a second run finds its work done.
    let again = tree.clone();
    apply_profile(&mut tree);
    for ((here, was), (there, is)) in again.iter().zip(tree.iter()) {
        assert_eq!((here, &was.kind, was.meta), (there, &is.kind, is.meta));
    }
}

#[test]
fn what_is_taken_away_is_missed() {
    let lib = "usr/lib/systemd/system";
    let table = [
        ("init", Severity::Error, "there is no `/init`"),
        ("usr/lib64/ld-linux-x86-64.so.2", Severity::Error, "needs the loader"),
        ("usr/lib/os-release", Severity::Error, "never switches root"),
        (&format!("{lib}/initrd-switch-root.service"), Severity::Error, "is not in the image or masked"),
        (&format!("{lib}/initrd.target"), Severity::Error, "is not in the image or masked"),
        ("usr/bin/systemctl", Severity::Error, "`systemctl` of ExecStart is not in the image"),
        ("usr/bin/udevadm", Severity::Error, "`/usr/lib/systemd/systemd-udevd` of ExecStart is not in"),
        ("usr/lib/systemd/systemd-journald", Severity::Warning, "systemd-journald"),
        ("usr/lib/mkinitrd-pkg/emergency", Severity::Warning, "ends without a word"),
        ("etc/passwd", Severity::Warning, "does not know root"),
        ("etc/group", Severity::Warning, "udev does not know the group `tss`"),
    ];
    let mut whole = roots().unpacked_tree();
    apply_profile(&mut whole);
    for (gone, severity, message) in table {
        let mut tree = whole.clone();
        // udevadm is also udevd: a link, which leads nowhere then.
        assert!(tree.remove(&path(gone)).is_some(), "{gone} was there");
        let found = findings(&tree);
        assert!(
            found.iter().any(|finding| finding.severity == severity && finding.message.contains(message)),
            "{gone}: {found:#?}"
        );
    }
}

#[test]
fn libraries_that_systemd_opens_are_missed_by_name() {
    let mut whole = roots().unpacked_tree();
    apply_profile(&mut whole);
    for soname in [
        "libcryptsetup.so.12",
        "libtss2-esys.so.0",
        "libtss2-rc.so.0",
        "libtss2-tcti-device.so.0",
        "libfido2.so.1",
        "libkmod.so.2",
    ] {
        let mut tree = whole.clone();
        tree.retain(|path, _| path.name() != soname.as_bytes());
        let found = findings(&tree);
        let named = found.iter().any(|finding| finding.severity == Severity::Error && finding.message.contains(soname));
        assert!(named, "{soname}: {found:#?}");
    }
}

#[test]
fn an_image_for_another_machine_is_refused() {
    let mut tree = roots().unpacked_tree();
    apply_profile(&mut tree);
    let found = check(&tree, &Expected { machine: machine_of("riscv64"), kernel: Some("6.12.0-none"), features: &[] });
    let messages: Vec<&str> = found.iter().map(|finding| finding.message.as_str()).collect();
    assert!(messages.iter().any(|message| message.contains("the kernel cannot run it")), "{messages:?}");
    assert!(messages.contains(&"there are no modules for the kernel `6.12.0-none`"), "{messages:?}");
}

/// Sets of sysusers.d files, which trixie's own systemd-sysusers reads too.
const SYSUSERS: &[(&str, &[(&str, &str)])] = &[
    ("fixed and free ids", &[("a.conf", "g one -\nu two 7\nu three 300 \"A third\" /home/3 /bin/sh\ng four 301\nu five 301\n")]),
    ("users with a group given", &[("a.conf", "g crew 40\nu a 41:40\nu b -:crew \"B\"\nu c 42:crew\nu d -:40\n")]),
    ("members, who come into being", &[("a.conf", "g disk 6\nm ann disk\nm bob disk\nm ann choir\nu bob -\nm eve root\n")]),
    ("ranges", &[("a.conf", "r - 500-502\nr - 600\ng a -\ng b -\ng c -\ng d -\n")]),
    ("the locked", &[("a.conf", "u! shut - \"Shut out\"\nu open -\n")]),
    ("files in the order of their names", &[("b.conf", "g b -\n"), ("a.conf", "u a -\n"), ("c.conf", "g c -\n")]),
    ("two lines for one name", &[("a.conf", "u a 50\n"), ("b.conf", "u a 51\ng a 52\n")]),
    ("an id that is taken", &[("a.conf", "g a 60\nu b 61\n"), ("b.conf", "g c 60\nu d 61\nu e 60\n")]),
    ("ids of files", &[("a.conf", "g a /usr/owned\nu b /usr/owned\n")]),
    ("quotes, comments and specifiers", &[("a.conf", "# no\n\nu  q  - \"with %% and 'x'\"  %T \ng\tr\t-\n")]),
    ("what is there stays", &[("a.conf", "g root 5\nu root 7 \"Other\" /r /bin/x\ng nogroup -\nu nobody 8\n")]),
    ("root of its own", &[("a.conf", "u zero -\ng wheel 10\nm root wheel\n")]),
    ("lines that are wrong", &[("a.conf", "u 1x -\ng ok -\nu bad:name -\nu odd - \"a:b\"\nu none 4294967295\nu last -\n")]),
];

/// Gives both the same root, and compares the four files byte for byte.
fn compare_sysusers(what: &str, files: &[(&str, &str)]) {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path();
    let mut tree = Tree::new();
    let base = [
        ("etc/passwd", "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n"),
        ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
        ("etc/shadow", "root:*:19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\n"),
        ("etc/gshadow", "root:*::\nnogroup:*::\n"),
        ("usr/owned", ""),
    ];
    let config = files.iter().map(|(name, text)| (format!("usr/lib/sysusers.d/{name}"), *text));
    for (name, text) in base.into_iter().map(|(name, text)| (name.to_owned(), text)).chain(config) {
        let on_disk = root.join(&name);
        fs::create_dir_all(on_disk.parent().expect("a directory")).expect("a directory");
        fs::write(&on_disk, text).expect("writing");
        let mut entry = mkinitrd_pkg::tree::Entry::file(text, mkinitrd_pkg::tree::Origin::Package(0));
        let meta = fs::metadata(&on_disk).expect("the file");
        use std::os::unix::fs::MetadataExt;
        (entry.meta.uid, entry.meta.gid) = (meta.uid(), meta.gid());
        tree.insert(&path(&name), entry).expect("a file");
    }
    if what == "ids of files" && rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(root.join("usr/owned"), Some(123), Some(124)).expect("owning");
        let meta = &mut tree.get_mut(&path("usr/owned")).expect("the file").meta;
        (meta.uid, meta.gid) = (123, 124);
    }
    let mut real = roots().program("usr/bin/systemd-sysusers");
    real.arg(format!("--root={}", root.display())).env("SOURCE_DATE_EPOCH", "1700000000");
    // It complains of a wrong line by its exit code when it has done the others.
    let output = real.output().expect("systemd-sysusers of trixie");
    assert!(output.status.success() || what.contains("wrong"), "{what}: {}", String::from_utf8_lossy(&output.stderr));
    apply(&mut tree, "users");
    for file in ["etc/passwd", "etc/group", "etc/shadow", "etc/gshadow"] {
        let real = fs::read_to_string(root.join(file)).expect(file);
        assert_eq!(text(&tree, file), real, "{what}: {file}\n{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn users_are_those_of_systemd_sysusers() {
    for (what, files) in SYSUSERS {
        compare_sysusers(what, files);
    }
}

#[test]
fn users_of_trixies_own_files_are_those_of_systemd_sysusers() {
    let directory = roots().unpacked.join("usr/lib/sysusers.d");
    let names = fs::read_dir(&directory).expect("sysusers.d").map(|entry| entry.expect("an entry").path());
    let files: Vec<(String, String)> = names
        .map(|path| {
            (path.file_name().expect("a name").to_string_lossy().into_owned(), fs::read_to_string(&path).expect("a file"))
        })
        .collect();
    assert!(files.iter().any(|(_, text)| text.contains("u! ")), "the syntax that older systemds skip is among them");
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    compare_sysusers("trixie's own", &files);
}

/// Compiles hwdb sources with trixie's systemd-hwdb and with ours.
fn compare_hwdb(names: &[&str]) -> usize {
    let dir = tempfile::tempdir().expect("a directory");
    let sources = dir.path().join("etc/udev/hwdb.d");
    fs::create_dir_all(&sources).expect("a directory");
    let mut ours = mkinitrd_pkg::format::hwdb::Hwdb::new();
    for name in names {
        let text = fs::read(roots().unpacked.join("usr/lib/udev/hwdb.d").join(name)).expect(name);
        fs::write(sources.join(name), &text).expect("writing");
        let shown = sources.join(name);
        assert_eq!(ours.add_file(&shown.to_string_lossy(), &text), [], "{name}");
    }
    run(roots().program("usr/bin/systemd-hwdb").arg("update").arg(format!("--root={}", dir.path().display())), "systemd");
    let theirs = fs::read(dir.path().join("etc/udev/hwdb.bin")).expect("the database");
    let ours = ours.write(u64::from_le_bytes(theirs[8..16].try_into().expect("a number")));
    assert_eq!(ours.len(), theirs.len());
    assert!(ours == theirs, "{names:?}: the bytes differ");
    ours.len()
}

#[test]
fn hwdb_equals_systemd_hwdb_byte_for_byte() {
    println!("keyboards only: {} bytes", compare_hwdb(&["60-keyboard.hwdb"]));
    let directory = roots().unpacked.join("usr/lib/udev/hwdb.d");
    let names = fs::read_dir(directory).expect("hwdb.d").map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    assert!(all.len() > 20, "{all:?}");
    println!("all: {} bytes", compare_hwdb(&all));
}

#[test]
fn the_step_hwdb_keeps_keyboards_only() {
    let mut tree = roots().unpacked_tree();
    apply(&mut tree, "hwdb");
    let compiled = tree.get(&path("usr/lib/udev/hwdb.bin")).expect("the database");
    assert_eq!(compiled.meta.mode, 0o444);
    assert!((50_000..500_000).contains(&compiled.content().expect("a file").len()));
    assert_eq!(tree.children(&path("usr/lib/udev/hwdb.d")).count(), 0, "the sources went");
}

/// Runs the host's ldconfig on a root, and ours on the same as a tree; returns the cache of each.
fn compare_ldconfig(mut tree: Tree) -> (Vec<u8>, Vec<u8>) {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("root");
    tree.retain(|path, _| {
        path.as_bytes().starts_with(b"lib") || path.as_bytes().starts_with(b"usr/lib") || {
            path.as_bytes().starts_with(b"etc/ld.so") || matches!(path.as_bytes(), b"usr" | b"etc")
        }
    });
    mkinitrd_pkg::tree::disk::write(&tree, &root).expect("writing");
    run(Command::new("/sbin/ldconfig").arg("-r").arg(&root), "libc-bin");
    apply(&mut tree, "ldconfig");
    let theirs = fs::read(root.join("etc/ld.so.cache")).expect("the cache");
    let mut links = Tree::new();
    mkinitrd_pkg::tree::disk::read(&mut links, &root, &TreePath::root(), false, &mkinitrd_pkg::tree::Origin::Made("ldconfig"))
        .expect("reading");
    for (path, entry) in tree.iter().filter(|(path, _)| path.name() != b"ld.so.cache") {
        assert_eq!(links.get(path).map(|entry| &entry.kind), Some(&entry.kind), "{path}");
    }
    assert_eq!(links.iter().filter(|(path, _)| tree.get(path).is_none() && !path.as_bytes().starts_with(b"var")).count(), 0);
    (tree.read(&path("etc/ld.so.cache")).expect("ours").bytes().to_vec(), theirs)
}

/// Returns a cache without the text of who made it, and the number that counts its bytes.
fn without_generator(cache: &[u8]) -> Vec<u8> {
    let number = |at: usize| u32::from_le_bytes(cache[at..at + 4].try_into().expect("four bytes")) as usize;
    let extension = number(32);
    let mut rest = cache[..extension + 8].to_vec();
    for section in 0..number(extension + 4) {
        let at = extension + 8 + section * 16;
        let (tag, offset, size) = (number(at), number(at + 8), number(at + 12));
        if tag != 0 {
            rest.extend(&cache[at..at + 16]);
            rest.extend(&cache[offset..offset + size]);
        }
    }
    rest
}

#[test]
fn the_cache_of_libraries_equals_that_of_ldconfig() {
    let whole = roots().unpacked_tree();
    let (ours, theirs) = compare_ldconfig(whole.clone());
    assert_eq!(without_generator(&ours), without_generator(&theirs));

    // Without links, with a directory of its own, and with libraries for better processors.
    let mut tree = whole;
    let library = |tree: &Tree, name: &str| {
        let found = tree.iter().find(|(path, _)| path.name() == name.as_bytes()).expect(name).0.clone();
        mkinitrd_pkg::tree::Entry::file(tree.read(&found).expect(name).clone(), mkinitrd_pkg::tree::Origin::Package(0))
    };
    let directory = tree.iter().find(|(path, _)| path.name() == b"libc.so.6").expect("libc").0.parent().expect("its directory");
    for (level, name) in [("x86-64-v3", "libz.so.1"), ("x86-64-v2", "libz.so.1"), ("x86-64-v3", "libcrypto.so.3")] {
        let at = directory.join(format!("glibc-hwcaps/{level}/{name}").as_bytes()).expect("a path");
        let entry = library(&tree, name);
        tree.insert(&at, entry).expect("a library");
    }
    for (at, name) in [
        ("usr/lib/own/libown.so.1.2", "libz.so.1"),
        ("usr/lib/own/libown.so.1.10", "libz.so.1"),
        ("usr/lib/own/libzstd.so.9", "libzstd.so.1"),
    ] {
        let entry = library(&tree, name);
        tree.insert(&path(at), entry).expect("a library");
    }
    let conf = mkinitrd_pkg::tree::Entry::file("# own\n/usr/lib/own # here\n", mkinitrd_pkg::tree::Origin::Package(0));
    tree.insert(&path("etc/ld.so.conf.d/a.conf"), conf).expect("a file");
    let gone: Vec<TreePath> = tree
        .children(&directory)
        .filter(|(path, entry)| path.name() == b"libacl.so.1" || (path.name() == b"libblkid.so.1" && entry.content().is_none()))
        .map(|(path, _)| path.clone())
        .collect();
    assert_eq!(gone.len(), 2);
    gone.iter().for_each(|path| drop(tree.remove(path)));
    let (ours, theirs) = compare_ldconfig(tree);
    assert_eq!(without_generator(&ours), without_generator(&theirs));
}
