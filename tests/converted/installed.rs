//! Roots that dnf and pacman install from the repositories, signatures checked, and what lies in them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::repositories::{Family, Repository};
use crate::run;

/// Path to one line that says everything of it.
pub type Listing = BTreeMap<String, String>;

/// Lists a root: NUL after every record, for names may have anything else.
const LIST: &str = r#"
cd "$ROOT"
find . -mindepth 1 -printf '%y\t%m\t%U\t%G\t%s\t%i\t%P\t%l\0' >"$OUT/entries"
find . -type f -print0 | xargs -0 -r sha256sum -z >"$OUT/digests"
getcap -r . >"$OUT/capabilities"
"#;

/// Runs a script as root, of a namespace if this is no root, with `$ROOT` a directory to install into, and returns what it holds then.
pub fn list(script: &str, arguments: &[&str]) -> Listing {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let root = dir.path().join("root");
    fs::create_dir(&root).expect("a directory");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child"]);
    if !rustix::process::geteuid().is_root() {
        command.args(["--map-root-user", "--map-auto"]);
    }
    // As root of a namespace: what lies there may belong to users that only it knows.
    let script = format!("set -e\numask 022\n{script}\n{LIST}\nmv \"$ROOT\" \"$ROOT.done\"; rm -rf \"$ROOT.done\"\n");
    command.args(["sh", "-c", &script, "sh"]).args(arguments).env("ROOT", &root).env("OUT", dir.path());
    let path = std::env::var("PATH").unwrap_or_default();
    run(command.env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin")), "util-linux");
    let read = |name: &str| String::from_utf8(fs::read(dir.path().join(name)).expect("a list")).expect("text");
    listing(&read("entries"), &read("digests"), &read("capabilities"))
}

fn listing(entries: &str, digests: &str, capabilities: &str) -> Listing {
    let records = |text: &str| text.split_terminator('\0').map(str::to_owned).collect::<Vec<_>>();
    let digests: BTreeMap<String, String> = records(digests)
        .iter()
        .map(|record| record.split_once("  ./").expect("a digest and a path"))
        .map(|(digest, path)| (path.to_owned(), digest.to_owned()))
        .collect();
    let capabilities: BTreeMap<&str, &str> = capabilities
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(path, text)| (path.trim_start_matches("./"), text))
        .collect();
    let entries = records(entries);
    let entries: Vec<Vec<&str>> = entries.iter().map(|record| record.splitn(8, '\t').collect()).collect();
    let mut names: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry[0] == "f") {
        names.entry(entry[5]).or_default().push(entry[6]);
    }
    let line = |entry: &Vec<&str>| {
        let [kind, mode, uid, gid, size, inode, path, target] = entry[..] else { panic!("{entry:?}") };
        let mode = u32::from_str_radix(mode, 8).expect("an octal number");
        let text = match kind {
            "d" => format!("d {mode:04o} {uid}:{gid}"),
            "l" => format!("l {uid}:{gid} -> {target}"),
            "f" => {
                let (digest, same) = (&digests[path], &names[inode]);
                file(mode, &format!("{uid}:{gid}"), size, digest, same, capabilities.get(path).copied().unwrap_or_default())
            }
            other => format!("{other} {mode:04o} {uid}:{gid}"),
        };
        (path.to_owned(), text)
    };
    entries.iter().map(line).collect()
}

/// One line for a file; `names` are all that it has.
pub fn file(mode: u32, owner: &str, size: &str, digest: &str, names: &[&str], capability: &str) -> String {
    let mut names = names.to_vec();
    names.sort_unstable();
    let links = if names.len() > 1 { format!(" = {}", names.join(" = ")) } else { String::new() };
    let capability = if capability.is_empty() { String::new() } else { format!(" {capability}") };
    format!("- {mode:04o} {owner} {size} {digest}{links}{capability}")
}

/// Installs with dnf: the metadata's signature and every package's are checked.
pub fn dnf(repository: &Repository, request: &[&str]) -> Listing {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let conf = dnf_conf(repository, dir.path());
    let script = r#"conf=$1; shift
dnf --config "$conf" --installroot "$ROOT" --releasever 99 --setopt install_weak_deps=0 -y -q install "$@""#;
    list(script, &[&[&conf as &str], request].concat())
}

fn dnf_conf(repository: &Repository, dir: &Path) -> String {
    let path = dir.join("dnf.conf");
    let text = format!(
        "[main]\ngpgcheck=1\nplugins=0\nreposdir=/dev/null\n[fixture]\nname=fixture\nbaseurl={}\nrepo_gpgcheck=1\ngpgcheck=1\ngpgkey=file://{}\n",
        repository.url,
        repository.key.display()
    );
    fs::write(&path, text).expect("writing");
    path.display().to_string()
}

/// Installs with pacman: the database's signature and every package's are checked.
pub fn pacman(repository: &Repository, request: &[&str]) -> Listing {
    let script = r#"server=$1 key=$2; shift 2
mkdir -p "$ROOT/var/lib/pacman" "$OUT/cache"
mkdir -m 700 "$OUT/gpg"
gpg --batch --quiet --homedir "$OUT/gpg" --import "$key"
fingerprint=$(gpg --batch --homedir "$OUT/gpg" --with-colons --list-keys | awk -F: '$1 == "fpr" { print $10; exit }')
echo "$fingerprint:6:" | gpg --batch --quiet --homedir "$OUT/gpg" --import-ownertrust
cat >"$OUT/conf" <<END
[options]
RootDir = $ROOT
DBPath = $ROOT/var/lib/pacman
CacheDir = $OUT/cache
LogFile = $OUT/log
GPGDir = $OUT/gpg
HookDir = $OUT/hooks
Architecture = x86_64
SigLevel = Required
[core]
Server = $server
END
pacman --config "$OUT/conf" -Sy --noconfirm --noprogressbar "$@"
pacman --config "$OUT/conf" -Qkk >"$OUT/checked" 2>&1 || { cat "$OUT/checked"; exit 1; }
gpgconf --homedir "$OUT/gpg" --kill all"#;
    let key = repository.key.display().to_string();
    list(script, &[&[&repository.url as &str, &key], request].concat())
}

/// Unpacks packages of Alpine with tar, in this order: there is no apk on Debian.
pub fn tar(files: &[&str]) -> Listing {
    let script = r#"for file; do
    tar --extract --gzip --ignore-zeros --keep-directory-symlink --same-owner --preserve-permissions --numeric-owner --xattrs \
        --xattrs-include='*' --warning=no-unknown-keyword --exclude='.SIGN.*' --exclude=.PKGINFO --exclude=.trigger --directory "$ROOT" --file "$file"
done"#;
    list(script, files)
}

#[test]
fn dnf_refuses_what_is_not_signed_by_the_key() {
    let repository = crate::repository(Family::Fedora, crate::Set::Mini);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let copy = dir.path().join("copy");
    run(Command::new("cp").arg("-a").arg(&repository.dir).arg(&copy), "coreutils");
    // One bit of the metadata.
    let repomd = copy.join("repodata/repomd.xml");
    let text = fs::read_to_string(&repomd).expect("metadata").replacen("<revision>1", "<revision>2", 1);
    fs::write(&repomd, text).expect("writing");
    let broken = Repository { url: format!("file://{}", copy.display()), dir: copy, ..repository.clone() };
    let conf = dnf_conf(&broken, dir.path());
    let mut dnf = Command::new("dnf");
    dnf.args(["--config", &conf, "--releasever", "99", "-y", "install", "kmod", "--installroot"]).arg(dir.path().join("root"));
    let output =
        dnf.arg("--setopt").arg(format!("cachedir={}", dir.path().join("cache").display())).output().expect("dnf is needed");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("repomd.xml"), "{said}");
}
