//! `/etc/crypttab` as systemd reads it: crypttab(5) and `src/cryptsetup/cryptsetup-generator.c` of systemd 257.
//!
//! Fields are separated by blanks and have no escapes; of Debian's own dialect (crypttab(5) of `cryptsetup`) a few options are known.

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its line, from 1.
    pub line: usize,
    /// The name under `/dev/mapper`.
    pub name: String,
    /// What is opened: a path or `UUID=`, `LABEL=`, `PARTUUID=`, `PARTLABEL=`.
    pub device: String,
    /// The third field as it stands; nothing if it is not there.
    pub key: Option<String>,
    /// The fourth field, split.
    pub options: Vec<String>,
    /// What follows the fourth field: systemd passes over it.
    pub beyond: Option<String>,
}

/// A line that is no entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoEntry {
    /// Its number, from 1.
    pub line: usize,
}

/// Where the key of an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key<'a> {
    /// Nobody says: `/etc/cryptsetup-keys.d/NAME.key` if it is there, a token, or a person.
    Unsaid,
    /// In a file.
    File(&'a str),
    /// In a file of another file system, which is mounted for it.
    Elsewhere {
        /// The file there.
        path: &'a str,
        /// The device of that file system.
        device: &'a str,
    },
    /// A device is the key: `/dev/urandom`, a raw partition.
    Device(&'a str),
    /// Something that systemd does not understand.
    Word(&'a str),
}

/// A file that an entry names, and which is on the same file system as crypttab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The absolute path.
    pub path: String,
    /// What it is.
    pub what: What,
    /// The entry does without it.
    pub optional: bool,
}

/// What a named file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A key.
    Key,
    /// A detached header.
    Header,
    /// A policy of a TPM: signed or sealed.
    Policy,
}

impl What {
    /// Returns the word for messages.
    pub fn name(self) -> &'static str {
        match self {
            What::Key => "key",
            What::Header => "header",
            What::Policy => "policy",
        }
    }
}

/// What systemd does with an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// It does what crypttab(5) says.
    Known,
    /// Only Debian's tools know it, in the place of `x-initrd.attach`.
    Attach,
    /// Only Debian's tools know it, and it decides nothing in an initrd.
    Idle,
    /// Nobody here knows it.
    Unknown,
}

/// Options that name a file.
const NAMING: [(&str, What); 4] =
    [("header", What::Header), ("tcrypt-keyfile", What::Key), ("tpm2-signature", What::Policy), ("tpm2-pcrlock", What::Policy)];
/// Directories that are made anew at each boot.
const MADE_AT_BOOT: [&str; 4] = ["/dev/", "/proc/", "/run/", "/sys/"];

/// Options that stand alone.
pub const FLAGS: &[&str] = &[
    "_netdev",
    "allow-discards",
    "auto",
    "bitlk",
    "discard",
    "fail",
    "headless",
    "keyfile-timeout",
    "luks",
    "no-read-workqueue",
    "no-write-workqueue",
    "noauto",
    "nofail",
    "plain",
    "read-only",
    "readonly",
    "same-cpu-crypt",
    "submit-from-crypt-cpus",
    "swap",
    "tcrypt",
    "tcrypt-hidden",
    "tcrypt-system",
    "tcrypt-veracrypt",
    "tcrypthidden",
    "tmp",
    "try-empty-password",
    "verify",
    "veracrypt",
    "x-initrd.attach",
];

/// Options with a value.
pub const VALUES: &[&str] = &[
    "cipher",
    "fido2-cid",
    "fido2-device",
    "fido2-pin",
    "fido2-rp",
    "fido2-up",
    "fido2-uv",
    "hash",
    "header",
    "headless",
    "key-slot",
    "keyfile-erase",
    "keyfile-offset",
    "keyfile-size",
    "keyfile-timeout",
    "keyslot",
    "link-volume-key",
    "offset",
    "password-cache",
    "password-echo",
    "pkcs11-uri",
    "sector-size",
    "size",
    "skip",
    "tcrypt-keyfile",
    "timeout",
    "tmp",
    "token-timeout",
    "tpm2-device",
    "tpm2-measure-bank",
    "tpm2-measure-pcr",
    "tpm2-pcrlock",
    "tpm2-pcrs",
    "tpm2-pin",
    "tpm2-signature",
    "tries",
    "try-empty-password",
    "veracrypt-pim",
    "x-systemd.device-timeout",
];

/// Options of Debian's tools that say when and how loudly their own scripts work.
const IDLE: &[&str] = &["loud", "noearly", "quiet"];

/// Returns what systemd does with an option.
pub fn meaning(option: &str) -> Meaning {
    let known = match option.split_once('=') {
        Some((name, _)) => VALUES.contains(&name),
        // An option may be nothing, as in `luks,`, and `keyfile-erase` stands alone, too.
        None => option.is_empty() || option == "keyfile-erase" || FLAGS.contains(&option),
    };
    match option {
        _ if known => Meaning::Known,
        "initramfs" => Meaning::Attach,
        idle if IDLE.contains(&idle) => Meaning::Idle,
        _ => Meaning::Unknown,
    }
}

/// Reads a file; comments and blank lines are passed over.
pub fn parse(text: &str) -> Vec<Result<Entry, NoEntry>> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines.map(|(number, line)| entry(number, line)).collect()
}

fn entry(line: usize, text: &str) -> Result<Entry, NoEntry> {
    let mut words = text.split_ascii_whitespace();
    let (Some(name), Some(device)) = (words.next(), words.next()) else { return Err(NoEntry { line }) };
    let key = words.next().map(str::to_owned);
    let options = words.next().map(split_options).unwrap_or_default();
    let rest = words.collect::<Vec<_>>().join(" ");
    let beyond = Some(rest).filter(|rest| !rest.is_empty());
    Ok(Entry { line, name: name.to_owned(), device: device.to_owned(), key, options, beyond })
}

/// Splits at commas; `\,` is a comma of the option's own.
fn split_options(text: &str) -> Vec<String> {
    let mut options = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        let last = options.last_mut().expect("invariant: there is always one");
        match char {
            '\\' if chars.peek() == Some(&',') => last.extend(chars.next()),
            ',' => options.push(String::new()),
            char => last.push(char),
        }
    }
    options.retain(|option| !option.is_empty());
    options
}

impl Entry {
    /// Tells whether it has an option that stands alone.
    pub fn has(&self, flag: &str) -> bool {
        self.options.iter().any(|option| option == flag)
    }

    /// Returns the values of an option.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.options
            .iter()
            .filter_map(|option| option.split_once('='))
            .filter(move |(key, _)| *key == name)
            .map(|(_, value)| value)
    }

    /// Tells whether it says of itself that it belongs into an initrd.
    pub fn is_marked(&self) -> bool {
        self.has("x-initrd.attach") || self.has("initramfs")
    }

    /// Returns where its key is.
    pub fn key(&self) -> Key<'_> {
        let Some(text) = self.key.as_deref().filter(|text| !matches!(*text, "-" | "none")) else { return Key::Unsaid };
        place(text)
    }

    /// Returns the files that it names, as far as they lie where crypttab does.
    pub fn files(&self) -> Vec<Named> {
        let named = |path: &str, what| Named { path: path.to_owned(), what, optional: false };
        let mut files = Vec::new();
        match self.key() {
            Key::Unsaid => {
                let path = format!("/etc/cryptsetup-keys.d/{}.key", self.name);
                files.push(Named { path, what: What::Key, optional: true });
            }
            Key::File(path) => files.push(named(path, What::Key)),
            _ => {}
        }
        for (option, what) in NAMING {
            let paths = self.values(option).filter_map(|value| match place(value) {
                Key::File(path) => Some(path),
                _ => None,
            });
            files.extend(paths.map(|path| named(path, what)));
        }
        files.retain(|file| !MADE_AT_BOOT.iter().any(|directory| file.path.starts_with(directory)));
        files
    }

    /// Returns a key or a header that is named by something else than an absolute path or a device, as systemd does not understand it.
    pub fn misnamed(&self) -> Option<(What, &str)> {
        let options = NAMING.iter().flat_map(|(option, what)| self.values(option).map(|value| (*what, place(value))));
        let mut places = std::iter::once((What::Key, self.key())).chain(options);
        places.find_map(|(what, place)| match place {
            Key::Word(text) => Some((what, text)),
            _ => None,
        })
    }

    /// Returns the line for systemd.
    pub fn to_line(&self) -> String {
        let key = self.key.as_deref().unwrap_or("none");
        let options: Vec<String> = self.options.iter().map(|option| option.replace(',', "\\,")).collect();
        match options.is_empty() {
            true => format!("{} {} {key}\n", self.name, self.device),
            false => format!("{} {} {key} {}\n", self.name, self.device, options.join(",")),
        }
    }
}

/// Returns where a key or a header is that a field names.
pub fn place(text: &str) -> Key<'_> {
    // As systemd guesses: behind the last colon there is a device, or the colon belongs to the name of the file.
    let split = text.rsplit_once(':').filter(|(_, device)| device.starts_with("/dev/") || is_tagged(device));
    match split {
        Some((path, device)) => Key::Elsewhere { path, device },
        None if text.starts_with("/dev/") => Key::Device(text),
        None if text.starts_with('/') => Key::File(text),
        None => Key::Word(text),
    }
}

fn is_tagged(device: &str) -> bool {
    ["UUID=", "LABEL=", "PARTUUID=", "PARTLABEL="].iter().any(|tag| device.starts_with(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of crypttab(5), and lines that people write.
    const EXAMPLE: &str = r"
luks       UUID=2505567a-9e27-4efe-a4d5-15ad146c258b
swap       /dev/sda7       /dev/urandom       swap
truecrypt  /dev/sda2       /etc/container_password   tcrypt
hidden     /mnt/tc_hidden  /dev/null                 tcrypt-hidden,tcrypt-keyfile=/etc/keyfile
external   /dev/sda3       keyfile:LABEL=keydev keyfile-timeout=10s,cipher=xchacha12\,aes-adiantum-plain64
# comment
	  # another
sda3_crypt UUID=1 none luks,discard,x-initrd.attach
alone
tail PARTUUID=2 - luks, discard
";

    fn entries() -> Vec<Entry> {
        parse(EXAMPLE).into_iter().flatten().collect()
    }

    #[test]
    fn the_examples_of_the_manual_are_read() {
        let entries = entries();
        let names: Vec<(usize, &str)> = entries.iter().map(|entry| (entry.line, entry.name.as_str())).collect();
        assert_eq!(
            names,
            [(2, "luks"), (3, "swap"), (4, "truecrypt"), (5, "hidden"), (6, "external"), (9, "sda3_crypt"), (11, "tail")]
        );
        assert_eq!(entries[4].options, ["keyfile-timeout=10s", "cipher=xchacha12,aes-adiantum-plain64"]);
        assert_eq!(entries[3].values("tcrypt-keyfile").collect::<Vec<_>>(), ["/etc/keyfile"]);
        assert_eq!((entries[5].is_marked(), entries[0].is_marked()), (true, false));
        assert_eq!((entries[6].beyond.as_deref(), &entries[6].options[..]), (Some("discard"), &["luks".to_owned()][..]));
        assert_eq!(parse(EXAMPLE).into_iter().filter_map(Result::err).collect::<Vec<_>>(), [NoEntry { line: 10 }]);
    }

    #[test]
    fn keys_are_where_systemd_looks() {
        let table = [
            ("none", Key::Unsaid),
            ("-", Key::Unsaid),
            ("/etc/keys/root.key", Key::File("/etc/keys/root.key")),
            ("/etc/keys/a:b.key", Key::File("/etc/keys/a:b.key")),
            ("/root.key:UUID=1", Key::Elsewhere { path: "/root.key", device: "UUID=1" }),
            ("/root.key:/dev/sdb1", Key::Elsewhere { path: "/root.key", device: "/dev/sdb1" }),
            ("keyfile:LABEL=keydev", Key::Elsewhere { path: "keyfile", device: "LABEL=keydev" }),
            ("/dev/urandom", Key::Device("/dev/urandom")),
            ("/dev/disk/by-id/usb-key", Key::Device("/dev/disk/by-id/usb-key")),
            ("slot0", Key::Word("slot0")),
        ];
        for (field, expected) in table {
            let line = format!("root UUID=1 {field} luks");
            let entry = parse(&line).remove(0).expect("an entry");
            assert_eq!(entry.key(), expected, "{field}");
            assert_eq!(parse(&entry.to_line()), [Ok(entry)], "{field}");
        }
        assert_eq!(parse("root UUID=1").remove(0).expect("an entry").key(), Key::Unsaid);
    }

    #[test]
    fn options_are_known_or_not() {
        let table = [
            ("luks", Meaning::Known),
            ("", Meaning::Known),
            ("tpm2-device=auto", Meaning::Known),
            ("tpm2-device", Meaning::Unknown),
            ("header=/etc/h", Meaning::Known),
            ("x-initrd.attach", Meaning::Known),
            ("keyfile-erase", Meaning::Known),
            ("initramfs", Meaning::Attach),
            ("noearly", Meaning::Idle),
            ("keyscript=decrypt_gnupg", Meaning::Unknown),
            ("keyscript=/lib/cryptsetup/scripts/passdev", Meaning::Unknown),
            ("check=ext4", Meaning::Unknown),
            ("Luks", Meaning::Unknown),
        ];
        for (option, expected) in table {
            assert_eq!(meaning(option), expected, "{option}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for entry in entries() {
            let written = Entry { line: 1, beyond: None, ..entry.clone() };
            let expected = Entry { key: Some(entry.key.clone().unwrap_or_else(|| "none".to_owned())), ..written.clone() };
            assert_eq!(parse(&written.to_line()), [Ok(expected)]);
        }
    }
}
