//! Digests of several kinds, as metadata of packages name them: `sha256:…`, `sha:…` for SHA-1, `md5:…`.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use super::digest::{Md5, Sha1, Sha256, Wide};

/// Bytes read at a time.
const BUFFER_BYTES: usize = 64 << 10;

/// The kinds of digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Proof against accidents only: files that share one are made in seconds.
    Md5,
    /// Two files that share one can be made at great cost; the known ways of making them are recognised, and such files have none.
    Sha1,
    /// SHA-224.
    Sha224,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// The names of the kinds as metadata write them; the first of each is what we write.
const NAMES: [(&str, Kind); 7] = [
    ("md5", Kind::Md5),
    ("sha1", Kind::Sha1),
    ("sha", Kind::Sha1),
    ("sha224", Kind::Sha224),
    ("sha256", Kind::Sha256),
    ("sha384", Kind::Sha384),
    ("sha512", Kind::Sha512),
];

impl Kind {
    /// Returns the kind of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        NAMES.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, kind)| kind)
    }

    /// Returns its name.
    pub fn name(self) -> &'static str {
        NAMES.into_iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    fn size_bytes(self) -> usize {
        match self {
            Kind::Md5 => 16,
            Kind::Sha1 => 20,
            Kind::Sha224 => 28,
            Kind::Sha256 => 32,
            Kind::Sha384 => 48,
            Kind::Sha512 => 64,
        }
    }
}

/// A digest and its kind; written as `sha256:` and hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksum {
    /// Its kind.
    pub kind: Kind,
    raw: Vec<u8>,
}

/// The text is no digest of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a checksum (a kind and its hexadecimal digits)")]
pub struct NotAChecksum(pub String);

impl Checksum {
    /// Reads the hexadecimal digits of a digest.
    pub fn parse(kind: Kind, digits: &str) -> Result<Self, NotAChecksum> {
        let wrong = || NotAChecksum(format!("{}:{}", kind.name(), digits.chars().take(160).collect::<String>()));
        if digits.len() != kind.size_bytes() * 2 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_| wrong());
        let raw = (0..digits.len()).step_by(2).map(byte).collect::<Result<_, _>>()?;
        Ok(Self { kind, raw })
    }

    /// Takes the bytes of a digest; `None` if they are too many or too few.
    pub fn of_bytes(kind: Kind, raw: &[u8]) -> Option<Self> {
        (raw.len() == kind.size_bytes()).then(|| Self { kind, raw: raw.to_vec() })
    }

    /// Returns it if it is one of SHA-256.
    pub fn as_sha256(&self) -> Option<Sha256> {
        (self.kind == Kind::Sha256).then(|| self.raw.as_slice().try_into().ok().map(Sha256::from_bytes))?
    }

    /// Tells whether what is read to its end has this digest. For data that was made to have the SHA-1 of other data it never has.
    pub fn fits(&self, data: &mut dyn Read) -> io::Result<bool> {
        let mut hasher = AnyHasher::new(self.kind);
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match data.read(&mut buffer) {
                Ok(0) => return Ok(hasher.finish() == Some(self.clone())),
                Ok(count) => hasher.update(&buffer[..count]),
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
    }
}

impl From<Sha256> for Checksum {
    fn from(digest: Sha256) -> Self {
        Self { kind: Kind::Sha256, raw: digest.as_bytes().to_vec() }
    }
}

impl FromStr for Checksum {
    type Err = NotAChecksum;

    fn from_str(text: &str) -> Result<Self, NotAChecksum> {
        let wrong = || NotAChecksum(text.chars().take(160).collect());
        let (name, digits) = text.split_once(':').ok_or_else(wrong)?;
        Self::parse(Kind::by_name(name).ok_or_else(wrong)?, digits)
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.kind.name())?;
        self.raw.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Collects a digest of any kind piece by piece.
#[derive(Clone)]
pub enum AnyHasher {
    /// MD5.
    Md5(Md5),
    /// SHA-1.
    Sha1(Box<Sha1>),
    /// The kinds of SHA-2.
    Wide(Kind, Wide),
}

impl AnyHasher {
    /// Returns a hasher that has seen nothing.
    pub fn new(kind: Kind) -> Self {
        match kind {
            Kind::Md5 => Self::Md5(Md5::default()),
            Kind::Sha1 => Self::Sha1(Box::default()),
            Kind::Sha224 => Self::Wide(kind, Wide::sha224()),
            Kind::Sha256 => Self::Wide(kind, Wide::sha256()),
            Kind::Sha384 => Self::Wide(kind, Wide::sha384()),
            Kind::Sha512 => Self::Wide(kind, Wide::sha512()),
        }
    }

    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Md5(hasher) => hasher.update(bytes),
            Self::Sha1(hasher) => hasher.update(bytes),
            Self::Wide(_, hasher) => hasher.update(bytes),
        }
    }

    /// Returns the digest; `None` if what was added was made to have the SHA-1 of other data.
    pub fn finish(self) -> Option<Checksum> {
        Some(match self {
            Self::Md5(hasher) => Checksum { kind: Kind::Md5, raw: hasher.finish().to_vec() },
            Self::Sha1(hasher) => Checksum { kind: Kind::Sha1, raw: hasher.finish()?.to_vec() },
            Self::Wide(kind, hasher) => Checksum { kind, raw: hasher.finish() },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_coreutils() {
        for (name, kind, tool) in [
            ("md5", Kind::Md5, "md5sum"),
            ("sha", Kind::Sha1, "sha1sum"),
            ("sha224", Kind::Sha224, "sha224sum"),
            ("sha256", Kind::Sha256, "sha256sum"),
            ("sha384", Kind::Sha384, "sha384sum"),
            ("sha512", Kind::Sha512, "sha512sum"),
        ] {
            let bytes = vec![7_u8; 100_003];
            let file = tempfile::NamedTempFile::new().expect("a file");
            std::fs::write(file.path(), &bytes).expect("writing");
            let output = std::process::Command::new(tool).arg(file.path()).output().expect("coreutils");
            let digits = String::from_utf8_lossy(&output.stdout).split(' ').next().expect("digits").to_owned();
            let checksum: Checksum = format!("{name}:{digits}").parse().expect(name);
            assert_eq!(checksum, Checksum::parse(kind, &digits).expect(name));
            assert!(checksum.fits(&mut &bytes[..]).expect("reading"), "{name}");
            assert!(!checksum.fits(&mut &bytes[1..]).expect("reading"), "{name}");
            assert_eq!(checksum.to_string().parse(), Ok(checksum));
        }
    }

    #[test]
    fn what_is_no_checksum_is_refused() {
        let ab = "ab".repeat(20);
        for text in ["", "sha256", &ab, &format!("sha256:{ab}"), &format!("crc:{ab}"), &format!("sha1:{}", "é".repeat(20))] {
            assert!(text.parse::<Checksum>().is_err(), "{text}");
        }
    }
}
