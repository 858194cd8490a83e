//! Our depmod against kmod's: version 34 of Debian 13, byte for byte, and whatever version this machine has.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use mkinitrd_pkg::format::compress::{Format, decode};
use mkinitrd_pkg::format::{modindex, module};
use mkinitrd_pkg::modules::{self, Options, Selected, Shipped, find_kver};
use mkinitrd_pkg::report::Silent;
use mkinitrd_pkg::tree::{Entry, Origin, Tree, TreePath, disk};

use crate::kernels::{self, BOOKWORM, SID, TRIXIE, TRIXIE_ARM64};
use crate::modules::generic;

/// What kmod before 31 writes otherwise than kmod 34 and ours. Everything else is equal byte for byte.
///
/// | file             | before 31                                                              | 34 and ours           |
/// |------------------|------------------------------------------------------------------------|-----------------------|
/// | `modules.*.bin`  | children before parents: same keys, values, priorities and size        | parents before children |
/// | `modules.weakdep`| not written                                                            | written, if only a heading |
const REORDERED_BEFORE_31: &str = ".bin";
const ABSENT_BEFORE_31: &str = "modules.weakdep";

/// Runs Debian 13's kmod under one of its names, with its own libraries and loader. Returns what it printed.
fn kmod_34(name: &str, args: &[&str]) -> String {
    let kmod = kernels::unpacked("kmod-34", || {
        ["kmod", "libkmod2", "libc6", "libssl3t64", "liblzma5", "libzstd1", "zlib1g"]
            .iter()
            .map(|name| kernels::package("trixie", "amd64", &|found| found == *name))
            .collect()
    });
    let libraries = kmod.join("usr/lib/x86_64-linux-gnu");
    let output = Command::new(libraries.join("ld-linux-x86-64.so.2"))
        .arg("--library-path")
        .arg(&libraries)
        .args(["--argv0", name])
        .arg(kmod.join("usr/bin/kmod"))
        .args(args)
        .output()
        .expect("the loader runs: this test needs an amd64 machine");
    assert!(output.status.success(), "{name} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn depmod_here(root: &Path, kver: &str) -> u32 {
    let depmod = ["/usr/sbin/depmod", "/sbin/depmod"].into_iter().find(|path| Path::new(path).exists());
    let depmod = depmod.expect("depmod is there: install `kmod`");
    kernels::run(depmod, "kmod", &["-b", root.to_str().expect("UTF-8"), kver]);
    let version = kernels::run(depmod, "kmod", &["--version"]);
    version.split_whitespace().nth(2).and_then(|word| word.split('.').next()?.parse().ok()).expect("a version")
}

/// Reads the indexes that a depmod wrote into a root.
fn written(root: &Path, kver: &str) -> BTreeMap<String, Vec<u8>> {
    let dir = root.join("lib/modules").join(kver);
    let names = fs::read_dir(&dir).expect("the directory").map(|entry| entry.expect("an entry").file_name().into_string());
    let names = names.map(|name| name.expect("UTF-8")).filter(|name| name.starts_with("modules."));
    names.map(|name| (name.clone(), fs::read(dir.join(&name)).expect("an index"))).collect()
}

/// Chooses modules of a kernel, writes them out, lets both depmods index them, compares.
fn compare(kernel_tree: &Tree, arch: &str, patterns: &[&str]) -> Selected {
    let kver = find_kver(kernel_tree).expect("one kernel");
    let patterns: Vec<_> = patterns.iter().map(|text| mkinitrd_pkg::config::Item::from_command_line(*text)).collect();
    let patterns = if patterns.is_empty() { generic(arch) } else { patterns };
    let options = Options { arch: Some(arch), shipped: Shipped::All, ..Options::default() };
    let ours = modules::modules(kernel_tree, &Tree::new(), &kver, &modules::Wanted::patterns(&patterns), &options, 2, &Silent)
        .expect("the modules");
    let dir = TreePath::literal("usr/lib/modules").join(kver.as_str().as_bytes()).expect("a path");
    // What depmod makes itself must not be there before.
    let mut bare = ours.tree.clone();
    bare.retain(|_, entry| entry.origin == Origin::Kernel);
    for version in ["34", "here"] {
        let temp = tempfile::tempdir().expect("a directory");
        let root = temp.path().join("root");
        disk::write(&bare, &root).expect("writing");
        symlink("usr/lib", root.join("lib")).expect("a link");
        let old = match version {
            "34" => {
                kmod_34("depmod", &["-b", root.to_str().expect("UTF-8"), kver.as_str()]);
                false
            }
            _ => depmod_here(&root, kver.as_str()) < 31,
        };
        let theirs = written(&root, kver.as_str());
        let mut names: Vec<&str> = theirs.keys().map(String::as_str).collect();
        if old {
            names.push(ABSENT_BEFORE_31);
            names.sort_unstable();
        }
        let have: Vec<&str> = ours.tree.below(&dir).filter_map(|(path, _)| path.as_str()?.rsplit('/').next()).collect();
        let have: Vec<&str> = have.into_iter().filter(|name| name.starts_with("modules.")).collect();
        assert_eq!(have, names, "kmod {version}");
        for (name, theirs) in &theirs {
            let ours = ours.tree.read(&dir.join(name.as_bytes()).expect("a path")).expect("ours").bytes();
            if old && name.ends_with(REORDERED_BEFORE_31) {
                assert!(modindex::read(ours) == modindex::read(theirs), "{kver} {name}: kmod {version} has other keys");
                assert_eq!(ours.len(), theirs.len());
            } else if ours != theirs.as_slice() {
                let at = ours.iter().zip(theirs).take_while(|(a, b)| a == b).count();
                let line = |bytes: &[u8]| {
                    String::from_utf8_lossy(&bytes[at.saturating_sub(80)..(at + 160).min(bytes.len())]).into_owned()
                };
                panic!(
                    "{kver} {name}: differs from kmod {version} at byte {at}:\nours   {}\ntheirs {}",
                    line(ours),
                    line(theirs)
                );
            }
        }
    }
    ours
}

#[test]
fn the_generic_set_of_trixie_is_indexed_as_kmod_does() {
    compare(&TRIXIE.tree(), "amd64", &[]);
}

#[test]
fn the_generic_set_of_bookworm_is_indexed_as_kmod_does() {
    compare(&BOOKWORM.tree(), "amd64", &[]);
}

#[test]
fn the_generic_set_of_sid_is_indexed_as_kmod_does() {
    compare(&SID.tree(), "amd64", &[]);
}

#[test]
fn the_generic_set_of_trixie_on_arm64_is_indexed_as_kmod_does() {
    compare(&TRIXIE_ARM64.tree(), "arm64", &[]);
}

#[test]
fn the_whole_kernel_of_trixie_is_indexed_as_kmod_does() {
    compare(&TRIXIE.tree(), "amd64", &["*"]);
}

#[test]
fn e16_without_the_order_of_the_kernel_the_order_is_that_of_kmod() {
    let mut tree = TRIXIE.tree();
    tree.retain(|path, _| !path.as_bytes().ends_with(b"modules.order"));
    compare(&tree, "amd64", &["/fs/", "/drivers/md/"]);
}

#[test]
fn b07_a_kernel_without_any_list_is_indexed_as_kmod_does() {
    let mut tree = BOOKWORM.tree();
    tree.retain(|path, _| !path.name().starts_with(b"modules."));
    let (_, kver) = BOOKWORM.dir();
    let dir = TreePath::literal("usr/lib/modules").join(kver.as_bytes()).expect("a path");
    // Nothing is built in for all that can be known: what asks for a built-in module cannot be chosen.
    assert!(tree.get(&dir).is_some());
    compare(&tree, "amd64", &["loop", "dm_crypt", "overlay"]);
}

#[test]
fn e16_updated_and_renamed_modules_are_indexed_as_kmod_does() {
    let mut tree = TRIXIE.tree();
    let (_, kver) = TRIXIE.dir();
    let dir = TreePath::literal("usr/lib/modules").join(kver.as_bytes()).expect("a path");
    let at = |below: &str| dir.join(below.as_bytes()).expect("a path");
    // Not in `modules.order`, so behind all others; `nvme-core` has many users whose dependencies must follow it there.
    for (from, to) in [
        ("kernel/drivers/nvme/host/nvme-core.ko.xz", "updates/dkms/nvme-core.ko.xz"),
        ("kernel/drivers/md/dm-mod.ko.xz", "extra/dm_mod.ko.xz"),
        ("kernel/fs/ext4/ext4.ko.xz", "updates/ext4.ko.xz"),
    ] {
        let entry = tree.remove(&at(from)).expect(from);
        tree.insert(&at(to), entry).expect(to);
    }
    compare(&tree, "amd64", &["nvme*", "dm_*", "ext4", "btrfs", "loop"]);
}

#[test]
fn e16_softdeps_weakdeps_and_device_nodes_are_followed_and_indexed_as_kmod_does() {
    let mut tree = TRIXIE.tree();
    let (_, kver) = TRIXIE.dir();
    let dir = TreePath::literal("usr/lib/modules").join(kver.as_bytes()).expect("a path");
    let at = |below: &str| dir.join(below.as_bytes()).expect("a path");
    // No kernel of Debian has a weakdep yet: written over descriptions in a real module, NULs behind.
    let old = at("kernel/drivers/block/loop.ko.xz");
    let mut bytes = decode::all(Format::Xz, tree.read(&old).expect("the module").bytes(), 1 << 30).expect("a module");
    for (before, after) in [
        ("parm=max_part:Maximum number of partitions per loop device", "softdep=pre: nbd post: virtio_pci no_such_module"),
        ("parm=max_loop:Maximum number of loop devices", "weakdep=squashfs nowhere"),
    ] {
        let place = bytes.windows(before.len()).position(|window| window == before.as_bytes()).expect(before);
        bytes[place..place + before.len()].fill(0);
        bytes[place..place + after.len()].copy_from_slice(after.as_bytes());
    }
    tree.remove(&old);
    tree.insert(&at("kernel/drivers/block/loop.ko"), Entry::file(bytes, Origin::Kernel)).expect("a file");
    let chosen = compare(&tree, "amd64", &["loop"]);
    let reasons: Vec<String> = chosen.modules.iter().map(|module| format!("{}: {}", module.name, module.reason)).collect();
    assert_eq!(reasons, ["loop: pattern `loop` (the command line)", "nbd: softdep of `loop`", "squashfs: weakdep of `loop`"]);
    let text = |name: &str| String::from_utf8(chosen.tree.read(&at(name)).expect(name).bytes().to_vec()).expect("UTF-8");
    assert!(text("modules.weakdep").ends_with("\nweakdep loop squashfs nowhere\n"));
    assert!(text("modules.devname").ends_with("\nloop loop-control c10:237\n"));
    // What a pattern excludes is not brought in by a wish.
    let chosen = compare(&tree, "amd64", &["loop", "-squashfs", "-nbd"]);
    assert_eq!(chosen.modules.len(), 1);
}

#[test]
fn modprobe_finds_everything_in_what_is_shipped() {
    let tree = TRIXIE.tree();
    let kver = find_kver(&tree).expect("one kernel");
    let options = Options { arch: Some("amd64"), shipped: Shipped::Needed, ..Options::default() };
    let ours = modules::modules(&tree, &Tree::new(), &kver, &modules::Wanted::patterns(&generic("amd64")), &options, 2, &Silent)
        .expect("the modules");
    let temp = tempfile::tempdir().expect("a directory");
    let root = temp.path().join("root");
    disk::write(&ours.tree, &root).expect("writing");
    symlink("usr/lib", root.join("lib")).expect("a link");
    let root = root.to_str().expect("UTF-8");
    let here = ["/usr/sbin/modprobe", "/sbin/modprobe"].into_iter().find(|path| Path::new(path).exists());
    let here = here.expect("modprobe is there: install `kmod`");
    let empty = temp.path().join("modprobe.d");
    fs::create_dir(&empty).expect("a directory");
    let common = ["-d", root, "-S", kver.as_str(), "-C", empty.to_str().expect("UTF-8")];
    for (option, asked, expected) in [
        ("-D", "dm-crypt", &["insmod dm-mod", "insmod dm-crypt"][..]),
        // Softdeps, one of them by an alias of several modules.
        ("-D", "btrfs", &["insmod blake2b_generic", "insmod raid6_pq", "insmod btrfs"]),
        ("-R", "virtio:d00000002v00001AF4", &["virtio_blk"]),
        ("-R", "pci:v00001000d0000005Bsv00001028sd00001F35bc01sc04i00", &["megaraid_sas"]),
        ("-R", "crypto-xts", &["xts"]),
        ("-R", "fs-ext4", &["ext4"]),
        ("-R", "symbol:dm_get_md", &["dm_mod"]),
        ("-D", "virtio_pci", &["builtin virtio_pci"]),
        ("-D", "fs-fuse", &["builtin fuse"]),
    ] {
        let args: Vec<&str> = common.iter().copied().chain([option, asked]).collect();
        for (version, text) in [("34", kmod_34("modprobe", &args)), ("here", kernels::run(here, "kmod", &args))] {
            // `insmod /a/b/x.ko.xz ` becomes `insmod x`.
            let file = |word: &str| word.rsplit('/').next().and_then(|name| name.split('.').next()).unwrap_or(word).to_owned();
            let lines = text.lines().map(|line| line.split_whitespace().map(file).collect::<Vec<_>>().join(" "));
            let lines: Vec<String> = lines.collect();
            let mut places = expected.iter().map(|wanted| lines.iter().position(|line| line == wanted));
            assert!(places.all(|place| place.is_some()), "kmod {version}: {asked}: {lines:?}");
            let last = lines.last().map(String::as_str);
            assert!(option == "-R" || last == expected.last().copied(), "kmod {version}: {asked}: {lines:?}");
        }
    }
    let args: Vec<&str> = common.iter().copied().chain(["-R", "no-such-alias"]).collect();
    assert!(!Command::new(here).args(&args).output().expect("modprobe runs").status.success());
}

/// Real indexes of a kernel for 32-bit ARM, made by its distribution's depmod, and some of its modules.
struct Twins {
    indexes: PathBuf,
    modules: PathBuf,
}

/// The fixtures are not in the repository: without them this says so, and the tests above are what is left.
fn twins() -> Option<Twins> {
    let Some(root) = std::env::var_os("MKINITRD_FIXTURES").map(PathBuf::from) else {
        // Past the test harness, which would hide it.
        let text = b"NOT RUN: set MKINITRD_FIXTURES to compare with the indexes of a kernel for 32-bit ARM\n";
        std::io::stderr().write_all(text).expect("standard error");
        return None;
    };
    let modules = root.join("modules");
    Some(Twins { indexes: modules.join("arch-arm-6.2.10"), modules: modules.join("arch-arm-6.2.10-ko") })
}

/// A line of a text index: key and module.
fn alias_lines(text: &str) -> Vec<(&str, &str)> {
    text.lines().filter_map(|line| line.strip_prefix("alias ")?.rsplit_once(' ')).collect()
}

#[test]
fn indexes_of_another_distribution_are_equal_to_ours() {
    let Some(twins) = twins() else { return };
    let read = |name: &str| fs::read(twins.indexes.join(name)).expect(name);
    let text = |name: &str| String::from_utf8(read(name)).expect(name);
    let dep = text("modules.dep");
    let places: BTreeMap<String, u32> =
        dep.lines().zip(0..).map(|(line, place)| (module::name_of(key(line).as_bytes()), place)).collect();
    let mut made: BTreeMap<&str, modindex::Index> = BTreeMap::new();
    let mut add =
        |index, key: &str, value: &str, priority| made.entry(index).or_default().insert(key, value, priority).expect("an entry");
    for (line, place) in dep.lines().zip(0..) {
        add("modules.dep.bin", &module::name_of(key(line).as_bytes()), line, place);
    }
    for (index, source) in [("modules.alias.bin", "modules.alias"), ("modules.symbols.bin", "modules.symbols")] {
        for (alias, name) in alias_lines(&text(source)) {
            let dashes_stay = source == "modules.symbols" || alias.contains('[');
            add(index, &if dashes_stay { alias.to_owned() } else { alias.replace('-', "_") }, name, places[name]);
        }
    }
    for line in text("modules.builtin").lines() {
        add("modules.builtin.bin", &module::name_of(line.as_bytes()), "", 0);
    }
    for (alias, name) in module::builtin_modinfo(&read("modules.builtin.modinfo")).aliases {
        add("modules.builtin.alias.bin", &alias.replace('-', "_"), &name, 0);
    }
    assert_eq!(made.len(), 5);
    for (name, index) in made {
        let (ours, theirs) = (index.write().expect(name), read(name));
        assert_eq!(ours.len(), theirs.len(), "{name}");
        assert!(modindex::read(&ours).expect(name) == modindex::read(&theirs).expect(name), "{name}");
    }
}

fn key(line: &str) -> &str {
    line.split(':').next().unwrap_or(line)
}

#[test]
fn modules_for_32_bit_arm_are_read_as_their_indexes_say() {
    let Some(twins) = twins() else { return };
    let text = |name: &str| fs::read_to_string(twins.indexes.join(name)).expect(name);
    let (dep, alias, symbols) = (text("modules.dep"), text("modules.alias"), text("modules.symbols"));
    let find = format!("find '{}' -name '*.ko.gz'", twins.modules.display());
    let files = kernels::run("sh", "dash", &["-c", &find]);
    let mut seen = 0;
    for file in files.lines() {
        let packed = fs::read(file).expect(file);
        let info = module::parse(&decode::all(Format::Gzip, &packed, 1 << 30).expect(file)).expect(file);
        let name = module::name_of(file.as_bytes());
        assert_eq!(module::machine_name(info.machine), "arm", "{file}");
        let of_it = |text: &str, prefix: &str| -> Vec<String> {
            let lines = alias_lines(text).into_iter().filter(|(_, of)| *of == name);
            lines.map(|(key, _)| key.strip_prefix(prefix).expect(prefix).to_owned()).collect()
        };
        assert_eq!(info.aliases, of_it(&alias, ""), "{file}");
        let sorted = |mut list: Vec<String>| {
            list.sort();
            list
        };
        assert_eq!(sorted(info.exports.clone()), sorted(of_it(&symbols, "symbol:")), "{file}");
        // What it depends on directly is among all that its line names.
        let line = dep.lines().find(|line| module::name_of(key(line).as_bytes()) == name).expect(file);
        let named: Vec<String> = line.split(' ').skip(1).map(|path| module::name_of(path.as_bytes())).collect();
        assert!(info.depends.iter().all(|needed| named.contains(&module::normalized(needed))), "{file}: {named:?}");
        seen += 1;
    }
    assert!(seen > 50, "{seen} modules");
}
