//! The running machine: what it is made of and what it trusts. Nothing else reads it.

pub mod apt;
