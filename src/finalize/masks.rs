//! Units that cannot or must not start in an initrd: nothing pulls them in any more.
//!
//! `sysinit.target` wants `ldconfig.service`, whose program is in a package that no dependency brings: the only unit that fails in a
//! systemd initrd of plain Debian packages. So whatever is wanted by a link and could not run loses the link; what a unit requires
//! by its own text is left, for that is a defect that [`super::check`] reports. Units named by the profile are masked.

use super::units::{self, Unit};
use super::{Context, Error, Notes};
use crate::tree::{Entry, Kind, Tree, TreePath};

pub(super) fn run(tree: &mut Tree, context: &Context<'_>, notes: &mut Notes) -> Result<(), Error> {
    for item in &context.options.masks {
        let wrong =
            |reason: &str| Error::Option { text: item.text.clone(), reason: reason.to_owned(), source_line: item.source.clone() };
        if item.text.contains('/') || !item.text.contains('.') {
            return Err(wrong("wanted the name of a unit with its suffix, such as `ldconfig.service`"));
        }
        // A unit that is not in the image needs no mask: profiles name the units of all releases.
        if units::load(tree, &item.text).is_none_or(|unit| unit.masked) {
            continue;
        }
        let path = TreePath::literal("etc/systemd/system").join(item.text.as_bytes()).map_err(|err| wrong(&err.to_string()))?;
        notes.put(tree, &path, Entry::symlink("/dev/null", notes.origin()))?;
    }
    let doomed: Vec<(TreePath, String)> = links(tree)
        .filter_map(|path| {
            let name = std::str::from_utf8(path.name()).ok()?.to_owned();
            let reason = why_not(tree, &name)?;
            Some((path, reason))
        })
        .collect();
    for (path, reason) in doomed {
        tree.remove(&path);
        notes.did(format!("removed `{path}`: {reason}"));
        if let Some(parent) = path.parent().filter(|parent| tree.below(parent).next().is_none()) {
            tree.remove(&parent);
        }
    }
    Ok(())
}

/// Returns the links in the `.wants` directories of units.
fn links(tree: &Tree) -> impl Iterator<Item = TreePath> {
    let system = units::DIRECTORIES.iter().map(|directory| TreePath::literal(directory));
    system.flat_map(|directory| {
        let is_wants = |path: &TreePath| path.parent().is_some_and(|parent| parent.name().ends_with(b".wants"));
        let links = tree.below(&directory).filter(move |(path, entry)| matches!(entry.kind, Kind::Symlink(_)) && is_wants(path));
        links.map(|(path, _)| path.clone()).collect::<Vec<_>>()
    })
}

/// Tells why a unit cannot start; nothing if it can.
fn why_not(tree: &Tree, name: &str) -> Option<String> {
    let Some(unit) = units::load(tree, name) else {
        return Some("there is no such unit in the image".to_owned());
    };
    let lacks = |unit: &Unit| {
        if unit.masked || unit.not_in_initrd {
            return None;
        }
        let command = units::missing_programs(tree, unit).first().copied()?;
        Some(format!("`{}` of {} is not in the image", command.program, command.key))
    };
    if let Some(reason) = lacks(&unit) {
        return Some(reason);
    }
    let service = unit.activates.as_ref().filter(|_| !unit.masked)?;
    match units::load(tree, service) {
        None => Some(format!("what it starts, `{service}`, is not in the image")),
        Some(service) => lacks(&service),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Options, finalize, run_step};
    use super::*;
    use crate::config::Item;
    use crate::tree::Origin;

    fn tree() -> Tree {
        let system = "usr/lib/systemd/system";
        let mut tree = Tree::new();
        for (name, text) in [
            ("ldconfig.service", "[Service]\nExecStart=/sbin/ldconfig -X\n"),
            ("fine.service", "[Service]\nExecStart=-/sbin/ldconfig\nExecStart=/usr/bin/true\n"),
            ("real.service", "[Unit]\nConditionPathExists=!/etc/initrd-release\n[Service]\nExecStart=/no\n"),
            ("lonely.socket", "[Socket]\nListenStream=/x\n"),
            ("named.service", "[Service]\nExecStart=/usr/bin/true\n"),
            ("sysinit.target", "[Unit]\nDescription=x\n"),
        ] {
            let path = TreePath::literal(system).join(name.as_bytes()).expect("a path");
            tree.insert(&path, Entry::file(text, Origin::Made("test"))).expect(name);
        }
        for (owner, name) in [
            ("sysinit.target", "ldconfig.service"),
            ("sysinit.target", "fine.service"),
            ("sysinit.target", "real.service"),
            ("sysinit.target", "lonely.socket"),
            ("sysinit.target", "named.service"),
            ("timers.target", "gone.timer"),
        ] {
            let path = TreePath::literal(&format!("{system}/{owner}.wants/{name}"));
            tree.insert(&path, Entry::symlink(&format!("../{name}"), Origin::Made("test"))).expect(name);
        }
        tree.insert(&TreePath::literal("usr/bin/true"), Entry::file("elf", Origin::Made("test"))).expect("a file");
        tree
    }

    #[test]
    fn what_cannot_run_is_no_longer_wanted() {
        let mut tree = tree();
        let done = run_step("masks", &mut tree, &Options::default());
        let wanted: Vec<String> = links(&tree).map(|path| String::from_utf8_lossy(path.name()).into_owned()).collect();
        assert_eq!(wanted, ["fine.service", "named.service", "real.service"]);
        assert!(tree.get(&TreePath::literal("usr/lib/systemd/system/timers.target.wants")).is_none(), "emptied");
        assert_eq!(done.effects.len(), 3, "{:?}", done.effects);
        assert!(done.effects[0].contains("`/sbin/ldconfig` of ExecStart"), "{:?}", done.effects);
    }

    #[test]
    fn units_named_by_the_profile_are_masked_and_absent_ones_passed_over() {
        let mut tree = tree();
        let masks = ["named.service", "absent.service"].map(Item::from_command_line).to_vec();
        run_step("masks", &mut tree, &Options { masks, ..Options::default() });
        let mask = tree.get(&TreePath::literal("etc/systemd/system/named.service")).map(|entry| entry.kind.clone());
        assert_eq!(mask, Some(Kind::Symlink(b"/dev/null".to_vec())));
        assert!(tree.get(&TreePath::literal("etc/systemd/system/absent.service")).is_none());
    }

    #[test]
    fn a_mask_that_is_not_a_unit_name_is_refused() {
        for text in ["ldconfig", "../../etc/passwd.service"] {
            let options = Options { masks: vec![Item::from_command_line(text)], ..Options::default() };
            let context = Context { options: &options, time_s: 0, host_ids: None };
            let step = [Item::from_command_line("masks")];
            let error = finalize(&mut tree(), &step, &context, &crate::report::Silent).expect_err(text);
            assert!(matches!(error, Error::Option { .. }), "{error}");
        }
    }
}
