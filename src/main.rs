//! The `postern` program: the command line of the library beside it, and what it
//! allocates by.

use std::process::ExitCode;

/// A relay allocates small pieces on one thread and frees them on another, for months.
/// glibc's heaps came apart by that: beside a queue that waits, mail was taken more
/// slowly, and what was freed was not given back (docs/benchmarks.md, growth).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    postern::cli::run(std::env::args_os())
}
