//! Sizes as people read them: decimal units, as package managers and disks use.

use std::fmt;

/// Shows a number of bytes as `841 B`, `12.3 kB`, `41.4 MB` (1 MB = 10^6 bytes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
        let text = match units.iter().find(|(unit, _)| self.0 >= *unit) {
            Some((unit, name)) => format!("{:.1} {name}", self.0 as f64 / *unit as f64),
            None => format!("{} B", self.0),
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        for (bytes, text) in [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (41_449_000, "41.4 MB"), (3_000_000_000, "3.0 GB")] {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }
}
