//! Delivery under failure: whatever happens, the final name holds the whole old file or the whole new one, and nothing lies about.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use mkinitrd_pkg::base::error::Diagnostic;
use mkinitrd_pkg::deliver::{self, Error, Old};
use mkinitrd_pkg::report::Silent;
use rustix::fs::{CWD, FlockOperation, Mode};

/// The path to deliver to, for a process that this test binary starts of itself.
const TO: &str = "DELIVER_TO";
/// How many bytes.
const SIZE: &str = "DELIVER_SIZE";
/// A file that takes what space there is left, half-way.
const FILLER: &str = "DELIVER_FILLER";
const NEW_BYTES: usize = 5_000_000;
const OLD_TEXT: &[u8] = b"the old image";

pub fn new_bytes(size: usize) -> Vec<u8> {
    (0..size).map(|i| (i * 7 + i / 251) as u8).collect()
}

/// Not a test of its own: what the other tests run in a process of its own, to kill it or to make its system calls fail.
#[test]
fn deliver_in_a_process_of_its_own() {
    let (Some(path), Ok(size)) = (std::env::var_os(TO), std::env::var(SIZE)) else { return };
    let size = size.parse().expect("a size");
    let result = deliver::check_target(Path::new(&path)).and_then(|target| {
        deliver::deliver(&target, size as u64, 0o600, &Silent, |out| {
            let bytes = new_bytes(size);
            let (first, second) = bytes.split_at(size / 2);
            first.chunks(64 << 10).try_for_each(|chunk| out.write_all(chunk))?;
            if let Some(filler) = std::env::var_os(FILLER) {
                fill_up(Path::new(&filler));
            }
            second.chunks(64 << 10).try_for_each(|chunk| out.write_all(chunk))
        })
    });
    let code = match result {
        Ok(delivered) => {
            // Where standard output is the thing that fails, the exit code still tells.
            let _ = writeln!(std::io::stdout(), "\ndelivered with mode {:o}", delivered.mode);
            0
        }
        Err(err) => {
            let source = std::error::Error::source(&err).map(ToString::to_string).unwrap_or_default();
            // Where standard error is the thing that fails, the exit code still tells.
            let _ = writeln!(std::io::stderr(), "error: {err}: {source}");
            if matches!(err, Error::Unsettled { .. }) { 9 } else { err.kind().exit_code() }
        }
    };
    std::process::exit(code.into());
}

/// Takes all the space that a file system has.
fn fill_up(path: &Path) {
    let mut file = File::create(path).expect("a file");
    let mut chunk = vec![1_u8; 1 << 20];
    while !chunk.is_empty() {
        match file.write(&chunk) {
            Ok(count) if count > 0 => {}
            Ok(_) | Err(_) => chunk.truncate(chunk.len() / 2),
        }
    }
}

/// The command for such a process, behind `wrapper`.
fn process(wrapper: &[&str], to: &Path, size: usize) -> Command {
    let this = std::env::current_exe().expect("this binary").into_os_string();
    let own = ["--exact", "deliver::deliver_in_a_process_of_its_own", "--nocapture", "--quiet", "--test-threads=1"];
    let mut words = wrapper.iter().map(Into::into).chain([this]).chain(own.into_iter().map(Into::into));
    let mut command = Command::new(words.next().expect("a program"));
    command.args(words).env(TO, to).env(SIZE, size.to_string()).env("RUST_BACKTRACE", "0");
    command
}

fn finished(package: &str, command: &mut Command) -> Output {
    command
        .output()
        .unwrap_or_else(|err| panic!("cannot run {:?}: {err}: install the package `{package}`", command.get_program()))
}

fn directory() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("initrd.img");
    fs::write(&path, OLD_TEXT).expect("the old file");
    (dir, path)
}

/// Asserts that the directory holds the file and nothing else.
fn assert_alone(path: &Path, context: &str) {
    let names: Vec<_> =
        fs::read_dir(path.parent().expect("a directory")).expect("listing").map(|e| e.expect("an entry").file_name()).collect();
    assert_eq!(names, [path.file_name().expect("a name")], "{context}");
}

fn is_old(path: &Path) -> bool {
    fs::read(path).expect("the file") == OLD_TEXT
}

fn is_new(path: &Path) -> bool {
    fs::read(path).expect("the file") == new_bytes(NEW_BYTES)
}

#[test]
fn a_file_replaces_the_old_one() {
    let (_dir, path) = directory();
    let delivered = deliver::file(&path, &new_bytes(NEW_BYTES), 0o600).expect("delivering");
    assert_eq!((delivered.size_bytes, delivered.mode), (NEW_BYTES as u64, 0o600));
    assert!(is_new(&path));
    assert_alone(&path, "after success");
}

#[test]
fn a03_a05_a06_every_step_that_fails_leaves_the_old_file() {
    let mut failed = 0;
    for (call, errors, most) in [
        ("write", &["ENOSPC", "EIO", "EDQUOT", "EFBIG"][..], 9),
        ("fsync", &["EIO", "ENOSPC"], 3),
        ("syncfs", &["EIO"], 2),
        ("rename,renameat,renameat2", &["EXDEV", "EACCES", "EIO", "EROFS"], 2),
        ("fchmod", &["EPERM", "EROFS"], 3),
        ("flock", &["ENOLCK", "EINTR"], 3),
        ("close", &["EIO"], 25),
        ("openat", &["EMFILE", "EACCES", "EINTR"], 30),
    ] {
        for error in errors {
            for nth in 1..=most {
                let (_dir, path) = directory();
                let inject = format!("inject={call}:error={error}:when={nth}");
                let context = format!("{call} {nth} fails with {error}");
                let trace = format!("trace={call}");
                let wrapper = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
                let output = finished("strace", &mut process(&wrapper, &path, NEW_BYTES));
                assert_alone(&path, &context);
                let text = String::from_utf8_lossy(&output.stderr);
                match output.status.code() {
                    Some(0) => assert!(is_new(&path), "{context}"),
                    Some(8) => {
                        failed += 1;
                        assert!(is_old(&path), "{context}");
                        assert!(
                            text.is_empty() || text.contains("the old image was kept") || text.contains("cannot write an image"),
                            "{text}"
                        );
                    }
                    Some(9) => assert!(is_new(&path) && matches!(call, "fsync" | "syncfs"), "{context}: {text}"),
                    // What this test's own start needs failed.
                    _ => assert!(is_old(&path) || is_new(&path), "{context}"),
                }
            }
        }
    }
    assert!(failed > 20, "the failures were hardly ever met: {failed}");
}

#[test]
fn a07_killed_at_any_moment_there_is_the_old_or_the_new_file() {
    let (_dir, path) = directory();
    let start = Instant::now();
    assert!(finished("", &mut process(&[], &path, NEW_BYTES)).status.success());
    let whole = start.elapsed();
    let (mut seed, mut old, mut new) = (20_261_120_u64, 0, 0);
    for _ in 0..200 * crate::program::effort() {
        fs::write(&path, OLD_TEXT).expect("the old file");
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let moment = whole.mul_f64((seed >> 40) as f64 / (1_u64 << 24) as f64 * 1.1);
        let mut child = process(&[], &path, NEW_BYTES).spawn().expect("starting");
        std::thread::sleep(moment);
        child.kill().expect("killing");
        child.wait().expect("waiting");
        match (is_old(&path), is_new(&path)) {
            (true, _) => old += 1,
            (_, true) => new += 1,
            _ => panic!("killed after {moment:?}: neither old nor new"),
        }
    }
    assert!(old > 10, "{old} old, {new} new of a run that takes {whole:?}");
    assert!(finished("", &mut process(&[], &path, NEW_BYTES)).status.success());
    assert_alone(&path, "the next run removes what killed ones left");
}

#[test]
fn a08_killed_at_each_system_call_there_is_the_old_or_the_new_file() {
    let (_dir, path) = directory();
    let (mut old, mut new) = (0, 0);
    for (call, most) in [
        ("write", 4),
        ("fsync", 2),
        ("rename,renameat,renameat2", 1),
        ("syncfs", 1),
        ("fchmod", 2),
        ("flock", 2),
        ("fadvise64", 1),
    ] {
        for nth in 1..=most {
            fs::write(&path, OLD_TEXT).expect("the old file");
            let inject = format!("inject={call}:signal=KILL:when={nth}");
            let trace = format!("trace={call}");
            let wrapper = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
            let output = finished("strace", &mut process(&wrapper, &path, NEW_BYTES));
            assert!(!output.status.success(), "{call} {nth} was never reached");
            match (is_old(&path), is_new(&path)) {
                (true, _) => old += 1,
                (_, true) => new += 1,
                _ => panic!("killed at {call} {nth}: neither old nor new"),
            }
        }
    }
    assert!(old > 5 && new > 1, "{old} old, {new} new");
    assert!(finished("", &mut process(&[], &path, NEW_BYTES)).status.success());
    assert_alone(&path, "the next run removes what killed ones left");
}

/// Runs a delivery to `/mnt`, a tmpfs of `size`, in a mount namespace of its own; returns what it says and what is there afterwards.
fn on_small_tmpfs(size: &str, old: &str, bytes: usize) -> (Option<i32>, String) {
    let mount = "mount -t tmpfs -o size=$0 none /mnt && cd /mnt && head -c \"$1\" /dev/zero > initrd.img && shift 1 && \"$@\" 2>&1; code=$?; \
                 ls -A /mnt; stat -c %s /mnt/initrd.img; exit $code";
    let wrapper = ["unshare", "-rm", "sh", "-c", mount, size, old];
    let output = finished("util-linux", &mut process(&wrapper, Path::new("/mnt/initrd.img"), bytes));
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a02_a16_a_full_file_system_is_seen_before_writing() {
    let (code, text) = on_small_tmpfs("4m", "2000000", 3_000_000);
    assert_eq!(code, Some(8), "{text}");
    assert!(text.contains("needs 3.0 MB") && text.contains("the old image was kept"), "{text}");
    assert!(text.ends_with("initrd.img\n2000000\n"), "{text}");
    assert!(!text.contains(".tmp"), "{text}");
    let (code, text) = on_small_tmpfs("6m", "2000000", 3_000_000);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.ends_with("initrd.img\n3000000\n"), "{text}");
}

#[test]
fn a17_space_that_vanishes_while_it_is_written_to_is_an_error() {
    for filler in [None, Some("/mnt/filler")] {
        let mount = "mount -t tmpfs -o size=8m none /mnt && printf old >/mnt/initrd.img && \"$@\" 2>&1; code=$?
                     ls -A /mnt; head -c 3 /mnt/initrd.img; exit $code";
        let wrapper = ["unshare", "-rm", "sh", "-c", mount, "sh"];
        let mut command = process(&wrapper, Path::new("/mnt/initrd.img"), NEW_BYTES);
        let output = finished("util-linux", command.envs(filler.map(|filler| (FILLER, filler))));
        let text = String::from_utf8_lossy(&output.stdout);
        if filler.is_none() {
            assert_eq!(output.status.code(), Some(0), "without a filler there is room: {text}");
            continue;
        }
        assert_eq!(output.status.code(), Some(8), "{text}");
        assert!(text.contains("No space left on device") && text.contains("the old image was kept"), "{text}");
        assert!(text.ends_with("filler\ninitrd.img\nold"), "{text}");
    }
}

#[test]
fn a04_a_limit_on_file_sizes_is_an_error_and_not_a_signal() {
    let (_dir, path) = directory();
    // The program ignores the signal; here the shell does it.
    let wrapper = ["sh", "-c", "trap '' XFSZ; ulimit -f 1000; exec \"$0\" \"$@\""];
    let output = finished("dash", &mut process(&wrapper, &path, NEW_BYTES));
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(8), "{text}");
    assert!(text.contains("the old image was kept") && text.contains("File too large"), "{text}");
    assert!(is_old(&path));
    assert_alone(&path, "after a failure");
}

#[test]
fn a11_orphans_go_and_files_of_live_runs_stay() {
    let (dir, path) = directory();
    let name = |name: &str| dir.path().join(name);
    let orphan = name(".initrd.img.abc123.tmp");
    let live = name(".initrd.img.def456.tmp");
    let others = [
        ".initrd.img.abc123",
        ".initrd.img.abc12.tmp",
        ".initrd.img-6.1.abc123.tmp",
        "initrd.img.abc123.tmp",
        ".other.abc123.tmp",
    ];
    fs::write(&orphan, "orphan").expect("a file");
    others.iter().for_each(|other| fs::write(name(other), "not ours").expect("a file"));
    fs::create_dir(name(".initrd.img.aaaaaa.tmp")).expect("a directory");
    symlink("/etc/passwd", name(".initrd.img.bbbbbb.tmp")).expect("a symlink");
    let held = File::create(&live).expect("a file");
    rustix::fs::flock(&held, FlockOperation::LockExclusive).expect("a lock");
    let delivered = deliver::file(&path, b"new", 0o600).expect("delivering");
    assert_eq!(delivered.removed, std::slice::from_ref(&orphan));
    assert!(!orphan.exists() && live.exists());
    assert!(others.iter().all(|other| name(other).exists()));
    assert!(name(".initrd.img.aaaaaa.tmp").is_dir() && name(".initrd.img.bbbbbb.tmp").is_symlink());
}

#[test]
fn a12_symlinks_are_followed_and_stay() {
    let (dir, path) = directory();
    let (link, far) = (dir.path().join("link"), dir.path().join("far"));
    fs::create_dir(&far).expect("a directory");
    fs::rename(&path, far.join("real")).expect("moving");
    symlink("far/real", &link).expect("a symlink");
    let delivered = deliver::file(&link, b"new", 0o600).expect("delivering");
    assert_eq!(delivered.path, fs::canonicalize(far.join("real")).expect("the file"));
    assert!(link.is_symlink());
    assert_eq!(fs::read(&link).expect("the file"), b"new");
    fs::remove_file(far.join("real")).expect("removing");
    let err = deliver::check_target(&link).expect_err("dangling");
    assert!(err.to_string().contains("symlink that leads nowhere"), "{err}");
    assert!(!far.join("real").exists());
}

#[test]
fn a13_a14_paths_that_cannot_be_files_are_refused_before_any_work() {
    let (dir, path) = directory();
    let name = |name: &str| dir.path().join(name);
    fs::create_dir(name("directory")).expect("a directory");
    rustix::fs::mknodat(CWD, name("fifo"), rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("a fifo");
    let _socket = std::os::unix::net::UnixListener::bind(name("socket")).expect("a socket");
    symlink("/dev/null", name("to a device")).expect("a symlink");
    symlink("loop", name("loop")).expect("a symlink");
    for (target, reason) in [
        (name("directory"), "it is a directory"),
        (name("fifo"), "it is a fifo"),
        (name("socket"), "it is a socket"),
        (name("to a device"), "it is a device"),
        (PathBuf::from("/dev/null"), "it is a device"),
        (name("loop"), "leads nowhere"),
        (name("directory/"), "it names no file"),
        (name("absent/initrd.img"), "its directory is not there"),
        (path.join("below a file"), "none"),
        (PathBuf::from("/"), "it names no file"),
        (name(".."), "it names no file"),
        (PathBuf::from(""), "it names no file"),
    ] {
        let err = deliver::check_target(&target).expect_err("refused");
        assert!(err.to_string().contains(reason), "{}: {err}", target.display());
        assert_eq!(err.kind().exit_code(), 8);
    }
    let target = deliver::check_target(&path).expect("a plain file");
    assert!(target.replaces());
    assert!(!deliver::check_target(&name("new")).expect("a new file").replaces());
}

#[test]
fn a14_a_read_only_file_system_is_refused_before_any_work() {
    let script = "mount -t tmpfs none /mnt && mount -o remount,ro /mnt && \"$0\" \"$@\"";
    let wrapper = ["unshare", "-rm", "sh", "-c", script];
    let output = finished("util-linux", &mut process(&wrapper, Path::new("/mnt/initrd.img"), 10));
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(8), "{text}");
    assert!(text.contains("its directory cannot be written to") && text.contains("Read-only file system"), "{text}");
}

#[test]
fn a18_two_runs_for_one_file_wait_for_each_other() {
    let (_dir, path) = directory();
    for _ in 0..5 {
        let mut runs: Vec<_> = (0..4).map(|_| process(&[], &path, NEW_BYTES).spawn().expect("starting")).collect();
        assert!(runs.iter_mut().all(|run| run.wait().expect("waiting").success()));
        assert!(is_new(&path));
        assert_alone(&path, "after four runs");
    }
    let held = File::open(path.parent().expect("a directory")).expect("the directory");
    rustix::fs::flock(&held, FlockOperation::LockExclusive).expect("a lock");
    let start = Instant::now();
    let run = process(&[], &path, NEW_BYTES).spawn().expect("starting");
    std::thread::sleep(Duration::from_millis(600));
    drop(held);
    assert!(run.wait_with_output().expect("waiting").status.success());
    assert!(start.elapsed() >= Duration::from_millis(600));
}

#[test]
fn a19_a_lock_ends_with_its_process_and_a_file_system_without_locks_is_no_hindrance() {
    let (dir, path) = directory();
    // What a killed run held: the directory's lock, and that of its temporary file.
    let orphan = dir.path().join(".initrd.img.abc123.tmp");
    fs::write(&orphan, "half").expect("a file");
    let hold = "exec 8<\"$1\" 9<\"$2\" && flock 8 && flock 9 && echo held && exec sleep 600";
    let mut holder = Command::new("sh");
    holder.args(["-c", hold, "sh"]).args([dir.path(), &orphan]).stdout(std::process::Stdio::piped());
    let mut holder = holder.spawn().expect("a shell");
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(holder.stdout.take().expect("a pipe")), &mut line).expect("a line");
    assert_eq!(line, "held\n", "flock, of util-linux");
    holder.kill().expect("killing");
    holder.wait().expect("waiting");
    let start = Instant::now();
    let delivered = deliver::file(&path, b"after a dead run", 0o600).expect("delivering");
    assert!(start.elapsed() < Duration::from_secs(20), "it waited {:?} for the dead", start.elapsed());
    assert_eq!(delivered.removed, [orphan]);
    // NFS without locks, and others: nobody waits, and nothing else is different.
    for error in ["ENOLCK", "EOPNOTSUPP", "ENOSYS", "EBADF"] {
        fs::write(&path, OLD_TEXT).expect("the old file");
        let inject = format!("inject=flock:error={error}");
        let wrapper = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=flock", "-e", &inject];
        let output = finished("strace", &mut process(&wrapper, &path, NEW_BYTES));
        assert!(output.status.success(), "{error}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(is_new(&path), "{error}");
        assert_alone(&path, error);
    }
}

#[test]
fn a20_abandoned_files_are_removed_and_no_more_are_made() {
    // In a process of its own, for it ends every later delivery of this one.
    let (dir, path) = directory();
    let target = dir.path().join("second");
    if std::env::var_os("ABANDON").is_none() {
        let this = std::env::current_exe().expect("this binary");
        let mut command = Command::new(this);
        command.args(["--exact", "deliver::a20_abandoned_files_are_removed_and_no_more_are_made"]).env("ABANDON", "1");
        let output = finished("", &mut command);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    let checked = deliver::check_target(&path).expect("a target");
    let err = deliver::deliver(&checked, 3, 0o600, &Silent, |out| {
        deliver::abandon_all();
        assert_alone(&path, "abandoned");
        out.write_all(b"new")
    })
    .expect_err("abandoned");
    assert!(matches!(err, Error::Step { old: Old::Kept, .. }), "{err}");
    assert!(is_old(&path));
    let err = deliver::file(&target, b"new", 0o600).expect_err("abandoned");
    assert!(matches!(err, Error::Step { old: Old::None, .. }), "{err}");
    assert_alone(&path, "abandoned");
}

#[test]
fn a22_what_comes_back_otherwise_than_written_is_refused() {
    let (_dir, path) = directory();
    let checked = deliver::check_target(&path).expect("a target");
    let err = deliver::deliver(&checked, 8, 0o600, &Silent, |out| {
        out.write_all(b"original")?;
        // The storage loses a bit: whoever owns the file can reach it by its temporary name.
        let names = fs::read_dir(path.parent().expect("a directory"))?;
        let temporary =
            names.map(|e| e.expect("an entry").path()).find(|path| path.to_string_lossy().ends_with(".tmp")).expect("there");
        // Behind the end too, for the first bytes are still in a buffer and will be written over this.
        fs::write(temporary, b"________corrupted")
    })
    .expect_err("damaged");
    assert!(matches!(err, Error::ReadBack { old: Old::Kept, .. }), "{err}");
    assert!(is_old(&path));
    assert_alone(&path, "after a failure");
}

#[test]
fn a23_a24_the_mode_is_ours_and_not_the_umasks() {
    let (_dir, path) = directory();
    for umask in ["000", "022", "077", "777"] {
        let script = format!("umask {umask}; exec \"$0\" \"$@\"");
        let output = finished("dash", &mut process(&["sh", "-c", &script], &path, 10));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(fs::metadata(&path).expect("the file").permissions().mode() & 0o7777, 0o600, "umask {umask}");
    }
    let target = deliver::check_target(&path).expect("a target");
    deliver::deliver(&target, 3, 0o644, &Silent, |out| {
        let names = fs::read_dir(path.parent().expect("a directory"))?;
        let temporary =
            names.map(|e| e.expect("an entry").path()).find(|path| path.to_string_lossy().ends_with(".tmp")).expect("there");
        assert_eq!(fs::metadata(temporary)?.permissions().mode() & 0o7777, 0o600, "while it is written");
        out.write_all(b"new")
    })
    .expect("delivering");
    assert_eq!(fs::metadata(&path).expect("the file").permissions().mode() & 0o7777, 0o644);
}

#[test]
fn a_writer_that_brings_too_little_or_fails_leaves_the_old_file() {
    let (_dir, path) = directory();
    let target = deliver::check_target(&path).expect("a target");
    for (size, text) in [(4, "3 bytes came instead of 4"), (2, "3 bytes came instead of 2")] {
        let err = deliver::deliver(&target, size, 0o600, &Silent, |out| out.write_all(b"new")).expect_err("another length");
        assert!(std::error::Error::source(&err).is_some_and(|source| source.to_string() == text), "{err:?}");
    }
    let err = deliver::deliver(&target, 3, 0o600, &Silent, |_| Err(std::io::Error::other("a defect"))).expect_err("it failed");
    assert!(matches!(err, Error::Step { action: "write", old: Old::Kept, .. }), "{err}");
    assert!(is_old(&path));
    assert_alone(&path, "after failures");
}

#[test]
fn a13_an_immutable_file_is_refused_before_any_work() {
    let (_dir, path) = directory();
    let change = |flag: &str| finished("e2fsprogs", Command::new("chattr").arg(flag).arg(&path));
    let changed = change("+i");
    if !changed.status.success() {
        println!(
            "NOT RUN: an immutable file: needs root and a file system with attributes: {}",
            String::from_utf8_lossy(&changed.stderr)
        );
        return;
    }
    let result = deliver::check_target(&path);
    assert!(change("-i").status.success(), "or the directory could not be removed");
    let err = result.expect_err("refused");
    assert!(err.to_string().contains("immutable"), "{err}");
    deliver::check_target(&path).expect("no longer immutable");
}
