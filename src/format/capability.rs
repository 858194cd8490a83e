//! File capabilities as the kernel stores them in `security.capability`, shown as `getcap` shows them.
//!
//! Format: `struct vfs_cap_data` and `struct vfs_ns_cap_data` of linux/capability.h.

use std::fmt::Write;

/// The capabilities by number (linux/capability.h, unchanged since 5.9).
const NAMES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// Returns the text of an attribute, `cap_net_raw=ep`; nothing when it is not one.
pub fn text(attribute: &[u8]) -> Option<String> {
    let word = |index: usize| {
        attribute.get(index * 4..index * 4 + 4).and_then(|bytes| bytes.first_chunk()).map(|bytes| u32::from_le_bytes(*bytes))
    };
    let magic = word(0)?;
    let pairs = match (magic >> 24, attribute.len()) {
        (1, 12) => 1,
        (2, 20) | (3, 24) => 2,
        _ => return None,
    };
    let effective = magic & 1 == 1;
    let mut text = String::new();
    for (flag, offset) in [("p", 1), ("i", 2)] {
        let set = (0..pairs).try_fold(0u64, |set, pair| Some(set | u64::from(word(offset + 2 * pair)?) << (32 * pair)))?;
        if set == 0 {
            continue;
        }
        let names = (0..64).filter(|bit| set >> bit & 1 == 1).map(|bit| match NAMES.get(bit) {
            Some(name) => format!("cap_{name}"),
            None => bit.to_string(),
        });
        let separator = if text.is_empty() { "" } else { " " };
        let effect = if effective { "e" } else { "" };
        write!(text, "{separator}{}={effect}{flag}", names.collect::<Vec<_>>().join(",")).ok()?;
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_read_as_getcap_shows_them() {
        let v2 = |magic: u32, permitted: u32| [magic, permitted, 0, 0, 0].map(u32::to_le_bytes).concat();
        assert_eq!(text(&v2(0x0200_0001, 1 << 13)).as_deref(), Some("cap_net_raw=ep"));
        assert_eq!(text(&v2(0x0200_0000, 1 << 12 | 1 << 13)).as_deref(), Some("cap_net_admin,cap_net_raw=p"));
        assert_eq!(text(&v2(0x0400_0000, 1)), None);
        assert_eq!(text(b""), None);
    }
}
