//! Lays out the program and all that belongs to it under a prefix, for packagers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell::{at, call, cargo, output, repository, target};

const PROGRAM: &str = "mkinitrd-pkg";

/// Builds the program and installs it. `DESTDIR` goes before every path and is part of none.
pub fn run(args: &[String]) -> Result<(), String> {
    let (mut destdir, mut prefix) = (String::new(), "/usr".to_owned());
    for arg in args {
        match arg.split_once('=') {
            Some(("DESTDIR", value)) => destdir = value.to_owned(),
            Some(("PREFIX", value)) if value.starts_with('/') => prefix = value.to_owned(),
            _ => return Err(format!("`{arg}` is not understood: give `DESTDIR=DIR` and an absolute `PREFIX=DIR`")),
        }
    }
    let root = PathBuf::from(format!("{destdir}{prefix}"));
    call(cargo().args(["build", "--release", "--locked", "--bin", PROGRAM]))?;
    let program = target().join("release").join(PROGRAM);
    copy(&program, &root.join("bin").join(PROGRAM), "755")?;
    copy_all("kernel-install.d", ".install", &root.join("lib/kernel/install.d"), "755")?;
    copy_all("distro-profiles", ".toml", &root.join("share").join(PROGRAM).join("distro-profiles"), "644")?;
    copy_all("distro-profiles/keys", "", &root.join("share").join(PROGRAM).join("distro-profiles/keys"), "644")?;
    let doc = root.join("share/doc").join(PROGRAM);
    for file in ["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"] {
        let from = repository().join(file);
        if from.exists() {
            copy(&from, &doc.join(file), "644")?;
        }
    }
    copy_all("docs", ".md", &doc, "644")?;
    generated(&program, &root)?;
    println!("installed under `{}`", root.display());
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
