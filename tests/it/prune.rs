//! The profiles' prune rules on Debian's real packages: the closure holds, the size is as promised, and whatever is taken away is missed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex, OnceLock};

use mkinitrd_pkg::base::error::Diagnostic;
use mkinitrd_pkg::config::{Item, Source};
use mkinitrd_pkg::prune::{self, Cause, Lost, Plan, Plugin, Pruned, Rules};
use mkinitrd_pkg::report::{Event, Reporter, Silent};
use mkinitrd_pkg::tree::{Entry, Kind, Origin, Tree, TreePath, disk};

/// The promise of the project: systemd with LUKS, TPM2, FIDO2, LVM, btrfs and a shell.
const TREE_BYTES_MAX: u64 = 45_000_000;

const TARGETS: [(&str, &str); 4] = [("trixie", "amd64"), ("bookworm", "amd64"), ("sid", "amd64"), ("trixie", "arm64")];

#[test]
fn every_release_prunes_to_a_closed_tree() {
    for (release, arch) in TARGETS {
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
        assert!(tree.size_bytes() <= TREE_BYTES_MAX, "{release} {arch}: {} bytes", tree.size_bytes());
        links_lead_somewhere(&tree, release);
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
    match profile.prune(target, &mut tree, more, &Details) {
        Ok(pruned) => (tree, pruned),
        Err(err) => panic!("{} {}: {err}", target.release, explain(&err)),
    }
}

/// Prints the details, which a failed test shows.
struct Details;

impl Reporter for Details {
    fn event(&self, event: &Event<'_>) {
        if let Event::Detail { message, .. } | Event::Warning { message, .. } = event {
            println!("  {message}");
        }
    }
}

fn explain(err: &prune::Error) -> String {
    let prune::Error::Missing { first, .. } = err;
    format!("{} ({}; {})", first.in_full(), err.place().unwrap_or_default(), err.hints().join("; "))
}

/// What the profiles under `distro-profiles/` say, read just well enough for these tests.
struct Profile {
    rules: Vec<Item>,
    plugins: Vec<Plugin>,
    dlopen: Vec<Item>,
    packages: Vec<String>,
    omit: Vec<String>,
}

impl Profile {
    fn debian(release: &str) -> Self {
        let mut profile = Self { rules: vec![], plugins: vec![], dlopen: vec![], packages: vec![], omit: vec![] };
        let files = ["systemd", "debian"].map(|name| {
            let file = format!("distro-profiles/{name}.toml");
            let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&file)).expect("a profile");
            let table: toml::Table = text.parse().unwrap_or_else(|err| panic!("{file}: {err}"));
            (file, text, table)
        });
        let features = strings(files[1].2.get("default-features"), "").0;
        for (file, text, table) in &files {
            profile.read(file, text, table);
            for when in table.get("when").and_then(toml::Value::as_array).into_iter().flatten() {
                if strings(when.get("release"), "").0.iter().any(|name| name == release) {
                    profile.read(file, text, when.as_table().expect("a table"));
                }
            }
        }
        for feature in &features {
            for (file, text, table) in &files {
                if let Some(table) = table.get("features").and_then(|all| all.get(feature)).and_then(toml::Value::as_table) {
                    profile.read(file, text, table);
                }
            }
        }
        profile
    }

    fn read(&mut self, file: &str, text: &str, table: &toml::Table) {
        let items = |value: Option<&toml::Value>| -> Vec<Item> {
            let (texts, lines) = strings(value, text);
            let source = |line| Source { file: file.into(), line };
            texts.into_iter().zip(lines).map(|(text, line)| Item { text, source: source(line) }).collect()
        };
        let list = |section: &str, key: &str| items(table.get(section).and_then(|section| section.get(key)));
        self.rules.extend(list("prune", "add"));
        self.dlopen.extend(list("dlopen", "want"));
        self.dlopen.extend(list("dlopen", "add"));
        self.packages.extend(list("packages", "add").into_iter().map(|item| item.text));
        self.omit.extend(list("packages", "omit").into_iter().map(|item| item.text));
        for plugin in table.get("plugins").and_then(toml::Value::as_array).into_iter().flatten() {
            let when = items(Some(&toml::Value::Array(vec![plugin["when"].clone()]))).remove(0);
            let plugin = Plugin::new(&when, &items(plugin.get("needs")), &items(plugin.get("wants")));
            self.plugins.push(plugin.expect("a plugin entry"));
        }
    }

    fn prune(&self, target: &Target, tree: &mut Tree, more: &[&str], reporter: &dyn Reporter) -> Result<Pruned, prune::Error> {
        let more = more.iter().copied().map(Item::from_command_line);
        let rules = Rules::new(self.rules.iter().cloned().chain(more)).expect("rules");
        let plan =
            Plan { rules: &rules, plugins: &self.plugins, dlopen: &self.dlopen, packages: &target.packages, unstored: &[] };
        prune::prune(tree, &plan, reporter)
    }
}

/// Returns the strings of an array, and the lines on which they stand.
fn strings(value: Option<&toml::Value>, text: &str) -> (Vec<String>, Vec<u32>) {
    let texts = value.and_then(toml::Value::as_array).into_iter().flatten();
    let texts: Vec<String> = texts.map(|item| item.as_str().expect("a string").to_owned()).collect();
    let line = |item: &String| text.lines().position(|line| line.contains(&format!("\"{}\"", item.replace('\\', "\\\\"))));
    let lines = texts.iter().map(|item| line(item).map_or(0, |at| at as u32 + 1)).collect();
    (texts, lines)
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
        let key = format!("{release}-{arch}");
        if let Some(target) = ready.get(&key) {
            return Arc::clone(target);
        }
        let debs = Apt::new(release, arch).fetch(&profile.packages);
        let mut packages = Vec::new();
        let mut tree = Tree::new();
        for link in ["bin", "sbin", "lib", "lib64"] {
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
        let known: std::collections::BTreeSet<&str> = std::str::from_utf8(&known).expect("names").lines().collect();
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
