//! The profiles' prune rules on Debian's real packages: the closure holds, the size is as promised, and whatever is taken away is missed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex, OnceLock};

use mkinitrd_pkg::base::error::Diagnostic;
use mkinitrd_pkg::config::{self, Audience, Item, Layer};
use mkinitrd_pkg::prune::{self, Cause, Inputs, Lost, Plugin, Pruned, Rules};
use mkinitrd_pkg::report::{Event, Reporter, Silent};
use mkinitrd_pkg::tree::{Entry, Kind, Origin, Tree, TreePath, disk};

/// Releases, architectures and how many bytes the tree may have. 45 MB is the promise of the project for systemd with LUKS, TPM2, FIDO2,
/// LVM, btrfs and a shell; arm64 pads every ELF file to 64 KiB pages.
const TARGETS: [(&str, &str, u64); 5] = [
    ("trixie", "amd64", 45_000_000),
    ("bookworm", "amd64", 45_000_000),
    ("forky", "amd64", 48_000_000),
    ("sid", "amd64", 48_000_000),
    ("trixie", "arm64", 48_000_000),
];

#[test]
fn every_release_prunes_to_a_closed_tree() {
    for (release, arch, bytes_max) in TARGETS {
        let profile = Profile::debian(release);
        let target = Target::get(&profile, release, arch);
        let (tree, pruned) = prune_ok(&profile, &target, &[]);
        let files = tree.iter().filter(|(_, entry)| !matches!(entry.kind, Kind::Dir)).count();
        println!(
            "{release} {arch}: {} packages, {} entries, {} bytes -> {} entries ({files} not directories), {} bytes, {} lent",
            target.packages.len(),
            target.tree.len(),
            target.tree.size_bytes(),
            tree.len(),
            tree.size_bytes(),
            pruned.lent.len(),
        );
        let mut by_package: BTreeMap<&str, u64> = target.packages.iter().map(|name| (name.as_str(), 0)).collect();
        for entry in tree.iter().map(|(_, entry)| entry).filter(|entry| !matches!(entry.kind, Kind::Dir)) {
            if let Origin::Package(id) = entry.origin {
                *by_package.entry(&target.packages[id as usize]).or_default() += entry.content().map_or(1, |c| c.len() as u64);
            }
        }
        let idle: Vec<_> = by_package.iter().filter(|(_, bytes)| **bytes == 0).map(|(name, _)| *name).collect();
        println!("  no file stays of: {}", idle.join(" "));
        assert!(tree.size_bytes() <= bytes_max, "{release} {arch}: {} bytes", tree.size_bytes());
        links_lead_somewhere(&tree, release);
    }
}

#[test]
fn every_feature_alone_and_none_at_all_are_closed() {
    for release in ["trixie", "bookworm", "sid"] {
        for features in [&[][..], &["luks"], &["tpm2"], &["luks", "tpm2"], &["luks", "fido2"], &["lvm"], &["btrfs"]] {
            let profile = Profile::with_features(release, Some(features));
            let target = Target::get(&profile, release, "amd64");
            let (tree, _) = prune_ok(&profile, &target, &[]);
            println!("{release} {features:?}: {} bytes", tree.size_bytes());
            assert!(tree.get(&TreePath::literal("usr/lib/systemd/systemd")).is_some());
            let has = |name: &[u8]| tree.iter().any(|(path, _)| path.name() == name);
            assert_eq!(has(b"systemd-cryptsetup"), features.contains(&"luks"), "{release} {features:?}");
            assert_eq!(has(b"lvm"), features.contains(&"lvm"), "{release} {features:?}");
            assert_eq!(has(b"libfido2.so.1"), features.contains(&"fido2"), "{release} {features:?}");
        }
    }
}

#[test]
fn e15_e18_whatever_is_taken_away_is_missed() {
    let mut tried = 0;
    for (release, arch, _) in TARGETS {
        let profile = Profile::debian(release);
        let target = Target::get(&profile, release, arch);
        let (_, pruned) = prune_ok(&profile, &target, &[]);
        let needed = pruned.kept.iter().filter(|(_, reason)| reason.needed.as_ref().is_some_and(|needed| needed.must));
        let paths: Vec<&TreePath> = needed.map(|(path, _)| path).collect();
        assert!(paths.len() > 100, "only {} files are needed by others", paths.len());
        for path in sample(&paths, 60) {
            let rule = format!("-{}", escape(&path.to_string()[1..]));
            let told = refusal(&profile, &target, &rule);
            assert!(
                told.contains(&format!("`{path}`")) && told.contains(&format!("`{rule}`")),
                "{release} {arch}, {rule}: {told}"
            );
            tried += 1;
        }
    }
    println!("{tried} single files taken away and missed");
}

#[test]
fn e18_the_message_names_the_rule_and_the_package() {
    let profile = Profile::debian("trixie");
    let target = Target::get(&profile, "trixie", "amd64");
    for (rule, expected) in [
        (
            "-usr/bin/systemd-run",
            "`/usr/lib/udev/rules.d/69-lvm.rules` runs `/usr/bin/systemd-run`, which is not in the image: the rule \
             `-usr/bin/systemd-run` (the command line) dropped `/usr/bin/systemd-run` of the package `systemd`",
        ),
        (
            "-usr/lib/*/libcrypto.so*",
            "needs the library `libcrypto.so.3`, which is not in the image: the rule `-usr/lib/*/libcrypto.so*`",
        ),
        (
            "-usr/bin/dash",
            "`/usr/sbin/fsck.btrfs` is interpreted by `/bin/sh`, which is not in the image: the rule `-usr/bin/dash`",
        ),
        ("-usr/lib/systemd/systemd-journald", "`/usr/lib/systemd/system/systemd-journald.service` runs"),
        ("-usr/lib/*/libtss2-tcti-device.so*", "needs `usr/{lib,lib64}/**/libtss2-tcti-device.so.0`"),
        (
            "-usr/lib/*/libkmod.so*",
            "`/usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-257.so` loads the library `libkmod.so.2`",
        ),
        ("-usr/lib/systemd/system/initrd-root-fs.target", "requires the unit `initrd-root-fs.target`"),
        ("-usr/lib/systemd/system/systemd-journald.service", "triggers the unit `systemd-journald.service`"),
        ("-usr/lib64/**", "is loaded by `/lib64/ld-linux-x86-64.so.2`"),
        ("-usr/sbin/sulogin", "`/usr/lib/systemd/systemd-sulogin-shell` needs `usr/{bin,sbin}/sulogin`"),
    ] {
        let told = refusal(&profile, &target, rule);
        assert!(told.contains(expected), "{rule}: {told}");
    }
}

#[test]
fn e15_a_library_for_another_machine_does_not_serve() {
    let profile = Profile::debian("trixie");
    let target = Target::get(&profile, "trixie", "amd64");
    let foreign = Target::get(&profile, "trixie", "arm64");
    let library = |tree: &Tree, triplet: &str| {
        let (path, entry) = tree.lookup(&TreePath::literal(&format!("usr/lib/{triplet}/libcap.so.2"))).expect("libcap");
        (path, entry.clone())
    };
    let (path, _) = library(&target.tree, "x86_64-linux-gnu");
    let (_, arm) = library(&foreign.tree, "aarch64-linux-gnu");
    let mut tree = target.tree.clone();
    *tree.get_mut(&path).expect("libcap") = arm;
    let err = profile.prune(&target, &mut tree, &[], &Silent).expect_err("a library for another machine");
    let prune::Error::Missing { lost, .. } = &err;
    assert_eq!(*lost, Lost::Unfit { path });
}

#[test]
fn e18_a_rule_that_matches_nothing_is_a_warning() {
    let profile = Profile::debian("trixie");
    let target = Target::get(&profile, "trixie", "amd64");
    let heard = Heard::default();
    let rules = ["-usr/bin/no-such-program", "-usr/share/man/", "-usr/bin/less", "+usr/bin/less"];
    profile.prune(&target, &mut target.tree.clone(), &rules, &heard).expect("pruning");
    let heard = heard.0.into_inner().expect("no panic");
    let warnings: Vec<&String> = heard.iter().filter(|line| line.starts_with("warning")).collect();
    assert_eq!(warnings, ["warning: the prune rule `-usr/bin/no-such-program` (the command line) matches nothing"]);
}

/// A rule of our own profiles that no release of Debian has a file for is dead, or has a typing error; those for others say so.
#[test]
fn every_rule_matches_something_in_some_release() {
    let mut idle: Option<BTreeSet<String>> = None;
    for (release, arch, _) in TARGETS {
        let profile = Profile::debian(release);
        let target = Target::get(&profile, release, arch);
        let rules = Rules::new(profile.rules.iter().cloned()).expect("rules");
        let here = rules.iter().filter(|rule| !target.tree.iter().any(|(path, _)| rule.matches(path)));
        let here: BTreeSet<String> = here.map(ToString::to_string).collect();
        idle = Some(idle.map_or_else(|| here.clone(), |idle| idle.intersection(&here).cloned().collect()));
    }
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("distro-profiles/systemd.toml")).expect("a profile");
    let others: BTreeSet<String> = text
        .lines()
        .zip(1..)
        .filter(|(line, _)| line.contains("(not Debian"))
        .map(|(line, number)| format!("`{}` (distro-profiles/systemd.toml:{number})", line.split('"').nth(1).expect("a rule")))
        .collect();
    assert_eq!(idle.unwrap_or_default(), others);
}

#[test]
fn what_unpacking_did_not_store_is_known_all_the_same() {
    let profile = Profile::debian("trixie");
    let target = Target::get(&profile, "trixie", "amd64");
    let (whole, pruned) = prune_ok(&profile, &target, &[]);
    let rules = Rules::new(profile.rules.iter().cloned()).expect("rules");
    let mut tree = target.tree.clone();
    let mut unstored = Vec::new();
    tree.retain(|path, entry| {
        let stores = matches!(entry.kind, Kind::Dir) || rules.verdict(path).stores();
        if let (false, Origin::Package(id)) = (stores, &entry.origin) {
            unstored.push((path.clone(), *id));
        }
        stores
    });
    assert!(unstored.len() > 1000);
    let again = prune::prune(&mut tree, &profile.inputs(&target, &rules, &unstored), &Silent).expect("pruning");
    assert_eq!(tree, whole);
    assert_eq!(again.dropped, pruned.dropped);
    assert_eq!(again.decided, pruned.decided);
    let man = again.dropped.iter().find(|dropped| dropped.path.name() == b"less.1.gz").expect("the man page of less");
    assert!(matches!(man.cause, Cause::Rule(_)));
}

#[test]
fn what_is_lent_goes_when_it_is_returned() {
    let profile = Profile::debian("trixie");
    let target = Target::get(&profile, "trixie", "amd64");
    let (mut tree, pruned) = prune_ok(&profile, &target, &[]);
    let master = TreePath::literal("usr/share/base-passwd/passwd.master");
    assert!(tree.get(&master).is_some());
    prune::return_lent(&mut tree, &pruned);
    assert!(tree.get(&master).is_none());
    assert!(tree.get(&TreePath::literal("usr/lib/sysusers.d")).is_none(), "emptied directories go as well");
    assert!(tree.get(&TreePath::literal("usr/share/terminfo")).is_some());
}

/// Our reader against binutils' on every ELF file of a release.
#[test]
fn e15_elf_files_are_read_as_readelf_reads_them() {
    let profile = Profile::debian("trixie");
    let target = Target::get(&profile, "trixie", "amd64");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut read = 0;
    for (path, entry) in target.tree.iter() {
        let Some(content) = entry.content().filter(|content| content.bytes().starts_with(b"\x7fELF")) else { continue };
        let file = directory.path().join("elf");
        std::fs::write(&file, content.bytes()).expect("writing");
        let output = run(Command::new("readelf").args(["-dlW"]).arg(&file).env("LC_ALL", "C"), "binutils").stdout;
        let text = String::from_utf8_lossy(&output);
        let of = |marker: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| line.contains(marker));
            lines.filter_map(|line| line.split(['[', ']']).nth(1)).map(str::to_owned).collect()
        };
        let elf = mkinitrd_pkg::format::elf::read(content.bytes()).expect("ELF").expect("ELF");
        let texts = |list: &[Vec<u8>]| list.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect::<Vec<_>>();
        assert_eq!(texts(&elf.needed), of("(NEEDED)"), "{path}");
        assert_eq!(texts(elf.soname.as_slice()), of("(SONAME)"), "{path}");
        assert_eq!(texts(&elf.runpath).join(":"), of("(RUNPATH)").join(":"), "{path}");
        assert_eq!(texts(&elf.rpath).join(":"), of("(RPATH)").join(":"), "{path}");
        let loader = of("Requesting program interpreter")
            .pop()
            .map(|name| name.trim_start_matches("Requesting program interpreter: ").to_owned());
        assert_eq!(texts(elf.interpreter.as_slice()).pop(), loader, "{path}");
        read += 1;
    }
    assert!(read > 300, "only {read} ELF files");
}

/// Prunes with one more rule, which must fail, and returns all that is said.
fn refusal(profile: &Profile, target: &Target, rule: &str) -> String {
    let heard = Heard::default();
    let mut tree = target.tree.clone();
    let err = profile.prune(target, &mut tree, &[rule], &heard).expect_err(rule);
    let others = heard.0.into_inner().expect("no panic").join("\n");
    format!("{}\n{others}", explain(&err))
}

/// Returns `count` of the paths, the same ones every time.
fn sample<'a>(paths: &[&'a TreePath], count: usize) -> Vec<&'a TreePath> {
    let mut state: u64 = 0x5eed;
    let mut next = || {
        // Knuth's MMIX generator; the low bits are poor.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    (0..count).map(|_| paths[next() % paths.len()]).collect()
}

fn escape(path: &str) -> String {
    path.chars().flat_map(|c| if "\\[]{}*?".contains(c) { vec!['\\', c] } else { vec![c] }).collect()
}

/// Remembers warnings and details.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Reporter for Heard {
    fn event(&self, event: &Event<'_>) {
        let line = match event {
            Event::Warning { message, .. } => format!("warning: {message}"),
            Event::Detail { message, .. } => (*message).to_owned(),
            _ => return,
        };
        self.0.lock().expect("no panic").push(line);
    }
}

/// Links point to something in the tree, or to what exists only at boot.
fn links_lead_somewhere(tree: &Tree, release: &str) {
    for (path, entry) in tree.iter() {
        let Kind::Symlink(target) = &entry.kind else { continue };
        let target = path.link_target(target).expect("a target");
        let at_boot = ["proc", "run", "sys", "dev"].iter().any(|top| target.is_under(&TreePath::literal(top)));
        assert!(at_boot || tree.lookup(path).is_some(), "{release}: `{path}` dangles");
    }
}

fn prune_ok(profile: &Profile, target: &Target, more: &[&str]) -> (Tree, Pruned) {
    let mut tree = target.tree.clone();
    let heard = Heard::default();
    match profile.prune(target, &mut tree, more, &heard) {
        Ok(pruned) => (tree, pruned),
        Err(err) => panic!("{}: {}\n{}", target.release, explain(&err), heard.0.into_inner().expect("no panic").join("\n")),
    }
}

fn explain(err: &prune::Error) -> String {
    let prune::Error::Missing { first, .. } = err;
    format!("{} ({}; {})", first.in_full(), err.place().unwrap_or_default(), err.hints().join("; "))
}

/// What the Debian profile says of pruning.
struct Profile {
    rules: Vec<Item>,
    plugins: Vec<Plugin>,
    dlopen: Vec<Item>,
    packages: Vec<String>,
    omit: Vec<String>,
}

impl Profile {
    /// The Debian profile as it is, with its default features.
    fn debian(release: &str) -> Self {
        Self::with_features(release, None)
    }

    fn with_features(release: &str, features: Option<&[&str]>) -> Self {
        let mut layers = config::load("debian", None, &[]).expect("the profile");
        if let Some(features) = features {
            let defaults = layers.resolve(release, "amd64", &Audience::default()).expect("merges").with;
            let list = |items: Vec<String>| format!("{items:?}");
            let remove = list(defaults.into_iter().map(|item| item.text).collect());
            let add = list(features.iter().map(|name| (*name).to_owned()).collect());
            layers.layers.push(Layer::parse("test", &format!("with = {{ remove = {remove}, add = {add} }}")).expect("a layer"));
        }
        let merged = layers.resolve(release, "amd64", &Audience::default()).expect("merges");
        let plugin = |plugin: &config::Plugin| Plugin::new(&plugin.when, &plugin.needs, &plugin.wants).expect("a plugin entry");
        let texts = |items: Vec<Item>| items.into_iter().map(|item| item.text).collect();
        Self {
            plugins: merged.plugins.iter().map(plugin).collect(),
            rules: merged.prune,
            dlopen: merged.dlopen,
            packages: texts(merged.packages),
            omit: texts(merged.omit),
        }
    }

    fn prune(&self, target: &Target, tree: &mut Tree, more: &[&str], reporter: &dyn Reporter) -> Result<Pruned, prune::Error> {
        let more = more.iter().copied().map(Item::from_command_line);
        let rules = Rules::new(self.rules.iter().cloned().chain(more)).expect("rules");
        prune::prune(tree, &self.inputs(target, &rules, &[]), reporter)
    }

    fn inputs<'a>(&'a self, target: &'a Target, rules: &'a Rules, unstored: &'a [(TreePath, u32)]) -> Inputs<'a> {
        Inputs { rules, plugins: &self.plugins, dlopen: &self.dlopen, packages: &target.packages, unstored }
    }
}

/// A release's packages, unpacked.
struct Target {
    release: String,
    packages: Vec<String>,
    tree: Tree,
}

impl Target {
    /// Returns the unpacked packages of the profile; fetched and unpacked once a run and kept in the cache.
    fn get(profile: &Profile, release: &str, arch: &str) -> Arc<Self> {
        static READY: OnceLock<Mutex<BTreeMap<String, Arc<Target>>>> = OnceLock::new();
        let mut ready = READY.get_or_init(Mutex::default).lock().expect("no test panicked while it unpacked");
        let key = format!("{release} {arch} {}", profile.packages.join(" "));
        if let Some(target) = ready.get(&key) {
            return Arc::clone(target);
        }
        let debs = Apt::new(release, arch).fetch(&profile.packages);
        let mut packages = Vec::new();
        let mut tree = Tree::new();
        let links = ["bin", "sbin", "lib", "lib64"];
        for link in &links[..if arch == "amd64" { 4 } else { 3 }] {
            let link_entry = Entry::symlink(&format!("usr/{link}"), Origin::Made("merged /usr"));
            tree.insert(&TreePath::literal(link), link_entry).expect("a link");
            tree.make_dirs(&TreePath::literal(&format!("usr/{link}")), &Origin::Made("merged /usr")).expect("a directory");
        }
        for deb in debs {
            let name = deb.file_name().and_then(|name| name.to_str()).and_then(|name| name.split('_').next()).expect("a name");
            if profile.omit.iter().any(|omit| omit == name) {
                continue;
            }
            let origin = Origin::Package(packages.len() as u32);
            disk::read(&mut tree, &unpacked(&deb), &TreePath::root(), false, &origin)
                .unwrap_or_else(|err| panic!("{name}: {err}"));
            packages.push(name.to_owned());
        }
        let target = Arc::new(Self { release: release.to_owned(), packages, tree });
        ready.insert(key, Arc::clone(&target));
        target
    }
}

fn cache() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-cache");
    std::env::var_os("MKINITRD_TEST_CACHE").map_or_else(default, PathBuf::from).join("prune")
}

fn run(command: &mut Command, package: &str) -> Output {
    let output = command.output().unwrap_or_else(|err| panic!("{command:?}: {err}; install the Debian package `{package}`"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Unpacks a package with dpkg-deb into a directory of its own.
fn unpacked(deb: &Path) -> PathBuf {
    let directory = cache().join("unpacked").join(deb.file_name().expect("a name"));
    if !directory.exists() {
        let partial = directory.with_extension("partial");
        if partial.exists() {
            std::fs::remove_dir_all(&partial).expect("cleaning up");
        }
        std::fs::create_dir_all(&partial).expect("a directory");
        run(Command::new("dpkg-deb").arg("-x").arg(deb).arg(&partial), "dpkg");
        std::fs::rename(&partial, &directory).expect("renaming");
    }
    directory
}

/// An apt of its own for one release, which knows nothing of what is installed here.
struct Apt {
    directory: PathBuf,
}

impl Apt {
    fn new(release: &str, arch: &str) -> Self {
        let directory = cache().join(format!("apt-{release}-{arch}"));
        for below in ["lists/partial", "archives/partial", "etc"] {
            std::fs::create_dir_all(directory.join(below)).expect("a directory");
        }
        let at = directory.display();
        let config = format!(
            "Dir::State::Lists \"{at}/lists\"; Dir::State::status \"{at}/status\"; Dir::Cache \"{at}\";\n\
             Dir::Etc \"{at}/etc\"; Dir::Etc::sourcelist \"{at}/etc/sources.list\"; Dir::Etc::sourceparts \"/dev/null\";\n\
             APT::Architecture \"{arch}\"; APT::Architectures {{ \"{arch}\"; }}; APT::Install-Recommends \"false\";\n\
             pkgCacheGen::ForceEssential \"none\"; Debug::NoLocking \"true\"; Acquire::Languages \"none\";\n\
             APT::Sandbox::User \"\"; Acquire::Check-Valid-Until \"false\";\n"
        );
        let sources = format!("deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {} {release} main\n", mirror());
        for (name, text) in [("apt.conf", config), ("etc/sources.list", sources), ("status", String::new())] {
            std::fs::write(directory.join(name), text).expect("writing");
        }
        let apt = Self { directory };
        let lists = std::fs::read_dir(apt.directory.join("lists")).expect("the lists").count();
        if lists < 3 {
            run(&mut apt.command("apt-get", &["-q", "update"]), "apt");
        }
        apt
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.directory.join("apt.conf")).env("LC_ALL", "C").args(args);
        command
    }

    /// Fetches what `apt-get install --no-install-recommends` would, and returns the files.
    fn fetch(&self, packages: &[String]) -> Vec<PathBuf> {
        let known = run(&mut self.command("apt-cache", &["pkgnames"]), "apt").stdout;
        let known: BTreeSet<&str> = std::str::from_utf8(&known).expect("names").lines().collect();
        let mut names = Vec::new();
        for entry in packages {
            let optional = entry.ends_with(" ?");
            let found = entry.trim_end_matches(" ?").split(" | ").find(|name| known.contains(name));
            assert!(found.is_some() || optional, "no package `{entry}`");
            names.extend(found);
        }
        let mut command = self.command("apt-get", &["-qq", "--print-uris", "install"]);
        let output = run(command.args(&names), "apt").stdout;
        let pool = cache().join("debs");
        std::fs::create_dir_all(&pool).expect("a directory");
        let mut files = Vec::new();
        for line in std::str::from_utf8(&output).expect("text").lines() {
            let mut words = line.split(' ');
            let (Some(uri), Some(file)) = (words.next(), words.next()) else { continue };
            let to = pool.join(file);
            if !to.exists() {
                let partial = to.with_extension("partial");
                run(Command::new("curl").args(["-sfL", "--retry", "3", "-o"]).arg(&partial).arg(uri.trim_matches('\'')), "curl");
                std::fs::rename(&partial, &to).expect("renaming");
            }
            files.push(to);
        }
        assert!(files.len() > 20, "apt names only {} packages", files.len());
        files
    }
}

/// Returns the Debian mirror that this machine itself uses.
fn mirror() -> String {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    files.extend(std::fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten().map(|entry| entry.path()));
    let text: String = files.iter().filter_map(|file| std::fs::read_to_string(file).ok()).collect::<Vec<_>>().join("\n");
    let lines = text.lines().filter(|line| line.starts_with("URIs:") || line.starts_with("deb "));
    let uris = lines.flat_map(str::split_whitespace).filter(|word| word.contains("://"));
    let debian = uris.map(|uri| uri.trim_end_matches('/')).find(|uri| uri.ends_with("/debian"));
    debian.expect("no Debian mirror is configured in /etc/apt").to_owned()
}
