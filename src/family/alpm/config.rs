//! Reads `pacman.conf` with what it includes: repositories in their order, their servers, who must have signed what.
//!
//! Format: pacman.conf(5). A file that is included goes on in the section that it is included in, and a section that it opens stays open.

use super::sources::{Layout, RepoSpec, distribution_keys, fill};
use crate::config::Source;
use crate::family::address::Base;

/// Files included within each other: pacman's own limit.
const DEPTH_MAX: u32 = 10;
/// Lines of all files together. A list of all mirrors has 1 000.
const LINES_MAX: u32 = 100_000;

/// Whether signatures of something are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signatures {
    /// Not looked at.
    Never,
    /// Checked where there is one.
    Optional,
    /// One must be there.
    Required,
}

/// What must be signed in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SigLevel {
    /// Packages.
    pub package: Signatures,
    /// The database.
    pub database: Signatures,
    /// Whether a key of the keyring counts that nobody vouches for.
    pub trust_all: [bool; 2],
}

impl Default for SigLevel {
    /// What pacman does where nothing is configured.
    fn default() -> Self {
        Self { package: Signatures::Required, database: Signatures::Optional, trust_all: [false; 2] }
    }
}

impl SigLevel {
    /// Returns the words that say all of it, as pacman-conf(8) prints them.
    pub fn words(self) -> Vec<String> {
        let word = |kind: &str, signatures, trust_all| {
            let asked = match signatures {
                Signatures::Never => return vec![format!("{kind}Never")],
                Signatures::Optional => "Optional",
                Signatures::Required => "Required",
            };
            vec![format!("{kind}{asked}"), format!("{kind}{}", if trust_all { "TrustAll" } else { "TrustedOnly" })]
        };
        [word("Package", self.package, self.trust_all[0]), word("Database", self.database, self.trust_all[1])].concat()
    }
}

/// A repository as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repo {
    /// Its name, which is its database's.
    pub name: String,
    /// Its servers in order, `$repo` and `$arch` still in them.
    pub servers: Vec<String>,
    /// What must be signed.
    pub sig_level: SigLevel,
    /// Whether packages may be installed from it.
    pub installs: bool,
    /// Where it was written.
    pub source: Source,
}

/// What is configured.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// Architectures in order; `auto` is the machine's. Empty means any.
    pub architectures: Vec<String>,
    /// Directories with package files, in order; empty means pacman's default.
    pub cache_dirs: Vec<String>,
    /// Where the databases are kept; absent means pacman's default.
    pub db_path: Option<String>,
    /// Names and globs of packages that are never taken.
    pub ignored: Vec<String>,
    /// The repositories, that of highest priority first.
    pub repos: Vec<Repo>,
    /// Lines that were left out: place and reason.
    pub skipped: Vec<(Source, String)>,
}

/// Returns the files that a path or glob means, each with its name and text, sorted.
pub type Include<'a> = dyn Fn(&str) -> Vec<(String, String)> + 'a;

/// Reads a configuration.
pub fn parse(file: &str, text: &str, include: &Include<'_>) -> Config {
    let mut parser =
        Parser { config: Config::default(), levels: Vec::new(), all: Level::default(), section: None, include, lines: 0 };
    parser.file(file, text, 0);
    for (repo, level) in parser.config.repos.iter_mut().zip(&parser.levels) {
        repo.sig_level = parser.all.over(SigLevel::default());
        repo.sig_level = level.over(repo.sig_level);
    }
    parser.config
}

impl Config {
    /// Returns what to open for an architecture. A repository without a server, or that is only searched, is none.
    pub fn specs(&self, arch: &str) -> (Vec<RepoSpec>, Vec<(Source, String)>) {
        let (mut specs, mut skipped) = (Vec::new(), self.skipped.clone());
        for repo in self.repos.iter().filter(|repo| repo.installs) {
            let mut bases = Vec::new();
            for server in &repo.servers {
                match Base::parse(&fill(server, &repo.name, arch)) {
                    Ok(base) => bases.push(base),
                    Err(err) => skipped.push((repo.source.clone(), err.to_string())),
                }
            }
            let mut bases = bases.into_iter();
            match bases.next() {
                Some(base) => specs.push(RepoSpec {
                    base,
                    mirrors: bases.collect(),
                    layout: Layout::Database(format!("{}.db", repo.name)),
                    arch: arch.to_owned(),
                    signed_by: distribution_keys(),
                    sig_level: Some(repo.sig_level),
                    trusted: false,
                    source: repo.source.clone(),
                }),
                None => skipped.push((repo.source.clone(), format!("the repository `{}` has no server", repo.name))),
            }
        }
        (specs, skipped)
    }
}

/// What the words of `SigLevel` set, and nothing else.
#[derive(Debug, Clone, Copy, Default)]
struct Level {
    /// Of packages and of databases.
    signatures: [Option<Signatures>; 2],
    trust_all: [Option<bool>; 2],
}

impl Level {
    fn over(self, below: SigLevel) -> SigLevel {
        SigLevel {
            package: self.signatures[0].unwrap_or(below.package),
            database: self.signatures[1].unwrap_or(below.database),
            trust_all: [0, 1].map(|at| self.trust_all[at].unwrap_or(below.trust_all[at])),
        }
    }

    fn set(&mut self, word: &str) -> bool {
        let (kinds, rest) = match (word.strip_prefix("Package"), word.strip_prefix("Database")) {
            (Some(rest), _) => (&[0][..], rest),
            (_, Some(rest)) => (&[1][..], rest),
            _ => (&[0, 1][..], word),
        };
        for &kind in kinds {
            match rest {
                "Never" => self.signatures[kind] = Some(Signatures::Never),
                "Optional" => self.signatures[kind] = Some(Signatures::Optional),
                "Required" => self.signatures[kind] = Some(Signatures::Required),
                "TrustedOnly" => self.trust_all[kind] = Some(false),
                "TrustAll" => self.trust_all[kind] = Some(true),
                _ => return false,
            }
        }
        true
    }
}

enum Section {
    Options,
    /// The last repository.
    Repo,
}

struct Parser<'a> {
    config: Config,
    /// By repository.
    levels: Vec<Level>,
    all: Level,
    section: Option<Section>,
    include: &'a Include<'a>,
    lines: u32,
}

impl Parser<'_> {
    fn file(&mut self, file: &str, text: &str, depth: u32) {
        for (number, line) in text.lines().enumerate() {
            let place = Source { file: file.into(), line: number as u32 + 1 };
            self.lines += 1;
            if self.lines > LINES_MAX {
                return self.skip(&place, format!("the configuration has more than {LINES_MAX} lines"));
            }
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                self.open(name, place);
                continue;
            }
            let (key, value) = line.split_once('=').map_or((line, ""), |(key, value)| (key.trim(), value.trim()));
            if key == "Include" {
                if depth >= DEPTH_MAX {
                    self.skip(&place, format!("files are included within each other more than {DEPTH_MAX} deep"));
                    continue;
                }
                let files = (self.include)(value);
                if files.is_empty() {
                    self.skip(&place, format!("`{value}` cannot be read, or there is no such file"));
                }
                for (name, text) in files {
                    self.file(&name, &text, depth + 1);
                }
                continue;
            }
            self.directive(key, value, &place);
        }
    }

    fn skip(&mut self, place: &Source, reason: String) {
        self.config.skipped.push((place.clone(), reason));
    }

    fn open(&mut self, name: &str, source: Source) {
        if name == "options" {
            self.section = Some(Section::Options);
            return;
        }
        self.section = Some(Section::Repo);
        let (name, sig_level) = (name.to_owned(), SigLevel::default());
        self.config.repos.push(Repo { name, servers: Vec::new(), sig_level, installs: true, source });
        self.levels.push(Level::default());
    }

    fn directive(&mut self, key: &str, value: &str, place: &Source) {
        let words = || value.split_whitespace().map(str::to_owned);
        let config = &mut self.config;
        match (&self.section, key) {
            (None, _) => self.skip(place, format!("`{key}` stands in no section")),
            (Some(Section::Options), "Architecture") => config.architectures.extend(words()),
            (Some(Section::Options), "CacheDir") => config.cache_dirs.extend(words()),
            (Some(Section::Options), "DBPath") => config.db_path = config.db_path.take().or_else(|| Some(value.to_owned())),
            (Some(Section::Options), "IgnorePkg") => config.ignored.extend(words()),
            (Some(Section::Options), "SigLevel") => {
                let mut level = self.all;
                if words().all(|word| level.set(&word)) {
                    self.all = level;
                } else {
                    self.skip(place, format!("`{value}` is not a `SigLevel`"));
                }
            }
            // How pacman looks and what it removes is nothing to us.
            (Some(Section::Options), _) => {}
            (Some(Section::Repo), key) => self.of_repo(key, value, place),
        }
    }

    fn of_repo(&mut self, key: &str, value: &str, place: &Source) {
        let (Some(repo), Some(level)) = (self.config.repos.last_mut(), self.levels.last_mut()) else { return };
        let mut words = value.split_whitespace();
        match key {
            "Server" => repo.servers.push(value.to_owned()),
            "Usage" => repo.installs = words.any(|word| matches!(word, "All" | "Install" | "Upgrade")),
            "SigLevel" => {
                let mut set = *level;
                if words.all(|word| set.set(word)) {
                    *level = set;
                } else {
                    self.skip(place, format!("`{value}` is not a `SigLevel`"));
                }
            }
            "CacheServer" => {}
            other => self.skip(place, format!("`{other}` is not a directive of a repository")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# comment\n[options]\nArchitecture = auto\nSigLevel = Required DatabaseOptional\nColor\nInclude = /etc/more.conf\n\
        [core]\nInclude = /etc/pacman.d/mirrorlist\n[custom]\nSigLevel = PackageOptional DatabaseNever TrustAll\n\
        Server = file:///srv/$repo\nUsage = Sync Search\nNonsense = 1\n";

    fn include(pattern: &str) -> Vec<(String, String)> {
        let text = match pattern {
            "/etc/more.conf" => "CacheDir = /a /b\nIgnorePkg = linux*\n",
            "/etc/pacman.d/mirrorlist" => {
                "Server = https://m1/$repo/os/$arch\n  # Server = https://m2\nServer=https://m3/$arch/$repo\n"
            }
            "/loop" => "Include = /loop\n",
            _ => return Vec::new(),
        };
        vec![(pattern.to_owned(), text.to_owned())]
    }

    #[test]
    fn repositories_come_in_their_order_with_their_servers() {
        let config = parse("/etc/pacman.conf", TEXT, &include);
        assert_eq!(
            (&config.cache_dirs[..], &config.ignored[..]),
            (&["/a".to_owned(), "/b".to_owned()][..], &["linux*".to_owned()][..])
        );
        assert_eq!(config.repos[0].servers, ["https://m1/$repo/os/$arch", "https://m3/$arch/$repo"]);
        assert_eq!(config.repos[0].sig_level, SigLevel::default());
        let custom = SigLevel { package: Signatures::Optional, database: Signatures::Never, trust_all: [true; 2] };
        assert_eq!((config.repos[1].sig_level, config.repos[1].installs), (custom, false));
        let (specs, skipped) = config.specs("x86_64");
        let shown: Vec<String> = specs.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["https://m1/core/os/x86_64/core.db"]);
        assert_eq!(specs[0].mirrors, [Base::Url("https://m3/x86_64/core".into())]);
        assert_eq!(skipped[0].1, "`Nonsense` is not a directive of a repository");
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        for (text, wanted) in [
            ("Server = x", "`Server` stands in no section"),
            ("[a]\nInclude = /none", "`/none` cannot be read, or there is no such file"),
            ("[options]\nSigLevel = Always", "`Always` is not a `SigLevel`"),
            ("[options]\nInclude = /loop", "files are included within each other more than 10 deep"),
        ] {
            assert_eq!(parse("f", text, &include).skipped[0].1, wanted, "{text}");
        }
        assert_eq!(parse("f", "[a]\n", &include).specs("any").1[0].1, "the repository `a` has no server");
    }
}
