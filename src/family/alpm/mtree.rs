//! Reads `.MTREE`, the list of everything in a package, and compares the package with it.
//!
//! Format: mtree(5) as bsdtar writes it, each path in full. `/set` gives what holds for all entries after it.

use std::collections::BTreeMap;

use crate::base::digest::Sha256;
use crate::family::ReadError;
use crate::tree::TreePath;

/// What an entry or a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Dir,
    /// A file, be it by another name of one.
    File,
    /// A symbolic link.
    Link,
    /// Anything else: devices and pipes.
    Other,
}

impl Kind {
    fn text(self) -> &'static str {
        match self {
            Kind::Dir => "a directory",
            Kind::File => "a file",
            Kind::Link => "a symbolic link",
            Kind::Other => "a device or pipe",
        }
    }
}

/// What the list says of a path; what it does not say is not compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    /// What it is.
    pub kind: Option<Kind>,
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Time, seconds since 1970.
    pub mtime_s: Option<i64>,
    size_bytes: Option<u64>,
    /// The digest of a file's content.
    pub sha256: Option<Sha256>,
    /// Where a symbolic link leads.
    pub link: Option<Vec<u8>>,
}

/// What the package has at a path.
#[derive(Debug, Clone)]
pub struct Found {
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time, seconds since 1970.
    pub mtime_s: i64,
    /// Size and digest of a file's content.
    pub content: Option<(u64, Sha256)>,
    /// Where a symbolic link leads.
    pub link: Vec<u8>,
}

/// The list of a package.
pub type Mtree = BTreeMap<TreePath, Listed>;

/// Reads the list.
pub fn parse(text: &[u8]) -> Result<Mtree, ReadError> {
    let mut list = Mtree::new();
    let mut all = Listed::default();
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let wrong = |detail: &str| ReadError::Format(format!("line {} of `.MTREE` {detail}", number + 1));
        let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        match words.next() {
            None | Some([b'#', ..]) => {}
            Some(b"/set") => words.try_for_each(|word| all.set(word)).map_err(|field| wrong(&malformed(&field)))?,
            Some(b"/unset") => words.for_each(|word| all.unset(word)),
            Some([b'/', ..]) => return Err(wrong("is no command of mtree that packages use")),
            Some(path) => {
                let mut listed = all.clone();
                words.try_for_each(|word| listed.set(word)).map_err(|field| wrong(&malformed(&field)))?;
                let path = unescape(path).ok_or_else(|| wrong("has a malformed escape in its path"))?;
                let path = TreePath::parse(&path)?;
                if list.contains_key(&path) {
                    return Err(wrong(&format!("names `{path}` a second time")));
                }
                list.insert(path, listed);
            }
        }
    }
    Ok(list)
}

fn malformed(field: &str) -> String {
    format!("has a malformed `{field}`")
}

impl Listed {
    /// Takes a word `key=value`; keys that say nothing about a package's content are passed over.
    fn set(&mut self, word: &[u8]) -> Result<(), String> {
        let equals = word.iter().position(|byte| *byte == b'=').unwrap_or(word.len());
        let (key, value) = (&word[..equals], word.get(equals + 1..).unwrap_or_default());
        let text = std::str::from_utf8(value).ok();
        let number = |radix| text.and_then(|text| u64::from_str_radix(text, radix).ok());
        let id = || number(10).and_then(|number| u32::try_from(number).ok());
        let taken = match key {
            b"type" => {
                self.kind = Some(match value {
                    b"dir" => Kind::Dir,
                    b"file" => Kind::File,
                    b"link" => Kind::Link,
                    _ => Kind::Other,
                });
                true
            }
            b"mode" => {
                self.mode = number(8).and_then(|mode| u32::try_from(mode).ok()).filter(|mode| *mode <= 0o7777);
                self.mode.is_some()
            }
            b"uid" => {
                self.uid = id();
                self.uid.is_some()
            }
            b"gid" => {
                self.gid = id();
                self.gid.is_some()
            }
            b"size" => {
                self.size_bytes = number(10);
                self.size_bytes.is_some()
            }
            b"time" => {
                // What stands behind the point is not written the same way by all versions of bsdtar.
                let seconds = text.and_then(|text| text.split('.').next());
                self.mtime_s = seconds.and_then(|seconds| seconds.parse().ok());
                self.mtime_s.is_some()
            }
            b"sha256digest" | b"sha256" => {
                self.sha256 = text.and_then(|text| text.parse().ok());
                self.sha256.is_some()
            }
            b"link" => {
                self.link = unescape(value);
                self.link.is_some()
            }
            _ => true,
        };
        if taken { Ok(()) } else { Err(String::from_utf8_lossy(key).into_owned()) }
    }

    fn unset(&mut self, key: &[u8]) {
        match key {
            b"type" => self.kind = None,
            b"mode" => self.mode = None,
            b"uid" => self.uid = None,
            b"gid" => self.gid = None,
            b"all" => *self = Self::default(),
            _ => {}
        }
    }

    /// Returns what differs: what it is, what the list says, what the package has.
    fn difference(&self, found: &Found) -> Option<(&'static str, String, String)> {
        let differs = |what, wanted: Option<String>, found: String| {
            wanted.filter(|wanted| *wanted != found).map(|wanted| (what, wanted, found))
        };
        let octal = |mode: u32| format!("{mode:04o}");
        let decimal = |number: u64| number.to_string();
        let mut difference = differs("type", self.kind.map(|kind| kind.text().to_owned()), found.kind.text().to_owned())
            .or_else(|| differs("owner", self.uid.map(|id| id.to_string()), found.uid.to_string()))
            .or_else(|| differs("group", self.gid.map(|id| id.to_string()), found.gid.to_string()))
            .or_else(|| differs("time", self.mtime_s.map(|time| time.to_string()), found.mtime_s.to_string()));
        if found.kind != Kind::Link {
            // A link's permissions are those of the system that made the package.
            difference = difference.or_else(|| differs("permissions", self.mode.map(octal), octal(found.mode)));
        }
        if let Some((size_bytes, sha256)) = &found.content {
            difference = difference
                .or_else(|| differs("size", self.size_bytes.map(decimal), decimal(*size_bytes)))
                .or_else(|| differs("SHA-256", self.sha256.map(|digest| digest.to_string()), sha256.to_string()));
        }
        let shown = |link: &Vec<u8>| link.escape_ascii().to_string();
        difference.or_else(|| match found.kind {
            Kind::Link => differs("target", self.link.as_ref().map(shown), shown(&found.link)),
            _ => None,
        })
    }
}

/// Resolves `\ooo`, which stands for what a line cannot hold; `None` if something else follows a backslash.
fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            plain.push(byte);
        } else if let Some((digits, after)) = rest.split_first_chunk::<3>()
            && digits.iter().all(|digit| (b'0'..=b'7').contains(digit))
        {
            let code = digits.iter().fold(0_u32, |code, digit| code * 8 + u32::from(digit - b'0'));
            plain.push(u8::try_from(code).ok()?);
            rest = after;
        } else {
            plain.push(*rest.first().filter(|byte| **byte == b'\\')?);
            rest = &rest[1..];
        }
    }
    Some(plain)
}

/// Compares a package with its list: both name the same, and nothing that the list says is different.
pub fn check(list: &Mtree, package: &BTreeMap<TreePath, Found>) -> Result<(), ReadError> {
    for (path, found) in package {
        match list.get(path) {
            Some(listed) => {
                if let Some((what, wanted, found)) = listed.difference(found) {
                    let text = format!("`{path}` differs from `.MTREE` in its {what}: {found}, wanted {wanted}");
                    return Err(ReadError::Format(text));
                }
            }
            // What is not installed need not be listed.
            None if super::read::is_metadata(path) => {}
            None => return Err(ReadError::Format(format!("`{path}` is in the package, and `.MTREE` does not list it"))),
        }
    }
    match list.keys().find(|path| !package.contains_key(path)) {
        Some(path) => Err(ReadError::Format(format!("`.MTREE` lists `{path}`, which is not in the package"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_hold_until_they_are_set_anew() {
        let text = b"#mtree\n/set type=file uid=0 gid=0 mode=644\n./.PKGINFO time=1.5 size=3\n/set mode=755\n\
            ./usr time=2.0 type=dir\n./usr/a\\040b mode=4755 link=x\\134y\n/unset mode\n./z\n";
        let list = parse(text).expect("a list");
        let get = |path: &str| &list[&TreePath::literal(path)];
        assert_eq!(
            (get(".PKGINFO").mode, get(".PKGINFO").mtime_s, get(".PKGINFO").kind),
            (Some(0o644), Some(1), Some(Kind::File))
        );
        assert_eq!((get("usr").mode, get("usr").kind), (Some(0o755), Some(Kind::Dir)));
        assert_eq!((get("usr/a b").mode, get("usr/a b").link.as_deref()), (Some(0o4755), Some(&b"x\\y"[..])));
        assert_eq!((get("z").mode, get("z").uid), (None, Some(0)));
    }

    #[test]
    fn what_is_malformed_is_named_with_its_line() {
        for (text, wanted) in [
            ("./a mode=9", "line 1 of `.MTREE` has a malformed `mode`"),
            ("\n./a sha256digest=00", "line 2 of `.MTREE` has a malformed `sha256digest`"),
            ("./a\\04", "line 1 of `.MTREE` has a malformed escape in its path"),
            ("./a\n./a", "line 2 of `.MTREE` names `/a` a second time"),
            ("/include x", "line 1 of `.MTREE` is no command of mtree that packages use"),
            ("./../a", "the path `./../a` is refused: it contains `..`"),
        ] {
            assert_eq!(parse(text.as_bytes()).expect_err(text).to_string(), wanted);
        }
    }
}
