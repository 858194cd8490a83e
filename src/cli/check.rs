//! `check`: would this image boot this machine, and is it what would be made now?

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::args::{CheckArgs, Global, KernelArgs, Target};
use super::diagnose::one_line;
use super::progress::Progress;
use super::request::{self, Settled};
use super::{At, Failure, UsageError, ls, packages, print};
use crate::base::error::{Diagnostic, ErrorKind};
use crate::config::{Audience, ImageKind};
use crate::finalize::check::{Finding, Severity};
use crate::host::facts::{Facts, View};
use crate::host::{self, probe, traits};
use crate::image::{Found, MANIFEST_PATH};
use crate::manifest::Manifest;
use crate::pipeline::Include;
use crate::pipeline::standing::{self, Now, Stale};
use crate::tree::{Tree, TreePath};

/// Threads for reading modules.
const THREADS: usize = 2;

/// The image would not boot this machine.
#[derive(Debug, thiserror::Error)]
#[error("the image `{}` would not boot {whom}: {}", image.display(), findings.join("; "))]
struct WouldNotBoot {
    image: PathBuf,
    whom: &'static str,
    findings: Vec<String>,
}

impl Diagnostic for WouldNotBoot {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Host
    }

    fn hints(&self) -> Vec<String> {
        vec![format!("make it anew with `mkinitrd-pkg build --output {}`", self.image.display())]
    }
}

/// What was found out about an image.
pub struct Standing {
    /// What it says of itself, if it is ours.
    pub manifest: Option<Manifest>,
    /// What would go wrong at boot, errors first.
    pub findings: Vec<Finding>,
    /// Why it is not what would be made now.
    pub stale: Vec<Stale>,
}

impl Standing {
    /// Returns what would keep it from booting.
    pub fn errors(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.severity == Severity::Error)
    }
}

/// Runs the command.
pub fn run(args: &CheckArgs, global: &Global, progress: &Progress) -> Result<(), Failure> {
    let found = ls::read(&args.image)?;
    let standing = judge(found, &args.image, args.host_facts.clone(), None, global, progress)?;
    print(&match global.json {
        true => format!("{:#}\n", as_json(&standing)),
        false => as_text(&standing, &args.image),
    })?;
    let findings: Vec<String> = standing.errors().map(show).collect();
    if findings.is_empty() {
        return Ok(());
    }
    let whom = if args.host_facts.is_some() { "the machine described" } else { "this machine" };
    Err(WouldNotBoot { image: args.image.clone(), whom, findings }.into())
}

/// An image and what it says of itself.
pub struct Opened {
    /// What it says of itself, if it is ours.
    pub manifest: Option<Manifest>,
    /// Its files.
    pub tree: Tree,
}

/// Reads an image and its manifest.
pub fn open(found: Found, image: &Path) -> Result<Opened, Failure> {
    let manifest = found.manifest().map(|content| Manifest::parse(content.bytes()));
    let manifest = manifest.transpose().map_err(|error| UsageError::Wrong {
        what: format!("`{}`: {error}", image.display()),
        hint: "make the image anew".to_owned(),
    })?;
    let tree = found.into_tree().map_err(|error| At { error, place: image.display().to_string() })?.tree;
    Ok(Opened { manifest, tree })
}

/// Compares an image with the machine that it says it is for: this one, or the one that a file describes. `kernel` is the version that
/// it has to have modules for.
pub fn judge(
    found: Found,
    image: &Path,
    host_facts: Option<PathBuf>,
    kernel: Option<&str>,
    global: &Global,
    progress: &Progress,
) -> Result<Standing, Failure> {
    let opened = open(found, image)?;
    let is_described = host_facts.is_some();
    let settled = settle(opened.manifest.as_ref(), host_facts, global, progress)?;
    judge_against(opened, &settled, &[], kernel, is_described, progress)
}

/// Compares an image with what is wanted of it. What is installed here says nothing of a machine that a file describes.
pub fn judge_against(
    opened: Opened,
    settled: &Settled,
    includes: &[Include],
    kernel: Option<&str>,
    is_described: bool,
    progress: &Progress,
) -> Result<Standing, Failure> {
    let Opened { manifest, tree } = opened;
    let Some(manifest) = manifest else {
        return Ok(Standing { findings: standing::findings(&tree, &settled.profile, kernel), manifest: None, stale: Vec::new() });
    };
    let wanted = kernel.or(manifest.target.kernel.as_deref());
    let mut findings = Vec::new();
    if let Some(facts) = machine(settled)? {
        let audience = Audience { kind: ImageKind::Host, traits: traits::traits(&facts) };
        let needs = settled.layers.resolve(&settled.profile.release, &settled.profile.arch, &audience)?;
        findings.extend(standing::lacking_features(&manifest, &needs));
        if let Some(kernel) = wanted {
            findings.extend(standing::lacking_modules(&tree, &facts, kernel, THREADS)?);
        }
    }
    findings.extend(standing::findings(&tree, &settled.profile, wanted));
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let modules = manifest.target.kernel.as_deref().and_then(host::modules_directory).filter(|_| !is_described);
    let installed = if settled.is_own { packages::installed_versions(settled)? } else { BTreeMap::new() };
    let now = Now {
        profile: &settled.profile,
        facts: settled.facts.as_ref(),
        overlays: &settled.layers.overlays,
        includes,
        installed: &installed,
        family: super::session::family(&settled.profile)?,
        modules: modules.as_deref(),
    };
    let stale = standing::stale(&tree, &manifest, &now, progress)?;
    Ok(Standing { manifest: Some(manifest), findings, stale })
}

/// Returns the machine that the image has to boot: the one described, or this one if the image is for its distribution and all of it can be
/// seen from here.
fn machine(settled: &Settled) -> Result<Option<Facts>, Failure> {
    match &settled.facts {
        Some(facts) => Ok(Some(facts.clone())),
        None if settled.is_own => Ok(Some(probe::probe(Path::new("/"))?).filter(|facts| facts.view == View::Machine)),
        None => Ok(None),
    }
}

/// Merges the configuration for the target that the image says it is for, else for this machine.
fn settle(
    manifest: Option<&Manifest>,
    host_facts: Option<PathBuf>,
    global: &Global,
    progress: &Progress,
) -> Result<Settled, Failure> {
    let target = manifest.map_or_else(Target::default, |manifest| Target {
        distro: Some(manifest.target.distro.clone()),
        release: Some(manifest.target.release.clone()),
        arch: Some(manifest.target.arch.clone()),
        ..Target::default()
    });
    let is = |kind: &str| manifest.is_some_and(|manifest| manifest.target.image == kind);
    let kernel =
        KernelArgs { generic: is("generic") && host_facts.is_none(), full: is("full"), host_facts, ..KernelArgs::default() };
    request::settle(&target, &kernel, global, progress)
}

/// Returns a finding as people read it.
pub fn show(finding: &Finding) -> String {
    match finding.path == TreePath::literal(MANIFEST_PATH) {
        true => finding.message.clone(),
        false => format!("`{}`: {}", finding.path, finding.message),
    }
}

fn as_text(standing: &Standing, image: &Path) -> String {
    let mut out = match &standing.manifest {
        Some(manifest) => {
            let target = &manifest.target;
            let kernel = target.kernel.as_deref().unwrap_or("no kernel");
            format!(
                "{}: {} for {kernel}, {} {}, {}\n",
                image.display(),
                manifest.generator,
                target.distro,
                target.release,
                target.image
            )
        }
        None => format!("{}: made by another program, so only its files can be judged\n", image.display()),
    };
    for finding in &standing.findings {
        let word = if finding.severity == Severity::Error { "would not boot" } else { "warning" };
        out.push_str(&format!("{word}: {}\n", one_line(&show(finding))));
    }
    for reason in &standing.stale {
        out.push_str(&format!("stale: {}\n", one_line(&reason.to_string())));
    }
    if standing.findings.is_empty() && standing.stale.is_empty() {
        out.push_str("nothing is wrong with it\n");
    }
    out
}

fn as_json(standing: &Standing) -> serde_json::Value {
    let finding = |finding: &Finding| {
        serde_json::json!({
            "severity": if finding.severity == Severity::Error { "error" } else { "warning" },
            "path": finding.path.to_string(),
            "message": finding.message,
        })
    };
    serde_json::json!({
        "schema": 1,
        "generator": standing.manifest.as_ref().map(|manifest| &manifest.generator),
        "kernel": standing.manifest.as_ref().and_then(|manifest| manifest.target.kernel.as_ref()),
        "image": standing.manifest.as_ref().map(|manifest| &manifest.target.image),
        "boots": standing.errors().next().is_none(),
        "findings": standing.findings.iter().map(finding).collect::<Vec<_>>(),
        "stale": standing.stale.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}
