//! Our depmod against kmod's: version 34 of Debian 13, byte for byte, and whatever version this machine has.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use mkinitrd_pkg::format::modindex;
use mkinitrd_pkg::modules::{self, Options, Shipped, find_kver};
use mkinitrd_pkg::report::Silent;
use mkinitrd_pkg::tree::{Origin, Tree, TreePath, disk};

use crate::kernels::{self, BOOKWORM, SID, TRIXIE, TRIXIE_ARM64};
use crate::modules::generic;

/// What kmod before 31 writes otherwise than kmod 34 and ours. Everything else is equal byte for byte.
///
/// | file             | before 31                                                              | 34 and ours           |
/// |------------------|------------------------------------------------------------------------|-----------------------|
/// | `modules.*.bin`  | children before parents: same keys, values, priorities and size        | parents before children |
/// | `modules.weakdep`| not written                                                            | written, if only a heading |
const REORDERED_BEFORE_31: &str = ".bin";
const ABSENT_BEFORE_31: &str = "modules.weakdep";

/// Runs Debian 13's kmod as depmod with its own libraries and loader.
fn depmod_34(root: &Path, kver: &str) {
    let kmod = kernels::unpacked("kmod-34", || {
        ["kmod", "libkmod2", "libc6", "libssl3t64", "liblzma5", "libzstd1", "zlib1g"]
            .iter()
            .map(|name| kernels::package("trixie", "amd64", &|found| found == *name))
            .collect()
    });
    let libraries = kmod.join("usr/lib/x86_64-linux-gnu");
    let status = Command::new(libraries.join("ld-linux-x86-64.so.2"))
        .arg("--library-path")
        .arg(&libraries)
        .args(["--argv0", "depmod"])
        .arg(kmod.join("usr/bin/kmod"))
        .arg("-b")
        .arg(root)
        .arg(kver)
        .status()
        .expect("the loader runs: this test needs an amd64 machine");
    assert!(status.success());
}

fn depmod_here(root: &Path, kver: &str) -> u32 {
    let depmod = ["/usr/sbin/depmod", "/sbin/depmod"].into_iter().find(|path| Path::new(path).exists());
    let depmod = depmod.expect("depmod is there: install `kmod`");
    kernels::run(depmod, "kmod", &["-b", root.to_str().expect("UTF-8"), kver]);
    let version = kernels::run(depmod, "kmod", &["--version"]);
    version.split_whitespace().nth(2).and_then(|word| word.split('.').next()?.parse().ok()).expect("a version")
}

/// Reads the indexes that a depmod wrote into a root.
fn written(root: &Path, kver: &str) -> BTreeMap<String, Vec<u8>> {
    let dir = root.join("lib/modules").join(kver);
    let names = fs::read_dir(&dir).expect("the directory").map(|entry| entry.expect("an entry").file_name().into_string());
    let names = names.map(|name| name.expect("UTF-8")).filter(|name| name.starts_with("modules."));
    names.map(|name| (name.clone(), fs::read(dir.join(&name)).expect("an index"))).collect()
}

/// Chooses modules of a kernel, writes them out, lets both depmods index them, compares.
fn compare(kernel_tree: &Tree, arch: &str, patterns: &[&str]) {
    let kver = find_kver(kernel_tree).expect("one kernel");
    let patterns: Vec<_> = patterns.iter().map(|text| mkinitrd_pkg::config::Item::from_command_line(*text)).collect();
    let patterns = if patterns.is_empty() { generic(arch) } else { patterns };
    let options = Options { arch: Some(arch), shipped: Shipped::All };
    let ours = modules::modules(kernel_tree, &Tree::new(), &kver, &patterns, &options, 2, &Silent).expect("the modules");
    let dir = TreePath::literal("usr/lib/modules").join(kver.as_str().as_bytes()).expect("a path");
    // What depmod makes itself must not be there before.
    let mut bare = ours.tree.clone();
    bare.retain(|_, entry| entry.origin == Origin::Kernel);
    for version in ["34", "here"] {
        let temp = tempfile::tempdir().expect("a directory");
        let root = temp.path().join("root");
        disk::write(&bare, &root).expect("writing");
        symlink("usr/lib", root.join("lib")).expect("a link");
        let old = match version {
            "34" => {
                depmod_34(&root, kver.as_str());
                false
            }
            _ => depmod_here(&root, kver.as_str()) < 31,
        };
        let theirs = written(&root, kver.as_str());
        let mut names: Vec<&str> = theirs.keys().map(String::as_str).collect();
        if old {
            names.push(ABSENT_BEFORE_31);
            names.sort_unstable();
        }
        let have: Vec<&str> = ours.tree.below(&dir).filter_map(|(path, _)| path.as_str()?.rsplit('/').next()).collect();
        let have: Vec<&str> = have.into_iter().filter(|name| name.starts_with("modules.")).collect();
        assert_eq!(have, names, "kmod {version}");
        for (name, theirs) in &theirs {
            let ours = ours.tree.read(&dir.join(name.as_bytes()).expect("a path")).expect("ours").bytes();
            if old && name.ends_with(REORDERED_BEFORE_31) {
                assert!(modindex::read(ours) == modindex::read(theirs), "{kver} {name}: kmod {version} has other keys");
                assert_eq!(ours.len(), theirs.len());
            } else if ours != theirs.as_slice() {
                let at = ours.iter().zip(theirs).take_while(|(a, b)| a == b).count();
                let line = |bytes: &[u8]| {
                    String::from_utf8_lossy(&bytes[at.saturating_sub(80)..(at + 160).min(bytes.len())]).into_owned()
                };
                panic!(
                    "{kver} {name}: differs from kmod {version} at byte {at}:\nours   {}\ntheirs {}",
                    line(ours),
                    line(theirs)
                );
            }
        }
    }
}

#[test]
fn the_generic_set_of_trixie_is_indexed_as_kmod_does() {
    compare(&TRIXIE.tree(), "amd64", &[]);
}

#[test]
fn the_generic_set_of_bookworm_is_indexed_as_kmod_does() {
    compare(&BOOKWORM.tree(), "amd64", &[]);
}

#[test]
fn the_generic_set_of_sid_is_indexed_as_kmod_does() {
    compare(&SID.tree(), "amd64", &[]);
}

#[test]
fn the_generic_set_of_trixie_on_arm64_is_indexed_as_kmod_does() {
    compare(&TRIXIE_ARM64.tree(), "arm64", &[]);
}

#[test]
fn the_whole_kernel_of_trixie_is_indexed_as_kmod_does() {
    compare(&TRIXIE.tree(), "amd64", &["*"]);
}

#[test]
fn e16_without_the_order_of_the_kernel_the_order_is_that_of_kmod() {
    let mut tree = TRIXIE.tree();
    tree.retain(|path, _| !path.as_bytes().ends_with(b"modules.order"));
    compare(&tree, "amd64", &["/fs/", "/drivers/md/"]);
}

#[test]
fn b07_a_kernel_without_any_list_is_indexed_as_kmod_does() {
    let mut tree = BOOKWORM.tree();
    tree.retain(|path, _| !path.name().starts_with(b"modules."));
    let (_, kver) = BOOKWORM.dir();
    let dir = TreePath::literal("usr/lib/modules").join(kver.as_bytes()).expect("a path");
    // Nothing is built in for all that can be known: what asks for a built-in module cannot be chosen.
    assert!(tree.get(&dir).is_some());
    compare(&tree, "amd64", &["loop", "dm_crypt", "overlay"]);
}
