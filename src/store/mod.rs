//! What is kept on this machine between runs.

pub mod payload;
pub mod segments;
