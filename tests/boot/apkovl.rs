//! Makes the disk of a diskless Alpine: a file system with the overlay that makes a machine of the image.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::command::{as_root, at, run};
use crate::files::sibling;

/// The system's own first program, which busybox' init starts: it says where it runs, and turns the machine off.
const EVIDENCE: &str = r#"#!/bin/sh
exec >/dev/console 2>&1
dmesg -n 1
say() { echo '@NONCE@' "$*"; }
echo
say begin
say root $(awk '$2 == "/" && $3 != "rootfs" { print $1, $3 }' /proc/mounts)
say firmware none
say way overlay of $(hostname -F /etc/hostname && hostname)
say way programs in $(readlink -f /bin/sh)
say end
poweroff -f
"#;

/// Makes the disk `out` and another one, which has another file system and comes first; returns them in order.
pub fn disks(nonce: &str, out: &Path) -> Result<Vec<PathBuf>, String> {
    let overlay = out.with_extension("overlay");
    let etc = overlay.join("etc");
    fs::create_dir_all(&etc).map_err(at(&etc))?;
    let files = [
        ("evidence", EVIDENCE.replace("@NONCE@", nonce), 0o755),
        ("inittab", "::sysinit:/etc/evidence\n".to_owned(), 0o644),
        ("hostname", "box\n".to_owned(), 0o644),
    ];
    for (name, text, mode) in files {
        let path = etc.join(name);
        fs::write(&path, text).map_err(at(&path))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(at(&path))?;
    }
    let first = sibling(out, 2);
    let script = r#"overlay=$1 out=$2 first=$3
        trap 'rm -rf "$overlay" "$out.files"' EXIT
        mkdir "$out.files"
        tar -C "$overlay" --owner=0 --group=0 -czf "$out.files/box.apkovl.tar.gz" etc
        truncate -s 16M "$out" "$first"
        mkfs.vfat "$first" >/dev/null
        mke2fs -q -F -t ext4 -L medium -d "$out.files" "$out""#;
    run(&mut as_root(script, &[&overlay, out, &first]))?;
    Ok(vec![first, out.to_owned()])
}
