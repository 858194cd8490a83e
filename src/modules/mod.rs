//! Kernel modules of an image: chosen by patterns, closed over what they need, with their firmware and indexes of their own.
//!
//! Input and output are trees; nothing is read from disk and no tool is run.

pub mod aliases;
pub mod catalog;
mod cipher;
pub mod depmod;
mod error;
pub mod firmware;
pub mod grant;
pub mod graph;
mod kernel;
mod read;
mod search;
pub mod select;
pub mod wishes;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

pub use depmod::Shipped;
pub use error::Error;
pub use firmware::Firmware;
pub use graph::Reason;
pub use kernel::{KernelVersion, decompressor, find_kver};

use crate::base::size::Size;
use crate::config::Item;
use crate::format::module;
use crate::host::facts::Facts;
use crate::report::{Event, Reporter, Stage};
use crate::store::infos::InfoStore;
use crate::tree::{Entry, Kind, Origin, Tree, TreePath};
use catalog::Catalog;
use grant::Granted;
use graph::Closure;
use select::Selection;
use wishes::{Class, What};

/// Which modules are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Patterns of the profile and the user. A pattern that excludes a module beats a wish.
    pub patterns: &'a [Item],
    /// What the machine asks for.
    pub wishes: &'a [wishes::Wish],
    /// A volume of the machine is behind the network: drivers for it are wishes like others.
    pub network: bool,
}

impl<'a> Wanted<'a> {
    /// Returns what patterns alone ask for.
    pub fn patterns(patterns: &'a [Item]) -> Self {
        Self { patterns, wishes: &[], network: false }
    }
}

/// How modules are chosen, besides what is wanted.
#[derive(Clone, Default)]
pub struct Options<'a> {
    /// The architecture of the image in its distribution's words (`amd64`); modules for another one are refused.
    pub arch: Option<&'a str>,
    /// Which indexes go into the image.
    pub shipped: Shipped,
    /// Where what modules say of themselves is kept between runs.
    pub infos: Option<&'a InfoStore>,
    /// Reads a file of the firmware, if its tree holds names only.
    pub load_firmware: Option<&'a firmware::Load<'a>>,
}

/// A module of the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Chosen {
    /// The kernel's name for it.
    pub name: String,
    /// Where it lies in the image.
    pub path: TreePath,
    /// Why it is there.
    pub reason: Reason,
    /// Its size as shipped, in bytes.
    pub size_bytes: u64,
    /// Whether a signature is appended, without which a locked-down kernel loads nothing.
    pub signed: bool,
}

/// What the stage gives.
#[derive(Debug, Default)]
pub struct Selected {
    /// `usr/lib/modules/$KVER` and `usr/lib/firmware` of the image.
    pub tree: Tree,
    /// The modules, ordered by path.
    pub modules: Vec<Chosen>,
    /// The firmware files, ordered by name.
    pub firmware: Vec<Firmware>,
    /// Firmware that modules ask for and that is not there, by module.
    pub missing_firmware: BTreeMap<String, Vec<String>>,
}

impl Selected {
    /// Returns the figures in one line: `903 modules (26.9 MB), 41 firmware files (3.1 MB)`.
    pub fn figures(&self) -> String {
        let modules: u64 = self.modules.iter().map(|module| module.size_bytes).sum();
        let paths: BTreeSet<&TreePath> = self.firmware.iter().map(|file| &file.path).collect();
        let firmware: u64 = paths.iter().filter_map(|path| Some(self.tree.get(path)?.content()?.len() as u64)).sum();
        format!("{} modules ({}), {} firmware files ({})", self.modules.len(), Size(modules), paths.len(), Size(firmware))
    }
}

/// Chooses the modules of one kernel and their firmware.
///
/// `kernel` has `usr/lib/modules/$KVER`, from a package or a directory; `firmware` has `usr/lib/firmware`, and may be the same tree.
pub fn modules(
    kernel: &Tree,
    firmware: &Tree,
    kver: &KernelVersion,
    wanted: &Wanted<'_>,
    options: &Options<'_>,
    threads: usize,
    reporter: &dyn Reporter,
) -> Result<Selected, Error> {
    let patterns = wanted.patterns;
    let catalog = Catalog::new(kernel, kver)?;
    let selection = select::select(&catalog, patterns)?;
    let known = options.infos.map(|store| store.open(kver.as_str())).unwrap_or_default();
    let reader = read::Reader::new(threads, &known);
    let granted = grant::grant(&catalog, &selection, wanted, kver.as_str(), &reader)?;
    let closure = graph::close(&catalog, &selection, patterns, &granted.modules, &reader)?;
    // What cannot be kept costs the next run some time, and nothing else.
    drop(known.save());
    check_machine(&catalog, &closure, options.arch)?;
    let mut selected = Selected::default();
    let left_out = place(&catalog, &closure, kver, options.shipped, &mut selected)?;
    let found =
        firmware::collect(firmware, options.load_firmware, kver, &firmware_wishes(&catalog, &closure), &mut selected.tree)?;
    let told = Told {
        catalog: &catalog,
        selection: &selection,
        patterns,
        granted: &granted,
        closure: &closure,
        found: &found,
        left_out,
        kver,
    };
    tell(&told, reporter);
    selected.firmware = found.files;
    selected.missing_firmware = found.missing;
    Ok(selected)
}

/// Returns what the volumes of a machine ask for and the modules in an image's tree do not answer.
pub fn lacking(image: &Tree, kver: &KernelVersion, facts: &Facts, threads: usize) -> Result<Vec<wishes::Wish>, Error> {
    let catalog = Catalog::new(image, kver)?;
    let known = Default::default();
    grant::lacking(&catalog, &wishes::of_volumes(facts, kver.as_str()), &read::Reader::new(threads, &known))
}

fn check_machine(catalog: &Catalog, closure: &Closure, arch: Option<&str>) -> Result<(), Error> {
    let members = || closure.members.iter().map(|(number, member)| (&catalog.candidates[*number].path, member.info.machine));
    // Without a request all must be for the same machine as the first.
    let Some(wanted) = arch.and_then(module::machine_of).or_else(|| members().next().map(|(_, machine)| machine)) else {
        return Ok(());
    };
    match members().find(|(_, machine)| *machine != wanted) {
        Some((path, found)) => Err(Error::Machine { path: path.clone(), wanted, found }),
        None => Ok(()),
    }
}

/// Puts modules, the kernel's lists and the indexes into the tree. Returns the aliases that no index can hold, with their module.
fn place(
    catalog: &Catalog,
    closure: &Closure,
    kver: &KernelVersion,
    shipped: Shipped,
    selected: &mut Selected,
) -> Result<Vec<(String, String)>, Error> {
    let dir = TreePath::literal("usr/lib/modules").join(kver.as_str().as_bytes())?;
    selected.tree.make_dirs(&dir, &Origin::Kernel)?;
    let mut inputs = Vec::with_capacity(closure.members.len());
    for (number, member) in &closure.members {
        let candidate = &catalog.candidates[*number];
        let path = dir.join(candidate.relative.as_bytes())?;
        let kind = Kind::File(candidate.content.clone());
        selected.tree.insert(&path, Entry { meta: candidate.meta, kind, origin: Origin::Kernel })?;
        inputs.push(depmod::Input { path: &candidate.relative, info: &member.info });
        selected.modules.push(Chosen {
            name: candidate.name.clone(),
            path,
            reason: member.reason.clone(),
            size_bytes: candidate.content.len() as u64,
            signed: member.info.signed,
        });
    }
    for (name, content) in &catalog.kernel_files {
        // depmod reads the order; nothing in an image does.
        if shipped == Shipped::All || *name != "modules.order" {
            selected.tree.insert(&dir.join(name.as_bytes())?, Entry::file(content.clone(), Origin::Kernel))?;
        }
    }
    let kernel_files = depmod::KernelFiles {
        order: catalog.text("modules.order"),
        builtin: catalog.text("modules.builtin"),
        builtin_modinfo: catalog.kernel_files.get("modules.builtin.modinfo").map(|content| content.bytes()),
    };
    let made = depmod::indexes(&inputs, &kernel_files, shipped)?;
    for (name, bytes) in made.files {
        selected.tree.insert(&dir.join(name.as_bytes())?, Entry::file(bytes, Origin::Made("depmod")))?;
    }
    Ok(made.left_out)
}

fn firmware_wishes(catalog: &Catalog, closure: &Closure) -> BTreeMap<String, BTreeSet<String>> {
    let mut wishes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let kept = closure.members.iter().map(|(number, member)| (&catalog.candidates[*number].name, &member.info.firmware));
    for (module, names) in kept.chain(&catalog.builtin_info.firmware) {
        if !names.is_empty() {
            wishes.entry(module.clone()).or_default().extend(names.iter().cloned());
        }
    }
    wishes
}

struct Told<'a> {
    catalog: &'a Catalog,
    selection: &'a Selection,
    patterns: &'a [Item],
    granted: &'a Granted,
    closure: &'a Closure,
    found: &'a firmware::Found,
    left_out: Vec<(String, String)>,
    kver: &'a KernelVersion,
}

/// Reports what is worth knowing: what is missing in the image as warnings, the rest as details.
fn tell(told: &Told<'_>, reporter: &dyn Reporter) {
    let warn = |message: &str| reporter.event(&Event::Warning { stage: Stage::Modules, message });
    let detail = |message: &str| reporter.event(&Event::Detail { stage: Stage::Modules, message });
    for item in told.selection.unmatched.iter().map(|number| &told.patterns[*number]) {
        let message = format!("the module pattern `{}` ({}) matches nothing in {}", item.text, item.source, told.kver);
        // What was to be left out is not there: as wanted, but perhaps mistyped. A profile's own list is for kernels of many kinds.
        let is_of_profile = item.source.file.starts_with("distro-profiles/");
        if item.text.starts_with('-') || is_of_profile { detail(&message) } else { warn(&message) }
    }
    for (path, target) in &told.catalog.dangling {
        warn(&format!("the module link `{path}` leads nowhere (`{target}`): it is left out"));
    }
    if let [first, ..] = told.catalog.stale.as_slice() {
        let count = told.catalog.stale.len();
        warn(&format!("`modules.dep` names {count} modules that are not there, the first is `{first}`: it is made anew"));
    }
    tell_firmware(told.found, &warn, &detail);
    for (hidden, by) in &told.catalog.hidden {
        detail(&format!("`{hidden}` is hidden by `{by}`"));
    }
    tell_wishes(told, &warn, &detail);
    for (name, pattern, user) in &told.closure.excluded_but_needed {
        let item = &told.patterns[*pattern];
        detail(&format!("`{name}` is excluded by `{}` ({}), but `{user}` needs it", item.text, item.source));
    }
    for (user, asked) in &told.closure.unanswered {
        detail(&format!("`{user}` would like `{asked}`, which this kernel does not have"));
    }
    for (alias, name) in &told.left_out {
        detail(&format!("the alias `{}` of `{name}` fits into no index", alias.escape_debug()));
    }
    tell_signatures_and_versions(told, &warn, &detail);
}

/// What a machine asked for and did not get.
fn tell_wishes(told: &Told<'_>, warn: &dyn Fn(&str), detail: &dyn Fn(&str)) {
    for (name, pattern, wish) in &told.granted.excluded {
        let item = &told.patterns[*pattern];
        let message = format!("`{name}` ({}) is excluded by `{}` ({})", wish.reason, item.text, item.source);
        // Whoever excludes what the root is made of may know better; it has to be seen all the same.
        if wish.class <= Class::Disk { warn(&message) } else { detail(&message) }
    }
    for wish in &told.granted.unanswered {
        match &wish.what {
            // Most devices of a machine need no driver of their own.
            What::Alias(_) if wish.class == Class::Device => {}
            what => detail(&format!("this kernel has no `{}` ({})", what.as_str(), wish.reason)),
        }
    }
    if !told.granted.offline.is_empty() {
        let names = told.granted.offline.join("`, `");
        detail(&format!("no volume is behind the network, so that its drivers are left out: `{names}`"));
    }
}

fn tell_signatures_and_versions(told: &Told<'_>, warn: &dyn Fn(&str), detail: &dyn Fn(&str)) {
    let members =
        told.closure.members.iter().map(|(number, one)| (told.catalog.candidates[*number].relative.as_str(), &one.info));
    // weak-updates holds modules of other versions on purpose.
    let strangers = members
        .clone()
        .filter(|(path, info)| info.vermagic.split(' ').next() != Some(told.kver.as_str()) && !path.starts_with("weak-updates/"));
    if let Some((path, info)) = strangers.clone().next() {
        let (count, built_for) = (strangers.count(), info.vermagic.split(' ').next().unwrap_or_default());
        warn(&format!("{count} modules were not built for `{}`: `{path}` is for `{built_for}`", told.kver));
    }
    let signed = members.clone().any(|(_, info)| info.signed);
    for (path, _) in members.filter(|(_, info)| signed && !info.signed) {
        detail(&format!("the module `{path}` is not signed, unlike others: a locked-down kernel refuses it"));
    }
}

fn tell_firmware(found: &firmware::Found, warn: &dyn Fn(&str), detail: &dyn Fn(&str)) {
    for name in &found.loops {
        warn(&format!("the links of firmware `{name}` lead in a circle"));
    }
    if !found.missing.is_empty() {
        let files: BTreeSet<&String> = found.missing.values().flatten().collect();
        let (files, modules) = (files.len(), found.missing.len());
        warn(&format!("{files} firmware files that {modules} modules may ask for are in no package (`-v` lists them)"));
    }
    for (module, names) in &found.missing {
        detail(&format!(
            "`{module}` lacks firmware {}",
            names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" ")
        ));
    }
}
