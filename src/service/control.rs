//! The control socket: one JSON request a line, one JSON answer a line.
//!
//! Holds always: mode 0660 in a folder of the service's own, so that file
//! permissions decide who may ask; a request is bounded in size and time, and so
//! is the number of clients.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain as Family, SockAddr, Socket, Type};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::answers::Answers;
use super::hand::actor;
use crate::control::{Answer, REQUEST_MAX, Request};

/// Clients at once.
const CLIENTS: usize = 16;
/// How long a client may take to ask: `postern` asks at once, and others wait.
const ASKING: Duration = Duration::from_secs(5);
/// How long it may take to read the answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Clients that the system lets wait.
const BACKLOG: i32 = 128;

/// Binds the socket; a file of an earlier run is replaced, a living daemon's socket
/// and a file that is none are not.
///
/// # Errors
/// What the system says; `AddrInUse` if somebody answers there.
pub(super) fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    make_room(path)?;
    let socket = Socket::new(Family::UNIX, Type::STREAM.cloexec().nonblocking(), None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Before it listens: until then nobody can connect, whatever the umask is.
    fs::set_permissions(path, Permissions::from_mode(0o660))?;
    socket.listen(BACKLOG)?;
    UnixListener::from_std(OwnedFd::from(socket).into())
}

/// Removes what an earlier run has left.
fn make_room(path: &Path) -> io::Result<()> {
    let there = match fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    if !there.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is a file of that name that is no socket",
        ));
    }
    // Not blocking: a daemon whose line is full is a daemon too.
    let probe = Socket::new(Family::UNIX, Type::STREAM.cloexec().nonblocking(), None)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Err(e),
        _ => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another daemon answers there",
        )),
    }
}

/// Answers until dropped.
pub(super) async fn serve(listener: UnixListener, answers: Answers) {
    let clients = Arc::new(Semaphore::new(CLIENTS));
    loop {
        let Ok(permit) = Arc::clone(&clients).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(e) => {
                tracing::warn!("control socket: {e}");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let answers = answers.clone();
        tokio::spawn(async move {
            if let Err(e) = converse(stream, &answers).await {
                tracing::debug!("control socket: {e}");
            }
            drop(permit);
        });
    }
}

async fn converse(stream: UnixStream, answers: &Answers) -> io::Result<()> {
    let uid = stream.peer_cred()?.uid();
    let actor = tokio::task::spawn_blocking(move || actor(uid)).await?;
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut stream).take(REQUEST_MAX as u64);
        let read = limited.read_until(b'\n', &mut line);
        if timeout(ASKING, read).await?? == 0 {
            return Ok(());
        }
        let answer = match serde_json::from_slice::<Request>(&line) {
            Ok(Request::SpoolExport) => match answers.exports.stream(&mut stream).await? {
                Ok(counts) => Answer::Exported { export: counts },
                Err(error) => Answer::Failed { error },
            },
            Ok(request) => answers.to(request, &actor).await,
            Err(e) => Answer::Failed {
                error: format!("not a request that this version knows: {e}"),
            },
        };
        let mut text = serde_json::to_vec(&answer)?;
        text.push(b'\n');
        timeout(PATIENCE, stream.write_all(&text)).await??;
        if line.last() != Some(&b'\n') {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_no_leftover_of_ours_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let first = bind(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        // Another daemon, with a data folder of its own and the same `control`.
        let error = bind(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(UnixStream::connect(&path).await.is_ok());
        drop(first);
        bind(&path).unwrap();
        // A slip of the pen in the configuration.
        let file = folder.path().join("accounts.toml");
        fs::write(&file, "x").unwrap();
        let error = bind(&file).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&file).unwrap(), b"x");
    }
}
