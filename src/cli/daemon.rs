//! Asking the running daemon through its control socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::{Exit, output};
use crate::config::Config;
use crate::control::{Answer, Request};

/// Octets of one answer line at most: a page of messages with many recipients.
const ANSWER_MAX: u64 = 1 << 30;
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks one question. What goes wrong is told to the user here.
///
/// # Errors
/// How to exit: 75 if there is no daemon to ask, 1 if it said no.
pub(super) fn ask(config: &Config, request: &Request) -> Result<Answer, Exit> {
    match try_ask(config, request)? {
        Answer::Failed { error } => {
            output::complain(error);
            Err(Exit::Failed)
        }
        answer => Ok(answer),
    }
}

/// As [`ask`], but a no is an answer too, and not told.
///
/// # Errors
/// 75 if there is no daemon to ask.
pub(super) fn try_ask(config: &Config, request: &Request) -> Result<Answer, Exit> {
    exchange(config, request).map_err(|e| {
        let socket = config.control.display();
        output::complain(format_args!(
            "the daemon can't be asked at {socket}: {e} (is `postern serve` running, and may you open the socket?)"
        ));
        Exit::TempFail
    })
}

fn exchange(config: &Config, request: &Request) -> std::io::Result<Answer> {
    let mut stream = UnixStream::connect(&config.control)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut text = Vec::new();
    BufReader::new(stream.take(ANSWER_MAX)).read_until(b'\n', &mut text)?;
    Ok(serde_json::from_slice(&text)?)
}
