//! What pacman and apk have fetched serves without a network.

use std::fs;
use std::path::Path;

use mkinitrd_pkg::acquire;
use mkinitrd_pkg::base::error::{Diagnostic, ErrorKind};
use mkinitrd_pkg::base::trust::{KeyRef, SignedBy};
use mkinitrd_pkg::family::repo::{self, Target};

use crate::{Machine, fixtures, write};

#[test]
fn pacmans_databases_and_packages_serve_from_where_its_configuration_says() {
    let Some(fixtures) = fixtures("databases of pacman") else { return };
    let dir = fixtures.join("converted/trixie-mini/alpm");
    let copy = |root: &Path, below: &str, name: &str| write(root, &format!("{below}/{name}"), fs::read(dir.join(name)).unwrap());
    for (options, databases, packages) in [
        ("", "var/lib/pacman/sync", "var/cache/pacman/pkg"),
        ("DBPath = /srv/db/\nCacheDir = /nowhere /srv/pkg\n", "srv/db/sync", "srv/pkg"),
    ] {
        let machine = Machine { offline: true, ..Machine::new() };
        let root = machine.root();
        write(&root, "etc/os-release", "ID=arch\n");
        let text = format!("[options]\nArchitecture = auto\n{options}Include = /etc/pacman.d/*.conf\n");
        write(&root, "etc/pacman.conf", text);
        write(&root, "etc/pacman.d/core.conf", "[core]\nServer = https://mirror.invalid/$repo/os/$arch\n");
        let target = Target { family: "alpm", release: "rolling", components: &[], arch: "x86_64" };
        let mut own = acquire::host_sources(&root, "arch", &target).unwrap().expect("it is Arch Linux").specs;
        write(&root, "etc/keys/fixture.asc", fs::read(dir.join("fixture.asc")).unwrap());
        let keys = vec![KeyRef::File("/etc/keys/fixture.asc".into())];
        own[0].set_keys(SignedBy { keys, shipped: false });
        let open = || machine.in_world(|world| acquire::repositories(&own, world));
        assert_eq!(open().expect_err("nothing was fetched").kind(), ErrorKind::Unavailable);
        copy(&root, databases, "core.db");
        copy(&root, databases, "core.db.sig");
        let opened = open().expect("pacman has it");
        assert!(opened[0].signer.is_some());
        let indexes = opened.into_iter().flat_map(|opened| opened.indexes).collect();
        let catalog = repo::catalog(&target, indexes).unwrap();
        let package = catalog.package(catalog.named("iputils")[0]).unwrap();
        let get = || machine.in_world(|world| acquire::acquire(&[&package], world));
        assert!(get().is_err());
        copy(&root, packages, "iputils-3:20240905-3-x86_64.pkg.tar.zst");
        assert!(matches!(get().expect("pacman has it")[0].origin, acquire::Origin::HostCache(_)));
        // What lies there proves nothing.
        let database = root.join(databases).join("core.db");
        let mut bytes = fs::read(&database).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&database, bytes).unwrap();
        assert_eq!(open().expect_err("it is damaged").kind(), ErrorKind::Unavailable);
    }
}

#[test]
fn apks_indexes_serve_from_its_cache() {
    let Some(fixtures) = fixtures("a cache of apk") else { return };
    let source = fixtures.join("apk/alpine-314");
    let machine = Machine { offline: true, ..Machine::new() };
    let root = machine.root();
    write(&root, "etc/os-release", "ID=alpine\nVERSION_ID=3.14.0\n");
    let host = "https://dl-cdn.alpinelinux.org/alpine/v3.14";
    write(&root, "etc/apk/repositories", format!("{host}/main\n{host}/community\n"));
    for entry in fs::read_dir(source.join("etc/apk/keys")).unwrap() {
        let path = entry.unwrap().path();
        write(&root, &format!("etc/apk/keys/{}", path.file_name().unwrap().to_str().unwrap()), fs::read(&path).unwrap());
    }
    let target = Target { family: "apk", release: "3.14", components: &[], arch: "armv7" };
    let own = acquire::host_sources(&root, "alpine", &target).unwrap().expect("it is Alpine").specs;
    let known = || machine.in_world(|world| acquire::known_repositories(&own, world));
    assert!(own.len() == 2 && known().is_empty());
    let cache = source.join("var/cache/apk");
    for entry in fs::read_dir(&cache).unwrap() {
        let path = entry.unwrap().path();
        write(&root, &format!("var/cache/apk/{}", path.file_name().unwrap().to_str().unwrap()), fs::read(&path).unwrap());
    }
    let found = known();
    let names: Vec<&str> = found.iter().map(|found| found.indexes[0].label.as_str()).collect();
    assert_eq!(names, ["v3.14/main", "v3.14/community"], "{:?}", machine.told.0.lock().unwrap());
    assert!(found.iter().all(|found| found.signer.is_some()));
    // Without its key nothing of it counts.
    fs::remove_dir_all(root.join("etc/apk/keys")).unwrap();
    assert!(known().is_empty());
}
