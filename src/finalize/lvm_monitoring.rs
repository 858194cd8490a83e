//! Tells LVM that nobody watches volumes in an initrd.
//!
//! `dmeventd` extends thin pools and replaces failed mirrors. It belongs to the real root, whose `lvm2-monitor.service` begins with all
//! volumes that are there; in an initrd it would only stand in the way of the switch. LVM looks for it at each thin or mirrored volume.

use super::{Context, Error, Notes};
use crate::tree::{Tree, TreePath};

const PROGRAMS: [&str; 2] = ["usr/sbin/lvm", "usr/bin/lvm"];
const DAEMONS: [&str; 2] = ["usr/sbin/dmeventd", "usr/bin/dmeventd"];
const CONFIGURATION: &str = "etc/lvm/lvmlocal.conf";
const TEXT: &str = "
# Volumes are watched from the real root on.
activation {
	monitoring = 0
}
";

pub(super) fn run(tree: &mut Tree, _: &Context<'_>, notes: &mut Notes) -> Result<(), Error> {
    let has_one = |paths: [&str; 2]| paths.iter().any(|path| tree.lookup(&TreePath::literal(path)).is_some());
    if !has_one(PROGRAMS) || has_one(DAEMONS) {
        return Ok(());
    }
    let before = tree.read(&TreePath::literal(CONFIGURATION)).map(|content| content.bytes().to_vec()).unwrap_or_default();
    let before = String::from_utf8_lossy(&before);
    notes.file(tree, CONFIGURATION, &format!("{before}{TEXT}"))
}

#[cfg(test)]
mod tests {
    use super::super::{Options, run_step};
    use super::*;
    use crate::tree::{Entry, Origin};

    fn local_configuration(paths: &[&str]) -> Option<String> {
        let mut tree = Tree::new();
        for path in paths {
            tree.insert(&TreePath::literal(path), Entry::file("# before\n", Origin::Made("test"))).expect("a file");
        }
        run_step("lvm-monitoring", &mut tree, &Options::default());
        tree.read(&TreePath::literal(CONFIGURATION)).map(|content| String::from_utf8_lossy(content.bytes()).into_owned())
    }

    #[test]
    fn only_where_lvm_is_without_its_daemon() {
        assert_eq!(local_configuration(&[]), None);
        assert_eq!(local_configuration(&["usr/sbin/lvm", "usr/sbin/dmeventd"]), None);
        assert_eq!(local_configuration(&["usr/sbin/lvm"]), Some(TEXT.to_owned()));
        let both = local_configuration(&["usr/sbin/lvm", CONFIGURATION]);
        assert_eq!(both, Some(format!("# before\n{TEXT}")), "what the package says stays");
    }
}
