//! Metadata that is on this machine already: what we verified in earlier runs, and what apt has fetched. Nothing is read over the network,
//! no lock is taken, and everything is verified anew, by signature and digest.
//!
//! It says what a package file of some version is. That does not change when a newer index is made, so that age does not matter here.

use std::path::{Path, PathBuf};

use super::World;
use crate::base::date;
use crate::base::digest::Sha256;
use crate::base::error::Diagnostic;
use crate::base::fs;
use crate::base::limit;
use crate::base::trust::{RsaSignature, Seen, SignedBy, Signer};
use crate::family::door::{Door, DoorError};
use crate::family::repo::{Options, Repository, Spec};
use crate::format::compress::{Format, decode};
use crate::host::apt;
use crate::package::Location;

/// Opens what is known of repositories: of each the newer of what we have and what apt has. What cannot be used is told as a detail.
pub fn repositories(specs: &[Spec], world: &World<'_>) -> Vec<Repository> {
    specs.iter().filter_map(|spec| newest(spec, world)).collect()
}

fn newest(spec: &Spec, world: &World<'_>) -> Option<Repository> {
    let own = Options { offline: true, expired: true, ..world.options() };
    let apts = Options { offline: false, expired: true, ..world.options() };
    let places = [("our cache", false, own), ("apt's lists", true, apts)];
    let open = |(place, lists, options): (&str, bool, Options)| match spec.open(&Known { world, lists }, &options) {
        Ok(repository) => {
            let made = repository.date.map_or_else(|| "without a date".to_owned(), |date| format!("of {}", date::show(date)));
            world.detail(&format!("`{spec}` {made} is taken from {place}"));
            Some(repository)
        }
        Err(err) => {
            world.detail(&format!("`{spec}` is not taken from {place}: {}", with_cause(&err)));
            None
        }
    };
    // Of equal ones ours, which is decompressed.
    places.into_iter().filter_map(open).reduce(|ours, other| if other.date > ours.date { other } else { ours })
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

/// The world without a network.
struct Known<'a, 'w> {
    world: &'a World<'w>,
    /// apt's lists stand for the network; else there is nothing in its place.
    lists: bool,
}

impl Known<'_, '_> {
    fn list(&self, from: &Location) -> Option<PathBuf> {
        match from {
            Location::Url(url) if self.lists => Some(apt::list(&self.world.root, url)),
            _ => None,
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
        // apt keeps an index decompressed, or compressed in its own way: only the plain one can be compared with what was signed.
        let Some(path) = self.list(from) else { return Ok(None) };
        let Some(bytes) = plain(&path, size_bytes).map_err(DoorError::new)? else { return Ok(None) };
        // Another size or digest: apt has been killed between two files, or fetches at this moment.
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
        // What apt has may well be older than what we have seen.
        if self.lists { None } else { self.world.seen(repository) }
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
