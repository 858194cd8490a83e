//! Tests that need Debian's packages, its tools, or a server: one binary.

mod acquire;
mod archive;
mod repository;
mod server;
