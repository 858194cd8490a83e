//! Where paths of packages belong in the root: merged top-level directories, and who may have set-id bits or be a device node.

use std::collections::{BTreeMap, BTreeSet};

use crate::tree::TreePath;

/// Device nodes that an initrd may be shipped with, as (path, major, minor): character devices that need no driver. The kernel mounts a
/// devtmpfs anyway; anything else in a package is a mistake or an attempt.
const DEVICES: [(&str, u32, u32); 8] = [
    ("dev/console", 5, 1),
    ("dev/full", 1, 7),
    ("dev/kmsg", 1, 11),
    ("dev/null", 1, 3),
    ("dev/random", 1, 8),
    ("dev/tty", 5, 0),
    ("dev/urandom", 1, 9),
    ("dev/zero", 1, 5),
];

/// The shape of the root, from the profile.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    /// Directories that are links to others: `lib` to `usr/lib`. Packages may ship either path.
    links: BTreeMap<TreePath, TreePath>,
    set_id: BTreeSet<TreePath>,
}

impl Layout {
    /// Returns a layout with these directories merged into those, and set-id bits left to the files of `set_id`.
    ///
    /// Targets are canonical themselves: no link may lead below another.
    pub fn new(links: impl IntoIterator<Item = (TreePath, TreePath)>, set_id: impl IntoIterator<Item = TreePath>) -> Self {
        Self { links: links.into_iter().collect(), set_id: set_id.into_iter().collect() }
    }

    /// Returns the merged /usr of Debian: `bin`, `sbin` and all `lib*` that a port of Debian has.
    pub fn merged_usr() -> Self {
        let names = ["bin", "lib", "lib32", "lib64", "libx32", "sbin"];
        Self::new(names.map(|name| (TreePath::literal(name), TreePath::literal(&format!("usr/{name}")))), [])
    }

    /// Returns the merged directories: the link, and where it leads.
    pub fn links(&self) -> impl Iterator<Item = (&TreePath, &TreePath)> {
        self.links.iter()
    }

    /// Returns the one path that a name out of a package stands for.
    pub fn canonical(&self, path: TreePath) -> TreePath {
        let merged = self.links.iter().find_map(|(link, target)| Some((target, path.relative_to(link)?)));
        match merged {
            None => path,
            Some((target, b"")) => target.clone(),
            // A path that is too long once merged keeps the name that it had.
            Some((target, below)) => target.join(below).unwrap_or(path),
        }
    }

    /// Tells whether this file may keep its set-id bits.
    pub fn allows_set_id(&self, path: &TreePath) -> bool {
        self.set_id.contains(path)
    }

    /// Tells whether this node may be.
    pub fn allows_device(&self, path: &TreePath, block: bool, major: u32, minor: u32) -> bool {
        !block && DEVICES.iter().any(|device| path.as_bytes() == device.0.as_bytes() && (device.1, device.2) == (major, minor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_one_name() {
        let layout = Layout::merged_usr();
        for (path, expected) in [
            ("lib/x", "usr/lib/x"),
            ("lib", "usr/lib"),
            ("lib64/ld.so", "usr/lib64/ld.so"),
            ("library/x", "library/x"),
            ("usr/lib/x", "usr/lib/x"),
            ("etc/lib/x", "etc/lib/x"),
        ] {
            assert_eq!(layout.canonical(TreePath::literal(path)), TreePath::literal(expected));
        }
    }

    #[test]
    fn e04_only_the_known_nodes_may_be() {
        let layout = Layout::default();
        for (path, block, major, minor, expected) in [
            ("dev/null", false, 1, 3, true),
            ("dev/null", true, 1, 3, false),
            ("dev/null", false, 1, 1, false),
            ("dev/mem", false, 1, 1, false),
            ("etc/null", false, 1, 3, false),
        ] {
            assert_eq!(layout.allows_device(&TreePath::literal(path), block, major, minor), expected, "{path}");
        }
    }
}
