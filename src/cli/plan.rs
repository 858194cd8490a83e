//! `plan`: the packages that a build would take, where they come from and why.

use std::fmt::Write as _;

use super::args::{Format, Global, PlanArgs};
use super::progress::Progress;
use super::request::{self, Settled};
use super::session::Session;
use super::{Failure, bare, packages, print};
use crate::acquire::{self, World};
use crate::base::size::Size;
use crate::deliver;
use crate::pipeline::{self, Unified};
use crate::plan::{Plan, Planned, lock};

/// Runs the command.
pub fn run(args: &PlanArgs, global: &Global, progress: &Progress) -> Result<(), Failure> {
    let settled = match args.bare {
        true => bare::settle(args, global, progress)?,
        false => request::settle(&args.target, &args.kernel, global, progress)?,
    };
    let kernel = if args.bare { None } else { Some(request::kernel(&args.kernel, &settled, progress)?) };
    let session = Session::open(global, &args.sources)?;
    let machine = packages::machine(&settled, &args.target, &args.sources, global, progress)?;
    let mut world = session.world(&settled.profile.distro, &args.sources, progress)?;
    world.machine = machine.as_ref();
    let unified = (args.format == Format::Uki && !args.bare).then(Unified::default);
    let wanted = pipeline::Planning {
        profile: &settled.profile,
        facts: settled.facts.as_ref(),
        kernel: kernel.as_ref(),
        unified: unified.as_ref(),
        recommends: args.target.recommends,
    };
    let plan = packages::choose(&settled, &wanted, &args.sources, global, &world, progress)?.plan;
    if let Some(path) = &args.lock {
        deliver::file(path, lock::write(&plan).as_bytes(), 0o644)?;
    }
    request::check_strict(global, progress.warnings())?;
    let text = match global.json {
        true => format!("{:#}\n", as_json(&settled, &plan, !args.sources.no_verify, &world)),
        false => as_text(&plan, !args.sources.no_verify, global.verbose > 0, &world),
    };
    print(&text)
}

fn as_json(settled: &Settled, plan: &Plan, verified: bool, world: &World<'_>) -> serde_json::Value {
    let one = |planned: &Planned| {
        let package = &planned.package;
        let mut value = serde_json::json!({
            "name": package.name,
            "version": package.version,
            "arch": package.arch,
            "repo": package.repo,
            "from": acquire::source(package, world),
            "url": package.location.to_string(),
            "file": acquire::locate(package, world),
            "sha256": package.proof.is_none().then_some(package.sha256),
            "size": package.size_bytes,
            "installed_size": package.installed_bytes,
            "reason": pipeline::reason(&planned.reason),
            "part": planned.part,
        });
        if let Some(proof) = &package.proof {
            value["proof"] = proof.as_str().into();
        }
        if planned.omitted {
            value["omitted"] = true.into();
        }
        value
    };
    let all: Vec<_> = plan.packages.iter().map(one).collect();
    serde_json::json!({
        "schema": 1,
        "distro": settled.profile.distro,
        "release": settled.profile.release,
        "arch": settled.profile.arch,
        "signatures": if verified { "checked" } else { "not checked (--no-verify)" },
        "packages": all,
    })
}

fn as_text(plan: &Plan, verified: bool, urls: bool, world: &World<'_>) -> String {
    let mut out = String::new();
    if !verified {
        out.push_str("# signatures were not checked (--no-verify)\n");
    }
    let width = plan.packages.iter().map(|planned| planned.package.name.len()).max().unwrap_or(0);
    for planned in &plan.packages {
        let package = &planned.package;
        let size = if planned.omitted { "left out".to_owned() } else { Size(package.size_bytes).to_string() };
        let reason = pipeline::reason(&planned.reason);
        let from = acquire::source(package, world);
        let _ = writeln!(out, "{:<width$}  {:<26} {size:>9}  {from:<9}  {reason}", package.name, package.version); // writing to a String cannot fail
        if urls {
            let _ = writeln!(out, "{:width$}  {}  {}", "", package.repo, package.location); // cannot fail
        }
    }
    let bytes: u64 = plan.wanted().map(|planned| planned.package.size_bytes).sum();
    let _ = writeln!(out, "{} packages, {} to have", plan.packages.len(), Size(bytes)); // cannot fail
    out
}
