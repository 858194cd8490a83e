//! The kernels of this machine and the images that its boot loaders start with them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::base::fs;
use crate::base::limit;

/// An image that a boot loader finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The kernel version that it is for.
    pub kernel: String,
    /// Its files, in the order in which the boot loader hands them over; one unless a boot entry names several.
    pub files: Vec<PathBuf>,
}

impl Placed {
    /// Tells whether it is a unified kernel image: kernel and command line are in the same file.
    pub fn is_unified(&self) -> bool {
        self.files.iter().any(|file| file.extension().is_some_and(|extension| extension == "efi"))
    }

    /// Returns the file of its own that the early segment is in, as kernel-install places it.
    pub fn early(&self) -> Option<&PathBuf> {
        self.files.iter().find(|file| file.file_name().is_some_and(|name| name == "microcode"))
    }
}

/// Where the boot partition may be mounted.
const BOOT_DIRECTORIES: [&str; 3] = ["efi", "boot/efi", "boot"];
/// How distributions name images beside kernels: Debian, Fedora and Arch, openSUSE.
const IMAGE_NAMES: [(&str, &str); 3] = [("initrd.img-", ""), ("initramfs-", ".img"), ("initrd-", "")];
/// Boot entries of one machine.
const ENTRIES_MAX: usize = 1_000;

/// Returns the versions of the kernels that have modules here, sorted.
pub fn versions(root: &Path) -> Vec<String> {
    let mut versions = BTreeSet::new();
    for directory in ["usr/lib/modules", "lib/modules"] {
        let paths = fs::list(&root.join(directory)).unwrap_or_default();
        let has_kernel = |path: &PathBuf| ["modules.dep", "modules.order"].iter().any(|name| path.join(name).exists());
        let names = paths.into_iter().filter(has_kernel).filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
        versions.extend(names);
    }
    versions.into_iter().collect()
}

/// Returns the images of this machine, sorted by kernel and path: beside kernels in `/boot`, in boot entries, unified ones.
pub fn images(root: &Path) -> Vec<Placed> {
    let mut found: Vec<Placed> = Vec::new();
    // `/efi` may be a link to `/boot`.
    let directories: BTreeSet<PathBuf> = BOOT_DIRECTORIES.iter().filter_map(|name| root.join(name).canonicalize().ok()).collect();
    for directory in directories {
        found.extend(images_in(&directory));
    }
    found.sort_by(|a, b| (&a.kernel, &a.files).cmp(&(&b.kernel, &b.files)));
    found.dedup();
    found
}

/// Returns the images of one boot directory: `$BOOT` of kernel-install may be anywhere.
pub fn images_in(boot: &Path) -> Vec<Placed> {
    [beside_kernels(boot), in_entries(boot), unified(boot)].concat()
}

fn beside_kernels(directory: &Path) -> Vec<Placed> {
    let files = fs::list(directory).unwrap_or_default();
    let version = |path: &PathBuf| {
        let name = path.file_name()?.to_str()?;
        let strip = |(start, end): &(&str, &str)| name.strip_prefix(start)?.strip_suffix(end).map(str::to_owned);
        // What another tool or an administrator put aside is not started.
        let aside = [".bak", ".old", ".dpkg-bak", ".new", ".tmp"];
        IMAGE_NAMES
            .iter()
            .find_map(strip)
            .filter(|version| !version.is_empty() && !aside.iter().any(|end| version.ends_with(end)))
    };
    let files = files.into_iter().filter(|path| path.is_file() && !path.is_symlink());
    files.filter_map(|path| Some(Placed { kernel: version(&path)?, files: vec![path] })).collect()
}

/// Boot loader entries of type 1 (<https://uapi-group.org/specifications/specs/boot_loader_specification/>).
fn in_entries(boot: &Path) -> Vec<Placed> {
    let entries = fs::list(&boot.join("loader/entries")).unwrap_or_default();
    let entries = entries.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "conf"));
    entries.take(ENTRIES_MAX).filter_map(|path| entry(boot, &path)).collect()
}

fn entry(boot: &Path, path: &Path) -> Option<Placed> {
    let text = fs::read_text(path, limit::TEXT_BYTES_MAX).ok()?;
    let values = |key: &str| {
        let lines = text.lines().filter_map(move |line| line.trim().split_once(char::is_whitespace));
        lines.filter(move |(name, _)| *name == key).map(|(_, value)| value.trim().to_owned()).collect::<Vec<_>>()
    };
    let kernel = values("version").into_iter().next()?;
    // Names are those of the file system that the directory is on: `/boot/…` where it is no mount point of its own.
    let inside = |name: String| {
        let name = name.trim_start_matches('/');
        let above = boot.ancestors().map(|directory| directory.join(name)).find(|path| path.exists());
        above.unwrap_or_else(|| boot.join(name))
    };
    let files: Vec<PathBuf> = values("initrd").into_iter().map(inside).collect();
    (!files.is_empty()).then_some(Placed { kernel, files })
}

/// Unified kernel images are named `TOKEN-VERSION.efi`, perhaps with the number of tries left: `TOKEN-VERSION+3.efi`.
fn unified(boot: &Path) -> Vec<Placed> {
    let files = fs::list(&boot.join("EFI/Linux")).unwrap_or_default();
    let version = |path: &PathBuf| {
        let stem = path.file_name()?.to_str()?.strip_suffix(".efi")?;
        let stem = match stem.rsplit_once('+') {
            Some((stem, tries)) if !tries.is_empty() && tries.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') => stem,
            _ => stem,
        };
        Some(stem.split_once('-')?.1.to_owned())
    };
    files.into_iter().filter_map(|path| Some(Placed { kernel: version(&path)?, files: vec![path] })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_found_where_boot_loaders_look() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
            std::fs::write(path, text).expect("writing");
        };
        put("boot/initrd.img-6.1", "");
        put("boot/initrd.img-6.1.dpkg-bak", "");
        put("boot/initramfs-6.2.img", "");
        put("boot/vmlinuz-6.1", "");
        put(
            "efi/loader/entries/t-6.3.conf",
            "title x\nversion 6.3\ninitrd /t/6.3/microcode\ninitrd /t/6.3/initrd\noptions initrd=x\n",
        );
        put("boot/loader/entries/t-6.5.conf", "version 6.5\ninitrd /boot/t/6.5/initrd\n");
        put("boot/t/6.5/initrd", "x");
        put("efi/loader/entries/t-memtest.conf", "title memtest\nefi /memtest.efi\n");
        put("efi/EFI/Linux/0123abcd-6.4+3-1.efi", "");
        put("usr/lib/modules/6.1/modules.dep", "");
        put("usr/lib/modules/6.9/build/x", "");
        let found: Vec<(String, usize)> = images(root.path()).into_iter().map(|one| (one.kernel, one.files.len())).collect();
        assert_eq!(found, [("6.1".into(), 1), ("6.2".into(), 1), ("6.3".into(), 2), ("6.4".into(), 1), ("6.5".into(), 1)]);
        let of = |kernel: &str| images(root.path()).into_iter().find(|one| one.kernel == kernel).expect(kernel);
        assert_eq!(["6.1", "6.3", "6.4"].map(|kernel| of(kernel).is_unified()), [false, false, true]);
        assert!(of("6.3").early().is_some_and(|file| file.ends_with("t/6.3/microcode")) && of("6.1").early().is_none());
        let entry = images(root.path()).pop().expect("the last");
        assert!(entry.files[0].exists(), "{entry:?}: `/boot` is no mount point, and its entries say so");
        assert_eq!(versions(root.path()), ["6.1"]);
    }
}
