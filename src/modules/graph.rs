//! The closure of chosen modules: what they need, what they ask for softly, what they may load later.
//!
//! Only chosen modules are opened, each once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use super::Error;
use super::catalog::{Candidate, Catalog};
use super::read::Reader;
use super::select::Selection;
use crate::config::Item;
use crate::format::module::{ModuleInfo, normalized};

/// Why a module is in the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// A pattern wants it.
    Pattern {
        /// The pattern as written.
        pattern: String,
        /// Where it is written.
        source: String,
    },
    /// The machine asks for it. Holds what of it does: `loaded`, `ext4 of /`.
    Wish(String),
    /// A module uses its symbols.
    NeededBy(String),
    /// A module has a softdep on it.
    SoftdepOf(String),
    /// A module may load it.
    WeakdepOf(String),
}

impl Reason {
    /// Returns the module that brought it, if one did.
    pub fn by(&self) -> Option<&str> {
        match self {
            Reason::NeededBy(name) | Reason::SoftdepOf(name) | Reason::WeakdepOf(name) => Some(name),
            _ => None,
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reason::Pattern { pattern, source } => write!(f, "pattern `{pattern}` ({source})"),
            Reason::Wish(reason) => f.write_str(reason),
            Reason::NeededBy(name) => write!(f, "needed by `{name}`"),
            Reason::SoftdepOf(name) => write!(f, "softdep of `{name}`"),
            Reason::WeakdepOf(name) => write!(f, "weakdep of `{name}`"),
        }
    }
}

/// A chosen module.
#[derive(Debug)]
pub struct Member {
    /// Why.
    pub reason: Reason,
    /// What it says of itself.
    pub info: ModuleInfo,
}

/// Chosen modules by the number of the candidate, and what was noticed on the way.
#[derive(Debug, Default)]
pub struct Closure {
    /// The modules.
    pub members: BTreeMap<usize, Member>,
    /// Softdeps and weakdeps that neither a module nor an alias answers: who asks, for what.
    pub unanswered: BTreeSet<(String, String)>,
    /// Modules that a pattern excludes and that are needed all the same: which, the pattern's number, by whom.
    pub excluded_but_needed: Vec<(String, usize, String)>,
}

/// Directories whose modules answer `crypto-…` aliases, for which modules have softdeps (btrfs: `crypto-crc32c`).
const CRYPTO_DIRS: [&str; 3] = ["kernel/crypto/", "kernel/arch/", "kernel/lib/"];

struct Walk<'a> {
    catalog: &'a Catalog,
    selection: &'a Selection,
    reader: &'a Reader<'a>,
    closure: Closure,
    /// Read, but not chosen: looked at for their aliases.
    spare: HashMap<usize, ModuleInfo>,
    /// To be read next.
    frontier: BTreeMap<usize, Reason>,
}

/// Adds to the selected modules, and to those granted to the machine, what they need.
pub fn close(
    catalog: &Catalog,
    selection: &Selection,
    patterns: &[Item],
    granted: &BTreeMap<usize, String>,
    reader: &Reader<'_>,
) -> Result<Closure, Error> {
    let reason = |number: usize| {
        let item = &patterns[number];
        Reason::Pattern { pattern: item.text.clone(), source: item.source.to_string() }
    };
    let wanted = selection.wanted.iter().enumerate();
    let mut frontier: BTreeMap<usize, Reason> =
        wanted.filter_map(|(candidate, pattern)| Some((candidate, reason((*pattern)?)))).collect();
    // What the machine itself says is worth more to a reader than that a pattern would have it, too.
    frontier.extend(granted.iter().map(|(number, reason)| (*number, Reason::Wish(reason.clone()))));
    let mut walk = Walk { catalog, selection, reader, closure: Closure::default(), spare: HashMap::new(), frontier };
    loop {
        walk.follow()?;
        walk.answer_by_alias()?;
        if walk.frontier.is_empty() {
            return Ok(walk.closure);
        }
    }
}

impl Walk<'_> {
    /// Reads the frontier and what it leads to until nothing is new.
    fn follow(&mut self) -> Result<(), Error> {
        while !self.frontier.is_empty() {
            let frontier: Vec<(usize, Reason)> = std::mem::take(&mut self.frontier).into_iter().collect();
            let unread: Vec<usize> = frontier.iter().map(|(number, _)| *number).filter(|n| !self.spare.contains_key(n)).collect();
            let candidates: Vec<&Candidate> = unread.iter().map(|number| &self.catalog.candidates[*number]).collect();
            self.spare.extend(unread.into_iter().zip(self.reader.infos(&candidates)?));
            let mut added = Vec::new();
            for (number, reason) in frontier {
                let info = self.spare.remove(&number).expect("invariant: the frontier has been read");
                self.closure.members.insert(number, Member { reason, info });
                added.push(number);
            }
            for number in added {
                self.expand(number)?;
            }
        }
        Ok(())
    }

    fn expand(&mut self, number: usize) -> Result<(), Error> {
        let catalog = self.catalog;
        let name = catalog.candidates[number].name.clone();
        let info = &self.closure.members[&number].info;
        let (depends, soft, weak) = (info.depends.clone(), soft_names(info), weak_names(info));
        for needed in depends {
            match catalog.find(&needed) {
                Some(found) => self.add(found, Reason::NeededBy(name.clone())),
                None if catalog.is_builtin(&needed) => {}
                None => {
                    let path = catalog.candidates[number].path.clone();
                    return Err(Error::MissingDependency { module: name, missing: needed, path });
                }
            }
        }
        for (names, reason) in [(soft, Reason::SoftdepOf as fn(String) -> Reason), (weak, Reason::WeakdepOf)] {
            for asked in names {
                match catalog.find(&asked) {
                    // What only may be loaded stays out when a pattern says so.
                    Some(found) if self.selection.excluded[found].is_some() => {}
                    Some(found) => self.add(found, reason(name.clone())),
                    None if catalog.is_builtin(&asked) => {}
                    None => {
                        self.closure.unanswered.insert((name.clone(), normalized(&asked)));
                    }
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, number: usize, reason: Reason) {
        if self.closure.members.contains_key(&number) || self.frontier.contains_key(&number) {
            return;
        }
        if let (Some(pattern), Reason::NeededBy(user)) = (self.selection.excluded[number], &reason) {
            self.closure.excluded_but_needed.push((self.catalog.candidates[number].name.clone(), pattern, user.clone()));
        }
        self.frontier.insert(number, reason);
    }

    /// A softdep may name an alias instead of a module: look for it among what is chosen or built in, then among crypto modules.
    fn answer_by_alias(&mut self) -> Result<(), Error> {
        let mut answered: BTreeSet<String> = BTreeSet::new();
        let chosen = self.closure.members.values().flat_map(|member| &member.info.aliases);
        let builtin = self.catalog.builtin_info.aliases.iter().map(|(alias, _)| alias);
        answered.extend(chosen.chain(builtin).map(|alias| normalized(alias)));
        self.closure.unanswered.retain(|(_, asked)| !answered.contains(asked));
        if !self.closure.unanswered.iter().any(|(_, asked)| asked.starts_with("crypto_")) {
            return Ok(());
        }
        let unread = |number: &usize| {
            let path = &self.catalog.candidates[*number].relative;
            let crypto =
                CRYPTO_DIRS.iter().any(|dir| path.starts_with(dir) && (*dir != "kernel/arch/" || path.contains("/crypto/")));
            crypto && !self.closure.members.contains_key(number) && !self.spare.contains_key(number)
        };
        let unread: Vec<usize> = (0..self.catalog.candidates.len()).filter(unread).collect();
        let candidates: Vec<&Candidate> = unread.iter().map(|number| &self.catalog.candidates[*number]).collect();
        self.spare.extend(unread.into_iter().zip(self.reader.infos(&candidates)?));
        let mut found = Vec::new();
        for (user, asked) in &self.closure.unanswered {
            let answers = |info: &ModuleInfo| info.aliases.iter().any(|alias| normalized(alias) == *asked);
            let numbers = self.spare.iter().filter(|(number, info)| self.selection.excluded[**number].is_none() && answers(info));
            found.extend(numbers.map(|(number, _)| (*number, user.clone())));
        }
        found.sort();
        for (number, user) in found {
            self.add(number, Reason::SoftdepOf(user));
        }
        Ok(())
    }
}

/// Returns the names in `pre: a b post: c`.
fn soft_names(info: &ModuleInfo) -> Vec<String> {
    let words = info.softdeps.iter().flat_map(|line| line.split([' ', '\t', ',']));
    words.filter(|word| !word.is_empty() && *word != "pre:" && *word != "post:").map(str::to_owned).collect()
}

fn weak_names(info: &ModuleInfo) -> Vec<String> {
    let words = info.weakdeps.iter().flat_map(|line| line.split([' ', '\t', ',']));
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}
