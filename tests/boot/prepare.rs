//! Makes what boots need, each thing once: roots, disks, images, kernels.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::afar;
use crate::apkovl;
use crate::command::at;
use crate::debian::Debian;
use crate::disk::{self, Disk, Product};
use crate::esp;
use crate::files::{self, Type};
use crate::image;
use crate::maker;
use crate::root;
use crate::scenarios::{Esp, Firmware, Scenario, Tpm};
use crate::server::Server;
use crate::tpm;

/// Everything that one boot needs.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The kernel; nothing where firmware starts the unified kernel image that lies on the disk.
    pub kernel: Option<PathBuf>,
    /// The initrd, changed if the scenario wants it, or the unified kernel image.
    pub image: PathBuf,
    /// The disks.
    pub disks: Vec<PathBuf>,
    /// The state of the TPM.
    pub tpm: Option<PathBuf>,
    /// What only the made disk knows, by the word for it.
    pub words: Vec<(&'static str, String)>,
    /// The secret of the disk's root.
    pub nonce: String,
    /// The kernel and the image of the machine that is its server.
    pub target: Option<(PathBuf, PathBuf)>,
    /// What is in the machine's network beside the host, for the emulator.
    pub network: String,
    /// Where everything is made.
    pub work: PathBuf,
}

impl Parts {
    /// Returns a text with what stands in it for words that only the made disk knows.
    pub fn told(&self, text: &str) -> String {
        self.words.iter().fold(text.to_owned(), |text, (word, value)| text.replace(&format!("@{word}@"), value))
    }
}

/// Has systemd's boot loader, and the stub of addons.
const LOADERS: &str = "systemd-boot-efi";
/// Room for a few unified kernel images.
pub const ESP_SIZE: u64 = 256 << 20;

/// What is made at most once under a key, or why it could not be made.
type Made<K, V> = BTreeMap<K, Result<V, String>>;

/// Makes parts and remembers them, failures too: what failed once is not tried for every scenario.
pub struct Workshop {
    debian: Debian,
    dir: PathBuf,
    disks: Made<(&'static str, &'static str, Disk), (Product, String)>,
    /// File systems that several disks are made of, with the word of their root.
    roots: Made<(&'static str, &'static str), (PathBuf, String)>,
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
            roots: BTreeMap::new(),
            uefi_disks: BTreeMap::new(),
            images: BTreeMap::new(),
            kernels: BTreeMap::new(),
        })
    }

    /// Makes the parts of one scenario.
    pub fn parts(&mut self, scenario: &Scenario) -> Result<Parts, String> {
        let image = self.image(scenario)?;
        let (product, nonce) = self.disk(scenario)?;
        let tpm = match scenario.tpm {
            Tpm::None => None,
            Tpm::Enrolled => product.tpm.clone(),
            Tpm::Other => Some(tpm::fresh(&self.dir.join(format!("{}.tpm", scenario.name)))?),
        };
        let (target, network, work) = (self.target(scenario)?, String::new(), self.dir.clone());
        let (disks, words) = (product.disks, product.words);
        let mut parts = Parts { kernel: None, image, disks, tpm, words, nonce, target, network, work };
        if scenario.firmware != Firmware::None {
            parts.disks = vec![self.uefi_disk(scenario, &parts.image, &parts.disks[0])?];
            return Ok(parts);
        }
        for number in scenario.missing.iter().rev() {
            parts.disks.remove(number - 1);
        }
        let kernel = self.kernel(scenario, &parts.image)?;
        if scenario.crashes() {
            parts.disks.push(files::kdump_disk(&kernel, &parts.image, &self.dir.join(format!("{}.kdump", scenario.name)))?);
        }
        parts.kernel = Some(kernel);
        parts.image = image::changed(scenario, &parts.image, &self.dir)?;
        Ok(parts)
    }

    /// Returns what the machine starts that is the server of a scenario, if it is a machine.
    pub fn target(&mut self, scenario: &Scenario) -> Result<Option<(PathBuf, PathBuf)>, String> {
        if scenario.server != Server::Nvme {
            return Ok(None);
        }
        let image = self.image(&afar::TARGET)?;
        Ok(Some((self.kernel(&afar::TARGET, &image)?, image)))
    }

    /// Returns the mirror's address.
    pub fn mirror(&self) -> &str {
        self.debian.mirror()
    }

    /// Makes a disk of the root and an EFI system partition with the image, and with what comes before it or beside it.
    fn uefi_disk(&mut self, scenario: &Scenario, image: &Path, root: &Path) -> Result<PathBuf, String> {
        let more: String =
            format!("{:?}{:?}", scenario.esp, scenario.change).chars().filter(char::is_ascii_alphanumeric).collect();
        let recipe = format!("{}-{}-{more}", image::recipe(scenario), scenario.disk.name());
        if let Some(made) = self.uefi_disks.get(&recipe) {
            return made.clone();
        }
        let made = self.make_uefi_disk(scenario, image, root, &self.dir.join(format!("{recipe}.disk")));
        self.uefi_disks.insert(recipe, made.clone());
        made
    }

    fn make_uefi_disk(&self, scenario: &Scenario, image: &Path, root: &Path, out: &Path) -> Result<PathBuf, String> {
        let image = image::changed(scenario, image, &self.dir)?;
        let stub = |name: &str| self.debian.file(scenario.release, LOADERS, &format!("usr/lib/systemd/boot/efi/{name}"));
        let mut files = vec![(esp::REMOVABLE_AMD64, image)];
        match scenario.esp {
            Esp::Image => {}
            Esp::Menu(entry) => {
                let conf = out.with_extension("conf");
                fs::write(&conf, format!("timeout 0\ndefault {entry}\n")).map_err(at(&conf))?;
                let image = std::mem::replace(&mut files[0].1, stub("systemd-bootx64.efi")?);
                files.extend([("EFI/Linux/test.efi", image), ("loader/loader.conf", conf)]);
            }
            Esp::Addon(words, is_signed) => {
                let addon = image::addon(&stub("addonx64.efi.stub")?, words, is_signed, &self.dir)?;
                files.push(("EFI/BOOT/BOOTX64.EFI.extra.d/test.addon.efi", addon));
            }
        }
        let files: Vec<(&str, &Path)> = files.iter().map(|(path, file)| (*path, file.as_path())).collect();
        let esp = out.with_extension("esp");
        esp::make(ESP_SIZE, &files, &esp)?;
        esp::disk(&esp, root, out)?;
        fs::remove_file(&esp).map_err(at(&esp))?;
        Ok(out.to_owned())
    }

    /// Returns our image for a scenario.
    pub fn image(&mut self, scenario: &Scenario) -> Result<PathBuf, String> {
        let (dir, mirror) = (&self.dir, self.debian.mirror());
        self.images.entry(image::recipe(scenario)).or_insert_with(|| image::build(scenario, mirror, dir)).clone()
    }

    /// Returns the kernel that an image is for.
    pub fn kernel(&mut self, scenario: &Scenario, image: &Path) -> Result<PathBuf, String> {
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

    /// Returns the disks of a scenario and the secret of their root.
    pub fn disk(&mut self, scenario: &Scenario) -> Result<(Product, String), String> {
        let key = (scenario.release, scenario.arch, scenario.disk);
        if !self.disks.contains_key(&key) {
            let made = self.make_disk(scenario);
            self.disks.insert(key, made);
        }
        self.disks[&key].clone()
    }

    fn make_disk(&mut self, scenario: &Scenario) -> Result<(Product, String), String> {
        let out = self.dir.join(format!("{}-{}-{}.disk", scenario.release, scenario.arch, scenario.disk.name()));
        if scenario.disk.holds_ext4() {
            let (root, nonce) = self.root(scenario)?;
            let product = disk::make(scenario.disk, &root, &out)?;
            return Ok((self.finished(scenario.disk, product)?, nonce));
        }
        let nonce = nonce()?;
        if scenario.disk == Disk::Apkovl {
            return Ok((Product { disks: apkovl::disks(&nonce, &out)?, ..Product::default() }, nonce));
        }
        let (tar, overlay) = self.contents(scenario, &out, &nonce)?;
        let product = disk::make_of_files(scenario.disk, &tar, &overlay, &out)?;
        fs::remove_dir_all(&overlay).map_err(at(&overlay))?;
        Ok((self.finished(scenario.disk, product)?, nonce))
    }

    /// Has a machine do what no program of the host can.
    fn finished(&mut self, disk: Disk, mut product: Product) -> Result<Product, String> {
        if let Some(word) = disk.to_be_made() {
            let image = self.image(&maker::IMAGE)?;
            let disks = [product.disks.as_slice(), &product.material].concat();
            maker::make(word, &self.kernel(&maker::IMAGE, &image)?, &image, &disks)?;
        }
        disk::finish(disk, &mut product)?;
        Ok(product)
    }

    /// Makes the ext4 file system that all disks with one share.
    fn root(&mut self, scenario: &Scenario) -> Result<(PathBuf, String), String> {
        let key = (scenario.release, scenario.arch);
        if let Some(made) = self.roots.get(&key) {
            return made.clone();
        }
        let out = self.dir.join(format!("{}-{}.ext4", scenario.release, scenario.arch));
        let make = || {
            let nonce = nonce()?;
            let (tar, overlay) = self.contents(scenario, &out, &nonce)?;
            files::file_system(Type::Ext4, &tar, &overlay, &out)?;
            fs::remove_dir_all(&overlay).map_err(at(&overlay))?;
            Ok((out.clone(), nonce))
        };
        let made = make();
        self.roots.insert(key, made.clone());
        made
    }

    /// Returns the archive of a root and the directory that is laid over it.
    fn contents(&self, scenario: &Scenario, out: &Path, nonce: &str) -> Result<(PathBuf, PathBuf), String> {
        let overlay = out.with_extension("overlay");
        root::write_overlay(&overlay, nonce)?;
        Ok((self.debian.root_tar(scenario.release, scenario.arch)?, overlay))
    }
}

/// Returns a word that nobody can guess, from the kernel.
pub fn nonce() -> Result<String, String> {
    let path = Path::new("/proc/sys/kernel/random/uuid");
    Ok(format!("evidence-{}", fs::read_to_string(path).map_err(at(path))?.trim()))
}
