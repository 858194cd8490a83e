//! LUKS headers, versions 1 and 2: what a volume needs of the kernel and of the tools that open it. No key is touched.
//!
//! Formats: "LUKS On-Disk Format Specification" 1.2.3 and "LUKS2 On-Disk Format Specification" 1.1.1, both of the cryptsetup project.

use std::collections::BTreeSet;
use std::io::{self, Read, Seek, SeekFrom};

use serde::Deserialize;

use crate::base::digest::{Hasher, Sha256};

/// Where the second copy of a LUKS2 header may begin: right behind the first, whose size is one of these.
const SIZES: [u64; 9] = [0x4000, 0x8000, 0x1_0000, 0x2_0000, 0x4_0000, 0x8_0000, 0x10_0000, 0x20_0000, 0x40_0000];
/// The part of a LUKS2 header before its JSON.
const BINARY_BYTES: usize = 4096;
/// Where its checksum is.
const CHECKSUM: std::ops::Range<usize> = 448..512;
/// What is needed of a LUKS1 header: everything before the key slots.
const LUKS1_BYTES: usize = 208;

const FIRST: &[u8; 6] = b"LUKS\xba\xbe";
const SECOND: &[u8; 6] = b"SKUL\xba\xbe";

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Header {
    /// 1 or 2.
    pub version: u8,
    /// The volume's UUID.
    pub uuid: String,
    /// Its label, if it has one; LUKS1 has none.
    pub label: String,
    /// Ciphers of data and key slots: `aes-xts-plain64`.
    pub ciphers: BTreeSet<String>,
    /// Hashes and key derivations: `sha256`, `pbkdf2`, `argon2id`.
    pub hashes: BTreeSet<String>,
    /// Types of tokens: `systemd-tpm2`.
    pub tokens: BTreeSet<String>,
    /// How sectors are authenticated: `hmac(sha256)`.
    pub integrity: BTreeSet<String>,
}

/// A header cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LuksError {
    /// The device or file fails, or ends too early.
    #[error("cannot read it")]
    Io(#[from] io::Error),
    /// There is none.
    #[error("there is no LUKS header")]
    Absent,
    /// The format has a version that nobody knew when this was written.
    #[error("its version is {0}, and only 1 and 2 are known")]
    Version(u16),
    /// Both copies of a LUKS2 header are damaged.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    /// The description of a LUKS2 volume is no JSON of the kind.
    #[error("its description cannot be read")]
    Json(#[from] serde_json::Error),
}

/// Reads the header of a volume, the second copy where the first is damaged.
pub fn read(volume: &mut (impl Read + Seek)) -> Result<Header, LuksError> {
    let head = at(volume, 0, LUKS1_BYTES)?;
    let first = match (head.starts_with(FIRST), u16::from_be_bytes([head[6], head[7]])) {
        (true, 1) => return Ok(first_version(&head)),
        (true, 2) => match second_version(volume, 0, FIRST) {
            Ok(header) => return Ok(header),
            Err(err) => err,
        },
        (true, version) => return Err(LuksError::Version(version)),
        (false, _) => LuksError::Absent,
    };
    for offset in SIZES {
        if let Ok(header) = second_version(volume, offset, SECOND) {
            return Ok(header);
        }
    }
    Err(first)
}

fn at(volume: &mut (impl Read + Seek), offset: u64, len_bytes: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len_bytes];
    volume.seek(SeekFrom::Start(offset))?;
    volume.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Text up to the first zero byte of a field.
fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

fn first_version(head: &[u8]) -> Header {
    let cipher = format!("{}-{}", text(&head[8..40]), text(&head[40..72]));
    Header {
        version: 1,
        uuid: text(&head[168..208]),
        ciphers: BTreeSet::from([cipher]),
        hashes: BTreeSet::from([text(&head[72..104]), "pbkdf2".to_owned()]),
        ..Header::default()
    }
}

fn second_version(volume: &mut (impl Read + Seek), offset: u64, magic: &[u8; 6]) -> Result<Header, LuksError> {
    let binary = at(volume, offset, BINARY_BYTES)?;
    let number = |at: usize| u64::from_be_bytes(binary[at..at + 8].try_into().expect("invariant: eight bytes"));
    if !binary.starts_with(magic) || u16::from_be_bytes([binary[6], binary[7]]) != 2 {
        return Err(LuksError::Damaged("the magic number is missing"));
    }
    let size_bytes = number(8);
    if !SIZES.contains(&size_bytes) || number(256) != offset {
        return Err(LuksError::Damaged("its size or place makes no sense"));
    }
    let json = at(volume, offset + BINARY_BYTES as u64, size_bytes as usize - BINARY_BYTES)?;
    // cryptsetup writes no other checksum, though the field allows one.
    if text(&binary[72..104]) != "sha256" {
        return Err(LuksError::Damaged("its checksum is none that is known"));
    }
    let mut hasher = Hasher::new();
    hasher.update(&binary[..CHECKSUM.start]);
    hasher.update(&[0; CHECKSUM.end - CHECKSUM.start]);
    hasher.update(&binary[CHECKSUM.end..]);
    hasher.update(&json);
    let written: [u8; 32] = binary[CHECKSUM.start..CHECKSUM.start + 32].try_into().expect("invariant: 32 bytes");
    if hasher.finish() != Sha256::from_bytes(written) {
        return Err(LuksError::Damaged("its checksum is wrong"));
    }
    let end = json.iter().position(|byte| *byte == 0).unwrap_or(json.len());
    let mut header = described(serde_json::from_slice(&json[..end])?);
    header.label = text(&binary[24..72]);
    header.uuid = text(&binary[168..208]);
    Ok(header)
}

/// The parts of the JSON area that matter here; the rest is passed over.
#[derive(Deserialize)]
struct Description {
    #[serde(default)]
    keyslots: Objects<Keyslot>,
    #[serde(default)]
    tokens: Objects<Token>,
    #[serde(default)]
    segments: Objects<Segment>,
    #[serde(default)]
    digests: Objects<Digest>,
}

type Objects<T> = std::collections::BTreeMap<String, T>;

#[derive(Deserialize)]
struct Keyslot {
    af: Option<Hashed>,
    area: Option<Area>,
    kdf: Option<Kdf>,
}

#[derive(Deserialize)]
struct Hashed {
    hash: Option<String>,
}

#[derive(Deserialize)]
struct Area {
    encryption: Option<String>,
}

#[derive(Deserialize)]
struct Kdf {
    r#type: String,
    hash: Option<String>,
}

#[derive(Deserialize)]
struct Token {
    r#type: String,
}

#[derive(Deserialize)]
struct Segment {
    encryption: Option<String>,
    integrity: Option<Integrity>,
}

#[derive(Deserialize)]
struct Integrity {
    r#type: String,
}

#[derive(Deserialize)]
struct Digest {
    r#type: String,
    hash: Option<String>,
}

fn described(description: Description) -> Header {
    let mut header = Header { version: 2, ..Header::default() };
    for slot in description.keyslots.into_values() {
        header.ciphers.extend(slot.area.and_then(|area| area.encryption));
        header.hashes.extend(slot.af.and_then(|af| af.hash));
        if let Some(kdf) = slot.kdf {
            header.hashes.insert(kdf.r#type);
            header.hashes.extend(kdf.hash);
        }
    }
    for digest in description.digests.into_values() {
        header.hashes.insert(digest.r#type);
        header.hashes.extend(digest.hash);
    }
    for segment in description.segments.into_values() {
        header.ciphers.extend(segment.encryption);
        header.integrity.extend(segment.integrity.map(|integrity| integrity.r#type));
    }
    header.tokens.extend(description.tokens.into_values().map(|token| token.r#type));
    header
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// A LUKS2 volume with both copies of its header, as cryptsetup lays them.
    fn volume(size_bytes: u64, json: &str) -> Vec<u8> {
        let mut bytes = vec![0; size_bytes as usize * 2];
        for (offset, magic) in [(0, FIRST), (size_bytes, SECOND)] {
            let copy = &mut bytes[offset as usize..(offset + size_bytes) as usize];
            copy[..6].copy_from_slice(magic);
            copy[7] = 2;
            copy[8..16].copy_from_slice(&size_bytes.to_be_bytes());
            copy[24..28].copy_from_slice(b"disk");
            copy[72..78].copy_from_slice(b"sha256");
            copy[168..172].copy_from_slice(b"1234");
            copy[256..264].copy_from_slice(&offset.to_be_bytes());
            copy[BINARY_BYTES..BINARY_BYTES + json.len()].copy_from_slice(json.as_bytes());
            let digest = Sha256::of(copy);
            copy[CHECKSUM.start..CHECKSUM.start + 32].copy_from_slice(digest.as_bytes());
        }
        bytes
    }

    const JSON: &str = r#"{"keyslots":{"0":{"type":"luks2","af":{"type":"luks1","hash":"sha512"},
        "area":{"type":"raw","encryption":"aes-cbc-essiv:sha256"},"kdf":{"type":"argon2id"}}},
        "tokens":{"0":{"type":"systemd-fido2"}},"segments":{"0":{"type":"crypt","encryption":"aes-xts-plain64",
        "integrity":{"type":"hmac(sha256)"}}},"digests":{"0":{"type":"pbkdf2","hash":"sha256"}},"config":{}}"#;

    fn words(set: &BTreeSet<String>) -> String {
        set.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_second_version_says_what_it_needs() {
        let header = read(&mut Cursor::new(volume(0x8000, JSON))).expect("a header");
        assert_eq!((header.version, header.uuid.as_str(), header.label.as_str()), (2, "1234", "disk"));
        assert_eq!(words(&header.ciphers), "aes-cbc-essiv:sha256 aes-xts-plain64");
        assert_eq!(words(&header.hashes), "argon2id pbkdf2 sha256 sha512");
        assert_eq!(words(&header.tokens), "systemd-fido2");
        assert_eq!(words(&header.integrity), "hmac(sha256)");
    }

    #[test]
    fn the_second_copy_serves_when_the_first_is_damaged() {
        for place in [0, 9, 300, 449, BINARY_BYTES + 20] {
            let mut bytes = volume(0x4000, JSON);
            bytes[place] ^= 1;
            assert_eq!(read(&mut Cursor::new(&bytes)).expect("the second copy").version, 2, "{place}");
            bytes[0x4000 + place] ^= 1;
            assert!(read(&mut Cursor::new(&bytes)).is_err(), "{place}");
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        assert!(matches!(read(&mut Cursor::new(vec![0; 0x10_0000])), Err(LuksError::Absent)));
        assert!(matches!(read(&mut Cursor::new(b"LUKS".to_vec())), Err(LuksError::Io(_))));
        let mut bytes = volume(0x4000, JSON);
        bytes[7] = 3;
        assert!(matches!(read(&mut Cursor::new(bytes)), Err(LuksError::Version(3))));
        assert!(matches!(read(&mut Cursor::new(volume(0x4000, "{"))), Err(LuksError::Json(_))));
        assert!(matches!(read(&mut Cursor::new(volume(0x4000, "{\"tokens\":{\"0\":{}}}"))), Err(LuksError::Json(_))));
    }
}
