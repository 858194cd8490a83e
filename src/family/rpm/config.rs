//! Reads the files in which a machine names its repositories: `.repo` files of dnf and zypper, and the main section of `dnf.conf`.
//!
//! Format: dnf.conf(5), dnf5-conf(5) and zypper(8). As with dnf a file that is no such file is left out as a whole, and an option with a
//! value that it cannot have counts as not given.

use std::collections::BTreeMap;

use super::sources::{MirrorList, RepoSpec, Signatures};
use super::variables::Variables;
use crate::base::glob;
use crate::base::trust::{KeyRef, SignedBy};
use crate::config::Source;
use crate::family::address::Base;
use crate::family::repo::Policy;

/// Lines of one file. The largest of a distribution has 200.
const LINES_MAX: usize = 100_000;

/// A file: its path on the machine and its text.
pub type File = (String, String);

/// The files of a machine, each kind in the order in which it is read.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// `dnf.conf`.
    pub main: Vec<File>,
    /// Repositories.
    pub repos: Vec<File>,
    /// What overrides options of repositories (`/etc/dnf/repos.override.d`).
    pub overrides: Vec<File>,
}

/// Whose rules the files follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// dnf's: `gpgcheck` is about packages and is off where nobody says anything.
    Dnf,
    /// zypper's: what is signed is checked unless somebody says no.
    Zypper,
}

/// What a machine's files say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// Repositories in order, also those that are off.
    pub repos: Vec<Repo>,
    /// Globs of packages that never count (`excludepkgs` of the main section).
    pub excluded: Vec<String>,
    /// Globs of packages that alone count; all if there is none.
    pub included: Vec<String>,
    /// What was left out: place and reason.
    pub skipped: Vec<(Source, String)>,
}

/// A repository as it is written, its variables expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repo {
    /// Its name for programs.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// Where it lies, the first to be asked first.
    pub urls: Vec<String>,
    /// Where a list of mirrors with digests is.
    pub metalink: Option<String>,
    /// Where a plain list of mirrors is.
    pub mirror_list: Option<String>,
    /// Whether it is on.
    pub is_enabled: bool,
    /// What must be signed.
    pub signatures: Signatures,
    /// Addresses of keys.
    pub keys: Vec<String>,
    /// The lower, the earlier.
    pub priority: i32,
    /// Of several with one priority the lower is preferred for the same package.
    pub cost: i32,
    /// Globs of its packages that do not count.
    pub excluded: Vec<String>,
    /// Globs of its packages that alone count; all if there is none.
    pub included: Vec<String>,
    /// Whether one can do without it.
    pub is_optional: bool,
    /// Whether its address depends on the release.
    pub has_release: bool,
    /// Where it was written.
    pub source: Source,
}

/// A section of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Section {
    name: String,
    source: Source,
    options: Vec<(String, String)>,
}

impl Section {
    fn get(&self, name: &str) -> Option<&str> {
        self.options.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Reads a machine's files.
pub fn parse(files: &Files, tool: Tool, variables: &Variables) -> Config {
    let mut reader = Reader { tool, variables, config: Config::default(), main: None, overrides: Vec::new() };
    let main: Vec<Section> = files.main.iter().flat_map(|file| reader.sections(file)).collect();
    // What is dropped in comes first, so that `dnf.conf` itself has the last word.
    reader.main = main.iter().filter(|section| section.name == "main").cloned().reduce(|mut all, section| {
        all.options.extend(section.options);
        all
    });
    reader.overrides = files.overrides.iter().flat_map(|file| reader.sections(file)).collect();
    if let Some(section) = reader.main.clone() {
        reader.config.excluded = reader.list(&section, &["exclude", "excludepkgs"]);
        reader.config.included = reader.list(&section, &["includepkgs"]);
    }
    // Repositories in `dnf.conf` itself come first.
    let others: Vec<Section> = files.repos.iter().flat_map(|file| reader.sections(file)).collect();
    for section in main.into_iter().chain(others).filter(|section| section.name != "main") {
        reader.repo(section);
    }
    reader.config
}

/// Returns the words of an option of the main section that names directories; none where it is not given.
pub fn directories(main: &[File], option: &str) -> Vec<String> {
    let sections: Vec<Section> = main.iter().filter_map(|file| sections(file).ok()).flatten().collect();
    let given = sections.iter().filter(|section| section.name == "main").filter_map(|section| section.get(option)).next_back();
    given.unwrap_or_default().split([' ', '\t', '\n', ',']).filter(|word| word.starts_with('/')).map(str::to_owned).collect()
}

/// Splits a file into sections; a second one of the same name goes on with the first.
fn sections((file, text): &File) -> Result<Vec<Section>, (Source, String)> {
    let mut sections: Vec<Section> = Vec::new();
    let mut current: Option<usize> = None;
    let mut is_open = false;
    for (number, line) in text.lines().enumerate() {
        let source = Source { file: file.as_str().into(), line: number as u32 + 1 };
        if number >= LINES_MAX {
            return Err((source, format!("it has more than {LINES_MAX} lines")));
        }
        let trimmed = line.trim();
        if line.starts_with(['#', ';']) || trimmed.is_empty() {
            is_open = false;
            continue;
        }
        if line.starts_with(char::is_whitespace) {
            let last = current.filter(|_| is_open).and_then(|at| sections[at].options.last_mut());
            let Some((_, value)) = last else { return Err((source, "it goes on with what was not begun".to_owned())) };
            value.push('\n');
            value.push_str(trimmed);
            continue;
        }
        if let Some(rest) = line.strip_prefix('[') {
            let is_head = |(name, after): &(&str, &str)| {
                !name.is_empty() && (after.trim().is_empty() || after.trim().starts_with(['#', ';']))
            };
            let Some((name, _)) = rest.split_once(']').filter(is_head) else {
                return Err((source, format!("`{}` is no section", shorten(trimmed))));
            };
            is_open = false;
            current = Some(sections.iter().position(|section| section.name == name).unwrap_or_else(|| {
                sections.push(Section { name: name.to_owned(), source, options: Vec::new() });
                sections.len() - 1
            }));
            continue;
        }
        let option = line.split_once('=').map(|(key, value)| (key.trim(), value.trim())).filter(|(key, _)| !key.is_empty());
        let (Some((key, value)), Some(at)) = (option, current) else {
            return Err((source, format!("`{}` is no option of a section", shorten(trimmed))));
        };
        sections[at].options.push((key.to_owned(), value.to_owned()));
        is_open = true;
    }
    Ok(sections)
}

fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

struct Reader<'a> {
    tool: Tool,
    variables: &'a Variables,
    config: Config,
    main: Option<Section>,
    overrides: Vec<Section>,
}

impl Reader<'_> {
    fn skip(&mut self, source: &Source, reason: String) {
        self.config.skipped.push((source.clone(), reason));
    }

    fn sections(&mut self, file: &File) -> Vec<Section> {
        sections(file).unwrap_or_else(|(source, reason)| {
            self.skip(&source, format!("{reason}, so that nothing of the file counts"));
            Vec::new()
        })
    }

    fn repo(&mut self, mut section: Section) {
        let id = self.variables.expand(&section.name);
        if id.is_empty()
            || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte)) && self.tool == Tool::Dnf
        {
            return self.skip(&section.source, format!("`{}` cannot be the name of a repository", shorten(&id)));
        }
        if self.config.repos.iter().any(|other| other.id == id) {
            return self.skip(&section.source, format!("the repository `{id}` is there twice, and the first counts"));
        }
        let overrides = self.overrides.iter().filter(|other| glob::matches(other.name.as_bytes(), id.as_bytes()));
        section.options.extend(overrides.flat_map(|other| other.options.iter().cloned()).collect::<Vec<_>>());
        let text = |name: &str| section.get(name).map(|value| self.variables.expand(value)).filter(|value| !value.is_empty());
        let (name, metalink, mirror_list) = (text("name"), text("metalink"), text("mirrorlist"));
        let is_metalink = mirror_list.as_ref().is_some_and(|url| url.contains("metalink"));
        let path = text("path").filter(|path| self.tool == Tool::Zypper && path != "/");
        let mut urls = self.list(&section, &["baseurl"]);
        if let Some(path) = path {
            urls.iter_mut().for_each(|url| *url = format!("{}/{}", url.trim_end_matches('/'), path.trim_matches('/')));
        }
        let packages = self.own_or_main(&section, "gpgcheck");
        let metadata = self.own_or_main(&section, "repo_gpgcheck");
        let signatures = match self.tool {
            Tool::Dnf => Signatures { packages: packages.unwrap_or(false), metadata: metadata.unwrap_or(false) },
            // `gpgcheck` alone means that metadata are checked, and packages where those are not signed.
            Tool::Zypper => {
                let all = packages.unwrap_or(true);
                let packages = self.own_or_main(&section, "pkg_gpgcheck").unwrap_or(all);
                Signatures { packages, metadata: metadata.unwrap_or(all) }
            }
        };
        let repo = Repo {
            name: name.unwrap_or_else(|| id.clone()),
            id,
            urls,
            metalink: metalink.or_else(|| mirror_list.clone().filter(|_| is_metalink)),
            mirror_list: mirror_list.filter(|_| !is_metalink),
            is_enabled: self.flag(&section, "enabled").unwrap_or(true),
            signatures,
            keys: self.list(&section, &["gpgkey"]),
            priority: self.number(&section, "priority").unwrap_or(99),
            cost: self.number(&section, "cost").unwrap_or(1000),
            excluded: self.list(&section, &["exclude", "excludepkgs"]),
            included: self.list(&section, &["includepkgs"]),
            is_optional: self.own_or_main(&section, "skip_if_unavailable").unwrap_or(false),
            has_release: ["baseurl", "metalink", "mirrorlist"]
                .iter()
                .any(|option| section.get(option).is_some_and(|value| value.contains("releasever"))),
            source: section.source,
        };
        self.config.repos.push(repo);
    }

    /// Returns the words of options that are lists, in which spaces, commas and ends of lines stand between words.
    fn list(&self, section: &Section, names: &[&str]) -> Vec<String> {
        // Of an option that is given twice the last counts.
        let given: BTreeMap<usize, &str> = names
            .iter()
            .filter_map(|name| {
                let at = section.options.iter().rposition(|(key, _)| key == name)?;
                Some((at, section.options[at].1.as_str()))
            })
            .collect();
        let words = given.values().flat_map(|value| {
            let value = self.variables.expand(value);
            let words: Vec<String> = value.split([' ', '\t', '\n', ',']).map(str::to_owned).collect();
            words
        });
        words.filter(|word| !word.is_empty()).collect()
    }

    fn own_or_main(&mut self, section: &Section, name: &str) -> Option<bool> {
        self.flag(section, name).or_else(|| {
            let main = self.main.clone()?;
            self.flag(&main, name)
        })
    }

    fn flag(&mut self, section: &Section, name: &str) -> Option<bool> {
        let value = self.variables.expand(section.get(name)?);
        match value.to_ascii_lowercase().as_str() {
            "1" | "yes" | "true" | "on" => Some(true),
            "0" | "no" | "false" | "off" => Some(false),
            _ => {
                self.skip(&section.source, format!("`{}` is neither yes nor no, for `{name}`", shorten(&value)));
                None
            }
        }
    }

    fn number(&mut self, section: &Section, name: &str) -> Option<i32> {
        let value = self.variables.expand(section.get(name)?);
        let number = value.trim().parse();
        if number.is_err() {
            self.skip(&section.source, format!("`{}` is no number, for `{name}`", shorten(&value)));
        }
        number.ok()
    }
}

impl Config {
    /// Leaves out repositories whose addresses do not depend on the release: they are those of the release that the machine runs.
    pub fn keep_for_release(&mut self, release: &str) {
        let (kept, others): (Vec<Repo>, Vec<Repo>) =
            std::mem::take(&mut self.repos).into_iter().partition(|repo| repo.has_release);
        self.repos = kept;
        for repo in others.iter().filter(|repo| repo.is_enabled) {
            let reason =
                format!("the address of the repository `{}` has no `$releasever`, so that it is not for {release}", repo.id);
            self.skipped.push((repo.source.clone(), reason));
        }
    }

    /// Returns the repositories that are on, those preferred for the same package first, and what was left out. A repository whose keys
    /// are all elsewhere than on this machine is left out. `default_keys` are those of repositories that name none.
    pub fn specs(&self, default_keys: &SignedBy) -> (Vec<RepoSpec>, Vec<(Source, String)>) {
        let (mut specs, mut skipped) = (Vec::new(), self.skipped.clone());
        for repo in self.repos.iter().filter(|repo| repo.is_enabled) {
            let mut tell = |reason: String| skipped.push((repo.source.clone(), format!("repository `{}`: {reason}", repo.id)));
            let Some(signed_by) = keys(repo, default_keys, &mut tell) else { continue };
            if let Some(spec) = self.spec(repo, signed_by, &mut tell) {
                specs.push(spec);
            }
        }
        // Of the same package in several that of the first is taken.
        specs.sort_by_key(|spec: &RepoSpec| (spec.policy.priority, spec.policy.cost));
        (specs, skipped)
    }

    fn spec(&self, repo: &Repo, signed_by: SignedBy, tell: &mut dyn FnMut(String)) -> Option<RepoSpec> {
        let mut bases = Vec::new();
        for url in &repo.urls {
            match Base::parse(url) {
                Ok(base) => bases.push(base),
                Err(err) => tell(err.to_string()),
            }
        }
        let list = match (&repo.metalink, &repo.mirror_list) {
            (Some(url), _) => Some((url, MirrorList::Metalink as fn(Base) -> MirrorList)),
            (None, Some(url)) => Some((url, MirrorList::Plain as fn(Base) -> MirrorList)),
            (None, None) => None,
        };
        let list = list.and_then(|(url, kind)| match Base::parse(url) {
            Ok(base) => Some(kind(base)),
            Err(err) => {
                tell(err.to_string());
                None
            }
        });
        if bases.is_empty() && list.is_none() {
            tell("it has no address that can be used".to_owned());
            return None;
        }
        let policy = Policy {
            priority: repo.priority,
            cost: repo.cost,
            excluded: [&self.excluded[..], &repo.excluded].concat(),
            included: [&self.included[..], &repo.included].concat(),
        };
        Some(RepoSpec {
            id: Some(repo.id.clone()),
            bases,
            list,
            written: repo.metalink.as_ref().or(repo.mirror_list.as_ref()).or(repo.urls.first()).cloned().unwrap_or_default(),
            policy,
            signatures: repo.signatures,
            is_optional: repo.is_optional,
            signed_by,
            source: repo.source.clone(),
        })
    }
}

/// Returns the keys of a repository that lie on this machine. Others are fetched by nobody: whoever could change what is fetched over the
/// network could change them, too.
fn keys(repo: &Repo, default_keys: &SignedBy, tell: &mut dyn FnMut(String)) -> Option<SignedBy> {
    if repo.keys.is_empty() {
        return Some(default_keys.clone());
    }
    let mut files = Vec::new();
    for key in &repo.keys {
        match Base::parse(key) {
            Ok(Base::Dir(path)) => files.push(KeyRef::File(path)),
            _ => {
                tell(format!("its key `{}` is not on this machine: put it into a file, and name that as `gpgkey`", shorten(key)))
            }
        }
    }
    if files.is_empty() { None } else { Some(SignedBy { keys: files, shipped: false }) }
}
