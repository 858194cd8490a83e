//! Reads rpm's own database format, `Packages.db` (openSUSE, SLE).
//!
//! Format: `lib/backend/ndb/rpmpkg.c` of rpm: a table of slots of 16 bytes at the beginning, then blobs at multiples of 16 bytes, each with
//! a head, a tail and an Adler-32 checksum. Numbers are little-endian.

const MAGIC: u32 = u32::from_le_bytes(*b"RpmP");
const SLOT_MAGIC: u32 = u32::from_le_bytes(*b"Slot");
const HEAD_MAGIC: u32 = u32::from_le_bytes(*b"BlbS");
const TAIL_MAGIC: u32 = u32::from_le_bytes(*b"BlbE");
const PAGE_BYTES: usize = 4096;
const BLOCK_BYTES: usize = 16;
const HEAD_BYTES: usize = 16;
const TAIL_BYTES: usize = 12;
/// The head of the file takes the room of two slots.
const FIRST_SLOT: usize = 2;

/// Something that is no such file. Holds what is wrong.
pub type Flaw = &'static str;

/// Returns the blobs, in the order of the packages' numbers.
pub fn blobs(file: &[u8]) -> Result<Vec<Vec<u8>>, Flaw> {
    if word(file, 0) != Some(MAGIC) {
        return Err("it does not begin as a database of rpm does");
    }
    if word(file, 4) != Some(0) {
        return Err("it is of a version that is not known");
    }
    let pages = word(file, 12).unwrap_or_default() as usize;
    let slots = pages.checked_mul(PAGE_BYTES).and_then(|bytes| file.get(..bytes)).ok_or("its table of packages is cut off")?;
    let mut found = Vec::new();
    for slot in slots.as_chunks::<BLOCK_BYTES>().0.iter().skip(FIRST_SLOT) {
        let field = |place: usize| word(slot, place * 4).unwrap_or_default();
        if field(0) != SLOT_MAGIC {
            return Err("its table of packages is damaged");
        }
        // A slot that is free belongs to no blocks.
        if field(2) != 0 {
            found.push((field(1), field(2) as usize, field(3) as usize));
        }
    }
    found.sort_unstable();
    found.into_iter().map(|(number, block, blocks)| blob(file, number, block, blocks)).collect()
}

fn blob(file: &[u8], number: u32, block: usize, blocks: usize) -> Result<Vec<u8>, Flaw> {
    let outside = "a package lies outside of it";
    let start = block.checked_mul(BLOCK_BYTES).ok_or(outside)?;
    let end = blocks.checked_mul(BLOCK_BYTES).and_then(|bytes| start.checked_add(bytes)).ok_or(outside)?;
    let whole = file.get(start..end).filter(|whole| whole.len() >= HEAD_BYTES + TAIL_BYTES).ok_or(outside)?;
    let (rest, tail) = whole.split_at(whole.len() - TAIL_BYTES);
    let bytes = word(rest, 12).unwrap_or_default();
    if word(rest, 0) != Some(HEAD_MAGIC) || word(tail, 8) != Some(TAIL_MAGIC) || word(rest, 4) != Some(number) {
        return Err("a package in it does not stand where its table says");
    }
    if word(tail, 4) != Some(bytes) || word(tail, 0) != Some(adler32(rest)) {
        return Err("a package in it has another checksum than is recorded");
    }
    rest.get(HEAD_BYTES..).and_then(|data| data.get(..bytes as usize)).map(<[u8]>::to_vec).ok_or(outside)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

fn adler32(bytes: &[u8]) -> u32 {
    const MODULUS: u32 = 65_521;
    let (mut a, mut b) = (1_u32, 0_u32);
    // As many as can be added before 32 bits run over.
    for part in bytes.chunks(5552) {
        for byte in part {
            a += u32::from(*byte);
            b += a;
        }
        (a, b) = (a % MODULUS, b % MODULUS);
    }
    b << 16 | a
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A database of one page of slots and one package.
    fn database(data: &[u8]) -> Vec<u8> {
        let mut file = vec![0; PAGE_BYTES];
        let mut put = |at: usize, value: u32| file[at..at + 4].copy_from_slice(&value.to_le_bytes());
        put(0, MAGIC);
        put(12, 1);
        (FIRST_SLOT..PAGE_BYTES / BLOCK_BYTES).for_each(|slot| put(slot * BLOCK_BYTES, SLOT_MAGIC));
        let blocks = (HEAD_BYTES + data.len() + TAIL_BYTES).div_ceil(BLOCK_BYTES);
        for (place, value) in [1, 7, (PAGE_BYTES / BLOCK_BYTES) as u32, blocks as u32].into_iter().enumerate().skip(1) {
            put(3 * BLOCK_BYTES + place * 4, value);
        }
        let mut blob: Vec<u8> = [HEAD_MAGIC, 7, 0, data.len() as u32].iter().flat_map(|word| word.to_le_bytes()).collect();
        blob.extend_from_slice(data);
        blob.resize(blocks * BLOCK_BYTES - TAIL_BYTES, 0);
        let sum = adler32(&blob);
        blob.extend([sum, data.len() as u32, TAIL_MAGIC].iter().flat_map(|word| word.to_le_bytes()));
        [file, blob].concat()
    }

    #[test]
    fn d18_what_is_damaged_is_refused() {
        let good = database(b"some header");
        assert_eq!(blobs(&good), Ok(vec![b"some header".to_vec()]));
        for at in [0, 4, 12, 32, 3 * BLOCK_BYTES + 8, PAGE_BYTES, PAGE_BYTES + 4, PAGE_BYTES + 20, good.len() - 1] {
            let mut other = good.clone();
            other[at] ^= 0x55;
            assert!(blobs(&other).is_err(), "byte {at}");
        }
        assert!(blobs(&good[..good.len() - 16]).is_err() && blobs(b"").is_err());
    }

    #[test]
    fn the_checksum_is_zlibs() {
        assert_eq!((adler32(b""), adler32(b"Wikipedia")), (1, 0x11e6_0398));
    }
}
