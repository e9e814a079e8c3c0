//! Property tests over both sides of DATA, and over whatever may arrive.

use bytes::BytesMut;
use proptest::prelude::*;

use super::*;

/// Lines of octets that are neither CR, LF nor NUL, with many dots.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let octet = prop_oneof![
        3 => Just(b'.'),
        2 => Just(b'a'),
        1 => (1u8..=255).prop_filter("no line end", |b| !matches!(b, b'\r' | b'\n')),
    ];
    let line = proptest::collection::vec(octet, 0..12);
    proptest::collection::vec(line, 0..12).prop_map(|lines| lines.join(&b"\r\n"[..]))
}

/// Octets in which line ends, dots and NULs are frequent.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let octet = prop_oneof![
        Just(b'\r'),
        Just(b'\n'),
        Just(b'.'),
        Just(b'\0'),
        Just(b'a'),
        any::<u8>()
    ];
    proptest::collection::vec(octet, 0..80)
}

/// Cuts at the places given, modulo the length.
fn cut<'a>(octets: &'a [u8], places: &[usize]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = places.iter().map(|p| p % (octets.len() + 1)).collect();
    places.extend([0, octets.len()]);
    places.sort_unstable();
    places.windows(2).map(|w| &octets[w[0]..w[1]]).collect()
}

fn decode(pieces: &[&[u8]]) -> (Vec<u8>, Option<Result<DataFacts, Refused>>, Vec<u8>) {
    let mut decoder = DataDecoder::new(u64::MAX);
    let (mut input, mut out, mut result) = (BytesMut::new(), BytesMut::new(), None);
    for piece in pieces {
        input.extend_from_slice(piece);
        result = decoder.decode(&mut input, &mut out);
    }
    (out.to_vec(), result, input.to_vec())
}

/// The first CRLF.CRLF, as RFC 5321 section 4.1.1.4 defines it, found naively.
fn naive_end(octets: &[u8]) -> Option<usize> {
    if octets.starts_with(b".\r\n") {
        return Some(3);
    }
    let at = octets.windows(5).position(|w| w == b"\r\n.\r\n")?;
    Some(at + 5)
}

proptest! {
    #[test]
    fn i2_e14_decode_undoes_encode(
        body in body(),
        cuts in proptest::collection::vec(any::<usize>(), 0..6),
        wire_cuts in proptest::collection::vec(any::<usize>(), 0..6),
    ) {
        let (mut encoder, mut wire) = (DataEncoder::new(), BytesMut::new());
        for piece in cut(&body, &cuts) {
            encoder.encode(piece, &mut wire).unwrap();
        }
        encoder.finish(&mut wire).unwrap();
        prop_assert_eq!(naive_end(&wire), Some(wire.len()));
        let (out, result, rest) = decode(&cut(&wire, &wire_cuts));
        let mut expected = body.clone();
        if !body.is_empty() && !body.ends_with(b"\r\n") {
            expected.extend_from_slice(b"\r\n");
        }
        prop_assert_eq!(&out, &expected);
        prop_assert_eq!(result, Some(Ok(DataFacts {
            octets: expected.len() as u64,
            eight_bit: !expected.is_ascii(),
        })));
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn i1_the_end_is_where_the_rfc_says(
        noise in noise(),
        cuts in proptest::collection::vec(any::<usize>(), 0..6),
    ) {
        let whole = decode(&[&noise]);
        let pieces = decode(&cut(&noise, &cuts));
        prop_assert_eq!(&whole.1, &pieces.1);
        prop_assert_eq!(&whole.2, &pieces.2);
        match naive_end(&noise) {
            Some(end) => {
                prop_assert!(whole.1.is_some());
                prop_assert_eq!(&whole.2[..], &noise[end..]);
            }
            None => prop_assert!(whole.1.is_none() && whole.2.is_empty()),
        }
        if let Some(Ok(_)) = whole.1 {
            prop_assert_eq!(&whole.0, &pieces.0);
            // What was accepted can be sent on: it has no bare line ending.
            let (mut encoder, mut wire) = (DataEncoder::new(), BytesMut::new());
            encoder.encode(&whole.0, &mut wire).unwrap();
        }
    }

    #[test]
    fn whatever_arrives_is_answered(noise in noise()) {
        let _ = Command::parse(&noise);
        let _ = AuthResponse::parse(&noise);
        let mut input = BytesMut::from(&noise[..]);
        let mut lines = CommandLines::new();
        while !matches!(lines.next(&mut input, LineKind::Command), Ok(None)) {}
        let mut input = BytesMut::from(&noise[..]);
        let mut reader = ReplyReader::new();
        while let Ok(Some(reply)) = reader.feed(&mut input) {
            prop_assert!(reply.to_remote().text.len() <= 512);
        }
    }

    #[test]
    fn paths_print_and_read_back(local in "[ -~]{1,30}") {
        let host = crate::types::Host::parse("x.example").unwrap();
        let mailbox = crate::types::Mailbox::new(&local, host).unwrap();
        let line = format!("RCPT TO:<@hop.example:{mailbox}>");
        prop_assert_eq!(
            Command::parse(line.as_bytes()),
            Ok(Command::Rcpt(RcptPath::Mailbox(mailbox)))
        );
    }
}
