//! Reads dependencies as packages write them: `name`, `name >= 1`, `(a if b else c)`.
//!
//! Format: rpm's "Boolean Dependencies" (docs/manual/boolean_dependencies.md).

use crate::package::{Constraint, Flaw, Op, Term, Word};

/// Brackets in one another that are followed.
const DEPTH_MAX: u32 = 64;
/// What cannot be read, as a message shows it.
const SHOWN_CHARS: usize = 80;

/// Reads a boolean dependency, which begins with a bracket.
pub fn parse(text: &str) -> Result<Term, Flaw> {
    let mut rest = text;
    match bracket(&mut rest, 0) {
        Some(term) if rest.trim().is_empty() => Ok(term),
        _ => Err(Flaw::Malformed {
            field: "rpm:entry",
            found: text.chars().take(SHOWN_CHARS).collect(),
            wanted: "a dependency as `(a and (b or c))`",
        }),
    }
}

/// Reads `( … )`.
fn bracket(rest: &mut &str, depth: u32) -> Option<Term> {
    *rest = rest.trim_start().strip_prefix('(')?;
    let term = chain(rest, depth)?;
    *rest = rest.trim_start().strip_prefix(')')?;
    Some(term)
}

/// Reads `a`, `a and b and c`, `a if b else c`.
fn chain(rest: &mut &str, depth: u32) -> Option<Term> {
    if depth > DEPTH_MAX {
        return None;
    }
    let mut terms = vec![operand(rest, depth)?];
    let mut joined: Option<Word> = None;
    while let Some(word) = word(rest) {
        match (joined, word) {
            (None, Word::Else) => return None,
            (Some(joined @ (Word::If | Word::Unless)), Word::Else) => {
                let other = operand(rest, depth)?;
                let [first, condition] = <[Term; 2]>::try_from(terms).ok()?;
                return Some(Term::join(joined, first, Term::join(Word::Else, condition, other)));
            }
            // Only these three can be repeated.
            (Some(joined), word) if joined != word || !matches!(word, Word::And | Word::Or | Word::With) => return None,
            _ => {}
        }
        joined = Some(word);
        terms.push(operand(rest, depth)?);
    }
    let mut whole = terms.pop()?;
    while let (Some(term), Some(word)) = (terms.pop(), joined) {
        whole = Term::join(word, term, whole);
    }
    Some(whole)
}

fn operand(rest: &mut &str, depth: u32) -> Option<Term> {
    *rest = rest.trim_start();
    if rest.starts_with('(') {
        return bracket(rest, depth + 1);
    }
    let name = token(rest)?.to_owned();
    *rest = rest.trim_start();
    let op_len = rest.bytes().take_while(|byte| matches!(byte, b'<' | b'>' | b'=')).count();
    if op_len == 0 {
        return Some(Term::One(Constraint::any(name)));
    }
    let op = operator(&rest[..op_len])?;
    *rest = rest[op_len..].trim_start();
    let version = token(rest)?.to_owned();
    Some(Term::One(Constraint { name, arch: None, range: Some((op, version)) }))
}

/// Returns what `<`, `=>` and the like mean.
pub fn operator(text: &str) -> Option<Op> {
    Some(match text {
        "<" => Op::Less,
        "<=" | "=<" => Op::LessEqual,
        "=" | "==" => Op::Equal,
        ">=" | "=>" => Op::GreaterEqual,
        ">" => Op::Greater,
        _ => return None,
    })
}

/// Takes the word that joins, if one follows.
fn word(rest: &mut &str) -> Option<Word> {
    let trimmed = rest.trim_start();
    let len = trimmed.bytes().take_while(u8::is_ascii_lowercase).count();
    let all = [Word::And, Word::Or, Word::With, Word::Without, Word::If, Word::Unless, Word::Else];
    let word = all.into_iter().find(|word| word.as_str() == &trimmed[..len])?;
    *rest = &trimmed[len..];
    Some(word)
}

/// Takes a name or a version, which may have brackets in pairs: `libc.so.6()(64bit)`.
fn token<'t>(rest: &mut &'t str) -> Option<&'t str> {
    let mut open = 0;
    let end = rest.bytes().position(|byte| {
        match byte {
            b'(' => open += 1,
            b')' => open -= 1,
            _ => {}
        }
        open < 0 || byte.is_ascii_whitespace() || byte == b','
    });
    let (token, behind) = rest.split_at(end.unwrap_or(rest.len()));
    *rest = behind;
    (!token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boolean_dependencies_are_read() {
        for (text, shown) in [
            ("(a and b)", "(a and b)"),
            ("(a or b or c)", "(a or (b or c))"),
            ("(sudo >= 1 if libc.so.6()(64bit) else polkit)", "(sudo >= 1 if libc.so.6()(64bit) else polkit)"),
            ("(a with b = 1:2-3)", "(a with b = 1:2-3)"),
            ("((a and b) unless (c or d))", "((a and b) unless (c or d))"),
            ("(perl(Foo::Bar) without perl-foo)", "(perl(Foo::Bar) without perl-foo)"),
            (
                "(python3.9dist(urllib3) < 1.27 with python3.9dist(urllib3) >= 1.21.1)",
                "(python3.9dist(urllib3) < 1.27 with python3.9dist(urllib3) >= 1.21.1)",
            ),
            ("(a)", "a"),
        ] {
            assert_eq!(parse(text).map(|term| term.to_string()).as_deref(), Ok(shown), "{text}");
        }
    }

    #[test]
    fn what_is_no_dependency_is_refused() {
        let deep = format!("{}a{}", "(".repeat(100), ")".repeat(100));
        for text in
            ["(a and)", "(a", "()", "(a and b or c)", "(a if b if c)", "(a else b)", "(a >= )", "(a <> b)", "(a) b", &deep]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
