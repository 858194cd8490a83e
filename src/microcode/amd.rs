//! AMD's microcode: a container with a table of processors and the patches for them; containers may follow each other.
//!
//! The form is that of the kernel's `arch/x86/kernel/cpu/microcode/amd.c`.

use super::Fault;

/// `DMA\0`, read as a number.
const MAGIC: u32 = 0x0041_4d44;
const SECTION_EQUIVALENCE: u32 = 0;
const SECTION_PATCH: u32 = 1;
const ENTRY_BYTES: usize = 16;
/// The header of a patch.
const PATCH_BYTES_MIN: usize = 64;
/// The families whose patches share one file without a number in its name.
const SHARED_FAMILIES: std::ops::RangeInclusive<u32> = 0x10..=0x14;

/// Reads a file name: the families that it has patches for; nothing for another name.
pub(super) fn named(name: &str) -> Option<std::ops::RangeInclusive<u32>> {
    let rest = name.strip_prefix("microcode_amd")?.strip_suffix(".bin")?;
    if rest.is_empty() {
        return Some(SHARED_FAMILIES);
    }
    let family = u32::from_str_radix(rest.strip_prefix("_fam")?.strip_suffix('h')?, 16).ok()?;
    Some(family..=family)
}

/// Reads the containers of a file and returns the families of the processors in their tables.
pub(super) fn families(mut bytes: &[u8]) -> Result<Vec<u32>, Fault> {
    let mut families = Vec::new();
    while !bytes.is_empty() {
        bytes = container(bytes, &mut families)?;
    }
    if families.is_empty() { Err(Fault::Empty) } else { Ok(families) }
}

/// Reads one container and returns what is behind it.
fn container<'a>(bytes: &'a [u8], families: &mut Vec<u32>) -> Result<&'a [u8], Fault> {
    if word(bytes, 0)? != MAGIC || word(bytes, 4)? != SECTION_EQUIVALENCE {
        return Err(Fault::Magic);
    }
    let (table, mut rest) = section(bytes, 4)?;
    if table.is_empty() || !table.len().is_multiple_of(ENTRY_BYTES) {
        return Err(Fault::Size);
    }
    let entries = table.chunks_exact(ENTRY_BYTES).map(|entry| word(entry, 0)).collect::<Result<Vec<_>, _>>()?;
    // An entry of zeros ends the table.
    families.extend(entries.into_iter().take_while(|signature| *signature != 0).map(family));
    let mut patches = 0;
    while !rest.is_empty() && word(rest, 0)? == SECTION_PATCH {
        let (patch, behind) = section(rest, 0)?;
        if patch.len() < PATCH_BYTES_MIN {
            return Err(Fault::Size);
        }
        (rest, patches) = (behind, patches + 1);
    }
    if patches == 0 { Err(Fault::Empty) } else { Ok(rest) }
}

/// Splits a section (type, size, content) off.
fn section(bytes: &[u8], at: usize) -> Result<(&[u8], &[u8]), Fault> {
    let size = word(bytes, at + 4)? as usize;
    bytes[at + 8..].split_at_checked(size).ok_or(Fault::Truncated)
}

fn word(bytes: &[u8], at: usize) -> Result<u32, Fault> {
    let word = bytes.get(at..at + 4).ok_or(Fault::Truncated)?;
    Ok(u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
}

/// Returns the family in a signature, as `/proc/cpuinfo` numbers it.
fn family(signature: u32) -> u32 {
    let base = signature >> 8 & 0xf;
    if base == 0xf { base + (signature >> 20 & 0xff) } else { base }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Returns a sound container with one patch for each processor.
    pub fn container_of(signatures: &[u32]) -> Vec<u8> {
        let mut words = vec![MAGIC, SECTION_EQUIVALENCE, ((signatures.len() + 1) * ENTRY_BYTES) as u32];
        signatures.iter().for_each(|signature| words.extend([*signature, 0, 0, 0x1000]));
        words.extend([0; 4]);
        signatures.iter().for_each(|signature| {
            words.extend([SECTION_PATCH, PATCH_BYTES_MIN as u32, *signature]);
            words.extend([0; 15]);
        });
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn names_tell_families() {
        assert_eq!(named("microcode_amd.bin"), Some(0x10..=0x14));
        assert_eq!(named("microcode_amd_fam19h.bin"), Some(0x19..=0x19));
        for name in ["README", "microcode_amd_fam19h.bin.asc", "microcode_amd_famzzh.bin", "amd_sev_fam19h.sbin"] {
            assert_eq!(named(name), None, "{name}");
        }
    }

    #[test]
    fn containers_are_read_and_damaged_ones_refused() {
        let good = container_of(&[0xa2_0f12, 0xa2_0f10]);
        assert_eq!(families(&good), Ok(vec![0x19, 0x19]));
        assert_eq!(families(&[good.clone(), container_of(&[0x10_0f22])].concat()), Ok(vec![0x19, 0x19, 0x10]));
        let changed = |place: usize| {
            let mut bytes = good.clone();
            bytes[place] ^= 0x41;
            families(&bytes).expect_err("damaged")
        };
        assert_eq!((changed(0), changed(4), changed(8)), (Fault::Magic, Fault::Magic, Fault::Size));
        assert_eq!(changed(60), Fault::Empty, "no patch where one must be");
        assert_eq!(changed(67), Fault::Truncated, "a patch of a gigabyte");
        assert_eq!(families(&good[..good.len() - 1]), Err(Fault::Truncated));
        assert_eq!(families(&good[..12]), Err(Fault::Truncated));
        assert_eq!(families(&good[..60]), Err(Fault::Empty));
        assert_eq!(families(b""), Err(Fault::Empty));
    }
}
