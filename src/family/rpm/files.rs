//! Finds in `filelists.xml` which packages have a path.

use std::collections::HashMap;

use memchr::memmem;

use super::xml;
use crate::package::PackageId;

/// Where each package's list of files stands; nothing of it is indexed, for hardly any path is ever asked for.
#[derive(Debug, Default)]
pub struct Files {
    texts: Vec<Vec<u8>>,
    /// Where each list begins and whose it is, by text, ascending.
    lists: Vec<Vec<(usize, PackageId)>>,
}

impl Files {
    /// Looks through the texts once. `ids` tells the packages of a digest, `index` the text that a package belongs to.
    pub fn new(texts: &[Vec<u8>], ids: &HashMap<&[u8], Vec<PackageId>>, index: impl Fn(PackageId) -> usize) -> Self {
        let mut lists = Vec::new();
        for (number, text) in texts.iter().enumerate() {
            let mut list = Vec::new();
            for at in memmem::find_iter(text, b"<package ") {
                let end = memchr::memchr(b'>', &text[at..]).map_or(text.len(), |end| at + end);
                let tag = &text[at..end];
                let digest = memmem::find(tag, b"pkgid=\"").map(|start| &tag[start + 7..]);
                let digest = digest.map_or(&b""[..], |rest| &rest[..memchr::memchr(b'"', rest).unwrap_or(0)]);
                // What belongs to no package that counts must still end the list before it.
                let mut owners = ids.get(digest).into_iter().flatten().copied().filter(|&id| index(id) == number);
                list.push((at, owners.next().unwrap_or(PackageId::MAX)));
            }
            lists.push(list);
        }
        Self { texts: texts.to_vec(), lists }
    }

    /// Returns the packages that have a path, ascending within a repository.
    pub fn with(&self, path: &[u8]) -> Vec<PackageId> {
        let mut found = Vec::new();
        let mut needle = vec![b'>'];
        needle.extend_from_slice(&escaped(path));
        needle.push(b'<');
        for (text, list) in self.texts.iter().zip(&self.lists) {
            for at in memmem::find_iter(text, &needle) {
                let place = list.partition_point(|(start, _)| *start < at);
                if let Some(&(_, id)) = place.checked_sub(1).and_then(|place| list.get(place))
                    && id != PackageId::MAX
                    && is_file(&text[..at])
                {
                    found.push(id);
                }
            }
        }
        found
    }
}

/// Tells whether what ends here is the beginning of a `<file …` tag.
fn is_file(before: &[u8]) -> bool {
    memchr::memrchr(b'<', before).is_some_and(|start| before[start..].starts_with(b"<file"))
}

/// Writes a path as XML does.
fn escaped(path: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(path.len());
    for &byte in path {
        match byte {
            b'&' => text.extend_from_slice(b"&amp;"),
            b'<' => text.extend_from_slice(b"&lt;"),
            b'>' => text.extend_from_slice(b"&gt;"),
            byte => text.push(byte),
        }
    }
    debug_assert_eq!(xml::decode(&text).as_ref(), path);
    text
}
