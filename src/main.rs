//! The `countersign` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    countersign::cli::run(std::env::args_os())
}
