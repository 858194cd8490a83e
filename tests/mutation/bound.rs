//! What a parser may cost.

use crate::memory;
use crate::targets::Target;

/// What it may take whatever its input is: tables, decompressors' windows.
const BASE_BYTES: usize = 4 << 20;
/// What it may take for each byte of input, decompressed.
const BYTES_PER_BYTE: usize = 32;

/// What came of an input.
#[allow(dead_code, reason = "libFuzzer's programs look at neither")]
pub struct Cost {
    pub accepted: bool,
    pub peak_bytes: usize,
}

/// Lets a target read an input. Panics if that took more memory than the input is worth.
pub fn read(target: &Target, input: &[u8]) -> Cost {
    let before = memory::mark();
    let accepted = (target.parse)(input);
    let peak_bytes = memory::peak_since(before);
    let limit = BASE_BYTES + BYTES_PER_BYTE * input.len();
    assert!(peak_bytes <= limit, "{}: {peak_bytes} bytes for an input of {}", target.name, input.len());
    Cost { accepted, peak_bytes }
}
