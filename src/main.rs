//! The `postern` program: the command line of the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    postern::cli::run(std::env::args_os())
}
