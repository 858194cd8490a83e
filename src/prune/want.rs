//! What a file wants to have beside it: the vocabulary between those who read files and the closure, which looks for it.

use crate::base::glob::Glob;

/// Something that a file wants.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Want {
    /// What it is.
    pub what: What,
    /// How the file wants it, a verb for messages: `runs`, `needs the library`.
    pub verb: &'static str,
    /// Whether the image is wrong without it. What need not be there is taken if it is there.
    pub must: bool,
}

/// What a file can want.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum What {
    /// A path below the root, as the file writes it.
    Path(Vec<u8>),
    /// A program by name, searched in these directories in order.
    Program(Vec<u8>, &'static [&'static str]),
    /// A library, by the first of these names that is found.
    Library(Vec<Vec<u8>>),
    /// A systemd unit by name, aliases and templates considered.
    Unit(Vec<u8>),
    /// Whatever matches, at least one file.
    Matching(Glob),
}

/// Where systemd looks for a program that is not named by a path (`systemd.exec(5)`; the last two are links nearly everywhere).
pub(super) const PATH: &[&str] = &["usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin"];

impl Want {
    /// Returns the want for a program named in a command line: by path if there is a slash, else searched in `directories`.
    pub fn program(name: &[u8], directories: &'static [&'static str], verb: &'static str, must: bool) -> Self {
        let what = if name.contains(&b'/') { What::Path(name.to_vec()) } else { What::Program(name.to_vec(), directories) };
        Self { what, verb, must }
    }
}

impl What {
    /// Returns the name for a message.
    pub fn name(&self) -> String {
        match self {
            What::Path(path) => path.escape_ascii().to_string(),
            What::Program(name, _) | What::Unit(name) => name.escape_ascii().to_string(),
            What::Library(names) => names.iter().map(|name| name.escape_ascii().to_string()).collect::<Vec<_>>().join("` or `"),
            What::Matching(glob) => glob.as_str().to_owned(),
        }
    }
}

/// Joins lines that end in a backslash and yields the others, trimmed, without comments (`#` and `;`) and empty lines.
pub(super) fn logical_lines(text: &[u8], comments: &'static [u8]) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    let mut pending: Vec<u8> = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii();
        // A comment in the middle of a continued line is passed over, as systemd and udev do.
        if line.first().is_some_and(|first| comments.contains(first)) {
            continue;
        }
        match line.strip_suffix(b"\\") {
            Some(begun) => {
                pending.extend_from_slice(begun);
                pending.push(b' ');
            }
            None => {
                pending.extend_from_slice(line);
                if !pending.is_empty() {
                    lines.push(std::mem::take(&mut pending));
                }
            }
        }
    }
    if !pending.is_empty() {
        lines.push(pending);
    }
    lines
}

/// Returns the first word of a command line, quotes removed; nothing when there is none.
pub(super) fn first_word(command: &[u8]) -> Option<Vec<u8>> {
    let command = command.trim_ascii_start();
    let word: Vec<u8> = match command.first()? {
        quote @ (b'"' | b'\'') => command[1..].split(|byte| byte == quote).next()?.to_vec(),
        _ => command.split(u8::is_ascii_whitespace).next()?.to_vec(),
    };
    (!word.is_empty()).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_joined_and_comments_passed_over() {
        let lines = logical_lines(b"# no\na=1 \\\n# in between\n  b \n\n ;no\nc\\", b"#;");
        assert_eq!(lines, [b"a=1  b".to_vec(), b"c ".to_vec()]);
    }

    #[test]
    fn first_words_lose_their_quotes() {
        for (command, word) in [
            (&b"/bin/a b"[..], Some(&b"/bin/a"[..])),
            (b"  '/bin/a b' c", Some(b"/bin/a b")),
            (b"\"x\"", Some(b"x")),
            (b"", None),
            (b"   ", None),
            (b"\"\" x", None),
        ] {
            assert_eq!(first_word(command).as_deref(), word);
        }
    }
}
