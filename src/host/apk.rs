//! What the machine's apk knows: its repositories. Read only, and without any lock.

use std::path::Path;

use crate::base::fs::{self, FileError};
use crate::base::limit;

/// Returns the repositories files, path on the machine and text, in the order in which apk reads them.
pub fn repositories(root: &Path) -> Result<Vec<(String, String)>, FileError> {
    let mut paths = vec![root.join("etc/apk/repositories")];
    for dir in ["etc/apk/repositories.d", "lib/apk/repositories.d"] {
        let found = fs::list(&root.join(dir))?;
        paths.extend(found.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "list")));
    }
    let mut files = Vec::new();
    for path in paths {
        if let Some(bytes) = fs::read_optional(&path, limit::TEXT_BYTES_MAX)? {
            let inside = path.strip_prefix(root).unwrap_or(&path);
            files.push((format!("/{}", inside.display()), String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    Ok(files)
}
