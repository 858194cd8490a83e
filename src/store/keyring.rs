//! OpenPGP: which keys may sign a repository, and whether one of them did. The only door to sequoia.
//!
//! The policy is sequoia's `StandardPolicy` at the time of the build (no MD5, SHA-1, RSA below 2048 bits), and stricter than that on one point: a key that is expired or revoked *now* is refused, also for what it signed before.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sequoia_openpgp as openpgp;

use openpgp::armor::ReaderMode;
use openpgp::cert::CertParser;
use openpgp::cert::amalgamation::ValidAmalgamation;
use openpgp::packet::Signature;
use openpgp::parse::stream::{
    DetachedVerifierBuilder, GoodChecksum, MessageLayer, MessageStructure, VerificationError, VerificationHelper,
};
use openpgp::parse::{Dearmor, PacketParserBuilder, PacketParserResult, Parse};
use openpgp::policy::{HashAlgoSecurity, Policy, StandardPolicy};
use openpgp::types::{HashAlgorithm, RevocationStatus, SignatureType};
use openpgp::{Cert, KeyHandle, Packet};

use crate::base::error::{Diagnostic, ErrorKind};
use crate::base::fs::{self, FileError};
use crate::base::limit;
use crate::base::trust::Signer;
use crate::store::shipped;

/// Certificates in one keyring. Debian's has nine, Arch Linux's some hundred.
const CERTS_MAX: usize = 2_000;
/// Signatures over one package that are looked at.
const SIGNATURES_MAX: usize = 16;
/// How far this machine's clock may be behind the archive's.
const SKEW: Duration = Duration::from_secs(30 * 60);

/// Main keys that must vouch for a packager: GnuPG's `marginals-needed`, which pacman leaves as it is.
const VOUCHERS_MIN: usize = 3;

/// A keyring cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The file cannot be read.
    #[error("cannot read the keyring")]
    File(#[from] FileError),
    /// There is no usable certificate in it.
    #[error("the keyring `{0}` holds no usable OpenPGP certificate")]
    Empty(String),
    /// It is in GnuPG's own database format.
    #[error("the keyring `{0}` is a GnuPG keybox, not an exported keyring")]
    Keybox(String),
    /// Anybody on the machine could replace its keys.
    #[error("the keyring `{}` can be written by everybody", .0.display())]
    Writable(PathBuf),
    /// A key was named by its fingerprint and is in no keyring.
    #[error("no keyring of this machine holds the key {0}")]
    Absent(String),
}

impl Diagnostic for KeyringError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Untrusted
    }

    fn hints(&self) -> Vec<String> {
        match self {
            KeyringError::File(err) if err.is_absent() => {
                vec!["install the package that holds the keyring, or name the right file in `Signed-By`".to_owned()]
            }
            KeyringError::Keybox(name) => vec![format!("export it: `gpg --no-default-keyring --keyring {name} --export`")],
            KeyringError::Writable(path) => vec![format!("make it yours alone: `chmod 644 {}`", path.display())],
            _ => Vec::new(),
        }
    }
}

/// No allowed key vouches for the data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is no signature in what should be one.
    #[error("it holds no OpenPGP signature")]
    None,
    /// Only keys signed it that may not.
    #[error("it was signed by {}, which may not sign this repository; allowed are {}", list(.found), list(.allowed))]
    UnknownKey {
        /// Key ids or fingerprints that signed.
        found: Vec<String>,
        /// Fingerprints that may.
        allowed: Vec<String>,
    },
    /// An allowed key made a signature, but over other data.
    #[error("the signature by {key} does not fit: the data was changed or damaged")]
    Wrong {
        /// The key's fingerprint.
        key: String,
    },
    /// The key that signed has expired.
    #[error("the key {key} expired on {date}")]
    Expired {
        /// The key's fingerprint.
        key: String,
        /// When, as `2026-09-12 07:55 UTC`.
        date: String,
    },
    /// The key that signed was revoked.
    #[error("the key {key} was revoked by its owner")]
    Revoked {
        /// The key's fingerprint.
        key: String,
    },
    /// The signature or the key uses cryptography that can be forged.
    #[error("the signature by {key} is too weak to count: {reason}")]
    Weak {
        /// The key's fingerprint, or its id.
        key: String,
        /// What the policy says.
        reason: String,
    },
    /// The signature or its key begins to count later than now.
    #[error("the signature by {key} was made in the future, on {date}")]
    Future {
        /// The key's fingerprint.
        key: String,
        /// When, as `2026-09-12 07:55 UTC`.
        date: String,
    },
    /// The signature cannot be read or its key may not sign.
    #[error("the signature cannot be used: {0}")]
    Malformed(String),
}

fn list(keys: &[String]) -> String {
    match keys {
        [] => "none".to_owned(),
        keys => keys.join(", "),
    }
}

impl SignatureError {
    /// How much a reader learns from it, when several signatures failed in several ways.
    fn weight(&self) -> u8 {
        match self {
            SignatureError::Wrong { .. } => 7,
            SignatureError::Revoked { .. } => 6,
            SignatureError::Expired { .. } => 5,
            SignatureError::Future { .. } => 4,
            SignatureError::Weak { .. } => 3,
            SignatureError::UnknownKey { .. } => 2,
            SignatureError::Malformed(_) => 1,
            SignatureError::None => 0,
        }
    }
}

impl Diagnostic for SignatureError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Untrusted
    }

    fn hints(&self) -> Vec<String> {
        match self {
            SignatureError::UnknownKey { .. } => {
                vec![
                    "if that key is right, name its file with `Signed-By` or `[signed-by=FILE]`; otherwise try another mirror"
                        .to_owned(),
                ]
            }
            SignatureError::Expired { .. } => vec!["update the package that holds the archive's keyring".to_owned()],
            SignatureError::Future { .. } => vec!["set the clock of this machine".to_owned()],
            SignatureError::Wrong { .. } => vec!["try again later, or another mirror with `--mirror URL`".to_owned()],
            _ => Vec::new(),
        }
    }
}

/// Certificates, each with the file that it came from.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    certs: Vec<(Cert, Arc<str>)>,
}

impl Keyring {
    /// Returns one without certificates, which trusts nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the certificates that we carry for a distribution (`debian`), whatever lists of main and revoked ones come with them.
    pub fn shipped(distro: &str) -> Self {
        let mut keyring = Self::new();
        for (name, bytes) in shipped::of(distro).flat_map(|keys| keys.files).filter(|(name, _)| !shipped::is_rsa(name)) {
            keyring.add(bytes, &shipped::place(name)).expect("invariant: a test reads every key that is shipped");
        }
        keyring
    }

    /// Reads a file of a machine whose root is `root`: binary or armoured, one or many certificates.
    pub fn add_file(&mut self, root: &Path, path: &Path) -> Result<(), KeyringError> {
        use std::os::unix::fs::PermissionsExt;
        let real = root.join(path.strip_prefix("/").unwrap_or(path));
        let metadata = std::fs::metadata(&real).map_err(FileError::on("open", &real))?;
        if metadata.permissions().mode() & 0o002 != 0 {
            return Err(KeyringError::Writable(real));
        }
        let bytes = fs::read(&real, limit::KEYRING_BYTES_MAX)?;
        self.add(&bytes, &path.display().to_string())
    }

    /// Adds the certificates in `bytes`; those that cannot be read are passed over, but one must be good.
    pub fn add(&mut self, bytes: &[u8], name: &str) -> Result<(), KeyringError> {
        if bytes.get(8..12) == Some(b"KBXf") {
            return Err(KeyringError::Keybox(name.to_owned()));
        }
        let file: Arc<str> = name.into();
        let mut count = 0;
        for block in blocks(bytes) {
            let Ok(parser) = CertParser::from_bytes(block) else { continue };
            for cert in parser.take(CERTS_MAX).filter_map(Result::ok) {
                self.insert(cert, &file);
                count += 1;
            }
        }
        if count == 0 { Err(KeyringError::Empty(name.to_owned())) } else { Ok(()) }
    }

    /// Adds the certificates of another keyring.
    pub fn append(&mut self, other: &Keyring) {
        other.certs.iter().for_each(|(cert, file)| self.insert(cert.clone(), file));
    }

    /// Two copies of a certificate become one, so that a revocation in either counts.
    fn insert(&mut self, cert: Cert, file: &Arc<str>) {
        let fingerprint = cert.fingerprint();
        match self.certs.iter_mut().find(|(known, _)| known.fingerprint() == fingerprint) {
            Some((known, _)) => {
                if let Ok(merged) = known.clone().merge_public(cert) {
                    *known = merged;
                }
            }
            None => self.certs.push((cert, file.clone())),
        }
    }

    /// Returns the certificates that have a key of this fingerprint.
    pub fn only(&self, fingerprint: &str) -> Result<Keyring, KeyringError> {
        let wanted = fingerprint.to_ascii_uppercase();
        let has = |cert: &Cert| cert.keys().any(|key| key.key().fingerprint().to_hex() == wanted);
        let certs = self.certs.iter().filter(|(cert, _)| has(cert)).cloned().collect::<Vec<_>>();
        if certs.is_empty() { Err(KeyringError::Absent(wanted)) } else { Ok(Keyring { certs }) }
    }

    /// Returns the certificates that pacman-key(8) trusts after `--populate`: the main keys, and those of which main keys vouch for one name
    /// at least [`VOUCHERS_MIN`] times. What is listed as revoked is neither trusted nor vouches, and no more does an expired main key.
    pub fn endorsed(&self, main: &[String], revoked: &[String], now: SystemTime) -> Keyring {
        let policy = StandardPolicy::at(now);
        let is_in = |list: &[String], cert: &Cert| list.iter().any(|one| one.eq_ignore_ascii_case(&cert.fingerprint().to_hex()));
        let left: Vec<_> = self.certs.iter().filter(|(cert, _)| !is_in(revoked, cert)).collect();
        let is_alive = |cert: &Cert| {
            cert.with_policy(&policy, now)
                .is_ok_and(|valid| valid.alive().is_ok() && !matches!(valid.revocation_status(), RevocationStatus::Revoked(_)))
        };
        let vouchers: Vec<&Cert> = left.iter().map(|(cert, _)| cert).filter(|cert| is_in(main, cert) && is_alive(cert)).collect();
        let is_endorsed = |cert: &Cert| {
            let Ok(valid) = cert.with_policy(&policy, now) else { return false };
            valid.userids().any(|name| {
                let vouches = |voucher: &&&Cert| {
                    let key = voucher.primary_key().key();
                    name.amalgamation().active_certifications_by_key(&policy, now, key).next().is_some()
                };
                vouchers.iter().filter(vouches).count() >= VOUCHERS_MIN
            })
        };
        let certs = left.into_iter().filter(|(cert, _)| is_in(main, cert) || is_endorsed(cert)).cloned().collect();
        Keyring { certs }
    }

    /// Returns the certificates without those of these fingerprints.
    pub fn without(&self, revoked: &[String]) -> Keyring {
        let is_left = |cert: &Cert| !revoked.iter().any(|one| one.eq_ignore_ascii_case(&cert.fingerprint().to_hex()));
        Keyring { certs: self.certs.iter().filter(|(cert, _)| is_left(cert)).cloned().collect() }
    }

    /// Tells whether there are no certificates.
    pub fn is_empty(&self) -> bool {
        self.certs.is_empty()
    }

    /// Returns the fingerprints of the certificates, sorted.
    pub fn fingerprints(&self) -> Vec<String> {
        let mut all = self.certs.iter().map(|(cert, _)| cert.fingerprint().to_hex()).collect::<Vec<_>>();
        all.sort();
        all.dedup();
        all
    }

    /// Checks detached signatures (binary or armoured) over `data`, as of `now`. One good one by a key of this ring is needed
    /// and enough: signatures by other keys spoil nothing, or a key could never be replaced.
    ///
    /// For a clear-signed message `data` is its text with LF line ends and without the last one.
    pub fn verify(&self, data: &[u8], signature: &[u8], now: SystemTime) -> Result<Signer, SignatureError> {
        let policy = StandardPolicy::at(now);
        let mut judge = Judge { keyring: self, policy: &policy, now, good: None, failures: Vec::new() };
        let outcome = DetachedVerifierBuilder::from_bytes(signature)
            .and_then(|builder| builder.with_policy(&policy, Some(now + SKEW), &mut judge))
            .and_then(|mut verifier| verifier.verify_bytes(data));
        match (judge.good, outcome) {
            (Some(signer), Ok(())) => Ok(signer),
            (_, outcome) => Err(self.worst(judge.failures, outcome.err().map(|err| classify(&err, "an unnamed key")))),
        }
    }

    /// Like [`Keyring::verify`], for packages, which live longer than what lists them: over what `open` gives, to its end.
    ///
    /// A key must be good now, and is not asked what it was when it signed: keyrings keep only the newest of its own signatures. Those may
    /// be over SHA-1, for nobody makes another text to a given digest, and that of the package may be of version 3, as Red Hat's are.
    pub fn verify_package<R: Read>(
        &self,
        open: &mut dyn FnMut() -> std::io::Result<R>,
        signature: &[u8],
        now: SystemTime,
    ) -> Result<Signer, SignatureError> {
        let mut policy = StandardPolicy::at(now);
        policy.accept_hash_property(HashAlgorithm::SHA1, HashAlgoSecurity::SecondPreImageResistance);
        let judge = Judge { keyring: self, policy: &policy, now, good: None, failures: Vec::new() };
        let malformed = |err: openpgp::anyhow::Error| SignatureError::Malformed(err.to_string());
        let builder = PacketParserBuilder::from_bytes(signature).map_err(malformed)?;
        let mut next = builder.dearmor(Dearmor::Auto(ReaderMode::Tolerant(None))).build().map_err(malformed)?;
        let mut failures = Vec::new();
        for _ in 0..SIGNATURES_MAX {
            let PacketParserResult::Some(parser) = next else { break };
            let (packet, rest) = parser.next().map_err(malformed)?;
            next = rest;
            let verdict = match &packet {
                Packet::Signature(signature) => judge.of_package(signature, open),
                // sequoia hands on what it does not know with the reason.
                Packet::Unknown(unknown) => Err(malformed(openpgp::anyhow::anyhow!("{}", unknown.error()))),
                _ => Err(SignatureError::None),
            };
            match verdict {
                Ok(signer) => return Ok(signer),
                Err(failure) => failures.push(failure),
            }
        }
        Err(self.worst(failures, None))
    }

    fn worst(&self, failures: Vec<SignatureError>, other: Option<SignatureError>) -> SignatureError {
        let unknown = failures.iter().filter_map(|failure| match failure {
            SignatureError::UnknownKey { found, .. } => Some(found.clone()),
            _ => None,
        });
        let found = unknown.flatten().collect::<Vec<_>>();
        let worst = failures.into_iter().max_by_key(SignatureError::weight).or(other).unwrap_or(SignatureError::None);
        match worst {
            SignatureError::UnknownKey { .. } => SignatureError::UnknownKey { found, allowed: self.fingerprints() },
            other => other,
        }
    }
}

/// Splits text with several armoured blocks; anything else is one block. The reader takes one armour at a time.
fn blocks(bytes: &[u8]) -> Vec<&[u8]> {
    const BEGIN: &[u8] = b"-----BEGIN PGP PUBLIC KEY BLOCK-----";
    let starts = memchr::memmem::find_iter(bytes, BEGIN).collect::<Vec<_>>();
    // What stands before the first armour is a binary keyring, if it is anything.
    let first = starts.first().copied().unwrap_or(bytes.len());
    let binary = (first > 0 && !bytes[..first].is_ascii()).then(|| &bytes[..first]);
    let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
    binary.into_iter().chain(starts.iter().zip(ends).map(|(start, end)| &bytes[*start..end])).collect()
}

/// Decides about the signatures that sequoia found.
struct Judge<'a> {
    keyring: &'a Keyring,
    policy: &'a StandardPolicy<'a>,
    now: SystemTime,
    good: Option<Signer>,
    failures: Vec<SignatureError>,
}

impl VerificationHelper for &mut Judge<'_> {
    fn get_certs(&mut self, ids: &[KeyHandle]) -> openpgp::Result<Vec<Cert>> {
        let signs = |cert: &Cert| cert.keys().any(|key| ids.iter().any(|id| id.aliases(key.key().key_handle())));
        Ok(self.keyring.certs.iter().map(|(cert, _)| cert).filter(|cert| signs(cert)).cloned().collect())
    }

    fn check(&mut self, structure: MessageStructure<'_>) -> openpgp::Result<()> {
        for layer in structure {
            let MessageLayer::SignatureGroup { results } = layer else { continue };
            for result in results {
                match result {
                    Ok(good) => match self.still_good(&good) {
                        Ok(signer) => {
                            self.good.get_or_insert(signer);
                        }
                        Err(failure) => self.failures.push(failure),
                    },
                    Err(err) => self.failures.push(explain(&err)),
                }
            }
        }
        // The verdict is drawn from `good` by the caller; an error here would hide the reasons.
        Ok(())
    }
}

impl Judge<'_> {
    /// Judges a signature over a package.
    fn of_package<R: Read>(
        &self,
        signature: &Signature,
        open: &mut dyn FnMut() -> std::io::Result<R>,
    ) -> Result<Signer, SignatureError> {
        let ids = signature.get_issuers();
        let named = ids.first().map_or_else(|| "an unnamed key".to_owned(), KeyHandle::to_hex);
        let is_meant = |handle: KeyHandle| ids.iter().any(|id| id.aliases(&handle));
        let certs = self.keyring.certs.iter().map(|(cert, _)| cert);
        let keys = certs.flat_map(|cert| cert.keys().map(move |key| (cert, key)));
        let keys: Vec<_> = keys.filter(|(_, key)| is_meant(key.key().key_handle())).collect();
        if keys.is_empty() {
            return Err(SignatureError::UnknownKey { found: vec![named], allowed: Vec::new() });
        }
        if signature.typ() != SignatureType::Binary || ![3, 4, 6].contains(&signature.version()) {
            let (typ, version) = (signature.typ(), signature.version());
            return Err(SignatureError::Malformed(format!(
                "it is of version {version} and over something else than a file ({typ})"
            )));
        }
        let classified = |err| classify(&err, &named);
        self.policy.signature(signature, HashAlgoSecurity::CollisionResistance).map_err(classified)?;
        signature.signature_alive(self.now, SKEW).map_err(classified)?;
        let mut hash = signature.hash_algo().context().map_err(classified)?.for_signature(signature.version());
        if let Signature::V6(signature) = signature {
            hash.update(signature.salt());
        }
        let unreadable = |err: std::io::Error| SignatureError::Malformed(format!("the file cannot be read: {err}"));
        std::io::copy(&mut open().map_err(unreadable)?, &mut hash).map_err(unreadable)?;
        let mut failure = None;
        for (cert, key) in keys {
            let fingerprint = key.key().fingerprint().to_hex();
            match signature.verify_hash(key.key(), hash.clone()) {
                Ok(()) => return self.standing(cert, &key.key().key_handle(), &fingerprint),
                Err(err) => {
                    failure.get_or_insert(match classify(&err, &fingerprint) {
                        SignatureError::Malformed(_) => SignatureError::Wrong { key: fingerprint },
                        other => other,
                    });
                }
            }
        }
        Err(failure.unwrap_or(SignatureError::None))
    }

    /// The signature was good when it was made; holds the key against today.
    fn still_good(&self, good: &GoodChecksum<'_>) -> Result<Signer, SignatureError> {
        let key = good.ka.key().fingerprint().to_hex();
        self.standing(good.ka.cert(), &good.ka.key().key_handle(), &key)
    }

    /// Tells whether a key may sign today, by its certificate.
    fn standing(&self, cert: &Cert, handle: &KeyHandle, key: &str) -> Result<Signer, SignatureError> {
        let key = key.to_owned();
        let valid = cert.with_policy(self.policy, self.now).map_err(|err| classify(&err, &key))?;
        valid.alive().map_err(|err| classify(&err, &key))?;
        if matches!(valid.revocation_status(), RevocationStatus::Revoked(_)) {
            return Err(SignatureError::Revoked { key });
        }
        let subkey = valid
            .keys()
            .for_signing()
            .key_handle(handle.clone())
            .next()
            .ok_or_else(|| SignatureError::Malformed(format!("the key {key} is not bound to sign")))?;
        subkey.alive().map_err(|err| classify(&err, &key))?;
        if matches!(subkey.revocation_status(), RevocationStatus::Revoked(_)) {
            return Err(SignatureError::Revoked { key });
        }
        let fingerprint = cert.fingerprint();
        let from = self.keyring.certs.iter().find(|(cert, _)| cert.fingerprint() == fingerprint);
        let file = from.map(|(_, file)| file.to_string()).unwrap_or_default();
        Ok(Signer { fingerprint: fingerprint.to_hex(), key, file })
    }
}

fn explain(err: &VerificationError<'_>) -> SignatureError {
    let issuer =
        |sig: &openpgp::packet::Signature| sig.get_issuers().first().map_or("an unnamed key".to_owned(), |id| id.to_hex());
    match err {
        VerificationError::MissingKey { sig } => SignatureError::UnknownKey { found: vec![issuer(sig)], allowed: Vec::new() },
        VerificationError::UnboundKey { sig, error, .. } => classify(error, &issuer(sig)),
        VerificationError::BadKey { ka, error, .. } => {
            let key = ka.key().fingerprint().to_hex();
            let revoked = matches!(ka.revocation_status(), RevocationStatus::Revoked(_))
                || matches!(ka.cert().revocation_status(ka.policy(), ka.time()), RevocationStatus::Revoked(_));
            if revoked { SignatureError::Revoked { key } } else { classify(error, &key) }
        }
        VerificationError::BadSignature { ka, error, .. } => {
            let key = ka.key().fingerprint().to_hex();
            match classify(error, &key) {
                SignatureError::Malformed(_) => SignatureError::Wrong { key },
                other => other,
            }
        }
        VerificationError::MalformedSignature { sig, error } => classify(error, &issuer(sig)),
        VerificationError::UnknownSignature { sig } => SignatureError::Malformed(sig.error().to_string()),
        other => SignatureError::Malformed(other.to_string()),
    }
}

/// Finds out what sequoia means. It hands over `anyhow` errors with its own type inside.
fn classify(error: &openpgp::anyhow::Error, key: &str) -> SignatureError {
    let key = key.to_owned();
    for cause in error.chain() {
        match cause.downcast_ref::<openpgp::Error>() {
            Some(openpgp::Error::Expired(date)) => return SignatureError::Expired { key, date: show(*date) },
            Some(openpgp::Error::NotYetLive(date)) => return SignatureError::Future { key, date: show(*date) },
            Some(openpgp::Error::PolicyViolation(what, _)) => return SignatureError::Weak { key, reason: what.clone() },
            Some(openpgp::Error::BadSignature(_) | openpgp::Error::ManipulatedMessage) => return SignatureError::Wrong { key },
            _ => {}
        }
    }
    SignatureError::Malformed(error.to_string())
}

fn show(date: SystemTime) -> String {
    let since = date.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    crate::base::date::show(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subkey_names_its_certificate() {
        let keyring = Keyring::shipped("debian");
        let subkey = "4CB50190207B4758A3F73A796ED0E7B82643E131";
        let whole = "B8B80B5B623EAB6AD8775C45B7C5D7D6350947F8";
        assert_eq!(keyring.only(subkey).expect("a subkey names its certificate").fingerprints(), [whole]);
        assert!(matches!(keyring.only(&"0".repeat(40)), Err(KeyringError::Absent(_))));
    }

    #[test]
    fn keys_of_one_distribution_are_no_word_on_another() {
        let of = |distro| Keyring::shipped(distro).fingerprints();
        assert!(of("fedora").iter().all(|key| !of("debian").contains(key)));
        assert!(of("kali").is_empty() && of("nonexistent").is_empty());
    }

    #[test]
    fn what_is_no_signature_is_refused() {
        let keyring = Keyring::shipped("debian");
        let (_, armoured) = shipped::of("debian").flat_map(|keys| keys.files).next().expect("a key");
        for signature in [&b""[..], b"hello", b"-----BEGIN PGP SIGNATURE-----\n\n-----END PGP SIGNATURE-----\n", armoured] {
            assert!(keyring.verify(b"data", signature, SystemTime::now()).is_err());
        }
    }
}
