//! The build as a list of calls, in order. No stage knows the next; this is the one place that knows them all.

mod describe;
mod error;
mod keeps;
mod kernel;
mod overlay;

use std::path::PathBuf;

pub use describe::reason;
pub use error::Error;
pub use keeps::Keeps;
pub use kernel::Kernel;
pub use overlay::Include;

use crate::acquire::Blob;
use crate::config::{ImageKind, Profile};
use crate::family::Family;
use crate::finalize::{self, Applied, check};
use crate::format::compress::{Compression, Format};
use crate::host::facts::Facts;
use crate::manifest::{Manifest, Repository};
use crate::modules::{self, Selected};
use crate::pack::{self, Image, Segment, SegmentName};
use crate::package::{Catalog, Package};
use crate::plan::{self, Part, Plan, Planned};
use crate::prune::{self, Plugin, Pruned, Rules};
use crate::report::{Event, Reporter, Stage};
use crate::settings;
use crate::store::payload;
use crate::store::segments::SegmentStore;
use crate::tree::{Entry, Origin, Tree, TreePath};
use crate::unpack::{self, Layout, Unpacked};

/// What is to be built.
pub struct Request<'a> {
    /// The merged configuration.
    pub profile: &'a Profile,
    /// The machine that the image is for; nothing for a generic one.
    pub facts: Option<&'a Facts>,
    /// Where the modules come from; nothing for an image without any.
    pub kernel: Option<Kernel>,
    /// Directories that are laid over the tree, in rising priority.
    pub overlays: &'a [PathBuf],
    /// Files and directories of the host that go into the image.
    pub includes: &'a [Include],
    /// How the base segment is compressed.
    pub compression: Compression,
    /// `SOURCE_DATE_EPOCH`; without it, the age of the newest file of the packages.
    pub epoch_s: Option<u32>,
    /// Threads; the bytes do not depend on it.
    pub threads: usize,
    /// The stage after which only the tree is wanted.
    pub stop_after: Option<Stage>,
    /// Whether signatures were checked.
    pub verified: bool,
    /// The repositories that were read.
    pub repositories: Vec<Repository>,
}

/// What a build gives.
pub enum Outcome {
    /// The tree after the stage that was asked for.
    Tree(Tree),
    /// The image, with its manifest.
    Image {
        /// The image.
        image: Image,
        /// The manifest as it stands beside the image, with what was left out.
        manifest: Box<Manifest>,
        /// The kernel version of its modules.
        kernel: Option<String>,
    },
}

/// What a build keeps between runs.
#[derive(Clone, Copy)]
pub struct Stores<'a> {
    /// Unpacked payloads.
    pub payloads: Option<&'a payload::Store>,
    /// Packed segments.
    pub segments: Option<&'a SegmentStore>,
}

/// What is to be planned.
#[derive(Debug, Clone, Copy)]
pub struct Planning<'a> {
    /// The merged configuration.
    pub profile: &'a Profile,
    /// Where the modules come from; nothing for a plan without any.
    pub kernel: Option<&'a Kernel>,
    /// Take what packages recommend, too.
    pub recommends: bool,
}

/// Plans the packages of an image.
pub fn plan(wanted: &Planning<'_>, catalog: &dyn Catalog, reporter: &dyn Reporter) -> Result<Plan, Error> {
    reporter.event(&Event::Begin { stage: Stage::Plan });
    let Planning { profile, kernel, recommends } = *wanted;
    let blocked = profile.block.iter().map(|blocked| plan::Blocked {
        name: blocked.name.text.clone(),
        why: blocked.why.clone(),
        source: blocked.name.source.clone(),
    });
    let request = plan::Request {
        packages: profile.packages.clone(),
        recommends,
        blocked: blocked.collect(),
        omit: profile.omit.iter().filter(|omit| !is_asked_for(profile, &omit.text)).cloned().collect(),
    };
    let mut plan = plan::plan(&request, catalog, reporter)?;
    if let Some(Kernel::Package(name)) = kernel {
        plan.packages.extend(plan::parts(Part::Kernel, name, &profile.kernel_follow, catalog)?);
    }
    if kernel.is_some_and(Kernel::wants_firmware_packages) {
        for name in &profile.firmware_packages {
            plan.packages.extend(plan::parts(Part::Firmware, name, &[], catalog)?);
        }
    }
    reporter.event(&Event::End { stage: Stage::Plan, figures: &describe::plan_figures(&plan) });
    Ok(plan)
}

/// Builds: from packages on this machine to an image in memory.
pub fn build(
    request: &Request<'_>,
    plan: &Plan,
    blobs: &[Blob],
    family: &dyn Family,
    stores: Stores<'_>,
    reporter: &dyn Reporter,
) -> Result<Outcome, Error> {
    let stops = |stage| request.stop_after == Some(stage);
    let layout = layout(request.profile)?;
    let rules = Rules::new(request.profile.prune.iter().cloned())?;
    let files = Files::new(plan, blobs);

    // Without pruning nothing is left out: that is the root that a package manager would make.
    let keep = |path: &TreePath, _: &str| stops(Stage::Unpack) || rules.verdict(path).stores();
    let mut base = files.unpack(Part::Base, &keep, family, &layout, stores, request.threads, reporter)?;
    if stops(Stage::Unpack) {
        return Ok(Outcome::Tree(base.tree));
    }

    let plugins = plugins(request.profile)?;
    let names: Vec<String> = plan.packages.iter().map(|planned| planned.package.name.clone()).collect();
    let pruning = prune::Inputs {
        rules: &rules,
        plugins: &plugins,
        dlopen: &request.profile.dlopen,
        packages: &names,
        unstored: &base.dropped,
    };
    let pruned = prune::prune(&mut base.tree, &pruning, reporter)?;
    if stops(Stage::Prune) {
        return Ok(Outcome::Tree(base.tree));
    }

    let selected = select_modules(request, &files, family, &layout, stores, reporter)?;
    if stops(Stage::Modules) {
        return Ok(Outcome::Tree(join(base.tree, selected.map(|(_, selected)| selected.tree).unwrap_or_default())?));
    }

    let epoch_s = request.epoch_s.unwrap_or_else(|| newest(&base.tree));
    let applied = finalize_tree(request, &mut base.tree, &pruned, epoch_s, reporter)?;
    let mut host =
        request.facts.map(|facts| settings::settings(request.profile, facts, reporter)).transpose()?.unwrap_or_default();
    host = join(host, overlay::lay(request.overlays, request.includes)?)?;
    let kernel = selected.as_ref().map(|(version, _)| version.to_string());
    let modules = selected.as_ref().map(|(_, selected)| selected.tree.clone()).unwrap_or_default();
    let whole = join(join(base.tree.clone(), modules)?, host.clone())?;
    check_boot(request.profile, &whole, kernel.as_deref(), reporter)?;
    if stops(Stage::Finalize) {
        return Ok(Outcome::Tree(whole));
    }

    let facts = describe::Facts { request, plan, unpacked: &base, rules: &rules, pruned: &pruned, applied: &applied };
    let manifest = describe::manifest(&facts, selected.as_ref(), &host);
    let image = pack_image(request, base.tree, selected, host, &manifest, epoch_s, stores, reporter)?;
    Ok(Outcome::Image { image, manifest: Box::new(manifest), kernel })
}

/// Tells whether a package is on the list itself, so that leaving it out would contradict whoever put it there.
fn is_asked_for(profile: &Profile, name: &str) -> bool {
    let words = profile.packages.iter().flat_map(|item| item.text.trim_end_matches('?').split('|'));
    words.map(|word| word.split('=').next().unwrap_or_default().trim()).any(|word| word == name)
}

fn layout(profile: &Profile) -> Result<Layout, Error> {
    let mut links = Vec::new();
    for (name, target) in &profile.links {
        links.push((TreePath::parse(name.as_bytes())?, TreePath::parse(target.text.as_bytes())?));
    }
    Ok(Layout::new(links, []))
}

fn plugins(profile: &Profile) -> Result<Vec<Plugin>, Error> {
    let read = |plugin: &crate::config::Plugin| Plugin::new(&plugin.when, &plugin.needs, &plugin.wants);
    Ok(profile.plugins.iter().map(read).collect::<Result<_, _>>()?)
}

/// The packages and their verified files.
struct Files<'a> {
    plan: &'a Plan,
    /// For each package its file; none for one that is omitted.
    blobs: Vec<Option<&'a Blob>>,
}

impl<'a> Files<'a> {
    fn new(plan: &'a Plan, blobs: &'a [Blob]) -> Self {
        let find = |planned: &Planned| blobs.iter().find(|blob| blob.sha256 == planned.package.sha256);
        Self { plan, blobs: plan.packages.iter().map(find).collect() }
    }

    fn of(&self, part: Part) -> Vec<(u32, &'a Package, &'a Blob)> {
        let all = self.plan.packages.iter().zip(&self.blobs).enumerate();
        all.filter(|(_, (planned, _))| planned.part == part && !planned.omitted)
            .filter_map(|(index, (planned, blob))| Some((index as u32, &planned.package, (*blob)?)))
            .collect()
    }

    #[allow(clippy::too_many_arguments, reason = "what unpacking needs is the pipeline's to know")]
    fn unpack(
        &self,
        part: Part,
        keep: &unpack::Keep<'_>,
        family: &dyn Family,
        layout: &Layout,
        stores: Stores<'_>,
        threads: usize,
        reporter: &dyn Reporter,
    ) -> Result<Unpacked, Error> {
        let packages = self.of(part);
        let opens: Vec<Box<unpack::Open<'_>>> = packages.iter().map(|(_, _, blob)| opener(blob)).collect();
        let inputs: Vec<unpack::Input<'_>> = packages
            .iter()
            .zip(&opens)
            .map(|((index, package, blob), open)| unpack::Input {
                package,
                index: *index,
                source: blob.installed().map_or(unpack::Source::File(&**open), unpack::Source::Installed),
            })
            .collect();
        Ok(unpack::unpack(&inputs, family, layout, keep, stores.payloads, threads, reporter)?)
    }
}

fn opener<'a>(blob: &'a Blob) -> Box<unpack::Open<'a>> {
    Box::new(|| match blob.open() {
        Some(reader) => Ok(Box::new(reader)),
        None => Err(std::io::ErrorKind::NotFound.into()),
    })
}

/// Chooses modules and firmware.
fn select_modules(
    request: &Request<'_>,
    files: &Files<'_>,
    family: &dyn Family,
    layout: &Layout,
    stores: Stores<'_>,
    reporter: &dyn Reporter,
) -> Result<Option<(modules::KernelVersion, Selected)>, Error> {
    let Some(source) = &request.kernel else { return Ok(None) };
    reporter.event(&Event::Begin { stage: Stage::Modules });
    let named = match source {
        Kernel::Directory { version, .. } => Some(modules::KernelVersion::parse(version)?),
        Kernel::Package(_) => None,
    };
    let (mut tree, mut firmware) = (Tree::new(), Tree::new());
    match source {
        Kernel::Package(_) => {
            let kept = |path: &TreePath, _: &str| kernel::is_of_kernel(path);
            tree = files.unpack(Part::Kernel, &kept, family, layout, stores, request.threads, &crate::report::Silent)?.tree;
        }
        Kernel::Directory { directory, version } => kernel::read(&mut tree, directory, version)?,
    }
    match source.firmware_directory() {
        Some(directory) => kernel::read_firmware(&mut firmware, directory)?,
        None => {
            let kept = |path: &TreePath, _: &str| kernel::is_firmware(path);
            firmware = files.unpack(Part::Firmware, &kept, family, layout, stores, request.threads, &crate::report::Silent)?.tree;
        }
    }
    let version = match named {
        Some(version) => version,
        None => modules::find_kver(&tree)?,
    };
    if request.stop_after.is_none() {
        pack::check_kernel(kernel::config(&tree, source, &version).as_deref(), request.compression.format)?;
    }
    let options = modules::Options { arch: Some(&request.profile.arch), ..modules::Options::default() };
    let wishes = request.facts.filter(|_| request.profile.kind == ImageKind::Host).map(modules::wishes::of).unwrap_or_default();
    let wanted = modules::Wanted { patterns: &request.profile.modules, wishes: &wishes };
    let selected = modules::modules(&tree, &firmware, &version, &wanted, &options, request.threads, reporter)?;
    reporter.event(&Event::End { stage: Stage::Modules, figures: &selected.figures() });
    Ok(Some((version, selected)))
}

fn finalize_tree(
    request: &Request<'_>,
    tree: &mut Tree,
    pruned: &Pruned,
    epoch_s: u32,
    reporter: &dyn Reporter,
) -> Result<Applied, Error> {
    let profile = request.profile;
    let options = finalize::Options {
        users: profile.users.clone(),
        masks: profile.masks.clone(),
        emergency: emergency(profile)?,
        locale: None,
    };
    let context = finalize::Context { options: &options, time_s: epoch_s, host_ids: None };
    let applied = finalize::finalize(tree, &profile.finalize, &context, reporter)?;
    prune::return_lent(tree, pruned);
    Ok(applied)
}

fn emergency(profile: &Profile) -> Result<finalize::Emergency, Error> {
    let Some(item) = &profile.emergency else { return Ok(finalize::Emergency::default()) };
    item.text
        .parse()
        .map_err(|reason| finalize::Error::Option { text: item.text.clone(), reason, source_line: item.source.clone() }.into())
}

/// Fails when the image would not boot.
fn check_boot(profile: &Profile, tree: &Tree, kernel: Option<&str>, reporter: &dyn Reporter) -> Result<(), Error> {
    let features: Vec<String> = profile.with.iter().map(|item| item.text.clone()).collect();
    let expected = check::Expected { machine: check::machine_of(&profile.arch), kernel, features: &features };
    let findings = check::check(tree, &expected);
    for finding in findings.iter().filter(|finding| finding.severity == check::Severity::Warning) {
        let message = format!("`{}`: {}", finding.path, finding.message);
        reporter.event(&Event::Warning { stage: Stage::Finalize, message: &message });
    }
    let errors: Vec<_> = findings.into_iter().filter(|finding| finding.severity == check::Severity::Error).collect();
    match errors.is_empty() {
        true => Ok(()),
        false => Err(Error::WouldNotBoot { findings: errors }),
    }
}

#[allow(clippy::too_many_arguments, reason = "what packing needs is the pipeline's to know")]
fn pack_image(
    request: &Request<'_>,
    base: Tree,
    selected: Option<(modules::KernelVersion, Selected)>,
    mut host: Tree,
    manifest: &Manifest,
    epoch_s: u32,
    stores: Stores<'_>,
    reporter: &dyn Reporter,
) -> Result<Image, Error> {
    let path = TreePath::literal(crate::image::MANIFEST_PATH);
    let in_image = Manifest { dropped: Vec::new(), ..manifest.clone() };
    host.put(&path, Entry::file(in_image.to_json(), Origin::Made("manifest")))?;
    let none = Compression { format: Format::None, level: 0 };
    let mut segments = vec![Segment { name: SegmentName::Base, tree: base, compression: request.compression }];
    if let Some((_, selected)) = selected {
        // Modules are compressed as shipped, and stay so: the kernel or the image's kmod unpacks the few that are loaded.
        let compressed = selected.modules.iter().all(|module| !module.path.as_bytes().ends_with(b".ko"));
        let compression = if compressed { none } else { request.compression };
        segments.push(Segment { name: SegmentName::Modules, tree: selected.tree, compression });
    }
    segments.push(Segment { name: SegmentName::Host, tree: host, compression: request.compression });
    let options = pack::Options { epoch_s, threads: request.threads, store: stores.segments, size_bytes_max: None };
    Ok(pack::pack(segments, &options, reporter)?)
}

/// The newest file of the packages: the age of the content, whenever it is packed.
fn newest(tree: &Tree) -> u32 {
    let shipped = tree.iter().filter(|(_, entry)| matches!(entry.origin, Origin::Package(_)));
    shipped.map(|(_, entry)| entry.meta.mtime_s).max().unwrap_or(0)
}

/// Lays one tree over another, as the kernel does with segments.
fn join(mut under: Tree, over: Tree) -> Result<Tree, Error> {
    for (path, entry) in over.iter() {
        match (&entry.kind, under.get(path).is_some()) {
            (crate::tree::Kind::Dir, _) => {
                under.make_dirs(path, &entry.origin)?;
            }
            _ => {
                under.put(path, entry.clone())?;
            }
        }
    }
    Ok(under)
}
