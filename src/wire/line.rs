//! Command lines out of octets.
//!
//! Owns framing on a server's side outside DATA (RFC 5321 section 2.3.8). Holds
//! always: only CRLF ends a command; what is over-long or ended otherwise is told
//! once and not kept, and the session stays in step. Called by `ingress`.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;

use super::reply::Reply;

/// Octets of a command line with its CRLF: the 512 of RFC 5321 section
/// 4.5.3.1.4 and what extensions add, rounded up well.
const COMMAND_MAX: usize = 2048;
/// Octets of an AUTH response with its CRLF (RFC 4954 section 4).
const AUTH_MAX: usize = 12_288 + 2;

/// What the session waits for, which sets the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineKind {
    /// A command.
    Command,
    /// The answer to a 334.
    AuthResponse,
}

impl LineKind {
    fn limit(self) -> usize {
        match self {
            Self::Command => COMMAND_MAX,
            Self::AuthResponse => AUTH_MAX,
        }
    }
}

/// Why octets are no line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Over the limit; the rest of it is passed over in silence.
    #[error("line too long")]
    TooLong,
    /// A CR or LF that is not part of a CRLF.
    #[error("bare <CR> or <LF>; lines end with <CR><LF>")]
    BareLineEnding,
}

impl LineError {
    /// The reply this error deserves (RFC 5321 section 4.2.4).
    #[must_use]
    pub fn reply(&self) -> Reply {
        match self {
            Self::TooLong => Reply::new(500, "5.5.2", "Line too long"),
            Self::BareLineEnding => {
                Reply::new(500, "5.5.2", "Bare <CR> or <LF>; lines end with <CR><LF>")
            }
        }
    }
}

/// Cuts lines off the octets that arrive.
#[derive(Debug, Default)]
pub struct CommandLines {
    /// Set while the rest of an over-long line is passed over.
    skip: Option<Skip>,
}

#[derive(Debug, Default)]
struct Skip {
    /// Whether the last octet passed over was a CR.
    after_cr: bool,
}

impl CommandLines {
    /// Starts at the start of a line.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cuts the next line off `input`, without its CRLF; `None` until one has
    /// arrived. Call it until it gives `None`: then `input` holds less than the
    /// limit.
    ///
    /// # Errors
    /// A [`LineError`]; the octets concerned are gone, and the next call goes on
    /// behind them.
    pub fn next(
        &mut self,
        input: &mut BytesMut,
        kind: LineKind,
    ) -> Result<Option<Bytes>, LineError> {
        if let Some(skip) = &mut self.skip {
            if !skip.pass_over(input) {
                return Ok(None);
            }
            self.skip = None;
        }
        let limit = kind.limit();
        let window = input.get(..limit).unwrap_or(input);
        let Some(lf) = memchr(b'\n', window) else {
            if input.len() < limit {
                return Ok(None);
            }
            let mut skip = Skip::default();
            // No LF in the window, but perhaps behind it.
            let done = skip.pass_over(input);
            self.skip = (!done).then_some(skip);
            return Err(LineError::TooLong);
        };
        let line = input.split_to(lf).freeze();
        input.advance(1);
        // A line that ends with a bare LF is told at once: waiting for a CRLF
        // would leave such a client without any answer.
        match line.strip_suffix(b"\r") {
            Some(text) if memchr(b'\r', text).is_none() => Ok(Some(line.slice_ref(text))),
            _ => Err(LineError::BareLineEnding),
        }
    }
}

impl Skip {
    /// Drops octets up to and with the next CRLF; whether it was there.
    fn pass_over(&mut self, input: &mut BytesMut) -> bool {
        while let Some(lf) = memchr(b'\n', input) {
            let before = lf.checked_sub(1).and_then(|at| input.get(at));
            let is_crlf = before.map_or(self.after_cr, |octet| *octet == b'\r');
            input.advance(lf + 1);
            self.after_cr = false;
            if is_crlf {
                return true;
            }
        }
        if let Some(last) = input.last() {
            self.after_cr = *last == b'\r';
        }
        input.clear();
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `octets` in pieces of `step`; gives what came out.
    fn run(octets: &[u8], step: usize, kind: LineKind) -> Vec<Result<Vec<u8>, LineError>> {
        let mut lines = CommandLines::new();
        let mut input = BytesMut::new();
        let mut out = Vec::new();
        for piece in octets.chunks(step) {
            input.extend_from_slice(piece);
            loop {
                match lines.next(&mut input, kind) {
                    Ok(None) => break,
                    Ok(Some(line)) => out.push(Ok(line.to_vec())),
                    Err(e) => out.push(Err(e)),
                }
            }
            assert!(input.len() < kind.limit());
        }
        out
    }

    #[test]
    fn lines_in_any_pieces() {
        for step in 1..20 {
            let out = run(b"EHLO a\r\n\r\nQUIT\r\nrest", step, LineKind::Command);
            assert_eq!(
                out,
                [Ok(b"EHLO a".to_vec()), Ok(vec![]), Ok(b"QUIT".to_vec())]
            );
        }
    }

    #[test]
    fn i11_an_over_long_line_is_told_once_and_resyncs() {
        for length in [2047, 2048, 5000, 100_000] {
            let mut octets = vec![b'x'; length];
            octets.extend_from_slice(b"y\nz\r");
            octets.extend_from_slice(b"\nNOOP\r\n");
            for step in [1, 7, 2047, 2048, 2049, 200_000] {
                let out = run(&octets, step, LineKind::Command);
                assert_eq!(
                    out,
                    [Err(LineError::TooLong), Ok(b"NOOP".to_vec())],
                    "{length} {step}"
                );
            }
        }
        let longest = [vec![b'x'; 2046], b"\r\n".to_vec()].concat();
        assert_eq!(
            run(&longest, 100, LineKind::Command),
            [Ok(vec![b'x'; 2046])]
        );
    }

    #[test]
    fn i5_auth_responses_have_12288_octets() {
        let longest = [vec![b'x'; 12_288], b"\r\n".to_vec()].concat();
        let out = run(&longest, 1000, LineKind::AuthResponse);
        assert_eq!(out, [Ok(vec![b'x'; 12_288])]);
        let longer = [vec![b'x'; 12_289], b"\r\n".to_vec()].concat();
        let out = run(&longer, 1000, LineKind::AuthResponse);
        assert_eq!(out, [Err(LineError::TooLong)]);
    }

    #[test]
    fn i1_bare_line_endings_end_no_command() {
        let bare = Err(LineError::BareLineEnding);
        for step in 1..8 {
            let out = run(b"NOOP\nRSET\r\n", step, LineKind::Command);
            assert_eq!(out, [bare.clone(), Ok(b"RSET".to_vec())]);
            let out = run(b"NOOP\rRSET\r\nQUIT\r\n", step, LineKind::Command);
            assert_eq!(out, [bare.clone(), Ok(b"QUIT".to_vec())]);
            assert_eq!(
                run(b"NOOP\r\r\n", step, LineKind::Command),
                vec![bare.clone()]
            );
        }
    }
}
