//! Globs over paths: `*` and `?` stay inside one component, `**` crosses them, `[a-z]` and `[!a-z]` are sets, `{a,b}` alternatives.
//!
//! Patterns and paths are bytes without a leading slash.

/// A pattern for whole paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    text: String,
    /// The alternatives, braces expanded.
    alternatives: Vec<Vec<u8>>,
}

/// The pattern cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is not a pattern: {reason}")]
pub struct BadGlob {
    /// The pattern as given.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Alternatives that one pattern may expand to: braces multiply.
const ALTERNATIVES_MAX: usize = 256;

impl Glob {
    /// Reads a pattern; a leading slash is dropped.
    pub fn new(pattern: &str) -> Result<Self, BadGlob> {
        let wrong = |reason| BadGlob { pattern: pattern.to_owned(), reason };
        let relative = pattern.trim_start_matches('/');
        if relative.is_empty() {
            return Err(wrong("it is empty"));
        }
        let alternatives = expand_braces(relative.as_bytes()).ok_or_else(|| wrong("its braces do not pair, or are too many"))?;
        if alternatives.iter().any(|one| !sets_close(one)) {
            return Err(wrong("a `[` is never closed"));
        }
        Ok(Self { text: pattern.to_owned(), alternatives })
    }

    /// Returns the pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Tells whether the whole of `path` matches.
    pub fn matches(&self, path: &[u8]) -> bool {
        self.alternatives.iter().any(|pattern| !parts_early(pattern, path) && matches(pattern, path))
    }

    /// Returns the bytes with which every match of an alternative begins, one prefix an alternative.
    pub fn literal_prefixes(&self) -> impl Iterator<Item = &[u8]> {
        self.alternatives.iter().map(|pattern| {
            let end = pattern.iter().position(|c| b"*?[\\".contains(c)).unwrap_or(pattern.len());
            &pattern[..end]
        })
    }
}

/// Tells whether pattern and path differ before the pattern's first wildcard, as nearly all pairs of them do.
fn parts_early(pattern: &[u8], path: &[u8]) -> bool {
    let first = pattern.iter().zip(path).find(|(p, s)| p != s || b"*?[\\".contains(p));
    first.is_some_and(|(p, _)| !b"*?[\\".contains(p))
}

/// Matches one pattern without braces against the whole of `path`.
///
/// Backtracks to the last `*` and the last `**` only, which is complete and takes at most |pattern| × |path| steps each.
pub fn matches(pattern: &[u8], path: &[u8]) -> bool {
    let (mut p, mut s) = (0, 0);
    // Where to go on when what follows a star does not fit: the pattern behind the star, the path one byte further.
    let mut star: Option<(usize, usize)> = None;
    let mut double: Option<(usize, usize)> = None;
    loop {
        if p == pattern.len() && s == path.len() {
            return true;
        }
        if pattern.get(p) == Some(&b'*') && pattern.get(p + 1) == Some(&b'*') {
            // `a/**/b` also matches `a/b`: the slash behind `**` belongs to it.
            let behind = if pattern[p..].starts_with(b"**/") && (p == 0 || pattern[p - 1] == b'/') { p + 3 } else { p + 2 };
            let slash_eaten = behind == p + 3;
            double = Some((p, s));
            star = None;
            if slash_eaten && !(s == 0 || path[s - 1] == b'/') {
                // Only a component may start here: look for the next slash below.
            } else {
                p = behind;
                continue;
            }
        } else if p < pattern.len() && pattern[p] == b'*' {
            star = Some((p + 1, s));
            p += 1;
            continue;
        } else if p < pattern.len()
            && s < path.len()
            && let Some(next) = one(&pattern[p..], path[s])
        {
            p += next;
            s += 1;
            continue;
        }
        match (star, double) {
            (Some((behind, at)), _) if at < path.len() && path[at] != b'/' => {
                star = Some((behind, at + 1));
                (p, s) = (behind, at + 1);
            }
            (_, Some((start, at))) if at < path.len() => {
                (p, s) = (start, at + 1);
            }
            _ => return false,
        }
    }
}

/// Matches one byte against the head of `pattern`; returns how long that head is.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern[0] {
        b'?' => (byte != b'/').then_some(1),
        b'[' => {
            let close = set_end(pattern)?;
            let (negated, set) = match pattern[1] {
                b'!' | b'^' => (true, &pattern[2..close]),
                _ => (false, &pattern[1..close]),
            };
            (byte != b'/' && in_set(set, byte) != negated).then_some(close + 1)
        }
        b'\\' if pattern.len() > 1 => (pattern[1] == byte).then_some(2),
        literal => (literal == byte).then_some(1),
    }
}

/// Returns the index of the bracket that closes the set at the start of `pattern`; a `]` that comes first is a member.
fn set_end(pattern: &[u8]) -> Option<usize> {
    let first = if matches!(pattern.get(1), Some(b'!' | b'^')) { 2 } else { 1 };
    (first + 1..pattern.len()).find(|&i| pattern[i] == b']')
}

fn in_set(set: &[u8], byte: u8) -> bool {
    let mut i = 0;
    while i < set.len() {
        if i + 2 < set.len() && set[i + 1] == b'-' {
            if (set[i]..=set[i + 2]).contains(&byte) {
                return true;
            }
            i += 3;
        } else {
            if set[i] == byte {
                return true;
            }
            i += 1;
        }
    }
    false
}

fn sets_close(pattern: &[u8]) -> bool {
    let mut i = 0;
    while i < pattern.len() {
        match pattern[i] {
            b'\\' => i += 2,
            b'[' => match set_end(&pattern[i..]) {
                Some(end) => i += end + 1,
                None => return false,
            },
            _ => i += 1,
        }
    }
    true
}

/// Expands the first brace group and recurses; `None` when braces do not pair or expand too far.
fn expand_braces(pattern: &[u8]) -> Option<Vec<Vec<u8>>> {
    let Some(open) = pattern.iter().position(|c| *c == b'{') else {
        return (!pattern.contains(&b'}')).then(|| vec![pattern.to_vec()]);
    };
    let (mut depth, mut start, mut parts, mut close) = (0, open + 1, Vec::new(), None);
    for (i, byte) in pattern.iter().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    parts.push(&pattern[start..i]);
                    close = Some(i);
                    break;
                }
            }
            b',' if depth == 1 => {
                parts.push(&pattern[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    let close = close?;
    let mut all = Vec::new();
    for part in parts {
        let one = [&pattern[..open], part, &pattern[close + 1..]].concat();
        all.extend(expand_braces(&one)?);
        if all.len() > ALTERNATIVES_MAX {
            return None;
        }
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_whole_paths() {
        let table = [
            ("usr/bin/less", "usr/bin/less", true),
            ("/usr/bin/less", "usr/bin/less", true),
            ("usr/bin", "usr/bin/less", false),
            ("usr/bin/*", "usr/bin/less", true),
            ("usr/*/less", "usr/bin/less", true),
            ("usr/*", "usr/bin/less", false),
            ("usr/**", "usr/bin/less", true),
            ("usr/**", "usr", false),
            ("usr/**/less", "usr/less", true),
            ("usr/**/less", "usr/a/b/less", true),
            ("usr/**/less", "usr/a/b/unless", false),
            ("**/less", "less", true),
            ("**/less", "a/less", true),
            ("**/less", "a/unless", false),
            ("**/*.mo", "usr/share/locale/de/LC_MESSAGES/x.mo", true),
            ("usr/lib/*.so.[0-9]*", "usr/lib/libc.so.6", true),
            ("usr/lib/*.so.[!0-9]*", "usr/lib/libc.so.6", false),
            ("usr/lib/lib?.so", "usr/lib/libc.so", true),
            ("usr/lib/lib?.so", "usr/lib/lib/.so", false),
            ("usr/{bin,sbin}/fsck{,.ext4}", "usr/sbin/fsck.ext4", true),
            ("usr/{bin,sbin}/fsck{,.ext4}", "usr/bin/fsck", true),
            ("usr/{bin,sbin}/fsck{,.ext4}", "usr/lib/fsck", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("**", "anything/at/all", true),
            ("a/**/b/*/c", "a/x/b/y/z/b/q/c", true),
            ("a/**/b/**/c", "a/b/c", true),
            ("x[]a]y", "x]y", true),
            ("\\*x", "*x", true),
            ("\\*x", "ax", false),
            ("system-systemd\\\\x2d*", "system-systemd\\x2dcryptsetup.slice", true),
            ("usr/lib*/**/d", "usr/lib64/a/d", true),
        ];
        for (pattern, path, expected) in table {
            let glob = Glob::new(pattern).expect(pattern);
            assert_eq!(glob.matches(path.as_bytes()), expected, "{pattern} against {path}");
        }
    }

    #[test]
    fn broken_patterns_are_refused() {
        for pattern in ["", "/", "a{b", "a}b", "a[b", &"{a,b}".repeat(9)] {
            assert!(Glob::new(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn many_stars_do_not_explode() {
        assert!(!Glob::new(&format!("{}b", "a*".repeat(30))).expect("a pattern").matches("a".repeat(3000).as_bytes()));
        assert!(!Glob::new(&format!("{}b", "**/a*".repeat(8))).expect("a pattern").matches("a/".repeat(2000).as_bytes()));
    }
}
