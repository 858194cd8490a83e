//! What machines of other distributions say of their repositories and packages, against the distributions' own tools.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "what was compared is told")]

mod fetched;
mod files;
mod rpm;
mod rpmdb;
#[path = "../it/server.rs"]
#[allow(dead_code, reason = "other test programs use the rest")]
mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use mkinitrd_pkg::acquire::World;
use mkinitrd_pkg::report::{Event, Reporter};
use mkinitrd_pkg::store::Store;
use mkinitrd_pkg::store::fetch::{Fetcher, Patience};

/// Returns the fixtures, or says loudly that there are none.
pub(crate) fn fixtures(what: &str) -> Option<PathBuf> {
    let dir = std::env::var_os("MKINITRD_FIXTURES").map(PathBuf::from);
    if dir.is_none() {
        println!("NOT RUN: {what}: set `MKINITRD_FIXTURES` to the directory of the fixtures");
    }
    dir
}

/// Writes a file below a root.
pub(crate) fn write(root: &Path, path: &str, text: impl AsRef<[u8]>) {
    let path = root.join(path.trim_start_matches('/'));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Collects warnings and details.
#[derive(Default)]
pub(crate) struct Told(pub Mutex<Vec<String>>);

impl Reporter for Told {
    fn event(&self, event: &Event<'_>) {
        if let Event::Warning { message, .. } | Event::Detail { message, .. } = event {
            self.0.lock().unwrap().push((*message).to_owned());
        }
    }
}

/// A machine with a cache and nothing else.
pub(crate) struct Machine {
    dir: tempfile::TempDir,
    store: Store,
    pub(crate) told: Told,
    pub(crate) verify: bool,
    pub(crate) offline: bool,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cache"));
        fs::create_dir(dir.path().join("root")).unwrap();
        Self { dir, store, told: Told::default(), verify: true, offline: false }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    pub(crate) fn in_world<T>(&self, work: impl FnOnce(&World<'_>) -> T) -> T {
        let short = Duration::from_secs(5);
        let patience = Patience {
            connect: short,
            silence: short,
            window: short,
            window_bytes_min: 1,
            tries: 1,
            pause: Duration::from_millis(5),
        };
        let fetcher = Fetcher::new(self.offline, patience, |_| None).unwrap();
        let root = self.root();
        let mut world = World::new(&self.store, &fetcher, &root, "fedora", SystemTime::now(), &self.told);
        world.verify = self.verify;
        work(&world)
    }
}
