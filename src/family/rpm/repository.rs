//! From a source to verified metadata: `repomd.xml` and its signature, then each file by its digest.
//!
//! The order is the security: size cap, signature over the exact bytes, and only then parsing; a compressed file by size and
//! digest before it is decompressed.

use super::metalink::{self, Mirrors};
use super::sources::{MirrorList, RepoSpec};
use super::xml::{self, Scanner};
use crate::base::checksum::{Checksum, Kind};
use crate::base::date::{self, Seconds};
use crate::base::digest::Sha256;
use crate::base::error::{Diagnostic, ErrorKind};
use crate::base::limit;
use crate::base::trust::{Seals, Seen, Signer};
use crate::family::address::{BadName, Base};
use crate::family::door::{Door, DoorError};
use crate::family::repo::{Index, Options, Repository};
use crate::format::compress::{Format, decode};

/// The list of a repository's metadata.
const LIST: &str = "repodata/repomd.xml";
/// Its signature.
const SIGNATURE: &str = "repodata/repomd.xml.asc";
/// Bytes of a signature.
const SIGNATURE_BYTES_MAX: u64 = 1 << 20;
/// What a list of mirrors is kept as.
const MIRRORS: &str = "mirrors";
/// Bytes of a list of mirrors. Fedora's has 30 KB.
const MIRRORS_BYTES_MAX: u64 = 4 << 20;
/// Mirrors that are asked before it is given up: where so many do not answer, it is not they.
const MIRRORS_MAX: usize = 8;
/// The priority of a repository of which nobody says another, and what it counts among all.
const USUAL_PRIORITY: (i32, i32) = (99, 500);

/// A repository cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no list of metadata.
    #[error("`{0}` is not a package repository: it has no `repodata/repomd.xml`")]
    NotFound(String),
    /// There is a repository, but its metadata must be signed, by its configuration or by what was seen before.
    #[error("the metadata of `{0}` are not signed")]
    Unsigned(String),
    /// The signature does not count.
    #[error("the signature of `{repo}` cannot be trusted")]
    Signature {
        /// The repository.
        repo: String,
        /// Why.
        #[source]
        source: DoorError,
    },
    /// A file cannot be fetched.
    #[error("`{repo}` cannot be read")]
    Fetch {
        /// The repository.
        repo: String,
        /// Why.
        #[source]
        source: DoorError,
    },
    /// The list of mirrors cannot be used.
    #[error("the list of mirrors of `{repo}` cannot be used: {what}")]
    Mirrors {
        /// The repository.
        repo: String,
        /// Where the list is.
        list: String,
        /// What is wrong.
        what: String,
    },
    /// A mirror has other metadata than the metalink says.
    #[error("`{mirror}` has a `repomd.xml` of `{repo}` that the metalink does not know")]
    Unknown {
        /// The repository.
        repo: String,
        /// The mirror.
        mirror: String,
    },
    /// A name in the list leaves the repository.
    #[error("the list of metadata of `{repo}` names a file outside of it")]
    Name {
        /// The repository.
        repo: String,
        /// Which.
        #[source]
        source: BadName,
    },
    /// The list is damaged or lacks something.
    #[error("`repomd.xml` of `{repo}` cannot be used: {what}")]
    List {
        /// The repository.
        repo: String,
        /// What is wrong.
        what: String,
    },
    /// A file is listed and not there.
    #[error("`{repo}` lists `{name}` and does not have it")]
    Gone {
        /// The repository.
        repo: String,
        /// The file.
        name: String,
    },
    /// A file differs from what the list says of it.
    #[error("`{name}` of `{repo}` does not have the digest {wanted} that `repomd.xml` says")]
    Digest {
        /// The repository.
        repo: String,
        /// The file.
        name: String,
        /// What the list says.
        wanted: Checksum,
    },
    /// A file cannot be decompressed.
    #[error("`{name}` of `{repo}` cannot be decompressed")]
    Decompress {
        /// The repository.
        repo: String,
        /// The file.
        name: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is older than what was seen before.
    #[error("the metadata of `{repo}` go back in time: they are of {found}, and such of {seen} were seen before")]
    Rollback {
        /// The repository.
        repo: String,
        /// Its date.
        found: String,
        /// The date seen before.
        seen: String,
    },
    /// It was never read while there was a network.
    #[error("the metadata of `{0}` are not on this machine")]
    NeverSeen(String),
}

impl Diagnostic for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::NotFound(_) | Error::Gone { .. } | Error::NeverSeen(_) => ErrorKind::Unavailable,
            Error::Fetch { source, .. } => source.kind(),
            _ => ErrorKind::Untrusted,
        }
    }

    fn place(&self) -> Option<String> {
        match self {
            Error::Mirrors { list, .. } => Some(list.clone()),
            _ => None,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Error::Unsigned(_) => vec!["`--no-verify` takes it as it is, if you trust where it comes from".to_owned()],
            Error::Signature { source, .. } | Error::Fetch { source, .. } => source.hints(),
            Error::NeverSeen(_) => vec!["run once without `--offline`".to_owned()],
            _ => Vec::new(),
        }
    }
}

/// A file of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listed {
    name: String,
    checksum: Checksum,
    open_checksum: Option<Checksum>,
    size_bytes: Option<u64>,
}

/// What the list says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct List {
    date: Option<Seconds>,
    primary: Listed,
    filelists: Option<Listed>,
}

impl Error {
    /// Tells whether another mirror may do better. What is signed wrongly or goes back in time is not passed over.
    fn is_of_mirror(&self) -> bool {
        let fetched_badly = matches!(self, Error::NotFound(_) | Error::Fetch { .. } | Error::Gone { .. });
        fetched_badly || matches!(self, Error::Digest { .. } | Error::Unknown { .. } | Error::Decompress { .. })
    }
}

/// Opens a repository: verifies its list of metadata and returns them. Of several mirrors the first that has it serves.
pub fn open(spec: &RepoSpec, door: &dyn Door, options: &Options) -> Result<Repository, Error> {
    let repo = spec.to_string();
    let mut own = spec.bases.iter().cloned();
    let (mut first, mut asked) = (None, 0);
    let mut attempt = |base: Base, mirrors: &Kept| {
        let outcome = Opener { spec, base: base.clone(), mirrors, door, options, repo: repo.clone() }.open();
        match outcome {
            Err(error) if error.is_of_mirror() => {
                door.warn(&format!("`{repo}` is not taken from {base}: {error}"));
                // Of all that failed the first is told: it is the one that its user knows.
                first.get_or_insert(error);
                None
            }
            outcome => Some(outcome),
        }
    };
    // A lone address has nobody to stand in for it: its own error says more than a warning.
    if let ([base], None) = (&spec.bases[..], &spec.list) {
        let mirrors = Kept::default();
        return Opener { spec, base: base.clone(), mirrors: &mirrors, door, options, repo: repo.clone() }.open();
    }
    if let Some(outcome) = own.find_map(|base| attempt(base, &Kept::default())) {
        return outcome;
    }
    if let Some(list) = &spec.list {
        let kept = mirrors(spec, list, door, options)?;
        for base in &kept.list.bases {
            asked += 1;
            if let Some(outcome) = attempt(base.clone(), &kept) {
                return outcome;
            }
            if asked == MIRRORS_MAX {
                break;
            }
        }
    }
    Err(first.unwrap_or(Error::NotFound(repo)))
}

/// A list of mirrors, as it is read and as it came.
#[derive(Default)]
struct Kept {
    list: Mirrors,
    bytes: Vec<u8>,
}

/// Fetches the list of mirrors, or takes the one that was kept with the metadata.
fn mirrors(spec: &RepoSpec, list: &MirrorList, door: &dyn Door, options: &Options) -> Result<Kept, Error> {
    let repo = spec.to_string();
    let bytes = match options.offline && matches!(list.location(), crate::package::Location::Url(_)) {
        true => {
            let seen = door.seen(&spec.key());
            let found = seen.and_then(|seen| seen.files.into_iter().find(|(name, _)| name == MIRRORS));
            found.and_then(|(_, sha256)| door.cached(&sha256)).ok_or_else(|| Error::NeverSeen(repo.clone()))?
        }
        false => {
            let fetched = door.fetch(&list.location(), MIRRORS_BYTES_MAX);
            let fetched = fetched.map_err(|source| Error::Fetch { repo: repo.clone(), source })?;
            fetched.ok_or_else(|| Error::Mirrors {
                repo: repo.clone(),
                list: list.to_string(),
                what: "it is not there".into(),
            })?
        }
    };
    let read = match list {
        MirrorList::Metalink(_) => metalink::metalink(&bytes),
        MirrorList::Plain(_) => metalink::plain(&bytes),
    };
    match read {
        Ok(mirrors) => Ok(Kept { list: mirrors, bytes }),
        Err(what) => Err(Error::Mirrors { repo, list: list.to_string(), what }),
    }
}

struct Opener<'a> {
    spec: &'a RepoSpec,
    base: Base,
    mirrors: &'a Kept,
    door: &'a dyn Door,
    options: &'a Options,
    repo: String,
}

impl Opener<'_> {
    fn open(self) -> Result<Repository, Error> {
        let (text, signature) = self.list()?;
        // Before anything in it is read: this is what proves that it is not an old one, and more where the list came over https.
        if !self.mirrors.list.accepts(&text) {
            return Err(Error::Unknown { repo: self.repo.clone(), mirror: self.base.to_string() });
        }
        let signer = self.signer(&text, signature.as_deref())?;
        let list = parse(&text).map_err(|what| Error::List { repo: self.repo.clone(), what })?;
        self.check_direction(&list, &text, signature.as_deref())?;
        let mut indexes = vec![self.index(&list.primary)?];
        if let Some(filelists) = &list.filelists {
            match self.options.files.then(|| self.index(filelists)) {
                Some(Err(err)) if !self.options.offline || err.kind() != ErrorKind::Unavailable => return Err(err),
                Some(Ok(files)) => indexes.push(files),
                _ => indexes[0].has_unread_files = true,
            }
        }
        let seals = self.seals(signer.as_ref());
        indexes.iter_mut().for_each(|index| index.seals = seals.clone());
        let priority = USUAL_PRIORITY.1.saturating_add(USUAL_PRIORITY.0.saturating_sub(self.spec.policy.priority));
        Ok(Repository { name: self.repo, signer, date: list.date, priority, indexes })
    }

    fn fetch(&self, name: &str, size_bytes_max: u64) -> Result<Option<Vec<u8>>, Error> {
        let from = self.base.join(name).map_err(|source| Error::Name { repo: self.repo.clone(), source })?;
        self.door.fetch(&from, size_bytes_max).map_err(|source| Error::Fetch { repo: self.repo.clone(), source })
    }

    /// The list and its signature: the repository's, or without a network those that were last seen.
    fn list(&self) -> Result<(Vec<u8>, Option<Vec<u8>>), Error> {
        let is_local = matches!(self.base, Base::Dir(_));
        if self.options.offline && !is_local {
            let seen = self.door.seen(&self.spec.key()).ok_or_else(|| Error::NeverSeen(self.repo.clone()))?;
            let of = |wanted: &str| {
                let found = seen.files.iter().find(|(name, _)| name == wanted)?;
                self.door.cached(&found.1)
            };
            let text = of(LIST).ok_or_else(|| Error::NeverSeen(self.repo.clone()))?;
            return Ok((text, of(SIGNATURE)));
        }
        let text = self.fetch(LIST, limit::RELEASE_BYTES_MAX)?.ok_or_else(|| Error::NotFound(self.place()))?;
        let signature = if self.options.verify { self.fetch(SIGNATURE, SIGNATURE_BYTES_MAX)? } else { None };
        Ok((text, signature))
    }

    /// Returns where it is looked for, as shown to people.
    fn place(&self) -> String {
        self.base.to_string()
    }

    /// Tells who signed the list; nobody, where that is allowed.
    fn signer(&self, text: &[u8], signature: Option<&[u8]>) -> Result<Option<Signer>, Error> {
        match signature.filter(|_| self.options.verify) {
            Some(signature) => {
                let verdict = self.door.verify(&self.spec.signed_by, text, signature);
                Ok(Some(verdict.map_err(|source| Error::Signature { repo: self.repo.clone(), source })?))
            }
            None if !self.options.verify => Ok(None),
            // Who takes a signature away that was there before has a reason.
            None if self.spec.signatures.metadata || !self.spec.signatures.packages || self.was_signed() => {
                Err(Error::Unsigned(self.repo.clone()))
            }
            None => Ok(None),
        }
    }

    /// How packages must be signed: where nobody signed the metadata, as in Fedora's repositories, each of them.
    fn seals(&self, signer: Option<&Signer>) -> Option<Seals> {
        let is_needed = self.options.verify && signer.is_none();
        is_needed.then(|| Seals { signed_by: self.spec.signed_by.clone(), required: true })
    }

    /// Refuses metadata older than such that were seen before, and remembers them otherwise.
    fn check_direction(&self, list: &List, text: &[u8], signature: Option<&[u8]>) -> Result<(), Error> {
        let Some(signature) = signature else {
            // A date that nobody signed must not keep a signed one out.
            if self.options.verify && !self.options.offline {
                self.remember(0, text, None);
            }
            return Ok(());
        };
        let Some(found) = list.date else { return Ok(()) };
        match self.door.seen(&self.spec.key()) {
            Some(seen) if found < seen.date => {
                Err(Error::Rollback { repo: self.repo.clone(), found: date::show(found), seen: date::show(seen.date) })
            }
            _ if self.options.offline => Ok(()),
            _ => {
                self.remember(found, text, Some(signature));
                Ok(())
            }
        }
    }

    fn remember(&self, date: Seconds, text: &[u8], signature: Option<&[u8]>) {
        if matches!(self.base, Base::Dir(_)) && signature.is_none() {
            return;
        }
        let kept = [(LIST, text), (SIGNATURE, signature.unwrap_or_default()), (MIRRORS, &self.mirrors.bytes[..])];
        let files = kept.into_iter().filter(|(_, bytes)| !bytes.is_empty()).map(|(name, bytes)| {
            let sha256 = Sha256::of(bytes);
            self.door.keep(&sha256, bytes);
            (name.to_owned(), sha256)
        });
        let (repository, fetched, files) = (self.spec.key(), self.options.now, files.collect());
        self.door.remember(&Seen { repository, date, text: Sha256::of(text), fetched, files });
    }

    /// Tells whether the list had a signature when it was last seen: whoever takes that away has a reason.
    fn was_signed(&self) -> bool {
        self.door.seen(&self.spec.key()).is_some_and(|seen| seen.files.iter().any(|(name, _)| name == SIGNATURE))
    }

    /// Fetches a file of the list, verified and decompressed.
    fn index(&self, listed: &Listed) -> Result<Index, Error> {
        let (repo, name) = (|| self.repo.clone(), || listed.name.clone());
        let check = |wanted: &Checksum, bytes: &[u8]| match wanted.fits(&mut &*bytes) {
            Ok(true) => Ok(()),
            _ => Err(Error::Digest { repo: repo(), name: name(), wanted: wanted.clone() }),
        };
        let made = |bytes, sha256| {
            let policy = self.spec.policy.clone();
            Index { label: repo(), base: (&self.base).into(), bytes, sha256, policy, seals: None, has_unread_files: false }
        };
        let open_sha256 = listed.open_checksum.as_ref().and_then(Checksum::as_sha256);
        if let Some((sha256, bytes)) = open_sha256.and_then(|sha256| Some((sha256, self.door.cached(&sha256)?))) {
            return Ok(made(bytes, sha256));
        }
        let packed = self.packed(listed)?.ok_or_else(|| Error::Gone { repo: repo(), name: name() })?;
        check(&listed.checksum, &packed)?;
        let format = format_of(&listed.name);
        let bytes = decode::all(format, &packed, limit::INDEX_BYTES_MAX);
        let bytes = bytes.map_err(|source| Error::Decompress { repo: repo(), name: name(), source })?;
        // Kept is what is quickest to have again: zstd is unpacked in the time that reading the unpacked file would take. What it unpacks to
        // is settled by the digest of the packed one; another of all that it holds would cost more than unpacking did.
        match (listed.checksum.as_sha256(), open_sha256) {
            (Some(packed_sha256), _) if format == Format::Zstd => {
                self.door.keep(&packed_sha256, &packed);
                Ok(made(bytes, packed_sha256))
            }
            (_, Some(sha256)) => {
                check(&sha256.into(), &bytes)?;
                self.door.keep(&sha256, &bytes);
                Ok(made(bytes, sha256))
            }
            (packed_sha256, None) => {
                if let Some(wanted) = &listed.open_checksum {
                    check(wanted, &bytes)?;
                }
                let sha256 = packed_sha256.unwrap_or_else(|| Sha256::of(&bytes));
                self.door.keep(&sha256, if packed_sha256.is_some() { &packed } else { &bytes });
                Ok(made(bytes, sha256))
            }
        }
    }

    fn packed(&self, listed: &Listed) -> Result<Option<Vec<u8>>, Error> {
        let (Some(size_bytes), Some(sha256)) = (listed.size_bytes, listed.checksum.as_sha256()) else {
            return self.fetch(&listed.name, listed.size_bytes.unwrap_or(limit::INDEX_BYTES_MAX).min(limit::INDEX_BYTES_MAX));
        };
        if let Some(kept) = self.door.cached(&sha256) {
            return Ok(Some(kept));
        }
        let from = self.base.join(&listed.name).map_err(|source| Error::Name { repo: self.repo.clone(), source })?;
        let fetched = self.door.fetch_exact(&from, &sha256, size_bytes.min(limit::INDEX_BYTES_MAX));
        fetched.map_err(|source| Error::Fetch { repo: self.repo.clone(), source })
    }
}

/// Tells the compression by the name.
fn format_of(name: &str) -> Format {
    match name.rsplit('.').next() {
        Some("gz") => Format::Gzip,
        Some("xz") => Format::Xz,
        Some("zst") => Format::Zstd,
        Some("bz2") => Format::Bzip2,
        _ => Format::None,
    }
}

/// Reads the list. Files in other forms (databases, zchunk) are passed over.
fn parse(text: &[u8]) -> Result<List, String> {
    let wrong = |flaw: xml::Flaw| format!("{} (at byte {})", flaw.what, flaw.at);
    let mut scanner = Scanner::new(text, 0);
    let (mut date, mut primary, mut filelists) = (None, None, None);
    while let Some(tag) = scanner.tag().map_err(wrong)? {
        match (tag.name, tag.is_end) {
            (b"revision", false) => {
                date = std::str::from_utf8(scanner.text().trim_ascii()).ok().and_then(|text| text.parse().ok())
            }
            (b"data", false) => match tag.get(b"type") {
                Some(b"primary") => primary = Some(listed(&mut scanner)?),
                Some(b"filelists") => filelists = Some(listed(&mut scanner)?),
                Some(_) => {}
                None => return Err("an entry has no type".to_owned()),
            },
            _ => {}
        }
    }
    let primary = primary.ok_or_else(|| "it lists no `primary`".to_owned())?;
    Ok(List { date, primary, filelists })
}

fn listed(scanner: &mut Scanner<'_>) -> Result<Listed, String> {
    let text = |raw: &[u8]| String::from_utf8_lossy(&xml::decode(raw.trim_ascii())).into_owned();
    let (mut name, mut checksum, mut open_checksum, mut size_bytes) = (None, None, None, None);
    while let Some(tag) = scanner.tag().map_err(|flaw| flaw.what.to_owned())? {
        if tag.is_end {
            if tag.name == b"data" {
                break;
            }
            continue;
        }
        match tag.name {
            b"location" => name = tag.get(b"href").map(text),
            b"size" => size_bytes = text(scanner.text()).parse().ok(),
            b"checksum" | b"open-checksum" => {
                let (kind, digest) = (tag.get(b"type").map(text).unwrap_or_default(), text(scanner.text()));
                // By MD5 nothing can be told from what somebody made to look like it.
                let kind = Kind::by_name(&kind)
                    .filter(|kind| *kind != Kind::Md5)
                    .ok_or_else(|| format!("a file has a checksum of type `{kind}`, wanted sha256, sha512, sha384 or sha1"))?;
                let digest = Checksum::parse(kind, &digest).map_err(|_| format!("`{digest}` is no {} digest", kind.name()))?;
                *(if tag.name == b"checksum" { &mut checksum } else { &mut open_checksum }) = Some(digest);
            }
            _ => {}
        }
    }
    let name = name.ok_or("a file has no location")?;
    let checksum = checksum.ok_or("a file has no checksum")?;
    Ok(Listed { name, checksum, open_checksum, size_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_names_files_with_their_digests() {
        let digest = "a".repeat(64);
        let text = |kind: &str, sum: &str| {
            format!(
                "<repomd><revision>1644263915</revision><data type=\"{kind}\"><checksum type=\"{sum}\">{digest}</checksum>\
                 <location href=\"repodata/p.xml.gz\"/><size>7</size></data><data type=\"primary_zck\"/></repomd>"
            )
        };
        let list = parse(text("primary", "sha256").as_bytes()).unwrap();
        assert_eq!(
            (list.date, list.primary.name.as_str(), list.primary.size_bytes),
            (Some(1_644_263_915), "repodata/p.xml.gz", Some(7))
        );
        assert!(list.filelists.is_none());
        assert!(parse(text("filelists", "sha256").as_bytes()).is_err());
        assert!(parse(text("primary", "md5").as_bytes()).is_err());
        assert!(parse(b"<repomd><data>").is_err());
    }
}
