//! Compares versions as vercmp(8) of pacman does: `[epoch:]version[-release]`.
//!
//! The order is that of old rpm: stretches of digits and of letters are compared one after the other, what stands between them only
//! counts by its length. Debian's and today's rpm's tilde has no meaning here.

use std::cmp::Ordering;

/// Compares two versions. Total on any text: what is no version is ordered too, so that sorting cannot fail.
pub fn compare(a: &str, b: &str) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    let (a, b) = (Parts::of(a.as_bytes()), Parts::of(b.as_bytes()));
    let of_release = || match (a.release, b.release) {
        (Some(a), Some(b)) => compare_part(a, b),
        // A constraint without a release means every release.
        _ => Ordering::Equal,
    };
    compare_part(a.epoch, b.epoch).then_with(|| compare_part(a.version, b.version)).then_with(of_release)
}

struct Parts<'a> {
    epoch: &'a [u8],
    version: &'a [u8],
    release: Option<&'a [u8]>,
}

impl<'a> Parts<'a> {
    /// Digits before a colon are the epoch, the last hyphen begins the release; no epoch is epoch 0.
    fn of(text: &'a [u8]) -> Self {
        let digits = run(text, |byte| byte.is_ascii_digit());
        let (epoch, rest) = match text.get(digits) {
            Some(b':') if digits > 0 => (&text[..digits], &text[digits + 1..]),
            Some(b':') => (&b"0"[..], &text[1..]),
            _ => (&b"0"[..], text),
        };
        // The hyphen is sought behind the digits, so that `1:-2` has a release and no version.
        match rest.iter().rposition(|byte| *byte == b'-') {
            Some(hyphen) => Self { epoch, version: &rest[..hyphen], release: Some(&rest[hyphen + 1..]) },
            None => Self { epoch, version: rest, release: None },
        }
    }
}

/// Returns how many bytes at the start are of a kind.
fn run(text: &[u8], is_kind: impl Fn(u8) -> bool) -> usize {
    text.iter().position(|byte| !is_kind(*byte)).unwrap_or(text.len())
}

fn compare_part(a: &[u8], b: &[u8]) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    let (mut one, mut two) = (a, b);
    while !one.is_empty() && !two.is_empty() {
        let between = |text: &[u8]| run(text, |byte| !byte.is_ascii_alphanumeric());
        let (skipped_one, skipped_two) = (between(one), between(two));
        (one, two) = (&one[skipped_one..], &two[skipped_two..]);
        let (Some(first_one), Some(first_two)) = (one.first(), two.first()) else { break };
        if skipped_one != skipped_two {
            return skipped_one.cmp(&skipped_two);
        }
        // A number is later than letters.
        let is_number = first_one.is_ascii_digit();
        if is_number != first_two.is_ascii_digit() {
            return if is_number { Ordering::Greater } else { Ordering::Less };
        }
        let length = |text: &[u8]| run(text, |byte| if is_number { byte.is_ascii_digit() } else { byte.is_ascii_alphabetic() });
        let (segment_one, rest_one) = one.split_at(length(one));
        let (segment_two, rest_two) = two.split_at(length(two));
        let order = if is_number { compare_number(segment_one, segment_two) } else { segment_one.cmp(segment_two) };
        if order.is_ne() {
            return order;
        }
        (one, two) = (rest_one, rest_two);
    }
    // What is left decides: letters make a version earlier than nothing does (`1.0rc` is before `1.0`), anything else later.
    let is_letter = |text: &[u8]| text.first().is_some_and(u8::is_ascii_alphabetic);
    match (one.is_empty(), two.is_empty()) {
        (true, true) => Ordering::Equal,
        (true, false) if !is_letter(two) => Ordering::Less,
        _ if is_letter(one) => Ordering::Less,
        _ => Ordering::Greater,
    }
}

/// Numbers have any length, so they are compared as text.
fn compare_number(a: &[u8], b: &[u8]) -> Ordering {
    let significant = |text: &'_ [u8]| run(text, |byte| byte == b'0');
    let (a, b) = (&a[significant(a)..], &b[significant(b)..]);
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_as_vercmp_documents() {
        let ascending =
            ["1.0a", "1.0b", "1.0beta", "1.0p", "1.0pre", "1.0rc", "1.0", "1.0.a", "1.0.1", "1.1", "1.10", "1:0.5", "10:0"];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a} against {b}");
            }
        }
    }

    #[test]
    fn a_release_counts_only_where_both_have_one() {
        for (a, b, order) in [
            ("1.5-1", "1.5", Ordering::Equal),
            ("1.5-1", "1.5-2", Ordering::Less),
            ("1.5-1", "1.6", Ordering::Less),
            ("1:1.0-1", "1.0-2", Ordering::Greater),
            ("0:1.0", "1.0", Ordering::Equal),
            ("1.00", "1.0", Ordering::Equal),
            ("1..0", "1.0", Ordering::Greater),
            ("1-64", "1-32", Ordering::Greater),
            ("20260101010101999999999999", "20260101010101999999999998", Ordering::Greater),
        ] {
            assert_eq!(compare(a, b), order, "{a} against {b}");
            assert_eq!(compare(b, a), order.reverse(), "{b} against {a}");
        }
    }
}
