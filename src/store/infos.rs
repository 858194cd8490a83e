//! What kernel modules say of themselves, kept by the digest of their files, so that a warm build decompresses none that was seen before.
//!
//! One file a kernel: a head with the digest of the rest, an index of digests, and for each module its [`ModuleInfo`] as JSON, which is
//! read for those only that are asked for. It appears at once and complete. Whatever is wrong with it, it counts as empty; two runs that
//! write at the same time cost each other some time, nothing else.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::base::digest::Sha256;
use crate::base::fs::{self as base_fs, FileError};
use crate::format::module::{INFO_VERSION, ModuleInfo};

const MAGIC: &[u8; 8] = b"mkmod\0\0\x01";
/// Magic number, digest of what follows.
const HEAD_BYTES: usize = 8 + 32;
/// Digest, length.
const ENTRY_BYTES: usize = 32 + 4;
/// The modules of a kernel take 8 MB. What has become larger has gathered those of many and is begun anew.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A directory of such files.
#[derive(Debug, Clone)]
pub struct InfoStore {
    directory: PathBuf,
    writable: bool,
}

impl InfoStore {
    /// Names the directory, which need not exist. Nothing is written unless `writable`.
    pub fn new(directory: &Path, writable: bool) -> Self {
        // Another version of this program may read other things out of a module.
        let version = format!("{}-{INFO_VERSION}", env!("CARGO_PKG_VERSION"));
        Self { directory: directory.join(version), writable }
    }

    /// Opens what is kept under `name`, a plain file name.
    pub fn open(&self, name: &str) -> Infos {
        let bytes = base_fs::read_optional(&self.directory.join(name), FILE_BYTES_MAX).ok().flatten().unwrap_or_default();
        let index = index(&bytes).unwrap_or_default();
        Infos { store: Some((self.clone(), name.to_owned())), bytes, index, new: Mutex::default() }
    }
}

/// What is kept under one name, and what came to it.
#[derive(Debug, Default)]
pub struct Infos {
    store: Option<(InfoStore, String)>,
    bytes: Vec<u8>,
    /// Where the text of a module lies in `bytes`.
    index: HashMap<Sha256, (usize, usize)>,
    new: Mutex<BTreeMap<Sha256, Vec<u8>>>,
}

impl Infos {
    /// Tells whether anything is to be had or kept: digests are worth making then.
    pub fn is_of_use(&self) -> bool {
        self.store.as_ref().is_some_and(|(store, _)| store.writable) || !self.index.is_empty()
    }

    /// Returns what the module with this digest says of itself, if that is known.
    pub fn get(&self, digest: &Sha256) -> Option<ModuleInfo> {
        let (start, end) = *self.index.get(digest)?;
        serde_json::from_slice(self.bytes.get(start..end)?).ok()
    }

    /// Adds what was read.
    pub fn add(&self, digest: Sha256, info: &ModuleInfo) {
        let text = serde_json::to_vec(info).expect("invariant: what a module says is plain data");
        self.new.lock().expect("invariant: no thread panics with the lock").insert(digest, text);
    }

    /// Writes what is new.
    pub fn save(self) -> Result<(), FileError> {
        let new = self.new.into_inner().expect("invariant: no thread panics with the lock");
        let Some((store, name)) = self.store.filter(|(store, _)| store.writable && !new.is_empty()) else { return Ok(()) };
        let old: BTreeMap<&Sha256, &[u8]> =
            self.index.iter().filter_map(|(digest, (start, end))| Some((digest, self.bytes.get(*start..*end)?))).collect();
        let new = new.iter().map(|(digest, text)| (digest, text.as_slice()));
        let mut all = old;
        all.extend(new.clone());
        let mut bytes = written(&all);
        if bytes.len() as u64 > FILE_BYTES_MAX {
            bytes = written(&new.collect());
        }
        base_fs::create_dir_all(&store.directory)?;
        let path = store.directory.join(name);
        let write = || {
            let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(&store.directory)?;
            file.write_all(&bytes)?;
            file.persist(&path)?;
            Ok(())
        };
        write().map_err(FileError::on("write", &path))
    }
}

fn written(all: &BTreeMap<&Sha256, &[u8]>) -> Vec<u8> {
    let mut body = (all.len() as u32).to_le_bytes().to_vec();
    for (digest, text) in all {
        body.extend_from_slice(digest.as_bytes());
        body.extend_from_slice(&(text.len() as u32).to_le_bytes());
    }
    all.values().for_each(|text| body.extend_from_slice(text));
    [&MAGIC[..], Sha256::of(&body).as_bytes(), &body].concat()
}

/// Reads the index; nothing if the file is not whole.
fn index(bytes: &[u8]) -> Option<HashMap<Sha256, (usize, usize)>> {
    let body = bytes.strip_prefix(MAGIC)?.get(32..)?;
    if Sha256::of(body).as_bytes() != &bytes[MAGIC.len()..HEAD_BYTES] {
        return None;
    }
    let count = u32::from_le_bytes(body.get(..4)?.try_into().ok()?) as usize;
    let entries = body.get(4..)?.get(..count.checked_mul(ENTRY_BYTES)?)?;
    let mut at = HEAD_BYTES + 4 + entries.len();
    let mut index = HashMap::with_capacity(count);
    for entry in entries.chunks_exact(ENTRY_BYTES) {
        let (digest, length) = entry.split_at(32);
        let end = at.checked_add(u32::from_le_bytes(length.try_into().ok()?) as usize).filter(|end| *end <= bytes.len())?;
        index.insert(Sha256::from_bytes(digest.try_into().ok()?), (at, end));
        at = end;
    }
    Some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(name: &str) -> ModuleInfo {
        ModuleInfo { aliases: vec![format!("fs-{name}")], needs: vec!["printk".into()], machine: 62, ..ModuleInfo::default() }
    }

    #[test]
    fn what_was_kept_is_found_again() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = InfoStore::new(dir.path(), true);
        let (a, b) = (Sha256::of(b"a"), Sha256::of(b"b"));
        let infos = store.open("6.12");
        assert_eq!(infos.get(&a), None);
        infos.add(a, &info("a"));
        infos.save().expect("writing");
        let infos = store.open("6.12");
        assert_eq!(infos.get(&a), Some(info("a")));
        infos.add(b, &info("b"));
        infos.save().expect("writing");
        let infos = store.open("6.12");
        assert_eq!((infos.get(&a), infos.get(&b)), (Some(info("a")), Some(info("b"))));
        assert_eq!(store.open("6.13").get(&a), None);
    }

    #[test]
    fn b07_a_damaged_file_counts_as_empty_and_is_written_anew() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = InfoStore::new(dir.path(), true);
        let digest = Sha256::of(b"a");
        let keep = || {
            let infos = store.open("k");
            infos.add(digest, &info("a"));
            infos.save().expect("writing");
        };
        keep();
        let path = store.directory.join("k");
        let good = std::fs::read(&path).expect("the file");
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 0x10;
            std::fs::write(&path, &bytes).expect("damaging");
            assert_eq!(store.open("k").get(&digest), None, "byte {at}");
            std::fs::write(&path, &good[..at]).expect("cutting");
            assert_eq!(store.open("k").get(&digest), None, "cut at {at}");
        }
        keep();
        assert_eq!(std::fs::read(&path).expect("the file"), good);
    }

    #[test]
    fn an_unusable_directory_is_told_and_costs_nothing_else() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(dir.path().join("file"), b"").expect("a file");
        let store = InfoStore::new(&dir.path().join("file"), true);
        let infos = store.open("k");
        infos.add(Sha256::of(b"a"), &info("a"));
        assert!(infos.save().is_err());
        let closed = InfoStore::new(dir.path(), false).open("k");
        assert!(!closed.is_of_use());
        closed.add(Sha256::of(b"a"), &info("a"));
        closed.save().expect("nothing is written");
        assert_eq!(std::fs::read_dir(dir.path()).expect("the directory").count(), 1);
    }
}
