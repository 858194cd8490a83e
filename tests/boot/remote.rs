//! The boots whose root, or whose key, comes from another machine or from somebody far away.

use crate::afar::{Login, SSH_KEYS, Tang};
use crate::disk::Disk;
use crate::scenarios::{BASE, Expect, IN_LUKS, ONE_TRY, OPENED, Scenario, Tier};
use crate::server::Server;

const FAR: Scenario = Scenario { tier: Tier::Slow, ..BASE };

const WITH_NVME: &[&str] = &["--generic", "--with", "net", "--with", "nvme-tcp"];
const WITH_CLEVIS: &[&str] = &["--generic", "--with", "net", "--with", "clevis"];
const WITH_SSH: &[&str] = &["--generic", "--with", "net", "--with", "ssh", SSH_KEYS];

/// Whoever may log in, with a terminal.
const OWNER: Login = Login { key: "id", passphrase: "correct horse", has_terminal: true };
/// The question stays, and the journal is shown while it does.
const ASKED: &str =
    "systemd.journald.forward_to_console=1 rd.luks.name=6d6b696e-6974-4264-8000-6c756b730001=root root=/dev/mapper/root";

/// All boots over a network that are not of programs on the loopback.
pub const REMOTE: &[Scenario] = &[
    Scenario {
        name: "trixie-nvme-tcp",
        shows: "a disk of another machine by NVMe over TCP",
        server: Server::Nvme,
        build: WITH_NVME,
        append: "ip=dhcp rd.nvmf.discover=tcp,10.0.2.2,,@port@ rd.nvmf.hostnqn=nqn.2026-01.test:machine root=LABEL=root",
        expect: Expect::Boots { source: "/dev/nvme1n1", fstype: "ext4" },
        way: &["nvme over tcp nqn.2026-01.test:disk traddr=10.0.2.2"],
        twin: Some("nvme-other-host"),
        ..FAR
    },
    Scenario {
        name: "nvme-other-host",
        shows: "the same from a machine to which the target gives nothing",
        server: Server::Nvme,
        build: WITH_NVME,
        append: "ip=dhcp rd.nvmf.discover=tcp,10.0.2.2,,@port@ rd.nvmf.hostnqn=nqn.2026-01.test:other root=LABEL=root",
        expect: Expect::Refuses {
            says: &[
                "has no subsystem for this machine, which is nqn.2026-01.test:other: allow it there",
                "Failed to start network-root-nvme0.",
            ],
        },
        ..FAR
    },
    Scenario {
        name: "nvme-server-gone",
        shows: "the same, and nobody answers",
        server: Server::Gone,
        build: WITH_NVME,
        append: "ip=dhcp rd.nvmf.discover=tcp,10.0.2.2,,@port@ root=LABEL=root",
        expect: Expect::Refuses { says: &["does not answer, or refuses this machine", "Failed to start network-root-nvme0."] },
        ..FAR
    },
    Scenario {
        name: "trixie-luks2-tang",
        shows: "LUKS2, opened by clevis with a tang server; there is no other key",
        disk: Disk::LuksTang,
        server: Server::Tang(Tang::Bound),
        build: WITH_CLEVIS,
        append: IN_LUKS,
        expect: OPENED,
        way: &[" crypt aes-xts", "Unlocked /dev/disk/by-uuid/6d6b696e-6974-4264-8000-6c756b730001"],
        twin: Some("tang-other-keys"),
        ..FAR
    },
    Scenario {
        name: "tang-gone",
        shows: "the same without that server",
        disk: Disk::LuksTang,
        server: Server::Tang(Tang::Gone),
        build: WITH_CLEVIS,
        append: IN_LUKS,
        expect: Expect::Refuses { says: &["Please enter passphrase", TANG_FAILS] },
        ..FAR
    },
    Scenario {
        name: "tang-other-keys",
        shows: "the same with a server that has other keys",
        disk: Disk::LuksTang,
        server: Server::Tang(Tang::Other),
        build: WITH_CLEVIS,
        append: IN_LUKS,
        expect: Expect::Refuses { says: &["Please enter passphrase", TANG_FAILS] },
        ..FAR
    },
    Scenario {
        name: "trixie-ssh",
        shows: "LUKS2, the passphrase typed over SSH",
        disk: Disk::Luks,
        server: Server::Ssh(OWNER),
        build: WITH_SSH,
        append: IN_LUKS,
        expect: OPENED,
        way: &[" crypt aes-xts", "Pubkey auth succeeded for 'root' with ssh-ed25519 key"],
        twin: Some("ssh-other-key"),
        ..FAR
    },
    Scenario {
        name: "trixie-ssh-pipe",
        shows: "the same without a terminal, the passphrase through a pipe",
        disk: Disk::Luks,
        server: Server::Ssh(Login { has_terminal: false, ..OWNER }),
        build: WITH_SSH,
        append: IN_LUKS,
        expect: OPENED,
        way: &[" crypt aes-xts", "Pubkey auth succeeded for 'root' with ssh-ed25519 key"],
        twin: Some("ssh-wrong-passphrase"),
        ..FAR
    },
    Scenario {
        name: "ssh-other-key",
        shows: "the same with a key that nobody has allowed",
        disk: Disk::Luks,
        server: Server::Ssh(Login { key: "other", ..OWNER }),
        build: WITH_SSH,
        append: ASKED,
        expect: Expect::Refuses { says: &["Please enter passphrase", "Exit before auth from", "(user 'root', "] },
        ..FAR
    },
    Scenario {
        name: "ssh-wrong-passphrase",
        shows: "the same with another passphrase",
        disk: Disk::Luks,
        server: Server::Ssh(Login { passphrase: "battery staple", ..OWNER }),
        build: WITH_SSH,
        append: ONE_TRY,
        expect: crate::scenarios::WRONG_PASSPHRASE,
        ..FAR
    },
];

/// What clevis says in both cases, and once.
const TANG_FAILS: &str = "mkinitrd-pkg: clevis: Error communicating with server http://10.0.2.100; it is tried again";
