//! Reads sysusers.d files as systemd of the target reads them.
//!
//! Format: <https://www.freedesktop.org/software/systemd/man/latest/sysusers.d.html>. What systemd skips with a complaint is skipped
//! here with a warning: a package's slip must not cost the image.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::base::limit;
use crate::tree::{Tree, TreePath};

/// Directories in falling priority: of files with the same name the first one counts.
const DIRECTORIES: &[&str] = &["etc/sysusers.d", "run/sysusers.d", "usr/local/lib/sysusers.d", "usr/lib/sysusers.d"];

/// A user or group that a line asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Wanted {
    /// The name of the user, and of its group unless one is given.
    pub name: String,
    /// A fixed user id.
    pub uid: Option<u32>,
    /// A fixed group id. For a user this one must exist already.
    pub gid: Option<u32>,
    /// The user's primary group by name, which must exist.
    pub group: Option<String>,
    /// A path whose owner gives the ids.
    pub id_path: Option<TreePath>,
    /// The GECOS field.
    pub description: Option<String>,
    /// The home directory.
    pub home: Option<String>,
    /// The login shell.
    pub shell: Option<String>,
    /// `u!`: the account is expired, not only without a password.
    pub locked: bool,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// `u`, `u!`
    User(Wanted),
    /// `g`
    Group(Wanted),
    /// `m USER GROUP`
    Member { user: String, group: String },
    /// `r`: ids to choose from.
    Range(RangeInclusive<u32>),
}

impl Line {
    /// Tells whether both are about the same user, or both about the same group.
    pub fn describes_same(&self, other: &Line) -> bool {
        match (self, other) {
            (Line::User(a), Line::User(b)) | (Line::Group(a), Line::Group(b)) => a.name == b.name,
            _ => false,
        }
    }
}

/// All lines, in systemd's order: by the name of the file, then as written.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub lines: Vec<Line>,
    pub warnings: Vec<String>,
}

/// Reads all sysusers.d files of a tree.
pub(super) fn read(tree: &Tree) -> Lines {
    let mut files: BTreeMap<Vec<u8>, TreePath> = BTreeMap::new();
    for directory in DIRECTORIES {
        let Some((directory, _)) = tree.lookup(&TreePath::literal(directory)) else { continue };
        for (path, _) in tree.children(&directory) {
            if path.name().ends_with(b".conf") {
                files.entry(path.name().to_vec()).or_insert_with(|| path.clone());
            }
        }
    }
    let mut all = Lines::default();
    for path in files.values() {
        // A link to /dev/null masks a file: nothing is there in the tree.
        let Some(content) = tree.read(path) else { continue };
        if content.len() as u64 > limit::TEXT_BYTES_MAX {
            all.warnings.push(format!("`{path}` is larger than {} bytes and was not read", limit::TEXT_BYTES_MAX));
            continue;
        }
        for (number, raw) in content.bytes().split(|byte| *byte == b'\n').enumerate() {
            let parsed = std::str::from_utf8(raw).map_err(|_| "it is not UTF-8".to_owned()).and_then(parse_line);
            match parsed {
                Ok(line) => all.lines.extend(line),
                Err(reason) => all.warnings.push(format!("`{path}` line {} was skipped: {reason}", number + 1)),
            }
        }
    }
    all
}

/// Reads one line; nothing for a comment or an empty one. The error says what is wrong.
pub(super) fn parse_line(text: &str) -> Result<Option<Line>, String> {
    let text = text.trim_matches([' ', '\t', '\r']);
    if text.is_empty() || text.starts_with(['#', ';']) {
        return Ok(None);
    }
    let words = words(text)?;
    if words.len() > 6 {
        return Err("it has more than six fields".to_owned());
    }
    let field =
        |at: usize| words.get(at).filter(|word| !word.is_empty() && word.as_str() != "-").map(|word| expand(word)).transpose();
    let (name, id) = (field(1)?, field(2)?);
    let (description, home, shell) = (field(3)?, field(4)?, field(5)?);
    let need = |value: Option<String>, what: &str| value.ok_or_else(|| format!("it names no {what}"));
    let no_account = |kind: &str| match (&description, &home, &shell) {
        (None, None, None) => Ok(()),
        _ => Err(format!("`{kind}` takes no description, home or shell")),
    };
    let line = match words[0].as_str() {
        kind @ ("u" | "u!") => {
            let name = account_name(need(name, "user")?)?;
            if description.as_deref().is_some_and(|text| text.contains(':') || text.chars().any(char::is_control)) {
                return Err("the description has a colon or control character".to_owned());
            }
            let mut user = user_ids(name, id)?;
            (user.description, user.home, user.shell) = (description, path_field(home)?, path_field(shell)?);
            user.locked = kind == "u!";
            Line::User(user)
        }
        "g" => {
            no_account("g")?;
            let mut group = Wanted { name: account_name(need(name, "group")?)?, ..Wanted::default() };
            match id {
                Some(path) if path.starts_with('/') => group.id_path = Some(id_path(&path)?),
                Some(number) => group.gid = Some(number_id(&number)?),
                None => {}
            }
            Line::Group(group)
        }
        "m" => {
            no_account("m")?;
            Line::Member { user: account_name(need(name, "user")?)?, group: account_name(need(id, "group")?)? }
        }
        "r" => {
            no_account("r")?;
            if name.is_some() {
                return Err("`r` takes no name".to_owned());
            }
            let id = need(id, "range")?;
            let (low, high) = id.split_once('-').unwrap_or((&id, &id));
            let (low, high) = (number_id(low)?, number_id(high)?);
            if low > high {
                return Err(format!("the range `{id}` is empty"));
            }
            Line::Range(low..=high)
        }
        other => return Err(format!("the type `{other}` is not known")),
    };
    Ok(Some(line))
}

/// Reads the third field of a user: `-`, a number, a path, or one of the first two with `:` and a group's number or name.
fn user_ids(name: String, id: Option<String>) -> Result<Wanted, String> {
    let mut user = Wanted { name, ..Wanted::default() };
    let Some(id) = id else { return Ok(user) };
    if id.starts_with('/') {
        user.id_path = Some(id_path(&id)?);
        return Ok(user);
    }
    let (uid, group) = match id.split_once(':') {
        Some((uid, group)) => (uid, Some(group)),
        None => (id.as_str(), None),
    };
    if uid != "-" {
        user.uid = Some(number_id(uid)?);
    }
    match group {
        Some(group) if group.bytes().all(|byte| byte.is_ascii_digit()) => user.gid = Some(number_id(group)?),
        Some(group) => user.group = Some(account_name(group.to_owned())?),
        None => {}
    }
    Ok(user)
}

/// Splits into words, quotes and backslashes taken off.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (_, '\\') => {
                let escaped = chars.next().ok_or("it ends in a backslash")?;
                word.get_or_insert_default().push(escaped);
            }
            (Some(open), _) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ' | '\t') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("a quotation mark is not closed".to_owned());
    }
    words.extend(word);
    Ok(words)
}

/// Expands the specifiers that do not depend on the running machine.
fn expand(word: &str) -> Result<String, String> {
    let mut out = String::with_capacity(word.len());
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        match c {
            '%' => match chars.next() {
                Some('%') => out.push('%'),
                Some('T') => out.push_str("/tmp"),
                Some('V') => out.push_str("/var/tmp"),
                Some(other) => return Err(format!("the specifier `%{other}` has no value in an image")),
                None => return Err("it ends in `%`".to_owned()),
            },
            _ => out.push(c),
        }
    }
    Ok(out)
}

fn account_name(name: String) -> Result<String, String> {
    let fine = name.len() <= 31
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if fine { Ok(name) } else { Err(format!("`{}` is not the name of a user or group", name.escape_debug())) }
}

fn path_field(path: Option<String>) -> Result<Option<String>, String> {
    match path {
        Some(path) if !path.starts_with('/') || path.contains(':') || path.chars().any(char::is_control) => {
            Err(format!("`{}` is not an absolute path without a colon", path.escape_debug()))
        }
        path => Ok(path),
    }
}

fn id_path(path: &str) -> Result<TreePath, String> {
    TreePath::parse(path.as_bytes()).map_err(|err| err.to_string())
}

fn number_id(text: &str) -> Result<u32, String> {
    // 2^16-1 and 2^32-1 mean "no user" to the kernel.
    match text.parse::<u32>() {
        Ok(id) if id != u32::MAX && id != u32::from(u16::MAX) && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(id),
        _ => Err(format!("`{}` is not an id", text.escape_debug())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Entry, Origin};

    fn user(text: &str) -> Wanted {
        match parse_line(text) {
            Ok(Some(Line::User(wanted))) => wanted,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn ids_of_users() {
        let table = [
            ("u a -", None, None, None),
            ("u a", None, None, None),
            ("u a 5", Some(5), None, None),
            ("u a 5:6", Some(5), Some(6), None),
            ("u a -:6", None, Some(6), None),
            ("u a 5:users", Some(5), None, Some("users")),
            ("u a -:users", None, None, Some("users")),
        ];
        for (text, uid, gid, group) in table {
            let wanted = user(text);
            assert_eq!((wanted.uid, wanted.gid, wanted.group.as_deref()), (uid, gid, group), "{text}");
        }
        assert_eq!(user("u a /var/lib/a").id_path, Some(TreePath::literal("var/lib/a")));
        assert!(user("u! a").locked);
    }

    #[test]
    fn quotes_and_specifiers() {
        let wanted = user(r#"u  a   -  "An \"odd\" 100%% user"  /home/'b c'  -"#);
        assert_eq!(wanted.description.as_deref(), Some("An \"odd\" 100% user"));
        assert_eq!((wanted.home.as_deref(), wanted.shell), (Some("/home/b c"), None));
        assert_eq!(user("u a - - %T").home.as_deref(), Some("/tmp"));
    }

    #[test]
    fn e05_what_is_wrong_is_refused_with_its_reason() {
        let table = [
            ("x a", "type"),
            ("u", "no user"),
            ("u 1a", "name"),
            ("u a:b", "name"),
            ("u a 4294967295", "not an id"),
            ("u a 65535", "not an id"),
            ("u a -1", "not an id"),
            ("u a 4294967296", "not an id"),
            ("u a 5:", "not an id"),
            ("u a - \"x:0:0\"", "colon"),
            ("u a - x home", "absolute"),
            ("u a - x /h /s:x", "absolute"),
            ("u a - %H", "specifier"),
            ("u a - \"open", "quotation"),
            ("g a - text", "takes no"),
            ("m a", "no group"),
            ("r a 1-2", "takes no name"),
            ("r - 9-2", "empty"),
            ("u a - b /c /d e", "six"),
            ("u abcdefghijklmnopqrstuvwxyzabcdef", "name"),
        ];
        for (text, reason) in table {
            let error = parse_line(text).expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
        }
        assert_eq!(parse_line(" # u a"), Ok(None));
    }

    #[test]
    fn files_of_higher_priority_hide_others_and_masks_hide_all() {
        let made = Origin::Made("test");
        let mut tree = Tree::new();
        for (path, text) in [
            ("usr/lib/sysusers.d/b.conf", "g low 1\n"),
            ("etc/sysusers.d/b.conf", "g high 1\nbad\n"),
            ("run/sysusers.d/a.conf", "g first 2\n"),
            ("usr/lib/sysusers.d/masked.conf", "g gone 3\n"),
            ("usr/lib/sysusers.d/readme", "g no 3\n"),
        ] {
            tree.insert(&TreePath::literal(path), Entry::file(text, made.clone())).expect(path);
        }
        tree.insert(&TreePath::literal("etc/sysusers.d/masked.conf"), Entry::symlink("/dev/null", made)).expect("a link");
        let read = read(&tree);
        let names: Vec<&str> = read
            .lines
            .iter()
            .map(|line| match line {
                Line::Group(group) => group.name.as_str(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(names, ["first", "high"]);
        assert_eq!(read.warnings, ["`/etc/sysusers.d/b.conf` line 2 was skipped: the type `bad` is not known"]);
    }
}
