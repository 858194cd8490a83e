//! The newc cpio archive, in which the kernel takes its initramfs: writes and reads it.
//!
//! Format: Documentation/driver-api/early-userspace/buffer-format.rst of the kernel. A header is 110 bytes of ASCII, all numbers are
//! eight hexadecimal digits; name and data are each padded with zeros to a multiple of four from the start of the archive.
//!
//! Written by hand because the crates wrap numbers that do not fit, take names as UTF-8 only, and end an archive well whose last
//! file came out short. Here a number that does not fit is an error, and so is a file of another length than announced.

use std::io::{self, Write};

use crate::base::limit;

/// The bytes of a header.
const HEADER_BYTES: usize = 110;
/// The magic number of an archive without checksums.
const MAGIC_NEWC: &[u8] = b"070701";
/// The magic number of an archive whose files carry the sum of their bytes.
const MAGIC_CRC: &[u8] = b"070702";
/// The name of the entry that ends an archive.
const TRAILER: &[u8] = b"TRAILER!!!";
/// A name with its terminator: the kernel passes over entries with longer ones (`PATH_MAX`) without a word.
const NAME_FIELD_BYTES_MAX: u32 = limit::PATH_BYTES_MAX as u32 + 1;

/// The bits of a mode that say what an entry is.
pub const S_IFMT: u32 = 0o170_000;
/// A fifo.
pub const S_IFIFO: u32 = 0o010_000;
/// A character device.
pub const S_IFCHR: u32 = 0o020_000;
/// A directory.
pub const S_IFDIR: u32 = 0o040_000;
/// A block device.
pub const S_IFBLK: u32 = 0o060_000;
/// A regular file.
pub const S_IFREG: u32 = 0o100_000;
/// A symbolic link.
pub const S_IFLNK: u32 = 0o120_000;

/// What a header says about an entry besides its name and size.
///
/// Hard links are entries with the same inode number (and device) and the number of links in `links`; the data stands with the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header {
    /// Inode number; wider than the field so that one that does not fit is noticed.
    pub inode: u64,
    /// Type and permission bits.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Number of links.
    pub links: u32,
    /// Seconds since 1970; wider than the field so that one that does not fit is noticed.
    pub mtime_s: u64,
    /// The device on which the inode lies: major and minor number.
    pub device: (u32, u32),
    /// Of a device node: major and minor number.
    pub node: (u32, u32),
}

/// An archive cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A number does not fit into eight hexadecimal digits.
    #[error("the {field} of `{name}` is {value}, more than newc can hold (4294967295)")]
    TooLarge {
        /// The entry.
        name: String,
        /// What does not fit.
        field: &'static str,
        /// How large it is.
        value: u64,
    },
    /// The name cannot stand in an archive.
    #[error("`{name}` cannot be a name in a cpio archive: {reason}")]
    Name {
        /// The name, control characters escaped.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An entry got more or less data than was announced.
    #[error("`{name}` was announced with {announced_bytes} bytes and got {found_bytes}")]
    Length {
        /// The entry.
        name: String,
        /// What the header says.
        announced_bytes: u64,
        /// What came.
        found_bytes: u64,
    },
    /// The output failed.
    #[error(transparent)]
    Output(#[from] io::Error),
}

impl From<WriteError> for io::Error {
    fn from(err: WriteError) -> Self {
        match err {
            WriteError::Output(err) => err,
            other => io::Error::other(other),
        }
    }
}

/// Writes an archive, entry by entry.
pub struct Writer<W> {
    out: W,
    position_bytes: u64,
    name: Vec<u8>,
    announced_bytes: u64,
    found_bytes: u64,
}

impl<W: Write> Writer<W> {
    /// Begins an archive at what must be a multiple of four in the final file.
    pub fn new(out: W) -> Self {
        Self { out, position_bytes: 0, name: Vec::new(), announced_bytes: 0, found_bytes: 0 }
    }

    /// Begins an entry of `size_bytes` bytes of data, which [`Writer::data`] must bring before the next entry.
    pub fn entry(&mut self, name: &[u8], header: &Header, size_bytes: u64) -> Result<(), WriteError> {
        self.end_entry()?;
        let wrong = |reason| WriteError::Name { name: shown(name), reason };
        if name.is_empty() || name == TRAILER {
            return Err(wrong("it is empty or ends the archive"));
        }
        if name.contains(&0) {
            return Err(wrong("it contains a NUL"));
        }
        if name.len() > limit::PATH_BYTES_MAX {
            return Err(wrong("it is longer than 4095 bytes"));
        }
        self.header(name, header, size_bytes)?;
        self.name = name.to_vec();
        self.announced_bytes = size_bytes;
        self.found_bytes = 0;
        Ok(())
    }

    /// Adds data of the entry begun last.
    pub fn data(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.found_bytes += bytes.len() as u64;
        if self.found_bytes > self.announced_bytes {
            return Err(self.wrong_length());
        }
        self.put(bytes)?;
        Ok(())
    }

    /// Ends the archive and returns the output and how many bytes were written: a multiple of four.
    pub fn finish(mut self) -> Result<(W, u64), WriteError> {
        self.end_entry()?;
        self.header(TRAILER, &Header { links: 1, ..Header::default() }, 0)?;
        Ok((self.out, self.position_bytes))
    }

    fn end_entry(&mut self) -> Result<(), WriteError> {
        if self.found_bytes != self.announced_bytes {
            return Err(self.wrong_length());
        }
        self.pad()
    }

    fn wrong_length(&self) -> WriteError {
        WriteError::Length { name: shown(&self.name), announced_bytes: self.announced_bytes, found_bytes: self.found_bytes }
    }

    fn header(&mut self, name: &[u8], header: &Header, size_bytes: u64) -> Result<(), WriteError> {
        let fields = [
            ("inode number", header.inode),
            ("mode", header.mode.into()),
            ("owner", header.uid.into()),
            ("group", header.gid.into()),
            ("number of links", header.links.into()),
            ("time", header.mtime_s),
            ("size", size_bytes),
            ("device", header.device.0.into()),
            ("device", header.device.1.into()),
            ("node", header.node.0.into()),
            ("node", header.node.1.into()),
            ("name length", name.len() as u64 + 1),
            ("checksum", 0),
        ];
        let mut text = Vec::with_capacity(HEADER_BYTES + name.len() + 1);
        text.extend_from_slice(MAGIC_NEWC);
        for (field, value) in fields {
            let value = u32::try_from(value).map_err(|_| WriteError::TooLarge { name: shown(name), field, value })?;
            write!(text, "{value:08X}")?;
        }
        text.extend_from_slice(name);
        text.push(0);
        self.put(&text)?;
        self.pad()
    }

    fn pad(&mut self) -> Result<(), WriteError> {
        let missing = (4 - self.position_bytes % 4) % 4;
        self.put(&[0; 3][..missing as usize])?;
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.position_bytes += bytes.len() as u64;
        Ok(())
    }
}

/// An entry of an archive that is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member<'a> {
    /// What the header says.
    pub header: Header,
    /// The name as it stands there, without its terminator.
    pub name: &'a [u8],
    /// The data.
    pub data: &'a [u8],
    /// Where the data begins, counted from the start of what is read.
    pub data_at: usize,
}

/// An archive cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the cpio archive is damaged at byte {at}: {reason}")]
pub struct ReadError {
    /// Where, counted from the start of what is read.
    pub at: usize,
    /// What is wrong.
    pub reason: Reason,
}

/// What is wrong with an archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Reason {
    #[error("a header must begin with `070701` or `070702`, found `{0}`")]
    Magic(String),
    #[error("the {field} must be eight hexadecimal digits, found `{found}`")]
    Digits { field: &'static str, found: String },
    #[error("the archive ends within the {0}")]
    Truncated(&'static str),
    #[error("the archive has no end mark (`TRAILER!!!`)")]
    NoTrailer,
    #[error("a name must have 1 to 4095 bytes and a terminator, the header says {0}")]
    NameLength(u32),
    #[error("the name `{0}` does not end where the header says")]
    NameEnd(String),
    #[error("the end mark carries data")]
    TrailerData,
    #[error("`{name}` has the checksum {found:08x}, wanted {wanted:08x}")]
    Checksum { name: String, found: u32, wanted: u32 },
    #[error("`{0}` is a kind of file that cpio does not know (mode {1:o})")]
    Kind(String, u32),
    #[error("`{0}` carries data, which only files and symlinks can")]
    UnwantedData(String),
    #[error("more than {0} entries")]
    TooMany(usize),
    #[error("something other than zeros follows the end mark")]
    Behind,
}

/// Reads one archive from memory, without copying; nothing is allocated by a number that the archive claims.
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    entries: usize,
    ended: bool,
}

impl<'a> Reader<'a> {
    /// Begins to read at the start of `bytes`; alignment counts from there.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, entries: 0, ended: false }
    }

    /// Tells whether `bytes` begin as an archive does.
    pub fn is_archive(bytes: &[u8]) -> bool {
        bytes.starts_with(MAGIC_NEWC) || bytes.starts_with(MAGIC_CRC)
    }

    /// Returns how many bytes were read so far; after the last entry that includes the end mark.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Returns the next entry, or nothing after the end mark.
    pub fn next_member(&mut self) -> Result<Option<Member<'a>>, ReadError> {
        if self.ended {
            return Ok(None);
        }
        let start = self.at;
        let wrong = |reason| ReadError { at: start, reason };
        if start >= self.bytes.len() {
            return Err(wrong(Reason::NoTrailer));
        }
        let head = self.take(HEADER_BYTES, "header").map_err(|err| {
            // What is too short for a header and does not even begin as one is junk, not the rest of an archive.
            let begins = self.bytes[start..].iter().zip(MAGIC_NEWC).take(5).all(|(found, wanted)| found == wanted);
            if begins { err } else { wrong(Reason::Magic(shown(&self.bytes[start..][..6.min(self.bytes.len() - start)]))) }
        })?;
        let with_sums = match &head[..6] {
            MAGIC_NEWC => false,
            MAGIC_CRC => true,
            other => return Err(wrong(Reason::Magic(shown(other)))),
        };
        let fields = numbers(head).map_err(wrong)?;
        let [inode, mode, uid, gid, links, mtime_s, size, major, minor, node_major, node_minor, name_length, sum] = fields;
        if !(1..=NAME_FIELD_BYTES_MAX).contains(&name_length) {
            return Err(wrong(Reason::NameLength(name_length)));
        }
        let field = self.take(name_length as usize, "name")?;
        self.align(if size == 0 { Rest::MayBeAbsent } else { Rest::Needed })?;
        // Some writers align the data by a name with several terminators.
        let name = field.split(|byte| *byte == 0).next().unwrap_or_default();
        if name.len() == field.len() || field[name.len()..].iter().any(|byte| *byte != 0) {
            return Err(wrong(Reason::NameEnd(shown(field))));
        }
        if name == TRAILER {
            self.ended = true;
            return if size == 0 { Ok(None) } else { Err(wrong(Reason::TrailerData)) };
        }
        if name.is_empty() {
            return Err(wrong(Reason::NameLength(name_length)));
        }
        let data_at = self.at;
        let data = self.take(size as usize, "data")?;
        self.align(Rest::MayBeAbsent)?;
        self.entries += 1;
        if self.entries > limit::ENTRIES_MAX {
            return Err(wrong(Reason::TooMany(limit::ENTRIES_MAX)));
        }
        check_kind(name, mode, data).map_err(wrong)?;
        if with_sums && mode & S_IFMT == S_IFREG {
            check_sum(name, data, sum, links).map_err(wrong)?;
        }
        let header = Header {
            inode: inode.into(),
            mode,
            uid,
            gid,
            links,
            mtime_s: mtime_s.into(),
            device: (major, minor),
            node: (node_major, node_minor),
        };
        Ok(Some(Member { header, name, data, data_at }))
    }

    fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], ReadError> {
        let found = self.bytes[self.at..].get(..count).ok_or(ReadError { at: self.at, reason: Reason::Truncated(what) })?;
        self.at += count;
        Ok(found)
    }

    /// Goes on to a multiple of four.
    fn align(&mut self, rest: Rest) -> Result<(), ReadError> {
        let aligned = self.at.next_multiple_of(4);
        if aligned > self.bytes.len() && matches!(rest, Rest::Needed) {
            return Err(ReadError { at: self.at, reason: Reason::Truncated("padding") });
        }
        self.at = aligned.min(self.bytes.len());
        Ok(())
    }
}

/// Whether more must follow padding. Some writers leave out the padding behind the very last header.
enum Rest {
    Needed,
    MayBeAbsent,
}

/// Reads a whole archive that is alone in `bytes`: behind its end mark come only zeros.
pub fn read_all(bytes: &[u8]) -> Result<Vec<Member<'_>>, ReadError> {
    let mut reader = Reader::new(bytes);
    let mut members = Vec::new();
    while let Some(member) = reader.next_member()? {
        members.push(member);
    }
    match bytes[reader.at..].iter().position(|byte| *byte != 0) {
        None => Ok(members),
        Some(offset) => Err(ReadError { at: reader.at + offset, reason: Reason::Behind }),
    }
}

fn numbers(head: &[u8]) -> Result<[u32; 13], Reason> {
    const NAMES: [&str; 13] = [
        "inode number",
        "mode",
        "owner",
        "group",
        "number of links",
        "time",
        "size",
        "device",
        "device",
        "node",
        "node",
        "name length",
        "checksum",
    ];
    let mut numbers = [0; 13];
    for ((number, digits), field) in numbers.iter_mut().zip(head[6..].chunks_exact(8)).zip(NAMES) {
        for digit in digits {
            let value = char::from(*digit).to_digit(16).ok_or_else(|| Reason::Digits { field, found: shown(digits) })?;
            *number = *number << 4 | value;
        }
    }
    Ok(numbers)
}

fn check_kind(name: &[u8], mode: u32, data: &[u8]) -> Result<(), Reason> {
    match mode & S_IFMT {
        S_IFREG | S_IFLNK => Ok(()),
        S_IFDIR | S_IFCHR | S_IFBLK | S_IFIFO if data.is_empty() => Ok(()),
        S_IFDIR | S_IFCHR | S_IFBLK | S_IFIFO => Err(Reason::UnwantedData(shown(name))),
        _ => Err(Reason::Kind(shown(name), mode)),
    }
}

/// The sum is that of all bytes; every name of a hard link set carries it, though only the last has the data.
fn check_sum(name: &[u8], data: &[u8], wanted: u32, links: u32) -> Result<(), Reason> {
    let found = data.iter().fold(0_u32, |sum, byte| sum.wrapping_add((*byte).into()));
    if found == wanted || (data.is_empty() && links > 1) {
        return Ok(());
    }
    Err(Reason::Checksum { name: shown(name), found, wanted })
}

fn shown(name: &[u8]) -> String {
    let text: String = name.escape_ascii().to_string();
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: Header =
        Header { inode: 1, mode: S_IFREG | 0o644, uid: 0, gid: 0, links: 1, mtime_s: 0, device: (0, 0), node: (0, 0) };

    /// An archive with one file, `hello`.
    fn archive() -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        writer.entry(b"name", &FILE, 5).expect("an entry");
        writer.data(b"hello").expect("data");
        writer.finish().expect("an archive").0
    }

    /// Changes bytes of the first header: `at` counts from its start.
    fn patched(at: usize, with: &[u8]) -> Vec<u8> {
        let mut bytes = archive();
        bytes[at..at + with.len()].copy_from_slice(with);
        bytes
    }

    #[test]
    fn a_written_archive_reads_back() {
        let bytes = archive();
        assert_eq!(bytes.len() % 4, 0);
        let members = read_all(&bytes).expect("an archive");
        assert_eq!(members, [Member { header: FILE, name: b"name", data: b"hello", data_at: 116 }]);
    }

    #[test]
    fn e07_what_contradicts_itself_is_refused() {
        type Check = fn(&Reason) -> bool;
        let table: [(&str, Vec<u8>, Check); 16] = [
            ("magic", patched(0, b"070707"), |r| matches!(r, Reason::Magic(found) if found == "070707")),
            ("old binary magic", patched(0, b"\xc7\x71"), |r| matches!(r, Reason::Magic(_))),
            ("sign in a number", patched(6, b"+0000001"), |r| matches!(r, Reason::Digits { field: "inode number", .. })),
            ("prefix in a number", patched(54, b"0x000005"), |r| matches!(r, Reason::Digits { field: "size", .. })),
            ("space in a number", patched(94, b"       5"), |r| matches!(r, Reason::Digits { field: "name length", .. })),
            ("largest size", patched(54, b"FFFFFFFF"), |r| matches!(r, Reason::Truncated("data"))),
            ("size beyond the end", patched(54, b"00001000"), |r| matches!(r, Reason::Truncated("data"))),
            ("no name", patched(94, b"00000000"), |r| matches!(r, Reason::NameLength(0))),
            ("empty name", patched(110, b"\0\0\0\0"), |r| matches!(r, Reason::NameLength(_))),
            ("name too long", patched(94, b"00001001"), |r| matches!(r, Reason::NameLength(4097))),
            ("longest name", patched(94, b"FFFFFFFF"), |r| matches!(r, Reason::NameLength(u32::MAX))),
            ("name longer than said", patched(94, b"00000004"), |r| matches!(r, Reason::NameEnd(_))),
            ("NUL in the name", patched(111, b"\0"), |r| matches!(r, Reason::NameEnd(_))),
            ("socket", patched(14, b"0000C1A4"), |r| matches!(r, Reason::Kind(..))),
            ("directory with data", patched(14, b"000041ED"), |r| matches!(r, Reason::UnwantedData(_))),
            ("wrong sum", patched(0, b"070702"), |r| matches!(r, Reason::Checksum { found: 0x214, wanted: 0, .. })),
        ];
        for (what, bytes, check) in table {
            let err = read_all(&bytes).expect_err(what);
            assert!(check(&err.reason), "{what}: {err}");
        }
    }

    #[test]
    fn e07_the_end_is_checked() {
        let one = archive();
        assert!(matches!(read_all(&[&one[..], &one].concat()), Err(ReadError { reason: Reason::Behind, .. })));
        let empty = Writer::new(Vec::new()).finish().expect("an archive").0;
        assert!(matches!(read_all(&[&one[..], &empty].concat()), Err(ReadError { reason: Reason::Behind, .. })));
        assert_eq!(read_all(&[&one[..], &[0; 509]].concat()).expect("zeros may follow").len(), 1);
        assert_eq!(read_all(&empty).expect("an archive of nothing"), []);
        let mut with_data = empty;
        with_data[54..62].copy_from_slice(b"00000004");
        with_data.extend_from_slice(b"data");
        assert!(matches!(read_all(&with_data), Err(ReadError { reason: Reason::TrailerData, .. })));
        assert!(matches!(read_all(b""), Err(ReadError { reason: Reason::NoTrailer, .. })));
    }

    #[test]
    fn e08_e09_truncated_and_flipped_archives_never_panic() {
        let bytes = archive();
        // Cut behind the trailer's name nothing is missing but padding.
        let whole = bytes.iter().rposition(|byte| *byte != 0).expect("a trailer") + 2;
        for cut in 0..bytes.len() {
            assert_eq!(read_all(&bytes[..cut]).is_ok(), cut >= whole, "cut at {cut} of {}", bytes.len());
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                // Only that it ends is asserted: a bit of the time or the data may flip without contradiction.
                let _ = read_all(&flipped);
            }
        }
    }

    #[test]
    fn names_may_end_with_several_terminators() {
        let mut bytes = archive();
        bytes.splice(114..116, [0, 0, 0, 0, 0, 0]);
        bytes[94..102].copy_from_slice(b"0000000A");
        let members = read_all(&bytes).expect("an archive");
        assert_eq!((members[0].name, members[0].data), (&b"name"[..], &b"hello"[..]));
    }
}
