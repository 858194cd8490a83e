//! Why a repository is refused: one variant for each way in which it can be missing, untrusted, stale or damaged.

use std::io;

use super::release::{FrameError, ReleaseError};
use crate::base::digest::Sha256;
use crate::base::error::{Diagnostic, ErrorKind};
use crate::family::address::BadName;
use crate::family::door::DoorError;

/// A repository cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no release file, and no index either.
    #[error("`{0}` is not a package repository: it has no release file and no index")]
    NotFound(String),
    /// There is a repository, but nothing that vouches for it.
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
    /// The clear-signed frame is not as it must be.
    #[error("the release file of `{repo}` is not a proper signed message")]
    Frame {
        /// The repository.
        repo: String,
        /// Why.
        #[source]
        source: FrameError,
    },
    /// The release file cannot be used.
    #[error("the release file of `{repo}` cannot be used")]
    Release {
        /// The repository.
        repo: String,
        /// Why.
        #[source]
        source: ReleaseError,
    },
    /// A signed release file without a date could be replayed for ever.
    #[error("the release file of `{0}` has no date")]
    NoDate(String),
    /// It belongs to another suite.
    #[error("the release file of `{repo}` is for {found}, not for `{wanted}`")]
    Suite {
        /// The repository.
        repo: String,
        /// The suite asked for.
        wanted: String,
        /// `Suite` and `Codename`.
        found: String,
    },
    /// `Valid-Until` has passed.
    #[error("the release file of `{repo}` expired on {until}; this machine's clock says {now}")]
    Expired {
        /// The repository.
        repo: String,
        /// `Valid-Until`.
        until: String,
        /// Now.
        now: String,
    },
    /// It is dated in the future.
    #[error("the release file of `{repo}` is from the future: {date}; this machine's clock says {now}")]
    Future {
        /// The repository.
        repo: String,
        /// `Date`.
        date: String,
        /// Now.
        now: String,
    },
    /// The clock cannot be right.
    #[error("this machine's clock says {0}, so no signature and no expiry can be judged")]
    Clock(String),
    /// It is older than what was seen before.
    #[error("the release file of `{repo}` goes back in time: it is of {found}, and one of {seen} was seen before")]
    Rollback {
        /// The repository.
        repo: String,
        /// Its date.
        found: String,
        /// The date seen before.
        seen: String,
    },
    /// It has the date of what was seen before, and other content.
    #[error("the release file of `{repo}` of {date} differs from the one of the same date that was seen before")]
    Changed {
        /// The repository.
        repo: String,
        /// The date of both.
        date: String,
    },
    /// A component or architecture is not there.
    #[error("`{repo}` has no index for component `{component}` and architecture `{arch}`; it has {known}")]
    Absent {
        /// The repository.
        repo: String,
        /// The component asked for.
        component: String,
        /// The architecture asked for.
        arch: String,
        /// What the release file names.
        known: String,
    },
    /// An index named alone is not listed by the release file.
    #[error("the index `{index}` is not listed by the release file of `{repo}`")]
    NotListed {
        /// The repository.
        repo: String,
        /// The index.
        index: String,
    },
    /// The release file and the indexes do not belong together.
    #[error("the index `{index}` of `{repo}` is not the one that its release file lists")]
    Inconsistent {
        /// The repository.
        repo: String,
        /// The index.
        index: String,
        /// How they differ.
        #[source]
        source: DoorError,
    },
    /// The release file lists an index that the server does not have.
    #[error("the index `{index}` of `{repo}` is listed but is not there")]
    Gone {
        /// The repository.
        repo: String,
        /// The index.
        index: String,
    },
    /// An index is larger when decompressed than listed or allowed.
    #[error("the index `{index}` of `{repo}` grows beyond {limit} bytes when it is decompressed")]
    Bomb {
        /// The repository.
        repo: String,
        /// The index.
        index: String,
        /// The listed size, or the limit.
        limit: u64,
    },
    /// An index cannot be decompressed.
    #[error("the index `{index}` of `{repo}` cannot be decompressed")]
    Damaged {
        /// The repository.
        repo: String,
        /// The index.
        index: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A decompressed index is not the one listed.
    #[error("the index `{index}` of `{repo}` has the SHA-256 {found} when decompressed; listed is {wanted}")]
    Content {
        /// The repository.
        repo: String,
        /// The index.
        index: String,
        /// Listed.
        wanted: Sha256,
        /// Found.
        found: Sha256,
    },
    /// Nothing of it is cached.
    #[error("nothing of `{0}` is in the cache")]
    NeverSeen(String),
    /// A name in it is refused.
    #[error(transparent)]
    Name(#[from] BadName),
    /// It cannot be fetched.
    #[error("cannot read the repository `{repo}`")]
    Fetch {
        /// The repository.
        repo: String,
        /// Why.
        #[source]
        source: DoorError,
    },
}

impl Diagnostic for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::NotFound(_) | Error::Absent { .. } | Error::Gone { .. } | Error::NeverSeen(_) => ErrorKind::Unavailable,
            Error::Fetch { source, .. } => source.kind(),
            Error::Clock(_) => ErrorKind::Host,
            _ => ErrorKind::Untrusted,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Error::Signature { source, .. } | Error::Fetch { source, .. } => return source.hints(),
            Error::NotFound(_) => {
                "name the directory that holds `dists` or `Packages`; `dpkg-scanpackages . > Packages` makes an index"
            }
            Error::Unsigned(_) => "sign it, or take it as it is with `--no-verify`",
            Error::Expired { .. } => {
                "if the clock is right the mirror is stale: name another with `--mirror URL`, or accept the past with `--assume-time DATE`"
            }
            Error::Future { .. } | Error::Clock(_) => {
                "set the clock of this machine, or say what time it is with `--assume-time DATE`"
            }
            Error::Rollback { .. } | Error::Changed { .. } => {
                "name another mirror with `--mirror URL`; if you trust this one, `mkinitrd-pkg clean` forgets what was seen"
            }
            Error::Inconsistent { .. } | Error::Gone { .. } => {
                "the mirror is probably being updated: try again in some minutes, or name another with `--mirror URL`"
            }
            Error::NeverSeen(_) => "run once without `--offline`",
            Error::NotListed { .. } => "take it as it is with `--no-verify`",
            _ => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}
