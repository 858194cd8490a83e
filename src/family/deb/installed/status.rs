//! Reads `status` and the journal beside it: which packages are there, in which version and state.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Error;
use crate::base::fs::FileError;
use crate::base::limit;
use crate::family::deb::control::{self, Paragraph};
use crate::family::installed::check_owner;

/// How often the journal is read anew when dpkg empties it at that moment.
const ATTEMPTS: usize = 5;

/// A package that is on the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Architecture.
    pub arch: String,
    /// Whether all of it is there.
    pub state: State,
    /// Configuration files, with the digests that they were shipped with.
    pub conffiles: Vec<Conffile>,
    /// It can be there for several architectures at once.
    pub(super) is_multi_arch_same: bool,
    /// Its paragraph, with the end of its last line.
    pub(super) paragraph: Vec<u8>,
}

/// Whether a package is there as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It is installed; at most triggers of others wait.
    Whole,
    /// It is in between. Holds dpkg's word for it, as in `half-configured`.
    Broken(String),
}

impl State {
    /// Returns dpkg's word for what a package is in between of; nothing for one that is whole.
    pub fn word(&self) -> Option<&str> {
        match self {
            State::Whole => None,
            State::Broken(word) => Some(word),
        }
    }
}

/// A configuration file of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conffile {
    /// Its absolute path.
    pub path: Vec<u8>,
    /// The MD5 digest as shipped.
    pub md5: [u8; 16],
    /// The package as it is now does not ship it any more.
    pub is_obsolete: bool,
}

/// What changes when dpkg writes: of each file its inode, size and time.
pub type Stamp = Vec<(PathBuf, u64, u64, i64, i64)>;

/// Returns the stamp of `status` and the journal.
pub fn stamp(admin: &Path) -> io::Result<Stamp> {
    let journal = journal(admin).map_err(|err| err.source)?;
    let of = |path: PathBuf| {
        let found = std::fs::symlink_metadata(&path)?;
        Ok((path, found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
    };
    std::iter::once(admin.join("status")).chain(journal).map(of).collect()
}

/// Reads `status` and the journal in its order; `None` where there is no database.
#[allow(clippy::type_complexity, reason = "a list of files")]
pub fn read(admin: &Path) -> Result<Option<(Vec<(PathBuf, Vec<u8>)>, Stamp)>, Error> {
    let mut attempt = 1;
    loop {
        let before = stamp(admin).unwrap_or_default();
        let status = admin.join("status");
        let Some(text) = read_file(&status)? else { return Ok(None) };
        check_owner(admin, &std::fs::metadata(admin).map_err(FileError::on("look at", admin))?)?;
        let mut texts = vec![(status, text)];
        for path in journal(admin)? {
            // What is gone was folded into a newer `status`, which the second stamp shows.
            if let Some(text) = read_file(&path)? {
                texts.push((path, text));
            }
        }
        if before == stamp(admin).unwrap_or_default() || attempt == ATTEMPTS {
            return Ok(Some((texts, before)));
        }
        attempt += 1;
    }
}

/// Returns the files of the journal in order: names of digits, all of one length.
fn journal(admin: &Path) -> Result<Vec<PathBuf>, FileError> {
    let updates = admin.join("updates");
    let is_entry = |name: &String| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    Ok(names(&updates)?.into_iter().filter(is_entry).map(|name| updates.join(name)).collect())
}

/// Returns the names in a directory, sorted; none if it is not there.
pub fn names(directory: &Path) -> Result<Vec<String>, FileError> {
    let paths = crate::base::fs::list(directory)?;
    Ok(paths.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect())
}

/// Reads a file of the database, which must be root's alone; `None` if it is not there.
pub fn read_file(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(err) if matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(None),
        Err(err) => return Err(FileError::on("open", path)(err).into()),
    };
    let found = file.metadata().map_err(FileError::on("look at", path))?;
    check_owner(path, &found)?;
    let mut bytes = Vec::with_capacity(found.len().min(limit::INDEX_BYTES_MAX) as usize);
    file.take(limit::INDEX_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(FileError::on("read", path))?;
    if bytes.len() as u64 > limit::INDEX_BYTES_MAX {
        let text = format!("larger than the limit of {} bytes", limit::INDEX_BYTES_MAX);
        return Err(FileError::on("read", path)(io::Error::other(text)).into());
    }
    Ok(Some(bytes))
}

/// Reads the paragraphs of one file into `entries`: later ones replace earlier ones, and what is not there any more is removed.
pub fn parse(path: &Path, text: &[u8], arch: &str, entries: &mut BTreeMap<String, Entry>) -> Result<(), Error> {
    // The journal is padded with comments, which dpkg cuts off if it gets that far.
    let has_comments = text.first() == Some(&b'#') || memchr::memmem::find(text, b"\n#").is_some();
    let without: Vec<u8>;
    let text = if has_comments {
        without =
            text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.first() != Some(&b'#')).flatten().copied().collect();
        &without
    } else {
        text
    };
    let line_of = |part: &[u8]| {
        let at = (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
        1 + memchr::memchr_iter(b'\n', &text[..at.min(text.len())]).count()
    };
    let damaged = |line, what: String| Error::Damaged { path: path.to_owned(), line, what };
    if text.last().is_some_and(|byte| *byte != b'\n') || memchr::memchr(0, text).is_some() {
        return Err(damaged(line_of(&text[text.len()..]), "it breaks off, or is no text".to_owned()));
    }
    for paragraph in control::paragraphs(text) {
        match read_entry(paragraph).map_err(|what| damaged(line_of(paragraph.bytes()), what))? {
            Found::There(entry) if entry.arch == arch || entry.arch == "all" => {
                entries.insert(entry.name.clone(), entry);
            }
            Found::There(_) => {}
            Found::Gone { name, arch: gone } => {
                if entries.get(&name).is_some_and(|entry| gone.is_none_or(|gone| gone == entry.arch)) {
                    entries.remove(&name);
                }
            }
        }
    }
    Ok(())
}

/// What a paragraph says.
enum Found {
    /// The package is on the machine, perhaps not as a whole.
    There(Entry),
    /// Nothing of it is, or configuration files only.
    Gone { name: String, arch: Option<String> },
}

fn text(value: Option<&[u8]>) -> Option<&str> {
    std::str::from_utf8(value?).ok().filter(|text| !text.is_empty())
}

fn read_entry(paragraph: Paragraph<'_>) -> Result<Found, String> {
    let (mut name, mut status, mut version, mut arch, mut multi_arch, mut conffiles) = Default::default();
    for field in paragraph.fields() {
        let slot: &mut Option<&[u8]> = match field.name {
            b"Package" => &mut name,
            b"Status" => &mut status,
            b"Version" => &mut version,
            b"Architecture" => &mut arch,
            b"Multi-Arch" => &mut multi_arch,
            b"Conffiles" => &mut conffiles,
            _ => continue,
        };
        slot.get_or_insert(field.value);
    }
    let name = text(name).ok_or("an entry has no name")?.to_owned();
    // It becomes part of a path.
    if name.contains('/') || name.starts_with('.') {
        return Err(format!("`{}` is not the name of a package", name.escape_debug()));
    }
    let arch = text(arch).map(str::to_owned);
    let status = text(status).ok_or_else(|| format!("the entry of `{name}` has no state"))?;
    let words: Vec<&str> = status.split_ascii_whitespace().collect();
    let [_wanted, flag, state] = words[..] else { return Err(format!("the state of `{name}` is `{}`", status.escape_debug())) };
    let state = match (state, flag) {
        ("not-installed" | "config-files", _) => return Ok(Found::Gone { name, arch }),
        ("installed" | "triggers-awaited" | "triggers-pending", "ok") => State::Whole,
        ("half-installed" | "unpacked" | "half-configured", "ok") => State::Broken(state.to_owned()),
        (
            "half-installed" | "unpacked" | "half-configured" | "installed" | "triggers-awaited" | "triggers-pending",
            "reinstreq",
        ) => State::Broken(format!("{state} and has to be installed again")),
        _ => return Err(format!("the state of `{name}` is `{}`", status.escape_debug())),
    };
    let Some(version) = text(version) else {
        // dpkg began to unpack it, and knows no version yet.
        return match state {
            State::Broken(_) => Ok(Found::Gone { name, arch }),
            State::Whole => Err(format!("the entry of `{name}` has no version")),
        };
    };
    let arch = arch.filter(|arch| !arch.contains('/')).ok_or_else(|| format!("the entry of `{name}` has no architecture"))?;
    Ok(Found::There(Entry {
        version: version.to_owned(),
        arch,
        state,
        conffiles: read_conffiles(&name, conffiles.unwrap_or_default())?,
        is_multi_arch_same: multi_arch == Some(b"same"),
        paragraph: paragraph.bytes().to_vec(),
        name,
    }))
}

/// Reads ` /path digest [obsolete] [remove-on-upgrade]` lines. While dpkg has not configured one, its digest is `newconffile`.
fn read_conffiles(name: &str, value: &[u8]) -> Result<Vec<Conffile>, String> {
    let mut conffiles = Vec::new();
    for line in control::lines(value) {
        let (mut line, mut is_obsolete) = (line, false);
        while let Some(rest) = line.strip_suffix(b" obsolete").or_else(|| line.strip_suffix(b" remove-on-upgrade")) {
            (line, is_obsolete) = (rest, true);
        }
        let wrong = || format!("`{name}` has the configuration file `{}`", line.escape_ascii());
        let space = memchr::memrchr(b' ', line).ok_or_else(wrong)?;
        let (path, digest) = (line[..space].trim_ascii_end(), &line[space + 1..]);
        let md5 = match digest {
            b"newconffile" => [0; 16],
            digest => hexadecimal(digest).ok_or_else(wrong)?,
        };
        conffiles.push(Conffile { path: path.to_vec(), md5, is_obsolete });
    }
    Ok(conffiles)
}

/// Reads the 32 digits of an MD5 digest.
pub fn hexadecimal(text: &[u8]) -> Option<[u8; 16]> {
    let (pairs, rest) = text.as_chunks::<2>();
    let mut digest = [0; 16];
    if pairs.len() != digest.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in digest.iter_mut().zip(pairs) {
        let digit = |c: u8| char::from(c).to_digit(16);
        *byte = (digit(*high)? * 16 + digit(*low)?) as u8;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(files: &[&str]) -> Result<BTreeMap<String, Entry>, Error> {
        let mut entries = BTreeMap::new();
        for text in files {
            parse(Path::new("/status"), text.as_bytes(), "amd64", &mut entries)?;
        }
        Ok(entries)
    }

    fn one(state: &str) -> String {
        format!("Package: a\nStatus: {state}\nArchitecture: amd64\nVersion: 1\n\n")
    }

    #[test]
    fn states_are_dpkgs() {
        for (state, whole) in [
            ("install ok installed", Some(true)),
            ("hold ok installed", Some(true)),
            ("deinstall ok triggers-awaited", Some(true)),
            ("install ok triggers-pending", Some(true)),
            ("install ok unpacked", Some(false)),
            ("install ok half-configured", Some(false)),
            ("install reinstreq half-installed", Some(false)),
            ("install reinstreq installed", Some(false)),
            ("deinstall ok config-files", None),
            ("purge ok not-installed", None),
        ] {
            let found = entries(&[&one(state)]).expect(state).get("a").map(|entry| entry.state == State::Whole);
            assert_eq!(found, whole, "{state}");
        }
    }

    #[test]
    fn the_journal_replaces_and_removes() {
        let status = one("install ok installed") + &one("install ok installed").replace(": a", ": b");
        let update = "Package: a\nStatus: install ok unpacked\nArchitecture: amd64\nVersion: 2\n#padding\n#padding\n";
        let gone = "Package: b\nStatus: purge ok not-installed\nArchitecture: amd64\n";
        let found = entries(&[&status, update, "#padding\n", gone]).expect("a journal");
        assert_eq!(found.len(), 1);
        assert_eq!((found["a"].version.as_str(), &found["a"].state), ("2", &State::Broken("unpacked".to_owned())));
    }

    #[test]
    fn other_architectures_are_not_looked_at() {
        let foreign = one("install ok installed").replace("amd64", "i386").replace("Version: 1", "Version: 9");
        let gone = foreign.replace("install ok installed", "purge ok not-installed");
        for text in [one("install ok installed") + &foreign, foreign.clone() + &one("install ok installed")] {
            let found = entries(&[&text, &gone]).expect("a status");
            assert_eq!(found["a"].version, "1");
        }
    }

    #[test]
    fn conffiles_have_paths_with_spaces_and_flags() {
        let digest = "d41d8cd98f00b204e9800998ecf8427e";
        let text = format!("\n /etc/a b {digest}\n /etc/c {digest} obsolete\n /etc/d newconffile");
        let found = read_conffiles("a", text.as_bytes()).expect("conffiles");
        let shown: Vec<_> = found.iter().map(|one| (one.path.as_slice(), one.is_obsolete)).collect();
        assert_eq!(shown, [(&b"/etc/a b"[..], false), (b"/etc/c", true), (b"/etc/d", false)]);
    }

    #[test]
    fn what_is_no_database_is_one_sentence() {
        let whole = one("install ok installed");
        for text in [
            &whole[..whole.len() - 5],
            "Package: a\n\n",
            "Status: install ok installed\n",
            "Package: a\nStatus: installed\n",
            "Package: a\nStatus: install ok strange\n",
            "Package: a\nStatus: install ok installed\nVersion: 1\n",
            "Package: a\nStatus: install ok installed\nArchitecture: amd64\n",
            "Package: ../a\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n",
            "Package: a\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\nConffiles:\n /etc/x\n",
            "\u{1}\u{2}garbage\n",
            "\0\0\n",
        ] {
            assert!(entries(&[text]).is_err(), "{text}");
        }
    }
}
