//! What the command line, the machine and the profile say of a unified kernel image: command lines, stub, kernel, signatures.

use std::path::{Path, PathBuf};

use super::args::{Build, Format};
use super::request::Settled;
use super::{Failure, UsageError};
use crate::base::fs;
use crate::base::limit;
use crate::config::Item;
use crate::host::facts::FileContent;
use crate::host::policy::{self, PolicyKey};
use crate::host::sign::{self, Signer, Signing};
use crate::pipeline::Unified;
use crate::report::{Event, Reporter, Stage};
use crate::uki::{MAIN, Profile};

/// Where a machine keeps the command line of its next kernels, as kernel-install reads it: the first that is there.
const COMMAND_LINE_FILES: [&str; 2] = ["/etc/kernel/cmdline", "/usr/lib/kernel/cmdline"];
/// `COMMAND_LINE_SIZE` of x86 and arm64 less its end: the kernel cuts what is longer without a word.
const COMMAND_LINE_BYTES_MAX: usize = 2047;

/// A unified kernel image that is wanted.
pub struct Wanted {
    /// What it is made of.
    pub unified: Unified,
    /// Who signs it.
    pub signer: Option<Signer>,
}

/// Returns what is wanted if the format is that of a unified kernel image; everything that can be wrong is told before any work.
pub fn wanted(args: &Build, settled: &Settled, reporter: &dyn Reporter) -> Result<Option<Wanted>, Failure> {
    if args.format != Format::Uki {
        return no_options(args).map(|()| None);
    }
    let command_line = command_line(args, settled, reporter)?;
    let stub = existing("--stub", args.uki.stub.as_deref())?;
    let kernel_image = existing("--kernel-image", args.uki.kernel_image.as_deref())?;
    let signer = signing(args, settled)?.map(|signing| sign::signer(&signing)).transpose()?;
    let profiles = profiles(args, settled, &command_line)?;
    let policy = policy(args, settled)?;
    Ok(Some(Wanted { unified: Unified { stub, kernel_image, command_line, profiles, policy }, signer }))
}

/// Refuses what cannot be told of a unified kernel image: its command line, stub and signature are not in the manifest.
pub fn check_rebuild(args: &Build) -> Result<(), Failure> {
    let options = [("--all", args.all), ("--if-stale", args.if_stale)];
    match options.iter().find(|(_, is_given)| *is_given && args.format == Format::Uki) {
        Some((name, _)) => Err(wrong(format!("`{name}` cannot be used with `--format uki`"), "build each with `-o FILE`")),
        None => Ok(()),
    }
}

fn wrong(what: String, hint: &str) -> Failure {
    UsageError::Wrong { what, hint: hint.to_owned() }.into()
}

/// Options of a unified kernel image that would have no effect are refused.
fn no_options(args: &Build) -> Result<(), Failure> {
    let options = [
        ("--cmdline", args.uki.cmdline.is_some()),
        ("--stub", args.uki.stub.is_some()),
        ("--kernel-image", args.uki.kernel_image.is_some()),
        ("--uki-profile", !args.uki.uki_profile.is_empty()),
        ("--pcr-private-key", args.uki.pcr_private_key.is_some()),
        ("--pcr-public-key", args.uki.pcr_public_key.is_some()),
        ("--sign-key", args.uki.sign_key.is_some()),
        ("--sign-certificate", args.uki.sign_certificate.is_some()),
        ("--sign-tool", args.uki.sign_tool.is_some()),
    ];
    match options.iter().find(|(_, is_given)| *is_given) {
        Some((name, _)) => Err(wrong(format!("`{name}` is for a unified kernel image only"), "add `--format uki`")),
        None => Ok(()),
    }
}

fn existing(option: &str, path: Option<&Path>) -> Result<Option<PathBuf>, Failure> {
    match path {
        Some(path) if !path.is_file() => {
            Err(wrong(format!("`{option} {}`: there is no such file", path.display()), "check the path"))
        }
        path => Ok(path.map(Path::to_owned)),
    }
}

/// The command line: what was typed, else the machine's own, else the profile's.
fn command_line(args: &Build, settled: &Settled, reporter: &dyn Reporter) -> Result<String, Failure> {
    let (text, source) = match &args.uki.cmdline {
        Some(text) => match text.strip_prefix('@') {
            Some(path) => (fs::read_text(Path::new(path), limit::TEXT_BYTES_MAX)?, path.to_owned()),
            None => (text.clone(), "`--cmdline`".to_owned()),
        },
        None => of_machine(settled).unwrap_or_else(|| {
            let arguments: Vec<&str> = settled.profile.kernel_arguments.iter().map(|item| item.text.as_str()).collect();
            (arguments.join(" "), "`kernel.arguments`".to_owned())
        }),
    };
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    check_line(&line, &source)?;
    if line.is_empty() && args.uki.cmdline.is_none() {
        let message = "the unified kernel image gets no command line: the root is found only by the type of its partition, and with \
                       Secure Boot nothing can be added later (say `--cmdline TEXT`, or `--cmdline ''` if that is meant)";
        reporter.event(&Event::Warning { stage: Stage::Config, message });
    }
    Ok(line)
}

fn check_line(line: &str, source: &str) -> Result<(), Failure> {
    if line.contains(char::is_control) {
        return Err(wrong(format!("the kernel's command line in {source} has control characters"), "write it as plain text"));
    }
    if line.len() > COMMAND_LINE_BYTES_MAX {
        let bytes = line.len();
        let what =
            format!("the kernel's command line in {source} has {bytes} bytes, and the kernel reads {COMMAND_LINE_BYTES_MAX}");
        return Err(wrong(what, "shorten it"));
    }
    Ok(())
}

/// The other ways to start the image: those of the profile, then those that were typed, each as `ID: WORDS`.
fn profiles(args: &Build, settled: &Settled, command_line: &str) -> Result<Vec<Profile>, Failure> {
    let of_profile = settled.profile.uki_profiles.iter().map(|item| (item.text.as_str(), item.source.to_string()));
    let typed = args.uki.uki_profile.iter().map(|text| (text.as_str(), "`--uki-profile`".to_owned()));
    let mut profiles: Vec<Profile> = Vec::new();
    for (text, source) in of_profile.chain(typed) {
        let (id, words) = text.split_once(':').unwrap_or((text, ""));
        let append = words.split_whitespace().collect::<Vec<_>>().join(" ");
        let is_name = |id: &str| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if !is_name(id) || append.is_empty() {
            let hint =
                "write `ID: WORDS`, as in `rescue: systemd.unit=rescue.target`; the ID is of letters, digits, `-`, `_` and `.`";
            return Err(wrong(format!("`{text}` is no profile of a unified kernel image, {source}"), hint));
        }
        if id == MAIN || profiles.iter().any(|profile| profile.id == id) {
            return Err(wrong(format!("there are two profiles `{id}` of the unified kernel image"), "give each another ID"));
        }
        check_line(&format!("{command_line} {append}"), &format!("the profile `{id}`"))?;
        profiles.push(Profile { id: id.to_owned(), append });
    }
    Ok(profiles)
}

/// The key for policies of a TPM: what was typed, else the profile's.
fn policy(args: &Build, settled: &Settled) -> Result<Option<PolicyKey>, Failure> {
    let (uki, profile) = (&args.uki, &settled.profile);
    let private = typed_or(&uki.pcr_private_key, &profile.pcr_private_key);
    let public = typed_or(&uki.pcr_public_key, &profile.pcr_public_key);
    Ok(policy::key(private.as_deref(), public.as_deref())?)
}

fn typed_or(typed: &Option<PathBuf>, item: &Option<Item>) -> Option<PathBuf> {
    typed.clone().or_else(|| item.as_ref().map(|item| PathBuf::from(&item.text)))
}

/// Returns the machine's own command line and the file that has it, if the image is for a machine.
fn of_machine(settled: &Settled) -> Option<(String, String)> {
    let facts = settled.facts.as_ref()?;
    COMMAND_LINE_FILES.into_iter().find_map(|path| match &facts.file(path)?.content {
        FileContent::Text(text) => Some((text.clone(), format!("`{path}`"))),
        _ => None,
    })
}

/// Key and certificate: what was typed, else the profile's.
fn signing(args: &Build, settled: &Settled) -> Result<Option<Signing>, Failure> {
    let (uki, profile) = (&args.uki, &settled.profile);
    let key = typed_or(&uki.sign_key, &profile.sign_key);
    let certificate = typed_or(&uki.sign_certificate, &profile.sign_certificate);
    let tool = uki.sign_tool.as_deref().or(profile.sign_tool.as_ref().map(|item| item.text.as_str()));
    let tool = tool.map(str::parse).transpose().map_err(|what: String| wrong(what, "name one with `--sign-tool`"))?;
    match (key, certificate) {
        (Some(key), Some(certificate)) => Ok(Some(Signing { key, certificate, tool })),
        (None, None) if uki.sign_tool.is_none() => Ok(None),
        (None, _) => {
            Err(wrong("there is no key to sign with".to_owned(), "name it with `--sign-key FILE` or `uki.sign.key` of a drop-in"))
        }
        (Some(_), None) => {
            let hint = "name it with `--sign-certificate FILE` or `uki.sign.certificate` of a drop-in";
            Err(wrong("there is no certificate of the key to sign with".to_owned(), hint))
        }
    }
}

impl Wanted {
    /// Returns the image, signed if that is wanted.
    pub fn signed(&self, image: Vec<u8>, reporter: &dyn Reporter) -> Result<Vec<u8>, Failure> {
        let Some(signer) = &self.signer else { return Ok(image) };
        let signed = signer.sign(&image)?;
        let message = "signed for Secure Boot";
        reporter.event(&Event::Detail { stage: Stage::Uki, message });
        Ok(signed)
    }
}
