//! Opens apk's repositories: an `APKINDEX.tar.gz` whose signature one of the keys meant has made.
//!
//! apk's indexes have neither a date nor an end of their validity, so an old one cannot be told from a new one: what guards against that is
//! the connection to the mirror alone.

use std::io::Read;

use super::segments::{self, SegmentError};
use super::sources::{INDEX_NAME, RepoSpec};
use crate::base::error::{Diagnostic, ErrorKind};
use crate::base::limit;
use crate::base::trust::{RsaSignature, Signer};
use crate::family::address::{BadName, Base};
use crate::family::door::{Door, DoorError};
use crate::family::repo::{Index, Options, Repository};
use crate::format::compress::{Format, decode};
use crate::package::Location;

/// A compressed index. Alpine's community has 2 MB.
const FILE_BYTES_MAX: u64 = 512 << 20;

/// A repository cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no index.
    #[error("`{repo}` has no `{INDEX_NAME}` for the architecture `{arch}`")]
    NotFound {
        /// The repository.
        repo: String,
        /// The architecture.
        arch: String,
    },
    /// It cannot be had.
    #[error("the index of `{repo}` cannot be fetched")]
    Fetch {
        /// The repository.
        repo: String,
        /// Why.
        #[source]
        source: DoorError,
    },
    /// Nothing vouches for it.
    #[error("`{0}` is not signed")]
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
    /// The file is not what apk makes.
    #[error("the index of `{repo}` cannot be read")]
    Format {
        /// The repository.
        repo: String,
        /// Why.
        #[source]
        source: SegmentError,
    },
    /// A name cannot stand below the repository's address.
    #[error(transparent)]
    Name(#[from] BadName),
}

impl Diagnostic for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::NotFound { .. } => ErrorKind::Unavailable,
            Error::Fetch { source, .. } => source.kind(),
            _ => ErrorKind::Untrusted,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Error::NotFound { .. } => {
                vec![format!("name the directory above `ARCH/{INDEX_NAME}`, as in `/etc/apk/repositories`")]
            }
            Error::Fetch { source, .. } | Error::Signature { source, .. } => source.hints(),
            Error::Unsigned(_) => vec!["sign it with `abuild-sign`, or use `--no-verify` for a test".to_owned()],
            _ => Vec::new(),
        }
    }
}

/// Opens a repository: verifies its index and unpacks it.
pub fn open(spec: &RepoSpec, door: &dyn Door, options: &Options) -> Result<Repository, Error> {
    let (base, bytes) = fetch(spec, door)?;
    let format = |source| Error::Format { repo: spec.to_string(), source };
    let (signatures, content) = segments::split(&bytes).map_err(format)?;
    let signer = match options.verify {
        true => Some(verify(spec, door, &signatures, content)?),
        false => None,
    };
    let text = text(content).map_err(format)?;
    let index = Index::new(spec.label(), base, text);
    Ok(Repository { name: spec.to_string(), signer, date: None, priority: 500, indexes: vec![index] })
}

/// Fetches the index file; a directory of this machine may also hold it itself, and the address of the file itself is understood.
fn fetch(spec: &RepoSpec, door: &dyn Door) -> Result<(Location, Vec<u8>), Error> {
    let fetch =
        |from: &Location| door.fetch(from, FILE_BYTES_MAX).map_err(|source| Error::Fetch { repo: spec.to_string(), source });
    // The address of the file itself; in apk's cache it is called `APKINDEX.HASH.tar.gz`.
    let text = spec.base.to_string();
    if let Some((dir, name)) =
        text.rsplit_once('/').filter(|(_, name)| name.starts_with("APKINDEX.") && name.ends_with(".tar.gz"))
        && let Ok(dir) = Base::parse(dir)
        && let Some(bytes) = fetch(&dir.join(name)?)?
    {
        return Ok(((&dir).into(), bytes));
    }
    let place = spec.base.join(&spec.arch)?;
    if let Some(bytes) = fetch(&spec.base.join(&format!("{}/{INDEX_NAME}", spec.arch))?)? {
        return Ok((place, bytes));
    }
    if let Base::Dir(_) = &spec.base
        && let Some(bytes) = fetch(&spec.base.join(INDEX_NAME)?)?
    {
        return Ok(((&spec.base).into(), bytes));
    }
    Err(Error::NotFound { repo: spec.to_string(), arch: spec.arch.clone() })
}

/// Finds a signature by a key that may sign. The first refusal is told.
fn verify(spec: &RepoSpec, door: &dyn Door, signatures: &[RsaSignature], content: &[u8]) -> Result<Signer, Error> {
    let mut refused = None;
    for signature in signatures {
        match door.verify_rsa(&spec.signed_by, content, signature) {
            Ok(signer) => return Ok(signer),
            Err(source) => {
                refused.get_or_insert(source);
            }
        }
    }
    Err(match refused {
        Some(source) => Error::Signature { repo: spec.to_string(), source },
        None => Error::Unsigned(spec.to_string()),
    })
}

/// Returns the text of an index file, whoever signed it.
pub fn unpack(bytes: &[u8]) -> Result<Vec<u8>, SegmentError> {
    let (_, content) = segments::split(bytes)?;
    text(content)
}

/// Returns the text in what was signed.
fn text(content: &[u8]) -> Result<Vec<u8>, SegmentError> {
    let damaged = |source| SegmentError::Damaged { what: "the index", source };
    let unpacked = decode::all(Format::Gzip, content, limit::INDEX_BYTES_MAX).map_err(damaged)?;
    let mut archive = segments::archive(&unpacked);
    while let Some(entry) = archive.next_entry()? {
        if entry.name == b"APKINDEX" {
            let mut text = Vec::new();
            archive.read_to_end(&mut text).map_err(damaged)?;
            return Ok(text);
        }
    }
    Err(SegmentError::Layout("there is no `APKINDEX` in it".to_owned()))
}
