//! Metadata that is on this machine already: what we verified in earlier runs, and what its package manager has fetched. Nothing is read over the network,
//! no lock is taken, and everything is verified anew, by signature and digest.
//!
//! It says what a package file of some version is. That does not change when a newer index is made, so that age does not matter here.

use std::fmt;
use std::path::{Path, PathBuf};

use super::{World, sources};
use crate::base::date;
use crate::base::digest::Sha256;
use crate::base::error::Diagnostic;
use crate::base::fs;
use crate::base::limit;
use crate::base::trust::{RsaSignature, Seen, SignedBy, Signer};
use crate::family::address::Base;
use crate::family::door::{Door, DoorError};
use crate::family::repo::{Options, Repository, Spec};
use crate::format::compress::{Format, decode};
use crate::host::{apk, apt, dnf};
use crate::package::Location;

/// Opens what is known of repositories: of each the newer of what we have and what the machine's package manager has. What cannot be used is told as a detail.
pub fn repositories(specs: &[Spec], world: &World<'_>) -> Vec<Repository> {
    specs.iter().filter_map(|spec| newest(spec, world)).collect()
}

fn newest(spec: &Spec, world: &World<'_>) -> Option<Repository> {
    let own = Options { offline: true, expired: true, ..world.options() };
    let theirs = Options { offline: false, expired: true, ..world.options() };
    let places = [("our cache".to_owned(), None, own)].into_iter();
    let places = places.chain(lists(spec, world).into_iter().map(|lists| (lists.to_string(), Some(lists), theirs)));
    let open = |(place, lists, options): (String, Option<Lists>, Options)| match spec.open(&Known { world, lists }, &options) {
        Ok(repository) => {
            let made = repository.date.map_or_else(|| "without a date".to_owned(), |date| format!("of {}", date::show(date)));
            world.detail(&format!("`{spec}` {made} is taken from {place}"));
            world.note_signer(&repository);
            Some(repository)
        }
        Err(err) => {
            world.detail(&format!("`{spec}` is not taken from {place}: {}", with_cause(&err)));
            None
        }
    };
    // Of equal ones ours, which is decompressed.
    places.filter_map(open).reduce(|ours, other| if other.date > ours.date { other } else { ours })
}

/// An error in one line, with what is behind it.
pub fn with_cause(err: &dyn Diagnostic) -> String {
    let mut text = err.to_string();
    let mut cause = err.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}

/// Where a package manager keeps what it has fetched.
enum Lists {
    /// A file for each address.
    Apt,
    /// A directory for each repository.
    Dnf(PathBuf),
    /// A directory of databases, under their own names.
    Pacman(PathBuf),
    /// An index.
    Apk(PathBuf),
}

impl fmt::Display for Lists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lists::Apt => f.write_str("apt's lists"),
            Lists::Dnf(path) | Lists::Pacman(path) | Lists::Apk(path) => write!(f, "`{}`", path.display()),
        }
    }
}

/// Returns where something of a repository may be kept.
fn lists(spec: &Spec, world: &World<'_>) -> Vec<Lists> {
    match spec {
        Spec::Deb(_) => vec![Lists::Apt],
        Spec::Rpm(spec) => {
            let dirs = spec.id.iter().flat_map(|id| dnf::metadata_dirs(&world.root, id, &spec.written));
            dirs.filter(|dir| dir.is_dir()).map(Lists::Dnf).collect()
        }
        Spec::Alpm(_) => vec![Lists::Pacman(sources::pacman_dirs(&world.root).databases)],
        Spec::Apk(spec) => match &spec.base {
            Base::Url(url) => apk::index(&world.root, url).map(Lists::Apk).into_iter().collect(),
            Base::Dir(_) => Vec::new(),
        },
    }
}

/// The world without a network.
struct Known<'a, 'w> {
    world: &'a World<'w>,
    /// What stands for the network; else there is nothing in its place.
    lists: Option<Lists>,
}

impl Known<'_, '_> {
    fn list(&self, from: &Location) -> Option<PathBuf> {
        let Location::Url(url) = from else { return None };
        match self.lists.as_ref()? {
            Lists::Apt => Some(apt::list(&self.world.root, url)),
            // Whichever mirror it came from; a list of mirrors lies beside the metadata.
            Lists::Dnf(dir) => Some(match url.rfind("/repodata/") {
                Some(at) => dir.join(&url[at + 1..]),
                None if url.contains("metalink") => dir.join("metalink.xml"),
                None => dir.join("mirrorlist"),
            }),
            Lists::Pacman(dir) => url.rsplit('/').next().map(|name| dir.join(name)),
            Lists::Apk(path) => url.ends_with("/APKINDEX.tar.gz").then(|| path.clone()),
        }
    }
}

impl Door for Known<'_, '_> {
    fn fetch(&self, from: &Location, size_bytes_max: u64) -> Result<Option<Vec<u8>>, DoorError> {
        if let Location::File(_) = from {
            return self.world.fetch(from, size_bytes_max);
        }
        let Some(path) = self.list(from) else { return Ok(None) };
        fs::read_optional(&path, size_bytes_max).map_err(DoorError::new)
    }

    fn fetch_exact(&self, from: &Location, sha256: &Sha256, size_bytes: u64) -> Result<Option<Vec<u8>>, DoorError> {
        if let Location::File(_) = from {
            return self.world.fetch_exact(from, sha256, size_bytes);
        }
        let Some(path) = self.list(from) else { return Ok(None) };
        let bytes = match self.lists {
            // apt keeps an index decompressed, or compressed in its own way: only the plain one can be compared with what was signed.
            Some(Lists::Apt) => plain(&path, size_bytes),
            _ => fs::read_optional(&path, size_bytes),
        };
        let Some(bytes) = bytes.map_err(DoorError::new)? else { return Ok(None) };
        // Another size or digest: it has been killed between two files, or fetches at this moment.
        Ok((bytes.len() as u64 == size_bytes && Sha256::of(&bytes) == *sha256).then_some(bytes))
    }

    fn cached(&self, sha256: &Sha256) -> Option<Vec<u8>> {
        self.world.cached(sha256)
    }

    fn keep(&self, _: &Sha256, _: &[u8]) {
        // It is on this machine already.
    }

    fn verify(&self, signed_by: &SignedBy, data: &[u8], signature: &[u8]) -> Result<Signer, DoorError> {
        self.world.verify(signed_by, data, signature)
    }

    fn verify_rsa(&self, signed_by: &SignedBy, data: &[u8], signature: &RsaSignature) -> Result<Signer, DoorError> {
        self.world.verify_rsa(signed_by, data, signature)
    }

    fn seen(&self, repository: &str) -> Option<Seen> {
        // What a package manager has may well be older than what we have seen.
        if self.lists.is_some() { None } else { self.world.seen(repository) }
    }

    fn remember(&self, _: &Seen) {
        // It was not fetched now.
    }

    fn names(&self, dir: &Path) -> Vec<String> {
        self.world.names(dir)
    }

    fn warn(&self, message: &str) {
        self.world.detail(message);
    }
}

/// Reads a list of apt's, whichever way it is compressed; `None` if there is none.
fn plain(path: &Path, size_bytes: u64) -> Result<Option<Vec<u8>>, fs::FileError> {
    let limit_bytes = size_bytes.min(limit::INDEX_BYTES_MAX);
    if let Some(bytes) = fs::read_optional(path, limit_bytes)? {
        return Ok(Some(bytes));
    }
    for (extension, format) in
        [("lz4", Format::Lz4), ("xz", Format::Xz), ("gz", Format::Gzip), ("zst", Format::Zstd), ("bz2", Format::Bzip2)]
    {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{extension}"));
        let path = PathBuf::from(name);
        let Some(packed) = fs::read_optional(&path, limit::INDEX_BYTES_MAX)? else { continue };
        let plain = match format {
            Format::Lz4 => decode::lz4_frame(&packed, limit_bytes),
            format => decode::all(format, &packed, limit_bytes),
        };
        return plain.map(Some).map_err(fs::FileError::on("decompress", path));
    }
    Ok(None)
}
