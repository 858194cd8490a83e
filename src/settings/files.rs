//! Files that enter as they are, by the declared list: options of modules, settings of the kernel, of arrays, volumes and networks.

use super::layer::{self, Layer};
use super::{Ask, Error};
use crate::base::limit;
use crate::host::declared::{self, Need};

/// Lays what the list and the features ask for.
pub(super) fn lay(ask: &Ask<'_>, layer: &mut Layer) -> Result<(), Error> {
    for file in &ask.facts.files {
        let Some(declared) = declared::find(&file.path) else { continue };
        let wanted = match declared.need {
            Need::Always => true,
            Need::Feature(features) => features.iter().any(|feature| ask.is_on(feature)),
            Need::Named | Need::Read => false,
        };
        if !wanted || is_laid_elsewhere(&file.path) {
            continue;
        }
        let Some(found) = layer::find(ask.facts, &file.path, declared.why, limit::TEXT_BYTES_MAX)? else {
            ask.tell(&format!("`{}` is a link to a file that may not enter, or to none", file.path));
            continue;
        };
        if says_something(&found.bytes) {
            layer.lay(&file.path, found, declared.secrecy)?;
        }
    }
    Ok(())
}

/// Of crypttab and maps not the whole enters.
fn is_laid_elsewhere(path: &str) -> bool {
    path == "/etc/crypttab" || path.starts_with("/etc/console-setup/") || path.starts_with("/usr/")
}

/// Tells whether a file has more than comments, blank lines and the braces of empty sections: distributions ship many that do not.
fn says_something(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return true };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';']));
    lines.into_iter().any(|line| line != "}" && !line.ends_with('{'))
}

#[cfg(test)]
mod tests {
    use super::says_something;

    #[test]
    fn files_of_comments_say_nothing() {
        let table = [
            ("", false),
            ("# options foo bar=1\n\n  ; x\n", false),
            ("config {\n\t# checks = 1\n}\ndevices {\n}\n", false),
            ("devices {\n\tuse_devicesfile = 1\n}\n", true),
            ("blacklist pcspkr\n", true),
            ("\u{0}", true),
        ];
        for (text, expected) in table {
            assert_eq!(says_something(text.as_bytes()), expected, "{text:?}");
        }
        assert!(says_something(&[0xff, 0x23]));
    }
}
