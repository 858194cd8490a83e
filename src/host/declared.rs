//! Which files of a machine may enter an image: this list, the files that a needed crypttab entry names, and nothing else.
//!
//! The probe reads what is named here and no more, `settings` puts into the image what the features that are on ask for.
//! `docs/configuration.md` shows the table to people; a test compares the two.

use crate::base::glob::Glob;

/// A file that may enter.
#[derive(Debug, Clone, Copy)]
pub struct Declared {
    /// A glob over absolute paths.
    pub paths: &'static str,
    /// When it enters.
    pub need: Need,
    /// Whether it must not be read by others.
    pub secrecy: Secrecy,
    /// What it is for; where it cannot be had, that is missing.
    pub why: &'static str,
}

/// When a file enters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Whenever it says something.
    Always,
    /// With any of these features.
    Feature(&'static [&'static str]),
    /// Only when an entry of crypttab that is needed leads to it.
    Named,
    /// It is read, and what it says decides about others; it never enters itself.
    Read,
}

/// Whether a file is a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrecy {
    /// It is.
    Secret,
    /// It is none, even where it is kept from others.
    Public,
    /// It is if others may not read it on the machine.
    AsOnDisk,
    /// It is if others may not read it on the machine, or if a line that is no comment has one of these words.
    Words(&'static [&'static str]),
}

const fn declared(paths: &'static str, need: Need, secrecy: Secrecy, why: &'static str) -> Declared {
    Declared { paths, need, secrecy, why }
}

const LUKS: Need = Need::Feature(&["luks"]);
const LVM: Need = Need::Feature(&["lvm"]);
const MD: Need = Need::Feature(&["md"]);
const MULTIPATH: Need = Need::Feature(&["multipath"]);
const NETWORK: Need = Need::Feature(&["net"]);
const ISCSI: Need = Need::Feature(&["iscsi"]);
const NVME: Need = Need::Feature(&["nvme-tcp"]);
const NFS: Need = Need::Feature(&["nfs"]);
const SSH: Need = Need::Feature(&["ssh"]);
const ZFS: Need = Need::Feature(&["zfs"]);
const KEYMAP: Need = Need::Feature(&["keymap"]);

const TUNNELS: Secrecy = Secrecy::Words(&["PrivateKey=", "PresharedKey=", "Password=", "Key="]);
const CHAP: Secrecy = Secrecy::Words(&[".auth.password", ".auth.username"]);
const DHCHAP: Secrecy = Secrecy::Words(&["dhchap", "tls_key", "tls-key"]);
const BOOT_SECRETS: Secrecy = Secrecy::Words(&["password=", "rd.luks.key="]);

/// The list.
pub const DECLARED: &[Declared] = &[
    declared("/etc/crypttab", LUKS, Secrecy::Public, "only the entries that the image has to open"),
    declared(
        "/etc/cryptsetup-keys.d/*.key",
        Need::Named,
        Secrecy::Secret,
        "where systemd looks for the key of an entry without one",
    ),
    declared("/etc/{integrity,verity}tab", Need::Read, Secrecy::Public, "volumes of dm-integrity and dm-verity; not opened yet"),
    declared("/etc/fstab", Need::Read, Secrecy::Public, "tells what has to be reachable; systemd reads the root's own copy"),
    declared("/etc/default/keyboard", Need::Read, Secrecy::Public, "the layout of the keyboard"),
    declared("/etc/default/{console-setup,locale}", Need::Read, Secrecy::Public, "font and language, which stay away"),
    declared("/etc/locale.conf", Need::Read, Secrecy::Public, "the same"),
    declared("/etc/kernel/cmdline", Need::Read, BOOT_SECRETS, "the command line of a unified kernel image"),
    declared("/etc/vconsole.conf", KEYMAP, Secrecy::Public, "the layout of the keyboard, where systemd sets it"),
    declared("/etc/console-setup/cached_*.kmap.gz", KEYMAP, Secrecy::Public, "the keyboard's map as console-setup compiled it"),
    declared(
        "/usr/{share,share/kbd,lib/kbd,local/share/kbd}/keymaps/**",
        KEYMAP,
        Secrecy::Public,
        "the keyboard's map where `KEYMAP=` names one",
    ),
    declared(
        "/usr/{share,share/kbd,lib/kbd}/consolefonts/**",
        Need::Read,
        Secrecy::Public,
        "the console's font, which stays away",
    ),
    declared(
        "/etc/modprobe.d/*.conf",
        Need::Always,
        Secrecy::AsOnDisk,
        "options of modules, and modules that must not be loaded",
    ),
    declared("/etc/modules-load.d/*.conf", Need::Always, Secrecy::AsOnDisk, "modules that are loaded in any case"),
    declared("/etc/modules", Need::Read, Secrecy::Public, "the same; `modules-load.d/modules.conf` is a link to it"),
    declared("/etc/sysctl.d/*.conf", Need::Always, Secrecy::AsOnDisk, "settings of the kernel"),
    declared("/etc/sysctl.conf", Need::Read, Secrecy::Public, "the same; `sysctl.d/99-sysctl.conf` is a link to it"),
    declared("/etc/mdadm/mdadm.conf", MD, Secrecy::AsOnDisk, "names and members of arrays"),
    declared("/etc/mdadm/mdadm.conf.d/*.conf", MD, Secrecy::AsOnDisk, "the same"),
    declared("/etc/mdadm.conf", MD, Secrecy::AsOnDisk, "the same on other distributions"),
    declared("/etc/mdadm.conf.d/*.conf", MD, Secrecy::AsOnDisk, "the same"),
    declared("/etc/lvm/{lvm,lvmlocal}.conf", LVM, Secrecy::AsOnDisk, "settings of LVM, where somebody changed any"),
    declared("/etc/lvm/devices/*.devices", LVM, Secrecy::Public, "the disks that LVM may look at"),
    declared("/etc/multipath.conf", MULTIPATH, Secrecy::AsOnDisk, "which disks are the same one"),
    declared("/etc/multipath/conf.d/*.conf", MULTIPATH, Secrecy::AsOnDisk, "the same"),
    declared("/etc/multipath/{bindings,wwids}", MULTIPATH, Secrecy::Public, "their names"),
    declared("/etc/systemd/network/**", NETWORK, TUNNELS, "addresses and links; private keys of tunnels"),
    declared("/etc/systemd/{networkd,resolved}.conf", NETWORK, Secrecy::AsOnDisk, "settings of the network"),
    declared("/etc/systemd/{networkd,resolved}.conf.d/*.conf", NETWORK, Secrecy::AsOnDisk, "the same"),
    declared("/etc/iscsi/initiatorname.iscsi", ISCSI, Secrecy::Public, "the name under which this machine logs in"),
    declared("/etc/iscsi/iscsid.conf", ISCSI, CHAP, "how it logs in"),
    declared("/etc/nvme/{hostnqn,hostid}", NVME, Secrecy::Public, "the name under which this machine connects"),
    declared("/etc/nvme/{discovery.conf,config.json}", NVME, DHCHAP, "to what, and how"),
    declared(
        "/etc/{dropbear/initramfs,dropbear-initramfs}/dropbear_*_host_key",
        SSH,
        Secrecy::Secret,
        "by what it is known to those who unlock it over SSH",
    ),
    declared("/etc/{dropbear/initramfs,dropbear-initramfs}/authorized_keys", SSH, Secrecy::Public, "who may unlock it over SSH"),
    declared(
        "/etc/dropbear/initramfs/dropbear.conf",
        SSH,
        Secrecy::Public,
        "at which port (`-p`), and when somebody idle is sent away (`-I`)",
    ),
    declared("/etc/dropbear-initramfs/config", SSH, Secrecy::Public, "the same, before Debian 12"),
    declared("/etc/idmapd.conf", NFS, Secrecy::AsOnDisk, "owners of files on NFS"),
    declared("/etc/hostid", ZFS, Secrecy::Public, "pools say which machine they belong to"),
];

/// What never enters by itself, whoever names it and wherever links lead.
const NEVER: &[&str] = &[
    "/etc/{,g}shadow*",
    "/etc/{passwd,group,subuid,subgid}{,-}",
    "/etc/{machine-id,hosts,krb5.keytab}",
    "/etc/{ssh,sudoers.d,NetworkManager,wpa_supplicant,wireguard,ssl/private}/**",
    "/etc/apt/auth.conf*",
    "/etc/apt/auth.conf.d/**",
    "/**/.{ssh,gnupg}/**",
    "/**/.{netrc,bash_history}",
    "/var/lib/systemd/{credential.secret,random-seed}",
    "/var/lib/dbus/machine-id",
];

/// Returns what the list says of a path.
pub fn find(path: &str) -> Option<&'static Declared> {
    DECLARED.iter().find(|declared| matches(declared.paths, path))
}

/// Tells whether a path never enters, even if an entry of crypttab names it.
pub fn is_never(path: &str) -> bool {
    NEVER.iter().any(|glob| matches(glob, path))
}

impl Declared {
    /// Tells whether such a file is a secret.
    pub fn is_secret(&self, mode: u32, bytes: &[u8]) -> bool {
        let hidden = mode & 0o004 == 0;
        match self.secrecy {
            Secrecy::Secret => true,
            Secrecy::Public => false,
            Secrecy::AsOnDisk => hidden,
            Secrecy::Words(words) => hidden || holds_one_of(&String::from_utf8_lossy(bytes), words),
        }
    }
}

/// Tells whether a line that is no comment has one of the words.
fn holds_one_of(text: &str, words: &[&str]) -> bool {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    lines.into_iter().any(|line| words.iter().any(|word| line.contains(word)))
}

/// Tells whether a file has more than comments, blank lines and the braces of empty sections: distributions ship many that do not.
pub fn says_something(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return true };
    let mut lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    lines.any(|line| !line.is_empty() && !line.starts_with(';') && line != "}" && !line.ends_with('{'))
}

fn matches(glob: &str, path: &str) -> bool {
    let glob = Glob::new(glob).expect("invariant: the globs of these lists are well-formed");
    glob.matches(path.trim_start_matches('/').as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_finds_what_it_names_and_nothing_else() {
        let table = [
            ("/etc/crypttab", true),
            ("/etc/cryptsetup-keys.d/root.key", true),
            ("/etc/cryptsetup-keys.d/root.key.bak", false),
            ("/etc/mdadm/mdadm.conf", true),
            ("/etc/mdadm.conf", true),
            ("/etc/mdadm/mdadm.conf.d/x.conf", true),
            ("/etc/modprobe.d/x.conf", true),
            ("/etc/modprobe.d/x.conf.dpkg-old", false),
            ("/etc/modprobe.d/sub/x.conf", false),
            ("/etc/systemd/network/10-lan.network.d/x.conf", true),
            ("/etc/systemd/system/x.service", false),
            ("/etc/lvm/devices/system.devices", true),
            ("/etc/lvm/archive/vg0_0.vg", false),
            ("/etc/shadow", false),
            ("/etc/machine-id", false),
        ];
        for (path, expected) in table {
            assert_eq!(find(path).is_some(), expected, "{path}");
        }
    }

    #[test]
    fn nothing_that_never_enters_is_declared() {
        for path in ["/etc/shadow", "/etc/shadow-", "/etc/ssh/ssh_host_ed25519_key", "/root/.ssh/id_rsa", "/home/a/.netrc"] {
            assert!(is_never(path) && find(path).is_none(), "{path}");
        }
        assert!(DECLARED.iter().all(|declared| !is_never(declared.paths)));
        assert!(!is_never("/root/luks.key") && !is_never("/etc/keys/root.key"));
    }

    #[test]
    fn files_of_comments_say_nothing() {
        let table = [
            ("", false),
            ("# options foo bar=1\n\n  ; x\n", false),
            ("config {\n\t# checks = 1\n}\ndevices {\n}\n", false),
            ("devices {\n\tglobal_filter = [ \"a|.*|\" ]\n}\n", true),
            ("blacklist pcspkr\n", true),
            ("\u{0}", true),
        ];
        for (text, expected) in table {
            assert_eq!(says_something(text.as_bytes()), expected, "{text:?}");
        }
        assert!(says_something(&[0xff, 0x23]));
    }

    #[test]
    fn what_is_commented_out_is_no_secret() {
        assert!(!holds_one_of("#node.session.auth.password = x\n; Password=1\n", &[".auth.password", "Password="]));
        let iscsid = find("/etc/iscsi/iscsid.conf").expect("it is declared");
        assert!(iscsid.is_secret(0o600, b"") && !iscsid.is_secret(0o644, b"#node.session.auth.password = x\n"));
        assert!(iscsid.is_secret(0o644, b"node.session.auth.password = x\n"));
    }
}
