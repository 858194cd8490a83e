//! The command line: answers, messages, exit codes, and that nothing is lost when something is wrong.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::archive::{Archive, Header, keys};
use crate::program::{program, ran};

fn repo(archive: &Archive) -> String {
    format!("{} tester main", archive.root().display())
}

/// `plan` of the small archive's one package.
fn plan(archive: &Archive, more: &[&str]) -> crate::program::Ran {
    let cache = tempfile::tempdir().expect("a temporary directory");
    let mut command = program();
    command.args(["--cache"]).arg(cache.path());
    command.args(["plan", "--distro", "debian", "--release", "trixie", "--arch", "amd64", "--bare"]);
    ran(command.args(["--repo", &repo(archive), "--package", "foo"]).args(more))
}

#[test]
fn help_and_version_are_answers() {
    assert!(ran(program().arg("--version")).good().out.starts_with("mkinitrd-pkg "));
    let help = ran(program().args(["build", "--help"])).good().out;
    assert!(help.contains("--kernel-package") && help.lines().all(|line| line.chars().count() <= 120), "{help}");
}

#[test]
fn what_cannot_be_understood_is_a_usage_error() {
    ran(program().arg("--frobnicate")).bad(2, &["--frobnicate"]);
    ran(program().args(["build", "--mode", "9"])).bad(2, &["`--mode 9`", "hint:"]);
    ran(program().args(["build", "--include", "/nonexistent:/x"])).bad(2, &["no file `/nonexistent`"]);
    ran(program().args(["build", "--compress", "brotli"])).bad(2, &["`brotli`", "zstd"]);
    ran(program().args(["plan", "--bare"])).bad(2, &["`--bare` without `--package`"]);
}

#[test]
fn unknown_names_are_told_with_what_there_is() {
    let build = |more: &[&str]| ran(program().arg("build").args(more));
    build(&["--distro", "debain"]).bad(3, &["no profile `debain`", "`debian`"]);
    build(&["--distro", "debian", "--release", "tirxie"]).bad(3, &["no release `tirxie`", "`trixie`"]);
    build(&["--distro", "debian", "--release", "trixie", "--arch", "vax"]).bad(3, &["no architecture `vax`", "`amd64`"]);
    build(&["--distro", "debian", "--release", "trixie", "--with", "luxs"]).bad(3, &["no feature `luxs`", "`luks`"]);
}

#[test]
fn configuration_is_refused_with_file_and_line() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("x.toml");
    let run = |text: &str| {
        fs::write(&file, text).expect("writing");
        ran(program().arg("--config").arg(&file).args(["profiles", "debian"]))
    };
    let place = |line: u32| format!("{}:{line}", file.display());
    run("\n[packages]\nads = []\n").bad(3, &["unknown key `ads` in [packages]", &place(3)]);
    run("[packages]\nadd = 'x'\n").bad(3, &["not a list of strings", &place(2)]);
    run("packages = [\n").bad(3, &["not valid TOML", &file.display().to_string()]);
    run("[prune]\nadd = ['usr/bin/x']\n").bad(3, &["`prune.add` cannot be `usr/bin/x`", &place(2)]);
    run("with = ['nonsense']\n").bad(3, &["no feature `nonsense`", &place(1)]);
}

#[test]
fn profiles_show_the_origin_of_every_value() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let drop_in = root.path().join("etc/mkinitrd-pkg/50-x.toml");
    fs::create_dir_all(drop_in.parent().expect("a parent")).expect("a directory");
    fs::write(&drop_in, "packages.add = ['htop']\npackages.remove = ['less']\n").expect("writing");
    let run = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mkinitrd-pkg"));
        ran(command.arg("--config-root").arg(root.path()).args(["profiles", "debian", "--release", "trixie"]).args(more))
            .good()
            .out
    };
    let text = run(&[]);
    assert!(text.contains(&format!("\"htop\",  # {}:1", drop_in.display())), "{text}");
    assert!(!text.contains("\"less\""), "{text}");
    assert!(text.contains("# distro-profiles/debian.toml:"), "{text}");
    let json: Value = serde_json::from_str(&run(&["--json"])).expect("JSON");
    let packages = json["values"]["packages"].as_array().expect("a list");
    assert!(packages.iter().any(|item| item["value"] == "htop" && item["from"] == format!("{}:1", drop_in.display())));
    let list: Value = serde_json::from_str(&ran(program().args(["profiles", "--json"])).good().out).expect("JSON");
    let names: Vec<&str> = list["profiles"].as_array().expect("a list").iter().filter_map(|one| one["name"].as_str()).collect();
    assert!(["alpine", "arch", "debian", "fedora", "ubuntu"].iter().all(|name| names.contains(name)), "{names:?}");
}

#[test]
fn a_plan_is_one_document() {
    let archive = Archive::good();
    let answer = plan(&archive, &["--keyring", keys().good.public.to_str().expect("text"), "--json"]).good();
    let json: Value = serde_json::from_str(&answer.out).expect("one JSON document");
    let package = &json["packages"][0];
    assert_eq!(json["packages"].as_array().map(Vec::len), Some(1));
    assert_eq!(package["name"], "foo");
    assert_eq!(package["version"], "1:2.0-1");
    assert_eq!(package["arch"], "amd64");
    assert_eq!(package["file"], archive.root().join("pool/foo.deb").display().to_string());
    assert_eq!(package["size"], fs::metadata(archive.root().join("pool/foo.deb")).expect("the file").len());
    assert_eq!(package["sha256"].as_str().map(str::len), Some(64));
    assert!(package["url"].as_str().is_some_and(|url| url.ends_with("pool/foo.deb")), "{package}");
    assert!(package["repo"].is_string() && package["reason"].is_string(), "{package}");
    assert_eq!(json["signatures"], "checked");
    let text = plan(&archive, &["--keyring", keys().good.public.to_str().expect("text")]).good().out;
    assert!(text.contains("foo") && text.contains("asked for by the command line"), "{text}");
}

#[test]
fn d01_unsigned_is_refused_and_no_verify_says_so_everywhere() {
    let archive = Archive::new();
    archive.release(&Header::default());
    plan(&archive, &[]).bad(6, &["is not signed", "hint:"]);
    let answer = plan(&archive, &["--no-verify", "--json"]).good();
    assert!(answer.out.contains("not checked (--no-verify)") && answer.err.contains("not verified"), "{}", answer.err);
    assert!(plan(&archive, &["--no-verify"]).good().out.contains("signatures were not checked"));
}

#[test]
fn a_single_index_file_is_a_repository() {
    let archive = Archive::new();
    let index = archive.dist("main/binary-amd64/Packages");
    let mut command = program();
    command.args(["plan", "--distro", "debian", "--arch", "amd64", "--bare", "--package", "foo", "--repo"]);
    ran(command.arg(&index)).bad(6, &["not signed"]);
    let json: Value = serde_json::from_str(&ran(command.args(["--no-verify", "--json"])).good().out).expect("JSON");
    assert_eq!(json["packages"][0]["file"], archive.root().join("pool/foo.deb").display().to_string());
}

#[test]
fn d02_d05_d06_keys_and_dates_have_messages_of_their_own() {
    let archive = Archive::new();
    let good = keys().good.public.to_str().expect("text").to_owned();
    archive.sign(&Header::default(), &keys().other);
    plan(&archive, &["--keyring", &good]).bad(6, &["key"]);
    let past = crate::archive::now() - 86_400;
    archive.sign(&Header { date: past - 86_400, valid_until: Some(past), ..Header::default() }, &keys().good);
    plan(&archive, &["--keyring", &good]).bad(6, &["expired on", "--assume-time"]);
    let now = crate::archive::now();
    archive.sign(&Header { valid_until: Some(now + 86_400), ..Header::default() }, &keys().good);
    plan(&archive, &["--keyring", &good]).good();
    let day = Command::new("date").args(["-u", "-d", &format!("@{}", now + 2 * 86_400), "+%Y-%m-%d %H:%M"]).output();
    let day = String::from_utf8(day.expect("date").stdout).expect("text");
    plan(&archive, &["--keyring", &good, "--assume-time", day.trim()]).bad(6, &["expired on"]);
    plan(&archive, &["--keyring", &good, "--assume-time", "yesterday"]).bad(2, &["`--assume-time yesterday` is not a date"]);
}

#[test]
fn an_unknown_package_is_told_with_names_like_it() {
    let archive = Archive::good();
    let mut command = program();
    command.args(["plan", "--distro", "debian", "--release", "trixie", "--arch", "amd64", "--bare", "--package", "fooo"]);
    command.args(["--repo", &repo(&archive), "--keyring"]).arg(&keys().good.public);
    ran(&mut command).bad(4, &["no package provides `fooo`", "at the command line", "`foo`"]);
}

#[test]
fn errors_are_json_when_asked() {
    let answer = ran(program().args(["--json", "build", "--distro", "debain"]));
    assert_eq!(answer.code, 3);
    let event: Value = serde_json::from_str(answer.out.lines().last().expect("a line")).expect("JSON");
    assert_eq!((&event["event"], &event["exit_code"]), (&Value::from("error"), &Value::from(3)));
    assert!(event["message"].as_str().is_some_and(|text| text.contains("debain")), "{event}");
}

#[test]
fn a13_a14_a_bad_target_is_told_before_any_work() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let build = |path: &Path| ran(program().args(crate::program::TRIXIE).arg("--offline").arg("-o").arg(path));
    build(dir.path()).bad(8, &["directory"]);
    build(&dir.path().join("no/such/x.img")).bad(8, &["cannot write an image to"]);
    build(Path::new("/dev/null")).bad(8, &["/dev/null"]);
    assert_eq!(fs::read_dir(dir.path()).expect("the directory").count(), 0, "nothing was left behind");
}

#[test]
fn man_pages_and_completions_are_generated() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    ran(program().args(["_generate", "man"]).arg(dir.path())).good();
    ran(program().args(["_generate", "completions"]).arg(dir.path())).good();
    let page = fs::read_to_string(dir.path().join("mkinitrd-pkg-build.1")).expect("a man page");
    assert!(page.contains("kernel\\-package"), "{page}");
    assert!(dir.path().join("mkinitrd-pkg.bash").exists());
}
