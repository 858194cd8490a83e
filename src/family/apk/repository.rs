//! Opens apk's repositories: an `APKINDEX.tar.gz` whose signature one of the keys meant has made.

use std::io::Read;

use super::segments::{self, SegmentError};
use crate::base::limit;
use crate::format::compress::{Format, decode};

/// Returns the text of an index file, whoever signed it.
pub fn unpack(bytes: &[u8]) -> Result<Vec<u8>, SegmentError> {
    let (_, content) = segments::split(bytes)?;
    text(content)
}

/// Returns the text in what was signed.
fn text(content: &[u8]) -> Result<Vec<u8>, SegmentError> {
    let damaged = |source| SegmentError::Damaged { what: "the index", source };
    let unpacked = decode::all(Format::Gzip, content, limit::INDEX_BYTES_MAX).map_err(damaged)?;
    let mut archive = segments::archive(&unpacked);
    while let Some(entry) = archive.next_entry()? {
        if entry.name == b"APKINDEX" {
            let mut text = Vec::new();
            archive.read_to_end(&mut text).map_err(damaged)?;
            return Ok(text);
        }
    }
    Err(SegmentError::Layout("there is no `APKINDEX` in it".to_owned()))
}
