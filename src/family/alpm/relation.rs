//! Reads what packages need, offer and refuse: `name`, `name>=version`, `name=version: why`.
//!
//! Text: pacman's PKGBUILD(5) under "depends" and "provides". A provided name without `=version` meets no constraint on a version.

use crate::package::{Capability, Constraint, Op};

/// Reads a dependency, a conflict or what a user asks for.
pub fn constraint(text: &str) -> Constraint {
    let (name, range) = split(text);
    Constraint { range: range.map(|(op, version)| (op, version.to_owned())), ..Constraint::any(name) }
}

/// Reads what a package provides. Only an exact version is a version offered.
pub fn capability(text: &str) -> Capability {
    let (name, range) = split(text);
    let version = range.and_then(|(op, version)| (op == Op::Equal).then(|| version.to_owned()));
    Capability { name: name.to_owned(), version }
}

/// Returns only the name.
pub fn name(text: &str) -> &str {
    split(text).0
}

/// The first `<` decides, then the first `>`, then the first `=`; a description begins with a colon and a space, which an epoch has not.
fn split(text: &str) -> (&str, Option<(Op, &str)>) {
    let text = text.split_once(": ").map_or(text, |(relation, _)| relation);
    let operators = [('<', Op::LessEqual, Op::Less), ('>', Op::GreaterEqual, Op::Greater)];
    for (sign, or_equal, strict) in operators {
        if let Some((name, rest)) = text.split_once(sign) {
            return match rest.strip_prefix('=') {
                Some(version) => (name, Some((or_equal, version))),
                None => (name, Some((strict, rest))),
            };
        }
    }
    match text.split_once('=') {
        Some((name, version)) => (name, Some((Op::Equal, version))),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_operator() {
        for (text, name, range) in [
            ("bash", "bash", None),
            ("libudev.so=1-64", "libudev.so", Some((Op::Equal, "1-64"))),
            ("glibc>=2.36", "glibc", Some((Op::GreaterEqual, "2.36"))),
            ("glibc<=2:2.36-1", "glibc", Some((Op::LessEqual, "2:2.36-1"))),
            ("python<3.11", "python", Some((Op::Less, "3.11"))),
            ("python>3", "python", Some((Op::Greater, "3"))),
            ("lz4=1:1.9: a compressor", "lz4", Some((Op::Equal, "1:1.9"))),
            ("tpm2-tss: unlocking with a TPM >= 2", "tpm2-tss", None),
        ] {
            let wanted = Constraint { range: range.map(|(op, v): (Op, &str)| (op, v.to_owned())), ..Constraint::any(name) };
            assert_eq!(constraint(text), wanted, "{text}");
        }
    }

    #[test]
    fn only_an_exact_version_is_offered() {
        for (text, version) in [("sh", None), ("udev=251.4", Some("251.4")), ("foo>=2", None)] {
            assert_eq!(capability(text).version.as_deref(), version, "{text}");
        }
    }
}
