//! Keeps the architecture honest: reads the sources as text and checks ranks, doors and house rules (docs/ARCHITECTURE.md).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The top-level modules by rank; a module imports only lower ranks (and its own).
const RANKS: [(&str, u8); 25] = [
    ("base", 0),
    ("format", 1),
    ("config", 2),
    ("package", 2),
    ("report", 2),
    ("tree", 2),
    ("family", 3),
    ("host", 3),
    ("store", 3),
    ("acquire", 4),
    ("deliver", 4),
    ("finalize", 4),
    ("image", 4),
    ("manifest", 4),
    ("microcode", 4),
    ("modules", 4),
    ("pack", 4),
    ("plan", 4),
    ("prune", 4),
    ("settings", 4),
    ("trial", 4),
    ("uki", 4),
    ("unpack", 4),
    ("pipeline", 5),
    ("cli", 6),
];

/// Each external crate and the only files (or directories) that may name it.
const DOORS: [(&str, &[&str]); 18] = [
    ("base64", &["base/base64.rs"]),
    ("bzip2", &["format/compress/"]),
    ("clap", &["cli/"]),
    ("clap_complete", &["cli/generate.rs"]),
    ("clap_mangen", &["cli/generate.rs"]),
    ("flate2", &["format/compress/"]),
    ("liblzma", &["format/compress/"]),
    ("lz4_flex", &["format/compress/"]),
    ("zstd", &["format/compress/"]),
    ("object", &["format/elf.rs", "format/module.rs"]),
    ("resolvo", &["plan/"]),
    ("rsa", &["store/rsa.rs"]),
    ("sequoia_openpgp", &["store/keyring.rs"]),
    ("sha1collisiondetection", &["base/digest.rs"]),
    ("sha2", &["base/digest.rs"]),
    ("signal_hook", &["cli/signals.rs"]),
    ("toml", &["config/document.rs"]),
    ("ureq", &["store/fetch"]),
];

const LINES_MAX: usize = 800;

struct SourceFile {
    /// Relative to `src/`, with slashes.
    path: String,
    text: String,
}

fn sources() -> Vec<SourceFile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut todo = vec![root.clone()];
    let mut files = Vec::new();
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(&directory).expect("src is readable") {
            let path: PathBuf = entry.expect("an entry").path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path.strip_prefix(&root).expect("below src").to_string_lossy().replace('\\', "/");
                files.push(SourceFile { path: relative, text: fs::read_to_string(&path).expect("readable") });
            }
        }
    }
    assert!(files.len() > 40, "the walk found only {} files", files.len());
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

impl SourceFile {
    fn module(&self) -> &str {
        self.path.split('/').next().expect("a first component").trim_end_matches(".rs")
    }

    /// The code with its line numbers, without comments and without the tests at the end.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let tests = self.text.find("\n#[cfg(test)]\nmod tests").unwrap_or(self.text.len());
        self.text[..tests]
            .lines()
            .enumerate()
            .map(|(i, line)| (i + 1, line))
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

fn rank(module: &str) -> Option<u8> {
    RANKS.iter().find(|(name, _)| *name == module).map(|(_, rank)| *rank)
}

fn report(problems: Vec<String>) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// Names that follow `crate::` on a line, also inside one level of braces: `use crate::{base, tree};`.
fn imported(line: &str) -> Vec<String> {
    let mut names = Vec::new();
    for part in line.split("crate::").skip(1) {
        let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        match part.strip_prefix('{') {
            Some(group) => names.extend(group.trim_end_matches(';').split(',').map(|item| word(item.trim()))),
            None => names.push(word(part)),
        }
    }
    names
}

#[test]
fn every_module_imports_only_lower_ranks() {
    let mut problems = Vec::new();
    for file in sources() {
        if ["lib.rs", "main.rs"].contains(&file.path.as_str()) {
            continue;
        }
        let module = file.module();
        let Some(own) = rank(module) else {
            problems.push(format!("src/{}: the module `{module}` has no rank in tests/tidy.rs", file.path));
            continue;
        };
        for (line, text) in file.code() {
            for name in imported(text) {
                let allowed = name == module || rank(&name).is_none_or(|other| other < own || (own == 2 && other == 2));
                if !allowed {
                    problems.push(format!("src/{}:{line}: `{module}` (rank {own}) imports `{name}`: {}", file.path, text.trim()));
                }
            }
        }
    }
    report(problems);
}

#[test]
fn families_do_not_know_each_other() {
    let families = ["deb", "rpm", "alpm", "apk"];
    let mut problems = Vec::new();
    for file in sources().iter().filter(|file| file.path.starts_with("family/")) {
        let own = file.path.split('/').nth(1).expect("a family").trim_end_matches(".rs");
        for (line, text) in file.code() {
            for other in families.iter().filter(|other| **other != own && !["mod", "repo"].contains(&own)) {
                if text.contains(&format!("family::{other}")) || text.contains(&format!("super::super::{other}")) {
                    problems.push(format!("src/{}:{line}: {}", file.path, text.trim()));
                }
            }
        }
    }
    report(problems);
}

#[test]
fn every_external_crate_has_one_door() {
    let mut problems = Vec::new();
    for file in sources() {
        for (line, text) in file.code() {
            for (krate, doors) in DOORS {
                let named = text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).any(|word| {
                    word == krate && text.trim_start().starts_with("use ") || word.starts_with(&format!("{krate}::"))
                });
                if named && !doors.iter().any(|door| file.path.starts_with(door)) {
                    problems.push(format!("src/{}:{line}: names `{krate}`, whose door is {doors:?}: {}", file.path, text.trim()));
                }
            }
        }
    }
    report(problems);
}

#[test]
fn nothing_below_cli_prints_or_exits() {
    let forbidden = ["println!", "eprintln!", "print!(", "eprint!(", "dbg!(", "process::exit", "io::stdout()", "io::stderr()"];
    let mut problems = Vec::new();
    for file in sources().iter().filter(|file| file.module() != "cli") {
        for (line, text) in file.code() {
            if forbidden.iter().any(|word| text.contains(word)) {
                problems.push(format!("src/{}:{line}: {}", file.path, text.trim()));
            }
        }
    }
    report(problems);
}

#[test]
fn only_the_host_the_store_and_delivery_touch_the_machine() {
    // tree::disk is told which directory to read or write, config is told its root.
    let allowed = ["host/", "store/", "base/fs.rs", "deliver.rs", "deliver/", "tree/disk.rs", "cli/"];
    let forbidden =
        ["env::var", "env::args", "env::current_dir", "env::temp_dir", "/proc/", "/sys/", "std::process::Command", "TcpStream"];
    // These write such paths into the image, or compare with them.
    let quoted = ["finalize/btrfs_degraded.rs", "finalize/links.rs", "format/crypttab.rs"];
    let mut problems = Vec::new();
    for file in sources() {
        if allowed.iter().any(|prefix| file.path.starts_with(prefix)) || quoted.contains(&file.path.as_str()) {
            continue;
        }
        for (line, text) in file.code() {
            if forbidden.iter().any(|word| text.contains(word)) {
                problems.push(format!("src/{}:{line}: {}", file.path, text.trim()));
            }
        }
    }
    report(problems);
}

#[test]
fn every_file_says_what_it_is_for_and_can_be_held_in_mind() {
    let vague = ["util", "utils", "common", "helpers", "helper", "manager", "misc"];
    let mut problems = Vec::new();
    for file in sources() {
        let lines = file.text.lines().count();
        if !file.text.starts_with("//! ") {
            problems.push(format!("src/{}: does not start with a `//!` sentence", file.path));
        }
        if lines > LINES_MAX {
            problems.push(format!("src/{}: {lines} lines, the wall is {LINES_MAX}", file.path));
        }
        let stem = Path::new(&file.path).file_stem().expect("a name").to_string_lossy().into_owned();
        if vague.contains(&stem.as_str()) {
            problems.push(format!("src/{}: a name that says nothing", file.path));
        }
    }
    report(problems);
}

#[test]
fn no_function_is_longer_than_one_can_see() {
    const FUNCTION_LINES_MAX: usize = 100;
    let mut problems = Vec::new();
    for file in sources() {
        let mut open: Option<(usize, usize, String)> = None;
        for (line, text) in file.code() {
            let indent = text.len() - text.trim_start().len();
            let head = text.trim_start();
            let starts = ["fn ", "pub fn ", "pub(crate) fn ", "pub(super) fn "].iter().any(|word| head.starts_with(word));
            if starts && open.is_none() && !head.ends_with(';') && !head.ends_with('}') {
                open = Some((line, indent, head.to_owned()));
            } else if let Some((start, level, name)) = &open
                && indent == *level
                && head.starts_with('}')
            {
                if line - start > FUNCTION_LINES_MAX {
                    problems.push(format!("src/{}:{start}: {} lines: {name}", file.path, line - start));
                }
                open = None;
            }
        }
    }
    report(problems);
}

#[test]
fn nothing_is_left_unfinished_or_ignored() {
    let marks = ["todo!(", "unimplemented!(", "#[ignore", "FIXME", "XXX"];
    let mut problems = Vec::new();
    for file in sources() {
        for (i, text) in file.text.lines().enumerate() {
            if marks.iter().any(|mark| text.contains(mark)) {
                problems.push(format!("src/{}:{}: {}", file.path, i + 1, text.trim()));
            }
        }
    }
    report(problems);
}

#[test]
fn dependencies_and_doors_agree() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).expect("Cargo.toml");
    let section = manifest.split("[dependencies]").nth(1).expect("[dependencies]").split("\n[").next().expect("its end");
    let named: BTreeSet<String> =
        section.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name.trim().replace('-', "_")).collect();
    // Crates that are vocabulary rather than tools stand everywhere.
    let everywhere = ["serde", "serde_json", "thiserror", "memchr", "rustix", "tempfile"];
    let doors: BTreeSet<String> =
        DOORS.iter().map(|(krate, _)| (*krate).to_owned()).chain(everywhere.map(str::to_owned)).collect();
    assert_eq!(named, doors, "Cargo.toml and the doors of tests/tidy.rs differ");
}

#[test]
fn documents_name_files_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut problems = Vec::new();
    for document in ["README.md", "CONTRIBUTING.md", "docs/ARCHITECTURE.md", "docs/STYLE.md", "docs/configuration.md"] {
        let text = fs::read_to_string(root.join(document)).unwrap_or_else(|_| panic!("{document} is missing"));
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().expect("a part");
            let base = Path::new(document).parent().expect("a parent");
            if !target.is_empty() && !target.contains("://") && !root.join(base).join(target).exists() {
                problems.push(format!("{document}: `{link}` leads nowhere"));
            }
        }
    }
    report(problems);
}
