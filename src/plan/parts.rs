//! Packages that are taken for their files alone, without their dependencies: the kernel and firmware.
//!
//! A kernel package depends on tools that install it (another initrd generator among them), which an image has no use for.

use std::collections::{BTreeSet, VecDeque};

use super::{Error, Part, Planned, Reason, Request, first_available, split_optional};
use crate::base::glob;
use crate::config::Item;
use crate::package::Catalog;

/// Returns the package that `item` names, and those of its dependencies whose names match a glob of `follow`, and theirs: a
/// metapackage leads to the package that has the files. Of `A | B` it is the first that the repositories have; `NAME ?` gives nothing
/// if they lack it. A name of `follow` that is no glob is taken in the first package's version also where nothing depends on it: modules
/// of Fedora's kernel depend on the kernel, and not the other way round.
pub fn parts(part: Part, item: &Item, follow: &[Item], catalog: &dyn Catalog) -> Result<Vec<Planned>, Error> {
    let request = Request::default();
    let (text, is_optional) = split_optional(item);
    let first = match first_available(&request, catalog, item, text) {
        Err(Error::Unknown { .. }) if is_optional => return Ok(Vec::new()),
        found => found?,
    };
    let mut queue = VecDeque::from([(first, Reason::Requested(item.clone()))]);
    let is_name = |item: &&Item| !item.text.contains(['*', '?', '[', '{']);
    for beside in follow.iter().filter(is_name) {
        let same = catalog.named(&beside.text).iter().find(|id| catalog.version(**id) == catalog.version(first));
        queue.extend(same.map(|id| (*id, Reason::Requested(beside.clone()))));
    }
    let mut seen: BTreeSet<u32> = queue.iter().map(|(id, _)| *id).collect();
    let mut parts = Vec::new();
    while let Some((id, reason)) = queue.pop_front() {
        let relations = catalog.relations(id).map_err(Clone::clone)?;
        for requirement in &relations.requires {
            for constraint in &requirement.0 {
                // RPM's kernel packages require each other by what they provide (`kernel-modules-core-uname-r`).
                let is_followed = |id: &u32| {
                    let name = catalog.name(*id).as_bytes();
                    follow.iter().any(|glob| glob::matches(glob.text.as_bytes(), name))
                };
                let Some(next) = catalog.offers(constraint).into_iter().find(is_followed) else { continue };
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
