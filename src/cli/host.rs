//! `host`: what this machine is, as far as an image depends on it.

use std::path::Path;

use super::args::{Global, HostArgs};
use super::{Failure, print};
use crate::host::facts::{Facts, FileContent};
use crate::host::{probe, traits};

/// Runs the command.
pub fn run(args: &HostArgs, global: &Global) -> Result<(), Failure> {
    let mut facts = probe::probe(Path::new("/"))?;
    if !args.secrets {
        withhold(&mut facts);
    }
    match global.json {
        true => print(&format!("{}\n", serde_json::to_string_pretty(&facts).expect("invariant: facts are plain data"))),
        false => print(&as_text(&facts)),
    }
}

fn withhold(facts: &mut Facts) {
    for file in facts.files.iter_mut().filter(|file| file.secret) {
        file.content = FileContent::Withheld;
    }
}

fn as_text(facts: &Facts) -> String {
    let words: Vec<String> = traits::traits(facts).into_iter().collect();
    format!("{} {} {}, {}\n", facts.os.id, facts.machine, facts.kernel, words.join(" "))
}
