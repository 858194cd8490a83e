//! The plugins in a real trixie root, under the real kernel-install of systemd 257: faults B01 to B22.

use std::fs;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use mkinitrd_pkg::base::digest::Sha256;

use crate::live::{self, LiveRoot, Setting};
use crate::program::effort;

/// The kernel of the layer; two more names have the same modules, so that there is something to upgrade to.
const OTHERS: [&str; 2] = ["6.12.500-b", "6.12.600-c"];
/// What kernel-install calls this installation, from the machine id of the root.
const TOKEN: &str = "6d6b696e697472642d706b6720746573";
/// No configuration of a profile says so, but an entry needs a command line, and there is no `/proc/cmdline` to take it from.
const CMDLINE: &str = "root=/dev/vda rw quiet\n";

/// The base with Debian's cloud kernel unpacked, and twice more under other names.
fn with_kernels() -> &'static (PathBuf, String) {
    static LAYER: OnceLock<(PathBuf, String)> = OnceLock::new();
    LAYER.get_or_init(|| {
        let layer = live::layer("kernels-1", |root| {
            root.must(&format!(
                "dpkg-deb -x /var/cache/apt/archives/linux-image-6*-cloud-amd64_*.deb /
                 version=$(ls /usr/lib/modules); depmod $version
                 for other in {}; do
                     cp -al /usr/lib/modules/$version /usr/lib/modules/$other; cp -l /boot/vmlinuz-$version /boot/vmlinuz-$other
                 done
                 printf '%s' $version >/etc/kernel/first-version",
                OTHERS.join(" ")
            ));
        });
        let version = LiveRoot::over(&layer).read("/etc/kernel/first-version").expect("the version");
        (layer, String::from_utf8(version).expect("a version"))
    })
}

fn version() -> &'static str {
    &with_kernels().1
}

/// A machine that uses us.
pub struct Machine {
    pub root: LiveRoot,
    pub setting: Setting,
}

/// What a command in a machine gave.
pub struct Done {
    pub code: Option<i32>,
    pub text: String,
}

impl Done {
    pub fn from(output: &Output) -> Self {
        let text = [&output.stdout[..], &output.stderr].concat();
        Self { code: output.status.code(), text: String::from_utf8_lossy(&text).into_owned() }
    }

    #[track_caller]
    pub fn good(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.text);
        self
    }

    /// Demands what the fault table calls STD of the exit code and the messages.
    #[track_caller]
    pub fn bad(self, words: &[&str]) -> Self {
        assert!(self.code.is_some_and(|code| code != 0 && code != 77), "{:?}\n{}", self.code, self.text);
        assert_eq!(self.text.matches("error:").count(), 1, "one error, not several or none:\n{}", self.text);
        for word in words {
            assert!(self.text.contains(word), "`{word}` is not in\n{}", self.text);
        }
        self
    }
}

/// The cache of the program inside, filled once from the network and shared: what is tested here is not the network.
pub fn program_cache() -> &'static Path {
    static CACHE: OnceLock<PathBuf> = OnceLock::new();
    CACHE.get_or_init(|| {
        let dir = live::cache().join("program-live");
        fs::create_dir_all(&dir).expect("the test cache");
        let machine = Machine::over(&with_kernels().0, &dir);
        let setting = Setting { network: true, ..machine.setting.clone() };
        let mut command = machine.root.command("mkinitrd-pkg", &setting);
        Done::from(&command.args(["build", "-o", "/tmp/x", "-k", version()]).output().expect("unshare")).good();
        dir
    })
}

impl Machine {
    pub fn new() -> Self {
        Self::over(&with_kernels().0, program_cache())
    }

    fn over(lower: &Path, cache: &Path) -> Self {
        let root = LiveRoot::over(lower);
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        for entry in fs::read_dir(repository.join("kernel-install.d")).expect("the plugins") {
            let path = entry.expect("a plugin").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            let (place, mode) = if name.ends_with(".conf") { ("install.conf.d", 0o644) } else { ("install.d", 0o755) };
            root.write(&format!("/usr/lib/kernel/{place}/{name}"), &fs::read(&path).expect("a plugin"), mode);
        }
        root.write("/etc/kernel/install.conf", b"layout=bls\n", 0o644);
        root.write("/etc/kernel/cmdline", CMDLINE.as_bytes(), 0o644);
        let binds = vec![
            (PathBuf::from(env!("CARGO_BIN_EXE_mkinitrd-pkg")), "/usr/bin/mkinitrd-pkg".to_owned(), "rw"),
            (cache.canonicalize().expect("the cache"), "/var/cache/mkinitrd-pkg".to_owned(), "rw"),
        ];
        Self { root, setting: Setting { binds, ..Setting::default() } }
    }

    /// Runs a script inside, whatever comes of it.
    pub fn sh(&self, script: &str) -> Done {
        self.sh_with(&self.setting, script)
    }

    pub fn sh_with(&self, setting: &Setting, script: &str) -> Done {
        Done::from(&self.root.command("sh", setting).args(["-ec", script]).output().expect("unshare, of `util-linux`"))
    }

    /// `kernel-install add` for a kernel of the layer.
    fn add(&self, version: &str) -> Done {
        self.sh(&add(version))
    }

    /// The digest of what lies there, if anything does.
    fn digest(&self, path: &str) -> Option<Sha256> {
        self.root.read(path).map(|bytes| Sha256::of(&bytes))
    }

    fn entry(&self, version: &str, name: &str) -> String {
        format!("/boot/{TOKEN}/{version}/{name}")
    }

    /// Everything below a directory with mode, size and time of change, to compare.
    fn listing(&self, directory: &str) -> String {
        self.sh(&format!("find {directory} ! -type d -printf '%p %m %s %T@\\n' | sort")).good().text
    }
}

fn add(version: &str) -> String {
    // An entry directory that is there already makes no difference to us, and bls lays it out.
    format!("mkdir -p /boot/{TOKEN}; kernel-install add {version} /boot/vmlinuz-{version}")
}

/// Runs `script` on a machine whose boot partition holds a first image; demands failure and that nothing of the boot partition changed.
#[track_caller]
fn refused(machine: &Machine, script: &str, words: &[&str]) -> Done {
    let before = machine.listing("/boot");
    let done = machine
        .sh(&format!("{{ {script}; }} && code=0 || code=$?; find /tmp -mindepth 1 -printf 'LEFT %p\\n'; exit $code"))
        .bad(words);
    assert!(!done.text.contains("LEFT /tmp/kernel-install"), "kernel-install's staging area is left:\n{}", done.text);
    assert_eq!(machine.listing("/boot"), before, "{}", done.text);
    done
}

#[test]
fn the_root_is_private_and_real() {
    let (one, other) = (LiveRoot::new(), LiveRoot::new());
    assert!(one.must("kernel-install --version").starts_with("systemd 257"));
    one.must("echo changed >/etc/issue; test -c /dev/null; test -d /proc/self; ! test -e /sys/kernel");
    one.write("/etc/kernel/deep/er", b"given", 0o640);
    assert_eq!(one.read("/etc/issue").as_deref(), Some(&b"changed\n"[..]), "a change outlasts its command");
    assert_eq!(one.read("/etc/kernel/deep/er").as_deref(), Some(&b"given"[..]));
    assert_ne!(other.read("/etc/issue").as_deref(), Some(&b"changed\n"[..]), "and stays in its copy");
    assert_eq!(other.read("/etc/kernel/deep/er"), None);
}

#[test]
fn b11_the_image_is_made_installed_and_private() {
    let machine = Machine::new();
    let version = version();
    // What another generator left in /boot is not installed beside ours.
    machine.root.write(&format!("/boot/initrd.img-{version}"), b"of another generator", 0o644);
    machine.add(version).good();
    let mode = machine.sh(&format!("stat -c %a {}", machine.entry(version, "initrd"))).good().text;
    assert_eq!(mode.trim(), "600", "90-loaderentry had made it 0644");
    let listed = machine.sh(&format!("ls /boot/{TOKEN}/{version}")).good().text;
    assert_eq!(listed.split_whitespace().collect::<Vec<_>>(), ["initrd", "linux"]);
    let conf = machine.root.read(&format!("/boot/loader/entries/{TOKEN}-{version}.conf")).expect("an entry");
    let conf = String::from_utf8(conf).expect("text");
    let initrds: Vec<&str> = conf.lines().filter(|line| line.starts_with("initrd")).collect();
    assert_eq!(initrds.len(), 1, "{conf}");
    assert!(initrds[0].ends_with(&format!("/{TOKEN}/{version}/initrd")), "{conf}");
    // It is what `build` makes.
    let made = machine.sh(&format!(
        "mkinitrd-pkg build --offline -q -k {version} -o /root/x; cmp /root/x {}",
        machine.entry(version, "initrd")
    ));
    made.good();

    // The negative twin: without our late plugin, anybody may read it.
    machine.sh("rm /usr/lib/kernel/install.d/95-mkinitrd-pkg.install").good();
    machine.add(version).good();
    let mode = machine.sh(&format!("stat -c %a {}", machine.entry(version, "initrd"))).good().text;
    assert_eq!(mode.trim(), "644");
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let machine = Machine::new();
    let version = version();
    let nothing = |script: &str| {
        let before = machine.listing("/boot");
        machine.sh(script).good();
        assert_eq!(machine.listing("/boot"), before, "{script}");
    };
    let plugin = |variables: &str, arguments: &str| {
        format!(
            "mkdir -p /tmp/s; KERNEL_INSTALL_STAGING_AREA=/tmp/s KERNEL_INSTALL_BOOT_ROOT=/boot KERNEL_INSTALL_LAYOUT=bls {variables} \
             /usr/lib/kernel/install.d/50-mkinitrd-pkg.install {arguments}; test -z \"$(ls /tmp/s)\""
        )
    };
    let entry = format!("/boot/{TOKEN}/{version} /boot/vmlinuz-{version}");
    nothing(&plugin("", &format!("add {version} {entry}")));
    nothing(&plugin("KERNEL_INSTALL_INITRD_GENERATOR=dracut", &format!("add {version} {entry}")));
    let ours = "KERNEL_INSTALL_INITRD_GENERATOR=mkinitrd-pkg";
    nothing(&plugin(&format!("{ours} KERNEL_INSTALL_IMAGE_TYPE=uki"), &format!("add {version} {entry}")));
    nothing(&plugin(ours, &format!("add {version} {entry} /boot/some-initrd")));
    nothing(&plugin(ours, "frobnicate"));
    nothing(&plugin(ours, ""));
}

#[test]
fn a_prebuilt_image_is_taken_if_it_is_one() {
    let machine = Machine::new();
    let version = version();
    machine.add(version).good();
    let built = machine.root.read(&machine.entry(version, "initrd")).expect("the image");
    machine.sh(&format!("rm -r /boot/{TOKEN}/{version}; cp /boot/vmlinuz-{version} /usr/lib/modules/{version}/vmlinuz")).good();
    // Something that differs from what would be built, and is an image: twice the same.
    let prebuilt = [&built[..], &built].concat();
    machine.root.write(&format!("/usr/lib/modules/{version}/initrd"), &prebuilt, 0o644);
    let add = format!("mkdir -p /boot/{TOKEN}; kernel-install add {version} /usr/lib/modules/{version}/vmlinuz");
    machine.sh(&add).good();
    assert_eq!(machine.digest(&machine.entry(version, "initrd")), Some(Sha256::of(&prebuilt)));
    machine.root.write(&format!("/usr/lib/modules/{version}/initrd"), &built[..built.len() / 2], 0o644);
    refused(&machine, &add, &["prebuilt", &format!("/usr/lib/modules/{version}/initrd")]);
}

#[test]
fn b01_a_bare_environment_changes_nothing() {
    let machine = Machine::new();
    let version = version();
    machine.add(version).good();
    let usual = machine.digest(&machine.entry(version, "initrd")).expect("the image");
    for (how, script) in [
        ("an empty environment", format!("env -i /usr/bin/kernel-install add {version} /boot/vmlinuz-{version}")),
        ("no PATH", format!("unset PATH HOME; /usr/bin/kernel-install add {version} /boot/vmlinuz-{version}")),
        ("an empty PATH", format!("PATH= /usr/bin/kernel-install add {version} /boot/vmlinuz-{version}")),
        ("no directory", format!("mkdir /tmp/d; cd /tmp/d; rmdir /tmp/d; kernel-install add {version} /boot/vmlinuz-{version}")),
    ] {
        machine.sh(&format!("rm /boot/{TOKEN}/{version}/initrd")).good();
        let done = machine.sh(&script);
        // systemd's own shell plugins need a PATH; ours must not be what fails.
        if how.contains("PATH") && done.code != Some(0) {
            assert!(!done.text.contains("50-mkinitrd-pkg"), "{how}: {}", done.text);
            let plugin = format!(
                "mkdir -p /tmp/s; export KERNEL_INSTALL_STAGING_AREA=/tmp/s KERNEL_INSTALL_LAYOUT=bls \
                 KERNEL_INSTALL_INITRD_GENERATOR=mkinitrd-pkg KERNEL_INSTALL_BOOT_ROOT=/boot; P=$PATH; unset PATH HOME; \
                 /usr/lib/kernel/install.d/50-mkinitrd-pkg.install add {version} /boot/{TOKEN}/{version} /boot/vmlinuz-{version}; \
                 /bin/cp /tmp/s/initrd /boot/{TOKEN}/{version}/initrd"
            );
            machine.sh(&plugin).good();
        } else {
            done.good();
        }
        assert_eq!(machine.digest(&machine.entry(version, "initrd")), Some(usual), "{how}");
    }
}

#[test]
fn b02_locales_change_no_byte() {
    let machine = Machine::new();
    let version = version();
    let mut digests = Vec::new();
    for locale in ["C", "tr_TR.UTF-8", "ja_JP.eucJP", "xx_YY.nonsense"] {
        machine.sh(&format!("export LC_ALL={locale} LANG={locale}; {}", add(version))).good();
        digests.push(machine.digest(&machine.entry(version, "initrd")).expect("the image"));
    }
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
}

#[test]
fn b03_closed_streams_and_an_endless_stdin_change_nothing() {
    let machine = Machine::new();
    let version = version();
    machine.add(version).good();
    let usual = machine.digest(&machine.entry(version, "initrd"));
    // Our plugin by itself: Debian's 55-initrd fails when it cannot `echo`.
    let plugin = format!(
        "mkdir -p /tmp/s; export KERNEL_INSTALL_STAGING_AREA=/tmp/s KERNEL_INSTALL_LAYOUT=bls KERNEL_INSTALL_BOOT_ROOT=/boot \
         KERNEL_INSTALL_INITRD_GENERATOR=mkinitrd-pkg; \
         /usr/lib/kernel/install.d/50-mkinitrd-pkg.install add {version} /boot/{TOKEN}/{version} /boot/vmlinuz-{version}"
    );
    for streams in ["<&- >&- 2>&-", ">/dev/full 2>/dev/full", "<&- 2>&1", "</dev/zero"] {
        machine.sh(&format!("( {plugin} ) {streams}; cp /tmp/s/initrd /root/made")).good();
        assert_eq!(machine.digest("/root/made"), usual, "{streams}");
    }
    // A pipe that never ends is never read.
    machine.sh(&format!("mkfifo /tmp/p; sleep 100000 >/tmp/p & ( {} ) </tmp/p", add(version))).good();
    assert_eq!(machine.digest(&machine.entry(version, "initrd")), usual, "an endless pipe");
}

#[test]
fn b06_remove_never_fails_and_touches_nothing_of_others() {
    let machine = Machine::new();
    let version = version();
    for version in [version, OTHERS[0]] {
        machine.add(version).good();
    }
    machine.root.write("/boot/precious", b"of somebody", 0o644);
    // Modules that are gone already.
    machine.sh(&format!("rm -r /usr/lib/modules/{version}; kernel-install remove {version}")).good();
    let left = machine.listing("/boot");
    assert!(!left.contains(&format!("{TOKEN}/{version}")) && left.contains("precious"), "{left}");
    assert!(left.contains(&format!("{TOKEN}/{}/initrd", OTHERS[0])), "another kernel's image stays: {left}");
    // A kernel that nobody knows, the running one, and names that are none: for the plugin itself, whatever kernel-install thinks.
    machine.sh("kernel-install remove 9.9.9-unknown; kernel-install remove $(uname -r)").good();
    for name in ["../../etc", "a b", "''", "-x", "\"$(printf 'a\\nb')\""] {
        let plugin = "KERNEL_INSTALL_INITRD_GENERATOR=mkinitrd-pkg /usr/lib/kernel/install.d/50-mkinitrd-pkg.install";
        machine.sh(&format!("{plugin} remove {name}")).good();
    }
    machine.sh("KERNEL_INSTALL_INITRD_GENERATOR=mkinitrd-pkg /usr/lib/kernel/install.d/50-mkinitrd-pkg.install remove").good();
    assert_eq!(machine.listing("/boot"), left);
}

#[test]
fn b07_missing_modules_are_named() {
    let machine = Machine::new();
    let version = version();
    machine.add(version).good();
    // 50-depmod comes before us and would make the list anew; the table's fault is a list that is missing all the same.
    machine.sh("ln -s /dev/null /etc/kernel/install.d/50-depmod.install").good();
    let list = format!("/usr/lib/modules/{version}/modules.dep");
    machine.sh(&format!("mv {list} {list}.away")).good();
    refused(&machine, &add(version), &[&list, "is not there", "depmod"]);
    machine.sh(&format!(": >{list}")).good();
    refused(&machine, &add(version), &[&list, "is empty"]);
    machine.sh(&format!("rm -r /usr/lib/modules/{version}")).good();
    refused(&machine, &add(version), &[&format!("`/usr/lib/modules/{version}` is not there")]);
}

#[test]
fn b08_a_staging_area_that_cannot_be_used_is_named() {
    let machine = Machine::new();
    let version = version();
    machine.add(version).good();
    let plugin = |staging: &str| {
        format!(
            "export KERNEL_INSTALL_LAYOUT=bls KERNEL_INSTALL_INITRD_GENERATOR=mkinitrd-pkg KERNEL_INSTALL_BOOT_ROOT=/boot {staging}; \
             /usr/lib/kernel/install.d/50-mkinitrd-pkg.install add {version} /boot/{TOKEN}/{version} /boot/vmlinuz-{version}"
        )
    };
    refused(&machine, &plugin(""), &["KERNEL_INSTALL_STAGING_AREA"]);
    refused(&machine, &plugin("KERNEL_INSTALL_STAGING_AREA=/nowhere"), &["/nowhere"]);
    let readonly = format!("mkdir /tmp/s; mount -t tmpfs -o ro s /tmp/s; {}", plugin("KERNEL_INSTALL_STAGING_AREA=/tmp/s"));
    refused(&machine, &readonly, &["/tmp/s"]);
    let full = format!("mkdir /tmp/s; mount -t tmpfs -o size=4m s /tmp/s; {}", plugin("KERNEL_INSTALL_STAGING_AREA=/tmp/s"));
    let done = refused(&machine, &full, &["/tmp/s/initrd", "needs", "free"]);
    assert!(!done.text.contains("/tmp/s/."), "no temporary file stays:\n{}", done.text);
    // And under the real kernel-install, whose staging area is in /tmp.
    refused(&machine, &format!("mount -t tmpfs -o size=2m s /tmp; {}", add(version)), &["needs", "free"]);
}

#[test]
fn b09_a_failure_stops_the_chain_before_anything_is_replaced() {
    let machine = Machine::new();
    let version = version();
    machine.add(version).good();
    machine.root.write("/etc/kernel/install.d/89-witness.install", b"#!/bin/sh\ntouch /boot/89-ran\n", 0o755);
    machine
        .sh(&format!("rm /usr/lib/modules/{version}/modules.dep; ln -s /dev/null /etc/kernel/install.d/50-depmod.install"))
        .good();
    refused(&machine, &add(version), &["error:"]);
    assert_eq!(machine.root.read("/boot/89-ran"), None, "later plugins ran");
}

#[test]
fn b10_a_boot_partition_without_room_keeps_the_old_image() {
    let machine = Machine::new();
    let version = version();
    // Room for one kernel and image, and not for two. One script: what is mounted there is gone with its namespace.
    machine.root.write("/etc/kernel/install.conf", b"layout=bls\nBOOT_ROOT=/efi\n", 0o644);
    let listing = "find /efi -type f -printf '%p %m %s %T@\\n' | sort";
    let add = format!("kernel-install add {version} /boot/vmlinuz-{version}");
    let first = format!(
        "mkdir -p /efi; mount -t tmpfs -o size=56m,mode=0755 efi /efi; mkdir /efi/{TOKEN}; {add}; {listing} >/tmp/before"
    );
    let again = format!(
        "{first}; grep -q '/initrd 600' /tmp/before; {{ {add}; }} && code=0 || code=$?; {listing} | diff /tmp/before - || echo CHANGED; \
         exit $code"
    );
    let again = machine.sh(&again).bad(&["needs", "free", "nothing was changed", "hint:", "last image"]);
    assert!(!again.text.contains("CHANGED"), "{}", again.text);

    // The negative twin, another generator that does not ask: its old image is lost.
    let stage = "#!/bin/sh\n[ $1 = add ] && head -c ${SIZE} /dev/urandom >$KERNEL_INSTALL_STAGING_AREA/initrd\nexit 0\n";
    machine.root.write("/etc/kernel/install.d/50-careless.install", stage.as_bytes(), 0o755);
    machine.root.write("/etc/kernel/install.conf", b"layout=bls\nBOOT_ROOT=/efi\ninitrd_generator=careless\n", 0o644);
    let without = format!(
        "export SIZE=20000000; {first}; export SIZE=60000000; {{ {add}; }} && code=0 || code=$?; [ $code != 0 ]; \
         stat -c 'left %s' /efi/{TOKEN}/{version}/initrd"
    );
    let left = machine.sh(&without).good().text;
    assert!(
        left.contains("left ") && !left.contains("left 20000000"),
        "systemd's own plugin leaves a part of the new one: {left}"
    );
}

#[test]
fn b12_a_copy_that_is_damaged_is_put_right_or_not_offered() {
    let machine = Machine::new();
    let version = version();
    machine.add(version).good();
    let image = machine.entry(version, "initrd");
    let whole = machine.digest(&image);
    // A plugin between systemd's and ours truncates what was copied.
    let truncate = format!("#!/bin/sh\n[ $1 = add ] && truncate -s 1000 {image}\nexit 0\n");
    machine.root.write("/etc/kernel/install.d/92-disk.install", truncate.as_bytes(), 0o755);
    let done = machine.add(version).good();
    assert!(done.text.contains("warning:") && done.text.contains("put right"), "{}", done.text);
    assert_eq!(machine.digest(&image), whole);
    // The same for the kernel itself.
    let kernel = format!("#!/bin/sh\n[ $1 = add ] && truncate -s 1000 {}\nexit 0\n", machine.entry(version, "linux"));
    machine.root.write("/etc/kernel/install.d/92-disk.install", kernel.as_bytes(), 0o755);
    machine.add(version).good();
    assert_eq!(machine.digest(&machine.entry(version, "linux")), machine.digest(&format!("/boot/vmlinuz-{version}")));

    // And where it cannot be put right: the disk is full, too.
    let full = format!(
        "#!/bin/sh\n[ $1 = add ] || exit 0\ntruncate -s 1000 {image}\nhead -c 2000000 /dev/zero >>/boot/filler || :\n\
         fill=$(df --output=avail -B1 /boot | tail -n 1); head -c $fill /dev/zero >>/boot/filler || :\nexit 0\n"
    );
    machine.root.write("/etc/kernel/install.d/92-disk.install", full.as_bytes(), 0o755);
    let script = format!(
        "cp -a /boot /tmp/boot; mount -t tmpfs -o size=200m b /boot; cp -a /tmp/boot/. /boot/; ls /boot/loader/entries/{TOKEN}-{version}.conf; \
         {{ {}; }} && code=0 || code=$?; [ ! -e /boot/loader/entries/{TOKEN}-{version}.conf ] && echo WITHDRAWN; exit $code",
        add(version)
    );
    let done = machine.sh(&script).bad(&[&image, "wanted sha256", "was removed, so that it is not offered"]);
    assert!(done.text.contains("WITHDRAWN"), "{}", done.text);
}

#[test]
fn b13_versions_that_are_paths_or_worse_are_refused() {
    let machine = Machine::new();
    let long = "6".repeat(256);
    for name in ["6.12 x", "6/12", "..", "../../../etc", "\"$(printf '6\\n12')\"", &long, "''", "-k"] {
        let quoted = if name.starts_with(['"', '\'']) { name.to_owned() } else { format!("'{name}'") };
        let plugin = format!(
            "mkdir -p /tmp/s; export KERNEL_INSTALL_STAGING_AREA=/tmp/s KERNEL_INSTALL_LAYOUT=bls KERNEL_INSTALL_BOOT_ROOT=/boot \
             KERNEL_INSTALL_INITRD_GENERATOR=mkinitrd-pkg; \
             /usr/lib/kernel/install.d/50-mkinitrd-pkg.install add {quoted} /boot/x /boot/vmlinuz-{}",
            version()
        );
        refused(&machine, &plugin, &["version"]);
    }
}

#[test]
fn b14_modules_of_another_architecture_are_refused() {
    let machine = Machine::new();
    let version = version();
    machine.add(version).good();
    // The ELF header's machine becomes AArch64, as in a tree that was copied from another machine. The root itself has no `xz`.
    let patch = format!(
        "for m in $(find $LIVE_ROOT/usr/lib/modules/{version} -name 'virtio*.ko.xz' -o -name 'ext4.ko.xz'); do \
         xz -dc $m >$LIVE_ROOT/root/m; printf '\\267' | dd of=$LIVE_ROOT/root/m bs=1 seek=18 conv=notrunc status=none; \
         rm $m; xz -0 -c $LIVE_ROOT/root/m >$m; done"
    );
    let mut outside = machine.root.outside("sh", &machine.setting);
    Done::from(&outside.args(["-ec", &patch]).output().expect("unshare")).good();
    machine.sh("ln -s /dev/null /etc/kernel/install.d/50-depmod.install").good();
    refused(&machine, &add(version), &["aarch64", "x86_64"]);
}

#[test]
fn b15_read_only_and_restricted_mounts_are_enough() {
    let machine = Machine::new();
    let version = version();
    machine.add(version).good();
    let usual = machine.digest(&machine.entry(version, "initrd"));
    // 50-depmod writes to /usr, and where that is read-only it was done before.
    machine.sh("ln -s /dev/null /etc/kernel/install.d/50-depmod.install").good();
    for mounts in [
        "mount --rbind /usr /usr; mount -o remount,bind,ro /usr",
        "mount -t tmpfs -o noexec,nosuid,nodev t /tmp; mount -t tmpfs -o noexec,nosuid,nodev v /var/tmp",
        "mount --bind /boot /boot; mount -o remount,bind,ro /; ! touch /root/x 2>/dev/null",
    ] {
        machine.sh(&format!("{mounts}; {}", add(version))).good();
        assert_eq!(machine.digest(&machine.entry(version, "initrd")), usual, "{mounts}");
    }
    // Our cache cannot be written to: slower, and the same.
    let mut setting = machine.setting.clone();
    setting.binds.last_mut().expect("the cache").2 = "ro";
    machine.sh_with(&setting, &add(version)).good();
    assert_eq!(machine.digest(&machine.entry(version, "initrd")), usual, "a cache that is read-only");
}

#[test]
fn b16_extended_attributes_are_never_fatal() {
    let machine = Machine::new();
    let version = version();
    machine.add(version).good();
    let usual = machine.digest(&machine.entry(version, "initrd"));
    let strace = crate::trixie::run(Command::new("sh").args(["-c", "command -v strace"]), "strace");
    assert!(!strace.trim().is_empty());
    // Files of a labelled tree.
    machine
        .sh(&format!("setfattr -n user.btrfs.compression -v zstd /usr/lib/modules/{version}/modules.dep 2>/dev/null || :"))
        .good();
    // Our plugin by itself: what systemd's do without attributes is not for us to say.
    let plugin = format!(
        "mkdir -p /root/s; export KERNEL_INSTALL_STAGING_AREA=/root/s KERNEL_INSTALL_LAYOUT=bls KERNEL_INSTALL_BOOT_ROOT=/boot \
         KERNEL_INSTALL_INITRD_GENERATOR=mkinitrd-pkg; \
         /usr/lib/kernel/install.d/50-mkinitrd-pkg.install add {version} /boot/{TOKEN}/{version} /boot/vmlinuz-{version}"
    );
    for error in ["EOPNOTSUPP", "EINVAL", "EPERM"] {
        let calls =
            "setxattr,lsetxattr,fsetxattr,getxattr,lgetxattr,fgetxattr,listxattr,llistxattr,flistxattr,removexattr,fremovexattr";
        let mut command = Command::new("strace");
        let inside = machine.root.command("sh", &machine.setting);
        command.args([
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            &format!("trace={calls}"),
            "-e",
            &format!("inject={calls}:error={error}"),
        ]);
        command.arg(inside.get_program()).args(inside.get_args()).args(["-ec", &plugin]);
        for (name, value) in inside.get_envs().filter_map(|(name, value)| Some((name, value?))) {
            command.env(name, value);
        }
        Done::from(&command.output().expect("strace")).good();
        assert_eq!(machine.digest("/root/s/initrd"), usual, "{error}");
    }
}

/// What the plugin needs, in MiB of address space (docs/kernel-install.md): more than it uses, for threads have large stacks.
const MEMORY_MIB_MIN: u32 = 1536;

#[test]
fn b17_too_little_memory_is_no_half_image() {
    let machine = Machine::new();
    let version = version();
    machine.add(version).good();
    let limited = |mib: u32| format!("ulimit -v {}; {}", mib * 1024, add(version));
    machine.sh(&limited(MEMORY_MIB_MIN)).good();
    let mut refusals = 0;
    for mib in [512, 256, 128, 64] {
        let before = machine.listing("/boot");
        let done = machine.sh(&format!("{{ {}; }} && code=0 || code=$?; exit $code", limited(mib)));
        assert_ne!(done.code, Some(77), "{mib} MiB: {}", done.text);
        if done.code != Some(0) {
            refusals += 1;
            assert_eq!(machine.listing("/boot"), before, "{mib} MiB: {}", done.text);
        }
    }
    assert!(refusals > 0, "64 MiB are not enough for anybody");
}

#[test]
fn b18_processors_and_load_change_no_byte() {
    let machine = Machine::new();
    let version = version();
    machine.add(version).good();
    let usual = machine.digest(&machine.entry(version, "initrd"));
    machine
        .sh(&format!(
            "rm -r /boot/{TOKEN}; mkdir /boot/{TOKEN}; taskset -c 0 kernel-install add {version} /boot/vmlinuz-{version}"
        ))
        .good();
    assert_eq!(machine.digest(&machine.entry(version, "initrd")), usual, "one processor");
    let load = "for i in $(seq 20); do (while :; do :; done) & done";
    // They end with the namespace.
    machine.sh(&format!("{load}; {}", add(version))).good();
    assert_eq!(machine.digest(&machine.entry(version, "initrd")), usual, "under load");
}

#[test]
fn b19_a_bare_chroot_is_enough() {
    let machine = Machine::new();
    let version = version();
    machine.add(version).good();
    let usual = machine.digest(&machine.entry(version, "initrd"));
    // systemd's kernel-install itself needs /proc and /dev/null; our plugin does without.
    let setting = Setting { mounts: "", ..machine.setting.clone() };
    let script = format!(
        "mkdir -p /root/s; export KERNEL_INSTALL_STAGING_AREA=/root/s KERNEL_INSTALL_LAYOUT=bls KERNEL_INSTALL_BOOT_ROOT=/boot \
         KERNEL_INSTALL_INITRD_GENERATOR=mkinitrd-pkg; \
         /usr/lib/kernel/install.d/50-mkinitrd-pkg.install add {version} /boot/{TOKEN}/{version} /boot/vmlinuz-{version}"
    );
    let mut command = machine.root.command("sh", &setting);
    Done::from(&command.args(["-ec", &script]).output().expect("unshare")).good();
    assert_eq!(machine.digest("/root/s/initrd"), usual);
    // No user namespaces are made, and none are needed.
    machine.sh(&format!("unshare --user true 2>/dev/null || :; {}", add(version))).good();
}

#[test]
fn b22_the_last_image_does_not_go_without_a_word() {
    let machine = Machine::new();
    let version = version();
    machine.add(version).good();
    // Upgrades whose images fail, one after the other.
    machine.sh("ln -s /dev/null /etc/kernel/install.d/50-depmod.install").good();
    for other in OTHERS {
        machine.sh(&format!("rm /usr/lib/modules/{other}/modules.dep")).good();
        let done = refused(&machine, &add(other), &[&format!("kernel {version} has the last image")]);
        assert!(done.text.contains("keep it"), "{}", done.text);
    }
    // The package manager removes the oldest.
    let done = machine.sh(&format!("kernel-install remove {version}")).good();
    assert!(done.text.contains("warning:") && done.text.contains("it is being removed"), "{}", done.text);
    // Where another one is left, nothing is said.
    let machine = Machine::new();
    for version in [version, OTHERS[0]] {
        machine.add(version).good();
    }
    let done = machine.sh(&format!("kernel-install remove {version}")).good();
    assert!(!done.text.contains("warning:"), "{}", done.text);
}

/// What the boot loader of another layout gets, or what systemd's own tools make of our initrd.
#[test]
fn layout_uki_lets_ukify_take_the_staged_initrd() {
    let machine = Machine::new();
    let version = version();
    machine.root.write("/etc/kernel/install.conf", b"layout=uki\nuki_generator=ukify\n", 0o644);
    machine.add(version).good();
    let uki = format!("/boot/EFI/Linux/{TOKEN}-{version}.efi");
    let bytes = machine.root.read(&uki).expect("a unified image");
    let built = machine.sh(&format!("mkinitrd-pkg build --offline -q -k {version} -o /root/x; stat -c %a {uki}")).good();
    assert!(built.text.lines().any(|line| line == "600"), "{}", built.text);
    assert!(bytes.starts_with(b"MZ"), "it is a PE file");
    let differs = machine.sh(&format!("mkinitrd-pkg diff {uki} /root/x")).good().text;
    assert!(differs.contains("0 packages, 0 modules, 0 files differ"), "our initrd is in it, whole: {differs}");
    // An initrd in its place would boot nothing.
    let usual = machine.digest(&uki);
    let done = machine.sh("mkinitrd-pkg build --all --offline").good();
    assert!(done.text.contains("is a unified kernel image, and left alone"), "{}", done.text);
    assert_eq!(machine.digest(&uki), usual);
}

/// Kills commands that all do the same, each after another part of the time that they take.
pub struct Killer {
    /// The numbers come from here, so that the moments of a run can be repeated.
    state: u64,
    /// The shortest time that the command took: load comes and goes, and a run that ends before its moment tells nothing.
    whole: Duration,
}

impl Killer {
    pub fn new(seed: u64, whole: Duration) -> Self {
        Self { state: seed, whole }
    }

    /// Kills the whole tree of processes of `command` at some moment, and says whether it had ended before. One that ended by itself
    /// did what it was to do: what earlier ones left, killed, is no reason to fail.
    #[track_caller]
    pub fn ended(&mut self, command: &mut Command) -> bool {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Now and then a little after the end, which is a moment, too.
        let delay = self.whole.mul_f64(((self.state >> 33) % 1050) as f64 / 1000.0);
        let mut said = tempfile::tempfile().expect("a temporary file");
        command.stdout(said.try_clone().expect("a copy")).stderr(said.try_clone().expect("a copy"));
        let start = Instant::now();
        let mut child = command.spawn().expect("unshare");
        loop {
            if let Some(status) = child.try_wait().expect("waiting") {
                let mut text = String::new();
                said.rewind().and_then(|()| said.read_to_string(&mut text)).expect("what it said");
                assert!(status.success(), "it was not killed, and failed: {status}\n{text}");
                self.whole = self.whole.min(start.elapsed());
                return true;
            }
            if start.elapsed() >= delay {
                kill_namespace(&mut child);
                return false;
            }
            std::thread::sleep(Duration::from_micros(500));
        }
    }
}

/// Kills what runs in the process namespace of `unshare` and returns when none of it is left.
///
/// Killing `unshare` would do, but it would be gone before the others are, and they would write on while the next command runs. The first
/// process of a namespace is gone only after all others are: `pid_namespaces(7)`.
fn kill_namespace(unshare: &mut Child) {
    let id = unshare.id();
    // None: it has not started the first one yet, or that one has ended.
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    match children.split_whitespace().next() {
        Some(first) => {
            let first = rustix::process::Pid::from_raw(first.parse().expect("a process")).expect("a process");
            // It may have ended by itself just now.
            let _ = rustix::process::kill_process(first, rustix::process::Signal::KILL);
        }
        None => unshare.kill().expect("killing"),
    }
    unshare.wait().expect("waiting");
}

/// How often: 40 times in the first tier, 400 in the slow one.
pub fn kills() -> usize {
    40 * effort()
}

#[test]
fn a07_killed_at_any_moment_kernel_install_is_repeated_with_success() {
    let machine = Machine::new();
    let version = version();
    machine.add(version).good();
    let image = machine.entry(version, "initrd");
    let usual = machine.digest(&image);
    let start = Instant::now();
    machine.add(version).good();
    let whole = start.elapsed();
    let mut killer = Killer::new(7, whole);
    let (mut killed, mut runs) = (0, 0);
    while killed < kills() / 5 {
        let mut command = machine.root.command("sh", &machine.setting);
        killed += usize::from(!killer.ended(command.args(["-ec", &add(version)])));
        runs += 1;
        assert!(runs < kills(), "of {runs} runs only {killed} were killed before their end");
    }
    // Between 90- and 95- it is systemd's copy that is at stake: what counts is that the next run ends well.
    machine.add(version).good();
    assert_eq!(machine.digest(&image), usual);
    let left = machine.sh("find /boot -name '.*.tmp'").good().text;
    assert_eq!(left, "");
}
