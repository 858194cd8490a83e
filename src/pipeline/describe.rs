//! From what the stages did to the manifest, and to the figures that a person reads.

use std::collections::{BTreeMap, BTreeSet};

use super::Request;
use crate::base::digest::Sha256;
use crate::base::size::Size;
use crate::finalize::Applied;
use crate::manifest::{self, Manifest};
use crate::microcode::Microcode;
use crate::modules::{KernelVersion, Selected};
use crate::package::Location;
use crate::plan::{Plan, Planned, Reason};
use crate::prune::{Cause, Dropped, Pruned, Rules};
use crate::tree::{Origin, Tree, TreePath};
use crate::unpack::Unpacked;

/// What the stages left behind.
pub struct Facts<'a> {
    /// What was asked for.
    pub request: &'a Request<'a>,
    /// The packages.
    pub plan: &'a Plan,
    /// What unpacking noticed.
    pub unpacked: &'a Unpacked,
    /// The path rules.
    pub rules: &'a Rules,
    /// What pruning did.
    pub pruned: &'a Pruned,
    /// What finalizing did.
    pub applied: &'a Applied,
    /// The early segment.
    pub early: &'a Microcode,
}

/// The trees that the image is made of, besides modules.
pub struct Trees<'a> {
    /// The finished base.
    pub base: &'a Tree,
    /// The machine's own configuration.
    pub settings: &'a Tree,
    /// That, with overlays and included files over it.
    pub whole: &'a Tree,
    /// Those paths of it that others must not read.
    pub secrets: &'a BTreeSet<TreePath>,
}

/// Returns the figures of a plan in one line.
pub fn plan_figures(plan: &Plan) -> String {
    let count = plan.packages.len();
    let omitted = plan.packages.iter().filter(|planned| planned.omitted).count();
    let bytes: u64 = plan.wanted().map(|planned| planned.package.size_bytes).sum();
    let left_out = if omitted > 0 { format!(", {omitted} of them left out") } else { String::new() };
    format!("{count} packages{left_out}, {}", Size(bytes))
}

/// Returns a reason as people read it.
pub fn reason(reason: &Reason) -> String {
    match reason {
        Reason::Requested(item) => format!("asked for by {}", item.source),
        Reason::Required { by, requirement } => format!("`{by}` requires `{requirement}`"),
        Reason::Recommended { by, requirement } => format!("`{by}` recommends `{requirement}`"),
        Reason::Joined { conditions, .. } => format!("enters by itself where there is `{conditions}`"),
        Reason::LeftOver => "kept as the distribution's own tool would keep it".to_owned(),
    }
}

/// Returns the manifest of an image.
pub fn manifest(facts: &Facts<'_>, selected: Option<&(KernelVersion, Selected)>, parts: &Trees<'_>) -> Manifest {
    let profile = facts.request.profile;
    let mut features: Vec<String> = profile.with.iter().map(|item| item.text.clone()).collect();
    features.sort();
    Manifest {
        schema: manifest::SCHEMA,
        generator: manifest::GENERATOR.to_owned(),
        target: manifest::Target {
            distro: profile.distro.clone(),
            release: profile.release.clone(),
            arch: profile.arch.clone(),
            kernel: selected.map(|(version, _)| version.to_string()),
            image: profile.kind.as_str().to_owned(),
            configuration: profile.digest(),
        },
        signatures: if facts.request.verified { "checked" } else { "not checked (--no-verify)" }.to_owned(),
        repositories: facts.request.repositories.clone(),
        features,
        packages: facts.plan.packages.iter().map(package).collect(),
        files: files(facts, parts.base),
        modules: selected.map(|(_, selected)| modules(selected)).unwrap_or_default(),
        firmware: selected.map(|(_, selected)| firmware(selected)).unwrap_or_default(),
        missing_firmware: selected.map(|(_, selected)| selected.missing_firmware.clone()).unwrap_or_default(),
        microcode: facts.early.files.iter().map(microcode).collect(),
        rules: rules(facts),
        finalizers: finalizers(facts.applied),
        included: included(parts),
        secrets: parts.secrets.iter().map(ToString::to_string).collect(),
        notes: notes(facts),
        dropped: dropped(facts),
    }
}

fn package(planned: &Planned) -> manifest::Package {
    let package = &planned.package;
    manifest::Package {
        name: package.name.clone(),
        version: package.version.clone(),
        arch: package.arch.clone(),
        repo: package.repo.clone(),
        from: match package.location {
            Location::Installed => manifest::ReadFrom::Installed,
            Location::Url(_) | Location::File(_) => manifest::ReadFrom::Archive,
        },
        sha256: package.sha256,
        reason: reason(&planned.reason),
        by: match &planned.reason {
            Reason::Required { by, .. } | Reason::Recommended { by, .. } | Reason::Joined { with: by, .. } => Some(by.clone()),
            Reason::Requested(_) | Reason::LeftOver => None,
        },
        omitted: planned.omitted,
    }
}

fn modules(selected: &Selected) -> BTreeMap<String, manifest::Module> {
    let module = |module: &crate::modules::Chosen| {
        let (path, reason) = (module.path.to_string(), module.reason.to_string());
        (module.name.clone(), manifest::Module { path, reason, by: module.reason.by().map(str::to_owned) })
    };
    selected.modules.iter().map(module).collect()
}

fn firmware(selected: &Selected) -> Vec<String> {
    let mut paths: Vec<String> = selected.firmware.iter().map(|firmware| firmware.path.to_string()).collect();
    paths.sort();
    paths.dedup();
    paths
}

fn microcode(used: &crate::microcode::Used) -> manifest::Microcode {
    manifest::Microcode { path: used.path.to_string(), sha256: used.sha256 }
}

fn rules(facts: &Facts<'_>) -> Vec<manifest::Rule> {
    let unstored = facts.unpacked.dropped.iter().filter_map(|(path, _)| facts.rules.verdict(path).rule);
    let mut counts: Vec<usize> = facts.pruned.decided.iter().map(|count| *count as usize).collect();
    if counts.iter().all(|count| *count == 0) {
        unstored.for_each(|rule| counts[rule] += 1);
    }
    let rule = |(rule, paths): (&crate::prune::Rule, usize)| manifest::Rule {
        rule: rule.item.text.clone(),
        from: rule.item.source.to_string(),
        paths,
    };
    facts.rules.iter().zip(counts).map(rule).collect()
}

fn finalizers(applied: &Applied) -> Vec<manifest::Finalizer> {
    let finalizer = |step: &crate::finalize::AppliedStep| manifest::Finalizer {
        name: step.name.to_owned(),
        from: step.source.to_string(),
        did: step.effects.iter().chain(&step.warnings).cloned().collect(),
    };
    applied.steps.iter().map(finalizer).collect()
}

fn included(parts: &Trees<'_>) -> Vec<manifest::Included> {
    let files = parts.whole.iter().filter(|(_, entry)| !matches!(entry.kind, crate::tree::Kind::Dir));
    let include = |(path, entry): (&crate::tree::TreePath, &crate::tree::Entry)| manifest::Included {
        path: path.to_string(),
        sha256: entry.content().filter(|_| !parts.secrets.contains(path)).map(|content| Sha256::of(content.bytes())),
        setting: parts.settings.get(path).is_some_and(|setting| setting == entry),
    };
    files.map(include).collect()
}

fn files(facts: &Facts<'_>, base: &Tree) -> BTreeMap<String, manifest::File> {
    let entries = base.iter().filter(|(_, entry)| !matches!(entry.kind, crate::tree::Kind::Dir));
    let file = |(path, entry): (&crate::tree::TreePath, &crate::tree::Entry)| {
        let kept = facts.pruned.kept.get(path);
        let needed = kept.and_then(|kept| kept.needed.as_ref()).map(|needed| (needed.by.to_string(), needed.verb.to_owned()));
        (path.to_string(), manifest::File { from: origin(facts, &entry.origin), rule: kept.and_then(|kept| kept.rule), needed })
    };
    entries.map(file).collect()
}

/// Returns who made an entry, as people call it.
fn origin(facts: &Facts<'_>, origin: &Origin) -> String {
    match origin {
        Origin::Package(index) => {
            facts.plan.packages.get(*index as usize).map_or("?", |planned| &planned.package.name).to_owned()
        }
        Origin::Kernel => "kernel".to_owned(),
        Origin::Config(path) => path.display().to_string(),
        Origin::Made(stage) => (*stage).to_owned(),
    }
}

fn notes(facts: &Facts<'_>) -> Vec<String> {
    let of_package =
        |index: u32| facts.plan.packages.get(index as usize).map(|planned| planned.package.name.as_str()).unwrap_or("?");
    let unpacking =
        facts.unpacked.notes.iter().map(|note| format!("`{}` of `{}`: {}", note.path, of_package(note.package), note.remark));
    unpacking.chain(facts.pruned.notes.iter().cloned()).collect()
}

fn dropped(facts: &Facts<'_>) -> Vec<manifest::Dropped> {
    let cause = |dropped: &Dropped| match &dropped.cause {
        Cause::Rule(rule) => facts.rules.get(*rule).map(ToString::to_string).unwrap_or_default(),
        Cause::NotNeeded(rule) => {
            format!("nothing needs it; {}", facts.rules.get(*rule).map(ToString::to_string).unwrap_or_default())
        }
        Cause::LinkTo(path) => format!("a link to `{path}`, which is not there"),
        Cause::UnitGone => "its unit is not there".to_owned(),
        Cause::Emptied => "nothing is left in it".to_owned(),
    };
    let one = |dropped: &Dropped| manifest::Dropped {
        path: dropped.path.to_string(),
        package: origin(facts, &dropped.origin),
        rule: cause(dropped),
    };
    facts.pruned.dropped.iter().map(one).collect()
}
