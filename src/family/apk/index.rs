//! Reads `APKINDEX` texts into a catalog: names, versions and who names whom at once, everything else when it is asked for.
//!
//! The text stays in memory as it came, and entries point into it. Format: apk-index in apk-package(5); paragraphs of lines `X:value`.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::collections::hash_map;
use std::ops::Range;
use std::sync::OnceLock;

use memchr::memchr_iter;

use super::relation::{self, malformed};
use super::{Checksum, version};
use crate::base::digest::Sha256;
use crate::base::error::{Diagnostic, ErrorKind};
use crate::base::limit;
use crate::family::repo::Index;
use crate::package::{
    Capability, Catalog, Constraint, Flaw, Location, ORDINARY_RANK, Package, PackageId, Refusal, Relations, Requirement,
    Resolver, Standing,
};

/// Repositories with different tags in one catalog. apk itself has room for as many.
const TAGS_MAX: usize = 31;
/// Chains of apk's table of names: its answers depend on the order in which it walks over them, see [`NameTable`].
const NAME_CHAINS: u32 = 20_000;
/// Fields whose names start with a capital letter and that are known; a package with another is for a later apk.
const CAPITAL_FIELDS: &[u8] = b"PVTULADCSIFMRZ";

/// An index cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// An entry without a name, a version or a checksum.
    #[error("an entry of the package index of `{repo}` has no usable field `{field}`")]
    Incomplete {
        /// The repository.
        repo: String,
        /// The line where the entry ends.
        line: usize,
        /// The field.
        field: &'static str,
    },
    /// A line that is no field.
    #[error("a line of the package index of `{repo}` is not a letter, a colon and a value")]
    NoField {
        /// The repository.
        repo: String,
        /// The line.
        line: usize,
    },
    /// More bytes than an index may have.
    #[error("the package index of `{repo}` has {found} bytes, wanted at most {}", limit::INDEX_BYTES_MAX)]
    TooLarge {
        /// The repository.
        repo: String,
        /// Its size.
        found: usize,
    },
    /// More tags than can be told apart.
    #[error("the repositories have more than {TAGS_MAX} different tags")]
    Tags,
}

impl Diagnostic for IndexError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Tags => ErrorKind::Config,
            _ => ErrorKind::Untrusted,
        }
    }

    fn place(&self) -> Option<String> {
        match self {
            Self::Incomplete { repo, line, .. } | Self::NoField { repo, line } => {
                Some(format!("{repo}, line {line} of APKINDEX"))
            }
            Self::TooLarge { repo, .. } => Some(repo.clone()),
            Self::Tags => None,
        }
    }
}

/// The packages of some indexes for one architecture and `noarch`, in order of the indexes' priority.
///
/// An index whose label begins with a tag (`@testing edge/testing`) serves only who names the tag, as in `/etc/apk/repositories`. A package
/// of another architecture stays in the catalog, so that a request for it can be answered, but cannot be used.
#[derive(Debug)]
pub struct ApkCatalog {
    arch: String,
    indexes: Vec<Index>,
    tags: Vec<String>,
    entries: Vec<Entry>,
    names: NameTable,
    named: Groups,
    providers: Groups,
    triggered: Groups,
    relations: Vec<OnceLock<Box<Result<Relations, Refusal>>>>,
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
    standing: Standing,
}

impl ApkCatalog {
    /// Reads indexes, the one of highest priority first.
    pub fn new(arch: &str, indexes: Vec<Index>) -> Result<Self, IndexError> {
        Self::without(arch, indexes, &|_, _| false)
    }

    /// Like [`ApkCatalog::new`], but leaves out the packages that `hide` tells by index and name.
    pub fn without(arch: &str, indexes: Vec<Index>, hide: &dyn Fn(&Index, &str) -> bool) -> Result<Self, IndexError> {
        let mut build = Build::default();
        let mut tags: Vec<String> = Vec::new();
        for (number, index) in indexes.iter().enumerate() {
            if index.bytes.len() as u64 > limit::INDEX_BYTES_MAX {
                return Err(IndexError::TooLarge { repo: index.label.clone(), found: index.bytes.len() });
            }
            let tag = match tag_of(&index.label) {
                None => 0,
                Some(tag) => {
                    1 + tags.iter().position(|known| known == tag).unwrap_or_else(|| {
                        tags.push(tag.to_owned());
                        tags.len() - 1
                    })
                }
            };
            if tags.len() > TAGS_MAX {
                return Err(IndexError::Tags);
            }
            build.scan(number as u16, index, 1 << tag, hide)?;
        }
        let Build { entries, names, named, provided, triggered, .. } = build;
        let version = |id: u32| {
            let entry: &Entry = &entries[id as usize];
            text(&indexes[entry.index as usize], entry.version)
        };
        let mut named = Groups::new(names.len(), named);
        named.sort_each(|&a, &b| version::compare(version(b), version(a)).then(a.cmp(&b)));
        let providers = Groups::new(names.len(), provided);
        let triggered = Groups::new(names.len(), triggered);
        let relations = (0..entries.len()).map(|_| OnceLock::new()).collect();
        Ok(Self { arch: arch.to_owned(), indexes, tags, entries, names, named, providers, triggered, relations })
    }

    fn entry(&self, id: PackageId) -> &Entry {
        &self.entries[id as usize]
    }

    fn fields(&self, id: PackageId) -> impl Iterator<Item = (u8, &str)> {
        let entry = self.entry(id);
        fields(text(&self.indexes[entry.index as usize], entry.paragraph))
    }

    fn refuse(&self, id: PackageId, flaw: Flaw) -> Refusal {
        Refusal { package: self.name(id).to_owned(), repo: self.repo(id).to_owned(), flaw }
    }

    fn group<'a>(&self, groups: &'a Groups, name: &str) -> &'a [PackageId] {
        self.names.find(name).map_or(&[], |name| groups.get(name))
    }

    /// Returns the checksum that proves a package's file: of its control segment, which in turn has the digest of its content.
    pub fn checksum(&self, id: PackageId) -> Option<Checksum> {
        self.fields(id).find(|(field, _)| *field == b'C').and_then(|(_, value)| value.parse().ok())
    }

    fn read_relations(&self, id: PackageId) -> Result<Relations, Flaw> {
        let mut relations = Relations::default();
        for (field, value) in self.fields(id) {
            match field {
                b'A' if value != "noarch" && value != self.arch && !value.is_empty() => {
                    return Err(malformed("A", value, "this architecture or `noarch`"));
                }
                b'D' => {
                    for condition in relation::conditions("D", value)? {
                        match condition.refused {
                            true => {
                                relations.conflict_places.push(relations.requires.len());
                                relations.conflicts.push(condition.constraint);
                            }
                            false => relations.requires.push(Requirement(vec![condition.constraint])),
                        }
                    }
                }
                b'p' => relations.provides.extend(relation::capabilities(value)),
                // A rule of which a part cannot be read does not count, as for apk.
                b'i' => relations.install_if = relation::conditions("i", value).unwrap_or_default(),
                _ if field.is_ascii_uppercase() && !CAPITAL_FIELDS.contains(&field) => {
                    return Err(malformed("capital letter", char::from(field).encode_utf8(&mut [0; 4]), "a field of version 2"));
                }
                _ => {}
            }
        }
        Ok(relations)
    }

    fn read_package(&self, id: PackageId) -> Result<Package, Flaw> {
        let (mut arch, mut origin) = (String::new(), None);
        let (mut size_bytes, mut installed_bytes) = (None, 0);
        for (field, value) in self.fields(id) {
            match field {
                b'A' => arch = value.to_owned(),
                b'o' => origin = Some(value),
                b'S' => size_bytes = Some(number("S", value, limit::PACKAGE_BYTES_MAX)?),
                b'I' => installed_bytes = number("I", value, limit::PAYLOAD_BYTES_MAX)?,
                _ => {}
            }
        }
        let (name, version) = (self.name(id), self.version(id));
        let proof = self.checksum(id).ok_or(Flaw::Missing("C"))?.to_string();
        let file = format!("{name}-{version}.apk");
        let index = &self.indexes[self.entry(id).index as usize];
        // Of what is installed, the size of its file is of no account.
        let size_bytes = size_bytes.filter(|size| *size > 0).or((index.base == Location::Installed).then_some(1));
        Ok(Package {
            name: name.to_owned(),
            version: version.to_owned(),
            arch,
            repo: self.repo(id).to_owned(),
            location: location(&index.base, &file)?,
            sha256: Sha256::of(proof.as_bytes()),
            proof: Some(proof),
            seal: None,
            size_bytes: size_bytes.ok_or(Flaw::Missing("S"))?,
            installed_bytes,
            source: format!("{} {version}", origin.unwrap_or(name)),
            rank: ORDINARY_RANK,
            requires: Vec::new(),
            recommends: Vec::new(),
            provides: Vec::new(),
            conflicts: Vec::new(),
        })
    }
}

/// Returns the tag at the beginning of a label, without the `@`.
fn tag_of(label: &str) -> Option<&str> {
    label.strip_prefix('@').map(|rest| rest.split(' ').next().unwrap_or(rest))
}

fn text(index: &Index, span: Span) -> &str {
    std::str::from_utf8(&index.bytes[span.range()]).unwrap_or("\u{fffd}")
}

/// Returns the lines of an entry: letter and value.
fn fields(paragraph: &str) -> impl Iterator<Item = (u8, &str)> {
    paragraph.split('\n').filter_map(|line| Some((*line.as_bytes().first()?, line.get(2..)?)))
}

fn number(field: &'static str, value: &str, max: u64) -> Result<u64, Flaw> {
    value.parse().ok().filter(|size| *size <= max).ok_or_else(|| malformed(field, value, "a number of bytes within the limit"))
}

fn location(base: &Location, file: &str) -> Result<Location, Flaw> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'\\' | b'?' | b'#' | b'%');
    if file.starts_with('.') || !file.bytes().all(is_plain) || file.len() > limit::NAME_BYTES_MAX {
        return Err(malformed("P", file, "a name that can be part of a file name"));
    }
    Ok(match base {
        Location::Url(url) => Location::Url(format!("{}/{file}", url.trim_end_matches('/'))),
        Location::File(dir) => Location::File(dir.join(file)),
        Location::Installed => Location::Installed,
    })
}

impl Catalog for ApkCatalog {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn resolver(&self) -> Resolver {
        Resolver::Apk
    }

    fn repos(&self) -> Vec<&str> {
        self.indexes.iter().map(|index| index.label.as_str()).collect()
    }

    fn name(&self, id: PackageId) -> &str {
        let entry = self.entry(id);
        text(&self.indexes[entry.index as usize], entry.name)
    }

    fn version(&self, id: PackageId) -> &str {
        let entry = self.entry(id);
        text(&self.indexes[entry.index as usize], entry.version)
    }

    fn repo(&self, id: PackageId) -> &str {
        &self.indexes[self.entry(id).index as usize].label
    }

    fn rank(&self, _id: PackageId) -> u8 {
        ORDINARY_RANK
    }

    fn relations(&self, id: PackageId) -> Result<&Relations, &Refusal> {
        let slot = &self.relations[id as usize];
        let read = || Box::new(self.read_relations(id).map_err(|flaw| self.refuse(id, flaw)));
        slot.get_or_init(read).as_ref().as_ref()
    }

    fn package(&self, id: PackageId) -> Result<Package, Refusal> {
        let relations = self.relations(id).map_err(Clone::clone)?.clone();
        let package = self.read_package(id).map_err(|flaw| self.refuse(id, flaw))?;
        let Relations { requires, recommends, provides, conflicts, .. } = relations;
        Ok(Package { requires, recommends, provides, conflicts, ..package })
    }

    fn named(&self, name: &str) -> &[PackageId] {
        self.group(&self.named, name)
    }

    fn providers(&self, name: &str) -> &[PackageId] {
        self.group(&self.providers, name)
    }

    fn meets(&self, id: PackageId, constraint: &Constraint) -> bool {
        if self.name(id) == constraint.name && version::meets(self.version(id), constraint) {
            return true;
        }
        let offers = |offer: &Capability| {
            offer.name == constraint.name && version::meets(offer.version.as_deref().unwrap_or_default(), constraint)
        };
        self.relations(id).is_ok_and(|relations| relations.provides.iter().any(offers))
    }

    fn tie_break(&self, _a: PackageId, _b: PackageId) -> Ordering {
        Ordering::Equal
    }

    fn compare(&self, a: &str, b: &str) -> Ordering {
        version::compare(a, b)
    }

    fn compare_fuzzy(&self, version: &str, prefix: &str) -> Ordering {
        version::compare_fuzzy(version, prefix)
    }

    fn standing(&self, id: PackageId) -> Standing {
        self.entry(id).standing
    }

    fn tags(&self) -> Vec<&str> {
        self.tags.iter().map(String::as_str).collect()
    }

    fn triggered_by(&self, name: &str) -> &[PackageId] {
        self.group(&self.triggered, name)
    }

    fn walk_place(&self, name: &str) -> u64 {
        self.names.place(name)
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new((0..self.entries.len() as PackageId).map(|id| self.name(id)))
    }
}

// ---- the first pass -------------------------------------------------------------------------------------------------

#[derive(Default)]
struct Build {
    entries: Vec<Entry>,
    names: NameTable,
    named: Vec<(u32, PackageId)>,
    provided: Vec<(u32, PackageId)>,
    triggered: Vec<(u32, PackageId)>,
    /// What is in several repositories is one package, as apk sees it.
    known: HashMap<Checksum, PackageId>,
}

/// What the first pass keeps of the paragraph it is in.
#[derive(Default)]
struct Draft {
    start: usize,
    name: Option<(u32, Span)>,
    version: Option<Span>,
    checksum: Option<Checksum>,
    provided: Vec<u32>,
    triggers: Vec<u32>,
    provider_priority: u64,
    installed_bytes: u64,
}

impl Build {
    fn scan(&mut self, number: u16, index: &Index, tag: u32, hide: &dyn Fn(&Index, &str) -> bool) -> Result<(), IndexError> {
        let bytes = &index.bytes[..];
        let mut draft = Draft::default();
        let mut start = 0;
        for end in memchr_iter(b'\n', bytes).chain([bytes.len()]) {
            let line = &bytes[start..end];
            match line {
                [] => {
                    self.finish(number, index, tag, &mut draft, start, hide)?;
                    draft = Draft { start: end + 1, ..Draft::default() };
                }
                [field, b':', ..] => self.take(&mut draft, *field, &line[2..], start + 2),
                _ => return Err(IndexError::NoField { repo: index.label.clone(), line: line_number(bytes, start) }),
            }
            start = (end + 1).min(bytes.len());
        }
        self.finish(number, index, tag, &mut draft, bytes.len(), hide)
    }

    /// Notes a line; every name in it is numbered in the order in which apk meets it.
    fn take(&mut self, draft: &mut Draft, field: u8, value: &[u8], start: usize) {
        let Ok(text) = std::str::from_utf8(value) else { return };
        let span = Span::of(start..start + value.len());
        match field {
            b'P' if !text.is_empty() => draft.name = Some((self.names.number(text), span)),
            b'V' if !text.is_empty() => draft.version = Some(span),
            b'C' => draft.checksum = text.parse().ok(),
            b'k' => draft.provider_priority = text.parse().unwrap_or(0),
            b'I' => draft.installed_bytes = text.parse().unwrap_or(0),
            b'D' => relation::words(text).for_each(|word| {
                self.names.number(relation::name_of(word));
            }),
            b'p' => draft.provided.extend(relation::words(text).map(|word| self.names.number(relation::name_of(word)))),
            b'i' => draft.triggers.extend(relation::words(text).map(|word| self.names.number(relation::name_of(word)))),
            _ => {}
        }
    }

    fn finish(
        &mut self,
        number: u16,
        index: &Index,
        tag: u32,
        draft: &mut Draft,
        end: usize,
        hide: &dyn Fn(&Index, &str) -> bool,
    ) -> Result<(), IndexError> {
        if draft.start >= end {
            return Ok(());
        }
        let missing = |field| IndexError::Incomplete {
            repo: index.label.clone(),
            line: line_number(&index.bytes, end.saturating_sub(1)),
            field,
        };
        let (symbol, name) = draft.name.ok_or_else(|| missing("P"))?;
        let version = draft.version.ok_or_else(|| missing("V"))?;
        let checksum = draft.checksum.take().ok_or_else(|| missing("C"))?;
        if hide(index, text(index, name)) {
            return Ok(());
        }
        let id = self.entries.len() as PackageId;
        match self.known.entry(checksum) {
            hash_map::Entry::Occupied(known) => {
                self.entries[*known.get() as usize].standing.tags |= tag;
                return Ok(());
            }
            hash_map::Entry::Vacant(place) => place.insert(id),
        };
        let standing = Standing {
            provider_priority: draft.provider_priority,
            repo_place: u32::from(number),
            tags: tag,
            is_empty: draft.installed_bytes == 0,
        };
        self.entries.push(Entry { paragraph: Span::of(draft.start..end), name, version, index: number, standing });
        self.named.push((symbol, id));
        for (list, pairs) in [(&mut draft.provided, &mut self.provided), (&mut draft.triggers, &mut self.triggered)] {
            list.sort_unstable();
            list.dedup();
            pairs.extend(list.drain(..).map(|symbol| (symbol, id)));
        }
        Ok(())
    }
}

fn line_number(bytes: &[u8], at: usize) -> usize {
    1 + memchr_iter(b'\n', &bytes[..at.min(bytes.len())]).count()
}

/// All names that an index mentions, numbered as they come.
///
/// apk keeps them in a table of [`NAME_CHAINS`] chains, newest first, hashed by MurmurHash3 (32 bits, seed 5381), and asks who depends on
/// whom in the order of that table. Where several packages enter by themselves, that order decides which of them is looked at first.
#[derive(Debug, Default)]
struct NameTable {
    numbers: HashMap<Box<str>, u32>,
}

impl NameTable {
    fn len(&self) -> usize {
        self.numbers.len()
    }

    fn number(&mut self, name: &str) -> u32 {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let number = self.numbers.len() as u32;
        self.numbers.insert(name.into(), number);
        number
    }

    fn find(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    /// Returns where apk's walk over all names comes to this one. A name that no index has is newer than all that do.
    fn place(&self, name: &str) -> u64 {
        let chain = murmur3(name.as_bytes(), 5381) % NAME_CHAINS;
        u64::from(chain) << 32 | u64::from(u32::MAX - self.find(name).unwrap_or(u32::MAX))
    }
}

/// MurmurHash3_x86_32, by Austin Appleby, who placed it in the public domain.
fn murmur3(bytes: &[u8], seed: u32) -> u32 {
    let mix = |word: u32| word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let (words, rest) = bytes.as_chunks::<4>();
    let mut hash = words.iter().fold(seed, |hash, word| {
        (hash ^ mix(u32::from_le_bytes(*word))).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64)
    });
    if !rest.is_empty() {
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        hash ^= mix(u32::from_le_bytes(last));
    }
    hash ^= bytes.len() as u32;
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

/// Lists of packages by name, in one piece of memory.
#[derive(Debug)]
struct Groups {
    starts: Vec<u32>,
    members: Vec<PackageId>,
}

impl Groups {
    fn new(names: usize, pairs: Vec<(u32, PackageId)>) -> Self {
        let mut starts = vec![0_u32; names + 1];
        pairs.iter().for_each(|(name, _)| starts[*name as usize + 1] += 1);
        (1..starts.len()).for_each(|i| starts[i] += starts[i - 1]);
        let mut next = starts.clone();
        let mut members = vec![0; pairs.len()];
        for (name, id) in pairs {
            members[next[name as usize] as usize] = id;
            next[name as usize] += 1;
        }
        Self { starts, members }
    }

    fn get(&self, name: u32) -> &[PackageId] {
        &self.members[self.starts[name as usize] as usize..self.starts[name as usize + 1] as usize]
    }

    fn sort_each(&mut self, compare: impl Fn(&PackageId, &PackageId) -> Ordering) {
        for pair in self.starts.windows(2) {
            self.members[pair[0] as usize..pair[1] as usize].sort_by(&compare);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur3_is_the_known_one() {
        // The published test vectors of MurmurHash3_x86_32.
        for (text, seed, hash) in [
            ("", 0, 0),
            ("", 1, 0x514e_28b7),
            ("test", 0, 0xba6b_d213),
            ("Hello, world!", 0, 0xc036_3e43),
            ("The quick brown fox jumps over the lazy dog", 0, 0x2e4f_f723),
        ] {
            assert_eq!(murmur3(text.as_bytes(), seed), hash, "{text}");
        }
    }
}
