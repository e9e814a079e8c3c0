//! The `postern` program: the command line of the library beside it, and what it
//! allocates by.

use std::process::ExitCode;

/// A relay allocates small pieces on one thread and frees them on another. glibc's heaps
/// came apart by that: beside a queue that waits mail was taken more slowly, and while a
/// long queue left more memory was held (docs/benchmarks.md, growth).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    postern::cli::run(std::env::args_os())
}
