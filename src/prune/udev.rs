//! What udev rules run: `RUN`, `PROGRAM`, `IMPORT{program}` (`udev(7)`), and the units that they want.

use super::want::{Want, What, first_word, logical_lines};

/// Where udev looks for a program that is not named by an absolute path.
const UDEV_DIRECTORIES: &[&str] = &["usr/lib/udev"];

/// Returns what the rules of a file want.
pub(super) fn wants_of_rules(text: &[u8]) -> Vec<Want> {
    logical_lines(text, b"#").iter().flat_map(|line| tokens(line)).filter_map(|(key, value)| want_of(key, value)).collect()
}

fn want_of(key: &[u8], value: &[u8]) -> Option<Want> {
    match key {
        b"RUN" | b"RUN{program}" | b"PROGRAM" | b"IMPORT{program}" => {
            let program = first_word(value)?;
            // `$env{X}` and `%k` are known at run time only.
            let known = !program.iter().any(|byte| b"$%".contains(byte));
            let what = match program.starts_with(b"/") {
                true => What::Path(program),
                false => What::Program(program, UDEV_DIRECTORIES),
            };
            known.then_some(Want { what, verb: "runs", must: true })
        }
        b"ENV{SYSTEMD_WANTS}" => {
            let unit = first_word(value)?;
            let known = !unit.iter().any(|byte| b"$%".contains(byte));
            known.then_some(Want { what: What::Unit(unit), verb: "wants the unit", must: false })
        }
        _ => None,
    }
}

/// Returns the keys with their values: `KEY{attribute}`, an operator, a value in quotes, separated by commas.
///
/// What does not have this form is passed over up to the next comma, as udev passes over a rule that it cannot read.
fn tokens(line: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut tokens = Vec::new();
    let mut rest = line;
    loop {
        let start = rest.iter().position(|byte| *byte != b',' && !byte.is_ascii_whitespace()).unwrap_or(rest.len());
        rest = &rest[start..];
        if rest.is_empty() {
            return tokens;
        }
        match token(rest) {
            Some((key, value, behind)) => {
                tokens.push((key, value));
                rest = behind;
            }
            None => rest = rest.iter().position(|byte| *byte == b',').map_or(&[], |comma| &rest[comma..]),
        }
    }
}

/// Reads one token and returns what is behind it.
fn token(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let name = text.iter().position(|byte| !byte.is_ascii_uppercase() && *byte != b'_')?;
    let key_end = match text[name] {
        b'{' => name + text[name..].iter().position(|byte| *byte == b'}')? + 1,
        _ => name,
    };
    let (key, rest) = text.split_at(key_end);
    let operator = rest.iter().position(|byte| *byte == b'"')?;
    // Between key and quote: blanks, the operator, and the letter of a string with escapes or of a match without regard to case.
    if !rest[..operator].iter().all(|byte| byte.is_ascii_whitespace() || b"=!+-:ei".contains(byte)) {
        return None;
    }
    let value = &rest[operator + 1..];
    let mut close = 0;
    while *value.get(close)? != b'"' {
        // A quote inside is written `\"`.
        close += if value[close] == b'\\' { 2 } else { 1 };
    }
    Some((key, &value[..close], &value[close + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_rules_are_found() {
        let text = br#"# RUN+="/no"
ACTION=="add", RUN{program}+="/usr/bin/systemd-run --x", RUN{builtin}+="kmod load", ENV{A-B}="c"
IMPORT{program} = "ata_id --export $devnode", \
  PROGRAM=="/bin/sh -c 'x \"y\"'"
RUN+="$env{X} y", RUN+="socket:/x", TEST=="/sys/x", IMPORT{builtin}="path_id"
ENV{SYSTEMD_WANTS}+="a@.service", ENV{SYSTEMD_WANTS}="b@$name.service", RUN+=e"/e\n"
broken, RUN+="unclosed
ATTR{a,b}=="c,d", RUN+="'/quoted path' x"
"#;
        let found: Vec<_> = wants_of_rules(text).iter().map(|want| (want.what.name(), want.must)).collect();
        let expected = [
            ("/usr/bin/systemd-run", true),
            ("ata_id", true),
            ("/bin/sh", true),
            ("socket:/x", true),
            ("a@.service", false),
            ("/e\\\\n", true),
            ("/quoted path", true),
        ];
        assert_eq!(found, expected.map(|(name, must)| (name.to_owned(), must)));
    }
}
