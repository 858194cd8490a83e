//! `.deb` files, against dpkg-deb and bsdtar on the packages that an initrd of trixie is made of; and what makes such files by hand.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use mkinitrd_pkg::base::digest::Sha256;
use mkinitrd_pkg::family::deb::{Deb, read};
use mkinitrd_pkg::family::{Family, Member, MemberKind, ReadError};
use mkinitrd_pkg::package::{Location, Package};
use mkinitrd_pkg::report::{Reporter, Silent};
use mkinitrd_pkg::store::payload::Store;
use mkinitrd_pkg::tree::TreePath;
use mkinitrd_pkg::unpack::{self, Error, Input, Layout, Unpacked};

/// What an initrd for trixie asks for, and two packages with hard links and zstd-sized files.
const REQUEST: &str = "systemd udev kmod bash less libcryptsetup12 systemd-cryptsetup lvm2 dmsetup e2fsprogs btrfs-progs util-linux \
    mount liblzma5 libfido2-1 libtss2-esys-3.0.2-0t64 libtss2-mu-4.0.1-0t64 libtss2-rc0t64 libtss2-tcti-device0t64 dash coreutils procps \
    ncurses-base perl-base";

/// Runs a tool and returns what it prints; a tool that is not there names its package.
fn run(command: &mut Command, package: &str) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|err| panic!("install `{package}`: {command:?}: {err}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn cache() -> PathBuf {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/test-cache");
    std::env::var_os("MKINITRD_TEST_CACHE").map_or_else(default, PathBuf::from)
}

/// Returns the mirror of Debian that this machine is configured with.
fn mirror() -> String {
    let lists = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten().map(|entry| entry.path());
    let texts = lists.chain([PathBuf::from("/etc/apt/sources.list")]).filter_map(|path| fs::read_to_string(path).ok());
    let words: Vec<String> = texts.flat_map(|text| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect();
    let found = words.into_iter().find(|word| word.contains("://") && word.trim_end_matches('/').ends_with("/debian"));
    found.expect("a mirror of Debian in /etc/apt: configure one")
}

/// Returns the packages of the closure, downloaded once.
fn closure() -> &'static [PathBuf] {
    static CLOSURE: OnceLock<Vec<PathBuf>> = OnceLock::new();
    CLOSURE.get_or_init(|| {
        let root = cache().join("deb-closure");
        let done = root.join("done");
        if !done.exists() {
            download(&root);
            fs::write(&done, "").expect("writing");
        }
        let archives = fs::read_dir(root.join("archives")).expect("the archives").map(|entry| entry.expect("an entry").path());
        let mut files: Vec<_> = archives.filter(|path| path.extension().is_some_and(|extension| extension == "deb")).collect();
        files.sort();
        assert!(files.len() > 90, "{} packages", files.len());
        files
    })
}

fn download(root: &Path) {
    for dir in ["lists/partial", "archives/partial"] {
        fs::create_dir_all(root.join(dir)).expect("a directory");
    }
    let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
    fs::write(root.join("sources.list"), format!("deb [signed-by={keyring}] {} trixie main\n", mirror())).expect("writing");
    fs::write(root.join("status"), "").expect("writing");
    let at = root.display();
    let config = format!(
        "Dir::State::lists \"{at}/lists\";\nDir::State::status \"{at}/status\";\nDir::Cache \"{at}\";\nDir::Cache::archives \"{at}/archives\";\n\
         Dir::Etc::sourcelist \"{at}/sources.list\";\nDir::Etc::sourceparts \"/dev/null\";\nDir::Etc::preferencesparts \"/dev/null\";\n\
         Dir::State::extended_states \"{at}/extended\";\nAPT::Architecture \"amd64\";\nAPT::Architectures {{ \"amd64\"; }};\n\
         APT::Install-Recommends \"false\";\npkgCacheGen::ForceEssential \"none\";\nAPT::Sandbox::User \"\";\nAcquire::Languages \"none\";\n\
         Debug::NoLocking \"true\";\n"
    );
    fs::write(root.join("apt.conf"), config).expect("writing");
    let apt = |args: &[&str]| run(Command::new("apt-get").env("APT_CONFIG", root.join("apt.conf")).args(args), "apt");
    apt(&["update"]);
    let mut args = vec!["install", "--yes", "--download-only"];
    args.extend(REQUEST.split_whitespace());
    apt(&args);
}

/// Describes a package file as its repository would.
fn package(bytes: &[u8]) -> Package {
    let control = read::control(&mut &*bytes).expect("a control file");
    Package {
        name: control.package,
        version: control.version,
        arch: control.arch,
        repo: "test".into(),
        location: Location::File("test.deb".into()),
        sha256: Sha256::of(bytes),
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

/// Unpacks packages that are in memory.
pub struct Build<'a> {
    pub debs: Vec<(Package, Vec<u8>)>,
    pub layout: Layout,
    keep: Box<unpack::Keep<'a>>,
    pub store: Option<Store>,
    pub threads: usize,
}

impl<'a> Build<'a> {
    pub fn of(debs: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let debs = debs.into_iter().map(|bytes| (package(&bytes), bytes)).collect();
        Self { debs, layout: Layout::merged_usr(), keep: Box::new(|_, _| true), store: None, threads: 2 }
    }

    pub fn keep(mut self, keep: impl Fn(&TreePath, &str) -> bool + Sync + 'a) -> Self {
        self.keep = Box::new(keep);
        self
    }

    pub fn run(&self) -> Result<Unpacked, Error> {
        self.report(&Silent)
    }

    pub fn report(&self, reporter: &dyn Reporter) -> Result<Unpacked, Error> {
        type Opener<'b> = Box<dyn Fn() -> io::Result<Box<dyn Read + Send>> + Sync + 'b>;
        let opens: Vec<Opener<'_>> = self
            .debs
            .iter()
            .map(|(_, bytes)| {
                Box::new(move || Ok(Box::new(io::Cursor::new(bytes.clone())) as Box<dyn Read + Send>)) as Opener<'_>
            })
            .collect();
        let inputs: Vec<Input<'_>> = (self.debs.iter().zip(&opens).enumerate())
            .map(|(i, ((package, _), open))| Input { package, index: i as u32, source: unpack::Source::File(open.as_ref()) })
            .collect();
        unpack::unpack(&inputs, &Deb, &self.layout, &*self.keep, self.store.as_ref(), self.threads, reporter)
    }

    pub fn message(&self) -> String {
        let err = self.run().expect_err("refused");
        let mut text = err.to_string();
        let mut cause = std::error::Error::source(&err);
        while let Some(err) = cause {
            text = format!("{text}: {err}");
            cause = err.source();
        }
        text
    }
}

pub fn closure_bytes() -> Vec<Vec<u8>> {
    closure().iter().map(|path| fs::read(path).expect("a package")).collect()
}

/// A file set as one line each, in bsdtar's words.
type Listing = BTreeMap<String, String>;

/// Lists what dpkg-deb says the payload is, through bsdtar, which hashes it.
fn oracle(deb: &Path) -> Listing {
    let mut dpkg = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(deb)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|err| panic!("install `dpkg`: {err}"));
    let fields = "mtree:!all,mtree:type,mtree:mode,mtree:uid,mtree:gid,mtree:size,mtree:time,mtree:link,mtree:sha256";
    let mut bsdtar = Command::new("bsdtar");
    bsdtar.args(["-cf", "-", "--format=mtree", "--options", fields, "@-"]).stdin(dpkg.stdout.take().expect("a pipe"));
    let text = String::from_utf8(run(&mut bsdtar, "libarchive-tools")).expect("text");
    assert!(dpkg.wait().expect("dpkg-deb ends").success());
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let mut words = line.split(' ');
            let name = words.next().expect("a name").to_owned();
            let mut fields: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
            fields.sort();
            (name, fields.join(" "))
        })
        .collect()
}

/// Lists what we read of a payload in the same words.
fn ours(bytes: &[u8]) -> Listing {
    let mut listing = Listing::new();
    Deb.read(&mut &*bytes, &mut |member, data| {
        let (name, line) = describe(member, data)?;
        assert!(listing.insert(name, line).is_none());
        Ok(())
    })
    .expect("a good package");
    listing
}

fn describe(member: Member, data: &mut dyn Read) -> Result<(String, String), ReadError> {
    let meta = member.meta;
    let mut fields = vec![
        format!("gid={}", meta.gid),
        format!("uid={}", meta.uid),
        format!("mode={:o}", meta.mode),
        format!("time={}.0", meta.mtime_s),
    ];
    fields.push(match member.kind {
        MemberKind::Dir => "type=dir".into(),
        MemberKind::Symlink(target) => format!("type=link link={}", escaped(&target)),
        // This is how bsdtar writes a hard link: as a file without content.
        MemberKind::Hardlink(_) => "type=file size=0".into(),
        MemberKind::File(size) => {
            let mut content = Vec::new();
            data.read_to_end(&mut content)?;
            assert_eq!(content.len() as u64, size);
            format!("type=file size={size} sha256digest={}", Sha256::of(&content))
        }
        other => panic!("{other:?} in the closure"),
    });
    let mut fields: Vec<String> = fields.iter().flat_map(|field| field.split(' ').map(str::to_owned)).collect();
    fields.sort();
    let name = if member.path.is_root() { "/.".into() } else { format!("./{}", escaped(member.path.as_bytes())) };
    Ok((name, fields.join(" ")))
}

/// Escapes as mtree(5) does: three octal digits.
fn escaped(name: &[u8]) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'#' | b'=' | b'*' | b'?');
    name.iter().map(|byte| if plain(*byte) { (*byte as char).to_string() } else { format!("\\{byte:03o}") }).collect()
}

#[test]
fn every_package_reads_as_dpkg_deb_reads_it() {
    let mut members = 0;
    for path in closure() {
        let (expected, found) = (oracle(path), ours(&fs::read(path).expect("a package")));
        members += found.len();
        let difference = expected.iter().find(|(name, line)| found.get(*name) != Some(line));
        assert_eq!(difference.map(|(name, line)| (name, Some(line), found.get(name))), None, "{}", path.display());
        assert_eq!(expected.len(), found.len(), "{}", path.display());
    }
    assert!(members > 4000, "{members} members");
}

#[test]
fn control_says_what_dpkg_deb_says() {
    for path in closure() {
        let fields = run(Command::new("dpkg-deb").arg("--field").arg(path).args(["Package", "Version", "Architecture"]), "dpkg");
        let control = read::control(&mut File::open(path).expect("a package")).expect("a control file");
        let text = format!("Package: {}\nVersion: {}\nArchitecture: {}\n", control.package, control.version, control.arch);
        assert_eq!(text.into_bytes(), fields);
        let conffiles = Command::new("dpkg-deb").args(["--info"]).arg(path).arg("conffiles").output().expect("dpkg-deb");
        let expected: Vec<String> = match conffiles.status.success() {
            true => String::from_utf8(conffiles.stdout).expect("text").lines().map(path_of_conffile).collect(),
            false => Vec::new(),
        };
        assert_eq!(control.conffiles, expected, "{}", path.display());
    }
}

/// Drops the flag that may stand before a path.
fn path_of_conffile(line: &str) -> String {
    line.trim().trim_start_matches("remove-on-upgrade ").to_owned()
}

// Packages made by hand.

/// Builds a package with dpkg-deb; `fill` makes its files.
pub fn deb_of(fill: impl FnOnce(&Path), compression: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let root = dir.path().join("root");
    fs::create_dir_all(root.join("DEBIAN")).expect("a directory");
    let control = "Package: toy\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: toy\n";
    fs::write(root.join("DEBIAN/control"), control).expect("writing");
    fill(&root);
    let out = dir.path().join("toy.deb");
    run(Command::new("dpkg-deb").args(["--root-owner-group", compression, "--build"]).arg(&root).arg(&out), "dpkg");
    fs::read(out).expect("the package")
}

/// Builds an ar archive.
fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut all = b"!<arch>\n".to_vec();
    for (name, data) in members {
        writeln!(all, "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`", 0, 0, 0, "100644", data.len()).expect("memory");
        all.extend_from_slice(data);
        all.resize(all.len().next_multiple_of(2), b'\n');
    }
    all
}

/// A member of a tar archive: name, type, link target, content, mode.
pub type Made<'a> = (&'a str, u8, &'a str, &'a [u8], u32);

fn tar(members: &[Made<'_>]) -> Vec<u8> {
    let mut all = Vec::new();
    for (name, kind, link, data, mode) in members {
        let mut block = [0u8; 512];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[157..157 + link.len()].copy_from_slice(link.as_bytes());
        let numbers = format!("{mode:07o}\0{:07o}\0{:07o}\0{:011o}\0{:011o}\0", 0, 0, data.len(), 1_000_000);
        block[100..148].copy_from_slice(numbers.as_bytes());
        block[156] = *kind;
        block[257..265].copy_from_slice(b"ustar\x0000");
        if matches!(kind, b'3' | b'4') {
            block[329..345].copy_from_slice(if name.ends_with("null") {
                b"0000001\x000000003\0"
            } else {
                b"0000001\x000000001\0"
            });
        }
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        all.extend_from_slice(&block);
        all.extend_from_slice(data);
        all.resize(all.len().next_multiple_of(512), 0);
    }
    all.resize(all.len() + 1024, 0);
    all
}

pub const FILE: u8 = b'0';
pub const HARD: u8 = b'1';
pub const SOFT: u8 = b'2';
pub const CHAR: u8 = b'3';
pub const BLOCK: u8 = b'4';
pub const DIR: u8 = b'5';
pub const FIFO: u8 = b'6';

/// Builds a record of a PAX header, whose length counts itself.
pub fn pax(key: &str, value: &str) -> String {
    let record = |length: usize| format!("{length} {key}={value}\n");
    (0..)
        .map(record)
        .find(|text| text.split(' ').next().is_some_and(|length| length == text.len().to_string()))
        .expect("a length")
}

fn control_tar(name: &str) -> Vec<u8> {
    tar(&[("./control", FILE, "", format!("Package: {name}\nVersion: 1\nArchitecture: all\n").as_bytes(), 0o644)])
}

/// Builds a package called `name` around a payload.
pub fn deb(name: &str, members: &[Made<'_>]) -> Vec<u8> {
    ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control_tar(name)), ("data.tar", &tar(members))])
}

fn visit_all(bytes: &[u8]) -> Result<usize, ReadError> {
    let mut count = 0;
    Deb.read(&mut &*bytes, &mut |_, data| {
        count += 1;
        io::copy(data, &mut io::sink())?;
        Ok(())
    })?;
    Ok(count)
}

#[test]
fn every_compression_of_dpkg_deb_is_read() {
    let fill = |root: &Path| {
        fs::create_dir_all(root.join("usr/bin")).expect("a directory");
        fs::write(root.join("usr/bin/f"), vec![b'x'; 300_000]).expect("writing");
        fs::hard_link(root.join("usr/bin/f"), root.join("usr/bin/g")).expect("linking");
        let long = root.join("usr").join("d".repeat(120));
        fs::create_dir_all(&long).expect("a directory");
        std::os::unix::fs::symlink("e".repeat(150), long.join("l")).expect("linking");
    };
    let dir = tempfile::tempdir().expect("a temporary directory");
    for compression in ["-Zxz", "-Zgzip", "-Zzstd", "-Znone"] {
        let bytes = deb_of(fill, compression);
        let path = dir.path().join("toy.deb");
        fs::write(&path, &bytes).expect("writing");
        let tree = Build::of([bytes.clone()]).run().expect(compression).tree;
        assert!(crate::unpack::contents_are_shared(&tree, "usr/bin/f", "usr/bin/g"));
        assert_eq!(ours(&bytes), oracle(&path), "{compression}");
    }
}

#[test]
fn e13_other_compressions_are_named() {
    let bytes = ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control_tar("toy")), ("data.tar.lz", b"LZIP")]);
    let message = visit_all(&bytes).expect_err("refused").to_string();
    assert!(message.contains("`data.tar.lz` is not supported"), "{message}");
}

#[test]
fn d20_members_of_the_archive_are_judged_as_by_dpkg() {
    let (control, data) = (control_tar("toy"), tar(&[("./", DIR, "", b"", 0o755), ("./f", FILE, "", b"x", 0o644)]));
    let (version, control, data) = (("debian-binary", &b"2.0\n"[..]), ("control.tar", &control[..]), ("data.tar", &data[..]));
    // The last column: what dpkg-deb does with it. Where we are stricter, it stops reading at `data.tar` and so sees nothing wrong.
    type Row<'a> = (&'static str, Vec<(&'a str, &'a [u8])>, bool, bool);
    let table: Vec<Row<'_>> = vec![
        ("plain", vec![version, control, data], true, true),
        ("minor version", vec![("debian-binary", b"2.9\nmore\n"), control, data], true, true),
        ("signatures", vec![version, ("_gpgorigin", b"abc"), control, ("_x", b""), data, ("_gpgbuilder", b"y")], true, true),
        ("major version", vec![("debian-binary", b"3.0\n"), control, data], false, false),
        ("no newline", vec![("debian-binary", b"2.0"), control, data], false, false),
        ("version comes second", vec![control, version, data], false, false),
        ("data before control", vec![version, data, control], false, false),
        ("no control", vec![version, data], false, false),
        ("no data", vec![version, control], false, false),
        ("nothing", vec![], false, false),
        ("two controls", vec![version, control, control, data], false, false),
        ("unknown member", vec![version, ("notes", b"x"), control, data], false, false),
        ("empty data", vec![version, control, ("data.tar", b"")], false, false),
        ("two data", vec![version, control, data, data], false, true),
        ("unknown member behind", vec![version, control, data, ("notes", b"x")], false, true),
    ];
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("toy.deb");
    for (what, members, ours, dpkgs) in table {
        let bytes = ar(&members);
        assert_eq!(visit_all(&bytes).is_ok(), ours, "{what}");
        fs::write(&path, &bytes).expect("writing");
        let target = tempfile::tempdir().expect("a temporary directory");
        let output = Command::new("dpkg-deb").arg("--extract").arg(&path).arg(target.path()).output().expect("dpkg-deb");
        assert_eq!(output.status.success(), dpkgs, "dpkg-deb: {what}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn d10_a_package_must_be_the_one_that_was_promised() {
    let bytes = deb("toy", &[("./f", FILE, "", b"x", 0o644)]);
    type Change = fn(&mut Package);
    let changes: [(&str, Change); 4] = [
        ("the name in the package is `toy`", |package| package.name = "other".into()),
        ("the version in the package is `1`", |package| package.version = "2".into()),
        ("the architecture in the package is `all`", |package| package.arch = "amd64".into()),
        ("the digest in the package is", |package| package.sha256 = Sha256::of(b"")),
    ];
    for (expected, change) in changes {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut build = Build::of([bytes.clone()]);
        build.store = Some(Store::new(dir.path(), true));
        build.run().expect("the right package");
        change(&mut build.debs[0].0);
        let message = build.message();
        assert!(message.contains(expected), "{message} lacks {expected}");
    }
}

#[test]
fn e01_names_cannot_leave_the_root() {
    let accepted = [("./usr/f", "usr/f"), ("/usr/f", "usr/f"), ("././usr//f", "usr/f"), ("usr/./f", "usr/f")];
    for (name, expected) in accepted {
        let tree = Build::of([deb("toy", &[(name, FILE, "", b"x", 0o644)])]).run().expect(name).tree;
        assert!(tree.get(&TreePath::literal(expected)).is_some(), "{name}");
    }
    for name in ["../x", "a/../../x", "..", "./..", "a/..", "x/", "a\nb", "."] {
        assert!(Build::of([deb("toy", &[(name, FILE, "", b"x", 0o644)])]).run().is_err(), "{name:?}");
    }
}

#[test]
fn e06_what_gnu_tar_writes_is_read_as_bsdtar_reads_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let root = dir.path().join("root");
    let deep = root.join("d".repeat(90)).join("e".repeat(90)).join("f".repeat(90));
    fs::create_dir_all(&deep).expect("a directory");
    fs::write(deep.join("file with spaces"), "x").expect("writing");
    std::os::unix::fs::symlink("t".repeat(300), root.join("link")).expect("linking");
    fs::write(root.join("empty"), "").expect("writing");
    let archive = dir.path().join("data.tar");
    for options in
        [&["--format=gnu"][..], &["--format=posix"], &["--format=gnu", "--owner=:3000000"], &["--format=posix", "--mtime=@-5"]]
    {
        let mut command = Command::new("tar");
        command.args(["--sort=name", "--owner=:0", "--group=:0", "--mode=go-w"]).args(options);
        if options.len() == 1 {
            command.arg("--mtime=@1000000");
        }
        run(command.arg("-cf").arg(&archive).arg("-C").arg(&root).arg("."), "tar");
        let data = fs::read(&archive).expect("the archive");
        let bytes = ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control_tar("toy")), ("data.tar", &data)]);
        let path = dir.path().join("toy.deb");
        fs::write(&path, &bytes).expect("writing");
        let (mut found, mut expected) = (ours(&bytes), oracle(&path));
        // newc has no times before 1970: they become 0. The directories' real times are no matter here.
        for listing in [&mut found, &mut expected] {
            listing.values_mut().for_each(|line| *line = line.split(' ').filter(|word| !word.starts_with("time=")).collect());
        }
        assert_eq!(found, expected, "{options:?}");
    }
    fs::write(root.join("sparse"), "").expect("writing");
    File::options().write(true).open(root.join("sparse")).and_then(|file| file.set_len(10 << 20)).expect("a hole");
    for format in ["--format=gnu", "--format=posix"] {
        run(Command::new("tar").args([format, "--sparse", "-cf"]).arg(&archive).arg("-C").arg(&root).arg("sparse"), "tar");
        let data = fs::read(&archive).expect("the archive");
        let bytes = ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control_tar("toy")), ("data.tar", &data)]);
        assert!(visit_all(&bytes).expect_err("sparse").to_string().contains("sparse"));
    }
}

/// The smallest package of the closure that holds a program.
fn small() -> Vec<u8> {
    let files = closure().iter().map(|path| fs::read(path).expect("a package"));
    files.filter(|bytes| bytes.len() > 20_000).min_by_key(Vec::len).expect("a package")
}

#[test]
fn e08_a_truncated_package_is_refused() {
    for bytes in [small(), deb_of(|root| fs::write(root.join("f"), vec![1; 9000]).expect("writing"), "-Znone")] {
        let step = if bytes.len() > 20_000 { 127 } else { 13 };
        for end in (0..bytes.len()).step_by(step).chain(bytes.len() - 10..bytes.len()) {
            assert!(visit_all(&bytes[..end]).is_err(), "cut at {end} of {}", bytes.len());
        }
    }
    let large = closure().iter().map(|path| fs::read(path).expect("a package")).max_by_key(Vec::len).expect("a package");
    for end in (1..large.len() / 1024).map(|kib| kib * 1024).filter(|end| end % (large.len() / 20_480 * 1024) == 0) {
        assert!(visit_all(&large[..end]).is_err(), "cut at {end} of {}", large.len());
    }
}

#[test]
fn e09_ten_thousand_flipped_bits_end_in_time() {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let fill = |root: &Path| {
        for i in 0..9 {
            fs::write(root.join(format!("f{i}")), format!("{i}").repeat(700)).expect("writing");
        }
        std::os::unix::fs::symlink("f0", root.join("l")).expect("linking");
        fs::hard_link(root.join("f1"), root.join("h")).expect("linking");
    };
    let packages = ["-Zxz", "-Zgzip", "-Zzstd", "-Znone"].map(|compression| deb_of(fill, compression));
    let mut refused = 0;
    for round in 0..10_000 * crate::program::effort() {
        let mut bytes = packages[round % packages.len()].clone();
        let bit = random(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let begin = Instant::now();
        // No digest stops these bytes: the parsers see them.
        refused += usize::from(visit_all(&bytes).is_err());
        if let Ok(control) = read::control(&mut &*bytes) {
            assert!(!control.package.is_empty());
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "spinning: bit {bit} of round {round}");
        // With the digest every flip is refused.
        let promised = package(&packages[round % packages.len()]);
        let build = Build { debs: vec![(promised, bytes)], ..Build::of([]) };
        assert!(build.run().is_err(), "bit {bit} of round {round}");
    }
    assert!(refused > 5_000, "{refused} were refused");
}

#[test]
fn e10_bombs_stop_at_what_the_package_claims() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let big = dir.path().join("big");
    File::create(&big).and_then(|file| file.set_len(256 << 20)).expect("a hole");
    let mut header = tar(&[("f", FILE, "", b"", 0o644)]);
    header.truncate(512);
    header[124..136].copy_from_slice(b"02000000000\0");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    for (tool, args, member) in [("zstd", &["-q", "-c"][..], "data.tar.zst"), ("gzip", &["-1", "-c"], "data.tar.gz")] {
        let compress = |input: &[u8], file: Option<&Path>| {
            let mut child = Command::new(tool)
                .args(args)
                .stdin(file.map_or_else(Stdio::piped, |path| File::open(path).expect("the hole").into()))
                .stdout(Stdio::piped())
                .spawn()
                .unwrap_or_else(|err| panic!("install `{tool}`: {err}"));
            if let Some(mut stdin) = child.stdin.take() {
                stdin.write_all(input).expect("writing");
            }
            child.wait_with_output().expect("the tool ends").stdout
        };
        let data = [compress(&header, None), compress(b"", Some(&big))].concat();
        let bytes = ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control_tar("toy")), (member, &data)]);
        let mut build = Build::of([bytes]);
        build.debs[0].0.installed_bytes = 5_000_000;
        let message = build.message();
        assert!(message.contains("the payload exceeds the limit"), "{message}");
        // The same in the place of the control file, where nobody declares a size.
        let control = format!("control.tar{}", &member["data.tar".len()..]);
        let bytes = ar(&[("debian-binary", b"2.0\n"), (&control, &data), ("data.tar", &tar(&[]))]);
        assert!(visit_all(&bytes).is_err());
        // Zeros for ever where the archive should end.
        let endless = compress(b"", Some(&big));
        let bytes = ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control_tar("toy")), (member, &endless)]);
        assert!(visit_all(&bytes).expect_err("refused").to_string().contains("exceeds the limit"));
    }
}

#[test]
fn e11_names_have_limits() {
    let name = |length: usize| "n".repeat(length);
    let long = |path: &str| {
        let content = pax("path", path);
        deb("toy", &[("pax", b'x', "", content.as_bytes(), 0o644), ("short", FILE, "", b"x", 0o644)])
    };
    assert!(visit_all(&long(&name(255))).is_ok());
    assert!(visit_all(&long(&name(256))).is_err());
    let deep = format!("{}/", name(127));
    assert!(visit_all(&long(&(deep.repeat(31) + &name(127)))).is_ok());
    assert!(visit_all(&long(&(deep.repeat(32) + "x"))).is_err());
    assert!(visit_all(&long(&"d/".repeat(2047))).is_err(), "a file whose name ends with a slash");
    assert!(visit_all(&long(&("d/".repeat(2000) + "f"))).is_ok());
    let many: Vec<u8> = tar(&[("f", FILE, "", b"", 0o644)])[..512].repeat(600_000);
    let bytes = ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control_tar("toy")), ("data.tar", &many)]);
    assert!(visit_all(&bytes).expect_err("too many").to_string().contains("number of members"));
}
