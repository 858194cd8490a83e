//! Lists of all files: read when a request's answer depends on one, and only then.

use std::path::Path;
use std::process::{Command, Output};

use mkinitrd_pkg::base::digest::Sha256;

use crate::write;

const PRIMARY: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<metadata xmlns=\"http://linux.duke.edu/metadata/common\" xmlns:rpm=\"http://linux.duke.edu/metadata/rpm\" packages=\"3\">
";

/// A repository in which `wants` requires a path that `has` has, and `plain` requires nothing.
fn repository() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut primary = PRIMARY.to_owned();
    let mut files = "<filelists xmlns=\"http://linux.duke.edu/metadata/filelists\" packages=\"3\">\n".to_owned();
    for (name, requires) in [("wants", "<rpm:entry name=\"/usr/share/words/list\"/>"), ("has", ""), ("plain", "")] {
        let digest = Sha256::of(name.as_bytes());
        primary += &format!(
            "<package type=\"rpm\"><name>{name}</name><arch>noarch</arch><version epoch=\"0\" ver=\"1\" rel=\"1\"/>\
             <checksum type=\"sha256\" pkgid=\"YES\">{digest}</checksum><summary>s</summary><description>d</description><packager/><url/>\
             <time file=\"1\" build=\"1\"/><size package=\"10\" installed=\"10\" archive=\"10\"/><location href=\"{name}.rpm\"/>\
             <format><rpm:license>x</rpm:license><rpm:vendor/><rpm:group>g</rpm:group><rpm:buildhost>h</rpm:buildhost><rpm:sourcerpm>s</rpm:sourcerpm>\
             <rpm:header-range start=\"1\" end=\"2\"/><rpm:provides><rpm:entry name=\"{name}\" flags=\"EQ\" epoch=\"0\" ver=\"1\" rel=\"1\"/></rpm:provides>\
             <rpm:requires>{requires}</rpm:requires></format></package>\n"
        );
        let path = if name == "has" { "<file>/usr/share/words/list</file>" } else { "" };
        files += &format!(
            "<package pkgid=\"{digest}\" name=\"{name}\" arch=\"noarch\"><version epoch=\"0\" ver=\"1\" rel=\"1\"/>{path}</package>\n"
        );
    }
    let mut list = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<repomd xmlns=\"http://linux.duke.edu/metadata/repo\"><revision>1</revision>".to_owned();
    for (kind, text) in [("primary", primary + "</metadata>\n"), ("filelists", files + "</filelists>\n")] {
        let (digest, size) = (Sha256::of(text.as_bytes()), text.len());
        list += &format!(
            "<data type=\"{kind}\"><checksum type=\"sha256\">{digest}</checksum><open-checksum type=\"sha256\">{digest}</open-checksum>\
             <location href=\"repodata/{kind}.xml\"/><timestamp>1</timestamp><size>{size}</size><open-size>{size}</open-size></data>"
        );
        write(dir.path(), &format!("repodata/{kind}.xml"), text);
    }
    write(dir.path(), "repodata/repomd.xml", list + "</repomd>");
    dir
}

fn plan(repository: &Path, cache: &Path, package: &str, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mkinitrd-pkg"));
    command.args(["--config-root", "/nonexistent", "--cache"]).arg(cache);
    command.args(["plan", "--bare", "--no-verify", "--arch", "x86_64", "--package", package, "--repo"]).arg(repository);
    command.args(more).output().unwrap()
}

fn text(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}

#[test]
fn a_list_of_all_files_is_read_when_an_answer_depends_on_it_and_only_then() {
    let (repository, cache) = (repository(), tempfile::tempdir().unwrap());
    let filelists = repository.path().join("repodata/filelists.xml");
    let kept = std::fs::read(&filelists).unwrap();
    std::fs::remove_file(&filelists).unwrap();
    let plain = plan(repository.path(), cache.path(), "plain", &[]);
    assert!(plain.status.success() && text(&plain).contains("plain"), "nothing asks for a path: {}", text(&plain));
    let wants = plan(repository.path(), cache.path(), "wants", &[]);
    assert_eq!(wants.status.code(), Some(5), "{}", text(&wants));
    assert!(text(&wants).contains("filelists.xml"), "{}", text(&wants));

    std::fs::write(&filelists, kept).unwrap();
    let wants = plan(repository.path(), cache.path(), "wants", &[]);
    let said = text(&wants);
    assert!(wants.status.success() && said.contains("has"), "{said}");
    // Solved twice, told once.
    assert_eq!((said.matches("plan  ").count(), said.matches("not verified").count()), (1, 1), "{said}");
}

#[test]
fn dnf_answers_the_same() {
    let repository = repository();
    let script = r#"
import sys, tempfile, dnf
with tempfile.TemporaryDirectory() as work, dnf.Base() as base:
    base.conf.installroot, base.conf.cachedir, base.conf.persistdir, base.conf.logdir = [work] * 4
    base.conf.plugins = False
    base.conf.substitutions.update(arch="x86_64", basearch="x86_64", releasever="99")
    base.repos.add_new_repo("fixture", base.conf, baseurl=["file://" + sys.argv[1]])
    base.fill_sack(load_system_repo=False)
    base.install("wants")
    base.resolve()
    print(" ".join(sorted(p.name for p in base.transaction.install_set)))
"#;
    let dnf = Command::new("/usr/bin/python3").args(["-c", script]).arg(repository.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&dnf.stdout).trim(), "has wants", "python3-dnf: {}", String::from_utf8_lossy(&dnf.stderr));
}
