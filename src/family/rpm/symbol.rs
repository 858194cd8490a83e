//! The texts of some indexes, and numbers for the names in them.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::Arc;

use crate::package::PackageId;

/// The highest bit of a start: the text is in the arena.
const IN_ARENA: u32 = 1 << 31;

/// A stretch of an index's text, or of the arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    start: u32,
    len: u32,
}

impl Span {
    /// A stretch of an index, which is shorter than 2 GiB.
    pub fn of(range: Range<usize>) -> Self {
        Self { start: range.start as u32, len: range.len() as u32 }
    }

    fn range(self) -> Range<usize> {
        let start = (self.start & !IN_ARENA) as usize;
        start..start + self.len as usize
    }
}

/// Texts that spans point into.
#[derive(Debug, Default)]
pub struct Texts {
    /// The indexes' own; shared, so that one can be read while the arena grows.
    pub indexes: Vec<Arc<Vec<u8>>>,
    arena: Vec<u8>,
}

impl Texts {
    /// Returns the text of a span of an index.
    pub fn get(&self, index: u16, span: Span) -> &[u8] {
        match span.start & IN_ARENA {
            0 => &self.indexes[index as usize][span.range()],
            _ => &self.arena[span.range()],
        }
    }

    /// Returns it as text; what is not UTF-8 becomes a replacement character.
    pub fn str(&self, index: u16, span: Span) -> &str {
        std::str::from_utf8(self.get(index, span)).unwrap_or("\u{fffd}")
    }

    /// Keeps a text that stands in no index as it is. Nothing if the arena is full.
    pub fn keep(&mut self, text: &[u8]) -> Option<Span> {
        let start = u32::try_from(self.arena.len()).ok().filter(|start| start + (text.len() as u32) < IN_ARENA)?;
        self.arena.extend_from_slice(text);
        Some(Span { start: start | IN_ARENA, len: text.len() as u32 })
    }
}

/// Numbers for names: a hash table that copies no text. Its order is never seen.
#[derive(Debug, Default)]
pub struct Symbols {
    hasher: RandomState,
    spans: Vec<(u16, Span)>,
    /// A power of two of slots, each a symbol's number plus one.
    slots: Vec<u32>,
}

impl Symbols {
    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Returns the number of a name, a new one if it has none.
    pub fn intern(&mut self, texts: &Texts, index: u16, span: Span) -> u32 {
        if self.spans.len() * 2 >= self.slots.len() {
            self.grow(texts);
        }
        match self.probe(texts, texts.get(index, span)) {
            Ok(symbol) => symbol,
            Err(slot) => {
                self.spans.push((index, span));
                self.slots[slot] = self.spans.len() as u32;
                self.spans.len() as u32 - 1
            }
        }
    }

    /// Returns the number of a name that has one.
    pub fn find(&self, texts: &Texts, name: &[u8]) -> Option<u32> {
        if self.slots.is_empty() { None } else { self.probe(texts, name).ok() }
    }

    /// Returns a name.
    pub fn name<'t>(&self, texts: &'t Texts, symbol: u32) -> &'t [u8] {
        let (index, span) = self.spans[symbol as usize];
        texts.get(index, span)
    }

    fn probe(&self, texts: &Texts, name: &[u8]) -> Result<u32, usize> {
        let mask = self.slots.len() - 1;
        let mut slot = self.hasher.hash_one(name) as usize & mask;
        loop {
            let Some(symbol) = self.slots[slot].checked_sub(1) else { return Err(slot) };
            if self.name(texts, symbol) == name {
                return Ok(symbol);
            }
            slot = (slot + 1) & mask;
        }
    }

    fn grow(&mut self, texts: &Texts) {
        self.slots = vec![0; (self.slots.len() * 2).max(1 << 12)];
        for symbol in 0..self.spans.len() as u32 {
            if let Err(slot) = self.probe(texts, self.name(texts, symbol)) {
                self.slots[slot] = symbol + 1;
            }
        }
    }
}

/// Package numbers by symbol, in one allocation.
#[derive(Debug, Default)]
pub struct Groups {
    starts: Vec<u32>,
    ids: Vec<PackageId>,
}

impl Groups {
    /// Sorts pairs by symbol, keeping their order within one.
    pub fn new(symbols: usize, pairs: &[(u32, PackageId)]) -> Self {
        let mut starts = vec![0_u32; symbols + 1];
        for &(symbol, _) in pairs {
            starts[symbol as usize + 1] += 1;
        }
        for symbol in 0..symbols {
            starts[symbol + 1] += starts[symbol];
        }
        let mut next = starts.clone();
        let mut ids = vec![0; pairs.len()];
        for &(symbol, id) in pairs {
            ids[next[symbol as usize] as usize] = id;
            next[symbol as usize] += 1;
        }
        Self { starts, ids }
    }

    /// Returns the packages of a symbol.
    pub fn get(&self, symbol: u32) -> &[PackageId] {
        &self.ids[self.starts[symbol as usize] as usize..self.starts[symbol as usize + 1] as usize]
    }

    /// Sorts the packages of each symbol.
    pub fn sort_each(&mut self, compare: impl Fn(&PackageId, &PackageId) -> std::cmp::Ordering) {
        for bounds in self.starts.windows(2) {
            let group = &mut self.ids[bounds[0] as usize..bounds[1] as usize];
            if group.len() > 1 {
                group.sort_by(&compare);
            }
        }
    }
}
