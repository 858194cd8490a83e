//! Pinned digests: a small repository's packages become the same bytes in every version of this program, or the change is admitted here.
//!
//! The packages are written by hand, byte for byte, so that no tool's version has a say. A new version of a compression crate, another
//! order of entries, another mode or padding changes a digest; whoever does that on purpose pins the new one and says so in the
//! changelog: images that were reproducible no longer are.

use std::io::{self, Cursor, Read};

use mkinitrd_pkg::base::digest::Sha256;
use mkinitrd_pkg::family::deb::Deb;
use mkinitrd_pkg::pack::{self, Options, Segment, SegmentName};
use mkinitrd_pkg::package::{Location, Package};
use mkinitrd_pkg::report::Silent;
use mkinitrd_pkg::tree::{Entry, Origin, Tree, TreePath};
use mkinitrd_pkg::unpack::{Input, Layout, Source, unpack};

/// A file of a package: path, mode, type flag of tar, link target, content.
type File<'a> = (&'a str, u32, u8, &'a str, &'a [u8]);

const TIME_S: u64 = 1_700_000_000;

fn tar(files: &[File<'_>]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (path, mode, flag, link, content) in files {
        let mut header = [0_u8; 512];
        header[..path.len()].copy_from_slice(path.as_bytes());
        for (at, text) in [
            (100, format!("{mode:07o}")),
            (108, format!("{:07o}", 0)),
            (116, format!("{:07o}", 0)),
            (124, format!("{:011o}", content.len())),
            (136, format!("{TIME_S:011o}")),
        ] {
            header[at..at + text.len()].copy_from_slice(text.as_bytes());
        }
        header[148..156].fill(b' ');
        header[156] = *flag;
        header[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.extend_from_slice(&header);
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

fn deb(name: &str, files: &[File<'_>]) -> Vec<u8> {
    let control = format!("Package: {name}\nVersion: 1.0\nArchitecture: all\nMaintainer: T <t@example.org>\nDescription: test\n");
    let members: [(&str, Vec<u8>); 3] = [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar", tar(&[("./control", 0o644, b'0', "", control.as_bytes())])),
        ("data.tar", tar(files)),
    ];
    let mut archive = b"!<arch>\n".to_vec();
    for (member, bytes) in members {
        let head = format!("{member:<16}{TIME_S:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 100_644, bytes.len());
        archive.extend_from_slice(head.as_bytes());
        archive.extend_from_slice(&bytes);
        archive.resize(archive.len().next_multiple_of(2), b'\n');
    }
    archive
}

fn package(name: &str, file: &[u8]) -> Package {
    Package {
        name: name.to_owned(),
        version: "1.0".to_owned(),
        arch: "all".to_owned(),
        repo: "test/main".to_owned(),
        location: Location::File(format!("/{name}.deb").into()),
        sha256: Sha256::of(file),
        size_bytes: file.len() as u64,
        proof: None,
        seal: None,
        installed_bytes: 0,
        source: name.to_owned(),
        rank: 30,
        requires: Vec::new(),
        recommends: Vec::new(),
        provides: Vec::new(),
        conflicts: Vec::new(),
    }
}

/// The tree of two packages that have a bit of everything: merged directories, links of both kinds, odd modes, much and no content.
fn tree() -> Tree {
    let lines: Vec<u8> = (0..20_000_u32).flat_map(|number| format!("{number}\n").into_bytes()).collect();
    let first = deb(
        "first",
        &[
            ("./", 0o755, b'5', "", b""),
            ("./usr/", 0o755, b'5', "", b""),
            ("./usr/bin/", 0o755, b'5', "", b""),
            ("./usr/bin/run", 0o755, b'0', "", b"#!/bin/sh\n"),
            ("./usr/bin/again", 0o755, b'1', "./usr/bin/run", b""),
            ("./lib/numbers", 0o644, b'0', "", &lines),
            ("./etc/secret/", 0o700, b'5', "", b""),
            ("./etc/secret/empty", 0o600, b'0', "", b""),
        ],
    );
    let second =
        deb("second", &[("./usr/lib/link", 0o777, b'2', "numbers", b""), ("./usr/share/doc/x", 0o644, b'0', "", b"doc")]);
    let files = [first, second];
    let packages = [package("first", &files[0]), package("second", &files[1])];
    let open = |index: usize| {
        let bytes = files[index].clone();
        move || -> io::Result<Box<dyn Read + Send>> { Ok(Box::new(Cursor::new(bytes.clone()))) }
    };
    let opens = [open(0), open(1)];
    let inputs: Vec<Input<'_>> = packages
        .iter()
        .zip(&opens)
        .zip(0..)
        .map(|((package, open), index)| Input { package, index, source: Source::File(open) })
        .collect();
    let keep = |path: &TreePath, _: &str| !path.is_under(&TreePath::literal("usr/share/doc"));
    unpack(&inputs, &Deb, &Layout::merged_usr(), &keep, None, 2, &Silent).expect("unpacks").tree
}

fn image(compression: &str) -> Sha256 {
    let mut host = Tree::new();
    host.put(&TreePath::literal("etc/mkinitrd-pkg/manifest.json"), Entry::file("{}\n", Origin::Made("manifest"))).expect("fits");
    let segment = |name, tree, compression: &str| Segment { name, tree, compression: compression.parse().expect("known") };
    let segments = vec![segment(SegmentName::Base, tree(), compression), segment(SegmentName::Host, host, "none")];
    let options = Options { epoch_s: 1_600_000_000, threads: 2, ..Options::default() };
    let image = pack::pack(segments, &options, &Silent).expect("packs");
    let mut bytes = Vec::new();
    image.write_to(&mut bytes).expect("writing to memory");
    Sha256::of(&bytes)
}

#[test]
fn the_images_of_a_small_repository_are_the_pinned_ones() {
    let pinned = [
        ("none", "7ea4cd43ac79f248bf713370f35fa87c16be5d3dc61eb1a106a89e9980e37048"),
        ("zstd:3", "ef1265bd48a51c3387e1c5a8017b520528863d7c445033a900c515011cad04fa"),
        ("zstd:9", "d298ae281eeeb06442ad91d6f579d05fe34c5a167c517572ab48c0a320a50316"),
        ("xz:6", "a7cb36d1119822157c94ffb4b1bb21a3d5dcd1d3784c69b9da3872e208f24ccf"),
        ("gzip:6", "4ff1a86c458c0211be594b7a4c231ce5b81d0ffa222e9127ef7cdeb0833af03f"),
        ("lz4", "7694584c36b4a6fbc52a952031802c7a9f08d208c7576573a13053f33465ea32"),
    ];
    let wrong: Vec<String> = pinned
        .iter()
        .map(|(compression, digest)| (compression, *digest, image(compression).to_string()))
        .filter(|(_, digest, found)| digest != found)
        .map(|(compression, digest, found)| format!("{compression}: {found}, pinned is {digest}"))
        .collect();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
