//! The programs that submit: each as its users run it, trusting the lab's authority alone.

use std::path::Path;
use std::process::Command;

use crate::bodies::Body;
use crate::house::{House, PASSWORD, SENDER, TO, USER};
use crate::page;

/// A program and a way to run it.
#[derive(Clone, Copy)]
pub(crate) enum Sender {
    Swaks,
    Msmtp,
    Smtplib,
    Curl,
    SNail,
    AioSmtpLib,
    Nodemailer,
}

/// STARTTLS and AUTH, or TLS from the first octet and AUTH.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    StartTls,
    Implicit,
}

impl Sender {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Sender::Swaks => "swaks",
            Sender::Msmtp => "msmtp",
            Sender::Smtplib => "smtplib",
            Sender::Curl => "curl",
            Sender::SNail => "s-nail",
            Sender::AioSmtpLib => "aiosmtplib",
            Sender::Nodemailer => "nodemailer",
        }
    }

    /// What it calls itself: the first number it prints.
    pub(crate) fn version(self) -> String {
        match self {
            Sender::Smtplib => version("python3"),
            Sender::AioSmtpLib => number(debian_python()),
            Sender::Nodemailer => number(node()),
            other => version(other.name()),
        }
    }

    /// What arrives of a body: s-nail says by quoted-printable that the final line end is missing.
    pub(crate) fn arriving(self, body: &Body) -> Body {
        match self {
            Sender::SNail if body.octets == b"the end" => Body {
                name: "no line end, quoted-printable",
                octets: b"the end=\r\n".to_vec(),
            },
            _ => body.clone(),
        }
    }

    /// The message as the program wants it in a file.
    fn file(self, message: &[u8]) -> Vec<u8> {
        match self {
            // It puts a line end behind the file whether it ends in one or not.
            Sender::Swaks => message.strip_suffix(b"\r\n").unwrap_or(message).to_vec(),
            // A text of the local system; the MIME fields it writes itself.
            Sender::SNail => {
                let end = memchr::memmem::find(message, b"\r\n\r\n").unwrap() + 2;
                let head = String::from_utf8_lossy(&message[..end]);
                let own = |line: &&str| !line.starts_with("MIME-") && !line.starts_with("Content-");
                let head: String = head.split_inclusive('\n').filter(own).collect();
                let mut text = [head.as_bytes(), &message[end..]].concat();
                text.retain(|octet| *octet != b'\r');
                text
            }
            _ => message.to_vec(),
        }
    }

    /// Submits a message from a file; the error is what the program says.
    pub(crate) fn submit(self, house: &House, way: Way, message: &[u8]) -> Result<(), String> {
        let file = house.daemon.dir().join("message.eml");
        std::fs::write(&file, self.file(message)).unwrap();
        let mut command = match self {
            Sender::Swaks => swaks(house, way, &file),
            Sender::Msmtp => msmtp(house, way, &file),
            Sender::Smtplib => script(python("submit.py"), house, way, &file),
            Sender::Curl => curl(house, way, &file),
            Sender::SNail => s_nail(house, way, &file),
            Sender::AioSmtpLib => script(debian_python(), house, way, &file),
            Sender::Nodemailer => nodemailer(house, way, &file),
        };
        let output = command
            .output()
            .map_err(|e| format!("{}: {e}; run tests/run interop", self.name()))?;
        match output.status.success() {
            true => Ok(()),
            false => Err(format!(
                "{}\n{}{}",
                output.status,
                String::from_utf8_lossy(&output.stderr),
                String::from_utf8_lossy(&output.stdout)
                    .chars()
                    .take(2000)
                    .collect::<String>()
            )),
        }
    }
}

fn swaks(house: &House, way: Way, file: &Path) -> Command {
    let (addr, tls) = match way {
        Way::StartTls => (house.submission, "--tls"),
        Way::Implicit => (house.submissions, "--tls-on-connect"),
    };
    let auth = match way {
        Way::StartTls => "PLAIN",
        Way::Implicit => "LOGIN",
    };
    let mut command = limited("swaks");
    command.args([
        "--server",
        &addr.ip().to_string(),
        "--port",
        &addr.port().to_string(),
    ]);
    command.args([
        tls,
        "--tls-verify",
        "--tls-ca-path",
        &house.roots().to_string_lossy(),
    ]);
    command.args([
        "--auth",
        auth,
        "--auth-user",
        USER,
        "--auth-password",
        PASSWORD,
    ]);
    command.args([
        "--from",
        SENDER,
        "--to",
        TO,
        "--ehlo",
        "desk.ward.example",
        "--timeout",
        "60",
    ]);
    command.args(["--silent", "2", "--data", &format!("@{}", file.display())]);
    command
}

fn msmtp(house: &House, way: Way, file: &Path) -> Command {
    let (addr, starttls) = match way {
        Way::StartTls => (house.submission, "on"),
        Way::Implicit => (house.submissions, "off"),
    };
    let config = house.daemon.dir().join("msmtprc");
    let text = page::block(
        "msmtp",
        &[
            ("relay.clinic.example", addr.ip().to_string()),
            ("port 587", format!("port {}", addr.port())),
            ("tls_starttls on", format!("tls_starttls {starttls}")),
            (
                "/etc/ssl/certs/ca-certificates.crt",
                house.roots().display().to_string(),
            ),
            ("user app", format!("user {USER}")),
            ("cat /etc/msmtp.password", format!("echo {PASSWORD}")),
            ("app@clinic.example", SENDER.to_owned()),
        ],
    );
    std::fs::write(&config, text).unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&config, PermissionsExt::from_mode(0o600)).unwrap();
    let mut command = limited("msmtp");
    command.args(["-C", &config.to_string_lossy(), "--", TO]);
    command.stdin(std::fs::File::open(file).unwrap());
    command
}

fn curl(house: &House, way: Way, file: &Path) -> Command {
    let url = match way {
        Way::StartTls => format!("smtp://{}", house.submission),
        Way::Implicit => format!("smtps://{}", house.submissions),
    };
    let text = page::block(
        "curl",
        &[
            ("smtp://relay.clinic.example:587", url),
            ("app:", format!("{USER}:")),
            ("app@clinic.example", SENDER.to_owned()),
            ("someone@partner.example", TO.to_owned()),
            ("message.eml", file.display().to_string()),
        ],
    );
    let mut command = limited("sh");
    command.args(["-c", &text]).env("SMTP_PASSWORD", PASSWORD);
    command.env("CURL_CA_BUNDLE", house.roots());
    command
}

fn s_nail(house: &House, way: Way, file: &Path) -> Command {
    let url = match way {
        Way::StartTls => format!("smtp://{USER}:{PASSWORD}@{}", house.submission),
        Way::Implicit => format!("smtps://{USER}:{PASSWORD}@{}", house.submissions),
    };
    let mut command = limited("s-nail");
    // -: /: no start-up files; -t: the recipients and other fields are in the text.
    command.args([
        "-:",
        "/",
        "-t",
        "-S",
        "v15-compat",
        "-S",
        &format!("mta={url}"),
    ]);
    command.args(["-S", &format!("tls-ca-file={}", house.roots().display())]);
    command.args(["-S", "tls-ca-no-defaults", "-S", "tls-verify=strict"]);
    command.args(["-S", "smtp-auth=plain", "-S", "hostname=desk.ward.example"]);
    command.args(["-S", "mime-encoding=8bit", "-S", "ttycharset=utf-8"]);
    command.args(["-S", "sendwait"]);
    if matches!(way, Way::StartTls) {
        command.args(["-S", "smtp-use-starttls"]);
    }
    command
        .env("LC_ALL", "C.UTF-8")
        .env("HOME", house.daemon.dir());
    command.stdin(std::fs::File::open(file).unwrap());
    command
}

/// One of the scripts beside this file, which take the same arguments.
fn script(mut command: Command, house: &House, way: Way, file: &Path) -> Command {
    let (addr, mode) = match way {
        Way::StartTls => (house.submission, "starttls"),
        Way::Implicit => (house.submissions, "tls"),
    };
    command.args([mode, &addr.ip().to_string(), &addr.port().to_string()]);
    command
        .arg(house.roots())
        .args([USER, PASSWORD, SENDER, TO])
        .arg(file);
    command
}

fn nodemailer(house: &House, way: Way, file: &Path) -> Command {
    let (addr, secure) = match way {
        Way::StartTls => (house.submission, "false"),
        Way::Implicit => (house.submissions, "true"),
    };
    let text = page::block(
        "nodemailer",
        &[
            ("relay.clinic.example", addr.ip().to_string()),
            ("port: 587", format!("port: {}", addr.port())),
            ("secure: false", format!("secure: {secure}")),
            ("user: 'app'", format!("user: '{USER}'")),
        ],
    );
    let mut command = node();
    command.args([&text, SENDER, TO]).arg(file);
    command.env("NODE_EXTRA_CA_CERTS", house.roots());
    command.env("SMTP_PASSWORD", PASSWORD);
    command
}

/// Debian's own Python, for which its package of aiosmtplib is.
fn debian_python() -> Command {
    let mut command = limited("/usr/bin/python3");
    command.arg(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/interop/submit_async.py"
    ));
    command
}

/// Node.js, which finds Debian's nodemailer by this path wherever it comes from itself.
fn node() -> Command {
    let mut command = limited("node");
    command.env("NODE_PATH", "/usr/share/nodejs:/usr/lib/nodejs");
    command.arg(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/interop/submit.js"
    ));
    command
}

/// One of the Python scripts beside this file.
pub(crate) fn python(script: &str) -> Command {
    let mut command = limited("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/").to_owned() + script);
    command
}

/// The number in what `PROGRAM --version` prints.
pub(crate) fn version(program: &str) -> String {
    let flag = if program == "openssl" {
        "version"
    } else {
        "--version"
    };
    let mut command = limited(program);
    command.arg(flag);
    number(command)
}

/// The first word with a digit and a point in what the command prints.
fn number(mut command: Command) -> String {
    let output = command.output();
    let text = output
        .map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
        .unwrap_or_default();
    let words = text
        .split_whitespace()
        .map(|word| word.trim_matches(['v', ',']));
    let mut numbers =
        words.filter(|w| w.starts_with(|c: char| c.is_ascii_digit()) && w.contains('.'));
    numbers.next().unwrap_or("?").to_owned()
}

/// Nothing here may run for ever.
pub(crate) fn limited(program: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["120", program]);
    command
}
