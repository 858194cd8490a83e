//! kmod's binary index (`modules.dep.bin` and its kin): a path-compressed trie of 7-bit keys, each with values in order of priority.
//!
//! The layout is that of kmod 31 and later: big-endian, a node before its children. Older versions write children first; both are
//! read. Format: `libkmod-index` of kmod, version 2.1.

use std::cmp::Reverse;

/// The first four bytes.
const MAGIC: u32 = 0xB007_F457;
/// Major version 2, minor version 1: readers refuse another major one.
const VERSION: u32 = 0x0002_0001;
/// Magic number, version, and the offset of the root.
const HEADER_BYTES: usize = 12;
/// Keys are 7-bit: a reader indexes an array of this size with their bytes.
const ALPHABET: u8 = 128;
/// Offsets have 28 bits: the high four say what a node has.
const OFFSET_MASK: u32 = 0x0FFF_FFFF;
const HAS_PREFIX: u32 = 0x8000_0000;
const HAS_VALUES: u32 = 0x4000_0000;
const HAS_CHILDREN: u32 = 0x2000_0000;
/// The longest key that is read or written: kmod's buffers are `PATH_MAX`.
const KEY_BYTES_MAX: usize = 4095;
/// How many bytes of keys, shared beginnings counted for each node, a byte of the file may stand for. Real files have 2 at most.
const KEY_BYTES_PER_BYTE_MAX: usize = 64;

/// What an index maps a key to. Of two values with the same priority the one added later comes first.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    key: Vec<u8>,
    value: Vec<u8>,
    priority: u32,
}

/// An index being made.
#[derive(Debug, Clone, Default)]
pub struct Index {
    items: Vec<Item>,
}

/// A key cannot be in an index, or the index has become too large.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// The key or value has a byte that the format cannot hold, or is too long.
    #[error("`{0}` cannot be in a module index: it is longer than 4095 bytes or not plain ASCII")]
    Unfit(String),
    /// Offsets have 28 bits.
    #[error("a module index would be larger than 256 MiB")]
    TooLarge,
}

/// A node of the trie before it is written. Children come after their parent.
struct Node<'a> {
    prefix: &'a [u8],
    values: &'a [Item],
    /// Byte and number of each child, in order.
    children: Vec<(u8, usize)>,
    own_bytes: usize,
    total_bytes: usize,
    offset: usize,
}

impl Index {
    /// Returns an index without keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value to a key; values of a key are told in ascending order of priority.
    pub fn insert(&mut self, key: &str, value: &str, priority: u32) -> Result<(), IndexError> {
        for text in [key, value] {
            // A value is a path or a name; only keys index the reader's array, but kmod refuses both.
            if !text.is_ascii() || text.contains('\0') || (text == key && key.len() > KEY_BYTES_MAX) {
                return Err(IndexError::Unfit(text.chars().take(200).collect()));
            }
        }
        self.items.push(Item { key: key.into(), value: value.into(), priority });
        Ok(())
    }

    /// Returns the bytes of the index.
    pub fn write(self) -> Result<Vec<u8>, IndexError> {
        let mut items: Vec<(usize, Item)> = self.items.into_iter().enumerate().collect();
        items.sort_by(|(an, a), (bn, b)| (&a.key, a.priority, Reverse(an)).cmp(&(&b.key, b.priority, Reverse(bn))));
        let items: Vec<Item> = items.into_iter().map(|(_, item)| item).collect();
        let mut nodes = trie(&items);
        lay_out(&mut nodes)?;
        let mut out = Vec::with_capacity(HEADER_BYTES + nodes[0].total_bytes);
        for word in [MAGIC, VERSION, nodes[0].word()] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        for node in &nodes {
            debug_assert_eq!(node.offset, out.len());
            node.write(&nodes, &mut out);
        }
        Ok(out)
    }
}

impl Node<'_> {
    /// Returns the offset with the flags, as parents and the header hold it.
    fn word(&self) -> u32 {
        let flag = |set: bool, flag: u32| if set { flag } else { 0 };
        self.offset as u32
            | flag(!self.prefix.is_empty(), HAS_PREFIX)
            | flag(!self.values.is_empty(), HAS_VALUES)
            | flag(!self.children.is_empty(), HAS_CHILDREN)
    }

    fn measure(&self) -> usize {
        let prefix = if self.prefix.is_empty() { 0 } else { self.prefix.len() + 1 };
        let children = match (self.children.first(), self.children.last()) {
            (Some((first, _)), Some((last, _))) => 2 + 4 * (usize::from(last - first) + 1),
            _ => 0,
        };
        let values = match self.values {
            [] => 0,
            some => 4 + some.iter().map(|item| 4 + item.value.len() + 1).sum::<usize>(),
        };
        prefix + children + values
    }

    fn write(&self, nodes: &[Node<'_>], out: &mut Vec<u8>) {
        if !self.prefix.is_empty() {
            out.extend_from_slice(self.prefix);
            out.push(0);
        }
        if let (Some((first, _)), Some((last, _))) = (self.children.first(), self.children.last()) {
            out.extend_from_slice(&[*first, *last]);
            let mut children = self.children.iter().peekable();
            for byte in *first..=*last {
                let child = children.next_if(|(at, _)| *at == byte);
                out.extend_from_slice(&child.map_or(0, |(_, number)| nodes[*number].word()).to_be_bytes());
            }
        }
        if !self.values.is_empty() {
            out.extend_from_slice(&(self.values.len() as u32).to_be_bytes());
            for item in self.values {
                out.extend_from_slice(&item.priority.to_be_bytes());
                out.extend_from_slice(&item.value);
                out.push(0);
            }
        }
    }
}

/// A node to be built: its items, how much of their keys is used up, its parent's number and the byte that leads to it.
type Pending<'a> = (&'a [Item], usize, Option<(usize, u8)>);

/// Builds the nodes from sorted items, in the order of the file: each followed by all that is below it. The root never has a prefix, even if all keys begin alike.
fn trie(items: &[Item]) -> Vec<Node<'_>> {
    let mut nodes = Vec::new();
    let mut todo: Vec<Pending<'_>> = vec![(items, 0, None)];
    while let Some((items, depth, parent)) = todo.pop() {
        let number = nodes.len();
        let common = match (parent, items.first(), items.last()) {
            // Sorted: what the first and the last have in common, all have.
            (Some(_), Some(first), Some(last)) => {
                first.key[depth..].iter().zip(&last.key[depth..]).take_while(|(a, b)| a == b).count()
            }
            _ => 0,
        };
        let prefix = items.first().map_or(&[][..], |item| &item.key[depth..depth + common]);
        let end = depth + common;
        let here = items.iter().take_while(|item| item.key.len() == end).count();
        nodes.push(Node { prefix, values: &items[..here], children: Vec::new(), own_bytes: 0, total_bytes: 0, offset: 0 });
        if let Some((parent, byte)) = parent {
            let parent: &mut Node<'_> = &mut nodes[parent];
            parent.children.push((byte, number));
        }
        let mut groups: Vec<&[Item]> = items[here..].chunk_by(|a, b| a.key[end] == b.key[end]).collect();
        groups.reverse();
        todo.extend(groups.into_iter().map(|group| (group, end + 1, Some((number, group[0].key[end])))));
    }
    nodes
}

/// Gives each node its size and place.
fn lay_out(nodes: &mut [Node<'_>]) -> Result<(), IndexError> {
    for number in (0..nodes.len()).rev() {
        let own = nodes[number].measure();
        let below: usize = nodes[number].children.iter().map(|(_, child)| nodes[*child].total_bytes).sum();
        nodes[number].own_bytes = own;
        nodes[number].total_bytes = own + below;
    }
    if HEADER_BYTES + nodes[0].total_bytes > OFFSET_MASK as usize {
        return Err(IndexError::TooLarge);
    }
    nodes[0].offset = HEADER_BYTES;
    for number in 0..nodes.len() {
        let mut at = nodes[number].offset + nodes[number].own_bytes;
        for child in 0..nodes[number].children.len() {
            let child = nodes[number].children[child].1;
            nodes[child].offset = at;
            at += nodes[child].total_bytes;
        }
    }
    Ok(())
}

/// The bytes are not an index.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Another magic number or major version.
    #[error("it is not a module index of version 2")]
    NotAnIndex,
    /// An offset or string leads out of the file, in a circle, or a number is absurd.
    #[error("the module index is damaged at byte {0}")]
    Damaged(usize),
}

/// A key with its values and their priorities.
pub type Found = (Vec<u8>, Vec<(u32, Vec<u8>)>);

/// Reads all keys of an index, in order, whatever layout it has.
pub fn read(bytes: &[u8]) -> Result<Vec<Found>, ReadError> {
    let word = |at: usize| -> Result<u32, ReadError> {
        let four = bytes.get(at..at.saturating_add(4)).ok_or(ReadError::Damaged(at))?;
        Ok(u32::from_be_bytes(four.try_into().expect("invariant: four bytes")))
    };
    if word(0) != Ok(MAGIC) || word(4).map(|version| version >> 16) != Ok(VERSION >> 16) {
        return Err(ReadError::NotAnIndex);
    }
    let string = |at: usize| -> Result<&[u8], ReadError> {
        let rest = bytes.get(at..).ok_or(ReadError::Damaged(at))?;
        let end = rest.iter().position(|byte| *byte == 0).ok_or(ReadError::Damaged(at))?;
        Ok(&rest[..end])
    };
    let mut found = Vec::new();
    // In a sound file keys are not much longer than what they share the file with: more means nodes in a circle.
    let mut key_bytes_left = bytes.len().saturating_mul(KEY_BYTES_PER_BYTE_MAX);
    let mut todo = vec![(word(8)?, Vec::new())];
    while let Some((offset, mut key)) = todo.pop() {
        let mut at = (offset & OFFSET_MASK) as usize;
        key_bytes_left = key_bytes_left.checked_sub(1 + key.len()).ok_or(ReadError::Damaged(at))?;
        if offset & HAS_PREFIX != 0 {
            let prefix = string(at)?;
            key.extend_from_slice(prefix);
            at += prefix.len() + 1;
        }
        if key.len() > KEY_BYTES_MAX {
            return Err(ReadError::Damaged(at));
        }
        if offset & HAS_CHILDREN != 0 {
            let (first, last) = match bytes.get(at..at + 2) {
                Some([first, last]) if first <= last && *last < ALPHABET => (*first, *last),
                _ => return Err(ReadError::Damaged(at)),
            };
            at += 2;
            for byte in (first..=last).rev() {
                let child = word(at + 4 * usize::from(byte - first))?;
                if child & !OFFSET_MASK != 0 {
                    todo.push((child, [key.as_slice(), &[byte]].concat()));
                }
            }
            at += 4 * (usize::from(last - first) + 1);
        }
        if offset & HAS_VALUES != 0 {
            let count = word(at)? as usize;
            at += 4;
            let mut values = Vec::new();
            for _ in 0..count {
                let priority = word(at)?;
                let value = string(at + 4)?;
                at += 4 + value.len() + 1;
                values.push((priority, value.to_vec()));
            }
            found.push((key, values));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(items: &[(&str, &str, u32)]) -> Vec<u8> {
        let mut index = Index::new();
        for (key, value, priority) in items {
            index.insert(key, value, *priority).expect("a key");
        }
        index.write().expect("a small index")
    }

    #[test]
    fn an_index_can_be_read_back() {
        let bytes =
            index(&[("usb:b*", "two", 7), ("usb:a*", "x", 1), ("usb:b*", "one", 3), ("usb:b*", "late", 7), ("u", "y", 0)]);
        let one = |priority: u32, value: &str| (priority, value.as_bytes().to_vec());
        let expected: Vec<Found> = vec![
            (b"u".to_vec(), vec![one(0, "y")]),
            (b"usb:a*".to_vec(), vec![one(1, "x")]),
            (b"usb:b*".to_vec(), vec![one(3, "one"), one(7, "late"), one(7, "two")]),
        ];
        assert_eq!(read(&bytes), Ok(expected));
    }

    #[test]
    fn an_empty_index_is_a_header() {
        let bytes = index(&[]);
        assert_eq!(bytes, [0xb0, 0x07, 0xf4, 0x57, 0, 2, 0, 1, 0, 0, 0, 12]);
        assert_eq!(read(&bytes), Ok(Vec::new()));
    }

    #[test]
    fn b07_damaged_indexes_end_with_an_error() {
        let good = index(&[("abc", "one", 1), ("abd", "two", 2), ("x", "three", 3)]);
        assert_eq!(read(b"not an index"), Err(ReadError::NotAnIndex));
        for end in 12..good.len() {
            assert!(matches!(read(&good[..end]), Err(ReadError::Damaged(_))), "cut at {end}");
        }
        // The root's first child is the root: a circle.
        let mut circle = good.clone();
        let root: [u8; 4] = circle[8..12].try_into().expect("four bytes");
        circle[14..18].copy_from_slice(&root);
        assert!(matches!(read(&circle), Err(ReadError::Damaged(_))));
    }

    #[test]
    fn what_the_format_cannot_hold_is_refused() {
        let long = "x".repeat(KEY_BYTES_MAX + 1);
        for key in ["ü", "a\0b", &long] {
            assert!(matches!(Index::new().insert(key, "v", 0), Err(IndexError::Unfit(_))));
        }
    }
}
