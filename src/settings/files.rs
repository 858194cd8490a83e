//! Files that enter as they are, by the declared list: options of modules, settings of the kernel, of arrays, volumes and networks.

use super::layer::{self, Layer};
use super::{Ask, Error};
use crate::base::limit;
use crate::host::declared::{self, Need};
use crate::host::facts::FileContent;

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
        // A mask: without it the package's file of that name would count.
        if matches!(&file.content, FileContent::Link(target) if target == "/dev/null") {
            layer.link(&file.path, "/dev/null", &file.path)?;
            continue;
        }
        // Whoever looked at the machine was told what will be missing.
        if matches!(file.content, FileContent::Unread(_)) {
            continue;
        }
        let Some(found) = layer::find(ask.facts, &file.path, declared.why, limit::TEXT_BYTES_MAX)? else {
            ask.tell(&format!("`{}` is a link to a file that may not enter, or to none", file.path));
            continue;
        };
        if declared::says_something(&found.bytes) {
            layer.lay(&file.path, found, declared.secrecy)?;
        }
    }
    Ok(())
}

/// Of crypttab and maps not the whole enters.
fn is_laid_elsewhere(path: &str) -> bool {
    path == "/etc/crypttab" || path.starts_with("/etc/console-setup/") || path.starts_with("/usr/")
}
