//! The second look at a package of `primary.xml`: what it has to do with others, and where its file lies.

use std::path::Path;

use super::rich;
use super::scan::evr;
use super::xml::{self, Scanner, Tag};
use crate::base::checksum::{Checksum, Kind};
use crate::base::digest::Sha256;
use crate::base::limit;
use crate::package::{Capability, Constraint, Flaw, Location, Op, Package, Relations, Requirement, Term, Terms};

/// What cannot be read, as a message shows it.
const SHOWN_CHARS: usize = 80;

/// Makes a flaw of a value.
pub fn malformed(field: &'static str, found: &str, wanted: &'static str) -> Flaw {
    Flaw::Malformed { field, found: found.chars().take(SHOWN_CHARS).collect(), wanted }
}

fn text(raw: &[u8]) -> String {
    String::from_utf8_lossy(&xml::decode(raw.trim_ascii())).into_owned()
}

fn from_xml(flaw: xml::Flaw) -> Flaw {
    malformed("package", flaw.what, "XML as createrepo writes it")
}

/// Reads what a package has to do with others.
pub fn terms(element: &[u8]) -> Result<Terms, Flaw> {
    let mut terms = Terms::default();
    let mut scanner = Scanner::new(element, 0);
    while let Some(tag) = scanner.tag().map_err(from_xml)? {
        if tag.is_end || tag.is_empty {
            continue;
        }
        let list = match tag.name {
            b"provides" => {
                terms.provides = provides(&mut scanner)?;
                continue;
            }
            b"requires" => &mut terms.requires,
            b"recommends" => &mut terms.recommends,
            b"suggests" => &mut terms.suggests,
            b"supplements" => &mut terms.supplements,
            b"enhances" => &mut terms.enhances,
            b"conflicts" => &mut terms.conflicts,
            b"obsoletes" => &mut terms.obsoletes,
            _ => continue,
        };
        while let Some(tag) = scanner.tag().map_err(from_xml)?
            && tag.name == b"entry"
        {
            let Some(term) = entry(&tag)? else { continue };
            // The same name stands there once more where a script needs it.
            if !list.contains(&term) {
                list.push(term);
            }
        }
    }
    Ok(terms)
}

fn provides(scanner: &mut Scanner<'_>) -> Result<Vec<Constraint>, Flaw> {
    let mut list = Vec::new();
    while let Some(tag) = scanner.tag().map_err(from_xml)?
        && tag.name == b"entry"
    {
        if let Some(name) = tag.get(b"name") {
            list.push(constraint(&tag, text(name))?);
        }
    }
    Ok(list)
}

fn entry(tag: &Tag<'_>) -> Result<Option<Term>, Flaw> {
    let Some(name) = tag.get(b"name") else { return Ok(None) };
    let name = text(name);
    if name.starts_with('(') {
        return rich::parse(&name).map(Some);
    }
    constraint(tag, name).map(|constraint| Some(Term::One(constraint)))
}

fn constraint(tag: &Tag<'_>, name: String) -> Result<Constraint, Flaw> {
    let op = match tag.get(b"flags") {
        None | Some(b"") => return Ok(Constraint::any(name)),
        Some(b"EQ") => Op::Equal,
        Some(b"LT") => Op::Less,
        Some(b"LE") => Op::LessEqual,
        Some(b"GT") => Op::Greater,
        Some(b"GE") => Op::GreaterEqual,
        Some(other) => return Err(malformed("flags", &text(other), "EQ, LT, LE, GT or GE")),
    };
    Ok(Constraint { name, arch: None, range: evr(tag).map(|version| (op, version)) })
}

/// Puts dependencies into the form that all families share; what only this one has is in `terms`.
pub fn relations(terms: Terms) -> Relations {
    let wanted = |list: &[Term]| list.iter().map(requirement).collect();
    let plain = |list: &[Term]| {
        let constraints = list.iter().filter_map(|term| match term {
            Term::One(constraint) => Some(constraint.clone()),
            Term::Join(..) => None,
        });
        constraints.collect::<Vec<_>>()
    };
    let mut conflicts = plain(&terms.conflicts);
    conflicts.append(&mut plain(&terms.obsoletes));
    Relations {
        requires: wanted(&terms.requires),
        recommends: wanted(&terms.recommends),
        suggests: wanted(&terms.suggests),
        provides: terms.provides.iter().map(capability).collect(),
        conflicts,
        terms: Some(Box::new(terms)),
        ..Relations::default()
    }
}

fn capability(offer: &Constraint) -> Capability {
    let version = offer.range.as_ref().filter(|(op, _)| *op == Op::Equal).map(|(_, version)| version.clone());
    Capability { name: offer.name.clone(), version }
}

/// Lists what a dependency may mean having.
fn requirement(term: &Term) -> Requirement {
    let mut constraints = Vec::new();
    term.each_wanted(&mut |constraint| constraints.push(constraint.clone()));
    Requirement(constraints)
}

/// Reads everything but the relations and what the catalog knows by itself.
pub fn package(element: &[u8], base: &Location) -> Result<Package, Flaw> {
    let mut scanner = Scanner::new(element, 0);
    let (mut digest, mut size, mut installed, mut href, mut source) = (None, None, None, None, String::new());
    while let Some(tag) = scanner.tag().map_err(from_xml)? {
        if tag.is_end {
            continue;
        }
        match tag.name {
            b"checksum" => digest = Some((tag.get(b"type").map(text).unwrap_or_default(), text(scanner.text()))),
            b"size" => (size, installed) = (tag.get(b"package").map(text), tag.get(b"installed").map(text)),
            b"location" => href = tag.get(b"href").map(|href| (text(href), tag.get(b"base").map(text))),
            b"sourcerpm" => source = source_of(&text(scanner.text())),
            b"provides" | b"requires" | b"file" => break,
            _ => {}
        }
    }
    let (kind, digest) = digest.ok_or(Flaw::Missing("checksum"))?;
    let kind = Kind::by_name(&kind)
        .ok_or_else(|| malformed("checksum", &kind, "a checksum of type sha256, sha512, sha384, sha1 or md5"))?;
    let checksum =
        Checksum::parse(kind, &digest).map_err(|_| malformed("checksum", &digest, "hexadecimal digits of its type"))?;
    // Without a SHA-256 digest the package is known by that of what proves it.
    let proof = checksum.as_sha256().is_none().then(|| checksum.to_string());
    let sha256 = checksum.as_sha256().unwrap_or_else(|| Sha256::of(checksum.to_string().as_bytes()));
    let size = size.ok_or(Flaw::Missing("size"))?;
    let size_bytes = size.parse().ok().filter(|&bytes| bytes > 0 && bytes <= limit::PACKAGE_BYTES_MAX);
    let (href, own_base) = href.ok_or(Flaw::Missing("location"))?;
    let own_base = own_base.map(Location::Url);
    Ok(Package {
        name: String::new(),
        version: String::new(),
        arch: String::new(),
        repo: String::new(),
        location: location(own_base.as_ref().filter(|_| matches!(base, Location::Url(_))).unwrap_or(base), &href)?,
        sha256,
        size_bytes: size_bytes.ok_or_else(|| malformed("size", &size, "a number of bytes from 1 to 4294967296"))?,
        proof,
        seal: None,
        installed_bytes: installed.and_then(|bytes| bytes.parse().ok()).unwrap_or(0),
        source,
        rank: 0,
        requires: Vec::new(),
        recommends: Vec::new(),
        provides: Vec::new(),
        conflicts: Vec::new(),
    })
}

/// Makes `name version-release` of the file name of a source package.
fn source_of(file_name: &str) -> String {
    let stem = file_name.strip_suffix(".src.rpm").or_else(|| file_name.strip_suffix(".nosrc.rpm")).unwrap_or(file_name);
    let split = stem.rsplit_once('-').and_then(|(rest, release)| Some((rest.rsplit_once('-')?, release)));
    match split {
        Some(((name, version), release)) => format!("{name} {version}-{release}"),
        None => stem.to_owned(),
    }
}

/// Joins a file name from an index to its base. The name stays below the base whatever a server or a file system makes of it.
pub fn location(base: &Location, file_name: &str) -> Result<Location, Flaw> {
    let refuse = |wanted| Err(malformed("location", file_name, wanted));
    if *base == Location::Installed {
        return Ok(Location::Installed);
    }
    if file_name.len() > limit::PATH_BYTES_MAX {
        return refuse("a path of at most 4095 bytes");
    }
    if file_name.bytes().any(|byte| byte.is_ascii_control() || matches!(byte, b'\\' | b'?' | b'#')) {
        return refuse("a path without control characters, `\\`, `?` and `#`");
    }
    let lower = file_name.to_ascii_lowercase();
    if ["%2e", "%2f", "%5c", "%00"].iter().any(|escape| lower.contains(escape)) {
        return refuse("a path without escaped dots, slashes and zeros");
    }
    let path = file_name.strip_prefix("./").unwrap_or(file_name);
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return refuse("a path below the repository's root");
    }
    Ok(match base {
        Location::Url(url) => Location::Url(format!("{}/{}", url.trim_end_matches('/'), escaped(path))),
        Location::File(dir) => Location::File(Path::new(dir).join(path)),
        Location::Installed => Location::Installed,
    })
}

/// Escapes what a URL's path may not hold.
fn escaped(path: &str) -> String {
    let mut escaped = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~+:@!$&'()*,;=%".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_stay_below_their_base() {
        let base = Location::Url("https://mirror.example/os/".into());
        let found = location(&base, "Packages/a-1^b-2.x86_64.rpm").unwrap();
        assert_eq!(found, Location::Url("https://mirror.example/os/Packages/a-1%5Eb-2.x86_64.rpm".into()));
        for name in ["../a.rpm", "/a.rpm", "a//b", "a/%2e%2e/b", "a?b", "", "a\nb"] {
            assert!(location(&base, name).is_err(), "{name}");
        }
    }

    #[test]
    fn sources_lose_their_ending() {
        assert_eq!(source_of("ModemManager-1.18.2-3.el9.src.rpm"), "ModemManager 1.18.2-3.el9");
        assert_eq!(source_of("odd"), "odd");
    }
}
