//! `/etc/ld.so.cache` and the links by which libraries are found, as ldconfig(8) makes them.
//!
//! For distributions whose loader does not know all directories of libraries by itself. Debian's does: nothing changes there.

use std::collections::{BTreeMap, BTreeSet};

use super::{Context, Error, Notes};
use crate::base::glob;
use crate::format::{elf, ldcache};
use crate::tree::{Entry, Kind, Tree, TreePath};

/// Directories that ldconfig knows by itself, after those of the configuration. The first two are Debian's, by tuple.
const BUILT_IN: &[&str] = &["lib64", "usr/lib64", "lib", "usr/lib"];
/// Files that include each other in a circle end here.
const CONF_FILES_MAX: usize = 256;

/// A library in one directory.
struct Found {
    file: Vec<u8>,
    soname: Vec<u8>,
    flags: u32,
    is_link: bool,
}

pub(super) fn run(tree: &mut Tree, _: &Context<'_>, notes: &mut Notes) -> Result<(), Error> {
    let mut libraries = Vec::new();
    let mut big_endian = false;
    let mut seen = BTreeSet::new();
    for directory in directories(tree) {
        let Some(real) = tree.lookup(&directory).filter(|(_, entry)| matches!(entry.kind, Kind::Dir)).map(|(real, _)| real)
        else {
            continue;
        };
        if !seen.insert(real.clone()) {
            continue;
        }
        let mut places = vec![(directory.clone(), real.clone(), None)];
        let levels = TreePath::literal("glibc-hwcaps");
        for (path, _) in real.join(levels.as_bytes()).iter().flat_map(|levels| tree.children(levels)) {
            let shown = directory.join(&[levels.as_bytes(), b"/", path.name()].concat());
            places.extend(shown.ok().map(|shown| (shown, path.clone(), Some(path.name().to_vec()))));
        }
        for (shown, real, hwcaps) in places {
            let (found, big) = libraries_in(tree, &real);
            big_endian |= big;
            for library in found {
                link(tree, notes, &real, &library)?;
                let path = [b"/", shown.as_bytes(), b"/", &library.soname].concat();
                libraries.push(ldcache::Library { soname: library.soname, path, flags: library.flags, hwcaps: hwcaps.clone() });
            }
        }
    }
    if libraries.is_empty() {
        return Ok(());
    }
    notes.did(format!("found {} libraries", libraries.len()));
    let generator = concat!("mkinitrd-pkg ", env!("CARGO_PKG_VERSION"));
    let cache = ldcache::write(&libraries, generator, big_endian);
    notes.put(tree, &TreePath::literal("etc/ld.so.cache"), Entry::file(cache, notes.origin()))
}

/// Returns where libraries are looked for, as named: `/etc/ld.so.conf` with what it includes, then what is built in.
fn directories(tree: &Tree) -> Vec<TreePath> {
    let mut out = Vec::new();
    let mut files = vec![TreePath::literal("etc/ld.so.conf")];
    let mut read = 0;
    while let Some(file) = files.pop() {
        read += 1;
        let Some(content) = tree.read(&file).filter(|_| read <= CONF_FILES_MAX) else { continue };
        let mut included = Vec::new();
        for line in String::from_utf8_lossy(content.bytes()).lines() {
            let line = line.split('#').next().unwrap_or_default().trim();
            match line.strip_prefix("include").filter(|rest| rest.starts_with([' ', '\t'])) {
                Some(patterns) => {
                    included.extend(patterns.split_ascii_whitespace().flat_map(|pattern| matching(tree, &file, pattern)))
                }
                // `hwcap` lines and `dir=type` are of a glibc that no distribution has any more.
                None => {
                    out.extend(line.split([' ', '\t', ',', ':', '=']).next().filter(|dir| dir.starts_with('/')).map(String::from))
                }
            }
        }
        files.extend(included.into_iter().rev());
    }
    let mut out: Vec<TreePath> = out.iter().filter_map(|dir| TreePath::parse(dir.as_bytes()).ok()).collect();
    // Debian's ldconfig has the directory of its architecture instead of lib64.
    let library = TreePath::literal("usr/lib");
    let tuples = tree.children(&library).filter(|(path, _)| path.join(b"libc.so.6").is_ok_and(|libc| tree.get(&libc).is_some()));
    let tuples: Vec<Vec<u8>> = tuples.map(|(path, _)| path.name().to_vec()).collect();
    let multiarch = tuples.iter().flat_map(|tuple| ["lib", "usr/lib"].map(|dir| TreePath::literal(dir).join(tuple)));
    out.extend(multiarch.flatten());
    out.extend(BUILT_IN.iter().skip(if tuples.is_empty() { 0 } else { 2 }).map(|dir| TreePath::literal(dir)));
    out
}

/// Returns the files that an `include` means, in the order of their names.
fn matching(tree: &Tree, file: &TreePath, pattern: &str) -> Vec<TreePath> {
    let directory = file.parent().unwrap_or_default();
    let whole = if pattern.starts_with('/') { pattern.to_owned() } else { format!("{directory}/{pattern}") };
    let whole = whole.trim_start_matches('/').as_bytes().to_vec();
    let Some(Ok(directory)) = whole.iter().rposition(|byte| *byte == b'/').map(|at| TreePath::parse(&whole[..at])) else {
        return Vec::new();
    };
    tree.children(&directory).map(|(path, _)| path.clone()).filter(|path| glob::matches(&whole, path.as_bytes())).collect()
}

/// Returns the libraries of a directory, one for each soname, and whether they are big-endian.
fn libraries_in(tree: &Tree, directory: &TreePath) -> (Vec<Found>, bool) {
    let mut found: BTreeMap<Vec<u8>, Found> = BTreeMap::new();
    let mut big_endian = false;
    for (path, entry) in tree.children(directory) {
        let name = path.name();
        let is_library =
            (name.starts_with(b"lib") || name.starts_with(b"ld-") || name.starts_with(b"ld64.") || name.starts_with(b"ld."))
                && memchr::memmem::find(name, b".so").is_some()
                && !name.ends_with(b"-gdb.py");
        let Some((real, content)) =
            tree.lookup(path).and_then(|(real, entry)| Some((real, entry.content()?))).filter(|_| is_library)
        else {
            continue;
        };
        // A script that poses as a library (`libc.so` of the linker) or a damaged file is none.
        let Some(library) = elf::read(content.bytes()).ok().flatten() else { continue };
        let Some(flags) = ldcache::flags(library.machine, library.class64) else { continue };
        big_endian |= !library.little_endian;
        let mut soname = library.soname.unwrap_or_else(|| name.to_vec());
        // A link counts as one if it stands for the soname of its file or is the linker's `libx.so`; else it is like a file.
        let for_linker = real.name().ends_with(b".so") && soname.starts_with(real.name());
        let is_link = matches!(entry.kind, Kind::Symlink(_)) && (real.name() == soname || for_linker);
        if is_link {
            soname = name.to_vec();
        }
        let candidate = Found { file: name.to_vec(), soname: soname.clone(), flags, is_link };
        let better = |old: &Found| {
            (!candidate.is_link && old.is_link)
                || (candidate.is_link == old.is_link && ldcache::compare_names(&old.file, &candidate.file).is_lt())
        };
        if found.get(&soname).is_none_or(better) {
            found.insert(soname, candidate);
        }
    }
    (found.into_values().collect(), big_endian)
}

/// Makes the link `libx.so.1` to `libx.so.1.2.3`, unless something of that name is there.
fn link(tree: &mut Tree, notes: &mut Notes, directory: &TreePath, library: &Found) -> Result<(), Error> {
    if library.is_link || library.file == library.soname {
        return Ok(());
    }
    let Ok(path) = directory.join(&library.soname) else { return Ok(()) };
    match tree.lookup(&path) {
        // A link that leads to the same file in another way is as good, and a file is never replaced.
        Some((real, _))
            if directory.join(&library.file).is_ok_and(|file| tree.lookup(&file).is_some_and(|(same, _)| same == real)) =>
        {
            Ok(())
        }
        Some(_) if !matches!(tree.get(&path).map(|entry| &entry.kind), Some(Kind::Symlink(_))) => Ok(()),
        _ => {
            let entry = Entry { kind: Kind::Symlink(library.file.clone()), ..Entry::symlink("", notes.origin()) };
            notes.put(tree, &path, entry)
        }
    }
}
