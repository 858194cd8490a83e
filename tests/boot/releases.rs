//! The boots that have to work on every release, on those beside the one that most tests use.

use crate::disk::Disk;
use crate::scenarios::{BASE, IN_LUKS, IN_LVM, ONE_TRY, OPENED, RIGHT, Scenario, Tier, VOLUME, WRONG, WRONG_PASSPHRASE};

const BOOKWORM: Scenario = Scenario { tier: Tier::Slow, release: "bookworm", ..BASE };
const SID: Scenario = Scenario { release: "sid", ..BOOKWORM };

/// All boots of other releases, but for those of a plain root.
pub const RELEASES: &[Scenario] = &[
    Scenario {
        name: "bookworm-luks2",
        shows: "LUKS2 on the release before",
        disk: Disk::Luks,
        append: IN_LUKS,
        credentials: RIGHT,
        expect: OPENED,
        twin: Some("bookworm-wrong-passphrase"),
        ..BOOKWORM
    },
    Scenario {
        name: "bookworm-wrong-passphrase",
        shows: "the same with another passphrase",
        disk: Disk::Luks,
        append: ONE_TRY,
        credentials: WRONG,
        expect: WRONG_PASSPHRASE,
        ..BOOKWORM
    },
    Scenario {
        name: "bookworm-lvm",
        shows: "a logical volume on the release before",
        disk: Disk::Lvm,
        append: IN_LVM,
        expect: VOLUME,
        twin: Some("no-root"),
        ..BOOKWORM
    },
    Scenario {
        name: "sid-luks2",
        shows: "LUKS2 on the release to come",
        disk: Disk::Luks,
        append: IN_LUKS,
        credentials: RIGHT,
        expect: OPENED,
        twin: Some("sid-wrong-passphrase"),
        ..SID
    },
    Scenario {
        name: "sid-wrong-passphrase",
        shows: "the same with another passphrase",
        disk: Disk::Luks,
        append: ONE_TRY,
        credentials: WRONG,
        expect: WRONG_PASSPHRASE,
        ..SID
    },
    Scenario {
        name: "sid-lvm",
        shows: "a logical volume on the release to come",
        disk: Disk::Lvm,
        append: IN_LVM,
        expect: VOLUME,
        twin: Some("no-root"),
        ..SID
    },
];
