//! Files of the machine's configuration that an image may need: one declared table, the files that crypttab names, the keymap.
//!
//! What is not declared here cannot enter an image; what is in [`NEVER`] cannot even when a declared file leads to it.

use std::collections::BTreeMap;

use super::blocks;
use super::keymap;
use super::root::{self, Found, Root};
use super::tables::Locked;
use super::volumes::Asked;
use crate::base::base64;
use crate::base::glob::Glob;
use crate::base::limit;
use crate::host::facts::{Block, FileContent, HostFile};

/// A declared file or pattern.
struct Declared {
    /// The path, or a pattern over paths.
    path: &'static str,
    /// What an image lacks when it cannot be read.
    missing: &'static str,
    /// Settings whose presence makes the file a secret.
    secrets: &'static [&'static str],
    /// Takes a file only where it says something: distributions ship some that are all comments.
    if_changed: bool,
}

const fn plain(path: &'static str, missing: &'static str) -> Declared {
    Declared { path, missing, secrets: &[], if_changed: false }
}

const fn guarded(path: &'static str, missing: &'static str, secrets: &'static [&'static str]) -> Declared {
    Declared { path, missing, secrets, if_changed: false }
}

/// The declared list; docs/configuration.md shows it.
const DECLARED: &[Declared] = &[
    plain("/etc/crypttab", "how encrypted volumes are opened will be missing"),
    plain("/etc/integritytab", "how volumes of dm-integrity are opened will be missing"),
    plain("/etc/veritytab", "how volumes of dm-verity are opened will be missing"),
    plain("/etc/fstab", "what is mounted in the initrd will be missing"),
    plain("/etc/vconsole.conf", "the console's keymap and font will be missing"),
    plain("/etc/default/keyboard", "the console's keymap will be missing"),
    plain("/etc/default/console-setup", "the console's font will be missing"),
    plain("/etc/console-setup/cached_*.kmap.gz", "the console's keymap will be missing"),
    plain("/etc/locale.conf", "the language of messages will be missing"),
    plain("/etc/default/locale", "the language of messages will be missing"),
    plain("/etc/modprobe.d/*.conf", "options and blacklists of modules will be missing"),
    plain("/etc/modules-load.d/*.conf", "modules that are to be loaded will be missing"),
    plain("/etc/modules", "modules that are to be loaded will be missing"),
    plain("/etc/sysctl.d/*.conf", "kernel settings will be missing"),
    plain("/etc/sysctl.conf", "kernel settings will be missing"),
    plain("/etc/mdadm.conf", "names of arrays will be missing"),
    plain("/etc/mdadm.conf.d/*.conf", "names of arrays will be missing"),
    plain("/etc/mdadm/mdadm.conf", "names of arrays will be missing"),
    plain("/etc/mdadm/mdadm.conf.d/*.conf", "names of arrays will be missing"),
    plain("/etc/lvm/devices/system.devices", "the list of devices that LVM uses will be missing"),
    Declared { path: "/etc/lvm/lvm.conf", missing: "settings of LVM will be missing", secrets: &[], if_changed: true },
    Declared { path: "/etc/lvm/lvmlocal.conf", missing: "settings of LVM will be missing", secrets: &[], if_changed: true },
    plain("/etc/multipath.conf", "settings of multipath will be missing"),
    plain("/etc/multipath/conf.d/*.conf", "settings of multipath will be missing"),
    plain("/etc/multipath/{bindings,wwids}", "names of multipath maps will be missing"),
    plain("/etc/iscsi/initiatorname.iscsi", "the name that this machine has for iSCSI targets will be missing"),
    guarded("/etc/iscsi/iscsid.conf", "settings of iSCSI will be missing", &[".auth.password", ".auth.username"]),
    plain("/etc/nvme/{hostnqn,hostid}", "the name that this machine has for NVMe targets will be missing"),
    guarded("/etc/nvme/{discovery.conf,config.json}", "NVMe targets will be missing", &["dhchap", "tls_key", "tls-key"]),
    guarded(
        "/etc/systemd/network/{*,*.d/*}.{network,netdev,link,conf}",
        "settings of the network will be missing",
        &["PrivateKey=", "PresharedKey=", "Password=", "Key="],
    ),
    plain("/etc/idmapd.conf", "how NFS names users will be missing"),
    guarded("/etc/kernel/cmdline", "the kernel command line of new entries will be missing", &["password=", "rd.luks.key="]),
    plain("/etc/hostid", "the number by which ZFS knows this machine will be missing"),
];

/// What enters no image, whoever names it.
const NEVER: &[&str] = &[
    "etc/{,g}shadow*",
    "etc/machine-id",
    "var/lib/dbus/machine-id",
    "var/lib/systemd/{credential.secret,random-seed}",
    "etc/ssh/**",
    "**/.ssh/**",
    "**/.gnupg/**",
    "**/.netrc",
    "etc/NetworkManager/**",
    "etc/apt/auth.conf*",
    "etc/apt/auth.conf.d/**",
    "etc/krb5.keytab",
    "etc/wireguard/**",
];

/// Files read so far, by path.
pub struct Collection<'a> {
    root: &'a Root,
    never: Vec<Glob>,
    files: BTreeMap<String, HostFile>,
}

/// Returns all files, sorted by path.
pub fn files(root: &Root, asked: &Asked, blocks: &[Block]) -> Vec<HostFile> {
    let glob = |pattern: &&str| Glob::new(pattern).expect("invariant: the patterns above are well-formed");
    let mut collection = Collection { root, never: NEVER.iter().map(glob).collect(), files: BTreeMap::new() };
    for declared in DECLARED {
        for path in paths(root, declared.path) {
            collection.declared(&path, declared);
        }
    }
    let opened = blocks::opened(blocks);
    for line in asked.crypttab.iter().filter(|line| line.is_marked() || opened.contains(line.name.as_str())) {
        collection.keys(line);
    }
    keymap::collect(&mut collection);
    collection.files.into_values().collect()
}

/// Returns the paths that a declared pattern means: itself, or what matches it at most two directories down.
fn paths(root: &Root, pattern: &str) -> Vec<String> {
    let Some(wild) = pattern.find(['*', '{']) else { return vec![pattern.to_owned()] };
    let top = pattern[..wild].rsplit_once('/').map(|(top, _)| top).unwrap_or_default();
    let glob = Glob::new(pattern.trim_start_matches('/')).expect("invariant: the patterns above are well-formed");
    let mut found = Vec::new();
    for name in root.names(top) {
        let path = format!("{top}/{name}");
        if root.has_directory(&path) {
            found.extend(root.names(&path).into_iter().map(|name| format!("{path}/{name}")));
        } else {
            found.push(path);
        }
    }
    found.retain(|path| glob.matches(path.trim_start_matches('/').as_bytes()));
    found
}

impl Collection<'_> {
    /// Returns the text of a file that was taken.
    pub fn text(&self, path: &str) -> Option<&str> {
        match &self.files.get(path)?.content {
            FileContent::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the machine.
    pub fn root(&self) -> &Root {
        self.root
    }

    fn declared(&mut self, path: &str, declared: &Declared) {
        let is_worth = |bytes: &[u8]| !declared.if_changed || says_something(&String::from_utf8_lossy(bytes));
        let is_secret = |bytes: &[u8]| holds_one_of(&String::from_utf8_lossy(bytes), declared.secrets);
        self.take(path, declared.missing, limit::TEXT_BYTES_MAX, &is_worth, &is_secret);
    }

    /// Takes a file that is no secret and returns its content.
    pub fn public(&mut self, path: &str, missing: &str) -> Option<Vec<u8>> {
        self.take(path, missing, limit::TEXT_BYTES_MAX, &|_| true, &|_| false)
    }

    fn take(
        &mut self,
        path: &str,
        missing: &str,
        size_bytes_max: u64,
        is_worth: &dyn Fn(&[u8]) -> bool,
        is_secret: &dyn Fn(&[u8]) -> bool,
    ) -> Option<Vec<u8>> {
        if self.files.len() >= limit::CONFIG_FILES_MAX {
            self.root.gap("there are more files of configuration than can be taken: some will be missing");
            return None;
        }
        match self.root.file(path, size_bytes_max) {
            Found::Absent => None,
            Found::Masked => {
                let content = FileContent::Link("/dev/null".to_owned());
                self.files.insert(path.to_owned(), HostFile { path: path.to_owned(), mode: 0o777, content, secret: false });
                None
            }
            Found::Unreadable(why) => {
                self.root.gap(root::unreadable(path, &why, missing));
                None
            }
            Found::File { real, .. } if [path, &real].iter().any(|path| self.is_forbidden(path)) => {
                self.root.gap(format!("`{path}` is not taken, as it must not enter an image: {missing}"));
                None
            }
            Found::File { bytes, mode, .. } => {
                if !is_worth(&bytes) {
                    return None;
                }
                let secret = is_secret(&bytes);
                let file = HostFile { path: path.to_owned(), mode, content: content(&bytes), secret };
                self.files.insert(path.to_owned(), file);
                Some(bytes)
            }
        }
    }

    fn is_forbidden(&self, path: &str) -> bool {
        self.never.iter().any(|glob| glob.matches(path.trim_start_matches('/').as_bytes()))
    }

    /// The key file and the detached header of a crypttab entry: named ones, and a key by the entry's name.
    fn keys(&mut self, line: &Locked) {
        let missing = format!("`{}` cannot be opened without it", line.name);
        let by_name = format!("/etc/cryptsetup-keys.d/{}.key", line.name);
        let named = line.key.as_deref().filter(|path| path.starts_with('/'));
        if line.key.is_none() {
            self.secret(&by_name, &missing, limit::KEY_BYTES_MAX);
        }
        let header = line.option("header").map(|path| (path, limit::LUKS_HEADER_BYTES_MAX));
        for (path, size_bytes_max) in named.map(|path| (path, limit::KEY_BYTES_MAX)).into_iter().chain(header) {
            // On a device of its own, or the device itself: no file of this system.
            let is_elsewhere = path.contains(':') || path.starts_with("/dev/");
            if is_elsewhere || !path.starts_with('/') {
                continue;
            }
            if !self.root.has(path) {
                self.root.gap(format!("`{path}` does not exist: {missing}"));
            }
            self.secret(path, &missing, size_bytes_max);
        }
    }

    fn secret(&mut self, path: &str, missing: &str, size_bytes_max: u64) {
        // Its content is of no use here.
        drop(self.take(path, missing, size_bytes_max, &|_| true, &|_| true));
    }
}

fn content(bytes: &[u8]) -> FileContent {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => FileContent::Text(text.to_owned()),
        _ => FileContent::Base64(base64::encode(bytes)),
    }
}

/// Tells whether a file has more than comments and the brackets of empty sections, which is how lvm.conf is shipped.
fn says_something(text: &str) -> bool {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    lines.filter(|line| !line.is_empty()).any(|line| line != "}" && !line.ends_with('{'))
}

/// Tells whether a line that is no comment has one of the words.
fn holds_one_of(text: &str, words: &[&str]) -> bool {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    lines.into_iter().any(|line| words.iter().any(|word| line.contains(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_as_shipped_says_nothing() {
        assert!(!says_something("# a\nconfig {\n\t# checks = 1\n}\n\ndevices {\n}\n"));
        assert!(says_something("devices {\n\tglobal_filter = [ \"a|.*|\" ]\n}\n"));
    }

    #[test]
    fn what_is_commented_out_is_no_secret() {
        assert!(!holds_one_of("#node.session.auth.password = x\n; Password=1\n", &[".auth.password", "Password="]));
        assert!(holds_one_of("node.session.auth.password = x\n", &[".auth.password"]));
    }

    #[test]
    fn every_pattern_is_well_formed_and_absolute() {
        for declared in DECLARED {
            assert!(declared.path.starts_with("/etc/"), "{}", declared.path);
            Glob::new(declared.path).expect(declared.path);
            assert!(declared.missing.ends_with("will be missing"), "{}", declared.path);
        }
        for pattern in NEVER {
            Glob::new(pattern).expect(pattern);
        }
    }
}
