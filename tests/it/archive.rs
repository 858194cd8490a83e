//! Small signed archives, made with gpg, dpkg-deb and dpkg-scanpackages, to be read rightly or found wrong.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use mkinitrd_pkg::base::digest::Sha256;

/// Runs a tool; it must be there and succeed.
pub fn run(package: &str, command: &mut Command) -> Vec<u8> {
    let output = command.env("LC_ALL", "C").output();
    let output = output.unwrap_or_else(|err| panic!("{command:?}: {err}; install the package `{package}`"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Returns the time of this machine in seconds.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() as i64
}

/// A throw-away key.
pub struct Key {
    home: PathBuf,
    name: &'static str,
    faked: Option<&'static str>,
    /// Its exported, armoured public part.
    pub public: PathBuf,
    /// Its fingerprint.
    pub fingerprint: String,
}

/// The keys of this run.
pub struct Keys {
    _home: tempfile::TempDir,
    /// Signs what is good.
    pub good: Key,
    /// Signs what belongs to another.
    pub other: Key,
    /// Expired in January 2026.
    pub expired: Key,
    /// Revoked by its owner; what it signs was good before.
    pub revoked: Key,
    /// RSA, to sign with SHA-1.
    pub rsa: Key,
}

/// Returns the keys of this run, made when first asked for.
pub fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let home = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(home.path().join("gpg.conf"), "allow-weak-digest-algos\n").expect("writing");
        let make = |name, algorithm, faked| Key::make(home.path(), name, algorithm, faked);
        let good = make("good", "ed25519", None);
        let other = make("other", "ed25519", None);
        let expired = make("expired", "ed25519", Some("20260101T000000!"));
        let revoked = make("revoked", "ed25519", None);
        let rsa = make("rsa", "rsa2048", None);
        Keys { good, other, expired, revoked, rsa, _home: home }
    })
}

impl Key {
    fn make(home: &Path, name: &'static str, algorithm: &str, faked: Option<&'static str>) -> Self {
        let expires = if faked.is_some() { "7d" } else { "never" };
        let mut key =
            Key { home: home.to_owned(), name, faked, public: home.join(format!("{name}.asc")), fingerprint: String::new() };
        key.gpg(&["--passphrase", "", "--quick-gen-key", name, algorithm, "sign", expires]);
        let listed = String::from_utf8(key.gpg(&["--with-colons", "--list-keys", name])).expect("text");
        let line = listed.lines().find(|line| line.starts_with("fpr")).expect("a fingerprint");
        key.fingerprint = line.split(':').nth(9).expect("ten fields").to_owned();
        key.export();
        key
    }

    fn gpg(&self, arguments: &[&str]) -> Vec<u8> {
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(&self.home).args(["--batch", "--yes", "--quiet", "--no-tty"]);
        if let Some(time) = self.faked {
            command.args(["--faked-system-time", time]);
        }
        run("gnupg", command.args(arguments))
    }

    fn export(&self) {
        std::fs::write(&self.public, self.gpg(&["--armor", "--export", &self.fingerprint])).expect("writing");
    }

    /// Returns the public part of the key with its revocation, which gpg made along with it.
    pub fn revoked(&self) -> PathBuf {
        let text = std::fs::read_to_string(self.home.join("openpgp-revocs.d").join(format!("{}.rev", self.fingerprint)));
        let text = text.expect("a revocation certificate").replace(":-----BEGIN", "-----BEGIN");
        let at = text.find("-----BEGIN").expect("an armour");
        let (binary, rev) = (self.home.join("revoked.gpg"), self.home.join("rev.asc"));
        std::fs::write(&rev, &text[at..]).expect("writing");
        let mut bytes = self.gpg(&["--export", &self.fingerprint]);
        let revocation = run("gnupg", Command::new("gpg").args(["--batch", "--dearmor", "-o", "-"]).arg(&rev));
        // A revocation stands directly behind the key packet.
        let key_length = 2 + usize::from(bytes[1]);
        bytes.splice(key_length..key_length, revocation);
        std::fs::write(&binary, bytes).expect("writing");
        binary
    }

    /// Clear-signs a file to another.
    pub fn clearsign(&self, from: &Path, to: &Path, more: &[&str]) {
        self.sign(&[more, &["--clearsign"]].concat(), from, to);
    }

    /// Makes a detached signature.
    pub fn detach(&self, from: &Path, to: &Path) {
        self.sign(&["--detach-sign", "--armor"], from, to);
    }

    /// Signs an RPM package in its header.
    pub fn rpmsign(&self, path: &Path) {
        let extra = self.faked.map(|time| format!("--faked-system-time {time}")).unwrap_or_default();
        let mut command = Command::new("rpmsign");
        for define in [
            "__gpg /usr/bin/gpg".to_owned(),
            format!("_gpg_name {}", self.fingerprint),
            format!("_gpg_path {}", self.home.display()),
            "_gpg_digest_algo sha256".to_owned(),
            format!("_gpg_sign_cmd_extra_args --batch {extra}"),
        ] {
            command.arg("--define").arg(define);
        }
        run("rpm", command.arg("--addsign").arg(path));
    }

    /// Signs a file apart, without armour, as makepkg does.
    pub fn detach_binary(&self, from: &Path, to: &Path) {
        self.sign(&["--detach-sign"], from, to);
    }

    fn sign(&self, how: &[&str], from: &Path, to: &Path) {
        let (from, to) = (from.to_str().expect("text"), to.to_str().expect("text"));
        let user = if self.fingerprint.is_empty() { self.name } else { &self.fingerprint };
        self.gpg(&[&["-u", user, "-o", to], how, &[from]].concat());
    }
}

/// How a release file is written.
#[derive(Clone)]
pub struct Header {
    /// Fields before the lists, without `Date` and `Valid-Until`.
    pub fields: String,
    /// `Date`, in seconds.
    pub date: i64,
    /// `Valid-Until`, in seconds.
    pub valid_until: Option<i64>,
    /// The name of the list of digests.
    pub list: &'static str,
}

impl Default for Header {
    fn default() -> Self {
        let fields = "Origin: Test\nSuite: stable\nCodename: tester\nArchitectures: amd64\nComponents: main\n";
        Self { fields: fields.to_owned(), date: now() - 3_600, valid_until: None, list: "SHA256" }
    }
}

/// An archive in a temporary directory: `dists/tester/main/binary-amd64/Packages` and a pool.
pub struct Archive {
    dir: tempfile::TempDir,
    indexes: BTreeMap<String, Vec<u8>>,
}

impl Archive {
    /// Makes an archive of one real package, without a release file.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let tree = dir.path().join("tree");
        std::fs::create_dir_all(tree.join("DEBIAN")).expect("a directory");
        std::fs::create_dir_all(tree.join("usr/share/foo")).expect("a directory");
        std::fs::create_dir_all(dir.path().join("root/pool")).expect("a directory");
        let control = "Package: foo\nVersion: 1:2.0-1\nArchitecture: amd64\nMaintainer: T <t@example.org>\nDescription: test\n";
        std::fs::write(tree.join("DEBIAN/control"), control).expect("writing");
        std::fs::write(tree.join("usr/share/foo/data"), noise(200_000)).expect("writing");
        let mut archive = Self { dir, indexes: BTreeMap::new() };
        let mut build = Command::new("dpkg-deb");
        run("dpkg", build.args(["--root-owner-group", "-Znone", "-b"]).arg(&tree).arg(archive.root().join("pool/foo.deb")));
        let packages = run("dpkg-dev", Command::new("dpkg-scanpackages").args(["-m", "pool"]).current_dir(archive.root()));
        archive.set_packages(&packages);
        archive
    }

    /// Returns the root.
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// Returns a file of the suite's directory.
    pub fn dist(&self, name: &str) -> PathBuf {
        self.root().join("dists/tester").join(name)
    }

    /// Returns the content of `Packages`.
    pub fn packages(&self) -> Vec<u8> {
        self.indexes["main/binary-amd64/Packages"].clone()
    }

    /// Writes the index plain, and with gzip and xz, and remembers what the release file is to list.
    pub fn set_packages(&mut self, packages: &[u8]) {
        std::fs::create_dir_all(self.dist("main/binary-amd64")).expect("a directory");
        let plain = self.dist("main/binary-amd64/Packages");
        std::fs::write(&plain, packages).expect("writing");
        self.indexes.insert("main/binary-amd64/Packages".to_owned(), packages.to_vec());
        for (tool, extension) in [("gzip", "gz"), ("xz", "xz")] {
            let packed = run(tool, Command::new(tool).args(["-9", "-c"]).arg(&plain));
            let name = format!("main/binary-amd64/Packages.{extension}");
            std::fs::write(self.dist(&name), &packed).expect("writing");
            self.indexes.insert(name, packed);
        }
    }

    /// Moves all indexes to where only their digest finds them.
    pub fn by_hash(&self) {
        let dir = self.dist("main/binary-amd64/by-hash/SHA256");
        std::fs::create_dir_all(&dir).expect("a directory");
        for (name, bytes) in &self.indexes {
            std::fs::rename(self.dist(name), dir.join(Sha256::of(bytes).to_string())).expect("renaming");
        }
    }

    /// Writes `Release`.
    pub fn release(&self, header: &Header) {
        let mut text = format!("{}Date: {}\n", header.fields, rfc1123(header.date));
        if let Some(until) = header.valid_until {
            text += &format!("Valid-Until: {}\n", rfc1123(until));
        }
        text += &format!("{}:\n", header.list);
        for (name, bytes) in &self.indexes {
            let digest = Sha256::of(bytes).to_string();
            let digest = if header.list == "SHA256" { &digest } else { &digest[..32] };
            text += &format!(" {digest} {:>8} {name}\n", bytes.len());
        }
        std::fs::write(self.dist("Release"), text).expect("writing");
    }

    /// Writes `Release` and `InRelease`, and removes `Release`.
    pub fn sign(&self, header: &Header, key: &Key) {
        self.release(header);
        key.clearsign(&self.dist("Release"), &self.dist("InRelease"), &[]);
        std::fs::remove_file(self.dist("Release")).expect("removing");
    }

    /// Returns an archive with a good `InRelease`.
    pub fn good() -> Self {
        let archive = Self::new();
        archive.sign(&Header::default(), &keys().good);
        archive
    }
}

/// Bytes that do not compress, the same each time.
pub fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..count).map(step).collect()
}

fn rfc1123(seconds: i64) -> String {
    let format = "+%a, %d %b %Y %H:%M:%S UTC";
    let text = run("coreutils", Command::new("date").args(["-u", "-d", &format!("@{seconds}"), format]));
    String::from_utf8(text).expect("text").trim().to_owned()
}
