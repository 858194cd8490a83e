//! What a package's payload holds, before any decision about it: the form that families give and the payload store keeps.

use super::{Meta, TreePath};

/// What a package's payload holds at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberKind {
    /// A directory.
    Dir,
    /// A regular file of this size in bytes; its content follows.
    File(u64),
    /// A symbolic link with its text.
    Symlink(Vec<u8>),
    /// A hard link to an earlier member.
    Hardlink(TreePath),
    /// A device node.
    Device {
        /// Block device, else character device.
        block: bool,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// One member of a payload, before any decision about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Where it belongs, `..` and the like already refused.
    pub path: TreePath,
    /// Permissions, owner and time.
    pub meta: Meta,
    /// What it is.
    pub kind: MemberKind,
    /// File capabilities in the text form of `getcap`, which newc cannot hold: reported.
    pub capabilities: Option<String>,
}
