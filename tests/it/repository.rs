//! Repositories: real ones, and small ones made to be wrong.

use std::path::Path;
use std::time::{Duration, SystemTime};

use mkinitrd_pkg::acquire::{self, World};
use mkinitrd_pkg::report::Silent;
use mkinitrd_pkg::store::Store;
use mkinitrd_pkg::store::fetch::{Fetcher, Patience};

#[test]
fn the_machines_own_mirror_is_verified() {
    let dir = tempfile::tempdir().unwrap();
    let components = vec!["main".to_owned()];
    for release in ["trixie", "sid"] {
        let sources = acquire::host_sources(Path::new("/"), "debian", release, &components, "amd64").unwrap().unwrap();
        println!("{sources:?}");
        let store = Store::open(dir.path());
        for offline in [false, false, true] {
            let fetcher = Fetcher::new(offline, Patience::default(), |name| std::env::var(name).ok()).unwrap();
            let now = SystemTime::now() - Duration::from_secs(if release == "sid" { 18 * 86_400 } else { 0 });
            let mut world = World::new(&store, &fetcher, Path::new("/"), "debian", now, &Silent);
            world.offline = offline;
            let start = std::time::Instant::now();
            let repositories = acquire::repositories(&sources.specs, &world).unwrap();
            for repository in &repositories {
                println!("{} {:?} {:?} {:?}", repository.spec, repository.signer, repository.indexes, start.elapsed());
            }
        }
    }
}
