//! Layers become one profile: parents first, then the distribution, drop-ins in rising priority, the command line last.
//!
//! Lists only grow and shrink; a later layer never silently replaces what an earlier one said. Of single values the last one
//! counts. Every value keeps the place where it was written.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::digest::{Hasher, Sha256};

use super::profile::{Blocked, Body, Change, Layer, Plugin};
use super::{Audience, ConfigError, ImageKind, Item, Source};

/// Everything that a build needs to know and that does not depend on the machine it runs on.
#[derive(Debug, Clone, Default)]
pub struct Profile {
    /// The distribution's name, its os-release ID.
    pub distro: String,
    /// The package family.
    pub family: String,
    /// The release.
    pub release: String,
    /// The architecture in the distribution's word (`amd64`).
    pub arch: String,
    /// The architecture in the kernel's word (`x86_64`).
    pub machine: String,
    /// For whom the image is.
    pub kind: ImageKind,
    /// The default mirror.
    pub mirror: Option<Item>,
    /// Suites of the release.
    pub suites: Vec<Item>,
    /// Components.
    pub components: Vec<Item>,
    /// Keyrings of the host.
    pub keyrings: Vec<Item>,
    /// Merged directories and where their links lead.
    pub links: Vec<(String, Item)>,
    /// Features that are on.
    pub with: Vec<Item>,
    /// All features that the layers define, each with its line about itself.
    pub known_features: BTreeMap<String, String>,
    /// Packages.
    pub packages: Vec<Item>,
    /// Packages that must never enter.
    pub block: Vec<Blocked>,
    /// Packages that stay out of the image.
    pub omit: Vec<Item>,
    /// The kernel package.
    pub kernel_package: Option<Item>,
    /// Globs of the kernel package's dependencies that hold parts of the kernel.
    pub kernel_follow: Vec<Item>,
    /// Kernel arguments.
    pub kernel_arguments: Vec<Item>,
    /// The package of the UEFI stub.
    pub uki_package: Option<Item>,
    /// Where the stub lies in it.
    pub uki_stub: Option<Item>,
    /// Globs of the kernel package's dependencies that hold the kernel itself, in addition to those of `kernel_follow`.
    pub uki_follow: Vec<Item>,
    /// Other ways to start unified kernel images, each as `ID: WORDS`.
    pub uki_profiles: Vec<Item>,
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
    /// Firmware packages.
    pub firmware_packages: Vec<Item>,
    /// Globs of the firmware packages' dependencies that hold firmware, too.
    pub firmware_follow: Vec<Item>,
    /// Microcode packages.
    pub microcode_packages: Vec<Item>,
    /// Module patterns.
    pub modules: Vec<Item>,
    /// Prune rules.
    pub prune: Vec<Item>,
    /// Wanted dlopen features.
    pub dlopen: Vec<Item>,
    /// Plugins.
    pub plugins: Vec<Plugin>,
    /// Finalizers.
    pub finalize: Vec<Item>,
    /// Files that the program brings itself.
    pub install: Vec<Item>,
    /// Links for units that start and for alternatives.
    pub enable: Vec<Item>,
    /// Masked units.
    pub masks: Vec<Item>,
    /// Users that scripts would have made.
    pub users: Vec<Item>,
    /// The emergency policy.
    pub emergency: Option<Item>,
    /// Compression of the base segment.
    pub compress: Option<Item>,
    /// Whether an image with secrets may be where others can read it: `allow`; refused otherwise.
    pub exposed_secrets: Option<Item>,
    /// The digest before features were taken out because their packages are not to be had: it is that of what somebody wrote.
    pub written: Option<Sha256>,
    /// The files that were merged, in order.
    pub layers: Vec<String>,
    /// Things the user should know: a removal that removed nothing.
    pub warnings: Vec<String>,
}

impl Profile {
    /// Returns a digest of all that shapes an image. Where a value is written does not count, nor where packages are fetched from.
    pub fn digest(&self) -> Sha256 {
        if let Some(written) = self.written {
            return written;
        }
        let mut hasher = Hasher::new();
        for text in [&self.distro, &self.family, &self.release, &self.arch] {
            hasher.field(text.as_bytes());
        }
        hasher.field(self.kind.as_str().as_bytes());
        let lists = [
            &self.with,
            &self.packages,
            &self.omit,
            &self.kernel_follow,
            &self.kernel_arguments,
            &self.firmware_packages,
            &self.firmware_follow,
            &self.microcode_packages,
            &self.modules,
            &self.prune,
            &self.dlopen,
            &self.finalize,
            &self.install,
            &self.enable,
            &self.masks,
            &self.users,
        ];
        for list in lists {
            list.iter().for_each(|item| hasher.field(item.text.as_bytes()));
            hasher.field(b"\0end of the list");
        }
        for blocked in &self.block {
            hasher.field(blocked.name.text.as_bytes());
        }
        for plugin in &self.plugins {
            hasher.field(plugin.when.text.as_bytes());
            plugin.needs.iter().chain(&plugin.wants).for_each(|item| hasher.field(item.text.as_bytes()));
        }
        for (name, target) in &self.links {
            hasher.field(name.as_bytes());
            hasher.field(target.text.as_bytes());
        }
        for single in [&self.kernel_package, &self.emergency, &self.compress] {
            hasher.field(single.as_ref().map_or("", |item| &item.text).as_bytes());
        }
        hasher.finish()
    }
}

/// What is built, as far as conditions in profiles ask.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The distribution.
    pub distro: &'a str,
    /// The release.
    pub release: &'a str,
    /// The architecture in the distribution's word.
    pub arch: &'a str,
    /// For whom it is.
    pub audience: &'a Audience,
}

/// Merges layers, the first having the lowest priority.
pub fn merge(layers: &[Layer], target: Target<'_>) -> Result<Profile, ConfigError> {
    let mut profile = Profile {
        distro: target.distro.to_owned(),
        release: target.release.to_owned(),
        arch: target.arch.to_owned(),
        kind: target.audience.kind,
        layers: layers.iter().map(|layer| layer.file.clone()).collect(),
        ..Profile::default()
    };
    for layer in layers {
        for (name, feature) in &layer.features {
            let about = profile.known_features.entry(name.clone()).or_default();
            if let Some(text) = &feature.about {
                about.clone_from(&text.text);
            }
        }
    }
    profile.with = enabled_features(layers, target, &mut profile.warnings);
    for item in &profile.with {
        if !profile.known_features.contains_key(&item.text) {
            let known = profile.known_features.keys().cloned().collect();
            return Err(ConfigError::UnknownFeature { name: item.text.clone(), known, source_at: item.source.clone() });
        }
    }
    for layer in layers {
        describe_distro(&mut profile, layer, target);
        let bodies = std::iter::once(&layer.body)
            .chain(layer.features.iter().filter(|(name, _)| is_on(&profile.with, name)).map(|(_, feature)| &feature.body))
            .chain(matching(layer, target, Some(&profile.with)))
            .cloned()
            .collect::<Vec<_>>();
        for body in bodies {
            apply(&mut profile, body);
        }
    }
    substitute(&mut profile);
    Ok(profile)
}

fn is_on(with: &[Item], feature: &str) -> bool {
    with.iter().any(|item| item.text == feature)
}

/// Returns the conditional bodies that hold. Without `with`, those that ask for a feature are left out.
fn matching<'a>(layer: &'a Layer, target: Target<'a>, with: Option<&'a [Item]>) -> impl Iterator<Item = &'a Body> + 'a {
    let holds = |wanted: &[Item], found: &str| wanted.is_empty() || wanted.iter().any(|item| item.text == found);
    layer
        .when
        .iter()
        .filter(move |when| {
            holds(&when.release, target.release)
                && holds(&when.arch, target.arch)
                && holds(&when.distro, target.distro)
                && holds(&when.image, target.audience.kind.as_str())
                && when.feature.as_ref().is_none_or(|feature| with.is_some_and(|with| is_on(with, &feature.text)))
        })
        .map(|when| &when.body)
}

/// Features are settled before anything else, because what they say stands at the place of the file that says it.
fn enabled_features(layers: &[Layer], target: Target<'_>, warnings: &mut Vec<String>) -> Vec<Item> {
    let mut with = asked_by_host(layers, &target.audience.traits);
    for layer in layers {
        for body in std::iter::once(&layer.body).chain(matching(layer, target, None)) {
            apply_change(&mut with, body.with.clone(), "feature", warnings);
        }
    }
    let mut seen = BTreeSet::new();
    with.retain(|item| seen.insert(item.text.clone()));
    with
}

/// Features that the machine asks for by what it is like; whatever a layer says has the last word.
pub(super) fn asked_by_host(layers: &[Layer], traits: &BTreeSet<String>) -> Vec<Item> {
    let features = layers.iter().flat_map(|layer| &layer.features);
    let asked = features.filter_map(|(name, feature)| {
        let word = feature.host.iter().find(|word| traits.contains(&word.text))?;
        let file = format!("the host is `{}`, {}", word.text, word.source);
        Some(Item { text: name.clone(), source: Source { file: file.into(), line: 0 } })
    });
    asked.collect()
}

fn describe_distro(profile: &mut Profile, layer: &Layer, target: Target<'_>) {
    let Some(distro) = &layer.distro else { return };
    profile.family.clone_from(&distro.family.text);
    profile.mirror = Some(distro.mirror.clone());
    profile.components.clone_from(&distro.components);
    profile.keyrings.clone_from(&distro.keyrings);
    profile.links.clone_from(&distro.links);
    if let Some((_, machine)) = distro.architectures.iter().find(|(name, _)| name == target.arch) {
        profile.machine.clone_from(&machine.text);
    }
    if let Some(release) = distro.release(target.release) {
        profile.suites.clone_from(&release.suites);
    }
}

fn apply(profile: &mut Profile, body: Body) {
    let warnings = &mut profile.warnings;
    apply_change(&mut profile.packages, body.packages, "package", warnings);
    apply_change(&mut profile.omit, body.omit, "omitted package", warnings);
    apply_change(&mut profile.kernel_follow, body.kernel_follow, "kernel part", warnings);
    apply_change(&mut profile.kernel_arguments, body.kernel_arguments, "kernel argument", warnings);
    apply_change(&mut profile.uki_follow, body.uki_follow, "kernel part", warnings);
    apply_change(&mut profile.uki_profiles, body.uki_profiles, "profile", warnings);
    apply_change(&mut profile.firmware_packages, body.firmware_packages, "firmware package", warnings);
    apply_change(&mut profile.firmware_follow, body.firmware_follow, "firmware part", warnings);
    apply_change(&mut profile.microcode_packages, body.microcode_packages, "microcode package", warnings);
    apply_change(&mut profile.modules, body.modules, "module pattern", warnings);
    apply_change(&mut profile.prune, body.prune, "prune rule", warnings);
    apply_change(&mut profile.dlopen, body.dlopen, "dlopen feature", warnings);
    apply_change(&mut profile.finalize, body.finalize, "finalizer", warnings);
    apply_change(&mut profile.install, body.install, "installed file", warnings);
    apply_change(&mut profile.enable, body.enable, "enabled link", warnings);
    apply_change(&mut profile.masks, body.masks, "mask", warnings);
    apply_change(&mut profile.users, body.users, "user", warnings);
    profile.block.extend(body.block);
    profile.plugins.extend(body.plugins);
    for (slot, value) in [
        (&mut profile.kernel_package, body.kernel_package),
        (&mut profile.uki_package, body.uki_package),
        (&mut profile.uki_stub, body.uki_stub),
        (&mut profile.pcr_private_key, body.pcr_private_key),
        (&mut profile.pcr_public_key, body.pcr_public_key),
        (&mut profile.sign_key, body.sign_key),
        (&mut profile.sign_certificate, body.sign_certificate),
        (&mut profile.sign_tool, body.sign_tool),
        (&mut profile.emergency, body.emergency),
        (&mut profile.compress, body.compress),
        (&mut profile.exposed_secrets, body.exposed_secrets),
    ] {
        if value.is_some() {
            *slot = value;
        }
    }
}

fn apply_change(list: &mut Vec<Item>, change: Change, noun: &str, warnings: &mut Vec<String>) {
    for item in change.remove {
        let before = list.len();
        list.retain(|old| old.text != item.text);
        if list.len() == before {
            warnings.push(format!("{} removes the {noun} `{}`, which nothing before it adds", item.source, item.text));
        }
    }
    list.extend(change.add);
}

/// Replaces `{arch}`, `{machine}`, `{release}` and `{major}` (of `9.6`, 9) where names of packages and suites depend on them.
fn substitute(profile: &mut Profile) {
    let (arch, machine, release) = (profile.arch.clone(), profile.machine.clone(), profile.release.clone());
    let major = release.split('.').next().unwrap_or_default().to_owned();
    let lists = [
        &mut profile.packages,
        &mut profile.omit,
        &mut profile.suites,
        &mut profile.kernel_follow,
        &mut profile.firmware_packages,
    ];
    for item in lists.into_iter().flatten().chain(profile.kernel_package.as_mut()) {
        for (name, value) in [("{arch}", &arch), ("{machine}", &machine), ("{release}", &release), ("{major}", &major)] {
            if item.text.contains(name) {
                item.text = item.text.replace(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(texts: &[&str]) -> Profile {
        let layers: Vec<Layer> =
            texts.iter().enumerate().map(|(i, text)| Layer::parse(&format!("f{i}"), text).expect(text)).collect();
        merge(&layers, target(&Audience::default())).expect("merges")
    }

    fn target(audience: &Audience) -> Target<'_> {
        Target { distro: "debian", release: "trixie", arch: "amd64", audience }
    }

    fn texts(items: &[Item]) -> Vec<&str> {
        items.iter().map(|item| item.text.as_str()).collect()
    }

    #[test]
    fn later_layers_add_and_remove() {
        let profile = merged(&["packages.add = ['a', 'b']", "packages.remove = ['a', 'x']\npackages.add = ['c']"]);
        assert_eq!(texts(&profile.packages), ["b", "c"]);
        assert_eq!(profile.warnings, ["f1:1 removes the package `x`, which nothing before it adds"]);
        assert_eq!(profile.packages[1].source.to_string(), "f1:2");
    }

    #[test]
    fn features_and_conditions_hold_where_they_are_written() {
        let base = "with = ['luks']\n[features.luks]\npackages.add = ['cryptsetup']\n[features.lvm]\npackages.add = ['lvm2']\n\
                    [[when]]\nrelease = ['bookworm']\npackages.add = ['old']\n[[when]]\narch = ['amd64']\nmodules.add = ['x-{arch}']\n\
                    [[when]]\nfeature = 'lvm'\nmodules.add = ['dm']\n";
        let profile = merged(&[base]);
        assert_eq!((texts(&profile.packages), texts(&profile.modules)), (vec!["cryptsetup"], vec!["x-{arch}"]));
        let profile = merged(&[base, "with = ['lvm']\npackages.remove = ['cryptsetup']"]);
        assert_eq!((texts(&profile.packages), texts(&profile.modules)), (vec!["lvm2"], vec!["x-{arch}", "dm"]));
    }

    #[test]
    fn a_machine_switches_features_on_and_people_have_the_last_word() {
        let base = "[features.lvm]\nhost = ['lvm']\n[features.md]\nhost = ['md', 'raid']\n[features.nfs]\nhost = ['nfs']\n\
                    [[when]]\nimage = ['generic', 'full']\nwith = ['nfs']\n[[when]]\nimage = ['host']\nmodules.add = ['net']\n";
        let of = |texts: &[&str], kind, words: &[&str]| {
            let layers: Vec<Layer> = texts.iter().map(|text| Layer::parse("f", text).expect(text)).collect();
            let audience = Audience { kind, traits: words.iter().map(|word| (*word).to_owned()).collect() };
            let profile = merge(&layers, target(&audience)).expect("merges");
            (texts_of(&profile.with), texts_of(&profile.modules))
        };
        assert_eq!(of(&[base], ImageKind::Generic, &[]), (vec!["nfs".to_owned()], vec![]));
        let (with, modules) = of(&[base], ImageKind::Host, &["lvm", "raid"]);
        assert_eq!((with, modules), (vec!["lvm".to_owned(), "md".to_owned()], vec!["net".to_owned()]));
        assert_eq!(of(&[base], ImageKind::Full, &["lvm"]).0, ["lvm", "nfs"]);
        assert_eq!(of(&[base, "with.remove = ['lvm']"], ImageKind::Host, &["lvm", "md"]).0, ["md"]);
    }

    fn texts_of(items: &[Item]) -> Vec<String> {
        items.iter().map(|item| item.text.clone()).collect()
    }

    #[test]
    fn the_digest_is_of_what_is_said_and_not_of_where() {
        let of = |texts: &[&str]| merged(texts).digest();
        assert_eq!(of(&["packages.add = ['a', 'b']"]), of(&["packages.add = ['a']", "\n\npackages.add = ['b']"]));
        for other in
            ["packages.add = ['b', 'a']", "modules.add = ['a', 'b']", "packages.omit = ['a', 'b']", "packages.add = ['ab']"]
        {
            assert_ne!(of(&["packages.add = ['a', 'b']"]), of(&[other]), "{other}");
        }
    }

    #[test]
    fn an_unknown_feature_is_refused() {
        let layers = [Layer::parse("f", "with = ['luxs']\n[features.luks]\nabout = 'x'\n").expect("valid")];
        let err = merge(&layers, target(&Audience::default())).expect_err("unknown");
        assert_eq!(err.to_string(), "there is no feature `luxs`");
    }
}
