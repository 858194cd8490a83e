//! A real trixie root to try things in: systemd 257 with its kernel-install, udev, systemd-boot, ukify, initramfs-tools, apt.
//!
//! The root is made once by mmdebstrap and kept in the test cache; every [`LiveRoot`] is an overlay over it, so a private copy
//! costs nothing and its changes outlast one command. A command runs in namespaces of its own (mounts, processes; network only
//! if asked for), as root or as root of a user namespace. Kernel and initrd packages lie in its `/var/cache/apt/archives`.
//!
//! Self-contained: other test programs take it in by `#[path]`.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// What is installed: a machine that boots, what an initrd is made of, and the generator that Debian installs.
const PACKAGES: &str = "systemd,systemd-sysv,udev,dbus,kmod,bash,less,zstd,libcryptsetup12,systemd-cryptsetup,cryptsetup-bin,lvm2,\
dmsetup,mdadm,e2fsprogs,btrfs-progs,xfsprogs,dosfstools,util-linux,mount,liblzma5,libfido2-1,libtss2-esys-3.0.2-0t64,\
libtss2-mu-4.0.1-0t64,libtss2-rc0t64,libtss2-tcti-device0t64,dash,coreutils,procps,ncurses-base,kbd,\
console-setup-linux,keyboard-configuration,systemd-boot,systemd-boot-efi,systemd-ukify,sbsigntool,initramfs-tools,linux-base,iproute2,apt,\
debian-archive-keyring,ca-certificates";
/// What is only downloaded, with all that it needs.
const DOWNLOADED: &str = "linux-image-cloud-amd64 linux-image-amd64 dracut intel-microcode amd64-microcode";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Changes of the recipe below that the packages do not show.
const EDITION: u32 = 1;

/// Lays the overlay and mounts what a root needs, then becomes the command.
///
/// Arguments: lower, upper, work and merged directory, `inside` or `outside`, the number of binds, the binds, the command.
const SETUP: &str = r#"set -e
lower=$1 upper=$2 work=$3 root=$4 where=$5 mounts=$6 binds=$7; shift 7
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$upper,workdir=$work" "$root"
case "$mounts" in *proc*) mount -t proc proc "$root/proc";; esac
case "$mounts" in *sys*) mount --rbind /sys "$root/sys";; esac
case "$mounts" in *dev*)
    mount -t tmpfs -o mode=0755 dev "$root/dev"
    for node in null zero full random urandom tty; do : >"$root/dev/$node"; mount --bind "/dev/$node" "$root/dev/$node"; done
    ln -s /proc/self/fd "$root/dev/fd"; ln -s fd/0 "$root/dev/stdin"; ln -s fd/1 "$root/dev/stdout"; ln -s fd/2 "$root/dev/stderr"
    mkdir "$root/dev/shm" "$root/dev/pts"; mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"; ln -s pts/ptmx "$root/dev/ptmx";;
esac
case "$mounts" in *tmp*) mount -t tmpfs -o mode=0755 run "$root/run"; mount -t tmpfs -o mode=1777 tmp "$root/tmp";; esac
while [ "$binds" -gt 0 ]; do
    from=$1 to=$root$2 mode=$3; shift 3
    if [ -d "$from" ]; then mkdir -p "$to"; else mkdir -p "${to%/*}"; [ -e "$to" ] || : >"$to"; fi
    mount --bind "$from" "$to"; [ "$mode" = rw ] || mount -o "remount,bind,$mode" "$to"
    binds=$((binds - 1))
done
ip link set lo up 2>/dev/null || true
export LIVE_ROOT="$root"
[ "$where" = inside ] || exec "$@"
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
unset TMPDIR
exec chroot "$root" "$@"
"#;

/// Returns the directory in which tests keep what they download.
pub fn cache() -> PathBuf {
    match std::env::var_os("MKINITRD_TEST_CACHE") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-cache"),
    }
}

/// Returns the directory that holds the root which all copies share. It is never written to.
pub fn base() -> &'static Path {
    static BASE: OnceLock<PathBuf> = OnceLock::new();
    BASE.get_or_init(|| {
        let key = fingerprint(&[PACKAGES, DOWNLOADED, SETUP, &EDITION.to_string(), if is_root() { "root" } else { "user" }]);
        let dir = cache().join(format!("live-trixie-{key:016x}"));
        fs::create_dir_all(&dir).expect("the test cache");
        // Several test programs may want it at once.
        let lock = fs::File::open(&dir).expect("the directory");
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("a lock");
        if !dir.join("complete").exists() {
            make(&dir);
        }
        dir.join("root").canonicalize().expect("the root")
    })
}

/// Returns the base with a layer over it that `make` makes once; it is kept in the test cache. Change the name when `make` changes.
pub fn layer(name: &str, make: impl FnOnce(&LiveRoot)) -> PathBuf {
    let dir = base().parent().expect("the base's directory").join(format!("layer-{name}"));
    fs::create_dir_all(&dir).expect("the test cache");
    let lock = fs::File::open(&dir).expect("the directory");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("a lock");
    let upper = dir.join("upper");
    if !dir.join("complete").exists() {
        let root = LiveRoot::new();
        make(&root);
        run(namespaces(true).args(["rm", "-rf"]).arg(&upper), "util-linux");
        fs::rename(root.dir.join("upper"), &upper).expect("keeping the layer");
        fs::write(dir.join("complete"), "").expect("writing");
    }
    let mut both = upper.into_os_string();
    both.push(":");
    both.push(base());
    PathBuf::from(both)
}

fn make(dir: &Path) {
    let root = dir.join("root");
    // What an interrupted run left may belong to users that only the namespace knows.
    run(namespaces(true).args(["rm", "-rf"]).arg(&root), "util-linux");
    let tar = dir.join("root.tar");
    let mut command = Command::new("mmdebstrap");
    command.args(["--variant=minbase", "--format=tar", "--skip=essential/unlink", "--skip=cleanup/apt"]);
    command.arg("--aptopt=APT::Keep-Downloaded-Packages \"true\"").arg("--aptopt=APT::Install-Recommends \"false\"");
    command.arg(format!("--include={PACKAGES}")).arg(format!("--keyring={KEYRING}"));
    let download =
        format!(r#"for one in {DOWNLOADED}; do chroot "$1" apt-get install --yes --download-only "$one" || exit 1; done"#);
    command.arg(format!("--customize-hook={download}"));
    let mirror = mirror();
    // The kernels' microcode is not free, in Debian's sense.
    let source = format!("deb {mirror} trixie main contrib non-free-firmware");
    run(command.arg("trixie").arg(&tar).arg(source).env("SOURCE_DATE_EPOCH", "1700000000"), "mmdebstrap");
    fs::create_dir_all(&root).expect("a directory");
    let mut extract = namespaces(true);
    extract.args(["tar", "--extract", "--numeric-owner", "--preserve-permissions", "--xattrs", "--exclude=./dev/*", "--file"]);
    run(extract.arg(&tar).arg("--directory").arg(&root), "tar");
    // As on a machine that was installed: it has an identity.
    fs::write(root.join("etc/machine-id"), "6d6b696e697472642d706b6720746573\n").expect("a machine id");
    fs::write(root.join("etc/fstab"), "").expect("an fstab");
    fs::remove_file(&tar).expect("removing");
    fs::write(dir.join("complete"), "").expect("writing");
}

/// FNV-1a: a name for a directory, not a matter of trust.
fn fingerprint(texts: &[&str]) -> u64 {
    let bytes = texts.iter().flat_map(|text| text.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Returns the mirror of Debian that this machine's apt uses: it serves the other releases too.
pub fn mirror() -> String {
    let output = run(Command::new("apt-get").args(["indextargets", "--format", "$(REPO_URI) $(COMPONENT)"]), "apt");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let uris = text.lines().filter_map(|line| line.strip_suffix(" main"));
    uris.map(str::to_owned)
        .find(|uri| uri.trim_end_matches('/').ends_with("/debian"))
        .expect("a mirror of Debian in apt's sources")
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Returns `unshare` with namespaces in which this process is root; what it starts dies with it.
fn namespaces(network: bool) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child"]);
    if !network {
        command.arg("--net");
    }
    if !is_root() {
        command.args(["--map-root-user", "--map-auto"]);
    }
    command.arg("--").env("PATH", path());
    command
}

/// The caller's path, with what Debian keeps in the `sbin` directories.
fn path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    path.push(":/usr/local/sbin:/usr/sbin:/sbin");
    path
}

/// Runs a command that must succeed; names the Debian package when there is no such program.
#[track_caller]
fn run(command: &mut Command, debian_package: &str) -> Output {
    let output = command.output().unwrap_or_else(|err| panic!("{command:?}: {err}: install `{debian_package}`"));
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    output
}

/// A private copy of the root. It goes when this is dropped.
pub struct LiveRoot {
    dir: PathBuf,
    lower: PathBuf,
}

/// How a command runs in a root.
#[derive(Debug, Clone)]
pub struct Setting {
    /// With the network of this machine, to install from the mirror.
    pub network: bool,
    /// What is mounted: words out of `proc`, `sys`, `dev`, `tmp` (`/tmp` and `/run`, empty for every command).
    pub mounts: &'static str,
    /// Host path, absolute path inside, and `rw` or mount options such as `ro`.
    pub binds: Vec<(PathBuf, String, &'static str)>,
}

impl Default for Setting {
    /// A chroot as an administrator makes one: no network, and no `/sys`, so that nothing of the test machine's hardware is seen.
    fn default() -> Self {
        Self { network: false, mounts: "proc dev tmp", binds: Vec::new() }
    }
}

impl LiveRoot {
    /// Returns a fresh copy of the base.
    pub fn new() -> Self {
        Self::over(base())
    }

    /// Returns a fresh copy of some other root, as one that [`layer`] gives.
    pub fn over(lower: &Path) -> Self {
        let parent = cache().join("live-copies");
        fs::create_dir_all(&parent).expect("the test cache");
        // Not below /tmp: an overlay's upper layer may not lie on every file system.
        let dir = tempfile::Builder::new().prefix("root-").tempdir_in(&parent).expect("a directory").keep();
        let dir = dir.canonicalize().expect("the directory");
        for part in ["upper", "work", "merged"] {
            fs::create_dir(dir.join(part)).expect("a directory");
            fs::set_permissions(dir.join(part), fs::Permissions::from_mode(0o755)).expect("a mode");
        }
        Self { dir, lower: lower.to_owned() }
    }

    /// Returns a command that runs a program of the root inside it.
    pub fn command(&self, program: impl AsRef<OsStr>, setting: &Setting) -> Command {
        self.wrapped("inside", program.as_ref(), setting)
    }

    /// Returns a command that runs a program of this machine with the root at `$LIVE_ROOT`: to copy it into a disk, say.
    pub fn outside(&self, program: impl AsRef<OsStr>, setting: &Setting) -> Command {
        self.wrapped("outside", program.as_ref(), setting)
    }

    fn wrapped(&self, place: &str, program: &OsStr, setting: &Setting) -> Command {
        let mut command = namespaces(setting.network);
        command.args(["sh", "-c", SETUP, "live"]).arg(&self.lower);
        command.args(["upper", "work", "merged"].map(|part| self.dir.join(part))).arg(place).arg(setting.mounts);
        command.arg(setting.binds.len().to_string());
        for (from, to, mode) in &setting.binds {
            command.arg(from).arg(to).arg(mode);
        }
        command.arg(program).stdin(Stdio::null());
        command
    }

    /// Runs a script of `sh` inside, with the usual mounts and no network.
    pub fn sh(&self, script: &str) -> Output {
        let mut command = self.command("sh", &Setting::default());
        command.args(["-ec", script]).output().expect("unshare, of `util-linux`")
    }

    /// Runs a script of `sh` inside that must succeed, and returns what it printed.
    #[track_caller]
    pub fn must(&self, script: &str) -> String {
        let output = self.sh(script);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{script}: {}\n{}{}", output.status, text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    /// Runs apt-get inside, with the mirror; what lies in the package cache is not fetched again.
    #[track_caller]
    pub fn apt_get(&self, args: &[&str], setting: &Setting) -> Output {
        let setting = Setting { network: true, ..setting.clone() };
        self.command("apt-get", &setting).args(["--yes", "-o", "Dpkg::Use-Pty=0"]).args(args).output().expect("unshare")
    }

    /// Writes a file, its directories made, from outside. Only between commands.
    pub fn write(&self, path: &str, bytes: &[u8], mode: u32) {
        let file = self.dir.join("given");
        fs::write(&file, bytes).expect("writing");
        let script = r#"install -D -m "$1" "$2" "$LIVE_ROOT$3""#;
        let mut command = self.outside("sh", &Setting { mounts: "", ..Setting::default() });
        run(command.args(["-ec", script, "sh", &format!("{mode:o}")]).arg(&file).arg(path), "util-linux");
    }

    /// Reads a file from outside, if it is there.
    pub fn read(&self, path: &str) -> Option<Vec<u8>> {
        let mut command = self.command("cat", &Setting { mounts: "", ..Setting::default() });
        let output = command.arg(path).output().expect("unshare");
        output.status.success().then_some(output.stdout)
    }

    /// Returns the directory with what was changed, and a place beside it for files of the test.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for LiveRoot {
    fn drop(&mut self) {
        let removed: io::Result<_> = namespaces(true).args(["rm", "-rf"]).arg(&self.dir).output();
        // A copy that stays takes space in the test cache, no more.
        let _ = removed;
    }
}
