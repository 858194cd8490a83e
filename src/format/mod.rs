//! File formats, knowing nothing of packages or trees: bytes in, values out, and back.

pub mod compress;
pub mod elf;
pub mod hwdb;
pub mod ldcache;
