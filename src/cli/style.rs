//! Colours, where they are wanted.

use std::io::IsTerminal;

use super::args::Color;

/// Colours or none.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    colored: bool,
}

impl Style {
    /// Returns the style for messages on standard error.
    pub fn for_stderr(color: Color) -> Self {
        let terminal = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { colored: color == Color::Always || (color == Color::Auto && terminal) }
    }

    /// Returns no colours.
    pub fn plain() -> Self {
        Self { colored: false }
    }

    /// Red and bold.
    pub fn error(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    /// Yellow and bold.
    pub fn warning(self, text: &str) -> String {
        self.paint("1;33", text)
    }

    /// Cyan.
    pub fn hint(self, text: &str) -> String {
        self.paint("36", text)
    }

    /// Bold.
    pub fn name(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colored { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
