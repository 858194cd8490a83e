//! What systemd-stub measures of an image into register 11 of a TPM, and what a key says that the register may be.
//!
//! The order of sections is that of the specification "Unified Kernel Image" of the UAPI group, the rest systemd's "TPM2 PCR Measurements
//! Made by systemd": for each section the register takes the digest of its name with a NUL and then that of its content; later in the boot
//! systemd-pcrextend adds a word for each phase. A policy is TPM2_PolicyPCR of the TPM 2.0 library, part 3; the file with the signatures
//! is described in systemd-measure(1). All digests are SHA-256, and so is the bank of the TPM.

use crate::base::base64::encode;
use crate::base::digest::Sha256;
use crate::base::error::{Diagnostic, ErrorKind};
use crate::base::trust::RsaHash;
use crate::host::policy::{self, PolicyKey};
use crate::store::rsa::{RsaError, fingerprint, verify};

/// The sections that are measured, in the order in which they are.
const MEASURED: [&str; 14] = [
    ".linux", ".osrel", ".cmdline", ".initrd", ".ucode", ".splash", ".dtb", ".uname", ".sbat", ".pcrpkey", ".profile",
    ".dtbauto", ".hwids", ".efifw",
];

/// The words that the phases of a boot add: a secret can be for the initrd alone, or for the system, too.
const PHASES: [&str; 4] = ["enter-initrd", "leave-initrd", "sysinit", "ready"];

/// TPM_CC_PolicyPCR; one selection, of the bank of SHA-256, with three bytes of bits, of which that of register 11 is set.
const POLICY_OF_REGISTER_11: [u8; 14] = [0, 0, 1, 0x7f, 0, 0, 0, 1, 0, 0x0b, 3, 0, 1 << 3, 0];

/// The value of a register.
type Register = [u8; 32];

/// The policies of an image cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The program failed.
    #[error(transparent)]
    Sign(#[from] policy::Error),
    /// What it gave back is no signature by the public key.
    #[error("the signature for register 11 is not by the public key that goes into the image")]
    OtherKey(#[source] RsaError),
    /// The public key is none that a TPM takes.
    #[error("the public key for register 11 cannot be used")]
    Key(#[source] RsaError),
}

impl Diagnostic for PolicyError {
    fn kind(&self) -> ErrorKind {
        match self {
            PolicyError::Sign(err) => err.kind(),
            PolicyError::OtherKey(_) | PolicyError::Key(_) => ErrorKind::Host,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            PolicyError::Sign(err) => err.hints(),
            PolicyError::OtherKey(_) => {
                vec![
                    "`--pcr-private-key` and `--pcr-public-key` have to be halves of one key; without the latter it is derived"
                        .to_owned(),
                ]
            }
            PolicyError::Key(_) => vec!["name an RSA key of 2048 bits in PEM, as `openssl genrsa 2048` makes one".to_owned()],
        }
    }
}

fn extended(register: &Register, bytes: &[u8]) -> Register {
    *Sha256::of(&[&register[..], Sha256::of(bytes).as_bytes()].concat()).as_bytes()
}

/// Returns register 11 as it is when the stub starts the kernel with these sections.
pub fn register_11(sections: &[(&str, &[u8])]) -> Register {
    let of = |name: &str| sections.iter().find(|(other, _)| *other == name).copied();
    MEASURED.iter().filter_map(|name| of(name)).fold([0; 32], |register, (name, content)| {
        let register = extended(&register, format!("{name}\0").as_bytes());
        extended(&register, content)
    })
}

/// Returns the register's values in the phases of the boot, from the initrd's on.
pub fn phases(register: Register) -> Vec<Register> {
    let after = |register: &mut Register, phase: &&str| {
        *register = extended(register, phase.as_bytes());
        Some(*register)
    };
    PHASES.iter().scan(register, after).collect()
}

fn policy(register: &Register) -> Register {
    *Sha256::of(&[&[0; 32], &POLICY_OF_REGISTER_11[..], Sha256::of(register).as_bytes()].concat()).as_bytes()
}

/// Returns the content of `.pcrsig`: for each phase a policy and its signature. Nothing without a private key.
pub fn signatures(register: Register, key: &PolicyKey) -> Result<Option<String>, PolicyError> {
    let named = hex(&fingerprint(key.name(), key.public_pem().as_bytes()).map_err(PolicyError::Key)?);
    let mut entries = Vec::new();
    for register in phases(register) {
        let policy = policy(&register);
        let Some(signature) = key.sign(&policy)? else { return Ok(None) };
        verify(key.name(), key.public_pem().as_bytes(), RsaHash::Sha256, &policy, &signature).map_err(PolicyError::OtherKey)?;
        // As Python writes JSON: ukify makes the same bytes.
        let (policy, signature) = (hex(&policy), encode(&signature));
        entries.push(format!(r#"{{"pcrs": [11], "pkfp": "{named}", "pol": "{policy}", "sig": "{signature}"}}"#));
    }
    Ok(Some(format!(r#"{{"sha256": [{}]}}"#, entries.join(", "))))
}

/// Returns the value as hexadecimal digits.
pub fn hex(register: &Register) -> String {
    Sha256::from_bytes(*register).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `systemd-measure calculate --bank=sha256` of systemd 252 says of the same two files.
    #[test]
    fn a_register_is_as_systemd_measure_says() {
        let sections = [(".osrel", &b"ID=test\n"[..]), (".linux", b"kernel"), (".pcrsig", b"not measured")];
        let values = phases(register_11(&sections));
        let values: Vec<String> = values.iter().map(hex).collect();
        let wanted = [
            "181caad1341af7ec0433dae463d0e8eb26442789f5f7f27730700a841cdaf5d6",
            "f52a8ee90cbc19c3a2cb14f0dbdeb67e1d513750fc94b7753d8c58ea62dab6ea",
            "41773def75d9f19c2427cfcbbeca414909cffe95a5fcf74d4dc39a33285672e1",
            "8d801d459b16a21517ea93c4757a89955b7bb3e704c88a24f51c9500db187f00",
        ];
        assert_eq!(values, wanted);
    }
}
