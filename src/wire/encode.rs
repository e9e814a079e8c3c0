//! The message of a DATA command, as a client sends it.
//!
//! Owns dot stuffing (RFC 5321 section 4.5.2). Holds always: the far side sees
//! exactly one CRLF.CRLF, whatever the body and however it is cut; a bare CR or LF
//! is never sent, so that we can't be the ones who smuggle. Called by `delivery`.

use bytes::BytesMut;
use memchr::memchr2;

/// A body with a CR or LF that is not part of a CRLF. The transaction can't go
/// on: the connection must be closed without a final dot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("bare <CR> or <LF> in the message to send")]
pub struct BareLineEnding;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Start,
    Within,
    Cr,
}

/// Encodes one message.
#[derive(Debug)]
pub struct DataEncoder {
    place: Place,
}

impl Default for DataEncoder {
    fn default() -> Self {
        Self::new()
    }
}

impl DataEncoder {
    /// Starts behind the 354.
    #[must_use]
    pub fn new() -> Self {
        Self {
            place: Place::Start,
        }
    }

    /// Appends a piece of the body to `out`, dots stuffed.
    ///
    /// # Errors
    /// [`BareLineEnding`]; nothing of this piece is in `out` then.
    pub fn encode(&mut self, piece: &[u8], out: &mut BytesMut) -> Result<(), BareLineEnding> {
        let before = out.len();
        let result = self.scan(piece, out);
        if result.is_err() {
            out.truncate(before);
        }
        result
    }

    /// Appends the end: a CRLF if the body has none at its end, then the final
    /// dot.
    ///
    /// # Errors
    /// [`BareLineEnding`] if the body ended with a CR.
    pub fn finish(self, out: &mut BytesMut) -> Result<(), BareLineEnding> {
        match self.place {
            Place::Start => out.extend_from_slice(b".\r\n"),
            Place::Within => out.extend_from_slice(b"\r\n.\r\n"),
            Place::Cr => return Err(BareLineEnding),
        }
        Ok(())
    }

    /// Octets are copied in runs that end only where a dot is stuffed.
    fn scan(&mut self, piece: &[u8], out: &mut BytesMut) -> Result<(), BareLineEnding> {
        out.reserve(piece.len());
        let (mut at, mut run) = (0, 0);
        while let Some(&first) = piece.get(at) {
            match (self.place, first) {
                (Place::Cr, b'\n') => {
                    self.place = Place::Start;
                    at += 1;
                }
                (Place::Cr, _) => return Err(BareLineEnding),
                (place, _) => {
                    if place == Place::Start && first == b'.' {
                        append(out, piece, run, at);
                        out.extend_from_slice(b".");
                        run = at;
                    }
                    at += self.line(piece.get(at..).unwrap_or_default())?;
                }
            }
        }
        append(out, piece, run, at);
        Ok(())
    }

    /// Goes on within a line; gives how much of `rest` belongs to it, its CRLF
    /// included as far as it is there.
    fn line(&mut self, rest: &[u8]) -> Result<usize, BareLineEnding> {
        let Some(end) = memchr2(b'\r', b'\n', rest) else {
            self.place = Place::Within;
            return Ok(rest.len());
        };
        match (rest.get(end), rest.get(end + 1)) {
            (Some(b'\r'), Some(b'\n')) => {
                self.place = Place::Start;
                Ok(end + 2)
            }
            (Some(b'\r'), None) => {
                self.place = Place::Cr;
                Ok(end + 1)
            }
            _ => Err(BareLineEnding),
        }
    }
}

fn append(out: &mut BytesMut, piece: &[u8], from: usize, to: usize) {
    out.extend_from_slice(piece.get(from..to).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(pieces: &[&[u8]]) -> Result<Vec<u8>, BareLineEnding> {
        let (mut encoder, mut out) = (DataEncoder::new(), BytesMut::new());
        for piece in pieces {
            encoder.encode(piece, &mut out)?;
        }
        encoder.finish(&mut out)?;
        Ok(out.to_vec())
    }

    #[test]
    fn e14_dots_are_stuffed_at_any_cut() {
        for (body, wire) in [
            (&b""[..], &b".\r\n"[..]),
            (b".", b"..\r\n.\r\n"),
            (b".\r\n", b"..\r\n.\r\n"),
            (b"a", b"a\r\n.\r\n"),
            (b"a\r\n", b"a\r\n.\r\n"),
            (
                b"a\r\n.b\r\n..\r\n\r\n.",
                b"a\r\n..b\r\n...\r\n\r\n..\r\n.\r\n",
            ),
        ] {
            for cut in 0..=body.len() {
                let (head, tail) = body.split_at(cut);
                assert_eq!(encode(&[head, b"", tail]).unwrap(), wire);
            }
        }
    }

    #[test]
    fn e14_bare_line_endings_are_never_sent() {
        for body in [
            &b"a\r"[..],
            b"\r",
            b"\n",
            b"a\nb",
            b"a\rb",
            b"a\r\r\n",
            b"\n.\n",
            b"a\r\n\n",
            b"\r\n.\r",
        ] {
            for cut in 0..=body.len() {
                let (head, tail) = body.split_at(cut);
                assert_eq!(encode(&[head, tail]), Err(BareLineEnding), "{body:?} {cut}");
            }
        }
    }
}
