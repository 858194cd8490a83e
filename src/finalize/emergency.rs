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
/// Only a shell and systemctl are sure to be there; whatever else is missing costs a paragraph.
const EXPLAINER_TEXT: &str = r#"#!/bin/sh
# Stands in for sulogin, which would only say that root is locked.
read -r cmdline </proc/cmdline
case " $cmdline " in
*" SYSTEMD_SULOGIN_FORCE=1 "*|*" SYSTEMD_SULOGIN_FORCE "*|*" systemd.setenv=SYSTEMD_SULOGIN_FORCE=1 "*)
    export SYSTEMD_SULOGIN_FORCE=1
    [ -x /usr/lib/systemd/systemd-sulogin-shell ] && exec /usr/lib/systemd/systemd-sulogin-shell "$1"
    exec /bin/sh
    ;;
esac
# Without colours: a serial console may be read by a person or a program.
export SYSTEMD_COLORS=0
line=
have() { command -v "$1" >/dev/null 2>&1; }
echo
echo "The boot has stopped in the initrd: the real root was not reached."
echo
echo "Failed units:"
have systemctl && systemctl --no-pager --no-legend --plain --failed
echo
echo "Last errors:"
have journalctl && journalctl --no-pager --quiet --boot --priority=err --lines=15 --output=short-monotonic
echo
echo "Kernel command line:"
set -f
for word in $cmdline; do
    # Whoever stands before the console may read everything but what would open the disk.
    case $word in
    *[Pp]ass*=*|*[Cc]redential*=*|*[Ss]ecret*=*) word="${word%%=*}=(hidden)" ;;
    esac
    line="$line $word"
done
set +f
echo " $line"
echo
echo "Block devices:"
devices=
if have lsblk; then
    devices=$(lsblk --noheadings --output NAME,SIZE,TYPE,FSTYPE,LABEL,UUID 2>/dev/null)
elif have blkid; then
    devices=$(blkid 2>/dev/null)
fi
echo "${devices:-  none: there is no disk, or no driver for it in the image}"
echo
echo "There is no shell here, because root has no password in this image. To get one, add"
echo "  SYSTEMD_SULOGIN_FORCE=1"
echo "to the kernel command line in the boot menu and start again."
echo
echo "Press Enter to try once more, Ctrl+Alt+Del to restart."
if read -r answer; then
    systemctl daemon-reload
    exec systemctl --no-block isolate default.target
fi
"#;

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

    #[test]
    fn secrets_of_the_command_line_stay_hidden() {
        // The explainer itself, with a command line of its own instead of the kernel's.
        let dir = tempfile::tempdir().expect("a directory");
        let cmdline = dir.path().join("cmdline");
        let words = "root=LABEL=* quiet systemd.set_credential=cryptsetup.passphrase:hunter2 rd.iscsi.password=hunter2 splash";
        std::fs::write(&cmdline, format!("{words}\n")).expect("writing");
        // The machine that runs this test is neither asked nor restarted.
        let script = EXPLAINER_TEXT.replace("systemctl", "true").replace("journalctl", "true");
        let script = script.replace("/proc/cmdline", &cmdline.to_string_lossy());
        let mut shell = std::process::Command::new("sh");
        let output = shell.arg("-c").arg(script).stdin(std::process::Stdio::null()).output().expect("sh");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let hidden = "  root=LABEL=* quiet systemd.set_credential=(hidden) rd.iscsi.password=(hidden) splash\n";
        assert!(text.contains(hidden) && !text.contains("hunter2"), "{text}");
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
