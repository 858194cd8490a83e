//! Temporary stand-in for the streaming decompressor.

use std::io::{self, Read};

use super::Format;

/// Returns a reader of the decompressed bytes.
pub fn reader<'a, R: Read + 'a>(format: Format, input: R) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match format {
        Format::None => Box::new(input),
        Format::Gzip => Box::new(flate2::read::MultiGzDecoder::new(input)),
        Format::Xz => Box::new(liblzma::read::XzDecoder::new(input)),
        Format::Zstd => Box::new(zstd::stream::read::Decoder::new(input)?),
        _ => return Err(io::Error::other("not supported")),
    })
}
