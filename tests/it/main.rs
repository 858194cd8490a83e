//! Tests that need Debian's packages or tools, in one program.

mod depmod;
mod kernels;
mod modules;
