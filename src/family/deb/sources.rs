//! Where packages come from: `sources.list` lines, deb822 `.sources` files, and the values of `--repo` and `--mirror`.
//!
//! Formats: sources.list(5). Nothing here is fetched; [`super::repository`] does that.

use std::fmt;
use std::path::PathBuf;

use crate::base::trust::{KeyRef, SignedBy};
use crate::config::Source;
use crate::family::address::{BadSource, Base, checked, escape};

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

/// Returns suites of a mirror of the distribution (`--mirror`, or the profile's own): `trixie`, `trixie-updates`.
///
/// The keys are those of the distribution: the machine's if it has them, else those that we carry.
pub fn mirror(base: &Base, suites: &[String], components: &[String], arch: &str, source: &Source) -> Vec<RepoSpec> {
    let layout = |suite: &String| Layout::Dists { suite: suite.clone(), components: components.to_vec(), optional: Vec::new() };
    let spec = |suite| RepoSpec {
        base: base.clone(),
        layout: layout(suite),
        arch: arch.to_owned(),
        signed_by: SignedBy { keys: Vec::new(), shipped: true },
        trusted: false,
        source: source.clone(),
    };
    suites.iter().map(spec).collect()
}

/// Names of suites that move from release to release.
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
        KeyRef::Fingerprint(_) | KeyRef::Block(_) | KeyRef::Endorsed(_) | KeyRef::Every(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(sources: &Sources) -> Vec<String> {
        let one = |spec: &RepoSpec| match &spec.layout {
            Layout::Dists { suite, components, optional } if optional.is_empty() => {
                format!("{} {suite} {}", spec.base, components.join(" "))
            }
            Layout::Dists { suite, components, optional } => {
                format!("{} {suite} {} ({})", spec.base, components.join(" "), optional.join(" "))
            }
            Layout::Flat(path) => format!("{} {path}/", spec.base),
            other => panic!("{other:?}"),
        };
        sources.specs.iter().map(one).collect()
    }

    #[test]
    fn lines_are_read_as_apt_reads_them() {
        let text = "# a comment\n\
            deb http://m/debian/ trixie main contrib # and more\n\
            deb-src http://m/debian trixie main\n\
            deb [ arch=amd64,arm64 signed-by=/k/a.gpg,/k/b.asc trusted=yes ] https://m/x trixie-updates main\n\
            deb [arch=riscv64] http://m/y trixie main\n\
            deb file:/srv/flat ./\n\
            deb http://m/flat sub/dir/\n\
            deb cdrom:[Debian]/ trixie main\n\
            deb mirror+file:/etc/apt/mirrors trixie main\n\
            deb http://m/debian trixie\n\
            rpm http://m/debian trixie main\n\
            nonsense\n\
            deb [arch=amd64 http://m/z trixie main\n";
        let sources = parse("/etc/apt/sources.list", text, "amd64");
        assert_eq!(
            shown(&sources),
            [
                "http://m/debian trixie main contrib",
                "https://m/x trixie-updates main",
                "file:/srv/flat /",
                "http://m/flat sub/dir/",
            ]
        );
        let signed = &sources.specs[1];
        assert_eq!(signed.signed_by.keys, [KeyRef::File("/k/a.gpg".into()), KeyRef::File("/k/b.asc".into())]);
        assert_eq!((signed.trusted, signed.source.to_string()), (true, "/etc/apt/sources.list:4".to_owned()));
        let lines = sources.skipped.iter().map(|(source, _)| source.line).collect::<Vec<_>>();
        assert_eq!(lines, if host_arch() == "amd64" { vec![5, 8, 9, 10, 11, 12, 13] } else { lines.clone() });
    }

    #[test]
    fn stanzas_are_read_as_apt_reads_them() {
        let text = "# Modern\nTypes: deb deb-src\nURIs: http://a/debian http://b/debian/\nSuites: trixie\n trixie-updates\n\
            # a comment between\nComponents: main\nSigned-By: 0123456789abcdef0123456789ABCDEF01234567!\n\n\
            Types: deb\nURIs: http://c\nSuites: x\nComponents: main\nEnabled: no\n\n\n\
            Types: deb-src\nURIs: http://d\nSuites: x\nComponents: main\n\n\
            types: deb\nuris: http://e\nsuites: ./\ntrusted: yes\nsigned-by:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n -----END PGP PUBLIC KEY BLOCK-----\n\n\
            Types: deb\nURIs: http://f\nSuites: x\nComponents: main\nSigned-By: key.gpg\n";
        let sources = parse("debian.sources", text, "amd64");
        assert_eq!(
            shown(&sources),
            [
                "http://a/debian trixie main",
                "http://a/debian trixie-updates main",
                "http://b/debian trixie main",
                "http://b/debian trixie-updates main",
                "http://e /",
            ]
        );
        let fingerprint = KeyRef::Fingerprint("0123456789ABCDEF0123456789ABCDEF01234567".to_owned());
        assert_eq!((&sources.specs[0].signed_by.keys[0], sources.specs[0].source.line), (&fingerprint, 2));
        let block = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc\n-----END PGP PUBLIC KEY BLOCK-----\n";
        assert_eq!(sources.specs[4].signed_by.keys, [KeyRef::Block(block.to_owned())]);
        assert!(sources.specs[4].trusted);
        assert_eq!(sources.skipped.len(), 1, "a relative key file: {:?}", sources.skipped);
    }

    #[test]
    fn a_release_is_built_from_the_sources_of_another() {
        let text = "deb http://m/debian bookworm main\ndeb http://m/debian bookworm-updates main\n\
            deb http://s/security bookworm-security main contrib\ndeb http://m/debian bookworm-backports main\n\
            deb http://m/debian stable main\ndeb https://third/x nodistro main\ndeb https://fourth/linux bookworm stable\n";
        let wanted = ["main".to_owned(), "non-free-firmware".to_owned()];
        let sources = || parse_list("sources.list", text, "amd64");
        let trixie = for_release(sources(), "bookworm", "trixie", &wanted);
        assert_eq!(
            shown(&trixie),
            [
                "http://m/debian trixie main (non-free-firmware)",
                "http://m/debian trixie-updates main (non-free-firmware)",
                "http://s/security trixie-security main (non-free-firmware)",
            ]
        );
        assert!(trixie.specs.iter().all(|spec| spec.signed_by.shipped));
        assert_eq!(trixie.skipped.len(), 3, "{:?}", trixie.skipped);
        let sid = for_release(sources(), "bookworm", "sid", &wanted);
        assert_eq!(shown(&sid), ["http://m/debian sid main (non-free-firmware)"]);
        let same = for_release(sources(), "bookworm", "bookworm", &wanted);
        assert_eq!(same.specs.len(), 3);
    }

    #[test]
    fn own_keys_are_not_widened_by_those_that_we_carry() {
        let of = |key: &str| {
            let text = format!("deb [signed-by={key}] http://m/debian bookworm main\n");
            let sources = for_release(parse_list("x", &text, "amd64"), "bookworm", "trixie", &["main".to_owned()]);
            sources.specs[0].signed_by.shipped
        };
        assert!(of("/usr/share/keyrings/debian-archive-keyring.gpg"));
        assert!(!of("/etc/apt/keyrings/company.gpg"));
        assert!(!of("/usr/share/keyrings/debian-archive-keyring.gpg,/etc/apt/keyrings/company.gpg"));
        assert!(!of("0123456789ABCDEF0123456789ABCDEF01234567"));
    }

    #[test]
    fn repo_values_are_told_apart() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir(dir.path().join("with space")).expect("a directory");
        let read = |value: &str| {
            let specs = parse_repo(value, "trixie", &["main".to_owned()], "amd64", dir.path());
            specs.map(|mut specs| {
                let RepoSpec { base, layout, .. } = specs.remove(0);
                (base.to_string(), layout)
            })
        };
        let guess = || Layout::Guess { suite: "trixie".to_owned(), components: vec!["main".to_owned()] };
        let dists = |suite: &str, components: &[&str]| Layout::Dists {
            suite: suite.to_owned(),
            components: components.iter().map(|name| (*name).to_owned()).collect(),
            optional: Vec::new(),
        };
        let here = |name: &str| format!("file:{}/{name}", dir.path().display());
        for (value, base, layout) in [
            ("http://m/debian", "http://m/debian".to_owned(), guess()),
            ("http://m/debian/", "http://m/debian".to_owned(), guess()),
            ("deb http://m/debian sid main contrib", "http://m/debian".to_owned(), dists("sid", &["main", "contrib"])),
            ("[signed-by=/k] http://m/debian sid main", "http://m/debian".to_owned(), dists("sid", &["main"])),
            ("https://m/d/dists/sid", "https://m/d".to_owned(), dists("sid", &["main"])),
            (
                "http://m/d/dists/sid/main/binary-amd64/Packages.xz",
                "http://m/d".to_owned(),
                Layout::Index("dists/sid/main/binary-amd64/Packages.xz".to_owned()),
            ),
            ("/srv/x/Packages", "file:/srv/x".to_owned(), Layout::Index("Packages".to_owned())),
            ("file:///srv/x/Packages.gz", "file:/srv/x".to_owned(), Layout::Index("Packages.gz".to_owned())),
            ("file:/srv/x/./", "file:/srv/x".to_owned(), guess()),
            ("file:/srv/a%20b", "file:/srv/a b".to_owned(), guess()),
            ("file:/srv/x ./", "file:/srv/x".to_owned(), Layout::Flat(String::new())),
            ("repo", here("repo"), guess()),
            ("./with space", here("with space"), guess()),
        ] {
            assert_eq!(read(value), Ok((base, layout)), "{value}");
        }
        for value in
            ["", "ftp://m/x", "http://", "http:///x", "file:relative", "http://m/x sid", "[x http://m sid main", "file:/a%zz"]
        {
            assert!(read(value).is_err(), "{value}");
        }
        assert!(read("http://m/debian sid ../../etc").is_err());
    }
}
