//! Measures our program beside the other generators, in turn on the same machine, and writes `docs/benchmarks.md`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::indexes;
use crate::kernel_installs;
use crate::measure::{Figures, machine, measure, median, today};
use crate::peers::{Peers, RELEASE};
use crate::shell::{at, call, cargo, output, repository, target, tool};

/// How often each is measured unless the command line says it.
const RUNS: usize = 3;

/// The heading of what `tests/boot/boot_times.rs` writes.
const BOOTS: &str = "From the kernel to switch-root\n";

/// One thing that is measured.
struct Subject {
    name: String,
    group: Group,
    command: Vec<String>,
    /// What is done before every run, not measured.
    before: Vec<Vec<String>>,
    image: Option<PathBuf>,
    runs: Vec<Figures>,
}

/// What is compared with what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    Solve,
    Index,
    Build,
    KernelInstall,
}

/// What the command line asks for.
struct Request {
    runs: usize,
    only: Option<String>,
    set_up_only: bool,
    /// Only what needs no other generator.
    indexes_only: bool,
}

/// Runs the errand.
pub fn run(args: &[String]) -> Result<(), String> {
    let request = parse(args)?;
    let work = target().join("bench");
    let readers = readers(&work)?;
    let peers = if request.indexes_only { None } else { Some(Peers::set_up(&work.join("roots"))?) };
    if request.set_up_only {
        return Ok(());
    }
    call(cargo().args(["build", "--release", "--bin", "mkinitrd-pkg"]))?;
    let mut subjects = match &peers {
        Some(peers) => subjects(peers, &work)?,
        None => Vec::new(),
    };
    subjects.extend(readers);
    if let Some(word) = &request.only {
        subjects.retain(|subject| subject.name.contains(word.as_str()));
    }
    // In turn, so that a load that comes and goes hits all of them alike.
    for round in 1..=request.runs {
        for subject in &mut subjects {
            for command in &subject.before {
                output(tool(&command[0]).args(&command[1..]))?;
            }
            let figures = measure(&subject.command, &work)?;
            println!(
                "{round}/{} {:<48} {:>7.2} s wall {:>7.2} s cpu {:>5} MiB  load {:.1}",
                request.runs,
                subject.name,
                figures.wall_s,
                figures.cpu_s(),
                figures.peak_kib / 1024,
                figures.load
            );
            subject.runs.push(figures);
        }
    }
    let path = repository().join("docs/benchmarks.md");
    let before = fs::read_to_string(&path).map_err(at(&path))?;
    let text = document(&subjects, request.runs) + &section_of_boots(&before);
    println!("\n{text}");
    if request.only.is_some() || request.indexes_only {
        return Ok(()); // a part is for whoever looks into something, not for the record
    }
    fs::write(&path, text).map_err(at(&path))
}

/// Returns the section that `cargo xtask boot times` writes, which stays as it is.
fn section_of_boots(before: &str) -> String {
    let sections = before.split("\n## ").skip(1);
    sections.filter(|section| section.starts_with(BOOTS)).map(|section| format!("\n## {}\n", section.trim_end())).collect()
}

fn parse(args: &[String]) -> Result<Request, String> {
    let mut request = Request { runs: RUNS, only: None, set_up_only: false, indexes_only: false };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--setup" => request.set_up_only = true,
            "--indexes" => request.indexes_only = true,
            "--only" => request.only = Some(args.next().ok_or("`--only` wants a word out of a name")?.clone()),
            number => {
                let runs = number.parse().ok().filter(|runs| *runs > 0);
                request.runs = runs.ok_or_else(|| format!("`{number}` is no number of runs"))?;
            }
        }
    }
    Ok(request)
}

fn words(program: &Path, args: &[&str]) -> Vec<String> {
    std::iter::once(program.display().to_string()).chain(args.iter().map(|arg| (*arg).to_owned())).collect()
}

/// Returns those who read large indexes.
fn readers(work: &Path) -> Result<Vec<Subject>, String> {
    let readers = indexes::set_up(work, &target().join("release/mkinitrd-pkg"))?;
    let subject = |reader: indexes::Reader| Subject {
        name: reader.name,
        group: Group::Index,
        command: reader.command,
        before: reader.before,
        image: None,
        runs: Vec::new(),
    };
    Ok(readers.into_iter().map(subject).collect())
}

fn subjects(peers: &Peers, work: &Path) -> Result<Vec<Subject>, String> {
    let program = target().join("release/mkinitrd-pkg");
    let what = ["--distro", "debian", "--release", RELEASE, "--generic"];
    let with_what = |verb: &str, more: &[&str]| words(&program, &[&[verb], &what[..], more].concat());
    let image = work.join("ours.img");
    let out = image.display().to_string();
    let build = with_what("build", &["--offline", "-o", &out]);
    // Everything is downloaded once; from then on nobody needs the network.
    output(tool(&program).args(&with_what("build", &["-o", &out])[1..]))?;
    let listed = output(tool(&program).args(&with_what("plan", &["--offline", "--json"])[1..]))?;
    let packages = package_names(&listed);
    let forget = vec![words(&program, &["clean", "--payloads"])];
    let subject = |name: &str, group, command, before, image| Subject {
        name: name.to_owned(),
        group,
        command,
        before,
        image,
        runs: Vec::new(),
    };
    let plan = with_what("plan", &["--offline"]);
    let mut subjects = vec![
        subject("mkinitrd-pkg plan, nothing parsed yet", Group::Solve, plan.clone(), forget.clone(), None),
        subject("mkinitrd-pkg plan, index parsed before", Group::Solve, plan, Vec::new(), None),
        subject(
            "apt-get -s install, its cache thrown away",
            Group::Solve,
            peers.apt_simulation(&packages, true),
            Vec::new(),
            None,
        ),
        subject("apt-get -s install, its cache warm", Group::Solve, peers.apt_simulation(&packages, false), Vec::new(), None),
        subject("mkinitrd-pkg build, downloaded only", Group::Build, build.clone(), forget, Some(image.clone())),
        subject("mkinitrd-pkg build, again", Group::Build, build, Vec::new(), Some(image)),
    ];
    for peer in peers.all()? {
        subjects.push(subject(&peer.name, Group::Build, peer.command, Vec::new(), Some(peer.image)));
    }
    for install in kernel_installs::set_up(peers, &program)? {
        for command in &install.before {
            output(tool(&command[0]).args(&command[1..]))?;
        }
        // Once with the network, if it has to be.
        output(tool(&install.command[0]).args(&install.command[1..]))?;
        subjects.push(subject(&install.name, Group::KernelInstall, install.command, install.before, Some(install.image)));
    }
    Ok(subjects)
}

/// Returns the names out of `plan --json`: each package is an object whose own `name` this is.
fn package_names(json: &str) -> Vec<String> {
    let mut names: Vec<String> = json
        .split("\"name\":")
        .skip(1)
        .filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next().map(str::to_owned))
        .collect();
    names.sort();
    names.dedup();
    // apt would take the kernel's own dependencies along, and the peers' root may have another point release of it.
    names.retain(|name| !name.starts_with("linux-image-"));
    names
}

fn document(subjects: &[Subject], runs: usize) -> String {
    let mut text = format!(
        "# Benchmarks\n\nWritten by `cargo xtask bench {runs}` on {}; do not edit.\n\nMachine: {}.\n\n{EXPLANATION}",
        today(),
        machine()
    );
    for (group, heading) in [
        (Group::Solve, "Which packages"),
        (Group::Index, "The index of a large repository"),
        (Group::Build, "The whole image"),
        (Group::KernelInstall, "A whole `kernel-install add`"),
    ] {
        let members: Vec<&Subject> =
            subjects.iter().filter(|subject| subject.group == group && !subject.runs.is_empty()).collect();
        let Some(first) = members.first() else { continue };
        let ours = median(&first.runs, Figures::cpu_s);
        text.push_str(&format!(
            "\n## {heading}\n\n| what | user+sys s | user | sys | wall s | peak MiB | image bytes | user+sys : first row |\n"
        ));
        text.push_str("|---|---|---|---|---|---|---|---|\n");
        for subject in members {
            let of = |of: fn(&Figures) -> f64| median(&subject.runs, of);
            let bytes = subject.image.as_ref().and_then(|image| fs::metadata(image).ok());
            text.push_str(&format!(
                "| {} | **{:.2}** | {:.2} | {:.2} | {:.2} | {:.0} | {} | {:.2} |\n",
                subject.name,
                of(Figures::cpu_s),
                of(|figures| figures.user_s),
                of(|figures| figures.system_s),
                of(|figures| figures.wall_s),
                of(|figures| figures.peak_kib as f64) / 1024.0,
                bytes.map_or("-".to_owned(), |meta| meta.len().to_string()),
                of(Figures::cpu_s) / ours,
            ));
        }
    }
    text.push_str("\n## Every run\n\nWall / user / sys seconds, peak KiB, load average before the run.\n\n");
    for subject in subjects {
        let runs = subject
            .runs
            .iter()
            .map(|run| format!("{:.2} / {:.2} / {:.2}, {}, {:.1}", run.wall_s, run.user_s, run.system_s, run.peak_kib, run.load));
        text.push_str(&format!("- {}: {}\n", subject.name, runs.collect::<Vec<_>>().join("; ")));
    }
    text
}

const EXPLANATION: &str = "All of them make a generic image for the same kernel of the same Debian release, from packages or files that are on \
this machine already; nothing is downloaded while the clock runs. They are run in turn. The figures are medians; *user+sys* counts \
all processes and is the one to compare, because a busy machine distorts it least; *peak* is the largest single process. The other \
generators run in Debian roots of their own (`xtask/src/peers.rs`), as root; the few mounts for that cost 0.01 s.

What differs beside the program: mkosi-initrd installs packages with apt and dpkg and runs their scripts; mkinitramfs and dracut copy \
files of the system that they run on and resolve no package at all; dracut compresses with zstd -15 by default, mkinitramfs with -9, \
mkosi-initrd with -3. *Downloaded only* means that the program's cache holds what came over the network and nothing else \
(`mkinitrd-pkg clean --payloads`); *again* is the same command a second time.

*The index of a large repository* is made up (`xtask/src/indexes.rs`): 70,000 packages with the provides, requires, files and descriptions \
that a distribution's have. Ours reads it and solves a request; `dnf makecache` reads it into libsolv's form with its cache thrown away \
before; `repo2solv` is libsolv without dnf; pacman solves the same request.

*A whole `kernel-install add`* is systemd's own program with all plugins of one and the same root, in which all generators are
installed: depmod, the initrd, the copies to the boot partition. initramfs-tools has no plugin: there it is what a kernel package of
Debian starts, `update-initramfs -c` and then `kernel-install add`. Nothing of the boot partition is there before a run; packages and
indexes are. All make a generic image, for the root shows them no machine (`/sys` is not mounted); ours is also measured as it is in
daily use, for the machine that it sees.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_section_of_boots_stays() {
        let boots = "\n## From the kernel to switch-root\n\n| a |\n";
        assert_eq!(
            section_of_boots(&format!("# Benchmarks\n\n## Which packages\n\n| b |\n{boots}\n## Every run\n\n- c\n")),
            boots
        );
        assert_eq!(section_of_boots(&format!("# Benchmarks\n\n- c\n{boots}")), boots);
        assert_eq!(section_of_boots("# Benchmarks\n\n- c\n"), "");
    }
}
