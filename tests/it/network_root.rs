//! The generator of network roots: what it makes of command lines, and that nothing of them is ever more than a value.

use std::fs;
use std::path::Path;
use std::process::Command;

const GENERATOR: &str = "distro-profiles/files/network-root-generator";

/// What the generator left.
struct Made {
    dir: tempfile::TempDir,
    console: String,
}

impl Made {
    fn unit(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join("out").join(name)).unwrap_or_default()
    }

    /// Returns the names of all files and links, in order.
    fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        let mut dirs = vec![self.dir.path().join("out")];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).expect("a directory") {
                let path = entry.expect("an entry").path();
                if path.is_dir() && !path.is_symlink() {
                    dirs.push(path);
                } else {
                    names.push(path.file_name().expect("a name").to_string_lossy().into_owned());
                }
            }
        }
        names.sort();
        names
    }
}

/// Runs it with `sh` in an image with these programs.
fn made(line: &str, programs: &[&str]) -> Made {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let at = |path: &str| dir.path().join(path);
    for sub in ["out", "root/etc", "root/usr/sbin"] {
        fs::create_dir_all(at(sub)).expect("a directory");
    }
    fs::write(at("root/etc/initrd-release"), "").expect("writing");
    for program in programs {
        let path = at("root/usr/sbin").join(program);
        fs::write(&path, "#!/bin/sh\necho iqn.2026-01.test:made-up\n").expect("writing");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&path, mode).expect("a mode");
    }
    let generator = Path::new(env!("CARGO_MANIFEST_DIR")).join(GENERATOR);
    let mut command = Command::new("sh");
    command.arg(generator).args([at("out"), at("out"), at("out"), at("console"), at("root")]);
    let ran = command.env("SYSTEMD_PROC_CMDLINE", line).output().expect("sh");
    assert!(ran.status.success() && ran.stderr.is_empty(), "{line}: {}", String::from_utf8_lossy(&ran.stderr));
    let console = fs::read_to_string(at("console")).unwrap_or_default();
    Made { dir, console }
}

const ALL: &[&str] = &["mount.nfs", "nbd-client", "iscsistart", "iscsi-iname", "nvme", "curl"];

#[test]
fn command_lines_become_units() {
    let nfs4 = "What=10.0.2.2:/srv/a%%b\nWhere=/sysroot\nOptions=rw,port=5,vers=4.1\nTimeoutSec=150\nType=nfs4\n";
    for (line, unit, has) in [
        ("quiet root=nfs4:10.0.2.2:/srv/a%b:port=5,vers=4.1 rw", "sysroot.mount", nfs4),
        ("root=nfs:[fd00::1]:/srv", "sysroot.mount", "What=[fd00::1]:/srv\nWhere=/sysroot\nOptions=ro,nolock\n"),
        (
            "root=box:/srv rootfstype=nfs4 rootflags=vers=4.1",
            "sysroot.mount",
            "What=box:/srv\nWhere=/sysroot\nOptions=ro,vers=4.1\n",
        ),
        (
            "root=/dev/nfs nfsroot=10.0.2.2:/srv,port=5",
            "sysroot.mount",
            "What=10.0.2.2:/srv\nWhere=/sysroot\nOptions=ro,port=5,nolock\n",
        ),
        (
            "root=/dev/nfs nfsroot=/srv ip=10.0.2.15:10.0.2.2:10.0.2.2:255.255.255.0::ens3:off",
            "sysroot.mount",
            "What=10.0.2.2:/srv\n",
        ),
        ("root=/dev/nfs", "network-root-dhcp.service", "/usr/lib/mkinitrd-pkg/network-root-dhcp"),
        ("root=dhcp", "network-root-dhcp.service", "After=network-online.target"),
        ("root=nbd:10.0.2.2:10809:ext4:noatime", "sysroot.mount", "What=/dev/nbd0\nWhere=/sysroot\nOptions=ro,noatime\n"),
        (
            "root=nbd:10.0.2.2:10809",
            "network-root-nbd0.service",
            "\"/usr/sbin/nbd-client\" \"10.0.2.2\" \"10809\" \"/dev/nbd0\"\n",
        ),
        ("root=nbd:[fd00::1]:disk", "network-root-nbd0.service", "\"-name\" \"disk\" \"fd00::1\" \"/dev/nbd0\"\n"),
        ("root=/dev/nbd0 nbdroot=10.0.2.2,10809", "network-root-nbd0.service", "\"10.0.2.2\" \"10809\""),
        ("root=LABEL=r netroot=nbd:a:b netroot=nbd:c:d", "network-root-nbd1.service", "\"d\" \"c\" \"/dev/nbd1\"\n"),
        (
            "root=LABEL=r netroot=iscsi:10.0.2.2::::iqn.a:b",
            "network-root-iscsi1.service",
            "\"-i\" \"iqn.2026-01.test:made-up\" \"-t\" \"iqn.a:b\" \"-g\" \"1\" \"-a\" \"10.0.2.2\" \"-p\" \"3260\"\n",
        ),
        (
            "netroot=iscsi:me:a:b:c@[fd00::1]:6:99:if:eth0:1:eui.0 rd.iscsi.initiator=iqn.me",
            "network-root-iscsi1.service",
            "\"-i\" \"iqn.me\" \"-t\" \"eui.0\" \"-g\" \"1\" \"-a\" \"fd00::1\" \"-p\" \"99\" \"-u\" \"me\" \"-w\" \"a\" \"-U\" \"b\" \"-W\" \"c\"\n",
        ),
        ("root=iscsi:10.0.2.2:::7:iqn.a:b", "sysroot.mount", "What=/dev/disk/by-path/ip-10.0.2.2:3260-iscsi-iqn.a:b-lun-7\n"),
        (
            "netroot=iscsi rd.iscsi.target.name=iqn.a rd.iscsi.target.ip=h rd.iscsi.param=a.b=c",
            "network-root-iscsi1.service",
            "\"-a\" \"h\" \"-p\" \"3260\" \"-P\" \"a.b=c\"\n",
        ),
        ("rd.iscsi.firmware=1", "network-root-ibft.service", "\"/usr/sbin/iscsistart\" \"-b\"\n"),
        (
            "rd.nvmf.discover=tcp,10.0.2.2,,4420 rd.nvmf.hostnqn=nqn.me",
            "network-root-nvme0.service",
            "\"/usr/lib/mkinitrd-pkg/network-root-nvme\" \"--transport=tcp\" \"--traddr=10.0.2.2\" \"--trsvcid=4420\" \"--hostnqn=nqn.me\"\n",
        ),
        (
            "root=live:https://[fd00::1]:8/a.iso",
            "network-root-live.service",
            "\"/usr/lib/mkinitrd-pkg/live-root\" \"https://[fd00::1]:8/a.iso\"\n",
        ),
        ("root=live:https://[fd00::1]:8/a.iso", "50-network-root.conf", ""),
    ] {
        let made = made(line, ALL);
        assert_eq!(made.console, "", "{line}");
        assert!(made.names().iter().any(|name| name == unit), "{line}: {:?}", made.names());
        assert!(made.unit(unit).contains(has), "{line}:\n{}", made.unit(unit));
    }
}

#[test]
fn one_of_several_servers_of_nvme_may_be_gone() {
    let of = |line: &str| {
        let made = made(line, ALL);
        assert_eq!(made.console, "", "{line}");
        let at = |path: &str| made.dir.path().join("out").join(path);
        let is_in = |kind: &str, unit: &str| at(&format!("initrd-root-device.target.{kind}/{unit}")).symlink_metadata().is_ok();
        let masked = |unit: &str| fs::read_link(at(unit)).is_ok_and(|target| target == Path::new("/dev/null"));
        let (first, second) = ("network-root-nvme0.service", "network-root-nvme1.service");
        let ways = [is_in("requires", first), is_in("wants", first), is_in("wants", second)];
        (ways, [masked("nvmf-connect-nbft.service"), masked("nvmf-autoconnect.service")])
    };
    assert_eq!(of("rd.nvmf.discover=tcp,a"), ([true, false, false], [false, false]));
    assert_eq!(of("rd.nvmf.discover=tcp,a rd.nvmf.discover=tcp,b rd.nvmf.nonbft"), ([false, true, true], [true, false]));
    // Fibre Channel is the rules', and nothing else.
    assert_eq!(of("rd.nvmf.discover=fc,auto rd.nvmf.nostatic=1"), ([false, false, false], [false, true]));
}

#[test]
fn the_options_of_a_bond_are_set() {
    let made = made("bond=bond0:ens3,ens4:mode=1,miimon=100,odd=1:1500 ip=bond0:dhcp root=LABEL=r", ALL);
    let path = made.dir.path().join("root/run/systemd/network/70-bond0.netdev.d/50-network-root.conf");
    assert_eq!(fs::read_to_string(path).expect("the drop-in"), "[Bond]\nMode=active-backup\nMIIMonitorSec=100ms\n");
    assert!(made.console.ends_with("an option that is not understood, and goes on without: odd=1\n"), "{}", made.console);
    assert_eq!(made.names(), [""; 0]);
}

#[test]
fn other_roots_are_left_alone() {
    for line in
        ["", "root=LABEL=root ip=dhcp", "root=/dev/sda1", "root=UUID=a:/b", "\"x=a root=nfs4:a:/b\"", "root=live:CDLABEL=x-not"]
    {
        let made = made(line, ALL);
        if line.starts_with("root=live") {
            assert!(made.console.contains("http:// and https:// only"), "{}", made.console);
        } else {
            assert_eq!((made.names(), made.console.as_str()), (vec![], ""), "{line}");
        }
    }
}

#[test]
fn a_secret_is_a_value_whatever_it_holds() {
    let made = made(
        r#"netroot=iscsi rd.iscsi.target.name=iqn.a rd.iscsi.target.ip=h rd.iscsi.username=u "rd.iscsi.password=a'\$(x)%n;|b c""#,
        ALL,
    );
    let unit = made.unit("network-root-iscsi1.service");
    assert!(unit.contains(r#""-w" "a'\\$$(x)%%n;|b c""#), "{unit}");
}

#[test]
fn what_is_not_understood_is_said_and_stops_the_boot() {
    for (line, says) in [
        ("root=nfs4:/srv", "names no server, and neither does ip=: /srv"),
        ("root=nfs:box:srv", "names no absolute path"),
        ("root=nfs:a;reboot:/x", "has a character that no address or path has: a;reboot:/x"),
        ("root=\"nfs:a b:/x\"", "has a character"),
        ("root=nfs4:", "is incomplete"),
        ("root=nbd:box", "wants a server and a port or an export"),
        ("netroot=iscsi:box:::disk", "the target beginning with iqn., eui. or naa."),
        ("netroot=iscsi:box:17:::iqn.a", "wants SERVER:[6]"),
        ("netroot=fcoe:eth0", "netroot= is understood with"),
        ("rd.iscsi.target.name=iqn.a", "belong together"),
        ("rd.nvmf.discover=rdma,10.0.2.2", "wants tcp,ADDRESS"),
        ("root=dhcp6", "name the root"),
    ] {
        let made = made(line, ALL);
        assert!(made.console.starts_with("<3>mkinitrd-pkg: ") && made.console.contains(says), "{line}: {}", made.console);
        assert_eq!(made.console.lines().count(), 1, "{line}: {}", made.console);
        let names = made.names();
        // The unit, and the link by which the boot wants it.
        assert_eq!(names.iter().filter(|name| *name == "network-root-refused.service").count(), 2, "{line}: {names:?}");
        assert!(!names.iter().any(|name| name == "sysroot.mount"), "{line}: {names:?}");
    }
}

#[test]
fn a_missing_program_is_named_with_its_feature() {
    for (line, feature) in [
        ("root=nfs4:a:/b", "nfs"),
        ("root=nbd:a:1", "nbd"),
        ("netroot=iscsi:a::::iqn.b", "iscsi"),
        ("rd.nvmf.discover=tcp,a", "nvme-tcp"),
        ("root=live:http://a/b", "live"),
    ] {
        let made = made(line, &[]);
        assert!(
            made.console.ends_with(&format!("which this image is without: build it with --with {feature}\n")),
            "{}",
            made.console
        );
    }
}
