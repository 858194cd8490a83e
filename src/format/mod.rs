//! File formats, knowing nothing of packages or trees: bytes in, values out, and back.

pub mod ar;
pub mod capability;
pub mod compress;
pub mod crypttab;
pub mod elf;
pub mod hwdb;
pub mod ldcache;
pub mod luks;
pub mod modindex;
pub mod module;
pub mod newc;
pub mod pe;
pub mod tar;
