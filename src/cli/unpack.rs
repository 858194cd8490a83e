//! `unpack`: writes what is in an image below a directory.

use super::args::{Global, Unpack};
use super::style::Style;
use super::{At, Failure, ls};

/// Runs the command.
pub fn run(args: &Unpack, global: &Global) -> Result<(), Failure> {
    let found = ls::read(&args.image)?;
    let left_out = found.extract(&args.dir).map_err(|error| At { error, place: args.image.display().to_string() })?;
    if !left_out.is_empty() && !global.quiet {
        let style = Style::for_stderr(global.color);
        let names: Vec<String> = left_out.iter().take(5).map(|path| format!("`{path}`")).collect();
        super::progress::note(&format!(
            "{} {} device nodes were left out, which only root can make: {}",
            style.warning("warning:"),
            left_out.len(),
            names.join(", ")
        ));
    }
    Ok(())
}
