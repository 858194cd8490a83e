//! Compares Alpine versions: `digits{.digits}[letter]{_suffix[digits]}[~hash][-rdigits]`, as apk-package(5) describes their order.

use std::cmp::Ordering;

use crate::package::Constraint;

/// What a piece of a version is. The order is the grammar's: a piece may follow only what stands before it (letters, numbers and
/// suffixes apart), and of two versions that are equal so far the one whose next piece stands earlier here is the later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    First,
    Number,
    Letter,
    Suffix,
    SuffixNumber,
    Hash,
    Revision,
    End,
    Invalid,
}

/// Suffixes from the earliest to the latest; those before [`RELEASE`] stand before the version without a suffix.
const SUFFIXES: [&str; 9] = ["alpha", "beta", "pre", "rc", "cvs", "svn", "git", "hg", "p"];
/// How many of [`SUFFIXES`] mean a version that is not released yet.
const RELEASE: usize = 4;

/// Compares two versions as apk does. Total on any text: what is no version compares by as much of it as is one.
pub fn compare(a: &str, b: &str) -> Ordering {
    compare_up_to(a, b, false)
}

/// Compares a version with one that may be only its beginning (`~`): all versions that begin with `prefix` are equal to it.
pub fn compare_fuzzy(version: &str, prefix: &str) -> Ordering {
    compare_up_to(version, prefix, true)
}

/// Tells whether a version is one that a constraint means, whatever its name. What is offered without a version stands before all
/// versions, so that `a<2` means it, and `a>=2` does not.
pub fn meets(version: &str, constraint: &Constraint) -> bool {
    match &constraint.range {
        None => true,
        Some((op, wanted)) if op.is_fuzzy() => op.accepts(compare_fuzzy(version, wanted)),
        Some((op, wanted)) => op.accepts(compare(version, wanted)),
    }
}

/// Tells whether a text is a version.
pub fn is_valid(text: &str) -> bool {
    let mut pieces = Pieces::of(text);
    while pieces.kind < Kind::End {
        pieces.advance();
    }
    pieces.kind == Kind::End
}

fn compare_up_to(a: &str, b: &str, is_prefix: bool) -> Ordering {
    let (mut a, mut b) = (Pieces::of(a), Pieces::of(b));
    while a.kind == b.kind && a.kind < Kind::End {
        let order = a.compare(&b);
        if order.is_ne() {
            return order;
        }
        a.advance();
        b.advance();
    }
    if a.kind == b.kind || (is_prefix && b.kind == Kind::End) {
        return Ordering::Equal;
    }
    match (a.is_before_release(), b.is_before_release()) {
        (true, _) => Ordering::Less,
        (_, true) => Ordering::Greater,
        _ => b.kind.cmp(&a.kind),
    }
}

/// A version taken apart from its beginning.
struct Pieces<'a> {
    kind: Kind,
    /// The current piece without what introduces it.
    text: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Pieces<'a> {
    fn of(version: &'a str) -> Self {
        let mut pieces = Self { kind: Kind::First, text: b"", rest: version.as_bytes() };
        pieces.take_number(Kind::First);
        pieces
    }

    fn advance(&mut self) {
        let Some((&first, rest)) = self.rest.split_first() else {
            self.kind = Kind::End;
            return;
        };
        match first {
            b'a'..=b'z' if self.kind <= Kind::Number => {
                (self.text, self.rest) = self.rest.split_at(1);
                self.kind = Kind::Letter;
            }
            b'.' if self.kind <= Kind::Number => {
                self.rest = rest;
                self.take_number(Kind::Number);
            }
            b'0'..=b'9' if self.kind <= Kind::Number => self.take_number(Kind::Number),
            b'0'..=b'9' if self.kind == Kind::Suffix => self.take_number(Kind::SuffixNumber),
            b'_' if self.kind <= Kind::SuffixNumber => {
                self.rest = rest;
                self.take_while(u8::is_ascii_lowercase);
                self.kind = if self.suffix().is_some() { Kind::Suffix } else { Kind::Invalid };
            }
            b'~' if self.kind < Kind::Hash => {
                self.rest = rest;
                self.take_while(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
                self.kind = if self.text.is_empty() { Kind::Invalid } else { Kind::Hash };
            }
            b'-' if self.kind < Kind::Revision && rest.first() == Some(&b'r') => {
                self.rest = &rest[1..];
                self.take_number(Kind::Revision);
            }
            _ => self.kind = Kind::Invalid,
        }
    }

    fn take_while(&mut self, is_part: impl Fn(&u8) -> bool) {
        let end = self.rest.iter().position(|byte| !is_part(byte)).unwrap_or(self.rest.len());
        (self.text, self.rest) = self.rest.split_at(end);
    }

    fn take_number(&mut self, kind: Kind) {
        self.take_while(u8::is_ascii_digit);
        self.kind = if self.text.is_empty() { Kind::Invalid } else { kind };
    }

    fn suffix(&self) -> Option<usize> {
        SUFFIXES.iter().position(|suffix| suffix.as_bytes() == self.text)
    }

    fn is_before_release(&self) -> bool {
        self.kind == Kind::Suffix && self.suffix().is_some_and(|suffix| suffix < RELEASE)
    }

    /// Compares the current pieces, which are of one kind.
    fn compare(&self, other: &Self) -> Ordering {
        match self.kind {
            // A leading zero makes a fraction of it, as in Gentoo's versions: 1.05 lies between 1.0 and 1.1.
            Kind::Number if self.text[0] == b'0' || other.text[0] == b'0' => self.text.cmp(other.text),
            Kind::First | Kind::Number | Kind::SuffixNumber | Kind::Revision => number(self.text).cmp(&number(other.text)),
            Kind::Suffix => self.suffix().cmp(&other.suffix()),
            _ => self.text.cmp(other.text),
        }
    }
}

/// Reads digits as apk does: in 64 bits, of which what does not fit is lost.
fn number(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |value: u64, digit| value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_as_apk_does() {
        let ascending = [
            "0",
            "0.0_alpha",
            "0.0",
            "0.00",
            "0.01",
            "0.1",
            "0.9",
            "0.10",
            "1_alpha",
            "1_alpha1",
            "1_alpha2",
            "1_beta",
            "1_pre2",
            "1_rc1",
            "1_rc1_p1",
            "1",
            "1-r0",
            "1-r1",
            "1-r10",
            "1~0abc",
            "1~0abc-r1",
            "1_cvs20200101",
            "1_svn1",
            "1_git20200101",
            "1_git20200101-r1",
            "1_hg1",
            "1_p",
            "1_p1",
            "1_p1_p2",
            "1a",
            "1b_rc1",
            "1b",
            "1.0015",
            "1.002",
            "1.2",
            "1.2.3_pre1",
            "1.2.3",
            "1.2.3a",
            "1.10",
            "2",
            "20260101",
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a} against {b}");
            }
            assert!(is_valid(a), "{a}");
        }
    }

    #[test]
    fn tells_what_is_no_version() {
        for text in [
            "", "a", ".1", "1.", "1..2", "1_", "1_foo", "1_alphax", "1-1", "1-r", "1-r1-r2", "1-r1_p1", "1~", "1~x", "1:2", "1A",
            "1ab",
        ] {
            assert!(!is_valid(text), "{text}");
        }
        for text in ["1a", "1.2b3", "1_p1_git2~abcdef0-r3"] {
            assert_eq!(is_valid(text), text != "1.2b3", "{text}");
        }
    }

    #[test]
    fn a_version_without_end_matches_all_that_begin_with_it() {
        for (version, prefix, order) in [
            ("2.2", "2.2", Ordering::Equal),
            ("2.2.1-r3", "2.2", Ordering::Equal),
            ("2.2_rc1", "2.2", Ordering::Equal),
            ("2.20", "2.2", Ordering::Greater),
            ("2.10", "2.5", Ordering::Greater),
            ("2.2", "2.2.1", Ordering::Less),
            ("1.9", "2", Ordering::Less),
        ] {
            assert_eq!(compare_fuzzy(version, prefix), order, "{version} ~ {prefix}");
        }
    }

    /// Sorting panics on an order that contradicts itself, so any text must have one place.
    #[test]
    fn any_texts_have_one_order() {
        let letters = b"019._-r~apbq!";
        let mut state = 7_u64;
        let mut text = || {
            let mut below = |limit: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % limit
            };
            let length = below(7);
            (0..length).map(|_| char::from(letters[below(letters.len() as u64) as usize])).collect::<String>()
        };
        let texts: Vec<String> = (0..300).map(|_| text()).collect();
        for a in &texts {
            for b in &texts {
                assert_eq!(compare(a, b), compare(b, a).reverse(), "{a} against {b}");
                for c in texts.iter().take(60) {
                    if compare(a, b).is_le() && compare(b, c).is_le() {
                        assert!(compare(a, c).is_le(), "{a} {b} {c}");
                    }
                }
            }
        }
    }
}
