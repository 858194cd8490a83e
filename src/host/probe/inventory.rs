//! All block devices with their names: which one is meant by `UUID=…`, `/dev/mapper/…`, `8:1`.

use std::collections::BTreeMap;

use super::root::Root;
use crate::base::limit;

/// A block device as sysfs and udev's database have it.
#[derive(Debug, Clone, Default)]
pub struct Node {
    /// The kernel's name.
    pub name: String,
    /// `MAJOR:MINOR`.
    pub device: String,
    /// Its directory: `/sys/devices/…/block/sda`.
    pub place: String,
    /// It is a partition that the kernel found.
    pub is_partition: bool,
    /// The device mapper's name.
    pub mapped: Option<String>,
    /// The device mapper's UUID, whose prefix says who made it.
    pub owner: String,
    /// What it is made of.
    pub slaves: Vec<String>,
    /// What udev knows; nothing where it has no database or not of this device.
    pub known: Option<Known>,
}

/// What udev's database says of a device.
#[derive(Debug, Clone, Default)]
pub struct Known {
    properties: BTreeMap<String, String>,
    links: Vec<String>,
}

impl Known {
    /// Returns a property that is not empty; the `_ENC` form of a label is the one that lost nothing.
    pub fn property(&self, name: &str) -> Option<String> {
        let encoded = self.properties.get(&format!("{name}_ENC")).map(|value| decoded(value));
        encoded.or_else(|| self.properties.get(name).cloned()).filter(|value| !value.is_empty())
    }
}

impl Node {
    /// Returns a property of udev's database.
    pub fn property(&self, name: &str) -> Option<String> {
        self.known.as_ref()?.property(name)
    }

    /// Returns where its node is; the kernel writes `!` for the slash that a file name cannot have.
    pub fn path(&self) -> String {
        format!("/dev/{}", self.name.replace('!', "/"))
    }
}

/// All block devices of a machine.
#[derive(Debug, Default)]
pub struct Inventory {
    nodes: BTreeMap<String, Node>,
}

impl Inventory {
    /// Reads `/sys/class/block` and `/run/udev/data`.
    pub fn read(root: &Root) -> Self {
        let names = root.names("/sys/class/block");
        if names.len() > limit::BLOCKS_MAX {
            root.gap("there are more block devices than can be looked at: what `/` stands on may not be found");
        }
        let nodes: BTreeMap<_, _> =
            names.into_iter().take(limit::BLOCKS_MAX).map(|name| (name.clone(), node(root, name))).collect();
        if !nodes.is_empty() && nodes.values().all(|node| node.known.is_none()) {
            root.gap(
                "udev's database (`/run/udev/data`) says nothing of block devices: types, labels and UUIDs of some are unknown",
            );
        }
        Self { nodes }
    }

    /// Returns the device of this name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.get(name)
    }

    /// Returns what a device is made of: a partition of its disk, a mapping of what it maps.
    pub fn parents(&self, node: &Node) -> Vec<String> {
        if !node.is_partition {
            return node.slaves.clone();
        }
        // The kernel makes a partition's directory inside its disk's.
        let disk = node.place.rsplit('/').nth(1).filter(|name| self.nodes.contains_key(*name));
        disk.map(str::to_owned).into_iter().collect()
    }

    /// Returns the device that has become of opening a crypttab entry, or another mapping by its name.
    pub fn mapping(&self, name: &str) -> Option<&Node> {
        self.nodes.values().find(|node| node.mapped.as_deref() == Some(name))
    }

    /// Returns the device with this `MAJOR:MINOR`.
    pub fn numbered(&self, device: &str) -> Option<&Node> {
        self.nodes.values().find(|node| !device.is_empty() && node.device == device)
    }

    /// Returns the device that a configuration file or a command line means.
    pub fn meant(&self, root: &Root, source: &str) -> Option<&Node> {
        if let Some(path) = source.strip_prefix("/dev/") {
            return self.by_path(root, path);
        }
        let (property, directory) = match source.split_once('=') {
            Some(("UUID", _)) => ("ID_FS_UUID", "by-uuid"),
            Some(("LABEL", _)) => ("ID_FS_LABEL", "by-label"),
            Some(("PARTUUID", _)) => ("ID_PART_ENTRY_UUID", "by-partuuid"),
            Some(("PARTLABEL", _)) => ("ID_PART_ENTRY_NAME", "by-partlabel"),
            Some(("ID", value)) => return self.by_path(root, &format!("disk/by-id/{value}")),
            _ => return self.numbered(source),
        };
        let value = source.split_once('=').map(|(_, value)| value)?;
        // UUIDs of vfat are in capitals, and people write them as they like.
        let has = |node: &&Node| node.property(property).is_some_and(|found| found.eq_ignore_ascii_case(value));
        let found: Vec<&Node> = self.nodes.values().filter(has).collect();
        // A map and its paths, an array with its metadata at the end and its members: what stands on top is meant.
        let is_below = |node: &&&Node| found.iter().any(|other| other.slaves.contains(&node.name));
        let top = found.iter().find(|node| !is_below(node)).or(found.first()).copied();
        top.or_else(|| self.by_link(root, &format!("/dev/disk/{directory}/{value}")))
    }

    fn by_path(&self, root: &Root, path: &str) -> Option<&Node> {
        if let Some(node) = self.nodes.get(&path.replace('/', "!")) {
            return Some(node);
        }
        if let Some(name) = path.strip_prefix("mapper/") {
            return self.mapping(name).or_else(|| self.by_link(root, &format!("/dev/{path}")));
        }
        if let Some(device) = path.strip_prefix("block/") {
            return self.numbered(device);
        }
        let linked = |node: &&Node| node.known.as_ref().is_some_and(|known| known.links.iter().any(|link| link == path));
        if let Some(node) = self.nodes.values().find(linked).or_else(|| self.by_link(root, &format!("/dev/{path}"))) {
            return Some(node);
        }
        // `/dev/vg/lv`, where the device mapper doubles the dashes inside each.
        let (group, volume) = path.split_once('/')?;
        self.mapping(&format!("{}-{}", group.replace('-', "--"), volume.replace('-', "--")))
    }

    fn by_link(&self, root: &Root, path: &str) -> Option<&Node> {
        let real = root.real(path).filter(|real| real != path)?;
        self.nodes.get(&real.strip_prefix("/dev/")?.replace('/', "!"))
    }

    /// Returns a name for a device that does not change when another disk is put in.
    pub fn stable_name(&self, name: &str) -> String {
        let Some(node) = self.nodes.get(name) else { return format!("/dev/{name}") };
        if let Some(mapped) = &node.mapped {
            return format!("/dev/mapper/{mapped}");
        }
        let tags = [("UUID", "ID_FS_UUID"), ("PARTUUID", "ID_PART_ENTRY_UUID")];
        let tagged = tags.iter().find_map(|(tag, property)| Some(format!("{tag}={}", node.property(property)?)));
        tagged.unwrap_or_else(|| node.path())
    }
}

fn node(root: &Root, name: String) -> Node {
    let class = format!("/sys/class/block/{name}");
    let place = root.link(&class).unwrap_or(class);
    let device = root.attribute(&format!("{place}/dev")).unwrap_or_default();
    Node {
        is_partition: root.has(&format!("{place}/partition")),
        mapped: root.attribute(&format!("{place}/dm/name")),
        owner: root.attribute(&format!("{place}/dm/uuid")).unwrap_or_default(),
        slaves: root.names(&format!("{place}/slaves")),
        known: known(root, &device),
        name,
        device,
        place,
    }
}

/// One file of udev's database: `S:` a link below `/dev`, `E:` a property (sd-device's device-private.c).
fn known(root: &Root, device: &str) -> Option<Known> {
    let is_number = device.split_once(':').is_some_and(|(major, minor)| {
        [major, minor].iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
    });
    let text = root.text(&format!("/run/udev/data/b{device}")).filter(|_| is_number)?;
    let mut known = Known::default();
    for line in text.lines() {
        match line.split_once(':') {
            Some(("S", link)) => known.links.push(link.to_owned()),
            Some(("E", property)) => {
                let (name, value) = property.split_once('=').unwrap_or((property, ""));
                known.properties.insert(name.to_owned(), value.to_owned());
            }
            _ => {}
        }
    }
    Some(known)
}

/// Undoes udev's `\x20`.
fn decoded(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
        let escaped = match after {
            [b'x', high, low, left @ ..] if first == b'\\' => digit(*high).zip(digit(*low)).map(|pair| (pair, left)),
            _ => None,
        };
        match escaped {
            Some(((high, low), left)) => {
                bytes.push(high << 4 | low);
                rest = left;
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_keep_their_spaces() {
        for (text, label) in [("a\\x20b", "a b"), ("\\x", "\\x"), ("\\xzz", "\\xzz"), ("\\xc3\\xa4", "ä"), ("", "")] {
            assert_eq!(decoded(text), label);
        }
    }
}
