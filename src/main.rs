//! The program. Everything is in the library; `cli` alone prints and decides the exit code.

fn main() -> std::process::ExitCode {
    mkinitrd_pkg::cli::run()
}
