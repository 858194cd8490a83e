//! Why the configuration of a machine cannot be brought along.

use crate::base::error::{Diagnostic, ErrorKind};
use crate::tree::{BadPath, TreeError};

/// The configuration of the machine cannot be brought along.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An option of crypttab that systemd would ignore.
    #[error("the entry `{entry}` of crypttab has the option `{option}`, which systemd-cryptsetup does not know and would ignore")]
    Option {
        /// The entry.
        entry: String,
        /// The option.
        option: String,
        /// The line.
        line: usize,
    },
    /// More than four fields.
    #[error("the entry `{entry}` of crypttab has a fifth field, `{text}`, which systemd-cryptsetup would ignore")]
    Beyond {
        /// The entry.
        entry: String,
        /// What stands there.
        text: String,
        /// The line.
        line: usize,
    },
    /// A key or header that is neither a path nor `none`.
    #[error("the entry `{entry}` of crypttab names `{text}` as its {what}, which is no absolute path")]
    NoPath {
        /// The entry.
        entry: String,
        /// `key` or `header`.
        what: &'static str,
        /// What stands there.
        text: String,
        /// The line.
        line: usize,
    },
    /// A file that has to be there is not.
    #[error("`{path}` is not there, and {by} needs it")]
    Missing {
        /// The file.
        path: String,
        /// Who names it.
        by: String,
    },
    /// A secret was left out of the facts.
    #[error("`{path}` was left out of the description of the machine, and {by} needs it")]
    Withheld {
        /// The file.
        path: String,
        /// Who names it.
        by: String,
    },
    /// A file could not be read when the machine was looked at, or is not fit to be one.
    #[error("`{path}` cannot be brought along, and {by} needs it: {why}")]
    Unread {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
        /// Who names it.
        by: String,
    },
    /// A file that no image gets.
    #[error("`{path}` never enters an image, and {by} names it")]
    Never {
        /// The file.
        path: String,
        /// Who names it.
        by: String,
    },
    /// Facts that were damaged by hand.
    #[error("the description of the machine holds `{path}` in broken base64")]
    Damaged {
        /// The file.
        path: String,
    },
    /// Links lead in a circle.
    #[error("symlinks lead in a circle at `{path}`")]
    Links {
        /// The file.
        path: String,
    },
    /// A compressed file cannot be read.
    #[error("cannot unpack `{path}`")]
    Packed {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A path cannot be one.
    #[error(transparent)]
    Path(#[from] BadPath),
    /// A file cannot be where it is.
    #[error("the configuration of this machine cannot be put into the image")]
    Tree(#[from] TreeError),
}

impl Diagnostic for Error {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Host
    }

    fn place(&self) -> Option<String> {
        match self {
            Error::Option { line, .. } | Error::Beyond { line, .. } | Error::NoPath { line, .. } => {
                Some(format!("/etc/crypttab:{line}"))
            }
            _ => None,
        }
    }

    fn hints(&self) -> Vec<String> {
        let words: &[&str] = match self {
            Error::Option { option, .. } if option.starts_with("keyscript=") => &[
                "have the volume opened by a TPM, a token or a key file instead: `systemd-cryptenroll --help`",
                "or take the option out of /etc/crypttab, and the passphrase is asked for",
            ],
            Error::Option { .. } => &["correct the option, or take it out; crypttab(5) of systemd lists those that there are"],
            Error::Beyond { .. } => &["write the options as one word, with commas and without blanks"],
            Error::NoPath { .. } => &["name a file by its absolute path, or write `none`"],
            Error::Missing { .. } => &["restore the file, or correct what names it"],
            Error::Withheld { .. } => &["describe the machine with its secrets: `mkinitrd-pkg host --json --secrets`"],
            Error::Unread { .. } => &["make it a regular file that root can read"],
            Error::Never { .. } => &["put the key into a file of its own, under /etc/cryptsetup-keys.d"],
            Error::Damaged { .. } => &["describe the machine anew: `mkinitrd-pkg host --json`"],
            Error::Packed { .. } => &["have it made anew: `setupcon --save-only`"],
            Error::Links { .. } | Error::Path(_) | Error::Tree(_) => &[],
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }
}
