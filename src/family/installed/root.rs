//! Opens files below a root as the system that lives there would: no link leads out of it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use crate::base::fs::FileError;

/// A root directory that stays open.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
    /// It is this process's own root, for which the kernel resolves every path rightly by itself.
    is_own: bool,
}

impl Root {
    /// Opens the directory that is the root.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(CWD, path, flags, Mode::empty());
        let directory = directory.map_err(|err| FileError::on("open", path)(err.into()))?;
        Ok(Self { directory, is_own: path == Path::new("/") })
    }

    /// Opens a path, without or with a slash at its beginning.
    pub fn at(&self, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        let path = std::ffi::OsStr::from_bytes(path);
        let path = Path::new(path).strip_prefix("/").unwrap_or(Path::new(path));
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = flags | OFlags::CLOEXEC;
        if self.is_own {
            return Ok(rustix::fs::openat(&self.directory, path, flags, Mode::empty())?);
        }
        loop {
            match rustix::fs::openat2(&self.directory, path, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
                // Something was renamed while a `..` was resolved.
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                outcome => return Ok(outcome?),
            }
        }
    }

    /// Returns the names in a directory.
    pub fn names(&self, path: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let directory = rustix::fs::Dir::new(self.at(path, OFlags::RDONLY | OFlags::DIRECTORY)?)?;
        let names = directory.map(|entry| Ok(entry?.file_name().to_bytes().to_vec()));
        names.collect()
    }

    /// Tells whether there is something of this name.
    pub fn has(&self, path: &[u8]) -> bool {
        self.at(path, OFlags::PATH | OFlags::NOFOLLOW).is_ok()
    }

    /// Opens a regular file for reading; what became something else meanwhile is not read.
    pub fn file(&self, path: &[u8], follow: bool) -> io::Result<File> {
        let last = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
        let file = File::from(self.at(path, OFlags::RDONLY | OFlags::NONBLOCK | last)?);
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::Error::new(io::ErrorKind::InvalidData, "it is no regular file")),
        }
    }

    /// Reads the text of the symlink that a path descriptor stands for.
    pub fn link(&self, descriptor: &OwnedFd) -> io::Result<Vec<u8>> {
        Ok(rustix::fs::readlinkat(descriptor.as_fd(), c"", Vec::new())?.into_bytes())
    }
}
