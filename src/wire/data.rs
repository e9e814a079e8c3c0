//! The message of a DATA command, as a server reads it.
//!
//! Owns the end of data and dot unstuffing (RFC 5321 sections 4.1.1.4, 4.5.2).
//! Holds always: only CRLF.CRLF ends a message, however the octets are cut; a
//! bare CR or LF makes it a refused one, and is never taken for a line's end, so
//! that no two servers can disagree about where a message ends ("SMTP
//! smuggling"); a refused message is passed over to its end, so that its rest is
//! not taken for commands. Called by `ingress`.

use bytes::{Buf, BytesMut};
use memchr::memchr3;

use super::reply::Reply;

/// Octets of a text line without its CRLF. RFC 5321 section 4.5.3.1.6 says 998;
/// more is common in the field and carried as it is.
const LINE_MAX: usize = 64 * 1024;

/// Why a message is refused, after its final dot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A CR or LF that is not part of a CRLF (RFC 5321 section 2.3.8).
    #[error("bare <CR> or <LF> in the message; lines end with <CR><LF>")]
    BareLineEnding,
    /// A NUL: neither 7bit nor 8bit data may hold one (RFC 2045 sections 2.7,
    /// 2.8), and servers differ in what they make of it.
    #[error("NUL octet in the message")]
    Nul,
    /// A line over 64 KiB.
    #[error("line too long in the message")]
    LineTooLong,
    /// Over the limit given (RFC 1870 section 6.3).
    #[error("message too large")]
    TooLarge,
}

impl Refused {
    /// The reply this deserves, once the final dot has come.
    #[must_use]
    pub fn reply(&self) -> Reply {
        match self {
            Self::BareLineEnding => Reply::new(
                550,
                "5.5.2",
                "Bare <CR> or <LF> in the message; lines end with <CR><LF>",
            ),
            Self::Nul => Reply::new(550, "5.6.0", "NUL octet in the message"),
            Self::LineTooLong => Reply::new(550, "5.6.0", "Line too long in the message"),
            Self::TooLarge => Reply::new(552, "5.3.4", "Message too large"),
        }
    }
}

/// What is known of a message at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataFacts {
    /// Its octets, unstuffed, without the final dot.
    pub octets: u64,
    /// Whether one of them is over 127.
    pub eight_bit: bool,
}

/// Where the next octet stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At the start of a line: behind CRLF, or at the very start, since the CRLF
    /// of the DATA command counts (RFC 5321 section 4.1.1.4).
    Start,
    /// Behind the dot at the start of a line.
    Dot,
    /// Behind CR, which came behind the dot at the start of a line.
    DotCr,
    /// Within a line.
    Within,
    /// Behind a CR within a line.
    Cr,
    /// Behind the final dot.
    End,
}

/// Reads one message. A new one is made for each DATA.
#[derive(Debug)]
pub struct DataDecoder {
    place: Place,
    /// Octets of the line so far.
    line: usize,
    octets: u64,
    eight_bit: bool,
    max_octets: u64,
    refused: Option<Refused>,
}

impl DataDecoder {
    /// Expects the first octet behind the 354's answer; refuses what has more
    /// than `max_octets`.
    #[must_use]
    pub fn new(max_octets: u64) -> Self {
        Self {
            place: Place::Start,
            line: 0,
            octets: 0,
            eight_bit: false,
            max_octets,
            refused: None,
        }
    }

    /// Takes all of `input`, or up to the final dot, and appends the message's
    /// octets to `out`, unstuffed; nothing more once the message is refused.
    /// `None` until the final dot; afterwards nothing is taken and the result
    /// stays.
    ///
    /// # Errors
    /// `Some(Err(_))` at the end of a message that is [`Refused`].
    pub fn decode(
        &mut self,
        input: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Option<Result<DataFacts, Refused>> {
        let before = out.len();
        let taken = self.scan(input, out);
        input.advance(taken);
        let added = out.get(before..).unwrap_or_default();
        self.octets += added.len() as u64;
        self.eight_bit |= !added.is_ascii();
        if self.octets > self.max_octets {
            self.refuse(Refused::TooLarge);
        }
        if self.refused.is_some() {
            out.truncate(before);
        }
        if self.place != Place::End {
            return None;
        }
        Some(match self.refused {
            Some(refused) => Err(refused),
            None => Ok(DataFacts {
                octets: self.octets,
                eight_bit: self.eight_bit,
            }),
        })
    }

    /// Why the message will be refused, as soon as it is known: what was given
    /// out can be discarded while the rest is passed over.
    #[must_use]
    pub fn refused(&self) -> Option<Refused> {
        self.refused
    }

    /// The first fault is the one told.
    fn refuse(&mut self, why: Refused) {
        self.refused.get_or_insert(why);
    }

    /// Goes through `input`, appends its message octets to `out`, and gives how
    /// many octets were taken. Octets are copied in runs that end only where
    /// something is left out: at a dot, or at the end.
    fn scan(&mut self, input: &[u8], out: &mut BytesMut) -> usize {
        let mut at = 0;
        // Where the run not yet copied begins.
        let mut run = 0;
        while let Some(&octet) = input.get(at) {
            match (self.place, octet) {
                (Place::Start, b'.') => {
                    append(out, input, run, at);
                    (self.place, at, run) = (Place::Dot, at + 1, at + 1);
                }
                (Place::Dot, b'\r') => {
                    // Held back: it may belong to the final dot.
                    (self.place, at, run) = (Place::DotCr, at + 1, at + 1);
                }
                (Place::DotCr, b'\n') => {
                    (self.place, at, run) = (Place::End, at + 1, at + 1);
                }
                (Place::DotCr, _) => {
                    self.refuse(Refused::BareLineEnding);
                    self.place = Place::Within;
                }
                (Place::Cr, b'\n') => {
                    (self.place, at, self.line) = (Place::Start, at + 1, 0);
                }
                (Place::Cr, _) => {
                    self.refuse(Refused::BareLineEnding);
                    self.place = Place::Within;
                }
                (Place::End, _) => break,
                (Place::Start | Place::Dot | Place::Within, _) => at = self.scan_line(input, at),
            }
        }
        append(out, input, run, at);
        at
    }

    /// Goes on within a line; gives where it ends or something is wrong.
    fn scan_line(&mut self, input: &[u8], at: usize) -> usize {
        let rest = input.get(at..).unwrap_or_default();
        let length = memchr3(b'\r', b'\n', b'\0', rest).unwrap_or(rest.len());
        self.line += length;
        if self.line > LINE_MAX {
            self.refuse(Refused::LineTooLong);
        }
        self.place = Place::Within;
        match rest.get(length) {
            None => return at + length,
            Some(b'\r') => self.place = Place::Cr,
            Some(b'\n') => self.refuse(Refused::BareLineEnding),
            Some(_) => self.refuse(Refused::Nul),
        }
        at + length + 1
    }
}

fn append(out: &mut BytesMut, input: &[u8], from: usize, to: usize) {
    out.extend_from_slice(input.get(from..to).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `octets` in two pieces; gives message, result, and what was left.
    fn run(octets: &[u8], cut: usize) -> (Vec<u8>, Option<Result<DataFacts, Refused>>, Vec<u8>) {
        let mut decoder = DataDecoder::new(u64::MAX);
        let mut out = BytesMut::new();
        let mut input = BytesMut::from(&octets[..cut]);
        let mut result = decoder.decode(&mut input, &mut out);
        input.extend_from_slice(&octets[cut..]);
        result = decoder.decode(&mut input, &mut out).or(result);
        (out.to_vec(), result, input.to_vec())
    }

    fn each_cut(
        octets: &[u8],
        check: impl Fn(Vec<u8>, Option<Result<DataFacts, Refused>>, Vec<u8>),
    ) {
        for cut in 0..=octets.len() {
            let (out, result, rest) = run(octets, cut);
            check(out, result, rest);
        }
    }

    #[test]
    fn i2_dots_are_unstuffed_at_line_starts_only() {
        for (octets, body) in [
            (&b".\r\n"[..], &b""[..]),
            (b"\r\n.\r\n", b"\r\n"),
            (b"a\r\n.\r\n", b"a\r\n"),
            (b"..\r\n.\r\n", b".\r\n"),
            (b"a.\r\n...b.c\r\n.\r\n", b"a.\r\n..b.c\r\n"),
            (b".a\r\n.\r\n", b"a\r\n"),
            (b"a..\r\n.\r\n", b"a..\r\n"),
        ] {
            each_cut(octets, |out, result, rest| {
                assert_eq!(out, body);
                assert_eq!(
                    result,
                    Some(Ok(DataFacts {
                        octets: body.len() as u64,
                        eight_bit: false
                    }))
                );
                assert!(rest.is_empty());
            });
        }
    }

    #[test]
    fn commands_behind_the_final_dot_are_left() {
        each_cut(b"a\xc3\r\n.\r\nQUIT\r\n.\r\n", |out, result, rest| {
            assert_eq!(out, b"a\xc3\r\n");
            assert!(matches!(
                result,
                Some(Ok(DataFacts {
                    octets: 4,
                    eight_bit: true
                }))
            ));
            assert_eq!(rest, b"QUIT\r\n.\r\n");
        });
    }

    /// The smuggling table: none of these ends a message, and each spoils it.
    #[test]
    fn i1_only_crlf_dot_crlf_ends_data() {
        for end in [
            &b"\n.\n"[..],
            b"\n.\r\n",
            b"\r\n.\n",
            b"\r.\r",
            b"\r.\n",
            b"\r\n.\r",
            b"\r.\r\n",
            b"\n.\r",
            b"\r\n.\r\r\n",
            b"\r\n.\n\r\n",
            b"\r\r\n.\n",
            b"\r\r\n.\r\r\n",
            b"\r\n\r.\r\n",
            b"\n\n.\n\n",
            b"\r\n\0.\r\n",
            b"\r\n.\0\r\n",
            b"\r\n.\r\0\n",
            b"\r\0\n.\r\n",
            b"\0\n.\r\n",
        ] {
            let open = [b"first", end, b"MAIL FROM:<evil@x>"].concat();
            each_cut(&open, |out, result, rest| {
                assert_eq!(result, None, "{end:?}");
                assert!(rest.is_empty());
                assert!(b"first".starts_with(&out[..out.len().min(5)]), "{end:?}");
            });
            let whole = [&open[..], b"\r\n.\r\nRSET\r\n"].concat();
            each_cut(&whole, |_, result, rest| {
                assert!(
                    matches!(result, Some(Err(Refused::BareLineEnding | Refused::Nul))),
                    "{end:?}"
                );
                assert_eq!(rest, b"RSET\r\n", "{end:?}");
            });
        }
    }

    #[test]
    fn i12_lines_up_to_64_kib_pass() {
        let line = |length| [vec![b'x'; length], b"\r\n.\r\n".to_vec()].concat();
        for cut in [0, 1, 65_535, 65_536] {
            assert!(matches!(run(&line(LINE_MAX), cut).1, Some(Ok(_))));
            let (_, result, rest) = run(&line(LINE_MAX + 1), cut);
            assert_eq!(result, Some(Err(Refused::LineTooLong)));
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn i9_what_is_too_large_is_passed_over() {
        let mut decoder = DataDecoder::new(3);
        let (mut input, mut out) = (BytesMut::from(&b"a\r\n"[..]), BytesMut::new());
        assert_eq!(decoder.decode(&mut input, &mut out), None);
        assert_eq!((decoder.refused(), out.len()), (None, 3));
        input.extend_from_slice(b"b\r\n");
        assert_eq!(decoder.decode(&mut input, &mut out), None);
        assert_eq!((decoder.refused(), out.len()), (Some(Refused::TooLarge), 3));
        input.extend_from_slice(b"c\r\n.\r\nQUIT\r\n");
        assert_eq!(
            decoder.decode(&mut input, &mut out),
            Some(Err(Refused::TooLarge))
        );
        assert_eq!((&input[..], out.len()), (&b"QUIT\r\n"[..], 3));
    }

    #[test]
    fn one_message_for_one_final_dot() {
        let mut decoder = DataDecoder::new(u64::MAX);
        let (mut input, mut out) = (BytesMut::from(&b".\r\nb\r\n.\r\n"[..]), BytesMut::new());
        let first = decoder.decode(&mut input, &mut out);
        assert!(matches!(first, Some(Ok(_))));
        assert_eq!(decoder.decode(&mut input, &mut out), first);
        assert_eq!((&input[..], out.len()), (&b"b\r\n.\r\n"[..], 0));
    }
}
