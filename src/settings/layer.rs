//! Files of the machine on their way into the tree: their bytes, who asks for them, and whether they are secrets.

use std::path::PathBuf;

use super::{Error, Settings};
use crate::base::{base64, limit};
use crate::host::declared::{self, Secrecy};
use crate::host::facts::{Facts, FileContent, HostFile};
use crate::tree::{Entry, Origin, TreePath};

/// What is laid into the tree.
#[derive(Default)]
pub(super) struct Layer {
    pub(super) settings: Settings,
}

/// A file that was found, links followed.
pub(super) struct Found<'a> {
    /// The file that holds the bytes.
    pub(super) file: &'a HostFile,
    /// Its bytes.
    pub(super) bytes: Vec<u8>,
}

impl Layer {
    /// Lays a file where it is on the machine. Whose permissions it had there decides whether others may read it.
    pub(super) fn lay(&mut self, path: &str, found: Found<'_>, secrecy: Secrecy) -> Result<(), Error> {
        let secret = match secrecy {
            Secrecy::Secret => true,
            Secrecy::Public => false,
            Secrecy::AsOnDisk | Secrecy::Words(_) => found.file.secret || found.file.mode & 0o004 == 0,
        };
        // What a service without privileges reads must stay readable, whatever the umask of whoever runs this.
        self.put(path, path, found.bytes, if secret { 0o600 } else { 0o644 }, secret)
    }

    /// Lays bytes that were made of the file `from`.
    pub(super) fn put(&mut self, path: &str, from: &str, bytes: Vec<u8>, mode: u32, secret: bool) -> Result<(), Error> {
        let path = TreePath::parse(path.as_bytes())?;
        let entry = Entry::file(bytes, Origin::Config(PathBuf::from(from))).with_mode(mode);
        self.settings.tree.put(&path, entry)?;
        if secret {
            self.settings.secrets.insert(path);
        }
        Ok(())
    }

    /// Lays a link.
    pub(super) fn link(&mut self, path: &str, target: &str, from: &str) -> Result<(), Error> {
        let entry = Entry::symlink(target, Origin::Config(PathBuf::from(from)));
        self.settings.tree.put(&TreePath::parse(path.as_bytes())?, entry)?;
        Ok(())
    }
}

/// Returns a file's bytes, links followed; nothing if it is not there. `by` says who asks for it.
pub(super) fn find<'a>(facts: &'a Facts, path: &str, by: &str, bytes_max: u64) -> Result<Option<Found<'a>>, Error> {
    let wrong = |path: &str| (path.to_owned(), by.to_owned());
    let mut at = path.to_owned();
    for _ in 0..limit::SYMLINKS_MAX {
        if declared::is_never(&at) {
            let (path, by) = wrong(&at);
            return Err(Error::Never { path, by });
        }
        let Some(file) = facts.file(&at) else { return Ok(None) };
        let bytes = match &file.content {
            FileContent::Text(text) => text.as_bytes().to_vec(),
            FileContent::Base64(text) => base64::decode(text).map_err(|_| Error::Damaged { path: at.clone() })?,
            FileContent::Link(target) => {
                at = format!("/{}", link_target(&at, target)?);
                continue;
            }
            FileContent::Withheld => {
                let (path, by) = wrong(&at);
                return Err(Error::Withheld { path, by });
            }
            FileContent::Unread(why) => {
                let (path, by) = wrong(&at);
                return Err(Error::Unread { path, why: why.clone(), by });
            }
        };
        if bytes.len() as u64 > bytes_max {
            let (path, by) = wrong(&at);
            let why = format!("larger than {}", crate::base::size::Size(bytes_max));
            return Err(Error::Unread { path, why, by });
        }
        return Ok(Some(Found { file, bytes }));
    }
    Err(Error::Links { path: path.to_owned() })
}

fn link_target(path: &str, target: &str) -> Result<String, Error> {
    let target = TreePath::parse(path.as_bytes())?.link_target(target.as_bytes())?;
    Ok(target.as_str().unwrap_or_default().to_owned())
}
