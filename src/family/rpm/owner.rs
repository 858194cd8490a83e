//! Numbers of the users and groups that packages name.
//!
//! A package says who owns a file by name. The names that every RPM distribution gives the same number (`/usr/share/doc/setup/uidgid`)
//! are known here. Whoever is not gets the overflow id, and nothing of theirs is setuid or setgid: that would be somebody else's right.

/// Nobody's number.
pub const NOBODY: u32 = 65534;

const USERS: [(&[u8], u32); 14] = [
    (b"root", 0),
    (b"bin", 1),
    (b"daemon", 2),
    (b"adm", 3),
    (b"lp", 4),
    (b"sync", 5),
    (b"shutdown", 6),
    (b"halt", 7),
    (b"mail", 8),
    (b"operator", 11),
    (b"games", 12),
    (b"ftp", 14),
    (b"dbus", 81),
    (b"nobody", NOBODY),
];

const GROUPS: [(&[u8], u32); 30] = [
    (b"root", 0),
    (b"bin", 1),
    (b"daemon", 2),
    (b"sys", 3),
    (b"adm", 4),
    (b"tty", 5),
    (b"disk", 6),
    (b"lp", 7),
    (b"mem", 8),
    (b"kmem", 9),
    (b"wheel", 10),
    (b"cdrom", 11),
    (b"mail", 12),
    (b"man", 15),
    (b"dialout", 18),
    (b"floppy", 19),
    (b"games", 20),
    (b"slocate", 21),
    (b"utmp", 22),
    (b"tape", 33),
    (b"utempter", 35),
    (b"kvm", 36),
    (b"video", 39),
    (b"ftp", 50),
    (b"lock", 54),
    (b"audio", 63),
    (b"dbus", 81),
    (b"users", 100),
    (b"systemd-journal", 190),
    (b"nobody", NOBODY),
];

fn find(names: &[(&[u8], u32)], name: &[u8]) -> Option<u32> {
    names.iter().find(|(known, _)| *known == name).map(|(_, id)| *id)
}

/// Returns the number of a user, if all distributions agree on it.
pub fn user(name: &[u8]) -> Option<u32> {
    find(&USERS, name)
}

/// Returns the number of a group, if all distributions agree on it.
pub fn group(name: &[u8]) -> Option<u32> {
    find(&GROUPS, name)
}
