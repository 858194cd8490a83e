//! Tar archives, read strictly in one pass: ustar, GNU long names, PAX headers, base-256 numbers.
//!
//! Whatever two readers could understand differently is refused: a PAX size that contradicts the header's (CVE-2025-62518), a GNU long
//! name together with a PAX path, links and directories with content, sparse files, anything behind the end marker. Names are bytes and not
//! interpreted here. Format: POSIX.1-2017 pax, "ustar Interchange Format" and "pax Header Block"; GNU tar manual, "Basic Tar Format".

use std::io::{self, Read};

use crate::base::limit;

const BLOCK_BYTES: usize = 512;
/// Zeros that may follow the end marker: the largest record that GNU tar pads to by its usual options, and then some.
const PADDING_BYTES_MAX: u64 = 1 << 20;
/// Bytes read at a time when skipping.
const SKIP_BYTES: usize = 64 << 10;

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The bytes do not follow the format, or contradict each other.
    #[error("the tar archive is damaged at byte {offset}{}: {detail}", of(name))]
    Damaged {
        /// Where the header begins.
        offset: u64,
        /// The member, as far as it is known; empty if not.
        name: Vec<u8>,
        /// What is wrong.
        detail: String,
    },
    /// A legal feature that no package uses.
    #[error("the tar archive{} uses {feature}, which is not supported", of(name))]
    Unsupported {
        /// The member.
        name: Vec<u8>,
        /// The feature.
        feature: String,
    },
    /// Something is larger than is allowed.
    #[error("{what} of the tar archive exceeds the limit of {limit}")]
    Limit {
        /// What.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// The bytes cannot be read, or end too early.
    #[error("the tar archive cannot be read at byte {offset}")]
    Io {
        /// Where.
        offset: u64,
        /// What the reader said.
        #[source]
        source: io::Error,
    },
}

fn of(name: &[u8]) -> String {
    match name {
        b"" => String::new(),
        name => format!(" (`{}`)", name.escape_ascii()),
    }
}

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file; its content follows.
    File,
    /// Another name of an earlier member.
    Hardlink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    Character,
    /// A block device.
    Block,
    /// A directory.
    Dir,
    /// A named pipe.
    Fifo,
}

/// A member's header, extensions applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name as stored: `./usr/bin/x`, a directory's with or without a slash at the end.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// The target of a hard or symbolic link, as stored.
    pub link: Vec<u8>,
    /// Permission, set-id and sticky bits: at most 0o7777.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// The owner's name; may be empty.
    pub user: Vec<u8>,
    /// The group's name; may be empty.
    pub group: Vec<u8>,
    /// Seconds since 1970, rounded down.
    pub mtime_s: i64,
    /// Size of the content in bytes; 0 for everything but files.
    pub size_bytes: u64,
    /// Major and minor number of a device, else 0.
    pub device: (u32, u32),
    /// The attribute `security.capability`, raw.
    pub capability: Option<Vec<u8>>,
    /// What apk's tools note of a file or of a link's text, in hexadecimal digits: SHA-1.
    pub apk_sha1: Option<Vec<u8>>,
}

/// An archive that is being read; as a reader it gives the content of the current member.
pub struct Archive<R> {
    input: R,
    offset: u64,
    /// Bytes of content, then of padding, that are still to come.
    left: u64,
    padding: u64,
    entries: usize,
    content_bytes: u64,
    ended: bool,
}

impl<R: Read> Archive<R> {
    /// Begins to read. `input` should be buffered: headers are read in small pieces.
    pub fn new(input: R) -> Self {
        Self { input, offset: 0, left: 0, padding: 0, entries: 0, content_bytes: 0, ended: false }
    }

    /// Skips what is left of the member and returns the next; nothing after the last, when the input has been read to its end.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        if self.ended {
            return Ok(None);
        }
        let mut extensions = Extensions::default();
        loop {
            self.skip(self.left + self.padding)?;
            (self.left, self.padding) = (0, 0);
            let offset = self.offset;
            let block = self.block()?;
            if block == [0; BLOCK_BYTES] {
                if !extensions.is_empty() {
                    return Err(damaged(offset, b"", "the archive ends after an extended header"));
                }
                self.end(offset)?;
                return Ok(None);
            }
            let header = Header::parse(&block).map_err(|fault| fault.at(offset))?;
            self.entries += 1;
            if self.entries > limit::ENTRIES_MAX {
                return Err(TarError::Limit { what: "the number of members", limit: limit::ENTRIES_MAX as u64 });
            }
            match header.kind {
                b'L' | b'K' | b'x' | b'g' => self.extend(&header, &mut extensions).map_err(|err| err.named(offset))?,
                _ => {
                    let entry = header.entry(extensions).map_err(|fault| fault.at(offset))?;
                    self.expect(entry.size_bytes)?;
                    return Ok(Some(entry));
                }
            }
        }
    }

    /// Counts the content of a member that is to come.
    fn expect(&mut self, size_bytes: u64) -> Result<(), TarError> {
        if size_bytes > limit::FILE_BYTES_MAX {
            return Err(TarError::Limit { what: "the size of a file", limit: limit::FILE_BYTES_MAX });
        }
        self.content_bytes += size_bytes;
        if self.content_bytes > limit::PAYLOAD_BYTES_MAX {
            return Err(TarError::Limit { what: "the content", limit: limit::PAYLOAD_BYTES_MAX });
        }
        self.left = size_bytes;
        self.padding = size_bytes.next_multiple_of(BLOCK_BYTES as u64) - size_bytes;
        Ok(())
    }

    /// Reads the content of an extended header.
    fn extend(&mut self, header: &Header, extensions: &mut Extensions) -> Result<(), Trouble> {
        let bytes_max = match header.kind {
            b'L' | b'K' => limit::PATH_BYTES_MAX as u64 + 1,
            _ => limit::HEADER_BYTES_MAX,
        };
        if header.size > bytes_max {
            return Err(TarError::Limit { what: "an extended header", limit: bytes_max }.into());
        }
        self.expect(header.size)?;
        let mut data = vec![0; header.size as usize];
        self.input.read_exact(&mut data).map_err(|err| self.io(err))?;
        self.offset += header.size;
        self.left = 0;
        match header.kind {
            b'L' => set_once(&mut extensions.gnu_name, long_name(&data)?, "two long names")?,
            b'K' => set_once(&mut extensions.gnu_link, long_name(&data)?, "two long link names")?,
            b'x' if std::mem::replace(&mut extensions.has_pax, true) => return Err(Fault::new("two PAX headers").into()),
            b'x' => extensions.pax(&data)?,
            _ => global(&data)?,
        }
        Ok(())
    }

    /// Checks that nothing but zeros follows the end marker, of which one block has been read.
    fn end(&mut self, offset: u64) -> Result<(), TarError> {
        if self.block()? != [0; BLOCK_BYTES] {
            return Err(damaged(offset, b"", "a single block of zeros stands between the members"));
        }
        self.ended = true;
        let mut buffer = vec![0; SKIP_BYTES];
        let mut padding = 0;
        loop {
            let count = match self.input.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
                Err(err) => return Err(self.io(err)),
            };
            if buffer[..count].iter().any(|byte| *byte != 0) {
                return Err(damaged(self.offset, b"", "something follows the end of the archive"));
            }
            self.offset += count as u64;
            padding += count as u64;
            if padding > PADDING_BYTES_MAX {
                return Err(TarError::Limit { what: "the padding", limit: PADDING_BYTES_MAX });
            }
        }
    }

    fn block(&mut self) -> Result<[u8; BLOCK_BYTES], TarError> {
        let mut block = [0; BLOCK_BYTES];
        self.input.read_exact(&mut block).map_err(|err| self.io(err))?;
        self.offset += BLOCK_BYTES as u64;
        Ok(block)
    }

    fn skip(&mut self, size_bytes: u64) -> Result<(), TarError> {
        let mut left = size_bytes;
        let mut buffer = vec![0; SKIP_BYTES.min(usize::try_from(left).unwrap_or(SKIP_BYTES))];
        while left > 0 {
            let wanted = buffer.len().min(usize::try_from(left).unwrap_or(SKIP_BYTES));
            self.input.read_exact(&mut buffer[..wanted]).map_err(|err| self.io(err))?;
            self.offset += wanted as u64;
            left -= wanted as u64;
        }
        Ok(())
    }

    fn io(&self, source: io::Error) -> TarError {
        TarError::Io { offset: self.offset, source }
    }
}

impl<R: Read> Read for Archive<R> {
    /// Reads the current member; an archive that ends within it is an error, not an end.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        let count = self.input.read(&mut buffer[..wanted])?;
        if count == 0 {
            let text = format!("the tar archive ends {} bytes before the end of a file", self.left);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

fn damaged(offset: u64, name: &[u8], detail: &str) -> TarError {
    TarError::Damaged { offset, name: name.to_vec(), detail: detail.to_owned() }
}

/// What is wrong with a header, before it is known where it stands.
#[derive(Debug)]
struct Fault {
    name: Vec<u8>,
    detail: String,
    unsupported: bool,
}

impl Fault {
    fn new(detail: impl Into<String>) -> Self {
        Self { name: Vec::new(), detail: detail.into(), unsupported: false }
    }

    fn unsupported(feature: impl Into<String>) -> Self {
        Self { unsupported: true, ..Self::new(feature) }
    }

    fn of(self, name: &[u8]) -> Self {
        Self { name: name.to_vec(), ..self }
    }

    fn at(self, offset: u64) -> TarError {
        match self.unsupported {
            true => TarError::Unsupported { name: self.name, feature: self.detail },
            false => TarError::Damaged { offset, name: self.name, detail: self.detail },
        }
    }
}

/// Either kind of failure while reading an extended header.
enum Trouble {
    Fault(Fault),
    Tar(TarError),
}

impl Trouble {
    fn named(self, offset: u64) -> TarError {
        match self {
            Trouble::Fault(fault) => fault.at(offset),
            Trouble::Tar(err) => err,
        }
    }
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Trouble::Fault(fault)
    }
}

impl From<TarError> for Trouble {
    fn from(err: TarError) -> Self {
        Trouble::Tar(err)
    }
}

/// The fields of a header block.
struct Header {
    kind: u8,
    name: Vec<u8>,
    link: Vec<u8>,
    mode: u64,
    uid: u64,
    gid: u64,
    user: Vec<u8>,
    group: Vec<u8>,
    mtime_s: i64,
    size: u64,
    device: (u64, u64),
}

impl Header {
    fn parse(block: &[u8; BLOCK_BYTES]) -> Result<Self, Fault> {
        let short_name = text(&block[..100]);
        let sum: u64 =
            block.iter().enumerate().map(|(i, byte)| if (148..156).contains(&i) { 32 } else { u64::from(*byte) }).sum();
        let claimed = unsigned("checksum", &block[148..156])?;
        if claimed != sum {
            return Err(Fault::new(format!("the checksum of the header is {sum}, and {claimed} is claimed")));
        }
        let wrong = |fault: Fault| fault.of(short_name);
        let posix = match &block[257..265] {
            b"ustar\x0000" => true,
            b"ustar  \0" | [0, 0, 0, 0, 0, 0, 0, 0] => false,
            other => return Err(wrong(Fault::new(format!("`{}` is not a version of tar", other.escape_ascii())))),
        };
        // GNU keeps other things where POSIX has the prefix.
        let prefix = if posix { text(&block[345..500]) } else { b"" };
        let name = if prefix.is_empty() { short_name.to_vec() } else { [prefix, b"/", short_name].concat() };
        Ok(Self {
            kind: block[156],
            name,
            link: text(&block[157..257]).to_vec(),
            mode: unsigned("mode", &block[100..108]).map_err(wrong)?,
            uid: unsigned("owner", &block[108..116]).map_err(wrong)?,
            gid: unsigned("group", &block[116..124]).map_err(wrong)?,
            size: unsigned("size", &block[124..136]).map_err(wrong)?,
            mtime_s: number("time", &block[136..148]).map_err(wrong)?,
            user: text(&block[265..297]).to_vec(),
            group: text(&block[297..329]).to_vec(),
            device: match block[156] {
                b'3' | b'4' => (
                    unsigned("major device number", &block[329..337]).map_err(wrong)?,
                    unsigned("minor device number", &block[337..345]).map_err(wrong)?,
                ),
                _ => (0, 0),
            },
        })
    }

    /// Applies the extensions and checks that all of it makes sense together.
    fn entry(self, extensions: Extensions) -> Result<Entry, Fault> {
        let name = one_of(extensions.gnu_name, extensions.path, self.name, "name")?;
        let wrong = |fault: Fault| fault.of(&name);
        let link = one_of(extensions.gnu_link, extensions.link, self.link, "link target").map_err(wrong)?;
        let mut kind = kind(self.kind).map_err(wrong)?;
        if kind == Kind::File && name.ends_with(b"/") {
            // Before ustar a directory was a file whose name ends with a slash.
            if self.kind != 0 {
                return Err(wrong(Fault::new("the name of a regular file ends with a slash")));
            }
            kind = Kind::Dir;
        }
        let size_bytes = match extensions.size {
            Some(size) if size != self.size => {
                let detail = format!("the header says {} bytes and the PAX header {size}", self.size);
                return Err(wrong(Fault::new(detail)));
            }
            _ => self.size,
        };
        let is_link = matches!(kind, Kind::Hardlink | Kind::Symlink);
        if size_bytes > 0 && kind != Kind::File {
            return Err(wrong(Fault::new("something that is no file has content")));
        }
        if is_link == link.is_empty() {
            let detail = if is_link { "a link has no target" } else { "something that is no link has a target" };
            return Err(wrong(Fault::new(detail)));
        }
        if name.is_empty() {
            return Err(Fault::new("a member has no name"));
        }
        if name.len().max(link.len()) > limit::PATH_BYTES_MAX {
            return Err(Fault::new(format!("a name is longer than {} bytes", limit::PATH_BYTES_MAX)));
        }
        // The largest number means "no owner" to chown.
        let id = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX);
        let owner =
            |what: &str, number: u64| id(number).ok_or_else(|| wrong(Fault::new(format!("{number} is not the id of {what}"))));
        let device =
            |number: u64| u32::try_from(number).map_err(|_| wrong(Fault::new(format!("{number} is not a device number"))));
        Ok(Entry {
            kind,
            link,
            mode: (self.mode & 0o7777) as u32,
            uid: owner("a user", extensions.uid.unwrap_or(self.uid))?,
            gid: owner("a group", extensions.gid.unwrap_or(self.gid))?,
            user: extensions.user.unwrap_or(self.user),
            group: extensions.group.unwrap_or(self.group),
            mtime_s: extensions.mtime_s.unwrap_or(self.mtime_s),
            size_bytes,
            device: (device(self.device.0)?, device(self.device.1)?),
            capability: extensions.capability,
            apk_sha1: extensions.apk_sha1,
            name,
        })
    }
}

fn kind(flag: u8) -> Result<Kind, Fault> {
    Ok(match flag {
        // 7 is a file in one piece on the disk, which is a file to everybody who does not care.
        b'0' | 0 | b'7' => Kind::File,
        b'1' => Kind::Hardlink,
        b'2' => Kind::Symlink,
        b'3' => Kind::Character,
        b'4' => Kind::Block,
        b'5' => Kind::Dir,
        b'6' => Kind::Fifo,
        b'S' => return Err(Fault::unsupported("a sparse file")),
        other => return Err(Fault::unsupported(format!("a member of type `{}`", other.escape_ascii()))),
    })
}

/// Extended headers that belong to the next member.
#[derive(Default, PartialEq)]
struct Extensions {
    has_pax: bool,
    gnu_name: Option<Vec<u8>>,
    gnu_link: Option<Vec<u8>>,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    user: Option<Vec<u8>>,
    group: Option<Vec<u8>>,
    mtime_s: Option<i64>,
    capability: Option<Vec<u8>>,
    apk_sha1: Option<Vec<u8>>,
}

impl Extensions {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn pax(&mut self, data: &[u8]) -> Result<(), Fault> {
        for record in records(data) {
            let (key, value) = record?;
            let twice = "a PAX header has the same key twice";
            match key {
                b"path" => set_once(&mut self.path, plain(value)?, twice)?,
                b"linkpath" => set_once(&mut self.link, plain(value)?, twice)?,
                b"size" => set_once(&mut self.size, decimal(value)?, twice)?,
                b"uid" => set_once(&mut self.uid, decimal(value)?, twice)?,
                b"gid" => set_once(&mut self.gid, decimal(value)?, twice)?,
                b"uname" => set_once(&mut self.user, plain(value)?, twice)?,
                b"gname" => set_once(&mut self.group, plain(value)?, twice)?,
                b"mtime" => set_once(&mut self.mtime_s, seconds(value)?, twice)?,
                b"SCHILY.xattr.security.capability" => set_once(&mut self.capability, value.to_vec(), twice)?,
                b"APK-TOOLS.checksum.SHA1" => set_once(&mut self.apk_sha1, value.to_vec(), twice)?,
                sparse if sparse.starts_with(b"GNU.sparse.") => return Err(Fault::unsupported("a sparse file")),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Checks a global header. It may say what changes nothing, like git's comment; nothing may change the members after it.
fn global(data: &[u8]) -> Result<(), Fault> {
    for record in records(data) {
        let (key, _) = record?;
        let changes = matches!(key, b"path" | b"linkpath" | b"size" | b"uid" | b"gid" | b"uname" | b"gname" | b"mtime");
        if changes || key.starts_with(b"GNU.sparse.") || key.starts_with(b"SCHILY.xattr.") {
            return Err(Fault::unsupported(format!("a global PAX header with `{}`", key.escape_ascii())));
        }
    }
    Ok(())
}

/// Returns the records of a PAX header: `LENGTH KEY=VALUE\n`, the length counting all of it.
fn records(mut data: &[u8]) -> impl Iterator<Item = Result<(&[u8], &[u8]), Fault>> {
    std::iter::from_fn(move || {
        if data.is_empty() {
            return None;
        }
        let found = record(data);
        data = found.map_or(&[], |(_, rest)| rest);
        Some(found.map(|(pair, _)| pair).ok_or_else(|| Fault::new("a PAX header has a malformed record")))
    })
}

type Record<'a> = ((&'a [u8], &'a [u8]), &'a [u8]);

fn record(data: &[u8]) -> Option<Record<'_>> {
    let space = data.iter().take(10).position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(&data[..space]).ok()?).ok()?;
    let body = data.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|byte| *byte == b'=').filter(|equals| *equals > 0)?;
    Some(((&body[..equals], &body[equals + 1..]), &data[length..]))
}

fn set_once<T>(slot: &mut Option<T>, value: T, twice: &str) -> Result<(), Fault> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Fault::new(twice)),
    }
}

/// Chooses between the three places where a name can stand.
fn one_of(gnu: Option<Vec<u8>>, pax: Option<Vec<u8>>, short: Vec<u8>, what: &str) -> Result<Vec<u8>, Fault> {
    match (gnu, pax) {
        (Some(gnu), Some(_)) => Err(Fault::new(format!("a GNU long header and a PAX header both give the {what}")).of(&gnu)),
        (Some(name), None) | (None, Some(name)) => Ok(name),
        (None, None) => Ok(short),
    }
}

/// Returns what stands before the first NUL.
fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    &field[..end]
}

/// Returns a GNU long name, which ends with a NUL.
fn long_name(data: &[u8]) -> Result<Vec<u8>, Fault> {
    plain(data.strip_suffix(b"\0").unwrap_or(data))
}

fn plain(value: &[u8]) -> Result<Vec<u8>, Fault> {
    match value.is_empty() || value.contains(&0) {
        true => Err(Fault::new(format!("`{}` cannot be a name", value.escape_ascii()))),
        false => Ok(value.to_vec()),
    }
}

fn decimal(value: &[u8]) -> Result<u64, Fault> {
    let digits = (!value.is_empty() && value.len() <= 19 && value.iter().all(u8::is_ascii_digit)).then_some(value);
    let digits = digits.ok_or_else(|| Fault::new(format!("`{}` is not a number", value.escape_ascii())))?;
    Ok(digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// Reads a time with a sign and a fraction, rounded down.
fn seconds(value: &[u8]) -> Result<i64, Fault> {
    let (negative, rest) = value.strip_prefix(b"-").map_or((false, value), |rest| (true, rest));
    let (whole, fraction) = match rest.iter().position(|byte| *byte == b'.') {
        Some(dot) => (&rest[..dot], &rest[dot + 1..]),
        None => (rest, &b""[..]),
    };
    let wrong = || Fault::new(format!("`{}` is not a time", value.escape_ascii()));
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(wrong());
    }
    let whole = i64::try_from(decimal(whole)?).map_err(|_| wrong())?;
    let below = fraction.iter().any(|digit| *digit != b'0');
    Ok(if negative { -whole - i64::from(below) } else { whole })
}

/// Reads a number that cannot be negative.
fn unsigned(what: &str, field: &[u8]) -> Result<u64, Fault> {
    u64::try_from(number(what, field)?).map_err(|_| Fault::new(format!("the {what} is negative")))
}

/// Reads octal digits, or the binary form in which the first bit is set.
fn number(what: &str, field: &[u8]) -> Result<i64, Fault> {
    let wrong = || Fault::new(format!("the {what} `{}` is not a number", field.escape_ascii()));
    if field[0] & 0x80 != 0 {
        // Two's complement over the whole field, less the marker bit.
        let negative = field[0] & 0x40 != 0;
        let first = if negative { field[0] } else { field[0] & 0x7f };
        let start = if negative { -1 } else { 0 };
        let add = |sum: i128, byte: &u8| if sum.abs() < 1 << 100 { Some(sum << 8 | i128::from(*byte)) } else { None };
        let value = [first].iter().chain(&field[1..]).try_fold(start, add);
        return value.and_then(|value| i64::try_from(value).ok()).ok_or_else(wrong);
    }
    // Spaces may lead, spaces and NULs may follow; nothing at all is zero.
    let digits = field.trim_ascii_start();
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    if !rest.iter().all(|byte| matches!(byte, 0 | b' ')) || digits.iter().any(|digit| *digit > b'7') {
        return Err(wrong());
    }
    Ok(digits.iter().fold(0, |sum, digit| sum << 3 | i64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with the fields that a test does not care about filled in; `change` edits it before the checksum is set.
    fn block(name: &str, kind: u8, size: u64, change: impl FnOnce(&mut [u8; BLOCK_BYTES])) -> Vec<u8> {
        let mut block = [0; BLOCK_BYTES];
        block[..name.len()].copy_from_slice(name.as_bytes());
        for (start, digits) in [(100, "0000644\0"), (108, "0000000\0"), (116, "0000000\0"), (136, "00000000012\0")] {
            block[start..start + digits.len()].copy_from_slice(digits.as_bytes());
        }
        block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
        block[156] = kind;
        block[257..265].copy_from_slice(b"ustar\x0000");
        change(&mut block);
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block.to_vec()
    }

    fn with(name: &str, kind: u8, data: &[u8]) -> Vec<u8> {
        let mut all = block(name, kind, data.len() as u64, |_| {});
        all.extend_from_slice(data);
        all.resize(all.len().next_multiple_of(BLOCK_BYTES), 0);
        all
    }

    fn pax(records: &[(&str, &str)]) -> Vec<u8> {
        let record = |(key, value): &(&str, &str)| {
            let rest = key.len() + value.len() + 3;
            let length = (rest..).find(|length| length.to_string().len() + rest == *length).expect("a length");
            format!("{length} {key}={value}\n")
        };
        with("pax", b'x', records.iter().map(record).collect::<String>().as_bytes())
    }

    fn list(parts: &[Vec<u8>]) -> Result<Vec<(Entry, Vec<u8>)>, String> {
        let bytes = [parts.concat(), vec![0; 2 * BLOCK_BYTES]].concat();
        read(&bytes)
    }

    fn read(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, String> {
        let mut archive = Archive::new(bytes);
        let mut all = Vec::new();
        while let Some(entry) = archive.next_entry().map_err(|err| err.to_string())? {
            let mut content = Vec::new();
            archive.read_to_end(&mut content).map_err(|err| err.to_string())?;
            all.push((entry, content));
        }
        Ok(all)
    }

    fn one(parts: &[Vec<u8>]) -> Entry {
        list(parts).expect("a good archive").pop().expect("a member").0
    }

    #[test]
    fn members_have_their_names_from_wherever_they_stand() {
        let long = "d/".repeat(100) + "f";
        let gnu = [with("././@LongLink", b'L', format!("{long}\0").as_bytes()), with("short", b'0', b"x")];
        assert_eq!(one(&gnu).name, long.as_bytes());
        assert_eq!(one(&[pax(&[("path", &long)]), with("short", b'0', b"x")]).name, long.as_bytes());
        let prefixed = block("f", b'0', 0, |block| block[345..348].copy_from_slice(b"a/b"));
        assert_eq!(one(&[prefixed]).name, b"a/b/f");
        let gnu_magic = block("f", b'0', 0, |block| {
            block[257..265].copy_from_slice(b"ustar  \0");
            block[345..348].copy_from_slice(b"123");
        });
        assert_eq!(one(&[gnu_magic]).name, b"f");
        let link = [with("x", b'K', format!("{long}\0").as_bytes()), with("l", b'2', b"")];
        assert_eq!(one(&link).link, long.as_bytes());
        assert_eq!(one(&[pax(&[("path", "b\u{fc}cher")]), with("x", b'0', b"")]).name, "b\u{fc}cher".as_bytes());
        let raw = block("xx", b'0', 0, |block| block[0] = 0xff);
        assert_eq!(one(&[raw]).name, b"\xffx");
    }

    #[test]
    fn e06_pax_records_and_binary_numbers_are_applied() {
        let entry = one(&[
            pax(&[("uid", "70000"), ("gid", "7"), ("mtime", "-1.5"), ("uname", "me"), ("size", "3"), ("comment", "x=y")]),
            with("f", b'0', b"abc"),
        ]);
        assert_eq!((entry.uid, entry.gid, entry.mtime_s, entry.size_bytes), (70000, 7, -2, 3));
        assert_eq!(entry.user, b"me");
        let binary = block("f", b'0', 0, |block| {
            block[108..116].copy_from_slice(&[0x80, 0, 0, 0, 0, 1, 0, 0]);
            block[136..148].fill(0xff);
        });
        assert_eq!((one(std::slice::from_ref(&binary)).uid, one(&[binary]).mtime_s), (65536, -1));
        let all = list(&[with("a", b'0', b"x"), with("dir/", b'5', b""), with("b", b'7', b"yy")]).expect("a good archive");
        assert_eq!(all.iter().map(|(_, data)| data.as_slice()).collect::<Vec<_>>(), [&b"x"[..], b"", b"yy"]);
        assert_eq!(all[1].0.kind, Kind::Dir);
    }

    #[test]
    fn e06_contradictions_and_damage_are_refused() {
        let hidden = with("hidden", b'0', b"");
        let table: Vec<(Vec<Vec<u8>>, &str)> = vec![
            // CVE-2025-62518: one reader sees a file of 512 bytes, the other the archive in it.
            (vec![pax(&[("size", "512")]), with("f", b'0', b""), hidden.clone()], "the PAX header 512"),
            (vec![pax(&[("size", "0")]), with("f", b'0', &hidden)], "the PAX header 0"),
            (vec![pax(&[("size", "x")]), with("f", b'0', b"")], "is not a number"),
            (vec![pax(&[("path", "a"), ("path", "b")]), with("f", b'0', b"")], "the same key twice"),
            (vec![pax(&[("path", "a")]), pax(&[("path", "b")]), with("f", b'0', b"")], "two PAX headers"),
            (vec![pax(&[("path", "")]), with("f", b'0', b"")], "cannot be a name"),
            (vec![pax(&[("path", "a\0b")]), with("f", b'0', b"")], "cannot be a name"),
            (vec![pax(&[("path", "a")]), with("l", b'L', b"b\0"), with("f", b'0', b"")], "both give the name"),
            (vec![with("l", b'L', b"a\0"), with("l", b'L', b"b\0"), with("f", b'0', b"")], "two long names"),
            (vec![with("l", b'L', b"a\0")], "ends after an extended header"),
            (vec![with("l", b'L', &[b'a'; 5000])], "exceeds the limit"),
            (vec![with("x", b'x', b"9 path=a\n1"), with("f", b'0', b"")], "malformed record"),
            (vec![with("x", b'x', b"99999 path=a\n"), with("f", b'0', b"")], "malformed record"),
            (vec![with("x", b'x', b"0 path=a\n"), with("f", b'0', b"")], "malformed record"),
            (vec![with("x", b'x', b"5 a=\n"), with("f", b'0', b"")], ""),
            (vec![with("g", b'g', b"10 path=a\n"), with("f", b'0', b"")], "a global PAX header"),
            (vec![pax(&[("GNU.sparse.major", "1")]), with("f", b'0', b"")], "a sparse file"),
            (vec![with("f", b'S', b"")], "a sparse file"),
            (vec![with("f", b'V', b"")], "a member of type `V`"),
            (vec![with("l", b'1', b"")], "a link has no target"),
            (vec![block("f", b'0', 0, |block| block[157] = b'x')], "no link has a target"),
            (vec![with("d/", b'5', b"x")], "no file has content"),
            (vec![with("f/", b'0', b"x")], "ends with a slash"),
            (vec![with("", b'0', b"")], "no name"),
            (vec![pax(&[("uid", "4294967295")]), with("f", b'0', b"")], "not the id of a user"),
            (vec![block("f", b'0', 0, |block| block[108..116].fill(0xff))], "the owner is negative"),
            (vec![block("f", b'0', 0, |block| block[100] = b'9')], "is not a number"),
            (vec![block("f", b'0', 0, |block| block[257] = b'U')], "not a version of tar"),
            (
                vec![block("f", b'0', 0, |block| block[124..136].copy_from_slice(b"\x80\0\0\0\0\0\0\x7f\0\0\0\0"))],
                "exceeds the limit",
            ),
            (vec![vec![0; BLOCK_BYTES], with("f", b'0', b"")], "a single block of zeros"),
            (vec![vec![0; 2 * BLOCK_BYTES], with("f", b'0', b"")], "follows the end"),
            (vec![vec![0; 3 << 20]], "exceeds the limit"),
        ];
        for (parts, expected) in table {
            match list(&parts) {
                Err(message) => assert!(!expected.is_empty() && message.contains(expected), "{message} lacks {expected}"),
                Ok(_) => assert!(expected.is_empty(), "accepted: {expected}"),
            }
        }
        let mut flipped = with("f", b'0', b"");
        flipped[3] ^= 1;
        assert!(list(&[flipped]).expect_err("a wrong checksum").contains("checksum"));
    }

    #[test]
    fn e08_an_archive_cut_anywhere_is_refused() {
        let whole = [pax(&[("uid", "5")]), with("f", b'0', &[7; 700]), vec![0; 1024]].concat();
        assert!(read(&whole).is_ok());
        for end in 0..whole.len() {
            assert!(read(&whole[..end]).is_err(), "cut at {end}");
        }
    }
}
