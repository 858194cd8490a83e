//! Has systemd-repart see all that is to be made, and for a root that is there already, too.
//!
//! systemd's own unit runs before the root is mounted, for the case that it makes the root: it then finds the disk by what is mounted as
//! `/usr` of the system to come. With a root that is to be mounted and no such `/usr` it fails, or not, as mounting wins or loses the
//! race. Here it runs where `/usr` shows the disk, and after the root is mounted where the root does. What is to be made stands in files of
//! the image or of the system to come; by itself the program looks in the latter alone, though the unit waits for either.

use super::{Context, Error, Notes};
use crate::tree::{Tree, TreePath};

const PROGRAM: &str = "usr/bin/systemd-repart";
const OF_SYSTEMD: &str = "usr/lib/systemd/system/systemd-repart.service";
const DROP_IN: &str = "usr/lib/systemd/system/systemd-repart.service.d/10-mkinitrd-pkg-repart.conf";
const UNIT: &str = "usr/lib/systemd/system/mkinitrd-pkg-repart.service";
const WANTED: &str = "etc/systemd/system/initrd-root-fs.target.wants/mkinitrd-pkg-repart.service";

/// Where definitions lie, the strongest first.
const DEFINITIONS: [&str; 4] = ["/etc/repart.d", "/run/repart.d", "/usr/local/lib/repart.d", "/usr/lib/repart.d"];

const DROP_IN_TEXT: &str = "# Without it mkinitrd-pkg-repart.service does the work.
[Unit]
ConditionPathIsMountPoint=/sysusr/usr

[Service]
ExecStart=
";

const UNIT_TEXT: &str = "[Unit]
Description=Repartition the Disk of the Root
Documentation=man:systemd-repart.service(8)
DefaultDependencies=no
ConditionPathIsMountPoint=!/sysusr/usr
ConditionPathIsMountPoint=/sysroot
ConditionDirectoryNotEmpty=|/usr/lib/repart.d
ConditionDirectoryNotEmpty=|/usr/local/lib/repart.d
ConditionDirectoryNotEmpty=|/etc/repart.d
ConditionDirectoryNotEmpty=|/run/repart.d
ConditionDirectoryNotEmpty=|/sysroot/usr/lib/repart.d
ConditionDirectoryNotEmpty=|/sysroot/usr/local/lib/repart.d
ConditionDirectoryNotEmpty=|/sysroot/etc/repart.d
Wants=modprobe@loop.service modprobe@dm_mod.service
After=sysroot.mount modprobe@loop.service modprobe@dm_mod.service systemd-tpm2-setup-early.service
Before=initrd-root-fs.target
Conflicts=shutdown.target initrd-switch-root.target
Before=shutdown.target initrd-switch-root.target

[Service]
Type=oneshot
RemainAfterExit=yes
# Without a disk or a table of partitions there is nothing to do.
SuccessExitStatus=76 77
";

/// Returns the command for a system that lies at `root`.
fn command(root: &str) -> String {
    let both = DEFINITIONS.iter().flat_map(|path| [path.to_string(), format!("{root}{path}")]);
    let options: Vec<String> = both.map(|path| format!("--definitions={path}")).collect();
    format!("ExecStart=/{PROGRAM} --dry-run=no {}\n", options.join(" "))
}

pub(super) fn run(tree: &mut Tree, _: &Context<'_>, notes: &mut Notes) -> Result<(), Error> {
    if [PROGRAM, OF_SYSTEMD].iter().any(|path| tree.lookup(&TreePath::literal(path)).is_none()) {
        return Ok(());
    }
    notes.file(tree, DROP_IN, &format!("{DROP_IN_TEXT}{}", command("/sysusr")))?;
    notes.file(tree, UNIT, &format!("{UNIT_TEXT}{}", command("/sysroot")))?;
    notes.link(tree, WANTED, &format!("/{UNIT}"))
}

#[cfg(test)]
mod tests {
    use super::super::{Options, run_step};
    use super::*;
    use crate::tree::{Entry, Origin};

    #[test]
    fn only_where_the_program_and_its_unit_are() {
        let mut tree = Tree::new();
        let add = |tree: &mut Tree, path: &str| {
            tree.insert(&TreePath::literal(path), Entry::file("x", Origin::Made("test"))).expect("a file");
            run_step("repart", tree, &Options::default());
            tree.lookup(&TreePath::literal(WANTED)).map(|(real, _)| real)
        };
        assert_eq!(add(&mut tree, PROGRAM), None);
        assert_eq!(add(&mut tree, OF_SYSTEMD), Some(TreePath::literal(UNIT)));
        let text = tree.read(&TreePath::literal(UNIT)).expect("the unit").bytes().to_vec();
        let text = String::from_utf8_lossy(&text);
        let command =
            "ExecStart=/usr/bin/systemd-repart --dry-run=no --definitions=/etc/repart.d --definitions=/sysroot/etc/repart.d ";
        assert!(text.contains("After=sysroot.mount") && text.contains(command), "{text}");
    }
}
