//! Whole builds of trixie's image from real packages: the same bytes anywhere, with little of the host, and nothing lost on failure.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::program::{Ran, TRIXIE, program, program_cache, ran, trixie_image};

/// Builds offline, from what the first build has cached.
fn build(out: &Path, more: &[&str]) -> Ran {
    trixie_image();
    ran(program().args(TRIXIE).args(["--arch", "amd64", "--offline", "-o"]).arg(out).args(more))
}

fn manifest(image: &Path) -> Value {
    serde_json::from_str(&ran(program().args(["ls", "--manifest"]).arg(image)).good().out).expect("a manifest")
}

fn names_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn the_image_is_private_and_says_what_is_in_it() {
    let image = trixie_image();
    assert_eq!(fs::metadata(image).expect("the image").permissions().mode() & 0o777, 0o600);
    let manifest = manifest(image);
    assert_eq!(manifest["signatures"], "checked");
    assert_eq!(manifest["target"]["release"], "trixie");
    let packages = manifest["packages"].as_array().expect("packages");
    assert!(packages.len() > 80 && packages.iter().any(|package| package["name"] == "systemd"));
    assert!(packages.iter().all(|package| package["sha256"].as_str().is_some_and(|digest| digest.len() == 64)));
    let repositories = manifest["repositories"].as_array().expect("repositories");
    assert!(repositories.iter().all(|repository| repository["key"].as_str().is_some_and(|key| key.len() >= 40)));
    assert!(manifest["modules"].as_object().is_some_and(|modules| modules.len() > 650 && modules.contains_key("nvme")));
    assert!(manifest["finalizers"].as_array().is_some_and(|steps| steps.len() > 5));
    assert!(manifest["rules"].as_array().is_some_and(|rules| rules.len() > 50));
    let text = manifest.to_string();
    assert!(!text.contains("://") && !text.contains(program_cache().to_str().expect("text")), "nothing of this host is in it");
    let listed = ran(program().arg("ls").arg(image)).good().out;
    for path in ["init", "etc/initrd-release", "usr/lib/systemd/systemd", "usr/sbin/cryptsetup", "usr/bin/lvm", "usr/sbin/lvm"] {
        let there = listed.lines().any(|line| line == path);
        let may_lack = ["usr/sbin/cryptsetup", "usr/bin/lvm"].contains(&path);
        assert!(there || may_lack, "`{path}` is not in the image");
    }
    let segments: Value =
        serde_json::from_str(&ran(program().args(["--json", "ls", "--segments"]).arg(image)).good().out).expect("JSON");
    for segment in segments["segments"].as_array().expect("segments") {
        assert_eq!(segment["offset"].as_u64().map(|offset| offset % 4), Some(0), "{segment}");
    }
    let unpacked: u64 = fs_size(image);
    assert!(unpacked <= 45_000_000, "{unpacked} bytes of userland");
}

/// The unpacked size of the base segment's files.
fn fs_size(image: &Path) -> u64 {
    let json: Value = serde_json::from_str(&ran(program().args(["--json", "ls"]).arg(image)).good().out).expect("JSON");
    let entries = json["entries"].as_array().expect("entries");
    entries
        .iter()
        .filter(|entry| entry["segment"] == 1 && entry["type"] == "file")
        .filter_map(|entry| entry["size"].as_u64())
        .sum()
}

#[test]
fn f01_the_same_bytes_anywhere() {
    let first = fs::read(trixie_image()).expect("the image");
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).expect("a mode");
    let out = dir.path().join("second.img");
    let mut command = Command::new("sh");
    command.args(["-c", "umask 077; cd /; exec \"$@\"", "sh"]).arg(env!("CARGO_BIN_EXE_mkinitrd-pkg"));
    command.env("TZ", "Pacific/Kiritimati").env("LC_ALL", "tr_TR.UTF-8").env("HOME", "/nonexistent");
    command.args(["--config-root", "/nonexistent", "--cache"]).arg(program_cache());
    ran(command.args(TRIXIE).args(["--arch", "amd64", "--offline", "-j", "1", "-o"]).arg(&out)).good();
    assert!(
        first == fs::read(&out).expect("the second image"),
        "another zone, locale, umask, directory and thread count changed the image"
    );

    // Cold: nothing unpacked or packed before.
    let cold = dir.path().join("cache");
    ran(Command::new("cp").args(["-a", "--reflink=auto"]).arg(program_cache()).arg(&cold)).good();
    ran(program().args(["clean", "--payloads", "--cache"]).arg(&cold)).good();
    assert!(names_in(&cold.join("files")).len() > 60, "downloads stay");
    let out = dir.path().join("third.img");
    ran(program().arg("--cache").arg(&cold).args(TRIXIE).args(["--arch", "amd64", "--offline", "-j", "3", "-o"]).arg(&out))
        .good();
    assert!(first == fs::read(&out).expect("the third image"), "a cold build differs from a warm one");

    // An ordinary user, whose cache is not this one.
    ran(Command::new("chmod").args(["-R", "a+rwX"]).arg(&cold)).good();
    let out = dir.path().join("fourth.img");
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(copy_of_program(dir.path()));
    command.args(["--config-root", "/nonexistent", "--cache"]).arg(&cold).env("HOME", "/nonexistent");
    ran(command.args(TRIXIE).args(["--arch", "amd64", "--offline", "-o"]).arg(&out)).good();
    assert!(first == fs::read(&out).expect("the fourth image"), "another user makes another image");
}

/// The build directory may be closed to other users.
fn copy_of_program(dir: &Path) -> std::path::PathBuf {
    let path = dir.join("mkinitrd-pkg");
    fs::copy(env!("CARGO_BIN_EXE_mkinitrd-pkg"), &path).expect("a copy");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    path
}

#[test]
fn f02_source_date_epoch_is_honoured_or_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    trixie_image();
    let out = dir.path().join("x.img");
    let run = |epoch: &str| {
        ran(program().args(TRIXIE).args(["--arch", "amd64", "--offline", "-o"]).arg(&out).env("SOURCE_DATE_EPOCH", epoch))
    };
    run("yesterday").bad(2, &["SOURCE_DATE_EPOCH", "yesterday"]);
    run("1000000000").good();
    let json: Value = serde_json::from_str(&ran(program().args(["--json", "ls"]).arg(&out)).good().out).expect("JSON");
    let newest = json["entries"].as_array().expect("entries").iter().filter_map(|entry| entry["mtime"].as_u64()).max();
    assert_eq!(newest, Some(1_000_000_000));
}

#[test]
fn b15_a_bare_environment_is_enough() {
    trixie_image();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let bin = copy_of_program(dir.path());
    // A mount namespace: /usr read-only, /tmp noexec on a tmpfs without room, the output on a tmpfs (no user xattrs).
    let script = r#"
        set -eu
        mount --bind /usr /usr && mount -o remount,bind,ro /usr
        mkdir -p "$1/out" && mount -t tmpfs -o size=128m,noexec,nosuid,nodev tmpfs "$1/out"
        mount -t tmpfs -o size=1m,noexec,nosuid,nodev tmpfs /mnt
        if touch /usr/x 2>/dev/null; then echo "/usr can be written" >&2; exit 99; fi
        cp "$2" "$1/out/prog" && ! "$1/out/prog" --version 2>/dev/null
        shift 2
        env -i TMPDIR=/mnt "$@"
    "#;
    let out = dir.path().join("out/x.img");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "--propagation", "private", "sh", "-c", script, "sh"]).arg(dir.path()).arg(&bin).arg(&bin);
    command.args(["--config-root", "/nonexistent", "--cache"]).arg(program_cache());
    command.args(TRIXIE).args(["--arch", "amd64", "--offline", "-o"]).arg(&out);
    let answer = ran(&mut command).good();
    assert!(answer.err.contains("deliver"), "{}", answer.err);
}

#[test]
fn a01_a_full_disk_keeps_the_old_image() {
    trixie_image();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let script = r#"
        set -eu
        mount -t tmpfs -o size=8m tmpfs "$1"
        echo old >"$1/x.img"; touch -d @1 "$1/x.img"
        dir=$1; shift
        code=0; "$@" -o "$dir/x.img" || code=$?
        test "$(cat "$dir/x.img") $(stat -c %Y "$dir/x.img") $(ls -A "$dir")" = "old 1 x.img" || { echo "the old image was not kept alone" >&2; exit 99; }
        exit $code
    "#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]).arg(dir.path());
    command.arg(env!("CARGO_BIN_EXE_mkinitrd-pkg")).args(["--config-root", "/nonexistent", "--cache"]).arg(program_cache());
    ran(command.args(TRIXIE).args(["--arch", "amd64", "--offline"])).bad(8, &["x.img", "free", "the old image was kept"]);
}

#[test]
fn e08_e09_damaged_packages_are_never_used() {
    trixie_image();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cache = dir.path().join("cache");
    ran(Command::new("cp").args(["-a", "--reflink=auto"]).arg(program_cache()).arg(&cache)).good();
    ran(program().args(["clean", "--payloads", "--cache"]).arg(&cache)).good();
    let out = dir.path().join("x.img");
    fs::write(&out, "old").expect("writing");
    // One of the large files is the kernel package, whatever its digest; the cache may hold several releases' kernels.
    let files = names_in(&cache.join("files")).into_iter().map(|name| cache.join("files").join(name));
    let victims: Vec<_> = files.filter(|path| fs::metadata(path).expect("a file").len() > 20_000_000).collect();
    assert!(!victims.is_empty(), "no kernel package is in the cache");
    for damage in ["flip", "truncate"] {
        for victim in &victims {
            let mut bytes = fs::read(victim).expect("reading");
            let middle = bytes.len() / 2;
            match damage {
                "flip" => bytes[middle] ^= 1,
                _ => bytes.truncate(middle),
            }
            fs::write(victim, &bytes).expect("writing");
        }
        // Offline and damaged: it cannot be had. The damaged file is not believed because of its name.
        let answer =
            ran(program().arg("--cache").arg(&cache).args(TRIXIE).args(["--arch", "amd64", "--offline", "-o"]).arg(&out));
        assert!([5, 6].contains(&answer.code), "{damage}: {} {}", answer.code, answer.err);
        assert_eq!(fs::read(&out).expect("the old image"), b"old");
        assert_eq!(names_in(dir.path()), ["cache", "x.img"]);
    }
}

#[test]
fn what_a_drop_in_breaks_is_told() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("x.toml");
    let out = dir.path().join("x.img");
    let run = |text: &str| {
        fs::write(&file, text).expect("writing");
        trixie_image();
        ran(program().arg("--config").arg(&file).args(TRIXIE).args(["--arch", "amd64", "--offline", "-o"]).arg(&out))
    };
    run("prune.add = ['-usr/lib/*/libcrypto.so.3']\n").bad(3, &["libcrypto.so.3", &format!("{}:1", file.display())]);
    run("prune.add = ['-usr/bin/systemd-run']\n").bad(3, &["systemd-run"]);
    run("packages.add = ['plymouth']\n").bad(4, &["initrd generator"]);
    run("finalize.add = ['polish']\n").bad(3, &["no finalizer `polish`"]);
    run("finalize.remove = ['initrd-release']\n").bad(7, &["would not boot", "initrd-release"]);
    let nothing = ran(program().args(TRIXIE).args(["--arch", "amd64", "--offline", "--module", "nvem", "-o"]).arg(&out));
    nothing.bad(4, &["nvem", "nvme"]);
    assert!(!out.exists());
}

#[test]
fn what_the_user_adds_is_there() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let root = dir.path().join("root");
    fs::create_dir_all(root.join("etc/mkinitrd-pkg/files/etc")).expect("a directory");
    fs::write(root.join("etc/mkinitrd-pkg/files/etc/motd"), "overlay\n").expect("writing");
    fs::write(root.join("etc/mkinitrd-pkg/x.toml"), "prune.add = ['-usr/bin/less']\nwith.remove = ['fido2']\n").expect("writing");
    fs::write(dir.path().join("key"), "secret").expect("writing");
    fs::set_permissions(dir.path().join("key"), fs::Permissions::from_mode(0o600)).expect("a mode");
    let out = dir.path().join("x.img");
    let beside = dir.path().join("x.json");
    trixie_image();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mkinitrd-pkg"));
    command.arg("--config-root").arg(&root).arg("--cache").arg(program_cache());
    command.args(TRIXIE).args(["--arch", "amd64", "--offline", "--module", "dummy", "--compress", "zstd:1", "-o"]).arg(&out);
    command.arg("--include").arg(format!("{}:/etc/key", dir.path().join("key").display())).arg("--manifest").arg(&beside);
    ran(&mut command).good();
    let listed = ran(program().args(["ls", "-l"]).arg(&out)).good().out;
    let line = |path: &str| listed.lines().find(|line| line.ends_with(&format!(" {path}"))).map(str::to_owned);
    assert!(line("etc/motd").is_some_and(|line| line.starts_with("-0644")), "{:?}", line("etc/motd"));
    assert!(line("etc/key").is_some_and(|line| line.starts_with("-0600")), "{:?}", line("etc/key"));
    assert_eq!((line("usr/bin/less"), listed.contains("libfido2.so.1")), (None, false));
    let manifest: Value = serde_json::from_slice(&fs::read(&beside).expect("the manifest")).expect("JSON");
    assert!(
        manifest["modules"]["dummy"]["reason"].as_str().is_some_and(|reason| reason.contains("command line")),
        "{}",
        manifest["modules"]["dummy"]
    );
    let dropped = manifest["dropped"].as_array().expect("what was left out");
    let less = dropped.iter().find(|entry| entry["path"] == "/usr/bin/less").expect("less was left out");
    assert!(less["rule"].as_str().is_some_and(|rule| rule.contains("x.toml:1")) && less["package"] == "less", "{less}");
}

#[test]
fn a_lockfile_repeats_a_build() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let lock = dir.path().join("lock.json");
    trixie_image();
    let target = ["--distro", "debian", "--release", "trixie", "--arch", "amd64", "--offline"];
    ran(program().arg("plan").args(target).arg("--lock").arg(&lock)).good();
    let out = dir.path().join("x.img");
    build(&out, &["--locked", lock.to_str().expect("text")]).good();
    assert!(fs::read(trixie_image()).expect("reading") == fs::read(&out).expect("reading"), "the locked build differs");
    let text = fs::read_to_string(&lock).expect("the lockfile").replacen("\"version\": \"", "\"version\": \"9", 1);
    fs::write(&lock, text).expect("writing");
    build(&out, &["--locked", lock.to_str().expect("text")]).bad(4, &["is locked but no repository has it"]);
}

#[test]
fn stages_can_be_looked_at() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (stage, there, gone) in [
        ("unpack", "usr/share/doc/systemd/copyright", "init"),
        ("prune", "usr/lib/systemd/systemd", "usr/share/doc/systemd/copyright"),
        ("finalize", "init", "usr/share/doc/systemd/copyright"),
    ] {
        let root = dir.path().join(stage);
        trixie_image();
        let mut command = program();
        command.args(TRIXIE).args(["--arch", "amd64", "--offline", "--stop-after", stage, "--root"]);
        ran(command.arg(&root)).good();
        let exists = |path: &str| fs::symlink_metadata(root.join(path)).is_ok();
        assert!(exists(there) && !exists(gone), "{stage}");
    }
    let unpacked = dir.path().join("image");
    ran(program().arg("unpack").arg(trixie_image()).arg(&unpacked)).good();
    let finalized = ran(Command::new("diff").args(["-r", "--no-dereference"]).arg(dir.path().join("finalize")).arg(&unpacked));
    let only: Vec<&str> = finalized.out.lines().filter(|line| !line.contains("mkinitrd-pkg")).collect();
    assert_eq!(only, Vec::<&str>::new(), "the image is not the finalized tree");
    ran(program().arg("unpack").arg(trixie_image()).arg(&unpacked)).bad(8, &["not empty"]);
}

#[test]
fn a20_a_signal_ends_the_build_and_leaves_nothing() {
    use std::io::{BufRead, BufReader};
    trixie_image();
    for (signal, number) in [("TERM", 15), ("INT", 2), ("HUP", 1)] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let out = dir.path().join("x.img");
        fs::write(&out, "old").expect("writing");
        let mut command = program();
        // The highest level takes long enough for the signal to come while it works.
        command.args(TRIXIE).args(["--arch", "amd64", "--offline", "--compress", "zstd:22", "-o"]).arg(&out);
        let mut child = command.stderr(std::process::Stdio::piped()).spawn().expect("the program");
        let lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let seen: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.starts_with("finalize")).collect();
        assert!(seen.iter().any(|line| line.starts_with("unpack")), "{seen:?}");
        ran(Command::new("kill").arg(format!("-{signal}")).arg(child.id().to_string())).good();
        assert_eq!(child.wait().expect("its end").code(), Some(128 + number), "{signal}");
        assert_eq!(names_in(dir.path()), ["x.img"], "{signal}");
        assert_eq!(fs::read(&out).expect("the old image"), b"old");
    }
}

#[test]
fn an_unknown_kernel_is_told() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let out = dir.path().join("x.img");
    build(&out, &["--kernel-package", "linux-image-amd63"])
        .bad(4, &["no package provides `linux-image-amd63`", "linux-image-amd64"]);
    build(&out, &["--modules-dir", "/nonexistent/6.1.0"]).bad(5, &["/nonexistent/6.1.0"]);
    build(&out, &["--modules-dir", dir.path().to_str().expect("text"), "--kernel-version", "../x"]).bad(2, &["`../x`"]);
    assert!(names_in(dir.path()).is_empty());
}
