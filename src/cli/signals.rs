//! Signals: a build that is told to stop leaves no temporary file behind and says so by its exit code, 128 + the signal's number.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

/// Watches for signals from a thread of its own.
pub fn install() {
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP]) else { return };
    // A file size limit shall be an error of the write, not the end of the process; a handler that does nothing sees to it.
    let _ = signal_hook::flag::register(SIGXFSZ, std::sync::Arc::default());
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            crate::deliver::abandon_all();
            crate::host::sign::abandon();
            crate::host::emulate::abandon();
            std::process::exit(128 + signal);
        }
    });
}
