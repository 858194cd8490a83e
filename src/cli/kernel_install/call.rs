//! What kernel-install says: arguments and variables, checked once, with paths that cannot leave their directories.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::GENERATOR;
use super::error::Error;
use crate::cli::Failure;
use crate::cli::args::KernelInstall;
use crate::modules::KernelVersion;

/// The variables that plugins get (kernel-install(8), "Environment variables").
#[derive(Debug, Default)]
pub struct Variables {
    initrd_generator: String,
    uki_generator: String,
    layout: String,
    image_type: String,
    staging: Option<PathBuf>,
    token: String,
    /// `$BOOT`.
    pub boot_root: Option<PathBuf>,
    /// `--verbose` was given.
    pub verbose: bool,
}

impl Variables {
    /// Reads them; one that is empty is as good as unset.
    pub fn read(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let given = |name: &str| variable(&format!("KERNEL_INSTALL_{name}")).filter(|value| !value.is_empty());
        let text = |name: &str| given(name).map(|value| value.to_string_lossy().into_owned()).unwrap_or_default();
        Self {
            initrd_generator: text("INITRD_GENERATOR"),
            uki_generator: text("UKI_GENERATOR"),
            layout: text("LAYOUT"),
            image_type: text("IMAGE_TYPE"),
            staging: given("STAGING_AREA").map(PathBuf::from),
            token: text("ENTRY_TOKEN"),
            boot_root: given("BOOT_ROOT").map(PathBuf::from),
            verbose: text("VERBOSE") == "1",
        }
    }

    /// Tells whether any kind of image is asked of us.
    pub fn is_ours(&self) -> bool {
        self.initrd_generator == GENERATOR || self.uki_generator == GENERATOR
    }
}

/// What is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// `initrd`, and `microcode` before it.
    Initrd,
    /// `uki.efi`.
    Uki,
}

impl Product {
    /// Returns the name of its file in the staging area, and of the prebuilt one beside a kernel.
    pub fn file_name(self) -> &'static str {
        match self {
            Product::Initrd => "initrd",
            Product::Uki => "uki.efi",
        }
    }
}

/// Where what is staged ends up, as far as systemd's own plugins say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// A boot entry of type 1 with a directory of its own: `90-loaderentry` copies.
    Bls,
    /// A unified kernel image: `90-uki-copy` copies.
    Uki,
    /// Something that others see to.
    Other,
}

/// A call that asks something of us.
#[derive(Debug)]
pub struct Call {
    /// The kernel.
    pub version: KernelVersion,
    /// What is to be made for it.
    pub product: Product,
    /// Where it goes.
    pub layout: Layout,
    /// The directory of the boot entry.
    pub entry_directory: Option<PathBuf>,
    /// The kernel's own file.
    pub kernel_image: Option<PathBuf>,
    /// Where images are laid for the plugins that come after us.
    pub staging: PathBuf,
    /// `$BOOT`.
    pub boot_root: Option<PathBuf>,
    /// What boot entries of this installation begin with.
    pub token: String,
}

impl Call {
    /// Returns the call, or nothing when it is none of our business.
    pub fn new(args: &KernelInstall, variables: Variables) -> Result<Option<Self>, Failure> {
        let layout = match variables.layout.as_str() {
            "bls" => Layout::Bls,
            "uki" => Layout::Uki,
            _ => Layout::Other,
        };
        let makes_uki = layout == Layout::Uki && variables.uki_generator == GENERATOR;
        let makes_initrd = variables.initrd_generator == GENERATOR;
        let is_served = variables.image_type == "uki" || (layout != Layout::Uki && !args.initrds.is_empty());
        if is_served || !(makes_uki || makes_initrd) {
            return Ok(None);
        }
        let version = KernelVersion::parse(&args.version.clone().unwrap_or_default().to_string_lossy())?;
        let Some(staging) = variables.staging else { return Err(Error::Variable("KERNEL_INSTALL_STAGING_AREA").into()) };
        Ok(Some(Self {
            version,
            product: if makes_uki { Product::Uki } else { Product::Initrd },
            layout,
            entry_directory: absolute(args.entry_directory.as_deref()),
            kernel_image: absolute(args.kernel_image.as_deref()),
            staging,
            boot_root: absolute(variables.boot_root.as_deref()),
            token: variables.token,
        }))
    }

    /// Returns where something is staged.
    pub fn staged(&self, name: &str) -> PathBuf {
        self.staging.join(name)
    }

    /// Returns the directory into which systemd's plugins copy, if they do.
    pub fn destination(&self) -> Option<PathBuf> {
        match self.layout {
            Layout::Bls => self.entry_directory.clone(),
            Layout::Uki => Some(self.boot_root.as_ref()?.join("EFI/Linux")),
            Layout::Other => None,
        }
    }
}

/// kernel-install gives absolute paths; an empty argument stands for one that was not given.
fn absolute(path: Option<&Path>) -> Option<PathBuf> {
    path.filter(|path| path.is_absolute()).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(variables: &[(&str, &str)], initrds: &[&str]) -> Result<Option<Call>, Failure> {
        let value = |name: &str| {
            let found = variables.iter().find(|(key, _)| name.strip_prefix("KERNEL_INSTALL_") == Some(key));
            found.map(|(_, value)| OsString::from(value))
        };
        let args = KernelInstall {
            verb: "add".into(),
            version: Some("6.12".into()),
            entry_directory: Some("/boot/t/6.12".into()),
            kernel_image: Some("/boot/vmlinuz".into()),
            initrds: initrds.iter().map(PathBuf::from).collect(),
        };
        Call::new(&args, Variables::read(value))
    }

    #[test]
    fn only_what_is_asked_of_us_is_done() {
        let staging = ("STAGING_AREA", "/tmp/s");
        let ours = ("INITRD_GENERATOR", "mkinitrd-pkg");
        let uki = ("UKI_GENERATOR", "mkinitrd-pkg");
        type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str], Option<Product>);
        let cases: &[Case<'_>] = &[
            (&[staging, ("LAYOUT", "bls")], &[], None),
            (&[staging, ("LAYOUT", "bls"), ("INITRD_GENERATOR", "dracut")], &[], None),
            (&[staging, ("LAYOUT", "bls"), ours], &[], Some(Product::Initrd)),
            (&[staging, ("LAYOUT", "other"), ours], &[], Some(Product::Initrd)),
            (&[staging, ("LAYOUT", "bls"), ours], &["/boot/x"], None),
            (&[staging, ("LAYOUT", "bls"), ours, ("IMAGE_TYPE", "uki")], &[], None),
            (&[staging, ("LAYOUT", "bls"), uki], &[], None),
            (&[staging, ("LAYOUT", "uki"), uki], &[], Some(Product::Uki)),
            (&[staging, ("LAYOUT", "uki"), uki, ours], &[], Some(Product::Uki)),
            (&[staging, ("LAYOUT", "uki"), ours], &["/boot/x"], Some(Product::Initrd)),
        ];
        for (variables, initrds, product) in cases {
            let found = call(variables, initrds).map(|call| call.map(|call| call.product));
            assert_eq!(found.unwrap_or_else(|err| panic!("{err}")), *product, "{variables:?}");
        }
        let error = call(&[("LAYOUT", "bls"), ours], &[]).expect_err("no staging area");
        assert!(error.to_string().contains("KERNEL_INSTALL_STAGING_AREA"), "{error}");
    }
}
