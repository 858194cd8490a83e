//! Reads sync databases (`core.db`) into a catalog, in the order in which libalpm looks at packages.
//!
//! A database is a tar archive, compressed or not, with a directory for each package and in it a file `desc`; before 2018 what a package
//! has to do with others could stand in a second file, `depends`. Of the text only the fields that are asked for stay in memory.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::io::{BufReader, Read};
use std::ops::Range;
use std::sync::OnceLock;

use super::desc::Desc;
use super::{relation, version};
use crate::base::checksum::{Checksum, Kind};
use crate::base::digest::Sha256;
use crate::base::error::{Diagnostic, ErrorKind};
use crate::base::limit;
use crate::base::trust::{Seal, SealPlace, Seals};
use crate::family::repo::Index;
use crate::format::compress::Format;
use crate::format::compress::decode;
use crate::format::tar::{self, TarError};
use crate::package::{
    Catalog, Constraint, Flaw, Location, ORDINARY_RANK, Package, PackageId, Refusal, Relations, Requirement, Resolver,
};

/// Decompressed bytes that wait between decompression and tar.
const BUFFER_BYTES: usize = 128 << 10;
/// Characters of a malformed value that a message shows.
const SHOWN_MAX: usize = 60;
/// The fields that are kept.
const FIELDS: [&str; 15] = [
    "NAME",
    "VERSION",
    "BASE",
    "ARCH",
    "FILENAME",
    "CSIZE",
    "ISIZE",
    "SHA256SUM",
    "MD5SUM",
    "PGPSIG",
    "GROUPS",
    "DEPENDS",
    "PROVIDES",
    "CONFLICTS",
    "REPLACES",
];

/// A database cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The archive is damaged.
    #[error("the package database of `{repo}` cannot be read")]
    Unreadable {
        /// The repository.
        repo: String,
        /// What is wrong with it.
        #[source]
        source: TarError,
    },
    /// An entry without a name or a version, or one that is no text.
    #[error("the entry `{entry}` in the package database of `{repo}` has no field `{field}`")]
    Incomplete {
        /// The repository.
        repo: String,
        /// The entry's directory.
        entry: String,
        /// The field.
        field: &'static str,
    },
    /// An entry has the same file twice.
    #[error("the package database of `{repo}` has `{file}` of the entry `{entry}` twice")]
    Twice {
        /// The repository.
        repo: String,
        /// The entry's directory.
        entry: String,
        /// The file.
        file: &'static str,
    },
    /// More text than a database may have.
    #[error("{what} in the package database of `{repo}` exceeds the limit of {limit_bytes} bytes")]
    TooLarge {
        /// The repository.
        repo: String,
        /// What is too large.
        what: String,
        /// The limit.
        limit_bytes: u64,
    },
}

impl Diagnostic for IndexError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Untrusted
    }

    fn place(&self) -> Option<String> {
        let (Self::Unreadable { repo, .. }
        | Self::Incomplete { repo, .. }
        | Self::Twice { repo, .. }
        | Self::TooLarge { repo, .. }) = self;
        Some(format!("{repo}.db"))
    }
}

/// Where packages come from.
#[derive(Debug)]
struct Origin {
    label: String,
    base: Location,
    seals: Option<Seals>,
}

/// The packages of some databases, in order of the databases' priority and within one in order of their names.
pub struct AlpmCatalog {
    arch: String,
    repos: Vec<Origin>,
    text: Vec<u8>,
    entries: Vec<Entry>,
    names: HashMap<Box<str>, Bearers>,
    relations: Vec<OnceLock<Box<Result<Relations, Refusal>>>>,
}

/// Who has a name.
#[derive(Debug, Default)]
struct Bearers {
    named: Vec<PackageId>,
    providers: Vec<PackageId>,
    members: Vec<PackageId>,
}

/// A stretch of the text.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    start: u32,
    len: u32,
}

impl Span {
    fn range(self) -> Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    desc: Span,
    /// The file `depends`; empty where there is none.
    depends: Span,
    name: Span,
    version: Span,
    repo: u16,
}

impl AlpmCatalog {
    /// Reads databases, the one of highest priority first.
    pub fn new(arch: &str, indexes: Vec<Index>) -> Result<Self, IndexError> {
        Self::without(arch, indexes, &|_, _| false)
    }

    /// Like [`AlpmCatalog::new`], but leaves out the packages that `hide` tells by index and name.
    pub fn without(arch: &str, indexes: Vec<Index>, hide: &dyn Fn(&Index, &str) -> bool) -> Result<Self, IndexError> {
        let mut catalog = Self {
            arch: arch.to_owned(),
            repos: Vec::new(),
            text: Vec::new(),
            entries: Vec::new(),
            names: HashMap::new(),
            relations: Vec::new(),
        };
        for (number, index) in indexes.into_iter().enumerate() {
            let build = Build { repo: &index.label, text: &mut catalog.text, number: number as u16 };
            let mut entries = match index.base {
                Location::Installed => build.scan_texts(&index.bytes)?,
                _ => build.scan(&index.bytes)?,
            };
            let text = &catalog.text;
            entries.retain(|entry| !std::str::from_utf8(&text[entry.name.range()]).is_ok_and(|name| hide(&index, name)));
            entries.sort_by(|a, b| text[a.name.range()].cmp(&text[b.name.range()]));
            // A database with two entries of one name is of no tool's making; libalpm knows the first of them.
            entries.dedup_by(|later, first| text[later.name.range()] == text[first.name.range()]);
            catalog.entries.append(&mut entries);
            catalog.repos.push(Origin { label: index.label, base: index.base, seals: index.seals });
        }
        catalog.register();
        Ok(catalog)
    }

    /// Finds out who has which name.
    fn register(&mut self) {
        let Self { text, entries, names, relations, .. } = self;
        names.reserve(entries.len());
        for (id, entry) in entries.iter().enumerate() {
            let id = id as PackageId;
            let word = |bytes| std::str::from_utf8(bytes).ok();
            if let Some(name) = word(&text[entry.name.range()]) {
                bearers(names, name).named.push(id);
            }
            let fields = [entry.desc, entry.depends].into_iter().flat_map(|span| Desc(&text[span.range()]).fields());
            for field in fields {
                match field.name {
                    b"PROVIDES" => field.values().filter_map(word).for_each(|offer| {
                        let providers = &mut bearers(names, relation::name(offer)).providers;
                        if providers.last() != Some(&id) {
                            providers.push(id);
                        }
                    }),
                    b"GROUPS" => field.values().filter_map(word).for_each(|group| bearers(names, group).members.push(id)),
                    _ => {}
                }
            }
        }
        relations.resize_with(entries.len(), OnceLock::new);
    }

    fn entry(&self, id: PackageId) -> &Entry {
        &self.entries[id as usize]
    }

    /// Returns the texts of an entry: `desc` and `depends`.
    fn parts(&self, id: PackageId) -> [Desc<'_>; 2] {
        let entry = self.entry(id);
        [Desc(&self.text[entry.desc.range()]), Desc(&self.text[entry.depends.range()])]
    }

    fn str(&self, span: Span) -> &str {
        // Checked when it was read.
        std::str::from_utf8(&self.text[span.range()]).unwrap_or("\u{fffd}")
    }

    fn refuse(&self, id: PackageId, flaw: Flaw) -> Refusal {
        Refusal { package: self.name(id).to_owned(), repo: self.repo(id).to_owned(), flaw }
    }

    /// Returns the detached signature of a package's file as its entry has it, in base64.
    pub fn signature(&self, id: PackageId) -> Option<&str> {
        std::str::from_utf8(self.parts(id)[0].value("PGPSIG")?).ok()
    }

    /// Returns what a package takes the place of when a whole system is upgraded; installing never asks.
    pub fn replaces(&self, id: PackageId) -> Vec<Constraint> {
        let values = self.parts(id).into_iter().flat_map(|part| part.values("REPLACES"));
        values.filter_map(|value| std::str::from_utf8(value).ok()).map(relation::constraint).collect()
    }
}

fn bearers<'n>(names: &'n mut HashMap<Box<str>, Bearers>, name: &str) -> &'n mut Bearers {
    if !names.contains_key(name) {
        names.insert(name.into(), Bearers::default());
    }
    names.get_mut(name).expect("invariant: it was just inserted")
}

impl Catalog for AlpmCatalog {
    fn resolver(&self) -> Resolver {
        Resolver::Pacman
    }

    fn len(&self) -> usize {
        self.entries.len()
    }

    fn repos(&self) -> Vec<&str> {
        self.repos.iter().map(|origin| origin.label.as_str()).collect()
    }

    fn name(&self, id: PackageId) -> &str {
        self.str(self.entry(id).name)
    }

    fn version(&self, id: PackageId) -> &str {
        self.str(self.entry(id).version)
    }

    fn repo(&self, id: PackageId) -> &str {
        &self.repos[self.entry(id).repo as usize].label
    }

    fn rank(&self, _: PackageId) -> u8 {
        ORDINARY_RANK
    }

    fn relations(&self, id: PackageId) -> Result<&Relations, &Refusal> {
        let read = || Box::new(read_relations(&self.arch, self.parts(id)).map_err(|flaw| self.refuse(id, flaw)));
        self.relations[id as usize].get_or_init(read).as_ref().as_ref()
    }

    fn package(&self, id: PackageId) -> Result<Package, Refusal> {
        let relations = self.relations(id).map_err(Clone::clone)?.clone();
        let origin = &self.repos[self.entry(id).repo as usize];
        let seal = |by: &Seals| {
            let place = self.signature(id).map_or(SealPlace::Beside, |text| SealPlace::Index(text.to_owned()));
            Box::new(Seal { by: by.clone(), place })
        };
        let package = read_package(self.parts(id)[0], &origin.base).map_err(|flaw| self.refuse(id, flaw))?;
        Ok(Package {
            repo: self.repo(id).to_owned(),
            seal: origin.seals.as_ref().map(seal),
            requires: relations.requires,
            provides: relations.provides,
            conflicts: relations.conflicts,
            ..package
        })
    }

    fn named(&self, name: &str) -> &[PackageId] {
        self.names.get(name).map_or(&[], |bearers| &bearers.named)
    }

    fn providers(&self, name: &str) -> &[PackageId] {
        self.names.get(name).map_or(&[], |bearers| &bearers.providers)
    }

    fn members(&self, group: &str) -> &[PackageId] {
        self.names.get(group).map_or(&[], |bearers| &bearers.members)
    }

    fn meets(&self, id: PackageId, constraint: &Constraint) -> bool {
        let accepts = |version: &str| match &constraint.range {
            None => true,
            Some((op, wanted)) => op.accepts(version::compare(version, wanted)),
        };
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
        a.cmp(&b)
    }

    fn compare(&self, a: &str, b: &str) -> Ordering {
        version::compare(a, b)
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new((0..self.entries.len() as PackageId).map(|id| self.name(id)))
    }
}

// ---- the archive ----------------------------------------------------------------------------------------------------

struct Build<'a> {
    repo: &'a str,
    text: &'a mut Vec<u8>,
    number: u16,
}

/// What is known of an entry while the archive is read.
#[derive(Default)]
struct Draft {
    desc: Option<Span>,
    depends: Option<Span>,
}

impl Build<'_> {
    /// Reads entries that stand one behind the other with a zero byte after each: those of the local database.
    fn scan_texts(mut self, bytes: &[u8]) -> Result<Vec<Entry>, IndexError> {
        let mut entries = Vec::new();
        for desc in bytes.split(|byte| *byte == 0).filter(|desc| !desc.is_empty()) {
            let desc = Some(keep(self.repo, self.text, Desc(desc))?);
            entries.push(self.finish(b"of the local database", &Draft { desc, depends: None })?);
        }
        Ok(entries)
    }

    fn scan(mut self, bytes: &[u8]) -> Result<Vec<Entry>, IndexError> {
        let unreadable = |source| IndexError::Unreadable { repo: self.repo.to_owned(), source };
        let format = Format::sniff(bytes);
        let reader = decode::reader(format, bytes).map_err(|source| unreadable(TarError::Io { offset: 0, source }))?;
        let reader = BufReader::with_capacity(BUFFER_BYTES, reader.take(limit::INDEX_BYTES_MAX));
        let mut archive = tar::Archive::new(reader);
        let mut drafts: Vec<(Box<[u8]>, Draft)> = Vec::new();
        let mut places: HashMap<Box<[u8]>, usize> = HashMap::new();
        let mut buffer = Vec::new();
        while let Some(member) = archive.next_entry().map_err(unreadable)? {
            let path = member.name.strip_prefix(b"./").unwrap_or(&member.name);
            let Some(slash) = path.iter().position(|byte| *byte == b'/') else { continue };
            let (entry, file) = (&path[..slash], &path[slash + 1..]);
            let file = match file {
                b"desc" => "desc",
                b"depends" => "depends",
                _ => continue,
            };
            if member.kind != tar::Kind::File || member.size_bytes > limit::HEADER_BYTES_MAX {
                let what = format!("`{}`", path.escape_ascii());
                let repo = self.repo.to_owned();
                return Err(IndexError::TooLarge { repo, what, limit_bytes: limit::HEADER_BYTES_MAX });
            }
            buffer.clear();
            archive.read_to_end(&mut buffer).map_err(|source| unreadable(TarError::Io { offset: 0, source }))?;
            let place = match drafts.last() {
                Some((last, _)) if **last == *entry => drafts.len() - 1,
                _ => *places.entry(entry.into()).or_insert_with(|| {
                    drafts.push((entry.into(), Draft::default()));
                    drafts.len() - 1
                }),
            };
            let span = keep(self.repo, self.text, Desc(&buffer))?;
            let draft = &mut drafts[place].1;
            let slot = if file == "desc" { &mut draft.desc } else { &mut draft.depends };
            if slot.replace(span).is_some() {
                let entry = entry.escape_ascii().to_string();
                return Err(IndexError::Twice { repo: self.repo.to_owned(), entry, file });
            }
        }
        drafts.into_iter().map(|(entry, draft)| self.finish(&entry, &draft)).collect()
    }

    fn finish(&mut self, entry: &[u8], draft: &Draft) -> Result<Entry, IndexError> {
        let missing =
            |field| IndexError::Incomplete { repo: self.repo.to_owned(), entry: entry.escape_ascii().to_string(), field };
        let desc = draft.desc.ok_or_else(|| missing("NAME"))?;
        let text = &self.text[desc.range()];
        let find = |field| {
            let value = Desc(text).value(field).filter(|value| is_word(value)).ok_or_else(|| missing(field))?;
            // A value is a part of the text that it was found in.
            let start = value.as_ptr() as usize - text.as_ptr() as usize;
            Ok(Span { start: desc.start + start as u32, len: value.len() as u32 })
        };
        let (name, version) = (find("NAME")?, find("VERSION")?);
        Ok(Entry { desc, depends: draft.depends.unwrap_or_default(), name, version, repo: self.number })
    }
}

/// Tells whether a value can be a name or a version: text without anything that would forge a line or a path.
fn is_word(value: &[u8]) -> bool {
    let is_plain = |byte: &u8| !byte.is_ascii_control() && !byte.is_ascii_whitespace() && *byte != b'/';
    std::str::from_utf8(value).is_ok() && value.iter().all(is_plain)
}

/// Adds the fields that are needed to the text.
fn keep(repo: &str, text: &mut Vec<u8>, desc: Desc<'_>) -> Result<Span, IndexError> {
    let start = text.len();
    for field in desc.fields().filter(|field| FIELDS.iter().any(|name| name.as_bytes() == field.name)) {
        text.push(b'%');
        text.extend_from_slice(field.name);
        text.extend_from_slice(b"%\n");
        text.extend_from_slice(field.body);
        if field.body.last().is_some_and(|byte| *byte != b'\n') {
            text.push(b'\n');
        }
        text.push(b'\n');
    }
    if text.len() as u64 > limit::INDEX_BYTES_MAX {
        let what = "the text".to_owned();
        return Err(IndexError::TooLarge { repo: repo.to_owned(), what, limit_bytes: limit::INDEX_BYTES_MAX });
    }
    Ok(Span { start: start as u32, len: (text.len() - start) as u32 })
}

// ---- the second look ------------------------------------------------------------------------------------------------

fn malformed(field: &'static str, found: &[u8], wanted: &'static str) -> Flaw {
    let found = String::from_utf8_lossy(found).chars().take(SHOWN_MAX).collect();
    Flaw::Malformed { field, found, wanted }
}

fn text_of<'a>(field: &'static str, value: &'a [u8]) -> Result<&'a str, Flaw> {
    std::str::from_utf8(value).map_err(|_| malformed(field, value, "text in UTF-8"))
}

/// Tells whether a package of this architecture runs on that one. The levels of x86-64 are for whoever set up a repository of them.
fn runs_on(own: &str, arch: &str) -> bool {
    let is_level = || own.strip_prefix(arch).is_some_and(|rest| matches!(rest, "_v2" | "_v3" | "_v4"));
    own == "any" || own == arch || is_level()
}

fn read_relations(arch: &str, parts: [Desc<'_>; 2]) -> Result<Relations, Flaw> {
    let own = parts[0].value("ARCH").ok_or(Flaw::Missing("ARCH"))?;
    if !runs_on(text_of("ARCH", own)?, arch) {
        return Err(malformed("ARCH", own, "the architecture of the plan or `any`"));
    }
    let texts = |field: &'static str| {
        let values = parts.into_iter().flat_map(move |part| part.values(field));
        values.map(move |value| text_of(field, value))
    };
    let requires = texts("DEPENDS").map(|text| Ok(Requirement(vec![relation::constraint(text?)])));
    Ok(Relations {
        requires: requires.collect::<Result<_, Flaw>>()?,
        provides: texts("PROVIDES").map(|text| Ok(relation::capability(text?))).collect::<Result<_, Flaw>>()?,
        conflicts: texts("CONFLICTS").map(|text| Ok(relation::constraint(text?))).collect::<Result<_, Flaw>>()?,
        ..Relations::default()
    })
}

/// Reads everything but the relations and what the catalog knows by itself.
fn read_package(desc: Desc<'_>, base: &Location) -> Result<Package, Flaw> {
    let optional = |field: &'static str| desc.value(field).map(|value| text_of(field, value)).transpose();
    let required = |field: &'static str| optional(field)?.ok_or(Flaw::Missing(field));
    let bytes =
        |field: &'static str, text: &str| text.parse::<u64>().map_err(|_| malformed(field, text.as_bytes(), "a number of bytes"));
    let (name, version) = (required("NAME")?, required("VERSION")?);
    // Databases of before 2012 have only the other one.
    let checksum = match (optional("SHA256SUM")?, optional("MD5SUM")?) {
        (Some(digest), _) => Checksum::parse(Kind::Sha256, digest)
            .map_err(|_| malformed("SHA256SUM", digest.as_bytes(), "64 hexadecimal digits"))?,
        (None, Some(digest)) => {
            Checksum::parse(Kind::Md5, digest).map_err(|_| malformed("MD5SUM", digest.as_bytes(), "32 hexadecimal digits"))?
        }
        (None, None) => return Err(Flaw::Missing("SHA256SUM")),
    };
    let is_installed = *base == Location::Installed;
    let size_bytes = bytes("CSIZE", if is_installed { optional("ISIZE")?.unwrap_or("1") } else { required("CSIZE")? })?;
    if !is_installed && !(1..=limit::PACKAGE_BYTES_MAX).contains(&size_bytes) {
        return Err(malformed("CSIZE", size_bytes.to_string().as_bytes(), "a number of bytes from 1 to 4294967296"));
    }
    Ok(Package {
        name: name.to_owned(),
        version: version.to_owned(),
        arch: required("ARCH")?.to_owned(),
        repo: String::new(),
        location: if is_installed { Location::Installed } else { location(base, required("FILENAME")?)? },
        sha256: checksum.as_sha256().unwrap_or_else(|| Sha256::of(checksum.to_string().as_bytes())),
        size_bytes,
        proof: checksum.as_sha256().is_none().then(|| checksum.to_string()),
        seal: None,
        installed_bytes: optional("ISIZE")?.map_or(Ok(0), |text| bytes("ISIZE", text))?,
        source: format!("{} {version}", optional("BASE")?.unwrap_or(name)),
        rank: ORDINARY_RANK,
        requires: Vec::new(),
        recommends: Vec::new(),
        provides: Vec::new(),
        conflicts: Vec::new(),
    })
}

/// Joins a package's file name to where its repository lies. It is the name of a file and never a path.
fn location(base: &Location, file: &str) -> Result<Location, Flaw> {
    let is_file = |byte: u8| !byte.is_ascii_control() && !matches!(byte, b'/' | b'\\' | b'?' | b'#' | b'%');
    if file.len() > limit::NAME_BYTES_MAX || file.starts_with('.') || !file.bytes().all(is_file) {
        return Err(malformed("FILENAME", file.as_bytes(), "the name of a file without `/`, `\\`, `?`, `#` and `%`"));
    }
    let escaped = || {
        let escape = |byte: u8| match byte {
            byte if byte.is_ascii_alphanumeric() || b"-._~+:@!$&'()*,;=".contains(&byte) => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        };
        file.bytes().map(escape).collect::<String>()
    };
    Ok(match base {
        Location::Url(url) => Location::Url(format!("{}/{}", url.trim_end_matches('/'), escaped())),
        Location::File(dir) => Location::File(dir.join(file)),
        Location::Installed => Location::Installed,
    })
}
