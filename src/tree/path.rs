//! Paths inside a root: relative, normalised, unable to leave it (invariant 4).

use std::fmt;

use serde::{Serialize, Serializer};

use crate::base::limit;

/// A path inside a root: bytes without a leading or trailing slash, without `.`, `..`, empty components or NUL.
///
/// The empty path is the root itself. The order is that of the bytes, so a directory always comes before what is in it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TreePath(Box<[u8]>);

/// Why a name out of an archive or a configuration file cannot be a path in the tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the path `{path}` is refused: {reason}")]
pub struct BadPath {
    /// The name as found, control characters escaped.
    pub path: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl TreePath {
    /// Returns the root.
    pub fn root() -> Self {
        Self::default()
    }

    /// Reads a path, dropping leading slashes, `.` components and repeated or trailing slashes.
    ///
    /// `..`, NUL bytes, control characters that would forge a log line, and names longer than the kernel allows are refused.
    pub fn parse(raw: &[u8]) -> Result<Self, BadPath> {
        let wrong = |reason| BadPath { path: raw.escape_ascii().to_string().chars().take(200).collect(), reason };
        if raw.iter().any(|byte| matches!(byte, 0 | b'\n' | b'\r' | 0x1b)) {
            return Err(wrong("it contains a control character"));
        }
        let mut clean = Vec::with_capacity(raw.len());
        for component in raw.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => return Err(wrong("it contains `..`")),
                long if long.len() > limit::NAME_BYTES_MAX => return Err(wrong("a component is longer than 255 bytes")),
                _ => {}
            }
            if !clean.is_empty() {
                clean.push(b'/');
            }
            clean.extend_from_slice(component);
        }
        if clean.len() > limit::PATH_BYTES_MAX {
            return Err(wrong("it is longer than 4095 bytes"));
        }
        Ok(Self(clean.into()))
    }

    /// Returns a path that this program itself names.
    ///
    /// # Panics
    ///
    /// When the literal is not a path: a defect of the caller.
    pub fn literal(text: &str) -> Self {
        Self::parse(text.as_bytes()).expect("invariant: path literals are well-formed")
    }

    /// Returns the bytes, without a leading slash.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the path as text if it is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// Tells whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the directory this is in; the root is in none.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        Some(Self(self.0[..end].into()))
    }

    /// Returns the last component; empty for the root.
    pub fn name(&self) -> &[u8] {
        let start = self.0.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        &self.0[start..]
    }

    /// Returns the components in order.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|component| !component.is_empty())
    }

    /// Returns this path with `below` under it.
    pub fn join(&self, below: &[u8]) -> Result<Self, BadPath> {
        Self::parse(&[&self.0, &b"/"[..], below].concat())
    }

    /// Tells whether this is `directory` or lies below it.
    pub fn is_under(&self, directory: &TreePath) -> bool {
        self.relative_to(directory).is_some()
    }

    /// Returns what follows `directory/`, or nothing when this is not below it; empty when they are the same.
    pub fn relative_to(&self, directory: &TreePath) -> Option<&[u8]> {
        if directory.is_root() {
            return Some(&self.0);
        }
        match self.0.strip_prefix(&*directory.0)? {
            b"" => Some(b""),
            [b'/', rest @ ..] => Some(rest),
            _ => None,
        }
    }

    /// Returns what a symlink at this path says that leads to `target`: `bin` at `usr/sbin` for `usr/bin`.
    pub fn link_text(&self, target: &TreePath) -> Vec<u8> {
        let (own, other): (Vec<&[u8]>, Vec<&[u8]>) = (self.components().collect(), target.components().collect());
        let shared = own.iter().zip(&other).take_while(|(a, b)| a == b).count().min(own.len().saturating_sub(1));
        let up = own.len().saturating_sub(shared + 1);
        let parts: Vec<&[u8]> = std::iter::repeat_n(&b".."[..], up).chain(other[shared..].iter().copied()).collect();
        parts.join(&b'/')
    }

    /// Returns where a symlink at this path points, seen from inside the root: `..` stops at the root as it does for a chroot.
    pub fn link_target(&self, target: &[u8]) -> Result<Self, BadPath> {
        let mut components: Vec<&[u8]> = match target.first() {
            Some(b'/') => Vec::new(),
            _ => self.components().take(self.components().count().saturating_sub(1)).collect(),
        };
        for component in target.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => {}
                b".." => {
                    components.pop();
                }
                name => components.push(name),
            }
        }
        Self::parse(&components.join(&b'/'))
    }
}

impl fmt::Display for TreePath {
    /// Shows the path with its leading slash; what is not printable is escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_str() {
            Some(text) => write!(f, "/{text}"),
            None => write!(f, "/{}", self.0.escape_ascii()),
        }
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for TreePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised_or_refused() {
        let table: [(&[u8], Option<&str>); 13] = [
            (b"usr/bin/less", Some("/usr/bin/less")),
            (b"/usr//bin/./less/", Some("/usr/bin/less")),
            (b"./././x", Some("/x")),
            (b"", Some("/")),
            (b"./", Some("/")),
            (b"a..b/..c", Some("/a..b/..c")),
            (b"../x", None),
            (b"a/../../x", None),
            (b"a/..", None),
            (b"a\0b", None),
            (b"a\nb", None),
            (b"a\x1b[2Jb", None),
            (&[b'x'; 256], None),
        ];
        for (raw, expected) in table {
            let found = TreePath::parse(raw).ok().map(|path| path.to_string());
            assert_eq!(found.as_deref(), expected, "{}", raw.escape_ascii());
        }
    }

    #[test]
    fn links_stay_inside_the_root() {
        let table = [
            ("usr/bin/sh", "dash", "/usr/bin/dash"),
            ("usr/bin/sh", "/bin/dash", "/bin/dash"),
            ("usr/lib/a/b", "../c", "/usr/lib/c"),
            ("a", "../../../etc/shadow", "/etc/shadow"),
            ("var/run", "../run", "/run"),
        ];
        for (link, target, expected) in table {
            assert_eq!(TreePath::literal(link).link_target(target.as_bytes()).expect("a path").to_string(), expected);
        }
    }

    #[test]
    fn links_are_written_from_where_they_are() {
        let table = [
            ("sbin", "usr/bin", "usr/bin"),
            ("usr/sbin", "usr/bin", "bin"),
            ("etc/lvm/lvm.conf", "usr/etc/lvm/lvm.conf", "../../usr/etc/lvm/lvm.conf"),
            ("a/b", "a/c/d", "c/d"),
        ];
        for (link, target, expected) in table {
            let (link, target) = (TreePath::literal(link), TreePath::literal(target));
            let text = link.link_text(&target);
            assert_eq!(text, expected.as_bytes(), "{link}");
            assert_eq!(link.link_target(&text).expect("a path"), target);
        }
    }

    #[test]
    fn below_is_by_component() {
        let lib = TreePath::literal("usr/lib");
        for (path, expected) in [("usr/lib", true), ("usr/lib/x", true), ("usr/lib64", false), ("usr", false)] {
            assert_eq!(TreePath::literal(path).is_under(&lib), expected, "{path}");
        }
        assert!(lib.is_under(&TreePath::root()));
        assert_eq!(TreePath::root().parent(), None);
        assert_eq!(TreePath::literal("usr").parent(), Some(TreePath::root()));
    }
}
