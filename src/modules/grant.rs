//! Answers wishes: which modules of this kernel a machine gets, and what nobody answers.

use std::collections::{BTreeMap, BTreeSet};

use super::aliases::{Aliases, Answer};
use super::catalog::Catalog;
use super::read::Reader;
use super::select::Selection;
use super::wishes::{Class, What, Wish};
use super::{Error, Wanted};

/// What wishes came to.
#[derive(Debug, Default)]
pub struct Granted {
    /// Candidates with the reason of the first wish for them.
    pub modules: BTreeMap<usize, String>,
    /// Modules that a wish would have and a pattern excludes: name, number of the pattern, the wish.
    pub excluded: Vec<(String, usize, Wish)>,
    /// Names that are wished for and that this kernel does not have.
    pub unanswered: Vec<Wish>,
    /// Network modules that are left out because no volume needs the network.
    pub offline: Vec<String>,
}

/// What is of use only where a volume is behind a network. A volume's own wishes, and what other modules depend on, come all the same.
const NETWORK_DIRS: [&str; 7] = [
    "kernel/drivers/net/", // cards and their transceivers
    "kernel/net/8021q/",   // and what is built of them
    "kernel/net/bridge/",
    "kernel/net/802/",
    "kernel/net/llc/",
    "kernel/net/ipv6/",
    "kernel/net/packet/",
];

/// Answers the wishes; an error if one is not answered without which the image would not boot.
pub fn grant(
    catalog: &Catalog,
    selection: &Selection,
    wanted: &Wanted<'_>,
    kver: &str,
    reader: &Reader<'_>,
) -> Result<Granted, Error> {
    let mut granted = Granted::default();
    // A generic image wishes for nothing, and must not pay for the aliases of four thousand modules.
    if wanted.wishes.is_empty() {
        return Ok(granted);
    }
    let aliases = Aliases::read(catalog, reader)?;
    let mut answered: BTreeSet<&str> = BTreeSet::new();
    for wish in wanted.wishes {
        match answer(catalog, &aliases, wish) {
            Answer::BuiltIn => {
                answered.insert(&wish.reason);
            }
            Answer::Nothing => granted.unanswered.push(wish.clone()),
            Answer::Modules(numbers) => {
                answered.insert(&wish.reason);
                numbers.into_iter().for_each(|number| granted.add(catalog, selection, wanted, wish, number));
            }
        }
    }
    let missing = granted.unanswered.iter().find(|wish| wish.vital && !answered.contains(wish.reason.as_str()));
    if let Some(wish) = missing {
        let wanted = wish.what.as_str().to_owned();
        return Err(Error::Unanswered { wanted, reason: wish.reason.clone(), kver: kver.to_owned() });
    }
    granted.unanswered.retain(|wish| !wish.vital || !answered.contains(wish.reason.as_str()));
    granted.excluded.sort();
    granted.excluded.dedup();
    granted.offline.sort();
    granted.offline.dedup();
    Ok(granted)
}

/// Returns the wishes without whose answer an image with these modules would not boot; one for each reason.
pub fn lacking(catalog: &Catalog, wishes: &[Wish], reader: &Reader<'_>) -> Result<Vec<Wish>, Error> {
    let aliases = Aliases::read(catalog, reader)?;
    let mut lacking: BTreeMap<&str, &Wish> = BTreeMap::new();
    let mut answered: BTreeSet<&str> = BTreeSet::new();
    for wish in wishes.iter().filter(|wish| wish.vital) {
        match answer(catalog, &aliases, wish) {
            Answer::Nothing => {
                lacking.entry(&wish.reason).or_insert(wish);
            }
            Answer::BuiltIn | Answer::Modules(_) => {
                answered.insert(&wish.reason);
            }
        }
    }
    lacking.retain(|reason, _| !answered.contains(reason));
    Ok(lacking.into_values().cloned().collect())
}

fn answer(catalog: &Catalog, aliases: &Aliases, wish: &Wish) -> Answer {
    match &wish.what {
        What::Name(name) => match catalog.find(name) {
            Some(number) => Answer::Modules(vec![number]),
            None if catalog.is_builtin(name) => Answer::BuiltIn,
            None => Answer::Nothing,
        },
        What::Alias(request) => aliases.answer(catalog, request),
    }
}

impl Granted {
    fn add(&mut self, catalog: &Catalog, selection: &Selection, wanted: &Wanted<'_>, wish: &Wish, number: usize) {
        let candidate = &catalog.candidates[number];
        if let Some(pattern) = selection.excluded[number] {
            self.excluded.push((candidate.name.clone(), pattern, wish.clone()));
            return;
        }
        let by_hardware = matches!(wish.class, Class::Device | Class::Loaded);
        if by_hardware && !wanted.network && NETWORK_DIRS.iter().any(|dir| candidate.relative.starts_with(dir)) {
            self.offline.push(candidate.name.clone());
            return;
        }
        self.modules.entry(number).or_insert_with(|| wish.reason.clone());
    }
}
