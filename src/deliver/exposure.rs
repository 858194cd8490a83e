//! Who else could read an image: some file systems keep no permissions, and whoever mounts or reaches them reads every file.

use std::path::Path;

use rustix::io::retry_on_intr;

/// Magic numbers of file systems (statfs(2)) that keep no permissions of files, or on which others decide who has them.
///
/// FUSE is not in the list, for behind it may be anything: there the permissions that a new file shows decide.
const WITHOUT_PERMISSIONS: &[(u32, &str)] = &[
    (0x4d44, "vfat"),
    (0x2011_bab0, "exfat"),
    (0x5346_544e, "ntfs"),
    (0x7366_746e, "ntfs3"),
    (0x517b, "smb"),
    (0xff53_4d42, "cifs"),
    (0xfe53_4d42, "smb3"),
    (0x786f_4256, "vboxsf"),
];

/// Returns the name of a file system that keeps no permissions, by its magic number.
pub fn keeps_no_permissions(magic: u32) -> Option<&'static str> {
    WITHOUT_PERMISSIONS.iter().find(|(known, _)| *known == magic).map(|(_, name)| *name)
}

/// Returns the name of the file system of a directory if it keeps no permissions, so that a secret in it is none.
///
/// A file system that cannot be asked is judged by what a new file on it shows.
pub fn exposed_by(directory: &Path) -> Option<&'static str> {
    let found = retry_on_intr(|| rustix::fs::statfs(directory)).ok()?;
    // The kernel's word is a long, in which the larger of these numbers may be negative.
    keeps_no_permissions(found.f_type as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_keep_permissions_or_not() {
        let table = [
            ("vfat", 0x4d44, Some("vfat")),
            ("exfat", 0x2011_bab0, Some("exfat")),
            ("ntfs by FUSE's ancestor", 0x5346_544e, Some("ntfs")),
            ("cifs, sign extended", 0xffff_ffff_ff53_4d42_u64, Some("cifs")),
            ("ext4", 0xef53, None),
            ("tmpfs", 0x0102_1994, None),
            ("btrfs", 0x9123_683e, None),
            ("xfs", 0x5846_5342, None),
            ("overlayfs", 0x794c_7630, None),
            ("fuse", 0x6573_5546, None),
            ("nfs", 0x6969, None),
        ];
        for (name, magic, expected) in table {
            assert_eq!(keeps_no_permissions(magic as u32), expected, "{name}");
        }
    }

    #[test]
    fn real_directories_are_judged() {
        assert_eq!(exposed_by(Path::new("/dev/shm")), None);
        assert_eq!(exposed_by(Path::new("/")), None);
        assert_eq!(exposed_by(Path::new("/nowhere")), None);
    }
}
