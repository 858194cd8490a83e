//! What is done to an input, as a seed determines it.

/// A sequence of numbers: xorshift64*, which is the same everywhere and for ever.
pub struct Change {
    state: u64,
}

/// Numbers that parsers stumble over, as text.
const TEXTS: [&[u8]; 14] = [
    b"0",
    b"-1",
    b"4294967296",
    b"18446744073709551616",
    b"99999999999999999999999",
    b"\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"<",
    b"&#x110000;",
    b"../../x",
    b"\n\n",
    b"%NAME%\n",
    b"%",
];

impl Change {
    pub fn new(seed: u64) -> Self {
        // Neighbouring seeds have to be far apart.
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
    }

    fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 16) as usize % end.max(1)
    }

    /// Returns one of the inputs, changed in one to four places.
    pub fn apply(mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(4) {
            self.once(&mut input, corpus);
        }
        input
    }

    fn once(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let at = self.place(input.len());
        let end = (at + 1 + self.below(64)).min(input.len());
        match self.below(9) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => input[at] = self.next() as u8,
            2 => input.truncate(at),
            3 => drop(input.drain(at.min(end)..end)),
            4 => {
                let piece = input[at.min(end)..end].to_vec();
                (0..=self.below(8)).for_each(|_| drop(input.splice(at..at, piece.iter().copied())));
            }
            5 => {
                let text = TEXTS[self.below(TEXTS.len())];
                let end = if self.below(2) == 0 { at } else { (at + text.len()).min(input.len()) };
                input.splice(at..end, text.iter().copied());
            }
            6 => self.number(input, at),
            7 => {
                let other = &corpus[self.below(corpus.len())];
                let from = self.below(other.len());
                let to = (from + self.below(512)).min(other.len());
                input.splice(at.min(end)..end, other[from..to].iter().copied());
            }
            _ => {
                let value = [0u32, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x00ff_ffff][self.below(6)].to_be_bytes();
                let end = (at + 4).min(input.len());
                input[at.min(end)..end].copy_from_slice(&value[..end - at.min(end)]);
            }
        }
    }

    /// Half of the places lie near the beginning, where headers are.
    fn place(&mut self, len: usize) -> usize {
        let near = len.min(512);
        if self.below(2) == 0 { self.below(near + 1) } else { self.below(len + 1) }
    }

    /// Puts another number in the place of the next one in decimal digits.
    fn number(&mut self, input: &mut Vec<u8>, at: usize) {
        let Some(start) = input[at..].iter().position(u8::is_ascii_digit).map(|found| at + found) else { return };
        let end = input[start..].iter().position(|byte| !byte.is_ascii_digit()).map_or(input.len(), |found| start + found);
        let number = match self.below(4) {
            0 => self.next().to_string(),
            1 => "9".repeat(1 + self.below(40)),
            2 => String::new(),
            _ => (self.next() as u8).to_string(),
        };
        input.splice(start..end, number.into_bytes());
    }
}
