//! The running machine: what it is made of and what it trusts. Nothing else reads it.

pub mod apk;
pub mod apt;
pub mod declared;
pub mod dnf;
pub mod emulate;
pub mod facts;
pub mod kernels;
pub mod keyboard;
pub mod pacman;
pub mod policy;
pub mod probe;
pub mod sign;
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

/// Lets this process leave no core dump, in which secrets that it has read would lie about.
pub fn forgo_core_dumps() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    // Neither can fail for a process that lowers its own limits; where a sandbox forbids both, the image is made all the same.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}
