//! The parsers, each with what it is fed: whole inputs of the mini repositories.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use mkinitrd_pkg::base::digest::Sha256;
use mkinitrd_pkg::base::trust::{RsaSignature, Seen, SignedBy, Signer};
use mkinitrd_pkg::family::alpm::{config, index::AlpmCatalog, installed::Database, mtree};
use mkinitrd_pkg::family::apk::{self, index::ApkCatalog, segments};
use mkinitrd_pkg::family::door::{Door, DoorError};
use mkinitrd_pkg::family::repo::{Index, Options, Policy};
use mkinitrd_pkg::family::rpm::{self, index::RpmCatalog};
use mkinitrd_pkg::family::{self, ReadError};
use mkinitrd_pkg::package::{Catalog, Location};

use crate::repositories::{Family, Set, repository};

/// A parser under test.
pub struct Target {
    pub name: &'static str,
    /// Whole inputs.
    pub corpus: fn() -> Vec<Vec<u8>>,
    /// Reads one, and tells whether it was accepted.
    pub parse: fn(&[u8]) -> bool,
}

pub const ALL: [Target; 17] = [
    Target { name: "rpm-package", corpus: || packages(Family::Fedora, ".rpm"), parse: |input| read("rpm", input) },
    Target { name: "rpm-payload", corpus: rpm_payloads, parse: rpm_payload },
    Target { name: "rpm-repomd", corpus: || vec![file(Family::Fedora, "repodata/repomd.xml")], parse: repomd },
    Target { name: "rpm-primary", corpus: || vec![metadata("primary.xml"), small_primary()], parse: |input| primary(input, b"") },
    Target { name: "rpm-filelists", corpus: || vec![metadata("filelists.xml")], parse: filelists },
    Target { name: "alpm-package", corpus: || packages(Family::Arch, ".pkg.tar.zst"), parse: |input| read("alpm", input) },
    Target {
        name: "alpm-members",
        corpus: alpm_members,
        parse: |input| read("alpm", &zstd::encode_all(input, 1).expect("memory")),
    },
    Target {
        name: "alpm-mtree",
        corpus: || vec![gunzip(&member(&alpm_members()[0], b".MTREE"))],
        parse: |input| mtree::parse(input).is_ok(),
    },
    Target {
        name: "alpm-database",
        corpus: || vec![file(Family::Arch, "core.db"), gunzip(&file(Family::Arch, "core.db"))],
        parse: database,
    },
    Target { name: "alpm-installed", corpus: || vec![installed_alpm()], parse: local },
    Target { name: "alpm-config", corpus: || vec![CONFIG.to_vec()], parse: pacman_conf },
    Target { name: "apk-package", corpus: || packages(Family::Alpine, ".apk"), parse: |input| read("apk", input) },
    Target { name: "apk-segments", corpus: || packages(Family::Alpine, ".apk"), parse: apk_segments },
    Target { name: "apk-control", corpus: || vec![apk_control()], parse: apk_control_again },
    Target {
        name: "apk-index-file",
        corpus: || vec![file(Family::Alpine, "x86_64/APKINDEX.tar.gz")],
        parse: |input| apk::repository::unpack(input).is_ok(),
    },
    Target { name: "apk-index", corpus: || vec![apk_index()], parse: apk_catalog },
    Target { name: "apk-installed", corpus: || vec![INSTALLED.to_vec()], parse: apk_installed },
];

// ---- inputs ---------------------------------------------------------------------------------------------------------

fn dir(family: Family) -> PathBuf {
    repository(family, Set::Mini).dir
}

fn file(family: Family, name: &str) -> Vec<u8> {
    fs::read(dir(family).join(name)).expect(name)
}

/// The smallest packages: so there are more rounds.
fn packages(family: Family, end: &str) -> Vec<Vec<u8>> {
    let files = repository(family, Set::Mini).packages();
    let files = files.iter().filter(|path| path.to_string_lossy().ends_with(end));
    let mut found: Vec<Vec<u8>> = files.map(|path| fs::read(path).expect("a package")).collect();
    found.sort_by_key(Vec::len);
    found.truncate(8);
    found
}

fn metadata(kind: &str) -> Vec<u8> {
    let entries =
        fs::read_dir(dir(Family::Fedora).join("repodata")).expect("metadata").map(|entry| entry.expect("an entry").path());
    let path = entries.into_iter().find(|path| path.to_string_lossy().contains(kind)).expect(kind);
    let bytes = fs::read(&path).expect("metadata");
    if path.extension().is_some_and(|extension| extension == "zst") {
        zstd::decode_all(&bytes[..]).expect("zstd")
    } else {
        gunzip(&bytes)
    }
}

/// One package of the list, so that a round hits more of it.
fn small_primary() -> Vec<u8> {
    let text = String::from_utf8(metadata("primary.xml")).expect("text");
    let (head, rest) = text.split_once("<package ").expect("a package");
    let package = rest.split("<package ").find(|package| package.contains("<name>iputils")).expect("iputils");
    let package = package.split("</package>").next().expect("a package");
    format!("{head}<package {package}</package>\n</metadata>\n").into_bytes()
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut out).expect("gzip");
    out
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// Returns a member of an archive.
fn member(archive: &[u8], name: &[u8]) -> Vec<u8> {
    let mut archive = mkinitrd_pkg::format::tar::Archive::new(archive);
    while let Some(entry) = archive.next_entry().expect("an archive") {
        if entry.name == name {
            let mut content = Vec::new();
            archive.read_to_end(&mut content).expect("its content");
            return content;
        }
    }
    panic!("no {}", name.escape_ascii());
}

const CONFIG: &[u8] = b"[options]\nRootDir = /\nHoldPkg = pacman glibc\nIgnorePkg = linux*\nArchitecture = auto\nSigLevel = Required DatabaseOptional\n\
    LocalFileSigLevel = Optional\n[core]\nInclude = /etc/pacman.d/mirrorlist\n[extra]\nSigLevel = PackageOptional DatabaseTrustAll\nUsage = Sync Search\n\
    Server = https://example.org/$repo/os/$arch\n";

const INSTALLED: &[u8] = b"C:Q1p78yvTLG094tHE1+dToJGbmYzQE=\nP:busybox\nV:1.36.1-r0\nA:x86_64\nS:508000\nI:950000\nT:Size optimized toolbox\nF:bin\nR:busybox\n\
    a:0:0:755\nZ:Q1gGEUqr5kR3dA2Ga9h6Y6xJ0/2Ag=\nF:etc\nM:0:0:755\nR:securetty\nZ:Q1mB95Hq2NUTZ599RDiSsj9w5FrOU=\n\n\
    C:Q1p78yvTLG094tHE1+dToJGbmYzQE=\nP:bash\nV:5.2.15-r5\nA:x86_64\nF:bin\nR:bash\na:0:0:755\nZ:Q1gGEUqr5kR3dA2Ga9h6Y6xJ0/2Ag=\n\n";

// ---- all families ---------------------------------------------------------------------------------------------------

/// Reads a package, all its contents too.
fn read(family: &str, input: &[u8]) -> bool {
    let family = family::by_name(family).expect("a family");
    let mut visit = |_: family::Member, data: &mut dyn Read| -> Result<(), ReadError> {
        std::io::copy(data, &mut std::io::sink())?;
        Ok(())
    };
    family.read(&mut &*input, &mut visit).is_ok()
}

/// Asks a catalog for all that it has.
fn exhaust(catalog: &dyn Catalog) -> bool {
    for id in 0..catalog.len() as u32 {
        let _ = (catalog.relations(id).is_ok(), catalog.package(id).is_ok());
        let _ = (catalog.named(catalog.name(id)).len(), catalog.providers(catalog.version(id)).len());
    }
    let _ = (catalog.providers("/usr/bin/ping").len(), catalog.providers("/usr/share/nothing").len());
    !catalog.is_empty()
}

fn index(bytes: &[u8]) -> Index {
    Index::new("fixture", Location::File("/nowhere".into()), bytes.to_vec())
}

// ---- rpm ------------------------------------------------------------------------------------------------------------

const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A package up to its payload.
fn rpm_head() -> (Vec<u8>, Vec<u8>) {
    let package = packages(Family::Fedora, "64.rpm").swap_remove(0);
    let at = package.windows(4).position(|bytes| bytes == ZSTD_MAGIC).expect("a payload in zstd");
    (package[..at].to_vec(), package[at..].to_vec())
}

fn rpm_payloads() -> Vec<Vec<u8>> {
    vec![zstd::decode_all(&rpm_head().1[..]).expect("zstd")]
}

/// Reads a payload behind the header that it had. Its digest is wrong when it is changed, and that is seen at its end.
fn rpm_payload(input: &[u8]) -> bool {
    thread_local!(static HEAD: (Vec<u8>, Vec<u8>) = rpm_head());
    HEAD.with(|(head, payload)| {
        let is_whole = zstd::decode_all(&payload[..]).expect("zstd") == input;
        let compressed = if is_whole { payload.clone() } else { zstd::encode_all(input, 1).expect("memory") };
        read("rpm", &[head.clone(), compressed].concat())
    })
}

/// The files of a repository, its list changed.
struct World<'a> {
    dir: &'a Path,
    repomd: &'a [u8],
}

impl Door for World<'_> {
    fn fetch(&self, from: &Location, _: u64) -> Result<Option<Vec<u8>>, DoorError> {
        Ok(from.to_string().ends_with("repomd.xml").then(|| self.repomd.to_vec()))
    }

    fn fetch_exact(&self, from: &Location, sha256: &Sha256, _: u64) -> Result<Option<Vec<u8>>, DoorError> {
        let name = from.to_string().rsplit('/').next().unwrap_or_default().to_owned();
        Ok(fs::read(self.dir.join("repodata").join(name)).ok().filter(|bytes| Sha256::of(bytes) == *sha256))
    }

    fn cached(&self, _: &Sha256) -> Option<Vec<u8>> {
        None
    }

    fn keep(&self, _: &Sha256, _: &[u8]) {}

    fn verify(&self, _: &SignedBy, _: &[u8], _: &[u8]) -> Result<Signer, DoorError> {
        unreachable!("nothing is verified")
    }

    fn verify_rsa(&self, _: &SignedBy, _: &[u8], _: &RsaSignature) -> Result<Signer, DoorError> {
        unreachable!("nothing is verified")
    }

    fn seen(&self, _: &str) -> Option<Seen> {
        None
    }

    fn remember(&self, _: &Seen) {}

    fn names(&self, _: &Path) -> Vec<String> {
        Vec::new()
    }

    fn warn(&self, _: &str) {}
}

fn repomd(input: &[u8]) -> bool {
    thread_local!(static DIR: PathBuf = dir(Family::Fedora));
    DIR.with(|dir| {
        let spec = rpm::sources::parse_repo(&dir.display().to_string(), Path::new("/")).expect("an address").swap_remove(0);
        let options = Options { verify: false, offline: false, expired: true, files: true, now: 1_800_000_000 };
        rpm::repository::open(&spec, &World { dir, repomd: input }, &options).is_ok()
    })
}

fn filelists(input: &[u8]) -> bool {
    thread_local!(static PRIMARY: Vec<u8> = small_primary());
    PRIMARY.with(|list| primary(list, input))
}

fn primary(primary: &[u8], filelists: &[u8]) -> bool {
    let (label, base) = ("fixture".to_owned(), Location::File("/nowhere".into()));
    let index = rpm::index::Index {
        label,
        base,
        policy: Policy::default(),
        primary: primary.to_vec(),
        filelists: filelists.to_vec(),
        seals: None,
        has_unread_files: false,
    };
    RpmCatalog::new("x86_64", vec![index]).is_ok_and(|catalog| exhaust(&catalog))
}

// ---- alpm -----------------------------------------------------------------------------------------------------------

fn alpm_members() -> Vec<Vec<u8>> {
    let smallest = packages(Family::Arch, ".pkg.tar.zst");
    smallest.iter().take(2).map(|package| zstd::decode_all(&package[..]).expect("zstd")).collect()
}

fn database(input: &[u8]) -> bool {
    AlpmCatalog::new("x86_64", vec![index(input)]).is_ok_and(|catalog| exhaust(&catalog))
}

/// `desc` and `files` of an installed package, in one input.
fn installed_alpm() -> Vec<u8> {
    let sync = gunzip(&file(Family::Arch, "core.files"));
    let mut archive = mkinitrd_pkg::format::tar::Archive::new(&sync[..]);
    let mut found = Vec::new();
    while let Some(entry) = archive.next_entry().expect("an archive") {
        if entry.name.starts_with(b"iputils") && entry.kind == mkinitrd_pkg::format::tar::Kind::File {
            archive.read_to_end(&mut found).expect("its content");
            found.push(b'\n');
        }
    }
    found
}

fn local(input: &[u8]) -> bool {
    thread_local!(static ROOT: tempfile::TempDir = tempfile::tempdir().expect("a temporary directory"));
    ROOT.with(|root| {
        let entry = root.path().join("local/iputils-3:20240905-3");
        fs::create_dir_all(&entry).expect("a directory");
        let at = input.windows(7).position(|bytes| bytes == b"%FILES%").unwrap_or(input.len());
        fs::write(entry.join("desc"), &input[..at]).expect("writing");
        fs::write(entry.join("files"), &input[at..]).expect("writing");
        Database::open(root.path(), Some("/"))
            .is_ok_and(|database| database.is_some_and(|database| database.packages().count() > 0))
    })
}

fn pacman_conf(input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input).into_owned();
    let include = |name: &str| vec![(name.to_owned(), "Server = https://example.org/$repo\nInclude = /again\n".to_owned())];
    let config = config::parse("/etc/pacman.conf", &text, &include);
    !config.specs("x86_64").0.is_empty()
}

// ---- apk ------------------------------------------------------------------------------------------------------------

fn apk_segments(input: &[u8]) -> bool {
    segments::split(input).is_ok()
}

/// The control segment of a package, decompressed, and behind it the rest of the package as it is.
fn apk_parts() -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let package = packages(Family::Alpine, ".apk").swap_remove(0);
    let starts: Vec<usize> =
        package.windows(4).enumerate().filter(|(_, bytes)| *bytes == [0x1f, 0x8b, 8, 0]).map(|(at, _)| at).collect();
    let [signature, control, data] = starts[..] else { panic!("{} segments", starts.len()) };
    (package[signature..control].to_vec(), package[control..data].to_vec(), package[data..].to_vec())
}

fn apk_control() -> Vec<u8> {
    gunzip(&apk_parts().1)
}

fn apk_control_again(input: &[u8]) -> bool {
    thread_local!(static PARTS: (Vec<u8>, Vec<u8>, Vec<u8>) = apk_parts());
    PARTS.with(|(signature, _, data)| read("apk", &[signature.clone(), gzip(input), data.clone()].concat()))
}

fn apk_index() -> Vec<u8> {
    apk::repository::unpack(&file(Family::Alpine, "x86_64/APKINDEX.tar.gz")).expect("an index")
}

fn apk_catalog(input: &[u8]) -> bool {
    ApkCatalog::new("x86_64", vec![index(input)]).is_ok_and(|catalog| exhaust(&catalog))
}

fn apk_installed(input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input);
    let _ = apk::installed::world(&text);
    apk::installed::parse(&text).is_ok()
}
