//! Users and groups: base-passwd's masters, sysusers.d in the target's syntax, and the profile's lines for what scripts make.
//!
//! Without them systemd boots, but udev warns of every group it does not know and all nodes in `/dev` belong to root alone; they
//! keep those owners until the real root's udev sees the devices again. Users that only a maintainer script makes (Debian's `tss`)
//! have no file to be read and stand in the profile.
//!
//! The ids of one image are the same tomorrow, but not those of another machine: for an image that is for one machine only, the
//! machine's own numbers are taken by name ([`super::HostIds`]).

mod database;
mod sysusers;

use self::database::{Database, Files};
use super::{Context, Error, Notes};
use crate::tree::{Entry, Meta, Tree, TreePath};

const MASTERS: [&str; 2] = ["usr/share/base-passwd/passwd.master", "usr/share/base-passwd/group.master"];

pub(super) fn run(tree: &mut Tree, context: &Context<'_>, notes: &mut Notes) -> Result<(), Error> {
    let day = match context.time_s / 86_400 {
        // 0 would mean "must be changed at the next login".
        0 => String::new(),
        day => day.to_string(),
    };
    let files = existing(tree, &day, notes)?;
    let mut read = sysusers::read(tree);
    for item in &context.options.users {
        let wrong = |reason| Error::Option { text: item.text.clone(), reason, source_line: item.source.clone() };
        // Where a package has come to describe the user itself, its line counts and the profile's is history.
        let line = sysusers::parse_line(&item.text).map_err(wrong)?;
        read.lines.extend(line.filter(|line| !read.lines.iter().any(|known| known.describes_same(line))));
    }
    let mut database = Database::new(&files, context.host_ids);
    database.add(&read.lines, tree);
    let files = database.write(files, &day, tree);
    let (users, groups) = database.added();
    for (noun, names) in [("users", users), ("groups", groups)] {
        if !names.is_empty() {
            notes
                .did(format!("added the {noun} {}", names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")));
        }
    }
    // Debian's programs read shadow as the group of that name; elsewhere nobody but root does, whom modes do not bind.
    let secret = match database.gid("shadow") {
        Some(gid) => Meta { gid, ..Meta::root(0o640) },
        None => Meta::root(0),
    };
    let public = Meta::root(0o644);
    for (path, text, meta) in [
        ("etc/passwd", files.passwd, public),
        ("etc/group", files.group, public),
        ("etc/shadow", files.shadow, secret),
        ("etc/gshadow", files.gshadow, secret),
    ] {
        let entry = Entry { meta, ..Entry::file(text.as_str(), notes.origin()) };
        notes.put(tree, &TreePath::literal(path), entry)?;
    }
    for warning in read.warnings.into_iter().chain(database.warnings) {
        notes.warn(warning);
    }
    Ok(())
}

/// Returns the files that packages brought, or those that the masters stand for, or a bare root.
fn existing(tree: &Tree, day: &str, notes: &mut Notes) -> Result<Files, Error> {
    let text = |path: &str| -> Result<Option<String>, Error> {
        let path = TreePath::literal(path);
        let Some(content) = tree.read(&path) else { return Ok(None) };
        match String::from_utf8(content.bytes().to_vec()) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(Error::File { step: "users", path, reason: "it is not UTF-8".to_owned() }),
        }
    };
    if let Some(passwd) = text("etc/passwd")? {
        let rest = |path| text(path).map(Option::unwrap_or_default);
        return Ok(Files { passwd, group: rest("etc/group")?, shadow: rest("etc/shadow")?, gshadow: rest("etc/gshadow")? });
    }
    if let (Some(passwd), Some(group)) = (text(MASTERS[0])?, text(MASTERS[1])?) {
        notes.did("took the users and groups of base-passwd");
        return Ok(Files::from_masters(&passwd, &group, day));
    }
    notes.warn("no package brings users (`etc/passwd` or base-passwd's masters): there is only root");
    Ok(Files::from_masters("root:*:0:0:root:/root:/bin/sh\n", "root:*:0:\n", day))
}

#[cfg(test)]
mod tests {
    use super::super::{HostIds, Options, finalize, run_step};
    use super::*;
    use crate::config::Item;
    use crate::report::Silent;
    use crate::tree::Origin;

    fn tree(files: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::new();
        for (path, text) in files {
            tree.insert(&TreePath::literal(path), Entry::file(*text, Origin::Made("test"))).expect("a file");
        }
        tree
    }

    fn text(tree: &Tree, path: &str) -> String {
        String::from_utf8(tree.read(&TreePath::literal(path)).expect(path).bytes().to_vec()).expect("text")
    }

    const PASSWD: &str = "root:*:0:0:root:/root:/bin/bash\nnobody:*:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
    const GROUP: &str = "root:*:0:\nshadow:*:42:\nnogroup:*:65534:\n";

    #[test]
    fn masters_sysusers_and_the_profile_become_four_files() {
        let mut tree = tree(&[
            (MASTERS[0], PASSWD),
            (MASTERS[1], GROUP),
            ("usr/lib/sysusers.d/a.conf", "g input -\nu! net - \"Net\"\nm net input\n"),
        ]);
        let users = vec![Item::from_command_line("u tss - \"TPM\" /var/lib/tpm /bin/false")];
        run_step("users", &mut tree, &Options { users, ..Options::default() });
        assert!(
            text(&tree, "etc/passwd")
                .ends_with("net:x:998:998:Net:/:/usr/sbin/nologin\ntss:x:997:997:TPM:/var/lib/tpm:/bin/false\n")
        );
        assert!(text(&tree, "etc/group").ends_with("nogroup:x:65534:\ninput:x:999:net\nnet:x:998:\ntss:x:997:\n"));
        assert!(text(&tree, "etc/shadow").starts_with("root:*:20000:0:99999:7:::\n"));
        assert!(text(&tree, "etc/shadow").ends_with("net:!*:20000:::::1:\ntss:!*:20000::::::\n"));
        assert!(text(&tree, "etc/gshadow").ends_with("nogroup:*::\ninput:!*::net\nnet:!*::\ntss:!*::\n"));
        let meta = tree.get(&TreePath::literal("etc/shadow")).expect("shadow").meta;
        assert_eq!((meta.mode, meta.uid, meta.gid), (0o640, 0, 42));
    }

    #[test]
    fn the_machines_ids_are_kept_where_they_are_free() {
        let mut tree =
            tree(&[(MASTERS[0], PASSWD), (MASTERS[1], GROUP), ("usr/lib/sysusers.d/a.conf", "g input -\ng kvm -\nu net -\n")]);
        let host = HostIds { passwd: b"net:x:77:78:::\n".to_vec(), group: b"input:x:104:\nkvm:x:42:\nnet:x:78:\n".to_vec() };
        let context = Context { options: &Options::default(), time_s: 0, host_ids: Some(&host) };
        finalize(&mut tree, &[Item::from_command_line("users")], &context, &Silent).expect("users");
        // 42 is shadow's here, so kvm gets one of ours.
        assert!(text(&tree, "etc/group").ends_with("input:x:104:\nkvm:x:999:\nnet:x:78:\n"));
        assert!(text(&tree, "etc/passwd").ends_with("net:x:77:78::/:/usr/sbin/nologin\n"));
        assert!(text(&tree, "etc/shadow").starts_with("root:*::0:99999"), "no time, no day");
    }

    #[test]
    fn a_wrong_line_in_the_profile_is_an_error_with_its_place() {
        let options = Options { users: vec![Item::from_command_line("u 0day -")], ..Options::default() };
        let context = Context { options: &options, time_s: 0, host_ids: None };
        let error = finalize(&mut Tree::new(), &[Item::from_command_line("users")], &context, &Silent).expect_err("refused");
        assert!(matches!(&error, Error::Option { text, .. } if text == "u 0day -"), "{error}");
    }

    #[test]
    fn a_tree_without_users_has_root_and_a_warning() {
        let mut tree = Tree::new();
        assert_eq!(run_step("users", &mut tree, &Options::default()).warnings.len(), 1);
        assert_eq!(text(&tree, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n");
    }

    #[test]
    fn new_lines_come_before_those_of_nis() {
        let mut tree = tree(&[
            ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n+::::::\n"),
            ("etc/group", "root:x:0:\n+:::\n"),
            ("usr/lib/sysusers.d/a.conf", "u a -\n"),
        ]);
        run_step("users", &mut tree, &Options::default());
        assert!(text(&tree, "etc/passwd").ends_with("a:x:999:999::/:/usr/sbin/nologin\n+::::::\n"));
        assert!(text(&tree, "etc/group").ends_with("a:x:999:\n+:::\n"));
    }

    #[test]
    fn ids_run_out_with_a_warning() {
        let mut tree = tree(&[
            (MASTERS[0], PASSWD),
            (MASTERS[1], GROUP),
            ("usr/lib/sysusers.d/a.conf", "r - 500-501\ng a -\ng b -\ng c -\n"),
        ]);
        let done = run_step("users", &mut tree, &Options::default());
        assert!(text(&tree, "etc/group").ends_with("a:x:501:\nb:x:500:\n"));
        assert_eq!(done.warnings.len(), 1, "{:?}", done.warnings);
    }
}
