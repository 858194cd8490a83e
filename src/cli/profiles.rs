//! `profiles`: lists the built-in profiles, or prints one fully merged with the origin of every value.

use std::fmt::Write as _;

use super::args::{Global, Profiles};
use super::{Failure, print};
use crate::config::{self, Audience, Item, Layers, Profile, builtin};
use crate::host;

/// Runs the command.
pub fn run(args: &Profiles, global: &Global) -> Result<(), Failure> {
    match &args.name {
        None => list(global),
        Some(name) => show(name, args, global),
    }
}

fn list(global: &Global) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for (name, _) in builtin::PROFILES {
        let layers = config::load(name, None, &[])?;
        if let Some(distro) = layers.distro() {
            let words = |names: Vec<&str>| names.join(" ");
            let releases = words(distro.releases.iter().map(|release| release.name.as_str()).collect());
            let arches = words(distro.architectures.iter().map(|(arch, _)| arch.as_str()).collect());
            rows.push((name, releases, arches));
        }
    }
    if global.json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(name, releases, arches)| {
                let split = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
                serde_json::json!({ "name": name, "releases": split(releases), "architectures": split(arches) })
            })
            .collect();
        return print(&format!("{:#}\n", serde_json::json!({ "schema": 1, "profiles": rows })));
    }
    let text: String = rows.iter().map(|(name, releases, arches)| format!("{name:<12} {releases:<32} {arches}\n")).collect();
    print(&text)
}

fn show(name: &str, args: &Profiles, global: &Global) -> Result<(), Failure> {
    let mut layers = config::load(name, Some(&global.config_root), &global.config)?;
    let release = match (&args.release, layers.distro()) {
        (Some(release), _) => release.clone(),
        (None, Some(distro)) => newest_stable(distro),
        (None, None) => return show_parent(name, &layers),
    };
    layers.layers.push(super::request::command_line_layer(&args.with, &[], &[], &[]));
    let arch = args.arch.clone().unwrap_or_else(host::machine);
    let profile = layers.resolve(&release, &arch, &Audience::default())?;
    if global.json {
        return print(&format!("{:#}\n", as_json(&profile, &layers)));
    }
    print(&as_toml(&profile, &layers))
}

/// The release called `stable`, or the first one of a distribution that calls none so.
fn newest_stable(distro: &config::Distro) -> String {
    let stable = distro.releases.iter().find(|release| release.aliases.iter().any(|alias| alias.text == "stable"));
    stable.or(distro.releases.first()).map(|release| release.name.clone()).unwrap_or_default()
}

/// A profile that others build on says nothing by itself: its text is all there is.
fn show_parent(name: &str, layers: &Layers) -> Result<(), Failure> {
    let files: Vec<&str> = layers.layers.iter().map(|layer| layer.file.as_str()).collect();
    print(&format!(
        "# {name} describes no distribution: others extend it. Read from {}.\n\n{}",
        files.join(", "),
        builtin::text(name).unwrap_or_default()
    ))
}

/// The lists of a profile by the key under which a drop-in changes them.
fn lists(profile: &Profile) -> [(&'static str, &[Item]); 19] {
    [
        ("with", &profile.with),
        ("distro.suites", &profile.suites),
        ("distro.components", &profile.components),
        ("distro.keyrings", &profile.keyrings),
        ("packages", &profile.packages),
        ("packages.omit", &profile.omit),
        ("kernel.follow", &profile.kernel_follow),
        ("kernel.arguments", &profile.kernel_arguments),
        ("uki.follow", &profile.uki_follow),
        ("firmware.packages", &profile.firmware_packages),
        ("microcode.packages", &profile.microcode_packages),
        ("modules", &profile.modules),
        ("prune", &profile.prune),
        ("dlopen", &profile.dlopen),
        ("finalize", &profile.finalize),
        ("finalize.install", &profile.install),
        ("finalize.enable", &profile.enable),
        ("finalize.masks", &profile.masks),
        ("finalize.users", &profile.users),
    ]
}

fn singles(profile: &Profile) -> [(&'static str, &Option<Item>); 10] {
    [
        ("distro.mirror", &profile.mirror),
        ("kernel.package", &profile.kernel_package),
        ("uki.package", &profile.uki_package),
        ("uki.stub", &profile.uki_stub),
        ("uki.sign.key", &profile.sign_key),
        ("uki.sign.certificate", &profile.sign_certificate),
        ("uki.sign.tool", &profile.sign_tool),
        ("finalize.emergency", &profile.emergency),
        ("image.compress", &profile.compress),
        ("image.exposed-secrets", &profile.exposed_secrets),
    ]
}

fn as_toml(profile: &Profile, layers: &Layers) -> String {
    let mut out = format!("# {} {} {} ({}), merged from\n", profile.distro, profile.release, profile.arch, profile.machine);
    let quoted = |text: &str| toml_string(text);
    for file in &profile.layers {
        let _ = writeln!(out, "#   {file}"); // writing to a String cannot fail
    }
    for overlay in &layers.overlays {
        let _ = writeln!(out, "#   {}/", overlay.display()); // cannot fail
    }
    for (key, value) in singles(profile) {
        if let Some(item) = value {
            let _ = writeln!(out, "{key} = {}  # {}", quoted(&item.text), item.source); // cannot fail
        }
    }
    for (key, items) in lists(profile) {
        let _ = writeln!(out, "{key} = ["); // cannot fail
        for item in items {
            let _ = writeln!(out, "  {},  # {}", quoted(&item.text), item.source); // cannot fail
        }
        out.push_str("]\n");
    }
    for (name, target) in &profile.links {
        let _ = writeln!(out, "distro.links.{name} = {}  # {}", quoted(&target.text), target.source); // cannot fail
    }
    for blocked in &profile.block {
        let _ = writeln!(
            out,
            "[[packages.block]]  # {}\nname = {}\nwhy = {}",
            blocked.name.source,
            quoted(&blocked.name.text),
            quoted(&blocked.why)
        ); // cannot fail
    }
    for plugin in &profile.plugins {
        let needs: Vec<String> = plugin.needs.iter().map(|item| quoted(&item.text)).collect();
        let _ = writeln!(
            out,
            "[[plugins]]  # {}\nwhen = {}\nneeds = [{}]",
            plugin.when.source,
            quoted(&plugin.when.text),
            needs.join(", ")
        ); // cannot fail
    }
    for (name, about) in &profile.known_features {
        let on = if profile.with.iter().any(|item| item.text == *name) { "on " } else { "off" };
        let _ = writeln!(out, "# feature {on} {name:<12} {about}"); // cannot fail
    }
    for warning in &profile.warnings {
        let _ = writeln!(out, "# warning: {warning}"); // cannot fail
    }
    out
}

/// JSON strings are TOML basic strings, but for DEL, which no name here has.
fn toml_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn as_json(profile: &Profile, layers: &Layers) -> serde_json::Value {
    let item = |item: &Item| serde_json::json!({ "value": item.text, "from": item.source.to_string() });
    let mut values = serde_json::Map::new();
    for (key, value) in singles(profile) {
        values.insert(key.to_owned(), value.as_ref().map_or(serde_json::Value::Null, item));
    }
    for (key, items) in lists(profile) {
        values.insert(key.to_owned(), items.iter().map(item).collect());
    }
    serde_json::json!({
        "schema": 1,
        "distro": profile.distro,
        "release": profile.release,
        "arch": profile.arch,
        "machine": profile.machine,
        "layers": profile.layers,
        "overlays": layers.overlays,
        "features": profile.known_features,
        "values": values,
    })
}
