//! What an initrd has to reach: the root, `/usr`, swap for resume, and what fstab and crypttab mark for it.

use std::collections::BTreeSet;

use super::inventory::{Inventory, Node};
use super::root::Root;
use super::tables::{self, Entry, Locked, Mount};
use crate::host::facts::{Role, Volume};

/// File systems that are on no block device of their own: in memory, a view of another, or on another machine.
const BLOCKLESS: [&str; 19] = [
    "9p",
    "afs",
    "aufs",
    "ceph",
    "cifs",
    "glusterfs",
    "lustre",
    "nfs",
    "nfs4",
    "orangefs",
    "overlay",
    "ramfs",
    "rootfs",
    "smb3",
    "sshfs",
    "tmpfs",
    "unionfs",
    "virtiofs",
    "zfs",
];

/// What the machine's tables ask for.
#[derive(Debug, Default)]
pub struct Asked {
    /// Mounts.
    pub mounts: Vec<Mount>,
    /// Lines of fstab.
    pub fstab: Vec<Entry>,
    /// Lines of crypttab.
    pub crypttab: Vec<Locked>,
    /// The kernel command line.
    pub command_line: String,
}

impl Asked {
    /// Reads the tables.
    pub fn read(root: &Root, mounts: Vec<Mount>, command_line: &str) -> Self {
        let fstab = root.table("/etc/fstab", "volumes that it marks with `x-initrd.mount` and swap will be missing");
        let crypttab = root.table("/etc/crypttab", "how encrypted volumes are opened will be missing");
        Self {
            mounts,
            fstab: tables::fstab(&fstab),
            crypttab: tables::crypttab(&crypttab),
            command_line: command_line.to_owned(),
        }
    }

    fn entry(&self, target: &str) -> Option<&Entry> {
        self.fstab.iter().rev().find(|entry| entry.target == target)
    }

    /// Tells whether a mapping gets another key with each boot.
    fn is_volatile(&self, mapped: Option<&str>) -> bool {
        self.crypttab.iter().any(|line| Some(line.name.as_str()) == mapped && line.is_volatile())
    }
}

/// Returns the volumes, the root first.
pub fn volumes(root: &Root, inventory: &Inventory, asked: &Asked) -> Vec<Volume> {
    let look = Look { root, inventory, asked };
    let mut volumes: Vec<Volume> = Vec::new();
    volumes.extend(look.mounted("/", Role::Root));
    volumes.extend(look.usr());
    volumes.extend(look.resume());
    for entry in asked.fstab.iter().filter(|entry| entry.has("x-initrd.mount") && !["/", "/usr"].contains(&entry.target.as_str()))
    {
        volumes.push(look.listed(entry, Role::Mount));
    }
    let attached = look.attached(&volumes);
    volumes.extend(attached);
    volumes
}

struct Look<'a> {
    root: &'a Root,
    inventory: &'a Inventory,
    asked: &'a Asked,
}

impl Look<'_> {
    fn node(&self, source: &str) -> Option<&Node> {
        self.inventory.meant(self.root, source)
    }

    /// What is mounted at a directory; what fstab says of it where nothing is.
    fn mounted(&self, target: &str, role: Role) -> Option<Volume> {
        let Some(mount) = tables::mounted_at(&self.asked.mounts, target) else {
            return self.asked.entry(target).map(|entry| self.listed(entry, role));
        };
        let entry = self.asked.entry(target);
        let node = self.node_of(mount);
        let source = self.source(mount, entry, node);
        let members = node.map(|node| self.members(node, mount)).unwrap_or_default();
        if node.is_none() {
            self.note_blockless(target, mount);
        } else if mount.part != "/" && mount.fstype != "btrfs" {
            let (part, source) = (&mount.part, &source);
            self.root.gap(format!(
                "`{target}` is only the directory `{part}` of the file system `{source}`: an initrd mounts all of it"
            ));
        }
        Some(Volume {
            target: Some(target.to_owned()),
            source,
            name: None,
            block: node.map(|node| node.name.clone()),
            members,
            fstype: mount.fstype.clone(),
            options: entry.map_or_else(|| options_of(mount), |entry| entry.options.clone()),
            role,
        })
    }

    /// btrfs and bcachefs have device numbers of no device: what they name as their source counts.
    fn node_of(&self, mount: &Mount) -> Option<&Node> {
        if BLOCKLESS.contains(&mount.fstype.as_str()) || mount.fstype.starts_with("fuse") && !mount.source.starts_with("/dev/") {
            return None;
        }
        let numbered = self.inventory.numbered(&mount.device);
        let first = mount.source.split(':').next().unwrap_or_default();
        let named = || self.node(&mount.source).or_else(|| self.node(first));
        let root = || tables::argument(&self.asked.command_line, "root").filter(|_| mount.target == "/");
        numbered.or_else(named).or_else(|| self.node(root()?))
    }

    /// As fstab writes it, if that is the same device; else a name that lasts.
    fn source(&self, mount: &Mount, entry: Option<&Entry>, node: Option<&Node>) -> String {
        let Some(node) = node else {
            let listed = entry.filter(|entry| entry.source.contains(':') && entry.source == mount.source);
            return listed.map_or_else(|| mount.source.clone(), |entry| entry.source.clone());
        };
        let stable = self.inventory.stable_name(&node.name);
        let Some(entry) = entry else { return stable };
        match self.node(&entry.source) {
            Some(other) if other.name == node.name || self.members(node, mount).contains(&other.name) => entry.source.clone(),
            // Nothing to compare it with: a tag that only udev could resolve.
            None if entry.source.contains('=') && node.known.is_none() => entry.source.clone(),
            _ => {
                let (target, source) = (&mount.target, &entry.source);
                self.root.gap(format!(
                    "fstab says that `{source}` is mounted at `{target}`, but `{stable}` is: what is mounted counts"
                ));
                stable
            }
        }
    }

    /// Says why a root without a block device is a riddle, unless it is on the network.
    fn note_blockless(&self, target: &str, mount: &Mount) {
        let why = match mount.fstype.as_str() {
            "nfs" | "nfs4" | "cifs" | "smb3" | "ceph" | "glusterfs" | "lustre" | "9p" | "virtiofs" => return,
            "zfs" => "ZFS does not tell on which disks it is".to_owned(),
            "overlay" | "aufs" => "it is an overlay, and what lies under it is not told".to_owned(),
            "tmpfs" | "ramfs" | "rootfs" => "it is in memory".to_owned(),
            _ => format!("no block device is known for its source `{}`", mount.source),
        };
        self.root.gap(format!("what `{target}` stands on cannot be seen: {why}"));
    }

    /// The other devices of a file system over several.
    fn members(&self, node: &Node, mount: &Mount) -> Vec<String> {
        let mut names = BTreeSet::new();
        if mount.fstype == "btrfs" {
            let lists = self.root.names("/sys/fs/btrfs").into_iter();
            let lists = lists.map(|uuid| self.root.names(&format!("/sys/fs/btrfs/{uuid}/devices")));
            names.extend(lists.filter(|list| list.contains(&node.name)).flatten());
        }
        if mount.fstype == "bcachefs" {
            names.extend(mount.source.split(':').filter_map(|path| Some(self.node(path)?.name.clone())));
        }
        // Only these options name devices: the external journals of XFS and ext4.
        let options = mount.super_options.split(',').filter_map(|option| option.split_once('='));
        let journals = options.filter(|(name, _)| ["logdev", "rtdev", "journal_path"].contains(name));
        names.extend(journals.filter_map(|(_, path)| Some(self.node(path)?.name.clone())));
        names.remove(&node.name);
        names.into_iter().collect()
    }

    /// An entry of fstab, mounted or not.
    fn listed(&self, entry: &Entry, role: Role) -> Volume {
        let mount = tables::mounted_at(&self.asked.mounts, &entry.target);
        let node = self.node(&entry.source).or_else(|| self.node_of(mount?));
        let on_network = entry.source.contains(':') && !entry.source.starts_with("/dev/");
        if node.is_none() && !on_network && !BLOCKLESS.contains(&entry.fstype.as_str()) {
            let Entry { source, target, .. } = entry;
            self.root.gap(format!("fstab wants `{source}` at `{target}` in the initrd, and no such device is there"));
        }
        let found = mount.map(|mount| mount.fstype.clone()).or_else(|| node?.property("ID_FS_TYPE"));
        let fstype = if entry.fstype == "auto" { found.unwrap_or_default() } else { entry.fstype.clone() };
        let members = mount.zip(node).map(|(mount, node)| self.members(node, mount)).unwrap_or_default();
        Volume {
            target: Some(entry.target.clone()),
            source: entry.source.clone(),
            name: None,
            block: node.map(|node| node.name.clone()),
            members,
            fstype,
            options: entry.options.clone(),
            role,
        }
    }

    /// `/usr` where it is a file system of its own: not an extension laid over it, not a part of the root shown once more.
    fn usr(&self) -> Option<Volume> {
        if self.asked.entry("/usr").is_some() {
            return self.mounted("/usr", Role::Usr);
        }
        let mount = tables::mounted_at(&self.asked.mounts, "/usr")?;
        let top = tables::mounted_at(&self.asked.mounts, "/")?;
        let is_extension = mount.fstype == "overlay" && ["sysext", "confext"].contains(&mount.source.as_str());
        let inside = top.part.trim_end_matches('/');
        let is_part = mount.device == top.device && mount.part.strip_prefix(inside).is_some_and(|rest| rest.starts_with('/'));
        if is_extension || (is_part && (mount.fstype != "btrfs" || top.part != "/")) {
            return None;
        }
        self.mounted("/usr", Role::Usr)
    }

    /// Swap that holds a hibernated system: what the command line says, what the kernel was told, fstab's, the one in use.
    fn resume(&self) -> Option<Volume> {
        let line = &self.asked.command_line;
        if tables::has_argument(line, "noresume") {
            return None;
        }
        let resume = |source: String, node: Option<&Node>| Volume {
            target: None,
            source,
            name: None,
            block: node.map(|node| node.name.clone()),
            members: Vec::new(),
            fstype: "swap".to_owned(),
            options: String::new(),
            role: Role::Resume,
        };
        if let Some(source) = tables::argument(line, "resume") {
            let node = self.node(source);
            if node.is_none() {
                self.root.gap(format!("the kernel is told to resume from `{source}`, and no such device is there"));
            }
            return Some(resume(source.to_owned(), node));
        }
        let set = self.root.attribute("/sys/power/resume").filter(|device| device != "0:0");
        if let Some(node) = set.and_then(|device| self.inventory.numbered(&device)) {
            return Some(resume(self.inventory.stable_name(&node.name), Some(node)));
        }
        let lasting = |node: &&Node| !node.name.starts_with("zram") && !self.asked.is_volatile(node.mapped.as_deref());
        let listed = self.asked.fstab.iter().filter(|entry| entry.fstype == "swap" && !entry.has("noauto"));
        for entry in listed {
            if let Some(node) = self.node(&entry.source).filter(lasting) {
                return Some(resume(entry.source.clone(), Some(node)));
            }
        }
        let swaps = self.root.text("/proc/swaps").unwrap_or_default();
        let paths = swaps.lines().skip(1).filter_map(|line| line.split_ascii_whitespace().next());
        let node = paths.filter_map(|path| self.node(path)).find(lasting)?;
        Some(resume(self.inventory.stable_name(&node.name), Some(node)))
    }

    /// Entries of crypttab that are marked and that no volume stands on, and the file systems that hold keys on devices of their own.
    fn attached(&self, volumes: &[Volume]) -> Vec<Volume> {
        let under = self.under(volumes);
        let mut attached = Vec::new();
        for line in &self.asked.crypttab {
            let opened = self.inventory.mapping(&line.name);
            let is_under = opened.is_some_and(|node| under.contains(&node.name));
            if !is_under && !line.is_marked() {
                continue;
            }
            let source = self.node(&line.source);
            if opened.is_none() && source.is_none() {
                let Locked { name, source, .. } = line;
                self.root.gap(format!("crypttab wants `{source}` opened as `{name}` in the initrd, and no such device is there"));
            }
            if !is_under {
                attached.push(Volume {
                    target: None,
                    source: line.source.clone(),
                    name: Some(line.name.clone()),
                    block: opened.or(source).map(|node| node.name.clone()),
                    members: Vec::new(),
                    fstype: source.and_then(|node| node.property("ID_FS_TYPE")).unwrap_or_else(|| "crypto_LUKS".to_owned()),
                    options: line.options.clone(),
                    role: Role::Attach,
                });
            }
            let places = line.key.as_deref().into_iter().chain(line.option("header"));
            attached.extend(places.filter_map(|place| self.keys_on(line, place)));
        }
        attached
    }

    /// `/path:DEVICE` names a file on a device that is mounted for it.
    fn keys_on(&self, line: &Locked, place: &str) -> Option<Volume> {
        let (_, source) = place.split_once(':').filter(|(path, _)| path.starts_with('/'))?;
        let node = self.node(source);
        if node.is_none() {
            let name = &line.name;
            self.root.gap(format!(
                "the key of `{name}` is on `{source}`, which is not there: the driver of its file system may be missing"
            ));
        }
        Some(Volume {
            target: None,
            source: source.to_owned(),
            name: Some(line.name.clone()),
            block: node.map(|node| node.name.clone()),
            members: Vec::new(),
            fstype: node.and_then(|node| node.property("ID_FS_TYPE")).unwrap_or_default(),
            options: String::new(),
            role: Role::Attach,
        })
    }

    /// Everything that volumes stand on.
    fn under(&self, volumes: &[Volume]) -> BTreeSet<String> {
        let mut names: Vec<String> =
            volumes.iter().flat_map(|volume| volume.block.iter().chain(&volume.members)).cloned().collect();
        let mut under = BTreeSet::new();
        while let Some(name) = names.pop() {
            let Some(node) = self.inventory.node(&name) else { continue };
            if under.insert(name) {
                names.extend(self.inventory.parents(node));
            }
        }
        under
    }
}

/// What is mounted, for an fstab that says nothing: the subvolume counts as much as the options of the mount.
fn options_of(mount: &Mount) -> String {
    let subvolume = mount.super_options.split(',').find(|option| option.starts_with("subvol="));
    let words = mount.options.split(',').chain(subvolume.filter(|_| mount.fstype == "btrfs"));
    words.collect::<Vec<_>>().join(",")
}
