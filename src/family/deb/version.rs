//! Compares Debian versions: `[epoch:]upstream[-revision]`, as Debian Policy 5.6.12 and deb-version(7) define their order.

use std::cmp::Ordering;

/// Compares two versions as dpkg does. Total on any text: what is no version is ordered too, so that sorting cannot fail.
pub fn compare(a: &str, b: &str) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    let (a, b) = (Parts::of(a), Parts::of(b));
    compare_part(a.epoch, b.epoch)
        .then_with(|| compare_part(a.upstream, b.upstream))
        .then_with(|| compare_part(a.revision, b.revision))
}

struct Parts<'a> {
    epoch: &'a [u8],
    upstream: &'a [u8],
    revision: &'a [u8],
}

impl<'a> Parts<'a> {
    /// The first colon ends the epoch, the last hyphen begins the revision; an absent part compares as zero.
    fn of(version: &'a str) -> Self {
        let (epoch, rest) = version.split_once(':').unwrap_or(("", version));
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        Self { epoch: epoch.as_bytes(), upstream: upstream.as_bytes(), revision: revision.as_bytes() }
    }
}

/// Compares by turns a stretch without digits and a number, until one differs.
fn compare_part(mut a: &[u8], mut b: &[u8]) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        let (a_text, a_rest) = split_where(a, |c| c.is_ascii_digit());
        let (b_text, b_rest) = split_where(b, |c| c.is_ascii_digit());
        let order = compare_text(a_text, b_text);
        if order.is_ne() {
            return order;
        }
        let (a_number, a_rest) = split_where(a_rest, |c| !c.is_ascii_digit());
        let (b_number, b_rest) = split_where(b_rest, |c| !c.is_ascii_digit());
        let order = compare_number(a_number, b_number);
        if order.is_ne() {
            return order;
        }
        (a, b) = (a_rest, b_rest);
    }
    Ordering::Equal
}

fn split_where(bytes: &[u8], is_end: impl Fn(&u8) -> bool) -> (&[u8], &[u8]) {
    bytes.split_at(bytes.iter().position(is_end).unwrap_or(bytes.len()))
}

fn compare_text(a: &[u8], b: &[u8]) -> Ordering {
    let len = a.len().max(b.len());
    (0..len).map(|i| weight(a.get(i)).cmp(&weight(b.get(i)))).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

/// A tilde sorts before the end, letters before everything else.
fn weight(byte: Option<&u8>) -> u16 {
    match byte {
        Some(b'~') => 0,
        None => 1,
        Some(letter) if letter.is_ascii_alphabetic() => 2 + u16::from(*letter),
        Some(other) => 2 + 256 + u16::from(*other),
    }
}

/// Numbers have any length (dates with seconds overflow 32 bits, hashes 64), so they are compared as text.
fn compare_number(a: &[u8], b: &[u8]) -> Ordering {
    let (_, a) = split_where(a, |c| *c != b'0');
    let (_, b) = split_where(b, |c| *c != b'0');
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_as_policy_says() {
        let ascending = [
            "0~~",
            "0~~a",
            "0~",
            "0",
            "0.1~rc1",
            "0.1",
            "0.1-0.1",
            "0.1-1~bpo12+1",
            "0.1-1",
            "0.1-1build1",
            "0.1-1+b1",
            "0.1-1.1",
            "0.1a",
            "0.1+dfsg-1",
            "0.1.1",
            "0.2",
            "0.10",
            "1.0.0~rc0-1+b3",
            "1.0.0~rc-6",
            "20260101010101999999999999",
            "1:0~",
            "1:0",
            "2:0",
            "10:0",
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a} against {b}");
            }
        }
    }

    #[test]
    fn equal_though_written_differently() {
        for (a, b) in [("1", "1-0"), ("0:1", "1"), ("1.0", "1.00"), ("1.0-1", "1.0-01"), ("00:1", "1"), ("1-", "1")] {
            assert_eq!(compare(a, b), Ordering::Equal, "{a} against {b}");
        }
    }
}
