//! The generic list of modules on real kernels.

use std::sync::Mutex;

use mkinitrd_pkg::config::{Item, Source};
use mkinitrd_pkg::modules::{self, Options, Selected, find_kver};
use mkinitrd_pkg::report::{Event, Reporter};
use mkinitrd_pkg::tree::Tree;

use crate::kernels::{BOOKWORM, Kernel, SID, TRIXIE, TRIXIE_ARM64};

/// The shipped list for an architecture, as the profile gives it.
pub fn generic(arch: &str) -> Vec<Item> {
    let text = std::fs::read_to_string("distro-profiles/modules.toml").expect("the list");
    let table: toml::Table = text.parse().expect("the list is TOML");
    let add = |table: &toml::Table| -> Vec<String> {
        let list = table.get("modules").and_then(|modules| modules.get("add")).and_then(toml::Value::as_array);
        list.into_iter().flatten().map(|word| word.as_str().expect("a word").to_owned()).collect()
    };
    let mut words = add(&table);
    for when in table.get("when").and_then(toml::Value::as_array).into_iter().flatten() {
        let when = when.as_table().expect("a table");
        let arches = when.get("arch").and_then(toml::Value::as_array).expect("architectures");
        if arches.iter().any(|one| one.as_str() == Some(arch)) {
            words.extend(add(when));
        }
    }
    let source = Source { file: "distro-profiles/modules.toml".into(), line: 0 };
    words.into_iter().map(|text| Item { text, source: source.clone() }).collect()
}

/// Keeps what was reported.
#[derive(Default)]
pub struct Log {
    pub warnings: Mutex<Vec<String>>,
    pub details: Mutex<Vec<String>>,
}

impl Reporter for Log {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Warning { message, .. } => self.warnings.lock().expect("a lock").push((*message).to_owned()),
            Event::Detail { message, .. } => self.details.lock().expect("a lock").push((*message).to_owned()),
            _ => {}
        }
    }
}

fn choose(kernel: Kernel) -> (Selected, Log) {
    let tree = kernel.tree();
    let kver = find_kver(&tree).expect("one kernel");
    let log = Log::default();
    let options = Options { arch: Some(kernel.arch), ..Options::default() };
    let selected = modules::modules(&tree, &Tree::new(), &kver, &generic(kernel.arch), &options, 2, &log).expect("the modules");
    (selected, log)
}

#[test]
fn every_pattern_of_the_generic_list_matches_and_the_set_is_small() {
    for (kernel, bytes_max) in [(TRIXIE, 30_000_000), (SID, 32_000_000), (BOOKWORM, 170_000_000), (TRIXIE_ARM64, 36_000_000)] {
        let (selected, log) = choose(kernel);
        println!("{kernel:?}: {}", selected.figures());
        let warnings = log.warnings.into_inner().expect("a lock");
        if std::env::var_os("SHOW").is_some() {
            warnings.iter().chain(&log.details.into_inner().expect("a lock")).for_each(|line| println!("  {line}"));
            let mut list: Vec<_> =
                selected.modules.iter().map(|m| format!("{:>8} {} {}", m.size_bytes, m.path, m.reason)).collect();
            list.sort();
            std::fs::write(format!("/tmp/mod/list.{}.{}", kernel.suite, kernel.arch), list.join("\n")).expect("x");
            continue;
        }
        let unmatched: Vec<&String> = warnings.iter().filter(|line| line.contains("matches nothing")).collect();
        assert!(unmatched.is_empty(), "{kernel:?}: {unmatched:#?}");
        assert!(selected.tree.size_bytes() < bytes_max, "{kernel:?}: {}", selected.figures());
    }
}
