//! Words about trust that families and the store share: who may sign, who signed, what was seen before.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::date::Seconds;
use super::digest::Sha256;

/// A key that may sign a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyRef {
    /// All certificates of a file.
    File(PathBuf),
    /// A certificate, or a subkey, among those that the machine trusts for repositories; 40 or 64 hexadecimal digits.
    Fingerprint(String),
    /// The keyrings of a directory by the rules of pacman-key: of those that have a list of main keys, these and whom enough of them vouch for.
    Endorsed(PathBuf),
    /// All certificates of the keyrings of such a directory but those that its lists call revoked.
    Every(PathBuf),
    /// An armoured block that stood in the sources file itself.
    Block(String),
}

/// Which keys may sign a repository.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SignedBy {
    /// The keys named; none means those that the machine trusts for every repository.
    pub keys: Vec<KeyRef>,
    /// Whether the archive keys of the distribution that we carry may stand in where the machine's do not know the signer.
    pub shipped: bool,
}

/// How the packages of an index are signed themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seals {
    /// The keys that may have made the signatures.
    pub signed_by: SignedBy,
    /// Whether a package without one is refused. If not, the index is signed and vouches for its packages; a signature that is there must
    /// still be good.
    pub required: bool,
}

/// Where a package's own signature is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SealPlace {
    /// In the file's own header (RPM).
    Header,
    /// In a file beside it, of the same name with `.sig` behind (ALPM).
    Beside,
    /// In the index, in base64 (ALPM).
    Index(String),
}

/// A package's own signature, which its file is held against besides what the index says of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// Who may have made it, and whether it must be there.
    pub by: Seals,
    /// Where it is.
    pub place: SealPlace,
}

/// Who made a good signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signer {
    /// Fingerprint of the certificate, upper-case hexadecimal.
    pub fingerprint: String,
    /// Fingerprint of the key in it that signed.
    pub key: String,
    /// The file that the certificate came from.
    pub file: String,
}

/// The digest that an RSA signature is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RsaHash {
    /// SHA-1: all of Alpine's indexes so far.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

/// A signature by a key that is known by the name of its file, as apk's are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RsaSignature {
    /// The digest.
    pub hash: RsaHash,
    /// The file name of the key: `alpine-devel@lists.alpinelinux.org-6165ee59.rsa.pub`.
    pub key: String,
    /// The signature itself, by PKCS #1 v1.5.
    pub bytes: Vec<u8>,
}

/// The newest verified release file of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Address and suite, for people who look.
    pub repository: String,
    /// Its `Date`.
    pub date: Seconds,
    /// Digest of the text that was signed.
    pub text: Sha256,
    /// When it was fetched.
    pub fetched: Seconds,
    /// The files that it came in, by name (`InRelease`, or `Release` and `Release.gpg`), in the store.
    pub files: Vec<(String, Sha256)>,
}

/// Returns a URL without the user and password that it may carry, for messages.
pub fn hide_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    match rest[..end].rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://***@{host}{}", &rest[end..]),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c11_passwords_are_not_shown() {
        assert_eq!(hide_password("http://me:secret@host/a@b"), "http://***@host/a@b");
        assert_eq!(hide_password("http://host/a"), "http://host/a");
        assert_eq!(hide_password("/a/b"), "/a/b");
    }
}
