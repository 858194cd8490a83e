//! The kernel itself: its version as a name for directories, which one a tree has, what it can load.

use std::fmt;

use super::Error;
use super::catalog::{is_module, modules_dir};
use crate::format::compress::Format;
use crate::tree::{Kind, Tree};

/// A kernel's version as `uname -r` says it: one path component of plain letters, digits and `.`, `_`, `+`, `~`, `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion(String);

/// `__NEW_UTS_LEN` of the kernel: a longer name cannot be that of a running kernel.
const VERSION_BYTES_MAX: usize = 64;

impl KernelVersion {
    /// Reads a version.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |reason| Error::BadVersion { version: text.escape_debug().to_string().chars().take(80).collect(), reason };
        let plain = |c: char| c.is_ascii_alphanumeric() || "._+~-".contains(c);
        match text {
            "" => Err(wrong("it is empty")),
            _ if text.len() > VERSION_BYTES_MAX => Err(wrong("it is longer than 64 bytes")),
            _ if !text.chars().all(plain) => Err(wrong("only letters, digits and `._+~-` are allowed")),
            _ if text.starts_with(['.', '-']) => Err(wrong("it starts with `.` or `-`")),
            _ => Ok(Self(text.to_owned())),
        }
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns the version of the one kernel of a tree. A directory counts that has modules or a list of built-in ones: headers leave
/// others behind.
pub fn find_kver(tree: &Tree) -> Result<KernelVersion, Error> {
    let none = || Error::NoKernels { dir: "/usr/lib/modules".to_owned() };
    let dir = modules_dir(tree).ok_or_else(none)?;
    let mut found = Vec::new();
    for (path, entry) in tree.children(&dir) {
        let file = |path: &[u8]| std::str::from_utf8(path).is_ok_and(|path| is_module(path) || path == "modules.builtin");
        let has_kernel = || tree.below(path).any(|(below, _)| below.relative_to(path).is_some_and(file));
        if matches!(entry.kind, Kind::Dir) && has_kernel() {
            found.push(KernelVersion::parse(&String::from_utf8_lossy(path.name()))?);
        }
    }
    match found.len() {
        0 => Err(none()),
        1 => Ok(found.remove(0)),
        _ => Err(Error::SeveralKernels { found: found.iter().map(KernelVersion::to_string).collect() }),
    }
}

/// Returns the compression of modules that a kernel undoes itself, told by its configuration; nothing when it does not or is unknown.
///
/// Where it does not, the image's kmod must know the compression, or modules be decompressed.
pub fn decompressor(kernel_config: Option<&str>) -> Option<Format> {
    let config = kernel_config?;
    let set = |option: &str| config.lines().any(|line| line.strip_prefix(option) == Some("=y"));
    if !set("CONFIG_MODULE_DECOMPRESS") {
        return None;
    }
    let formats = [
        ("CONFIG_MODULE_COMPRESS_XZ", Format::Xz),
        ("CONFIG_MODULE_COMPRESS_ZSTD", Format::Zstd),
        ("CONFIG_MODULE_COMPRESS_GZIP", Format::Gzip),
    ];
    formats.into_iter().find(|(option, _)| set(option)).map(|(_, format)| format)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Entry, Origin, TreePath};

    #[test]
    fn b13_versions_are_checked() {
        let long = "6".repeat(65);
        for bad in ["", "6.1 2", "../etc", "6/1", "..", "6.1\n", "-6.1", "6.1é", &long] {
            assert!(matches!(KernelVersion::parse(bad), Err(Error::BadVersion { .. })), "{bad:?}");
        }
        for good in ["6.12.107+deb13-amd64", "6.6.0-1.fc40.x86_64", "6.2.10-1-ARCH", "6.8~rc1_x"] {
            assert_eq!(KernelVersion::parse(good).expect(good).as_str(), good);
        }
    }

    fn tree(paths: &[&str]) -> Tree {
        let mut tree = Tree::new();
        for path in paths {
            tree.insert(&TreePath::literal(path), Entry::file("x", Origin::Kernel)).expect(path);
        }
        tree
    }

    #[test]
    fn b07_exactly_one_kernel_is_found() {
        assert!(matches!(find_kver(&Tree::new()), Err(Error::NoKernels { .. })));
        assert!(matches!(find_kver(&tree(&["usr/lib/modules/6.1/build/x"])), Err(Error::NoKernels { .. })));
        let one = tree(&["usr/lib/modules/6.1/build/x", "usr/lib/modules/6.2/kernel/a.ko.xz"]);
        assert_eq!(find_kver(&one).expect("one kernel").as_str(), "6.2");
        let unmerged = tree(&["lib/modules/6.3/modules.builtin"]);
        assert_eq!(find_kver(&unmerged).expect("one kernel").as_str(), "6.3");
        let two = tree(&["usr/lib/modules/6.1/a.ko", "usr/lib/modules/6.2/a.ko"]);
        assert!(matches!(find_kver(&two), Err(Error::SeveralKernels { found }) if found == ["6.1", "6.2"]));
        assert!(matches!(find_kver(&tree(&["usr/lib/modules/6 1/a.ko"])), Err(Error::BadVersion { .. })));
    }

    #[test]
    fn the_configuration_tells_what_the_kernel_decompresses() {
        let xz = "CONFIG_MODULE_COMPRESS_XZ=y\nCONFIG_MODULE_DECOMPRESS=y\n";
        assert_eq!(decompressor(Some(xz)), Some(Format::Xz));
        assert_eq!(decompressor(Some("CONFIG_MODULE_COMPRESS_XZ=y\n# CONFIG_MODULE_DECOMPRESS is not set\n")), None);
        assert_eq!(decompressor(Some("CONFIG_MODULE_COMPRESS_ZSTD=y\nCONFIG_MODULE_DECOMPRESS=y\n")), Some(Format::Zstd));
        assert_eq!(decompressor(None), None);
    }
}
