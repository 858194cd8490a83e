//! Signing keys of distributions that we carry: what they are and where they come from is in `distro-profiles/keys/README.md`.
//!
//! They are a word on their own distribution's repositories, and on no other's.

/// Keys of one distribution.
pub struct Keys {
    /// The profiles that they are for, by name.
    pub distros: &'static [&'static str],
    /// File name and content of each: OpenPGP certificates, armoured or binary, or, for apk, one RSA key in PEM.
    pub files: &'static [(&'static str, &'static [u8])],
    /// The lists of main and of revoked keys that come with a keyring of pacman's kind.
    pub lists: Option<(&'static str, &'static str)>,
}

/// Returns the keys of a distribution, if we carry any.
pub fn of(distro: &str) -> impl Iterator<Item = &'static Keys> {
    KEYS.iter().filter(move |keys| keys.distros.contains(&distro))
}

/// Tells whether a file holds an RSA key of apk's, and no certificate.
pub fn is_rsa(name: &str) -> bool {
    name.ends_with(".rsa.pub")
}

/// Returns what is told as the file that a key came from.
pub fn place(name: &str) -> String {
    format!("{name} (shipped with mkinitrd-pkg)")
}

/// Returns an RSA key of a distribution by its name, which is what a signature of apk's calls it.
pub fn rsa(distro: &str, name: &str) -> Option<&'static [u8]> {
    of(distro).flat_map(|keys| keys.files).find(|(file, _)| is_rsa(file) && *file == name).map(|(_, pem)| *pem)
}

macro_rules! files {
    ($dir:literal: $($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("../../distro-profiles/keys/", $dir, "/", $name)))),*]
    };
}

/// Everything we carry.
pub const KEYS: &[Keys] = &[
    Keys {
        distros: &["debian"],
        files: files![
            "debian":
            "debian-archive-bookworm-automatic.asc",
            "debian-archive-bookworm-security-automatic.asc",
            "debian-archive-bookworm-stable.asc",
            "debian-archive-trixie-automatic.asc",
            "debian-archive-trixie-security-automatic.asc",
            "debian-archive-trixie-stable.asc",
        ],
        lists: None,
    },
    Keys {
        distros: &["ubuntu"],
        files: files![
            "ubuntu":
            "ubuntu-archive-keyring.gpg",
        ],
        lists: None,
    },
    Keys {
        distros: &["fedora"],
        files: files![
            "fedora":
            "RPM-GPG-KEY-fedora-42-primary",
            "RPM-GPG-KEY-fedora-43-primary",
            "RPM-GPG-KEY-fedora-44-primary",
            "RPM-GPG-KEY-fedora-45-primary",
            "RPM-GPG-KEY-fedora-46-primary",
            "RPM-GPG-KEY-fedora-47-primary",
        ],
        lists: None,
    },
    Keys {
        distros: &["centos"],
        files: files![
            "centos":
            "RPM-GPG-KEY-CentOS-Official-SHA256",
        ],
        lists: None,
    },
    Keys {
        distros: &["rhel"],
        files: files![
            "rhel":
            "RPM-GPG-KEY-redhat10-release-without-PQC",
        ],
        lists: None,
    },
    Keys {
        distros: &["almalinux"],
        files: files![
            "almalinux":
            "RPM-GPG-KEY-AlmaLinux-10",
            "RPM-GPG-KEY-AlmaLinux-8",
            "RPM-GPG-KEY-AlmaLinux-9",
        ],
        lists: None,
    },
    Keys {
        distros: &["rocky"],
        files: files![
            "rocky":
            "RPM-GPG-KEY-Rocky-10",
            "RPM-GPG-KEY-Rocky-9",
            "RPM-GPG-KEY-rockyofficial",
        ],
        lists: None,
    },
    Keys {
        distros: &["azurelinux"],
        files: files![
            "azurelinux":
            "MICROSOFT-METADATA-GPG-KEY",
            "MICROSOFT-RPM-GPG-KEY",
        ],
        lists: None,
    },
    Keys {
        distros: &["opensuse", "opensuse-leap", "opensuse-tumbleweed"],
        files: files![
            "opensuse":
            "RPM-GPG-KEY-SuSE-ALP-Main",
            "RPM-GPG-KEY-SuSE-SLE-15",
            "RPM-GPG-KEY-openSUSE-16-Backports",
            "RPM-GPG-KEY-openSUSE-2022",
            "RPM-GPG-KEY-openSUSE-Backports-2023",
            "RPM-GPG-KEY-openSUSE-Leap-SLE",
        ],
        lists: None,
    },
    Keys {
        distros: &["arch"],
        files: files![
            "arch":
            "archlinux.gpg",
        ],
        lists: Some((
            include_str!("../../distro-profiles/keys/arch/archlinux-trusted"),
            include_str!("../../distro-profiles/keys/arch/archlinux-revoked"),
        )),
    },
    Keys {
        distros: &["alpine", "postmarketos"],
        files: files![
            "alpine":
            "alpine-devel@lists.alpinelinux.org-4a6a0840.rsa.pub",
            "alpine-devel@lists.alpinelinux.org-5243ef4b.rsa.pub",
            "alpine-devel@lists.alpinelinux.org-524d27bb.rsa.pub",
            "alpine-devel@lists.alpinelinux.org-5261cecb.rsa.pub",
            "alpine-devel@lists.alpinelinux.org-58199dcc.rsa.pub",
            "alpine-devel@lists.alpinelinux.org-58cbb476.rsa.pub",
            "alpine-devel@lists.alpinelinux.org-58e4f17d.rsa.pub",
            "alpine-devel@lists.alpinelinux.org-5e69ca50.rsa.pub",
            "alpine-devel@lists.alpinelinux.org-60ac2099.rsa.pub",
            "alpine-devel@lists.alpinelinux.org-6165ee59.rsa.pub",
            "alpine-devel@lists.alpinelinux.org-61666e3f.rsa.pub",
            "alpine-devel@lists.alpinelinux.org-616a9724.rsa.pub",
            "alpine-devel@lists.alpinelinux.org-616abc23.rsa.pub",
            "alpine-devel@lists.alpinelinux.org-616ac3bc.rsa.pub",
            "alpine-devel@lists.alpinelinux.org-616adfeb.rsa.pub",
            "alpine-devel@lists.alpinelinux.org-616ae350.rsa.pub",
            "alpine-devel@lists.alpinelinux.org-616db30d.rsa.pub",
            "alpine-devel@lists.alpinelinux.org-66ba20fe.rsa.pub",
        ],
        lists: None,
    },
    Keys {
        distros: &["postmarketos"],
        files: files![
            "postmarketos":
            "build.postmarketos.org.rsa.pub",
        ],
        lists: None,
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::base::digest::Sha256;
    use crate::store::keyring::Keyring;
    use crate::store::rsa;

    const README: &str = include_str!("../../distro-profiles/keys/README.md");

    /// File and fingerprint of each row of the table.
    fn listed() -> BTreeSet<(String, String)> {
        let row = |line: &str| {
            let (file, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
            let (fingerprint, _) = rest.split_once(" | ")?;
            fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| (file.to_owned(), fingerprint.to_owned()))
        };
        README.lines().filter_map(row).collect()
    }

    #[test]
    fn every_key_is_read_and_listed_by_its_fingerprint() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("distro-profiles/keys");
        let mut found = BTreeSet::new();
        let mut carried = BTreeSet::new();
        for (name, bytes) in KEYS.iter().flat_map(|keys| keys.files) {
            let dirs = std::fs::read_dir(&root).expect("the directory").map(|dir| dir.expect("a directory").path());
            let path = dirs.map(|dir| dir.join(name)).find(|path| path.is_file()).expect("the file");
            let path = path.strip_prefix(&root).expect("below it").display().to_string();
            let fingerprints = if is_rsa(name) {
                let der = rsa::der(bytes).expect("a key in PEM");
                vec![Sha256::of(&der).to_string().to_uppercase()]
            } else {
                let mut keyring = Keyring::new();
                keyring.add(bytes, name).expect("certificates");
                keyring.fingerprints()
            };
            if path != "arch/archlinux.gpg" {
                found.extend(fingerprints.into_iter().map(|fingerprint| (path.clone(), fingerprint)));
            }
            carried.insert(path);
        }
        assert_eq!(found, listed());
        let mut there = BTreeSet::new();
        for dir in
            std::fs::read_dir(&root).expect("the directory").map(|dir| dir.expect("an entry").path()).filter(|dir| dir.is_dir())
        {
            for file in std::fs::read_dir(&dir).expect("a directory") {
                there.insert(file.expect("a file").path().strip_prefix(&root).expect("below it").display().to_string());
            }
        }
        there.retain(|path| !path.ends_with("-trusted") && !path.ends_with("-revoked"));
        assert_eq!(carried, there, "what lies there is carried");
    }

    /// The main keys are in the keyring, and vouch for packagers.
    #[test]
    fn archs_main_keys_vouch_for_its_packagers() {
        let (main, revoked) = of("arch").find_map(|keys| keys.lists).expect("lists");
        let fingerprints = |text: &str| text.lines().map(|line| line[..40].to_owned()).collect::<Vec<_>>();
        let keyring = Keyring::shipped("arch");
        // As of the day of the package: keys expire.
        let then = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_788_900_000);
        let endorsed = keyring.endorsed(&fingerprints(main), &fingerprints(revoked), then).fingerprints();
        assert!(fingerprints(main).iter().all(|key| endorsed.contains(key)));
        assert!(endorsed.len() > 30 && endorsed.len() < keyring.fingerprints().len(), "{}", endorsed.len());
        assert!(fingerprints(revoked).iter().all(|key| !endorsed.contains(key)));
        assert!(keyring.endorsed(&[], &fingerprints(revoked), then).is_empty(), "nobody vouches for anybody");
    }
}
