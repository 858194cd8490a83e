//! Modules that the machine's configuration names: they have to be in the image, or what it says comes to nothing there.

use crate::host::facts::{Facts, FileContent};

/// Returns names of modules with the reason, sorted: those that are loaded in any case (`modules-load.d`, `/etc/modules`), and those
/// that must come with a loaded one (`softdep` and `install` of `modprobe.d`). `options` ask for nothing: they wait for their module.
pub fn module_names(facts: &Facts) -> Vec<(String, String)> {
    let mut names = Vec::new();
    for file in &facts.files {
        let FileContent::Text(text) = &file.content else { continue };
        let lines = text.lines().enumerate().map(|(index, line)| (format!("`{}:{}`", file.path, index + 1), line.trim()));
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with(['#', ';']));
        if file.path == "/etc/modules" || is_in(&file.path, "/etc/modules-load.d/") {
            // Debian's /etc/modules allows parameters behind the name.
            names.extend(
                lines.filter_map(|(place, line)| Some((line.split_whitespace().next()?.to_owned(), format!("named in {place}")))),
            );
        } else if is_in(&file.path, "/etc/modprobe.d/") {
            for (place, line) in lines {
                names.extend(companions(facts, line).into_iter().map(|name| (name, format!("named in {place}"))));
            }
        }
    }
    names.sort();
    names.dedup();
    names
}

fn is_in(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|name| name.ends_with(".conf") && !name.contains('/'))
}

/// Returns what a line of modprobe.d(5) wants beside a module that is loaded.
fn companions(facts: &Facts, line: &str) -> Vec<String> {
    let mut words = line.split_whitespace();
    let (Some(command), Some(module)) = (words.next(), words.next()) else { return Vec::new() };
    let same = |a: &str, b: &str| a.replace('-', "_") == b.replace('-', "_");
    if !facts.modules.iter().any(|loaded| same(loaded, module)) {
        return Vec::new();
    }
    match command {
        "softdep" => words.filter(|word| !word.ends_with(':')).map(str::to_owned).collect(),
        "install" => {
            let words: Vec<&str> = words.flat_map(|word| word.split(';')).filter(|word| !word.is_empty()).collect();
            let calls = words.iter().enumerate().filter(|(_, word)| matches!(word.rsplit('/').next(), Some("modprobe")));
            let called = calls.filter_map(|(at, _)| words[at + 1..].iter().find(|word| !word.starts_with('-')));
            called.filter(|name| is_name(name) && !same(name, module)).map(|name| (*name).to_owned()).collect()
        }
        _ => Vec::new(),
    }
}

fn is_name(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::facts::{HostFile, OsRelease, SCHEMA, View};

    #[test]
    fn modules_are_named_where_they_are_loaded() {
        let text = |path: &str, text: &str| HostFile {
            path: path.to_owned(),
            mode: 0o644,
            content: FileContent::Text(text.to_owned()),
            secret: false,
        };
        let facts = Facts {
            schema: SCHEMA,
            view: View::Machine,
            machine: "x86_64".to_owned(),
            kernel: "6.12".to_owned(),
            os: OsRelease::default(),
            cpu: None,
            efi: false,
            tpm2: false,
            command_line: String::new(),
            modules: ["ahci", "snd_hda_intel", "usb_storage"].map(str::to_owned).to_vec(),
            devices: Vec::new(),
            blocks: Vec::new(),
            volumes: Vec::new(),
            boot: None,
            files: vec![
                text(
                    "/etc/modprobe.d/a.conf",
                    "softdep usb-storage pre: uas post: sd_mod\nsoftdep nouveau pre: mxm\noptions ahci x=1\nblacklist evil\n",
                ),
                text(
                    "/etc/modprobe.d/b.conf",
                    "install ahci /sbin/modprobe -q libahci; /sbin/modprobe --ignore-install ahci $CMDLINE_OPTS\n",
                ),
                text("/etc/modprobe.d/c.conf.off", "softdep ahci pre: never\n"),
                text("/etc/modules", "# lp\nloop max_loop=8\n"),
                text("/etc/modules-load.d/x.conf", "; no\ndm-crypt\n"),
                text("/etc/shadow", "root:*:1::\n"),
            ],
            gaps: Vec::new(),
        };
        let names: Vec<String> = module_names(&facts).into_iter().map(|(name, reason)| format!("{name} {reason}")).collect();
        assert_eq!(
            names,
            [
                "dm-crypt named in `/etc/modules-load.d/x.conf:2`",
                "libahci named in `/etc/modprobe.d/b.conf:1`",
                "loop named in `/etc/modules:2`",
                "sd_mod named in `/etc/modprobe.d/a.conf:1`",
                "uas named in `/etc/modprobe.d/a.conf:1`",
            ]
        );
    }
}
