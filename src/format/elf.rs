//! What an ELF file needs to run: the door to the `object` crate, together with the reader of kernel modules.
//!
//! Only program headers and the dynamic segment are read, never section headers, which a stripped file may lack.
//! Formats: System V gABI chapter 5 (`PT_DYNAMIC`, `PT_INTERP`), and the UAPI group's "ELF dlopen metadata" for `.note.dlopen`.

use std::fmt;

use object::elf::{self, FileHeader32, FileHeader64};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::{Endian, Endianness};
use serde::Deserialize;

use crate::base::limit;

/// What an ELF file says of itself and of what it needs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Elf {
    /// 64-bit, else 32-bit.
    pub class64: bool,
    /// Little endian, else big endian.
    pub little_endian: bool,
    /// The machine (`EM_X86_64` is 62, `EM_AARCH64` 183).
    pub machine: u16,
    /// The name under which others need it.
    pub soname: Option<Vec<u8>>,
    /// The libraries that the loader loads with it, in order.
    pub needed: Vec<Vec<u8>>,
    /// Directories searched for the libraries of this file, colons split.
    pub runpath: Vec<Vec<u8>>,
    /// The older form of the same, which also serves the libraries of its libraries. Without effect beside a `runpath`.
    pub rpath: Vec<Vec<u8>>,
    /// The loader that a program names.
    pub interpreter: Option<Vec<u8>>,
    /// What it says it loads while running, if it can.
    pub dlopen: Vec<Dlopen>,
}

impl Elf {
    /// Tells whether one can load the other: same class, byte order and machine.
    pub fn fits(&self, other: &Elf) -> bool {
        (self.class64, self.little_endian, self.machine) == (other.class64, other.little_endian, other.machine)
    }
}

/// Libraries that a file loads while running, as its `.note.dlopen` says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Dlopen {
    /// Names of the library, the first that is found is taken.
    #[serde(rename = "soname")]
    pub sonames: Vec<String>,
    /// What it is for, in one word: `cryptsetup`, `tpm`, `fido2`.
    #[serde(default)]
    pub feature: String,
    /// What it is for, in words.
    #[serde(default)]
    pub description: String,
    /// What happens without.
    #[serde(default)]
    pub priority: Priority,
}

/// How much a file depends on a library that it loads while running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Something rarely used does not work without.
    Suggested,
    /// Something does not work without. What a note without a priority means.
    #[default]
    Recommended,
    /// The program does not work without.
    Required,
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Priority::Suggested => "suggested",
            Priority::Recommended => "recommended",
            Priority::Required => "required",
        })
    }
}

/// A file begins like an ELF file and is none that can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// A header or table lies outside the file or contradicts itself.
    #[error("its {part} cannot be read: {reason}")]
    Malformed {
        /// Which part.
        part: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// There is more of something than any real file has.
    #[error("it has more than {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The most that is accepted.
        limit: usize,
    },
}

/// Program headers (`vmlinux` has 5, an ordinary library 12). A raised limit costs time on hostile files only.
const PROGRAM_HEADERS_MAX: usize = 256;
/// Entries of the dynamic segment (libsystemd-shared has 50).
const DYNAMIC_ENTRIES_MAX: usize = 4096;
/// Libraries, search directories and dlopen entries, each.
const NEEDED_MAX: usize = 1024;
/// Notes of one file.
const NOTES_MAX: usize = 1024;
/// The JSON of one `.note.dlopen` (libsystemd-shared's entries are of 100 to 300 bytes, one a note).
const DLOPEN_NOTE_BYTES_MAX: usize = 1 << 20;
/// The owner and type of a `.note.dlopen`, from the specification.
const DLOPEN_NOTE: (&[u8], u32) = (b"FDO", 0x407c_0c0a);

/// Reads a file; nothing if it is not ELF.
pub fn read(bytes: &[u8]) -> Result<Option<Elf>, ElfError> {
    if !bytes.starts_with(&elf::ELFMAG) {
        return Ok(None);
    }
    match bytes.get(4) {
        Some(1) => read_class::<FileHeader32<Endianness>>(bytes, false).map(Some),
        Some(2) => read_class::<FileHeader64<Endianness>>(bytes, true).map(Some),
        Some(class) => Err(malformed("file header")(format!("its class is {class}, not 1 or 2"))),
        None => Err(malformed("file header")("the file ends in it".to_owned())),
    }
}

fn malformed<E: ToString>(part: &'static str) -> impl FnOnce(E) -> ElfError {
    move |err| ElfError::Malformed { part, reason: err.to_string() }
}

fn read_class<Header: FileHeader<Endian = Endianness>>(bytes: &[u8], class64: bool) -> Result<Elf, ElfError> {
    let header = Header::parse(bytes).map_err(malformed("file header"))?;
    let endian = header.endian().map_err(malformed("file header"))?;
    let segments = header.program_headers(endian, bytes).map_err(malformed("program headers"))?;
    if segments.len() > PROGRAM_HEADERS_MAX {
        return Err(ElfError::TooMany { what: "program headers", limit: PROGRAM_HEADERS_MAX });
    }
    let mut found =
        Elf { class64, little_endian: endian.is_little_endian(), machine: header.e_machine(endian).0, ..Elf::default() };
    for segment in segments {
        if let Some(interpreter) = segment.interpreter(endian, bytes).map_err(malformed("interpreter"))? {
            if interpreter.len() > limit::PATH_BYTES_MAX {
                return Err(ElfError::TooMany { what: "bytes in the name of its interpreter", limit: limit::PATH_BYTES_MAX });
            }
            found.interpreter = Some(interpreter.to_owned());
        }
        if let Some(dynamic) = segment.dynamic(endian, bytes).map_err(malformed("dynamic segment"))? {
            read_dynamic::<Header>(&mut found, endian, bytes, segments, dynamic)?;
        }
        read_notes::<Header>(&mut found, endian, bytes, segment)?;
    }
    Ok(found)
}

fn read_dynamic<Header: FileHeader<Endian = Endianness>>(
    found: &mut Elf,
    endian: Endianness,
    bytes: &[u8],
    segments: &[Header::ProgramHeader],
    dynamic: &[Header::Dyn],
) -> Result<(), ElfError> {
    // The segment may be longer than its list, which ends with DT_NULL.
    let entries = || dynamic.iter().take_while(|entry| entry.tag(endian) != elf::DT_NULL);
    if entries().count() > DYNAMIC_ENTRIES_MAX {
        return Err(ElfError::TooMany { what: "dynamic entries", limit: DYNAMIC_ENTRIES_MAX });
    }
    let value = |tag| entries().find(|entry| entry.tag(endian) == tag).map(|entry| entry.val(endian));
    let Some(address) = value(elf::DT_STRTAB) else {
        return Ok(());
    };
    let size = value(elf::DT_STRSZ).unwrap_or(0);
    let strings = segments
        .iter()
        .filter(|segment| segment.p_type(endian) == elf::PT_LOAD)
        .find_map(|segment| segment.data_range(endian, bytes, address, size).ok().flatten());
    for entry in entries() {
        let tag = entry.tag(endian);
        if ![elf::DT_NEEDED, elf::DT_SONAME, elf::DT_RUNPATH, elf::DT_RPATH].contains(&tag) {
            continue;
        }
        let strings = strings.ok_or_else(|| malformed("dynamic strings")("they lie outside the file".to_owned()))?;
        let text = string_at(strings, entry.val(endian))?;
        match tag {
            elf::DT_NEEDED => found.needed.push(text),
            elf::DT_SONAME => found.soname = Some(text),
            elf::DT_RUNPATH => found.runpath.extend(split_path(&text)),
            _ => found.rpath.extend(split_path(&text)),
        }
    }
    if found.needed.len().max(found.runpath.len()).max(found.rpath.len()) > NEEDED_MAX {
        return Err(ElfError::TooMany { what: "libraries or library directories", limit: NEEDED_MAX });
    }
    Ok(())
}

fn string_at(strings: &[u8], offset: u64) -> Result<Vec<u8>, ElfError> {
    let tail = usize::try_from(offset).ok().and_then(|start| strings.get(start..));
    let text = tail.and_then(|tail| tail.iter().take(limit::PATH_BYTES_MAX).position(|byte| *byte == 0).map(|end| &tail[..end]));
    text.map(<[u8]>::to_vec)
        .ok_or_else(|| malformed("dynamic strings")(format!("the one at {offset} of {} bytes does not end", strings.len())))
}

fn split_path(text: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    text.split(|byte| *byte == b':').filter(|part| !part.is_empty()).map(<[u8]>::to_vec)
}

fn read_notes<Header: FileHeader<Endian = Endianness>>(
    found: &mut Elf,
    endian: Endianness,
    bytes: &[u8],
    segment: &Header::ProgramHeader,
) -> Result<(), ElfError> {
    let Some(mut notes) = segment.notes(endian, bytes).map_err(malformed("notes"))? else {
        return Ok(());
    };
    for _ in 0..NOTES_MAX {
        let Some(note) = notes.next().map_err(malformed("notes"))? else {
            return Ok(());
        };
        if (note.name(), note.n_type(endian).0) != DLOPEN_NOTE {
            continue;
        }
        // The text ends with a NUL and may be padded with more.
        let end = note.desc().iter().position(|byte| *byte == 0).unwrap_or(note.desc().len());
        if end > DLOPEN_NOTE_BYTES_MAX {
            return Err(ElfError::TooMany { what: "bytes in a `.note.dlopen`", limit: DLOPEN_NOTE_BYTES_MAX });
        }
        let entries: Vec<Dlopen> = serde_json::from_slice(&note.desc()[..end]).map_err(malformed("`.note.dlopen`"))?;
        // The loader maps PT_NOTE segments that overlap; the same note is read once.
        for entry in entries {
            if !found.dlopen.contains(&entry) {
                found.dlopen.push(entry);
            }
        }
        if found.dlopen.len() > NEEDED_MAX {
            return Err(ElfError::TooMany { what: "dlopen entries", limit: NEEDED_MAX });
        }
    }
    Err(ElfError::TooMany { what: "notes", limit: NOTES_MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a 64-bit little-endian library whose program headers are those given as (type, content, align), with one PT_LOAD
    /// over the whole file at address 0, and no section headers.
    fn library(segments: &[(u32, Vec<u8>, u64)]) -> Vec<u8> {
        let headers = segments.len() + 1;
        let mut offset = 64 + 56 * headers as u64;
        let total = offset + segments.iter().map(|(_, content, _)| content.len() as u64).sum::<u64>();
        let mut bytes = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend([3, 0, 62, 0, 1, 0, 0, 0]);
        for word in [0u64, 64, 0] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend([0; 4]);
        for half in [64u16, 56, headers as u16, 0, 0, 0] {
            bytes.extend(half.to_le_bytes());
        }
        let mut header = |kind: u32, offset: u64, size: u64, align: u64| {
            bytes.extend(kind.to_le_bytes());
            bytes.extend(4u32.to_le_bytes());
            for word in [offset, offset, offset, size, size, align] {
                bytes.extend(word.to_le_bytes());
            }
        };
        header(1, 0, total, 4096);
        for (kind, content, align) in segments {
            header(*kind, offset, content.len() as u64, *align);
            offset += content.len() as u64;
        }
        bytes.extend(segments.iter().flat_map(|(_, content, _)| content));
        bytes
    }

    fn note(name: &[u8], kind: u32, desc: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [name.len() as u32, desc.len() as u32, kind] {
            bytes.extend(word.to_le_bytes());
        }
        for part in [name, desc] {
            bytes.extend(part);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    fn dynamic(entries: &[(u64, u64)]) -> Vec<u8> {
        entries.iter().chain(&[(0, 0)]).flat_map(|(tag, value)| [tag.to_le_bytes(), value.to_le_bytes()].concat()).collect()
    }

    /// A library with a string table in its second segment, at 64 + 4 × 56.
    fn sample() -> Vec<u8> {
        let strings = b"\0libc.so.6\0libm.so.6\0libx.so.1\0$ORIGIN/../x:/opt/x\0".to_vec();
        let table = 64 + 4 * 56;
        let tags = [(5, table), (10, strings.len() as u64), (1, 1), (1, 11), (14, 21), (29, 31)];
        let json = br#"[{"soname":["liby.so.2","liby.so.1"],"feature":"y","priority":"suggested"},{"soname":["libz.so.1"]}]"#;
        let notes = [note(b"GNU\0", 3, b"12345678"), note(b"FDO\0", DLOPEN_NOTE.1, &[&json[..], b"\0"].concat())].concat();
        // The strings have a segment of a type that nobody reads.
        library(&[(0x6fff_0000, strings, 1), (2, dynamic(&tags), 8), (4, notes, 4)])
    }

    #[test]
    fn a_library_without_section_headers_is_read() {
        let elf = read(&sample()).expect("a library").expect("it is ELF");
        assert_eq!((elf.class64, elf.little_endian, elf.machine), (true, true, 62));
        assert_eq!(elf.needed, [b"libc.so.6".to_vec(), b"libm.so.6".to_vec()]);
        assert_eq!(elf.soname.as_deref(), Some(&b"libx.so.1"[..]));
        assert_eq!(elf.runpath, [b"$ORIGIN/../x".to_vec(), b"/opt/x".to_vec()]);
        assert_eq!(elf.dlopen.len(), 2);
        assert_eq!(elf.dlopen[0].sonames, ["liby.so.2", "liby.so.1"]);
        assert_eq!((elf.dlopen[0].priority, elf.dlopen[1].priority), (Priority::Suggested, Priority::Recommended));
    }

    #[test]
    fn what_is_not_elf_is_nothing() {
        for bytes in [&b""[..], b"#!/bin/sh\n", b"\x7fEL"] {
            assert_eq!(read(bytes), Ok(None));
        }
    }

    #[test]
    fn e15_cut_and_flipped_files_give_errors_and_never_panic() {
        let whole = sample();
        let mut refused = 0;
        for end in 4..whole.len() {
            refused += usize::from(read(&whole[..end]).is_err());
        }
        assert_eq!(refused, whole.len() - 4, "every cut file has a segment that lies outside it");
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[at] ^= 1 << bit;
                // Any answer but a panic is right: a flipped bit in a name gives another name.
                let _answer = read(&flipped);
            }
        }
        let huge = library(&[(2, dynamic(&[(5, u64::MAX), (10, u64::MAX), (1, u64::MAX)]), 8)]);
        assert!(matches!(read(&huge), Err(ElfError::Malformed { part: "dynamic strings", .. })));
        let json = library(&[(4, note(b"FDO\0", DLOPEN_NOTE.1, b"[{]\0"), 4)]);
        assert!(matches!(read(&json), Err(ElfError::Malformed { part: "`.note.dlopen`", .. })));
        let many = library(&[(2, dynamic(&vec![(1, 0); DYNAMIC_ENTRIES_MAX + 1]), 8)]);
        assert!(matches!(read(&many), Err(ElfError::TooMany { what: "dynamic entries", .. })));
    }

    #[test]
    fn the_running_test_itself_is_read() {
        let own = std::fs::read(std::env::current_exe().expect("a path")).expect("reading");
        let elf = read(&own).expect("a program").expect("it is ELF");
        assert!(elf.interpreter.is_some());
        assert!(elf.needed.contains(&b"libc.so.6".to_vec()), "{:?}", elf.needed);
    }
}
