//! The RPM family: Fedora, CentOS Stream, openSUSE and their kin.

mod arch;
mod entry;
mod files;
pub mod index;
pub mod rich;
mod scan;
mod symbol;
pub mod version;
mod xml;
