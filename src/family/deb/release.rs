//! Release files: the clear-signed frame of `InRelease`, and what a verified `Release` says.
//!
//! The frame is the only thing read before a signature is verified, so its reader is small and refuses whatever it
//! does not expect (RFC 9580, section 7, without what archives never write). Fields: Debian's repository format.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::base::date::{self, Seconds};
use crate::base::digest::Sha256;
use crate::base::limit;

/// A line of a release file. Debian's are below 200 bytes.
const LINE_BYTES_MAX: usize = 16 << 10;
/// An armoured signature. Debian's three take 3 kB.
const SIGNATURE_BYTES_MAX: usize = 256 << 10;

/// A clear-signed message taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The text that the signature covers: dash escapes undone, no blanks at line ends, lines joined by LF, none at the end.
    pub text: Vec<u8>,
    /// The armoured signature.
    pub signature: Vec<u8>,
}

/// The frame of a clear-signed file is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It does not begin as a clear-signed message.
    #[error("it does not begin with `{BEGIN_MESSAGE}`")]
    NotSigned,
    /// A line is not allowed where it stands.
    #[error("line {line} is not allowed there: {reason}")]
    Line {
        /// The line, counted from 1.
        line: usize,
        /// Why.
        reason: &'static str,
    },
    /// It ends before it is complete.
    #[error("it ends before `{0}`")]
    Truncated(&'static str),
    /// Something is too long.
    #[error("{what} is longer than {limit} bytes")]
    TooLong {
        /// What.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
    },
}

const BEGIN_MESSAGE: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const BEGIN_SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";
const END_SIGNATURE: &str = "-----END PGP SIGNATURE-----";

/// Takes an `InRelease` apart: exactly one message, nothing before it, nothing after it.
pub fn split(bytes: &[u8]) -> Result<Frame, FrameError> {
    if bytes.len() as u64 > limit::RELEASE_BYTES_MAX {
        return Err(FrameError::TooLong { what: "the file", limit: limit::RELEASE_BYTES_MAX });
    }
    let bad = |line: usize, reason| FrameError::Line { line: line + 1, reason };
    let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let mut lines = body.split(|byte| *byte == b'\n').enumerate();
    if lines.next().map(|(_, line)| line) != Some(BEGIN_MESSAGE.as_bytes()) {
        return Err(FrameError::NotSigned);
    }
    let mut lines = lines.map(|(number, line)| {
        if line.len() > LINE_BYTES_MAX {
            Err(FrameError::TooLong { what: "a line", limit: LINE_BYTES_MAX as u64 })
        } else if line.contains(&0) || line.contains(&b'\r') {
            Err(bad(number, "it holds a NUL or a carriage return"))
        } else {
            Ok((number, line))
        }
    });
    loop {
        let (number, line) = lines.next().ok_or(FrameError::Truncated(BEGIN_SIGNATURE))??;
        match line {
            b"" => break,
            line if line.starts_with(b"Hash: ") => {}
            _ => return Err(bad(number, "only `Hash` may stand in the header")),
        }
    }
    let mut text = Vec::with_capacity(body.len());
    let mut first = true;
    loop {
        let (number, line) = lines.next().ok_or(FrameError::Truncated(BEGIN_SIGNATURE))??;
        if line == BEGIN_SIGNATURE.as_bytes() {
            break;
        }
        let line = match line.strip_prefix(b"- ") {
            Some(rest) => rest,
            None if line.starts_with(b"-") => return Err(bad(number, "a line that begins with a dash must be escaped")),
            None => line,
        };
        if !std::mem::take(&mut first) {
            text.push(b'\n');
        }
        text.extend_from_slice(line.trim_ascii_end());
    }
    let mut signature = [BEGIN_SIGNATURE.as_bytes(), b"\n"].concat();
    loop {
        let (number, line) = lines.next().ok_or(FrameError::Truncated(END_SIGNATURE))??;
        signature.extend_from_slice(line);
        signature.push(b'\n');
        if line == END_SIGNATURE.as_bytes() {
            break;
        }
        if line.starts_with(b"-") {
            return Err(bad(number, "the signature holds another armour"));
        }
        if signature.len() > SIGNATURE_BYTES_MAX {
            return Err(FrameError::TooLong { what: "the signature", limit: SIGNATURE_BYTES_MAX as u64 });
        }
    }
    match lines.next() {
        None => Ok(Frame { text, signature }),
        Some(next) => Err(bad(next?.0, "nothing may follow the signature")),
    }
}

/// An index as a release file lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// Digest of the file.
    pub sha256: Sha256,
    /// Size of the file in bytes.
    pub size_bytes: u64,
}

/// What a release file says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Release {
    /// `Origin`: `Debian`.
    pub origin: Option<String>,
    /// `Suite`: `stable`.
    pub suite: Option<String>,
    /// `Codename`: `trixie`.
    pub codename: Option<String>,
    /// `Version`: `13.7`.
    pub version: Option<String>,
    /// `Date`: when it was made.
    pub date: Option<Seconds>,
    /// `Valid-Until`.
    pub valid_until: Option<Seconds>,
    /// Whether indexes can be had by their digest.
    pub by_hash: bool,
    /// `NotAutomatic`: nothing is to be taken from it unasked.
    pub not_automatic: bool,
    /// `ButAutomaticUpgrades`.
    pub automatic_upgrades: bool,
    /// Architectures.
    pub architectures: Vec<String>,
    /// Components.
    pub components: Vec<String>,
    /// Whether indexes of `all` repeat what those of each architecture hold (`No-Support-for-Architecture-all: Packages`).
    pub all_is_included: bool,
    /// Files by name, relative to the release file.
    pub files: BTreeMap<String, Listed>,
}

/// A release file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// It is no deb822 paragraph.
    #[error("line {line} of the release file cannot be read: {reason}")]
    Line {
        /// The line, counted from 1.
        line: usize,
        /// Why.
        reason: &'static str,
    },
    /// A date is none.
    #[error("`{value}` in `{field}` is not a date")]
    Date {
        /// The field.
        field: &'static str,
        /// What it holds.
        value: String,
    },
    /// There are digests, but none that can be trusted.
    #[error("the release file lists its indexes by {0} only, which can be forged; SHA256 is needed")]
    Weak(String),
    /// There are no digests at all.
    #[error("the release file lists no index")]
    Empty,
    /// Two entries of one file differ.
    #[error("the release file contradicts itself about `{0}`")]
    Contradiction(String),
}

/// Reads a release file: one deb822 paragraph. Give it only bytes that a signature covers.
pub fn parse(bytes: &[u8]) -> Result<Release, ReleaseError> {
    let text = std::str::from_utf8(bytes).map_err(|err| {
        let line = bytes[..err.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        ReleaseError::Line { line, reason: "it is not UTF-8" }
    })?;
    let fields = paragraph(text)?;
    let text_of = |name: &str| fields.get(name).map(|lines| lines[0].1.to_owned()).filter(|value| !value.is_empty());
    let date_of = |field: &'static str| match text_of(&field.to_ascii_lowercase()) {
        Some(value) => date::parse(&value).map(Some).ok_or(ReleaseError::Date { field, value }),
        None => Ok(None),
    };
    let words = |name: &str| text_of(name).unwrap_or_default().split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let yes = |name: &str| text_of(name).is_some_and(|value| value.eq_ignore_ascii_case("yes"));
    Ok(Release {
        origin: text_of("origin"),
        suite: text_of("suite"),
        codename: text_of("codename"),
        version: text_of("version"),
        date: date_of("Date")?,
        valid_until: date_of("Valid-Until")?,
        by_hash: yes("acquire-by-hash"),
        not_automatic: yes("notautomatic"),
        automatic_upgrades: yes("butautomaticupgrades"),
        architectures: words("architectures"),
        components: words("components"),
        all_is_included: words("no-support-for-architecture-all").iter().any(|word| word == "Packages"),
        files: files(&fields)?,
    })
}

/// The lines of a field's value, numbered; the first is what follows the colon.
type Fields<'a> = BTreeMap<String, Vec<(usize, &'a str)>>;

fn paragraph(text: &str) -> Result<Fields<'_>, ReleaseError> {
    let mut fields = Fields::new();
    let mut last: Option<String> = None;
    let mut ended = false;
    for (number, line) in text.lines().enumerate() {
        let number = number + 1;
        let bad = |reason| ReleaseError::Line { line: number, reason };
        if line.trim().is_empty() {
            ended = last.is_some();
        } else if ended {
            return Err(bad("a second paragraph begins"));
        } else if line.starts_with([' ', '\t']) {
            let field = last.as_ref().and_then(|name| fields.get_mut(name)).ok_or_else(|| bad("no field is open"))?;
            field.push((number, line.trim()));
        } else {
            let (name, value) = line.split_once(':').ok_or_else(|| bad("it has no colon"))?;
            let name = name.to_ascii_lowercase();
            if fields.insert(name.clone(), vec![(number, value.trim())]).is_some() {
                return Err(bad("the field stands twice"));
            }
            last = Some(name);
        }
    }
    Ok(fields)
}

/// Reads the list of SHA-256 digests, and holds the sizes of the other lists against it.
fn files(fields: &Fields<'_>) -> Result<BTreeMap<String, Listed>, ReleaseError> {
    let Some(lines) = fields.get("sha256") else {
        let weak = ["MD5Sum", "SHA1", "SHA512"].into_iter().filter(|name| fields.contains_key(&name.to_ascii_lowercase()));
        let weak = weak.collect::<Vec<_>>().join(" and ");
        return Err(if weak.is_empty() { ReleaseError::Empty } else { ReleaseError::Weak(weak) });
    };
    let mut files = BTreeMap::new();
    for (line, text) in lines.iter().filter(|(_, text)| !text.is_empty()) {
        let (digest, size_bytes, name) = entry(*line, text)?;
        let sha256 =
            Sha256::from_str(digest).map_err(|_| ReleaseError::Line { line: *line, reason: "it has no SHA-256 digest" })?;
        let listed = Listed { sha256, size_bytes };
        if files.insert(name.to_owned(), listed).is_some_and(|before| before != listed) {
            return Err(ReleaseError::Contradiction(name.to_owned()));
        }
    }
    for (line, text) in ["md5sum", "sha1", "sha512"].iter().filter_map(|name| fields.get(*name)).flatten() {
        if !text.is_empty() {
            let (_, size_bytes, name) = entry(*line, text)?;
            if files.get(name).is_some_and(|listed| listed.size_bytes != size_bytes) {
                return Err(ReleaseError::Contradiction(name.to_owned()));
            }
        }
    }
    Ok(files)
}

fn entry(line: usize, text: &str) -> Result<(&str, u64, &str), ReleaseError> {
    let mut words = text.split_whitespace();
    let parts = (words.next(), words.next().and_then(|size| size.parse().ok()), words.next(), words.next());
    match parts {
        (Some(digest), Some(size_bytes), Some(name), None) => Ok((digest, size_bytes, name)),
        _ => Err(ReleaseError::Line { line, reason: "it is not `DIGEST SIZE NAME`" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nOrigin: x \n- -dash\n\nend\n-----BEGIN PGP SIGNATURE-----\n\nAAAA\n-----END PGP SIGNATURE-----\n";

    #[test]
    fn a_frame_gives_exactly_what_is_signed() {
        let frame = split(GOOD.as_bytes()).expect("a good frame");
        assert_eq!(frame.text, b"Origin: x\n-dash\n\nend");
        assert_eq!(frame.signature, b"-----BEGIN PGP SIGNATURE-----\n\nAAAA\n-----END PGP SIGNATURE-----\n");
        assert_eq!(split(GOOD.trim_end().as_bytes()), Ok(frame));
    }

    #[test]
    fn d04_games_with_the_frame_are_refused() {
        let long = format!("{}{}", "x".repeat(LINE_BYTES_MAX + 1), "\n");
        let table = [
            ("", "empty"),
            ("Origin: x\n", "unsigned"),
            (&format!("Origin: evil\n{GOOD}"), "text before"),
            (&format!("\n{GOOD}"), "an empty line before"),
            (&format!("{GOOD}Origin: evil\n"), "text after"),
            (&format!("{GOOD}\n"), "an empty line after"),
            (&format!("{GOOD}{GOOD}"), "two messages"),
            (&GOOD.replace("\n", "\r\n"), "CR-LF"),
            (&GOOD.replace("end", "e\0d"), "NUL"),
            (&GOOD.replace("- -dash", "-dash"), "an unescaped dash"),
            (&GOOD.replace("end", "-----BEGIN PGP SIGNED MESSAGE-----"), "a message in the message"),
            (&GOOD.replace("AAAA", "-----BEGIN PGP SIGNATURE-----"), "a signature in the signature"),
            (&GOOD.replace("Hash: SHA256", "Comment: hi"), "another header"),
            (&GOOD.replace("Hash: SHA256\n", "Hash: SHA256\nOrigin: evil\n"), "text in the header"),
            (&GOOD.replace("-----END PGP SIGNATURE-----\n", ""), "truncated in the signature"),
            (GOOD.split_once("-----BEGIN PGP SIGNATURE").expect("there").0, "truncated in the text"),
            (&GOOD.replace("end\n", &long), "a long line"),
            (&GOOD.replace("AAAA\n", &"A\n".repeat(SIGNATURE_BYTES_MAX)), "a long signature"),
            (&GOOD.replace("MESSAGE-----", "MESSAGE----- "), "a blank behind the first line"),
        ];
        for (text, what) in table {
            assert!(split(text.as_bytes()).is_err(), "{what}");
        }
    }

    const DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_release_file_is_read() {
        let text = format!(
            "Origin: Debian\nSuite: stable\nCodename: trixie\nDate: Sat, 12 Sep 2026 07:55:41 UTC\nAcquire-By-Hash: yes\n\
             Architectures: all amd64\nComponents: main contrib\nNo-Support-for-Architecture-all: Packages\n\
             MD5Sum:\n d41d8cd98f00b204e9800998ecf8427e 0 main/binary-amd64/Packages\nSHA256:\n {DIGEST}   0 main/binary-amd64/Packages\n"
        );
        let release = parse(text.as_bytes()).expect("a release file");
        assert_eq!(release.codename.as_deref(), Some("trixie"));
        assert_eq!(release.date.map(date::show).as_deref(), Some("2026-09-12 07:55 UTC"));
        assert!(release.by_hash && release.all_is_included && release.valid_until.is_none());
        assert_eq!(release.files["main/binary-amd64/Packages"].size_bytes, 0);
    }

    #[test]
    fn d09_weak_and_contradictory_digests_are_refused() {
        let md5 = "MD5Sum:\n d41d8cd98f00b204e9800998ecf8427e 0 Packages\n";
        assert_eq!(parse(md5.as_bytes()), Err(ReleaseError::Weak("MD5Sum".to_owned())));
        assert_eq!(parse(b"Origin: x\n"), Err(ReleaseError::Empty));
        let other = DIGEST.replace('e', "f");
        for text in [
            format!("SHA256:\n {DIGEST} 0 Packages\n {other} 0 Packages\n"),
            format!("SHA256:\n {DIGEST} 0 Packages\n {DIGEST} 1 Packages\n"),
            format!("{}SHA256:\n {DIGEST} 1 Packages\n", md5),
        ] {
            assert_eq!(parse(text.as_bytes()), Err(ReleaseError::Contradiction("Packages".to_owned())), "{text}");
        }
        assert!(parse(format!("SHA256:\n {DIGEST} 0 Packages\n {DIGEST} 0 Packages\n").as_bytes()).is_ok());
    }

    #[test]
    fn what_is_no_release_file_is_refused() {
        for text in [
            "SHA256:\n abc 0 Packages\n",
            "SHA256:\n x\n",
            " lost\n",
            "no colon\n",
            "A: 1\nA: 2\n",
            "A: 1\n\nB: 2\n",
            "Date: soon\nSHA256:\n",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(parse(b"Origin: \xff\n").is_err());
    }
}
