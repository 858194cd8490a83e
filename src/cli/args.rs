//! The command line: what can be typed. The only door to clap.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

/// Make an initrd out of distribution packages.
///
/// Without a command, build an initrd for this host's distribution and its running kernel.
#[derive(Debug, Parser)]
#[command(name = "mkinitrd-pkg", version, max_term_width = 110, disable_help_subcommand = true, args_override_self = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What holds for all commands.
    #[command(flatten)]
    pub global: Global,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Tell more: once for details, twice for everything.
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Global options")]
    pub verbose: u8,
    /// Tell only warnings and errors.
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub quiet: bool,
    /// Print machine-readable output: one JSON document for a query, one JSON object a line for events.
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,
    /// Colour the messages.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN", help_heading = "Global options")]
    pub color: Color,
    /// Read a configuration file after all drop-ins (may be repeated).
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub config: Vec<PathBuf>,
    /// Look for drop-ins below this directory instead of `/`.
    #[arg(long, global = true, value_name = "DIR", default_value = "/", help_heading = "Global options")]
    pub config_root: PathBuf,
    /// Keep the cache in this directory instead of /var/cache/mkinitrd-pkg (root) or ~/.cache/mkinitrd-pkg.
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub cache: Option<PathBuf>,
    /// Treat warnings as errors.
    #[arg(long, global = true, help_heading = "Global options")]
    pub strict: bool,
    /// Take the machine whose root is this directory for the host, as far as its packages go.
    #[arg(long, global = true, hide = true, value_name = "DIR", default_value = "/")]
    pub host_root: PathBuf,
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build an initrd.
    Build(Box<Build>),
    /// Show the packages that a build would take, where they come from and why.
    Plan(Box<PlanArgs>),
    /// List what is in an image, whoever made it.
    Ls(Ls),
    /// Tell why something is in an image: a path, a package, a kernel module.
    Why(Why),
    /// Show what differs between two images: packages, modules, files.
    Diff(Diff),
    /// Unpack an image into a directory that is absent or empty.
    Unpack(Unpack),
    /// List the profiles, or show one fully merged with the origin of every value.
    Profiles(Profiles),
    /// Tell whether an image would boot this machine, and whether it is what would be made now.
    Check(CheckArgs),
    /// Boot an image in QEMU and tell how far it comes: nothing of it runs on this machine, and no disk is written to.
    Test(TrialArgs),
    /// List the kernels of this machine with their images: made by what, when, stale or not. Exits with 7 if there is something to do.
    Status(StatusArgs),
    /// Show what this machine is, as far as an image depends on it.
    Host(HostArgs),
    /// Empty the cache.
    Clean(Clean),
    /// Make and check the image of a kernel for kernel-install(8), whose plugins start this.
    #[command(hide = true)]
    KernelInstall(KernelInstall),
    /// Make, renew or remove images in /boot, with the options of Debian's update-initramfs(8).
    #[command(hide = true)]
    UpdateInitramfs(UpdateInitramfs),
    /// Generate man pages or shell completions.
    #[command(name = "_generate", hide = true)]
    Generate(Generate),
}

/// What is to be built, for `build` and `plan`.
#[derive(Debug, Clone, Default, Args)]
pub struct Target {
    /// The distribution, a profile's name [default: this host's].
    #[arg(long, value_name = "NAME", help_heading = "Target")]
    pub distro: Option<String>,
    /// The release of the distribution [default: this host's].
    #[arg(long, value_name = "NAME", help_heading = "Target")]
    pub release: Option<String>,
    /// The architecture, in the distribution's word or the kernel's [default: this host's].
    #[arg(long, value_name = "ARCH", help_heading = "Target")]
    pub arch: Option<String>,
    /// Switch a feature on (may be repeated).
    #[arg(long, value_name = "FEATURE", help_heading = "Target")]
    pub with: Vec<String>,
    /// Switch a feature off (may be repeated).
    #[arg(long, value_name = "FEATURE", help_heading = "Target")]
    pub without: Vec<String>,
    /// Add a package: `NAME`, `NAME=VERSION` or `A | B` (may be repeated).
    #[arg(short, long, value_name = "PACKAGE", help_heading = "Target")]
    pub package: Vec<String>,
    /// Take the packages that others recommend, too.
    #[arg(long, help_heading = "Target")]
    pub recommends: bool,
}

/// Where packages come from, for `build` and `plan`.
#[derive(Debug, Clone, Default, Args)]
pub struct Sources {
    /// A repository: `URI [SUITE COMPONENT…]`, a directory, or a single index file; http, https, file: or a path (may be repeated).
    #[arg(long, value_name = "REPO", help_heading = "Packages from")]
    pub repo: Vec<String>,
    /// A mirror of the distribution.
    #[arg(long, value_name = "URL", help_heading = "Packages from")]
    pub mirror: Option<String>,
    /// A keyring for `--repo` and `--mirror` (may be repeated) [default: the distribution's keys].
    #[arg(long, value_name = "FILE", help_heading = "Packages from")]
    pub keyring: Vec<PathBuf>,
    /// Use no network: only the caches and what is installed.
    #[arg(long, help_heading = "Packages from")]
    pub offline: bool,
    /// Do not check signatures. Everything that is made says so.
    #[arg(long, help_heading = "Packages from")]
    pub no_verify: bool,
    /// Judge the age of signed metadata as if it were this day (`YYYY-MM-DD`, or a date with a time).
    #[arg(long, value_name = "DATE", help_heading = "Packages from")]
    pub assume_time: Option<String>,
    /// Take the packages from this lockfile instead of solving.
    #[arg(long, value_name = "FILE", help_heading = "Packages from")]
    pub locked: Option<PathBuf>,
}

/// Which kernel's modules, for `build` and `plan`.
#[derive(Debug, Clone, Default, Args)]
pub struct KernelArgs {
    /// The kernel version [default: the running kernel's, or that of the kernel package].
    #[arg(short, long, value_name = "VERSION", help_heading = "Kernel")]
    pub kernel_version: Option<String>,
    /// Take the modules from this kernel package [default: the profile's].
    #[arg(long, value_name = "PACKAGE", help_heading = "Kernel", conflicts_with = "modules_dir")]
    pub kernel_package: Option<String>,
    /// Take the modules from this directory, as /usr/lib/modules/VERSION.
    #[arg(long, value_name = "DIR", help_heading = "Kernel")]
    pub modules_dir: Option<PathBuf>,
    /// Add a kernel module or a pattern of modules (may be repeated).
    #[arg(short, long, value_name = "MODULE", help_heading = "Kernel")]
    pub module: Vec<String>,
    /// Build for any machine, with the modules of a kernel package.
    #[arg(long, help_heading = "Kernel")]
    pub generic: bool,
    /// Build for any machine, with this host's configuration in it.
    #[arg(long, help_heading = "Kernel", conflicts_with = "generic")]
    pub full: bool,
    /// Build for the machine that this file describes (`mkinitrd-pkg host --json`) instead of this host.
    #[arg(long, value_name = "FILE", help_heading = "Kernel", conflicts_with = "generic")]
    pub host_facts: Option<PathBuf>,
}

/// Options of `build`.
#[derive(Debug, Clone, Default, Args)]
pub struct Build {
    /// What to build.
    #[command(flatten)]
    pub target: Target,
    /// Where packages come from.
    #[command(flatten)]
    pub sources: Sources,
    /// Which kernel.
    #[command(flatten)]
    pub kernel: KernelArgs,
    /// What a unified kernel image takes.
    #[command(flatten)]
    pub uki: Uki,
    /// Where to write the image [default: initrd-VERSION.img, or VERSION.efi].
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    pub output: Option<PathBuf>,
    /// Write a second image with modules for any machine, out of the same packages, for the day on which the machine is another.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub fallback: Option<PathBuf>,
    /// The form of the output.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT", help_heading = "Output")]
    pub format: Format,
    /// Compression of the base segment: zstd, xz, gzip, lz4, none, with a level as in `zstd:9`.
    #[arg(long, value_name = "FORMAT[:LEVEL]", help_heading = "Output")]
    pub compress: Option<String>,
    /// Write the early segment, the processors' microcode, to this file instead of in front of the image.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub microcode: Option<PathBuf>,
    /// Write the manifest beside the image, too, with the list of what was left out and by which rule.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub manifest: Option<PathBuf>,
    /// The permissions of the image, octal.
    #[arg(long, value_name = "MODE", default_value = "0600", help_heading = "Output")]
    pub mode: String,
    /// Write an image that holds secrets even to a file system that keeps no permissions, as vfat.
    #[arg(long, help_heading = "Output")]
    pub allow_exposed_secrets: bool,
    /// Lay a file or directory of this host into the image (may be repeated).
    #[arg(long, value_name = "HOST:PATH", help_heading = "Output")]
    pub include: Vec<String>,
    /// Stop after a stage and write its tree to `--root`.
    #[arg(long, value_enum, value_name = "STAGE", requires = "root", help_heading = "Output")]
    pub stop_after: Option<StopAfter>,
    /// The directory for `--stop-after`.
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub root: Option<PathBuf>,
    /// Rebuild the images of all kernels of this host where they are.
    #[arg(long, help_heading = "Output", conflicts_with_all = ["output", "kernel_version", "stop_after", "host_facts", "manifest"])]
    pub all: bool,
    /// Do nothing for an image that is what would be made now.
    #[arg(long, help_heading = "Output", conflicts_with = "stop_after")]
    pub if_stale: bool,
    /// How many threads to use [default: one a processor].
    #[arg(short = 'j', long, value_name = "N", help_heading = "Output")]
    pub threads: Option<usize>,
}

/// What a unified kernel image takes, for `build --format uki`.
#[derive(Debug, Clone, Default, Args)]
pub struct Uki {
    /// The kernel's command line, or the file that has it [default: /etc/kernel/cmdline of the machine, or the profile's].
    #[arg(long, value_name = "TEXT|@FILE", help_heading = "Unified kernel image")]
    pub cmdline: Option<String>,
    /// Take the UEFI stub from this file [default: the one of the profile's package].
    #[arg(long, value_name = "FILE", help_heading = "Unified kernel image")]
    pub stub: Option<PathBuf>,
    /// Take the kernel from this file [default: the one that the modules belong to].
    #[arg(long, value_name = "FILE", help_heading = "Unified kernel image")]
    pub kernel_image: Option<PathBuf>,
    /// Add a profile, an entry of the boot menu with these words behind the command line (may be repeated).
    #[arg(long, value_name = "ID: WORDS", help_heading = "Unified kernel image")]
    pub uki_profile: Vec<String>,
    /// Sign what register 11 of a TPM will be with this private key (RSA, PEM), so that a volume bound to the key is opened.
    #[arg(long, value_name = "FILE", help_heading = "Unified kernel image")]
    pub pcr_private_key: Option<PathBuf>,
    /// The public half of that key [default: derived from it]; alone, it goes into the image and nothing is signed.
    #[arg(long, value_name = "FILE", help_heading = "Unified kernel image")]
    pub pcr_public_key: Option<PathBuf>,
    /// Sign for Secure Boot with this private key (PEM).
    #[arg(long, value_name = "FILE", help_heading = "Unified kernel image")]
    pub sign_key: Option<PathBuf>,
    /// The certificate of the key (PEM).
    #[arg(long, value_name = "FILE", help_heading = "Unified kernel image")]
    pub sign_certificate: Option<PathBuf>,
    /// The program that signs: systemd-sbsign or sbsign [default: the first that is there].
    #[arg(long, value_name = "NAME", help_heading = "Unified kernel image")]
    pub sign_tool: Option<String>,
}

/// Forms of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// An initrd: compressed cpio segments.
    #[default]
    Cpio,
    /// A directory.
    Dir,
    /// A unified kernel image: one file for UEFI, with the kernel, its command line and the initrd in it.
    Uki,
}

/// Stages that leave a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StopAfter {
    /// Payloads, unpruned.
    Unpack,
    /// What is kept.
    Prune,
    /// With kernel modules.
    Modules,
    /// With what scripts would have done: the whole image.
    Finalize,
}

/// Options of `plan`.
#[derive(Debug, Clone, Args)]
pub struct PlanArgs {
    /// What to build.
    #[command(flatten)]
    pub target: Target,
    /// Where packages come from.
    #[command(flatten)]
    pub sources: Sources,
    /// Which kernel.
    #[command(flatten)]
    pub kernel: KernelArgs,
    /// Take only the packages named with `--package`, nothing from the profile.
    #[arg(long, help_heading = "Target")]
    pub bare: bool,
    /// The form of the output that the packages are for.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT", help_heading = "Output")]
    pub format: Format,
    /// Write the plan to this lockfile, for `--locked`.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub lock: Option<PathBuf>,
}

/// Options of `ls`.
#[derive(Debug, Clone, Args)]
pub struct Ls {
    /// The image.
    pub image: PathBuf,
    /// Show mode, owner, size and where each entry comes from.
    #[arg(short, long)]
    pub long: bool,
    /// Show the segments instead of the entries.
    #[arg(long)]
    pub segments: bool,
    /// Show the manifest instead of the entries.
    #[arg(long)]
    pub manifest: bool,
    /// Show where the bytes come from, the largest first: packages, directories of modules, finalizers.
    #[arg(long, conflicts_with_all = ["long", "segments", "manifest"])]
    pub by_package: bool,
}

/// Options of `why`.
#[derive(Debug, Clone, Args)]
pub struct Why {
    /// The image.
    pub image: PathBuf,
    /// A path in it, the name of a package, or that of a kernel module.
    pub what: String,
}

/// Options of `diff`.
#[derive(Debug, Clone, Args)]
pub struct Diff {
    /// The image before.
    pub before: PathBuf,
    /// The image after.
    pub after: PathBuf,
}

/// Options of `unpack`.
#[derive(Debug, Clone, Args)]
pub struct Unpack {
    /// The image.
    pub image: PathBuf,
    /// The directory, absent or empty.
    pub dir: PathBuf,
}

/// Options of `profiles`.
#[derive(Debug, Clone, Args)]
pub struct Profiles {
    /// The profile to show.
    pub name: Option<String>,
    /// For this release [default: the newest stable one].
    #[arg(long)]
    pub release: Option<String>,
    /// For this architecture [default: this host's].
    #[arg(long)]
    pub arch: Option<String>,
    /// With this feature switched on, too (may be repeated).
    #[arg(long, value_name = "FEATURE")]
    pub with: Vec<String>,
}

/// Options of `check`.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// The image.
    pub image: PathBuf,
    /// The machine that this file describes (`mkinitrd-pkg host --json`) instead of this host.
    #[arg(long, value_name = "FILE")]
    pub host_facts: Option<PathBuf>,
}

/// Options of `test`.
#[derive(Debug, Clone, Args)]
pub struct TrialArgs {
    /// The image.
    pub image: PathBuf,
    /// The kernel's file [default: this machine's of the version that the image is for].
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
    /// A disk, raw or qcow2, that the machine has (may be repeated). What is written to it is thrown away.
    #[arg(long, value_name = "FILE")]
    pub disk: Vec<PathBuf>,
    /// The kernel command line, as `root=LABEL=root`.
    #[arg(long, value_name = "TEXT")]
    pub cmdline: Option<String>,
    /// A system credential, as `cryptsetup.passphrase=TEXT` (may be repeated).
    #[arg(long, value_name = "NAME=VALUE")]
    pub credential: Vec<String>,
    /// The architecture [default: that of the image].
    #[arg(long, value_name = "ARCH")]
    pub arch: Option<String>,
    /// The machine's memory in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(64..=1_048_576))]
    pub memory: u32,
    /// How long the boot may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// Use the processor's virtualization: ten times faster, where /dev/kvm works.
    #[arg(long)]
    pub kvm: bool,
}

/// Options of `status`.
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// Only these kernels.
    pub kernels: Vec<String>,
}

/// Options of `host`.
#[derive(Debug, Clone, Args)]
pub struct HostArgs {
    /// Include the content of key files and other secrets.
    #[arg(long)]
    pub secrets: bool,
}

/// Options of `clean`.
#[derive(Debug, Clone, Args)]
pub struct Clean {
    /// Drop everything but downloaded files.
    #[arg(long)]
    pub payloads: bool,
}

/// Options of the hidden generator.
#[derive(Debug, Clone, Args)]
pub struct Generate {
    /// `man` or `completions`.
    pub what: String,
    /// The directory to write to.
    pub dir: PathBuf,
}

/// Arguments of `kernel-install`, those of a plugin.
#[derive(Debug, Clone, Args)]
pub struct KernelInstall {
    /// `add`, `verify` (what was installed by `add`) or `remove`.
    pub verb: String,
    /// The kernel version.
    pub version: Option<OsString>,
    /// The directory of its boot entry.
    pub entry_directory: Option<PathBuf>,
    /// The kernel's own file.
    pub kernel_image: Option<PathBuf>,
    /// Images that were given to kernel-install.
    pub initrds: Vec<PathBuf>,
}

/// Options of `update-initramfs`.
#[derive(Debug, Clone, Args)]
pub struct UpdateInitramfs {
    /// Make an image that is not there yet.
    #[arg(short, required_unless_present_any = ["update", "delete"], conflicts_with_all = ["update", "delete"])]
    pub create: bool,
    /// Make an image anew [default: that of the newest kernel that has one].
    #[arg(short, conflicts_with = "delete")]
    pub update: bool,
    /// Remove an image.
    #[arg(short)]
    pub delete: bool,
    /// The kernel version, or `all`.
    #[arg(short, value_name = "VERSION")]
    pub kernel: Option<String>,
    /// The directory of the images.
    #[arg(short, value_name = "DIR", default_value = "/boot")]
    pub boot_directory: PathBuf,
    /// Leave alone what is newer than this, in seconds since 1970.
    #[arg(short, value_name = "SECONDS")]
    pub since: Option<u64>,
    /// For compatibility; without effect.
    #[arg(short)]
    pub take_over: bool,
    /// A package's hook asks: leave the work to kernel-install where that is in charge.
    #[arg(long, hide = true)]
    pub hook: bool,
}
