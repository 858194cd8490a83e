//! The keyboard's layout, as Debian (`/etc/default/keyboard`) and systemd (`/etc/vconsole.conf`) write it down.

use super::facts::{Facts, FileContent};

/// What a machine says of its keyboard.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Keyboard {
    /// `KEYMAP`: a map by its name, `de-latin1`.
    pub keymap: Option<String>,
    /// `XKBLAYOUT`: `de`, `us,ru`.
    pub layout: Option<String>,
    /// `XKBVARIANT`: `nodeadkeys`, `dvorak`.
    pub variant: Option<String>,
}

/// Returns what a machine says of its keyboard; `vconsole.conf` has the last word, as it has in systemd.
pub fn keyboard(facts: &Facts) -> Keyboard {
    let mut keyboard = Keyboard::default();
    for path in ["/etc/default/keyboard", "/etc/vconsole.conf"] {
        if let Some(FileContent::Text(text)) = facts.file(path).map(|file| &file.content) {
            keyboard.read(text);
        }
    }
    keyboard
}

/// Reads a line of a file that a shell could read.
fn assignment(line: &str) -> Option<(&str, String)> {
    let (name, value) = line.trim().split_once('=')?;
    let value = value.trim().trim_matches(['"', '\'']);
    (!name.starts_with('#') && !value.is_empty()).then(|| (name, value.to_owned()))
}

impl Keyboard {
    fn read(&mut self, text: &str) {
        for (name, value) in text.lines().filter_map(assignment) {
            match name {
                "KEYMAP" => self.keymap = Some(value),
                "XKBLAYOUT" => self.layout = Some(value),
                "XKBVARIANT" => self.variant = Some(value),
                _ => {}
            }
        }
    }

    /// Tells whether the kernel's own map is the right one.
    pub fn is_plain(&self) -> bool {
        match (&self.keymap, &self.layout) {
            (Some(keymap), _) => matches!(keymap.as_str(), "us" | "@kernel"),
            (None, Some(layout)) => layout == "us" && self.variant.is_none(),
            (None, None) => true,
        }
    }
}

impl std::fmt::Display for Keyboard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.keymap, &self.layout, &self.variant) {
            (Some(keymap), ..) => f.write_str(keymap),
            (None, Some(layout), Some(variant)) => write!(f, "{layout} ({variant})"),
            (None, layout, _) => f.write_str(layout.as_deref().unwrap_or("us")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_plain_or_not() {
        let table = [
            ("", true, "us"),
            ("XKBMODEL=\"pc105\"\nXKBLAYOUT=\"us\"\nXKBVARIANT=\"\"\n", true, "us"),
            ("XKBLAYOUT=\"us\"\nXKBVARIANT=\"dvorak\"\n", false, "us (dvorak)"),
            ("XKBLAYOUT=\"de\"\n", false, "de"),
            ("XKBLAYOUT='us,ru'\n", false, "us,ru"),
            ("# KEYMAP=de\nKEYMAP=us\nXKBLAYOUT=de\n", true, "us"),
            ("KEYMAP=de-latin1-nodeadkeys\n", false, "de-latin1-nodeadkeys"),
        ];
        for (text, plain, shown) in table {
            let mut keyboard = Keyboard::default();
            keyboard.read(text);
            assert_eq!((keyboard.is_plain(), keyboard.to_string().as_str()), (plain, shown), "{text}");
        }
    }
}
