//! The hidden `_generate`: man pages and shell completions, made from the command line's own definition.

use std::path::Path;

use clap::{CommandFactory, ValueEnum};
use clap_complete::Shell;

use super::args::{Cli, Generate};
use super::{Failure, UsageError};
use crate::base::fs::{self, FileError};

/// Runs the command.
pub fn run(args: &Generate) -> Result<(), Failure> {
    fs::create_dir_all(&args.dir)?;
    match args.what.as_str() {
        "man" => man(&args.dir),
        "completions" => completions(&args.dir),
        other => {
            let what = format!("`{other}` cannot be generated");
            Err(UsageError::Wrong { what, hint: "use `man` or `completions`".to_owned() }.into())
        }
    }
}

fn man(dir: &Path) -> Result<(), Failure> {
    let on = |source| FileError { action: "write man pages to", path: dir.to_owned(), source };
    // What other programs start has no place in the short help, but is described.
    let shown = ["kernel-install", "update-initramfs"];
    let command = shown.iter().fold(Cli::command(), |command, name| command.mut_subcommand(*name, |sub| sub.hide(false)));
    clap_mangen::generate_to(command, dir).map_err(on)?;
    Ok(())
}

fn completions(dir: &Path) -> Result<(), Failure> {
    for shell in Shell::value_variants() {
        let on = |source| FileError { action: "write completions to", path: dir.to_owned(), source };
        clap_complete::generate_to(*shell, &mut Cli::command(), "mkinitrd-pkg", dir).map_err(on)?;
    }
    Ok(())
}
