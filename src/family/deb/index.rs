//! Reads `Packages` indexes into a catalog: names, versions and offers at once, everything else when it is asked for.
//!
//! The text stays in memory as it came, and entries point into it: Debian's main has 69 000 packages of which a plan uses 100.
//! Format: <https://wiki.debian.org/DebianRepository/Format#A.22Packages.22_Indices>.

use std::cmp::Ordering;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

use memchr::{memchr, memchr_iter};

use super::control::Paragraph;
use super::relation::{self, malformed};
use super::version;
use crate::base::digest::Sha256;
use crate::base::error::{Diagnostic, ErrorKind};
use crate::base::limit;
use crate::family::repo::Index;
use crate::package::{Catalog, Constraint, Flaw, Location, Package, PackageId, Refusal, Relations};

/// An index cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// An entry without a name, a version or an architecture.
    #[error("an entry of the package index of `{repo}` has no field `{field}`")]
    Incomplete {
        /// The repository.
        repo: String,
        /// The line where the entry begins.
        line: usize,
        /// The field.
        field: &'static str,
    },
    /// More bytes than an index may have.
    #[error("the package index of `{repo}` has {found} bytes, wanted at most {}", limit::INDEX_BYTES_MAX)]
    TooLarge {
        /// The repository.
        repo: String,
        /// Its size.
        found: usize,
    },
}

impl Diagnostic for IndexError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Untrusted
    }

    fn place(&self) -> Option<String> {
        match self {
            Self::Incomplete { repo, line, .. } => Some(format!("{repo}, line {line} of Packages")),
            Self::TooLarge { repo, .. } => Some(repo.clone()),
        }
    }
}

/// The packages of some indexes for one architecture and `all`, in order of the indexes' priority.
///
/// Of several packages of one name the highest version is the best; of one version in several indexes that of the first.
#[derive(Debug)]
pub struct DebCatalog {
    arch: String,
    indexes: Vec<Index>,
    entries: Vec<Entry>,
    symbols: Symbols,
    named: Groups,
    providers: Groups,
    relations: Vec<OnceLock<Box<Result<Relations, Refusal>>>>,
    met: OnceLock<Vec<u32>>,
}

/// A stretch of an index's text.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    len: u32,
}

impl Span {
    fn of(range: Range<usize>) -> Self {
        // INDEX_BYTES_MAX is checked before, and is below 4 GiB.
        Self { start: range.start as u32, len: range.len() as u32 }
    }

    fn range(self) -> Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }
}

#[derive(Debug)]
struct Entry {
    paragraph: Span,
    name: Span,
    version: Span,
    index: u16,
    rank: u8,
    /// `Multi-Arch: allowed`: it may serve a package of another architecture, so `name:any` means it.
    allowed: bool,
}

impl DebCatalog {
    /// Reads indexes, the one of highest priority first. Entries for other architectures than this one and `all` are left out.
    pub fn new(arch: &str, indexes: Vec<Index>) -> Result<Self, IndexError> {
        Self::without(arch, indexes, &|_, _| false)
    }

    /// Like [`DebCatalog::new`], but leaves out the packages that `hide` tells by index and name.
    pub fn without(arch: &str, indexes: Vec<Index>, hide: &dyn Fn(&Index, &str) -> bool) -> Result<Self, IndexError> {
        let mut build = Build::default();
        for (number, index) in indexes.iter().enumerate() {
            if index.bytes.len() as u64 > limit::INDEX_BYTES_MAX {
                return Err(IndexError::TooLarge { repo: index.label.clone(), found: index.bytes.len() });
            }
            build.scan(number as u16, index, &indexes, arch, hide)?;
        }
        let Build { entries, symbols, named, provided } = build;
        let text = |id: u32| {
            let entry: &Entry = &entries[id as usize];
            &indexes[entry.index as usize].bytes[entry.version.range()]
        };
        let mut named = Groups::new(symbols.len(), named);
        named.sort_each(|&a, &b| {
            version::compare(&String::from_utf8_lossy(text(b)), &String::from_utf8_lossy(text(a))).then(a.cmp(&b))
        });
        let providers = Groups::new(symbols.len(), provided);
        let relations = (0..entries.len()).map(|_| OnceLock::new()).collect();
        Ok(Self { arch: arch.to_owned(), indexes, entries, symbols, named, providers, relations, met: OnceLock::new() })
    }

    fn entry(&self, id: PackageId) -> &Entry {
        &self.entries[id as usize]
    }

    fn text(&self, entry: &Entry, span: Span) -> &str {
        let bytes = &self.indexes[entry.index as usize].bytes[span.range()];
        std::str::from_utf8(bytes).unwrap_or("\u{fffd}")
    }

    fn paragraph(&self, id: PackageId) -> Paragraph<'_> {
        let entry = self.entry(id);
        Paragraph::new(&self.indexes[entry.index as usize].bytes[entry.paragraph.range()])
    }

    fn refuse(&self, id: PackageId, flaw: Flaw) -> Refusal {
        Refusal { package: self.name(id).to_owned(), repo: self.repo(id).to_owned(), flaw }
    }

    fn meets_arch(&self, id: PackageId, constraint: &Constraint) -> bool {
        match constraint.arch.as_deref() {
            None | Some("native") => true,
            Some("any") => self.entry(id).allowed,
            Some(arch) => arch == self.arch,
        }
    }

    /// apt numbers packages when it first meets their names, be it in another's field, and among equals prefers the one
    /// that it met last. Returns those numbers by symbol; made when the first tie asks for them.
    fn met(&self) -> &[u32] {
        self.met.get_or_init(|| {
            let mut met = vec![u32::MAX; self.symbols.len()];
            let mut count = 0;
            let mut meet = |name: &[u8]| {
                if let Some(number) = self.symbols.find(&self.indexes, name).map(|symbol| &mut met[symbol as usize])
                    && *number == u32::MAX
                {
                    *number = count;
                    count += 1;
                }
            };
            for id in 0..self.entries.len() as PackageId {
                let entry = self.entry(id);
                meet(&self.indexes[entry.index as usize].bytes[entry.name.range()]);
                let mut named = [&b""[..]; NAMING_FIELDS.len()];
                for field in self.paragraph(id).fields() {
                    if let Some(at) = NAMING_FIELDS.iter().position(|name| name.eq_ignore_ascii_case(field.name)) {
                        named[at] = field.value;
                    }
                }
                named.iter().for_each(|list| each_name(list, &mut meet));
            }
            met
        })
    }
}

/// The fields that name other packages, in the order in which apt reads them.
const NAMING_FIELDS: [&[u8]; 9] =
    [b"Pre-Depends", b"Depends", b"Conflicts", b"Breaks", b"Recommends", b"Suggests", b"Replaces", b"Enhances", b"Provides"];

/// Calls back for each name in a list of relations.
fn each_name<'a>(list: &'a [u8], meet: &mut impl FnMut(&'a [u8])) {
    for atom in list.split(|&byte| byte == b',' || byte == b'|') {
        let atom = atom.trim_ascii_start();
        meet(&atom[..atom.iter().position(|byte| byte.is_ascii_whitespace() || *byte == b'(').unwrap_or(atom.len())]);
    }
}

impl Catalog for DebCatalog {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn repos(&self) -> Vec<&str> {
        self.indexes.iter().map(|index| index.label.as_str()).collect()
    }

    fn name(&self, id: PackageId) -> &str {
        self.text(self.entry(id), self.entry(id).name)
    }

    fn version(&self, id: PackageId) -> &str {
        self.text(self.entry(id), self.entry(id).version)
    }

    fn repo(&self, id: PackageId) -> &str {
        &self.indexes[self.entry(id).index as usize].label
    }

    fn rank(&self, id: PackageId) -> u8 {
        self.entry(id).rank
    }

    fn relations(&self, id: PackageId) -> Result<&Relations, &Refusal> {
        let slot = &self.relations[id as usize];
        let read = || Box::new(read_relations(self.paragraph(id)).map_err(|flaw| self.refuse(id, flaw)));
        slot.get_or_init(read).as_ref().as_ref()
    }

    fn package(&self, id: PackageId) -> Result<Package, Refusal> {
        let relations = self.relations(id).map_err(Clone::clone)?.clone();
        let base = &self.indexes[self.entry(id).index as usize].base;
        let package = read_package(self.paragraph(id), base).map_err(|flaw| self.refuse(id, flaw))?;
        Ok(Package {
            repo: self.repo(id).to_owned(),
            rank: self.rank(id),
            requires: relations.requires,
            recommends: relations.recommends,
            provides: relations.provides,
            conflicts: relations.conflicts,
            ..package
        })
    }

    fn named(&self, name: &str) -> &[PackageId] {
        self.symbols.find(&self.indexes, name.as_bytes()).map_or(&[], |symbol| self.named.get(symbol))
    }

    fn providers(&self, name: &str) -> &[PackageId] {
        self.symbols.find(&self.indexes, name.as_bytes()).map_or(&[], |symbol| self.providers.get(symbol))
    }

    fn meets(&self, id: PackageId, constraint: &Constraint) -> bool {
        let accepts = |version: &str| match &constraint.range {
            None => true,
            Some((op, wanted)) => op.accepts(version::compare(version, wanted)),
        };
        if !self.meets_arch(id, constraint) {
            return false;
        }
        if self.name(id) == constraint.name && accepts(self.version(id)) {
            return true;
        }
        self.relations(id).is_ok_and(|relations| {
            relations.provides.iter().filter(|offer| offer.name == constraint.name).any(|offer| match &offer.version {
                Some(version) => accepts(version),
                None => constraint.range.is_none(),
            })
        })
    }

    fn tie_break(&self, a: PackageId, b: PackageId) -> Ordering {
        let number = |id| {
            let entry = self.entry(id);
            let name = &self.indexes[entry.index as usize].bytes[entry.name.range()];
            self.symbols.find(&self.indexes, name).map_or(0, |symbol| self.met()[symbol as usize])
        };
        number(b).cmp(&number(a))
    }

    fn compare(&self, a: &str, b: &str) -> Ordering {
        version::compare(a, b)
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.entries.iter().map(|entry| self.text(entry, entry.name)))
    }
}

// ---- the first pass -------------------------------------------------------------------------------------------------

#[derive(Default)]
struct Build {
    entries: Vec<Entry>,
    symbols: Symbols,
    named: Vec<(u32, PackageId)>,
    provided: Vec<(u32, PackageId)>,
}

/// What the first pass keeps of the paragraph it is in.
#[derive(Default)]
struct Draft {
    start: usize,
    name: Option<Span>,
    version: Option<Span>,
    arch: Option<Span>,
    provides: Option<Span>,
    in_provides: bool,
    priority: u8,
    essential: bool,
    important: bool,
    allowed: bool,
}

impl Build {
    /// Looks at the first bytes of each line; most fields are passed over.
    fn scan(
        &mut self,
        number: u16,
        index: &Index,
        indexes: &[Index],
        arch: &str,
        hide: &dyn Fn(&Index, &str) -> bool,
    ) -> Result<(), IndexError> {
        let text = &index.bytes[..];
        let mut draft = Draft::default();
        let mut start = 0;
        for end in memchr_iter(b'\n', text).chain([text.len()]) {
            let line = &text[start..end];
            match line.first() {
                None | Some(b'\r') => {
                    self.finish(number, index, indexes, &draft, start, arch, hide)?;
                    draft = Draft { start: end + 1, ..Draft::default() };
                }
                Some(b' ' | b'\t') => {
                    if draft.in_provides
                        && let Some(span) = &mut draft.provides
                    {
                        span.len = end as u32 - span.start;
                    }
                }
                Some(b'P' | b'V' | b'A' | b'M' | b'E' | b'I' | b'p' | b'v' | b'a' | b'm' | b'e' | b'i') => {
                    draft.take(line, start)
                }
                Some(_) => draft.in_provides = false,
            }
            start = (end + 1).min(text.len());
        }
        self.finish(number, index, indexes, &draft, text.len(), arch, hide)
    }

    #[allow(clippy::too_many_arguments, reason = "one call a paragraph, from one place")]
    fn finish(
        &mut self,
        number: u16,
        index: &Index,
        indexes: &[Index],
        draft: &Draft,
        end: usize,
        arch: &str,
        hide: &dyn Fn(&Index, &str) -> bool,
    ) -> Result<(), IndexError> {
        let text = &index.bytes[..];
        if draft.start >= end || text[draft.start..end].trim_ascii().is_empty() {
            return Ok(());
        }
        let missing = |field| IndexError::Incomplete {
            repo: index.label.clone(),
            line: 1 + memchr_iter(b'\n', &text[..draft.start]).count(),
            field,
        };
        let is_text = |span: &Span| span.len > 0 && std::str::from_utf8(&text[span.range()]).is_ok();
        let name = draft.name.filter(is_text).ok_or_else(|| missing("Package"))?;
        let version = draft.version.filter(is_text).ok_or_else(|| missing("Version"))?;
        let own_arch = draft.arch.ok_or_else(|| missing("Architecture"))?;
        if !(&text[own_arch.range()] == b"all" || &text[own_arch.range()] == arch.as_bytes()) {
            return Ok(());
        }
        if std::str::from_utf8(&text[name.range()]).is_ok_and(|name| hide(index, name)) {
            return Ok(());
        }
        let id = self.entries.len() as PackageId;
        // As apt sorts those that offer the same: the essential ones first, then the protected, then by priority.
        let rank = draft.priority + 8 * u8::from(!draft.important) + 16 * u8::from(!draft.essential);
        let paragraph = Span::of(draft.start..end);
        self.entries.push(Entry { paragraph, name, version, index: number, rank, allowed: draft.allowed });
        self.named.push((self.symbols.intern(indexes, number, name), id));
        if let Some(provides) = draft.provides {
            for offered in names_in(text, provides) {
                let pair = (self.symbols.intern(indexes, number, offered), id);
                // The same name can be offered in several versions.
                if self.provided.last() != Some(&pair) {
                    self.provided.push(pair);
                }
            }
        }
        Ok(())
    }
}

impl Draft {
    fn take(&mut self, line: &[u8], start: usize) {
        self.in_provides = false;
        let Some(colon) = memchr(b':', line) else { return };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        let lead = value.len() - value.trim_ascii_start().len();
        let value = value.trim_ascii();
        let span = Span::of(start + colon + 1 + lead..start + colon + 1 + lead + value.len());
        let is = |field: &[u8]| name.eq_ignore_ascii_case(field);
        if is(b"Package") {
            self.name = self.name.or(Some(span));
        } else if is(b"Version") {
            self.version = self.version.or(Some(span));
        } else if is(b"Architecture") {
            self.arch = self.arch.or(Some(span));
        } else if is(b"Provides") {
            self.provides = Some(span);
            self.in_provides = true;
        } else if is(b"Priority") {
            self.priority = match value {
                b"required" => 1,
                b"important" => 2,
                b"standard" => 3,
                b"optional" => 4,
                _ => 5,
            };
        } else if is(b"Multi-Arch") {
            self.allowed = value == b"allowed";
        } else if is(b"Essential") {
            self.essential = value == b"yes";
        } else if is(b"Important") || is(b"Protected") {
            self.important |= value == b"yes";
        }
    }
}

/// Returns where the names in a list of offers stand.
fn names_in(text: &[u8], list: Span) -> impl Iterator<Item = Span> {
    let mut at = list.range().start;
    text[list.range()].split(|&byte| byte == b',').filter_map(move |atom| {
        let lead = atom.len() - atom.trim_ascii_start().len();
        let len = atom[lead..].iter().position(|byte| byte.is_ascii_whitespace() || *byte == b'(').unwrap_or(atom.len() - lead);
        let start = at + lead;
        at += atom.len() + 1;
        (len > 0).then(|| Span::of(start..start + len))
    })
}

// ---- the second look ------------------------------------------------------------------------------------------------

fn text_of<'a>(value: &'a [u8], field: &'static str) -> Result<&'a str, Flaw> {
    std::str::from_utf8(value).map_err(|_| malformed(field, &String::from_utf8_lossy(value), "text in UTF-8"))
}

fn read_relations(paragraph: Paragraph<'_>) -> Result<Relations, Flaw> {
    let mut pre_requires = Vec::new();
    let mut breaks = Vec::new();
    let mut read = Relations::default();
    for field in paragraph.fields() {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name.as_bytes());
        if is("Pre-Depends") {
            pre_requires = relation::requirements("Pre-Depends", text_of(field.value, "Pre-Depends")?)?;
        } else if is("Depends") {
            read.requires = relation::requirements("Depends", text_of(field.value, "Depends")?)?;
        } else if is("Recommends") {
            read.recommends = relation::requirements("Recommends", text_of(field.value, "Recommends")?)?;
        } else if is("Suggests") {
            read.suggests = relation::requirements("Suggests", text_of(field.value, "Suggests")?)?;
        } else if is("Provides") {
            read.provides = relation::capabilities("Provides", text_of(field.value, "Provides")?)?;
        } else if is("Conflicts") {
            read.conflicts = relation::constraints("Conflicts", text_of(field.value, "Conflicts")?)?;
        } else if is("Breaks") {
            breaks = relation::constraints("Breaks", text_of(field.value, "Breaks")?)?;
        }
    }
    pre_requires.append(&mut read.requires);
    read.requires = pre_requires;
    read.conflicts.append(&mut breaks);
    Ok(read)
}

/// Reads everything but the relations and what the catalog knows by itself.
fn read_package(paragraph: Paragraph<'_>, base: &Location) -> Result<Package, Flaw> {
    let optional = |field: &'static str| paragraph.get(field).map(|value| text_of(value, field)).transpose();
    let required = |field: &'static str| optional(field)?.ok_or(Flaw::Missing(field));
    let name = required("Package")?;
    if !relation::is_name(name) {
        return Err(malformed("Package", name, "the name of a package"));
    }
    let version = required("Version")?;
    if !relation::is_version(version) {
        return Err(malformed("Version", version, "a version"));
    }
    let installed_kib = match optional("Installed-Size")? {
        None => 0,
        Some(kib) => kib.parse::<u64>().map_err(|_| malformed("Installed-Size", kib, "a number of KiB"))?,
    };
    // Without a version in brackets the source has that of the package.
    let source = optional("Source")?.unwrap_or(name);
    let source = match source.split_once(" (").and_then(|(name, rest)| Some((name, rest.strip_suffix(')')?))) {
        Some((name, version)) => format!("{name} {version}"),
        None => format!("{source} {version}"),
    };
    let installed_bytes = installed_kib.saturating_mul(1024);
    let (location, sha256, size_bytes) = match base {
        // It has no file. Whoever has the database says what identifies it; until then its entry does.
        Location::Installed => (Location::Installed, Sha256::of(paragraph.bytes()), installed_bytes),
        base => {
            let (size, digest) = (required("Size")?, required("SHA256")?);
            let size_bytes = size.parse().ok().filter(|&bytes| bytes > 0 && bytes <= limit::PACKAGE_BYTES_MAX);
            (
                location(base, required("Filename")?)?,
                digest.parse().map_err(|_| malformed("SHA256", digest, "64 hexadecimal digits"))?,
                size_bytes.ok_or_else(|| malformed("Size", size, "a number of bytes from 1 to 4294967296"))?,
            )
        }
    };
    Ok(Package {
        name: name.to_owned(),
        version: version.to_owned(),
        arch: required("Architecture")?.to_owned(),
        repo: String::new(),
        location,
        sha256,
        size_bytes,
        proof: None,
        seal: None,
        installed_bytes,
        source,
        rank: 0,
        requires: Vec::new(),
        recommends: Vec::new(),
        provides: Vec::new(),
        conflicts: Vec::new(),
    })
}

/// Joins a file name from an index to its base. The name stays below the base whatever a server or a file system makes of it.
fn location(base: &Location, file_name: &str) -> Result<Location, Flaw> {
    let refuse = |wanted| Err(malformed("Filename", file_name, wanted));
    if file_name.len() > limit::PATH_BYTES_MAX {
        return refuse("a path of at most 4095 bytes");
    }
    if file_name.bytes().any(|byte| byte.is_ascii_control() || matches!(byte, b'\\' | b'?' | b'#')) {
        return refuse("a path without control characters, `\\`, `?` and `#`");
    }
    let lower = file_name.to_ascii_lowercase();
    if ["%2e", "%2f", "%5c", "%00"].iter().any(|escape| lower.contains(escape)) {
        return refuse("a path without escaped dots, slashes and zeros");
    }
    // Flat repositories write `./name.deb`.
    let path = file_name.strip_prefix("./").unwrap_or(file_name);
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return refuse("a path below the repository's root");
    }
    Ok(match base {
        Location::Url(url) => Location::Url(format!("{}/{}", url.trim_end_matches('/'), escape_path(path))),
        Location::File(dir) => Location::File(Path::new(dir).join(path)),
        Location::Installed => Location::Installed,
    })
}

/// Escapes what a URL's path may not hold; a percent sign too, for it is part of the file's name (`a_1%3a2_all.deb`).
fn escape_path(path: &str) -> String {
    let mut escaped = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~+:@!$&'()*,;=".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

// ---- names ----------------------------------------------------------------------------------------------------------

/// Numbers for names that stand in the indexes' texts: a hash table that copies no text. Its order is never seen.
#[derive(Debug, Default)]
struct Symbols {
    hasher: RandomState,
    spans: Vec<(u16, Span)>,
    /// A power of two of slots, each a symbol's number plus one.
    slots: Vec<u32>,
}

impl Symbols {
    fn len(&self) -> usize {
        self.spans.len()
    }

    fn intern(&mut self, indexes: &[Index], index: u16, span: Span) -> u32 {
        if self.spans.len() * 2 >= self.slots.len() {
            self.grow(indexes);
        }
        let name = &indexes[index as usize].bytes[span.range()];
        match self.probe(indexes, name) {
            Ok(symbol) => symbol,
            Err(slot) => {
                self.spans.push((index, span));
                self.slots[slot] = self.spans.len() as u32;
                self.spans.len() as u32 - 1
            }
        }
    }

    fn find(&self, indexes: &[Index], name: &[u8]) -> Option<u32> {
        if self.slots.is_empty() { None } else { self.probe(indexes, name).ok() }
    }

    /// Returns the symbol of a name, or the free slot where it would be.
    fn probe(&self, indexes: &[Index], name: &[u8]) -> Result<u32, usize> {
        let mask = self.slots.len() - 1;
        let mut slot = self.hasher.hash_one(name) as usize & mask;
        loop {
            let Some(symbol) = self.slots[slot].checked_sub(1) else { return Err(slot) };
            let (index, span) = self.spans[symbol as usize];
            if &indexes[index as usize].bytes[span.range()] == name {
                return Ok(symbol);
            }
            slot = (slot + 1) & mask;
        }
    }

    fn grow(&mut self, indexes: &[Index]) {
        self.slots = vec![0; (self.slots.len() * 2).max(1 << 10)];
        for symbol in 0..self.spans.len() {
            let (index, span) = self.spans[symbol];
            if let Err(slot) = self.probe(indexes, &indexes[index as usize].bytes[span.range()]) {
                self.slots[slot] = symbol as u32 + 1;
            }
        }
    }
}

/// Package numbers by symbol, in one allocation.
#[derive(Debug)]
struct Groups {
    starts: Vec<u32>,
    ids: Vec<PackageId>,
}

impl Groups {
    /// Sorts pairs by symbol, keeping their order within one.
    fn new(symbols: usize, pairs: Vec<(u32, PackageId)>) -> Self {
        let mut starts = vec![0_u32; symbols + 1];
        for &(symbol, _) in &pairs {
            starts[symbol as usize + 1] += 1;
        }
        for symbol in 0..symbols {
            starts[symbol + 1] += starts[symbol];
        }
        let mut next = starts.clone();
        let mut ids = vec![0; pairs.len()];
        for (symbol, id) in pairs {
            ids[next[symbol as usize] as usize] = id;
            next[symbol as usize] += 1;
        }
        Self { starts, ids }
    }

    fn get(&self, symbol: u32) -> &[PackageId] {
        &self.ids[self.starts[symbol as usize] as usize..self.starts[symbol as usize + 1] as usize]
    }

    fn sort_each(&mut self, compare: impl Fn(&PackageId, &PackageId) -> Ordering) {
        for bounds in self.starts.windows(2) {
            let group = &mut self.ids[bounds[0] as usize..bounds[1] as usize];
            if group.len() > 1 {
                group.sort_by(&compare);
            }
        }
    }
}
