//! What a Fedora, CentOS or openSUSE machine says of its repositories, against dnf and zypper.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mkinitrd_pkg::acquire::{self, HostSources};
use mkinitrd_pkg::base::digest::Sha256;
use mkinitrd_pkg::base::error::{Diagnostic, ErrorKind};
use mkinitrd_pkg::base::trust::{KeyRef, SignedBy};
use mkinitrd_pkg::config::{Item, Source};
use mkinitrd_pkg::family::repo::{self, Index, Policy, Repository, Spec, Target};
use mkinitrd_pkg::family::rpm::config::{self, Files, Repo, Tool};
use mkinitrd_pkg::family::rpm::sources::{self, MirrorList, RepoSpec, Signatures};
use mkinitrd_pkg::family::rpm::variables::Variables;
use mkinitrd_pkg::plan::{Request, plan};
use mkinitrd_pkg::report::Silent;
use serde_json::Value;

use crate::server::{Server, absent, ok};
use crate::{Machine, fixtures, write};

// ---- files, against dnf ---------------------------------------------------------------------------------------------

/// Prints what dnf makes of a machine's files.
const DUMP: &str = r#"
import sys, json, dnf, logging
root, release, arch = sys.argv[1:4]
logging.disable(logging.CRITICAL)
conf = dnf.conf.Conf()
conf.substitutions.update({'arch': arch, 'basearch': dnf.rpm.basearch(arch), 'releasever': release})
conf.config_file_path = root + '/etc/dnf/dnf.conf'
conf.read(conf.config_file_path)
conf.reposdir = [root + dir for dir in ('/etc/yum.repos.d', '/etc/yum/repos.d', '/etc/distro.repos.d')]
conf.substitutions.update_from_etc(root)
base = dnf.Base(conf)
base.read_all_repos()
print(json.dumps({repo.id: [repo.name, [url for url in repo.baseurl if url], repo.metalink or None, repo.mirrorlist or None, bool(repo.enabled),
    bool(repo.gpgcheck), bool(repo.repo_gpgcheck), list(repo.gpgkey), repo.priority, repo.cost,
    sorted(repo.excludepkgs) + sorted(conf.excludepkgs), sorted(repo.includepkgs), bool(repo.skip_if_unavailable)] for repo in base.repos.values()}))
"#;

fn dnf(script: &str, args: &[&str]) -> Value {
    let output = Command::new("/usr/bin/python3").args(["-c", script]).args(args).output().expect("python3 is needed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "dnf is needed: install `dnf`: {said}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|err| panic!("{err}: {said}"))
}

fn sorted(words: &[String]) -> Vec<String> {
    let mut words = words.to_vec();
    words.sort();
    words
}

/// Returns a repository as [`DUMP`] prints it.
fn shown(repo: &Repo, excluded: &[String]) -> Value {
    // dnf looks into a `mirrorlist` for a metalink only when it fetches.
    let lists = match (&repo.metalink, &repo.mirror_list) {
        (Some(url), None) if repo.id.contains("hidden") => [None, Some(url)],
        (metalink, list) => [metalink.as_ref(), list.as_ref()],
    };
    let excluded = [sorted(&repo.excluded), sorted(excluded)].concat();
    serde_json::json!([
        repo.name,
        repo.urls,
        lists[0],
        lists[1],
        repo.is_enabled,
        repo.signatures.packages,
        repo.signatures.metadata,
        repo.keys,
        repo.priority,
        repo.cost,
        excluded,
        sorted(&repo.included),
        repo.is_optional
    ])
}

/// The files of real distributions, and what people write.
const REPO_FILES: [(&str, &str); 25] = [
    (
        "fedora",
        "[fedora]\nname=Fedora $releasever - $basearch\n#baseurl=http://download.example/pub/fedora/linux/releases/$releasever/Everything/$basearch/os/\n\
        metalink=https://mirrors.example/metalink?repo=fedora-$releasever&arch=$basearch\nenabled=1\ncountme=1\nmetadata_expire=7d\nrepo_gpgcheck=0\n\
        type=rpm\ngpgcheck=1\ngpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-fedora-$releasever-$basearch\nskip_if_unavailable=False\n\n\
        [fedora-source]\nname=Fedora $releasever - Source\nenabled=0\nmetalink=https://mirrors.example/metalink?repo=fedora-source-$releasever&arch=$basearch\n",
    ),
    (
        "centos",
        "[baseos]\nname=CentOS Stream $releasever - BaseOS\nmetalink=https://mirrors.example/metalink?repo=centos-baseos-$stream&arch=$basearch&protocol=https,http\n\
        gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-centosofficial\ngpgcheck=1\nrepo_gpgcheck=0\nmetadata_expire=6h\ncountme=1\nenabled=1\n",
    ),
    (
        "several",
        "[many]\nname = a\nbaseurl=https://a/$releasever/${basearch}/os/ , https://b/$arch\n   http://c/$undefined/${undefined}/$\n\tftp://d/x;y\n",
    ),
    ("list", "[plain]\nname=p\nmirrorlist=https://list.example/?arch=$basearch&repo=os&infra=$infra\n"),
    ("hidden", "[hidden]\nname=p\nmirrorlist=https://list.example/metalink?arch=$basearch\n"),
    ("packages", "[packages]\nname=p\nbaseurl=https://a\nexclude=a*\nexcludepkgs=b, c\n  d\nexclude=e\nincludepkgs=x,y z\n"),
    (
        "numbers",
        "[numbers]\nname=p\nbaseurl=https://a\npriority=10\ncost=500\nskip_if_unavailable=yes\n[zero]\nname=p\nbaseurl=https://a\npriority=0\n",
    ),
    (
        "flags",
        "[f1]\nname=1\nenabled=NO\ngpgcheck=False\nrepo_gpgcheck=on\nbaseurl=x\n[f2]\nname=2\nenabled=True\ngpgcheck=0\nbaseurl=x\n",
    ),
    ("wrong-flag", "[wf]\nname=1\nenabled=maybe\nbaseurl=x\n[wn]\nname=1\npriority=high\nbaseurl=x\n"),
    ("keys", "[keys]\nname=1\nbaseurl=x\ngpgkey=file:///a\n  https://b, file:///c\n"),
    ("case", "[case]\nname=$RELEASEVER$Basearch\nENABLED=0\nbaseurl=x\n"),
    ("twice", "[twice]\nname=1\nbaseurl=one\n[other]\nname=2\nbaseurl=x\n[twice]\nbaseurl=two\n"),
    ("again", "[twice]\nname=3\nbaseurl=three\n"),
    ("variable-$name", "[id-$basearch]\nname=1\nbaseurl=x\n"),
    ("bad-id", "[bad id]\nname=1\nbaseurl=x\n[good]\nname=1\nbaseurl=x\n"),
    ("crlf", "[crlf]\r\nname=x\r\nbaseurl=http://c\r\n"),
    ("tail", "[tail] # really\nname=x\nbaseurl=http://c\n"),
    ("main", "[main]\nexcludepkgs=no\n[inmain]\nname=y\nbaseurl=x\n"),
    ("noname", "[noname]\nbaseurl=x\n"),
    ("value", "[value]\nname=\"a\" = b # c\nbaseurl =x\n"),
    ("no-section-1", "name=x\n[ns1]\nname=1\nbaseurl=x\n"),
    ("no-section-2", "[ns2] tail\nname=1\nbaseurl=x\n"),
    ("no-option", "[no1]\nname=1\nbaseurl=x\nthis is nothing\n[no2]\nname=1\nbaseurl=x\n"),
    ("begins-nothing", "[bn]\nname=1\nbaseurl=x\n# comment\n  y\n"),
    ("unclosed", "[un\nname=1\nbaseurl=x\n"),
];

#[test]
fn files_say_what_dnf_reads_in_them() {
    let (mut compared, mut refused) = (0, 0);
    for (release, arch) in [("42", "x86_64"), ("9", "aarch64"), ("9.4", "i686")] {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        write(
            root,
            "etc/dnf/dnf.conf",
            "[main]\ngpgcheck=1\nexcludepkgs=foo* bar,baz\n  qux\ninstallonly_limit=3\n[own]\nname=own\nbaseurl=https://m/own\n",
        );
        write(root, "etc/dnf/vars/stream", "9-stream\n");
        write(root, "etc/yum/vars/infra", "stock\nsecond line\n");
        write(root, "etc/yum/vars/stream", "older\n");
        for (name, text) in REPO_FILES {
            write(root, &format!("etc/yum.repos.d/{name}.repo"), text);
        }
        write(root, "etc/os-release", format!("ID=fedora\nVERSION_ID={release}\n"));
        let read = read(root, release, arch);
        let theirs = dnf(DUMP, &[root.to_str().unwrap(), release, arch]);
        let ours: BTreeMap<&str, Value> = read.repos.iter().map(|repo| (repo.id.as_str(), shown(repo, &read.excluded))).collect();
        for (id, repo) in theirs.as_object().unwrap() {
            assert_eq!(ours.get(id.as_str()), Some(repo), "{id} of {release} {arch}");
            compared += 1;
        }
        let only_ours: Vec<_> = ours.keys().filter(|id| theirs.get(id).is_none()).collect();
        assert!(only_ours.is_empty(), "{only_ours:?}");
        refused += read.skipped.len();
    }
    println!("{compared} repositories as dnf reads them, {refused} remarks on files");
    assert!(compared == 75 && refused == 27, "{compared} {refused}");
}

/// Reads a machine's files as dnf.
fn read(root: &Path, release: &str, arch: &str) -> config::Config {
    use mkinitrd_pkg::host::dnf;
    let mut variables = Variables::new(release, arch);
    for (name, text) in dnf::variables(root, &dnf::VARIABLE_DIRS).unwrap() {
        variables.set_from_file(&name, &text);
    }
    let files = Files {
        main: dnf::main_config(root).unwrap(),
        repos: dnf::repos(root, &dnf::REPO_DIRS).unwrap(),
        overrides: dnf::overrides(root).unwrap(),
    };
    config::parse(&files, Tool::Dnf, &variables)
}

// ---- the machine ----------------------------------------------------------------------------------------------------

fn own(root: &Path, distro: &str, release: &str) -> HostSources {
    let target = Target { family: "rpm", release, components: &[], arch: "x86_64" };
    acquire::host_sources(root, distro, &target).unwrap().expect("it is this distribution")
}

fn specs(own: &HostSources) -> Vec<&RepoSpec> {
    own.specs.iter().map(|spec| if let Spec::Rpm(spec) = spec { spec } else { panic!("{spec:?}") }).collect()
}

#[test]
fn a_machines_repositories_are_those_that_are_on_in_the_order_in_which_they_count() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    write(root, "etc/os-release", "ID=fedora\nVERSION_ID=42\n");
    write(root, "etc/dnf/dnf.conf", "[main]\ngpgcheck=True\nskip_if_unavailable=True\n");
    for (name, text) in &REPO_FILES[..1] {
        write(root, &format!("etc/yum.repos.d/{name}.repo"), text);
    }
    write(
        root,
        "etc/yum.repos.d/more.repo",
        "[cheap]\nbaseurl=https://c/$releasever\ncost=5\n[first]\nbaseurl=file:///f\npriority=1\n[ftp]\nbaseurl=ftp://x\n\
        [remote-key]\nbaseurl=https://r\ngpgkey=https://r/key\n[both]\nbaseurl=https://b\ngpgkey=https://r/key file:///k\n[off]\nbaseurl=https://off\n",
    );
    write(root, "etc/dnf/repos.override.d/50.repo", "[o*]\nenabled=0\n[cheap]\nexcludepkgs=kernel*\n");
    write(root, "etc/pki/rpm-gpg/KEY", "");
    let all = own(root, "fedora", "42");
    let found = specs(&all);
    let ids: Vec<&str> = found.iter().map(|spec| spec.id.as_deref().unwrap()).collect();
    assert_eq!(ids, ["first", "cheap", "fedora", "both"]);
    assert_eq!((found[1].policy.excluded.as_slice(), found[1].is_optional), (&["kernel*".to_owned()][..], true));
    assert_eq!(found[1].signed_by.keys, [KeyRef::File("/etc/pki/rpm-gpg/KEY".into())]);
    assert_eq!(found[3].signed_by.keys, [KeyRef::File("/k".into())]);
    assert_eq!(found[2].signed_by.keys, [KeyRef::File("/etc/pki/rpm-gpg/RPM-GPG-KEY-fedora-42-x86_64".into())]);
    let list = "https://mirrors.example/metalink?repo=fedora-42&arch=x86_64";
    assert!(matches!(&found[2].list, Some(MirrorList::Metalink(_))) && found[2].key() == list);
    let told: Vec<&str> = all.skipped.iter().map(|(_, reason)| reason.as_str()).collect();
    assert_eq!(told.len(), 4, "{told:?}");
    assert_eq!(
        told[2],
        "repository `remote-key`: its key `https://r/key` is not on this machine: put it into a file, and name that as `gpgkey`"
    );
    // Of another release only what depends on it is any use.
    let other = own(root, "fedora", "43");
    let addresses: Vec<String> = specs(&other).iter().map(|spec| spec.key()).collect();
    assert_eq!(addresses, ["https://c/43", "https://mirrors.example/metalink?repo=fedora-43&arch=x86_64"]);
    assert!(other.skipped.iter().any(|(_, reason)| reason.contains("`first` has no `$releasever`")));
    let target = Target { family: "rpm", release: "42", components: &[], arch: "x86_64" };
    assert!(acquire::host_sources(root, "centos", &target).unwrap().is_none());
}

#[test]
fn a_release_is_what_the_machines_own_number_begins_with() {
    for (os, release, wanted) in [
        ("ID=almalinux\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=9.4\n", "9", Some("https://m/9")),
        ("ID=almalinux\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=9.4\n", "9.4", Some("https://m/9")),
        ("ID=almalinux\nVERSION_ID=9.4\n", "10", Some("https://m/10")),
        ("ID=almalinux\nID_LIKE=opensuse\nVERSION_ID=15.6\n", "15.6", Some("https://z/15.6/15")),
        ("ID=almalinux\nID_LIKE=opensuse\nVERSION_ID=20251101\n", "tumbleweed", Some("https://z/20251101/20251101")),
    ] {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "etc/os-release", os);
        write(dir.path(), "etc/yum.repos.d/a.repo", "[a]\nbaseurl=https://m/$releasever\n");
        write(dir.path(), "etc/zypp/repos.d/a.repo", "[a]\nbaseurl=https://z/$releasever/${releasever_major:-none}\n");
        let own = own(dir.path(), "almalinux", release);
        assert_eq!(specs(&own).first().map(|spec| spec.key()).as_deref(), wanted, "{os} {release}");
    }
}

/// What `zypper repos` exports, section by section.
fn zypper(root: &Path) -> BTreeMap<String, BTreeMap<String, String>> {
    let output = Command::new("zypper")
        .args(["--non-interactive", "--no-refresh", "--root"])
        .arg(root)
        .args(["repos", "--export", "-"])
        .output()
        .expect("zypper is needed: install `zypper`");
    let text = String::from_utf8(output.stdout).unwrap();
    let mut sections: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            current = name.to_owned();
            sections.insert(current.clone(), BTreeMap::new());
        } else if let (Some((key, value)), Some(section)) = (line.split_once('='), sections.get_mut(&current)) {
            section.insert(key.to_owned(), value.to_owned());
        }
    }
    assert!(!sections.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    sections
}

#[test]
fn zypper_has_the_same_repositories() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    write(root, "etc/os-release", "ID=opensuse-leap\nID_LIKE=\"suse opensuse\"\nVERSION_ID=15.6\n");
    write(
        root,
        "etc/zypp/repos.d/repo-oss.repo",
        "[repo-oss]\nname=Main Repository\nenabled=1\nautorefresh=1\n\
        baseurl=http://download.example/distribution/leap/oss/\npath=/\ntype=rpm-md\nkeeppackages=0\npriority=90\n",
    );
    write(root, "etc/zypp/repos.d/below.repo", "[below]\nname=below\nenabled=1\nbaseurl=http://download.example/\npath=/os/x\n");
    write(root, "etc/zypp/repos.d/off.repo", "[off]\nname=off\nenabled=0\nbaseurl=http://download.example/off\n");
    let theirs = zypper(root);
    let own = own(root, "opensuse-leap", "15.6");
    let ours: BTreeMap<&str, &RepoSpec> = specs(&own).into_iter().map(|spec| (spec.id.as_deref().unwrap(), spec)).collect();
    assert_eq!(theirs.keys().collect::<Vec<_>>(), ["below", "off", "repo-oss"]);
    for (id, section) in theirs.iter().filter(|(id, _)| *id != "off") {
        let spec = ours[id.as_str()];
        let path = section.get("path").map_or("", |path| path.trim_matches('/'));
        let url = format!("{}/{path}", section["baseurl"].trim_end_matches('/'));
        assert_eq!(spec.key(), url.trim_end_matches('/'), "{id}");
        let priority = section.get("priority").map_or(99, |text| text.parse().unwrap());
        assert_eq!((spec.policy.priority, spec.signatures.metadata), (priority, true), "{id}");
    }
    assert!(!ours.contains_key("off"));
}

// ---- mirrors --------------------------------------------------------------------------------------------------------

/// Where a machine has the key that the signed repository is signed with.
const KEY: &str = "/etc/pki/rpm-gpg/RPM-GPG-KEY-fixture";

/// A signed repository, and its key on a machine that knows it.
fn signed() -> Option<(PathBuf, SignedBy)> {
    let dir = fixtures("a signed repository")?.join("converted/trixie-mini/rpm");
    Some((dir, SignedBy { keys: vec![KeyRef::File(KEY.into())], shipped: false }))
}

/// A machine that has the key of a signed repository.
fn knowing(dir: &Path) -> Machine {
    let machine = Machine::new();
    write(&machine.root(), KEY, fs::read(dir.join("RPM-GPG-KEY-fixture")).unwrap());
    machine
}

fn spec(address: &str, signed_by: &SignedBy) -> RepoSpec {
    let spec = sources::parse_repo(address, Path::new("/")).unwrap().remove(0);
    let signatures = Signatures { packages: true, metadata: true };
    RepoSpec { signed_by: signed_by.clone(), id: Some("mini".to_owned()), signatures, ..spec }
}

fn open(machine: &Machine, spec: &RepoSpec) -> Result<Repository, acquire::Error> {
    machine.in_world(|world| acquire::repositories(&[Spec::Rpm(spec.clone())], world)).map(|mut all| all.remove(0))
}

fn metalink(list: &[u8], alternate: &[u8], mirrors: &[String]) -> Vec<u8> {
    let urls: String = mirrors
        .iter()
        .enumerate()
        .map(|(at, mirror)| format!("<url protocol=\"http\" preference=\"{}\">{mirror}/repodata/repomd.xml</url>", 100 - at))
        .collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<metalink><files><file name=\"repomd.xml\"><size>{}</size><verification><hash type=\"sha256\">{}</hash></verification>\
         <mm0:alternates><mm0:alternate><size>{}</size><verification><hash type=\"sha256\">{}</hash></verification></mm0:alternate>\
         </mm0:alternates><resources>{urls}</resources></file></files></metalink>",
        list.len(), Sha256::of(list), alternate.len(), Sha256::of(alternate)
    ).into_bytes()
}

/// Serves a repository on three mirrors: one that has nothing, one that has another `repomd.xml`, and a good one.
fn mirrors(dir: &Path, kind: &'static str) -> Server {
    let dir = dir.to_owned();
    let list = fs::read(dir.join("repodata/repomd.xml")).unwrap();
    Server::start(move |request| {
        let host = request.headers.iter().find_map(|line| line.strip_prefix("host: ")).unwrap().trim().to_owned();
        let urls: Vec<String> = ["gone", "stale", "good"].iter().map(|name| format!("http://{host}/{name}")).collect();
        match request.path.as_str() {
            "/metalink" => {
                ok(&metalink(if kind == "new" { &list } else { b"newer" }, if kind == "old" { &list } else { b"older" }, &urls))
            }
            "/mirrorlist" => ok(urls.join("\n").as_bytes()),
            "/stale/repodata/repomd.xml" => ok(b"<?xml version=\"1.0\"?>\n<repomd></repomd>"),
            path if path.starts_with("/good/") => match fs::read(dir.join(&path[6..])) {
                Ok(bytes) => ok(&bytes),
                Err(_) => absent(),
            },
            _ => absent(),
        }
    })
}

#[test]
fn c05_a_mirror_that_fails_goes_to_the_next_and_a_metalink_says_which_metadata_count() {
    let Some((dir, keys)) = signed() else { return };
    for (kind, is_good) in [("new", true), ("old", true), ("neither", false)] {
        let server = mirrors(&dir, kind);
        let (machine, spec) = (knowing(&dir), spec(&server.url("/metalink"), &keys));
        match open(&machine, &spec) {
            Ok(repository) => {
                assert!(is_good, "{kind}");
                assert_eq!(repository.indexes[0].base.to_string(), server.url("/good"));
                assert_eq!((repository.name.as_str(), repository.indexes[0].label.as_str()), ("mini", "mini"));
            }
            Err(err) => assert!(
                !is_good && matches!(err.kind(), ErrorKind::Unavailable | ErrorKind::Untrusted),
                "{kind}: {err:?} {:?}",
                machine.told.0.lock().unwrap()
            ),
        }
        let asked = server.asked();
        assert_eq!(
            &asked[..4],
            ["/metalink", "/gone/repodata/repomd.xml", "/stale/repodata/repomd.xml", "/stale/repodata/repomd.xml.asc"]
        );
        // What a metalink does not know is not even parsed.
        let told = machine.told.0.lock().unwrap().join("\n");
        assert!(told.contains("that the metalink does not know"), "{told}");
        assert_eq!(asked.iter().any(|path| path.contains("primary")), is_good);
    }
}

#[test]
fn a_wrong_signature_is_not_passed_over() {
    let Some((dir, keys)) = signed() else { return };
    // A plain list says nothing of the metadata, so that the stale mirror's are judged by their signature, which is not there.
    let server = mirrors(&dir, "new");
    let machine = knowing(&dir);
    let err = match open(&machine, &spec(&server.url("/mirrorlist"), &keys)) {
        Err(err) => err,
        Ok(repository) => panic!("it is not signed: {repository:?} {:?}", machine.told.0.lock().unwrap()),
    };
    assert!(err.to_string().contains("not signed"), "{err}");
    assert!(!server.asked().iter().any(|path| path.starts_with("/good")));
    let unlisted = Server::start(|_| ok(b"<?xml version=\"1.0\"?>\n<metalink></metalink>"));
    let err = open(&knowing(&dir), &spec(&unlisted.url("/metalink"), &keys)).expect_err("it is no metalink");
    assert_eq!((err.kind(), err.to_string().contains("neither a SHA-256")), (ErrorKind::Untrusted, true));
}

#[test]
fn what_can_be_done_without_is_passed_over_and_told() {
    let Some((dir, keys)) = signed() else { return };
    let machine = knowing(&dir);
    let good = spec(dir.to_str().unwrap(), &keys);
    let gone = RepoSpec { is_optional: true, id: Some("gone".into()), ..spec("/nowhere", &keys) };
    let both = |gone: &RepoSpec| {
        let specs = [Spec::Rpm(gone.clone()), Spec::Rpm(good.clone())];
        machine.in_world(|world| acquire::repositories(&specs, world))
    };
    assert_eq!(both(&gone).expect("one is enough").len(), 1);
    assert!(machine.told.0.lock().unwrap().iter().any(|told| told.starts_with("`gone` is passed over")));
    assert_eq!(both(&RepoSpec { is_optional: false, ..gone.clone() }).expect_err("it is needed").kind(), ErrorKind::Unavailable);
    // What is there and cannot be believed is no question of being available.
    let unsigned = tempfile::tempdir().unwrap();
    write(unsigned.path(), "repodata/repomd.xml", "<repomd></repomd>");
    let unsigned = RepoSpec { is_optional: true, ..spec(unsigned.path().to_str().unwrap(), &keys) };
    assert_eq!(both(&unsigned).expect_err("it is not signed").kind(), ErrorKind::Untrusted);
}

// ---- what dnf has downloaded ----------------------------------------------------------------------------------------

#[test]
fn what_dnf_has_fetched_serves_without_a_network() {
    let Some((dir, _keys)) = signed() else { return };
    for list in ["metalink", "mirrorlist", "baseurl"] {
        let copy = dir.clone();
        let server = Server::start(move |request| {
            let host = request.headers.iter().find_map(|line| line.strip_prefix("host: ")).unwrap().trim().to_owned();
            let here = [format!("http://{host}/good")];
            let text = fs::read(copy.join("repodata/repomd.xml")).unwrap();
            // dnf escapes what stands in versions, which a server takes back.
            match request.path.replace("%2b", "+").as_str() {
                "/metalink" => ok(&metalink(&text, b"", &here)),
                "/mirrorlist" => ok(here[0].as_bytes()),
                path => match path.strip_prefix("/good/").map(|path| fs::read(copy.join(path))) {
                    Some(Ok(bytes)) => ok(&bytes),
                    _ => absent(),
                },
            }
        });
        let machine = Machine { offline: true, ..knowing(&dir) };
        let root = machine.root();
        let (address, option) = match list {
            // The name of the cache is a digest of the address as it is written.
            "baseurl" => (server.url("/good/"), "baseurl"),
            other => (server.url(&format!("/{other}")), other),
        };
        write(&root, "etc/os-release", "ID=fedora\nVERSION_ID=42\n");
        write(
            &root,
            "etc/yum.repos.d/mini.repo",
            format!("[mini]\nname=mini\n{option}={address}\ngpgcheck=1\nrepo_gpgcheck=1\ngpgkey=file://{KEY}\n"),
        );
        let run = |args: &[&str]| {
            let output = Command::new("dnf")
                .args(["-y", "-q", "--releasever=42", "--forcearch=x86_64", "--setopt=plugins=0", "--setopt=keepcache=1"])
                .arg(format!("--setopt=reposdir={}", root.join("etc/yum.repos.d").display()))
                .arg(format!("--setopt=cachedir={}", root.join("var/cache/dnf").display()))
                .arg(format!("--installroot={}", root.join("installed").display()))
                // It takes keys from where it runs, not from below a root.
                .arg(format!("--setopt=mini.gpgkey=file://{}{KEY}", root.display()))
                .args(args)
                .output()
                .expect("dnf is needed: install `dnf`");
            assert!(output.status.success(), "{list}: {}", String::from_utf8_lossy(&output.stderr));
        };
        run(&["makecache"]);
        run(&["install", "--downloadonly", "--setopt=install_weak_deps=0", "iputils"]);
        drop(server);
        let own = own(&root, "fedora", "42");
        let known = |machine: &Machine| machine.in_world(|world| acquire::known_repositories(&own.specs, world));
        let found = known(&machine);
        assert_eq!(found.len(), 1, "{list}: {:?}", machine.told.0.lock().unwrap());
        assert!(found[0].signer.is_some());
        // Without a network the same is found by whoever only asks for repositories.
        let opened = machine.in_world(|world| acquire::repositories(&own.specs, world)).expect("dnf has it");
        let target = Target { family: "rpm", release: "42", components: &[], arch: "x86_64" };
        let catalog = repo::catalog(&target, opened.into_iter().flat_map(|opened| opened.indexes).collect()).unwrap();
        // One that was asked for, and one that it requires, whose name dnf escaped.
        let packages = ["iputils", "glibc"].map(|name| catalog.package(catalog.named(name)[0]).unwrap());
        assert!(packages[1].location.to_string().contains('+'), "{}", packages[1].location);
        let blobs =
            machine.in_world(|world| acquire::acquire(&[&packages[0], &packages[1]], world)).expect("dnf has downloaded them");
        assert_eq!(blobs.len(), 2);
        for blob in &blobs {
            assert!(matches!(blob.origin, acquire::Origin::HostCache(_)), "{:?}", blob.origin);
        }
        // What is in a cache proves nothing.
        let cache = fs::read_dir(root.join("var/cache/dnf"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.is_dir())
            .unwrap();
        let listed = cache.join("repodata/repomd.xml");
        let text = fs::read(&listed).unwrap();
        fs::write(&listed, [&text[..], b"\n"].concat()).unwrap();
        assert!(known(&Machine { offline: true, ..Machine::new() }).is_empty() && known(&machine).is_empty(), "{list}");
    }
}

// ---- priorities -----------------------------------------------------------------------------------------------------

/// What dnf installs of repositories with options, for each setting and request.
const RESOLVE: &str = r#"
import sys, json, tempfile, dnf, dnf.exceptions, logging
logging.disable(logging.CRITICAL)
settings, requests = json.loads(sys.argv[1]), json.loads(sys.argv[2])
answers = []
for repos in settings:
    with tempfile.TemporaryDirectory() as d:
        base = dnf.Base()
        conf = base.conf
        conf.installroot, conf.cachedir, conf.persistdir, conf.logdir = d + "/root", d + "/cache", d + "/persist", d
        conf.install_weak_deps, conf.gpgcheck, conf.best, conf.plugins = False, False, True, False
        conf.substitutions.update({"arch": "x86_64", "basearch": "x86_64", "releasever": "1"})
        for number, (path, options) in enumerate(repos):
            base.repos.add_new_repo(f"r{number}", conf, baseurl=["file://" + path], **options)
        base.fill_sack(load_system_repo=False)
        for request in requests:
            base.reset(goal=True)
            try:
                for name in request.split(): base.install(name)
                base.resolve()
                answers.append(sorted(f"{p.name} {p.version}-{p.release} {p.reponame}" for p in base.transaction.install_set))
            except dnf.exceptions.Error as e:
                answers.append("unsatisfiable")
print(json.dumps(answers))
"#;

/// Makes the metadata of packages: name, version, what each provides, what each requires.
fn repository(packages: &[(&str, &str, &str, &str)]) -> tempfile::TempDir {
    repository_with_files(packages, &[])
}

/// The same with a list of all files, package and path; there is none without files.
pub(crate) fn repository_with_files(packages: &[(&str, &str, &str, &str)], files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let entries = |words: &str| -> String {
        let entry = |word: &str| match word.split_once('=') {
            Some((name, version)) => format!("<rpm:entry name=\"{name}\" flags=\"EQ\" epoch=\"0\" ver=\"{version}\" rel=\"1\"/>"),
            None => format!("<rpm:entry name=\"{word}\"/>"),
        };
        words.split_whitespace().map(entry).collect()
    };
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<metadata xmlns=\"http://linux.duke.edu/metadata/common\" \
         xmlns:rpm=\"http://linux.duke.edu/metadata/rpm\" packages=\"{}\">\n",
        packages.len()
    );
    let mut filelists =
        format!("<filelists xmlns=\"http://linux.duke.edu/metadata/filelists\" packages=\"{}\">\n", packages.len());
    for (name, version, provides, requires) in packages {
        let digest = Sha256::of(format!("{name}{version}{}", dir.path().display()).as_bytes());
        text += &format!(
            "<package type=\"rpm\"><name>{name}</name><arch>noarch</arch><version epoch=\"0\" ver=\"{version}\" rel=\"1\"/>\
             <checksum type=\"sha256\" pkgid=\"YES\">{digest}</checksum><summary>s</summary><description>d</description><packager/><url/>\
             <time file=\"1\" build=\"1\"/><size package=\"10\" installed=\"10\" archive=\"10\"/><location href=\"{name}-{version}.rpm\"/>\
             <format><rpm:license>x</rpm:license><rpm:vendor/><rpm:group>g</rpm:group><rpm:buildhost>h</rpm:buildhost><rpm:sourcerpm>s</rpm:sourcerpm>\
             <rpm:header-range start=\"1\" end=\"2\"/><rpm:provides>{}{}</rpm:provides><rpm:requires>{}</rpm:requires></format></package>\n",
            entries(&format!("{name}={version}")),
            entries(provides),
            entries(requires)
        );
        let has = files.iter().filter(|(owner, _)| owner == name).map(|(_, path)| format!("<file>{path}</file>"));
        filelists += &format!(
            "<package pkgid=\"{digest}\" name=\"{name}\" arch=\"noarch\"><version epoch=\"0\" ver=\"{version}\" rel=\"1\"/>{}</package>\n",
            has.collect::<String>()
        );
    }
    let primary = ("primary", text + "</metadata>\n");
    let filelists = (!files.is_empty()).then_some(("filelists", filelists + "</filelists>\n"));
    let mut list =
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<repomd xmlns=\"http://linux.duke.edu/metadata/repo\"><revision>1</revision>".to_owned();
    for (kind, text) in [Some(primary), filelists].into_iter().flatten() {
        let digest = Sha256::of(text.as_bytes());
        list += &format!(
            "<data type=\"{kind}\"><checksum type=\"sha256\">{digest}</checksum><open-checksum type=\"sha256\">{digest}</open-checksum>\
             <location href=\"repodata/{kind}.xml\"/><timestamp>1</timestamp><size>{0}</size><open-size>{0}</open-size></data>",
            text.len()
        );
        write(dir.path(), &format!("repodata/{kind}.xml"), &text);
    }
    write(dir.path(), "repodata/repomd.xml", list + "</repomd>");
    dir
}

#[test]
fn priorities_costs_and_exclusions_count_as_with_dnf() {
    let a = repository(&[
        ("tool", "1", "", "lib"),
        ("lib", "1", "cap=1", ""),
        ("only-a", "1", "", "tool"),
        ("alt-a", "1", "alt", ""),
    ]);
    let b = repository(&[
        ("tool", "2", "", "lib"),
        ("lib", "2", "cap=2", ""),
        ("only-b", "1", "", "lib=2"),
        ("alt-b", "9", "alt", ""),
        ("lib-extra", "2", "cap=2", ""),
    ]);
    let c =
        repository(&[("tool", "2", "", "lib"), ("lib", "3", "", ""), ("wants", "1", "", "cap=2"), ("needs-alt", "1", "", "alt")]);
    type Options<'a> = &'a [(&'a str, Value)];
    let number = |number: i32| Value::from(number);
    let list = |words: &str| Value::from(words);
    let settings: [[Options<'_>; 3]; 11] = [
        [&[], &[], &[]],
        [&[("priority", number(10))], &[], &[]],
        [&[], &[("priority", number(1))], &[]],
        [&[], &[], &[("priority", number(98))]],
        [&[("priority", number(10))], &[("priority", number(10))], &[]],
        [&[], &[], &[("cost", number(1))]],
        [&[], &[("cost", number(2000))], &[]],
        [&[("excludepkgs", list("tool"))], &[("excludepkgs", list("lib*"))], &[]],
        [&[], &[("includepkgs", list("only-b lib"))], &[("excludepkgs", list("lib-3-1.noarch *-2-1"))]],
        [&[("priority", number(10)), ("excludepkgs", list("lib-1"))], &[], &[("includepkgs", list("tool.noarch wants needs-*"))]],
        [
            &[("priority", number(10)), ("excludepkgs", list("0:lib-1-1.noarch lib.x86_64"))],
            &[("excludepkgs", list("lib-0:2-1"))],
            &[],
        ],
    ];
    let requests =
        ["tool", "lib", "only-a", "only-b", "wants", "needs-alt", "alt", "cap", "tool lib", "only-a only-b", "lib-extra wants"];
    let (mut compared, mut refused) = (0, 0);
    let (mut described_all, mut answers) = (Vec::new(), Vec::new());
    for setting in &settings {
        let described: Vec<Value> = [&a, &b, &c]
            .iter()
            .zip(setting)
            .map(|(dir, options)| {
                let options: serde_json::Map<String, Value> =
                    options.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
                serde_json::json!([dir.path(), options])
            })
            .collect();
        // As a machine's own files would say it.
        let text: String = described
            .iter()
            .enumerate()
            .map(|(at, one)| {
                let options = one[1].as_object().unwrap().iter().map(|(key, value)| match value {
                    Value::String(words) => format!("{key}={words}\n"),
                    value => format!("{key}={value}\n"),
                });
                format!("[r{at}]\nbaseurl=file://{}\n{}", one[0].as_str().unwrap(), options.collect::<String>())
            })
            .collect();
        let machine = Machine { verify: false, ..Machine::new() };
        write(&machine.root(), "etc/os-release", "ID=fedora\nVERSION_ID=42\n");
        write(&machine.root(), "etc/yum.repos.d/x.repo", text);
        let own = own(&machine.root(), "fedora", "42");
        let opened = machine.in_world(|world| acquire::repositories(&own.specs, world)).unwrap();
        let indexes: Vec<Index> = opened.into_iter().flat_map(|opened| opened.indexes).collect();
        let target = Target { family: "rpm", release: "42", components: &[], arch: "x86_64" };
        let catalog = repo::catalog(&target, indexes).unwrap();
        for words in requests {
            let item = |text: &str| Item { text: text.into(), source: Source { file: "--package".into(), line: 0 } };
            let request = Request { packages: words.split(' ').map(item).collect(), ..Request::default() };
            let ours = match plan(&request, &*catalog, &Silent) {
                Ok(plan) => {
                    let mut lines: Vec<String> = plan
                        .packages
                        .iter()
                        .map(|planned| format!("{} {} {}", planned.package.name, planned.package.version, planned.package.repo))
                        .collect();
                    lines.sort();
                    Value::from(lines)
                }
                Err(_) => Value::from("unsatisfiable"),
            };
            answers.push((format!("`{words}` with {setting:?}"), ours));
        }
        described_all.push(Value::from(described));
    }
    let theirs = dnf(RESOLVE, &[&Value::from(described_all).to_string(), &Value::from(requests.to_vec()).to_string()]);
    let mut differing = Vec::new();
    for ((what, ours), theirs) in answers.iter().zip(theirs.as_array().unwrap()) {
        compared += 1;
        refused += usize::from(ours == "unsatisfiable");
        if ours != theirs {
            differing.push(format!("{what}: {ours}, and dnf {theirs}"));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    assert_eq!(compared, settings.len() * requests.len());
    println!("{compared} requests as dnf answers them, {refused} of them refused by both");
    assert!(refused > 5 && refused < 60, "{refused}");
    assert_eq!(Policy::default().priority, 99);
}
