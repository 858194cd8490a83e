//! Files of this program's own, for cases that no package has a unit for: `network-root-generator -> usr/lib/systemd/system-generators/…`
//! puts the file of that name of `distro-profiles/files/` there. A script, by its first two bytes, may be run.

use super::{Context, Error, Notes};
use crate::config::Item;
use crate::tree::{Entry, Tree, TreePath};

/// Every file of `distro-profiles/files/` that profiles may name. (`busybox-init` is its own finalizer's.)
const FILES: &[(&str, &str)] = &[
    ("kdump-save", include_str!("../../distro-profiles/files/kdump-save")),
    ("kdump-save.service", include_str!("../../distro-profiles/files/kdump-save.service")),
    ("live-root", include_str!("../../distro-profiles/files/live-root")),
    ("network-root-dhcp", include_str!("../../distro-profiles/files/network-root-dhcp")),
    ("network-root-generator", include_str!("../../distro-profiles/files/network-root-generator")),
];

pub(super) fn run(tree: &mut Tree, context: &Context<'_>, notes: &mut Notes) -> Result<(), Error> {
    for item in &context.options.install {
        let (name, path) = item.text.split_once(" -> ").ok_or_else(|| wrong(item, "wanted `FILE -> PATH`".to_owned()))?;
        let known = FILES.iter().find(|(known, _)| *known == name.trim());
        let (_, text) = known.ok_or_else(|| {
            let names: Vec<String> = FILES.iter().map(|(name, _)| format!("`{name}`")).collect();
            wrong(item, format!("there is no such file in this program: it has {}", names.join(", ")))
        })?;
        let path = TreePath::parse(path.trim().as_bytes()).map_err(|err| wrong(item, err.to_string()))?;
        let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
        notes.put(tree, &path, Entry::file(*text, notes.origin()).with_mode(mode))?;
    }
    Ok(())
}

fn wrong(item: &Item, reason: String) -> Error {
    Error::Option { text: item.text.clone(), reason, source_line: item.source.clone() }
}

#[cfg(test)]
mod tests {
    use super::super::{Options, run_step};
    use super::*;
    use crate::base::error::Diagnostic;
    use crate::report::Silent;

    fn options(words: &[&str]) -> Options {
        Options { install: words.iter().copied().map(Item::from_command_line).collect(), ..Options::default() }
    }

    #[test]
    fn scripts_may_be_run() {
        let mut tree = Tree::new();
        run_step("install", &mut tree, &options(&["network-root-generator -> usr/lib/systemd/system-generators/root"]));
        let entry = tree.get(&TreePath::literal("usr/lib/systemd/system-generators/root")).expect("the generator");
        assert_eq!(entry.meta.mode, 0o755);
    }

    #[test]
    fn what_is_not_there_is_refused() {
        for (word, says) in [("x", "FILE -> PATH"), ("x -> usr/x", "no such file"), ("network-root-generator -> ../x", "..")] {
            let options = options(&[word]);
            let context = Context { options: &options, time_s: 0, host_ids: None };
            let steps = [Item::from_command_line("install")];
            let error = super::super::finalize(&mut Tree::new(), &steps, &context, &Silent).expect_err(word);
            assert!(error.to_string().contains(says), "{word}: {error}");
            assert!(error.place().is_some(), "{word}");
        }
    }

    #[test]
    fn every_file_is_here() {
        let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("distro-profiles/files");
        let mut names: Vec<String> = std::fs::read_dir(directory)
            .expect("the directory")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
            .filter(|name| name != "busybox-init")
            .collect();
        names.sort();
        assert_eq!(names, FILES.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>());
    }
}
