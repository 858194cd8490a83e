//! The other generators of initrds, and what each is given to boot the disks of our own scenarios.
//!
//! Each has its best chance: the packages that its users install for a feature, its own generic mode, and its own words on the kernel
//! command line where ours mean nothing to it.

use std::fmt;

/// Another generator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// mkosi-initrd: an initrd of packages, with systemd.
    Mkosi,
    /// dracut: an initrd of the host's files, with systemd.
    Dracut,
    /// initramfs-tools: an initrd of the host's files, with shell scripts.
    InitramfsTools,
}

impl Peer {
    /// All of them, in the order of the tables.
    pub const ALL: [Peer; 3] = [Peer::Mkosi, Peer::Dracut, Peer::InitramfsTools];

    /// Returns its name, which is also the name of its root.
    pub fn name(self) -> &'static str {
        match self {
            Peer::Mkosi => "mkosi-initrd",
            Peer::Dracut => "dracut",
            Peer::InitramfsTools => "initramfs-tools",
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// What an image of a peer holds beside what it always does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Set {
    /// LVM and LUKS.
    Plain,
    /// All that is about disks.
    Storage,
    /// The same, and what reaches a root over a network.
    Network,
    /// Storage, and the integritytab of the tests.
    Integrity,
    /// Storage, and a Dvorak keyboard.
    Keymap,
    /// Storage, and the extensions of the tests.
    Sysext,
    /// Storage, and the signature of the policy of a TPM.
    Policy,
    /// Storage, and partitions for systemd-repart to make.
    Repart,
    /// No generic image, but one for a machine with virtio and ext4.
    Machine,
}

impl Set {
    /// Returns the word for tables and file names.
    pub fn name(self) -> &'static str {
        match self {
            Set::Plain => "plain",
            Set::Storage => "storage",
            Set::Network => "network",
            Set::Integrity => "integrity",
            Set::Keymap => "keymap",
            Set::Sysext => "sysext",
            Set::Policy => "policy",
            Set::Repart => "repart",
            Set::Machine => "machine",
        }
    }

    /// Returns files of the tests that are in the image, and where.
    pub fn files(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Set::Plain | Set::Machine => &[],
            Set::Storage | Set::Network => &[("multipath.conf", "/etc/multipath.conf")],
            Set::Integrity => &[("integritytab", "/etc/integritytab")],
            Set::Keymap => &[("peers/vconsole.conf", "/etc/vconsole.conf"), ("peers/crypttab", "/etc/crypttab")],
            Set::Sysext => &[
                ("sysext/units/says.service", "/etc/systemd/system/says.service"),
                ("sysext/units/sysroot.mount.d/10-says.conf", "/etc/systemd/system/sysroot.mount.d/10-says.conf"),
                ("sysext/system", "/var/lib/extensions/boot-test"),
                ("sysext/configuration", "/var/lib/confexts/boot-test"),
            ],
            Set::Repart => &[("repart/grow", "/usr/lib/repart.d")],
            Set::Policy => &[("policy/tpm2-pcr-signature.json", "/etc/systemd/tpm2-pcr-signature.json")],
        }
    }
}

/// How a peer boots the disk of a scenario.
#[derive(Debug, Clone, Copy)]
pub struct Try {
    /// The kernel command line, if ours does not say it in words that the peer has.
    pub append: Option<&'static str>,
    /// What is typed at the serial console when it says something: the passphrase, where no credential is understood.
    pub answer: Option<(&'static str, &'static str)>,
    /// What `/` is mounted from and its type, where it is another name of the same.
    pub root: Option<(&'static str, &'static str)>,
    /// What the console has to say where no root is to be reached, if the peer says it in other words.
    pub says: Option<&'static [&'static str]>,
}

/// A scenario that the peers are tried with.
pub struct Trial {
    /// The scenario.
    pub boot: &'static str,
    /// What the images hold.
    pub set: Set,
    /// How each does it, in the order of [`Peer::ALL`].
    pub tries: [Try; 3],
}

impl Trial {
    /// Every generator with our command line.
    pub const SAME: Trial = Trial { boot: "", set: Set::Plain, tries: [SAME; 3] };

    /// Returns how a peer does it.
    pub fn of(&self, peer: Peer) -> Try {
        match peer {
            Peer::Mkosi => self.tries[0],
            Peer::Dracut => self.tries[1],
            Peer::InitramfsTools => self.tries[2],
        }
    }
}

const SAME: Try = Try { append: None, answer: None, root: None, says: None };

/// The volume by its other name.
const BY_LINK: Try = Try { root: Some(("/dev/vg0/root", "ext4")), ..SAME };

const fn by(append: &'static str) -> Try {
    Try { append: Some(append), ..SAME }
}

/// With the passphrase typed.
const fn typed(append: &'static str) -> Try {
    Try { append: Some(append), answer: Some(("Please unlock disk", crate::luks::PASSPHRASE)), ..SAME }
}

const fn trial(boot: &'static str, set: Set, initramfs_tools: Try) -> Trial {
    Trial { boot, set, tries: [SAME, SAME, initramfs_tools] }
}

const fn with_dracut(boot: &'static str, set: Set, dracut: Try, initramfs_tools: Try) -> Trial {
    Trial { boot, set, tries: [SAME, dracut, initramfs_tools] }
}

const CRYPT: &str = "cryptopts=target=root,source=/dev/vda,luks root=/dev/mapper/root";
const NFS4: &str = "ip=dhcp root=nfs4:10.0.2.2:/root:port=@port@,vers=4.1 rd.neednet=1";
const NFS4_BUSYBOX: &str = "ip=dhcp root=/dev/nfs nfsroot=10.0.2.2:/root,port=@port@,vers=4.1";
const NFS3: &str =
    "ip=dhcp root=nfs:10.0.2.2:/root:vers=3,proto=tcp,port=@port@,mountproto=tcp,mountport=@mountport@,nolock rd.neednet=1";
const NFS3_BUSYBOX: &str =
    "ip=dhcp root=/dev/nfs nfsroot=10.0.2.2:/root,vers=3,proto=tcp,port=@port@,mountproto=tcp,mountport=@mountport@,nolock";

/// All of them: one for each way to a root that a peer can sensibly be asked for.
pub const TRIALS: &[Trial] = &[
    trial("trixie-ext4", Set::Plain, SAME),
    trial("trixie-luks2", Set::Plain, typed(CRYPT)),
    trial("trixie-lvm", Set::Plain, BY_LINK),
    trial("trixie-xfs", Set::Storage, SAME),
    trial("trixie-btrfs-subvolume", Set::Storage, SAME),
    trial("trixie-btrfs-raid1", Set::Storage, SAME),
    trial("btrfs-degraded", Set::Storage, SAME),
    trial("trixie-f2fs", Set::Storage, SAME),
    // The scripts have no word for it but the root's fstab, which names no `/usr` here.
    trial("trixie-separate-usr", Set::Storage, SAME),
    trial(
        "trixie-luks2-key-disk",
        Set::Storage,
        by(
            "cryptopts=target=root,source=/dev/vda,luks,key=/dev/disk/by-label/KEYS:/root.key,keyscript=passdev root=/dev/mapper/root",
        ),
    ),
    trial("trixie-luks2-tpm", Set::Storage, by(CRYPT)),
    trial("trixie-luks2-tpm-signed", Set::Policy, by(CRYPT)),
    trial("trixie-luks2-recovery", Set::Storage, Try { answer: Some(("Please unlock disk", "@recovery@")), ..by(CRYPT) }),
    trial("trixie-lvm-thin", Set::Storage, BY_LINK),
    trial("trixie-lvm-raid1", Set::Storage, BY_LINK),
    trial(
        "trixie-lvm-in-luks2",
        Set::Storage,
        typed("cryptopts=target=pv,source=/dev/vda,luks,lvm=vg0-root root=/dev/mapper/vg0-root"),
    ),
    trial("trixie-md-raid5", Set::Storage, SAME),
    trial("trixie-md-degraded", Set::Storage, SAME),
    trial(
        "trixie-luks2-on-md",
        Set::Storage,
        typed("cryptopts=target=root,source=UUID=6d6b696e-6974-4264-8000-6c756b730001,luks root=/dev/mapper/root"),
    ),
    trial("trixie-integrity", Set::Integrity, SAME),
    trial("trixie-luks2-integrity", Set::Storage, typed(CRYPT)),
    trial("trixie-verity", Set::Storage, SAME),
    trial("uki-gpt-auto", Set::Storage, SAME),
    trial("trixie-multipath", Set::Storage, SAME),
    with_dracut("trixie-nfs4", Set::Network, by(NFS4), by(NFS4_BUSYBOX)),
    with_dracut("trixie-nfs3", Set::Network, by(NFS3), by(NFS3_BUSYBOX)),
    with_dracut(
        "trixie-iscsi",
        Set::Network,
        by(
            "ip=dhcp rd.neednet=1 netroot=iscsi:10.0.2.2::@port@:1:iqn.2026-01.test:disk root=LABEL=root rd.iscsi.initiator=iqn.2026-01.test:client",
        ),
        by(
            "ip=dhcp ISCSI_INITIATOR=iqn.2026-01.test:client ISCSI_TARGET_NAME=iqn.2026-01.test:disk ISCSI_TARGET_IP=10.0.2.2 ISCSI_TARGET_PORT=@port@ root=LABEL=root",
        ),
    ),
    with_dracut(
        "trixie-nbd",
        Set::Network,
        by("ip=dhcp rd.neednet=1 root=nbd:10.0.2.2:@port@:ext4"),
        Try { root: Some(("/dev/nbd0", "ext4")), ..by("ip=dhcp nbdroot=10.0.2.2,@port@,nbd0 root=/dev/nbd0") },
    ),
    with_dracut(
        "trixie-live-http",
        Set::Network,
        Try {
            root: Some(("LiveOS_rootfs", "overlay")),
            ..by("ip=dhcp rd.neednet=1 root=live:http://10.0.2.2:@port@/root.img rd.overlay=1 rd.live.overlay.overlayfs=1")
        },
        by("ip=dhcp boot=live fetch=http://10.0.2.2:@port@/root.squashfs"),
    ),
    with_dracut(
        "trixie-squashfs",
        Set::Storage,
        by("root=/dev/vda systemd.volatile=overlay rd.overlay=1"),
        Try { root: Some(("overlayroot", "overlay")), ..by("root=/dev/vda rootfstype=squashfs overlayroot=tmpfs") },
    ),
    trial("trixie-bcache", Set::Storage, SAME),
    trial("trixie-repart", Set::Repart, SAME),
    trial("trixie-resume", Set::Storage, SAME),
    trial("fw-cfg-credential", Set::Plain, by(CRYPT)),
    trial("trixie-sysext", Set::Sysext, SAME),
    trial("uki-secure-boot", Set::Plain, SAME),
    trial(
        "emergency-shell",
        Set::Plain,
        Try { answer: Some(("(initramfs)", "id")), says: Some(&["(initramfs)", "uid=0"]), ..by("root=LABEL=nonexistent panic=") },
    ),
    trial("trixie-keymap", Set::Keymap, SAME),
    trial("virtio-scsi-machine", Set::Plain, SAME),
    trial("nvme-4k", Set::Plain, SAME),
    trial("usb-disk", Set::Plain, SAME),
    trial("ahci-disk", Set::Plain, SAME),
    trial("late-disk", Set::Plain, SAME),
];
