//! The command line: the only rank that prints, and the only one that ends the program.

mod args;
mod bare;
mod build;
mod check;
mod clean;
mod diagnose;
mod diff;
mod generate;
mod host;
mod kernel_install;
mod ls;
mod packages;
mod plan;
mod profiles;
mod progress;
mod rebuild;
mod request;
mod session;
mod signals;
mod sizes;
mod status;
mod style;
mod trial;
mod uki;
mod unpack;
mod update_initramfs;
mod why;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use crate::base::error::{Diagnostic, ErrorKind};
use args::{Cli, Command};
use progress::{Progress, Stream};

/// Whatever ends a command early.
pub(crate) type Failure = Box<dyn Diagnostic>;

impl<E: Diagnostic + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Box::new(error)
    }
}

/// Something is wrong with what was typed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UsageError {
    /// Options or values that make no sense.
    #[error("{what}")]
    Wrong {
        /// What.
        what: String,
        /// What to type instead.
        hint: String,
    },
    /// `--strict`, and there were warnings.
    #[error("{0} warnings, and `--strict` takes them as errors")]
    Strict(u32),
    /// Standard output cannot take the answer.
    #[error("cannot write to standard output")]
    Stdout(#[source] std::io::Error),
}

impl Diagnostic for UsageError {
    fn kind(&self) -> ErrorKind {
        match self {
            UsageError::Wrong { .. } => ErrorKind::Usage,
            UsageError::Strict(_) => ErrorKind::Config,
            UsageError::Stdout(_) => ErrorKind::Output,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            UsageError::Wrong { hint, .. } if !hint.is_empty() => vec![hint.clone()],
            _ => Vec::new(),
        }
    }
}

/// An error and the file it is about, where the error itself does not know.
#[derive(Debug)]
pub(crate) struct At<E: Diagnostic + 'static> {
    /// The error.
    pub error: E,
    /// The file.
    pub place: String,
}

impl<E: Diagnostic + 'static> std::fmt::Display for At<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.error, f)
    }
}

impl<E: Diagnostic + 'static> std::error::Error for At<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

impl<E: Diagnostic + 'static> Diagnostic for At<E> {
    fn kind(&self) -> ErrorKind {
        self.error.kind()
    }

    fn place(&self) -> Option<String> {
        match self.error.place() {
            Some(inner) => Some(format!("{} · {inner}", self.place)),
            None => Some(self.place.clone()),
        }
    }

    fn hints(&self) -> Vec<String> {
        self.error.hints()
    }
}

/// Reads the command line, does what it says, returns the exit code.
pub fn run() -> ExitCode {
    signals::install();
    let cli = match Cli::try_parse_from(words(std::env::args_os())) {
        Ok(cli) => cli,
        Err(err) => {
            // Help and version go to standard output with success, usage errors to standard error with 2; a closed stream changes neither.
            let _ = err.print();
            return ExitCode::from(if err.use_stderr() { ErrorKind::Usage.exit_code() } else { 0 });
        }
    };
    let command = cli.command.unwrap_or_else(|| Command::Build(Box::default()));
    let stream = if matches!(command, Command::Build(_)) { Stream::Out } else { Stream::Err };
    let progress = Progress::new(&cli.global, stream);
    let result = match &command {
        Command::Build(args) => build::run(args, &cli.global, &progress),
        Command::Plan(args) => plan::run(args, &cli.global, &progress),
        Command::Ls(args) => ls::run(args, &cli.global),
        Command::Why(args) => why::run(args, &cli.global),
        Command::Diff(args) => diff::run(args, &cli.global),
        Command::Unpack(args) => unpack::run(args, &cli.global),
        Command::Profiles(args) => profiles::run(args, &cli.global),
        Command::Check(args) => check::run(args, &cli.global, &progress),
        Command::Test(args) => trial::run(args, &cli.global),
        Command::Status(args) => status::run(args, &cli.global, &progress),
        Command::Host(args) => host::run(args, &cli.global),
        Command::KernelInstall(args) => kernel_install::run(args, &cli.global),
        Command::UpdateInitramfs(args) => update_initramfs::run(args, &cli.global),
        Command::Clean(args) => clean::run(args, &cli.global),
        Command::Generate(args) => generate::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            progress.error(&*error);
            ExitCode::from(error.kind().exit_code())
        }
    }
}

/// Started as `update-initramfs`, the program is that command; asked for its version, it says that it is not initramfs-tools.
fn words(typed: std::env::ArgsOs) -> Vec<OsString> {
    let mut words: Vec<OsString> = typed.collect();
    let name = words.first().and_then(|name| Path::new(name).file_name());
    if name.is_some_and(|name| name == "update-initramfs") && words.get(1).is_none_or(|word| word != "--version") {
        words.insert(1, "update-initramfs".into());
    }
    words
}

/// Writes an answer to standard output. A reader that has gone away (`| head`) is no error.
fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(err) if err.kind() != std::io::ErrorKind::BrokenPipe => Err(UsageError::Stdout(err).into()),
        _ => Ok(()),
    }
}
