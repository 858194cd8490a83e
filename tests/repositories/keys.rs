//! Keys that nobody keeps, made once for the test cache, and what signs with them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{cache, lock, run};

const NAME: &str = "fixture <fixture@example.invalid>";

/// A key of OpenPGP in a home directory of its own.
pub struct Signer {
    home: tempfile::TempDir,
}

impl Signer {
    /// Opens the key. gpg's socket wants a short path, so the home is a temporary one.
    pub fn open() -> Self {
        let this = Self { home: tempfile::Builder::new().prefix("gpg").tempdir().expect("a temporary directory") };
        let secret = cache().join("keys/secret.asc");
        let _lock = lock("keys");
        if secret.exists() {
            run(this.gpg().arg("--import").arg(&secret), "gpg");
        } else {
            fs::create_dir_all(cache().join("keys")).expect("a directory");
            run(this.gpg().args(["--passphrase", "", "--quick-gen-key", NAME, "rsa3072", "sign", "never"]), "gpg");
            let armoured = run(this.gpg().args(["--passphrase", "", "--armor", "--export-secret-keys"]), "gpg");
            fs::write(&secret, armoured).expect("writing");
        }
        this
    }

    fn gpg(&self) -> Command {
        let mut command = Command::new("gpg");
        command.args(["--batch", "--yes", "--quiet", "--pinentry-mode", "loopback", "--homedir"]).arg(self.home.path());
        command
    }

    /// Signs packages in their headers.
    pub fn sign_rpms(&self, packages: &[PathBuf]) {
        let home = format!("_gpg_path {}", self.home.path().display());
        let mut command = Command::new("rpmsign");
        command.args([
            "--define",
            &home,
            "--define",
            &format!("_gpg_name {NAME}"),
            "--define",
            "__gpg /usr/bin/gpg",
            "--addsign",
        ]);
        run(command.args(packages), "rpm");
    }

    /// Signs a file beside it: `.asc` in armour, or `.sig`.
    pub fn sign(&self, path: &Path, armoured: bool) {
        let mut command = self.gpg();
        command.args(if armoured { &["--armor", "--detach-sign"][..] } else { &["--detach-sign"][..] });
        run(command.arg(path), "gpg");
    }

    /// Writes the public key.
    pub fn export(&self, to: &Path) {
        fs::write(to, run(self.gpg().args(["--armor", "--export"]), "gpg")).expect("writing");
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        // The agent would go by itself when its directory is gone.
        let _ = Command::new("gpgconf").arg("--homedir").arg(self.home.path()).args(["--kill", "all"]).output();
    }
}

/// Returns a private key of RSA, as abuild-keygen makes it.
pub fn rsa() -> PathBuf {
    let _lock = lock("keys");
    let path = cache().join("keys/alpine.rsa");
    if !path.exists() {
        fs::create_dir_all(cache().join("keys")).expect("a directory");
        run(Command::new("openssl").args(["genrsa", "-out"]).arg(&path).arg("2048"), "openssl");
    }
    path
}
