//! Makes root file systems out of an archive of a root and a directory that is laid over it.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::command::{as_root, at, run};
use crate::root::FINISH;

/// A file system that holds a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// ext4, labelled `root`.
    Ext4,
    /// btrfs, labelled `root`.
    Btrfs,
    /// The same, the root in the subvolume `@`.
    BtrfsSubvolume,
    /// XFS, labelled `root`.
    Xfs,
    /// F2FS, labelled `root`.
    F2fs,
    /// squashfs.
    Squashfs,
    /// EROFS.
    Erofs,
    /// ext4, labelled `root`, with an empty `/usr`, and what belongs there on the second disk, labelled `usr`.
    SeparateUsr,
    /// ext4, labelled `usr`, with `/usr`, which has all else in `share/seed`.
    UsrWithSeed,
    /// No file system, but a directory.
    Tree,
}

/// The size of a root.
pub const SIZE: u64 = 768 << 20;

const FS_UUID: &str = "6d6b696e-6974-4264-8000-726f6f740001";

/// Returns where the disk with a number from 2 on lies that belongs to `disk`.
pub fn sibling(disk: &Path, number: usize) -> PathBuf {
    disk.with_extension(format!("disk{number}"))
}

/// Makes the file system `out` of a type, and its sibling where it needs one.
pub fn file_system(kind: Type, tar: &Path, overlay: &Path, out: &Path) -> Result<(), String> {
    let usr = sibling(out, 2);
    let images: &[&Path] = match kind {
        Type::SeparateUsr => &[out, &usr],
        Type::Tree | Type::Squashfs => &[],
        _ => &[out],
    };
    for image in images {
        File::create(image).and_then(|file| file.set_len(SIZE)).map_err(at(image))?;
    }
    let ext4 = format!("mke2fs -q -F -t ext4 -L root -U {FS_UUID} {EXT4_OPTIONS}");
    let make = match kind {
        Type::Ext4 => format!(r#"{ext4} -d "$root" "$out""#),
        Type::Btrfs => r#"mkfs.btrfs -q -L root --rootdir "$root" "$out""#.to_owned(),
        Type::BtrfsSubvolume => BTRFS_SUBVOLUME.to_owned(),
        Type::Xfs => format!("{XFS_PROTOTYPE}\n{XFS}"),
        Type::Tree => r#"mv "$root" "$out""#.to_owned(),
        Type::F2fs => r#"mkfs.f2fs -q -l root "$out"; sload.f2fs -P -f "$root" -t / "$out" >/dev/null"#.to_owned(),
        Type::Squashfs => {
            r#"mksquashfs "$root" "$out" -noappend -quiet -no-progress -comp zstd -Xcompression-level 3"#.to_owned()
        }
        Type::Erofs => r#"mkfs.erofs --quiet "$out" "$root""#.to_owned(),
        Type::UsrWithSeed => format!(
            r#"mkdir "$root.usr"; mv "$root"/usr/* "$root.usr/"; mv "$root" "$root.usr/share/seed"
            mke2fs -q -F -t ext4 -L usr {EXT4_OPTIONS} -d "$root.usr" "$out""#
        ),
        Type::SeparateUsr => format!(
            r#"mkdir "$root.usr"; mv "$root"/usr/* "$root.usr/"; {ext4} -d "$root" "$out"
            mke2fs -q -F -t ext4 -L usr {EXT4_OPTIONS} -d "$root.usr" "$4""#
        ),
    };
    let script = format!(
        r#"tar=$1 overlay=$2 out=$3 root=$3.root
        trap 'rm -rf "$root" "$root.usr" "$root.top" "$out.proto"' EXIT
        mkdir "$root"
        tar -xpf "$tar" -C "$root" --numeric-owner --exclude='./dev/*'
        {FINISH}
        cp -dR "$overlay/." "$root/"
        {make}"#
    );
    run(&mut as_root(&script, &[tar, overlay, out, &usr])).map(drop)
}

/// Makes the ext4 file system `out`, labelled `KDUMP`, with a kernel and an image for the day on which another kernel crashes.
pub fn kdump_disk(kernel: &Path, image: &Path, out: &Path) -> Result<PathBuf, String> {
    let script = format!(
        r#"kernel=$1 image=$2 out=$3 files=$3.files
        trap 'rm -rf "$files"' EXIT
        mkdir "$files"
        cp "$kernel" "$files/vmlinuz"
        cp "$image" "$files/initrd.img"
        truncate -s 160M "$out"
        mke2fs -q -F -t ext4 -L KDUMP {EXT4_OPTIONS} -d "$files" "$out""#
    );
    run(&mut as_root(&script, &[kernel, image, out])).map(|_| out.to_owned())
}

const EXT4_OPTIONS: &str = "-E lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0";

/// The program of the root, as `--subvol` is newer than the btrfs-progs of Debian 12; by the root's own loader, with no need to enter it.
const BTRFS_SUBVOLUME: &str = r#"
    mkdir "$root.top"; mv "$root" "$root.top/@"
    system=$root.top/@
    "$system"/usr/lib/*/ld-linux-*.so.* --library-path "$(echo "$system"/usr/lib/*-linux-gnu)" "$(ls "$system"/usr/*bin/mkfs.btrfs | head -n 1)" \
        -q -L root --rootdir "$root.top" --subvol rw:@ "$out""#;

/// Writes the description of a tree that `mkfs.xfs -p` reads: a line for each file, `$` at the end of each directory.
const XFS_PROTOTYPE: &str = r##"
    find "$root" -mindepth 1 -printf '%y\t%m\t%U\t%G\t%d\t%f\t%p\t%l\n' | awk -F'\t' '
        function up(to) { while (depth > to) { print "$"; depth-- } }
        BEGIN { print "/\n0 0\nd--755 0 0" }
        {
            up($5 - 1)
            mode = sprintf("%04d", $2)
            special = substr(mode, 1, 1)
            bits = (special >= 4 ? "u" : "-") (special % 4 >= 2 ? "g" : "-") substr(mode, 2)
            type = $1 == "f" ? "-" : $1
            print $6, type bits, $3, $4, ($1 == "f" ? $7 : $1 == "l" ? $8 : "")
            if ($1 == "d") depth = $5
        }
        END { up(0); print "$" }' >"$out.proto""##;
const XFS: &str = r#"mkfs.xfs -q -L root -p "$out.proto" "$out""#;
