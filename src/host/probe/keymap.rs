//! The keymap and the font that the console's configuration names, with what the keymap includes: a passphrase is typed with them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::files::Collection;
use super::root::Root;
use crate::base::limit;
use crate::format::compress::{self, Format};

/// Where distributions keep keymaps.
const KEYMAPS: [&str; 4] =
    ["/usr/share/kbd/keymaps", "/usr/share/keymaps", "/usr/lib/kbd/keymaps", "/usr/local/share/kbd/keymaps"];
/// Where distributions keep fonts of the console.
const FONTS: [&str; 3] = ["/usr/share/kbd/consolefonts", "/usr/share/consolefonts", "/usr/lib/kbd/consolefonts"];
/// What may follow the name of a keymap (kbd's `findfile`).
const ENDINGS: [&str; 4] = [".map", ".kmap", ".inc", ""];
/// What may follow the name of a font.
const FONT_ENDINGS: [&str; 4] = [".psfu", ".psf", ".fnt", ""];
/// How any of them may be compressed.
const PACKED: [&str; 5] = ["", ".gz", ".xz", ".zst", ".bz2"];
/// Maps of other machines, by the same names as those for a PC: `i386/olpc/es.map.gz`.
const ODD: [&str; 7] = ["/olpc/", "/amiga/", "/atari/", "/mac/", "/pine/", "/ppc/", "/sun/"];
/// Directories in one another below a keymap directory: `i386/include`.
const DEPTH_MAX: usize = 6;

/// Takes the keymaps and the font.
pub fn collect(collection: &mut Collection) {
    let Some(text) = collection.text("/etc/vconsole.conf").map(str::to_owned) else { return };
    let value = |name: &str| {
        let mut lines = text.lines().rev().filter_map(|line| line.trim().split_once('='));
        let value = lines.find(|(key, _)| *key == name).map(|(_, value)| value.trim().trim_matches(['"', '\'']).to_owned());
        value.filter(|value| !value.is_empty())
    };
    // `@kernel` is systemd's word for the kernel's own map.
    let maps = ["KEYMAP", "KEYMAP_TOGGLE"].into_iter().filter_map(value).filter(|name| name != "@kernel");
    let maps: Vec<String> = maps.collect();
    if !maps.is_empty() {
        let shelf = Shelf::read(collection.root(), &KEYMAPS);
        for name in maps {
            keymap(collection, &shelf, &name);
        }
    }
    if let Some(name) = value("FONT") {
        let shelf = Shelf::read(collection.root(), &FONTS);
        match shelf.find(&name, &FONT_ENDINGS, None) {
            Some(path) => drop(collection.public(&path, "the console's font will be missing")),
            None => collection.root().gap(format!("the font `{name}` of vconsole.conf is not installed: it will be missing")),
        }
    }
}

fn keymap(collection: &mut Collection, shelf: &Shelf, name: &str) {
    let Some(first) = shelf.find(name, &ENDINGS, None) else {
        let why = "the console will have the kernel's own, and a passphrase may have to be typed as on a US keyboard";
        collection.root().gap(format!("the keymap `{name}` of vconsole.conf is not installed: {why}"));
        return;
    };
    let mut todo = vec![first];
    let mut seen: BTreeSet<String> = BTreeSet::new();
    while let Some(path) = todo.pop() {
        if !seen.insert(path.clone()) || seen.len() > limit::SYMLINKS_MAX {
            continue;
        }
        let Some(bytes) = collection.public(&path, "a part of the console's keymap will be missing") else { continue };
        let Ok(text) = compress::decode::all(Format::sniff(&bytes), &bytes, limit::TEXT_BYTES_MAX) else {
            collection.root().gap(format!("the keymap `{path}` cannot be unpacked: what it includes will be missing"));
            continue;
        };
        for include in includes(&String::from_utf8_lossy(&text)) {
            match shelf.find(&include, &ENDINGS, Some(&path)) {
                Some(found) => todo.push(found),
                None => collection.root().gap(format!("the keymap `{path}` includes `{include}`, which is not installed")),
            }
        }
    }
}

/// Returns what a keymap includes: `include "linux-with-alt-and-altgr"` (keymaps(5)).
fn includes(text: &str) -> Vec<String> {
    let name = |line: &str| {
        let rest = line.trim().strip_prefix("include")?.trim_start();
        Some(rest.strip_prefix('"')?.split('"').next()?.to_owned())
    };
    text.lines().filter_map(name).collect()
}

/// Files below some directories, by name.
struct Shelf(BTreeMap<String, Vec<String>>);

impl Shelf {
    fn read(root: &Root, tops: &[&str]) -> Self {
        let mut shelf: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut todo: Vec<(String, usize)> = tops.iter().map(|top| ((*top).to_owned(), 0)).collect();
        let mut seen = 0;
        while let Some((directory, depth)) = todo.pop() {
            for name in root.names(&directory) {
                seen += 1;
                let path = format!("{directory}/{name}");
                // A link to a directory of another name would show its files twice.
                let is_link = root.link(&path).is_some();
                if !is_link && root.has_directory(&path) && depth < DEPTH_MAX && seen < limit::DEVICES_MAX {
                    todo.push((path, depth + 1));
                } else {
                    shelf.entry(name).or_default().push(path);
                }
            }
        }
        Self(shelf)
    }

    /// Returns a file by its name without endings: one that stands near `from`, else the first by path.
    fn find(&self, name: &str, endings: &[&str], from: Option<&str>) -> Option<String> {
        if name.starts_with('/') {
            return Some(name.to_owned());
        }
        let plain = name.rsplit('/').next().unwrap_or(name);
        let names = endings.iter().flat_map(|ending| PACKED.iter().map(move |packed| format!("{plain}{ending}{packed}")));
        let mut found: Vec<&String> = names.filter_map(|name| self.0.get(&name)).flatten().collect();
        if name.contains('/') {
            found.retain(|path| {
                Path::new(path).parent().is_some_and(|parent| format!("{}/{plain}", parent.display()).ends_with(name))
            });
        }
        let near = |path: &str| from.map_or(0, |from| path.bytes().zip(from.bytes()).take_while(|(a, b)| a == b).count());
        let odd = |path: &str| ODD.iter().any(|part| path.contains(part));
        found.into_iter().min_by_key(|path| (std::cmp::Reverse(near(path)), odd(path), (*path).clone())).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn includes_are_found() {
        let text = "# include \"no\"\ninclude \"linux-with-alt-and-altgr\"\n  include \"compose.latin1\" \nincludeless\n";
        assert_eq!(includes(text), ["linux-with-alt-and-altgr", "compose.latin1"]);
    }
}
