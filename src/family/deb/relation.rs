//! Reads the relationship fields of a package: `a (>= 1) | b:any, c` (Debian Policy 7.1).

use crate::package::{Capability, Constraint, Flaw, Op, Requirement};

/// Alternatives and list members in one field. The largest of Debian have some hundred; a hostile one is refused.
const ATOMS_MAX: usize = 50_000;
/// How much of a wrong value a message shows.
const SHOWN_BYTES: usize = 60;

/// Reads a list of requirements, each with its alternatives.
pub fn requirements(field: &'static str, value: &str) -> Result<Vec<Requirement>, Flaw> {
    let mut list = Vec::new();
    let mut atoms = 0;
    for group in value.split(',').map(str::trim).filter(|group| !group.is_empty()) {
        let alternatives = group.split('|').map(|atom| constraint(field, atom)).collect::<Result<Vec<_>, _>>()?;
        atoms += alternatives.len();
        if atoms > ATOMS_MAX {
            return Err(malformed(field, value, "at most 50000 names"));
        }
        list.push(Requirement(alternatives));
    }
    Ok(list)
}

/// Reads a list without alternatives, as in `Conflicts`.
pub fn constraints(field: &'static str, value: &str) -> Result<Vec<Constraint>, Flaw> {
    let list = requirements(field, value)?;
    list.into_iter()
        .map(|Requirement(mut alternatives)| match alternatives.len() {
            1 => Ok(alternatives.remove(0)),
            _ => Err(malformed(field, value, "a list without alternatives")),
        })
        .collect()
}

/// Reads a list of offers. One with another operator than `=` offers nothing, as for dpkg and apt.
pub fn capabilities(field: &'static str, value: &str) -> Result<Vec<Capability>, Flaw> {
    let offers = constraints(field, value)?.into_iter().filter_map(|offer| {
        let version = match offer.range {
            None => None,
            Some((Op::Equal, version)) => Some(version),
            Some(_) => return None,
        };
        // An offer for one architecture (`libfoo:i386`) keeps it in its name, so that it is not taken for the plain name.
        let name = match offer.arch {
            None => offer.name,
            Some(arch) => format!("{}:{arch}", offer.name),
        };
        Some(Capability { name, version })
    });
    Ok(offers.collect())
}

/// Reads one `name[:arch] [(op version)]`.
pub fn constraint(field: &'static str, atom: &str) -> Result<Constraint, Flaw> {
    let wrong = || malformed(field, atom, "`name (operator version)`");
    let atom = atom.trim();
    let (name, range) = match atom.split_once('(') {
        None => (atom, None),
        Some((name, rest)) => {
            let inside = rest.trim_end().strip_suffix(')').ok_or_else(wrong)?;
            (name.trim_end(), Some(parse_range(inside).ok_or_else(wrong)?))
        }
    };
    let (name, arch) = match name.split_once(':') {
        None => (name, None),
        Some((name, arch)) if is_name(arch) => (name, Some(arch.to_owned())),
        Some(_) => return Err(wrong()),
    };
    if !is_name(name) {
        return Err(wrong());
    }
    Ok(Constraint { name: name.to_owned(), arch, range })
}

fn parse_range(inside: &str) -> Option<(Op, String)> {
    let inside = inside.trim();
    let at = inside.find(|c: char| !matches!(c, '<' | '>' | '='))?;
    let op = match &inside[..at] {
        "<<" => Op::Less,
        // The single signs are from before 1995 and mean "or equal".
        "<=" | "<" => Op::LessEqual,
        "=" => Op::Equal,
        ">=" | ">" => Op::GreaterEqual,
        ">>" => Op::Greater,
        _ => return None,
    };
    let version = inside[at..].trim_start();
    is_version(version).then(|| (op, version.to_owned()))
}

/// Tells whether this may be the name of a package: it becomes part of file names and messages.
pub fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.len() <= crate::base::limit::NAME_BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte))
}

/// Tells whether this may be a version.
pub fn is_version(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.len() <= crate::base::limit::NAME_BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.:~_".contains(&byte))
}

/// Returns the flaw of a value, shortened.
pub fn malformed(field: &'static str, found: &str, wanted: &'static str) -> Flaw {
    let mut end = found.len().min(SHOWN_BYTES);
    while !found.is_char_boundary(end) {
        end -= 1;
    }
    let more = if end < found.len() { "…" } else { "" };
    Flaw::Malformed { field, found: format!("{}{more}", &found[..end]), wanted }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_policy_allows() {
        for (value, read) in [
            ("", ""),
            ("a", "a"),
            ("a,b , c", "a, b, c"),
            ("a (>= 1:2-3)|b:any", "a (>= 1:2-3) | b:any"),
            ("a(<<1)", "a (<< 1)"),
            ("a (< 1), b (> 2)", "a (<= 1), b (>= 2)"),
            ("a,\n b,\n", "a, b"),
            ("a , , b", "a, b"),
        ] {
            let list = requirements("Depends", value).unwrap();
            let text: Vec<String> = list.iter().map(ToString::to_string).collect();
            assert_eq!(text.join(", "), read, "{value}");
        }
    }

    #[test]
    fn refuses_what_is_no_list() {
        for value in ["a (>=)", "a (>= 1", "a |", "../a", "a (~ 1)", "a [amd64]", "a b", "a (= 1/2)", "a:", "a:../b"] {
            assert!(matches!(requirements("Depends", value), Err(Flaw::Malformed { .. })), "{value}");
        }
        assert!(constraints("Conflicts", "a | b").is_err());
    }

    #[test]
    fn offers_only_exact_versions() {
        let offers = capabilities("Provides", "a, b (= 1), c (>= 2), d:any (= 3)").unwrap();
        let text: Vec<_> = offers.iter().map(|c| (c.name.as_str(), c.version.as_deref())).collect();
        assert_eq!(text, [("a", None), ("b", Some("1")), ("d:any", Some("3"))]);
    }
}
