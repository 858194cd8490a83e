//! Whether the whole machine is seen from here, or only a part of it that must not be taken for the whole.

use super::root::Root;
use super::tables::{self, Mount};
use crate::host::facts::View;

/// File systems that hold a root in memory, or put memory over a read-only one.
const PASSING: [&str; 6] = ["overlay", "aufs", "tmpfs", "ramfs", "rootfs", "squashfs"];
/// Directories that live systems make, and whose they are.
const LIVE: [(&str, &str); 6] = [
    ("/run/live", "Debian's live system"),
    ("/run/casper", "Ubuntu's live system"),
    ("/run/initramfs/live", "a live system of dracut"),
    ("/run/archiso", "Arch's installer"),
    ("/run/miso", "Manjaro's installer"),
    ("/lib/debian-installer", "the Debian installer"),
];

/// Returns what is seen, with the first thing that shows that it is not all. `variable` reads the environment.
pub fn view(root: &Root, mounts: &[Mount], command_line: &str, variable: &dyn Fn(&str) -> Option<String>) -> View {
    let why = chroot(root, mounts, variable)
        .or_else(|| container(root))
        .or_else(|| blind(root, mounts))
        .or_else(|| live(root, mounts, command_line));
    why.map_or(View::Machine, View::Partial)
}

/// A chroot has another root directory than PID 1, and its mounts lack `/` unless the directory is a mount point itself.
fn chroot(root: &Root, mounts: &[Mount], variable: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let said = variable("SYSTEMD_IN_CHROOT").filter(|value| !value.is_empty());
    if said.is_some_and(|value| !["0", "no", "false", "n", "off"].contains(&value.to_ascii_lowercase().as_str())) {
        return Some("this is a chroot (`SYSTEMD_IN_CHROOT` says so)".to_owned());
    }
    let place = |path: &str| std::fs::metadata(root.at(path)).map(|metadata| (metadata.dev(), metadata.ino()));
    match (place("/"), place("/proc/1/root")) {
        (Ok(own), Ok(first)) if own != first => return Some("this is a chroot (PID 1 has another root directory)".to_owned()),
        // Only root may look at PID 1's.
        _ => {}
    }
    let is_lost = !mounts.is_empty() && tables::mounted_at(mounts, "/").is_none();
    is_lost.then(|| "this is a chroot (nothing is mounted at `/`)".to_owned())
}

/// The marks that systemd-detect-virt looks for.
fn container(root: &Root) -> Option<String> {
    let named = |path: &str| root.attribute(path).map(|name| format!("this is a container (`{path}` says `{name}`)"));
    if let Some(why) = named("/run/systemd/container").or_else(|| named("/run/host/container-manager")) {
        return Some(why);
    }
    for path in ["/run/.containerenv", "/.dockerenv"] {
        if root.has(path) {
            return Some(format!("this is a container (there is `{path}`)"));
        }
    }
    let environment = root.text("/proc/1/environ").unwrap_or_default();
    if let Some(name) = environment.split('\0').find_map(|word| word.strip_prefix("container=")).filter(|name| !name.is_empty()) {
        return Some(format!("this is a container (PID 1 has `container={name}`)"));
    }
    let release = root.attribute("/proc/sys/kernel/osrelease").unwrap_or_default();
    if release.contains("Microsoft") || release.contains("WSL") {
        return Some("this is a container (the kernel is that of the Windows Subsystem for Linux)".to_owned());
    }
    // Outside of user namespaces all numbers mean themselves.
    let users = root.attribute("/proc/self/uid_map")?;
    let words: Vec<&str> = users.split_ascii_whitespace().collect();
    (words != ["0", "0", "4294967295"]).then(|| "this is a container (a user namespace)".to_owned())
}

/// Without sysfs and procfs there is nothing to see.
fn blind(root: &Root, mounts: &[Mount]) -> Option<String> {
    if mounts.is_empty() {
        return Some("`/proc` is not mounted".to_owned());
    }
    let is_empty = root.names("/sys/devices").is_empty() || !root.has_directory("/sys/class/block");
    is_empty.then(|| "`/sys` is not mounted".to_owned())
}

/// A live system or an installer runs from memory, and an initrd is one.
fn live(root: &Root, mounts: &[Mount], command_line: &str) -> Option<String> {
    if root.has("/etc/initrd-release") {
        return Some("this is an initrd (there is `/etc/initrd-release`)".to_owned());
    }
    let booted = ["live", "casper"].iter().find(|word| tables::argument(command_line, "boot") == Some(**word));
    if let Some(word) = booted {
        return Some(format!("this is a live system (it was started with `boot={word}`)"));
    }
    let words = ["rd.live.image", "archisobasedir", "misobasedir"];
    if let Some(word) = words.iter().find(|word| tables::has_argument(command_line, word)) {
        return Some(format!("this is a live system (it was started with `{word}`)"));
    }
    if tables::argument(command_line, "root").is_some_and(|root| root.starts_with("live:")) {
        return Some("this is a live system (it was started with `root=live:`)".to_owned());
    }
    if let Some((path, whose)) = LIVE.iter().find(|(path, _)| root.has_directory(path)) {
        return Some(format!("this is {whose} (there is `{path}`)"));
    }
    let top = tables::mounted_at(mounts, "/")?;
    let is_passing = PASSING.contains(&top.fstype.as_str());
    is_passing.then(|| format!("this is a live system or an installer (`/` is on `{}`)", top.fstype))
}
