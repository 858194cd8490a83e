//! `/etc/crypttab`: the entries that the image has to open, with their keys and headers.
//!
//! An entry is needed if it says so (`x-initrd.attach`, Debian's `initramfs`) or if a volume that has to be reached lies on it: the
//! tools of Debian take the root's entry without any mark, so crypttabs of Debian have none.

use std::collections::BTreeMap;

use super::layer::{self, Layer};
use super::{Ask, Error};
use crate::base::limit;
use crate::format::crypttab::{self, Entry, Meaning, Named, NoEntry, What};
use crate::host::declared::Secrecy;
use crate::host::facts::{BlockKind, Facts, Role, Volume};

const PATH: &str = "/etc/crypttab";
/// Options that only work with the libraries of a feature.
const TOKENS: [(&str, &str); 3] = [("tpm2-device", "tpm2"), ("fido2-device", "fido2"), ("pkcs11-uri", "pkcs11")];

/// Lays the entries that are needed.
pub(super) fn lay(ask: &Ask<'_>, layer: &mut Layer) -> Result<(), Error> {
    let under = mappings(ask.facts);
    let text = text(ask, under.values().next().copied())?;
    let mut lines = String::new();
    let mut named = Vec::new();
    for entry in crypttab::parse(&String::from_utf8_lossy(&text)) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(NoEntry { line }) => {
                ask.warn(&format!("{PATH}:{line} has no device, and systemd ignores it"));
                continue;
            }
        };
        let because = match under.get(entry.name.as_str()) {
            Some(volume) => format!("{} lies on it", shown(volume)),
            None if entry.is_marked() => "it is marked for the initrd".to_owned(),
            None => continue,
        };
        named.push(entry.name.clone());
        if !ask.is_on("luks") {
            ask.warn(&format!("`{}` is not opened although {because}: the feature `luks` is off", entry.name));
            continue;
        }
        ask.tell(&format!("`{}` of {PATH}:{} is taken: {because}", entry.name, entry.line));
        let entry = translated(ask, entry)?;
        bring(ask, layer, &entry)?;
        lines.push_str(&entry.to_line());
    }
    for (name, volume) in under.iter().filter(|(name, _)| !named.iter().any(|taken| taken == *name)) {
        warn_unnamed(ask, name, volume);
    }
    if !lines.is_empty() {
        // Whoever may read the image may read the names; systemd itself runs as root.
        layer.put(PATH, PATH, lines.into_bytes(), 0o644, false)?;
    }
    Ok(())
}

/// Returns the file. One that cannot be read matters if it would say how to open what a volume lies on.
fn text(ask: &Ask<'_>, volume: Option<&Volume>) -> Result<Vec<u8>, Error> {
    let by = volume.map_or_else(|| "the image".to_owned(), shown);
    match layer::find(ask.facts, PATH, &by, limit::TEXT_BYTES_MAX) {
        Ok(found) => Ok(found.map(|found| found.bytes).unwrap_or_default()),
        Err(Error::Unread { .. }) if volume.is_none() => Ok(Vec::new()),
        Err(err) => Err(err),
    }
}

/// Returns the mappings that have to be opened, by their names, each with a volume that needs it.
fn mappings(facts: &Facts) -> BTreeMap<&str, &Volume> {
    let mut found = BTreeMap::new();
    for volume in &facts.volumes {
        let attached = volume.name.as_deref().filter(|_| volume.role == Role::Attach);
        let crypts = facts.stack_of(volume).into_iter().filter(|block| block.kind == BlockKind::Crypt);
        for name in crypts.filter_map(|block| block.mapped.as_deref()).chain(attached) {
            found.entry(name).or_insert(volume);
        }
    }
    found
}

fn shown(volume: &Volume) -> String {
    match (&volume.target, volume.role) {
        (Some(target), _) => format!("`{target}`"),
        (None, Role::Resume) => "the swap to resume from".to_owned(),
        (None, _) => format!("`{}`", volume.source),
    }
}

fn warn_unnamed(ask: &Ask<'_>, name: &str, volume: &Volume) {
    let by_command_line =
        ask.facts.command_line.split_whitespace().any(|word| word.trim_start_matches("rd.").starts_with("luks."));
    // systemd-gpt-auto-generator finds a root by the type of its partition and gives it this name.
    if !by_command_line && name != "root" && volume.role != Role::Attach {
        let message = format!(
            "{} lies on `{name}`, which neither {PATH} nor the kernel command line (`rd.luks.name=`) says how to open",
            shown(volume)
        );
        ask.warn(&message);
    }
}

/// Returns the entry in systemd's words; fails if systemd would understand it otherwise than it is meant.
fn translated(ask: &Ask<'_>, mut entry: Entry) -> Result<Entry, Error> {
    if let Some(text) = entry.beyond {
        return Err(Error::Beyond { entry: entry.name, text, line: entry.line });
    }
    let mut kept = Vec::new();
    for option in std::mem::take(&mut entry.options) {
        match crypttab::meaning(&option) {
            Meaning::Known => kept.push(option),
            Meaning::Attach => {}
            Meaning::Idle => {
                ask.tell(&format!("`{option}` of the entry `{}` says nothing to systemd and is left out", entry.name))
            }
            Meaning::Unknown => return Err(Error::Option { entry: entry.name, option, line: entry.line }),
        }
    }
    if !kept.iter().any(|option| option == "x-initrd.attach") {
        kept.push("x-initrd.attach".to_owned());
    }
    entry.options = kept;
    for (option, feature) in TOKENS {
        if entry.values(option).next().is_some() && !ask.is_on(feature) {
            let message = format!(
                "the entry `{}` has `{option}=`, but the feature `{feature}` is off: a passphrase is asked for",
                entry.name
            );
            ask.warn(&message);
        }
    }
    Ok(entry)
}

/// Lays the files that an entry names.
fn bring(ask: &Ask<'_>, layer: &mut Layer, entry: &Entry) -> Result<(), Error> {
    if let Some((what, text)) = entry.misnamed() {
        return Err(Error::NoPath { entry: entry.name.clone(), what: what.name(), text: text.to_owned(), line: entry.line });
    }
    let by = format!("the entry `{}` in {PATH}:{}", entry.name, entry.line);
    for Named { path, what, optional } in entry.files() {
        let bytes_max = if what == What::Header { limit::LUKS_HEADER_BYTES_MAX } else { limit::KEY_BYTES_MAX };
        let Some(found) = layer::find(ask.facts, &path, &by, bytes_max)? else {
            // A key by the entry's name that is a link to nothing is wanted all the same.
            if optional && ask.facts.file(&path).is_none() {
                continue;
            }
            return Err(Error::Missing { path, by });
        };
        // Policies of a TPM are signed or sealed: others may read them.
        let secrecy = if what == What::Policy { Secrecy::AsOnDisk } else { Secrecy::Secret };
        if secrecy == Secrecy::Secret && found.file.mode & 0o077 != 0 {
            let (path, mode) = (&found.file.path, found.file.mode & 0o7777);
            ask.warn(&format!(
                "others may read or write the key `{path}` on this machine (mode {mode:04o}): `chmod 0600 {path}`"
            ));
        }
        layer.lay(&path, found, secrecy)?;
    }
    Ok(())
}
