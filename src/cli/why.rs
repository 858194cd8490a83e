//! `why`: the chain of reasons for which something is in an image, back to who asked for it.

use super::args::{Global, Why};
use super::diagnose::one_line;
use super::{Failure, UsageError, check, ls, print};
use crate::image::MANIFEST_PATH;
use crate::manifest::Manifest;
use crate::tree::{Tree, TreePath};

/// A chain longer than this leads in a circle.
const STEPS_MAX: usize = 64;

/// Runs the command.
pub fn run(args: &Why, global: &Global) -> Result<(), Failure> {
    let check::Opened { manifest, tree } = check::open(ls::read(&args.image)?, &args.image)?;
    let manifest = manifest.ok_or_else(|| ls::not_ours(&args.image))?;
    let chain = of(&manifest, &tree, &args.what);
    if chain.is_empty() {
        return Err(absent(&manifest, args).into());
    }
    print(&match global.json {
        true => format!("{:#}\n", serde_json::json!({ "schema": 1, "what": args.what, "chain": chain })),
        false => chain.iter().map(|line| format!("{}\n", one_line(line))).collect(),
    })
}

fn absent(manifest: &Manifest, args: &Why) -> UsageError {
    let what = format!("`{}` is neither a path nor a package nor a module of `{}`", args.what, args.image.display());
    let similar =
        manifest.files.keys().chain(manifest.modules.keys()).chain(manifest.packages.iter().map(|package| &package.name));
    let word = args.what.rsplit('/').next().unwrap_or(&args.what);
    let hint = match similar.into_iter().find(|name| !word.is_empty() && name.contains(word)) {
        Some(name) => format!("there is `{name}`"),
        None => "list what there is with `mkinitrd-pkg ls`".to_owned(),
    };
    UsageError::Wrong { what, hint }
}

/// Returns the chain, a sentence each; empty if there is no such thing.
fn of(manifest: &Manifest, tree: &Tree, what: &str) -> Vec<String> {
    let path = format!("/{}", what.trim_start_matches('/'));
    let module = what.replace('-', "_");
    if manifest.files.contains_key(&path) {
        return file(manifest, &path);
    }
    if manifest.packages.iter().any(|package| package.name == what) {
        return package(manifest, what);
    }
    if manifest.modules.contains_key(&module) {
        return modules(manifest, &module);
    }
    let by_path = manifest.modules.iter().find(|(_, module)| module.path == path);
    if let Some((name, _)) = by_path {
        return modules(manifest, name);
    }
    let mut chain = Vec::new();
    if let Some(file) = manifest.included.iter().find(|file| file.path == path) {
        let whose = if file.setting { "the configuration of the machine" } else { "an overlay or `--include`" };
        chain.push(format!("`{path}` is of {whose}"));
    } else if manifest.firmware.contains(&path) {
        chain.push(format!("`{path}` is firmware that a kept module names"));
    } else if path == format!("/{MANIFEST_PATH}") {
        chain.push(format!("`{path}` is the record of this image"));
    } else if is_index(tree, &path) {
        chain.push(format!("`{path}` is made for modprobe and udev out of the modules that are kept, as depmod makes it"));
    }
    chain
}

/// Tells whether a path is one of the lists beside the modules of a kernel.
fn is_index(tree: &Tree, path: &str) -> bool {
    let below = path.strip_prefix("/usr/lib/modules/").and_then(|rest| rest.split_once('/'));
    let is_list = below.is_some_and(|(_, name)| name.starts_with("modules.") && !name.contains('/'));
    is_list && TreePath::parse(path.as_bytes()).is_ok_and(|path| tree.lookup(&path).is_some())
}

/// Follows who needs a file, then what brought its package.
fn file(manifest: &Manifest, path: &str) -> Vec<String> {
    let mut chain = Vec::new();
    let mut path = path.to_owned();
    while chain.len() < STEPS_MAX {
        let Some(file) = manifest.files.get(&path) else { break };
        match &file.needed {
            Some((by, how)) => {
                chain.push(format!("`{path}` of `{}` is needed by `{by}` ({how})", file.from));
                path.clone_from(by);
            }
            None => {
                let rule = file.rule.and_then(|number| manifest.rules.get(number));
                chain.push(match rule {
                    Some(rule) => format!("`{path}` of `{}` is kept by the rule `{}` ({})", file.from, rule.rule, rule.from),
                    None => format!("`{path}` is of `{}`, and no rule drops it", file.from),
                });
                break;
            }
        }
    }
    let from = manifest.files.get(&path).map(|file| file.from.clone()).unwrap_or_default();
    chain.extend(package(manifest, &from));
    if let Some(finalizer) = manifest.finalizers.iter().find(|finalizer| finalizer.name == from) {
        chain.push(format!("the finalizer `{from}` is asked for by {}", finalizer.from));
    }
    chain
}

fn package(manifest: &Manifest, name: &str) -> Vec<String> {
    let mut chain = Vec::new();
    let mut name = Some(name.to_owned());
    while let Some(package) = name.and_then(|name| manifest.packages.iter().find(|package| package.name == name)) {
        let left_out = if package.omitted { ", and left out" } else { "" };
        chain.push(format!("the package `{} {}`: {}{left_out}", package.name, package.version, package.reason));
        name = package.by.clone().filter(|_| chain.len() < STEPS_MAX);
    }
    chain
}

fn modules(manifest: &Manifest, name: &str) -> Vec<String> {
    let mut chain = Vec::new();
    let mut name = Some(name.to_owned());
    while let Some((name_here, module)) = name.and_then(|name| manifest.modules.get_key_value(&name)) {
        chain.push(format!("the module `{name_here}` ({}): {}", module.path, module.reason));
        name = module.by.clone().filter(|_| chain.len() < STEPS_MAX);
    }
    chain
}
