//! Encrypts disk images in place, offline, and gives volumes other keys than a passphrase.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::command::{at, run, tool};
use crate::tpm::Enrolling;

/// The UUID of the LUKS header, for `rd.luks.name=`.
pub const LUKS_UUID: &str = "6d6b696e-6974-4264-8000-6c756b730001";
/// What opens the LUKS volume.
pub const PASSPHRASE: &str = "correct horse";

/// What a TPM may want beside.
pub const PIN: &str = "staple";

/// What reencryption takes from the end of the disk: twice the header's 16 MiB.
const RESERVED: u64 = 32 << 20;
/// PBKDF2 with few rounds: Argon2 wants more memory than the guest has.
const HEADER: &[&str] =
    &["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--cipher", "aes-xts-plain64", "--key-size", "256"];

/// Encrypts what an image holds; the image grows by the header.
pub fn encrypt(image: &Path) -> Result<(), String> {
    let size = fs::metadata(image).map_err(at(image))?.len();
    File::options().write(true).open(image).and_then(|file| file.set_len(size + RESERVED)).map_err(at(image))?;
    reencrypt(image, &["--reduce-device-size", &format!("{}M", RESERVED >> 20)])
}

/// Encrypts what an image holds; the header lies in `header` alone.
pub fn encrypt_detached(image: &Path, header: &Path) -> Result<(), String> {
    File::create(header).and_then(|file| file.set_len(RESERVED)).map_err(at(header))?;
    reencrypt(image, &["--header", &header.display().to_string()])
}

fn reencrypt(image: &Path, place: &[&str]) -> Result<(), String> {
    let key = key_file(image)?;
    run(tool("cryptsetup")
        .args(["reencrypt", "--encrypt", "--batch-mode", "--type", "luks2", "--uuid", LUKS_UUID, "--resilience", "none"])
        .args(place)
        .args(HEADER)
        .arg("--key-file")
        .args([key.as_path(), image]))?;
    fs::remove_file(&key).map_err(at(&key))
}

fn key_file(image: &Path) -> Result<PathBuf, String> {
    let key = image.with_extension("key");
    fs::write(&key, PASSPHRASE).map_err(at(&key))?;
    Ok(key)
}

/// Leaves the volume no key but one in a TPM, enrolled as `how` says; returns the state of the TPM.
pub fn enrol_tpm(image: &Path, how: &[&str]) -> Result<PathBuf, String> {
    let tpm = Enrolling::start(&image.with_extension("tpm"))?;
    let device = format!("--tpm2-device={}", tpm.device());
    enrol(image, &[&[device.as_str()], how].concat())?;
    tpm.end()
}

/// Makes a key for signed policies in `dir` if there is none yet; returns the private half and the public one.
pub fn policy_key(dir: &Path) -> Result<(PathBuf, PathBuf), String> {
    let (private, public) = (dir.join("policy.key"), dir.join("policy.pem"));
    if !public.exists() {
        run(tool("openssl").args(["genrsa", "-out"]).arg(&private).arg("2048"))?;
        run(tool("openssl").args(["pkey", "-pubout", "-in"]).arg(&private).arg("-out").arg(&public))?;
    }
    Ok((private, public))
}

/// Leaves the volume no key but a recovery key, which is returned.
pub fn enrol_recovery(image: &Path) -> Result<String, String> {
    let said = enrol(image, &["--recovery-key"])?;
    let key = said.split_whitespace().find(|word| word.len() == 71 && word.matches('-').count() == 7);
    key.map(str::to_owned).ok_or_else(|| format!("`systemd-cryptenroll` said no recovery key, but: {said}"))
}

/// Makes the small ext4 file system `out`, labelled `KEYS`, that holds `/root.key`, readable by root alone.
pub fn key_disk(key: &str, out: &Path) -> Result<(), String> {
    let dir = out.with_extension("keys");
    let file = dir.join("root.key");
    fs::create_dir_all(&dir).map_err(at(&dir))?;
    fs::write(&file, key).map_err(at(&file))?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).map_err(at(&file))?;
    File::create(out).and_then(|file| file.set_len(16 << 20)).map_err(at(out))?;
    run(tool("mke2fs").args(["-q", "-F", "-t", "ext4", "-L", "KEYS", "-E", "root_owner=0:0", "-d"]).args([&dir, out]))?;
    fs::remove_dir_all(&dir).map_err(at(&dir))
}

fn enrol(image: &Path, how: &[&str]) -> Result<String, String> {
    let mut command = tool("systemd-cryptenroll");
    run(command
        .env("PASSWORD", PASSPHRASE)
        .env("NEWPIN", PIN)
        .args(how)
        .args(["--wipe-slot=password".as_ref(), image.as_os_str()]))
}
