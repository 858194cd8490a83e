//! Writes LVM2 volumes: the group `vg0` with the volume `root`, linear, thin or mirrored, without device mapper or loop device.
//!
//! Layout: `lib/format_text/layout.h` and `lib/label/label.h` of LVM2. `pvck --dump headers FILE` reads it back.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::command::{at, run, tool};
use crate::esp::copy_sparse;
use crate::files::sibling;

/// What the volume is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Extents in a row.
    Linear,
    /// A thin volume in a pool.
    Thin,
    /// A mirror over two physical volumes.
    Raid1,
}

/// Where the first extent begins.
const DATA_START: u64 = 1 << 20;
/// The size of an extent.
const EXTENT: u64 = 4 << 20;
/// The blocks of a thin pool.
const POOL_BLOCK: u64 = 64 << 10;

const SECTOR: usize = 512;
const METADATA_START: u64 = 4096;
const METADATA_MAGIC: &[u8; 16] = b" LVM2 x[5A%r0N*>";
const PV_UUIDS: [&str; 2] = ["mkinit-rdpk-boot-test-phys-ical-volume", "mkinit-rdpk-boot-test-phys-ical-volum2"];
const VG_UUID: &str = "mkinit-rdpk-boot-test-volu-megr-oupzer";
const LV_UUID: &str = "mkinit-rdpk-boot-test-logi-calv-olroo";

/// Makes the physical volumes of a group out of what its volume holds: `out` and its siblings, which are returned in order.
pub fn group(layout: Layout, inner: &Path, out: &Path) -> Result<Vec<PathBuf>, String> {
    let extents = fs::metadata(inner).map_err(at(inner))?.len().div_ceil(EXTENT);
    let (paths, data) = match layout {
        Layout::Linear | Layout::Thin => (vec![out.to_owned()], DATA_START),
        Layout::Raid1 => (vec![out.to_owned(), sibling(out, 2)], DATA_START + EXTENT),
    };
    for (number, path) in paths.iter().enumerate() {
        let mut file = File::create(path).map_err(at(path))?;
        file.write_all(&header(layout, extents, number)).map_err(at(path))?;
        file.set_len(DATA_START + (extents + layout.more_extents()) * EXTENT).map_err(at(path))?;
        copy_sparse(inner, &mut file, data)?;
        if layout == Layout::Thin {
            let metadata = pool_metadata(extents, out)?;
            copy_sparse(&metadata, &mut file, DATA_START + extents * EXTENT)?;
            fs::remove_file(&metadata).map_err(at(&metadata))?;
        }
    }
    Ok(paths)
}

/// Makes the metadata of a thin pool whose only volume has all blocks in their order.
fn pool_metadata(extents: u64, out: &Path) -> Result<PathBuf, String> {
    let (text, metadata) = (out.with_extension("xml"), out.with_extension("metadata"));
    let blocks = extents * (EXTENT / POOL_BLOCK);
    let sectors = POOL_BLOCK / 512;
    let xml = format!(
        r#"<superblock uuid="" time="0" transaction="1" version="2" data_block_size="{sectors}" nr_data_blocks="{blocks}">
<device dev_id="1" mapped_blocks="{blocks}" transaction="0" creation_time="0" snap_time="0">
<range_mapping origin_begin="0" data_begin="0" length="{blocks}" time="0"/>
</device>
</superblock>
"#
    );
    fs::write(&text, xml).map_err(at(&text))?;
    File::create(&metadata).and_then(|file| file.set_len(EXTENT)).map_err(at(&metadata))?;
    run(tool("thin_restore").arg("-i").arg(&text).arg("-o").arg(&metadata))?;
    fs::remove_file(&text).map_err(at(&text))?;
    Ok(metadata)
}

impl Layout {
    /// Returns how many extents of each physical volume hold no data of the volume: metadata of a pool or of a mirror.
    fn more_extents(self) -> u64 {
        if self == Layout::Linear { 0 } else { 1 }
    }

    fn physical_volumes(self) -> &'static [&'static str] {
        if self == Layout::Raid1 { &PV_UUIDS } else { &PV_UUIDS[..1] }
    }

    /// Returns the volumes as the metadata names them.
    fn volumes(self, extents: u64) -> String {
        let linear = |place: &str| format!("type = \"striped\"\nstripe_count = 1\nstripes = [ {place} ]");
        match self {
            Layout::Linear => volume("root", 't', "\"VISIBLE\"", extents, &linear("\"pv0\", 0")),
            Layout::Thin => [
                volume(
                    "root",
                    't',
                    "\"VISIBLE\"",
                    extents,
                    "type = \"thin\"\nthin_pool = \"pool\"\ntransaction_id = 0\ndevice_id = 1",
                ),
                volume(
                    "pool",
                    'p',
                    "\"VISIBLE\"",
                    extents,
                    &format!(
                        "type = \"thin-pool\"\nmetadata = \"pool_tmeta\"\npool = \"pool_tdata\"\ntransaction_id = 1\n\
                         chunk_size = {}\ndiscards = \"passdown\"\nzero_new_blocks = 1",
                        POOL_BLOCK / 512
                    ),
                ),
                volume("pool_tdata", 'd', "", extents, &linear("\"pv0\", 0")),
                volume("pool_tmeta", 'm', "", 1, &linear(&format!("\"pv0\", {extents}"))),
            ]
            .concat(),
            Layout::Raid1 => {
                let images = "\"root_rmeta_0\", \"root_rimage_0\", \"root_rmeta_1\", \"root_rimage_1\"";
                let segment = format!("type = \"raid1\"\ndevice_count = 2\nregion_size = 4096\nraids = [ {images} ]");
                // Both have the same contents, as with `lvcreate --nosync` and a copy thereafter.
                let mut text = volume("root", 't', "\"VISIBLE\", \"NOTSYNCED\"", extents, &segment);
                for (number, [meta, image]) in [['a', 'b'], ['c', 'd']].into_iter().enumerate() {
                    text += &volume(&format!("root_rmeta_{number}"), meta, "", 1, &linear(&format!("\"pv{number}\", 0")));
                    text += &volume(&format!("root_rimage_{number}"), image, "", extents, &linear(&format!("\"pv{number}\", 1")));
                }
                text
            }
        }
    }
}

/// Returns one volume of one segment; `id` ends its UUID.
fn volume(name: &str, id: char, status: &str, extents: u64, segment: &str) -> String {
    let status = if status.is_empty() { String::new() } else { format!(", {status}") };
    format!(
        r#"{name} {{
id = "{LV_UUID}{id}"
status = ["READ", "WRITE"{status}]
flags = []
creation_time = 1700000000
creation_host = "boot-test"
segment_count = 1
segment1 {{
start_extent = 0
extent_count = {extents}
{segment}
}}
}}
"#
    )
}

/// Returns the first mebibyte of a physical volume of a group whose volume `root` has `extents` extents.
fn header(layout: Layout, extents: u64, number: usize) -> Vec<u8> {
    let mut out = vec![0; DATA_START as usize];
    let device_size = DATA_START + (extents + layout.more_extents()) * EXTENT;
    let text = metadata(layout, extents);

    // The label, in the second sector: header, then the physical volume with its data and metadata areas.
    let label = &mut out[SECTOR..2 * SECTOR];
    label[..8].copy_from_slice(b"LABELONE");
    label[8..16].copy_from_slice(&1_u64.to_le_bytes());
    label[20..24].copy_from_slice(&32_u32.to_le_bytes());
    label[24..32].copy_from_slice(b"LVM2 001");
    label[32..64].copy_from_slice(PV_UUIDS[number].replace('-', "").as_bytes());
    // Each list of areas ends with a pair of zeros; a data area of size 0 reaches to the end of the device.
    let areas = [device_size, DATA_START, 0, 0, 0, METADATA_START, DATA_START - METADATA_START, 0, 0];
    for (place, area) in label[64..].chunks_exact_mut(8).zip(areas) {
        place.copy_from_slice(&area.to_le_bytes());
    }
    let extension = 64 + 8 * areas.len();
    label[extension..extension + 8].copy_from_slice(&[2, 0, 0, 0, 1, 0, 0, 0]); // version 2, flag "in use"
    let sum = checksum(&label[20..]);
    label[16..20].copy_from_slice(&sum.to_le_bytes());

    // The metadata area: one sector of header that points at the text in the next one.
    let area = &mut out[METADATA_START as usize..];
    area[4..20].copy_from_slice(METADATA_MAGIC);
    area[20..24].copy_from_slice(&1_u32.to_le_bytes());
    area[24..32].copy_from_slice(&METADATA_START.to_le_bytes());
    area[32..40].copy_from_slice(&(DATA_START - METADATA_START).to_le_bytes());
    area[40..48].copy_from_slice(&(SECTOR as u64).to_le_bytes());
    area[48..56].copy_from_slice(&(text.len() as u64).to_le_bytes());
    area[56..60].copy_from_slice(&checksum(&text).to_le_bytes());
    area[SECTOR..SECTOR + text.len()].copy_from_slice(&text);
    let sum = checksum(&area[4..SECTOR]);
    area[..4].copy_from_slice(&sum.to_le_bytes());
    out
}

/// Returns the metadata text with its closing NUL, which the checksum counts.
fn metadata(layout: Layout, extents: u64) -> Vec<u8> {
    let (extent_sectors, start_sectors) = (EXTENT / 512, DATA_START / 512);
    let count = extents + layout.more_extents();
    let device_sectors = (DATA_START + count * EXTENT) / 512;
    let physical: String = layout
        .physical_volumes()
        .iter()
        .enumerate()
        .map(|(number, uuid)| {
            format!(
                r#"pv{number} {{
id = "{uuid}"
device = "/dev/vda"
status = ["ALLOCATABLE"]
flags = []
dev_size = {device_sectors}
pe_start = {start_sectors}
pe_count = {count}
}}
"#
            )
        })
        .collect();
    let volumes = layout.volumes(extents);
    format!(
        r#"vg0 {{
id = "{VG_UUID}"
seqno = 1
format = "lvm2"
status = ["RESIZEABLE", "READ", "WRITE"]
flags = []
extent_size = {extent_sectors}
max_lv = 0
max_pv = 0
metadata_copies = 0
physical_volumes {{
{physical}}}
logical_volumes {{
{volumes}}}
}}
contents = "Text Format Volume Group"
version = 1
description = ""
creation_host = "boot-test"
creation_time = 1700000000
"#
    )
    .into_bytes()
    .into_iter()
    .chain([0])
    .collect()
}

/// LVM's checksum: CRC-32 with a start value of its own and no final inversion.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0xf597_a6cf, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg()))
    })
}
