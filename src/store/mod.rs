//! What is kept between runs.

pub mod payload;
