//! `ls`: lists what is in an image, whoever made it, and shows its segments or its manifest.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use super::args::{Global, Ls};
use super::diagnose::one_line;
use super::{At, Failure, UsageError, check, print, sizes};
use crate::base::fs;
use crate::base::limit;
use crate::base::size::Size;
use crate::image::{self, Found, FoundEntry};
use crate::tree::Kind;

/// Runs the command.
pub fn run(args: &Ls, global: &Global) -> Result<(), Failure> {
    let found = read(&args.image)?;
    if args.manifest {
        return manifest(&found, &args.image);
    }
    if args.by_package {
        return by_package(found, &args.image, global);
    }
    match (args.segments, global.json) {
        (true, true) => print(&format!("{:#}\n", segments_json(&found))),
        (true, false) => print(&segments_text(&found)),
        (false, true) => print(&format!("{:#}\n", entries_json(&found))),
        (false, false) => print(&entries_text(&found, args.long)),
    }
}

/// Reads an image file.
pub fn read(path: &Path) -> Result<Found, Failure> {
    let bytes = fs::read(path, limit::PACKAGE_BYTES_MAX)?;
    image::read(bytes).map_err(|error| At { error, place: path.display().to_string() }.into())
}

fn manifest(found: &Found, path: &Path) -> Result<(), Failure> {
    match found.manifest() {
        Some(content) => print(&String::from_utf8_lossy(content.bytes())),
        None => Err(not_ours(path).into()),
    }
}

/// Says that an image has no manifest.
pub fn not_ours(path: &Path) -> UsageError {
    let what = format!("`{}` has no manifest: another tool made it", path.display());
    UsageError::Wrong { what, hint: "list it with `mkinitrd-pkg ls`".to_owned() }
}

fn by_package(found: Found, path: &Path, global: &Global) -> Result<(), Failure> {
    let opened = check::open(found, path)?;
    let shares = sizes::shares(&opened, opened.manifest.as_ref().ok_or_else(|| not_ours(path))?);
    print(&match global.json {
        true => format!("{:#}\n", sizes::as_json(&shares)),
        false => sizes::as_text(&shares),
    })
}

fn segments_text(found: &Found) -> String {
    let mut out = String::from("segment      offset        size    unpacked  entries  compression\n");
    for (number, segment) in found.segments.iter().enumerate() {
        let (size, unpacked) = (Size(segment.size_bytes).to_string(), Size(segment.unpacked_bytes).to_string());
        let _ = writeln!(
            out,
            "{:<7} {:>11} {size:>11} {unpacked:>11} {:>8}  {}{}",
            number + 1,
            segment.offset_bytes,
            segment.entries.len(),
            segment.format,
            if segment.is_early() { "  early: microcode" } else { "" }
        ); // writing to a String cannot fail
    }
    if !found.sections.is_empty() {
        out.push_str("\nsection      offset        size\n");
    }
    for section in &found.sections {
        let content = section.content();
        let (size, name) = (Size(content.len() as u64).to_string(), one_line(&section.name));
        let _ = writeln!(out, "{name:<8} {:>10} {size:>11}", content.start); // writing to a String cannot fail
    }
    out
}

fn segments_json(found: &Found) -> serde_json::Value {
    let segments: Vec<_> = found
        .segments
        .iter()
        .map(|segment| {
            serde_json::json!({
                "offset": segment.offset_bytes,
                "size": segment.size_bytes,
                "unpacked": segment.unpacked_bytes,
                "entries": segment.entries.len(),
                "compression": segment.format.name(),
                "early": segment.is_early(),
            })
        })
        .collect();
    let sections = found.sections.iter().map(|section| {
        let content = section.content();
        serde_json::json!({ "name": section.name, "offset": content.start, "size": content.len() })
    });
    serde_json::json!({ "schema": 1, "segments": segments, "sections": sections.collect::<Vec<_>>() })
}

/// The entries as they are after unpacking: by name, the last of each.
fn merged(found: &Found) -> BTreeMap<&[u8], (usize, &FoundEntry)> {
    found
        .list()
        .map(|(segment, entry)| (entry.name.strip_prefix(b"./").unwrap_or(&entry.name), (segment, entry)))
        .filter(|(name, _)| *name != b"." && !name.is_empty())
        .collect()
}

fn entries_text(found: &Found, long: bool) -> String {
    let mut out = String::new();
    for (name, (_, entry)) in merged(found) {
        let name = one_line(&String::from_utf8_lossy(name));
        if long {
            let (kind, rest) = match &entry.kind {
                Kind::Dir => ('d', String::new()),
                Kind::File(_) => ('-', String::new()),
                Kind::Symlink(target) => ('l', format!(" -> {}", one_line(&String::from_utf8_lossy(target)))),
                Kind::Device { block, .. } => (if *block { 'b' } else { 'c' }, String::new()),
                Kind::Fifo => ('p', String::new()),
            };
            let owner = format!("{}:{}", entry.meta.uid, entry.meta.gid);
            let size = match entry.kind {
                Kind::Device { major, minor, .. } => format!("{major},{minor}"),
                _ => entry.size_bytes.to_string(),
            };
            let _ = writeln!(out, "{kind}{:04o} {owner:>9} {size:>10} {name}{rest}", entry.meta.mode); // cannot fail
        } else {
            let _ = writeln!(out, "{name}"); // cannot fail
        }
    }
    out
}

fn entries_json(found: &Found) -> serde_json::Value {
    let entries: Vec<_> = merged(found)
        .into_iter()
        .map(|(name, (segment, entry))| {
            let (kind, target) = match &entry.kind {
                Kind::Dir => ("dir", None),
                Kind::File(_) => ("file", None),
                Kind::Symlink(target) => ("symlink", Some(String::from_utf8_lossy(target))),
                Kind::Device { block: true, .. } => ("block", None),
                Kind::Device { .. } => ("char", None),
                Kind::Fifo => ("fifo", None),
            };
            serde_json::json!({
                "path": String::from_utf8_lossy(name),
                "type": kind,
                "mode": format!("{:04o}", entry.meta.mode),
                "uid": entry.meta.uid,
                "gid": entry.meta.gid,
                "size": entry.size_bytes,
                "mtime": entry.meta.mtime_s,
                "target": target,
                "segment": segment + 1,
            })
        })
        .collect();
    serde_json::json!({ "schema": 1, "entries": entries })
}
