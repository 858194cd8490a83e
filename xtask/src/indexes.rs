//! Repositories of 70,000 packages, made up: their metadata only, as large and as entangled as a distribution's.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::shell::{at, output, tool};

/// What a large distribution has.
const PACKAGES: usize = 70_000;
/// The last one needs others, which need others.
const WANTED: usize = PACKAGES - 1;
const EPOCH_S: u64 = 1_760_000_000;

/// A command that reads such metadata.
pub struct Reader {
    /// Whose, and of what.
    pub name: String,
    /// The whole command.
    pub command: Vec<String>,
    /// What makes its cache empty again, not measured.
    pub before: Vec<Vec<String>>,
}

/// Makes the metadata, once, and returns who reads them: ours and the format's own tools.
pub fn set_up(work: &Path, program: &Path) -> Result<Vec<Reader>, String> {
    let dir = work.join("indexes-2");
    if !dir.join("complete").exists() {
        for name in ["rpm/repodata", "alpm", "apk/x86_64"] {
            let dir = dir.join(name);
            fs::create_dir_all(&dir).map_err(at(&dir))?;
        }
        rpm(&dir.join("rpm/repodata"))?;
        alpm(&dir.join("alpm"))?;
        apk(&dir.join("apk/x86_64"))?;
        write(&dir.join("complete"), b"")?;
    }
    let shown = |name: &str| dir.join(name).display().to_string();
    let words = |text: &[&str]| text.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let ours = |name: &str, at: &str| {
        let (program, repository, wanted) = (program.display().to_string(), format!("file:{}", shown(at)), self::name(WANTED));
        let command = ["plan", "--bare", "--no-verify", "--arch", "x86_64", "--repo", &repository, "--package", &wanted];
        Reader {
            name: format!("mkinitrd-pkg plan --bare, {name}"),
            command: [vec![program], words(&command)].concat(),
            before: Vec::new(),
        }
    };
    let cache = shown("dnf-cache");
    let dnf = ["dnf", "-q", "--releasever=1", "--repo=bench", "--setopt=plugins=0"];
    let from = [format!("--repofrompath=bench,file://{}", shown("rpm")), format!("--setopt=cachedir={cache}")];
    let solv = ["repo2solv", "-o", &shown("out.solv"), &shown("rpm")].map(str::to_owned).to_vec();
    let pacman = pacman(&dir)?;
    Ok(vec![
        ours("primary.xml.zst of 70,000 packages", "rpm"),
        Reader {
            name: "dnf makecache, the same".into(),
            command: [words(&dnf), from.to_vec(), words(&["makecache"])].concat(),
            before: vec![words(&["rm", "-rf", &cache])],
        },
        Reader { name: "repo2solv (libsolv alone), the same".into(), command: solv, before: Vec::new() },
        ours("core.db of 70,000 packages", "alpm"),
        Reader { name: "pacman -Sp, the same".into(), command: pacman, before: Vec::new() },
        ours("APKINDEX of 70,000 packages", "apk"),
    ])
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    fs::write(path, bytes).map_err(at(path))
}

/// Returns pacman's command over a synchronized database.
fn pacman(dir: &Path) -> Result<Vec<String>, String> {
    let home = dir.join("pacman");
    let conf = home.join("conf");
    let at_home = home.display();
    fs::create_dir_all(home.join("db")).map_err(at(&home))?;
    let text = format!(
        "[options]\nRootDir = {at_home}\nDBPath = {at_home}/db\nCacheDir = {at_home}/cache\nLogFile = {at_home}/log\nGPGDir = {at_home}/gpg\n\
         Architecture = x86_64\nSigLevel = Never\n[core]\nServer = file://{}\n",
        dir.join("alpm").display()
    );
    write(&conf, text.as_bytes())?;
    let conf = conf.display().to_string();
    output(tool("pacman").args(["--config", &conf, "-Sy", "--noconfirm"]))?;
    let command = ["pacman", "--config", &conf, "-Sp", "--noconfirm", "--print-format", "%n", &name(WANTED)];
    Ok(command.map(str::to_owned).to_vec())
}

// ---- what the packages are ------------------------------------------------------------------------------------------

const WORDS: [&str; 20] = [
    "python3",
    "perl",
    "texlive",
    "rust",
    "golang-github",
    "lib",
    "gnome",
    "kde",
    "php",
    "ruby",
    "java",
    "ghc",
    "nodejs",
    "qt6",
    "mingw64",
    "ocaml",
    "erlang",
    "fonts",
    "kernel",
    "google",
];

fn name(number: usize) -> String {
    format!("{}-{}{number}", WORDS[number % WORDS.len()], ["core", "utils", "devel", "common", "data"][number / 7 % 5])
}

fn version(number: usize) -> String {
    format!("{}.{}.{}", number % 9, number / 9 % 30, number / 270 % 12)
}

/// Half of all packages have a library.
fn soname(number: usize) -> Option<String> {
    number.is_multiple_of(2).then(|| format!("lib{}{number}.so.{}", WORDS[number % WORDS.len()], number % 5))
}

/// A few of its kind and a few that everybody needs: much smaller numbers only, so that a request takes hundreds and not thousands.
fn needs(number: usize) -> Vec<usize> {
    let mut found = vec![number * 3 / 7, number / 4, number / 11, number % 40, number % 13];
    found.retain(|other| *other < number);
    found.sort_unstable();
    found.dedup();
    found
}

// ---- the formats ----------------------------------------------------------------------------------------------------

const HEX: &str = "0123456789abcdef";

/// A digest that nothing has.
fn digest(number: usize) -> String {
    let mut state = number as u64 | 1 << 40;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 60) as usize
    };
    (0..64).map(|_| HEX.as_bytes()[next()] as char).collect()
}

fn rpm(dir: &Path) -> Result<(), String> {
    let namespaces = "xmlns=\"http://linux.duke.edu/metadata/common\" xmlns:rpm=\"http://linux.duke.edu/metadata/rpm\"";
    let mut primary = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<metadata {namespaces} packages=\"{PACKAGES}\">\n");
    let mut filelists = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<filelists xmlns=\"http://linux.duke.edu/metadata/filelists\" packages=\"{PACKAGES}\">\n"
    );
    for number in 0..PACKAGES {
        rpm_package(&mut primary, number);
        let (name, version) = (name(number), version(number));
        write!(
            filelists,
            "<package pkgid=\"{}\" name=\"{name}\" arch=\"x86_64\">\n  <version epoch=\"0\" ver=\"{version}\" rel=\"1.fc99\"/>\n  \
             <file>/usr/bin/{name}</file>\n  <file>/usr/share/doc/{name}/README</file>\n</package>\n",
            digest(number)
        )
        .expect("memory");
    }
    primary.push_str("</metadata>\n");
    filelists.push_str("</filelists>\n");
    let mut list = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<repomd xmlns=\"http://linux.duke.edu/metadata/repo\">\n  <revision>{EPOCH_S}</revision>\n"
    );
    for (kind, text) in [("primary", &primary), ("filelists", &filelists)] {
        let (raw, packed) = (dir.join(format!("{kind}.xml")), dir.join(format!("{kind}.xml.zst")));
        write(&raw, text.as_bytes())?;
        output(tool("zstd").args(["-q", "-f", "-10", "-T0"]).arg(&raw).arg("-o").arg(&packed))?;
        let sha256 = |path: &PathBuf| {
            output(tool("sha256sum").arg(path)).map(|text| text.split(' ').next().unwrap_or_default().to_owned())
        };
        let size = fs::metadata(&packed).map_err(at(&packed))?.len();
        write!(
            list,
            "  <data type=\"{kind}\">\n    <checksum type=\"sha256\">{}</checksum>\n    <open-checksum type=\"sha256\">{}</open-checksum>\n    \
             <location href=\"repodata/{kind}.xml.zst\"/>\n    <timestamp>{EPOCH_S}</timestamp>\n    <size>{size}</size>\n    \
             <open-size>{}</open-size>\n  </data>\n",
            sha256(&packed)?,
            sha256(&raw)?,
            text.len()
        )
        .expect("memory");
        fs::remove_file(&raw).map_err(at(&raw))?;
    }
    list.push_str("</repomd>\n");
    write(&dir.join("repomd.xml"), list.as_bytes())
}

fn rpm_package(out: &mut String, number: usize) {
    let (name, version, word) = (name(number), version(number), WORDS[number % WORDS.len()]);
    let flags = |version: &str| format!("flags=\"EQ\" epoch=\"0\" ver=\"{version}\" rel=\"1.fc99\"");
    write!(
        out,
        "<package type=\"rpm\">\n  <name>{name}</name>\n  <arch>x86_64</arch>\n  <version epoch=\"0\" ver=\"{version}\" rel=\"1.fc99\"/>\n  \
         <checksum type=\"sha256\" pkgid=\"YES\">{}</checksum>\n  <summary>Package number {number}, of the kind {word}</summary>\n  \
         <description>A package that is described at the length that descriptions have: it does what its name says, is written in a language, \
         comes with a library that others link with, and was made up to measure how long it takes to read seventy thousand of its like. \
         Nobody installs it.\n\nThis is its second paragraph, for most have two.</description>\n  <packager>Somebody</packager>\n  \
         <url>https://example.invalid/{name}</url>\n  <time file=\"{EPOCH_S}\" build=\"{EPOCH_S}\"/>\n  \
         <size package=\"{}\" installed=\"{}\" archive=\"{}\"/>\n  <location href=\"Packages/{}/{name}-{version}-1.fc99.x86_64.rpm\"/>\n  <format>\n    \
         <rpm:license>MIT</rpm:license>\n    <rpm:vendor>Nobody</rpm:vendor>\n    <rpm:group>Unspecified</rpm:group>\n    \
         <rpm:buildhost>build.invalid</rpm:buildhost>\n    <rpm:sourcerpm>{name}-{version}-1.fc99.src.rpm</rpm:sourcerpm>\n    \
         <rpm:header-range start=\"4504\" end=\"{}\"/>\n    <rpm:provides>\n      <rpm:entry name=\"{name}\" {}/>\n      \
         <rpm:entry name=\"{name}(x86-64)\" {}/>\n",
        digest(number),
        20_000 + number,
        60_000 + number * 3,
        61_000 + number * 3,
        name.chars().next().unwrap_or('x'),
        9000 + number % 5000,
        flags(&version),
        flags(&version),
    )
    .expect("memory");
    if let Some(soname) = soname(number) {
        for symbol in ["", "BASE", "1.2"] {
            writeln!(out, "      <rpm:entry name=\"{soname}({symbol})(64bit)\"/>").expect("memory");
        }
    }
    out.push_str("    </rpm:provides>\n    <rpm:requires>\n");
    for other in needs(number) {
        match soname(other) {
            Some(soname) => {
                writeln!(out, "      <rpm:entry name=\"{soname}()(64bit)\"/>\n      <rpm:entry name=\"{soname}(BASE)(64bit)\"/>")
                    .expect("memory");
            }
            None => writeln!(out, "      <rpm:entry name=\"{}\" flags=\"GE\" epoch=\"0\" ver=\"0\"/>", self::name(other))
                .expect("memory"),
        }
    }
    if number.is_multiple_of(5) && number > 0 {
        writeln!(out, "      <rpm:entry name=\"/usr/bin/{}\"/>", self::name(number / 2)).expect("memory");
    }
    writeln!(
        out,
        "    </rpm:requires>\n    <file>/usr/bin/{name}</file>\n    <file>/etc/{name}.conf</file>\n  </format>\n</package>"
    )
    .expect("memory");
}

/// One member of a tar archive.
fn member(out: &mut Vec<u8>, name: &str, content: &[u8]) {
    let mut header = [0u8; 512];
    let fields: [(usize, String); 6] = [
        (0, name.to_owned()),
        (100, "0000644\x000000000\x000000000".into()),
        (124, format!("{:011o}", content.len())),
        (136, format!("{EPOCH_S:011o}")),
        (148, "        0".into()),
        (257, "ustar\x0000".into()),
    ];
    for (at, text) in &fields {
        header[*at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.extend(header);
    out.extend(content);
    out.resize(out.len().next_multiple_of(512), 0);
}

/// Ends an archive and compresses it.
fn finish(mut archive: Vec<u8>, path: &Path) -> Result<(), String> {
    archive.resize(archive.len() + 1024, 0);
    let raw = path.with_extension("raw");
    write(&raw, &archive)?;
    output(tool("gzip").args(["-n", "-6", "-f"]).arg(&raw))?;
    fs::rename(path.with_extension("raw.gz"), path).map_err(at(path))
}

fn alpm(dir: &Path) -> Result<(), String> {
    let mut archive = Vec::new();
    for number in 0..PACKAGES {
        let (name, version) = (name(number), format!("{}-1", version(number)));
        let mut text = format!(
            "%FILENAME%\n{name}-{version}-x86_64.pkg.tar.zst\n\n%NAME%\n{name}\n\n%BASE%\n{name}\n\n%VERSION%\n{version}\n\n%DESC%\nPackage number {number}\n\n\
             %CSIZE%\n{}\n\n%ISIZE%\n{}\n\n%SHA256SUM%\n{}\n\n%URL%\nhttps://example.invalid/{name}\n\n%LICENSE%\nMIT\n\n%ARCH%\nx86_64\n\n\
             %BUILDDATE%\n{EPOCH_S}\n\n%PACKAGER%\nSomebody <somebody@example.invalid>\n\n",
            20_000 + number,
            60_000 + number * 3,
            digest(number)
        );
        let needs = needs(number);
        if !needs.is_empty() {
            let names: Vec<String> = needs.into_iter().map(self::name).collect();
            write!(text, "%DEPENDS%\n{}\n\n", names.join("\n")).expect("memory");
        }
        if let Some((library, number)) = soname(number).as_deref().and_then(|soname| soname.rsplit_once('.')) {
            write!(text, "%PROVIDES%\n{library}={number}-64\n\n").expect("memory");
        }
        member(&mut archive, &format!("{name}-{version}/desc"), text.as_bytes());
    }
    finish(archive, &dir.join("core.db"))
}

fn apk(dir: &Path) -> Result<(), String> {
    let mut text = String::new();
    for number in 0..PACKAGES {
        let (name, version) = (name(number), format!("{}-r1", version(number)));
        // 20 bytes in base64, whatever they are: the last letter has no more than their bits.
        let identity = format!("{}A", &digest(number)[..26]);
        write!(
            text,
            "C:Q1{identity}=\nP:{name}\nV:{version}\nA:x86_64\nS:{}\nI:{}\nT:Package number {number}\nU:https://example.invalid/{name}\nL:MIT\no:{name}\n\
             m:Somebody <somebody@example.invalid>\nt:{EPOCH_S}\nc:{}\n",
            20_000 + number,
            60_000 + number * 3,
            &digest(number)[..40]
        )
        .expect("memory");
        let depends: Vec<String> = needs(number)
            .into_iter()
            .map(|other| soname(other).map_or(self::name(other), |soname| format!("so:{soname}")))
            .collect();
        if !depends.is_empty() {
            writeln!(text, "D:{}", depends.join(" ")).expect("memory");
        }
        let provides = soname(number).map(|soname| format!("so:{soname}={}.0 ", number % 5)).unwrap_or_default();
        writeln!(text, "p:{provides}cmd:{name}={version}\n").expect("memory");
    }
    let mut archive = Vec::new();
    member(&mut archive, "DESCRIPTION", b"bench");
    member(&mut archive, "APKINDEX", text.as_bytes());
    finish(archive, &dir.join("APKINDEX.tar.gz"))
}
