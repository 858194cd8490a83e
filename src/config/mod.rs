//! Configuration: profiles, drop-ins and flags become one request, every value knowing where it was written.

use std::fmt;
use std::sync::Arc;

/// Where a value was written: `distro-profiles/debian.toml:12`, or `the command line`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// The file, or what stands for one.
    pub file: Arc<str>,
    /// The line, counted from 1; 0 where there are no lines.
    pub line: u32,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// A word of a list in a profile (a package, a module pattern, a prune rule, a finalizer), and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The word.
    pub text: String,
    /// Where it stands.
    pub source: Source,
}

impl Item {
    /// Returns a word that the command line gave.
    pub fn from_command_line(text: impl Into<String>) -> Self {
        Self { text: text.into(), source: Source { file: "the command line".into(), line: 0 } }
    }
}
