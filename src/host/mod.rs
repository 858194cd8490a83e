//! The running machine: what it is made of and what it trusts. Nothing else reads it.

pub mod apt;
pub mod facts;
pub mod kernels;
pub mod probe;
pub mod traits;

use std::path::PathBuf;

/// Returns the machine's architecture as the kernel names it: `x86_64`.
pub fn machine() -> String {
    rustix::system::uname().machine().to_string_lossy().into_owned()
}

/// Returns the version of the running kernel, as `uname -r` does.
pub fn running_kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Returns where the modules of a kernel lie, if this machine has them.
pub fn modules_directory(version: &str) -> Option<PathBuf> {
    ["/usr/lib/modules", "/lib/modules"]
        .map(|directory| PathBuf::from(directory).join(version))
        .into_iter()
        .find(|directory| directory.join("modules.dep").exists() || directory.join("modules.order").exists())
}
