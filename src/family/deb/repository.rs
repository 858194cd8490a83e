//! From a source to verified indexes: the release file, its signature and its age, then each `Packages` by its digest.
//!
//! The order is the security: size cap, frame, signature over the exact bytes, and only then parsing; the compressed
//! index by size and digest before it is decompressed, and the decompressed one again.

use std::io::Read;
use std::path::Path;

use super::refusal::Error;
use super::release::{self, Frame, Listed, Release};
use super::sources::{INDEX_NAMES, Layout, RepoSpec};
use crate::base::date::{self, Seconds};
use crate::base::digest::Sha256;
use crate::base::limit;
use crate::base::trust::{Seen, Signer};
use crate::family::address::Base;
use crate::family::door::Door;
use crate::family::repo::{self, Index, Options, Policy};
use crate::format::compress::{Format, decode};
use crate::package::Location;

/// Earlier than this the clock is wrong: this program is newer (2026-01-01).
const CLOCK_MIN: Seconds = 1_767_225_600;
/// How far ahead of this machine's clock a release file may be dated.
const AHEAD_MAX: Seconds = 24 * 3_600;

/// A repository whose indexes are verified.
#[derive(Debug)]
pub struct Repository {
    /// Where it is, its layout no longer a guess.
    pub spec: RepoSpec,
    /// Who signed it; `None` if that was not asked (`--no-verify`).
    pub signer: Option<Signer>,
    /// What its release file says, if it has one.
    pub release: Option<Release>,
    /// The indexes.
    pub indexes: Vec<Index>,
}

impl Repository {
    /// Returns the priority that apt gives it: 500, or less if its packages are not to be taken unasked.
    pub fn priority(&self) -> i32 {
        match &self.release {
            Some(release) if release.not_automatic && release.automatic_upgrades => 100,
            Some(release) if release.not_automatic => 1,
            _ => 500,
        }
    }
}

impl From<Repository> for repo::Repository {
    fn from(from: Repository) -> Self {
        let (name, priority) = (from.spec.to_string(), from.priority());
        let date = from.release.and_then(|release| release.date);
        Self { name, signer: from.signer, date, priority, indexes: from.indexes }
    }
}

/// A release file that may be believed.
struct Trusted {
    release: Release,
    signer: Option<Signer>,
    /// What to remember once the repository has proved whole.
    seen: Option<Seen>,
}

/// Opens a repository: verifies its release file and returns its indexes.
pub fn open(spec: &RepoSpec, door: &dyn Door, options: &Options) -> Result<Repository, Error> {
    if options.verify && options.now < CLOCK_MIN {
        return Err(Error::Clock(date::show(options.now)));
    }
    let opener = Opener { spec: resolve(spec, door)?, door, options };
    match opener.open() {
        // A mirror between two updates: what was fetched a moment ago may fit now.
        Err(Error::Inconsistent { .. } | Error::Gone { .. }) if !options.offline => opener.open(),
        outcome => outcome,
    }
}

/// Finds out what a lone address is.
fn resolve(spec: &RepoSpec, door: &dyn Door) -> Result<RepoSpec, Error> {
    let Layout::Guess { suite, components } = &spec.layout else { return Ok(spec.clone()) };
    let with = |layout| RepoSpec { layout, ..spec.clone() };
    let dists = |suite: &str, components: &[String]| {
        let components = components.to_vec();
        with(Layout::Dists { suite: suite.to_owned(), components, optional: Vec::new() })
    };
    let Base::Dir(dir) = &spec.base else {
        let probe = |name: String| match door.fetch(&spec.base.join(&name)?, limit::RELEASE_BYTES_MAX) {
            Ok(found) => Ok(found.is_some()),
            Err(source) => Err(Error::Fetch { repo: spec.to_string(), source }),
        };
        if probe(format!("dists/{suite}/InRelease"))? || probe(format!("dists/{suite}/Release"))? {
            return Ok(dists(suite, components));
        }
        return Ok(with(Layout::Flat(String::new())));
    };
    if door.names(dir).iter().any(|name| INDEX_NAMES.contains(&name.as_str())) {
        return Ok(with(Layout::Flat(String::new())));
    }
    let suites = door.names(&dir.join("dists"));
    let chosen = suites.iter().find(|name| *name == suite).or(match suites.as_slice() {
        [only] => Some(only),
        _ => None,
    });
    let Some(chosen) = chosen else {
        let found = if suites.is_empty() { return Err(Error::NotFound(spec.to_string())) } else { suites.join(", ") };
        return Err(Error::Suite { repo: spec.to_string(), wanted: suite.clone(), found });
    };
    // The only repository of a directory is meant with whatever components it has.
    let has =
        |name: &String| door.names(&dir.join("dists").join(chosen).join(name)).iter().any(|name| name.starts_with("binary-"));
    let present = door.names(&dir.join("dists").join(chosen)).into_iter().filter(has).collect::<Vec<_>>();
    let wanted = present.iter().filter(|name| components.contains(name)).cloned().collect::<Vec<_>>();
    Ok(dists(chosen, if wanted.is_empty() { &present } else { &wanted }))
}

struct Opener<'a> {
    spec: RepoSpec,
    door: &'a dyn Door,
    options: &'a Options,
}

impl Opener<'_> {
    fn repo(&self) -> String {
        self.spec.to_string()
    }

    fn open(&self) -> Result<Repository, Error> {
        let (trusted, indexes) = match &self.spec.layout {
            Layout::Dists { suite, components, optional } => self.dists(suite, components, optional)?,
            Layout::Flat(path) => self.flat(path)?,
            Layout::Index(path) => self.single(path)?,
            Layout::Guess { .. } => unreachable!("a guess was resolved"),
        };
        let Trusted { release, signer, seen } = match trusted {
            Some(trusted) => trusted,
            None => return Ok(Repository { spec: self.spec.clone(), signer: None, release: None, indexes }),
        };
        if let Some(seen) = seen {
            self.door.remember(&seen);
        }
        Ok(Repository { spec: self.spec.clone(), signer, release: Some(release), indexes })
    }

    fn dists(&self, suite: &str, components: &[String], optional: &[String]) -> Result<(Option<Trusted>, Vec<Index>), Error> {
        let dir = format!("dists/{suite}");
        let trusted = self.release(&dir, Some(suite))?;
        let mut indexes = Vec::new();
        let wanted = components.iter().map(|name| (name, true)).chain(optional.iter().map(|name| (name, false)));
        for (component, required) in wanted {
            let label = format!("{suite}/{component}");
            let mut found = 0;
            for arch in self.architectures(trusted.as_ref()) {
                let name = format!("{component}/binary-{arch}/Packages");
                if let Some((bytes, sha256)) = self.index(&dir, &name, trusted.as_ref())? {
                    indexes.push(Index {
                        label: label.clone(),
                        base: self.root(&[], &bytes),
                        bytes,
                        sha256,
                        policy: Policy::default(),
                        has_unread_files: false,
                        seals: None,
                    });
                    found += 1;
                }
            }
            if found == 0 && required {
                return Err(self.absent(component, trusted.as_ref()));
            }
        }
        Ok((trusted, indexes))
    }

    /// The architecture, and `all` where its packages are listed on their own.
    fn architectures(&self, trusted: Option<&Trusted>) -> Vec<&str> {
        let lists_all =
            |one: &&Trusted| one.release.architectures.iter().any(|arch| arch == "all") && !one.release.all_is_included;
        let all = trusted.filter(lists_all).map(|_| "all");
        std::iter::once(self.spec.arch.as_str()).chain(all).collect()
    }

    fn absent(&self, component: &str, trusted: Option<&Trusted>) -> Error {
        let known = trusted.map_or("no release file".to_owned(), |one| {
            let (components, archs) = (one.release.components.join(", "), one.release.architectures.join(", "));
            format!("components {components} and architectures {archs}")
        });
        Error::Absent { repo: self.repo(), component: component.to_owned(), arch: self.spec.arch.clone(), known }
    }

    fn flat(&self, path: &str) -> Result<(Option<Trusted>, Vec<Index>), Error> {
        let trusted = self.release(path, None)?;
        match self.index(path, "Packages", trusted.as_ref())? {
            Some((bytes, sha256)) => {
                let index = Index {
                    label: self.repo(),
                    base: self.root(&[path], &bytes),
                    bytes,
                    sha256,
                    policy: Policy::default(),
                    has_unread_files: false,
                    seals: None,
                };
                Ok((trusted, vec![index]))
            }
            None => Err(Error::NotFound(self.repo())),
        }
    }

    /// One index file: signed if a release file above it lists it.
    fn single(&self, path: &str) -> Result<(Option<Trusted>, Vec<Index>), Error> {
        let (dir, file) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = dir.rsplit_once('/').map_or("", |(parent, _)| parent);
        let made = |bytes: Vec<u8>, sha256| Index {
            label: self.repo(),
            base: self.root(&[dir, parent], &bytes),
            bytes,
            sha256,
            policy: Policy::default(),
            has_unread_files: false,
            seals: None,
        };
        if !self.options.verify {
            let from = self.spec.base.join(path)?;
            let packed = self.fetch(&from, limit::INDEX_BYTES_MAX)?.ok_or_else(|| Error::NotFound(self.repo()))?;
            let bytes = self.decompress(path, &packed, None)?;
            let sha256 = Sha256::of(&bytes);
            return Ok((None, vec![made(bytes, sha256)]));
        }
        // `dists/a/b/main/binary-amd64`: the release file lies at `dists/a`, or at `dists/a/b`.
        let depths = path.match_indices('/').map(|(at, _)| &path[..at]).filter(|above| *above != "dists");
        for above in depths.chain(dir.is_empty().then_some("")) {
            let trusted = match self.release(above, None) {
                Err(Error::Unsigned(_) | Error::NeverSeen(_)) => continue,
                outcome => outcome?,
            };
            let listed = path[above.len()..].trim_start_matches('/');
            let stem = INDEX_NAMES.iter().find(|name| *name == &file).map(|_| listed.split_at(listed.len() - file.len()).0);
            let name = format!("{}Packages", stem.unwrap_or(""));
            let known = trusted.as_ref().is_some_and(|one| one.release.files.contains_key(listed));
            return match if known { self.index(above, &name, trusted.as_ref())? } else { None } {
                Some((bytes, sha256)) => Ok((trusted, vec![made(bytes, sha256)])),
                None => Err(Error::NotListed { repo: self.repo(), index: path.to_owned() }),
            };
        }
        Err(Error::Unsigned(self.repo()))
    }

    fn root(&self, others: &[&str], packages: &[u8]) -> Location {
        Location::from(&self.base(others, packages))
    }

    /// Chooses what `Filename` is relative to. On a mirror that is the base; a directory made by hand is looked at.
    fn base(&self, others: &[&str], packages: &[u8]) -> Base {
        let Base::Dir(dir) = &self.spec.base else { return self.spec.base.clone() };
        let first = memchr::memmem::find(packages, b"\nFilename: ").map(|at| &packages[at + b"\nFilename: ".len()..]);
        let first = first.and_then(|rest| rest.split(|byte| *byte == b'\n').next()).map(String::from_utf8_lossy);
        let Some(first) = first else { return self.spec.base.clone() };
        let above = dir.parent().map(Path::to_owned);
        let candidates = std::iter::once(dir.clone()).chain(others.iter().map(|other| dir.join(other))).chain(above);
        let has = |root: &std::path::PathBuf| match Base::Dir(root.clone()).join(first.trim()) {
            Ok(Location::File(path)) => {
                let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                path.parent().is_some_and(|dir| self.door.names(dir).contains(&name))
            }
            _ => false,
        };
        candidates.into_iter().find(has).map_or_else(|| self.spec.base.clone(), Base::Dir)
    }

    fn fetch(&self, from: &Location, size_bytes_max: u64) -> Result<Option<Vec<u8>>, Error> {
        self.door.fetch(from, size_bytes_max).map_err(|source| Error::Fetch { repo: self.repo(), source })
    }

    /// Returns the release file of `dir`, verified and fresh; `None` only where nothing is verified and there is none.
    fn release(&self, dir: &str, suite: Option<&str>) -> Result<Option<Trusted>, Error> {
        let key = format!("{} {dir}", self.spec.base);
        let seen = self.door.seen(&key);
        let local = matches!(self.spec.base, Base::Dir(_));
        let files = match (&seen, self.options.offline && !local) {
            (Some(seen), true) => self.remembered(seen)?,
            (None, true) => return Err(Error::NeverSeen(self.repo())),
            _ => self.release_files(dir)?,
        };
        let Some((text, signature)) = self.frame(&files)? else {
            return match (self.options.verify, files.is_empty()) {
                (false, _) => Ok(None),
                (true, false) => Err(Error::Unsigned(self.repo())),
                (true, true) => Err(self.unsigned_or_absent(dir)),
            };
        };
        let signer = match (self.options.verify, signature) {
            (false, _) => None,
            (true, None) => return Err(Error::Unsigned(self.repo())),
            (true, Some(signature)) => {
                let verdict = self.door.verify(&self.spec.signed_by, &text, &signature);
                Some(verdict.map_err(|source| Error::Signature { repo: self.repo(), source })?)
            }
        };
        let release = release::parse(&text).map_err(|source| Error::Release { repo: self.repo(), source })?;
        self.check_suite(&release, suite)?;
        let digest = Sha256::of(text.trim_ascii_end());
        let mut now_seen = None;
        if self.options.verify {
            let date = release.date.ok_or_else(|| Error::NoDate(self.repo()))?;
            self.check_age(&release, date)?;
            self.check_direction(seen.as_ref(), date, &digest)?;
            let kept = files.iter().map(|(name, bytes)| {
                let sha256 = Sha256::of(bytes);
                self.door.keep(&sha256, bytes);
                ((*name).to_owned(), sha256)
            });
            let files = kept.collect();
            now_seen = Some(Seen { repository: key, date, text: digest, fetched: self.options.now, files })
                .filter(|_| !self.options.offline);
        }
        Ok(Some(Trusted { release, signer, seen: now_seen }))
    }

    /// The release file from the cache.
    fn remembered(&self, seen: &Seen) -> Result<Files, Error> {
        let names = ["InRelease", "Release", "Release.gpg"];
        let files = seen.files.iter().filter_map(|(name, sha256)| {
            let name = names.into_iter().find(|known| known == name)?;
            Some((name, self.door.cached(sha256)?))
        });
        let files = files.collect::<Files>();
        if files.len() == seen.files.len() { Ok(files) } else { Err(Error::NeverSeen(self.repo())) }
    }

    /// The release file as the repository has it: `InRelease`, else `Release` with `Release.gpg`.
    fn release_files(&self, dir: &str) -> Result<Files, Error> {
        let get = |name: &'static str| {
            let bytes = self.fetch(&self.spec.base.join(&below(dir, name))?, limit::RELEASE_BYTES_MAX)?;
            Ok::<_, Error>(bytes.map(|bytes| (name, bytes)))
        };
        if let Some(file) = get("InRelease")? {
            return Ok(vec![file]);
        }
        let Some(file) = get("Release")? else { return Ok(Vec::new()) };
        Ok(std::iter::once(file).chain(get("Release.gpg")?).collect())
    }

    /// Returns the text and the signature over it.
    fn frame(&self, files: &Files) -> Result<Option<Signed>, Error> {
        let of = |wanted: &str| files.iter().find(|(name, _)| *name == wanted).map(|(_, bytes)| bytes);
        if let Some(bytes) = of("InRelease") {
            let frame = release::split(bytes).map_err(|source| Error::Frame { repo: self.repo(), source })?;
            let Frame { text, signature } = frame;
            return Ok(Some((text, Some(signature))));
        }
        Ok(of("Release").map(|text| (text.clone(), of("Release.gpg").cloned())))
    }

    /// There is no release file: tells a repository without one from something else.
    fn unsigned_or_absent(&self, dir: &str) -> Error {
        let index = |name: &str| {
            let names = match &self.spec.layout {
                Layout::Dists { components, .. } => {
                    components.iter().map(|component| format!("{dir}/{component}/binary-{}/{name}", self.spec.arch)).collect()
                }
                Layout::Flat(_) => vec![below(dir, name)],
                _ => return true,
            };
            names.iter().any(|name| match self.spec.base.join(name) {
                Ok(from) => self.door.fetch(&from, limit::INDEX_BYTES_MAX).is_ok_and(|found| found.is_some()),
                Err(_) => false,
            })
        };
        if INDEX_NAMES.iter().any(|name| index(name)) { Error::Unsigned(self.repo()) } else { Error::NotFound(self.repo()) }
    }

    fn check_suite(&self, release: &Release, wanted: Option<&str>) -> Result<(), Error> {
        let Some(wanted) = wanted else { return Ok(()) };
        let named = [&release.suite, &release.codename].into_iter().flatten().collect::<Vec<_>>();
        if named.is_empty() || named.iter().any(|name| *name == wanted) {
            return Ok(());
        }
        let found = named.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        Err(Error::Suite { repo: self.repo(), wanted: wanted.to_owned(), found })
    }

    fn check_age(&self, release: &Release, made: Seconds) -> Result<(), Error> {
        let now = self.options.now;
        if made > now + AHEAD_MAX {
            return Err(Error::Future { repo: self.repo(), date: date::show(made), now: date::show(now) });
        }
        match release.valid_until {
            Some(until) if until < now => {
                let expired = Error::Expired { repo: self.repo(), until: date::show(until), now: date::show(now) };
                // Without the network there is nothing newer to be had; it was valid when it was fetched.
                if !self.options.offline && !self.options.expired {
                    return Err(expired);
                }
                self.door.warn(&expired.to_string());
            }
            _ => {}
        }
        Ok(())
    }

    fn check_direction(&self, seen: Option<&Seen>, made: Seconds, digest: &Sha256) -> Result<(), Error> {
        match seen {
            Some(seen) if made < seen.date => {
                Err(Error::Rollback { repo: self.repo(), found: date::show(made), seen: date::show(seen.date) })
            }
            Some(seen) if made == seen.date && *digest != seen.text => {
                Err(Error::Changed { repo: self.repo(), date: date::show(made) })
            }
            _ => Ok(()),
        }
    }

    /// Returns an index by its name without extension; `None` if the release file does not list it.
    fn index(&self, dir: &str, name: &str, trusted: Option<&Trusted>) -> Result<Option<(Vec<u8>, Sha256)>, Error> {
        let stem = name.strip_suffix("Packages").unwrap_or(name);
        let Some(Trusted { release, .. }) = trusted else { return self.unlisted_index(dir, stem) };
        let plain = release.files.get(name);
        if let Some(bytes) = plain.and_then(|listed| self.door.cached(&listed.sha256)) {
            return Ok(plain.map(|listed| (bytes, listed.sha256)));
        }
        let mut listed_any = false;
        for file in INDEX_NAMES {
            let file = format!("{stem}{file}");
            let Some(listed) = release.files.get(&file) else { continue };
            listed_any = true;
            let Some(packed) = self.listed_file(dir, &file, listed, release.by_hash, plain.is_none())? else { continue };
            let bytes = self.decompress(&file, &packed, plain)?;
            let sha256 = plain.map_or_else(|| Sha256::of(&bytes), |plain| plain.sha256);
            match plain {
                Some(plain) => self.door.keep(&plain.sha256, &bytes),
                // Only the packed one is signed, so only that one can be found again.
                None => self.door.keep(&listed.sha256, &packed),
            }
            return Ok(Some((bytes, sha256)));
        }
        if listed_any { Err(Error::Gone { repo: self.repo(), index: name.to_owned() }) } else { Ok(None) }
    }

    /// Fetches a listed file, by its digest if the archive offers that; `None` if it is not there.
    fn listed_file(&self, dir: &str, file: &str, listed: &Listed, by_hash: bool, cached: bool) -> Result<Option<Vec<u8>>, Error> {
        if let Some(bytes) = cached.then(|| self.door.cached(&listed.sha256)).flatten() {
            return Ok(Some(bytes));
        }
        let folder = file.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
        let by_hash = by_hash.then(|| below(dir, &format!("{folder}by-hash/SHA256/{}", listed.sha256)));
        for name in by_hash.into_iter().chain([below(dir, file)]) {
            match self.door.fetch_exact(&self.spec.base.join(&name)?, &listed.sha256, listed.size_bytes) {
                Ok(Some(bytes)) => return Ok(Some(bytes)),
                Ok(None) => {}
                Err(source) if source.differs => {
                    return Err(Error::Inconsistent { repo: self.repo(), index: file.to_owned(), source });
                }
                Err(source) => return Err(Error::Fetch { repo: self.repo(), source }),
            }
        }
        Ok(None)
    }

    /// An index of a repository without a release file, which is only asked for with `--no-verify`.
    fn unlisted_index(&self, dir: &str, stem: &str) -> Result<Option<(Vec<u8>, Sha256)>, Error> {
        for file in INDEX_NAMES {
            let name = below(dir, &format!("{stem}{file}"));
            if let Some(packed) = self.fetch(&self.spec.base.join(&name)?, limit::INDEX_BYTES_MAX)? {
                let bytes = self.decompress(&name, &packed, None)?;
                let sha256 = Sha256::of(&bytes);
                return Ok(Some((bytes, sha256)));
            }
        }
        Ok(None)
    }

    fn decompress(&self, name: &str, packed: &[u8], plain: Option<&Listed>) -> Result<Vec<u8>, Error> {
        let damaged = |source| Error::Damaged { repo: self.repo(), index: name.to_owned(), source };
        let format = match name.rsplit_once('.').map(|(_, extension)| extension) {
            Some("xz") => Format::Xz,
            Some("gz") => Format::Gzip,
            Some("zst") => Format::Zstd,
            _ => Format::None,
        };
        let limit = plain.map_or(limit::INDEX_BYTES_MAX, |plain| plain.size_bytes.min(limit::INDEX_BYTES_MAX));
        let mut bytes = Vec::new();
        let reader = decode::reader(format, packed).map_err(damaged)?;
        reader.take(limit + 1).read_to_end(&mut bytes).map_err(damaged)?;
        if bytes.len() as u64 > limit {
            return Err(Error::Bomb { repo: self.repo(), index: name.to_owned(), limit });
        }
        match plain {
            Some(plain) => match Sha256::of(&bytes) {
                found if found == plain.sha256 => Ok(bytes),
                found => Err(Error::Content { repo: self.repo(), index: name.to_owned(), wanted: plain.sha256, found }),
            },
            None => Ok(bytes),
        }
    }
}

/// Returns the name of a file in a directory of the repository; the root has no name.
fn below(dir: &str, file: &str) -> String {
    if dir.is_empty() { file.to_owned() } else { format!("{dir}/{file}") }
}

/// Files by name.
type Files = Vec<(&'static str, Vec<u8>)>;
/// A text, and the signature over it if there is one.
type Signed = (Vec<u8>, Option<Vec<u8>>);
