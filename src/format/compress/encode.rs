//! Compresses image segments in forms that every kernel with the format enabled can unpack, the same bytes for any number of threads.
//!
//! The kernel's decoders are smaller than the tools': zstd with a window of at most 128 MiB and one frame, xz with CRC32 only,
//! lz4 in the legacy frame only (lib/decompress_*.c).

use std::io::{self, Write};
use std::thread;

use super::{Compression, Format};

/// The blocks of an lz4 legacy frame: the format fixes their size.
pub(super) const LZ4_BLOCK_BYTES: usize = 8 << 20;
/// What an lz4 legacy frame begins with.
pub(super) const LZ4_MAGIC: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];
/// Each block is compressed on its own: larger is smaller, but takes more memory a thread and leaves threads idle.
/// Changing it changes the bytes of every xz image.
const XZ_BLOCK_BYTES: u64 = 16 << 20;
/// The presets from here on have dictionaries larger than a block.
const XZ_LARGE_DICTIONARY_FROM: u32 = 8;
/// More threads do not help an image, but cost memory.
const THREADS_MAX: usize = 16;

/// A writer that compresses what passes through it. Ends with [`Encoder::finish`]; dropped before that, the output is incomplete.
pub struct Encoder<W: Write>(Inner<W>);

enum Inner<W: Write> {
    Plain(W),
    Gzip(flate2::write::GzEncoder<W>),
    Xz(liblzma::write::XzEncoder<W>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
    Lz4(Lz4<W>),
}

impl<W: Write> Encoder<W> {
    /// Begins to compress exactly `size_bytes` bytes into `out`.
    ///
    /// The size is written into zstd's header, so that a different one is an error at the end. `threads` never changes the bytes.
    /// Images are not made in lzma and bzip2: `ErrorKind::Unsupported`.
    pub fn new(compression: Compression, size_bytes: u64, threads: usize, out: W) -> io::Result<Self> {
        let threads = threads.clamp(1, THREADS_MAX) as u32;
        Ok(Self(match compression.format {
            Format::None => Inner::Plain(out),
            Format::Gzip => {
                // No name, no time, and an operating system that does not depend on where this runs (3 is Unix).
                let header = flate2::GzBuilder::new().operating_system(3);
                Inner::Gzip(header.write(out, flate2::Compression::new(compression.level)))
            }
            Format::Xz => Inner::Xz(liblzma::write::XzEncoder::new_stream(out, xz_stream(compression.level, threads)?)),
            Format::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(out, compression.level as i32)?;
                // Zero workers is another algorithm with other bytes: even one thread is asked for as one worker.
                encoder.multithread(threads)?;
                encoder.include_checksum(true)?;
                encoder.include_contentsize(true)?;
                encoder.set_pledged_src_size(Some(size_bytes))?;
                Inner::Zstd(encoder)
            }
            Format::Lz4 => Inner::Lz4(Lz4::new(out, threads as usize)?),
            Format::Lzma | Format::Bzip2 => {
                let text = format!("images are not compressed with {}", compression.format);
                return Err(io::Error::new(io::ErrorKind::Unsupported, text));
            }
        }))
    }

    /// Ends the compressed stream and returns the output.
    pub fn finish(self) -> io::Result<W> {
        match self.0 {
            Inner::Plain(out) => Ok(out),
            Inner::Gzip(encoder) => encoder.finish(),
            Inner::Xz(encoder) => encoder.finish(),
            Inner::Zstd(encoder) => encoder.finish(),
            Inner::Lz4(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::Plain(out) => out.write(bytes),
            Inner::Gzip(encoder) => encoder.write(bytes),
            Inner::Xz(encoder) => encoder.write(bytes),
            Inner::Zstd(encoder) => encoder.write(bytes),
            Inner::Lz4(encoder) => encoder.write(bytes),
        }
    }

    /// Does nothing: flushing in the middle would change the bytes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Compresses what is in memory.
pub fn compress(compression: Compression, input: &[u8], threads: usize) -> io::Result<Vec<u8>> {
    let mut encoder = Encoder::new(compression, input.len() as u64, threads, Vec::new())?;
    encoder.write_all(input)?;
    encoder.finish()
}

/// Names everything that decides the bytes besides input, format and level: part of every key of a cache.
pub fn fingerprint() -> String {
    format!("zstd {} xz-block {XZ_BLOCK_BYTES} encoders 1", zstd::zstd_safe::version_number())
}

fn xz_stream(level: u32, threads: u32) -> io::Result<liblzma::stream::Stream> {
    // The multi-threaded encoder even for one thread: the other one writes no sizes into block headers.
    let mut options = liblzma::stream::LzmaOptions::new_preset(level)?;
    if level >= XZ_LARGE_DICTIONARY_FROM {
        // A dictionary larger than a block is never filled, but costs memory here and in the kernel.
        options.dict_size(XZ_BLOCK_BYTES as u32);
    }
    let mut filters = liblzma::stream::Filters::new();
    filters.lzma2(&options);
    let stream = liblzma::stream::MtStreamBuilder::new()
        .threads(threads)
        .block_size(XZ_BLOCK_BYTES)
        .filters(filters)
        .check(liblzma::stream::Check::Crc32)
        .encoder();
    stream.map_err(io::Error::from)
}

/// The legacy frame: a magic number, then blocks, each with its compressed size before it; no end mark, no checksum.
struct Lz4<W> {
    out: W,
    threads: usize,
    gathered: Vec<u8>,
}

impl<W: Write> Lz4<W> {
    fn new(mut out: W, threads: usize) -> io::Result<Self> {
        out.write_all(&LZ4_MAGIC)?;
        Ok(Self { out, threads, gathered: Vec::new() })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.threads * LZ4_BLOCK_BYTES - self.gathered.len();
        let count = room.min(bytes.len());
        self.gathered.extend_from_slice(&bytes[..count]);
        if count == room {
            self.compress_gathered()?;
        }
        Ok(count)
    }

    fn finish(mut self) -> io::Result<W> {
        self.compress_gathered()?;
        Ok(self.out)
    }

    fn compress_gathered(&mut self) -> io::Result<()> {
        let blocks = thread::scope(|scope| {
            let chunks = self.gathered.chunks(LZ4_BLOCK_BYTES);
            let running: Vec<_> = chunks.map(|chunk| scope.spawn(|| lz4_flex::block::compress(chunk))).collect();
            let panicked = |_| io::Error::other("the lz4 encoder panicked");
            running.into_iter().map(|thread| thread.join().map_err(panicked)).collect::<io::Result<Vec<_>>>()
        });
        for block in blocks? {
            let size = u32::try_from(block.len()).map_err(io::Error::other)?;
            self.out.write_all(&size.to_le_bytes())?;
            self.out.write_all(&block)?;
        }
        self.gathered.clear();
        Ok(())
    }
}
