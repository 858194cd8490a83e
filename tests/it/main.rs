//! Tests against real packages and the formats' own tools.

mod cpio;
mod deliver;

mod finalize;
mod parity;
mod trixie;
