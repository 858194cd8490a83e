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
    /// A power of two of slots.
    slots: Vec<Slot>,
}

/// A place in the table. Half of the hash stands there, so that texts are looked at only where they are most likely the same.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    hash: u32,
    /// A symbol's number plus one; 0 where there is none.
    symbol: u32,
}

impl Symbols {
    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Returns the number of a name, a new one if it has none.
    pub fn intern(&mut self, texts: &Texts, index: u16, span: Span) -> u32 {
        if self.spans.len() * 2 >= self.slots.len() {
            self.grow();
        }
        let name = texts.get(index, span);
        let hash = self.hash(name);
        match self.probe(texts, hash, name) {
            Ok(symbol) => symbol,
            Err(free) => {
                self.spans.push((index, span));
                let symbol = self.spans.len() as u32;
                self.slots[free] = Slot { hash, symbol };
                symbol - 1
            }
        }
    }

    /// Returns the number of a name that has one.
    pub fn find(&self, texts: &Texts, name: &[u8]) -> Option<u32> {
        if self.slots.is_empty() { None } else { self.probe(texts, self.hash(name), name).ok() }
    }

    /// Returns a name.
    pub fn name<'t>(&self, texts: &'t Texts, symbol: u32) -> &'t [u8] {
        let (index, span) = self.spans[symbol as usize];
        texts.get(index, span)
    }

    fn hash(&self, name: &[u8]) -> u32 {
        self.hasher.hash_one(name) as u32
    }

    /// Returns the number of a name, or the slot that is free for it.
    fn probe(&self, texts: &Texts, hash: u32, name: &[u8]) -> Result<u32, usize> {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at];
            let Some(symbol) = slot.symbol.checked_sub(1) else { return Err(at) };
            if slot.hash == hash && self.name(texts, symbol) == name {
                return Ok(symbol);
            }
            at = (at + 1) & mask;
        }
    }

    fn grow(&mut self) {
        let slots = vec![Slot::default(); (self.slots.len() * 2).max(1 << 12)];
        let mask = slots.len() - 1;
        for slot in std::mem::replace(&mut self.slots, slots).into_iter().filter(|slot| slot.symbol > 0) {
            let mut at = slot.hash as usize & mask;
            while self.slots[at].symbol > 0 {
                at = (at + 1) & mask;
            }
            self.slots[at] = slot;
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
