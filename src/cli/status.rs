//! `status`: the kernels of this machine with their images, and what is to be done about them.

use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::args::{Global, StatusArgs};
use super::check::{self, Standing};
use super::diagnose::one_line;
use super::progress::Progress;
use super::{Failure, ls, print};
use crate::base::date;
use crate::base::error::{Diagnostic, ErrorKind};
use crate::base::fs;
use crate::base::limit;
use crate::base::size::Size;
use crate::host::kernels::{self, Placed};
use crate::image;

/// Something is to be done.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("; "))]
struct ToDo(Vec<String>);

impl Diagnostic for ToDo {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Host
    }

    fn hints(&self) -> Vec<String> {
        vec!["rebuild what is stale with `mkinitrd-pkg build --all --if-stale`".to_owned()]
    }
}

/// What is known of an image in its place.
pub struct Row {
    /// Where it is, and for which kernel.
    pub placed: Placed,
    /// Its size in bytes, all files together.
    pub size_bytes: u64,
    /// When its newest file was written, in seconds of Unix time.
    pub written_s: i64,
    /// How it stands, or why that cannot be told.
    pub standing: Result<Standing, String>,
}

/// Runs the command.
pub fn run(args: &StatusArgs, global: &Global, progress: &Progress) -> Result<(), Failure> {
    let root = Path::new("/");
    let is_meant = |version: &String| args.kernels.is_empty() || args.kernels.contains(version);
    let placed: Vec<Placed> = kernels::images(root).into_iter().filter(|placed| is_meant(&placed.kernel)).collect();
    let without: Vec<String> = kernels::versions(root)
        .into_iter()
        .filter(|version| is_meant(version) && placed.iter().all(|placed| placed.kernel != *version))
        .collect();
    let rows: Vec<Row> = placed.into_iter().map(|placed| row(placed, global, progress)).collect();
    print(&match global.json {
        true => format!("{:#}\n", as_json(&rows, &without)),
        false => as_text(&rows, &without),
    })?;
    let to_do = to_do(&rows, &without);
    if to_do.is_empty() { Ok(()) } else { Err(ToDo(to_do).into()) }
}

/// Looks at one image.
pub fn row(placed: Placed, global: &Global, progress: &Progress) -> Row {
    let metas: Vec<_> = placed.files.iter().filter_map(|file| std::fs::metadata(file).ok()).collect();
    let standing = joined(&placed.files)
        .and_then(|found| check::judge(found, &placed.files[0], None, Some(&placed.kernel), global, progress))
        .map_err(|error| super::diagnose::sentence(&*error));
    Row {
        size_bytes: metas.iter().map(MetadataExt::size).sum(),
        written_s: metas.iter().map(MetadataExt::mtime).max().unwrap_or(0),
        placed,
        standing,
    }
}

/// Reads the files of an entry as one image, as a boot loader hands them over: each at a multiple of four.
fn joined(files: &[PathBuf]) -> Result<image::Found, Failure> {
    if let [file] = files {
        return ls::read(file);
    }
    let mut bytes = Vec::new();
    for file in files {
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(fs::read(file, limit::PACKAGE_BYTES_MAX)?);
    }
    Ok(image::read(bytes)?)
}

/// How an image stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It cannot be read.
    Unreadable,
    /// It would not boot this machine.
    WouldNotBoot,
    /// Another program made it, so that nothing tells what it should be.
    NotOurs,
    /// Another one would be made now.
    Stale,
    /// There is nothing to do.
    Fine,
}

impl State {
    /// Returns the word for people and programs.
    fn as_str(self) -> &'static str {
        match self {
            State::Unreadable => "unreadable",
            State::WouldNotBoot => "would not boot",
            State::NotOurs => "not ours",
            State::Stale => "stale",
            State::Fine => "fine",
        }
    }
}

impl Row {
    fn state(&self) -> State {
        match &self.standing {
            Err(_) => State::Unreadable,
            Ok(standing) if standing.errors().next().is_some() => State::WouldNotBoot,
            Ok(Standing { manifest: None, .. }) => State::NotOurs,
            Ok(standing) if !standing.stale.is_empty() => State::Stale,
            Ok(_) => State::Fine,
        }
    }

    /// Tells whether it is ours and should be made anew.
    pub fn is_stale(&self) -> bool {
        matches!(self.state(), State::Stale | State::WouldNotBoot) && self.is_ours()
    }

    /// Tells whether this program made it.
    pub fn is_ours(&self) -> bool {
        self.standing.as_ref().is_ok_and(|standing| standing.manifest.is_some())
    }

    /// Returns what is to be said about the state, a line each.
    fn remarks(&self) -> Vec<String> {
        match &self.standing {
            Err(error) => vec![error.clone()],
            Ok(standing) => {
                let errors = standing.errors().map(check::show);
                errors.chain(standing.stale.iter().map(ToString::to_string)).map(|text| one_line(&text)).collect()
            }
        }
    }
}

fn to_do(rows: &[Row], without: &[String]) -> Vec<String> {
    let wanting = rows.iter().filter_map(|row| {
        let kernel = &row.placed.kernel;
        match row.state() {
            State::Fine | State::NotOurs => None,
            State::WouldNotBoot => Some(format!("the image for {kernel} would not boot")),
            state => Some(format!("the image for {kernel} is {}", state.as_str())),
        }
    });
    wanting.chain(without.iter().map(|version| format!("the kernel {version} has no image"))).collect()
}

fn as_text(rows: &[Row], without: &[String]) -> String {
    let mut out = String::new();
    for row in rows {
        let by = row.standing.as_ref().ok().and_then(|standing| standing.manifest.as_ref());
        let by = by.map_or("another program".to_owned(), |manifest| {
            let packages = manifest.packages.iter().filter(|package| !package.omitted).count();
            format!(
                "{}, {} image, {packages} packages, {} modules",
                manifest.generator,
                manifest.target.image,
                manifest.modules.len()
            )
        });
        let files: Vec<String> = row.placed.files.iter().map(|file| file.display().to_string()).collect();
        let _ = writeln!(out, "{}: {}", row.placed.kernel, row.state().as_str()); // writing to a String cannot fail
        let _ = writeln!(out, "    {}, {}, {}", files.join(" + "), Size(row.size_bytes), date::show(row.written_s)); // cannot fail
        let _ = writeln!(out, "    made by {by}"); // cannot fail
        for remark in row.remarks() {
            let _ = writeln!(out, "    {remark}"); // cannot fail
        }
    }
    for version in without {
        let _ = writeln!(out, "{version}: no image"); // cannot fail
    }
    if out.is_empty() {
        out.push_str("this machine has neither kernels nor images\n");
    }
    out
}

fn as_json(rows: &[Row], without: &[String]) -> serde_json::Value {
    let row = |row: &Row| {
        let manifest = row.standing.as_ref().ok().and_then(|standing| standing.manifest.as_ref());
        let packages = manifest.map(|manifest| {
            let kept = manifest.packages.iter().filter(|package| !package.omitted);
            kept.map(|package| (package.name.clone(), package.version.clone().into())).collect::<serde_json::Map<_, _>>()
        });
        serde_json::json!({
            "kernel": row.placed.kernel,
            "files": row.placed.files,
            "size": row.size_bytes,
            "written": date::show(row.written_s),
            "state": row.state().as_str(),
            "generator": manifest.map(|manifest| &manifest.generator),
            "image": manifest.map(|manifest| &manifest.target.image),
            "packages": packages,
            "remarks": row.remarks(),
        })
    };
    serde_json::json!({ "schema": 1, "images": rows.iter().map(row).collect::<Vec<_>>(), "without_image": without })
}
