//! Source and sink as processes of their own, which are this program again.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::Ipv4Addr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::options::{Load, Setup};
use crate::sink::Taken;
use crate::source::Sent;

impl Load {
    /// Runs a source to its end.
    pub(crate) fn send(&self) -> Sent {
        let mut command = own(["source"]);
        command
            .args(["--to", &self.to.to_string()])
            .args(["--messages", &self.messages.to_string()])
            .args(["--first", &self.first.to_string()])
            .args(["--size", &self.size.to_string()])
            .args(["--connections", &self.connections.to_string()])
            .args(["--per-connection", &self.per_connection.to_string()])
            .args(["--recipients", &self.recipients.to_string()])
            .args(["--sites", &self.sites.to_string()])
            .args(["--domain", &self.domain]);
        if let Some(roots) = &self.roots {
            command.arg("--roots").arg(roots);
        }
        if self.lockstep {
            command.arg("--lockstep");
        }
        let output = command.stderr(Stdio::inherit()).output();
        let output = output.expect("the source can be run");
        serde_json::from_slice(&output.stdout).expect("the source prints its figures")
    }
}

/// This program again, as a part of itself.
fn own<const N: usize>(args: [&str; N]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.args(args.map(OsStr::new));
    command
}

/// The sink while it runs.
pub(crate) struct Sink {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Sink {
    /// Starts it, with a certificate where it is to offer TLS.
    pub(crate) fn start(setup: &Setup, identity: Option<&postern_lab::IdentityFiles>) -> Sink {
        let mut command = own(["sink"]);
        command
            .args(["--bind", &setup.bind.to_string()])
            .args(["--delay", &setup.delay.to_string()])
            .args(["--deferred", &setup.deferred.to_string()])
            .args(["--recipients", &setup.recipients.to_string()]);
        if let Some(identity) = identity {
            command.arg("--certificate").arg(&identity.certificate);
            command.arg("--key").arg(&identity.private_key);
        }
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("the sink can be run");
        let ask = child.stdin.take().expect("its stdin is a pipe");
        let answers = BufReader::new(child.stdout.take().expect("its stdout is a pipe"));
        let sink = Sink {
            child,
            ask,
            answers,
        };
        while std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, setup.bind.port())).is_err() {
            std::thread::sleep(Duration::from_millis(10));
        }
        sink
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has seen.
    pub(crate) fn taken(&mut self) -> Taken {
        self.ask("")
    }

    /// From now on it defers nothing.
    pub(crate) fn take_all(&mut self) {
        self.ask(crate::sink::TAKE_ALL);
    }

    fn ask(&mut self, question: &str) -> Taken {
        writeln!(self.ask, "{question}").expect("the sink listens");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the sink answers");
        serde_json::from_str(&line).expect("the sink tells its figures")
    }

    /// Waits until so many copies have come, as long as any come; gives when the last was seen.
    pub(crate) fn wait(&mut self, copies: u64) -> Instant {
        let (mut last, mut since) = (Taken::default(), Instant::now());
        loop {
            let taken = self.taken();
            if taken != last {
                (last, since) = (taken, Instant::now());
            }
            if taken.copies >= copies {
                return since;
            }
            assert!(
                since.elapsed() < Duration::from_secs(60),
                "{} of {copies} copies have come, and none for a minute: {taken:?}",
                taken.copies
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
