//! What the readers of all families do alike: tar entries become members, and errors of archives and compression become one of ours.

use std::io;

use super::{Member, MemberKind, ReadError};
use crate::format::capability;
use crate::format::compress::decode::DecodeError;
use crate::format::tar::{self, TarError};
use crate::tree::{Meta, TreePath};

/// Returns the member that a tar entry describes; `path` is its name, parsed.
///
/// Owners are its numbers: distributions' static ids are the same everywhere, and names are not looked up on any machine.
pub(super) fn member(entry: &tar::Entry, path: TreePath) -> Result<Member, ReadError> {
    let (major, minor) = entry.device;
    let kind = match entry.kind {
        tar::Kind::Dir => MemberKind::Dir,
        tar::Kind::File => MemberKind::File(entry.size_bytes),
        tar::Kind::Symlink => MemberKind::Symlink(entry.link.clone()),
        tar::Kind::Hardlink => MemberKind::Hardlink(TreePath::parse(&entry.link)?),
        tar::Kind::Character => MemberKind::Device { block: false, major, minor },
        tar::Kind::Block => MemberKind::Device { block: true, major, minor },
        tar::Kind::Fifo => MemberKind::Fifo,
    };
    if path.is_root() && kind != MemberKind::Dir {
        return Err(ReadError::Format(format!("`{}` names the root and is no directory", entry.name.escape_ascii())));
    }
    let mtime_s = u32::try_from(entry.mtime_s.max(0)).unwrap_or(u32::MAX);
    let shown = |raw: &Vec<u8>| capability::text(raw).unwrap_or_else(|| format!("unknown ({} bytes)", raw.len()));
    Ok(Member {
        path,
        meta: Meta { mode: entry.mode, uid: entry.uid, gid: entry.gid, mtime_s },
        kind,
        capabilities: entry.capability.as_ref().map(shown),
    })
}

/// Passes on what a visitor said; what it could not read has its cause inside.
pub(super) fn from_visit(err: ReadError) -> ReadError {
    match err {
        ReadError::Io(err) => from_io(err),
        err => err,
    }
}

/// Says of a payload what its tar archive said.
pub(super) fn from_tar(err: TarError) -> ReadError {
    match err {
        TarError::Io { source, .. } => from_io(source),
        TarError::Limit { what, limit } => ReadError::Limit { what: format!("{what} of the payload"), limit: limit.to_string() },
        TarError::Unsupported { name, feature } => ReadError::Unsupported(format!("{feature} (`{}`)", name.escape_ascii())),
        err @ TarError::Damaged { .. } => ReadError::Format(err.to_string()),
    }
}

/// Finds what decompression said, which travels inside an I/O error.
pub(super) fn from_io(err: io::Error) -> ReadError {
    match err.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(DecodeError::Unsupported(what)) => ReadError::Unsupported(what.clone()),
        Some(DecodeError::Memory { format, limit_bytes }) => {
            ReadError::Limit { what: format!("the memory to decompress {format}"), limit: format!("{limit_bytes} bytes") }
        }
        _ => ReadError::Io(err),
    }
}
