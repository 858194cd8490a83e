//! Makes what boots need, each thing once: roots, disks, images, kernels.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::command::at;
use crate::debian::Debian;
use crate::disk::{self, Disk};
use crate::esp;
use crate::image;
use crate::root;
use crate::scenarios::{Firmware, Scenario};

/// Everything that one boot needs.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The kernel; nothing where firmware starts the unified kernel image that lies on the disk.
    pub kernel: Option<PathBuf>,
    /// The initrd, changed if the scenario wants it, or the unified kernel image.
    pub image: PathBuf,
    /// The disk.
    pub disk: PathBuf,
    /// The secret of the disk's root.
    pub nonce: String,
}

/// Room for a few unified kernel images.
const ESP_SIZE: u64 = 256 << 20;

/// What is made at most once under a key, or why it could not be made.
type Made<K, V> = BTreeMap<K, Result<V, String>>;

/// Makes parts and remembers them, failures too: what failed once is not tried for every scenario.
pub struct Workshop {
    debian: Debian,
    dir: PathBuf,
    disks: Made<(&'static str, &'static str, Disk), (PathBuf, String)>,
    /// Disks with an EFI system partition, by what lies on it.
    uefi_disks: Made<String, PathBuf>,
    images: Made<String, PathBuf>,
    kernels: Made<String, PathBuf>,
}

impl Workshop {
    /// Opens a workshop that works in `dir` and keeps downloads in `cache`.
    pub fn new(dir: &Path, cache: &Path) -> Result<Workshop, String> {
        Ok(Workshop {
            debian: Debian::new(cache)?,
            dir: dir.to_owned(),
            disks: BTreeMap::new(),
            uefi_disks: BTreeMap::new(),
            images: BTreeMap::new(),
            kernels: BTreeMap::new(),
        })
    }

    /// Makes the parts of one scenario.
    pub fn parts(&mut self, scenario: &Scenario) -> Result<Parts, String> {
        let image = self.image(scenario)?;
        let (disk, nonce) = self.disk(scenario)?;
        if scenario.firmware != Firmware::None {
            let disk = self.uefi_disk(scenario, &image, &disk)?;
            return Ok(Parts { kernel: None, image, disk, nonce });
        }
        let kernel = Some(self.kernel(scenario, &image)?);
        let image = image::changed(scenario, &image, &self.dir)?;
        Ok(Parts { kernel, image, disk, nonce })
    }

    /// Makes a disk of the root and an EFI system partition whose default loader is the image.
    fn uefi_disk(&mut self, scenario: &Scenario, image: &Path, root: &Path) -> Result<PathBuf, String> {
        let recipe = format!("{}-{}", image::recipe(scenario), scenario.disk.name());
        let out = self.dir.join(format!("{recipe}.disk"));
        let esp = out.with_extension("esp");
        let make = || {
            esp::make(ESP_SIZE, &[(esp::REMOVABLE_AMD64, image)], &esp)?;
            esp::disk(&esp, root, &out)?;
            fs::remove_file(&esp).map_err(at(&esp))?;
            Ok(out.clone())
        };
        self.uefi_disks.entry(recipe).or_insert_with(make).clone()
    }

    fn image(&mut self, scenario: &Scenario) -> Result<PathBuf, String> {
        let (dir, mirror) = (&self.dir, self.debian.mirror());
        self.images.entry(image::recipe(scenario)).or_insert_with(|| image::build(scenario, mirror, dir)).clone()
    }

    fn kernel(&mut self, scenario: &Scenario, image: &Path) -> Result<PathBuf, String> {
        let debian = &self.debian;
        let find = || {
            if let Some(path) = image::given("MKINITRD_BOOT_KERNEL")? {
                return Ok(path);
            }
            // A foreign image is not ours to look into; it has to be of the release's newest kernel then.
            let ours = std::env::var_os("MKINITRD_BOOT_IMAGE").is_none();
            let version = ours.then(|| image::kernel_version(image)).transpose()?;
            debian.kernel(scenario.release, scenario.arch, version.as_deref())
        };
        self.kernels.entry(format!("{} {} {}", image.display(), scenario.release, scenario.arch)).or_insert_with(find).clone()
    }

    fn disk(&mut self, scenario: &Scenario) -> Result<(PathBuf, String), String> {
        let (debian, dir) = (&self.debian, &self.dir);
        let key = (scenario.release, scenario.arch, scenario.disk);
        let make = || {
            let tar = debian.root_tar(scenario.release, scenario.arch)?;
            let name = format!("{}-{}-{}", scenario.release, scenario.arch, scenario.disk.name());
            let overlay = dir.join(format!("{name}.overlay"));
            let nonce = nonce()?;
            root::write_overlay(&overlay, &nonce)?;
            let out = dir.join(format!("{name}.disk"));
            disk::make(scenario.disk, &tar, &overlay, &out)?;
            fs::remove_dir_all(&overlay).map_err(at(&overlay))?;
            Ok((out, nonce))
        };
        self.disks.entry(key).or_insert_with(make).clone()
    }
}

/// Returns a word that nobody can guess, from the kernel.
pub fn nonce() -> Result<String, String> {
    let path = Path::new("/proc/sys/kernel/random/uuid");
    Ok(format!("evidence-{}", fs::read_to_string(path).map_err(at(path))?.trim()))
}
