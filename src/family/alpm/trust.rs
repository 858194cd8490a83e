//! The lists that come with a distribution's keyring: whose word counts, and whose keys are gone.
//!
//! Format: pacman-key(8) under `--populate`: beside `NAME.gpg` stand `NAME-trusted`, in GnuPG's form of owner trust, and `NAME-revoked`, a
//! fingerprint a line. What they mean is [`crate::base::trust::KeyRef::Endorsed`].

/// Reads `NAME-trusted`: `FINGERPRINT:LEVEL:`. Below level 4 (marginal) an owner's word does not count.
pub fn trusted(text: &str) -> Vec<String> {
    let entry = |line: &str| {
        let (fingerprint, rest) = line.trim().split_once(':')?;
        let level: u8 = rest.trim_end_matches(':').parse().ok()?;
        (is_fingerprint(fingerprint) && level >= 4).then(|| fingerprint.to_ascii_uppercase())
    };
    text.lines().filter_map(entry).collect()
}

/// Reads `NAME-revoked`.
pub fn revoked(text: &str) -> Vec<String> {
    text.lines().map(str::trim).filter(|line| is_fingerprint(line)).map(str::to_ascii_uppercase).collect()
}

fn is_fingerprint(text: &str) -> bool {
    [40, 64].contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_fingerprints_with_enough_trust_count() {
        let (a, b) = ("2AC0A42EFB0B5CBC7A0402ED4DC95B6D7BE9892E", "3572fa2a1b067f22c58af155f8b821b42a6fdcd7");
        assert_eq!(trusted(&format!("# comment\n{a}:4:\n{b}:3:\n{}:4:\n", &a[1..])), [a]);
        assert_eq!(revoked(&format!("{b}\n\nnothing\n")), [b.to_ascii_uppercase()]);
    }
}
