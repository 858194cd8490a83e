//! Errors as people read them: what, where, why, what to do. The one place that formats them.

use std::fmt::Write as _;

use super::style::Style;
use crate::base::error::{Diagnostic, ErrorKind};

/// Returns an error as text, in the form of `docs/STYLE.md`:
///
/// ```text
/// error: what could not be done
///   at where
///   because why
///
/// hint: what to do
/// ```
pub fn text(error: &dyn Diagnostic, style: Style) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{} {}", style.error("error:"), one_line(&error.to_string())); // writing to a String cannot fail
    if let Some(place) = error.place() {
        let _ = writeln!(out, "  at {}", one_line(&place)); // cannot fail either
    }
    for cause in causes(error) {
        let _ = writeln!(out, "  because {}", one_line(&cause)); // cannot fail either
    }
    let mut hints = error.hints();
    if error.kind() == ErrorKind::Internal && hints.is_empty() {
        hints.push("report this as a defect of mkinitrd-pkg, with the command line".to_owned());
    }
    for (i, hint) in hints.iter().take(2).enumerate() {
        let _ = writeln!(out, "{}{} {hint}", if i == 0 { "\n" } else { "" }, style.hint("hint:")); // cannot fail either
    }
    out
}

/// Returns an error as one sentence, for a line of a table.
pub fn sentence(error: &dyn Diagnostic) -> String {
    let mut out = error.to_string();
    for cause in causes(error) {
        let _ = write!(out, ": {cause}"); // writing to a String cannot fail
    }
    match error.place() {
        Some(place) => format!("{place}: {out}"),
        None => out,
    }
}

/// Returns an error as one JSON object.
pub fn json(error: &dyn Diagnostic) -> serde_json::Value {
    serde_json::json!({
        "event": "error",
        "schema": crate::report::EVENT_SCHEMA,
        "kind": format!("{:?}", error.kind()).to_lowercase(),
        "exit_code": error.kind().exit_code(),
        "message": error.to_string(),
        "place": error.place(),
        "because": causes(error),
        "hints": error.hints(),
    })
}

/// Returns the chain of causes, without those that say again what stands before them.
fn causes(error: &dyn Diagnostic) -> Vec<String> {
    let mut said = vec![error.to_string()];
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !said.iter().any(|earlier| earlier.contains(&text)) {
            said.push(text);
        }
        next = cause.source();
    }
    said.split_off(1)
}

/// Keeps names out of archives and files from forging lines or colours on a terminal.
pub fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c == '\n' {
                '\n'
            } else if c.is_control() {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect::<String>()
        .replace('\n', "\n    ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot do `x`")]
    struct Outer(#[source] std::io::Error);

    impl Diagnostic for Outer {
        fn kind(&self) -> ErrorKind {
            ErrorKind::Output
        }
        fn place(&self) -> Option<String> {
            Some("f:3".to_owned())
        }
        fn hints(&self) -> Vec<String> {
            vec!["free some space".to_owned()]
        }
    }

    #[test]
    fn an_error_says_what_where_why_and_what_to_do() {
        let error = Outer(std::io::Error::other("no \x1b[31mspace"));
        assert_eq!(
            text(&error, Style::plain()),
            "error: cannot do `x`\n  at f:3\n  because no \u{fffd}[31mspace\n\nhint: free some space\n"
        );
        assert_eq!(json(&error)["exit_code"], 8);
    }
}
