//! Portable executables as UEFI loads them: sections, the signature's place, and sections added to an image that is there.
//!
//! The format is Microsoft's "PE Format"; what firmware makes of it is the UEFI specification, "UEFI Images". Nothing is
//! rearranged: what is not understood stays as it is, so that a stub's own code and its relocations hold.

use std::ops::Range;

/// The machine type of x86-64.
pub const X86_64: u16 = 0x8664;
/// The machine type of arm64.
pub const AARCH64: u16 = 0xaa64;

/// The sections that a loader takes at most (Windows; UEFI names no number).
const SECTIONS_MAX: usize = 96;
/// Alignments beyond this are no real file's.
const ALIGNMENT_BYTES_MAX: u32 = 1 << 21;
/// Memory is mapped in pages, whatever a small alignment in an old stub says.
const PAGE_BYTES: u32 = 4096;
/// Begins what belongs to one profile (the specification "Unified Kernel Image" of the UAPI group).
pub const PROFILE: &str = ".profile";
const SECTION_HEADER_BYTES: usize = 40;
const SYMBOL_BYTES: u64 = 18;
/// The directory entry of the certificate table; the only one whose address is a place in the file.
const SECURITY_DIRECTORY: usize = 4;
const NX_COMPAT: u16 = 0x0100;
const LOCAL_SYMBOLS_STRIPPED: u16 = 0x0008;
const CONTAINS_CODE: u32 = 0x0000_0020;
const CONTAINS_DATA: u32 = 0x0000_0040;
const MEMORY_READ: u32 = 0x4000_0000;

// Places in the optional header that 32 and 64 bits have in common.
const SIZE_OF_DATA: usize = 8;
const SECTION_ALIGNMENT: usize = 32;
const FILE_ALIGNMENT: usize = 36;
const SIZE_OF_IMAGE: usize = 56;
const SIZE_OF_HEADERS: usize = 60;
const CHECKSUM: usize = 64;
const DLL_CHARACTERISTICS: usize = 70;

/// The file is no portable executable, or cannot be changed as wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeError {
    /// It does not begin like one.
    #[error("it is not a PE file, which UEFI could start")]
    NotPe,
    /// Something points out of the file or has an impossible size.
    #[error("its {what} is damaged")]
    Damaged {
        /// What.
        what: String,
    },
    /// It is signed: any change would break the signature.
    #[error("it is signed, and would not be any more with other sections")]
    Signed,
    /// The header has no place for another section.
    #[error("its header has no room for the section `{section}`")]
    NoRoom {
        /// The section.
        section: String,
    },
    /// What is to replace the content of a section does not fit there.
    #[error("its section `{section}` has room for {found_bytes} bytes, wanted {wanted_bytes}")]
    SectionFull {
        /// The section.
        section: String,
        /// What is to be there.
        wanted_bytes: usize,
        /// What fits.
        found_bytes: u32,
    },
    /// Places and sizes have 32 bits.
    #[error("with the section `{section}` it would have more than 4 GiB")]
    TooLarge {
        /// The section.
        section: String,
    },
    /// A section of this name is there already.
    #[error("it has a section `{section}` already: it is no bare stub")]
    Twice {
        /// The section.
        section: String,
    },
}

fn damaged(what: impl Into<String>) -> PeError {
    PeError::Damaged { what: what.into() }
}

/// A section as its header describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// The name, at most eight bytes.
    pub name: String,
    /// Where it lies in memory, from the start of the image.
    pub virtual_address: u32,
    /// How long it is in memory.
    pub virtual_size: u32,
    /// Where it lies in the file.
    pub file_offset: u32,
    /// How long it is in the file, padding included.
    pub file_size: u32,
}

impl Section {
    /// Returns where its content lies in the file, less the padding.
    pub fn content(&self) -> Range<usize> {
        let size = if self.virtual_size == 0 { self.file_size } else { self.file_size.min(self.virtual_size) };
        self.file_offset as usize..self.file_offset as usize + size as usize
    }
}

/// A portable executable in memory, with all places checked.
#[derive(Debug, Clone)]
pub struct Pe<'a> {
    bytes: &'a [u8],
    /// Where the COFF header begins.
    coff: usize,
    /// Where the optional header begins.
    optional: usize,
    /// Where the table of sections begins.
    table: usize,
    /// Where the entry of the certificate table is, if the directory reaches so far.
    security: Option<usize>,
    sections: Vec<Section>,
}

/// Tells whether a file begins like one.
pub fn is_pe(bytes: &[u8]) -> bool {
    bytes.starts_with(b"MZ")
}

impl<'a> Pe<'a> {
    /// Reads the headers.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PeError> {
        let at = u32_at(bytes, 0x3c).filter(|_| is_pe(bytes)).ok_or(PeError::NotPe)? as usize;
        if bytes.get(at..).is_none_or(|rest| !rest.starts_with(b"PE\0\0")) {
            return Err(PeError::NotPe);
        }
        let (coff, optional) = (at + 4, at + 24);
        let header = || damaged("header");
        let count = u16_at(bytes, coff + 2).ok_or_else(header)? as usize;
        let optional_size = u16_at(bytes, coff + 16).ok_or_else(header)? as usize;
        let directories = match u16_at(bytes, optional) {
            Some(0x10b) => 96,
            Some(0x20b) => 112,
            _ => return Err(damaged("optional header")),
        };
        if optional_size < directories || bytes.len() < optional + optional_size {
            return Err(damaged("optional header"));
        }
        let entries = u32_at(bytes, optional + directories - 4).ok_or_else(header)? as usize;
        let security = directories + SECURITY_DIRECTORY * 8;
        let security = (entries > SECURITY_DIRECTORY && security + 8 <= optional_size).then_some(optional + security);
        if count == 0 || count > SECTIONS_MAX {
            return Err(damaged("number of sections"));
        }
        let mut pe = Self { bytes, coff, optional, table: optional + optional_size, security, sections: Vec::new() };
        for alignment in [pe.field(FILE_ALIGNMENT), pe.field(SECTION_ALIGNMENT)] {
            if !alignment.is_power_of_two() || alignment > ALIGNMENT_BYTES_MAX {
                return Err(damaged("alignment"));
            }
        }
        pe.sections = (0..count).map(|number| pe.read_section(number)).collect::<Result<_, _>>()?;
        let table = pe.certificate_range();
        if table.end > bytes.len() || (!table.is_empty() && table.start < pe.table) {
            return Err(damaged("certificate table"));
        }
        Ok(pe)
    }

    fn read_section(&self, number: usize) -> Result<Section, PeError> {
        let start = self.table + number * SECTION_HEADER_BYTES;
        let header = self.bytes.get(start..start + SECTION_HEADER_BYTES).ok_or_else(|| damaged("table of sections"))?;
        let end = header[..8].iter().position(|byte| *byte == 0).unwrap_or(8);
        let name = String::from_utf8_lossy(&header[..end]).into_owned();
        let field = |at: usize| u32_at(header, at).expect("invariant: the slice has 40 bytes");
        let section =
            Section { virtual_size: field(8), virtual_address: field(12), file_size: field(16), file_offset: field(20), name };
        let in_file = section.file_offset as usize + section.file_size as usize <= self.bytes.len();
        // A section without data in the file (.bss) may point anywhere.
        if (section.file_size > 0 && !in_file) || section.virtual_address.checked_add(section.virtual_size).is_none() {
            return Err(damaged(format!("section `{}`", section.name.escape_debug())));
        }
        Ok(section)
    }

    fn field(&self, at: usize) -> u32 {
        u32_at(self.bytes, self.optional + at).expect("invariant: the optional header was checked to be there")
    }

    /// Returns the machine that it is for: [`X86_64`], [`AARCH64`] or another.
    pub fn machine(&self) -> u16 {
        u16_at(self.bytes, self.coff).expect("invariant: the header was checked to be there")
    }

    /// Returns the sections in their order.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// Returns the content of the first section of this name.
    pub fn section(&self, name: &str) -> Option<&'a [u8]> {
        let section = self.sections.iter().find(|section| section.name == name)?;
        self.bytes.get(section.content())
    }

    /// Tells whether it runs where memory cannot be written to and executed at once.
    pub fn is_nx_compatible(&self) -> bool {
        let flags = u16_at(self.bytes, self.optional + DLL_CHARACTERISTICS);
        flags.expect("invariant: the optional header was checked to be there") & NX_COMPAT != 0
    }

    /// Returns the certificate table: the signatures. Empty if it is not signed.
    pub fn certificates(&self) -> &'a [u8] {
        self.bytes.get(self.certificate_range()).unwrap_or_default()
    }

    fn certificate_range(&self) -> Range<usize> {
        let Some(entry) = self.security else { return 0..0 };
        let field = |at| u32_at(self.bytes, at).expect("invariant: the directory was checked to be there") as usize;
        let (start, size) = (field(entry), field(entry + 4));
        if size == 0 { 0..0 } else { start..start + size }
    }

    /// Tells whether `signed` is this image with signatures added and nothing else changed.
    ///
    /// Signing sets the checksum and the directory's entry, appends the table, and pads to a multiple of eight before it.
    pub fn is_content_of(&self, signed: &Pe<'_>) -> bool {
        let table = signed.certificate_range();
        let (Some(entry), false) = (self.security, table.is_empty()) else { return false };
        let (ours, theirs) = (self.bytes, &signed.bytes[..table.start]);
        let padding = theirs.get(ours.len()..);
        if table.end != signed.bytes.len() || padding.is_none_or(|it| it.len() >= 8 || it.iter().any(|byte| *byte != 0)) {
            return false;
        }
        let checksum = self.optional + CHECKSUM;
        let same = |range: Range<usize>| ours[range.clone()] == theirs[range];
        same(0..checksum) && same(checksum + 4..entry) && same(entry + 8..ours.len())
    }
}

/// Adds sections to an image.
#[derive(Debug)]
pub struct Editor {
    bytes: Vec<u8>,
    coff: usize,
    optional: usize,
    table: usize,
    sections: Vec<Section>,
    own_sections: usize,
    file_alignment: u32,
    section_alignment: u32,
}

impl Editor {
    /// Opens an image for changes.
    pub fn new(image: &[u8]) -> Result<Self, PeError> {
        let pe = Pe::parse(image)?;
        if !pe.certificate_range().is_empty() {
            return Err(PeError::Signed);
        }
        let mut editor = Self {
            bytes: image.to_vec(),
            coff: pe.coff,
            optional: pe.optional,
            table: pe.table,
            own_sections: pe.sections.len(),
            file_alignment: pe.field(FILE_ALIGNMENT),
            section_alignment: pe.field(SECTION_ALIGNMENT).max(PAGE_BYTES),
            sections: pe.sections,
        };
        editor.strip_symbols();
        // The first section's data begins at a multiple of the file alignment, so nothing is between the header and there.
        let headers = editor.get(SIZE_OF_HEADERS).checked_next_multiple_of(editor.file_alignment);
        editor.set(SIZE_OF_HEADERS, headers.ok_or_else(|| damaged("size of the headers"))?);
        // The loader does not need it of an application, and what it was is no longer true.
        editor.set(CHECKSUM, 0);
        Ok(editor)
    }

    /// Removes a symbol table at the end of the file, which no image should have: sections go there.
    fn strip_symbols(&mut self) {
        let field = |at: usize| u32_at(&self.bytes, self.coff + at).unwrap_or(0);
        let (table, symbols) = (field(8), u64::from(field(12)) * SYMBOL_BYTES);
        let strings = usize::try_from(u64::from(table) + symbols).ok().and_then(|at| u32_at(&self.bytes, at)).unwrap_or(0);
        let ends_the_file = u64::from(table) + symbols + u64::from(strings) == self.bytes.len() as u64;
        let headers_end = self.table + self.sections.len() * SECTION_HEADER_BYTES;
        let ends = self.sections.iter().map(|it| it.file_offset as usize + it.file_size as usize);
        let is_behind_all = ends.chain([headers_end]).all(|end| end <= table as usize);
        if table == 0 || !ends_the_file || !is_behind_all {
            return;
        }
        self.bytes.truncate(table as usize);
        self.bytes[self.coff + 8..self.coff + 16].fill(0);
        let flags = u16_at(&self.bytes, self.coff + 18).unwrap_or(0) | LOCAL_SYMBOLS_STRIPPED;
        self.bytes[self.coff + 18..self.coff + 20].copy_from_slice(&flags.to_le_bytes());
    }

    fn get(&self, at: usize) -> u32 {
        u32_at(&self.bytes, self.optional + at).expect("invariant: the optional header was checked to be there")
    }

    fn set(&mut self, at: usize, value: u32) {
        self.bytes[self.optional + at..self.optional + at + 4].copy_from_slice(&value.to_le_bytes());
    }

    /// Puts other content into a section that is there; tells whether it is.
    pub fn replace(&mut self, name: &str, data: &[u8]) -> Result<bool, PeError> {
        let Some(number) = self.sections[..self.own_sections].iter().position(|section| section.name == name) else {
            return Ok(false);
        };
        let (at, start) = (self.sections[number].virtual_address, self.sections[number].file_offset as usize);
        let behind =
            self.sections.iter().filter(|other| other.virtual_address > at).map(|other| other.virtual_address - at).min();
        let file_size = self.sections[number].file_size;
        // In an old stub, the next section in memory may be nearer than in the file.
        let room = file_size.min(behind.unwrap_or(u32::MAX));
        let size = u32::try_from(data.len()).ok().filter(|size| *size <= room);
        let full = || PeError::SectionFull { section: name.to_owned(), wanted_bytes: data.len(), found_bytes: room };
        let size = size.ok_or_else(full)?;
        self.sections[number].virtual_size = size;
        if file_size > 0 {
            self.bytes[start..start + data.len()].copy_from_slice(data);
            self.bytes[start + data.len()..start + file_size as usize].fill(0);
        }
        let header = self.table + number * SECTION_HEADER_BYTES;
        self.bytes[header + 8..header + 12].copy_from_slice(&size.to_le_bytes());
        Ok(true)
    }

    /// Adds a section behind all others, as code or as data.
    pub fn add(&mut self, name: &str, data: &[u8], is_code: bool) -> Result<(), PeError> {
        debug_assert!(name.len() <= 8, "a name has eight bytes");
        // What is behind `.profile` belongs to one profile of a unified kernel image, and replaces a section of the same name before.
        let profile = self.sections.iter().rposition(|section| section.name == PROFILE).unwrap_or(0);
        if name != PROFILE && self.sections[profile..].iter().any(|section| section.name == name) {
            return Err(PeError::Twice { section: name.to_owned() });
        }
        let header = self.table + self.sections.len() * SECTION_HEADER_BYTES;
        let data_starts = self.sections.iter().filter(|section| section.file_size > 0).map(|section| section.file_offset).min();
        let room = (self.get(SIZE_OF_HEADERS).min(data_starts.unwrap_or(u32::MAX)) as usize).min(self.bytes.len());
        if header + SECTION_HEADER_BYTES > room || self.sections.len() >= SECTIONS_MAX {
            return Err(PeError::NoRoom { section: name.to_owned() });
        }
        let too_large = || PeError::TooLarge { section: name.to_owned() };
        let aligned = |value: u32, alignment: u32| value.checked_next_multiple_of(alignment).ok_or_else(too_large);
        let virtual_size = u32::try_from(data.len()).map_err(|_| too_large())?;
        let end = u32::try_from(self.bytes.len()).map_err(|_| too_large())?;
        let virtual_end = self.sections.iter().map(|it| u64::from(it.virtual_address) + u64::from(it.virtual_size)).max();
        let virtual_end = u32::try_from(virtual_end.unwrap_or(0)).map_err(|_| too_large())?;
        let section = Section {
            name: name.to_owned(),
            virtual_address: aligned(virtual_end, self.section_alignment)?,
            virtual_size,
            file_offset: aligned(end, self.file_alignment)?,
            file_size: aligned(virtual_size, self.file_alignment)?,
        };
        section.file_offset.checked_add(section.file_size).ok_or_else(too_large)?;
        let memory_end = section.virtual_address.checked_add(virtual_size).ok_or_else(too_large)?;
        self.set(SIZE_OF_IMAGE, aligned(memory_end, self.section_alignment)?);
        let flags = MEMORY_READ | if is_code { CONTAINS_CODE } else { CONTAINS_DATA };
        self.bytes[header..header + SECTION_HEADER_BYTES].copy_from_slice(&encode(&section, flags));
        self.bytes.reserve_exact((section.file_offset + section.file_size - end) as usize);
        self.bytes.resize(section.file_offset as usize, 0);
        self.bytes.extend_from_slice(data);
        self.bytes.resize((section.file_offset + section.file_size) as usize, 0);
        self.set(SIZE_OF_DATA, self.get(SIZE_OF_DATA).wrapping_add(virtual_size));
        self.sections.push(section);
        let count = self.sections.len() as u16; // at most SECTIONS_MAX
        self.bytes[self.coff + 2..self.coff + 4].copy_from_slice(&count.to_le_bytes());
        Ok(())
    }

    /// Says that it needs memory that can be written to and executed at once, as some of what it holds does.
    pub fn clear_nx_compatible(&mut self) {
        let at = self.optional + DLL_CHARACTERISTICS;
        let flags = u16_at(&self.bytes, at).expect("invariant: the optional header was checked to be there") & !NX_COMPAT;
        self.bytes[at..at + 2].copy_from_slice(&flags.to_le_bytes());
    }

    /// Returns the changed image.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

fn encode(section: &Section, flags: u32) -> [u8; SECTION_HEADER_BYTES] {
    let mut header = [0; SECTION_HEADER_BYTES];
    header[..section.name.len()].copy_from_slice(section.name.as_bytes());
    let fields = [section.virtual_size, section.virtual_address, section.file_size, section.file_offset];
    for (place, field) in header[8..24].chunks_exact_mut(4).zip(fields) {
        place.copy_from_slice(&field.to_le_bytes());
    }
    header[36..].copy_from_slice(&flags.to_le_bytes());
    header
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at.checked_add(2)?).map(|field| u16::from_le_bytes([field[0], field[1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at.checked_add(4)?).map(|field| u32::from_le_bytes([field[0], field[1], field[2], field[3]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The least that a loader takes: one section `.sbat` with room for 512 bytes.
    fn stub(header_bytes: usize) -> Vec<u8> {
        let mut bytes = vec![0; header_bytes + 512];
        bytes[..2].copy_from_slice(b"MZ");
        bytes[0x3c] = 0x40;
        bytes[0x40..0x44].copy_from_slice(b"PE\0\0");
        bytes[0x44..0x46].copy_from_slice(&X86_64.to_le_bytes());
        bytes[0x46] = 1;
        bytes[0x54] = 240;
        let optional = 0x58;
        let mut set = |at: usize, value: u32| bytes[optional + at..optional + at + 4].copy_from_slice(&value.to_le_bytes());
        set(0, 0x20b);
        set(SECTION_ALIGNMENT, 4096);
        set(FILE_ALIGNMENT, 512);
        set(SIZE_OF_HEADERS, header_bytes as u32);
        set(SIZE_OF_IMAGE, 0x2000);
        set(108, 16);
        let sbat = Section {
            name: ".sbat".to_owned(),
            virtual_address: 4096,
            virtual_size: 4,
            file_offset: header_bytes as u32,
            file_size: 512,
        };
        let table = optional + 240;
        bytes[table..table + SECTION_HEADER_BYTES].copy_from_slice(&encode(&sbat, CONTAINS_DATA));
        bytes[header_bytes..header_bytes + 4].copy_from_slice(b"sbat");
        bytes
    }

    fn built() -> Vec<u8> {
        let mut editor = Editor::new(&stub(1024)).expect("a stub");
        editor.add(".cmdline", b"quiet", false).expect("room");
        editor.add(".linux", &[7; 5000], true).expect("room");
        assert!(editor.replace(".sbat", b"sbat,1\n").expect("room"));
        assert!(!editor.replace(".none", b"").expect("not there"));
        editor.finish()
    }

    #[test]
    fn sections_are_added_behind_the_others_and_aligned() {
        let bytes = built();
        let pe = Pe::parse(&bytes).expect("what was written can be read");
        assert_eq!((pe.section(".cmdline"), pe.section(".sbat")), (Some(&b"quiet"[..]), Some(&b"sbat,1\n"[..])));
        assert_eq!(pe.section(".linux"), Some(&[7; 5000][..]));
        let places: Vec<_> = pe.sections().iter().map(|it| (it.virtual_address, it.file_offset, it.file_size)).collect();
        assert_eq!(places, [(0x1000, 1024, 512), (0x2000, 1536, 512), (0x3000, 2048, 5120)]);
        assert_eq!((pe.field(SIZE_OF_IMAGE), pe.field(SIZE_OF_DATA), bytes.len()), (0x5000, 5005, 7168));
        assert_eq!((pe.machine(), pe.certificates()), (X86_64, &[][..]));
        assert_eq!(bytes, built(), "the same bytes every time");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let mut editor = Editor::new(&stub(512)).expect("a stub");
        // 512 bytes end behind the fourth header.
        (0..3).for_each(|number| editor.add(&format!(".{number}"), b"x", false).expect("room"));
        assert_eq!(editor.add(".linux", b"x", true), Err(PeError::NoRoom { section: ".linux".to_owned() }));
        let mut editor = Editor::new(&stub(1024)).expect("a stub");
        assert_eq!(editor.add(".sbat", b"", false), Err(PeError::Twice { section: ".sbat".to_owned() }));
        let full = PeError::SectionFull { section: ".sbat".to_owned(), wanted_bytes: 513, found_bytes: 512 };
        assert_eq!(editor.replace(".sbat", &[0; 513]), Err(full));
        for bytes in [&b""[..], b"MZ", b"\x7fELF", b"070701", &[b'M'; 64], &[&b"MZ"[..], &[0xff; 200]].concat()] {
            assert_eq!(Pe::parse(bytes).expect_err("no PE"), PeError::NotPe);
        }
    }

    #[test]
    fn a_signature_is_told_from_any_other_change() {
        let ours = built();
        let mut signed = ours.clone();
        let entry = 0x58 + 112 + 8 * SECURITY_DIRECTORY;
        signed[entry..entry + 4].copy_from_slice(&(ours.len() as u32).to_le_bytes());
        signed[entry + 4..entry + 8].copy_from_slice(&16_u32.to_le_bytes());
        signed[0x58 + CHECKSUM] = 9;
        signed.extend([1; 16]);
        let is_content = |signed: &[u8]| Pe::parse(&ours).expect("ours").is_content_of(&Pe::parse(signed).expect("signed"));
        assert!(is_content(&signed));
        assert!(!is_content(&ours), "not signed");
        assert_eq!(Editor::new(&signed).expect_err("signed"), PeError::Signed);
        for at in [0x58 + 16, 1536, 2048, ours.len() - 1] {
            let mut changed = signed.clone();
            changed[at] ^= 1;
            assert!(!is_content(&changed), "a change at {at}");
        }
        assert!(!is_content(&[signed, vec![0]].concat()), "something behind the table");
    }

    #[test]
    fn f09_no_damage_makes_it_panic() {
        let whole = built();
        let try_it = |bytes: &[u8]| {
            if let Ok(pe) = Pe::parse(bytes) {
                pe.sections()
                    .iter()
                    .for_each(|section| assert!(bytes.get(section.content()).is_some() || section.file_size == 0));
                let _ = (pe.certificates(), pe.is_nx_compatible(), pe.is_content_of(&pe)); // only whether they panic
            }
            if let Ok(mut editor) = Editor::new(bytes) {
                let _ = (editor.replace(".sbat", b"x"), editor.add(".new", b"data", false)); // only whether they panic
            }
        };
        (0..600.min(whole.len())).for_each(|end| try_it(&whole[..end]));
        // Every bit of the headers, then many changes at once.
        for bit in 0..8 * 512 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            try_it(&bytes);
        }
        let mut seed = 20_261_121_u64;
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize
        };
        for _ in 0..20_000 {
            let mut bytes = whole.clone();
            for _ in 0..1 + next() % 4 {
                let (at, value) = (next() % 600, [0, 1, 0x7f, 0x80, 0xff, next() as u8][next() % 6]);
                bytes[at] = value;
            }
            bytes.truncate(if next() % 3 == 0 { next() % bytes.len() } else { bytes.len() });
            try_it(&bytes);
        }
    }
}
