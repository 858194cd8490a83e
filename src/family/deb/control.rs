//! Reads deb822 text: paragraphs of fields with folded lines, as in control files, `Packages`, `Release` and `.sources`.
//!
//! Nothing is copied: a value is the bytes as they stand, continuation lines included. Format: deb822(5).

use memchr::{memchr, memmem};

/// Returns the paragraphs of a text, which blank lines separate.
pub fn paragraphs(text: &[u8]) -> impl Iterator<Item = Paragraph<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (paragraph, after) = split_paragraph(rest)?;
        rest = after;
        Some(paragraph)
    })
}

/// One paragraph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paragraph<'a>(&'a [u8]);

impl<'a> Paragraph<'a> {
    /// Takes bytes that are one paragraph, without looking at them.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes as they stand.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// Returns the fields in their order. Lines that are neither field nor continuation are left out, as are comments.
    pub fn fields(self) -> impl Iterator<Item = Field<'a>> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            loop {
                let (line, after) = split_line(rest)?;
                rest = after;
                let Some(colon) = memchr(b':', line).filter(|&at| at > 0 && !is_continuation(line) && line[0] != b'#') else {
                    continue;
                };
                let start = &line[colon + 1..];
                let mut len = start.len();
                // A value goes on over all lines that begin with a blank, and over comments between them.
                while let Some((next, after)) =
                    split_line(rest).filter(|(next, _)| is_continuation(next) || next.first() == Some(&b'#'))
                {
                    len = offset_in(self.0, next) + next.len() - offset_in(self.0, start);
                    rest = after;
                }
                let from = offset_in(self.0, start);
                return Some(Field { name: &line[..colon], value: self.0[from..from + len].trim_ascii() });
            }
        })
    }

    /// Returns the value of a field, whose name is compared without regard to case. The first one counts.
    pub fn get(self, name: &str) -> Option<&'a [u8]> {
        self.fields().find(|field| field.name.eq_ignore_ascii_case(name.as_bytes())).map(|field| field.value)
    }

    /// Returns the value of a field that is text; `None` if it is absent or not UTF-8.
    pub fn text(self, name: &str) -> Option<&'a str> {
        std::str::from_utf8(self.get(name)?).ok()
    }
}

/// A field of a paragraph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name as written, without the colon.
    pub name: &'a [u8],
    /// The value, blanks around it taken away, with its folded lines.
    pub value: &'a [u8],
}

impl<'a> Field<'a> {
    /// Returns the lines of the value, blanks around them taken away, without empty ones and comments.
    pub fn lines(self) -> impl Iterator<Item = &'a [u8]> {
        lines(self.value)
    }
}

/// Returns the lines of a folded value, blanks around them taken away, without empty ones and comments.
pub fn lines(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&byte| byte == b'\n')
        .filter(|line| line.first() != Some(&b'#'))
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty())
}

fn is_continuation(line: &[u8]) -> bool {
    matches!(line.first(), Some(b' ' | b'\t'))
}

/// Where a part of `whole` begins in it.
fn offset_in(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr() as usize - whole.as_ptr() as usize
}

fn split_line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    if text.is_empty() {
        return None;
    }
    Some(match memchr(b'\n', text) {
        Some(end) => (&text[..end], &text[end + 1..]),
        None => (text, &[]),
    })
}

/// Splits off the first paragraph. A line of blanks only ends one too, as does one of CR LF.
fn split_paragraph(text: &[u8]) -> Option<(Paragraph<'_>, &[u8])> {
    let mut rest = text;
    while let Some((_, after)) = split_line(rest).filter(|(line, _)| line.trim_ascii().is_empty()) {
        rest = after;
    }
    if rest.is_empty() {
        return None;
    }
    let quick = memmem::find(rest, b"\n\n").map_or(rest.len(), |at| at + 1);
    let mut end = 0;
    while end < quick {
        let (line, after) = split_line(&rest[end..])?;
        if line.trim_ascii().is_empty() {
            break;
        }
        end = rest.len() - after.len();
    }
    Some((Paragraph(&rest[..end]), &rest[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"\n# a comment\nPackage: a\nDepends: b,\n c (>= 1),\n# between\n\td\nDescription: x\n y\n .\n z\n\r\n \nPackage: b\nEmpty:\nversion:  1:2 \r\n\n\n";

    #[test]
    fn paragraphs_and_folded_fields() {
        let all: Vec<_> = paragraphs(TEXT).collect();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].text("package"), Some("a"));
        let depends: Vec<_> = lines(all[0].get("Depends").unwrap()).collect();
        assert_eq!(depends, [&b"b,"[..], b"c (>= 1),", b"d"]);
        assert_eq!(all[0].text("Description"), Some("x\n y\n .\n z"));
        assert_eq!(all[1].text("Version"), Some("1:2"));
        assert_eq!(all[1].text("Empty"), Some(""));
        assert_eq!(all[1].text("Missing"), None);
        let names: Vec<_> = all[1].fields().map(|field| field.name).collect();
        assert_eq!(names, [&b"Package"[..], b"Empty", b"version"]);
    }

    #[test]
    fn text_without_paragraphs() {
        assert_eq!(paragraphs(b"").count(), 0);
        assert_eq!(paragraphs(b"\n \n\r\n").count(), 0);
    }

    #[test]
    fn the_last_line_needs_no_end() {
        let all: Vec<_> = paragraphs(b"A: 1\nB: 2").collect();
        assert_eq!(all[0].text("B"), Some("2"));
    }
}
