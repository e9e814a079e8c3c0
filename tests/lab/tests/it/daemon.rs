//! The daemon runner with a shell script in the binary's place.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use postern_lab::{Client, Daemon, SmtpServer};
use tempfile::TempDir;

use crate::{SOON, anywhere};

/// A program that knows `--config FILE serve` and a few subcommands.
fn stand_in(serve: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("daemon.sh");
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = --config ] || exit 2\nconfig=$2\ncase $3 in\n\
         serve) {serve} ;;\ncat) cat ;;\nshow) cat \"$config\"; echo \"$LAB_TEST\"; echo oops >&2; exit 3 ;;\n\
         ok) echo fine ;;\nesac\n"
    );
    std::fs::write(&path, script).expect("a script");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("executable");
    (folder, path)
}

/// sh can't speak to a datagram socket, so it has this test program do it ([`says_ready`]).
const READY: &str = r#"
echo "starting" >&2
"$LAB_HELPER" --exact daemon::says_ready >/dev/null
trap 'echo bye >&2; exit 0' TERM
while :; do sleep 0.05; done"#;

/// No test but the helper of [`READY`]: does nothing when run among the tests.
#[test]
fn says_ready() {
    let Ok(path) = std::env::var("NOTIFY_SOCKET") else {
        return;
    };
    let socket = UnixDatagram::unbound().expect("a socket");
    socket.send_to(b"STATUS=up\nREADY=1", path).expect("sent");
}

#[tokio::test]
async fn starts_stops_and_starts_again() {
    let (_folder, binary) = stand_in(READY);
    let mut daemon = Daemon::new(&binary);
    let helper = std::env::current_exe().expect("this program");
    daemon.env("LAB_HELPER", &helper.to_string_lossy());
    daemon.config("hostname = 'x'\n").start().await;
    assert!(daemon.is_running());
    assert!(daemon.terminate().await.success());
    daemon.wait_log("bye", SOON).await;
    daemon.start().await;
    daemon.restart().await;
    daemon.kill9();
    assert!(!daemon.is_running());
    daemon.start().await;
    assert_eq!(daemon.log().matches("starting").count(), 4);
    assert_eq!(daemon.log().matches("bye").count(), 2);
    let (pid, folder) = (daemon.pid().expect("it runs"), daemon.dir().to_owned());
    drop(daemon);
    assert!(!folder.exists());
    assert!(!PathBuf::from(format!("/proc/{pid}")).exists());
}

#[tokio::test]
async fn a_daemon_that_does_not_come_up_says_why() {
    let (_folder, binary) = stand_in("echo 'line 3: no' >&2; exit 78");
    let mut daemon = Daemon::new(&binary);
    let error = daemon.try_start().await.expect_err("it ends");
    assert!(error.contains("78"), "{error}");
    assert_eq!(daemon.log(), "line 3: no\n");
    let (_folder, binary) = stand_in("exec sleep 60");
    let mut daemon = Daemon::new(&binary);
    daemon.ready_limit(Duration::from_millis(200));
    let error = daemon.try_start().await.expect_err("it is never ready");
    assert!(error.contains("200ms"), "{error}");
    assert!(!daemon.is_running());
}

#[tokio::test]
async fn commands_get_config_environment_and_stdin() {
    let (_folder, binary) = stand_in("exit 1");
    let mut daemon = Daemon::new(&binary);
    daemon.config("key = 1\n").env("LAB_TEST", "there");
    let output = daemon.run(&["show"]);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "key = 1\nthere\n");
    assert_eq!(output.stderr, b"oops\n");
    let large = "x".repeat(1_000_000);
    assert_eq!(
        daemon.run_with_stdin(&["cat"], &large).stdout,
        large.as_bytes()
    );
    assert_eq!(daemon.run_ok(&["ok"]), "fine\n");
}

#[tokio::test]
async fn servers_go_on_while_a_test_blocks() {
    let server = SmtpServer::builder(anywhere()).start();
    let mut client = Client::connect(server.addr()).await.expect("connected");
    // This test's runtime is a single thread and it is asleep; the server must answer all the same.
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(server.connections(), 1);
    assert!(client.greet("relay").await.expect("a reply").is_ok());
}
