//! Our archives and images against GNU cpio, bsdcpio and the compressors' own tools.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use mkinitrd_pkg::base::digest::Sha256;
use mkinitrd_pkg::format::compress::{Compression, Format, encode, member};
use mkinitrd_pkg::format::newc;
use mkinitrd_pkg::image;
use mkinitrd_pkg::pack::{self, Options, Segment, SegmentName};
use mkinitrd_pkg::report::Silent;
use mkinitrd_pkg::store::segments::SegmentStore;
use mkinitrd_pkg::tree::{Content, Entry, Kind, Meta, Origin, Tree, TreePath, disk};

use crate::guest::console_of;

const MADE: Origin = Origin::Made("test");

/// Runs a tool with `input` and returns what it prints; a tool that is missing names its Debian package.
fn run(package: &str, command: &mut Command, input: &[u8]) -> Vec<u8> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).env("TZ", "UTC").env("LC_ALL", "C");
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(err) => panic!("cannot run {:?}: {err}: install the package `{package}`", command.get_program()),
    };
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("waiting");
    feeder.join().expect("feeding");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn mixed_bytes(count: usize, mut seed: u64) -> Vec<u8> {
    // Half noise, half text, so that compressors have something to do.
    (0..count)
        .map(|i| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if i / 4096 % 2 == 0 { (seed >> 33) as u8 } else { b"the quick brown fox "[i % 20] }
        })
        .collect()
}

fn insert(tree: &mut Tree, path: &[u8], mode: u32, kind: Kind) {
    let meta = Meta { mode, uid: 0, gid: 0, mtime_s: 1_700_000_000 };
    let path = TreePath::parse(path).expect("a path");
    tree.insert(&path, Entry { meta, kind, origin: MADE }).expect("room");
}

/// Everything that an ordinary user can make.
fn sample() -> Tree {
    let mut tree = Tree::new();
    let file = |text: &str| Kind::File(Content::from(text));
    insert(&mut tree, b"d", 0o755, Kind::Dir);
    insert(&mut tree, b"d/closed", 0o700, Kind::Dir);
    insert(&mut tree, b"d/sticky", 0o1777, Kind::Dir);
    insert(&mut tree, b"d/closed/key", 0o600, file("secret"));
    insert(&mut tree, b"d/suid", 0o4755, file("s"));
    insert(&mut tree, b"d-x", 0o644, file("sorts between d and d/"));
    insert(&mut tree, b"empty", 0o644, file(""));
    insert(&mut tree, b"also empty", 0o644, file(""));
    for (name, size) in [("1", 1), ("2", 2), ("3", 3), ("4", 4), ("5", 5), ("big", 3_000_001)] {
        insert(&mut tree, format!("sizes/{name}").as_bytes(), 0o644, Kind::File(mixed_bytes(size, 7).into()));
    }
    let shared = Content::from("the same file three times");
    for name in ["links/a", "links/b", "z-link"] {
        insert(&mut tree, name.as_bytes(), 0o640, Kind::File(shared.clone()));
    }
    insert(&mut tree, b"link", 0o777, Kind::Symlink(b"d/suid".to_vec()));
    insert(&mut tree, b"long link", 0o777, Kind::Symlink(vec![b'x'; 4000]));
    insert(&mut tree, b"fifo", 0o622, Kind::Fifo);
    let odd: [&[u8]; 7] =
        [b"sp ace", b"-dash", b"quo\"te'", b"back\\x2dslash", "\u{fc}ml\u{e4}ut".as_bytes(), b"not\xffutf8\xfe", b"tab\tstop"];
    for name in odd {
        insert(&mut tree, &[b"odd/", name].concat(), 0o644, file("odd"));
    }
    insert(&mut tree, &[b'n'; 255], 0o644, file("long"));
    insert(&mut tree, ["0123456789/".repeat(300), "f".to_owned()].concat().as_bytes(), 0o644, file("deep"));
    let paths: Vec<TreePath> = tree.iter().map(|(path, _)| path.clone()).collect();
    for path in paths {
        tree.get_mut(&path).expect("there").meta.mtime_s = 1_700_000_000;
    }
    tree
}

fn archive(tree: &Tree) -> Vec<u8> {
    pack::archive(tree, u32::MAX, Vec::new()).expect("an archive")
}

/// Path, kind and metadata; hard links by the first of their names.
fn facts(tree: &Tree) -> BTreeMap<TreePath, String> {
    let mut firsts = BTreeMap::new();
    tree.iter()
        .map(|(path, entry)| {
            let first =
                entry.content().and_then(Content::identity).map(|id| firsts.entry(id).or_insert_with(|| path.clone()).clone());
            let content = entry.content().map(|content| Sha256::of(content.bytes()));
            // A file on disk has its own mode, a symlink has not.
            let mode = if matches!(entry.kind, Kind::Symlink(_)) { 0o777 } else { entry.meta.mode };
            (path.clone(), format!("{:?} {content:?} {mode:o} {} {first:?}", entry.kind, entry.meta.mtime_s))
        })
        .collect()
}

/// Reads a directory with its hard links.
fn from_disk(root: &Path) -> Tree {
    let mut tree = Tree::new();
    disk::read(&mut tree, root, &TreePath::root(), false, &MADE).expect("reading");
    let mut firsts: BTreeMap<u64, Content> = BTreeMap::new();
    let paths: Vec<TreePath> = tree.iter().map(|(path, _)| path.clone()).collect();
    for path in paths {
        let metadata = fs::symlink_metadata(root.join(OsStr::from_bytes(path.as_bytes()))).expect("metadata");
        if let Some(Kind::File(content)) = tree.get_mut(&path).map(|entry| &mut entry.kind)
            && metadata.nlink() > 1
        {
            *content = firsts.entry(metadata.ino()).or_insert_with(|| content.clone()).clone();
        }
    }
    tree
}

fn assert_same(found: &Tree, wanted: &Tree) {
    let (found, wanted) = (facts(found), facts(wanted));
    for (path, facts) in &wanted {
        assert_eq!(found.get(path), Some(facts), "{path}");
    }
    assert_eq!(found.len(), wanted.len());
}

#[test]
fn f06_gnu_cpio_and_bsdcpio_extract_what_we_packed() {
    let (tree, dir) = (sample(), tempfile::tempdir().expect("a directory"));
    let bytes = archive(&tree);
    for (package, program) in [("cpio", "cpio"), ("libarchive-tools", "bsdcpio")] {
        let root = dir.path().join(program);
        fs::create_dir(&root).expect("a directory");
        run(package, Command::new(program).args(["-idm", "--quiet"]).current_dir(&root), &bytes);
        let mut found = from_disk(&root);
        // Neither restores a symlink's time on every file system, and what is put into a directory afterwards changes its time.
        for (path, entry) in tree.iter().filter(|(_, entry)| matches!(entry.kind, Kind::Symlink(_) | Kind::Dir)) {
            found.get_mut(path).expect("the link").meta.mtime_s = entry.meta.mtime_s;
        }
        assert_same(&found, &tree);
    }
}

#[test]
fn f06_gnu_cpio_lists_modes_owners_sizes_and_nodes() {
    let mut tree = sample();
    insert(&mut tree, b"dev/console", 0o600, Kind::Device { block: false, major: 5, minor: 1 });
    insert(&mut tree, b"dev/sda", 0o660, Kind::Device { block: true, major: 259, minor: 70_000 });
    tree.get_mut(&TreePath::literal("d-x")).expect("there").meta =
        Meta { mode: 0o604, uid: 1234, gid: 4_000_000_000, mtime_s: 1 };
    let listed = run("cpio", Command::new("cpio").args(["-tv", "--quiet", "-n", "--null"]), &archive(&tree));
    let lines: Vec<&[u8]> = listed.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.len(), tree.len());
    let words = |line: &[u8]| String::from_utf8_lossy(line).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let find = |end: &[u8]| lines.iter().find(|line| line.ends_with(end)).map(|line| words(line)).expect("listed");
    assert_eq!(find(b" d-x")[..5], ["-rw----r--", "1", "1234", "4000000000", "22"]);
    assert_eq!(find(b" links/a")[..5], ["-rw-r-----", "3", "0", "0", "0"]);
    assert_eq!(find(b" z-link")[..5], ["-rw-r-----", "3", "0", "0", "25"]);
    assert_eq!(find(b" d/suid")[..5], ["-rwsr-xr-x", "1", "0", "0", "1"]);
    assert_eq!(find(b" d/sticky")[..4], ["drwxrwxrwt", "2", "0", "0"]);
    assert_eq!(find(b" dev/console")[..6], ["crw-------", "1", "0", "0", "5,", "1"]);
    assert_eq!(find(b" dev/sda")[..6], ["brw-rw----", "1", "0", "0", "259,", "70000"]);
    assert_eq!(find(b" fifo")[..4], ["prw--w--w-", "1", "0", "0"]);
}

#[test]
fn f06_we_read_what_gnu_cpio_and_bsdcpio_packed() {
    let (tree, dir) = (sample(), tempfile::tempdir().expect("a directory"));
    let root = dir.path().join("root");
    disk::write(&tree, &root).expect("writing");
    let on_disk = from_disk(&root);
    let names: Vec<u8> = on_disk.iter().flat_map(|(path, _)| [path.as_bytes(), b"\0"].concat()).collect();
    for (package, program, options) in [
        ("cpio", "cpio", ["-o", "--quiet", "-0", "-Hnewc"]),
        ("cpio", "cpio", ["-o", "--quiet", "-0", "-Hcrc"]),
        ("libarchive-tools", "bsdcpio", ["-o", "--quiet", "-0", "-Hnewc"]),
    ] {
        let bytes = run(package, Command::new(program).args(options).current_dir(&root), &names);
        let members = newc::read_all(&bytes).expect("an archive");
        assert_eq!(members.len(), on_disk.len());
        let merged = image::read(bytes).expect("an image").into_tree().expect("a tree");
        assert_eq!(merged.dropped, Vec::<Vec<u8>>::new());
        assert_same(&merged.tree, &on_disk);
    }
}

#[test]
fn f10_unpack_after_pack_is_the_same_tree() {
    let tree = sample();
    let found = image::read(archive(&tree)).expect("an image");
    assert_eq!(found.list().count(), tree.len());
    let dir = tempfile::tempdir().expect("a directory");
    assert_same(&found.into_tree().expect("a tree").tree, &tree);
    let extracted = image::read(archive(&tree)).expect("an image").extract(&dir.path().join("root")).expect("extracting");
    assert_eq!((extracted.entries, extracted.left_out), (tree.len(), Vec::new()));
    let mut found = from_disk(&dir.path().join("root"));
    for (path, entry) in tree.iter() {
        found.get_mut(path).expect("there").meta.mtime_s = entry.meta.mtime_s;
    }
    assert_same(&found, &tree);
}

fn level(text: &str) -> Compression {
    text.parse().expect("a compression")
}

const ALL: [&str; 7] = ["zstd:1", "zstd:9", "zstd:19", "xz:1", "gzip:6", "lz4", "none"];

#[test]
fn the_tools_unpack_what_we_compressed() {
    let input = mixed_bytes(20_000_003, 1);
    for (text, package, command) in [
        ("zstd:9", "zstd", ["zstd", "-dcq"]),
        ("xz:1", "xz-utils", ["xz", "-dc"]),
        ("gzip:6", "gzip", ["gzip", "-dc"]),
        ("lz4", "lz4", ["lz4", "-dcq"]),
    ] {
        for size in [0, 1, 8 << 20, input.len()] {
            let packed = encode::compress(level(text), &input[..size], 2).expect("compressing");
            let unpacked = run(package, Command::new(command[0]).arg(command[1]), &packed);
            assert!(unpacked == input[..size], "{text} of {size} bytes");
        }
    }
}

#[test]
fn we_unpack_what_the_tools_compressed_and_stop_where_the_stream_ends() {
    let input = mixed_bytes(9_000_001, 2);
    for (format, package, command) in [
        (Format::Zstd, "zstd", &["zstd", "-cq", "-3"][..]),
        (Format::Xz, "xz-utils", &["xz", "-c", "-1", "--check=crc32"]),
        (Format::Lzma, "xz-utils", &["xz", "-c", "-1", "--format=lzma"]),
        (Format::Gzip, "gzip", &["gzip", "-cn"]),
        (Format::Lz4, "lz4", &["lz4", "-clq"]),
    ] {
        let mut packed = run(package, Command::new(command[0]).args(&command[1..]), &input);
        assert_eq!(Format::sniff(&packed), format);
        let length = packed.len();
        packed.extend_from_slice(b"\0\0\0\x00070701");
        let member = member::decode(format, &packed, 1 << 30).expect("decoding");
        assert!(member.bytes == input, "{format}");
        assert_eq!(member.consumed_bytes, length, "{format}");
        for cut in [length / 2, length - 1] {
            assert!(member::decode(format, &packed[..cut], 1 << 30).is_err(), "{format} cut at {cut} of {length}");
        }
        assert!(member::decode(format, &packed, 9_000_000).is_err(), "{format} over the limit");
        assert!(member::decode(format, &packed, 9_000_001).is_ok(), "{format} at the limit");
    }
}

#[test]
fn f03_the_number_of_threads_does_not_change_a_byte() {
    // More than one block or job of each format; the slowest gets what is quick to compress.
    let (mixed, text) = (mixed_bytes(18_000_003, 3), b"the quick brown fox ".repeat(2_000_000));
    for (how, input) in [
        ("zstd:1", &mixed[..9_000_003]),
        ("zstd:9", &mixed),
        ("zstd:19", &text),
        ("xz:0", &mixed),
        ("gzip:1", &mixed[..9_000_003]),
        ("lz4", &mixed),
        ("none", &mixed),
    ] {
        let wanted = encode::compress(level(how), input, 1).expect("compressing");
        for threads in [0, 2, 4] {
            assert!(encode::compress(level(how), input, threads).expect("compressing") == wanted, "{how} with {threads} threads");
        }
    }
}

#[test]
fn f05_headers_are_what_the_kernel_takes() {
    let input = mixed_bytes(5_000_000, 4);
    for number in 1..=22 {
        let zstd = encode::compress(level(&format!("zstd:{number}")), &input[..100_000], 2).expect("compressing");
        assert_eq!(zstd[..4], [0x28, 0xb5, 0x2f, 0xfd], "one frame from the first byte");
        // Frame header descriptor: the size of the content is given, a checksum follows, no dictionary.
        assert_eq!(zstd[4] & 0b0000_0100, 4, "a checksum");
        assert_eq!(zstd[4] & 0b0000_0011, 0, "no dictionary");
    }
    let xz = encode::compress(level("xz:9"), &input, 2).expect("compressing");
    assert_eq!(xz[..8], [0xfd, b'7', b'z', b'X', b'Z', 0, 0, 1], "the check is CRC32");
    let lz4 = encode::compress(level("lz4"), &input, 2).expect("compressing");
    assert_eq!(lz4[..4], [0x02, 0x21, 0x4c, 0x18], "the legacy frame");
    let gzip = encode::compress(level("gzip:6"), &input, 2).expect("compressing");
    assert_eq!(gzip[..4], [0x1f, 0x8b, 8, 0], "deflate without a name");
    assert_eq!((&gzip[4..8], gzip[9]), (&[0; 4][..], 3), "no time, always the same system");
}

#[test]
fn f05_the_largest_zstd_window_is_the_kernels() {
    // 128 MiB and a little: the level that would take more if it could.
    let input = vec![7; (128 << 20) + 5];
    let packed = encode::compress(level("zstd:22"), &input, 2).expect("compressing");
    // Not a single segment, so the window descriptor follows: 2^(10 + exponent) * (1 + mantissa / 8).
    if packed[4] & 0b0010_0000 == 0 {
        let window = (1_u64 << (10 + (packed[5] >> 3))) * (8 + u64::from(packed[5] & 7)) / 8;
        assert!(window <= 1 << 27, "{window}");
    } else {
        panic!("the window is as large as the content");
    }
}

fn segment(name: SegmentName, tree: Tree, text: &str) -> Segment {
    Segment { name, tree, compression: level(text) }
}

fn one_file(path: &str, text: &str) -> Tree {
    let mut tree = Tree::new();
    insert(&mut tree, path.as_bytes(), 0o644, Kind::File(Content::from(text)));
    tree
}

fn image_bytes(segments: Vec<Segment>, options: &Options<'_>) -> (pack::Image, Vec<u8>) {
    let image = pack::pack(segments, options, &Silent).expect("packing");
    let mut bytes = Vec::new();
    image.write_to(&mut bytes).expect("writing");
    assert_eq!(bytes.len() as u64, image.size_bytes);
    (image, bytes)
}

#[test]
fn f05_segments_are_in_order_and_aligned_and_read_back() {
    for text in ALL {
        let base = sample();
        let mut modules = one_file("usr/lib/modules/6.1/x.ko", "module");
        insert(&mut modules, b"d/closed/of modules", 0o644, Kind::File(Content::from("m")));
        let segments = vec![
            segment(SegmentName::Host, one_file("etc/crypttab", "c"), text),
            segment(SegmentName::Modules, modules, "none"),
            segment(SegmentName::Early, one_file("kernel/x86/microcode/GenuineIntel.bin", "microcode"), "none"),
            segment(SegmentName::Base, base, text),
        ];
        let (image, bytes) = image_bytes(segments, &Options { epoch_s: u32::MAX, ..Options::default() });
        let names: Vec<_> = image.segments.iter().map(|segment| segment.name.to_string()).collect();
        assert_eq!(names, ["early", "base", "modules", "host"]);
        assert_eq!(image.segments[1].offset_bytes % 512, 0);
        let found = image::read(bytes.clone()).expect("an image");
        assert_eq!(found.segments.len(), 4, "{text}");
        for (packed, found) in image.segments.iter().zip(&found.segments) {
            assert_eq!(packed.offset_bytes % 4, 0, "{text}");
            assert_eq!((packed.offset_bytes, packed.size_bytes), (found.offset_bytes, found.size_bytes), "{text}");
            assert_eq!((packed.unpacked_bytes, packed.entries), (found.unpacked_bytes, found.entries.len()), "{text}");
            let stored = &bytes[packed.offset_bytes as usize..][..packed.size_bytes as usize];
            assert_eq!(Sha256::of(stored), packed.sha256);
        }
        if text == "lz4" {
            let base = &image.segments[1];
            let gap = image.segments[2].offset_bytes - base.offset_bytes - base.size_bytes;
            assert!(gap >= 4, "the kernel knows the end of lz4 by four zeros, there are {gap}");
        }
        let merged = found.into_tree().expect("a tree");
        assert!(merged.dropped.is_empty());
        let closed = merged.tree.get(&TreePath::literal("d/closed")).expect("there");
        assert_eq!(closed.meta.mode, 0o700, "the modules segment must not open a directory that the base closed");
    }
}

#[test]
fn f01_the_same_trees_make_the_same_bytes_with_and_without_a_store() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = SegmentStore::new(dir.path().join("segments"));
    let make = |options: &Options<'_>| {
        let segments = vec![
            segment(SegmentName::Base, sample(), "zstd:3"),
            segment(SegmentName::Host, one_file("etc/hostname", "secret"), "gzip:6"),
        ];
        image_bytes(segments, options)
    };
    let (first, wanted) = make(&Options::default());
    assert!(first.segments.iter().all(|segment| !segment.reused));
    for (threads, reused) in [(1, false), (2, true), (4, true)] {
        let (image, bytes) = make(&Options { threads, store: Some(&store), ..Options::default() });
        assert_eq!(image.segments[0].reused, reused);
        assert!(!image.segments[1].reused, "the host segment is never kept");
        assert!(bytes == wanted, "{threads} threads");
    }
    let kept: Vec<_> =
        fs::read_dir(dir.path().join("segments")).expect("a directory").map(|e| e.expect("an entry").path()).collect();
    assert_eq!(kept.len(), 1);
    let mut bytes = fs::read(&kept[0]).expect("the kept segment");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&kept[0], bytes).expect("damaging");
    let (image, bytes) = make(&Options { store: Some(&store), ..Options::default() });
    assert!(!image.segments[0].reused && bytes == wanted, "a damaged segment is packed anew");
    let (_, later) = make(&Options { epoch_s: 5, store: Some(&store), ..Options::default() });
    assert!(later != wanted, "times are clamped to another epoch: another key");
    let nowhere = SegmentStore::new("/dev/null/segments");
    assert!(make(&Options { store: Some(&nowhere), ..Options::default() }).1 == wanted, "an unusable store only costs time");
}

#[test]
fn f04_what_does_not_fit_is_refused() {
    let mut writer = newc::Writer::new(Vec::new());
    let header = newc::Header { mode: newc::S_IFREG | 0o644, links: 1, ..newc::Header::default() };
    for (header, size) in [
        (newc::Header { inode: 1 << 32, ..header }, 0),
        (newc::Header { mtime_s: 1 << 32, ..header }, 0),
        (header, 1 << 32),
        (header, u64::MAX),
    ] {
        assert!(matches!(writer.entry(b"x", &header, size), Err(newc::WriteError::TooLarge { .. })), "{header:?} {size}");
    }
    for name in [&b""[..], b"a\0b", b"TRAILER!!!", &[b'x'; 4096]] {
        assert!(matches!(writer.entry(name, &header, 0), Err(newc::WriteError::Name { .. })));
    }
    writer.entry(b"short", &header, 10).expect("an entry");
    writer.data(b"123").expect("data");
    assert!(matches!(writer.entry(b"next", &header, 0), Err(newc::WriteError::Length { found_bytes: 3, .. })));
    let mut writer = newc::Writer::new(Vec::new());
    writer.entry(b"short", &header, 10).expect("an entry");
    assert!(matches!(writer.finish(), Err(newc::WriteError::Length { found_bytes: 0, .. })));
    let mut writer = newc::Writer::new(Vec::new());
    writer.entry(b"long", &header, 2).expect("an entry");
    assert!(matches!(writer.data(b"123"), Err(newc::WriteError::Length { found_bytes: 3, .. })));
}

/// Prints every entry of the root as `ENTRY path(hex) mode links uid gid size hash`, then switches the machine off.
const INIT: &str = r#"
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
static char path[8192], data[1 << 16];
static uint64_t hash;
static void add(const char *p, long n) { for (long i = 0; i < n; i++) hash = (hash ^ (unsigned char)p[i]) * 1099511628211u; }
static void walk(size_t length) {
    DIR *dir = opendir(length ? path : "/");
    if (!dir) return;
    for (struct dirent *e; (e = readdir(dir));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        size_t now = length + 1 + strlen(e->d_name);
        path[length] = '/';
        strcpy(path + length + 1, e->d_name);
        struct stat st;
        lstat(path, &st);
        hash = 14695981039346656037u;
        long n;
        if (S_ISREG(st.st_mode)) {
            int fd = open(path, O_RDONLY);
            while ((n = read(fd, data, sizeof data)) > 0) add(data, n);
            close(fd);
        } else if (S_ISLNK(st.st_mode) && (n = readlink(path, data, sizeof data)) > 0) {
            add(data, n);
        } else {
            add("", 0);
        }
        long size = S_ISREG(st.st_mode) || S_ISLNK(st.st_mode) ? st.st_size : (long)(major(st.st_rdev) * 1000000 + minor(st.st_rdev));
        printf("ENTRY ");
        for (size_t i = 1; i < now; i++) printf("%02x", (unsigned char)path[i]);
        printf(" %o %d %u %u %ld %016llx\n", st.st_mode, S_ISDIR(st.st_mode) ? 0 : (int)st.st_nlink, st.st_uid, st.st_gid, size, (unsigned long long)hash);
        if (S_ISDIR(st.st_mode)) walk(now);
    }
    closedir(dir);
}
int main(void) {
    walk(0);
    printf("ALL ENTRIES PRINTED\n");
    fflush(stdout);
    tcdrain_and_off: sync();
    usleep(200000);
    reboot(RB_POWER_OFF);
    goto tcdrain_and_off;
}
"#;

/// Says what [`INIT`] prints.
fn printed(tree: &Tree) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    let identity = |entry: &Entry| entry.content().and_then(Content::identity);
    for id in tree.iter().filter_map(|(_, entry)| identity(entry)) {
        *names.entry(id).or_insert(0) += 1;
    }
    let hash = |bytes: &[u8]| {
        bytes.iter().fold(14_695_981_039_346_656_037_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(1_099_511_628_211))
    };
    let line = |entry: &Entry| {
        let (kind, data, size) = match &entry.kind {
            Kind::Dir => (newc::S_IFDIR, &[][..], 0),
            Kind::File(content) => (newc::S_IFREG, content.bytes(), content.len()),
            Kind::Symlink(target) => (newc::S_IFLNK, &target[..], target.len()),
            Kind::Fifo => (newc::S_IFIFO, &[][..], 0),
            Kind::Device { block, major, minor } => {
                (if *block { newc::S_IFBLK } else { newc::S_IFCHR }, &[][..], *major as usize * 1_000_000 + *minor as usize)
            }
        };
        let links = if kind == newc::S_IFDIR { 0 } else { identity(entry).map_or(1, |id| names[&id]) };
        let meta = entry.meta;
        format!("{:o} {links} {} {} {size} {:016x}", kind | meta.mode, meta.uid, meta.gid, hash(data))
    };
    let hex = |path: &TreePath| path.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    tree.iter().map(|(path, entry)| (hex(path), line(entry))).collect()
}

/// Gets a kernel package from the host's own mirror, once, and unpacks its kernel and configuration.
fn kernel() -> (std::path::PathBuf, String) {
    let cache = std::env::var_os("MKINITRD_TEST_CACHE").map_or_else(|| "target/test-cache".into(), std::path::PathBuf::from);
    let dir = cache.join("kernel");
    let (image, config) = (dir.join("vmlinuz"), dir.join("config"));
    if !image.exists() {
        fs::create_dir_all(&dir).expect("the cache");
        let depends = run("apt", Command::new("apt-cache").args(["depends", "--important", "linux-image-cloud-amd64"]), b"");
        let depends = String::from_utf8(depends).expect("text");
        let name = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: ")).expect("a kernel to depend on");
        run("apt", Command::new("apt-get").args(["download", name]).current_dir(&dir), b"");
        let version = name.strip_prefix("linux-image-").expect("a version");
        let mut files = fs::read_dir(&dir).expect("the cache").map(|entry| entry.expect("an entry").path());
        let package = files.find(|path| path.extension() == Some(OsStr::new("deb"))).expect("a package");
        let tar = run("dpkg", Command::new("dpkg-deb").arg("--fsys-tarfile").arg(package), b"");
        for (member, to) in [("config", &config), ("vmlinuz", &image)] {
            let bytes = run("tar", Command::new("tar").args(["-xO", &format!("./boot/{member}-{version}")]), &tar);
            fs::write(to, bytes).expect("writing");
        }
    }
    (image, fs::read_to_string(config).expect("the configuration"))
}

fn boot(kernel: &Path, initrd: &Path) -> String {
    console_of(kernel, initrd, "no_timer_check loglevel=4", &[])
}

#[test]
fn f05_f06_the_kernel_unpacks_what_we_packed() {
    let dir = tempfile::tempdir().expect("a directory");
    let (source, init) = (dir.path().join("init.c"), dir.path().join("init"));
    fs::write(&source, INIT).expect("writing");
    run("gcc libc6-dev", Command::new("cc").args(["-static", "-O1", "-o"]).arg(&init).arg(&source), b"");
    let (kernel, config) = kernel();
    for text in ALL {
        pack::check_kernel(Some(&config), level(text).format).expect("Debian's kernel has all of them");
    }
    let mut first = sample();
    first.retain(|path, _| path.as_bytes().len() < 600);
    insert(&mut first, b"init", 0o755, Kind::File(fs::read(&init).expect("the program").into()));
    insert(&mut first, b"dev/null", 0o666, Kind::Device { block: false, major: 1, minor: 3 });
    insert(&mut first, b"dev/sda", 0o660, Kind::Device { block: true, major: 259, minor: 70_000 });
    first.get_mut(&TreePath::literal("d/suid")).expect("there").meta =
        Meta { mode: 0o6751, uid: 1234, gid: 4_000_000_000, mtime_s: 1 };
    let below = |name: &str| {
        let mut tree = Tree::new();
        for (path, entry) in sample().iter() {
            let path = [name.as_bytes(), b"/", path.as_bytes()].concat();
            // The console is slow.
            if path.len() < 300 {
                insert(&mut tree, &path, entry.meta.mode, entry.kind.clone());
            }
        }
        tree
    };
    // Two images, one behind the other as boot loaders join them: each compressor before another segment, and each aligned by us.
    let trees: Vec<Tree> = ["modules", "host", "base2", "modules2", "host2"].map(below).into();
    let early = one_file("kernel/x86/microcode/none.bin", "not a microcode");
    let options = Options { epoch_s: u32::MAX, ..Options::default() };
    let (_, one) = image_bytes(
        vec![
            segment(SegmentName::Early, early.clone(), "none"),
            segment(SegmentName::Base, first.clone(), "zstd:9"),
            segment(SegmentName::Modules, trees[0].clone(), "none"),
            segment(SegmentName::Host, trees[1].clone(), "lz4"),
        ],
        &options,
    );
    let (_, two) = image_bytes(
        vec![
            segment(SegmentName::Base, trees[2].clone(), "lz4"),
            segment(SegmentName::Modules, trees[3].clone(), "gzip:6"),
            segment(SegmentName::Host, trees[4].clone(), "xz:6"),
        ],
        &options,
    );
    let initrd = dir.path().join("initrd.img");
    let image = [one, two].concat();
    fs::write(&initrd, &image).expect("writing");
    let console = boot(&kernel, &initrd);
    assert!(console.contains("ALL ENTRIES PRINTED"), "{console}");
    assert!(!console.contains("Initramfs unpacking failed"), "{console}");
    let found: BTreeMap<&str, &str> = console.lines().filter_map(|line| line.strip_prefix("ENTRY ")?.split_once(' ')).collect();
    let mut wanted = printed(&first);
    trees.iter().chain([&early]).for_each(|tree| wanted.extend(printed(tree)));
    for (path, line) in &wanted {
        assert_eq!(found.get(path.as_str()), Some(&line.as_str()), "{path}");
    }
    // What our own reader makes of the joined images is what the kernel made of them.
    let merged = image::read(image.clone()).expect("an image").into_tree().expect("a tree");
    assert!(merged.dropped.is_empty());
    assert_eq!(printed(&merged.tree), wanted);

    fs::write(&initrd, &image[..image.len() - 2000]).expect("truncating");
    let console = boot(&kernel, &initrd);
    assert!(console.contains("Initramfs unpacking failed"), "{console}");
    assert!(image::read(image[..image.len() - 2000].to_vec()).is_err());
}

/// Entries before and after merging, or a part of the message.
type Outcome = Result<(usize, usize), &'static str>;

/// What must come of each archive in `$MKINITRD_FIXTURES/cpio`.
const FIXTURES: [(&str, Outcome); 22] = [
    ("3cpio/single.cpio", Ok((3, 2))),
    ("3cpio/shell.cpio", Ok((5, 4))),
    ("3cpio/bigdata.cpio", Ok((10, 7))),
    ("3cpio/gzip.cpio", Ok((8, 6))),
    ("3cpio/lz4.cpio", Ok((8, 6))),
    ("3cpio/lzma.cpio", Ok((8, 6))),
    ("3cpio/xz.cpio", Ok((8, 6))),
    ("3cpio/zstd.cpio", Ok((8, 6))),
    ("3cpio/bzip2.cpio", Ok((8, 6))),
    ("3cpio/lzop.cpio", Err("damaged at byte 512: neither a cpio archive nor a compressed one begins with `\\x89LZO")),
    // A link `tmp` to `/tmp` and a file through it: inside the root that link leads to itself.
    ("3cpio/path-traversal.cpio", Err("symlinks lead in a circle at `/tmp/trav.txt`")),
    ("u-root/archive1.cpio", Err("begins with `070707`")),
    ("u-root/archive2.cpio", Err("begins with `070707`")),
    ("u-root/archive3.cpio", Err("begins with `070707`")),
    ("u-root/archive4.cpio", Err("begins with `070707`")),
    ("u-root/archive5.cpio", Err("begins with `070707`")),
    ("u-root/dir-hard-link.cpio", Ok((2, 2))),
    ("u-root/initramfs_linux_amd64.cpio.gz", Err("the gzip segment at byte 0 of the image is damaged")),
    ("go-rpmutils/foo.cpio", Ok((3, 3))),
    ("go-rpmutils/stripped.cpio", Err("begins with `07070X`")),
    ("go-rpmutils/dotdot.cpio", Err("begins with `\\n`")),
    ("arch-mkinitcpio-2014/initramfs-linux.img", Ok((210, 209))),
];

#[test]
fn e07_archives_of_other_projects_are_read_or_refused() {
    let Some(fixtures) = std::env::var_os("MKINITRD_FIXTURES") else {
        println!("NOT RUN: 22 archives of other projects: set `MKINITRD_FIXTURES` to a directory that has them below `cpio/`");
        return;
    };
    for (name, wanted) in FIXTURES {
        let bytes = fs::read(Path::new(&fixtures).join("cpio").join(name)).expect(name);
        let found = image::read(bytes).and_then(|found| {
            let entries = found.list().count();
            Ok((entries, found.into_tree()?.tree.len()))
        });
        match (found, wanted) {
            (Ok(found), Ok(wanted)) => assert_eq!(found, wanted, "{name}"),
            (Err(err), Err(part)) => assert!(err.to_string().contains(part), "{name}: {err}"),
            (found, wanted) => panic!("{name}: {found:?} instead of {wanted:?}"),
        }
    }
}

#[test]
fn e08_e09_truncated_and_flipped_images_never_panic_or_pass_for_whole() {
    let mut tree = one_file("etc/hostname", "a name");
    insert(&mut tree, b"usr/data", 0o644, Kind::File(mixed_bytes(20_000, 9).into()));
    for text in ALL {
        let (_, bytes) = image_bytes(vec![segment(SegmentName::Base, tree.clone(), text)], &Options::default());
        // Behind the end mark only zeros are missing, which the kernel does not need.
        for cut in (0..bytes.len() - 512).step_by(97) {
            assert!(image::read(bytes[..cut].to_vec()).is_err(), "{text} cut at {cut} of {}", bytes.len());
        }
        let (mut seed, mut same) = (9_u64, 0);
        for _ in 0..1000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (at, bit) = ((seed >> 33) as usize % bytes.len(), seed >> 29 & 7);
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            let merged = image::read(flipped).and_then(image::Found::into_tree);
            same += usize::from(merged.is_ok_and(|merged| facts(&merged.tree) == facts(&tree)));
        }
        // What is neither data nor metadata may flip unseen: a flag of gzip's header, padding, an inode number.
        assert!(same < 100, "{text}: {same} of 1000 flips were not seen");
    }
}
