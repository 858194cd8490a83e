//! `test`: a real kernel boots small images in QEMU, and the command says how far it came.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::guest::kernel;
use crate::kernels::run;

/// Does as an initrd does that finds its root only if the command line has the word.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox mkdir -p /proc
/bin/busybox mount -t proc proc /proc
case $(/bin/busybox cat /proc/cmdline) in
*word=tuplet-4711*) echo "Welcome to the real root" ;;
*ask*) echo "Please enter passphrase for disk root:" ;;
*)
    echo "The boot has stopped in the initrd: the real root was not reached."
    echo "What is missing:"
    echo "  the word"
    echo "Press Enter to try once more, Ctrl+Alt+Del to restart."
    ;;
esac
exec /bin/busybox sleep 1000
"#;

struct Bench {
    dir: tempfile::TempDir,
    image: PathBuf,
    kernel: PathBuf,
}

fn bench() -> Bench {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("root");
    fs::create_dir_all(root.join("bin")).expect("a directory");
    fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap_or_else(|err| panic!("busybox: {err}: install `busybox-static`"));
    fs::write(root.join("init"), INIT).expect("writing");
    fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755)).expect("a mode");
    let image = dir.path().join("test.img");
    let pack = format!("cd {} && find . | cpio --quiet -o -H newc -R 0:0 >{}", root.display(), image.display());
    run("sh", "dash", &["-ec", &pack]);
    Bench { dir, image, kernel: kernel() }
}

impl Bench {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mkinitrd-pkg"));
        command.arg("test").arg(&self.image).arg("--kernel").arg(&self.kernel).args(["--memory", "512"]).args(words);
        command
    }

    fn test(&self, words: &[&str]) -> (Output, String, String) {
        let output = self.command(words).output().expect("the program");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (said, errors) = (text(&output.stdout), text(&output.stderr));
        (output, said, errors)
    }
}

#[test]
fn a_boot_is_followed_to_its_end_and_its_disk_stays_as_it_is() {
    let bench = bench();
    let disk = bench.dir.path().join("a,b.raw");
    fs::write(&disk, vec![7; 1 << 20]).expect("writing");
    let disk_option = disk.to_str().expect("text");
    let (output, said, errors) = bench.test(&["--cmdline", "word=tuplet-4711 quiet", "--disk", disk_option]);
    assert!(output.status.success(), "{said}{errors}");
    for sentence in ["the kernel runs", "the image is unpacked, its init runs", "the init of the real root runs"] {
        assert!(said.contains(sentence), "{said}");
    }
    assert_eq!(fs::read(&disk).expect("the disk"), vec![7; 1 << 20]);

    let (output, said, errors) = bench.test(&["--cmdline", "word=other", "--disk", disk_option]);
    assert_eq!(output.status.code(), Some(7), "{said}{errors}");
    assert!(said.contains("  |   the word") && !said.contains("real root runs"), "{said}");
    assert!(errors.contains("did not reach the real root: The boot has stopped in the initrd"), "{errors}");

    let (output, said, errors) = bench.test(&["--json"]);
    assert_eq!(output.status.code(), Some(7), "{errors}");
    let answer: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((&answer["reached"], &answer["steps"][1]["step"]), (&false.into(), &"init".into()), "{said}");

    let (output, _, errors) = bench.test(&["--cmdline", "ask", "--seconds", "25"]);
    assert_eq!(output.status.code(), Some(7), "{errors}");
    assert!(errors.contains("it asks for a passphrase") && errors.contains("--credential"), "{errors}");
}

#[test]
fn what_cannot_be_started_is_said_before() {
    let bench = bench();
    let (output, _, errors) = bench.test(&["--disk", "/nonexistent/disk"]);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("`--disk /nonexistent/disk`: there is no such file"), "{errors}");
    let (output, _, errors) = bench.test(&["--arch", "vax"]);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("`vax` cannot be emulated"), "{errors}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_mkinitrd-pkg"));
    let output = command.arg("test").arg(&bench.image).output().expect("the program");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("does not say which kernel it is for") && errors.contains("--kernel FILE"), "{errors}");
    let mut command = bench.command(&[]);
    let output = command.env("PATH", bench.dir.path()).output().expect("the program");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(7), "{errors}");
    assert!(errors.contains("`qemu-system-x86_64` cannot be started") && errors.contains("apt-get install"), "{errors}");
}

#[test]
fn the_emulator_ends_with_the_program() {
    let bench = bench();
    let mut child =
        bench.command(&["--cmdline", "ask"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program");
    let emulator = wait_for(|| emulator_of(&bench.image));
    run("kill", "procps", &["-TERM", &child.id().to_string()]);
    assert_eq!(child.wait().expect("waiting").code(), Some(128 + 15));
    wait_for(|| (emulator_of(&bench.image) != Some(emulator)).then_some(()));
}

/// Returns the process that has the image on its command line and is QEMU.
fn emulator_of(image: &Path) -> Option<u32> {
    let is_it = |pid: u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.starts_with("qemu-system") && line.contains(&image.display().to_string())
    };
    let entries = fs::read_dir("/proc").expect("/proc").filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    entries.into_iter().find(|pid| is_it(*pid))
}

fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(120), "it does not come");
        std::thread::sleep(Duration::from_millis(50));
    }
}
