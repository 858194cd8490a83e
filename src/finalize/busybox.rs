//! The links of busybox's applets, and `/init` for an initrd without systemd.
//!
//! busybox's package ships one program; a trigger makes a link for each applet. Alpine lists them in `/etc/busybox-paths.d` (since 3.18);
//! elsewhere the program's own table of names is read, which busybox's build puts into its read-only data: names in the order of bytes,
//! each ended by a zero, the first two `[` and `[[`.

use super::{Context, Emergency, Error, Notes};
use crate::tree::{Content, Entry, Kind, Tree, TreePath};

const BUSYBOX: &str = "usr/bin/busybox";
const PATHS: &str = "etc/busybox-paths.d";
/// How the table of applets begins.
const TABLE_START: &[u8] = b"[\0[[\0";
/// A busybox with everything has some 420 applets.
const APPLETS_MAX: usize = 1000;
/// The longest applet's name has 17 bytes.
const NAME_BYTES_MAX: usize = 32;

/// Alpine's generator has what its images begin with here.
const MKINITFS: &str = "usr/share/mkinitfs";
/// The init where no package brings one.
const OWN_INIT: &str = include_str!("../../distro-profiles/files/busybox-init");
/// Directories that Alpine's init mounts on.
const DIRECTORIES: &[&str] = &["media/cdrom", "media/floppy", "media/usb", "newroot", "sysroot"];

pub(super) fn run(tree: &mut Tree, _: &Context<'_>, notes: &mut Notes) -> Result<(), Error> {
    let Some(program) = tree.read(&TreePath::literal(BUSYBOX)).cloned() else { return Ok(()) };
    let listed = listed(tree);
    let paths = if listed.is_empty() { table(program.bytes()) } else { listed };
    if paths.is_empty() {
        let reason = "it has no table of applets".to_owned();
        return Err(Error::File { step: "busybox", path: TreePath::literal(BUSYBOX), reason });
    }
    let mut made = 0;
    for path in paths {
        // What a package brings as a program of its own is better than the applet.
        let name = TreePath::literal("usr/bin").join(path.name()).unwrap_or_else(|_| path.clone());
        if tree.lookup(&path).is_some() || tree.get(&path).is_some() || tree.lookup(&name).is_some() {
            continue;
        }
        let entry = Entry::symlink(&format!("/{BUSYBOX}"), notes.origin());
        tree.put(&path, entry).map_err(|cause| Error::Tree { step: "busybox", cause })?;
        made += 1;
    }
    notes.did(format!("made links for {made} applets"));
    Ok(())
}

/// Returns the paths of applets that packages list.
fn listed(tree: &Tree) -> Vec<TreePath> {
    let directory = TreePath::literal(PATHS);
    let files = tree.children(&directory).filter_map(|(_, entry)| entry.content());
    let texts: Vec<String> = files.map(|content| String::from_utf8_lossy(content.bytes()).into_owned()).collect();
    let lines =
        texts.iter().flat_map(|text| text.lines()).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.take(APPLETS_MAX).filter_map(|line| TreePath::parse(line.as_bytes()).ok()).filter(|path| !path.is_root()).collect()
}

/// Returns the paths of the applets that the program's table names; none if it has no table.
fn table(program: &[u8]) -> Vec<TreePath> {
    let starts = program.windows(TABLE_START.len()).enumerate().filter(|(_, window)| *window == TABLE_START);
    let tables = starts.map(|(start, _)| names(&program[start..]));
    let longest = tables.max_by_key(Vec::len).unwrap_or_default();
    // Two names are where somebody compares with `[`, not where applets are listed.
    if longest.len() < 3 {
        return Vec::new();
    }
    longest.into_iter().filter_map(|name| TreePath::literal("usr/bin").join(name).ok()).collect()
}

/// Reads names in ascending order.
fn names(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut names: Vec<&[u8]> = Vec::new();
    while let Some(end) = bytes.iter().take(NAME_BYTES_MAX).position(|byte| *byte == 0) {
        let name = &bytes[..end];
        let is_name = !name.is_empty() && name.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'/');
        if !is_name || names.last().is_some_and(|last| *last >= name) || names.len() == APPLETS_MAX {
            break;
        }
        names.push(name);
        bytes = &bytes[end + 1..];
    }
    names
}

pub(super) fn init(tree: &mut Tree, context: &Context<'_>, notes: &mut Notes) -> Result<(), Error> {
    let at = TreePath::literal("init");
    if tree.get(&at).is_some() {
        return Ok(());
    }
    let of_package = |tree: &Tree, name: &str| tree.read(&TreePath::literal(&format!("{MKINITFS}/{name}"))).cloned();
    let text: Content = match of_package(tree, "initramfs-init") {
        Some(text) => text,
        None => {
            let policy = match context.options.emergency {
                Emergency::Shell => "shell",
                Emergency::Locked => "locked",
                Emergency::Password(_) => {
                    notes.warn("the small init asks for no password: its console offers no shell (`locked`)");
                    "locked"
                }
            };
            notes.file(tree, "etc/initrd-emergency", &format!("{policy}\n"))?;
            OWN_INIT.into()
        }
    };
    notes.put(tree, &at, Entry::file(text, notes.origin()).with_mode(0o755))?;
    for name in ["fstab", "passwd", "group"] {
        let to = TreePath::literal("etc").join(name.as_bytes()).expect("invariant: a name of ours");
        if let Some(text) = of_package(tree, name) {
            notes.put(tree, &to, Entry::file(text, notes.origin()))?;
        }
    }
    for directory in DIRECTORIES {
        let directory = TreePath::literal(directory);
        if !tree.lookup(&directory).is_some_and(|(_, entry)| matches!(entry.kind, Kind::Dir)) {
            tree.make_dirs(&directory, &notes.origin()).map_err(|cause| Error::Tree { step: "busybox-init", cause })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Options, run_step};
    use super::*;
    use crate::tree::Origin;

    fn tree(files: &[(&str, &[u8])]) -> Tree {
        let mut tree = Tree::new();
        for (path, bytes) in files {
            tree.insert(&TreePath::literal(path), Entry::file(bytes.to_vec(), Origin::Made("test"))).expect("a file");
        }
        tree
    }

    fn link(tree: &Tree, path: &str) -> Option<Vec<u8>> {
        match &tree.get(&TreePath::literal(path))?.kind {
            Kind::Symlink(target) => Some(target.clone()),
            _ => None,
        }
    }

    #[test]
    fn applets_are_those_of_the_programs_table() {
        let program = b"\x7fELF...[\0[[\0\xffdead\0[\0[[\0ash\0cat\0zcat\0\0later\0";
        let mut made = tree(&[(BUSYBOX, program), ("usr/bin/cat", b"of a package")]);
        let done = run_step("busybox", &mut made, &Options::default());
        assert_eq!(done.effects, ["made links for 4 applets"]);
        assert_eq!(link(&made, "usr/bin/ash").as_deref(), Some(&b"/usr/bin/busybox"[..]));
        assert_eq!(link(&made, "usr/bin/cat"), None, "the package's own stays");
        assert_eq!(link(&made, "usr/bin/later"), None);
    }

    #[test]
    fn applets_are_those_that_the_package_lists() {
        let program = b"[\0[[\0ash\0cat\0";
        let mut made = tree(&[(BUSYBOX, program), ("etc/busybox-paths.d/busybox", b"/bin/ash\n/sbin/mdev\n../x\n")]);
        run_step("busybox", &mut made, &Options::default());
        assert!(link(&made, "sbin/mdev").is_some() && link(&made, "bin/ash").is_some() && link(&made, "usr/bin/cat").is_none());
    }

    #[test]
    fn a_program_without_a_table_is_told() {
        let mut made = tree(&[(BUSYBOX, b"\x7fELF [\0[[\0")]);
        let context = Context { options: &Options::default(), time_s: 0, host_ids: None };
        let error = run(&mut made, &context, &mut Notes::default()).expect_err("refused");
        assert!(error.to_string().contains("has no table of applets"), "{error}");
    }

    #[test]
    fn the_init_is_the_packages_or_ours() {
        let mut made = tree(&[
            ("usr/share/mkinitfs/initramfs-init", b"#!/bin/sh\n# Alpine's"),
            ("usr/share/mkinitfs/passwd", b"root:x:0:0\n"),
        ]);
        run_step("busybox-init", &mut made, &Options::default());
        let text = |tree: &Tree, path: &str| tree.read(&TreePath::literal(path)).map(|content| content.bytes().to_vec());
        assert_eq!(text(&made, "init").as_deref(), Some(&b"#!/bin/sh\n# Alpine's"[..]));
        assert_eq!(text(&made, "etc/passwd").as_deref(), Some(&b"root:x:0:0\n"[..]));
        let mut made = tree(&[]);
        run_step("busybox-init", &mut made, &Options { emergency: Emergency::Shell, ..Options::default() });
        assert_eq!(text(&made, "init").as_deref(), Some(OWN_INIT.as_bytes()));
        assert_eq!(text(&made, "etc/initrd-emergency").as_deref(), Some(&b"shell\n"[..]));
    }
}
