//! Who makes the image of a kernel on Debian: the hooks of `/etc/kernel`, or kernel-install and our plugin? One of them, never both.
//!
//! kernel-install is in charge when systemd-boot is installed, Debian's hook starts kernel-install for every kernel, and kernel-install
//! says that the generator is this program and that it lays out boot entries itself. Otherwise the image is `/boot/initrd.img-VERSION`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::GENERATOR;
use crate::modules::KernelVersion;

/// The hook of the package `systemd-boot` that starts kernel-install.
const HOOK: &str = "/etc/kernel/postinst.d/zz-systemd-boot";
const BOOTCTL: &str = "/usr/bin/bootctl";
const KERNEL_INSTALL: &str = "/usr/bin/kernel-install";

/// Returns the file of a kernel in `/boot`.
pub fn kernel_image(boot: &Path, version: &KernelVersion) -> Option<PathBuf> {
    ["vmlinuz", "vmlinux"].map(|name| boot.join(format!("{name}-{version}"))).into_iter().find(|path| path.is_file())
}

/// Tells whether kernel-install makes the image of this kernel. What cannot be found out means no: an image too many does no harm.
pub fn is_with_kernel_install(version: &KernelVersion, kernel_image: &Path) -> bool {
    if !Path::new(HOOK).exists() || !Path::new(KERNEL_INSTALL).exists() {
        return false;
    }
    let installed = Command::new(BOOTCTL).args(["is-installed", "--quiet"]).stdin(Stdio::null()).stderr(Stdio::null()).status();
    if !installed.is_ok_and(|status| status.success()) {
        return false;
    }
    let mut inspect = Command::new(KERNEL_INSTALL);
    inspect.args(["--json=short", "inspect", version.as_str()]).arg(kernel_image).stdin(Stdio::null()).stderr(Stdio::null());
    inspect.output().is_ok_and(|output| output.status.success() && names_us(&output.stdout))
}

/// Starts kernel-install for a kernel, which starts our plugin.
pub fn kernel_install(version: &KernelVersion, kernel_image: &Path) -> std::io::Result<std::process::ExitStatus> {
    Command::new(KERNEL_INSTALL).args(["add", version.as_str()]).arg(kernel_image).stdin(Stdio::null()).status()
}

/// Reads the answer of `kernel-install inspect`.
fn names_us(answer: &[u8]) -> bool {
    let Ok(answer) = serde_json::from_slice::<serde_json::Value>(answer) else { return false };
    let is = |key: &str, value: &str| answer[key].as_str() == Some(value);
    let makes_initrd = is("InitrdGenerator", GENERATOR) && (is("Layout", "bls") || is("Layout", "uki"));
    makes_initrd || (is("UKIGenerator", GENERATOR) && is("Layout", "uki"))
}

#[cfg(test)]
mod tests {
    use super::names_us;

    #[test]
    fn kernel_install_is_in_charge_only_where_it_lays_out_our_images() {
        let cases: &[(&str, bool)] = &[
            (r#"{"Layout":"bls","InitrdGenerator":"mkinitrd-pkg","UKIGenerator":null}"#, true),
            (r#"{"Layout":"uki","InitrdGenerator":"mkinitrd-pkg","UKIGenerator":"ukify"}"#, true),
            (r#"{"Layout":"uki","InitrdGenerator":null,"UKIGenerator":"mkinitrd-pkg"}"#, true),
            (r#"{"Layout":"bls","InitrdGenerator":null,"UKIGenerator":"mkinitrd-pkg"}"#, false),
            (r#"{"Layout":"other","InitrdGenerator":"mkinitrd-pkg","UKIGenerator":null}"#, false),
            (r#"{"Layout":"bls","InitrdGenerator":"dracut"}"#, false),
            ("", false),
            ("[]", false),
        ];
        for (answer, ours) in cases {
            assert_eq!(names_us(answer.as_bytes()), *ours, "{answer}");
        }
    }
}
