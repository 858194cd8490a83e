//! Tests that need a distribution's packages or tools.

mod solver;
mod version;
