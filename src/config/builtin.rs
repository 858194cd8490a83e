//! The profiles that the program carries. Each file of `distro-profiles/` stands here once.

/// Name and text of every built-in profile.
pub const PROFILES: [(&str, &str); 4] = [
    ("debian", include_str!("../../distro-profiles/debian.toml")),
    ("initrd", include_str!("../../distro-profiles/initrd.toml")),
    ("modules", include_str!("../../distro-profiles/modules.toml")),
    ("systemd", include_str!("../../distro-profiles/systemd.toml")),
];

/// Returns the text of a profile.
pub fn text(name: &str) -> Option<&'static str> {
    PROFILES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}
