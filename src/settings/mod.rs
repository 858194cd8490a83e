//! The machine's own configuration: what of it an image needs, and nothing else. It goes into the host segment.
//!
//! Everything comes out of [`Facts`]; what may enter is the list in `host::declared`, and the files that crypttab names.

mod crypttab;
mod error;
mod files;
mod keymap;
mod layer;
mod loads;

use std::collections::BTreeSet;

pub use error::Error;
pub use loads::module_names;

use crate::config::Profile;
use crate::host::facts::Facts;
use crate::report::{Event, Reporter, Stage};
use crate::tree::{Tree, TreePath};
use layer::Layer;

/// The configuration of a machine, as an image has it.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The files.
    pub tree: Tree,
    /// Those of them that others must not read.
    pub secrets: BTreeSet<TreePath>,
}

/// What is asked of every kind of setting: the machine, the features that are on, and whom to tell.
struct Ask<'a> {
    facts: &'a Facts,
    features: BTreeSet<&'a str>,
    reporter: &'a dyn Reporter,
}

impl Ask<'_> {
    fn is_on(&self, feature: &str) -> bool {
        self.features.contains(feature)
    }

    fn warn(&self, message: &str) {
        self.reporter.event(&Event::Warning { stage: Stage::Finalize, message });
    }

    fn tell(&self, message: &str) {
        self.reporter.event(&Event::Detail { stage: Stage::Finalize, message });
    }
}

/// Returns the configuration files of a machine that an image with these features needs.
pub fn settings(profile: &Profile, facts: &Facts, reporter: &dyn Reporter) -> Result<Settings, Error> {
    of(facts, profile.with.iter().map(|item| item.text.as_str()), reporter)
}

fn of<'a>(facts: &'a Facts, features: impl Iterator<Item = &'a str>, reporter: &'a dyn Reporter) -> Result<Settings, Error> {
    let ask = Ask { facts, features: features.collect(), reporter };
    let mut layer = Layer::default();
    crypttab::lay(&ask, &mut layer)?;
    keymap::lay(&ask, &mut layer)?;
    files::lay(&ask, &mut layer)?;
    for path in &layer.settings.secrets {
        ask.tell(&format!("`{path}` is a secret: the image is for root alone"));
    }
    Ok(layer.settings)
}
