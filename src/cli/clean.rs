//! `clean`: empties the cache.

use super::args::{Clean, Global};
use super::{Failure, print, session};
use crate::base::size::Size;

/// Runs the command.
pub fn run(args: &Clean, global: &Global) -> Result<(), Failure> {
    let store = session::open_store(global);
    let freed = if args.payloads { store.clean_payloads()? } else { store.clean_all()? };
    if global.json {
        return print(&format!("{}\n", serde_json::json!({ "schema": 1, "freed": freed })));
    }
    if global.quiet {
        return Ok(());
    }
    print(&format!("freed {}\n", Size(freed)))
}
