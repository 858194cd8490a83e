//! The boots whose root is reached over a network: the servers are programs of user space on the loopback, at 10.0.2.2 for the machine.

use crate::disk::Disk;
use crate::scenarios::{BASE, Expect, Scenario, Tier};
use crate::server::Server;

/// All of them are of trixie, and none of the first tier.
const REMOTE: Scenario = Scenario { tier: Tier::Slow, ..BASE };

const WITH_NFS: &[&str] = &["--generic", "--with", "net", "--with", "nfs"];
const WITH_NBD: &[&str] = &["--generic", "--with", "net", "--with", "nbd"];
const WITH_ISCSI: &[&str] = &["--generic", "--with", "net", "--with", "iscsi"];
const WITH_LIVE: &[&str] = &["--generic", "--with", "net", "--with", "live"];
const WITH_NET: &[&str] = &["--generic", "--with", "net"];

/// All boots over a network.
pub const NETWORK: &[Scenario] = &[
    Scenario {
        name: "trixie-nfs4",
        shows: "NFS 4",
        disk: Disk::Tree,
        server: Server::Nfs(4),
        build: WITH_NFS,
        // Version 4.2 would have the kernel read in a way (READ_PLUS) that nfs-ganesha 4.3 answers with an error.
        append: "ip=dhcp root=nfs4:10.0.2.2:/root:port=@port@,vers=4.1",
        expect: Expect::Boots { source: "10.0.2.2:/root", fstype: "nfs4" },
        way: &["addr=10.0.2.2", "vers=4"],
        twin: Some("nfs-server-gone"),
        ..REMOTE
    },
    Scenario {
        name: "trixie-nfs3",
        shows: "NFS 3, in the words of the kernel",
        disk: Disk::Tree,
        server: Server::Nfs(3),
        build: WITH_NFS,
        append: "ip=dhcp root=/dev/nfs nfsroot=10.0.2.2:/root,vers=3,proto=tcp,port=@port@,mountvers=3,mountproto=tcp,mountport=@mountport@",
        expect: Expect::Boots { source: "10.0.2.2:/root", fstype: "nfs" },
        way: &["addr=10.0.2.2", "vers=3"],
        twin: Some("nfs-server-gone"),
        ..REMOTE
    },
    Scenario {
        name: "trixie-nfs4-bridge",
        shows: "NFS 4 over a bridge",
        disk: Disk::Tree,
        server: Server::Nfs(4),
        build: WITH_NFS,
        append: "bridge=br0:ens3 ip=br0:dhcp root=nfs4:10.0.2.2:/root:port=@port@,vers=4.1",
        expect: Expect::Boots { source: "10.0.2.2:/root", fstype: "nfs4" },
        way: &["addr=10.0.2.2", "vers=4"],
        twin: Some("nfs-server-gone"),
        ..REMOTE
    },
    Scenario {
        name: "nfs-server-gone",
        shows: "the same, and nobody answers",
        disk: Disk::Tree,
        server: Server::Gone,
        build: WITH_NFS,
        append: "ip=dhcp root=nfs4:10.0.2.2:/root:port=@port@,retry=0",
        expect: Expect::Refuses { says: &["Failed to mount sysroot.mount", "10.0.2.2:/root"] },
        ..REMOTE
    },
    Scenario {
        name: "nfs-not-exported",
        shows: "a directory that the server does not export",
        disk: Disk::Tree,
        server: Server::Nfs(4),
        build: WITH_NFS,
        append: "ip=dhcp root=nfs4:10.0.2.2:/other:port=@port@,retry=0",
        expect: Expect::Refuses { says: &["Failed to mount sysroot.mount", "10.0.2.2:/other"] },
        ..REMOTE
    },
    Scenario {
        name: "nfs-without-feature",
        shows: "a root on NFS, and an image without the feature for it",
        disk: Disk::Tree,
        server: Server::Nfs(4),
        build: WITH_NET,
        append: "ip=dhcp root=nfs4:10.0.2.2:/root:port=@port@,vers=4.1",
        expect: Expect::Refuses { says: &["root=nfs4: needs mount.nfs, which this image is without: build it with --with nfs"] },
        ..REMOTE
    },
    Scenario {
        name: "trixie-nbd",
        shows: "a network block device",
        server: Server::Nbd,
        build: WITH_NBD,
        append: "ip=dhcp root=nbd:10.0.2.2:@port@:ext4",
        expect: Expect::Boots { source: "/dev/nbd0", fstype: "ext4" },
        twin: Some("nbd-server-gone"),
        ..REMOTE
    },
    Scenario {
        name: "trixie-netroot-nbd",
        shows: "the same, the root found by its label",
        server: Server::Nbd,
        build: WITH_NBD,
        append: "netroot=nbd:10.0.2.2:@port@ root=LABEL=root",
        expect: Expect::Boots { source: "/dev/nbd0", fstype: "ext4" },
        twin: Some("nbd-server-gone"),
        ..REMOTE
    },
    Scenario {
        name: "nbd-server-gone",
        shows: "the same, and nobody answers",
        server: Server::Gone,
        build: WITH_NBD,
        append: "ip=dhcp root=nbd:10.0.2.2:@port@:ext4",
        expect: Expect::Refuses { says: &["Failed to start network-root-nbd0.", "Socket failed: Connection refused"] },
        ..REMOTE
    },
    Scenario {
        name: "trixie-iscsi",
        shows: "a disk of an iSCSI target",
        server: Server::Iscsi(None),
        build: WITH_ISCSI,
        append: "ip=dhcp netroot=iscsi:10.0.2.2::@port@:1:iqn.2026-01.test:disk root=LABEL=root",
        expect: Expect::Boots { source: "/dev/sda", fstype: "ext4" },
        way: &["sda disk 512 iscsi"],
        twin: Some("iscsi-no-target"),
        ..REMOTE
    },
    Scenario {
        name: "iscsi-no-target",
        shows: "a target that the server has not",
        server: Server::Iscsi(None),
        build: WITH_ISCSI,
        append: "ip=dhcp netroot=iscsi:10.0.2.2::@port@:1:iqn.2026-01.test:other root=LABEL=root",
        expect: Expect::Refuses {
            says: &["Failed to start network-root-iscsi", "iSCSI target iqn.2026-01.test:other at 10.0.2.2:"],
        },
        ..REMOTE
    },
    Scenario {
        name: "trixie-iscsi-chap",
        shows: "the same with a user and a secret, in the words of dracut",
        server: Server::Iscsi(Some(("boot", "correct-horse"))),
        build: WITH_ISCSI,
        append: "ip=dhcp netroot=iscsi rd.iscsi.target.name=iqn.2026-01.test:disk rd.iscsi.target.ip=10.0.2.2 \
                 rd.iscsi.target.port=@port@ rd.iscsi.username=boot rd.iscsi.password=correct-horse root=LABEL=root",
        expect: Expect::Boots { source: "/dev/sda", fstype: "ext4" },
        way: &["sda disk 512 iscsi"],
        twin: Some("iscsi-wrong-secret"),
        ..REMOTE
    },
    Scenario {
        name: "iscsi-wrong-secret",
        shows: "the same with another secret",
        server: Server::Iscsi(Some(("boot", "correct-horse"))),
        build: WITH_ISCSI,
        append: "ip=dhcp netroot=iscsi:boot:battery-staple@10.0.2.2::@port@:1:iqn.2026-01.test:disk root=LABEL=root",
        expect: Expect::Refuses {
            says: &["Failed to start network-root-iscsi", "iSCSI target iqn.2026-01.test:disk at 10.0.2.2:"],
        },
        ..REMOTE
    },
    Scenario {
        name: "trixie-iscsi-two",
        shows: "a mirror whose halves are behind two targets",
        disk: Disk::Md,
        server: Server::IscsiEach,
        build: &["--generic", "--with", "net", "--with", "iscsi", "--with", "md"],
        append: "ip=dhcp netroot=iscsi:10.0.2.2::@port@:1:iqn.2026-01.test:disk \
                 netroot=iscsi:10.0.2.2::@port@:1:iqn.2026-01.test:disk2 root=LABEL=root",
        expect: Expect::Boots { source: "/dev/md127", fstype: "ext4" },
        way: &["active raid1", "[2/2] [UU]", "sdb disk 512 iscsi"],
        twin: Some("iscsi-no-target"),
        ..REMOTE
    },
    Scenario {
        name: "trixie-live-http",
        shows: "a live system, fetched by HTTP",
        disk: Disk::Squashfs,
        server: Server::Http,
        build: WITH_LIVE,
        append: "ip=dhcp root=live:http://10.0.2.2:@port@/root.img",
        expect: Expect::Boots { source: "live", fstype: "overlay" },
        way: &["/run/initramfs/live/medium /dev/loop0 squashfs"],
        twin: Some("live-not-found"),
        ..REMOTE
    },
    Scenario {
        name: "live-not-found",
        shows: "the same, and the server has no such file",
        disk: Disk::Squashfs,
        server: Server::Http,
        build: WITH_LIVE,
        append: "ip=dhcp root=live:http://10.0.2.2:@port@/other.img",
        expect: Expect::Refuses { says: &["the live system was not fetched from http://10.0.2.2:", "404"] },
        ..REMOTE
    },
];
