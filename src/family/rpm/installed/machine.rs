//! What rpm's database knows of the machine that it is on: packages for a plan, and what each file was when it was shipped.
//!
//! A header has type, permissions, owner, time, digest, capabilities and hard links of everything, so that of the disk nothing counts but
//! contents. rpm leaves its lock where it is at all times; a transaction shows in what it does: a file is written beside the one that it
//! replaces, as `NAME;HEX`, and the new version of a package is in the database before the old one leaves it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{Database, Error, Installed as Entry, primary};
use crate::base::checksum::{Checksum, Kind};
use crate::base::digest::{Hasher, Sha256};
use crate::family::InstalledFiles;
use crate::family::installed::{self, Installed, LABEL, Links, Listed, Owner, Record, Remedy, Root, Shape, Unfit, Wanted};
use crate::family::repo::{self, Index};
use crate::family::rpm::header::{Header, tag};
use crate::family::rpm::index::RpmCatalog;
use crate::family::rpm::read::{self, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG};
use crate::package::{Catalog, Location, Package};
use crate::tree::TreePath;

/// What a package says that may be there in several versions: those of kernels.
const INSTALL_ONLY: [&[u8]; 2] = [b"installonlypkg(", b"multiversion("];
/// The same of packages that do not say it.
const KERNEL: &[u8] = b"kernel";
/// Digits behind the name of a file that waits to replace another.
const SUFFIX_DIGITS_MIN: usize = 8;

/// A machine whose packages rpm has installed.
#[derive(Debug)]
pub struct Machine {
    database: Database,
    root: Root,
    /// Where the machine's root lies.
    at: PathBuf,
    arch: String,
    names: BTreeSet<String>,
    /// Names and architectures that are there twice and may not be.
    twice: BTreeSet<(String, String)>,
}

impl Machine {
    /// Reads the database of the machine whose root is `root`; `None` if it has none.
    pub fn open(root: &Path, arch: &str) -> Result<Option<Self>, Error> {
        let Some(database) = Database::open(root)? else { return Ok(None) };
        let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for package in database.packages().iter().filter(|package| !is_install_only(package)) {
            *counts.entry((&package.name, &package.arch)).or_default() += 1;
        }
        let twice = counts.into_iter().filter(|(_, count)| *count > 1);
        let twice = twice.map(|((name, arch), _)| (name.to_owned(), arch.to_owned())).collect();
        let names = database.packages().iter().map(|package| package.name.clone()).collect();
        let at = root.to_owned();
        Ok(Some(Self { root: Root::open(root)?, at, arch: arch.to_owned(), names, twice, database }))
    }

    fn index(&self) -> [Index; 2] {
        let mut text = primary::Text::default();
        for package in self.database.packages() {
            text.add(package, &digest(&package.header));
        }
        text.finish().map(|bytes| Index::new(LABEL, Location::Installed, bytes))
    }

    fn find(&self, package: &Package) -> Result<&Entry, Unfit> {
        let is_it = |found: &&Entry| found.name == package.name && found.version == package.version && found.arch == package.arch;
        let found = self.database.packages().iter().find(is_it);
        let found = found.ok_or_else(|| Unfit::Gone { wanted: package.version.clone() })?;
        match self.twice.contains(&(package.name.clone(), package.arch.clone())) {
            true => Err(Unfit::State("there in several versions, as while one takes the place of the other".to_owned())),
            false => Ok(found),
        }
    }
}

/// Tells whether a package may be there in several versions.
fn is_install_only(package: &Entry) -> bool {
    let offers = package.header.strings(tag::PROVIDE_NAMES);
    offers.iter().any(|offer| *offer == KERNEL || INSTALL_ONLY.iter().any(|start| offer.starts_with(start)))
}

/// Returns what identifies an installed package: the digest that its header had in its file, which has those of all its files.
fn digest(header: &Header) -> Sha256 {
    if let Some(digest) = header.text(tag::SIG_SHA256).and_then(|text| text.parse().ok()) {
        return digest;
    }
    // Packages older than that have the same of all that counts.
    let mut hasher = Hasher::new();
    for tag in
        [tag::NAME, tag::VERSION, tag::RELEASE, tag::ARCH, tag::BASE_NAMES, tag::DIR_NAMES, tag::FILE_DIGESTS, tag::FILE_LINKS]
    {
        header.strings(tag).into_iter().for_each(|text| hasher.field(text));
    }
    hasher.finish()
}

/// Returns the kind of the digests of files (OpenPGP's numbers).
fn kind_of_digests(header: &Header) -> Option<Kind> {
    match header.number(tag::FILE_DIGEST_ALGO) {
        None | Some(1) => Some(Kind::Md5),
        Some(2) => Some(Kind::Sha1),
        Some(8) => Some(Kind::Sha256),
        Some(9) => Some(Kind::Sha384),
        Some(10) => Some(Kind::Sha512),
        Some(11) => Some(Kind::Sha224),
        Some(_) => None,
    }
}

/// Returns what a header knows of its files. Ghosts belong to the package and came from elsewhere: they are in no payload either.
fn listed(header: &Header) -> Result<Vec<Listed>, Unfit> {
    let (kind, digests) = (kind_of_digests(header), header.strings(tag::FILE_DIGESTS));
    let flags = header.numbers(tag::FILE_FLAGS);
    let mut all = Vec::new();
    for (place, file) in read::files(header)?.into_iter().enumerate().filter(|(_, file)| !file.is_ghost) {
        let shape = match file.mode & S_IFMT {
            S_IFDIR => Shape::Dir,
            S_IFREG => Shape::File,
            S_IFLNK => Shape::Symlink(file.link),
            _ => Shape::Special,
        };
        let digits = digests.get(place).and_then(|digits| std::str::from_utf8(digits).ok()).unwrap_or_default();
        all.push(Listed {
            shape,
            owner: Some(Owner { mode: file.mode & 0o7777, uid: file.uid, gid: file.gid }),
            mtime_s: Some(file.mtime_s),
            sum: kind.and_then(|kind| Checksum::parse(kind, digits).ok()),
            is_config: flags.get(place).is_some_and(|flags| flags & read::CONFIG != 0),
            capabilities: file.capabilities,
            links: file.set.map_or(Links::Alone, |(a, b)| Links::Set(a, b)),
            ..Listed::new(TreePath::parse(&file.name)?)
        });
    }
    Ok(all)
}

/// Finds the files that wait beside others, a directory at a time.
#[derive(Default)]
struct Waiting(RefCell<BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>>>);

impl Waiting {
    /// Tells whether rpm is about to replace a file.
    fn has(&self, root: &Root, place: &[u8]) -> bool {
        let slash = memchr::memrchr(b'/', place).map_or(0, |slash| slash + 1);
        let (dir, name) = place.split_at(slash);
        let mut known = self.0.borrow_mut();
        let waiting = known.entry(dir.to_vec()).or_insert_with(|| {
            // What cannot be listed cannot be read either, which is told then.
            root.names(dir).unwrap_or_default().iter().filter_map(|name| target_of(name)).collect()
        });
        waiting.contains(name)
    }
}

/// Returns which file a file waits to replace, by its name.
fn target_of(name: &[u8]) -> Option<Vec<u8>> {
    let at = memchr::memrchr(b';', name)?;
    let suffix = &name[at + 1..];
    (suffix.len() >= SUFFIX_DIGITS_MIN && suffix.iter().all(u8::is_ascii_hexdigit)).then(|| name[..at].to_vec())
}

impl From<Error> for Unfit {
    fn from(err: Error) -> Self {
        Unfit::Database(installed::Error::new(err))
    }
}

impl Installed for Machine {
    fn is_empty(&self) -> bool {
        self.database.packages().is_empty()
    }

    fn versions(&self) -> BTreeMap<String, String> {
        self.database.packages().iter().map(|package| (package.name.clone(), package.version.clone())).collect()
    }

    fn catalog(&self, indexes: Vec<Index>, with_others: bool) -> Result<Box<dyn Catalog + '_>, repo::Error> {
        let all = self.index().into_iter().chain(indexes).collect();
        let hide = |base: &Location, name: &str| !with_others && *base != Location::Installed && self.names.contains(name);
        Ok(Box::new(RpmCatalog::without(&self.arch, all, &hide)?))
    }

    fn files(&self, package: &Package, wanted: &Wanted<'_>) -> Result<InstalledFiles, Unfit> {
        let listed = listed(&self.find(package)?.header)?;
        let waiting = Waiting::default();
        let is_fresh = |root: &Root, place: &[u8]| waiting.has(root, place);
        Record { root: &self.root, listed, sums_of_links: false, disk_capabilities: false, is_fresh: &is_fresh }.read(wanted)
    }

    fn check(&self, package: &Package) -> Result<(), Unfit> {
        match digest(&self.find(package)?.header) == package.sha256 {
            true => Ok(()),
            false => Err(Unfit::Gone { wanted: package.version.clone() }),
        }
    }

    fn transaction(&self) -> Option<String> {
        let (name, _) = self.twice.first()?;
        Some(format!("rpm is at work or was interrupted: `{name}` is there in several versions"))
    }

    fn has_changed(&self) -> bool {
        self.database.has_changed()
    }

    fn reopen(&self) -> Result<Option<Box<dyn Installed>>, installed::Error> {
        installed::boxed(Self::open(&self.at, &self.arch))
    }

    fn remedy(&self) -> Remedy {
        Remedy { finish: "rpm --rebuilddb", restore: "dnf reinstall {}", verify: "rpm --verify {}" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rpms_own_suffix_is_that_of_a_waiting_file() {
        for (name, target) in [
            ("modprobe;5f3a90bc", Some("modprobe")),
            ("a;b;65b2f0aa", Some("a;b")),
            ("a;5f3a90b", None),
            ("a;5f3a90bx", None),
            ("a", None),
            ("a;", None),
        ] {
            assert_eq!(target_of(name.as_bytes()).as_deref(), target.map(str::as_bytes), "{name}");
        }
    }
}
