//! Finds the host's Debian mirror and fetches from it: single packages and whole root file systems of any release.

use std::fs;
use std::path::{Path, PathBuf};

use crate::command::{at, run, tool};

/// The keys of the Debian archive, from the package `debian-archive-keyring`.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A mirror that lags behind is good enough for the root of a test. Signatures are checked all the same.
pub const AS_OLD_AS_IT_IS: &str = "Acquire::Check-Valid-Until \"false\"";

/// Raised when the recipe of a root file system changes, so that nobody boots an old one out of the cache.
const ROOT_RECIPE: u32 = 1;

/// Where Debian comes from, and where it is kept.
pub struct Debian {
    mirror: String,
    cache: PathBuf,
}

impl Debian {
    /// Reads the mirror from the host's own apt sources, or from `MKINITRD_TEST_MIRROR`.
    pub fn new(cache: &Path) -> Result<Debian, String> {
        if !Path::new(KEYRING).exists() {
            return Err(format!("`{KEYRING}` is missing: install `debian-archive-keyring`"));
        }
        let mirror = match std::env::var("MKINITRD_TEST_MIRROR") {
            Ok(mirror) => mirror,
            Err(_) => host_mirror(Path::new("/etc/apt"))?,
        };
        Ok(Debian { mirror: mirror.trim_end_matches('/').to_owned(), cache: cache.to_owned() })
    }

    /// Returns the mirror's address.
    pub fn mirror(&self) -> &str {
        &self.mirror
    }

    /// Returns the root file system of a release as a tar archive, made of real packages and cached.
    ///
    /// A foreign architecture cannot run maintainer scripts here, so its packages are only unpacked; `finish` in
    /// `root.rs` does the little that a boot needs of them.
    pub fn root_tar(&self, release: &str, arch: &str) -> Result<PathBuf, String> {
        let tar = self.cache.join(format!("root-{release}-{arch}-{ROOT_RECIPE}.tar"));
        if tar.exists() {
            return Ok(tar);
        }
        fs::create_dir_all(&self.cache).map_err(at(&self.cache))?;
        let partial = tar.with_extension(format!("{}.partial.tar", std::process::id()));
        let variant = if arch == host_arch()? { "essential" } else { "extract" };
        let crypt = if release == "bookworm" { "cryptsetup-bin" } else { "systemd-cryptsetup" };
        let include = format!("systemd,systemd-sysv,udev,kmod,dmsetup,lvm2,e2fsprogs,btrfs-progs,util-linux,mount,{crypt}");
        let essential = ",base-files,base-passwd,bash,coreutils,dash,libc-bin,grep,gawk,findutils,sed";
        let result = run(tool("mmdebstrap")
            .arg(format!("--variant={variant}"))
            .arg(format!("--architectures={arch}"))
            .arg(format!("--include={include}{}", if variant == "extract" { essential } else { "" }))
            .arg(format!("--keyring={KEYRING}"))
            .arg(format!("--aptopt={AS_OLD_AS_IT_IS}"))
            .args(["--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*"])
            .args(["--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/lib/udev/hwdb.d/*"])
            .args([release.as_ref(), partial.as_os_str()])
            .arg(format!("deb {} {release} main", self.mirror)));
        match result {
            Ok(_) => fs::rename(&partial, &tar).map_err(at(&tar)).map(|()| tar),
            Err(error) => {
                let _ = fs::remove_file(&partial); // the error that matters is mmdebstrap's
                Err(error)
            }
        }
    }

    /// Returns a file of a package for amd64, cached; `path` has no slash before.
    pub fn file(&self, release: &str, package: &str, path: &str) -> Result<PathBuf, String> {
        let out = self.cache.join(format!("{release}-{package}-{}", path.rsplit('/').next().unwrap_or(path)));
        if out.exists() {
            return Ok(out);
        }
        let apt = Apt::open(&self.cache.join(format!("apt-{release}-amd64")), &self.mirror, release, "amd64")?;
        let deb = apt.download(package)?;
        let partial = out.with_extension(format!("{}.partial", std::process::id()));
        let script = r#"dpkg-deb --fsys-tarfile "$1" | tar -xO "./$2" >"$3""#;
        run(tool("sh").args(["-euc", script, "sh"]).arg(&deb).arg(path).arg(&partial))?;
        fs::rename(&partial, &out).map_err(at(&out))?;
        fs::remove_file(&deb).map_err(at(&deb))?;
        Ok(out)
    }

    /// Returns the kernel of a release, cached: of exactly `version` when the image is made for one.
    pub fn kernel(&self, release: &str, arch: &str, version: Option<&str>) -> Result<PathBuf, String> {
        let cached = |version: &str| self.cache.join(format!("vmlinuz-{version}"));
        if let Some(path) = version.map(cached).filter(|path| path.exists()) {
            return Ok(path);
        }
        let apt = Apt::open(&self.cache.join(format!("apt-{release}-{arch}")), &self.mirror, release, arch)?;
        let package = match version {
            Some(version) => format!("linux-image-{version}"),
            None => apt.depends_on(&format!("linux-image-{arch}"), "linux-image-")?,
        };
        let version = package.trim_start_matches("linux-image-");
        let path = cached(version);
        if path.exists() {
            return Ok(path);
        }
        // Since 2026 the kernel proper is in a package of its own, which the other depends on.
        let split = format!("linux-binary-{version}");
        let deb = apt.download(if apt.depends_on(&package, &split).is_ok() { &split } else { &package })?;
        let partial = path.with_extension(format!("{}.partial", std::process::id()));
        let script = r#"dpkg-deb --fsys-tarfile "$1" | tar -xO --wildcards '*/vmlinu[xz]*' >"$2""#;
        run(tool("sh").args(["-euc", script, "sh"]).arg(&deb).arg(&partial))?;
        fs::rename(&partial, &path).map_err(at(&path))?;
        fs::remove_file(&deb).map_err(at(&deb))?;
        Ok(path)
    }
}

/// Returns Debian's name for the architecture of this machine.
pub fn host_arch() -> Result<&'static str, String> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => Err(format!("the boot tests know no Debian architecture for `{other}`")),
    }
}

/// An apt with its own sources, lists and cache, which knows nothing of the host's.
struct Apt {
    dir: PathBuf,
    conf: PathBuf,
}

impl Apt {
    fn open(dir: &Path, mirror: &str, release: &str, arch: &str) -> Result<Apt, String> {
        for sub in ["etc/apt.conf.d", "etc/preferences.d", "etc/sources.list.d", "state/lists/partial", "cache/archives/partial"]
        {
            fs::create_dir_all(dir.join(sub)).map_err(at(dir))?;
        }
        let mut sources = format!("deb [signed-by={KEYRING}] {mirror} {release} main\n");
        if release != "sid" {
            sources.push_str(&format!("deb [signed-by={KEYRING}] {mirror} {release}-updates main\n"));
            sources.push_str(&format!("deb [signed-by={KEYRING}] {mirror}-security {release}-security main\n"));
        }
        fs::write(dir.join("etc/sources.list"), sources).map_err(at(dir))?;
        fs::write(dir.join("status"), "").map_err(at(dir))?;
        let conf = dir.join("apt.conf");
        let d = dir.display();
        let text = format!(
            "Dir::Etc \"{d}/etc\";\n\
             Dir::State \"{d}/state\";\nDir::State::status \"{d}/status\";\nDir::Cache \"{d}/cache\";\n\
             APT::Architecture \"{arch}\";\nAPT::Architectures {{ \"{arch}\"; }};\nAPT::Sandbox::User \"\";\n\
             Acquire::Languages \"none\";\n{AS_OLD_AS_IT_IS};\n"
        );
        fs::write(&conf, text).map_err(at(&conf))?;
        let apt = Apt { dir: dir.to_owned(), conf };
        run(tool("apt-get").env("APT_CONFIG", &apt.conf).args(["-qq", "update"]))?;
        Ok(apt)
    }

    fn depends_on(&self, package: &str, prefix: &str) -> Result<String, String> {
        let listed = run(tool("apt-cache").env("APT_CONFIG", &self.conf).args(["depends", "--no-recommends", package]))?;
        let names = listed.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        let found = names.map(str::trim).find(|name| name.starts_with(prefix));
        found.map(str::to_owned).ok_or_else(|| format!("`{package}` depends on no `{prefix}*`"))
    }

    fn download(&self, package: &str) -> Result<PathBuf, String> {
        run(tool("apt-get").env("APT_CONFIG", &self.conf).current_dir(&self.dir).args(["-qq", "download", package]))?;
        let prefix = format!("{package}_");
        let entries = fs::read_dir(&self.dir).map_err(at(&self.dir))?;
        let mut paths = entries.filter_map(Result::ok).map(|entry| entry.path());
        let is_it = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix));
        paths.find(is_it).ok_or_else(|| format!("`apt-get download {package}` left no file `{prefix}*.deb`"))
    }
}

/// Returns the first Debian mirror in apt's sources: one that serves `main` under a path named `debian`.
fn host_mirror(etc_apt: &Path) -> Result<String, String> {
    let mut files = vec![etc_apt.join("sources.list")];
    if let Ok(entries) = fs::read_dir(etc_apt.join("sources.list.d")) {
        let mut parts: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
        parts.sort();
        files.extend(parts);
    }
    for file in files {
        // A list that cannot be read is apt's trouble, not ours: another one may have the mirror.
        let text = fs::read_to_string(&file).unwrap_or_default();
        let deb822 = file.extension().is_some_and(|extension| extension == "sources");
        let lines = text.lines().filter(|line| if deb822 { line.starts_with("URIs:") } else { line.starts_with("deb ") });
        let words = lines.flat_map(str::split_whitespace);
        if let Some(uri) = words.map(|uri| uri.trim_end_matches('/')).find(|uri| is_debian(uri)) {
            return Ok(uri.to_owned());
        }
    }
    Err(format!("no Debian mirror in `{}`: set `MKINITRD_TEST_MIRROR` to one", etc_apt.display()))
}

fn is_debian(uri: &str) -> bool {
    uri.contains("://") && (uri.ends_with("/debian") || uri.contains("/archive/debian/"))
}
