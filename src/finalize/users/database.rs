//! `passwd`, `group`, `shadow` and `gshadow` as lines, and the choice of ids for what is added to them.
//!
//! Ids are chosen as systemd-sysusers chooses them: all groups, then all users, each in the order of their lines; who has no fixed id
//! gets the highest one of 1…999 below the one given last that is free as a user's and as a group's.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use super::super::HostIds;
use super::sysusers::{Line, Wanted};
use crate::tree::{Tree, TreePath};

/// Debian, Fedora, Arch and openSUSE all build systemd with this as the highest id of the system.
const SYSTEM_ID_MAX: u32 = 999;

/// A user to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
struct NewUser {
    name: String,
    uid: u32,
    gid: u32,
    line: Wanted,
}

/// The four files while they are being added to.
#[derive(Debug, Default)]
pub(super) struct Database {
    users: BTreeMap<String, u32>,
    groups: BTreeMap<String, u32>,
    uid_names: BTreeMap<u32, String>,
    gid_names: BTreeMap<u32, String>,
    new_users: Vec<NewUser>,
    new_groups: Vec<(String, u32)>,
    members: BTreeMap<String, BTreeSet<String>>,
    host_users: BTreeMap<String, u32>,
    host_groups: BTreeMap<String, u32>,
    ranges: Vec<RangeInclusive<u32>>,
    next: Option<u32>,
    pub warnings: Vec<String>,
}

/// The text of the four files.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Files {
    pub passwd: String,
    pub group: String,
    pub shadow: String,
    pub gshadow: String,
}

impl Files {
    /// Returns the files that base-passwd's masters make on Debian: passwords in shadow, `*` for all.
    pub fn from_masters(passwd: &str, group: &str, day: &str) -> Self {
        let mut files = Self::default();
        for (name, rest) in passwd.lines().filter_map(|line| line.split_once(":*:")) {
            files.passwd += &format!("{name}:x:{rest}\n");
            files.shadow += &format!("{name}:*:{day}:0:99999:7:::\n");
        }
        for (name, rest) in group.lines().filter_map(|line| line.split_once(":*:")) {
            files.group += &format!("{name}:x:{rest}\n");
            files.gshadow += &format!("{name}:*::\n");
        }
        files
    }
}

/// Returns name and id (third field) of each line of passwd or group.
fn ids(text: &str) -> impl Iterator<Item = (&str, u32)> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        Some((fields.next().filter(|name| !name.is_empty())?, fields.nth(1)?.parse().ok()?))
    })
}

impl Database {
    /// Reads what is there already, and the host's ids if the image is for one.
    pub fn new(files: &Files, host: Option<&HostIds>) -> Self {
        let mut database = Self::default();
        for (name, uid) in ids(&files.passwd) {
            database.users.entry(name.to_owned()).or_insert(uid);
            database.uid_names.entry(uid).or_insert_with(|| name.to_owned());
        }
        for (name, gid) in ids(&files.group) {
            database.groups.entry(name.to_owned()).or_insert(gid);
            database.gid_names.entry(gid).or_insert_with(|| name.to_owned());
        }
        if let Some(host) = host {
            let owned = |(name, id): (&str, u32)| (name.to_owned(), id);
            database.host_users = ids(&String::from_utf8_lossy(&host.passwd)).map(owned).collect();
            database.host_groups = ids(&String::from_utf8_lossy(&host.group)).map(owned).collect();
        }
        database
    }

    /// Adds what the lines ask for and is not there; of two lines for one name the first counts.
    pub fn add(&mut self, lines: &[Line], tree: &Tree) {
        let (mut groups, mut users) = (Vec::<Wanted>::new(), Vec::<Wanted>::new());
        let enter = |list: &mut Vec<Wanted>, wanted: &Wanted, warnings: &mut Vec<String>| match list
            .iter()
            .find(|known| known.name == wanted.name)
        {
            Some(known) if known != wanted => {
                warnings.push(format!("two different lines of sysusers.d describe `{}`: the first counts", wanted.name));
            }
            Some(_) => {}
            None => list.push(wanted.clone()),
        };
        for line in lines {
            match line {
                Line::User(wanted) => enter(&mut users, wanted, &mut self.warnings),
                Line::Group(wanted) => enter(&mut groups, wanted, &mut self.warnings),
                Line::Member { user, group } => {
                    self.members.entry(group.clone()).or_default().insert(user.clone());
                }
                Line::Range(range) => self.ranges.push(range.clone()),
            }
        }
        // Whoever is a member, and whatever they are a member of, is made if no line does.
        for line in lines {
            let Line::Member { user, group } = line else { continue };
            let implied = |name: &String| Wanted { name: name.clone(), ..Wanted::default() };
            if !users.iter().any(|known| known.name == *user) {
                users.push(implied(user));
            }
            if !users.iter().chain(&groups).any(|known| known.name == *group) {
                groups.push(implied(group));
            }
        }
        for group in &groups {
            self.add_group(group, tree);
        }
        let new: BTreeSet<String> = self.new_groups.iter().map(|(name, _)| name.clone()).collect();
        for user in users {
            self.add_user(user, &new, tree);
        }
    }

    /// Adds a group of this name and returns its id.
    fn add_group(&mut self, wanted: &Wanted, tree: &Tree) -> Option<u32> {
        let name = &wanted.name;
        if let Some(gid) = self.groups.get(name) {
            return Some(*gid);
        }
        let owner = wanted.id_path.as_ref().and_then(|path| tree.lookup(path)).map(|(_, entry)| entry.meta.gid);
        let fixed = wanted.gid.filter(|gid| !self.gid_names.contains_key(gid));
        if wanted.gid.is_some() && fixed.is_none() {
            self.warnings
                .push(format!("the group `{name}` does not get its id {}, which is taken", wanted.gid.unwrap_or_default()));
        }
        let host = self.host_groups.get(name).copied();
        let offers = [owner, host, wanted.uid];
        let gid = fixed
            .or_else(|| offers.into_iter().flatten().find(|gid| self.gid_is_free(*gid, name)))
            .or_else(|| self.search(|database, id| database.gid_is_free(id, name)));
        let Some(gid) = gid else {
            self.warnings.push(format!("there is no id left for the group `{name}`, which is missing therefore"));
            return None;
        };
        self.groups.insert(name.clone(), gid);
        self.gid_names.insert(gid, name.clone());
        self.new_groups.push((name.clone(), gid));
        Some(gid)
    }

    fn add_user(&mut self, wanted: Wanted, new_groups: &BTreeSet<String>, tree: &Tree) {
        let name = wanted.name.clone();
        let group = wanted.group.as_ref().unwrap_or(&name);
        let mut group_is_given = true;
        let gid = if new_groups.contains(group) {
            self.groups.get(group).copied()
        } else if let Some(group) = &wanted.group {
            self.groups.get(group).copied()
        } else if let Some(gid) = wanted.gid {
            self.gid_names.contains_key(&gid).then_some(gid)
        } else {
            group_is_given = false;
            self.add_group(&wanted, tree)
        };
        let Some(gid) = gid else {
            self.warnings.push(format!("the group of the user `{name}` does not exist, so the user is missing"));
            return;
        };
        if self.users.contains_key(&name) {
            return;
        }
        let fixed = wanted.uid.filter(|uid| match group_is_given {
            true => !self.uid_names.contains_key(uid),
            false => self.uid_is_free(*uid, &name),
        });
        if wanted.uid.is_some() && fixed.is_none() {
            self.warnings
                .push(format!("the user `{name}` does not get its id {}, which is taken", wanted.uid.unwrap_or_default()));
        }
        let owner = wanted.id_path.as_ref().and_then(|path| tree.lookup(path)).map(|(_, entry)| entry.meta.uid);
        let offers = [owner, self.host_users.get(&name).copied(), Some(gid)];
        let uid = fixed
            .or_else(|| offers.into_iter().flatten().find(|uid| self.uid_is_free(*uid, &name)))
            .or_else(|| self.search(|database, id| database.uid_is_free(id, &name)));
        let Some(uid) = uid else {
            self.warnings.push(format!("there is no id left for the user `{name}`, which is missing therefore"));
            return;
        };
        self.users.insert(name.clone(), uid);
        self.uid_names.insert(uid, name.clone());
        self.new_users.push(NewUser { name, uid, gid, line: wanted });
    }

    fn gid_is_free(&self, gid: u32, name: &str) -> bool {
        !self.gid_names.contains_key(&gid) && self.uid_names.get(&gid).is_none_or(|user| user == name)
    }

    fn uid_is_free(&self, uid: u32, name: &str) -> bool {
        !self.uid_names.contains_key(&uid) && self.gid_names.get(&uid).is_none_or(|group| group == name)
    }

    /// Returns the next lower id that will do. Only what lies between the highest id and the last one given is never tried again.
    fn search(&mut self, free: impl Fn(&Self, u32) -> bool) -> Option<u32> {
        let ranges = if self.ranges.is_empty() { vec![1..=SYSTEM_ID_MAX] } else { self.ranges.clone() };
        loop {
            let below = self.next.map_or(u32::MAX, |last| last);
            let next = ranges.iter().filter(|range| *range.start() < below).map(|range| (*range.end()).min(below - 1)).max()?;
            self.next = Some(next);
            if next != 0 && next != u32::from(u16::MAX) && free(self, next) {
                return Some(next);
            }
            if next == 0 {
                return None;
            }
        }
    }

    /// Returns the files with everything added. `day` is the third field of new lines in shadow, `tree` tells which shells there are.
    pub fn write(&self, mut files: Files, day: &str, tree: &Tree) -> Files {
        // What is there without a line in shadow gets one: the original may have had none.
        let known: BTreeSet<&str> = files.shadow.lines().filter_map(|line| line.split(':').next()).collect();
        let without: Vec<String> =
            ids(&files.passwd).map(|(name, _)| name.to_owned()).filter(|name| !known.contains(name.as_str())).collect();
        let mut shadow: String = without.iter().map(|name| format!("{name}:!*:{day}::::::\n")).collect();
        let mut passwd = String::new();
        for NewUser { name, uid, gid, line } in &self.new_users {
            let description = line.description.as_deref().unwrap_or("");
            let home = line.home.as_deref().unwrap_or("/");
            let root_shell = if tree.read(&TreePath::literal("bin/bash")).is_some() { "/bin/bash" } else { "/bin/sh" };
            let shell = line.shell.as_deref().unwrap_or(if *uid == 0 { root_shell } else { "/usr/sbin/nologin" });
            passwd += &format!("{name}:x:{uid}:{gid}:{description}:{home}:{shell}\n");
            let expires = if line.locked { "1" } else { "" };
            shadow += &format!("{name}:!*:{day}:::::{expires}:\n");
        }
        add_before_nis(&mut files.passwd, &passwd);
        add_before_nis(&mut files.shadow, &shadow);
        let group: String = self.new_groups.iter().map(|(name, gid)| format!("{name}:x:{gid}:\n")).collect();
        let known: BTreeSet<&str> = files.gshadow.lines().filter_map(|line| line.split(':').next()).collect();
        let without = ids(&files.group).map(|(name, _)| name).filter(|name| !known.contains(name));
        let names = without.chain(self.new_groups.iter().map(|(name, _)| name.as_str()));
        let gshadow: String = names.map(|name| format!("{name}:!*::\n")).collect();
        add_before_nis(&mut files.group, &group);
        add_before_nis(&mut files.gshadow, &gshadow);
        files.group = self.with_members(&files.group);
        files.gshadow = self.with_members(&files.gshadow);
        files
    }

    /// Returns lines of group or gshadow whose last field has the members added; a list that grows is sorted.
    fn with_members(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        for line in text.lines() {
            let (head, list) = line.rsplit_once(':').unwrap_or((line, ""));
            let name = line.split(':').next().unwrap_or_default();
            let old: BTreeSet<&str> = list.split(',').filter(|member| !member.is_empty()).collect();
            match self.members.get(name) {
                Some(new) if new.iter().any(|member| !old.contains(member.as_str())) => {
                    let all: BTreeSet<&str> = old.into_iter().chain(new.iter().map(String::as_str)).collect();
                    out += &format!("{head}:{}\n", all.into_iter().collect::<Vec<_>>().join(","));
                }
                _ => out += &format!("{line}\n"),
            }
        }
        out
    }

    /// Returns the names of new users and of new groups.
    pub fn added(&self) -> (Vec<&str>, Vec<&str>) {
        let users = self.new_users.iter().map(|user| user.name.as_str()).collect();
        (users, self.new_groups.iter().map(|(name, _)| name.as_str()).collect())
    }

    /// Returns the id of a group.
    pub fn gid(&self, name: &str) -> Option<u32> {
        self.groups.get(name).copied()
    }
}

/// Adds lines at the end, but before lines for NIS (`+::::::`), behind which nothing is read.
fn add_before_nis(text: &mut String, lines: &str) {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    let at = if text.starts_with('+') { Some(0) } else { text.find("\n+").map(|newline| newline + 1) };
    text.insert_str(at.unwrap_or(text.len()), lines);
}
