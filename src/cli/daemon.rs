//! Asking the running daemon through its control socket.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::{Exit, output};
use crate::config::Config;
use crate::control::{Answer, ExportCounts, Request};

/// Octets of one answer line at most: a page of messages with many recipients.
const ANSWER_MAX: u64 = 1 << 30;
/// Octets of one frame of an export at most.
const FRAME_MAX: u32 = 300 << 20;
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
    exchange(config, request).map_err(|e| not_asked(config, &e))
}

/// Takes an export from the running daemon; `None` if there is no daemon. What goes
/// wrong is told to the user here.
///
/// # Errors
/// How to exit.
pub(super) fn export(config: &Config, to: &mut dyn Write) -> Result<Option<ExportCounts>, Exit> {
    let stream = match UnixStream::connect(&config.control) {
        Ok(stream) => stream,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(e) => return Err(not_asked(config, &e)),
    };
    let mut stream = send(stream, &Request::SpoolExport).map_err(|e| not_asked(config, &e))?;
    let mut answer = receive(&mut stream).map_err(|e| not_asked(config, &e))?;
    if answer == Answer::Export {
        copy_frames(&mut stream, to)?;
        answer = receive(&mut stream).map_err(|e| not_asked(config, &e))?;
    }
    match answer {
        Answer::Exported { export } => Ok(Some(export)),
        Answer::Failed { error } => {
            output::complain(error);
            Err(Exit::Failed)
        }
        _ => {
            output::complain(
                "the daemon gave another answer than was asked for: is it of another version?",
            );
            Err(Exit::Failed)
        }
    }
}

/// As [`try_ask`], and `None` without a word where no daemon answers.
pub(super) fn ask_quietly(config: &Config, request: &Request) -> Option<Answer> {
    exchange(config, request).ok()
}

/// Asks the daemon if one runs; `None` without a word if none does. What goes wrong
/// else is told to the user here.
///
/// # Errors
/// How to exit.
pub(super) fn ask_if_running(config: &Config, request: &Request) -> Result<Option<Answer>, Exit> {
    match exchange(config, request) {
        Ok(Answer::Failed { error }) => {
            output::complain(error);
            Err(Exit::Failed)
        }
        Ok(answer) => Ok(Some(answer)),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            Ok(None)
        }
        Err(e) => Err(not_asked(config, &e)),
    }
}

fn not_asked(config: &Config, e: &io::Error) -> Exit {
    let socket = config.control.display();
    let advice = match e.kind() {
        ErrorKind::PermissionDenied => {
            "only root and the socket's group may: try sudo, or join the group (adduser YOU postern)"
        }
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            "it does not run: systemctl start postern (or `postern serve`), or is `control` another?"
        }
        _ => "is `postern serve` running and well? its log says more",
    };
    output::complain(format_args!(
        "the daemon can't be asked at {socket}: {e}: {advice}"
    ));
    Exit::TempFail
}

/// Writes the frames' octets out, up to the empty frame.
fn copy_frames(from: &mut impl Read, to: &mut dyn Write) -> Result<(), Exit> {
    loop {
        let mut length = [0; 4];
        let read = from.read_exact(&mut length);
        let length = u32::from_be_bytes(length);
        let mut octets = Vec::new();
        let read = read.and_then(|()| match length {
            0..=FRAME_MAX => from.take(length.into()).read_to_end(&mut octets),
            _ => Err(ErrorKind::InvalidData.into()),
        });
        if !read.is_ok_and(|read| read == length as usize) {
            output::complain(
                "the daemon ended in the midst of the export: try again (with the daemon stopped it works too)",
            );
            return Err(Exit::TempFail);
        }
        if length == 0 {
            return Ok(());
        }
        to.write_all(&octets).map_err(|e| {
            output::complain(format_args!("the export can't be written: {e}"));
            Exit::Failed
        })?;
    }
}

/// What a daemon that can be asked keeps of a domain's MTA-STS policy; `None`: none
/// can be asked, which is no fault.
pub(super) fn kept_policy(config: &Config, domain: &str) -> Option<Option<String>> {
    let domain = domain.to_owned();
    match exchange(config, &Request::StsPolicy { domain }) {
        Ok(Answer::StsPolicy { kept }) => Some(kept),
        _ => None,
    }
}

fn exchange(config: &Config, request: &Request) -> io::Result<Answer> {
    receive(&mut send(UnixStream::connect(&config.control)?, request)?)
}

fn send(mut stream: UnixStream, request: &Request) -> io::Result<BufReader<UnixStream>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    Ok(BufReader::new(stream))
}

fn receive(stream: &mut BufReader<UnixStream>) -> io::Result<Answer> {
    let mut text = Vec::new();
    stream.take(ANSWER_MAX).read_until(b'\n', &mut text)?;
    Ok(serde_json::from_slice(&text)?)
}
