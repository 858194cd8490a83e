//! Goes through the XML of repository metadata tag by tag, without a tree and without copies.
//!
//! Not a general reader: no document type (so no entities of its own, and no bombs made of them), names by their local
//! part, and only the five entities that XML has by itself and numbers.

use std::borrow::Cow;

use memchr::{memchr, memchr3, memmem};

/// What stands between `<` and `>`.
#[derive(Debug, Clone, Copy)]
pub struct Tag<'a> {
    /// Its name without prefix.
    pub name: &'a [u8],
    /// What follows the name.
    attributes: &'a [u8],
    /// `</name>`.
    pub is_end: bool,
    /// `<name/>`.
    pub is_empty: bool,
    /// Where `<` stands.
    pub start: usize,
    /// The place behind `>`.
    pub end: usize,
}

/// The name of a tag whose end was not looked for.
#[derive(Debug, Clone, Copy)]
pub struct Name<'a> {
    /// The name without prefix.
    pub name: &'a [u8],
    /// `</name>`.
    pub is_end: bool,
    /// Where `<` stands.
    pub start: usize,
}

/// The text is no XML that metadata have. Holds the place and what is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flaw {
    /// The byte where it is noticed.
    pub at: usize,
    /// What is wrong.
    pub what: &'static str,
}

/// A place in a text.
#[derive(Debug, Clone)]
pub struct Scanner<'a> {
    text: &'a [u8],
    /// The byte that is looked at next.
    pub at: usize,
}

impl<'a> Scanner<'a> {
    /// Begins at a place.
    pub fn new(text: &'a [u8], at: usize) -> Self {
        Self { text, at }
    }

    /// Returns the next tag; nothing at the end of the text.
    pub fn tag(&mut self) -> Result<Option<Tag<'a>>, Flaw> {
        match self.next_start()? {
            Some(start) => self.read(start).map(Some),
            None => Ok(None),
        }
    }

    /// Returns the name of the next tag and goes on behind it. Where the tag ends is not looked for: attributes hold no `<`, so that the
    /// tag after it is found all the same, in a fraction of the time.
    pub fn name(&mut self) -> Result<Option<Name<'a>>, Flaw> {
        let Some(start) = self.next_start()? else { return Ok(None) };
        let is_end = self.text.get(start + 1) == Some(&b'/');
        let name_start = start + 1 + usize::from(is_end);
        let rest = &self.text[name_start..];
        let is_over = |byte: &u8| matches!(byte, b'>' | b'/' | b' ' | b'\n' | b'\t' | b'\r');
        let len = rest.iter().position(is_over).ok_or(Flaw { at: start, what: "a tag has no end" })?;
        self.at = name_start + len;
        Ok(Some(Name { name: local(&rest[..len]), is_end, start }))
    }

    /// Returns the tag of a name.
    pub fn whole(&mut self, name: &Name<'_>) -> Result<Tag<'a>, Flaw> {
        self.read(name.start)
    }

    /// Finds the next `<` that begins a tag.
    fn next_start(&mut self) -> Result<Option<usize>, Flaw> {
        loop {
            let Some(found) = memchr(b'<', &self.text[self.at..]) else {
                self.at = self.text.len();
                return Ok(None);
            };
            let start = self.at + found;
            let rest = &self.text[start + 1..];
            match rest.first() {
                Some(b'?') => self.pass(start, b"?>", "an instruction has no end")?,
                Some(b'!') if rest.starts_with(b"!--") => self.pass(start, b"-->", "a comment has no end")?,
                Some(b'!') if rest.starts_with(b"![CDATA[") => self.pass(start, b"]]>", "a CDATA section has no end")?,
                Some(b'!') => return Err(Flaw { at: start, what: "it has a document type, which metadata never have" }),
                _ => return Ok(Some(start)),
            }
        }
    }

    fn pass(&mut self, start: usize, end: &[u8], what: &'static str) -> Result<(), Flaw> {
        let found = memmem::find(&self.text[start..], end).ok_or(Flaw { at: start, what })?;
        self.at = start + found + end.len();
        Ok(())
    }

    fn read(&mut self, start: usize) -> Result<Tag<'a>, Flaw> {
        let text = self.text;
        let unended = Flaw { at: start, what: "a tag has no end" };
        let is_end = text.get(start + 1) == Some(&b'/');
        let mut at = start + 1 + usize::from(is_end);
        let name_start = at;
        // What is quoted may hold anything but its quote and `<`.
        let close = loop {
            at += memchr3(b'>', b'"', b'\'', &text[at..]).ok_or(unended)?;
            match text[at] {
                b'>' => break at,
                quote => at += 2 + memchr(quote, &text[at + 1..]).ok_or(unended)?,
            }
        };
        let is_empty = !is_end && text[close - 1] == b'/';
        let inner = &text[name_start..close - usize::from(is_empty)];
        let name_len = inner.iter().position(u8::is_ascii_whitespace).unwrap_or(inner.len());
        let (name, attributes) = inner.split_at(name_len);
        let name = local(name);
        if name.is_empty() {
            return Err(Flaw { at: start, what: "a tag has no name" });
        }
        self.at = close + 1;
        Ok(Tag { name, attributes, is_end, is_empty, start, end: close + 1 })
    }

    /// Returns the text from the current place to the next tag, as it stands there.
    pub fn text(&self) -> &'a [u8] {
        let rest = &self.text[self.at..];
        &rest[..memchr(b'<', rest).unwrap_or(rest.len())]
    }
}

/// Returns a name without its prefix.
fn local(name: &[u8]) -> &[u8] {
    name.iter().position(|byte| *byte == b':').map_or(name, |colon| &name[colon + 1..])
}

impl<'a> Tag<'a> {
    /// Returns the value of an attribute, as it stands there.
    pub fn get(&self, name: &[u8]) -> Option<&'a [u8]> {
        let mut rest = self.attributes.trim_ascii_start();
        while let Some(equals) = memchr(b'=', rest) {
            let key = rest[..equals].trim_ascii();
            let value = rest[equals + 1..].trim_ascii_start();
            let quote = *value.first().filter(|byte| matches!(byte, b'"' | b'\''))?;
            let len = memchr(quote, &value[1..])?;
            if key == name {
                return Some(&value[1..1 + len]);
            }
            rest = value[len + 2..].trim_ascii_start();
        }
        None
    }
}

/// Puts what entities stand for in their place. An unknown one stays as it is.
pub fn decode(raw: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = memchr(b'&', raw) else { return Cow::Borrowed(raw) };
    let mut decoded = raw[..first].to_vec();
    let mut rest = &raw[first..];
    while let Some(at) = memchr(b'&', rest) {
        decoded.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let end = memchr(b';', &rest[..rest.len().min(12)]);
        match end.and_then(|end| entity(&rest[1..end])) {
            Some(character) => {
                decoded.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                rest = &rest[end.unwrap_or(0) + 1..];
            }
            None => {
                decoded.push(b'&');
                rest = &rest[1..];
            }
        }
    }
    decoded.extend_from_slice(rest);
    Cow::Owned(decoded)
}

fn entity(name: &[u8]) -> Option<char> {
    match name {
        b"lt" => Some('<'),
        b"gt" => Some('>'),
        b"amp" => Some('&'),
        b"quot" => Some('"'),
        b"apos" => Some('\''),
        [b'#', b'x', digits @ ..] => char::from_u32(u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?),
        [b'#', digits @ ..] => char::from_u32(std::str::from_utf8(digits).ok()?.parse().ok()?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_found_with_their_attributes() {
        let text = br#"<?xml version="1.0"?><!-- <no> --><a x="1" rpm:y='2 > 1'/><rpm:b>t&amp;u</rpm:b>"#;
        let mut scanner = Scanner::new(text, 0);
        let tag = scanner.tag().unwrap().unwrap();
        assert_eq!(
            (tag.name, tag.is_empty, tag.get(b"x"), tag.get(b"rpm:y")),
            (&b"a"[..], true, Some(&b"1"[..]), Some(&b"2 > 1"[..]))
        );
        let tag = scanner.tag().unwrap().unwrap();
        assert_eq!((tag.name, tag.get(b"x"), decode(scanner.text()).into_owned()), (&b"b"[..], None, b"t&u".to_vec()));
        assert!(scanner.tag().unwrap().unwrap().is_end);
        assert!(scanner.tag().unwrap().is_none());
    }

    #[test]
    fn what_is_damaged_is_refused() {
        for text in ["<a", "<a x=\"1>", "<!DOCTYPE a [<!ENTITY b 'c'>]><a/>", "<!-- ", "<>"] {
            assert!(Scanner::new(text.as_bytes(), 0).tag().is_err(), "{text}");
        }
    }

    #[test]
    fn entities_are_decoded_and_unknown_ones_left() {
        for (raw, decoded) in
            [("a &gt;= 1", "a >= 1"), ("&#65;&#x42;", "AB"), ("&nbsp;&", "&nbsp;&"), ("&#xfffffff;", "&#xfffffff;")]
        {
            assert_eq!(decode(raw.as_bytes()).as_ref(), decoded.as_bytes(), "{raw}");
        }
    }
}
