//! Where kernel modules and firmware come from: packages of a repository, or directories of a machine.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::Error;
use crate::base::fs::{self, FileError};
use crate::base::limit;
use crate::config::Item;
use crate::modules::KernelVersion;
use crate::modules::catalog::is_module;
use crate::tree::disk;
use crate::tree::{Content, Origin, Tree, TreePath};

/// Where the modules of a machine's own kernels lie.
const OWN_DIRECTORIES: [&str; 2] = ["/usr/lib/modules", "/lib/modules"];

/// Where firmware lies in a tree.
const FIRMWARE: &str = "usr/lib/firmware";

/// The source of a kernel's modules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kernel {
    /// A kernel package; firmware comes from the profile's firmware packages.
    Package(Item),
    /// A directory as `/usr/lib/modules/VERSION`; firmware comes from `firmware` beside `modules` if that is there.
    Directory {
        /// The directory.
        directory: PathBuf,
        /// The version of the kernel.
        version: String,
    },
}

impl Kernel {
    /// Returns the firmware directory beside a modules directory, if there is one.
    pub fn firmware_directory(&self) -> Option<PathBuf> {
        match self {
            Kernel::Package(_) => None,
            Kernel::Directory { directory, .. } => {
                let beside = directory.parent()?.parent()?.join("firmware");
                beside.is_dir().then_some(beside)
            }
        }
    }

    /// Returns the kernel's own file that belongs to a modules directory, if there is one: in it, or in the `boot` of the same root.
    pub fn image(&self) -> Option<PathBuf> {
        match self {
            Kernel::Package(_) => None,
            Kernel::Directory { directory, version } => {
                // The directory is `ROOT/lib/modules/VERSION` or `ROOT/usr/lib/modules/VERSION`.
                let roots = directory.ancestors().skip(3).take(2);
                let boots = roots.map(|root| root.join("boot").join(format!("vmlinuz-{version}")));
                std::iter::once(directory.join("vmlinuz")).chain(boots).find(|path| path.is_file())
            }
        }
    }

    /// Tells whether firmware is to come from packages. Of its own kernels a machine has the firmware that it has, if any.
    pub fn wants_firmware_packages(&self) -> bool {
        let is_own = |directory: &Path| {
            let above = directory.parent();
            OWN_DIRECTORIES.iter().any(|own| above == Some(Path::new(own)))
        };
        match self {
            Kernel::Package(_) => true,
            Kernel::Directory { directory, .. } => !is_own(directory) && self.firmware_directory().is_none(),
        }
    }
}

/// Tells whether a path of a kernel package is wanted: modules, their lists, and the configuration that says what the kernel can do.
pub fn is_of_kernel(path: &TreePath) -> bool {
    path.is_under(&TreePath::literal("usr/lib/modules")) || path.as_bytes().starts_with(b"boot/config-")
}

/// Tells whether a path of a firmware package is wanted.
pub fn is_firmware(path: &TreePath) -> bool {
    path.is_under(&TreePath::literal(FIRMWARE))
}

/// Returns the configuration of the kernel, which says what it can unpack: out of its package, or `config` in its modules directory.
/// Without one nothing is known, and nothing refused.
pub fn config(tree: &Tree, source: &Kernel, version: &KernelVersion) -> Option<String> {
    let bytes = match source {
        Kernel::Package(_) => {
            // Debian's place, and Fedora's.
            let paths = [format!("boot/config-{version}"), format!("usr/lib/modules/{version}/config")];
            let paths = paths.iter().filter_map(|path| TreePath::parse(path.as_bytes()).ok());
            paths.filter_map(|path| tree.read(&path)).next()?.bytes().to_vec()
        }
        Kernel::Directory { directory, .. } => fs::read_optional(&directory.join("config"), limit::TEXT_BYTES_MAX).ok()??,
    };
    String::from_utf8(bytes).ok()
}

/// Tells whether a kernel was built with modules and none of them is there: they are in a package of their own then.
pub fn lacks_modules(tree: &Tree, version: &KernelVersion) -> bool {
    let Ok(directory) = TreePath::literal("usr/lib/modules").join(version.as_str().as_bytes()) else { return false };
    let order = directory.join(b"modules.order").ok().and_then(|path| tree.read(&path));
    let has_modules = || tree.below(&directory).any(|(path, _)| path.as_str().is_some_and(is_module));
    order.is_some_and(|order| !order.is_empty()) && !has_modules()
}

/// Reads a modules directory.
pub fn read(tree: &mut Tree, directory: &Path, version: &str) -> Result<(), Error> {
    if !directory.is_dir() {
        let absent = std::io::Error::from(std::io::ErrorKind::NotFound);
        return Err(FileError::on("read the modules directory", directory)(absent).into());
    }
    let at = TreePath::literal("usr/lib/modules").join(version.as_bytes())?;
    Ok(disk::read(tree, directory, &at, false, &Origin::Kernel)?)
}

/// Takes the names in a firmware directory, without the files.
pub fn read_firmware_names(tree: &mut Tree, directory: &Path) -> Result<(), Error> {
    Ok(disk::read_names(tree, directory, &TreePath::literal(FIRMWARE), &Origin::Kernel)?)
}

/// Reads one file of a firmware directory, by its path in the tree.
pub fn load_firmware(directory: &Path, path: &TreePath) -> Result<Content, FileError> {
    let below = path.relative_to(&TreePath::literal(FIRMWARE)).expect("invariant: nothing else is in the tree");
    Ok(Content::from(fs::read(&directory.join(OsStr::from_bytes(below)), limit::FILE_BYTES_MAX)?))
}

/// Reads of a firmware directory what is below these names, as far as they are there.
pub fn read_firmware(tree: &mut Tree, directory: &Path, below: &[&str]) -> Result<(), Error> {
    let base = TreePath::literal(FIRMWARE);
    for name in below {
        let from = directory.join(name);
        if from.is_dir() {
            disk::read(tree, &from, &base.join(name.as_bytes())?, false, &Origin::Kernel)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Entry;

    #[test]
    fn a_kernel_without_its_modules_is_not_one_without_modules() {
        let tree = |files: &[(&str, &str)]| {
            let mut tree = Tree::new();
            for (path, text) in files {
                tree.insert(&TreePath::literal(path), Entry::file(*text, Origin::Kernel)).expect("a file");
            }
            tree
        };
        let version = KernelVersion::parse("6.1").expect("a version");
        let order = ("usr/lib/modules/6.1/modules.order", "kernel/a.ko\n");
        assert!(lacks_modules(&tree(&[order]), &version));
        assert!(!lacks_modules(&tree(&[order, ("usr/lib/modules/6.1/kernel/a.ko.xz", "x")]), &version));
        assert!(!lacks_modules(&tree(&[("usr/lib/modules/6.1/modules.order", "")]), &version), "all is built in");
    }
}
