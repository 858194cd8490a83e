//! Intel's microcode: updates one behind the other, each with a header, data, and maybe a table of further processors.
//!
//! The form is in the Intel Software Developer's Manual, volume 3, 11.11 "Microcode update facilities", and in the kernel's
//! `arch/x86/kernel/cpu/microcode/intel.c`. The kernel reads updates up to the first one that is wrong and takes none behind it, so one
//! damaged file would take the microcode of other processors with it.

use super::Fault;

const HEADER_BYTES: usize = 48;
/// Of an update whose header says 0: the form of the first processors that had updates.
const DATA_BYTES_DEFAULT: u32 = 2000;
const EXTENDED_HEADER_BYTES: usize = 20;
const EXTENDED_ENTRY_BYTES: usize = 12;

/// An update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Update<'a> {
    /// The signatures of the processors that it is for, its header's first.
    pub signatures: Vec<u32>,
    /// All of it.
    pub bytes: &'a [u8],
}

/// Returns the signature (`cpuid`, leaf 1, `eax`) of a processor as `/proc/cpuinfo` numbers it.
pub(super) fn signature(family: u32, model: u32, stepping: u32) -> u32 {
    let (base, extended) = if family < 0xf { (family, 0) } else { (0xf, family - 0xf) };
    (stepping & 0xf) | (model & 0xf) << 4 | base << 8 | (model >> 4 & 0xf) << 16 | (extended & 0xff) << 20
}

/// Reads `06-8e-0a` as the signature of the processor; nothing for another name.
pub(super) fn named(name: &str) -> Option<u32> {
    let mut numbers = name.split('-').map(|digits| {
        let two = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        two.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
    });
    let (family, model, stepping) = (numbers.next()??, numbers.next()??, numbers.next()??);
    (numbers.next().is_none() && stepping <= 0xf).then(|| signature(family, model, stepping))
}

/// Reads the updates of a file.
pub(super) fn updates(mut bytes: &[u8]) -> Result<Vec<Update<'_>>, Fault> {
    let mut updates = Vec::new();
    while !bytes.is_empty() {
        let (update, rest) = first(bytes)?;
        updates.push(update);
        bytes = rest;
    }
    if updates.is_empty() { Err(Fault::Empty) } else { Ok(updates) }
}

fn first(bytes: &[u8]) -> Result<(Update<'_>, &[u8]), Fault> {
    if bytes.len() < HEADER_BYTES {
        return Err(Fault::Truncated);
    }
    let word = |index: usize| word_at(bytes, index * 4);
    let (version, loader) = (word(0), word(5));
    if version != 1 || loader != 1 {
        return Err(Fault::Magic);
    }
    let (data, total) = match (word(7), word(8)) {
        (0, _) => (DATA_BYTES_DEFAULT, DATA_BYTES_DEFAULT + HEADER_BYTES as u32),
        sizes => sizes,
    };
    let (data, total) = (data as usize, total as usize);
    let body = data.checked_add(HEADER_BYTES).filter(|body| *body <= total && total.is_multiple_of(4));
    let Some(body) = body else { return Err(Fault::Size) };
    let Some((update, rest)) = bytes.split_at_checked(total) else { return Err(Fault::Truncated) };
    // The header's sum covers header and data, not the table behind them, which has a sum of its own.
    if !body.is_multiple_of(4) || sum(&update[..body]) != 0 {
        return Err(Fault::Checksum);
    }
    let mut signatures = vec![word(3)];
    if total > body {
        signatures.extend(extended(update, &update[body..])?);
    }
    Ok((Update { signatures, bytes: update }, rest))
}

/// Reads the table of further processors. Each entry's sum is that which the header would have if the entry's words stood there.
fn extended(update: &[u8], table: &[u8]) -> Result<Vec<u32>, Fault> {
    if table.len() < EXTENDED_HEADER_BYTES {
        return Err(Fault::Size);
    }
    let count = word_at(table, 0) as usize;
    let size = count.checked_mul(EXTENDED_ENTRY_BYTES).and_then(|size| size.checked_add(EXTENDED_HEADER_BYTES));
    if size != Some(table.len()) {
        return Err(Fault::Size);
    }
    if sum(table) != 0 {
        return Err(Fault::Checksum);
    }
    let words = |bytes: &[u8], at: [usize; 3]| at.iter().fold(0_u32, |sum, at| sum.wrapping_add(word_at(bytes, *at)));
    let own = words(update, [12, 16, 24]);
    let entries = table[EXTENDED_HEADER_BYTES..].chunks_exact(EXTENDED_ENTRY_BYTES);
    entries.map(|entry| (words(entry, [0, 4, 8]) == own).then(|| word_at(entry, 0)).ok_or(Fault::Checksum)).collect()
}

fn word_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks_exact(4).fold(0, |sum, word| sum.wrapping_add(word_at(word, 0)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Returns a sound update of the smallest size for a processor, and for others by its table.
    pub fn update(signature: u32, others: &[u32]) -> Vec<u8> {
        let table = if others.is_empty() { 0 } else { EXTENDED_HEADER_BYTES + EXTENDED_ENTRY_BYTES * others.len() };
        let mut words = vec![1, 0x42, 0x0101_2025, signature, 0, 1, 1, 16, (64 + table) as u32, 0, 0, 0, 7, 8, 9, 10];
        words[4] = 0_u32.wrapping_sub(words.iter().fold(0, |sum: u32, word| sum.wrapping_add(*word)));
        if !others.is_empty() {
            let start = words.len();
            words.extend([others.len() as u32, 0, 0, 0, 0]);
            let own = words[3].wrapping_add(words[4]).wrapping_add(words[6]);
            others.iter().for_each(|other| words.extend([*other, 1, own.wrapping_sub(*other).wrapping_sub(1)]));
            words[start + 1] = 0_u32.wrapping_sub(words[start..].iter().fold(0, |sum: u32, word| sum.wrapping_add(*word)));
        }
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn signatures_are_those_of_the_processors() {
        // Numbers of /proc/cpuinfo beside what `cpuid` says.
        for ((family, model, stepping), wanted) in
            [((6, 0x8e, 0xa), 0x806ea), ((0xf, 4, 3), 0xf43), ((6, 0xf, 2), 0x6f2), ((0x19, 0x21, 2), 0xa2_0f12)]
        {
            assert_eq!(signature(family, model, stepping), wanted);
        }
        assert_eq!(named("06-8e-0a"), Some(0x806ea));
        for name in ["06-8e", "06-8e-0a-1", "6-8e-0a", "06-8e-1a", "README", "06-8e-0g", ""] {
            assert_eq!(named(name), None, "{name}");
        }
    }

    #[test]
    fn updates_are_read_and_damaged_ones_refused() {
        let (one, two) = (update(0x806ea, &[]), update(0x806f8, &[0x806f7, 0x806f6]));
        let both = [one.clone(), two.clone()].concat();
        let read = updates(&both).expect("two updates");
        let signatures: Vec<_> = read.iter().map(|update| update.signatures.clone()).collect();
        assert_eq!(signatures, [vec![0x806ea], vec![0x806f8, 0x806f7, 0x806f6]]);
        assert_eq!(read[1].bytes, two);

        let changed = |place: usize, value: u8| {
            let mut bytes = two.clone();
            bytes[place] ^= value;
            updates(&bytes).expect_err("damaged")
        };
        assert_eq!(changed(0, 1), Fault::Magic);
        assert_eq!(changed(50, 1), Fault::Checksum, "data");
        assert_eq!(changed(90, 1), Fault::Checksum, "table");
        assert_eq!(changed(64, 1), Fault::Size, "one processor more than there is room for");
        assert_eq!(changed(35, 0x80), Fault::Truncated, "two gigabytes");
        assert_eq!(updates(&one[..60]), Err(Fault::Truncated));
        assert_eq!(updates(&[both.clone(), vec![0; 7]].concat()), Err(Fault::Truncated));
        assert_eq!(updates(b""), Err(Fault::Empty));
    }
}
