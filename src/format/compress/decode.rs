//! Decompression as a stream: bounded memory, an error unless the data ends exactly where the format says it ends.
//!
//! Every format runs through one loop ([`Decoder`]) that knows where a frame begins and ends; an engine per format does the
//! arithmetic. What follows the last frame is refused, because two programs that disagree on where a file ends can be made to
//! see two different files; [`first`] is for images, whose segments follow each other. Nothing is ever read past a failure, and a step
//! that neither takes nor gives ends in an error: dpkg once span for ever on a zstd member without an end (CVE-2026-2219).
//!
//! Formats: RFC 1952 (gzip), <https://sourceware.org/bzip2/manual/manual.html>, <https://tukaani.org/xz/xz-file-format.txt>, RFC 8878 (zstd),
//! <https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md> (the legacy frame).

use std::io::{self, Read};

use bzip2::{Decompress as Bunzip, Status as BunzipStatus};
use flate2::{Decompress, FlushDecompress, Status as InflateStatus};
use liblzma::stream::{Action, Error as XzError, Status as XzStatus, Stream, TELL_UNSUPPORTED_CHECK};
use zstd::stream::raw::{DParameter, Decoder as ZstdContext, Operation as _};

use super::Format;

/// Memory that the dictionary of an .xz or .lzma file may take; `xz -9` needs 65 MiB. One decoder runs per thread.
pub const XZ_MEMORY_BYTES_MAX: u64 = 160 << 20;
/// What is a word on its size believed for, before a byte of it is there: metadata shrink to a sixteenth.
const ZSTD_RATIO_MAX: u64 = 24;
/// Logarithm of the largest zstd window: 128 MiB, what `zstd --long` and the kernel's decoder allow.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// Bytes of a block of the lz4 legacy frame, fixed by the format.
const LZ4_BLOCK_BYTES: usize = 8 << 20;
/// What 8 MiB that cannot be compressed become in an lz4 block.
const LZ4_COMPRESSED_BYTES_MAX: usize = LZ4_BLOCK_BYTES + LZ4_BLOCK_BYTES / 255 + 16;
const LZ4_MAGIC: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];
/// Compressed bytes read at a time.
const INPUT_BYTES: usize = 64 << 10;
/// Bytes that tell one format from another.
const MAGIC_BYTES: usize = 6;

/// Why compressed data cannot be read. Travels inside an [`io::Error`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The data ends within a frame, or before the first.
    #[error("the {0} data is truncated")]
    Truncated(Format),
    /// Something follows the last frame.
    #[error("the {0} data is followed by something else")]
    Trailing(Format),
    /// The data does not follow the format, or a checksum differs.
    #[error("the {format} data is damaged: {detail}")]
    Damaged {
        /// The format.
        format: Format,
        /// What the decoder says.
        detail: String,
    },
    /// Decompressing would take more memory than is allowed.
    #[error("the {format} data needs more than {limit_bytes} bytes of memory to decompress")]
    Memory {
        /// The format.
        format: Format,
        /// The limit.
        limit_bytes: u64,
    },
    /// The decompressed data is larger than is allowed.
    #[error("the {format} data decompresses to more than {limit_bytes} bytes")]
    Large {
        /// The format.
        format: Format,
        /// The limit.
        limit_bytes: u64,
    },
    /// A format or feature that is not read.
    #[error("{0} is not supported")]
    Unsupported(String),
}

impl From<DecodeError> for io::Error {
    fn from(err: DecodeError) -> Self {
        let kind = match err {
            DecodeError::Truncated(_) => io::ErrorKind::UnexpectedEof,
            DecodeError::Unsupported(_) => io::ErrorKind::Unsupported,
            DecodeError::Memory { .. } | DecodeError::Large { .. } => io::ErrorKind::FileTooLarge,
            DecodeError::Trailing(_) | DecodeError::Damaged { .. } => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, err)
    }
}

/// Returns a reader of the decompressed bytes. All frames of the input are read; it ends only where the input ends properly.
///
/// Reads are as large as the caller's buffer: give it 32 KiB or more.
pub fn reader<'a, R: Read + 'a>(format: Format, input: R) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match engine(format)? {
        Some(engine) => Box::new(Decoder::new(format, engine, input, After::Refused)),
        None => Box::new(input),
    })
}

/// Decompresses something small that is in memory, all frames of it.
pub fn all(format: Format, bytes: &[u8], size_bytes_max: u64) -> io::Result<Vec<u8>> {
    if format == Format::Zstd
        && let Some(data) = at_once(bytes, size_bytes_max)
    {
        return Ok(data);
    }
    read_all(&mut reader(format, bytes)?, format, size_bytes_max)
}

/// Decompresses the frames at the start of `bytes`; returns what they hold and how many bytes they take. What follows is not looked at.
///
/// Not compressed data has no end of its own: it is returned whole.
pub fn first(format: Format, bytes: &[u8], size_bytes_max: u64) -> io::Result<(Vec<u8>, usize)> {
    let Some(engine) = engine(format)? else {
        return Ok((read_all(&mut &*bytes, format, size_bytes_max)?, bytes.len()));
    };
    let mut decoder = Decoder::new(format, engine, bytes, After::Left);
    let data = read_all(&mut decoder, format, size_bytes_max)?;
    Ok((data, bytes.len() - decoder.unread_bytes()))
}

/// Decompresses a file in the frame format of lz4, which apt keeps its indexes in and the kernel does not read.
pub fn lz4_frame(bytes: &[u8], size_bytes_max: u64) -> io::Result<Vec<u8>> {
    read_all(&mut lz4_flex::frame::FrameDecoder::new(bytes), Format::Lz4, size_bytes_max)
}

/// Decompresses the one frame that the input is into room of the size that it claims, which spares a copy of everything. Nothing where it is
/// not like that or anything is wrong: whoever reads piece by piece can say what.
fn at_once(bytes: &[u8], size_bytes_max: u64) -> Option<Vec<u8>> {
    let claimed = zstd::zstd_safe::get_frame_content_size(bytes).ok()??;
    let is_believable = claimed <= size_bytes_max && claimed / ZSTD_RATIO_MAX <= bytes.len() as u64;
    if !is_believable || zstd::zstd_safe::find_frame_compressed_size(bytes) != Ok(bytes.len()) {
        return None;
    }
    let mut data = Vec::with_capacity(claimed as usize);
    zstd::bulk::Decompressor::new().ok()?.decompress_to_buffer(bytes, &mut data).ok()?;
    Some(data)
}

fn read_all(reader: &mut dyn Read, format: Format, size_bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut data = Vec::new();
    reader.take(size_bytes_max.saturating_add(1)).read_to_end(&mut data)?;
    if data.len() as u64 > size_bytes_max {
        return Err(DecodeError::Large { format, limit_bytes: size_bytes_max }.into());
    }
    Ok(data)
}

/// What to do with bytes that do not begin another frame.
#[derive(Clone, Copy, PartialEq)]
enum After {
    Refused,
    Left,
}

/// What one step of an engine did.
struct Step {
    taken: usize,
    given: usize,
    frame_ended: bool,
}

/// The arithmetic of a format, one frame at a time.
trait Engine {
    /// Prepares for a frame.
    fn begin(&mut self) -> Result<(), DecodeError>;
    /// Takes bytes of the frame and gives decompressed ones; `last` when no more input follows.
    fn step(&mut self, input: &[u8], output: &mut [u8], last: bool) -> Result<Step, DecodeError>;
}

fn engine(format: Format) -> Result<Option<Box<dyn Engine>>, DecodeError> {
    Ok(Some(match format {
        Format::None => return Ok(None),
        Format::Gzip => Box::new(Gzip(Decompress::new_gzip(15))),
        Format::Xz | Format::Lzma => Box::new(Xz { format, stream: xz_stream(format)? }),
        Format::Zstd => Box::new(zstd_context()?),
        Format::Lz4 => Box::new(Lz4::default()),
        Format::Bzip2 => Box::new(Bzip2(Bunzip::new(false))),
    }))
}

enum State {
    /// Before the first frame or after one.
    Between,
    Inside,
    Ended,
    /// After an error nothing more comes but the same error.
    Failed(DecodeError),
}

struct Decoder<R> {
    format: Format,
    engine: Box<dyn Engine>,
    input: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    input_ended: bool,
    state: State,
    /// Frames read so far that hold data.
    frames: u64,
    holds_data: bool,
    after: After,
}

impl<R: Read> Decoder<R> {
    fn new(format: Format, engine: Box<dyn Engine>, input: R, after: After) -> Self {
        Self {
            format,
            engine,
            input,
            buffer: vec![0; INPUT_BYTES],
            start: 0,
            end: 0,
            input_ended: false,
            state: State::Between,
            frames: 0,
            holds_data: true,
            after,
        }
    }

    /// Reads until `count` bytes wait in the buffer or the input has ended.
    fn fill(&mut self, count: usize) -> io::Result<()> {
        if self.end - self.start >= count {
            return Ok(());
        }
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        while self.end < count && !self.input_ended {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(0) => self.input_ended = true,
                Ok(read) => self.end += read,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }

    /// Decides what the bytes between two frames are.
    fn next_frame(&mut self) -> io::Result<()> {
        self.fill(MAGIC_BYTES)?;
        let head = &self.buffer[self.start..self.end.min(self.start + MAGIC_BYTES)];
        // Padding of .xz comes in fours (section 2.2); in an image zeros belong to what follows.
        if self.format == Format::Xz && self.frames > 0 && self.after == After::Refused && head.starts_with(&[0; 4]) {
            self.start += 4;
            return Ok(());
        }
        let starts = begins_frame(self.format, head, self.frames == 0);
        self.holds_data = !(self.format == Format::Zstd && is_skippable(head));
        self.state = match () {
            () if starts => {
                self.engine.begin()?;
                State::Inside
            }
            () if self.frames == 0 && self.input_ended && head.len() < MAGIC_BYTES => {
                return Err(DecodeError::Truncated(self.format).into());
            }
            () if self.frames == 0 => {
                let detail = format!("it begins with {:02x?}", head);
                return Err(DecodeError::Damaged { format: self.format, detail }.into());
            }
            () if head.is_empty() || self.after == After::Left => State::Ended,
            () => return Err(DecodeError::Trailing(self.format).into()),
        };
        Ok(())
    }

    /// Runs the engine until it gives something or the frame ends; returns how much it gave.
    fn inside(&mut self, output: &mut [u8]) -> io::Result<usize> {
        let mut idle = false;
        loop {
            self.fill(1)?;
            let input = &self.buffer[self.start..self.end];
            let last = input.is_empty();
            let step = self.engine.step(input, output, last)?;
            self.start += step.taken;
            if step.frame_ended {
                self.frames += u64::from(self.holds_data);
                self.state = State::Between;
                return Ok(step.given);
            }
            if step.given > 0 {
                return Ok(step.given);
            }
            // liblzma may idle once before it says that it lacks input.
            if step.taken > 0 {
                idle = false;
            } else if std::mem::replace(&mut idle, true) {
                return Err(match last {
                    true => DecodeError::Truncated(self.format).into(),
                    false => DecodeError::Damaged { format: self.format, detail: "no progress is made".into() }.into(),
                });
            }
        }
    }

    fn decode(&mut self, output: &mut [u8]) -> io::Result<usize> {
        loop {
            match &self.state {
                State::Ended => return Ok(0),
                State::Failed(err) => return Err(err.clone().into()),
                State::Between => self.next_frame()?,
                State::Inside => match self.inside(output)? {
                    0 => {}
                    given => return Ok(given),
                },
            }
        }
    }
}

impl Decoder<&[u8]> {
    /// Returns how many bytes of the input belong to no frame.
    fn unread_bytes(&self) -> usize {
        self.input.len() + self.end - self.start
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        if output.is_empty() {
            return Ok(0);
        }
        self.decode(output).inspect_err(|err| {
            if let Some(err) = err.get_ref().and_then(|inner| inner.downcast_ref::<DecodeError>()) {
                self.state = State::Failed(err.clone());
            }
        })
    }
}

/// Tells whether a frame begins here; `first` when none came before.
fn begins_frame(format: Format, head: &[u8], first: bool) -> bool {
    match format {
        Format::Zstd => head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || is_skippable(head),
        // No magic number: any properties byte that the format can have, and nothing after.
        Format::Lzma => first && head.len() == MAGIC_BYTES && head[0] < 9 * 5 * 5,
        Format::Lz4 => match head.first_chunk::<4>() {
            Some(&LZ4_MAGIC) => true,
            Some(length) => !first && (1..=LZ4_COMPRESSED_BYTES_MAX).contains(&(u32::from_le_bytes(*length) as usize)),
            None => false,
        },
        _ => Format::sniff(head) == format,
    }
}

/// Tells whether one of the sixteen skippable frames of zstd begins here (RFC 8878, 3.1.2).
fn is_skippable(head: &[u8]) -> bool {
    matches!(head, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

struct Gzip(Decompress);

impl Engine for Gzip {
    fn begin(&mut self) -> Result<(), DecodeError> {
        if self.0.total_in() > 0 {
            self.0 = Decompress::new_gzip(15);
        }
        Ok(())
    }

    fn step(&mut self, input: &[u8], output: &mut [u8], _last: bool) -> Result<Step, DecodeError> {
        let before = (self.0.total_in(), self.0.total_out());
        let status = self.0.decompress(input, output, FlushDecompress::None).map_err(|err| DecodeError::Damaged {
            format: Format::Gzip,
            detail: err.message().unwrap_or("the deflate data is invalid").to_owned(),
        })?;
        Ok(Step {
            taken: (self.0.total_in() - before.0) as usize,
            given: (self.0.total_out() - before.1) as usize,
            frame_ended: status == InflateStatus::StreamEnd,
        })
    }
}

/// Old packages, and apt's copies of indexes. A file that `pbzip2` made has a frame for each block.
struct Bzip2(Bunzip);

impl Engine for Bzip2 {
    fn begin(&mut self) -> Result<(), DecodeError> {
        if self.0.total_in() > 0 {
            self.0 = Bunzip::new(false);
        }
        Ok(())
    }

    fn step(&mut self, input: &[u8], output: &mut [u8], _last: bool) -> Result<Step, DecodeError> {
        let before = (self.0.total_in(), self.0.total_out());
        let status = self
            .0
            .decompress(input, output)
            .map_err(|err| DecodeError::Damaged { format: Format::Bzip2, detail: err.to_string() })?;
        Ok(Step {
            taken: (self.0.total_in() - before.0) as usize,
            given: (self.0.total_out() - before.1) as usize,
            frame_ended: status == BunzipStatus::StreamEnd,
        })
    }
}

/// Both containers of liblzma.
struct Xz {
    format: Format,
    stream: Stream,
}

fn xz_stream(format: Format) -> Result<Stream, DecodeError> {
    match format {
        Format::Lzma => Stream::new_lzma_decoder(XZ_MEMORY_BYTES_MAX),
        // Without the flag a file with an unknown kind of checksum would pass unchecked.
        _ => Stream::new_stream_decoder(XZ_MEMORY_BYTES_MAX, TELL_UNSUPPORTED_CHECK),
    }
    .map_err(|err| xz_error(format, err))
}

fn xz_error(format: Format, err: XzError) -> DecodeError {
    let damaged = |detail: &str| DecodeError::Damaged { format, detail: detail.to_owned() };
    match err {
        XzError::MemLimit | XzError::Mem => DecodeError::Memory { format, limit_bytes: XZ_MEMORY_BYTES_MAX },
        XzError::Options => DecodeError::Unsupported(format!("a filter or option of this {format} data")),
        XzError::UnsupportedCheck => DecodeError::Unsupported(format!("the checksum of this {format} data")),
        XzError::Format => damaged("the header is wrong"),
        XzError::Data => damaged("the data or a checksum is wrong"),
        XzError::Program | XzError::NoCheck => damaged("the decoder cannot go on"),
    }
}

impl Engine for Xz {
    fn begin(&mut self) -> Result<(), DecodeError> {
        if self.stream.total_in() > 0 {
            self.stream = xz_stream(self.format)?;
        }
        Ok(())
    }

    fn step(&mut self, input: &[u8], output: &mut [u8], last: bool) -> Result<Step, DecodeError> {
        let before = (self.stream.total_in(), self.stream.total_out());
        let action = if last { Action::Finish } else { Action::Run };
        let status = self.stream.process(input, output, action).map_err(|err| xz_error(self.format, err))?;
        Ok(Step {
            taken: (self.stream.total_in() - before.0) as usize,
            given: (self.stream.total_out() - before.1) as usize,
            frame_ended: status == XzStatus::StreamEnd,
        })
    }
}

fn zstd_context() -> Result<ZstdContext<'static>, DecodeError> {
    let mut context = ZstdContext::new().map_err(zstd_error)?;
    context.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX)).map_err(zstd_error)?;
    Ok(context)
}

fn zstd_error(err: io::Error) -> DecodeError {
    let detail = err.to_string();
    // The binding hands on only the library's sentence, no number.
    match detail.contains("too much memory") {
        true => DecodeError::Memory { format: Format::Zstd, limit_bytes: 1 << ZSTD_WINDOW_LOG_MAX },
        false => DecodeError::Damaged { format: Format::Zstd, detail },
    }
}

impl Engine for ZstdContext<'static> {
    fn begin(&mut self) -> Result<(), DecodeError> {
        self.reinit().map_err(zstd_error)
    }

    fn step(&mut self, input: &[u8], output: &mut [u8], _last: bool) -> Result<Step, DecodeError> {
        let status = self.run_on_buffers(input, output).map_err(zstd_error)?;
        Ok(Step { taken: status.bytes_read, given: status.bytes_written, frame_ended: status.remaining == 0 })
    }
}

/// The legacy frame: a magic number, then blocks of 8 MiB (the last may be shorter), each with its compressed length before it. It has no
/// end of its own. So the magic number and every block count as a frame each, and the input may end between any two.
#[derive(Default)]
struct Lz4 {
    /// What has come of the magic number, or of a length and the block that it announces.
    compressed: Vec<u8>,
    /// Room for a whole block, made for the first one and never cleared.
    block: Vec<u8>,
    /// How much of the room the block takes, once it is decompressed.
    size: Option<usize>,
    given: usize,
}

impl Lz4 {
    /// Collects up to `count` bytes; returns how many it took.
    fn collect(&mut self, input: &[u8], count: usize) -> usize {
        let taken = input.len().min(count.saturating_sub(self.compressed.len()));
        self.compressed.extend_from_slice(&input[..taken]);
        taken
    }

    fn decompress(&mut self) -> Result<usize, DecodeError> {
        if self.block.is_empty() {
            self.block = vec![0; LZ4_BLOCK_BYTES];
        }
        lz4_flex::block::decompress_into(&self.compressed[4..], &mut self.block)
            .map_err(|err| DecodeError::Damaged { format: Format::Lz4, detail: err.to_string() })
    }
}

impl Engine for Lz4 {
    fn begin(&mut self) -> Result<(), DecodeError> {
        self.compressed.clear();
        (self.size, self.given) = (None, 0);
        Ok(())
    }

    fn step(&mut self, input: &[u8], output: &mut [u8], _last: bool) -> Result<Step, DecodeError> {
        let mut taken = self.collect(input, 4);
        let length = match self.compressed.first_chunk::<4>() {
            None => return Ok(Step { taken, given: 0, frame_ended: false }),
            Some(&LZ4_MAGIC) => return Ok(Step { taken, given: 0, frame_ended: true }),
            Some(length) => u32::from_le_bytes(*length) as usize,
        };
        if self.compressed.len() < 4 + length {
            taken += self.collect(&input[taken..], 4 + length);
            if self.compressed.len() < 4 + length {
                return Ok(Step { taken, given: 0, frame_ended: false });
            }
        }
        let size = match self.size {
            Some(size) => size,
            None => {
                let size = self.decompress()?;
                self.size = Some(size);
                size
            }
        };
        let rest = &self.block[self.given..size];
        let given = rest.len().min(output.len());
        output[..given].copy_from_slice(&rest[..given]);
        self.given += given;
        Ok(Step { taken, given, frame_ended: self.given == size })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    /// Compresses with the format's own tool, so that two implementations must agree.
    fn compressed(format: Format, bytes: &[u8]) -> Vec<u8> {
        let (tool, args): (&str, &[&str]) = match format {
            Format::None => return bytes.to_vec(),
            Format::Gzip => ("gzip", &["-c"]),
            Format::Xz => ("xz", &["-1", "-c"]),
            Format::Lzma => ("xz", &["-1", "-c", "--format=lzma"]),
            Format::Zstd => ("zstd", &["-c", "-q", "--check"]),
            Format::Lz4 => ("lz4", &["-l", "-c", "-q"]),
            Format::Bzip2 => unreachable!("not read"),
        };
        run(tool, args, bytes)
    }

    fn run(tool: &str, args: &[&str], bytes: &[u8]) -> Vec<u8> {
        let mut child = Command::new(tool)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|err| panic!("install the Debian packages gzip, xz-utils, zstd and lz4: `{tool}`: {err}"));
        let mut stdin = child.stdin.take().expect("a pipe");
        let bytes = bytes.to_vec();
        let writer = std::thread::spawn(move || stdin.write_all(&bytes));
        let output = child.wait_with_output().expect("the tool ends");
        writer.join().expect("the writer ends").expect("writing to the tool");
        assert!(output.status.success(), "{tool}");
        output.stdout
    }

    /// Bytes that compress a little, as programs do.
    fn sample(size: usize) -> Vec<u8> {
        let mut state = 1u64;
        let mut next = move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as u8
        };
        (0..size).map(|i| if i % 3 == 0 { next() } else { (i / 100) as u8 }).collect()
    }

    const COMPRESSED: [Format; 5] = [Format::Gzip, Format::Xz, Format::Lzma, Format::Zstd, Format::Lz4];

    fn error(format: Format, bytes: &[u8]) -> DecodeError {
        let err = all(format, bytes, u64::MAX).expect_err("refused");
        err.get_ref().and_then(|inner| inner.downcast_ref()).cloned().expect("a DecodeError")
    }

    #[test]
    fn what_the_tools_write_is_read() {
        // One byte more than a block of lz4, and several for the others.
        let rows: [(usize, &[Format]); 4] =
            [(0, &COMPRESSED), (1, &COMPRESSED), (700_000, &COMPRESSED), ((8 << 20) + 1, &[Format::Lz4])];
        for (size, formats) in rows {
            let bytes = sample(size);
            for &format in formats {
                let packed = compressed(format, &bytes);
                assert_eq!(Format::sniff(&packed), format);
                assert!(all(format, &packed, size as u64).expect("reads") == bytes, "{format} {size}");
                if size > 0 {
                    assert!(matches!(
                        all(format, &packed, size as u64 - 1).expect_err("too large").kind(),
                        io::ErrorKind::FileTooLarge
                    ));
                }
            }
        }
    }

    #[test]
    fn frames_follow_each_other() {
        let bytes = sample(5000);
        for format in [Format::Gzip, Format::Xz, Format::Zstd, Format::Lz4] {
            let one = compressed(format, &bytes);
            let twice = [&one[..], &one[..]].concat();
            assert!(all(format, &twice, u64::MAX).expect("reads") == bytes.repeat(2), "{format}");
        }
        let one = compressed(Format::Xz, &bytes);
        let padded = [&one[..], &[0; 8], &one[..], &[0; 4]].concat();
        assert_eq!(all(Format::Xz, &padded, u64::MAX).expect("padding is legal").len(), 10_000);
        assert!(all(Format::Xz, &padded[..padded.len() - 1], u64::MAX).is_err(), "padding comes in fours");
    }

    #[test]
    fn e08_truncated_anywhere_is_refused() {
        let bytes = sample(3000);
        for format in COMPRESSED {
            let packed = compressed(format, &bytes);
            for end in 0..packed.len() {
                // A legacy lz4 frame may end after any of its blocks and after its magic number: the format has no end mark.
                if format == Format::Lz4 && end == 4 {
                    continue;
                }
                let err = all(format, &packed[..end], u64::MAX).expect_err("truncated");
                assert!(
                    matches!(err.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData),
                    "{format} cut at {end} of {}: {err}",
                    packed.len()
                );
            }
        }
    }

    #[test]
    fn e09_a_flipped_bit_ends_and_is_noticed_where_there_is_a_checksum() {
        let bytes = sample(300);
        for format in COMPRESSED {
            let packed = compressed(format, &bytes);
            for bit in 0..packed.len() * 8 {
                let mut bad = packed.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                let result = all(format, &bad, 1 << 20);
                // lzma and legacy lz4 have no checksum. Headers hold bits that mean nothing (gzip: time, system, flags).
                if matches!(format, Format::Gzip | Format::Xz | Format::Zstd)
                    && let Ok(same) = result
                {
                    assert!(same == bytes, "{format}: bit {bit} gave other bytes");
                }
            }
        }
    }

    #[test]
    fn e10_what_follows_is_refused() {
        for format in COMPRESSED {
            let packed = compressed(format, b"hello");
            for tail in [&b"\0"[..], b"x", b"garbage that is long enough", &[0; 512]] {
                let result = all(format, &[&packed[..], tail].concat(), u64::MAX);
                // Only .xz has padding.
                assert_eq!(result.is_ok(), format == Format::Xz && tail.len() == 512, "{format} before {tail:?}");
            }
        }
        assert_eq!(
            error(Format::Zstd, &[compressed(Format::Zstd, b"x"), b"yy".to_vec()].concat()),
            DecodeError::Trailing(Format::Zstd)
        );
    }

    #[test]
    fn e10_skippable_frames_alone_hold_nothing() {
        let skippable = [&[0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        assert_eq!(error(Format::Zstd, &skippable.repeat(1000)), DecodeError::Truncated(Format::Zstd));
        let real = compressed(Format::Zstd, b"hello");
        assert_eq!(all(Format::Zstd, &[&skippable[..], &real, &skippable].concat(), 9).expect("reads"), b"hello");
    }

    #[test]
    fn e10_a_million_frames_end() {
        let empty = compressed(Format::Zstd, b"");
        assert_eq!(all(Format::Zstd, &empty.repeat(1_000_000), 10).expect("reads"), b"");
        let empty = compressed(Format::Gzip, b"");
        assert_eq!(all(Format::Gzip, &empty.repeat(50_000), 10).expect("reads"), b"");
    }

    #[test]
    fn e10_dictionaries_over_the_limit_are_refused() {
        let big = run("xz", &["-c", "--lzma2=dict=512MiB"], b"hello");
        assert!(matches!(error(Format::Xz, &big), DecodeError::Memory { format: Format::Xz, .. }));
        // The window descriptor of a frame written by hand: 2^31 bytes.
        let wide = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x01, 0, 0];
        assert!(matches!(error(Format::Zstd, &wide), DecodeError::Memory { format: Format::Zstd, .. }));
        let best = run("xz", &["-c", "-9e"], b"hello");
        assert_eq!(all(Format::Xz, &best, 5).expect("within the limit"), b"hello");
    }

    #[test]
    fn e10_a_bomb_costs_what_the_caller_allows() {
        let bomb = compressed(Format::Zstd, &vec![0; 64 << 20]);
        assert!(bomb.len() < 10_000);
        assert_eq!(all(Format::Zstd, &bomb, 1000).expect_err("too large").kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn bzip2_is_read_as_bunzip2_reads_it() {
        use std::io::Write;
        let packed = |bytes: &[u8], level: &str| {
            let mut tool = std::process::Command::new("bzip2");
            tool.args(["-c", level]).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
            let mut tool = tool.spawn().expect("bzip2, of the Debian package bzip2");
            let (mut input, bytes) = (tool.stdin.take().expect("a pipe"), bytes.to_vec());
            let writer = std::thread::spawn(move || input.write_all(&bytes));
            let output = tool.wait_with_output().expect("bzip2").stdout;
            writer.join().expect("no panic").expect("writing");
            output
        };
        for (size, level) in [(0, "-9"), (1, "-1"), (300_000, "-1"), (2_500_000, "-9")] {
            let bytes = sample(size);
            let file = packed(&bytes, level);
            assert!(all(Format::Bzip2, &file, u64::MAX).expect("reads") == bytes, "{size}");
            // Several frames, as pbzip2 writes them; a frame and something else.
            let two = [&file[..], &file].concat();
            assert!(all(Format::Bzip2, &two, u64::MAX).expect("reads") == [&bytes[..], &bytes].concat(), "{size}");
            let err = all(Format::Bzip2, &[&file[..], b"x"].concat(), u64::MAX).expect_err("something follows");
            assert!(err.to_string().contains("followed"), "{err}");
            for cut in [file.len() - 1, file.len() / 2, 5, 3] {
                assert!(all(Format::Bzip2, &file[..cut], u64::MAX).is_err(), "{size} cut at {cut}");
            }
        }
        let good = packed(&sample(100_000), "-9");
        for at in (4..good.len()).step_by(good.len() / 40) {
            let mut bytes = good.clone();
            bytes[at] ^= 4;
            assert!(all(Format::Bzip2, &bytes, u64::MAX).is_err(), "byte {at}");
        }
        // 45 bytes that say 900,000.
        let bomb = packed(&vec![0; 50 << 20], "-9");
        assert!(bomb.len() < 100);
        assert_eq!(all(Format::Bzip2, &bomb, 1000).expect_err("too large").kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn an_error_stays() {
        let packed = compressed(Format::Gzip, &sample(3000));
        let mut reader = reader(Format::Gzip, &packed[..packed.len() - 3]).expect("gzip is read");
        let mut data = Vec::new();
        assert!(reader.read_to_end(&mut data).is_err());
        assert!(reader.read(&mut [0; 10]).is_err());
    }

    #[test]
    fn the_first_of_several_segments_ends_where_it_ends() {
        let bytes = sample(200_000);
        for format in COMPRESSED {
            let packed = compressed(format, &bytes);
            let image = [&packed[..], &[0, 0, 0, 0], b"070701"].concat();
            let (data, size) = first(format, &image, u64::MAX).expect("reads");
            assert!(data == bytes && size == packed.len(), "{format}: {size} of {}", packed.len());
        }
    }
}
