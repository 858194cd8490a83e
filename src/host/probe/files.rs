//! Files of the machine's configuration that an image may need: the declared list, the files that crypttab names, the keymap.

use std::collections::BTreeMap;

use super::blocks;
use super::keymap;
use super::root::{self, Found, Root};
use super::volumes::Asked;
use crate::base::base64;
use crate::base::glob::Glob;
use crate::base::limit;
use crate::format::crypttab::{Entry, What};
use crate::host::declared::{DECLARED, Declared, Need, is_never, says_something};
use crate::host::facts::{Block, FileContent, HostFile};

/// Files read so far, by path.
pub struct Collection<'a> {
    root: &'a Root,
    files: BTreeMap<String, HostFile>,
}

/// Returns all files, sorted by path.
pub fn files(root: &Root, asked: &Asked, blocks: &[Block]) -> Vec<HostFile> {
    let mut collection = Collection { root, files: BTreeMap::new() };
    // Keys are taken as entries of crypttab name them, maps and fonts as the console's configuration does.
    for declared in DECLARED.iter().filter(|declared| declared.need != Need::Named && !declared.paths.starts_with("/usr/")) {
        for path in paths(root, declared.paths) {
            collection.declared(&path, declared);
        }
    }
    let opened = blocks::opened(blocks);
    for line in asked.crypttab.iter().filter(|line| line.is_marked() || opened.contains(line.name.as_str())) {
        collection.keys(&line.entry);
    }
    keymap::collect(&mut collection);
    collection.files.into_values().collect()
}

/// Returns the paths that a declared pattern means: itself, or what matches it at most two directories down.
fn paths(root: &Root, pattern: &str) -> Vec<String> {
    let Some(wild) = pattern.find(['*', '{']) else { return vec![pattern.to_owned()] };
    let top = pattern[..wild].rsplit_once('/').map(|(top, _)| top).unwrap_or_default();
    let glob = Glob::new(pattern.trim_start_matches('/')).expect("invariant: the globs of the list are well-formed");
    let mut found = Vec::new();
    for name in root.names(top) {
        let path = format!("{top}/{name}");
        if root.has_directory(&path) {
            found.extend(root.names(&path).into_iter().map(|name| format!("{path}/{name}")));
        } else {
            found.push(path);
        }
    }
    found.retain(|path| glob.matches(path.trim_start_matches('/').as_bytes()));
    found
}

impl Collection<'_> {
    /// Returns the text of a file that was taken.
    pub fn text(&self, path: &str) -> Option<&str> {
        match &self.files.get(path)?.content {
            FileContent::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the machine.
    pub fn root(&self) -> &Root {
        self.root
    }

    fn declared(&mut self, path: &str, declared: &Declared) {
        let missing = format!("it will be missing: {}", declared.why);
        // LVM's is large and says nothing as it is shipped; of others, small as they are, all is told.
        let is_worth = |bytes: &[u8]| !path.starts_with("/etc/lvm/") || says_something(bytes);
        self.take(path, &missing, limit::TEXT_BYTES_MAX, &is_worth, &|mode, bytes| declared.is_secret(mode, bytes));
    }

    /// Takes a file that is no secret and returns its content.
    pub fn public(&mut self, path: &str, missing: &str) -> Option<Vec<u8>> {
        self.take(path, missing, limit::TEXT_BYTES_MAX, &|_| true, &|_, _| false)
    }

    fn take(
        &mut self,
        path: &str,
        missing: &str,
        size_bytes_max: u64,
        is_worth: &dyn Fn(&[u8]) -> bool,
        is_secret: &dyn Fn(u32, &[u8]) -> bool,
    ) -> Option<Vec<u8>> {
        if self.files.len() >= limit::CONFIG_FILES_MAX {
            self.root.gap("there are more files of configuration than can be taken: some will be missing");
            return None;
        }
        match self.root.file(path, size_bytes_max) {
            Found::Absent => None,
            Found::Masked => {
                let content = FileContent::Link("/dev/null".to_owned());
                self.files.insert(path.to_owned(), HostFile { path: path.to_owned(), mode: 0o777, content, secret: false });
                None
            }
            Found::Unreadable(why) => {
                self.root.gap(root::unreadable(path, &why, missing));
                self.unread(path, why);
                None
            }
            Found::File { real, .. } if [path, &real].iter().any(|path| is_never(path)) => {
                self.root.gap(format!("`{path}` is not taken, as it must not enter an image: {missing}"));
                self.unread(path, "it leads to a file that must not enter an image".to_owned());
                None
            }
            Found::File { bytes, mode, .. } => {
                if !is_worth(&bytes) {
                    return None;
                }
                let secret = is_secret(mode, &bytes);
                let file = HostFile { path: path.to_owned(), mode, content: content(&bytes), secret };
                self.files.insert(path.to_owned(), file);
                Some(bytes)
            }
        }
    }

    /// Notes that there is a file whose content is not known.
    fn unread(&mut self, path: &str, why: String) {
        let content = FileContent::Unread(why);
        self.files.insert(path.to_owned(), HostFile { path: path.to_owned(), mode: 0, content, secret: false });
    }

    /// The files that a crypttab entry names, and a key by the entry's name.
    fn keys(&mut self, entry: &Entry) {
        let missing = format!("`{}` cannot be opened without it", entry.name);
        for named in entry.files() {
            let size_bytes_max = if named.what == What::Header { limit::LUKS_HEADER_BYTES_MAX } else { limit::KEY_BYTES_MAX };
            if !named.optional && !self.root.has(&named.path) {
                self.root.gap(format!("`{}` does not exist: {missing}", named.path));
            }
            let is_policy = named.what == What::Policy;
            self.take(&named.path, &missing, size_bytes_max, &|_| true, &|mode, _| !is_policy || mode & 0o004 == 0);
        }
    }
}

fn content(bytes: &[u8]) -> FileContent {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => FileContent::Text(text.to_owned()),
        _ => FileContent::Base64(base64::encode(bytes)),
    }
}
