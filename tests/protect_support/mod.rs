//! Shared by the tests that open protected messages with other people's software.

#![allow(dead_code)]

pub(crate) mod programs;

use std::io::Write;
use std::process::{Command, Stdio};

use postern::sys::{Clock, SystemClock};
use postern::types::{Mailbox, Timestamp};

/// How a line for people begins.
pub(crate) const PEER: &str = "| protect |";

/// A message with 8-bit text, an attachment and what readers like to change:
/// blanks and dashes at line ends and starts, dots, From, empty lines at the end.
pub(crate) const MESSAGE: &[u8] = b"Received: from ward by hospital.example; now\r\n\
    From: Dr Berg <berg@hospital.example>\r\nTo: anna@clinic.example\r\n\
    Bcc: hidden@clinic.example\r\nSubject: your blood test\r\nMIME-Version: 1.0\r\n\
    Content-Type: multipart/mixed; boundary=\"cut\"\r\n\r\n\
    --cut\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
    H\xc3\xa4moglobin \t\r\n.\r\n..\r\n- dash\r\nFrom here \r\n\r\n\r\n\
    --cut\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n\
    JVBERi0xLjQK\r\n--cut--\r\n\r\n";

/// Its body.
pub(crate) const BODY: &[u8] =
    b"--cut\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
    H\xc3\xa4moglobin \t\r\n.\r\n..\r\n- dash\r\nFrom here \r\n\r\n\r\n\
    --cut\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n\
    JVBERi0xLjQK\r\n--cut--\r\n\r\n";

/// Whose mail it is.
pub(crate) fn anna() -> Mailbox {
    Mailbox::parse("anna@clinic.example").unwrap()
}

/// The present: other people's software has a clock of its own.
pub(crate) fn now() -> Timestamp {
    SystemClock.now()
}

/// Whether a program is installed; says so if not.
pub(crate) fn is_there(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {program} >/dev/null")])
        .status()
        .is_ok_and(|s| s.success());
    if !found {
        println!("{PEER} {program} | - | NOT RUN: not installed |");
    }
    found
}

/// Runs a program on an input; gives its output and what it says on stderr.
pub(crate) fn run(program: &str, arguments: &[&str], input: &[u8]) -> (Vec<u8>, String) {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    let _ = feeder.join();
    (
        output.stdout,
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// Whether a text is in octets.
pub(crate) fn has(octets: &[u8], text: &str) -> bool {
    octets.windows(text.len()).any(|w| w == text.as_bytes())
}

/// The media types of a message and of its part of that number, and the part's
/// decoded content, as Python's email package reads them. Number 0 of a message
/// without parts is its body.
pub(crate) fn part(message: &[u8], number: usize) -> (String, Vec<u8>) {
    const READER: &str = "\
import sys, email
m = email.message_from_bytes(sys.stdin.buffer.read())
n = int(sys.argv[1])
p = m.get_payload()[n] if m.is_multipart() else m
sys.stderr.write(m.get_content_type() + ' ' + p.get_content_type())
sys.stdout.buffer.write(p.get_payload(decode=True))
";
    let arguments = ["-c", READER, &number.to_string()];
    let (content, types) = run("python3", &arguments, message);
    (types, content)
}

/// What was opened is what was sent, with its headers.
#[track_caller]
pub(crate) fn at_inner(content: &[u8]) {
    assert!(
        content.ends_with(BODY),
        "{}",
        String::from_utf8_lossy(content)
    );
    let head = &content[..content.len() - BODY.len()];
    for wanted in [
        "HP-Outer: Subject: [...]\r\n",
        "\r\nSubject: your blood test\r\n",
        "Content-Type: multipart/mixed;\r\n hp=\"cipher\"; boundary=\"cut\"\r\n",
    ] {
        assert!(has(head, wanted), "{wanted}");
    }
    assert!(!has(content, "hidden@") && !has(head, "Received"));
}
