//! From a source to databases that may be believed: the file, its detached signature, and only then what is in it.
//!
//! Real repositories of Arch Linux have no signatures of their databases: then each package must have one. Where pacman.conf says what must be
//! signed that is asked for, and where that leaves nothing to vouch for the packages more.

use super::config::Signatures;
use super::sources::{Layout, RepoSpec, database_name};
use crate::base::date::Seconds;
use crate::base::digest::Sha256;
use crate::base::error::{Diagnostic, ErrorKind};
use crate::base::limit;
use crate::base::trust::{KeyRef, Seals, Seen, SignedBy, Signer};
use crate::family::address::{BadName, Base};
use crate::family::door::{Door, DoorError};
use crate::family::repo::{self, Index, Options};
use crate::package::Location;

/// A compressed database. Arch's largest (`extra`) has 9 MB, a mirror of AUR builds 30 MB.
const DATABASE_BYTES_MAX: u64 = 512 << 20;
/// A detached signature.
const SIGNATURE_BYTES_MAX: u64 = 64 << 10;
/// The order of databases that nobody named.
const USUAL_ORDER: [&str; 4] = ["core", "extra", "community", "multilib"];

/// A repository cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no database.
    #[error("`{0}` is not a package repository: it has no `.db` file")]
    NotFound(String),
    /// There is a database that must be signed, by what its packages must be or by what was seen before, and is not.
    #[error("the package database `{0}` is not signed")]
    Unsigned(String),
    /// The signature does not count.
    #[error("the signature of `{repo}` cannot be trusted")]
    Signature {
        /// The database.
        repo: String,
        /// Why.
        #[source]
        source: DoorError,
    },
    /// It cannot be fetched.
    #[error("`{repo}` cannot be fetched")]
    Fetch {
        /// The database.
        repo: String,
        /// Why.
        #[source]
        source: DoorError,
    },
    /// The network may not be used, and the database was not kept.
    #[error("`{0}` was never fetched, and the network may not be used")]
    Offline(String),
    /// A database's name is refused.
    #[error(transparent)]
    Name(#[from] BadName),
}

impl Diagnostic for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::NotFound(_) | Error::Offline(_) => ErrorKind::Unavailable,
            Error::Unsigned(_) | Error::Name(_) => ErrorKind::Untrusted,
            Error::Signature { source, .. } | Error::Fetch { source, .. } => source.kind(),
        }
    }

    fn place(&self) -> Option<String> {
        match self {
            Error::Signature { source, .. } | Error::Fetch { source, .. } => source.place(),
            Error::NotFound(repo) | Error::Unsigned(repo) | Error::Offline(repo) => Some(repo.clone()),
            Error::Name(_) => None,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Error::NotFound(_) => {
                vec!["name a directory with `NAME.db`, or a server as in `https://mirror/$repo/os/$arch`".to_owned()]
            }
            Error::Unsigned(_) => {
                vec!["sign it with `repo-add --sign`, or take it as it is with `--no-verify`".to_owned()]
            }
            Error::Offline(_) => vec!["run once without `--offline`".to_owned()],
            Error::Signature { source, .. } | Error::Fetch { source, .. } => source.hints(),
            Error::Name(_) => Vec::new(),
        }
    }
}

/// Opens a repository: verifies its databases and returns them, the one of highest priority first.
pub fn open(spec: &RepoSpec, door: &dyn Door, options: &Options) -> Result<repo::Repository, Error> {
    let mut repository =
        repo::Repository { name: spec.to_string(), signer: None, date: None, priority: 500, indexes: Vec::new() };
    for spec in resolve(spec, door)? {
        let (index, signer) = open_any(&spec, door, options)?;
        repository.signer = repository.signer.or(signer);
        repository.indexes.push(index);
    }
    Ok(repository)
}

/// Opens a database where the first of its servers has it. A server that has another than was signed is not passed over.
fn open_any(spec: &RepoSpec, door: &dyn Door, options: &Options) -> Result<(Index, Option<Signer>), Error> {
    let mut outcome = Opener { spec, door, options }.open();
    for base in &spec.mirrors {
        let Err(Error::Fetch { .. } | Error::NotFound(_)) = &outcome else { break };
        let other = RepoSpec { base: base.clone(), mirrors: Vec::new(), ..spec.clone() };
        match (Opener { spec: &other, door, options }).open() {
            // Of all that failed the first is told: it is the one that its user knows.
            Err(Error::Fetch { .. } | Error::NotFound(_)) => {}
            next => outcome = next,
        }
    }
    outcome
}

/// Finds out which databases a lone address has.
fn resolve(spec: &RepoSpec, door: &dyn Door) -> Result<Vec<RepoSpec>, Error> {
    let Layout::Guess(wanted) = &spec.layout else { return Ok(vec![spec.clone()]) };
    let one = |base: Base, file: String| RepoSpec { base, layout: Layout::Database(file), ..spec.clone() };
    let below = |name: &str| format!("{name}/os/{}", spec.arch);
    let found: Vec<RepoSpec> = match &spec.base {
        Base::Dir(dir) => {
            let files = door.names(dir);
            let here = in_order(&files, wanted).into_iter().map(|file| one(spec.base.clone(), file));
            let there = wanted.iter().filter_map(|name| {
                let dir = dir.join(below(name));
                let files = door.names(&dir);
                let file = files.iter().find(|file| database_name(file) == Some(name))?;
                Some(one(Base::Dir(dir), file.clone()))
            });
            let here: Vec<RepoSpec> = here.collect();
            if here.is_empty() { there.collect() } else { here }
        }
        Base::Url(url) => {
            let mut found = Vec::new();
            for name in wanted {
                let file = format!("{name}.db");
                for base in [spec.base.clone(), Base::Url(format!("{url}/{}", below(name)))] {
                    let probe = door.fetch(&base.join(&file)?, DATABASE_BYTES_MAX);
                    if probe.map_err(|source| Error::Fetch { repo: format!("{base}/{file}"), source })?.is_some() {
                        found.push(one(base, file));
                        break;
                    }
                }
            }
            found
        }
    };
    if found.is_empty() { Err(Error::NotFound(spec.to_string())) } else { Ok(found) }
}

/// Returns the databases among files: those wanted in the order in which they are, else all of them. One that is there in several forms
/// counts once, `NAME.db` before the file that it is usually a link to.
fn in_order(files: &[String], wanted: &[String]) -> Vec<String> {
    let mut found: Vec<(&str, &String)> = files.iter().filter_map(|file| Some((database_name(file)?, file))).collect();
    found.sort();
    found.dedup_by_key(|(name, _)| *name);
    let place = |order: &[&str], name: &str| order.iter().position(|other| *other == name);
    let names: Vec<&str> = wanted.iter().map(String::as_str).collect();
    let mut chosen: Vec<_> = found.iter().filter_map(|(name, file)| Some((place(&names, name)?, *file))).collect();
    if chosen.is_empty() {
        let usual = |(at, (name, file)): (usize, &(&str, &'_ String))| {
            (place(&USUAL_ORDER, name).unwrap_or(USUAL_ORDER.len() + at), (*file).clone())
        };
        let mut all: Vec<(usize, String)> = found.iter().enumerate().map(usual).collect();
        all.sort();
        return all.into_iter().map(|(_, file)| file).collect();
    }
    chosen.sort();
    chosen.into_iter().map(|(_, file)| file.clone()).collect()
}

struct Opener<'a> {
    spec: &'a RepoSpec,
    door: &'a dyn Door,
    options: &'a Options,
}

impl Opener<'_> {
    fn open(&self) -> Result<(Index, Option<Signer>), Error> {
        let Layout::Database(file) = &self.spec.layout else { return Err(Error::NotFound(self.spec.to_string())) };
        let repo = self.spec.to_string();
        let is_local = matches!(self.spec.base, Base::Dir(_));
        let (bytes, signature) = match self.options.offline && !is_local {
            true => self.kept(file)?,
            false => {
                let bytes = self.fetch(file, DATABASE_BYTES_MAX)?.ok_or_else(|| Error::NotFound(repo.clone()))?;
                let signature = match self.options.verify {
                    true => self.fetch(&format!("{file}.sig"), SIGNATURE_BYTES_MAX)?,
                    false => None,
                };
                (bytes, signature)
            }
        };
        let asked = self.spec.sig_level.map_or(Signatures::Optional, |level| level.database);
        let signer = match (self.options.verify, &signature) {
            (false, _) => None,
            (true, None) if asked == Signatures::Required || self.was_signed(file) => return Err(Error::Unsigned(repo)),
            (true, None) => None,
            (true, Some(_)) if asked == Signatures::Never => None,
            (true, Some(signature)) => {
                let judged = self.door.verify(&self.keys(1), &bytes, signature);
                Some(judged.map_err(|source| Error::Signature { repo: repo.clone(), source })?)
            }
        };
        let mut index = Index::new(database_name(file).unwrap_or(file), Location::from(&self.spec.base), bytes);
        if self.options.verify {
            index.seals = self.seals(signer.is_some()).ok_or(Error::Unsigned(repo))?;
        }
        if !is_local && !self.options.offline {
            self.remember(file, &index, signature.as_deref(), self.options.now);
        }
        Ok((index, signer))
    }

    /// Returns which packages must be signed themselves; nothing where neither they nor the database are.
    fn seals(&self, is_signed: bool) -> Option<Option<Seals>> {
        let package = match (self.spec.sig_level, is_signed) {
            (None, true) => Signatures::Never,
            (None, false) => Signatures::Required,
            (Some(level), _) => level.package,
        };
        let seals = |required| Some(Seals { signed_by: self.keys(0), required });
        match (package, is_signed) {
            (Signatures::Never, true) => Some(None),
            (Signatures::Never, false) => None,
            // pacman takes a package without a signature from a database without one. Nothing vouches for such a package.
            (Signatures::Optional, is_signed) => Some(seals(!is_signed)),
            (Signatures::Required, _) => Some(seals(true)),
        }
    }

    /// The keys that may sign packages (0) or databases (1): all of the keyring, if so configured.
    fn keys(&self, of: usize) -> SignedBy {
        let mut signed_by = self.spec.signed_by.clone();
        if self.spec.sig_level.is_some_and(|level| level.trust_all[of]) {
            for key in &mut signed_by.keys {
                if let KeyRef::Endorsed(dir) = key {
                    *key = KeyRef::Every(std::mem::take(dir));
                }
            }
        }
        signed_by
    }

    /// Tells whether the database had a signature when it was last seen: whoever takes that away has a reason.
    fn was_signed(&self, file: &str) -> bool {
        let is_signature = |(name, _): &(String, Sha256)| name.strip_suffix(".sig") == Some(file);
        self.door.seen(&self.spec.key()).is_some_and(|seen| seen.files.iter().any(is_signature))
    }

    fn fetch(&self, file: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, Error> {
        let fetched = self.door.fetch(&self.spec.base.join(file)?, bytes_max.min(limit::INDEX_BYTES_MAX));
        fetched.map_err(|source| Error::Fetch { repo: self.spec.to_string(), source })
    }

    /// Returns what was last fetched.
    fn kept(&self, file: &str) -> Result<(Vec<u8>, Option<Vec<u8>>), Error> {
        let missing = || Error::Offline(self.spec.to_string());
        let seen = self.door.seen(&self.spec.key()).ok_or_else(missing)?;
        let get = |name: &str| {
            let (_, sha256) = seen.files.iter().find(|(kept, _)| kept == name)?;
            self.door.cached(sha256)
        };
        Ok((get(file).ok_or_else(missing)?, get(&format!("{file}.sig"))))
    }

    fn remember(&self, file: &str, index: &Index, signature: Option<&[u8]>, now: Seconds) {
        self.door.keep(&index.sha256, &index.bytes);
        let mut files = vec![(file.to_owned(), index.sha256)];
        if let Some(signature) = signature {
            let sha256 = Sha256::of(signature);
            self.door.keep(&sha256, signature);
            files.push((format!("{file}.sig"), sha256));
        }
        self.door.remember(&Seen { repository: self.spec.key(), date: now, text: index.sha256, fetched: now, files });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_come_in_the_order_of_the_profile_or_the_usual_one() {
        let files =
            ["aur.db", "community.db.tar.gz", "core.db", "core.db.sig", "core.db.tar.gz", "core.files", "extra.db", "readme"];
        let files: Vec<String> = files.iter().map(|file| (*file).to_owned()).collect();
        let wanted = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(in_order(&files, &wanted(&["extra", "core", "none"])), ["extra.db", "core.db"]);
        assert_eq!(in_order(&files, &[]), ["core.db", "extra.db", "community.db.tar.gz", "aur.db"]);
        assert_eq!(in_order(&files, &wanted(&["none"])), ["core.db", "extra.db", "community.db.tar.gz", "aur.db"]);
    }
}
