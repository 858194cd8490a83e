//! Tests against real packages and the formats' own tools.

mod cpio;
mod deliver;
//! Tests with Debian's own packages and tools.

mod finalize;
mod parity;
mod trixie;
