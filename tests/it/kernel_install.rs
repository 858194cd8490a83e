//! The plugin and the hooks in a real trixie root, under the real kernel-install of systemd 257: faults B01 to B22.

#[path = "../live/root.rs"]
pub mod live;

use live::LiveRoot;

#[test]
fn the_root_is_private_and_real() {
    let (one, other) = (LiveRoot::new(), LiveRoot::new());
    assert!(one.must("kernel-install --version").starts_with("systemd 257"));
    one.must("echo changed >/etc/issue; test -c /dev/null; test -d /proc/self; ! test -e /sys/kernel");
    one.write("/etc/kernel/deep/er", b"given", 0o640);
    assert_eq!(one.read("/etc/issue").as_deref(), Some(&b"changed\n"[..]), "a change outlasts its command");
    assert_eq!(one.read("/etc/kernel/deep/er").as_deref(), Some(&b"given"[..]));
    assert_ne!(other.read("/etc/issue").as_deref(), Some(&b"changed\n"[..]), "and stays in its copy");
    assert_eq!(other.read("/etc/kernel/deep/er"), None);
}
