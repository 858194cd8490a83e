//! Units that let a btrfs over several disks be mounted without the disks that do not come, where the command line says `degraded`.
//!
//! systemd's own `64-btrfs.rules` holds a file system back until all of its disks are there, whatever `rootflags=` says, so that the
//! option that mounts it without one is never reached. Half a minute after the initrd began, as long as md waits, it is let go; the
//! kernel then mounts it with the option and refuses it without. A disk that is only slow is not left behind.

use super::{Context, Error, Notes};
use crate::tree::{Tree, TreePath};

const RULES_OF_SYSTEMD: &str = "usr/lib/udev/rules.d/64-btrfs.rules";
const RULES: &str = "usr/lib/udev/rules.d/65-mkinitrd-pkg-btrfs-degraded.rules";
const TIMER: &str = "usr/lib/systemd/system/mkinitrd-pkg-btrfs-degraded.timer";
const SERVICE: &str = "usr/lib/systemd/system/mkinitrd-pkg-btrfs-degraded.service";
const WANTED: &str = "etc/systemd/system/initrd.target.wants/mkinitrd-pkg-btrfs-degraded.timer";

const RULES_TEXT: &str = "# The time is up for the disks of a btrfs that may be mounted without them.
SUBSYSTEM==\"block\", ACTION!=\"remove\", ENV{ID_FS_TYPE}==\"btrfs\", ENV{ID_BTRFS_READY}==\"0\", \
TEST==\"/run/mkinitrd-pkg-btrfs-degraded\", ENV{SYSTEMD_READY}=\"1\"
";

const TIMER_TEXT: &str = "[Unit]
Description=Wait for all disks of btrfs
DefaultDependencies=no
ConditionPathExists=/etc/initrd-release
ConditionKernelCommandLine=|rootflags
ConditionKernelCommandLine=|mount.usrflags
Conflicts=shutdown.target emergency.target
Before=shutdown.target

[Timer]
OnActiveSec=30
AccuracySec=1
";

const SERVICE_TEXT: &str = "[Unit]
Description=Let btrfs be mounted without the disks that did not come
DefaultDependencies=no
ConditionPathExists=/etc/initrd-release
Conflicts=shutdown.target
Before=shutdown.target

[Service]
Type=oneshot
ExecCondition=/bin/sh -c 'read -r line </proc/cmdline; for word in $$line; do case $$word in \
rootflags=*|mount.usrflags=*) case ,$${word#*=}, in *,degraded,*) exit 0 ;; esac ;; esac; done; exit 1'
ExecStart=/bin/sh -c '>/run/mkinitrd-pkg-btrfs-degraded'
ExecStart=/usr/bin/udevadm trigger --action=change --subsystem-match=block --property-match=ID_FS_TYPE=btrfs
";

pub(super) fn run(tree: &mut Tree, _: &Context<'_>, notes: &mut Notes) -> Result<(), Error> {
    if tree.lookup(&TreePath::literal(RULES_OF_SYSTEMD)).is_none() {
        return Ok(());
    }
    notes.file(tree, RULES, RULES_TEXT)?;
    notes.file(tree, TIMER, TIMER_TEXT)?;
    notes.file(tree, SERVICE, SERVICE_TEXT)?;
    notes.link(tree, WANTED, &format!("/{TIMER}"))
}

#[cfg(test)]
mod tests {
    use super::super::{Options, run_step};
    use super::*;
    use crate::tree::{Entry, Origin};

    #[test]
    fn only_where_the_rules_are() {
        let mut tree = Tree::new();
        run_step("btrfs-degraded", &mut tree, &Options::default());
        assert!(tree.is_empty());
        tree.insert(&TreePath::literal(RULES_OF_SYSTEMD), Entry::file("# rules\n", Origin::Made("test"))).expect("a file");
        run_step("btrfs-degraded", &mut tree, &Options::default());
        for path in [TIMER, SERVICE] {
            assert!(tree.lookup(&TreePath::literal(path)).is_some(), "{path}");
        }
        let rules = tree.read(&TreePath::literal(RULES)).expect("the rules").bytes().to_vec();
        assert_eq!(rules.iter().filter(|byte| **byte == b'\n').count(), 2, "a rule is one line");
        let (timer, _) = tree.lookup(&TreePath::literal(WANTED)).expect("a link");
        assert_eq!(timer, TreePath::literal(TIMER));
    }
}
