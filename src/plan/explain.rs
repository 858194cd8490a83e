//! Says in a few plain steps why there is no plan.

use std::fmt;

use super::solve::Pool;
use super::{Blocked, Error, Request, Wanted};
use crate::config::Item;
use crate::package::Catalog;

/// One step of an explanation, and those that follow from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What is so: `which requires …`.
    pub text: String,
    /// Why.
    pub next: Option<Box<Step>>,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Step {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.next.as_ref().map(|next| &**next as _)
    }
}

impl Step {
    fn one(text: String) -> Self {
        Self { text, next: None }
    }
}

pub fn unsolvable(_wanted: &[Item]) -> String {
    "the requested packages cannot be installed together".into()
}

pub fn hints(_e: &Error) -> Vec<String> {
    Vec::new()
}

pub fn unknown(_catalog: &dyn Catalog, item: &Item, name: &str) -> Error {
    Error::Unknown { name: name.into(), item: item.clone(), similar: vec![], because: Step::one(String::new()) }
}

pub fn no_version(_catalog: &dyn Catalog, item: &Item, name: &str, version: &str) -> Error {
    Error::Version { name: name.into(), wanted: version.into(), item: item.clone(), because: Step::one(String::new()) }
}

pub fn blocked_request(name: &str, blocked: &Blocked, item: &Item) -> Error {
    Error::Blocked {
        name: name.into(),
        why: blocked.why.clone(),
        source_of_block: blocked.source.clone(),
        item: item.clone(),
        because: Step::one(String::new()),
    }
}

pub fn why_not(_request: &Request, wanted: &[Wanted<'_>], _pool: &mut Pool<'_>) -> Error {
    Error::Unsolvable { wanted: wanted.iter().map(|w| w.item.clone()).collect(), because: Step::one(String::new()) }
}
