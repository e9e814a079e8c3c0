//! How fast mail goes through: `cargo bench --bench relay -- --help`.
//!
//! A load source sends messages to a server, which relays them to a sink; source, sink and server
//! are processes of their own on this machine, and the same load goes to Postern and, with
//! `--peer`, to another mail server that is set up here from its unpacked Debian package. Rounds
//! alternate between the servers. What is printed was measured in this run; docs/benchmarks.md
//! tells what the columns mean.

// A benchmark that can't go on has nothing better to do than to say why and end; and it is the
// world that Postern's ports stand for.
#![allow(clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod cases;
mod contender;
mod exim;
mod group;
mod growth;
mod measure;
mod message;
mod opensmtpd;
mod options;
mod parts;
mod postern;
mod postfix;
mod report;
mod round;
mod sink;
mod soak;
mod source;
mod stream;

use clap::Parser as _;

use options::{Command, Options};

fn main() {
    let options = Options::parse();
    match &options.command {
        Some(Command::Source(load)) => source::run(load),
        Some(Command::Sink(setup)) => sink::run(setup),
        None if let Some(minutes) = options.soak => soak::run(&options, minutes),
        None if options.growth => growth::run(&options),
        None => round::run_all(&options),
    }
}
