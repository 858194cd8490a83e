//! What enters an image of the machine's own configuration: what is needed, in systemd's words, and nothing else. Who may read it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use mkinitrd_pkg::base::base64;
use mkinitrd_pkg::base::error::Diagnostic;
use mkinitrd_pkg::config::{self, Audience, ImageKind};
use mkinitrd_pkg::deliver;
use mkinitrd_pkg::format::crypttab;
use mkinitrd_pkg::host::declared::{DECLARED, is_never};
use mkinitrd_pkg::host::facts::Facts;
use mkinitrd_pkg::host::probe;
use mkinitrd_pkg::host::traits::traits;
use mkinitrd_pkg::report::{Event, Reporter, Silent};
use mkinitrd_pkg::settings::{self, Error, Settings};
use mkinitrd_pkg::tree::{Kind, TreePath};
use serde_json::{Value, json};

use crate::program::{program, program_cache, ran, trixie_image};

const KEY: &str = "the-bytes-of-the-key";

/// A laptop with its root in LVM in LUKS, opened as `crypttab` says, with these files beside it.
fn laptop(crypttab: &str, files: &[Value]) -> Value {
    let mut files = files.to_vec();
    files.push(file("/etc/crypttab", 0o644, crypttab));
    files.sort_by_key(|file| file["path"].as_str().map(str::to_owned));
    json!({
        "schema": 1, "view": {"kind": "machine"}, "machine": "x86_64", "kernel": "6.12.0",
        "os": {"id": "debian", "codename": "trixie"},
        "modules": ["nvme", "dm_crypt"],
        "blocks": [
            {"name": "dm-0", "kind": "crypt", "mapped": "nvme0n1p3_crypt", "parents": ["nvme0n1p3"]},
            {"name": "dm-1", "kind": "lvm", "mapped": "vg-root", "parents": ["dm-0"]},
            {"name": "nvme0n1", "kind": "disk", "drivers": ["nvme"]},
            {"name": "nvme0n1p3", "kind": "partition", "parents": ["nvme0n1"], "fstype": "crypto_LUKS"},
        ],
        "volumes": [{"target": "/", "source": "/dev/mapper/vg-root", "block": "dm-1", "fstype": "ext4", "role": "root"}],
        "files": files,
    })
}

fn file(path: &str, mode: u32, text: &str) -> Value {
    json!({"path": path, "mode": mode, "content": {"text": text}})
}

fn key(path: &str) -> Value {
    json!({"path": path, "mode": 0o400, "secret": true, "content": {"text": KEY}})
}

/// Keeps what is told.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Reporter for Told {
    fn event(&self, event: &Event<'_>) {
        if let Event::Warning { message, .. } = event {
            self.0.lock().expect("a lock").push((*message).to_owned());
        }
    }
}

/// Returns what trixie's own profile takes of a machine, and the warnings.
fn told(facts: Value) -> (Result<Settings, Error>, Vec<String>) {
    let facts: Facts = serde_json::from_value(facts).expect("facts");
    let layers = config::load("debian", Some(Path::new("/nonexistent")), &[]).expect("the profile");
    let audience = Audience { kind: ImageKind::Host, traits: traits(&facts) };
    let profile = layers.resolve("trixie", &facts.machine, &audience).expect("the profile");
    let told = Told::default();
    let result = settings::settings(&profile, &facts, &told);
    (result, told.0.into_inner().expect("a lock"))
}

#[track_caller]
fn taken(facts: Value) -> Settings {
    told(facts).0.unwrap_or_else(|err| panic!("{err}"))
}

#[track_caller]
fn refused(facts: Value) -> Error {
    told(facts).0.expect_err("a refusal")
}

/// Returns all files as text, with their modes.
fn files(settings: &Settings) -> BTreeMap<String, (String, u32)> {
    let files = settings.tree.iter().filter_map(|(path, entry)| Some((path, entry, entry.content()?)));
    files
        .map(|(path, entry, content)| {
            (path.to_string(), (String::from_utf8_lossy(content.bytes()).into_owned(), entry.meta.mode))
        })
        .collect()
}

#[track_caller]
fn crypttab_of(settings: &Settings) -> String {
    files(settings).get("/etc/crypttab").expect("a crypttab").0.clone()
}

fn secrets(settings: &Settings) -> Vec<String> {
    settings.secrets.iter().map(ToString::to_string).collect()
}

#[test]
fn only_entries_that_are_needed_enter_in_systemds_words() {
    let text = "# comment\n\
                nvme0n1p3_crypt UUID=1 none luks,discard\n\
                data UUID=2 none luks,keyscript=decrypt_derived\n\
                extra UUID=3 /etc/keys/extra.key luks,initramfs,noearly\n\
                backup UUID=4 none x-initrd.attach,tries=1\n\
                swap /dev/sda2 /dev/urandom swap,cipher=aes-xts-plain64\n";
    let settings = taken(laptop(text, &[key("/etc/keys/extra.key"), key("/etc/keys/other.key")]));
    let expected = "nvme0n1p3_crypt UUID=1 none luks,discard,x-initrd.attach\n\
                    extra UUID=3 /etc/keys/extra.key luks,x-initrd.attach\n\
                    backup UUID=4 none x-initrd.attach,tries=1\n";
    assert_eq!(crypttab_of(&settings), expected);
    assert_eq!(secrets(&settings), ["/etc/keys/extra.key"]);
    assert_eq!(files(&settings)["/etc/keys/extra.key"], (KEY.to_owned(), 0o600));
    assert_eq!(files(&settings).len(), 2, "{:?}", files(&settings).keys());
}

#[test]
fn keys_and_headers_are_found_where_systemd_looks() {
    let own = "/etc/cryptsetup-keys.d/nvme0n1p3_crypt.key";
    let table: [(&str, &[&str], &[&str]); 8] = [
        ("none luks", &[own], &[own]),
        ("- luks", &[own, "/etc/cryptsetup-keys.d/other.key"], &[own]),
        ("none luks", &[], &[]),
        (
            "/boot/root.key luks,header=/boot/root.header",
            &["/boot/root.header", "/boot/root.key"],
            &["/boot/root.header", "/boot/root.key"],
        ),
        ("/root.key:UUID=5 luks,header=/h:LABEL=keys", &[], &[]),
        ("/dev/sdb luks,header=/dev/disk/by-id/stick", &[], &[]),
        ("/run/made.key luks", &[], &[]),
        ("/dev/null tcrypt,tcrypt-keyfile=/etc/a,tcrypt-keyfile=/etc/b", &["/etc/a", "/etc/b"], &["/etc/a", "/etc/b"]),
    ];
    for (fields, there, expected) in table {
        let facts =
            laptop(&format!("nvme0n1p3_crypt UUID=1 {fields}\n"), &there.iter().map(|path| key(path)).collect::<Vec<_>>());
        assert_eq!(secrets(&taken(facts)), expected, "{fields}");
    }
}

#[test]
fn g04_options_that_systemd_would_ignore_are_refused() {
    let table = [
        ("none luks,keyscript=/lib/cryptsetup/scripts/decrypt_gnupg", "`keyscript=/lib/cryptsetup/scripts/decrypt_gnupg`"),
        ("none luks,discrad", "`discrad`"),
        ("none luks,tpm2-device", "`tpm2-device`"),
        ("none luks,check=ext4", "`check=ext4`"),
        ("none luks, discard", "`discard`"),
        ("root.key luks", "`root.key`"),
        ("none luks,header=root.header", "`root.header`"),
    ];
    for (fields, word) in table {
        let err = refused(laptop(&format!("\n\nnvme0n1p3_crypt UUID=1 {fields}\n"), &[]));
        assert!(err.to_string().contains(word) && err.to_string().contains("`nvme0n1p3_crypt`"), "{fields}: {err}");
        assert_eq!(err.place().as_deref(), Some("/etc/crypttab:3"), "{fields}");
        assert!(!err.hints().is_empty(), "{fields}");
        // The same on an entry that the image does not open is nobody's business here.
        taken(laptop(&format!("nvme0n1p3_crypt UUID=1 none\nother UUID=2 {fields}\n"), &[]));
    }
}

#[test]
fn a_key_that_cannot_be_brought_is_named() {
    let path = "/etc/keys/root.key";
    let with = |content: Value| json!({"path": path, "mode": 0o400, "secret": true, "content": content});
    let large = "x".repeat((8 << 20) + 1);
    let table = [
        (vec![], "is not there"),
        (vec![with(json!("withheld"))], "left out of the description"),
        (vec![with(json!({"unread": "it is a fifo"}))], "it is a fifo"),
        (vec![with(json!({"base64": "%%"}))], "broken base64"),
        (vec![with(json!({"link": "/etc/shadow"})), key("/etc/shadow")], "`/etc/shadow` never enters"),
        (vec![with(json!({"link": "nowhere.key"}))], "is not there"),
        (vec![with(json!({"link": "root.key"}))], "circle"),
        (vec![with(json!({"text": large}))], "larger than"),
    ];
    for (files, word) in table {
        let err = refused(laptop(&format!("nvme0n1p3_crypt UUID=1 {path} luks\n"), &files));
        assert!(err.to_string().contains(word), "{word}: {err}");
        assert!(err.to_string().contains("/etc/"), "{err}");
    }
    let err = refused(laptop(&format!("nvme0n1p3_crypt UUID=1 {path} luks\n"), &[with(json!("withheld"))]));
    assert!(err.hints()[0].contains("host --json --secrets"), "{:?}", err.hints());
    let err = refused(laptop("nvme0n1p3_crypt UUID=1 /etc/shadow luks\n", &[key("/etc/shadow")]));
    assert!(matches!(err, Error::Never { .. }), "{err}");
}

#[test]
fn g02_a_careless_key_is_told_and_kept_close() {
    let careless = json!({"path": "/etc/keys/root.key", "mode": 0o644, "content": {"text": KEY}});
    let (settings, warnings) = told(laptop("nvme0n1p3_crypt UUID=1 /etc/keys/root.key luks\n", &[careless]));
    assert_eq!(files(&settings.expect("settings"))["/etc/keys/root.key"].1, 0o600);
    assert!(warnings.len() == 1 && warnings[0].contains("chmod 0600 /etc/keys/root.key"), "{warnings:?}");
    let (_, warnings) = told(laptop("nvme0n1p3_crypt UUID=1 /etc/keys/root.key luks\n", &[key("/etc/keys/root.key")]));
    assert_eq!(warnings, [""; 0]);

    // A link is followed on the machine; the image has a file under the name that crypttab gives.
    let link = json!({"path": "/etc/keys/root.key", "mode": 0o777, "content": {"link": "../../root/real.key"}});
    let settings = taken(laptop("nvme0n1p3_crypt UUID=1 /etc/keys/root.key luks\n", &[link, key("/root/real.key")]));
    assert_eq!(files(&settings)["/etc/keys/root.key"], (KEY.to_owned(), 0o600));
    assert_eq!(files(&settings).len(), 2);
}

#[test]
fn what_will_not_be_opened_is_told() {
    let (_, warnings) = told(laptop("other UUID=1 none luks\nalone\n", &[]));
    assert!(warnings.iter().any(|text| text.contains("`nvme0n1p3_crypt`") && text.contains("rd.luks.name=")), "{warnings:?}");
    assert!(warnings.iter().any(|text| text.contains("/etc/crypttab:2")), "{warnings:?}");
    let (_, warnings) = told(laptop("nvme0n1p3_crypt UUID=1 none luks,tpm2-device=auto\n", &[]));
    assert!(warnings.len() == 1 && warnings[0].contains("`tpm2` is off"), "{warnings:?}");
}

#[test]
fn files_enter_by_feature_if_they_say_something() {
    let all = [
        file("/etc/modprobe.d/a.conf", 0o644, "options nvme x=1\n"),
        file("/etc/modprobe.d/b.conf", 0o644, "# nothing\n"),
        file("/etc/sysctl.conf", 0o644, "kernel.panic=1\n"),
        json!({"path": "/etc/sysctl.d/99-sysctl.conf", "mode": 0o777, "content": {"link": "../sysctl.conf"}}),
        json!({"path": "/etc/modules-load.d/modules.conf", "mode": 0o777, "content": {"link": "../modules"}}),
        file("/etc/modules", 0o644, "loop\n"),
        file("/etc/lvm/lvm.conf", 0o644, "config {\n\t# checks = 1\n}\n"),
        file("/etc/lvm/devices/system.devices", 0o600, "IDTYPE=devname IDNAME=/dev/nvme0n1p3\n"),
        file("/etc/mdadm/mdadm.conf", 0o644, "ARRAY /dev/md0 UUID=1\n"),
        file("/etc/hostid", 0o644, "abcd"),
        file("/etc/fstab", 0o644, "UUID=1 / ext4\n"),
        file("/etc/not-on-the-list", 0o644, "x\n"),
    ];
    let settings = taken(laptop("nvme0n1p3_crypt UUID=1 none luks\n", &all));
    let names: Vec<String> = files(&settings).into_keys().collect();
    assert_eq!(
        names,
        [
            "/etc/crypttab",
            "/etc/lvm/devices/system.devices",
            "/etc/modprobe.d/a.conf",
            "/etc/modules-load.d/modules.conf",
            "/etc/sysctl.d/99-sysctl.conf"
        ]
    );
    assert_eq!(files(&settings)["/etc/sysctl.d/99-sysctl.conf"], ("kernel.panic=1\n".to_owned(), 0o644));
    assert_eq!(secrets(&settings), [""; 0], "a list of devices is no secret, whatever its mode");

    let mut array = laptop("", &all);
    array["blocks"] = json!([{"name": "md0", "kind": "raid", "parents": ["sda1"]}]);
    array["volumes"][0]["block"] = json!("md0");
    let facts: Facts = serde_json::from_value(array.clone()).expect("facts");
    assert!(traits(&facts).contains("md"));
    // A file that others may not read on the machine is a secret in the image.
    let private = laptop("nvme0n1p3_crypt UUID=1 none luks\n", &[file("/etc/modprobe.d/wifi.conf", 0o600, "options x psk=1\n")]);
    assert_eq!(secrets(&taken(private)), ["/etc/modprobe.d/wifi.conf"]);
}

#[test]
fn a_keyboards_map_is_brought_as_text_with_a_unit_that_loads_it() {
    let map = b"keymaps 0-1\nkeycode 21 = z Z\n";
    let packed = {
        let mut gzip = Command::new("gzip").arg("-n").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("gzip");
        std::io::Write::write_all(&mut gzip.stdin.take().expect("a pipe"), map).expect("writing");
        base64::encode(&gzip.wait_with_output().expect("gzip").stdout)
    };
    let cached = json!({"path": "/etc/console-setup/cached_UTF-8_del.kmap.gz", "mode": 0o644, "content": {"base64": packed}});
    let german = file("/etc/default/keyboard", 0o644, "XKBLAYOUT=\"de\"\n");
    let root = "nvme0n1p3_crypt UUID=1 none luks\n";
    let settings = taken(laptop(root, &[german.clone(), cached.clone()]));
    let found = files(&settings);
    assert_eq!(found["/etc/mkinitrd-pkg/keymap.map"].0.as_bytes(), map);
    let unit = &found["/etc/systemd/system/mkinitrd-pkg-keymap.service"].0;
    assert!(unit.contains("ExecStart=/usr/bin/loadkeys --quiet --console=/dev/tty0 /etc/mkinitrd-pkg/keymap.map"), "{unit}");
    let wanted = TreePath::literal("etc/systemd/system/sysinit.target.wants/mkinitrd-pkg-keymap.service");
    assert!(
        matches!(settings.tree.lookup(&wanted), Some((_, entry)) if matches!(entry.kind, Kind::File(_))),
        "the unit is wanted"
    );

    let (_, warnings) = told(laptop(root, &[german]));
    assert!(warnings.len() == 1 && warnings[0].contains("setupcon --save-only"), "{warnings:?}");
    let plain = taken(laptop(root, &[file("/etc/default/keyboard", 0o644, "XKBLAYOUT=us\n"), cached]));
    assert_eq!(files(&plain).len(), 1, "a `us` keyboard needs no map");

    let named = [
        file("/etc/vconsole.conf", 0o644, "KEYMAP=de-latin1\n"),
        file("/usr/share/keymaps/i386/qwertz/de-latin1.map", 0o644, "include \"qwertz-layout\"\n"),
        file("/usr/share/keymaps/i386/include/qwertz-layout.inc", 0o644, "keycode 21 = z\n"),
    ];
    let found = files(&taken(laptop(root, &named)));
    let unit = &found["/etc/systemd/system/mkinitrd-pkg-keymap.service"].0;
    assert!(unit.contains(" /usr/share/keymaps/i386/qwertz/de-latin1.map\n"), "{unit}");
    assert!(found.contains_key("/usr/share/keymaps/i386/include/qwertz-layout.inc"), "{:?}", found.keys());
}

/// Runs the generator of this host's systemd on a crypttab, and returns the files and links that it writes.
fn generated(crypttab: &str) -> BTreeMap<String, String> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let table = Path::new("/tmp/mkinitrd-pkg-test-crypttab").with_extension(std::process::id().to_string());
    fs::write(&table, crypttab).expect("writing");
    let generator = "/lib/systemd/system-generators/systemd-cryptsetup-generator";
    let mut command = Command::new(generator);
    let dirs = ["normal", "early", "late"].map(|name| dir.path().join(name));
    dirs.iter().for_each(|dir| fs::create_dir(dir).expect("a directory"));
    command.args(&dirs).env("SYSTEMD_CRYPTTAB", &table).env("SYSTEMD_IN_INITRD", "1").env("SYSTEMD_PROC_CMDLINE", "root=x");
    let output = command.output().unwrap_or_else(|err| panic!("{generator}: {err}: install `systemd`"));
    fs::remove_file(&table).expect("removing");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let listed = ran(Command::new("find").arg(&dirs[0]).args(["-type", "f", "-o", "-type", "l"])).good().out;
    let read = |line: &str| {
        let name = line.strip_prefix(&format!("{}/", dirs[0].display())).expect("below").to_owned();
        let text = match fs::read_link(line) {
            Ok(target) => format!("-> {}", target.display()),
            Err(_) => fs::read_to_string(line).expect("a unit"),
        };
        (name, text)
    };
    listed.lines().map(read).collect()
}

#[test]
fn systemds_generator_makes_the_same_units_of_our_crypttab() {
    let original = "# the root\n\
                    nvme0n1p3_crypt   UUID=2505567a-9e27-4efe-a4d5-15ad146c258b  none  luks,discard,x-initrd.attach\n\
                    keyed PARTUUID=1 /etc/keys/keyed.key luks,x-initrd.attach,keyfile-size=32\n\
                    stick /dev/sda3 /keyfile:LABEL=keydev x-initrd.attach,keyfile-timeout=10s,cipher=xchacha12\\,aes-adiantum-plain64\n\
                    apart /dev/sdb1 - header=/etc/apart.header,x-initrd.attach,nofail,_netdev\n";
    let files = [key("/etc/keys/keyed.key"), key("/etc/apart.header")];
    let ours = crypttab_of(&taken(laptop(original, &files)));
    let (expected, found) = (generated(original), generated(&ours));
    assert!(expected.len() >= 12, "the generator made {:?}", expected.keys());
    assert_eq!(expected, found);

    // Of Debian's entry without a mark only the mark differs, and what it means: the initrd's unit is not stopped at shutdown.
    let unmarked = "nvme0n1p3_crypt UUID=2505567a-9e27-4efe-a4d5-15ad146c258b none luks,discard\n";
    let (expected, found) = (generated(unmarked), generated(&crypttab_of(&taken(laptop(unmarked, &[])))));
    assert!(expected.keys().eq(found.keys()), "{:?} {:?}", expected.keys(), found.keys());
    let lines =
        |units: &BTreeMap<String, String>| units.values().flat_map(|text| text.lines()).map(str::to_owned).collect::<Vec<_>>();
    let (expected, found) = (lines(&expected), lines(&found));
    let gone: Vec<&String> = expected.iter().filter(|line| !found.contains(line)).collect();
    let new: Vec<&String> = found.iter().filter(|line| !expected.contains(line)).collect();
    assert!(gone.iter().all(|line| line.contains("umount.target") || line.starts_with("ExecStart=")), "{gone:?}");
    assert!(new.iter().all(|line| line.contains("x-initrd.attach")) && !new.is_empty(), "{new:?}");
}

#[test]
fn the_options_are_those_of_trixies_own_program() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let root = dir.path().join("root");
    ran(program().arg("unpack").arg(trixie_image()).arg(&root)).good();
    let read = |path: &str| fs::read(root.join(path)).expect(path);
    let mut texts = read("usr/bin/systemd-cryptsetup");
    texts.extend(read("usr/lib/systemd/system-generators/systemd-cryptsetup-generator"));
    let shared =
        fs::read_dir(root.join("usr/lib")).expect("usr/lib").map(|entry| entry.expect("an entry").path().join("systemd"));
    let shared = shared.filter_map(|dir| fs::read_dir(dir).ok()).flatten().map(|entry| entry.expect("an entry").path());
    for library in shared.filter(|path| path.to_string_lossy().contains("libsystemd-shared")) {
        texts.extend(fs::read(library).expect("a library"));
    }
    // Linkers let a text share the end of a longer one, so only its end is sure to be seen.
    let has = |text: String| texts.windows(text.len()).any(|window| window == text.as_bytes());
    for flag in crypttab::FLAGS {
        assert!(has(format!("{flag}\0")), "systemd knows no `{flag}`");
    }
    for value in crypttab::VALUES {
        assert!(has(format!("{value}=\0")) || has(format!("{value}\0")), "systemd knows no `{value}=`");
    }
    let program = read("usr/bin/systemd-cryptsetup");
    let words = program.split(|byte| *byte == 0).filter_map(|text| std::str::from_utf8(text).ok()?.strip_suffix('='));
    let is_option = |word: &&str| {
        word.len() > 2 && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    let options: Vec<&str> = words.filter(is_option).collect();
    assert!(options.len() > 20, "{options:?}");
    for option in options {
        assert!(crypttab::VALUES.contains(&option), "systemd's `{option}=` is not known here");
    }
}

#[test]
fn the_declared_list_is_in_the_documentation() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md")).expect("the page");
    for declared in DECLARED {
        assert!(text.contains(&format!("| `{}` |", declared.paths)), "docs/configuration.md does not list `{}`", declared.paths);
    }
    let rows = text.lines().filter(|line| line.starts_with("| `/")).count();
    assert_eq!(rows, DECLARED.len(), "docs/configuration.md lists what is not declared");
}

/// Builds an image for a machine, offline.
fn build(facts: &Value, dir: &Path, more: &[&str]) -> Command {
    trixie_image();
    let path = dir.join("facts.json");
    fs::write(&path, facts.to_string()).expect("writing");
    let mut command = Command::new(env!("CARGO_BIN_EXE_mkinitrd-pkg"));
    command.args(["--config-root", "/nonexistent", "--cache"]).arg(program_cache()).env_remove("SOURCE_DATE_EPOCH");
    command.args(["build", "--distro", "debian", "--release", "trixie", "--arch", "amd64", "--offline", "--full"]);
    command.args(["--kernel-package", "linux-image-amd64", "--host-facts"]).arg(path).args(more);
    command
}

/// A laptop opened by a key file.
fn keyed() -> Value {
    laptop("nvme0n1p3_crypt UUID=1 /etc/keys/root.key luks\n", &[key("/etc/keys/root.key")])
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").permissions().mode() & 0o7777
}

#[test]
fn g01_a23_an_image_with_a_key_is_for_root_alone_whatever_the_umask() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut images = Vec::new();
    for umask in ["000", "077", "777"] {
        let out = dir.path().join(format!("{umask}.img"));
        let inner = build(&keyed(), dir.path(), &["-v", "-o", out.to_str().expect("text")]);
        let mut command = Command::new("sh");
        command.args(["-c", &format!("umask {umask}; exec \"$@\""), "sh"]).arg(inner.get_program()).args(inner.get_args());
        let answer = ran(&mut command).good();
        assert!(answer.err.contains("`/etc/keys/root.key` is a secret") && !answer.err.contains(KEY), "{}", answer.err);
        assert_eq!(mode(&out), 0o600, "umask {umask}");
        images.push(fs::read(&out).expect("the image"));
    }
    assert!(images.iter().all(|image| *image == images[0]), "a umask changed the image");
    let image = dir.path().join("000.img");
    let manifest = ran(program().args(["ls", "--manifest"]).arg(&image)).good().out;
    let manifest: Value = serde_json::from_str(&manifest).expect("JSON");
    assert_eq!(manifest["secrets"], json!(["/etc/keys/root.key"]));
    let included = manifest["included"].as_array().expect("files");
    assert!(included.iter().any(|file| file["path"] == "/etc/keys/root.key" && file["sha256"].is_null()), "{included:?}");
    let listed = ran(program().args(["ls", "-l"]).arg(&image)).good().out;
    assert!(listed.lines().any(|line| line.starts_with("-0600") && line.ends_with(" etc/keys/root.key")), "{listed}");
}

#[test]
fn g01_a_mode_that_lets_others_in_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let out = dir.path().join("x.img");
    fs::write(&out, "old").expect("writing");
    let words = ["--mode", "0640", "-o", out.to_str().expect("text")];
    ran(&mut build(&keyed(), dir.path(), &words)).bad(8, &["/etc/keys/root.key", "0640", "others could read it"]);
    assert_eq!(fs::read(&out).expect("the old image"), b"old");
    // Without a secret whoever builds may choose.
    let plain = laptop("nvme0n1p3_crypt UUID=1 none luks\n", &[]);
    ran(&mut build(&plain, dir.path(), &words)).good();
    assert_eq!(mode(&out), 0o640);
}

/// A file system that shows all files with other permissions, as vfat does.
struct Careless {
    _dirs: tempfile::TempDir,
    at: PathBuf,
}

impl Careless {
    fn mount() -> Self {
        let dirs = tempfile::tempdir().expect("a temporary directory");
        let (from, at) = (dirs.path().join("from"), dirs.path().join("at"));
        [&from, &at].into_iter().for_each(|dir| fs::create_dir(dir).expect("a directory"));
        let answer = Command::new("bindfs").arg("--perms=a+rX").args([&from, &at]).output();
        let answer = answer.unwrap_or_else(|err| panic!("bindfs: {err}: install `bindfs`"));
        assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
        Self { _dirs: dirs, at }
    }
}

impl Drop for Careless {
    fn drop(&mut self) {
        // What cannot be taken off stays until the machine ends; the test has its verdict.
        let _ = Command::new("umount").arg("--lazy").arg(&self.at).status();
    }
}

#[test]
fn g01_g03_a_file_system_without_permissions_is_refused() {
    let careless = Careless::mount();
    let secrets = ["/etc/keys/root.key".to_owned()];
    let deliver = |directory: &Path, mode: u32, allowed: bool| {
        let target = deliver::check_target(&directory.join("x.img")).expect("a target");
        let target = target.for_secrets(mode, allowed, &secrets, &Silent)?;
        deliver::deliver(&target, 3, mode, &Silent, |out| out.write_all(b"new"))
    };
    let err = deliver(&careless.at, 0o600, false).expect_err("a refusal");
    assert!(err.to_string().contains("`/etc/keys/root.key`") && err.to_string().contains("0644"), "{err}");
    assert!(err.hints().iter().any(|hint| hint.contains("systemd-creds")), "{:?}", err.hints());
    assert!(err.hints().iter().any(|hint| hint.contains("--allow-exposed-secrets")), "{:?}", err.hints());
    assert_eq!(fs::read_dir(&careless.at).expect("a directory").count(), 0, "nothing was left there");
    assert_eq!(deliver(&careless.at, 0o600, true).expect("allowed").mode, 0o644);

    let dir = tempfile::tempdir().expect("a temporary directory");
    assert_eq!(deliver(dir.path(), 0o600, false).expect("an ordinary file system").mode, 0o600);
    assert!(matches!(deliver(dir.path(), 0o604, true), Err(deliver::Error::Mode { .. })));
}

/// Files of a host that no image may hold, each with a text that is found nowhere else.
fn honey() -> Vec<(&'static str, String)> {
    let paths = [
        "/etc/shadow",
        "/etc/gshadow",
        "/etc/machine-id",
        "/etc/ssh/ssh_host_ed25519_key",
        "/root/.ssh/id_ed25519",
        "/etc/NetworkManager/system-connections/wifi.nmconnection",
        "/root/.netrc",
        "/etc/apt/auth.conf",
        "/etc/apt/auth.conf.d/token.conf",
        "/etc/hosts",
        "/etc/fstab",
        "/etc/cryptsetup-keys.d/other.key",
        "/etc/keys/other.key",
        "/etc/modprobe.d/x.conf.dpkg-old",
        "/etc/iscsi/iscsid.conf",
        "/etc/lvm/archive/vg_0.vg",
        "/etc/ssl/private/key.pem",
        "/var/lib/systemd/credential.secret",
    ];
    paths.iter().enumerate().map(|(at, path)| (*path, format!("honey-pot-{at}-of-this-host\n"))).collect()
}

#[test]
fn g06_nothing_else_of_the_host_enters() {
    let honey = honey();
    let mut files: Vec<Value> = honey.iter().map(|(path, text)| file(path, 0o600, text)).collect();
    files.push(key("/etc/keys/root.key"));
    files.push(file("/etc/modprobe.d/x.conf", 0o644, "options nvme x=1\n"));
    let text = format!(
        "# {}nvme0n1p3_crypt UUID=1 /etc/keys/root.key luks\nother UUID=2 /etc/keys/other.key luks # {}",
        honey[0].1, honey[1].1
    );
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (out, root, beside) = (dir.path().join("x.img"), dir.path().join("root"), dir.path().join("x.json"));
    let mut command = build(&laptop(&text, &files), dir.path(), &[]);
    ran(command.arg("-o").arg(&out).arg("--manifest").arg(&beside)).good();
    ran(program().arg("unpack").arg(&out).arg(&root)).good();
    let found = ran(Command::new("grep").args(["-r", "-a", "-l", "honey-pot-"]).arg(&root));
    assert_eq!((found.code, found.out.as_str()), (1, ""), "the host's own files are in the image");
    // The search finds what is there.
    ran(Command::new("grep").args(["-r", "-a", "-l", KEY]).arg(&root)).good();
    let manifest: Value = serde_json::from_slice(&fs::read(&beside).expect("the manifest")).expect("JSON");
    let included: Vec<&str> =
        manifest["included"].as_array().expect("files").iter().filter_map(|file| file["path"].as_str()).collect();
    assert_eq!(included, ["/etc/crypttab", "/etc/keys/root.key", "/etc/modprobe.d/x.conf"]);
    assert!(!manifest.to_string().contains(KEY) && !manifest.to_string().contains("honey-pot"));
    assert!(honey.iter().filter(|(path, _)| is_never(path)).count() >= 10);
}

/// A root directory of a host with traps, and with what the two entries of its crypttab that are marked need.
fn host_tree(dir: &Path) -> Vec<(&'static str, String)> {
    let write = |path: &str, text: &str, mode: u32| {
        let path = dir.join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(&path, text).expect("writing");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
    };
    // The list names two of them: how the root is reached, and how a target is logged in to.
    let honey: Vec<_> =
        honey().into_iter().filter(|(path, _)| !["/etc/fstab", "/etc/iscsi/iscsid.conf"].contains(path)).collect();
    honey.iter().for_each(|(path, text)| write(path, text, 0o600));
    write("/etc/os-release", "ID=debian\nVERSION_CODENAME=trixie\n", 0o644);
    write("/etc/keys/root.key", KEY, 0o400);
    write("/etc/cryptsetup-keys.d/data.key", KEY, 0o400);
    write("/etc/modprobe.d/x.conf", "options nvme x=1\n", 0o644);
    let table =
        "root UUID=1 /etc/keys/root.key luks,x-initrd.attach\ndata UUID=2 - initramfs\nother UUID=3 /etc/keys/other.key luks\n";
    write("/etc/crypttab", table, 0o644);
    honey
}

#[test]
fn g06_nothing_else_of_the_host_is_even_looked_at() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    host_tree(dir.path());
    // A link of a declared name that leads to a trap.
    std::os::unix::fs::symlink("../shadow", dir.path().join("etc/modprobe.d/trap.conf")).expect("a link");
    let facts = probe::probe(dir.path()).expect("facts");
    let text = serde_json::to_string(&facts).expect("JSON");
    assert!(!text.contains("honey-pot"), "{text}");
    let paths: Vec<&str> = facts.files.iter().map(|file| file.path.as_str()).collect();
    let (trap, plain) = ("/etc/modprobe.d/trap.conf", "/etc/modprobe.d/x.conf");
    assert_eq!(paths, ["/etc/cryptsetup-keys.d/data.key", "/etc/crypttab", "/etc/keys/root.key", trap, plain]);
    let secret: Vec<bool> = facts.files.iter().map(|file| file.secret).collect();
    assert_eq!(secret, [true, false, true, false, false]);
}

#[test]
fn g02_a_key_that_is_no_plain_file_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    host_tree(dir.path());
    let key = dir.path().join("etc/keys/root.key");
    let outcome = || {
        let mut facts = serde_json::to_value(probe::probe(dir.path()).expect("facts")).expect("JSON");
        facts["machine"] = json!("x86_64");
        facts["view"] = json!({"kind": "machine"});
        told(facts)
    };
    let (settings, _) = outcome();
    assert_eq!(secrets(&settings.expect("a plain file")), ["/etc/cryptsetup-keys.d/data.key", "/etc/keys/root.key"]);

    fs::remove_file(&key).expect("removing");
    ran(Command::new("mkfifo").arg(&key)).good();
    assert!(outcome().0.expect_err("a fifo").to_string().contains("not a regular file"));

    fs::remove_file(&key).expect("removing");
    fs::File::create(&key).and_then(|file| file.set_len(1 << 30)).expect("a large file");
    assert!(outcome().0.expect_err("a gigabyte").to_string().contains("larger than"));

    fs::remove_file(&key).expect("removing");
    std::os::unix::fs::symlink("/root/real.key", &key).expect("a link");
    assert!(outcome().0.expect_err("a dangling link").to_string().contains("/root/real.key"));
    fs::create_dir_all(dir.path().join("root")).expect("a directory");
    fs::write(dir.path().join("root/real.key"), KEY).expect("writing");
    fs::set_permissions(dir.path().join("root/real.key"), fs::Permissions::from_mode(0o400)).expect("a mode");
    assert_eq!(files(&outcome().0.expect("a link inside"))["/etc/keys/root.key"], (KEY.to_owned(), 0o600));

    fs::remove_file(&key).expect("removing");
    std::os::unix::fs::symlink("/etc/shadow", &key).expect("a link");
    assert!(outcome().0.is_err(), "a link to a file that never enters");
}

#[test]
fn g05_no_secret_on_a_command_line_and_no_core_dump() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    // The signal comes while it runs; the twin shows that a dump would be seen.
    let dumps = |command: &mut Command| {
        let mut limited = Command::new("prlimit");
        limited.args(["--core=unlimited", "--"]).arg(command.get_program()).args(command.get_args()).current_dir(dir.path());
        let mut child = limited.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("prlimit of util-linux");
        std::thread::sleep(std::time::Duration::from_millis(700));
        let proc = PathBuf::from(format!("/proc/{}", child.id()));
        let words = [fs::read(proc.join("cmdline")), fs::read(proc.join("environ"))].map(|bytes| bytes.expect("it runs"));
        assert!(!words.iter().any(|bytes| String::from_utf8_lossy(bytes).contains(KEY)));
        ran(Command::new("sh").args(["-c", &format!("kill -ABRT {}", child.id())])).good();
        let status = child.wait().expect("waiting");
        assert_eq!(status.signal(), Some(6), "{status}");
        status.core_dumped()
    };
    let out = dir.path().join("x.img");
    assert!(!dumps(&mut build(&keyed(), dir.path(), &["--compress", "xz:9", "-o", out.to_str().expect("text")])));
    assert!(dumps(Command::new("sleep").arg("60")), "this machine writes no core dumps at all, so this test shows nothing");
}

#[test]
fn the_user_has_the_last_word() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (mine, private) = (dir.path().join("mine"), dir.path().join("private"));
    fs::write(&mine, "nvme0n1p3_crypt UUID=9 none luks\n").expect("writing");
    fs::write(&private, "token").expect("writing");
    fs::set_permissions(&private, fs::Permissions::from_mode(0o600)).expect("a mode");
    let (out, root) = (dir.path().join("x.img"), dir.path().join("root"));
    let words = [format!("{}:/etc/crypttab", mine.display()), format!("{}:/etc/token", private.display())];
    let mut command = build(&laptop("nvme0n1p3_crypt UUID=1 none luks\n", &[]), dir.path(), &[]);
    command.args(["--include", &words[0], "--include", &words[1], "-o"]).arg(&out);
    ran(&mut command).good();
    ran(program().arg("unpack").arg(&out).arg(&root)).good();
    assert_eq!(fs::read_to_string(root.join("etc/crypttab")).expect("crypttab"), "nvme0n1p3_crypt UUID=9 none luks\n");
    let manifest: Value = serde_json::from_str(&ran(program().args(["ls", "--manifest"]).arg(&out)).good().out).expect("JSON");
    assert_eq!(manifest["secrets"], json!(["/etc/token"]));
    ran(command.args(["--mode", "0644"])).bad(8, &["/etc/token"]);
}
