//! The project's own repositories of RPM, pacman and Alpine packages.

#[path = "../repositories/mod.rs"]
#[allow(dead_code, reason = "other test programs use the rest")]
mod repositories;

use repositories::{Family, Set, repository};

#[test]
fn every_mini_repository_is_made() {
    for family in Family::ALL {
        let repository = repository(family, Set::Mini);
        assert!(repository.packages().len() > 15, "{family:?}: {:?}", repository.packages());
    }
}

#[test]
fn every_system_repository_is_made() {
    for family in Family::ALL {
        let repository = repository(family, Set::System);
        println!("{family:?}: {}, {}", repository.url, repository.kernel);
        assert!(repository.packages().len() > 50, "{family:?}: {:?}", repository.packages());
    }
}
