//! The messages, and the keys they are protected with: made by gpg and openssl.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(crate) const RECIPIENT: &str = "anna@clinic.example";
pub(crate) const SENDER: &str = "relay@hospital.example";

/// Where they are.
pub(crate) struct Keys {
    pub(crate) folder: PathBuf,
}

impl Keys {
    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Curve25519 for OpenPGP, RSA of 3072 bits for X.509, for both sides.
    pub(crate) fn make(folder: &Path) -> Self {
        let keys = Self {
            folder: folder.to_owned(),
        };
        for (name, address) in [("to", RECIPIENT), ("from", SENDER)] {
            let parameters = format!(
                "%no-protection\nKey-Type: eddsa\nKey-Curve: ed25519\nSubkey-Type: ecdh\n\
                 Subkey-Curve: cv25519\nName-Email: {address}\nExpire-Date: 1y\n%commit\n"
            );
            run(keys.gpg().arg("--gen-key"), parameters.as_bytes());
            let what = match name {
                "to" => "--export",
                _ => "--export-secret-keys",
            };
            let key = run(keys.gpg().args(["--armor", what, address]), b"");
            std::fs::write(keys.path(&format!("{name}.asc")), key).expect("a key can be written");
            let mut openssl = Command::new("openssl");
            openssl
                .args([
                    "req", "-x509", "-newkey", "rsa:3072", "-nodes", "-days", "30",
                ])
                .args(["-subj", &format!("/CN={name}")])
                .args(["-addext", &format!("subjectAltName=email:{address}")])
                .args(["-keyout", &keys.path(&format!("{name}.key"))])
                .args(["-out", &keys.path(&format!("{name}.pem"))]);
            run(&mut openssl, b"");
        }
        keys
    }

    /// gpg, with a home of its own.
    pub(crate) fn gpg(&self) -> Command {
        let mut gpg = Command::new("gpg");
        gpg.args(self.gpg_options());
        gpg
    }

    pub(crate) fn gpg_options(&self) -> Vec<String> {
        let home = self.folder.display().to_string();
        let words = [
            "--homedir",
            &home,
            "--batch",
            "--quiet",
            "--no-tty",
            "--yes",
        ];
        let words = words.into_iter().chain(["--trust-model", "always"]);
        words.map(str::to_owned).collect()
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let home = self.folder.display().to_string();
        let ended = Command::new("gpgconf")
            .args(["--homedir", &home, "--kill", "all"])
            .status();
        drop(ended);
    }
}

fn run(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{command:?}: {:?}", output.status);
    output.stdout
}

/// A message of so many octets: text and an attachment that can't be compressed, as a scan.
pub(crate) fn message(octets: usize) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut message = format!(
        "From: Dr Berg <berg@hospital.example>\r\nTo: {RECIPIENT}\r\n\
         Subject: your scan\r\nMessage-ID: <1@hospital.example>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=cut\r\n\r\n--cut\r\n\
         Content-Type: text/plain\r\n\r\nHere it is.\r\n\r\n--cut\r\n\
         Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    )
    .into_bytes();
    // xorshift64: the same octets in every run.
    let mut state: u64 = 0x9E37_79B9_7F4A_7C15;
    let end = b"\r\n--cut--\r\n";
    let mut column = 0;
    while message.len() + end.len() < octets {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let place = usize::try_from(state >> 58).unwrap_or(0);
        message.push(LETTERS[place]);
        column += 1;
        if column == 76 {
            message.extend_from_slice(b"\r\n");
            column = 0;
        }
    }
    message.extend_from_slice(end);
    message
}
