//! Package files that are proved otherwise than by the SHA-256 digest of all their bytes: what proves one leads to the digest under which it
//! is kept. What is remembered here is only where to look: a file is proved anew each time it is taken.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{FILES, Incoming, Store, Stored, Unusable, open_regular};
use crate::base::digest::{HashingReader, Sha256};
use crate::base::fs::FileError;

/// Checks that what is read is the file that is meant; what it leaves unread is no part of the check.
pub type Prove<'a, E> = dyn Fn(&mut dyn Read) -> Result<(), E> + 'a;

/// Why a file is not used.
#[derive(Debug)]
pub enum Unproved<E> {
    /// It cannot be looked at, or has another size.
    Unusable(Unusable),
    /// It is not the one that is meant.
    Refused(E),
}

#[derive(Serialize, Deserialize)]
struct Record {
    proof: String,
    sha256: Sha256,
}

fn name(of: &str, what: &str) -> String {
    Sha256::of(format!("{what} {of}").as_bytes()).to_string()
}

impl Store {
    /// Returns the file that was kept for this proof, proved just now. A damaged one is removed.
    pub fn get_proved<E>(&self, proof: &str, size_bytes: u64, prove: &Prove<'_, E>) -> Option<Stored> {
        let sha256 = self.digest_for(proof)?;
        let path = self.dir(FILES)?.join(sha256.to_string());
        match open_proved(&path, size_bytes, prove) {
            Ok(stored) if stored.sha256 == sha256 => {
                // As in `get`: what is used stays when the cache is trimmed by age.
                let _ = stored.file.set_modified(std::time::SystemTime::now());
                Some(stored)
            }
            // The record may lead to another file, which is as it should be: that one stays.
            Ok(_) | Err(Unproved::Unusable(_)) => None,
            Err(Unproved::Refused(_)) => {
                // The digest decides whether the file is damaged, and removes it then.
                self.get(&sha256);
                None
            }
        }
    }

    /// Returns the path under which the file for this proof would lie, if one of that size is there. Nothing is proved.
    pub fn locate_proved(&self, proof: &str, size_bytes: u64) -> Option<std::path::PathBuf> {
        self.locate(&self.digest_for(proof)?, size_bytes)
    }

    fn digest_for(&self, proof: &str) -> Option<Sha256> {
        let record: Record = serde_json::from_slice(&self.read_state(&name(proof, "proof"))?).ok()?;
        (record.proof == proof).then_some(record.sha256)
    }

    /// Remembers under which digest the file for this proof is kept.
    pub fn remember_proof(&self, proof: &str, sha256: &Sha256) -> Result<(), FileError> {
        if self.digest_for(proof) == Some(*sha256) {
            return Ok(());
        }
        let record = Record { proof: proof.to_owned(), sha256: *sha256 };
        let bytes = serde_json::to_vec(&record).expect("invariant: a text and a digest become JSON");
        self.write_state(&name(proof, "proof"), &bytes)
    }

    /// Returns the detached signature that was kept for the file of this digest. It is to be verified anew.
    pub fn signature(&self, sha256: &Sha256) -> Option<Vec<u8>> {
        self.read_state(&name(&sha256.to_string(), "signature"))
    }

    /// Keeps a detached signature that was good for the file of this digest.
    pub fn keep_signature(&self, sha256: &Sha256, signature: &[u8]) -> Result<(), FileError> {
        if self.signature(sha256).as_deref() == Some(signature) {
            return Ok(());
        }
        self.write_state(&name(&sha256.to_string(), "signature"), signature)
    }
}

/// Opens any file of this machine and proves and hashes it through the descriptor that is returned. Symlinks are not followed.
pub fn open_proved<E>(path: &Path, size_bytes: u64, prove: &Prove<'_, E>) -> Result<Stored, Unproved<E>> {
    let file = open_regular(path).map_err(Unproved::Unusable)?;
    let found_bytes = file.metadata().map_err(|_| Unproved::Unusable(Unusable::Absent))?.len();
    if found_bytes != size_bytes {
        return Err(Unproved::Unusable(Unusable::Differs));
    }
    let mut reader = HashingReader::new(Read::take(&file, size_bytes));
    prove(&mut reader).map_err(Unproved::Refused)?;
    let differs = |_| Unproved::Unusable(Unusable::Differs);
    io::copy(&mut reader, &mut io::sink()).map_err(differs)?;
    let (sha256, read_bytes) = reader.finish();
    if read_bytes != size_bytes {
        return Err(Unproved::Unusable(Unusable::Differs));
    }
    Ok(Stored { file: Arc::new(file), path: Some(path.to_owned()), sha256, size_bytes })
}

/// Why a file that came is not kept.
#[derive(Debug)]
pub enum Unkept<E> {
    /// It cannot be read back.
    File(FileError),
    /// It is not the one that is meant.
    Refused(E),
}

impl Incoming {
    /// Gives the file the name of its own digest if it is proved; else it is gone.
    pub fn finish_proved<E>(mut self, prove: &Prove<'_, E>) -> Result<Stored, Unkept<E>> {
        let sha256 = self.hasher.clone().finish();
        let on = |action: &'static str| FileError::on(action, "a temporary file");
        let file = self.file().try_clone().map_err(on("open")).map_err(Unkept::File)?;
        let read_back = Stored { file: Arc::new(file), path: None, sha256, size_bytes: self.size_bytes };
        let mut reader = read_back.open();
        prove(&mut reader).map_err(Unkept::Refused)?;
        reader.finish().map_err(on("read")).map_err(Unkept::File)?;
        self.finish(&sha256).map_err(|_| {
            let err = io::Error::new(io::ErrorKind::InvalidData, "the file changed while it was written");
            Unkept::File(on("read")(err))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn begins_with(wanted: &'static [u8]) -> impl Fn(&mut dyn Read) -> Result<(), String> {
        move |data| {
            let mut found = vec![0; wanted.len()];
            data.read_exact(&mut found).map_err(|err| err.to_string())?;
            (found == wanted).then_some(()).ok_or_else(|| "another".to_owned())
        }
    }

    fn kept(store: &Store, bytes: &[u8]) -> Stored {
        let mut incoming = store.incoming().expect("a place");
        incoming.write_all(bytes).expect("writing");
        incoming.finish_proved(&begins_with(b"good")).expect("it is proved")
    }

    #[test]
    fn what_was_proved_is_found_by_its_proof_and_proved_again() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(dir.path());
        assert!(store.get_proved("Q1x", 9, &begins_with(b"good")).is_none());
        let stored = kept(&store, b"good file");
        store.remember_proof("Q1x", &stored.sha256).expect("writing");
        let found = store.get_proved("Q1x", 9, &begins_with(b"good")).expect("it was kept");
        assert_eq!(found.read().expect("reading"), b"good file");
        assert!(store.get_proved("Q1y", 9, &begins_with(b"good")).is_none());
        // Another size, another proof.
        assert!(store.get_proved("Q1x", 8, &begins_with(b"good")).is_none());
        assert!(store.get_proved("Q1x", 9, &begins_with(b"evil")).is_none());
        assert!(stored.path.as_ref().expect("a name").exists(), "a file with the right digest stays");
    }

    #[test]
    fn b07_a_damaged_record_or_file_is_not_believed() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(dir.path());
        let stored = kept(&store, b"good file");
        let other = kept(&store, b"good but another");
        // A record that leads to another file that the proof happens to fit is of no use for a file of this size.
        store.remember_proof("Q1x", &other.sha256).expect("writing");
        assert!(store.get_proved("Q1x", 9, &begins_with(b"good")).is_none());
        store.remember_proof("Q1x", &stored.sha256).expect("writing");
        std::fs::write(dir.path().join("state").join(name("Q1x", "proof")), b"{").expect("writing");
        assert!(store.get_proved("Q1x", 9, &begins_with(b"good")).is_none());
        store.remember_proof("Q1x", &stored.sha256).expect("writing");
        let path = stored.path.expect("a name");
        // Damaged where the proof looks, and where it does not.
        for bytes in [b"evil file", b"good evil"] {
            std::fs::write(&path, bytes).expect("writing");
            assert!(store.get_proved("Q1x", 9, &begins_with(b"good")).is_none());
        }
    }

    #[test]
    fn c16_what_is_not_proved_leaves_nothing_behind() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(dir.path());
        let mut incoming = store.incoming().expect("a place");
        incoming.write_all(b"evil").expect("writing");
        assert!(matches!(incoming.finish_proved(&begins_with(b"good")), Err(Unkept::Refused(_))));
        assert_eq!(store.usage().expect("counting").files, 0);
    }
}
