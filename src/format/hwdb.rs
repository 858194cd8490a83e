//! systemd's hardware database: text files of matches and properties become one binary trie.
//!
//! The text is described in hwdb(7); the binary form has no description but systemd's `hwdb-internal.h`: a header, nodes in
//! post-order, then strings of which one may be the tail of another. What is written here equals `systemd-hwdb update` byte for byte.

use std::collections::BTreeMap;

const SIGNATURE: &[u8; 8] = b"KSLPHHRH";
const HEADER_BYTES: u64 = 80;
const NODE_BYTES: u64 = 24;
const CHILD_BYTES: u64 = 16;
const VALUE_BYTES: u64 = 32;

/// A database while it is being filled.
#[derive(Debug)]
pub struct Hwdb {
    nodes: Vec<Node>,
    strings: Strings,
    files: u16,
}

#[derive(Debug, Default)]
struct Node {
    /// Where the text lies that every match through this node goes on with.
    prefix: usize,
    children: BTreeMap<u8, usize>,
    /// By key, as bytes compare.
    values: BTreeMap<Vec<u8>, Value>,
}

#[derive(Debug, Clone, Copy)]
struct Value {
    key: usize,
    value: usize,
    file: usize,
    line: u32,
    priority: u16,
}

impl Default for Hwdb {
    fn default() -> Self {
        Self { nodes: vec![Node::default()], strings: Strings::new(), files: 0 }
    }
}

impl Hwdb {
    /// Returns a database with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file of the text form; files are to be added in the order of their names. Of two values for one match and key the
    /// later one counts. Returns what was wrong with which lines, which systemd would pass over too.
    pub fn add_file(&mut self, name: &str, text: &[u8]) -> Vec<(u32, &'static str)> {
        self.files += 1;
        let mut wrong = Vec::new();
        let mut matches: Vec<&[u8]> = Vec::new();
        let mut in_properties = false;
        for (number, line) in (1u32..).zip(text.split(|byte| *byte == b'\n')) {
            if line.first() == Some(&b'#') {
                continue;
            }
            let line = line.split(|byte| *byte == b'#').next().unwrap_or_default().trim_ascii_end();
            let is_property = line.first() == Some(&b' ');
            match (matches.is_empty(), in_properties) {
                (true, _) if line.is_empty() => {}
                (true, _) if is_property => wrong.push((number, "a property without a match before it")),
                (false, _) if is_property => {
                    in_properties = true;
                    wrong.extend(self.add_property(&matches, line, name, number).err().map(|reason| (number, reason)));
                }
                (false, true) if !line.is_empty() => {
                    wrong.push((number, "neither a property nor an empty line after a property"));
                    (matches, in_properties) = (Vec::new(), false);
                }
                (false, _) if line.is_empty() => {
                    if !in_properties {
                        wrong.push((number, "a match without properties"));
                    }
                    (matches, in_properties) = (Vec::new(), false);
                }
                _ => matches.push(line),
            }
        }
        wrong
    }

    /// Returns how many different matches have properties.
    pub fn len(&self) -> usize {
        self.nodes.iter().filter(|node| !node.values.is_empty()).count()
    }

    /// Tells whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the binary form. `version` is that of the systemd that it pretends to come from; readers only show it.
    pub fn write(&self, version: u64) -> Vec<u8> {
        let size = |node: &Node| NODE_BYTES + node.children.len() as u64 * CHILD_BYTES + node.values.len() as u64 * VALUE_BYTES;
        let nodes_bytes: u64 = self.nodes.iter().map(size).sum();
        let strings_at = HEADER_BYTES + nodes_bytes;
        let string = |offset: usize| (strings_at + offset as u64).to_le_bytes();
        let mut offsets = vec![0u64; self.nodes.len()];
        let mut body = Vec::with_capacity(nodes_bytes as usize + self.strings.buffer.len());
        for index in self.post_order() {
            let node = &self.nodes[index];
            offsets[index] = HEADER_BYTES + body.len() as u64;
            body.extend(string(node.prefix));
            // A node has at most one child a byte, and none for NUL, so the count fits.
            body.extend([node.children.len() as u8, 0, 0, 0, 0, 0, 0, 0]);
            body.extend((node.values.len() as u64).to_le_bytes());
            for (byte, child) in &node.children {
                body.extend([*byte, 0, 0, 0, 0, 0, 0, 0]);
                body.extend(offsets[*child].to_le_bytes());
            }
            for value in node.values.values() {
                body.extend([string(value.key), string(value.value), string(value.file)].concat());
                body.extend(value.line.to_le_bytes());
                body.extend(value.priority.to_le_bytes());
                body.extend([0, 0]);
            }
        }
        body.extend(&self.strings.buffer);
        let mut out = SIGNATURE.to_vec();
        let strings_bytes = self.strings.buffer.len() as u64;
        let sizes = [HEADER_BYTES, NODE_BYTES, CHILD_BYTES, VALUE_BYTES, offsets[0], nodes_bytes, strings_bytes];
        for number in [version, HEADER_BYTES + body.len() as u64].into_iter().chain(sizes) {
            out.extend(number.to_le_bytes());
        }
        out.extend(body);
        out
    }

    /// Returns the nodes with each one's children before it. The depth is that of the input, so nothing recurses.
    fn post_order(&self) -> Vec<usize> {
        let (mut order, mut todo) = (Vec::with_capacity(self.nodes.len()), vec![0]);
        // Node before children with the last child first, read backwards, is children before node with the first child first.
        while let Some(index) = todo.pop() {
            order.push(index);
            todo.extend(self.nodes[index].children.values());
        }
        order.reverse();
        order
    }

    fn add_property(&mut self, matches: &[&[u8]], line: &[u8], file: &str, number: u32) -> Result<(), &'static str> {
        let at = line.iter().position(|byte| *byte == b'=').ok_or("a property without `=`")?;
        let (mut key, value) = (&line[..at], &line[at + 1..]);
        let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        while blank(key.first()) && blank(key.get(1)) {
            key = &key[1..];
        }
        if key.len() < 2 {
            return Err("a property without a name");
        }
        for pattern in matches {
            let node = self.find_or_make(pattern);
            let entry = Value {
                key: self.strings.add(key),
                value: self.strings.add(value),
                file: self.strings.add(file.as_bytes()),
                line: number,
                priority: self.files,
            };
            let values = &mut self.nodes[node].values;
            let key_offset = values.get(key).map_or(entry.key, |old| old.key);
            values.insert(key.to_vec(), Value { key: key_offset, ..entry });
        }
        Ok(())
    }

    /// Returns the node of a match, splitting another one where they part.
    fn find_or_make(&mut self, pattern: &[u8]) -> usize {
        let (mut node, mut rest) = (0, pattern);
        loop {
            let prefix = self.strings.at(self.nodes[node].prefix);
            let common = prefix.iter().zip(rest).take_while(|(a, b)| a == b).count();
            if common < prefix.len() {
                let (kept, byte) = (prefix[..common].to_vec(), prefix[common]);
                let below = Node { prefix: self.nodes[node].prefix + common + 1, ..std::mem::take(&mut self.nodes[node]) };
                let prefix = self.strings.add(&kept);
                self.nodes.push(below);
                let child = self.nodes.len() - 1;
                self.nodes[node] = Node { prefix, children: BTreeMap::from([(byte, child)]), values: BTreeMap::new() };
            }
            rest = &rest[common..];
            let Some((byte, after)) = rest.split_first() else { return node };
            match self.nodes[node].children.get(byte) {
                Some(child) => (node, rest) = (*child, after),
                None => {
                    let prefix = self.strings.add(after);
                    self.nodes.push(Node { prefix, ..Node::default() });
                    let child = self.nodes.len() - 1;
                    self.nodes[node].children.insert(*byte, child);
                    return child;
                }
            }
        }
    }
}

/// Strings that end in NUL, of which one may be the tail of another: found by a trie over their bytes from the end.
#[derive(Debug)]
struct Strings {
    buffer: Vec<u8>,
    tails: Vec<Tail>,
}

#[derive(Debug, Default)]
struct Tail {
    offset: usize,
    len: usize,
    children: BTreeMap<u8, usize>,
}

impl Strings {
    fn new() -> Self {
        Self { buffer: vec![0], tails: vec![Tail::default()] }
    }

    /// Returns the string at an offset, without its NUL.
    fn at(&self, offset: usize) -> &[u8] {
        self.buffer[offset..].split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// Returns where a string lies, adding it if it is no tail of another.
    fn add(&mut self, text: &[u8]) -> usize {
        if text.is_empty() {
            return 0;
        }
        let mut at = 0;
        for depth in 0..=text.len() {
            let tail = &self.tails[at];
            let end = tail.offset + tail.len;
            if depth == text.len() || (tail.len >= text.len() && self.buffer[end - text.len()..end] == *text) {
                return end - text.len();
            }
            match tail.children.get(&text[text.len() - 1 - depth]) {
                Some(child) => at = *child,
                None => {
                    let offset = self.buffer.len();
                    self.buffer.extend_from_slice(text);
                    self.buffer.push(0);
                    self.tails.push(Tail { offset, len: text.len(), children: BTreeMap::new() });
                    let child = self.tails.len() - 1;
                    self.tails[at].children.insert(text[text.len() - 1 - depth], child);
                    return offset;
                }
            }
        }
        unreachable!("invariant: the walk returns at the latest when the text is used up")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_lines_are_told_and_passed_over() {
        let mut hwdb = Hwdb::new();
        let text = b"# x\n A=1\nm:a*\nm:b* # c\n A=1\n B\n  =3\nm:c*\n\nm:d*\n\nm:e*\n C=2\n";
        let wrong: Vec<u32> = hwdb.add_file("f", text).into_iter().map(|(line, _)| line).collect();
        assert_eq!(wrong, [2, 6, 7, 8, 11]);
        assert_eq!(hwdb.len(), 3);
    }

    #[test]
    fn a_string_that_ends_another_is_not_stored_again() {
        let mut strings = Strings::new();
        let whole = strings.add(b"keyboard");
        assert_eq!(strings.add(b"board"), whole + 3);
        assert_eq!(strings.add(b"keyboard"), whole);
        assert_eq!(strings.add(b""), 0);
        assert!(strings.add(b"keyboards") > whole);
    }

    #[test]
    fn deep_matches_need_no_stack() {
        let mut hwdb = Hwdb::new();
        for len in 1..20_000 {
            if len % 7 == 0 {
                let text = format!("{}\n A=1\n", "x".repeat(len));
                hwdb.add_file("f", text.as_bytes());
            }
        }
        assert!(hwdb.write(1).starts_with(SIGNATURE));
    }
}
