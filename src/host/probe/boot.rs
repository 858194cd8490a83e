//! Where kernels and images lie.

use super::root::Root;
use super::tables;
use crate::host::facts::Boot;

/// Where kernel-install's configuration lies; the first file that exists counts, drop-ins add.
const CONFIGURATION: [&str; 4] = ["/etc/kernel", "/run/kernel", "/usr/local/lib/kernel", "/usr/lib/kernel"];
/// Where a boot loader's partition may be mounted, in kernel-install's order.
const PLACES: [&str; 3] = ["/efi", "/boot", "/boot/efi"];

/// Returns the directory: what kernel-install was told, what holds boot entries, `/boot` where kernels lie in it, a mount point.
pub fn boot(root: &Root) -> Boot {
    let directory = told(root).unwrap_or_else(|| {
        let has_entries = |place: &&str| {
            root.has_directory(&format!("{place}/loader/entries")) || root.has_directory(&format!("{place}/EFI/Linux"))
        };
        let has_kernels = || root.names("/boot").iter().any(|name| name.starts_with("vmlinuz-") || name.starts_with("vmlinux-"));
        // Read after the directories were looked at: an automount point has its file system by then.
        let mounts = mounts(root);
        let is_mounted = |place: &&&str| tables::mounted_at(&mounts, place).is_some();
        let found = PLACES.iter().find(|place| has_entries(place));
        let found = found.or_else(|| has_kernels().then_some(&"/boot"));
        let found = found.or_else(|| ["/efi", "/boot/efi", "/boot"].iter().find(|place| is_mounted(place)));
        (*found.unwrap_or(&"/boot")).to_owned()
    });
    let fstype = tables::mount_of(&mounts(root), &directory).map(|mount| mount.fstype.clone()).unwrap_or_default();
    Boot { directory, fstype }
}

fn mounts(root: &Root) -> Vec<tables::Mount> {
    tables::mounts(&root.text("/proc/self/mountinfo").unwrap_or_default())
}

/// `BOOT_ROOT=` of `install.conf`.
fn told(root: &Root) -> Option<String> {
    let missing = "where kernel-install puts images is unknown";
    let main = CONFIGURATION.iter().map(|directory| format!("{directory}/install.conf")).find(|path| root.has(path));
    let mut files: Vec<String> = main.into_iter().collect();
    for directory in CONFIGURATION.iter().rev().map(|directory| format!("{directory}/install.conf.d")) {
        let names = root.names(&directory).into_iter().filter(|name| name.ends_with(".conf"));
        files.extend(names.map(|name| format!("{directory}/{name}")));
    }
    let value = |text: String| {
        let mut lines = text.lines().rev().filter_map(|line| line.trim().strip_prefix("BOOT_ROOT="));
        lines.next().map(|value| value.trim().trim_matches(['"', '\'']).to_owned())
    };
    let last = files.iter().filter_map(|path| value(root.table(path, missing))).next_back();
    let last = last.filter(|path| path.starts_with('/'))?;
    let plain = last.trim_end_matches('/');
    Some(if plain.is_empty() { "/".to_owned() } else { plain.to_owned() })
}
