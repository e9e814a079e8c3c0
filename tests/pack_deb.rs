//! The Debian package: what is in it, and that it installs, runs and goes.
//!
//! Built of the binary under test, whatever its profile. Installing changes the machine, so it is
//! done only where `POSTERN_INSTALL` is set (`tests/run package`), to root, and where there is no
//! Postern yet.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use postern_lab::{Ca, loopback};

const CONFIG: &str = "/etc/postern/postern.toml";

fn run(program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).output();
    output.unwrap_or_else(|e| panic!("{program}: {e}"))
}

fn said(output: &Output) -> String {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

fn run_ok(program: &str, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    let said = said(&output);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    said
}

/// The package in `folder`; `None` where cargo-deb is missing.
fn build(folder: &Path) -> Option<PathBuf> {
    let known = Command::new("cargo").args(["deb", "--version"]).output();
    if !known.is_ok_and(|output| output.status.success()) {
        eprintln!("cargo deb is not installed: skipped (tests/run package installs it)");
        return None;
    }
    let release = folder.join("target/release");
    fs::create_dir_all(&release).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_postern"), release.join("postern")).unwrap();
    let package = folder.join("postern.deb");
    let begin = Instant::now();
    let output = Command::new("cargo")
        .args([
            "deb",
            "--no-build",
            "--no-strip",
            "--fast",
            "--locked",
            "-o",
        ])
        .arg(&package)
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    eprintln!("cargo deb took {:?}", begin.elapsed());
    Some(package)
}

#[test]
fn the_package_is_whole_and_works() {
    let folder = tempfile::tempdir().unwrap();
    let Some(package) = build(folder.path()) else {
        return;
    };
    contents(&package, &folder.path().join("unpacked"));
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let taken = Path::new("/etc/postern").exists() || user_exists();
    if std::env::var_os("POSTERN_INSTALL").is_none() || !root || taken {
        eprintln!("not installed here: root={root} already-there={taken}");
        return;
    }
    let _gone = Gone;
    install(&package);
    check_as_both();
    serve();
    remove();
}

fn contents(package: &Path, unpacked: &Path) {
    let package = package.to_str().unwrap();
    run_ok("dpkg-deb", &["-x", package, unpacked.to_str().unwrap()]);
    for (path, mode) in [
        ("usr/bin/postern", 0o755),
        ("usr/lib/systemd/system/postern.service", 0o644),
        ("usr/lib/systemd/system/postern.socket", 0o644),
        ("usr/lib/sysusers.d/postern.conf", 0o644),
        ("usr/lib/tmpfiles.d/postern.conf", 0o644),
        ("etc/postern/postern.toml", 0o640),
        ("usr/share/man/man8/postern.8.gz", 0o644),
        ("usr/share/man/man8/postern-queue-list.8.gz", 0o644),
        ("usr/share/bash-completion/completions/postern", 0o644),
        ("usr/share/zsh/vendor-completions/_postern", 0o644),
        ("usr/share/fish/vendor_completions.d/postern.fish", 0o644),
        ("usr/share/doc/postern/install.md", 0o644),
        ("usr/share/doc/postern/copyright", 0o644),
    ] {
        let found = fs::metadata(unpacked.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
        assert_eq!(found.permissions().mode() & 0o777, mode, "{path}");
    }
    let listed = run_ok("dpkg-deb", &["-c", package]);
    assert!(
        listed.lines().all(|line| line.contains(" 0/0 ")),
        "{listed}"
    );
    let info = run_ok("dpkg-deb", &["-I", package, "conffiles", "control"]);
    assert!(info.contains(CONFIG) && info.contains("libc6"), "{info}");
}

fn user_exists() -> bool {
    run("getent", &["passwd", "postern"]).status.success()
}

fn owner_and_mode(path: &str) -> String {
    run_ok("stat", &["-c", "%U:%G %a", path]).trim().to_owned()
}

fn install(package: &Path) {
    let begin = Instant::now();
    run_ok("dpkg", &["-i", package.to_str().unwrap()]);
    eprintln!("dpkg -i took {:?}", begin.elapsed());
    for (path, expected) in [
        ("/etc/postern", "root:postern 750"),
        (CONFIG, "root:postern 640"),
        ("/etc/postern/tls", "root:postern 750"),
        ("/var/lib/postern", "postern:postern 750"),
    ] {
        assert_eq!(owner_and_mode(path), expected, "{path}");
    }
    assert!(!Path::new("/var/lib/postern/spool").exists(), "not started");
}

/// As the service's user, and as root, who is told what that user can't read.
fn check_as_both() {
    run_ok("runuser", &["-u", "postern", "--", "postern", "check"]);
    run_ok("postern", &["check"]);
    let identity = Ca::new().issue(&["relay.clinic.example"]);
    identity.write(Path::new("/etc/postern/tls"), "relay");
    let listen = SocketAddr::from((loopback(), 587));
    let text = format!(
        "hostname = \"relay.clinic.example\"\n\
         [tls]\ncertificate = \"tls/relay.pem\"\nprivate_key = \"tls/relay.key\"\n\
         [[listener]]\nbind = \"{listen}\"\nkind = \"submission\"\n"
    );
    fs::write(CONFIG, text).unwrap();
    let key = "/etc/postern/tls/relay.key";
    fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
    let output = run("postern", &["check"]);
    assert_eq!(output.status.code(), Some(78), "{}", said(&output));
    let told = format!("{CONFIG}:4: tls.private_key: {key}: the user postern may not");
    assert!(said(&output).contains(&told), "{}", said(&output));
    run_ok("chgrp", &["postern", key]);
    run_ok("chmod", &["640", key]);
    run_ok("postern", &["check"]);
    run_ok(
        "postern",
        &["account", "add", "lab", "--sender", "@clinic.example"],
    );
    let accounts = "/var/lib/postern/accounts.toml";
    assert_eq!(owner_and_mode(accounts), "root:postern 640");
    run_ok("postern", &["check"]);
    run_ok("runuser", &["-u", "postern", "--", "postern", "check"]);
}

/// With the rights that the unit gives it, and no others.
fn serve() {
    let bind = fs::read_to_string(CONFIG).unwrap();
    let bind = bind.split("bind = \"").nth(1).unwrap();
    let listen: SocketAddr = bind.split('"').next().unwrap().parse().unwrap();
    let mut daemon = Command::new("setpriv")
        .args(["--reuid=postern", "--regid=postern", "--init-groups"])
        .args(["--inh-caps=-all,+net_bind_service", "--no-new-privs"])
        .args(["--ambient-caps=-all,+net_bind_service"])
        .args(["--bounding-set=-all,+net_bind_service"])
        .args(["postern", "serve"])
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let stream = loop {
        // The lab is the outside world.
        #[allow(clippy::disallowed_methods)]
        match TcpStream::connect(listen) {
            Ok(stream) => break stream,
            Err(e) => assert!(Instant::now() < deadline, "{listen}: {e}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let mut banner = String::new();
    BufReader::new(stream).read_line(&mut banner).unwrap();
    assert!(banner.starts_with("220 relay.clinic.example"), "{banner}");
    run_ok("postern", &["queue", "stats"]);
    assert_eq!(
        owner_and_mode("/var/lib/postern/keys/master"),
        "postern:postern 600"
    );
    run_ok("kill", &["-TERM", &daemon.id().to_string()]);
    assert!(daemon.wait().unwrap().success());
    run_ok("postern", &["check"]);
}

/// What was accepted stays, whatever is removed.
fn remove() {
    run_ok("dpkg", &["-r", "postern"]);
    assert!(!Path::new("/usr/bin/postern").exists() && Path::new(CONFIG).exists());
    run_ok("dpkg", &["-P", "postern"]);
    assert!(!Path::new(CONFIG).exists());
    assert!(Path::new("/var/lib/postern/keys/master").exists());
}

/// Leaves the machine as it was.
struct Gone;

impl Drop for Gone {
    fn drop(&mut self) {
        run("dpkg", &["-P", "postern"]);
        for folder in ["/etc/postern", "/var/lib/postern"] {
            let _ = fs::remove_dir_all(folder);
        }
        run("userdel", &["postern"]);
    }
}
