//! The text format of sync and local databases: `%FIELD%` on a line, its values on the next ones, a blank line after them.
//!
//! Format: libalpm's databases as repo-add(8) writes them. A field that is not known is passed over, and a value is any text: the
//! packager needs no address, and nobody promises a signature.

use memchr::memchr;

/// One entry's text.
#[derive(Debug, Clone, Copy)]
pub struct Desc<'a>(pub &'a [u8]);

/// A field: its name without percent signs, and the lines of its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name: `DEPENDS`.
    pub name: &'a [u8],
    /// The values with the line ends between them.
    pub body: &'a [u8],
}

impl<'a> Field<'a> {
    /// Returns the values, one a line.
    pub fn values(self) -> impl Iterator<Item = &'a [u8]> {
        self.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
    }
}

impl<'a> Desc<'a> {
    /// Returns the fields in their order.
    pub fn fields(self) -> impl Iterator<Item = Field<'a>> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            loop {
                let (line, after) = line(rest)?;
                rest = after;
                let Some(name) = line.strip_prefix(b"%").and_then(|line| line.strip_suffix(b"%")).filter(|name| !name.is_empty())
                else {
                    continue;
                };
                let start = rest;
                while let Some((line, after)) = self::line(rest)
                    && !line.is_empty()
                {
                    rest = after;
                }
                return Some(Field { name, body: &start[..start.len() - rest.len()] });
            }
        })
    }

    /// Returns the values of a field; none if it is absent. One that stands twice has the values of both.
    pub fn values(self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
        self.fields().filter(move |field| field.name == name.as_bytes()).flat_map(Field::values)
    }

    /// Returns the first value of a field.
    pub fn value(self, name: &'static str) -> Option<&'a [u8]> {
        self.values(name).next()
    }
}

fn line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    if text.is_empty() {
        return None;
    }
    Some(match memchr(b'\n', text) {
        Some(end) => (&text[..end], &text[end + 1..]),
        None => (text, &[]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_fields_lists_and_an_end_without_a_blank_line() {
        let desc = Desc(b"%NAME%\nbash\n\n%DEPENDS%\nreadline>=7\nglibc\n\n%EMPTY%\n\n%PACKAGER%\nUnknown Packager");
        let names: Vec<&[u8]> = desc.fields().map(|field| field.name).collect();
        assert_eq!(names, [&b"NAME"[..], b"DEPENDS", b"EMPTY", b"PACKAGER"]);
        assert_eq!(desc.values("DEPENDS").collect::<Vec<_>>(), [&b"readline>=7"[..], b"glibc"]);
        assert_eq!(desc.value("PACKAGER"), Some(&b"Unknown Packager"[..]));
        assert_eq!(desc.value("EMPTY"), None);
        assert_eq!(desc.value("PGPSIG"), None);
    }

    #[test]
    fn text_without_fields_has_none() {
        for text in [&b""[..], b"\n\n", b"NAME\nbash\n", b"%%\nx\n", b"%\n"] {
            assert_eq!(Desc(text).fields().count(), 0, "{}", text.escape_ascii());
        }
    }
}
