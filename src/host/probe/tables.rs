//! The tables that say what is mounted and opened: `/proc/self/mountinfo`, fstab, crypttab. Text in, lines out.

use crate::format::crypttab;

/// A mount, as `/proc/self/mountinfo` has it (proc_pid_mountinfo(5)).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mount {
    /// `MAJOR:MINOR` of its file system; major 0 where it is on no block device of its own.
    pub device: String,
    /// What of the file system is mounted: `/` for all of it, a subvolume, the source of a bind mount.
    pub part: String,
    /// Where.
    pub target: String,
    /// Options of this mount.
    pub options: String,
    /// The type of the file system.
    pub fstype: String,
    /// What is mounted.
    pub source: String,
    /// Options of the file system.
    pub super_options: String,
}

/// Reads mountinfo, in the order of mounting; lines that are none are passed over.
pub fn mounts(text: &str) -> Vec<Mount> {
    text.lines().filter_map(mount).collect()
}

fn mount(line: &str) -> Option<Mount> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let dash = words.iter().skip(6).position(|word| *word == "-")? + 6;
    Some(Mount {
        device: (*words.get(2)?).to_owned(),
        part: unescaped(words.get(3)?),
        target: unescaped(words.get(4)?),
        options: unescaped(words.get(5)?),
        fstype: unescaped(words.get(dash + 1)?),
        source: words.get(dash + 2).map(|word| unescaped(word)).unwrap_or_default(),
        super_options: words.get(dash + 3).map(|word| unescaped(word)).unwrap_or_default(),
    })
}

/// Returns what is mounted at a directory now: the last one covers the others.
pub fn mounted_at<'a>(mounts: &'a [Mount], target: &str) -> Option<&'a Mount> {
    mounts.iter().rev().find(|mount| mount.target == target)
}

/// Returns the mount that a path is on.
pub fn mount_of<'a>(mounts: &'a [Mount], path: &str) -> Option<&'a Mount> {
    let holds = |mount: &&Mount| {
        let target = mount.target.trim_end_matches('/');
        path.strip_prefix(target).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    mounts.iter().rev().filter(holds).max_by_key(|mount| mount.target.len())
}

/// A line of fstab(5).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// What: `UUID=…`, `/dev/…`, `server:/path`.
    pub source: String,
    /// Where; `none` for swap.
    pub target: String,
    /// The type; `auto` leaves it open.
    pub fstype: String,
    /// Options.
    pub options: String,
}

impl Entry {
    /// Tells whether an option is given.
    pub fn has(&self, option: &str) -> bool {
        self.options.split(',').any(|word| word == option)
    }
}

/// Reads fstab.
pub fn fstab(text: &str) -> Vec<Entry> {
    let line = |line: &str| {
        let mut words = line.split_ascii_whitespace().map(unescaped);
        Some(Entry {
            source: unquoted(&words.next()?),
            target: trimmed(&words.next()?),
            fstype: words.next()?,
            options: words.next().unwrap_or_default(),
        })
    };
    data_lines(text).filter_map(line).collect()
}

/// An entry of crypttab, with what the probe asks of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    /// The name of what it becomes below `/dev/mapper`.
    pub name: String,
    /// What is to be opened.
    pub source: String,
    /// The key field; nothing where a passphrase is asked for or the place by the entry's name is looked into.
    pub key: Option<String>,
    /// Options.
    pub options: String,
    /// The entry itself.
    pub entry: crypttab::Entry,
}

impl Locked {
    /// Returns the value of an option, empty for one without.
    pub fn option<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.entry.values(name).next().or_else(|| self.entry.has(name).then_some(""))
    }

    /// Tells whether it is opened in the initrd because it is marked so.
    pub fn is_marked(&self) -> bool {
        self.entry.is_marked()
    }

    /// Tells whether it gets another key with each boot, so that nothing on it outlives one.
    pub fn is_volatile(&self) -> bool {
        ["swap", "tmp"].iter().any(|option| self.option(option).is_some())
            || self.key.as_deref().is_some_and(|key| ["/dev/urandom", "/dev/random", "/dev/hw_random"].contains(&key))
    }
}

/// Reads crypttab; lines that systemd ignores are passed over.
pub fn crypttab(text: &str) -> Vec<Locked> {
    let locked = |entry: crypttab::Entry| Locked {
        name: entry.name.clone(),
        source: unquoted(&entry.device),
        key: entry.key.clone().filter(|word| !["-", "none"].contains(&word.as_str())),
        options: entry.options.join(","),
        entry,
    };
    crypttab::parse(text).into_iter().flatten().map(locked).collect()
}

fn data_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// `UUID="…"` is allowed, and means the same without quotes.
fn unquoted(source: &str) -> String {
    match source.split_once('=') {
        Some((tag, value)) => format!("{tag}={}", value.trim_matches('"')),
        None => source.trim_matches('"').to_owned(),
    }
}

/// `/usr/` is `/usr`.
fn trimmed(target: &str) -> String {
    let plain = target.trim_end_matches('/');
    if plain.is_empty() { target.to_owned() } else { plain.to_owned() }
}

/// Undoes what hides white space in these tables: `\040` is a space.
fn unescaped(word: &str) -> String {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        match after {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', left @ ..] if first == b'\\' => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = left;
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Returns the value of the last `name=value` on a kernel command line.
pub fn argument<'a>(command_line: &'a str, name: &str) -> Option<&'a str> {
    arguments(command_line).rev().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

/// Tells whether a word stands on a kernel command line, with or without a value.
pub fn has_argument(command_line: &str, name: &str) -> bool {
    arguments(command_line).any(|word| word == name || word.strip_prefix(name).is_some_and(|rest| rest.starts_with('=')))
}

/// Words up to `--`, behind which those for PID 1 stand.
fn arguments(command_line: &str) -> impl DoubleEndedIterator<Item = &str> {
    let words: Vec<&str> = command_line.split_ascii_whitespace().take_while(|word| *word != "--").collect();
    words.into_iter().map(|word| word.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read_with_their_optional_fields() {
        let text = "22 27 0:21 / /proc rw - proc proc rw\n\
            27 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw,discard\n\
            30 27 8:1 / /mnt/a\\040b ro - vfat /dev/sda1 ro\nbroken line\n- - - -\n\
            31 27 0:40 /@usr /usr ro - btrfs /dev/sdb rw,subvol=/@usr\n";
        let mounts = mounts(text);
        assert_eq!(mounts.len(), 4);
        assert_eq!(mounted_at(&mounts, "/").expect("a root").source, "/dev/vda");
        assert_eq!(mount_of(&mounts, "/mnt/a b/c").expect("a mount").fstype, "vfat");
        assert_eq!(mount_of(&mounts, "/mnt/a").expect("a mount").fstype, "ext4");
        assert_eq!(mount_of(&mounts, "/usr/lib").expect("a mount").part, "/@usr");
    }

    #[test]
    fn fstab_is_read_as_mount_does() {
        let entries = fstab("# c\nUUID=\"ab-c\" /usr/ ext4 ro,x-initrd.mount 0 1\n/dev/x\\040y / auto\n\ntmpfs\n");
        assert_eq!(entries.len(), 2);
        assert_eq!((entries[0].source.as_str(), entries[0].target.as_str()), ("UUID=ab-c", "/usr"));
        assert!(entries[0].has("x-initrd.mount") && !entries[0].has("x-initrd"));
        assert_eq!((entries[1].source.as_str(), entries[1].target.as_str()), ("/dev/x y", "/"));
    }

    #[test]
    fn crypttab_is_read_as_the_generator_does() {
        let lines =
            crypttab("root UUID=1 none luks,x-initrd.attach,tpm2-device=auto\nswap /dev/sda2 /dev/urandom swap\nodd\n a  b\n");
        assert_eq!(lines.len(), 3);
        assert!(lines[0].is_marked() && !lines[0].is_volatile() && lines[0].key.is_none());
        assert_eq!(lines[0].option("tpm2-device"), Some("auto"));
        assert_eq!(lines[0].option("tpm2"), None);
        assert!(lines[1].is_volatile() && !lines[1].is_marked());
        assert_eq!((lines[2].name.as_str(), lines[2].options.as_str()), ("a", ""));
    }

    #[test]
    fn the_last_argument_counts_and_those_of_pid_1_do_not() {
        let line = "root=/dev/a resume=/dev/b quiet resume=/dev/c -- resume=/dev/d";
        assert_eq!(argument(line, "resume"), Some("/dev/c"));
        assert_eq!(argument(line, "roo"), None);
        assert!(has_argument(line, "quiet") && has_argument(line, "root") && !has_argument(line, "--"));
    }
}
