//! Tests that need Debian's packages or tools, one binary.

mod prune;
