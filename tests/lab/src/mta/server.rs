//! Runs somebody else's mail server and leaves nothing behind.
//!
//! Each has a temporary folder. Those that insist on users and paths of the system get a mount
//! and a process namespace of their own (`unshare`), with the folder's files bound over the
//! system's: nothing outside sees the mounts, and when the first process of the namespace goes,
//! the kernel ends all others. Every server also dies with the test that started it
//! (PR_SET_PDEATHSIG). A machine that forbids namespaces is told of in the table; see
//! [`may_unshare`].

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A running server with its folder; gone with all its processes when dropped.
pub struct Server {
    folder: TempDir,
    child: Child,
}

/// What a server needs of the system it believes itself to be on.
#[derive(Default)]
pub struct System<'a> {
    /// Users, each with a group of the same name and number.
    pub users: &'a [(&'a str, u32)],
    /// Files and folders, and what they are bound over; relative ones are in the server's folder.
    pub mounts: &'a [(&'a str, &'a str)],
    /// Variables of the environment.
    pub environment: &'a [(&'a str, &'a str)],
}

/// A new folder that every user may look into.
pub fn folder(prefix: &str) -> TempDir {
    let folder = tempfile::Builder::new().prefix(prefix).tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    folder
}

/// A folder in it that belongs to a user and the group of the same number.
pub fn subfolder(folder: &Path, name: &str, owner: u32, mode: u32) -> PathBuf {
    owned_folder(folder, name, (owner, owner), mode)
}

/// A folder in it that belongs to a user and a group.
pub fn owned_folder(folder: &Path, name: &str, owner: (u32, u32), mode: u32) -> PathBuf {
    let path = folder.join(name);
    std::fs::create_dir_all(&path).unwrap();
    let owned = chown(&path, Some(owner.0), Some(owner.1));
    owned.unwrap_or_else(|e| panic!("{e}: needs root"));
    std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    path
}

/// Where tests/run has unpacked a Debian package.
pub fn unpacked(package: &str) -> PathBuf {
    unpacked_folder().join(package)
}

fn unpacked_folder() -> PathBuf {
    // Whole, for programs that are run elsewhere.
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    tests.unwrap_or(Path::new("..")).join("interop/.unpacked")
}

/// The upstream version of an unpacked package, from the name of its file.
pub fn package_version(package: &str) -> String {
    let entries = std::fs::read_dir(unpacked_folder()).into_iter().flatten();
    let names = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    let prefix = format!("{package}_");
    let version = names
        .filter_map(|name| Some(name.strip_prefix(&prefix)?.split('_').next()?.to_owned()))
        .max();
    let version = version.unwrap_or_else(|| panic!("{package} is missing; run tests/run interop"));
    let upstream = version.rsplit_once('-').map_or(&*version, |(up, _)| up);
    upstream.to_owned()
}

/// Why this machine lets nobody make the namespaces that some servers need; None if it does.
pub fn may_unshare() -> Option<String> {
    let try_it = "mount --bind /etc/hostname /etc/hostname";
    let output = Command::new("unshare")
        .args(NAMESPACES)
        .args(["sh", "-c", try_it])
        .output();
    match output {
        Err(e) => Some(format!("unshare: {e}")),
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Some(said.lines().next().unwrap_or("unshare failed").to_owned())
        }
    }
}

const NAMESPACES: [&str; 5] = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];

impl Server {
    /// Runs a command that stays in the foreground, in namespaces of its own if the system it
    /// needs differs from this one, and waits until it listens. What it prints is in
    /// [`Server::log`].
    pub fn start(
        folder: TempDir,
        system: &System,
        command: &[&str],
        listens: &[SocketAddr],
    ) -> Server {
        let mut whole = vec!["setpriv".to_owned(), "--pdeathsig=KILL".to_owned()];
        if !system.users.is_empty() || !system.mounts.is_empty() {
            write_users(folder.path(), system.users);
            let script = folder.path().join("start.sh");
            std::fs::write(&script, mount_script(folder.path(), system)).unwrap();
            whole.push("unshare".to_owned());
            whole.extend(NAMESPACES.map(str::to_owned));
            whole.extend(["sh".to_owned(), script.to_string_lossy().into_owned()]);
        }
        whole.extend(command.iter().map(|word| (*word).to_owned()));
        let out = std::fs::File::create(folder.path().join("out")).unwrap();
        let child = Command::new(&whole[0])
            .args(&whole[1..])
            .envs(system.environment.iter().copied())
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn();
        let child = child.unwrap_or_else(|e| panic!("{}: {e}", command[0]));
        let mut server = Server { folder, child };
        for addr in listens {
            server.wait_listening(*addr, command[0]);
        }
        server
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// The first of its processes: all others descend from it.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        let octets = std::fs::read(self.dir().join("out")).unwrap_or_default();
        String::from_utf8_lossy(&octets).into_owned()
    }

    fn wait_listening(&mut self, addr: SocketAddr, what: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while std::net::TcpStream::connect(addr).is_err() {
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "{what} did not come up ({ended:?}); run tests/run interop, as root\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The first process of the namespace is the only child of `unshare`, which ends after it,
        // and that after all others: the folder is in nobody's hands when it is removed.
        let id = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let first = children.unwrap_or_default();
        let in_namespace = std::fs::read_to_string(format!("/proc/{id}/comm"))
            .is_ok_and(|name| name.trim() == "unshare");
        match first.split_whitespace().next() {
            Some(first) if in_namespace => {
                let _ = Command::new("kill").args(["-KILL", first]).status();
            }
            _ => {
                let _ = self.child.kill();
            }
        }
        let _ = self.child.wait();
    }
}

/// The system's users and these, in files to be bound over the system's.
fn write_users(folder: &Path, users: &[(&str, u32)]) {
    let dir = folder.display();
    let mut passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    let mut group = std::fs::read_to_string("/etc/group").unwrap();
    for (name, id) in users {
        let _ = writeln!(passwd, "{name}:x:{id}:{id}::{dir}:/bin/sh");
        let _ = writeln!(group, "{name}:x:{id}:");
    }
    std::fs::write(folder.join("passwd"), passwd).unwrap();
    std::fs::write(folder.join("group"), group).unwrap();
    // Nobody answers there, so that a server which asks for names is told at once that it
    // can't have them.
    std::fs::write(folder.join("resolv.conf"), "nameserver 127.255.255.254\n").unwrap();
}

/// Binds, then runs its arguments. The shell stays, as the first process that reaps others.
fn mount_script(folder: &Path, system: &System) -> String {
    let own = [
        ("passwd", "/etc/passwd"),
        ("group", "/etc/group"),
        ("resolv.conf", "/etc/resolv.conf"),
    ];
    let hosts = [("hosts", "/etc/hosts")];
    let hosts = hosts.iter().filter(|_| folder.join("hosts").exists());
    let mut text = String::from("set -e\n");
    for (from, over) in own.iter().chain(hosts).chain(system.mounts) {
        let from = folder.join(from);
        let _ = writeln!(text, "mount --bind '{}' '{over}'", from.display());
    }
    text + "set +e\n\"$@\"\necho \"ended: $?\"\n"
}
