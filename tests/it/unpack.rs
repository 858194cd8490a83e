//! Packages become a tree: the same for any number of threads and from the store, what fits together and what does not.

use std::fs;
use std::sync::Mutex;

use mkinitrd_pkg::report::{Event, Reporter};
use mkinitrd_pkg::store::payload::Store;
use mkinitrd_pkg::tree::{Kind, Tree, TreePath};
use mkinitrd_pkg::unpack::{Layout, Remark};

use crate::deb::{BLOCK, Build, CHAR, DIR, FIFO, FILE, HARD, Made, SOFT, closure_bytes, deb, deb_of, pax};

pub fn contents_are_shared(tree: &Tree, a: &str, b: &str) -> bool {
    let content = |path: &str| tree.get(&TreePath::literal(path)).and_then(|entry| entry.content()).expect(path);
    content(a).same_file(content(b))
}

#[test]
fn the_tree_depends_on_neither_threads_nor_store() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut build = Build::of(closure_bytes());
    build.threads = 1;
    let first = build.run().expect("the closure unpacks");
    assert!(first.tree.len() > 4000 && first.dropped.is_empty());
    build.threads = 4;
    assert_eq!(build.run().expect("four threads").tree, first.tree);
    build.store = Some(Store::new(dir.path(), true));
    assert_eq!(build.run().expect("filling the store").tree, first.tree);
    // The packages are gone: only the store can answer now.
    let gone = build.debs.iter().map(|(package, _)| (package.clone(), Vec::new())).collect();
    build.debs = gone;
    assert_eq!(build.run().expect("from the store").tree, first.tree);
    build.store = Some(Store::new(dir.path(), false));
    let warm = build.run().expect("from a store that is not written");
    assert_eq!((&warm.tree, &warm.notes), (&first.tree, &first.notes));
    assert!(contents_are_shared(&warm.tree, "usr/bin/perl", "usr/bin/perl5.40.1"), "hard links stay one file");
    for (link, target) in [("bin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64"), ("sbin", "usr/sbin")] {
        assert_eq!(warm.tree.get(&TreePath::literal(link)).map(|entry| &entry.kind), Some(&Kind::Symlink(target.into())));
    }
    assert!(warm.tree.get(&TreePath::literal("libx32")).is_none(), "no link leads nowhere");
    let loader = TreePath::literal("lib64/ld-linux-x86-64.so.2");
    assert!(warm.tree.lookup(&loader).is_some_and(|(_, entry)| entry.content().is_some()));
}

#[test]
fn what_is_not_kept_is_told_and_not_stored() {
    let build = Build::of(closure_bytes()).keep(|path, _| !path.is_under(&TreePath::literal("usr/share")));
    let all = Build::of(closure_bytes()).run().expect("everything");
    let some = build.run().expect("less");
    let gone = |path: &TreePath| path.is_under(&TreePath::literal("usr/share"));
    assert!(some.tree.iter().all(|(path, _)| !gone(path)));
    let expected: Vec<&TreePath> = all.tree.iter().map(|(path, _)| path).filter(|path| gone(path)).collect();
    let mut dropped: Vec<&TreePath> = some.dropped.iter().map(|(path, _)| path).collect();
    dropped.sort();
    dropped.dedup();
    assert_eq!(dropped, expected);
    for (path, entry) in some.tree.iter() {
        assert_eq!(Some(entry), all.tree.get(path));
    }
    // A directory has its own mode even if only something in it is kept.
    let nologin = Build::of(closure_bytes()).keep(|path, _| path.as_bytes().starts_with(b"usr/lib/systemd/system/")).run();
    let tree = nologin.expect("units only").tree;
    for (path, entry) in tree.iter().filter(|(path, _)| !path.is_root()) {
        match all.tree.get(path) {
            Some(whole) => assert_eq!(whole, entry),
            None => panic!("{path} is new"),
        }
    }
}

#[test]
fn a_damaged_store_is_written_anew() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let deb = deb_of(|root| fs::write(root.join("f"), vec![7; 100_000]).expect("writing"), "-Zxz");
    let mut build = Build::of([deb]);
    let expected = build.run().expect("unpacks").tree;
    build.store = Some(Store::new(dir.path(), true));
    build.run().expect("fills the store");
    let file = fs::read_dir(dir.path().join("v1")).expect("the store").next().expect("one").expect("an entry").path();
    let whole = fs::read(&file).expect("a payload");
    for at in [0, 9, 20, 40, 60, 50_000, whole.len() - 200, whole.len() - 1] {
        let mut bad = whole.clone();
        bad[at] ^= 4;
        fs::write(&file, &bad).expect("writing");
        assert_eq!(build.run().expect("unpacks all the same").tree, expected, "byte {at}");
        assert!(fs::read(&file).expect("a payload") == whole, "byte {at}: written anew");
    }
    for end in [0, 30, 56, 1000, whole.len() - 1] {
        fs::write(&file, &whole[..end]).expect("writing");
        assert_eq!(build.run().expect("unpacks all the same").tree, expected, "cut at {end}");
    }
    let listed: Vec<_> = fs::read_dir(dir.path().join("v1")).expect("the store").collect();
    assert_eq!(listed.len(), 1, "no temporary file stays");
}

#[test]
fn a_store_that_cannot_be_written_is_a_warning() {
    struct Warnings(Mutex<Vec<String>>);
    impl Reporter for Warnings {
        fn event(&self, event: &Event<'_>) {
            if let Event::Warning { message, .. } = event {
                self.0.lock().expect("no panic").push((*message).to_owned());
            }
        }
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let blocked = dir.path().join("file");
    fs::write(&blocked, "").expect("writing");
    let mut build = Build::of([deb_of(|root| fs::write(root.join("f"), "x").expect("writing"), "-Zgzip")]);
    build.store = Some(Store::new(&blocked, true));
    let warnings = Warnings(Mutex::new(Vec::new()));
    assert_eq!(build.report(&warnings).expect("unpacks").tree.len(), 1);
    let warnings = warnings.0.into_inner().expect("no panic");
    assert!(warnings.len() == 1 && warnings[0].contains("is not kept for the next build"), "{warnings:?}");
}

#[test]
fn a_hard_link_whose_target_is_not_kept_becomes_the_file() {
    let members: &[Made<'_>] = &[
        ("bin/first", FILE, "", b"content", 0o751),
        ("bin/second", HARD, "./bin/first", b"", 0o751),
        ("bin/third", HARD, "bin/second", b"", 0o751),
        ("bin/other", FILE, "", b"other", 0o755),
    ];
    let dir = tempfile::tempdir().expect("a temporary directory");
    for store in [None, Some(Store::new(dir.path(), true)), Some(Store::new(dir.path(), true))] {
        let mut build = Build::of([deb("toy", members)]).keep(|path, _| path.name() == b"second" || path.name() == b"third");
        build.store = store;
        let unpacked = build.run().expect("unpacks");
        let second = unpacked.tree.get(&TreePath::literal("usr/bin/second")).expect("the link");
        assert_eq!((second.content().expect("a file").bytes(), second.meta.mode), (&b"content"[..], 0o751));
        assert!(contents_are_shared(&unpacked.tree, "usr/bin/second", "usr/bin/third"));
        let dropped: Vec<String> = unpacked.dropped.iter().map(|(path, _)| path.to_string()).collect();
        assert_eq!(dropped, ["/usr/bin/first", "/usr/bin/other"]);
    }
}

#[test]
fn e02_links_lead_nowhere_outside() {
    let canary = std::env::temp_dir().join("mkinitrd-pkg-canary");
    fs::write(&canary, "untouched").expect("writing");
    let outside = format!("{}/../..{}", "../".repeat(10), canary.parent().expect("a directory").display());
    let one = deb("toy", &[("./d", SOFT, &outside, b"", 0o777), ("./d/mkinitrd-pkg-canary", FILE, "", b"changed", 0o644)]);
    let first = deb("first", &[("./d", SOFT, "/etc", b"", 0o777)]);
    let second = deb("second", &[("./d/passwd", FILE, "", b"changed", 0o644)]);
    Build::of([one]).run().expect("resolved inside the root");
    let tree = Build::of([first, second]).run().expect("resolved inside the root").tree;
    assert!(tree.get(&TreePath::literal("etc/passwd")).is_some());
    assert_eq!(fs::read_to_string(&canary).expect("the canary"), "untouched");
    fs::remove_file(&canary).expect("removing");
    let circle = deb("toy", &[("a", SOFT, "b", b"", 0o777), ("b", SOFT, "a", b"", 0o777), ("a/x", FILE, "", b"", 0o644)]);
    assert!(Build::of([circle]).message().contains("circle"));
}

#[test]
fn e03_hard_links_must_have_an_earlier_file() {
    let table: [(&str, &[Made<'_>]); 6] = [
        ("does not come before it", &[("a", HARD, "absent", b"", 0o644)]),
        ("does not come before it", &[("a", HARD, "b", b"", 0o644), ("b", FILE, "", b"x", 0o644)]),
        ("does not come before it", &[("a", HARD, "a", b"", 0o644)]),
        ("contains `..`", &[("a", HARD, "../../etc/passwd", b"", 0o644)]),
        ("is no regular file", &[("l", SOFT, "x", b"", 0o777), ("a", HARD, "l", b"", 0o644)]),
        ("is a directory", &[("d", DIR, "", b"", 0o755), ("a", HARD, "d", b"", 0o644)]),
    ];
    for (expected, members) in table {
        let message = Build::of([deb("toy", members)]).message();
        assert!(message.contains(expected), "{message} lacks {expected}");
    }
}

#[test]
fn e04_nodes_and_set_id_bits_follow_the_policy() {
    let members: &[Made<'_>] = &[
        ("dev/null", CHAR, "", b"", 0o666),
        ("dev/mem", CHAR, "", b"", 0o640),
        ("dev/sda", BLOCK, "", b"", 0o660),
        ("run/pipe", FIFO, "", b"", 0o600),
        ("bin/mount", FILE, "", b"x", 0o4755),
        ("bin/su", FILE, "", b"x", 0o6755),
        ("tmp", DIR, "", b"", 0o1777),
        ("mail", DIR, "", b"", 0o2775),
    ];
    let mut build = Build::of([deb("toy", members)]);
    build.layout = Layout::new([(TreePath::literal("bin"), TreePath::literal("usr/bin"))], [TreePath::literal("usr/bin/su")]);
    let unpacked = build.run().expect("unpacks");
    let mode = |path: &str| unpacked.tree.get(&TreePath::literal(path)).map(|entry| entry.meta.mode);
    assert_eq!((mode("dev/null"), mode("dev/mem"), mode("dev/sda"), mode("run/pipe")), (Some(0o666), None, None, Some(0o600)));
    assert_eq!((mode("usr/bin/mount"), mode("usr/bin/su")), (Some(0o755), Some(0o6755)));
    assert_eq!((mode("tmp"), mode("mail")), (Some(0o1777), Some(0o2775)));
    let remarks: Vec<&Remark> = unpacked.notes.iter().map(|note| &note.remark).collect();
    let expected = [
        Remark::Device { block: false, major: 1, minor: 1 },
        Remark::Device { block: true, major: 1, minor: 1 },
        Remark::SetId { mode: 0o4755 },
    ];
    assert_eq!(remarks, expected.iter().collect::<Vec<_>>());
}

#[test]
fn e04_lost_capabilities_are_told() {
    let attribute = "\u{1}\0\0\u{2}\0\u{20}\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let record = pax("SCHILY.xattr.security.capability", attribute);
    let bytes = deb("toy", &[("pax", b'x', "", record.as_bytes(), 0o644), ("ping", FILE, "", b"x", 0o755)]);
    let notes = Build::of([bytes]).run().expect("unpacks").notes;
    let expected = "its file capabilities are lost (cap_net_raw=ep): an initrd cannot hold them";
    assert_eq!(notes.iter().map(|note| note.remark.to_string()).collect::<Vec<_>>(), [expected]);
}

#[test]
fn two_builds_share_a_store() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let debs: Vec<Vec<u8>> = closure_bytes().into_iter().filter(|bytes| bytes.len() < 100_000).collect();
    let expected = Build::of(debs.clone()).run().expect("unpacks").tree;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut build = Build::of(debs.clone());
                build.store = Some(Store::new(dir.path(), true));
                assert_eq!(build.run().expect("unpacks").tree, expected);
            });
        }
    });
    let files = fs::read_dir(dir.path().join("v1")).expect("the store").count();
    assert_eq!(files, debs.len(), "one file a package and no temporary ones");
}

#[test]
fn e12_two_owners_of_a_path_must_agree() {
    let file = |name: &str, path: &str, content: &[u8]| deb(name, &[(path, FILE, "", content, 0o644)]);
    let same = Build::of([file("a", "./lib/x", b"same"), file("b", "./usr/lib/x", b"same")]).run().expect("the same content");
    assert_eq!(same.tree.iter().filter(|(_, entry)| entry.content().is_some()).count(), 1);
    let message = Build::of([file("a", "./lib/x", b"one"), file("b", "./usr/lib/x", b"two")]).message();
    assert_eq!(message, "`a 1` and `b 1` both ship `/usr/lib/x`, and not the same");
    let message = Build::of([file("a", "./etc/d", b"x"), file("b", "./etc/d/f", b"x")]).message();
    assert!(message.contains("`/etc/d/f` cannot lie below `/etc/d`, which is a file"), "{message}");
    let twice = deb("a", &[("./lib/x", FILE, "", b"x", 0o644), ("./usr/lib/x", FILE, "", b"x", 0o644)]);
    assert!(Build::of([twice]).message().contains("`/usr/lib/x` is in the payload twice"));
}

#[test]
fn e12_merged_directories_stay_links_whatever_packages_ship() {
    let directory = deb("directory", &[("./lib", DIR, "", b"", 0o755), ("./lib/a", FILE, "", b"a", 0o644)]);
    let absolute = deb("absolute", &[("./lib", SOFT, "/usr/lib", b"", 0o777), ("./usr/lib/b", FILE, "", b"b", 0o644)]);
    let relative = deb("relative", &[("./lib", SOFT, "usr/lib", b"", 0o777), ("./lib/c", FILE, "", b"c", 0o644)]);
    let one = Build::of([directory.clone(), absolute.clone(), relative.clone()]).run().expect("they fit").tree;
    let other = Build::of([relative, absolute, directory]).run().expect("they fit in any order").tree;
    let names = |tree: &Tree| tree.iter().map(|(path, _)| path.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&one), ["/lib", "/usr", "/usr/lib", "/usr/lib/a", "/usr/lib/b", "/usr/lib/c"]);
    assert_eq!(names(&one), names(&other));
    let wrong = deb("wrong", &[("./lib", SOFT, "/opt/lib", b"", 0o777)]);
    assert!(Build::of([wrong]).message().contains("must lead to `/usr/lib`"));
    let file = deb("file", &[("./lib", FILE, "", b"x", 0o644)]);
    let inside = deb("inside", &[("./lib/a", FILE, "", b"a", 0o644)]);
    assert!(Build::of([file, inside]).run().is_err());
}

#[test]
fn e14_maintainer_scripts_are_not_even_read() {
    let canary = tempfile::tempdir().expect("a temporary directory");
    let touched = canary.path().join("touched");
    let bytes = deb_of(
        |root| {
            use std::os::unix::fs::PermissionsExt;
            for script in ["preinst", "postinst", "prerm", "postrm"] {
                let path = root.join("DEBIAN").join(script);
                fs::write(&path, format!("#!/bin/sh\ntouch {}\n", touched.display())).expect("writing");
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
            }
            fs::write(root.join("f"), "x").expect("writing");
        },
        "-Zxz",
    );
    assert_eq!(Build::of([bytes]).run().expect("unpacks").tree.len(), 1);
    assert!(!touched.exists());
}
