//! The `countersign` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args_os()
        .skip(1)
        .filter_map(|arg| arg.into_string().ok())
        .collect();
    match args.as_slice() {
        [keep, dashes, command, args @ ..] if keep == "__keep" && dashes == "--" => {
            countersign::downstream::keep(command, args)
        }
        _ => ExitCode::FAILURE,
    }
}
