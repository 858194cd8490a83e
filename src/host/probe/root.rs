//! The root of the machine that is looked at: every file is read below it, and what cannot be read becomes a sentence.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use crate::base::fs::{self, FileError};
use crate::base::limit;

/// The root of a machine, `/` except in tests.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    gaps: RefCell<Vec<String>>,
}

/// What reading a file of the configuration gave.
pub enum Found {
    /// There is none.
    Absent,
    /// A mask: a symlink to `/dev/null`.
    Masked,
    /// Its content and permissions, and where it really lies.
    File {
        /// Content.
        bytes: Vec<u8>,
        /// Permissions.
        mode: u32,
        /// The path behind all symlinks, on the machine.
        real: String,
    },
    /// It is there, and why it cannot be had.
    Unreadable(String),
}

impl Root {
    /// Returns the machine whose root directory is `path`.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), gaps: RefCell::default() }
    }

    /// Returns where a path of the machine lies.
    pub fn at(&self, path: &str) -> PathBuf {
        self.path.join(path.trim_start_matches('/'))
    }

    /// Notes that something could not be found out.
    pub fn gap(&self, sentence: impl Into<String>) {
        let sentence = sentence.into();
        let mut gaps = self.gaps.borrow_mut();
        if !gaps.contains(&sentence) {
            gaps.push(sentence);
        }
    }

    /// Returns what was noted.
    pub fn into_gaps(self) -> Vec<String> {
        self.gaps.into_inner()
    }

    /// Returns an attribute of sysfs or procfs without the white space around it; nothing where it is absent, empty or unreadable:
    /// many attributes are absent by nature, and drivers answer reads with errors when they have nothing to say.
    pub fn attribute(&self, path: &str) -> Option<String> {
        let bytes = fs::read(&self.at(path), limit::ATTRIBUTE_BYTES_MAX).ok()?;
        let text = String::from_utf8_lossy(&bytes).trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned();
        Some(text).filter(|text| !text.is_empty())
    }

    /// Returns a text that the kernel or a tool keeps, which may be long; nothing where it is absent or unreadable.
    pub fn text(&self, path: &str) -> Option<String> {
        let bytes = fs::read(&self.at(path), limit::TEXT_BYTES_MAX).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Returns the names in a directory, sorted; none where it is absent or unreadable.
    pub fn names(&self, path: &str) -> Vec<String> {
        let paths = fs::list(&self.at(path)).unwrap_or_default();
        let name = |path: PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
        paths.into_iter().filter_map(name).take(limit::DEVICES_MAX).collect()
    }

    /// Tells whether there is a directory.
    pub fn has_directory(&self, path: &str) -> bool {
        self.at(path).is_dir()
    }

    /// Tells whether there is something.
    pub fn has(&self, path: &str) -> bool {
        self.at(path).symlink_metadata().is_ok()
    }

    /// Returns the last component of where a symlink leads.
    pub fn link_name(&self, path: &str) -> Option<String> {
        let target = std::fs::read_link(self.at(path)).ok()?;
        Some(target.file_name()?.to_string_lossy().into_owned())
    }

    /// Returns where a symlink leads, as a path of the machine, whether or not something is there.
    pub fn link(&self, path: &str) -> Option<String> {
        let target = std::fs::read_link(self.at(path)).ok()?;
        let parent = Path::new(path).parent().unwrap_or(Path::new("/"));
        Some(plain(&parent.join(target)))
    }

    /// Returns the path behind all symlinks of the last component; nothing where there are too many.
    pub fn real(&self, path: &str) -> Option<String> {
        let mut path = plain(Path::new(path));
        for _ in 0..limit::SYMLINKS_MAX {
            match self.link(&path) {
                Some(target) => path = target,
                None => return Some(path),
            }
        }
        None
    }

    /// Reads a file of the configuration. Anything but a regular file is unreadable: a pipe would never end.
    pub fn file(&self, path: &str, size_bytes_max: u64) -> Found {
        let Some(real) = self.real(path) else { return Found::Unreadable("too many symlinks".to_owned()) };
        if real == "/dev/null" {
            return Found::Masked;
        }
        let place = self.at(&real);
        let metadata = match std::fs::metadata(&place) {
            Ok(metadata) => metadata,
            Err(err) if absent(&err) && real == plain(Path::new(path)) => return Found::Absent,
            Err(err) if absent(&err) => return Found::Unreadable(format!("it is a symlink to `{real}`, which does not exist")),
            Err(err) => return Found::Unreadable(because(&err)),
        };
        if !metadata.is_file() {
            return Found::Unreadable("it is not a regular file".to_owned());
        }
        match fs::read(&place, size_bytes_max) {
            Ok(bytes) => Found::File { bytes, mode: mode(&metadata), real },
            Err(FileError { source, .. }) => Found::Unreadable(because(&source)),
        }
    }

    /// Reads a text of the configuration; one that is there and cannot be read is a gap, `missing` says of what.
    pub fn table(&self, path: &str, missing: &str) -> String {
        match self.file(path, limit::TEXT_BYTES_MAX) {
            Found::File { bytes, .. } => String::from_utf8_lossy(&bytes).into_owned(),
            Found::Absent | Found::Masked => String::new(),
            Found::Unreadable(why) => {
                self.gap(unreadable(path, &why, missing));
                String::new()
            }
        }
    }
}

/// The sentence for a file that is there and cannot be read.
pub fn unreadable(path: &str, why: &str, missing: &str) -> String {
    format!("`{path}` cannot be read ({why}): {missing}")
}

/// What the system said, without its number.
pub fn because(err: &std::io::Error) -> String {
    match err.kind() {
        ErrorKind::PermissionDenied => "permission denied".to_owned(),
        ErrorKind::NotFound => "it does not exist".to_owned(),
        _ => err.to_string(),
    }
}

fn absent(err: &std::io::Error) -> bool {
    matches!(err.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn mode(metadata: &std::fs::Metadata) -> u32 {
    use std::os::unix::fs::MetadataExt;
    metadata.mode() & 0o7777
}

/// An absolute path without `.` and `..`, by its words alone: what sysfs links to is never reached through other symlinks.
fn plain(path: &Path) -> String {
    let mut names: Vec<String> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_string_lossy().into_owned()),
            Component::ParentDir => drop(names.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    format!("/{}", names.join("/"))
}
