//! The keyboard's map, so that a passphrase is typed as everywhere else.
//!
//! Debian's systemd is built without systemd-vconsole-setup, and its maps are compiled out of X's by console-setup, which keeps the
//! result. So that result is brought along, and a unit that loads it with `loadkeys` before anybody asks for a passphrase. Where a map
//! has a name (`KEYMAP=` of vconsole.conf), its file and what that includes are taken.

use super::layer::{self, Layer};
use super::{Ask, Error};
use crate::base::limit;
use crate::format::compress::{Format, decode};
use crate::host::facts::FileContent;
use crate::host::keyboard::{Keyboard, keyboard};

const MAP: &str = "/etc/mkinitrd-pkg/keymap.map";
const UNIT: &str = "/etc/systemd/system/mkinitrd-pkg-keymap.service";
const WANTED: &str = "/etc/systemd/system/sysinit.target.wants/mkinitrd-pkg-keymap.service";
const CACHE: &str = "/etc/console-setup/";
/// A map of text: Debian's are 50 to 200 kB.
const MAP_BYTES_MAX: u64 = 16 << 20;

fn unit(map: &str) -> String {
    format!(
        "[Unit]\n\
         Description=Load the Keyboard's Map\n\
         DefaultDependencies=no\n\
         ConditionPathExists=/dev/tty0\n\
         Before=cryptsetup-pre.target systemd-ask-password-console.service emergency.service rescue.service\n\
         Before=initrd-switch-root.target shutdown.target\n\
         Conflicts=shutdown.target\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n\
         ExecStart=/usr/bin/loadkeys --quiet --console=/dev/tty0 {map}\n"
    )
}

/// Lays the map and the unit, if the keyboard needs one.
pub(super) fn lay(ask: &Ask<'_>, layer: &mut Layer) -> Result<(), Error> {
    let keyboard = keyboard(ask.facts);
    if keyboard.is_plain() {
        return Ok(());
    }
    if !ask.is_on("keymap") {
        ask.warn(&format!(
            "the keyboard is `{keyboard}`, and the feature `keymap` is off: passphrases are typed as on a `us` one"
        ));
        return Ok(());
    }
    let map = match named(ask, layer, &keyboard)? {
        Some(map) => map,
        None => match cached(ask, layer)? {
            Some(map) => map,
            None => {
                let message = format!(
                    "there is no map for the keyboard `{keyboard}`, so passphrases are typed as on a `us` one: \
                     install `console-setup` and have it made with `setupcon --save-only`"
                );
                ask.warn(&message);
                return Ok(());
            }
        },
    };
    layer.put(UNIT, "/etc/default/keyboard", unit(&map).into_bytes(), 0o644, false)?;
    layer.link(WANTED, "../mkinitrd-pkg-keymap.service", "/etc/default/keyboard")
}

/// Lays the map that `KEYMAP=` names, and all that came with it; returns where it lies in the image.
fn named(ask: &Ask<'_>, layer: &mut Layer, keyboard: &Keyboard) -> Result<Option<String>, Error> {
    let Some(name) = &keyboard.keymap else { return Ok(None) };
    let mut map = None;
    let files = ask.facts.files.iter().filter(|file| file.path.starts_with("/usr/") && file.path.contains("/keymaps/"));
    for file in files {
        let path = file.path.strip_suffix(".gz").unwrap_or(&file.path);
        let stem = path.rsplit('/').next().unwrap_or_default().trim_end_matches(".map").trim_end_matches(".kmap");
        if let Some(text) = text(ask, &file.path)? {
            layer.put(path, &file.path, text, 0o644, false)?;
        }
        if stem == name {
            map = Some(path.to_owned());
        }
    }
    Ok(map)
}

/// Lays the map that console-setup keeps; returns where it lies in the image.
fn cached(ask: &Ask<'_>, layer: &mut Layer) -> Result<Option<String>, Error> {
    let is_map = |path: &str| path.starts_with(CACHE) && path.ends_with(".kmap.gz");
    let mut maps: Vec<&str> = ask.facts.files.iter().map(|file| file.path.as_str()).filter(|path| is_map(path)).collect();
    // One for each character set that was ever asked for: the kernel's console is UTF-8.
    maps.sort_by_key(|path| path.contains("UTF-8"));
    let Some(path) = maps.last() else { return Ok(None) };
    let Some(text) = text(ask, path)? else { return Ok(None) };
    layer.put(MAP, path, text, 0o644, false)?;
    Ok(Some(MAP.to_owned()))
}

/// Returns a map as text: `loadkeys` would call `gzip`, which no image has.
fn text(ask: &Ask<'_>, path: &str) -> Result<Option<Vec<u8>>, Error> {
    if ask.facts.file(path).is_some_and(|file| matches!(file.content, FileContent::Unread(_))) {
        return Ok(None);
    }
    let Some(found) = layer::find(ask.facts, path, "the keyboard", limit::TEXT_BYTES_MAX)? else { return Ok(None) };
    match Format::sniff(&found.bytes) {
        Format::None => Ok(Some(found.bytes)),
        format => {
            let wrong = |source| Error::Packed { path: path.to_owned(), source };
            Ok(Some(decode::all(format, &found.bytes, MAP_BYTES_MAX).map_err(wrong)?))
        }
    }
}
