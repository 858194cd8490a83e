//! RPM packages by rpmbuild, signed by rpmsign, indexed by createrepo_c: of Fedora and openSUSE.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use mkinitrd_pkg::format::elf::Priority;

use super::content::{Contents, Entry, Kind, Package, Relation, split};
use super::keys::Signer;
use super::{EPOCH_S, Family, run};

/// Builds that run at once.
const THREADS: usize = 2;
/// Interpreters and the like that no package of the repository brings.
const NOT_HERE: &str = r"^/(usr/)?bin/(perl|python3?|make|env|pkg-config|mawk)$|^perl\\(|^python3?\\(|^pkgconfig\\(|^/bin/zsh$";
/// Paths of before the merged /usr that packages still ask for.
const OLD_PATHS: [(&str, &str); 5] = [
    ("usr/bin/sh", "/bin/sh"),
    ("usr/bin/bash", "/bin/bash"),
    ("usr/bin/ldconfig", "/sbin/ldconfig"),
    ("usr/sbin/ldconfig", "/sbin/ldconfig"),
    ("usr/bin/ldconfig", "/usr/sbin/ldconfig"),
];

/// Makes the repository in a directory.
pub fn make(contents: &Contents, dir: &Path) {
    let todo = Mutex::new(contents.packages.values().collect::<Vec<_>>());
    let made = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let Some(package) = todo.lock().expect("no panic").pop() else { break };
                    let file = build(contents, package, dir);
                    made.lock().expect("no panic").push(file);
                }
            });
        }
    });
    let mut made: Vec<PathBuf> = made.into_inner().expect("no panic");
    made.sort();
    let signer = Signer::open();
    signer.sign_rpms(&made);
    signer.export(&dir.join("fixture.asc"));
    let revision = EPOCH_S.to_string();
    let mut createrepo = Command::new("createrepo_c");
    createrepo.args(["--quiet", "--revision", &revision, "--set-timestamp-to-revision", "--no-database"]);
    // What Fedora takes, where this one can: before 1.0 there was no zstd.
    let can_zstd = String::from_utf8_lossy(&run(Command::new("createrepo_c").arg("--help"), "createrepo-c")).contains("zstd");
    createrepo.args(if can_zstd { &["--general-compress-type", "zstd"][..] } else { &["--general-compress-type", "gz"][..] });
    run(createrepo.arg(dir), "createrepo-c");
    signer.sign(&dir.join("repodata/repomd.xml"), true);
}

/// Builds one package and returns its file.
fn build(contents: &Contents, package: &Package, dir: &Path) -> PathBuf {
    let work = tempfile::tempdir().expect("a temporary directory");
    let root = work.path().join("files");
    let ghosts = if package.kernel.is_empty() { ghosts(&package.name) } else { kernel(package).1 };
    lay_out(package, &ghosts, &root);
    let spec = work.path().join("package.spec");
    fs::write(&spec, text(contents, package, &ghosts, &root)).expect("writing");
    let mut rpmbuild = Command::new("rpmbuild");
    let target = if package.is_any { "noarch" } else { "x86_64" };
    rpmbuild.env("HOME", work.path()).args(["-bb", "--quiet", "--target", target]);
    let topdir = format!("_topdir {}", work.path().join("top").display());
    let payload = format!("_binary_payload {}", if contents.family == Family::Fedora { "w6.zstdio" } else { "w6.xzdio" });
    let macros = [
        &topdir,
        &payload,
        "__os_install_post %{nil}",
        "debug_package %{nil}",
        "_build_id_links none",
        "_buildhost fixture.invalid",
        "use_source_date_epoch_as_buildtime 1",
        "clamp_mtime_to_source_date_epoch 0",
        "source_date_epoch_from_changelog 0",
        "vendor fixture",
        "_source_filedigest_algorithm 8",
        "_binary_filedigest_algorithm 8",
        "_unpackaged_files_terminate_build 0",
        "__brp_mangle_shebangs %{nil}",
    ];
    for define in macros {
        rpmbuild.args(["--define", define]);
    }
    run(rpmbuild.arg(&spec), "rpm");
    let made = run(Command::new("find").arg(work.path().join("top/RPMS")).args(["-name", "*.rpm"]), "findutils");
    let made = PathBuf::from(String::from_utf8(made).expect("text").trim_end());
    let to = dir.join(made.file_name().expect("a name"));
    fs::copy(&made, &to).unwrap_or_else(|err| panic!("{}: {err}", made.display()));
    to
}

/// Lays the files out as rpmbuild finds them; owners are said in the spec.
fn lay_out(package: &Package, ghosts: &[String], root: &Path) {
    fs::create_dir_all(root).expect("a directory");
    for ghost in ghosts {
        let ghost = root.join(ghost);
        fs::create_dir_all(ghost.parent().expect("a directory")).expect("a directory");
        let file = fs::File::create(&ghost).expect("a file");
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(EPOCH_S)).expect("a time");
    }
    let (links, rest): (Vec<_>, Vec<_>) = package.entries.iter().partition(|(_, entry)| matches!(entry.kind, Kind::Hardlink(_)));
    for (path, entry) in rest.iter().chain(&links) {
        let to = root.join(path);
        fs::create_dir_all(to.parent().expect("a directory")).expect("a directory");
        match &entry.kind {
            Kind::Dir => fs::create_dir_all(&to).expect("a directory"),
            Kind::Symlink(target) => symlink(target, &to).expect("a link"),
            Kind::Hardlink(target) => fs::hard_link(root.join(target), &to).expect("a hard link"),
            Kind::File(content) => {
                fs::write(&to, &content[..]).expect("writing");
                fs::set_permissions(&to, fs::Permissions::from_mode(mode(path, entry))).expect("chmod");
            }
        }
    }
    // The deepest first: a directory's time changes with what is put into it.
    let mut dated: Vec<(&String, &Entry)> = package.entries.iter().collect();
    dated.sort_by_key(|(path, _)| std::cmp::Reverse(path.matches('/').count()));
    for (path, entry) in dated {
        let time = rustix::fs::Timespec { tv_sec: entry.mtime_s as i64, tv_nsec: 0 };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(rustix::fs::CWD, root.join(path), &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).expect("a time");
    }
}

/// Libraries are executable there: some versions of rpm look for sonames nowhere else.
fn mode(path: &str, entry: &Entry) -> u32 {
    let is_library = path.contains("/lib") && path.contains(".so") && !path.contains("/modules/");
    let mode = if is_library && entry.mode == 0o644 { 0o755 } else { entry.mode };
    if entry.gid == 0 { mode } else { mode & !0o2000 }
}

fn version(debian: &str) -> (String, String, String) {
    let (epoch, upstream, revision) = split(debian);
    (epoch.to_owned(), upstream.replace('-', "."), revision.replace('-', "."))
}

fn relation(relation: &Relation) -> String {
    let Some((operator, debian)) = &relation.bound else { return relation.name.clone() };
    let (epoch, upstream, revision) = version(debian);
    let epoch = if epoch.is_empty() { epoch } else { format!("{epoch}:") };
    let revision = if debian.contains('-') { format!("-{revision}") } else { String::new() };
    format!("{} {operator} {epoch}{upstream}{revision}", relation.name)
}

fn group(group: &[Relation]) -> String {
    let alternatives: Vec<String> = group.iter().map(relation).collect();
    if alternatives.len() == 1 { alternatives[0].clone() } else { format!("({})", alternatives.join(" or ")) }
}

/// Writes what rpmbuild wants to know.
fn text(contents: &Contents, package: &Package, ghosts: &[String], root: &Path) -> String {
    let (epoch, upstream, revision) = version(&package.version);
    let plain = |text: &str| text.replace('%', "%%");
    let mut out = format!(
        "Name: {}\nVersion: {upstream}\nRelease: {revision}\nSummary: {}\nLicense: MIT\nURL: {}\n",
        package.name,
        plain(&package.summary),
        package.homepage
    );
    if !epoch.is_empty() {
        writeln!(out, "Epoch: {epoch}").expect("memory");
    }
    if package.is_any {
        out.push_str("BuildArch: noarch\n");
    }
    let is_here = |wanted: &&Vec<Relation>| wanted.iter().all(|relation| contents.packages.contains_key(&relation.name));
    for line in package.requires.iter().filter(is_here).map(|wanted| group(wanted)) {
        writeln!(out, "Requires: {line}").expect("memory");
    }
    for line in package.recommends.iter().filter(is_here).map(|wanted| group(wanted)) {
        writeln!(out, "Recommends: {line}").expect("memory");
    }
    for line in package.conflicts.iter().map(relation) {
        writeln!(out, "Conflicts: {line}").expect("memory");
    }
    for name in &package.provides {
        writeln!(out, "Provides: {name}").expect("memory");
    }
    for (_, path) in OLD_PATHS.iter().filter(|(has, _)| package.entries.contains_key(*has)) {
        writeln!(out, "Provides: {path}").expect("memory");
    }
    for (sonames, priority) in &package.dlopens {
        let tag = match priority {
            Priority::Required => "Requires",
            Priority::Recommended => "Recommends",
            Priority::Suggested => "Suggests",
        };
        let wanted: Vec<String> = sonames.iter().map(|soname| format!("{soname}()(64bit)")).collect();
        let wanted = if wanted.len() == 1 { wanted[0].clone() } else { format!("({})", wanted.join(" or ")) };
        writeln!(out, "{tag}: {wanted}").expect("memory");
    }
    if !package.kernel.is_empty() {
        out.push_str(&kernel(package).0);
    }
    if package.name == "glibc" {
        out.push_str("Provides: rtld(GNU_HASH)\nProvides: bundled(libgcc)\n");
    }
    writeln!(out, "%global __requires_exclude {NOT_HERE}").expect("memory");
    // Modules of the kernel are many and have no sonames.
    writeln!(out, "%global __elf_exclude_path ^/usr/lib/modules/|^%{{buildroot}}/usr/lib/modules/").expect("memory");
    writeln!(
        out,
        "%description\n{}\n%prep\n%build\n%install\nrm -rf %{{buildroot}}\nmkdir -p %{{buildroot}}",
        plain(&package.summary)
    )
    .expect("memory");
    writeln!(out, "cp -a {}/. %{{buildroot}}", root.display()).expect("memory");
    out.push_str(&scripts(package));
    out.push_str("%files\n");
    for (path, entry) in &package.entries {
        out.push_str(&file(path, entry));
    }
    for ghost in ghosts {
        writeln!(out, "%ghost %attr(0644,root,root) /{ghost}").expect("memory");
    }
    out
}

/// One line of `%files`.
fn file(path: &str, entry: &Entry) -> String {
    let name = path.replace('%', "%%");
    let attributes = format!("%attr({:04o},root,root) ", mode(path, entry));
    let config = if entry.is_config { "%config(noreplace) " } else { "" };
    let capability = entry.capability.map(|capability| format!("%caps({capability}) ")).unwrap_or_default();
    match &entry.kind {
        Kind::Dir => format!("%dir {attributes}/{name}\n"),
        Kind::Symlink(_) => format!("/{name}\n"),
        Kind::File(_) | Kind::Hardlink(_) => format!("{config}{capability}{attributes}/{name}\n"),
    }
}

/// Files that a package owns and does not have.
fn ghosts(name: &str) -> Vec<String> {
    let table: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("systemd", &["etc/machine-id", "var/lib/systemd/random-seed"][..]),
        ("glibc", &["etc/ld.so.cache", "var/cache/ldconfig/aux-cache"]),
        ("kmod", &["etc/modprobe.d/local.conf"]),
    ]);
    table.get(name).copied().unwrap_or_default().iter().map(|path| (*path).to_owned()).collect()
}

/// Returns how the packages of a kernel hold together, and their ghosts.
fn kernel(package: &Package) -> (String, Vec<String>) {
    let (_, upstream, revision) = version(&package.version);
    let (release, evr) = (package.kernel.replace('-', "_"), format!("{upstream}-{revision}"));
    let dir = format!("usr/lib/modules/{}", package.kernel);
    let index = || {
        let names = [
            "dep",
            "dep.bin",
            "alias",
            "alias.bin",
            "softdep",
            "symbols",
            "symbols.bin",
            "devname",
            "builtin.bin",
            "builtin.alias.bin",
        ];
        names.iter().map(|name| format!("{dir}/modules.{name}")).collect::<Vec<_>>()
    };
    match package.name.as_str() {
        "kernel" => (String::new(), Vec::new()),
        "kernel-core" => (
            format!(
                "Provides: kernel = {evr}\nProvides: kernel-core-uname-r = {release}\nProvides: kernel-uname-r = {release}\n\
                 Provides: installonlypkg(kernel)\nRequires: kernel-modules-core-uname-r = {release}\n"
            ),
            vec![format!("boot/vmlinuz-{}", package.kernel), format!("boot/initramfs-{}.img", package.kernel)],
        ),
        "kernel-modules-core" => (
            format!(
                "Provides: kernel-modules-core-uname-r = {release}\nProvides: installonlypkg(kernel-module)\nRequires: kernel-uname-r = {release}\n"
            ),
            index(),
        ),
        "kernel-modules" => (
            format!(
                "Provides: kernel-modules-uname-r = {release}\nProvides: installonlypkg(kernel-module)\nRequires: kernel-uname-r = {release}\n\
                 Requires: kernel-modules-core-uname-r = {release}\n"
            ),
            Vec::new(),
        ),
        _ => {
            (format!("Provides: kernel = {evr}\nProvides: kernel-uname-r = {release}\nProvides: multiversion(kernel)\n"), index())
        }
    }
}

/// What runs at installation: little, each of a kind that the format has.
fn scripts(package: &Package) -> String {
    let depmod = format!(
        "%posttrans\n/usr/bin/kmod static-nodes >/dev/null 2>&1 || :\ndepmod -a {} >/dev/null 2>&1 || :\n",
        package.kernel
    );
    let ldconfig = ["usr/bin/ldconfig", "usr/sbin/ldconfig"].iter().find(|path| package.entries.contains_key(**path));
    match package.name.as_str() {
        _ if ldconfig.is_some() => format!("%post -p /{}\n", ldconfig.expect("it is there")),
        "filesystem" => "%pretrans -p <lua>\nposix.stat(\"/\", \"type\")\n".to_owned(),
        "systemd" => {
            "%post\nsystemctl daemon-reexec >/dev/null 2>&1 || :\n%transfiletriggerin -P 1000700 -- /usr/lib/systemd/system\n:\n"
                .to_owned()
        }
        "kernel-modules-core" | "kernel-modules" | "kernel-default" => depmod,
        _ => String::new(),
    }
}
