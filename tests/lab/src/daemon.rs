//! A real daemon, run as a child process on a temporary folder.
//!
//! The lab knows of the daemon only what any operator does: `BINARY --config FILE SUBCOMMAND`,
//! READY=1 over `NOTIFY_SOCKET`, SIGTERM and kill -9. Its stderr goes to a file in the folder and
//! is part of every panic here, so that a failed test says why.

use std::ffi::OsStr;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;

use crate::runtime::block_on_lab;

/// A daemon with its folder, running or not. Dropping it kills the process and removes the folder.
pub struct Daemon {
    binary: PathBuf,
    folder: TempDir,
    environment: Vec<(String, String)>,
    child: Option<Child>,
    ready_limit: Duration,
    notices: Notices,
}

/// What the daemon has told the service manager since it was ready, a datagram an entry.
type Notices = Arc<Mutex<Vec<String>>>;

impl Daemon {
    /// A daemon that is not started, in a new temporary folder. Tests of the package pass
    /// `env!("CARGO_BIN_EXE_postern")`.
    pub fn new(binary: impl AsRef<Path>) -> Daemon {
        let folder = tempfile::Builder::new().prefix("postern-").tempdir();
        Daemon {
            // It is run from the temporary folder, where a relative path would mean another file.
            binary: std::path::absolute(binary).expect("the binary's path is not empty"),
            folder: folder.expect("a temporary folder can be made"),
            environment: Vec::new(),
            child: None,
            ready_limit: Duration::from_secs(20),
            notices: Notices::default(),
        }
    }

    /// Writes the configuration, `postern.toml` in the folder, to which its paths are relative.
    /// With `data_dir = "data"` the spool is where [`Daemon::data_dir`] says.
    pub fn config(&mut self, text: &str) -> &mut Self {
        std::fs::write(self.config_file(), text).expect("the configuration can be written");
        self
    }

    /// Sets a variable in the environment of the daemon and of the commands.
    pub fn env(&mut self, name: &str, value: &str) -> &mut Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// How long [`Daemon::start`] waits for READY=1 (20 s unless set).
    pub fn ready_limit(&mut self, limit: Duration) -> &mut Self {
        self.ready_limit = limit;
        self
    }

    /// The folder: configuration, stderr, and what the test puts there.
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// The folder `data` in it.
    pub fn data_dir(&self) -> PathBuf {
        self.dir().join("data")
    }

    /// The configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.dir().join("postern.toml")
    }

    /// Starts the daemon and waits until it is ready; panics with its stderr if it does not come
    /// to that.
    pub async fn start(&mut self) {
        if let Err(reason) = self.try_start().await {
            panic!("{reason}\n--- stderr ---\n{}", self.log());
        }
    }

    /// Starts the daemon and waits until it is ready. If it ends before, or takes too long, it is
    /// no longer running and the error says what happened.
    pub async fn try_start(&mut self) -> Result<(), String> {
        assert!(self.child.is_none(), "the daemon is running already");
        let path = self.dir().join("notify.sock");
        let socket = notify_socket(&path).map_err(|e| format!("the notify socket: {e}"))?;
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_file());
        let log = log.map_err(|e| format!("the log file: {e}"))?;
        let mut command = self.command(["serve"]);
        command.env("NOTIFY_SOCKET", &path);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let child = command.spawn();
        self.child = Some(child.map_err(|e| format!("{}: {e}", self.binary.display()))?);
        let deadline = Instant::now() + self.ready_limit;
        loop {
            if is_ready(&socket) {
                self.notices = Notices::default();
                collect(socket, &self.notices).map_err(|e| format!("the notify socket: {e}"))?;
                return Ok(());
            }
            if let Some(status) = self.exited() {
                return Err(format!("the daemon ended before it was ready: {status}"));
            }
            if Instant::now() > deadline {
                self.kill9();
                return Err(format!(
                    "the daemon was not ready after {:?}",
                    self.ready_limit
                ));
            }
            tokio::time::sleep(STEP).await;
        }
    }

    /// What the daemon has told the service manager since it was last ready at its start, a
    /// datagram an entry (sd_notify(3)).
    pub fn notices(&self) -> Vec<String> {
        let notices = self.notices.lock();
        notices.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Everything the daemon has written to stderr, over all its starts.
    pub fn log(&self) -> String {
        let octets = std::fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&octets).into_owned()
    }

    /// Waits until stderr contains the text; panics when the time is up.
    pub async fn wait_log(&self, text: &str, limit: Duration) {
        let deadline = Instant::now() + limit;
        while !self.log().contains(text) {
            let log = self.log();
            assert!(
                Instant::now() < deadline,
                "no {text:?} on stderr in {limit:?}:\n{log}"
            );
            tokio::time::sleep(STEP).await;
        }
    }

    /// The process id while the daemon runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Whether the process is there.
    pub fn is_running(&mut self) -> bool {
        self.exited();
        self.child.is_some()
    }

    /// SIGKILL: the process is gone on return, with nothing tidied up.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            child.wait().expect("a child can be waited for");
        }
    }

    /// Sends a signal by its name, such as `HUP`.
    pub fn signal(&self, name: &str) {
        let pid = self.pid().expect("the daemon is running");
        let kill = format!("kill -{name} {pid}");
        let status = Command::new("sh").args(["-c", &kill]).status();
        assert!(status.is_ok_and(|status| status.success()), "{kill} failed");
    }

    /// SIGTERM, then waits for the end, 30 s at most.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait_exit(Duration::from_secs(30)).await
    }

    /// Waits for the daemon to end; panics with its stderr when the time is up.
    pub async fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.exited() {
                return status;
            }
            let log = self.log();
            assert!(
                Instant::now() < deadline,
                "the daemon did not end in {limit:?}:\n{log}"
            );
            tokio::time::sleep(STEP).await;
        }
    }

    /// Stops the daemon in good order, if it runs, and starts it again.
    pub async fn restart(&mut self) {
        if self.is_running() {
            self.terminate().await;
        }
        self.start().await;
    }

    /// Runs `BINARY --config FILE ARGS…` to its end, one minute at most. Blocks the thread; the
    /// lab's servers go on meanwhile.
    pub fn run(&self, args: &[&str]) -> Output {
        self.run_with_stdin(args, "")
    }

    /// The same with something on stdin.
    pub fn run_with_stdin(&self, args: &[&str], stdin: impl AsRef<[u8]>) -> Output {
        let mut command = tokio::process::Command::from(self.command(args));
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.kill_on_drop(true);
        let input = stdin.as_ref().to_vec();
        let result = block_on_lab(async move {
            let work = run_to_end(command, input);
            let late = || io::Error::new(io::ErrorKind::TimedOut, "took over a minute");
            tokio::time::timeout(RUN_LIMIT, work)
                .await
                .unwrap_or_else(|_| Err(late()))
        });
        result.unwrap_or_else(|error| panic!("{} {args:?}: {error}", self.binary.display()))
    }

    /// Like [`Daemon::run`], for commands that must succeed: gives stdout, panics otherwise.
    pub fn run_ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{args:?}: {}\n{stderr}",
            output.status
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn command(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("--config").arg(self.config_file()).args(args);
        command.env_remove("NOTIFY_SOCKET");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.dir());
        command
    }

    fn log_file(&self) -> PathBuf {
        self.dir().join("stderr.log")
    }

    /// How the process ended, if it has; then it is forgotten.
    fn exited(&mut self) -> Option<ExitStatus> {
        let status = self
            .child
            .as_mut()?
            .try_wait()
            .expect("a child can be asked")?;
        self.child = None;
        Some(status)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

async fn run_to_end(mut command: tokio::process::Command, input: Vec<u8>) -> io::Result<Output> {
    let mut child = command.spawn()?;
    let stdin = child.stdin.take();
    let feed = async move {
        if let Some(mut stdin) = stdin {
            // A command that does not read its stdin closes it; that is its right.
            let _ = stdin.write_all(&input).await;
        }
    };
    let ((), output) = tokio::join!(feed, child.wait_with_output());
    output
}

/// Takes the place of systemd's socket (sd_notify(3)).
fn notify_socket(path: &Path) -> io::Result<UnixDatagram> {
    // An earlier start has left its own.
    let _ = std::fs::remove_file(path);
    let socket = UnixDatagram::bind(path)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Reads on for as long as somebody may ask, so that the daemon never waits for us.
fn collect(socket: UnixDatagram, notices: &Notices) -> io::Result<()> {
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(STEP * 20))?;
    let notices = Arc::downgrade(notices);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Some(notices) = notices.upgrade() {
            if let Ok(length) = socket.recv(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                let mut notices = notices.lock().unwrap_or_else(PoisonError::into_inner);
                notices.push(text);
            }
        }
    });
    Ok(())
}

/// Whether READY=1 is among the notices that have come.
fn is_ready(socket: &UnixDatagram) -> bool {
    let mut buffer = [0; 4096];
    while let Ok(length) = socket.recv(&mut buffer) {
        if buffer[..length]
            .split(|octet| *octet == b'\n')
            .any(|line| line == b"READY=1")
        {
            return true;
        }
    }
    false
}

const STEP: Duration = Duration::from_millis(10);
const RUN_LIMIT: Duration = Duration::from_secs(60);
