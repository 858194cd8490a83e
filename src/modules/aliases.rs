//! Which modules answer a request: the aliases of all modules of a kernel, matched as kmod matches them.
//!
//! An installed kernel has them in `modules.alias`, which depmod wrote; that is believed for the modules that `modules.dep` of the same
//! depmod names. Everything else is read out of the modules themselves.

use std::collections::{BTreeMap, BTreeSet};

use super::catalog::{Candidate, Catalog};
use super::depmod::normalized_alias;
use super::{Error, read};
use crate::format::modindex;
use crate::format::module::normalized;

/// The aliases of a kernel's modules and of what is in its image.
#[derive(Debug, Default)]
pub struct Aliases {
    /// By the text before the first wildcard: the pattern, and the candidate.
    patterns: BTreeMap<Vec<u8>, Vec<(Vec<u8>, usize)>>,
    /// The same for what is built in.
    builtin: BTreeMap<Vec<u8>, Vec<Vec<u8>>>,
}

/// What a request is answered by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// These candidates; at least one.
    Modules(Vec<usize>),
    /// It is in the kernel's image.
    BuiltIn,
    /// Nothing.
    Nothing,
}

impl Aliases {
    /// Reads the aliases of all modules.
    pub fn read(catalog: &Catalog, reader: &read::Reader<'_>) -> Result<Self, Error> {
        let mut aliases = Self::default();
        for (alias, _) in &catalog.builtin_info.aliases {
            if let Some(pattern) = normalized_alias(alias) {
                let pattern = pattern.into_bytes();
                aliases.builtin.entry(literal(&pattern).to_vec()).or_default().push(pattern);
            }
        }
        let indexed = aliases.take_index(catalog);
        let rest: Vec<usize> = (0..catalog.candidates.len()).filter(|number| !indexed.contains(number)).collect();
        let candidates: Vec<&Candidate> = rest.iter().map(|number| &catalog.candidates[*number]).collect();
        // A module that cannot be read answers nothing; if it is wanted otherwise, that it is damaged is told then.
        for (number, info) in rest.iter().zip(reader.try_infos(&candidates)) {
            for alias in info.iter().flat_map(|info| &info.aliases) {
                aliases.add(alias, *number);
            }
        }
        Ok(aliases)
    }

    /// Takes what depmod has written, and returns the candidates of which it knew.
    fn take_index(&mut self, catalog: &Catalog) -> BTreeSet<usize> {
        let by_path: BTreeMap<&str, usize> =
            catalog.candidates.iter().enumerate().map(|(number, one)| (one.relative.as_str(), number)).collect();
        let dep = catalog.index("modules.dep").and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default();
        let known: BTreeSet<usize> = dep.lines().filter_map(|line| by_path.get(line.split_once(':')?.0)).copied().collect();
        let pairs: Vec<(String, String)> = match (catalog.index("modules.alias"), catalog.index("modules.alias.bin")) {
            (Some(text), _) => {
                let lines = String::from_utf8_lossy(text);
                let words = lines.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
                let pair = |words: Vec<&str>| match words.as_slice() {
                    ["alias", alias, module] => Some(((*alias).to_owned(), (*module).to_owned())),
                    _ => None,
                };
                words.filter_map(pair).collect()
            }
            (None, Some(bytes)) => {
                // A damaged index is as good as none: the modules are read.
                let Ok(found) = modindex::read(bytes) else { return BTreeSet::new() };
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let pairs = found.iter().flat_map(|(key, values)| values.iter().map(|(_, value)| (text(key), text(value))));
                pairs.collect()
            }
            (None, None) => return BTreeSet::new(),
        };
        for (alias, module) in pairs {
            if let Some(number) = catalog.find(&module).filter(|number| known.contains(number)) {
                self.add(&alias, number);
            }
        }
        known
    }

    fn add(&mut self, alias: &str, number: usize) {
        if let Some(pattern) = normalized_alias(alias) {
            let pattern = pattern.into_bytes();
            self.patterns.entry(literal(&pattern).to_vec()).or_default().push((pattern, number));
        }
    }

    /// Returns what answers a request: as `modprobe`, a name first, then aliases.
    pub fn answer(&self, catalog: &Catalog, request: &str) -> Answer {
        if let Some(number) = catalog.find(request) {
            return Answer::Modules(vec![number]);
        }
        // A device's text may hold brackets, which kmod then looks up as they are.
        let text = normalized_alias(request).unwrap_or_else(|| request.to_owned()).into_bytes();
        let starts = || (0..=text.len()).map(|end| &text[..end]);
        let found = starts().filter_map(|start| self.patterns.get(start)).flatten();
        let numbers: BTreeSet<usize> = found.filter(|(pattern, _)| fnmatch(pattern, &text)).map(|(_, number)| *number).collect();
        if !numbers.is_empty() {
            return Answer::Modules(numbers.into_iter().collect());
        }
        let builtin = || starts().filter_map(|start| self.builtin.get(start)).flatten().any(|pattern| fnmatch(pattern, &text));
        match catalog.is_builtin(&normalized(request)) || builtin() {
            true => Answer::BuiltIn,
            false => Answer::Nothing,
        }
    }
}

/// Returns what stands before the first wildcard.
fn literal(pattern: &[u8]) -> &[u8] {
    let end = pattern.iter().position(|byte| b"*?[\\".contains(byte)).unwrap_or(pattern.len());
    &pattern[..end]
}

/// fnmatch(3) without flags: `*` and `?` match any byte, `[…]` a set, `\` takes the next byte as it is.
pub fn fnmatch(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on when what follows the last star does not fit.
    let mut star: Option<(usize, usize)> = None;
    loop {
        if p == pattern.len() && t == text.len() {
            return true;
        }
        if pattern.get(p) == Some(&b'*') {
            star = Some((p + 1, t));
            p += 1;
            continue;
        }
        if let (true, Some(byte)) = (p < pattern.len(), text.get(t))
            && let Some(head) = head_matches(&pattern[p..], *byte)
        {
            (p, t) = (p + head, t + 1);
            continue;
        }
        match star {
            Some((behind, at)) if at < text.len() => {
                star = Some((behind, at + 1));
                (p, t) = (behind, at + 1);
            }
            _ => return false,
        }
    }
}

/// Matches one byte against the head of a pattern; returns how long the head is.
fn head_matches(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'\\', next, ..] => (*next == byte).then_some(2),
        [b'[', rest @ ..] => {
            let negated = matches!(rest.first(), Some(b'!' | b'^'));
            let start = usize::from(negated);
            // A bracket right at the start is a member of the set.
            let Some(end) = rest.iter().skip(start + 1).position(|c| *c == b']').map(|at| at + start + 1) else {
                return (byte == b'[').then_some(1);
            };
            let (set, mut at, mut within) = (&rest[start..end], 0, false);
            while at < set.len() {
                match set[at..] {
                    [low, b'-', high, ..] => {
                        within |= (low..=high).contains(&byte);
                        at += 3;
                    }
                    _ => {
                        within |= set[at] == byte;
                        at += 1;
                    }
                }
            }
            (within != negated).then_some(end + 2)
        }
        [literal, ..] => (*literal == byte).then_some(1),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_match_as_fnmatch_does() {
        for (pattern, text, expected) in [
            ("pci:v00008086d*sv*sd*bc*sc*i*", "pci:v00008086d0000A0EFsv00008086sd00007270bc0Csc05i00", true),
            ("pci:v*d*sv*sd*bc01sc08i02*", "pci:v0000144Dd0000A808sv0000144Dsd0000A801bc01sc08i02", true),
            ("pci:v*d*sv*sd*bc01sc08i02*", "pci:v0000144Dd0000A808sv0000144Dsd0000A801bc01sc06i01", false),
            ("usb:v05ACp0[2-4]2?d*dc*dsc*dp*ic*isc*ip*in*", "usb:v05ACp0324d0100dc00dsc00dp00ic03isc01ip01in00", true),
            ("usb:v05ACp0[2-4]2?d*dc*dsc*dp*ic*isc*ip*in*", "usb:v05ACp0524d0100dc00dsc00dp00ic03isc01ip01in00", false),
            ("usb:v046DpC09[!0-4]*", "usb:v046DpC095d", true),
            ("usb:v046DpC09[!0-4]*", "usb:v046DpC093d", false),
            ("of:N*T*Cbrcm,bcm2835_sdhciC*", "of:NmmcT(null)Cbrcm,bcm2835_sdhciC", true),
            ("of:N*T*Cbrcm,bcm2711_emmc2", "of:Nmmc@7e340000T(null)Cbrcm,bcm2711_emmc2", true),
            ("dmi*:svnDell*:pnXPS/13*", "dmi:bvnDell:svnDellInc.:pnXPS/13 9310:", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("*", "", true),
            ("", "x", false),
            ("[]a]x", "]x", true),
            ("[a", "[a", true),
        ] {
            assert_eq!(fnmatch(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }
}
