//! Links that packages' scripts make on a machine and an initrd of these features needs, as the profile names them:
//!
//! - `sysinit.target.wants/multipathd.service`: the unit starts in this image. What `[Install]` says is for a whole system, whose
//!   `multi-user.target` no initrd has.
//! - `usr/bin/awk -> usr/bin/gawk`: an alternative, or a shipped example that becomes configuration. The target may be a glob, of which
//!   the first match counts.
//!
//! What the link leads to need not be there: profiles name the units of all releases, and `plugins` says what an image cannot do without.

use super::{Context, Error, Notes, units};
use crate::base::glob::Glob;
use crate::config::Item;
use crate::tree::{Entry, Tree, TreePath};

const UNITS: &str = "etc/systemd/system";

pub(super) fn run(tree: &mut Tree, context: &Context<'_>, notes: &mut Notes) -> Result<(), Error> {
    for item in &context.options.enable {
        let link = match item.text.split_once(" -> ") {
            Some((link, target)) => named(tree, item, link.trim(), target.trim())?,
            None => wanted(tree, item)?,
        };
        let Some((link, target)) = link else { continue };
        let text = format!("/{}", String::from_utf8_lossy(target.as_bytes()));
        if tree.lookup(&link).is_none_or(|(real, _)| real != target) {
            notes.put(tree, &link, Entry::symlink(&text, notes.origin()))?;
        }
    }
    Ok(())
}

fn wrong(item: &Item, reason: impl Into<String>) -> Error {
    Error::Option { text: item.text.clone(), reason: reason.into(), source_line: item.source.clone() }
}

/// Reads `TARGET.wants/UNIT`.
fn wanted(tree: &Tree, item: &Item) -> Result<Option<(TreePath, TreePath)>, Error> {
    let parts = item.text.split_once('/').filter(|(owner, unit)| {
        let is_directory =
            owner.strip_suffix(".wants").or(owner.strip_suffix(".requires")).is_some_and(|unit| unit.contains('.'));
        is_directory && unit.contains('.') && !unit.contains('/')
    });
    let Some((_, unit)) = parts else {
        return Err(wrong(item, "wanted `UNIT.wants/UNIT` as in `sysinit.target.wants/multipathd.service`, or `LINK -> TARGET`"));
    };
    let Some(found) = units::load(tree, unit).filter(|unit| !unit.masked) else { return Ok(None) };
    let link = TreePath::literal(UNITS).join(item.text.as_bytes()).map_err(|err| wrong(item, err.to_string()))?;
    Ok(Some((link, found.path)))
}

/// Reads `LINK -> TARGET`.
fn named(tree: &Tree, item: &Item, link: &str, target: &str) -> Result<Option<(TreePath, TreePath)>, Error> {
    let glob = Glob::new(target).map_err(|err| wrong(item, err.to_string()))?;
    let link = TreePath::parse(link.as_bytes()).map_err(|err| wrong(item, err.to_string()))?;
    let found = tree.iter().map(|(path, _)| path).find(|path| glob.matches(path.as_bytes()));
    Ok(found.map(|found| (link, found.clone())))
}

#[cfg(test)]
mod tests {
    use super::super::{Options, run_step};
    use super::*;
    use crate::base::error::Diagnostic;
    use crate::report::Silent;
    use crate::tree::Origin;

    fn tree() -> Tree {
        let mut tree = Tree::new();
        for path in [
            "usr/lib/systemd/system/a.service",
            "usr/lib/systemd/system/b@.service",
            "usr/lib/systemd/network/89-ethernet.network.example",
        ] {
            tree.insert(&TreePath::literal(path), Entry::file("[Unit]\n", Origin::Package(0))).expect(path);
        }
        tree
    }

    fn options(words: &[&str]) -> Options {
        Options { enable: words.iter().copied().map(Item::from_command_line).collect(), ..Options::default() }
    }

    #[test]
    fn links_are_made_to_what_is_there() {
        let mut tree = tree();
        let words = [
            "sysinit.target.wants/a.service",
            "dev-nbd0.device.requires/b@nbd0.service",
            "sysinit.target.wants/gone.service",
            "etc/systemd/network/89-ethernet.network -> usr/lib/systemd/network/8?-ethernet.network.example",
            "usr/bin/awk -> usr/bin/gawk",
        ];
        let step = run_step("enable", &mut tree, &options(&words));
        assert_eq!(step.effects.len(), 3, "{:?}", step.effects);
        for (path, real) in [
            ("etc/systemd/system/sysinit.target.wants/a.service", "usr/lib/systemd/system/a.service"),
            ("etc/systemd/system/dev-nbd0.device.requires/b@nbd0.service", "usr/lib/systemd/system/b@.service"),
            ("etc/systemd/network/89-ethernet.network", "usr/lib/systemd/network/89-ethernet.network.example"),
        ] {
            assert_eq!(tree.lookup(&TreePath::literal(path)).map(|(path, _)| path), Some(TreePath::literal(real)), "{path}");
        }
        assert_eq!(run_step("enable", &mut tree, &options(&words)).effects, Vec::<String>::new(), "once is enough");
    }

    #[test]
    fn what_is_no_link_is_told() {
        for word in
            ["a.service", "sysinit.target/a.service", "wants/a.service", "../x -> usr/bin/sh", "x.target.wants/y/z.service"]
        {
            let options = options(&[word]);
            let context = Context { options: &options, time_s: 0, host_ids: None };
            let step = [Item::from_command_line("enable")];
            let error = super::super::finalize(&mut tree(), &step, &context, &Silent).expect_err(word);
            assert!(error.to_string().starts_with(&format!("`{word}` is not understood")), "{error}");
            assert!(error.place().is_some());
        }
    }
}
