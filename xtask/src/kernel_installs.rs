//! The generators behind systemd's kernel-install, all in one root: what a kernel costs a machine from the package to the boot partition.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::install::{self, Layout};
use crate::peers::Peers;
use crate::shell::at;

/// The root that has all of them.
const ROOT: &str = "peers";
/// The name of the directory on the boot partition.
const TOKEN: &str = "bench";

/// One way to install a kernel.
pub struct KernelInstall {
    /// Whose.
    pub name: String,
    /// The whole command.
    pub command: Vec<String>,
    /// What makes the boot partition empty again, not measured.
    pub before: Vec<Vec<String>>,
    /// The initrd that it leaves, seen from outside the root.
    pub image: PathBuf,
}

/// One generator: its name, what `install.conf` calls it, what comes before `kernel-install` and what the initrd is called.
struct Way {
    name: &'static str,
    generator: &'static str,
    first: &'static str,
    initrd: &'static str,
}

/// `/sys` is hidden, so that nobody sees a machine.
const HIDE: &str = "umount -l /sys; ";

const WAYS: [Way; 5] = [
    Way { name: "mkinitrd-pkg, generic", generator: "mkinitrd-pkg", first: HIDE, initrd: "initrd" },
    Way { name: "mkinitrd-pkg, for the machine that it sees", generator: "mkinitrd-pkg", first: "", initrd: "initrd" },
    Way { name: "dracut, `hostonly=no`", generator: "dracut", first: HIDE, initrd: "initrd" },
    Way {
        name: "mkinitramfs (`update-initramfs -c` before), `MODULES=most`",
        generator: "initramfs-tools",
        first: "umount -l /sys; rm -f /var/lib/initramfs-tools/\"$1\"; update-initramfs -c -k \"$1\"; ",
        initrd: "initrd.img-",
    },
    Way {
        name: "mkosi-initrd, `--generic`",
        generator: "mkosi-initrd",
        first: "umount -l /sys; export PATH=/bench/path:$PATH; ",
        initrd: "initrd",
    },
];

/// Puts our program into the root, with what configures each of them, and returns the ways in which it is measured.
pub fn set_up(peers: &Peers, program: &Path) -> Result<Vec<KernelInstall>, String> {
    let root = peers.root_of(ROOT);
    let version = peers.kernel_version()?;
    let layout = Layout {
        program: Some(program.to_owned()),
        destdir: root.display().to_string(),
        prefix: "/usr".into(),
        debian_hooks: false,
    };
    install::lay_out(&layout)?;
    // Its plugin asks for the modules that are loaded, and fails on a machine whose kernel has none.
    let wrapper = root.join("bench/path/mkosi-initrd");
    fs::create_dir_all(root.join("bench/path")).map_err(at(&wrapper))?;
    fs::write(&wrapper, "#!/bin/sh\nexec /usr/bin/mkosi-initrd --generic \"$@\"\n").map_err(at(&wrapper))?;
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).map_err(at(&wrapper))?;
    // Every machine has it, and mkosi's plugin fails without it.
    let firmware = root.join("usr/lib/firmware");
    fs::create_dir_all(&firmware).map_err(at(&firmware))?;
    let dracut = root.join("etc/dracut.conf.d/bench.conf");
    fs::write(&dracut, "hostonly=no\ncompress=zstd\n").map_err(at(&dracut))?;
    WAYS.iter().enumerate().map(|(number, way)| configured(peers, number, way, &version)).collect()
}

fn configured(peers: &Peers, number: usize, way: &Way, version: &str) -> Result<KernelInstall, String> {
    let root = peers.root_of(ROOT);
    let place = format!("/bench/kernel-install-{number}");
    let outside = root.join(place.trim_start_matches('/'));
    fs::create_dir_all(outside.join("boot")).map_err(at(&outside))?;
    let config = format!("layout=bls\ninitrd_generator={}\nBOOT_ROOT={place}/boot\n", way.generator);
    for (name, text) in [("install.conf", config.as_str()), ("cmdline", "root=LABEL=root\n"), ("entry-token", TOKEN)] {
        let path = outside.join(name);
        fs::write(&path, text).map_err(at(&path))?;
    }
    let script = format!(
        "{}export KERNEL_INSTALL_CONF_ROOT={place}; exec kernel-install --entry-token=literal:{TOKEN} add \"$1\" \"/boot/vmlinuz-$1\"",
        way.first
    );
    let command = peers.words(ROOT, &["sh", "-euc", &script, "sh", version]);
    let initrd = if way.initrd.ends_with('-') { format!("{}{version}", way.initrd) } else { way.initrd.to_owned() };
    let image = outside.join("boot").join(TOKEN).join(version).join(initrd);
    let empty = format!(
        "rm -rf '{0}/boot' '{1}/boot/initrd.img-{version}'; mkdir -p '{0}/boot/{TOKEN}'",
        outside.display(),
        root.display()
    );
    let before = vec![vec!["sh".to_owned(), "-euc".to_owned(), empty]];
    Ok(KernelInstall { name: format!("kernel-install: {}", way.name), command, before, image })
}
