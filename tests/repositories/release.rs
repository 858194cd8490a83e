//! What makes a distribution of the packages: its made-up release, where its shell and programs lie, and the packages that only it has.

use std::collections::BTreeMap;

use super::content::{Contents, Entry, Kind, Package};
use super::{Family, filter};

/// Returns `VERSION_ID` of the made-up release.
pub fn version(family: Family) -> &'static str {
    match family {
        Family::Fedora => "99",
        Family::Opensuse => "20990101",
        Family::Arch => "20990101.0",
        Family::Alpine => "3.99.0",
    }
}

fn os_release(family: Family) -> String {
    let version = version(family);
    let (name, id, more) = match family {
        Family::Fedora => ("Fedora Linux", "fedora", "PLATFORM_ID=\"platform:f99\"\n"),
        Family::Opensuse => ("openSUSE Tumbleweed", "opensuse-tumbleweed", "ID_LIKE=\"opensuse suse\"\n"),
        Family::Arch => ("Arch Linux", "arch", "BUILD_ID=rolling\n"),
        Family::Alpine => ("Alpine Linux", "alpine", ""),
    };
    format!(
        "NAME=\"{name}\"\nID={id}\nVERSION_ID={version}\nPRETTY_NAME=\"{name} {version} (made for tests)\"\n{more}\
         HOME_URL=\"https://example.invalid/\"\n"
    )
}

/// Adds what the packages of Debian do not bring, and takes away what is Debian's alone.
pub fn complete(contents: &mut Contents) {
    let family = contents.family;
    let packages = &mut contents.packages;
    for package in packages.values_mut() {
        for path in ["etc/os-release", "usr/lib/os-release", "etc/debian_version", "etc/issue", "etc/issue.net", "usr/bin/sh"] {
            package.entries.remove(path);
        }
        let is_debians =
            |path: &str| path.starts_with("etc/dpkg") || path.starts_with("var/lib/dpkg") || path == "usr/sbin/update-passwd";
        package.entries.retain(|path, _| !is_debians(path));
    }
    accounts(packages);
    let version = version(family);
    let mut made = match family {
        Family::Fedora => fedora(version),
        Family::Opensuse => opensuse(version),
        Family::Arch => arch(packages.contains_key("linux")),
        Family::Alpine => alpine(packages, version),
    };
    let owner = match family {
        Family::Fedora => "fedora-release-common",
        Family::Opensuse => "openSUSE-release",
        Family::Arch => "filesystem",
        Family::Alpine => "alpine-release",
    };
    packages.extend(made.drain(..).map(|package| (package.name.clone(), package)));
    let release = packages.get_mut(owner).expect("the package of the release");
    release.entries.insert("usr/lib/os-release".into(), Entry::file(os_release(family), 0o644));
    release.entries.insert("etc/os-release".into(), Entry::link("../usr/lib/os-release"));
    let (shell, target) = if family == Family::Alpine { ("busybox-binsh", "/bin/busybox") } else { ("bash", "bash") };
    let shell = packages.get_mut(shell).expect("the package of the shell");
    shell.entries.insert("usr/bin/sh".into(), Entry::link(target));
    if let Some(util_linux) = packages.get_mut("util-linux-core") {
        util_linux.provides.insert("util-linux".into());
    }
    if matches!(family, Family::Fedora | Family::Arch) {
        packages.values_mut().for_each(merge_sbin);
        let filesystem = packages.get_mut("filesystem").expect("the package of the directories");
        filesystem.entries.insert("usr/sbin".into(), Entry::link("bin"));
        filesystem.entries.insert("sbin".into(), Entry::link("usr/bin"));
    }
    if family == Family::Arch {
        packages.values_mut().for_each(merge_lib64);
        let filesystem = packages.get_mut("filesystem").expect("the package of the directories");
        filesystem.entries.insert("usr/lib64".into(), Entry::link("lib"));
        filesystem.entries.insert("lib64".into(), Entry::link("usr/lib"));
    }
    packages.values_mut().for_each(Package::fill_directories);
}

/// Debian copies its masters in a maintainer script; the others ship the files.
fn accounts(packages: &mut BTreeMap<String, Package>) {
    for package in packages.values_mut() {
        for name in ["passwd", "group"] {
            if let Some(master) = package.entries.get(&format!("usr/share/base-passwd/{name}.master")).cloned() {
                package.entries.insert(format!("etc/{name}"), Entry { is_config: true, ..master });
            }
        }
    }
}

/// On Arch `/usr/lib64` is a link to `/usr/lib`; Debian has only the loader there.
fn merge_lib64(package: &mut Package) {
    package.entries.remove("usr/lib64");
    if package.entries.remove("usr/lib64/ld-linux-x86-64.so.2").is_some() {
        let loader = Entry::link("x86_64-linux-gnu/ld-linux-x86-64.so.2");
        package.entries.insert("usr/lib/ld-linux-x86-64.so.2".into(), loader);
    }
}

/// On Arch, and since Fedora 42, `/usr/sbin` is a link to `/usr/bin`.
fn merge_sbin(package: &mut Package) {
    let moved = |path: &str| path.replacen("usr/sbin/", "usr/bin/", 1);
    let old = std::mem::take(&mut package.entries);
    for (path, mut entry) in old {
        match &mut entry.kind {
            Kind::Hardlink(target) => *target = moved(target),
            // `/usr/sbin/x -> ../bin/x` would be a link to itself.
            Kind::Symlink(target)
                if path.starts_with("usr/sbin/") && target.replacen("../bin/", "usr/bin/", 1) == moved(&path) =>
            {
                continue;
            }
            Kind::Symlink(_) | Kind::Dir | Kind::File(_) => {}
        }
        if path == "usr/sbin" {
            continue;
        }
        let path = if path.starts_with("usr/sbin/") { moved(&path) } else { path };
        package.entries.entry(path).or_insert(entry);
    }
}

fn fedora(version: &str) -> Vec<Package> {
    let mut release = Package::made("fedora-release-common", version, "The release", &["filesystem"]);
    release.provides.extend(["system-release".to_owned(), "fedora-release".to_owned()]);
    vec![release, Package::made("basesystem", "11", "The first package", &["filesystem", "setup"])]
}

fn opensuse(version: &str) -> Vec<Package> {
    let mut release = Package::made("openSUSE-release", version, "The release", &["filesystem"]);
    release.provides.insert("distribution-release".into());
    vec![release]
}

/// The kernel asks for a generator of initrds, and there are two, as in real life.
fn arch(has_kernel: bool) -> Vec<Package> {
    let generators = [("mkinitcpio", "39.2-1", "bash"), ("dracut", "106-1", "bash")];
    let make = |(name, version, requires): (&str, &str, &str)| {
        let mut package = Package::made(name, version, "Makes initrds", &[requires]);
        package.provides.insert("initramfs".into());
        package
    };
    generators.into_iter().filter(|_| has_kernel).map(make).collect()
}

fn alpine(packages: &BTreeMap<String, Package>, version: &str) -> Vec<Package> {
    let busybox = packages["busybox"].version.clone();
    let mut binsh = Package::made("busybox-binsh", &busybox, "busybox as /bin/sh", &["busybox"]);
    binsh.provides.extend(["/bin/sh".to_owned(), "cmd:sh".to_owned()]);
    let mut made = vec![
        Package::made("alpine-release", version, "The release", &[]),
        Package::made(
            "alpine-base",
            version,
            "Everything that a system has",
            &["alpine-baselayout", "alpine-release", "busybox", "busybox-binsh"],
        ),
        binsh,
    ];
    if packages.contains_key("linux-virt") {
        let needs = ["busybox", "busybox-binsh", "kmod", "util-linux", "lvm2", "cryptsetup", "mdadm"];
        let mut mkinitfs = Package::made("mkinitfs", "3.13.0-r0", "Makes initrds", &needs);
        mkinitfs.provides.insert("initramfs-generator".into());
        let files = [
            ("usr/share/mkinitfs/initramfs-init", &include_bytes!("mkinitfs/initramfs-init")[..], 0o755),
            ("usr/sbin/nlplug-findfs", &include_bytes!("mkinitfs/nlplug-findfs")[..], 0o755),
            ("etc/mkinitfs/mkinitfs.conf", &b"features=\"base ext4 virtio\"\n"[..], 0o644),
            ("etc/mkinitfs/features.d/ext4.modules", &b"kernel/fs/ext4\n"[..], 0o644),
        ];
        for (path, content, mode) in files {
            mkinitfs.entries.insert(path.to_owned(), Entry { is_config: path.starts_with("etc/"), ..Entry::file(content, mode) });
        }
        made.push(mkinitfs);
    }
    made
}

/// Asks busybox for its applets, by Debian's own loader and libraries: Alpine's package has the list as a file.
pub fn applets(contents: &Contents) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let put = |package: &str, prefix: &str| {
        for (path, entry) in contents.packages[package].entries.iter().filter(|(path, _)| path.starts_with(prefix)) {
            if let Kind::File(content) = &entry.kind {
                use std::os::unix::fs::PermissionsExt;
                let to = dir.path().join(path.rsplit('/').next().expect("a name"));
                std::fs::write(&to, &content[..]).expect("writing");
                std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o755)).expect("chmod");
            }
        }
    };
    put("glibc", "usr/lib/x86_64-linux-gnu/lib");
    put("glibc", "usr/lib/x86_64-linux-gnu/ld-linux");
    put("busybox", "usr/bin/busybox");
    let mut command = std::process::Command::new(dir.path().join("ld-linux-x86-64.so.2"));
    command.arg("--library-path").arg(dir.path()).arg(dir.path().join("busybox")).arg("--list-full");
    let listed = filter(&mut command, b"", "libc6");
    listed.split_inclusive(|byte| *byte == b'\n').flat_map(|line| [b"/", line].concat()).collect()
}
