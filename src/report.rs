//! What the stages tell about their work while they do it. Only `cli` decides how it is shown.

use serde::Serialize;

/// The version of the event stream that `--json` prints; raised when a field changes its meaning or goes away.
pub const EVENT_SCHEMA: u32 = 1;

/// The stages of the pipeline, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Profile, drop-ins, flags and host facts become a request.
    Config,
    /// Indexes and request become a list of packages.
    Plan,
    /// Package files are found, fetched and verified.
    Acquire,
    /// Payloads become a tree.
    Unpack,
    /// What an initrd does not need goes; what is kept loses nothing it needs.
    Prune,
    /// Kernel modules and firmware are chosen.
    Modules,
    /// What maintainer scripts would have done is done.
    Finalize,
    /// Segments become an image.
    Pack,
    /// Image, kernel and UEFI stub become a unified kernel image.
    Uki,
    /// The image gets its name, at once or not at all.
    Deliver,
}

impl Stage {
    /// All stages in order.
    pub const ALL: [Stage; 10] = [
        Stage::Config,
        Stage::Plan,
        Stage::Acquire,
        Stage::Unpack,
        Stage::Prune,
        Stage::Modules,
        Stage::Finalize,
        Stage::Pack,
        Stage::Uki,
        Stage::Deliver,
    ];

    /// Returns the name, as in `--stop-after`.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Config => "config",
            Stage::Plan => "plan",
            Stage::Acquire => "acquire",
            Stage::Unpack => "unpack",
            Stage::Prune => "prune",
            Stage::Modules => "modules",
            Stage::Finalize => "finalize",
            Stage::Pack => "pack",
            Stage::Uki => "uki",
            Stage::Deliver => "deliver",
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event<'a> {
    /// A stage begins.
    Begin {
        /// Which.
        stage: Stage,
    },
    /// How far a stage has come, in whatever it counts.
    Progress {
        /// Which.
        stage: Stage,
        /// Done so far.
        done: u64,
        /// Of how many.
        total: u64,
        /// What is being worked on.
        item: &'a str,
    },
    /// A stage has ended well.
    End {
        /// Which.
        stage: Stage,
        /// Its figures in one line: `95 packages, 33.8 MB`.
        figures: &'a str,
    },
    /// Something the user should know; `--strict` makes it an error.
    Warning {
        /// Which stage noticed.
        stage: Stage,
        /// What, lower case, one line.
        message: &'a str,
    },
    /// A detail that `-v` shows.
    Detail {
        /// Which stage.
        stage: Stage,
        /// What, lower case, one line.
        message: &'a str,
    },
}

/// Takes events, from any thread.
pub trait Reporter: Sync {
    /// Takes one.
    fn event(&self, event: &Event<'_>);
}

/// Says nothing.
pub struct Silent;

impl Reporter for Silent {
    fn event(&self, _: &Event<'_>) {}
}
