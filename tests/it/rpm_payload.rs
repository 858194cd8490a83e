//! Package files against rpm and rpm2cpio: the same listing, the same contents, and what is damaged refused.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "what was compared is told")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mkinitrd_pkg::base::digest::Sha256;
use mkinitrd_pkg::family::rpm::Rpm;
use mkinitrd_pkg::family::{Family, MemberKind, ReadError};

use crate::rpm::fixtures;

/// A file as both sides have it: mode with its kind, size or link, capability.
type Listing = BTreeMap<String, (u32, String, String)>;
/// Files' contents.
type Contents = BTreeMap<String, Vec<u8>>;

fn ours(path: &Path) -> Result<(Listing, Contents), ReadError> {
    let (mut listing, mut contents) = (Listing::new(), BTreeMap::new());
    let mut file = fs::File::open(path).unwrap();
    Rpm.read(&mut file, &mut |member, data| {
        let name = member.path.to_string().trim_start_matches('/').to_owned();
        let mut content = Vec::new();
        data.read_to_end(&mut content)?;
        let (kind, about) = match &member.kind {
            MemberKind::Dir => (0o040_000, String::new()),
            MemberKind::File(size) => {
                contents.insert(name.clone(), content);
                (0o100_000, size.to_string())
            }
            MemberKind::Symlink(target) => (0o120_000, String::from_utf8_lossy(target).into_owned()),
            MemberKind::Hardlink(target) => {
                let (_, size, _): &(u32, String, String) = &listing[target.to_string().trim_start_matches('/')];
                let content = contents[target.to_string().trim_start_matches('/')].clone();
                contents.insert(name.clone(), content);
                (0o100_000, size.clone())
            }
            MemberKind::Device { block, .. } => (if *block { 0o060_000 } else { 0o020_000 }, String::new()),
            MemberKind::Fifo => (0o010_000, String::new()),
        };
        listing.insert(name, (kind | member.meta.mode, about, member.capabilities.unwrap_or_default()));
        Ok(())
    })?;
    Ok((listing, contents))
}

/// Asks rpm for the header's list; ghosts are not in the payload.
fn theirs(path: &Path) -> Listing {
    let format = "[%{FILENAMES}\\t%{FILEMODES}\\t%{LONGFILESIZES}\\t%{FILELINKTOS}\\t%{FILEFLAGS}\\t%{FILECAPS}\\t%{FILEUSERNAME}\\t%{FILEGROUPNAME}\\n]";
    let output = Command::new("rpm").args(["-qp", "--nosignature", "--nodigest", "--qf", format]).arg(path).output();
    let output = output.expect("rpm is needed: install `rpm`");
    let mut listing = Listing::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, mode, size, link, flags, capability, user, group] = fields[..] else { continue };
        if flags.parse::<u32>().unwrap() & 64 != 0 {
            continue;
        }
        let mut mode = mode.parse::<u32>().unwrap() & 0xffff;
        // Whose owner has no number that all distributions agree on gets nobody's rights.
        let is_known =
            |name: &str| ["root", "bin", "daemon", "mail", "lp", "lock", "uucp", "tty", "games", "man"].contains(&name);
        if !is_known(user) {
            mode &= !0o4000;
        }
        if !is_known(group) && mode & 0o170_000 != 0o040_000 {
            mode &= !0o2000;
        }
        let about = match mode & 0o170_000 {
            0o100_000 => size.to_owned(),
            0o120_000 => link.to_owned(),
            _ => String::new(),
        };
        let capability = if capability == "(none)" { "" } else { capability };
        listing.insert(name.trim_start_matches('/').to_owned(), (mode, about, capability.to_owned()));
    }
    listing
}

/// Unpacks with rpm2cpio and cpio; the digests of all files.
fn unpacked(path: &Path) -> Option<Contents> {
    let dir = tempfile::tempdir().unwrap();
    let mut rpm2cpio = Command::new("rpm2cpio").arg(path).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut cpio = Command::new("cpio");
    cpio.args(["-idm", "--quiet", "--no-absolute-filenames"]).current_dir(dir.path()).stdin(rpm2cpio.stdout.take().unwrap());
    let output = cpio.stderr(Stdio::null()).status().expect("cpio is needed: install `cpio`");
    let is_good = rpm2cpio.wait().unwrap().success() && output.success();
    let mut found = BTreeMap::new();
    let mut open = vec![dir.path().to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).into_iter().flatten().map(|entry| entry.unwrap()) {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() {
                let name = entry.path().strip_prefix(dir.path()).unwrap().to_string_lossy().into_owned();
                found.insert(name, fs::read(entry.path()).unwrap());
            }
        }
    }
    is_good.then_some(found)
}

/// Asks rpm for the digests of the files in the payload that have one.
fn digests(path: &Path) -> BTreeMap<String, usize> {
    let format = "[%{FILENAMES}\\t%{FILEDIGESTS}\\t%{FILEFLAGS}\\n]";
    let output = Command::new("rpm").args(["-qp", "--nosignature", "--nodigest", "--qf", format]).arg(path).output().unwrap();
    let mut found = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        if let [name, digest, flags] = fields[..]
            && !digest.is_empty()
            && flags.parse::<u32>().unwrap() & 64 == 0
        {
            let name = name.trim_start_matches('/');
            found.insert(format!("{name} {digest}"), digest.len());
        }
    }
    found
}

/// The same of what we read: as SHA-256 and, for old packages, as MD5, whichever rpm has.
fn digests_of(contents: &Contents) -> BTreeMap<String, usize> {
    let of = |(name, content): (&String, &Vec<u8>)| (format!("{name} {}", Sha256::of(content)), 64);
    contents.iter().map(of).collect()
}

/// Returns every RPM package of the fixtures, sorted.
pub fn packages(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.join("rpm"), dir.join("converted/trixie-mini/rpm")];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                open.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "rpm") {
                found.push(entry);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn every_package_is_read_as_rpm_reads_it() {
    let Some(dir) = fixtures("package files against rpm and rpm2cpio") else { return };
    let (mut equal, mut wrong, mut refused) = (0, Vec::new(), Vec::new());
    for path in packages(&dir) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let (listing, contents) = match ours(&path) {
            Ok(read) => read,
            Err(error) => {
                refused.push((name, error.to_string()));
                continue;
            }
        };
        let wanted = theirs(&path);
        if listing != wanted {
            let more: Vec<_> = listing.iter().filter(|(name, file)| wanted.get(*name) != Some(file)).take(3).collect();
            let less: Vec<_> = wanted.iter().filter(|(name, file)| listing.get(*name) != Some(file)).take(3).collect();
            wrong.push(format!("{name}: {more:?} instead of {less:?}"));
            continue;
        }
        match unpacked(&path) {
            Some(found) if found == contents => equal += 1,
            Some(_) => wrong.push(format!("{name}: the contents differ")),
            // cpio knows no archives without names, and refuses others: the header's own digests remain.
            None if digests(&path) == digests_of(&contents) => equal += 1,
            None => wrong.push(format!("{name}: the digests differ")),
        }
    }
    println!("{equal} packages equal; refused: {refused:#?}");
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    let damaged = ["hello-2.0-1.x86_64-corrupted.rpm"];
    for (name, why) in &refused {
        assert!(damaged.contains(&name.as_str()), "{name} is refused: {why}");
    }
    assert!(refused.iter().any(|(name, why)| name == damaged[0] && why.contains("digest")), "{refused:?}");
    assert!(equal > 100, "only {equal} packages");
}

#[test]
fn e08_a_package_that_ends_early_is_refused() {
    let Some(dir) = fixtures("a package cut off everywhere") else { return };
    let whole = fs::read(dir.join("rpm/centos9-bzip2/bzip2-libs-1.0.8-18.el9.x86_64.rpm")).unwrap();
    for length in (0..whole.len()).step_by(1024) {
        let mut cut = &whole[..length];
        let result = Rpm.read(&mut cut, &mut |_, data| std::io::copy(data, &mut std::io::sink()).map(drop).map_err(Into::into));
        assert!(result.is_err(), "{length} bytes of {}", whole.len());
    }
    // One bit in the payload.
    let mut changed = whole.clone();
    let last = changed.len() - 100;
    changed[last] ^= 1;
    assert!(Rpm.read(&mut &changed[..], &mut |_, _| Ok(())).is_err());
}
