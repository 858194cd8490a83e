//! Lays what a boot test needs over a root file system of Debian packages: the service that gives evidence and powers off.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::command::at;

/// The root's own service. It alone knows the nonce: nothing that the initrd or the kernel prints can look like it.
///
/// Each line is one write, after the kernel and PID 1 were told to leave the console alone, so that none is torn.
const EVIDENCE: &str = r#"#!/bin/sh
exec >/dev/console 2>&1
export LC_ALL=C.UTF-8 SYSTEMD_COLORS=0 SYSTEMD_PAGER=
dmesg -n 1
kill -55 1 # SIGRTMIN+21, whose name dash does not know
say() { printf '%s %s\n' '@NONCE@' "$*"; }
show() { systemctl show -p "$1" --value; }
# The fifth byte of the variable is its value, behind four of attributes; the runtime's own word, not the kernel's reading of it.
firmware() {
    [ -d /sys/firmware/efi ] || { echo none; return; }
    case $(od -An -tu1 -j4 -N1 /sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c | tr -d ' ') in
    1) echo uefi with Secure Boot ;;
    0) echo uefi ;;
    *) echo uefi with an unreadable variable SecureBoot ;;
    esac
}
# A root that systemd finds by its partition is writable, and gets the journal.
logs=/run/log/journal
set -- /var/log/journal/*/*.journal
[ ! -e "$1" ] || logs=/var/log/journal
journal() { journalctl -q --no-pager -o short-monotonic -D $logs "$@" "_BOOT_ID=$boot"; }
boot=$(tr -d - </proc/sys/kernel/random/boot_id)
echo
case " $(cat /proc/cmdline) " in
*" boot-test.hibernate "*)
    # What was in memory before comes out on the console of the machine that was started thereafter, or of none.
    word=$(cat /proc/sys/kernel/random/uuid)
    say hibernates "$word"
    swapon LABEL=swap
    echo disk >/sys/power/state
    echo
    say way "awake again with $word"
    ;;
*" boot-test.crash "*)
    # The kernel's last words are in the memory that is saved. Without a program for it: perl is in every Debian.
    word=$(cat /proc/sys/kernel/random/uuid)
    say hibernates "$word"
    mount -o ro LABEL=KDUMP /mnt
    perl -e 'open my $k, "<", "/mnt/vmlinuz"; open my $i, "<", "/mnt/initrd.img"; my $line = shift() . "\0";
        syscall(320, fileno $k, fileno $i, length $line, $line, 2) == 0 or die "kexec_file_load: $!\n"' \
        "console=ttyS0 panic=-1 root=LABEL=root nr_cpus=1 reset_devices"
    umount /mnt
    echo "boot-test: the last words are $word" >/dev/kmsg
    echo c >/proc/sysrq-trigger
    ;;
*" boot-test.crashed "*)
    say way $(ls -R /var/crash 2>&1)
    say way $(grep -ho 'boot-test: the last words are .*' /var/crash/*/dmesg)
    ;;
esac
say begin
say root $(findmnt -no SOURCE,FSTYPE /)
say kernel $(uname -r)
say initrd_us $(show InitRDTimestampMonotonic)
say switched_us $(show UserspaceTimestampMonotonic)
say uptime_s $(cut -d' ' -f1 /proc/uptime)
say state $(systemctl is-system-running)
say modules $(wc -l </proc/modules)
say firmware $(firmware)
systemctl list-units --failed --plain --no-legend | while read -r unit line; do
    say failed "$unit: $(journal _SYSTEMD_UNIT="$unit" | tail -n 3 | sed 's/^[^:]*: //' | tr '\n' ';')"
done
# What a boot by another way could not say: the mounts, volumes, arrays, disks, and what the initrd said of opening a volume.
{
    findmnt -rno TARGET,SOURCE,FSTYPE,OPTIONS --real
    [ ! -e /dev/mapper/control ] || { dmsetup table; dmsetup status; }
    [ ! -e /proc/mdstat ] || cat /proc/mdstat
    [ ! -e /sys/block/bcache0 ] || echo bcache0 is $(cat /sys/block/bcache0/bcache/state)
    lsblk -rno NAME,TYPE,LOG-SEC,TRAN,LABEL,PARTLABEL,FSTYPE
    journal -o cat -t systemd-cryptsetup -t systemd-repart -t multipathd -t boot-test
    journal -o cat _PID=1 | grep 'Started systemd-ask-password-plymouth.service'
    [ ! -x /usr/bin/btrfs ] || btrfs filesystem show --mounted
} 2>&1 | while read -r line; do say way "$line"; done
say first $(journal _PID=1 | head -n 1)
journal -p warning | while read -r line; do say complaint "$line"; done
journal -p debug | grep -E 'No such file|not found|cannot open shared|Unknown (user|group)|[Ff]ailed to (exec|find)' |
    while read -r line; do say missing "$line"; done
say end
systemctl --force --force poweroff
"#;

const SERVICE: &str = "[Unit]
Description=Give evidence of the boot and power off
After=basic.target systemd-journal-flush.service
[Service]
Type=oneshot
ExecStart=/usr/local/sbin/boot-evidence
";

const TARGET: &str = "[Unit]
Description=The end of a boot test
Requires=basic.target
Wants=boot-evidence.service
After=basic.target
AllowIsolate=yes
";

/// Units that do nothing for a boot test and cost emulated seconds, or want to write to a root that is mounted read-only.
const MASKED: &[&str] = &[
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "ldconfig.service",
    "systemd-firstboot.service",
    "systemd-hwdb-update.service",
    "systemd-update-done.service",
];

/// A machine id that is there already: otherwise the root believes in a first boot and applies presets.
const MACHINE_ID: &str = "6d6b696e697472642d706b6720626f6f\n";

/// Writes the files that are laid over the root into `dir`.
pub fn write_overlay(dir: &Path, nonce: &str) -> Result<(), String> {
    let units = dir.join("etc/systemd/system");
    let sbin = dir.join("usr/local/sbin");
    for sub in [&units, &sbin] {
        fs::create_dir_all(sub).map_err(at(sub))?;
    }
    let script = sbin.join("boot-evidence");
    fs::write(&script, EVIDENCE.replace("@NONCE@", nonce)).map_err(at(&script))?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).map_err(at(&script))?;
    let files = [
        (units.join("boot-evidence.service"), SERVICE),
        (units.join("boot-evidence.target"), TARGET),
        (dir.join("etc/machine-id"), MACHINE_ID),
        (dir.join("etc/fstab"), ""),
        (dir.join("etc/hostname"), "realroot\n"),
    ];
    for (path, text) in files {
        fs::write(&path, text).map_err(at(&path))?;
    }
    let links = MASKED.iter().map(|unit| (*unit, "/dev/null")).chain([("default.target", "boot-evidence.target")]);
    for (name, target) in links {
        let path = units.join(name);
        symlink(target, &path).map_err(at(&path))?;
    }
    Ok(())
}

/// What a root needs whose maintainer scripts could not run: users, and the links that base-files' scripts make.
pub const FINISH: &str = r#"
if [ ! -e "$root/etc/passwd" ]; then
    cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
    cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
fi
[ -e "$root/var/run" ] || ln -s /run "$root/var/run"
"#;
