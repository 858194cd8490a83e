//! The packages of the trixie profile twice: installed by Debian's own tools, and merely unpacked.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use mkinitrd_pkg::base::digest::Sha256;
use mkinitrd_pkg::tree::{Origin, Tree, TreePath, disk};

/// What a generic initrd of trixie is made of.
const PACKAGES: &str = "systemd,udev,kmod,bash,less,libcryptsetup12,systemd-cryptsetup,lvm2,dmsetup,e2fsprogs,btrfs-progs,util-linux,mount,\
liblzma5,libfido2-1,libtss2-esys-3.0.2-0t64,libtss2-mu-4.0.1-0t64,libtss2-rc0t64,libtss2-tcti-device0t64,dash,coreutils,procps,ncurses-base";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Where the two roots lie on disk, with the owners that an ordinary user cannot give them.
pub struct Roots {
    /// As mmdebstrap installs them, scripts run.
    pub installed: PathBuf,
    /// As dpkg-deb unpacks them.
    pub unpacked: PathBuf,
    installed_owners: Owners,
    unpacked_owners: Owners,
}

type Owners = BTreeMap<TreePath, (u32, u32)>;

/// Returns the roots, made once and kept in the test cache.
pub fn roots() -> &'static Roots {
    static ROOTS: OnceLock<Roots> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let key = Sha256::of(PACKAGES.as_bytes()).to_string();
        let cache = cache().join(format!("parity-trixie-{}", &key[..12]));
        let (installed, unpacked) = (cache.join("installed"), cache.join("unpacked"));
        if !cache.join("complete").exists() {
            let _ = fs::remove_dir_all(&cache); // what an interrupted run left behind, if any
            fs::create_dir_all(&cache).expect("the test cache");
            install(&cache);
            let debs = cache.join("debs");
            let packages = fs::read_dir(&debs).expect("the packages").map(|deb| deb.expect("a package").path());
            let mut packages: Vec<PathBuf> = packages.filter(|path| path.extension().is_some_and(|ext| ext == "deb")).collect();
            packages.sort();
            assert!(packages.len() > 90, "mmdebstrap kept only {} packages in its cache", packages.len());
            fs::create_dir_all(&unpacked).expect("a directory");
            let mut listing = String::new();
            for package in packages {
                let tar = cache.join("one.tar");
                let out = fs::File::create(&tar).expect("a file");
                run(Command::new("dpkg-deb").arg("--fsys-tarfile").arg(&package).stdout(out), "dpkg");
                listing += &extract(&tar, &unpacked);
                fs::remove_file(&tar).expect("removing");
            }
            fs::write(cache.join("unpacked.list"), listing).expect("writing");
            fs::create_dir_all(&installed).expect("a directory");
            let listing = extract(&cache.join("installed.tar"), &installed);
            fs::write(cache.join("installed.list"), listing).expect("writing");
            fs::write(cache.join("complete"), "").expect("writing");
        }
        let owners = |name: &str| read_owners(&fs::read_to_string(cache.join(name)).expect(name));
        Roots { installed_owners: owners("installed.list"), unpacked_owners: owners("unpacked.list"), installed, unpacked }
    })
}

impl Roots {
    /// Returns what Debian's tools made, as a tree.
    pub fn installed_tree(&self) -> Tree {
        read(&self.installed, &self.installed_owners)
    }

    /// Returns what Debian's tools made and an ordinary user cannot unpack: device nodes.
    pub fn installed_nodes(&self) -> Vec<TreePath> {
        let tree = self.installed_tree();
        self.installed_owners.keys().filter(|path| !path.is_root() && tree.get(path).is_none()).cloned().collect()
    }

    /// Returns what lies in the packages, as a tree.
    pub fn unpacked_tree(&self) -> Tree {
        read(&self.unpacked, &self.unpacked_owners)
    }

    /// Returns a command for a program of trixie's own, run by trixie's own loader and libraries.
    pub fn program(&self, path: &str) -> Command {
        let lib = |below: &str| {
            let found =
                fs::read_dir(self.unpacked.join("usr/lib")).expect("usr/lib").map(|entry| entry.expect("an entry").path());
            found.into_iter().find(|path| path.join("libc.so.6").exists()).expect("the directory of libc").join(below)
        };
        let loader = fs::read_dir(lib("")).expect("libraries").map(|entry| entry.expect("an entry").path());
        let is_loader = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ld-linux"));
        let loader = loader.into_iter().find(is_loader).expect("the loader of libc6");
        let mut command = Command::new(loader);
        command
            .arg("--library-path")
            .arg(format!("{}:{}", lib("").display(), lib("systemd").display()))
            .arg(self.unpacked.join(path));
        command
    }
}

/// Returns the directory in which tests keep what they download.
pub fn cache() -> PathBuf {
    match std::env::var_os("MKINITRD_TEST_CACHE") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-cache"),
    }
}

/// Runs a command and returns what it printed; names the Debian package when there is no such program.
pub fn run(command: &mut Command, debian_package: &str) -> String {
    let output = command.output().unwrap_or_else(|err| panic!("{command:?}: {err}: install `{debian_package}`"));
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Returns the host's own mirror of Debian: it serves the other releases too.
pub fn mirror() -> String {
    let uris = run(Command::new("apt-get").args(["indextargets", "--format", "$(REPO_URI) $(COMPONENT)"]), "apt");
    let uri =
        uris.lines().find_map(|line| line.strip_suffix(" main").filter(|uri| uri.trim_end_matches('/').ends_with("/debian")));
    uri.expect("a mirror of Debian among the host's apt sources").to_owned()
}

fn install(cache: &Path) {
    let debs = cache.join("debs");
    fs::create_dir_all(&debs).expect("a directory");
    // Whoever cannot become root in a namespace is told so by mmdebstrap itself.
    let mut command = Command::new("mmdebstrap");
    command.args(["--variant=essential", "--format=tar", "--skip=essential/unlink", "--skip=cleanup/apt"]);
    command.arg("--aptopt=APT::Keep-Downloaded-Packages \"true\"");
    command.arg(format!("--include={PACKAGES}")).arg(format!("--keyring={KEYRING}"));
    command.arg(format!("--customize-hook=copy-out /var/cache/apt/archives {}", debs.display()));
    command.arg("trixie").arg(cache.join("installed.tar")).arg(format!("deb {} trixie main", mirror()));
    run(command.env("SOURCE_DATE_EPOCH", "1700000000"), "mmdebstrap");
    let archives = debs.join("archives");
    for deb in fs::read_dir(&archives).expect("the packages").map(|deb| deb.expect("a package")) {
        fs::rename(deb.path(), debs.join(deb.file_name())).expect("moving");
    }
}

/// Unpacks without owners and device nodes, and returns tar's list, which has the owners.
fn extract(tar: &Path, to: &Path) -> String {
    let mut command = Command::new("tar");
    command.args(["--extract", "--preserve-permissions", "--no-same-owner", "--keep-directory-symlink", "--exclude=./dev/*"]);
    run(command.arg("--file").arg(tar).arg("--directory").arg(to), "tar");
    let mut command = Command::new("tar");
    run(command.args(["--list", "--verbose", "--numeric-owner", "--quoting-style=literal", "--file"]).arg(tar), "tar")
}

/// Reads `drwxr-xr-x 0/42 0 2026-11-20 13:50 ./path`, links with ` -> ` or ` link to `.
fn read_owners(listing: &str) -> Owners {
    let line = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (mode, owner) = (fields.next()?, fields.next()?);
        let (uid, gid) = owner.split_once('/')?;
        let name = line.split_once(" ./")?.1;
        let name = if mode.starts_with('l') { name.split(" -> ").next()? } else { name.split(" link to ").next()? };
        Some((TreePath::parse(name.as_bytes()).ok()?, (uid.parse().ok()?, gid.parse().ok()?)))
    };
    listing.lines().map(|text| line(text).unwrap_or_else(|| panic!("tar listed `{text}`"))).collect()
}

fn read(root: &Path, owners: &Owners) -> Tree {
    let mut tree = Tree::new();
    disk::read(&mut tree, root, &TreePath::root(), false, &Origin::Package(0)).expect("a tree");
    tree.retain(|path, entry| {
        if let Some((uid, gid)) = owners.get(path) {
            (entry.meta.uid, entry.meta.gid) = (*uid, *gid);
        }
        true
    });
    tree
}
