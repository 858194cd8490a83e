//! Where packages come from: the values of `--repo` and `--mirror`.
//!
//! Pacman knows a database by its name and a server by a pattern: `https://mirror/$repo/os/$arch`. Nothing here is fetched;
//! [`super::repository`] does that.

use std::fmt;
use std::path::{Path, PathBuf};

use super::config::SigLevel;
use crate::base::trust::{KeyRef, SignedBy};
use crate::config::Source;
use crate::family::address::{BadSource, Base, checked, escape};

/// What lies below a base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// One database, by the name of its file: `core.db`.
    Database(String),
    /// Whatever databases are there; of these names if any of them is.
    Guess(Vec<String>),
}

/// A repository to take packages from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoSpec {
    /// The directory that its databases and packages lie in.
    pub base: Base,
    /// Where else the same lies, to be asked when the base does not answer.
    pub mirrors: Vec<Base>,
    /// Its databases.
    pub layout: Layout,
    /// The architecture to build for, in pacman's words.
    pub arch: String,
    /// The keys that may sign it and its packages.
    pub signed_by: SignedBy,
    /// What must be signed; absent where nobody said: the database, or else each package.
    pub sig_level: Option<SigLevel>,
    /// Whether it was written with `[trusted=yes]`, which counts only together with `--no-verify`.
    pub trusted: bool,
    /// Where it was written.
    pub source: Source,
}

impl RepoSpec {
    /// Returns what identifies the repository from run to run: its address and database.
    pub fn key(&self) -> String {
        match &self.layout {
            Layout::Database(file) => format!("{} {}", self.base, database_name(file).unwrap_or(file)),
            Layout::Guess(names) => format!("{} ?{}", self.base, names.join(",")),
        }
    }
}

impl fmt::Display for RepoSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.layout {
            Layout::Database(file) => write!(f, "{}/{file}", self.base),
            Layout::Guess(_) => write!(f, "{}", self.base),
        }
    }
}

/// Returns the name of the database that a file is: `core` of `core.db` and of `core.db.tar.zst`. Signatures, lists of files and what
/// repo-add(8) leaves behind are none.
pub fn database_name(file: &str) -> Option<&str> {
    let (name, rest) = file.split_once(".db")?;
    let is_database = rest.is_empty() || rest.starts_with(".tar") && !rest.ends_with(".sig") && !rest.ends_with(".old");
    (is_database && !name.is_empty() && !name.starts_with('.')).then_some(name)
}

/// Where packages of distributions put their keyrings: pacman's own place, and Debian's.
const KEYRING_DIRS: [&str; 2] = ["/usr/share/pacman/keyrings", "/usr/share/keyrings"];

/// Returns the keys of the distribution, as pacman-key would trust them.
pub fn distribution_keys() -> SignedBy {
    SignedBy { keys: KEYRING_DIRS.iter().map(|dir| KeyRef::Endorsed(dir.into())).collect(), shipped: true }
}

/// Puts a database's name and the architecture into a server's pattern.
pub fn fill(pattern: &str, name: &str, arch: &str) -> String {
    pattern.replace("$repo", name).replace("$arch", arch)
}

/// Reads a value of `--repo`: `[signed-by=FILE]` and a directory, a server with `$repo` and `$arch`, or a database's file. A plain directory
/// or server may have several databases: those of `databases`, else all. `directory` is where a relative path begins.
pub fn parse_repo(value: &str, databases: &[String], arch: &str, directory: &Path) -> Result<Vec<RepoSpec>, BadSource> {
    let (mut signed_by, mut trusted) = (distribution_keys(), false);
    let mut address = value.trim();
    if let Some(rest) = address.strip_prefix('[') {
        let incomplete = || BadSource::Incomplete("a `[` is never closed".to_owned());
        let (options, rest) = rest.split_once(']').ok_or_else(incomplete)?;
        for option in options.split_whitespace() {
            match option.split_once('=') {
                Some(("signed-by", path)) if path.starts_with('/') => {
                    signed_by = SignedBy { keys: vec![KeyRef::File(path.into())], shipped: false };
                }
                Some(("trusted", "yes")) => trusted = true,
                _ => return Err(BadSource::Value { field: "options".to_owned(), value: option.to_owned() }),
            }
        }
        address = rest.trim();
    }
    if address.is_empty() {
        return Err(BadSource::Incomplete("`--repo` needs an address".to_owned()));
    }
    let absolute = match address.contains(':') && !address.starts_with(['/', '.']) {
        true => address.to_owned(),
        false => format!("file:{}", escape(&directory.join(address).to_string_lossy())),
    };
    let source = Source { file: "--repo".into(), line: 0 };
    let spec = |base, layout| RepoSpec {
        base,
        mirrors: Vec::new(),
        layout,
        arch: arch.to_owned(),
        signed_by: signed_by.clone(),
        sig_level: None,
        trusted,
        source: source.clone(),
    };
    if absolute.contains("$repo") {
        if databases.is_empty() {
            return Err(BadSource::Incomplete(
                "`$repo` stands for the databases that a profile names, and it names none".to_owned(),
            ));
        }
        let filled = databases.iter().map(|name| Ok(spec(Base::parse(&fill(&absolute, name, arch))?, database(name)?)));
        return filled.collect();
    }
    let base = Base::parse(&absolute.replace("$arch", arch))?;
    Ok(vec![match file_of(&base) {
        Some((above, file)) => spec(above, Layout::Database(file)),
        None => spec(base, Layout::Guess(databases.to_vec())),
    }])
}

/// Splits an address that ends in a database's file.
fn file_of(base: &Base) -> Option<(Base, String)> {
    let (above, file) = match base {
        Base::Url(url) => {
            let (above, file) = url.rsplit_once('/')?;
            (Base::Url(above.to_owned()), file.to_owned())
        }
        Base::Dir(path) => {
            let above = path.parent().map_or_else(|| PathBuf::from("/"), Path::to_owned);
            (Base::Dir(above), path.file_name()?.to_str()?.to_owned())
        }
    };
    database_name(&file).is_some().then_some((above, file))
}

fn database(name: &str) -> Result<Layout, BadSource> {
    let wrong = |reason: String| BadSource::Uri { uri: name.to_owned(), reason };
    let name = checked(name).map_err(|err| wrong(err.to_string()))?;
    match name.contains('/') {
        true => Err(wrong("it is not the name of a database".to_owned())),
        false => Ok(Layout::Database(format!("{name}.db"))),
    }
}

/// Returns the databases of a mirror of the distribution (`--mirror`, or the profile's own). One without `$repo` is laid out as Arch's are.
pub fn mirror(base: &Base, databases: &[String], arch: &str, source: &Source) -> Vec<RepoSpec> {
    let pattern = match base {
        Base::Url(url) => url.clone(),
        Base::Dir(dir) => dir.to_string_lossy().into_owned(),
    };
    let pattern = if pattern.contains("$repo") { pattern } else { format!("{pattern}/$repo/os/$arch") };
    let spec = |name: &String| {
        let filled = fill(&pattern, name, arch);
        let base = match base {
            Base::Url(_) => Base::Url(filled),
            Base::Dir(_) => Base::Dir(filled.into()),
        };
        let signed_by = distribution_keys();
        let layout = database(name).ok()?;
        Some(RepoSpec {
            base,
            mirrors: Vec::new(),
            layout,
            arch: arch.to_owned(),
            signed_by,
            sig_level: None,
            trusted: false,
            source: source.clone(),
        })
    };
    databases.iter().filter_map(spec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str, databases: &[&str]) -> Vec<String> {
        let databases: Vec<String> = databases.iter().map(|name| (*name).to_owned()).collect();
        match parse_repo(value, &databases, "x86_64", Path::new("/here")) {
            Ok(specs) => specs.iter().map(|spec| format!("{:?} {:?}", spec.base.to_string(), spec.layout)).collect(),
            Err(err) => vec![err.to_string()],
        }
    }

    #[test]
    fn a_database_is_known_by_the_name_of_its_file() {
        for (file, name) in [
            ("core.db", Some("core")),
            ("core.db.tar.zst", Some("core")),
            ("chaotic-aur.db.tar.xz", Some("chaotic-aur")),
            ("core.db.sig", None),
            ("core.db.tar.gz.sig", None),
            ("core.db.tar.gz.old", None),
            ("core.files", None),
            (".db", None),
        ] {
            assert_eq!(database_name(file), name, "{file}");
        }
    }

    #[test]
    fn addresses_are_directories_patterns_or_files() {
        for (value, databases, wanted) in [
            ("file:/r", &["core"][..], vec![r#""file:/r" Guess(["core"])"#]),
            ("r/x.db.tar.gz", &[], vec![r#""file:/here/r" Database("x.db.tar.gz")"#]),
            ("https://m/$arch/core.db", &[], vec![r#""https://m/x86_64" Database("core.db")"#]),
            (
                "https://m/$repo/os/$arch",
                &["core", "extra"],
                vec![r#""https://m/core/os/x86_64" Database("core.db")"#, r#""https://m/extra/os/x86_64" Database("extra.db")"#],
            ),
        ] {
            assert_eq!(read(value, databases), wanted, "{value}");
        }
        assert!(read("https://m/$repo", &[])[0].contains("names none"));
        assert!(read("[trusted", &[])[0].contains("never closed"));
        assert!(read("ftp://m/x", &[])[0].contains("is not a way to fetch"));
    }

    #[test]
    fn a_mirror_of_the_distribution_has_its_layout() {
        let source = Source { file: "arch.toml".into(), line: 1 };
        let names = ["core".to_owned(), "extra".to_owned()];
        let shown = |base: &str| -> Vec<String> {
            mirror(&Base::parse(base).expect("a base"), &names, "aarch64", &source).iter().map(RepoSpec::to_string).collect()
        };
        assert_eq!(
            shown("https://m/arch"),
            ["https://m/arch/core/os/aarch64/core.db", "https://m/arch/extra/os/aarch64/extra.db"]
        );
        assert_eq!(shown("http://m/$arch/$repo"), ["http://m/aarch64/core/core.db", "http://m/aarch64/extra/extra.db"]);
    }
}
