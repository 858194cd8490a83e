//! Where packages come from: the lines of `/etc/apk/repositories`, and the values of `--repo` and `--mirror`.
//!
//! Format: apk-repositories(5): `[@tag] ADDRESS`, where the index is `ADDRESS/ARCH/APKINDEX.tar.gz`. Nothing here is fetched.

use std::fmt;
use std::path::Path;

use crate::base::trust::SignedBy;
use crate::config::Source;
use crate::family::address::{BadSource, Base, escape};

/// The file that an index is in.
pub const INDEX_NAME: &str = "APKINDEX.tar.gz";

/// A repository to take packages from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoSpec {
    /// The directory that holds one directory an architecture.
    pub base: Base,
    /// Only who names this tag gets packages from here.
    pub tag: Option<String>,
    /// The architecture to build for, in apk's words.
    pub arch: String,
    /// The keys that may sign it.
    pub signed_by: SignedBy,
    /// Where it was written.
    pub source: Source,
}

impl RepoSpec {
    /// Returns what identifies the repository from run to run.
    pub fn key(&self) -> String {
        format!("{} {}", self.base, self.arch)
    }

    /// Returns its name as shown to people: tag and the last two parts of its address.
    pub fn label(&self) -> String {
        let text = self.base.to_string();
        let parts: Vec<&str> = text.rsplit('/').filter(|part| !part.is_empty()).take(2).collect();
        let name = parts.into_iter().rev().collect::<Vec<_>>().join("/");
        match &self.tag {
            Some(tag) => format!("@{tag} {name}"),
            None => name,
        }
    }
}

impl fmt::Display for RepoSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.tag {
            Some(tag) => write!(f, "@{tag} {}", self.base),
            None => self.base.fmt(f),
        }
    }
}

/// What a repositories file gave, and what was left out with the reason.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sources {
    /// In the order of the file.
    pub specs: Vec<RepoSpec>,
    /// Lines left out: place and reason.
    pub skipped: Vec<(Source, String)>,
}

/// Reads `/etc/apk/repositories`.
pub fn parse(file: &str, text: &str, arch: &str) -> Sources {
    let mut sources = Sources::default();
    for (number, line) in text.lines().enumerate() {
        let source = Source { file: file.into(), line: number as u32 + 1 };
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match parse_line(line, arch, &source) {
            Ok(spec) => sources.specs.push(spec),
            Err(err) => sources.skipped.push((source, err.to_string())),
        }
    }
    sources
}

fn parse_line(line: &str, arch: &str, source: &Source) -> Result<RepoSpec, BadSource> {
    let (tag, address) = match line.strip_prefix('@') {
        Some(rest) => {
            let (tag, address) = rest
                .split_once(char::is_whitespace)
                .ok_or_else(|| BadSource::Incomplete(format!("`{line}` is a tag without an address")))?;
            (Some(tag.to_owned()), address.trim())
        }
        None => (None, line),
    };
    if tag.as_deref() == Some("") {
        return Err(BadSource::Incomplete(format!("`{line}` has an empty tag")));
    }
    let words: Vec<&str> = address.split_whitespace().collect();
    let [address] = words[..] else {
        // `v3 …`, `ndx …` and components (`set …`) are for repositories of apk 3 alone.
        return Err(BadSource::Incomplete(format!("`{line}` is more than a tag and an address, which is not read yet")));
    };
    Ok(RepoSpec {
        base: Base::parse(address)?,
        tag,
        arch: arch.to_owned(),
        signed_by: SignedBy { keys: Vec::new(), shipped: true },
        source: source.clone(),
    })
}

/// Reads the value of `--repo`: a line of a repositories file, a path, or the address of an index file.
pub fn parse_repo(value: &str, arch: &str, directory: &Path) -> Result<Vec<RepoSpec>, BadSource> {
    let source = Source { file: "--repo".into(), line: 0 };
    let value = value.trim();
    let (tag, address) = match value.strip_prefix('@').and_then(|rest| rest.split_once(char::is_whitespace)) {
        Some((tag, address)) => (format!("@{tag} "), address.trim()),
        None => (String::new(), value),
    };
    let is_local = !address.contains(':') && !address.starts_with('/') || address.starts_with('.');
    let address = match is_local {
        true => format!("file:{}", escape(&directory.join(address).to_string_lossy())),
        // A path may hold spaces.
        false if address.starts_with('/') => format!("file:{}", escape(address)),
        false => address.to_owned(),
    };
    Ok(vec![parse_line(&format!("{tag}{address}"), arch, &source)?])
}

/// Returns the repositories of a mirror: one for each component of each suite (`v3.22/main`).
pub fn mirror(base: &Base, suites: &[String], components: &[String], arch: &str, source: &Source) -> Vec<RepoSpec> {
    let below = |suite: &String, component: &String| match base {
        Base::Url(url) => Base::Url(format!("{url}/{suite}/{component}")),
        Base::Dir(dir) => Base::Dir(dir.join(suite).join(component)),
    };
    let spec = |base| {
        let signed_by = SignedBy { keys: Vec::new(), shipped: true };
        RepoSpec { base, tag: None, arch: arch.to_owned(), signed_by, source: source.clone() }
    };
    suites.iter().flat_map(|suite| components.iter().map(move |component| below(suite, component))).map(spec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_repositories_file() {
        let text = "# comment\nhttps://dl.example.org/alpine/v3.22/main\n\n@testing https://dl.example.org/alpine/edge/testing/\n\
                    /media/cdrom/apks\n@alone\nftp://x/y\nv3 https://x/y\n";
        let sources = parse("/etc/apk/repositories", text, "x86_64");
        let shown: Vec<_> = sources.specs.iter().map(|spec| (spec.label(), spec.base.to_string(), spec.source.line)).collect();
        let of = |label: &str, base: &str, line| (label.to_owned(), base.to_owned(), line);
        assert_eq!(shown[0], of("v3.22/main", "https://dl.example.org/alpine/v3.22/main", 2));
        assert_eq!(shown[1], of("@testing edge/testing", "https://dl.example.org/alpine/edge/testing", 4));
        assert_eq!((shown.len(), shown[2].2), (3, 5));
        assert_eq!(sources.skipped.iter().map(|(source, _)| source.line).collect::<Vec<_>>(), [6, 7, 8]);
    }

    #[test]
    fn reads_the_value_of_an_option() {
        for (value, base) in
            [("repo", "/here/repo"), ("./my repo", "/here/my repo"), ("/srv/apk", "/srv/apk"), ("file:/srv/apk", "/srv/apk")]
        {
            let specs = parse_repo(value, "x86_64", Path::new("/here")).expect(value);
            assert_eq!(specs[0].base, Base::Dir(base.into()), "{value}");
        }
        assert_eq!(parse_repo("@edge http://h/a", "x86_64", Path::new("/")).expect("a tag")[0].tag.as_deref(), Some("edge"));
        assert!(parse_repo("gopher://h/a", "x86_64", Path::new("/")).is_err());
    }
}
