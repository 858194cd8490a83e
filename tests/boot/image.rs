//! Has the initrd under test built, or takes a given one, and changes it when a scenario wants that.

use std::fs;
use std::path::{Path, PathBuf};

use mkinitrd_pkg::format::pe::Editor;

use crate::command::{at, run, tool};
use crate::luks;
use crate::machine::{SNAKEOIL_CERTIFICATE, SNAKEOIL_KEY, SNAKEOIL_PASSPHRASE};
use crate::repositories::{Family, Set, repository};
use crate::scenarios::{Change, Firmware, Scenario};

/// What the program says of a release file whose `Valid-Until` has passed.
const LAGS: &str = "expired on";

/// Stands in the arguments of a scenario for the mirror's repository with this component.
pub const NON_FREE_FIRMWARE: &str = "@non-free-firmware";

/// Stands for the private key that a volume with a signed policy is enrolled with.
pub const POLICY_KEY: &str = "@policy-key";

/// Returns the image for a scenario, built by our own program, or the one that `MKINITRD_BOOT_IMAGE` names.
pub fn build(scenario: &Scenario, mirror: &str, dir: &Path) -> Result<PathBuf, String> {
    if let Some(path) = given("MKINITRD_BOOT_IMAGE")? {
        return Ok(path);
    }
    let out = dir.join(format!("{}.img", recipe(scenario)));
    let mut command = tool(env!("CARGO_BIN_EXE_mkinitrd-pkg"));
    command.arg("build");
    match scenario.packages {
        None => command.args(["--distro", "debian", "--release", scenario.release, "--arch", scenario.arch]),
        Some(family) => {
            let repository = repository(family, Set::System);
            command.args(["--distro", family.name(), "--repo", &repository.url]).arg("--keyring").arg(&repository.key)
        }
    };
    for word in scenario.build {
        match *word {
            POLICY_KEY => command.arg(luks::policy_key(dir)?.0),
            NON_FREE_FIRMWARE => command.arg("--repo").arg(format!("{mirror} {} main non-free-firmware", scenario.release)),
            word => command.arg(word),
        };
    }
    command.arg("-o").arg(&out);
    if scenario.firmware != Firmware::None {
        command.args(["--format", "uki", "--cmdline", &format!("console=ttyS0 panic=-1 oops=panic {}", scenario.append)]);
    }
    if scenario.signed {
        command.arg("--sign-key").arg(snakeoil_key(dir)?).args(["--sign-certificate", SNAKEOIL_CERTIFICATE]);
        command.args(["--sign-tool", "sbsign"]);
    }
    let mut result = run(&mut command);
    // It is right that an expired release file is refused. With a dated override signatures are still checked. The suites of a release
    // expire on different days, so the first message need not name the earliest.
    for _ in 0..3 {
        let Err(error) = &result else { break };
        let Some(date) = expiry(error) else { break };
        println!("{}: the mirror lags behind, a release file expired on {date}: built with `--assume-time`", scenario.name);
        result = run(command.args(["--assume-time", &date]));
    }
    result?;
    match fs::metadata(&out) {
        Ok(meta) if meta.len() > 0 => Ok(out),
        _ => Err(format!("`mkinitrd-pkg build` ended well but left no image at `{}`", out.display())),
    }
}

/// Makes an addon for a unified kernel image out of `stub`: words for its command line, signed by the key that the firmware knows or not.
pub fn addon(stub: &Path, words: &str, is_signed: bool, dir: &Path) -> Result<PathBuf, String> {
    let bytes = fs::read(stub).map_err(at(stub))?;
    let made =
        Editor::new(&bytes).and_then(|mut editor| editor.add(".cmdline", words.as_bytes(), false).map(|()| editor.finish()));
    let out = dir.join(if is_signed { "signed.addon.efi" } else { "unsigned.addon.efi" });
    fs::write(&out, made.map_err(|error| format!("`{}`: {error}", stub.display()))?).map_err(at(&out))?;
    if is_signed {
        let key = snakeoil_key(dir)?;
        run(tool("sbsign").arg("--key").arg(key).args(["--cert", SNAKEOIL_CERTIFICATE, "--output"]).args([&out, &out]))?;
    }
    Ok(out)
}

/// Returns the key that the firmware of the tests knows, without its passphrase.
fn snakeoil_key(dir: &Path) -> Result<PathBuf, String> {
    let out = dir.join("snakeoil.key");
    if !out.exists() {
        let mut openssl = tool("openssl");
        openssl.env("PASSPHRASE", SNAKEOIL_PASSPHRASE);
        run(openssl.args(["pkey", "-passin", "env:PASSPHRASE", "-in", SNAKEOIL_KEY, "-out"]).arg(&out))?;
    }
    Ok(out)
}

/// Returns the day of the expiry that a message names; at its beginning the file was still good.
fn expiry(message: &str) -> Option<String> {
    let day: String = message.split(LAGS).nth(1)?.trim().chars().take(10).collect();
    (day.len() == 10 && day.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')).then_some(day)
}

/// Returns a name that two scenarios share if they boot the same image.
pub fn recipe(scenario: &Scenario) -> String {
    let words = scenario.build.join("").replace("--", "-").replace([':', '@', ' '], "").replace('/', "-");
    let form = match (scenario.firmware, scenario.signed) {
        (Firmware::None, _) => String::new(),
        // The command line is part of the image.
        (_, signed) => {
            let line: String = scenario.append.chars().filter(char::is_ascii_alphanumeric).collect();
            format!("-uki-{line}{}", if signed { "-signed" } else { "" })
        }
    };
    let packages = scenario.packages.map_or("debian", Family::name);
    format!("{packages}-{}-{}{words}{form}", scenario.release, scenario.arch)
}

/// Returns the file that an environment variable names, if it is set.
pub fn given(variable: &str) -> Result<Option<PathBuf>, String> {
    match std::env::var_os(variable).map(PathBuf::from) {
        Some(path) if path.is_file() => Ok(Some(path)),
        Some(path) => Err(format!("`{variable}` names `{}`, which is no file", path.display())),
        None => Ok(None),
    }
}

/// Returns the version of the kernel whose modules are in an image that our program made.
pub fn kernel_version(image: &Path) -> Result<String, String> {
    let listed = run(tool(env!("CARGO_BIN_EXE_mkinitrd-pkg")).arg("ls").arg(image))?;
    let words = listed.split_whitespace().filter_map(|word| word.split_once("lib/modules/"));
    let mut versions = words.filter_map(|(_, rest)| rest.split('/').next()).filter(|version| !version.is_empty());
    versions.next().map(str::to_owned).ok_or_else(|| format!("no kernel modules in `{}`", image.display()))
}

/// Returns the image as a scenario wants it: itself, or a changed copy.
pub fn changed(scenario: &Scenario, image: &Path, dir: &Path) -> Result<PathBuf, String> {
    let out = dir.join(format!("{}.img", scenario.name));
    match scenario.change {
        Change::None => return Ok(image.to_owned()),
        Change::Truncated(percent) => {
            fs::copy(image, &out).map_err(at(&out))?;
            let file = fs::File::options().write(true).open(&out).map_err(at(&out))?;
            let size = file.metadata().map_err(at(&out))?.len();
            file.set_len(size * percent / 100).map_err(at(&out))?;
        }
        Change::Word(from, to) => {
            let mut bytes = fs::read(image).map_err(at(image))?;
            let place = bytes.windows(from.len()).position(|window| window == from.as_bytes());
            let place = place.ok_or_else(|| format!("`{}` has no `{from}`", image.display()))?;
            bytes[place..place + from.len()].copy_from_slice(to.as_bytes());
            fs::write(&out, bytes).map_err(at(&out))?;
        }
        Change::AfterEarly => {
            // GNU cpio pads what it writes to 512 bytes, so that ours starts where the kernel looks for it.
            let script = r#"cd "$1" && mkdir -p kernel/x86/microcode && echo none >kernel/x86/microcode/none.bin
                find kernel | cpio -o -H newc --quiet -R 0:0 >"$3" && rm -r kernel && cat "$2" >>"$3""#;
            run(tool("sh").args(["-euc", script, "sh"]).args([dir, image, out.as_path()]))?;
        }
    }
    Ok(out)
}
