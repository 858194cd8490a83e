//! Sets up the other generators, each in a Debian root of its own, and has them make images of the kernel that ours boot.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{at, is_root, run, tool};
use crate::debian::AS_OLD_AS_IT_IS;
use crate::machine::{SNAKEOIL_CERTIFICATE, SNAKEOIL_PASSPHRASE};
use crate::peers::{Peer, Set};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const RELEASE: &str = "trixie";
/// Raised when the packages of the roots change, or what the images are made with.
const RECIPE: u32 = 1;

const COMMON: &str = "linux-image-amd64,systemd,systemd-sysv,udev,kmod,zstd,cpio,e2fsprogs,btrfs-progs,lvm2,cryptsetup,\
     systemd-cryptsetup,ca-certificates";
/// What a user installs for volumes and file systems.
const STORAGE: &str = "mdadm multipath-tools kpartx xfsprogs f2fs-tools bcache-tools thin-provisioning-tools kbd console-setup \
     libtss2-esys-3.0.2-0t64 libtss2-mu-4.0.1-0t64 libtss2-rc0t64 libtss2-tcti-device0t64 tpm2-tools libfido2-1 systemd-repart \
     squashfs-tools erofs-utils";
/// What a user installs to reach a root over a network.
const NETWORK: &str = "open-iscsi nfs-common nbd-client nvme-cli curl iproute2";
/// What makes unified kernel images, in all of the roots.
const UNIFIED: &str = "systemd-ukify systemd-boot-efi sbsigntool";

const IN_ROOT: &str = include_str!("peers/in-root.sh");
const IMAGE: &str = include_str!("peers/image.sh");

impl Peer {
    /// Returns the packages of a root beside the common ones: at first, for storage, and for the network.
    fn packages(self) -> [&'static str; 3] {
        match self {
            // It installs packages into its image, not into its root.
            Peer::Mkosi => ["mkosi,debian-archive-keyring,apt-utils,systemd-ukify,systemd-boot-efi,sbsigntool", "", ""],
            Peer::Dracut => ["dracut", "dracut-live", "dracut-network jq"],
            Peer::InitramfsTools => [
                "initramfs-tools,cryptsetup-initramfs,busybox",
                "multipath-tools-boot overlayroot",
                "live-boot live-boot-initramfs-tools isc-dhcp-client",
            ],
        }
    }
}

/// The roots of the peers and the images that they have made.
pub struct PeerImages {
    dir: PathBuf,
    mirror: String,
    /// The kernel that ours boot.
    kernel: String,
}

impl PeerImages {
    /// Opens the roots in `dir`.
    pub fn new(dir: &Path, mirror: &str, kernel: &str) -> Result<PeerImages, String> {
        if !is_root() {
            return Err("the other generators want to be root in their own roots: run it as root".into());
        }
        fs::create_dir_all(dir).map_err(at(dir))?;
        Ok(PeerImages { dir: dir.to_owned(), mirror: mirror.to_owned(), kernel: kernel.to_owned() })
    }

    /// Returns the image of a peer, made if it is not there yet: in a root that has the packages for its set and no others.
    pub fn image(&self, peer: Peer, set: Set) -> Result<PathBuf, String> {
        let image = self.root(peer).join(format!("boot-test/{}.img", set.name()));
        if self.has(peer, set.name()) && image.exists() {
            return Ok(image);
        }
        self.make_root(peer)?;
        // What is made of the smaller root comes first.
        let stages: &[(Set, &[&str])] = match set {
            Set::Plain => &[(Set::Plain, &[])],
            Set::Machine => &[(Set::Plain, &[]), (Set::Machine, &[])],
            Set::Network => &[(Set::Plain, &[]), (Set::Machine, &[]), (Set::Storage, &[STORAGE, UNIFIED]), (set, &[NETWORK])],
            Set::Storage => &[(Set::Plain, &[]), (Set::Machine, &[]), (Set::Storage, &[STORAGE, UNIFIED])],
            _ => &[(Set::Plain, &[]), (Set::Machine, &[]), (Set::Storage, &[STORAGE, UNIFIED]), (set, &[])],
        };
        for (stage, packages) in stages {
            if self.has(peer, stage.name()) {
                continue;
            }
            if *stage == Set::Machine && peer == Peer::Mkosi {
                continue; // its image for a machine holds what the running kernel has loaded: it would be another machine's
            }
            let more = match stage {
                Set::Storage => peer.packages()[1],
                Set::Network => peer.packages()[2],
                _ => "",
            };
            let mut wanted: Vec<&str> = packages.iter().flat_map(|list| list.split_whitespace()).collect();
            wanted.extend(more.split_whitespace());
            if !wanted.is_empty() && peer != Peer::Mkosi {
                self.install(peer, &wanted)?;
            }
            self.make_image(peer, *stage)?;
        }
        Ok(image)
    }

    /// Returns a unified kernel image of a peer's initrd, signed if wanted: systemd's own tool makes it for all of them.
    pub fn unified(&self, peer: Peer, set: Set, append: &str, signed: bool) -> Result<PathBuf, String> {
        self.image(peer, Set::Storage)?; // whose root has the tool
        let initrd = self.image(peer, set)?;
        let name = format!("{}{}.efi", set.name(), if signed { "-signed" } else { "" });
        let script =
            "cd /boot-test; ukify build --linux \"/boot/vmlinuz-$1\" --initrd \"$2\" --cmdline \"$3\" --output \"$4\" $5";
        let mut sign = "";
        if signed {
            let dir = self.root(peer).join("boot-test");
            let key = dir.join("snakeoil.key");
            let mut openssl = tool("openssl");
            openssl.env("PASSPHRASE", SNAKEOIL_PASSPHRASE);
            run(openssl.args(["pkey", "-passin", "env:PASSPHRASE", "-in", crate::machine::SNAKEOIL_KEY, "-out"]).arg(&key))?;
            let certificate = dir.join("snakeoil.pem");
            fs::copy(SNAKEOIL_CERTIFICATE, &certificate).map_err(at(&certificate))?;
            sign = "--secureboot-private-key=snakeoil.key --secureboot-certificate=snakeoil.pem";
        }
        let initrd = initrd.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let line = format!("console=ttyS0 panic=-1 oops=panic {append}");
        run(&mut self.inside(peer, &["sh", "-euc", script, "sh", &self.kernel, &initrd, &line, &name, sign]))?;
        Ok(self.root(peer).join("boot-test").join(name))
    }

    fn root(&self, peer: Peer) -> PathBuf {
        self.dir.join(format!("{peer}-{RECIPE}"))
    }

    fn mark(&self, peer: Peer, what: &str) -> PathBuf {
        self.root(peer).join(format!("boot-test/{what}-{}.made", self.kernel))
    }

    fn has(&self, peer: Peer, what: &str) -> bool {
        self.mark(peer, what).exists()
    }

    fn inside(&self, peer: Peer, command: &[&str]) -> Command {
        let mut inside = tool("unshare");
        inside.args(["--mount", "--propagation", "private", "sh", "-euc", IN_ROOT, "sh"]).arg(self.root(peer)).args(command);
        inside
    }

    fn make_root(&self, peer: Peer) -> Result<(), String> {
        let root = self.root(peer);
        // With another kernel it is made anew.
        if !root.join("boot-test").exists() || !root.join("usr/lib/modules").join(&self.kernel).exists() {
            println!("{peer}: making its root");
            run(tool("rm").args(["-rf", "--one-file-system"]).arg(&root))?;
            let partial = root.with_extension("partial");
            run(tool("rm").args(["-rf", "--one-file-system"]).arg(&partial))?;
            let mirror = &self.mirror;
            run(tool("mmdebstrap")
                .args(["--variant=apt", &format!("--keyring={KEYRING}"), &format!("--aptopt={AS_OLD_AS_IT_IS}")])
                .arg(format!("--include={COMMON},{}", peer.packages()[0]))
                .arg(RELEASE)
                .arg(&partial)
                .arg(format!("deb {mirror} {RELEASE} main"))
                .arg(format!("deb {mirror} {RELEASE}-updates main"))
                .arg(format!("deb {mirror}-security {RELEASE}-security main")))?;
            fs::create_dir(partial.join("boot-test")).map_err(at(&partial))?;
            fs::rename(&partial, &root).map_err(at(&root))?;
            if !root.join("usr/lib/modules").join(&self.kernel).exists() {
                return Err(format!("{peer}: {RELEASE} has no kernel `{}` any more; ours boots it out of a cache", self.kernel));
            }
        }
        if peer == Peer::Mkosi && !self.has(peer, "mkosi") {
            self.newer_mkosi()?;
        }
        Ok(())
    }

    /// Puts sid's mkosi into its root: it is one architecture-independent package, and the newest there is. Its dependency
    /// `systemd-tpm` does not exist in the release and is not used here, hence the force.
    fn newer_mkosi(&self) -> Result<(), String> {
        let script = format!(
            "cd /root && echo 'deb {} sid main' >sid.list && mkdir -p lists/partial &&
             o='-o Dir::Etc::SourceList=/root/sid.list -o Dir::Etc::SourceParts=- -o Dir::State::lists=/root/lists' &&
             o=\"$o -o Acquire::Check-Valid-Until=false\" &&
             apt-get -qq $o update && apt-get -qq $o download mkosi && rm -rf lists sid.list &&
             dpkg -i --force-depends mkosi_*.deb",
            self.mirror
        );
        run(&mut self.inside(Peer::Mkosi, &["sh", "-c", &script]))?;
        self.set_mark(Peer::Mkosi, "mkosi")
    }

    /// Installs packages, with nothing of them started.
    fn install(&self, peer: Peer, packages: &[&str]) -> Result<(), String> {
        println!("{peer}: installing {}", packages.join(" "));
        // Without the word `INITRD` each of them could have an image made by Debian's hooks.
        let script = "printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d
            apt-get -qq -o Acquire::Check-Valid-Until=false update
            export INITRD=No
            exec apt-get -qq -y -o APT::Install-Recommends=false install \"$@\"";
        let mut words = vec!["sh", "-euc", script, "sh"];
        words.extend(packages);
        run(&mut self.inside(peer, &words)).map(drop)
    }

    fn make_image(&self, peer: Peer, set: Set) -> Result<(), String> {
        println!("{peer}: making the image `{}`", set.name());
        let root = self.root(peer);
        let over = root.join("boot-test").join(set.name());
        run(tool("rm").args(["-rf", "--one-file-system"]).arg(&over))?;
        fs::create_dir(&over).map_err(at(&over))?;
        for (from, to) in set.files() {
            let to = over.join(to.trim_start_matches('/'));
            let parent = to.parent().expect("invariant: it lies below a directory");
            fs::create_dir_all(parent).map_err(at(parent))?;
            run(tool("cp").arg("-r").arg(Path::new("tests/boot").join(from)).arg(&to))?;
        }
        let script = root.join("boot-test/image.sh");
        fs::write(&script, IMAGE).map_err(at(&script))?;
        run(&mut self.inside(peer, &["sh", "/boot-test/image.sh", peer.name(), set.name(), &self.kernel]))?;
        self.set_mark(peer, set.name())
    }

    fn set_mark(&self, peer: Peer, what: &str) -> Result<(), String> {
        let mark = self.mark(peer, what);
        fs::write(&mark, "").map_err(at(&mark))
    }
}
