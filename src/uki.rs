//! Makes a unified kernel image: systemd-stub with the kernel, the initrd and what describes them as sections of one PE file.
//!
//! Sections, their order and their places are those of systemd's ukify; what each means is the specification "Unified Kernel Image"
//! of the UAPI group. There is no time and no random number in it: the same inputs give the same bytes.

mod measured;

use std::borrow::Cow;
use std::io;

pub use measured::PolicyError;

use crate::base::error::{Diagnostic, ErrorKind};
use crate::base::limit;
use crate::base::size::Size;
use crate::format::compress::{Format, decode};
use crate::format::pe::{self, Editor, PROFILE, Pe, PeError};
use crate::host::policy::PolicyKey;
use crate::report::{Event, Reporter, Stage};

/// Which generation this is, for those who revoke broken ones; the merged `.sbat` begins with the first line of all.
const SBAT_HEADER: &str = "sbat,1,SBAT Version,sbat,1,https://github.com/rhboot/shim/blob/main/SBAT.md\n";
/// What ukify says of every unified kernel image.
const SBAT_UKI: &str = "uki,1,UKI,uki,1,https://uapi-group.org/specifications/specs/unified_kernel_image/\n";
/// The first systemd-stub that takes microcode from a section of its own; before, it has to lead the initrd.
const UCODE_SINCE: u32 = 256;
/// The first systemd-stub that never runs the kernel in place, where its memory would reach into what lies behind it.
const LINUX_ANYWHERE_SINCE: u32 = 257;
/// The first systemd-stub that leaves room for more lines in its `.sbat`; older ones keep theirs, as ukify left it then.
const SBAT_ROOM_SINCE: u32 = 255;
/// The profile that is the image as it is, if there are others.
pub const MAIN: &str = "main";
/// The first systemd-stub that knows profiles.
const PROFILES_SINCE: u32 = 257;
/// The first systemd-stub of which we know that it measures what is written in `measured`.
const MEASURED_SINCE: u32 = 255;
/// What systemd-stub says of itself, in its section `.sdmagic`.
const STUB_MARK: &str = "LoaderInfo: systemd-stub ";

/// The parts of a unified kernel image.
#[derive(Debug, Clone, Copy, Default)]
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
    /// Other ways to start the same: entries of the boot menu.
    pub profiles: &'a [Profile],
    /// Who says what register 11 of a TPM may be when this is booted.
    pub policy: Option<&'a PolicyKey>,
}

/// Another way to start the same kernel and initrd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// How boot loaders name it.
    pub id: String,
    /// What its kernel command line has behind that of the image.
    pub append: String,
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
    /// The stub is too old for what is wanted.
    #[error("the UEFI stub is of {}, and {what} need that of systemd {since} or newer", .found.map_or("an unknown version".to_owned(), |it| format!("systemd {it}")))]
    OldStub {
        /// What was wanted.
        what: &'static str,
        /// The version that has it.
        since: u32,
        /// The stub's version, if it says so.
        found: Option<u32>,
    },
    /// Nobody signs for the TPM.
    #[error(transparent)]
    Policy(#[from] PolicyError),
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
            Error::Policy(err) => err.kind(),
            Error::OldStub { .. } | Error::Stub(_) | Error::Kernel { .. } | Error::Machine { .. } => ErrorKind::Host,
        }
    }

    fn hints(&self) -> Vec<String> {
        vec![match self {
            Error::Policy(err) => return err.hints(),
            Error::Stub(_) => "take the stub of the package `systemd-boot-efi`, or name another with `--stub FILE`".to_owned(),
            Error::Kernel { .. } | Error::Unpack { .. } => "name the kernel's image with `--kernel-image FILE`".to_owned(),
            Error::Machine { .. } => "take stub and kernel of the same architecture (`--arch`)".to_owned(),
            Error::Compose { source: PeError::TooLarge { .. }, .. } => "leave modules and firmware out of the image".to_owned(),
            Error::OldStub { .. } | Error::Compose { .. } => "take the stub of a newer systemd with `--stub FILE`".to_owned(),
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
    let since = |what, since| match generation {
        found if found < Some(since) => Err(Error::OldStub { what, since, found }),
        _ => Ok(()),
    };
    let mut shared = vec![
        (".osrel", parts.os_release),
        (".cmdline", parts.command_line.as_bytes()),
        (".uname", parts.version.as_bytes()),
        (".pcrpkey", parts.policy.map_or("", PolicyKey::public_pem).as_bytes()),
        (".initrd", initrd),
        (".ucode", microcode),
    ];
    // An older stub starts the kernel where it lies, and its memory may grow over what follows: it has to be the last.
    let place = if generation >= Some(LINUX_ANYWHERE_SINCE) { 4 } else { shared.len() };
    shared.insert(place, (".linux", &kernel));
    shared.retain(|(_, data)| !data.is_empty());
    let sbat = sbat(&stub, &linux);
    let mut profiles = profiles(parts);
    if profiles.len() > 1 {
        since("profiles", PROFILES_SINCE)?;
    }
    if let Some(key) = parts.policy {
        since("policies for register 11", MEASURED_SINCE)?;
        let all: Vec<_> = shared.iter().copied().chain([(".sbat", &sbat[..])]).collect();
        profiles.iter_mut().try_for_each(|profile| sign(profile, &all, key, reporter))?;
    }
    let may_keep_sbat = generation < Some(SBAT_ROOM_SINCE);
    let bytes = compose(parts.stub, &shared, (&sbat, may_keep_sbat), &profiles.concat(), linux.is_nx_compatible())
        .map_err(|source| Error::Compose { version, source })?;
    let figures = format!("{}, of it {} kernel", Size(bytes.len() as u64), Size(kernel.len() as u64));
    reporter.event(&Event::End { stage: Stage::Uki, figures: &figures });
    Ok(bytes)
}

/// A section that belongs to a profile.
type Own = (&'static str, Vec<u8>);

/// Returns the sections of the profiles, the one without further words first; if it is the only one, it has none.
fn profiles(parts: &Parts<'_>) -> Vec<Vec<Own>> {
    if parts.profiles.is_empty() {
        return vec![Vec::new()];
    }
    let main = vec![(PROFILE, format!("ID={MAIN}").into_bytes())];
    let others = parts.profiles.iter().map(|Profile { id, append }| {
        let line = format!("{} {append}", parts.command_line);
        vec![(PROFILE, format!("ID={id}\nTITLE={id}").into_bytes()), (".cmdline", line.trim().as_bytes().to_vec())]
    });
    [main].into_iter().chain(others).collect()
}

/// Adds the signatures of what register 11 is when this profile is booted; what is `shared` counts where it has nothing of its own.
fn sign(profile: &mut Vec<Own>, shared: &[(&str, &[u8])], key: &PolicyKey, reporter: &dyn Reporter) -> Result<(), Error> {
    let own: Vec<_> = profile.iter().map(|(name, data)| (*name, &data[..])).collect();
    let register = measured::register_11(&[&own, shared].concat());
    let message = format!("register 11 of a TPM will be {} in the initrd", measured::hex(&measured::phases(register)[0]));
    reporter.event(&Event::Detail { stage: Stage::Uki, message: &message });
    if let Some(signatures) = measured::signatures(register, key)? {
        profile.push((".pcrsig", signatures.into_bytes()));
    }
    Ok(())
}

fn compose(
    stub: &[u8],
    shared: &[(&str, &[u8])],
    (sbat, may_keep_sbat): (&[u8], bool),
    profiles: &[Own],
    is_nx_compatible: bool,
) -> Result<Vec<u8>, PeError> {
    let mut editor = Editor::new(stub)?;
    for (name, data) in shared {
        editor.add(name, data, *name == ".linux")?;
    }
    match editor.replace(".sbat", sbat) {
        Ok(true) => {}
        Ok(false) => editor.add(".sbat", sbat, false)?,
        Err(PeError::SectionFull { .. }) if may_keep_sbat => {}
        Err(err) => return Err(err),
    }
    profiles.iter().try_for_each(|(name, data)| editor.add(name, data, false))?;
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
