//! `ld.so.cache`, glibc's list of libraries, in the form that every glibc since 2.2 reads and 2.32 and later write alone.
//!
//! Described in glibc's `sysdeps/generic/dl-cache.h`: a header, entries sorted so that the loader can bisect them, strings of which
//! one may be the tail of another, and extensions (who made it, and the names of `glibc-hwcaps` subdirectories).

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const HEADER_BYTES: usize = 48;
const ENTRY_BYTES: usize = 24;
const EXTENSION_MAGIC: u32 = 0xEAA4_2174;
/// Marks the hwcap field of an entry as an index into the list of subdirectories.
const HWCAP_EXTENSION: u64 = 1 << 62;
/// `FLAG_ELF_LIBC6`.
const LIBC6: u32 = 3;

/// A library that the loader can find by its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Library {
    /// The name that programs ask for.
    pub soname: Vec<u8>,
    /// Its path, from the root of the running system.
    pub path: Vec<u8>,
    /// What [`flags`] says of its kind.
    pub flags: u32,
    /// The `glibc-hwcaps` subdirectory that it is in.
    pub hwcaps: Option<Vec<u8>>,
}

/// Returns the flags of a library by its ELF machine and class: the loader passes over those of another kind.
pub fn flags(machine: u16, class64: bool) -> Option<u32> {
    let kind = match (machine, class64) {
        (3, false) => 0,
        (62, true) => 0x0300,
        (62, false) => 0x0800,
        (183, true) => 0x0a00,
        (40, false) => 0x0900,
        (21, true) => 0x0500,
        (22, true) => 0x0400,
        (243, true) => 0x1000,
        (258, true) => 0x1200,
        _ => return None,
    };
    Some(LIBC6 | kind)
}

/// Returns the cache, for a machine that is little-endian unless `big_endian`.
pub fn write(libraries: &[Library], generator: &str, big_endian: bool) -> Vec<u8> {
    let number = |value: u32| if big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
    let mut sorted: Vec<&Library> = libraries.iter().collect();
    sorted.sort_by(|a, b| compare(a, b));
    let subdirectories: BTreeSet<&[u8]> = sorted.iter().filter_map(|library| library.hwcaps.as_deref()).collect();
    let names = sorted.iter().flat_map(|library| [library.soname.as_slice(), library.path.as_slice()]);
    let (strings, offsets) = merge_tails(names.chain(subdirectories.iter().copied()).collect());
    let strings_at = HEADER_BYTES + sorted.len() * ENTRY_BYTES;
    let at = |text: &[u8]| number((strings_at + offsets[text]) as u32);
    let extension_at = (strings_at + strings.len()).next_multiple_of(4);

    let mut out = MAGIC.to_vec();
    out.extend(number(sorted.len() as u32));
    out.extend(number(strings.len() as u32));
    out.extend([if big_endian { 3 } else { 2 }, 0, 0, 0]);
    out.extend(number(extension_at as u32));
    out.resize(HEADER_BYTES, 0);
    for library in &sorted {
        let index = library.hwcaps.as_deref().and_then(|name| subdirectories.iter().position(|known| *known == name));
        let hwcap = index.map_or(0, |index| HWCAP_EXTENSION | index as u64);
        out.extend([number(library.flags), at(&library.soname), at(&library.path), [0; 4]].concat());
        out.extend(if big_endian { hwcap.to_be_bytes() } else { hwcap.to_le_bytes() });
    }
    out.extend(&strings);
    out.resize(extension_at, 0);
    let hwcaps: Vec<u8> = subdirectories.iter().flat_map(|name| at(name)).collect();
    let sections = 1 + usize::from(!hwcaps.is_empty());
    let data_at = extension_at + 8 + sections * 16;
    out.extend([number(EXTENSION_MAGIC), number(sections as u32)].concat());
    // The list of numbers comes first, so that it is aligned whatever the length of the text.
    let generator_at = data_at + hwcaps.len();
    out.extend([number(0), number(0), number(generator_at as u32), number(generator.len() as u32)].concat());
    if !hwcaps.is_empty() {
        out.extend([number(1), number(0), number(data_at as u32), number(hwcaps.len() as u32)].concat());
    }
    out.extend(hwcaps);
    out.extend(generator.as_bytes());
    out
}

/// The order of entries: names falling, then flags falling, then those with a subdirectory first.
fn compare(a: &Library, b: &Library) -> Ordering {
    compare_names(&b.soname, &a.soname)
        .then_with(|| b.flags.cmp(&a.flags))
        .then_with(|| a.hwcaps.is_none().cmp(&b.hwcaps.is_none()))
        .then_with(|| a.hwcaps.cmp(&b.hwcaps))
}

/// Compares names as the loader does, numbers by their value and above everything else.
pub fn compare_names(a: &[u8], b: &[u8]) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (Some(x), Some(y)) = (a.first(), b.first()) else { return a.len().cmp(&b.len()) };
        match (x.is_ascii_digit(), y.is_ascii_digit()) {
            (true, true) => {
                let ((m, rest_a), (n, rest_b)) = (leading_number(a), leading_number(b));
                if m != n {
                    return m.cmp(&n);
                }
                (a, b) = (rest_a, rest_b);
            }
            (true, false) => return Ordering::Greater,
            (false, true) => return Ordering::Less,
            (false, false) if x != y => return x.cmp(y),
            (false, false) => (a, b) = (&a[1..], &b[1..]),
        }
    }
}

fn leading_number(text: &[u8]) -> (u64, &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let add = |sum: u64, byte: &u8| sum.saturating_mul(10).saturating_add(u64::from(byte - b'0'));
    (text[..end].iter().fold(0, add), &text[end..])
}

/// Lays strings out one after another, each that ends another one inside it, and returns where each lies.
fn merge_tails(names: BTreeSet<&[u8]>) -> (Vec<u8>, BTreeMap<&[u8], usize>) {
    let mut sorted: Vec<&[u8]> = names.into_iter().collect();
    sorted.sort_by(|a, b| b.iter().rev().cmp(a.iter().rev()));
    let (mut out, mut offsets) = (Vec::new(), BTreeMap::new());
    let mut last: (&[u8], usize) = (b"", 0);
    for name in sorted {
        let offset = if last.0.ends_with(name) {
            last.1 + last.0.len() - name.len()
        } else {
            let offset = out.len();
            out.extend_from_slice(name);
            out.push(0);
            offset
        };
        offsets.insert(name, offset);
        last = (name, offset);
    }
    (out, offsets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_compare_by_value() {
        let table = [
            ("liba.so.9", "liba.so.10", Ordering::Less),
            ("liba.so.1", "liba.so.1.0", Ordering::Less),
            ("liba1", "libab", Ordering::Greater),
            ("liba.so", "liba.so", Ordering::Equal),
            ("liba.so.99999999999999999999999", "liba.so.1", Ordering::Greater),
        ];
        for (a, b, order) in table {
            assert_eq!(compare_names(a.as_bytes(), b.as_bytes()), order, "{a} {b}");
            assert_eq!(compare_names(b.as_bytes(), a.as_bytes()), order.reverse(), "{b} {a}");
        }
    }

    #[test]
    fn the_byte_order_is_the_machines() {
        let library = Library { soname: b"liba.so.1".to_vec(), path: b"/lib/liba.so.1".to_vec(), flags: LIBC6, hwcaps: None };
        let (little, big) = (write(std::slice::from_ref(&library), "x", false), write(&[library], "x", true));
        assert_eq!((&little[20..24], little[28]), (&[1, 0, 0, 0][..], 2));
        assert_eq!((&big[20..24], big[28]), (&[0, 0, 0, 1][..], 3));
    }
}
