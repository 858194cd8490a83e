//! Our own Debian package in a real trixie root: it replaces initramfs-tools, and kernel packages get their images in `/boot`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Instant;

use mkinitrd_pkg::base::digest::Sha256;

use crate::kernel_install::{Done, Killer, kills, program_cache};
use crate::live::{self, LiveRoot, Setting};
use crate::trixie::run;

/// The package, made by the project's own command with the program that is tested.
fn package() -> &'static Path {
    static PACKAGE: OnceLock<PathBuf> = OnceLock::new();
    PACKAGE.get_or_init(|| {
        let out = live::cache().canonicalize().expect("the cache").join("mkinitrd-pkg-dev.deb");
        let mut command = Command::new(env!("CARGO"));
        command.current_dir(env!("CARGO_MANIFEST_DIR")).args(["run", "--quiet", "--package", "xtask", "--", "deb", "--binary"]);
        run(command.arg(env!("CARGO_BIN_EXE_mkinitrd-pkg")).arg(&out), "dpkg-dev");
        out
    })
}

/// A machine on which our package took the place of initramfs-tools.
struct Machine {
    root: LiveRoot,
    setting: Setting,
}

const CONTROL: &str = "Package: caller\nVersion: 1\nArchitecture: all\nMaintainer: nobody <n@example.org>\nDescription: calls\n";

impl Machine {
    fn new() -> Self {
        let root = LiveRoot::new();
        let binds = vec![
            (package().to_owned(), "/mkinitrd-pkg.deb".to_owned(), "ro"),
            (program_cache().canonicalize().expect("the cache"), "/var/cache/mkinitrd-pkg".to_owned(), "rw"),
        ];
        let machine = Self { root, setting: Setting { binds, ..Setting::default() } };
        machine.sh("apt-get install -y /mkinitrd-pkg.deb").good();
        machine
    }

    fn sh(&self, script: &str) -> Done {
        Done::from(&self.root.command("sh", &self.setting).args(["-ec", script]).output().expect("unshare, of `util-linux`"))
    }

    /// Installs Debian's cloud kernel out of apt's cache, and returns its version.
    fn install_kernel(&self) -> String {
        self.sh("apt-get install -y linux-image-cloud-amd64").good();
        self.sh("ls /usr/lib/modules").good().text.trim().to_owned()
    }

    fn digest(&self, path: &str) -> Option<Sha256> {
        self.root.read(path).map(|bytes| Sha256::of(&bytes))
    }
}

#[test]
fn the_package_replaces_initramfs_tools_and_serves_kernels() {
    let machine = Machine::new();
    let state = machine.sh("dpkg-query -W -f '${Package} ${db:Status-Status}\\n' mkinitrd-pkg initramfs-tools").good().text;
    assert!(state.contains("mkinitrd-pkg installed") && !state.contains("initramfs-tools installed"), "{state}");
    machine.sh("dpkg --audit; dpkg --verify mkinitrd-pkg; apt-get check; test \"$(readlink -f /usr/sbin/update-initramfs)\" = /usr/bin/mkinitrd-pkg")
        .good();
    let version = machine.install_kernel();
    let image = format!("/boot/initrd.img-{version}");
    let script = format!(
        "stat -c %a {image}; mkinitrd-pkg build --offline -q -k {version} -o /root/x; cmp /root/x {image}; mkinitrd-pkg ls {image}"
    );
    let listed = machine.sh(&script).good().text;
    assert!(listed.starts_with("600\n") && listed.contains("usr/lib/systemd/systemd"), "{listed}");
    // initramfs-tools' hooks stay as conffiles and must not run against our command.
    let count = machine.sh("ls /etc/kernel/postinst.d").good().text;
    assert!(count.contains("initramfs-tools") && count.contains("mkinitrd-pkg"), "{count}");

    // Packages whose scripts call it, twice: the image is made once, at the end.
    machine.root.write("/p/DEBIAN/control", CONTROL.as_bytes(), 0o644);
    machine.root.write("/p/DEBIAN/postinst", b"#!/bin/sh\nset -e\nupdate-initramfs -u\nupdate-initramfs -u\n", 0o755);
    let done = machine.sh("dpkg-deb --build /p /p.deb >/dev/null; dpkg -i /p.deb").good();
    assert_eq!(done.text.matches("deferring update").count(), 2, "{}", done.text);
    assert_eq!(done.text.matches("Generating").count(), 1, "{}", done.text);

    // The kernel goes, and its image with it; the machine is told that it was the last.
    let done = machine.sh("apt-get purge -y 'linux-image-*'").good();
    assert_eq!(machine.digest(&image), None);
    assert!(done.text.contains("last image"), "{}", done.text);
    machine
        .sh("apt-get purge -y mkinitrd-pkg; test ! -e /usr/sbin/update-initramfs; test ! -e /etc/kernel/postinst.d/mkinitrd-pkg")
        .good();
}

#[test]
fn the_hook_does_what_debians_own_does() {
    let machine = Machine::new();
    let version = machine.install_kernel();
    let (hook, image) = ("/etc/kernel/postinst.d/mkinitrd-pkg", format!("/boot/initrd.img-{version}"));
    machine.sh(&format!("rm {image}; INITRD=No {hook} {version} /boot/vmlinuz-{version}; test ! -e {image}")).good();
    machine.sh(&format!("DEB_MAINT_PARAMS=\"'upgrade' '1'\" {hook} {version} /boot/vmlinuz-{version}; test ! -e {image}")).good();
    machine.sh(&format!("DEB_MAINT_PARAMS=\"'configure' '1'\" {hook} {version} /boot/vmlinuz-{version}; test -e {image}")).good();
    machine.sh(hook).bad(&["names no kernel version"]);
    machine.sh(&format!("{hook} ../../etc /boot/vmlinuz")).bad(&["version"]);
    machine
        .sh(&format!(
            "mkdir /else; cp /boot/vmlinuz-* /else; {hook} {version} /else/vmlinuz-{version}; test -e /else/initrd.img-{version}"
        ))
        .good();
    // Kernel headers leave a directory, and no image is made of it.
    machine
        .sh(&format!("mkdir /usr/lib/modules/9.9; {hook} 9.9 /boot/vmlinuz-9.9"))
        .bad(&["/usr/lib/modules/9.9/modules.dep", "is not there"]);
    let removal = "/etc/kernel/postrm.d/mkinitrd-pkg";
    machine.sh(&format!("{removal}; {removal} ../../etc; {removal} {version} /boot/vmlinuz-{version}; test ! -e {image}")).good();
    machine.sh(&format!("rm -r /usr/lib/modules/{version}; {removal} {version} /boot/vmlinuz-{version}")).good();
}

#[test]
fn update_initramfs_is_what_packages_expect() {
    let machine = Machine::new();
    let version = machine.install_kernel();
    let image = format!("/boot/initrd.img-{version}");
    let other = "6.12.900-z";
    machine
        .sh(&format!(
            "cp -a /usr/lib/modules/{version} /usr/lib/modules/{other}; cp /boot/vmlinuz-{version} /boot/vmlinuz-{other}"
        ))
        .good();
    // What stays of initramfs-tools tells it apart by this.
    assert!(!machine.sh("update-initramfs --version").good().text.contains("initramfs-tools"));
    machine.sh("update-initramfs").bad(&["-c"]);
    machine.sh("update-initramfs -c").bad(&["kernel version"]);
    machine.sh("update-initramfs -c -u").bad(&[]);
    machine.sh("update-initramfs -u -b /nonexistent").bad(&["/nonexistent"]);
    // Of existing images only; the newest without a version.
    machine.sh(&format!("rm {image}; update-initramfs -u -k all; test ! -e {image}; test ! -e /boot/initrd.img-{other}")).good();
    machine.sh(&format!("update-initramfs -c -k all; test -e {image}; test -e /boot/initrd.img-{other}")).good();
    machine.sh(&format!("touch -d 2020-01-01 /boot/initrd.img-*; update-initramfs -u; find /boot -name 'initrd*' -newermt 2021-01-01 | grep -qx /boot/initrd.img-{other}")).good();
    machine
        .sh(&format!("update-initramfs -u -v -k {version}; find /boot -name 'initrd*' -newermt 2021-01-01 | grep -qx {image}"))
        .good();
    machine.sh("update-initramfs -u -s 1 | :; s=$(date +%s); touch -d 2020-01-01 /boot/initrd.img-*; update-initramfs -u -s 1000; find /boot -newermt 2021-01-01 -name 'initrd*' | wc -l | grep -qx 0").good();
    // Boot loaders are told.
    machine.root.write("/etc/initramfs/post-update.d/witness", b"#!/bin/sh\necho \"$1 $2\" >/told\n", 0o755);
    machine.sh(&format!("update-initramfs -u -k {version}; grep -qx '{version} {image}' /told")).good();
    machine.root.write("/etc/initramfs/post-update.d/witness", b"#!/bin/sh\nexit 3\n", 0o755);
    machine.sh(&format!("update-initramfs -u -k {version}")).bad(&["post-update.d"]);
    machine.sh(&format!("touch {image}.bak; update-initramfs -d -k {version}; test ! -e {image}; test ! -e {image}.bak; update-initramfs -d -k {version}")).good();
}

#[test]
fn one_of_kernel_install_and_the_hook_makes_the_image() {
    let machine = Machine::new();
    // systemd-boot is installed, as its own tool would say if there were a firmware.
    machine.sh("mv /usr/bin/bootctl /usr/bin/bootctl.real").good();
    machine.root.write(
        "/usr/bin/bootctl",
        b"#!/bin/sh\n[ \"$1\" = is-installed ] && exit 0\nexec /usr/bin/bootctl.real \"$@\"\n",
        0o755,
    );
    machine.root.write("/etc/kernel/install.conf", b"layout=bls\n", 0o644);
    machine.root.write("/etc/kernel/cmdline", b"root=/dev/vda\n", 0o644);
    let version = machine.install_kernel();
    let found = "find /boot -name 'initrd*' -printf '%P %m\\n'";
    let images = machine.sh(found).good().text;
    let words: Vec<&str> = images.split_whitespace().collect();
    assert!(words.len() == 2 && words[0].ends_with(&format!("/{version}/initrd")) && words[1] == "600", "{images}");
    // Other packages' calls come to the same place.
    machine.sh("find /boot -name initrd -exec touch -d 2020-01-01 {} ';'").good();
    machine.sh(&format!("update-initramfs -u -k {version}; find /boot -name initrd -newermt 2021-01-01 | grep -q .")).good();
    assert_eq!(machine.sh(found).good().text, images);
    // Another generator in install.conf: the hook makes /boot's image, and Debian's 55-initrd takes it.
    machine.root.write("/etc/kernel/install.conf.d/20-other.conf", b"initrd_generator=none\n", 0o644);
    let hook = format!("/etc/kernel/postinst.d/mkinitrd-pkg {version} /boot/vmlinuz-{version}");
    let done = machine
        .sh(&format!(
            "kernel-install remove {version}; kernel-install --json=short inspect {version} /boot/vmlinuz-{version}; depmod {version}; {hook}"
        ))
        .good();
    let images = machine.sh(found).good().text;
    assert!(images.contains(&format!("initrd.img-{version} 600")), "{images}\n{}", done.text);
}

#[test]
fn a07_killed_at_any_moment_the_boot_path_holds_the_old_or_the_new_image() {
    let machine = Machine::new();
    let version = machine.install_kernel();
    let image = format!("/boot/initrd.img-{version}");
    let new = machine.digest(&image).expect("the image");
    let old_bytes = vec![b'o'; 9_000_000];
    let old = Sha256::of(&old_bytes);
    machine.root.write("/root/old", &old_bytes, 0o600);
    let hook = format!("/etc/kernel/postinst.d/mkinitrd-pkg {version} /boot/vmlinuz-{version}");
    let start = Instant::now();
    machine.sh(&hook).good();
    let whole = start.elapsed();
    let mut killer = Killer::new(1, whole);
    let (mut olds, mut news) = (0, 0);
    for round in 0..kills() {
        machine.sh(&format!("cp /root/old {image}")).good();
        let mut command = machine.root.command("sh", &machine.setting);
        let ended = killer.ended(command.args(["-ec", &hook]));
        let found = machine.digest(&image).expect("an image is there at any moment");
        assert!(found == old || found == new, "round {round}: neither the old image nor the new one");
        assert!(!ended || found == new, "round {round}: success was reported, and the old image is there");
        *if found == old { &mut olds } else { &mut news } += 1;
    }
    assert!(olds > 0, "no run was killed before it ended: {olds} old, {news} new");
    machine.sh(&hook).good();
    assert_eq!(machine.digest(&image), Some(new));
    assert_eq!(machine.sh("find /boot -name '.*'").good().text, "", "orphans are removed by the next run");
}
