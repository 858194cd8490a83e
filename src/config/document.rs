//! TOML documents in which every value knows its line: the only door to the toml crate.
//!
//! A reader takes what it knows out of a [`Table`] and ends with [`Table::finish`], which refuses what is left: a mistyped key
//! is never silently ignored.

use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::{Item, Source};
use crate::base::error::{Diagnostic, ErrorKind};

/// A document cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// It is not TOML.
    #[error("the file is not valid TOML: {message}")]
    Syntax {
        /// What the parser says.
        message: String,
        /// Where.
        source_at: Source,
    },
    /// A key that means nothing here.
    #[error("unknown key `{key}`{}", table_phrase(.table))]
    UnknownKey {
        /// The key.
        key: String,
        /// The table it stands in; empty at the top.
        table: String,
        /// The keys that are known here.
        known: Vec<&'static str>,
        /// Where.
        source_at: Source,
    },
    /// A value of another type.
    #[error("`{key}` is {found}, not {wanted}")]
    Type {
        /// The key, with its table.
        key: String,
        /// What is wanted: `a list of strings`.
        wanted: &'static str,
        /// What is there.
        found: String,
        /// Where.
        source_at: Source,
    },
    /// A key that must be there is not.
    #[error("`{key}` is missing{}", table_phrase(.table))]
    Missing {
        /// The key.
        key: &'static str,
        /// The table it should stand in.
        table: String,
        /// Where that table begins.
        source_at: Source,
    },
    /// A value that makes no sense.
    #[error("`{key}` cannot be `{value}`: {reason}")]
    Value {
        /// The key, with its table.
        key: String,
        /// The value.
        value: String,
        /// Why not.
        reason: String,
        /// Where.
        source_at: Source,
    },
}

fn table_phrase(table: &str) -> String {
    if table.is_empty() { String::new() } else { format!(" in [{table}]") }
}

impl Diagnostic for DocumentError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Config
    }

    fn place(&self) -> Option<String> {
        let (DocumentError::Syntax { source_at, .. }
        | DocumentError::UnknownKey { source_at, .. }
        | DocumentError::Type { source_at, .. }
        | DocumentError::Missing { source_at, .. }
        | DocumentError::Value { source_at, .. }) = self;
        Some(source_at.to_string())
    }

    fn hints(&self) -> Vec<String> {
        match self {
            DocumentError::UnknownKey { known, .. } => vec![format!("use one of `{}`", known.join("`, `"))],
            _ => Vec::new(),
        }
    }
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    value: Value,
    key: String,
    source: Source,
}

#[derive(Debug, Clone, PartialEq)]
enum Value {
    Text(String),
    Bool(bool),
    List(Vec<Node>),
    Table(Vec<(String, Node)>),
    Other(&'static str),
}

/// A table from which known keys are taken one by one.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    name: String,
    source: Source,
    entries: Vec<(String, Node)>,
    asked: Vec<&'static str>,
}

/// Reads a document; `file` is how it is named in messages.
pub fn parse(file: &str, text: &str) -> Result<Table, DocumentError> {
    let file: Arc<str> = file.into();
    let lines = Lines { file: Arc::clone(&file), text };
    let table = DeTable::parse(text).map_err(|err| DocumentError::Syntax {
        message: err.message().to_owned(),
        source_at: lines.at(err.span().map_or(0, |span| span.start)),
    })?;
    Ok(Table { name: String::new(), source: lines.at(0), entries: convert_table(table.get_ref(), "", &lines), asked: Vec::new() })
}

struct Lines<'a> {
    file: Arc<str>,
    text: &'a str,
}

impl Lines<'_> {
    fn at(&self, offset: usize) -> Source {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        Source { file: Arc::clone(&self.file), line: 1 + memchr::memchr_iter(b'\n', before).count() as u32 }
    }
}

fn convert_table(table: &DeTable<'_>, name: &str, lines: &Lines<'_>) -> Vec<(String, Node)> {
    let mut entries: Vec<_> = table.iter().collect();
    // In the order of the file, not of the alphabet: rules are ordered.
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
        .into_iter()
        .map(|(key, value)| {
            let word = key.get_ref().to_string();
            let full = if name.is_empty() { word.clone() } else { format!("{name}.{word}") };
            let mut node = convert(value.get_ref(), value.span().start, &full, lines);
            // A table's own span may be that of its header; the key's is the better place for all but lists' items.
            node.source = lines.at(key.span().start);
            (word, node)
        })
        .collect()
}

fn convert(value: &DeValue<'_>, offset: usize, key: &str, lines: &Lines<'_>) -> Node {
    let converted = match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Boolean(yes) => Value::Bool(*yes),
        DeValue::Array(array) => {
            Value::List(array.iter().map(|item| convert(item.get_ref(), item.span().start, key, lines)).collect())
        }
        DeValue::Table(table) => Value::Table(convert_table(table, key, lines)),
        DeValue::Integer(_) => Value::Other("an integer"),
        DeValue::Float(_) => Value::Other("a float"),
        DeValue::Datetime(_) => Value::Other("a date"),
    };
    Node { value: converted, key: key.to_owned(), source: lines.at(offset) }
}

impl Table {
    /// Takes a value out; from now on the key is known.
    pub fn take(&mut self, key: &'static str) -> Option<Node> {
        self.asked.push(key);
        let index = self.entries.iter().position(|(name, _)| name == key)?;
        Some(self.entries.remove(index).1)
    }

    /// Takes a string that must be there.
    pub fn required_text(&mut self, key: &'static str) -> Result<Item, DocumentError> {
        let missing = || DocumentError::Missing { key, table: self.name.clone(), source_at: self.source.clone() };
        let missing = missing();
        self.take(key).ok_or(missing)?.item()
    }

    /// Takes a string that may be there.
    pub fn text(&mut self, key: &'static str) -> Result<Option<Item>, DocumentError> {
        self.take(key).map(Node::item).transpose()
    }

    /// Takes a list of strings; an absent one is empty.
    pub fn items(&mut self, key: &'static str) -> Result<Vec<Item>, DocumentError> {
        self.take(key).map_or(Ok(Vec::new()), Node::items)
    }

    /// Takes a table that may be there; an absent one is empty.
    pub fn table(&mut self, key: &'static str) -> Result<Table, DocumentError> {
        let empty = || Table { name: key.to_owned(), source: self.source.clone(), entries: Vec::new(), asked: Vec::new() };
        let empty = empty();
        self.take(key).map_or(Ok(empty), Node::table)
    }

    /// Takes all that is left: a table whose keys are names that the file chooses.
    pub fn named(&mut self) -> Vec<(String, Node)> {
        std::mem::take(&mut self.entries)
    }

    /// Ends the reading: a key that nobody asked for is an error.
    pub fn finish(self) -> Result<(), DocumentError> {
        match self.entries.into_iter().next() {
            None => Ok(()),
            Some((key, node)) => {
                let mut known = self.asked;
                known.sort_unstable();
                known.dedup();
                Err(DocumentError::UnknownKey { key, table: self.name, known, source_at: node.source })
            }
        }
    }
}

impl Node {
    /// Returns where the value stands.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Returns a string.
    pub fn item(self) -> Result<Item, DocumentError> {
        match self.value {
            Value::Text(text) => Ok(Item { text, source: self.source }),
            _ => Err(self.wrong_type("a string")),
        }
    }

    /// Returns a list of strings.
    pub fn items(self) -> Result<Vec<Item>, DocumentError> {
        self.list("a list of strings")?.into_iter().map(Node::item).collect()
    }

    /// Returns a list.
    pub fn list(self, wanted: &'static str) -> Result<Vec<Node>, DocumentError> {
        match self.value {
            Value::List(list) => Ok(list),
            _ => Err(self.wrong_type(wanted)),
        }
    }

    /// Tells whether this is a list.
    pub fn is_list(&self) -> bool {
        matches!(self.value, Value::List(_))
    }

    /// Returns a table.
    pub fn table(self) -> Result<Table, DocumentError> {
        match self.value {
            Value::Table(entries) => Ok(Table { name: self.key, source: self.source, entries, asked: Vec::new() }),
            _ => Err(self.wrong_type("a table")),
        }
    }

    fn wrong_type(&self, wanted: &'static str) -> DocumentError {
        let found = match &self.value {
            Value::Text(text) => format!("the string `{text}`"),
            Value::Bool(yes) => format!("`{yes}`"),
            Value::List(_) => "a list".to_owned(),
            Value::Table(_) => "a table".to_owned(),
            Value::Other(noun) => (*noun).to_owned(),
        };
        DocumentError::Type { key: self.key.clone(), wanted, found, source_at: self.source.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        let read = || -> Result<(), DocumentError> {
            let mut top = parse("f.toml", text)?;
            let mut packages = top.table("packages")?;
            packages.items("add")?;
            packages.required_text("why")?;
            packages.finish()?;
            top.finish()
        };
        let err = read().expect_err("the text is wrong");
        format!("{err} at {}", err.place().expect("a place"))
    }

    #[test]
    fn errors_name_file_line_and_both_types() {
        let table = [
            ("[packages]\nwhy = 'x'\nad = []\n", "unknown key `ad` in [packages] at f.toml:3"),
            ("\n\nfoo = 1\n[packages]\nwhy = 'x'\n", "unknown key `foo` at f.toml:3"),
            ("[packages]\nwhy = 'x'\nadd = [\n 'a',\n 1,\n]\n", "`packages.add` is an integer, not a string at f.toml:5"),
            ("[packages]\nadd = 'x'\n", "`packages.add` is the string `x`, not a list of strings at f.toml:2"),
            ("packages = true\n", "`packages` is `true`, not a table at f.toml:1"),
            ("[packages]\n", "`why` is missing in [packages] at f.toml:1"),
        ];
        for (text, expected) in table {
            assert_eq!(error(text), expected, "{text}");
        }
        assert!(error("[packages\n").ends_with("at f.toml:1"), "{}", error("[packages\n"));
    }

    #[test]
    fn items_know_their_lines() {
        let mut top = parse("f.toml", "a = [\n 'x',  # why\n 'y',\n]\n").expect("valid");
        let items = top.items("a").expect("strings");
        assert_eq!(items.iter().map(|item| item.source.to_string()).collect::<Vec<_>>(), ["f.toml:2", "f.toml:3"]);
    }
}
