//! `unpack`: writes what is in an image below a directory.

use super::args::{Global, Unpack};
use super::diagnose::one_line;
use super::progress::note;
use super::style::Style;
use super::{At, Failure, ls};

/// Runs the command.
pub fn run(args: &Unpack, global: &Global) -> Result<(), Failure> {
    let found = ls::read(&args.image)?;
    let extracted = found.extract(&args.dir).map_err(|error| At { error, place: args.image.display().to_string() })?;
    let nodes: Vec<String> = extracted.left_out.iter().take(5).map(|path| format!("`{path}`")).collect();
    let names = extracted.dropped.iter().take(5).map(|name| format!("`{}`", name.escape_ascii())).collect::<Vec<_>>();
    for (count, what, examples) in [
        (extracted.left_out.len(), "device nodes are left out, which only root can make", nodes),
        (extracted.dropped.len(), "entries are left out, as the kernel would: their directory is not there", names),
    ] {
        if count > 0 && !global.quiet {
            let warning = Style::for_stderr(global.color).warning("warning:");
            note(&one_line(&format!("{warning} {count} {what}: {}", examples.join(", "))));
        }
    }
    Ok(())
}
