//! The profiles that the program carries. Each file of `distro-profiles/` stands here once.

/// Name and text of every built-in profile.
pub const PROFILES: &[(&str, &str)] = &[
    ("almalinux", include_str!("../../distro-profiles/almalinux.toml")),
    ("alpine", include_str!("../../distro-profiles/alpine.toml")),
    ("arch", include_str!("../../distro-profiles/arch.toml")),
    ("archarm", include_str!("../../distro-profiles/archarm.toml")),
    ("azurelinux", include_str!("../../distro-profiles/azurelinux.toml")),
    ("busybox", include_str!("../../distro-profiles/busybox.toml")),
    ("centos", include_str!("../../distro-profiles/centos.toml")),
    ("debian", include_str!("../../distro-profiles/debian.toml")),
    ("fedora", include_str!("../../distro-profiles/fedora.toml")),
    ("initrd", include_str!("../../distro-profiles/initrd.toml")),
    ("kali", include_str!("../../distro-profiles/kali.toml")),
    ("modules", include_str!("../../distro-profiles/modules.toml")),
    ("opensuse", include_str!("../../distro-profiles/opensuse.toml")),
    ("opensuse-leap", include_str!("../../distro-profiles/opensuse-leap.toml")),
    ("opensuse-tumbleweed", include_str!("../../distro-profiles/opensuse-tumbleweed.toml")),
    ("postmarketos", include_str!("../../distro-profiles/postmarketos.toml")),
    ("redhat", include_str!("../../distro-profiles/redhat.toml")),
    ("rhel", include_str!("../../distro-profiles/rhel.toml")),
    ("rocky", include_str!("../../distro-profiles/rocky.toml")),
    ("systemd", include_str!("../../distro-profiles/systemd.toml")),
    ("ubuntu", include_str!("../../distro-profiles/ubuntu.toml")),
];

/// Returns the text of a profile.
pub fn text(name: &str) -> Option<&'static str> {
    PROFILES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}
