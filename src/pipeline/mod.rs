//! The build as a list of calls, in order. No stage knows the next; this is the one place that knows them all.

mod describe;
mod early;
mod error;
mod keeps;
mod kernel;
mod overlay;
pub mod standing;
mod unified;

use std::collections::BTreeSet;
use std::path::PathBuf;

pub use describe::reason;
pub use error::Error;
pub use keeps::Keeps;
pub use kernel::Kernel;
pub use overlay::Include;
pub use unified::Unified;

use crate::acquire::Blob;
use crate::config::{Blocked, ImageKind, Item, Profile};
use crate::family::Family;
use crate::finalize::{self, Applied, check};
use crate::format::compress::{Compression, Format};
use crate::host::facts::Facts;
use crate::manifest::{Manifest, Repository};
use crate::microcode::Microcode;
use crate::modules::wishes::{Class, What, Wish};
use crate::modules::{self, Selected};
use crate::pack::{self, Image, Segment, SegmentName};
use crate::package::{Catalog, Package};
use crate::plan::{self, Part, Plan, Planned};
use crate::prune::{self, Plugin, Pruned, Rules};
use crate::report::{Event, Reporter, Stage};
use crate::settings::{self, Settings};
use crate::store::infos::InfoStore;
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
    /// What else a unified kernel image takes, if one is wanted.
    pub unified: Option<&'a Unified>,
    /// Directories that are laid over the tree, in rising priority.
    pub overlays: &'a [PathBuf],
    /// Files and directories of the host that go into the image.
    pub includes: &'a [Include],
    /// How the base segment is compressed.
    pub compression: Compression,
    /// The early segment is wanted as an image of its own, not in front of the others.
    pub early_apart: bool,
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
    /// The module patterns of a second image for any machine, out of the same packages.
    pub fallback: Option<Vec<Item>>,
}

/// What a build gives.
pub enum Outcome {
    /// The tree after the stage that was asked for.
    Tree(Tree),
    /// The image, with all that belongs to it.
    Image(Box<Made>),
}

/// An image and what belongs to it.
pub struct Made {
    /// The image.
    pub image: Image,
    /// The early segment, if it is wanted apart and there is one.
    pub early: Option<Image>,
    /// The manifest as it stands beside the image, with what was left out.
    pub manifest: Manifest,
    /// The kernel version of its modules.
    pub kernel: Option<String>,
    /// The second image, if one was asked for and the first is not for any machine already.
    pub fallback: Option<Fallback>,
    /// The unified kernel image around it, if one is wanted.
    pub unified: Option<Vec<u8>>,
    /// The configuration accepts secrets where others can read them.
    pub may_be_exposed: bool,
}

/// A second image, with modules for any machine.
pub struct Fallback {
    /// The image. It shares the base segment with the first.
    pub image: Image,
    /// Its manifest as it stands beside the image.
    pub manifest: Manifest,
}

/// What a build keeps between runs.
#[derive(Clone, Copy)]
pub struct Stores<'a> {
    /// Unpacked payloads.
    pub payloads: Option<&'a payload::Store>,
    /// Packed segments.
    pub segments: Option<&'a SegmentStore>,
    /// What kernel modules say of themselves.
    pub infos: Option<&'a InfoStore>,
}

/// What is to be planned.
#[derive(Debug, Clone, Copy)]
pub struct Planning<'a> {
    /// The merged configuration.
    pub profile: &'a Profile,
    /// The machine that the image is for; nothing for a generic one.
    pub facts: Option<&'a Facts>,
    /// Where the modules come from; nothing for a plan without any.
    pub kernel: Option<&'a Kernel>,
    /// What else a unified kernel image takes, if one is wanted.
    pub unified: Option<&'a Unified>,
    /// Take what packages recommend, too.
    pub recommends: bool,
}

/// Plans the packages of an image.
pub fn plan(wanted: &Planning<'_>, catalog: &dyn Catalog, reporter: &dyn Reporter) -> Result<Plan, Error> {
    reporter.event(&Event::Begin { stage: Stage::Plan });
    let plan = planned(wanted, catalog, reporter);
    if catalog.lacks_files() {
        return Err(Error::UnreadFiles);
    }
    let plan = plan?;
    reporter.event(&Event::End { stage: Stage::Plan, figures: &describe::plan_figures(&plan) });
    Ok(plan)
}

fn planned(wanted: &Planning<'_>, catalog: &dyn Catalog, reporter: &dyn Reporter) -> Result<Plan, Error> {
    let Planning { profile, kernel, unified, recommends, .. } = *wanted;
    // What is omitted enters no image, whatever blocks it: a package of a script that asks for it may stay in the plan.
    let is_omitted = |blocked: &&Blocked| profile.omit.iter().any(|omit| omit.text == blocked.name.text);
    let blocked = profile.block.iter().filter(|blocked| !is_omitted(blocked)).map(|blocked| plan::Blocked {
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
        let mut follow = profile.kernel_follow.clone();
        follow.extend(unified.map(|unified| unified.follow(profile)).unwrap_or_default());
        plan.packages.extend(plan::parts(Part::Kernel, name, &follow, catalog)?);
    }
    if let Some(unified) = unified {
        plan.packages.extend(unified.packages(profile, catalog)?);
    }
    if kernel.is_some_and(Kernel::wants_firmware_packages) {
        for name in &profile.firmware_packages {
            plan.packages.extend(plan::parts(Part::Firmware, name, &profile.firmware_follow, catalog)?);
        }
    }
    plan.packages.extend(early::plan(wanted, catalog, reporter)?);
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

    let (selected, spare) = match select_modules(request, &files, family, &layout, stores, reporter)? {
        None => (None, None),
        Some((version, selected, spare)) => (Some((version.clone(), selected)), spare.map(|spare| (version, spare))),
    };
    if stops(Stage::Modules) {
        return Ok(Outcome::Tree(join(base.tree, selected.map(|(_, selected)| selected.tree).unwrap_or_default())?));
    }

    let epoch_s = request.epoch_s.unwrap_or_else(|| newest(&base.tree));
    let applied = finalize_tree(request, &mut base.tree, &pruned, epoch_s, reporter)?;
    let settings = settings_of(request.profile, request.facts, reporter)?;
    let (host, secrets) = host_segment(request, &settings)?;
    let kernel = selected.as_ref().map(|(version, _)| version.to_string());
    let whole = |selected: Option<&Chosen>| {
        let modules = selected.map(|(_, selected)| selected.tree.clone()).unwrap_or_default();
        join(join(base.tree.clone(), modules)?, host.clone())
    };
    let tree = whole(selected.as_ref())?;
    check_boot(request.profile, &tree, kernel.as_deref(), reporter)?;
    if stops(Stage::Finalize) {
        return Ok(Outcome::Tree(tree));
    }
    drop(tree);
    if spare.is_some() {
        check_boot(request.profile, &whole(spare.as_ref())?, kernel.as_deref(), reporter)?;
    }

    let early = early::make(request, &files, family, &layout, stores, reporter)?;
    let facts =
        describe::Facts { request, plan, unpacked: &base, rules: &rules, pruned: &pruned, applied: &applied, early: &early };
    let parts = describe::Trees { base: &base.tree, settings: &settings.tree, whole: &host, secrets: &secrets };
    let manifest = describe::manifest(&facts, selected.as_ref(), &parts);
    let manifest_of_spare = spare.as_ref().map(|spare| describe::manifest(&facts, Some(spare), &parts));
    let options = pack::Options { epoch_s, threads: request.threads, store: stores.segments, ..pack::Options::default() };
    let version = selected.as_ref().map(|(version, _)| version.clone());
    let os_release = base.tree.read(&TreePath::literal("usr/lib/os-release")).cloned();
    let (image, apart) = pack_image(request, &early, base.tree.clone(), selected, host.clone(), &manifest, &options, reporter)?;
    let options = pack::Options { twin: Some(&image), ..options };
    let fallback = match manifest_of_spare {
        Some(manifest) => {
            let (image, _) = pack_image(request, &early, base.tree, spare, host, &manifest, &options, reporter)?;
            Some(Fallback { image, manifest })
        }
        None => None,
    };
    let unified = match request.unified {
        Some(unified) => {
            let ready = unified::Ready { request, files: &files, family, layout: &layout, stores, version, os_release };
            Some(ready.unify(unified, &image, reporter)?)
        }
        None => None,
    };
    let may_be_exposed = request.profile.exposed_secrets.as_ref().is_some_and(|item| item.text == "allow");
    Ok(Outcome::Image(Box::new(Made { image, early: apart, manifest, kernel, fallback, unified, may_be_exposed })))
}

/// Returns the machine's own configuration, for an image that holds one.
fn settings_of(profile: &Profile, facts: Option<&Facts>, reporter: &dyn Reporter) -> Result<Settings, Error> {
    match facts.filter(|_| profile.kind.is_of_a_host()) {
        Some(facts) => Ok(settings::settings(profile, facts, reporter)?),
        None => Ok(Settings::default()),
    }
}

/// Returns what comes from the machine and from the user, who has the last word, and which paths of it are secrets.
fn host_segment(request: &Request<'_>, settings: &Settings) -> Result<(Tree, BTreeSet<TreePath>), Error> {
    let added = overlay::lay(request.overlays, request.includes)?;
    let mut secrets = settings.secrets.clone();
    // What others may not read on this host is not for them in the image either.
    let private = |entry: &Entry| entry.content().is_some() && entry.meta.mode & 0o004 == 0;
    secrets.extend(added.iter().filter(|(_, entry)| private(entry)).map(|(path, _)| path.clone()));
    if request.profile.emergency.as_ref().is_some_and(|item| item.text.starts_with("password:")) {
        secrets.insert(TreePath::literal("etc/shadow"));
    }
    Ok((join(settings.tree.clone(), added)?, secrets))
}

/// A kernel's version and what was chosen of it.
type Chosen = (modules::KernelVersion, Selected);

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

/// Chooses modules and firmware, for the fallback too if there is to be one.
fn select_modules(
    request: &Request<'_>,
    files: &Files<'_>,
    family: &dyn Family,
    layout: &Layout,
    stores: Stores<'_>,
    reporter: &dyn Reporter,
) -> Result<Option<(modules::KernelVersion, Selected, Option<Selected>)>, Error> {
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
    let firmware_directory = source.firmware_directory();
    match &firmware_directory {
        Some(directory) => kernel::read_firmware_names(&mut firmware, directory)?,
        None => {
            let kept = |path: &TreePath, _: &str| kernel::is_firmware(path);
            firmware = files.unpack(Part::Firmware, &kept, family, layout, stores, request.threads, &crate::report::Silent)?.tree;
        }
    }
    let version = match named {
        Some(version) => version,
        None => modules::find_kver(&tree)?,
    };
    if kernel::lacks_modules(&tree, &version) {
        let message =
            format!("the kernel `{version}` has modules, and not one of them is here: name their package in `kernel.follow`");
        reporter.event(&Event::Warning { stage: Stage::Modules, message: &message });
    }
    if request.stop_after.is_none() {
        pack::check_kernel(kernel::config(&tree, source, &version).as_deref(), request.compression.format)?;
    }
    let load = firmware_directory.map(|directory| move |path: &TreePath| kernel::load_firmware(&directory, path));
    let options = modules::Options {
        arch: Some(&request.profile.arch),
        infos: stores.infos,
        load_firmware: load.as_ref().map(|load| load as &modules::firmware::Load<'_>),
        ..modules::Options::default()
    };
    let choose = |patterns: &[Item], kind: ImageKind, reporter: &dyn Reporter| {
        let mut wishes = match (request.facts, kind) {
            (None, _) | (_, ImageKind::Generic) => Vec::new(),
            (Some(facts), ImageKind::Host) => modules::wishes::of(facts, version.as_str()),
            (Some(facts), ImageKind::Full) => modules::wishes::of_volumes(facts, version.as_str()),
        };
        wishes.extend(request.facts.map(named_modules).unwrap_or_default());
        let network = request.facts.is_some_and(modules::wishes::needs_network);
        let wanted = modules::Wanted { patterns, wishes: &wishes, network };
        modules::modules(&tree, &firmware, &version, &wanted, &options, request.threads, reporter)
    };
    let selected = choose(&request.profile.modules, request.profile.kind, reporter)?;
    reporter.event(&Event::End { stage: Stage::Modules, figures: &selected.figures() });
    let spare = match &request.fallback {
        Some(patterns) => {
            reporter.event(&Event::Begin { stage: Stage::Modules });
            // What it has more than the first image is the generic set, whose gaps are known.
            let spare = choose(patterns, ImageKind::Full, &crate::report::Silent)?;
            reporter.event(&Event::End { stage: Stage::Modules, figures: &format!("fallback: {}", spare.figures()) });
            Some(spare)
        }
        None => None,
    };
    Ok(Some((version, selected, spare)))
}

/// What the machine's configuration names, which the image holds whatever its kind.
fn named_modules(facts: &Facts) -> Vec<Wish> {
    let wish = |(name, reason)| Wish { class: Class::Configured, what: What::Name(name), reason, vital: false };
    settings::module_names(facts).into_iter().map(wish).collect()
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
        install: profile.install.clone(),
        enable: profile.enable.clone(),
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
    let findings = standing::findings(tree, profile, kernel);
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
    early: &Microcode,
    base: Tree,
    selected: Option<Chosen>,
    mut host: Tree,
    manifest: &Manifest,
    options: &pack::Options<'_>,
    reporter: &dyn Reporter,
) -> Result<(Image, Option<Image>), Error> {
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
    let early = Segment { name: SegmentName::Early, tree: early.tree.clone(), compression: none };
    if !request.early_apart {
        segments.push(early);
        return Ok((pack::pack(segments, options, reporter)?, None));
    }
    let image = pack::pack(segments, options, reporter)?;
    let early = (!early.tree.is_empty()).then(|| pack::pack(vec![early], options, reporter)).transpose()?;
    Ok((image, early))
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
