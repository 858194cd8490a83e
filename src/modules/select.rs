//! Patterns of a profile or the user: which modules are wanted. The last pattern that matches a module decides.
//!
//! `nvme` is a name, `/drivers/ata/` everything below a directory of `kernel/` (or of the version's directory), `crypto/` the same at any
//! depth, `/fs/ext4/ext4` and `ext4/ext4` a path; `*`, `?`, `[…]` and `{a,b}` are globs, `-` and `_` the same; a leading `-` excludes.

use super::Error;
use super::catalog::Catalog;
use crate::base::glob::Glob;
use crate::config::Item;

/// What the patterns chose.
#[derive(Debug, Default)]
pub struct Selection {
    /// For each candidate the number of the pattern that wants it.
    pub wanted: Vec<Option<usize>>,
    /// For each candidate the number of the pattern that excludes it.
    pub excluded: Vec<Option<usize>>,
    /// Numbers of the patterns that match neither a file nor a built-in module.
    pub unmatched: Vec<usize>,
}

/// A pattern, read.
struct Pattern {
    excludes: bool,
    /// Tried in order on normalised paths without `.ko`: the first that matches anything is meant.
    globs: Vec<Glob>,
    /// Matches the name only.
    name_only: bool,
    /// A name without glob characters, which must exist.
    literal: bool,
}

/// Applies patterns to the modules of a kernel. A name on the command line that does not exist is an error.
pub fn select(catalog: &Catalog, patterns: &[Item]) -> Result<Selection, Error> {
    let stems: Vec<String> = catalog.candidates.iter().map(|one| stem(&one.relative)).collect();
    let builtin: Vec<String> = catalog.builtin.values().map(|path| stem(path)).collect();
    let count = stems.len();
    let mut selection = Selection { wanted: vec![None; count], excluded: vec![None; count], unmatched: Vec::new() };
    for (number, item) in patterns.iter().enumerate() {
        let pattern = Pattern::parse(item)?;
        let mut matched = false;
        for glob in &pattern.globs {
            for (candidate, _) in stems.iter().enumerate().filter(|(_, stem)| pattern.matches(glob, stem)) {
                matched = true;
                let (chosen, other) = match pattern.excludes {
                    true => (&mut selection.excluded, &mut selection.wanted),
                    false => (&mut selection.wanted, &mut selection.excluded),
                };
                chosen[candidate] = Some(number);
                other[candidate] = None;
            }
            matched = matched || builtin.iter().any(|stem| pattern.matches(glob, stem));
            if matched {
                break;
            }
        }
        if !matched {
            let typed = item.source == Item::from_command_line("").source;
            if typed && pattern.literal && !pattern.excludes {
                return Err(Error::UnknownModule { name: item.text.clone(), similar: similar(catalog, &item.text) });
            }
            selection.unmatched.push(number);
        }
    }
    Ok(selection)
}

impl Pattern {
    fn parse(item: &Item) -> Result<Self, Error> {
        let (excludes, text) = match item.text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, item.text.as_str()),
        };
        let text = normalized(text);
        let literal = !text.contains(['*', '?', '[', '{', '\\', '/']);
        let body = text.strip_prefix('/').unwrap_or(&text);
        let body = body.strip_suffix('/').map_or_else(|| body.to_owned(), |dir| format!("{dir}/**"));
        let globs = match (text.starts_with('/'), text.contains('/')) {
            (true, _) => vec![format!("kernel/{body}"), body],
            (false, true) => vec![format!("**/{body}")],
            (false, false) => vec![body],
        };
        let globs: Result<Vec<Glob>, _> = globs.iter().map(|glob| Glob::new(glob)).collect();
        let globs = globs.map_err(|source| Error::BadPattern { source, place: item.source.to_string() })?;
        Ok(Self { excludes, globs, name_only: !text.contains('/'), literal })
    }

    fn matches(&self, glob: &Glob, stem: &str) -> bool {
        let subject = if self.name_only { stem.rsplit('/').next().unwrap_or(stem) } else { stem };
        if self.literal { glob.as_str() == subject } else { glob.matches(subject.as_bytes()) }
    }
}

/// Returns a pattern with `-` as `_`, but not between brackets, where it makes a range.
fn normalized(pattern: &str) -> String {
    let mut in_brackets = false;
    let normal = |c: char| {
        match c {
            '[' => in_brackets = true,
            ']' => in_brackets = false,
            '-' if !in_brackets => return '_',
            _ => {}
        }
        c
    };
    pattern.chars().map(normal).collect()
}

/// Returns a module's path without extension, normalised.
fn stem(path: &str) -> String {
    let (dir, file) = path.rsplit_once('/').unwrap_or(("", path));
    let file = file.split('.').next().unwrap_or(file);
    if dir.is_empty() { file.replace('-', "_") } else { format!("{dir}/{file}").replace('-', "_") }
}

/// Returns at most three names of modules that a mistyped name may mean.
fn similar(catalog: &Catalog, name: &str) -> Vec<String> {
    let name = normalized(name);
    let allowed = 1 + name.len() / 4;
    let names = catalog.by_name.keys().chain(catalog.builtin.keys());
    let mut near: Vec<(usize, &String)> = names
        .filter(|other| other.len().abs_diff(name.len()) <= allowed)
        .map(|other| (distance(name.as_bytes(), other.as_bytes()), other))
        .filter(|(distance, _)| *distance <= allowed)
        .collect();
    near.sort();
    near.into_iter().take(3).map(|(_, name)| name.clone()).collect()
}

/// Returns how many letters must be changed, added, taken out or swapped with their neighbour.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = changed.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::super::catalog::Candidate;
    use super::*;
    use crate::tree::{Content, Meta, TreePath};

    fn catalog() -> Catalog {
        let mut catalog = Catalog::default();
        for relative in [
            "kernel/arch/x86/crypto/aesni-intel.ko.xz",
            "kernel/crypto/xts.ko.xz",
            "kernel/drivers/ata/ahci.ko.xz",
            "kernel/drivers/ata/libahci.ko.xz",
            "kernel/drivers/crypto/ccp/ccp-crypto.ko.xz",
            "kernel/drivers/md/raid0.ko.xz",
            "kernel/drivers/md/raid10.ko.xz",
            "updates/ata/extra.ko",
        ] {
            let (name, path) = (crate::format::module::name_of(relative.as_bytes()), TreePath::literal(relative));
            catalog.by_name.insert(name.clone(), catalog.candidates.len());
            let (relative, content) = (relative.to_owned(), Content::from(""));
            catalog.candidates.push(Candidate { name, path, relative, content, meta: Meta::root(0o644) });
        }
        catalog.builtin.insert("virtio_pci".into(), "kernel/drivers/virtio/virtio_pci.ko".into());
        catalog
    }

    fn chosen(patterns: &[&str]) -> (String, Vec<usize>) {
        let items: Vec<Item> = patterns.iter().map(|text| Item::from_command_line(*text)).collect();
        let catalog = catalog();
        let selection = select(&catalog, &items).expect("patterns");
        let names = catalog.candidates.iter().zip(&selection.wanted).filter(|(_, wanted)| wanted.is_some());
        (names.map(|(one, _)| one.name.as_str()).collect::<Vec<_>>().join(" "), selection.unmatched)
    }

    #[test]
    fn patterns_mean_what_the_manual_says() {
        let table: [(&[&str], &str); 16] = [
            (&["ahci"], "ahci"),
            (&["aesni_intel"], "aesni_intel"),
            (&["aesni-intel"], "aesni_intel"),
            (&["*ahci"], "ahci libahci"),
            (&["raid[0-9]*"], "raid0 raid10"),
            (&["raid[0-9]"], "raid0"),
            (&["{ahci,xts}"], "ahci xts"),
            (&["crypto/"], "aesni_intel xts ccp_crypto"),
            (&["/crypto/"], "xts"),
            (&["/drivers/ata/"], "ahci libahci"),
            (&["/updates/"], "extra"),
            (&["ata/"], "ahci libahci extra"),
            (&["ata/ahci"], "ahci"),
            (&["/drivers/*/ahci"], "ahci"),
            (&["/arch/**/crypto/"], "aesni_intel"),
            (&["crypto/", "-/drivers/crypto/", "ccp_crypto", "-xts"], "aesni_intel ccp_crypto"),
        ];
        for (patterns, expected) in table {
            let sorted = |text: &str| {
                let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
                words.sort();
                words
            };
            let (names, unmatched) = chosen(patterns);
            assert_eq!(sorted(&names), sorted(expected), "{patterns:?}");
            assert!(unmatched.is_empty(), "{patterns:?}");
        }
    }

    #[test]
    fn what_matches_nothing_is_counted_and_what_is_built_in_matches() {
        assert_eq!(chosen(&["virtio*", "/drivers/virtio/", "virtio-pci", "ata/nothing", "/ata/", "-none", "a?"]).1, [3, 4, 5, 6]);
    }

    #[test]
    fn mistyped_names_find_their_neighbours() {
        for (typed, expected) in
            [("ahic", &["ahci"][..]), ("viritio-pci", &["virtio_pci"]), ("zzz", &[]), ("raid1", &["raid0", "raid10"])]
        {
            assert_eq!(similar(&catalog(), typed), expected, "{typed}");
        }
        let err = select(&catalog(), &[Item::from_command_line("ahic")]);
        assert!(matches!(err, Err(Error::UnknownModule { name, .. }) if name == "ahic"));
    }
}
