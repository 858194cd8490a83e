//! What the console offers when the real root cannot be reached. `docs/emergency-shell.md` tells it to the user.
//!
//! Root has no password in an initrd, so sulogin would refuse everybody without saying what to do. By default the console therefore
//! says what failed and how to get a shell; a profile may allow a shell at once or for a password.

use super::units::find_program;
use super::{Context, Emergency, Error, Notes};
use crate::tree::{Entry, Tree, TreePath};

const UNITS: [&str; 2] = ["emergency", "rescue"];
const SULOGIN_SHELL: &str = "usr/lib/systemd/systemd-sulogin-shell";
const EXPLAINER: &str = "usr/lib/mkinitrd-pkg/emergency";
/// Stands in for sulogin. Only a shell and systemctl are sure to be there; whatever else is missing costs a paragraph.
const EXPLAINER_TEXT: &str = include_str!("emergency.sh");

pub(super) fn run(tree: &mut Tree, context: &Context<'_>, notes: &mut Notes) -> Result<(), Error> {
    let units: Vec<&str> = UNITS.into_iter().filter(|unit| tree.read(&unit_path(unit)).is_some()).collect();
    if units.is_empty() {
        notes.warn("there is no `emergency.service`: a boot that fails ends without a word on the console");
        return Ok(());
    }
    let has = |path: &str| tree.read(&TreePath::literal(path)).is_some();
    let (shell, sulogin) = (has("bin/sh"), has("sbin/sulogin") || has("usr/sbin/sulogin"));
    // systemd's own unit calls plymouth first; where there is none, its complaint would stand above what matters.
    let quiet = if find_program(tree, "plymouth").is_none() { "ExecStartPre=\n" } else { "" };
    match &context.options.emergency {
        Emergency::Locked if !shell => {
            notes.warn("there is no `/bin/sh`: when the boot fails, the console does not say how to get a shell");
            Ok(())
        }
        Emergency::Locked => {
            let entry = Entry::file(EXPLAINER_TEXT, notes.origin()).with_mode(0o755);
            notes.put(tree, &TreePath::literal(EXPLAINER), entry)?;
            let text = |unit| format!("[Service]\n{quiet}ExecStart=\nExecStart=-/{EXPLAINER} {unit}\n");
            units.into_iter().try_for_each(|unit| drop_in(tree, notes, unit, &text(unit)))
        }
        Emergency::Shell | Emergency::Password(_) if !shell || !sulogin || !has(SULOGIN_SHELL) => {
            notes.warn(format!(
                "there is no emergency shell, because `/bin/sh`, `/usr/sbin/sulogin` or `/{SULOGIN_SHELL}` is missing"
            ));
            Ok(())
        }
        Emergency::Shell => {
            let text = format!("[Service]\n{quiet}Environment=SYSTEMD_SULOGIN_FORCE=1\n");
            units.into_iter().try_for_each(|unit| drop_in(tree, notes, unit, &text))
        }
        Emergency::Password(hash) => set_password(tree, notes, hash),
    }
}

fn unit_path(unit: &str) -> TreePath {
    TreePath::literal(&format!("usr/lib/systemd/system/{unit}.service"))
}

fn drop_in(tree: &mut Tree, notes: &mut Notes, unit: &str, text: &str) -> Result<(), Error> {
    notes.file(tree, &format!("usr/lib/systemd/system/{unit}.service.d/10-mkinitrd-pkg-emergency.conf"), text)
}

fn set_password(tree: &mut Tree, notes: &mut Notes, hash: &str) -> Result<(), Error> {
    let path = TreePath::literal("etc/shadow");
    let wrong =
        |reason: &str| Error::File { step: "emergency", path: TreePath::literal("etc/shadow"), reason: reason.to_owned() };
    let old = tree.read(&path).ok_or_else(|| wrong("it is not there: name `users` before `emergency`"))?;
    let text = std::str::from_utf8(old.bytes()).map_err(|_| wrong("it is not UTF-8"))?;
    let mut found = false;
    let lines = text.lines().map(|line| match line.strip_prefix("root:").and_then(|rest| rest.split_once(':')) {
        Some((_, rest)) => {
            found = true;
            format!("root:{hash}:{rest}\n")
        }
        None => format!("{line}\n"),
    });
    let text: String = lines.collect();
    if !found {
        return Err(wrong("it has no line for root"));
    }
    let meta = tree.lookup(&path).map(|(_, entry)| entry.meta).ok_or_else(|| wrong("it is not there"))?;
    notes.put(tree, &path, Entry { meta, ..Entry::file(text.as_str(), notes.origin()) })
}

#[cfg(test)]
mod tests {
    use super::super::{Options, finalize, run_step};
    use super::*;
    use crate::config::Item;
    use crate::tree::Origin;

    fn tree(programs: &[&str]) -> Tree {
        let mut tree = Tree::new();
        for path in programs {
            tree.insert(&TreePath::literal(path), Entry::file("x", Origin::Made("test"))).expect(path);
        }
        tree.insert(&unit_path("emergency"), Entry::file("[Service]\n", Origin::Made("test"))).expect("a unit");
        let shadow = Entry::file("root:*:20000:0:99999:7:::\na:!*::::::\n", Origin::Made("test")).with_mode(0o640);
        tree.insert(&TreePath::literal("etc/shadow"), shadow).expect("a file");
        tree
    }

    fn options(emergency: Emergency) -> Options {
        Options { emergency, ..Options::default() }
    }

    const ALL: &[&str] = &["bin/sh", "usr/sbin/sulogin", SULOGIN_SHELL];
    const DROP_IN: &str = "usr/lib/systemd/system/emergency.service.d/10-mkinitrd-pkg-emergency.conf";

    #[test]
    fn a_locked_image_explains_itself() {
        let mut tree = tree(ALL);
        run_step("emergency", &mut tree, &options(Emergency::Locked));
        let explainer = tree.get(&TreePath::literal(EXPLAINER)).expect("the explainer");
        assert_eq!(explainer.meta.mode, 0o755);
        let drop_in = tree.read(&TreePath::literal(DROP_IN)).expect("the drop-in").bytes().to_vec();
        assert!(
            drop_in.starts_with(b"[Service]\nExecStartPre=\nExecStart=\nExecStart=-/usr/lib/mkinitrd-pkg/emergency emergency\n")
        );
        assert!(tree.get(&TreePath::literal("usr/lib/systemd/system/rescue.service.d")).is_none(), "there is no rescue.service");
    }

    /// A machine as the explainer sees it: what its files below `/proc`, `/dev`, `/sys` and `/sysroot` hold. Returns what it says.
    fn explained(cmdline: &str, files: &[(&str, &str)]) -> String {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().to_string_lossy().into_owned();
        let cmdline = format!("{cmdline}\n");
        for (name, text) in files.iter().chain(&[("proc/cmdline", cmdline.as_str()), ("proc/mounts", "tmpfs / tmpfs rw 0 0\n")]) {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
            let text = text.replace("/sysroot", &format!("{root}/sysroot"));
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).expect("a file");
            std::io::Write::write_all(&mut file, text.as_bytes()).expect("writing");
        }
        // The machine that runs this test is neither asked nor restarted.
        let mut script = EXPLAINER_TEXT.replace("systemctl", "true").replace("journalctl", "true").replace("lsblk", "true");
        script = script.replace("/dev/null", "@null@");
        for place in ["/proc/", "/dev/", "/sysroot", "/sys/class"] {
            script = script.replace(&format!(" {place}"), &format!(" {root}{place}"));
            script = script.replace(&format!("={place}"), &format!("={root}{place}"));
            script = script.replace(&format!("<{place}"), &format!("<{root}{place}"));
            script = script.replace(&format!("\"{place}"), &format!("\"{root}{place}"));
        }
        // What the command line says stays as it is.
        script = script.replace(&format!(" {root}/dev/*)"), " /dev/*)").replace(&format!(" {root}/dev/nfs)"), " /dev/nfs)");
        script = script.replace("@null@", "/dev/null").replace("node=$1", &format!("node={root}$1"));
        let mut shell = std::process::Command::new("sh");
        let output = shell.arg("-c").arg(script).stdin(std::process::Stdio::null()).output().expect("sh");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.is_empty(), "{said}");
        String::from_utf8_lossy(&output.stdout).replace(&root, "")
    }

    #[test]
    fn secrets_of_the_command_line_stay_hidden() {
        let words = "root=LABEL=* quiet systemd.set_credential=cryptsetup.passphrase:hunter2 rd.iscsi.password=hunter2 splash \
                     netroot=iscsi:me:hunter2@10.0.2.2::::iqn.x";
        let text = explained(words, &[]);
        let hidden = "  root=LABEL=* quiet systemd.set_credential=(hidden) rd.iscsi.password=(hidden) splash netroot=(hidden)\n";
        assert!(text.contains(hidden) && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn what_a_machine_lacks_is_named() {
        const SYSROOT: (&str, &str) = ("proc/mounts", "/dev/vda /sysroot ext4 rw 0 0\n");
        // The command line, what there is, and what has to be said.
        type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str]);
        let cases: [Case<'_>; 11] = [
            (
                "root=LABEL=root",
                &[],
                &["root=LABEL=root: no block device is that (there is no /dev/disk/by-label/root)", "--full"],
            ),
            ("root=UUID=1-2 ro", &[("dev/disk/by-uuid/1-2", "")], &["The root was not mounted: see the errors"]),
            ("root=/dev/vg0/root", &[], &["root=/dev/vg0/root: no block device is that (there is no /dev/vg0/root)"]),
            ("quiet", &[], &["names no root=, and no disk has a partition of the type"]),
            ("root=LABEL=r", &[("dev/disk/by-label/r", ""), SYSROOT], &["holds no system", "mount.usr=", "rootflags=subvol="]),
            (
                "root=LABEL=r mount.usr=LABEL=u",
                &[("dev/disk/by-label/r", ""), SYSROOT, ("sysroot/sbin/init", "")],
                &["mount.usr=LABEL=u: no block device is that"],
            ),
            (
                "rd.luks.name=1-2=root root=/dev/mapper/root",
                &[],
                &["The encrypted volume 1-2 is not there", "root=/dev/mapper/root"],
            ),
            (
                "rd.luks.uuid=luks-1-2 root=/dev/mapper/luks-1-2",
                &[("dev/disk/by-uuid/1-2", "")],
                &["The encrypted volume 1-2 was not opened: a wrong passphrase"],
            ),
            (
                "root=LABEL=r",
                &[("proc/mdstat", "Personalities : [raid5]\nmd127 : inactive sda[0](S)\n      99 blocks\n\n")],
                &["The array md127 was not started", "root=LABEL=r"],
            ),
            ("root=nfs4:10.0.2.2:/x ip=dhcp", &[], &["no network card, or no driver for it in the image"]),
            (
                "root=nfs4:10.0.2.2:/x ip=dhcp",
                &[("sys/class/net/lo/operstate", "unknown\n"), ("sys/class/net/eth0/operstate", "down\n")],
                &["The network card eth0 has no connection"],
            ),
        ];
        for (cmdline, files, sentences) in cases {
            let text = explained(cmdline, files);
            let missing = text.split_once("What is missing:\n").map_or("", |(_, rest)| rest);
            let missing = missing.split_once("Kernel command line:").map_or("", |(text, _)| text);
            for sentence in sentences {
                assert!(missing.contains(sentence), "{cmdline}: {sentence}: {text}");
            }
        }
    }

    #[test]
    fn nothing_is_said_to_be_missing_that_is_there() {
        let files: &[(&str, &str)] = &[
            ("dev/disk/by-label/r", ""),
            ("dev/disk/by-uuid/1-2", ""),
            ("dev/mapper/root", ""),
            ("sysroot/sbin/init", ""),
            ("proc/mounts", "/dev/vda /sysroot ext4 rw 0 0\n"),
            ("proc/mdstat", "Personalities : [raid1]\nmd127 : active raid1 sda[0] sdb[1]\n"),
            ("sys/class/net/eth0/operstate", "up\n"),
        ];
        let text = explained("root=LABEL=r rd.luks.name=1-2=root ip=dhcp", files);
        assert!(!text.contains("What is missing"), "{text}");
    }

    #[test]
    fn a_shell_and_a_password_are_given_only_when_asked() {
        let mut open = tree(ALL);
        run_step("emergency", &mut open, &options(Emergency::Shell));
        let drop_in = open.read(&TreePath::literal(DROP_IN)).expect("the drop-in");
        assert_eq!(drop_in.bytes(), b"[Service]\nExecStartPre=\nEnvironment=SYSTEMD_SULOGIN_FORCE=1\n");
        let mut secret = tree(ALL);
        run_step("emergency", &mut secret, &options(Emergency::Password("$6$salt$hash".to_owned())));
        let shadow = secret.get(&TreePath::literal("etc/shadow")).expect("shadow");
        assert_eq!(shadow.content().expect("a file").bytes(), b"root:$6$salt$hash:20000:0:99999:7:::\na:!*::::::\n");
        assert_eq!(shadow.meta.mode, 0o640);
        assert!(secret.get(&TreePath::literal(DROP_IN)).is_none());
    }

    #[test]
    fn what_is_missing_is_said() {
        for (programs, policy) in [(&ALL[1..], Emergency::Locked), (&ALL[..2], Emergency::Shell), (&ALL[..1], Emergency::Shell)] {
            let done = run_step("emergency", &mut tree(programs), &options(policy));
            assert_eq!(done.warnings.len(), 1, "{programs:?}");
        }
        let mut without_shadow = tree(ALL);
        without_shadow.remove(&TreePath::literal("etc/shadow"));
        let options = options(Emergency::Password("$6$salt$hash".to_owned()));
        let context = Context { options: &options, time_s: 0, host_ids: None };
        let step = [Item::from_command_line("emergency")];
        assert!(matches!(finalize(&mut without_shadow, &step, &context, &crate::report::Silent), Err(Error::File { .. })));
    }
}
