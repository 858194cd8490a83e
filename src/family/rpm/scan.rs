//! The first pass over `primary.xml`: where packages stand, what they are called, and the names that they offer, obsolete and
//! have as files. Everything else is read when it is asked for (`entry`).

use std::borrow::Cow;
use std::sync::Arc;

use memchr::memmem;

use super::symbol::{Span, Symbols, Texts};
use super::xml::{self, Flaw, Name, Scanner, Tag};
use crate::base::limit;
use crate::package::PackageId;

/// Where a package stands and what it is called.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// From `<package` to behind `</package>`.
    pub element: Span,
    /// Name.
    pub name: Span,
    /// `epoch:version-release`, without an epoch of zero; always in the arena.
    pub version: Span,
    /// Architecture.
    pub arch: Span,
    /// The `pkgid`, by which other metadata know it.
    pub digest: Span,
    /// Which index it is from.
    pub index: u16,
}

/// A package that may not be taken.
#[derive(Debug, Clone, Copy)]
pub struct Excluded {
    /// `epoch:version-release`, without an epoch of zero; always in the arena.
    pub version: Span,
    /// Architecture.
    pub arch: Span,
    /// Which index it is from.
    pub index: u16,
}

/// What the pass finds.
#[derive(Debug, Default)]
pub struct Found {
    /// The packages, in order.
    pub entries: Vec<Entry>,
    /// Numbers of names.
    pub symbols: Symbols,
    /// Packages by name.
    pub named: Vec<(u32, PackageId)>,
    /// Those that may not be taken, by name.
    pub excluded: Vec<(u32, Excluded)>,
    /// Packages by what they offer and by their files.
    pub offered: Vec<(u32, PackageId)>,
    /// Packages by what they obsolete.
    pub obsoleted: Vec<(u32, PackageId)>,
    /// Packages that supplement or enhance something.
    pub supplementing: Vec<PackageId>,
}

/// An index cannot be scanned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScanError {
    /// It is no XML.
    Xml(Flaw),
    /// A package without a name, a version or an architecture. Holds where it begins and what is missing.
    Incomplete(usize, &'static str),
    /// More packages or text than any repository has.
    TooMany,
}

impl From<Flaw> for ScanError {
    fn from(flaw: Flaw) -> Self {
        Self::Xml(flaw)
    }
}

/// Whether a package counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// It does.
    Counts,
    /// It may not be taken, and is known of.
    Excluded,
    /// It is as if it were not there.
    Hidden,
}

/// Tells whether a package counts, by name, version and architecture.
pub type Counts<'a> = dyn Fn(&str, &str, &str) -> Count + 'a;

/// What ends a package.
const END: &[u8] = b"</package>";
/// What ends the list of requirements.
const REQUIRES_END: &[u8] = b"</rpm:requires>";

impl Found {
    /// Goes through one index. Packages for architectures that `is_wanted` does not know are left out; of those that `has` does not, by
    /// name, version and architecture, no more is kept than that they are there.
    pub fn scan(
        &mut self,
        texts: &mut Texts,
        index: u16,
        is_wanted: &dyn Fn(&[u8]) -> bool,
        has: &Counts<'_>,
    ) -> Result<(), ScanError> {
        let text = Arc::clone(&texts.indexes[index as usize]);
        let end_of_package = memmem::Finder::new(END);
        let mut scanner = Scanner::new(&text, 0);
        while let Some(name) = scanner.name()? {
            if name.name != b"package" || name.is_end {
                continue;
            }
            let tag = scanner.whole(&name)?;
            if self.entries.len() + self.excluded.len() >= limit::INDEX_PACKAGES_MAX {
                return Err(ScanError::TooMany);
            }
            let end = end_of_package.find(&text[tag.end..]).ok_or(Flaw { at: tag.start, what: "a package has no end" })?;
            let end = tag.end + end + END.len();
            Pass { found: self, texts, text: &text[..end], index }.package(tag, is_wanted, has)?;
            scanner.at = end;
        }
        Ok(())
    }
}

/// The pass over one package.
struct Pass<'p> {
    found: &'p mut Found,
    texts: &'p mut Texts,
    text: &'p [u8],
    index: u16,
}

impl<'p> Pass<'p> {
    fn package(&mut self, package: Tag<'_>, is_wanted: &dyn Fn(&[u8]) -> bool, has: &Counts<'_>) -> Result<(), ScanError> {
        let mut scanner = Scanner::new(self.text, package.end);
        let (mut name, mut arch, mut version, mut digest) = (None, None, None, Span::of(0..0));
        while let Some(found) = scanner.name()? {
            if found.is_end {
                continue;
            }
            match found.name {
                b"name" => name = Some(self.content(&mut scanner, &found)?),
                b"arch" => {
                    scanner.whole(&found)?;
                    if !is_wanted(&xml::decode(scanner.text())) {
                        return Ok(());
                    }
                    arch = Some(self.span(scanner.text())?);
                }
                b"version" => version = evr(&scanner.whole(&found)?),
                b"checksum" => digest = self.content(&mut scanner, &found)?,
                b"format" => break,
                _ => {}
            }
        }
        let is_there = |span: &Span| std::str::from_utf8(self.texts.get(self.index, *span)).is_ok_and(|text| !text.is_empty());
        let missing = |field| ScanError::Incomplete(package.start, field);
        let name = name.filter(is_there).ok_or_else(|| missing("name"))?;
        let arch = arch.filter(is_there).ok_or_else(|| missing("arch"))?;
        let version = version.ok_or_else(|| missing("version"))?;
        let count = has(self.texts.str(self.index, name), &version, self.texts.str(self.index, arch));
        if count == Count::Hidden {
            return Ok(());
        }
        let version = self.texts.keep(version.as_bytes()).ok_or(ScanError::TooMany)?;
        if count == Count::Excluded {
            let symbol = self.intern(name);
            self.found.excluded.push((symbol, Excluded { version, arch, index: self.index }));
            return Ok(());
        }
        let element = Span::of(package.start..self.text.len());
        let id = self.found.entries.len() as PackageId;
        self.found.entries.push(Entry { element, name, version, arch, digest, index: self.index });
        let symbol = self.intern(name);
        self.found.named.push((symbol, id));
        self.format(scanner, id)
    }

    /// Goes through what a package has to do with others, and its files.
    fn format(&mut self, mut scanner: Scanner<'_>, id: PackageId) -> Result<(), ScanError> {
        while let Some(found) = scanner.name()? {
            let is_ours = matches!(found.name, b"provides" | b"obsoletes" | b"supplements" | b"enhances" | b"requires" | b"file");
            if found.is_end || !is_ours {
                continue;
            }
            let tag = scanner.whole(&found)?;
            if tag.is_empty {
                continue;
            }
            match tag.name {
                b"provides" => self.names(&mut scanner, |found, symbol| found.offered.push((symbol, id)))?,
                b"obsoletes" => self.names(&mut scanner, |found, symbol| found.obsoleted.push((symbol, id)))?,
                b"supplements" | b"enhances" if self.found.supplementing.last() != Some(&id) => {
                    self.found.supplementing.push(id);
                }
                b"requires" => {
                    // The longest list, of which nothing is needed now.
                    let end = memmem::find(&self.text[tag.end..], REQUIRES_END);
                    scanner.at = end.map_or(tag.end, |end| tag.end + end);
                }
                b"file" => {
                    let path = self.span(scanner.text())?;
                    let symbol = self.intern(path);
                    self.found.offered.push((symbol, id));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes the names of a list up to its end.
    fn names(&mut self, scanner: &mut Scanner<'_>, mut take: impl FnMut(&mut Found, u32)) -> Result<(), ScanError> {
        while let Some(tag) = scanner.tag()?
            && tag.name == b"entry"
        {
            if let Some(name) = tag.get(b"name") {
                let name = self.span(name)?;
                let symbol = self.intern(name);
                take(self.found, symbol);
            }
        }
        Ok(())
    }

    /// Returns what stands in an element, up to the next tag.
    fn content(&mut self, scanner: &mut Scanner<'_>, found: &Name<'_>) -> Result<Span, ScanError> {
        scanner.whole(found)?;
        self.span(scanner.text())
    }

    fn intern(&mut self, name: Span) -> u32 {
        self.found.symbols.intern(self.texts, self.index, name)
    }

    /// Returns where a part of the text stands, decoded if need be.
    fn span(&mut self, raw: &[u8]) -> Result<Span, ScanError> {
        match xml::decode(raw.trim_ascii()) {
            Cow::Borrowed(plain) => {
                let start = plain.as_ptr() as usize - self.text.as_ptr() as usize;
                Ok(Span::of(start..start + plain.len()))
            }
            Cow::Owned(text) => self.texts.keep(&text).ok_or(ScanError::TooMany),
        }
    }
}

/// Makes `epoch:version-release` of the attributes that hold its parts; an epoch of zero is left out.
pub fn evr(tag: &Tag<'_>) -> Option<String> {
    let part = |name: &[u8]| tag.get(name).map(|raw| String::from_utf8_lossy(&xml::decode(raw)).into_owned());
    let version = part(b"ver").filter(|version| !version.is_empty())?;
    let epoch = part(b"epoch").filter(|epoch| !epoch.is_empty() && epoch != "0");
    let mut text = epoch.map_or(String::new(), |epoch| epoch + ":") + &version;
    if let Some(release) = part(b"rel").filter(|release| !release.is_empty()) {
        text = text + "-" + &release;
    }
    Some(text)
}
