//! Compares the table of the signing keys that we carry with what gpg reads in their files.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::shell::{at, output, repository, tool};

/// A key that expires within so many days is told.
const SOON_DAYS: u32 = 183;

/// Fingerprint and day of expiry (`-` if there is none) of a key, and where it is.
type Row = (String, String, String);

/// Fails if the table in `distro-profiles/keys/README.md` is not true; tells what expires soon.
pub fn run() -> Result<(), String> {
    let root = repository().join("distro-profiles/keys");
    let readme = root.join("README.md");
    let listed: BTreeSet<Row> = fs::read_to_string(&readme).map_err(at(&readme))?.lines().filter_map(row).collect();
    let files: BTreeSet<&str> = listed.iter().map(|(file, _, _)| file.as_str()).collect();
    let mut found = BTreeSet::new();
    for file in files {
        let keys = if file.ends_with(".rsa.pub") { rsa(&root.join(file))? } else { certificates(&root.join(file))? };
        found.extend(keys.into_iter().map(|(fingerprint, expires)| (file.to_owned(), fingerprint, expires)));
    }
    let differing: Vec<String> = listed.symmetric_difference(&found).map(|row| format!("{row:?}")).collect();
    if !differing.is_empty() {
        return Err(format!("the table of keys and the files differ in {}", differing.join(", ")));
    }
    let soon = day(&format!("now + {SOON_DAYS} days"))?;
    for (file, fingerprint, _) in found.iter().filter(|(_, _, expires)| expires != "-" && *expires < soon) {
        println!("{file}: {fingerprint} expires before {soon}, or has");
    }
    println!("{} keys are as the table says", found.len());
    Ok(())
}

fn row(line: &str) -> Option<Row> {
    let (file, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
    let (fingerprint, rest) = rest.split_once(" | ")?;
    let is_row = fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_row.then(|| (file.to_owned(), fingerprint.to_owned(), rest.trim_end_matches(" |").to_owned()))
}

/// Returns a moment's day, of a form that date(1) reads.
fn day(moment: &str) -> Result<String, String> {
    output(tool("date").args(["-u", "+%F", "-d", moment])).map(|text| text.trim().to_owned())
}

/// The certificates of a file as gpg shows them.
fn certificates(path: &Path) -> Result<Vec<(String, String)>, String> {
    // An empty home for gpg, which would read and write the user's.
    let home = output(tool("mktemp").args(["-d", "-t", "keys-XXXXXX"]))?;
    let home = Path::new(home.trim());
    let shown = output(tool("gpg").arg("--homedir").arg(home).args(["--show-keys", "--with-colons"]).arg(path));
    fs::remove_dir_all(home).map_err(at(home))?;
    let mut keys = Vec::new();
    let mut expires = None;
    for fields in shown?.lines().map(|line| line.split(':').collect::<Vec<_>>()) {
        match (fields[0], fields.get(6), fields.get(9)) {
            ("pub", Some(&""), _) => expires = Some("-".to_owned()),
            ("pub", Some(seconds), _) => expires = Some(day(&format!("@{seconds}"))?),
            ("fpr", _, Some(fingerprint)) => {
                if let Some(expires) = expires.take() {
                    keys.push(((*fingerprint).to_owned(), expires));
                }
            }
            _ => {}
        }
    }
    if keys.is_empty() { Err(format!("gpg finds no key in `{}`", path.display())) } else { Ok(keys) }
}

/// The digest of a key in its DER form, by openssl.
fn rsa(path: &Path) -> Result<Vec<(String, String)>, String> {
    let script = r#"openssl pkey -pubin -in "$1" -outform DER | sha256sum"#;
    let digest = output(tool("sh").args(["-ec", script, "sh"]).arg(path))?;
    let digest = digest.split(' ').next().unwrap_or_default().to_uppercase();
    Ok(vec![(digest, "-".to_owned())])
}
