//! Where the dynamic loader will look for a library inside the image (`ld.so(8)`).

use std::collections::{BTreeMap, BTreeSet};

use super::links::Trail;
use super::want::logical_lines;
use crate::base::glob::Glob;
use crate::format::elf::{self, Elf, ElfError};
use crate::tree::{Tree, TreePath};

/// How deep `include` in ld.so.conf may go.
const INCLUDES_MAX: usize = 8;

/// The directories that are searched for every file, and the ELF files read so far.
pub(super) struct Libraries {
    directories: Vec<TreePath>,
    /// What `$LIB` can stand for.
    lib: Vec<Vec<u8>>,
    read: BTreeMap<TreePath, Option<Elf>>,
}

impl Libraries {
    /// Finds the directories: those of ld.so.conf, those of the architecture (`usr/lib/x86_64-linux-gnu`), and the loader's own.
    pub fn of(tree: &Tree) -> Self {
        let mut directories = configured(tree, &TreePath::literal("etc/ld.so.conf"), INCLUDES_MAX);
        let usr_lib = TreePath::literal("usr/lib");
        let triplets: Vec<&TreePath> = tree
            .children(&usr_lib)
            .map(|(path, _)| path)
            .filter(|path| Glob::new("*-linux-*").is_ok_and(|glob| glob.matches(path.name())))
            .collect();
        let lib =
            triplets.iter().map(|path| [b"lib/", path.name()].concat()).chain([b"lib64".to_vec(), b"lib".to_vec()]).collect();
        directories.extend(triplets.into_iter().cloned());
        directories.extend(["usr/lib64", "usr/lib", "lib64", "lib"].map(TreePath::literal));
        let mut seen = BTreeSet::new();
        directories.retain(|directory| seen.insert(directory.clone()));
        Self { directories, lib, read: BTreeMap::new() }
    }

    /// Returns what an ELF file says of itself, nothing if it is none. Each file is read once.
    pub fn elf(&mut self, tree: &Tree, path: &TreePath) -> Result<Option<&Elf>, ElfError> {
        if !self.read.contains_key(path) {
            let found =
                tree.get(path).and_then(|entry| entry.content()).map_or(Ok(None), |content| elf::read(content.bytes()))?;
            self.read.insert(path.clone(), found);
        }
        Ok(self.read.get(path).and_then(Option::as_ref))
    }

    /// Returns what was found by an earlier [`Self::elf`].
    pub fn known(&self, path: &TreePath) -> Option<&Elf> {
        self.read.get(path).and_then(Option::as_ref)
    }

    /// Returns where the loader looks for `name`, needed by `user`, in order.
    pub fn places(&self, name: &[u8], user: &TreePath, of: &Elf) -> Vec<TreePath> {
        if name.contains(&b'/') {
            return TreePath::root().link_target(name).into_iter().collect();
        }
        let own = if of.runpath.is_empty() { &of.rpath } else { &of.runpath };
        let own = own.iter().flat_map(|directory| self.expand(directory, user));
        own.chain(self.directories.iter().cloned()).filter_map(|directory| directory.join(name).ok()).collect()
    }

    /// Returns the way to the library that the loader takes for `name`, needed by `user`: class, byte order and machine must fit.
    pub fn find(&mut self, tree: &Tree, name: &[u8], user: &TreePath, of: &Elf) -> Option<Trail> {
        let trails = self.places(name, user, of).into_iter().map(|place| Trail::follow(tree, &place));
        trails.filter(|trail| trail.is_there(tree)).find(|trail| {
            // A file that cannot be read is no library; it is reported when something keeps it.
            self.elf(tree, &trail.end).ok().flatten().is_some_and(|library| library.fits(of))
        })
    }

    /// Replaces `$ORIGIN` and `$LIB` in a directory of RUNPATH or RPATH.
    fn expand(&self, directory: &[u8], user: &TreePath) -> Vec<TreePath> {
        let text = String::from_utf8_lossy(directory).replace("${ORIGIN}", "$ORIGIN").replace("${LIB}", "$LIB");
        let libs: Vec<_> = match text.contains("$LIB") {
            true => self.lib.iter().map(|lib| text.replace("$LIB", &String::from_utf8_lossy(lib))).collect(),
            false => vec![text],
        };
        let places = libs.into_iter().filter_map(|text| match text.strip_prefix("$ORIGIN") {
            Some(rest) => user.link_target(format!("./{}", rest.trim_start_matches('/')).as_bytes()).ok(),
            None => TreePath::root().link_target(text.as_bytes()).ok(),
        });
        places.filter(|place| !place.as_bytes().contains(&b'$')).collect()
    }
}

/// Returns the directories that ld.so.conf names, `include` followed.
fn configured(tree: &Tree, path: &TreePath, depth: usize) -> Vec<TreePath> {
    let Some(content) = tree.read(path).filter(|_| depth > 0) else { return Vec::new() };
    let mut directories = Vec::new();
    for line in logical_lines(content.bytes(), b"#") {
        // Here a comment may also stand behind a directory.
        let line = line.split(|byte| *byte == b'#').next().unwrap_or_default().trim_ascii();
        match line.strip_prefix(b"include").filter(|rest| rest.first().is_some_and(u8::is_ascii_whitespace)) {
            Some(pattern) => {
                let pattern = String::from_utf8_lossy(pattern.trim_ascii()).into_owned();
                let pattern = if pattern.starts_with('/') { pattern } else { format!("etc/{pattern}") };
                let Ok(glob) = Glob::new(&pattern) else { continue };
                let files = tree.iter().map(|(path, _)| path).filter(|path| glob.matches(path.as_bytes()));
                directories.extend(files.flat_map(|file| configured(tree, file, depth - 1)));
            }
            None => directories.extend(TreePath::parse(line)),
        }
    }
    directories
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Entry, Origin};

    const MADE: Origin = Origin::Made("test");

    fn path(text: &str) -> TreePath {
        TreePath::literal(text)
    }

    #[test]
    fn ld_so_conf_and_its_includes_are_read() {
        let mut tree = Tree::new();
        for (name, text) in [
            ("etc/ld.so.conf", "include ld.so.conf.d/*.conf\n/opt/lib # a comment\n"),
            ("etc/ld.so.conf.d/a.conf", "# comment\n/usr/local/lib\n"),
            ("etc/ld.so.conf.d/b.conf", "include /etc/ld.so.conf\n/usr/lib/b\n"),
        ] {
            tree.insert(&path(name), Entry::file(text, MADE)).expect(name);
        }
        tree.insert(&path("usr/lib/x86_64-linux-gnu"), Entry::dir(MADE)).expect("a directory");
        let found = Libraries::of(&tree).directories;
        let names: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(names[..3], ["/usr/local/lib", "/usr/lib/b", "/opt/lib"]);
        assert!(found.contains(&path("usr/lib/x86_64-linux-gnu")));
        assert!(found.contains(&path("usr/lib64")));
    }

    #[test]
    fn run_paths_are_expanded() {
        let mut tree = Tree::new();
        tree.insert(&path("usr/lib/aarch64-linux-gnu"), Entry::dir(MADE)).expect("a directory");
        let libraries = Libraries::of(&tree);
        let user = path("usr/lib/aarch64-linux-gnu/systemd/libx.so");
        for (text, expected) in [
            ("$ORIGIN", &["/usr/lib/aarch64-linux-gnu/systemd"][..]),
            ("${ORIGIN}/../x", &["/usr/lib/aarch64-linux-gnu/x"]),
            ("/usr/$LIB/y", &["/usr/lib/aarch64-linux-gnu/y", "/usr/lib64/y", "/usr/lib/y"]),
            ("/usr/lib/systemd", &["/usr/lib/systemd"]),
            ("/x/$PLATFORM", &[]),
        ] {
            let found: Vec<String> = libraries.expand(text.as_bytes(), &user).iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{text}");
        }
    }
}
