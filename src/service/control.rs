//! The control socket: one JSON request a line, one JSON answer a line.
//!
//! Holds always: mode 0660 in a folder of the service's own, so that file
//! permissions decide who may ask; a request is bounded in size and time, and so
//! is the number of clients.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::answers::Answers;
use super::hand::actor;
use crate::control::{Answer, REQUEST_MAX, Request};

/// Clients at once.
const CLIENTS: usize = 16;
/// How long a client may take to ask, and to read the answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Binds the socket. What lies there is a leftover: the spool's lock, taken
/// before, says that no other daemon uses this data folder.
///
/// # Errors
/// What the system says.
pub(super) fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o660))?;
    Ok(listener)
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
        if timeout(PATIENCE, read).await?? == 0 {
            return Ok(());
        }
        let answer = match serde_json::from_slice::<Request>(&line) {
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
