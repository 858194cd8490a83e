//! libsolv's own conformance cases: a reader of their format, and a table of what became of each.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the table of cases is told")]

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use mkinitrd_pkg::family::rpm::index::overlaps;
use mkinitrd_pkg::family::rpm::rich::operator;
use mkinitrd_pkg::family::rpm::version::{self, Relation};
use mkinitrd_pkg::package::{
    Catalog, Constraint, Excluded, Flaw, Op, Package, PackageId, Refusal, Relations, Resolver, Solvables, Term, Terms, Word,
};
use mkinitrd_pkg::plan::libsolv::{Settings, solve};

use crate::rpm::fixtures;

#[derive(Default)]
struct Case {
    packages: Vec<(String, String, String, String, i32)>,
    relations: Vec<Relations>,
    arches: Vec<String>,
    named: BTreeMap<String, Vec<PackageId>>,
    supplementing: Vec<PackageId>,
}

impl Case {
    /// Adds the packages of a repository.
    fn add(&mut self, repo: &str, priority: i32, lines: &[String]) -> Result<(), String> {
        for line in lines {
            let Some((key, value)) = line.split_once(": ") else { continue };
            if key == "=Pkg" {
                let words: Vec<&str> = value.split(' ').collect();
                let id = self.packages.len() as PackageId;
                let evr = format!("{}-{}", words[1], words[2]);
                self.packages.push((words[0].into(), evr, words[3].into(), repo.into(), priority));
                self.relations.push(Relations { terms: Some(Box::default()), ..Relations::default() });
                self.named.entry(words[0].into()).or_default().push(id);
                continue;
            }
            if !matches!(key, "=Prv" | "=Req" | "=Con" | "=Obs" | "=Rec" | "=Sug" | "=Sup" | "=Enh") {
                continue;
            }
            let term = dependency(value)?;
            let id = self.packages.len() - 1;
            let terms: &mut Terms = self.relations[id].terms.as_mut().unwrap();
            match (key, term) {
                ("=Prv", Term::One(offer)) => terms.provides.push(offer),
                ("=Req", term) => terms.requires.push(term),
                ("=Con", term) => terms.conflicts.push(term),
                ("=Obs", term) => terms.obsoletes.push(term),
                ("=Rec", term) => terms.recommends.push(term),
                ("=Sug", term) => terms.suggests.push(term),
                ("=Sup", term) => terms.supplements.push(term),
                ("=Enh", term) => terms.enhances.push(term),
                _ => return Err(format!("cannot read `{line}`")),
            }
            if matches!(key, "=Sup" | "=Enh") && self.supplementing.last() != Some(&(id as PackageId)) {
                self.supplementing.push(id as PackageId);
            }
        }
        Ok(())
    }

    fn full_name(&self, id: PackageId) -> String {
        let (name, evr, arch, repo, _) = &self.packages[id as usize];
        format!("{name}-{evr}.{arch}@{repo}")
    }

    fn is_installable(&self, id: &PackageId) -> bool {
        let arch = &self.packages[*id as usize].2;
        arch != "src" && (self.arches.is_empty() || arch == "noarch" || self.arches.contains(arch))
    }
}

/// Reads a dependency as the cases write it: `A & (B | C)`, `A <IF> B <ELSE> C`, `A = 1`.
fn dependency(text: &str) -> Result<Term, String> {
    let text = text.trim();
    for (sign, word) in [
        (" <IF> ", Word::If),
        (" <UNLESS> ", Word::Unless),
        (" <ELSE> ", Word::Else),
        (" | ", Word::Or),
        (" & ", Word::And),
        (" + ", Word::With),
    ] {
        let mut depth = 0;
        for (at, byte) in text.bytes().enumerate() {
            depth += i32::from(byte == b'(') - i32::from(byte == b')');
            if depth == 0 && text[at..].starts_with(sign) {
                return Ok(Term::join(word, dependency(&text[..at])?, dependency(&text[at + sign.len()..])?));
            }
        }
    }
    if let Some(inner) = text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        return dependency(inner);
    }
    match text.split(' ').collect::<Vec<_>>()[..] {
        [name] if !name.contains("namespace:") => Ok(Term::One(Constraint::any(name))),
        [name, op, version] if operator(op).is_some() => {
            Ok(Term::One(Constraint { name: name.into(), arch: None, range: operator(op).map(|op| (op, version.into())) }))
        }
        _ => Err(format!("the dependency `{text}` is not RPM's")),
    }
}

impl Catalog for Case {
    fn len(&self) -> usize {
        self.packages.len()
    }
    fn resolver(&self) -> Resolver {
        Resolver::Libsolv
    }
    fn repos(&self) -> Vec<&str> {
        Vec::new()
    }
    fn name(&self, id: PackageId) -> &str {
        &self.packages[id as usize].0
    }
    fn version(&self, id: PackageId) -> &str {
        &self.packages[id as usize].1
    }
    fn repo(&self, id: PackageId) -> &str {
        &self.packages[id as usize].3
    }
    fn rank(&self, _: PackageId) -> u8 {
        0
    }
    fn relations(&self, id: PackageId) -> Result<&Relations, &Refusal> {
        Ok(&self.relations[id as usize])
    }
    fn package(&self, id: PackageId) -> Result<Package, Refusal> {
        Err(Refusal { package: self.name(id).into(), repo: self.repo(id).into(), flaw: Flaw::Missing("file") })
    }
    fn named(&self, name: &str) -> &[PackageId] {
        self.named.get(name).map_or(&[], Vec::as_slice)
    }
    fn providers(&self, _: &str) -> &[PackageId] {
        &[]
    }
    fn meets(&self, id: PackageId, constraint: &Constraint) -> bool {
        self.offers_in(id, constraint)
    }
    fn tie_break(&self, a: PackageId, b: PackageId) -> Ordering {
        a.cmp(&b)
    }
    fn compare(&self, a: &str, b: &str) -> Ordering {
        version::compare(a, b)
    }
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.packages.iter().map(|package| package.0.as_str()))
    }
}

impl Solvables for Case {
    fn arch(&self, id: PackageId) -> &str {
        &self.packages[id as usize].2
    }
    fn arches(&self) -> &[String] {
        &self.arches
    }
    fn priority(&self, id: PackageId) -> i32 {
        self.packages[id as usize].4
    }
    fn excluded(&self, _: &str) -> Vec<Excluded<'_>> {
        Vec::new()
    }
    fn supplementing(&self) -> &[PackageId] {
        &self.supplementing
    }
    fn obsoleting(&self, _: &str) -> &[PackageId] {
        &[]
    }
    fn terms(&self, id: PackageId) -> Option<&Terms> {
        self.relations[id as usize].terms.as_deref()
    }
    fn offering(&self, name: &str) -> Vec<PackageId> {
        self.offering_like(&|offered| offered == name)
    }
    fn offering_like(&self, is_meant: &dyn Fn(&str) -> bool) -> Vec<PackageId> {
        let offers = |id: &PackageId| {
            is_meant(self.name(*id)) || self.terms(*id).unwrap().provides.iter().any(|offer| is_meant(&offer.name))
        };
        (0..self.len() as PackageId).filter(|id| self.is_installable(id)).filter(offers).collect()
    }
    fn offers_in(&self, id: PackageId, constraint: &Constraint) -> bool {
        let Some(wanted) = &constraint.range else { return self.offering(&constraint.name).contains(&id) };
        let mut offers = self.terms(id).unwrap().provides.iter().filter(|offer| offer.name == constraint.name);
        offers.any(|offer| offer.range.as_ref().is_none_or(|range| overlaps(range, wanted))) || self.is_named(id, constraint)
    }
    fn is_named(&self, id: PackageId, constraint: &Constraint) -> bool {
        let own = (Op::Equal, self.version(id).to_owned());
        self.name(id) == constraint.name && constraint.range.as_ref().is_none_or(|range| overlaps(&own, range))
    }
    fn compare_loosely(&self, a: &str, b: &str) -> Ordering {
        match version::relate(a, b) {
            Relation::Order(order) => order,
            _ => Ordering::Equal,
        }
    }
}

/// What became of one question of a case.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed(String),
    NotApplicable(String),
}

/// One question: its lines from the last `nextjob`.
fn question(case: &Case, is_empty_root: bool, arch: &str, lines: &[String]) -> Outcome {
    let not = |why: &str| Outcome::NotApplicable(why.to_owned());
    let mut settings =
        Settings { weak: true, best: false, colors: false, own_arch: false, multiversion: Vec::new(), keep_obsoletes: true };
    let (mut jobs, mut wanted, mut results) = (Vec::new(), Vec::new(), String::new());
    let mut has_problem = false;
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["poolflags", ref flags @ ..] => match flags {
                ["implicitobsoleteusescolors"] => settings.colors = true,
                _ => return not("it asks for other rules than dnf's"),
            },
            ["solverflags", ref flags @ ..] => {
                settings.weak = !flags.contains(&"ignorerecommended");
                if flags.iter().any(|flag| ["strongrecommends", "strictrepopriority", "focusnew", "focusbest"].contains(flag)) {
                    return not("it asks for other rules than dnf's");
                }
            }
            ["job", "install", select, ref rest @ ..] => {
                let flags = rest.last().filter(|word| word.starts_with('['));
                settings.best |= flags.is_some_and(|flags| flags.contains("forcebest"));
                settings.own_arch |= select == "pkg" || flags.is_some_and(|flags| flags.contains("setarch"));
                let text = rest.iter().filter(|word| !word.starts_with('[')).copied().collect::<Vec<_>>().join(" ");
                let all = 0..case.len() as PackageId;
                jobs.push(match (select, dependency(&text)) {
                    ("name", Ok(Term::One(one))) => {
                        all.filter(|id| case.is_installable(id) && case.is_named(*id, &one)).collect()
                    }
                    ("provides", Ok(Term::One(one))) => {
                        all.filter(|id| case.is_installable(id) && case.offers_in(*id, &one)).collect()
                    }
                    ("pkg" | "oneof", _) => all.filter(|id| text.split(' ').any(|name| name == case.full_name(*id))).collect(),
                    _ => return not("it asks for something else than packages"),
                });
            }
            ["job", ..] => return not("it asks for something else than installing"),
            ["disable" | "feature" | "genid" | "namespace", ref rest @ ..] if rest != ["complex_deps"] => {
                return not("packages are switched off, or something is asked of libsolv's library");
            }
            ["result", kinds, ..] => results = kinds.to_owned(),
            _ => {}
        }
        if let Some(found) = line.strip_prefix("#>install ") {
            wanted.push(found.to_owned());
        }
        has_problem |= line.starts_with("#>problem ");
    }
    if !is_empty_root {
        return not("something is installed");
    }
    if arch == "unset" && settings.colors {
        return not("architectures matter, and it has none");
    }
    if !results.contains("transaction") {
        return not("it asks for libsolv's inner rules, proofs or ids");
    }
    let impossible = jobs.iter().any(Vec::is_empty);
    let found = if impossible { None } else { solve(case, case, &jobs, &settings) };
    let mut shown: Vec<String> = found.iter().flatten().map(|&id| case.full_name(id)).collect();
    shown.sort();
    wanted.sort();
    match (has_problem, found.is_none()) {
        (true, true) => Outcome::Passed,
        (false, false) if shown == wanted => Outcome::Passed,
        _ => Outcome::Failed(format!("found {shown:?}, wanted {wanted:?}, a problem {has_problem}")),
    }
}

fn arches(machine: &str) -> Vec<String> {
    let all = ["x86_64", "i686", "i586", "i486", "i386"];
    match all.iter().position(|arch| *arch == machine) {
        Some(first) => all[first..].iter().map(|arch| (*arch).to_owned()).collect(),
        None => Vec::new(),
    }
}

/// Runs a file; its questions in order.
fn run(path: &Path) -> Vec<Outcome> {
    let text = fs::read_to_string(path).unwrap();
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut case = Case::default();
    let (mut is_empty, mut arch, mut installed, mut flaw) = (true, String::new(), "system".to_owned(), None);
    let mut repos: Vec<(String, i32, Vec<String>)> = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["repo", name, priority, "testtags", "<inline>"] => {
                let body = lines[at + 1..].iter().take_while(|line| line.starts_with("#>"));
                let body = body.map(|line| line[2..].to_owned()).collect();
                repos.push((name.into(), priority.split('.').next().unwrap().parse().unwrap(), body));
            }
            ["repo", name, priority, "testtags", file] => {
                let body = fs::read_to_string(path.with_file_name(file)).unwrap().lines().map(str::to_owned).collect();
                repos.push((name.into(), priority.parse().unwrap(), body));
            }
            ["repo", _, _, "empty"] | ["repo", _, _, "empty", ..] => {}
            ["repo", ..] => flaw = Some("its repository is in a format of libsolv's own".to_owned()),
            ["system", machine, kind, ref name @ ..] => {
                arch = machine.to_owned();
                if !matches!(kind, "rpm" | "*") {
                    flaw = Some("it is not about RPM".to_owned());
                }
                installed = name.first().map_or(String::new(), |name| (*name).to_owned());
            }
            _ => {}
        }
    }
    case.arches = arches(&arch);
    for (name, priority, body) in repos {
        if name == installed || name == "@System" {
            is_empty &= !body.iter().any(|line| line.starts_with("=Pkg"));
        }
        if let Err(why) = case.add(&name, priority, &body) {
            flaw = Some(why);
        }
    }
    let questions = lines.split(|line| line.starts_with("nextjob"));
    questions
        .map(|lines| match &flaw {
            Some(why) => Outcome::NotApplicable(why.clone()),
            None => question(&case, is_empty, &arch, lines),
        })
        .collect()
}

#[test]
fn libsolvs_own_cases_pass() {
    let Some(dir) = fixtures("libsolv's conformance cases") else { return };
    let mut files: Vec<_> = Vec::new();
    for entry in fs::read_dir(dir.join("solver/libsolv")).unwrap() {
        let found = fs::read_dir(entry.unwrap().path()).unwrap().map(|entry| entry.unwrap().path());
        files.extend(found.filter(|path| path.extension().is_some_and(|extension| extension == "t")));
    }
    files.sort();
    let (mut passed, mut failed) = (0, Vec::new());
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for path in &files {
        let name = format!("{}/{}", path.parent().unwrap().file_name().unwrap().display(), path.file_name().unwrap().display());
        for (number, outcome) in run(path).into_iter().enumerate() {
            match outcome {
                Outcome::Passed => {
                    passed += 1;
                    println!("{name} #{number}: passed");
                }
                Outcome::Failed(why) => failed.push(format!("{name} #{number}: {why}")),
                Outcome::NotApplicable(why) => {
                    println!("{name} #{number}: not applicable: {why}");
                    *reasons.entry(why).or_default() += 1;
                }
            }
        }
    }
    println!("{passed} passed, {} not applicable: {reasons:#?}", reasons.values().sum::<usize>());
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
    assert!(passed >= 15, "only {passed} passed");
}
