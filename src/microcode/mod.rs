//! Microcode of x86 processors: files of the firmware directory become the two files that the kernel looks for before all else.
//!
//! The kernel finds `kernel/x86/microcode/{GenuineIntel,AuthenticAMD}.bin` by their names in an uncompressed archive at the very start
//! of the initrd (`Documentation/arch/x86/microcode.rst`); each holds updates one behind the other. What is damaged is refused here,
//! for the kernel says nothing: it stops reading and takes none of those behind.

mod amd;
mod intel;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::base::digest::Sha256;
use crate::base::error::{Diagnostic, ErrorKind};
use crate::base::limit;
use crate::format::compress::{Format, decode};
use crate::host::facts::Cpu;
use crate::tree::{Content, Entry, Origin, Tree, TreeError, TreePath};

/// The directories below a firmware directory.
pub const DIRECTORIES: [&str; 2] = ["intel-ucode", "amd-ucode"];
/// What the early segment holds, by the processor's name of its maker.
const INTEL: &str = "GenuineIntel";
const AMD: &str = "AuthenticAMD";
/// Where the kernel looks.
const TARGET: &str = "kernel/x86/microcode";
const FIRMWARE: [&str; 2] = ["usr/lib/firmware", "lib/firmware"];
/// What compression adds to a name, in the order in which the kernel tries them; gzip is ours, for hand-made directories.
const SUFFIXES: [&str; 4] = ["", ".zst", ".xz", ".gz"];
/// What Debian adds to the names of updates that only an initrd may load, not a running kernel.
const EARLY_ONLY: &str = ".initramfs";

/// For which processors.
#[derive(Debug, Clone, Copy)]
pub enum Wanted<'a> {
    /// All that there is microcode for.
    All,
    /// One machine's.
    One(&'a Cpu),
}

/// The content of the early segment.
#[derive(Debug, Clone, Default)]
pub struct Microcode {
    /// The segment; empty if there is no microcode for what is wanted.
    pub tree: Tree,
    /// The files that it was made from.
    pub files: Vec<Used>,
}

/// A file that microcode was taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    /// Where it lies.
    pub path: TreePath,
    /// Digest of its content, decompressed.
    pub sha256: Sha256,
}

/// What is wrong with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is something else.
    #[error("it does not begin like microcode")]
    Magic,
    /// A size in it cannot be.
    #[error("a size in it is impossible")]
    Size,
    /// It ends too early.
    #[error("it ends in the middle of an update")]
    Truncated,
    /// A sum is wrong.
    #[error("a checksum in it is wrong")]
    Checksum,
    /// There is nothing in it.
    #[error("it holds no update")]
    Empty,
    /// It is for other processors than its name says.
    #[error("it holds no update for the processor that its name says")]
    OtherProcessor,
}

/// Microcode cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file is not what it should be.
    #[error("the microcode `{path}` is damaged: {fault}")]
    Damaged {
        /// The file.
        path: TreePath,
        /// What is wrong with it.
        fault: Fault,
    },
    /// A compressed file cannot be decompressed.
    #[error("the microcode `{path}` cannot be decompressed")]
    Compressed {
        /// The file.
        path: TreePath,
        /// Why not.
        #[source]
        because: std::io::Error,
    },
    /// The segment cannot be made.
    #[error("the microcode cannot be put together")]
    Tree(#[from] TreeError),
}

impl Diagnostic for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Tree(_) => ErrorKind::Internal,
            _ => ErrorKind::Untrusted,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Error::Tree(_) => Vec::new(),
            _ => vec![
                "install the package that has it again, or remove the file: the machine then boots with its old microcode".into(),
            ],
        }
    }
}

impl fmt::Display for Wanted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::All => f.write_str("any processor"),
            Wanted::One(Cpu { vendor, family, model, stepping, .. }) => {
                write!(f, "the processor {vendor} family {family:#x}, model {model:#x}, stepping {stepping:#x}")
            }
        }
    }
}

/// Tells why a machine's processor takes no microcode from an initrd; nothing if it does.
pub fn why_none(cpu: Option<&Cpu>) -> Option<&'static str> {
    match cpu {
        None => Some("the machine's processor takes none"),
        Some(cpu) if cpu.hypervisor => Some("the machine is a virtual one, whose host loads it"),
        Some(cpu) if ![INTEL, AMD].contains(&cpu.vendor.as_str()) => Some("its maker's processors take none"),
        Some(_) => None,
    }
}

/// Returns the early segment with the microcode that a firmware tree has for what is wanted.
pub fn microcode(firmware: &Tree, wanted: Wanted<'_>) -> Result<Microcode, Error> {
    let mut made = Microcode::default();
    for (vendor, directory) in [(INTEL, DIRECTORIES[0]), (AMD, DIRECTORIES[1])] {
        if matches!(wanted, Wanted::One(cpu) if cpu.vendor != vendor) {
            continue;
        }
        let mut data = Vec::new();
        for (name, path) in files(firmware, directory)? {
            let take = match vendor {
                INTEL => take_intel(firmware, &name, &path, wanted, &mut data)?,
                _ => take_amd(firmware, &name, &path, wanted, &mut data)?,
            };
            made.files.extend(take.map(|sha256| Used { path, sha256 }));
        }
        if !data.is_empty() {
            let origin = Origin::Made("microcode");
            let path = TreePath::literal(&format!("{TARGET}/{vendor}.bin"));
            made.tree.make_dirs(&TreePath::literal(TARGET), &origin)?;
            made.tree.put(&path, Entry::file(joined(&data), origin))?;
        }
    }
    Ok(made)
}

/// Pieces one behind the other, each once: Intel ships the same update under the names of several processors.
fn joined(pieces: &[Vec<u8>]) -> Content {
    let mut seen = BTreeSet::new();
    let once = pieces.iter().filter(|piece| seen.insert(Sha256::of(piece)));
    once.flatten().copied().collect::<Vec<u8>>().into()
}

/// Returns the files of a directory by their names without compression, each as the kernel would find it.
fn files(firmware: &Tree, directory: &str) -> Result<BTreeMap<String, TreePath>, Error> {
    let mut files = BTreeMap::new();
    for base in FIRMWARE {
        let at = TreePath::literal(base).join(directory.as_bytes()).map_err(TreeError::from)?;
        let Ok(at) = firmware.resolve(&at, true) else { continue };
        for suffix in SUFFIXES {
            for (path, _) in firmware.children(&at).filter(|(path, _)| firmware.read(path).is_some()) {
                let name = std::str::from_utf8(path.name()).ok().and_then(|name| name.strip_suffix(suffix));
                let Some(name) = name else { continue };
                files.entry(name.to_owned()).or_insert_with(|| path.clone());
            }
        }
    }
    Ok(files)
}

fn take_intel(
    firmware: &Tree,
    name: &str,
    path: &TreePath,
    wanted: Wanted<'_>,
    data: &mut Vec<Vec<u8>>,
) -> Result<Option<Sha256>, Error> {
    let Some(named) = intel::named(name.strip_suffix(EARLY_ONLY).unwrap_or(name)) else { return Ok(None) };
    let own = match wanted {
        Wanted::All => None,
        Wanted::One(cpu) => Some(intel::signature(cpu.family, cpu.model, cpu.stepping)),
    };
    if own.is_some_and(|own| own != named) {
        return Ok(None);
    }
    let bytes = content(firmware, path)?;
    let damaged = |fault| Error::Damaged { path: path.clone(), fault };
    let updates = intel::updates(&bytes).map_err(damaged)?;
    if !updates.iter().any(|update| update.signatures.contains(&named)) {
        return Err(damaged(Fault::OtherProcessor));
    }
    let fits = |update: &&intel::Update<'_>| own.is_none_or(|own| update.signatures.contains(&own));
    data.extend(updates.iter().filter(fits).map(|update| update.bytes.to_vec()));
    Ok(Some(Sha256::of(&bytes)))
}

fn take_amd(
    firmware: &Tree,
    name: &str,
    path: &TreePath,
    wanted: Wanted<'_>,
    data: &mut Vec<Vec<u8>>,
) -> Result<Option<Sha256>, Error> {
    let Some(named) = amd::named(name) else { return Ok(None) };
    if matches!(wanted, Wanted::One(cpu) if !named.contains(&cpu.family)) {
        return Ok(None);
    }
    let bytes = content(firmware, path)?;
    let damaged = |fault| Error::Damaged { path: path.clone(), fault };
    if !amd::families(&bytes).map_err(damaged)?.iter().any(|family| named.contains(family)) {
        return Err(damaged(Fault::OtherProcessor));
    }
    let digest = Sha256::of(&bytes);
    data.push(bytes);
    Ok(Some(digest))
}

fn content(firmware: &Tree, path: &TreePath) -> Result<Vec<u8>, Error> {
    let bytes = firmware.read(path).map(Content::bytes).unwrap_or_default();
    match Format::sniff(bytes) {
        Format::None => Ok(bytes.to_vec()),
        format => decode::all(format, bytes, limit::MICROCODE_BYTES_MAX)
            .map_err(|because| Error::Compressed { path: path.clone(), because }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::compress::encode::Encoder;
    use std::io::Write as _;

    fn firmware(files: &[(&str, Vec<u8>)]) -> Tree {
        let mut tree = Tree::new();
        for (name, bytes) in files {
            let path = TreePath::literal(&format!("usr/lib/firmware/{name}"));
            tree.insert(&path, Entry::file(bytes.clone(), Origin::Kernel)).expect(name);
        }
        tree
    }

    fn cpu(vendor: &str, family: u32, model: u32, stepping: u32) -> Cpu {
        Cpu { vendor: vendor.to_owned(), family, model, stepping, hypervisor: false }
    }

    fn read(made: &Microcode, vendor: &str) -> Option<Vec<u8>> {
        made.tree.read(&TreePath::literal(&format!("{TARGET}/{vendor}.bin"))).map(|content| content.bytes().to_vec())
    }

    fn compressed(format: &str, bytes: &[u8]) -> Vec<u8> {
        let mut encoder = Encoder::new(format.parse().expect(format), bytes.len() as u64, 1, Vec::new()).expect(format);
        encoder.write_all(bytes).expect("writing");
        encoder.finish().expect("an end")
    }

    #[test]
    fn all_or_one_processor() {
        let (kaby, other) = (intel::tests::update(0x806ea, &[]), intel::tests::update(0x806e9, &[0x806eb]));
        let amd = amd::tests::container_of(&[0xa2_0f12]);
        let tree = firmware(&[
            ("intel-ucode/06-8e-0a", [kaby.clone(), other.clone()].concat()),
            ("intel-ucode/06-8e-09.xz", compressed("xz", &other)),
            ("intel-ucode/06-8e-0b.initramfs.zst", compressed("zstd", &other)),
            ("intel-ucode/README", b"text".to_vec()),
            ("amd-ucode/microcode_amd_fam19h.bin.gz", compressed("gzip", &amd)),
            ("amd-ucode/microcode_amd_fam19h.bin.asc", b"signature".to_vec()),
        ]);
        let all = microcode(&tree, Wanted::All).expect("microcode");
        // In the order of the names, and each update once.
        assert_eq!(read(&all, INTEL), Some([other.clone(), kaby.clone()].concat()));
        assert_eq!(read(&all, AMD), Some(amd.clone()));
        assert_eq!(all.files.len(), 4);

        let one = microcode(&tree, Wanted::One(&cpu(INTEL, 6, 0x8e, 0xa))).expect("microcode");
        assert_eq!((read(&one, INTEL), read(&one, AMD)), (Some(kaby), None));
        let one = microcode(&tree, Wanted::One(&cpu(INTEL, 6, 0x8e, 0xb))).expect("microcode");
        assert_eq!(read(&one, INTEL), Some(other), "by the update's table of further processors");
        let one = microcode(&tree, Wanted::One(&cpu(AMD, 0x19, 0x21, 2))).expect("microcode");
        assert_eq!((read(&one, INTEL), read(&one, AMD)), (None, Some(amd)));
        let none = microcode(&tree, Wanted::One(&cpu(AMD, 0x1a, 2, 1))).expect("nothing is no error");
        assert!(none.tree.is_empty() && none.files.is_empty());
        assert!(microcode(&Tree::new(), Wanted::All).expect("nothing").tree.is_empty());
    }

    #[test]
    fn what_the_kernel_would_stumble_over_is_refused() {
        let kaby = intel::tests::update(0x806ea, &[]);
        let amd = amd::tests::container_of(&[0xa2_0f12]);
        let mut flipped = kaby.clone();
        flipped[50] ^= 1;
        for (name, bytes, says) in [
            ("intel-ucode/06-8e-0a", flipped, "a checksum in it is wrong"),
            ("intel-ucode/06-8e-09", kaby.clone(), "no update for the processor that its name says"),
            ("intel-ucode/06-8e-0a", b"<html>404</html> and some more text, so that it is long".to_vec(), "does not begin like"),
            ("amd-ucode/microcode_amd_fam17h.bin", amd.clone(), "no update for the processor"),
            ("amd-ucode/microcode_amd_fam19h.bin", amd[..90].to_vec(), "ends in the middle"),
            ("intel-ucode/06-8e-0a.xz", compressed("xz", &kaby)[..40].to_vec(), "cannot be decompressed"),
        ] {
            let error = microcode(&firmware(&[(name, bytes)]), Wanted::All).expect_err(name);
            assert!(error.to_string().contains(says) && error.to_string().contains(name), "{error}");
            assert_eq!(error.kind(), ErrorKind::Untrusted);
        }
        // What is not for this machine cannot hurt it.
        let tree = firmware(&[("intel-ucode/06-8e-09", b"x".to_vec()), ("intel-ucode/06-8e-0a", kaby)]);
        assert_eq!(microcode(&tree, Wanted::One(&cpu(INTEL, 6, 0x8e, 0xa))).expect("its own is sound").files.len(), 1);
    }

    #[test]
    fn not_every_machine_takes_microcode() {
        let mut own = cpu(INTEL, 6, 0x8e, 0xa);
        assert_eq!(why_none(Some(&own)), None);
        own.hypervisor = true;
        assert!(why_none(Some(&own)).is_some_and(|why| why.contains("virtual")));
        assert!(why_none(Some(&cpu("CentaurHauls", 6, 1, 1))).is_some() && why_none(None).is_some());
    }
}
