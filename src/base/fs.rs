//! File access whose errors name the path and what was attempted.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// An operation on a file failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{}`", path.display())]
pub struct FileError {
    /// What was attempted, a verb: `read`, `create`, `rename`.
    pub action: &'static str,
    /// The file or directory.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

impl super::error::Diagnostic for FileError {
    fn kind(&self) -> super::error::ErrorKind {
        super::error::ErrorKind::Unavailable
    }
}

impl FileError {
    /// Returns a function for `map_err`.
    pub fn on(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self { action, path, source }
    }

    /// Tells whether the file does not exist.
    pub fn is_absent(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
    }
}

/// Reads a whole file of at most `size_bytes_max` bytes.
pub fn read(path: &Path, size_bytes_max: u64) -> Result<Vec<u8>, FileError> {
    let file = File::open(path).map_err(FileError::on("open", path))?;
    let mut bytes = Vec::new();
    file.take(size_bytes_max + 1).read_to_end(&mut bytes).map_err(FileError::on("read", path))?;
    if bytes.len() as u64 > size_bytes_max {
        let text = format!("larger than the limit of {size_bytes_max} bytes");
        return Err(FileError::on("read", path)(io::Error::other(text)));
    }
    Ok(bytes)
}

/// Reads a whole file as UTF-8 text of at most `size_bytes_max` bytes.
pub fn read_text(path: &Path, size_bytes_max: u64) -> Result<String, FileError> {
    String::from_utf8(read(path, size_bytes_max)?)
        .map_err(|err| FileError::on("read", path)(io::Error::new(io::ErrorKind::InvalidData, err)))
}

/// Reads a file that may be absent: absent is `None`, unreadable is an error.
pub fn read_optional(path: &Path, size_bytes_max: u64) -> Result<Option<Vec<u8>>, FileError> {
    match read(path, size_bytes_max) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(err) if err.is_absent() => Ok(None),
        Err(err) => Err(err),
    }
}

/// Makes a directory and its parents.
pub fn create_dir_all(path: &Path) -> Result<(), FileError> {
    fs::create_dir_all(path).map_err(FileError::on("create the directory", path))
}

/// Returns the paths in a directory, sorted; a directory that does not exist has none.
pub fn list(path: &Path) -> Result<Vec<PathBuf>, FileError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(err) => return Err(FileError::on("list", path)(err)),
    };
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(FileError::on("list", path))?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_over_the_limit_is_refused() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("f");
        fs::write(&path, b"12345").expect("writing");
        assert_eq!(read(&path, 5).expect("at the limit"), b"12345");
        assert!(read(&path, 4).is_err());
        assert!(read_optional(&dir.path().join("absent"), 4).expect("absent is fine").is_none());
        assert!(read_optional(&path.join("below a file"), 4).expect("absent is fine").is_none());
    }
}
