//! Variables in the configuration of dnf and zypper: `$releasever`, `${basearch}`, `${var:-default}`.
//!
//! Format: dnf.conf(5) "Variables", dnf5.conf(5), and zypper(8) of libzypp's `RepoVarExpand`. What is not known stays as it is written.

use std::collections::BTreeMap;

/// Variables within the default of one another.
const DEPTH_MAX: u32 = 10;

/// What variables stand for, by their names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    /// Returns those that every machine has, for a release (`42`, `15.6`) and an architecture (`x86_64`).
    pub fn new(release: &str, arch: &str) -> Self {
        let mut variables = Self::default();
        variables.set("arch", arch);
        variables.set("basearch", base_arch(arch));
        variables.set("releasever", release);
        let (major, minor) = release.split_once('.').unwrap_or((release, ""));
        variables.set("releasever_major", major);
        variables.set("releasever_minor", minor);
        variables
    }

    /// Gives a variable a value.
    pub fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }

    /// Takes the content of a variable's file, which is its first line.
    pub fn set_from_file(&mut self, name: &str, text: &str) {
        self.set(name, text.lines().next().unwrap_or_default().trim_end_matches('\r'));
    }

    /// Returns the text with values in the place of variables.
    pub fn expand(&self, text: &str) -> String {
        self.expand_at(text, 0)
    }

    fn expand_at(&self, text: &str, depth: u32) -> String {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            expanded.push_str(&rest[..at]);
            rest = &rest[at..];
            let (value, len) = self.variable(rest, depth).unwrap_or_else(|| ("$".to_owned(), 1));
            expanded.push_str(&value);
            rest = &rest[len..];
        }
        expanded + rest
    }

    /// Reads the variable that a text begins with; returns what it stands for, and its length in bytes.
    fn variable(&self, text: &str, depth: u32) -> Option<(String, usize)> {
        let Some(inner) = text.strip_prefix("${") else {
            let name = name_of(&text[1..]);
            return Some((self.0.get(name)?.clone(), 1 + name.len()));
        };
        let name = name_of(inner);
        let rest = &inner[name.len()..];
        let value = self.0.get(name);
        if rest.starts_with('}') {
            return Some((value?.clone(), 2 + name.len() + 1));
        }
        let (is_default, word) = match (rest.strip_prefix(":-"), rest.strip_prefix(":+")) {
            (Some(word), _) => (true, word),
            (_, Some(word)) => (false, word),
            _ => return None,
        };
        if name.is_empty() || depth >= DEPTH_MAX {
            return None;
        }
        let word = &word[..closing(word)?];
        let is_set = value.is_some_and(|value| !value.is_empty());
        let value = match (is_default, is_set) {
            (true, true) => value.cloned().unwrap_or_default(),
            (true, false) | (false, true) => self.expand_at(word, depth + 1),
            (false, false) => String::new(),
        };
        Some((value, 2 + name.len() + 2 + word.len() + 1))
    }
}

fn name_of(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// Finds the brace that ends a word, in which there may be variables in braces.
fn closing(word: &str) -> Option<usize> {
    let mut open = 0_u32;
    for (at, byte) in word.bytes().enumerate() {
        match byte {
            b'{' if word[..at].ends_with('$') => open += 1,
            b'}' if open == 0 => return Some(at),
            b'}' => open -= 1,
            _ => {}
        }
    }
    None
}

/// Returns dnf's word for a family of architectures.
fn base_arch(arch: &str) -> &str {
    match arch {
        "i486" | "i586" | "i686" | "athlon" | "geode" => "i386",
        "armv6hl" | "armv7hl" | "armv7hnl" | "armv8hl" => "armhfp",
        "armv5tejl" | "armv5tel" | "armv5tl" | "armv6l" | "armv7l" | "armv8l" => "arm",
        "amd64" | "ia32e" => "x86_64",
        arch => arch,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_put_in_and_the_rest_stays() {
        let mut variables = Variables::new("15.6", "i686");
        variables.set("empty", "");
        variables.set_from_file("stream", "9-stream\nmore\n");
        for (text, wanted) in [
            ("$releasever/$basearch/$arch", "15.6/i386/i686"),
            ("${releasever_major}.$releasever_minor", "15.6"),
            ("$stream.$", "9-stream.$"),
            ("$releaseverx ${releasever ${none} $none", "$releaseverx ${releasever ${none} $none"),
            ("$$arch \\$arch", "$i686 \\i686"),
            ("${none:-a}${stream:-b}${empty:-c}", "a9-streamc"),
            ("${none:+a}${stream:+b}${empty:+c}", "b"),
            ("${none:-${empty:-$arch}/${arch}}!", "i686/i686!"),
            ("${none:-a", "${none:-a"),
            ("${none:?a}", "${none:?a}"),
        ] {
            assert_eq!(variables.expand(text), wanted, "{text}");
        }
        let deep = "${none:-".repeat(100) + &"}".repeat(100);
        assert!(variables.expand(&deep).len() <= deep.len());
    }
}
