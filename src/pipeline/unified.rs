//! The unified kernel image around an initrd: where stub, kernel and os-release come from, and the call that joins them.

use std::path::PathBuf;

use super::{Error, Files, Kernel, Request, Stores};
use crate::base::fs;
use crate::base::limit;
use crate::config::{Item, Profile};
use crate::family::Family;
use crate::host::facts::FileContent;
use crate::host::policy::PolicyKey;
use crate::modules::KernelVersion;
use crate::pack::{Image, SegmentName};
use crate::package::Catalog;
use crate::plan::{self, Part, Planned};
use crate::report::{Reporter, Silent};
use crate::tree::{Content, Tree, TreePath};
use crate::uki::{self, Parts};
use crate::unpack::Layout;

/// What a unified kernel image is made of beside the initrd.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unified {
    /// The UEFI stub; the one of the profile's package if none is named.
    pub stub: Option<PathBuf>,
    /// The kernel's image; the one of the kernel package, or beside the modules, if none is named.
    pub kernel_image: Option<PathBuf>,
    /// The kernel's command line; empty for none.
    pub command_line: String,
    /// Other ways to start the same.
    pub profiles: Vec<uki::Profile>,
    /// Who says what register 11 of a TPM may be.
    pub policy: Option<PolicyKey>,
}

impl Unified {
    /// Returns which dependencies of the kernel package have to come, too.
    pub(super) fn follow(&self, profile: &Profile) -> Vec<Item> {
        if self.kernel_image.is_some() { Vec::new() } else { profile.uki_follow.clone() }
    }

    /// Returns the package of the stub, if the stub comes from one.
    pub(super) fn packages(&self, profile: &Profile, catalog: &dyn Catalog) -> Result<Vec<Planned>, Error> {
        match (&self.stub, &profile.uki_package) {
            (Some(_), _) => Ok(Vec::new()),
            (None, Some(name)) => Ok(plan::parts(Part::Stub, name, &[], catalog)?),
            (None, None) => Err(no_stub("the profile names no package of it (`uki.package`)".to_owned())),
        }
    }
}

fn no_stub(why: String) -> Error {
    Error::NoPart { what: "UEFI stub", why, hint: "name one with `--stub FILE`" }
}

fn no_image(why: String) -> Error {
    Error::NoPart { what: "kernel image", why, hint: "name one with `--kernel-image FILE`" }
}

/// What the pipeline has at hand when the initrd is packed.
pub(super) struct Ready<'a> {
    /// What was asked for.
    pub request: &'a Request<'a>,
    /// The packages.
    pub files: &'a Files<'a>,
    /// What reads them.
    pub family: &'a dyn Family,
    /// Where directories lead.
    pub layout: &'a Layout,
    /// What is kept between runs.
    pub stores: Stores<'a>,
    /// The kernel's version, if there is a kernel.
    pub version: Option<KernelVersion>,
    /// os-release of the packages.
    pub os_release: Option<Content>,
}

impl Ready<'_> {
    /// Joins the parts around the initrd.
    pub fn unify(&self, unified: &Unified, image: &Image, reporter: &dyn Reporter) -> Result<Vec<u8>, Error> {
        let version = self.version.as_ref().ok_or_else(|| no_image("the build is for no kernel".to_owned()))?;
        let stub = self.stub(unified)?;
        let kernel = self.kernel(unified, version)?;
        let os_release = self.os_release()?;
        let mut initrd = Vec::with_capacity(usize::try_from(image.size_bytes).unwrap_or(0));
        image.write_to(&mut initrd).map_err(fs::FileError::on("pack", "the initrd"))?;
        let microcode_bytes = match image.segments.as_slice() {
            [first, second, ..] if first.name == SegmentName::Early => usize::try_from(second.offset_bytes).unwrap_or(0),
            _ => 0,
        };
        let parts = Parts {
            stub: stub.bytes(),
            kernel: kernel.bytes(),
            version: version.as_str(),
            os_release: &os_release,
            command_line: &unified.command_line,
            initrd: &initrd,
            microcode_bytes,
            profiles: &unified.profiles,
            policy: unified.policy.as_ref(),
        };
        Ok(uki::uki(&parts, reporter)?)
    }

    fn stub(&self, unified: &Unified) -> Result<Content, Error> {
        if let Some(path) = &unified.stub {
            return Ok(fs::read(path, limit::PAYLOAD_BYTES_MAX)?.into());
        }
        let Some(item) = &self.request.profile.uki_stub else {
            let why = format!("the profile does not say where it lies for `{}` (`uki.stub`)", self.request.profile.arch);
            return Err(no_stub(why));
        };
        let wanted = TreePath::parse(item.text.as_bytes())?;
        let tree = self.unpack(Part::Stub, |path| *path == wanted)?;
        tree.read(&wanted).cloned().ok_or_else(|| no_stub(format!("no package of the plan has `{wanted}`, {}", item.source)))
    }

    fn kernel(&self, unified: &Unified, version: &KernelVersion) -> Result<Content, Error> {
        if let Some(path) = &unified.kernel_image {
            return Ok(fs::read(path, limit::FILE_BYTES_MAX)?.into());
        }
        match &self.request.kernel {
            Some(Kernel::Package(_)) => {
                let names = [format!("boot/vmlinuz-{version}"), format!("usr/lib/modules/{version}/vmlinuz")];
                let names = names.map(|name| TreePath::parse(name.as_bytes()));
                let [boot, modules] = names;
                let paths = [boot?, modules?];
                let tree = self.unpack(Part::Kernel, |path| paths.contains(path))?;
                let found = paths.iter().find_map(|path| tree.read(path).cloned());
                found.ok_or_else(|| no_image(format!("no package of the plan has `{}`", paths[0])))
            }
            Some(source) => match source.image() {
                Some(path) => Ok(fs::read(&path, limit::FILE_BYTES_MAX)?.into()),
                None => Err(no_image(format!("neither `/boot/vmlinuz-{version}` nor a `vmlinuz` beside the modules is there"))),
            },
            None => Err(no_image("the build is for no kernel".to_owned())),
        }
    }

    /// The machine's own if the image is for one, else that of the packages.
    fn os_release(&self) -> Result<Vec<u8>, Error> {
        let facts = self.request.facts;
        let files = ["/etc/os-release", "/usr/lib/os-release"].into_iter().filter_map(|path| facts?.file(path));
        let mut texts = files.filter_map(|file| match &file.content {
            FileContent::Text(text) => Some(text.clone().into_bytes()),
            _ => None,
        });
        let found = texts.next().or_else(|| self.os_release.as_ref().map(|content| content.bytes().to_vec()));
        found.filter(|text| !text.is_empty()).ok_or(Error::NoPart {
            what: "os-release",
            why: "no package of the plan has `usr/lib/os-release`".to_owned(),
            hint: "add the package that has it with `--package`",
        })
    }

    fn unpack(&self, part: Part, keep: impl Fn(&TreePath) -> bool + Sync) -> Result<Tree, Error> {
        let kept = |path: &TreePath, _: &str| keep(path);
        Ok(self.files.unpack(part, &kept, self.family, self.layout, self.stores, self.request.threads, &Silent)?.tree)
    }
}
