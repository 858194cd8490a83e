//! Packed segments, kept by the digest of what they were made from. Whatever is wrong with the store, a build goes on without it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::base::digest::Sha256;
use crate::base::fs::{self as base_fs, FileError};
use crate::base::limit;

/// What a stored segment begins with; the digest of the rest follows.
const MAGIC: &[u8; 8] = b"mkseg\0\0\x01";
/// The length of what stands before the segment.
const HEAD_BYTES: usize = MAGIC.len() + 32;

/// A directory of packed segments.
#[derive(Debug, Clone)]
pub struct SegmentStore {
    directory: PathBuf,
}

impl SegmentStore {
    /// Names the directory; it is made when the first segment is kept.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// Returns the segment kept under `key`, its digest verified; a damaged one is dropped and counts as absent.
    pub fn get(&self, key: &Sha256) -> Result<Option<Vec<u8>>, FileError> {
        let path = self.path(key);
        let Some(mut bytes) = base_fs::read_optional(&path, limit::FILE_BYTES_MAX)? else {
            return Ok(None);
        };
        let sound = bytes.len() >= HEAD_BYTES
            && bytes.starts_with(MAGIC)
            && Sha256::of(&bytes[HEAD_BYTES..]).as_bytes() == &bytes[MAGIC.len()..HEAD_BYTES];
        if !sound {
            fs::remove_file(&path).map_err(FileError::on("remove the damaged", &path))?;
            return Ok(None);
        }
        bytes.drain(..HEAD_BYTES);
        Ok(Some(bytes))
    }

    /// Keeps a segment. Readers see it whole or not at all; it is not worth waiting for the disk.
    pub fn put(&self, key: &Sha256, segment: &[u8]) -> Result<(), FileError> {
        base_fs::create_dir_all(&self.directory)?;
        let path = self.path(key);
        self.write(&path, segment).map_err(FileError::on("write", &path))
    }

    fn write(&self, path: &Path, segment: &[u8]) -> std::io::Result<()> {
        // 0600 by default: a segment may hold what only root may read.
        let mut file = tempfile::Builder::new().prefix(".segment-").tempfile_in(&self.directory)?;
        file.write_all(MAGIC)?;
        file.write_all(Sha256::of(segment).as_bytes())?;
        file.write_all(segment)?;
        file.persist(path)?;
        Ok(())
    }

    fn path(&self, key: &Sha256) -> PathBuf {
        self.directory.join(format!("{key}.segment"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_segment_counts_as_absent() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = SegmentStore::new(dir.path().join("segments"));
        let key = Sha256::of(b"key");
        assert_eq!(store.get(&key).expect("nothing yet"), None);
        store.put(&key, b"segment").expect("keeping");
        assert_eq!(store.get(&key).expect("reading").as_deref(), Some(&b"segment"[..]));
        let path = store.path(&key);
        for damage in [0, 20, HEAD_BYTES + 2] {
            store.put(&key, b"segment").expect("keeping");
            let mut bytes = fs::read(&path).expect("the file");
            bytes[damage] ^= 1;
            fs::write(&path, &bytes).expect("damaging");
            assert_eq!(store.get(&key).expect("reading"), None, "byte {damage}");
            assert!(!path.exists());
        }
        fs::write(&path, b"mk").expect("truncating");
        assert_eq!(store.get(&key).expect("reading"), None);
    }

    #[test]
    fn an_unusable_directory_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("file");
        fs::write(&file, b"").expect("a file");
        let err = SegmentStore::new(file.join("below")).put(&Sha256::of(b"key"), b"x").expect_err("no directory");
        assert!(err.to_string().contains("file/below"), "{err}");
    }
}
