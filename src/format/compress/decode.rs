//! Temporary stand-in for the decoders of another branch: same signatures, to be replaced by it when merged.

use std::io::{self, Read};

use super::Format;

/// Returns a reader that decompresses `input`.
pub fn reader<'a>(format: Format, input: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match format {
        Format::None => Box::new(input),
        Format::Gzip => Box::new(flate2::read::MultiGzDecoder::new(input)),
        Format::Xz => Box::new(liblzma::read::XzDecoder::new_multi_decoder(input)),
        Format::Zstd => Box::new(zstd::stream::read::Decoder::new(input)?),
        other => return Err(io::Error::new(io::ErrorKind::Unsupported, format!("{other} is not supported"))),
    })
}

/// Decompresses all of `bytes` to at most `size_max` bytes.
pub fn all(format: Format, bytes: &[u8], size_max: u64) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    reader(format, bytes)?.take(size_max + 1).read_to_end(&mut out)?;
    if out.len() as u64 > size_max {
        return Err(io::Error::other(format!("larger than the limit of {size_max} bytes when decompressed")));
    }
    Ok(out)
}
