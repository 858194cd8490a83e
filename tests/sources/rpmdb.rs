//! The installed database of RPM machines, against rpm.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use mkinitrd_pkg::base::error::{Diagnostic, ErrorKind};
use mkinitrd_pkg::family::rpm::installed::{Database, Error};

use crate::{fixtures, write};

/// Returns what is installed, as the oracles print it.
fn listed(root: &Path) -> Result<Vec<String>, Error> {
    let database = Database::open(root)?.expect("there is a database");
    let line = |package: &mkinitrd_pkg::family::rpm::installed::Installed| {
        let epoch = if package.version.contains(':') { "" } else { "0:" };
        format!("{} {epoch}{} {}", package.name, package.version, package.arch)
    };
    let mut lines: Vec<String> = database.packages().iter().map(line).collect();
    lines.sort();
    Ok(lines)
}

fn lines(command: &mut Command, needed: &str) -> Vec<String> {
    let output = command.output().unwrap_or_else(|err| panic!("{needed} is needed: {err}"));
    assert!(output.status.success(), "{needed} is needed: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines: Vec<String> = text.lines().filter(|line| !line.starts_with("gpg-pubkey ")).map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Returns what rpm lists, of a copy, for it writes even when it only reads.
fn rpm(dir: &Path) -> Vec<String> {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    let format = "%{NAME} %{EPOCHNUM}:%{VERSION}-%{RELEASE} %{ARCH}\\n";
    lines(
        Command::new("rpm").args(["--define", "_db_backend sqlite", "-qa", "--qf", format, "--dbpath"]).arg(copy.path()),
        "`rpm`",
    )
}

/// Finds the packages of a database of rpm's own format by what each begins with, and has librpm read them: Debian's rpm has no such backend.
const NDB: &str = r#"
import rpm, struct, sys
data, at = open(sys.argv[1], "rb").read(), 0
while (at := data.find(b"BlbS", at)) >= 0:
    if at % 16 == 0:
        size, = struct.unpack_from("<I", data, at + 12)
        h = rpm.hdr(data[at + 16:at + 16 + size])
        print(h["name"], str(h["epochnum"]) + ":" + h["version"] + "-" + h["release"], h["arch"])
    at += 4
"#;

const DIR: &str = "usr/lib/sysimage/rpm";

#[test]
fn the_databases_hold_what_rpm_lists() {
    let Some(fixtures) = fixtures("databases of rpm") else { return };
    let root = tempfile::tempdir().unwrap();
    write(root.path(), &format!("{DIR}/rpmdb.sqlite"), fs::read(fixtures.join("rpmdb/rpmdb.sqlite")).unwrap());
    let ours = listed(root.path()).expect("SQLite");
    assert_eq!(ours, rpm(&root.path().join(DIR)));
    let root = tempfile::tempdir().unwrap();
    let path = fixtures.join("rpmdb/Packages.db");
    write(root.path(), "var/lib/rpm/Packages.db", fs::read(&path).unwrap());
    let other = listed(root.path()).expect("ndb");
    assert_eq!(other, lines(Command::new("/usr/bin/python3").args(["-c", NDB]).arg(&path), "`python3-rpm`"));
    println!("{} packages of SQLite and {} of ndb as rpm lists them", ours.len(), other.len());
    assert!(ours.len() >= 2 && other.len() > 30);
    assert_eq!(Database::open(root.path()).unwrap().unwrap().release(), release(&other).as_deref());
    assert!(Database::open(tempfile::tempdir().unwrap().path()).unwrap().is_none());
}

/// The version of the package that says which release it is.
fn release(lines: &[String]) -> Option<String> {
    let line = lines.iter().find(|line| line.starts_with("sles-release ") || line.starts_with("openSUSE-release "))?;
    Some(line.split_once(' ')?.1.split_once(':')?.1.split_once('-')?.0.to_owned())
}

/// Fills a database in the middle of a transaction: what is finished is in its log alone, and what is not as well.
const TRANSACTION: &str = r#"
import shutil, sqlite3, sys
source, target, kind = sys.argv[1:4]
con = sqlite3.connect(source, isolation_level=None)
con.execute("pragma journal_mode=" + ("wal" if kind == "wal" else "delete"))
con.execute("pragma wal_autocheckpoint=0")
con.execute("pragma cache_size=1")
# The first: the last is an imported key, which nobody lists.
blob = con.execute("select blob from Packages order by hnum limit 1").fetchone()[0]
if kind == "wal":
    # Enough rows for pages of pages, and some to find nothing of.
    con.execute("begin")
    for number in range(400): con.execute("insert into Packages(blob) values (?)", (blob,))
    con.execute("delete from Packages where hnum % 3 = 0")
    con.execute("commit")
con.execute("begin")
con.execute("delete from Packages where hnum % 2 = 0")
for number in range(200): con.execute("insert into Packages(blob) values (?)", (blob,))
for suffix in ("", "-wal", "-journal"):
    try: shutil.copy(source + suffix, target + suffix)
    except FileNotFoundError: pass
con.execute("rollback")
"#;

/// Makes a database in the middle of a transaction.
fn in_transaction(source: &Path, kind: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let work = tempfile::tempdir().unwrap();
    write(work.path(), "rpmdb.sqlite", fs::read(source).unwrap());
    fs::create_dir_all(root.path().join(DIR)).unwrap();
    let output = Command::new("/usr/bin/python3")
        .args(["-c", TRANSACTION])
        .args([work.path().join("rpmdb.sqlite"), root.path().join(DIR).join("rpmdb.sqlite"), kind.into()])
        .output()
        .expect("`python3` is needed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    root
}

#[test]
fn b05_in_the_middle_of_a_transaction_the_last_finished_state_counts() {
    let Some(fixtures) = fixtures("a database of rpm in a transaction") else { return };
    let source = fixtures.join("rpmdb/rpmdb.sqlite");
    let root = in_transaction(&source, "wal");
    let dir = root.path().join(DIR);
    let log = dir.join("rpmdb.sqlite-wal");
    let whole = fs::read(&log).unwrap();
    assert!(whole.len() > 1 << 20, "the transaction must not fit into the cache of pages: {}", whole.len());
    let ours = listed(root.path()).expect("a database");
    assert!(ours.len() > 200, "{}", ours.len());
    assert_eq!(ours, rpm(&dir));
    // A log that is cut off or damaged counts as far as it is whole, as SQLite has it.
    let mut damaged = whole.clone();
    damaged[5_000] ^= 1;
    let mut later = whole.clone();
    let end = later.len() - 10;
    later[end] ^= 1;
    for bytes in [&whole[..whole.len() - 100], &whole[..20_000], &whole[..10], &damaged, &later] {
        fs::write(&log, bytes).unwrap();
        assert_eq!(listed(root.path()).expect("a database"), rpm(&dir));
    }
    // Something that is not undone yet is not the state of anything.
    let root = in_transaction(&source, "delete");
    assert!(root.path().join(DIR).join("rpmdb.sqlite-journal").is_file());
    let err = listed(root.path()).expect_err("half a transaction");
    assert!(err.to_string().starts_with("transaction in progress") && matches!(err, Error::Busy(_)), "{err}");
}

#[test]
fn what_cannot_be_read_or_believed_is_refused() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "var/lib/rpm/Packages", b"bdb");
    let err = Database::open(root.path()).expect_err("Berkeley DB");
    assert_eq!(err.to_string(), "the package database of this machine is of Berkeley DB, which is not read");
    assert!(err.kind() == ErrorKind::Host && err.hints()[0].contains("rpmdb --rebuilddb"));
    let Some(fixtures) = fixtures("databases of rpm that are damaged") else { return };
    for name in ["rpmdb.sqlite", "Packages.db"] {
        let whole = fs::read(fixtures.join("rpmdb").join(name)).unwrap();
        let root = tempfile::tempdir().unwrap();
        let path = format!("var/lib/rpm/{name}");
        for bytes in [&whole[..whole.len() / 3], &whole[..50], b""] {
            write(root.path(), &path, bytes);
            let err = Database::open(root.path()).expect_err("it is cut off");
            assert!(matches!(err, Error::Damaged { .. }), "{err}");
        }
        write(root.path(), &path, &whole);
        let database = Database::open(root.path()).unwrap().unwrap();
        assert!(!database.has_changed());
        write(root.path(), &path, [&whole[..], b"x"].concat());
        assert!(database.has_changed());
        fs::set_permissions(root.path().join(&path), fs::Permissions::from_mode(0o666)).unwrap();
        let err = Database::open(root.path()).expect_err("everybody can write it");
        assert!(err.kind() == ErrorKind::Untrusted && matches!(err, Error::Open { .. }));
    }
}
