//! Reads the beginning of a package file: lead, signature header, header. Nothing in it is believed before the digest of the header
//! is checked.
//!
//! Format: rpm's docs/manual/format_v4.md and format_v6.md. A header is an index of 16 bytes an entry and a store that it points into.

use std::io::Read;

use crate::base::digest::Sha256;
use crate::family::ReadError;

/// What a package file begins with.
const LEAD_MAGIC: [u8; 4] = [0xed, 0xab, 0xee, 0xdb];
const LEAD_BYTES: usize = 96;
/// What a header begins with, and its version.
const HEADER_MAGIC: [u8; 4] = [0x8e, 0xad, 0xe8, 0x01];
/// Entries of a header: rpm's own limit.
const TAGS_MAX: u32 = 0xffff;
/// Bytes of a header's store. A kernel's has 1 MB; rpm allows 256 MB.
const STORE_BYTES_MAX: u32 = 64 << 20;

/// A header whose entries are checked to lie within its store.
#[derive(Debug)]
pub struct Header {
    entries: Vec<Entry>,
    /// The beginning and the index, as they stand in the file.
    index: Vec<u8>,
    store: Vec<u8>,
    /// Digest of the header as it stands in the file.
    pub sha256: Sha256,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    tag: u32,
    kind: u32,
    start: usize,
    count: usize,
}

fn format(what: impl Into<String>) -> ReadError {
    ReadError::Format(what.into())
}

/// Reads the signature header and the header, and leaves the reader where the payload begins. The header has the digest that
/// the signature header claims, if it claims one.
pub fn read(file: &mut dyn Read) -> Result<Header, ReadError> {
    let beginning = beginning(file)?;
    let claimed = beginning.signature.text(tag::SIG_SHA256);
    match claimed {
        Some(claimed) if claimed.parse::<Sha256>().ok().as_ref() != Some(&beginning.main.sha256) => {
            Err(format(format!("the header has the digest {}, and the package says {claimed}", beginning.main.sha256)))
        }
        _ => Ok(beginning.main),
    }
}

/// What stands before the payload.
#[derive(Debug)]
pub struct Beginning {
    /// Signatures and digests; nothing vouches for it.
    pub signature: Header,
    /// The header.
    pub main: Header,
    /// Where the header begins.
    pub main_at: u64,
}

/// Reads what stands before the payload; no digest is checked.
pub fn beginning(file: &mut dyn Read) -> Result<Beginning, ReadError> {
    let mut lead = [0; LEAD_BYTES];
    file.read_exact(&mut lead)?;
    if lead[..4] != LEAD_MAGIC {
        return Err(format("it does not begin as an RPM package does"));
    }
    if !matches!(lead[4], 3 | 4) || lead[78..80] != [0, 5] {
        return Err(ReadError::Unsupported(format!("version {} of the package format", lead[4])));
    }
    let signature = Header::read(file, "signature header", 8)?;
    let main_at = LEAD_BYTES + signature.size_bytes().next_multiple_of(8);
    let main = Header::read(file, "header", 1)?;
    Ok(Beginning { signature, main, main_at: main_at as u64 })
}

impl Header {
    /// What stands before the header of a package file, and not in a database.
    pub(super) const INTRO: &[u8] = &[0x8e, 0xad, 0xe8, 0x01, 0, 0, 0, 0];

    pub(super) fn read(file: &mut dyn Read, name: &str, align: usize) -> Result<Self, ReadError> {
        let mut intro = [0; 16];
        file.read_exact(&mut intro)?;
        if intro[..4] != HEADER_MAGIC {
            return Err(format(format!("the {name} does not begin as one")));
        }
        let (tags, store_bytes) = (word(&intro, 8), word(&intro, 12));
        let over = |what: &str, limit: String| ReadError::Limit { what: format!("{what} of the {name}"), limit };
        if tags == 0 || tags > TAGS_MAX {
            return Err(over("the number of entries", TAGS_MAX.to_string()));
        }
        if store_bytes > STORE_BYTES_MAX {
            return Err(over("the size", format!("{STORE_BYTES_MAX} bytes")));
        }
        let index_bytes = tags as usize * 16;
        let total = index_bytes + store_bytes as usize;
        let mut bytes = Vec::new();
        file.take(total as u64).read_to_end(&mut bytes)?;
        if bytes.len() < total {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        let mut padding = [0; 8];
        file.read_exact(&mut padding[..(align - total % align) % align])?;
        let mut hasher = crate::base::digest::Hasher::new();
        hasher.update(&intro);
        hasher.update(&bytes);
        let store = bytes.split_off(index_bytes);
        let mut entries: Vec<Entry> = Vec::with_capacity(tags as usize);
        for at in (0..index_bytes).step_by(16) {
            let entry = Entry {
                tag: word(&bytes, at),
                kind: word(&bytes, at + 4),
                start: word(&bytes, at + 8) as usize,
                count: word(&bytes, at + 12) as usize,
            };
            // The entry that marks the signed region is the first and counts by its own rules.
            if !(62..=63).contains(&entry.tag) {
                entry.check(&store, name)?;
                if entries.iter().any(|other| other.tag == entry.tag) && entry.tag != tag::PUBKEYS {
                    return Err(format(format!("the {name} has tag {} twice", entry.tag)));
                }
                entries.push(entry);
            }
        }
        let index = [&intro[..], &bytes].concat();
        Ok(Self { entries, index, store, sha256: hasher.finish() })
    }

    /// Returns how many bytes of the file it takes, without padding.
    pub fn size_bytes(&self) -> usize {
        self.index.len() + self.store.len()
    }

    /// Returns the bytes of the file that it was read from.
    pub fn raw(&self) -> Vec<u8> {
        [&self.index[..], &self.store].concat()
    }

    /// Returns the bytes of a tag that is neither numbers nor text.
    pub fn bytes(&self, tag: u32) -> Option<&[u8]> {
        let entry = self.entry(tag, &[7])?;
        Some(&self.store[entry.start..entry.start + entry.count])
    }

    fn entry(&self, tag: u32, kinds: &[u32]) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.tag == tag && kinds.contains(&entry.kind))
    }

    /// Returns the numbers of a tag; none if it is not there.
    pub fn numbers(&self, tag: u32) -> Vec<u64> {
        let Some(entry) = self.entry(tag, &[1, 2, 3, 4, 5]) else { return Vec::new() };
        let size = entry.size();
        let bytes = &self.store[entry.start..entry.start + entry.count * size];
        bytes.chunks_exact(size).map(|chunk| chunk.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))).collect()
    }

    /// Returns the strings of a tag; none if it is not there.
    pub fn strings(&self, tag: u32) -> Vec<&[u8]> {
        let Some(entry) = self.entry(tag, &[6, 8, 9]) else { return Vec::new() };
        self.store[entry.start..].split(|byte| *byte == 0).take(entry.count).collect()
    }

    /// Returns the first string of a tag.
    pub fn text(&self, tag: u32) -> Option<String> {
        Some(String::from_utf8_lossy(self.strings(tag).first()?).into_owned())
    }

    /// Returns the first number of a tag.
    pub fn number(&self, tag: u32) -> Option<u64> {
        self.numbers(tag).first().copied()
    }
}

impl Entry {
    fn size(&self) -> usize {
        match self.kind {
            3 => 2,
            4 => 4,
            5 => 8,
            _ => 1,
        }
    }

    /// Checks that all of it lies within the store.
    fn check(&self, store: &[u8], name: &str) -> Result<(), ReadError> {
        let outside = || format(format!("tag {} of the {name} points outside of it", self.tag));
        let rest = store.get(self.start..).filter(|_| self.count > 0).ok_or_else(outside)?;
        match self.kind {
            1..=5 | 7 => {
                let bytes = self.count.checked_mul(self.size()).ok_or_else(outside)?;
                (bytes <= rest.len()).then_some(()).ok_or_else(outside)
            }
            6 if self.count != 1 => Err(format(format!("tag {} of the {name} is {} strings, not one", self.tag, self.count))),
            6 | 8 | 9 => {
                let ends = memchr::memchr_iter(0, rest).take(self.count).count();
                (ends == self.count).then_some(()).ok_or_else(outside)
            }
            _ => Err(format(format!("tag {} of the {name} has the unknown type {}", self.tag, self.kind))),
        }
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |value, byte| value << 8 | u32::from(*byte))
}

/// Numbers of what a header holds.
#[allow(missing_docs, reason = "the names are rpm's")]
pub mod tag {
    pub const PUBKEYS: u32 = 266;
    pub const SIG_DSA: u32 = 267;
    pub const SIG_RSA: u32 = 268;
    pub const SIG_SHA1: u32 = 269;
    pub const SIG_LONG_SIZE: u32 = 270;
    pub const SIG_SHA256: u32 = 273;
    pub const SIG_OPENPGP: u32 = 278;
    pub const SIG_SIZE: u32 = 1000;
    pub const SIG_PGP: u32 = 1002;
    pub const SIG_MD5: u32 = 1004;
    pub const SIG_GPG: u32 = 1005;
    pub const NAME: u32 = 1000;
    pub const VERSION: u32 = 1001;
    pub const RELEASE: u32 = 1002;
    pub const EPOCH: u32 = 1003;
    pub const ARCH: u32 = 1022;
    pub const OLD_FILE_NAMES: u32 = 1027;
    pub const FILE_SIZES: u32 = 1028;
    pub const FILE_MODES: u32 = 1030;
    pub const FILE_DEVICES: u32 = 1033;
    pub const FILE_TIMES: u32 = 1034;
    pub const FILE_DIGESTS: u32 = 1035;
    pub const FILE_LINKS: u32 = 1036;
    pub const FILE_FLAGS: u32 = 1037;
    pub const FILE_USERS: u32 = 1039;
    pub const FILE_GROUPS: u32 = 1040;
    pub const SIZE: u32 = 1009;
    pub const SOURCE_RPM: u32 = 1044;
    pub const PROVIDE_NAMES: u32 = 1047;
    pub const REQUIRE_FLAGS: u32 = 1048;
    pub const REQUIRE_NAMES: u32 = 1049;
    pub const REQUIRE_VERSIONS: u32 = 1050;
    pub const CONFLICT_FLAGS: u32 = 1053;
    pub const CONFLICT_NAMES: u32 = 1054;
    pub const CONFLICT_VERSIONS: u32 = 1055;
    pub const OBSOLETE_NAMES: u32 = 1090;
    pub const FILE_INODES: u32 = 1096;
    pub const PROVIDE_FLAGS: u32 = 1112;
    pub const PROVIDE_VERSIONS: u32 = 1113;
    pub const OBSOLETE_FLAGS: u32 = 1114;
    pub const OBSOLETE_VERSIONS: u32 = 1115;
    pub const DIR_INDEXES: u32 = 1116;
    pub const BASE_NAMES: u32 = 1117;
    pub const DIR_NAMES: u32 = 1118;
    pub const PAYLOAD_FORMAT: u32 = 1124;
    pub const PAYLOAD_COMPRESSOR: u32 = 1125;
    pub const LONG_FILE_SIZES: u32 = 5008;
    pub const LONG_SIZE: u32 = 5009;
    pub const FILE_CAPS: u32 = 5010;
    pub const FILE_DIGEST_ALGO: u32 = 5011;
    pub const RECOMMEND_NAMES: u32 = 5046;
    pub const RECOMMEND_VERSIONS: u32 = 5047;
    pub const RECOMMEND_FLAGS: u32 = 5048;
    pub const SUGGEST_NAMES: u32 = 5049;
    pub const SUGGEST_VERSIONS: u32 = 5050;
    pub const SUGGEST_FLAGS: u32 = 5051;
    pub const SUPPLEMENT_NAMES: u32 = 5052;
    pub const SUPPLEMENT_VERSIONS: u32 = 5053;
    pub const SUPPLEMENT_FLAGS: u32 = 5054;
    pub const ENHANCE_NAMES: u32 = 5055;
    pub const ENHANCE_VERSIONS: u32 = 5056;
    pub const ENHANCE_FLAGS: u32 = 5057;
    pub const PAYLOAD_DIGEST: u32 = 5092;
    pub const PAYLOAD_DIGEST_ALGO: u32 = 5093;
    pub const PAYLOAD_SHA512: u32 = 5121;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(entries: &[[u32; 4]], store: &[u8]) -> Vec<u8> {
        let mut bytes = [&HEADER_MAGIC[..], &[0; 4]].concat();
        bytes.extend((entries.len() as u32).to_be_bytes());
        bytes.extend((store.len() as u32).to_be_bytes());
        entries.iter().flatten().for_each(|word| bytes.extend(word.to_be_bytes()));
        bytes.extend_from_slice(store);
        bytes
    }

    #[test]
    fn d18_entries_must_lie_within_the_store_and_be_there_once() {
        let good = header(&[[1000, 6, 0, 1], [1030, 3, 4, 1]], b"abc\0\x81\xa4");
        let read = Header::read(&mut &good[..], "header", 1).unwrap();
        assert_eq!((read.text(1000).as_deref(), read.numbers(1030)), (Some("abc"), vec![0o100644]));
        for (entries, store) in [
            (&[[1000, 6, 9, 1]][..], &b"abc\0"[..]),
            (&[[1000, 6, 0, 1]], b"abc"),
            (&[[1000, 6, 0, 2]], b"a\0b\0"),
            (&[[1000, 4, 0, 2]], b"abcd"),
            (&[[1000, 4, 0, u32::MAX]], b"abcd"),
            (&[[1000, 12, 0, 1]], b"abcd"),
            (&[[1000, 4, 0, 0]], b"abcd"),
            (&[[1000, 6, 0, 1], [1000, 6, 0, 1]], b"a\0"),
        ] {
            let bytes = header(entries, store);
            assert!(Header::read(&mut &bytes[..], "header", 1).is_err(), "{entries:?}");
        }
        let mut huge = header(&[[1000, 6, 0, 1]], b"a\0");
        huge[12..16].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(matches!(Header::read(&mut &huge[..], "header", 1), Err(ReadError::Limit { .. })));
    }
}
