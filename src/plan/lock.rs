//! lock placeholder
