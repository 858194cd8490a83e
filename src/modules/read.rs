//! Reads modules, each once, in several threads.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::Error;
use super::catalog::Candidate;
use crate::format::compress::{Format, decode};
use crate::format::module::{self, ModuleInfo};

/// A module, decompressed. The largest of Debian's (amdgpu) is 30 MB; with debug information some reach 400 MB.
const MODULE_BYTES_MAX: u64 = 1 << 30;

/// Reads what modules say of themselves, in the order given.
pub fn infos(candidates: &[&Candidate], threads: usize) -> Result<Vec<ModuleInfo>, Error> {
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let read: Mutex<Vec<(usize, Result<ModuleInfo, Error>)>> = Mutex::new(Vec::with_capacity(candidates.len()));
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, candidates.len().max(1)) {
            scope.spawn(|| {
                let mut mine = Vec::new();
                while !failed.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(candidate) = candidates.get(number) else { break };
                    let result = one(candidate);
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

fn one(candidate: &Candidate) -> Result<ModuleInfo, Error> {
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
