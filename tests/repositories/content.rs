//! The packages of a repository before they get their format: what is in them, and what they need of each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use mkinitrd_pkg::format::elf::{self, Priority};

use super::{EPOCH_S, Family, kernel, release, run, tar};

const NAMES: &str = include_str!("names.tsv");
/// What nobody needs to see twice.
const LEFT_OUT: [&str; 12] =
    ["initramfs-tools", "doc", "man", "info", "locale", "lintian", "bug", "bash-completion", "zsh", "doc-base", "gdb", "menu"];
/// Debian sets it in a maintainer script; the other formats carry it.
const CAPABILITIES: [(&str, &str); 1] = [("usr/bin/ping", "cap_net_raw=ep")];
/// One file of several names, where Debian has links.
const HARD_LINKS: (&str, [&str; 3]) = ("usr/sbin/mke2fs", ["usr/sbin/mkfs.ext2", "usr/sbin/mkfs.ext3", "usr/sbin/mkfs.ext4"]);
/// Whoever has the first has the second merged into it.
const MERGED: [&str; 4] = ["bin/", "sbin/", "lib/", "lib64/"];

/// What lies at a path.
#[derive(Debug, Clone)]
pub struct Entry {
    pub kind: Kind,
    pub mode: u32,
    pub gid: u32,
    pub group: String,
    pub mtime_s: u64,
    /// An administrator may edit it.
    pub is_config: bool,
    /// A file capability, as setcap writes it.
    pub capability: Option<&'static str>,
}

/// What kind of thing it is.
#[derive(Debug, Clone)]
pub enum Kind {
    Dir,
    File(Arc<Vec<u8>>),
    Symlink(String),
    /// Another name of the file at this path.
    Hardlink(String),
}

/// A requirement or conflict: a package of this repository, and `>=` with a version in Debian's syntax, or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    pub name: String,
    pub bound: Option<(&'static str, String)>,
}

/// A package of the other distribution.
#[derive(Debug, Clone, Default)]
pub struct Package {
    pub name: String,
    /// In Debian's syntax.
    pub version: String,
    /// It is the same on every architecture.
    pub is_any: bool,
    pub summary: String,
    pub homepage: String,
    pub source: String,
    pub is_essential: bool,
    pub entries: BTreeMap<String, Entry>,
    /// All of these, each by one of its alternatives.
    pub requires: Vec<Vec<Relation>>,
    pub recommends: Vec<Vec<Relation>>,
    pub conflicts: Vec<Relation>,
    /// What it is besides its name, without versions.
    pub provides: BTreeSet<String>,
    /// Sonames that others may link with, and that it is linked with.
    pub sonames: BTreeSet<String>,
    pub needs: BTreeSet<String>,
    /// Libraries that it loads by name.
    pub dlopens: Vec<(Vec<String>, Priority)>,
    /// Names of the interpreters of its programs: `sh`.
    pub interpreters: BTreeSet<String>,
    /// The release of `uname -r`, of the packages of a kernel.
    pub kernel: String,
}

/// All packages of a repository.
pub struct Contents {
    pub family: Family,
    pub packages: BTreeMap<String, Package>,
    /// Soname to the package that has it.
    pub homes: BTreeMap<String, String>,
}

/// A package of Debian.
pub struct Deb {
    pub fields: BTreeMap<String, String>,
    pub entries: BTreeMap<String, Entry>,
}

impl Entry {
    pub fn new(kind: Kind, mode: u32) -> Self {
        Self { kind, mode, gid: 0, group: "root".into(), mtime_s: EPOCH_S, is_config: false, capability: None }
    }

    pub fn file(content: impl Into<Vec<u8>>, mode: u32) -> Self {
        Self::new(Kind::File(Arc::new(content.into())), mode)
    }

    pub fn link(target: &str) -> Self {
        Self::new(Kind::Symlink(target.to_owned()), 0o777)
    }
}

impl Relation {
    pub fn to(name: &str) -> Self {
        Self { name: name.to_owned(), bound: None }
    }
}

impl Package {
    /// A package that is made here, and is in no Debian.
    pub fn made(name: &str, version: &str, summary: &str, requires: &[&str]) -> Self {
        let (name, version, summary, source) = (name.to_owned(), version.to_owned(), summary.to_owned(), name.to_owned());
        let requires = requires.iter().map(|name| vec![Relation::to(name)]).collect();
        Self {
            name,
            version,
            summary,
            source,
            is_any: true,
            homepage: "https://example.invalid/".into(),
            requires,
            ..Self::default()
        }
    }

    /// The bytes of all its files, each once.
    pub fn size_bytes(&self) -> u64 {
        let size = |entry: &Entry| if let Kind::File(content) = &entry.kind { content.len() as u64 } else { 0 };
        self.entries.values().map(size).sum()
    }

    /// Adds directories that nothing mentions.
    pub fn fill_directories(&mut self) {
        for path in self.entries.keys().cloned().collect::<Vec<_>>() {
            for dir in Path::new(&path).ancestors().skip(1).filter(|dir| *dir != Path::new("")) {
                let dir = dir.to_str().expect("text").to_owned();
                self.entries.entry(dir).or_insert_with(|| Entry::new(Kind::Dir, 0o755));
            }
        }
    }

    fn merge(&mut self, deb: &Deb) {
        let field = |name: &str| deb.fields.get(name).cloned().unwrap_or_default();
        let debian = field("Package");
        // The package that has the name tells the version; else the first that is no library.
        let is_first = self.version.is_empty();
        if is_first || debian == self.name || (self.source.starts_with("lib ") && !debian.starts_with("lib")) {
            self.version = field("Version");
            self.homepage = if field("Homepage").is_empty() { "https://example.invalid/".into() } else { field("Homepage") };
            self.summary = field("Description").lines().next().unwrap_or_default().to_owned();
            let source = field("Source");
            self.source = source.split(' ').next().filter(|name| !name.is_empty()).unwrap_or(&debian).to_owned();
        }
        self.is_any = (is_first || self.is_any) && field("Architecture") == "all";
        self.is_essential |= field("Essential") == "yes";
        for (path, entry) in &deb.entries {
            let is_old = self.entries.get(path).is_some_and(|old| !matches!(old.kind, Kind::Dir));
            if !is_old {
                self.entries.insert(path.clone(), entry.clone());
            }
        }
    }
}

impl Deb {
    fn read(path: &Path) -> Self {
        let field = run(Command::new("dpkg-deb").arg("--field").arg(path), "dpkg");
        let mut fields: BTreeMap<String, String> = BTreeMap::new();
        let mut last = String::new();
        for line in String::from_utf8(field).expect("text").lines() {
            match line.split_once(':') {
                Some((name, value)) if !line.starts_with(' ') => {
                    last = name.to_owned();
                    fields.insert(last.clone(), value.trim().to_owned());
                }
                _ => fields.get_mut(&last).expect("a field").push_str(&format!("\n{}", line.trim())),
            }
        }
        // Prints nothing and fails where there are none.
        let conffiles = Command::new("dpkg-deb").arg("--info").arg(path).arg("conffiles").output().expect("dpkg-deb").stdout;
        let conffiles = String::from_utf8(conffiles).expect("text");
        let conffiles: BTreeSet<String> = conffiles.lines().map(merged).collect();
        let archive = run(Command::new("dpkg-deb").arg("--fsys-tarfile").arg(path), "dpkg");
        let mut entries = BTreeMap::new();
        for member in tar::read(&archive) {
            let path = merged(&member.path);
            let is_left_out = path
                .strip_prefix("usr/share/")
                .and_then(|rest| rest.split('/').next())
                .is_some_and(|dir| LEFT_OUT.contains(&dir));
            if path.is_empty() || is_left_out {
                continue;
            }
            let kind = match member.kind {
                b'5' => Kind::Dir,
                b'2' => Kind::Symlink(member.target),
                b'1' => Kind::Hardlink(merged(&member.target)),
                _ => Kind::File(Arc::new(member.content)),
            };
            let mut entry = Entry::new(kind, member.mode);
            (entry.gid, entry.group, entry.mtime_s) = (member.gid, member.group, member.mtime_s);
            entry.is_config = conffiles.contains(&path);
            entry.capability = CAPABILITIES.iter().find(|(of, _)| *of == path).map(|(_, capability)| *capability);
            entries.insert(path, entry);
        }
        Self { fields, entries }
    }

    pub fn name(&self) -> &str {
        &self.fields["Package"]
    }
}

/// Returns a path below the root, as it is where `/usr` is merged.
fn merged(path: &str) -> String {
    let path = path.trim_start_matches("./").trim_start_matches('/').trim_end_matches('/');
    let path = if path == "." { "" } else { path };
    if MERGED.iter().any(|dir| path.starts_with(dir)) { format!("usr/{path}") } else { path.to_owned() }
}

/// Returns what a package of Debian is called elsewhere; nothing if it is left out.
fn name_in(family: Family, debian: &str) -> Option<String> {
    let column = 1 + Family::ALL.iter().position(|one| *one == family).expect("a column");
    let row = NAMES.lines().find(|line| line.split('\t').next() == Some(debian));
    let row = row.unwrap_or_else(|| panic!("tests/repositories/names.tsv has no line for `{debian}`"));
    match row.split('\t').nth(column).expect("a column") {
        "-" => None,
        "." => Some(debian.to_owned()),
        name => Some(name.to_owned()),
    }
}

impl Contents {
    pub fn new(family: Family, debs: &[PathBuf]) -> Self {
        let debs: Vec<Deb> = debs.iter().map(|deb| Deb::read(deb)).collect();
        let mut this = Self { family, packages: BTreeMap::new(), homes: BTreeMap::new() };
        let mut names = BTreeMap::new();
        for deb in &debs {
            if let Some(packages) = kernel::packages(family, deb) {
                this.packages.extend(packages.into_iter().map(|package| (package.name.clone(), package)));
            } else if !deb.name().starts_with("linux-image-") {
                let Some(name) = name_in(family, deb.name()) else { continue };
                names.insert(deb.name().to_owned(), name.clone());
                let new = || Package { name: name.clone(), is_any: true, ..Package::default() };
                this.packages.entry(name.clone()).or_insert_with(new).merge(deb);
            }
        }
        this.relate(&debs, &names);
        release::complete(&mut this);
        this.link_hard();
        this.packages.values_mut().for_each(inspect);
        for package in this.packages.values() {
            let of = |soname: &String| (soname.clone(), package.name.clone());
            this.homes.extend(package.sonames.iter().map(of));
        }
        this
    }

    /// Turns dependencies between packages of Debian into those between ours.
    fn relate(&mut self, debs: &[Deb], names: &BTreeMap<String, String>) {
        let versions: BTreeMap<String, String> =
            self.packages.iter().map(|(name, package)| (name.clone(), package.version.clone())).collect();
        let by_name: BTreeMap<&str, &Deb> = debs.iter().map(|deb| (deb.name(), deb)).collect();
        let mut virtuals: BTreeMap<String, String> = BTreeMap::new();
        for deb in debs.iter().filter(|deb| names.contains_key(deb.name())) {
            for group in relations(deb.fields.get("Provides")) {
                virtuals.insert(group[0].name.clone(), names[deb.name()].clone());
            }
        }
        // A version speaks of one package of Debian; it holds where that one gave ours its version.
        let ours = |relation: &Relation| {
            let Some(name) = names.get(&relation.name) else {
                return virtuals.get(&relation.name).filter(|_| relation.bound.is_none()).map(|name| Relation::to(name));
            };
            let is_its_own = by_name[relation.name.as_str()].fields["Version"] == versions[name];
            Some(Relation { name: name.clone(), bound: relation.bound.clone().filter(|_| is_its_own) })
        };
        for deb in debs.iter().filter(|deb| names.contains_key(deb.name())) {
            let package = self.packages.get_mut(&names[deb.name()]).expect("it was made of this");
            for (field, is_hard) in [("Pre-Depends", true), ("Depends", true), ("Recommends", false)] {
                for group in relations(deb.fields.get(field)) {
                    let mut group: Vec<Relation> = group.iter().filter_map(ours).collect();
                    group.dedup();
                    // A library is asked for by its soname.
                    let is_library =
                        |relation: &Relation| by_name.contains_key(relation.name.as_str()) && relation.name.starts_with("lib");
                    let out = if is_hard { &mut package.requires } else { &mut package.recommends };
                    let is_own = group.iter().any(|relation| relation.name == package.name);
                    if !group.is_empty() && !is_own && !out.contains(&group) && !group.iter().all(is_library) {
                        out.push(group);
                    }
                }
            }
            for group in ["Conflicts", "Breaks"].iter().flat_map(|field| relations(deb.fields.get(*field))) {
                let relation = ours(&group[0]).filter(|relation| relation.bound.is_some() && relation.name != package.name);
                package.conflicts.extend(relation);
            }
            let provided = relations(deb.fields.get("Provides")).into_iter().map(|group| group[0].name.clone());
            package.provides.extend(provided.filter(|name| !name.starts_with("lib") && !names.contains_key(name)));
        }
    }

    fn link_hard(&mut self) {
        let (file, others) = HARD_LINKS;
        let is_merged = matches!(self.family, Family::Fedora | Family::Arch);
        let sbin = |path: &str| if is_merged { path.replace("usr/sbin/", "usr/bin/") } else { path.to_owned() };
        let (file, others) = (sbin(file), others.map(sbin));
        let Some(package) = self.packages.values_mut().find(|package| package.entries.contains_key(&file)) else { return };
        let main = package.entries[&file].clone();
        for other in others {
            package.entries.insert(other, Entry { kind: Kind::Hardlink(file.clone()), ..main.clone() });
        }
    }
}

/// Reads the sonames and interpreters out of the files.
fn inspect(package: &mut Package) {
    let mut own = BTreeSet::new();
    for (path, entry) in &package.entries {
        let Kind::File(content) = &entry.kind else { continue };
        if let Some(line) = content.strip_prefix(b"#!").filter(|_| entry.mode & 0o111 != 0) {
            let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let program = String::from_utf8_lossy(line).split_whitespace().next().unwrap_or_default().to_owned();
            package.interpreters.extend(program.rsplit('/').next().map(str::to_owned));
        }
        if path.contains("/modules/") || !content.starts_with(b"\x7fELF") {
            continue;
        }
        let Ok(Some(found)) = elf::read(content) else { continue };
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        package.needs.extend(found.needed.iter().map(text));
        package.dlopens.extend(found.dlopen.into_iter().map(|one| (one.sonames, one.priority)));
        if let Some(soname) = &found.soname {
            // Plugins are nobody's business; systemd's own libraries are private to it, and yet several packages need them.
            let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
            let is_public =
                ["usr/lib", "usr/lib64", "usr/lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu/systemd"].contains(&dir);
            own.insert(text(soname));
            if is_public {
                package.sonames.insert(text(soname));
            }
        }
    }
    package.needs.retain(|soname| !own.contains(soname));
    package.dlopens.retain(|(sonames, _)| !sonames.iter().any(|soname| own.contains(soname)));
    package.dlopens.sort_by(|a, b| a.0.cmp(&b.0));
    package.dlopens.dedup_by(|a, b| a.0 == b.0);
}

/// Parses a field of dependencies.
fn relations(field: Option<&String>) -> Vec<Vec<Relation>> {
    let one = |text: &str| {
        let (name, bound) = text.trim().split_once('(').unwrap_or((text, ""));
        let name = name.trim().split(':').next().expect("a name").to_owned();
        let mut words = bound.trim_end_matches([')', ' ']).split_whitespace();
        let operator = match words.next() {
            Some("<<") => Some("<"),
            Some("<=") => Some("<="),
            Some("=") => Some("="),
            Some(">=") => Some(">="),
            // `2.41-12` is more than `2.41` to Debian, and the same to the others.
            Some(">>") if !bound.contains('-') => Some(">="),
            Some(">>") => Some(">"),
            _ => None,
        };
        Relation { name, bound: operator.zip(words.next().map(str::to_owned)) }
    };
    let groups = field.map_or("", String::as_str).split(',').filter(|group| !group.trim().is_empty());
    groups.map(|group| group.split('|').map(one).collect()).collect()
}

/// Splits a version of Debian into epoch (`""` if none), upstream's version and revision (`1` if none).
pub fn split(version: &str) -> (&str, &str, &str) {
    let (epoch, rest) = version.split_once(':').unwrap_or(("", version));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, "1"));
    (epoch, upstream, revision)
}
