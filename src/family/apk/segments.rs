//! Takes apart what apk's files of version 2 are made of: gzip members behind each other, each a piece of one tar archive.
//!
//! The first member may hold signatures (`.SIGN.RSA.NAME`) over the bytes behind it, as compressed: of an index all of them, of a package
//! its control segment. This is the one parser that sees bytes before anything vouches for them.

use std::io::{self, Read};

use crate::base::trust::{RsaHash, RsaSignature};
use crate::format::compress::{Format, member};
use crate::format::tar::{self, Kind};

/// A segment of signatures, unpacked.
const SIGNATURES_BYTES_MAX: u64 = 1 << 20;
/// Signatures of one file. Alpine's have one.
const SIGNATURES_MAX: usize = 16;
/// Zeros that end a tar archive; apk's segments but the last come without.
const END_BYTES: usize = 1024;

/// Why a file is none that apk would make.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// It is compressed otherwise, or not at all.
    #[error("the file does not begin as a gzip archive")]
    NotGzip,
    /// It is of apk's version 3.
    #[error("the file is in apk's version 3 format (ADB), which is not read yet; wanted version 2 (tar.gz)")]
    Version3,
    /// A member of it cannot be unpacked.
    #[error("{what} cannot be unpacked")]
    Damaged {
        /// Which.
        what: &'static str,
        /// What the decoder says.
        #[source]
        source: io::Error,
    },
    /// Its tar archive is damaged.
    #[error(transparent)]
    Tar(#[from] tar::TarError),
    /// Something is not where it must be.
    #[error("{0}")]
    Layout(String),
}

/// Tells what begins with these bytes; an error unless it is gzip.
pub fn check_magic(head: &[u8]) -> Result<(), SegmentError> {
    match head {
        [0x1f, 0x8b, ..] => Ok(()),
        // `ADB` is followed by how it is compressed: `.` not, `d` deflate, `c` and more for others.
        [b'A', b'D', b'B', ..] => Err(SegmentError::Version3),
        _ => Err(SegmentError::NotGzip),
    }
}

/// Splits the signatures off the beginning of a file; returns them and what they are over. A file without any is all content.
pub fn split(bytes: &[u8]) -> Result<(Vec<RsaSignature>, &[u8]), SegmentError> {
    check_magic(bytes)?;
    let first = match member::decode(Format::Gzip, bytes, SIGNATURES_BYTES_MAX) {
        Ok(first) => first,
        // Larger than signatures ever are: it is content, and whoever reads that has a limit for it.
        Err(err) if err.kind() == io::ErrorKind::FileTooLarge => return Ok((Vec::new(), bytes)),
        Err(source) => return Err(SegmentError::Damaged { what: "the first segment", source }),
    };
    let signatures = signatures(&first.bytes)?;
    Ok(match signatures.is_empty() {
        true => (signatures, bytes),
        false => (signatures, &bytes[first.consumed_bytes..]),
    })
}

/// Reads an unpacked segment of signatures; none if it does not begin with one.
pub fn signatures(segment: &[u8]) -> Result<Vec<RsaSignature>, SegmentError> {
    let mut archive = archive(segment);
    let mut found = Vec::new();
    while let Some(entry) = archive.next_entry()? {
        let name = String::from_utf8_lossy(&entry.name).into_owned();
        if !name.starts_with(".SIGN.") {
            match found.is_empty() {
                true => return Ok(found),
                false => return Err(SegmentError::Layout(format!("`{name}` stands among the signatures"))),
            }
        }
        if entry.kind != Kind::File || found.len() == SIGNATURES_MAX {
            return Err(SegmentError::Layout(format!("`{name}` is no file, or one signature too many")));
        }
        let mut bytes = Vec::new();
        archive.read_to_end(&mut bytes).map_err(|source| SegmentError::Damaged { what: "a signature", source })?;
        let hashes = [(".SIGN.RSA.", RsaHash::Sha1), (".SIGN.RSA256.", RsaHash::Sha256), (".SIGN.RSA512.", RsaHash::Sha512)];
        let known = hashes.into_iter().find_map(|(prefix, hash)| Some((name.strip_prefix(prefix)?, hash)));
        // One of a kind that is not known (`.SIGN.DSA.`) says nothing, as for apk.
        if let Some((key, hash)) = known {
            found.push(RsaSignature { hash, key: key.to_owned(), bytes });
        }
    }
    Ok(found)
}

/// Opens an unpacked segment, which may lack the end of an archive.
pub fn archive(segment: &[u8]) -> tar::Archive<impl Read> {
    tar::Archive::new(segment.chain(io::repeat(0).take(END_BYTES as u64)))
}
