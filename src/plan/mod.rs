//! Turns a request and the repositories' catalog into the exact list of packages, with a reason for each.

mod apk;
mod explain;
pub mod libsolv;
pub mod lock;
mod order;
mod pacman;
mod parts;
mod sat;
mod solve;

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::base::error::{Diagnostic, ErrorKind};
use crate::base::glob;
use crate::base::limit;
use crate::config::{Item, Source};
use crate::package::{Catalog, Constraint, Package, PackageId, Refusal, Resolver};
use crate::report::{Event, Reporter, Stage};

pub use explain::Step;
pub use parts::parts;
use solve::{Cause, Choice, Pool};

/// What is wanted.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The packages: `name`, `name=version`, `a | b` (the first that is available); one with `?` at its end is left out
    /// when nothing provides it, and `-v` tells.
    pub packages: Vec<Item>,
    /// Take what packages recommend, too.
    pub recommends: bool,
    /// What must never be part of the initrd.
    pub blocked: Vec<Blocked>,
    /// Names of packages that stay in the plan, so that it is a consistent set, but are neither fetched nor unpacked.
    pub omit: Vec<Item>,
}

/// A package that must never be part of the initrd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// Its name, or a glob of names.
    pub name: String,
    /// Why, as said to the user when nothing else will do: `an initrd holds no kernel`.
    pub why: String,
    /// Where that is written.
    pub source: Source,
}

/// The packages of an initrd.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// In the order in which they are unpacked over each other: what a package requires comes before it, but for
    /// cycles, whose members are in order of name.
    pub packages: Vec<Planned>,
}

/// A package of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// The package.
    pub package: Package,
    /// Why it is there.
    pub reason: Reason,
    /// It is neither fetched nor unpacked.
    pub omitted: bool,
    /// What it is taken for.
    pub part: Part,
}

/// What a package is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The userland of the image.
    #[default]
    Base,
    /// The modules of its kernel.
    Kernel,
    /// Firmware that modules ask for.
    Firmware,
    /// The UEFI stub of a unified kernel image.
    Stub,
    /// Microcode of processors.
    Microcode,
}

impl Part {
    /// All of them.
    pub const ALL: [Part; 5] = [Part::Base, Part::Kernel, Part::Firmware, Part::Stub, Part::Microcode];
}

/// Why a package is in a plan: who asked for it first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The request.
    Requested(Item),
    /// Another package requires it.
    Required {
        /// That package's name.
        by: String,
        /// The requirement, as written: `awk (>= 1) | mawk`.
        requirement: String,
    },
    /// Another package recommends it.
    Recommended {
        /// That package's name.
        by: String,
        /// The recommendation, as written.
        requirement: String,
    },
    /// It enters by itself with what is there (apk: `install_if`).
    Joined {
        /// One of the packages that it enters with.
        with: String,
        /// All of its conditions, as written.
        conditions: String,
    },
    /// Something that was given up needed it, and apt does not take such a package out again when another suggests it or
    /// when it is part of every system.
    LeftOver,
}

impl Plan {
    /// Returns a package.
    pub fn get(&self, name: &str) -> Option<&Planned> {
        self.packages.iter().find(|planned| planned.package.name == name)
    }

    /// Returns the packages whose files are needed.
    pub fn wanted(&self) -> impl Iterator<Item = &Planned> {
        self.packages.iter().filter(|planned| !planned.omitted)
    }

    /// Returns why a package is there: itself, the one that asked for it, and so on up to one that was requested.
    pub fn why(&self, name: &str) -> Vec<&Planned> {
        let mut chain: Vec<&Planned> = self.get(name).into_iter().collect();
        while let Some(last) = chain.last()
            && chain.len() <= self.packages.len()
        {
            match &last.reason {
                Reason::Requested(_) | Reason::LeftOver => break,
                Reason::Required { by, .. } | Reason::Recommended { by, .. } | Reason::Joined { with: by, .. } => {
                    match self.get(by) {
                        Some(next) => chain.push(next),
                        None => break,
                    }
                }
            }
        }
        chain
    }
}

/// There is no plan for a request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing has this name.
    #[error("no package provides `{name}`")]
    Unknown {
        /// The name.
        name: String,
        /// Who wants it.
        item: Item,
        /// Names like it.
        similar: Vec<String>,
        /// Where it was looked for.
        #[source]
        because: Box<Step>,
    },
    /// The package is there, but not in this version.
    #[error("`{name}` is not available in version `{wanted}`")]
    Version {
        /// The package.
        name: String,
        /// The version.
        wanted: String,
        /// Who wants it.
        item: Item,
        /// What there is instead.
        #[source]
        because: Box<Step>,
    },
    /// The name is none of a package, and several packages provide it.
    #[error("`{name}` is not a package, and {}", explain::provided(.providers))]
    Ambiguous {
        /// The name.
        name: String,
        /// Who wants it.
        item: Item,
        /// The packages that provide it.
        providers: Vec<String>,
    },
    /// A word of the request is none that the distribution's own tool would take.
    #[error("`{}` is no request for a package: {reason}", .item.text)]
    BadRequest {
        /// The word.
        item: Item,
        /// What is wrong with it.
        reason: String,
    },
    /// Packages need what is not there, or refuse each other.
    #[error("{}", explain::unsolvable(.wanted))]
    Unsolvable {
        /// What cannot be had: as few of the request as still fail.
        wanted: Vec<Item>,
        /// Why, in at most five steps.
        #[source]
        because: Box<Step>,
    },
    /// A package would enter that must not.
    #[error("`{name}` must not be part of an initrd: {}", .block.why)]
    Blocked {
        /// The package.
        name: String,
        /// What blocks it.
        block: Box<Blocked>,
        /// Who wants it, or what needs it.
        item: Item,
        /// How it would enter.
        #[source]
        because: Box<Step>,
    },
    /// The question was not answered in time.
    #[error("no set of packages was found for the request in time")]
    TooHard,
    /// The plan has more packages than any initrd.
    #[error("the plan has {found} packages, wanted at most {}", limit::PACKAGES_MAX)]
    TooMany {
        /// How many.
        found: usize,
    },
    /// A package of the plan has an entry in its index that cannot be used.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl Diagnostic for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Refused(_) => ErrorKind::Untrusted,
            Error::BadRequest { .. } => ErrorKind::Config,
            _ => ErrorKind::Unsolvable,
        }
    }

    fn place(&self) -> Option<String> {
        match self {
            Error::Unknown { item, .. }
            | Error::Version { item, .. }
            | Error::Ambiguous { item, .. }
            | Error::BadRequest { item, .. }
            | Error::Blocked { item, .. } => Some(item.source.to_string()),
            Error::Unsolvable { wanted, .. } => wanted.first().map(|item| item.source.to_string()),
            Error::Refused(refusal) => Some(refusal.repo.clone()),
            Error::TooHard | Error::TooMany { .. } => None,
        }
    }

    fn hints(&self) -> Vec<String> {
        explain::hints(self)
    }
}

/// Makes the plan.
pub fn plan(request: &Request, catalog: &dyn Catalog, reporter: &dyn Reporter) -> Result<Plan, Error> {
    match catalog.resolver() {
        Resolver::Apt => as_apt(request, catalog, reporter),
        Resolver::Libsolv => match catalog.solvables() {
            Some(solvables) => libsolv::plan(request, catalog, solvables, reporter),
            None => as_apt(request, catalog, reporter),
        },
        Resolver::Apk => apk::plan(request, catalog, reporter),
        Resolver::Pacman => pacman::plan(request, catalog, reporter),
    }
}

fn as_apt(request: &Request, catalog: &dyn Catalog, reporter: &dyn Reporter) -> Result<Plan, Error> {
    let wanted = wanted(request, catalog, reporter)?;
    // The walk follows dependencies as deep as apt does, which the stack of a thread of the caller may not allow.
    std::thread::scope(|scope| {
        let solver = std::thread::Builder::new().name("solve".into()).stack_size(solve::STACK_BYTES);
        match solver.spawn_scoped(scope, || solve_request(request, &wanted, catalog)) {
            Ok(thread) => match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            },
            Err(_) => solve_request(request, &wanted, catalog),
        }
    })
}

/// A package that the request names.
struct Wanted<'r> {
    item: &'r Item,
    id: PackageId,
}

fn blocked<'r>(request: &'r Request, name: &str) -> Option<&'r Blocked> {
    request.blocked.iter().find(|blocked| glob::matches(blocked.name.as_bytes(), name.as_bytes()))
}

/// Finds the packages that the request names.
fn wanted<'r>(request: &'r Request, catalog: &dyn Catalog, reporter: &dyn Reporter) -> Result<Vec<Wanted<'r>>, Error> {
    let mut wanted: Vec<Wanted<'r>> = Vec::new();
    for item in &request.packages {
        let (text, is_optional) = split_optional(item);
        match first_available(request, catalog, item, text) {
            Ok(id) => {
                if !wanted.iter().any(|other| other.id == id) {
                    wanted.push(Wanted { item, id });
                }
            }
            Err(Error::Unknown { .. }) if is_optional => {
                let message = format!("`{text}`, wanted by {}, is not available and was left out", item.source);
                reporter.event(&Event::Detail { stage: Stage::Plan, message: &message });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(wanted)
}

/// Splits an entry of a profile into its names and whether it may be missing (`NAME ?`).
fn split_optional(item: &Item) -> (&str, bool) {
    match item.text.trim().strip_suffix('?') {
        Some(text) => (text, true),
        None => (item.text.trim(), false),
    }
}

/// Finds the first of alternatives that can be had; if none can, the error is that of the first.
fn first_available(request: &Request, catalog: &dyn Catalog, item: &Item, text: &str) -> Result<PackageId, Error> {
    let mut first_error = None;
    for name in text.split('|').map(str::trim) {
        match find(request, catalog, item, name) {
            Ok(id) => return Ok(id),
            Err(error) => {
                first_error.get_or_insert(error);
            }
        }
    }
    Err(first_error.expect("invariant: a split text has at least one part"))
}

/// Tells whether a catalog has what an entry of a profile names: one of `A | B`, whether it must be there or not (`?`).
pub fn is_offered(item: &Item, catalog: &dyn Catalog) -> bool {
    let (text, _) = split_optional(item);
    !matches!(first_available(&Request::default(), catalog, item, text), Err(Error::Unknown { .. }))
}

fn find(request: &Request, catalog: &dyn Catalog, item: &Item, text: &str) -> Result<PackageId, Error> {
    let (name, version) = match text.split_once('=') {
        Some((name, version)) => (name.trim(), Some(version.trim())),
        None => (text, None),
    };
    let id = match (catalog.named(name), version) {
        ([], None) => provider(catalog, item, name)?,
        ([], Some(_)) => return Err(explain::unknown(catalog, item, name)),
        ([best, ..], None) => *best,
        (versions, Some(version)) => {
            let is_it = |id: &&PackageId| catalog.compare(catalog.version(**id), version).is_eq();
            *versions.iter().find(is_it).ok_or_else(|| explain::no_version(catalog, item, name, version))?
        }
    };
    if let Some(blocked) = blocked(request, catalog.name(id)) {
        return Err(explain::blocked_request(catalog.name(id), blocked, item));
    }
    if let Err(refusal) = catalog.relations(id) {
        return Err(refusal.clone().into());
    }
    Ok(id)
}

/// Finds the one package that provides a name which is none of a package itself, as apt does.
fn provider(catalog: &dyn Catalog, item: &Item, name: &str) -> Result<PackageId, Error> {
    let mut by_name: BTreeMap<&str, PackageId> = BTreeMap::new();
    for id in catalog.offers(&Constraint::any(name)) {
        if catalog.named(catalog.name(id)).first() == Some(&id) {
            by_name.insert(catalog.name(id), id);
        }
    }
    match by_name.len() {
        0 => Err(explain::unknown(catalog, item, name)),
        1 => Ok(*by_name.values().next().expect("invariant: it has one")),
        _ => Err(Error::Ambiguous {
            name: name.to_owned(),
            item: item.clone(),
            providers: by_name.into_keys().map(str::to_owned).collect(),
        }),
    }
}

fn solve_request(request: &Request, wanted: &[Wanted<'_>], catalog: &dyn Catalog) -> Result<Plan, Error> {
    let is_blocked = |name: &str| blocked(request, name).is_some();
    let ids: Vec<PackageId> = wanted.iter().map(|wanted| wanted.id).collect();
    let mut pool = Pool::new(catalog, request.recommends, &is_blocked);
    let mut choice = solve::walk(&mut pool, &ids);
    if solve::check(&mut pool, &ids, &choice).is_some() {
        if let Some(error) = explain::hopeless(request, wanted, &mut pool) {
            return Err(error);
        }
        let found = match sat::solve(&mut pool, &ids, &choice) {
            Ok(found) => found,
            Err(sat::NoSolution::Unsolvable) => return Err(explain::why_not(wanted, &mut pool)),
            Err(sat::NoSolution::TooHard) => return Err(Error::TooHard),
        };
        choice = Choice { chosen: found.into_iter().map(|id| (pool.name_of(id), id)).collect(), causes: HashMap::new() };
    }
    let mut swept = choice.clone();
    solve::sweep(&mut pool, &ids, &mut swept);
    if solve::check(&mut pool, &ids, &swept).is_none() {
        choice = swept;
    }
    if choice.chosen.len() > limit::PACKAGES_MAX {
        return Err(Error::TooMany { found: choice.chosen.len() });
    }
    finish(request, wanted, &mut pool, &choice)
}

/// Makes the plan of a choice that holds.
fn finish(request: &Request, wanted: &[Wanted<'_>], pool: &mut Pool<'_>, choice: &Choice) -> Result<Plan, Error> {
    let causes = causes(pool, wanted, choice);
    let order = order::unpacking(pool, choice);
    let mut packages = Vec::with_capacity(order.len());
    for id in order {
        let package = pool.catalog.package(id)?;
        let reason = match causes.get(&id) {
            Some(Cause::Need { by, critical, place }) => {
                let relations = pool.catalog.relations(*by).map_err(Clone::clone)?;
                let by = pool.catalog.name(*by).to_owned();
                match critical {
                    true => Reason::Required { by, requirement: relations.requires[*place].to_string() },
                    false => Reason::Recommended { by, requirement: relations.recommends[*place].to_string() },
                }
            }
            Some(Cause::Request) | None => match wanted.iter().find(|wanted| wanted.id == id) {
                Some(wanted) => Reason::Requested(wanted.item.clone()),
                None => Reason::LeftOver,
            },
        };
        let omitted = request.omit.iter().any(|item| item.text == package.name);
        packages.push(Planned { package, reason, omitted, part: Part::Base });
    }
    Ok(Plan { packages })
}

/// Returns who asked for each package. What the walk noted counts where it still holds; the rest (after a repair, or when
/// a branch was given up) is asked for by whoever is nearest to the request.
fn causes(pool: &mut Pool<'_>, wanted: &[Wanted<'_>], choice: &Choice) -> HashMap<PackageId, Cause> {
    let mut nearest: HashMap<PackageId, Cause> = wanted.iter().map(|wanted| (wanted.id, Cause::Request)).collect();
    let mut queue: VecDeque<PackageId> = wanted.iter().map(|wanted| wanted.id).collect();
    while let Some(by) = queue.pop_front() {
        let Some(needs) = pool.needs(by) else { continue };
        for group in &needs.groups {
            for &member in &group.members {
                for i in 0..pool.target_at(member).offers.len() {
                    let id = pool.target_at(member).offers[i];
                    if choice.has(pool, id) && !nearest.contains_key(&id) {
                        nearest.insert(id, Cause::Need { by, critical: group.critical, place: group.place });
                        queue.push_back(id);
                    }
                }
            }
        }
    }
    let mut causes = nearest.clone();
    for (&name, &id) in &choice.chosen {
        if let Some(&cause) = choice.causes.get(&name)
            && nearest.get(&id) != Some(&Cause::Request)
            && leads_to_request(pool, choice, name)
        {
            causes.insert(id, cause);
        }
    }
    causes
}

/// Tells whether the causes that the walk noted for a package end at the request, each by a package that was kept.
fn leads_to_request(pool: &Pool<'_>, choice: &Choice, mut name: solve::NameId) -> bool {
    for _ in 0..=choice.chosen.len() {
        match choice.causes.get(&name) {
            Some(Cause::Request) => return true,
            Some(&Cause::Need { by, .. }) if choice.has(pool, by) => name = pool.owner(by),
            _ => return false,
        }
    }
    false
}
