//! RSA signatures as apk and TPM policies have them (PKCS #1 v1.5 over SHA-1, SHA-256 or SHA-512), and public keys in PEM. The only door
//! to rsa, which sees no private key.

use ::rsa::pkcs1::EncodeRsaPublicKey;
use ::rsa::pkcs8::DecodePublicKey;
use ::rsa::traits::PublicKeyParts;
use ::rsa::{Pkcs1v15Sign, RsaPublicKey};

use crate::base::base64::decode;
use crate::base::digest::{Sha1, Sha256, sha512};
use crate::base::error::{Diagnostic, ErrorKind};
use crate::base::trust::RsaHash;

/// The shortest key that counts. Alpine's oldest, of 2011, have 2048 bits; the formats' test suites use 2048, too.
const BITS_MIN: usize = 2048;
/// The longest: verifying takes time that grows with its square.
const BITS_MAX: usize = 8192;

/// What stands before a digest in a signature (RFC 8017, 9.2, note 1).
const SHA1_PREFIX: &[u8] = b"\x30\x21\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00\x04\x14";
const SHA256_PREFIX: &[u8] = b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20";
const SHA512_PREFIX: &[u8] = b"\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40";

/// A key does not vouch for the data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RsaError {
    /// The file holds no key.
    #[error("the key `{0}` is not an RSA public key in PEM")]
    NotAKey(String),
    /// The key can be broken, or is made to waste time.
    #[error("the key `{name}` has {bits} bits, wanted {BITS_MIN} to {BITS_MAX}")]
    Size {
        /// The key's file name.
        name: String,
        /// Its size.
        bits: usize,
    },
    /// The key is none of those that may sign.
    #[error("it was signed by `{0}`, which is none of the trusted keys")]
    Unknown(String),
    /// The signature is over other data.
    #[error("the signature by `{0}` does not fit: the data was changed or damaged")]
    Wrong(String),
    /// The data was made to have the digest of other data.
    #[error("the signature by `{0}` does not count: the data was made to have the SHA-1 digest of other data")]
    Collision(String),
}

impl Diagnostic for RsaError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Untrusted
    }

    fn hints(&self) -> Vec<String> {
        match self {
            RsaError::Unknown(name) => {
                vec![format!("if you trust it, put `{name}` into `/etc/apk/keys` or name it with `--keyring`")]
            }
            _ => Vec::new(),
        }
    }
}

/// Checks a signature; returns the key's fingerprint, the SHA-256 digest of its DER form in upper-case digits.
pub fn verify(name: &str, pem: &[u8], hash: RsaHash, data: &[u8], signature: &[u8]) -> Result<String, RsaError> {
    let der = der(pem).ok_or_else(|| RsaError::NotAKey(name.to_owned()))?;
    let key = RsaPublicKey::from_public_key_der(&der).map_err(|_| RsaError::NotAKey(name.to_owned()))?;
    let bits = key.size() * 8;
    if !(BITS_MIN..=BITS_MAX).contains(&bits) {
        return Err(RsaError::Size { name: name.to_owned(), bits });
    }
    let (prefix, digest) = match hash {
        RsaHash::Sha1 => (SHA1_PREFIX, Sha1::of(data).ok_or_else(|| RsaError::Collision(name.to_owned()))?.to_vec()),
        RsaHash::Sha256 => (SHA256_PREFIX, Sha256::of(data).as_bytes().to_vec()),
        RsaHash::Sha512 => (SHA512_PREFIX, sha512(data).to_vec()),
    };
    let scheme = Pkcs1v15Sign { hash_len: Some(digest.len()), prefix: prefix.into() };
    key.verify(scheme, &digest, signature).map_err(|_| RsaError::Wrong(name.to_owned()))?;
    Ok(Sha256::of(&der).to_string().to_uppercase())
}

/// Returns the SHA-256 digest of a public key as RFC 8017 writes it (RSAPublicKey), which is how systemd names one.
pub fn fingerprint(name: &str, pem: &[u8]) -> Result<[u8; 32], RsaError> {
    let not_a_key = || RsaError::NotAKey(name.to_owned());
    let key = RsaPublicKey::from_public_key_der(&der(pem).ok_or_else(not_a_key)?).map_err(|_| not_a_key())?;
    let der = key.to_pkcs1_der().map_err(|_| not_a_key())?;
    Ok(*Sha256::of(der.as_bytes()).as_bytes())
}

/// Returns what stands between the lines `-----BEGIN PUBLIC KEY-----` and `-----END PUBLIC KEY-----`.
pub(super) fn der(pem: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(pem).ok()?;
    let (_, rest) = text.split_once("-----BEGIN PUBLIC KEY-----")?;
    let (body, _) = rest.split_once("-----END PUBLIC KEY-----")?;
    decode(&body.split_ascii_whitespace().collect::<String>()).ok()
}
