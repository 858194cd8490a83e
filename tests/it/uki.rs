//! Unified kernel images: the same bytes as ukify's, read alike by other tools, signed by the real program and by liars.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use mkinitrd_pkg::base::error::{Diagnostic, ErrorKind};
use mkinitrd_pkg::format::compress::{Compression, encode};
use mkinitrd_pkg::format::pe::Pe;
use mkinitrd_pkg::host::sign::{self, Signer, Signing, Tool};
use mkinitrd_pkg::report::Silent;
use mkinitrd_pkg::uki::{self, Parts};
use serde_json::Value;

use crate::kernels::{self, Kernel, package, run, unpacked};
use crate::program::{TRIXIE, program, ran, trixie_image};

/// The one that has the packaged `pefile`, whatever else is called so.
pub const PYTHON: &str = "/usr/bin/python3";
pub const OS_RELEASE: &[u8] = b"ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n";

pub fn stub(suite: &'static str, arch: &'static str, name: &str) -> Vec<u8> {
    let root = unpacked(&format!("stub-{suite}-{arch}"), || vec![package(suite, arch, &|name| name == "systemd-boot-efi")]);
    fs::read(root.join("usr/lib/systemd/boot/efi").join(name)).expect("the stub")
}

pub fn trixie_stub() -> Vec<u8> {
    stub("trixie", "amd64", "linuxx64.efi.stub")
}

pub fn kernel(kernel: Kernel) -> (Vec<u8>, String) {
    let (_, version) = kernel.dir();
    (fs::read(kernel.root().join("boot").join(format!("vmlinuz-{version}"))).expect("the kernel"), version)
}

/// Not compressible, and not a multiple of anything.
pub fn initrd() -> Vec<u8> {
    let mut seed = 20_261_121_u64;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as u8
    };
    (0..100_003).map(|_| next()).collect()
}

pub fn make(parts: &Parts<'_>) -> Vec<u8> {
    uki::uki(parts, &Silent).expect("a unified kernel image")
}

/// What ukify 257 makes of the same parts.
pub fn ukify(parts: &Parts<'_>, dir: &Path, more: &[&str]) -> Vec<u8> {
    let root = unpacked("ukify", || vec![package("trixie", "amd64", &|name| name == "systemd-ukify")]);
    let (microcode, initrd) = parts.initrd.split_at(parts.microcode_bytes);
    for (name, bytes) in [
        ("stub", parts.stub),
        ("linux", parts.kernel),
        ("initrd", initrd),
        ("microcode", microcode),
        ("os-release", parts.os_release),
    ] {
        fs::write(dir.join(name), bytes).expect("writing");
    }
    let mut command = Command::new(PYTHON);
    command.arg(root.join("usr/bin/ukify")).current_dir(dir).args(["build", "--stub", "stub", "--linux", "linux"]);
    command.args(["--initrd", "initrd", "--os-release", "@os-release", "--uname", parts.version, "--output", "ukify.efi"]);
    command.args(["--cmdline", parts.command_line]).args(more);
    if !microcode.is_empty() {
        command.args(["--microcode", "microcode"]);
    }
    let output = command.output().expect("python3 and python3-pefile are installed");
    assert!(output.status.success(), "ukify: {}", String::from_utf8_lossy(&output.stderr));
    fs::read(dir.join("ukify.efi")).expect("ukify's image")
}

#[test]
fn the_bytes_are_those_of_ukify() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let initrd = initrd();
    for (of, name) in [(kernels::TRIXIE, "linuxx64.efi.stub"), (kernels::TRIXIE_ARM64, "linuxaa64.efi.stub")] {
        let (stub, (kernel, version)) = (stub(of.suite, of.arch, name), kernel(of));
        let plain = Parts {
            stub: &stub,
            kernel: &kernel,
            version: &version,
            os_release: OS_RELEASE,
            command_line: "root=LABEL=root quiet",
            initrd: &initrd,
            ..Parts::default()
        };
        for parts in [plain, Parts { command_line: "", ..plain }, Parts { microcode_bytes: 4_096, ..plain }] {
            let (ours, theirs) = (make(&parts), ukify(&parts, dir.path(), &[]));
            let differs = ours.iter().zip(&theirs).position(|(ours, theirs)| ours != theirs);
            let what = format!("{version}, {} bytes of microcode: byte {differs:?} differs", parts.microcode_bytes);
            assert!(ours == theirs, "{what}; {} bytes, ukify's has {}", ours.len(), theirs.len());
        }
    }
}

/// What `pefile` reads: an independent reader of the format, the one that ukify uses.
fn read_by_pefile(image: &Path) -> Value {
    let script = "import json, pefile, sys\n\
        pe = pefile.PE(sys.argv[1], fast_load=True)\n\
        name = lambda it: it.Name.rstrip(b'\\0').decode()\n\
        sha = lambda it: __import__('hashlib').sha256(it.get_data(length=it.Misc_VirtualSize)).hexdigest()\n\
        one = lambda it: dict(name=name(it), at=it.VirtualAddress, size=it.Misc_VirtualSize, sha256=sha(it))\n\
        print(json.dumps(dict(sections=[one(it) for it in pe.sections], size=pe.OPTIONAL_HEADER.SizeOfImage)))";
    let said = run(PYTHON, "python3-pefile", &["-c", script, image.to_str().expect("UTF-8")]);
    serde_json::from_str(&said).expect("JSON")
}

/// Its firmware code would run a kernel in place, and knows no section for microcode.
#[test]
fn an_older_stub_gets_the_kernel_last_and_microcode_before_the_initrd() {
    let (stub, (kernel, version)) = (stub("bookworm", "amd64", "linuxx64.efi.stub"), kernel(kernels::BOOKWORM));
    let initrd = initrd();
    let image = make(&Parts {
        stub: &stub,
        kernel: &kernel,
        version: &version,
        os_release: OS_RELEASE,
        command_line: "quiet",
        initrd: &initrd,
        microcode_bytes: 4_096,
        ..Parts::default()
    });
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("old.efi");
    fs::write(&path, &image).expect("writing");
    let read = read_by_pefile(&path);
    let sections = read["sections"].as_array().expect("sections");
    let names: Vec<_> = sections.iter().filter_map(|section| section["name"].as_str()).collect();
    assert_eq!(names[names.len() - 5..], [".osrel", ".cmdline", ".uname", ".initrd", ".linux"]);
    let digest = |name: &str| sections.iter().find(|section| section["name"] == name).map(|section| section["sha256"].clone());
    let wanted = |bytes: &[u8]| Some(Value::from(mkinitrd_pkg::base::digest::Sha256::of(bytes).to_string()));
    assert_eq!((digest(".initrd"), digest(".linux")), (wanted(&initrd), wanted(&kernel)));
    // Nothing lies over anything else, and what is ours begins at a page.
    let mut end = 0;
    for section in sections {
        let (at, size) = (section["at"].as_u64().expect("a place"), section["size"].as_u64().expect("a size"));
        assert!(at >= end, "{section} begins before {end}");
        end = at + size;
    }
    assert!(sections[names.len() - 5..].iter().all(|section| section["at"].as_u64().is_some_and(|at| at % 4096 == 0)));
    assert!(read["size"].as_u64().is_some_and(|size| size >= end && size - end < 4096), "{read}");
    let listed = run("objdump", "binutils", &["-h", path.to_str().expect("UTF-8")]);
    assert!(listed.contains(".linux") && listed.contains("pei-x86-64"), "{listed}");
}

#[test]
fn kernels_that_uefi_cannot_start_are_refused_in_one_sentence() {
    let stub = trixie_stub();
    let initrd = initrd();
    let error = |kernel: &[u8]| {
        let parts = Parts {
            stub: &stub,
            kernel,
            version: "6.1",
            os_release: OS_RELEASE,
            command_line: "",
            initrd: &initrd,
            ..Parts::default()
        };
        uki::uki(&parts, &Silent).expect_err("refused")
    };
    let arm64 = kernel(kernels::TRIXIE_ARM64).0;
    let err = error(&arm64);
    assert_eq!(err.to_string(), "the kernel `6.1` is for aarch64, and the UEFI stub for x86_64");
    assert_eq!(err.kind(), ErrorKind::Host);
    let err = error(b"\x7fELF without a stub of its own");
    assert_eq!(err.to_string(), "the kernel `6.1` cannot be started by UEFI: it has no EFI stub (`CONFIG_EFI_STUB`)");
    assert_eq!(err.hints(), ["name the kernel's image with `--kernel-image FILE`"]);
    let err = error(&[&[0x1f, 0x8b][..], &[7; 90]].concat());
    assert_eq!(err.to_string(), "the kernel `6.1` cannot be unpacked");
}

#[test]
fn a_compressed_kernel_becomes_what_uefi_can_start() {
    let stub = stub("trixie", "arm64", "linuxaa64.efi.stub");
    let (kernel, version) = kernel(kernels::TRIXIE_ARM64);
    let packed = encode::compress("gzip:1".parse::<Compression>().expect("a compression"), &kernel, 1).expect("gzip");
    let parts = Parts {
        stub: &stub,
        kernel: &kernel,
        version: &version,
        os_release: OS_RELEASE,
        command_line: "",
        initrd: b"070701",
        ..Parts::default()
    };
    assert!(make(&parts) == make(&Parts { kernel: &packed, ..parts }), "a gzip file of the kernel counts as the kernel");
}

#[test]
fn f09_no_damaged_stub_or_kernel_makes_it_panic() {
    let stub = trixie_stub();
    let mut seed = 20_261_121_u64;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize
    };
    let (mut made, mut refused) = (0, 0);
    for _ in 0..1_500 * crate::program::effort() {
        let mut damaged = stub.clone();
        for _ in 0..1 + next() % 3 {
            let at = next() % if next() % 4 == 0 { stub.len() } else { 0x300 };
            damaged[at] = [0, 1, 0x7f, 0x80, 0xff, next() as u8][next() % 6];
        }
        damaged.truncate(if next() % 4 == 0 { next() % stub.len() } else { stub.len() });
        let (stub, kernel) = if next() % 2 == 0 { (&damaged, &stub) } else { (&stub, &damaged) };
        let parts =
            Parts { stub, kernel, version: "6.1", os_release: OS_RELEASE, command_line: "x", initrd: b"i", ..Parts::default() };
        match uki::uki(&parts, &Silent) {
            Ok(image) => {
                assert_eq!(Pe::parse(&image).expect("it can be read back").section(".initrd"), Some(&b"i"[..]));
                made += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(made > 100 && refused > 100, "{made} made, {refused} refused: the damage is not of both kinds");
}

/// A key with its certificate, made for this run.
fn key_pair(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
    let (key, certificate) = (dir.join(format!("{name}.key")), dir.join(format!("{name}.pem")));
    let paths = ["-keyout", key.to_str().expect("UTF-8"), "-out", certificate.to_str().expect("UTF-8")];
    let fixed = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", "/CN=test/"];
    run("openssl", "openssl", &[&fixed[..], &paths[..]].concat());
    (key, certificate)
}

fn small_image() -> Vec<u8> {
    let stub = trixie_stub();
    // The stub is a PE file for the same machine, and small.
    let parts = Parts {
        stub: &stub,
        kernel: &stub,
        version: "6.1",
        os_release: OS_RELEASE,
        command_line: "x",
        initrd: b"i",
        ..Parts::default()
    };
    make(&parts)
}

#[test]
fn a_signature_is_one_for_sbverify() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (key, certificate) = key_pair(dir.path(), "ours");
    let (_, other) = key_pair(dir.path(), "other");
    let (stub, (kernel, version)) = (trixie_stub(), kernel(kernels::TRIXIE));
    let initrd = initrd();
    let image = make(&Parts {
        stub: &stub,
        kernel: &kernel,
        version: &version,
        os_release: OS_RELEASE,
        command_line: "quiet",
        initrd: &initrd,
        ..Parts::default()
    });
    let path = dir.path().join("image.efi");
    let verify = |image: &[u8], certificate: &Path| {
        fs::write(&path, image).expect("writing");
        Command::new("sbverify").arg("--cert").args([certificate, &path]).output().expect("`sbsigntool` is installed")
    };
    assert!(!verify(&image, &certificate).status.success(), "not signed yet");
    let signing = Signing { key, certificate: certificate.clone(), tool: Some(Tool::Sbsign) };
    let signed = sign::signer(&signing).expect("`sbsigntool` is installed").sign(&image).expect("signed");
    let good = verify(&signed, &certificate);
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    assert!(!verify(&signed, &other).status.success(), "another certificate");
    let mut changed = signed.clone();
    let at = Pe::parse(&signed).expect("signed").sections().last().expect("a section").file_offset as usize;
    changed[at] ^= 1;
    assert!(!verify(&changed, &certificate).status.success(), "a changed initrd");
    let pe = Pe::parse(&signed).expect("signed");
    assert!(!pe.certificates().is_empty() && pe.section(".initrd") == Some(&initrd[..]));
}

/// Writes a program that does as it is told; it notes its arguments, and the directory with its permissions.
fn liar(dir: &Path, name: &str, does: &str) -> PathBuf {
    let path = dir.join(name);
    let text = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$@\" >'{0}/arguments'\nfor last; do :; done\n\
         d=$(dirname \"$last\"); echo \"$d $(stat -c %a \"$d\")\" >'{0}/directory.new'; mv '{0}/directory.new' '{0}/directory'\n\
         from=$d/unsigned.efi to=$last\n{does}\n",
        dir.display()
    );
    fs::write(&path, text).expect("writing");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    path
}

#[test]
fn a_program_that_fails_or_lies_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (key, certificate) = key_pair(dir.path(), "ours");
    let image = small_image();
    let signing = Signing { key: key.clone(), certificate: certificate.clone(), tool: None };
    let table = [
        ("echo the key is wrong >&2; exit 3", "`sbsign` failed with exit status: 3: the key is wrong"),
        ("kill -9 $$", "`sbsign` failed with signal: 9 (SIGKILL): it said nothing"),
        (":", "`sbsign` ended well and wrote no file"),
        ("cp \"$from\" \"$to\"", "changed more than the signature"),
        ("echo >\"$to\"", "changed more than the signature"),
        ("cp \"$from\" \"$to\"; head -c 512 /dev/zero >>\"$to\"", "changed more than the signature"),
        // Really signed, but something else.
        (
            "tr x y <\"$from\" >\"$d/other\"; sbsign --key \"$2\" --cert \"$4\" --output \"$to\" \"$d/other\"",
            "changed more than the signature",
        ),
    ];
    for (does, said) in table {
        let program = liar(dir.path(), "sbsign-liar", does);
        let err = Signer::with_program(signing.clone(), Tool::Sbsign, program).sign(&image).expect_err(does);
        assert!(err.to_string().contains(said), "{does}: {err}");
        let noted = fs::read_to_string(dir.path().join("directory")).expect("the program ran");
        let (used, mode) = noted.trim().rsplit_once(' ').expect("two words");
        assert_eq!((mode, Path::new(used).exists()), ("700", false), "{does}: `{used}`");
    }
    let honest = "sbsign --key \"$2\" --cert \"$4\" --output \"$to\" \"$from\"";
    let program = liar(dir.path(), "sbsign-honest", honest);
    Signer::with_program(signing.clone(), Tool::Sbsign, program).sign(&image).expect("the same program, honest");
    let absent = Signing { key: dir.path().join("absent"), ..signing };
    assert_eq!(sign::signer(&absent).expect_err("no key").kind(), ErrorKind::Unavailable);
}

/// systemd's own program is not in every release; what it is told is what ukify tells it.
#[test]
fn the_programs_are_told_what_ukify_tells_them() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (key, certificate) = key_pair(dir.path(), "ours");
    let stub = trixie_stub();
    let parts = Parts {
        stub: &stub,
        kernel: &stub,
        version: "6.1",
        os_release: OS_RELEASE,
        command_line: "x",
        initrd: b"i",
        ..Parts::default()
    };
    // Paths are theirs and ours; their places among the other words count.
    let words = || {
        let text = fs::read_to_string(dir.path().join("arguments")).expect("the program ran");
        let is_path = |word: &&str| word.starts_with('/') || word.ends_with(".efi");
        let known = [key.to_str().expect("UTF-8"), certificate.to_str().expect("UTF-8")];
        let one = |word: &str| if is_path(&word) && !known.contains(&word) { "FILE".to_owned() } else { word.to_owned() };
        text.lines().map(one).collect::<Vec<_>>()
    };
    for (tool, name) in [(Tool::Sbsign, "sbsign"), (Tool::SystemdSbsign, "systemd-sbsign")] {
        let program = liar(dir.path(), name, "cp \"$from\" \"$to\"");
        let signing = Signing { key: key.clone(), certificate: certificate.clone(), tool: Some(tool) };
        Signer::with_program(signing, tool, program).sign(&small_image()).expect_err("it does not sign");
        let ours = words();
        // ukify gives other names to the files.
        liar(dir.path(), name, "touch \"$to\"");
        let tools = format!("--tools={}", dir.path().display());
        let sign = [&format!("--signtool={name}"), "--no-sign-kernel", &tools];
        let more = ["--secureboot-private-key", key.to_str().expect("UTF-8"), "--secureboot-certificate"];
        ukify(&parts, dir.path(), &[&sign[..], &more[..], &[certificate.to_str().expect("UTF-8")]].concat());
        assert_eq!(ours, words(), "{name}");
    }
}

/// Words that build trixie's image as a unified kernel image, offline once the first has filled the cache.
fn build(out: &Path, more: &[&str]) -> Command {
    trixie_image();
    let mut command = program();
    command.args(TRIXIE).args(["--arch", "amd64", "--format", "uki", "-o"]).arg(out).args(more);
    command
}

const COMMAND_LINE: &str = "console=ttyS0 root=PARTLABEL=root";

/// The image that several tests look at.
fn trixie_uki() -> &'static Path {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let path = kernels::cache(&format!("uki-{}", std::process::id())).join("trixie.efi");
        ran(&mut build(&path, &["--cmdline", &format!("  {COMMAND_LINE}\n")])).good();
        path
    })
}

fn section(image: &Path, name: &str) -> String {
    let bytes = fs::read(image).expect("the image");
    String::from_utf8_lossy(Pe::parse(&bytes).expect("a PE file").section(name).expect(name)).into_owned()
}

#[test]
fn a_whole_image_is_made_and_read_like_an_initrd() {
    let image = trixie_uki();
    assert_eq!(fs::metadata(image).expect("the image").permissions().mode() & 0o777, 0o600);
    assert_eq!(section(image, ".cmdline"), COMMAND_LINE);
    assert!(section(image, ".osrel").contains("trixie") && section(image, ".sbat").contains("\nuki,1,UKI,"));
    let version = section(image, ".uname");
    let listed = ran(program().arg("ls").arg(image)).good().out;
    assert!(listed.contains(&format!("usr/lib/modules/{version}/modules.dep")), "the modules are of this kernel");
    let plain = ran(program().arg("ls").arg(trixie_image())).good().out;
    assert_eq!(listed.lines().count(), plain.lines().count(), "the initrd is the same");
    let manifest: Value =
        serde_json::from_str(&ran(program().args(["ls", "--manifest"]).arg(image)).good().out).expect("a manifest");
    let packages = manifest["packages"].as_array().expect("packages");
    assert!(packages.iter().any(|package| package["name"] == "systemd-boot-efi"), "where the stub is from is told");
    let segments: Value =
        serde_json::from_str(&ran(program().args(["--json", "ls", "--segments"]).arg(image)).good().out).expect("JSON");
    let sections = segments["sections"].as_array().expect("sections");
    let names: Vec<_> = sections.iter().filter_map(|section| section["name"].as_str()).collect();
    assert_eq!(names[names.len() - 5..], [".osrel", ".cmdline", ".uname", ".linux", ".initrd"]);
    assert_eq!(segments["segments"].as_array().expect("segments").len(), 3);
    let dir = tempfile::tempdir().expect("a temporary directory");
    ran(program().arg("unpack").arg(image).arg(dir.path().join("root"))).good();
    assert!(dir.path().join("root/usr/lib/systemd/systemd").exists());
    // A program for UEFI that is none of these, and one that is cut.
    let stub = dir.path().join("stub.efi");
    fs::write(&stub, trixie_stub()).expect("writing");
    ran(program().arg("ls").arg(&stub)).bad(6, &["no section `.initrd`"]);
    let cut = dir.path().join("cut.efi");
    fs::write(&cut, &fs::read(image).expect("the image")[..20_000_000]).expect("writing");
    ran(program().arg("ls").arg(&cut)).bad(6, &["the unified kernel image is damaged"]);
}

#[test]
fn the_machine_says_command_line_and_name_of_the_system() {
    trixie_uki();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let facts = dir.path().join("facts.json");
    let file = |path: &str, text: &str| serde_json::json!({ "path": path, "mode": 0o644, "content": { "text": text } });
    let description = serde_json::json!({
        "schema": 1, "view": { "kind": "machine" }, "machine": "x86_64", "kernel": "6.12.0",
        "os": { "id": "debian", "codename": "trixie" },
        "files": [
            file("/etc/kernel/cmdline", "root=UUID=6d6b\n  quiet\n"),
            file("/etc/os-release", "ID=debian\nPRETTY_NAME=\"a machine of ours\"\n"),
        ],
    });
    fs::write(&facts, description.to_string()).expect("writing");
    let mut command = program();
    command.args(["build", "--distro", "debian", "--release", "trixie", "--arch", "amd64", "--format", "uki", "--offline"]);
    command.args(["--kernel-package", "linux-image-amd64", "--host-facts"]).arg(&facts);
    ran(command.current_dir(dir.path())).good();
    let made = fs::read_dir(dir.path()).expect("the directory").filter_map(Result::ok).map(|entry| entry.path());
    let image = made.into_iter().find(|path| path.extension().is_some_and(|it| it == "efi")).expect("an image with a name");
    assert_eq!(image.file_stem().map(|it| it.to_string_lossy().into_owned()), Some(section(&image, ".uname")));
    assert_eq!(section(&image, ".cmdline"), "root=UUID=6d6b quiet");
    assert!(section(&image, ".osrel").contains("a machine of ours"));
}

#[test]
fn what_makes_no_sense_is_told_before_any_work() {
    let build = |more: &[&str]| ran(program().args(TRIXIE).args(["--arch", "amd64", "--offline"]).args(more));
    build(&["--cmdline", "quiet"]).bad(2, &["`--cmdline` is for a unified kernel image only", "--format uki"]);
    build(&["--format", "uki", "--all"]).bad(2, &["`--all` cannot be used with `--format uki`"]);
    build(&["--format", "uki", "--stub", "/nonexistent"]).bad(2, &["`--stub /nonexistent`: there is no such file"]);
    build(&["--format", "uki", "--sign-key", "/nonexistent"]).bad(2, &["no certificate", "--sign-certificate"]);
    build(&["--format", "uki", "--sign-tool", "sbsign"]).bad(2, &["there is no key to sign with"]);
    build(&["--format", "uki", "--sign-tool", "rot13"]).bad(2, &["`rot13` is no program that signs"]);
    build(&["--format", "uki", "--sign-key", "/nonexistent", "--sign-certificate", "/nonexistent"])
        .bad(5, &["cannot open `/nonexistent`"]);
    build(&["--format", "uki", "--cmdline", &"x".repeat(2048)]).bad(2, &["has 2048 bytes, and the kernel reads 2047"]);
    build(&["--format", "uki", "--cmdline", "@/nonexistent"]).bad(5, &["cannot open `/nonexistent`"]);
}

#[test]
fn when_signing_fails_or_is_stopped_the_old_image_stays() {
    trixie_uki();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (key, certificate) = key_pair(dir.path(), "ours");
    let out = dir.path().join("linux.efi");
    fs::write(&out, "the old one").expect("writing");
    let drop_in = dir.path().join("sign.toml");
    let text = format!("[uki.sign]\nkey = '{}'\ncertificate = '{}'\ntool = 'sbsign'\n", key.display(), certificate.display());
    fs::write(&drop_in, text).expect("writing");
    let temporary = dir.path().join("tmp");
    fs::create_dir(&temporary).expect("a directory");
    let command = || {
        let mut command = build(&out, &["--offline", "--cmdline", ""]);
        let search = format!("{}:{}", dir.path().display(), std::env::var("PATH").expect("a search path"));
        command.arg("--config").arg(&drop_in).env("PATH", search).env("TMPDIR", &temporary);
        command
    };
    let untouched = |when: &str| {
        assert_eq!(fs::read_to_string(&out).expect("the old image"), "the old one", "{when}");
        let left: Vec<_> = fs::read_dir(&temporary).expect("the directory").filter_map(Result::ok).collect();
        assert!(left.is_empty(), "{when}: {left:?}");
        let beside = fs::read_dir(dir.path()).expect("the directory").filter_map(Result::ok);
        assert!(!beside.into_iter().any(|entry| entry.file_name().to_string_lossy().ends_with(".tmp")), "{when}");
    };
    liar(dir.path(), "sbsign", "echo no such luck >&2; exit 1");
    ran(&mut command()).bad(7, &["cannot sign for Secure Boot", "no such luck"]);
    untouched("the program failed");

    liar(dir.path(), "sbsign", "exec sleep 5");
    fs::remove_file(dir.path().join("directory")).expect("the note of the first run");
    let mut child = command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program");
    let started = Instant::now();
    while !dir.path().join("directory").exists() {
        assert!(started.elapsed() < Duration::from_secs(300), "it never came to sign");
        std::thread::sleep(Duration::from_millis(20));
    }
    run("kill", "procps", &["-TERM", &child.id().to_string()]);
    assert_eq!(child.wait().expect("the program ends").code(), Some(143));
    untouched("it was stopped");

    fs::remove_file(dir.path().join("sbsign")).expect("the liar goes");
    ran(&mut command()).good();
    let verified = Command::new("sbverify").arg("--cert").args([&certificate, &out]).status().expect("`sbsigntool` is installed");
    assert!(verified.success());
}
