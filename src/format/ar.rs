//! The common ar archive as `.deb` files use it: read strictly, in one pass, without seeking.
//!
//! Format: ar(5) and deb(5). A header is 60 bytes; an odd member is followed by a newline. GNU's tables of long names do not occur in
//! packages and are refused like any other name that is not plain.

use std::io::{self, Read};

const MAGIC: &[u8; 8] = b"!<arch>\n";
const HEADER_BYTES: usize = 60;

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArError {
    /// The bytes do not follow the format.
    #[error("the ar archive is damaged at byte {offset}: {detail}")]
    Damaged {
        /// Where the header or member begins.
        offset: u64,
        /// What is wrong.
        detail: String,
    },
    /// The bytes cannot be read, or end too early.
    #[error("the ar archive cannot be read at byte {offset}")]
    Io {
        /// Where.
        offset: u64,
        /// What the reader said.
        #[source]
        source: io::Error,
    },
}

/// The header of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Name, without the padding and the slash that some writers end it with.
    pub name: String,
    /// Size of the content in bytes, as claimed.
    pub size_bytes: u64,
}

/// An archive that is being read; as a reader it gives the content of the current member.
pub struct Archive<R> {
    input: R,
    offset: u64,
    /// Bytes of the member that are still to come.
    left: u64,
    odd: bool,
}

impl<R: Read> Archive<R> {
    /// Reads the magic number.
    pub fn new(mut input: R) -> Result<Self, ArError> {
        let mut magic = [0; 8];
        input.read_exact(&mut magic).map_err(|source| ArError::Io { offset: 0, source })?;
        if magic != *MAGIC {
            let detail = format!("it begins with `{}`, not with `!<arch>`", magic.escape_ascii());
            return Err(ArError::Damaged { offset: 0, detail });
        }
        Ok(Self { input, offset: 8, left: 0, odd: false })
    }

    /// Skips what is left of the member and returns the next header; nothing at the end.
    pub fn next_member(&mut self) -> Result<Option<Header>, ArError> {
        self.skip_member()?;
        let mut raw = [0; HEADER_BYTES];
        let mut have = 0;
        while have < HEADER_BYTES {
            match self.input.read(&mut raw[have..]) {
                Ok(0) if have == 0 => return Ok(None),
                Ok(0) => return Err(self.io(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => have += count,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(self.io(err)),
            }
        }
        let header = parse_header(&raw).map_err(|detail| ArError::Damaged { offset: self.offset, detail })?;
        self.offset += HEADER_BYTES as u64;
        self.left = header.size_bytes;
        self.odd = header.size_bytes % 2 == 1;
        Ok(Some(header))
    }

    fn skip_member(&mut self) -> Result<(), ArError> {
        let wanted = self.left;
        let skipped = io::copy(&mut (&mut self.input).take(wanted), &mut io::sink()).map_err(|err| self.io(err))?;
        self.offset += skipped;
        self.left -= skipped;
        if self.left > 0 {
            return Err(self.io(io::ErrorKind::UnexpectedEof.into()));
        }
        if std::mem::take(&mut self.odd) {
            let mut padding = [0];
            self.input.read_exact(&mut padding).map_err(|err| self.io(err))?;
            if padding != *b"\n" {
                let detail = format!("the padding of an odd member is `{}`, not a newline", padding.escape_ascii());
                return Err(ArError::Damaged { offset: self.offset, detail });
            }
            self.offset += 1;
        }
        Ok(())
    }

    fn io(&self, source: io::Error) -> ArError {
        ArError::Io { offset: self.offset, source }
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
            let text = format!("the archive ends {} bytes before the end of a member", self.left);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

fn parse_header(raw: &[u8; HEADER_BYTES]) -> Result<Header, String> {
    if raw[58..] != *b"`\n" {
        return Err(format!("a member header ends with `{}`", raw[58..].escape_ascii()));
    }
    let name = raw[..16].trim_ascii_end();
    let name = name.strip_suffix(b"/").unwrap_or(name);
    let plain = |byte: &u8| byte.is_ascii_graphic() && *byte != b'/';
    if name.is_empty() || !name.iter().all(plain) {
        return Err(format!("`{}` is not the name of a member", raw[..16].escape_ascii()));
    }
    let size = raw[48..58].trim_ascii_end();
    if size.is_empty() || !size.iter().all(u8::is_ascii_digit) {
        return Err(format!("`{}` is not the size of a member", raw[48..58].escape_ascii()));
    }
    // Ten digits at most: it always fits.
    let size_bytes = size.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    Ok(Header { name: String::from_utf8_lossy(name).into_owned(), size_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, size: &str, content: &[u8]) -> Vec<u8> {
        let mut raw = format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, "100644").into_bytes();
        raw.extend_from_slice(content);
        raw
    }

    fn list(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, String> {
        let mut archive = Archive::new(bytes).map_err(|err| err.to_string())?;
        let mut all = Vec::new();
        while let Some(header) = archive.next_member().map_err(|err| err.to_string())? {
            let mut content = Vec::new();
            archive.read_to_end(&mut content).map_err(|err| err.to_string())?;
            all.push((header.name, content));
        }
        Ok(all)
    }

    #[test]
    fn members_are_read_whole_or_skipped() {
        let bytes = [&MAGIC[..], &member("a/", "3", b"xyz\n"), &member("_b", "0", b""), &member("c.tar", "2", b"hi")].concat();
        let expected = [("a", &b"xyz"[..]), ("_b", b""), ("c.tar", b"hi")].map(|(name, data)| (name.to_owned(), data.to_vec()));
        assert_eq!(list(&bytes).expect("a good archive"), expected);
        let mut archive = Archive::new(&bytes[..]).expect("the magic");
        let mut names = Vec::new();
        while let Some(header) = archive.next_member().expect("a good archive") {
            names.push(header.name);
        }
        assert_eq!(names, ["a", "_b", "c.tar"]);
        for end in 0..bytes.len() {
            let whole = [8, 8 + 64, 8 + 64 + 60].contains(&end);
            assert_eq!(list(&bytes[..end]).is_ok(), whole, "cut at {end}");
        }
    }

    #[test]
    fn d20_damaged_headers_are_refused() {
        let table = [
            (member("a b", "0", b""), "is not the name"),
            (member("a/b", "0", b""), "is not the name"),
            (member("", "0", b""), "is not the name"),
            (member("//", "0", b""), "is not the name"),
            (member("a", "", b""), "is not the size"),
            (member("a", "-1", b""), "is not the size"),
            (member("a", "0x1", b""), "is not the size"),
            (member("a", " 1", b"x\n"), "is not the size"),
            (member("a", "9999999999", b"x\n"), "before the end of a member"),
            (member("a", "1", b"xx"), "not a newline"),
            (member("a", "1", b"x"), "cannot be read"),
            (vec![b'x'; 60], "a member header ends with"),
        ];
        for (raw, expected) in table {
            let message = list(&[&MAGIC[..], &raw].concat()).expect_err(expected);
            assert!(message.contains(expected), "{message} lacks {expected}");
        }
        assert!(list(b"!<thin>\n").expect_err("thin").contains("it begins with"));
    }
}
