//! Lays out the program and all that belongs to it under a prefix, for packagers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell::{at, call, cargo, output, repository, target};

const PROGRAM: &str = "mkinitrd-pkg";

/// What is laid out, and where.
pub struct Layout {
    /// The program; built when there is none.
    pub program: Option<PathBuf>,
    /// Goes before every path and is part of none.
    pub destdir: String,
    /// Where everything but configuration goes.
    pub prefix: String,
    /// With Debian's hooks for kernel packages, and `update-initramfs`.
    pub debian_hooks: bool,
}

/// Builds the program and installs it.
pub fn run(args: &[String]) -> Result<(), String> {
    let mut layout = Layout { program: None, destdir: String::new(), prefix: "/usr".to_owned(), debian_hooks: false };
    for arg in args {
        match arg.split_once('=') {
            Some(("DESTDIR", value)) => layout.destdir = value.to_owned(),
            Some(("PREFIX", value)) if value.starts_with('/') => layout.prefix = value.to_owned(),
            Some(("HOOKS", "debian")) => layout.debian_hooks = true,
            _ => return Err(format!("`{arg}` is not understood: give `DESTDIR=DIR`, an absolute `PREFIX=DIR`, `HOOKS=debian`")),
        }
    }
    lay_out(&layout)?;
    println!("installed under `{}{}`", layout.destdir, layout.prefix);
    Ok(())
}

/// Lays everything out.
pub fn lay_out(layout: &Layout) -> Result<(), String> {
    let root = PathBuf::from(format!("{}{}", layout.destdir, layout.prefix));
    let program = match &layout.program {
        Some(program) => program.clone(),
        None => {
            call(cargo().args(["build", "--release", "--locked", "--bin", PROGRAM]))?;
            target().join("release").join(PROGRAM)
        }
    };
    copy(&program, &root.join("bin").join(PROGRAM), "755")?;
    copy_scripts("kernel-install.d", ".install", &root.join("lib/kernel/install.d"), &layout.prefix)?;
    copy_all("kernel-install.d", ".conf", &root.join("lib/kernel/install.conf.d"), "644")?;
    if layout.debian_hooks {
        for hooks in ["postinst.d", "postrm.d"] {
            let to = PathBuf::from(format!("{}/etc/kernel/{hooks}", layout.destdir));
            copy_scripts(&format!("debian-hooks/{hooks}"), "", &to, &layout.prefix)?;
        }
        let link = root.join("sbin/update-initramfs");
        fs::create_dir_all(root.join("sbin")).map_err(at(&link))?;
        if link.is_symlink() {
            fs::remove_file(&link).map_err(at(&link))?;
        }
        std::os::unix::fs::symlink(format!("../bin/{PROGRAM}"), &link).map_err(at(&link))?;
    }
    copy_all("distro-profiles", ".toml", &root.join("share").join(PROGRAM).join("distro-profiles"), "644")?;
    // The keys themselves are in the program: this tells which.
    copy_all("distro-profiles/keys", ".md", &root.join("share").join(PROGRAM).join("distro-profiles/keys"), "644")?;
    let doc = root.join("share/doc").join(PROGRAM);
    for file in ["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"] {
        let from = repository().join(file);
        if from.exists() {
            copy(&from, &doc.join(file), "644")?;
        }
    }
    copy_all("docs", ".md", &doc, "644")?;
    generated(&program, &root)
}

/// Scripts name the program by its whole path, for plugins may run without `PATH`.
fn copy_scripts(from: &str, suffix: &str, to: &Path, prefix: &str) -> Result<(), String> {
    copy_all(from, suffix, to, "755")?;
    let mut installed = files(to)?;
    installed.retain(|file| file.file_name().is_some_and(|name| name.to_string_lossy().contains(PROGRAM)));
    for file in installed.iter().filter(|_| prefix != "/usr") {
        let text = fs::read_to_string(file).map_err(at(file))?;
        fs::write(file, text.replace("/usr/bin/", &format!("{prefix}/bin/"))).map_err(at(file))?;
    }
    Ok(())
}

/// Man pages and completions come out of the program itself, so that they cannot be of another version.
fn generated(program: &Path, root: &Path) -> Result<(), String> {
    let work = target().join("install");
    for what in ["man", "completions"] {
        let dir = work.join(what);
        fs::create_dir_all(&dir).map_err(at(&dir))?;
        output(Command::new(program).args(["_generate", what]).arg(&dir))?;
        for file in files(&dir)? {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let place = match name.rsplit_once('.') {
                Some((_, section)) if what == "man" => root.join("share/man").join(format!("man{section}")).join(&name),
                Some((stem, "bash")) => root.join("share/bash-completion/completions").join(stem),
                Some((_, "fish")) => root.join("share/fish/vendor_completions.d").join(&name),
                None if name.starts_with('_') => root.join("share/zsh/vendor-completions").join(&name),
                _ => continue, // a shell that has no place of its own under a prefix
            };
            copy(&file, &place, "644")?;
        }
    }
    fs::remove_dir_all(&work).map_err(at(&work))
}

fn copy_all(from: &str, suffix: &str, to: &Path, mode: &str) -> Result<(), String> {
    let dir = repository().join(from);
    if !dir.is_dir() {
        return Ok(());
    }
    for file in files(&dir)? {
        let name = file.file_name().unwrap_or_default();
        if name.to_string_lossy().ends_with(suffix) {
            copy(&file, &to.join(name), mode)?;
        }
    }
    Ok(())
}

fn files(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(dir).map_err(at(dir))?;
    let mut paths: Vec<PathBuf> =
        entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    paths.sort();
    Ok(paths)
}

fn copy(from: &Path, to: &Path, mode: &str) -> Result<(), String> {
    call(Command::new("install").args(["-D", "-m", mode]).args([from, to]))
}
