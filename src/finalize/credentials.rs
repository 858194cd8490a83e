//! Passphrases and PINs for LUKS out of credentials, for a systemd whose generated units do not import them.
//!
//! Since 254 the unit that `systemd-cryptsetup-generator` writes imports `cryptsetup.*` by itself; 252 (bookworm) reads the
//! credentials but its unit does not have them. So the step looks for that line in the generator and in systemd's own library.

use super::{Context, Error, Notes};
use crate::tree::{Tree, TreePath};

const GENERATOR: &str = "usr/lib/systemd/system-generators/systemd-cryptsetup-generator";
const DROP_IN: &str = "usr/lib/systemd/system/systemd-cryptsetup@.service.d/10-mkinitrd-pkg-credentials.conf";
/// Without a path each is inherited from PID 1, and one that is not there is no error.
const TEXT: &str = "[Service]
LoadCredential=cryptsetup.passphrase
LoadCredential=cryptsetup.fido2-pin
LoadCredential=cryptsetup.tpm2-pin
LoadCredential=cryptsetup.luks2-pin
LoadCredential=cryptsetup.pkcs11-pin
";

pub(super) fn run(tree: &mut Tree, _: &Context<'_>, notes: &mut Notes) -> Result<(), Error> {
    let Some(generator) = tree.read(&TreePath::literal(GENERATOR)) else {
        return Ok(());
    };
    let imports = |bytes: &[u8]| memchr::memmem::find(bytes, b"ImportCredential=cryptsetup.").is_some();
    let by_itself = imports(generator.bytes())
        || tree
            .iter()
            .filter(|(path, _)| path.name().starts_with(b"libsystemd-shared-"))
            .filter_map(|(_, entry)| entry.content())
            .any(|library| imports(library.bytes()));
    if by_itself { Ok(()) } else { notes.file(tree, DROP_IN, TEXT) }
}

#[cfg(test)]
mod tests {
    use super::super::{Options, run_step};
    use super::*;
    use crate::tree::{Entry, Origin};

    #[test]
    fn only_an_old_generator_gets_the_drop_in() {
        let made = Origin::Made("test");
        for (library, wanted) in [("... ImportCredential=cryptsetup.*\n", false), ("old", true)] {
            let mut tree = Tree::new();
            tree.insert(&TreePath::literal(GENERATOR), Entry::file("elf", made.clone())).expect("a file");
            let shared = TreePath::literal("usr/lib/x/systemd/libsystemd-shared-1.so");
            tree.insert(&shared, Entry::file(library, made.clone())).expect("a file");
            run_step("credentials", &mut tree, &Options::default());
            assert_eq!(tree.get(&TreePath::literal(DROP_IN)).is_some(), wanted, "{library}");
        }
        let mut without = Tree::new();
        run_step("credentials", &mut without, &Options::default());
        assert!(without.is_empty());
    }
}
