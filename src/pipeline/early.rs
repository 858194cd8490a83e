//! The early segment: where microcode comes from, and for which processors.

use super::{Error, Files, Planning, Request, Stores, kernel};
use crate::config::ImageKind;
use crate::family::Family;
use crate::microcode::{self, DIRECTORIES, Microcode, Wanted};
use crate::package::Catalog;
use crate::pipeline::Kernel;
use crate::plan::{self, Part, Planned};
use crate::report::{Event, Reporter, Silent, Stage};
use crate::tree::{Tree, TreePath};
use crate::unpack::Layout;

/// The only architecture whose kernel takes microcode from an initrd.
const MACHINE: &str = "x86_64";

/// Plans the packages that microcode is taken from, where no firmware directory of a machine has it.
pub(super) fn plan(wanted: &Planning<'_>, catalog: &dyn Catalog, reporter: &dyn Reporter) -> Result<Vec<Planned>, Error> {
    let Planning { profile, kernel, facts, .. } = *wanted;
    let own = facts.filter(|_| profile.kind == ImageKind::Host);
    let is_for_nobody = own.is_some_and(|facts| microcode::why_none(facts.cpu.as_ref()).is_some());
    let mut planned = Vec::new();
    if profile.machine != MACHINE || is_for_nobody || !kernel.is_some_and(Kernel::wants_firmware_packages) {
        return Ok(planned);
    }
    for item in &profile.microcode_packages {
        let parts = plan::parts(Part::Microcode, item, &[], catalog)?;
        if parts.is_empty() {
            let name = item.text.trim_end_matches('?').trim();
            let message = format!("`{name}`, wanted by {}, is not available and was left out", item.source);
            reporter.event(&Event::Detail { stage: Stage::Plan, message: &message });
        }
        planned.extend(parts);
    }
    Ok(planned)
}

/// Makes the early segment; empty where there is no microcode.
pub(super) fn make(
    request: &Request<'_>,
    files: &Files<'_>,
    family: &dyn Family,
    layout: &Layout,
    stores: Stores<'_>,
    reporter: &dyn Reporter,
) -> Result<Microcode, Error> {
    let profile = request.profile;
    let told = |message: String| reporter.event(&Event::Detail { stage: Stage::Modules, message: &message });
    let cpu = request.facts.filter(|_| profile.kind == ImageKind::Host).map(|facts| facts.cpu.as_ref());
    let why_none = match cpu {
        _ if profile.machine != MACHINE => Some("processors of this architecture take none"),
        Some(cpu) => microcode::why_none(cpu),
        None => None,
    };
    if let Some(why) = why_none {
        told(format!("no microcode: {why}"));
        return Ok(Microcode::default());
    }
    let wanted = cpu.flatten().map_or(Wanted::All, Wanted::One);
    let mut firmware = Tree::new();
    let source = match request.kernel.as_ref().and_then(Kernel::firmware_directory) {
        Some(directory) => {
            kernel::read_firmware(&mut firmware, &directory, &DIRECTORIES)?;
            format!("`{}`", directory.display())
        }
        None => {
            let bases = DIRECTORIES.map(|directory| TreePath::literal(&format!("usr/lib/firmware/{directory}")));
            let kept = |path: &TreePath, _: &str| bases.iter().any(|base| path.is_under(base));
            firmware = files.unpack(Part::Microcode, &kept, family, layout, stores, request.threads, &Silent)?.tree;
            "the packages".to_owned()
        }
    };
    let made = microcode::microcode(&firmware, wanted)?;
    match made.files.len() {
        0 => told(format!("no microcode: {source} have none for {wanted}")),
        count => told(format!("microcode for {wanted} from {count} files of {source}")),
    }
    Ok(made)
}
