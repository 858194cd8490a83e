//! Which architectures run on which, as libsolv's table of policies has them.

/// For a machine's architecture those whose packages may be installed, the best first.
const POLICIES: [(&str, &[&str]); 20] = [
    ("x86_64", &["x86_64", "i686", "i586", "i486", "i386"]),
    ("x86_64_v2", &["x86_64_v2", "x86_64", "i686", "i586", "i486", "i386"]),
    ("x86_64_v3", &["x86_64_v3", "x86_64_v2", "x86_64", "i686", "i586", "i486", "i386"]),
    ("x86_64_v4", &["x86_64_v4", "x86_64_v3", "x86_64_v2", "x86_64", "i686", "i586", "i486", "i386"]),
    ("i686", &["i686", "i586", "i486", "i386"]),
    ("i586", &["i586", "i486", "i386"]),
    ("i486", &["i486", "i386"]),
    ("i386", &["i386"]),
    ("s390x", &["s390x", "s390"]),
    ("s390", &["s390"]),
    ("ppc64", &["ppc64", "ppc"]),
    ("ppc64p7", &["ppc64p7", "ppc64", "ppc"]),
    ("ppc", &["ppc"]),
    ("ppc64le", &["ppc64le"]),
    ("aarch64", &["aarch64"]),
    ("armv7hnl", &["armv7hnl", "armv7hl", "armv6hl"]),
    ("armv7hl", &["armv7hl", "armv6hl"]),
    ("armv6hl", &["armv6hl"]),
    ("riscv64", &["riscv64"]),
    ("loongarch64", &["loongarch64"]),
];

/// Returns the architectures whose packages may be installed on a machine of this one, the best first. `noarch` belongs
/// to all and is not among them.
pub fn compatible(arch: &str) -> Vec<String> {
    match POLICIES.iter().find(|(machine, _)| *machine == arch) {
        Some((_, list)) => list.iter().map(|name| (*name).to_owned()).collect(),
        None => vec![arch.to_owned()],
    }
}
