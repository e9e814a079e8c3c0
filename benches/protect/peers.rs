//! The command lines of gpg and openssl that do the same, each a process a message.
//!
//! gpg signs by its agent, a daemon whose CPU time and memory are not counted.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::resource::UsageWho;

use crate::keys::{Keys, RECIPIENT, SENDER};
use crate::measure::{self, Figures};

/// The first line of what a program says of its version.
fn version(program: &str, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let text = text.unwrap_or_default();
    text.lines().next().unwrap_or("none").to_owned()
}

pub(crate) fn gpg() -> String {
    version("gpg", "--version")
}

pub(crate) fn openssl() -> String {
    version("openssl", "version")
}

/// The child that runs it.
pub(crate) fn arguments(times: u32, program: Vec<String>, keys: &Keys) -> Vec<String> {
    let (times, out) = (times.to_string(), keys.path("out"));
    let head = ["theirs".to_owned(), times, out, "--".to_owned()];
    head.into_iter().chain(program).collect()
}

/// Armored, as PGP/MIME has it; compressed as gpg does by itself, or not, as Postern.
pub(crate) fn gpg_line(message: &Path, signed: bool, compressed: bool, keys: &Keys) -> Vec<String> {
    let mut line = vec!["gpg".to_owned()];
    line.extend(keys.gpg_options());
    let mut words = vec!["--armor", "--recipient", RECIPIENT, "--output"];
    let (out, message) = (keys.path("out"), message.display().to_string());
    words.push(&out);
    if !compressed {
        words.extend(["-z", "0"]);
    }
    if signed {
        words.extend(["--local-user", SENDER, "--sign"]);
    }
    words.extend(["--encrypt", &message]);
    line.extend(words.into_iter().map(str::to_owned));
    line
}

pub(crate) fn openssl_line(message: &Path, signed: bool, keys: &Keys) -> Vec<String> {
    let (message, out) = (message.display(), keys.path("out"));
    let (to, from, key) = (
        keys.path("to.pem"),
        keys.path("from.pem"),
        keys.path("from.key"),
    );
    let encrypt = "openssl cms -encrypt -aes-256-cbc";
    let line = match signed {
        false => format!("exec {encrypt} -in {message} -out {out} {to}"),
        true => format!(
            "openssl cms -sign -signer {from} -inkey {key} -in {message} | {encrypt} -out {out} {to}"
        ),
    };
    ["sh", "-c", &line].map(str::to_owned).into()
}

/// Runs it so many times, and tells the mean.
pub(crate) fn run(times: u32, out: &Path, program: &[String]) -> Figures {
    let [name, arguments @ ..] = program else {
        panic!("no program")
    };
    let (start, cpu) = (Instant::now(), measure::cpu(UsageWho::RUSAGE_CHILDREN));
    for _ in 0..times {
        let status = Command::new(name)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(status.is_ok_and(|status| status.success()), "{program:?}");
    }
    let wall = start.elapsed() / times;
    let out = std::fs::metadata(out).map_or(0, |found| found.len());
    Figures {
        wall,
        cpu: (measure::cpu(UsageWho::RUSAGE_CHILDREN) - cpu) / times,
        peak: measure::peak(UsageWho::RUSAGE_CHILDREN),
        out,
    }
}
