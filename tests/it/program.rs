//! The program as a user runs it: its own cache directory, none of the host's drop-ins.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use crate::trixie::cache;

/// Returns a command that runs the program with the tests' own cache.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mkinitrd-pkg"));
    command.env_remove("SOURCE_DATE_EPOCH").arg("--config-root").arg("/nonexistent").arg("--cache").arg(program_cache());
    command
}

/// Returns the cache that all tests share.
pub fn program_cache() -> PathBuf {
    cache().join("program")
}

/// What a run gave.
pub struct Ran {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// Runs a command to its end.
pub fn ran(command: &mut Command) -> Ran {
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|err| panic!("{command:?}: {err}"));
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran { code: status.code().unwrap_or(-1), out: text(stdout), err: text(stderr) }
}

impl Ran {
    /// Demands success.
    #[track_caller]
    pub fn good(self) -> Self {
        assert_eq!(self.code, 0, "{}\n{}", self.out, self.err);
        self
    }

    /// Demands failure with this exit code and these words on standard error.
    #[track_caller]
    pub fn bad(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.err);
        for word in words {
            assert!(self.err.contains(word), "`{word}` is not in\n{}", self.err);
        }
        assert_eq!(self.err.matches("error:").count(), 1, "one error, not several:\n{}", self.err);
        self
    }
}

/// The words that build trixie's generic image.
pub const TRIXIE: [&str; 6] = ["build", "--distro", "debian", "--release", "trixie", "--generic"];

/// Returns trixie's generic image for amd64, built once from the network; afterwards everything is cached.
pub fn trixie_image() -> &'static Path {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE.get_or_init(|| {
        std::fs::create_dir_all(cache()).expect("the test cache");
        let path = cache().join("trixie.img");
        ran(program().args(TRIXIE).args(["--arch", "amd64", "-o"]).arg(&path)).good();
        path
    })
}

/// How many times as long seeded runs go on: once in the first tier, tenfold in the slow one (`cargo xtask test-slow`).
pub fn effort() -> usize {
    if std::env::var_os("MKINITRD_TEST_TIER").is_some_and(|tier| tier == "slow") { 10 } else { 1 }
}
