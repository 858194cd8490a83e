//! Compression: the only door to the compression crates.

pub mod decode;
pub mod encode;
pub mod member;

use std::fmt;
use std::str::FromStr;

/// A compression format, in the formats that the kernel, `.deb` files or indexes use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// Not compressed.
    None,
    /// RFC 1952.
    Gzip,
    /// The .xz container of LZMA2.
    Xz,
    /// The old .lzma container, which some kernels' initrds still have.
    Lzma,
    /// RFC 8878.
    Zstd,
    /// LZ4 in the legacy frame, the only one that the kernel reads (Documentation of lz4: `lz4 -l`).
    Lz4,
    /// bzip2.
    Bzip2,
}

impl Format {
    /// Returns the name as in `--compress`.
    pub fn name(self) -> &'static str {
        match self {
            Format::None => "none",
            Format::Gzip => "gzip",
            Format::Xz => "xz",
            Format::Lzma => "lzma",
            Format::Zstd => "zstd",
            Format::Lz4 => "lz4",
            Format::Bzip2 => "bzip2",
        }
    }

    /// Tells the format from the first bytes of a file (six are enough); `None` when no magic number fits.
    pub fn sniff(head: &[u8]) -> Format {
        let magics: [(&[u8], Format); 7] = [
            (&[0x1f, 0x8b], Format::Gzip),
            (&[0xfd, b'7', b'z', b'X', b'Z', 0], Format::Xz),
            (&[0x5d, 0, 0], Format::Lzma),
            (&[0x28, 0xb5, 0x2f, 0xfd], Format::Zstd),
            (&[0x02, 0x21, 0x4c, 0x18], Format::Lz4),
            (b"BZh", Format::Bzip2),
            // A zstd skippable frame may come first (0x184D2A5?, little endian).
            (&[0x50, 0x2a, 0x4d, 0x18], Format::Zstd),
        ];
        magics.into_iter().find(|(magic, _)| head.starts_with(magic)).map_or(Format::None, |(_, format)| format)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A format and a level, as in `--compress zstd:9`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compression {
    /// The format.
    pub format: Format,
    /// The level in the format's own scale; 0 where it has none.
    pub level: u32,
}

/// The text names no compression that images can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a compression: use `zstd`, `xz`, `gzip`, `lz4` or `none`, with a level as in `zstd:9`")]
pub struct BadCompression(pub String);

impl FromStr for Compression {
    type Err = BadCompression;

    fn from_str(text: &str) -> Result<Self, BadCompression> {
        let wrong = || BadCompression(text.to_owned());
        let (name, level) = match text.split_once(':') {
            Some((name, level)) => (name, Some(level.parse::<u32>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let (format, default, range) = match name {
            "zstd" => (Format::Zstd, 9, 1..=22),
            "xz" => (Format::Xz, 6, 0..=9),
            "gzip" => (Format::Gzip, 6, 1..=9),
            "lz4" => (Format::Lz4, 0, 0..=0),
            "none" => (Format::None, 0, 0..=0),
            _ => return Err(wrong()),
        };
        let level = level.unwrap_or(default);
        range.contains(&level).then_some(Self { format, level }).ok_or_else(wrong)
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.format {
            Format::None | Format::Lz4 => write!(f, "{}", self.format),
            format => write!(f, "{format}:{}", self.level),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressions_are_named_with_a_level() {
        for (text, shown) in [
            ("zstd", Some("zstd:9")),
            ("zstd:19", Some("zstd:19")),
            ("xz", Some("xz:6")),
            ("none", Some("none")),
            ("lz4", Some("lz4")),
            ("zstd:23", None),
            ("zstd:", None),
            ("bzip2", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<Compression>().ok().map(|c| c.to_string()).as_deref(), shown, "{text}");
        }
    }
}
