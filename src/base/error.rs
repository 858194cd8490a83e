//! What an error must be able to tell: its kind (which is the exit code), the place, and what to do about it.
//!
//! Each stage has its own `Error` with data in its variants; only `cli` turns one into text for a person.

/// The kind of a failure. The number is the exit code of the program and is part of its interface.
///
/// 77 is never used: kernel-install reads it as "stop, all is well".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// A defect of this program.
    Internal = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// A profile, a drop-in or a configuration file is wrong.
    Config = 3,
    /// The requested packages or modules do not exist or cannot go together.
    Unsolvable = 4,
    /// A repository, a package or a file could not be had.
    Unavailable = 5,
    /// Something is unsigned, wrongly signed, expired, or damaged.
    Untrusted = 6,
    /// The host is not as needed, or the image would not boot.
    Host = 7,
    /// The result could not be written.
    Output = 8,
}

impl ErrorKind {
    /// Returns the exit code of the program.
    pub fn exit_code(self) -> u8 {
        self as u8
    }
}

/// An error that can be explained to a person.
pub trait Diagnostic: std::error::Error {
    /// Returns the kind, which decides the exit code.
    fn kind(&self) -> ErrorKind;

    /// Returns where it happened: `file:line`, a package, a URL, a path inside an archive.
    fn place(&self) -> Option<String> {
        None
    }

    /// Returns at most two things that the reader can type or decide, imperative, commands in back-ticks.
    fn hints(&self) -> Vec<String> {
        Vec::new()
    }
}
