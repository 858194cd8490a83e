//! What the machine's apt knows: sources, keyrings and packages it has downloaded. Read only, and without any lock.
//!
//! Every function takes the root of the machine, which is `/` except in tests.

use std::path::{Path, PathBuf};

use super::facts::OsRelease;
use crate::base::fs::{self, FileError};
use crate::base::limit;
use crate::package::Package;

/// Returns what `/etc/os-release`, else `/usr/lib/os-release`, says.
pub fn os_release(root: &Path) -> Result<Option<OsRelease>, FileError> {
    for path in ["etc/os-release", "usr/lib/os-release"] {
        if let Some(bytes) = fs::read_optional(&root.join(path), limit::TEXT_BYTES_MAX)? {
            return Ok(Some(parse_os_release(&String::from_utf8_lossy(&bytes))));
        }
    }
    Ok(None)
}

fn parse_os_release(text: &str) -> OsRelease {
    let mut release = OsRelease::default();
    for line in text.lines() {
        let Some((name, value)) = line.trim().split_once('=') else { continue };
        let value = value.trim().trim_matches(['"', '\'']);
        match name {
            "ID" => release.id = value.to_owned(),
            "ID_LIKE" => release.id_like = value.split_whitespace().map(str::to_owned).collect(),
            "VERSION_CODENAME" => release.codename = Some(value.to_owned()).filter(|name| !name.is_empty()),
            // Every release of Ubuntu has it, too, with its own name.
            "UBUNTU_CODENAME" | "DEBIAN_CODENAME" => {
                release.base_codename = Some(value.to_owned()).filter(|name| !name.is_empty())
            }
            "VERSION_ID" => release.version_id = Some(value.to_owned()).filter(|id| !id.is_empty()),
            _ => {}
        }
    }
    release
}

/// Returns the sources files, path on the machine and text, in the order in which apt reads them.
pub fn sources(root: &Path) -> Result<Vec<(String, String)>, FileError> {
    let mut paths = vec![root.join("etc/apt/sources.list")];
    paths.extend(readable_list(&root.join("etc/apt/sources.list.d"))?.into_iter().filter(|path| is_source(path)));
    let mut files = Vec::new();
    for path in paths {
        if let Some(bytes) = fs::read_optional(&path, limit::TEXT_BYTES_MAX)? {
            files.push((shown(root, &path), String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    Ok(files)
}

/// apt passes over files of other names: `debian.sources.dpkg-old`, `x.list~`.
fn is_source(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    plain && (name.ends_with(".list") || name.ends_with(".sources"))
}

/// Returns the keyrings that apt trusts for every repository without a `Signed-By`.
pub fn trusted_keyrings(root: &Path) -> Result<Vec<PathBuf>, FileError> {
    let mut paths = vec![root.join("etc/apt/trusted.gpg")];
    paths.extend(readable_list(&root.join("etc/apt/trusted.gpg.d"))?);
    Ok(keep_keyrings(root, paths))
}

/// Returns the archive keyrings of a distribution that are installed on the machine, whatever distribution that is.
pub fn archive_keyrings(root: &Path, distro: &str) -> Vec<PathBuf> {
    let names = ["pgp", "gpg", "asc"].map(|extension| format!("{distro}-archive-keyring.{extension}"));
    let dirs = ["usr/share/keyrings", "etc/apt/keyrings"];
    let paths = dirs.iter().flat_map(|dir| names.iter().map(move |name| root.join(dir).join(name))).collect();
    keep_keyrings(root, paths)
}

fn keep_keyrings(root: &Path, paths: Vec<PathBuf>) -> Vec<PathBuf> {
    let is_keyring = |path: &PathBuf| {
        let extension = path.extension().map(|extension| extension.to_string_lossy().into_owned());
        let named = matches!(extension.as_deref(), Some("gpg" | "asc" | "pgp"));
        // `/etc/apt/trusted.gpg` is created empty.
        named && std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0)
    };
    paths.into_iter().filter(is_keyring).map(|path| PathBuf::from(shown(root, &path))).collect()
}

/// Returns the directory's paths; one that an ordinary user may not read has none.
fn readable_list(path: &Path) -> Result<Vec<PathBuf>, FileError> {
    match fs::list(path) {
        Err(err) if err.source.kind() == std::io::ErrorKind::PermissionDenied => Ok(Vec::new()),
        outcome => outcome,
    }
}

/// Returns a path as it is on the machine.
fn shown(root: &Path, path: &Path) -> String {
    let inside = path.strip_prefix(root).unwrap_or(path);
    format!("/{}", inside.display())
}

/// Returns where apt keeps a file of a repository's metadata, decompressed: the address without scheme and login, its slashes replaced
/// (`URItoFileName` of apt-pkg).
pub fn list(root: &Path, url: &str) -> PathBuf {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let end = rest.find('/').unwrap_or(rest.len());
    let start = rest[..end].rfind('@').map_or(0, |at| at + 1);
    let mut name = String::new();
    for byte in rest[start..].bytes() {
        match byte {
            b'/' => name.push('_'),
            b'\\'
            | b'|'
            | b'{'
            | b'}'
            | b'['
            | b']'
            | b'<'
            | b'>'
            | b'"'
            | b'^'
            | b'~'
            | b'_'
            | b'='
            | b'!'
            | b'@'
            | b'#'
            | b'$'
            | b'%'
            | b'&'
            | b'*'
            | 0x00..=0x20
            | 0x7f..=0xff => name.push_str(&format!("%{byte:02x}")),
            byte => name.push(char::from(byte)),
        }
    }
    root.join("var/lib/apt/lists").join(name)
}

/// Returns where apt keeps the file of a package that it downloaded: `NAME_VERSION_ARCH.deb`, the colon of an epoch escaped.
pub fn archived(root: &Path, package: &Package) -> PathBuf {
    let escaped = |text: &str| text.replace('%', "%25").replace(':', "%3a").replace('/', "%2f");
    let name = format!("{}_{}_{}.deb", escaped(&package.name), escaped(&package.version), escaped(&package.arch));
    root.join("var/cache/apt/archives").join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            std::fs::write(path, text).expect("writing");
        }
        dir
    }

    #[test]
    fn sources_are_read_in_apts_order_and_by_apts_names() {
        let root = machine(&[
            ("etc/apt/sources.list", "main"),
            ("etc/apt/sources.list.d/b.sources", "b"),
            ("etc/apt/sources.list.d/a.list", "a"),
            ("etc/apt/sources.list.d/a.list.save", "no"),
            ("etc/apt/sources.list.d/a b.list", "no"),
            ("etc/apt/sources.list.d/c.sources~", "no"),
        ]);
        let files = sources(root.path()).expect("reading");
        let names = files.iter().map(|(path, text)| format!("{path}={text}")).collect::<Vec<_>>();
        assert_eq!(
            names,
            ["/etc/apt/sources.list=main", "/etc/apt/sources.list.d/a.list=a", "/etc/apt/sources.list.d/b.sources=b"]
        );
        assert_eq!(sources(&root.path().join("nowhere")).expect("nothing there"), []);
    }

    #[test]
    fn keyrings_are_those_that_apt_would_take() {
        let root = machine(&[
            ("etc/apt/trusted.gpg", ""),
            ("etc/apt/trusted.gpg.d/a.asc", "x"),
            ("etc/apt/trusted.gpg.d/README", "x"),
            ("usr/share/keyrings/debian-archive-keyring.gpg", "x"),
        ]);
        assert_eq!(trusted_keyrings(root.path()).expect("reading"), [PathBuf::from("/etc/apt/trusted.gpg.d/a.asc")]);
        assert_eq!(archive_keyrings(root.path(), "debian"), [PathBuf::from("/usr/share/keyrings/debian-archive-keyring.gpg")]);
        assert!(archive_keyrings(root.path(), "ubuntu").is_empty());
    }

    #[test]
    fn lists_have_apts_names() {
        for (url, name) in [
            ("http://a.b/debian/dists/trixie/InRelease", "a.b_debian_dists_trixie_InRelease"),
            ("https://me:pw@a.b:80/d_x/~u/Packages", "a.b:80_d%5fx_%7eu_Packages"),
        ] {
            assert_eq!(list(Path::new("/r"), url), Path::new("/r/var/lib/apt/lists").join(name), "{url}");
        }
    }

    #[test]
    fn os_release_is_read() {
        let root = machine(&[("usr/lib/os-release", "ID=debian\nVERSION_ID=\"13\"\nVERSION_CODENAME=trixie\nID_LIKE=\"a b\"\n")]);
        let release = os_release(root.path()).expect("reading").expect("there is one");
        assert_eq!((release.id.as_str(), release.codename.as_deref()), ("debian", Some("trixie")));
        assert_eq!(release.id_like, ["a", "b"]);
        assert_eq!(os_release(&root.path().join("nowhere")).expect("nothing there"), None);
    }
}
