//! The kernel, cut as each distribution cuts it, its modules compressed as each compresses them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use mkinitrd_pkg::format::module;

use super::Family;
use super::content::{Deb, Entry, Kind, Package, Relation};

/// What Fedora has in kernel-modules-core: what most machines boot with.
const CORE: [&str; 22] = [
    "/crypto/",
    "/lib/",
    "/arch/",
    "/fs/ext4/",
    "/fs/jbd2/",
    "/fs/mbcache",
    "/fs/btrfs/",
    "/fs/xfs/",
    "/fs/fat/",
    "/fs/nls/",
    "/fs/overlayfs/",
    "/fs/squashfs/",
    "/fs/isofs/",
    "/fs/fuse/",
    "/drivers/virtio/",
    "/drivers/block/",
    "/drivers/nvme/",
    "/drivers/md/",
    "/drivers/scsi/",
    "/drivers/ata/",
    "/drivers/char/",
    "/drivers/net/virtio_net",
];

/// Returns the release of the kernel among packages of Debian: nothing if there is none.
pub fn release_of(debs: &[PathBuf]) -> String {
    let names = debs.iter().map(|deb| deb.file_name().expect("a name").to_string_lossy().into_owned());
    let mut releases = names.filter_map(|name| release_in(name.split('_').next()?));
    releases.next().unwrap_or_default()
}

/// `linux-image-6.12.48+deb13-cloud-amd64`, and not `linux-image-cloud-amd64`.
fn release_in(name: &str) -> Option<String> {
    let release = name.strip_prefix("linux-image-")?.replace("%2b", "+");
    release.starts_with(|first: char| first.is_ascii_digit()).then_some(release)
}

/// Cuts the package of a kernel, if this is one.
pub fn packages(family: Family, deb: &Deb) -> Option<Vec<Package>> {
    let release = release_in(deb.name())?;
    let dir = format!("usr/lib/modules/{release}");
    let (mut boot, mut modules) = (BTreeMap::new(), BTreeMap::new());
    for (path, entry) in &deb.entries {
        let Kind::File(content) = &entry.kind else { continue };
        if let Some(name) = path.strip_prefix("boot/") {
            let name = name.split(&format!("-{release}")).next().expect("a name");
            let to = match (family, name) {
                (Family::Alpine, "vmlinuz") => "boot/vmlinuz-virt".to_owned(),
                (Family::Alpine, name) => format!("boot/{name}-{release}"),
                (_, name) => format!("{dir}/{name}"),
            };
            boot.insert(to, entry.clone());
        } else if path.contains("/kernel/") {
            let (path, content) = compressed(family, path, content);
            modules.insert(path, Entry { kind: Kind::File(content), ..entry.clone() });
        } else if path.starts_with(&dir) {
            boot.insert(path.clone(), entry.clone());
        }
    }
    let package = |name: &str, summary: &str, requires: &[&str], entries: BTreeMap<String, Entry>| {
        let mut package = Package {
            version: deb.fields["Version"].clone(),
            source: "linux".into(),
            kernel: release.clone(),
            is_any: false,
            entries,
            ..Package::made(name, "", summary, requires)
        };
        package.fill_directories();
        package
    };
    Some(match family {
        Family::Fedora => {
            let (core, rest) = divided(modules);
            let mut kernel_core = package("kernel-core", "The Linux kernel", &["coreutils", "systemd-udev"], boot);
            kernel_core.recommends.push(vec![Relation::to("kernel-modules")]);
            vec![
                package(
                    "kernel",
                    "The Linux kernel and its modules",
                    &["kernel-core", "kernel-modules-core", "kernel-modules"],
                    BTreeMap::new(),
                ),
                kernel_core,
                package("kernel-modules-core", "Modules that most machines boot with", &["kmod"], core),
                package("kernel-modules", "Modules", &["kmod"], rest),
            ]
        }
        Family::Opensuse => {
            boot.extend(modules);
            vec![package("kernel-default", "The Linux kernel", &["kmod", "coreutils"], boot)]
        }
        Family::Arch => {
            boot.insert(format!("{dir}/pkgbase"), Entry::file("linux\n", 0o644));
            boot.extend(modules);
            vec![package("linux", "The Linux kernel and modules", &["coreutils", "kmod", "initramfs"], boot)]
        }
        Family::Alpine => {
            boot.insert("usr/share/kernel/virt/kernel.release".into(), Entry::file(format!("{release}\n"), 0o644));
            boot.extend(modules);
            vec![package("linux-virt", "The Linux kernel, for virtual machines", &["kmod", "initramfs-generator"], boot)]
        }
    })
}

/// Compresses a module as the distribution does; Debian has `.ko.xz`, as Fedora has. Alpine's `.ko.gz` is nothing that Debian's kernel or
/// its kmod could read, so they are as they are.
fn compressed(family: Family, path: &str, content: &Arc<Vec<u8>>) -> (String, Arc<Vec<u8>>) {
    let Some(base) = path.strip_suffix(".xz") else { return (path.to_owned(), content.clone()) };
    match family {
        Family::Fedora => (path.to_owned(), content.clone()),
        Family::Opensuse | Family::Arch => {
            // kmod reads no frame that does not say its size.
            let bytes = zstd::bulk::compress(&raw(content), 6).expect("memory");
            (format!("{base}.zst"), Arc::new(bytes))
        }
        Family::Alpine => (base.to_owned(), Arc::new(raw(content))),
    }
}

fn raw(content: &[u8]) -> Vec<u8> {
    let mut raw = Vec::new();
    liblzma::read::XzDecoder::new(content).read_to_end(&mut raw).expect("a module in xz");
    raw
}

/// Divides modules into those that most machines boot with, with what they need, and the others.
fn divided(modules: BTreeMap<String, Entry>) -> (BTreeMap<String, Entry>, BTreeMap<String, Entry>) {
    let name = |path: &str| module::name_of(path.as_bytes());
    let paths: BTreeMap<String, String> = modules.keys().map(|path| (name(path), path.clone())).collect();
    let is_core = |path: &&String| CORE.iter().any(|part| path.contains(&format!("/kernel{part}")));
    let mut todo: Vec<String> = modules.keys().filter(is_core).cloned().collect();
    let mut core = BTreeSet::new();
    while let Some(path) = todo.pop() {
        let Kind::File(content) = &modules[&path].kind else { continue };
        let info = module::parse(&raw(content)).unwrap_or_else(|err| panic!("{path}: {err}"));
        if core.insert(path) {
            todo.extend(info.depends.iter().filter_map(|depend| paths.get(&module::normalized(depend)).cloned()));
        }
    }
    modules.into_iter().partition(|(path, _)| core.contains(path))
}
