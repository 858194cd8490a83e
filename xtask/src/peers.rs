//! Sets up the other generators, each in a Debian root of its own, and tells how they are run there.

use std::fs;
use std::path::{Path, PathBuf};

use crate::shell::{at, call, is_root, output, tool};

/// The release whose kernel and packages every generator takes.
pub const RELEASE: &str = "trixie";

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const COMMON: &str = "linux-image-amd64,systemd,systemd-sysv,udev,lvm2,cryptsetup,systemd-cryptsetup,e2fsprogs,btrfs-progs,zstd,cpio,kmod,ca-certificates";

/// Runs a command in a root with mounts of its own.
const IN_ROOT: &str = include_str!("../../tests/boot/peers/in-root.sh");

/// The other generators and where they live.
pub struct Peers {
    dir: PathBuf,
}

/// One of them: a name, how it is run, and the image that it leaves.
pub struct Peer {
    /// Name and version.
    pub name: String,
    /// The whole command.
    pub command: Vec<String>,
    /// The image, seen from outside the root.
    pub image: PathBuf,
}

impl Peers {
    /// Opens the roots in `dir`, and makes those that are missing.
    pub fn set_up(dir: &Path) -> Result<Peers, String> {
        if !is_root() {
            return Err("the other generators want to be root in their own roots: run `cargo xtask bench` as root".into());
        }
        fs::create_dir_all(dir).map_err(at(dir))?;
        let peers = Peers { dir: dir.to_owned() };
        let mirror = mirror()?;
        peers.root("dracut", "dracut", &mirror)?;
        // Only the package `dracut` conflicts with initramfs-tools, for the sake of its hook.
        peers.root("peers", "initramfs-tools,cryptsetup-initramfs,busybox,dracut-core,mkosi,debian-archive-keyring", &mirror)?;
        peers.newer_mkosi(&mirror)?;
        Ok(peers)
    }

    /// Makes one root if it is missing.
    fn root(&self, name: &str, packages: &str, mirror: &str) -> Result<(), String> {
        let root = self.dir.join(name);
        if root.join("etc/debian_version").exists() {
            return Ok(());
        }
        println!("bench: making the root of `{name}`");
        let partial = self.dir.join(format!("{name}.partial"));
        call(tool("rm").args(["-rf", "--one-file-system"]).arg(&partial))?;
        output(
            tool("mmdebstrap")
                .args(["--variant=apt", &format!("--keyring={KEYRING}"), &format!("--include={COMMON},{packages}"), RELEASE])
                .arg(&partial)
                .arg(format!("deb {mirror} {RELEASE} main")),
        )?;
        fs::rename(&partial, &root).map_err(at(&root))?;
        // An empty list of installed packages, for apt's simulation.
        let empty = root.join("root/empty");
        fs::write(&empty, "").map_err(at(&empty))?;
        output(&mut self.inside(name, &["apt-get", "-qq", "update"])).map(drop)
    }

    /// Puts sid's mkosi into its root: it is one architecture-independent package, and the newest there is. Its
    /// dependency `systemd-tpm` does not exist in the release and is not used here, hence the force.
    fn newer_mkosi(&self, mirror: &str) -> Result<(), String> {
        let script = format!(
            "cd /root && echo 'deb {mirror} sid main' >sid.list && mkdir -p lists/partial &&
             o='-o Dir::Etc::SourceList=/root/sid.list -o Dir::Etc::SourceParts=- -o Dir::State::lists=/root/lists' &&
             o=\"$o -o Acquire::Check-Valid-Until=false\" &&
             apt-get -qq $o update && apt-get -qq $o download mkosi && rm -rf lists sid.list &&
             dpkg -i --force-depends mkosi_*.deb"
        );
        let is_there = self.root_of("peers").join("root/mkosi-of-sid");
        if !is_there.exists() {
            println!("bench: taking mkosi from sid");
            output(&mut self.inside("peers", &["sh", "-c", &script]))?;
            fs::write(&is_there, "").map_err(at(&is_there))?;
        }
        Ok(())
    }

    /// Returns the directory of a root.
    pub fn root_of(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Returns a command that runs in a root.
    pub fn inside(&self, name: &str, command: &[&str]) -> std::process::Command {
        let words = self.words(name, command);
        let mut inside = tool(&words[0]);
        inside.args(&words[1..]);
        inside
    }

    /// Returns the words of a command that runs in a root.
    pub fn words(&self, name: &str, command: &[&str]) -> Vec<String> {
        let root = self.dir.join(name).display().to_string();
        let before = ["unshare", "--mount", "--propagation", "private", "sh", "-euc", IN_ROOT, "sh", &root];
        before.iter().chain(command).map(|word| (*word).to_owned()).collect()
    }

    /// Returns the generators, with the versions that are installed.
    pub fn all(&self) -> Result<Vec<Peer>, String> {
        let kernel = self.kernel_version()?;
        let image = format!("/boot/vmlinuz-{kernel}");
        let version = |root: &str, package: &str| {
            let query = ["dpkg-query", "-W", "-f", "${Version}", package];
            output(&mut self.inside(root, &query)).map(|version| version.trim().to_owned())
        };
        let most = "rm -rf /tmp/most; cp -a /etc/initramfs-tools /tmp/most; \
                    sed -i 's/^MODULES=.*/MODULES=most/' /tmp/most/initramfs.conf; exec mkinitramfs -d /tmp/most -o /bench/most.img \"$1\"";
        fs::create_dir_all(self.dir.join("peers/bench")).map_err(at(&self.dir))?;
        fs::create_dir_all(self.dir.join("dracut/bench")).map_err(at(&self.dir))?;
        Ok(vec![
            Peer {
                name: format!("mkosi-initrd {} `-g --profile lvm`", version("peers", "mkosi")?),
                command: self.words(
                    "peers",
                    &[
                        "mkosi-initrd",
                        "-g",
                        "--profile",
                        "lvm",
                        "-k",
                        &kernel,
                        "--kernel-image",
                        &image,
                        "-O",
                        "/bench",
                        "-o",
                        "mkosi.img",
                    ],
                ),
                image: self.dir.join("peers/bench/mkosi.img"),
            },
            Peer {
                name: format!("mkinitramfs {} `MODULES=most`", version("peers", "initramfs-tools-core")?),
                command: self.words("peers", &["sh", "-euc", most, "sh", &kernel]),
                image: self.dir.join("peers/bench/most.img"),
            },
            Peer {
                name: format!("dracut {} `--no-hostonly --zstd`", version("dracut", "dracut")?),
                command: self
                    .words("dracut", &["dracut", "--force", "--no-hostonly", "--zstd", "--kver", &kernel, "/bench/dracut.img"]),
                image: self.dir.join("dracut/bench/dracut.img"),
            },
        ])
    }

    /// Returns apt solving the same request into an empty root, with the same index: parsed anew, or out of its own cache.
    pub fn apt_simulation(&self, packages: &[String], anew: bool) -> Vec<String> {
        let simulate = "[ \"$1\" = warm ] || rm -f /var/cache/apt/*.bin; shift
            exec apt-get -s -qq -o Dir::State::status=/root/empty -o pkgCacheGen::ForceEssential=none \
            -o Dir::Cache::pkgcache=pkgcache.bin --no-install-recommends install \"$@\"";
        let mut command = vec!["sh", "-euc", simulate, "sh", if anew { "anew" } else { "warm" }];
        command.extend(packages.iter().map(String::as_str));
        self.words("peers", &command)
    }

    /// Returns the version of the kernel that is installed in the roots.
    pub fn kernel_version(&self) -> Result<String, String> {
        let dir = self.dir.join("peers/usr/lib/modules");
        let mut entries = fs::read_dir(&dir).map_err(at(&dir))?.filter_map(Result::ok);
        let first = entries.next().ok_or_else(|| format!("`{}` is empty", dir.display()))?;
        Ok(first.file_name().to_string_lossy().into_owned())
    }
}

/// Returns the mirror of the host's own apt, as the boot tests read it.
fn mirror() -> Result<String, String> {
    if let Ok(mirror) = std::env::var("MKINITRD_TEST_MIRROR") {
        return Ok(mirror);
    }
    let listed = output(tool("apt-get").args(["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]))?;
    let mut uris = listed.lines().map(|uri| uri.trim_end_matches('/'));
    let found = uris.find(|uri| uri.ends_with("/debian") || uri.contains("/archive/debian/"));
    found.map(str::to_owned).ok_or_else(|| "apt on this machine has no Debian mirror: set `MKINITRD_TEST_MIRROR` to one".into())
}
