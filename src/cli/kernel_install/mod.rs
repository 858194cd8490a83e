//! `kernel-install add|verify|remove`: what the plugins of kernel-install(8) start. Its exit code is never 77, which would mean "stop, all is well".

mod add;
pub mod bootable;
mod call;
pub mod charge;
mod error;
pub mod initrd;
mod room;
mod verify;

use super::Failure;
use super::args::{Global, KernelInstall};
use super::progress::{Progress, Stream};
use crate::report::{Event, Reporter, Stage};
use call::{Call, Variables};

pub use add::MODE;

/// Under this name we are asked for in `install.conf`.
pub const GENERATOR: &str = "mkinitrd-pkg";

/// Runs the command.
pub fn run(args: &KernelInstall, global: &Global) -> Result<(), Failure> {
    let variables = Variables::read(|name| std::env::var_os(name));
    let progress = Progress::new(&told(global, variables.verbose), Stream::Err);
    match args.verb.as_str() {
        "add" => {
            let Some(call) = Call::new(args, variables)? else { return Ok(()) };
            let result = add::run(&call, global, &progress);
            if result.is_err() {
                bootable::warn_after_failure(&call, &progress);
            }
            result
        }
        "verify" => match Call::new(args, variables)? {
            Some(call) => verify::run(&call, &progress),
            None => Ok(()),
        },
        "remove" => {
            bootable::warn_before_removal(args, &variables, &progress);
            Ok(())
        }
        other => {
            // Verbs that kernel-install may learn are not ours.
            let message = format!("nothing to do for `{other}`");
            progress.event(&Event::Detail { stage: Stage::Config, message: &message });
            Ok(())
        }
    }
}

/// Returns options with which plugins and hooks run: they are silent unless more is asked for.
pub fn told(global: &Global, verbose: bool) -> Global {
    let mut global = global.clone();
    global.quiet = global.quiet || !(verbose || global.verbose > 0);
    global.verbose = global.verbose.max(u8::from(verbose));
    global
}
