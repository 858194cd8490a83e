//! Addresses of repositories and the names below them: what is fetched can never leave its base.

use std::fmt;
use std::path::PathBuf;

use crate::base::limit;
use crate::base::trust::hide_password;
use crate::package::Location;

/// The root below which a repository's names lie.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Base {
    /// A web address without a slash at its end.
    Url(String),
    /// A directory of this machine.
    Dir(PathBuf),
}

impl Base {
    /// Reads a URI of a sources line, or a plain absolute path. `http`, `https`, `file` and `copy` are known.
    pub fn parse(text: &str) -> Result<Self, BadSource> {
        let wrong = |reason: &str| BadSource::Uri { uri: text.chars().take(200).collect(), reason: reason.to_owned() };
        if text.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err(wrong("it holds a space or a control character"));
        }
        let trimmed = text.trim_end_matches('/');
        if let Some(rest) = text.strip_prefix("file:").or_else(|| text.strip_prefix("copy:")) {
            let path = rest.strip_prefix("//").map_or(rest, |rest| rest.strip_prefix("localhost").unwrap_or(rest));
            let path = unescape(path).ok_or_else(|| wrong("its percent signs are not followed by two hexadecimal digits"))?;
            return path
                .starts_with('/')
                .then(|| Base::Dir(clean(&path)))
                .ok_or_else(|| wrong("a `file:` path must be absolute"));
        }
        let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        match scheme.as_deref() {
            Some("http" | "https") => match trimmed.split_once("://").map(|(_, rest)| rest) {
                Some(rest) if !rest.is_empty() && !rest.starts_with('/') => Ok(Base::Url(trimmed.to_owned())),
                _ => Err(wrong("it names no host")),
            },
            Some(other) => Err(wrong(&format!("`{other}` is not a way to fetch: use http, https or file"))),
            None if text.starts_with('/') => Ok(Base::Dir(clean(text))),
            None => Err(wrong("it is neither a URL nor an absolute path")),
        }
    }

    /// Returns where a name of the repository's metadata lies. What could leave the root is refused.
    pub fn join(&self, name: &str) -> Result<Location, BadName> {
        let name = checked(name)?;
        Ok(match self {
            Base::Url(url) if name.is_empty() => Location::Url(url.clone()),
            Base::Url(url) => Location::Url(format!("{url}/{}", escape(&name))),
            Base::Dir(dir) => Location::File(dir.join(name)),
        })
    }
}

impl From<&Base> for Location {
    fn from(base: &Base) -> Location {
        match base {
            Base::Url(url) => Location::Url(url.clone()),
            Base::Dir(dir) => Location::File(dir.clone()),
        }
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Base::Url(url) => f.write_str(&hide_password(url)),
            Base::Dir(dir) => write!(f, "file:{}", dir.display()),
        }
    }
}

/// A name in a repository's metadata is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the file name `{}` is refused: {reason}", .name.escape_debug())]
pub struct BadName {
    /// The name, cut to 200 characters.
    pub name: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Checks a relative name and drops its `.` components.
pub(super) fn checked(name: &str) -> Result<String, BadName> {
    let wrong = |reason| BadName { name: name.chars().take(200).collect(), reason };
    if name.len() > limit::PATH_BYTES_MAX {
        return Err(wrong("it is longer than a path can be"));
    }
    if name.chars().any(|c| c.is_control() || c == '\\') {
        return Err(wrong("it holds a control character or a backslash"));
    }
    if name.starts_with('/') {
        return Err(wrong("it is absolute"));
    }
    let lower = name.to_ascii_lowercase();
    if ["%2e", "%2f", "%00", "%5c"].iter().any(|escape| lower.contains(escape)) {
        return Err(wrong("it hides dots or slashes behind percent signs"));
    }
    if name.contains(['?', '#']) || name.contains("://") {
        return Err(wrong("it is a URL, not a name"));
    }
    let components = name.split('/').filter(|component| !component.is_empty() && *component != ".").collect::<Vec<_>>();
    if components.contains(&"..") {
        return Err(wrong("it leaves the repository"));
    }
    Ok(components.join("/"))
}

/// Escapes what may stand in a file name but not in a URL. A `%` stays: archives write names as they are requested.
pub(super) fn escape(name: &str) -> String {
    let mut url = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => url.push(byte as char),
            b'/' | b'-' | b'.' | b'_' | b'~' | b'+' | b':' | b'=' | b'@' | b'%' | b',' | b'!' | b'(' | b')' => {
                url.push(byte as char)
            }
            _ => url.push_str(&format!("%{byte:02X}")),
        }
    }
    url
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || (rest.next()? as char).to_digit(16);
            bytes.push((digit()? * 16 + digit()?) as u8);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// Drops `.` components and doubled slashes of an absolute path; `..` stays, it is the user's own.
fn clean(path: &str) -> PathBuf {
    let parts = path.split('/').filter(|part| !part.is_empty() && *part != ".");
    PathBuf::from(format!("/{}", parts.collect::<Vec<_>>().join("/")))
}

/// A source cannot be used as it was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSource {
    /// The address.
    #[error("`{uri}` cannot be used as a repository: {reason}")]
    Uri {
        /// The address as written.
        uri: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The line or stanza.
    #[error("the source is incomplete: {0}")]
    Incomplete(String),
    /// An option or field has a value that it cannot have.
    #[error("`{value}` cannot be the value of `{field}`")]
    Value {
        /// The option or field.
        field: String,
        /// The value.
        value: String,
    },
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn d12_names_stay_below_the_base() {
        let (web, local) = (Base::Url("http://m/d".to_owned()), Base::Dir("/srv".into()));
        for (name, url) in [
            ("pool/a/x_1.0+b~2_amd64.deb", Some("http://m/d/pool/a/x_1.0+b~2_amd64.deb")),
            ("./x.deb", Some("http://m/d/x.deb")),
            ("a//b", Some("http://m/d/a/b")),
            ("x_1%3a2.deb", Some("http://m/d/x_1%3a2.deb")),
            ("a b.deb", Some("http://m/d/a%20b.deb")),
            ("/etc/passwd", None),
            ("../x", None),
            ("a/../../x", None),
            ("a/%2e%2E/x", None),
            ("a%2fb", None),
            ("a\0b", None),
            ("a\nb", None),
            ("a\\..\\b", None),
            ("x?y", None),
            ("x#y", None),
            ("http://evil/x", None),
        ] {
            assert_eq!(web.join(name).ok(), url.map(|url| Location::Url(url.to_owned())), "{name:?}");
            assert_eq!(local.join(name).is_ok(), url.is_some(), "{name:?}");
        }
        assert!(web.join(&"x".repeat(5_000)).is_err());
        assert_eq!(local.join("a b"), Ok(Location::File(Path::new("/srv/a b").into())));
    }
}
