//! Reads modules, each once, in several threads; those that were read before are taken from the store.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::Error;
use super::catalog::Candidate;
use crate::base::digest::Sha256;
use crate::format::compress::{Format, decode};
use crate::format::module::{self, ModuleInfo};
use crate::store::infos::Infos;

/// A module, decompressed. The largest of Debian's (amdgpu) is 30 MB; with debug information some reach 400 MB.
const MODULE_BYTES_MAX: u64 = 1 << 30;

/// Reads modules.
#[derive(Debug)]
pub struct Reader<'a> {
    threads: usize,
    known: &'a Infos,
}

impl<'a> Reader<'a> {
    /// Returns a reader that works in so many threads and uses, and adds to, what is known.
    pub fn new(threads: usize, known: &'a Infos) -> Self {
        Self { threads, known }
    }

    /// Reads what modules say of themselves, in the order given; fails at the first that cannot be read.
    pub fn infos(&self, candidates: &[&Candidate]) -> Result<Vec<ModuleInfo>, Error> {
        self.read(candidates, true).into_iter().collect()
    }

    /// Reads what modules say of themselves, in the order given; nothing for those that cannot be read.
    pub fn try_infos(&self, candidates: &[&Candidate]) -> Vec<Option<ModuleInfo>> {
        self.read(candidates, false).into_iter().map(Result::ok).collect()
    }

    fn read(&self, candidates: &[&Candidate], all_or_nothing: bool) -> Vec<Result<ModuleInfo, Error>> {
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let read: Mutex<Vec<(usize, Result<ModuleInfo, Error>)>> = Mutex::new(Vec::with_capacity(candidates.len()));
        std::thread::scope(|scope| {
            for _ in 0..self.threads.clamp(1, candidates.len().max(1)) {
                scope.spawn(|| {
                    let mut mine = Vec::new();
                    while !(all_or_nothing && failed.load(Ordering::Relaxed)) {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let Some(candidate) = candidates.get(number) else { break };
                        let result = self.one(candidate);
                        if result.is_err() {
                            failed.store(true, Ordering::Relaxed);
                        }
                        mine.push((number, result));
                    }
                    read.lock().expect("invariant: no thread panics with the lock").extend(mine);
                });
            }
        });
        let mut read = read.into_inner().expect("invariant: no thread panics with the lock");
        read.sort_by_key(|(number, _)| *number);
        read.into_iter().map(|(_, result)| result).collect()
    }

    fn one(&self, candidate: &Candidate) -> Result<ModuleInfo, Error> {
        if !self.known.is_of_use() {
            return parse(candidate);
        }
        // Hashing takes a fortieth of what decompressing does.
        let digest = Sha256::of(candidate.content.bytes());
        if let Some(info) = self.known.get(&digest) {
            return Ok(info);
        }
        let info = parse(candidate)?;
        self.known.add(digest, &info);
        Ok(info)
    }
}

fn parse(candidate: &Candidate) -> Result<ModuleInfo, Error> {
    let bytes = candidate.content.bytes();
    let decoded;
    let elf = match Format::sniff(bytes) {
        Format::None => bytes,
        format => {
            decoded = decode::all(format, bytes, MODULE_BYTES_MAX).map_err(|source| Error::Decompress {
                path: candidate.path.clone(),
                format,
                source,
            })?;
            &decoded
        }
    };
    module::parse(elf).map_err(|source| Error::Module { path: candidate.path.clone(), source })
}
