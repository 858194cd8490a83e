//! Tests with Debian's own packages and tools.

mod finalize;
mod parity;
mod trixie;
