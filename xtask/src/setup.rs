//! Installs what the tests need, on Debian 12 and later.

use std::path::Path;

use crate::shell::{call, is_root, output, tool};

/// What the tests need, and what for. More than one name: the first that the release has.
const NEEDS: &[(&[&str], &str)] = &[
    (&["apt"], "packages to read, and the resolver to compare with"),
    (&["apt-utils"], "apt-ftparchive makes repositories"),
    (&["archlinux-keyring"], "a web of trust to compare with"),
    (&["bindfs"], "a file system that shows files to others"),
    (&["bcache-tools"], "a root with a cache"),
    (&["binutils"], "ar and readelf"),
    (&["bsdextrautils", "bsdmainutils"], "small tools of the file system tests"),
    (&["btrfs-progs"], "a btrfs root"),
    (&["busybox-static"], "the guests in which power is cut"),
    (&["bzip2"], "the compressor to compare with"),
    (&["ca-certificates"], "mirrors over https"),
    (&["clevis-luks"], "binds a LUKS root to a tang server"),
    (&["cpio"], "the archive reader to compare with"),
    (&["createrepo-c"], "RPM repositories made for tests"),
    (&["cryptsetup-bin"], "a LUKS root"),
    (&["curl"], "fetches packages for tests"),
    (&["debian-archive-keyring"], "the keys of Debian's archive"),
    (&["dmsetup"], "a disk that lies"),
    (&["dnf"], "installs RPM packages, and the resolver to compare with"),
    (&["dosfstools"], "file systems of firmware, and power cuts on them"),
    (&["dpkg-dev"], "packages made for tests"),
    (&["dropbear-bin"], "host keys of machines that are unlocked over SSH"),
    (&["e2fsprogs"], "an ext4 root"),
    (&["erofs-utils"], "an EROFS root"),
    (&["f2fs-tools"], "power cuts on f2fs, and an f2fs root"),
    (&["fdisk"], "disks with partitions"),
    (&["g++"], "libFuzzer"),
    (&["gcc"], "the C parts of the compression libraries"),
    (&["gpg", "gnupg"], "repositories signed for tests"),
    (&["gpgv"], "the verifier to compare with"),
    (&["kmod"], "the depmod to compare with"),
    (&["libarchive-tools"], "the other archive reader to compare with"),
    (&["libc-bin"], "the ldconfig to compare with"),
    (&["libc6-dev"], "the C parts of the compression libraries"),
    (&["libcap2-bin"], "file capabilities"),
    (&["libfaketime"], "clocks that are wrong"),
    (&["libsolv-tools"], "measures for the benchmark"),
    (&["libtss2-esys-3.0.2-0t64", "libtss2-esys-3.0.2-0"], "enrols volumes with a TPM"),
    (&["libtss2-rc0t64", "libtss2-rc0"], "the same"),
    (&["libtss2-tcti-swtpm0t64", "libtss2-tcti-swtpm0"], "the same, with one in software"),
    (&["lvm2"], "reads the LVM metadata that the boot tests write"),
    (&["lz4"], "the decompressor to compare with"),
    (&["make"], "the C parts of the compression libraries"),
    (&["makepkg"], "the repo-add to compare with"),
    (&["mmdebstrap"], "real roots, and the tree to compare with"),
    (&["mtools"], "files on an EFI system partition"),
    (&["nbdkit"], "roots on a network block device"),
    (&["nfs-ganesha"], "roots on NFS"),
    (&["nfs-ganesha-vfs"], "the same"),
    (&["openssh-client"], "logs in to such a machine"),
    (&["openssl"], "keys and certificates for Secure Boot, signatures of apk's indexes"),
    (&["ovmf"], "boots with UEFI"),
    (&["python3"], "apk's packages as tarfile reads them"),
    (&["pacman-package-manager"], "the resolver and the version order to compare with"),
    (&["python3-rpm"], "librpm, for a database that Debian's rpm does not read"),
    (&["python3-pefile"], "the PE reader to compare with"),
    (&["qemu-system-arm"], "boots an arm64 image"),
    (&["qemu-system-x86"], "boots an image"),
    (&["rpcbind"], "roots on NFS 3"),
    (&["rpm"], "the reader of RPM packages and the judge of their signatures to compare with"),
    (&["rpm2cpio"], "the same, for their contents"),
    (&["sbsigntool"], "signs and verifies for Secure Boot"),
    (&["squashfs-tools"], "squashfs roots, those of live systems too"),
    (&["strace"], "shows what the program touches, and breaks its system calls"),
    (&["systemd-boot-efi"], "a UEFI stub"),
    (&["swtpm"], "TPMs of the machines that boot"),
    (&["systemd"], "the systemd-sysusers to compare with, and what enrols keys of volumes"),
    (&["tang"], "a server that has one half of a root's key"),
    (&["tgt"], "roots on iSCSI"),
    (&["thin-provisioning-tools"], "the metadata of a thin pool"),
    (&["time"], "measures for the benchmark"),
    (&["uidmap"], "real roots without being root"),
    (&["util-linux"], "namespaces"),
    (&["xfsprogs"], "power cuts on xfs"),
    (&["xz-utils"], "the decompressor to compare with"),
    (&["zstd"], "the decompressor to compare with, and what packs Arch's packages"),
    (&["zypper"], "the other reader of repository files to compare with"),
];

/// Installs what is missing, and says what that is.
pub fn run() -> Result<(), String> {
    if !Path::new("/etc/debian_version").exists() {
        return Err("the tests need Debian's own tools, and this is no Debian: use a Debian 12 or 13 machine or container".into());
    }
    let missing: Vec<_> = NEEDS.iter().filter(|(names, _)| !names.iter().any(|name| is_installed(name))).collect();
    if missing.is_empty() {
        println!("setup: all {} packages that the tests need are installed", NEEDS.len());
        return Ok(());
    }
    println!("setup: {} of {} packages that the tests need are missing:", missing.len(), NEEDS.len());
    for (names, reason) in &missing {
        println!("  {:<24} {reason}", names[0]);
    }
    call(&mut apt_get(&["update", "-q"])?)?;
    let mut install = apt_get(&["install", "-q", "-y", "--no-install-recommends"])?;
    for (names, _) in missing {
        let known = names.iter().find(|name| is_known(name));
        install.arg(known.ok_or_else(|| format!("no repository of this machine has `{}`", names.join("` or `")))?);
    }
    call(&mut install)
}

/// Runs its arguments with nothing that they install being started: several of the tools are servers, which would listen to the network.
/// The tests start what they need themselves. <https://people.debian.org/~hmh/invokerc.d-policyrc.d-specification.txt>
const WITHOUT_SERVICES: &str = r#"
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy"
fi
"$@"
"#;

fn apt_get(args: &[&str]) -> Result<std::process::Command, String> {
    let mut command = if is_root() {
        tool("env")
    } else if output(tool("sudo").arg("--version")).is_ok() {
        let mut sudo = tool("sudo");
        sudo.arg("env");
        sudo
    } else {
        return Err("installing packages needs root, and there is no `sudo`: run `cargo xtask setup` once as root".into());
    };
    command.args(["DEBIAN_FRONTEND=noninteractive", "sh", "-ec", WITHOUT_SERVICES, "sh", "apt-get"]).args(args);
    Ok(command)
}

fn is_installed(package: &str) -> bool {
    let status = output(tool("dpkg-query").args(["-W", "-f", "${db:Status-Status}", package]));
    status.is_ok_and(|status| status.contains("installed") && !status.contains("not-installed"))
}

fn is_known(package: &str) -> bool {
    let said = output(tool("apt-cache").args(["policy", package])).unwrap_or_default();
    said.lines().any(|line| line.trim().strip_prefix("Candidate: ").is_some_and(|version| version != "(none)"))
}
