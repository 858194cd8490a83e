//! Reads the atoms that apk's files are made of: `name`, `name>=1`, `!name<2`, `name~1.2`, and in a request `name@tag`.

use super::version;
use crate::package::{Capability, Condition, Constraint, Flaw, Op};

/// Atoms in one field. The largest of Alpine have some hundred; a hostile one is refused.
const ATOMS_MAX: usize = 50_000;
/// How much of a wrong value a message shows.
const SHOWN_BYTES: usize = 60;
/// What an atom is, as said in messages.
const FORM: &str = "`name`, or a name, an operator and a version as in `name>=1.2`";

/// One atom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Atom {
    /// What it names, and whether that is refused (`!`).
    pub condition: Condition,
    /// The tag of the repository that it is wanted from, without the `@`.
    pub tag: Option<String>,
}

/// Reads a list of atoms as a package has it, where no tag may stand.
pub fn conditions(field: &'static str, value: &str) -> Result<Vec<Condition>, Flaw> {
    let mut list = Vec::new();
    for word in words(value) {
        let wrong = || malformed(field, word, FORM);
        if list.len() == ATOMS_MAX {
            return Err(malformed(field, value, "at most 50000 names"));
        }
        let atom = atom(word).filter(|atom| atom.tag.is_none() && has_version(atom)).ok_or_else(wrong)?;
        list.push(atom.condition);
    }
    Ok(list)
}

/// Reads what a package provides. As for apk, a version that is none does not make the offer void, and what is no atom ends the list.
pub fn capabilities(value: &str) -> Vec<Capability> {
    let atoms = words(value).map_while(atom).take(ATOMS_MAX);
    let offers = atoms.map(|Atom { condition: Condition { constraint, .. }, .. }| Capability {
        name: constraint.name,
        version: constraint.range.map(|(_, version)| version).filter(|version| !version.is_empty()),
    });
    offers.collect()
}

/// Reads an atom of a request; `None` if it is none.
pub fn requested(text: &str) -> Option<Atom> {
    atom(text).filter(has_version)
}

fn has_version(atom: &Atom) -> bool {
    atom.condition.constraint.range.as_ref().is_none_or(|(_, version)| version::is_valid(version))
}

/// Returns the words of a list: apk takes spaces and newlines between them.
pub fn words(value: &str) -> impl Iterator<Item = &str> {
    value.split([' ', '\n']).filter(|word| !word.is_empty())
}

/// Returns the name of an atom, without reading the rest.
pub fn name_of(word: &str) -> &str {
    before_operator(word.strip_prefix('!').unwrap_or(word))
}

fn before_operator(word: &str) -> &str {
    &word[..word.find(is_operator).unwrap_or(word.len())]
}

fn is_operator(letter: char) -> bool {
    matches!(letter, '<' | '>' | '=' | '~')
}

fn atom(word: &str) -> Option<Atom> {
    let (word, refused) = match word.strip_prefix('!') {
        Some(rest) => (rest, true),
        None => (word, false),
    };
    // Of two signs `!` the second is of the name, as apk has it.
    let name = before_operator(word);
    let rest = &word[name.len()..];
    let range = match rest.find(|letter| !is_operator(letter)) {
        None if rest.is_empty() => None,
        // Nothing follows the operator, or the operator is none: `a==` wants the empty version.
        None => Some((operator(rest)?, String::new())),
        Some(at) => Some((operator(&rest[..at])?, rest[at..].to_owned())),
    };
    let (name, tag) = match name.split_once('@') {
        Some((name, tag)) => (name, Some(tag.to_owned())),
        None => (name, None),
    };
    if name.is_empty() || tag.as_deref() == Some("") {
        return None;
    }
    Some(Atom { condition: Condition { constraint: Constraint { name: name.to_owned(), arch: None, range }, refused }, tag })
}

/// Reads an operator: any letters of `<>=~` in any order, as apk takes them. `><` (a digest) is for packages given as files.
fn operator(text: &str) -> Option<Op> {
    let has = |letter| text.contains(letter);
    Some(match (has('<'), has('>'), has('='), has('~')) {
        (true, true, ..) => return None,
        (true, false, false, false) => Op::Less,
        (true, false, true, false) => Op::LessEqual,
        (false, true, false, false) => Op::Greater,
        (false, true, true, false) => Op::GreaterEqual,
        (true, false, _, true) => Op::LessFuzzy,
        (false, true, _, true) => Op::GreaterFuzzy,
        (false, false, _, true) => Op::Fuzzy,
        (false, false, _, false) => Op::Equal,
    })
}

/// Returns the flaw of a field's value, shortened.
pub fn malformed(field: &'static str, found: &str, wanted: &'static str) -> Flaw {
    let end = (0..=SHOWN_BYTES.min(found.len())).rev().find(|&at| found.is_char_boundary(at)).unwrap_or(0);
    Flaw::Malformed { field, found: found[..end].to_owned(), wanted }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_atoms() {
        for (text, shown) in [
            ("a", "a"),
            ("!a", "!a"),
            ("so:libc.musl-x86_64.so.1", "so:libc.musl-x86_64.so.1"),
            ("/bin/sh", "/bin/sh"),
            ("a>=1.2-r0", "a (>= 1.2-r0)"),
            ("a=1", "a (= 1)"),
            ("a<1", "a (<< 1)"),
            ("a>~2.5", "a (>~ 2.5)"),
            ("a~2", "a (~ 2)"),
            ("a=~2", "a (~ 2)"),
            ("!b>1", "!b (>> 1)"),
            ("!!b>1", "!!b (>> 1)"),
            ("!!é>1", "!!é (>> 1)"),
        ] {
            let atom = requested(text).expect(text);
            let sign = if atom.condition.refused { "!" } else { "" };
            assert_eq!(format!("{sign}{}", atom.condition.constraint), shown);
        }
        assert_eq!(requested("a@testing").and_then(|atom| atom.tag).as_deref(), Some("testing"));
        for text in ["", "!", "=1", "a=", "a==", "foo=invalid", "a><1", "a@", "@b"] {
            assert_eq!(requested(text), None, "{text}");
        }
    }

    #[test]
    fn a_package_names_no_tag() {
        assert!(conditions("D", "a b>1 !c").is_ok_and(|list| list.len() == 3));
        assert!(matches!(conditions("D", "a invalid-dependency@tag"), Err(Flaw::Malformed { field: "D", .. })));
        assert_eq!(capabilities("a=1 b c=x").len(), 3);
    }
}
