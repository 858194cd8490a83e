//! Configuration files of packages in which a machine keeps what is of it alone.
//!
//! On Debian no package ships them; `filesystem` of Arch, `setup` of Fedora and `alpine-baselayout` do. Edited, they hold people's names and
//! digests of their passwords, and how this machine is put together. None of that may enter an image by way of a package: what an image for
//! this machine needs of it comes by the declared list (`host::declared`), and passwords never do.

use super::disk::shipped_id;

/// Left out where they were edited.
const LEFT_OUT: [&[u8]; 14] = [
    b"etc/shadow",
    b"etc/gshadow",
    b"etc/subuid",
    b"etc/subgid",
    b"etc/fstab",
    b"etc/crypttab",
    b"etc/hosts",
    b"etc/hostname",
    b"etc/resolv.conf",
    b"etc/machine-id",
    b"etc/network/interfaces",
    b"etc/sudoers",
    b"etc/exports",
    b"etc/mtab",
];
const USERS: &[u8] = b"etc/passwd";
const GROUPS: &[u8] = b"etc/group";

/// What becomes of an edited configuration file.
#[derive(Debug, PartialEq, Eq)]
pub enum Edited {
    /// It is taken as it is.
    Taken,
    /// It stays where it is.
    LeftOut,
    /// This of it is taken: what every machine of the distribution has.
    Part(Vec<u8>),
}

/// Decides about an edited configuration file; `path` is without a leading slash.
pub fn edited(path: &[u8], content: &[u8]) -> Edited {
    match path {
        USERS => Edited::Part(shared(content, |_| true)),
        GROUPS => {
            let names: Vec<&[u8]> = content.split(|byte| *byte == b'\n').filter_map(|line| Some(fields(line)?[0])).collect();
            Edited::Part(shared(content, |member| names.contains(&member)))
        }
        path if LEFT_OUT.contains(&path) => Edited::LeftOut,
        _ => Edited::Taken,
    }
}

/// Returns the fields of a line of users or groups, of which there are at least four, if its id is one that all machines have.
fn fields(line: &[u8]) -> Option<Vec<&[u8]>> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
    let id: u32 = std::str::from_utf8(fields.get(2)?).ok()?.parse().ok()?;
    (fields.len() >= 4 && shipped_id(id) == id).then_some(fields)
}

/// Returns the lines whose id all machines have, without passwords. Of a group the members stay that `is_kept` knows; a user has none.
fn shared(content: &[u8], is_kept: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut text = Vec::new();
    for mut fields in content.split(|byte| *byte == b'\n').filter_map(fields) {
        fields[1] = b"x";
        let members: Vec<u8>;
        if fields.len() == 4 {
            let kept: Vec<&[u8]> = fields[3].split(|byte| *byte == b',').filter(|member| is_kept(member)).collect();
            members = kept.join(&b","[..]);
            fields[3] = &members;
        }
        text.extend_from_slice(&fields.join(&b":"[..]));
        text.push(b'\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_person_and_no_password_leaves_the_machine() {
        let passwd = b"root:$6$secret:0:0:root:/root:/bin/sh\nbin:x:1:1::/:/x\nalice:x:1000:1000:Alice:/home/alice:/bin/sh\nsystemd-x:x:998:998::/:/x\nnobody:x:65534:65534::/:/x\n";
        let wanted = "root:x:0:0:root:/root:/bin/sh\nbin:x:1:1::/:/x\nnobody:x:65534:65534::/:/x\n";
        assert_eq!(edited(b"etc/passwd", passwd), Edited::Part(wanted.into()));
        let group = b"root:x:0:root\nwheel:$1$x:10:root,alice\nbin:x:1:daemon,bin\ndaemon:x:2:\nalice:x:1000:\nbroken\n";
        let wanted = "root:x:0:root\nwheel:x:10:root\nbin:x:1:daemon,bin\ndaemon:x:2:\n";
        assert_eq!(edited(b"etc/group", group), Edited::Part(wanted.into()));
        assert_eq!(edited(b"etc/shadow", b"root:$6$secret:1::::::\n"), Edited::LeftOut);
        assert_eq!(edited(b"etc/lvm/lvm.conf", b"# mine\n"), Edited::Taken);
    }
}
