//! The generic list of modules on real kernels.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Mutex;

use mkinitrd_pkg::base::error::{Diagnostic, ErrorKind};
use mkinitrd_pkg::base::fs::FileError;
use mkinitrd_pkg::config::{self, Audience, ImageKind, Item, Layer, Source};
use mkinitrd_pkg::format::compress::{Format, decode};
use mkinitrd_pkg::format::{modindex, module};
use mkinitrd_pkg::modules::catalog::Catalog;
use mkinitrd_pkg::modules::{self, Error, KernelVersion, Options, Selected, find_kver, select};
use mkinitrd_pkg::report::{Event, Reporter};
use mkinitrd_pkg::tree::{Content, Entry, Kind, Origin, Tree, TreePath, disk};

use crate::kernels::{BOOKWORM, Kernel, SID, TRIXIE, TRIXIE_ARM64, package_of, run, unpacked};

/// The shipped list for an architecture, as the profile gives it to an image with a network.
pub fn generic(arch: &str) -> Vec<Item> {
    let mut layers = config::load("debian", None, &[]).expect("the profile");
    layers.layers.push(Layer::parse("test", "with = ['net']").expect("a drop-in"));
    layers.resolve("trixie", arch, &Audience::default()).expect("merges").modules
}

/// The same for one without.
fn without_network(arch: &str) -> Vec<Item> {
    let layers = config::load("debian", None, &[]).expect("the profile");
    layers.resolve("trixie", arch, &Audience::default()).expect("merges").modules
}

/// The same for an image for one machine.
fn host(arch: &str) -> Vec<Item> {
    let layers = config::load("debian", None, &[]).expect("the profile");
    let audience = Audience { kind: ImageKind::Host, ..Audience::default() };
    layers.resolve("trixie", arch, &audience).expect("merges").modules
}

/// Keeps what was reported: whether it was a warning, and the message.
#[derive(Default)]
pub struct Log(Mutex<Vec<(bool, String)>>);

impl Log {
    /// Returns the messages that contain a text.
    fn all(&self, part: &str) -> Vec<String> {
        let lines = self.0.lock().expect("a lock");
        lines.iter().map(|(_, line)| line.clone()).filter(|line| line.contains(part)).collect()
    }

    fn warnings(&self) -> Vec<String> {
        self.0.lock().expect("a lock").iter().filter(|(warning, _)| *warning).map(|(_, line)| line.clone()).collect()
    }
}

impl Reporter for Log {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Warning { message, .. } => self.0.lock().expect("a lock").push((true, (*message).to_owned())),
            Event::Detail { message, .. } => self.0.lock().expect("a lock").push((false, (*message).to_owned())),
            _ => {}
        }
    }
}

/// Returns the processor time of this process in seconds.
fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("procfs");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<f64>().expect("ticks")).sum::<f64>() / 100.0
}

fn choose(kernel: Kernel) -> (Selected, Log, f64) {
    choose_of(kernel, &generic(kernel.arch))
}

fn choose_of(kernel: Kernel, patterns: &[Item]) -> (Selected, Log, f64) {
    let tree = kernel.tree();
    let kver = find_kver(&tree).expect("one kernel");
    let log = Log::default();
    let options = Options { arch: Some(kernel.arch), ..Options::default() };
    let before = cpu_s();
    let selected = modules::modules(&tree, &Tree::new(), &kver, &modules::Wanted::patterns(patterns), &options, 2, &log)
        .expect("the modules");
    (selected, log, cpu_s() - before)
}

#[test]
fn every_pattern_of_the_generic_list_matches_and_the_set_is_small() {
    for (kernel, bytes_max) in [(TRIXIE, 30_000_000), (SID, 33_000_000), (BOOKWORM, 125_000_000), (TRIXIE_ARM64, 30_000_000)] {
        let (selected, log, cpu_s) = choose(kernel);
        println!("{} {}: {}, {cpu_s:.2} CPU s", kernel.suite, kernel.arch, selected.figures());
        let unmatched = log.all("matches nothing");
        assert!(unmatched.iter().all(|line| line.contains("pattern `-")), "{kernel:?}: {unmatched:#?}");
        assert!(selected.tree.size_bytes() < bytes_max + 4_000_000, "{kernel:?}: {}", selected.tree.size_bytes());
        let bytes: u64 = selected.modules.iter().map(|module| module.size_bytes).sum();
        assert!(bytes < bytes_max, "{kernel:?}: {}", selected.figures());
        let has = |name: &str| selected.modules.iter().any(|module| module.name == name);
        // One each of what the list is for; those built in somewhere are left out here.
        for name in
            ["ext4", "btrfs", "dm_crypt", "raid456", "nvme", "uas", "megaraid_sas", "mpt3sas", "usbhid", "hid_apple", "r8169"]
        {
            assert!(has(name), "{kernel:?}: {name}");
        }
        for name in ["amdgpu", "i915", "iwlwifi", "snd", "snd_pcm", "bluetooth", "cfg80211", "kvm"] {
            assert!(!has(name), "{kernel:?}: {name}");
        }
    }
}

#[test]
fn an_image_that_does_not_speak_over_a_network_has_no_cards_but_those_of_virtual_machines() {
    for kernel in [TRIXIE, SID, BOOKWORM, TRIXIE_ARM64] {
        let (without, log, _) = choose_of(kernel, &without_network(kernel.arch));
        assert!(log.all("matches nothing").iter().all(|line| line.contains("pattern `-")), "{kernel:?}");
        let (with, _, _) = choose(kernel);
        let bytes = |selected: &Selected| selected.modules.iter().map(|module| module.size_bytes).sum::<u64>();
        println!("{} {}: {}, with a network {}", kernel.suite, kernel.arch, without.figures(), with.figures());
        for name in ["r8169", "ixgbe", "bonding", "asix"] {
            assert!(names(&with).contains(&name) && !names(&without).contains(&name), "{kernel:?}: {name}");
        }
        // And with them goes nothing that drives a disk.
        for name in ["virtio_net", "nvme", "lpfc", "qedf", "bnx2i", "cxgb4i"] {
            assert!(names(&without).contains(&name), "{kernel:?}: {name}");
        }
        assert!(bytes(&without) + 5_000_000 < bytes(&with), "{kernel:?}: {} and {}", without.figures(), with.figures());
    }
}

/// Words that no kernel of Debian knows, yet: other distributions build these as modules, or nobody's kernel has them in its tree.
const OF_OTHER_DISTRIBUTIONS: [&str; 3] = ["/drivers/gpu/drm/sysfb/", "hyperv_fb", "-nvidia*"];

/// Writes out the first braces of a pattern, and so on.
fn written_out(pattern: &str) -> Vec<String> {
    let Some(open) = pattern.find('{') else { return vec![pattern.to_owned()] };
    let close = open + pattern[open..].find('}').expect("braces pair and do not nest");
    let parts = pattern[open + 1..close].split(',');
    parts.flat_map(|part| written_out(&format!("{}{part}{}", &pattern[..open], &pattern[close + 1..]))).collect()
}

#[test]
fn every_word_between_braces_matches_on_some_kernel() {
    let mut unmatched: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for kernel in [TRIXIE, SID, BOOKWORM, TRIXIE_ARM64] {
        let tree = kernel.tree();
        let catalog = Catalog::new(&tree, &find_kver(&tree).expect("one kernel")).expect("a kernel");
        let lists = [generic(kernel.arch), host(kernel.arch)].concat();
        let words = lists.iter().flat_map(|item| written_out(&item.text)).collect::<Vec<_>>();
        let source = Source { file: "distro-profiles/modules.toml".into(), line: 0 };
        let items: Vec<Item> = words.into_iter().map(|text| Item { text, source: source.clone() }).collect();
        let selection = select::select(&catalog, &items).expect("patterns");
        let here: BTreeSet<String> = selection.unmatched.iter().map(|number| items[*number].text.clone()).collect();
        let of_arch = unmatched.entry(kernel.arch).or_insert_with(|| here.clone());
        of_arch.retain(|word| here.contains(word));
    }
    // What is in the list for both architectures must exist for one of them.
    let elsewhere = |arch: &str, word: &String| {
        let other = if arch == "amd64" { "arm64" } else { "amd64" };
        [generic(other), host(other)].concat().iter().any(|item| written_out(&item.text).contains(word))
            && !unmatched[other].contains(word)
    };
    let nowhere: Vec<(&str, &String)> = unmatched
        .iter()
        .flat_map(|(arch, words)| words.iter().map(move |word| (*arch, word)))
        .filter(|(arch, word)| !elsewhere(arch, word) && !OF_OTHER_DISTRIBUTIONS.contains(&word.as_str()))
        .collect();
    assert!(nowhere.is_empty(), "{nowhere:#?}");
}

#[test]
fn e16_the_closure_is_what_modinfo_says() {
    let (selected, _, _) = choose(TRIXIE);
    let (dir, _) = TRIXIE.dir();
    let root = dir.ancestors().nth(4).expect("the root");
    let paths: Vec<String> = selected.modules.iter().map(|module| format!("{}{}", root.display(), module.path)).collect();
    let builtin = fs::read_to_string(dir.join("modules.builtin")).expect("the list");
    let have: BTreeSet<String> =
        selected.modules.iter().map(|module| module.name.clone()).chain(builtin.lines().map(name_of)).collect();
    let field = |field: &str| -> BTreeSet<String> {
        let args: Vec<&str> = ["-F", field].into_iter().chain(paths.iter().map(String::as_str)).collect();
        run("/usr/sbin/modinfo", "kmod", &args).split(['\n', ',']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    let needed = field("depends");
    assert!(needed.len() > 100, "{needed:?}");
    let missing: Vec<&String> = needed.iter().filter(|name| !have.contains(&name_of(name))).collect();
    assert!(missing.is_empty(), "{missing:?}");
    // No firmware is there, so all that modinfo names must be told as missing.
    let told: BTreeSet<String> = selected.missing_firmware.values().flatten().cloned().collect();
    let asked = field("firmware");
    assert!(asked.is_subset(&told), "{:?}", asked.difference(&told));
}

/// There is no such adapter to boot from here. Which modules are drivers of one is not said by our lists but by what they link with.
#[test]
fn every_adapter_of_fibre_channel_and_fcoe_is_in_the_generic_set() {
    let (dir, _) = TRIXIE.dir();
    let script = "cd \"$1/kernel/drivers\" && find scsi message nvme hv -name '*.ko*' |
        while read -r path; do echo \"$path $(/usr/sbin/modinfo -F depends \"$path\")\"; done";
    let listed = run("sh", "kmod", &["-euc", script, "sh", dir.to_str().expect("UTF-8")]);
    let is_one = |depends: &str| depends.split(',').any(|name| ["scsi_transport_fc", "libfc", "libfcoe"].contains(&name));
    let drivers: Vec<String> = listed
        .lines()
        .filter_map(|line| line.rsplit_once(' '))
        .filter(|(_, on)| is_one(on))
        .map(|(path, _)| name_of(path))
        .collect();
    assert!(drivers.len() >= 10 && drivers.contains(&"lpfc".to_owned()), "{drivers:?}");
    let (selected, _, _) = choose(TRIXIE);
    let have = names(&selected);
    // The other end of the wire, which links with the same.
    let is_target = |name: &str| name.starts_with("tcm_");
    let missing: Vec<&String> = drivers.iter().filter(|name| !have.contains(&name.as_str()) && !is_target(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

fn name_of(path: &str) -> String {
    mkinitrd_pkg::format::module::name_of(path.as_bytes())
}

/// A few modules of trixie and all its lists.
fn few(names: &[&str]) -> (Tree, KernelVersion) {
    let mut tree = TRIXIE.tree();
    tree.retain(|path, entry| {
        let name = path.name();
        let listed = names.iter().any(|wanted| name.strip_prefix(wanted.as_bytes()) == Some(b".ko.xz"));
        matches!(entry.kind, Kind::Dir) || name.starts_with(b"modules.") || listed
    });
    let kver = find_kver(&tree).expect("one kernel");
    (tree, kver)
}

/// The path of something in a kernel's directory.
fn path(kver: &KernelVersion, below: &str) -> TreePath {
    TreePath::literal(&format!("usr/lib/modules/{kver}/{below}"))
}

fn typed(words: &[&str]) -> Vec<Item> {
    words.iter().map(|word| Item::from_command_line(*word)).collect()
}

fn pick(tree: &Tree, kver: &KernelVersion, words: &[&str]) -> (Result<Selected, Error>, Log) {
    let log = Log::default();
    let options = Options { arch: Some("amd64"), ..Options::default() };
    (modules::modules(tree, tree, kver, &modules::Wanted::patterns(&typed(words)), &options, 2, &log), log)
}

fn names(selected: &Selected) -> Vec<&str> {
    selected.modules.iter().map(|module| module.name.as_str()).collect()
}

#[test]
fn every_module_has_its_reason() {
    let (tree, kver) = few(&[
        "dm-mod",
        "dm-crypt",
        "btrfs",
        "xor",
        "raid6_pq",
        "libcrc32c",
        "blake2b_generic",
        "xxhash_generic",
        "crc32c_generic",
    ]);
    let (selected, _) = pick(&tree, &kver, &["dm-crypt", "/fs/btrfs/"]);
    let selected = selected.expect("the modules");
    let reasons: BTreeMap<&str, String> =
        selected.modules.iter().map(|one| (one.name.as_str(), one.reason.to_string())).collect();
    for (name, reason) in [
        ("dm_crypt", "pattern `dm-crypt` (the command line)"),
        ("dm_mod", "needed by `dm_crypt`"),
        ("btrfs", "pattern `/fs/btrfs/` (the command line)"),
        ("raid6_pq", "needed by `btrfs`"),
        // A softdep on the alias `crypto-blake2b-256`.
        ("blake2b_generic", "softdep of `btrfs`"),
    ] {
        assert_eq!(reasons.get(name).map(String::as_str), Some(reason), "{reasons:?}");
    }
    assert!(selected.modules.iter().all(|module| module.signed));
    for file in ["modules.dep.bin", "modules.builtin.modinfo", "modules.softdep"] {
        assert!(selected.tree.read(&path(&kver, file)).is_some(), "{file}");
    }
    for file in ["modules.dep", "modules.order", "modules.symbols"] {
        assert!(selected.tree.get(&path(&kver, file)).is_none(), "{file}");
    }
}

#[test]
fn the_last_pattern_decides_and_dependencies_win() {
    let (tree, kver) = few(&["dm-mod", "dm-crypt", "dm-zero", "loop"]);
    let (selected, log) = pick(&tree, &kver, &["dm_*", "loop", "-dm_zero", "-dm-mod", "-loop", "loop"]);
    assert_eq!(names(&selected.expect("the modules")), ["loop", "dm_crypt", "dm_mod"]);
    assert_eq!(log.all("is excluded by").len(), 1, "{:?}", log.all(""));
    let (selected, log) = pick(&tree, &kver, &["loop", "/drivers/nowhere/", "no_such_*", "-/neither/"]);
    assert_eq!(names(&selected.expect("the modules")), ["loop"]);
    assert_eq!(log.warnings().iter().filter(|line| line.contains("matches nothing")).count(), 2);
}

#[test]
fn a_module_that_does_not_exist_is_an_error_with_a_suggestion() {
    let (tree, kver) = few(&["dm-mod", "dm-crypt"]);
    let (result, _) = pick(&tree, &kver, &["dm_cyrpt"]);
    let err = result.expect_err("there is none");
    assert_eq!(err.to_string(), "there is no kernel module `dm_cyrpt`");
    assert_eq!(err.hints(), ["did you mean `dm_crypt`?"]);
    assert_eq!(err.kind(), ErrorKind::Unsolvable);
    // What is built in needs no file, and what a profile names may be absent.
    let (result, _) = pick(&tree, &kver, &["virtio_pci"]);
    assert!(names(&result.expect("built in")).is_empty());
    let item = Item { text: "dm_cyrpt".into(), source: Source { file: "p.toml".into(), line: 3 } };
    let log = Log::default();
    modules::modules(&tree, &tree, &kver, &modules::Wanted::patterns(&[item]), &Options::default(), 1, &log)
        .expect("only a warning");
    assert!(log.warnings()[0].starts_with("the module pattern `dm_cyrpt` (p.toml:3) matches nothing in 6."));
    let (result, _) = pick(&tree, &kver, &["dm_[x"]);
    assert_eq!(result.expect_err("no pattern").kind(), ErrorKind::Config);
}

#[test]
fn e16_a_missing_dependency_names_both() {
    let (tree, kver) = few(&["dm-crypt"]);
    let (result, _) = pick(&tree, &kver, &["dm_crypt"]);
    let err = result.expect_err("dm_mod is not there");
    assert_eq!(err.to_string(), "the module `dm_crypt` needs `dm-mod`, which is neither a module nor built into the kernel");
    assert!(err.place().expect("a place").ends_with("/kernel/drivers/md/dm-crypt.ko.xz"));
}

#[test]
fn e16_damaged_modules_are_refused_only_when_wanted() {
    let (mut tree, kver) = few(&["loop", "dm-mod"]);
    let loop_path = path(&kver, "kernel/drivers/block/loop.ko.xz");
    let whole = tree.read(&loop_path).expect("the module").bytes().to_vec();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 0x10;
    for (what, bytes) in [("cut", whole[..whole.len() / 2].to_vec()), ("flipped", flipped)] {
        tree.put(&loop_path, Entry::file(bytes, Origin::Kernel)).expect("a file");
        let (result, _) = pick(&tree, &kver, &["loop"]);
        assert!(matches!(result, Err(Error::Decompress { .. })), "{what}");
        pick(&tree, &kver, &["dm_mod"]).0.expect("the damaged one is not opened");
    }
    for bytes in [&b""[..], b"not a module", b"\x7fELF\x02\x01\x01"] {
        tree.put(&loop_path, Entry::file(bytes.to_vec(), Origin::Kernel)).expect("a file");
        assert!(matches!(pick(&tree, &kver, &["loop"]).0, Err(Error::Module { .. })), "{bytes:?}");
    }
}

#[test]
fn e16_flipped_bits_never_do_more_than_fail() {
    let (tree, kver) = few(&["loop"]);
    let packed = tree.read(&path(&kver, "kernel/drivers/block/loop.ko.xz")).expect("the module");
    let good = decode::all(Format::Xz, packed.bytes(), 1 << 30).expect("a module");
    let index = modules::depmod::indexes(
        &[modules::depmod::Input { path: "loop.ko", info: &module::parse(&good).expect("sound") }],
        &modules::depmod::KernelFiles::default(),
        modules::Shipped::All,
    );
    let index = index.expect("an index").files["modules.alias.bin"].clone();
    // A generator of its own, so that a failure can be repeated.
    let mut state = 0x2026_1120_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let (mut refused, rounds) = (0, 3000);
    for round in 0..rounds {
        let mut bad = good.clone();
        // Half of the flips in the headers, where they hurt.
        let at = if round % 2 == 0 { random(64) } else { bad.len() - 1 - random(bad.len() / 4) };
        bad[at] ^= 1 << random(8);
        bad.truncate(bad.len() - if round % 5 == 0 { random(bad.len()) } else { 0 });
        refused += usize::from(module::parse(&bad).is_err());
        let mut bad = index.clone();
        let at = random(bad.len());
        bad[at] ^= 1 << random(8);
        let _ = modindex::read(&bad); // Sound or damaged: only that it ends matters.
    }
    assert!(refused > rounds / 10, "{refused}");
}

#[test]
fn real_configurations_tell_what_the_kernel_decompresses() {
    for (kernel, expected) in
        [(TRIXIE, Some(Format::Xz)), (TRIXIE_ARM64, Some(Format::Xz)), (SID, Some(Format::Xz)), (BOOKWORM, None)]
    {
        let (dir, kver) = kernel.dir();
        let places = [kernel.root().join(format!("boot/config-{kver}")), dir.join("config")];
        let config = places.iter().find_map(|place| fs::read_to_string(place).ok()).expect("a configuration");
        assert_eq!(modules::decompressor(Some(&config)), expected, "{kver}");
    }
}

#[test]
fn b14_modules_for_another_architecture_are_refused() {
    let (mut tree, kver) = few(&["loop", "dm-mod"]);
    let (arm_dir, _) = TRIXIE_ARM64.dir();
    let arm = fs::read(arm_dir.join("kernel/drivers/md/dm-mod.ko.xz")).expect("a module");
    tree.put(&path(&kver, "kernel/drivers/md/dm-mod.ko.xz"), Entry::file(arm, Origin::Kernel)).expect("a file");
    let err = pick(&tree, &kver, &["dm_mod"]).0.expect_err("it is for arm64");
    assert!(err.to_string().ends_with("is for aarch64, but the image is for x86_64"), "{err}");
    // Without a request all must at least agree.
    let options = Options::default();
    let result = modules::modules(
        &tree,
        &tree,
        &kver,
        &modules::Wanted::patterns(&typed(&["loop", "dm_mod"])),
        &options,
        1,
        &Log::default(),
    );
    assert!(matches!(result, Err(Error::Machine { .. })));
}

#[test]
fn e16_a_module_built_for_another_version_is_told() {
    let (tree, kver) = few(&["loop"]);
    let other = KernelVersion::parse("6.13.0").expect("a version");
    let mut moved = Tree::new();
    for (place, entry) in tree.iter() {
        let place = place.as_str().expect("UTF-8").replace(kver.as_str(), "6.13.0");
        moved.insert(&TreePath::literal(&place), entry.clone()).expect("an entry");
    }
    let (result, log) = pick(&moved, &other, &["loop"]);
    result.expect("the modules");
    let warning = format!("1 modules were not built for `6.13.0`: `kernel/drivers/block/loop.ko.xz` is for `{kver}`");
    assert!(log.warnings().contains(&warning), "{:?}", log.warnings());
}

#[test]
fn b20_links_and_mixed_compression() {
    let (mut tree, kver) = few(&["loop", "dm-mod", "dm-crypt"]);
    let ko = |tree: &Tree, below: &str| {
        decode::all(Format::Xz, tree.read(&path(&kver, below)).expect(below).bytes(), 1 << 30).expect("a module")
    };
    let dir = tempfile::tempdir().expect("a directory");
    for (below, tool, package, extension) in [
        ("kernel/drivers/block/loop", "gzip", "gzip", "gz"),
        ("kernel/drivers/md/dm-mod", "zstd", "zstd", "zst"),
        ("kernel/drivers/md/dm-crypt", "", "", ""),
    ] {
        let plain = ko(&tree, &format!("{below}.ko.xz"));
        tree.remove(&path(&kver, &format!("{below}.ko.xz")));
        let (to, bytes) = if tool.is_empty() {
            (format!("{below}.ko"), plain)
        } else {
            let file = dir.path().join("x.ko");
            fs::write(&file, plain).expect("writing");
            run(tool, package, &["-qf", file.to_str().expect("UTF-8")]);
            (format!("{below}.ko.{extension}"), fs::read(dir.path().join(format!("x.ko.{extension}"))).expect("packed"))
        };
        tree.put(&path(&kver, &to), Entry::file(bytes, Origin::Kernel)).expect("a file");
    }
    let links = [
        ("build", "/usr/src/linux-headers-nowhere"),
        ("weak-updates/gone.ko", "/lib/modules/5.0/extra/gone.ko"),
        ("weak-updates/other.ko.zst", "../kernel/drivers/md/dm-mod.ko.zst"),
    ];
    for (below, target) in links {
        tree.insert(&path(&kver, below), Entry::symlink(target, Origin::Kernel)).expect("a link");
    }
    let (selected, log) = pick(&tree, &kver, &["loop", "dm_crypt", "other"]);
    let selected = selected.expect("the modules");
    assert_eq!(names(&selected), ["loop", "dm_crypt", "dm_mod", "other"]);
    assert_eq!(log.warnings().iter().filter(|line| line.contains("leads nowhere")).count(), 1, "{:?}", log.warnings());
    // The link became the file that it leads to.
    let original = tree.read(&path(&kver, "kernel/drivers/md/dm-mod.ko.zst"));
    assert_eq!(selected.tree.read(&path(&kver, "weak-updates/other.ko.zst")), original);
}

#[test]
fn e17_firmware_is_found_in_packages_and_what_is_missing_is_told() {
    let (tree, kver) = few(&["bnx2", "tg3", "libphy"]);
    let root =
        unpacked("firmware-trixie", || vec![package_of("trixie", "non-free-firmware", "amd64", &|name| name == "firmware-bnx2")]);
    let mut firmware = Tree::new();
    disk::read(&mut firmware, &root, &TreePath::root(), false, &Origin::Package(7)).expect("reading");
    let log = Log::default();
    let patterns = typed(&["bnx2", "tg3"]);
    let selected = modules::modules(&tree, &firmware, &kver, &modules::Wanted::patterns(&patterns), &Options::default(), 2, &log)
        .expect("the modules");
    let mips: Vec<&str> =
        selected.firmware.iter().map(|file| file.name.as_str()).filter(|name| name.starts_with("bnx2/")).collect();
    assert!(mips.len() >= 5, "{mips:?}");
    for file in &selected.firmware {
        assert_eq!(file.wanted_by, ["bnx2"]);
        assert_eq!(selected.tree.get(&file.path), firmware.get(&file.path), "with the package it came from");
    }
    // Of a machine's directory only the names are taken: the image is the same, and nothing else is opened.
    let mut only_names = Tree::new();
    disk::read_names(&mut only_names, &root, &TreePath::root(), &Origin::Package(7)).expect("reading");
    assert!(only_names.iter().all(|(_, entry)| entry.content().is_none_or(Content::is_empty)));
    let opened = RefCell::new(BTreeSet::new());
    let load = |path: &TreePath| {
        opened.borrow_mut().insert(path.clone());
        let bytes = fs::read(root.join(path.as_str().expect("UTF-8"))).map_err(FileError::on("read", &root))?;
        Ok(Content::from(bytes))
    };
    let options = Options { load_firmware: Some(&load), ..Options::default() };
    let lazily = modules::modules(&tree, &only_names, &kver, &modules::Wanted::patterns(&patterns), &options, 2, &Log::default())
        .expect("the modules");
    assert_eq!(opened.into_inner(), selected.firmware.iter().map(|file| file.path.clone()).collect());
    assert!(lazily.tree.iter().eq(selected.tree.iter()));
    let refusing = |path: &TreePath| Err(FileError::on("read", path.to_string())(std::io::ErrorKind::PermissionDenied.into()));
    let options = Options { load_firmware: Some(&refusing), ..Options::default() };
    let refused =
        modules::modules(&tree, &only_names, &kver, &modules::Wanted::patterns(&patterns), &options, 2, &Log::default());
    assert!(matches!(refused, Err(Error::File(_))), "{refused:?}");
    let documents = |tree: &Tree| tree.iter().filter(|(path, _)| path.as_bytes().starts_with(b"usr/share")).count();
    assert!(documents(&firmware) > 0 && documents(&selected.tree) == 0);
    let missing: Vec<&String> = selected.missing_firmware["tg3"].iter().collect();
    assert!(missing.contains(&&"tigon/tg3.bin".to_owned()), "{missing:?}");
    assert_eq!(
        log.warnings().iter().filter(|line| line.contains("firmware files that 1 modules")).count(),
        1,
        "{:?}",
        log.warnings()
    );
    assert_eq!(log.all("`tg3` lacks firmware").len(), 1);
}

#[test]
fn of_two_modules_with_one_name_the_updated_one_is_taken() {
    let (mut tree, kver) = few(&["loop"]);
    let bytes = tree.read(&path(&kver, "kernel/drivers/block/loop.ko.xz")).expect("the module").clone();
    for below in ["extra/loop.ko.xz", "updates/dkms/loop.ko.xz"] {
        tree.insert(&path(&kver, below), Entry::file(bytes.clone(), Origin::Kernel)).expect("a file");
    }
    let chosen = |tree: &Tree| {
        let (selected, log) = pick(tree, &kver, &["loop"]);
        assert_eq!(log.all("is hidden by").len(), 2);
        selected.expect("the modules").modules[0].path.clone()
    };
    assert_eq!(chosen(&tree), path(&kver, "updates/dkms/loop.ko.xz"));
    let config = TreePath::literal("etc/depmod.d/x.conf");
    tree.insert(&config, Entry::file("override loop * extra\n", Origin::Kernel)).expect("a file");
    assert_eq!(chosen(&tree), path(&kver, "extra/loop.ko.xz"));
}

#[test]
fn b07_a_stale_modules_dep_is_told_and_not_believed() {
    let (mut tree, kver) = few(&["loop"]);
    let dep = "kernel/drivers/block/loop.ko.xz: kernel/gone.ko.xz\nkernel/gone.ko.xz:\n";
    tree.insert(&path(&kver, "modules.dep"), Entry::file(dep, Origin::Kernel)).expect("a file");
    let (selected, log) = pick(&tree, &kver, &["loop"]);
    assert_eq!(names(&selected.expect("the modules")), ["loop"]);
    assert_eq!(log.warnings().iter().filter(|line| line.contains("`kernel/gone.ko.xz`")).count(), 1);
    // An empty one says nothing and does no harm.
    tree.put(&path(&kver, "modules.dep"), Entry::file("", Origin::Kernel)).expect("a file");
    let (selected, log) = pick(&tree, &kver, &["loop"]);
    assert_eq!(names(&selected.expect("the modules")), ["loop"]);
    assert!(log.warnings().is_empty(), "{:?}", log.warnings());
    let (result, _) = pick(&Tree::new(), &kver, &["loop"]);
    assert_eq!(result.expect_err("no directory").to_string(), format!("there are no kernel modules for `{kver}`"));
    let mut empty = Tree::new();
    empty.make_dirs(&path(&kver, "kernel"), &Origin::Kernel).expect("a directory");
    assert!(matches!(pick(&empty, &kver, &["loop"]).0, Err(Error::NoModules { .. })));
}

#[test]
fn the_same_for_any_number_of_threads() {
    let (tree, kver) = (BOOKWORM.tree(), find_kver(&BOOKWORM.tree()).expect("one kernel"));
    let with = |threads| {
        let patterns = generic("amd64");
        modules::modules(
            &tree,
            &tree,
            &kver,
            &modules::Wanted::patterns(&patterns),
            &Options::default(),
            threads,
            &Log::default(),
        )
        .expect("the modules")
    };
    let (one, many) = (with(1), with(7));
    assert!(one.tree == many.tree && one.modules == many.modules);
}
