//! The catalog over `primary.xml`: names and offers at once, everything else when it is asked for.
//!
//! `filelists.xml` is looked at only for paths that `primary.xml` does not have by its format: everything but `/etc`, the
//! `bin` directories and `/usr/lib/sendmail`. Format: <https://github.com/rpm-software-management/createrepo_c>.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering as AtomicOrdering};
use std::sync::{Arc, OnceLock};

use memchr::memchr_iter;

use super::arch;
use super::entry;
use super::files::Files;
use super::scan::{self, Count, Entry, Found, ScanError};
use super::symbol::{Groups, Symbols, Texts};
use super::version::{self, Relation};
use crate::base::error::{Diagnostic, ErrorKind};
use crate::base::glob;
use crate::base::limit;
use crate::base::trust::{Seal, SealPlace, Seals};
use crate::family::repo::{self, Policy};
use crate::package::{
    Catalog, Constraint, Excluded, Flaw, Location, Op, Package, PackageId, Refusal, Relations, Resolver, Solvables, Terms,
};

/// Where the first tag of metadata stands.
const HEAD_BYTES: usize = 4096;

/// The verified metadata of one repository.
#[derive(Debug)]
pub struct Index {
    /// The repository as shown to people: `fedora`.
    pub label: String,
    /// What each package's location is relative to: the directory above `repodata`.
    pub base: Location,
    /// Which of its packages count, and before whose.
    pub policy: Policy,
    /// `primary.xml`, decompressed.
    pub primary: Vec<u8>,
    /// `filelists.xml`, decompressed; empty if it was not fetched.
    pub filelists: Vec<u8>,
    /// How its packages are signed themselves, where that counts.
    pub seals: Option<Seals>,
    /// There is a `filelists.xml` that was not read.
    pub has_unread_files: bool,
}

/// An index cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// A package without a name, a version or an architecture.
    #[error("a package in the metadata of `{repo}` has no `{field}`")]
    Incomplete {
        /// The repository.
        repo: String,
        /// The line where it begins.
        line: usize,
        /// What is missing.
        field: &'static str,
    },
    /// It is not the XML that it should be.
    #[error("the metadata of `{repo}` are damaged: {what}")]
    Damaged {
        /// The repository.
        repo: String,
        /// The line where that is noticed.
        line: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// More than a repository may have.
    #[error("the metadata of `{repo}` have more than {limit}")]
    TooLarge {
        /// The repository.
        repo: String,
        /// The limit with its unit.
        limit: String,
    },
}

impl Diagnostic for IndexError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Untrusted
    }

    fn place(&self) -> Option<String> {
        match self {
            Self::Incomplete { repo, line, .. } | Self::Damaged { repo, line, .. } => {
                Some(format!("{repo}, line {line} of primary.xml"))
            }
            Self::TooLarge { repo, .. } => Some(repo.clone()),
        }
    }
}

/// What is known of a repository besides its text.
#[derive(Debug)]
struct Origin {
    label: String,
    base: Location,
    policy: Policy,
    seals: Option<Seals>,
}

impl Origin {
    /// Tells whether a package counts: by its name, with or without its version and architecture.
    fn has(&self, name: &str, version: &str, arch: &str) -> bool {
        let Policy { excluded, included, .. } = &self.policy;
        if excluded.is_empty() && included.is_empty() {
            return true;
        }
        let (epoch, plain) = version.split_once(':').unwrap_or(("0", version));
        let upstream = plain.split_once('-').map_or(plain, |(upstream, _)| upstream);
        let forms = [
            name.to_owned(),
            format!("{name}.{arch}"),
            format!("{name}-{upstream}"),
            format!("{name}-{plain}"),
            format!("{name}-{plain}.{arch}"),
            format!("{name}-{epoch}:{plain}"),
            format!("{name}-{epoch}:{plain}.{arch}"),
        ];
        let is_meant =
            |globs: &[String]| globs.iter().any(|glob| forms.iter().any(|form| glob::matches(glob.as_bytes(), form.as_bytes())));
        !is_meant(excluded) && (included.is_empty() || is_meant(included))
    }
}

/// The packages of some repositories for one architecture, those that run on it and `noarch`, in the order of the indexes.
///
/// Of several packages of one name the highest version is the best; of one version the best architecture, then the first.
#[derive(Debug)]
pub struct RpmCatalog {
    arches: Vec<String>,
    origins: Vec<Origin>,
    texts: Texts,
    entries: Vec<Entry>,
    symbols: Symbols,
    named: Groups,
    /// Those that may not be taken, sorted by the symbol of their name.
    excluded: Vec<(u32, scan::Excluded)>,
    offered: Groups,
    obsoleted: Groups,
    supplementing: Vec<PackageId>,
    relations: Vec<OnceLock<Box<Result<Relations, Refusal>>>>,
    filelists: Vec<Vec<u8>>,
    files: OnceLock<Files>,
    has_unread_files: bool,
    /// A path was asked for that only a list of all files can tell.
    was_asked_for_files: AtomicBool,
}

impl RpmCatalog {
    /// Reads indexes. Packages for architectures that do not run on this one are left out, sources too.
    pub fn new(arch: &str, indexes: Vec<Index>) -> Result<Self, IndexError> {
        Self::read(arch, indexes, &|_, _| false)
    }

    /// Reads indexes, without the packages that `hide` tells by where they come from and by name.
    fn read(arch: &str, indexes: Vec<Index>, hide: &dyn Fn(&Location, &str) -> bool) -> Result<Self, IndexError> {
        let arches = arch::compatible(arch);
        let is_wanted = |name: &[u8]| name == b"noarch" || arches.iter().any(|arch| arch.as_bytes() == name);
        let mut texts = Texts::default();
        let (mut origins, mut filelists) = (Vec::new(), Vec::new());
        let has_unread_files = indexes.iter().any(|index| index.has_unread_files);
        for index in indexes {
            if index.primary.len() as u64 >= limit::INDEX_BYTES_MAX {
                return Err(IndexError::TooLarge { repo: index.label, limit: format!("{} bytes", limit::INDEX_BYTES_MAX) });
            }
            texts.indexes.push(Arc::new(index.primary));
            filelists.push(index.filelists);
            origins.push(Origin { label: index.label, base: index.base, policy: index.policy, seals: index.seals });
        }
        let mut found = Found::default();
        for (number, origin) in origins.iter().enumerate() {
            let has = |name: &str, version: &str, arch: &str| match origin.has(name, version, arch) {
                _ if hide(&origin.base, name) => Count::Hidden,
                true => Count::Counts,
                false => Count::Excluded,
            };
            let result = found.scan(&mut texts, number as u16, &is_wanted, &has);
            result.map_err(|error| from_scan(error, &origin.label, &texts.indexes[number]))?;
        }
        let Found { entries, symbols, named, mut excluded, mut offered, obsoleted, supplementing } = found;
        excluded.sort_by_key(|(symbol, _)| *symbol);
        // A name can be offered in several versions.
        offered.dedup();
        let mut named = Groups::new(symbols.len(), &named);
        let rank = |id: PackageId| {
            let entry = &entries[id as usize];
            arches.iter().position(|arch| arch.as_bytes() == texts.get(entry.index, entry.arch))
        };
        let version = |id: PackageId| texts.str(entries[id as usize].index, entries[id as usize].version);
        named.sort_each(|&a, &b| version::compare(version(b), version(a)).then_with(|| rank(a).cmp(&rank(b))).then(a.cmp(&b)));
        let offered = Groups::new(symbols.len(), &offered);
        let obsoleted = Groups::new(symbols.len(), &obsoleted);
        let relations = (0..entries.len()).map(|_| OnceLock::new()).collect();
        let files = OnceLock::new();
        Ok(Self {
            arches,
            origins,
            texts,
            entries,
            symbols,
            named,
            excluded,
            offered,
            obsoleted,
            supplementing,
            relations,
            filelists,
            files,
            has_unread_files,
            was_asked_for_files: AtomicBool::new(false),
        })
    }

    /// Reads the indexes of repositories: of each its `primary.xml`, then its `filelists.xml` if that is there.
    pub fn of(arch: &str, indexes: Vec<repo::Index>) -> Result<Self, IndexError> {
        Self::without(arch, indexes, &|_, _| false)
    }

    /// Like [`RpmCatalog::of`], but leaves out the packages that `hide` tells by where they come from and by name.
    pub fn without(arch: &str, indexes: Vec<repo::Index>, hide: &dyn Fn(&Location, &str) -> bool) -> Result<Self, IndexError> {
        let mut read: Vec<Index> = Vec::new();
        for index in indexes {
            let head = &index.bytes[..index.bytes.len().min(HEAD_BYTES)];
            match read.last_mut() {
                Some(last) if memchr::memmem::find(head, b"<filelists").is_some() => last.filelists = index.bytes,
                _ => read.push(Index {
                    label: index.label,
                    base: index.base,
                    policy: index.policy,
                    primary: index.bytes,
                    filelists: Vec::new(),
                    seals: index.seals,
                    has_unread_files: index.has_unread_files,
                }),
            }
        }
        Self::read(arch, read, hide)
    }

    fn entry(&self, id: PackageId) -> &Entry {
        &self.entries[id as usize]
    }

    /// libsolv's priority of a repository, which is the other way round: the highest counts.
    fn index_priority(&self, index: u16) -> i32 {
        self.origins[index as usize].policy.priority.saturating_neg()
    }

    fn element(&self, id: PackageId) -> &[u8] {
        let entry = self.entry(id);
        self.texts.get(entry.index, entry.element)
    }

    fn refuse(&self, id: PackageId, flaw: Flaw) -> Refusal {
        Refusal { package: self.name(id).to_owned(), repo: self.repo(id).to_owned(), flaw }
    }

    fn group<'g>(&self, groups: &'g Groups, name: &str) -> &'g [PackageId] {
        self.symbols.find(&self.texts, name.as_bytes()).map_or(&[], |symbol| groups.get(symbol))
    }

    fn files(&self) -> &Files {
        self.files.get_or_init(|| {
            let mut ids: HashMap<&[u8], Vec<PackageId>> = HashMap::new();
            for (id, entry) in self.entries.iter().enumerate() {
                ids.entry(self.texts.get(entry.index, entry.digest)).or_default().push(id as PackageId);
            }
            Files::new(&self.filelists, &ids, |id| usize::from(self.entry(id).index))
        })
    }
}

/// Tells whether `primary.xml` lists every file of this path.
pub fn is_in_primary(path: &[u8]) -> bool {
    path.starts_with(b"/etc/") || path == b"/usr/lib/sendmail" || memchr::memmem::find(path, b"bin/").is_some()
}

fn from_scan(error: ScanError, repo: &str, text: &[u8]) -> IndexError {
    let repo = repo.to_owned();
    let line = |at: usize| 1 + memchr_iter(b'\n', &text[..at]).count();
    match error {
        ScanError::Xml(flaw) => IndexError::Damaged { repo, line: line(flaw.at), what: flaw.what },
        ScanError::Incomplete(at, field) => IndexError::Incomplete { repo, line: line(at), field },
        ScanError::TooMany => IndexError::TooLarge { repo, limit: format!("{} packages", limit::INDEX_PACKAGES_MAX) },
    }
}

/// Tells whether two ranges of versions have one in common, as rpm and libsolv see it.
pub fn overlaps(offered: &(Op, String), wanted: &(Op, String)) -> bool {
    use Ordering::{Equal, Greater, Less};
    let below = |op: Op| matches!(op, Op::Less | Op::LessEqual);
    let above = |op: Op| matches!(op, Op::Greater | Op::GreaterEqual);
    let with = |op: Op| matches!(op, Op::LessEqual | Op::Equal | Op::GreaterEqual);
    let ((have, have_version), (want, want_version)) = (offered, wanted);
    if (below(*have) && below(*want)) || (above(*have) && above(*want)) {
        return true;
    }
    match version::relate(have_version, want_version) {
        Relation::FirstIsWider => with(*have),
        Relation::SecondIsWider => with(*want),
        Relation::Order(Equal) => with(*have) && with(*want),
        Relation::Order(Less) => below(*want) || above(*have),
        Relation::Order(Greater) => above(*want) || below(*have),
    }
}

impl Catalog for RpmCatalog {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn resolver(&self) -> Resolver {
        Resolver::Libsolv
    }

    fn repos(&self) -> Vec<&str> {
        self.origins.iter().map(|origin| origin.label.as_str()).collect()
    }

    fn name(&self, id: PackageId) -> &str {
        self.texts.str(self.entry(id).index, self.entry(id).name)
    }

    fn version(&self, id: PackageId) -> &str {
        self.texts.str(self.entry(id).index, self.entry(id).version)
    }

    fn repo(&self, id: PackageId) -> &str {
        &self.origins[self.entry(id).index as usize].label
    }

    fn rank(&self, _: PackageId) -> u8 {
        crate::package::ORDINARY_RANK
    }

    fn relations(&self, id: PackageId) -> Result<&Relations, &Refusal> {
        let read = || Box::new(entry::terms(self.element(id)).map(entry::relations).map_err(|flaw| self.refuse(id, flaw)));
        self.relations[id as usize].get_or_init(read).as_ref().as_ref()
    }

    fn package(&self, id: PackageId) -> Result<Package, Refusal> {
        let relations = self.relations(id).map_err(Clone::clone)?.clone();
        let origin = &self.origins[self.entry(id).index as usize];
        let package = entry::package(self.element(id), &origin.base).map_err(|flaw| self.refuse(id, flaw))?;
        let seal = |by: &Seals| Box::new(Seal { by: by.clone(), place: SealPlace::Header });
        Ok(Package {
            name: self.name(id).to_owned(),
            version: self.version(id).to_owned(),
            arch: self.arch(id).to_owned(),
            repo: self.repo(id).to_owned(),
            rank: self.rank(id),
            seal: origin.seals.as_ref().map(seal),
            requires: relations.requires,
            recommends: relations.recommends,
            provides: relations.provides,
            conflicts: relations.conflicts,
            ..package
        })
    }

    fn named(&self, name: &str) -> &[PackageId] {
        self.group(&self.named, name)
    }

    fn providers(&self, name: &str) -> &[PackageId] {
        self.group(&self.offered, name)
    }

    fn meets(&self, id: PackageId, constraint: &Constraint) -> bool {
        self.is_named(id, constraint) || self.offers_in(id, constraint)
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

    fn lacks_files(&self) -> bool {
        self.has_unread_files && self.was_asked_for_files.load(AtomicOrdering::Relaxed)
    }

    fn solvables(&self) -> Option<&dyn Solvables> {
        Some(self)
    }
}

impl Solvables for RpmCatalog {
    fn arch(&self, id: PackageId) -> &str {
        self.texts.str(self.entry(id).index, self.entry(id).arch)
    }

    fn arches(&self) -> &[String] {
        &self.arches
    }

    fn priority(&self, id: PackageId) -> i32 {
        self.index_priority(self.entry(id).index)
    }

    fn excluded(&self, name: &str) -> Vec<Excluded<'_>> {
        let Some(symbol) = self.symbols.find(&self.texts, name.as_bytes()) else { return Vec::new() };
        let start = self.excluded.partition_point(|(other, _)| *other < symbol);
        let meant = self.excluded[start..].iter().take_while(|(other, _)| *other == symbol);
        let one = |(_, found): &(u32, scan::Excluded)| Excluded {
            arch: self.texts.str(found.index, found.arch),
            version: self.texts.str(found.index, found.version),
            priority: self.index_priority(found.index),
        };
        meant.map(one).collect()
    }

    fn supplementing(&self) -> &[PackageId] {
        &self.supplementing
    }

    fn obsoleting(&self, name: &str) -> &[PackageId] {
        self.group(&self.obsoleted, name)
    }

    fn terms(&self, id: PackageId) -> Option<&Terms> {
        self.relations(id).ok()?.terms.as_deref()
    }

    fn offering(&self, name: &str) -> Vec<PackageId> {
        let mut ids = self.providers(name).to_vec();
        if name.starts_with('/') && !is_in_primary(name.as_bytes()) {
            self.was_asked_for_files.store(true, AtomicOrdering::Relaxed);
            ids.extend_from_slice(&self.files().with(name.as_bytes()));
        } else if !name.starts_with('/') {
            // Packages that do not say that they offer themselves.
            ids.extend_from_slice(self.named(name));
        }
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    fn offering_like(&self, is_meant: &dyn Fn(&str) -> bool) -> Vec<PackageId> {
        let symbols = 0..self.symbols.len() as u32;
        let is_meant = |symbol: &u32| std::str::from_utf8(self.symbols.name(&self.texts, *symbol)).is_ok_and(is_meant);
        let mut ids: Vec<PackageId> = symbols.filter(is_meant).flat_map(|symbol| self.offered.get(symbol)).copied().collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    fn offers_in(&self, id: PackageId, constraint: &Constraint) -> bool {
        let Some(wanted) = &constraint.range else {
            return self.offering(&constraint.name).binary_search(&id).is_ok();
        };
        let Some(terms) = self.terms(id) else { return false };
        let mut offers = terms.provides.iter().filter(|offer| offer.name == constraint.name);
        offers.any(|offer| offer.range.as_ref().is_none_or(|range| overlaps(range, wanted)))
            || (self.is_named(id, constraint) && !terms.provides.iter().any(|offer| offer.name == constraint.name))
    }

    fn is_named(&self, id: PackageId, constraint: &Constraint) -> bool {
        self.name(id) == constraint.name
            && constraint.range.as_ref().is_none_or(|range| overlaps(&(Op::Equal, self.version(id).to_owned()), range))
    }

    fn compare_loosely(&self, a: &str, b: &str) -> Ordering {
        match version::relate(a, b) {
            Relation::Order(order) => order,
            _ => Ordering::Equal,
        }
    }
}
