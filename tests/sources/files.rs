//! Lists of all files: read when a request's answer depends on one, and only then.

use std::path::Path;
use std::process::{Command, Output};

use crate::rpm::repository_with_files;

/// A repository in which `wants` requires a path that `has` has, and `plain` requires nothing.
fn repository() -> tempfile::TempDir {
    let path = "/usr/share/words/list";
    repository_with_files(&[("wants", "1", "", path), ("has", "1", "", ""), ("plain", "1", "", "")], &[("has", path)])
}

fn plan(repository: &Path, cache: &Path, package: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mkinitrd-pkg"));
    command.args(["--config-root", "/nonexistent", "--cache"]).arg(cache);
    command.args(["plan", "--bare", "--no-verify", "--arch", "x86_64", "--package", package, "--repo"]).arg(repository);
    command.output().unwrap()
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
    let plain = plan(repository.path(), cache.path(), "plain");
    assert!(plain.status.success() && text(&plain).contains("plain"), "nothing asks for a path: {}", text(&plain));
    let wants = plan(repository.path(), cache.path(), "wants");
    assert_eq!(wants.status.code(), Some(5), "{}", text(&wants));
    assert!(text(&wants).contains("filelists.xml"), "{}", text(&wants));

    std::fs::write(&filelists, kept).unwrap();
    let wants = plan(repository.path(), cache.path(), "wants");
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
