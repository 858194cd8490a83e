//! Our own Debian package, out of what `install` lays out and what is in `debian/`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::install::{self, Layout};
use crate::shell::{at, call, output, repository, target, tool};

const PACKAGE: &str = "mkinitrd-pkg";
/// What dpkg keeps as an administrator has changed it.
const CONFFILES: [&str; 2] = ["/etc/kernel/postinst.d/mkinitrd-pkg", "/etc/kernel/postrm.d/mkinitrd-pkg"];

/// Makes the package.
pub fn run(args: &[String]) -> Result<(), String> {
    let (binary, out) = match args {
        [out] => (None, out),
        [flag, binary, out] if flag == "--binary" => (Some(PathBuf::from(binary)), out),
        _ => return Err("what is wanted is `cargo xtask deb [--binary FILE] OUT`".to_owned()),
    };
    let root = target().join("deb");
    if root.exists() {
        fs::remove_dir_all(&root).map_err(at(&root))?;
    }
    let is_release = binary.is_none();
    let destdir = root.display().to_string();
    install::lay_out(&Layout { program: binary, destdir, prefix: "/usr".to_owned(), debian_hooks: true })?;
    documents(&root)?;
    control(&root)?;
    // A package that is only tried is packed quickly.
    let compression: &[&str] = if is_release { &["-Zxz"] } else { &["-Zgzip", "-z1"] };
    call(tool("dpkg-deb").args(["--root-owner-group"]).args(compression).arg("--build").args([&root, Path::new(out)]))?;
    fs::remove_dir_all(&root).map_err(at(&root))
}

/// Debian's names: `copyright`, `changelog.gz`, manual pages compressed; licences are named, not repeated.
fn documents(root: &Path) -> Result<(), String> {
    let doc = root.join("usr/share/doc").join(PACKAGE);
    for name in ["LICENSE-MIT", "LICENSE-APACHE"] {
        let path = doc.join(name);
        if path.exists() {
            fs::remove_file(&path).map_err(at(&path))?;
        }
    }
    call(tool("install").args(["-m", "644"]).arg(repository().join("debian/copyright")).arg(doc.join("copyright")))?;
    let changelog = doc.join("changelog");
    fs::rename(doc.join("CHANGELOG.md"), &changelog).map_err(at(&changelog))?;
    call(tool("gzip").args(["-9n"]).arg(&changelog))?;
    let man = root.join("usr/share/man/man1");
    // The command is known by its own name, too.
    let link = root.join("usr/share/man/man8/update-initramfs.8.gz");
    fs::create_dir_all(link.parent().expect("invariant: it has one")).map_err(at(&link))?;
    std::os::unix::fs::symlink("../man1/mkinitrd-pkg-update-initramfs.1.gz", &link).map_err(at(&link))?;
    for page in fs::read_dir(&man).map_err(at(&man))?.filter_map(Result::ok) {
        call(tool("gzip").args(["-9n"]).arg(page.path()))?;
    }
    Ok(())
}

fn control(root: &Path) -> Result<(), String> {
    let dir = root.join("DEBIAN");
    fs::create_dir_all(&dir).map_err(at(&dir))?;
    let write = |name: &str, text: String| fs::write(dir.join(name), text).map_err(at(&dir.join(name)));
    write("md5sums", sums(root)?)?;
    write("conffiles", CONFFILES.map(|path| format!("{path}\n")).concat())?;
    write("control", stanza(root)?)?;
    for (name, mode) in [("triggers", "644"), ("postinst", "755"), ("postrm", "755")] {
        call(tool("install").args(["-m", mode]).arg(repository().join("debian").join(name)).arg(dir.join(name)))?;
    }
    Ok(())
}

/// The binary package's part of `debian/control`, with what only a built program tells.
fn stanza(root: &Path) -> Result<String, String> {
    let program = root.join("usr/bin").join(PACKAGE);
    // It looks for `debian/control` where it runs.
    let depends = output(tool("dpkg-shlibdeps").current_dir(repository()).arg("-O").arg(format!("-e{}", program.display())))?;
    let depends = depends.trim().strip_prefix("shlibs:Depends=").unwrap_or_default().to_owned();
    let architecture = output(tool("dpkg").arg("--print-architecture"))?;
    let size = output(tool("du").args(["-k", "-s", "--apparent-size"]).arg(root))?;
    let path = repository().join("debian/control");
    let text = fs::read_to_string(&path).map_err(at(&path))?;
    let (source, binary) = text.split_once("\n\n").ok_or("`debian/control` has no second part")?;
    let mut stanza = String::new();
    for line in binary.trim().lines() {
        match line.split_once(": ") {
            Some(("Architecture", _)) => {
                let _ = writeln!(stanza, "Version: {}", env!("CARGO_PKG_VERSION")); // writing to a String cannot fail
                let _ = writeln!(stanza, "Architecture: {}", architecture.trim());
                let _ = writeln!(stanza, "Installed-Size: {}", size.split_whitespace().next().unwrap_or("0"));
                for field in source.lines().filter(|line| {
                    ["Maintainer:", "Section:", "Priority:", "Homepage:"].iter().any(|name| line.starts_with(name))
                }) {
                    let _ = writeln!(stanza, "{field}");
                }
            }
            _ => {
                let _ = writeln!(stanza, "{}", line.replace("${shlibs:Depends}", &depends));
            }
        }
    }
    Ok(stanza)
}

fn sums(root: &Path) -> Result<String, String> {
    let script = "cd \"$1\" && find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum";
    output(tool("sh").args(["-c", script, "sh"]).arg(root))
}
