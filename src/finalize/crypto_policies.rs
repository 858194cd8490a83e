//! The links of the system-wide policy for cryptography (Fedora and its kin, openSUSE).
//!
//! The package `crypto-policies` has each back-end's configuration in `/usr/share/crypto-policies/POLICY/BACKEND.txt`; its script in Lua
//! makes a link `/etc/crypto-policies/back-ends/BACKEND.config` to each, writes the policy's name to `config` and `state/current`.
//! Configurations include the links (`/etc/pki/tls/openssl.cnf`), and OpenSSL refuses to start where an included file is missing.

use super::{Context, Error, Notes};
use crate::tree::{Tree, TreePath};

const SHARED: &str = "usr/share/crypto-policies";
const OWN: &str = "etc/crypto-policies";
/// Names of back-ends are words such as `opensslcnf`; longer ones are none.
const NAME_BYTES_MAX: usize = 64;
/// The policy where no file names another.
const DEFAULT: &str = "DEFAULT";

pub(super) fn run(tree: &mut Tree, _: &Context<'_>, notes: &mut Notes) -> Result<(), Error> {
    let config = TreePath::literal(&format!("{OWN}/config"));
    let named = tree.read(&config).map(|content| String::from_utf8_lossy(content.bytes()).into_owned());
    let named =
        named.as_deref().unwrap_or_default().lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    let wanted = named.unwrap_or(DEFAULT).to_owned();
    // `FIPS:OSPP` is a policy with a module, which the policy's own tool generates; its base is what there is as a file.
    let base = wanted.split(':').next().unwrap_or(DEFAULT);
    let files = policy(tree, base);
    let Some(files) = files.filter(|files| !files.is_empty()) else {
        if named.is_some() {
            notes.warn(format!(
                "`/{config}` names the policy `{wanted}`, and `/{SHARED}` has no files of it: programs use their own defaults"
            ));
        }
        return Ok(());
    };
    for file in files {
        let name = file.strip_suffix(".txt").unwrap_or(&file);
        let link = format!("{OWN}/back-ends/{name}.config");
        if tree.get(&TreePath::literal(&link)).is_none() {
            notes.link(tree, &link, &format!("/{SHARED}/{base}/{file}"))?;
        }
    }
    for path in [format!("{OWN}/config"), format!("{OWN}/state/current")] {
        if tree.get(&TreePath::literal(&path)).is_none() {
            notes.file(tree, &path, &format!("{wanted}\n"))?;
        }
    }
    Ok(())
}

/// Returns the names of a policy's files; nothing if there is no such policy.
fn policy(tree: &Tree, name: &str) -> Option<Vec<String>> {
    let directory = TreePath::literal(SHARED).join(name.as_bytes()).ok()?;
    tree.get(&directory)?;
    let is_back_end = |name: &&str| {
        name.ends_with(".txt") && name.len() <= NAME_BYTES_MAX && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
    };
    let names = tree.children(&directory).filter_map(|(path, _)| std::str::from_utf8(path.name()).ok());
    Some(names.filter(is_back_end).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::super::{Options, run_step};
    use super::*;
    use crate::tree::{Entry, Origin};

    fn tree(files: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::new();
        for (path, text) in files {
            tree.insert(&TreePath::literal(path), Entry::file(*text, Origin::Made("test"))).expect("a file");
        }
        tree
    }

    fn text(tree: &Tree, path: &str) -> Option<String> {
        tree.read(&TreePath::literal(path)).map(|content| String::from_utf8_lossy(content.bytes()).into_owned())
    }

    #[test]
    fn every_back_end_finds_the_files_of_the_policy() {
        let files = [
            ("usr/share/crypto-policies/DEFAULT/opensslcnf.txt", "MinProtocol = TLSv1.2\n"),
            ("usr/share/crypto-policies/DEFAULT/gnutls.txt", "x"),
            ("usr/share/crypto-policies/FIPS/gnutls.txt", "fips"),
        ];
        let mut made = tree(&files);
        run_step("crypto-policies", &mut made, &Options::default());
        assert_eq!(text(&made, "etc/crypto-policies/back-ends/opensslcnf.config").as_deref(), Some("MinProtocol = TLSv1.2\n"));
        assert_eq!(text(&made, "etc/crypto-policies/config").as_deref(), Some("DEFAULT\n"));

        let named = [&files[..], &[("etc/crypto-policies/config", "# of the administrator\nFIPS\n")]].concat();
        let mut made = tree(&named);
        run_step("crypto-policies", &mut made, &Options::default());
        assert_eq!(text(&made, "etc/crypto-policies/back-ends/gnutls.config").as_deref(), Some("fips"));
        assert_eq!(text(&made, "etc/crypto-policies/back-ends/opensslcnf.config"), None);

        let mut made = tree(&[("etc/crypto-policies/config", "LEGACY\n")]);
        let done = run_step("crypto-policies", &mut made, &Options::default());
        assert!(done.warnings[0].contains("LEGACY"), "{:?}", done.warnings);
        let mut made = tree(&[]);
        assert!(run_step("crypto-policies", &mut made, &Options::default()).effects.is_empty());
    }
}
