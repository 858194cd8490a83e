//! Devices that ask for a driver, the modules that are loaded, the processor and the TPM.

use super::root::Root;
use crate::base::limit;
use crate::host::facts::{Cpu, Device};

/// Directories below a device that hold no devices, by the thousand on a large machine.
const PASSED_OVER: [&str; 5] = ["power", "queue", "mq", "msi_irqs", "statistics"];

/// Returns all devices with a modalias, sorted by path. Symlinks are not followed: each device has one real directory.
pub fn devices(root: &Root) -> Vec<Device> {
    let mut devices = Vec::new();
    let mut todo = vec![(String::new(), 0)];
    let mut seen = 0;
    while let Some((path, depth)) = todo.pop() {
        seen += 1;
        if seen > limit::DEVICES_MAX || depth > limit::DEVICE_DEPTH_MAX {
            root.gap("there are more devices in `/sys/devices` than can be looked at: drivers of the others may be missing");
            break;
        }
        let Ok(entries) = std::fs::read_dir(root.at(&format!("/sys/devices/{path}"))) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let below = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && !PASSED_OVER.contains(&name.as_str()) => todo.push((below, depth + 1)),
                Ok(kind) if kind.is_file() && name == "modalias" => devices.extend(device(root, &path)),
                _ => {}
            }
        }
    }
    devices.sort();
    devices
}

fn device(root: &Root, path: &str) -> Option<Device> {
    let modalias = root.attribute(&format!("/sys/devices/{path}/modalias"))?;
    let driver = root.link_name(&format!("/sys/devices/{path}/driver/module"));
    Some(Device { path: path.to_owned(), modalias, driver })
}

/// Returns the loaded modules, sorted. A kernel without modules has none, and says so.
pub fn modules(root: &Root) -> Vec<String> {
    let Some(text) = root.text("/proc/modules") else {
        root.gap("`/proc/modules` cannot be read: which modules are loaded is unknown");
        return Vec::new();
    };
    let mut names: Vec<String> = text.lines().filter_map(|line| Some(line.split_ascii_whitespace().next()?.to_owned())).collect();
    names.sort();
    names.dedup();
    names
}

/// Returns the first processor, if it is of the x86 family; others have no microcode that an initrd could load.
pub fn cpu(root: &Root) -> Option<Cpu> {
    let text = root.text("/proc/cpuinfo")?;
    let first = text.split("\n\n").next()?;
    let field = |name: &str| {
        let mut lines = first.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
    };
    Some(Cpu {
        vendor: field("vendor_id")?.to_owned(),
        family: field("cpu family")?.parse().ok()?,
        model: field("model")?.parse().ok()?,
        // A hypervisor may hide it.
        stepping: field("stepping").and_then(|text| text.parse().ok()).unwrap_or(0),
        hypervisor: field("flags").is_some_and(|flags| flags.split_ascii_whitespace().any(|flag| flag == "hypervisor")),
    })
}

/// Tells whether there is a TPM 2.0.
pub fn has_tpm2(root: &Root) -> bool {
    let is_second = |name: &String| root.attribute(&format!("/sys/class/tpm/{name}/tpm_version_major")).as_deref() == Some("2");
    root.names("/sys/class/tpm").iter().any(is_second)
}

/// Tells whether UEFI started the machine.
pub fn has_efi(root: &Root) -> bool {
    root.has_directory("/sys/firmware/efi")
}
