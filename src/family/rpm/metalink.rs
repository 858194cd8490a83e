//! Lists of mirrors: metalinks, which also hold the digests of `repomd.xml`, and plain lists of addresses.
//!
//! Format: <https://www.metalinker.org/> version 3 with MirrorManager's `mm0:alternates`, the earlier `repomd.xml` that some mirrors still have.

use super::xml::{self, Scanner};
use crate::base::digest::{Sha256, sha512};
use crate::family::address::Base;

/// Mirrors of one repository. Fedora's list has 150.
const MIRRORS_MAX: usize = 10_000;
/// What the address of a mirror ends in, in a metalink.
const LIST: &str = "repodata/repomd.xml";

/// A list of mirrors.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mirrors {
    /// The directories above `repodata`, the best first.
    pub bases: Vec<Base>,
    /// What `repomd.xml` may be; anything where the list says nothing of it.
    pub accepted: Option<Vec<Accepted>>,
}

/// A `repomd.xml` that a metalink knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Accepted {
    size_bytes: Option<u64>,
    sha256: Option<Sha256>,
    sha512: Option<[u8; 64]>,
}

impl Accepted {
    fn is(&self, bytes: &[u8]) -> bool {
        let is_right_size = self.size_bytes.is_none_or(|size_bytes| size_bytes == bytes.len() as u64);
        let by_sha512 = self.sha512.map(|digest| digest == sha512(bytes));
        let by_sha256 = self.sha256.map(|digest| digest == Sha256::of(bytes));
        // All that is said must be right, and one of these must be said.
        is_right_size && (by_sha512.is_some() || by_sha256.is_some()) && by_sha512 != Some(false) && by_sha256 != Some(false)
    }
}

impl Mirrors {
    /// Tells whether the list has nothing against this `repomd.xml`.
    pub fn accepts(&self, bytes: &[u8]) -> bool {
        self.accepted.as_ref().is_none_or(|accepted| accepted.iter().any(|one| one.is(bytes)))
    }
}

/// Reads a plain list: an address a line.
pub fn plain(text: &[u8]) -> Result<Mirrors, String> {
    let text = String::from_utf8_lossy(text);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let bases: Vec<Base> = lines.filter_map(|line| Base::parse(line).ok()).filter(is_remote).take(MIRRORS_MAX).collect();
    if bases.is_empty() {
        return Err("it has no address over http or https".to_owned());
    }
    Ok(Mirrors { bases, accepted: None })
}

/// A list from the network says nothing of this machine's files.
fn is_remote(base: &Base) -> bool {
    matches!(base, Base::Url(_))
}

/// An address of a metalink.
struct Address {
    preference: u32,
    is_secure: bool,
    base: Base,
}

/// Reads a metalink. One without a SHA-256 or SHA-512 of `repomd.xml` is refused: it would prove nothing.
pub fn metalink(text: &[u8]) -> Result<Mirrors, String> {
    let wrong = |flaw: xml::Flaw| format!("{} (at byte {})", flaw.what, flaw.at);
    let mut scanner = Scanner::new(text, 0);
    let (mut addresses, mut accepted) = (Vec::new(), Vec::new());
    let mut is_ours = false;
    while let Some(tag) = scanner.tag().map_err(wrong)? {
        match (tag.name, tag.is_end) {
            (b"file", false) => {
                is_ours = tag.get(b"name").is_some_and(|name| name == b"repomd.xml");
                if is_ours {
                    accepted.push(Accepted::default());
                }
            }
            (b"file", true) => is_ours = false,
            _ if !is_ours => {}
            // One inside `mm0:alternates`.
            (b"alternate", false) => accepted.push(Accepted::default()),
            (b"size", false) => {
                let size = decoded(scanner.text()).parse().map_err(|_| "a size is no number".to_owned())?;
                accepted.last_mut().ok_or("a size belongs to nothing")?.size_bytes = Some(size);
            }
            (b"hash", false) => {
                let one = accepted.last_mut().ok_or("a digest belongs to nothing")?;
                hash(one, tag.get(b"type").unwrap_or_default(), &decoded(scanner.text()))?;
            }
            (b"url", false) if addresses.len() < MIRRORS_MAX => addresses.extend(address(&tag, &decoded(scanner.text()))),
            _ => {}
        }
    }
    accepted.retain(|one| one.sha256.is_some() || one.sha512.is_some());
    if accepted.is_empty() {
        return Err("it has neither a SHA-256 nor a SHA-512 of `repomd.xml`".to_owned());
    }
    if addresses.is_empty() {
        return Err("it has no address over http or https".to_owned());
    }
    addresses.sort_by_key(|address| (std::cmp::Reverse(address.preference), !address.is_secure));
    let mut bases: Vec<Base> = Vec::new();
    for address in addresses {
        if !bases.contains(&address.base) {
            bases.push(address.base);
        }
    }
    Ok(Mirrors { bases, accepted: Some(accepted) })
}

fn decoded(raw: &[u8]) -> String {
    String::from_utf8_lossy(&xml::decode(raw.trim_ascii())).into_owned()
}

fn address(tag: &xml::Tag<'_>, url: &str) -> Option<Address> {
    let base = Base::parse(url.strip_suffix(LIST)?).ok().filter(is_remote)?;
    let preference = tag.get(b"preference").and_then(|text| std::str::from_utf8(text).ok()?.parse().ok()).unwrap_or(0);
    Some(Address { preference, is_secure: url.starts_with("https:"), base })
}

fn hash(one: &mut Accepted, kind: &[u8], digest: &str) -> Result<(), String> {
    match kind {
        b"sha256" => one.sha256 = Some(digest.parse().map_err(|_| format!("`{digest}` is no sha256 digest"))?),
        b"sha512" => {
            let mut bytes = [0; 64];
            let is_hex = digest.len() == 128 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
            let pairs = is_hex.then_some(digest.as_bytes().as_chunks::<2>().0).ok_or("a sha512 digest is none")?;
            for (byte, pair) in bytes.iter_mut().zip(pairs) {
                let digit = |at: usize| char::from(pair[at]).to_digit(16).unwrap_or_default() as u8;
                *byte = digit(0) << 4 | digit(1);
            }
            one.sha512 = Some(bytes);
        }
        // MD5 and SHA-1 prove nothing.
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn text(new: &[u8], old: &[u8], kind: &str) -> String {
        let digest = |bytes: &[u8]| if kind == "sha512" { hex(&sha512(bytes)) } else { Sha256::of(bytes).to_string() };
        format!(
            "<?xml version=\"1.0\"?><metalink xmlns:mm0=\"m\"><files><file name=\"other\"><size>1</size></file>\
             <file name=\"repomd.xml\"><mm0:timestamp>1</mm0:timestamp><size>{}</size><verification><hash type=\"md5\">x</hash>\
             <hash type=\"{kind}\">{}</hash></verification><mm0:alternates><mm0:alternate><size>{}</size><verification>\
             <hash type=\"{kind}\">{}</hash></verification></mm0:alternate></mm0:alternates><resources>\
             <url protocol=\"rsync\" preference=\"100\">rsync://r/repodata/repomd.xml</url>\
             <url protocol=\"http\" preference=\"99\">http://a/x/repodata/repomd.xml</url>\
             <url protocol=\"https\" preference=\"99\">https://a/x/repodata/repomd.xml</url>\
             <url protocol=\"https\" preference=\"100\">https://b/y&amp;z/repodata/repomd.xml</url>\
             <url protocol=\"file\" preference=\"100\">file:///etc/repodata/repomd.xml</url>\
             </resources></file></files></metalink>",
            new.len(),
            digest(new),
            old.len(),
            digest(old),
        )
    }

    #[test]
    fn the_newest_and_the_alternates_are_accepted_and_nothing_else() {
        for kind in ["sha256", "sha512"] {
            let mirrors = metalink(text(b"new", b"older", kind).as_bytes()).expect("a metalink");
            let shown: Vec<String> = mirrors.bases.iter().map(ToString::to_string).collect();
            assert_eq!(shown, ["https://b/y&z", "https://a/x", "http://a/x"]);
            assert!(mirrors.accepts(b"new") && mirrors.accepts(b"older"));
            assert!(!mirrors.accepts(b"nww") && !mirrors.accepts(b"") && !mirrors.accepts(b"newer"));
        }
    }

    #[test]
    fn what_proves_nothing_is_refused() {
        for (text, wanted) in [
            (text(b"a", b"b", "sha1"), "neither a SHA-256"),
            (text(b"a", b"b", "sha256").replace("repodata/repomd.xml", "x"), "no address"),
            (text(b"a", b"b", "sha256").replace("<size>1<", "<size>x<"), "no number"),
            ("<metalink>".to_owned(), "neither"),
            ("<!DOCTYPE a><metalink/>".to_owned(), "document type"),
        ] {
            let refused = metalink(text.as_bytes()).expect_err("it must be refused");
            assert!(refused.contains(wanted), "{refused}");
        }
    }

    #[test]
    fn a_plain_list_has_an_address_a_line() {
        let list = plain(b"# c\nhttp://a/x/\n\n https://b\nrsync://c\nfile:///etc\n").expect("a list");
        assert_eq!(list.bases, [Base::Url("http://a/x".into()), Base::Url("https://b".into())]);
        assert!(list.accepts(b"anything"));
        assert!(plain(b"<html>no</html>").is_err() && plain(b"").is_err());
    }
}
