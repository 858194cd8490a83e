//! What a machine asks for: modules that are loaded, drivers of its devices, what its volumes are made of. Each wish has its reason.

use crate::host::facts::Facts;

/// Something that is wanted of a kernel, if it has it as a module.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wish {
    /// What.
    pub what: What,
    /// Why, as people read it: `device pci0000:00/0000:00:1d.0`, `loaded`, `cipher aes-xts-plain64 of nvme0n1p3`.
    pub reason: String,
}

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// A module by its name.
    Name(String),
    /// Whatever answers this alias: `pci:v0000144D…`, `crypto-xts`, `fs-ext4`.
    Alias(String),
}

/// Returns what a machine asks for, sorted, each thing once for each reason.
pub fn of(facts: &Facts) -> Vec<Wish> {
    let loaded = facts.modules.iter().map(|name| Wish { what: What::Name(name.clone()), reason: "loaded".to_owned() });
    let mut wishes: Vec<Wish> = loaded.collect();
    wishes.sort();
    wishes.dedup();
    wishes
}
