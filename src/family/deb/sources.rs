//! Where packages come from: `sources.list` lines, deb822 `.sources` files, and the values of `--repo` and `--mirror`.
//!
//! Formats: sources.list(5). Nothing here is fetched; [`super::repository`] does that.

use std::fmt;
use std::path::PathBuf;

use crate::base::limit;
use crate::base::trust::{KeyRef, SignedBy, hide_password};
use crate::config::Source;
use crate::package::Location;

/// The root below which a repository's names lie.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Base {
    /// A web address without a slash at its end.
    Url(String),
    /// A directory of this machine.
    Dir(PathBuf),
}

impl Base {
    /// Reads a URI of a sources line, or a plain absolute path. `http`, `https`, `file` and `copy` are known.
    pub fn parse(text: &str) -> Result<Self, BadSource> {
        let wrong = |reason: &str| BadSource::Uri { uri: text.chars().take(200).collect(), reason: reason.to_owned() };
        if text.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err(wrong("it holds a space or a control character"));
        }
        let trimmed = text.trim_end_matches('/');
        if let Some(rest) = text.strip_prefix("file:").or_else(|| text.strip_prefix("copy:")) {
            let path = rest.strip_prefix("//").map_or(rest, |rest| rest.strip_prefix("localhost").unwrap_or(rest));
            let path = unescape(path).ok_or_else(|| wrong("its percent signs are not followed by two hexadecimal digits"))?;
            return path
                .starts_with('/')
                .then(|| Base::Dir(clean(&path)))
                .ok_or_else(|| wrong("a `file:` path must be absolute"));
        }
        let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        match scheme.as_deref() {
            Some("http" | "https") => match trimmed.split_once("://").map(|(_, rest)| rest) {
                Some(rest) if !rest.is_empty() && !rest.starts_with('/') => Ok(Base::Url(trimmed.to_owned())),
                _ => Err(wrong("it names no host")),
            },
            Some(other) => Err(wrong(&format!("`{other}` is not a way to fetch: use http, https or file"))),
            None if text.starts_with('/') => Ok(Base::Dir(clean(text))),
            None => Err(wrong("it is neither a URL nor an absolute path")),
        }
    }

    /// Returns where a name of the repository's metadata lies. What could leave the root is refused.
    pub fn join(&self, name: &str) -> Result<Location, BadName> {
        let name = checked(name)?;
        Ok(match self {
            Base::Url(url) if name.is_empty() => Location::Url(url.clone()),
            Base::Url(url) => Location::Url(format!("{url}/{}", escape(&name))),
            Base::Dir(dir) => Location::File(dir.join(name)),
        })
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Base::Url(url) => f.write_str(&hide_password(url)),
            Base::Dir(dir) => write!(f, "file:{}", dir.display()),
        }
    }
}

/// A name in a repository's metadata is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the file name `{}` is refused: {reason}", .name.escape_debug())]
pub struct BadName {
    /// The name, cut to 200 characters.
    pub name: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Checks a relative name and drops its `.` components.
fn checked(name: &str) -> Result<String, BadName> {
    let wrong = |reason| BadName { name: name.chars().take(200).collect(), reason };
    if name.len() > limit::PATH_BYTES_MAX {
        return Err(wrong("it is longer than a path can be"));
    }
    if name.chars().any(|c| c.is_control() || c == '\\') {
        return Err(wrong("it holds a control character or a backslash"));
    }
    if name.starts_with('/') {
        return Err(wrong("it is absolute"));
    }
    let lower = name.to_ascii_lowercase();
    if ["%2e", "%2f", "%00", "%5c"].iter().any(|escape| lower.contains(escape)) {
        return Err(wrong("it hides dots or slashes behind percent signs"));
    }
    if name.contains(['?', '#']) || name.contains("://") {
        return Err(wrong("it is a URL, not a name"));
    }
    let components = name.split('/').filter(|component| !component.is_empty() && *component != ".").collect::<Vec<_>>();
    if components.contains(&"..") {
        return Err(wrong("it leaves the repository"));
    }
    Ok(components.join("/"))
}

/// Escapes what may stand in a file name but not in a URL. A `%` stays: archives write names as they are requested.
fn escape(name: &str) -> String {
    let mut url = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => url.push(byte as char),
            b'/' | b'-' | b'.' | b'_' | b'~' | b'+' | b':' | b'=' | b'@' | b'%' | b',' | b'!' | b'(' | b')' => {
                url.push(byte as char)
            }
            _ => url.push_str(&format!("%{byte:02X}")),
        }
    }
    url
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || (rest.next()? as char).to_digit(16);
            bytes.push((digit()? * 16 + digit()?) as u8);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// Drops `.` components and doubled slashes of an absolute path; `..` stays, it is the user's own.
fn clean(path: &str) -> PathBuf {
    let parts = path.split('/').filter(|part| !part.is_empty() && *part != ".");
    PathBuf::from(format!("/{}", parts.collect::<Vec<_>>().join("/")))
}

/// How a repository is laid out below its base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// `dists/SUITE/COMPONENT/binary-ARCH/Packages`.
    Dists {
        /// The suite: `trixie`, `trixie-security`.
        suite: String,
        /// The components that must be there.
        components: Vec<String>,
        /// Components that are taken if the repository has them.
        optional: Vec<String>,
    },
    /// `Packages` and `Release` in one directory, below the base; empty for the base itself.
    Flat(String),
    /// Whatever is there: `dists/SUITE`, else a flat repository, else the only suite of a local directory.
    Guess {
        /// The release being built.
        suite: String,
        /// The components that the profile wants.
        components: Vec<String>,
    },
    /// One index file, named below the base.
    Index(String),
}

/// A repository to take packages from: one suite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoSpec {
    /// The root.
    pub base: Base,
    /// Suite and components.
    pub layout: Layout,
    /// The architecture to build for, in dpkg's words.
    pub arch: String,
    /// The keys that may sign it.
    pub signed_by: SignedBy,
    /// Whether it was written with `[trusted=yes]`, which counts only together with `--no-verify`.
    pub trusted: bool,
    /// Where it was written.
    pub source: Source,
}

impl RepoSpec {
    /// Returns what identifies the repository from run to run: its address and suite.
    pub fn key(&self) -> String {
        match &self.layout {
            Layout::Dists { suite, .. } => format!("{} {suite}", self.base),
            Layout::Flat(path) => format!("{} {path}/", self.base),
            Layout::Guess { suite, .. } => format!("{} ?{suite}", self.base),
            Layout::Index(path) => format!("{} {path}", self.base),
        }
    }
}

impl fmt::Display for RepoSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.layout {
            Layout::Dists { suite, .. } => write!(f, "{} {suite}", self.base),
            Layout::Guess { .. } => write!(f, "{}", self.base),
            Layout::Flat(path) | Layout::Index(path) if path.is_empty() => write!(f, "{}", self.base),
            Layout::Flat(path) | Layout::Index(path) => write!(f, "{}/{path}", self.base),
        }
    }
}

/// A source cannot be used as it was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSource {
    /// The address.
    #[error("`{uri}` cannot be used as a repository: {reason}")]
    Uri {
        /// The address as written.
        uri: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The line or stanza.
    #[error("the source is incomplete: {0}")]
    Incomplete(String),
    /// An option or field has a value that it cannot have.
    #[error("`{value}` cannot be the value of `{field}`")]
    Value {
        /// The option or field.
        field: String,
        /// The value.
        value: String,
    },
}

/// What a sources file gave: repositories, and what was left out with the reason.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sources {
    /// In the order of the file.
    pub specs: Vec<RepoSpec>,
    /// Entries left out: place and reason.
    pub skipped: Vec<(Source, String)>,
}

impl Sources {
    /// Adds what another file gave.
    pub fn append(&mut self, mut other: Sources) {
        self.specs.append(&mut other.specs);
        self.skipped.append(&mut other.skipped);
    }
}

/// One entry before it is split into suites.
#[derive(Default)]
struct Stanza {
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
    architectures: Vec<String>,
    removed: Vec<String>,
    signed_by: SignedBy,
    trusted: bool,
}

/// Reads a file as apt would: one-line form, or deb822 if the name ends in `.sources`. A broken entry is left out and told.
pub fn parse(file: &str, text: &str, arch: &str) -> Sources {
    if file.ends_with(".sources") { parse_deb822(file, text, arch) } else { parse_list(file, text, arch) }
}

/// Reads the one-line form: `deb [options] URI SUITE COMPONENT…`.
pub fn parse_list(file: &str, text: &str, arch: &str) -> Sources {
    let mut sources = Sources::default();
    for (number, line) in text.lines().enumerate() {
        let place = Source { file: file.into(), line: number as u32 + 1 };
        // apt ends a line at `#`, wherever it stands outside brackets and quotes.
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some((kind, rest)) = line.split_once(char::is_whitespace) else {
            if !line.is_empty() {
                sources.skipped.push((place, format!("`{line}` is not a source")));
            }
            continue;
        };
        match kind {
            "deb" => match parse_line(rest) {
                Ok(stanza) => expand(&stanza, &place, arch, &mut sources),
                Err(err) => sources.skipped.push((place, err.to_string())),
            },
            "deb-src" => {}
            other => sources.skipped.push((place, format!("`{other}` is neither `deb` nor `deb-src`"))),
        }
    }
    sources
}

fn parse_line(text: &str) -> Result<Stanza, BadSource> {
    let mut stanza = Stanza::default();
    let mut rest = text.trim();
    if let Some(options) = rest.strip_prefix('[') {
        let (options, after) =
            options.split_once(']').ok_or_else(|| BadSource::Incomplete("a `[` is never closed".to_owned()))?;
        for option in options.split_whitespace() {
            let (name, value) = option
                .split_once('=')
                .ok_or_else(|| BadSource::Value { field: "options".to_owned(), value: option.to_owned() })?;
            let values = || value.split(',').filter(|word| !word.is_empty()).map(str::to_owned);
            match name {
                "arch" => stanza.architectures = values().collect(),
                "arch-" => stanza.removed = values().collect(),
                "arch+" => {}
                "signed-by" => stanza.signed_by = SignedBy { keys: key_refs(values())?, shipped: false },
                "trusted" => stanza.trusted = is_yes(value),
                // lang, target, pdiffs, by-hash, check-*: they change nothing for us, or may not.
                _ => {}
            }
        }
        rest = after.trim();
    }
    let mut words = rest.split_whitespace().map(str::to_owned);
    stanza.uris.extend(words.next());
    stanza.suites.extend(words.next());
    stanza.components.extend(words);
    Ok(stanza)
}

/// Reads deb822 stanzas.
pub fn parse_deb822(file: &str, text: &str, arch: &str) -> Sources {
    let mut sources = Sources::default();
    for (line, fields) in stanzas(text) {
        let place = Source { file: file.into(), line };
        match parse_stanza(&fields) {
            Ok(Some(stanza)) => expand(&stanza, &place, arch, &mut sources),
            Ok(None) => {}
            Err(err) => sources.skipped.push((place, err.to_string())),
        }
    }
    sources
}

/// Splits deb822 text into stanzas of (lower-case field, value lines), each with the line it begins at.
fn stanzas(text: &str) -> Vec<(u32, Vec<(String, String)>)> {
    let mut all: Vec<(u32, Vec<(String, String)>)> = Vec::new();
    let mut open = false;
    for (number, line) in text.lines().enumerate() {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            open = false;
            continue;
        }
        if !open {
            all.push((number as u32 + 1, Vec::new()));
            open = true;
        }
        let fields = &mut all.last_mut().expect("invariant: a stanza is open").1;
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push('\n');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    all
}

fn parse_stanza(fields: &[(String, String)]) -> Result<Option<Stanza>, BadSource> {
    let mut stanza = Stanza::default();
    let (mut enabled, mut binary) = (true, false);
    for (name, value) in fields {
        let words = || value.split_whitespace().map(str::to_owned);
        match name.as_str() {
            "types" => binary = words().any(|word| word == "deb"),
            "uris" => stanza.uris = words().collect(),
            "suites" => stanza.suites = words().collect(),
            "components" => stanza.components = words().collect(),
            "architectures" => stanza.architectures = words().collect(),
            "architectures-remove" => stanza.removed = words().collect(),
            "enabled" => enabled = !is_no(value),
            "trusted" => stanza.trusted = is_yes(value),
            "signed-by" if value.contains("-----BEGIN PGP") => {
                // A line that holds only a full stop stands for an empty one.
                let lines = value.lines().map(|line| if line == "." { "" } else { line });
                let block = lines.skip_while(|line| line.is_empty()).collect::<Vec<_>>().join("\n") + "\n";
                stanza.signed_by = SignedBy { keys: vec![KeyRef::Block(block)], shipped: false };
            }
            "signed-by" => {
                let values = value.split([' ', ',', '\n', '\t']).filter(|word| !word.is_empty()).map(str::to_owned);
                stanza.signed_by = SignedBy { keys: key_refs(values)?, shipped: false };
            }
            _ => {}
        }
    }
    Ok((enabled && binary).then_some(stanza))
}

fn key_refs(values: impl Iterator<Item = String>) -> Result<Vec<KeyRef>, BadSource> {
    values
        .map(|value| {
            let digits = value.trim_end_matches('!');
            if value.starts_with('/') {
                Ok(KeyRef::File(value.into()))
            } else if [40, 64].contains(&digits.len()) && digits.bytes().all(|c| c.is_ascii_hexdigit()) {
                Ok(KeyRef::Fingerprint(digits.to_ascii_uppercase()))
            } else {
                Err(BadSource::Value { field: "Signed-By".to_owned(), value })
            }
        })
        .collect()
}

fn is_yes(value: &str) -> bool {
    ["yes", "true", "with", "on", "enable", "1"].contains(&value.to_ascii_lowercase().as_str())
}

fn is_no(value: &str) -> bool {
    ["no", "false", "without", "off", "disable", "0"].contains(&value.to_ascii_lowercase().as_str())
}

/// Makes one spec for every address and suite of an entry.
fn expand(stanza: &Stanza, place: &Source, arch: &str, sources: &mut Sources) {
    let mut skip = |reason: String| sources.skipped.push((place.clone(), reason));
    if stanza.uris.is_empty() || stanza.suites.is_empty() {
        return skip(BadSource::Incomplete("it needs a URI and a suite".to_owned()).to_string());
    }
    let other_arch = !stanza.architectures.is_empty() && !stanza.architectures.iter().any(|one| one == arch);
    if stanza.removed.iter().any(|one| one == arch) {
        return skip(format!("it is not for {arch}"));
    }
    // A source limited to the machine's architecture says nothing against another one that is built here; its mirror is asked.
    if other_arch && arch == host_arch() {
        return skip(format!("it is for {} only, not for {arch}", stanza.architectures.join(", ")));
    }
    for uri in &stanza.uris {
        let base = match Base::parse(uri) {
            Ok(base) => base,
            Err(err) => {
                sources.skipped.push((place.clone(), err.to_string()));
                continue;
            }
        };
        for suite in &stanza.suites {
            match layout(suite, &stanza.components, arch) {
                Ok(layout) => sources.specs.push(RepoSpec {
                    base: base.clone(),
                    layout,
                    arch: arch.to_owned(),
                    signed_by: stanza.signed_by.clone(),
                    trusted: stanza.trusted,
                    source: place.clone(),
                }),
                Err(reason) => sources.skipped.push((place.clone(), reason)),
            }
        }
    }
}

/// The architecture that this program was built for, in dpkg's words.
fn host_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "i386",
        "powerpc64" => "ppc64el",
        "loongarch64" => "loong64",
        other => other,
    }
}

fn layout(suite: &str, components: &[String], arch: &str) -> Result<Layout, String> {
    let suite = suite.replace("$(ARCH)", arch);
    let name = checked(&suite).or_else(|err| if suite == "/" { Ok(String::new()) } else { Err(err.to_string()) })?;
    if suite.ends_with('/') {
        return match components {
            [] => Ok(Layout::Flat(name)),
            _ => Err(format!("the suite `{suite}` ends in a slash, so there can be no components")),
        };
    }
    if components.is_empty() {
        return Err(format!("the suite `{suite}` needs a component such as `main`"));
    }
    for component in components {
        checked(component).map_err(|err| err.to_string())?;
    }
    Ok(Layout::Dists { suite: name, components: components.to_vec(), optional: Vec::new() })
}

/// Index files that can be named alone, and in the order in which they are preferred in a repository.
pub const INDEX_NAMES: [&str; 4] = ["Packages.xz", "Packages.zst", "Packages.gz", "Packages"];

/// Reads a value of `--repo`: `[signed-by=FILE] URI SUITE COMPONENT…` as in a sources line, or a lone URI or path.
///
/// A lone one may be a repository root (then the suite is `release`, the components are `components`), a flat
/// repository, a directory `…/dists/SUITE`, or an index file `…/Packages[.xz|.gz|.zst]`. Keys default to those of the
/// distribution. `directory` is where a relative path begins.
pub fn parse_repo(
    value: &str,
    release: &str,
    components: &[String],
    arch: &str,
    directory: &std::path::Path,
) -> Result<Vec<RepoSpec>, BadSource> {
    let source = Source { file: "--repo".into(), line: 0 };
    let value = value.trim();
    let value = value.strip_prefix("deb ").unwrap_or(value);
    // A path may hold spaces: what exists as a whole is a path.
    let whole =
        (value.starts_with(['/', '.']) && !value.starts_with('[')).then(|| directory.join(value)).filter(|path| path.exists());
    let mut stanza = match &whole {
        Some(path) => Stanza { uris: vec![format!("file:{}", escape(&path.to_string_lossy()))], ..Stanza::default() },
        None => parse_line(value)?,
    };
    let Some(uri) = stanza.uris.first_mut() else {
        return Err(BadSource::Incomplete("`--repo` needs an address".to_owned()));
    };
    if !uri.contains(':') && !uri.starts_with('/') {
        *uri = format!("file:{}", escape(&directory.join(&*uri).to_string_lossy()));
    }
    stanza.signed_by.shipped = stanza.signed_by.keys.is_empty();
    if !stanza.suites.is_empty() {
        let mut sources = Sources::default();
        expand(&stanza, &source, arch, &mut sources);
        return match sources.skipped.pop() {
            Some((_, reason)) => Err(BadSource::Uri { uri: stanza.uris[0].clone(), reason }),
            None => Ok(sources.specs),
        };
    }
    let (base, layout) = lone(Base::parse(&stanza.uris[0])?, release, components)?;
    let Stanza { signed_by, trusted, .. } = stanza;
    Ok(vec![RepoSpec { base, layout, arch: arch.to_owned(), signed_by, trusted, source }])
}

/// Decides what a lone address is by its last components.
fn lone(base: Base, release: &str, components: &[String]) -> Result<(Base, Layout), BadSource> {
    let text = match &base {
        Base::Url(url) => url.clone(),
        Base::Dir(dir) => dir.to_string_lossy().into_owned(),
    };
    let cut = |length: usize| match &base {
        Base::Url(url) => Base::Url(url[..length].to_owned()),
        Base::Dir(_) => Base::Dir(PathBuf::from(if length == 0 { "/" } else { &text[..length] })),
    };
    let (above, last) = text.rsplit_once('/').unwrap_or(("", &text));
    if INDEX_NAMES.contains(&last) {
        let root = text.rfind("/dists/").unwrap_or(above.len());
        return Ok((cut(root), Layout::Index(text[root + 1..].to_owned())));
    }
    if let Some((root, suite)) = text.rsplit_once("/dists/") {
        let layout = Layout::Dists { suite: suite.to_owned(), components: components.to_vec(), optional: Vec::new() };
        return Ok((cut(root.len()), layout));
    }
    Ok((base, Layout::Guess { suite: release.to_owned(), components: components.to_vec() }))
}

/// Returns the suites of a mirror of the distribution for a release: the release itself and those kept beside it.
///
/// `beside` are suffixes such as `-updates`; a `security` mirror, if one is given, serves `RELEASE-security`.
pub fn mirror(base: &Base, release: &str, beside: &[&str], components: &[String], arch: &str, source: &Source) -> Vec<RepoSpec> {
    let suites = std::iter::once(release.to_owned()).chain(beside.iter().map(|suffix| format!("{release}{suffix}")));
    suites
        .map(|suite| RepoSpec {
            base: base.clone(),
            layout: Layout::Dists { suite, components: components.to_vec(), optional: Vec::new() },
            arch: arch.to_owned(),
            signed_by: SignedBy { keys: Vec::new(), shipped: true },
            trusted: false,
            source: source.clone(),
        })
        .collect()
}

/// The release that the machine runs, as its sources may name it.
const ALIASES: [&str; 6] = ["stable", "oldstable", "testing", "unstable", "sid", "oldoldstable"];
/// Suites beside a release that are kept when another release is built.
const SUFFIXES: [&str; 2] = ["-updates", "-security"];

/// Rewrites the machine's own sources for a release: a mirror of the distribution serves all its releases.
///
/// Entries are kept whose suite is the machine's release (`codename`) or an alias of one, with `-updates` or `-security`;
/// all others (backports, third parties) are left out with a reason. Entries with `main` are asked for all
/// `components`, those that the entry does not name being optional.
pub fn for_release(sources: Sources, codename: &str, release: &str, components: &[String]) -> Sources {
    let mut out = Sources { specs: Vec::new(), skipped: sources.skipped };
    for mut spec in sources.specs {
        let Layout::Dists { suite, components: named, .. } = &spec.layout else {
            out.skipped.push((spec.source, format!("`{}` is not a suite of the distribution", spec.base)));
            continue;
        };
        let suffix = SUFFIXES.into_iter().find(|suffix| suite.ends_with(suffix)).unwrap_or("");
        let of = suite.strip_suffix(suffix).unwrap_or(suite);
        let rolling = ["sid", "unstable"].contains(&release);
        if of != codename && of != release && !ALIASES.contains(&of) {
            out.skipped.push((spec.source, format!("`{suite}` is not a suite of {codename}")));
            continue;
        }
        if !named.iter().any(|component| components.contains(component)) {
            out.skipped.push((spec.source, format!("it has none of the components {}", components.join(", "))));
            continue;
        }
        if rolling && !suffix.is_empty() {
            out.skipped.push((spec.source, format!("{release} has no `{suffix}`")));
            continue;
        }
        let required = components.iter().filter(|component| named.contains(component)).cloned().collect();
        let main = named.iter().any(|component| component == "main");
        let optional = components.iter().filter(|component| main && !named.contains(component)).cloned().collect();
        spec.layout = Layout::Dists { suite: format!("{release}{suffix}"), components: required, optional };
        spec.signed_by.shipped = spec.signed_by.keys.iter().all(is_archive_keyring);
        let known = |other: &RepoSpec| other.base == spec.base && other.key() == spec.key();
        if !out.specs.iter().any(known) {
            out.specs.push(spec);
        }
    }
    out
}

/// Tells whether a key is the distribution's own keyring, in whose place the keys that we carry may stand.
fn is_archive_keyring(key: &KeyRef) -> bool {
    match key {
        KeyRef::File(path) => path.file_name().is_some_and(|name| {
            let name = name.to_string_lossy();
            name.starts_with("debian-archive-") || name.starts_with("ubuntu-archive-")
        }),
        KeyRef::Fingerprint(_) | KeyRef::Block(_) => false,
    }
}
