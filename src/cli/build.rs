//! `build`: from what was typed to an image under its name.

use std::path::{Path, PathBuf};

use super::args::{Build, Format, Global, StopAfter};
use super::progress::Progress;
use super::request::{self, Settled};
use super::session::Session;
use super::{Failure, UsageError, packages, rebuild, uki};
use crate::base::size::Size;
use crate::deliver;
use crate::format::compress::Compression;
use crate::pack::Image;
use crate::pipeline::{self, Include, Outcome, Stores};
use crate::report::{Event, Reporter, Stage};
use crate::store::infos::InfoStore;
use crate::store::payload;
use crate::store::segments::SegmentStore;
use crate::tree::{Tree, TreePath, disk};

/// Runs the command.
pub fn run(args: &Build, global: &Global, progress: &Progress) -> Result<(), Failure> {
    crate::host::forgo_core_dumps();
    uki::check_rebuild(args)?;
    if args.all {
        return rebuild::all(args, global, progress);
    }
    if args.if_stale && rebuild::is_current(args, global, progress)? {
        return Ok(());
    }
    one(args, global, progress)
}

/// Builds one image and delivers it.
pub fn one(args: &Build, global: &Global, progress: &Progress) -> Result<(), Failure> {
    // What can be wrong with the answer's place is told before any work.
    let mode = request::mode(&args.mode)?;
    let early = args.output.as_deref().filter(|_| writes_image(args)).map(deliver::check_target).transpose()?;
    let spare = args.fallback.as_deref().map(|path| check_fallback(args, path)).transpose()?;
    args.microcode.as_deref().map(deliver::check_target).transpose()?;
    check_directories(args)?;
    let outcome = make(args, global, progress)?;
    request::check_strict(global, progress.warnings())?;
    match outcome {
        Outcome::Tree(tree) => {
            let directory = args.root.clone().or_else(|| args.output.clone()).unwrap_or_default();
            write_tree(&tree, &directory, progress)
        }
        Outcome::Image(made) => {
            let target = match early {
                Some(target) => target,
                None => deliver::check_target(&default_name(args.format, made.kernel.as_deref()))?,
            };
            let allowed = args.allow_exposed_secrets || made.may_be_exposed;
            let private = |target: deliver::Target| target.for_secrets(mode, allowed, &made.manifest.secrets, progress);
            let put = |target: &deliver::Target, image: &Image| {
                deliver::deliver(target, image.size_bytes, mode, progress, |out| image.write_to(out))
            };
            deliver_early(args, made.early.as_ref(), mode, progress)?;
            let target = private(target)?;
            let delivered = match &made.unified {
                Some(bytes) => deliver::deliver(&target, bytes.len() as u64, mode, progress, |out| out.write_all(bytes))?,
                None => put(&target, &made.image)?,
            };
            if let Some(target) = spare {
                // Where the first image is for any machine already, it is its own fallback.
                put(&private(target)?, made.fallback.as_ref().map_or(&made.image, |fallback| &fallback.image))?;
            }
            if let Some(path) = &args.manifest {
                deliver::file(path, &made.manifest.to_json(), 0o644)?;
            }
            let message = format!("sha256 {}", delivered.sha256);
            progress.event(&Event::Detail { stage: Stage::Deliver, message: &message });
            Ok(())
        }
    }
}

/// Delivers the early segment that is wanted apart. It goes first, so that it is there when the image gets its name.
fn deliver_early(args: &Build, early: Option<&Image>, mode: u32, progress: &Progress) -> Result<(), Failure> {
    let Some(path) = &args.microcode else { return Ok(()) };
    match early {
        Some(early) => {
            deliver::deliver(&deliver::check_target(path)?, early.size_bytes, mode, progress, |out| early.write_to(out))?;
        }
        None if path.exists() => {
            let message = format!("there is no microcode, and `{}` is of an earlier build", path.display());
            progress.event(&Event::Warning { stage: Stage::Deliver, message: &message });
        }
        None => {
            let message = format!("there is no microcode, and no `{}` therefore", path.display());
            progress.event(&Event::Detail { stage: Stage::Deliver, message: &message });
        }
    }
    Ok(())
}

/// Makes what the options ask for, in memory.
pub fn make(args: &Build, global: &Global, progress: &Progress) -> Result<Outcome, Failure> {
    let includes = includes(&args.include)?;
    progress.event(&Event::Begin { stage: Stage::Config });
    let settled = request::settle(&args.target, &args.kernel, global, progress)?;
    let kernel = request::kernel(&args.kernel, &settled, progress)?;
    let compression = compression(args, &settled)?;
    let uki = uki::wanted(args, &settled, progress)?;
    let unified = uki.as_ref().map(|wanted| &wanted.unified);
    let threads = args.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get)).max(1);
    let epoch_s = epoch()?;
    let profile = &settled.profile;
    let features: Vec<&str> = profile.with.iter().map(|item| item.text.as_str()).collect();
    let kind = profile.kind.as_str();
    let figures = format!("{} {} {}, {kind}, with {}", profile.distro, profile.release, profile.arch, features.join(" "));
    progress.event(&Event::End { stage: Stage::Config, figures: &figures });

    let stop_after = args.stop_after.map(stage).or((args.format == Format::Dir).then_some(Stage::Finalize));
    let session = Session::open(global, &args.sources)?;
    let machine = packages::machine(&settled, &args.target, &args.sources, global, progress)?;
    let mut world = session.world(&profile.distro, &args.sources, progress)?;
    world.machine = machine.as_ref();
    let wanted = pipeline::Planning {
        profile,
        facts: settled.facts.as_ref(),
        kernel: Some(&kernel),
        unified,
        recommends: args.target.recommends,
    };
    let mut chosen = packages::choose(&settled, &wanted, &args.sources, global, &world, progress)?;
    let reduced = settled.without(&chosen.lacking)?;
    let profile = reduced.as_ref().unwrap_or(profile);
    let keeps = pipeline::Keeps::new(profile, stop_after)?;
    let blobs = packages::fetch(&mut chosen, &keeps, &world, progress)?;

    let request = pipeline::Request {
        profile,
        facts: settled.facts.as_ref(),
        kernel: Some(kernel),
        unified,
        overlays: &settled.layers.overlays,
        includes: &includes,
        compression,
        early_apart: args.microcode.is_some(),
        epoch_s,
        threads,
        stop_after,
        verified: !args.sources.no_verify,
        repositories: chosen.described,
        fallback: args.fallback.as_ref().map(|_| settled.generic_modules()).transpose()?.flatten(),
    };
    let writable = session.store.warning().is_none();
    let payloads = session.store.dir("payloads").map(|directory| payload::Store::new(&directory, writable));
    let segments = session.store.dir("segments").filter(|_| writable).map(SegmentStore::new);
    let infos = session.store.dir("modules").map(|directory| InfoStore::new(&directory, writable));
    let stores = Stores { payloads: payloads.as_ref(), segments: segments.as_ref(), infos: infos.as_ref() };
    let mut outcome =
        pipeline::build(&request, &chosen.plan, &blobs, super::session::family(&settled.profile)?, stores, progress)?;
    if let (Outcome::Image(made), Some(uki)) = (&mut outcome, &uki)
        && let Some(bytes) = made.unified.take()
    {
        made.unified = Some(uki.signed(bytes, progress)?);
    }
    Ok(outcome)
}

fn check_fallback(args: &Build, path: &Path) -> Result<deliver::Target, Failure> {
    let wrong = |what: &str| {
        let hint = "name a second file, as in `-o initrd.img --fallback initrd-fallback.img`".to_owned();
        UsageError::Wrong { what: format!("`--fallback {}`: {what}", path.display()), hint }
    };
    if !writes_image(args) {
        return Err(wrong("no image is written that it could be the fallback of").into());
    }
    if args.output.as_deref() == Some(path) {
        return Err(wrong("this is the first image itself").into());
    }
    Ok(deliver::check_target(path)?)
}

fn writes_image(args: &Build) -> bool {
    args.format != Format::Dir && args.stop_after.is_none()
}

fn stage(stop_after: StopAfter) -> Stage {
    match stop_after {
        StopAfter::Unpack => Stage::Unpack,
        StopAfter::Prune => Stage::Prune,
        StopAfter::Modules => Stage::Modules,
        StopAfter::Finalize => Stage::Finalize,
    }
}

fn default_name(format: Format, kernel: Option<&str>) -> PathBuf {
    PathBuf::from(match (format, kernel) {
        (Format::Uki, kernel) => format!("{}.efi", kernel.unwrap_or("linux")),
        (_, Some(version)) => format!("initrd-{version}.img"),
        (_, None) => "initrd.img".to_owned(),
    })
}

/// A directory that is to be written must be absent or empty, and is looked at before any work.
fn check_directories(args: &Build) -> Result<(), Failure> {
    let directory = match (args.format, &args.root, &args.output) {
        (_, Some(root), _) => Some(root),
        (Format::Dir, None, Some(output)) => Some(output),
        (Format::Dir, None, None) => {
            let what = "`--format dir` needs the name of the directory".to_owned();
            return Err(UsageError::Wrong { what, hint: "name it with `--output DIR`".to_owned() }.into());
        }
        _ => None,
    };
    match directory {
        Some(directory) if directory.exists() && !crate::base::fs::list(directory)?.is_empty() => {
            let what = format!("the directory `{}` is not empty", directory.display());
            Err(UsageError::Wrong { what, hint: "name one that is absent or empty".to_owned() }.into())
        }
        _ => Ok(()),
    }
}

/// Reads `--include HOST:PATH`.
pub fn includes(values: &[String]) -> Result<Vec<Include>, Failure> {
    let mut includes = Vec::new();
    for value in values {
        // The path in the image begins behind the last colon that a slash follows; without one it is the host's path.
        let (host, path) = value.rsplit_once(":/").map_or((value.as_str(), value.as_str()), |(host, path)| (host, path));
        let path = TreePath::parse(path.as_bytes()).map_err(|err| UsageError::Wrong {
            what: format!("`--include {value}`: {err}"),
            hint: "name a file of this host and a path in the image, as in `--include motd:/etc/motd`".to_owned(),
        })?;
        if !Path::new(host).exists() {
            let what = format!("`--include {value}`: there is no file `{host}`");
            return Err(UsageError::Wrong { what, hint: "check the path on this host, before the colon".to_owned() }.into());
        }
        includes.push(Include { host: PathBuf::from(host), path });
    }
    Ok(includes)
}

fn compression(args: &Build, settled: &Settled) -> Result<Compression, Failure> {
    let wrong = |what: String| UsageError::Wrong { what, hint: String::new() };
    match (&args.compress, &settled.profile.compress) {
        (Some(text), _) => Ok(text.parse::<Compression>().map_err(|err| wrong(err.to_string()))?),
        (None, Some(item)) => Ok(item.text.parse::<Compression>().map_err(|err| wrong(format!("{}: {err}", item.source)))?),
        (None, None) => Ok("zstd".parse::<Compression>().expect("invariant: zstd is a compression")),
    }
}

fn epoch() -> Result<Option<u32>, Failure> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => Ok(Some(crate::pack::parse_epoch(&text)?)),
        Err(_) => Ok(None),
    }
}

fn write_tree(tree: &Tree, directory: &Path, reporter: &dyn Reporter) -> Result<(), Failure> {
    reporter.event(&Event::Begin { stage: Stage::Deliver });
    let left_out = disk::write(tree, directory).map_err(pipeline::Error::from)?;
    for path in &left_out {
        let message = format!("`{path}` is left out: only root can make it");
        reporter.event(&Event::Warning { stage: Stage::Deliver, message: &message });
    }
    let figures = format!("{}, {} entries, {}", directory.display(), tree.len(), Size(tree.size_bytes()));
    reporter.event(&Event::End { stage: Stage::Deliver, figures: &figures });
    Ok(())
}
