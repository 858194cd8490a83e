//! The finalize stage: what maintainer scripts would have done to the tree, natively, one pure function for each effect.
//!
//! A profile names the steps and their order; which step is there for which reason stands beside the name in the profile.
//! Then [`check`] answers "would it boot?". No step knows a distribution: each looks at what lies in the tree.

mod btrfs_degraded;
mod busybox;
pub mod check;
mod credentials;
mod credstore;
mod crypto_policies;
mod db_persist;
mod default_target;
mod emergency;
mod enable;
mod hwdb;
mod init;
mod initrd_release;
mod install;
mod ldconfig;
mod links;
mod locale;
mod lvm_monitoring;
mod machine_id;
mod masks;
mod md_degraded;
mod repart;
mod tmpdirs;
mod units;
mod users;
mod usr_etc;

use crate::base::error::{Diagnostic, ErrorKind};
use crate::base::size::Size;
use crate::config::{Item, Source};
use crate::report::{Event, Reporter, Stage};
use crate::tree::{Entry, Tree, TreeError, TreePath};

/// What an image offers on its console when the real root cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Emergency {
    /// Nothing but an explanation: what failed, and how to get a shell. Root has no password in an initrd.
    #[default]
    Locked,
    /// A root shell without a password.
    Shell,
    /// A root shell for whoever knows the password with this crypt(3) hash.
    Password(String),
}

impl std::str::FromStr for Emergency {
    type Err = String;

    /// Reads `locked`, `shell` or `password:HASH`; the error says what is wanted.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "locked" => Ok(Self::Locked),
            None if text == "shell" => Ok(Self::Shell),
            // crypt(5): `$id$…`, never a colon or a line break, which would forge a field or a line of shadow.
            Some(("password", hash))
                if hash.starts_with('$') && hash.len() >= 13 && hash.bytes().all(|b| b.is_ascii_graphic() && b != b':') =>
            {
                Ok(Self::Password(hash.to_owned()))
            }
            Some(("password", _)) => Err("wanted a hash as `mkpasswd` or `openssl passwd -6` prints it (`$6$…`)".to_owned()),
            _ => Err(format!("wanted `locked`, `shell` or `password:HASH`, found `{text}`")),
        }
    }
}

/// What a profile says about the steps besides their names.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Lines in the syntax of sysusers.d(5) for users that packages make in scripts: `u tss - "TPM software stack" …`.
    pub users: Vec<Item>,
    /// Files that the program brings itself: `FILE -> PATH`.
    pub install: Vec<Item>,
    /// Links: `TARGET.wants/UNIT` for units that start in this image, or `LINK -> TARGET`.
    pub enable: Vec<Item>,
    /// Units that must not start in an initrd.
    pub masks: Vec<Item>,
    /// What happens when the root cannot be reached.
    pub emergency: Emergency,
    /// The value of `LANG`; without one `locale` writes `C.UTF-8`.
    pub locale: Option<String>,
}

/// The ids of the machine that the image is for: names that both have keep the machine's numbers.
#[derive(Debug, Clone, Default)]
pub struct HostIds {
    /// The machine's `/etc/passwd`.
    pub passwd: Vec<u8>,
    /// The machine's `/etc/group`.
    pub group: Vec<u8>,
}

/// What the steps may know besides the tree.
#[derive(Debug)]
pub struct Context<'a> {
    /// The profile's options.
    pub options: &'a Options,
    /// The time of the build in seconds since 1970 (`SOURCE_DATE_EPOCH`); 0 where nothing may depend on time.
    pub time_s: u32,
    /// The machine's ids, for an image that is for one machine only.
    pub host_ids: Option<&'a HostIds>,
}

/// What the stage did, for the manifest and for `why`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// One for each step, in the order they ran.
    pub steps: Vec<AppliedStep>,
}

/// What one step did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedStep {
    /// The step.
    pub name: &'static str,
    /// Where it was asked for.
    pub source: Source,
    /// What it changed, one line each: `made /init -> usr/lib/systemd/systemd`. Empty when there was nothing to do.
    pub effects: Vec<String>,
    /// What it could not do and what will be missing therefore.
    pub warnings: Vec<String>,
}

/// The stage cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no step of this name.
    #[error("there is no finalizer `{name}`")]
    UnknownStep {
        /// The name as written.
        name: String,
        /// Where it stands.
        source_line: Source,
    },
    /// A step is named twice.
    #[error("the finalizer `{name}` is named twice, first at {first}")]
    NamedTwice {
        /// The name.
        name: &'static str,
        /// Where it stands first.
        first: Source,
        /// Where it stands again.
        source_line: Source,
    },
    /// A line or name in the profile's options is wrong. Holds what is wanted.
    #[error("`{text}` is not understood: {reason}")]
    Option {
        /// What was written.
        text: String,
        /// What is wrong with it.
        reason: String,
        /// Where it stands.
        source_line: Source,
    },
    /// The tree does not let a step do its work.
    #[error("the finalizer `{step}` cannot change the tree")]
    Tree {
        /// The step.
        step: &'static str,
        /// What the tree said.
        #[source]
        cause: TreeError,
    },
    /// A file of the tree that a step must read is not what its format says.
    #[error("the finalizer `{step}` cannot read `{path}`: {reason}")]
    File {
        /// The step.
        step: &'static str,
        /// The file.
        path: TreePath,
        /// What is wrong.
        reason: String,
    },
}

impl Diagnostic for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::UnknownStep { .. } | Error::NamedTwice { .. } | Error::Option { .. } => ErrorKind::Config,
            Error::Tree { .. } | Error::File { .. } => ErrorKind::Untrusted,
        }
    }

    fn place(&self) -> Option<String> {
        match self {
            Error::UnknownStep { source_line, .. }
            | Error::NamedTwice { source_line, .. }
            | Error::Option { source_line, .. } => Some(source_line.to_string()),
            Error::File { path, .. } => Some(path.to_string()),
            Error::Tree { .. } => None,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Error::UnknownStep { .. } => {
                let names: Vec<String> = STEPS.iter().map(|step| format!("`{}`", step.name)).collect();
                vec![format!("use one of {}", names.join(", "))]
            }
            Error::NamedTwice { first, .. } => vec![format!("remove one of the two, or the one at {first}")],
            _ => Vec::new(),
        }
    }
}

/// A finalizer: its name in profiles and what it does.
#[derive(Debug)]
pub struct Step {
    /// The name.
    pub name: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
    run: fn(&mut Tree, &Context<'_>, &mut Notes) -> Result<(), Error>,
}

/// All finalizers, in the order in which a profile would sensibly name them.
pub const STEPS: &[Step] = &[
    Step { name: "tmpdirs", about: "the empty directories that the kernel, systemd and programs expect", run: tmpdirs::run },
    Step { name: "links", about: "merged-/usr, `/var/run`, `/var/lock` and `/etc/mtab` links", run: links::run },
    Step { name: "init", about: "`/init`, which the kernel runs", run: init::run },
    Step { name: "initrd-release", about: "`/etc/initrd-release`, by which systemd knows an initrd", run: initrd_release::run },
    Step { name: "default-target", about: "`default.target`, for a retry out of the emergency shell", run: default_target::run },
    Step { name: "users", about: "users and groups of base-passwd, sysusers.d and the profile", run: users::run },
    Step { name: "machine-id", about: "an empty `/etc/machine-id`: an image is not a machine", run: machine_id::run },
    Step { name: "locale", about: "`/etc/locale.conf`", run: locale::run },
    Step { name: "credstore", about: "modes of the directories for credentials", run: credstore::run },
    Step {
        name: "credentials",
        about: "passphrases from credentials for a systemd that does not import them",
        run: credentials::run,
    },
    Step { name: "db-persist", about: "udev rules that keep dm and md devices over switch-root", run: db_persist::run },
    Step {
        name: "md-degraded",
        about: "a udev rule that starts arrays without a disk that does not come",
        run: md_degraded::run,
    },
    Step {
        name: "btrfs-degraded",
        about: "units that let a btrfs be mounted without a disk that does not come, if `rootflags=degraded` says so",
        run: btrfs_degraded::run,
    },
    Step { name: "lvm-monitoring", about: "`/etc/lvm/lvmlocal.conf`: nobody watches volumes here", run: lvm_monitoring::run },
    Step { name: "repart", about: "a unit that repartitions the disk of a mounted root", run: repart::run },
    Step { name: "hwdb", about: "the keyboard part of the hardware database, compiled", run: hwdb::run },
    Step { name: "busybox", about: "links of busybox's applets, which a trigger makes", run: busybox::run },
    Step {
        name: "busybox-init",
        about: "`/init` for an initrd without systemd: that of mkinitfs, or a small one",
        run: busybox::init,
    },
    Step { name: "usr-etc", about: "links in `/etc` to the distribution's own files in `/usr/etc`", run: usr_etc::run },
    Step { name: "crypto-policies", about: "the links of the system's policy for cryptography", run: crypto_policies::run },
    Step { name: "ldconfig", about: "`/etc/ld.so.cache` and the links of libraries", run: ldconfig::run },
    Step { name: "emergency", about: "what the console offers when the root cannot be reached", run: emergency::run },
    Step { name: "install", about: "files of this program's own: generators and units", run: install::run },
    Step {
        name: "enable",
        about: "units that start in this image, alternatives, and examples that become configuration",
        run: enable::run,
    },
    Step { name: "masks", about: "units that cannot or must not start in an initrd", run: masks::run },
];

/// What a step tells about itself while it runs.
#[derive(Debug, Default)]
struct Notes {
    step: &'static str,
    effects: Vec<String>,
    warnings: Vec<String>,
}

impl Notes {
    fn did(&mut self, text: impl Into<String>) {
        self.effects.push(text.into());
    }

    fn warn(&mut self, text: impl Into<String>) {
        self.warnings.push(text.into());
    }

    fn origin(&self) -> crate::tree::Origin {
        crate::tree::Origin::Made(self.step)
    }

    /// Puts something in place and notes it.
    fn put(&mut self, tree: &mut Tree, path: &TreePath, entry: Entry) -> Result<(), Error> {
        let text = match &entry.kind {
            crate::tree::Kind::Symlink(to) => format!("made `{path}` -> `{}`", to.escape_ascii()),
            _ => format!("made `{path}`"),
        };
        tree.put(path, entry).map_err(|cause| Error::Tree { step: self.step, cause })?;
        self.did(text);
        Ok(())
    }

    /// Makes a link and notes it, unless it is there already.
    fn link(&mut self, tree: &mut Tree, path: &str, target: &str) -> Result<(), Error> {
        let at = TreePath::literal(path);
        let entry = Entry::symlink(target, self.origin());
        match tree.get(&at) {
            Some(old) if old.kind == entry.kind => Ok(()),
            _ => self.put(tree, &at, entry),
        }
    }

    /// Makes a file with mode 0644 and notes it.
    fn file(&mut self, tree: &mut Tree, path: &str, text: &str) -> Result<(), Error> {
        self.put(tree, &TreePath::literal(path), Entry::file(text, self.origin()))
    }
}

/// Applies the named steps in their order.
///
/// # Errors
///
/// When a name or an option is not known, or the tree is so odd that a step cannot do its work: a boot without it would fail in
/// a way that is hard to see.
pub fn finalize(tree: &mut Tree, steps: &[Item], context: &Context<'_>, reporter: &dyn Reporter) -> Result<Applied, Error> {
    reporter.event(&Event::Begin { stage: Stage::Finalize });
    let mut applied = Applied::default();
    for item in steps {
        let step = STEPS
            .iter()
            .find(|step| step.name == item.text)
            .ok_or_else(|| Error::UnknownStep { name: item.text.clone(), source_line: item.source.clone() })?;
        if let Some(first) = applied.steps.iter().find(|done| done.name == step.name) {
            return Err(Error::NamedTwice { name: step.name, first: first.source.clone(), source_line: item.source.clone() });
        }
        let mut notes = Notes { step: step.name, ..Notes::default() };
        (step.run)(tree, context, &mut notes)?;
        for message in &notes.effects {
            reporter.event(&Event::Detail { stage: Stage::Finalize, message: &format!("{}: {message}", step.name) });
        }
        for message in &notes.warnings {
            reporter.event(&Event::Warning { stage: Stage::Finalize, message });
        }
        let source = item.source.clone();
        applied.steps.push(AppliedStep { name: step.name, source, effects: notes.effects, warnings: notes.warnings });
    }
    let figures = format!("{} finalizers, {} entries, {}", applied.steps.len(), tree.len(), Size(tree.size_bytes()));
    reporter.event(&Event::End { stage: Stage::Finalize, figures: &figures });
    Ok(applied)
}

/// Runs one step on a tree with no options: for the tests beside the steps.
#[cfg(test)]
fn run_step(name: &str, tree: &mut Tree, options: &Options) -> AppliedStep {
    let context = Context { options, time_s: 86_400 * 20_000, host_ids: None };
    let applied = finalize(tree, &[Item::from_command_line(name)], &context, &crate::report::Silent).expect(name);
    applied.steps.into_iter().next().expect("one step")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Silent;

    #[test]
    fn an_unknown_step_is_a_configuration_error_that_lists_the_known_ones() {
        let source = Source { file: "distro-profiles/x.toml".into(), line: 7 };
        let step = Item { text: "initt".to_owned(), source };
        let context = Context { options: &Options::default(), time_s: 0, host_ids: None };
        let error = finalize(&mut Tree::new(), &[step], &context, &Silent).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(error.place().as_deref(), Some("distro-profiles/x.toml:7"));
        assert!(error.hints()[0].contains("`init`"), "{:?}", error.hints());
    }

    #[test]
    fn a_step_named_twice_is_refused() {
        let steps = [Item::from_command_line("tmpdirs"), Item::from_command_line("tmpdirs")];
        let context = Context { options: &Options::default(), time_s: 0, host_ids: None };
        assert!(matches!(finalize(&mut Tree::new(), &steps, &context, &Silent), Err(Error::NamedTwice { .. })));
    }

    #[test]
    fn emergency_policies_are_read_and_forged_hashes_refused() {
        assert_eq!("locked".parse(), Ok(Emergency::Locked));
        assert_eq!("shell".parse(), Ok(Emergency::Shell));
        assert_eq!("password:$6$salt$hash...".parse(), Ok(Emergency::Password("$6$salt$hash...".to_owned())));
        for wrong in ["", "open", "password:", "password:secret", "password:$6$a$b:0:0", "password:$6$aaaaaaaaaaaa\nx::0"] {
            assert!(wrong.parse::<Emergency>().is_err(), "{wrong:?}");
        }
    }
}
