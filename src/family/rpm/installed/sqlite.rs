//! Reads one table of an SQLite database, with what its write-ahead log has of it; nothing is ever written.
//!
//! Format: <https://www.sqlite.org/fileformat2.html>. rpm's database has a table `Packages` of numbers and blobs; its other tables are
//! indexes that hold nothing of their own. Both files are in memory already, so that nothing changes while they are read.

use std::cell::Cell;
use std::collections::HashMap;

/// What the file begins with.
const MAGIC: &[u8] = b"SQLite format 3\0";
/// The log, with checksums over big or little words.
const LOG_MAGIC: [u32; 2] = [0x377f_0682, 0x377f_0683];
const LOG_VERSION: u32 = 3_007_000;
const LOG_HEAD_BYTES: usize = 32;
const FRAME_HEAD_BYTES: usize = 24;
/// Pages below one another: a tree of 2^31 rows is 20 deep.
const DEPTH_MAX: u32 = 40;
/// A blob: rpm allows headers of 256 MB.
const BLOB_BYTES_MAX: u64 = 256 << 20;

/// Something that is no such file. Holds what is wrong.
pub type Flaw = &'static str;

/// A database.
pub struct Sqlite<'a> {
    file: &'a [u8],
    page_bytes: usize,
    /// Bytes of a page that count.
    usable_bytes: usize,
    /// The newest content of pages that the log has.
    logged: HashMap<u32, &'a [u8]>,
    /// Pages that may still be read: no page belongs to two places, so that there are at most as many as the files have.
    budget: Cell<usize>,
}

impl<'a> Sqlite<'a> {
    /// Takes the file and its log, which is empty if there is none.
    pub fn new(file: &'a [u8], log: &'a [u8]) -> Result<Self, Flaw> {
        if !file.starts_with(MAGIC) || file.len() < 100 {
            return Err("it does not begin as an SQLite database does");
        }
        let page_bytes = match u16::from_be_bytes([file[16], file[17]]) {
            1 => 65_536,
            bytes => usize::from(bytes),
        };
        if !page_bytes.is_power_of_two() || page_bytes < 512 {
            return Err("its pages have a size that they cannot have");
        }
        let usable_bytes = page_bytes.saturating_sub(usize::from(file[20]));
        if usable_bytes < 480 {
            return Err("its pages have no room");
        }
        let logged = logged(log, page_bytes);
        let budget = Cell::new(file.len() / page_bytes + logged.len());
        Ok(Self { file, page_bytes, usable_bytes, logged, budget })
    }

    /// Returns the blobs of a table whose second column holds them, in order of their numbers.
    pub fn blobs(&self, table: &str) -> Result<Vec<Vec<u8>>, Flaw> {
        let mut root = None;
        self.budget.set(self.file.len() / self.page_bytes + self.logged.len());
        self.walk(1, 0, &mut |payload| {
            let record = Record::read(payload)?;
            // type, name, tbl_name, rootpage, sql
            if record.get(0) == Some(b"table") && record.get(1) == Some(table.as_bytes()) {
                root = record.number(3).and_then(|number| u32::try_from(number).ok());
            }
            Ok(())
        })?;
        let root = root.ok_or("it has no table of packages")?;
        let mut blobs = Vec::new();
        self.walk(root, 0, &mut |payload| {
            blobs.push(Record::read(payload)?.get(1).ok_or("a row of the table of packages has no blob")?.to_vec());
            Ok(())
        })?;
        Ok(blobs)
    }

    fn page(&self, number: u32) -> Result<&'a [u8], Flaw> {
        let budget = self.budget.get().checked_sub(1).ok_or("its pages lead in a circle")?;
        self.budget.set(budget);
        if let Some(page) = self.logged.get(&number) {
            return Ok(page);
        }
        let at = (number as usize).checked_sub(1).and_then(|before| before.checked_mul(self.page_bytes));
        at.and_then(|at| self.file.get(at..at + self.page_bytes)).ok_or("a page lies outside of it")
    }

    /// Visits the rows below a page.
    fn walk(&self, number: u32, depth: u32, visit: &mut dyn FnMut(&[u8]) -> Result<(), Flaw>) -> Result<(), Flaw> {
        if depth > DEPTH_MAX {
            return Err("its pages lead in a circle");
        }
        let page = self.page(number)?;
        // The first page begins with the head of the file.
        let head = if number == 1 { 100 } else { 0 };
        let half = |at: usize| Some(usize::from(u16::from_be_bytes([*page.get(at)?, *page.get(at + 1)?])));
        let outside = "a cell lies outside of its page";
        let count = half(head + 3).ok_or(outside)?;
        let is_leaf = match page[head] {
            0x0d => true,
            0x05 => false,
            _ => return Err("a page is none of a table"),
        };
        let pointers = head + if is_leaf { 8 } else { 12 };
        for cell in 0..count {
            let at = half(pointers + cell * 2).ok_or(outside)?;
            let cell = page.get(at..self.usable_bytes).ok_or(outside)?;
            if is_leaf {
                visit(&self.payload(cell)?)?;
            } else {
                self.walk(word(cell, 0).ok_or(outside)?, depth + 1, visit)?;
            }
        }
        if is_leaf { Ok(()) } else { self.walk(word(page, head + 8).ok_or(outside)?, depth + 1, visit) }
    }

    /// Returns what a cell of a leaf holds, with the pages that it goes on in.
    fn payload(&self, cell: &[u8]) -> Result<Vec<u8>, Flaw> {
        let (bytes, first) = varint(cell).ok_or("a cell has no size")?;
        let (_, second) = varint(&cell[first..]).ok_or("a cell has no number")?;
        if bytes > BLOB_BYTES_MAX {
            return Err("a row is larger than any package's");
        }
        let (bytes, rest) = (bytes as usize, &cell[first + second..]);
        let here = self.local_bytes(bytes);
        let mut payload = rest.get(..here).ok_or("a row lies outside of its page")?.to_vec();
        if here == bytes {
            return Ok(payload);
        }
        let mut next = word(rest, here).ok_or("a row ends too early")?;
        while payload.len() < bytes {
            let page = self.page(next)?;
            let part = (self.usable_bytes - 4).min(bytes - payload.len());
            payload.extend_from_slice(&page[4..4 + part]);
            next = word(page, 0).unwrap_or_default();
        }
        Ok(payload)
    }

    /// Returns how much of a row lies in the leaf itself.
    fn local_bytes(&self, bytes: usize) -> usize {
        let (most, least) = (self.usable_bytes - 35, (self.usable_bytes - 12) * 32 / 255 - 23);
        if bytes <= most {
            return bytes;
        }
        let some = least + (bytes - least) % (self.usable_bytes - 4);
        if some <= most { some } else { least }
    }
}

/// The columns of a row.
struct Record<'p> {
    columns: Vec<(u64, &'p [u8])>,
}

impl<'p> Record<'p> {
    fn read(payload: &'p [u8]) -> Result<Self, Flaw> {
        let short = "a row is shorter than it says";
        let (head_bytes, mut at) = varint(payload).ok_or(short)?;
        let head_bytes = usize::try_from(head_bytes).ok().filter(|bytes| *bytes <= payload.len()).ok_or(short)?;
        let mut rest = &payload[head_bytes..];
        let mut columns = Vec::new();
        while at < head_bytes {
            let (kind, len) = varint(&payload[at..head_bytes]).ok_or(short)?;
            at += len;
            let bytes = match kind {
                0 | 8 | 9 => 0,
                1..=4 => kind,
                5 => 6,
                6 | 7 => 8,
                10 | 11 => return Err("a column has a type that does not exist"),
                kind => (kind - 12) / 2,
            };
            let bytes = usize::try_from(bytes).ok().filter(|bytes| *bytes <= rest.len()).ok_or(short)?;
            let (value, others) = rest.split_at(bytes);
            columns.push((kind, value));
            rest = others;
        }
        Ok(Self { columns })
    }

    /// Returns a column that is text or a blob.
    fn get(&self, at: usize) -> Option<&'p [u8]> {
        self.columns.get(at).filter(|(kind, _)| *kind >= 12).map(|(_, value)| *value)
    }

    fn number(&self, at: usize) -> Option<u64> {
        let (kind, value) = self.columns.get(at)?;
        match kind {
            8 => Some(0),
            9 => Some(1),
            1..=6 => Some(value.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))),
            _ => None,
        }
    }
}

/// Returns the pages of a log as of its last transaction that was finished. What comes after that, or was left over from an earlier
/// round of the log, does not count.
fn logged(log: &[u8], page_bytes: usize) -> HashMap<u32, &[u8]> {
    let mut pages = HashMap::new();
    let Some(head) = log.get(..LOG_HEAD_BYTES) else { return pages };
    let field = |bytes: &[u8], place: usize| word(bytes, place * 4).unwrap_or_default();
    let is_log = LOG_MAGIC.contains(&field(head, 0)) && field(head, 1) == LOG_VERSION && field(head, 2) as usize == page_bytes;
    let is_big = field(head, 0) == LOG_MAGIC[1];
    let mut sum = checksum((0, 0), &head[..24], is_big);
    if !is_log || sum != (field(head, 6), field(head, 7)) {
        return pages;
    }
    let mut unfinished = Vec::new();
    for frame in log[LOG_HEAD_BYTES..].chunks_exact(FRAME_HEAD_BYTES + page_bytes) {
        let (frame_head, page) = frame.split_at(FRAME_HEAD_BYTES);
        sum = checksum(checksum(sum, &frame_head[..8], is_big), page, is_big);
        let is_of_round = frame_head[8..16] == head[16..24];
        if !is_of_round || sum != (field(frame_head, 4), field(frame_head, 5)) {
            break;
        }
        unfinished.push((field(frame_head, 0), page));
        if field(frame_head, 1) != 0 {
            pages.extend(unfinished.drain(..));
        }
    }
    pages
}

fn checksum((mut a, mut b): (u32, u32), bytes: &[u8], is_big: bool) -> (u32, u32) {
    let number = |word: &[u8]| {
        let word = [word[0], word[1], word[2], word[3]];
        if is_big { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
    };
    for pair in bytes.chunks_exact(8) {
        a = a.wrapping_add(number(&pair[..4])).wrapping_add(b);
        b = b.wrapping_add(number(&pair[4..])).wrapping_add(a);
    }
    (a, b)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// Reads a number of variable length; returns it with its length.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut number = 0_u64;
    for (at, byte) in bytes.iter().take(9).enumerate() {
        if at == 8 {
            return Some((number << 8 | u64::from(*byte), 9));
        }
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((number, at + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_variable_length_are_read() {
        for (bytes, wanted) in [
            (&[0x05_u8][..], Some((5, 1))),
            (&[0x81, 0x00], Some((128, 2))),
            (&[0xff; 9], Some((u64::MAX, 9))),
            (&[0x81], None),
            (&[], None),
        ] {
            assert_eq!(varint(bytes), wanted, "{bytes:?}");
        }
    }

    #[test]
    fn d18_what_is_no_database_is_refused() {
        let mut file = MAGIC.to_vec();
        file.resize(4096, 0);
        file[16..18].copy_from_slice(&4096_u16.to_be_bytes());
        let blobs = |file: &[u8]| Sqlite::new(file, b"").and_then(|database| database.blobs("Packages"));
        assert_eq!(blobs(&file), Err("a page is none of a table"));
        file[100] = 0x0d;
        assert_eq!(blobs(&file), Err("it has no table of packages"));
        // A page whose last child is itself.
        file[100] = 0x05;
        file[108..112].copy_from_slice(&1_u32.to_be_bytes());
        assert_eq!(blobs(&file), Err("its pages lead in a circle"));
        file[103..105].copy_from_slice(&[0xff, 0xff]);
        assert!(blobs(&file).is_err());
        file[16..18].copy_from_slice(&3_u16.to_be_bytes());
        assert!(blobs(&file).is_err() && blobs(b"").is_err());
    }
}
