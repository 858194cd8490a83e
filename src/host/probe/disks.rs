//! How a disk is reached: the drivers on its way through sysfs, and the network or bus that it is behind.

use std::collections::BTreeSet;

use super::inventory::Node;
use super::root::Root;

/// The way to a disk.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// Drivers and their modules.
    pub drivers: BTreeSet<String>,
    /// What it is behind, when it is not in the machine.
    pub transport: Option<String>,
}

/// Returns the way to a disk.
pub fn way(root: &Root, disk: &Node) -> Way {
    let mut way = Way::default();
    for place in places(root, disk) {
        follow(root, &place, &mut way);
    }
    for (prefix, transport) in [("nbd", "nbd"), ("rbd", "rbd"), ("etherd!", "aoe")] {
        let is_numbered = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit() || c == 'e');
        if disk.name.strip_prefix(prefix).is_some_and(is_numbered) {
            way.transport = Some(transport.to_owned());
            way.drivers.insert(transport.to_owned());
        }
    }
    way
}

/// Its own directory; and those of the controllers behind a name that stands for several (NVMe's native multipath).
fn places(root: &Root, disk: &Node) -> Vec<String> {
    let mut places = vec![disk.place.clone()];
    let subsystem = disk.place.rsplit_once('/').map(|(parent, _)| parent).filter(|parent| parent.contains("/nvme-subsystem/"));
    if let Some(subsystem) = subsystem {
        let is_controller = |name: &String| name.starts_with("nvme") && name[4..].bytes().all(|byte| byte.is_ascii_digit());
        let controllers = root.names(subsystem).into_iter().filter(is_controller);
        places.extend(controllers.filter_map(|name| root.link(&format!("{subsystem}/{name}"))));
    }
    places
}

/// Goes from a device up to `/sys/devices`.
fn follow(root: &Root, place: &str, way: &mut Way) {
    let mut place = place;
    while place.len() > "/sys/devices".len() {
        way.drivers.extend(root.link_name(&format!("{place}/driver")));
        way.drivers.extend(root.link_name(&format!("{place}/driver/module")));
        let (parent, name) = place.rsplit_once('/').unwrap_or(("", place));
        let has = |class: &str| root.has_directory(&format!("{place}/{class}/{name}"));
        if is_numbered(name, "host") {
            // Adapters without a device of their own have no driver link: iscsi_tcp.
            let own = root.attribute(&format!("{place}/scsi_host/{name}/proc_name"));
            way.drivers.extend(own.filter(|own| own != "<NULL>" && own != "(null)"));
            if has("fc_host") {
                way.transport = Some("fc".to_owned());
            }
        }
        if is_numbered(name, "session") && has("iscsi_session") {
            way.transport = Some("iscsi".to_owned());
        }
        if is_numbered(name, "nvme") {
            fabrics(&root.attribute(&format!("{place}/transport")).unwrap_or_default(), way);
        }
        if is_numbered(name, "usb") && way.transport.is_none() {
            way.transport = Some("usb".to_owned());
        }
        place = parent;
    }
}

/// The `transport` of an NVMe controller; its module is named after it.
fn fabrics(transport: &str, way: &mut Way) {
    if ["tcp", "rdma", "fc", "loop"].contains(&transport) {
        way.transport = Some(format!("nvme-{transport}"));
        way.drivers.insert(format!("nvme_{transport}"));
    }
}

fn is_numbered(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}
