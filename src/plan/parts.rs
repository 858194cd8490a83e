//! Packages that are taken for their files alone, without their dependencies: the kernel and firmware.
//!
//! A kernel package depends on tools that install it (another initrd generator among them), which an image has no use for.

use std::collections::{BTreeSet, VecDeque};

use super::{Error, Part, Planned, Reason, Request, find};
use crate::base::glob;
use crate::config::Item;
use crate::package::Catalog;

/// Returns the package that `item` names, and those of its dependencies whose names match a glob of `follow`, and theirs: a
/// metapackage leads to the package that has the files. `NAME ?` gives nothing if the repositories lack it.
pub fn parts(part: Part, item: &Item, follow: &[Item], catalog: &dyn Catalog) -> Result<Vec<Planned>, Error> {
    let request = Request::default();
    let (name, is_optional) = match item.text.trim().strip_suffix('?') {
        Some(name) => (name.trim(), true),
        None => (item.text.trim(), false),
    };
    let first = match find(&request, catalog, item, name) {
        Err(Error::Unknown { .. }) if is_optional => return Ok(Vec::new()),
        found => found?,
    };
    let mut queue = VecDeque::from([(first, Reason::Requested(item.clone()))]);
    let mut seen = BTreeSet::from([first]);
    let mut parts = Vec::new();
    while let Some((id, reason)) = queue.pop_front() {
        let relations = catalog.relations(id).map_err(Clone::clone)?;
        for requirement in &relations.requires {
            for constraint in &requirement.0 {
                if !follow.iter().any(|glob| glob::matches(glob.text.as_bytes(), constraint.name.as_bytes())) {
                    continue;
                }
                let Some(next) = catalog.named(&constraint.name).iter().copied().find(|id| catalog.meets(*id, constraint)) else {
                    continue;
                };
                if seen.insert(next) {
                    let by = catalog.name(id).to_owned();
                    queue.push_back((next, Reason::Required { by, requirement: requirement.to_string() }));
                }
            }
        }
        parts.push(Planned { package: catalog.package(id)?, reason, omitted: false, part });
    }
    Ok(parts)
}
