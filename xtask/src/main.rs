//! The project's errands: `cargo xtask install|test|boot|bench|man`.

fn main() {}
