//! The block devices under the volumes: what each is, what it is made of, how it is reached and what is on it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use super::disks;
use super::inventory::{Inventory, Node};
use super::root::{self, Root};
use super::tables;
use super::volumes::Asked;
use crate::format::luks;
use crate::host::facts::{Block, BlockKind, Luks, Volume};

/// Returns the blocks under all volumes, sorted by name.
pub fn blocks(root: &Root, inventory: &Inventory, asked: &Asked, volumes: &[Volume]) -> Vec<Block> {
    let mut todo: Vec<String> = volumes.iter().flat_map(|volume| volume.block.iter().chain(&volume.members)).cloned().collect();
    let mut blocks: BTreeMap<String, Block> = BTreeMap::new();
    while let Some(name) = todo.pop() {
        let Some(node) = inventory.node(&name).filter(|_| !blocks.contains_key(&name)) else { continue };
        let block = block(root, inventory, asked, node);
        todo.extend(block.parents.iter().cloned());
        blocks.insert(name, block);
    }
    infer_types(inventory, volumes, &mut blocks);
    read_luks(root, inventory, asked, &mut blocks);
    blocks.into_values().collect()
}

fn block(root: &Root, inventory: &Inventory, asked: &Asked, node: &Node) -> Block {
    let attribute = |name: &str| root.attribute(&format!("{}/{name}", node.place));
    let backing = attribute("loop/backing_file");
    let mut parents = inventory.parents(node);
    if let Some(file) = &backing {
        let mount = tables::mount_of(&asked.mounts, file);
        parents.extend(mount.and_then(|mount| inventory.numbered(&mount.device)).map(|node| node.name.clone()));
        root.gap(format!("`{}` is the file `{file}`: an initrd does not set it up by itself", node.name));
    }
    let (kind, targets) = kind(root, inventory, node);
    let way = if parents.is_empty() { disks::way(root, node) } else { disks::Way::default() };
    Block {
        name: node.name.clone(),
        kind,
        mapped: node.mapped.clone(),
        drivers: way.drivers.into_iter().collect(),
        transport: way.transport,
        fstype: node.property("ID_FS_TYPE"),
        uuid: node.property("ID_FS_UUID"),
        label: node.property("ID_FS_LABEL"),
        partuuid: node.property("ID_PART_ENTRY_UUID").filter(|_| kind == BlockKind::Partition),
        luks: None,
        targets,
        metadata: metadata(root, node),
        backing,
        parents,
    }
}

/// What a device is, and the targets of its table. Who made a mapping stands in its UUID; the table itself only root may read.
fn kind(root: &Root, inventory: &Inventory, node: &Node) -> (BlockKind, Vec<String>) {
    let one = |kind, target: &str| (kind, vec![target.to_owned()]);
    let owner = node.owner.as_str();
    let has = |directory: &str| root.has_directory(&format!("{}/{directory}", node.place));
    if node.is_partition {
        return (BlockKind::Partition, Vec::new());
    }
    if node.mapped.is_some() || !owner.is_empty() {
        let is_part = || owner.strip_prefix("part").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        return match owner {
            _ if owner.starts_with("CRYPT-VERITY") => one(BlockKind::Mapping, "verity"),
            _ if owner.starts_with("CRYPT-INTEGRITY") || owner.starts_with("CRYPT-SUBDEV") => {
                one(BlockKind::Mapping, "integrity")
            }
            _ if owner.starts_with("CRYPT-") => one(BlockKind::Crypt, "crypt"),
            _ if owner.starts_with("LVM-") => one(BlockKind::Lvm, logical(inventory, node)),
            _ if owner.starts_with("mpath-") => one(BlockKind::Multipath, "multipath"),
            _ if is_part() => one(BlockKind::Partition, "linear"),
            _ => (BlockKind::Mapping, Vec::new()),
        };
    }
    if has("md") {
        let level = root.attribute(&format!("{}/md/level", node.place));
        return (BlockKind::Raid, level.into_iter().collect());
    }
    if has("bcache") && node.name.starts_with("bcache") {
        return (BlockKind::Bcache, Vec::new());
    }
    let kind = if has("loop") { BlockKind::Loop } else { BlockKind::Disk };
    (kind, Vec::new())
}

/// The target of a logical volume, by the hidden volumes that it is made of: LVM names each after its part.
fn logical(inventory: &Inventory, node: &Node) -> &'static str {
    const PARTS: [(&str, &str); 15] = [
        ("_rimage", "raid"),
        ("_rmeta", "raid"),
        ("_mimage", "mirror"),
        ("_mlog", "mirror"),
        ("_tdata", "thin-pool"),
        ("_tmeta", "thin-pool"),
        ("-tpool", "thin"),
        ("_wcorig", "writecache"),
        ("_cdata", "cache"),
        ("_cmeta", "cache"),
        ("_corig", "cache"),
        ("_vdata", "vdo"),
        ("-vpool", "vdo"),
        ("_iorig", "integrity"),
        ("-cow", "snapshot"),
    ];
    let parts: Vec<&str> =
        node.slaves.iter().filter_map(|name| inventory.node(name)?.mapped.as_deref()).map(without_number).collect();
    let target = PARTS.iter().find(|(suffix, _)| parts.iter().any(|part| part.ends_with(suffix)));
    match target {
        Some((_, target)) => target,
        None if parts.iter().any(|part| part.ends_with("-real")) => "snapshot-origin",
        // `lvcreate --type thin` on a pool without a layer of its own.
        None if node.mapped.as_deref().is_some_and(|name| name.ends_with("-tpool")) => "thin-pool",
        None => "linear",
    }
}

/// `vg-lv_rimage_0` without its number.
fn without_number(name: &str) -> &str {
    name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('_')
}

/// The metadata of an array. One in a container (`external:/md127/0`) has that of the container.
fn metadata(root: &Root, node: &Node) -> Option<String> {
    let of = |place: &str| root.attribute(&format!("{place}/md/metadata_version"));
    let own = of(&node.place)?;
    let container = own.strip_prefix("external:").and_then(|rest| rest.trim_start_matches(['/', '-']).split('/').next());
    match container.filter(|name| name.starts_with("md")) {
        Some(name) => of(&root.link(&format!("/sys/class/block/{name}")).unwrap_or_default()).or(Some(own)),
        None => Some(own),
    }
}

/// What is on a device shows in what became of it, where udev says nothing.
fn infer_types(inventory: &Inventory, volumes: &[Volume], blocks: &mut BTreeMap<String, Block>) {
    let mut types: Vec<(String, String)> = Vec::new();
    for volume in volumes.iter().filter(|volume| volume.target.is_some()) {
        types.extend(volume.block.iter().chain(&volume.members).map(|name| (name.clone(), volume.fstype.clone())));
    }
    for block in blocks.values() {
        let owner = inventory.node(&block.name).map(|node| node.owner.as_str()).unwrap_or_default();
        let made_of = match block.kind {
            BlockKind::Crypt if owner.starts_with("CRYPT-LUKS") => "crypto_LUKS",
            BlockKind::Crypt if owner.starts_with("CRYPT-BITLK") => "BitLocker",
            BlockKind::Raid => "linux_raid_member",
            BlockKind::Multipath => "mpath_member",
            BlockKind::Bcache => "bcache",
            BlockKind::Lvm => "LVM2_member",
            _ => continue,
        };
        // A volume that LVM made of hidden volumes of its own is not on a physical one.
        let is_lvm = |name: &String| blocks.get(name).is_some_and(|parent| parent.kind == BlockKind::Lvm);
        let parents = block.parents.iter().filter(|name| block.kind != BlockKind::Lvm || !is_lvm(name));
        types.extend(parents.map(|name| (name.clone(), made_of.to_owned())));
    }
    for (name, fstype) in types {
        let is_silent = inventory.node(&name).is_some_and(|node| node.known.is_none());
        if let Some(block) = blocks.get_mut(&name).filter(|block| is_silent && block.fstype.is_none() && !fstype.is_empty()) {
            block.fstype = Some(fstype);
        }
    }
}

/// Reads the headers of all LUKS volumes, detached ones too.
fn read_luks(root: &Root, inventory: &Inventory, asked: &Asked, blocks: &mut BTreeMap<String, Block>) {
    // By the volume: where its header is, and the number that this place must have.
    let mut headers: BTreeMap<String, (String, Option<String>)> = BTreeMap::new();
    for block in blocks.values().filter(|block| block.fstype.as_deref() == Some("crypto_LUKS")) {
        headers.extend(inventory.node(&block.name).map(|node| (block.name.clone(), (node.path(), Some(node.device.clone())))));
    }
    for line in &asked.crypttab {
        let Some(place) = line.option("header").filter(|place| place.starts_with('/') && !place.contains(':')) else { continue };
        let opened = inventory.mapping(&line.name).and_then(|node| node.slaves.first());
        let source = opened.cloned().or_else(|| inventory.meant(root, &line.source).map(|node| node.name.clone()));
        headers.extend(source.filter(|name| blocks.contains_key(name)).map(|name| (name, (place.to_owned(), None))));
    }
    for (name, (path, device)) in headers {
        let block = blocks.get_mut(&name).expect("invariant: only blocks were listed");
        match header(root, &path, device.as_deref()) {
            Ok(header) => {
                block.uuid = block.uuid.take().or_else(|| Some(header.uuid.clone()));
                block.label = block.label.take().or_else(|| Some(header.label.clone()).filter(|label| !label.is_empty()));
                block.luks = Some(luks_facts(header));
            }
            Err(why) => {
                let missing = "ciphers, hashes and tokens of this volume are unknown";
                root.gap(format!("the LUKS header of `{name}` cannot be read from `{path}` ({why}): {missing}"));
            }
        }
    }
}

fn luks_facts(header: luks::Header) -> Luks {
    Luks {
        version: header.version,
        ciphers: header.ciphers,
        hashes: header.hashes,
        tokens: header.tokens,
        integrity: header.integrity,
    }
}

/// Reads one header. A name below `/dev` that is of another device (a container's own `/dev`) is not touched.
fn header(root: &Root, path: &str, device: Option<&str>) -> Result<luks::Header, String> {
    let place = root.at(&root.real(path).ok_or("too many symlinks")?);
    let metadata = std::fs::metadata(&place).map_err(|err| root::because(&err))?;
    let kind = metadata.file_type();
    if !kind.is_block_device() && !kind.is_file() {
        return Err("it is neither a device nor a file".to_owned());
    }
    let number = format!("{}:{}", rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
    if kind.is_block_device() && device.is_some_and(|device| device != number) {
        return Err(format!("it is the device {number}"));
    }
    let mut file = File::open(&place).map_err(|err| root::because(&err))?;
    luks::read(&mut file).map_err(|err| match err {
        luks::LuksError::Io(err) => root::because(&err),
        err => err.to_string(),
    })
}

/// Returns the names that crypttab gives to what the blocks are, which is what their key files are named after.
pub fn opened(blocks: &[Block]) -> BTreeSet<&str> {
    blocks.iter().filter(|block| block.kind == BlockKind::Crypt).filter_map(|block| block.mapped.as_deref()).collect()
}
