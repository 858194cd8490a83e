//! Has the host's openssl sign what a register of a TPM may be, with a key that this process never sees (`docs/decisions/signing.md`).

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::base::error::{Diagnostic, ErrorKind};
use crate::base::fs::{self as base_fs, FileError};
use crate::base::limit;

const PROGRAM: &str = "openssl";
/// How much of what the program said is repeated.
const SAID_CHARS_MAX: usize = 300;

/// Why nothing is signed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program cannot be started.
    #[error("cannot sign for the TPM: `{PROGRAM}` cannot be started")]
    Start(#[source] io::Error),
    /// The program failed.
    #[error("cannot sign for the TPM with the key `{}`: `{PROGRAM}` {how}", .key.display())]
    Failed {
        /// The key.
        key: PathBuf,
        /// How it ended and what it said.
        how: String,
    },
    /// A file is not there.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Diagnostic for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::File(err) => err.kind(),
            Error::Start(_) | Error::Failed { .. } => ErrorKind::Host,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Error::Start(_) => vec!["install the package `openssl`".to_owned()],
            Error::Failed { .. } => vec!["name an RSA key of 2048 bits in PEM, as `openssl genrsa 2048` makes one".to_owned()],
            Error::File(_) => Vec::new(),
        }
    }
}

/// A key for the policies of a TPM: the public half, and where the private one lies, if it may sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyKey {
    private: Option<PathBuf>,
    name: String,
    public_pem: String,
}

/// Reads the public key, or asks the program for that of the private one. Nothing if there is neither.
pub fn key(private: Option<&Path>, public: Option<&Path>) -> Result<Option<PolicyKey>, Error> {
    if let Some(path) = private {
        std::fs::File::open(path).map_err(FileError::on("open", path))?;
    }
    let (name, public_pem) = match (private, public) {
        (_, Some(path)) => (path, base_fs::read_text(path, limit::TEXT_BYTES_MAX)?),
        (Some(path), None) => {
            let pem = run(path, &["pkey", "-pubout", "-in"], &[])?;
            (path, String::from_utf8_lossy(&pem).into_owned())
        }
        (None, None) => return Ok(None),
    };
    Ok(Some(PolicyKey { private: private.map(Path::to_owned), name: name.display().to_string(), public_pem }))
}

impl PolicyKey {
    /// Returns the file that names it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the public half.
    pub fn public_pem(&self) -> &str {
        &self.public_pem
    }

    /// Returns the signature of a policy's digest (PKCS #1 v1.5 over SHA-256 of it); nothing if there is no private key.
    pub fn sign(&self, policy: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.private.as_deref().map(|private| run(private, &["dgst", "-sha256", "-sign"], policy)).transpose()
    }
}

/// Runs the program with `arguments` and the key, gives it `input` and returns what it says. It may ask for a passphrase at the terminal.
fn run(key: &Path, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>, Error> {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).arg(key).env("LC_ALL", "C.UTF-8");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(Error::Start)?;
    if let Some(mut stdin) = child.stdin.take() {
        // Whoever ends without reading says why by himself.
        let _ = stdin.write_all(input);
    }
    let output = child.wait_with_output().map_err(Error::Start)?;
    if output.status.success() { Ok(output.stdout) } else { Err(Error::Failed { key: key.to_owned(), how: ending(&output) }) }
}

fn ending(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let said: String = lines.join("; ").chars().filter(|c| !c.is_control()).take(SAID_CHARS_MAX).collect();
    format!("failed with {}: {}", output.status, if said.is_empty() { "it said nothing" } else { &said })
}
