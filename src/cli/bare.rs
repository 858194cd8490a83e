//! `plan --bare`: a repository's own answer to a request, whatever distribution it is of.

use std::path::{Path, PathBuf};

use super::args::{Global, KernelArgs, PlanArgs};
use super::progress::Progress;
use super::request::{self, Settled};
use super::{Failure, UsageError};
use crate::base::fs;
use crate::family::repo;

/// Leaves nothing of the profile but what the command line added. Where no distribution is named, the family and the architecture
/// are those of the repository.
pub fn settle(args: &PlanArgs, global: &Global, progress: &Progress) -> Result<Settled, Failure> {
    let found = match args.target.distro {
        None => args.sources.repo.iter().find_map(|value| family_at(value)),
        Some(_) => None,
    };
    let mut target = args.target.clone();
    let arch = target.arch.take_if(|_| found.is_some());
    // The machine does not matter.
    let kernel = KernelArgs { generic: true, ..KernelArgs::default() };
    let mut settled = request::settle(&target, &kernel, global, progress)?;
    let profile = &mut settled.profile;
    if let Some(family) = found {
        family.clone_into(&mut profile.family);
        profile.arch = arch.unwrap_or_else(|| repo::architecture(family, &profile.machine).to_owned());
        settled.is_own = false;
    }
    profile.packages.retain(|item| &*item.source.file == "the command line");
    profile.block.clear();
    profile.omit.clear();
    if profile.packages.is_empty() {
        let what = "`--bare` without `--package` asks for nothing".to_owned();
        return Err(UsageError::Wrong { what, hint: "name what you want with `--package NAME`".to_owned() }.into());
    }
    Ok(settled)
}

/// Returns the family of a local repository, as its files show; nothing for one of the network, or where nothing is found.
fn family_at(value: &str) -> Option<&'static str> {
    let value = value.trim().strip_prefix("file:").unwrap_or(value.trim());
    let path = PathBuf::from(value.strip_prefix("//").unwrap_or(value));
    if !path.is_dir() {
        return repo::family_of_file(&path.file_name()?.to_string_lossy());
    }
    let by_file = |directory: &Path| {
        let files = fs::list(directory).unwrap_or_default();
        files.iter().find_map(|file| repo::family_of_file(&file.file_name()?.to_string_lossy()))
    };
    // Metadata of RPM lies one directory below, and so does the index of each architecture of Alpine.
    let below =
        || fs::list(&path).unwrap_or_default().iter().filter(|path| path.is_dir()).find_map(|directory| by_file(directory));
    by_file(&path).or_else(below)
}
