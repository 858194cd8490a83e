//! What vouches for a package file in the file itself: signatures over the header, or over the header and the payload, and digests of both.
//!
//! Nothing here decides who may sign: it takes apart what is signed and compares what can be compared. Since rpm 4.14 the header holds a
//! digest of the payload, so that a signature over the header covers all of it; older packages have a second signature, over both.
//! Format: rpm's docs/manual/signatures_digests.md, format_v4.md, format_v6.md.

use std::io::{self, Read};

use super::header::{self, Beginning, Header, tag};
use super::read::{self, Identity};
use crate::base::base64::decode;
use crate::base::checksum::{AnyHasher, Checksum, Kind};
use crate::family::ReadError;
use crate::package::Package;

/// Bytes read at a time.
const BUFFER_BYTES: usize = 64 << 10;
/// Signatures of one package. A distribution makes one; version 6 allows more.
const SIGNATURES_MAX: usize = 16;

/// What a signature is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Covers {
    /// The header.
    Header,
    /// The header and the payload, as rpm made them before version 4.
    All,
}

/// A signature, not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// What it is over.
    pub covers: Covers,
    /// An OpenPGP signature packet.
    pub bytes: Vec<u8>,
}

/// What of a package file can be signed.
#[derive(Debug)]
pub struct Signed {
    /// The header as it stands in the file.
    pub header: Vec<u8>,
    /// Where it begins.
    pub header_at: u64,
    /// The signatures, those over the header first.
    pub signatures: Vec<Signature>,
    /// Whether the header has a digest of the payload that is compared.
    pub has_payload_digest: bool,
    identity: Identity,
    over_header: Vec<Claim>,
    over_payload: Vec<Claim>,
    over_all: Vec<Claim>,
    /// The size of header and payload that the file says.
    size_bytes: Option<u64>,
}

/// A digest that the file says.
#[derive(Debug)]
struct Claim {
    what: &'static str,
    checksum: Checksum,
}

/// Takes a package file apart, down to where its payload begins.
pub fn read(file: &mut dyn Read) -> Result<Signed, ReadError> {
    let Beginning { signature, main, main_at } = header::beginning(file)?;
    let over_payload = payload_claims(&main)?;
    Ok(Signed {
        header: main.raw(),
        header_at: main_at,
        signatures: signatures(&signature)?,
        has_payload_digest: !over_payload.is_empty(),
        identity: read::identify(&main)?,
        over_header: [
            claim(&signature, tag::SIG_SHA1, Kind::Sha1, "the header")?,
            claim(&signature, tag::SIG_SHA256, Kind::Sha256, "the header")?,
        ]
        .into_iter()
        .flatten()
        .collect(),
        over_payload,
        over_all: match signature.bytes(tag::SIG_MD5) {
            Some(raw) => {
                let digits: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
                vec![Claim { what: "header and payload", checksum: checksum(Kind::Md5, &digits)? }]
            }
            None => Vec::new(),
        },
        size_bytes: signature.number(tag::SIG_LONG_SIZE).or_else(|| signature.number(tag::SIG_SIZE)),
    })
}

fn checksum(kind: Kind, digits: &str) -> Result<Checksum, ReadError> {
    Checksum::parse(kind, digits).map_err(|err| ReadError::Format(format!("a digest in the package: {err}")))
}

fn claim(header: &Header, tag: u32, kind: Kind, what: &'static str) -> Result<Option<Claim>, ReadError> {
    match header.text(tag) {
        Some(digits) => Ok(Some(Claim { what, checksum: checksum(kind, &digits)? })),
        None => Ok(None),
    }
}

/// The digests of the payload that the header has. One of a kind that is not known here says nothing.
fn payload_claims(main: &Header) -> Result<Vec<Claim>, ReadError> {
    // OpenPGP's numbers.
    let kind = match main.number(tag::PAYLOAD_DIGEST_ALGO) {
        None | Some(8) => Some(Kind::Sha256),
        Some(9) => Some(Kind::Sha384),
        Some(10) => Some(Kind::Sha512),
        Some(11) => Some(Kind::Sha224),
        Some(_) => None,
    };
    let first = kind.map(|kind| claim(main, tag::PAYLOAD_DIGEST, kind, "the payload")).transpose()?.flatten();
    let second = claim(main, tag::PAYLOAD_SHA512, Kind::Sha512, "the payload")?;
    Ok(first.into_iter().chain(second).collect())
}

fn signatures(header: &Header) -> Result<Vec<Signature>, ReadError> {
    let mut found = Vec::new();
    for text in header.strings(tag::SIG_OPENPGP) {
        let bytes = std::str::from_utf8(text).ok().and_then(|text| decode(text).ok());
        let bytes = bytes.ok_or_else(|| ReadError::Format("a signature in the package is no base64".into()))?;
        found.push(Signature { covers: Covers::Header, bytes });
    }
    for (tag, covers) in
        [(tag::SIG_RSA, Covers::Header), (tag::SIG_DSA, Covers::Header), (tag::SIG_PGP, Covers::All), (tag::SIG_GPG, Covers::All)]
    {
        // Version 6 has the first of its signatures once more where version 4 looks for it.
        if let Some(bytes) = header.bytes(tag)
            && !found.iter().any(|other| other.bytes == bytes)
        {
            found.push(Signature { covers, bytes: bytes.to_vec() });
        }
    }
    if found.len() > SIGNATURES_MAX {
        return Err(ReadError::Limit { what: "the number of signatures".into(), limit: SIGNATURES_MAX.to_string() });
    }
    Ok(found)
}

impl Signed {
    /// Compares all digests and the size that the file says of itself with what `file`, from its first byte on, has.
    pub fn check_digests(&self, file: &mut dyn Read) -> Result<(), ReadError> {
        let header_bytes = self.header.len() as u64;
        io::copy(&mut Read::take(&mut *file, self.header_at), &mut io::sink())?;
        compare(&self.over_header, &mut Read::take(&mut &self.header[..], header_bytes))?;
        let mut all: Vec<AnyHasher> = self.over_all.iter().map(|claim| AnyHasher::new(claim.checksum.kind)).collect();
        let mut payload: Vec<AnyHasher> = self.over_payload.iter().map(|claim| AnyHasher::new(claim.checksum.kind)).collect();
        let mut header = Read::take(&mut *file, header_bytes);
        each(&mut header, &mut |bytes| all.iter_mut().for_each(|hasher| hasher.update(bytes)))?;
        let mut size_bytes = header_bytes;
        each(file, &mut |bytes| {
            size_bytes += bytes.len() as u64;
            all.iter_mut().chain(&mut payload).for_each(|hasher| hasher.update(bytes));
        })?;
        let claims = self.over_payload.iter().zip(payload).chain(self.over_all.iter().zip(all));
        for (claim, hasher) in claims {
            claim.check(hasher)?;
        }
        // The older field has only the lower half of a size.
        match self.size_bytes {
            Some(wanted) if wanted as u32 != size_bytes as u32 => {
                Err(ReadError::Format(format!("header and payload have {size_bytes} bytes, and the package says {wanted}")))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a package that is another than the repository lists.
    pub fn check_identity(&self, package: &Package) -> Result<(), ReadError> {
        read::check_identity(&self.identity, package)
    }
}

fn compare(claims: &[Claim], data: &mut dyn Read) -> Result<(), ReadError> {
    let mut hashers: Vec<AnyHasher> = claims.iter().map(|claim| AnyHasher::new(claim.checksum.kind)).collect();
    each(data, &mut |bytes| hashers.iter_mut().for_each(|hasher| hasher.update(bytes)))?;
    claims.iter().zip(hashers).try_for_each(|(claim, hasher)| claim.check(hasher))
}

fn each(data: &mut dyn Read, take: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match data.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => take(&buffer[..count]),
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
}

impl Claim {
    fn check(&self, hasher: AnyHasher) -> Result<(), ReadError> {
        let found = hasher.finish();
        if found.as_ref() == Some(&self.checksum) {
            return Ok(());
        }
        let found = found.map_or("a forged digest".to_owned(), |found| found.to_string());
        Err(ReadError::Format(format!("the digest of {} is {found}, and the package says {}", self.what, self.checksum)))
    }
}
