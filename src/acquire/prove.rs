//! What proves a package file whose index has no SHA-256 digest of it, and whose signature it must have itself.
//!
//! Both are asked each time a file is taken, wherever it lay: that it was good once is not remembered, only where to look for it.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Blob, Error, Origin, World, archives};
use crate::base::base64::decode;
use crate::base::checksum::{Checksum, Kind};
use crate::base::error::{Diagnostic, ErrorKind};
use crate::base::fs;
use crate::base::trust::{Seal, SealPlace, SignedBy, Signer, hide_password};
use crate::family::door::DoorError;
use crate::family::{ReadError, alpm, apk, rpm};
use crate::package::{Location, Package};
use crate::store::fetch::FetchError;
use crate::store::keyring::{Keyring, KeyringError, SignatureError};
use crate::store::proofs::{Unkept, Unproved, open_proved};
use crate::store::{Stored, Unusable, VerifiedReader};

/// A detached signature.
const SIGNATURE_BYTES_MAX: u64 = 64 << 10;

/// A package's own signature is missing or does not count.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// There is none, and its index is not signed either.
    #[error("it is not signed, and neither is the index that lists it")]
    Unsigned,
    /// What should be a signature is none.
    #[error("what its index has as its signature is no base64")]
    Malformed,
    /// No key that may sign did.
    #[error(transparent)]
    Signature(#[from] DoorError),
    /// The signature is good, and does not cover all of the file.
    #[error("its signature covers its header only, and the header has no digest of the payload")]
    Uncovered,
    /// The file is damaged, or is another package.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The signature cannot be fetched.
    #[error("its signature cannot be fetched")]
    Fetch(#[from] FetchError),
}

impl Diagnostic for SealError {
    fn kind(&self) -> ErrorKind {
        match self {
            SealError::Signature(err) => err.kind(),
            SealError::Fetch(err) => err.kind(),
            _ => ErrorKind::Untrusted,
        }
    }

    fn place(&self) -> Option<String> {
        match self {
            SealError::Signature(err) => err.place(),
            SealError::Fetch(err) => err.place(),
            _ => None,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            SealError::Signature(err) => err.hints(),
            SealError::Fetch(err) => err.hints(),
            SealError::Unsigned => {
                vec![
                    "take it from a repository that signs its packages or its metadata; `--no-verify` takes it as it is"
                        .to_owned(),
                ]
            }
            _ => Vec::new(),
        }
    }
}

/// Checks that what is read is the file that `proof` means.
fn check(proof: &str, file: &mut dyn Read) -> Result<(), ReadError> {
    if let Ok(checksum) = proof.parse::<apk::Checksum>() {
        return apk::read::prove(file, &checksum).map(|_| ());
    }
    let checksum: Checksum = proof.parse().map_err(|_| ReadError::Unsupported(format!("the proof `{proof}`")))?;
    match checksum.fits(file)? {
        true => Ok(()),
        false => Err(ReadError::Format(format!("its bytes do not have the digest {checksum}"))),
    }
}

/// Refuses a package that only MD5 tells from others, unless its own signature does.
pub(super) fn check_strength(package: &Package, proof: &str, world: &World<'_>) -> Result<(), Error> {
    let is_weak = proof.parse::<Checksum>().is_ok_and(|checksum| checksum.kind == Kind::Md5);
    let is_sealed = package.seal.as_ref().is_some_and(|seal| seal.by.required);
    match is_weak && !is_sealed && world.verify {
        true => Err(Error::Weak { package: package.to_string(), proof: proof.to_owned() }),
        false => Ok(()),
    }
}

/// Gets the file of a package that has a proof instead of a SHA-256 digest; it is known by its digest from then on.
pub(super) fn get(package: &Package, proof: &str, world: &World<'_>) -> Result<Blob, Error> {
    check_strength(package, proof, world)?;
    let blob = find(package, proof, world)?;
    // Elsewhere the package is known by what its file is now known to be.
    let listed = Package { sha256: blob.sha256, ..package.clone() };
    Ok(Blob { listed: Some(Box::new(listed)), ..blob })
}

fn find(package: &Package, proof: &str, world: &World<'_>) -> Result<Blob, Error> {
    let prove = |file: &mut dyn Read| check(proof, file);
    if let Some(blob) = cached(package, proof, world) {
        return Ok(blob);
    }
    let unproved = |place: String, source| Error::Unproved { package: package.to_string(), place, source };
    match &package.location {
        Location::File(path) => {
            let real = path.canonicalize().unwrap_or_else(|_| path.clone());
            match open_proved(&real, package.size_bytes, &prove) {
                Ok(stored) => Ok(Blob::file(stored, Origin::Local(path.clone()))),
                Err(Unproved::Refused(source)) => Err(unproved(path.display().to_string(), source)),
                Err(Unproved::Unusable(Unusable::Differs)) => {
                    let what = format!("it has another size than the {} bytes that the index lists", package.size_bytes);
                    Err(unproved(path.display().to_string(), ReadError::Format(what)))
                }
                Err(Unproved::Unusable(_)) => Err(Error::Absent { package: package.to_string(), path: path.clone() }),
            }
        }
        location => {
            let failed = |source| Error::Package { package: package.to_string(), source };
            let mut incoming = world.store.incoming().map_err(|err| failed(err.into()))?;
            world.fetcher.fetch_sized(location, package.size_bytes, &mut incoming).map_err(failed)?;
            let url = hide_password(&location.to_string());
            let stored = incoming.finish_proved(&prove).map_err(|err| match err {
                Unkept::Refused(source) => unproved(url.clone(), source),
                Unkept::File(err) => failed(err.into()),
            })?;
            // Without this note the file is fetched once more.
            let _ = world.store.remember_proof(proof, &stored.sha256);
            Ok(Blob::file(stored, Origin::Mirror(url)))
        }
    }
}

/// Looks for the file in our cache and in those of the machine's package manager.
pub(super) fn cached(package: &Package, proof: &str, world: &World<'_>) -> Option<Blob> {
    let prove = |file: &mut dyn Read| check(proof, file);
    if let Some(stored) = world.store.get_proved(proof, package.size_bytes, &prove) {
        return Some(Blob::file(stored, Origin::Cache));
    }
    for path in archives(package, world) {
        match open_proved(&path, package.size_bytes, &prove) {
            Ok(stored) => return Some(Blob::file(stored, Origin::HostCache(path))),
            Err(Unproved::Refused(_) | Unproved::Unusable(Unusable::Differs)) => {
                world.detail(&format!("`{}` is not the file that the index lists", path.display()));
            }
            Err(Unproved::Unusable(_)) => {}
        }
    }
    None
}

/// Checks the signature that a package's file must have itself, and that it is the package that was asked for.
pub(super) fn check_seal(package: &Package, blob: &Blob, world: &World<'_>) -> Result<(), Error> {
    let (Some(seal), Some(stored)) = (package.seal.as_ref().filter(|_| world.verify), blob.stored()) else { return Ok(()) };
    let outcome = match &seal.place {
        SealPlace::Header => in_header(package, seal, stored, world),
        SealPlace::Beside | SealPlace::Index(_) => detached(package, seal, blob, stored, world),
    };
    let place = || match &blob.origin {
        Origin::HostCache(path) | Origin::Local(path) => path.display().to_string(),
        Origin::Mirror(url) => url.clone(),
        Origin::Cache | Origin::Installed => hide_password(&package.location.to_string()),
    };
    match outcome {
        Ok(()) => Ok(()),
        Err(SealError::Unsigned) if !seal.by.required => Ok(()),
        Err(source) => Err(Error::Seal { package: package.to_string(), place: place(), source: Box::new(source) }),
    }
}

fn in_header(package: &Package, seal: &Seal, stored: &Stored, world: &World<'_>) -> Result<(), SealError> {
    let signed = rpm::signature::read(&mut stored.open())?;
    if signed.signatures.is_empty() {
        return Err(SealError::Unsigned);
    }
    signed.check_digests(&mut stored.open())?;
    signed.check_identity(package)?;
    let mut refused = None;
    let (mut is_signed, mut is_covered) = (false, false);
    for signature in &signed.signatures {
        let verdict = match signature.covers {
            rpm::signature::Covers::Header => verify(&seal.by.signed_by, &mut || Ok(&signed.header[..]), &signature.bytes, world),
            rpm::signature::Covers::All => {
                verify(&seal.by.signed_by, &mut || from(stored, signed.header_at), &signature.bytes, world)
            }
        };
        match verdict {
            Ok(_) => {
                is_signed = true;
                is_covered |= signature.covers == rpm::signature::Covers::All || signed.has_payload_digest;
            }
            // A signature by a key that is known and over other data: something was changed.
            Err(err) if is_wrong(&err) => return Err(err.into()),
            Err(err) => {
                refused.get_or_insert(err);
            }
        }
    }
    match (is_signed, is_covered, refused) {
        (true, true, _) => Ok(()),
        (true, false, _) => Err(SealError::Uncovered),
        (false, _, Some(err)) => Err(err.into()),
        (false, _, None) => Err(SealError::Unsigned),
    }
}

fn is_wrong(err: &DoorError) -> bool {
    let error: &(dyn std::error::Error + 'static) = &*err.error;
    matches!(error.downcast_ref(), Some(SignatureError::Wrong { .. }))
}

/// Returns a reader of a file from a byte on.
fn from(stored: &Stored, at: u64) -> std::io::Result<VerifiedReader> {
    let mut reader = stored.open();
    std::io::copy(&mut reader.by_ref().take(at), &mut std::io::sink())?;
    Ok(reader)
}

fn detached(package: &Package, seal: &Seal, blob: &Blob, stored: &Stored, world: &World<'_>) -> Result<(), SealError> {
    let mut refused = None;
    let mut is_good = |signature: &[u8]| match verify(&seal.by.signed_by, &mut || Ok(stored.open()), signature, world) {
        Ok(_) => true,
        Err(err) => {
            refused.get_or_insert(err);
            false
        }
    };
    let mut is_signed = false;
    if let SealPlace::Index(text) = &seal.place {
        is_signed = is_good(&decode(text).map_err(|_| SealError::Malformed)?);
    }
    let mut fetched = Ok(None);
    if !is_signed {
        let kept = beside(package, blob, world).into_iter().chain(world.store.signature(&stored.sha256));
        is_signed = kept.into_iter().any(|signature| is_good(&signature));
    }
    if !is_signed && let Location::Url(url) = &package.location {
        fetched = fetch_signature(url, world);
        if let Ok(Some(signature)) = &fetched
            && is_good(signature)
        {
            is_signed = true;
            // Without it the signature is fetched once more.
            let _ = world.store.keep_signature(&stored.sha256, signature);
        }
    }
    match (is_signed, refused, fetched) {
        (true, _, _) => {
            // The signature says that the file is one of theirs, the file says which.
            let info = alpm::read::info(&mut stored.open())?;
            Ok(alpm::read::check_identity(&info, package)?)
        }
        (false, Some(err), _) => Err(err.into()),
        (false, None, Err(err)) => Err(err.into()),
        (false, None, Ok(_)) => Err(SealError::Unsigned),
    }
}

/// Returns the signatures that lie beside the file, and beside it in the caches of the machine's package manager.
fn beside(package: &Package, blob: &Blob, world: &World<'_>) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = match &blob.origin {
        Origin::Local(path) | Origin::HostCache(path) => vec![path.clone()],
        _ => Vec::new(),
    };
    for path in archives(package, world) {
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    let signature = |path: &PathBuf| {
        let mut name = path.as_os_str().to_owned();
        name.push(".sig");
        // What cannot be read vouches for nothing.
        fs::read_optional(Path::new(&name), SIGNATURE_BYTES_MAX).ok().flatten()
    };
    paths.iter().filter_map(signature).collect()
}

fn fetch_signature(url: &str, world: &World<'_>) -> Result<Option<Vec<u8>>, FetchError> {
    match world.fetcher.fetch(&Location::Url(format!("{url}.sig")), SIGNATURE_BYTES_MAX) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(err) if err.is_absent() => Ok(None),
        Err(err) => Err(err),
    }
}

/// Tells who signed what `open` gives of a package, if one of the keys meant did.
fn verify<R: Read>(
    signed_by: &SignedBy,
    open: &mut dyn FnMut() -> std::io::Result<R>,
    signature: &[u8],
    world: &World<'_>,
) -> Result<Signer, DoorError> {
    judged(signed_by, &mut |keyring| keyring.verify_package(open, signature, world.now), world)
}

/// Lets `judge` decide by the keys meant, and where those do not know the signer by those that we carry, if they may stand in.
pub(super) fn judged(
    signed_by: &SignedBy,
    judge: &mut dyn FnMut(&Keyring) -> Result<Signer, SignatureError>,
    world: &World<'_>,
) -> Result<Signer, DoorError> {
    let keyring = shared_keyring(signed_by, world).map_err(DoorError::new)?;
    match judge(&keyring) {
        Err(SignatureError::UnknownKey { .. } | SignatureError::Expired { .. }) if signed_by.shipped => {
            let mut keyring = (*keyring).clone();
            keyring.append(world.shipped_keys());
            judge(&keyring).map_err(DoorError::new)
        }
        verdict => verdict.map_err(DoorError::new),
    }
}

/// The keys that may sign, read once: Arch's take a while, and all packages have the same.
fn shared_keyring(signed_by: &SignedBy, world: &World<'_>) -> Result<Arc<Keyring>, KeyringError> {
    let mut known = world.keyrings.lock().expect("invariant: no thread panics with the lock");
    if let Some((_, keyring)) = known.iter().find(|(meant, _)| meant == signed_by) {
        return Ok(keyring.clone());
    }
    let keyring = Arc::new(world.keyring(signed_by)?);
    known.push((signed_by.clone(), keyring.clone()));
    Ok(keyring)
}
