//! The schema of profiles and drop-ins: one file becomes one [`Layer`]. `distro-profiles/README.md` explains it to people.

use super::document::{self, DocumentError, Node, Table};
use super::{ImageKind, Item, Source};
use crate::base::glob::Glob;

/// What one file adds and takes away.
#[derive(Debug, Clone)]
pub struct Layer {
    /// The file, as named in messages.
    pub file: String,
    /// The profiles that this one builds on.
    pub extends: Vec<Item>,
    /// What the file says of the distribution; only profiles do.
    pub distro: Option<Distro>,
    /// What holds always.
    pub body: Body,
    /// What holds for a release or an architecture.
    pub when: Vec<When>,
    /// What a feature adds, by its name.
    pub features: Vec<(String, Feature)>,
}

/// Facts about a distribution.
#[derive(Debug, Clone)]
pub struct Distro {
    /// The ID of os-release.
    pub name: Item,
    /// The package family.
    pub family: Item,
    /// The mirror for a host that has none of its own to offer.
    pub mirror: Item,
    /// Components of the repositories.
    pub components: Vec<Item>,
    /// Keyring files of the host that hold the archive's keys.
    pub keyrings: Vec<Item>,
    /// The names of architectures, each with the kernel's name for the machine.
    pub architectures: Vec<(String, Item)>,
    /// The releases, each with its suites.
    pub releases: Vec<Release>,
    /// Merged directories: a path at the top and where its link leads.
    pub links: Vec<(String, Item)>,
}

/// The name of a release that stands for all that have no table of their own.
const ANY_RELEASE: &str = "*";

impl Distro {
    /// Returns the release that somebody calls by this name: one that is named so, else the one that stands for all others.
    pub fn release(&self, name: &str) -> Option<&Release> {
        let is = |release: &&Release| release.name == name || release.aliases.iter().any(|alias| alias.text == name);
        let any = |release: &&Release| release.name == ANY_RELEASE && is_release_word(name);
        self.releases.iter().find(is).or_else(|| self.releases.iter().find(any))
    }

    /// Returns the release that is built when nobody names one: the one called `stable`, else the first that has a name.
    pub fn default_release(&self) -> Option<&str> {
        let named = || self.releases.iter().filter(|release| release.name != ANY_RELEASE);
        let stable = named().find(|release| release.aliases.iter().any(|alias| alias.text == "stable"));
        stable.or_else(|| named().next()).map(|release| release.name.as_str())
    }
}

impl Release {
    /// Returns the one name of the release that somebody calls by `name`.
    pub fn word<'a>(&'a self, name: &'a str) -> &'a str {
        if self.name == ANY_RELEASE { name } else { &self.name }
    }
}

/// Tells whether a word may stand in the path of a mirror.
fn is_release_word(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

/// A release of a distribution.
#[derive(Debug, Clone)]
pub struct Release {
    /// The name (`trixie`), or `*` for any number.
    pub name: String,
    /// Other names by which os-release or people call it (`13`, `stable`).
    pub aliases: Vec<Item>,
    /// Suites that a mirror of the distribution serves.
    pub suites: Vec<Item>,
    /// Where the release is written.
    pub source: Source,
}

/// Additions and removals of one list.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// What comes in, in order.
    pub add: Vec<Item>,
    /// What goes out, by exact text.
    pub remove: Vec<Item>,
}

/// What a file, a condition or a feature changes.
#[derive(Debug, Clone, Default)]
pub struct Body {
    /// Features switched on and off.
    pub with: Change,
    /// Packages of the initrd.
    pub packages: Change,
    /// Packages that must never enter, with the reason.
    pub block: Vec<Blocked>,
    /// Packages that stay in the plan and out of the image.
    pub omit: Change,
    /// The kernel package.
    pub kernel_package: Option<Item>,
    /// Dependencies of the kernel package that hold parts of the kernel, globs.
    pub kernel_follow: Change,
    /// Kernel arguments, for outputs that carry a command line.
    pub kernel_arguments: Change,
    /// The package of the UEFI stub.
    pub uki_package: Option<Item>,
    /// Where the stub lies in it.
    pub uki_stub: Option<Item>,
    /// Dependencies of the kernel package that hold the kernel itself, globs, in addition to `kernel_follow`.
    pub uki_follow: Change,
    /// Other ways to start unified kernel images, each as `ID: WORDS`.
    pub uki_profiles: Change,
    /// The key that signs policies of a TPM.
    pub pcr_private_key: Option<Item>,
    /// Its public half.
    pub pcr_public_key: Option<Item>,
    /// The key that signs unified kernel images.
    pub sign_key: Option<Item>,
    /// Its certificate.
    pub sign_certificate: Option<Item>,
    /// The program that signs.
    pub sign_tool: Option<Item>,
    /// Packages that hold firmware.
    pub firmware_packages: Change,
    /// Dependencies of those that hold firmware, too, globs.
    pub firmware_follow: Change,
    /// Packages that hold microcode of processors.
    pub microcode_packages: Change,
    /// Patterns of kernel modules.
    pub modules: Change,
    /// Rules of paths.
    pub prune: Change,
    /// Features of `.note.dlopen` whose libraries must be there.
    pub dlopen: Change,
    /// Plugins that no ELF note names.
    pub plugins: Vec<Plugin>,
    /// Finalizers.
    pub finalize: Change,
    /// Files that the program brings itself.
    pub install: Change,
    /// Links for units that start and for alternatives.
    pub enable: Change,
    /// Units that are masked.
    pub masks: Change,
    /// Users and groups in sysusers.d syntax that packages make in their scripts.
    pub users: Change,
    /// What the emergency shell lets in.
    pub emergency: Option<Item>,
    /// How the base segment is compressed.
    pub compress: Option<Item>,
    /// Whether an image with secrets may be where others can read it: `refuse` or `allow`.
    pub exposed_secrets: Option<Item>,
}

/// A package that must never enter.
#[derive(Debug, Clone)]
pub struct Blocked {
    /// The package.
    pub name: Item,
    /// Why not.
    pub why: String,
}

/// Files that must be there when another is.
#[derive(Debug, Clone)]
pub struct Plugin {
    /// A glob: if the image holds a match …
    pub when: Item,
    /// … it must hold a match of each of these …
    pub needs: Vec<Item>,
    /// … and holds what there is of these.
    pub wants: Vec<Item>,
}

/// A feature: a word by which a user asks for a capability of the initrd.
#[derive(Debug, Clone)]
pub struct Feature {
    /// What it is good for, one line.
    pub about: Option<Item>,
    /// Words of `host::traits`: a machine that is like one of them has the feature on, unless somebody switches it off.
    pub host: Vec<Item>,
    /// What it changes.
    pub body: Body,
    /// Where it is written.
    pub source: Source,
}

/// Changes under a condition.
#[derive(Debug, Clone)]
pub struct When {
    /// Holds for these releases; for all if empty.
    pub release: Vec<Item>,
    /// Holds for these architectures; for all if empty.
    pub arch: Vec<Item>,
    /// Holds for these distributions; for all if empty.
    pub distro: Vec<Item>,
    /// Holds when this feature is on.
    pub feature: Option<Item>,
    /// Holds for these kinds of image; for all if empty.
    pub image: Vec<Item>,
    /// What it changes.
    pub body: Body,
}

impl Layer {
    /// Reads a file; `file` is how messages name it.
    pub fn parse(file: &str, text: &str) -> Result<Self, DocumentError> {
        let mut top = document::parse(file, text)?;
        let extends = top.items("extends")?;
        let distro = top.take("distro").map(|node| read_distro(node.table()?)).transpose()?;
        let mut when = Vec::new();
        for node in top.take("when").map_or(Ok(Vec::new()), |node| node.list("a list of tables ([[when]])"))? {
            when.push(read_when(node.table()?)?);
        }
        let mut features = Vec::new();
        for (name, node) in top.table("features")?.named() {
            features.push((name, read_feature(node)?));
        }
        let body = read_body(&mut top)?;
        top.finish()?;
        Ok(Self { file: file.to_owned(), extends, distro, body, when, features })
    }
}

fn read_distro(mut table: Table) -> Result<Distro, DocumentError> {
    let mut releases = Vec::new();
    for (name, node) in table.table("releases")?.named() {
        let source = node.source().clone();
        let mut release = node.table()?;
        let (aliases, suites) = (release.items("aliases")?, release.items("suites")?);
        release.finish()?;
        releases.push(Release { name, aliases, suites, source });
    }
    let named = |table: Table| -> Result<Vec<(String, Item)>, DocumentError> {
        let mut table = table;
        table.named().into_iter().map(|(name, node)| Ok((name, node.item()?))).collect()
    };
    let distro = Distro {
        name: table.required_text("name")?,
        family: table.required_text("family")?,
        mirror: table.required_text("mirror")?,
        components: table.items("components")?,
        keyrings: table.items("keyrings")?,
        architectures: named(table.table("architectures")?)?,
        links: named(table.table("links")?)?,
        releases,
    };
    table.finish()?;
    Ok(distro)
}

fn read_when(mut table: Table) -> Result<When, DocumentError> {
    let when = When {
        release: table.items("release")?,
        arch: table.items("arch")?,
        distro: table.items("distro")?,
        feature: table.text("feature")?,
        image: checked_kinds(table.items("image")?)?,
        body: read_body(&mut table)?,
    };
    table.finish()?;
    Ok(when)
}

fn checked_exposure(item: Item) -> Result<Item, DocumentError> {
    if ["refuse", "allow"].contains(&item.text.as_str()) {
        return Ok(item);
    }
    let reason = "an image with secrets where others can read it is either something to `refuse` or to `allow`".to_owned();
    Err(DocumentError::Value { key: "image.exposed-secrets".to_owned(), value: item.text, reason, source_at: item.source })
}

fn checked_kinds(kinds: Vec<Item>) -> Result<Vec<Item>, DocumentError> {
    match kinds.iter().find(|item| ImageKind::ALL.iter().all(|kind| kind.as_str() != item.text)) {
        None => Ok(kinds),
        Some(item) => Err(DocumentError::Value {
            key: "when.image".to_owned(),
            value: item.text.clone(),
            reason: "a kind of image is `host`, `generic` or `full`".to_owned(),
            source_at: item.source.clone(),
        }),
    }
}

fn read_feature(node: Node) -> Result<Feature, DocumentError> {
    let source = node.source().clone();
    let mut table = node.table()?;
    let feature = Feature { about: table.text("about")?, host: table.items("host")?, body: read_body(&mut table)?, source };
    table.finish()?;
    Ok(feature)
}

fn read_body(table: &mut Table) -> Result<Body, DocumentError> {
    let mut body = Body { with: change(table, "with")?, compress: None, ..Body::default() };
    let mut packages = table.table("packages")?;
    body.packages = add_and_remove(&mut packages)?;
    body.omit = change(&mut packages, "omit")?;
    for node in packages.take("block").map_or(Ok(Vec::new()), |node| node.list("a list of tables"))? {
        let mut blocked = node.table()?;
        body.block.push(Blocked { name: blocked.required_text("name")?, why: blocked.required_text("why")?.text });
        blocked.finish()?;
    }
    packages.finish()?;

    let mut kernel = table.table("kernel")?;
    body.kernel_package = kernel.text("package")?;
    body.kernel_follow = change(&mut kernel, "follow")?;
    body.kernel_arguments = change(&mut kernel, "arguments")?;
    kernel.finish()?;

    let mut uki = table.table("uki")?;
    body.uki_package = uki.text("package")?;
    body.uki_stub = uki.text("stub")?;
    body.uki_follow = change(&mut uki, "follow")?;
    body.uki_profiles = change(&mut uki, "profiles")?;
    let mut pcr = uki.table("pcr")?;
    body.pcr_private_key = pcr.text("private-key")?;
    body.pcr_public_key = pcr.text("public-key")?;
    pcr.finish()?;
    let mut sign = uki.table("sign")?;
    body.sign_key = sign.text("key")?;
    body.sign_certificate = sign.text("certificate")?;
    body.sign_tool = sign.text("tool")?;
    sign.finish()?;
    uki.finish()?;

    let mut firmware = table.table("firmware")?;
    body.firmware_packages = change(&mut firmware, "packages")?;
    body.firmware_follow = change(&mut firmware, "follow")?;
    firmware.finish()?;

    let mut microcode = table.table("microcode")?;
    body.microcode_packages = change(&mut microcode, "packages")?;
    microcode.finish()?;

    body.modules = checked(change(table, "modules")?, "modules", |text| !text.trim_start_matches('-').is_empty())?;
    body.prune = checked(change(table, "prune")?, "prune", is_prune_rule)?;
    body.dlopen = change(table, "dlopen")?;
    for node in table.take("plugins").map_or(Ok(Vec::new()), |node| node.list("a list of tables ([[plugins]])"))? {
        let mut plugin = node.table()?;
        body.plugins.push(Plugin {
            when: plugin.required_text("when")?,
            needs: plugin.items("needs")?,
            wants: plugin.items("wants")?,
        });
        plugin.finish()?;
    }

    let mut finalize = table.table("finalize")?;
    body.finalize = add_and_remove(&mut finalize)?;
    body.install = change(&mut finalize, "install")?;
    body.enable = change(&mut finalize, "enable")?;
    body.masks = change(&mut finalize, "masks")?;
    body.users = change(&mut finalize, "users")?;
    body.emergency = finalize.text("emergency")?;
    finalize.finish()?;

    let mut image = table.table("image")?;
    body.compress = image.text("compress")?;
    body.exposed_secrets = image.text("exposed-secrets")?.map(checked_exposure).transpose()?;
    image.finish()?;
    Ok(body)
}

/// Reads a list that is written as `key = [...]` (additions) or as a table with `add` and `remove`.
fn change(table: &mut Table, key: &'static str) -> Result<Change, DocumentError> {
    match table.take(key) {
        None => Ok(Change::default()),
        Some(node) if node.is_list() => Ok(Change { add: node.items()?, remove: Vec::new() }),
        Some(node) => {
            let mut table = node.table()?;
            let change = add_and_remove(&mut table)?;
            table.finish()?;
            Ok(change)
        }
    }
}

fn add_and_remove(table: &mut Table) -> Result<Change, DocumentError> {
    Ok(Change { add: table.items("add")?, remove: table.items("remove")? })
}

fn checked(change: Change, key: &str, is_right: impl Fn(&str) -> bool) -> Result<Change, DocumentError> {
    match change.add.iter().find(|item| !is_right(&item.text)) {
        None => Ok(change),
        Some(item) => Err(DocumentError::Value {
            key: format!("{key}.add"),
            value: item.text.clone(),
            reason: match key {
                "prune" => {
                    "a rule is `-GLOB` (drop), `+GLOB` (keep), `?GLOB` (keep if needed) or `~GLOB` (lend to the finalizers)"
                        .to_owned()
                }
                _ => "it is empty".to_owned(),
            },
            source_at: item.source.clone(),
        }),
    }
}

fn is_prune_rule(text: &str) -> bool {
    text.strip_prefix(['-', '+', '?', '~']).is_some_and(|glob| Glob::new(glob.trim_end_matches('/')).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::Diagnostic;

    #[test]
    fn a_list_is_additions_or_both() {
        let layer = Layer::parse("f", "modules = ['nvme']\npackages.add = ['a']\npackages.remove = ['b']\n").expect("valid");
        assert_eq!(layer.body.modules.add[0].text, "nvme");
        assert_eq!(layer.body.packages.remove[0].source.line, 3);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let table = [
            ("\n[packages]\nadds = []\n", "unknown key `adds` in [packages]", "f:3"),
            (
                "[prune]\nadd = [\n'usr/share/doc'\n]\n",
                "`prune.add` cannot be `usr/share/doc`: a rule is `-GLOB` (drop), `+GLOB` (keep), `?GLOB` (keep if needed) or `~GLOB` (lend to the finalizers)",
                "f:3",
            ),
            ("[[when]]\nreleases = ['x']\n", "unknown key `releases` in [when]", "f:2"),
            (
                "[[when]]\nimage = ['hots']\n",
                "`when.image` cannot be `hots`: a kind of image is `host`, `generic` or `full`",
                "f:2",
            ),
            ("[features.x]\nabout = 1\n", "`features.x.about` is an integer, not a string", "f:2"),
            ("[distro]\nname = 'x'\n", "`family` is missing in [distro]", "f:1"),
        ];
        for (text, message, place) in table {
            let err = Layer::parse("f", text).expect_err(text);
            assert_eq!((err.to_string().as_str(), err.place().as_deref()), (message, Some(place)));
        }
    }
}
