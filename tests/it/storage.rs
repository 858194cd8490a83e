//! Storage with limits of its own, and storage that lies, in a guest: this machine's kernel has neither vfat nor device mapper.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use mkinitrd_pkg::base::digest::Sha256;

use crate::deliver::new_bytes;
use crate::guest::Guest;
use crate::kernels::run;

const OLD: usize = 700_001;
const NEW: usize = 2_500_003;

fn vfat(dir: &Path, size: u64, bits: &str) -> PathBuf {
    let disk = dir.join("disk");
    File::create(&disk).and_then(|file| file.set_len(size)).expect("a disk");
    run("mkfs.vfat", "dosfstools", &["-F", bits, disk.to_str().expect("text")]);
    disk
}

#[track_caller]
fn assert_says(console: &str, lines: &[String]) {
    for line in lines {
        assert!(console.lines().any(|said| said.trim() == line), "`{line}` is not in\n{console}");
    }
}

fn digest(size: usize) -> Sha256 {
    Sha256::of(&new_bytes(size))
}

#[test]
fn a15_vfat_has_no_modes_no_links_no_case_and_no_large_files() {
    let dir = tempfile::tempdir().expect("a directory");
    // Sparse: the one file that would need this room is refused.
    let disk = vfat(dir.path(), 6 << 30, "32");
    let script = r#"
mount -t vfat -o iocharset=ascii,umask=0022 /dev/vda /mnt || say no mount
deliver /mnt/initrd.img @OLD@; say first $?
deliver /mnt/INITRD.IMG @NEW@; say case $? $(ls -A /mnt) $(sha256sum /mnt/initrd.img | cut -d' ' -f1)
ln -s initrd.img /mnt/link 2>/dev/null && say a link
deliver /mnt/initrd.img 5000000000; say large $? $(ls -A /mnt) $(sha256sum /mnt/initrd.img | cut -d' ' -f1)
deliver /mnt/new.img 5000000000; say large and new $? $(ls -A /mnt)
deliver '/mnt/a:b' 10; say name $? $(ls -A /mnt)
"#;
    let script = script.replace("@OLD@", &OLD.to_string()).replace("@NEW@", &NEW.to_string());
    let console = Guest::new(&["vfat", "nls_cp437", "nls_ascii"]).disk(&disk).run(&script);
    let new = digest(NEW);
    assert_says(
        &console,
        &[
            "SAY first 0".to_owned(),
            // Whoever says 0600 and gets 0755 is told so.
            "delivered with mode 755".to_owned(),
            format!("SAY case 0 initrd.img {new}"),
            format!("SAY large 8 initrd.img {new}"),
            "SAY large and new 8 initrd.img".to_owned(),
            "SAY name 8 initrd.img".to_owned(),
        ],
    );
    assert!(!console.contains("SAY a link") && !console.contains("SAY no"), "{console}");
    let large = "`/mnt/initrd.img` would have 5.0 GB, and vfat holds less than 4.3 GB in a file; the old image was kept";
    assert!(console.contains(large), "{console}");
}

/// The disk gives back another byte than it was given, or keeps another one; everything about the file system itself is sound.
/// `dm-0` is the kernel's own name: nobody makes others in the guest.
#[test]
fn a22_a_bit_that_the_disk_flips_is_found_and_the_old_file_stays() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = vfat(dir.path(), 24 << 20, "16");
    let start = fs::read(&disk).expect("the disk");
    let word = |at: usize| u64::from(u16::from_le_bytes([start[at], start[at + 1]]));
    // Reserved sectors, the tables and the root directory are before the files.
    let files = word(14) + u64::from(start[16]) * word(22) + word(17) * 32 / 512;
    let script = r#"
flaky() {
    printf '%s\n' "0 @FILES@ linear /dev/vda 0" "@FILES@ $((49152 - @FILES@)) flakey /dev/vda @FILES@ $1" >/tmp/table
    /sbin/dmsetup --noudevrules --noudevsync create flaky /tmp/table || say no device
    mount -t vfat -o iocharset=ascii /dev/dm-0 /mnt || say no mount
}
sound() { umount /mnt; /sbin/dmsetup --noudevrules --noudevsync remove flaky; mount -t vfat -o iocharset=ascii /dev/vda /mnt || say no mount; }
found() { say $1 $(ls -A /mnt) $(sha256sum /mnt/initrd.img | cut -d' ' -f1); }
mount -t vfat -o iocharset=ascii /dev/vda /mnt
deliver /mnt/initrd.img @OLD@ || say no old image
umount /mnt
for direction in r w; do
    flaky "0 3600 5 corrupt_bio_byte 32 $direction 77 0"
    deliver /mnt/initrd.img @NEW@; say $direction $?
    sound; found $direction; umount /mnt
done
flaky "3600 0"
deliver /mnt/initrd.img @NEW@; say sound $?
sound; found sound; umount /mnt
"#;
    let script = script.replace("@OLD@", &OLD.to_string()).replace("@NEW@", &NEW.to_string());
    let script = script.replace("@FILES@", &files.to_string());
    let guest = Guest::new(&["vfat", "nls_cp437", "nls_ascii", "dm_mod", "dm_flakey"]).program("/sbin/dmsetup");
    let console = guest.disk(&disk).run(&script);
    let (old, new) = (digest(OLD), digest(NEW));
    let expected = [
        "SAY r 8".to_owned(),
        format!("SAY r initrd.img {old}"),
        "SAY w 8".to_owned(),
        format!("SAY w initrd.img {old}"),
        "SAY sound 0".to_owned(),
        format!("SAY sound initrd.img {new}"),
    ];
    assert_says(&console, &expected);
    assert_eq!(console.matches("was not stored as written").count(), 2, "{console}");
    assert!(!console.contains("SAY no"), "{console}");
}
