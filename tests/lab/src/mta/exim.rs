//! An Exim, run from the folder into which tests/run has unpacked it.
//!
//! The caller writes the configuration, beginning with [`main_section`], and starts it. It runs
//! in the foreground as its own user, delivers as that user too, and keeps everything in its
//! folder: `spool/`, `log/main`, and `mail/` for maildirs.

use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::server::{self, Server, System};

const PACKAGE: &str = "exim4-daemon-light";
/// The user that Debian has built it for, by name.
const USER: (&str, u32) = ("Debian-exim", 64_101);

/// A running Exim.
pub struct Exim {
    server: Server,
}

/// The options that every configuration here begins with.
pub fn main_section(folder: &Path, host: &str, listen: SocketAddr) -> String {
    let dir = folder.display();
    let (ip, port) = (listen.ip(), listen.port());
    format!(
        "primary_hostname = {host}
exim_path = {1}
spool_directory = {dir}/spool
log_file_path = {dir}/log/%s
exim_user = {0}
exim_group = {0}
deliver_drop_privilege
never_users =
keep_environment =
local_interfaces = {ip}
daemon_smtp_ports = {port}
host_lookup =
rfc1413_query_timeout = 0s
",
        USER.0,
        program().display(),
    )
}

fn program() -> PathBuf {
    server::unpacked(PACKAGE).join("usr/sbin/exim4")
}

/// A transport that writes what arrives into `mail/`, its envelope in front.
pub fn maildir_transport(folder: &Path, name: &str) -> String {
    format!(
        "{name}:
  driver = appendfile
  maildir_format
  directory = {}/mail
  create_directory
  return_path_add
  envelope_to_add
  user = {}
",
        folder.display(),
        USER.0
    )
}

impl Exim {
    /// The upstream version of the unpacked package.
    pub fn version() -> String {
        server::package_version(PACKAGE)
    }

    /// Starts one with this configuration, and waits until it listens. Files in the folder whose
    /// names end in `.key` are made its own.
    pub fn start(folder: TempDir, config: &str, listens: SocketAddr) -> Exim {
        let dir = folder.path();
        for name in ["spool", "log", "mail"] {
            server::subfolder(dir, name, USER.1, 0o750);
        }
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            if entry.path().extension().is_some_and(|e| e == "key") {
                chown(entry.path(), Some(USER.1), Some(USER.1)).unwrap();
            }
        }
        let file = dir.join("exim.conf");
        std::fs::write(&file, config).unwrap();
        // A queue runner each second: what could not be delivered at once is tried again.
        let (program, file) = (program(), file.to_string_lossy());
        let command = [&*program.to_string_lossy(), "-C", &*file, "-bdf", "-q1s"];
        let system = System {
            users: &[USER],
            ..System::default()
        };
        let server = Server::start(folder, &system, &command, &[listens]);
        Exim { server }
    }

    /// The folder, with `mail/` in it.
    pub fn dir(&self) -> &Path {
        self.server.dir()
    }

    /// The first of its processes: all others descend from it.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// What it printed, and its main log.
    pub fn log(&self) -> String {
        let main = std::fs::read_to_string(self.dir().join("log/main"));
        self.server.log() + &main.unwrap_or_default()
    }
}
