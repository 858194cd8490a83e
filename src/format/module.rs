//! Kernel modules: what an ELF `.ko` says of itself, in `.modinfo` and in its symbols.
//!
//! Facts are those of the kernel's `scripts/mod/modpost.c` and `include/linux/module.h`; which symbols count is what depmod counts,
//! so that an index made from them equals its.

use std::collections::{BTreeMap, HashSet};

use object::elf;
use object::read::elf::{FileHeader, SectionHeader, SectionTable, Sym};
use object::{Endianness, FileKind};
use serde::{Deserialize, Serialize};

/// Raised whenever [`parse`] reads other things out of a module than before: what is stored is not used any more then.
pub const INFO_VERSION: u32 = 1;

/// What a module says of itself: plain data, which can be stored by the digest of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleInfo {
    /// Modules whose symbols it uses, named as their authors write them (`i2c-algo-bit`).
    pub depends: Vec<String>,
    /// Modaliases, in the order of the file.
    pub aliases: Vec<String>,
    /// Lines such as `pre: a b post: c`.
    pub softdeps: Vec<String>,
    /// Lines of names which may be loaded later by the module itself.
    pub weakdeps: Vec<String>,
    /// Firmware files or globs of them, relative to the firmware directory.
    pub firmware: Vec<String>,
    /// The kernel it was built for, and how: `6.12.107+deb13-amd64 SMP preempt mod_unload modversions`.
    pub vermagic: String,
    /// Symbols that others may use.
    pub exports: Vec<String>,
    /// Symbols that it uses, in the order of its symbol table.
    pub needs: Vec<String>,
    /// The ELF machine number.
    pub machine: u16,
    /// Whether a signature is appended.
    pub signed: bool,
}

/// The file is not a kernel module.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModuleError {
    /// It is not ELF, or for neither 32 nor 64 bits.
    #[error("it is not an ELF file")]
    NotElf,
    /// It is ELF, but damaged. Holds what the reader said.
    #[error("its ELF structure is damaged: {0}")]
    Damaged(String),
    /// It has no `.modinfo`: an ELF file, but no module.
    #[error("it has no `.modinfo` section")]
    NoModinfo,
}

impl From<object::read::Error> for ModuleError {
    fn from(err: object::read::Error) -> Self {
        ModuleError::Damaged(err.to_string())
    }
}

/// Follows the signature at the very end of a signed module (`MODULE_SIG_STRING` of the kernel).
const SIGNATURE_MARK: &[u8] = b"~Module signature appended~\n";

/// How many bytes of symbol names a byte of the file may stand for: names may overlap, but real ones hardly do.
const NAME_BYTES_PER_BYTE_MAX: usize = 4;

/// Names of ELF machine numbers, as `uname -m` or Debian would call them; for messages and requests.
const MACHINES: [(u16, &str, &[&str]); 9] = [
    (elf::EM_X86_64.0, "x86_64", &["amd64", "x86_64"]),
    (elf::EM_386.0, "i386", &["i386", "i686", "x86"]),
    (elf::EM_AARCH64.0, "aarch64", &["arm64", "aarch64"]),
    (elf::EM_ARM.0, "arm", &["armhf", "armel", "armv7", "armv7l", "armv7h", "arm"]),
    (elf::EM_RISCV.0, "riscv", &["riscv64"]),
    (elf::EM_PPC64.0, "ppc64", &["ppc64el", "ppc64le", "ppc64"]),
    (elf::EM_S390.0, "s390", &["s390x"]),
    (elf::EM_LOONGARCH.0, "loongarch", &["loong64", "loongarch64"]),
    (elf::EM_MIPS.0, "mips", &["mips64el", "mipsel"]),
];

/// Returns the ELF machine number of an architecture as any package family names it.
pub fn machine_of(arch: &str) -> Option<u16> {
    MACHINES.iter().find(|(_, _, names)| names.contains(&arch)).map(|(machine, ..)| *machine)
}

/// Returns the name of an ELF machine number, for a message.
pub fn machine_name(machine: u16) -> String {
    MACHINES
        .iter()
        .find(|(number, ..)| *number == machine)
        .map_or_else(|| format!("machine {machine}"), |(_, name, _)| (*name).into())
}

/// Returns the name by which the kernel knows a module file: the file's name up to the first dot, `-` as `_`.
pub fn name_of(path: &[u8]) -> String {
    let file = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let stem = file.split(|byte| *byte == b'.').next().unwrap_or_default();
    normalized(&String::from_utf8_lossy(stem))
}

/// Returns a module's name with `-` as `_`, as the kernel and kmod compare them.
pub fn normalized(name: &str) -> String {
    name.replace('-', "_")
}

/// Reads a decompressed module.
pub fn parse(bytes: &[u8]) -> Result<ModuleInfo, ModuleError> {
    match FileKind::parse(bytes) {
        Ok(FileKind::Elf32) => parse_class::<elf::FileHeader32<Endianness>>(bytes),
        Ok(FileKind::Elf64) => parse_class::<elf::FileHeader64<Endianness>>(bytes),
        _ => Err(ModuleError::NotElf),
    }
}

fn parse_class<Header: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> Result<ModuleInfo, ModuleError> {
    let header = Header::parse(bytes)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, bytes)?;
    let section = |name: &str| -> Result<Option<&[u8]>, ModuleError> {
        match sections.section_by_name(endian, name.as_bytes()) {
            Some((_, section)) => Ok(Some(section.data(endian, bytes)?)),
            None => Ok(None),
        }
    };
    let mut info =
        ModuleInfo { machine: header.e_machine(endian).0, signed: bytes.ends_with(SIGNATURE_MARK), ..ModuleInfo::default() };
    for (key, value) in modinfo(section(".modinfo")?.ok_or(ModuleError::NoModinfo)?) {
        let value = || String::from_utf8_lossy(value).into_owned();
        match key {
            b"alias" => info.aliases.push(value()),
            b"depends" => info.depends.extend(value().split(',').filter(|name| !name.is_empty()).map(str::to_owned)),
            b"softdep" => info.softdeps.push(value()),
            b"weakdep" => info.weakdeps.push(value()),
            b"firmware" => info.firmware.push(value()),
            b"vermagic" => info.vermagic = value(),
            _ => {}
        }
    }
    read_symbols(&sections, endian, bytes, &mut info)?;
    if info.exports.is_empty() {
        info.exports = strings(section("__ksymtab_strings")?.unwrap_or_default()).map(text).collect();
    }
    add_versions::<Header>(section("__versions")?.unwrap_or_default(), &mut info.needs);
    Ok(info)
}

/// Reads what the symbol table exports (a `__crc_x` for each exported `x`, when there are versions) and leaves undefined.
fn read_symbols<Header: FileHeader<Endian = Endianness>>(
    sections: &SectionTable<'_, Header>,
    endian: Endianness,
    bytes: &[u8],
    info: &mut ModuleInfo,
) -> Result<(), ModuleError> {
    let symbols = sections.symbols(endian, bytes, elf::SHT_SYMTAB)?;
    let mut name_bytes_left = bytes.len().saturating_mul(NAME_BYTES_PER_BYTE_MAX);
    for symbol in symbols.iter().skip(1) {
        let undefined = symbol.st_shndx(endian) == elf::SHN_UNDEF;
        let name = symbol.name(endian, symbols.strings())?;
        name_bytes_left = name_bytes_left
            .checked_sub(name.len())
            .ok_or_else(|| ModuleError::Damaged("its symbols share their names too often".into()))?;
        if let Some(exported) = name.strip_prefix(b"__crc_") {
            info.exports.push(text(exported));
        }
        if undefined && !name.is_empty() {
            info.needs.push(text(name));
        }
    }
    Ok(())
}

/// Adds the names of `__versions` that the symbol table does not have. An entry is 64 bytes: a checksum of one word, and the name.
fn add_versions<Header: FileHeader<Endian = Endianness>>(versions: &[u8], needs: &mut Vec<String>) {
    const ENTRY_BYTES: usize = 64;
    let word = if std::mem::size_of::<Header>() == std::mem::size_of::<elf::FileHeader64<Endianness>>() { 8 } else { 4 };
    let known: HashSet<&str> = needs.iter().map(String::as_str).collect();
    let names = versions.chunks_exact(ENTRY_BYTES).filter_map(|entry| entry[word..].split(|byte| *byte == 0).next());
    let new: Vec<String> = names.map(text).filter(|name| !name.is_empty() && !known.contains(name.as_str())).collect();
    needs.extend(new);
}

/// Returns the `key=value` strings of a `.modinfo` section.
pub fn modinfo(section: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    strings(section).filter_map(split_at_equals)
}

/// What the modules inside the kernel image say of themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuiltinInfo {
    /// Firmware by module, as written.
    pub firmware: BTreeMap<String, Vec<String>>,
    /// Modaliases and the module (as written, not normalised), in the order of the file.
    pub aliases: Vec<(String, String)>,
}

/// Reads `modules.builtin.modinfo`: strings `module.key=value`, each ended by a NUL.
pub fn builtin_modinfo(bytes: &[u8]) -> BuiltinInfo {
    let mut info = BuiltinInfo::default();
    for (left, value) in strings(bytes).filter_map(split_at_equals) {
        let Some(dot) = left.iter().position(|byte| *byte == b'.') else { continue };
        let module = text(&left[..dot]);
        match &left[dot + 1..] {
            b"alias" if !module.is_empty() && !value.is_empty() => info.aliases.push((text(value), module)),
            b"firmware" => info.firmware.entry(normalized(&module)).or_default().push(text(value)),
            _ => {}
        }
    }
    info
}

fn strings(section: &[u8]) -> impl Iterator<Item = &[u8]> {
    section.split(|byte| *byte == 0).filter(|string| !string.is_empty())
}

fn split_at_equals(string: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = string.iter().position(|byte| *byte == b'=')?;
    Some((&string[..equals], &string[equals + 1..]))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_kernel() {
        for (path, name) in
            [("kernel/drivers/i2c/algos/i2c-algo-bit.ko.xz", "i2c_algo_bit"), ("nvme.ko", "nvme"), ("a.b/x.y.ko.zst", "x")]
        {
            assert_eq!(name_of(path.as_bytes()), name);
        }
    }

    #[test]
    fn e16_what_is_no_module_is_refused() {
        assert_eq!(parse(b""), Err(ModuleError::NotElf));
        assert_eq!(parse(b"\x1f\x8b not a module"), Err(ModuleError::NotElf));
        assert!(matches!(parse(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x01\0>\0"), Err(ModuleError::Damaged(_))));
        // This test itself is ELF, but no module.
        let this = std::fs::read(std::env::current_exe().expect("the test's path")).expect("the test");
        assert_eq!(parse(&this), Err(ModuleError::NoModinfo));
    }

    #[test]
    fn builtins_tell_their_firmware_and_aliases() {
        let info =
            builtin_modinfo(b"tpm-crb.alias=acpi*:MSFT0101:*\0tpm-crb.license=GPL\0e100.firmware=e100/a.bin\0odd\0.alias=x\0");
        assert_eq!(info.aliases, [("acpi*:MSFT0101:*".into(), "tpm-crb".into())]);
        assert_eq!(info.firmware, BTreeMap::from([("e100".into(), vec!["e100/a.bin".into()])]));
    }
}
