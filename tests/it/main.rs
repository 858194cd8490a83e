//! Tests against real packages and the formats' own tools.

mod deb;
mod unpack;
