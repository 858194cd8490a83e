//! Compares RPM versions: `[epoch:]version[-release]`, as rpm-version(7) defines their order.

use std::cmp::Ordering;

/// How two versions relate when one of them may be only the beginning of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// Both are complete, or as complete as each other.
    Order(Ordering),
    /// They agree, and the first has no release where the second has one.
    FirstIsWider,
    /// They agree, and the second has no release where the first has one.
    SecondIsWider,
}

/// Compares two versions. Total on any text: what is no version is ordered too, so that sorting cannot fail. A missing
/// epoch is zero; of two that agree otherwise the one without a release is the lesser.
pub fn compare(a: &str, b: &str) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    let (a, b) = (Parts::of(a), Parts::of(b));
    a.compare_beginning(&b).then_with(|| match (a.release, b.release) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some(a), Some(b)) => segments(a, b),
    })
}

/// Compares two versions as dependencies do: one without a release (or with an empty one) means every release.
pub fn relate(a: &str, b: &str) -> Relation {
    let (a, b) = (Parts::of(a), Parts::of(b));
    let order = a.compare_beginning(&b);
    let release = |parts: &Parts<'_>| parts.release.filter(|release| !release.is_empty()).map(<[u8]>::to_vec);
    match (order, release(&a), release(&b)) {
        (Ordering::Equal, Some(a), Some(b)) => Relation::Order(segments(&a, &b)),
        (Ordering::Equal, None, Some(_)) => Relation::FirstIsWider,
        (Ordering::Equal, Some(_), None) => Relation::SecondIsWider,
        (order, ..) => Relation::Order(order),
    }
}

struct Parts<'a> {
    epoch: &'a [u8],
    version: &'a [u8],
    release: Option<&'a [u8]>,
}

impl<'a> Parts<'a> {
    /// Digits before the first colon are the epoch, the last hyphen begins the release.
    fn of(text: &'a str) -> Self {
        let (epoch, rest) = match text.split_once(':') {
            Some((epoch, rest)) if epoch.bytes().all(|byte| byte.is_ascii_digit()) => (epoch, rest),
            _ => ("", text),
        };
        let (version, release) = match rest.rsplit_once('-') {
            Some((version, release)) => (version, Some(release.as_bytes())),
            None => (rest, None),
        };
        Self { epoch: epoch.trim_start_matches('0').as_bytes(), version: version.as_bytes(), release }
    }

    fn compare_beginning(&self, other: &Self) -> Ordering {
        segments(self.epoch, other.epoch).then_with(|| segments(self.version, other.version))
    }
}

/// Compares one part, stretch by stretch: digits as numbers, letters as bytes, everything else only separates. A tilde
/// sorts before the end, a caret behind it but before anything else.
fn segments(mut a: &[u8], mut b: &[u8]) -> Ordering {
    loop {
        a = &a[separators(a)..];
        b = &b[separators(b)..];
        match (a.first(), b.first()) {
            (Some(b'~'), Some(b'~')) | (Some(b'^'), Some(b'^')) => {
                (a, b) = (&a[1..], &b[1..]);
                continue;
            }
            (Some(b'~'), _) => return Ordering::Less,
            (_, Some(b'~')) => return Ordering::Greater,
            (Some(b'^'), None) => return Ordering::Greater,
            (None, Some(b'^')) => return Ordering::Less,
            (Some(b'^'), Some(_)) => return Ordering::Less,
            (Some(_), Some(b'^')) => return Ordering::Greater,
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(first), Some(second)) => {
                let is_number = first.is_ascii_digit();
                // A number is newer than letters.
                if is_number != second.is_ascii_digit() {
                    return if is_number { Ordering::Greater } else { Ordering::Less };
                }
                let (head_a, rest_a) = a.split_at(stretch(a, is_number));
                let (head_b, rest_b) = b.split_at(stretch(b, is_number));
                let order = if is_number { numbers(head_a, head_b) } else { head_a.cmp(head_b) };
                if order.is_ne() {
                    return order;
                }
                (a, b) = (rest_a, rest_b);
            }
        }
    }
}

fn separators(text: &[u8]) -> usize {
    text.iter().position(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'~' | b'^')).unwrap_or(text.len())
}

fn stretch(text: &[u8], is_number: bool) -> usize {
    let belongs = |byte: &u8| if is_number { byte.is_ascii_digit() } else { byte.is_ascii_alphabetic() };
    text.iter().position(|byte| !belongs(byte)).unwrap_or(text.len())
}

/// Compares numbers of any length.
fn numbers(a: &[u8], b: &[u8]) -> Ordering {
    let trim = |digits: &[u8]| digits.iter().position(|digit| *digit != b'0').unwrap_or(digits.len());
    let (a, b) = (&a[trim(a)..], &b[trim(b)..]);
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_versions_as_rpm_does() {
        use Ordering::{Equal, Greater, Less};
        // rpm's own table (tests/rpmvercmp.at) in extract.
        for (a, b, order) in [
            ("1.0", "1.0", Equal),
            ("1.0", "2.0", Less),
            ("2.0.1", "2.0.1a", Less),
            ("5.5p1", "5.5p2", Less),
            ("5.5p10", "5.5p1", Greater),
            ("10xyz", "10.1xyz", Less),
            ("xyz10", "xyz10.1", Less),
            ("xyz.4", "8", Less),
            ("5.5p2", "5.6p1", Less),
            ("6.0.rc1", "6.0", Greater),
            ("10b2", "10a1", Greater),
            ("1.0aa", "1.0a", Greater),
            ("10.0001", "10.1", Equal),
            ("4.999.9", "5.0", Less),
            ("20101122", "20101121", Greater),
            ("2_0", "2.0", Equal),
            ("a+", "a_", Equal),
            ("+", "_", Equal),
            ("1.0~rc1", "1.0", Less),
            ("1.0~rc1", "1.0~rc2", Less),
            ("1.0~rc1~git123", "1.0~rc1", Less),
            ("1.0^", "1.0", Greater),
            ("1.0^git1", "1.0^git2", Less),
            ("1.0^git1", "1.01", Less),
            ("1.0^20160101", "1.0.1", Less),
            ("1.0^20160101^git1", "1.0^20160102", Less),
            ("1.0~rc1^git1", "1.0~rc1", Greater),
            ("1.0^git1~pre", "1.0^git1", Less),
            ("1:1.0-1", "2.0-1", Greater),
            ("0:1.0-1", "1.0-1", Equal),
            ("1.0-1", "1.0-1.el9", Less),
            ("1.0", "1.0-1", Less),
            ("18446744073709551616", "18446744073709551615", Greater),
            ("1b.fc17", "1.fc17", Less),
            ("1g.fc17", "1.fc17", Greater),
        ] {
            assert_eq!(compare(a, b), order, "{a} {b}");
            assert_eq!(compare(b, a), order.reverse(), "{b} {a}");
        }
    }

    #[test]
    fn a_version_without_release_means_all_of_them() {
        assert_eq!(relate("4", "4-1"), Relation::FirstIsWider);
        assert_eq!(relate("4-1", "4"), Relation::SecondIsWider);
        assert_eq!(relate("4-", "4"), Relation::Order(Ordering::Equal));
        assert_eq!(relate("1:4-1", "4"), Relation::Order(Ordering::Greater));
        assert_eq!(relate("4-2", "4-1"), Relation::Order(Ordering::Greater));
    }
}
