//! What of the packages a build will keep, told before they are read.

use super::{Error, kernel};
use crate::config::Profile;
use crate::plan::Part;
use crate::prune::Rules;
use crate::report::Stage;
use crate::tree::TreePath;
use crate::unpack::Layout;

/// Decides by path.
#[derive(Debug)]
pub struct Keeps {
    layout: Layout,
    rules: Rules,
    /// Nothing is pruned.
    all: bool,
    /// The UEFI stub.
    stub: Option<TreePath>,
}

impl Keeps {
    /// Reads the rules and the layout of a profile; a build that stops after unpacking keeps everything.
    pub fn new(profile: &Profile, stop_after: Option<Stage>) -> Result<Self, Error> {
        let rules = Rules::new(profile.prune.iter().cloned())?;
        let stub = profile.uki_stub.as_ref().map(|item| TreePath::parse(item.text.as_bytes())).transpose()?;
        Ok(Self { layout: super::layout(profile)?, rules, all: stop_after == Some(Stage::Unpack), stub })
    }

    /// Tells whether a path, as a package has it, is kept out of a package of this part.
    pub fn keeps(&self, part: Part, path: &TreePath) -> bool {
        let path = self.layout.canonical(path.clone());
        match part {
            Part::Base => self.all || self.rules.verdict(&path).stores(),
            // The kernel itself goes into a unified image.
            Part::Kernel => kernel::is_of_kernel(&path) || path.as_bytes().starts_with(b"boot/vmlinuz-"),
            Part::Firmware | Part::Microcode => kernel::is_firmware(&path),
            Part::Stub => self.stub.as_ref() == Some(&path),
        }
    }
}
