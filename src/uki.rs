//! Makes a unified kernel image: systemd-stub with the kernel, the initrd and what describes them as sections of one PE file.
//!
//! Sections, their order and their places are those of systemd's ukify; what each means is the specification "Unified Kernel Image"
//! of the UAPI group. There is no time and no random number in it: the same inputs give the same bytes.

use std::borrow::Cow;
use std::io;

use crate::base::error::{Diagnostic, ErrorKind};
use crate::base::limit;
use crate::base::size::Size;
use crate::format::compress::{Format, decode};
use crate::format::pe::{self, Editor, Pe, PeError};
use crate::report::{Event, Reporter, Stage};

/// Which generation this is, for those who revoke broken ones; the merged `.sbat` begins with the first line of all.
const SBAT_HEADER: &str = "sbat,1,SBAT Version,sbat,1,https://github.com/rhboot/shim/blob/main/SBAT.md\n";
/// What ukify says of every unified kernel image.
const SBAT_UKI: &str = "uki,1,UKI,uki,1,https://uapi-group.org/specifications/specs/unified_kernel_image/\n";
/// The first systemd-stub that takes microcode from a section of its own; before, it has to lead the initrd.
const UCODE_SINCE: u32 = 256;
/// The first systemd-stub that never runs the kernel in place, where its memory would reach into what lies behind it.
const LINUX_ANYWHERE_SINCE: u32 = 257;
/// What systemd-stub says of itself, in its section `.sdmagic`.
const STUB_MARK: &str = "LoaderInfo: systemd-stub ";

/// The parts of a unified kernel image.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// systemd-stub.
    pub stub: &'a [u8],
    /// The kernel, as its package has it.
    pub kernel: &'a [u8],
    /// Its version, as `uname -r` says it.
    pub version: &'a str,
    /// The text of os-release of the system that is booted.
    pub os_release: &'a [u8],
    /// The kernel's command line; empty for none.
    pub command_line: &'a str,
    /// The initrd.
    pub initrd: &'a [u8],
    /// How much of the initrd's beginning is microcode.
    pub microcode_bytes: usize,
}

/// Why there is no unified kernel image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stub cannot be used.
    #[error("the UEFI stub cannot be used")]
    Stub(#[source] PeError),
    /// The kernel cannot be started by UEFI.
    #[error("the kernel `{version}` cannot be started by UEFI: it has no EFI stub (`CONFIG_EFI_STUB`)")]
    Kernel {
        /// The kernel.
        version: String,
        /// What is wrong with its file.
        #[source]
        source: PeError,
    },
    /// The kernel is compressed in a way that cannot be undone.
    #[error("the kernel `{version}` cannot be unpacked")]
    Unpack {
        /// The kernel.
        version: String,
        /// What is wrong.
        #[source]
        source: io::Error,
    },
    /// Stub and kernel are for different machines.
    #[error("the kernel `{version}` is for {kernel}, and the UEFI stub for {stub}")]
    Machine {
        /// The kernel.
        version: String,
        /// Its machine.
        kernel: String,
        /// The stub's.
        stub: String,
    },
    /// The sections do not fit together.
    #[error("the unified kernel image of `{version}` cannot be made")]
    Compose {
        /// The kernel.
        version: String,
        /// What is wrong.
        #[source]
        source: PeError,
    },
}

impl Diagnostic for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Unpack { .. } | Error::Compose { .. } => ErrorKind::Unavailable,
            Error::Stub(_) | Error::Kernel { .. } | Error::Machine { .. } => ErrorKind::Host,
        }
    }

    fn hints(&self) -> Vec<String> {
        vec![match self {
            Error::Stub(_) => "take the stub of the package `systemd-boot-efi`, or name another with `--stub FILE`".to_owned(),
            Error::Kernel { .. } | Error::Unpack { .. } => "name the kernel's image with `--kernel-image FILE`".to_owned(),
            Error::Machine { .. } => "take stub and kernel of the same architecture (`--arch`)".to_owned(),
            Error::Compose { source: PeError::TooLarge { .. }, .. } => "leave modules and firmware out of the image".to_owned(),
            Error::Compose { .. } => "take the stub of a newer systemd with `--stub FILE`".to_owned(),
        }]
    }
}

/// Puts the parts together.
pub fn uki(parts: &Parts<'_>, reporter: &dyn Reporter) -> Result<Vec<u8>, Error> {
    reporter.event(&Event::Begin { stage: Stage::Uki });
    let version = parts.version.to_owned();
    let stub = Pe::parse(parts.stub).map_err(Error::Stub)?;
    let kernel = unpacked(parts)?;
    let linux = Pe::parse(&kernel).map_err(|source| Error::Kernel { version: version.clone(), source })?;
    if linux.machine() != stub.machine() {
        return Err(Error::Machine { version, kernel: machine(linux.machine()), stub: machine(stub.machine()) });
    }
    let generation = generation(&stub);
    let (microcode, initrd) = match generation {
        Some(UCODE_SINCE..) => parts.initrd.split_at(parts.microcode_bytes.min(parts.initrd.len())),
        _ => (&[][..], parts.initrd),
    };
    let mut sections = vec![
        (".osrel", parts.os_release),
        (".cmdline", parts.command_line.as_bytes()),
        (".uname", parts.version.as_bytes()),
        (".initrd", initrd),
        (".ucode", microcode),
    ];
    // An older stub starts the kernel where it lies, and its memory may grow over what follows: it has to be the last.
    let place = if generation >= Some(LINUX_ANYWHERE_SINCE) { 3 } else { sections.len() };
    sections.insert(place, (".linux", &kernel));
    let bytes = compose(parts.stub, &sections, &sbat(&stub, &linux), linux.is_nx_compatible())
        .map_err(|source| Error::Compose { version, source })?;
    let figures = format!("{}, of it {} kernel", Size(bytes.len() as u64), Size(kernel.len() as u64));
    reporter.event(&Event::End { stage: Stage::Uki, figures: &figures });
    Ok(bytes)
}

fn compose(stub: &[u8], sections: &[(&str, &[u8])], sbat: &[u8], is_nx_compatible: bool) -> Result<Vec<u8>, PeError> {
    let mut editor = Editor::new(stub)?;
    for (name, data) in sections.iter().filter(|(_, data)| !data.is_empty()) {
        editor.add(name, data, *name == ".linux")?;
    }
    if !editor.replace(".sbat", sbat)? {
        editor.add(".sbat", sbat, false)?;
    }
    // Firmware that enforces it believes the outer image, and would fail to start the inner one.
    if !is_nx_compatible {
        editor.clear_nx_compatible();
    }
    Ok(editor.finish())
}

/// Returns the kernel as UEFI can start it. Some architectures ship it as a compressed file.
fn unpacked<'a>(parts: &Parts<'a>) -> Result<Cow<'a, [u8]>, Error> {
    let format = Format::sniff(parts.kernel);
    if pe::is_pe(parts.kernel) || format == Format::None {
        return Ok(Cow::Borrowed(parts.kernel));
    }
    let bytes = decode::all(format, parts.kernel, limit::FILE_BYTES_MAX);
    bytes.map(Cow::Owned).map_err(|source| Error::Unpack { version: parts.version.to_owned(), source })
}

/// Returns the version of systemd that a stub is from, if it says so.
fn generation(stub: &Pe<'_>) -> Option<u32> {
    let text = String::from_utf8_lossy(stub.section(".sdmagic")?);
    let (_, version) = text.split_once(STUB_MARK)?;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Merges what stub and kernel say of their generations with what every such image says, so that each can be revoked.
fn sbat(stub: &Pe<'_>, kernel: &Pe<'_>) -> Vec<u8> {
    let mut merged = SBAT_HEADER.to_owned();
    for pe in [stub, kernel] {
        let text = String::from_utf8_lossy(pe.section(".sbat").unwrap_or_default());
        let mut lines = text.trim_end_matches('\0').lines();
        if lines.next().is_some_and(|line| line.starts_with("sbat,")) {
            lines.for_each(|line| merged.extend([line, "\n"]));
        }
    }
    merged.push_str(SBAT_UKI);
    merged.push('\0');
    merged.into_bytes()
}

fn machine(number: u16) -> String {
    match number {
        pe::X86_64 => "x86_64".to_owned(),
        pe::AARCH64 => "aarch64".to_owned(),
        other => format!("a machine of type {other:#06x}"),
    }
}
