//! Dependencies that are more than a list of alternatives: RPM's, with ranges on both sides and boolean operators.

use std::cmp::Ordering;
use std::fmt;

use super::{Constraint, Op, PackageId};

/// A dependency: one constraint, or two dependencies joined by a word.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Term {
    /// A name, possibly with a range of versions.
    One(Constraint),
    /// A boolean dependency.
    Join(Word, Box<(Term, Term)>),
}

/// What joins two dependencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Word {
    /// Both.
    And,
    /// Either.
    Or,
    /// One package that meets both.
    With,
    /// A package that meets the first and not the second.
    Without,
    /// The first, where the second is met.
    If,
    /// The first, where the second is not met.
    Unless,
    /// Only as the second part of `if` and `unless`: the condition, and what is needed when it is the other way.
    Else,
}

impl Word {
    /// Returns the word as packages write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Word::And => "and",
            Word::Or => "or",
            Word::With => "with",
            Word::Without => "without",
            Word::If => "if",
            Word::Unless => "unless",
            Word::Else => "else",
        }
    }
}

impl Term {
    /// Joins two dependencies.
    pub fn join(word: Word, first: Term, second: Term) -> Self {
        Term::Join(word, Box::new((first, second)))
    }

    /// Calls back for each constraint that meeting this dependency may mean having, in order; conditions are not such.
    pub fn each_wanted<'t>(&'t self, visit: &mut dyn FnMut(&'t Constraint)) {
        match self {
            Term::One(constraint) => visit(constraint),
            Term::Join(word, pair) => {
                pair.0.each_wanted(visit);
                match (word, &pair.1) {
                    (Word::And | Word::Or | Word::With, second) => second.each_wanted(visit),
                    (Word::If | Word::Unless, Term::Join(Word::Else, parts)) => parts.1.each_wanted(visit),
                    _ => {}
                }
            }
        }
    }

    /// Calls back for each constraint that it names.
    pub fn each<'t>(&'t self, visit: &mut dyn FnMut(&'t Constraint)) {
        match self {
            Term::One(constraint) => visit(constraint),
            Term::Join(_, pair) => {
                pair.0.each(visit);
                pair.1.each(visit);
            }
        }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Term::One(constraint) => f.write_str(&written(constraint)),
            Term::Join(Word::Else, pair) => write!(f, "{} else {}", pair.0, pair.1),
            Term::Join(word, pair) => write!(f, "({} {} {})", pair.0, word.as_str(), pair.1),
        }
    }
}

/// Returns a constraint as RPM packages write it: `name >= 1`.
fn written(constraint: &Constraint) -> String {
    let Some((op, version)) = &constraint.range else { return constraint.name.clone() };
    let op = match op {
        Op::Less => "<",
        Op::Greater => ">",
        other => other.as_str(),
    };
    format!("{} {op} {version}", constraint.name)
}

/// What a package has to do with others, in full.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// What must be there too.
    pub requires: Vec<Term>,
    /// What should be there too.
    pub recommends: Vec<Term>,
    /// What is preferred when there is a choice.
    pub suggests: Vec<Term>,
    /// When this should be there too.
    pub supplements: Vec<Term>,
    /// When this is preferred where there is a choice.
    pub enhances: Vec<Term>,
    /// What must not be there.
    pub conflicts: Vec<Term>,
    /// What this takes the place of: packages by their own names.
    pub obsoletes: Vec<Term>,
    /// What it offers, its own name among it.
    pub provides: Vec<Constraint>,
}

/// A package that is in a repository and may not be taken, as the repository's options have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Excluded<'c> {
    /// Architecture.
    pub arch: &'c str,
    /// Version.
    pub version: &'c str,
    /// The priority of its repository: a higher one is preferred.
    pub priority: i32,
}

/// What a resolver asks of a catalog whose packages have [`Terms`].
pub trait Solvables: Sync {
    /// Returns the architecture of a package.
    fn arch(&self, id: PackageId) -> &str;

    /// Returns the architectures that may be installed, the best first; what has none is not among them.
    fn arches(&self) -> &[String];

    /// Returns the priority of a package's repository: a higher one is preferred.
    fn priority(&self, id: PackageId) -> i32;

    /// Returns the packages of this name that may not be taken: others are still older than they.
    fn excluded(&self, name: &str) -> Vec<Excluded<'_>>;

    /// Returns the packages that supplement or enhance something, ascending.
    fn supplementing(&self) -> &[PackageId];

    /// Returns the packages that obsolete something of this name, ascending.
    fn obsoleting(&self, name: &str) -> &[PackageId];

    /// Returns what a package has to do with others; nothing if its entry cannot be used.
    fn terms(&self, id: PackageId) -> Option<&Terms>;

    /// Returns the packages that offer a name or have a file of this path, ascending.
    fn offering(&self, name: &str) -> Vec<PackageId>;

    /// Returns the packages that offer a name of which this holds, ascending.
    fn offering_like(&self, is_meant: &dyn Fn(&str) -> bool) -> Vec<PackageId>;

    /// Tells whether a package that offers a name offers versions that a range means.
    fn offers_in(&self, id: PackageId, constraint: &Constraint) -> bool;

    /// Tells whether a package is called so and its version is in a range, whatever it offers.
    fn is_named(&self, id: PackageId, constraint: &Constraint) -> bool;

    /// Compares two versions as [`super::Catalog::compare`], but one without a release is equal to every release of it.
    fn compare_loosely(&self, a: &str, b: &str) -> Ordering;
}
