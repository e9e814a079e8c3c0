//! What it costs to protect a message's content: `cargo bench --bench protect -- --help`.
//!
//! Each line of the table is a process of its own, so that its time, CPU time and peak memory
//! are known: Postern's `protect`, as delivery calls it, and the command lines of gpg and openssl
//! that do the same. Messages, keys and certificates are made here, with these programs. What is
//! printed was measured in this run.

// A benchmark that can't go on has nothing better to do than to say why and end.
#![allow(clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod keys;
mod measure;
mod ours;
mod peers;

use std::path::{Path, PathBuf};
use std::process::Command as Process;

use clap::Parser as _;

use keys::Keys;
use measure::Figures;

/// Protects messages with Postern, gpg and openssl, and prints what it took.
#[derive(Debug, clap::Parser)]
#[command(name = "protect")]
struct Options {
    #[command(subcommand)]
    command: Option<Command>,

    /// Sizes of messages, in KiB.
    #[arg(long, default_values_t = [10, 1024, 20 * 1024])]
    kib: Vec<usize>,

    /// Size of the message for which memory is measured, in KiB.
    #[arg(long, default_value_t = 50 * 1024)]
    memory_kib: usize,

    /// How often a message of 1 MiB is protected; smaller ones more often, larger ones less.
    #[arg(long, default_value_t = 20)]
    times: u32,

    /// What `cargo bench` adds.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The child processes.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Protects a message with Postern.
    #[command(hide = true)]
    Ours(ours::Order),
    /// Runs a program again and again.
    #[command(hide = true)]
    Theirs {
        times: u32,
        /// What it writes.
        out: PathBuf,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        program: Vec<String>,
    },
}

fn main() {
    let options = Options::parse();
    match &options.command {
        Some(Command::Ours(order)) => println!("{}", ours::run(order).line()),
        Some(Command::Theirs {
            times,
            out,
            program,
        }) => {
            println!("{}", peers::run(*times, out, program).line());
        }
        None => run_all(&options),
    }
}

/// A line of the table.
struct Row {
    name: &'static str,
    signed: bool,
    child: Vec<String>,
}

fn run_all(options: &Options) {
    let folder = tempfile::Builder::new()
        .prefix("p")
        .tempdir_in("/tmp")
        .expect("a folder in /tmp");
    let keys = Keys::make(folder.path());
    println!(
        "{}; {}; {}\n",
        measure::machine(),
        peers::gpg(),
        peers::openssl()
    );
    println!("| message | what | signed | ms | CPU ms | MiB/s | out/in | peak MiB |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for kib in &options.kib {
        let times = options.times * 1024 / u32::try_from(*kib).expect("a size");
        measure_all(
            *kib,
            times.clamp(3, options.times * 5),
            folder.path(),
            &keys,
        );
    }
    measure_all(options.memory_kib, 1, folder.path(), &keys);
}

fn measure_all(kib: usize, times: u32, folder: &Path, keys: &Keys) {
    let message = folder.join("message.eml");
    std::fs::write(&message, keys::message(kib * 1024)).expect("the message can be written");
    for row in rows(&message, times, keys) {
        let figures = child(&row.child);
        println!(
            "| {} | {} | {} | {} |",
            measure::size(kib),
            row.name,
            if row.signed { "yes" } else { "no" },
            figures.columns(kib * 1024)
        );
    }
}

fn rows(message: &Path, times: u32, keys: &Keys) -> Vec<Row> {
    let mut rows = Vec::new();
    for signed in [false, true] {
        let ours = |name, method| Row {
            name,
            signed,
            child: ours::arguments(method, signed, message, times, keys),
        };
        let theirs = |name, program| Row {
            name,
            signed,
            child: peers::arguments(times, program, keys),
        };
        rows.extend([
            ours("Postern, PGP/MIME", "pgp"),
            theirs("gpg -z 0", peers::gpg_line(message, signed, false, keys)),
            theirs("gpg", peers::gpg_line(message, signed, true, keys)),
            ours("Postern, S/MIME", "smime"),
            theirs("openssl cms", peers::openssl_line(message, signed, keys)),
        ]);
    }
    rows
}

/// Runs this program as the child that does it.
fn child(arguments: &[String]) -> Figures {
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("protect"));
    let output = Process::new(program)
        .args(arguments)
        .output()
        .expect("the child process runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Figures::read(&text).unwrap_or_else(|| {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        panic!("{arguments:?} gave no figures: {text}{said}")
    })
}
