//! Decompresses one compressed stream at the start of bytes behind which others may follow, as the kernel does with an initrd.

use std::io::{self, BufRead, Read};

use zstd::stream::raw::{InBuffer, Operation, OutBuffer};

use super::Format;
use super::encode::{LZ4_BLOCK_BYTES, LZ4_MAGIC};

/// A decompressed stream.
pub struct Member {
    /// What was in it.
    pub bytes: Vec<u8>,
    /// How many bytes of the input it took.
    pub consumed_bytes: usize,
}

/// Memory that an xz stream may ask for: the largest preset's dictionary is 64 MiB.
const XZ_MEMORY_BYTES_MAX: u64 = 256 << 20;

/// Decompresses the stream at the start of `input` into at most `size_bytes_max` bytes.
///
/// Errors: `UnexpectedEof` for a truncated one, `Unsupported` for formats that are never an image's, `FileTooLarge` beyond the limit.
pub fn decode(format: Format, input: &[u8], size_bytes_max: u64) -> io::Result<Member> {
    match format {
        Format::Zstd => zstd_frame(input, size_bytes_max),
        Format::Lz4 => lz4_legacy(input, size_bytes_max),
        Format::Gzip => {
            let mut decoder = flate2::bufread::GzDecoder::new(input);
            let bytes = read_limited(&mut decoder, size_bytes_max)?;
            Ok(Member { bytes, consumed_bytes: input.len() - decoder.into_inner().len() })
        }
        Format::Xz | Format::Lzma => {
            let stream = match format {
                Format::Xz => liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_BYTES_MAX, 0),
                _ => liblzma::stream::Stream::new_lzma_decoder(XZ_MEMORY_BYTES_MAX),
            };
            let mut decoder = liblzma::bufread::XzDecoder::new_stream(input, stream?);
            let bytes = read_limited(&mut decoder, size_bytes_max)?;
            Ok(Member { bytes, consumed_bytes: input.len() - decoder.into_inner().len() })
        }
        Format::Bzip2 => {
            let mut decoder = bzip2::bufread::BzDecoder::new(input);
            let bytes = read_limited(&mut decoder, size_bytes_max)?;
            Ok(Member { bytes, consumed_bytes: input.len() - decoder.into_inner().len() })
        }
        Format::None => {
            Err(io::Error::new(io::ErrorKind::Unsupported, format!("cannot unpack an image compressed with {format}")))
        }
    }
}

/// Decompresses one gzip member from a stream of them, and takes no byte of what follows it.
pub fn gzip(input: &mut dyn BufRead, size_bytes_max: u64) -> io::Result<Vec<u8>> {
    read_limited(&mut flate2::bufread::GzDecoder::new(input), size_bytes_max)
}

fn read_limited(reader: &mut impl Read, size_bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(size_bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    within(bytes.len(), size_bytes_max)?;
    Ok(bytes)
}

fn within(size: usize, size_bytes_max: u64) -> io::Result<()> {
    if size as u64 > size_bytes_max {
        let text = format!("more than the limit of {size_bytes_max} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(())
}

/// One frame, as the kernel: what follows is not looked at.
fn zstd_frame(input: &[u8], size_bytes_max: u64) -> io::Result<Member> {
    let mut decoder = zstd::stream::raw::Decoder::new()?;
    let mut source = InBuffer::around(input);
    let (mut bytes, mut chunk) = (Vec::new(), vec![0; 1 << 17]);
    loop {
        let mut sink = OutBuffer::around(chunk.as_mut_slice());
        let wanted = decoder.run(&mut source, &mut sink)?;
        let count = sink.pos();
        bytes.extend_from_slice(&chunk[..count]);
        within(bytes.len(), size_bytes_max)?;
        if wanted == 0 {
            return Ok(Member { bytes, consumed_bytes: source.pos() });
        }
        if source.pos() == input.len() && count < chunk.len() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the zstd frame is truncated"));
        }
    }
}

/// Blocks up to the end of the input or four zeros, as the kernel; it has no other way to know that another segment follows.
fn lz4_legacy(input: &[u8], size_bytes_max: u64) -> io::Result<Member> {
    let truncated = || io::Error::new(io::ErrorKind::UnexpectedEof, "the lz4 frame is truncated");
    let mut at = 0;
    let (mut bytes, mut block) = (Vec::new(), vec![0; LZ4_BLOCK_BYTES]);
    while let Some(head) = input[at..].first_chunk::<4>() {
        if *head == LZ4_MAGIC {
            at += 4;
            continue;
        }
        if *head == [0; 4] {
            break;
        }
        let size = u32::from_le_bytes(*head) as usize;
        let compressed = input[at + 4..].get(..size).ok_or_else(truncated)?;
        let count = lz4_flex::block::decompress_into(compressed, &mut block)
            .map_err(|err| io::Error::new(io::ErrorKind::InvalidData, err))?;
        bytes.extend_from_slice(&block[..count]);
        within(bytes.len(), size_bytes_max)?;
        at += 4 + size;
    }
    Ok(Member { bytes, consumed_bytes: at })
}
