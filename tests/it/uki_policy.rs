//! Profiles of a unified kernel image, and signatures of what register 11 of a TPM will be: the same bytes as ukify's with systemd-measure.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use mkinitrd_pkg::base::error::{Diagnostic, ErrorKind};
use mkinitrd_pkg::format::pe::Pe;
use mkinitrd_pkg::host::policy::{self, PolicyKey};
use mkinitrd_pkg::report::Silent;
use mkinitrd_pkg::uki::{self, Parts, Profile};

use crate::kernels::{self, package, run, unpacked};
use crate::program::{TRIXIE, program, ran};
use crate::uki::{OS_RELEASE, PYTHON, initrd, kernel, make, stub, trixie_stub, ukify};

/// What systemd-measure of trixie is linked with or loads.
const PACKAGES: &[&str] = &[
    "systemd",
    "libsystemd-shared",
    "libc6",
    "libssl3t64",
    "libacl1",
    "libblkid1",
    "libcap2",
    "libcrypt1",
    "libmount1",
    "libpam0g",
    "libaudit1",
    "libcap-ng0",
    "libseccomp2",
    "libselinux1",
    "libpcre2-8-0",
    "libtss2-esys-3.0.2-0t64",
    "libtss2-sys1t64",
    "libtss2-mu-4.0.1-0t64",
    "libtss2-rc0t64",
    "libzstd1",
    "zlib1g",
];

/// Writes a program into `dir` that runs systemd-measure of trixie, with trixie's libraries; returns the option that has ukify take it.
fn tools(dir: &Path) -> String {
    let packages = || PACKAGES.iter().map(|name| package("trixie", "amd64", &|it| it == *name)).collect();
    let root = unpacked("systemd-measure", packages);
    let lib = root.join("usr/lib/x86_64-linux-gnu");
    let text = format!(
        "#!/bin/sh\nexec '{0}/ld-linux-x86-64.so.2' --library-path '{0}:{0}/systemd' '{1}/usr/lib/systemd/systemd-measure' \"$@\"\n",
        lib.display(),
        root.display()
    );
    let path = dir.join("systemd-measure");
    fs::write(&path, text).expect("writing");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    format!("--tools={}", dir.display())
}

/// A key, made for this run: both halves.
fn key_pair(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
    let (private, public) = (dir.join(format!("{name}.key")), dir.join(format!("{name}.pub")));
    let words = [private.to_str().expect("UTF-8"), public.to_str().expect("UTF-8")];
    run("openssl", "openssl", &["genrsa", "-out", words[0], "2048"]);
    run("openssl", "openssl", &["pkey", "-in", words[0], "-pubout", "-out", words[1]]);
    (private, public)
}

fn policy_key(private: Option<&Path>, public: Option<&Path>) -> PolicyKey {
    policy::key(private, public).expect("openssl").expect("a key")
}

/// Has ukify make the file of a profile.
fn profile_of_ukify(profile: &Profile, command_line: &str, dir: &Path) -> String {
    let ukify = unpacked("ukify", || vec![package("trixie", "amd64", &|name| name == "systemd-ukify")]).join("usr/bin/ukify");
    let out = dir.join(format!("{}.profile", profile.id));
    let (text, line) = (format!("ID={0}\nTITLE={0}", profile.id), format!("{command_line} {}", profile.append));
    let mut command = Command::new(PYTHON);
    command.arg(ukify).current_dir(dir).args([
        "build",
        "--stub",
        "addon",
        "--profile",
        &text,
        "--cmdline",
        &line,
        "--os-release",
        "",
    ]);
    let output = command.arg("--output").arg(&out).output().expect("python3");
    assert!(output.status.success(), "ukify: {}", String::from_utf8_lossy(&output.stderr));
    format!("--join-profile={}", out.display())
}

#[test]
fn profiles_and_signatures_are_those_of_ukify() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (private, public) = key_pair(dir.path(), "pcr");
    let key = policy_key(Some(&private), Some(&public));
    let tools = tools(dir.path());
    let profile = |id: &str, append: &str| Profile { id: id.to_owned(), append: append.to_owned() };
    let profiles = [profile("rescue", "systemd.unit=rescue.target"), profile("quiet", "quiet splash")];
    let (stub, (kernel, version), initrd) = (trixie_stub(), kernel(kernels::TRIXIE), initrd());
    let plain = Parts {
        stub: &stub,
        kernel: &kernel,
        version: &version,
        os_release: OS_RELEASE,
        command_line: "root=LABEL=root",
        initrd: &initrd,
        microcode_bytes: 4_096,
        ..Parts::default()
    };
    fs::write(dir.path().join("addon"), crate::uki::stub("trixie", "amd64", "addonx64.efi.stub")).expect("writing");
    let joined: Vec<String> = profiles.iter().map(|it| profile_of_ukify(it, plain.command_line, dir.path())).collect();
    let joined: Vec<&str> = joined.iter().map(String::as_str).collect();
    let signed = ["--pcr-private-key", private.to_str().expect("UTF-8"), "--pcr-public-key", public.to_str().expect("UTF-8")];
    let signed = [&signed[..], &["--pcr-banks=sha256", &tools]].concat();
    for (parts, more) in [
        (Parts { profiles: &profiles, ..plain }, joined.clone()),
        (Parts { policy: Some(&key), ..plain }, signed.clone()),
        (Parts { profiles: &profiles, policy: Some(&key), ..plain }, [joined, signed].concat()),
    ] {
        let (ours, theirs) = (make(&parts), ukify(&parts, dir.path(), &more));
        let differs = ours.iter().zip(&theirs).position(|(ours, theirs)| ours != theirs);
        let names = |image: &[u8]| {
            let pe = Pe::parse(image).expect("a PE file");
            pe.sections().iter().map(|it| format!("{} {}", it.name, it.virtual_size)).collect::<Vec<_>>()
        };
        assert!(ours == theirs, "byte {differs:?} differs: {:?}, ukify's {:?}", names(&ours), names(&theirs));
    }
}

#[test]
fn a_signature_by_another_key_an_old_stub_and_what_is_no_key_are_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (private, public) = key_pair(dir.path(), "ours");
    let (_, other) = key_pair(dir.path(), "other");
    let stub_of_now = trixie_stub();
    let parts = Parts {
        stub: &stub_of_now,
        kernel: &stub_of_now,
        version: "6.1",
        os_release: OS_RELEASE,
        command_line: "x",
        initrd: b"i",
        ..Parts::default()
    };
    let made = |parts: &Parts<'_>| uki::uki(parts, &Silent);
    // The public half is derived, or stands alone.
    let derived = policy_key(Some(&private), None);
    assert_eq!(derived.public_pem(), fs::read_to_string(&public).expect("the key"));
    let image = made(&Parts { policy: Some(&derived), ..parts }).expect("signed");
    let sections = |image: &[u8]| {
        let pe = Pe::parse(image).expect("a PE file");
        (pe.section(".pcrpkey").is_some(), pe.section(".pcrsig").is_some())
    };
    assert_eq!(sections(&image), (true, true));
    let alone = policy_key(None, Some(&public));
    assert_eq!(sections(&made(&Parts { policy: Some(&alone), ..parts }).expect("a key and no signature")), (true, false));
    assert_eq!(sections(&make(&parts)), (false, false));

    let mixed = policy_key(Some(&private), Some(&other));
    let err = made(&Parts { policy: Some(&mixed), ..parts }).expect_err("halves of two keys");
    assert_eq!(err.to_string(), "the signature for register 11 is not by the public key that goes into the image");
    assert_eq!(err.kind(), ErrorKind::Host);

    let old = stub("bookworm", "amd64", "linuxx64.efi.stub");
    let profiles = [Profile { id: "rescue".to_owned(), append: "single".to_owned() }];
    let err = made(&Parts { stub: &old, policy: Some(&derived), ..parts }).expect_err("an old stub");
    assert_eq!(
        err.to_string(),
        "the UEFI stub is of systemd 252, and policies for register 11 need that of systemd 255 or newer"
    );
    let err = made(&Parts { stub: &old, profiles: &profiles, ..parts }).expect_err("an old stub");
    assert_eq!(err.to_string(), "the UEFI stub is of systemd 252, and profiles need that of systemd 257 or newer");

    let text = dir.path().join("no.key");
    fs::write(&text, "no key").expect("writing");
    let err = policy::key(Some(&text), None).expect_err("no key");
    assert!(err.to_string().contains("`openssl` failed with exit status: 1: "), "{err}");
    let no_key = policy_key(Some(&private), Some(&text));
    let err = made(&Parts { policy: Some(&no_key), ..parts }).expect_err("no public key");
    assert_eq!(err.to_string(), "the public key for register 11 cannot be used");
    let absent = policy::key(Some(&dir.path().join("absent")), None).expect_err("no file");
    assert_eq!(absent.kind(), ErrorKind::Unavailable);
}

#[test]
fn what_is_typed_wrong_is_told_before_any_work() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let out = dir.path().join("image.efi");
    let build = |more: &[&str]| {
        let mut command = program();
        ran(command.args(TRIXIE).args(["--arch", "amd64", "-o"]).arg(&out).args(more))
    };
    for (code, more, says) in [
        (2, &["--uki-profile", "rescue: single"][..], "`--uki-profile` is for a unified kernel image only"),
        (2, &["--pcr-private-key", "x"], "`--pcr-private-key` is for a unified kernel image only"),
        (
            2,
            &["--format", "uki", "--cmdline", "x", "--uki-profile", "rescue"],
            "`rescue` is no profile of a unified kernel image",
        ),
        (
            2,
            &["--format", "uki", "--cmdline", "x", "--uki-profile", "a b: c"],
            "`a b: c` is no profile of a unified kernel image",
        ),
        (2, &["--format", "uki", "--cmdline", "x", "--uki-profile", "main: single"], "there are two profiles `main`"),
        (5, &["--format", "uki", "--cmdline", "x", "--pcr-private-key", "/absent"], "cannot open `/absent`"),
    ] {
        build(more).bad(code, &[says]);
        assert!(!out.exists(), "{more:?}");
    }
}
