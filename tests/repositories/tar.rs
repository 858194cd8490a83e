//! Tar archives: what a package of Debian holds, and what one of Arch or Alpine is made of.

use std::collections::BTreeMap;

const BLOCK_BYTES: usize = 512;

/// A member of an archive.
#[derive(Debug, Clone, Default)]
pub struct Member {
    pub path: String,
    /// `0` file, `1` hard link, `2` symbolic link, `5` directory.
    pub kind: u8,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub user: String,
    pub group: String,
    pub mtime_s: u64,
    pub target: String,
    pub content: Vec<u8>,
    /// Records of the PAX header before it.
    pub records: BTreeMap<String, Vec<u8>>,
}

/// Reads what dpkg-deb writes: ustar, and GNU's long names.
pub fn read(bytes: &[u8]) -> Vec<Member> {
    let (mut members, mut at) = (Vec::new(), 0);
    let (mut long_name, mut long_target) = (None, None);
    while bytes[at..].len() >= BLOCK_BYTES && bytes[at] != 0 {
        let header = &bytes[at..at + BLOCK_BYTES];
        let text = |from: usize, len: usize| {
            let field = &header[from..from + len];
            let end = field.iter().position(|byte| *byte == 0).unwrap_or(len);
            String::from_utf8(field[..end].to_vec()).expect("text")
        };
        let number = |from: usize, len: usize| u64::from_str_radix(text(from, len).trim(), 8).expect("an octal number");
        let size = number(124, 12) as usize;
        let content = bytes[at + BLOCK_BYTES..at + BLOCK_BYTES + size].to_vec();
        at += BLOCK_BYTES + size.next_multiple_of(BLOCK_BYTES);
        let name = |bytes: &[u8]| String::from_utf8(bytes.strip_suffix(b"\0").unwrap_or(bytes).to_vec()).expect("text");
        match header[156] {
            b'L' => long_name = Some(name(&content)),
            b'K' => long_target = Some(name(&content)),
            kind @ (b'0' | b'1' | b'2' | b'5') => members.push(Member {
                path: long_name.take().unwrap_or_else(|| match text(345, 155).as_str() {
                    "" => text(0, 100),
                    prefix => format!("{prefix}/{}", text(0, 100)),
                }),
                kind,
                mode: number(100, 8) as u32 & 0o7777,
                uid: number(108, 8) as u32,
                gid: number(116, 8) as u32,
                user: text(265, 32),
                group: text(297, 32),
                mtime_s: number(136, 12),
                target: long_target.take().unwrap_or_else(|| text(157, 100)),
                content,
                records: BTreeMap::new(),
            }),
            other => panic!("a member of the type `{}`", other as char),
        }
    }
    members
}

/// Writes members, without the end of the archive: what follows is another part of the same one.
pub fn write(members: &[Member]) -> Vec<u8> {
    let mut out = Vec::new();
    for member in members {
        let mut records = member.records.clone();
        for (key, value) in [("path", &member.path), ("linkpath", &member.target)] {
            if value.len() > 100 || !value.is_ascii() {
                records.insert(key.to_owned(), value.clone().into_bytes());
            }
        }
        if !records.is_empty() {
            let body: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
            let pax = Member { path: "PaxHeader".into(), kind: b'x', mode: 0o644, content: body, ..Member::default() };
            block(&mut out, &pax);
        }
        block(&mut out, member);
    }
    out
}

/// Ends an archive.
pub fn end(mut archive: Vec<u8>) -> Vec<u8> {
    archive.resize(archive.len() + 2 * BLOCK_BYTES, 0);
    archive
}

/// `LENGTH KEY=VALUE\n`, the length counting itself.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    [format!("{len} {key}=").as_bytes(), value, b"\n"].concat()
}

fn block(out: &mut Vec<u8>, member: &Member) {
    let mut header = [0u8; BLOCK_BYTES];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    let cut = |text: &str, len: usize| text.as_bytes()[..text.len().min(len)].to_vec();
    put(0, &cut(&member.path, 100));
    put(100, format!("{:07o}", member.mode).as_bytes());
    put(108, format!("{:07o}", member.uid).as_bytes());
    put(116, format!("{:07o}", member.gid).as_bytes());
    put(124, format!("{:011o}", member.content.len()).as_bytes());
    put(136, format!("{:011o}", member.mtime_s).as_bytes());
    put(148, b"        ");
    put(156, &[member.kind]);
    put(157, &cut(&member.target, 100));
    put(257, b"ustar\x0000");
    put(265, &cut(&member.user, 31));
    put(297, &cut(&member.group, 31));
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.extend(header);
    out.extend(&member.content);
    out.resize(out.len().next_multiple_of(BLOCK_BYTES), 0);
}
