//! Signs an image for Secure Boot with the host's own program, the only one that a build ever runs. `docs/decisions/signing.md` says why.
//!
//! The program gets copies in a directory that nobody else can enter, and what it gives back is believed only if nothing but a
//! signature was added. The key stays where it is; a passphrase is between the program and whoever sits at the terminal.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use tempfile::TempDir;

use crate::base::error::{Diagnostic, ErrorKind};
use crate::base::fs::{self as base_fs, FileError};
use crate::base::limit;
use crate::format::pe::{Pe, PeError};

/// How much of what the program said is repeated.
const SAID_CHARS_MAX: usize = 400;

/// The directory that is in use, to be removed when the process is interrupted.
static LIVE: Mutex<Live> = Mutex::new(Live { directory: None, abandoned: false });

struct Live {
    directory: Option<PathBuf>,
    abandoned: bool,
}

/// A program that signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// systemd's, since version 257.
    SystemdSbsign,
    /// That of the package `sbsigntool`.
    Sbsign,
}

impl Tool {
    /// All, the preferred one first.
    pub const ALL: [Tool; 2] = [Tool::SystemdSbsign, Tool::Sbsign];

    fn name(self) -> &'static str {
        match self {
            Tool::SystemdSbsign => "systemd-sbsign",
            Tool::Sbsign => "sbsign",
        }
    }

    fn package(self) -> &'static str {
        match self {
            Tool::SystemdSbsign => "systemd",
            Tool::Sbsign => "sbsigntool",
        }
    }

    /// Returns where it is on this machine.
    fn find(self) -> Option<PathBuf> {
        let search = std::env::var_os("PATH").unwrap_or_default();
        let private = PathBuf::from("/usr/lib/systemd");
        std::env::split_paths(&search).chain([private]).map(|directory| directory.join(self.name())).find(|path| path.is_file())
    }

    fn command(self, program: &Path, signing: &Signing, from: &Path, to: &Path) -> Command {
        let mut command = Command::new(program);
        match self {
            Tool::SystemdSbsign => {
                command.args(["sign", "--private-key"]).arg(&signing.key).arg("--certificate").arg(&signing.certificate)
            }
            Tool::Sbsign => command.arg("--key").arg(&signing.key).arg("--cert").arg(&signing.certificate),
        };
        command.arg(from).arg("--output").arg(to);
        command
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Tool {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let tool = Tool::ALL.into_iter().find(|tool| tool.name() == text);
        tool.ok_or_else(|| format!("`{text}` is no program that signs: wanted `systemd-sbsign` or `sbsign`"))
    }
}

/// How an image is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signing {
    /// The private key, a file.
    pub key: PathBuf,
    /// Its certificate, a file.
    pub certificate: PathBuf,
    /// The program; the first that the machine has if none is named.
    pub tool: Option<Tool>,
}

/// Why an image is not signed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no program for it.
    #[error("cannot sign for Secure Boot: this machine has no `{}`", names(.wanted))]
    NoTool {
        /// What was looked for.
        wanted: Vec<Tool>,
    },
    /// The program failed.
    #[error("cannot sign for Secure Boot: `{tool}` {how}")]
    Failed {
        /// The program.
        tool: Tool,
        /// How it ended and what it said last.
        how: String,
        /// Why it could not be started, if so.
        #[source]
        source: Option<io::Error>,
    },
    /// What the program gave back is not the image with a signature.
    #[error("`{tool}` changed more than the signature of the image, or added none: it is not used")]
    Changed {
        /// The program.
        tool: Tool,
        /// What is wrong with the file, if it is no PE file any more.
        #[source]
        source: Option<PeError>,
    },
    /// A file is not there.
    #[error(transparent)]
    File(#[from] FileError),
    /// The process is being stopped.
    #[error("the run was interrupted")]
    Interrupted,
}

fn names(tools: &[Tool]) -> String {
    tools.iter().map(|tool| tool.name()).collect::<Vec<_>>().join("` or `")
}

impl Diagnostic for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Changed { .. } => ErrorKind::Untrusted,
            Error::File(err) => err.kind(),
            Error::NoTool { .. } | Error::Failed { .. } | Error::Interrupted => ErrorKind::Host,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Error::NoTool { wanted } => {
                let packages: Vec<_> = wanted.iter().map(|tool| format!("`{}` (package `{}`)", tool, tool.package())).collect();
                vec![format!("install {}", packages.join(" or "))]
            }
            Error::Failed { .. } => {
                vec!["check that key and certificate belong together, and that the key needs no passphrase or you are asked for it".to_owned()]
            }
            _ => Vec::new(),
        }
    }
}

/// A program that is there and can read its key and certificate, found before any work is done.
#[derive(Debug, Clone)]
pub struct Signer {
    signing: Signing,
    tool: Tool,
    program: PathBuf,
}

/// Finds the program and looks whether key and certificate are there.
pub fn signer(signing: &Signing) -> Result<Signer, Error> {
    for path in [&signing.key, &signing.certificate] {
        fs::File::open(path).map_err(FileError::on("open", path))?;
    }
    let wanted = signing.tool.map_or_else(|| Tool::ALL.to_vec(), |tool| vec![tool]);
    match wanted.iter().find_map(|tool| Some((*tool, tool.find()?))) {
        Some((tool, program)) => Ok(Signer { signing: signing.clone(), tool, program }),
        None => Err(Error::NoTool { wanted }),
    }
}

impl Signer {
    /// Returns one that runs this program.
    pub fn with_program(signing: Signing, tool: Tool, program: PathBuf) -> Self {
        Self { signing, tool, program }
    }

    /// Returns the image with a signature. Whatever happens, no file is left behind.
    pub fn sign(&self, image: &[u8]) -> Result<Vec<u8>, Error> {
        let directory = private_directory()?;
        let signed = self.run(image, directory.path());
        LIVE.lock().unwrap_or_else(PoisonError::into_inner).directory = None;
        let path = directory.path().to_owned();
        directory.close().map_err(FileError::on("remove", path))?;
        let signed = signed?;
        self.check(image, &signed)?;
        Ok(signed)
    }

    fn run(&self, image: &[u8], directory: &Path) -> Result<Vec<u8>, Error> {
        let (from, to) = (directory.join("unsigned.efi"), directory.join("signed.efi"));
        fs::write(&from, image).map_err(FileError::on("write", &from))?;
        let mut command = self.tool.command(&self.program, &self.signing, &from, &to);
        // It may ask for a passphrase at the terminal, which it opens by itself.
        command.env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
        let failed = |how, source| Error::Failed { tool: self.tool, how, source };
        let output = command.output().map_err(|err| failed("cannot be started".to_owned(), Some(err)))?;
        if !output.status.success() {
            return Err(failed(ending(&output, directory), None));
        }
        match base_fs::read_optional(&to, limit::FILE_BYTES_MAX)? {
            Some(signed) => Ok(signed),
            None => Err(failed("ended well and wrote no file".to_owned(), None)),
        }
    }

    fn check(&self, image: &[u8], signed: &[u8]) -> Result<(), Error> {
        let wrong = |source| Error::Changed { tool: self.tool, source };
        let ours = Pe::parse(image).map_err(|err| wrong(Some(err)))?;
        let theirs = Pe::parse(signed).map_err(|err| wrong(Some(err)))?;
        if ours.is_content_of(&theirs) { Ok(()) } else { Err(wrong(None)) }
    }
}

/// Returns how a program ended and its last line of importance, without the names of our temporary files.
fn ending(output: &Output, directory: &Path) -> String {
    let said = String::from_utf8_lossy(&output.stderr).replace(&format!("{}/", directory.display()), "");
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let said: String = lines.join("; ").chars().filter(|c| !c.is_control()).take(SAID_CHARS_MAX).collect();
    format!("failed with {}: {}", output.status, if said.is_empty() { "it said nothing" } else { &said })
}

/// Makes a directory with permissions 0700 that goes when the process does.
fn private_directory() -> Result<TempDir, Error> {
    // Held until the signal thread knows the directory, so that none escapes it.
    let mut live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
    if live.abandoned {
        return Err(Error::Interrupted);
    }
    let parent = std::env::temp_dir();
    let directory = tempfile::Builder::new().prefix("mkinitrd-pkg-sign-").tempdir_in(&parent);
    let directory = directory.map_err(FileError::on("create a directory in", parent))?;
    live.directory = Some(directory.path().to_owned());
    Ok(directory)
}

/// Removes the temporary directory of this process and lets it make no more. For a signal thread, just before it exits.
pub fn abandon() {
    let mut live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
    live.abandoned = true;
    if let Some(directory) = live.directory.take() {
        // The process ends, and nobody is left to be told.
        let _ = fs::remove_dir_all(directory);
    }
}
