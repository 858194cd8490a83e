//! What systemd units run and require: `systemd.service(5)`, `systemd.unit(5)`.

use super::want::{PATH, Want, What, first_word, logical_lines};

/// What a unit file or drop-in says that matters here.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Unit {
    /// Programs and units that it wants, whatever its conditions say.
    pub wants: Vec<Want>,
    /// Paths without which (or, if negated, with which) systemd passes the unit over.
    pub conditions: Vec<Condition>,
}

/// A `ConditionPathExists=` or one of its kin.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Condition {
    /// The path.
    pub path: Vec<u8>,
    /// The unit is passed over if it is there.
    pub negated: bool,
}

/// What the ends of the names of unit files are.
const SUFFIXES: &[&str] = &[".service", ".socket", ".target", ".mount", ".automount", ".swap", ".path", ".timer", ".slice"];

/// Tells whether a file of this name is a unit.
pub(super) fn is_unit(name: &[u8]) -> bool {
    SUFFIXES.iter().any(|suffix| name.ends_with(suffix.as_bytes()))
}

/// Returns the template that an instance is made from: `a@.service` for `a@b.service`.
pub(super) fn template_of(name: &[u8]) -> Option<Vec<u8>> {
    let at = name.iter().position(|byte| *byte == b'@')?;
    let dot = name.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > at + 1)?;
    Some([&name[..=at], &name[dot..]].concat())
}

/// Reads a unit or drop-in. `name` is the unit's.
pub(super) fn read(name: &[u8], text: &[u8]) -> Unit {
    let mut unit = Unit::default();
    let mut triggers = true;
    for line in logical_lines(text, b"#;") {
        let Some(equals) = line.iter().position(|byte| *byte == b'=') else { continue };
        let (key, value) = (line[..equals].trim_ascii(), line[equals + 1..].trim_ascii());
        match key {
            key if key.starts_with(b"Exec") && key != b"ExecSearchPath" && key != b"ExecPaths" => {
                unit.wants.extend(want_of_command(value));
            }
            b"Requires" | b"Requisite" | b"BindsTo" => {
                let names = value.split(u8::is_ascii_whitespace).filter(|name| may_be_a_file(name));
                unit.wants.extend(names.map(|name| want_of_unit(name, "requires the unit", true)));
            }
            b"Wants" | b"OnFailure" | b"Upholds" => {
                let names = value.split(u8::is_ascii_whitespace).filter(|name| may_be_a_file(name));
                unit.wants.extend(names.map(|name| want_of_unit(name, "wants the unit", false)));
            }
            b"Unit" | b"Service" if !value.is_empty() => {
                triggers = false;
                unit.wants.extend(may_be_a_file(value).then(|| want_of_unit(value, "triggers the unit", true)));
            }
            b"Accept" if matches!(value, b"yes" | b"true" | b"on" | b"1") => {
                triggers = false;
                unit.wants.extend(triggered(name, b"@.service"));
            }
            b"ConditionPathExists"
            | b"ConditionFileIsExecutable"
            | b"ConditionFileNotEmpty"
            | b"ConditionPathIsDirectory"
            | b"ConditionDirectoryNotEmpty" => unit.conditions.extend(condition(value)),
            _ => {}
        }
    }
    if triggers {
        unit.wants.extend(triggered(name, b".service"));
    }
    unit
}

/// Returns the service that a socket, path or timer unit of this name starts.
fn triggered(name: &[u8], end: &[u8]) -> Option<Want> {
    let stem = [".socket", ".path", ".timer"].iter().find_map(|suffix| name.strip_suffix(suffix.as_bytes()))?;
    Some(want_of_unit(&[stem, end].concat(), "triggers the unit", true))
}

fn want_of_unit(name: &[u8], verb: &'static str, must: bool) -> Want {
    Want { what: What::Unit(name.to_vec()), verb, must }
}

/// Tells whether a unit of this name comes out of a file: devices, scopes, slices and most mounts do not, and `%i` is not known here.
fn may_be_a_file(name: &[u8]) -> bool {
    [&b".service"[..], b".socket", b".target", b".path", b".timer"].iter().any(|end| name.ends_with(end)) && !name.contains(&b'%')
}

/// Reads `Exec…=`: prefixes, then a program. Without a shell (`|`) and specifiers the program is known.
fn want_of_command(value: &[u8]) -> Option<Want> {
    let prefixes = value.iter().take_while(|byte| b"-@:+!|".contains(byte)).count();
    let (prefixes, command) = value.split_at(prefixes);
    let program = first_word(command)?;
    let known = !program.contains(&b'%') && !prefixes.contains(&b'|');
    known.then(|| Want::program(&program, PATH, "runs", !prefixes.contains(&b'-')))
}

/// Reads a condition. Triggering ones (`|`) decide only together and are passed over.
fn condition(value: &[u8]) -> Option<Condition> {
    if value.starts_with(b"|") {
        return None;
    }
    let (negated, path) = match value.strip_prefix(b"!") {
        Some(path) => (true, path),
        None => (false, value),
    };
    let known = path.starts_with(b"/") && !path.contains(&b'%');
    known.then(|| Condition { path: path.to_vec(), negated })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants(name: &str, text: &str) -> Vec<(String, bool)> {
        read(name.as_bytes(), text.as_bytes()).wants.iter().map(|want| (want.what.name(), want.must)).collect()
    }

    #[test]
    fn commands_lose_their_prefixes() {
        for (line, expected) in [
            ("ExecStart=/bin/a b", Some(("/bin/a", true))),
            ("ExecStart=-/bin/a", Some(("/bin/a", false))),
            ("ExecStartPre=@!!/bin/a a -b", Some(("/bin/a", true))),
            ("ExecStopPost=:+-/bin/a", Some(("/bin/a", false))),
            ("ExecStart = systemctl x", Some(("systemctl", true))),
            ("ExecStart=\"/bin/a b\" c", Some(("/bin/a b", true))),
            ("ExecStart=", None),
            ("ExecStart=/bin/%i", None),
            ("ExecSearchPath=/bin/a", None),
            ("#ExecStart=/bin/a", None),
            ("ExecStart=\\\n  /bin/a", Some(("/bin/a", true))),
        ] {
            let expected: Vec<_> = expected.iter().map(|(name, must)| ((*name).to_owned(), *must)).collect();
            assert_eq!(wants("x.service", line), expected, "{line}");
        }
    }

    #[test]
    fn units_require_and_trigger_units() {
        assert_eq!(
            wants("x.service", "Requires=a.service dev-b.device c.socket -.mount d@%i.service\nWants=e.target"),
            [("a.service".to_owned(), true), ("c.socket".to_owned(), true), ("e.target".to_owned(), false)]
        );
        assert_eq!(wants("x.socket", "[Socket]"), [("x.service".to_owned(), true)]);
        assert_eq!(wants("x.socket", "Accept=yes"), [("x@.service".to_owned(), true)]);
        assert_eq!(wants("x.socket", "Service=y.service"), [("y.service".to_owned(), true)]);
        assert_eq!(wants("x@.socket", ""), [("x@.service".to_owned(), true)]);
        assert_eq!(wants("x.path", ""), [("x.service".to_owned(), true)]);
        assert_eq!(wants("x.target", ""), []);
    }

    #[test]
    fn templates_and_conditions_are_read() {
        assert_eq!(template_of(b"a@b.service"), Some(b"a@.service".to_vec()));
        assert_eq!(template_of(b"a@.service"), None);
        assert_eq!(template_of(b"a.service"), None);
        let text = b"ConditionPathExists=!/etc/initrd-release\nConditionPathExists=|/x\nConditionFileIsExecutable=/usr/bin/y\n";
        let conditions = read(b"x.service", text).conditions;
        assert_eq!(
            conditions,
            [
                Condition { path: b"/etc/initrd-release".to_vec(), negated: true },
                Condition { path: b"/usr/bin/y".to_vec(), negated: false }
            ]
        );
    }
}
