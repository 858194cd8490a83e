//! SHA-256 digests: the identity of everything that is stored, verified or compared. And MD5, which dpkg's database is written in.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

/// A SHA-256 digest; shown and parsed as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// Returns the digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// Returns the digest from its 32 raw bytes.
    pub fn from_bytes(raw: [u8; 32]) -> Self {
        Self(raw)
    }

    /// Returns the 32 raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{self}")
    }
}

/// The text is not 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a SHA-256 digest (64 hexadecimal digits)")]
pub struct NotADigest(pub String);

impl FromStr for Sha256 {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let wrong = || NotADigest(text.chars().take(80).collect());
        let hex = text.as_bytes();
        if hex.len() != 64 {
            return Err(wrong());
        }
        let mut raw = [0; 32];
        for (byte, pair) in raw.iter_mut().zip(hex.chunks_exact(2)) {
            let digit = |c: u8| (c as char).to_digit(16).ok_or_else(wrong);
            *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
        }
        Ok(Self(raw))
    }
}

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Collects a digest piece by piece.
#[derive(Debug, Default, Clone)]
pub struct Hasher(sha2::Sha256);

impl Hasher {
    /// Returns a hasher that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Adds a field with its length before it, so that two lists of fields never collide.
    pub fn field(&mut self, bytes: &[u8]) {
        self.update(&(bytes.len() as u64).to_le_bytes());
        self.update(bytes);
    }

    /// Returns the digest of all that was added.
    pub fn finish(self) -> Sha256 {
        Sha256(self.0.finalize().into())
    }
}

/// A reader that hashes and counts what passes through it.
pub struct HashingReader<R> {
    inner: R,
    hasher: Hasher,
    size_bytes: u64,
}

impl<R: Read> HashingReader<R> {
    /// Wraps `inner`.
    pub fn new(inner: R) -> Self {
        Self { inner, hasher: Hasher::new(), size_bytes: 0 }
    }

    /// Returns the digest and the number of bytes read so far.
    pub fn finish(self) -> (Sha256, u64) {
        (self.hasher.finish(), self.size_bytes)
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.size_bytes += count as u64;
        Ok(count)
    }
}

/// Returns the SHA-512 digest of `bytes`.
pub fn sha512(bytes: &[u8]) -> [u8; 64] {
    sha2::Sha512::digest(bytes).into()
}

/// Collects a digest of one of SHA-2's sizes piece by piece, where the metadata say which.
#[derive(Clone)]
pub struct Wide(WideState);

#[derive(Clone)]
enum WideState {
    Sha224(sha2::Sha224),
    Sha256(sha2::Sha256),
    Sha384(sha2::Sha384),
    Sha512(sha2::Sha512),
}

impl Wide {
    /// Returns a hasher of 224 bits.
    pub fn sha224() -> Self {
        Self(WideState::Sha224(sha2::Sha224::default()))
    }

    /// Returns a hasher of 256 bits.
    pub fn sha256() -> Self {
        Self(WideState::Sha256(sha2::Sha256::default()))
    }

    /// Returns a hasher of 384 bits.
    pub fn sha384() -> Self {
        Self(WideState::Sha384(sha2::Sha384::default()))
    }

    /// Returns a hasher of 512 bits.
    pub fn sha512() -> Self {
        Self(WideState::Sha512(sha2::Sha512::default()))
    }

    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            WideState::Sha224(hasher) => hasher.update(bytes),
            WideState::Sha256(hasher) => hasher.update(bytes),
            WideState::Sha384(hasher) => hasher.update(bytes),
            WideState::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// Returns the digest of all that was added.
    pub fn finish(self) -> Vec<u8> {
        match self.0 {
            WideState::Sha224(hasher) => hasher.finalize().to_vec(),
            WideState::Sha256(hasher) => hasher.finalize().to_vec(),
            WideState::Sha384(hasher) => hasher.finalize().to_vec(),
            WideState::Sha512(hasher) => hasher.finalize().to_vec(),
        }
    }
}

/// Collects a SHA-1 digest piece by piece, for formats that have no better one (apk's of version 2).
///
/// Data made to collide by one of the known attacks is recognised by the traces that these leave, and has no digest at all.
#[derive(Default, Clone)]
pub struct Sha1(sha1collisiondetection::Sha1CD);

impl Sha1 {
    /// Returns the digest of `bytes`; `None` if they were made to have the same as others.
    pub fn of(bytes: &[u8]) -> Option<[u8; 20]> {
        let mut hasher = Self::default();
        hasher.update(bytes);
        hasher.finish()
    }

    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the digest; `None` if what was added was made to collide.
    pub fn finish(self) -> Option<[u8; 20]> {
        self.0.finalize_cd().ok().map(Into::into)
    }
}

/// Returns the MD5 digest of `bytes` (RFC 1321). It tells an accident from none; it is no proof against somebody who makes collisions,
/// so nothing that a stranger wrote is believed by it.
pub fn md5(bytes: &[u8]) -> [u8; 16] {
    let mut hasher = Md5::default();
    hasher.update(bytes);
    hasher.finish()
}

/// Collects an MD5 digest piece by piece.
#[derive(Clone)]
pub struct Md5 {
    state: [u32; 4],
    /// What is not yet a whole block.
    rest: [u8; 64],
    rest_bytes: usize,
    total_bytes: u64,
}

impl Default for Md5 {
    fn default() -> Self {
        let state = [0x6745_2301_u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
        Self { state, rest: [0; 64], rest_bytes: 0, total_bytes: 0 }
    }
}

impl Md5 {
    /// Adds `bytes`.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.total_bytes = self.total_bytes.wrapping_add(bytes.len() as u64);
        if self.rest_bytes > 0 {
            let (missing, others) = bytes.split_at(bytes.len().min(64 - self.rest_bytes));
            self.rest[self.rest_bytes..self.rest_bytes + missing.len()].copy_from_slice(missing);
            self.rest_bytes += missing.len();
            bytes = others;
            if self.rest_bytes < 64 {
                return;
            }
            md5_block(&mut self.state, &self.rest);
        }
        let (blocks, rest) = bytes.as_chunks::<64>();
        blocks.iter().for_each(|block| md5_block(&mut self.state, block));
        self.rest[..rest.len()].copy_from_slice(rest);
        self.rest_bytes = rest.len();
    }

    /// Returns the digest.
    pub fn finish(mut self) -> [u8; 16] {
        // A one, zeros, and the length in bits, in one more block or two.
        let mut tail = [0_u8; 128];
        tail[..self.rest_bytes].copy_from_slice(&self.rest[..self.rest_bytes]);
        tail[self.rest_bytes] = 0x80;
        let end = if self.rest_bytes < 56 { 64 } else { 128 };
        tail[end - 8..end].copy_from_slice(&self.total_bytes.wrapping_mul(8).to_le_bytes());
        tail[..end].as_chunks::<64>().0.iter().for_each(|block| md5_block(&mut self.state, block));
        let mut digest = [0; 16];
        for (place, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(self.state) {
            *place = word.to_le_bytes();
        }
        digest
    }
}

/// How far each step of a round rotates, in turn.
const MD5_ROTATIONS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];

/// The whole part of 2^32 times the absolute sine of 1, 2, 3…
const MD5_SINES: [u32; 64] = [
    0xd76a_a478,
    0xe8c7_b756,
    0x2420_70db,
    0xc1bd_ceee,
    0xf57c_0faf,
    0x4787_c62a,
    0xa830_4613,
    0xfd46_9501,
    0x6980_98d8,
    0x8b44_f7af,
    0xffff_5bb1,
    0x895c_d7be,
    0x6b90_1122,
    0xfd98_7193,
    0xa679_438e,
    0x49b4_0821,
    0xf61e_2562,
    0xc040_b340,
    0x265e_5a51,
    0xe9b6_c7aa,
    0xd62f_105d,
    0x0244_1453,
    0xd8a1_e681,
    0xe7d3_fbc8,
    0x21e1_cde6,
    0xc337_07d6,
    0xf4d5_0d87,
    0x455a_14ed,
    0xa9e3_e905,
    0xfcef_a3f8,
    0x676f_02d9,
    0x8d2a_4c8a,
    0xfffa_3942,
    0x8771_f681,
    0x6d9d_6122,
    0xfde5_380c,
    0xa4be_ea44,
    0x4bde_cfa9,
    0xf6bb_4b60,
    0xbebf_bc70,
    0x289b_7ec6,
    0xeaa1_27fa,
    0xd4ef_3085,
    0x0488_1d05,
    0xd9d4_d039,
    0xe6db_99e5,
    0x1fa2_7cf8,
    0xc4ac_5665,
    0xf429_2244,
    0x432a_ff97,
    0xab94_23a7,
    0xfc93_a039,
    0x655b_59c3,
    0x8f0c_cc92,
    0xffef_f47d,
    0x8584_5dd1,
    0x6fa8_7e4f,
    0xfe2c_e6e0,
    0xa301_4314,
    0x4e08_11a1,
    0xf753_7e82,
    0xbd3a_f235,
    0x2ad7_d2bb,
    0xeb86_d391,
];

fn md5_block(state: &mut [u32; 4], block: &[u8; 64]) {
    let mut words = [0_u32; 16];
    for (word, raw) in words.iter_mut().zip(block.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*raw);
    }
    let mut s = *state;
    md5_round::<0>(&mut s, &words, |x, y, z| z ^ (x & (y ^ z)));
    md5_round::<1>(&mut s, &words, |x, y, z| y ^ (z & (x ^ y)));
    md5_round::<2>(&mut s, &words, |x, y, z| x ^ y ^ z);
    md5_round::<3>(&mut s, &words, |x, y, z| y ^ (x | !z));
    for (word, new) in state.iter_mut().zip(s) {
        *word = word.wrapping_add(new);
    }
}

/// Sixteen steps. The loop has constant bounds, so that it is unrolled and every index is known.
#[inline(always)]
fn md5_round<const ROUND: usize>(s: &mut [u32; 4], words: &[u32; 16], mix: impl Fn(u32, u32, u32) -> u32) {
    for i in 0..16 {
        let word = match ROUND {
            0 => i,
            1 => (5 * i + 1) % 16,
            2 => (3 * i + 5) % 16,
            _ => 7 * i % 16,
        };
        let [a, b, c, d] = *s;
        let sum = a.wrapping_add(mix(b, c, d)).wrapping_add(MD5_SINES[ROUND * 16 + i]).wrapping_add(words[word]);
        *s = [d, b.wrapping_add(sum.rotate_left(MD5_ROTATIONS[ROUND][i % 4])), b, c];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_nothing_is_the_known_one() {
        let known = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Sha256::of(b"").to_string(), known);
        assert_eq!(known.parse(), Ok(Sha256::of(b"")));
        assert_eq!(known.to_uppercase().parse(), Ok(Sha256::of(b"")));
    }

    #[test]
    fn sha1_and_sha512_are_the_known_ones() {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(Sha1::of(b"abc").map(|digest| hex(&digest)).as_deref(), Some("a9993e364706816aba3e25717850c26c9cd0d89d"));
        assert!(hex(&sha512(b"abc")).starts_with("ddaf35a193617abacc417349ae20413112e6fa4e89a97ea2"));
    }

    #[test]
    fn what_is_not_64_hex_digits_is_refused() {
        for text in ["", "e3b0", &"g".repeat(64), &"é".repeat(32)] {
            assert!(text.parse::<Sha256>().is_err(), "{text}");
        }
    }

    #[test]
    fn md5_is_that_of_md5sum() {
        let hex = |bytes: &[u8]| md5(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(b""), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(hex(b"abc"), "900150983cd24fb0d6963f7d28e17f72");
        let whole: Vec<u8> = (0..1000_u32).map(|i| (i * 7) as u8).collect();
        for piece in [1, 3, 63, 64, 65, 130, 999] {
            let mut hasher = Md5::default();
            whole.chunks(piece).for_each(|chunk| hasher.update(chunk));
            assert_eq!(hasher.finish(), md5(&whole), "in pieces of {piece}");
        }
        for size in [1, 55, 56, 57, 63, 64, 65, 119, 120, 121, 1_000_003] {
            let bytes: Vec<u8> = (0..size).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
            let mut tool = std::process::Command::new("md5sum")
                .stdin(std::process::Stdio::piped())
                .stdout(std::process::Stdio::piped())
                .spawn()
                .expect("md5sum, of the Debian package coreutils");
            let mut input = tool.stdin.take().expect("a pipe");
            io::Write::write_all(&mut input, &bytes).expect("writing");
            drop(input);
            let output = tool.wait_with_output().expect("md5sum").stdout;
            assert_eq!(hex(&bytes), String::from_utf8_lossy(&output[..32]), "{size} bytes");
        }
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        let of = |fields: &[&[u8]]| {
            let mut hasher = Hasher::new();
            fields.iter().for_each(|field| hasher.field(field));
            hasher.finish()
        };
        assert_ne!(of(&[b"ab", b"c"]), of(&[b"a", b"bc"]));
    }

    #[test]
    fn a_hashing_reader_sees_what_passes() {
        let mut reader = HashingReader::new(&b"hello"[..]);
        io::copy(&mut reader, &mut io::sink()).expect("reading from memory");
        assert_eq!(reader.finish(), (Sha256::of(b"hello"), 5));
    }
}
