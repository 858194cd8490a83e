//! Would it boot? Looks at the finished tree as the kernel and systemd will, and says what would go wrong.
//!
//! What fails in an initrd often fails without a word: no `/etc/initrd-release` and the root is never switched, no program behind a
//! unit and it is one red line among hundreds. Libraries that programs link are the pruner's to watch; here are those that systemd
//! opens at run time for the features asked for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::units::{self, Unit};
use crate::format::elf;
use crate::tree::{Tree, TreePath};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something will be missing; the root is reached all the same.
    Warning,
    /// The image would not reach its root.
    Error,
}

/// Something that would go wrong at boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The path in the image that it is about.
    pub path: TreePath,
    /// What would happen and why, lower case, one line.
    pub message: String,
}

/// What the image is for.
#[derive(Debug, Clone, Default)]
pub struct Expected<'a> {
    /// The machine in ELF's numbers, as [`machine_of`] gives it; nothing to accept any.
    pub machine: Option<u16>,
    /// The kernel whose modules are in the tree; nothing if they are in a segment of their own or built in.
    pub kernel: Option<&'a str>,
    /// Features whose libraries must be there: `luks`, `tpm2`, `fido2`, `pkcs11`. Others have no library of their own.
    pub features: &'a [String],
}

/// A feature, what `.note.dlopen` calls it, and what systemd opens for it where it has no notes yet (before 256).
struct Feature {
    names: &'static [&'static str],
    note: &'static str,
    sonames: &'static [&'static str],
}

const FEATURES: &[Feature] = &[
    Feature { names: &["luks", "cryptsetup"], note: "cryptsetup", sonames: &["libcryptsetup.so.12"] },
    Feature { names: &["tpm2"], note: "tpm", sonames: &["libtss2-esys.so.0", "libtss2-mu.so.0", "libtss2-rc.so.0"] },
    Feature { names: &["fido2"], note: "fido2", sonames: &["libfido2.so.1"] },
    Feature { names: &["pkcs11"], note: "p11-kit", sonames: &["libp11-kit.so.0"] },
];

/// Libraries that systemd opens by a name which no note tells.
const UNNOTED: &[(&str, &str)] = &[("tpm2", "libtss2-tcti-device.so.0")];

/// Where the way to the real root leads: without one of these it is not reached.
const ESSENTIAL: &[&str] = &[
    "initrd.target",
    "initrd-root-fs.target",
    "initrd-fs.target",
    "initrd-parse-etc.service",
    "initrd-cleanup.service",
    "initrd-switch-root.target",
    "initrd-switch-root.service",
    "sysinit.target",
    "basic.target",
    "systemd-udevd.service",
    "systemd-udev-trigger.service",
];

/// Where else units are pulled in from.
const ROOTS: &[&str] = &["emergency.target", "rescue.target", "systemd-journald.service", "shutdown.target"];

const SYSTEMD: &str = "usr/lib/systemd/systemd";

/// Where the keys for logging in to an initrd are, in the machine and in the image: today, and before Debian 12.
const SSH_DIRECTORIES: [&str; 2] = ["etc/dropbear/initramfs", "etc/dropbear-initramfs"];
const SSH_HOST_KEYS: [&str; 3] = ["dropbear_ed25519_host_key", "dropbear_ecdsa_host_key", "dropbear_rsa_host_key"];

/// Returns ELF's number for an architecture in the words of any distribution.
pub fn machine_of(arch: &str) -> Option<u16> {
    Some(match arch {
        "i386" | "i486" | "i586" | "i686" | "x86" => 3,
        "ppc64el" | "ppc64le" => 21,
        "s390x" => 22,
        "armhf" | "armel" | "armv7" | "armv7hl" | "armv7h" => 40,
        "amd64" | "x86_64" => 62,
        "arm64" | "aarch64" => 183,
        "riscv64" => 243,
        "loong64" | "loongarch64" => 258,
        _ => return None,
    })
}

/// Returns everything that would go wrong, errors first.
pub fn check(tree: &Tree, expected: &Expected<'_>) -> Vec<Finding> {
    let mut found = Findings::default();
    check_init(tree, expected.machine, &mut found);
    if tree.read(&TreePath::literal(SYSTEMD)).is_some() {
        check_release(tree, &mut found);
        check_units(tree, &mut found);
        check_emergency(tree, &mut found);
        check_libraries(tree, expected.features, &mut found);
        check_cryptsetup(tree, expected.features, &mut found);
        check_accounts(tree, &mut found);
        check_udev_owners(tree, &mut found);
        check_ssh(tree, &mut found);
    }
    check_modules(tree, expected.kernel, &mut found);
    found.0.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.path.cmp(&b.path)).then_with(|| a.message.cmp(&b.message)));
    found.0.dedup();
    found.0
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn error(&mut self, path: &str, message: impl Into<String>) {
        self.add(Severity::Error, TreePath::literal(path), message.into());
    }

    fn warning(&mut self, path: &str, message: impl Into<String>) {
        self.add(Severity::Warning, TreePath::literal(path), message.into());
    }

    fn add(&mut self, severity: Severity, path: TreePath, message: String) {
        self.0.push(Finding { severity, path, message });
    }
}

fn check_init(tree: &Tree, machine: Option<u16>, found: &mut Findings) {
    let Some(init) = tree.read(&TreePath::literal("init")) else {
        let why = match tree.get(&TreePath::literal("init")) {
            Some(_) => "`/init` leads nowhere",
            None => "there is no `/init`",
        };
        return found.error("init", format!("{why}: the kernel ignores the image and cannot mount the root itself"));
    };
    if let Some(line) = init.bytes().strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let program = String::from_utf8_lossy(line).split_ascii_whitespace().next().unwrap_or_default().to_owned();
        if units::find_program(tree, &program).is_none() {
            found.error("init", format!("`/init` is a script for `{program}`, which is not in the image: the kernel panics"));
        }
        return;
    }
    match elf::read(init.bytes()) {
        Ok(Some(program)) => {
            if let Some(wanted) = machine.filter(|wanted| *wanted != program.machine) {
                let message = format!(
                    "`/init` is for the machine {} of ELF's list, and the image for {wanted}: the kernel cannot run it",
                    program.machine
                );
                found.error("init", message);
            }
            if let Some(loader) = program.interpreter.as_ref().and_then(|path| TreePath::parse(path).ok())
                && tree.read(&loader).is_none()
            {
                found.error("init", format!("`/init` needs the loader `{loader}`, which is not in the image: the kernel panics"));
            }
        }
        Ok(None) => found.error("init", "`/init` is neither an ELF program nor a script: the kernel panics"),
        Err(error) => found.error("init", format!("`/init` is damaged: {error}")),
    }
    if tree.lookup(&TreePath::literal("init")).is_some_and(|(_, entry)| entry.meta.mode & 0o111 == 0) {
        found.error("init", "`/init` is not executable: the kernel panics");
    }
}

fn check_release(tree: &Tree, found: &mut Findings) {
    if tree.read(&TreePath::literal("etc/initrd-release")).is_none() {
        let message = "there is no `/etc/initrd-release`, or it leads nowhere: systemd takes the initrd for the real system, \
                       never switches root and does not say so";
        found.error("etc/initrd-release", message);
    }
}

/// Follows what is pulled in, from the targets of an initrd to every program.
fn check_units(tree: &Tree, found: &mut Findings) {
    for name in ESSENTIAL {
        if units::load(tree, name).is_none_or(|unit| unit.masked) {
            let path = format!("usr/lib/systemd/system/{name}");
            found.error(&path, format!("`{name}` is not in the image or masked: the real root is not reached"));
        }
    }
    if units::load(tree, "default.target").is_none() {
        let message = "`default.target` leads nowhere: after the emergency shell the boot cannot be tried again";
        found.warning("usr/lib/systemd/system/default.target", message);
    }
    // What is needed comes first, so that a unit that is both needed and merely wanted counts as needed.
    let (mut needed, mut wanted) = (VecDeque::new(), VecDeque::new());
    needed.extend(ESSENTIAL.iter().map(|name| ((*name).to_owned(), String::new())));
    wanted.extend(ROOTS.iter().map(|name| ((*name).to_owned(), String::new())));
    let mut seen = BTreeSet::new();
    while let Some((name, by, is_needed)) =
        needed.pop_front().map(|(name, by)| (name, by, true)).or_else(|| wanted.pop_front().map(|(name, by)| (name, by, false)))
    {
        if !seen.insert(name.clone()) {
            continue;
        }
        let severity = if is_needed { Severity::Error } else { Severity::Warning };
        let Some(unit) = units::load(tree, &name) else {
            // A device, a mount and the like come from generators and udev; what is only wanted may be missing.
            if is_needed && !by.is_empty() && name.ends_with(".service") {
                let path = TreePath::literal(&format!("usr/lib/systemd/system/{by}"));
                found.add(severity, path, format!("`{by}` requires `{name}`, which is not in the image"));
            }
            continue;
        };
        if unit.masked || unit.not_in_initrd {
            continue;
        }
        check_programs(tree, &name, &unit, severity, found);
        if let Some(service) = &unit.activates {
            match units::load(tree, service) {
                Some(_) => wanted.push_back((service.clone(), name.clone())),
                None => found.add(
                    severity,
                    unit.path.clone(),
                    format!("`{name}` fails: what it starts, `{service}`, is not in the image"),
                ),
            }
        }
        let onward = if is_needed { &mut needed } else { &mut wanted };
        onward.extend(unit.requires.into_iter().map(|other| (other, name.clone())));
        wanted.extend(unit.wants.into_iter().map(|other| (other, name.clone())));
    }
}

fn check_programs(tree: &Tree, name: &str, unit: &Unit, severity: Severity, found: &mut Findings) {
    for command in units::missing_programs(tree, unit) {
        let message = format!("`{name}` fails: `{}` of {} is not in the image", command.program, command.key);
        found.add(severity, unit.path.clone(), message);
    }
}

/// A server of SSH needs keys that only the machine has: they are never made here, or every image would have others.
fn check_ssh(tree: &Tree, found: &mut Findings) {
    if tree.read(&TreePath::literal("usr/lib/mkinitrd-pkg/ssh-server")).is_none() {
        return;
    }
    let is_there = |name: &str| {
        let file = |dir: &&str| tree.read(&TreePath::literal(&format!("{dir}/{name}")));
        SSH_DIRECTORIES.iter().filter_map(file).any(|file| !file.bytes().is_empty())
    };
    if !SSH_HOST_KEYS.iter().any(|name| is_there(name)) {
        let message = "the image has no host key for SSH, and none is made for it: make one with `dropbearkey -t ed25519 -f \
                       /etc/dropbear/initramfs/dropbear_ed25519_host_key`, or bring yours with `--include`";
        found.error(&format!("{}/{}", SSH_DIRECTORIES[0], SSH_HOST_KEYS[0]), message);
    }
    if !is_there("authorized_keys") {
        let message = "nobody could log in over SSH: write the public keys of those who may into \
                       /etc/dropbear/initramfs/authorized_keys, or bring the file with `--include`";
        found.error(&format!("{}/authorized_keys", SSH_DIRECTORIES[0]), message);
    }
}

fn check_emergency(tree: &Tree, found: &mut Findings) {
    const PATH: &str = "usr/lib/systemd/system/emergency.service";
    let Some(unit) = units::load(tree, "emergency.service").filter(|unit| !unit.masked) else {
        return found.warning(PATH, "there is no `emergency.service`: a boot that fails ends without a word on the console");
    };
    // Its programs are marked "may fail", which hides that they are not there.
    let start = unit.commands.iter().filter(|command| command.key == "ExecStart");
    for command in start.filter(|command| units::find_program(tree, &command.program).is_none()) {
        found.warning(PATH, format!("a boot that fails ends without a word: `{}` is not in the image", command.program));
    }
    let shell_only = unit.commands.iter().any(|command| command.program.ends_with("/systemd-sulogin-shell"));
    if shell_only && units::find_program(tree, "sulogin").is_none() {
        found.warning(PATH, "there is no emergency shell: `sulogin` is not in the image");
    }
}

/// Looks for what systemd opens at run time, by its own notes or, where it has none, by the table above.
fn check_libraries(tree: &Tree, features: &[String], found: &mut Findings) {
    let names: BTreeSet<&[u8]> = tree.iter().filter(|(path, _)| tree.read(path).is_some()).map(|(path, _)| path.name()).collect();
    let mut notes: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
    for (path, entry) in tree.iter() {
        let (name, Some(content)) = (path.name(), entry.content()) else { continue };
        if name.starts_with(b"libsystemd-shared-") || name.starts_with(b"libsystemd-core-") {
            for note in elf::read(content.bytes()).ok().flatten().into_iter().flat_map(|library| library.dlopen) {
                notes.entry(note.feature).or_default().push(note.sonames);
            }
        }
    }
    let has = |soname: &String| names.contains(soname.as_bytes());
    let mut missing = |feature: &str, sonames: &[String]| {
        let wanted = sonames.iter().map(|soname| format!("`{soname}`")).collect::<Vec<_>>().join(" or ");
        found.error("usr/lib", format!("`{feature}` will not work: systemd opens {wanted}, which is not in the image"));
    };
    for feature in features {
        for row in FEATURES.iter().filter(|row| row.names.contains(&feature.as_str())) {
            let fallback = || row.sonames.iter().map(|soname| vec![(*soname).to_owned()]).collect();
            let alternatives: Vec<Vec<String>> = notes.get(row.note).cloned().unwrap_or_else(fallback);
            alternatives.iter().filter(|sonames| !sonames.iter().any(has)).for_each(|sonames| missing(feature, sonames));
        }
        for (_, soname) in UNNOTED.iter().filter(|(name, soname)| name == feature && !names.contains(soname.as_bytes())) {
            missing(feature, &[(*soname).to_owned()]);
        }
    }
    // Without libkmod udev and PID 1 load no module, and nothing says so but an absent root.
    for sonames in notes.get("kmod").into_iter().flatten().filter(|sonames| !sonames.iter().any(has)) {
        missing("loading modules", sonames);
    }
}

/// Distributions have systemd-cryptsetup in a package of its own or in another one; without it no volume is asked for.
fn check_cryptsetup(tree: &Tree, features: &[String], found: &mut Findings) {
    let programs = ["usr/bin/systemd-cryptsetup", "usr/lib/systemd/systemd-cryptsetup"];
    let is_there = programs.iter().any(|program| tree.read(&TreePath::literal(program)).is_some());
    if features.iter().any(|feature| feature == "luks") && !is_there {
        found.warning(
            programs[0],
            "the feature `luks` is on and `systemd-cryptsetup` is not in the image: no encrypted volume is opened",
        );
    }
}

fn check_accounts(tree: &Tree, found: &mut Findings) {
    for path in ["etc/passwd", "etc/group"] {
        if account_names(tree, path).get("root").is_none_or(|id| id != "0") {
            found.warning(path, format!("`/{path}` does not know root: udev warns, and device nodes lose their groups"));
        }
    }
}

/// Returns names and ids of passwd or group.
fn account_names(tree: &Tree, path: &str) -> BTreeMap<String, String> {
    let content = tree.read(&TreePath::literal(path)).map(|content| content.bytes().to_vec()).unwrap_or_default();
    let pair = |line: &str| {
        let mut fields = line.split(':');
        Some((fields.next()?.to_owned(), fields.nth(1)?.to_owned()))
    };
    String::from_utf8_lossy(&content).lines().filter_map(pair).collect()
}

/// Looks for users and groups that udev's rules give device nodes to: udev warns of each that it does not know.
fn check_udev_owners(tree: &Tree, found: &mut Findings) {
    let known = [("OWNER", account_names(tree, "etc/passwd")), ("GROUP", account_names(tree, "etc/group"))];
    for directory in ["etc/udev/rules.d", "usr/lib/udev/rules.d"] {
        for (path, _) in tree.children(&TreePath::literal(directory)).filter(|(path, _)| path.name().ends_with(b".rules")) {
            let Some(content) = tree.read(path) else { continue };
            let text = String::from_utf8_lossy(content.bytes()).into_owned();
            let words = text.lines().filter(|line| !line.trim_start().starts_with('#')).flat_map(|line| line.split(','));
            for (key, value) in words.filter_map(|word| word.split_once('=')) {
                let (key, value) = (key.trim().trim_end_matches([':', '+']), value.trim().trim_matches('"'));
                let Some((noun, names)) = known.iter().find(|(name, _)| *name == key) else { continue };
                if !names.contains_key(value) && value.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
                    let message =
                        format!("udev does not know the {} `{value}`, so its device nodes stay root's", noun.to_lowercase());
                    found.add(Severity::Warning, path.clone(), message);
                }
            }
        }
    }
}

fn check_modules(tree: &Tree, kernel: Option<&str>, found: &mut Findings) {
    let modules = TreePath::literal("usr/lib/modules");
    let has_modules = |directory: &TreePath| {
        let is_module = |name: &[u8]| [&b".ko"[..], b".ko.xz", b".ko.zst", b".ko.gz"].iter().any(|suffix| name.ends_with(suffix));
        tree.below(directory).any(|(path, _)| is_module(path.name()))
    };
    for (directory, _) in tree.children(&modules) {
        if kernel.is_some_and(|kernel| directory.name() != kernel.as_bytes()) && has_modules(directory) {
            let message =
                format!("the image is for the kernel `{}`, which does not look for modules here", kernel.unwrap_or_default());
            found.add(Severity::Warning, directory.clone(), message);
        }
        for index in ["modules.dep.bin", "modules.alias.bin"] {
            let absent = directory.join(index.as_bytes()).is_ok_and(|path| tree.read(&path).is_none());
            if absent && has_modules(directory) {
                let message =
                    format!("there are modules but no `{index}`: no driver is loaded, and the root device never appears");
                found.add(Severity::Error, directory.clone(), message);
            }
        }
    }
    let Some(kernel) = kernel else { return };
    match modules.join(kernel.as_bytes()) {
        Ok(directory) if tree.lookup(&directory).is_none() => {
            found.add(Severity::Error, directory, format!("there are no modules for the kernel `{kernel}`"));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Entry, Origin};

    fn tree(files: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::new();
        for (path, text) in files {
            let entry = match text.strip_prefix("-> ") {
                Some(target) => Entry::symlink(target, Origin::Made("test")),
                None => Entry::file(*text, Origin::Made("test")).with_mode(0o755),
            };
            tree.insert(&TreePath::literal(path), entry).expect(path);
        }
        tree
    }

    fn messages(tree: &Tree, kernel: Option<&str>) -> Vec<String> {
        check(tree, &Expected { kernel, ..Expected::default() }).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn an_init_must_be_something_the_kernel_can_run() {
        let table: &[(&[(&str, &str)], &str)] = &[
            (&[], "there is no `/init`"),
            (&[("init", "-> usr/lib/systemd/systemd")], "`/init` leads nowhere"),
            (&[("init", "text")], "neither an ELF program nor a script"),
            (&[("init", "#!/bin/sh -e\n")], "a script for `/bin/sh`, which is not in the image"),
            (&[("init", "#! \n")], "a script for ``"),
            (&[("init", "\x7fELF\x02\x01")], "`/init` is damaged"),
        ];
        for (files, message) in table {
            let found = messages(&tree(files), None);
            assert!(found.len() == 1 && found[0].contains(message), "{message}: {found:?}");
        }
        assert_eq!(messages(&tree(&[("init", "#!/bin/sh\n"), ("bin/sh", "x")]), None), Vec::<String>::new());
    }

    #[test]
    fn modules_need_their_indexes_and_their_kernel() {
        let base = [("init", "#!/bin/sh\n"), ("bin/sh", "x"), ("usr/lib/modules/6.1/kernel/a.ko.xz", "x")];
        let mut whole = base.to_vec();
        whole.extend([("usr/lib/modules/6.1/modules.dep.bin", "x"), ("usr/lib/modules/6.1/modules.alias.bin", "x")]);
        assert_eq!(messages(&tree(&whole), Some("6.1")), Vec::<String>::new());
        assert_eq!(messages(&tree(&base), Some("6.1")).len(), 2, "both indexes");
        assert_eq!(messages(&tree(&whole), Some("6.2")).len(), 2, "none for 6.2, and some for another");
        let empty = [("init", "#!/bin/sh\n"), ("bin/sh", "x"), ("usr/lib/modules/6.1/modules.builtin", "x")];
        assert_eq!(messages(&tree(&empty), Some("6.1")), Vec::<String>::new(), "a kernel with all built in");
    }

    #[test]
    fn every_word_for_a_machine_is_known() {
        for (a, b) in [("amd64", "x86_64"), ("arm64", "aarch64"), ("ppc64el", "ppc64le")] {
            assert!(machine_of(a).is_some() && machine_of(a) == machine_of(b), "{a} {b}");
        }
        assert_eq!(machine_of("all"), None);
    }

    #[test]
    fn a_requirement_chain_is_an_error_and_a_wish_a_warning() {
        let system = "usr/lib/systemd/system";
        let units = [
            ("initrd.target", "[Unit]\nRequires=a.service\nWants=b.service gone.service\n"),
            ("a.service", "[Unit]\nRequires=c.service\n[Service]\nExecStart=/no/a\n"),
            ("b.service", "[Service]\nExecStart=/no/b\n"),
            ("c.service", "[Unit]\nConditionPathExists=!/etc/initrd-release\n[Service]\nExecStart=/no/c\n"),
        ];
        let mut tree = tree(&[("init", "#!/bin/sh\n"), ("bin/sh", "x"), (SYSTEMD, "x")]);
        for (name, text) in units {
            let path = TreePath::literal(&format!("{system}/{name}"));
            tree.insert(&path, Entry::file(text, Origin::Made("test"))).expect(name);
        }
        let found = check(&tree, &Expected::default());
        let severity = |text: &str| found.iter().find(|finding| finding.message.contains(text)).map(|finding| finding.severity);
        assert_eq!(severity("`/no/a`"), Some(Severity::Error));
        assert_eq!(severity("`/no/b`"), Some(Severity::Warning));
        assert_eq!(severity("`/no/c`"), None, "it never runs in an initrd");
        assert_eq!(severity("gone.service"), None, "what is only wanted may be missing");
        assert_eq!(found.first().map(|finding| finding.severity), Some(Severity::Error), "errors come first");
    }
}
