//! Writes LVM2 metadata: one physical volume, one group `vg0`, one linear volume `root`, without device mapper or loop device.
//!
//! Layout: `lib/format_text/layout.h` and `lib/label/label.h` of LVM2. `pvck --dump headers FILE` reads it back.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::command::at;
use crate::esp::copy_sparse;

/// Where the first extent begins.
const DATA_START: u64 = 1 << 20;
/// The size of an extent.
const EXTENT: u64 = 4 << 20;

const SECTOR: usize = 512;
const METADATA_START: u64 = 4096;
const METADATA_MAGIC: &[u8; 16] = b" LVM2 x[5A%r0N*>";
const PV_UUID: &str = "mkinit-rdpk-boot-test-phys-ical-volume";
const VG_UUID: &str = "mkinit-rdpk-boot-test-volu-megr-oupzer";
const LV_UUID: &str = "mkinit-rdpk-boot-test-logi-calv-olroot";

/// Makes the physical volume `out` of a group out of what its volume holds.
pub fn group(inner: &Path, out: &Path) -> Result<(), String> {
    let extents = fs::metadata(inner).map_err(at(inner))?.len().div_ceil(EXTENT);
    let mut file = File::create(out).map_err(at(out))?;
    file.write_all(&header(extents)).map_err(at(out))?;
    file.set_len(DATA_START + extents * EXTENT).map_err(at(out))?;
    copy_sparse(inner, &mut file, DATA_START)
}

/// Returns the first mebibyte of a physical volume whose volume `root` has `extents` extents.
fn header(extents: u64) -> Vec<u8> {
    let mut out = vec![0; DATA_START as usize];
    let device_size = DATA_START + extents * EXTENT;
    let text = metadata(extents, device_size);

    // The label, in the second sector: header, then the physical volume with its data and metadata areas.
    let label = &mut out[SECTOR..2 * SECTOR];
    label[..8].copy_from_slice(b"LABELONE");
    label[8..16].copy_from_slice(&1_u64.to_le_bytes());
    label[20..24].copy_from_slice(&32_u32.to_le_bytes());
    label[24..32].copy_from_slice(b"LVM2 001");
    label[32..64].copy_from_slice(PV_UUID.replace('-', "").as_bytes());
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
fn metadata(extents: u64, device_size: u64) -> Vec<u8> {
    let (device_sectors, extent_sectors, start_sectors) = (device_size / 512, EXTENT / 512, DATA_START / 512);
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
pv0 {{
id = "{PV_UUID}"
device = "/dev/vda"
status = ["ALLOCATABLE"]
flags = []
dev_size = {device_sectors}
pe_start = {start_sectors}
pe_count = {extents}
}}
}}
logical_volumes {{
root {{
id = "{LV_UUID}"
status = ["READ", "WRITE", "VISIBLE"]
flags = []
creation_time = 1700000000
creation_host = "boot-test"
segment_count = 1
segment1 {{
start_extent = 0
extent_count = {extents}
type = "striped"
stripe_count = 1
stripes = [
"pv0", 0
]
}}
}}
}}
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
